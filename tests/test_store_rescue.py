"""What is rescued from a damaged chat: all that the damage leaves, in a copy that can only be read."""

import asyncio
import contextlib
import os
import random
import shutil
import sqlite3
import struct
import time

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import add, bytes_in, child, everything, file_of, filled, tree

from flex_actions import connect
from flex_actions.backends import open_backend, sql
from flex_actions.backends.local import DATABASE
from flex_actions.backends.upkeep import backup_store, check_store, rescue_store, restore_store, salvage
from flex_actions.errors import ActionError
from flex_actions.files import File
from flex_actions.ports import Draft, Key, KeyRecord

PAGE = 4096


@pytest.fixture
def chat(tmp_path):
    return tmp_path / "chat"


@pytest.fixture
def url(chat):
    return f"local:{chat}"


@pytest.fixture
def copy(tmp_path):
    return tmp_path / "copy"


@pytest.fixture(scope="module")
def intact(tmp_path_factory):
    """A closed store with some of everything, over many pages; and what is in it."""
    folder = tmp_path_factory.mktemp("intact") / "chat"

    async def make():
        await filled(folder, channels=4, messages=5)
        async with open_backend(f"local:{folder}") as backend:
            for i in range(40):
                await asyncio.gather(*(add(backend, f"x{j}", f"text {i} of {j} " * 20) for j in range(4)))
            long = (await add(backend, "x0", "long " * 5000, "deleted text"))[1]
            await backend.delete_message("x0", long.sid)
        return await everything(folder)

    return Intact((folder, asyncio.run(make())))


class Intact(tuple):
    """Told in a word: Hypothesis writes the arguments of an example that fails."""

    def __repr__(self):
        return "intact"


async def problems(folder):
    return [f for f in await check_store(f"local:{folder}", deep=True) if f.level == "problem"]


def messages_of(found):
    return {m.sid: m for messages in found.values() if isinstance(messages, list) for m in messages}


async def rescued(folder, copy):
    """The report, and all that is in the copy, which is sound; the damaged store is as before."""
    before = tree(folder)
    report = await rescue_store(f"local:{folder}", copy)
    assert tree(folder) == before
    assert await problems(copy) == []
    return report, await everything(copy)


def damage(folder, change):
    path = folder / DATABASE
    whole = bytearray(path.read_bytes())
    path.write_bytes(change(whole) or whole)


def is_subset(found, whole):
    """Whatever is there is as it was; a message whose file is lost says so."""
    known = messages_of(whole)
    for sid, message in messages_of(found).items():
        assert sid in known
        if "lostFile" not in message.attributes:
            assert (message.body, message.author, message.media, message.index, message.created_at) == (
                known[sid].body, known[sid].author, known[sid].media, known[sid].index, known[sid].created_at
            )  # fmt: skip
    return len(messages_of(found))


async def test_of_a_whole_chat_all_is_rescued(intact, copy):
    folder, whole = intact
    report, found = await rescued(folder, copy)
    assert found == whole
    assert (report.lost, report.unreadable_pages, report.stand_in_channels, report.new_secrets) == ({}, 0, 0, False)
    assert report.saved["message"] == len(messages_of(whole)) + 1  # the deleted one keeps its position
    assert report.saved["media"] == sum(isinstance(key, str) for key in whole)


