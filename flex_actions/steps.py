"""Driving a coroutine by hand: JavaScript runs an async function at once up to its first wait, asyncio a turn later."""

import asyncio
import contextvars
import sys
import types
from asyncio import tasks as _tasks
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

# What asyncio itself looks into; only needed, and only there in this form, before Python 3.12.
_current_tasks: Any = getattr(_tasks, "_current_tasks", None)


@types.coroutine
def resume(coroutine: Coroutine[Any, Any, Any], yielded: Any) -> Generator[Any, Any, Any]:
    """Go on awaiting a coroutine that was driven up to its first wait and yielded `yielded` there."""
    sent = None
    while True:
        try:
            sent = yield yielded
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            thrown: BaseException | None = error
        else:
            thrown = None
        try:
            yielded = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
        except StopIteration as stop:
            return stop.value


class Started:
    """What `start_now` began: awaitable, like a promise.

    Attributes:
        task: what goes on with it, or None if it ran to its end without waiting.
        error: what it raised, if it ran to its end.
    """

    __slots__ = ("error", "task", "value")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.error: BaseException | None = None
        self.value: Any = None

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.task is not None:
            yield from self.task.__await__()
        if self.error is not None:
            raise self.error
        return self.value


def start_now(awaitable: Awaitable[Any]) -> Started:
    """Start a coroutine in this turn, in a task of its own and in a copy of the context."""
    coroutine = awaitable if asyncio.iscoroutine(awaitable) else wrapped(awaitable)
    started = Started()

    async def kept() -> None:
        started.value = await coroutine

    try:
        started.task = first_step(kept(), asyncio.get_running_loop(), asyncio.current_task())
    except (Exception, asyncio.CancelledError) as error:
        started.error = error
    return started


def first_step(
    coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop, caller: "asyncio.Task[Any] | None"
) -> "asyncio.Task[Any] | None":
    """Take a coroutine's first step in this turn, in a task of its own and in a copy of the context.

    Args:
        coroutine: not started yet.
        loop: the running loop.
        caller: the running task.

    Returns:
        the task that goes on with it, or None if it ran to its end without waiting.

    Raises:
        whatever the coroutine raised on its way to its end without waiting.
    """
    if sys.version_info >= (3, 12):
        task = asyncio.Task(coroutine, loop=loop, eager_start=True)
        if not task.done():
            return task
        task.result()
        return None
    # The task exists before the first step, so that `asyncio.timeout` inside it finds this task and not the caller's.
    # One that was not set up yet would be cheaper by far, but who looks into it (`get_coro`) crashes the interpreter.
    driver = _Driver(coroutine)
    context = contextvars.copy_context()
    task = loop.create_task(driver, context=context)
    _current_tasks[loop] = task
    try:
        context.run(driver.first_step)
    finally:
        if caller is not None:
            _current_tasks[loop] = caller
        else:
            del _current_tasks[loop]
    if driver.error is not None:
        raise driver.error
    return None if driver.finished else task


async def wrapped(awaitable: Awaitable[Any]) -> Any:
    """An awaitable as a coroutine."""
    return await awaitable


class _Driver(Coroutine[Any, Any, Any]):
    """The coroutine as its task sees it: the first step was taken already, the task only repeats what it yielded."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._pending: Any = None
        self._handed_over = False
        self.finished = False
        self.error: BaseException | None = None

    def first_step(self) -> None:
        try:
            self._pending = self._coroutine.send(None)
        except StopIteration:
            self.finished = True
        except (Exception, asyncio.CancelledError) as error:
            self.finished, self.error = True, error

    def send(self, value: Any) -> Any:
        if self.finished:
            # Its end was told to who took the first step; the task must not tell it a second time.
            raise StopIteration
        if not self._handed_over:
            self._handed_over = True
            return self._pending
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        if self.finished:
            raise StopIteration
        self._handed_over = True
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise RuntimeError("driven by its task")
