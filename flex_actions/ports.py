"""What a backend is: the records it keeps and the calls it answers. No SQL, path or row leaks through it.

`flex_actions.testing.check_backend` holds any implementation to what is written here.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from enum import Enum
from typing import Any, Final, Literal, Protocol, runtime_checkable

import attrs

from .clock import Clock, Ids
from .files import File

LINK_LIFE_S: Final = 300.0
LINK_LIFE_LIMIT_S: Final = 7 * 24 * 3600.0  # after that, no link of a replaced key is left
PURGE_AFTER_S: Final = 7 * 24 * 3600.0
PURGE_EVERY_S: Final = 3600.0

Progress = Callable[[int], None]
"""Called with the number of bytes moved so far, on the event loop's thread; must not block."""


@attrs.frozen
class Channel:
    """A chat.

    Attributes:
        sid: `CH` and 32 hexadecimal digits.
        unique_name: a name that may stand wherever the sid may, or None.
        channel_type: `web`, `sms`, `whatsapp`, … (Flex's words).
        state: `active` or `closed`; a closed one is read-only.
        created_by: identity of the creator.
        created_at: seconds since the epoch, UTC.
    """

    sid: str
    unique_name: str | None
    channel_type: str
    state: Literal["active", "closed"]
    created_by: str
    created_at: float


@attrs.frozen
class Member:
    """A participant of a channel; `joined_at` in seconds since the epoch, UTC."""

    channel_sid: str
    identity: str
    joined_at: float


@attrs.frozen
class Media:
    """A stored file.

    Attributes:
        sid: `ME` and 32 hexadecimal digits; its only name in a store.
        name: cleaned display name.
        content_type: MIME type as declared by the sender.
        size_bytes: counted, not declared.
        sha256: hexadecimal digest of the content.
    """

    sid: str
    name: str
    content_type: str
    size_bytes: int
    sha256: str


@attrs.frozen
class Message:
    """A message: text or one file.

    Attributes:
        sid: `IM` and 32 hexadecimal digits.
        index: position in the channel, from 0; grows, is never used again.
        author: identity of the sender.
        body: the text, or None for a file.
        media: the file, or None; also None where this side may not see it (`media_hidden`).
        attributes: JSON-compatible facts of the sender's.
        created_at: seconds since the epoch, UTC.
        media_hidden: there is a file, but attachments are disabled for the reading side: show a placeholder.
    """

    sid: str
    channel_sid: str
    index: int
    author: str
    body: str | None
    media: Media | None
    attributes: Mapping[str, Any]
    created_at: float
    media_hidden: bool = False

    @property
    def is_automation_input(self) -> bool:
        """Whether automation (Studio) may take it as input: text does, a file never."""
        return self.media is None and not self.media_hidden


@attrs.frozen
class Draft:
    """A message to post: `body` or `media`, exactly one of them."""

    author: str
    body: str | None = None
    media: Media | None = None
    attributes: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Posted:
    """The message that a post led to; `repeated` if its key had led to it earlier."""

    message: Message
    repeated: bool = False


EventType = Literal[
    "channel_created",
    "channel_closed",
    "member_added",
    "member_removed",
    "message_added",
    "message_deleted",
    "link_issued",
    "typing",
]


@attrs.frozen
class Event:
    """Something that happened in a channel.

    Attributes:
        cursor: opaque; give it as `after` to go on behind this event.
        type: what happened.
        at: seconds since the epoch, UTC.
        message: for `message_added`: the message, or None if it has been deleted since.
        message_sid: for events that concern a message.
        identity: who joined, left, typed or asked for a link. Purged with its event after 7 days.
    """

    cursor: str
    type: EventType
    channel_sid: str
    at: float
    message: Message | None = None
    message_sid: str | None = None
    identity: str | None = None


Disposition = Literal["attachment", "inline"]
"""How a browser should take a file: save it, or show it if it is of a harmless type."""


@attrs.frozen
class Link:
    """A temporary address of a file; `expires_at` in seconds since the epoch, UTC."""

    url: str
    expires_at: float
    name: str
    content_type: str
    size_bytes: int
    sha256: str


@attrs.frozen
class Capabilities:
    """What a backend can do and how long it may take.

    Attributes:
        scheme: the word before the colon of its URL.
        durable: what it acknowledged survives the process.
        commit_limit_s: how long a cancelled send waits for the outcome of its commit.
        sends_need_membership: whether the author of a post must be a member.
    """

    scheme: str
    durable: bool
    commit_limit_s: float = 30.0
    sends_need_membership: bool = True


