"""`Registry`: what is registered under which name, in which order, by whom; what is blocked, what runs."""

import asyncio
import itertools
from asyncio import Task
from collections.abc import Callable, Hashable, Iterable, Mapping
from inspect import isawaitable
from typing import Any, Final, Literal, Self, TypeVar, overload

import attrs

from . import matching
from .errors import ActionError, RegistrationError, as_text, brief
from .hooks import (
    PLAIN_EVENTS,
    PREFIXES,
    Event,
    Hook,
    OnError,
    Phase,
    arity_of,
    function_name,
    in_order,
    parse_event,
    parse_flex_event,
)
from .invocation import Invocation
from .logs import logger, where
from .nearest import did_you_mean, nearest
from .steps import Started, start_now

F = TypeVar("F", bound=Callable[..., Any])

HOOK_LIMIT_S: Final = 5.0
DEFAULT: Final[Any] = object()


@attrs.frozen
class Profile:
    """How the dispatcher behaves where Flex's versions and ours differ.

    Attributes:
        name: `strict`, `flex1` (Flex UI 1.x, Webchat 2.0) or `flex2` (Flex UI 2.x).
        strict: our mends instead of Flex's quirks.
        chained: replacements are all kept and called through `next`.
        hook_limit_s: default time limit of a hook in seconds.
    """

    name: Literal["strict", "flex1", "flex2"]
    strict: bool
    chained: bool
    hook_limit_s: float | None


PROFILES: Final[Mapping[str, Profile]] = {
    "strict": Profile("strict", strict=True, chained=True, hook_limit_s=HOOK_LIMIT_S),
    "flex1": Profile("flex1", strict=False, chained=False, hook_limit_s=None),
    "flex2": Profile("flex2", strict=False, chained=True, hook_limit_s=None),
}


class Function:
    """A body, update or check, with what is known about it beforehand; a body with its check."""

    __slots__ = ("call", "check", "is_async", "is_plain")

    def __init__(
        self, function: Callable[..., Any], phase: str, *, event: str, check: "Function | None" = None
    ) -> None:
        hook = Hook(function, "body", "", arity=min(arity_of(function, phase, event=event), 1))
        self.call = hook.call
        self.check = check
        self.is_async = hook.is_async
        self.is_plain = hook.is_async and check is None


class Action:
    """All that is registered under one name. Tuples are replaced, never changed: a dispatch keeps its own."""

    __slots__ = (
        "abort", "after", "before", "blocks", "body", "error", "fresh", "guard", "in_use", "index", "indexed",
        "is_plain", "lingers", "name", "owner", "replacements", "takes_key", "update",
    )  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.body: Function | None = None
        self.update: Callable[[Any], Any] | None = None
        self.takes_key = False
        self.owner: str | None = None
        self.before: tuple[Hook, ...] = ()
        self.guard: tuple[Hook, ...] = ()
        self.after: tuple[Hook, ...] = ()
        self.abort: tuple[Hook, ...] = ()
        self.error: tuple[Hook, ...] = ()
        self.replacements: tuple[Hook, ...] = ()  # oldest first
        self.blocks: tuple[Any, ...] = ()
        # What runs, with the payload as given. Indexed only once a second call comes: a lone call computes no key.
        self.fresh: dict[Invocation, Any] = {}
        self.indexed: dict[Invocation, Any] = {}
        self.index: dict[Hashable, int] = {}
        self.in_use: dict[int, int] = {}  # by id: one payload object cannot serve two calls, whatever became of it

        self.is_plain = True  # neither guards nor replacements
        self.lingers = False

    def put(self, phase: str, hooks: tuple[Hook, ...]) -> None:
        """Take the hooks of a phase, or the replacements."""
        setattr(self, phase, hooks)
        self.is_plain = not (self.guard or self.replacements or self.lingers)

    def linger(self, guard: Hook) -> None:
        """Remember a guard that is being removed for the invocations under way, which it must still pass."""
        for invocation in self.running:
            details = invocation.detail()
            details.removed_guards = (*details.removed_guards, guard)
            self.lingers = True

    def guards_for(self, invocation: Invocation) -> tuple[Hook, ...]:
        """The guards that an invocation must pass: today's, and those removed while it was under way."""
        if self.lingers and len(self.fresh) + len(self.indexed) == 1:
            # The only one left takes what lingers with it.
            self.lingers = False
            self.is_plain = not (self.guard or self.replacements)
        removed = invocation.details.removed_guards
        return self.guard if not removed else (*removed, *(g for g in self.guard if g not in removed))

    @property
    def running(self) -> list[Invocation]:
        """The invocations under way."""
        return [*self.indexed, *self.fresh]

    def is_pending(self, payload: Any) -> bool:
        """Whether an equal payload runs."""
        for invocation, given in self.fresh.items():
            invocation.detail().index_key = key = matching.payload_key(given)
            self.index[key] = self.index.get(key, 0) + 1
            # Values count by identity, so they must outlive a hook that takes them out of the payload.
            self.indexed[invocation] = given, matching.snapshot(given)
            self.in_use[id(given)] = self.in_use.get(id(given), 0) + 1
        self.fresh.clear()
        return matching.payload_key(payload) in self.index or (
            id(payload) in self.in_use and matching.fields(payload) is not None
        )

    def forget(self, invocation: Invocation) -> None:
        """Take an indexed invocation off."""
        given, _ = self.indexed.pop(invocation, (DEFAULT, None))
        if given is not DEFAULT:
            _count_down(self.index, invocation.details.index_key)
            _count_down(self.in_use, id(given))


