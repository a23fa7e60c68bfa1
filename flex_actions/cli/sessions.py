"""Sessions as the options want them, and channels by name."""

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

from ..attachments import Role
from ..errors import ActionError
from ..nearest import nearest
from ..payloads import PAYLOADS
from ..ports import Backend, Channel
from ..session import Session, connect
from .options import Options

ADMIN: Final = "flex-actions"

_CHANNEL_KEYS: Final = ("channelSid", "channel_sid", "channel", "conversationSid", "conversation_sid", "conversation")


def missing(url: str) -> str | None:
    """The folder of a `local:` chat that does not exist yet."""
    scheme, _, path = url.partition(":")
    if scheme != "local" or not path:
        return None
    from ..backends.local import folder_of, holds_no_chat  # not at the top: it loads SQLite

    folder = folder_of(path)
    return folder if holds_no_chat(folder) else None


def must_be_there(url: str) -> None:
    """Refuse a `local:` chat that does not exist yet: a mistyped --chat must not make one. Raises `store_missing`."""
    folder = missing(url)
    if folder is not None:
        raise ActionError(
            "store_missing",
            f"There is no chat in {folder!a}.",
            hint=f"flex-actions channel create makes one; otherwise check --chat ({url[:200]!a}).",
            details={"folder": folder},
        )


@contextlib.asynccontextmanager
async def session_of(
    options: Options, identity: str, role: Role | None = None, *, backend: Backend | None = None
) -> AsyncIterator[Session]:
    """A session of somebody, on an open backend or the chat of the options, which must be there."""
    if backend is None:
        must_be_there(options.chat)
    async with connect(
        backend if backend is not None else options.chat,
        identity=identity,
        role=role or options.role or "agent",
        side=options.side,
        config=options.config,
        plugins=options.plugins,
        profile=options.profile,
    ) as session:
        yield session


@contextlib.asynccontextmanager
async def admin_session(options: Options, *, may_create: bool = False) -> AsyncIterator[Session]:
    """A session that administers channels: as a supervisor it need not be a member to look."""
    if not may_create:
        must_be_there(options.chat)
    async with connect(options.chat, identity=options.identity or ADMIN, role="supervisor") as session:
        yield session


async def find_channel(session: Session, given: str, *, among: Iterable[Channel] | None = None) -> Channel:
    """The channel of a name or sid. Raises `unknown_channel` with the nearest name (of one's own channels)."""
    try:
        return await session.channel(given)
    except ActionError as error:
        if error.code == "unknown_channel":
            own = among if among is not None else await session.channels()
            near = nearest(given, [c.unique_name for c in own if c.unique_name])
            error.hint = f"Did you mean {near!r}?" if near else "flex-actions channel list shows them."
        raise


async def with_channel_sid(session: Session, action: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """The payload with the sid where a channel's unique name stands: actions take sids only."""
    resolved = dict(payload)
    for key in _CHANNEL_KEYS:
        given = resolved.get(key)
        if isinstance(given, str) and given:
            try:
                resolved[key] = (await find_channel(session, given)).sid
            except ActionError as error:
                # Elsewhere `channel` may mean anything.
                if action in PAYLOADS or error.code != "unknown_channel":
                    raise
    return resolved
