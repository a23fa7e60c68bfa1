"""`local:PATH`: a chat in a folder, durable, shared by any number of processes."""

import asyncio
import contextlib
import functools
import os
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Any, Final, TypeVar

from ..clock import RANDOM_IDS, SYSTEM_CLOCK, Clock, Ids
from ..errors import ActionError
from ..files import File
from ..logs import logger
from ..ports import Capabilities, Draft, Key, Media, Posted, Progress
from . import sql, texts
from .asides import HIDDEN, remove_leftovers
from .base import StoreBackend
from .deliveries import Delivery, Post, WorkersDelivery
from .media_folder import STRAY, MediaFolder, Part, copy, make_folder
from .presence import Presence
from .store import Store
from .transfers import Reading, Ticker, gathered_chunks
from .waiting import Feed, closed
from .workers import Mailbox, Workers
from .writer import Write, Writer

T = TypeVar("T")
DATABASE: Final = "chat.sqlite3"
POLL_S: Final = 0.03
_WORKERS: Final = 8
# What a first start that was cut short leaves behind, and what a disk of its own has from the beginning.
OWN: Final = frozenset(
    {
        "lock",
        "open",
        "incoming",
        "media",
        STRAY,
        "lost+found",
        *(DATABASE + end for end in ("", "-journal", "-wal", "-shm")),
    }
)
# Up to so many files, looking through all of them costs less than wondering.
_SMALL: Final = 10_000
_MANY: Final = 1000


def folder_of(path: str) -> str:
    """The folder that a URL's path means."""
    return os.path.abspath(os.path.expanduser(path))


def holds_no_chat(path: str) -> bool:
    """Whether there is certainly no chat in a folder (one that cannot be looked into may hold one)."""
    try:
        return os.stat(os.path.join(path, DATABASE)).st_size == 0
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False


