"""The part of a backend that is the same wherever the SQLite store lies: `ports.Backend` over `store.Store`.

A subclass says how to read (`_look`), how to write (`_write`) and how files are kept.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from typing import Final, TypeVar

from ..clock import Clock, Ids, RandomIds
from ..errors import ActionError, brief
from ..files import File
from ..ports import (
    LINK_LIFE_S,
    PURGE_EVERY_S,
    Capabilities,
    Channel,
    Disposition,
    Draft,
    Event,
    Key,
    KeyRecord,
    Link,
    Media,
    Member,
    Message,
    Posted,
    Progress,
    Settled,
)
from . import links, texts
from .addresses import checked_public_url, configured_public_url
from .event_log import PURGE_ROWS
from .store import Store, Upload
from .waiting import Feed, Follower, closed

PAGE_ROWS = 256
_SEEN: Final = 4096
_SMALL_BYTES: Final = 1024 * 1024
_MAX = 2**63 - 1

T = TypeVar("T")


class StoreBackend(ABC):
    """A backend over a SQLite store; see `ports.Backend` for every call."""

    capabilities: Capabilities

    def __init__(self, *, clock: Clock, ids: Ids, public_url: str | None = None) -> None:
        self.clock = clock
        self.ids = ids
        self._public_url = configured_public_url(public_url)
        self._uploads: dict[str, Upload] = {}
        # Sids of channels, by their name and who could write there when last asked: a small upload goes by that, since
        # its post asks once more anyway.
        self._writable_seen: dict[tuple[str, str], str] = {}
        self._read_only = False
        self._feed: Feed | None = None
        self._hourly: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    # What a subclass brings

    @abstractmethod
    async def _open(self) -> Feed:
        """Make the store ready; the feed that its commits wake."""

    @abstractmethod
    async def _close(self) -> None:
        """Finish what is being written and let go of everything."""

    @abstractmethod
    def _look(self, read: Callable[[Store], T]) -> T:
        """Read a little, at once."""

    @abstractmethod
    async def _write(self, write: Callable[[Store], T], *, after: Callable[[T], object] | None = None) -> T:
        """Write in a transaction; once that is committed, call `after`, in whatever thread did it."""

    @abstractmethod
    async def _keep(self, sid: str, file: File, *, max_bytes: int | None, progress: Progress | None) -> tuple[int, str]:
        """Store a file's content; counted size and sha256. Leaves nothing behind if it fails."""

    @abstractmethod
    def _kept(self, sid: str) -> bool:
        """Whether content of that name is there already."""

    @abstractmethod
    async def _drop(self, sid: str) -> None:
        """Remove the content of an upload."""

    @abstractmethod
    def _erase(self, sid: str) -> None:
        """Remove the content of a deleted message; called with the commit, wherever that runs."""

    @abstractmethod
    def _content(self, media: Media, offset: int, length: int | None) -> AsyncGenerator[bytes, None]:
        """The content of a file, or a range of it, checked."""

    # Opening and closing

    async def open(self) -> None:
        """Make it ready and purge what is due; nothing happens if it is open."""
        if self._closing is not None:
            raise closed()
        if self._feed is not None:
            return
        self._feed = await self._open()
        try:
            self._read_only = self._look(lambda store: store.read_only)
            await self.purge()
        except BaseException:
            await self.close()
            raise
        self._hourly = asyncio.create_task(self._purge_hourly())

    async def close(self) -> None:
        """End followers, finish what is being written, let go of everything; a second call waits for the first."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._shut())
        await asyncio.shield(self._closing)

    async def _shut(self) -> None:
        if self._feed is None:
            return
        self._feed.close()
        if self._hourly is not None:
            self._hourly.cancel()
            await asyncio.gather(self._hourly, return_exceptions=True)
        await self._close()

    def _opened(self) -> Feed:
        if self._feed is None or self._feed.closed:
            raise closed()
        return self._feed

    async def _purge_hourly(self) -> None:
        while True:
            await self.clock.sleep(PURGE_EVERY_S)
            # A full disk now is no reason to stop purging for ever.
            with contextlib.suppress(ActionError):
                await self.purge()

    async def purge(self) -> int:
        """Delete personal events that are 7 days old; how many went."""
        now, gone = self.clock.now(), 0
        while True:
            went = await self._write(lambda store: store.purge(now))
            gone += went
            if went < PURGE_ROWS:
                return gone

    # Channels and members

    async def create_channel(
        self, *, creator: str, unique_name: str | None = None, channel_type: str = "web"
    ) -> Channel:
        """A new active channel with its creator as first member."""
        draft = Channel(
            sid=self.ids.sid("CH"),
            unique_name=texts.unique_name(unique_name),
            channel_type=texts.channel_type(channel_type),
            state="active",
            created_by=texts.storable(creator, "creator"),
            created_at=self.clock.now(),
        )
        return await self._write(lambda store: store.create_channel(draft))

    async def get_channel(self, channel: str, *, member: str | None = None) -> Channel:
        """The channel, if `member` is one of its members or not given."""
        if member is None:
            return self._look(lambda store: store.find_channel(channel)[1])
        _, found = self._look(lambda store: store.find_channel_of(channel, member))
        if found.state == "active" and not self._read_only:
            self._note_writable(channel, member, found.sid)
        return found

    def _writable(self, channel: str, author: str, size_bytes: int) -> str:
        """The sid of a channel for an upload."""
        if size_bytes <= _SMALL_BYTES and (seen := self._writable_seen.get((channel, author))) is not None:
            self._opened()
            return seen
        _, sid, _ = self._look(lambda store: store.writable(channel, author))
        self._note_writable(channel, author, sid)
        return sid

    def _note_writable(self, channel: str, author: str, sid: str) -> None:
        if len(self._writable_seen) == _SEEN:
            self._writable_seen.clear()
        self._writable_seen[channel, author] = sid

    async def list_channels(self, *, member: str | None = None) -> list[Channel]:
        """All channels, or those of one member, oldest first."""
        found: list[Channel] = []
        after = 0
        while True:
            start = after
            page = self._look(lambda store: store.list_channels(member, start, PAGE_ROWS))  # noqa: B023
            found.extend(channel for _, channel in page)
            if len(page) < PAGE_ROWS:
                return found
            after = page[-1][0]
            await asyncio.sleep(0)

    async def close_channel(self, channel: str) -> Channel:
        """Make it read-only, for ever."""
        self._writable_seen.clear()
        now = self.clock.now()
        return await self._write(lambda store: store.close_channel(channel, now))

    async def add_member(self, channel: str, identity: str) -> Member:
        """Add a member; one who is there already stays as is."""
        now = self.clock.now()
        texts.storable(identity, "identity")
        return await self._write(lambda store: store.add_member(channel, identity, now))

    async def remove_member(self, channel: str, identity: str) -> None:
        """Remove a member, whose links die with it."""
        self._writable_seen.clear()
        now = self.clock.now()
        await self._write(lambda store: store.remove_member(channel, identity, now))

    async def list_members(self, channel: str) -> list[Member]:
        """The members in the order they joined."""
        return self._look(lambda store: store.list_members(channel))

    async def signal_typing(self, channel: str, identity: str) -> None:
        """Tell followers that a member types."""
        now = self.clock.now()
        await self._write(lambda store: store.signal_typing(channel, identity, now))

    # Messages

    async def upload(
        self,
        channel: str,
        file: File,
        *,
        author: str,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> Media:
        """Store a file's content; it stays invisible until this backend posts it."""
        where = self._writable(channel, author, file.size_bytes)
        sid = self._new_media_sid()
        size_bytes, sha256 = await self._keep(sid, file, max_bytes=max_bytes, progress=progress)
        media = Media(sid, file.name, file.content_type, size_bytes, sha256)
        self._uploads[sid] = Upload(media, where)
        return media

    def _new_media_sid(self) -> str:
        if isinstance(self.ids, RandomIds):
            return self.ids.sid("ME")
        # Counted ids begin anew in a store that was filled earlier.
        while self._kept(sid := self.ids.sid("ME")):
            pass
        return sid

    async def discard(self, media_sid: str) -> None:
        """Forget an upload that was not posted."""
        self._opened()
        upload = self._uploads.get(media_sid)
        if upload is not None and upload.take(self):
            del self._uploads[media_sid]
            await self._drop(media_sid)

    async def post(self, channel: str, draft: Draft, *, key: Key | None = None) -> Posted:
        """Add a message; its media becomes visible with it."""
        attributes = texts.checked_draft(draft)
        media_sid = draft.media.sid if draft.media is not None else ""
        upload = self._uploads.get(media_sid)
        sid, now, caller = self.ids.sid("IM"), self.clock.now(), object()

        def claim(channel_sid: str) -> Media | None:
            return upload.claim(channel_sid, caller) if upload is not None else None

        try:
            return await self._write(
                lambda store: store.post(channel, draft, key, claim=claim, attributes=attributes, sid=sid, now=now),
                after=lambda posted: None if posted.repeated else self._uploads.pop(media_sid, None),
            )
        finally:
            if upload is not None and media_sid in self._uploads:
                upload.give_back(caller)

    async def settle(self, key: str) -> KeyRecord | Settled:
        """What a key led to, posts that are under way included."""
        # Among the writes: it must see what was handed in before it.
        return await self._write(lambda store: store.settle(key))

    async def get_message(self, channel: str, message_sid: str) -> Message:
        """One message of a channel."""
        return self._look(lambda store: store.get_message(channel, message_sid))

    async def find_message(self, message_sid: str) -> Message:
        """One message, wherever it is."""
        return self._look(lambda store: store.find_message(message_sid))

    async def list_messages(self, channel: str, *, after_index: int = -1, limit: int | None = None) -> list[Message]:
        """Messages behind `after_index`, oldest first."""
        texts.checked_page(after_index, limit)
        found: list[Message] = []
        after, left = max(-1, min(after_index, _MAX)), _MAX if limit is None else max(0, limit)
        while True:
            start, rows = after, min(left, PAGE_ROWS)
            page = self._look(lambda store: store.list_messages(channel, start, rows))  # noqa: B023
            found.extend(page)
            left -= len(page)
            if len(page) < PAGE_ROWS or not left:
                return found
            after = page[-1].index
            await asyncio.sleep(0)

    async def delete_message(self, channel: str, message_sid: str) -> None:
        """Delete a message with its content, media and links."""
        now = self.clock.now()
        await self._write(
            lambda store: store.delete_message(channel, message_sid, now),
            after=lambda media_sid: None if media_sid is None else self._erase(media_sid),
        )

    # Media and links

    async def open_media(
        self, media_sid: str, *, offset: int = 0, length: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The content of a posted file, or a range of it."""
        texts.checked_range(offset, length)
        media, _, _ = self._look(lambda store: store.media(media_sid))
        async with contextlib.aclosing(self._content(media, offset, length)) as content:
            async for chunk in content:
                yield chunk

    async def temporary_link(
        self,
        media_sid: str,
        *,
        reader: str,
        ttl_s: float = LINK_LIFE_S,
        members_only: bool = True,
        disposition: Disposition = "attachment",
    ) -> Link:
        """A link that opens until `ttl_s` from now; over HTTP if the store knows where."""
        texts.checked_ttl(ttl_s)
        now = self.clock.now()
        texts.storable(reader, "reader")
        if disposition not in ("attachment", "inline"):
            raise ActionError("invalid_payload", f"There is no disposition {brief(disposition)}.")
        (media, membership), base, (key_id, secret) = await self._write(
            lambda store: (
                store.issue_link(media_sid, reader, members_only, now),
                self._address(store, now),
                store.signing_key(),
            )
        )
        claims = links.LinkClaims(media.sid, now + ttl_s, reader, membership, disposition)
        url = links.make_url(claims, key_id=key_id, secret=secret, base=base)
        return Link(url, claims.expires_at, media.name, media.content_type, media.size_bytes, media.sha256)

    async def open_link(
        self, url: str, *, reader: str | None = None, judge: Callable[[Channel], object] | None = None
    ) -> tuple[Media, AsyncGenerator[bytes, None]]:
        """What a link leads to; for its `reader` alone, if one is given."""
        now = self.clock.now()
        claims = self._look(lambda store: links.read_url(url, keys=store.verifying_keys(now), now=now))
        media = self._look(lambda store: store.follow_link(claims.media_sid, claims.reader, claims.membership))
        if reader is not None and reader != claims.reader:
            raise ActionError(
                "not_authorized", "The link was given to another identity.", hint="Request one of your own."
            )
        if judge is not None:
            judge(self._look(lambda store: store.channel_of(media.sid)))
        return media, self.open_media(media.sid)

    async def rotate_keys(self, *, revoke: bool = False) -> float | None:
        """Sign links with a new key from now on; until when older links may open, None with `revoke`."""
        # The time of the transaction: whoever signs with the old key has taken theirs before it.
        return await self._write(lambda store: store.rotate_link_keys(self.clock.now(), revoke=revoke))

    # Addresses

    def _address(self, store: Store, now: float) -> str | None:
        return self._public_url or store.address(now)

    async def public_url(self) -> str | None:
        """Where links lead: as configured, else as saved in the store."""
        return self._public_url or self._look(lambda store: store.public_url())

    async def save_public_url(self, url: str | None, *, insecure: bool = False) -> str | None:
        """Save where links lead, or forget it; what was saved before."""
        checked = None if url is None else checked_public_url(url, insecure=insecure)
        return await self._write(lambda store: store.set_public_url(checked))

    async def lease_address(self, url: str, *, life_s: float) -> None:
        """Say that a server on this machine answers at `url` until `life_s` from now."""
        checked, now = checked_public_url(url), self.clock.now()
        await self._write(lambda store: store.lease_address(checked, now, now + life_s))

    async def end_lease(self, url: str) -> None:
        """Say that it does not any more."""
        await self._write(lambda store: store.end_lease(url))

    # Events

    def events(self, channel: str, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """What happens in a channel, as it happens."""
        return Follower(
            self._opened,
            lambda: self._look(lambda store: store.follow(channel, after)),
            lambda number, sid, seq: self._look(lambda store: store.next_event(number, sid, seq)),
        )

    async def last_cursor(self, channel: str) -> str:
        """The cursor of the newest event."""
        return self._look(lambda store: store.last_cursor(channel))
