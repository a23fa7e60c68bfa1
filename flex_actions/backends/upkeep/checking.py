"""A look through a whole store, while others use it."""

import os
import sqlite3
from collections.abc import Callable
from typing import Any, Final

from ...errors import ActionError
from .. import sql
from ..findings import Finding
from . import strays
from .copying import copy_file, stored_at
from .places import chat_folder
from .reports import counted
from .sources import Wanted, damage, must_hold_nothing_else, reading, still_wanted, wanted_bytes, wanted_files
from .work import Work

_NAMED: Final = 100
_RESTORE: Final = (
    "Restore a backup: flex-actions store restore BACKUP --replace; or save what is left: store rescue DEST."
)

# Each counts rows that cannot be; in an order in which an index leads, so that nothing is sorted in memory.
_RULES: Final = {
    "messages_beyond_their_channel": (
        "SELECT count(*) FROM channel c WHERE next_index <="
        " (SELECT max(idx) FROM message INDEXED BY sqlite_autoindex_message_2 WHERE channel = c.id)"
    ),
    "positions_used_twice": (
        "SELECT count(*) FROM (SELECT 1 FROM message INDEXED BY sqlite_autoindex_message_2"
        " GROUP BY channel, idx HAVING count(*) > 1)"
    ),
    "messages_without_content": (
        "SELECT count(*) FROM message WHERE NOT deleted AND (body IS NULL) = (media_sid IS NULL)"
    ),
    "members_without_channel": (
        "SELECT count(*) FROM member m WHERE NOT EXISTS (SELECT 1 FROM channel WHERE id = m.channel)"
    ),
    "messages_without_channel": (
        "SELECT count(*) FROM message m WHERE NOT EXISTS (SELECT 1 FROM channel WHERE id = m.channel)"
    ),
    "events_without_channel": (
        "SELECT count(*) FROM event e WHERE NOT EXISTS (SELECT 1 FROM channel WHERE id = e.channel)"
    ),
    "keys_without_message": (
        "SELECT count(*) FROM idempotency k WHERE NOT EXISTS (SELECT 1 FROM message WHERE sid = k.message_sid)"
    ),
    "numbers_to_be_given_again": (
        "SELECT (SELECT coalesce(max(seq), 0) FROM event) >"
        " (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event')"
        " OR (SELECT coalesce(max(id), 0) FROM member) >"
        " (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'member')"
    ),
}


def check(url: str, deep: bool, work: Work, now: float) -> list[Finding]:
    """See `check_store`."""
    folder = chat_folder(url)
    found: list[Finding] = []
    try:
        with reading(folder, work) as db:
            found, whole = _database(db)
            if whole:
                found += [_rules(db), _secrets(db)]
                must_hold_nothing_else(db, "The chat")
                found.append(_files(db, folder, deep, work))
                found += strays.strays(folder, lambda sids: _carried(db, sids), now, work)
    except (ActionError, *sql.FAILURES) as error:
        told = sql.store_error(error)
        if told.code != "store_corrupt":
            raise told from error
        found = [f for f in found if f.subject != "database"]
        found.append(Finding("problem", "database", told.message, _RESTORE))
    return [*found, *strays.permissions(folder, work)]


def _database(db: sqlite3.Connection) -> tuple[list[Finding], bool]:
    sql.check_ours(db)
    form = Finding("ok", "format", f"It is a flex_actions store of format {sql.VERSION}.")
    errors = damage(db)
    if errors:
        fact = f"The database is damaged in {len(errors)} places or more."
        return [form, Finding("problem", "database", fact, _RESTORE, {"errors": errors})], False
    size = db.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchall()[0][0]
    return [form, Finding("ok", "database", "SQLite finds it whole.", details={"size_bytes": size})], True


