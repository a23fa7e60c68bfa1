"""Messages whose file is lost: what is left of them is kept."""

import json
import sqlite3
from collections.abc import Iterable

from ...errors import ActionError
from ...values import attributes_json
from .sources import Wanted


def keep_without_files(db: sqlite3.Connection, lost: Iterable[Wanted]) -> None:
    """Make texts of messages whose files are lost.

    The text says so and names the file; the attributes have `lostFile` with all that was known of it, if there is room.
    """
    db.execute("BEGIN")
    for wanted in lost:
        rows = db.execute(
            "SELECT attributes, media_name, media_type FROM message WHERE sid = ? AND NOT deleted",
            (wanted.message_sid,),
        ).fetchall()
        for attributes, name, kind in rows:
            facts = {"sid": wanted.sid, "name": name, "contentType": kind, "sizeBytes": wanted.size_bytes}
            db.execute(
                "UPDATE message SET body = ?, attributes = ?, media_sid = NULL, media_name = NULL, media_type = NULL,"
                " media_size = NULL, media_sha256 = NULL WHERE sid = ?",
                (
                    f"[The file of this message is lost: {name}]",
                    _with(attributes, {**facts, "sha256": wanted.sha256}),
                    wanted.message_sid,
                ),
            )
        db.execute("UPDATE idempotency SET media_sid = NULL WHERE message_sid = ?", (wanted.message_sid,))
    db.execute("COMMIT")


def _with(attributes: str, facts: dict[str, object]) -> str:
    try:
        return attributes_json({**json.loads(attributes), "lostFile": facts})
    except (ActionError, ValueError, TypeError, RecursionError):
        return attributes
