"""`local:PATH`: a chat in a folder, durable, shared by any number of processes."""

import asyncio
import contextlib
import functools
import hashlib
import os
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, BinaryIO, Final, TypeVar

from ..clock import RANDOM_IDS, SYSTEM_CLOCK, Clock, Ids
from ..errors import ActionError
from ..files import CHUNK_BYTES, File
from ..ports import Capabilities, Media, Progress
from . import sql
from .base import StoreBackend
from .media_folder import MediaFolder, Part, copy, make_folder, too_large
from .presence import Presence
from .store import Store, media_deleted
from .waiting import Feed, closed
from .workers import Mailbox, Workers
from .writer import Writer

T = TypeVar("T")
DATABASE: Final = "chat.sqlite3"
POLL_S: Final = 0.03
_WORKERS: Final = 8
# Up to so many files, looking through all of them costs less than wondering.
_SMALL: Final = 10_000


class LocalBackend(StoreBackend):
    """A backend in a folder, which it makes if need be, for its owner only.

    Args:
        path: the folder.
        clock: where times come from.
        ids: where sids come from.

    Raises:
        ActionError: `invalid_config` if the path is empty.
    """

    capabilities = Capabilities(scheme="local", durable=True)

    def __init__(self, path: str, *, clock: Clock = SYSTEM_CLOCK, ids: Ids = RANDOM_IDS) -> None:
        super().__init__(clock=clock, ids=ids)
        if not path or "\0" in path:
            raise ActionError("invalid_config", "local: needs the path of a folder.", hint="Write 'local:./chat'.")
        self.path = os.path.abspath(os.path.expanduser(path))
        self._folder = MediaFolder(self.path)
        self._presence = Presence(self.path)
        self._stops: set[threading.Event] = set()
        self._poller: asyncio.Task[None] | None = None
        self._seen = (-1, 0)
        self._spare: list[Store] = []

    # Opening and closing

    async def _open(self) -> Feed:
        loop = asyncio.get_running_loop()
        mailbox = Mailbox(loop)
        self._workers = Workers(loop, mailbox, _WORKERS)
        feed = Feed(loop, self._poll_soon)
        try:
            await self._hop(self._make_ready)
        except BaseException:
            self._workers.end()
            raise
        self._writer = Writer(self._writing, loop, mailbox, feed.wake)
        self._writer.start()
        return feed

    def _make_ready(self) -> None:
        with contextlib.ExitStack() as undo, _explained():
            make_folder(self.path)
            undo.callback(self._presence.leave)
            self._presence.enter()
            self._writing = self._connect(undo)
            self._reading = self._connect(undo, read_only=True)
            undo.callback(self._folder.close)
            self._folder.open()
            if self._presence.alone:
                self._tidy()
            self._presence.settle()
            self._undo = undo.pop_all()

    def _connect(self, undo: contextlib.ExitStack, *, read_only: bool = False) -> Store:
        path = os.path.join(self.path, DATABASE)
        if not read_only:
            # Made here, so that it and the files that SQLite puts beside it are for their owner only.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        db = undo.enter_context(contextlib.closing(sql.connect(path, read_only=read_only)))
        if not read_only:
            sql.prepare(db)
        store = Store(db, self.ids)
        store.load_secrets()
        return store

    def _tidy(self) -> None:
        self._folder.sweep_parts()
        if self._presence.crashed or self._reading.is_small(_SMALL):
            self._folder.sweep(self._reading.has_media)

    async def _close(self) -> None:
        for stop in self._stops:
            stop.set()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.wait([self._poller])
        self._writer.refuse_more()
        await self._hop(self._let_go)
        self._workers.end()

    def _let_go(self) -> None:
        self._writer.close()
        for sid in list(self._uploads):
            self._erase(sid)
        self._uploads.clear()
        self._undo.close()

    # Reading and writing

    def _look(self, read: Callable[[Store], T]) -> T:
        self._opened()
        try:
            return read(self._reading)
        except sqlite3.Error as error:
            raise sql.store_error(error) from error

    async def _write(self, write: Callable[[Store], T], *, after: Callable[[T], object] | None = None) -> T:
        self._opened()
        return await self._writer.submit(write, after).ended()

    async def _hop(self, call: Callable[..., T], *args: Any) -> T:
        return await self._workers.submit(functools.partial(call, *args)).ended()

    def _writable(self, channel: str, author: str) -> int:
        # In a worker: each has a connection of its own while it looks.
        try:
            store = self._spare.pop()
        except IndexError:
            store = self._connect(self._undo, read_only=True)
        try:
            return store.writable(channel, author)[0]
        finally:
            self._spare.append(store)

    # Files

    async def _keep(
        self,
        channel: str,
        author: str,
        sid: str,
        file: File,
        max_bytes: int | None,
        progress: Progress | None,
    ) -> tuple[int, int, str]:
        self._opened()
        number = 0

        def begin() -> Part:
            nonlocal number
            number = self._writable(channel, author)
            return self._folder.part(sid, max_bytes)

        stop = threading.Event()
        self._stops.add(stop)
        tell = Ticker(asyncio.get_running_loop(), progress)
        chunks = file.blocking_chunks()
        try:
            if chunks is None:
                size_bytes, sha256 = await self._keep_stream(begin, file, max_bytes, tell, stop)
            else:
                size_bytes, sha256 = await self._copy(begin, chunks, tell, stop)
        except asyncio.CancelledError:
            await self._drop(sid)
            raise
        finally:
            self._stops.discard(stop)
        if stop.is_set():
            await self._drop(sid)
            raise closed()
        return number, size_bytes, sha256

    async def _copy(
        self, begin: Callable[[], Part], chunks: Iterator[bytes], tell: "Ticker", stop: threading.Event
    ) -> tuple[int, str]:
        def going(count: int) -> bool:
            tell(count)
            return not stop.is_set()

        return await self._workers.submit(functools.partial(copy, begin, chunks, going)).ended(stop.set)

    async def _keep_stream(
        self,
        begin: Callable[[], Part],
        file: File,
        max_bytes: int | None,
        tell: "Ticker",
        stop: threading.Event,
    ) -> tuple[int, str]:
        opened: Part | None = None
        try:
            opened = await self._hop(begin)
            async with contextlib.aclosing(_gathered(file, max_bytes)) as pieces:
                async for piece in pieces:
                    await self._hop(opened.write, piece)
                    tell(opened.count)
                    if stop.is_set():
                        raise closed()
            return await self._hop(opened.finish)
        except BaseException as error:
            if opened is not None:
                await self._hop(opened.abandon)
            if isinstance(error, OSError):
                raise sql.store_error(error) from error
            raise

    def _kept(self, sid: str) -> bool:
        return self._folder.holds(sid)

    async def _drop(self, sid: str) -> None:
        await self._hop(self._erase, sid)

    def _erase(self, sid: str) -> None:
        try:
            self._folder.remove(sid)
        except OSError:
            # The row is gone already; with its marker left, the next one who opens the store removes the file.
            self._presence.clean = False

    async def _content(self, media: Media, offset: int, length: int | None) -> AsyncGenerator[bytes, None]:
        whole = offset == 0 and (length is None or length >= media.size_bytes)
        left = max(0, media.size_bytes - offset) if length is None else min(length, max(0, media.size_bytes - offset))
        digest = hashlib.sha256()
        opened, chunk = await self._hop(_open_at, self._folder.path(media.sid), media, offset, left)
        try:
            while left:
                if not chunk:
                    raise _corrupt(media)
                left -= len(chunk)
                if whole:
                    digest.update(chunk)
                    if not left and digest.hexdigest() != media.sha256:
                        raise _corrupt(media)
                yield chunk
                self._opened()
                if left:
                    chunk = await self._hop(opened.read, min(left, CHUNK_BYTES))
        finally:
            opened.close()

    # Other processes

    def _poll_soon(self) -> None:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        # The time of the machine, not of the clock: a clock that stands still must not make others invisible.
        feed = self._opened()
        while not feed.idle:
            try:
                feed.wake(self._look(self._changed))
            except ActionError:
                feed.wake_all()  # the followers find out themselves
            await asyncio.sleep(POLL_S)

    def _changed(self, store: Store) -> set[int]:
        version, seq = self._seen
        ((found,),) = store.db.execute("PRAGMA data_version").fetchall()
        if found == version:
            return set()
        newest = store.newest()
        self._seen = (found, newest)
        return store.channels_since(seq)


