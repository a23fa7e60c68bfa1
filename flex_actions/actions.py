"""`Actions`: one object through which everything that happens in a chat passes, with hooks before and after.

Order of one invocation: known? → pending? → blocked? → payload update → begin → before hooks → guards → check →
body or replacements → after hooks → end. The dispatcher knows nothing of chats.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator, Iterable
from functools import partial
from inspect import isawaitable
from typing import Any, Final, NoReturn

from . import matching, signals
from .errors import ActionAborted, ActionError, ActionFailed, HookFailed, RegistrationError, as_text, brief
from .hooks import VETO, Hook
from .invocation import FlexInvocation, Invocation, current, place
from .logs import logger, safe_text, where
from .readonly import read_only
from .registry import Action, Function, Registry, is_duration
from .replacing import Replacements, run_function
from .steps import first_step, resume, wrapped

_began: Final = signals.invocation_began
_ended: Final = signals.invocation_ended
# Looked up once, not in each call.
_began_receivers: Final = _began.receivers
_ended_receivers: Final = _ended.receivers
_current, _enter, _leave = current.get, current.set, current.reset


class Actions(Registry):
    """The dispatcher. A session owns one; two never share hooks.

    Args:
        profile: `strict` (default), `flex1` or `flex2`.

    Raises:
        RegistrationError: no such profile.
    """

    async def invoke(
        self,
        name: str,
        payload: Any = None,
        *,
        key: str | None = None,
        timeout_s: float | None = None,
        _deadline: float | None = None,
    ) -> Any:
        """Invoke an action: `value = await actions.invoke("AttachFile", {"file": …, "channelSid": …})`.

        Args:
            name: the action.
            payload: a mapping (it is converted, never changed) or a payload object (used as it is).
            key: an idempotency key, for actions that take one.
            timeout_s: seconds for the whole call, nested ones included.

        Returns:
            The value of the body or replacement.

        Raises:
            ActionError: refused or failed; see `errors.CODES`.
        """
        # One long function on purpose: each further coroutine would cost a fifth of a hand-written loop.
        if timeout_s is not None:
            return await self._invoke_within(name, payload, key, timeout_s)
        table = self._table
        try:
            action = table.actions.get(name)
        except TypeError:
            raise self._unknown(name) from None  # a list, say: nothing that could be a name
        if action is None or (body := action.body) is None:
            raise self._unknown(name)
        if action.fresh or action.indexed:
            self._refuse_pending(action, payload)
        if action.blocks:
            self._refuse_blocked(action, payload)
        strict = table.strict
        # A mapping may be changed by its caller meanwhile; an object is compared as it is.
        given = dict(payload) if type(payload) is dict else payload
        if action.update is not None:
            payload = self._updated(action, payload)
        invocation = Invocation() if strict else FlexInvocation()
        invocation.id = table.next_number()
        invocation.action = name
        invocation.payload = payload
        invocation.aborted = False
        parent = _current()
        if parent is not None or key is not None or _deadline is not None or self._owner is not None:
            if key is not None:
                _refuse_key(action, key)
            place(invocation, parent, key, _deadline, self._owner)
        action.fresh[invocation] = given
        observed = False
        if not strict:
            observed = True
            # Outside the try: in Flex an error here leaves the action pending for ever.
            if table.events["invocationBegin"]:
                self._emit("invocationBegin")
        token = _enter(invocation)
        try:
            # Looked at once: who begins to observe in the middle sees the next invocation (in Flex this one's end).
            if table.observed or _began_receivers or _ended_receivers:
                observed = True
                self._observe_begin(invocation)
            if not strict:
                result = await self._flex(action, body, invocation, payload)
            else:
                # The two loops are `_in_turn` and `_step`, written out: calling those would cost more than a hook.
                for hook in action.before:
                    invocation._hook = hook
                    try:
                        if hook.is_async:
                            call = hook.call(payload, invocation.abort) if hook.takes_second else hook.call(payload)
                            if hook.timeout_s is None:
                                await call
                            else:
                                try:
                                    first = call.send(None)
                                except StopIteration:
                                    pass
                                else:
                                    await _within(hook.timeout_s, resume(call, first))
                        elif (rest := self._step(hook, invocation, payload)) is not None:
                            await rest
                    except BaseException as error:
                        self._hook_error(invocation, hook, error)
                    if invocation.aborted:
                        _raise_aborted(invocation)
                if body.is_plain and action.is_plain:
                    invocation._hook = None
                    result = await body.call(payload)
                else:
                    result = await self._decided(action, body, invocation, payload)
                invocation._result = result
                for hook in action.after:
                    invocation._hook = hook
                    try:
                        if hook.is_async:
                            call = hook.call(payload)
                            if hook.timeout_s is None:
                                await call
                            else:
                                try:
                                    first = call.send(None)
                                except StopIteration:
                                    pass
                                else:
                                    await _within(hook.timeout_s, resume(call, first))
                        elif (rest := self._step(hook, invocation, payload)) is not None:
                            await rest
                    except BaseException as error:
                        self._hook_error(invocation, hook, error)
            invocation._outcome = "ok"
        except Exception as error:
            if not strict:
                invocation._outcome, invocation.detail().error = "aborted" if invocation.aborted else "failed", error
                raise
            failure = await self._failed(action, invocation, payload, error)
            if failure is error:
                raise
            raise failure from error
        except BaseException as error:
            invocation._outcome, invocation.detail().error = "cancelled", error
            invocation._hook = None  # from now on abort() comes too late
            raise
        finally:
            try:
                del action.fresh[invocation]
            except KeyError:
                action.forget(invocation)
            try:  # noqa: SIM105 - in the hot path a context manager costs
                _leave(token)
            except ValueError:
                pass  # closed from elsewhere, as at the end of a loop: that context is not this one
            if observed:
                self._observe_end(invocation)
        return result

    async def _invoke_within(self, name: str, payload: Any, key: str | None, timeout_s: float) -> Any:
        if not is_duration(timeout_s):
            raise ActionError(
                "invalid_payload",
                f"timeout_s is a number of seconds from 0, not {brief(timeout_s)}.",
                action=as_text(name),
            )
        deadline = asyncio.get_running_loop().time() + timeout_s
        try:
            async with asyncio.timeout_at(deadline) as limit:
                return await Actions.invoke(self, name, payload, key=key, _deadline=deadline)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise ActionError(
                "action_timeout",
                f"{name} took longer than {timeout_s:g} s.",
                action=name,
                hint="It may have happened; a repeat under an idempotency key never happens twice.",
                retryable=key is not None,
                details={"timeout_s": timeout_s},
            ) from error

    async def _failed(self, action: Action, invocation: Invocation, payload: Any, error: Exception) -> ActionError:
        """What the caller gets, after the abort or error listeners have seen it."""
        invocation._hook = None
        failure = invocation.detail().error = _as_action_error(error, invocation)
        aborted = isinstance(failure, ActionAborted) and invocation.aborted
        listeners = action.abort if aborted else action.error
        try:
            if listeners:
                await self._in_turn(invocation, listeners, payload)
        except BaseException as cut:
            invocation._outcome, invocation.detail().error = "cancelled", cut
            raise
        invocation._outcome = "aborted" if aborted else "failed"
        return failure

    async def _in_turn(self, invocation: Invocation, hooks: tuple[Hook, ...], payload: Any) -> None:
        """Call hooks one after another, each within its limit, until one of them aborts."""
        for hook in hooks:
            invocation._hook = hook
            try:
                if (rest := self._step(hook, invocation, payload)) is not None:
                    _nothing_left(await rest)
            except BaseException as error:
                self._hook_error(invocation, hook, error)
            if hook.phase in VETO and invocation.aborted:
                break
        invocation._hook = None

    def _step(self, hook: Hook, invocation: Invocation, payload: Any) -> Awaitable[Any] | None:
        """Call a hook and drive it up to its first wait; the rest to be awaited, within its limit, if there is one.

        Only a hook that really waits pays for a timer.
        """
        limit = hook.timeout_s
        if not hook.takes_second:
            arguments: tuple[Any, ...] = (payload,)
        else:
            arguments = (payload, invocation.abort if hook.phase in VETO else invocation.error)
        if hook.is_async:
            coroutine = hook.call(*arguments)
            try:
                first = coroutine.send(None)
            except StopIteration as stop:
                _nothing_left(stop.value)
                return None
            rest = resume(coroutine, first)
        else:
            rest = hook.call(*arguments) if limit is None else self._timed(invocation, hook, *arguments)
            if rest is None:
                return None
            if not isawaitable(rest):
                _nothing_left(rest)
                return None
        return rest if limit is None else _within(limit, rest)

    def _timed(self, invocation: Invocation, hook: Hook, *arguments: Any) -> Any:
        """Call a plain `def` hook, which nothing can interrupt, and report it if it took too long."""
        begun = time.perf_counter()
        try:
            return hook.call(*arguments)
        finally:
            seconds = time.perf_counter() - begun
            if hook.timeout_s is not None and seconds > hook.timeout_s:
                logger().warning("hook.slow", action=invocation.action, hook=str(hook), seconds=round(seconds, 3))
                signals.hook_slow.emit(self._table.sender, invocation=invocation, hook=hook, seconds=seconds)

    def _hook_error(self, invocation: Invocation, hook: Hook, error: BaseException) -> None:
        """A failed before hook refuses the action unless it opted out; any other is reported and kept."""
        if not isinstance(error, Exception) and not _is_stray(error):
            raise error
        if not invocation.aborted and hook.phase in VETO and hook.on_error == "refuse":
            failure = _hook_failure(invocation, hook, error)
            failure.__cause__ = error if failure is not error else error.__cause__
            self._report(invocation, hook, failure)
            raise failure
        if hook.phase not in VETO and isinstance(error, Exception):
            invocation.detail().after_errors = (*invocation.after_errors, error)
        self._report(invocation, hook, error)

    def _report(self, invocation: Invocation, hook: Hook, error: BaseException) -> None:
        logger().warning(
            "hook.failed",
            action=invocation.action,
            hook=str(hook),
            phase=hook.phase,
            error=type(error.__cause__ or error).__name__,
            where=where(error.__cause__ or error),
        )
        signals.hook_failed.emit(self._table.sender, invocation=invocation, hook=hook, error=error)

    async def _decided(self, action: Action, body: Function, invocation: Invocation, payload: Any) -> Any:
        """What lies between the before and the after hooks: guards, the verdict, the check, body or replacements."""
        guards = action.guards_for(invocation)
        if guards:
            await self._guarded(guards, body, invocation, payload)
        invocation._hook = None
        if body.check is not None and not guards:
            await run_function(body.check, payload)
        if action.replacements:
            return await self._replaced(action, body, invocation)
        return await run_function(body, payload)

    async def _guarded(self, guards: tuple[Hook, ...], body: Function, invocation: Invocation, payload: Any) -> None:
        """Run the guards, then the check, and make sure that what they saw is what the body gets."""
        seen = matching.content(payload)
        await self._in_turn(invocation, guards, read_only(payload))
        if invocation.aborted:
            _raise_aborted(invocation)
        if body.check is not None:
            await run_function(body.check, payload)
        if matching.content(payload) != seen:
            raise ActionError(
                "payload_changed",
                f"The payload of {invocation.action} changed while its guards decided on it.",
                action=invocation.action,
                hint="A before hook has left a task behind that goes on changing it; await that task.",
            )

    async def _replaced(self, action: Action, body: Function, invocation: Invocation) -> Any:
        """Run the replacements; guards and check decide again on a payload that they change or exchange."""

        async def judge(payload: Any) -> None:
            if guards := action.guards_for(invocation):
                await self._guarded(guards, body, invocation, payload)
            elif body.check is not None:
                await run_function(body.check, payload)

        chain = action.replacements[::-1]
        return await Replacements(chain, body, invocation, strict=True, judge=judge).run(invocation.payload)

    # -- the flex profiles --

    async def _flex(self, action: Action, body: Function, invocation: Invocation, payload: Any) -> Any:
        if action.before:
            await self._at_once(invocation, action.before, payload)
        if invocation.aborted:
            raise ActionAborted(
                "action_aborted",
                f"Action {action.name} cancelled by before event",
                action=action.name,
                hook=str(by) if (by := invocation.details.aborted_by) else None,
            )

        try:
            if action.replacements:
                result = await self._replaced_as_in_flex(action, body, invocation)
            else:
                if body.check is not None:
                    await run_function(body.check, payload)
                result = body.call(payload)
                if body.is_async or isawaitable(result):
                    result = await result
            invocation._result = result
        except Exception as error:
            # An abort is a plain error in Flex: of a nested action it is wrapped like any that a body raises.
            if isinstance(error, ActionError) and not isinstance(error, ActionAborted):
                raise
            raise ActionFailed(
                "action_failed",
                safe_text(error),
                action=action.name,
                description=f"Error in action {action.name} body: {safe_text(error)}",
            ) from error
        if action.after:
            await self._at_once(invocation, action.after, payload)
        return result

    async def _replaced_as_in_flex(self, action: Action, body: Function, invocation: Invocation) -> Any:
        async def judge(payload: Any) -> None:
            if body.check is not None:
                await run_function(body.check, payload)

        chain = action.replacements[::-1]
        if not self._table.profile.chained:
            chain = chain[:1]
        return await Replacements(chain, body, invocation, strict=False, judge=judge).run(invocation.payload)

    async def _at_once(self, invocation: Invocation, hooks: tuple[Hook, ...], payload: Any) -> None:
        """Start all listeners in this turn, in order, then wait for them together, as JavaScript does."""
        tasks: dict[asyncio.Task[Any], Hook] = {}
        skipped = False
        loop, caller = asyncio.get_running_loop(), asyncio.current_task()
        for hook in hooks:
            invocation._hook = hook
            try:
                outcome = hook.call(payload, invocation.abort) if hook.takes_second else hook.call(payload)
            except Exception as error:
                # A plain function that raises: later listeners are skipped, started ones are not awaited.
                self._report(invocation, hook, error)
                skipped = True
                break
            if not hook.is_async:
                if outcome is None or not isawaitable(outcome):
                    continue
                outcome = wrapped(outcome)
            try:
                task = first_step(outcome, loop, caller)
            except (Exception, asyncio.CancelledError) as error:
                self._report(invocation, hook, error)
            else:
                if task is not None:
                    tasks[task] = hook
        invocation._hook = None
        for task, hook in tasks.items():
            self._table.background.add(task)
            task.add_done_callback(partial(self._listener_ended, invocation, hook))
        if tasks and not skipped:
            await _all_done(tasks)

    def _listener_ended(self, invocation: Invocation, hook: Hook, task: "asyncio.Task[Any]") -> None:
        self._table.background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(invocation, hook, error)

    # -- refusals --

    def _refuse_pending(self, action: Action, payload: Any) -> None:
        if self._table.strict:
            found = action.is_pending(payload)
        else:
            # In-place changes count at once in Flex, so nothing can be indexed.
            found = any(matching.flex_match(payload, i.payload, action.name) for i in action.running)
        if found:
            raise ActionError(
                "action_pending",
                "Action is pending",
                action=action.name,
                retryable=True,
                description=f"Action {action.name} is pending",
                hint=f"{action.name} is still running with an equal payload; await it first."
                if self._table.strict
                else None,
            )

    def _refuse_blocked(self, action: Action, payload: Any) -> None:
        if self._table.strict:
            blocked = any(b[0] is None or matching.contains(payload, b[0]) for b in action.blocks)
        else:
            # Flex: the call is sought among the blocks; a block without payload stops only calls without one.
            blocked = any(matching.flex_match(payload, b[0], action.name) for b in action.blocks)
        if blocked:
            raise ActionError(
                "action_blocked",
                "Action is blocked",
                action=action.name,
                description=f"Action {action.name} has been blocked",
                hint=f"unblock({action.name!r}) takes the block back." if self._table.strict else None,
            )

    def _updated(self, action: Action, payload: Any) -> Any:
        assert action.update is not None
        try:
            updated = action.update(payload)
        except Exception as error:
            if self._table.strict and not isinstance(error, ActionError):
                raise ActionFailed(
                    "action_failed",
                    f"The payload_update of {action.name} failed: {type(error).__name__}: {error}",
                    action=action.name,
                ) from error
            raise
        if updated is None and self._table.strict:
            raise RegistrationError(
                "invalid_registration",
                f"The payload_update of {action.name} returned nothing.",
                action=action.name,
                hint="It must return the payload.",
            )
        return updated

    def _observe_begin(self, invocation: Invocation) -> None:
        if self._table.strict:
            self._emit("invocationBegin")
        _began.emit(self._table.sender, invocation=invocation)

    def _observe_end(self, invocation: Invocation) -> None:
        _ended.emit(self._table.sender, invocation=invocation)
        self._emit("invocationEnd")


def _nothing_left(value: Any) -> None:
    """Refuse what a hook returned instead of running it: a guard that never ran would let everything pass."""
    if value is None or isinstance(value, (bool, int, str)):
        return
    if isawaitable(value) or isinstance(value, (Generator, AsyncGenerator)):
        if isinstance(value, (Coroutine, Generator)):
            value.close()
        raise TypeError(f"it returned {type(value).__name__} that nobody runs; await it")


async def _within(seconds: float, awaitable: Awaitable[Any]) -> Any:
    """Await within a limit; `_OutOfTime` also if the time ran out and the hook swallowed its cancellation."""
    try:
        async with asyncio.timeout(seconds) as limit:
            value = await awaitable
    except TimeoutError as error:
        if limit.expired():
            raise _OutOfTime from error
        raise
    if limit.expired():
        raise _OutOfTime
    return value


class _OutOfTime(Exception):
    """A hook exceeded its own limit (and did not merely raise a TimeoutError)."""


async def _all_done(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        raise


def _is_stray(error: BaseException) -> bool:
    """Whether a CancelledError leaked out of something cancelled, rather than being a cancellation of this task."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() == 0


