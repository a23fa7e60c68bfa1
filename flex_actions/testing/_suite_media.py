"""Uploads and content."""

import asyncio
import contextlib
import hashlib
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator

import attrs

from ..clock import ManualClock
from ..files import CHUNK_BYTES, File
from ..ports import Backend, Draft
from ._suite_tools import chat, check, expect, expect_true, media_of, read, refused, send, stream, upload

NO_MEDIA = "ME" + "9" * 32
BIG = bytes(range(256)) * 4000 + b"tail"


@contextlib.contextmanager
def _on_disk(data: bytes) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a file.bin")
        _rewrite(path, data)
        yield path


def _rewrite(path: str, data: bytes) -> None:
    with open(path, "wb") as opened:
        opened.write(data)


@check
async def any_source_arrives_counted_and_hashed(backend: Backend, clock: ManualClock) -> None:
    """upload() of a path, bytes or a stream keeps every byte, and counts and hashes them."""
    channel = await chat(backend)
    with _on_disk(BIG) as path:
        files = [File.from_path(path), File.from_bytes(BIG, name="b.bin"), stream([BIG[:7], b"", BIG[7:]])]
        files.append(stream([b"x"] * 3000))
        for file in files:
            data = b"x" * 3000 if file.size_bytes == 3000 else BIG
            media = await backend.upload(channel, file, author="ada")
            wanted = (file.name, file.content_type, len(data), hashlib.sha256(data).hexdigest())
            expect((media.name, media.content_type, media.size_bytes, media.sha256), wanted, "the media")
            expect_true(media.sid.startswith("ME") and len(media.sid) == 34, "the sid has Twilio's form")
            message = (await backend.post(channel, Draft("ada", media=media))).message
            expect((message.media, message.body), (media, None), "the message")
            expect(await read(backend.open_media(media.sid)) == data, True, "the content is the same")


@check
async def an_empty_file_is_a_file(backend: Backend, clock: ManualClock) -> None:
    """A backend keeps an empty file; refusing it is the policy's business."""
    channel = await chat(backend)
    for file in (File.from_bytes(b"", name="e.txt"), stream([])):
        media = await backend.upload(channel, file, author="ada", max_bytes=0)
        await backend.post(channel, Draft("ada", media=media))
        expect((media.size_bytes, media.sha256), (0, hashlib.sha256().hexdigest()), "size and hash")
        expect(await read(backend.open_media(media.sid)), b"", "content")


@check
async def progress_ends_at_the_size(backend: Backend, clock: ManualClock) -> None:
    """progress is called on the loop's thread with growing counts, the last of them the size, before the end."""
    channel = await chat(backend)
    for file in (File.from_bytes(BIG, name="b.bin"), stream([BIG[:300_000], BIG[300_000:]])):
        counts: list[int] = []
        threads: set[int] = set()

        def note(count: int, counts: list[int] = counts, threads: set[int] = threads) -> None:
            counts.append(count)
            threads.add(threading.get_ident())

        await backend.upload(channel, file, author="ada", progress=note)
        expect(counts[-1:], [len(BIG)], "the last count")
        expect(counts, sorted(counts), "the order of counts")
        expect(threads, {threading.get_ident()}, "the thread")


@check
async def an_upload_is_invisible_until_posted(backend: Backend, clock: ManualClock) -> None:
    """Before post() an upload is in no list and no event, cannot be read and gets no link."""
    channel = await chat(backend)
    cursor = await backend.last_cursor(channel)
    media = await upload(backend, channel)
    expect(await backend.list_messages(channel), [], "messages")
    expect(await backend.last_cursor(channel), cursor, "the newest event")
    async with refused("media_deleted"):
        await read(backend.open_media(media.sid))
    async with refused("media_deleted"):
        await backend.temporary_link(media.sid, reader="ada")
    await backend.post(channel, Draft("ada", media=media))
    expect(await read(backend.open_media(media.sid)), b"hello", "content")