@pytest.mark.parametrize("lost", ["its first 100 bytes", "its first page"])
async def test_without_its_header_all_of_a_chat_is_rescued(intact, chat, copy, lost):
    folder, whole = intact
    shutil.copytree(folder, chat)
    size = 100 if "100" in lost else PAGE
    damage(chat, lambda data: data.__setitem__(slice(0, size), bytes(size)))
    with pytest.raises(ActionError, match="store rescue"):
        await everything(chat)
    _, found = await rescued(chat, copy)
    assert found == whole


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), length=st.integers(1, 2 * PAGE), seed=st.integers(0, 10**6))
def test_whatever_page_is_overwritten_the_rest_is_rescued(intact, tmp_path_factory, place, length, seed):
    """From any place (in millionths), over any length: what does not lie there is in the copy, and nothing new."""
    folder, whole = intact
    whole_bytes = (folder / DATABASE).stat().st_size
    work = tmp_path_factory.mktemp("any")
    shutil.copytree(folder, work / "chat")

    def change(data):
        start = place * (len(data) - 1) // 10**6
        end = min(len(data), start + length)
        data[start:end] = random.Random(seed).randbytes(end - start)

    damage(work / "chat", change)

    async def run():
        report = await rescue_store(f"local:{work / 'chat'}", work / "copy")
        return report, await everything(work / "copy"), await problems(work / "copy")

    try:
        report, found, wrong = asyncio.run(run())
    except ActionError as error:
        if error.code != "store_version" or not 60 < place * (whole_bytes - 1) // 10**6 + length <= 64:
            raise
        return  # a format number that became another small one is that of a newer store
    known, there = messages_of(whole), messages_of(found)
    assert set(there) <= set(known)
    # At most three pages are hit: each holds up to 13 messages, or a part of the long one.
    # Where a channel's row and index are both hit, another one stands in for it.
    same = [sid for sid in there if attrs.evolve(there[sid], channel_sid=known[sid].channel_sid) == known[sid]]
    assert len(same) >= len(known) - 40
    assert (wrong, report.saved["channel"] >= 4) == ([], True)
    shutil.rmtree(work)


async def test_a_page_that_leads_to_many_takes_none_of_them_along(intact, chat, copy):
    folder, whole = intact
    shutil.copytree(folder, chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE)) as db:
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'message'").fetchall()
    assert (chat / DATABASE).read_bytes()[(root - 1) * PAGE] == 5  # an inner page of the table
    damage(chat, lambda data: data.__setitem__(slice((root - 1) * PAGE, root * PAGE), os.urandom(PAGE)))
    report, found = await rescued(chat, copy)
    assert (found, report.unreadable_pages) == (whole, 1)


@pytest.mark.parametrize("part", [0.6, 0.8, 0.95])
async def test_of_a_truncated_database_the_beginning_is_rescued(intact, chat, copy, part):
    folder, whole = intact
    shutil.copytree(folder, chat)
    damage(chat, lambda data: data[: int(len(data) * part)])
    report, found = await rescued(chat, copy)
    # The first pages are those of the schema, one for each table and index.
    assert is_subset(found, whole) > (part - 0.5) * len(messages_of(whole))
    assert report.unreadable_pages > 0
    assert report.saved["media"] + report.files_without_message == sum(isinstance(key, str) for key in whole)


@pytest.mark.parametrize("table", ["message", "event", "channel", "secret", "setting", "idempotency"])
async def test_a_missing_table_takes_no_other_along(intact, chat, copy, table):
    folder, whole = intact
    shutil.copytree(folder, chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema=ON")
        db.execute("DELETE FROM sqlite_schema WHERE tbl_name = ?", (table,))
    _, found = await rescued(chat, copy)
    # The pages are there still, only nothing leads to them.
    assert found == whole


async def test_messages_whose_channel_is_lost_are_kept_in_one_that_stands_in(chat, copy):
    await filled(chat)
    whole = await everything(chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE)) as db:
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'channel'").fetchall()
    damage(chat, lambda data: data.__setitem__(slice((root - 1) * PAGE, root * PAGE), os.urandom(PAGE)))
    report, found = await rescued(chat, copy)
    assert (report.stand_in_channels, messages_of(found)) == (3, messages_of(whole))
    names = {channel.unique_name for channel in found if not isinstance(channel, str)}
    sids = {channel.sid for channel in found if not isinstance(channel, str)}
    assert (names, sids) == ({None}, {channel.sid for channel in whole if not isinstance(channel, str)})


