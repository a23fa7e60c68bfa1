"""The log of what happened, in SQL: cursors are its sequence numbers."""

# What is put into the SQL here are our own lists of columns, never values.
# ruff: noqa: S608

from typing import Final

from ..ports import PURGE_AFTER_S, Event
from .channels import Channels, unknown_channel
from .rows import MESSAGE, to_event
from .texts import parse_cursor

PURGE_ROWS: Final = 5000


class EventLog(Channels):
    """The operations on events."""

    def next_event(self, channel: int, channel_sid: str, after: int) -> tuple[int, Event] | None:
        """The first event of a channel behind a sequence number, with its own, or None. Raises `unknown_channel`."""
        row = self._one(
            f"SELECT e.seq, e.type, e.at, e.message_sid, e.identity, {MESSAGE} FROM event e"
            " LEFT JOIN message m ON m.sid = e.message_sid AND e.type = 'message_added' AND NOT m.deleted"
            # A restore may have taken the channel away, and another one may have got its number.
            " WHERE e.channel = ? AND e.seq > ? AND EXISTS (SELECT 1 FROM channel WHERE id = e.channel AND sid = ?)"
            " ORDER BY e.seq LIMIT 1",
            channel,
            after,
            channel_sid,
        )
        if row is None and self._one("SELECT 1 FROM channel WHERE id = ? AND sid = ?", channel, channel_sid) is None:
            raise unknown_channel(channel_sid)
        return None if row is None else (row[0], to_event(row, channel_sid))

    def follow(self, channel: str, after: str | None) -> tuple[int, str, int]:
        """Row number and sid of a channel and where to begin. Raises `unknown_channel`, `invalid_cursor`."""
        number, found = self.find_channel(channel)
        return number, found.sid, 0 if after is None else parse_cursor(after, self.newest())

    def last_cursor(self, channel: str) -> str:
        """The cursor of the newest event kept. Raises `unknown_channel`."""
        number, _ = self.find_channel(channel)
        return str(self._all("SELECT max(seq) FROM event WHERE channel = ?", number)[0][0] or 0)

    def version(self) -> int:
        """A number that changes with every commit of another connection."""
        return int(self._all("PRAGMA data_version")[0][0])

    def newest(self) -> int:
        """The highest sequence number ever given."""
        row = self._one("SELECT seq FROM sqlite_sequence WHERE name = 'event'")
        return int(row[0]) if row is not None else 0

    def channels_since(self, seq: int) -> set[int]:
        """Channels that have events behind a sequence number, by row number."""
        # Not by the index on channels: SQLite would read all of it to find them in order.
        return {number for (number,) in self._all("SELECT DISTINCT channel FROM event NOT INDEXED WHERE seq > ?", seq)}

    def purge(self, now: float) -> int:
        """Delete personal events that are 7 days old; how many went, at most `PURGE_ROWS` at once."""
        gone = self.db.execute(
            "DELETE FROM event WHERE seq IN (SELECT seq FROM event WHERE identity IS NOT NULL AND at <= ? LIMIT ?)",
            (now - PURGE_AFTER_S, PURGE_ROWS),
        ).rowcount
        self.erased |= gone > 0
        return gone
