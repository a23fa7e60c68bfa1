"""What an invocation costs, against a hand-written loop and, by option, against the real Flex."""

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable

import attrs

from flex_actions import Actions, AttachFilePayload, File, connect
from flex_actions.payloads import build

Bench = Callable[[int], Awaitable[None]]


@attrs.define
class Payload:
    number: int = 0


async def before(payload, abort):
    pass


async def body(payload):
    return payload


async def after(payload):
    pass


def hand_written(hooks: int) -> Bench:
    befores, afters = (before,) * hooks, (after,) * hooks

    async def one(payload):
        await before(payload, None)
        result = await body(payload)
        await after(payload)
        return result

    async def several(payload):
        for hook in befores:
            await hook(payload, None)
        result = await body(payload)
        for hook in afters:
            await hook(payload)
        return result

    call = one if hooks == 1 else several

    async def run(count):
        payload = Payload()
        for _ in range(count):
            await call(payload)

    return run


def hand_written_tasks(hooks: int) -> Bench:
    """Flex's rule written by hand: hooks that all start at once run beside each other in a task each."""
    befores, afters = (before,) * hooks, (after,) * hooks

    async def call(payload):
        await asyncio.gather(*[hook(payload, None) for hook in befores])
        result = await body(payload)
        await asyncio.gather(*[hook(payload) for hook in afters])
        return result

    async def run(count):
        payload = Payload()
        for _ in range(count):
            await call(payload)

    return run


def dispatched(profile: str, hooks: int, *, limits: bool = True, plain: bool = False) -> Bench:
    actions = Actions(profile)
    options = {} if limits else {"timeout_s": None}
    actions.register("Go", body)
    for _ in range(hooks):  # functions of their own: the same one twice is refused
        if plain:
            actions.before("Go", lambda payload, abort: None, **options)
            actions.after("Go", lambda payload: None, **options)
        else:

            async def own_before(payload, abort):
                pass

            async def own_after(payload):
                pass

            actions.before("Go", own_before, **options)
            actions.after("Go", own_after, **options)

    async def run(count):
        payload, invoke = Payload(), actions.invoke
        for _ in range(count):
            await invoke("Go", payload)

    return run


def mapping_to_payload() -> Bench:
    given = {"file": File.from_bytes(b"x", name="a.txt"), "channelSid": "CH" + "0" * 32}

    async def run(count):
        for _ in range(count):
            build(AttachFilePayload, given)

    return run


