"""A copy of all that can still be read of a damaged store."""

import contextlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Final

from ...clock import RANDOM_IDS
from ...errors import ActionError
from .. import sql
from ..asides import aside
from ..local import DATABASE
from ..media_folder import SID, sync_folder
from ..presence import keeping_out
from ..store import Store
from . import backup, copying, lost, mending
from .copying import FileCopies, scratch, stored_at
from .pages import Pages
from .places import chat_folder, new_folder
from .reports import RescueReport
from .salvage import Found, Salvage
from .sources import must_be_whole
from .work import Work

LOST: Final = "lost"
_NO_VERSION: Final = 1000
_COLUMNS: Final = {"secret": 3, "channel": 8, "member": 4, "message": 14, "event": 6, "idempotency": 6, "setting": 4}


def rescue(url: str, dest: str, work: Work, now: float) -> RescueReport:
    """See `rescue_store`."""
    source = chat_folder(url)
    target = new_folder(dest, outside=source)
    with keeping_out(source), aside(f"{target}.partial") as folder:
        report = _Rescue(source, folder, work, now).run(target)
        backup.put_in_place(folder, target)
    return report


def deleted_messages(source: str, work: Work) -> set[str]:
    """The messages of a damaged store of which it can still be read that they were deleted. Nobody may have it open."""
    with contextlib.closing(Pages(os.path.join(source, DATABASE), work)) as pages:
        return {sid for found in Salvage(pages, work).rows() if (sid := _deleted(found)) is not None}


def _deleted(found: Found) -> str | None:
    """The message that a row says was deleted."""
    if found.table == "erased":
        return str(found.values[0])
    if found.table == "message" and found.values[4]:
        return str(found.values[1])
    if found.table == "event" and found.values[2] == "message_deleted":
        return found.values[4] and str(found.values[4])
    return None


class _Rescue:
    def __init__(self, source: str, folder: str, work: Work, now: float) -> None:
        self._source = source
        self._folder = folder
        self._work = work
        self._now = now
        self._lost: Counter[str] = Counter()

    def run(self, target: str) -> RescueReport:
        """Build the copy in the private folder."""
        path = os.path.join(self._folder, backup.UNFINISHED)
        copying.make_media(self._folder)
        with scratch(path, self._work) as copy:
            sql.prepare(copy)
            copy.execute(sql.ERASED)
            copy.execute("PRAGMA journal_mode=MEMORY")
            copy.execute("PRAGMA foreign_keys=OFF")
            damaged = self._read_rows(copy)
            self._must_be_something(copy)
            new_secrets = mending.renew_secrets(copy)
            stand_ins = mending.stand_in_channels(copy)
            self._lost += mending.drop_what_leads_nowhere(copy)
            self._copy_files(copy)
            mending.count_on(copy)
            self._lost["message"] += mending.gaps(copy)
            copy.execute("INSERT OR REPLACE INTO setting (name, value) VALUES ('read_only', '1')")
            must_be_whole(copy, "The copy", "Try again.")
        left = self._keep_others(path)
        copying.purge(path, self._work, self._now)
        with scratch(path, self._work) as copy:
            saved = {t: copy.execute(f"SELECT count(*) FROM {t}").fetchall()[0][0] for t in _COLUMNS}  # noqa: S608
            saved["media"] = copy.execute("SELECT count(media_sid) FROM message WHERE NOT deleted").fetchall()[0][0]
        os.replace(path, os.path.join(self._folder, DATABASE))
        copying.make_durable(self._folder)
        lost_ = {table: count for table, count in self._lost.items() if count}
        return RescueReport(target, saved, lost_, damaged, stand_ins, left, new_secrets)

    def _read_rows(self, copy: sqlite3.Connection) -> int:
        """Everything that can be read, and what the deletions among it say; pages and rows that cannot be read."""
        copy.execute("BEGIN")
        trigger = mending.take_trigger(copy)
        mending.begin(copy)
        with contextlib.closing(Pages(os.path.join(self._source, DATABASE), self._work)) as pages:
            application, version = pages.version()
            # A damaged header can say anything.
            if application == sql.APPLICATION_ID and sql.VERSION < version < _NO_VERSION:
                raise sql.too_new(version)
            salvage = Salvage(pages, self._work)
            for found in salvage.rows():
                mending.add(copy, found)
                if (sid := _deleted(found)) is not None:
                    copy.execute("INSERT OR IGNORE INTO erased VALUES (?)", (sid,))
        store = Store(copy, RANDOM_IDS)
        for (sid,) in copy.execute("SELECT message_sid FROM erased").fetchall():
            store.erase(sid)
        copy.execute(trigger)
        copy.execute("COMMIT")
        return salvage.damaged

    def _must_be_something(self, copy: sqlite3.Connection) -> None:
        if not copy.execute("SELECT 1 FROM channel UNION SELECT 1 FROM message UNION SELECT 1 FROM member").fetchall():
            raise ActionError(
                "store_corrupt",
                f"Nothing of a chat can be read in {self._source!a}.",
                hint="Restore a backup; its files lie in the folder media, under their sids.",
            )

    def _copy_files(self, copy: sqlite3.Connection) -> None:
        bad = FileCopies(self._source, lambda _: self._folder, self._work).copy(copy, copy)
        lost.keep_without_files(copy, bad)
        self._lost["media"] += len(bad)

    def _keep_others(self, path: str) -> int:
        """Keep the files that no message carries any more: whose message was deleted, its file was too."""
        kept = os.path.join(self._folder, LOST)
        count = 0
        for sid, file in _stored(self._source):
            self._work.go_on()
            if os.path.exists(stored_at(self._folder, sid)):
                continue
            if not count:
                os.mkdir(kept, 0o700)
            copying.copy_as_is(file, os.path.join(kept, sid), self._work)
            count += 1
        if count:
            sync_folder(kept)
        return count


def _stored(source: str) -> Iterator[tuple[str, str]]:
    """All files of a store: sid and path."""
    for digit in "0123456789abcdef":
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(f"{source}/media/{digit}") as found:
            for entry in found:
                if SID.match(entry.name) and entry.is_file(follow_symlinks=False):
                    yield entry.name, entry.path
