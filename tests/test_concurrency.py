"""Many invocations at once, generated: whatever happens in whatever order, the books balance."""

import asyncio
import contextvars
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from flex_actions import ActionError, Actions, current_invocation, signals

NAMES = ("A", "B", "C")
PHASES = ("before", "guard", "after", "abort", "error", "replace")
# Each phase in the order in which it may appear in one invocation.
RANK = {
    "begin": 0,
    "before": 1,
    "guard": 2,
    "check": 3,
    "replace": 4,
    "body": 5,
    "after": 6,
    "abort": 6,
    "error": 6,
    "end": 7,
}
WAITS = ("wait", "shielded")
CALL = contextvars.ContextVar("number of the outermost call")

names = st.sampled_from([*NAMES, "A"])
# What a hook or body does: nothing; wait at a gate (and swallow a cancellation once); raise; abort; invoke another.
deeds = st.sampled_from(["pass", "wait", "wait", "shielded", "raise", "abort", "late abort", "leak", "nest", "plain"])
texts = st.sampled_from(["x", "y"])

hooks = st.tuples(st.just("hook"), names, st.sampled_from(PHASES), deeds, st.integers(-1, 1), st.booleans())
bodies = st.tuples(st.just("body"), names, deeds)
calls = st.tuples(st.just("invoke"), names, texts, st.booleans())
steps = st.one_of(
    calls,
    calls,
    calls,
    hooks,
    bodies,
    st.tuples(st.just("open"), st.integers(0, 9)),
    st.tuples(st.just("open"), st.integers(0, 9)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
    st.tuples(st.just("remove"), st.integers(0, 9)),
    st.tuples(st.just("block"), names, texts),
    st.tuples(st.just("unblock"), names),
)
programs = st.builds(
    lambda *parts: [step for part in parts for step in part],
    st.lists(hooks, min_size=2, max_size=8),
    st.lists(bodies, max_size=3),
    st.lists(steps, min_size=8, max_size=30),
)


class World:
    """A dispatcher whose hooks wait at gates that the program opens one by one."""

    def __init__(self, profile):
        self.actions = Actions(profile)
        self.strict = profile == "strict"
        self.gates, self.calls, self.handles = [], [], []
        self.bodies, self.log, self.kept = {}, defaultdict(list), []
        self.ended, self.begun = {}, Counter()
        for name in NAMES:
            self.bodies[name] = "pass"
            self.actions.register(name, self.body(name), check=self.note("check"))

    def note(self, phase):
        def write(*_):
            self.log[current_invocation()].append(phase)

        return write

    def body(self, name):
        async def run(payload):
            self.log[current_invocation()].append("body")
            await self.do(self.bodies[name])
            return name

        return run

    def hook(self, name, phase, deed, priority, ignore):
        async def run(payload, second=None, *_):
            self.log[current_invocation()].append(phase)
            if phase in ("before", "guard"):
                self.kept.append(second)
            if phase == "replace" and deed != "raise":
                await self.do(deed)
                return await second()
            await self.do(deed, second if phase in ("before", "guard") else None)
            return None

        function = (lambda p, s=None: self.note(phase)()) if deed == "plain" and phase != "replace" else run
        if phase == "replace":
            return self.actions.replace(name, lambda payload, original: run(payload, original))
        if not self.strict and phase in ("abort", "error"):
            phase = "after"
        event = "before" if phase == "guard" else phase
        options = {"on_error": "ignore" if ignore and phase == "before" else "refuse"}
        return self.actions.add_listener(
            f"{event}{name}", function, guard=phase == "guard", priority=priority, **options
        )

    async def do(self, deed, abort=None):
        if deed in WAITS:
            gate = asyncio.Event()
            self.gates.append(gate)
            try:
                await gate.wait()
            except asyncio.CancelledError:
                if deed != "shielded":
                    raise
                # Cleaning up takes a while, then the cancellation goes on.
                await asyncio.sleep(0)
                raise
        elif deed == "raise":
            raise ValueError
        elif deed == "leak":
            raise asyncio.CancelledError
        elif deed == "abort" and abort is not None:
            abort("no")
        elif deed == "late abort" and self.kept:
            self.kept[0]("late")
        elif deed == "nest" and current_invocation().depth < 3:  # hooks that nest in one another multiply
            await self.actions.invoke("B", object())

    async def call(self, number, name, text, limited):
        CALL.set(number)
        return await self.actions.invoke(name, {"text": text}, timeout_s=1000 if limited else None)

    def begin(self, sender, invocation):
        self.log[invocation].append("begin")
        if invocation.parent is None:
            self.begun[CALL.get()] += 1

    def end(self, sender, invocation):
        self.log[invocation].append("end")
        self.ended[invocation] = invocation.outcome

    async def step(self, kind, *what):
        if kind == "hook":
            self.handles.append(self.hook(*what))
        elif kind == "body":
            self.bodies[what[0]] = what[1]
        elif kind == "invoke":
            name, text, limited = what
            self.calls.append(asyncio.create_task(self.call(len(self.calls), name, text, limited)))
        elif kind == "open" and self.gates:
            self.gates.pop(what[0] % len(self.gates)).set()
        elif kind == "cancel" and self.calls:
            self.calls[what[0] % len(self.calls)].cancel()
        elif kind == "remove" and self.handles:
            self.handles.pop(what[0] % len(self.handles)).remove()
        elif kind == "block":
            self.handles.append(self.actions.block(what[0], {"text": what[1]}))
        elif kind == "unblock":
            self.actions.unblock(what[0])
        for _turn in range(3):
            await asyncio.sleep(0)

    async def finish(self):
        """Open every gate until all calls have ended."""
        while not all(call.done() for call in self.calls) or self.gates:
            while self.gates:
                self.gates.pop().set()
            await asyncio.sleep(0)
        return await asyncio.gather(*self.calls, return_exceptions=True)


def check_the_books(world, outcomes):
    for outcome in outcomes:
        assert outcome in NAMES or isinstance(outcome, (ActionError, asyncio.CancelledError)), repr(outcome)
    assert world.actions.find_pending() == []
    for action in world.actions._table.actions.values():
        assert (action.fresh, action.indexed, action.index, action.in_use) == ({}, {}, {}, {})
    for invocation, phases in world.log.items():
        assert phases.count("begin") == phases.count("end") == 1, phases
        assert invocation.outcome in ("ok", "aborted", "failed", "cancelled")
        assert world.ended[invocation] == invocation.outcome
        if world.strict:
            check_the_order(invocation, phases)
    for number, outcome in enumerate(outcomes):
        # Nested calls bring payloads of their own, so these two codes can only mean the outermost call itself.
        refused = isinstance(outcome, ActionError) and outcome.code in ("action_pending", "action_blocked")
        if refused or not isinstance(outcome, asyncio.CancelledError):
            assert world.begun[number] == (not refused), outcome


def check_the_order(invocation, phases):
    ranks = [RANK[p] for p in phases]
    assert ranks == sorted(ranks), phases
    if "after" in phases:
        assert "body" in phases or "replace" in phases, phases
    if invocation.outcome == "ok":
        assert "body" in phases, phases
        assert not {"abort", "error"} & set(phases), phases
    if invocation.outcome == "aborted":
        assert not {"check", "body", "replace", "after", "error"} & set(phases), phases
    if invocation.outcome == "failed":
        assert not {"after", "abort"} & set(phases), phases


async def run(profile, program):
    world = World(profile)
    with (
        capture_logs(),
        signals.invocation_began.connected_to(world.begin, world.actions),
        signals.invocation_ended.connected_to(world.end, world.actions),
    ):
        async with asyncio.timeout(20):
            for step in program:
                await world.step(*step)
            outcomes = await world.finish()
    check_the_books(world, outcomes)


@pytest.mark.parametrize("profile", ["strict", "flex1", "flex2"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=programs)
def test_whatever_happens_the_books_balance(profile, program):
    """Nothing stays pending, every begin has its end, the phases keep their order, nothing but ActionError escapes."""
    asyncio.run(run(profile, program))


async def test_five_thousand_calls_at_once_and_each_has_its_own_hooks_and_result():
    actions, gate = Actions(), asyncio.Event()

    async def body(payload):
        return payload["n"]

    async def wait(payload):
        current_invocation().extras["n"] = payload["n"]
        await gate.wait()

    async def compare(payload):
        assert current_invocation().extras["n"] == payload["n"]

    actions.register("Go", body)
    actions.before("Go", wait)
    actions.after("Go", compare)
    tasks = [asyncio.create_task(actions.invoke("Go", {"n": n})) for n in range(5000)]
    await asyncio.sleep(0)
    assert len(actions.find_pending("Go")) == 5000
    gate.set()
    assert await asyncio.gather(*tasks) == list(range(5000))
    assert actions.find_pending() == []