def in_flight(width: int) -> Bench:
    """Calls that all wait in a before hook, in the body and in an after hook until the last of them is there."""
    actions = Actions()
    gates: list[asyncio.Event] = []

    async def waiting_body(payload):
        await gates[1].wait()

    async def waiting_before(payload, abort):
        await gates[0].wait()

    async def waiting_after(payload):
        await gates[2].wait()

    actions.register("Go", waiting_body)
    actions.before("Go", waiting_before, timeout_s=None)
    actions.after("Go", waiting_after, timeout_s=None)

    async def run(count):
        for _ in range(max(1, count // width)):
            gates[:] = [asyncio.Event() for _ in range(3)]
            tasks = [asyncio.ensure_future(actions.invoke("Go", Payload(n))) for n in range(width)]
            await asyncio.sleep(0)
            for gate in gates:
                gate.set()
                await asyncio.sleep(0)
            await asyncio.gather(*tasks)

    return run


def tasks_alone(width: int) -> Bench:
    """The same number of waiting tasks without a dispatcher: what asyncio and the caches take of it."""

    async def wait(gates):
        for gate in gates:
            await gate.wait()

    async def run(count):
        for _ in range(max(1, count // width)):
            gates = [asyncio.Event() for _ in range(3)]
            tasks = [asyncio.ensure_future(wait(gates)) for _ in range(width)]
            await asyncio.sleep(0)
            for gate in gates:
                gate.set()
                await asyncio.sleep(0)
            await asyncio.gather(*tasks)

    return run


def chat_calls(session, sid: str) -> Bench:
    async def run(count):
        for _ in range(count):
            await session.actions.invoke("SetInputText", {"body": "x", "channelSid": sid})

    return run


async def measured(cases: dict[str, tuple[Bench, int]], rounds: int) -> dict[str, tuple[float, float]]:
    """Best and median microseconds per call of each case; the cases take turns, so that a slow spell hits all."""
    times: dict[str, list[float]] = {name: [] for name in cases}
    for bench, count in cases.values():
        await bench(max(1, count // 10))
    gc.collect()
    gc.freeze()  # what is known by now need not be looked through again and again
    for _ in range(rounds):
        for name, (bench, count) in cases.items():
            gc.collect()
            gc.disable()
            begun = time.perf_counter()
            await bench(count)
            times[name].append((time.perf_counter() - begun) / count * 1e6)
            gc.enable()
    gc.unfreeze()
    return {name: (min(t), statistics.median(t)) for name, t in times.items()}


Figures = dict[str, tuple[float, float]]
BASES = {1: "hand-written, 1 + body + 1", 5: "hand-written, 5 + body + 5"}
WITH_TASKS = {1: "hand-written, a task for each hook, 1 + 1", 5: "hand-written, a task for each hook, 5 + 5"}
DISPATCHED = (
    # name, profile, hooks, with time limits, plain hooks, target
    ("strict, 1 + 1, no limits", "strict", 1, False, False, "≤ 3.2"),
    ("strict, 1 + 1, default limits", "strict", 1, True, False, "≤ 4.5"),
    ("strict, 1 + 1, def hooks, no limits", "strict", 1, False, True, ""),
    ("strict, 1 + 1, def hooks, limits", "strict", 1, True, True, ""),
    ("flex1, 1 + 1", "flex1", 1, True, False, ""),
    ("flex2, 1 + 1", "flex2", 1, True, False, ""),
    ("flex2, 1 + 1, def hooks", "flex2", 1, True, True, ""),
    ("strict, 5 + 5, no limits", "strict", 5, False, False, ""),
    ("strict, 5 + 5, default limits", "strict", 5, True, False, ""),
    ("flex1, 5 + 5", "flex1", 5, True, False, ""),
    ("flex2, 5 + 5", "flex2", 5, True, False, ""),
)


def line(name: str, figure: tuple[float, float], ratio: tuple[float, float] | None = None, target: str = "") -> None:
    ratios = f"{ratio[0]:7.2f} {ratio[1]:7.2f}" if ratio else " " * 15
    print(f"{name:<42} {figure[0]:9.3f} {figure[1]:9.3f}  {ratios}  {target}")


def against(figures: Figures, name: str, base: str) -> tuple[float, float]:
    (best, median), (base_best, base_median) = figures[name], figures[base]
    return best / base_best, median / base_median


async def calls(rounds: int) -> Figures:
    cases: dict[str, tuple[Bench, int]] = {BASES[hooks]: (hand_written(hooks), 10_000) for hooks in (1, 5)}
    cases |= {name: (hand_written_tasks(hooks), 300) for hooks, name in WITH_TASKS.items()}
    for name, profile, hooks, limits, plain, _ in DISPATCHED:
        cases[name] = (dispatched(profile, hooks, limits=limits, plain=plain), 300 if "flex" in profile else 2_000)
    cases["mapping to payload (AttachFile)"] = mapping_to_payload(), 2_000
    figures = await measured(cases, rounds)
    for hooks, base in BASES.items():
        line(base, figures[base], (1.0, 1.0))
        for name, _, count, *_, target in DISPATCHED:
            if count == hooks:
                line(name, figures[name], against(figures, name, base), target)
        line(WITH_TASKS[hooks], figures[WITH_TASKS[hooks]], against(figures, WITH_TASKS[hooks], base), "for comparison")
    mapping = "mapping to payload (AttachFile)"
    line(mapping, figures[mapping], against(figures, mapping, BASES[1]), "reported apart")
    return figures


async def width(rounds: int) -> None:
    cases = {f"{n:,} in flight": (in_flight(n), 5_000) for n in (100, 5_000)}
    cases |= {f"{n:,} bare tasks in flight": (tasks_alone(n), 5_000) for n in (100, 5_000)}
    figures = await measured(cases, rounds)
    for kind, target in (("in flight", "≤ 1.0"), ("bare tasks in flight", "for comparison")):
        line(f"100 {kind}", figures[f"100 {kind}"], (1.0, 1.0))
        line(f"5,000 {kind}", figures[f"5,000 {kind}"], against(figures, f"5,000 {kind}", f"100 {kind}"), target)


async def channels(rounds: int, count: int) -> None:
    async with connect("memory:", identity="ada") as few, connect("memory:", identity="ada") as many:
        sid = (await few.create_channel()).sid
        begun = time.perf_counter()
        sids = [(await many.create_channel()).sid for _ in range(count)]
        for known in sids[:: max(1, count // 1000)]:  # a thousand of the inputs have been used, too
            await many.actions.invoke("SetInputText", {"body": "x", "channelSid": known})
        filled = time.perf_counter() - begun
        one, lots = "SetInputText, 1 channel known", f"SetInputText, {count:,} channels known"
        cases = {one: (chat_calls(few, sid), 200), lots: (chat_calls(many, sids[count // 2]), 200)}
        figures = await measured(cases, rounds * 3)
        line(one, figures[one], (1.0, 1.0))
        line(lots, figures[lots], against(figures, lots, one), "≤ 1.2 at 1,000,000")
        print(f"  (filling took {filled:.1f} s; --channels N for another number)")


def real_flex(figures: Figures) -> None:
    from .flex import measured_flex

    theirs = measured_flex()
    if isinstance(theirs, str):
        print(f"  the real Flex could not be measured: {theirs}")
        return
    names = {
        "1 + 1": ("strict, 1 + 1, no limits", "strict, 1 + 1, default limits", "flex1, 1 + 1", "flex2, 1 + 1"),
        "5 + 5": ("strict, 5 + 5, no limits", "strict, 5 + 5, default limits", "flex1, 5 + 5", "flex2, 5 + 5"),
    }
    for case, ours in names.items():
        flex = theirs[case]
        line(f"Flex {theirs['version']} in Node, async, {case}", flex, (1.0, 1.0))
        for name in ours:
            figure = figures[name]
            line(f"ours: {name}", figure, (figure[0] / flex[0], figure[1] / flex[1]), "< 1.0")


async def measure(*, rounds: int, known_channels: int, flex: bool) -> None:
    """Measure and print all blocks; under half a minute without Flex."""
    print("Calls: microseconds each, gc off while timing; ratio to the first line of the block\n")
    print(f"{'':<42} {'best':>9} {'median':>9}  {'ratio':>7} {'median':>7}  target")
    figures = await calls(rounds)
    print()
    await width(max(3, rounds // 4))
    print()
    await channels(rounds, known_channels)
    if flex:
        print()
        real_flex(figures)
