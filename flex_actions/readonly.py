"""A read-only view of a payload, for guards."""

import types
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .matching import is_changeable


class _ReadOnly:
    """Shows an object's attributes and refuses to set any; `isinstance` sees the object's own class.

    Its methods run on the view, so they cannot set any either.
    """

    __slots__ = ("_target",)

    def __init__(self, target: Any) -> None:
        object.__setattr__(self, "_target", target)

    def __getattribute__(self, name: str) -> Any:
        target = object.__getattribute__(self, "_target")
        if name == "__class__":
            return type(target)
        if name in _WAYS_AROUND:
            raise _refused(name)
        value = getattr(target, name)
        if isinstance(value, types.MethodType) and value.__self__ is target:
            return types.MethodType(value.__func__, self)
        return read_only(value)

    def __setattr__(self, name: str, value: Any) -> None:
        raise _refused(name)

    def __delattr__(self, name: str) -> None:
        raise _refused(name)

    def __repr__(self) -> str:
        return repr(object.__getattribute__(self, "_target"))


_WAYS_AROUND = frozenset({"__setattr__", "__delattr__", "__dict__", "__init__", "__setstate__", "__attrs_init__"})


def _refused(name: str) -> AttributeError:
    return AttributeError(f"a guard sees the final payload and cannot change it ({name}); use a before hook")


def read_only(value: Any) -> Any:
    """The value itself if it cannot be changed, otherwise a view that refuses changes."""
    if isinstance(value, Mapping):
        return MappingProxyType({k: read_only(v) for k, v in value.items()})
    if isinstance(value, (list, deque)) or type(value) is tuple:
        return tuple(read_only(v) for v in value)
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, bytearray):
        return bytes(value)
    return _ReadOnly(value) if is_changeable(value) else value
