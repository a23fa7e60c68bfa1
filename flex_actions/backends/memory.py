"""`memory:` and `memory:NAME`: the same chat without a disk, private or shared by all in the process."""

import asyncio
import contextlib
import hashlib
import sqlite3
import threading
from collections.abc import AsyncGenerator, Callable
from typing import TypeVar

from ..clock import RANDOM_IDS, SYSTEM_CLOCK, Clock, Ids
from ..files import File, _BytesSource
from ..ports import Capabilities, Media, Progress
from . import sql
from .base import StoreBackend
from .media_folder import too_large
from .store import Store, media_deleted
from .transfers import READ_BYTES
from .waiting import Feed

T = TypeVar("T")


class _Shared:
    """What all backends of one name use, from whatever thread: a database, the files, who wants to be woken."""

    def __init__(self, ids: Ids) -> None:
        self.db = sql.connect(":memory:")
        sql.prepare(self.db)
        self.store = Store(self.db, ids)
        self.store.load_secrets()
        self.lock = threading.RLock()
        self.content: dict[str, bytes] = {}
        self.feeds: frozenset[Feed] = frozenset()


_named: dict[str, _Shared] = {}
_naming = threading.Lock()


class MemoryBackend(StoreBackend):
    """A backend that forgets everything when the last one of its name closes.

    Args:
        name: empty for a private one; all of one name in a process share one chat, from any thread.
        clock: where times come from.
        ids: where sids come from.
        public_url: where its files are served, if not as saved in the store.

    Raises:
        ActionError: `invalid_config` for a wrong public URL, also one of the environment.
    """

    capabilities = Capabilities(scheme="memory", durable=False)

    def __init__(
        self,
        name: str = "",
        *,
        clock: Clock = SYSTEM_CLOCK,
        ids: Ids = RANDOM_IDS,
        public_url: str | None = None,
    ) -> None:
        super().__init__(clock=clock, ids=ids, public_url=public_url)
        self.name = name

    async def _open(self) -> Feed:
        feed = Feed(asyncio.get_running_loop())
        with _naming:
            shared = _named.get(self.name) if self.name else None
            if shared is None:
                shared = _Shared(self.ids)
                if self.name:
                    _named[self.name] = shared
            # Never changed in place: another thread may be going through it.
            shared.feeds = shared.feeds | {feed}
        self._shared = shared
        return feed

    async def _close(self) -> None:
        shared = self._shared
        for sid in self._uploads:
            shared.content.pop(sid, None)
        self._uploads.clear()
        with _naming:
            shared.feeds = frozenset(feed for feed in shared.feeds if feed is not self._feed)
            last = not shared.feeds
            if last and self.name:
                del _named[self.name]
        if last:
            with shared.lock:
                shared.db.close()

    def _look(self, read: Callable[[Store], T]) -> T:
        self._opened()
        with self._shared.lock:
            try:
                return read(self._shared.store)
            except sqlite3.Error as error:
                raise sql.store_error(error) from error

    async def _write(self, write: Callable[[Store], T], *, after: Callable[[T], object] | None = None) -> T:
        own = self._opened()
        with self._shared.lock:
            result = self._commit(write)
            touched = self._shared.store.touched
            if after is not None:
                after(result)
        own.wake(touched)
        for feed in self._shared.feeds:
            if feed is not own:
                feed.wake_soon(touched)
        return result

    def _commit(self, write: Callable[[Store], T]) -> T:
        store = self._shared.store
        store.ids = self.ids
        store.touched = set()
        store.db.execute("BEGIN")
        try:
            result = write(store)
            store.db.execute("COMMIT")
        except BaseException as error:
            if store.db.in_transaction:
                store.db.execute("ROLLBACK")
            if isinstance(error, sqlite3.Error):
                raise sql.store_error(error) from error
            raise
        return result

    async def _keep(self, sid: str, file: File, *, max_bytes: int | None, progress: Progress | None) -> tuple[int, str]:
        loop = asyncio.get_running_loop()
        gathered, digest = bytearray(), hashlib.sha256()
        async with contextlib.aclosing(_pieces(file)) as pieces:
            async for piece in pieces:
                gathered += piece
                digest.update(piece)
                if max_bytes is not None and len(gathered) > max_bytes:
                    raise too_large(max_bytes)
                if progress is not None:
                    loop.call_soon(progress, len(gathered))
        if progress is not None:
            await asyncio.sleep(0)  # the last count is told before the end
        self._opened()
        self._shared.content[sid] = bytes(gathered)
        return len(gathered), digest.hexdigest()

    def _kept(self, sid: str) -> bool:
        return sid in self._shared.content

    async def _drop(self, sid: str) -> None:
        self._erase(sid)

    def _erase(self, sid: str) -> None:
        self._shared.content.pop(sid, None)

    async def _content(self, media: Media, offset: int, length: int | None) -> AsyncGenerator[bytes, None]:
        content = self._shared.content.get(media.sid)
        if content is None:
            raise media_deleted(media.sid)
        end = len(content) if length is None else min(len(content), offset + length)
        for start in range(offset, end, READ_BYTES):
            self._opened()
            yield content[start : min(end, start + READ_BYTES)]


async def _pieces(file: File) -> AsyncGenerator[bytes, None]:
    chunks = file.blocking_chunks() if isinstance(file._source, _BytesSource) else None
    if chunks is not None:
        # What is in memory already needs no thread.
        for chunk in chunks:
            yield chunk
        return
    async with contextlib.aclosing(file.chunks()) as read:
        async for chunk in read:
            yield chunk
