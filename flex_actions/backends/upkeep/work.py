"""Long work in a thread: it can be cancelled, and tells how far it is."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")
OnProgress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

# SQLite's own steps between two looks at whether to stop: well below a tenth of a second.
_SQLITE_STEPS: Final = 100_000


class Stopped(Exception):
    """The work was cancelled on its way."""


class Work:
    """The thread's side of a call: it asks whether to go on, and tells how far it is. Usable from its helpers too."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_progress: OnProgress | None) -> None:
        self.stopped = False
        self._loop = loop
        self._on_progress = on_progress
        self._newest = ("", 0, 0)
        self._under_way = False

    def go_on(self) -> None:
        """Raise `Stopped` once the caller has given up."""
        if self.stopped:
            raise Stopped

    def tell(self, what: str, done: int, total: int) -> None:
        """Note how far it is; only the newest note is told. Raises `Stopped`."""
        self.go_on()
        if self._on_progress is None:
            return
        self._newest = (what, done, total)
        if not self._under_way:
            self._under_way = True
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(self._tell, self._on_progress)

    def _tell(self, on_progress: OnProgress) -> None:
        self._under_way = False
        on_progress(*self._newest)

    @contextlib.contextmanager
    def watching(self, db: "sqlite3.Connection") -> Iterator[None]:
        """Whatever the connection does inside ends soon after the caller has given up."""
        db.set_progress_handler(lambda: self.stopped, _SQLITE_STEPS)
        try:
            yield
        except Exception:
            self.go_on()  # what SQLite says of having been stopped is no error
            raise
        finally:
            db.set_progress_handler(None, 0)


async def apart(call: Callable[[Work], T], on_progress: OnProgress | None) -> T:
    """Call in a thread; a cancellation stops the work and waits for its end, so that it leaves nothing behind."""
    from ..sql import explained  # not at the top: it loads SQLite

    work = Work(asyncio.get_running_loop(), on_progress)

    def run() -> T:
        with explained():
            return call(work)

    job = asyncio.ensure_future(asyncio.to_thread(run))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        work.stopped = True
        while not job.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # seen: nobody is left to tell
        raise
