"""Idempotency keys: what was sent under one is never sent twice, whatever happens in between."""

import asyncio
import subprocess
import sys
import textwrap

import attrs
import pytest

from flex_actions import ActionError, File, OutcomeUnknown, connect
from flex_actions.backends.memory import MemoryBackend
from flex_actions.message_input import EMPTY
from flex_actions.ports import Settled


def pdf(data=b"%PDF", **more):
    return File.from_bytes(data, **{"name": "a.pdf", **more})


def media(session, channel, key="k", file=None, **more):
    payload = {"file": file or pdf(), "channelSid": channel, **more}
    return session.actions.invoke("SendMediaMessage", payload, key=key)


def say(session, channel, key="k", body="hello", **more):
    return session.actions.invoke("SendMessage", {"body": body, "channelSid": channel, **more}, key=key)


# A repeat


@pytest.mark.parametrize("send", [media, say])
async def test_a_repeat_returns_the_first_result_and_sends_nothing(ada, channel, send):
    first = await send(ada, channel)
    again = await send(ada, channel)
    assert (first.repeated, again) == (False, attrs.evolve(first, repeated=True))
    assert len(await ada.messages(channel)) == 1


async def test_a_repeat_leaves_no_second_file_in_the_store(ada, backend, channel):
    for _ in range(3):
        await media(ada, channel)
    assert len(backend._shared.content) == 1


async def test_a_repeat_empties_the_input_as_the_first_would_have(ada, channel):
    await media(ada, channel)
    await ada.actions.invoke("AttachFile", {"file": pdf(), "channelSid": channel})
    again = await ada.actions.invoke("SendMediaMessage", {"channelSid": channel}, key="k")
    assert (again.repeated, ada.input(channel).state) == (True, EMPTY)


async def test_a_repeat_is_known_after_the_message_was_deleted(ada, channel):
    first = await media(ada, channel)
    await ada.actions.invoke("DeleteMessage", {"message": first.message_sid})
    assert await media(ada, channel) == attrs.evolve(first, repeated=True)
    assert await ada.messages(channel) == []


async def test_other_keys_and_no_key_send_again(ada, channel):
    sent = [await say(ada, channel, key) for key in ("k", "K", "k ", None, None)]
    assert [s.repeated for s in sent] == [False] * 5
    assert len(await ada.messages(channel)) == 5


# Another payload


@pytest.mark.parametrize(
    "other",
    [
        {"file": pdf(b"%pdf")},
        {"file": pdf(name="b.pdf")},
        {"file": pdf(content_type="application/octet-stream")},
        {"messageAttributes": {"a": 1}},
    ],
    ids=["content", "name", "type", "attributes"],
)
async def test_another_file_under_the_same_key_is_refused(ada, backend, channel, refused, other):
    await media(ada, channel)
    with refused("key_reused") as caught:
        await media(ada, channel, **other)
    assert (len(await ada.messages(channel)), len(backend._shared.content), bool(caught.value.hint)) == (1, 1, True)


@pytest.mark.parametrize("other", [{"body": "Hello"}, {"messageAttributes": {"a": 1}}], ids=["body", "attributes"])
async def test_another_text_under_the_same_key_is_refused(ada, channel, refused, other):
    await say(ada, channel)
    with refused("key_reused"):
        await say(ada, channel, **other)


@pytest.mark.parametrize("send", [media, say])
async def test_another_channel_under_the_same_key_is_refused(ada, channel, refused, send):
    await send(ada, channel)
    with refused("key_reused"):
        await send(ada, (await ada.create_channel()).sid)


async def test_another_action_or_author_under_the_same_key_is_refused(ada, cleo, channel, refused):
    await media(ada, channel)
    with refused("key_reused"):
        await say(ada, channel)
    with refused("key_reused"):
        await media(cleo, channel)


async def test_the_order_of_attributes_makes_no_other_payload(ada, channel):
    await say(ada, channel, messageAttributes={"a": 1, "b": 2})
    assert (await say(ada, channel, messageAttributes={"b": 2, "a": 1})).repeated


async def test_an_action_that_sends_nothing_takes_no_key(ada, channel, refused):
    with refused("key_not_supported"):
        await ada.actions.invoke("AttachFile", {"file": pdf(), "channelSid": channel}, key="k")


async def test_a_refused_send_does_not_use_its_key_up(ada, channel, refused):
    with refused("invalid_type"):
        await media(ada, channel, file=pdf(name="a.exe"))
    assert not (await media(ada, channel)).repeated


async def test_a_failed_send_does_not_use_its_key_up(ada, channel, refused):
    async def fails():
        yield b"x"
        raise OSError

    with refused("file_unreadable"):
        await media(ada, channel, file=File.from_stream(fails, name="a.pdf", size_bytes=2))
    assert not (await media(ada, channel)).repeated


