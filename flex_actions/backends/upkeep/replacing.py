"""A chat that others use, made what it was in a backup: they see the old one or the new one, never half."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from typing import Final

from ...clock import RANDOM_IDS
from ...errors import ActionError
from .. import sql
from ..asides import HIDDEN, aside
from ..local import DATABASE
from ..media_folder import MediaFolder, sync_folder
from ..presence import Presence, in_use
from ..store import Store
from . import copying, exchange
from .backup import damaged_files, forget_deleted, prepare_copy
from .copying import FileCopies, copy_file, scratch, stored_at
from .reports import RestoreReport
from .sources import Wanted, counts, must_be_whole, must_hold_nothing_else, reading
from .work import Work

_TRIES: Final = 12


def replace_chat(
    target: str, source: str, work: Work, now: float, *, replace: bool, fresh: bool = False
) -> RestoreReport:
    """Replace a whole chat, or one that is `fresh` and empty, by a backup.

    Raises `store_exists` (without `replace`, or another chat), `store_in_use`, `media_corrupt`, …
    """
    with contextlib.ExitStack() as stack:
        presence = _entered(target, stack)
        folder = stack.enter_context(aside(os.path.join(target, HIDDEN)))
        if any(name.startswith(f"{HIDDEN}-") and name != os.path.basename(folder) for name in os.listdir(target)):
            raise in_use("Another restore of the chat is under way.")
        live = _opened(target, stack)
        path = os.path.join(folder, "backup.sqlite3")
        swap = _Swap(target, folder, live, presence, work, fresh=fresh)
        with reading(source, work) as backup, scratch(path, work) as copy:
            moment = copying.copy_database(backup, copy, work)
            must_be_whole(copy, f"The backup in {source!a}", "Restore another one.")
            must_hold_nothing_else(copy, f"The backup in {source!a}")
            _complete(copy)
            with exchange.attached(live, path):
                swap.must_fit()
                if not replace:
                    raise exchange.would_be_lost(target, live)
            exchange.forget_here(live, copy, path)
            bad = _file_copies(source, target, folder, work).copy(copy, backup)
            if bad:
                raise damaged_files(bad, "Restore another backup.")
            forget_deleted(backup, copy, moment, folder)
        copying.purge(path, work, now)
        with exchange.attached(live, path):
            swap.run()
        return RestoreReport(target, *counts(live), replaced="chat", log_emptied=_empty_log(live, work))


def _entered(target: str, stack: contextlib.ExitStack) -> Presence:
    presence = Presence(target)
    stack.callback(presence.leave)
    presence.enter()
    # Whoever crashed may have left files behind, of which our marker then tells the next one who is alone.
    crashed = presence.alone and presence.crashed
    presence.settle()
    presence.clean = not crashed
    return presence


def _opened(target: str, stack: contextlib.ExitStack) -> sqlite3.Connection:
    live = stack.enter_context(contextlib.closing(sql.connect(os.path.join(target, DATABASE))))
    sql.prepare(live)
    live.execute(sql.ERASED)
    folders = MediaFolder(target)
    stack.callback(folders.close)
    folders.open()
    return live


def _complete(copy: sqlite3.Connection) -> None:
    """What came later than the first stores."""
    copy.execute(sql.SETTING)
    copy.execute(sql.ERASED)
    prepare_copy(copy, writable=True)


def _file_copies(source: str, target: str, folder: str, work: Work) -> FileCopies:
    """Checks each file of the backup, and takes those into the private folder that are not whole here."""
    copying.make_media(folder)

    def keep(wanted: Wanted) -> str | None:
        whole = copy_file(stored_at(target, wanted.sid), None, wanted, lambda _: work.go_on())
        return None if whole else folder

    return FileCopies(source, keep, work)


class _Swap:
    """The moment in which the new chat takes the place of the old one."""

    def __init__(
        self, target: str, folder: str, live: sqlite3.Connection, presence: Presence, work: Work, *, fresh: bool
    ) -> None:
        self._target = target
        self._folder = folder
        self._live = live
        self._presence = presence
        self._work = work
        self._fresh = fresh
        self._moved: list[str] = []
        self._unwanted = os.path.join(folder, "unwanted")

    def must_fit(self) -> None:
        """Raise `store_exists` if the backup is of another chat: its like would be lost, and nobody means that."""
        if self._fresh:
            # The rows of keys need the secret that they were made with, and others would know only their own.
            if not self._presence.try_alone():
                self._presence.let_in()
                raise in_use("Somebody has opened the new chat meanwhile.")
            return
        statement = "SELECT value FROM {}.secret WHERE purpose = 'idempotency' ORDER BY id"
        ours, theirs = (self._live.execute(statement.format(s)).fetchall()[0][0] for s in ("main", "backup"))
        if ours != theirs:
            raise ActionError(
                "store_exists",
                f"The chat in {self._target!a} is not the one that the backup was made of.",
                hint="Restore it to a folder of its own, or move that chat away first.",
                details={"folder": self._target},
            )
        if self._presence.alone:
            self._presence.let_in()

    def run(self) -> None:
        """Put the files there, then the rows, then remove the files that no row wants any more."""
        try:
            self._move_files()
            with self._work.watching(self._live):
                late = self._replace_rows()
        except BaseException:
            self._remove(iter(self._moved))
            raise
        self._remove(iter(late))
        with open(self._unwanted, encoding="ascii") as sids:
            self._remove(line.strip() for line in sids)

    def _move_files(self) -> None:
        for digit in "0123456789abcdef":
            staged = os.path.join(self._folder, "media", digit)
            for sid in os.listdir(staged):
                self._work.go_on()
                place = stored_at(self._target, sid)
                if not os.path.lexists(place):
                    self._moved.append(sid)
                os.replace(os.path.join(staged, sid), place)
            sync_folder(os.path.join(self._target, "media", digit))

    def _replace_rows(self) -> list[str]:
        """In one transaction; the files of what was deleted here at the last moment."""
        db = self._live
        _begin(db, self._work)
        try:
            late = exchange.deleted_here(db)
            self._note_unwanted()
            exchange.replace_rows(db)
            if self._fresh:
                theirs = "(SELECT value FROM backup.secret WHERE purpose = 'idempotency' ORDER BY id)"
                db.execute(f"UPDATE main.secret SET value = {theirs} WHERE purpose = 'idempotency'")  # noqa: S608
            store = Store(db, RANDOM_IDS)
            files = [sid for sid in map(store.erase, late) if sid is not None]
            self._work.go_on()
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return files

    def _note_unwanted(self) -> None:
        rows = self._live.execute(
            "SELECT media_sid FROM main.message m WHERE media_sid IS NOT NULL AND NOT deleted"
            " AND NOT EXISTS (SELECT 1 FROM backup.message WHERE media_sid = m.media_sid)"
        )
        descriptor = os.open(self._unwanted, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:
            file.writelines(f"{sid}\n" for (sid,) in rows)

    def _remove(self, sids: Iterator[str]) -> None:
        for sid in sids:
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(stored_at(self._target, sid))
            except OSError:
                self._presence.clean = False  # the next one who is alone removes it


def _begin(db: sqlite3.Connection, work: Work) -> None:
    """Wait for the writers, longer than any of them waits for another; each try can be cancelled."""
    for left in reversed(range(_TRIES)):
        work.go_on()
        try:
            db.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            if not left:
                raise
        else:
            return


def _empty_log(live: sqlite3.Connection, work: Work) -> bool:
    """Take the old pages out of the log; whether nobody's reading kept them there."""
    for _ in range(_TRIES):
        if work.stopped:
            break
        with contextlib.suppress(sqlite3.Error):
            ((busy, _, _),) = live.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if not busy:
                return True
    return False
