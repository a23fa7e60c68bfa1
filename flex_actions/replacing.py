"""Replacements: what runs instead of a body, and how `original` and `next` lead on from it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from inspect import isawaitable
from typing import Any, Final

from . import matching
from .errors import ActionError
from .hooks import Hook
from .invocation import Invocation
from .registry import Function
from .steps import Started, start_now

_SAME: Final[Any] = object()
Judge = Callable[[Any], Awaitable[None]]


async def run_function(function: Function, payload: Any) -> Any:
    """Call a body or check, awaiting it if need be."""
    outcome = function.call(payload)
    if function.is_async or isawaitable(outcome):
        return await outcome
    return outcome


class Replacements:
    """One run of an action's replacements.

    Args:
        chain: newest first; with Flex 1.x's rule only the last registered.
        body: what `original` runs.
        strict: `original()` means the same payload, and must have been awaited when its replacement returns;
            otherwise it means none, and starts at once like a promise.
        judge: decides on a payload before the body gets it; in `strict` only one that is new or was changed.
    """

    def __init__(
        self, chain: tuple[Hook, ...], body: Function, invocation: Invocation, *, strict: bool, judge: Judge
    ) -> None:
        self._chain = chain
        self._body = body
        self._invocation = invocation
        self._strict = strict
        self._judge = judge
        self._judged: Any = invocation.payload
        self._seen = matching.content(invocation.payload) if strict else None
        self._raised: BaseException | None = None

    async def run(self, payload: Any, position: int = 0) -> Any:
        """Run the replacement at `position`, which may run the next, and so on to the body."""
        if position == len(self._chain):
            return await self._original(payload)
        hook = self._chain[position]
        calls: list[_Call] = []

        def begin(run: Callable[[Any], Coroutine[Any, Any, Any]], other: Any) -> Any:
            if not self._strict:
                return self._begun(run(None if other is _SAME else other))
            calls.append(call := _Call(run(payload if other is _SAME else other)))
            return call.run()

        def original(other: Any = _SAME) -> Any:
            return begin(self._original, other)

        def following(other: Any = _SAME) -> Any:
            return begin(lambda p: self.run(p, position + 1), other)

        invocation = self._invocation
        outer, invocation._hook = invocation.hook, hook
        try:
            outcome = self._called(hook.call, payload, *(original, following)[: max(hook.arity - 1, 0)])
            if isawaitable(outcome):
                outcome = await outcome
        finally:
            invocation._hook = outer
            left = [c for c in calls if not c.done]
            for call in left:
                await call.stop()
        if left:
            raise _not_awaited(hook)
        for call in calls:
            call.raise_unheard()
        return outcome

    async def _original(self, payload: Any) -> Any:
        outer = self._invocation.hook
        if not self._strict:
            await self._judge(payload)
        elif payload is not self._judged or matching.content(payload) != self._seen:
            content = matching.content(payload)
            await self._judge(payload)
            if matching.content(payload) != content:
                raise ActionError(
                    "payload_changed",
                    f"The payload of {self._invocation.action} changed while it was being judged.",
                    action=self._invocation.action,
                    hint="A replacement has left a task behind that goes on changing it; await that task.",
                )
            # Only now: a payload that was refused must be judged again if `original` is called again.
            self._judged, self._seen = payload, content
        self._invocation._hook = None
        try:
            outcome = self._called(self._body.call, payload)
            return await outcome if isawaitable(outcome) else outcome
        finally:
            self._invocation._hook = outer

    def _called(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function; what it raises itself, not what it returned to be awaited, is remembered for `_begun`."""
        if self._strict:
            return function(*arguments)
        try:
            return function(*arguments)
        except Exception as error:
            self._raised = error
            raise

    def _begun(self, coroutine: Coroutine[Any, Any, Any]) -> Started:
        """Start as JavaScript does: a plain function raises where it is called, also if nobody awaits the outcome."""
        started = start_now(coroutine)
        if started.error is not None and started.error is self._raised:
            self._raised = None
            raise started.error
        return started


class _Call:
    """A call of `original` or `next`, so that a replacement which forgets to await it is found out."""

    __slots__ = ("_coroutine", "_ended", "_task", "_wrapper", "done")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._wrapper: Coroutine[Any, Any, Any] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._ended: asyncio.Event | None = None
        self.done = False

    def run(self) -> Coroutine[Any, Any, Any]:
        self._wrapper = self._run()
        return self._wrapper

    async def _run(self) -> Any:
        self._task = asyncio.current_task()
        self._ended = asyncio.Event()
        try:
            return await self._coroutine
        finally:
            self.done = True
            self._ended.set()

    def raise_unheard(self) -> None:
        """Raise what the call failed with in a task of its own, if nobody has looked at that."""
        task = self._task
        if task is None or task is asyncio.current_task() or not task.done() or task.cancelled():
            return
        if getattr(task, "_log_traceback", False) and (error := task.exception()) is not None:
            raise error

    async def stop(self) -> None:
        if self._task is asyncio.current_task() and self._wrapper is not None:
            self._wrapper.close()  # driven by hand and dropped
            return
        if self._task is not None and self._ended is not None:
            await self._end(self._task, self._ended)
            return
        # Never started: closing both keeps Python from warning a second time about what is reported here.
        self._coroutine.close()
        if self._wrapper is None:
            return
        task = next((t for t in asyncio.all_tasks() if t.get_coro() is self._wrapper), None)
        if task is None:
            self._wrapper.close()
        else:  # wrapped in a task that has not had its first turn
            task.cancel()
            await asyncio.wait([task])

    @staticmethod
    async def _end(task: "asyncio.Task[Any]", ended: asyncio.Event) -> None:
        """Cancel and wait until it has really ended, also if this is cancelled once more meanwhile."""
        cancelled = False
        task.cancel()
        while not ended.is_set():
            try:
                await ended.wait()
            except asyncio.CancelledError:
                cancelled = True
                task.cancel()
        if cancelled:
            raise asyncio.CancelledError


def _not_awaited(hook: Hook) -> ActionError:
    return ActionError(
        "original_not_awaited",
        f"{hook} returned before the original() it had called was done.",
        action=hook.action,
        hook=str(hook),
        hint="Write: return await original().",
    )
