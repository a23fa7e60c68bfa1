"""Waiting for something to happen in a channel."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

from ..errors import ActionError
from ..ports import Event


def closed() -> ActionError:
    """The error of every call to a backend that is not open."""
    return ActionError("backend_unavailable", "The backend is not open.", hint="Open it, or keep it open longer.")


class Feed:
    """Who waits for what happens in which channel. Used on one event loop only, except `wake_soon`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_first: Callable[[], None] = lambda: None) -> None:
        self.closed = False
        self._loop = loop
        self._on_first = on_first
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}

    @property
    def idle(self) -> bool:
        """Nobody waits."""
        return not self._waiting

    def ticket(self, channel: int) -> "asyncio.Future[None]":
        """A future that is done once something happens. Raises `backend_unavailable` after `close`."""
        if self.closed:
            raise closed()
        first = not self._waiting
        future = self._loop.create_future()
        self._waiting.setdefault(channel, set()).add(future)
        if first:
            self._on_first()
        return future

    def drop(self, channel: int, ticket: "asyncio.Future[None]") -> None:
        """Wait no longer."""
        waiting = self._waiting.get(channel)
        if waiting is not None:
            waiting.discard(ticket)
            if not waiting:
                del self._waiting[channel]

    def wake(self, channels: Iterable[int]) -> None:
        """Something happened in these channels."""
        for channel in channels:
            for ticket in self._waiting.get(channel, ()):
                if not ticket.done():
                    ticket.set_result(None)

    def wake_all(self) -> None:
        """Something may have happened anywhere."""
        self.wake(list(self._waiting))

    def wake_soon(self, channels: Iterable[int]) -> None:
        """The same as `wake`, from any thread."""
        # A loop that has ended has nobody waiting any more.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.wake, set(channels))

    def close(self) -> None:
        """Everybody who waits, now or later, is told that the backend closed."""
        self.closed = True
        self.wake_all()


class Follower(AsyncGenerator[Event, None]):
    """The events of one channel, one by one; an async generator that a cancelled step does not end.

    Each event is read when it is asked for, so that what was deleted in the meantime is not handed out.
    """

    def __init__(
        self,
        feed: Callable[[], Feed],
        begin: Callable[[], tuple[int, str, int]],
        read: Callable[[int, str, int], tuple[int, Event] | None],
    ) -> None:
        self._feed = feed
        self._begin = begin
        self._read = read
        self._place: tuple[int, str, int] | None = None
        self._ended = False
        self._burst = 0

    async def asend(self, value: None) -> Event:
        """The next event; the same as a step of `async for`."""
        if self._ended:
            raise StopAsyncIteration
        try:
            return await self._next()
        except ActionError:
            self._ended = True
            raise

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None) -> Event:
        """End with this exception."""
        self._ended = True
        raise typ if val is None else val

    async def aclose(self) -> None:
        """End; nothing is held between two steps, so leaving it without is fine too."""
        self._ended = True

    async def _next(self) -> Event:
        if self._place is None:
            self._place = self._begin()
        channel, sid, seq = self._place
        feed = self._feed()
        while True:
            # Taken before the look, so that nothing falls in between.
            ticket = feed.ticket(channel)
            try:
                found = self._read(channel, sid, seq)
                if found is not None:
                    break
                self._burst = 0
                await ticket
            finally:
                feed.drop(channel, ticket)
        self._place = (channel, sid, found[0])
        await self._breathe()
        return found[1]

    async def _breathe(self) -> None:
        # A long history must not keep the loop from everything else.
        self._burst += 1
        if self._burst % 64 == 0:
            await asyncio.sleep(0)
