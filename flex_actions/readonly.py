"""A read-only view of a payload, for guards."""

import operator
import types
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from .matching import is_changeable

_DEEPEST: Final = 64


def _refuse(*_: Any, **__: Any) -> Any:
    raise TypeError("a guard sees the final payload and cannot change it; use a before hook")


class ReadOnlyDict(dict[Any, Any]):
    """A dict that refuses changes; still a dict, to compare and to write as JSON."""

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refuse


class ReadOnlyList(list[Any]):
    """A list that refuses changes; still a list, to compare and to write as JSON."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse
    append = clear = extend = insert = pop = remove = reverse = sort = _refuse


class _ReadOnly:
    """Shows an object's fields and refuses to set any; `isinstance`, comparisons and the like see the object itself.

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

    def __iter__(self) -> Iterator[Any]:
        return map(read_only, _target(self))

    def __getitem__(self, key: Any) -> Any:
        return read_only(_target(self)[key])


_WAYS_AROUND: Final = frozenset(
    {"__setattr__", "__delattr__", "__dict__", "__init__", "__setstate__", "__attrs_init__"}
)


def _target(value: Any) -> Any:
    return object.__getattribute__(value, "_target") if type(value) is _ReadOnly else value


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *others: function(_target(self), *map(_target, others))


# Python looks these up on the class, past `__getattribute__`.
_SPECIAL: Final[dict[str, Callable[..., Any]]] = {
    "__eq__": operator.eq,
    "__ne__": operator.ne,
    "__lt__": operator.lt,
    "__le__": operator.le,
    "__gt__": operator.gt,
    "__ge__": operator.ge,
    "__contains__": operator.contains,
    "__len__": len,
    "__bool__": bool,
    "__hash__": hash,
    "__repr__": repr,
    "__str__": str,
}
for _name, _function in _SPECIAL.items():
    setattr(_ReadOnly, _name, _forward(_function))


def _refused(name: str) -> AttributeError:
    return AttributeError(f"a guard sees the final payload and cannot change it ({name}); use a before hook")


def read_only(value: Any, _depth: int = 0) -> Any:
    """A view of a mapping, sequence, set, attrs object or dataclass that refuses changes; anything else as it is.

    What a guard changes all the same, deep inside an object of another class, is found afterwards or is that object's
    own business (see `matching.content`).
    """
    if _depth > _DEEPEST:
        return value  # a cycle; what is changed in there is found afterwards
    if isinstance(value, Mapping):
        return ReadOnlyDict({k: read_only(v, _depth + 1) for k, v in value.items()})
    if isinstance(value, list):
        return ReadOnlyList(read_only(v, _depth + 1) for v in value)
    if isinstance(value, deque):
        return deque(value, value.maxlen)  # a copy: what becomes of it concerns nobody
    if type(value) is tuple:
        return tuple(read_only(v, _depth + 1) for v in value)
    if isinstance(value, set):
        return frozenset(value)
    if isinstance(value, bytearray):
        return bytes(value)
    return _ReadOnly(value) if is_changeable(value) else value
