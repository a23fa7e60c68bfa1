"""Copies of a store's parts: the database as it is at one moment, its files checked while they are copied."""

import concurrent.futures
import contextlib
import functools
import hashlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from ...clock import RANDOM_IDS
from ...errors import ActionError
from .. import sql
from ..local import DATABASE
from ..media_folder import SID, sync, sync_folder
from ..store import Store
from .sources import Wanted, still_wanted, wanted_bytes, wanted_files
from .work import Work

RESTORED: Final = "restored"  # the setting that each restore gives a new value
_BACKUP_PAGES: Final = 2048
_CHUNK_BYTES: Final = 1024 * 1024
_THREADS: Final = 4


@attrs.frozen
class Moment:
    """When a database was copied: the newest event by then, and the last restore."""

    seq: int
    restored: str | None


@contextlib.contextmanager
def scratch(path: str, work: Work) -> Iterator[sqlite3.Connection]:
    """A private database that nobody else knows of, one file without a log; forced onto the disk at the end."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    with contextlib.closing(sql.connect(path)) as db, work.watching(db):
        yield db
        db.execute("PRAGMA journal_mode=DELETE")


def copy_database(source: sqlite3.Connection, copy: sqlite3.Connection, work: Work) -> Moment:
    """Copy a database as it is now. Writers go on meanwhile, and cannot make it begin anew."""
    source.execute("BEGIN")
    try:
        # From this look on, the connection keeps to what it saw; without it each commit of a writer would start the
        # copy afresh.
        moment = moment_of(source)

        def tell(_: int, remaining: int, total: int) -> None:
            work.tell("database", (total - remaining) * 4096, total * 4096)

        source.backup(copy, pages=_BACKUP_PAGES, progress=tell, sleep=0)
    finally:
        source.execute("COMMIT")
    copy.execute("PRAGMA journal_mode=MEMORY")
    return moment


def moment_of(db: sqlite3.Connection) -> Moment:
    """The moment that a database shows."""
    seq = db.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'event'").fetchall()[0][0]
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'setting'").fetchall():
        return Moment(int(seq or 0), None)
    restored = db.execute("SELECT value FROM setting WHERE name = ?", (RESTORED,)).fetchall()
    return Moment(int(seq or 0), restored[0][0] if restored else None)


def purge(path: str, work: Work, now: float) -> None:
    """Take personal events that are 7 days old out of a private database, with every trace of them."""
    compact, gone = f"{path}-compact", False
    with scratch(path, work) as copy:
        store = Store(copy, RANDOM_IDS)
        copy.execute("BEGIN")
        while store.purge(now):
            gone = True
        copy.execute("COMMIT")
        if gone:
            # Rows that were taken out can have left neighbours' bytes behind.
            os.close(os.open(compact, os.O_RDWR | os.O_CREAT, 0o600))
            copy.execute("VACUUM INTO ?", (compact,))
    if gone:
        os.replace(compact, path)


class FileCopies:
    """Copies files from one store's folder into another place, several at a time.

    Args:
        source: the folder of the store.
        keep: the folder to copy one into, or None to only read and check it.
        work: what to ask and tell.
    """

    def __init__(self, source: str, keep: Callable[[Wanted], str | None], work: Work) -> None:
        self._source = source
        self._keep = keep
        self._work = work
        self._done_bytes = 0
        self._counting = threading.Lock()

    def copy(self, copied: sqlite3.Connection, live: sqlite3.Connection) -> list[Wanted]:
        """Copy all that the rows of `copied` want; those that are damaged or missing, though `live` wants them still.

        A file that was deleted meanwhile is simply not there.
        """
        total, bad = wanted_bytes(copied), []
        with concurrent.futures.ThreadPoolExecutor(_THREADS, "flex-actions-copy") as pool:
            one = functools.partial(self._copy, total=total)
            try:
                for page in wanted_files(copied):
                    whole = list(pool.map(one, page))
                    failed = (wanted for wanted, fine in zip(page, whole, strict=True) if not fine)
                    bad += [wanted for wanted in failed if still_wanted(live, wanted.sid)]
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return bad

    def _copy(self, wanted: Wanted, total: int) -> bool:
        seen = 0

        def tell(count: int) -> None:
            nonlocal seen
            with self._counting:
                self._done_bytes += count - seen
                self._work.tell("files", min(self._done_bytes, total), total)
            seen = count

        folder = self._keep(wanted)
        return copy_file(stored_at(self._source, wanted.sid), folder and stored_at(folder, wanted.sid), wanted, tell)


def stored_at(folder: str, sid: str) -> str:
    """Where a store keeps a file. Raises `store_corrupt` for a sid that is none: no path is made of it."""
    if not SID.match(sid):
        raise ActionError("store_corrupt", "The chat names a file by what is no sid.", hint=sql.RESTORE)
    return os.path.join(folder, "media", sid[-1:], sid)


def copy_file(source: str, target: str | None, wanted: Wanted, tell: Callable[[int], object]) -> bool:
    """Copy a file, or only read it if there is no target; whether it is what it should be. Else nothing is left.

    Raises what writing raises: `OSError`.
    """
    fine = False
    written = None if target is None else os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        digest, count = hashlib.sha256(), 0
        for chunk in _chunks(source):
            digest.update(chunk)
            count += len(chunk)
            tell(count)
            rest = memoryview(chunk)
            while written is not None and rest:
                rest = rest[os.write(written, rest) :]
        fine = (count, digest.hexdigest()) == (wanted.size_bytes, wanted.sha256)
        if written is not None and fine:
            sync(written)
    finally:
        if written is not None:
            os.close(written)
        if target is not None and not fine:
            os.unlink(target)
    return fine


def copy_as_is(source: str, target: str, work: Work) -> None:
    """Copy what can be read of a file."""
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0) as file:
        for chunk in _chunks(source):
            work.go_on()
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
        sync(file.fileno())


def _chunks(path: str) -> Iterator[bytes]:
    """A file's content; what cannot be read is cut off, which its hash tells.

    Raises `file_unreadable` where only a permission is missing: then nothing is lost.
    """
    try:
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        # A pipe in a file's place must not keep us waiting.
        descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb", buffering=0) as file:
            # A device can be read without end.
            while stat.S_ISREG(os.fstat(descriptor).st_mode) and (chunk := file.read(_CHUNK_BYTES)):
                yield chunk
    except PermissionError as error:
        raise ActionError(
            "file_unreadable",
            f"A file of the chat must not be read by this user: {os.path.basename(path)}.",
            hint="Check owner and permissions of the chat's folder and all below it.",
        ) from error
    except OSError:
        return


def make_media(folder: str) -> None:
    """Make the folders for files in a private place."""
    os.mkdir(os.path.join(folder, "media"), 0o700)
    for digit in "0123456789abcdef":
        os.mkdir(os.path.join(folder, "media", digit), 0o700)


def make_durable(folder: str) -> None:
    """Force the names of all that was built in a folder onto the disk, its database too."""
    with open(os.path.join(folder, DATABASE), "rb+") as database:  # nobody has it open yet
        sync(database.fileno())
    for digit in "0123456789abcdef":
        sync_folder(os.path.join(folder, "media", digit))
    for each in (os.path.join(folder, "media"), folder):
        sync_folder(each)
