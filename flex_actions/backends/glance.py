"""A quick look into a store's database, through SQLite alone: a bounded number of rows, nothing written.

Every function takes a connection that only reads and raises what SQLite raises.
"""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ..ports import PURGE_AFTER_S, PURGE_EVERY_S
from .findings import Finding
from .keys import SETTING as KEY_ROW
from .sql import APPLICATION_ID, RESTORE, TABLES, VERSION

ROWS: Final = 1000
WHOLE_BYTES: Final = 50_000_000
YEAR_S: Final = 365 * 24 * 3600.0
_DAY_S: Final = 24 * 3600.0
_AHEAD_S: Final = 60.0
_WAIT_S: Final = 1.0


def open_to_read(path: str, *, untouched: bool) -> sqlite3.Connection:
    """A connection that changes nothing.

    Args:
        path: the database.
        untouched: nobody has it open and there is no log; then none is made beside it either.
    """
    how = "?mode=ro&immutable=1" if untouched else "?mode=ro"
    db = sqlite3.connect(Path(path).as_uri() + how, uri=True, timeout=_WAIT_S, isolation_level=None)
    try:
        db.execute("PRAGMA query_only=ON")
        # SQLite opens at the first look.
        db.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def one(db: sqlite3.Connection, sql: str, *values: Any) -> Any:
    """The first column of the first row, or None."""
    rows = db.execute(sql, values).fetchall()
    return rows[0][0] if rows else None


def store_format(db: sqlite3.Connection) -> Finding:
    """Whether it is a store of ours that this version can open."""
    if one(db, "PRAGMA application_id") != APPLICATION_ID:
        return Finding("problem", "format", "The database is no chat of flex_actions.", "Name another folder.")
    found = one(db, "PRAGMA user_version")
    facts = {"found": found, "known": VERSION}
    if found > VERSION:
        fact = f"Format {found}; this version of flex_actions knows format {VERSION}."
        return Finding("problem", "format", fact, "Upgrade it: pip install --upgrade flex-actions", facts)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()}
    if found != VERSION or not tables >= TABLES:
        return Finding("problem", "format", "Tables are missing: the store is damaged.", RESTORE, facts)
    return Finding("ok", "format", f"Format {found}.", details=facts)


def integrity(db: sqlite3.Connection) -> Finding:
    """Whether SQLite finds it whole, as far as that takes a moment only."""
    size = one(db, "PRAGMA page_count") * one(db, "PRAGMA page_size")
    facts = {"size_bytes": size, "looked_at": size <= WHOLE_BYTES}
    if size > WHOLE_BYTES:
        fact = "Too large to be looked through in a moment: flex-actions store check does."
        return Finding("ok", "database", fact, details=facts)
    if one(db, "PRAGMA quick_check(1)") != "ok":
        return Finding("problem", "database", "SQLite finds it damaged.", RESTORE, facts)
    return Finding("ok", "database", "SQLite finds it whole.", details=facts)


def journal(db: sqlite3.Connection) -> Finding:
    """Whether it keeps its log as it should."""
    mode = one(db, "PRAGMA journal_mode")
    facts = {"journal_mode": mode, "synchronous": "full"}
    if mode == "wal":
        return Finding(
            "ok", "journal", "Mode WAL; every commit is forced onto the disk (synchronous FULL).", None, facts
        )
    advice = "Another program has changed it; the next opening sets it back."
    return Finding("note", "journal", f"Mode {mode}, not WAL.", advice, facts)


def sample(db: sqlite3.Connection, folder: str, file_of: Any) -> Iterator[Finding]:
    """Whether the newest messages can be read and their files are there in full."""
    rows = db.execute(
        "SELECT length(author), length(body), length(attributes), media_sid, media_size, deleted FROM message"
        " ORDER BY id DESC LIMIT ?",
        (ROWS,),
    ).fetchall()
    one(db, "SELECT count(*) FROM (SELECT length(sid) FROM channel ORDER BY id DESC LIMIT ?)", ROWS)
    files = [(sid, length) for *_, sid, length, deleted in rows if sid is not None and not deleted]
    wrong = [sid for sid, length in files if not _is_whole(file_of(sid), length)]
    # What was deleted since has lost its row first.
    wrong = [sid for sid in wrong if one(db, "SELECT 1 FROM message WHERE media_sid = ? AND NOT deleted", sid)]
    what = f"the newest {ROWS} messages" if len(rows) == ROWS else f"all {len(rows)} messages"
    facts = {"messages": len(rows), "files": len(files), "wrong_files": len(wrong)}
    if wrong:
        fact = f"Of {len(files)} files of {what}, {len(wrong)} are missing or of another size."
        advice = "Look at all of it: flex-actions store check. Restore a backup if you have one."
        yield Finding("problem", "messages", fact, advice, facts)
    else:
        yield Finding("ok", "messages", f"Looked at {what}: they can be read, and their files are there.", None, facts)