async def test_a_message_whose_file_is_lost_says_so_and_a_file_without_message_is_kept(chat, copy):
    files = [m for m in await filled(chat) if m.media is not None]
    gone, changed = files[0], files[1]
    file_of(chat, gone).unlink()
    file_of(chat, changed).write_bytes(b"other")
    orphan = f"ME{'a' * 32}"
    (chat / "media" / "a" / orphan).write_bytes(b"whose?")
    report, found = await rescued(chat, copy)
    assert (report.lost["media"], report.files_without_message) == (2, 2)
    assert (copy / "lost" / orphan).read_bytes() == b"whose?"
    assert (copy / "lost" / changed.media.sid).read_bytes() == b"other"
    message = messages_of(found)[gone.sid]
    assert (message.body, message.media) == ("[The file of this message is lost: a.bin]", None)
    assert message.attributes["lostFile"]["sha256"] == gone.media.sha256


async def test_lost_secrets_are_made_anew_and_keys_without_theirs_are_dropped(chat, copy, refused):
    messages = await filled(chat)
    async with open_backend(f"local:{chat}") as backend:
        link = await backend.temporary_link(messages[1].media.sid, reader="ada")
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        db.execute("DELETE FROM secret")
    report, _ = await rescued(chat, copy)
    assert (report.new_secrets, report.saved["idempotency"]) == (True, 0)
    async with open_backend(f"local:{copy}") as backend:
        with refused("link_invalid"):
            await backend.open_link(link.url)
        await backend.temporary_link(messages[1].media.sid, reader="ada")


# The log


async def killed_with_a_log(chat, body):
    """A store whose last changes are in the log alone."""
    process = await child(
        f"""
        async def main():
            async with open_backend(f"local:{{FOLDER}}") as b:
                {body}
                os.kill(os.getpid(), signal.SIGKILL)
        asyncio.run(main())
        """,
        chat, "",
    )  # fmt: skip
    await process.wait()
    assert (chat / f"{DATABASE}-wal").stat().st_size > 0


POSTS = "[await b.post('x0', Draft('ada', body=f'in the log {i} ' * 30)) for i in range(60)]"


async def test_what_is_in_the_log_alone_is_rescued(chat, copy):
    await filled(chat)
    await killed_with_a_log(chat, POSTS)
    _, found = await rescued(chat, copy)
    assert sum("in the log" in (m.body or "") for m in messages_of(found).values()) == 60


async def test_without_its_log_a_chat_is_rescued_as_it_was_before(chat, copy):
    await filled(chat)
    whole = messages_of(await everything(chat))
    await killed_with_a_log(chat, POSTS)
    (chat / f"{DATABASE}-wal").unlink()
    _, found = await rescued(chat, copy)
    assert set(messages_of(found)) <= set(whole)
    assert len(messages_of(found)) == len(whole)


@pytest.mark.parametrize("header", [False, True], ids=["in the middle", "its header too"])
async def test_garbage_in_the_log_takes_a_little_and_not_all_behind_it(chat, copy, header):
    await filled(chat)
    await killed_with_a_log(chat, POSTS)
    log = chat / f"{DATABASE}-wal"
    whole = bytearray(log.read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 5000] = os.urandom(5000)
    if header:
        whole[:32] = bytes(32)
    log.write_bytes(whole)
    report, found = await rescued(chat, copy)
    there = sum("in the log" in (m.body or "") for m in messages_of(found).values())
    assert 40 <= there <= 60
    assert report.unreadable_pages >= 1
    # SQLite itself would stop at the damage.
    assert there > await seen_by_sqlite(chat)


async def seen_by_sqlite(chat):
    other = chat.with_name("other")
    shutil.copytree(chat, other)
    try:
        with contextlib.closing(sqlite3.connect(other / DATABASE)) as db:
            return db.execute("SELECT count(*) FROM message WHERE body LIKE 'in the log%'").fetchall()[0][0]
    except sqlite3.Error:
        return 0


