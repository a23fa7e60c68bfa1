"""Upkeep of a chat on disk: check, backup and restore, while others use it, and whoever is killed on the way."""

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import time
from pathlib import Path

import pytest
from stores import add, bytes_in, child, everything, file_of, filled, tree

from flex_actions.backends import asides, open_backend, presence, sql
from flex_actions.backends.local import DATABASE, LocalBackend
from flex_actions.backends.upkeep import backup_store, check_store, copying, replacing, restore_store, sources
from flex_actions.clock import ManualClock
from flex_actions.errors import ActionError
from flex_actions.files import File
from flex_actions.ports import PURGE_AFTER_S, Draft, Key, KeyRecord, Settled

OLD_S = time.time() - 7200


@pytest.fixture
def chat(tmp_path):
    return tmp_path / "chat"


@pytest.fixture
def url(chat):
    return f"local:{chat}"


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "copy"


async def problems(folder, *, deep=True):
    return {f.subject: f for f in await check_store(f"local:{folder}", deep=deep) if f.level == "problem"}


async def subjects(url, level, **options):
    return {f.subject: f for f in await check_store(url, **options) if f.level == level}


def old(path):
    os.utime(path, (OLD_S, OLD_S))
    return path


# Check


async def test_a_good_chat_has_no_finding_but_ok(chat, url):
    await filled(chat)
    found = await check_store(url, deep=True)
    assert {f.level for f in found} == {"ok"}
    assert {"database", "rows", "secrets", "files", "permissions"} <= {f.subject for f in found}


@pytest.mark.parametrize("opened", [False, True], ids=["closed", "open elsewhere"])
async def test_a_check_changes_nothing(chat, url, opened):
    await filled(chat)
    async with contextlib.AsyncExitStack() as stack:
        if opened:
            backend = await stack.enter_async_context(open_backend(url))
            await add(backend, "x0", "in the log")
        before = {p: p.stat().st_mtime_ns for p in chat.rglob("*") if not p.name.endswith("-shm")}
        await check_store(url, deep=True)
        assert {p: p.stat().st_mtime_ns for p in chat.rglob("*") if not p.name.endswith("-shm")} == before


async def test_a_check_reads_what_a_killed_process_left_in_the_log(chat, url):
    process = await child(
        """
        async def main():
            async with open_backend(f"local:{FOLDER}") as b:
                await b.create_channel(creator="ada", unique_name="x")
                await b.post("x", Draft("ada", body="in the log"))
                os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
        """,
        chat, "",
    )  # fmt: skip
    await process.wait()
    before = without_index(tree(chat))
    found = {f.subject: f for f in await check_store(url)}
    assert found["rows"].details == {"channels": 1, "messages": 1}
    assert without_index(tree(chat)) == before


def without_index(files):
    """Without SQLite's index of the log, which everybody makes anew."""
    return {name: content for name, content in files.items() if not name.endswith("-shm")}


