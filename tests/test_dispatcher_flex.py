"""The dispatcher in `flex1` and `flex2`: event for event as the real packages, quirks included.

Each quirk that `strict` mends has its mended twin here or in `test_dispatcher.py`.
"""

import asyncio
import contextvars

import attrs
import pytest
from structlog.testing import capture_logs

from flex_actions import (
    ActionAborted,
    ActionError,
    ActionFailed,
    Actions,
    RegistrationError,
    current_invocation,
    signals,
)

FLEX = ("flex1", "flex2")


@pytest.fixture(params=FLEX)
def actions(request):
    return Actions(request.param)


@pytest.fixture
def log():
    return []


@pytest.fixture
def go(actions, log):
    """The dispatcher with one action `Go`, whose body writes `body` and returns `value`."""

    async def body(payload):
        log.append("body")
        return "value"

    actions.register("Go", body)
    return actions


@attrs.define
class Note:
    text: str = ""


def marks(log, name, *, waits=0):
    """An async listener that writes its name at once and once more after some waits."""

    async def listener(*_):
        log.append(name)
        for _turn in range(waits):
            await asyncio.sleep(0)
        if waits:
            log.append(f"{name} went on")

    return listener


def raises(error=ValueError):
    def listener(*_):
        raise error

    return listener


def rejects(error=ValueError, *, waits=0):
    async def listener(*_):
        for _turn in range(waits):
            await asyncio.sleep(0)
        raise error

    return listener


async def refusal(call, code):
    with pytest.raises(ActionError) as caught:
        await call
    assert caught.value.code == code
    return caught.value


# -- 2.1 one invocation, in order --


async def test_an_invocation_in_order(actions, log):
    def update(payload):
        log.append("update")
        return Note("updated")

    async def body(payload):
        log.append(f"body {payload.text}")
        return "value"

    actions.register("Go", body, update)
    actions.add_listener("invocationBegin", lambda: log.append("invocationBegin"))
    actions.add_listener("beforeGo", lambda p, abort: log.append(f"before {p.text}"))
    actions.add_listener("afterGo", lambda p: log.append(f"after {p.text}"))
    actions.add_listener("invocationEnd", lambda: log.append("invocationEnd"))
    assert await actions.invoke("Go", {"text": "given"}) == "value"
    assert log == ["update", "invocationBegin", "before updated", "body updated", "after updated", "invocationEnd"]


async def test_the_entry_is_pending_by_the_updated_payload_from_begin_to_the_after_listeners(actions):
    seen, note = [], Note("updated")
    actions.register("Go", lambda p: None, lambda p: note)
    for event in ("invocationBegin", "beforeGo", "afterGo", "invocationEnd"):
        actions.add_listener(event, lambda *_: seen.append(actions.find_pending("Go")))
    await actions.invoke("Go", {"text": "given"})
    assert seen == [[("Go", note)]] * 3 + [[]]


async def test_an_unknown_pending_or_blocked_action_fires_no_event(go, log):
    gate = asyncio.Event()
    go.register("Wait", lambda p: gate.wait())
    task = asyncio.create_task(go.invoke("Wait", "x"))
    await asyncio.sleep(0)
    go.block("Go")
    for event in ("invocationBegin", "invocationEnd", "beforeGo", "beforeWait"):
        go.add_listener(event, lambda *_: log.append("event"))
    await refusal(go.invoke("Gone"), "unknown_action")
    await refusal(go.invoke("Wait", "x"), "action_pending")
    await refusal(go.invoke("Go"), "action_blocked")
    assert log == []
    gate.set()
    await task


async def test_the_body_is_kept_though_it_is_registered_anew_meanwhile(go, log):
    go.add_listener("beforeGo", lambda p: go.register("Go", lambda p: log.append("new")))
    await go.invoke("Go")
    assert log == ["body"]


