"""Bad input: one clear error each, with the right code; nothing changed, nothing left behind."""

import asyncio
import os
import sqlite3
from pathlib import Path

import pytest

from flex_actions import ActionError, File, connect, open_backend
from flex_actions.clock import CountingIds, ManualClock

LIMIT = 1000
CONFIG = {"fileAttachment": {"maxFileSize": LIMIT, "acceptedExtensions": ["pdf", "txt", "tar.gz"]}}
EMPTY, TEXT, FILE = "EMPTY", "TEXT", "FILE"


class Scene:
    """A session in a channel, and what must be unchanged after a refusal."""

    def __init__(self, session, channel, folder, clock):
        self.session, self.channel, self.folder, self.clock = session, channel, folder, clock

    def invoke(self, action, **payload):
        return self.session.actions.invoke(action, {"channelSid": self.channel, **payload})

    def stored(self):
        """How many files the chat's store holds, visible or not."""
        if self.folder is None:
            return len(self.session.backend._shared.content)
        return sum(p.is_file() for kind in ("media", "incoming") for p in (self.folder / kind).rglob("*"))

    async def look(self):
        return self.session.input(self.channel).state, await self.session.messages(self.channel), self.stored()

    async def fill(self, kind):
        """Bring the input into a state."""
        if kind == TEXT:
            await self.invoke("SetInputText", body="draft")
        elif kind == FILE:
            await self.invoke("AttachFile", file=pdf("attached.pdf"))

    async def refuses(self, code, action, **payload):
        """The error of an invocation that changes nothing."""
        before = await self.look()
        with pytest.raises(ActionError) as caught:
            await self.invoke(action, **payload)
        assert (caught.value.code, caught.value.action) == (code, action)
        assert await self.look() == before
        assert self.session.actions.find_pending() == []
        return caught.value


@pytest.fixture(params=["memory", "local"])
async def scene(request, tmp_path):
    folder = tmp_path / "chat" if request.param == "local" else None
    url = f"local:{folder}" if folder else "memory:"
    clock = ManualClock()
    async with connect(url, identity="ada", config=CONFIG, clock=clock, ids=CountingIds()) as session:
        channel = await session.create_channel("here")
        yield Scene(session, channel.sid, folder, clock)


def pdf(name="a.pdf", data=b"%PDF", **more):
    return File.from_bytes(data, name=name, **more)


def stream(*pieces, size, name="a.pdf"):
    async def give():
        for piece in pieces:
            yield piece

    return File.from_stream(give, name=name, size_bytes=size)


both = pytest.mark.parametrize("action", ["AttachFile", "SendMediaMessage"])
from_anything = pytest.mark.parametrize("kind", [EMPTY, TEXT, FILE])


# Files that cannot be read


@both
async def test_no_such_file(scene, tmp_path, action):
    error = await scene.refuses("file_unreadable", action, file=tmp_path / "missing.pdf")
    assert "No such file" in error.message


@both
async def test_a_folder(scene, tmp_path, action):
    error = await scene.refuses("file_unreadable", action, file=tmp_path)
    assert "is a folder" in error.message


@both
async def test_an_unreadable_file(scene, tmp_path, action, monkeypatch):
    path = tmp_path / "secret.pdf"
    path.write_bytes(b"%PDF")
    real = os.open

    def denies(where, *arguments, **options):
        if str(where) == str(path):
            raise PermissionError(13, "Permission denied")
        return real(where, *arguments, **options)

    monkeypatch.setattr(os, "open", denies)  # tests may run as root, whom no mode keeps out
    error = await scene.refuses("file_unreadable", action, file=path)
    assert "Permission denied" in error.message


@both
@pytest.mark.parametrize("file", ["", "a\0b.pdf", "x" * 5000 + ".pdf", "\ud800.pdf"])
async def test_a_path_that_is_none(scene, action, file):
    await scene.refuses("file_unreadable", action, file=file)


