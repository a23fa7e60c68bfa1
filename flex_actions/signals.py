"""Signals: what happens, for observers. They can watch; they cannot change, veto or break anything.

Connect with `signals.invocation_ended.connect(receiver)` (or with `sender=` a session's `actions` or the session).
Receivers are plain functions `(sender, **facts)`, called in the order connected and held strongly until
disconnected. One that raises is logged and the others still run.
"""

import asyncio
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import blinker

from .logs import logger, where

T = TypeVar("T")


class _Ordered(set[T]):
    """A set that iterates in the order of insertion; blinker promises no order by itself."""

    _serial = itertools.count()

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items: dict[T, int] = {item: next(self._serial) for item in items}

    def __iter__(self) -> Iterator[T]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object) -> bool:
        return item in self._items

    def __bool__(self) -> bool:
        return bool(self._items)

    def __or__(self, other: Any) -> "_Ordered[Any]":
        # blinker joins the receivers of any sender with those of one; set's own union knows nothing of `_items`.
        joined = {**other._items, **self._items}
        return _Ordered(sorted(joined, key=joined.__getitem__))

    def add(self, item: T) -> None:
        self._items.setdefault(item, next(self._serial))

    def discard(self, item: object) -> None:
        self._items.pop(item, None)  # type: ignore[arg-type]

    def remove(self, item: T) -> None:
        del self._items[item]

    def clear(self) -> None:
        self._items.clear()

    def copy(self) -> "_Ordered[T]":
        return _Ordered(self._items)


class Signal(blinker.NamedSignal):
    """A blinker signal for observing: ordered, strong, isolated."""

    set_class: type[set[Any]] = _Ordered

    def connect(self, receiver: Callable[..., Any], sender: Any = blinker.ANY, weak: bool = False) -> Any:
        """Connect a plain function. Unlike blinker's default it is held until `disconnect`.

        Raises:
            TypeError: for an `async def` function: nobody would await it.
        """
        if inspect.iscoroutinefunction(receiver) or inspect.iscoroutinefunction(type(receiver).__call__):
            raise TypeError(f"{self.name}: an observer is a plain function; use an after hook to await something.")
        return super().connect(receiver, sender, weak)

    def emit(self, sender: Any, **facts: Any) -> None:
        """Call every receiver; log the ones that raise."""
        if not self.receivers:
            return
        for receiver in list(self.receivers_for(sender)):
            try:
                receiver(sender, **facts)
            except (Exception, asyncio.CancelledError) as error:
                logger().warning("observer.failed", signal=self.name, error=type(error).__name__, where=where(error))


def _signal(name: str, doc: str) -> Signal:
    signal = Signal(name, doc)
    SIGNALS[name] = signal
    return signal


SIGNALS: Final[dict[str, Signal]] = {}
"""Every signal by its name; the docstring of each says its sender and facts."""

invocation_began = _signal(
    "invocation_began", "Sender: the `Actions`. Facts: invocation. Before the first before hook."
)
invocation_ended = _signal(
    "invocation_ended",
    "Sender: the `Actions`. Facts: invocation; its `outcome`, `result`, `error`, `after_errors` are set.",
)
hook_failed = _signal(
    "hook_failed",
    "Sender: the `Actions`. Facts: invocation, hook, error. Any hook that raised, ran out of time or came too late.",
)
hook_slow = _signal(
    "hook_slow",
    "Sender: the `Actions`. Facts: invocation, hook, seconds. A plain `def` hook took longer than its limit.",
)
input_changed = _signal("input_changed", "Sender: the `Session`. Facts: channel_sid, before, after (`InputState`).")
attachment_refused = _signal(
    "attachment_refused", "Sender: the `Session`. Facts: action, channel_sid, verdict (`Verdict`)."
)
notification_shown = _signal("notification_shown", "Sender: the `Session`. Facts: notification (`Notification`).")
upload_progress = _signal(
    "upload_progress", "Sender: the `Session`. Facts: file, done_bytes, total_bytes. While a file is stored."
)
download_progress = _signal(
    "download_progress", "Sender: the `Session`. Facts: name, done_bytes, total_bytes. While `download` reads."
)