async def test_an_abort_ends_it_without_body_and_after(go, log):
    go.add_listener("beforeGo", lambda p, abort: abort())
    go.add_listener("afterGo", marks(log, "after"))
    go.add_listener("invocationEnd", lambda: log.append("end"))
    error = await refusal(go.invoke("Go"), "action_aborted")
    assert isinstance(error, ActionAborted)
    assert str(error) == "Action Go cancelled by before event"
    assert (log, go.find_pending()) == (["end"], [])


async def test_after_listeners_do_not_run_once_the_body_failed(actions, log):
    actions.register("Go", raises())
    actions.add_listener("afterGo", marks(log, "after"))
    actions.add_listener("invocationEnd", lambda: log.append("end"))
    await refusal(actions.invoke("Go"), "action_failed")
    assert (log, actions.find_pending()) == (["end"], [])


async def test_other_payloads_and_actions_run_side_by_side_each_with_its_own_abort(go):
    go.add_listener("beforeGo", lambda p, abort: abort() if p == "a" else None)
    results = await asyncio.gather(go.invoke("Go", "a"), go.invoke("Go", "b"), return_exceptions=True)
    assert [getattr(r, "code", r) for r in results] == ["action_aborted", "value"]


# -- 2.2 matching of pending and blocked --


@pytest.mark.parametrize(
    ("running", "refused", "allowed"),
    [
        ({"a": 1, "b": 2}, [{"a": 1, "b": 2}, {"a": 1}, {}, None], [{"a": 1, "b": 2, "c": 3}, {"a": 2}]),
        (None, [None], [{}, {"a": 1}, "x"]),
        ("x", ["x", None], ["y", {}]),
        (1, [1.0], [True, "1"]),
    ],
)
async def test_a_call_that_matches_a_running_one_is_refused_one_way(actions, running, refused, allowed):
    gate = asyncio.Event()
    actions.register("Wait", lambda p: gate.wait())
    tasks = [asyncio.create_task(actions.invoke("Wait", running))]
    await asyncio.sleep(0)
    for payload in refused:
        await refusal(actions.invoke("Wait", payload), "action_pending")
    tasks += [asyncio.create_task(actions.invoke("Wait", p)) for p in allowed]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)


async def test_in_place_changes_of_a_running_payload_count_at_once(actions):
    gate, running = asyncio.Event(), {"a": 1}
    actions.register("Wait", lambda p: gate.wait())
    task = asyncio.create_task(actions.invoke("Wait", running))
    await asyncio.sleep(0)
    running["a"] = 2
    await refusal(actions.invoke("Wait", {"a": 2}), "action_pending")
    other = asyncio.create_task(actions.invoke("Wait", {"a": 1}))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(task, other)


async def test_an_update_that_changes_a_value_defeats_the_pending_check(actions):
    """Quirk: the new call is compared as given, with the running one as updated."""
    gate = asyncio.Event()
    actions.register("Wait", lambda p: gate.wait(), lambda p: {"a": "changed"})
    tasks = [asyncio.create_task(actions.invoke("Wait", {"a": 1})) for _ in range(2)]
    await asyncio.sleep(0)
    assert len(actions.find_pending("Wait")) == 2
    gate.set()
    await asyncio.gather(*tasks)


async def test_recursion_with_the_same_payload_fails_also_from_an_after_listener(go):
    caught = []

    @go.after("Go")
    async def again(payload):
        caught.append((await refusal(go.invoke("Go", payload), "action_pending")).code)

    await go.invoke("Go", {"a": 1})
    assert caught == ["action_pending"]


async def test_a_block_without_payload_stops_only_calls_without_payload(go):
    """Quirk: `strict` reads it as the whole action."""
    go.block("Go")
    await refusal(go.invoke("Go"), "action_blocked")
    assert [await go.invoke("Go", p) for p in ({}, {"a": 1})] == ["value", "value"]


