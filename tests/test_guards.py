"""What guards and checks saw is what happens: attacks on the time between the judgement and the deed."""

import asyncio
import enum
import gc
import json
import logging
from collections import deque
from dataclasses import dataclass

import attrs
import pytest
from structlog.testing import capture_logs

from flex_actions import ActionError, Actions, File, RegistrationError, current_invocation, signals
from flex_actions.payloads import SendMediaMessagePayload


@attrs.define
class Note:
    text: str
    tags: list = attrs.Factory(list)


@dataclass
class Plain:
    n: int = 0

    def raise_it(self):
        self.n += 1


def acting(payloads, profile="strict"):
    actions = Actions(profile)

    async def body(payload):
        payloads.append(payload)
        return "done"

    actions.register("Act", body)
    return actions


async def test_a_payload_changed_while_it_waits_for_its_turn_goes_out_as_it_was_judged(ada, channel):
    gate = asyncio.Event()

    async def slow():
        await gate.wait()
        yield b"1234"

    first = asyncio.create_task(
        ada.actions.invoke(
            "SendMediaMessage",
            {"file": File.from_stream(slow, name="slow.txt", size_bytes=4), "channelSid": channel},
        )
    )
    await asyncio.sleep(0)
    payload = SendMediaMessagePayload(file=File.from_bytes(b"x", name="good.txt"), channel_sid=channel)
    second = asyncio.create_task(ada.actions.invoke("SendMediaMessage", payload))
    for _ in range(5):
        await asyncio.sleep(0)
    payload.file = File.from_bytes(b"MZ", name="evil.exe")
    gate.set()
    await asyncio.gather(first, second)
    assert [m.media.name for m in await ada.messages(channel)] == ["slow.txt", "good.txt"]


async def test_a_task_left_behind_that_changes_the_payload_under_a_guard_refuses_the_action():
    done = []
    actions, tasks = acting(done), []

    @actions.before("Act")
    def leaves_a_task(payload):
        async def later():
            payload.text = "evil"

        tasks.append(asyncio.create_task(later()))

    @actions.guard("Act")
    async def slow(payload, abort):
        await asyncio.sleep(0)

    with pytest.raises(ActionError) as refused:
        await actions.invoke("Act", Note("good"))
    assert (refused.value.code, done) == ("payload_changed", [])


async def test_what_changes_while_a_replaced_payload_is_judged_is_refused():
    done, tasks = [], []
    actions = acting(done)
    actions.guard("Act", lambda payload, abort: asyncio.sleep(0))

    async def replacement(payload, original):
        other = Note("good")

        async def later():
            other.text = "evil"

        tasks.append(asyncio.create_task(later()))
        return await original(other)

    actions.replace("Act", replacement)
    with pytest.raises(ActionError) as refused:
        await actions.invoke("Act", Note("first"))
    assert (refused.value.code, done) == ("payload_changed", [])


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["note"].tags.append(1),
        lambda p: p["set"].add(1),
        lambda p: setattr(p["plain"], "n", 666),
        lambda p: p["bytes"].extend(b"x"),
        lambda p: p["deque"].append(1),
    ],
)
async def test_a_replacement_that_changes_something_deep_inside_is_judged_again(change):
    seen = []
    actions = acting([])
    actions.guard("Act", lambda payload, abort: seen.append(payload))

    async def replacement(payload, original):
        change(payload)
        return await original()

    actions.replace("Act", replacement)
    payload = {"note": Note("x"), "set": set(), "plain": Plain(), "bytes": bytearray(), "deque": deque()}
    await actions.invoke("Act", payload)
    assert len(seen) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda p: setattr(p, "n", 5),
        lambda p: p.raise_it(),
        lambda p: p.__setattr__("n", 5),
        lambda p: p.__dict__.update(n=5),
        lambda p: p.__init__(7),
    ],
)
async def test_a_guard_cannot_change_an_object_in_any_way(change):
    payload = Plain()
    actions = acting([])
    actions.guard("Act", lambda view, abort: change(view))
    with pytest.raises(ActionError) as refused:
        await actions.invoke("Act", payload)
    assert (refused.value.code, payload.n) == ("hook_failed", 0)


def generator(payload, abort):
    abort("never reached")
    yield


async def async_generator(payload, abort):
    abort("never reached")
    yield


@pytest.mark.parametrize("function", [generator, async_generator])
@pytest.mark.parametrize("phase", ["guard", "before", "after", "replace"])
def test_a_generator_is_no_hook_because_calling_it_runs_nothing(function, phase):
    with pytest.raises(RegistrationError, match="generator"):
        getattr(acting([]), phase)("Act", function)


def test_a_generator_is_no_body():
    with pytest.raises(RegistrationError, match="generator"):
        Actions().register("Act", generator)