@both
@pytest.mark.parametrize("file", [3, 2.5, True, object(), {"path": "a.pdf"}, lambda: b""])
async def test_what_is_no_file(scene, action, file):
    await scene.refuses("invalid_payload", action, file=file)


@both
@pytest.mark.parametrize("several", [list, tuple])
async def test_a_list_of_files_where_one_is_due(scene, action, several):
    error = await scene.refuses("invalid_payload", action, file=several([pdf("a.pdf"), pdf("b.pdf")]))
    assert "one after another" in error.hint


# Files that change


@from_anything
@pytest.mark.parametrize("content", [b"other", b"less", b""], ids=["other content", "shrunk", "emptied"])
async def test_a_file_that_changes_between_attach_and_send(scene, tmp_path, kind, content):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"first")
    file = File.from_path(path)
    await scene.fill(kind)
    path.write_bytes(content)
    os.utime(path, (1, 1))
    error = await scene.refuses("file_changed", "SendMediaMessage", file=file)
    assert error.hint == "Give the file once more; if it is attached, detach it first."


async def test_a_file_that_is_deleted_between_attach_and_send(scene, tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"first")
    await scene.invoke("AttachFile", file=path)
    path.unlink()
    await scene.refuses("file_unreadable", "SendMediaMessage")


async def test_a_file_that_is_replaced_between_attach_and_send(scene, tmp_path):
    path = tmp_path / "a.pdf"
    path.write_bytes(b"first")
    await scene.invoke("AttachFile", file=path)
    (tmp_path / "new").write_bytes(b"other")
    os.replace(tmp_path / "new", path)
    await scene.refuses("file_changed", "SendMediaMessage")


@pytest.mark.parametrize("pieces", [[b"12"], [b"1234", b"5"], []], ids=["less", "more", "nothing"])
async def test_a_stream_that_does_not_keep_to_its_size(scene, pieces):
    await scene.refuses("file_changed", "SendMediaMessage", file=stream(*pieces, size=4))


@pytest.mark.parametrize("grow", [True, False], ids=["grows", "shrinks"])
async def test_a_file_that_changes_while_it_is_sent(scene, tmp_path, grow, monkeypatch):
    path = tmp_path / "a.pdf"
    path.write_bytes(bytes(LIMIT - 1))
    file = File.from_path(path)
    source, real = file._source, file._source._read

    def reads_and_meddles(opened, size):
        chunk = real(opened, 100)
        if opened.tell() == 100:
            os.truncate(path, LIMIT + 1 if grow else 200)
        return chunk

    monkeypatch.setattr(source, "_read", reads_and_meddles)
    await scene.refuses("file_changed", "SendMediaMessage", file=file)


async def test_a_stream_that_fails(scene):
    async def fails():
        yield b"12"
        raise ValueError("unplugged")

    error = await scene.refuses(
        "file_unreadable", "SendMediaMessage", file=File.from_stream(fails, name="a.pdf", size_bytes=4)
    )
    assert isinstance(error.__cause__, ValueError)


# Sizes


@both
@from_anything
async def test_an_empty_file(scene, action, kind):
    await scene.fill(kind)
    error = await scene.refuses("invalid_size", action, file=pdf(data=b""))
    assert error.details == {"name": "a.pdf", "limit": LIMIT, "actual": 0}


@both
async def test_one_byte_over_the_limit(scene, action):
    error = await scene.refuses("invalid_size", action, file=pdf(data=bytes(LIMIT + 1)))
    assert error.details == {"name": "a.pdf", "limit": LIMIT, "actual": LIMIT + 1}


async def test_the_limit_itself_is_allowed(scene):
    await scene.invoke("SendMediaMessage", file=pdf(data=bytes(LIMIT)))
    assert scene.stored() == 1


