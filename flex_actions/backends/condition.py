"""How a store is: a quick, bounded look from outside, whoever uses it meanwhile and whether or not it can be opened.

Nothing is opened but files of the system and, through SQLite, the database: closing another descriptor of that would
take SQLite's locks away from the whole process.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from ..errors import ActionError
from . import glance, leftovers, surroundings
from .findings import Finding
from .local import DATABASE, holds_no_chat
from .media_folder import MediaFolder
from .sql import RESTORE, store_error

WAL_NOTE_BYTES: Final = 64_000_000
_WAIT_S: Final = 1.0
_PARTS: Final = (DATABASE, DATABASE + "-wal", DATABASE + "-shm", "media", "incoming", "open", "lock")


def examine(folder: str, *, now: float) -> Iterator[Finding]:
    """Look at a local store, in a moment and without changing anything.

    Args:
        folder: an absolute path, of a store or of none.
        now: seconds since the epoch, UTC.
    """
    missing = holds_no_chat(folder) or not _may_be_folder(folder)
    if missing:
        yield _missing(folder)
    ground = _ground_of(folder)
    yield from examined("permissions", lambda: surroundings.permissions(ground, *([] if missing else _PARTS)))
    if not missing:
        yield from examined("owner", lambda: surroundings.ownership(folder, *_PARTS))
    yield from examined("file system", lambda: [surroundings.file_system(ground)])
    yield from examined("free space", lambda: surroundings.room(ground))
    yield from examined("leftovers", lambda: leftovers.neighbours(folder))
    if not missing:
        yield from examined("store", lambda: _store(folder, now))


def examined(subject: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a look finds, and if it fails, that."""
    try:
        yield from look()
    except OSError as error:
        fact = f"It cannot be looked at: {error.strerror or type(error).__name__}."
        advice = "Check the folder, its owner and permissions, and the disk."
        yield Finding("problem", subject, fact, advice, {"code": store_error(error).code})
    except sqlite3.Error as error:
        told = store_error(error)
        advice = told.hint or RESTORE
        if told.code == "store_corrupt":
            advice += " flex-actions store check looks at all of it."
        yield Finding("problem", subject, told.message, advice, {"code": told.code})
    except ActionError as error:
        yield Finding("problem", subject, error.message, error.hint, {"code": error.code})
    except (Exception, SystemExit) as error:
        # Its text could hold anything.
        fact = f"It could not be examined: {type(error).__name__}."
        yield Finding("problem", subject, fact, "If the rest is well, tell the authors of flex_actions.")


def _missing(folder: str) -> Finding:
    facts = {"folder": folder}
    if not _may_be_folder(folder):
        return Finding("problem", "store", f"{folder!a} is no folder.", "Check --chat.", facts)
    advice = "flex-actions channel create makes one; otherwise check --chat."
    return Finding("problem", "store", f"There is no chat in {folder!a}.", advice, facts)


def _may_be_folder(path: str) -> bool:
    return os.path.isdir(path) or not os.path.lexists(path)


def _ground_of(folder: str) -> str:
    """The folder, or the nearest one above it that is there."""
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    return folder


def _store(folder: str, now: float) -> Iterator[Finding]:
    users = leftovers.users(folder)
    alone = users.count == 0
    path = os.path.join(folder, DATABASE)
    log = _size_of(path + "-wal")
    yield Finding("ok", "store", f"In {folder!a}.", details={"folder": folder})
    yield leftovers.in_use(users)
    yield _sizes(_size_of(path), log, alone=alone)
    yield from examined("leftovers", lambda: leftovers.parts(folder, now, alone=alone))
    # Whoever has it open, or was killed, has left one of these; without them there is nobody to lock it.
    untouched = not users.count and not any(os.path.exists(path + end) for end in ("-wal", "-journal"))
    with contextlib.closing(glance.open_to_read(path, untouched=untouched)) as db:
        found = glance.store_format(db)
        yield found
        if not untouched:
            yield from examined("journal", lambda: [glance.journal(db)])
            yield from examined("write lock", lambda: [_lock(path)])
        if found.level == "ok":
            yield from examined("database", lambda: [glance.integrity(db)])
            yield from _content(folder, db, now, alone=alone)


def _content(folder: str, db: sqlite3.Connection, now: float, *, alone: bool) -> Iterator[Finding]:
    file_of = MediaFolder(folder).path
    yield from examined("messages", lambda: glance.sample(db, folder, file_of))
    yield from examined("leftovers", lambda: leftovers.orphans(folder, db, now, alone=alone))
    yield from examined("links", lambda: [leftovers.address(db, now)])
    yield from examined("link key", lambda: [glance.link_keys(db, now)])
    yield from examined("clock", lambda: [glance.clock(db, now)])
    yield from examined("purge", lambda: [glance.purge(db, now, in_use=not alone)])
    yield from examined("copy", lambda: glance.rescued(db))


def _sizes(database: int, log: int, *, alone: bool) -> Finding:
    fact = f"Database {surroundings.size(database)}, its log {surroundings.size(log)}."
    facts = {"database_bytes": database, "log_bytes": log}
    if log < WAL_NOTE_BYTES:
        return Finding("ok", "size", fact, details=facts)
    advice = (
        "The next opening takes it in."
        if alone
        else "A process that reads without end keeps the log from being taken in: find it, and end it."
    )
    return Finding("note", "size", fact, advice, facts)


def _lock(path: str) -> Finding:
    """Whether something could be written just now. Nothing is."""
    # Beside the reading connection: so this is not the last one, which would take the log in when it closes.
    uri = Path(path).as_uri() + "?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)) as db:
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            fact = f"Somebody has kept it for more than {_WAIT_S:.0f} s: nothing can be sent meanwhile."
            advice = "Find the process that hangs in the middle of writing (fuser, lsof) and end it."
            return Finding("problem", "write lock", fact, advice)
    return Finding("ok", "write lock", "It can be had.")


def _size_of(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