async def test_a_guard_that_returns_what_nobody_runs_fails_closed():
    async def real_guard(payload, abort):
        abort("no")

    async def forgets_to_await(payload, abort):
        return real_guard(payload, abort)

    done = []
    actions = acting(done)
    actions.guard("Act", forgets_to_await)
    with pytest.raises(ActionError) as refused:
        await actions.invoke("Act", {})
    assert (refused.value.code, done) == ("hook_failed", [])


async def test_a_guard_removed_during_the_dispatch_still_decides_on_it_and_not_on_the_next():
    done, handles = [], []
    actions = acting(done)
    actions.before("Act", lambda payload: [h.remove() for h in handles])
    handles.append(actions.guard("Act", lambda payload, abort: abort("no")))
    with pytest.raises(ActionError, match="no"):
        await actions.invoke("Act", {})
    assert await actions.invoke("Act", {}) == "done"


async def test_a_plugin_removes_no_listeners_of_others():
    actions = acting([])
    actions.guard("Act", lambda payload, abort: abort("no"))
    view = actions.owned("other")
    view.remove_all_listeners("beforeAct")
    with pytest.raises(ActionError, match="no"):
        await actions.invoke("Act", {})


async def test_sends_that_wait_for_each_other_across_two_channels_are_refused_instead_of_waiting_for_ever(ada):
    one, two = [await ada.create_channel() for _ in range(2)]
    other = {one.sid: two.sid, two.sid: one.sid}

    async def mirror(payload, original):
        if not payload.body.startswith("copy"):
            await asyncio.sleep(0)
            await ada.actions.invoke(
                "SendMessage", {"body": "copy " + payload.body, "channelSid": other[payload.channel_sid]}
            )
        return await original()

    ada.actions.replace("SendMessage", mirror)
    async with asyncio.timeout(10):
        results = await asyncio.gather(
            *(ada.actions.invoke("SendMessage", {"body": "x", "channelSid": c.sid}) for c in (one, two)),
            return_exceptions=True,
        )
    assert "input_busy" in [getattr(r, "code", "sent") for r in results]
    assert ada._chat._slots == {}


async def test_a_failure_of_original_that_nobody_looked_at_fails_the_call():
    actions = Actions()

    async def body(payload):
        raise ValueError("oops")

    actions.register("Act", body)

    async def replacement(payload, original):
        task = asyncio.create_task(original())
        await asyncio.wait([task])
        return "fine"

    actions.replace("Act", replacement)
    with pytest.raises(ActionError, match="oops"):
        await actions.invoke("Act", {})


async def test_cancelling_twice_does_not_leave_original_running():
    running, gate = [], asyncio.Event()
    actions = Actions()

    async def body(payload):
        running.append(True)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            raise
        finally:
            running.pop()

    actions.register("Act", body)

    async def replacement(payload, original):
        task = asyncio.create_task(original())
        await asyncio.sleep(0)
        return await asyncio.shield(task)

    actions.replace("Act", replacement)
    call = asyncio.create_task(actions.invoke("Act", {}))
    for _ in range(4):
        await asyncio.sleep(0)
    call.cancel()
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (running, actions.find_pending()) == ([], [])


async def test_invocations_that_begin_one_another_are_not_kept_alive():
    actions = acting([])
    left = [50]
    ended = asyncio.Event()

    @actions.after("Act")
    def next_one(payload):
        left[0] -= 1
        if left[0]:
            tasks.append(asyncio.create_task(actions.invoke("Act", {"n": left[0]})))
        else:
            ended.set()

    tasks = []
    await actions.invoke("Act", {})
    await ended.wait()
    await asyncio.gather(*tasks)
    tasks.clear()
    await asyncio.sleep(0)
    gc.collect()
    kind = type(await _an_invocation())
    assert sum(isinstance(o, kind) for o in gc.get_objects()) < 3


async def _an_invocation():
    actions = Actions()
    actions.register("Look", lambda: current_invocation())
    return await actions.invoke("Look")


class Mute(Exception):
    def __str__(self):
        raise ValueError("mute")


async def test_an_error_that_cannot_be_shown_is_an_ordinary_failure():
    actions = Actions()

    def body(payload):
        raise Mute

    actions.register("Act", body)
    with pytest.raises(ActionError) as failed:
        await actions.invoke("Act", {})
    assert (failed.value.code, "Mute" in str(failed.value)) == ("action_failed", True)


