"""Hooks: a function with its place in an action, its owner, its order and its limits."""

import heapq
import inspect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple

from .errors import RegistrationError

Phase = Literal["before", "guard", "after", "abort", "error", "replace", "body", "event"]
OnError = Literal["refuse", "ignore"]

# How many positional arguments a function of each phase is offered, and their names for error messages.
OFFERED: Final[dict[str, tuple[str, ...]]] = {
    "before": ("payload", "abort"),
    "guard": ("payload", "abort"),
    "after": ("payload",),
    "abort": ("payload", "error"),
    "error": ("payload", "error"),
    "replace": ("payload", "original", "next"),
    "body": ("payload",),
    "update": ("payload",),
    "check": ("payload",),
    "event": ("blocked", "action", "payload"),
    "plain": (),
}
VETO: Final = frozenset({"before", "guard"})
"""The phases whose hooks can abort."""
PREFIXES: Final = ("before", "after", "abort", "error")
PLAIN_EVENTS: Final = ("invocationBegin", "invocationEnd", "actionBlockedChanged")

_ages: Final = itertools.count()


class Hook:
    """One registered function.

    Attributes:
        function: as given.
        phase: before, guard, after, abort, error, replace, body or event.
        action: the action's name; empty for plain events.
        plugin: the plugin that registered it, or None.
        priority: higher runs earlier.
        run_before, run_after: plugins whose hooks it precedes or follows.
        on_error: "refuse" or "ignore", for before hooks.
        timeout_s: seconds it may take, or None.
    """

    __slots__ = (
        "action", "age", "arity", "call", "function", "is_async", "name", "on_error", "phase", "plugin",
        "priority", "run_after", "run_before", "takes_second", "timeout_s",
    )  # fmt: skip

    def __init__(
        self,
        function: Callable[..., Any],
        phase: Phase,
        action: str,
        *,
        plugin: str | None = None,
        priority: int = 0,
        run_before: Iterable[str] = (),
        run_after: Iterable[str] = (),
        on_error: OnError = "refuse",
        timeout_s: float | None = None,
        arity: int | None = None,
    ) -> None:
        self.age = next(_ages)
        self.function = function
        self.phase = phase
        self.action = action
        self.plugin = plugin
        self.priority = priority
        self.run_before = _names(run_before)
        self.run_after = _names(run_after)
        self.on_error = on_error
        self.timeout_s = timeout_s
        self.is_async = _is_async(function)
        self.name = function_name(function)
        offered = len(OFFERED[phase])
        self.arity = offered if arity is None else arity
        self.takes_second = self.arity >= 2
        self.call = function if self.arity else _without_arguments(function)

    def __str__(self) -> str:
        return f"{self.plugin}: {self.name}" if self.plugin else self.name

    def __repr__(self) -> str:
        return f"<Hook {self.phase}{self.action} {self}>"


class Event(NamedTuple):
    """A listener's event, taken apart; `action` is empty for plain events."""

    phase: Phase
    action: str


def parse_event(event: str) -> Event | None:
    """`beforeAttachFile` as (before, AttachFile); None if it is no event."""
    if event in PLAIN_EVENTS:
        return Event("event", "")
    for prefix in PREFIXES:
        if event.startswith(prefix) and len(event) > len(prefix):
            return Event(prefix, event[len(prefix) :])
    return None


def parse_flex_event(event: str) -> Event:
    """The same in the flex profiles, where any text is an event and the empty one an action: `before` is its event."""
    for prefix in PREFIXES:
        if event == prefix:
            return Event(prefix, "")
    return parse_event(event) or Event("event", event)


def function_name(function: Callable[..., Any]) -> str:
    """A function's qualified name, for people."""
    plain = getattr(function, "func", function)  # functools.partial
    name = getattr(plain, "__qualname__", None) or type(plain).__qualname__
    return str(name).replace("<locals>.", "")


def arity_of(function: Callable[..., Any], phase: str, *, event: str) -> int:
    """How many of the offered arguments a function takes; fewer than offered is fine.

    Raises:
        RegistrationError: it is not callable, or needs what is not offered.
    """
    offered = OFFERED[phase]
    if not callable(function):
        raise RegistrationError(
            "invalid_registration", f"{event}: a hook must be a function, not {type(function).__name__}."
        )
    if _is_generator(function):
        raise RegistrationError(
            "invalid_registration",
            f"{event}: {function_name(function)} is a generator, so calling it would run nothing.",
            hint="Write it as def or async def without yield.",
        )
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError):  # some builtins have none
        return 1 if phase in ("before", "guard", "after", "body", "check", "update") else len(offered)
    takes, needs = 0, 0
    for i, p in enumerate(parameters):
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
            needs += p.default is p.empty
            # A default of the author's own (`limit=10`) must not be overwritten by what we offer.
            takes += p.default is p.empty or offered[i : i + 1] == (p.name,)
        elif p.kind is p.VAR_POSITIONAL:
            takes = len(offered)
        elif p.kind is p.KEYWORD_ONLY and p.default is p.empty:
            raise _bad_signature(function, event, offered, f"it needs the keyword {p.name!r}")
    if needs > len(offered):
        raise _bad_signature(function, event, offered, f"it needs {needs} arguments")
    return min(takes, len(offered))


def _bad_signature(function: Callable[..., Any], event: str, offered: Sequence[str], why: str) -> RegistrationError:
    name = function_name(function)
    return RegistrationError(
        "invalid_registration",
        f"{event}: {name} cannot be called: {why}.",
        hint=f"Write it as def {name.rpartition('.')[2]}({', '.join(offered)}); fewer are fine.",
    )


def _names(value: Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


def _is_generator(function: Callable[..., Any]) -> bool:
    candidates = (function, getattr(function, "__call__", None))  # noqa: B004 - an object whose __call__ is one
    return any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in candidates)


def _without_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *_: function()


def in_order(hooks: Sequence[Hook]) -> tuple[Hook, ...]:
    """Hooks as they run: by `run_before` and `run_after`, then priority, then age.

    Raises:
        RegistrationError: the wishes form a cycle.
    """
    hooks = sorted(hooks, key=lambda h: h.age)
    if not any(h.run_before or h.run_after for h in hooks):
        return tuple(sorted(hooks, key=lambda h: -h.priority))
    followers: dict[int, set[int]] = defaultdict(set)
    by_plugin: dict[str | None, list[int]] = defaultdict(list)
    for i, hook in enumerate(hooks):
        by_plugin[hook.plugin].append(i)
    for i, hook in enumerate(hooks):
        for other in hook.run_before:
            followers[i].update(j for j in by_plugin[other] if j != i)
        for other in hook.run_after:
            for j in by_plugin[other]:
                if j != i:
                    followers[j].add(i)
    waits = [0] * len(hooks)
    for later in followers.values():
        for j in later:
            waits[j] += 1
    ready = [(-hooks[i].priority, i) for i, n in enumerate(waits) if n == 0]
    heapq.heapify(ready)
    ordered: list[Hook] = []
    while ready:
        _, i = heapq.heappop(ready)
        ordered.append(hooks[i])
        for j in followers[i]:
            waits[j] -= 1
            if waits[j] == 0:
                heapq.heappush(ready, (-hooks[j].priority, j))
    if len(ordered) < len(hooks):
        stuck = sorted({str(h) for h in hooks} - {str(h) for h in ordered})
        raise RegistrationError(
            "invalid_registration",
            f"The order of {', '.join(stuck)} is a cycle of run_before and run_after.",
            hint="Take one of the wishes away.",
        )
    return tuple(ordered)
