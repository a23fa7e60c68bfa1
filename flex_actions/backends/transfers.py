"""Files on their way between the event loop and the disk."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator
from typing import BinaryIO, Final

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


def open_at(path: str, media: Media, offset: int, left: int) -> tuple[BinaryIO, bytes]:
    """A stored file, opened at `offset`, and its first chunk of at most `left` bytes; blocks.

    Raises `media_deleted`, `media_corrupt` (another size).
    """
    try:
        opened = open(path, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    except FileNotFoundError as error:
        raise media_deleted(media.sid) from error
    try:
        if os.fstat(opened.fileno()).st_size != media.size_bytes:
            raise media_corrupt(media)
        opened.seek(min(offset, media.size_bytes))
        return opened, opened.read(min(left, READ_BYTES))
    except BaseException:
        opened.close()
        raise


def media_corrupt(media: Media) -> ActionError:
    """The error of a file that is not what was stored."""
    return ActionError(
        "media_corrupt",
        "The stored file does not match its size or hash.",
        hint="Ask the sender to send it again.",
        details={"media_sid": media.sid},
    )
