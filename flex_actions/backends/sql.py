"""The SQLite side of a store: its tables, how a connection is made, what its errors mean."""

import contextlib
import errno
import secrets
import sqlite3
import urllib.parse
from collections.abc import Iterator
from typing import Final

from ..errors import ActionError

APPLICATION_ID: Final = 0x464C5841  # "FLXA"
VERSION: Final = 1
BUSY_LIMIT_S: Final = 5.0
# Beside SQLite's own errors: what a damaged row is to those who read it (text that is none).
FAILURES: Final = (sqlite3.Error, ValueError, TypeError)
SMALLEST_BYTES: Final = 512  # SQLite would take what is shorter for empty, and overwrite it

# Messages are added at the end of their table and deleted by overwriting them where they lie. If rows were taken out,
# SQLite would now and then move their neighbours, and leave copies behind that no later deletion reaches, with
# secure_delete or without.
# The trigger does in one step what would take three; each step lets other threads in between, which costs more.
# Events and memberships use AUTOINCREMENT: a cursor or a link must never fit a later row.
SCHEMA: Final = """
CREATE TABLE secret (
    id INTEGER PRIMARY KEY,
    purpose TEXT NOT NULL,
    value BLOB NOT NULL
);

CREATE TABLE channel (
    id INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    unique_name TEXT,
    channel_type TEXT NOT NULL,
    state TEXT NOT NULL,
    created_by TEXT NOT NULL,
    created_at REAL NOT NULL,
    next_index INTEGER NOT NULL
);

CREATE UNIQUE INDEX channel_by_name ON channel (unique_name) WHERE unique_name IS NOT NULL;

CREATE TABLE member (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL REFERENCES channel (id),
    identity TEXT NOT NULL,
    joined_at REAL NOT NULL,
    UNIQUE (channel, identity)
);

CREATE INDEX member_by_identity ON member (identity, channel);

CREATE TABLE message (
    id INTEGER PRIMARY KEY,
    sid TEXT NOT NULL UNIQUE,
    channel INTEGER NOT NULL REFERENCES channel (id),
    idx INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    author TEXT NOT NULL,
    body TEXT,
    attributes TEXT NOT NULL,
    created_at REAL NOT NULL,
    media_sid TEXT,
    media_name TEXT,
    media_type TEXT,
    media_size INTEGER,
    media_sha256 TEXT,
    UNIQUE (channel, idx)
);

CREATE UNIQUE INDEX message_by_media ON message (media_sid) WHERE media_sid IS NOT NULL;

CREATE TABLE event (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    channel INTEGER NOT NULL REFERENCES channel (id),
    type TEXT NOT NULL,
    at REAL NOT NULL,
    message_sid TEXT,
    identity TEXT
);

CREATE INDEX event_by_channel ON event (channel);

CREATE INDEX event_personal ON event (at) WHERE identity IS NOT NULL;

CREATE TRIGGER message_posted AFTER INSERT ON message BEGIN
    UPDATE channel SET next_index = new.idx + 1 WHERE id = new.channel;
    INSERT INTO event (channel, type, at, message_sid)
        VALUES (new.channel, 'message_added', new.created_at, new.sid);
END;

CREATE TABLE idempotency (
    digest BLOB PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    channel_sid TEXT NOT NULL,
    message_sid TEXT NOT NULL,
    media_sid TEXT,
    idx INTEGER NOT NULL
) WITHOUT ROWID
"""
TRIGGER: Final = next(s for s in SCHEMA.split(";\n\n") if s.startswith("CREATE TRIGGER"))
# Came later than the first stores; whoever opens one adds it.
SETTING: Final = """
CREATE TABLE IF NOT EXISTS setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    since REAL,
    until REAL
) WITHOUT ROWID
"""
# Likewise: a deletion looks for the keys that led to its message.
BY_MESSAGE: Final = "CREATE INDEX IF NOT EXISTS idempotency_by_message ON idempotency (message_sid)"
RESTORE: Final = (
    "Stop using it; then flex-actions store restore BACKUP --replace, or, without a backup,"
    " flex-actions store rescue DEST."
)
NOT_OURS: Final = "Name another folder."
# Messages whose deletion outlives a restore of what was there before them.
ERASED: Final = "CREATE TABLE IF NOT EXISTS erased (message_sid TEXT PRIMARY KEY) WITHOUT ROWID"
TABLES: Final = frozenset({"secret", "channel", "member", "message", "event", "idempotency"})