# At the same time


async def test_one_session_sends_two_copies_under_one_key_once(ada, channel):
    async with asyncio.timeout(5):
        first, second = await asyncio.gather(media(ada, channel), media(ada, channel))
    assert second == attrs.evolve(first, repeated=True)


@pytest.mark.parametrize("send", [media, say])
async def test_two_sessions_send_under_one_key_once(ada, backend, channel, send):
    async with connect(backend, identity="ada") as twin, asyncio.timeout(5):
        sent = await asyncio.gather(send(ada, channel), send(twin, channel))
    assert sorted(s.repeated for s in sent) == [False, True]
    assert len({s.message_sid for s in sent}) == len(await ada.messages(channel)) == 1
    assert len(backend._shared.content) == (send is media)


# Durability


async def test_a_key_is_known_after_reopening_the_store(tmp_path, refused):
    url = f"local:{tmp_path}"
    async with connect(url, identity="ada") as ada:
        channel = (await ada.create_channel()).sid
        first = await media(ada, channel)
    async with connect(url, identity="ada") as ada:
        assert await media(ada, channel) == attrs.evolve(first, repeated=True)
        with refused("key_reused"):
            await media(ada, channel, file=pdf(b"%pdf"))


CRASHES = """
    import asyncio, os, sys
    from flex_actions import File, connect
    from flex_actions.backends.deliveries import Delivery
    from flex_actions.backends.writer import Writer

    commit = Writer._commit

    def crash_around(self, jobs):
        sends = any(isinstance(job, Delivery) for job in jobs)
        if sends and sys.argv[2] == "before":
            os._exit(9)
        commit(self, jobs)
        if sends:
            os._exit(9)

    Writer._commit = crash_around

    async def main():
        async with connect("local:" + sys.argv[1], identity="ada") as ada:
            channel = await ada.create_channel("here")
            file = File.from_bytes(b"%PDF", name="a.pdf")
            await ada.actions.invoke("SendMediaMessage", {"file": file, "channel": channel}, key="k")

    asyncio.run(main())
"""


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_key_settles_what_a_crash_left_open(tmp_path, moment):
    """After the commit the message is there and is not sent again; before it, nothing is, and it is sent now."""
    program = [sys.executable, "-c", textwrap.dedent(CRASHES), str(tmp_path), moment]
    ended = await asyncio.to_thread(subprocess.run, program, timeout=60, check=False)
    assert ended.returncode == 9
    async with connect(f"local:{tmp_path}", identity="ada") as ada:
        channel = (await ada.channel("here")).sid
        sent = await media(ada, channel)
        assert (sent.repeated, len(await ada.messages(channel))) == (moment == "after", 1)
    assert len([p for p in tmp_path.joinpath("media").rglob("*") if p.is_file()]) == 1


# Cancellation and unknown outcomes


class SlowBackend(MemoryBackend):
    """A chat whose posts wait for a gate behind the commit, and whose settling can be told what to say."""

    def __init__(self, limit_s=30.0):
        super().__init__()
        self.capabilities = attrs.evolve(self.capabilities, commit_limit_s=limit_s)
        self.posting, self.gate = asyncio.Event(), asyncio.Event()
        self.fails = self.says = None

    async def post(self, *arguments, **options):
        self.posting.set()
        await self.gate.wait()
        if self.fails is not None:
            raise self.fails
        return await super().post(*arguments, **options)

    async def settle(self, key):
        return self.says or await super().settle(key)


@pytest.fixture
async def slow():
    """A session, its channel and a slow backend that a cancelled send waits for."""
    async for found in begun(SlowBackend()):
        yield found


@pytest.fixture
async def silent():
    """The same, but a cancelled send does not wait at all."""
    async for found in begun(SlowBackend(limit_s=0.0)):
        yield found


async def begun(backend):
    await backend.open()
    async with connect(backend, identity="ada") as session:
        yield session, (await session.create_channel()).sid, backend
        backend.gate.set()
    await backend.close()


async def cancelled(sending, backend):
    """Cancel a send that is in its commit."""
    task = asyncio.create_task(sending)
    await backend.posting.wait()
    task.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def test_a_send_cancelled_in_its_commit_waits_for_the_outcome(slow):
    ada, channel, backend = slow
    await ada.actions.invoke("SetInputText", {"body": "draft", "channelSid": channel})
    task = await cancelled(ada.actions.invoke("SendMessage", {"channelSid": channel}), backend)
    assert not task.done()
    backend.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ([m.body for m in await ada.messages(channel)], ada.input(channel).state) == (["draft"], EMPTY)


