"""One thread that does all the writing of a store, many operations in one transaction."""

import asyncio
import contextlib
import functools
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from ..errors import ActionError
from .sql import BUSY_LIMIT_S, check_format, store_error
from .store import Store
from .waiting import closed
from .workers import Job, Mailbox

T = TypeVar("T")
BATCH_JOBS: Final = 512
_ERASE_AGAIN_S: Final = 0.25
_ERASE_WAIT_MS: Final = 100


class Write(Job[T]):
    """An operation on the store, made in a transaction together with others.

    Args:
        write: the operation; it checks first and writes then.
        after: called in the writer's thread right behind the commit.
        failed: called there if nothing was committed.
    """

    __slots__ = ("_after", "_failed", "_write")

    def __init__(
        self,
        write: Callable[[Store], T],
        loop: asyncio.AbstractEventLoop,
        *,
        after: Callable[[T], object] | None = None,
        failed: Callable[[], object] | None = None,
    ) -> None:
        super().__init__(self._finish, loop)
        self._write = write
        self._after = after
        self._failed = failed

    def run_on(self, store: Store) -> None:
        """Make the operation; the transaction is not committed yet."""
        self.error = None
        try:
            self.result = self._write(store)
        except ActionError as error:  # it changed nothing, so the others may go on
            self.error = error

    def follow_up(self) -> None:
        """What follows the end of the transaction."""
        if self.error is None:
            self.run()
        elif self._failed is not None:
            self._failed()

    def _finish(self) -> T:
        result = cast(T, self.result)
        if self._after is not None:
            self._after(result)
        return result


def _is_locked(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


class Writer:
    """Owns the writing connection from `start` to `close`.

    What is handed in while a commit is under way is committed together by the next one.
    """

    def __init__(
        self,
        store: Store,
        mailbox: Mailbox,
        wake: Callable[[set[int]], None],
    ) -> None:
        self._store = store
        self._mailbox = mailbox
        self._wake = wake
        self._queue: queue.SimpleQueue[Write[Any] | None] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="flex-actions-writer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(self, job: Write[T]) -> Write[T]:
        """Hand in an operation, on the event loop; it ends once it is safely on disk, or refused.

        Raises `backend_unavailable` after `refuse_more`.
        """
        if self._ended:
            raise closed()
        self._queue.put(job)
        return job

    def put(self, job: Write[Any]) -> None:
        """Hand in a job from a worker's thread; those end before `close` is called."""
        self._queue.put(job)

    def close(self) -> None:
        """Finish what was handed in, then end the thread; blocks, so not for the event loop."""
        self._queue.put(None)
        self._thread.join()

    def refuse_more(self) -> None:
        """From now on nothing may be handed in; call it on the event loop before `close`."""
        self._ended = True

    def _work(self) -> None:
        ended = False
        while not ended:
            jobs, ended = self._drain()
            if jobs:
                self._commit(jobs)
                touched = self._store.touched
                self._erase()
                self._mailbox.post(functools.partial(self._resolve, jobs, touched))
            else:
                self._erase()

    def _drain(self) -> tuple[list[Write[Any]], bool]:
        jobs: list[Write[Any]] = []
        try:
            job = self._queue.get(timeout=_ERASE_AGAIN_S if self._store.erased else None)
            while job is not None:
                jobs.append(job)
                if len(jobs) == BATCH_JOBS:
                    return jobs, False
                job = self._queue.get_nowait()
        except queue.Empty:
            return jobs, False
        return jobs, True

    def _commit(self, jobs: list[Write[Any]]) -> None:
        self._store.touched = set()
        try:
            self._store.db.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._fail(jobs, error)
            return
        try:
            # A newer version may have changed the format since this process opened the store.
            check_format(self._store.db)
            for job in jobs:
                job.run_on(self._store)
            self._store.db.execute("COMMIT")
        except Exception as error:
            self._undo()
            self._one_by_one(jobs, error)
        else:
            for job in jobs:
                job.follow_up()

    def _one_by_one(self, jobs: list[Write[Any]], error: Exception) -> None:
        # Only the guilty one fails.
        if len(jobs) == 1:
            self._fail(jobs, error)
            return
        touched: set[int] = set()
        for number, job in enumerate(jobs):
            self._commit([job])
            touched |= self._store.touched
            cause = job.error.__cause__ if job.error is not None else None
            if isinstance(cause, sqlite3.Error) and _is_locked(cause):
                # Each of the others would wait as long for the same lock, and all of them for the last.
                self._fail(jobs[number + 1 :], cause)
                break
        self._store.touched = touched

    def _undo(self) -> None:
        self._store.touched = set()
        if self._store.db.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._store.db.execute("ROLLBACK")

    def _fail(self, jobs: list[Write[Any]], error: Exception) -> None:
        for job in jobs:
            job.error = store_error(error)
            if job.error is not error:
                job.error.__cause__ = error
            job.follow_up()

    def _erase(self) -> None:
        # Deleted rows are overwritten in the pages; this takes the old pages out of the log as well. Somebody who
        # reads just now keeps the log: tried again then.
        if not self._store.erased:
            return
        db = self._store.db
        with contextlib.suppress(sqlite3.Error):
            db.execute(f"PRAGMA busy_timeout={_ERASE_WAIT_MS}")
            ((busy, _, _),) = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self._store.erased = bool(busy)
        db.execute(f"PRAGMA busy_timeout={int(BUSY_LIMIT_S * 1000)}")

    def _resolve(self, jobs: list[Write[Any]], touched: set[int]) -> None:
        for job in jobs:
            job.resolve()
        self._wake(touched)
