"""Which table a row was in, by its shape; rows that cannot be of ours are left out.

Every table has rows of another shape: so it does not matter whether the pages that lead to a row are whole.
"""

import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, get_args

import attrs

from ...ports import EventType
from .cells import Cell, Row, cells
from .pages import Pages
from .work import Work

_CHANNEL: Final = re.compile(r"CH[0-9a-f]{32}\Z")
_MESSAGE: Final = re.compile(r"IM[0-9a-f]{32}\Z")
_MEDIA: Final = re.compile(r"ME[0-9a-f]{32}\Z")
_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z")
_EVENTS: Final = frozenset(get_args(EventType))
_SETTINGS: Final = frozenset({"public_url", "address", "read_only", "restored"})


@attrs.frozen
class Found:
    """A row that could be read.

    Attributes:
        table: its table, or `channel_sid` for the sid of a channel whose own row may be lost, `sequence` for the
            highest number ever given in a table.
        values: its columns, in the order of the schema; None for one that is damaged or of no table.
    """

    table: str
    values: Row


class Salvage:
    """Goes through all pages.

    Attributes:
        damaged: pages and rows that could not be read.
    """

    def __init__(self, pages: Pages, work: Work) -> None:
        self._pages = pages
        self._work = work
        self.damaged = pages.missing + pages.damaged_frames

    def rows(self) -> Iterator[Found]:
        """All rows of ours, in no order."""
        for number in range(1, self._pages.count + 1):
            self._work.tell("database", number * self._pages.size, self._pages.count * self._pages.size)
            whole = True
            for cell in cells(self._pages, number):
                if cell is None:
                    whole = False
                elif (found := _recognised(cell)) is not None:
                    yield found
            self.damaged += not whole


def _recognised(cell: Cell) -> Found | None:
    known = (_IN_TABLES if cell.number is not None else _IN_INDEXES).get(len(cell.values))
    if known is None:
        return None
    table, fits = known
    if cell.number is None or table == "sequence":
        values = cell.values
    elif cell.values[0] is not None or cell.number < 1:
        return None
    else:
        values = (cell.number, *cell.values[1:])
    return Found(table, values) if fits(*values) else None


def _is_text(*values: Any) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _secret(_: int, purpose: Any, value: Any) -> bool:
    return purpose in ("link", "idempotency") and isinstance(value, bytes) and len(value) >= 16


def _member(_: int, channel: Any, identity: Any, joined_at: Any) -> bool:
    return isinstance(channel, int) and _is_text(identity) and bool(identity) and _is_time(joined_at)


def _event(_: int, channel: Any, kind: Any, at: Any, message_sid: Any, identity: Any) -> bool:
    named = message_sid is None or (_is_text(message_sid) and _MESSAGE.match(message_sid) is not None)
    known = _is_text(kind) and kind in _EVENTS
    return isinstance(channel, int) and known and _is_time(at) and named and (identity is None or _is_text(identity))


def _channel(_: int, sid: Any, name: Any, kind: Any, state: Any, *rest: Any) -> bool:
    created_by, created_at, next_index = rest
    texts = _is_text(sid, kind, created_by) and (name is None or _is_text(name)) and state in ("active", "closed")
    return texts and bool(_CHANNEL.match(sid)) and _is_time(created_at) and isinstance(next_index, int)


def _message(_: int, sid: Any, channel: Any, idx: Any, deleted: Any, *rest: Any) -> bool:
    author, body, attributes, created_at, *media = rest
    if not (_is_text(sid, author, attributes) and _MESSAGE.match(sid) and deleted in (0, 1) and _is_time(created_at)):
        return False
    if not (isinstance(channel, int) and isinstance(idx, int) and idx >= 0 and (body is None or _is_text(body))):
        return False
    if deleted:
        return True
    if not author or (body is None) == (media[0] is None):
        return False
    return _is_media(*media) if media[0] is not None else True


def _is_media(sid: Any, name: Any, kind: Any, size: Any, sha256: Any) -> bool:
    if not _is_text(sid, name, kind, sha256) or not isinstance(size, int):
        return False
    return bool(_MEDIA.match(sid) and _SHA256.match(sha256)) and size >= 0


def _sequence(name: Any, seq: Any) -> bool:
    return name in ("event", "member") and isinstance(seq, int)


def _key(digest: Any, *rest: Any) -> bool:
    fingerprint, channel, message, media, idx = rest
    texts = _is_text(fingerprint, channel, message) and (media is None or _is_text(media))
    return isinstance(digest, bytes) and len(digest) == 32 and texts and isinstance(idx, int)


def _setting(name: Any, value: Any, since: Any, until: Any) -> bool:
    times = all(at is None or _is_time(at) for at in (since, until))
    return _is_text(name, value) and name in _SETTINGS and times


def _channel_sid(sid: Any, number: Any) -> bool:
    return _is_text(sid) and bool(_CHANNEL.match(sid)) and isinstance(number, int)


def _erased(sid: Any) -> bool:
    return _is_text(sid) and bool(_MESSAGE.match(sid))


_IN_TABLES: Final[dict[int, tuple[str, Callable[..., bool]]]] = {
    2: ("sequence", _sequence),
    3: ("secret", _secret),
    4: ("member", _member),
    6: ("event", _event),
    8: ("channel", _channel),
    14: ("message", _message),
}
_IN_INDEXES: Final[dict[int, tuple[str, Callable[..., bool]]]] = {
    1: ("erased", _erased),
    2: ("channel_sid", _channel_sid),
    4: ("setting", _setting),
    6: ("idempotency", _key),
}
