"""When two payloads count as the same: for pending and blocked actions.

Texts, numbers, booleans and None compare by value and kind (1 is 1.0 but not True, NaN equals nothing), everything
else by identity, one level deep. Mappings and attrs objects are "objects" with keys; `channelSid` and `channel_sid`
are one key. A mapping counts as it was given, an object as it is at the comparison.
"""

import dataclasses
import re
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from enum import Enum
from operator import attrgetter
from typing import Any, Final

import attrs

_CAMEL: Final = re.compile(r"(?<=[a-z0-9])([A-Z])")
_snake_names: dict[str, str] = {}
_readers: dict[type, tuple[tuple[str, ...], Callable[[Any], Any]]] = {}


def snake(key: str) -> str:
    """`channelSid` as `channel_sid`."""
    found = _snake_names.get(key)
    if found is None:
        found = _CAMEL.sub(r"_\1", key).lower()
        if len(_snake_names) < 10_000:  # keys may come from outside
            _snake_names[key] = found
    return found


def snapshot(payload: Any) -> Any:
    """What later comparisons need of a payload that may be changed in place meanwhile. Cheap: no key is computed."""
    if payload is None:
        return None
    if isinstance(payload, Mapping):
        return dict(payload)
    reader = _readers.get(type(payload))
    if reader is None:
        if not attrs.has(type(payload)):
            return payload
        reader = _reader(type(payload))
    try:
        return _Fields(reader[0], reader[1](payload))
    except AttributeError:  # a field that nobody has set yet
        return _Fields(reader[0], tuple(getattr(payload, n, None) for n in reader[0]))


class _Fields:
    __slots__ = ("names", "values")

    def __init__(self, names: tuple[str, ...], values: Any) -> None:
        self.names = names
        self.values = values if len(names) > 1 or isinstance(values, tuple) else (values,)


def _reader(cls: type) -> tuple[tuple[str, ...], Callable[[Any], Any]]:
    names = tuple(f.name for f in attrs.fields(cls))
    _readers[cls] = reader = (names, attrgetter(*names) if names else lambda _: ())
    return reader


def fields(payload: Any) -> dict[Any, Any] | None:
    """The keys and values of an object, or None for a plain value. None in an attrs object means: not given."""
    if isinstance(payload, Mapping):
        return {snake(k) if isinstance(k, str) else k: v for k, v in payload.items()}
    if not isinstance(payload, _Fields):
        if not attrs.has(type(payload)):
            return None
        payload = snapshot(payload)
    return {n: v for n, v in zip(payload.names, payload.values, strict=False) if v is not None}


def _token(value: Any) -> Hashable:
    if value is None or isinstance(value, bool):
        return ("b", value)
    if isinstance(value, (int, float)):
        return ("n", value) if value == value else ("nan", object())  # noqa: PLR0124 - NaN equals nothing, itself included
    if isinstance(value, str):
        return ("s", value)
    return ("id", id(value))


def payload_key(payload: Any) -> Hashable:
    """Equal for two payloads that are the same both ways. Good while both are held."""
    known = fields(payload)
    if known is None:
        return _token(payload)
    return frozenset((k, _token(v)) for k, v in known.items())


def equal(one: Any, other: Any) -> bool:
    """The same both ways: the same keys with the same values."""
    return one is other or payload_key(one) == payload_key(other)


def content(payload: Any) -> "Content":
    """What a payload consists of now: its mappings, sequences, sets, attrs objects and dataclasses, all the way down.

    Any other object counts by identity. Takes cycles and any depth.
    """
    tokens: list[Any] = []
    held: list[Any] = []  # an id says something only while its object lives
    seen: dict[int, int] = {}
    left = [payload]
    while left:
        value = left.pop()
        if isinstance(value, _PLAIN):
            tokens.append((type(value), value if value == value else "NaN"))  # noqa: PLR0124 - NaN is not itself
            continue
        number = seen.get(id(value))
        if number is not None:
            tokens.append(number)
            continue
        seen[id(value)] = len(tokens)
        held.append(value)
        parts = _parts(value)
        tokens.append((id(value), None if parts is None else len(parts)))
        if parts is not None:
            left.extend(parts)
    return Content(tokens, held)


class Content:
    """What `content` found, to be compared."""

    __slots__ = ("_held", "_tokens")

    def __init__(self, tokens: list[Any], held: list[Any]) -> None:
        self._tokens = tokens
        self._held = held

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self._tokens == other._tokens

    __hash__ = None  # type: ignore[assignment]


_PLAIN: Final = (str, int, float, bool, bytes, type(None))


def _parts(value: Any) -> list[Any] | None:
    if isinstance(value, Mapping):
        return [part for item in value.items() for part in item]
    if isinstance(value, (list, tuple, deque)):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=id)
    if isinstance(value, bytearray):
        return [bytes(value)]
    if isinstance(value, type):
        return None
    if attrs.has(type(value)):
        return [getattr(value, f.name, None) for f in attrs.fields(type(value))]
    if dataclasses.is_dataclass(value):
        return [getattr(value, f.name, None) for f in dataclasses.fields(value)]
    return None


def is_changeable(value: Any) -> bool:
    """Whether a value is an attrs object or a dataclass whose fields can be set."""
    cls = type(value)
    if isinstance(value, (type, Enum, *_PLAIN)):
        return False
    if attrs.has(cls):
        return getattr(cls.__setattr__, "__name__", "") != "_frozen_setattrs"
    return dataclasses.is_dataclass(cls) and not cls.__dataclass_params__.frozen  # type: ignore[attr-defined]


def contains(payload: Any, part: Any) -> bool:
    """Whether each key of `part` stands in `payload` with the same value."""
    wanted, given = fields(part), fields(payload)
    if wanted is None or given is None:
        return _token(payload) == _token(part)
    return all(k in given and _token(given[k]) == _token(v) for k, v in wanted.items())


def flex_match(sought: Any, stored: Any, action: str) -> bool:
    """Flex's own rule: nothing sought, the same, a function that says so, or each key of `sought` in `stored`."""
    if sought is None or sought is stored:
        return True
    if callable(sought) and not isinstance(sought, Mapping):
        return bool(sought(stored, action))
    if fields(sought) is None or fields(stored) is None:
        return _token(sought) == _token(stored)
    return contains(stored, sought)
