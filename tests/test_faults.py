"""What goes wrong around a chat: full and read-only disks, damage, a clock set back, a cancellation at any step."""

import asyncio
import errno
import os
import random
import shutil
import subprocess

import pytest
from power import inline

from flex_actions import connect
from flex_actions.backends import media_folder, open_backend, presence, sql
from flex_actions.backends.local import DATABASE, LocalBackend
from flex_actions.clock import ManualClock
from flex_actions.errors import ActionError
from flex_actions.files import File
from flex_actions.ports import Draft

CONFIG = {"fileAttachment": {"acceptedExtensions": ["bin", "txt"]}}
DISK_BYTES = 4 * 1024 * 1024


def files_in(folder):
    return sorted(p.name for top in ("media", "incoming") for p in (folder / top).rglob("*") if p.is_file())


async def attach(session, channel, size=300_000):
    file = File.from_bytes(bytes(size), name="a.bin")
    await session.actions.invoke("AttachFile", {"file": file, "channelSid": channel})
    return file


async def send_attached(session, channel):
    return await session.actions.invoke("SendMediaMessage", {"channelSid": channel})


# A disk that is full


class SmallDisk:
    """A real one in memory, of a few megabytes."""

    def __init__(self, path):
        self.folder = path / "chat"
        self._filler = path / "filler"
        self._path = path

    def fill(self, backend, leave):
        free = os.statvfs(self._path)
        self._filler.write_bytes(bytes(max(0, free.f_bavail * free.f_frsize - leave)))

    def free(self, backend):
        self._filler.unlink()


class FeignedDisk:
    """Where none can be mounted: the calls fail as they would on a full one."""

    def __init__(self, path, patch):
        self.folder = path / "chat"
        self._patch = patch

    def fill(self, backend, leave):
        real, connect = os.write, sql.connect
        left = leave

        def write(descriptor, data):
            nonlocal left
            left -= len(data)
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        def small(path, **options):
            db = connect(path, **options)
            db.execute("PRAGMA max_page_count=2")
            return db

        self._patch.setattr(media_folder.os, "write", write)
        self._patch.setattr(sql, "connect", small)
        if backend is not None:
            db = backend._writing.db
            db.execute(f"PRAGMA max_page_count={db.execute('PRAGMA page_count').fetchall()[0][0] + leave // 4096}")

    def free(self, backend):
        self._patch.undo()
        if backend is not None:
            backend._writing.db.execute("PRAGMA max_page_count=1000000")


@pytest.fixture(params=["real", "feigned"])
def disk(request, tmp_path, monkeypatch):
    mounted = request.param == "real" and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(tmp_path)],
        stderr=subprocess.DEVNULL,
    )
    yield SmallDisk(tmp_path) if mounted else FeignedDisk(tmp_path, monkeypatch)
    if mounted:
        subprocess.check_call(["umount", "-l", str(tmp_path)])


async def test_a_disk_that_fills_up_in_the_middle_of_a_file(disk, refused):
    async with (
        open_backend(f"local:{disk.folder}") as backend,
        connect(backend, identity="a", config=CONFIG) as session,
    ):
        channel = (await session.create_channel()).sid
        file = await attach(session, channel)
        disk.fill(backend, leave=100_000)
        with refused("store_full") as caught:
            await send_attached(session, channel)
        assert caught.value.retryable
        assert (session.input(channel).file, files_in(disk.folder)) == (file, [])
        disk.free(backend)
        await send_attached(session, channel)
        assert session.input(channel).file is None


async def test_a_disk_that_fills_up_in_the_middle_of_a_commit(disk, refused):
    async with open_backend(f"local:{disk.folder}") as backend:
        channel = (await backend.create_channel(creator="a")).sid
        await backend.post(channel, Draft("a", body="before"))
        disk.fill(backend, leave=0)
        with refused("store_full"):
            await backend.post(channel, Draft("a", body="x" * 500_000))
        assert [m.body for m in await backend.list_messages(channel)] == ["before"]
        disk.free(backend)
        await backend.post(channel, Draft("a", body="behind"))
    async with open_backend(f"local:{disk.folder}") as backend:
        assert [m.body for m in await backend.list_messages(channel)] == ["before", "behind"]


