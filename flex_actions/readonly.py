"""A read-only view of a payload, for guards."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import attrs


class _ReadOnly:
    """Shows an object's attributes and refuses to set any; `isinstance` sees the object's own class."""

    __slots__ = ("_target",)

    def __init__(self, target: Any) -> None:
        object.__setattr__(self, "_target", target)

    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            return type(object.__getattribute__(self, "_target"))
        return read_only(getattr(object.__getattribute__(self, "_target"), name))

    def __setattr__(self, name: str, value: Any) -> None:
        raise _refused(name)

    def __delattr__(self, name: str) -> None:
        raise _refused(name)

    def __repr__(self) -> str:
        return repr(object.__getattribute__(self, "_target"))


def _refused(name: str) -> AttributeError:
    return AttributeError(f"a guard sees the final payload and cannot change it ({name}); use a before hook")


def read_only(value: Any) -> Any:
    """The value itself if it cannot be changed, otherwise a view that refuses changes."""
    if isinstance(value, Mapping):
        return MappingProxyType({k: read_only(v) for k, v in value.items()})
    if isinstance(value, list) or type(value) is tuple:
        return tuple(read_only(v) for v in value)
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, bytearray):
        return bytes(value)
    if not attrs.has(type(value)) or _is_frozen(type(value)):
        return value
    return _ReadOnly(value)


def _is_frozen(cls: type) -> bool:
    """Whether an attrs class refuses changes by itself; being hashable does not say so."""
    return getattr(cls.__setattr__, "__name__", "") == "_frozen_setattrs"
