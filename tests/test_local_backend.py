"""What only a folder on disk has: other processes, permissions, damage, crashes, traces of the deleted."""

import asyncio
import contextlib
import errno
import os
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from flex_actions.backends import local, media_folder, open_backend, sql, writer
from flex_actions.backends.local import DATABASE, LocalBackend
from flex_actions.clock import ManualClock
from flex_actions.errors import ActionError
from flex_actions.files import CHUNK_BYTES, File
from flex_actions.ports import PURGE_AFTER_S, Draft, Key, Settled

ROOT = Path(__file__).parent.parent


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "chat"


@pytest.fixture
async def backend(folder):
    async with open_backend(f"local:{folder}") as opened:
        yield opened


@contextlib.contextmanager
def refused(code):
    with pytest.raises(ActionError) as caught:
        yield caught
    assert caught.value.code == code


async def send(backend, channel, data=b"hello", name="a.txt"):
    media = await backend.upload(channel, File.from_bytes(data, name=name), author="ada")
    return (await backend.post(channel, Draft("ada", media=media))).message


def files_in(folder):
    """Stored files, whole or in parts."""
    return sorted(p.name for top in ("media", "incoming") for p in (folder / top).rglob("*") if p.is_file())


def bytes_in(folder):
    return b"".join(p.name.encode() + p.read_bytes() for p in folder.rglob("*") if p.is_file())


def child(folder, body):
    """Another process, in which `b` is opened on the folder; it prints, we read."""
    code = (
        textwrap.dedent("""
        import asyncio, os, signal, sys
        from flex_actions.backends import open_backend
        from flex_actions.files import File
        from flex_actions.ports import Draft
        async def main():
            async with open_backend(sys.argv[1]) as b:
                print("ready", flush=True)
                await run(b)
        async def run(b):
    """)
        + textwrap.indent(textwrap.dedent(body), "    ")
        + "\nasyncio.run(main())\n"
    )
    return asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, f"local:{folder}",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


async def test_two_processes_follow_each_other(folder, backend):
    channel = (await backend.create_channel(creator="ada", unique_name="x")).sid
    process = await child(
        folder,
        """
        async for event in b.events("x"):
            if event.message is not None and event.message.author == "ada":
                print(event.message.body, flush=True)
                await b.post("x", Draft("bob", body="pong " + event.message.body))
                if event.message.body == "2":
                    break
        """,
    )
    async with asyncio.timeout(30):
        assert await process.stdout.readline() == b"ready\n"
        await backend.add_member(channel, "bob")
        answers = []
        await backend.post(channel, Draft("ada", body="0"))
        async for event in backend.events(channel):
            if event.message is not None and event.message.author == "bob":
                answers.append(event.message.body)
                if len(answers) == 3:
                    break
                await backend.post(channel, Draft("ada", body=str(len(answers))))
        assert answers == ["pong 0", "pong 1", "pong 2"]
        assert (await process.stdout.read()).split() == [b"0", b"1", b"2"]
        assert await process.wait() == 0
    assert [m.index for m in await backend.list_messages(channel)] == list(range(6))


async def test_a_killed_process_loses_nothing_acknowledged_and_leaves_nothing(folder):
    async with open_backend(f"local:{folder}") as backend:
        channel = (await backend.create_channel(creator="ada", unique_name="x")).sid
    process = await child(
        folder,
        """
        async def one():
            while True:
                media = await b.upload("x", File.from_bytes(os.urandom(20_000), name="a.bin"), author="ada")
                posted = await b.post("x", Draft("ada", media=media))
                print(posted.message.sid, flush=True)
        await asyncio.gather(*(one() for _ in range(16)))
        """,
    )
    async with asyncio.timeout(60):
        acknowledged = [await process.stdout.readline() for _ in range(60)][1:]
        process.send_signal(signal.SIGKILL)
        acknowledged += (await process.stdout.read()).splitlines(keepends=True)
        await process.wait()
    async with open_backend(f"local:{folder}") as backend:
        messages = await backend.list_messages(channel)
        whole = {line.strip().decode() for line in acknowledged if line.endswith(b"\n")}
        assert whole <= {m.sid for m in messages}
        assert files_in(folder) == sorted(m.media.sid for m in messages)
        for message in messages:
            assert len(b"".join([c async for c in backend.open_media(message.media.sid)])) == 20_000


