"""`Invocation`: one call of an action, and which one the running code belongs to."""

from collections.abc import Hashable
from contextvars import ContextVar
from typing import Any, Final, Literal

import attrs

from .errors import ActionError
from .hooks import VETO, Hook

MAX_DEPTH: Final = 16

Outcome = Literal["running", "ok", "aborted", "failed", "cancelled"]


@attrs.define
class _Details:
    """What most invocations never need; made only for those that do."""

    parent: "Invocation | None" = None
    begun_in: Hook | None = None
    depth: int = 1
    plugin: str | None = None
    key: str | None = None
    deadline: float | None = None
    error: BaseException | None = None
    after_errors: tuple[Exception, ...] = ()
    aborted_by: Hook | None = None
    reason: object = None
    index_key: Hashable = None
    removed_guards: tuple[Hook, ...] = ()
    extras: dict[Any, Any] = attrs.field(factory=dict)


NO_DETAILS: Final = _Details()


class Invocation:
    """One call of an action, as its hooks see it through `current_invocation()`.

    Attributes:
        id: number, unique within its `Actions`.
        action: name of the action.
        payload: the payload that hooks and body share.
        aborted: whether a hook has called `abort`.
    """

    # Slots without an __init__, few, and most of them unwritten until there is something to say: `Actions.invoke` pays
    # for each write, the properties below pay for the rare read.
    __slots__ = ("_details", "_hook", "_outcome", "_result", "aborted", "action", "id", "payload")
    id: int
    action: str
    payload: Any
    aborted: bool
    _hook: Hook | None
    _outcome: Outcome
    _result: Any
    _details: _Details

    @property
    def hook(self) -> Hook | None:
        """The hook that is running, or None."""
        return getattr(self, "_hook", None)

    @property
    def outcome(self) -> Outcome:
        """`running`, then `ok`, `aborted`, `failed` or `cancelled`."""
        return getattr(self, "_outcome", "running")

    @property
    def result(self) -> Any:
        """The value of the body or replacement, once it returned."""
        return getattr(self, "_result", None)

    @property
    def details(self) -> _Details:
        """What is not usual about it, for reading."""
        return getattr(self, "_details", NO_DETAILS)

    def detail(self) -> _Details:
        """The details, made now if there were none, for writing."""
        if self.details is NO_DETAILS:
            self._details = _Details()
        return self._details

    @property
    def parent(self) -> "Invocation | None":
        """The invocation inside which this one was begun, or None."""
        return self.details.parent

    @property
    def depth(self) -> int:
        """1 for an outermost invocation."""
        return self.details.depth

    @property
    def key(self) -> str | None:
        """The caller's idempotency key, or None."""
        return self.details.key

    @property
    def deadline(self) -> float | None:
        """Event-loop time at which the caller's `timeout_s` ends, inherited by nested calls, or None."""
        return self.details.deadline

    @property
    def error(self) -> BaseException | None:
        """What the call raises, once known."""
        return self.details.error

    @property
    def after_errors(self) -> tuple[Exception, ...]:
        """What after, abort and error hooks raised; does not fail the call."""
        return self.details.after_errors

    @property
    def origin(self) -> Literal["call", "hook", "body"]:
        """Who began it: a caller from outside, a hook of another invocation, or another's body."""
        if self.details.parent is None:
            return "call"
        return "body" if self.details.begun_in is None else "hook"

    @property
    def plugin(self) -> str | None:
        """The plugin that began it, through its own `actions` or in one of its hooks, or None."""
        return self.details.plugin

    @property
    def extras(self) -> dict[Any, Any]:
        """A dict for passing data between the hooks of this invocation."""
        return self.detail().extras

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.outcome == "running"

    def abort(self, reason: object = None) -> None:
        """Refuse the action, for a reason; before hooks and guards get this as their second argument.

        Raises:
            ActionError: `abort_too_late`, once the before hooks have ended.
        """
        if self.hook is None or self.hook.phase not in VETO:
            raise ActionError(
                "abort_too_late",
                f"abort() was called after the before hooks of {self.action} had ended.",
                action=self.action,
                hint="Call it before the hook returns, and await what it waits for.",
            )
        if not self.aborted:
            self.note_abort(self.hook, reason)

    def note_abort(self, hook: Hook | None, reason: object) -> None:
        """Remember who aborted it, and why."""
        details = self.detail()
        self.aborted, details.aborted_by, details.reason = True, hook, reason

    def __repr__(self) -> str:
        return f"<Invocation {self.id} {self.action} {self.outcome}>"


class FlexInvocation(Invocation):
    """As in Flex: an abort that comes too late does nothing, silently."""

    __slots__ = ()

    def abort(self, reason: object = None) -> None:
        """Refuse the action, for a reason, while its before listeners are awaited."""
        self.note_abort(self.hook, reason)


current: ContextVar[Invocation | None] = ContextVar("flex_actions_invocation", default=None)


def current_invocation() -> Invocation | None:
    """The innermost invocation that the calling code runs in, or None."""
    return current.get()


def place(
    invocation: Invocation, parent: Invocation | None, key: str | None, deadline: float | None, plugin: str | None
) -> None:
    """Set what a plain outermost call does not have.

    Raises:
        ActionError: `depth_exceeded`.
    """
    details = invocation.detail()
    details.key = key
    details.deadline = deadline
    details.plugin = plugin
    if parent is None:
        return
    if plugin is None and parent.hook is not None:
        details.plugin = parent.hook.plugin
    if not parent.running:
        # Begun by a task that outlived its invocation: a new beginning. Holding on to the old one would keep a
        # whole chain of them alive where each begins the next.
        return
    details.parent = parent
    details.begun_in = parent.hook
    details.depth = parent.depth + 1
    if deadline is None or (parent.deadline is not None and parent.deadline < deadline):
        details.deadline = parent.deadline
    if invocation.depth > MAX_DEPTH:
        raise ActionError(
            "depth_exceeded",
            f"{invocation.action} would be nested {invocation.depth} deep; the limit is {MAX_DEPTH}.",
            action=invocation.action,
            hint="A hook probably invokes the action that it hooks.",
        )
