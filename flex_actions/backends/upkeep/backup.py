"""A copy of a store that others write to."""

import contextlib
import os
import sqlite3
from collections.abc import Iterable
from typing import Final

from ...clock import RANDOM_IDS
from ...errors import ActionError
from .. import sql
from ..asides import aside
from ..local import DATABASE
from ..media_folder import sync_folder
from ..store import Store
from . import copying, lost
from .copying import FileCopies, Moment, scratch, stored_at
from .places import chat_folder, new_folder
from .reports import BackupReport
from .sources import Wanted, counts, must_be_whole, must_hold_nothing_else, reading, wanted_bytes
from .work import Work

_RESCUE: Final = "flex-actions store rescue DEST saves what can still be read."
_WITHOUT: Final = "Delete their messages or put the files back; with --keep-going a backup is made without them."
# The database's name until all is there, so that nobody takes an unfinished copy for a chat.
UNFINISHED: Final = f"{DATABASE}.unfinished"
_MAX_NAMED: Final = 20


def back_up(url: str, dest: str, keep_going: bool, work: Work, now: float) -> BackupReport:
    """See `backup_store`."""
    source = chat_folder(url)
    target = new_folder(dest, outside=source)
    with aside(f"{target}.partial") as partial:
        report, left_out = build(source, partial, work, now, keep_going=keep_going)
        put_in_place(partial, target)
    return BackupReport(target, *report, left_out=tuple(wanted.sid for wanted in left_out))


def build(
    source: str,
    folder: str,
    work: Work,
    now: float,
    *,
    keep_going: bool = False,
    writable: bool = False,
    deleted: Iterable[str] = (),
) -> tuple[tuple[int, int, int, int], list[Wanted]]:
    """Copy a store into a private empty folder: channels, messages, files and their bytes; what was left out.

    Messages that are `deleted` elsewhere are deleted in it too. With `writable`, a rescued copy becomes a chat that
    can be written.
    """
    path = os.path.join(folder, UNFINISHED)
    copying.make_media(folder)
    with reading(source, work) as live:
        with scratch(path, work) as copy:
            moment = copying.copy_database(live, copy, work)
            must_be_whole(copy, f"The chat in {source!a}", _RESCUE)
            must_hold_nothing_else(copy, f"The chat in {source!a}")
            prepare_copy(copy, writable=writable)
            forget(copy, deleted)
            bad = FileCopies(source, lambda _: folder, work).copy(copy, live)
            if bad and not keep_going:
                raise damaged_files(bad, _WITHOUT)
            lost.keep_without_files(copy, bad)
            forget_deleted(live, copy, moment, folder)
            found = (*counts(copy), wanted_bytes(copy))
        copying.purge(path, work, now)
    os.replace(path, os.path.join(folder, DATABASE))
    copying.make_durable(folder)
    return found, bad


def prepare_copy(copy: sqlite3.Connection, *, writable: bool) -> None:
    """Take out of a copied database what belongs to the place it came from, and add what older stores lack."""
    copy.execute(sql.SETTING)
    copy.execute("DELETE FROM setting WHERE name = 'address'")
    if writable:
        copy.execute("DELETE FROM setting WHERE name = 'read_only'")


def forget(copy: sqlite3.Connection, deleted: Iterable[str]) -> None:
    """Delete messages in a copied database, for ever."""
    store = Store(copy, RANDOM_IDS)
    copy.execute("BEGIN")
    copy.execute(sql.ERASED)
    for sid in deleted:
        copy.execute("INSERT OR IGNORE INTO erased VALUES (?)", (sid,))
        store.erase(sid)
    copy.execute("COMMIT")


def forget_deleted(live: sqlite3.Connection, copy: sqlite3.Connection, moment: Moment, folder: str) -> None:
    """Delete in a copy what was deleted in the store since, in the same way. Raises `backend_unavailable`."""
    live.execute("BEGIN")
    try:
        if copying.moment_of(live).restored != moment.restored:
            raise ActionError(
                "backend_unavailable",
                "Another chat was restored into the store meanwhile.",
                hint="Begin again.",
                retryable=True,
            )
        events = live.execute(
            "SELECT seq, channel, type, at, message_sid FROM event WHERE seq > ? AND type = 'message_deleted'",
            (moment.seq,),
        ).fetchall()
    finally:
        live.execute("COMMIT")
    store = Store(copy, RANDOM_IDS)
    copy.execute("BEGIN")
    for event in events:
        if not copy.execute("SELECT 1 FROM message WHERE sid = ?", (event[4],)).fetchall():
            continue  # posted and deleted since
        media_sid = store.erase(event[4])
        copy.execute("INSERT INTO event (seq, channel, type, at, message_sid) VALUES (?, ?, ?, ?, ?)", event)
        if media_sid is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(stored_at(folder, media_sid))
    copy.execute("COMMIT")


def damaged_files(bad: list[Wanted], hint: str) -> ActionError:
    """The error of a copy that would not be whole."""
    sids = [wanted.sid for wanted in bad]
    named = ", ".join(sids[:_MAX_NAMED]) + (", …" if len(sids) > _MAX_NAMED else "")
    return ActionError(
        "media_corrupt",
        f"{len(sids)} of the files are damaged or missing: {named}.",
        hint=hint,
        details={"media_sids": sids[:1000], "count": len(sids)},
    )


def put_in_place(built: str, target: str) -> None:
    """Give a finished folder its name, durably. Raises `store_exists` if somebody took the name meanwhile."""
    if os.path.lexists(target) and (not os.path.isdir(target) or os.listdir(target)):
        raise ActionError("store_exists", f"{target!a} was made by somebody else meanwhile.", hint="Try again.")
    if os.path.isdir(target):
        os.rmdir(target)
    os.rename(built, target)
    sync_folder(os.path.dirname(target))