async def test_only_the_owner_can_read_it(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    await send(backend, channel)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


async def test_names_of_people_are_in_no_path(folder, backend):
    channel = (await backend.create_channel(creator="../ada", unique_name="../../x")).sid
    media = await backend.upload(channel, File.from_bytes(b"x", name="../../evil.sh"), author="../ada")
    await backend.post(channel, Draft("../ada", media=media))
    assert files_in(folder) == [media.sid]
    assert sorted(p.name for p in folder.parent.iterdir()) == ["chat"]


async def test_it_is_kept(folder):
    async with open_backend(f"local:{folder}") as backend:
        channel = await backend.create_channel(creator="ada")
        message = await send(backend, channel.sid)
        await backend.post(channel.sid, Draft("ada", body="x"), key=Key("k", "f"))
        link = await backend.temporary_link(message.media.sid, reader="ada")
        cursor = await backend.last_cursor(channel.sid)
    async with open_backend(f"local:{folder}") as backend:
        assert await backend.get_channel(channel.sid) == channel
        assert await backend.find_message(message.sid) == message
        assert (await backend.settle("k")).index == 1
        assert (await backend.open_link(link.url))[0] == message.media
        assert await backend.last_cursor(channel.sid) == cursor


async def test_a_newer_store_is_refused_and_left_alone(folder):
    async with open_backend(f"local:{folder}"):
        pass
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db:
        db.execute(f"PRAGMA user_version={sql.VERSION + 1}")
    before = (folder / DATABASE).read_bytes()
    with refused("store_version"):
        await LocalBackend(str(folder)).open()
    assert (folder / DATABASE).read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000, b"x"])
async def test_what_is_no_database_is_corrupt(folder, content):
    folder.mkdir()
    (folder / DATABASE).write_bytes(content)
    with refused("store_corrupt"):
        await LocalBackend(str(folder)).open()
    assert (folder / DATABASE).read_bytes() == content


async def test_somebody_elses_database_is_refused_and_left_alone(folder):
    folder.mkdir()
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = (folder / DATABASE).read_bytes()
    with refused("store_corrupt"):
        await LocalBackend(str(folder)).open()
    assert (folder / DATABASE).read_bytes() == before