async def test_a_block_with_a_payload_stops_calls_that_are_a_part_of_it(go):
    """Quirk: `strict` stops the calls that contain it."""
    go.block("Go", {"a": 1, "b": 2})
    for payload in ({"a": 1, "b": 2}, {"a": 1}, {}, None):
        await refusal(go.invoke("Go", payload), "action_blocked")
    assert await go.invoke("Go", {"a": 1, "b": 2, "c": 3}) == "value"


async def test_unblock_removes_every_match_and_without_payload_all(go, log):
    go.add_listener("actionBlockedChanged", lambda *facts: log.append(facts))
    for payload in ({"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2}):
        go.block("Go", payload)
    go.unblock("Go", {"a": 1})
    go.unblock("Go", {"a": 9})
    assert go.find_blocked("Go") == [("Go", {"a": 2})]
    go.unblock("Go")
    assert [entry for entry in log if entry[0] is False] == [(False, "Go", {"a": 1}), (False, "Go", None)]
    assert len(log) == 5


# -- 2.3 errors --


async def test_the_texts_of_the_refusals(go):
    gate = asyncio.Event()
    go.register("Wait", lambda p: gate.wait())
    task = asyncio.create_task(go.invoke("Wait"))
    await asyncio.sleep(0)
    go.block("Go")
    texts = []
    for name, code in [("X", "unknown_action"), ("Wait", "action_pending"), ("Go", "action_blocked")]:
        error = await refusal(go.invoke(name), code)
        texts.append((str(error), error.description))
    assert texts == [
        ("Action does not exist", "Action X does not exist!"),
        ("Action is pending", "Action Wait is pending"),
        ("Action is blocked", "Action Go has been blocked"),
    ]
    gate.set()
    await task


@pytest.mark.parametrize("where", ["body", "replacement"])
async def test_what_body_or_replacement_raise_is_wrapped_with_its_message(actions, where):
    actions.register("Go", raises(ValueError("oops")) if where == "body" else lambda p: None)
    if where == "replacement":
        actions.replace("Go", raises(ValueError("oops")))
    error = await refusal(actions.invoke("Go"), "action_failed")
    assert isinstance(error, ActionFailed)
    assert (str(error), error.description) == ("oops", "Error in action Go body: oops")
    assert isinstance(error.__cause__, ValueError)


async def test_an_abort_of_a_nested_action_leaves_the_outer_body_as_an_action_error_with_its_text(go):
    go.register("Outer", lambda p: go.invoke("Go"))
    go.add_listener("beforeGo", lambda p, abort: abort())
    error = await refusal(go.invoke("Outer"), "action_failed")
    text = "Action Go cancelled by before event"
    assert (str(error), error.description) == (text, f"Error in action Outer body: {text}")
    assert isinstance(error.__cause__, ActionAborted)


async def test_an_action_error_passes_nested_calls_as_the_same_object(actions):
    mine = ActionError("unknown_channel", "none")
    actions.register("Inner", raises(mine))
    actions.register("Outer", lambda p: actions.invoke("Inner"))
    assert await refusal(actions.invoke("Outer"), "unknown_channel") is mine


async def test_a_payload_update_that_raises_is_passed_on_raw_and_nothing_has_begun(actions, log):
    actions.register("Go", lambda p: None, raises(KeyError("x")))
    actions.add_listener("invocationBegin", lambda: log.append("begin"))
    with pytest.raises(KeyError):
        await actions.invoke("Go")
    assert (log, actions.find_pending()) == ([], [])


# -- 2.4 listeners --


async def test_the_action_with_the_empty_name_has_listeners_too(actions, log):
    actions.register("", lambda p: log.append("body"))
    for event in ("before", "after"):
        actions.add_listener(event, marks(log, event))
    await actions.invoke("")
    assert log == ["before", "body", "after"]


@pytest.mark.parametrize("waits", [0, 1])
async def test_an_observer_that_rejects_is_reported_and_changes_nothing(go, waits):
    go.add_listener("invocationBegin", rejects(waits=waits))
    with capture_logs() as lines:
        assert await go.invoke("Go") == "value"
        for _turn in range(3):
            await asyncio.sleep(0)
    assert [(line["event"], line["event_name"], line["error"]) for line in lines] == [
        ("observer.failed", "invocationBegin", "ValueError")
    ]


async def test_all_listeners_start_in_the_same_turn_in_order_and_are_awaited_together(go, log):
    for n in (1, 2, 3):
        go.add_listener("beforeGo", marks(log, f"before {n}", waits=4 - n))
    await go.invoke("Go")
    assert log == [
        "before 1",
        "before 2",
        "before 3",
        "before 3 went on",
        "before 2 went on",
        "before 1 went on",
        "body",
    ]


async def test_an_async_listener_starts_before_anything_else_in_the_loop(go, log):
    """As in JavaScript: an async function runs at once up to its first wait, a scheduled callback later."""
    go.add_listener("beforeGo", lambda p: asyncio.get_running_loop().call_soon(log.append, "next turn"))
    go.add_listener("beforeGo", marks(log, "listener", waits=1))
    await go.invoke("Go")
    assert log == ["listener", "next turn", "listener went on", "body"]


async def test_listeners_that_never_wait_take_no_turn_of_the_loop(go, log):
    for event in ("beforeGo", "afterGo"):
        go.add_listener(event, marks(log, event))
    asyncio.get_running_loop().call_soon(log.append, "next turn")
    await go.invoke("Go")
    assert log == ["beforeGo", "body", "afterGo"]


async def test_after_listeners_are_awaited_before_the_call_returns(go, log):
    go.add_listener("afterGo", marks(log, "after", waits=3))
    await go.invoke("Go")
    assert log == ["body", "after", "after went on"]


async def test_listeners_share_one_payload_object_and_their_return_values_are_ignored(go):
    note = Note("a")

    async def change(payload):
        payload.text += "!"
        return Note("ignored")

    seen = []
    go.add_listener("beforeGo", change)
    go.add_listener("afterGo", seen.append)
    await go.invoke("Go", note)
    assert seen[0] is note
    assert note.text == "a!"


async def test_abort_does_not_stop_the_siblings(go, log):
    """Quirk: in `strict` later hooks are not called."""
    go.add_listener("beforeGo", lambda p, abort: abort())
    go.add_listener("beforeGo", marks(log, "second", waits=1))
    await refusal(go.invoke("Go"), "action_aborted")
    assert log == ["second", "second went on"]


async def test_abort_works_while_any_before_listener_is_awaited(go, log):
    async def slowly(payload, abort):
        await asyncio.sleep(0)
        abort()
        abort()

    go.add_listener("beforeGo", slowly)
    await refusal(go.invoke("Go"), "action_aborted")
    assert log == []


async def test_a_late_abort_is_silently_too_late(go):
    """Quirk: in `strict` it raises."""
    kept = []
    go.add_listener("beforeGo", lambda p, abort: kept.append(abort))
    go.add_listener("afterGo", lambda p: kept[0]())
    assert await go.invoke("Go") == "value"
    kept[0]()


async def test_a_listener_removed_meanwhile_is_still_called_and_one_added_meanwhile_next_time(go, log):
    second = marks(log, "second")

    def first(payload):
        if go.remove_listener("beforeGo", second):
            go.add_listener("beforeGo", marks(log, "third"))

    go.add_listener("beforeGo", first)
    go.add_listener("beforeGo", second)
    await go.invoke("Go", 1)
    await go.invoke("Go", 2)
    assert log == ["second", "body", "third", "body"]


async def test_a_listener_added_by_an_earlier_event_of_the_same_call_is_in_time(go, log):
    go.add_listener("invocationBegin", lambda: go.add_listener("beforeGo", lambda p: add_after()))

    def add_after():
        go.add_listener("afterGo", lambda p: log.append("after"))
        go.add_listener("invocationEnd", lambda: log.append("end"))

    await go.invoke("Go")
    assert log == ["body", "after", "end"]


async def test_a_listener_added_twice_runs_twice_and_removal_takes_the_latest(go, log):
    """Quirk: in `strict` the second is refused."""

    def listener(*_):
        log.append("twice")

    def between(*_):
        log.append("between")

    for function in (listener, between, listener):
        go.add_listener("beforeGo", function)
    await go.invoke("Go", 1)
    go.remove_listener("beforeGo", listener)
    await go.invoke("Go", 2)
    assert log == ["twice", "between", "twice", "body", "twice", "between", "body"]


def test_removing_an_unknown_listener_is_silent(go):
    assert go.remove_listener("beforeGo", raises()) is False
    assert go.remove_listener("noSuchEvent", raises()) is False


@pytest.mark.parametrize("wrong", [None, "text", 7])
def test_a_listener_that_is_no_function_is_refused_at_once(go, wrong):
    with pytest.raises(RegistrationError):
        go.add_listener("beforeGo", wrong)


async def test_an_action_awaited_in_a_listener_runs_its_whole_cycle_there(go, log):
    go.register("Inner", lambda p: log.append("inner body"))
    go.add_listener("beforeInner", marks(log, "inner before"))
    go.add_listener("afterInner", marks(log, "inner after"))
    go.add_listener("beforeGo", lambda p: go.invoke("Inner"))
    await go.invoke("Go")
    assert log == ["inner before", "inner body", "inner after", "body"]


async def test_guards_are_ordinary_before_listeners(go, log):
    """The flex profiles know no guards; one that never ran would let everything through."""
    go.guard("Go", lambda p, abort: abort())
    await refusal(go.invoke("Go"), "action_aborted")
    assert log == []


async def test_wishes_for_an_order_count_for_nothing(go, log):
    go.add_listener("beforeGo", lambda p: log.append("first"), priority=-1)
    go.owned("a").add_listener("beforeGo", lambda p: log.append("second"), priority=9, run_before="b")
    await go.invoke("Go")
    assert log == ["first", "second", "body"]


@pytest.mark.parametrize("event", ["abortGo", "errorGo"])
async def test_abort_and_error_listeners_are_never_called(go, log, event):
    go.add_listener(event, marks(log, event))
    go.add_listener("beforeGo", lambda p, abort: abort())
    await refusal(go.invoke("Go"), "action_aborted")
    go.register("Go", raises())
    go.remove_all_listeners("beforeGo")
    await refusal(go.invoke("Go"), "action_failed")
    assert log == []


# -- 2.6 quirks of failing listeners --


@pytest.mark.parametrize("listener", [raises(), rejects(), rejects(waits=2)], ids=["raises", "rejects", "later"])
async def test_a_failing_before_listener_does_not_stop_the_action(go, log, listener):
    """Quirk: in `strict` the action is refused."""
    with capture_logs() as logs:
        go.add_listener("beforeGo", listener)
        assert await go.invoke("Go") == "value"
    assert [entry["event"] for entry in logs] == ["hook.failed"]


@pytest.mark.parametrize("listener", [raises(), rejects(), rejects(waits=2)], ids=["raises", "rejects", "later"])
async def test_a_failing_listener_is_reported_to_observers(go, listener):
    seen = []
    go.add_listener("beforeGo", listener)
    with capture_logs(), signals.hook_failed.connected_to(lambda s, **f: seen.append(f["hook"].function), go):
        await go.invoke("Go")
    assert seen == [listener]


async def test_a_before_listener_that_raises_synchronously_silences_the_later_ones_and_the_action_runs(go, log):
    """Quirk: in `strict` the first failure ends the phase and the action is refused."""
    go.add_listener("beforeGo", marks(log, "first"))
    go.add_listener("beforeGo", raises())
    go.add_listener("beforeGo", marks(log, "third"))
    with capture_logs():
        assert await go.invoke("Go") == "value"
    assert log == ["first", "body"]


async def test_then_those_started_are_not_awaited_and_their_abort_comes_too_late(go, log):
    """Quirk: an abort after a wait loses against a sibling's plain `raise`."""
    done = asyncio.Event()

    async def slow_judge(payload, abort):
        await asyncio.sleep(0)
        abort()
        log.append("aborted")
        done.set()

    go.add_listener("beforeGo", slow_judge)
    go.add_listener("beforeGo", raises())
    with capture_logs():
        assert await go.invoke("Go") == "value"
    await done.wait()
    assert log == ["body", "aborted"]


async def test_a_listener_that_rejects_skips_nobody(go, log):
    go.add_listener("beforeGo", rejects())
    go.add_listener("beforeGo", marks(log, "second"))
    with capture_logs():
        await go.invoke("Go")
    assert log == ["second", "body"]


async def test_an_after_listener_that_raises_synchronously_skips_the_rest_and_fails_nothing(go, log):
    """Quirk: in `strict` all after hooks run."""
    go.add_listener("afterGo", raises())
    go.add_listener("afterGo", marks(log, "second"))
    with capture_logs():
        assert await go.invoke("Go") == "value"
    assert log == ["body"]


async def test_an_after_listener_that_rejects_fails_nothing(go, log):
    go.add_listener("afterGo", rejects(waits=1))
    go.add_listener("afterGo", marks(log, "second"))
    with capture_logs():
        assert await go.invoke("Go") == "value"
    assert log == ["body", "second"]


async def test_an_endless_listener_stays_pending_for_ever(go):
    """Quirk: in `strict` it has a time limit."""
    go.add_listener("beforeGo", lambda p: asyncio.Event().wait())
    task = asyncio.create_task(go.invoke("Go"))
    for _turn in range(10):
        await asyncio.sleep(0)
    assert (task.done(), go.find_pending()) == (False, [("Go", None)])
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_invocation_begin_listener_that_raises_leaves_the_action_pending_for_ever(go):
    """Quirk: in `strict` observers never break a call."""
    go.add_listener("invocationBegin", raises(ValueError("raw")))
    with pytest.raises(ValueError, match="raw"):
        await go.invoke("Go")
    assert go.find_pending() == [("Go", None)]
    await refusal(go.invoke("Go"), "action_pending")


async def test_an_invocation_end_listener_that_raises_makes_a_finished_call_reject(go, log):
    """Quirk: in `strict` observers never break a call."""
    go.add_listener("invocationEnd", raises(ValueError("raw")))
    with pytest.raises(ValueError, match="raw"):
        await go.invoke("Go")
    assert (log, go.find_pending()) == (["body"], [])


async def test_a_payload_update_that_returns_nothing_loses_the_payload(actions):
    """Quirk: in `strict` it is an error."""
    seen = []
    actions.register("Go", seen.append, lambda p: None)
    await actions.invoke("Go", {"a": 1})
    assert seen == [None]


async def test_registering_twice_is_silent_and_drops_the_old_update(actions):
    """Quirk: in `strict` it is an error."""
    actions.register("Go", lambda p: ("old", p), lambda p: "updated")
    actions.register("Go", lambda p: ("new", p))
    assert await actions.invoke("Go", "given") == ("new", "given")


async def test_event_names_are_not_checked_and_an_empty_name_is_an_action(actions, log):
    """Quirk: in `strict` both are refused, with the nearest right name."""
    actions.add_listener("befroeGo", lambda: log.append("never"))
    actions.register("", lambda p: "empty")
    assert (await actions.invoke(""), log) == ("empty", [])


async def test_a_listener_of_a_plain_event_may_name_arguments_that_it_does_not_get(go, log):
    go.add_listener("invocationBegin", lambda payload: log.append(payload))
    await go.invoke("Go")
    assert log == [None, "body"]


def test_remove_all_listeners_without_an_event_removes_nothing_in_flex1():
    """Quirk: `strict` wants an event, and so does `flex2`, which has no such method."""
    actions = Actions("flex1")
    actions.register("Go", lambda p: None)
    actions.add_listener("beforeGo", raises())
    actions.remove_all_listeners()
    assert len(actions.hooks_of("Go")) == 1
    actions.remove_all_listeners("beforeGo")
    assert actions.hooks_of("Go") == []


async def test_after_listeners_can_see_the_result_all_the_same(go):
    """Flex gives them only the payload; `current_invocation()` is ours and costs nobody anything."""
    seen = []
    go.add_listener("afterGo", lambda p: seen.append(current_invocation().result))
    await go.invoke("Go")
    assert seen == ["value"]


# -- 2.5 replacements --


async def test_in_flex1_the_last_replacement_alone_counts():
    actions, log = Actions("flex1"), []
    actions.register("Go", lambda p: "body")
    actions.replace("Go", lambda p, original: log.append("older"))
    actions.replace("Go", lambda p, original: original(p))
    assert (await actions.invoke("Go"), log) == ("body", [])


def test_in_flex1_a_replacement_that_needs_next_is_offered_only_two():
    actions = Actions("flex1")
    actions.register("Go", lambda p: "body")
    actions.replace("Go", lambda p, original, next=None: next)
    assert asyncio.run(actions.invoke("Go")) is None


async def test_in_flex2_all_are_kept_newest_first_and_next_leads_to_the_body():
    actions, log = Actions("flex2"), []
    actions.register("Go", lambda p: log.append("body"))

    def older(payload, original, next):
        log.append("older")
        return next(payload)

    def newer(payload, original, next):
        log.append("newer")
        return next(payload)

    actions.replace("Go", older)
    actions.replace("Go", newer)
    await actions.invoke("Go")
    assert log == ["newer", "older", "body"]


async def test_original_skips_events_update_and_older_ones_and_takes_any_payload_or_none(actions, log):
    async def replacement(payload, original):
        return [await original(payload), await original("other"), await original()]

    actions.register("Go", lambda p: p, lambda p: log.append("update") or p)
    actions.add_listener("beforeGo", marks(log, "before"))
    actions.add_listener("afterGo", lambda p: log.append(p))
    actions.replace("Go", replacement)
    assert await actions.invoke("Go", "mine") == ["mine", "other", None]
    assert log == ["update", "before", "mine"]


async def test_a_plain_body_that_raises_does_so_where_original_is_called_awaited_or_not(actions):
    async def forgets(payload, original):
        original()

    actions.register("Go", raises(ValueError("oops")))
    actions.replace("Go", forgets)
    assert str(await refusal(actions.invoke("Go"), "action_failed")) == "oops"


async def test_an_async_body_that_raises_at_once_is_not_heard_of_if_original_is_not_awaited(actions):
    async def forgets(payload, original):
        original()
        return "replaced"

    actions.register("Go", rejects())
    actions.replace("Go", forgets)
    assert await actions.invoke("Go") == "replaced"


async def test_a_replacement_that_forgets_to_await_the_original_ends_early(actions, log):
    """Quirk: in `strict` it is an error."""
    done = asyncio.Event()

    async def body(payload):
        log.append("body begins")
        await asyncio.sleep(0)
        log.append("body ends")
        done.set()

    async def forgets(payload, original):
        original(payload)

    actions.register("Go", body)
    actions.replace("Go", forgets)
    actions.add_listener("afterGo", marks(log, "after"))
    assert await actions.invoke("Go") is None
    await done.wait()
    assert log == ["body begins", "after", "body ends"]


async def test_replacing_an_unregistered_action_waits_for_it_and_registering_anew_keeps_replacements(actions):
    actions.replace("Go", lambda p, original: ["replaced"])
    await refusal(actions.invoke("Go"), "unknown_action")
    actions.register("Go", lambda p: "old")
    actions.register("Go", lambda p: "new")
    assert await actions.invoke("Go") == ["replaced"]


async def test_a_replacement_added_by_a_before_listener_counts_and_by_a_replacement_next_time(go):
    def replacement(payload, original):
        go.replace("Go", lambda p: "newest")
        return "replaced"

    go.add_listener("beforeGo", lambda p: go.replace("Go", replacement) if p == 1 else None)
    assert [await go.invoke("Go", 1), await go.invoke("Go", 2)] == ["replaced", "newest"]


async def test_the_check_is_a_part_of_the_body_so_a_replacement_may_do_without(actions, log):
    actions.register("Go", lambda p: log.append("body"), check=lambda p: log.append("check"))
    handle = actions.replace("Go", lambda p: log.append("replaced"))
    await actions.invoke("Go")
    handle.remove()
    await actions.invoke("Go")
    assert log == ["replaced", "check", "body"]


# -- 2.7 the same order in Python --


async def test_asyncio_timeout_works_inside_an_eagerly_started_listener(go, log):
    async def careful(payload):
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            log.append("timed out")

    go.add_listener("beforeGo", careful)
    go.add_listener("afterGo", careful)
    assert await go.invoke("Go") == "value"
    assert log == ["timed out", "body", "timed out"]


async def test_a_listener_runs_in_one_task_of_its_own_from_its_first_line(go):
    seen, caller = [], asyncio.current_task()

    async def listener(payload):
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    go.add_listener("beforeGo", listener)
    await go.invoke("Go")
    assert seen[0] is seen[1]
    assert caller not in seen
    assert asyncio.current_task() is caller


async def test_context_variables_do_not_leak_out_of_an_async_listener(go):
    variable, seen = contextvars.ContextVar("variable", default="outside"), []

    async def listener(payload):
        variable.set("inside")
        await asyncio.sleep(0)
        seen.append(variable.get())

    go.add_listener("beforeGo", listener)
    go.add_listener("beforeGo", lambda p: seen.append(variable.get()))
    await go.invoke("Go")
    assert (seen, variable.get()) == (["outside", "inside"], "outside")


async def test_a_listener_knows_its_invocation_before_and_after_a_wait(go):
    seen = []

    async def listener(payload):
        seen.append(current_invocation().action)
        await asyncio.sleep(0)
        seen.append(current_invocation().action)

    go.add_listener("beforeGo", listener)
    await go.invoke("Go")
    assert (seen, current_invocation()) == (["Go", "Go"], None)


async def test_a_cancellation_reaches_the_listeners_leaves_nothing_pending_and_runs_no_more(go, log):
    ended = []

    async def cleans_up(payload):
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cleaned up")

    go.add_listener("beforeGo", cleans_up)
    go.add_listener("afterGo", marks(log, "after"))
    go.add_listener("invocationEnd", lambda: log.append("end"))
    with signals.invocation_ended.connected_to(lambda s, invocation: ended.append(invocation.outcome), go):
        task = asyncio.create_task(go.invoke("Go"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (log, ended, go.find_pending()) == (["cleaned up", "end"], ["cancelled"], [])


async def test_a_calls_own_limit_works_here_too(go):
    go.add_listener("beforeGo", lambda p: asyncio.Event().wait())
    await refusal(go.invoke("Go", timeout_s=0), "action_timeout")
    assert go.find_pending() == []


@pytest.mark.parametrize("profile", FLEX)
def test_handles_work_in_every_profile(profile):
    actions = Actions(profile)
    actions.register("Go", lambda p: None)
    for handle in (actions.before("Go", raises()), actions.replace("Go", raises()), actions.block("Go")):
        handle.remove()
    assert (actions.hooks_of("Go"), actions.find_blocked()) == ([], [])
