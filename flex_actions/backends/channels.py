"""Channels and members, in SQL. Errors as in `ports.Backend`."""

# What is put into the SQL here are our own lists of columns, never values.
# ruff: noqa: S608

import attrs

from ..errors import ActionError, as_text, brief
from ..ports import Channel, Member
from .rows import CHANNEL, to_channel
from .tables import Tables
from .texts import is_channel_sid


class Channels(Tables):
    """The operations on channels and members."""

    def create_channel(self, draft: Channel) -> Channel:
        """Add a channel, its creator and their events. Raises `channel_exists`."""
        self.must_be_writable()
        name = draft.unique_name
        if name is not None and self._one("SELECT 1 FROM channel WHERE unique_name = ?", name):
            raise ActionError("channel_exists", f"A channel named {brief(name)} exists.", details={"name": name})
        sid, ((number,),) = self._insert(
            "INSERT INTO channel (sid, unique_name, channel_type, state, created_by, created_at, next_index)"
            " VALUES (?, ?, ?, 'active', ?, ?, 0) RETURNING id",
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
            raise unknown_channel(channel)
        return row[0], to_channel(row[1:])

    def find_channel_of(self, channel: str, member: str) -> tuple[int, Channel]:
        """A channel and its row number. Raises `unknown_channel`, `not_a_member`."""
        # One statement: each lets other threads in, which costs more than it does itself.
        row = self._one(
            f"SELECT (SELECT m.id FROM member m WHERE m.channel = c.id AND m.identity = ?), c.id, {CHANNEL}"
            f" FROM channel c WHERE c.{_named_by(channel)} = ?",
            member,
            channel,
        )
        if row is None:
            self.find_channel(channel)
        if row is None or row[0] is None:
            raise not_a_member(member)
        return row[1], to_channel(row[2:])

    def writable(self, channel: str, author: str) -> tuple[int, str, int]:
        """A channel in which an author may write: its row number, sid and next index.

        Raises `unknown_channel`, `channel_closed`, `not_a_member`.
        """
        self.must_be_writable()
        row = self._one(
            "SELECT c.id, c.sid, c.next_index, c.state, (SELECT m.id FROM member m WHERE m.channel = c.id AND"
            f" m.identity = ?) FROM channel c WHERE c.{_named_by(channel)} = ?",
            author,
            channel,
        )
        if row is None:
            self.find_channel(channel)
            raise not_a_member(author)  # an identity that cannot be stored
        if row[3] == "closed":
            raise _closed(row[1])
        if row[4] is None:
            raise not_a_member(author)
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
        self.must_be_writable()
        number, found = self.find_channel(channel)
        if found.state == "closed":
            return found
        self.db.execute("UPDATE channel SET state = 'closed' WHERE id = ?", (number,))
        self._event(number, "channel_closed", now)
        return attrs.evolve(found, state="closed")

    def add_member(self, channel: str, identity: str, now: float) -> Member:
        """Add a member unless there. Raises `unknown_channel`, `channel_closed`."""
        self.must_be_writable()
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
        self.must_be_writable()
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

    def _join(self, channel: int, identity: str, now: float) -> None:
        self.db.execute("INSERT INTO member (channel, identity, joined_at) VALUES (?, ?, ?)", (channel, identity, now))
        self._event(channel, "member_added", now, identity=identity)

    def _membership(self, channel: int, identity: str) -> int:
        row = self._one("SELECT id FROM member WHERE channel = ? AND identity = ?", channel, identity)
        if row is None:
            raise not_a_member(identity)
        return int(row[0])


def _named_by(channel: str) -> str:
    return "sid" if is_channel_sid(channel) else "unique_name"


def _closed(channel_sid: str) -> ActionError:
    return ActionError("channel_closed", "The channel is closed.", details={"channel_sid": channel_sid})


def unknown_channel(channel: str) -> ActionError:
    """The error of a sid or name that no channel has."""
    return ActionError(
        "unknown_channel", f"There is no channel {brief(channel)}.", details={"channel": as_text(channel)}
    )


def not_a_member(identity: str) -> ActionError:
    """The error of an identity that has not joined, or has left."""
    return ActionError("not_a_member", f"{brief(identity)} is not a member of the channel.", hint="Join it first.")