async def test_one_byte_over_the_limit_when_the_declared_size_lies(scene):
    pieces = [bytes(LIMIT // 2)] * 2 + [b"!"]
    error = await scene.refuses("file_changed", "SendMediaMessage", file=stream(*pieces, size=LIMIT))
    assert error.details["size_bytes"] == LIMIT


# Names and types


@both
@pytest.mark.parametrize(
    ("name", "actual"),
    [("a.exe", "exe"), ("a.pdf.exe", "exe"), ("pdf", ""), (".pdf", ""), ("a.gz", "gz"), ("a.", ""), ("apdf", "")],
)
async def test_an_extension_that_is_not_accepted(scene, action, name, actual):
    error = await scene.refuses("invalid_type", action, file=pdf(name))
    assert (error.details["limit"], error.details["actual"]) == (("pdf", "txt", "tar.gz"), actual)


@pytest.mark.parametrize("name", ["a.PDF", "A.Pdf", "a.b.c.pdf", "a.tar.gz", "a.TAR.GZ", "übung.txt"])
async def test_capitals_and_several_dots_are_fine(scene, name):
    await scene.invoke("SendMediaMessage", file=pdf(name))
    assert [m.media.name for m in await scene.session.messages(scene.channel)] == [name]


@both
async def test_a_mime_type_that_contradicts_the_extension(scene, action):
    error = await scene.refuses("invalid_type", action, file=pdf(content_type="text/html"))
    assert "text/html" in error.message


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\Windows\\win.txt", "win.txt"),
        ("a\0b.pdf", "ab.pdf"),
        ("gp\u202efdp.exe.pdf", "gpfdp.exe.pdf"),
        ("a\ud800b.pdf", "ab.pdf"),
        ("CON.pdf", "_CON.pdf"),
        ("nul.tar.gz", "_nul.tar.gz"),
        ("n" * 300 + ".pdf", "n" * 251 + ".pdf"),
        ("a\r\nSet-Cookie: x.pdf", "aSet-Cookie_ x.pdf"),
    ],
)
async def test_a_dangerous_name_is_shown_and_stored_clean(scene, given, shown):
    await scene.invoke("SendMediaMessage", file=pdf(given))
    assert [m.media.name for m in await scene.session.messages(scene.channel)] == [shown]


@both
async def test_a_bidirectional_override_does_not_hide_the_extension(scene, action):
    await scene.refuses("invalid_type", action, file=pdf("invoice\u202efdp.exe"))


# The message input


async def test_text_while_a_file_is_attached(scene):
    await scene.fill(FILE)
    error = await scene.refuses("input_holds_file", "SetInputText", body="x")
    assert error.hint


async def test_a_second_file(scene):
    await scene.fill(FILE)
    error = await scene.refuses("one_file_at_a_time", "AttachFile", file=pdf("second.pdf"))
    assert error.hint


@pytest.mark.parametrize(("kind", "code"), [(EMPTY, "nothing_attached"), (TEXT, "nothing_attached")])
async def test_detaching_when_nothing_is_attached(scene, kind, code):
    await scene.fill(kind)
    await scene.refuses(code, "DetachFile")
    await scene.refuses(code, "DetachFile", file=pdf())


async def test_detaching_what_is_not_attached(scene):
    await scene.fill(FILE)
    await scene.refuses("file_not_attached", "DetachFile", file=pdf("other.pdf"))


async def test_sending_nothing(scene):
    await scene.refuses("nothing_to_send", "SendMessage")
    await scene.refuses("nothing_to_send", "SendMessage", body="")
    await scene.refuses("nothing_attached", "SendMediaMessage")


@pytest.mark.parametrize("body", ["half a \ud83d", 3, b"bytes", ["list"]])
async def test_a_body_that_is_no_text(scene, body):
    await scene.refuses("invalid_payload", "SendMessage", body=body)
    await scene.refuses("invalid_payload", "SetInputText", body=body)


# Channels