def _rules(db: sqlite3.Connection) -> Finding:
    broken: dict[str, Any] = {}
    for name, statement in _RULES.items():
        count = db.execute(statement).fetchall()[0][0]
        if count:
            broken[name] = count
    if broken:
        names = ", ".join(f"{name.replace('_', ' ')} ({count})" for name, count in broken.items())
        return Finding("problem", "rows", f"Rows do not fit together: {names}.", _RESTORE, broken)
    channels, messages = db.execute(
        "SELECT (SELECT count(*) FROM channel), (SELECT count(*) FROM message WHERE NOT deleted)"
    ).fetchall()[0]
    fact = f"The rows of {counted(channels, 'channel')} and {counted(messages, 'message')} fit together."
    return Finding("ok", "rows", fact, details={"channels": channels, "messages": messages})


def _secrets(db: sqlite3.Connection) -> Finding:
    rows = db.execute("SELECT purpose, length(value) FROM secret").fetchall()
    missing = sorted({"link", "idempotency"} - {purpose for purpose, size in rows if size})
    if missing:
        fact = f"The secrets for {' and '.join(missing)} are missing."
        return Finding("problem", "secrets", fact, _RESTORE, {"missing": missing})
    return Finding("ok", "secrets", "They are there.")


def _files(db: sqlite3.Connection, folder: str, deep: bool, work: Work) -> Finding:
    """Every file that a message carries. Page by page: no look at the database lasts for long."""
    total, done, count = wanted_bytes(db), 0, 0
    bad: dict[str, list[str]] = {"missing": [], "unreadable": [], "wrong_size": [], "wrong_hash": []}
    numbers = dict.fromkeys(bad, 0)
    for page in wanted_files(db):
        for wanted in page:
            work.go_on()
            kind = _wrong(wanted, folder, deep, _teller(work, done, total) if deep else None)
            count, done = count + 1, done + wanted.size_bytes
            # Its message may have been deleted since the page was read.
            if kind is not None and still_wanted(db, wanted.sid):
                numbers[kind] += 1
                bad[kind] = [*bad[kind], wanted.sid][:_NAMED]
    if any(numbers.values()):
        names = ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in numbers.items() if n)
        details = {"count": count, **{k: n for k, n in numbers.items() if n}}
        sids = {f"{kind}_sids": sids for kind, sids in bad.items() if sids}
        lost = any(n for kind, n in numbers.items() if kind != "unreadable")
        advice = " ".join([_UNREADABLE_ADVICE] * bool(numbers["unreadable"]) + [_FILES_ADVICE] * lost)
        return Finding("problem", "files", f"Of {counted(count, 'file')}: {names}.", advice, {**details, **sids})
    how = "read, with the right hash" if deep else "there, with the right size"
    fact = f"{counted(count, 'file')} {how}." if count else "No message carries a file."
    return Finding("ok", "files", fact, details={"count": count, "size_bytes": done, "deep": deep})


_UNREADABLE_ADVICE: Final = "What is unreadable is not lost: check owner and permissions of all that is in the folder."
_FILES_ADVICE: Final = "Restore a backup that has them (store restore BACKUP --replace), or delete their messages."


def _teller(work: Work, done: int, total: int) -> Callable[[int], None]:
    return lambda count: work.tell("files", done + count, total)


def _wrong(wanted: Wanted, folder: str, deep: bool, tell: Callable[[int], None] | None) -> str | None:
    path = stored_at(folder, wanted.sid)
    try:
        size = os.lstat(path).st_size
    except OSError:
        return "missing"
    if size != wanted.size_bytes:
        return "wrong_size"
    if not os.access(path, os.R_OK):
        return "unreadable"
    if tell is not None and not copy_file(path, None, wanted, tell):
        return "wrong_hash"
    return None


def _carried(db: sqlite3.Connection, sids: list[str]) -> set[str]:
    marks = ", ".join("?" * len(sids))
    return {sid for (sid,) in db.execute(f"SELECT media_sid FROM message WHERE media_sid IN ({marks})", sids)}  # noqa: S608 - question marks