async def test_a_deletion_that_only_the_log_knows_is_honoured_behind_its_damage(chat, copy):
    messages = await filled(chat)
    await killed_with_a_log(chat, POSTS)
    frozen = chat.with_name("frozen")
    async with open_backend(f"local:{chat}") as backend:
        # With a reader at it, the log is not emptied by the deletion.
        with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM message").fetchall()
            await add(backend, "x0", *(f"later {i}" for i in range(50)))
            await backend.delete_message("x0", messages[0].sid)
            shutil.copytree(chat, frozen)
            reader.execute("COMMIT")
    log = frozen / f"{DATABASE}-wal"
    whole = bytearray(log.read_bytes())
    whole[32 + 24 + 50 : 32 + 24 + 90] = os.urandom(40)
    log.write_bytes(whole)
    _, found = await rescued(frozen, copy)
    assert messages[0].sid not in messages_of(found)
    assert b"text 0 0" not in bytes_in(copy)


# The copy


@pytest.fixture
async def read_only(chat, copy):
    await filled(chat)
    await rescue_store(f"local:{chat}", copy)
    return copy


async def test_a_rescued_copy_can_be_read_in_every_way(read_only):
    async with (
        open_backend(f"local:{read_only}") as backend,
        connect(backend, identity="carl", role="customer") as carl,
    ):
        sid = (await backend.get_channel("x0")).sid
        file = next(m for m in await carl.messages(sid) if m.media is not None)
        link = await carl.actions.invoke("DownloadMedia", {"message": file.sid, "channelSid": sid})
        assert (await backend.open_link(link.url))[0] == file.media
        async with contextlib.aclosing(carl.follow(sid)) as events, asyncio.timeout(30):
            kinds = [(await anext(events)).type for _ in range(4)]
        assert kinds[:2] == ["channel_created", "member_added"]
        assert (await backend.list_members("x0"))[1].identity == "carl"
        assert isinstance(await backend.settle("key 0"), KeyRecord)
        assert (await backend.post("x0", Draft("ada", body="keyed 0"), key=Key("key 0", "f" * 64))).repeated
        await backend.purge()


WRITING = {
    "create_channel": lambda b: b.create_channel(creator="ada"),
    "close_channel": lambda b: b.close_channel("x0"),
    "add_member": lambda b: b.add_member("x0", "zoe"),
    "remove_member": lambda b: b.remove_member("x0", "carl"),
    "post": lambda b: b.post("x0", Draft("ada", body="x")),
    "upload": lambda b: b.upload("x0", File.from_bytes(b"x", name="a.txt"), author="ada"),
    "signal_typing": lambda b: b.signal_typing("x0", "ada"),
    "save_public_url": lambda b: b.save_public_url("https://files.example"),
}


@pytest.mark.parametrize("call", WRITING)
async def test_a_rescued_copy_cannot_be_written(read_only, call, refused):
    async with open_backend(f"local:{read_only}") as backend:
        with refused("store_readonly") as caught:
            await WRITING[call](backend)
    assert "rescued copy: it can only be read" in caught.value.message
    assert "store restore" in caught.value.hint


async def test_no_message_of_a_rescued_copy_is_deleted(read_only, refused):
    async with open_backend(f"local:{read_only}") as backend:
        [message, *_] = await backend.list_messages("x0")
        with refused("store_readonly"):
            await backend.delete_message("x0", message.sid)
        assert await backend.find_message(message.sid) == message


async def test_a_session_of_a_rescued_copy_uploads_nothing_before_it_is_refused(read_only, refused):
    before = {p.name for p in read_only.rglob("ME*")}
    config = {"fileAttachment": {"acceptedExtensions": ["bin"]}}
    async with connect(f"local:{read_only}", identity="ada", config=config) as ada:
        sid = (await ada.channel("x0")).sid
        for action, payload in (
            ("SendMessage", {"body": "x"}),
            ("SendMediaMessage", {"file": File.from_bytes(b"x", name="a.bin")}),
            ("SendTyping", {}),
        ):
            with refused("store_readonly"):
                await ada.actions.invoke(action, {**payload, "channelSid": sid})
    assert {p.name for p in read_only.rglob("ME*")} == before