@check
async def an_upload_is_posted_once(backend: Backend, clock: ManualClock) -> None:
    """A second post of the same media, into another channel or after the message's deletion too, is media_deleted."""
    channel, other = await chat(backend), await chat(backend)
    media = await upload(backend, channel)
    async with refused("media_deleted"):
        await backend.post(other, Draft("ada", media=media))
    outcomes = await asyncio.gather(
        *(backend.post(channel, Draft("ada", media=media)) for _ in range(5)), return_exceptions=True
    )
    expect(sum(not isinstance(one, BaseException) for one in outcomes), 1, "posts that succeeded")
    async with refused("media_deleted"):
        await backend.post(channel, Draft("ada", media=media))
    (message,) = await backend.list_messages(channel)
    await backend.delete_message(channel, message.sid)
    async with refused("media_deleted"):
        await backend.post(channel, Draft("ada", media=media))
    expect(await backend.list_messages(channel), [], "messages")


@check
async def what_was_stored_counts_not_what_is_claimed(backend: Backend, clock: ManualClock) -> None:
    """The message carries the media as it was stored, whatever the draft says of its name, size or hash."""
    channel = await chat(backend)
    media = await upload(backend, channel)
    lie = attrs.evolve(media, name="lie.exe", size_bytes=1, sha256="0" * 64, content_type="text/html")
    message = (await backend.post(channel, Draft("ada", media=lie))).message
    expect(message.media, media, "the media")


@check
async def a_discarded_upload_is_gone(backend: Backend, clock: ManualClock) -> None:
    """discard() forgets an upload; of unknown or posted media nothing happens."""
    channel = await chat(backend)
    media = await upload(backend, channel)
    await backend.discard(media.sid)
    await backend.discard(media.sid)
    await backend.discard(NO_MEDIA)
    await backend.discard("../../etc/passwd")
    async with refused("media_deleted"):
        await backend.post(channel, Draft("ada", media=media))
    message = await send(backend, channel)
    await backend.discard(media_of(message).sid)
    expect(await read(backend.open_media(media_of(message).sid)), b"hello", "content of a posted one")


@check
async def unknown_media_is_media_deleted(backend: Backend, clock: ManualClock) -> None:
    """Media that never was is media_deleted, however its sid looks."""
    channel = await chat(backend)
    media = await upload(backend, channel)
    for sid in (NO_MEDIA, "", "../../etc/passwd", "Ω", "x\0y"):
        async with refused("media_deleted"):
            await read(backend.open_media(sid))
        async with refused("media_deleted"):
            await backend.temporary_link(sid, reader="ada")
        async with refused("media_deleted"):
            await backend.post(channel, Draft("ada", media=attrs.evolve(media, sid=sid)))


@check
async def what_is_too_large_is_refused_while_it_comes(backend: Backend, clock: ManualClock) -> None:
    """max_bytes is inclusive and applies to bytes that come, not to those declared; then nothing can be posted."""
    channel = await chat(backend)
    for right, wrong in (
        (File.from_bytes(b"x" * 10, name="x.txt"), File.from_bytes(b"x" * 11, name="x.txt")),
        (stream([b"x"] * 10), stream([b"x"] * 11)),
    ):
        expect((await backend.upload(channel, right, author="ada", max_bytes=10)).size_bytes, 10, "exactly 10")
        async with refused("invalid_size"):
            await backend.upload(channel, wrong, author="ada", max_bytes=10)
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield b"x" * 1000

    async with refused("invalid_size"):
        file = File.from_stream(endless, name="e.bin", size_bytes=10**15)
        await backend.upload(channel, file, author="ada", max_bytes=5000)
    expect_true(asked < 100, "an endless stream is cut off soon")
    async with refused("invalid_size", "file_changed"):
        await backend.upload(channel, stream([b"x" * 100], size_bytes=3), author="ada", max_bytes=50)


@check
async def what_is_not_as_described_is_refused(backend: Backend, clock: ManualClock) -> None:
    """A file that changed, shrank or grew, or a stream of another length than declared, is file_changed."""
    channel = await chat(backend)
    for size in (2, 9):
        async with refused("file_changed"):
            await backend.upload(channel, stream([b"hello"], size_bytes=size), author="ada")
    for after in (b"", b"hell", b"HELLO, WORLD"):
        with _on_disk(b"hello") as path:
            file = File.from_path(path)
            _rewrite(path, after)
            async with refused("file_changed"):
                await backend.upload(channel, file, author="ada")
    with _on_disk(b"hello") as path:
        file = File.from_path(path)
    async with refused("file_unreadable"):
        await backend.upload(channel, file, author="ada")
    expect(await backend.list_messages(channel), [], "messages")