def _refuse_key(action: Action, key: str) -> None:
    if not isinstance(key, str) or not 1 <= len(key) <= 255:
        raise ActionError("invalid_payload", "key must be a text of 1 to 255 characters.", action=action.name)
    if not action.takes_key:
        raise ActionError(
            "key_not_supported",
            f"{action.name} takes no idempotency key.",
            action=action.name,
            hint="Give it to the action that sends.",
        )


def _raise_aborted(invocation: Invocation) -> NoReturn:
    hook, reason = invocation.details.aborted_by, invocation.details.reason
    why = f": {safe_text(reason)}" if reason is not None else "."
    error = ActionAborted(
        "action_aborted",
        f"{invocation.action} was aborted by {hook}{why}",
        action=invocation.action,
        hook=str(hook),
        details={"reason": safe_text(reason)} if reason is not None else None,
    )
    error.reason = reason
    raise error


def _hook_failure(invocation: Invocation, hook: Hook, error: BaseException) -> ActionError:
    if isinstance(error, ActionError) and error.code == "depth_exceeded":
        return error  # wrapped at each of its levels it would say nothing any more
    if isinstance(error, _OutOfTime):
        return HookFailed(
            "hook_timeout",
            f"{hook} took longer than {hook.timeout_s:g} s, so {invocation.action} was refused.",
            action=invocation.action,
            hook=str(hook),
            hint="Give it more with timeout_s, or make it faster.",
            retryable=True,
            details={"timeout_s": hook.timeout_s},
        )
    return HookFailed(
        "hook_failed",
        f"{hook} failed before {invocation.action}, so it was refused: {type(error).__name__}: {safe_text(error)}",
        action=invocation.action,
        hook=str(hook),
    )


def _as_action_error(error: Exception, invocation: Invocation) -> ActionError:
    if isinstance(error, ActionError):
        if error.action is None:
            error.action = invocation.action
        return error
    return ActionFailed(
        "action_failed",
        f"{invocation.action} failed: {type(error).__name__}: {safe_text(error)}",
        action=invocation.action,
    )