def make_private(path: str) -> None:
    """Make a database for its owner only; the files that SQLite puts beside it get the same permissions.

    One that is there is not even opened: closing it would take away the locks that SQLite holds on it, for another
    backend of this process, and other processes would remove the log that is still written to.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


class _Stop:
    """Asks a worker to stop. A plain flag does: an event's lock and queue cost more than a small file's hash."""

    __slots__ = ("asked",)

    def __init__(self) -> None:
        self.asked = False

    def set(self) -> None:
        self.asked = True


class LocalBackend(StoreBackend):
    """A backend in a folder, which it makes if need be, for its owner only.

    Args:
        path: the folder.
        clock: where times come from.
        ids: where sids come from.
        public_url: where its files are served, if not as saved in the store.

    Raises:
        ActionError: `invalid_config` if the path is empty or the public URL wrong, also one of the environment.
    """

    capabilities = Capabilities(scheme="local", durable=True)

    def __init__(
        self, path: str, *, clock: Clock = SYSTEM_CLOCK, ids: Ids = RANDOM_IDS, public_url: str | None = None
    ) -> None:
        super().__init__(clock=clock, ids=ids, public_url=public_url)
        if not path or "\0" in path:
            raise ActionError("invalid_config", "local: needs the path of a folder.", hint="Write 'local:./chat'.")
        try:
            os.fsencode(path)
        except UnicodeEncodeError:
            raise ActionError("invalid_config", f"local: {path[:80]!a} is no path.") from None
        self.path = folder_of(path)
        self._folder = MediaFolder(self.path)
        self._presence = Presence(self.path)
        self._stops: set[_Stop] = set()
        self._poller: asyncio.Task[None] | None = None
        self._seen = 0, 0
        self._parts: set[Part] = set()

    # Opening and closing

    async def _open(self) -> Feed:
        loop = asyncio.get_running_loop()
        mailbox = Mailbox(loop)
        self._workers = Workers(loop, mailbox, _WORKERS)
        feed = Feed(loop, self._poll_soon)
        try:
            await self._hop(self._make_ready, undo=lambda _: self._undo.close())
        except BaseException:
            self._workers.end()
            raise
        self._writer = Writer(self._writing, mailbox, feed.wake)
        self._writer.start()
        return feed

    def _make_ready(self) -> None:
        with contextlib.ExitStack() as undo:
            self._must_be_ours()
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
            self._seen = self._reading.version(), self._reading.newest()
            self._undo = undo.pop_all()

    def _must_be_ours(self) -> None:
        """Refuse to move into a folder that holds other things and no chat."""
        if not os.path.isdir(self.path) or not holds_no_chat(self.path):
            return
        others = sorted(name for name in os.listdir(self.path) if name not in OWN and not name.startswith("."))
        if others:
            raise ActionError(
                "invalid_config",
                f"The folder {self.path!a} holds other things ({others[0][:80]!a}, …) and no chat.",
                hint="Name a folder of its own: one that is empty or not there yet.",
            )

    def _connect(self, undo: contextlib.ExitStack, *, read_only: bool = False) -> Store:
        path = os.path.join(self.path, DATABASE)
        if not read_only:
            make_private(path)
            if 0 < os.path.getsize(path) < sql.SMALLEST_BYTES:
                raise ActionError("store_corrupt", "The database there is damaged or none.", hint=sql.RESTORE)
        db = undo.enter_context(contextlib.closing(sql.connect(path, read_only=read_only)))
        if not read_only:
            sql.prepare(db)
        store = Store(db, self.ids)
        store.load_secrets()
        return store

    def _tidy(self) -> None:
        self._folder.sweep_parts()
        remove_leftovers(os.path.join(self.path, HIDDEN), alone=True)
        if self._presence.crashed or self._reading.is_small(_SMALL):
            aside = self._folder.sweep(self._reading.has_media, self._reading.was_deleted, self.clock.now())
            if aside:
                logger().warning("store.files_set_aside", files=aside)

    async def purge(self) -> int:
        """Delete personal events, and files set aside, that are 7 days old; how many events went."""
        gone = await super().purge()
        await self._hop(functools.partial(self._folder.purge_strays, self.clock.now()))
        return gone

    async def _close(self) -> None:
        for stop in self._stops:
            stop.set()
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)
        self._writer.refuse_more()
        self._workers.end()
        await asyncio.to_thread(self._let_go)

    def _let_go(self) -> None:
        self._workers.join()
        self._writer.close()
        for part in list(self._parts):
            part.abandon()
        for sid in list(self._uploads):
            self._erase(sid)
        self._uploads.clear()
        self._undo.close()

    # Reading and writing

    def _look(self, read: Callable[[Store], T]) -> T:
        self._opened()
        with self._named():
            try:
                return read(self._reading)
            except sql.FAILURES as error:
                # A newer version may have changed the format since; then nothing is damaged.
                with sql.explained():
                    sql.check_format(self._reading.db)
                raise sql.store_error(error) from error

    async def _write(self, write: Callable[[Store], T], *, after: Callable[[T], object] | None = None) -> T:
        self._opened()
        with self._named():
            return await self._writer.submit(Write(write, asyncio.get_running_loop(), after=after)).ended()

    async def _hop(self, call: Callable[[], T], *, undo: Callable[[T], object] | None = None) -> T:
        with self._named(), sql.explained():
            return await self._workers.submit(call).ended(undo=undo)

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """What is wrong with the store says which one is meant."""
        try:
            yield
        except ActionError as error:
            self._say_where(error)
            raise

    def _say_where(self, error: ActionError) -> None:
        wrong = error.code.startswith("store_") or error.message.startswith("The store ")
        if wrong and error.details.get("folder") is None:
            error.message = f"{error.message.removesuffix('.')}: {self.path!a}."
            error.details["folder"] = self.path

    # Files

    async def send_file(
        self,
        channel: str,
        file: File,
        *,
        author: str,
        attributes: Mapping[str, Any],
        key: Callable[[Media], Key] | None = None,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> Posted:
        """Store a file and post its message, with nothing on the event loop in between; see `ports.SendsFiles`."""
        text = texts.checked_sender(author, attributes)
        where = self._writable(channel, author, file.size_bytes)
        sid, message_sid, now = self._new_media_sid(), self.ids.sid("IM"), self.clock.now()

        def posting(size_bytes: int, sha256: str) -> Post:
            media = Media(sid, file.name, file.content_type, size_bytes, sha256)
            draft = Draft(author, None, media, attributes)
            wanted = key(media) if key is not None else None
            return lambda store: store.post(
                where, draft, wanted, claim=lambda _: media, attributes=text, sid=message_sid, now=now
            )

        drop = functools.partial(self._erase, sid)
        chunks = file.blocking_chunks()
        if chunks is None:
            kept = await self._keep(sid, file, max_bytes=max_bytes, progress=progress)
            try:
                post = posting(*kept)
            except BaseException:
                await self._drop(sid)
                raise
            with self._named():
                return await self._writer.submit(Delivery(post, drop, asyncio.get_running_loop())).outcome()
        try:
            return await self._deliver(
                posting, drop, functools.partial(self._folder.part, sid, max_bytes), chunks, progress
            )
        except ActionError as error:
            self._say_where(error)
            raise

    async def _deliver(
        self,
        posting: Callable[[int, str], Post],
        drop: Callable[[], object],
        begin: Callable[[], Part],
        chunks: Iterator[bytes],
        progress: Progress | None,
    ) -> Posted:
        loop = asyncio.get_running_loop()
        stop, ticker = _Stop(), Ticker(loop, progress)

        def going(count: int) -> bool:
            ticker.tell(count)
            return not stop.asked

        def keep() -> Post | None:
            kept = copy(begin, chunks, going)
            if stop.asked:
                drop()
                return None
            try:
                return posting(*kept)
            except BaseException:
                drop()
                raise

        delivery = WorkersDelivery(keep, drop, self._writer, loop)
        self._stops.add(stop)
        try:
            self._workers.take(delivery)
            return await delivery.outcome(on_cancel=stop.set)
        finally:
            self._stops.discard(stop)

    async def _keep(self, sid: str, file: File, *, max_bytes: int | None, progress: Progress | None) -> tuple[int, str]:
        begin = functools.partial(self._folder.part, sid, max_bytes)
        stop = _Stop()
        self._stops.add(stop)
        ticker = Ticker(asyncio.get_running_loop(), progress)
        chunks = file.blocking_chunks()
        try:
            if chunks is None:
                size_bytes, sha256 = await self._keep_stream(begin, gathered_chunks(file, max_bytes), ticker)
            else:
                size_bytes, sha256 = await self._copy(begin, chunks, ticker, stop)
        except asyncio.CancelledError:
            await self._drop(sid)
            raise
        finally:
            self._stops.discard(stop)
        if stop.asked:
            self._erase(sid)
            raise closed()
        return size_bytes, sha256

    async def _copy(
        self, begin: Callable[[], Part], chunks: Iterator[bytes], ticker: Ticker, stop: _Stop
    ) -> tuple[int, str]:
        def going(count: int) -> bool:
            ticker.tell(count)
            return not stop.asked

        job = self._workers.submit(functools.partial(copy, begin, chunks, going))
        with self._named():
            return await job.ended(on_cancel=stop.set)

    async def _keep_stream(
        self, begin: Callable[[], Part], chunks: AsyncGenerator[bytes, None], ticker: Ticker
    ) -> tuple[int, str]:
        part = await self._hop(begin, undo=Part.abandon)
        self._parts.add(part)
        try:
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    await self._hop(functools.partial(part.write, chunk))
                    ticker.tell(part.count)
            return await self._hop(part.finish)
        except BaseException:
            try:
                await self._hop(part.abandon)
            except ActionError:  # the backend has closed meanwhile, maybe before it knew of this one
                part.abandon()
            raise
        finally:
            self._parts.discard(part)

    def _kept(self, sid: str) -> bool:
        return self._folder.holds(sid)

    async def _drop(self, sid: str) -> None:
        try:
            await self._hop(functools.partial(self._erase, sid))
        except ActionError:  # the backend has closed meanwhile, and its workers with it
            self._erase(sid)

    def _erase(self, sid: str) -> None:
        try:
            self._folder.remove(sid)
        except OSError:
            # The row is gone already; with its marker left, the next one who opens the store removes the file.
            self._presence.clean = False

    async def _content(self, media: Media, offset: int, length: int | None) -> AsyncGenerator[bytes, None]:
        there = max(0, media.size_bytes - offset)
        left = there if length is None else min(length, there)
        begin = functools.partial(Reading.begun, self._folder.path(media.sid), media, offset, left)
        reading, chunk = await self._hop(begin, undo=lambda begun: begun[0].close())
        with contextlib.closing(reading):
            while chunk:
                yield chunk
                self._opened()
                chunk = await self._hop(reading.chunk) if reading.left else b""

    # Other processes

    def _poll_soon(self) -> None:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        # The time of the machine, not of the clock: a clock that stands still must not make others invisible.
        feed = self._feed
        while feed is not None and not feed.idle and not feed.closed:
            try:
                changed = self._look(self._changed)
            except ActionError:
                changed = None  # the followers find out themselves
            if changed is None:
                feed.wake_all()
            else:
                feed.wake(changed)
            await asyncio.sleep(POLL_S)

    def _changed(self, store: Store) -> set[int] | None:
        version, seq = self._seen
        found = store.version()
        if found == version:
            return set()
        self._seen = found, store.newest()
        # After a long pause, looking through all that happened costs more than letting everybody look.
        return store.channels_since(seq) if self._seen[1] - seq <= _MANY else None
