"""The dispatcher in `strict`: one invocation from its first check to its end, nesting, cancellation, limits."""

import asyncio
import contextlib
import gc
import warnings
import weakref

import attrs
import pytest

from flex_actions import ActionAborted, ActionError, ActionFailed, Actions, HookFailed, RegistrationError, signals
from flex_actions import current_invocation as here


@attrs.define
class Note:
    """A payload object."""

    text: str = ""
    tags: dict = attrs.field(factory=dict)


def echo(actions=None, *, name="Echo", log=None, **options):
    """A dispatcher with one action that returns its payload's text."""
    actions = actions or Actions()

    async def body(payload):
        if log is not None:
            log.append("body")
        return payload.text if isinstance(payload, Note) else payload

    actions.register(name, body, **options)
    return actions


def marks(log, name):
    """A hook that only writes its name down."""

    async def hook(*_):
        log.append(name)

    return hook


async def refusal(call, code):
    """The error that a call raises, which must have this code."""
    with pytest.raises(ActionError) as caught:
        await call
    assert caught.value.code == code
    return caught.value


def nothing_pending(actions):
    return actions.find_pending() == []


# -- one invocation, in order --


async def test_the_phases_of_an_invocation_run_in_their_order():
    log, actions = [], Actions()

    def update(payload):
        log.append("update")
        return Note()

    actions.register("Go", marks(log, "body"), update, marks(log, "check"))
    actions.add_listener("invocationBegin", lambda: log.append("begin"))
    actions.add_listener("invocationEnd", lambda: log.append("end"))
    actions.guard("Go", marks(log, "guard"))
    actions.before("Go", marks(log, "before"))
    actions.after("Go", marks(log, "after"))
    await actions.invoke("Go")
    assert log == ["update", "begin", "before", "guard", "check", "body", "after", "end"]


async def test_invoke_returns_the_value_of_the_body():
    assert await echo().invoke("Echo", Note("hello")) == "hello"


async def test_a_plain_function_is_a_body_too():
    actions = Actions()
    actions.register("Add", lambda p: p["a"] + p["b"])
    assert await actions.invoke("Add", {"a": 1, "b": 2}) == 3


async def test_an_unknown_action_is_refused_with_the_nearest_name():
    error = await refusal(echo(name="AttachFile").invoke("AtachFile"), "unknown_action")
    assert "AttachFile" in error.hint


@pytest.mark.parametrize("reason", ["unknown", "pending", "blocked", "update", "key", "depth"])
async def test_a_refused_call_fires_no_event(reason):
    log, gate, actions = [], asyncio.Event(), Actions()

    def update(payload):
        if payload == "bad":
            raise ActionError("invalid_payload", "bad")
        return payload

    async def body(payload):
        if payload == "deep" or (reason == "depth" and payload is not None):
            await actions.invoke("Go", object())
        else:
            await gate.wait()

    actions.register("Go", body, update)
    if reason == "depth":
        with pytest.raises(ActionError, match="nested 17 deep"):
            await actions.invoke("Go", "deep")
        return
    running = asyncio.create_task(actions.invoke("Go", "same"))
    await asyncio.sleep(0)
    if reason == "blocked":
        actions.block("Go", "stop")
    for event in ("invocationBegin", "invocationEnd"):
        actions.add_listener(event, lambda event=event: log.append(event))
    for event in ("beforeGo", "afterGo", "abortGo", "errorGo"):
        actions.add_listener(event, marks(log, event))
    payload = {"pending": "same", "blocked": "stop", "update": "bad"}.get(reason)
    with pytest.raises(ActionError):
        await actions.invoke("Gone" if reason == "unknown" else "Go", payload, key="k" if reason == "key" else None)
    assert log == []
    gate.set()
    await running


async def test_pending_comes_before_blocked():
    gate, actions = asyncio.Event(), Actions()
    actions.register("Wait", lambda p: gate.wait())
    running = asyncio.create_task(actions.invoke("Wait", "x"))
    await asyncio.sleep(0)
    actions.block("Wait")
    await refusal(actions.invoke("Wait", "x"), "action_pending")
    gate.set()
    await running
    await refusal(actions.invoke("Wait", "x"), "action_blocked")


async def test_the_body_is_looked_up_before_the_hooks_run():
    actions, log = Actions(), []
    old = actions.register("Go", lambda: log.append("old"))

    @actions.before("Go")
    def swap():
        old.remove()
        actions.register("Go", lambda: log.append("new"))

    await actions.invoke("Go")
    assert log == ["old"]


async def test_the_check_belongs_to_the_body_that_was_looked_up():
    """An action that is taken away during its hooks must not run unchecked."""
    actions, log = Actions(), []
    mine = actions.register("Go", lambda: log.append("body"), check=lambda: log.append("check"))
    actions.before("Go", lambda: mine.remove())
    await actions.invoke("Go")
    assert log == ["check", "body"]


# -- payloads --


async def test_hooks_change_the_payload_in_place():
    actions = echo()

    @actions.before("Echo")
    def shout(payload):
        payload.text = payload.text.upper()

    assert await actions.invoke("Echo", Note("hello")) == "HELLO"


async def test_what_a_hook_returns_is_ignored():
    actions = echo()
    actions.before("Echo", lambda p: Note("other"))
    actions.after("Echo", lambda p: "other")
    assert await actions.invoke("Echo", Note("mine")) == "mine"


async def test_a_payload_object_is_used_as_it_is():
    seen, note = [], Note()
    actions = echo()
    actions.before("Echo", seen.append)
    await actions.invoke("Echo", note)
    assert seen[0] is note


