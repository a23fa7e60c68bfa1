"""`doctor`: every kind of trouble is found and told with what to do, quickly, and nothing is changed by looking."""

import asyncio
import base64
import contextlib
import importlib.metadata
import io
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from canaries import canary, holds_canary
from click.testing import CliRunner

from flex_actions import plugin_loader
from flex_actions.backends import condition, glance, leftovers, open_backend, surroundings
from flex_actions.backends.condition import examine
from flex_actions.backends.local import DATABASE
from flex_actions.cli import main
from flex_actions.clock import ManualClock
from flex_actions.files import File
from flex_actions.ports import Draft

ROOT = Path(__file__).parent.parent
NOW = 1_700_000_000.0
DAY_S = 24 * 3600.0
NOBODY = 65534


@pytest.fixture
def folder(tmp_path):
    """The folder of a chat with some messages and files, closed."""
    path = tmp_path / "chat"
    asyncio.run(fill(path))
    return path


async def fill(path, *, start=NOW, messages=3):
    async with open_backend(f"local:{path}", clock=ManualClock(start)) as backend:
        channel = (await backend.create_channel(creator="ada")).sid
        for n in range(messages):
            await backend.post(channel, Draft("ada", body=f"text {n}"))
            media = await backend.upload(channel, File.from_bytes(b"hello", name="a.txt"), author="ada")
            await backend.post(channel, Draft("ada", media=media))


def look(path, *, now=NOW):
    return list(examine(str(path), now=now))


def told(path, subject, *, now=NOW):
    """The findings on a subject."""
    return [finding for finding in look(path, now=now) if finding.subject == subject]


def only(findings, level):
    """The one finding, which must be of this level and, unless all is well, say what to do."""
    [finding] = findings
    assert finding.level == level, finding
    assert finding.fact.endswith((".", ")")), finding
    assert (level == "ok") == (finding.advice is None), finding
    return finding


def state_of(path):
    return {p.relative_to(path): (p.stat().st_size, p.stat().st_mtime_ns) for p in [path, *path.rglob("*")]}


def edit(path, *statements):
    """Change a closed store behind the library's back."""
    with contextlib.closing(sqlite3.connect(path / DATABASE, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# -- where nothing is wrong --


def test_a_store_that_is_well(folder):
    wrong = [f for f in look(folder) if f.level == "problem" or (f.level == "note" and f.subject not in GROUND)]
    assert wrong == []
    assert {"store", "in use", "size", "format", "messages", "links", "link key", "clock", "purge"} <= {
        finding.subject for finding in look(folder)
    }


# What the machine of the tests may have.
GROUND = {"file system", "free space", "free files"}


def test_looking_changes_nothing(folder):
    before = state_of(folder)
    look(folder)
    assert state_of(folder) == before


async def test_a_store_in_use_is_looked_at_while_it_is_used(tmp_path):
    path = tmp_path / "chat"
    await fill(path)
    async with open_backend(f"local:{path}") as backend:
        [channel] = await backend.list_channels()
        for n in range(5):
            assert only(told(path, "in use"), "ok").details == {"open": 1, "markers": 1}
            assert only(told(path, "write lock"), "ok")
            assert only(told(path, "journal"), "ok").details["journal_mode"] == "wal"
            await backend.post(channel.sid, Draft("ada", body=str(n)))
        async with open_backend(f"local:{path}"):
            assert only(told(path, "in use"), "ok").details["markers"] == 2
    async with open_backend(f"local:{path}") as backend:
        assert [m.body for m in await backend.list_messages(channel.sid)][-5:] == list("01234")


async def test_looking_takes_no_lock_away_from_a_backend_of_the_same_process(tmp_path):
    """Another process that opens and closes the store must not take it for the last one and remove the log."""
    path = tmp_path / "chat"
    async with open_backend(f"local:{path}") as backend:
        channel = (await backend.create_channel(creator="ada")).sid
        look(path)
        code = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT 1 FROM channel'); db.close()"
        await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code, path / DATABASE], check=True)
        assert (path / (DATABASE + "-wal")).exists()
        await backend.post(channel, Draft("ada", body="behind"))
    async with open_backend(f"local:{path}") as backend:
        assert [m.body for m in await backend.list_messages(channel)] == ["behind"]


