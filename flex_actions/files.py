"""`File`: what is attached and sent. A name, a type, a size and a source that can be opened again.

Nothing here holds a whole file in memory, except one that was given as bytes.
"""

import asyncio
import codecs
import contextlib
import functools
import hashlib
import inspect
import mimetypes
import os
import re
import stat
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Generator, Iterator
from typing import BinaryIO, Final

import attrs

from .errors import ActionError, brief

CHUNK_BYTES: Final = 256 * 1024
MAX_NAME_BYTES: Final = 255
UNNAMED: Final = "unnamed"
_MAX_TYPE_CHARS: Final = 255  # RFC 6838: 127 on each side

_RESERVED: Final = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|COM[0-9¹²³]|LPT[0-9¹²³])(?= *(?:\.|$))", re.IGNORECASE
)
_MAX_TAIL_BYTES: Final = 32
_FAR_TOO_LONG: Final = 1024  # of that many characters at least 255 bytes are left, however they are composed
_CONTENT_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
# Not mimetypes' module-level functions: those read the machine's own tables, so verdicts would differ by machine.
_TYPES: Final = mimetypes.MimeTypes()
_CHAT_TYPES: Final = {
    "amr": "audio/amr",
    "heic": "image/heic",
    "m4a": "audio/mp4",
    "md": "text/markdown",
    "ogg": "audio/ogg",
    "webp": "image/webp",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}
_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"%PDF-", "pdf"),
    (b"PK\x03\x04", "zip"),
)


