"""What a store does, in SQL and synchronously: one piece of code for every backend that keeps a SQLite database.

Each writing call checks first and writes then, so one that raises `ActionError` has changed nothing. The caller
begins and commits the transactions. Errors of SQLite itself pass through; `sql.store_error` explains them.
"""

import hashlib
import hmac
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

import attrs

from ..clock import Ids
from ..errors import ActionError
from ..ports import (
    PURGE_AFTER_S,
    Channel,
    Draft,
    Event,
    EventType,
    Key,
    KeyRecord,
    Media,
    Member,
    Message,
    Posted,
    Settled,
)
from .rows import CHANNEL, MESSAGE, to_channel, to_event, to_message
from .texts import is_channel_sid, parse_cursor

PURGE_ROWS: Final = 5000


@attrs.define(eq=False)
class Upload:
    """A stored file that no message carries yet; `posted_by` is the call that is posting it."""

    media: Media
    channel: int
    posted_by: object | None = None


class Store:
    """The operations on one connection.

    Attributes:
        touched: channels in which something happened since it was last emptied, by row number.
        erased: something was deleted whose old bytes must go too; whoever has seen to that sets it back.
        link_keys: secrets for links, by key id; the last one signs.
    """

    def __init__(self, db: sqlite3.Connection, ids: Ids) -> None:
        self.db = db
        self.ids = ids
        self.touched: set[int] = set()
        self.erased = False
        self._key_secret = b""
        self.link_keys: dict[str, bytes] = {}

    def load_secrets(self) -> None:
        """Make links and idempotency keys usable. Raises `store_corrupt`."""
        rows = self._all("SELECT id, purpose, value FROM secret ORDER BY id")
        self.link_keys = {str(number): value for number, purpose, value in rows if purpose == "link"}
        own = [value for _, purpose, value in rows if purpose == "idempotency"]
        if not own or not self.link_keys:
            raise ActionError("store_corrupt", "The store is damaged: its secrets are missing.")
        self._key_secret = own[0]

    # Channels and members

    def create_channel(self, draft: Channel) -> Channel:
        """Add a channel, its creator and their events. Raises `channel_exists`."""
        name = draft.unique_name
        if name is not None and self._one("SELECT 1 FROM channel WHERE unique_name = ?", name):
            raise ActionError("channel_exists", f"A channel named {name!r} exists.", details={"name": name})
        sid, number = self._insert(
            "INSERT INTO channel (sid, unique_name, channel_type, state, created_by, created_at, next_index)"
            " VALUES (?, ?, ?, 'active', ?, ?, 0)",
            draft.sid,
            (name, draft.channel_type, draft.created_by, draft.created_at),
        )
        self._event(number, "channel_created", draft.created_at)
        self._join(number, draft.created_by, draft.created_at)
        return attrs.evolve(draft, sid=sid)

    def find_channel(self, channel: str) -> tuple[int, Channel]:
        """A channel and its row number. Raises `unknown_channel`."""
        row = self._one(f"SELECT c.id, {CHANNEL} FROM channel c WHERE c.{_named_by(channel)} = ?", channel)
        if row is None:
            raise ActionError("unknown_channel", f"There is no channel {channel!r}.", details={"channel": channel})
        return row[0], to_channel(row[1:])

    def get_channel(self, channel: str, member: str | None) -> Channel:
        """A channel. Raises `unknown_channel`, `not_a_member`."""
        number, found = self.find_channel(channel)
        if member is not None:
            self._membership(number, member)
        return found

    def writable(self, channel: str, author: str) -> tuple[int, str, int]:
        """A channel in which an author may write: its row number, sid and next index.

        Raises `unknown_channel`, `channel_closed`, `not_a_member`.
        """
        row = self._one(
            "SELECT c.id, c.sid, c.next_index, c.state, (SELECT m.id FROM member m WHERE m.channel = c.id AND"
            f" m.identity = ?) FROM channel c WHERE c.{_named_by(channel)} = ?",
            author,
            channel,
        )
        if row is None:
            self.find_channel(channel)
            raise _not_a_member(author)  # an identity that cannot be stored
        if row[3] == "closed":
            raise _closed(row[1])
        if row[4] is None:
            raise _not_a_member(author)
        return row[:3]

    def list_channels(self, member: str | None, after: int, limit: int) -> list[tuple[int, Channel]]:
        """Channels with their row numbers, in order, behind a row number."""
        if member is None:
            rows = self._all(
                f"SELECT c.id, {CHANNEL} FROM channel c WHERE c.id > ? ORDER BY c.id LIMIT ?", after, limit
            )
        else:
            rows = self._all(
                f"SELECT c.id, {CHANNEL} FROM member m CROSS JOIN channel c ON c.id = m.channel"
                " WHERE m.identity = ? AND m.channel > ? ORDER BY m.channel LIMIT ?",
                member,
                after,
                limit,
            )
        return [(row[0], to_channel(row[1:])) for row in rows]

    def close_channel(self, channel: str, now: float) -> Channel:
        """Make a channel read-only. Raises `unknown_channel`."""
        number, found = self.find_channel(channel)
        if found.state == "closed":
            return found
        self.db.execute("UPDATE channel SET state = 'closed' WHERE id = ?", (number,))
        self._event(number, "channel_closed", now)
        return attrs.evolve(found, state="closed")

    def add_member(self, channel: str, identity: str, now: float) -> Member:
        """Add a member unless there. Raises `unknown_channel`, `channel_closed`."""
        number, found = self.find_channel(channel)
        row = self._one("SELECT joined_at FROM member WHERE channel = ? AND identity = ?", number, identity)
        if row is not None:
            return Member(found.sid, identity, row[0])
        if found.state == "closed":
            raise _closed(found.sid)
        self._join(number, identity, now)
        return Member(found.sid, identity, now)

    def remove_member(self, channel: str, identity: str, now: float) -> None:
        """Remove a member. Raises `unknown_channel`, `not_a_member`."""
        number, _ = self.find_channel(channel)
        self.db.execute("DELETE FROM member WHERE id = ?", (self._membership(number, identity),))
        self._event(number, "member_removed", now, identity=identity)

    def list_members(self, channel: str) -> list[Member]:
        """Members in the order they joined. Raises `unknown_channel`."""
        number, found = self.find_channel(channel)
        rows = self._all("SELECT identity, joined_at FROM member WHERE channel = ? ORDER BY id", number)
        return [Member(found.sid, identity, joined_at) for identity, joined_at in rows]

    def signal_typing(self, channel: str, identity: str, now: float) -> None:
        """Note that a member types. Raises as `writable`."""
        number, _, _ = self.writable(channel, identity)
        self._event(number, "typing", now, identity=identity)

    # Messages

    def post(
        self,
        channel: str,
        draft: Draft,
        key: Key | None,
        upload: Upload | None,
        attributes: str,
        sid: str,
        now: float,
        caller: object,
    ) -> Posted:
        """Add a message, or find the one its key led to. Raises as `ports.Backend.post`."""
        digest = self._digest(key.value) if key is not None else None
        if key is not None and digest is not None and (first := self._repeat(key, digest)) is not None:
            return Posted(first, repeated=True)
        number, channel_sid, index = self.writable(channel, draft.author)
        media = self._claim(upload, number, caller) if draft.media is not None else None
        columns = (media.sid, media.name, media.content_type, media.size_bytes, media.sha256) if media else _NO_MEDIA
        sid, _ = self._insert(
            "INSERT INTO message (sid, channel, idx, author, body, attributes, created_at, media_sid, media_name,"
            " media_type, media_size, media_sha256, deleted) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
            sid,
            (number, index, draft.author, draft.body, attributes, now, *columns),
        )
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
        return KeyRecord(*row) if row is not None else Settled.NOTHING

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
            f"SELECT {MESSAGE}, c.sid FROM message m JOIN channel c ON c.id = m.channel WHERE m.sid = ? AND NOT m.deleted",
            message_sid,
        )
        if row is None:
            raise _unknown_message(message_sid)
        return to_message(row)

    def list_messages(self, channel: str, after_index: int, limit: int) -> list[Message]:
        """Messages behind an index, in order. Raises `unknown_channel`."""
        number, found = self.find_channel(channel)
        rows = self._all(
            f"SELECT {MESSAGE} FROM message m WHERE m.channel = ? AND m.idx > ? AND NOT m.deleted ORDER BY m.idx LIMIT ?",
            number,
            after_index,
            limit,
        )
        return [to_message((*row, found.sid)) for row in rows]

    def delete_message(self, channel: str, message_sid: str, now: float) -> str | None:
        """Delete a message; the sid of the file to remove, if any. Raises `unknown_channel`, `unknown_message`."""
        number, _ = self.find_channel(channel)
        row = self._one(
            "SELECT media_sid, author, body, attributes, media_name, media_type, media_sha256 FROM message"
            " WHERE sid = ? AND channel = ? AND NOT deleted",
            message_sid,
            number,
        )
        if row is None:
            raise _unknown_message(message_sid)
        media_sid: str | None = row[0]
        # All of the same length: SQLite overwrites such a row in place.
        self.db.execute(
            "UPDATE message SET deleted = 1, media_sid = ?, author = ?, body = ?, attributes = ?, media_name = ?,"
            " media_type = ?, media_sha256 = ? WHERE sid = ?",
            (media_sid and "--" + media_sid[2:], *map(_blank, row[1:]), message_sid),
        )
        self.erased = True
        self._event(number, "message_deleted", now, message_sid=message_sid)
        return media_sid

    # Media and links

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

    def has_media(self, media_sid: str) -> bool:
        """Whether a message carries this file."""
        return self._one("SELECT 1 FROM message WHERE media_sid = ?", media_sid) is not None

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
            raise _not_a_member(reader)
        return media

    # Events

    def next_event(self, channel: int, channel_sid: str, after: int) -> tuple[int, Event] | None:
        """The first event of a channel behind a sequence number, with its own, or None."""
        row = self._one(
            f"SELECT e.seq, e.type, e.at, e.message_sid, e.identity, {MESSAGE} FROM event e"
            " LEFT JOIN message m ON m.sid = e.message_sid AND e.type = 'message_added' AND NOT m.deleted"
            " WHERE e.channel = ? AND e.seq > ? ORDER BY e.seq LIMIT 1",
            channel,
            after,
        )
        return None if row is None else (row[0], to_event(row, channel_sid))

    def follow(self, channel: str, after: str | None) -> tuple[int, str, int]:
        """Row number and sid of a channel and where to begin. Raises `unknown_channel`, `invalid_cursor`."""
        number, found = self.find_channel(channel)
        return number, found.sid, 0 if after is None else parse_cursor(after, self.newest())

    def last_cursor(self, channel: str) -> str:
        """The cursor of the newest event kept. Raises `unknown_channel`."""
        number, _ = self.find_channel(channel)
        return str(self._all("SELECT max(seq) FROM event WHERE channel = ?", number)[0][0] or 0)

    def newest(self) -> int:
        """The highest sequence number ever given."""
        row = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        return int(row[0]) if row is not None else 0

    def channels_since(self, seq: int) -> set[int]:
        """Channels that have events behind a sequence number, by row number."""
        return {number for (number,) in self._all("SELECT DISTINCT channel FROM event WHERE seq > ?", seq)}

    def purge(self, now: float) -> int:
        """Delete personal events that are 7 days old; how many went, at most `PURGE_ROWS` at once."""
        gone = self.db.execute(
            "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE identity IS NOT NULL AND at <= ? LIMIT ?)",
            (now - PURGE_AFTER_S, PURGE_ROWS),
        ).rowcount
        self.erased |= gone > 0
        return gone

    # Within

    def _join(self, channel: int, identity: str, now: float) -> None:
        self.db.execute("INSERT INTO member (channel, identity, joined_at) VALUES (?, ?, ?)", (channel, identity, now))
        self._event(channel, "member_added", now, identity=identity)

    def _membership(self, channel: int, identity: str) -> int:
        row = self._one("SELECT id FROM member WHERE channel = ? AND identity = ?", channel, identity)
        if row is None:
            raise _not_a_member(identity)
        return int(row[0])

    def _repeat(self, key: Key, digest: bytes) -> Message | None:
        row = self._one("SELECT fingerprint, message_sid FROM idempotency WHERE digest = ?", digest)
        if row is None:
            return None
        if not hmac.compare_digest(row[0].encode(), key.fingerprint.encode()):
            raise ActionError(
                "key_reused",
                "The idempotency key belongs to another payload.",
                hint="Take a new key for each send.",
            )
        return self.find_message(row[1])

    def _claim(self, upload: Upload | None, channel: int, caller: object) -> Media:
        if upload is None or upload.channel != channel or upload.posted_by not in (None, caller):
            raise ActionError(
                "media_deleted",
                "The file was not uploaded here, or was posted or discarded already.",
                hint="Upload it again.",
            )
        upload.posted_by = caller
        return upload.media

    def _digest(self, key: str) -> bytes:
        # Callers may put anything into a key, also what has to be forgotten with its message.
        return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), key=self._key_secret, digest_size=32).digest()

    def _event(
        self,
        channel: int,
        kind: EventType,
        at: float,
        *,
        message_sid: str | None = None,
        identity: str | None = None,
    ) -> None:
        self.db.execute(
            "INSERT INTO event (channel, type, at, message_sid, identity) VALUES (?, ?, ?, ?, ?)",
            (channel, kind, at, message_sid, identity),
        )
        self.touched.add(channel)

    def _insert(self, sql: str, sid: str, values: Sequence[Any]) -> tuple[str, int]:
        # Only counted sids meet one that is taken, in a store that was filled earlier: count on.
        while True:
            try:
                return sid, self.db.execute(sql, (sid, *values)).lastrowid or 0
            except sqlite3.IntegrityError as error:
                if ".sid" not in str(error):
                    raise
                sid = self.ids.sid(sid[:2])

    def _one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        rows = self._all(sql, *values)
        return rows[0] if rows else None

    def _all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        # Always to the end: a statement left open would hold an old view of the database.
        try:
            return self.db.execute(sql, values).fetchall()
        except UnicodeEncodeError:
            return []  # text that cannot be stored is in no row


_NO_MEDIA: Final = (None, None, None, None, None)


def media_deleted(media_sid: str) -> ActionError:
    """The error of a file that is not there any more."""
    return ActionError("media_deleted", "The file was deleted.", details={"media_sid": media_sid})


def _blank(text: str | None) -> str | None:
    return None if text is None else "\0" * len(text.encode())


def _named_by(channel: str) -> str:
    return "sid" if is_channel_sid(channel) else "unique_name"


def _closed(channel_sid: str) -> ActionError:
    return ActionError("channel_closed", "The channel is closed.", details={"channel_sid": channel_sid})


def _not_a_member(identity: str) -> ActionError:
    return ActionError("not_a_member", f"{identity!r} is not a member of the channel.", hint="Join it first.")


def _unknown_message(message_sid: str) -> ActionError:
    return ActionError(
        "unknown_message",
        "There is no such message, or it was deleted.",
        details={"message_sid": message_sid},
    )
