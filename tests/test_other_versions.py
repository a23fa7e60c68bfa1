"""Another process with another version of flex_actions has the same chat open: both go on, or are told one clear thing.

The other version is raw SQL in a process of its own, so that it can do what no code of ours does.
"""

import asyncio
import contextlib
import json
import sys

import pytest
from click.testing import CliRunner

from flex_actions import ActionError, File, connect, open_backend
from flex_actions.backends.local import DATABASE
from flex_actions.cli import main
from flex_actions.ports import Draft

# Connected all the while, as an open chat would be; a line of JSON is a statement, and is answered with its rows.
OTHER = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("PRAGMA foreign_keys=ON")
for line in sys.stdin:
    print(json.dumps(db.execute(*json.loads(line)).fetchall()), flush=True)
"""


@contextlib.asynccontextmanager
async def other_process(folder):
    """`await do(sql, *values)` has another process do it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER, str(folder / DATABASE)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )

    async def do(sql, *values):
        process.stdin.write(json.dumps([sql, values]).encode() + b"\n")
        async with asyncio.timeout(30):
            return json.loads(await process.stdout.readline())

    try:
        yield do
    finally:
        process.stdin.close()
        await process.wait()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "chat"


@pytest.fixture
async def channel(folder):
    """The sid of a channel with ada and cleo, in a chat that nobody has open any more."""
    async with open_backend(f"local:{folder}") as backend:
        found = await backend.create_channel(creator="ada", unique_name="support")
        await backend.add_member(found.sid, "cleo")
    return found.sid


async def main_job(ada, channel):
    """Everything that is usually done, once; how many messages it leaves."""
    before = len(await ada.messages(channel))
    sent = await ada.actions.invoke("SendMediaMessage", {"file": b"%PDF-", "channelSid": channel}, key=f"k{before}")
    await ada.actions.invoke("SendTyping", {"channelSid": channel})
    link = await ada.actions.invoke("DownloadMedia", {"message": sent.message_sid})
    async with contextlib.aclosing((await ada.backend.open_link(link.url))[1]) as content:
        assert b"".join([chunk async for chunk in content]) == b"%PDF-"
    said = await ada.actions.invoke("SendMessage", {"body": "gone soon", "channelSid": channel})
    await ada.actions.invoke("DeleteMessage", {"message": said.message_sid})
    await ada.add_member(channel, f"guest {before}")
    await ada.remove_member(channel, f"guest {before}")
    assert len(await ada.messages(channel)) == before + 1


async def events_of(session, channel, *, until):
    found = []
    async with asyncio.timeout(30), contextlib.aclosing(session.follow(channel)) as feed:
        async for event in feed:
            found.append(event)
            if until(event):
                return found


# What version 0.1 does for a message, statement by statement.
MESSAGE = (
    "INSERT INTO message (sid, channel, idx, author, body, attributes, created_at, deleted)"
    " SELECT ?, id, next_index, 'cleo', ?, '{}', 1.0, 0 FROM channel WHERE unique_name = 'support'"
)


async def test_a_version_from_before_the_settings_and_this_one_share_a_chat(folder, channel):
    async with other_process(folder) as do:
        await do("DROP TABLE setting")
        await do("DROP INDEX idempotency_by_message")
        await do(MESSAGE, "IM" + "a" * 32, "from the old one")
        async with connect(f"local:{folder}", identity="ada") as ada:
            await main_job(ada, channel)
            await do(MESSAGE, "IM" + "b" * 32, "and again")
            seen = await events_of(ada, channel, until=lambda e: e.message_sid == "IM" + "b" * 32)
            await main_job(ada, channel)
            bodies = [message.body for message in await ada.messages(channel)]
        assert [b for b in bodies if b] == ["from the old one", "and again"]
        assert seen[-1].message.body == "and again"
        assert await do("SELECT count(*) FROM message WHERE NOT deleted") == [[4]]


# What a later version of the same format may have done: everything that the old statements still fit.
NEWER = [
    "CREATE TABLE reaction (id INTEGER PRIMARY KEY, message TEXT NOT NULL, emoji TEXT NOT NULL)",
    "CREATE TABLE setting_of_channel (channel INTEGER REFERENCES channel (id), name TEXT)",
    *(
        f"ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT 'x'"
        for table in ("channel", "member", "message", "event", "idempotency", "secret", "setting")
    ),
    "CREATE INDEX message_by_author ON message (author)",
    "CREATE TRIGGER counted AFTER INSERT ON event BEGIN UPDATE channel SET later = 'y' WHERE id = new.channel; END",
    "INSERT INTO setting (name, value) VALUES ('aaa_retention', '30'), ('zzz', 'later')",
    "INSERT INTO secret (purpose, value) VALUES ('webhook', x'00')",
    "INSERT INTO event (channel, type, at, message_sid, identity)"
    " SELECT id, 'reaction_added', 2e9, 'IM1', 'cleo' FROM channel",
    "INSERT INTO event (channel, type, at) SELECT id, 'channel_renamed', 2e9 FROM channel",
]