def _is_whole(path: str, length: int) -> bool:
    try:
        return os.stat(path).st_size == length
    except FileNotFoundError:
        return False


def clock(db: sqlite3.Connection, now: float) -> Finding:
    """Whether things have happened in the future."""
    newest = one(db, "SELECT max(at) FROM (SELECT at FROM event ORDER BY seq DESC LIMIT ?)", ROWS)
    if newest is None or newest <= now + _AHEAD_S:
        return Finding("ok", "clock", "Nothing has happened in the future.")
    fact = f"The newest events are {span(newest - now)} ahead: the clock was set back, or was wrong then."
    advice = "Set the clock (NTP). Until it has caught up, links and personal events live longer than they should."
    return Finding("problem", "clock", fact, advice, {"ahead_s": newest - now})


def purge(db: sqlite3.Connection, now: float, *, in_use: bool) -> Finding:
    """Whether personal events are deleted after 7 days."""
    oldest = one(db, "SELECT min(at) FROM event WHERE identity IS NOT NULL")
    late = 0.0 if oldest is None else now - oldest - PURGE_AFTER_S
    # One that is due may wait for the next hour, and a little.
    if late <= (2 * PURGE_EVERY_S if in_use else 0):
        return Finding("ok", "purge", "No personal event is overdue.")
    fact = f"Personal events should have been deleted {span(late)} ago."
    if in_use:
        advice = "The process that has it open fails to purge it (a full disk?): end it and start it again."
        return Finding("problem", "purge", fact, advice, {"late_s": late})
    advice = "Opening the chat deletes them: flex-actions channel list, once a day if nothing else opens it."
    return Finding("note", "purge", fact, advice, {"late_s": late})


def link_keys(db: sqlite3.Connection, now: float) -> Finding:
    """How old the key is that links are signed with."""
    number = one(db, "SELECT max(id) FROM secret WHERE purpose = 'link'")
    if number is None or one(db, "SELECT 1 FROM secret WHERE purpose = 'idempotency'") is None:
        return Finding("problem", "link key", "The store's secrets are missing: it is damaged.", RESTORE)
    since = setting(db, f"{KEY_ROW}{number}", "since")
    if since is None:
        since = one(db, "SELECT created_at FROM channel ORDER BY id LIMIT 1")
    age = 0.0 if since is None else max(0.0, now - since)
    facts = {"age_s": age, "older_keys": one(db, "SELECT count(*) - 1 FROM secret WHERE purpose = 'link'")}
    fact = f"Links are signed with a key that is {span(age)} old."
    if age > YEAR_S:
        return Finding("note", "link key", fact, "Take a new one: flex-actions store rotate-keys", facts)
    return Finding("ok", "link key", fact, details=facts)


def rescued(db: sqlite3.Connection) -> Iterator[Finding]:
    """Whether this is a copy that was rescued, which nobody should write to."""
    if setting(db, "read_only") is not None:
        fact = "This is a rescued copy: it can be read, not written."
        yield Finding("note", "copy", fact, "Take out what you need, and go on in a new chat or a restored backup.")


def setting(db: sqlite3.Connection, name: str, column: str = "value") -> Any:
    """A setting of the store, None if it has none; the oldest stores have no table of them."""
    if one(db, "SELECT 1 FROM sqlite_schema WHERE name = 'setting'") is None:
        return None
    return one(db, f"SELECT {column} FROM setting WHERE name = ?", name)  # noqa: S608


def span(seconds: float) -> str:
    """A length of time for people."""
    for unit, length in (("days", _DAY_S), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {unit}"
    return f"{int(seconds)} seconds"
