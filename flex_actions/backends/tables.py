"""What all operations on a store's tables share: asking, inserting, noting events."""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from ..clock import Ids
from ..errors import ActionError
from ..ports import EventType
from .sql import RESTORE

_STORABLE: Final = (str, int, float, bytes, type(None))


class Tables:
    """One connection and what its operations leave behind.

    Attributes:
        touched: channels in which something happened since it was last emptied, by row number.
        erased: something was deleted whose old bytes must go too; whoever has seen to that sets it back.
        read_only: it was a rescued copy when it was opened.
    """

    def __init__(self, db: sqlite3.Connection, ids: Ids) -> None:
        self.db = db
        self.ids = ids
        self.touched: set[int] = set()
        self.erased = False
        self._key_secret = b""
        self.read_only = False

    def load_secrets(self) -> None:
        """Make links and idempotency keys usable. Raises `store_corrupt`."""
        rows = self._all("SELECT purpose, value FROM secret ORDER BY id")
        own = [value for purpose, value in rows if purpose == "idempotency"]
        if not own or not any(purpose == "link" for purpose, _ in rows):
            raise ActionError("store_corrupt", "The store is damaged: its secrets are missing.", hint=RESTORE)
        self._key_secret = own[0]
        self.read_only = self._is_read_only()

    def must_be_writable(self) -> None:
        """Refuse to change a rescued copy, with `store_readonly`."""
        # Looked up again only where it was one: a restore makes a chat of it while it is open.
        if self.read_only and self._is_read_only():
            raise ActionError(
                "store_readonly",
                "This chat is a rescued copy: it can only be read.",
                hint="Make a new chat of it: flex-actions --chat local:FOLDER store restore COPY",
            )

    def _is_read_only(self) -> bool:
        return self._one("SELECT 1 FROM setting WHERE name = 'read_only'") is not None

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

    def _insert(self, sql: str, sid: str, values: Sequence[Any]) -> tuple[str, list[tuple[Any, ...]]]:
        """Insert a row that begins with a sid; the sid it got and what the statement returns."""
        # Only counted sids meet one that is taken, in a store that was filled earlier: count on.
        while True:
            try:
                return sid, self.db.execute(sql, (sid, *values)).fetchall()
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
        except (UnicodeEncodeError, OverflowError):
            return []  # what cannot be stored is in no row
        except (sqlite3.InterfaceError, sqlite3.ProgrammingError):
            if all(isinstance(value, _STORABLE) for value in values):
                raise
            return []