def _count_down(counts: dict[Any, int], key: Hashable) -> None:
    if (count := counts.get(key, 0) - 1) > 0:
        counts[key] = count
    else:
        counts.pop(key, None)


class Table:
    """What all views of one `Actions` share."""

    def __init__(self, profile: Profile, sender: "Registry") -> None:
        self.profile = profile
        self.sender = sender  # of signals: observers know the dispatcher, not the views of its plugins
        self.strict = profile.strict
        self.actions: dict[str, Action] = {}
        self.events: dict[str, tuple[Hook, ...]] = dict.fromkeys(PLAIN_EVENTS, ())
        self.observed = False
        self.sealed = False
        self.next_number = itertools.count(1).__next__
        self.background: set[Task[Any]] = set()


class Handle:
    """A registration; `remove()` takes it back. Removing twice does nothing."""

    __slots__ = ("_remove", "owner")

    def __init__(self, remove: Callable[[], None], owner: str | None) -> None:
        self._remove: Callable[[], None] | None = remove
        self.owner = owner

    def remove(self) -> None:
        """Take the registration back. Dispatches under way are not changed."""
        remove, self._remove = self._remove, None
        if remove is not None:
            remove()


class Registry:
    """The dispatcher. A session owns one; two never share hooks.

    Args:
        profile: `strict` (default), `flex1` or `flex2`.

    Raises:
        RegistrationError: no such profile.
    """

    def __init__(self, profile: str = "strict") -> None:
        if not isinstance(profile, str) or profile not in PROFILES:
            raise RegistrationError(
                "invalid_registration", f"No profile {brief(profile)}.", hint=did_you_mean(profile, PROFILES)
            )
        self._table = Table(PROFILES[profile], self)
        self._owner: str | None = None
        self._handles: list[Handle] = []
        self._retired = False

    # -- registration --

    @property
    def profile(self) -> str:
        """The profile's name."""
        return self._table.profile.name

    @property
    def names(self) -> list[str]:
        """The registered actions, in the order registered."""
        return [a.name for a in self._table.actions.values() if a.body is not None]

    def owned(self, plugin: str) -> Self:
        """The same dispatcher as one plugin sees it: what it registers bears its name and leaves with `remove_all`."""
        if self._owner is not None:
            # What a view of a view registered would not leave with the plugin.
            raise RegistrationError("invalid_registration", f"This object is the plugin {self._owner}'s own.")
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._owner = plugin
        view._handles = []
        view._retired = False
        return view

    def remove_all(self) -> None:
        """Remove all that was registered through this object, newest first."""
        while self._handles:
            self._handles.pop().remove()

    def retire(self) -> None:
        """The same as `remove_all`, for good: from now on nothing can be registered through this object."""
        self._retired = True
        self.remove_all()

    def register(
        self,
        name: str,
        body: Callable[..., Any],
        payload_update: Callable[[Any], Any] | None = None,
        check: Callable[..., Any] | None = None,
        *,
        takes_key: bool = False,
    ) -> Handle:
        """Register an action.

        Args:
            name: as in `SendMediaMessage`.
            body: `(payload)`, def or async def; its value is the invocation's.
            payload_update: turns the caller's payload into the one that hooks and body share; plain def.
            check: `(payload)`; raises to refuse. In `strict` it runs before body and replacements alike, and again
                when `original` gets another payload; in the flex profiles it is a part of the body.
            takes_key: the body honours `current_invocation().key`; otherwise `invoke(…, key=…)` is refused.

        Raises:
            RegistrationError: in `strict`, a name registered twice, empty, or a function of a wrong signature.
        """
        strict = self._table.strict
        if strict and (not isinstance(name, str) or not name):
            raise RegistrationError("invalid_registration", f"An action needs a name, not {name!r}.")
        action = self._action(name)
        if strict and action.body is not None:
            raise RegistrationError(
                "invalid_registration",
                f"The action {name} is registered already.",
                action=name,
                hint="Use replace() to change what it does.",
            )
        checked = Function(check, "check", event=name) if check else None
        mine = Function(body, "body", event=name, check=checked)
        update = Function(payload_update, "update", event=name) if payload_update else None
        if strict and update is not None and update.is_async:
            raise RegistrationError(
                "invalid_registration", f"The payload_update of {name} must be a plain function.", action=name
            )
        previous = action.body, action.update, action.takes_key, action.owner
        action.body = mine
        action.update = update.call if update else None
        action.takes_key = takes_key
        action.owner = self._owner

        def remove() -> None:
            if action.body is mine:
                action.body, action.update, action.takes_key, action.owner = previous

        return self._handle(remove)

    def replace(self, name: str, replacement: Callable[..., Any]) -> Handle:
        """Replace an action's body by `(payload, original)` or `(payload, original, next)`; `await original()` runs it.

        `original` is the body, `next` the older replacement (finally the body); both take another payload.
        """
        if not self._table.profile.chained:
            arity = min(arity_of(replacement, "replace", event=f"replace {name}"), 2)
        else:
            arity = arity_of(replacement, "replace", event=f"replace {name}")
        self._known_once_sealed(name, f"replace {name}")
        hook = Hook(replacement, "replace", name, plugin=self._owner, arity=arity)
        action = self._action(name)
        if self._table.strict and any(h.function == replacement for h in action.replacements):
            raise RegistrationError("invalid_registration", f"{hook.name} replaces {name} already.", action=name)
        action.put("replacements", (*action.replacements, hook))

        def remove() -> None:
            action.put("replacements", tuple(h for h in action.replacements if h is not hook))

        return self._handle(remove)

    def add_listener(
        self,
        event: str,
        function: Callable[..., Any],
        *,
        guard: bool = False,
        priority: int = 0,
        run_before: Iterable[str] = (),
        run_after: Iterable[str] = (),
        on_error: OnError = "refuse",
        timeout_s: float | None = DEFAULT,
    ) -> Handle:
        """Listen to `before<Action>`, `after<Action>`, in `strict` also `abort<Action>` and `error<Action>`.

        `invocationBegin`, `invocationEnd` and `actionBlockedChanged` are Flex's plain events. Order and guards exist
        in `strict` only; elsewhere a guard is an ordinary before hook.

        Args:
            event: the event's name.
            function: before: `(payload, abort)`; after: `(payload)`; abort and error: `(payload, error)`.
            guard: a before hook that runs last, sees the final payload read-only and fails closed.
            priority: higher runs earlier, within the wishes below.
            run_before: plugins whose hooks this one precedes; a missing one is ignored.
            run_after: plugins whose hooks this one follows.
            on_error: `refuse` (default): a failing before hook refuses the action; `ignore`: it is only reported.
            timeout_s: seconds it may take; None for no limit; by default 5 in `strict`, none in the flex profiles.

        Raises:
            RegistrationError: in `strict`: no such event (with the nearest), a wrong signature, the same function
                twice, a cycle in the order.
        """
        profile = self._table.profile
        parsed = self._event(event)
        # The flex profiles know no guards; one that never ran would be worse than one that runs in line.
        phase: Phase = "guard" if guard and profile.strict and parsed.phase == "before" else parsed.phase
        if profile.strict:
            arity = arity_of(function, "plain" if event in PLAIN_EVENTS[:2] else phase, event=event)
            self._refuse_wrong_options(event, phase, function, guard=guard, on_error=on_error)
        else:
            if not callable(function):
                raise RegistrationError("invalid_registration", f"{event}: a listener must be a function.")
            arity = arity_of(function, phase, event=event)
        _refuse_wrong_order(event, priority, run_before, run_after, timeout_s)
        hook = Hook(
            function,
            phase,
            parsed.action,
            plugin=self._owner,
            priority=priority,
            run_before=run_before,
            run_after=run_after,
            on_error=on_error,
            timeout_s=profile.hook_limit_s if timeout_s is DEFAULT else timeout_s,
            arity=arity,
        )
        hooks = self._hooks(event, parsed, phase)
        if profile.strict and any(h.function == function for h in hooks):
            raise RegistrationError("invalid_registration", f"{event}: {hook.name} is registered already.")
        self._set_hooks(event, parsed, phase, (*hooks, hook))
        return self._handle(lambda: self._drop(event, parsed, phase, hook))

    @overload
    def before(self, name: str, function: None = None, **options: Any) -> Callable[[F], F]: ...
    @overload
    def before(self, name: str, function: Callable[..., Any], **options: Any) -> Handle: ...
    def before(self, name: str, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Add a before hook `(payload, abort)`; without a function: a decorator. Options as in `add_listener`."""
        return self._listen("before", name, function, options)

    @overload
    def guard(self, name: str, function: None = None, **options: Any) -> Callable[[F], F]: ...
    @overload
    def guard(self, name: str, function: Callable[..., Any], **options: Any) -> Handle: ...
    def guard(self, name: str, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Add a guard `(payload, abort)`: it runs after all other before hooks, reads only, and fails closed."""
        return self._listen("before", name, function, {**options, "guard": True})

    @overload
    def after(self, name: str, function: None = None, **options: Any) -> Callable[[F], F]: ...
    @overload
    def after(self, name: str, function: Callable[..., Any], **options: Any) -> Handle: ...
    def after(self, name: str, function: Callable[..., Any] | None = None, **options: Any) -> Any:
        """Add an after hook `(payload)`; without a function: a decorator. Options as in `add_listener`."""
        return self._listen("after", name, function, options)

    def remove_listener(self, event: str, function: Callable[..., Any]) -> bool:
        """Remove the newest registration of `function` for `event`; False if there is none."""
        parsed = self._event(event)
        phases: tuple[Phase, ...] = ("guard", "before") if parsed.phase == "before" else (parsed.phase,)
        for phase in phases:
            for hook in reversed(self._hooks(event, parsed, phase)):
                if hook.function == function and self._mine(hook):
                    self._drop(event, parsed, phase, hook)
                    return True
        return False

    def remove_all_listeners(self, event: str | None = None) -> None:
        """Remove all listeners of an event. Without one: in `flex1` nothing happens, as in Flex; otherwise refused."""
        if event is None:
            if self._table.profile.name == "flex1":
                return
            raise RegistrationError("invalid_registration", "remove_all_listeners() needs an event.")
        parsed = self._event(event)
        for phase in ("before", "guard") if parsed.phase == "before" else (parsed.phase,):
            for hook in self._hooks(event, parsed, phase):
                if self._mine(hook):
                    self._drop(event, parsed, phase, hook)

    def _mine(self, hook: Hook) -> bool:
        """Whether this object may remove a hook: a plugin only its own."""
        return self._owner is None or hook.plugin == self._owner

    def seal(self) -> list[str]:
        """Say that all actions are there: from now on a hook for an unknown one is refused at once.

        Returns:
            warnings about hooks whose action never came.

        Raises:
            RegistrationError: a guard whose action never came.
        """
        self._table.sealed = True
        if not self._table.strict:
            return []
        warnings = []
        for action in self._table.actions.values():
            if action.body is not None:
                continue
            hooks = [h for phase in ("before", "guard", "after", "abort", "error") for h in getattr(action, phase)] + [
                *action.replacements
            ]
            for hook in hooks:
                text = f"{hook} waits for the action {action.name}, which does not exist."
                hint = did_you_mean(action.name, self.names)
                if hook.phase == "guard":
                    raise RegistrationError("invalid_registration", text, hook=str(hook), hint=hint)
                warnings.append(f"{text} {hint}")
        return warnings

    def hooks_of(self, name: str) -> list[Hook]:
        """The hooks of an action in the order they run; replacements newest first.

        Raises:
            ActionError: `unknown_action`.
        """
        action = self._registered(name)
        return [
            *action.before,
            *action.guard,
            *reversed(action.replacements),
            *action.after,
            *action.abort,
            *action.error,
        ]

    # -- pending and blocked --

    def block(self, name: str, payload: Any = None) -> Handle:
        """Refuse the action: in `strict` wholly (no payload) or for calls that contain `payload`. See `unblock`."""
        if self._table.strict:
            self._registered(name)
        action = self._action(name)
        entry = (payload,)  # a cell of its own: the same payload may be blocked twice
        action.blocks = (*action.blocks, entry)
        self._emit("actionBlockedChanged", True, name, payload)

        def remove() -> None:
            left = tuple(b for b in action.blocks if b is not entry)
            if len(left) < len(action.blocks):
                action.blocks = left
                self._emit("actionBlockedChanged", False, name, payload)

        return self._handle(remove)

    def unblock(self, name: str, payload: Any = None) -> None:
        """Take back every block that matches `payload`; without one all. A function `(payload, name)` may choose."""
        if self._table.strict:
            self._registered(name)
        action = self._action(name)
        left = tuple(b for b in action.blocks if not self._same(payload, b[0], name))
        if len(left) < len(action.blocks):
            action.blocks = left
            self._emit("actionBlockedChanged", False, name, payload)

    def find_blocked(self, names: str | Iterable[str] | None = None, payload: Any = None) -> list[tuple[str, Any]]:
        """The blocks of some actions (default: all) that match `payload`: pairs of action and block payload."""
        return [(a.name, b[0]) for a in self._chosen(names) for b in a.blocks if self._same(payload, b[0], a.name)]

    def find_pending(self, names: str | Iterable[str] | None = None, payload: Any = None) -> list[tuple[str, Any]]:
        """The running invocations of some actions (default: all) that match: pairs of action and payload."""
        return [
            (a.name, i.payload)
            for a in self._chosen(names)
            for i in a.running
            if self._same(payload, i.payload, a.name)
        ]

    # -- small parts --

    def _unknown(self, given: object) -> ActionError:
        strict = self._table.strict
        name = as_text(given)
        return ActionError(
            "unknown_action",
            f"There is no action {brief(name)}." if strict else "Action does not exist",
            action=name,
            description=f"Action {name} does not exist!",
            hint=did_you_mean(name, self.names) if strict else None,
        )

    def _listen(self, prefix: str, name: str, function: Callable[..., Any] | None, options: dict[str, Any]) -> Any:
        if function is not None:
            return self.add_listener(prefix + name, function, **options)

        def decorate(function: F) -> F:
            self.add_listener(prefix + name, function, **options)
            return function

        return decorate

    def _same(self, sought: Any, stored: Any, name: str) -> bool:
        if self._table.strict and sought is not None and not callable(sought):
            return matching.equal(sought, stored)
        return matching.flex_match(sought, stored, name)

    def _chosen(self, names: str | Iterable[str] | None) -> list[Action]:
        if names is None:
            return list(self._table.actions.values())
        wanted = [names] if isinstance(names, str) else list(names)
        return [self._registered(n) if self._table.strict else self._action(n) for n in wanted]

    def _action(self, name: str) -> Action:
        action = self._table.actions.get(name)
        if action is None:
            action = self._table.actions[name] = Action(name)
        return action

    def _registered(self, name: str) -> Action:
        action = self._table.actions.get(name)
        if action is None or action.body is None:
            raise self._unknown(name)
        return action

    def _event(self, event: str) -> Event:
        if not self._table.strict:
            return parse_flex_event(event)
        parsed = parse_event(event) if isinstance(event, str) else None
        if parsed is None:
            known = [p + n for n in self.names for p in PREFIXES] + list(PLAIN_EVENTS)
            near = nearest(event, known) or _with_near_prefix(str(event))
            raise RegistrationError(
                "invalid_registration",
                f"There is no event {event!r}.",
                hint=f"Did you mean {near!r}?"
                if near
                else "Events are before<Action>, after<Action>, abort<Action>, error<Action>.",
            )
        if parsed.action:
            self._known_once_sealed(parsed.action, event)
        return parsed

    def _known_once_sealed(self, name: str, what: str) -> None:
        if self._table.sealed and self._table.strict:
            action = self._table.actions.get(name)
            if action is None or action.body is None:
                raise RegistrationError(
                    "invalid_registration",
                    f"{what}: there is no action {name!r}.",
                    action=name,
                    hint=did_you_mean(name, self.names),
                )

    def _refuse_wrong_options(
        self, event: str, phase: Phase, function: Callable[..., Any], *, guard: bool, on_error: str
    ) -> None:
        problem = None
        if guard and phase != "guard":
            problem = "only a before hook can be a guard"
        elif guard and on_error != "refuse":
            problem = "a guard fails closed; on_error cannot be 'ignore'"
        elif on_error not in ("refuse", "ignore"):
            problem = f"on_error is 'refuse' or 'ignore', not {on_error!r}"
        elif phase == "event" and Hook(function, "event", "").is_async:
            problem = "an observer is a plain function, nobody awaits it"
        if problem:
            raise RegistrationError("invalid_registration", f"{event}: {problem}.", hook=function_name(function))

    def _hooks(self, event: str, parsed: Event, phase: Phase) -> tuple[Hook, ...]:
        if phase == "event":
            return self._table.events.get(event, ())
        hooks: tuple[Hook, ...] = getattr(self._action(parsed.action), phase)
        return hooks

    def _set_hooks(self, event: str, parsed: Event, phase: Phase, hooks: tuple[Hook, ...]) -> None:
        if phase == "event":
            self._table.events[event] = hooks
            self._table.observed = any(self._table.events[e] for e in PLAIN_EVENTS[:2])
            return
        self._action(parsed.action).put(phase, in_order(hooks) if self._table.strict else hooks)

    def _drop(self, event: str, parsed: Event, phase: Phase, hook: Hook) -> None:
        if phase == "guard":
            self._action(parsed.action).linger(hook)
        left = tuple(h for h in self._hooks(event, parsed, phase) if h is not hook)
        self._set_hooks(event, parsed, phase, left)

    def _handle(self, remove: Callable[[], None]) -> Handle:
        handle = Handle(remove, self._owner)
        if self._retired:
            handle.remove()
            raise RegistrationError(
                "invalid_registration",
                f"The plugin {self._owner} was unloaded; what it registers now would never leave.",
            )
        if self._owner is not None:
            self._handles.append(handle)
        return handle

    def _emit(self, event: str, *facts: Any) -> None:
        for hook in self._table.events[event]:
            try:
                # A Flex listener may name what its event does not bring, as in JavaScript.
                outcome = hook.call(*(facts + (None,) * 3)[: hook.arity])
            except (Exception, asyncio.CancelledError) as error:
                if not self._table.strict:
                    raise
                _observer_failed(event, error)
            else:
                if isawaitable(outcome):
                    self._let_end(event, start_now(outcome))

    def _let_end(self, event: str, started: Started) -> None:
        """What an observer goes on with is not awaited, but that it failed is said."""

        def ended(task: Task[Any]) -> None:
            self._table.background.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                _observer_failed(event, error)

        if started.task is not None:
            self._table.background.add(started.task)
            started.task.add_done_callback(ended)
        elif started.error is not None:
            _observer_failed(event, started.error)


def _observer_failed(event: str, error: BaseException) -> None:
    logger().warning("observer.failed", event_name=event, error=type(error).__name__, where=where(error))


def _with_near_prefix(event: str) -> str | None:
    """`befroAttachFile` as `beforeAttachFile`, also when no such action is registered yet."""
    split = next((i for i, c in enumerate(event) if c.isupper()), len(event))
    near = nearest(event[:split], PREFIXES)
    return near + event[split:] if near and event[split:] else None


def _refuse_wrong_order(event: str, priority: object, run_before: object, run_after: object, timeout_s: object) -> None:
    problem = None
    if isinstance(priority, bool) or not isinstance(priority, (int, float)):
        problem = f"priority is a number, not {priority!r}"
    elif not all(isinstance(w, Iterable) for w in (run_before, run_after)):
        problem = "run_before and run_after are names of plugins"
    elif timeout_s is not None and timeout_s is not DEFAULT and not is_duration(timeout_s):
        problem = f"timeout_s is a number of seconds from 0, or None, not {timeout_s!r}"
    if problem:
        raise RegistrationError("invalid_registration", f"{event}: {problem}.")


def is_duration(value: object) -> bool:
    """Whether a value can be a time limit: a number from 0 that a clock can count."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9
