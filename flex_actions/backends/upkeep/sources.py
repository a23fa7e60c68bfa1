"""A store that is read while others use it."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from typing import Final

import attrs

from ...errors import ActionError
from .. import sql
from ..local import DATABASE
from ..presence import visiting
from .work import Work

PAGE_ROWS: Final = 500
_HUGE_PAGES: Final = 250_000  # about a gigabyte: then the indexes are not compared with their tables
_MAX_ERRORS: Final = 20


@attrs.frozen
class Wanted:
    """A file that a message carries."""

    row: int
    message_sid: str
    sid: str
    size_bytes: int
    sha256: str


@contextlib.contextmanager
def reading(folder: str, work: Work) -> Iterator[sqlite3.Connection]:
    """A connection that leaves everything as it is. Raises `store_corrupt`; `sqlite3.Error`."""
    with visiting(folder), contextlib.closing(_connection(os.path.join(folder, DATABASE))) as db, work.watching(db):
        yield db


def _connection(path: str) -> sqlite3.Connection:
    if 0 < os.path.getsize(path) < sql.SMALLEST_BYTES:
        raise ActionError("store_corrupt", "The database there is damaged or none.", hint=sql.RESTORE)
    # Whoever closes last empties the log and removes it, unless reading is all it may do. But then, where there is no
    # log yet, it would leave one behind.
    has_log = os.path.exists(path + "-wal")
    db = sql.connect(path, read_only=True, how="mode=ro" if has_log else "mode=rw")
    try:
        db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except sqlite3.OperationalError as error:
        db.close()
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if has_log or primary not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise
        # A disk that cannot be written has nobody who writes.
        return sql.connect(path, read_only=True, how="immutable=1")
    except BaseException:
        db.close()
        raise
    return db


def damage(db: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong in a database, at most 20 lines; empty if it is whole. Raises `sqlite3.Error`."""
    pages = db.execute("PRAGMA page_count").fetchall()[0][0]
    check = "quick_check" if pages > _HUGE_PAGES else "integrity_check"
    found = [str(line) for (line,) in db.execute(f"PRAGMA {check}({_MAX_ERRORS})").fetchall()]
    return [] if found == ["ok"] else found


def must_be_whole(db: sqlite3.Connection, what: str, hint: str) -> None:
    """Raise `store_corrupt` unless a database is one of ours and whole; `store_version` if it is too new."""
    sql.check_ours(db)
    errors = damage(db)
    purposes = {purpose for (purpose,) in db.execute("SELECT purpose FROM secret").fetchall()}
    if not errors and not purposes >= {"link", "idempotency"}:
        errors = ["its secrets are missing"]
    if errors:
        raise ActionError("store_corrupt", f"{what} is damaged: {errors[0]}.", hint=hint, details={"errors": errors})


_SIDS: Final = (
    ("channel", "sid", "CH"),
    ("message", "sid", "IM"),
    ("message", "media_sid", "ME"),
)


def must_hold_nothing_else(db: sqlite3.Connection, what: str) -> None:
    """Raise `store_corrupt` if a backup holds what no chat does: it may come from anywhere.

    Before anything is changed in it, for its triggers would act.
    """
    statement = sql.TRIGGER.strip()
    objects = db.execute("SELECT type, name, sql FROM sqlite_schema WHERE type IN ('trigger', 'view')").fetchall()
    if any(found != ("trigger", "message_posted", statement) for found in objects):
        raise _strange(what, "triggers or views")
    for table, column, prefix in _SIDS:
        gone = f" AND NOT ({column} GLOB '--*' AND length({column}) = 34)" if prefix == "ME" else ""
        wrong = (
            f"SELECT 1 FROM {table} WHERE {column} IS NOT NULL AND (typeof({column}) <> 'text'"  # noqa: S608
            f" OR length(CAST({column} AS BLOB)) <> 34 OR {column} NOT GLOB '{prefix}*'"
            f" OR substr({column}, 3) GLOB '*[^0-9a-f]*'){gone} LIMIT 1"
        )
        if db.execute(wrong).fetchall():
            raise _strange(what, "identifiers")
    numbers = "SELECT 1 FROM sqlite_sequence WHERE typeof(seq) <> 'integer' OR seq NOT BETWEEN 0 AND 1 << 53 LIMIT 1"
    if db.execute(numbers).fetchall():
        raise _strange(what, "numbers")


def _strange(what: str, things: str) -> ActionError:
    return ActionError(
        "store_corrupt", f"{what} holds {things} that no chat has.", hint="Use no backup that others could write to."
    )


def wanted_files(db: sqlite3.Connection) -> Iterator[list[Wanted]]:
    """The files that messages carry, page by page, each from a look of its own."""
    after = 0
    while True:
        rows = db.execute(
            "SELECT id, sid, media_sid, media_size, media_sha256 FROM message"
            " WHERE id > ? AND media_sid IS NOT NULL AND NOT deleted ORDER BY id LIMIT ?",
            (after, PAGE_ROWS),
        ).fetchall()
        if not rows:
            return
        yield [Wanted(*row) for row in rows]
        after = rows[-1][0]


def wanted_bytes(db: sqlite3.Connection) -> int:
    """The size of all files that messages carry."""
    sql_ = "SELECT total(media_size) FROM message WHERE media_sid IS NOT NULL AND NOT deleted"
    return int(db.execute(sql_).fetchall()[0][0])


def still_wanted(db: sqlite3.Connection, sid: str) -> bool:
    """Whether a message carries this file now."""
    return bool(db.execute("SELECT 1 FROM message WHERE media_sid = ? AND NOT deleted", (sid,)).fetchall())


def counts(db: sqlite3.Connection) -> tuple[int, int, int]:
    """How many channels, messages and files there are, without the deleted."""
    row = db.execute(
        "SELECT (SELECT count(*) FROM channel), count(*), count(media_sid) FROM message WHERE NOT deleted"
    ).fetchall()[0]
    return int(row[0]), int(row[1]), int(row[2])
