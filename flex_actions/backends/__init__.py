"""Backends by URL: `local:PATH`, `memory:`, `memory:NAME`, and whatever the entry points add."""

import contextlib
import importlib
import importlib.metadata
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, cast

from ..clock import RANDOM_IDS, SYSTEM_CLOCK, Clock, Ids
from ..errors import ActionError, brief
from ..nearest import did_you_mean
from ..ports import Backend

GROUP: Final = "flex_actions.backends"

# Ours work without installed metadata, load only when named, and are not replaced by others.
_OWN: Final = {
    "local": "flex_actions.backends.local:LocalBackend",
    "memory": "flex_actions.backends.memory:MemoryBackend",
}


def make_backend(
    url: str, *, clock: Clock = SYSTEM_CLOCK, ids: Ids = RANDOM_IDS, public_url: str | None = None
) -> Backend:
    """The backend of a URL, not opened yet.

    Args:
        url: a scheme, a colon, and what that scheme's backend wants to know.
        clock: where it takes times from.
        ids: where it takes identifiers from.
        public_url: where its files are served over HTTP, for a backend that gives links of its own; by default what
            the environment variable FLEX_ACTIONS_PUBLIC_URL says, or what `flex-actions serve` has saved.

    Raises:
        ActionError: `invalid_config` if the scheme is unknown or does not like the rest.
    """
    scheme, colon, rest = url.partition(":") if isinstance(url, str) else ("", "", "")
    if not colon or not scheme:
        raise ActionError(
            "invalid_config",
            "A backend is named by a URL with a scheme.",
            hint="Write 'local:PATH', 'memory:' or 'memory:NAME'.",
        )
    known: dict[str, Any] = {"clock": clock, "ids": ids}
    if public_url is not None:
        known["public_url"] = public_url
    return cast(Backend, _class_of(scheme)(rest, **known))


@contextlib.asynccontextmanager
async def open_backend(
    url: str, *, clock: Clock = SYSTEM_CLOCK, ids: Ids = RANDOM_IDS, public_url: str | None = None
) -> AsyncIterator[Backend]:
    """An opened backend, closed at the end; may be shared by any number of sessions on the same event loop.

    Args:
        url, clock, ids, public_url: see `make_backend`.

    Raises:
        ActionError: as `make_backend` and `ports.Backend.open`.
    """
    backend = make_backend(url, clock=clock, ids=ids, public_url=public_url)
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


def _class_of(scheme: str) -> Callable[..., Any]:
    if scheme in _OWN:
        module, _, name = _OWN[scheme].partition(":")
        return cast("Callable[..., Any]", getattr(importlib.import_module(module), name))
    found = [entry for entry in importlib.metadata.entry_points(group=GROUP) if entry.name == scheme]
    if not found:
        raise _unknown(scheme)
    if len({entry.value for entry in found}) > 1:
        names = ", ".join(sorted(entry.value for entry in found))
        raise ActionError("invalid_config", f"Several packages bring a backend {scheme!r}: {names}.")
    try:
        return cast("Callable[..., Any]", found[0].load())
    except Exception as error:
        raise ActionError("invalid_config", f"The backend {scheme!r} could not be loaded: {error}") from error


def _unknown(scheme: str) -> ActionError:
    known = {entry.name for entry in importlib.metadata.entry_points(group=GROUP)} | set(_OWN)
    return ActionError("invalid_config", f"There is no backend {brief(scheme)}.", hint=did_you_mean(scheme, known))