def test_a_store_made_before_there_were_settings(folder):
    edit(folder, "DROP TABLE setting")
    assert only(told(folder, "link key", now=NOW + 10), "ok").details["age_s"] == 10
    assert only(told(folder, "links"), "ok")


def test_only_a_part_of_a_large_store_is_looked_at(folder, monkeypatch):
    edit(
        folder,
        "DELETE FROM event",
        "WITH RECURSIVE n(i) AS (VALUES (9) UNION ALL SELECT i + 1 FROM n LIMIT 5000) INSERT INTO message"
        " (sid, channel, idx, deleted, author, body, attributes, created_at)"
        " SELECT 'IM' || i, 1, i, 0, 'ada', 'x', '{}', 0 FROM n",
    )
    for n in range(50):
        (folder / "media/0" / f"ME{n:031x}0").write_bytes(b"")
    monkeypatch.setattr(leftovers, "FILES", 20)
    assert only(told(folder, "messages"), "ok").details["messages"] == 1000
    assert only(told(folder, "leftovers"), "note").details["files"] == 20


# -- no store, or none of ours --


def test_no_store(tmp_path):
    assert "There is no chat in" in only(told(tmp_path / "none" / "deep", "store"), "problem").fact
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("x")
    assert "is no folder" in only(told(tmp_path / "file", "store"), "problem").fact


def test_an_empty_database(tmp_path):
    (tmp_path / DATABASE).write_bytes(b"")
    assert "There is no chat in" in only(told(tmp_path, "store"), "problem").fact


def test_a_newer_format(folder):
    edit(folder, "PRAGMA user_version=2")
    assert only(told(folder, "format"), "problem").advice == "Upgrade it: pip install --upgrade flex-actions"
    assert told(folder, "messages") == []


def test_a_database_of_another_program(folder):
    edit(folder, "PRAGMA application_id=7")
    assert "is no chat" in only(told(folder, "format"), "problem").fact


def test_tables_that_are_missing(folder):
    edit(folder, "DROP TABLE idempotency")
    assert "Tables are missing" in only(told(folder, "format"), "problem").fact


# -- damage --


