"""Replacements in `strict`: `original`, `next`, and what is judged again."""

import asyncio
import contextlib

import attrs
import pytest

from flex_actions import ActionError, Actions, current_invocation


@attrs.define
class Note:
    text: str = ""
    tags: dict = attrs.field(factory=dict)


class Chat:
    """One action whose body, check and guard write down what they got; the check refuses the text `bad`."""

    def __init__(self):
        self.actions = Actions()
        self.log = []
        self.actions.register("Send", self.body, check=self.check)

    async def body(self, payload):
        self.log.append(f"body {payload.text}")
        return payload.text

    def check(self, payload):
        self.log.append(f"check {payload.text}")
        if payload.text == "bad":
            raise ActionError("invalid_payload", "bad")

    def guard(self, payload, abort):
        self.log.append(f"guard {payload.text}")
        if payload.text == "forbidden":
            abort("forbidden")

    async def send(self, text="a"):
        return await self.actions.invoke("Send", Note(text))

    async def refusal(self, code):
        with pytest.raises(ActionError) as caught:
            await self.send()
        assert caught.value.code == code
        return caught.value


@pytest.fixture
def chat():
    return Chat()


@pytest.fixture
def guarded(chat):
    chat.actions.guard("Send", chat.guard)
    return chat


async def test_a_replacement_runs_instead_of_the_body_and_its_value_counts(chat):
    chat.actions.replace("Send", lambda payload: "mine")
    assert await chat.send() == "mine"
    assert chat.log == ["check a"]


async def test_check_and_guards_run_before_the_replacements(guarded):
    guarded.actions.replace("Send", lambda payload: guarded.log.append("replacement"))
    await guarded.send()
    assert guarded.log == ["guard a", "check a", "replacement"]


async def test_original_runs_the_body_with_the_same_payload(chat):
    @chat.actions.before("Send")
    def change(payload):
        payload.text = "changed"

    chat.actions.replace("Send", lambda payload, original: original())
    assert await chat.send() == "changed"


async def test_the_newest_comes_first_and_next_leads_to_the_older_one(chat):
    async def older(payload, original, next):
        chat.log.append("older")
        return await next()

    async def newer(payload, original, next):
        chat.log.append("newer")
        return await next()

    chat.actions.replace("Send", older)
    chat.actions.replace("Send", newer)
    assert await chat.send() == "a"
    assert chat.log == ["check a", "newer", "older", "body a"]


async def test_original_is_the_body_itself_and_skips_the_older_ones(chat):
    chat.actions.replace("Send", lambda payload: chat.log.append("older"))
    chat.actions.replace("Send", lambda payload, original: original())
    assert await chat.send() == "a"
    assert chat.log == ["check a", "body a"]


async def test_next_takes_another_payload(chat):
    seen = []
    chat.actions.replace("Send", lambda payload: seen.append(payload.text))
    chat.actions.replace("Send", lambda payload, original, next: next(Note("other")))
    await chat.send()
    assert seen == ["other"]


async def test_a_replacement_taken_back_leaves_the_others(chat):
    handle = chat.actions.replace("Send", lambda payload: "newer")
    chat.actions.replace("Send", lambda payload: "newest").remove()
    assert await chat.send() == "newer"
    handle.remove()
    assert await chat.send() == "a"


async def test_one_added_by_a_before_hook_counts_and_one_added_by_a_replacement_counts_next_time(chat):
    def replacement(payload, original):
        if not chat.log.count("added"):
            chat.log.append("added")
            chat.actions.replace("Send", lambda payload: "newest")
        return original()

    def add(payload):
        if len(chat.actions.hooks_of("Send")) == 1:
            chat.actions.replace("Send", replacement)

    chat.actions.before("Send", add)
    assert [await chat.send(), await chat.send()] == ["a", "newest"]


async def test_the_original_may_be_called_again(chat):
    async def twice(payload, original):
        return [await original(), await original()]

    chat.actions.replace("Send", twice)
    assert await chat.send() == ["a", "a"]
    assert chat.log == ["check a", "body a", "body a"]


async def test_originals_may_run_side_by_side(chat):
    async def both(payload, original):
        return await asyncio.gather(original(Note("b")), original(Note("c")))

    chat.actions.replace("Send", both)
    assert await chat.send() == ["b", "c"]


async def test_another_payload_is_judged_again(guarded):
    guarded.actions.replace("Send", lambda payload, original: original(Note("other")))
    assert await guarded.send() == "other"
    assert guarded.log == ["guard a", "check a", "guard other", "check other", "body other"]


@pytest.mark.parametrize(
    ("change", "text"),
    [(lambda p: setattr(p, "text", "changed"), "changed"), (lambda p: p.tags.update(more={"deep": 1}), "a")],
)
async def test_a_payload_changed_in_place_is_judged_again_however_deep(guarded, change, text):
    async def replacement(payload, original):
        change(payload)
        return await original()

    guarded.actions.replace("Send", replacement)
    await guarded.send()
    assert guarded.log == ["guard a", "check a", f"guard {text}", f"check {text}", f"body {text}"]


