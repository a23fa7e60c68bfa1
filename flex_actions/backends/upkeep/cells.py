"""The rows in a SQLite page, one by one: a damaged one is left out."""

import struct
from collections.abc import Iterator
from typing import Any, Final

import attrs

from .pages import Pages

Row = tuple[Any, ...]
_TABLE_LEAF: Final = 0x0D
_INDEX_LEAF: Final = 0x0A
_INDEX_INNER: Final = 0x02
_TABLE_INNER: Final = 0x05
_MAX_BYTES: Final = 1 << 30
_INTS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class Broken(Exception):
    """What is there is no cell."""


@attrs.frozen
class Cell:
    """A row; `number` is its row number, None in an index."""

    number: int | None
    values: Row


def cells(pages: Pages, number: int) -> Iterator[Cell | None]:
    """The cells of a page; None for one that is damaged, and for a page that is."""
    page, start = pages.page(number), 100 if number == 1 else 0
    if len(page) < pages.size:
        if any(page):
            yield None
        return
    kind = page[start]
    if kind in (0, _TABLE_INNER):  # a long row's continuation, free, or no rows in it
        return
    if kind not in (_TABLE_LEAF, _INDEX_LEAF, _INDEX_INNER):
        yield None
        return
    count = int.from_bytes(page[start + 3 : start + 5], "big")
    pointers = start + (12 if kind == _INDEX_INNER else 8)
    if pointers + 2 * count > len(page):
        yield None
        return
    for at in range(pointers, pointers + 2 * count, 2):
        try:
            yield _cell(pages, page, kind, int.from_bytes(page[at : at + 2], "big"))
        except (Broken, IndexError, struct.error, UnicodeDecodeError):
            yield None


def _cell(pages: Pages, page: bytes, kind: int, at: int) -> Cell:
    if kind == _INDEX_INNER:
        at += 4
    size, at = _varint(page, at)
    number = None
    if kind == _TABLE_LEAF:
        number, at = _varint(page, at)
        number = number - (1 << 64) if number >= 1 << 63 else number
    return Cell(number, _record(_payload(pages, page, kind == _TABLE_LEAF, size, at)))


def _payload(pages: Pages, page: bytes, is_table: bool, size: int, at: int) -> bytes:
    if not 0 < size <= min(_MAX_BYTES, pages.count * pages.size):
        raise Broken
    usable = pages.size
    most = usable - 35 if is_table else (usable - 12) * 64 // 255 - 23
    least = (usable - 12) * 32 // 255 - 23
    local = size
    if size > most:
        local = least + (size - least) % (usable - 4)
        local = local if local <= most else least
    found = bytearray(page[at : at + local])
    if len(found) < local:
        raise Broken
    following = int.from_bytes(page[at + local : at + local + 4], "big") if local < size else 0
    while len(found) < size:
        if not 1 < following <= pages.count:
            raise Broken
        more = pages.page(following)
        if len(more) < pages.size:
            raise Broken
        found += more[4 : 4 + size - len(found)]
        following = int.from_bytes(more[:4], "big")
    if following:  # the last one names no other
        raise Broken
    return bytes(found)


def _record(data: bytes) -> Row:
    head, at = _varint(data, 0)
    body, values = head, []
    if head > len(data):
        raise Broken
    while at < head:
        kind, at = _varint(data, at)
        value, size = _value(data, body, kind)
        body += size
        values.append(value)
    if at != head or body != len(data):
        raise Broken
    return tuple(values)


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in _INTS:
        size = _INTS[kind]
        return int.from_bytes(_cut(data, at, size), "big", signed=True), size
    if kind == 7:
        return struct.unpack(">d", _cut(data, at, 8))[0], 8
    if kind == 0:
        return None, 0
    if kind in (8, 9):
        return kind - 8, 0
    if kind < 12:
        raise Broken
    size = (kind - 12) // 2
    found = _cut(data, at, size)
    return (found.decode() if kind % 2 else found), size


def _cut(data: bytes, at: int, size: int) -> bytes:
    found = data[at : at + size]
    if len(found) < size:
        raise Broken
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        byte = data[at + i]
        if i == 8:
            return (value << 8) | byte, at + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, at + i + 1
    raise Broken
