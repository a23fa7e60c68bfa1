"""What a store does, in SQL and synchronously: one piece of code for every backend that keeps a SQLite database.

Each writing call checks first and writes then, so one that raises `ActionError` has changed nothing. The caller
begins and commits the transactions. Errors of SQLite itself pass through; `sql.store_error` explains them.
"""

# What is put into the SQL here are our own lists of columns, never values.
# ruff: noqa: S608

import hashlib
import hmac
import threading
from collections.abc import Callable
from typing import Final

import attrs

from ..errors import ActionError, as_text
from ..ports import Channel, Draft, Key, KeyRecord, Media, Message, Posted, Settled
from .addresses import Addresses
from .channels import not_a_member
from .event_log import EventLog
from .keys import LinkKeys
from .rows import CHANNEL, MESSAGE, to_channel, to_message
from .texts import is_channel_sid

_NO_MEDIA: Final = (None, None, None, None, None)
_POST: Final = (
    "INSERT INTO message (sid, channel, idx, deleted, author, body, attributes, created_at, media_sid, media_name,"
    " media_type, media_size, media_sha256)"
    " SELECT ?, c.id, c.next_index, 0, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM channel c WHERE c.sid = ? AND c.state = 'active'"
    " AND EXISTS (SELECT 1 FROM member m WHERE m.channel = c.id AND m.identity = ?) RETURNING channel, idx"
)


