"""Downloads: a file appears whole and with the right hash, or not at all."""

import asyncio
import io
import os
import threading

import pytest

from flex_actions import ActionError, File, connect, signals
from flex_actions.backends.memory import MemoryBackend

DATA = bytes(range(256)) * 3 * 4096  # 3 MiB: several chunks


async def send(session, channel, name="a.pdf", data=DATA):
    file = File.from_bytes(data, name=name)
    sent = await session.actions.invoke("SendMediaMessage", {"file": file, "channelSid": channel})
    return sent.message_sid


@pytest.fixture
async def sid(ada, channel):
    return await send(ada, channel)


# Targets


async def test_a_file_of_the_callers_name_appears(cleo, sid, tmp_path):
    assert await cleo.download(sid, tmp_path / "mine.bin") == tmp_path / "mine.bin"
    assert (tmp_path / "mine.bin").read_bytes() == DATA
    assert os.listdir(tmp_path) == ["mine.bin"]


async def test_a_path_may_be_text(cleo, sid, tmp_path):
    await cleo.download(sid, str(tmp_path / "mine.bin"))
    assert (tmp_path / "mine.bin").read_bytes() == DATA


async def test_a_file_of_the_callers_name_may_be_overwritten(cleo, sid, tmp_path):
    (tmp_path / "mine.bin").write_bytes(b"old")
    await cleo.download(sid, tmp_path / "mine.bin")
    assert (tmp_path / "mine.bin").read_bytes() == DATA


async def test_into_a_folder_it_gets_the_name_of_the_message(cleo, sid, tmp_path):
    assert await cleo.download(sid, tmp_path) == tmp_path / "a.pdf"
    assert (tmp_path / "a.pdf").read_bytes() == DATA
    assert os.listdir(tmp_path) == ["a.pdf"]


async def test_into_a_folder_nothing_is_ever_overwritten(cleo, sid, tmp_path, refused):
    (tmp_path / "a.pdf").write_bytes(b"mine")
    with refused("file_unwritable") as caught:
        await cleo.download(sid, tmp_path)
    assert ((tmp_path / "a.pdf").read_bytes(), os.listdir(tmp_path)) == (b"mine", ["a.pdf"])
    assert caught.value.hint == "Name another file."


async def test_into_a_folder_nothing_is_overwritten_that_comes_meanwhile(cleo, sid, tmp_path, refused, watch):
    def meddles(_, **facts):
        (tmp_path / "a.pdf").write_bytes(b"mine")

    signals.download_progress.connect(meddles, cleo)
    try:
        with refused("file_unwritable"):
            await cleo.download(sid, tmp_path)
    finally:
        signals.download_progress.disconnect(meddles)
    assert ((tmp_path / "a.pdf").read_bytes(), os.listdir(tmp_path)) == (b"mine", ["a.pdf"])


async def test_a_dangling_link_of_that_name_is_not_followed(cleo, sid, tmp_path, refused):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.pdf").symlink_to(tmp_path / "elsewhere")
    with refused("file_unwritable"):
        await cleo.download(sid, tmp_path / "in")
    assert not (tmp_path / "elsewhere").exists()


async def test_a_sender_cannot_choose_the_folder(ada, backend, channel, tmp_path):
    media = await backend.upload(channel, File.from_bytes(b"x", name="../../evil.pdf"), author="ada")
    assert media.name == "evil.pdf"
    (tmp_path / "in").mkdir()
    sid = await send(ada, channel, "../../evil.pdf")
    assert await ada.download(sid, tmp_path / "in") == tmp_path / "in" / "evil.pdf"


async def test_a_file_object_is_written_to_and_left_open(cleo, sid):
    target = io.BytesIO()
    assert await cleo.download(sid, target) is None
    assert target.getvalue() == DATA


@pytest.mark.parametrize("source", ["message", "sid", "link", "url"])
async def test_a_message_its_sid_a_link_or_its_address_leads_to_the_file(cleo, channel, sid, source):
    link = await cleo.actions.invoke("DownloadMedia", {"message": sid})
    (message,) = await cleo.messages(channel)
    target = io.BytesIO()
    await cleo.download({"message": message, "sid": sid, "link": link, "url": link.url}[source], target)
    assert target.getvalue() == DATA


@pytest.mark.parametrize("where", ["missing/a.pdf", "file/a.pdf", "n" * 300, "a\0b"])
async def test_where_nothing_can_be_written(cleo, sid, tmp_path, refused, where):
    (tmp_path / "file").touch()
    with refused("file_unwritable"):
        await cleo.download(sid, tmp_path / where)
    assert os.listdir(tmp_path) == ["file"]


