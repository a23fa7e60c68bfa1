"""Sending a file in one go, for backends that can."""

import asyncio
import hashlib
from collections.abc import Callable

from ..clock import ManualClock
from ..files import File
from ..ports import Backend, Key, Media, Posted, SendsFiles
from ._suite_tools import chat, check, expect, expect_true, history, media_of, read, refused, stream

BIG = bytes(range(256)) * 4000 + b"tail"


async def _send(
    backend: SendsFiles, channel: str, file: File, *, author: str = "ada", key: str | None = None
) -> Posted:
    def make(media: Media) -> Key:
        return Key(key or "", media.sha256)

    makes: Callable[[Media], Key] | None = None if key is None else make
    return await backend.send_file(channel, file, author=author, attributes={"n": 1}, key=makes, max_bytes=len(BIG))


@check
async def a_file_is_sent_in_one_go(backend: Backend, clock: ManualClock) -> None:
    """send_file() does what upload() and post() do, with any source, and tells its progress up to the size."""
    if not isinstance(backend, SendsFiles):
        return
    channel = await chat(backend)
    for index, file in enumerate((File.from_bytes(BIG, name="b.bin"), stream([BIG[:7], b"", BIG[7:]]), stream([]))):
        data = BIG if file.size_bytes else b""
        counts: list[int] = []
        posted = await backend.send_file(channel, file, author="ada", attributes={"n": 1}, progress=counts.append)
        message, media = posted.message, media_of(posted.message)
        facts = (posted.repeated, message.index, message.author, message.body, message.attributes, message.channel_sid)
        expect(facts, (False, index, "ada", None, {"n": 1}, channel), "the message")
        wanted = (file.name, file.content_type, len(data), hashlib.sha256(data).hexdigest())
        expect((media.name, media.content_type, media.size_bytes, media.sha256), wanted, "the media")
        expect(counts[-1:], [len(data)] if data else [], "the last count")
        expect(await read(backend.open_media(media.sid)) == data, True, "the content is the same")
        expect((await backend.list_messages(channel))[-1], message, "the newest message")
    kinds = [event.type for event in await history(backend, channel)]
    expect(kinds[-3:], ["message_added"] * 3, "the events")


@check
async def a_refused_file_leaves_nothing(backend: Backend, clock: ManualClock) -> None:
    """send_file() raises as upload() and post() do, and then neither a message nor an event is there."""
    if not isinstance(backend, SendsFiles):
        return
    channel, closed = await chat(backend, "bob"), await chat(backend)
    await _send(backend, closed, stream([b"hello"]))
    await _send(backend, channel, stream([b"hello"]), author="bob")
    await backend.close_channel(closed)
    await backend.remove_member(channel, "bob")
    before = [await history(backend, sid) for sid in (channel, closed)]
    for file in (File.from_bytes(b"hello", name="h.bin"), stream([b"hello"])):
        async with refused("channel_closed"):
            await _send(backend, closed, file)
        for stranger in ("bob", "mallory"):
            async with refused("not_a_member"):
                await _send(backend, channel, file, author=stranger)
        async with refused("unknown_channel"):
            await _send(backend, "CH" + "9" * 32, file)
        async with refused("invalid_payload"):
            await _send(backend, channel, file, author="")
    for much in (File.from_bytes(BIG + b"!", name="h.bin"), stream([BIG, b"!"])):
        async with refused("invalid_size"):
            await _send(backend, channel, much)
    async with refused("file_changed"):
        await _send(backend, channel, stream([b"hello"], size_bytes=6))
    expect([await history(backend, sid) for sid in (channel, closed)], before, "the events")


@check
async def a_repeated_file_is_sent_once(backend: Backend, clock: ManualClock) -> None:
    """Under a known key send_file() adds nothing: the first message returns; another payload is key_reused."""
    if not isinstance(backend, SendsFiles):
        return
    channel = await chat(backend)
    first = await _send(backend, channel, stream([b"hello"]), key="k")
    for file in (stream([b"hello"]), File.from_bytes(b"hello", name="s.bin")):
        again = await _send(backend, channel, file, key="k")
        expect((again.message, again.repeated), (first.message, True), "what a repeat returns")
        async with refused("key_reused"):
            await _send(backend, channel, File.from_bytes(b"other", name="s.bin"), key="k")
    expect(await backend.list_messages(channel), [first.message], "messages")


@check
async def a_cancelled_file_is_sent_or_not(backend: Backend, clock: ManualClock) -> None:
    """A cancelled send_file() returns the message that is there, or raises CancelledError and there is none."""
    if not isinstance(backend, SendsFiles):
        return
    channel = await chat(backend)
    sent: list[str] = []

    async def attempt(file: File) -> None:
        posted = await _send(backend, channel, file)
        sent.append(posted.message.sid)

    for turns in range(40):
        for file in (File.from_bytes(b"hello", name="h.bin"), stream([b"he", b"llo"])):
            task = asyncio.ensure_future(attempt(file))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
            expect([m.sid for m in await backend.list_messages(channel)], sent, f"messages, cancelled after {turns}")
            expect_true(task.cancelled() or task.exception() is None, "nothing but the cancellation is raised")
