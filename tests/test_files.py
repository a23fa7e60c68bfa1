"""`File`: names, sources, and how they are read."""

import asyncio
import contextlib
import gc
import os
import threading
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flex_actions import ActionError, File
from flex_actions.errors import brief
from flex_actions.files import CHUNK_BYTES, MAX_NAME_BYTES, clean_name, extension_of, guess_content_type

# Names


awkward = st.text(st.characters() | st.sampled_from("/\\.\0 \u202e\u200b\ud800<>:|?*\u0301é\u2028"), max_size=300)


@given(awkward)
@example("a" * 300 + ".pdf")
@example("é" * 200 + ".pdf")
@example("e\u0301" * 200 + ".pdf")
@example("..." + "x" * 300)
@example("a ." * 100 + ".pdf")
@example("con")
@example("\u0344.pdf")
@example("CON" + "." * 3 + "\u200b")
@example("x" * 250 + ". . .pdf")
def test_a_cleaned_name_is_safe(name):
    clean = clean_name(name)
    assert clean
    assert not set(clean) & set("/\\\0")
    assert not {unicodedata.category(c) for c in clean} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(clean.encode()) <= MAX_NAME_BYTES
    assert clean not in (".", "..")
    assert clean == clean.strip()
    assert not clean.endswith(".")
    assert unicodedata.is_normalized("NFC", clean)


@given(awkward)
@example("\u200bCON")
@example("é" * 126 + "abc.CON. ")
@example("\u1160 .x")
@example("a\u200b\u0301")
def test_cleaning_twice_changes_nothing(name):
    assert clean_name(clean_name(name)) == clean_name(name)


@given(st.text(max_size=400), st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True))
def test_the_extension_is_kept(stem, extension):
    clean = clean_name(f"a{stem}b.{extension}")
    assert extension_of(clean) == extension


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("invoice.pdf", "invoice.pdf"),
        ("Rechnung März.pdf", "Rechnung März.pdf"),
        ("履歴書.pdf", "履歴書.pdf"),
        ("Ma\u0308rz.pdf", "März.pdf"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a/", "unnamed"),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("\0\u202e", "unnamed"),
        ("a.pdf. . ", "a.pdf"),
        ("  a.pdf", "a.pdf"),
        ("line\nbreak.txt", "linebreak.txt"),
        ("a\u2028b.txt", "ab.txt"),
        ("COM1", "_COM1"),
        ("lpt9.txt", "_lpt9.txt"),
        ("console.txt", "console.txt"),
        ("aux .txt", "_aux .txt"),
        ("what?.txt", "what_.txt"),
        ("x" * 300 + ".tar.gz", "x" * 252 + ".gz"),
        ("x" * 300, "x" * 255),
        ("." + "x" * 300, "." + "x" * 254),
        ("CON" + " " * 300 + "x.pdf", "_CON.pdf"),
        ("." * 300 + "x.pdf", "unnamed.pdf"),
        ("x" * 5000 + ".pdf", "x" * 251 + ".pdf"),
        ("x." + "y" * 5000, "x." + "y" * 253),
    ],
)
def test_names_are_cleaned(name, clean):
    assert clean_name(name) == clean


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("a" + " " * 2_000_000 + "b", "a"),
        ("a" + ". " * 1_000_000 + "b.pdf", "a.pdf"),
        ("a" + "\u0301" * 1_000_000 + "\u0327" * 1_000_000, "á" + "\u0301" * 126),
        ("/" * 2_000_000 + "a.pdf", "a.pdf"),
        ("\u202e" * 2_000_000 + "a.pdf", "a.pdf"),
        ("a." + "b" * 2_000_000, "a." + "b" * 253),
    ],
    ids=["spaces", "dots", "accents", "slashes", "overrides", "one extension"],
)
def test_a_name_that_is_far_too_long_is_cleaned_in_no_time(name, clean):
    """The suite's time limit is what fails here: an expression or an ordering that is quadratic takes hours."""
    assert clean_name(name) == clean


@pytest.mark.parametrize("name", [5, b"a.pdf", ["a.pdf"]])
@pytest.mark.parametrize(
    "make",
    [
        lambda name, path: File.from_bytes(b"x", name=name),
        lambda name, path: File.from_path(path, name=name),
        lambda name, path: File.from_stream(lambda: None, name=name, size_bytes=1),
    ],
)
def test_a_name_that_is_no_text_is_refused(make, name, tmp_path, refused):
    (tmp_path / "a").write_bytes(b"x")
    with refused("invalid_payload"):
        make(name, tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "extension"),
    [("a.pdf", "pdf"), ("a.PDF", "pdf"), ("a.tar.gz", "gz"), ("a", ""), (".pdf", ""), ("a.", ""), ("ß.ẞ", "ss")],
)
def test_the_extension_is_what_stands_after_the_last_dot(name, extension):
    assert extension_of(name) == extension