async def test_payload_update_converts_a_mapping_once_and_its_caller_sees_no_change():
    actions, given, seen = Actions(), {"text": "a"}, []

    def update(payload):
        seen.append(payload)
        return Note(**payload)

    actions.register("Go", lambda p: p.text, update)

    @actions.before("Go")
    def change(payload):
        payload.text = "b"

    assert await actions.invoke("Go", given) == "b"
    assert (given, len(seen)) == ({"text": "a"}, 1)


async def test_payload_update_runs_for_replaced_actions_too():
    actions = Actions()
    actions.register("Go", lambda p: None, lambda p: Note("updated"))
    actions.replace("Go", lambda p, original: p.text)
    assert await actions.invoke("Go") == "updated"


async def test_a_payload_update_that_returns_nothing_is_an_error_and_nothing_begins():
    actions, log = Actions(), []
    actions.register("Go", lambda p: log.append("body"), lambda p: None)
    actions.add_listener("invocationBegin", lambda: log.append("begin"))
    await refusal(actions.invoke("Go"), "invalid_registration")
    assert log == []


async def test_a_payload_update_that_raises_fails_the_call_and_nothing_begins():
    actions, log = Actions(), []
    actions.register("Go", lambda p: log.append("body"), lambda p: p["missing"])
    actions.add_listener("invocationBegin", lambda: log.append("begin"))
    error = await refusal(actions.invoke("Go", {}), "action_failed")
    assert isinstance(error.__cause__, KeyError)
    assert log == []


# -- abort --


async def test_abort_refuses_with_its_reason_and_the_hook_that_gave_it():
    log = []
    actions = echo(log=log)

    @actions.before("Echo")
    async def refuse(payload, abort):
        abort("too loud")

    error = await refusal(actions.invoke("Echo"), "action_aborted")
    assert isinstance(error, ActionAborted)
    assert (error.reason, error.action, log) == ("too loud", "Echo", [])
    assert "refuse" in error.hook


async def test_after_an_abort_later_hooks_guards_check_body_and_after_hooks_are_not_called():
    log = []
    actions = echo(log=log, check=lambda p: log.append("check"))
    actions.before("Echo", lambda p, abort: abort())
    actions.before("Echo", marks(log, "before"))
    actions.guard("Echo", marks(log, "guard"))
    actions.after("Echo", marks(log, "after"))
    await refusal(actions.invoke("Echo"), "action_aborted")
    assert log == []


async def test_a_guard_aborts_too():
    actions = echo()
    actions.guard("Echo", lambda p, abort: abort("no"))
    assert (await refusal(actions.invoke("Echo"), "action_aborted")).reason == "no"


async def test_the_first_reason_counts():
    actions = echo()

    @actions.before("Echo")
    def refuse(payload, abort):
        abort("first")
        abort("second")

    assert (await refusal(actions.invoke("Echo"), "action_aborted")).reason == "first"


async def test_a_hook_that_aborts_and_then_raises_has_aborted():
    actions = echo()

    @actions.before("Echo")
    def refuse(payload, abort):
        abort("no")
        raise ValueError

    await refusal(actions.invoke("Echo"), "action_aborted")


@pytest.mark.parametrize("phase", ["body", "after"])
async def test_an_abort_that_comes_too_late_raises(phase):
    kept, caught = [], []

    async def late(*_):
        try:
            kept[0]("late")
        except ActionError as error:
            caught.append(error.code)

    actions = Actions()
    actions.register("Go", late if phase == "body" else lambda: None)
    actions.before("Go", lambda p, abort: kept.append(abort))
    if phase == "after":
        actions.after("Go", late)
    await actions.invoke("Go")
    assert caught == ["abort_too_late"]


async def test_an_abort_by_a_task_that_outlives_its_hook_raises_in_that_task():
    gate, tasks, actions = asyncio.Event(), [], echo()

    async def slow_judgement(abort):
        await gate.wait()
        abort("too late")

    actions.before("Echo", lambda p, abort: tasks.append(asyncio.create_task(slow_judgement(abort))))
    await actions.invoke("Echo")
    gate.set()
    await refusal(tasks[0], "abort_too_late")