async def test_a_disk_that_is_full_at_the_start(disk, refused):
    disk.fill(None, leave=0)
    with refused("store_full"):
        await LocalBackend(str(disk.folder)).open()
    disk.free(None)
    async with open_backend(f"local:{disk.folder}") as backend:
        await backend.create_channel(creator="a")


async def test_a_store_that_is_full_can_be_opened_and_read(disk, refused):
    async with open_backend(f"local:{disk.folder}") as backend:
        channel = (await backend.create_channel(creator="a")).sid
        media = await backend.upload(channel, File.from_bytes(b"content", name="a.txt"), author="a")
        await backend.post(channel, Draft("a", media=media))
    disk.fill(None, leave=200_000)  # SQLite needs a little beside the database
    async with open_backend(f"local:{disk.folder}") as backend:
        assert b"".join([c async for c in backend.open_media(media.sid)]) == b"content"
        with refused("store_full"):
            await backend.upload(channel, File.from_bytes(bytes(500_000), name="b.bin"), author="a")
        disk.free(backend)


# Other trouble with the folder


async def test_a_folder_that_cannot_be_written_is_told_and_left_alone(tmp_path, monkeypatch, refused):
    folder = tmp_path / "chat"
    async with open_backend(f"local:{folder}"):
        pass
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    mounted = not subprocess.call(["mount", "--bind", str(tmp_path), str(tmp_path)], stderr=subprocess.DEVNULL)
    if mounted:
        subprocess.check_call(["mount", "-o", "remount,ro,bind", str(tmp_path)])
    else:

        def readonly(path, flags, mode=0o777):
            raise OSError(errno.EROFS, "Read-only file system")

        monkeypatch.setattr(presence.os, "open", readonly)
    try:
        with refused("store_readonly"):
            await LocalBackend(str(folder)).open()
        assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before
    finally:
        if mounted:
            subprocess.check_call(["umount", "-l", str(tmp_path)])


