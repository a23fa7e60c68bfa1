"""Threads for what blocks, and the way of their results back to the event loop.

Lighter than `concurrent.futures`: that wakes the loop for each result, which costs more than a small file's own work.
"""

import asyncio
import collections
import contextlib
import functools
import queue
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, cast

from .waiting import closed

T = TypeVar("T")


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
    """A call in another thread, and the way to wait for it."""

    __slots__ = ("_call", "_ended", "_future", "error", "result")

    def __init__(self, call: Callable[[], T], loop: asyncio.AbstractEventLoop) -> None:
        self._call = call
        self._future: asyncio.Future[None] = loop.create_future()
        self._ended = False
        self.result: T | None = None
        self.error: Exception | None = None

    def run(self) -> None:
        """Make the call and keep what came of it."""
        try:
            self.result = self._call()
        except Exception as error:
            self.error = error

    def resolve(self) -> None:
        """Tell who waits; on the loop only."""
        self._ended = True
        if not self._future.done():
            self._future.set_result(None)

    async def ended(
        self, *, on_cancel: Callable[[], object] | None = None, undo: Callable[[T], object] | None = None
    ) -> T:
        """The result.

        If the caller is cancelled, `on_cancel` is called at once and the end awaited before that goes on; a result
        that came nevertheless is given to `undo`.
        """
        try:
            await self._future
        except asyncio.CancelledError:
            if on_cancel is not None:
                on_cancel()
            await self._really_ended()
            if undo is not None and self.error is None:
                undo(cast(T, self.result))
            raise
        if self.error is not None:
            raise self.error
        return cast(T, self.result)

    async def _really_ended(self) -> None:
        # Cheaper than a shield for each job: this is rare.
        while not self._ended:
            self._future = self._future.get_loop().create_future()
            with contextlib.suppress(asyncio.CancelledError):
                await self._future


class Workers:
    """Up to `limit` threads, started when needed, that make calls for one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, mailbox: Mailbox, limit: int) -> None:
        self._loop = loop
        self._mailbox = mailbox
        self._limit = limit
        self._queue: queue.SimpleQueue[Job[Any] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self._ended = False

    def submit(self, call: Callable[[], T]) -> Job[T]:
        """Have something called in a thread; on the loop only. Raises `backend_unavailable` after `end`."""
        if self._ended:
            raise closed()
        job = Job(call, self._loop)
        self._busy += 1
        if self._busy > len(self._threads) and len(self._threads) < self._limit:
            thread = threading.Thread(target=self._work, name="flex-actions-worker", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._queue.put(job)
        return job

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
            job.run()
            self._mailbox.post(functools.partial(self._resolve, job))

    def _resolve(self, job: Job[Any]) -> None:
        self._busy -= 1
        job.resolve()
