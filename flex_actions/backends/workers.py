"""Threads for what blocks, and the way of their results back to the event loop.

Lighter than `concurrent.futures`: that wakes the loop for each result, which costs more than a small file's own work.
"""

import asyncio
import collections
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

from .waiting import closed

T = TypeVar("T")
CANCEL_LIMIT_S: Final = 30.0


class Mailbox:
    """Calls from any thread, made on the event loop: all that wait at once, in order."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: collections.deque[Callable[[], object]] = collections.deque()
        self._under_way = False

    def post(self, call: Callable[[], object]) -> None:
        """Have something called on the loop; forgotten if the loop has ended."""
        self._waiting.append(call)
        if not self._under_way:
            self._under_way = True
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        # First: what is posted from now on either is seen below or comes back.
        self._under_way = False
        while self._waiting:
            self._waiting.popleft()()


class Job(Generic[T]):
    """A call in another thread, and the way to wait for it.

    Who is cancelled while waiting waits on for the end, so that nobody goes on beside a thread that still works for
    them; but no longer than `CANCEL_LIMIT_S`, should that thread hang (a dead network drive, say).
    """

    __slots__ = ("_call", "_ended", "_future", "_undo", "error", "result")

    def __init__(self, call: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._future: asyncio.Future[None] = loop.create_future()
        self._ended = False
        self._undo: Callable[[T], object] | None = None
        self.result: T | None = None
        self.error: Exception | None = None

    def run(self) -> bool:
        """Make the call and keep what came of it; whether that is the end of the job."""
        try:
            self.result = self._call()
        except Exception as error:
            self.error = error
        return True

    def resolve(self) -> None:
        """Tell who waits; on the loop only."""
        self._ended = True
        if not self._future.done():
            self._future.set_result(None)
        if self._undo is not None:
            self._take_back(self._undo)

    async def ended(
        self, *, on_cancel: Callable[[], object] | None = None, undo: Callable[[T], object] | None = None
    ) -> T:
        """The result.

        If the caller is cancelled, `on_cancel` is called at once; a result that comes nevertheless is given to `undo`.
        """
        try:
            await self._future
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            await self._really_ended()
            if undo is not None:
                if self._ended:
                    self._take_back(undo)
                else:
                    self._undo = undo
            raise
        return self._outcome()

    async def outcome(self, *, on_cancel: Callable[[], object] | None = None) -> T:
        """The result, also if the caller is cancelled: then `on_cancel` is called at once.

        Raises `asyncio.CancelledError` only if there is no result to give; else the caller finds the cancellation in
        `asyncio.Task.cancelling`.
        """
        try:
            await self._future
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            await self._really_ended()
            if not self._ended or self.error is not None:
                raise
        return self._outcome()

    def _outcome(self) -> T:
        if self.error is not None:
            raise self.error
        return cast(T, self.result)

    def _take_back(self, undo: Callable[[T], object]) -> None:
        self._undo = None
        if self.error is None:
            undo(cast(T, self.result))

    async def _really_ended(self) -> None:
        # Cheaper than a shield for each job: this is rare.
        loop = self._future.get_loop()
        deadline = loop.time() + CANCEL_LIMIT_S
        while not self._ended and loop.time() < deadline:
            self._future = loop.create_future()
            timer = loop.call_at(deadline, _release, self._future)
            with contextlib.suppress(asyncio.CancelledError):
                await self._future
            timer.cancel()


def _release(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class Workers:
    """Up to `limit` threads, started when needed, that make calls for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox, limit: int) -> None:
        self._loop = loop
        self._mailbox = mailbox
        self._limit = limit
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._freed: collections.deque[None] = collections.deque()  # one for each job that left its thread
        self._ended = False

    def submit(self, call: Callable[[], T]) -> Job[T]:
        """Have something called in a thread; on the loop only. Raises `backend_unavailable` after `end`."""
        job = Job(call, self._loop)
        self.take(job)
        return job

    def take(self, job: Job[Any]) -> None:
        """Have a job run in a thread; on the loop only. Raises `backend_unavailable` after `end`."""
        if self._ended:
            raise closed()
        while self._freed:
            self._freed.pop()
            self._busy -= 1
        self._busy += 1
        if self._busy > len(self._threads) and len(self._threads) < self._limit:
            thread = threading.Thread(target=self._work, name="flex-actions-worker", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put(job)

    def end(self) -> None:
        """Take nothing more; the threads end behind what was handed in."""
        self._ended = True
        for _ in self._threads:
            self._queue.put(None)

    def join(self) -> None:
        """Wait for the threads to end; blocks, so not for the event loop or for one of them."""
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if job.run():
                self._mailbox.post(job.resolve)
            self._freed.append(None)