async def test_what_a_later_version_of_the_same_format_adds_meanwhile_harms_nothing(folder, channel):
    async with connect(f"local:{folder}", identity="ada") as ada, other_process(folder) as do:
        await main_job(ada, channel)
        for statement in NEWER:
            await do(statement)
        await main_job(ada, channel)
        seen = await events_of(ada, channel, until=lambda e: e.type == "channel_renamed")
        assert [(e.type, e.identity, e.message) for e in seen[-2:]] == [
            ("reaction_added", "cleo", None),
            ("channel_renamed", None, None),
        ]
        assert await do("SELECT later FROM channel") == [["y"]]


async def test_what_a_later_version_of_the_same_format_has_added_harms_nothing(folder, channel):
    async with other_process(folder) as do:
        for statement in NEWER:
            await do(statement)
    for _ in range(2):
        async with connect(f"local:{folder}", identity="ada") as ada:
            await main_job(ada, channel)
            assert await ada.backend.public_url() is None
            assert await ada.backend.purge() == 0


async def test_events_of_a_kind_that_is_not_known_are_shown_with_their_word(folder, channel):
    async with other_process(folder) as do:
        for statement in NEWER:
            await do(statement)
    for options in ([], ["--json"]):
        command = [f"--chat=local:{folder}", *options, "follow", "support", "--as=ada", "--limit=5"]
        result = await asyncio.to_thread(CliRunner().invoke, main, command)
        assert (result.exit_code, result.stdout.count("\n")) == (0, 5)
        assert "reaction_added" in result.stdout
        assert "channel_renamed" in result.stdout


async def test_a_key_for_links_that_another_process_adds_leaves_those_given_before_good(folder, channel):
    async with connect(f"local:{folder}", identity="ada") as ada, other_process(folder) as do:
        sent = await ada.actions.invoke("SendMediaMessage", {"file": b"%PDF-", "channelSid": channel})
        link = await ada.actions.invoke("DownloadMedia", {"message": sent.message_sid})
        await do("INSERT INTO secret (purpose, value) SELECT 'link', randomblob(32)")
        media, _ = await ada.backend.open_link(link.url)
        assert media.name == "attachment.pdf"
        assert (await ada.actions.invoke("DownloadMedia", {"message": sent.message_sid})).sha256 == link.sha256


# A later format, while this version has the chat open.
LATER = {
    "only its number": [],
    "a column gone": ["ALTER TABLE message RENAME COLUMN body TO content"],
    "a table gone": ["ALTER TABLE member RENAME TO membership"],
}


@pytest.mark.parametrize("what", LATER)
async def test_a_chat_that_is_brought_to_a_later_format_meanwhile_is_not_written_and_not_called_damaged(
    folder, channel, what
):
    async with open_backend(f"local:{folder}") as backend, other_process(folder) as do:
        media = await backend.upload(channel, File.from_bytes(b"x", name="a.pdf"), author="ada")
        await do("PRAGMA user_version=2")
        for statement in LATER[what]:
            await do(statement)
        for draft in (Draft("ada", body="x"), Draft("ada", media=media)):
            with pytest.raises(ActionError) as caught:
                await backend.post(channel, draft)
            assert caught.value.code == "store_version"
        with contextlib.suppress(ActionError):
            assert await backend.list_messages(channel) == []
        assert await do("SELECT count(*) FROM message") == [[0]]


async def test_reading_what_a_later_format_has_moved_says_so(folder, channel):
    async with open_backend(f"local:{folder}") as backend, other_process(folder) as do:
        await do("PRAGMA user_version=2")
        await do("ALTER TABLE message RENAME COLUMN body TO content")
        with pytest.raises(ActionError) as caught:
            await backend.list_messages(channel)
    error = caught.value
    assert (error.code, error.details) == ("store_version", {"found": 2, "known": 1, "folder": str(folder)})


async def test_a_later_format_is_told_in_one_sentence_with_the_way_out(folder, channel):
    async with other_process(folder) as do:
        await do("PRAGMA user_version=7")
    result = await asyncio.to_thread(
        CliRunner().invoke, main, [f"--chat=local:{folder}", "messages", "support", "--as=ada"]
    )
    assert result.exit_code == 3
    assert result.stderr == (
        "Error (store_version): The store is of a newer version of flex_actions (format 7; this one knows format 1):"
        f" {str(folder)!r}. Upgrade flex_actions.\n"
    )