async def test_a_torn_database_is_corrupt(folder):
    async with open_backend(f"local:{folder}") as backend:
        channel = await backend.create_channel(creator="ada")
        for i in range(200):
            await backend.post(channel.sid, Draft("ada", body=f"{i}" * 200))
    whole = (folder / DATABASE).read_bytes()
    (folder / DATABASE).write_bytes(whole[: len(whole) // 3])
    with refused("store_corrupt"):
        async with open_backend(f"local:{folder}") as backend:
            await backend.list_messages(channel.sid)


async def test_a_file_in_the_folders_place(folder):
    folder.write_text("x")
    with refused("store_corrupt"):
        await LocalBackend(str(folder)).open()
    assert folder.read_text() == "x"


async def test_a_place_that_cannot_be_written():
    # Even root cannot make a folder there.
    with pytest.raises(ActionError) as caught:
        await LocalBackend("/proc/flex-actions/chat").open()
    assert caught.value.code in ("store_readonly", "backend_unavailable")


async def test_a_store_that_may_not_be_written_is_readonly(folder, monkeypatch):
    async with open_backend(f"local:{folder}"):
        pass
    connect = sql.connect
    monkeypatch.setattr(sql, "connect", lambda path, **kw: connect(path, read_only=True))
    with refused("store_readonly"):
        await LocalBackend(str(folder)).open()


async def test_a_full_disk_refuses_the_upload_and_leaves_nothing(folder, backend, monkeypatch):
    channel = (await backend.create_channel(creator="ada")).sid

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(media_folder.os, "write", full)
    with refused("store_full") as caught:
        await send(backend, channel)
    assert caught.value.retryable
    monkeypatch.undo()
    assert files_in(folder) == []
    await send(backend, channel)


async def test_a_full_database_refuses_the_guilty_one_only(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    pages = backend._writing.db.execute("PRAGMA page_count").fetchall()[0][0]
    backend._writing.db.execute(f"PRAGMA max_page_count={pages + 3}")
    outcomes = await asyncio.gather(
        backend.post(channel, Draft("ada", body="small")),
        backend.post(channel, Draft("ada", body="x" * 1_000_000), key=Key("k", "f")),
        backend.post(channel, Draft("ada", body="small too")),
        return_exceptions=True,
    )
    assert [getattr(o, "code", None) for o in outcomes] == [None, "store_full", None]
    assert await backend.settle("k") is Settled.NOTHING
    assert [m.body for m in await backend.list_messages(channel)] == ["small", "small too"]


async def test_a_locked_store_is_unavailable_for_now(folder, backend, monkeypatch):
    channel = (await backend.create_channel(creator="ada")).sid
    backend._writing.db.execute("PRAGMA busy_timeout=20")
    with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with refused("backend_unavailable") as caught:
            await backend.post(channel, Draft("ada", body="x"))
        assert caught.value.retryable
        other.execute("ROLLBACK")
    await backend.post(channel, Draft("ada", body="x"))


async def test_what_a_crash_left_is_cleaned_at_opening(folder):
    async with open_backend(f"local:{folder}") as backend:
        channel = (await backend.create_channel(creator="ada")).sid
        message = await send(backend, channel)
    orphan, part = "ME" + "a" * 32, "ME" + "b" * 32
    (folder / "media" / "a" / orphan).write_bytes(b"x")
    (folder / "incoming" / f"{part}.part").write_bytes(b"x")
    (folder / "media" / "a" / "theirs.txt").write_bytes(b"x")
    async with open_backend(f"local:{folder}"):
        assert files_in(folder) == sorted([message.media.sid, "theirs.txt"])


async def test_a_large_store_is_looked_through_only_after_a_crash(folder, monkeypatch):
    monkeypatch.setattr(local, "_SMALL", -1)
    async with open_backend(f"local:{folder}"):
        pass
    orphan = folder / "media" / "a" / ("ME" + "a" * 32)
    orphan.write_bytes(b"x")
    async with open_backend(f"local:{folder}"):
        assert orphan.exists()
    (folder / "open" / "crashed").touch()
    async with open_backend(f"local:{folder}"):
        assert not orphan.exists()
    assert os.listdir(folder / "open") == []


async def test_while_somebody_has_it_open_nothing_is_cleaned(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    media = await backend.upload(channel, File.from_bytes(b"x", name="x.txt"), author="ada")
    (folder / "incoming" / "x.part").write_bytes(b"x")
    async with open_backend(f"local:{folder}"):
        assert files_in(folder) == sorted([media.sid, "x.part"])
    await backend.post(channel, Draft("ada", media=media))


async def test_uploads_never_posted_go_at_closing(folder):
    async with open_backend(f"local:{folder}") as backend:
        channel = (await backend.create_channel(creator="ada")).sid
        await backend.upload(channel, File.from_bytes(b"x", name="x.txt"), author="ada")
        assert len(files_in(folder)) == 1
    assert files_in(folder) == []


async def test_a_discarded_upload_leaves_no_file(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    media = await backend.upload(channel, File.from_bytes(b"x", name="x.txt"), author="ada")
    await backend.discard(media.sid)
    assert files_in(folder) == []


def streamed(produce, size_bytes=10**9):
    return File.from_stream(produce, name="s.bin", size_bytes=size_bytes)


async def test_failed_uploads_leave_no_file(folder, backend, tmp_path):
    channel = (await backend.create_channel(creator="ada")).sid

    async def broken():
        yield b"x" * CHUNK_BYTES
        raise OSError(errno.ENOSPC, "the stream's own trouble")

    async def long():
        for _ in range(10):
            yield b"x" * CHUNK_BYTES

    (tmp_path / "f").write_bytes(b"x" * 1000)
    changed = File.from_path(tmp_path / "f")
    (tmp_path / "f").write_bytes(b"x" * 999)
    with refused("file_unreadable"):
        await backend.upload(channel, streamed(broken), author="ada")
    with refused("invalid_size"):
        await backend.upload(channel, streamed(long), author="ada", max_bytes=CHUNK_BYTES * 3)
    with refused("invalid_size"):
        await backend.upload(channel, File.from_bytes(b"x" * 10**6), author="ada", max_bytes=10**5)
    with refused("file_changed"):
        await backend.upload(channel, streamed(long), author="ada")
    with refused("file_changed"):
        await backend.upload(channel, changed, author="ada")
    with refused("not_a_member"):
        await backend.upload(channel, File.from_bytes(b"x"), author="eve")
    assert files_in(folder) == []


@pytest.mark.parametrize("turns", range(12))
async def test_an_upload_cancelled_anywhere_leaves_no_file(folder, backend, turns):
    channel = (await backend.create_channel(creator="ada")).sid

    async def pieces():
        for _ in range(4):
            await asyncio.sleep(0)
            yield b"x" * CHUNK_BYTES

    for file in (File.from_bytes(b"x" * 5 * CHUNK_BYTES), streamed(pieces, 4 * CHUNK_BYTES)):
        moved = asyncio.Event()
        task = asyncio.ensure_future(
            backend.upload(channel, file, author="ada", progress=lambda _, moved=moved: moved.set())
        )
        if turns < 6:
            for _ in range(turns):
                await asyncio.sleep(0)
        else:
            await moved.wait()
            for _ in range(turns - 6):
                await asyncio.sleep(0)
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(outcome, asyncio.CancelledError)
        assert files_in(folder) == []


async def test_closing_ends_an_upload_and_leaves_no_file(folder):
    begun = asyncio.Event()
    async with open_backend(f"local:{folder}") as backend:
        channel = (await backend.create_channel(creator="ada")).sid

        async def stuck():
            yield b"x" * CHUNK_BYTES
            begun.set()
            await going_on.wait()
            yield b"x" * CHUNK_BYTES

        going_on = asyncio.Event()
        streaming = asyncio.ensure_future(backend.upload(channel, streamed(stuck), author="ada"))
        copying = asyncio.ensure_future(
            backend.upload(channel, File.from_bytes(b"x" * 200 * CHUNK_BYTES), author="ada")
        )
        await begun.wait()
    assert files_in(folder) == []
    going_on.set()
    for task in (streaming, copying):
        with refused("backend_unavailable"):
            await task
    assert files_in(folder) == []


async def test_nothing_deleted_is_left_in_the_folder(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    kept = [await backend.post(channel, Draft("ada", body=f"kept {i} " * 30)) for i in range(50)]
    text = await backend.post(
        channel,
        Draft("ada", body="the deleted text", attributes={"note": "the deleted note"}),
        key=Key("key of the deleted", "f"),
    )
    file = await send(backend, channel, b"the deleted content", "the-deleted-name.txt")
    big = await backend.post(channel, Draft("ada", body="the deleted text, long " * 5000))
    assert b"the deleted" in bytes_in(folder)
    for message in (text.message, file, big.message):
        await backend.delete_message(channel, message.sid)
    left = bytes_in(folder)
    for word in (b"the deleted", b"the-deleted", b"key of", file.media.sha256.encode(), file.media.sid.encode()):
        assert word not in left
    assert await backend.list_messages(channel) == [p.message for p in kept]


async def test_deleting_in_any_order_leaves_nothing(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    posted = []
    for size in [3, 900, 20, 4000, 1, 60, 9000] * 40:
        mark = f"<{len(posted):05d}>"
        posted.append((mark.encode(), await backend.post(channel, Draft("ada", body=mark * size))))
    order = sorted(posted, key=lambda pair: hash((pair[0], 7)))
    for half in (order[: len(order) // 2], order[len(order) // 2 :]):
        await asyncio.gather(*(backend.delete_message(channel, p.message.sid) for _, p in half))
        left = bytes_in(folder)
        assert [mark for mark, _ in half if mark in left] == []


async def test_the_log_is_emptied_once_a_reader_has_gone(folder, backend, monkeypatch):
    monkeypatch.setattr(writer, "_ERASE_WAIT_MS", 1)
    monkeypatch.setattr(writer, "_ERASE_AGAIN_S", 0.005)
    channel = (await backend.create_channel(creator="ada")).sid
    posted = await backend.post(channel, Draft("ada", body="the deleted text"))
    with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM message").fetchall()
        await backend.delete_message(channel, posted.message.sid)
        reader.execute("COMMIT")
    async with asyncio.timeout(20):
        while b"the deleted text" in bytes_in(folder):
            await asyncio.sleep(0)


async def test_simultaneous_posts_share_commits(backend):
    channel = (await backend.create_channel(creator="ada")).sid
    statements = []
    backend._writing.db.set_trace_callback(statements.append)
    await asyncio.gather(*(backend.post(channel, Draft("ada", body=str(i))) for i in range(200)))
    backend._writing.db.set_trace_callback(None)
    assert 1 <= statements.count("COMMIT") <= 20


async def test_one_refused_post_does_not_undo_the_others_of_its_commit(backend):
    channel = (await backend.create_channel(creator="ada")).sid
    outcomes = await asyncio.gather(
        *(backend.post(channel, Draft("eve" if i % 3 == 0 else "ada", body=str(i))) for i in range(30)),
        return_exceptions=True,
    )
    assert [getattr(o, "code", None) for o in outcomes] == [None if i % 3 else "not_a_member" for i in range(30)]
    assert [m.index for m in await backend.list_messages(channel)] == list(range(20))


async def test_personal_events_of_a_week_ago_go_at_opening(folder):
    clock = ManualClock()
    async with open_backend(f"local:{folder}", clock=clock) as backend:
        channel = (await backend.create_channel(creator="ada")).sid
        await backend.add_member(channel, "zebediah")
        await backend.remove_member(channel, "zebediah")
    assert b"zebediah" in bytes_in(folder)
    clock.advance(PURGE_AFTER_S)
    async with open_backend(f"local:{folder}", clock=clock):
        assert b"zebediah" not in bytes_in(folder)


async def test_a_damaged_or_missing_file_is_told(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    changed, longer, gone = [await send(backend, channel, b"x" * 1000) for _ in range(3)]
    path = {m.sid: folder / "media" / m.media.sid[-1] / m.media.sid for m in (changed, longer, gone)}
    path[changed.sid].write_bytes(b"x" * 999 + b"y")
    path[longer.sid].write_bytes(b"x" * 1001)
    path[gone.sid].unlink()
    for message, code in ((changed, "media_corrupt"), (longer, "media_corrupt"), (gone, "media_deleted")):
        with refused(code):
            async for _ in backend.open_media(message.media.sid):
                pass


async def test_nothing_is_left_open(folder):
    async with open_backend(f"local:{folder}") as backend:
        channel = (await backend.create_channel(creator="ada")).sid
        await send(backend, channel)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    names = []
    for descriptor in range(min(limit, 4096)):
        with contextlib.suppress(OSError):
            names.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    assert [name for name in names if name.startswith(str(folder))] == []


async def test_it_can_be_opened_again_and_again(folder):
    for i in range(5):
        async with open_backend(f"local:{folder}") as backend:
            await backend.create_channel(creator="ada", unique_name=str(i))
            assert len(await backend.list_channels()) == i + 1


async def test_many_open_it_at_once(folder):
    async with contextlib.AsyncExitStack() as stack:
        backends = await asyncio.gather(*(stack.enter_async_context(open_backend(f"local:{folder}")) for _ in range(4)))
        await asyncio.gather(*(b.create_channel(creator="ada") for b in backends))
        assert len(await backends[0].list_channels()) == 4


# Folders that are not ours


async def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.odt").touch()
    with refused("invalid_config"):
        async with open_backend(f"local:{tmp_path}"):
            pass
    assert os.listdir(tmp_path) == ["thesis.odt"]


async def test_what_a_first_start_left_behind_is_ours(tmp_path):
    for name in ("open", "incoming", "media"):
        (tmp_path / name).mkdir()
    for name in ("lock", "chat.sqlite3"):
        (tmp_path / name).touch()
    async with open_backend(f"local:{tmp_path}") as backend:
        await backend.create_channel(creator="ada")


async def test_a_path_that_is_no_text_is_refused():
    with refused("invalid_config"):
        async with open_backend("local:\ud800"):
            pass


async def test_an_error_of_the_store_names_its_folder(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    shutil.rmtree(folder / "incoming")
    with pytest.raises(ActionError) as caught:
        await backend.upload(channel, File.from_bytes(b"x", name="a.txt"), author="ada")
    assert (str(folder) in caught.value.message, bool(caught.value.hint)) == (True, True)


async def test_a_damaged_store_names_its_folder(tmp_path):
    (tmp_path / "chat.sqlite3").write_bytes(b"x" * 4096)
    with pytest.raises(ActionError) as caught:
        async with open_backend(f"local:{tmp_path}"):
            pass
    assert (caught.value.code, str(tmp_path) in caught.value.message) == ("store_corrupt", True)
    assert caught.value.hint


async def test_a_deleted_messages_fingerprint_is_nowhere_in_the_folder(folder, backend):
    channel = (await backend.create_channel(creator="ada")).sid
    key = Key("k", "f1e2d3c4" * 8)
    posted = await backend.post(channel, Draft("ada", body="pin 1234"), key=key)
    kept = await backend.post(channel, Draft("ada", body="x"), key=Key("other", "0a1b2c3d" * 8))
    assert key.fingerprint.encode() in bytes_in(folder)
    await backend.delete_message(channel, posted.message.sid)
    await backend.close()
    assert key.fingerprint.encode() not in bytes_in(folder)
    async with open_backend(f"local:{folder}") as again:
        assert (await again.settle("k")).fingerprint == ""
        assert (await again.settle("other")).message_sid == kept.message.sid


@pytest.mark.parametrize("name", [".gitkeep", ".DS_Store"])
async def test_a_folder_with_hidden_files_only_is_a_fine_place_for_a_chat(tmp_path, name):
    (tmp_path / name).touch()
    async with open_backend(f"local:{tmp_path}") as backend:
        assert await backend.list_channels() == []


@pytest.mark.parametrize("url", ["memory:", "local:{}"])
async def test_a_member_who_was_seen_and_removed_at_once_cannot_upload(tmp_path, url):
    async with open_backend(url.format(tmp_path / "chat")) as backend:
        sid = (await backend.create_channel(creator="ada")).sid
        await backend.get_channel(sid, member="ada")
        await backend.remove_member(sid, "ada")
        with pytest.raises(ActionError) as caught:
            await backend.upload(sid, File.from_bytes(b"hi", name="a.txt"), author="ada")
    assert caught.value.code == "not_a_member"


# What no message carries


async def left_by_a_crash(folder):
    """A chat with a file, and one that a killed process has left."""
    async with open_backend(f"local:{folder}") as backend:
        channel = (await backend.create_channel(creator="ada")).sid
        media = await backend.upload(channel, File.from_bytes(b"one", name="a.txt"), author="ada")
        await backend.post(channel, Draft("ada", media=media))
    stray = folder / "media" / "0" / ("ME" + "0" * 32)
    stray.write_bytes(b"two")
    return stray


def aside(folder):
    return sorted(p.name for p in (folder / "stray").glob("*"))


async def test_a_file_that_no_message_carries_is_set_aside_for_a_week(tmp_path):
    """A crash may have left it; or an older database was put there, and with it go messages, but no document."""
    stray = await left_by_a_crash(tmp_path)
    clock = ManualClock()
    async with open_backend(f"local:{tmp_path}", clock=clock) as backend:
        assert (stray.exists(), aside(tmp_path)) == (False, [stray.name])
        assert stat.S_IMODE((tmp_path / "stray").stat().st_mode) == 0o700
        clock.advance(7 * 24 * 3600 - 1)
        await backend.purge()
        assert aside(tmp_path) == [stray.name]
        clock.advance(1)
        await backend.purge()
        assert aside(tmp_path) == []


async def test_a_file_set_aside_comes_back_once_a_message_wants_it(tmp_path):
    await left_by_a_crash(tmp_path)
    newer = tmp_path / "newer.sqlite3"
    older = tmp_path / "older.sqlite3"
    shutil.copy(tmp_path / DATABASE, older)
    async with open_backend(f"local:{tmp_path}") as backend:
        [channel] = await backend.list_channels()
        media = await backend.upload(channel.sid, File.from_bytes(b"three", name="b.txt"), author="ada")
        await backend.post(channel.sid, Draft("ada", media=media))
    os.replace(tmp_path / DATABASE, newer)
    os.replace(older, tmp_path / DATABASE)
    newer.rename(tmp_path.parent / "newer.sqlite3")
    async with open_backend(f"local:{tmp_path}"):
        assert media.sid in aside(tmp_path)
    os.replace(tmp_path.parent / "newer.sqlite3", tmp_path / DATABASE)
    async with open_backend(f"local:{tmp_path}") as backend:
        assert media.sid not in aside(tmp_path)
        assert b"".join([chunk async for chunk in backend.open_media(media.sid)]) == b"three"


async def test_the_file_of_a_deleted_message_is_never_set_aside(tmp_path):
    """It could not be removed at the time, as on a disk that failed for a moment: it goes now, for ever."""
    stray = await left_by_a_crash(tmp_path)
    async with open_backend(f"local:{tmp_path}") as backend:
        [channel] = await backend.list_channels()
        [message] = await backend.list_messages(channel.sid)
        path = tmp_path / "media" / message.media.sid[-1] / message.media.sid
        await backend.delete_message(channel.sid, message.sid)
    path.write_bytes(b"one")
    async with open_backend(f"local:{tmp_path}"):
        assert (path.exists(), aside(tmp_path)) == (False, [stray.name])


async def test_a_stream_that_begins_while_the_backend_closes_leaves_nothing(tmp_path):
    for turns in range(12):
        backend = LocalBackend(str(tmp_path))
        await backend.open()
        channel = (await backend.create_channel(creator="ada")).sid
        gate = asyncio.Event()

        async def pieces(gate=gate):
            await gate.wait()
            yield b"secret"

        file = File.from_stream(pieces, name="a.txt", size_bytes=6)
        uploads = [asyncio.ensure_future(backend.upload(channel, file, author="ada")) for _ in range(4)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await backend.close()
        gate.set()
        outcomes = await asyncio.gather(*uploads, return_exceptions=True)
        assert {getattr(outcome, "code", outcome) for outcome in outcomes} == {"backend_unavailable"}
        assert list((tmp_path / "incoming").iterdir()) == []


async def test_a_key_that_cannot_be_made_leaves_no_file(tmp_path):
    async with open_backend(f"local:{tmp_path}") as backend:
        channel = (await backend.create_channel(creator="ada")).sid

        async def pieces():
            yield b"x"

        for file in (File.from_bytes(b"x", name="a.txt"), File.from_stream(pieces, name="a.txt", size_bytes=1)):
            with pytest.raises(ZeroDivisionError):
                await backend.send_file(channel, file, author="ada", attributes={}, key=lambda media: 1 / 0)
        assert [p for p in (tmp_path / "media").rglob("*") if p.is_file()] == []