def damage(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_database_that_is_none_any_more(folder):
    damage(folder / DATABASE, 0, b"rubbish" * 20)
    assert "The store is damaged" in told(folder, "store")[-1].fact
    assert told(folder, "store")[-1].level == "problem"


def test_a_database_that_was_cut_off(folder):
    os.truncate(folder / DATABASE, 8192)
    assert told(folder, "store")[-1].details == {"code": "store_corrupt"}


def test_a_table_that_is_damaged(folder):
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db:
        [(page,)] = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'message'").fetchall()
    damage(folder / DATABASE, (page - 1) * 4096, b"\xff" * 4096)
    finding = only(told(folder, "messages"), "problem")
    assert ("damaged" in finding.fact, "flex-actions store check" in finding.advice) == (True, True)
    assert only(told(folder, "clock"), "ok")


@pytest.mark.parametrize("how", ["missing", "cut off"])
def test_a_file_that_is_damaged_points_to_the_thorough_check(folder, how):
    file = next((folder / "media").glob("*/ME*"))
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes(b"hell")
    finding = only(told(folder, "messages"), "problem")
    assert (finding.details["wrong_files"], "flex-actions store check" in finding.advice) == (1, True)


def test_secrets_that_are_missing(folder):
    edit(folder, "DELETE FROM secret WHERE purpose = 'link'")
    assert "secrets are missing" in only(told(folder, "link key"), "problem").fact


# -- others who use it --


def test_a_writer_that_hangs(folder, monkeypatch):
    monkeypatch.setattr(condition, "_WAIT_S", 0.05)
    with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert "nothing can be sent meanwhile" in only(told(folder, "write lock"), "problem").fact
        db.execute("ROLLBACK")
        assert only(told(folder, "write lock"), "ok")


def test_a_reader_that_hangs_makes_the_log_grow(folder, monkeypatch):
    monkeypatch.setattr(condition, "WAL_NOTE_BYTES", 500_000)

    async def grow():
        async with open_backend(f"local:{folder}") as backend:
            with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as db:
                db.execute("BEGIN")
                db.execute("SELECT * FROM message").fetchall()
                [channel] = await backend.list_channels()
                await backend.post(channel.sid, Draft("ada", body="x" * 600_000))
                return only(told(folder, "size"), "note")

    assert "A process that reads without end" in asyncio.run(grow()).advice


def test_another_mode_of_the_journal(folder):
    edit(folder, "PRAGMA journal_mode=DELETE")
    with contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE setting SET since = 1")
        assert only(told(folder, "journal"), "note").details["journal_mode"] == "delete"


KILLED = """
import asyncio, os, signal, sys
from flex_actions import open_backend, File

async def main(folder):
    async with open_backend("local:" + folder) as backend:
        [channel] = await backend.list_channels()
        await backend.upload(channel.sid, File.from_bytes(b"lost", name="a.txt"), author="ada")
        open(os.path.join(folder, "incoming", "ME" + 32 * "0" + ".part"), "wb").close()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture
def after_a_kill(folder):
    done = subprocess.run([sys.executable, "-c", KILLED, folder], env={"PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -9
    return folder


def test_a_process_that_was_killed(after_a_kill):
    assert only(told(after_a_kill, "in use"), "note").details == {"open": 0, "markers": 1}
    parts, orphans = told(after_a_kill, "leftovers")
    assert (parts.details, orphans.details) == ({"parts": 1}, {"files": 4, "orphans": 1})


def test_what_a_kill_leaves_is_looked_at_and_left(after_a_kill):
    before = {name: facts for name, facts in state_of(after_a_kill).items() if name.is_file() or name.name != "."}
    look(after_a_kill)
    after = state_of(after_a_kill)
    assert {name for name, facts in before.items() if after[name][0] != facts[0]} == set()
    assert {name.name for name in after.keys() - before.keys()} <= {DATABASE + "-shm"}


def test_the_next_opening_mends_what_a_kill_has_left(after_a_kill):
    async def open_once():
        async with open_backend(f"local:{after_a_kill}", clock=ManualClock(NOW)):
            pass

    asyncio.run(open_once())
    assert told(after_a_kill, "leftovers") == []
    assert only(told(after_a_kill, "in use"), "ok")


def test_a_killed_one_beside_others_who_use_it(after_a_kill, monkeypatch):
    async def beside():
        async with open_backend(f"local:{after_a_kill}"):
            (after_a_kill / "open" / "0123456789abcdef").touch()
            # Not every file system's locks are on the system's list.
            monkeypatch.setattr(leftovers, "_listed", lambda _: 1)
            return only(told(after_a_kill, "in use"), "note")

    assert "1 more began and never closed it" in asyncio.run(beside()).fact


async def test_an_upload_under_way_is_no_leftover(tmp_path):
    path = tmp_path / "chat"
    async with open_backend(f"local:{path}") as backend:
        channel = (await backend.create_channel(creator="ada")).sid
        await backend.upload(channel, File.from_bytes(b"soon", name="a.txt"), author="ada")
        (path / "incoming" / ("ME" + 32 * "0" + ".part")).touch()
        assert (
            told(
                path,
                "leftovers",
            )
            == []
            == [f for f in look(path, now=time.time()) if f.subject == "leftovers"]
        )
        later = [f.subject for f in look(path, now=time.time() + 2 * 3600)]
        assert later.count("leftovers") == 2


def test_leftovers_beside_the_folder(folder):
    for name in ("chat.damaged-1", "chat.damaged-2", "backup.partial-3"):
        (folder.parent / name).mkdir()
    partial, damaged = told(folder, "leftovers")
    assert (partial.details["count"], damaged.details["count"], damaged.details["of_this"]) == (1, 2, 2)


@pytest.mark.parametrize("known", ["by the list of locks", "by trying"])
async def test_whoever_has_it_open_is_known(tmp_path, monkeypatch, known):
    if known == "by trying":
        monkeypatch.setattr(leftovers, "_LOCKS", str(tmp_path / "none"))
    async with open_backend(f"local:{tmp_path}/chat"):
        found = leftovers.users(str(tmp_path / "chat"))
        assert (found.count, found.markers) == (1, 1)
        assert leftovers.in_use(found).level == "ok"
    assert leftovers.users(str(tmp_path / "chat")) == leftovers.Users(0, 0)


def test_where_locks_cannot_be_seen_it_says_so(folder, monkeypatch):
    monkeypatch.setattr(leftovers, "fcntl", None)
    assert "cannot be found out" in only(told(folder, "in use"), "ok").fact


# -- what it stands on --


def mounted(path, *options):
    """Whether something could be mounted."""
    return not subprocess.call(["mount", *options, str(path)], stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def small_disk(path, monkeypatch, options):
    """A real one in memory; where none can be mounted, one that is said to be."""
    real = mounted(path, "-t", "tmpfs", "-o", options, "tmpfs")
    if not real:
        size, files = (4_000_000, 30) if "nr_inodes" in options else (4_000_000, 9_000_000)
        said = os.statvfs_result((4096, 4096, size // 4096, size // 4096, size // 4096, files, files, files, 0, 255))
        monkeypatch.setattr(surroundings.os, "statvfs", lambda _: said)
        monkeypatch.setattr(surroundings, "_mount_of", lambda *_: ("tmpfs", False))
    try:
        yield
    finally:
        if real:
            subprocess.check_call(["umount", "-l", str(path)])


@pytest.mark.parametrize(
    ("options", "subject", "level"),
    [
        ("size=4m", "free space", "problem"),
        ("size=4m,nr_inodes=60", "free files", "problem"),
        ("size=4m", "file system", "note"),
    ],
)
def test_a_disk_that_is_full_or_in_memory(tmp_path, monkeypatch, options, subject, level):
    with small_disk(tmp_path, monkeypatch, options):
        asyncio.run(fill(tmp_path / "chat"))
        assert only(told(tmp_path / "chat", subject), level)


def disk_with(free, total, free_files=10**6, files=10**6):
    return os.statvfs_result(
        (4096, 1000, total // 1000, free // 1000, free // 1000, files, free_files, free_files, 0, 255)
    )


@pytest.mark.parametrize(
    ("disk", "subject", "level"),
    [
        (disk_with(1_000_000_000, 10_000_000_000), "free space", "ok"),
        (disk_with(999_000_000, 10_000_000_000), "free space", "note"),
        (disk_with(49_000_000_000, 1_000_000_000_000), "free space", "note"),
        (disk_with(100_000_000, 1_000_000_000), "free space", "note"),
        (disk_with(99_000_000, 1_000_000_000), "free space", "problem"),
        (disk_with(10**10, 10**10, 50_000, 10**6), "free files", "ok"),
        (disk_with(10**10, 10**10, 49_999, 10**6), "free files", "note"),
        (disk_with(10**10, 10**10, 999, 1000), "free files", "problem"),
    ],
)
def test_the_limits_of_free_space(monkeypatch, disk, subject, level):
    monkeypatch.setattr(surroundings.os, "statvfs", lambda _: disk)
    only([f for f in surroundings.room("/") if f.subject == subject], level)


MOUNTS = r"""21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:40 / /srv rw - nfs4 server:/srv rw,vers=4.2
31 30 8:2 / /srv/local rw - xfs /dev/sdb rw
32 21 0:41 / /mnt/with\040space rw master:1 - cifs //server/share rw
33 21 0:42 / /home rw - fuse.sshfs user@host: rw
34 21 0:43 / /blk rw - fuseblk /dev/sdc rw
35 21 0:44 / /cd ro - ext4 /dev/sdd rw
36 21 0:45 / /sb rw - ext4 /dev/sde ro
37 21 0:46 / /run rw - tmpfs tmpfs rw
38 37 0:47 / /run rw - 9p host rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "level"),
    [
        ("/var/chat", "ext4", "ok"),
        ("/srv/chat", "nfs4", "problem"),
        ("/srv", "nfs4", "problem"),
        ("/srvs", "ext4", "ok"),
        ("/srv/local/chat", "xfs", "ok"),
        ("/mnt/with space/chat", "cifs", "problem"),
        ("/home/ada/chat", "fuse.sshfs", "problem"),
        ("/blk/chat", "fuseblk", "ok"),
        ("/cd/chat", "ext4", "problem"),
        ("/sb/chat", "ext4", "problem"),
        ("/run/chat", "9p", "problem"),
    ],
)
def test_file_systems(tmp_path, monkeypatch, path, kind, level):
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(surroundings.os.path, "realpath", lambda path: path)
    finding = only([surroundings.file_system(path, mounts=str(tmp_path / "mounts"))], level)
    assert finding.details["kind"] == kind


