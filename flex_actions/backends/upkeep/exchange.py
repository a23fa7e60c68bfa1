"""The rows of a chat that others use, replaced by those of a backup that is attached to the connection."""

# What is put into the SQL here are our own lists of columns, never values.
# ruff: noqa: S608

import contextlib
import secrets
import sqlite3
from collections.abc import Iterator
from typing import Final

from ...clock import RANDOM_IDS
from ...errors import ActionError
from ..store import Store
from .copying import RESTORED
from .reports import counted
from .sources import PAGE_ROWS

# Followers in other processes look at whatever changed; after so many events at once, they look at everything.
_GAP: Final = 2000
_AT_ONCE: Final = 10_000
_CHANNEL: Final = "id, sid, unique_name, channel_type, state, created_by, created_at"
_MESSAGE: Final = (
    "id, sid, channel, idx, deleted, author, body, attributes, created_at,"
    " media_sid, media_name, media_type, media_size, media_sha256"
)
_EVENT: Final = "seq, channel, type, at, message_sid, identity"
_KEY: Final = "digest, fingerprint, channel_sid, message_sid, media_sid, idx"


@contextlib.contextmanager
def attached(live: sqlite3.Connection, path: str) -> Iterator[None]:
    """Have a private database at hand as `backup`."""
    live.execute("ATTACH ? AS backup", (path,))
    try:
        yield
    finally:
        live.execute("DETACH backup")


def would_be_lost(target: str, live: sqlite3.Connection) -> ActionError:
    """The error that says what a restore would take away; the backup is attached."""
    messages, newest = live.execute(
        "SELECT count(*), max(created_at) FROM main.message m WHERE NOT deleted"
        " AND NOT EXISTS (SELECT 1 FROM backup.message b WHERE b.sid = m.sid AND NOT b.deleted)"
    ).fetchall()[0]
    channels = live.execute(
        "SELECT count(*) FROM main.channel c WHERE NOT EXISTS (SELECT 1 FROM backup.channel WHERE sid = c.sid)"
    ).fetchall()[0][0]
    lost = f"{counted(messages, 'message')} and {counted(channels, 'channel')} that are not in the backup would be lost"
    return ActionError(
        "store_exists",
        f"There is a chat in {target!a}: {lost}.",
        hint="Back it up first (flex-actions store backup DEST), then restore with --replace.",
        details={"folder": target, "messages": messages, "channels": channels, "newest_at": newest},
    )


# What was deleted here, by its row or by the memory of an earlier restore, and is there in the backup; with the place
# to go on behind.
_DELETED_HERE: Final[tuple[tuple[str, str | int], ...]] = (
    (
        "SELECT m.id, b.sid FROM main.message m CROSS JOIN backup.message b ON b.sid = m.sid"
        " WHERE m.id > ? AND m.deleted AND NOT b.deleted ORDER BY m.id LIMIT ?",
        -1,
    ),
    (
        "SELECT b.sid, b.sid FROM main.erased e CROSS JOIN backup.message b ON b.sid = e.message_sid"
        " WHERE e.message_sid > ? AND NOT b.deleted ORDER BY e.message_sid LIMIT ?",
        "",
    ),
)


def deleted_here(live: sqlite3.Connection) -> list[str]:
    """The messages of the attached backup that have been deleted here."""
    return [sid for statement, begin in _DELETED_HERE for _, sid in live.execute(statement, (begin, -1)).fetchall()]


def forget_here(live: sqlite3.Connection, copy: sqlite3.Connection, path: str) -> None:
    """Delete in the copy what was deleted here."""
    store = Store(copy, RANDOM_IDS)
    with attached(live, path):
        for statement, begin in _DELETED_HERE:
            after = begin
            while rows := live.execute(statement, (after, PAGE_ROWS)).fetchall():
                copy.execute("BEGIN")
                for _, sid in rows:
                    store.erase(sid)
                copy.execute("COMMIT")
                after = rows[-1][0]


def replace_rows(db: sqlite3.Connection) -> None:
    """Replace them all, in the transaction of the caller."""
    ((trigger,),) = db.execute("SELECT sql FROM main.sqlite_schema WHERE name = 'message_posted'").fetchall()
    db.execute("PRAGMA defer_foreign_keys=ON")
    db.execute("DROP TRIGGER main.message_posted")
    # Positions are never used again, and members who left since keep no number: their links stay dead.
    db.execute("CREATE TEMP TABLE position AS SELECT sid, next_index FROM main.channel")
    db.execute(
        "CREATE TEMP TABLE same_member AS SELECT m.id FROM main.member m JOIN main.channel c ON c.id = m.channel"
        " JOIN backup.member b ON b.id = m.id AND b.identity = m.identity"
        " JOIN backup.channel d ON d.id = b.channel AND d.sid = c.sid"
    )
    db.execute("INSERT OR IGNORE INTO main.erased SELECT sid FROM main.message WHERE deleted")
    db.execute("INSERT OR IGNORE INTO main.erased SELECT message_sid FROM backup.erased")
    for table in ("event", "idempotency", "message", "member", "channel"):
        db.execute(f"DELETE FROM main.{table}")
    _set_sequences(db)
    db.execute(
        f"INSERT INTO main.channel ({_CHANNEL}, next_index) SELECT {_CHANNEL},"
        " max(next_index, coalesce((SELECT p.next_index FROM temp.position p WHERE p.sid = b.sid), 0))"
        " FROM backup.channel b"
    )
    same = "(SELECT id FROM temp.same_member)"
    member = "channel, identity, joined_at"
    db.execute(f"INSERT INTO main.member (id, {member}) SELECT id, {member} FROM backup.member WHERE id IN {same}")
    db.execute(
        f"INSERT INTO main.member ({member}) SELECT {member} FROM backup.member WHERE id NOT IN {same} ORDER BY id"
    )
    _insert_all(db, "message", _MESSAGE, "id", -1)
    _insert_all(db, "event", _EVENT, "seq", -1)
    _insert_all(db, "idempotency", _KEY, "digest", b"")
    db.execute("DELETE FROM main.setting WHERE name = 'read_only'")
    db.execute("INSERT OR REPLACE INTO main.setting (name, value) VALUES (?, ?)", (RESTORED, secrets.token_hex(16)))
    db.execute("DROP TABLE temp.position")
    db.execute("DROP TABLE temp.same_member")
    db.execute(trigger)


def _insert_all(db: sqlite3.Connection, table: str, columns: str, key: str, after: int | bytes) -> None:
    """Some at a time: SQLite keeps in memory what a single statement has changed, to take it back."""
    while True:
        some = f"SELECT {key} FROM backup.{table} WHERE {key} > ? ORDER BY {key} LIMIT {_AT_ONCE}"
        ((last,),) = db.execute(f"SELECT max({key}) FROM ({some})", (after,)).fetchall()
        if last is None:
            return
        db.execute(
            f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM backup.{table} WHERE {key} > ? AND {key} <= ?",
            (after, last),
        )
        after = last


def _set_sequences(db: sqlite3.Connection) -> None:
    for table in ("event", "member"):
        highest = db.execute(
            "SELECT max((SELECT coalesce(max(seq), 0) FROM main.sqlite_sequence WHERE name = ?1),"
            " (SELECT coalesce(max(seq), 0) FROM backup.sqlite_sequence WHERE name = ?1))",
            (table,),
        ).fetchall()[0][0]
        db.execute("DELETE FROM main.sqlite_sequence WHERE name = ?", (table,))
        db.execute("INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)", (table, highest + _GAP))