async def test_an_odd_number_in_one_payload_disturbs_no_other_call():
    gate = asyncio.Event()
    actions = Actions()

    async def body(payload):
        await gate.wait()

    actions.register("Act", body)
    calls = [asyncio.create_task(actions.invoke("Act", {"n": n})) for n in (10**400, float("nan"), 1)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(*calls) == [None] * 3


@pytest.mark.parametrize("timeout_s", ["5", -1, float("nan"), True])
async def test_a_time_limit_that_is_none_is_refused(timeout_s):
    actions = acting([])
    with pytest.raises(ActionError, match="timeout_s"):
        await actions.invoke("Act", {}, timeout_s=timeout_s)
    with pytest.raises(RegistrationError, match="timeout_s"):
        actions.before("Act", lambda payload: None, timeout_s=timeout_s)


async def test_recursion_says_so_once():
    actions = acting([])

    @actions.before("Act")
    async def again(payload):
        await actions.invoke("Act", {"depth": current_invocation().depth})

    with pytest.raises(ActionError) as failed:
        await actions.invoke("Act", {})
    assert (failed.value.code, len(str(failed.value)) < 200) == ("depth_exceeded", True)


async def test_logs_of_failing_observers_hold_no_payload():
    actions = acting([])

    def observer(sender, invocation):
        raise ValueError("BODY-SECRET")

    with capture_logs() as logs, signals.invocation_began.connected_to(observer, sender=actions):
        await actions.invoke("Act", {"body": "BODY-SECRET"})
    assert (logs[0]["event"], "BODY-SECRET" in str(logs)) == ("observer.failed", False)


@pytest.mark.parametrize("name", [[], {}, None, 7])
async def test_what_cannot_be_a_name_is_an_unknown_action(name):
    with pytest.raises(ActionError) as refused:
        await acting([]).invoke(name)
    assert refused.value.code == "unknown_action"


class Level(enum.Enum):
    PUBLIC = 1
    SECRET = 2


class Word(enum.StrEnum):
    SECRET = "secret"


@attrs.define
class Box:
    items: list

    def __len__(self):
        return len(self.items)


@pytest.mark.parametrize(
    "holds",
    [
        lambda p: p["level"] == Level.SECRET and p["level"] is Level.SECRET and p["level"] in {Level.SECRET},
        lambda p: p["word"] == "secret",
        lambda p: p["box"] == Box([1]) and Box([1]) == p["box"],
        lambda p: p["list"] == ["a"] and p["dict"] == {"a": [1]},
        lambda p: len(p["box"]) == 1 and bool(p["box"]),
        lambda p: json.dumps(p["dict"]) == '{"a": [1]}',
        lambda p: isinstance(p["dict"], dict) and isinstance(p["box"], Box),
    ],
)
async def test_what_a_guard_compares_is_as_if_it_were_the_payload_itself(holds):
    actions = acting([])
    actions.guard("Act", lambda p, abort: abort("seen") if holds(p) else None)
    payload = {"level": Level.SECRET, "word": Word.SECRET, "box": Box([1]), "dict": {"a": [1]}, "list": ["a"]}
    with pytest.raises(ActionError, match="seen"):
        await actions.invoke("Act", payload)


def circular():
    node = Note("a")
    node.tags = [node, node, {"node": node}]
    return {"node": node, "again": node}


@pytest.mark.parametrize(
    "value",
    [circular(), logging.getLogger("x"), float("nan"), {"rows": [{"i": i} for i in range(2000)]}],
    ids=["circle", "logger", "nan", "rows"],
)
@pytest.mark.parametrize("replaced", [False, True])
async def test_no_payload_is_too_odd_for_a_guard_that_lets_it_pass(value, replaced):
    actions = acting([])
    actions.guard("Act", lambda payload, abort: None)
    if replaced:
        actions.replace("Act", lambda payload, original: original())
    assert await actions.invoke("Act", {"value": value}) == "done"


async def test_a_change_inside_a_frozen_object_under_a_guard_is_found():
    @attrs.frozen
    class Frozen:
        items: list

    actions = acting([])
    actions.guard("Act", lambda payload, abort: payload["frozen"].items.append("evil"))
    with pytest.raises(ActionError) as refused:
        await actions.invoke("Act", {"frozen": Frozen([])})
    assert refused.value.code == "payload_changed"


async def test_many_sends_of_one_channel_wait_in_line_at_a_price_that_grows_with_their_number(ada, channel):
    sends = [ada.actions.invoke("SendMessage", {"body": str(i), "channelSid": channel}) for i in range(1000)]
    async with asyncio.timeout(60):  # comparing all with all took minutes
        sent = await asyncio.gather(*sends)
    assert [s.index for s in sent] == list(range(1000))


@pytest.mark.parametrize("profile", ["flex1", "flex2"])
async def test_the_task_of_a_listener_that_starts_at_once_is_a_real_one(profile):
    actions, seen = acting([], profile), []

    async def looks(payload):
        task = asyncio.current_task()
        seen.extend([task.get_coro(), task.get_name(), repr(task), task in asyncio.all_tasks()])

    actions.before("Act", looks)
    await actions.invoke("Act", {})
    assert (None in seen, seen[3]) == (False, True)