async def test_a_folder_that_may_not_be_written(cleo, sid, tmp_path, refused, monkeypatch):
    real, real_open = os.open, open

    def denies(path, flags, *arguments, **options):
        if flags & os.O_CREAT and str(path).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied")
        return real(path, flags, *arguments, **options)

    def opens(path, mode="r", *arguments, **options):
        if str(path).startswith(str(tmp_path)):
            raise PermissionError(13, "Permission denied")
        return real_open(path, mode, *arguments, **options)

    monkeypatch.setattr(os, "open", denies)  # tests may run as root, whom no mode keeps out
    monkeypatch.setattr("builtins.open", opens)
    with refused("file_unwritable") as caught:
        await cleo.download(sid, tmp_path / "a.pdf")
    assert "Permission denied" in caught.value.message


@pytest.mark.parametrize("target", [5, None, b"path", object(), io.StringIO()])
async def test_what_is_no_target(cleo, sid, target, refused):
    with refused("invalid_payload"):
        await cleo.download(sid, target)


async def test_an_empty_folder_in_place_of_the_file_is_the_target_folder(cleo, sid, tmp_path):
    (tmp_path / "a.pdf").mkdir()
    assert await cleo.download(sid, tmp_path / "a.pdf") == tmp_path / "a.pdf" / "a.pdf"


# Hooks and rules


async def test_a_download_passes_through_the_action_and_its_hooks(cleo, sid, tmp_path, refused):
    cleo.actions.before("DownloadMedia", lambda payload, abort: abort("not now"))
    with refused("action_aborted"):
        await cleo.download(sid, tmp_path / "a.pdf")
    assert os.listdir(tmp_path) == []


async def test_progress_is_signalled(cleo, sid, watch):
    seen = watch(signals.download_progress, cleo)
    await cleo.download(sid, io.BytesIO())
    counts = [s["done_bytes"] for s in seen]
    assert (counts == sorted(counts), counts[-1], len(counts) > 1) == (True, len(DATA), True)
    assert {(s["name"], s["total_bytes"]) for s in seen} == {("a.pdf", len(DATA))}


# What can go wrong on the way


class FaultyBackend(MemoryBackend):
    """A chat whose content can be spoilt and whose links can expire at once."""

    def __init__(self):
        super().__init__()
        self.spoil = lambda chunk: chunk
        self.expired = self.opened = 0
        self.closed = []
        self.gate = None

    async def open_link(self, url, **options):
        self.opened += 1
        if self.opened <= self.expired:
            raise ActionError("link_expired", "The link has expired.")
        media, content = await super().open_link(url, **options)
        return media, self._spoilt(content)

    async def _spoilt(self, content):
        try:
            async for chunk in content:
                if self.gate is not None:
                    self.gate.set()
                    await asyncio.Event().wait()
                yield self.spoil(chunk)
        finally:
            self.closed.append(True)


@pytest.fixture
async def faulty():
    backend = FaultyBackend()
    await backend.open()
    async with connect(backend, identity="ada") as session:
        channel = (await session.create_channel()).sid
        yield session, backend, await send(session, channel)
    await backend.close()


def unplugged(chunk):
    raise ActionError("backend_unavailable", "Unplugged.")


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda chunk: chunk[:-1], "media_corrupt"),
        (lambda chunk: chunk + b"!", "media_corrupt"),
        (lambda chunk: bytes(len(chunk)), "media_corrupt"),
        (lambda chunk: b"", "media_corrupt"),
        (unplugged, "backend_unavailable"),
    ],
    ids=["shorter", "longer", "other", "nothing", "unplugged"],
)
async def test_what_does_not_arrive_whole_does_not_appear(faulty, tmp_path, refused, spoil, code):
    session, backend, sid = faulty
    backend.spoil = spoil
    (tmp_path / "old.pdf").write_bytes(b"old")
    for path in (tmp_path / "new.pdf", tmp_path / "old.pdf"):
        with refused(code):
            await session.download(sid, path)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("old.pdf", b"old")]
    assert backend.closed == [True, True]


async def test_a_link_that_expires_is_renewed_once(faulty):
    session, backend, sid = faulty
    backend.expired = 1
    target = io.BytesIO()
    await session.download(sid, target)
    assert (target.getvalue() == DATA, backend.opened) == (True, 2)


async def test_a_link_is_renewed_only_once(faulty, tmp_path, refused):
    session, backend, sid = faulty
    backend.expired = 2
    with refused("link_expired"):
        await session.download(sid, tmp_path / "a.pdf")
    assert (backend.opened, os.listdir(tmp_path)) == (2, [])


async def test_a_link_that_was_given_is_not_renewed(faulty, refused):
    session, backend, sid = faulty
    link = await session.actions.invoke("DownloadMedia", {"message": sid})
    backend.expired = 1
    with refused("link_expired"):
        await session.download(link, io.BytesIO())


