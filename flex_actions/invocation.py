"""`Invocation`: one call of an action, and which one the running code belongs to."""

from collections.abc import Hashable
from contextvars import ContextVar
from typing import Any, Final, Literal

from .errors import ActionError
from .hooks import Hook

MAX_DEPTH: Final = 16

Outcome = Literal["running", "ok", "aborted", "failed", "cancelled"]


class Invocation:
    """One call of an action, as its hooks see it through `current_invocation()`.

    Attributes:
        id: number, unique within its `Actions`.
        action: name of the action.
        payload: the payload that hooks and body share.
        parent: the invocation inside which this one was begun, or None.
        depth: 1 for an outermost invocation.
        key: the caller's idempotency key, or None.
        deadline: event-loop time at which the caller's `timeout_s` ends, inherited by nested calls, or None.
        hook: the hook that is running, or None.
        outcome: `running`, then `ok`, `aborted`, `failed` or `cancelled`.
        result: the body's value, once it returned.
        error: what the call raises, once known.
        aborted: whether a hook has called `abort`.
        after_errors: what after, abort and error hooks raised; does not fail the call.
    """

    # Class-level defaults and no __init__: a call writes only what differs, which halves the cost of making one.
    id: int = 0
    action: str = ""
    payload: Any = None
    parent: "Invocation | None" = None
    depth: int = 1
    key: str | None = None
    deadline: float | None = None
    hook: Hook | None = None
    outcome: Outcome = "running"
    result: Any = None
    error: BaseException | None = None
    after_errors: tuple[Exception, ...] = ()
    aborted: bool = False
    _aborted_by: Hook | None = None
    _reason: object = None
    _begun_in: Hook | None = None
    _open = True
    _index_key: Hashable = None
    _extras: dict[Any, Any] | None = None

    @property
    def origin(self) -> Literal["call", "hook", "body"]:
        """Who began it: a caller from outside, a hook of another invocation, or another's body."""
        if self.parent is None:
            return "call"
        return "body" if self._begun_in is None else "hook"

    @property
    def plugin(self) -> str | None:
        """The plugin whose hook began it, or None."""
        return self._begun_in.plugin if self._begun_in is not None else None

    @property
    def extras(self) -> dict[Any, Any]:
        """A dict for passing data between the hooks of this invocation."""
        if self._extras is None:
            self._extras = {}
        return self._extras

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.outcome == "running"

    def abort(self, reason: object = None) -> None:
        """Refuse the action, for a reason; before hooks and guards get this as their second argument.

        Raises:
            ActionError: `abort_too_late`, once the before hooks have ended.
        """
        if not self._open:
            raise ActionError(
                "abort_too_late",
                f"abort() was called after the before hooks of {self.action} had ended.",
                action=self.action,
                hint="Call it before the hook returns, and await what it waits for.",
            )
        if not self.aborted:
            self.aborted, self._aborted_by, self._reason = True, self.hook, reason

    def __repr__(self) -> str:
        return f"<Invocation {self.id} {self.action} {self.outcome}>"


class FlexInvocation(Invocation):
    """As in Flex: an abort that comes too late does nothing, silently."""

    def abort(self, reason: object = None) -> None:
        """Refuse the action, for a reason, while its before listeners are awaited."""
        self.aborted, self._aborted_by, self._reason = True, self.hook, reason


current: ContextVar[Invocation | None] = ContextVar("flex_actions_invocation", default=None)


def current_invocation() -> Invocation | None:
    """The innermost invocation that the calling code runs in, or None."""
    return current.get()


def place(invocation: Invocation, parent: Invocation | None, key: str | None, deadline: float | None) -> None:
    """Set what a plain outermost call does not have.

    Raises:
        ActionError: `depth_exceeded`.
    """
    invocation.key = key
    invocation.deadline = deadline
    if parent is None:
        return
    invocation.parent = parent
    invocation._begun_in = parent.hook
    if not parent.running:
        return  # begun by a task that outlived its invocation: a new beginning, as far as depth goes
    invocation.depth = parent.depth + 1
    if deadline is None or (parent.deadline is not None and parent.deadline < deadline):
        invocation.deadline = parent.deadline
    if invocation.depth > MAX_DEPTH:
        raise ActionError(
            "depth_exceeded",
            f"{invocation.action} would be nested {invocation.depth} deep; the limit is {MAX_DEPTH}.",
            action=invocation.action,
            hint="A hook probably invokes the action that it hooks.",
        )