def clean_name(name: str) -> str:
    """A name that is safe to show and to save: the part after the last slash or backslash, in NFC.

    Control, format (bidirectional overrides), surrogate and NUL characters, trailing dots and spaces and reserved
    Windows names are taken out; at most 255 UTF-8 bytes, the extension kept; `unnamed` if nothing is left.
    """
    if not isinstance(name, str):
        raise ActionError("invalid_payload", f"A file's name must be text, not {type(name).__name__}.")
    name = name[max(name.rfind("/"), name.rfind("\\")) + 1 :]
    # Cc, Cf, Cs, Zl, Zp: they hide the true extension or break a line in a log or a header.
    name = "".join(c for c in name if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Zl", "Zp"})
    # Only now: what is taken out may have stood between a letter and its accent.
    name = unicodedata.normalize("NFC", _shortened(name.lstrip()))
    name = re.sub(r'[<>:"|?*]', "_", name)
    name = _unreserved(_without_end(name.lstrip()))
    if len(name.encode()) > MAX_NAME_BYTES:
        stem, dot, extension = name.rpartition(".")
        tail = dot + extension
        if not stem or len(tail.encode()) > _MAX_TAIL_BYTES:
            stem, tail = name, ""
        stem = stem.encode()[: MAX_NAME_BYTES - len(tail.encode())].decode(errors="ignore")
        # Once more: what was cut off may have been all that kept it from being a reserved one.
        name = _unreserved((_without_end(stem) or UNNAMED) + tail)
    return name or UNNAMED


def _unreserved(name: str) -> str:
    return "_" + name if _RESERVED.match(name) else name


def _shortened(name: str) -> str:
    """Far less of a name that is far too long: to bring a million accents into their order takes hours."""
    stem, dot, extension = _without_end(name).rpartition(".")
    if len(extension) > _FAR_TOO_LONG:
        return (stem + dot + extension)[:_FAR_TOO_LONG]
    return stem[:_FAR_TOO_LONG] + dot + extension


def _without_end(name: str) -> str:
    """A name without the dots and spaces at its end. (An expression for them takes hours for a million spaces.)"""
    end = len(name)
    while end and (name[end - 1] == "." or name[end - 1].isspace()):
        end -= 1
    return name[:end]


def extension_of(name: str) -> str:
    """What stands after the last dot, in lower case; empty if the name has none or begins with its only dot."""
    stem, dot, extension = name.rpartition(".")
    return extension.casefold() if dot and stem else ""


def guess_content_type(name: str) -> str:
    """The MIME type of a name's extension, `application/octet-stream` if unknown. The same on every machine."""
    return _type_of(extension_of(name))


@functools.lru_cache(256)
def _type_of(extension: str) -> str:
    if extension in _CHAT_TYPES:
        return _CHAT_TYPES[extension]
    kind, encoding = _TYPES.guess_type(f"x.{extension}")
    return kind if kind and not encoding else "application/octet-stream"


StreamFactory = Callable[[], AsyncIterable[bytes]]


@attrs.frozen(eq=False)
class File:
    """A file to attach or send. Make one with `from_path`, `from_bytes` or `from_stream`.

    Attributes:
        name: display name, cleaned (see `clean_name`); never used as a path by a store.
        content_type: MIME type, declared or guessed from the name, without parameters, lower case.
        size_bytes: declared size; what is streamed is counted and must agree.
    """

    name: str
    content_type: str
    size_bytes: int
    _source: "_PathSource | _BytesSource | _StreamSource" = attrs.field(repr=False)

    @classmethod
    def from_path(
        cls, path: str | os.PathLike[str], *, name: str | None = None, content_type: str | None = None
    ) -> "File":
        """A regular file on disk, opened again for each send and refused if it changed in between.

        Raises:
            ActionError: `file_unreadable` (none there, a folder, a device, no permission).
        """
        source = _PathSource(os.fspath(path))
        name = clean_name(name if name is not None else os.path.basename(source.path))
        return cls(name, _content_type(name, content_type), source.stamp.st_size, source)

    @classmethod
    def from_bytes(cls, data: bytes, *, name: str | None = None, content_type: str | None = None) -> "File":
        """Bytes in memory. Without a name it is `attachment.` and the kind that its first bytes show."""
        data = bytes(data)
        name = clean_name(name) if name is not None else f"attachment.{_sniff(data)}"
        return cls(name, _content_type(name, content_type), len(data), _BytesSource(data))

    @classmethod
    def from_stream(
        cls, factory: StreamFactory, *, name: str, size_bytes: int, content_type: str | None = None
    ) -> "File":
        """Bytes from elsewhere: `factory()` gives a fresh async iterable of chunks each time it is called."""
        if not callable(factory):
            raise ActionError("invalid_payload", "A stream needs a function that opens it anew each time.")
        if isinstance(size_bytes, bool) or not isinstance(size_bytes, int) or not 0 <= size_bytes < 2**63:
            raise ActionError(
                "invalid_payload",
                f"size_bytes must be a whole number from 0 that a disk can hold, not {brief(size_bytes)}.",
            )
        name = clean_name(name)
        return cls(name, _content_type(name, content_type), size_bytes, _StreamSource(factory))

    @classmethod
    def of(cls, value: object) -> "File":
        """A `File`, or one made of a path or bytes.

        Raises:
            ActionError: `invalid_payload` for anything else, `file_unreadable` for a bad path.
        """
        if isinstance(value, File):
            return value
        if isinstance(value, (str, os.PathLike)):
            return cls.from_path(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return cls.from_bytes(bytes(value))
        if isinstance(value, (list, tuple, set, frozenset)):
            raise ActionError(
                "invalid_payload",
                "file takes one file, not several.",
                hint="Send them one after another, or zip them (and accept 'zip').",
            )
        raise ActionError("invalid_payload", f"file must be a path, bytes or a File, not {type(value).__name__}.")

    @property
    def extension(self) -> str:
        """What stands after the last dot of the name, in lower case."""
        return extension_of(self.name)

    def same_as(self, other: "File") -> bool:
        """Equal as Flex means it: the same object, or name, size and type agree."""
        return self is other or (
            (self.name, self.size_bytes, self.content_type) == (other.name, other.size_bytes, other.content_type)
        )

    def blocking_chunks(self, size: int = CHUNK_BYTES) -> Iterator[bytes] | None:
        """The content for a worker thread, or None if the source can only be read on the event loop.

        Raises (while iterating):
            ActionError: `file_unreadable`, `file_changed`.
        """
        if isinstance(self._source, _StreamSource):
            return None
        return self._counted(self._source.chunks(size))

    async def chunks(self, size: int = CHUNK_BYTES) -> AsyncGenerator[bytes, None]:
        """The content, opened anew, in chunks of at most `size` bytes; reading a disk never blocks the loop.

        Raises (while iterating):
            ActionError: `file_unreadable`; `file_changed` if the content is not what was described.
        """
        if isinstance(self._source, _StreamSource):
            seen = 0
            async with contextlib.aclosing(self._source.chunks(size)) as pieces:
                async for chunk in pieces:
                    seen += len(chunk)
                    self._not_more(seen)
                    yield chunk
            self._not_less(seen)
            return
        blocking = self._counted(self._source.chunks(size))
        try:
            while (piece := await asyncio.to_thread(next, blocking, None)) is not None:
                yield piece
        finally:
            blocking.close()

    def _counted(self, chunks: Generator[bytes, None, None]) -> Generator[bytes, None, None]:
        seen = 0
        # Closed here and now: the error that ends this may be kept for long, and a file would stay open with it.
        with contextlib.closing(chunks):
            for chunk in chunks:
                seen += len(chunk)
                self._not_more(seen)
                yield chunk
        self._not_less(seen)

    def _not_more(self, seen: int) -> None:
        if seen > self.size_bytes:
            raise self._changed(f"more than {self.size_bytes}")

    def _not_less(self, seen: int) -> None:
        if seen != self.size_bytes:
            raise self._changed(str(seen))

    def _changed(self, found: str) -> ActionError:
        return ActionError(
            "file_changed",
            f"{self.name!r} was described as {self.size_bytes} bytes and gave {found}.",
            hint="Give the file once more; if it is attached, detach it first.",
            details={"name": self.name, "size_bytes": self.size_bytes},
        )


class _PathSource:
    """A regular file, remembered with its identity, size and modification time."""

    def __init__(self, path: str) -> None:
        if not isinstance(path, str):
            raise ActionError("invalid_payload", f"file must be a text path, not {type(path).__name__}.")
        # As given, for people: escaped, so that no name can forge a line; and not endless.
        self.shown = ascii(path) if len(path) <= 300 else ascii(path[:300]) + "…"
        # Absolute, so that a later change of the working directory changes nothing.
        self.path = os.path.abspath(path)
        descriptor, self.stamp = self._open()
        os.close(descriptor)

    def _open(self) -> tuple[int, os.stat_result]:
        try:
            # O_NONBLOCK: opening a FIFO would wait for a writer, for ever.
            descriptor = os.open(self.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise self._unreadable(f"cannot be read: {reason}") from error
        stamp = os.fstat(descriptor)
        if not stat.S_ISREG(stamp.st_mode):
            os.close(descriptor)
            kind = "a folder" if stat.S_ISDIR(stamp.st_mode) else "not a regular file"
            raise self._unreadable(f"is {kind}")
        return descriptor, stamp

    def chunks(self, size: int) -> Generator[bytes, None, None]:
        descriptor, stamp = self._open()
        with open(descriptor, "rb", buffering=0) as opened:
            self._unchanged(stamp)
            while chunk := self._read(opened, size):
                yield chunk
            self._unchanged(os.fstat(opened.fileno()))

    def _read(self, opened: BinaryIO, size: int) -> bytes:
        try:
            return opened.read(size)
        except OSError as error:
            raise self._unreadable(f"cannot be read: {error.strerror}") from error

    def _unchanged(self, now: os.stat_result) -> None:
        def mark(s: os.stat_result) -> tuple[int, ...]:
            # The time of the change too: the other one can be set back.
            return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns

        if mark(now) != mark(self.stamp):
            raise ActionError(
                "file_changed",
                f"{self.shown} changed after it was given.",
                hint="Give the file once more; if it is attached, detach it first.",
                details={"name": clean_name(self.path)},
            )

    def _unreadable(self, why: str) -> ActionError:
        return ActionError("file_unreadable", f"{self.shown} {why}.", details={"name": clean_name(self.path)})


class _BytesSource:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def chunks(self, size: int) -> Generator[bytes, None, None]:
        for start in range(0, len(self.data), size):
            yield self.data[start : start + size]


class _StreamSource:
    """A stream, of which is remembered what the longest prefix given so far was: each opening must give the same."""

    def __init__(self, factory: StreamFactory) -> None:
        self.factory = factory
        self._length = 0
        self._digest = hashlib.sha256().digest()

    async def chunks(self, size: int) -> AsyncGenerator[bytes, None]:
        with _stream_errors():
            stream = self.factory()
        if not hasattr(stream, "__aiter__"):
            if inspect.iscoroutine(stream):
                stream.close()
            raise ActionError(
                "file_unreadable",
                f"The stream is no async iterable, but {type(stream).__name__}.",
                hint="Give a function that returns one: an 'async def' that yields bytes.",
            )
        try:
            pieces = aiter(stream)
            seen, count = hashlib.sha256(), 0
            while True:
                try:
                    with _stream_errors():
                        piece = await anext(pieces)
                except StopAsyncIteration:
                    break
                if not isinstance(piece, (bytes, bytearray, memoryview)):
                    raise ActionError("file_unreadable", f"The stream gave {type(piece).__name__}, not bytes.")
                # Cut, so that one huge piece never becomes one huge write.
                for start in range(0, len(piece), size):
                    part = bytes(piece[start : start + size])
                    self._compare(seen, count, part)
                    count += len(part)
                    yield part
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                with _stream_errors():
                    await close()

    def _compare(self, seen: "hashlib._Hash", count: int, part: bytes) -> None:
        """Add a part to what this opening gave; refuse it if an earlier opening gave other bytes there."""
        there = self._length - count
        if not 0 < there <= len(part):
            seen.update(part)
        else:
            seen.update(part[:there])
            if seen.digest() != self._digest:
                raise ActionError(
                    "file_changed",
                    "The stream gave other bytes than when it was opened before.",
                    hint="Give a function that returns the same bytes each time.",
                )
            seen.update(part[there:])
        if count + len(part) > self._length:
            self._length, self._digest = count + len(part), seen.digest()


@contextlib.contextmanager
def _stream_errors() -> Iterator[None]:
    """What a stream raises of its own comes out as `file_unreadable`."""
    try:
        yield
    except (ActionError, StopAsyncIteration):
        raise
    except Exception as error:
        raise ActionError("file_unreadable", f"The stream failed: {type(error).__name__}: {error}.") from error


def _content_type(name: str, declared: str | None) -> str:
    if declared is None or declared == "":
        return guess_content_type(name)
    if not isinstance(declared, str):
        raise ActionError("invalid_payload", f"content_type must be text, not {type(declared).__name__}.")
    bare = declared.split(";")[0].strip().casefold()
    if len(bare) > _MAX_TYPE_CHARS or not _CONTENT_TYPE.match(bare):
        raise ActionError("invalid_payload", f"{brief(declared)} is not a MIME type.", hint="Write it as 'image/png'.")
    return bare


def _sniff(data: bytes) -> str:
    for signature, extension in _SIGNATURES:
        if data.startswith(signature):
            return extension
    try:
        # Incremental: the cut may fall inside a character.
        codecs.getincrementaldecoder("utf-8")().decode(data[:4096])
    except UnicodeDecodeError:
        return "bin"
    return "bin" if b"\0" in data[:4096] else "txt"