async def test_a_change_deep_inside_a_list_is_judged_again(guarded):
    async def replacement(payload, original):
        payload.tags["list"][0]["to"] = "all"
        return await original()

    guarded.actions.replace("Send", replacement)
    await guarded.actions.invoke("Send", Note("a", {"list": [{"to": "one"}]}))
    assert guarded.log.count("guard a") == 2


@pytest.mark.parametrize(("text", "code"), [("bad", "invalid_payload"), ("forbidden", "action_aborted")])
async def test_what_check_or_guard_refuse_then_does_not_reach_the_body(guarded, text, code):
    guarded.actions.replace("Send", lambda payload, original: original(Note(text)))
    await guarded.refusal(code)
    assert not any(entry.startswith("body") for entry in guarded.log)


@pytest.mark.parametrize(("text", "code"), [("bad", "invalid_payload"), ("forbidden", "action_aborted")])
async def test_a_refused_payload_is_refused_however_often_it_is_tried(guarded, text, code):
    refused = Note(text)

    async def insists(payload, original):
        for _ in range(3):
            with contextlib.suppress(ActionError):
                await original(refused)
        return await original(refused)

    guarded.actions.replace("Send", insists)
    await guarded.refusal(code)
    assert not any(entry.startswith("body") for entry in guarded.log)


async def test_what_a_replacement_raises_fails_the_action(chat):
    chat.actions.replace("Send", lambda payload: 1 / 0)
    error = await chat.refusal("action_failed")
    assert isinstance(error.__cause__, ZeroDivisionError)


# -- `original()` that is not awaited --


def reports():
    """What the event loop has to report because nobody else does."""
    seen = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: seen.append(context["message"]))
    return seen


async def test_an_original_that_is_never_awaited_is_an_error_that_names_the_replacement(chat):
    async def forgets(payload, original):
        original()

    chat.actions.replace("Send", forgets)
    error = await chat.refusal("original_not_awaited")
    assert error.hook.endswith("forgets")
    assert "await original()" in error.hint
    assert chat.log == ["check a"]


@pytest.mark.parametrize("started", [False, True])
async def test_an_original_left_behind_in_a_task_is_stopped_and_an_error(started):
    seen, tasks = reports(), []

    async def forgets(payload, original):
        tasks.append(asyncio.create_task(original()))
        if started:
            await asyncio.sleep(0)

    slow = Actions()
    slow.register("Send", lambda payload: asyncio.Event().wait())
    slow.replace("Send", forgets)
    with pytest.raises(ActionError, match="before the original") as caught:
        await slow.invoke("Send", Note())
    assert caught.value.code == "original_not_awaited"
    assert tasks.pop().cancelled()
    assert (seen, slow.find_pending()) == ([], [])


async def test_after_hooks_do_not_run_for_a_replacement_that_returned_too_early(chat):
    async def forgets(payload, original):
        original()

    chat.actions.replace("Send", forgets)
    chat.actions.after("Send", lambda payload: chat.log.append("after"))
    await chat.refusal("original_not_awaited")
    assert "after" not in chat.log


async def test_a_replacement_that_fails_has_failed_whatever_it_left_behind(chat):
    async def fails(payload, original):
        original()
        raise ValueError

    chat.actions.replace("Send", fails)
    await chat.refusal("action_failed")


async def test_a_next_that_is_never_awaited_is_an_error_too(chat):
    async def forgets(payload, original, next):
        next()

    chat.actions.replace("Send", lambda payload: "older")
    chat.actions.replace("Send", forgets)
    await chat.refusal("original_not_awaited")


async def test_an_original_whose_result_is_thrown_away_is_fine_once_awaited(chat):
    async def ignores(payload, original):
        task = asyncio.create_task(original())
        await task
        return "mine"

    chat.actions.replace("Send", ignores)
    assert await chat.send() == "mine"


async def test_asyncio_timeout_around_original_works():
    async def impatient(payload, original):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0):
                await original()
        return "gave up"

    slow = Actions()
    slow.register("Send", lambda payload: asyncio.Event().wait())
    slow.replace("Send", impatient)
    assert await slow.invoke("Send", Note()) == "gave up"


async def test_a_replacement_is_the_origin_of_what_it_invokes_and_the_body_of_what_the_body_does():
    seen = []
    actions = Actions()
    actions.register(
        "Inner", lambda name: seen.append((name, current_invocation().origin, current_invocation().plugin))
    )

    async def replacement(payload, original):
        await actions.invoke("Inner", "before original")
        await original(Note("other"))
        await actions.invoke("Inner", "after original")

    actions.register("Outer", lambda payload: actions.invoke("Inner", "in the body"))
    actions.guard("Outer", lambda payload: None)
    actions.owned("billing").replace("Outer", replacement)
    await actions.invoke("Outer", Note())
    assert seen == [
        ("before original", "hook", "billing"),
        ("in the body", "body", None),
        ("after original", "hook", "billing"),
    ]


async def test_a_cancellation_inside_original_reaches_the_body_and_leaves_nothing_behind():
    reached, log, actions = asyncio.Event(), [], Actions()

    async def body(payload):
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cleaned up")

    actions.register("Send", body)
    actions.replace("Send", lambda payload, original: original())
    task = asyncio.create_task(actions.invoke("Send", Note()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (log, actions.find_pending()) == (["cleaned up"], [])