async def test_a_file_that_vanishes_before_it_is_sent(tmp_path, ada, channel, refused):
    path = tmp_path / "a.txt"
    path.write_text("content")
    await ada.actions.invoke("AttachFile", {"file": path, "channelSid": channel})
    path.unlink()
    with refused("file_unreadable"):
        await send_attached(ada, channel)
    assert ada.input(channel).file.name == "a.txt"
    assert await ada.messages(channel) == []


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A closed store with some of everything in it."""
    folder = tmp_path_factory.mktemp("intact") / "chat"

    async def make():
        async with open_backend(f"local:{folder}") as backend:
            for i in range(3):
                channel = (await backend.create_channel(creator="a", unique_name=f"x{i}")).sid
                for size in (10, 5000, 200):
                    await backend.post(channel, Draft("a", body="x" * size))
                    media = await backend.upload(channel, File.from_bytes(bytes(size), name="a.bin"), author="a")
                    await backend.post(channel, Draft("a", media=media))

    asyncio.run(make())
    return folder


@pytest.mark.parametrize("seed", range(25))
async def test_whatever_is_damaged_the_error_is_clear(tmp_path, intact, seed):
    """Bytes overwritten anywhere: the chat works, or says `store_corrupt` (or a newer version); nothing else."""
    folder, rng = tmp_path / "chat", random.Random(seed)
    shutil.copytree(intact, folder)
    whole = bytearray((folder / DATABASE).read_bytes())
    for _ in range(rng.choice((1, 20, 2000))):
        whole[rng.randrange(len(whole))] = rng.randrange(256)
    (folder / DATABASE).write_bytes(whole)
    damage = None
    try:
        async with open_backend(f"local:{folder}") as backend:
            for channel in await backend.list_channels():
                await backend.list_messages(channel.sid)
                await backend.post(channel.sid, Draft("a", body="x"))
    except ActionError as error:
        damage = error
    # A name or a mark that can still be read, as another one, makes it another chat, not a broken one.
    other = ("store_version", "unknown_channel", "channel_closed", "not_a_member")
    assert damage is None or damage.code in ("store_corrupt", *other), damage
    assert "xxx" not in str(damage), "the error quotes a message"


# Clock and readers


@pytest.mark.parametrize("url", ["memory:", "local:{}"])
async def test_a_clock_set_back_keeps_order_and_links(tmp_path, url):
    clock = ManualClock()
    async with open_backend(url.format(tmp_path / "chat"), clock=clock) as backend:
        channel = (await backend.create_channel(creator="a")).sid
        media = await backend.upload(channel, File.from_bytes(b"x", name="a.txt"), author="a")
        await backend.post(channel, Draft("a", media=media))
        link = await backend.temporary_link(media.sid, reader="a")
        clock.advance(-86_400)
        await backend.post(channel, Draft("a", body="a day earlier"))
        assert await backend.purge() == 0
        assert [m.index for m in await backend.list_messages(channel)] == [0, 1]
        assert (await backend.open_link(link.url))[0] == media
        events = backend.events(channel)
        seen = [(await anext(events)).type for _ in range(5)]
        assert seen == ["channel_created", "member_added", "message_added", "link_issued", "message_added"]


@pytest.mark.parametrize("url", ["memory:", "local:{}"])
async def test_a_follower_that_stops_reading_holds_up_nobody(tmp_path, url):
    async with open_backend(url.format(tmp_path / "chat")) as backend:
        channel = (await backend.create_channel(creator="a")).sid
        cursor = await backend.last_cursor(channel)
        idle, busy = backend.events(channel, after=cursor), backend.events(channel, after=cursor)
        texts = [str(i) for i in range(300)]
        first = asyncio.ensure_future(anext(idle))
        for text in texts:
            await backend.post(channel, Draft("a", body=text))
            assert (await anext(busy)).message.body == text
        behind = [await first, *[await anext(idle) for _ in texts[1:]]]
        assert [event.message.body for event in behind] == texts


# A cancellation at every step


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


def stored(backend, folder):
    """The files a backend keeps, and the uploads that no message carries."""
    if backend.capabilities.durable:
        return files_in(folder), list(backend._uploads)
    return sorted(backend._shared.content), list(backend._uploads)


async def cancelled_after(session, channel, count, key, *, again):
    """Attach, send, cancel after so many turns of the loop; whether the send had ended by then."""
    file = await attach(session, channel, size=1000 + count)
    before = len(await session.messages(channel))
    task = asyncio.ensure_future(session.actions.invoke("SendMediaMessage", {"channelSid": channel}, key=key))
    await turns(count)
    ended = not task.cancel()
    await turns(again)
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if not ended:
        assert isinstance(outcome, asyncio.CancelledError), outcome
    messages = await session.messages(channel)
    # There is the message and an empty input, or no message and an input that holds its file again: never a mixture.
    happened = len(messages) > before
    assert (happened, session.input(channel).state.kind) in ((True, "EMPTY"), (False, "FILE"))
    if happened:
        assert messages[-1].media.size_bytes == file.size_bytes
    else:
        assert session.input(channel).file is file
        await session.actions.invoke("DetachFile", {"channelSid": channel})
    assert session.actions.find_pending() == []
    return ended, happened, sorted(m.media.sid for m in messages)


@pytest.mark.parametrize("keyed", [False, True], ids=["", "with a key"])
@pytest.mark.parametrize("again", [0, 1, 3], ids=lambda n: f"again after {n}" if n else "once")
@pytest.mark.parametrize("url", ["memory:", "local:{}", "local, in threads:{}"])
async def test_a_send_cancelled_after_any_step(tmp_path, monkeypatch, url, again, keyed):
    """In turn: after no step of the loop, after one, after two, … until the send is through before it is cancelled."""
    if "threads" not in url:
        inline(monkeypatch)  # then every run takes the same steps, and none is left out
    url = url.replace(", in threads", "").format(tmp_path / "chat")
    async with open_backend(url) as backend, connect(backend, identity="a", config=CONFIG) as session:

        async def hook(payload):
            await turns(2)

        session.actions.before("SendMediaMessage", hook)
        session.actions.after("SendMediaMessage", hook)
        channel = (await session.create_channel()).sid
        outcomes, count, ended = [], 0, False
        while not ended:
            key = f"key {count}" if keyed else None
            ended, happened, sids = await cancelled_after(session, channel, count, key, again=again)
            assert stored(backend, tmp_path / "chat") == (sids, [])
            outcomes.append(happened)
            count += 1 + count // 30
    assert (outcomes[0], outcomes[-1]) == (False, True)
    assert len(outcomes) > 8