# Types


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.pdf", "application/pdf"),
        ("a.JPG", "image/jpeg"),
        ("a.txt", "text/plain"),
        ("a.zip", "application/zip"),
        ("a.heic", "image/heic"),
        ("a.tar.gz", "application/octet-stream"),
        ("a.weird7", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_a_type_that_is_not_declared_is_guessed_from_the_name(name, kind):
    assert guess_content_type(name) == File.from_bytes(b"x", name=name).content_type == kind


@pytest.mark.parametrize("declared", ["Image/PNG", "image/png; charset=utf-8", " image/png "])
def test_a_declared_type_is_kept_bare_and_in_lower_case(declared):
    assert File.from_bytes(b"x", name="a", content_type=declared).content_type == "image/png"


@pytest.mark.parametrize(
    "declared", ["png", "image/", "/png", "a/b/c", "image/png\r\nX: y", "ima ge/png", 5, b"a/b", "a/" + "b" * 300]
)
def test_what_is_no_type_is_refused(declared, refused):
    with refused("invalid_payload"):
        File.from_bytes(b"x", name="a", content_type=declared)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7", "attachment.pdf"),
        (b"\x89PNG\r\n\x1a\n..", "attachment.png"),
        (b"\xff\xd8\xff\xe0", "attachment.jpg"),
        (b"GIF89a", "attachment.gif"),
        (b"PK\x03\x04", "attachment.zip"),
        ("grüße".encode(), "attachment.txt"),
        (b"x" + "ü".encode() * 4000, "attachment.txt"),  # the look at its beginning cuts a character
        (b"\0\1\2", "attachment.bin"),
        (b"\xfe\xfd", "attachment.bin"),
    ],
)
def test_bytes_without_a_name_get_one_by_their_first_bytes(data, name):
    assert File.from_bytes(data).name == name


# What may stand for a file


async def content(file, size=CHUNK_BYTES):
    return b"".join([chunk async for chunk in file.chunks(size)])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_bytes(b"Dear reader")
    return path


@pytest.mark.parametrize("kind", [str, os.fspath, lambda p: p])
async def test_a_path_may_stand_for_a_file(path, kind):
    file = File.of(kind(path))
    assert (file.name, file.size_bytes, await content(file)) == ("letter.txt", 11, b"Dear reader")


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_bytes_may_stand_for_a_file(kind):
    file = File.of(kind(b"Dear reader"))
    assert (file.name, file.size_bytes, await content(file)) == ("attachment.txt", 11, b"Dear reader")


async def test_bytes_are_copied_so_that_later_changes_do_not_reach_them():
    data = bytearray(b"before")
    file = File.of(data)
    data[:] = b"after!"
    assert await content(file) == b"before"


def test_a_file_stands_for_itself():
    file = File.from_bytes(b"x")
    assert File.of(file) is file


@pytest.mark.parametrize("several", [["a"], ("a", "b"), {"a"}, frozenset(), [b"x"]])
def test_a_list_of_files_is_refused_with_the_way_out(several, refused):
    with refused("invalid_payload") as caught:
        File.of(several)
    assert "zip" in caught.value.hint


@pytest.mark.parametrize("wrong", [None, 5, 1.5, True, {}, object(), open])
def test_anything_else_is_refused(wrong, refused):
    with refused("invalid_payload"):
        File.of(wrong)


def test_a_path_in_bytes_is_refused(path, refused):
    class BytesPath:
        def __fspath__(self):
            return os.fsencode(path)

    with refused("invalid_payload"):
        File.of(BytesPath())


def test_equal_means_name_size_and_type():
    file = File.from_bytes(b"1", name="a.pdf")
    assert file.same_as(file)
    assert file.same_as(File.from_bytes(b"2", name="a.pdf"))
    assert not file.same_as(File.from_bytes(b"1", name="b.pdf"))
    assert not file.same_as(File.from_bytes(b"12", name="a.pdf"))
    assert not file.same_as(File.from_bytes(b"1", name="a.pdf", content_type="text/plain"))


# Paths that cannot be read


def test_no_such_file(tmp_path, refused):
    with refused("file_unreadable"):
        File.from_path(tmp_path / "missing")


