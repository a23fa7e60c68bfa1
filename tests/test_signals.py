"""Signals: what happens, for observers, who can break nothing."""

import asyncio
import contextlib
import gc

import pytest
from structlog.testing import capture_logs

from flex_actions import ActionError, Actions, signals
from flex_actions.signals import SIGNALS, Signal


@pytest.fixture
def signal():
    return Signal("tested")


@pytest.mark.parametrize("name", sorted(SIGNALS))
def test_every_signal_says_its_sender_and_facts(name):
    assert SIGNALS[name] is getattr(signals, name)
    assert SIGNALS[name].__doc__.startswith("Sender: ")
    assert "Facts: " in SIGNALS[name].__doc__


def test_receivers_are_called_in_the_order_connected(signal):
    seen = []
    for n in range(20):
        signal.connect(lambda sender, n=n: seen.append(n))
    signal.emit(None)
    assert seen == list(range(20))


def test_receivers_of_one_sender_stand_in_line_with_those_of_any(signal):
    seen, sender = [], object()
    signal.connect(lambda s: seen.append("first, one"), sender=sender)
    signal.connect(lambda s: seen.append("second, any"))
    signal.connect(lambda s: seen.append("third, one"), sender=sender)
    signal.emit(sender)
    assert seen == ["first, one", "second, any", "third, one"]


def test_a_receiver_of_one_sender_hears_nothing_of_another(signal):
    seen, sender = [], object()
    signal.connect(lambda s: seen.append(s), sender=sender)
    signal.emit(object())
    assert seen == []


def test_a_receiver_connected_again_keeps_its_place(signal):
    seen = []

    def first(sender):
        seen.append("first")

    signal.connect(first)
    signal.connect(lambda s: seen.append("second"))
    signal.connect(first)
    signal.emit(None)
    assert seen == ["first", "second"]


def test_a_receiver_is_held_until_it_is_disconnected(signal):
    seen = []
    receiver = signal.connect(lambda sender: seen.append(1))
    del receiver
    gc.collect()
    signal.emit(None)
    assert seen == [1]


def test_a_disconnected_receiver_hears_no_more(signal):
    seen = []

    def receiver(sender):
        seen.append(1)

    signal.connect(receiver)
    signal.disconnect(receiver)
    signal.emit(None)
    assert seen == []


def test_one_that_raises_is_logged_and_the_others_still_run(signal):
    seen = []

    def breaks(sender):
        raise ValueError

    signal.connect(breaks)
    signal.connect(lambda sender: seen.append(1))
    with capture_logs() as logs:
        signal.emit(None)
    assert seen == [1]
    assert [(log["event"], log["signal"]) for log in logs] == [("observer.failed", "tested")]


def test_a_receiver_that_disconnects_another_meanwhile_does_not_disturb_the_round(signal):
    seen = []

    def second(sender):
        seen.append("second")

    signal.connect(lambda s: signal.disconnect(second))
    signal.connect(second)
    signal.emit(None)
    signal.emit(None)
    assert seen == ["second"]


def test_an_async_receiver_is_refused_since_nobody_would_await_it(signal):
    async def receiver(sender):
        pass

    class Receiver:
        async def __call__(self, sender):
            pass

    for wrong in (receiver, Receiver()):
        with pytest.raises(TypeError, match="plain function"):
            signal.connect(wrong)


async def test_begin_and_end_frame_an_invocation():
    seen, actions = [], Actions()
    actions.register("Go", lambda: seen.append("body"))
    with (
        signals.invocation_began.connected_to(lambda s, invocation: seen.append(invocation.outcome), actions),
        signals.invocation_ended.connected_to(lambda s, invocation: seen.append(invocation.outcome), actions),
    ):
        await actions.invoke("Go")
    assert seen == ["running", "body", "ok"]


@pytest.mark.parametrize(
    ("body", "outcome", "result", "error"),
    [
        (lambda p: "value", "ok", "value", None),
        (lambda p: 1 / 0, "failed", None, "action_failed"),
        (lambda p: "unused", "aborted", None, "action_aborted"),
    ],
)
async def test_the_end_tells_outcome_result_and_error(body, outcome, result, error):
    seen, actions = [], Actions()
    actions.register("Go", body)
    if outcome == "aborted":
        actions.before("Go", lambda p, abort: abort())
    with (
        signals.invocation_ended.connected_to(lambda s, invocation: seen.append(invocation), actions),
        contextlib.suppress(ActionError),
    ):
        await actions.invoke("Go")
    [ended] = seen
    assert (ended.outcome, ended.result, ended.error and ended.error.code) == (outcome, result, error)


async def test_when_the_end_is_told_nothing_is_pending_any_more():
    seen, actions = [], Actions()
    actions.register("Go", lambda: None)
    with signals.invocation_ended.connected_to(lambda s, invocation: seen.append(actions.find_pending()), actions):
        await actions.invoke("Go")
    assert seen == [[]]


async def test_a_receiver_that_raises_breaks_no_call():
    actions = Actions()
    actions.register("Go", lambda: "value")

    def breaks(sender, **facts):
        raise ValueError

    with capture_logs(), signals.invocation_began.connected_to(breaks), signals.invocation_ended.connected_to(breaks):
        assert await actions.invoke("Go") == "value"
    assert actions.find_pending() == []


async def test_who_begins_to_observe_in_the_middle_sees_no_end_without_a_begin():
    seen, actions = [], Actions()

    def receiver(sender, invocation):
        seen.append(invocation)

    actions.register("Go", lambda: signals.invocation_ended.connect(receiver, actions))
    await actions.invoke("Go")
    signals.invocation_ended.disconnect(receiver, actions)
    assert seen == []


async def test_a_call_through_a_plugins_view_has_the_dispatcher_as_its_sender():
    """Otherwise an observer of a session would miss what its plugins do."""
    seen, actions = [], Actions()
    actions.register("Go", lambda: None)
    actions.before("Go", lambda: 1 / 0, on_error="ignore", timeout_s=0)
    for signal in (signals.invocation_began, signals.hook_failed, signals.hook_slow, signals.invocation_ended):
        signal.connect(lambda s, signal=signal, **facts: seen.append(signal.name), sender=actions)
    with capture_logs():
        await actions.owned("billing").invoke("Go")
    assert seen == ["invocation_began", "hook_slow", "hook_failed", "invocation_ended"]
    for signal in (signals.invocation_began, signals.hook_failed, signals.hook_slow, signals.invocation_ended):
        for receiver in list(signal.receivers_for(actions)):
            signal.disconnect(receiver, actions)


async def test_a_timed_out_hook_is_told_as_failed():
    seen, actions = [], Actions()
    actions.register("Go", lambda: None)
    actions.before("Go", lambda: asyncio.Event().wait(), timeout_s=0)
    with (
        capture_logs(),
        signals.hook_failed.connected_to(lambda s, **f: seen.append(f["error"].code), actions),
        pytest.raises(ActionError),
    ):
        await actions.invoke("Go")
    assert seen == ["hook_timeout"]


async def test_logs_name_the_kind_of_an_error_and_never_its_text():
    actions = Actions()
    actions.register("Go", lambda: None)

    def breaks(payload):
        raise ValueError("ada@example.org")

    actions.before("Go", breaks, on_error="ignore")
    with capture_logs() as logs:
        await actions.invoke("Go", {"body": "secret"})
    assert logs[0]["error"] == "ValueError"
    assert "ada@example.org" not in str(logs)
    assert "secret" not in str(logs)