@attrs.define(eq=False)
class Upload:
    """A stored file that no message carries yet. Whoever posts or discards it takes it first; only one can.

    Attributes:
        media: the file.
        channel_sid: where it was uploaded to.
    """

    media: Media
    channel_sid: str
    _taken_by: object | None = attrs.field(default=None, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def claim(self, channel_sid: str, caller: object) -> Media | None:
        """The file, for a message in this channel, once it is the caller's."""
        return self.media if channel_sid == self.channel_sid and self.take(caller) else None

    def take(self, caller: object) -> bool:
        """Whether it is the caller's now; from any thread, and again by the same caller."""
        with self._lock:
            if self._taken_by is None:
                self._taken_by = caller
            return self._taken_by is caller

    def give_back(self, caller: object) -> None:
        """Leave it to others, if it is the caller's."""
        with self._lock:
            if self._taken_by is caller:
                self._taken_by = None


class Store(EventLog, LinkKeys, Addresses):
    """All operations on one connection: channels, events, keys, addresses, and here messages and their files."""

    def purge(self, now: float) -> int:
        """Remove what is due, link keys too; how many personal events went, at most `event_log.PURGE_ROWS` at once."""
        self.tend_link_keys(now)
        return super().purge(now)

    def post(
        self,
        channel: str,
        draft: Draft,
        key: Key | None,
        *,
        claim: Callable[[str], Media | None],
        attributes: str,
        sid: str,
        now: float,
    ) -> Posted:
        """Add a message, or find the one its key led to. Raises as `ports.Backend.post`.

        `claim` takes the file of the draft, given the sid of the channel; None if it is not there to be taken.
        """
        digest = self._digest(key.value) if key is not None else None
        if key is not None and digest is not None and (first := self._repeat(key, digest)) is not None:
            return Posted(first, repeated=True)
        self.must_be_writable()
        channel_sid = channel if is_channel_sid(channel) else self.find_channel(channel)[1].sid
        media = claim(channel_sid) if draft.media is not None else None
        if media is None and draft.media is not None:
            self.writable(channel_sid, draft.author)
            raise _not_uploaded()
        columns = (media.sid, media.name, media.content_type, media.size_bytes, media.sha256) if media else _NO_MEDIA
        # One statement that asks and writes: each step lets other threads in, which costs more than it does itself.
        sid, rows = self._insert(
            _POST, sid, (draft.author, draft.body, attributes, now, *columns, channel_sid, draft.author)
        )
        if not rows:
            self.writable(channel_sid, draft.author)  # says why
            raise AssertionError("a channel that may be written to took no message")
        ((number, index),) = rows
        self.touched.add(number)
        if key is not None:
            self.db.execute(
                "INSERT INTO idempotency (digest, fingerprint, channel_sid, message_sid, media_sid, idx)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (digest, key.fingerprint, channel_sid, sid, columns[0], index),
            )
        row = (sid, index, draft.author, draft.body, attributes, now, *columns, channel_sid)
        return Posted(to_message(row))

    def settle(self, key: str) -> KeyRecord | Settled:
        """What a key led to; asked in the order of the writes, there is no unknown."""
        row = self._one(
            "SELECT fingerprint, channel_sid, message_sid, media_sid, idx FROM idempotency WHERE digest = ?",
            self._digest(key),
        )
        return KeyRecord(_fingerprint(row[0]), *row[1:]) if row is not None else Settled.NOTHING

    def get_message(self, channel: str, message_sid: str) -> Message:
        """One message of a channel. Raises `unknown_channel`, `unknown_message`."""
        _, found = self.find_channel(channel)
        message = self.find_message(message_sid)
        if message.channel_sid != found.sid:
            raise _unknown_message(message_sid)
        return message

    def find_message(self, message_sid: str) -> Message:
        """One message. Raises `unknown_message`."""
        row = self._one(
            f"SELECT {MESSAGE}, c.sid FROM message m JOIN channel c ON c.id = m.channel"
            " WHERE m.sid = ? AND NOT m.deleted",
            message_sid,
        )
        if row is None:
            raise _unknown_message(message_sid)
        return to_message(row)

    def list_messages(self, channel: str, after_index: int, limit: int) -> list[Message]:
        """Messages behind an index, in order. Raises `unknown_channel`."""
        number, found = self.find_channel(channel)
        rows = self._all(
            f"SELECT {MESSAGE} FROM message m WHERE m.channel = ? AND m.idx > ? AND NOT m.deleted"
            " ORDER BY m.idx LIMIT ?",
            number,
            after_index,
            limit,
        )
        return [to_message((*row, found.sid)) for row in rows]

    def delete_message(self, channel: str, message_sid: str, now: float) -> str | None:
        """Delete a message; the sid of the file to remove, if any. Raises `unknown_channel`, `unknown_message`."""
        self.must_be_writable()
        number, _ = self.find_channel(channel)
        if not self._one("SELECT 1 FROM message WHERE sid = ? AND channel = ? AND NOT deleted", message_sid, number):
            raise _unknown_message(message_sid)
        media_sid = self.erase(message_sid)
        self._event(number, "message_deleted", now, message_sid=message_sid)
        return media_sid

    def erase(self, message_sid: str) -> str | None:
        """Overwrite what a message says; the sid of the file to remove, if any. Nothing happens to an unknown one."""
        row = self._one(
            "SELECT media_sid, author, body, attributes, media_name, media_type, media_sha256 FROM message"
            " WHERE sid = ? AND NOT deleted",
            message_sid,
        )
        if row is None:
            return None
        media_sid: str | None = row[0]
        # All of the same length: SQLite overwrites such a row in place.
        self.db.execute(
            "UPDATE message SET deleted = 1, media_sid = ?, author = ?, body = ?, attributes = ?, media_name = ?,"
            " media_type = ?, media_sha256 = ? WHERE sid = ?",
            (media_sid and _gone(media_sid), *map(_blank, row[1:]), message_sid),
        )
        # A digest of the text lets whoever has a guess prove it.
        self.db.execute(
            "UPDATE idempotency SET fingerprint = CAST(zeroblob(length(fingerprint)) AS TEXT) WHERE message_sid = ?",
            (message_sid,),
        )
        self.erased = True
        return media_sid

    def media(self, media_sid: str) -> tuple[Media, int, str]:
        """A posted file, the row number of its channel and the sid of its message. Raises `media_deleted`."""
        row = self._one(
            "SELECT media_sid, media_name, media_type, media_size, media_sha256, channel, sid FROM message"
            " WHERE media_sid = ?",
            media_sid,
        )
        if row is None:
            raise media_deleted(media_sid)
        return Media(*row[:5]), row[5], row[6]

    def channel_of(self, media_sid: str) -> Channel:
        """The channel of a posted file. Raises `media_deleted`."""
        row = self._one(
            f"SELECT {CHANNEL} FROM message m JOIN channel c ON c.id = m.channel WHERE m.media_sid = ?", media_sid
        )
        if row is None:
            raise media_deleted(media_sid)
        return to_channel(row)

    def has_media(self, media_sid: str) -> bool:
        """Whether a message carries this file."""
        return self._one("SELECT 1 FROM message WHERE media_sid = ?", media_sid) is not None

    def was_deleted(self, media_sid: str) -> bool:
        """Whether a message that carried this file was deleted."""
        return self._one("SELECT 1 FROM message WHERE media_sid = ?", _gone(media_sid)) is not None

    def is_small(self, rows: int) -> bool:
        """Whether at most so many messages carry a file."""
        sql = "SELECT count(*) FROM (SELECT 1 FROM message WHERE media_sid IS NOT NULL LIMIT ?)"
        return bool(self._all(sql, rows + 1)[0][0] <= rows)

    def issue_link(self, media_sid: str, reader: str, members_only: bool, now: float) -> tuple[Media, int | None]:
        """Note that a reader asks for a link; the file and the membership it hangs on.

        Raises `media_deleted`, `not_a_member`.
        """
        media, channel, message_sid = self.media(media_sid)
        membership = self._membership(channel, reader) if members_only else None
        self._event(channel, "link_issued", now, message_sid=message_sid, identity=reader)
        return media, membership

    def follow_link(self, media_sid: str, reader: str, membership: int | None) -> Media:
        """The file of a link, if its reader is still the same member. Raises `media_deleted`, `not_a_member`."""
        media, channel, _ = self.media(media_sid)
        if membership is not None and self._membership(channel, reader) != membership:
            # Left and came back: the links of the first time stay dead.
            raise not_a_member(reader)
        return media

    def _repeat(self, key: Key, digest: bytes) -> Message | None:
        row = self._one("SELECT fingerprint, message_sid FROM idempotency WHERE digest = ?", digest)
        if row is None:
            return None
        known = _fingerprint(row[0])
        if known and not hmac.compare_digest(known.encode(), key.fingerprint.encode()):
            raise ActionError(
                "key_reused",
                "The idempotency key belongs to another payload.",
                hint="Take a new key for each send.",
            )
        return self.find_message(row[1])

    def _digest(self, key: str) -> bytes:
        # Callers may put anything into a key, also what has to be forgotten with its message.
        return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=self._key_secret, digest_size=32).digest()


def media_deleted(media_sid: str) -> ActionError:
    """The error of a file that is not there any more."""
    return ActionError("media_deleted", "The file was deleted.", details={"media_sid": as_text(media_sid)})


def _gone(media_sid: str) -> str:
    """What stands in the place of a deleted file's sid."""
    return "--" + media_sid[2:]


def _not_uploaded() -> ActionError:
    return ActionError(
        "media_deleted",
        "The file was not uploaded here, or was posted or discarded already.",
        hint="Upload it again.",
    )


def _fingerprint(stored: str) -> str:
    return stored.strip("\0")


def _blank(text: str | None) -> str | None:
    return None if text is None else "\0" * len(text.encode())


def _unknown_message(message_sid: str) -> ActionError:
    return ActionError(
        "unknown_message",
        "There is no such message, or it was deleted.",
        details={"message_sid": as_text(message_sid)},
    )