def test_a_file_system_that_cannot_be_found_out(tmp_path):
    assert only([surroundings.file_system("/", mounts=str(tmp_path / "none"))], "ok")


@contextlib.contextmanager
def somebody_else():
    """Be another user, if that is possible; whether it was."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield root
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_to_all(tmp_path):
    """Anybody may pass through the folders above, for the time of the test."""
    shut = [
        p for p in (tmp_path, *tmp_path.parents) if p.stat().st_uid == os.geteuid() and not p.stat().st_mode & 0o001
    ]
    modes = {path: path.stat().st_mode for path in shut}
    for path, mode in modes.items():
        path.chmod(mode | 0o011)
    yield
    for path, mode in modes.items():
        path.chmod(mode)


@pytest.mark.usefixtures("open_to_all")
def test_a_folder_that_this_user_may_not_look_into(folder):
    if os.geteuid():
        folder.chmod(0)
    with somebody_else():
        findings = look(folder)
    folder.chmod(0o700)
    permissions = only([f for f in findings if f.subject == "permissions"], "problem")
    assert permissions.details["unwritable"] == ["."]
    assert [f.details.get("code") for f in findings if f.subject == "store"] == ["store_readonly"]


@pytest.mark.usefixtures("open_to_all")
def test_a_database_that_this_user_may_only_read(folder):
    folder.chmod(0o777)
    (folder / DATABASE).chmod(0o444)
    with somebody_else() as changed:
        findings = look(folder)
    (folder / DATABASE).chmod(0o600)
    folder.chmod(0o700)
    assert only([f for f in findings if f.subject == "format"], "ok")
    if changed:  # nothing is forbidden to its owner if that is root
        assert DATABASE in only([f for f in findings if f.subject == "permissions"], "problem").details["unwritable"]
        assert only([f for f in findings if f.subject == "owner"], "note").details == {"owner": 0, "user": NOBODY}


def test_a_chat_that_others_may_look_into(folder):
    assert told(folder, "privacy") == []
    (folder / DATABASE).chmod(0o644)
    assert only(told(folder, "privacy"), "note")


def test_a_disk_that_is_mounted_read_only(folder, monkeypatch):
    path = folder.parent
    real = mounted(path, "--bind", str(path))
    if real:
        subprocess.check_call(["mount", "-o", "remount,ro,bind", str(path)])
    else:
        monkeypatch.setattr(surroundings, "_mount_of", lambda *_: ("ext4", True))
        monkeypatch.setattr(surroundings, "_may", lambda _: False)
    try:
        assert only(told(folder, "file system"), "problem").details["read_only"]
        assert only(told(folder, "permissions"), "problem")
        assert only(told(folder, "messages"), "ok")
    finally:
        if real:
            subprocess.check_call(["umount", "-l", str(path)])


# -- what stands in it --


def test_events_in_the_future(folder):
    assert only(told(folder, "clock", now=NOW - 60), "ok")
    assert "ahead" in only(told(folder, "clock", now=NOW - 61), "problem").fact


def test_a_purge_that_is_overdue(folder):
    assert only(told(folder, "purge", now=NOW + 7 * DAY_S), "ok")
    assert "channel list" in only(told(folder, "purge", now=NOW + 7 * DAY_S + 1), "note").advice


async def test_a_purge_that_fails_while_it_is_in_use(tmp_path):
    path = tmp_path / "chat"
    async with open_backend(f"local:{path}", clock=ManualClock(NOW)) as backend:
        await backend.create_channel(creator="ada")
        assert only(told(path, "purge", now=NOW + 7 * DAY_S + 7200), "ok")
        assert only(told(path, "purge", now=NOW + 7 * DAY_S + 7201), "problem")


async def test_a_key_that_is_older_than_a_year(tmp_path):
    path, clock = tmp_path / "chat", ManualClock(NOW)
    async with open_backend(f"local:{path}", clock=clock) as backend:
        assert only(told(path, "link key", now=NOW + 365 * DAY_S), "ok")
        assert "store rotate-keys" in only(told(path, "link key", now=NOW + 365 * DAY_S + 1), "note").advice
        clock.advance(366 * DAY_S)
        await backend.rotate_keys()
        finding = only(told(path, "link key", now=clock.now()), "ok")
        assert finding.details == {"age_s": 0.0, "older_keys": 1}


async def test_a_lease_at_which_nobody_answers(tmp_path):
    path = tmp_path / "chat"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with open_backend(f"local:{path}", clock=ManualClock(NOW)) as backend:
            await backend.lease_address(url, life_s=30)
            assert "somebody answers" in only(told(path, "links"), "ok").fact
            listening.close()
            assert "nobody answers" in only(told(path, "links"), "note").fact
            assert "flex-media:" in only(told(path, "links", now=NOW + 30), "ok").fact


async def test_a_public_url_of_elsewhere_is_not_tried(tmp_path, monkeypatch):
    monkeypatch.setattr(leftovers.socket, "create_connection", None)
    async with open_backend(f"local:{tmp_path}/chat") as backend:
        await backend.save_public_url("https://files.example")
        finding = only(told(tmp_path / "chat", "links"), "ok")
    assert finding.details == {"begin": "https://files.example", "is_public": True}


def test_a_rescued_copy(folder):
    edit(folder, "INSERT INTO setting (name, value) VALUES ('read_only', 'rescued')")
    assert only(told(folder, "copy"), "note")


# -- whatever happens --

LOOKS = [
    *[(surroundings, name) for name in ("file_system", "room", "permissions", "ownership")],
    *[(leftovers, name) for name in ("users", "parts", "orphans", "neighbours", "address")],
    *[(glance, name) for name in ("open_to_read", "store_format", "sample", "clock", "purge", "link_keys", "rescued")],
]


@pytest.mark.parametrize("error", [RuntimeError, OSError, sqlite3.OperationalError, SystemExit])
@pytest.mark.parametrize(("module", "name"), LOOKS, ids=lambda x: x if isinstance(x, str) else "")
def test_what_cannot_be_examined_is_a_finding(folder, monkeypatch, module, name, error):
    def fail(*_, **__):
        raise error(canary("error"))

    before = [f for f in look(folder) if f.level == "problem"]
    monkeypatch.setattr(module, name, fail)
    problems = [f for f in look(folder) if f.level == "problem" and f not in before]
    assert len(problems) == 1
    assert not holds_canary(str(problems))


def test_findings_hold_nothing_of_what_people_wrote(tmp_path):
    async def fill_in():
        async with open_backend(f"local:{tmp_path}/chat", clock=ManualClock(NOW + DAY_S)) as backend:
            channel = await backend.create_channel(creator=canary("identity"), unique_name=canary("name"))
            file = File.from_bytes(canary("content").encode(), name=canary("file") + ".txt")
            media = await backend.upload(channel.sid, file, author=canary("identity"))
            await backend.post(channel.sid, Draft(canary("identity"), media=media))
            draft = Draft(canary("identity"), body=canary("text"), attributes={canary("k"): 1})
            await backend.post(channel.sid, draft)
            await backend.temporary_link(media.sid, reader=canary("identity"))

    asyncio.run(fill_in())
    secrets = []
    with contextlib.closing(sqlite3.connect(tmp_path / "chat" / DATABASE)) as db:
        secrets = [value for (value,) in db.execute("SELECT value FROM secret")]
    next((tmp_path / "chat/media").glob("*/ME*")).unlink()
    found = str(look(tmp_path / "chat"))
    assert not holds_canary(found)
    assert not any(form in found for s in secrets for form in (repr(s)[2:-1], s.hex(), base64.b64encode(s).decode()))


# -- the command --


@pytest.fixture
def cli(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    for name in [n for n in os.environ if n.startswith("FLEX_ACTIONS_")]:
        monkeypatch.delenv(name)
    # The machine of the tests may be short of something.
    monkeypatch.setattr(surroundings, "room", lambda _: [])
    monkeypatch.setattr(surroundings, "_mount_of", lambda *_: ("ext4", False))

    def run(*args, code=0):
        result = CliRunner().invoke(main, ["doctor", "--chat", "local:chat", *args], catch_exceptions=False)
        assert (result.exit_code, result.output) == (code, result.output)
        return result

    return run


def on(result, subject):
    """Lines on a subject, of the table and of the advice."""
    return [line for line in result.stdout.splitlines() if f"  {subject} " in line or line.startswith(f"{subject}:")]


def test_it_prints_a_line_a_finding_and_then_what_to_do(cli, folder):
    edit(folder, "PRAGMA user_version=2")
    (folder / DATABASE).chmod(0o644)
    result = cli(code=3)
    table, _, advice = result.stdout.partition("\n\n")
    columns = {line.index(line.split(maxsplit=1)[1]) for line in table.splitlines()}
    assert (columns, {line.split()[0] for line in table.splitlines()}) == ({9}, {"ok", "note", "problem"})
    assert "problem  format" in table
    assert "\nformat: Upgrade it: pip install --upgrade flex-actions\n" in f"\n{advice}"
    assert result.stderr.startswith("1 problem, ")


def test_without_a_problem_it_ends_with_0(cli):
    assert cli().stderr.startswith("No problems, ")


def test_json_is_one_object_a_finding(cli, folder):
    edit(folder, "PRAGMA user_version=2")
    findings = [json.loads(line) for line in cli("--json", code=3).stdout.splitlines()]
    assert all(list(f) == ["level", "subject", "fact", "advice", "details"] for f in findings)
    assert [f["details"] for f in findings if f["subject"] == "format"] == [{"found": 2, "known": 1}]


def test_it_makes_no_chat(cli, tmp_path):
    result = cli("--chat", "local:nowhere", code=3)
    assert "flex-actions channel create makes one" in result.stdout
    assert not (tmp_path / "nowhere").exists()


def test_a_chat_in_memory(cli):
    assert "nothing to look at" in on(cli("--chat", "memory:"), "chat")[0]


def test_a_chat_of_an_unknown_kind(cli):
    assert on(cli("--chat", "locall:x", code=3), "chat") == [
        "problem  chat         There is no backend 'locall'.",
        "chat: Did you mean 'local'?",
    ]


def test_a_chat_of_somebody_elses(cli, monkeypatch):
    class Theirs:
        def __init__(self, *_, **__):
            pass

    monkeypatch.setattr("flex_actions.backends._class_of", lambda scheme: Theirs)
    assert "was not looked at" in on(cli("--chat", "theirs:x"), "chat")[0]


@pytest.mark.parametrize(
    ("args", "fact", "advice"),
    [
        (["--config", '{"fileAtachment": {}}'], "config has no key 'fileAtachment'", "fileAttachment"),
        (["--config", '{"customer": {"fileAttachment": {"maxFileSize": 0}}}'], "maxFileSize", None),
        (
            ["--config", '{"plugins": {"limits": {}}}'],
            "settings for plugins that no --plugin names: limits",
            "Load them",
        ),
    ],
)
def test_a_configuration_that_would_be_refused(cli, args, fact, advice):
    lines = on(cli(*args, code=3), "config")
    assert lines[0].startswith("problem")
    assert fact in lines[0]
    assert advice is None or advice in lines[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import no_such_module_at_all", "no_such_module_at_all"),
        ("x = 1", "It must define setup(plugin)"),
        ("def setup(", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
    ],
)
def test_a_plugin_that_is_broken(cli, tmp_path, text, told):
    (tmp_path / "broken.py").write_text(text)
    (tmp_path / "well.py").write_text("def setup(plugin): ...")
    lines = on(cli("--plugin", "broken.py", "--plugin", "well.py", code=3), "plugin")
    assert lines[0].startswith("problem")
    assert told in "".join(lines)
    assert "well can be loaded." in lines[1]


def test_plugins_that_nobody_asked_for_are_not_loaded(cli):
    before = set(sys.modules)
    assert "refuse_executables" in on(cli(), "plugins")[-1]
    assert {m for m in set(sys.modules) - before if m.startswith("flex_actions_plugins")} == set()


def test_two_plugins_of_one_name(cli, monkeypatch):
    [point] = plugin_loader.installed_plugins()["refuse_executables"]
    monkeypatch.setattr("flex_actions.cli.doctor.installed_plugins", lambda: {"same": [point, point]})
    assert on(cli(), "plugins")[0].startswith("note")


def test_a_misspelt_variable(cli, monkeypatch):
    monkeypatch.setenv("FLEX_ACTIONS_PLUGIN", "x")
    monkeypatch.setenv("FLEX_ACTIONS_LOG_FORMAT", "json")
    lines = on(cli(), "environment")
    assert lines[0].startswith("note     environment  FLEX_ACTIONS_PLUGIN is set, but means nothing.")
    assert "Counting: FLEX_ACTIONS_LOG_FORMAT." in lines[1]
    assert "Did you mean 'FLEX_ACTIONS_PLUGINS'?" in lines[2]


def test_a_public_url_of_the_environment_that_is_none(cli, monkeypatch):
    monkeypatch.setenv("FLEX_ACTIONS_PUBLIC_URL", "http://files.example")
    assert on(cli(code=3), "environment")[0].startswith("problem")


@pytest.mark.parametrize(
    ("package", "level", "advice", "code"),
    [
        ("rich", "note", "pip install 'flex-actions[progress]'", 0),
        ("uvicorn", "note", "pip install 'flex-actions[server]'", 0),
        ("attrs", "problem", "pip install --upgrade flex-actions", 3),
    ],
)
def test_a_package_that_is_missing(  # noqa: PLR0917 - pytest gives them all by name
    cli, monkeypatch, package, level, advice, code
):
    true_version = importlib.metadata.version

    def version(name):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return true_version(name)

    monkeypatch.setattr("flex_actions.cli.doctor.importlib.metadata.version", version)
    lines = on(cli(code=code), "versions")
    assert lines[1].startswith(level)
    assert (package in lines[1], advice in lines[2]) == (True, True)


class Terminal(io.TextIOWrapper):
    def isatty(self):
        return True


@pytest.mark.parametrize(("no_colour", "coloured"), [(None, True), ("1", False)])
def test_it_is_in_colour_on_a_terminal(cli, monkeypatch, no_colour, coloured):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("TERM", raising=False)
    if no_colour:
        monkeypatch.setenv("NO_COLOR", no_colour)
    terminal = Terminal(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", terminal)
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--chat", "local:chat"])
    monkeypatch.undo()
    terminal.flush()
    assert (ended.value.code, b"\x1b[32mok" in terminal.buffer.getvalue()) == (0, coloured)