ANY_CHANNEL_ACTION = [
    ("AttachFile", {"file": pdf()}),
    ("DetachFile", {}),
    ("SendMediaMessage", {"file": pdf()}),
    ("SendMessage", {"body": "x"}),
    ("SetInputText", {"body": "x"}),
    ("SendTyping", {}),
    ("DownloadMedia", {"message": "IM" + "0" * 32}),
    ("DeleteMessage", {"message": "IM" + "0" * 32}),
]
every_action = pytest.mark.parametrize(
    ("action", "payload"), ANY_CHANNEL_ACTION, ids=[a for a, _ in ANY_CHANNEL_ACTION]
)


@every_action
async def test_a_channel_that_does_not_exist(scene, action, payload):
    await scene.refuses("unknown_channel", action, channelSid="CH" + "f" * 32, **payload)
    assert scene.session._chat._slots == {}


@every_action
async def test_a_channel_that_one_is_not_a_member_of(scene, action, payload):
    other = await scene.session.backend.create_channel(creator="bob")
    await scene.refuses("not_a_member", action, channelSid=other.sid, **payload)
    assert scene.session._chat._slots == {}


@every_action
async def test_a_channels_name_where_its_sid_is_due(scene, action, payload):
    error = await scene.refuses("unknown_channel", action, channelSid="here", **payload)
    assert "session.channel" in error.hint


@every_action
@pytest.mark.parametrize("sid", ["", 5, b"CH", ["CH"]])
async def test_what_is_no_channel(scene, action, payload, sid):
    await scene.refuses("invalid_payload", action, channelSid=sid, **payload)


@pytest.mark.parametrize(
    ("action", "payload"),
    [a for a in ANY_CHANNEL_ACTION if a[0] not in ("DetachFile", "DownloadMedia", "DeleteMessage")],
)
async def test_a_closed_channel(scene, action, payload):
    await scene.session.close_channel(scene.channel)
    await scene.refuses("channel_closed", action, **payload)


# Messages and links


async def test_a_deleted_message(scene):
    sent = await scene.invoke("SendMediaMessage", file=pdf())
    await scene.invoke("DeleteMessage", message=sent.message_sid)
    await scene.refuses("unknown_message", "DownloadMedia", message=sent.message_sid)
    await scene.refuses("unknown_message", "DeleteMessage", message=sent.message_sid)


async def test_a_message_without_media(scene):
    sent = await scene.invoke("SendMessage", body="only words")
    await scene.refuses("no_media", "DownloadMedia", message=sent.message_sid)


async def test_a_message_of_another_channel(scene):
    other = await scene.session.create_channel()
    sent = await scene.invoke("SendMediaMessage", file=pdf(), channelSid=other.sid)
    await scene.refuses("unknown_message", "DownloadMedia", message=sent.message_sid)


@pytest.mark.parametrize("message", ["", None, 7, b"IM", {"sid": "IM"}])
async def test_what_is_no_message(scene, message):
    await scene.refuses("invalid_payload", "DownloadMedia", message=message)


async def fails_to_download(scene, code, source, target):
    before = await scene.look()
    with pytest.raises(ActionError) as caught:
        await scene.session.download(source, target)
    assert (caught.value.code, list(target.parent.iterdir()), await scene.look()) == (code, [], before)
    return caught.value


@pytest.fixture
def target(tmp_path):
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads" / "a.pdf"


async def test_an_expired_link(scene, target):
    sent = await scene.invoke("SendMediaMessage", file=pdf())
    link = await scene.invoke("DownloadMedia", message=sent.message_sid)
    scene.clock.advance(300)
    error = await fails_to_download(scene, "link_expired", link, target)
    assert error.hint == "Request a new one."


async def test_an_altered_link(scene, target):
    sent = await scene.invoke("SendMediaMessage", file=pdf())
    link = await scene.invoke("DownloadMedia", message=sent.message_sid)
    for i in range(len("flex-media:"), len(link.url), 7):
        altered = link.url[:i] + ("A" if link.url[i] != "A" else "B") + link.url[i + 1 :]
        await fails_to_download(scene, "link_invalid", altered, target)


