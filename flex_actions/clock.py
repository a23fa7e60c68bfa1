"""Time and identifiers, injected everywhere so that a test or a replay owns them."""

import asyncio
import heapq
import itertools
import os
import secrets
import time
from typing import Protocol


class Clock(Protocol):
    """Where the library takes the time from."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return once `seconds` of this clock's time have passed."""


class Ids(Protocol):
    """Where identifiers and other randomness come from."""

    def sid(self, prefix: str) -> str:
        """A new identifier in Twilio's form: two letters and 32 hexadecimal digits."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Sleep for real."""
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only when told: for tests and replays."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        """Seconds since the epoch, as last set."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move on (or back, with a negative number) and wake the sleepers that are due."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            _, _, sleeper = heapq.heappop(self._sleepers)
            if not sleeper.done():
                sleeper.set_result(None)

    async def sleep(self, seconds: float) -> None:
        """Return once `advance` has moved the clock far enough."""
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), sleeper))
        await sleeper


_stock: list[str] = []
if hasattr(os, "register_at_fork"):
    # Both sides of a fork would hand out the same ones.
    os.register_at_fork(after_in_child=_stock.clear)


class RandomIds:
    """Identifiers from the operating system's randomness."""

    def sid(self, prefix: str) -> str:
        """A new random identifier; from any thread."""
        while True:
            try:
                return prefix + _stock.pop()
            except IndexError:
                # Many at once: each look at the system's randomness lets other threads in, which costs far more.
                many = secrets.token_hex(16 * 256)
                _stock.extend(many[i : i + 32] for i in range(0, len(many), 32))


class CountingIds:
    """Identifiers that count up: for tests and replays."""

    def __init__(self) -> None:
        self._count = itertools.count(1)

    def sid(self, prefix: str) -> str:
        """The next identifier."""
        return f"{prefix}{next(self._count):032x}"


SYSTEM_CLOCK = SystemClock()
RANDOM_IDS = RandomIds()
