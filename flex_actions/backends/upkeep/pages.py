"""The pages of a SQLite database, read without SQLite: what is damaged in one of them hides nothing in the others.

See https://www.sqlite.org/fileformat2.html for the format.
"""

import contextlib
import os
import struct
from collections.abc import Iterator
from typing import BinaryIO, Final

from .work import Work

_MAGIC: Final = b"SQLite format 3\0"
_USUAL_PAGE_BYTES: Final = 4096
_SIZES: Final = frozenset(1 << n for n in range(9, 17))
_LOG_HEAD: Final = 32
_FRAME_HEAD: Final = 24
_LOG_MAGIC: Final = 0x377F0682  # with checksums of little-endian words; one more: big-endian


class Pages:
    """The pages of a database as its log leaves them.

    A frame of the log counts if its own checksum is right, also behind a damaged one; without that, whoever deleted
    something there would see it again.

    Args:
        path: the database; its log lies beside it. Nobody may have it open.
        work: what to ask and tell.

    Attributes:
        size: bytes a page.
        count: pages there are, or should be.
        missing: pages that should be there and are not.
        damaged_frames: frames of the log that cannot be used.
    """

    def __init__(self, path: str, work: Work) -> None:
        self._work = work
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed by close()
        self._log: BinaryIO | None = None
        self._frames: dict[int, int] = {}
        self.damaged_frames = 0
        head = self._file.read(100)
        self.size = _page_size(head) or _USUAL_PAGE_BYTES
        there = -(-os.path.getsize(path) // self.size)
        if os.path.isfile(f"{path}-wal"):
            self._log = open(f"{path}-wal", "rb")  # noqa: SIM115
            self._read_log(_page_size(head) is not None)
        told = int.from_bytes(head[28:32], "big") if _page_size(head) else 0
        first = self.page(1)
        told = int.from_bytes(first[28:32], "big") if first[:16] == _MAGIC else told
        # A damaged count may be anything.
        self.count = max(there, *self._frames, told if told < 1000 * max(there, 1) else 0)
        self.missing = max(0, self.count - max(there, max(self._frames, default=0)))

    def close(self) -> None:
        """Let go of the files."""
        self._file.close()
        if self._log is not None:
            self._log.close()

    def page(self, number: int) -> bytes:
        """A page, from 1; shorter than `size` where the file ends."""
        if number in self._frames and self._log is not None:
            return self._read(self._log, self._frames[number], self.size)
        return self._read(self._file, (number - 1) * self.size, self.size)

    def _read(self, file: BinaryIO, offset: int, size: int) -> bytes:
        # A disk that cannot read one page may read the next.
        with contextlib.suppress(OSError):
            file.seek(offset)
            return file.read(size)
        return b""

    def version(self) -> tuple[int, int]:
        """Application id and format, as far as they can be read."""
        first = self.page(1)
        if first[:16] != _MAGIC or len(first) < 100:
            return 0, 0
        return int.from_bytes(first[68:72], "big"), int.from_bytes(first[60:64], "big")

    def _read_log(self, knows_size: bool) -> None:
        assert self._log is not None
        head = self._log.read(_LOG_HEAD)
        if len(head) < _LOG_HEAD:
            return
        magic, _, size, _, *salts_and_sum = struct.unpack(">8I", head)
        order, salts, running = "<", b"", (0, 0)
        if magic & ~1 == _LOG_MAGIC and size in _SIZES:
            order, salts = "<>"[magic & 1], head[16:24]
            running = (salts_and_sum[2], salts_and_sum[3])
            if not knows_size:
                self.size = size
        pending: dict[int, int] = {}
        for offset, frame in self._raw_frames():
            salts = salts or frame[8:16]
            if frame[8:16] != salts:
                # An older log's, or a damaged one: only what comes behind can tell.
                continue
            number, commit = struct.unpack(">2I", frame[:8])
            right = struct.unpack(">2I", frame[16:24])
            if number and _checksum(order, frame[:8] + frame[_FRAME_HEAD:], running) == right:
                pending[number] = offset + _FRAME_HEAD
                if commit:
                    self._frames.update(pending)
                    pending.clear()
            else:
                self.damaged_frames += 1
            running = right

    def _raw_frames(self) -> Iterator[tuple[int, bytes]]:
        assert self._log is not None
        offset, end = _LOG_HEAD, os.fstat(self._log.fileno()).st_size
        while True:
            self._work.tell("log", offset, end)
            frame = self._read(self._log, offset, _FRAME_HEAD + self.size)
            if len(frame) < _FRAME_HEAD + self.size:
                return
            yield offset, frame
            offset += len(frame)


def _page_size(head: bytes) -> int | None:
    if len(head) < 100 or head[:16] != _MAGIC:
        return None
    size = int.from_bytes(head[16:18], "big")
    size = 65536 if size == 1 else size
    return size if size in _SIZES else None


def _checksum(order: str, data: bytes, running: tuple[int, int]) -> tuple[int, int]:
    first, second = running
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for even, odd in zip(words, words, strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second