async def test_a_second_cancellation_changes_nothing(slow):
    ada, channel, backend = slow
    task = await cancelled(media(ada, channel), backend)
    task.cancel()
    await asyncio.sleep(0)
    backend.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await media(ada, channel)).repeated


async def test_a_send_cancelled_in_a_commit_that_fails_keeps_its_draft(slow):
    ada, channel, backend = slow
    backend.fails = ActionError("backend_unavailable", "Unplugged.")
    file = pdf()
    await ada.actions.invoke("AttachFile", {"file": file, "channelSid": channel})
    task = await cancelled(ada.actions.invoke("SendMediaMessage", {"channelSid": channel}), backend)
    backend.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (ada.input(channel).file, await ada.messages(channel)) == (file, [])
    assert backend._shared.content == {}


async def test_a_timeout_of_the_caller_is_a_cancellation_too(slow):
    ada, channel, backend = slow

    async def within(limit):
        async with limit:
            await say(ada, channel)

    limit = asyncio.timeout(None)
    task = asyncio.create_task(within(limit))
    await backend.posting.wait()
    limit.reschedule(0)
    backend.gate.set()
    with pytest.raises(TimeoutError):
        await task
    assert (await say(ada, channel)).repeated


async def test_a_commit_that_never_answers_leaves_its_key_unsettled(silent):
    ada, channel, backend = silent
    await ada.actions.invoke("SetInputText", {"body": "hello", "channelSid": channel})
    task = await cancelled(say(ada, channel, body=None), backend)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ada.input(channel).text == "hello"
    with pytest.raises(OutcomeUnknown) as caught:
        await say(ada, channel)
    assert (caught.value.code, caught.value.key, caught.value.retryable) == ("outcome_unknown", "k", True)


async def test_an_unsettled_key_settles_once_the_commit_answers(silent):
    ada, channel, backend = silent
    with pytest.raises(asyncio.CancelledError):
        await (await cancelled(say(ada, channel), backend))
    backend.gate.set()
    async with asyncio.timeout(5):
        while not await ada.messages(channel):
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await say(ada, channel)).repeated
    assert ada._chat._outbox._commits == {}


async def test_an_unsettled_file_goes_once_the_commit_has_failed(silent):
    ada, channel, backend = silent
    with pytest.raises(asyncio.CancelledError):
        await (await cancelled(media(ada, channel), backend))
    backend.fails = ActionError("backend_unavailable", "Unplugged.")
    backend.gate.set()
    await ada.close()
    assert backend._shared.content == {}


async def test_an_unsettled_file_stays_until_the_outcome_is_known(silent):
    ada, channel, backend = silent
    with pytest.raises(asyncio.CancelledError):
        await (await cancelled(media(ada, channel), backend))
    assert len(backend._shared.content) == 1
    with pytest.raises(OutcomeUnknown):
        await media(ada, channel)
    assert len(backend._shared.content) == 1


@pytest.mark.parametrize("send", [media, say])
async def test_a_key_of_which_the_backend_knows_nothing_yet_is_unsettled(slow, send):
    ada, channel, backend = slow
    backend.says = Settled.UNKNOWN
    with pytest.raises(OutcomeUnknown):
        await send(ada, channel)
    assert not backend.posting.is_set()
    backend.says = None
    backend.gate.set()
    assert not (await send(ada, channel)).repeated


async def test_a_backend_that_lost_the_answer_leaves_the_draft_and_the_file(slow):
    ada, channel, backend = slow
    backend.fails = OutcomeUnknown("outcome_unknown", "The line went dead.")
    backend.gate.set()
    await ada.actions.invoke("SetInputText", {"body": "draft", "channelSid": channel})
    with pytest.raises(OutcomeUnknown) as caught:
        await media(ada, channel)
    assert caught.value.key == "k"
    assert (ada.input(channel).text, len(backend._shared.content)) == ("draft", 1)


async def test_closing_a_session_waits_for_commits_that_are_under_way(silent):
    ada, channel, backend = silent
    with pytest.raises(asyncio.CancelledError):
        await (await cancelled(say(ada, channel), backend))
    backend.capabilities = attrs.evolve(backend.capabilities, commit_limit_s=30.0)
    closing = asyncio.create_task(ada.close())
    await asyncio.sleep(0)
    assert not closing.done()
    backend.gate.set()
    await closing
    assert len(await backend.list_messages(channel)) == 1


async def test_a_backend_that_does_not_know_its_outcome_names_no_key_where_there_is_none(slow):
    ada, channel, backend = slow
    backend.fails = OutcomeUnknown("outcome_unknown", "The line went dead.")
    backend.gate.set()
    with pytest.raises(OutcomeUnknown) as caught:
        await say(ada, channel, key=None)
    assert caught.value.key is None