class Ticker:
    """Carries the progress of a worker to the event loop: the newest count, not each."""

    def __init__(self, loop: asyncio.AbstractEventLoop, progress: Progress | None) -> None:
        self._loop = loop
        self._progress = progress
        self._count = 0
        self._under_way = False

    def __call__(self, count: int) -> None:
        if self._progress is None:
            return
        self._count = count
        if not self._under_way:
            self._under_way = True
            # The loop may have ended meanwhile; then nobody wants to know.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._tell, self._progress)

    def _tell(self, progress: Progress) -> None:
        self._under_way = False
        progress(self._count)


async def _gathered(file: File, max_bytes: int | None) -> AsyncGenerator[bytes, None]:
    # Small pieces together, so that each hop to a worker is worth it.
    gathered = bytearray()
    count = 0
    async with contextlib.aclosing(file.chunks()) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            count += len(piece)
            if max_bytes is not None and count > max_bytes:
                raise too_large(max_bytes)
            gathered += piece
            if len(gathered) >= CHUNK_BYTES:
                yield bytes(gathered)
                gathered.clear()
    if gathered:
        yield bytes(gathered)


def _open_at(path: str, media: Media, offset: int, left: int) -> tuple[BinaryIO, bytes]:
    try:
        opened = open(path, "rb", buffering=0)
    except FileNotFoundError as error:
        raise media_deleted(media.sid) from error
    except OSError as error:
        raise sql.store_error(error) from error
    try:
        if os.fstat(opened.fileno()).st_size != media.size_bytes:
            raise _corrupt(media)
        opened.seek(min(offset, media.size_bytes))
        return opened, opened.read(min(left, CHUNK_BYTES))
    except BaseException:
        opened.close()
        raise


def _corrupt(media: Media) -> ActionError:
    return ActionError(
        "media_corrupt",
        "The stored file does not match its size or hash.",
        hint="Ask the sender to send it again.",
        details={"media_sid": media.sid},
    )


@contextlib.contextmanager
def _explained() -> Any:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise sql.store_error(error) from error
