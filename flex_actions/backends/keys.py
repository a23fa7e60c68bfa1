"""The keys that links are signed with: the newest signs, older ones verify until their last link has expired.

A key's secret is a row of `secret`; when it was made and until when it verifies stands in `setting`. Rows of removed
keys stay, overwritten where they lie: taking them out could leave copies of others behind, as `sql.SCHEMA` says.
"""

import secrets
from typing import Final

import attrs

from ..ports import LINK_LIFE_LIMIT_S
from .tables import Tables

SETTING: Final = "link_key:"
# In stores made before keys had a time, the key is at least as old as the first channel.
_BORN: Final = "SELECT min(?, coalesce((SELECT created_at FROM channel ORDER BY id LIMIT 1), ?))"


class LinkKeys(Tables):
    """The operations on link keys. The caller begins and commits the transactions."""

    def signing_key(self) -> tuple[str, bytes]:
        """Id and secret of the newest key; ask in the transaction that the link belongs to."""
        ((number, secret),) = self._all("SELECT id, value FROM secret WHERE purpose = 'link' ORDER BY id DESC LIMIT 1")
        return str(number), secret

    def verifying_keys(self, now: float) -> "KeysAt":
        """The keys whose links may be opened now."""
        return KeysAt(self, now)

    def rotate_link_keys(self, now: float, *, revoke: bool) -> float | None:
        """A new key signs; until when older ones verify, None if none does."""
        self.tend_link_keys(now)
        if revoke:
            self._remove("SELECT id FROM secret WHERE purpose = 'link'")
        else:
            self.db.execute(
                f"UPDATE setting SET until = coalesce(until, ?) WHERE name GLOB '{SETTING}*'",  # noqa: S608
                (now + LINK_LIFE_LIMIT_S,),
            )
        made = self.db.execute("INSERT INTO secret (purpose, value) VALUES ('link', ?)", (secrets.token_bytes(32),))
        self._note_birth(made.lastrowid, now)
        return None if revoke else now + LINK_LIFE_LIMIT_S

    def tend_link_keys(self, now: float) -> None:
        """Remove keys whose links have all expired, and note the time of keys that have none."""
        self._remove(
            f"SELECT s.id FROM secret s JOIN setting k ON k.name = '{SETTING}' || s.id"  # noqa: S608
            " WHERE s.purpose = 'link' AND k.until <= ?",
            now,
        )
        undated = self._all(
            "SELECT s.id FROM secret s WHERE s.purpose = 'link'"  # noqa: S608
            f" AND NOT EXISTS (SELECT 1 FROM setting k WHERE k.name = '{SETTING}' || s.id)"
        )
        for (number,) in undated:
            self._note_birth(number, self._all(_BORN, now, now)[0][0])

    def _note_birth(self, number: int | None, at: float) -> None:
        self.db.execute("INSERT INTO setting (name, value, since) VALUES (?, '', ?)", (f"{SETTING}{number}", at))

    def _remove(self, which: str, *values: float) -> None:
        for (number,) in self._all(which, *values):
            # Of the same length, so that SQLite overwrites it in place; without the purpose nobody takes it for a key.
            self.db.execute(
                "UPDATE secret SET purpose = 'gone', value = zeroblob(length(value)) WHERE id = ?", (number,)
            )
            self.db.execute("DELETE FROM setting WHERE name = ?", (f"{SETTING}{number}",))
            self.erased = True


@attrs.frozen
class KeysAt:
    """The link keys at a moment, each looked up when a link names it: whatever other processes did counts at once."""

    _store: LinkKeys
    _now: float

    def get(self, key_id: str, /) -> bytes | None:
        """The secret of a key, if its links may be opened."""
        # One row by its number, whatever the link says: that is all the work a stranger can cause.
        if not (key_id.isascii() and key_id.isdigit() and len(key_id) <= 18):
            return None
        rows = self._store._all(
            f"SELECT s.value FROM secret s LEFT JOIN setting k ON k.name = '{SETTING}' || s.id"  # noqa: S608
            " WHERE s.id = ? AND s.purpose = 'link' AND (k.until IS NULL OR ? < k.until)",
            int(key_id),
            self._now,
        )
        return rows[0][0] if rows else None
