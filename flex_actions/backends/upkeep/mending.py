"""Rows from a damaged store, made to fit together again."""

# What is put into the SQL here are our own lists of columns, never values.
# ruff: noqa: S608

import secrets
import sqlite3
from collections import Counter
from typing import Final

from ...clock import RANDOM_IDS
from .salvage import Found

# Where the highest number ever given is lost: far beyond what was ever given.
_FAR: Final = 1_000_000_000
_STAND_IN: Final = "flex-actions"
_INTO: Final = {
    "secret": "secret (id, purpose, value)",
    "channel": "channel (id, sid, unique_name, channel_type, state, created_by, created_at, next_index)",
    "member": "member (id, channel, identity, joined_at)",
    "message": (
        "message (id, sid, channel, idx, deleted, author, body, attributes, created_at,"
        " media_sid, media_name, media_type, media_size, media_sha256)"
    ),
    "event": "event (seq, channel, type, at, message_sid, identity)",
    "idempotency": "idempotency (digest, fingerprint, channel_sid, message_sid, media_sid, idx)",
    "setting": "setting (name, value, since, until)",
    "erased": "erased (message_sid)",
    "channel_sid": "temp.channel_sid (sid, id)",
    "sequence": "temp.sequence (name, seq)",
}


def take_trigger(copy: sqlite3.Connection) -> str:
    """Take out the trigger that would note each message as a new one; its SQL, to put it back."""
    ((trigger,),) = copy.execute("SELECT sql FROM sqlite_schema WHERE name = 'message_posted'").fetchall()
    copy.execute("DROP TRIGGER message_posted")
    return str(trigger)


def begin(copy: sqlite3.Connection) -> None:
    """Make room for what is no row of a table itself."""
    copy.execute("DELETE FROM secret")
    copy.execute("CREATE TEMP TABLE channel_sid (sid TEXT, id INTEGER)")
    copy.execute("CREATE TEMP TABLE sequence (name TEXT, seq INTEGER)")


def add(copy: sqlite3.Connection, found: Found) -> None:
    """Add a row; one whose number, sid or place is taken is another version of one that is there."""
    marks = ", ".join("?" * len(found.values))
    copy.execute(f"INSERT OR IGNORE INTO {_INTO[found.table]} VALUES ({marks})", found.values)


def renew_secrets(copy: sqlite3.Connection) -> bool:
    """Make new secrets in the place of lost ones. The keys of sends are void without the one they were made with."""
    there = {purpose for (purpose,) in copy.execute("SELECT purpose FROM secret").fetchall()}
    if "idempotency" not in there:
        copy.execute("DELETE FROM idempotency")
    for purpose in sorted({"link", "idempotency"} - there):
        # Not the number of a lost key: links name it.
        number = copy.execute("SELECT coalesce(max(id), 0) + ? FROM secret", (_FAR,)).fetchall()[0][0]
        copy.execute(
            "INSERT INTO secret (id, purpose, value) VALUES (?, ?, ?)", (number, purpose, secrets.token_bytes(32))
        )
    return not there >= {"link", "idempotency"}


def stand_in_channels(copy: sqlite3.Connection) -> int:
    """Make channels for members and messages whose own is lost; how many."""
    missing = copy.execute(
        "SELECT channel, min(at) FROM"
        " (SELECT channel, created_at AS at FROM message UNION ALL SELECT channel, joined_at FROM member)"
        " WHERE channel NOT IN (SELECT id FROM channel) GROUP BY channel"
    ).fetchall()
    for number, at in missing:
        known = copy.execute("SELECT sid FROM temp.channel_sid WHERE id = ?", (number,)).fetchall()
        sid = known[0][0] if known else RANDOM_IDS.sid("CH")
        copy.execute(
            f"INSERT OR IGNORE INTO {_INTO['channel']} VALUES (?, ?, NULL, 'web', 'active', ?, ?, 0)",
            (number, sid, _STAND_IN, at),
        )
    return len(missing)


def drop_what_leads_nowhere(copy: sqlite3.Connection) -> Counter[str]:
    """Take out rows that are about something that is lost; how many, by table."""
    gone: Counter[str] = Counter()
    for table, condition in (
        ("message", "channel NOT IN (SELECT id FROM channel)"),
        ("member", "channel NOT IN (SELECT id FROM channel)"),
        ("event", "channel NOT IN (SELECT id FROM channel)"),
        ("event", "message_sid IS NOT NULL AND NOT EXISTS (SELECT 1 FROM message WHERE sid = event.message_sid)"),
        ("idempotency", "NOT EXISTS (SELECT 1 FROM message WHERE sid = idempotency.message_sid)"),
    ):
        gone[table] += copy.execute(f"DELETE FROM {table} WHERE {condition}").rowcount
    copy.execute("DELETE FROM setting WHERE name = 'address'")
    return gone


def count_on(copy: sqlite3.Connection) -> None:
    """See to it that no position, event or membership number is given twice."""
    copy.execute(
        "UPDATE channel SET next_index ="
        " max(next_index, coalesce((SELECT max(idx) + 1 FROM message WHERE channel = channel.id), 0))"
    )
    for table, column in (("event", "seq"), ("member", "id")):
        there = copy.execute(f"SELECT coalesce(max({column}), 0) FROM {table}").fetchall()[0][0]
        told = copy.execute("SELECT max(seq) FROM temp.sequence WHERE name = ?", (table,)).fetchall()[0][0]
        highest = there + _FAR if told is None else max(told, there)
        copy.execute("DELETE FROM sqlite_sequence WHERE name = ?", (table,))
        copy.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", (table, highest))


def gaps(copy: sqlite3.Connection) -> int:
    """Positions that were given and have no message."""
    given = copy.execute("SELECT total(next_index) FROM channel").fetchall()[0][0]
    return int(given) - int(copy.execute("SELECT count(*) FROM message").fetchall()[0][0])