@pytest.mark.parametrize("there", ["nothing", "damaged"])
async def test_a_restore_makes_a_chat_of_a_rescued_copy(chat, url, read_only, there):
    whole = await everything(read_only)
    if there == "damaged":
        (chat / DATABASE).write_bytes(b"x" * 8192)
    else:
        shutil.rmtree(chat)
    await restore_store(url, read_only, replace=True)
    assert await everything(chat) == whole
    async with open_backend(url) as backend:
        [message] = await add(backend, "x0", "x")
        assert message.index == 9
        await backend.delete_message("x0", message.sid)


async def test_a_rescued_copy_that_is_open_can_be_written_once_a_backup_is_restored_into_it(read_only, tmp_path):
    async with open_backend(f"local:{read_only}") as backend:
        await backup_store(f"local:{read_only}", tmp_path / "again")
        await restore_store(f"local:{read_only}", tmp_path / "again", replace=True)
        await add(backend, "x0", "x", b"x")


async def test_numbers_go_on_behind_what_was_ever_given(chat, url, copy, tmp_path):
    await filled(chat)
    async with open_backend(url) as backend:
        cursor = await backend.last_cursor("x0")
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        db.execute("DELETE FROM event")
        db.execute("DELETE FROM sqlite_sequence")
    await rescue_store(url, copy)
    await restore_store(f"local:{tmp_path / 'new'}", copy)
    async with open_backend(f"local:{tmp_path / 'new'}") as backend:
        await add(backend, "x0", "x")
        assert int(await backend.last_cursor("x0")) > int(cursor)
        async with contextlib.aclosing(backend.events("x0", after=cursor)) as events, asyncio.timeout(30):
            assert (await anext(events)).message.body == "x"


# What is refused


async def test_nobody_may_use_the_chat_meanwhile(chat, url, copy, tmp_path, refused):
    await filled(chat)
    async with open_backend(url):
        with refused("store_in_use") as caught:
            await rescue_store(url, copy)
    assert "End what uses it" in caught.value.hint
    assert os.listdir(tmp_path) == ["chat"]


async def test_where_nothing_of_a_chat_can_be_read_no_copy_is_made(chat, url, copy, tmp_path, refused):
    chat.mkdir()
    (chat / DATABASE).write_bytes(random.Random(1).randbytes(50_000))
    with refused("store_corrupt") as caught:
        await rescue_store(url, copy)
    assert "Nothing of a chat can be read" in caught.value.message
    assert os.listdir(tmp_path) == ["chat"]


async def test_a_newer_store_is_not_rescued(chat, url, copy, refused):
    await filled(chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE)) as db:
        db.execute(f"PRAGMA user_version={sql.VERSION + 1}")
    with refused("store_version"):
        await rescue_store(url, copy)


async def test_a_missing_chat_or_a_place_that_is_taken(chat, url, copy, refused):
    with refused("store_missing"):
        await rescue_store(url, copy)
    await filled(chat)
    copy.mkdir()
    with refused("store_exists"):
        await rescue_store(url, copy)
    with refused("invalid_config"):
        await rescue_store(url, chat / "copy")
    with refused("invalid_config"):
        await rescue_store("memory:x", copy)


@pytest.mark.parametrize("size", [512, 1024, 8192, 65536])
async def test_pages_of_every_size_are_read(chat, copy, size):
    await filled(chat, channels=1)
    whole = await everything(chat)
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute(f"PRAGMA page_size={size}")
        db.execute("VACUUM")
    assert struct.unpack(">H", (chat / DATABASE).read_bytes()[16:18])[0] == size % 65536 or 1
    _, found = await rescued(chat, copy)
    assert found == whole


async def test_a_cancelled_rescue_leaves_nothing(chat, url, copy, tmp_path, monkeypatch):
    await filled(chat)
    before, real, loop = tree(chat), salvage.Salvage.rows, asyncio.get_running_loop()

    def rows(self):
        loop.call_soon_threadsafe(task.cancel)
        while not self._work.stopped:
            time.sleep(0)
        return real(self)

    monkeypatch.setattr(salvage.Salvage, "rows", rows)
    task = asyncio.ensure_future(rescue_store(url, copy))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (os.listdir(tmp_path), tree(chat)) == (["chat"], before)