@pytest.mark.parametrize("url", ["flex-media:", "flex-media:nonsense", "https://example.org/a.pdf", "flex-media:é"])
async def test_what_is_no_link(scene, url, target):
    await fails_to_download(scene, "link_invalid", url, target)


# Payloads, actions, settings


async def test_a_misspelt_key_names_the_nearest(scene):
    error = await scene.refuses("invalid_payload", "SendMediaMessage", fiel=pdf())
    assert "'file'" in error.hint


async def test_a_misspelt_action_names_the_nearest(scene):
    error = await scene.refuses("unknown_action", "AtachFile", file=pdf())
    assert "'AttachFile'" in error.hint


@pytest.mark.parametrize("attributes", [{"a": object()}, {"a": float("nan")}, [1], "text", {"a": "\ud800"}])
async def test_attributes_that_are_no_json(scene, attributes):
    await scene.refuses("invalid_payload", "SendMessage", body="x", messageAttributes=attributes)


@pytest.mark.parametrize("key", ["", "k" * 256, 5, b"key"])
async def test_what_is_no_idempotency_key(scene, key):
    before = await scene.look()
    with pytest.raises(ActionError) as caught:
        await scene.session.actions.invoke("SendMessage", {"body": "x", "channelSid": scene.channel}, key=key)
    assert (caught.value.code, await scene.look()) == ("invalid_payload", before)


@pytest.mark.parametrize(
    "config",
    [
        {"fileAttachments": {}},
        {"fileAttachment": {"maxfilesizes": 5}},
        {"fileAttachment": {"acceptedExtension": ["pdf"]}},
        {"agent": {"enabled": True}},
        [],
        "pdf",
        7,
        {"fileAttachment": None},
        {"fileAttachment": {"enabled": "yes"}},
        {"fileAttachment": {"acceptedExtensions": "pdf"}},
        {"plugins": []},
    ],
    ids=str,
)
async def test_a_config_of_unknown_keys_or_wrong_types(config, tmp_path, refused):
    with refused("invalid_config"):
        async with connect(f"local:{tmp_path / 'chat'}", identity="ada", config=config):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_a_store_of_a_newer_format_is_left_alone(tmp_path, refused):
    async with connect(f"local:{tmp_path}", identity="ada"):
        pass
    (database,) = tmp_path.glob("*.sqlite3")
    db = sqlite3.connect(database)
    db.execute("PRAGMA user_version=99")
    db.close()
    before = database.read_bytes()
    with refused("store_version") as caught:
        async with connect(f"local:{tmp_path}", identity="ada"):
            pass
    assert (database.read_bytes() == before, bool(caught.value.hint)) == (True, True)


async def test_a_store_that_is_none(tmp_path, refused):
    (tmp_path / "chat.sqlite3").write_bytes(b"not a database at all, but long enough to look like one " * 20)
    with refused("store_corrupt"):
        async with connect(f"local:{tmp_path}", identity="ada"):
            pass


@pytest.mark.parametrize("url", ["", "memory", "mem:x", "local:", "local:a\0b", ":x", "ftp://x", 5, None, Path("x")])
async def test_a_url_that_is_none(url, refused):
    with refused("invalid_config"):
        async with connect(url, identity="ada"):
            pass


async def test_a_fifo_does_not_hang(scene, tmp_path):
    os.mkfifo(tmp_path / "pipe.pdf")
    async with asyncio.timeout(5):
        await scene.refuses("file_unreadable", "SendMediaMessage", file=tmp_path / "pipe.pdf")


async def test_open_backend_refuses_the_same(refused):
    with refused("invalid_config") as caught:
        async with open_backend("lokal:chat"):
            pass
    assert "'local'" in caught.value.hint