class Settled(Enum):
    """What became of a key that led to no message that can be shown."""

    NOTHING = "nothing"
    UNKNOWN = "unknown"


@attrs.frozen
class KeyRecord:
    """What an idempotency key led to, also after its message was deleted.

    Attributes:
        fingerprint: the digest that was given with the key; another one under the same key is another payload. Empty
            once the message was deleted, so that nobody can try out what it said: then every payload is a repeat.
    """

    fingerprint: str
    channel_sid: str
    message_sid: str
    media_sid: str | None
    index: int


@attrs.frozen
class Key:
    """An idempotency key of a post and the digest of what is posted under it (no content can be read from it)."""

    value: str
    fingerprint: str


@runtime_checkable
class Backend(Protocol):
    """A chat that stores channels, members, messages and files. All errors are `ActionError`.

    `channel` arguments take a sid or a unique name. Every call may raise `backend_unavailable` (not open, closed, out
    of reach); writing calls `store_full`, `store_readonly`. A cancelled call leaves nothing half done.
    `invalid_payload`: an identity that is empty or no text, a unique name that looks like a sid, holds control
    characters or has more than 256, a channel type that is no word (it is kept in lower case), a draft with both or
    neither of body and media, attributes that are no JSON or beyond `values.ATTRIBUTES_BYTES` or `ATTRIBUTES_DEPTH`, a
    range that is no whole number or negative, a life out of its range.
    """

    capabilities: Capabilities
    clock: Clock
    ids: Ids

    async def open(self) -> None:
        """Make it ready; purge what is due. Raises `store_version`, `store_corrupt`, `store_readonly`."""

    async def close(self) -> None:
        """End followers, finish what is being written, let go of everything. May be called twice."""

    async def purge(self) -> int:
        """Delete what holds personal data and is older than 7 days; the number of records that went.

        Runs by itself at opening and every hour. Messages, media, channels and members stay.
        """

    async def create_channel(
        self, *, creator: str, unique_name: str | None = None, channel_type: str = "web"
    ) -> Channel:
        """A new active channel with its creator as first member. Raises `channel_exists`."""

    async def get_channel(self, channel: str, *, member: str | None = None) -> Channel:
        """The channel. Raises `unknown_channel`, and `not_a_member` if `member` is given and is none."""

    async def list_channels(self, *, member: str | None = None) -> list[Channel]:
        """All channels, or those of one member, oldest first."""

    async def close_channel(self, channel: str) -> Channel:
        """Make it read-only, for ever. A second time changes nothing. Raises `unknown_channel`."""

    async def add_member(self, channel: str, identity: str) -> Member:
        """Add a member; one who is there already stays as is. Raises `unknown_channel`, `channel_closed`."""

    async def remove_member(self, channel: str, identity: str) -> None:
        """Remove a member, whose links die with it. Raises `unknown_channel`, `not_a_member`."""

    async def list_members(self, channel: str) -> list[Member]:
        """The members in the order they joined. Raises `unknown_channel`."""

    async def upload(
        self,
        channel: str,
        file: File,
        *,
        author: str,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> Media:
        """Store a file's content, counted and hashed while it streams. Invisible to everybody until posted.

        Raises `unknown_channel`, `channel_closed`, `not_a_member`, `invalid_size` (more than `max_bytes` came),
        and whatever reading the file raises; then nothing stays behind.
        """

    async def discard(self, media_sid: str) -> None:
        """Forget an upload that was not posted. Unknown or posted: nothing happens."""

    async def post(self, channel: str, draft: Draft, *, key: Key | None = None) -> Posted:
        """Add a message; its media becomes visible with it, at once or not at all.

        Under a `key` used before with the same fingerprint nothing is added: the first message returns, `repeated`;
        with another fingerprint raises `key_reused`. If the message was deleted since, raises `unknown_message`,
        whatever the fingerprint.
        Raises `unknown_channel`, `channel_closed`, `not_a_member`, `media_deleted` (unknown, posted already, uploaded
        for another channel or through another backend object).
        """

    async def settle(self, key: str) -> KeyRecord | Settled:
        """What a key led to: a record, `NOTHING` (never used, or what began under it did not happen), `UNKNOWN`."""

    async def get_message(self, channel: str, message_sid: str) -> Message:
        """One message. Raises `unknown_channel`, `unknown_message`."""

    async def find_message(self, message_sid: str) -> Message:
        """One message, wherever it is. Raises `unknown_message`."""

    async def list_messages(self, channel: str, *, after_index: int = -1, limit: int | None = None) -> list[Message]:
        """Messages behind `after_index`, oldest first. Raises `unknown_channel`."""

    async def delete_message(self, channel: str, message_sid: str) -> None:
        """Delete a message with its content, media and links, everywhere. Raises `unknown_message`."""

    async def signal_typing(self, channel: str, identity: str) -> None:
        """Tell followers that a member types. Raises `unknown_channel`, `not_a_member`, `channel_closed`."""

    def open_media(self, media_sid: str, *, offset: int = 0, length: int | None = None) -> AsyncGenerator[bytes, None]:
        """The content of a posted file, or a range of it. Raises `media_deleted`, `media_corrupt`, while iterating."""

    async def temporary_link(
        self,
        media_sid: str,
        *,
        reader: str,
        ttl_s: float = LINK_LIFE_S,
        members_only: bool = True,
        disposition: Disposition = "attachment",
    ) -> Link:
        """A link that opens until `ttl_s` from now, while the media exists and `reader` stays a member.

        `ttl_s` is above 0 and at most `LINK_LIFE_LIMIT_S` (a week), else `invalid_payload`.
        `members_only=False` is for a supervisor who is allowed to download without having joined.
        Raises `media_deleted`, `not_a_member`.
        """

    async def open_link(
        self, url: str, *, reader: str | None = None, judge: Callable[[Channel], object] | None = None
    ) -> tuple[Media, AsyncGenerator[bytes, None]]:
        """What a link leads to, for whoever has it; with `reader` only for the identity it was given to.

        `judge` is called with the channel of the file before anything of it is shown; what it raises comes out.
        Raises `link_expired` (now ≥ expiry), `link_invalid`, `media_deleted`, `not_a_member`; `not_authorized` if
        `reader` is another identity.
        """

    def events(self, channel: str, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """What happens in a channel, as it happens, also in other processes; never ends by itself.

        `after=None` begins with the oldest event kept, a cursor behind that event. Raises `unknown_channel`,
        `invalid_cursor` at the first step; `backend_unavailable` when the backend closes; `unknown_channel` when a
        restore has taken the channel away.
        """

    async def last_cursor(self, channel: str) -> str:
        """The cursor of the newest event. Raises `unknown_channel`."""


@runtime_checkable
class SendsFiles(Protocol):
    """What a backend has besides if it stores a file and posts its message in one go, which saves a way there and back.

    A session uses it where it is there.
    """

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
        """`upload`, then `post`; `discard` if that fails or `key` turns out to be a repeat. Raises as these do.

        `key` makes the idempotency key, in whatever thread, once the file's digest is known.
        A cancelled call leaves nothing and raises `asyncio.CancelledError` as long as the commit has not begun. From
        then on it waits for the outcome, at most `commit_limit_s`, and returns it if there is a message: that it was
        cancelled, the caller finds in `asyncio.Task.cancelling`.
        """


@runtime_checkable
class Addressable(Protocol):
    """What a backend has besides if `flex-actions serve` can serve its links. An address is told before `/media/`."""

    async def public_url(self) -> str | None:
        """Where links lead: as configured, else as saved in the store, else None."""

    async def save_public_url(self, url: str | None, *, insecure: bool = False) -> str | None:
        """Save where links of all processes lead, or forget it with None; what was saved before.

        Raises `invalid_config`: no such URL, or `http://` to another machine without `insecure`.
        """

    async def lease_address(self, url: str, *, life_s: float) -> None:
        """Say that a server on this machine answers at `url` until `life_s` from now; said again while it runs."""

    async def end_lease(self, url: str) -> None:
        """Say that it does not any more; nothing happens if another one took its place."""


@runtime_checkable
class RotatesKeys(Protocol):
    """What a backend has besides if the key that signs its links can be replaced."""

    async def rotate_keys(self, *, revoke: bool = False) -> float | None:
        """Sign links with a new key from now on, in every process; nothing else is interrupted.

        Args:
            revoke: refuse all links given so far (`link_invalid`), at once and everywhere. A download that has begun
                goes on.

        Returns:
            Until when older links may open, in seconds since the epoch, UTC: each until its own expiry, which none
            has later than `LINK_LIFE_LIMIT_S` from now. None with `revoke`.
        """
