"""Files on their way between the event loop and the disk."""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator
from typing import Final

from ..errors import ActionError
from ..files import CHUNK_BYTES, File
from ..ports import Media, Progress
from .media_folder import too_large
from .store import media_deleted

READ_BYTES: Final = 1024 * 1024  # larger than what is written at once: each piece read costs a hop to a worker


class Ticker:
    """Carries the progress of a worker to the event loop: the newest count, not each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, progress: Progress | None) -> None:
        self._loop = loop
        self._progress = progress
        self._count = 0
        self._under_way = False

    def tell(self, count: int) -> None:
        """Note a count; from any thread."""
        if self._progress is None:
            return
        self._count = count
        if not self._under_way:
            self._under_way = True
            # The loop may have ended meanwhile; then nobody wants to know.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, self._progress)

    def _tell(self, progress: Progress) -> None:
        self._under_way = False
        progress(self._count)


async def gathered_chunks(file: File, max_bytes: int | None) -> AsyncGenerator[bytes, None]:
    """The chunks of a stream, small ones together, so that each hop to a worker is worth it.

    Raises `invalid_size` as soon as more than `max_bytes` came.
    """
    gathered = bytearray()
    count = 0
    async with contextlib.aclosing(file.chunks()) as pieces:
        async for piece in pieces:
            count += len(piece)
            if max_bytes is not None and count > max_bytes:
                raise too_large(max_bytes)
            gathered += piece
            if len(gathered) >= CHUNK_BYTES:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)


class Reading:
    """A stored file on its way to a reader. Blocks; for worker threads, where hashing holds nobody up.

    Args:
        path: where it lies.
        media: what it should be.
        offset, length: the bytes wanted; all of them are compared with the file's hash before the last are given.

    Attributes:
        left: how many bytes are still to come.

    Raises:
        ActionError: `media_deleted`, `media_corrupt` (another size).
    """

    def __init__(self, path: str, media: Media, offset: int, length: int) -> None:
        self.left = length
        self._media = media
        self._digest = hashlib.sha256() if length == media.size_bytes else None
        try:
            self._opened = open(path, "rb", buffering=0)  # noqa: SIM115 - `close` does
        except FileNotFoundError as error:
            raise media_deleted(media.sid) from error
        try:
            if os.fstat(self._opened.fileno()).st_size != media.size_bytes:
                raise media_corrupt(media)
            self._opened.seek(min(offset, media.size_bytes))
        except BaseException:
            self.close()
            raise

    @classmethod
    def begun(cls, path: str, media: Media, offset: int, length: int) -> "tuple[Reading, bytes]":
        """One that is opened, and its first chunk. Raises `media_deleted`, `media_corrupt`."""
        reading = cls(path, media, offset, length)
        try:
            return reading, reading.chunk()
        except BaseException:
            reading.close()
            raise

    def chunk(self) -> bytes:
        """The next bytes; none at the end. Raises `media_corrupt`."""
        chunk = self._opened.read(min(self.left, READ_BYTES))
        self.left -= len(chunk)
        if self._digest is not None:
            self._digest.update(chunk)
        ends_wrong = self._digest is not None and not self.left and self._digest.hexdigest() != self._media.sha256
        if ends_wrong or (self.left and not chunk):
            raise media_corrupt(self._media)
        return chunk

    def close(self) -> None:
        """Let go of the file."""
        self._opened.close()


def media_corrupt(media: Media) -> ActionError:
    """The error of a file that is not what was stored."""
    return ActionError(
        "media_corrupt",
        "The stored file does not match its size or hash.",
        hint="Ask the sender to send it again.",
        details={"media_sid": media.sid},
    )