@check
async def a_failing_stream_fails_the_upload(backend: Backend, clock: ManualClock) -> None:
    """What a stream raises is file_unreadable, the stream is closed, and the backend goes on."""
    channel = await chat(backend)
    closed: list[bool] = []

    async def broken() -> AsyncIterator[bytes]:
        try:
            yield b"x" * CHUNK_BYTES
            raise ZeroDivisionError("of the stream")
        finally:
            closed.append(True)

    async with refused("file_unreadable"):
        await backend.upload(channel, File.from_stream(broken, name="b.bin", size_bytes=10**6), author="ada")
    expect(closed, [True], "the stream was closed")
    await send(backend, channel)


@check
async def a_cancelled_upload_ends(backend: Backend, clock: ManualClock) -> None:
    """A cancelled upload raises CancelledError, closes its stream and leaves the backend usable."""
    channel = await chat(backend)
    begun, closed = asyncio.Event(), []

    async def stuck() -> AsyncIterator[bytes]:
        try:
            yield b"x" * CHUNK_BYTES
            begun.set()
            await asyncio.Event().wait()
        finally:
            closed.append(True)

    task = asyncio.ensure_future(
        backend.upload(channel, File.from_stream(stuck, name="b.bin", size_bytes=10**9), author="ada")
    )
    await begun.wait()
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    expect(isinstance(outcome, asyncio.CancelledError), True, "cancelled")
    expect(closed, [True], "the stream was closed")
    with _on_disk(b"y" * 30_000_000) as path:
        moved = asyncio.Event()
        task = asyncio.ensure_future(
            backend.upload(channel, File.from_path(path), author="ada", progress=lambda _: moved.set())
        )
        await moved.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await send(backend, channel)


@check
async def ranges_of_content(backend: Backend, clock: ManualClock) -> None:
    """open_media() gives the bytes from `offset`, at most `length`; beyond the end none; below 0 is refused."""
    channel = await chat(backend)
    sid = media_of(await send(backend, channel, BIG, name="b.bin")).sid
    size = len(BIG)
    for offset, length in ((0, 10), (5, 0), (5, None), (0, size), (0, size + 9), (300_000, 400_000), (size - 1, 5)):
        wanted = BIG[offset:] if length is None else BIG[offset : offset + length]
        found = await read(backend.open_media(sid, offset=offset, length=length))
        expect(found == wanted, True, f"bytes {offset}+{length} are right")
    for offset in (size, size + 1, 10**30):
        expect(await read(backend.open_media(sid, offset=offset)), b"", f"bytes behind {offset}")
    for bad in ({"offset": -1}, {"length": -1}):
        async with refused("invalid_payload"):
            await read(backend.open_media(sid, **bad))


@check
async def content_can_be_left_half_read(backend: Backend, clock: ManualClock) -> None:
    """Content that is not read to its end holds nothing up."""
    channel = await chat(backend)
    message = await send(backend, channel, BIG, name="b.bin")
    content = backend.open_media(media_of(message).sid)
    expect_true(bool(await anext(content)), "a first chunk")
    close = getattr(content, "aclose", None)
    if close is not None:
        await close()
    await backend.delete_message(channel, message.sid)
    expect(await backend.list_messages(channel), [], "messages")


@check
async def unknown_senders_upload_nothing(backend: Backend, clock: ManualClock) -> None:
    """upload() checks the channel and, where needed, the membership before it reads the file."""
    opened: list[bool] = []

    async def produce() -> AsyncIterator[bytes]:
        opened.append(True)
        yield b"x"

    file = File.from_stream(produce, name="x.bin", size_bytes=1)
    async with refused("unknown_channel"):
        await backend.upload("nowhere", file, author="ada")
    channel = await chat(backend)
    if backend.capabilities.sends_need_membership:
        async with refused("not_a_member"):
            await backend.upload(channel, file, author="eve")
    await backend.close_channel(channel)
    async with refused("channel_closed"):
        await backend.upload(channel, file, author="ada")
    expect(opened, [], "the file was opened")