@pytest.mark.parametrize("damage", ["missing", "wrong_size", "wrong_hash"])
async def test_a_file_that_is_not_what_was_sent_is_named_by_its_sid(chat, url, damage):
    sent = [m for m in await filled(chat) if m.media is not None][1]
    path = file_of(chat, sent)
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[1:] + (b"" if damage == "wrong_size" else b"?"))
    details = (await problems(chat))["files"].details
    assert (details[damage], details[f"{damage}_sids"]) == (1, [sent.media.sid])
    assert (damage == "wrong_hash") is (await problems(chat, deep=False) == {})


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE channel SET next_index = 1 WHERE id = 1", "messages_beyond_their_channel"),
        ("UPDATE message SET body = NULL WHERE id = 1", "messages_without_content"),
        ("UPDATE member SET channel = 99 WHERE id = 1", "members_without_channel"),
        ("UPDATE event SET channel = 99 WHERE seq = 1", "events_without_channel"),
        ("UPDATE idempotency SET message_sid = 'IM0'", "keys_without_message"),
        ("UPDATE sqlite_sequence SET seq = 1 WHERE name = 'event'", "numbers_to_be_given_again"),
    ],
)
async def test_rows_that_do_not_fit_together_are_counted(chat, statement, rule):
    await filled(chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        db.execute(statement)
    details = (await problems(chat))["rows"].details
    assert details[rule] >= 1
    assert set(details) == {rule}


async def test_a_missing_secret_is_a_problem(chat):
    await filled(chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        db.execute("DELETE FROM secret WHERE purpose = 'link'")
    assert (await problems(chat))["secrets"].details == {"missing": ["link"]}


async def test_a_damaged_index_is_a_problem_of_the_database(chat):
    await filled(chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema=ON")
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'event_personal'").fetchall()
        db.execute("UPDATE sqlite_schema SET rootpage = ? WHERE name = 'event_by_channel'", (page,))
    assert set(await problems(chat)) == {"database"}


async def test_leftovers_are_notes_once_they_are_older_than_an_hour(chat, url):
    await filled(chat)
    orphan, part = chat / "media" / "a" / f"ME{'a' * 32}", chat / "incoming" / f"ME{'b' * 32}.part"
    for path in (orphan, part):
        path.touch(0o600)
    assert await subjects(url, "note") == {}
    old(orphan), old(part)
    found = await subjects(url, "note")
    assert found["orphans"].details == {"count": 1, "sids": [orphan.name]}
    assert found["unfinished uploads"].details == {"count": 1}


async def test_what_is_not_the_chat_s_is_counted_and_not_named(chat, url):
    await filled(chat)
    for name in ("thesis.odt", "media/a/thesis.odt", "incoming/thesis.odt", "media/thesis"):
        (chat / name).touch(0o600)
    finding = (await subjects(url, "note"))["other things"]
    assert (finding.details, "thesis" in str(finding)) == ({"count": 4}, False)


async def test_a_chat_that_others_can_read_is_a_problem(chat, url):
    sent = (await filled(chat))[1]
    chat.chmod(0o755)
    assert set(await subjects(url, "note")) == {"permissions"}
    file_of(chat, sent).chmod(0o644)
    assert (await problems(chat))["permissions"].details == {"open": 1}


async def test_an_upload_that_is_not_posted_is_no_finding(chat, url):
    await filled(chat)
    async with open_backend(url) as backend:
        await backend.upload("x0", File.from_bytes(b"x", name="a.txt"), author="ada")
        assert {f.level for f in await check_store(url, deep=True)} == {"ok"}


async def test_a_message_that_is_deleted_during_the_check_is_no_finding(chat, url, monkeypatch):
    await filled(chat, channels=1)
    async with open_backend(url) as backend:
        pages = sources.wanted_files

        def slowly(db):
            for page in pages(db):
                for wanted in page:  # the rows are known by now, the files are not looked at yet
                    asyncio.run_coroutine_threadsafe(backend.delete_message("x0", wanted.message_sid), loop).result()
                yield page

        loop = asyncio.get_running_loop()
        monkeypatch.setattr("flex_actions.backends.upkeep.checking.wanted_files", slowly)
        found = await check_store(url, deep=True)
        assert {f.level for f in found} == {"ok"}
        assert next(f for f in found if f.subject == "files").details["count"] == 4


async def test_a_deep_check_does_not_keep_the_log_from_being_emptied(chat, url):
    await filled(chat)
    async with open_backend(url) as backend:
        busy = []

        def emptied(*_):
            with contextlib.closing(sqlite3.connect(chat / DATABASE)) as db:
                busy.append(db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0])

        await add(backend, "x0", "in the log")
        await check_store(url, deep=True, on_progress=emptied)
    assert 0 in busy
    assert busy.count(1) <= 1  # while a page of rows is read


async def test_a_cancelled_check_ends(chat, url):
    await filled(chat)
    task = asyncio.ensure_future(check_store(url, deep=True, on_progress=lambda *_: task.cancel()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await problems(chat) == {}


async def test_the_progress_of_a_deep_check_ends_at_the_whole(chat, url):
    sizes = sum(m.media.size_bytes for m in await filled(chat) if m.media is not None)
    told = []
    await check_store(url, deep=True, on_progress=lambda *facts: told.append(facts))
    assert told[-1] == ("files", sizes, sizes)


# What they refuse


@pytest.mark.parametrize("chat_url", ["memory:", "memory:x", "twilio:IS1", "chat"])
async def test_only_a_chat_in_a_folder_is_looked_after(chat_url, copy, refused):
    for call in (check_store(chat_url), backup_store(chat_url, copy), restore_store(chat_url, copy)):
        with refused("invalid_config"):
            await call


async def test_a_chat_that_is_missing_is_told_and_not_made(chat, url, copy, refused):
    for call in (check_store(url), backup_store(url, copy), restore_store(url, copy)):
        with refused("store_missing"):
            await call
    assert not chat.exists()


async def test_a_newer_store_is_told(chat, url, copy, tmp_path, refused):
    await filled(chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE)) as db:
        db.execute(f"PRAGMA user_version={sql.VERSION + 1}")
    other = f"local:{tmp_path / 'other'}"
    for call in (check_store(url), backup_store(url, copy), restore_store(other, chat)):
        with refused("store_version"):
            await call
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chat"]


async def test_a_newer_store_is_not_replaced(chat, url, copy, refused):
    await filled(chat)
    await backup_store(url, copy)
    with contextlib.closing(sqlite3.connect(chat / DATABASE)) as db:
        db.execute(f"PRAGMA user_version={sql.VERSION + 1}")
    before = tree(chat)
    with refused("store_version"):
        await restore_store(url, copy, replace=True)
    assert tree(chat) == before


async def test_somebody_else_s_database_is_not_replaced(chat, url, tmp_path, refused):
    await filled(chat)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with contextlib.closing(sqlite3.connect(theirs / DATABASE)) as db:
        db.execute("CREATE TABLE theirs (x)")
    with refused("store_corrupt"):
        await restore_store(f"local:{theirs}", chat, replace=True)
    assert [p.name for p in tmp_path.iterdir() if "damaged" in p.name] == []


async def test_a_backup_never_overwrites(chat, url, tmp_path, refused):
    await filled(chat)
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for name in ("file", "folder"):
        with refused("store_exists") as caught:
            await backup_store(url, tmp_path / name)
        assert str(tmp_path / name) in caught.value.message


async def test_a_backup_lies_outside_of_the_chat_however_it_is_named(chat, url, tmp_path, refused):
    await filled(chat)
    (tmp_path / "link").symlink_to(chat)
    for dest in (chat / "copy", tmp_path / "link" / "copy", chat / "media" / "a" / "copy"):
        with refused("invalid_config"):
            await backup_store(url, dest)


async def test_a_backup_makes_no_folders_above_it(chat, url, tmp_path, refused):
    await filled(chat)
    with refused("file_unwritable"):
        await backup_store(url, tmp_path / "no" / "copy")


async def test_a_backup_of_a_chat_is_no_place_for_it(chat, url, refused):
    await filled(chat)
    with refused("invalid_config"):
        await restore_store(url, chat, replace=True)


# Backup

SENDERS = """
async def main():
    async with open_backend(f"local:{FOLDER}") as b:
        async def send(number):
            while True:
                data = os.urandom(3000)
                media = await b.upload(f"x{number}", File.from_bytes(data, name="a.bin"), author="ada")
                posted = await b.post(f"x{number}", Draft("ada", media=media))
                os.write(1, f"{posted.message.sid} {hashlib.sha256(data).hexdigest()}\\n".encode())
        await asyncio.gather(*(send(n) for n in range(8)))
asyncio.run(main())
"""


async def test_a_backup_among_eight_writers_holds_all_that_was_acknowledged_before(chat, url, copy):
    await filled(chat, channels=8)
    process = await child(SENDERS, chat, "")
    acknowledged = {}
    try:
        async with asyncio.timeout(60):
            for _ in range(100):
                sid, sha256 = (await process.stdout.readline()).split()
                acknowledged[sid.decode()] = sha256.decode()
            report = await backup_store(url, copy)
    finally:
        process.kill()
        await process.communicate()
    assert await problems(copy) == {}
    async with open_backend(f"local:{copy}") as backend:
        found = {m.sid: m for i in range(8) for m in await backend.list_messages(f"x{i}")}
        assert {sid: found[sid].media.sha256 for sid in acknowledged} == acknowledged
        assert len(found) == report.messages


async def test_a_backup_is_one_private_folder_that_opens_and_says_the_same(chat, url, copy):
    await filled(chat)
    await backup_store(url, copy)
    assert sorted(p.name for p in copy.iterdir()) == [DATABASE, "lock", "media"]
    for path in (copy, *copy.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert not any(p.stat().st_nlink > 1 for p in copy.rglob("*") if p.is_file())
    assert await everything(copy) == await everything(chat)


async def _messages(folder):
    return {m.sid for found in (await everything(folder)).values() if isinstance(found, list) for m in found}


@pytest.mark.parametrize("moment", ["before its file is copied", "behind it"])
async def test_a_deletion_in_the_middle_of_a_backup_leaves_no_byte_of_it(chat, url, copy, monkeypatch, moment):
    await filled(chat)
    async with open_backend(url) as backend:
        text, file = await add(backend, "x0", "secret text 4711", b"secret file 4711" * 999)
        loop = asyncio.get_running_loop()

        def delete():
            for message in (text, file):
                asyncio.run_coroutine_threadsafe(backend.delete_message("x0", message.sid), loop).result()

        real = copying.FileCopies.copy

        def among(copies, copied, live):
            if moment.startswith("before"):
                delete()
            bad = real(copies, copied, live)
            if moment.startswith("behind"):
                delete()
            return bad

        monkeypatch.setattr(copying.FileCopies, "copy", among)
        report = await backup_store(url, copy)
        assert report.left_out == ()
    found = bytes_in(copy)
    assert [mark for mark in (b"secret text", b"secret file", file.media.sid[2:].encode()) if mark in found] == [
        file.media.sid[2:].encode()  # the number of a deleted file stays in its row, as in the chat itself
    ]
    assert file.media.sid not in {p.name for p in copy.rglob("*")}
    assert await problems(copy) == {}
    async with open_backend(f"local:{copy}") as backend:
        kinds = [e.type async for e in _until_deleted(backend)]
        assert kinds.count("message_deleted") == 2


async def _until_deleted(backend):
    last = await backend.last_cursor("x0")
    async with contextlib.aclosing(backend.events("x0")) as events:
        async for event in events:
            yield event
            if event.cursor == last:
                return


async def test_a_damaged_file_is_named_and_nothing_is_left(chat, url, copy, tmp_path, refused):
    files = [m for m in await filled(chat) if m.media is not None]
    file_of(chat, files[0]).unlink()
    file_of(chat, files[1]).write_bytes(b"?")
    with refused("media_corrupt") as caught:
        await backup_store(url, copy)
    assert sorted(caught.value.details["media_sids"]) == sorted(m.media.sid for m in files[:2])
    assert os.listdir(tmp_path) == ["chat"]


async def test_keep_going_leaves_damaged_files_out_and_says_which(chat, url, copy, tmp_path):
    files = [m for m in await filled(chat) if m.media is not None]
    file_of(chat, files[0]).unlink()
    report = await backup_store(url, copy, keep_going=True)
    assert report.left_out == (files[0].media.sid,)
    assert await problems(copy) == {}
    async with open_backend(f"local:{copy}") as backend:
        kept = await backend.find_message(files[0].sid)
        assert (kept.media, kept.attributes["lostFile"]["sid"]) == (None, files[0].media.sid)
    await restore_store(f"local:{tmp_path / 'again'}", copy)


async def test_personal_events_of_a_week_ago_are_not_in_a_backup(chat, url, copy):
    clock = ManualClock()
    async with open_backend(url, clock=clock) as backend:
        sid = (await backend.create_channel(creator="ada")).sid
        for i in range(200):
            await backend.add_member(sid, f"zebediah{i}")
            await backend.remove_member(sid, f"zebediah{i}")
    clock.advance(PURGE_AFTER_S)
    await backup_store(url, copy, clock=clock)
    assert b"zebediah" in bytes_in(chat)
    assert b"zebediah" not in bytes_in(copy)


@pytest.fixture
def cancelled_among_files(monkeypatch):
    """A call that is cancelled once its database is copied, and hears of it before it is through with the files."""

    async def cancelled(call):
        real, loop = copying.FileCopies.copy, asyncio.get_running_loop()

        def among(copies, copied, live):
            loop.call_soon_threadsafe(task.cancel)
            while not copies._work.stopped:
                time.sleep(0)
            return real(copies, copied, live)

        monkeypatch.setattr(copying.FileCopies, "copy", among)
        task = asyncio.ensure_future(call)
        with pytest.raises(asyncio.CancelledError):
            await task

    return cancelled


async def test_a_cancelled_backup_leaves_nothing(chat, url, copy, tmp_path, cancelled_among_files):
    await filled(chat)
    await cancelled_among_files(backup_store(url, copy))
    assert os.listdir(tmp_path) == ["chat"]


async def test_a_backup_whose_chat_is_replaced_meanwhile_says_so(chat, url, tmp_path, monkeypatch, refused):
    await filled(chat)
    await backup_store(url, tmp_path / "first")
    real, loop, done = copying.FileCopies.copy, asyncio.get_running_loop(), []

    def among(copies, copied, live):
        if not done:
            done.append(True)
            restore = restore_store(url, tmp_path / "first", replace=True)
            asyncio.run_coroutine_threadsafe(restore, loop).result()
        return real(copies, copied, live)

    monkeypatch.setattr(copying.FileCopies, "copy", among)
    with refused("backend_unavailable") as caught:
        await backup_store(url, tmp_path / "copy")
    assert (caught.value.retryable, sorted(os.listdir(tmp_path))) == (True, ["chat", "first"])


async def test_a_damaged_database_is_not_backed_up(chat, url, copy, tmp_path, refused):
    await filled(chat)
    whole = bytearray((chat / DATABASE).read_bytes())
    whole[4096 * 6 : 4096 * 7] = os.urandom(4096)
    (chat / DATABASE).write_bytes(whole)
    with refused("store_corrupt") as caught:
        await backup_store(url, copy)
    assert "store rescue" in caught.value.hint
    assert os.listdir(tmp_path) == ["chat"]


async def steps_of(body, folder, other):
    process = await child(body + "\nprint(steps)", folder, other, 0, killed=True)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return int(out)


async def kill_at(number, body, folder, other):
    process = await child(body, folder, other, number, killed=True)
    await process.communicate()
    return process.returncode


BACKUP = 'asyncio.run(backup_store(f"local:{FOLDER}", OTHER))'
RESTORE = 'asyncio.run(restore_store(f"local:{FOLDER}", OTHER, replace=True))'


async def test_a_backup_killed_anywhere_is_whole_or_not_there_and_the_next_one_tidies_up(chat, url, copy, tmp_path):
    await filled(chat, channels=1, messages=2)
    whole = await everything(chat)
    total = await steps_of(BACKUP, chat, copy)
    shutil.rmtree(copy)
    ends = set()
    for number in sorted({1, *range(2, total, max(1, total // 10)), total - 1, total}):
        assert await kill_at(number, BACKUP, chat, copy) == -signal.SIGKILL
        if copy.exists():
            assert await everything(copy) == whole
            shutil.rmtree(copy)
        ends.add(tuple(sorted(p.name.partition("-")[0] for p in tmp_path.iterdir())))
    await backup_store(url, copy)
    assert sorted(os.listdir(tmp_path)) == ["chat", "copy"]
    assert ("chat", "copy.partial") in ends


# Restore: where there is nothing


@pytest.mark.parametrize("there", ["missing", "empty", "a first start's leftovers"])
async def test_a_backup_is_restored_where_there_is_nothing(chat, url, copy, tmp_path, there):
    await filled(chat)
    await backup_store(url, copy)
    target = tmp_path / "new"
    if there != "missing":
        target.mkdir(0o700)
    if there.startswith("a first"):
        (target / "lock").touch(0o600)
        (target / "media").mkdir(0o700)
    report = await restore_store(f"local:{target}", copy)
    assert (report.channels, report.messages, report.files, report.replaced) == (3, 27, 12, report.replaced)
    assert await problems(target) == {}
    assert await everything(target) == await everything(chat)
    assert sorted(os.listdir(tmp_path)) == ["chat", "copy", "new"]


async def test_keys_and_cursors_of_the_backup_go_on_in_a_restored_chat(chat, url, copy, tmp_path):
    await filled(chat)
    async with open_backend(url) as backend:
        cursor = await backend.last_cursor("x0")
    await backup_store(url, copy)
    await restore_store(f"local:{tmp_path / 'new'}", copy)
    async with open_backend(f"local:{tmp_path / 'new'}") as backend:
        assert isinstance(await backend.settle("key 0"), KeyRecord)
        assert await backend.last_cursor("x0") == cursor


async def test_the_backup_stays_as_it_is(chat, url, copy):
    await filled(chat)
    await backup_store(url, copy)
    before = tree(copy)
    async with open_backend(url) as backend:
        await add(backend, "x0", "later")
    await restore_store(url, copy, replace=True)
    assert tree(copy) == before


async def test_a_backup_on_a_disk_that_cannot_be_written_is_restored(chat, url, copy, tmp_path):
    await filled(chat)
    await backup_store(url, copy)
    mounted = not subprocess.call(["mount", "--bind", str(copy), str(copy)], stderr=subprocess.DEVNULL)
    if mounted:
        subprocess.check_call(["mount", "-o", "remount,ro,bind", str(copy)])
    try:
        await restore_store(f"local:{tmp_path / 'new'}", copy)
    finally:
        if mounted:
            subprocess.check_call(["umount", "-l", str(copy)])
    assert await everything(tmp_path / "new") == await everything(chat)


@pytest.mark.parametrize("damage", ["file", "database", "file gone"])
@pytest.mark.parametrize("there", ["nothing", "chat", "damaged"])
async def test_a_damaged_backup_is_refused_before_anything_changes(chat, copy, damage, there, refused):
    files = [m for m in await filled(chat) if m.media is not None]
    await backup_store(f"local:{chat}", copy)
    if damage == "file":
        file_of(copy, files[3]).write_bytes(bytes(files[3].media.size_bytes))
    elif damage == "file gone":
        file_of(copy, files[3]).unlink()
    else:
        whole = bytearray((copy / DATABASE).read_bytes())
        whole[4096 * 6 : 4096 * 7] = os.urandom(4096)
        (copy / DATABASE).write_bytes(whole)
    if there == "nothing":
        shutil.rmtree(chat)
    elif there == "damaged":
        (chat / DATABASE).write_bytes(b"x" * 8192)
    before = tree(chat.parent)
    with refused("store_corrupt" if damage == "database" else "media_corrupt"):
        await restore_store(f"local:{chat}", copy, replace=True)
    # A look at a chat adds two settings' tables at most, and no leftovers.
    after = tree(chat.parent)
    assert {k for k in after if "sqlite3" not in k} == {k for k in before if "sqlite3" not in k}
    if there != "chat":
        assert after == before


# Restore: in the place of a chat that is in use


async def test_a_chat_is_not_replaced_unasked_and_the_error_says_what_would_be_lost(chat, url, copy, refused):
    await filled(chat)
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        await backend.create_channel(creator="ada", unique_name="new")
        late = (await add(backend, "new", "a", "b", b"c"))[-1]
    with refused("store_exists") as caught:
        await restore_store(url, copy)
    found = caught.value.details
    assert (found["messages"], found["channels"], found["newest_at"]) == (3, 1, late.created_at)
    assert "3 messages and 1 channel that are not in the backup would be lost" in caught.value.message
    assert late.sid in await _messages(chat)


FOLLOWER = """
async def main():
    async with open_backend(f"local:{FOLDER}") as b:
        print("ready", flush=True)
        async with asyncio.timeout(60):
            async def answer():
                async for event in b.events("x0"):
                    if event.message is not None and event.message.body == "behind":
                        await b.post("x0", Draft("carl", body="answered"))
                        return "went on"
            async def vanish():
                try:
                    async for event in b.events("late"):
                        pass
                except Exception as error:
                    return error.code
            print(*await asyncio.gather(answer(), vanish()), flush=True)
asyncio.run(main())
"""


async def test_a_restore_while_another_process_follows_and_sends(chat, url, copy):
    """Followers go on, those of a channel that is not in the backup get one clear error; both write afterwards."""
    await filled(chat)
    before = await everything(chat)
    await backup_store(url, copy)
    async with open_backend(url) as backend, asyncio.timeout(60):
        await backend.create_channel(creator="ada", unique_name="late")
        lost = await add(backend, "late", "lost", b"lost file")
        process = await child(FOLLOWER, chat, "")
        assert await process.stdout.readline() == b"ready\n"
        # Both followers wait: what they saw last is known to them.
        await add(backend, "x0", "also lost")
        report = await restore_store(url, copy, replace=True)
        assert (report.replaced, report.messages) == ("chat", 27)
        (behind,) = await add(backend, "x0", "behind")
        assert (await process.communicate())[0] == b"went on unknown_channel\n"
        assert not file_of(chat, lost[1]).exists()
        # Positions and cursors are never used again.
        [*_, last, answer] = await backend.list_messages("x0")
        assert (last.sid, answer.body, answer.index > last.index > 9) == (behind.sid, "answered", True)
    async with open_backend(url) as backend:
        for message in (behind, answer):
            await backend.delete_message("x0", message.sid)
    assert await everything(chat) == before
    assert await problems(chat) == {}


async def test_readers_see_the_old_chat_or_the_new_one_and_never_half(chat, url, copy):
    await filled(chat)
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        for i in range(3):
            await add(backend, f"x{i}", "later")
        seen = set()
        task = asyncio.ensure_future(restore_store(url, copy, replace=True))
        with contextlib.closing(sqlite3.connect(chat / DATABASE)) as db:
            while not task.done():
                seen.add(
                    db.execute("SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM channel)").fetchall()[0]
                )
                await asyncio.sleep(0)
            await task
        assert seen <= {(30, 3), (27, 3)}
        assert (30, 3) in seen


async def test_what_was_deleted_stays_deleted_with_every_byte_of_it(chat, url, copy):
    async with open_backend(url) as backend:
        await backend.create_channel(creator="ada", unique_name="x0")
        text, file, kept = await add(backend, "x0", "secret text 4711", b"secret file 4711" * 999, "kept")
        key = Key("k", "5ec2e7" * 10)
        keyed = (await backend.post("x0", Draft("ada", body="secret keyed 4711"), key=key)).message
        await backup_store(url, copy)
        for message in (text, file, keyed):
            await backend.delete_message("x0", message.sid)
        report = await restore_store(url, copy, replace=True)
        assert report.log_emptied
        assert [m.sid for m in await backend.list_messages("x0")] == [kept.sid]
        assert (await backend.settle("k")).fingerprint == ""
        found = bytes_in(chat)  # while it is open, with its log
        marks = (b"secret text", b"secret file", b"secret keyed", key.fingerprint.encode())
        assert [mark for mark in marks if mark in found] == []
        assert not file_of(chat, file).exists()
    assert await problems(chat) == {}


async def test_a_deletion_is_remembered_over_a_restore_that_knew_nothing_of_the_message(chat, url, tmp_path):
    async with open_backend(url) as backend:
        await backend.create_channel(creator="ada", unique_name="x0")
        await backup_store(url, tmp_path / "early")
        await backend.create_channel(creator="ada", unique_name="x1")
        (text,) = await add(backend, "x1", "secret text 4711")
        await backup_store(url, tmp_path / "late")
        await backend.delete_message("x1", text.sid)
        await restore_store(url, tmp_path / "early", replace=True)
        await restore_store(url, tmp_path / "late", replace=True)
        assert await backend.list_messages("x1") == []
        assert b"secret text" not in bytes_in(chat)


async def test_a_message_deleted_in_the_last_moment_stays_deleted(chat, url, copy, monkeypatch):
    async with open_backend(url) as backend:
        await backend.create_channel(creator="ada", unique_name="x0")
        text, file = await add(backend, "x0", "secret text 4711", b"secret file 4711" * 999)
        await backup_store(url, copy)
        loop, begin = asyncio.get_running_loop(), replacing._begin

        def late(db, work):
            for message in (text, file):
                asyncio.run_coroutine_threadsafe(backend.delete_message("x0", message.sid), loop).result()
            begin(db, work)

        monkeypatch.setattr(replacing, "_begin", late)
        await restore_store(url, copy, replace=True)
        assert await backend.list_messages("x0") == []
        found = bytes_in(chat)
        assert [mark for mark in (b"secret text", b"secret file") if mark in found] == []
        assert not file_of(chat, file).exists()


async def test_a_revoked_link_key_stays_dead_and_the_live_one_lives(chat, url, copy, refused):
    messages = await filled(chat)
    async with open_backend(url) as backend:
        revoked = await backend.temporary_link(messages[1].media.sid, reader="ada")
    await backup_store(url, copy)
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        db.execute("DELETE FROM secret WHERE purpose = 'link'")
        db.execute("INSERT INTO secret (id, purpose, value) VALUES (77, 'link', randomblob(32))")
    async with open_backend(url) as backend:
        good = await backend.temporary_link(messages[1].media.sid, reader="ada")
        await restore_store(url, copy, replace=True)
        assert (await backend.open_link(good.url))[0] == messages[1].media
        with refused("link_invalid"):
            await backend.open_link(revoked.url)
    async with open_backend(url) as backend:
        with refused("link_invalid"):
            await backend.open_link(revoked.url)


async def test_the_links_of_a_member_who_was_removed_stay_dead(chat, url, copy, refused):
    messages = await filled(chat)
    async with open_backend(url) as backend:
        link = await backend.temporary_link(messages[1].media.sid, reader="carl")
        kept = await backend.temporary_link(messages[1].media.sid, reader="ada")
        await backup_store(url, copy)
        await backend.remove_member("x0", "carl")
        await restore_store(url, copy, replace=True)
        assert [m.identity for m in await backend.list_members("x0")] == ["ada", "carl"]
        assert (await backend.open_link(kept.url))[0] == messages[1].media
        with refused("not_a_member"):
            await backend.open_link(link.url)


async def test_a_cursor_from_before_the_restore_finds_only_what_came_behind_it(chat, url, copy):
    await filled(chat)
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        await add(backend, "x0", *(str(i) for i in range(10)))
        cursor = await backend.last_cursor("x0")
        await restore_store(url, copy, replace=True)
        await add(backend, "x0", "first behind")
        async with contextlib.aclosing(backend.events("x0", after=cursor)) as events, asyncio.timeout(30):
            assert (await anext(events)).message.body == "first behind"


async def test_settings_of_the_chat_stay(chat, url, copy):
    await filled(chat)
    async with open_backend(url) as backend:
        await backend.save_public_url("https://old.example")
        await backup_store(url, copy)
        await backend.save_public_url("https://new.example")
        await restore_store(url, copy, replace=True)
        assert await backend.public_url() == "https://new.example"


async def test_the_keys_of_the_backup_hold_again(chat, url, copy):
    await filled(chat)
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        await backend.post("x0", Draft("ada", body="late"), key=Key("late", "f"))
        await restore_store(url, copy, replace=True)
        assert isinstance(await backend.settle("key 0"), KeyRecord)
        assert await backend.settle("late") is Settled.NOTHING


@pytest.mark.parametrize("replace", [False, True])
async def test_the_backup_of_another_chat_takes_no_chats_place(chat, copy, tmp_path, refused, replace):
    await filled(chat)
    await backup_store(f"local:{chat}", copy)
    other = tmp_path / "other"
    async with open_backend(f"local:{other}") as backend:
        await backend.create_channel(creator="zoe", unique_name="zoe's")
        before = tree(other / "media")
        with refused("store_exists") as refusal:
            await restore_store(f"local:{other}", copy, replace=replace)
        assert "not the one that the backup was made of" in refusal.value.message
        assert [c.unique_name for c in await backend.list_channels()] == ["zoe's"]
        assert (tree(other / "media"), [p.name for p in other.iterdir() if "restoring" in p.name]) == (before, [])
    with refused("store_exists"):
        await restore_store(f"local:{other}", copy, replace=replace)
    assert await problems(other) == {}


async def test_a_file_that_is_damaged_in_the_chat_is_whole_again(chat, url, copy):
    files = [m for m in await filled(chat) if m.media is not None]
    await backup_store(url, copy)
    file_of(chat, files[0]).unlink()
    file_of(chat, files[1]).write_bytes(bytes(files[1].media.size_bytes))
    await restore_store(url, copy, replace=True)
    assert await problems(chat) == {}


async def test_one_restore_at_a_time(chat, url, copy, refused):
    await filled(chat)
    await backup_store(url, copy)
    with asides.aside(str(chat / asides.HIDDEN)):  # as another process would hold it
        before = tree(chat)
        with refused("store_in_use"):
            await restore_store(url, copy, replace=True)
        assert {k: v for k, v in tree(chat).items() if "sqlite3" not in k} == {
            k: v for k, v in before.items() if "sqlite3" not in k
        }
    await restore_store(url, copy, replace=True)


async def test_files_stay_if_the_rows_cannot_be_replaced(chat, url, copy, monkeypatch, refused):
    files = [m for m in await filled(chat) if m.media is not None]
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        await backend.delete_message("x0", files[0].sid)
        (later,) = await add(backend, "x0", b"later")
    names = {p.name for p in (chat / "media").rglob("ME*")}
    file_of(chat, files[1]).unlink()

    def fails(db):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(replacing.exchange, "replace_rows", fails)
    with pytest.raises(ActionError):
        await restore_store(url, copy, replace=True)
    # What was staged for the new chat is gone again; what the old one has is there.
    assert {p.name for p in (chat / "media").rglob("ME*")} == names - {files[1].media.sid}
    assert later.sid in await _messages_without_files(chat)


async def _messages_without_files(folder):
    async with open_backend(f"local:{folder}") as backend:
        return {m.sid for c in await backend.list_channels() for m in await backend.list_messages(c.sid)}


async def test_a_pipe_in_a_file_s_place_keeps_nobody_waiting(chat, url, copy, refused):
    files = [m for m in await filled(chat) if m.media is not None]
    file_of(chat, files[0]).unlink()
    os.mkfifo(file_of(chat, files[0]))
    assert (await problems(chat))["files"].details["wrong_size"] == 1
    async with asyncio.timeout(60):
        with refused("media_corrupt"):
            await backup_store(url, copy)


async def test_an_upload_under_way_survives_a_restore(chat, url, copy):
    await filled(chat)
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        media = await backend.upload("x0", File.from_bytes(b"under way", name="a.txt"), author="ada")
        await restore_store(url, copy, replace=True)
        await backend.post("x0", Draft("ada", media=media))
        assert b"".join([c async for c in backend.open_media(media.sid)]) == b"under way"


async def test_a_cancelled_restore_changes_nothing(chat, url, copy, cancelled_among_files):
    await filled(chat)
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        (later,) = await add(backend, "x0", "later")
        await cancelled_among_files(restore_store(url, copy, replace=True))
        assert later in await backend.list_messages("x0")
    assert [p.name for p in chat.iterdir() if "restoring" in p.name] == []


async def test_a_restore_killed_anywhere_leaves_the_old_chat_or_the_new_one(chat, url, copy, tmp_path):
    old_messages = await filled(chat, channels=1, messages=2)
    await backup_store(url, copy)
    new = await everything(chat)
    async with open_backend(url) as backend:
        await add(backend, "x0", "later", b"later file")
        await backend.delete_message("x0", old_messages[1].sid)
    late = await everything(chat)
    del new[old_messages[1].media.sid]
    (channel,) = (k for k in new if not isinstance(k, str))
    new[channel] = [m for m in new[channel] if m.sid != old_messages[1].sid]
    origin = tmp_path / "origin"
    shutil.copytree(chat, origin)
    total = await steps_of(RESTORE, chat, copy)
    ends = []
    for number in sorted({1, *range(2, total, max(1, total // 14)), total - 1}):
        shutil.rmtree(chat)
        shutil.copytree(origin, chat)
        assert await kill_at(number, RESTORE, chat, copy) == -signal.SIGKILL
        found = await everything(chat)
        ends.append(found == new)
        assert found in (late, new), number
        # Opened alone since: what the killed one left is gone.
        assert [p.name for p in chat.iterdir() if "restoring" in p.name] == []
        assert await problems(chat) == {}
        files = {p.name for p in (chat / "media").rglob("ME*")}
        assert files == {k for k in found if isinstance(k, str)}
    assert (ends[0], ends[-1]) == (False, True)


# Restore: in the place of a damaged chat


async def damaged(chat):
    (chat / DATABASE).write_bytes(b"x" * 8192)
    return tree(chat)


async def test_a_damaged_chat_is_moved_aside_and_kept(chat, url, copy, tmp_path, refused):
    await filled(chat)
    whole = await everything(chat)
    await backup_store(url, copy)
    before = await damaged(chat)
    with refused("store_exists"):
        await restore_store(url, copy)
    report = await restore_store(url, copy, replace=True)
    assert (report.replaced, Path(report.moved_to).parent) == ("damaged", tmp_path)
    assert tree(report.moved_to) == before
    assert await everything(chat) == whole
    assert len(list(tmp_path.iterdir())) == 3


async def test_a_chat_whose_database_is_gone_is_damaged(chat, url, copy):
    await filled(chat)
    await backup_store(url, copy)
    (chat / DATABASE).unlink()
    assert (await restore_store(url, copy, replace=True)).replaced == "damaged"


async def test_a_damaged_chat_is_not_moved_while_somebody_has_it_open(chat, url, copy, refused):
    await filled(chat)
    await backup_store(url, copy)
    async with open_backend(url):
        (chat / DATABASE).unlink()
        with refused("store_in_use"):
            await restore_store(url, copy, replace=True)
        assert (chat / "media").exists()


async def test_what_was_deleted_in_a_damaged_chat_stays_deleted(chat, url, copy):
    messages = await filled(chat)
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        await backend.delete_message("x0", messages[0].sid)
    whole = (chat / DATABASE).read_bytes()
    (chat / DATABASE).write_bytes(bytes(100) + whole[100:])
    await restore_store(url, copy, replace=True)
    assert messages[0].sid not in await _messages(chat)
    assert b"text 0 0" not in bytes_in(chat)


async def test_a_restore_over_damage_killed_anywhere_leaves_one_of_both_whole(chat, url, copy, tmp_path):
    await filled(chat, channels=1, messages=2)
    whole = await everything(chat)
    await backup_store(url, copy)
    wreck = await damaged(chat)
    origin = tmp_path / "origin"
    shutil.copytree(chat, origin)
    total = await steps_of(RESTORE, chat, copy)
    ends = []
    for number in sorted({1, *range(2, total, max(1, total // 8)), *range(total - 4, total + 1)}):
        for path in tmp_path.iterdir():
            if path not in (origin, copy):
                shutil.rmtree(path)
        shutil.copytree(origin, chat)
        assert await kill_at(number, RESTORE, chat, copy) == -signal.SIGKILL
        if (chat / DATABASE).read_bytes() == b"x" * 8192:
            assert tree(chat) == wreck
            ends.append("old")
        else:
            assert await everything(chat) == whole
            [kept] = [p for p in tmp_path.iterdir() if ".damaged-" in p.name]
            assert tree(kept) == wreck
            ends.append("new")
    assert (ends[0], ends[-1]) == ("old", "new")


# A disk that is full


class SmallDisk:
    """A real one in memory, of 1 MB."""

    def __init__(self, path):
        self.path = path

    def begin(self):
        """From here on it counts."""


class FeignedDisk(SmallDisk):
    """Where none can be mounted: what is written fails as it would on a full one."""

    def begin(self):
        real, left = os.write, 1_000_000

        def write(descriptor, data):
            nonlocal left
            left -= len(data)
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        self.patch.setattr(os, "write", write)


@pytest.fixture(params=["real", "feigned"])
def small(request, tmp_path, monkeypatch):
    """A disk with room for 1 MB."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = request.param == "real" and not subprocess.call(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", str(path)], stderr=subprocess.DEVNULL
    )
    disk = (SmallDisk if mounted else FeignedDisk)(path)
    disk.patch = monkeypatch
    yield disk
    if mounted:
        subprocess.check_call(["umount", "-l", str(path)])


async def test_a_disk_that_fills_up_during_a_backup_is_told_and_left_clean(chat, url, small, refused):
    async with open_backend(url) as backend:
        await backend.create_channel(creator="ada", unique_name="x0")
        await add(backend, "x0", *(os.urandom(300_000) for _ in range(5)))
        small.begin()
        with refused("store_full"):
            await backup_store(url, small.path / "copy")
    assert os.listdir(small.path) == []


async def test_a_disk_that_fills_up_during_a_restore_changes_nothing(chat, url, small, copy, refused):
    async with open_backend(url) as backend:
        await backend.create_channel(creator="ada", unique_name="x0")
        await add(backend, "x0", "first")
    target = small.path / "chat"
    await backup_store(url, copy)
    await restore_store(f"local:{target}", copy)
    before = await everything(target)
    async with open_backend(url) as backend:
        await add(backend, "x0", *(os.urandom(300_000) for _ in range(5)))
    await backup_store(url, copy.with_name("large"))
    small.begin()
    with refused("store_full"):
        await restore_store(f"local:{target}", copy.with_name("large"), replace=True)
    with refused("store_full"):
        await restore_store(f"local:{small.path / 'new'}", copy.with_name("large"))
    assert await everything(target) == before
    assert os.listdir(small.path) == ["chat"]
    assert await problems(target) == {}


# Who waits


async def test_who_opens_a_chat_that_somebody_keeps_to_themselves_is_told(chat, url, monkeypatch, refused):
    await filled(chat)
    monkeypatch.setattr(presence, "_WAIT_S", 0.0)
    with presence.keeping_out(str(chat)), refused("store_in_use") as caught:
        await LocalBackend(str(chat)).open()
    assert caught.value.retryable
    await problems(chat)


async def test_the_older_form_of_a_store_can_be_restored(chat, url, copy, tmp_path):
    """Without the tables that came later than the first stores."""
    await filled(chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        for statement in ("DROP TABLE setting", "DROP INDEX idempotency_by_message"):
            db.execute(statement)
    await backup_store(url, copy)
    async with open_backend(url) as backend:
        await add(backend, "x0", "later")
    await restore_store(url, copy, replace=True)
    await restore_store(f"local:{tmp_path / 'new'}", copy)
    assert await everything(tmp_path / "new") == await everything(chat)


def test_a_finding_names_no_text_and_no_name(chat):
    """Texts, file names and identities of the chat are in no finding, whatever is damaged."""

    async def run():
        messages = await filled(chat)
        for message in messages[1::2]:
            file_of(chat, message).unlink()
        return await check_store(f"local:{chat}", deep=True)

    told = re.sub(r"ME[0-9a-f]{32}", "", str(asyncio.run(run())))
    assert [word for word in ("a.bin", "ada", "carl", "text 0") if word in told] == []


def test_the_hash_of_a_copied_file_is_compared(chat):
    """A copy that reads other bytes than were stored is none, though the size is right."""

    async def run():
        files = [m for m in await filled(chat) if m.media is not None]
        path = file_of(chat, files[0])
        path.write_bytes(hashlib.sha256(path.read_bytes()).digest() * 1000)
        os.truncate(path, files[0].media.size_bytes)
        with pytest.raises(ActionError) as caught:
            await backup_store(f"local:{chat}", chat.with_name("copy"))
        return caught.value.details["media_sids"], files[0].media.sid

    named, sid = asyncio.run(run())
    assert named == [sid]


async def test_the_progress_of_a_backup_grows_within_a_file_and_ends_at_the_whole(chat, url, copy):
    async with open_backend(url) as backend:
        await backend.create_channel(creator="ada", unique_name="x0")
        await add(backend, "x0", bytes(5 << 20), b"small")
    told = []

    def note(*facts):
        told.append(facts)

    await backup_store(url, copy, on_progress=note)
    done = [done for what, done, _ in told if what == "files"]
    assert done == sorted(done)
    assert told[-1] == ("files", (5 << 20) + 5, (5 << 20) + 5)


# Hostile backups


def poisoned(copy, statement, *values):
    with contextlib.closing(sqlite3.connect(copy / DATABASE, isolation_level=None)) as db:
        db.execute(statement, values)


HOSTILE = {
    "a path for a file": (
        "UPDATE message SET media_sid = ? WHERE id = (SELECT max(id) FROM message WHERE media_sid IS NOT NULL)",
        "../../../evil.a",
    ),
    "a path for a channel": ("UPDATE channel SET sid = ? WHERE id = 1", "../../x"),
    "a trigger": ("CREATE TRIGGER t BEFORE UPDATE ON message BEGIN SELECT 1; END",),
    "a view": ("CREATE VIEW v AS SELECT * FROM message",),
    "a number without a successor": ("UPDATE sqlite_sequence SET seq = 9223372036854775807",),
}


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("there", ["nothing", "a chat", "a damaged chat"])
async def test_a_hostile_backup_is_refused_and_nothing_outside_is_touched(chat, tmp_path, refused, what, there):
    copy, outside = tmp_path / "copy", tmp_path / "evil.a"
    outside.write_bytes(b"precious")
    await filled(chat)
    await backup_store(f"local:{chat}", copy)
    poisoned(copy, *HOSTILE[what])
    target = chat
    if there == "nothing":
        target = tmp_path / "new"
    elif there == "a damaged chat":
        (chat / DATABASE).write_bytes(b"x" * 8192)
    before = tree(tmp_path)
    with refused("store_corrupt"):
        await restore_store(f"local:{target}", copy, replace=True)
    assert outside.read_bytes() == b"precious"
    assert {p for p in tree(tmp_path) if "chat/" not in str(p)} == {p for p in before if "chat/" not in str(p)}
    assert "database" in await problems(copy)


@pytest.mark.parametrize("there", ["nothing", "a damaged chat"])
async def test_no_link_given_earlier_opens_in_a_chat_that_was_built_from_a_backup(chat, tmp_path, refused, there):
    """It may have been revoked since, or its reader have left: a damaged chat cannot be asked."""
    copy = tmp_path / "copy"
    message = next(m for m in await filled(chat) if m.media is not None)
    async with open_backend(f"local:{chat}") as backend:
        link = await backend.temporary_link(message.media.sid, reader="ada")
    await backup_store(f"local:{chat}", copy)
    target = tmp_path / "new" if there == "nothing" else chat
    if there == "a damaged chat":
        (chat / DATABASE).write_bytes(b"x" * 8192)
    await restore_store(f"local:{target}", copy, replace=True)
    async with open_backend(f"local:{target}") as backend:
        with refused("link_invalid"):
            await backend.open_link(link.url)
        again = await backend.temporary_link(message.media.sid, reader="ada")
        assert (await backend.open_link(again.url))[0] == message.media


async def test_pipes_and_devices_in_the_folder_keep_nobody_waiting(chat, url, copy, refused):
    message = next(m for m in await filled(chat) if m.media is not None)
    await backup_store(url, copy)
    (copy / "lock").unlink(missing_ok=True)
    os.mkfifo(copy / "lock")
    file_of(copy, message).unlink()
    os.mkfifo(file_of(copy, message))
    async with asyncio.timeout(30):
        assert "files" in await problems(copy)
        with refused("media_corrupt"):
            await restore_store(url, copy, replace=True)
    assert await problems(chat) == {}