def connect(path: str, *, read_only: bool = False, how: str = "") -> sqlite3.Connection:
    """A connection with our settings; transactions are begun and ended by hand. Raises `sqlite3.Error`.

    `how` is what SQLite knows as the query of a URI, `mode=ro` say.
    """
    db = sqlite3.connect(
        f"file:{urllib.parse.quote(path)}?{how}" if how else path,
        uri=bool(how),
        timeout=BUSY_LIMIT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
    try:
        for setting in ("foreign_keys=ON", "secure_delete=ON", "temp_store=MEMORY", "synchronous=FULL"):
            db.execute(f"PRAGMA {setting}")
        if read_only:
            db.execute("PRAGMA query_only=ON")
    except BaseException:
        db.close()
        raise
    return db


def prepare(db: sqlite3.Connection) -> None:
    """Make a new store, or make sure that it is one of ours. Changes nothing before that is certain.

    Raises:
        ActionError: `store_version`, `store_corrupt`.
        sqlite3.Error: whatever else SQLite finds.
    """
    if _is_empty(db):
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("BEGIN IMMEDIATE")
        try:
            # Somebody may have made it while we waited for the lock.
            if _is_empty(db):
                _create(db)
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise
    check_ours(db)
    db.execute("PRAGMA journal_mode=WAL")
    if "setting" not in _tables(db):
        db.execute(SETTING)
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'idempotency_by_message'").fetchall():
        db.execute(BY_MESSAGE)
    db.execute("PRAGMA journal_size_limit=16777216")


def _is_empty(db: sqlite3.Connection) -> bool:
    return _number(db, "application_id") == 0 and not _tables(db)


def _create(db: sqlite3.Connection) -> None:
    # Not executescript: that would commit what was begun.
    for statement in SCHEMA.split(";\n\n"):
        db.execute(statement)
    for purpose in ("link", "idempotency"):
        db.execute("INSERT INTO secret (purpose, value) VALUES (?, ?)", (purpose, secrets.token_bytes(32)))
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={VERSION}")


def check_ours(db: sqlite3.Connection) -> None:
    """Make sure that a database is a store of ours. Raises `store_version`, `store_corrupt`; `sqlite3.Error`."""
    if _number(db, "application_id") != APPLICATION_ID:
        raise ActionError("store_corrupt", "The database there is no flex_actions store.", hint=NOT_OURS)
    version = _number(db, "user_version")
    if version > VERSION:
        raise too_new(version)
    if version != VERSION or not _tables(db) >= TABLES:
        raise ActionError("store_corrupt", "The store is damaged: tables are missing.", hint=RESTORE)


def too_new(version: int) -> ActionError:
    """The error of a store of a later format."""
    return ActionError(
        "store_version",
        f"The store is of a newer version of flex_actions (format {version}; this one knows format {VERSION}).",
        hint="Upgrade flex_actions.",
        details={"found": version, "known": VERSION},
    )


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"PRAGMA {pragma}").fetchall()[0][0])


def _tables(db: sqlite3.Connection) -> frozenset[str]:
    rows = db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
    return frozenset(str(name) for (name,) in rows)


def check_format(db: sqlite3.Connection) -> None:
    """Refuse a store that somebody has brought to a later format since it was opened. Raises `store_version`."""
    version = _number(db, "user_version")
    if version > VERSION:
        raise too_new(version)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Whatever SQLite or the operating system raises inside comes out as an `ActionError`."""
    try:
        yield
    except (*FAILURES, OSError) as error:
        raise store_error(error) from error


def store_error(error: Exception) -> ActionError:
    """What an error of SQLite or of the operating system means to a caller; chain it with `from`."""
    if isinstance(error, ActionError):
        return error
    if isinstance(error, sqlite3.Error):
        return _from_sqlite(error)
    if isinstance(error, OSError):
        return _from_system(error)
    if isinstance(error, UnicodeEncodeError):
        return ActionError("invalid_payload", "The text holds characters that are no Unicode text.")
    if isinstance(error, FAILURES):
        return _damaged()
    return ActionError("backend_unavailable", f"The store failed: {type(error).__name__}.")


def _from_sqlite(error: sqlite3.Error) -> ActionError:
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary == sqlite3.SQLITE_FULL:
        return _full()
    if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_CANTOPEN):
        return _readonly(str(error))
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return _damaged()
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ActionError("backend_unavailable", "The store is locked by another process.", retryable=True)
    if primary == sqlite3.SQLITE_TOOBIG or isinstance(error, sqlite3.DataError):
        return ActionError("invalid_payload", "The text is too long for the store.")
    if primary in (0, sqlite3.SQLITE_ERROR) and isinstance(error, sqlite3.OperationalError):
        # Our statements are right, so what they name is not there; or a text is none, and the error would quote it.
        return _damaged()
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return _full()
    return ActionError("backend_unavailable", f"The store failed: {error}.")


def _damaged() -> ActionError:
    return ActionError(
        "store_corrupt",
        "The store is damaged, or is none.",
        hint=RESTORE,
    )


def _from_system(error: OSError) -> ActionError:
    reason = error.strerror or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return _full()
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return _readonly(reason)
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return ActionError(
            "store_corrupt", "There is a file where the store's folder should be.", hint="Name another folder."
        )
    busy = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
    hint = None
    if error.errno == errno.ENOENT:
        hint = "Was its folder moved or deleted while it was in use? Put it back, or restore a backup."
    return ActionError("backend_unavailable", f"The store failed: {reason}.", hint=hint, retryable=busy)


def _full() -> ActionError:
    return ActionError("store_full", "The disk of the store is full.", hint="Free some space.", retryable=True)


def _readonly(reason: str) -> ActionError:
    return ActionError(
        "store_readonly", f"The store cannot be written: {reason}.", hint="Check its owner and permissions."
    )