async def test_a_cancelled_download_leaves_nothing_behind(faulty, tmp_path):
    session, backend, sid = faulty
    backend.gate = asyncio.Event()
    task = asyncio.create_task(session.download(sid, tmp_path / "a.pdf"))
    await backend.gate.wait()
    assert len(os.listdir(tmp_path)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (os.listdir(tmp_path), backend.closed) == ([], [True])


async def test_a_download_cancelled_while_its_file_is_opened_leaves_nothing_behind(cleo, sid, tmp_path, monkeypatch):
    loop, real = asyncio.get_running_loop(), open
    opening, go_on = asyncio.Event(), threading.Event()

    def slow(path, *arguments, **options):
        if str(path).startswith(str(tmp_path)):
            loop.call_soon_threadsafe(opening.set)
            go_on.wait(5)
        return real(path, *arguments, **options)

    monkeypatch.setattr("builtins.open", slow)
    task = asyncio.create_task(cleo.download(sid, tmp_path / "a.pdf"))
    await opening.wait()
    task.cancel()
    loop.call_soon(loop.call_soon, go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    await loop.shutdown_default_executor()
    assert os.listdir(tmp_path) == []


async def test_a_disk_that_fills_up_is_named(faulty, refused):
    class Full(io.RawIOBase):
        def write(self, data):
            raise OSError(28, "No space left on device")

    session, _, sid = faulty
    with refused("file_unwritable") as caught:
        await session.download(sid, Full())
    assert "No space left" in caught.value.message


async def test_a_file_object_that_takes_less_is_written_to_again(faulty):
    class Slow(io.RawIOBase):
        taken = b""

        def write(self, data):
            self.taken += bytes(data[:100_000])
            return min(len(data), 100_000)

    session, _, sid = faulty
    target = Slow()
    await session.download(sid, target)
    assert target.taken == DATA


async def test_a_supervisor_who_may_downloads_without_joining(ada, backend, sid):
    target = io.BytesIO()
    async with connect(backend, identity="sue", role="supervisor", config={"supervisorDownloads": True}) as sue:
        await sue.download(sid, target)
    assert target.getvalue() == DATA


# Where a download must not go


async def test_what_is_no_regular_file_is_not_replaced(cleo, sid, tmp_path, refused):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for to in (pipe, tmp_path / "link", "/dev/null"):
        with refused("file_unwritable") as caught:
            await cleo.download(sid, to)
        assert "-o -" in caught.value.hint
    assert (pipe.is_fifo(), sorted(os.listdir(tmp_path))) == (True, ["link", "pipe"])
    assert not os.path.isfile("/dev/null")


@pytest.mark.parametrize("there", [True, False])
async def test_a_symbolic_link_stays_and_its_target_is_written(cleo, sid, tmp_path, there):
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "b.pdf"
    if there:
        target.write_bytes(b"old")
    (tmp_path / "link.pdf").symlink_to(target)
    assert await cleo.download(sid, tmp_path / "link.pdf") == tmp_path / "link.pdf"
    assert ((tmp_path / "link.pdf").is_symlink(), target.read_bytes()) == (True, DATA)
    assert os.listdir(tmp_path / "folder") == ["b.pdf"]


# Links of others


async def test_a_link_is_for_whom_it_was_given_to(ada, cleo, sid, refused):
    link = await cleo.actions.invoke("DownloadMedia", {"message": sid})
    for given in (link, link.url):
        with refused("not_authorized"):
            await ada.download(given, io.BytesIO())
        await cleo.download(given, (got := io.BytesIO()))
        assert got.getvalue() == DATA


async def test_a_supervisor_without_the_setting_cannot_open_a_link(backend, channel, sid, refused):
    async with connect(backend, identity="sue", role="supervisor", config={"supervisorDownloads": True}) as allowed:
        link = await allowed.actions.invoke("DownloadMedia", {"message": sid})
        await allowed.download(link, io.BytesIO())
    async with connect(backend, identity="sue", role="supervisor") as sue:
        with refused("not_authorized"):
            await sue.download(link, io.BytesIO())


@pytest.mark.parametrize("policy", [{"enabled": False}, {"channelTypes": {"WEB": {"enabled": False}}}])
async def test_a_side_without_attachments_cannot_open_a_link(backend, cleo, sid, refused, policy):
    link = await cleo.actions.invoke("DownloadMedia", {"message": sid})
    async with connect(backend, identity="cleo", role="customer", config={"fileAttachment": policy}) as blind:
        with refused("attachments_disabled") as caught:
            await blind.download(link, io.BytesIO())
        assert "a.pdf" not in str(caught.value.as_dict())


async def test_a_side_without_attachments_learns_no_name(backend, cleo, sid, refused):
    off = {"fileAttachment": {"enabled": False}}
    async with connect(backend, identity="cleo", role="customer", config=off) as blind:
        with refused("attachments_disabled") as caught:
            await blind.actions.invoke("DownloadMedia", {"message": sid})
    assert "a.pdf" not in str(caught.value.as_dict())
