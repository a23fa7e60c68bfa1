"""Files on disk: `media/<last digit>/<sid>`, written as `incoming/<sid>.part`. No name given by anybody is in a path.

Everything here blocks and runs in worker threads. A file is first, its row second, the acknowledgement last; so what a
crash leaves is a file without a row. `sweep` sets it aside, in `stray/`, for a week: should an older database have been
put in its place, the row that wants it may come back.
"""

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterator
from typing import Final

from ..errors import ActionError
from ..ports import PURGE_AFTER_S
from .sql import FAILURES, store_error

STRAY: Final = "stray"
SID: Final = re.compile(r"ME[0-9a-f]{32}\Z")


class MediaFolder:
    """The files of one store, below its folder."""

    def __init__(self, root: str) -> None:
        self._media = os.path.join(root, "media")
        self._incoming = os.path.join(root, "incoming")
        self._stray = os.path.join(root, STRAY)
        self._folders: dict[str, int | None] = {}  # open ones, by the last digit of what lies in them

    def open(self) -> None:
        """Make the folders, for their owner only, and hold them open: each file has to be forced into its own."""
        for folder in (self._media, self._incoming):
            make_folder(folder)
        for digit in "0123456789abcdef":
            folder = os.path.join(self._media, digit)
            make_folder(folder)
            self._folders[digit] = open_folder(folder)

    def close(self) -> None:
        """Let go of the folders."""
        for descriptor in self._folders.values():
            if descriptor is not None:
                os.close(descriptor)
        self._folders.clear()

    def path(self, sid: str) -> str:
        """Where a file lies; by its last digit, which differs even where ids are counted."""
        if not SID.match(sid):
            raise ActionError("media_deleted", "There is no such file.")
        return f"{self._media}{os.sep}{sid[-1]}{os.sep}{sid}"

    def part(self, sid: str, max_bytes: int | None) -> "Part":
        """Begin a file."""
        return Part(f"{self._incoming}{os.sep}{sid}.part", self.path(sid), self._folders[sid[-1]], max_bytes)

    def holds(self, sid: str) -> bool:
        """Whether there is a file of that name, whole or in parts."""
        return os.path.lexists(self.path(sid)) or os.path.lexists(os.path.join(self._incoming, f"{sid}.part"))

    def remove(self, sid: str) -> None:
        """Remove a file; nothing happens if it is gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(sid))

    def sweep_parts(self) -> None:
        """Remove what was never finished. Only while nobody else has the store open."""
        for entry in _entries(self._incoming):
            if entry.name.endswith(".part") and entry.is_file(follow_symlinks=False):
                os.unlink(entry.path)

    def sweep(self, wanted: Callable[[str], bool], deleted: Callable[[str], bool], now: float) -> int:
        """Set files aside that no row wants, and take back those that one wants again; how many were set aside.

        What was `deleted` is removed. Only while nobody else has the store open.
        """
        self._take_back(wanted, deleted)
        aside = 0
        for folder in _entries(self._media):
            if folder.is_dir(follow_symlinks=False):
                for entry in _entries(folder.path):
                    if SID.match(entry.name) and not wanted(entry.name):
                        if deleted(entry.name):
                            os.unlink(entry.path)
                        else:
                            self._set_aside(entry.path, entry.name, now)
                            aside += 1
        return aside

    def _set_aside(self, path: str, sid: str, now: float) -> None:
        make_folder(self._stray)
        # From now on it is kept for a week, however old it is.
        os.utime(path, (now, now))
        os.replace(path, os.path.join(self._stray, sid))

    def _take_back(self, wanted: Callable[[str], bool], deleted: Callable[[str], bool]) -> None:
        for entry in self._strays():
            if deleted(entry.name):
                os.unlink(entry.path)
            elif wanted(entry.name) and not os.path.lexists(place := self.path(entry.name)):
                os.replace(entry.path, place)

    def purge_strays(self, now: float) -> None:
        """Remove what was set aside a week ago."""
        for entry in self._strays():
            with contextlib.suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime <= now - PURGE_AFTER_S:
                    os.unlink(entry.path)

    def _strays(self) -> "list[os.DirEntry[str]]":
        if not os.path.isdir(self._stray):
            return []
        return [entry for entry in _entries(self._stray) if SID.match(entry.name)]


class Part:
    """A file while it is written: `write`, `write`, …, then `finish` or `abandon`.

    Attributes:
        count: bytes written so far.
    """

    def __init__(self, path: str, target: str, folder: int | None, max_bytes: int | None) -> None:
        self.count = 0
        self._path = path
        self._target = target
        self._folder = folder
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        self._descriptor: int | None = os.open(path, flags, 0o600)

    def write(self, chunk: bytes) -> None:
        """Add bytes. Raises `invalid_size` beyond the limit; the operating system's errors."""
        if self._max_bytes is not None and self.count + len(chunk) > self._max_bytes:
            raise too_large(self._max_bytes)
        self._hash.update(chunk)
        self.count += len(chunk)
        rest = memoryview(chunk)
        while rest:
            rest = rest[os.write(self._open(), rest) :]

    def finish(self) -> tuple[int, str]:
        """Make it durable under its own name; its size and sha256."""
        sync(self._open())
        self._shut()
        os.replace(self._path, self._target)
        if self._folder is not None:
            sync(self._folder)
        return self.count, self._hash.hexdigest()

    def abandon(self) -> None:
        """Leave nothing of it, finished or not."""
        with contextlib.suppress(OSError):
            self._shut()
        for path in (self._path, self._target):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def _open(self) -> int:
        if self._descriptor is None:
            raise RuntimeError("the part is finished")
        return self._descriptor

    def _shut(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def copy(part: Callable[[], Part], chunks: Iterator[bytes], going: Callable[[int], bool]) -> tuple[int, str]:
    """Write all chunks into a part, in one go; `going` is told the count after each and says whether to go on.

    Returns size and sha256; if it was told to stop, what it returns means nothing, and nothing is left.
    """
    try:  # `explained` written out: for a small file it would cost as much as hashing it
        opened = part()
        try:
            for chunk in chunks:
                opened.write(chunk)
                if not going(opened.count):
                    opened.abandon()
                    return 0, ""
            return opened.finish()
        except BaseException:
            opened.abandon()
            raise
    except (*FAILURES, OSError) as error:
        raise store_error(error) from error


def too_large(max_bytes: int) -> ActionError:
    """The error of a file that turns out larger than allowed."""
    return ActionError(
        "invalid_size", f"The file is larger than {max_bytes} bytes.", details={"limit_bytes": max_bytes}
    )


def make_folder(path: str) -> None:
    """Make a folder for its owner only, durably, with those above it; one that is there stays as it is."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    os.makedirs(parent, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        sync_folder(parent)
    if not os.path.isdir(path):
        raise NotADirectoryError(20, "Not a directory", path)


def sync(descriptor: int) -> None:
    """Force a file onto the disk itself."""
    if sys.platform == "darwin":
        import fcntl

        # fsync stops at the drive's own cache there.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def open_folder(path: str) -> int | None:
    """A descriptor to `sync` a folder's entries with; None on Windows, where that is neither possible nor needed."""
    return None if os.name == "nt" else os.open(path, os.O_RDONLY)


def sync_folder(path: str) -> None:
    """Force a folder's entries onto the disk."""
    descriptor = open_folder(path)
    if descriptor is not None:
        try:
            sync(descriptor)
        finally:
            os.close(descriptor)


def _entries(path: str) -> list["os.DirEntry[str]"]:
    with os.scandir(path) as entries:
        return list(entries)