def test_a_folder(tmp_path, refused):
    with refused("file_unreadable") as caught:
        File.from_path(tmp_path)
    assert "folder" in caught.value.message


def test_a_fifo_does_not_hang(tmp_path, refused):
    os.mkfifo(tmp_path / "pipe")
    with refused("file_unreadable") as caught:
        File.from_path(tmp_path / "pipe")
    assert "not a regular file" in caught.value.message


def test_a_device(refused):
    with refused("file_unreadable"):
        File.from_path("/dev/zero")


def test_a_loop_of_symbolic_links(tmp_path, refused):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with refused("file_unreadable"):
        File.from_path(tmp_path / "loop")


async def test_a_symbolic_link_to_a_file_is_the_file(tmp_path, path):
    (tmp_path / "link.txt").symlink_to(path)
    file = File.from_path(tmp_path / "link.txt")
    assert (file.name, await content(file)) == ("link.txt", b"Dear reader")


def test_a_message_cannot_be_forged_by_a_path(refused):
    with refused("file_unreadable") as caught:
        File.from_path("/nowhere/a\nINFO all is well\u202e")
    assert caught.value.message.isprintable()
    assert caught.value.message.isascii()


async def test_the_working_directory_may_change(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    file = File.from_path("letter.txt")
    monkeypatch.chdir("/")
    assert await content(file) == b"Dear reader"


# Changes


async def test_a_file_can_be_read_again_and_again(path):
    file = File.from_path(path)
    assert await content(file) == await content(file) == b"Dear reader"


@pytest.mark.parametrize("by", ["chunks", "blocking_chunks"])
@pytest.mark.parametrize("change", ["content", "size", "shrunk", "replaced"])
async def test_a_changed_file_is_refused(path, by, change, refused):
    os.utime(path, (1, 1))
    file = File.from_path(path)
    if change == "replaced":
        path.with_suffix(".new").write_bytes(b"Dear Reader")
        os.utime(path.with_suffix(".new"), (1, 1))
        os.replace(path.with_suffix(".new"), path)
    else:
        path.write_bytes({"content": b"Dear Reader", "size": b"Dear reader!", "shrunk": b"Dear"}[change])
    with refused("file_changed"):
        await content(file) if by == "chunks" else list(file.blocking_chunks())


async def test_a_deleted_file_is_unreadable(path, refused):
    file = File.from_path(path)
    path.unlink()
    with refused("file_unreadable"):
        await content(file)


async def test_a_file_that_grows_while_it_is_read_is_refused(path, refused):
    file = File.from_path(path)
    with refused("file_changed"):
        async for _ in file.chunks(4):
            with path.open("ab") as more:
                more.write(b"!")


async def test_a_file_that_shrinks_while_it_is_read_is_refused(path, refused):
    file = File.from_path(path)
    with refused("file_changed"):
        async for _ in file.chunks(4):
            os.truncate(path, 6)


# Reading


@pytest.mark.parametrize("kind", ["path", "bytes", "stream"])
async def test_content_comes_in_chunks_and_never_whole(tmp_path, kind):
    data = bytes(range(256)) * 40
    (tmp_path / "a").write_bytes(data)

    async def one_huge_piece():
        yield data

    file = {
        "path": lambda: File.from_path(tmp_path / "a"),
        "bytes": lambda: File.from_bytes(data, name="a"),
        "stream": lambda: File.from_stream(one_huge_piece, name="a", size_bytes=len(data)),
    }[kind]()
    chunks = [chunk async for chunk in file.chunks(1000)]
    assert max(map(len, chunks)) <= 1000
    assert b"".join(chunks) == data
    assert {type(chunk) for chunk in chunks} == {bytes}


async def test_only_what_was_asked_for_has_been_read(path):
    asked = []
    file = File.from_path(path)
    real = file._source._read
    file._source._read = lambda opened, size: asked.append(size) or real(opened, size)
    async with contextlib.aclosing(file.chunks(4)) as chunks:
        await anext(chunks)
    assert asked == [4]


async def test_reading_a_disk_does_not_block_the_loop(path):
    threads = set()
    file = File.from_path(path)
    real = file._source._read
    file._source._read = lambda opened, size: threads.add(threading.current_thread()) or real(opened, size)
    await content(file)
    assert threading.main_thread() not in threads


async def test_no_descriptor_stays_open_when_reading_is_left(path):
    gc.collect()  # what earlier tests left to be collected would close in between
    before = len(os.listdir("/proc/self/fd"))
    chunks = File.from_path(path).chunks(2)
    await anext(chunks)
    await chunks.aclose()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_an_empty_file_has_no_chunks(tmp_path):
    (tmp_path / "empty").touch()
    assert [c async for c in File.from_path(tmp_path / "empty").chunks()] == []


# Streams


def stream(factory, size=4):
    return File.from_stream(factory, name="a.txt", size_bytes=size)


async def test_a_stream_is_opened_anew_each_time():
    opened = []

    async def pieces():
        opened.append(1)
        yield b"ab"
        yield bytearray(b"c")
        yield memoryview(b"d")

    file = stream(pieces)
    assert await content(file) == await content(file) == b"abcd"
    assert len(opened) == 2


@pytest.mark.parametrize("factory", [b"abcd", None, iter([b"abcd"])])
def test_a_stream_needs_a_function_that_opens_it(factory, refused):
    with refused("invalid_payload"):
        stream(factory)


@pytest.mark.parametrize("size", [-1, True, 1.0, None, "4", 2**63, 10**5000, -(10**5000)], ids=brief)
def test_a_stream_needs_its_size(size, refused):
    with refused("invalid_payload"):
        stream(lambda: None, size)


def plain():
    yield b"abcd"


async def forgot_to_yield():
    return b"abcd"


@pytest.mark.parametrize("factory", [plain, lambda: [b"abcd"], lambda: None, forgot_to_yield, lambda: 5])
async def test_a_stream_that_is_none_is_refused(factory, refused):
    with refused("file_unreadable") as caught:
        await content(stream(factory))
    assert "async" in caught.value.hint


async def test_a_stream_of_anything_but_bytes_is_refused(refused):
    async def texts():
        yield "abcd"

    with refused("file_unreadable"):
        await content(stream(texts))


@pytest.mark.parametrize("pieces", [[b"ab"], [b"abcd", b"e"], [b"abcde"], []])
async def test_a_stream_must_keep_to_its_size(pieces, refused):
    async def give():
        for piece in pieces:
            yield piece

    with refused("file_changed"):
        await content(stream(give))


async def test_an_exception_inside_a_stream_is_a_clear_error(refused):
    async def fails():
        yield b"ab"
        raise KeyError("unplugged")

    def refuses():
        raise KeyError("unplugged")

    for factory in (fails, refuses):
        with refused("file_unreadable") as caught:
            await content(stream(factory))
        assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("end", ["left", "too much", "cancelled"])
async def test_a_stream_is_closed_however_it_ends(end):
    closed, forever = [], asyncio.Event()

    async def pieces():
        try:
            yield b"ab"
            if end == "cancelled":
                await forever.wait()
            yield b"cdef"
        finally:
            closed.append(end)

    chunks = stream(pieces).chunks()
    await anext(chunks)
    if end == "left":
        await chunks.aclose()
    elif end == "too much":
        with pytest.raises(ActionError):
            await anext(chunks)
    else:
        step = asyncio.create_task(anext(chunks))
        await asyncio.sleep(0)
        step.cancel()
        await asyncio.wait([step])
    assert closed == [end]


# Another content than before


async def test_a_rewrite_of_the_same_size_with_its_time_set_back_is_found_out(path, refused):
    file = File.from_path(path)
    stamp = os.stat(path)
    with open(path, "r+b") as opened:
        opened.write(b"MZ")
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with refused("file_changed"):
        await content(file)


def two_faced(*openings):
    """A stream that gives other pieces at each opening."""
    left = list(openings)

    async def give():
        for piece in left.pop(0) if len(left) > 1 else left[0]:
            yield piece

    return stream(give, size=8)


async def test_a_stream_cannot_show_a_guard_one_thing_and_send_another(refused):
    file = two_faced([b"GOOD", b"good"], [b"MZ", b"\0\0", b"good"])
    async with contextlib.aclosing(file.chunks()) as looked_at:
        assert await anext(looked_at) == b"GOOD"
    with refused("file_changed"):
        await content(file)


async def test_the_same_bytes_in_other_pieces_are_the_same_stream():
    file = two_faced([b"GO", b"ODgood"], [b"GOODg", b"", b"ood"], [b"G", b"OODgood"])
    for _ in range(3):
        assert await content(file) == b"GOODgood"


async def test_the_longest_that_was_given_counts(refused):
    file = two_faced([b"GOODgo", b"od"], [b"GO", b"ODgood"], [b"GOOD", b"evil"])
    async with contextlib.aclosing(file.chunks()) as first:
        await anext(first)
    async with contextlib.aclosing(file.chunks()) as second:
        await anext(second)
    with refused("file_changed"):
        await content(file)