async def test_an_abort_after_the_call_was_cancelled_raises():
    kept, actions = [], Actions()
    actions.register("Go", lambda: None)

    @actions.before("Go")
    async def wait(payload, abort):
        kept.append(abort)
        await asyncio.Event().wait()

    task = asyncio.create_task(actions.invoke("Go"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ActionError, match="after the before hooks"):
        kept[0]()


async def test_concurrent_calls_have_each_their_own_abort():
    actions = echo()
    actions.before("Echo", lambda p, abort: abort() if p.text == "a" else None)
    results = await asyncio.gather(*(actions.invoke("Echo", Note(t)) for t in "ab"), return_exceptions=True)
    assert [type(r) for r in results] == [ActionAborted, str]


async def test_abort_listeners_see_payload_and_error():
    seen, actions = [], echo()
    actions.before("Echo", lambda p, abort: abort("no"))
    actions.add_listener("abortEcho", lambda p, error: seen.append((p, error.reason, here().action)))
    actions.add_listener("errorEcho", lambda p, error: seen.append("error"))
    await refusal(actions.invoke("Echo", "x"), "action_aborted")
    assert seen == [("x", "no", "Echo")]


# -- failing hooks --


@pytest.mark.parametrize("add", ["before", "guard"])
async def test_a_before_hook_or_guard_that_fails_refuses_the_action_and_is_named(add):
    log = []
    actions = echo(log=log)

    def breaks(payload):
        raise ValueError("oops")

    getattr(actions.owned("billing"), add)("Echo", breaks)
    error = await refusal(actions.invoke("Echo"), "hook_failed")
    assert isinstance(error, HookFailed)
    assert error.hook.startswith("billing: ")
    assert error.hook.endswith("breaks")
    assert isinstance(error.__cause__, ValueError)
    assert log == []


async def test_the_first_failure_ends_the_phase():
    log, actions = [], echo()

    @actions.before("Echo")
    async def breaks(payload):
        raise ValueError

    actions.before("Echo", marks(log, "later"))
    await refusal(actions.invoke("Echo"), "hook_failed")
    assert log == []


async def test_on_error_ignore_lets_the_action_run_and_reports_the_failure():
    actions, reported = echo(), []

    def breaks(payload):
        raise ValueError

    actions.before("Echo", breaks, on_error="ignore")
    with signals.hook_failed.connected_to(lambda s, **facts: reported.append(facts["hook"].function), sender=actions):
        assert await actions.invoke("Echo", "x") == "x"
    assert reported == [breaks]


async def test_an_action_error_of_a_hook_is_its_cause():
    actions = echo()

    def breaks(payload):
        raise ActionError("rate_limited", "slow down")

    actions.before("Echo", breaks)
    error = await refusal(actions.invoke("Echo"), "hook_failed")
    assert error.__cause__.code == "rate_limited"


async def test_error_listeners_see_every_refusal_but_an_abort():
    seen = []
    actions = Actions()
    actions.register("Go", lambda p: 1 / 0)
    actions.add_listener("errorGo", lambda p, error: seen.append(error))
    error = await refusal(actions.invoke("Go"), "action_failed")
    assert seen == [error]


async def test_an_inner_abort_that_leaves_the_outer_body_is_an_error_of_the_outer():
    seen, actions = [], echo(name="Inner")
    actions.before("Inner", lambda p, abort: abort("no"))
    actions.register("Outer", lambda: actions.invoke("Inner"))
    actions.add_listener("errorOuter", lambda p, error: seen.append(error.action))
    actions.add_listener("abortOuter", lambda: seen.append("abort"))
    await refusal(actions.invoke("Outer"), "action_aborted")
    assert seen == ["Inner"]


async def test_a_failing_error_listener_does_not_hide_the_failure_nor_stop_the_others():
    ended, log, actions = [], [], Actions()
    actions.register("Go", lambda: 1 / 0)

    def breaks(payload, error):
        raise ValueError("in listener")

    actions.add_listener("errorGo", breaks)
    actions.add_listener("errorGo", marks(log, "second"))
    with signals.invocation_ended.connected_to(lambda s, invocation: ended.append(invocation), sender=actions):
        await refusal(actions.invoke("Go"), "action_failed")
    assert log == ["second"]
    assert [type(e) for e in ended[0].after_errors] == [ValueError]


async def test_what_a_body_raises_becomes_action_failed_with_its_cause():
    actions = Actions()
    actions.register("Go", lambda: 1 / 0)
    error = await refusal(actions.invoke("Go"), "action_failed")
    assert isinstance(error, ActionFailed)
    assert isinstance(error.__cause__, ZeroDivisionError)


async def test_an_action_error_of_a_body_is_raised_as_the_same_object():
    mine, actions = ActionError("unknown_channel", "none"), Actions()

    def body():
        raise mine

    actions.register("Go", body)
    assert await refusal(actions.invoke("Go"), "unknown_channel") is mine


async def test_a_base_exception_is_never_wrapped():
    actions, log = Actions(), []

    class Stop(BaseException):
        pass

    def body():
        raise Stop

    actions.register("Go", body)
    actions.add_listener("errorGo", marks(log, "error"))
    with pytest.raises(Stop):
        await actions.invoke("Go")
    assert (log, nothing_pending(actions)) == ([], True)


# -- guards --


async def test_guards_run_after_all_before_hooks_and_see_the_final_payload():
    seen, actions = [], echo()
    actions.guard("Echo", lambda p: seen.append(p.text), priority=100)

    @actions.before("Echo", priority=-100)
    async def change(payload):
        payload.text = "final"

    await actions.invoke("Echo", Note("first"))
    assert seen == ["final"]


@attrs.define(eq=False)
class ByIdentity:
    """A mutable payload that is hashable, because it is compared by identity."""

    text: str = ""
    inner: list = attrs.field(factory=lambda: [{"deep": 1}])


@pytest.mark.parametrize(
    "change",
    [
        lambda p: setattr(p, "text", "x"),
        lambda p: delattr(p, "text"),
        lambda p: p.inner.append(1),
        lambda p: p.inner[0].update(deep=2),
        lambda p: p.inner[0].__setitem__("deep", 2),
    ],
)
async def test_a_guard_cannot_change_the_payload_however_deep(change):
    actions, payload = echo(), ByIdentity("kept")
    actions.guard("Echo", change)
    error = await refusal(actions.invoke("Echo", payload), "hook_failed")
    assert isinstance(error.__cause__, (AttributeError, TypeError))
    assert (payload.text, payload.inner) == ("kept", [{"deep": 1}])


async def test_a_guard_whose_action_never_comes_is_an_error_once_all_actions_are_there():
    actions = echo(name="AttachFile")
    actions.guard("AttachFiles", lambda p: None)
    with pytest.raises(RegistrationError, match="AttachFile"):
        actions.seal()


async def test_any_other_hook_whose_action_never_comes_is_a_warning():
    actions = echo(name="AttachFile")
    actions.before("AttachFiles", lambda p: None)
    actions.replace("DetachFile", lambda p: None)
    assert len(actions.seal()) == 2


async def test_hooks_may_be_registered_before_their_action():
    log, actions = [], Actions()
    actions.before("Later", marks(log, "before"))
    actions.replace("Later", marks(log, "replacement"))
    actions.guard("Later", marks(log, "guard"))
    actions.register("Later", lambda: None)
    assert actions.seal() == []
    await actions.invoke("Later")
    assert log == ["before", "guard", "replacement"]


# -- time limits of hooks --


async def hangs(*_):
    await asyncio.Event().wait()


@pytest.mark.parametrize("add", ["before", "guard"])
async def test_a_hook_that_hangs_is_stopped_at_its_limit_and_refuses(add):
    actions = echo()
    getattr(actions, add)("Echo", hangs, timeout_s=0)
    error = await refusal(actions.invoke("Echo"), "hook_timeout")
    assert (error.retryable, error.details, nothing_pending(actions)) == (True, {"timeout_s": 0}, True)
    assert "hangs" in error.hook


async def test_a_hook_that_hangs_and_may_fail_is_passed_over():
    actions = echo()
    actions.before("Echo", hangs, timeout_s=0, on_error="ignore")
    assert await actions.invoke("Echo", "x") == "x"


def test_a_hook_has_five_seconds_by_default_and_none_for_no_limit():
    actions = echo()
    actions.before("Echo", lambda p: None)
    actions.before("Echo", hangs, timeout_s=None)
    assert [h.timeout_s for h in actions.hooks_of("Echo")] == [5.0, None]


async def test_a_hook_without_limit_may_take_its_time():
    gate, actions = asyncio.Event(), echo()
    actions.before("Echo", lambda p: gate.wait(), timeout_s=None)
    task = asyncio.create_task(actions.invoke("Echo", "x"))
    await asyncio.sleep(0)
    gate.set()
    assert await task == "x"


async def test_the_limit_counts_from_the_hooks_first_wait_so_one_that_never_waits_is_not_stopped():
    log, actions = [], echo()
    actions.before("Echo", marks(log, "ran"), timeout_s=0)
    await actions.invoke("Echo")
    assert log == ["ran"]


async def test_a_timeout_error_of_the_hooks_own_is_a_failure_not_a_timeout():
    actions = echo()

    async def breaks(payload):
        await asyncio.sleep(0)
        raise TimeoutError("mine")

    actions.before("Echo", breaks)
    await refusal(actions.invoke("Echo"), "hook_failed")


async def test_asyncio_timeout_works_inside_a_hook():
    actions = echo()

    @actions.before("Echo")
    async def careful(payload):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await hangs()
        payload.text = "went on"

    assert await actions.invoke("Echo", Note()) == "went on"


async def test_a_hook_that_swallows_its_cancellation_has_still_run_out_of_time():
    actions = echo()

    @actions.before("Echo", timeout_s=0)
    async def stubborn(payload):
        with contextlib.suppress(asyncio.CancelledError):
            await hangs()

    await refusal(actions.invoke("Echo"), "hook_timeout")
    assert asyncio.current_task().cancelling() == 0


async def test_a_cancellation_from_outside_during_a_limited_hook_is_a_cancellation():
    actions, log = echo(), []
    actions.before("Echo", hangs, timeout_s=60)
    actions.add_listener("errorEcho", marks(log, "error"))
    task = asyncio.create_task(actions.invoke("Echo"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (log, nothing_pending(actions)) == ([], True)


async def test_a_slow_plain_hook_is_reported_and_never_interrupted():
    actions, slow = echo(), []

    def plain(payload):
        return None

    actions.before("Echo", plain, timeout_s=0)
    with signals.hook_slow.connected_to(lambda s, **f: slow.append((f["hook"].function, f["seconds"] > 0)), actions):
        assert await actions.invoke("Echo", "x") == "x"
    assert slow == [(plain, True)]


async def test_a_plain_hook_that_returns_a_coroutine_is_awaited_within_the_limit():
    actions = echo()
    actions.before("Echo", lambda p: hangs(), timeout_s=0)
    await refusal(actions.invoke("Echo"), "hook_timeout")


async def test_a_cancelled_error_that_leaks_out_of_a_hook_is_a_failure_not_a_cancellation():
    actions = echo()

    async def leaks(payload):
        raise asyncio.CancelledError

    actions.before("Echo", leaks)
    await refusal(actions.invoke("Echo"), "hook_failed")


# -- after hooks --


async def test_all_after_hooks_run_and_their_errors_do_not_fail_the_call():
    log, ended, reported, actions = [], [], [], echo()

    def breaks(payload):
        log.append("breaks")
        raise ValueError

    actions.after("Echo", breaks)
    actions.after("Echo", marks(log, "second"))
    with (
        signals.invocation_ended.connected_to(lambda s, invocation: ended.append(invocation), sender=actions),
        signals.hook_failed.connected_to(lambda s, **facts: reported.append(facts["hook"].function), sender=actions),
    ):
        assert await actions.invoke("Echo", "x") == "x"
    assert (log, reported, ended[0].outcome) == (["breaks", "second"], [breaks], "ok")
    assert [type(e) for e in ended[0].after_errors] == [ValueError]


async def test_after_hooks_see_the_result():
    seen, actions = [], echo()
    actions.after("Echo", lambda p: seen.append(here().result))
    await actions.invoke("Echo", "x")
    assert seen == ["x"]


async def test_after_hooks_run_before_the_call_has_ended():
    seen, actions = [], echo()
    actions.after("Echo", lambda p: seen.append(actions.find_pending("Echo")))
    await actions.invoke("Echo", "x")
    assert seen == [[("Echo", "x")]]


async def test_after_hooks_do_not_run_once_the_body_failed():
    log, actions = [], Actions()
    actions.register("Go", lambda: 1 / 0)
    actions.after("Go", marks(log, "after"))
    await refusal(actions.invoke("Go"), "action_failed")
    assert log == []


async def test_a_cancelled_error_that_leaks_out_of_an_after_hook_does_not_fail_the_call():
    log, actions = [], echo()

    async def leaks(payload):
        raise asyncio.CancelledError

    actions.after("Echo", leaks)
    actions.after("Echo", marks(log, "second"))
    assert await actions.invoke("Echo", "x") == "x"
    assert log == ["second"]


async def test_an_after_hook_that_hangs_is_stopped_and_the_call_succeeds():
    actions = echo()
    actions.after("Echo", hangs, timeout_s=0)
    assert await actions.invoke("Echo", "x") == "x"


async def test_an_after_hook_added_by_a_before_hook_is_in_time():
    log, actions = [], echo()
    actions.before("Echo", lambda p: actions.after("Echo", marks(log, "after")))
    await actions.invoke("Echo")
    assert log == ["after"]


async def test_a_before_hook_added_by_a_before_hook_waits_for_the_next_call():
    log, actions = [], echo()

    @actions.before("Echo")
    def add(payload):
        if not log:
            actions.before("Echo", marks(log, "added"))

    await actions.invoke("Echo")
    assert log == []
    handle = actions.hooks_of("Echo")
    assert len(handle) == 2


# -- nested invocations --


async def test_a_nested_call_knows_its_parent_its_origin_and_its_plugin():
    seen, actions = [], echo(name="Inner")
    actions.after("Inner", lambda p: seen.append((here().parent.action, here().origin, here().plugin)))
    actions.register("Outer", lambda: actions.invoke("Inner", 1))
    plugin = actions.owned("helper")
    plugin.after("Outer", lambda: actions.invoke("Inner", 2))
    await actions.invoke("Outer")
    assert seen == [("Outer", "body", None), ("Outer", "hook", "helper")]


async def test_an_outermost_call_has_no_parent_and_comes_from_a_caller():
    seen, actions = [], echo()
    actions.before("Echo", lambda p: seen.append((here().parent, here().origin, here().depth)))
    await actions.invoke("Echo")
    assert seen == [(None, "call", 1)]
    assert here() is None


async def test_extras_pass_data_from_one_hook_to_another_of_the_same_call():
    seen, actions = [], echo()
    actions.before("Echo", lambda p: here().extras.update(p=p))
    actions.after("Echo", lambda p: seen.append(here().extras))
    await asyncio.gather(actions.invoke("Echo", 1), actions.invoke("Echo", 2))
    assert seen == [{"p": 1}, {"p": 2}]


async def test_calls_nest_sixteen_deep_and_no_deeper():
    deepest, actions = [], Actions()

    async def body(n):
        deepest.append(here().depth)
        await actions.invoke("Down", n + 1)

    actions.register("Down", body)
    await refusal(actions.invoke("Down", 0), "depth_exceeded")
    assert (deepest[-1], nothing_pending(actions)) == (16, True)


async def test_a_task_that_outlives_its_invocation_begins_anew_as_far_as_depth_goes():
    tasks, depths, gate, actions = [], [], asyncio.Event(), Actions()

    async def later():
        await gate.wait()
        await actions.invoke("Next")

    actions.register("Next", lambda: depths.append(here().depth))
    actions.register("First", lambda: tasks.append(asyncio.create_task(later())))
    await actions.invoke("First")
    gate.set()
    await tasks[0]
    assert depths == [1]


async def test_recursion_with_the_same_payload_is_refused_and_with_another_it_works():
    actions = Actions()

    async def body(n):
        return await actions.invoke("Down", 0 if n == 0 else n - 1)

    actions.register("Down", body)
    await refusal(actions.invoke("Down", 2), "action_pending")


async def test_recursion_from_an_after_hook_is_refused_too():
    caught, actions = [], echo()

    @actions.after("Echo")
    async def again(payload):
        try:
            await actions.invoke("Echo", payload)
        except ActionError as error:
            caught.append(error.code)

    await actions.invoke("Echo", "x")
    assert caught == ["action_pending"]


# -- pending --


async def hold(actions, *payloads, name="Hold"):
    """Calls of an action that all wait at one gate."""
    gate = asyncio.Event()

    async def body(payload):
        await gate.wait()

    actions.register(name, body)
    tasks = [asyncio.create_task(actions.invoke(name, p)) for p in payloads]
    await asyncio.sleep(0)
    return gate, tasks


@pytest.mark.parametrize(
    ("running", "refused", "allowed"),
    [
        ({"a": 1}, {"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": 1.0}, {"a": True}),
        ({"a": 1}, {"a": 1}, {"a": 1, "b": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 1}, None),
        (None, None, {}),
        ("x", "x", "y"),
        ({"channelSid": "CH1"}, {"channel_sid": "CH1"}, {"channelSid": "CH2"}),
    ],
)
async def test_an_equal_payload_is_refused_while_one_runs_equal_both_ways(running, refused, allowed):
    actions = Actions()
    gate, tasks = await hold(actions, running)
    await refusal(actions.invoke("Hold", refused), "action_pending")
    other = asyncio.create_task(actions.invoke("Hold", allowed))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks, other)
    assert nothing_pending(actions)


async def test_objects_in_payloads_are_the_same_only_if_identical():
    actions, one, other = Actions(), [1], [1]
    gate, tasks = await hold(actions, {"file": one})
    await refusal(actions.invoke("Hold", {"file": one}), "action_pending")
    tasks.append(asyncio.create_task(actions.invoke("Hold", {"file": other})))
    gate.set()
    await asyncio.gather(*tasks)


async def test_given_is_compared_with_given_also_if_the_update_changed_it():
    actions, gate = Actions(), asyncio.Event()
    actions.register("Go", lambda p: gate.wait(), lambda p: Note("changed"))
    task = asyncio.create_task(actions.invoke("Go", {"text": "a"}))
    await asyncio.sleep(0)
    await refusal(actions.invoke("Go", {"text": "a"}), "action_pending")
    gate.set()
    await task


async def test_a_caller_who_changes_a_mapping_afterwards_changes_no_pending_entry():
    actions, given = Actions(), {"a": 1}
    gate, tasks = await hold(actions, given)
    given["a"] = 2
    await refusal(actions.invoke("Hold", {"a": 1}), "action_pending")
    gate.set()
    await asyncio.gather(*tasks)


@pytest.mark.parametrize("others", [0, 1])
async def test_the_same_payload_object_is_pending_while_it_runs_whatever_became_of_it(others):
    actions, note = Actions(), Note("a")
    gate, tasks = await hold(actions, note, *[Note("other")] * others)
    note.text = "b"
    await refusal(actions.invoke("Hold", note), "action_pending")
    gate.set()
    await asyncio.gather(*tasks)
    assert nothing_pending(actions)


async def test_a_value_that_a_hook_took_out_of_a_running_payload_stays_alive():
    """Values are compared by identity: at a freed one's address a new one would be taken for it."""

    class Value:
        pass

    actions, note = Actions(), Note(Value())
    alive = weakref.ref(note.text)
    gate, tasks = await hold(actions, note, Note("other"))
    note.text = "changed"
    assert alive() is not None
    gate.set()
    await asyncio.gather(*tasks)
    del tasks
    gc.collect()
    assert alive() is None


async def test_different_actions_do_not_hinder_each_other():
    actions = echo()
    gate, tasks = await hold(actions, "x")
    assert await actions.invoke("Echo", "x") == "x"
    gate.set()
    await asyncio.gather(*tasks)


async def test_find_pending_gives_what_runs_by_name_and_payload():
    actions = echo()
    gate, tasks = await hold(actions, "x", "y")
    assert actions.find_pending() == [("Hold", "x"), ("Hold", "y")]
    assert actions.find_pending("Echo") == []
    assert actions.find_pending(["Hold", "Echo"], "y") == [("Hold", "y")]
    assert actions.find_pending(payload=lambda stored, action: (stored, action) == ("x", "Hold")) == [("Hold", "x")]
    gate.set()
    await asyncio.gather(*tasks)
    assert actions.find_pending("Hold") == []


async def test_a_finished_call_may_be_repeated():
    actions = echo()
    assert [await actions.invoke("Echo", "x") for _ in range(3)] == ["x"] * 3


# -- blocked --


@pytest.mark.parametrize(
    ("block", "refused", "allowed"),
    [
        ((), [None, {}, {"a": 1}], []),
        (({"a": 1},), [{"a": 1}, {"a": 1, "b": 2}], [{"a": 2}, {}, None, {"b": 2}]),
        (({"channelSid": "CH1"},), [{"channel_sid": "CH1", "x": 1}], [{"channel_sid": "CH2"}]),
    ],
)
async def test_a_block_stops_the_whole_action_or_the_calls_that_contain_its_payload(block, refused, allowed):
    actions = echo()
    actions.block("Echo", *block)
    for payload in refused:
        await refusal(actions.invoke("Echo", payload), "action_blocked")
    for payload in allowed:
        await actions.invoke("Echo", payload)


async def test_unblock_takes_back_the_blocks_that_match_or_all():
    actions = echo()
    for payload in ({"a": 1}, {"a": 2}, {"a": 3}):
        actions.block("Echo", payload)
    actions.unblock("Echo", {"a": 1})
    assert actions.find_blocked() == [("Echo", {"a": 2}), ("Echo", {"a": 3})]
    actions.unblock("Echo", lambda stored, action: stored["a"] == 2)
    assert actions.find_blocked("Echo", {"a": 3}) == [("Echo", {"a": 3})]
    actions.unblock("Echo")
    assert actions.find_blocked() == []


async def test_a_blocks_handle_takes_back_that_block_alone():
    actions = echo()
    first, _ = actions.block("Echo", {"a": 1}), actions.block("Echo", {"a": 1})
    first.remove()
    first.remove()
    assert actions.find_blocked() == [("Echo", {"a": 1})]


async def test_blocking_is_announced_once_per_block_and_per_unblock_that_removed_something():
    seen, actions = [], echo()
    actions.add_listener("actionBlockedChanged", lambda *facts: seen.append(facts))
    handle = actions.block("Echo", "x")
    actions.unblock("Echo", "y")
    actions.unblock("Echo")
    handle.remove()
    assert seen == [(True, "Echo", "x"), (False, "Echo", None)]


def test_blocking_an_unknown_action_is_refused_with_the_nearest_name():
    for call in (Actions.block, Actions.unblock, Actions.find_blocked, Actions.find_pending):
        with pytest.raises(ActionError, match="Did you mean 'Echo'"):
            call(echo(), "Ecko")


# -- cancellation --

PLACES = ["before", "guard", "check", "replacement", "body", "after", "abort", "error"]


@pytest.mark.parametrize("limit", [None, 60])
@pytest.mark.parametrize("place", PLACES)
async def test_a_cancellation_anywhere_leaves_nothing_pending_and_runs_no_further_hook(place, limit):
    log, ended, reached, actions = [], [], asyncio.Event(), Actions()

    async def waits(*_):
        reached.set()
        await hangs()

    async def fails(*_):
        raise ValueError

    body = waits if place == "body" else fails if place == "error" else (lambda: None)
    actions.register("Go", body, check=waits if place == "check" else None)
    if place == "replacement":
        actions.replace("Go", waits)
    if place == "abort":
        actions.before("Go", lambda p, abort: abort())
    event = place if place in ("before", "after", "abort", "error") else "before"
    if place in ("before", "guard", "after", "abort", "error"):
        actions.add_listener(f"{event}Go", waits, guard=place == "guard", timeout_s=limit)
    for event in ("afterGo", "abortGo", "errorGo"):
        actions.add_listener(event, marks(log, event))
    with signals.invocation_ended.connected_to(lambda s, invocation: ended.append(invocation.outcome), actions):
        task = asyncio.create_task(actions.invoke("Go"))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert (log, ended, nothing_pending(actions)) == ([], ["cancelled"], True)


async def test_a_cancelled_outer_call_ends_the_nested_ones_too():
    ended, reached, actions = [], asyncio.Event(), Actions()

    async def inner():
        reached.set()
        await hangs()

    actions.register("Inner", inner)
    actions.register("Outer", lambda: actions.invoke("Inner"))
    with signals.invocation_ended.connected_to(
        lambda s, invocation: ended.append((invocation.action, invocation.outcome)), actions
    ):
        task = asyncio.create_task(actions.invoke("Outer"))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended == [("Inner", "cancelled"), ("Outer", "cancelled")]
    assert nothing_pending(actions)


# -- the caller's limit --


async def test_a_call_that_takes_longer_than_its_caller_allows_is_stopped():
    log, actions = [], Actions()
    actions.register("Go", hangs)
    actions.add_listener("errorGo", marks(log, "error"))
    actions.after("Go", marks(log, "after"))
    error = await refusal(actions.invoke("Go", timeout_s=0), "action_timeout")
    assert (error.details, log) == ({"timeout_s": 0}, [])
    assert nothing_pending(actions)


async def test_a_timeout_error_of_the_bodys_own_is_no_timeout_of_the_call():
    actions = Actions()

    def body():
        raise TimeoutError

    actions.register("Go", body)
    await refusal(actions.invoke("Go", timeout_s=60), "action_failed")


async def test_nested_calls_inherit_the_nearest_deadline():
    seen, actions = {}, Actions()
    actions.register("Inner", lambda name: seen.update({name: here().deadline}))

    async def body():
        seen["outer"] = here().deadline
        await actions.invoke("Inner", "inherited")
        await actions.invoke("Inner", "later", timeout_s=1000)
        await actions.invoke("Inner", "sooner", timeout_s=1)

    actions.register("Outer", body)
    await actions.invoke("Outer", timeout_s=60)
    assert seen["inherited"] == seen["later"] == seen["outer"]
    assert seen["sooner"] < seen["outer"]


async def test_a_call_without_a_limit_has_no_deadline():
    seen, actions = [], Actions()
    actions.register("Go", lambda: seen.append(here().deadline))
    await actions.invoke("Go")
    assert seen == [None]


# -- idempotency keys --


async def test_a_key_reaches_the_body_of_an_action_that_takes_one_but_no_nested_call():
    seen, actions = [], Actions()
    actions.register("Inner", lambda: seen.append(here().key))

    async def body():
        seen.append(here().key)
        await actions.invoke("Inner")

    actions.register("Send", body, takes_key=True)
    await actions.invoke("Send", key="k1")
    assert seen == ["k1", None]


async def test_a_key_is_refused_by_an_action_that_takes_none():
    await refusal(echo().invoke("Echo", key="k"), "key_not_supported")


@pytest.mark.parametrize("key", ["", "k" * 256, 7])
async def test_a_key_is_a_text_of_1_to_255_characters(key):
    await refusal(echo(takes_key=True).invoke("Echo", key=key), "invalid_payload")


# -- registration and removal --


def mistake(call, *words):
    with pytest.raises(RegistrationError) as caught:
        call()
    assert caught.value.code == "invalid_registration"
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["", None, 7])
def test_an_action_needs_a_name(name):
    mistake(lambda: Actions().register(name, lambda: None))


def test_an_action_is_registered_once():
    mistake(lambda: echo().register("Echo", lambda: None), "already", "replace()")


def test_an_unknown_profile_is_refused_with_the_nearest():
    mistake(lambda: Actions("flex3"), "flex")


@pytest.mark.parametrize(
    ("event", "near"),
    [
        ("beforeEcko", "'Echo'"),
        ("befroeEcho", "beforeEcho"),
        ("afterSomething", "Something"),
        ("invocationBegan", "invocationBegin"),
        ("", "before<Action>"),
        (None, "before<Action>"),
    ],
)
def test_an_unknown_event_is_refused_with_the_nearest(event, near):
    actions = echo()
    actions.seal()
    mistake(lambda: actions.add_listener(event, lambda: None), near)


def test_a_misspelt_event_is_refused_before_all_actions_are_there_too():
    mistake(lambda: Actions().add_listener("befroeEcho", lambda: None), "beforeEcho")


def test_a_replacement_of_an_unknown_action_is_refused_once_all_are_there():
    actions = echo()
    actions.seal()
    mistake(lambda: actions.replace("Ecko", lambda: None), "Echo")


@pytest.mark.parametrize(
    "register",
    [
        lambda a: a.before("Echo", lambda payload, abort, more: None),
        lambda a: a.before("Echo", lambda *, payload: None),
        lambda a: a.before("Echo", "function"),
        lambda a: a.after("Echo", lambda payload, result: None),
        lambda a: a.replace("Echo", lambda payload, original, following, more: None),
        lambda a: a.register("New", lambda payload, more: None),
        lambda a: a.register("New", lambda: None, lambda payload, more: None),
        lambda a: a.register("New", lambda: None, check=lambda payload, more: None),
        lambda a: a.add_listener("invocationBegin", lambda invocation: None),
        lambda a: a.add_listener("invocationEnd", lambda invocation: None),
        lambda a: a.add_listener("actionBlockedChanged", lambda a, b, c, d: None),
    ],
)
def test_a_function_that_cannot_be_called_is_refused_at_once(register):
    mistake(lambda: register(echo()))


def test_a_payload_update_must_be_a_plain_function():
    async def update(payload):
        return payload

    mistake(lambda: Actions().register("New", lambda: None, update), "plain")


def test_the_same_function_twice_is_refused():
    actions, hook = echo(), lambda p: None
    actions.before("Echo", hook)
    actions.replace("Echo", hook)
    mistake(lambda: actions.before("Echo", hook), "already")
    mistake(lambda: actions.replace("Echo", hook), "already")


@pytest.mark.parametrize(
    ("event", "options"),
    [
        ("afterEcho", {"guard": True}),
        ("beforeEcho", {"guard": True, "on_error": "ignore"}),
        ("beforeEcho", {"on_error": "ignroe"}),
    ],
)
def test_options_that_make_no_sense_are_refused(event, options):
    mistake(lambda: echo().add_listener(event, lambda p: None, **options))


def test_an_observer_of_a_plain_event_must_be_a_plain_function():
    async def observer():
        pass

    mistake(lambda: echo().add_listener("invocationBegin", observer), "plain function")


async def test_a_failing_observer_breaks_no_call():
    log, actions = [], echo()

    def breaks():
        raise ValueError

    for event in ("invocationBegin", "invocationEnd"):
        actions.add_listener(event, breaks)
        actions.add_listener(event, lambda event=event: log.append(event))
    assert await actions.invoke("Echo", "x") == "x"
    assert log == ["invocationBegin", "invocationEnd"]
    assert nothing_pending(actions)


async def test_a_handle_takes_its_registration_back_once():
    log, actions = [], echo()
    handle = actions.before("Echo", marks(log, "before"))
    handle.remove()
    handle.remove()
    await actions.invoke("Echo")
    assert log == []


async def test_an_actions_handle_takes_the_action_back():
    actions = Actions()
    actions.register("Go", lambda: 1).remove()
    assert actions.names == []
    await refusal(actions.invoke("Go"), "unknown_action")
    actions.register("Go", lambda: 2)
    assert await actions.invoke("Go") == 2


async def test_a_hook_removed_during_a_dispatch_still_runs_in_it():
    log, actions = [], echo()
    actions.before("Echo", lambda p: handle.remove())
    handle = actions.before("Echo", marks(log, "removed"))
    await actions.invoke("Echo", 1)
    await actions.invoke("Echo", 2)
    assert log == ["removed"]


def test_remove_listener_says_whether_there_was_one():
    actions, hook = echo(), lambda p: None
    actions.guard("Echo", hook)
    assert actions.remove_listener("beforeEcho", hook) is True
    assert actions.remove_listener("beforeEcho", hook) is False


def test_remove_listener_knows_a_bound_method_again():
    class Listener:
        def hook(self, payload):
            pass

    actions, listener = echo(), Listener()
    actions.after("Echo", listener.hook)
    assert actions.remove_listener("afterEcho", listener.hook)


def test_remove_all_listeners_needs_an_event_and_takes_guards_along():
    actions = echo()
    actions.before("Echo", lambda p: None)
    actions.guard("Echo", lambda p: None)
    actions.after("Echo", lambda p: None)
    mistake(actions.remove_all_listeners, "needs an event")
    actions.remove_all_listeners("beforeEcho")
    assert [h.phase for h in actions.hooks_of("Echo")] == ["after"]


async def test_decorators_return_the_function_itself():
    actions = echo()

    @actions.before("Echo")
    def change(payload):
        payload.text = "changed"

    assert change.__name__ == "change"
    assert await actions.invoke("Echo", Note()) == "changed"


# -- plugins' views --


async def test_all_that_a_plugin_registered_leaves_with_it():
    log, actions = [], echo(log=[])
    plugin = actions.owned("billing")
    plugin.register("Bill", lambda: None)
    for event in ("beforeEcho", "afterEcho", "errorEcho"):
        plugin.add_listener(event, marks(log, event))
    plugin.replace("Echo", marks(log, "replacement"))
    plugin.add_listener("invocationBegin", lambda: log.append("begin"))
    plugin.block("Echo", "blocked")
    plugin.remove_all()
    assert await actions.invoke("Echo", "blocked") == "blocked"
    assert (log, actions.names, actions.find_blocked(), actions.hooks_of("Echo")) == ([], ["Echo"], [], [])


def test_what_a_plugin_registers_bears_its_name_and_is_seen_by_all():
    actions = echo()
    plugin = actions.owned("billing")
    plugin.before("Echo", hangs)
    actions.after("Echo", hangs)
    assert [(h.plugin, str(h)) for h in actions.hooks_of("Echo")] == [("billing", "billing: hangs"), (None, "hangs")]


def test_a_plugin_removes_nothing_of_others():
    actions = echo()
    actions.before("Echo", hangs)
    actions.owned("a").after("Echo", hangs)
    actions.owned("b").remove_all()
    actions.remove_all()
    assert len(actions.hooks_of("Echo")) == 2


async def test_two_dispatchers_share_no_hooks():
    log, one, other = [], echo(), echo()
    one.before("Echo", marks(log, "one"))
    await other.invoke("Echo")
    assert log == []


async def test_a_call_that_is_never_awaited_does_nothing():
    actions, log = echo(), []
    actions.before("Echo", marks(log, "before"))
    call = actions.invoke("Echo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        del call
    assert (log, nothing_pending(actions)) == ([], True)
