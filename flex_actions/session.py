"""`connect` and `Session`: one identity in a chat, with its actions, inputs and plugins."""

import asyncio
import contextlib
import os
import unicodedata
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import attrs

from . import signals
from .attachments import ROLES, Chat, InputView, Role
from .backends import open_backend
from .chat_actions import ChatActions
from .clock import RANDOM_IDS, SYSTEM_CLOCK, Clock, Ids
from .config import Config, read_config
from .downloads import Download
from .errors import ActionError, brief
from .nearest import did_you_mean
from .notifications import Notification
from .plugin_loader import Plugin, Plugins
from .policy import Side
from .ports import Backend, Channel, Event, Link, Member, Message

DEFAULT_URL: Final = "local:.flex-actions"
_SIDES: Final = ("agent", "customer")
_RECONNECTS: Final = 10


class Session:
    """One identity in a chat. Made by `connect`; ends with its `async with`.

    Channels are given as the object, the sid or, in methods of the session, the unique name.

    Attributes:
        actions: the dispatcher through which everything is done: `await session.actions.invoke(…)`.
        identity: who this is. Self-asserted in a local chat: who can read its folder is trusted.
        role: agent, customer, supervisor or bot.
        side: whose attachment policy holds: agent or customer.
        config: the settings.
        backend: the chat behind it, shared with other sessions.
        plugins: what is loaded; `plugins.load` and `plugins.unload` change it.
    """

    def __init__(
        self, backend: Backend, *, identity: str, role: Role, side: Side, config: Config, profile: str
    ) -> None:
        self.backend = backend
        self.identity = identity
        self.role = role
        self.side = side
        self.config = config
        self.actions = ChatActions(profile)
        self._chat = Chat(backend, identity=identity, role=role, side=side, config=config, observer=self)
        self._chat.register(self.actions)
        self._waiting: set[asyncio.Future[Event]] = set()
        self.plugins = Plugins(
            session=self, actions=self.actions, settings=config.plugins, clock=backend.clock, ids=backend.ids
        )

    def __repr__(self) -> str:
        return f"<Session {self.role} on {self.backend.capabilities.scheme}>"

    # -- channels and members --

    async def create_channel(
        self, unique_name: str | None = None, *, channel_type: str = "web", members: Iterable[str] = ()
    ) -> Channel:
        """A new channel with this identity and `members` in it. Raises `channel_exists`."""
        self._chat.must_be_open()
        if not isinstance(members, Iterable):
            raise ActionError("invalid_payload", f"members is a list of identities, not {brief(members)}.")
        others = [valid_identity(m) for m in ([members] if isinstance(members, str) else members)]
        channel = await self.backend.create_channel(
            creator=self.identity, unique_name=unique_name, channel_type=channel_type
        )
        for identity in others:
            await self.backend.add_member(channel.sid, identity)
        return channel

    async def channel(self, channel: Channel | str) -> Channel:
        """The channel as it is now. Raises `unknown_channel`."""
        self._chat.must_be_open()
        return await self.backend.get_channel(_of(channel))

    async def channels(self) -> list[Channel]:
        """The channels of this identity, oldest first."""
        self._chat.must_be_open()
        return await self.backend.list_channels(member=self.identity)

    async def join(self, channel: Channel | str) -> Channel:
        """Become a member. Raises `unknown_channel`, `channel_closed`."""
        self._chat.must_be_open()
        await self.backend.add_member(_of(channel), self.identity)
        return await self.backend.get_channel(_of(channel))

    async def leave(self, channel: Channel | str) -> None:
        """Stop being a member; links given to this identity die. Raises `not_a_member`."""
        self._chat.must_be_open()
        await self.backend.remove_member(_of(channel), self.identity)

    async def add_member(self, channel: Channel | str, identity: str) -> Member:
        """Add another member. Raises `not_a_member` if this identity is none itself."""
        await self._own(channel)
        return await self.backend.add_member(_of(channel), valid_identity(identity))

    async def remove_member(self, channel: Channel | str, identity: str) -> None:
        """Remove a member; links given to them die. Raises `not_a_member`, `not_authorized` for a customer."""
        await self._own(channel)
        if self.side == "customer" and identity != self.identity:
            raise ActionError("not_authorized", "A customer cannot remove others from a channel.")
        await self.backend.remove_member(_of(channel), identity)

    async def members(self, channel: Channel | str) -> list[Member]:
        """The members in the order they joined. Raises `not_a_member`."""
        await self._readable(channel)
        return await self.backend.list_members(_of(channel))

    async def close_channel(self, channel: Channel | str) -> Channel:
        """Make a channel read-only, for ever. Raises `not_a_member`, `not_authorized` for a customer."""
        await self._own(channel)
        if self.side == "customer":
            raise ActionError("not_authorized", "A customer cannot close a channel.")
        return await self.backend.close_channel(_of(channel))

    # -- reading --

    async def messages(
        self, channel: Channel | str, *, after_index: int = -1, limit: int | None = None
    ) -> list[Message]:
        """Messages behind `after_index`, oldest first. Raises `not_a_member`; a supervisor may read without joining."""
        where = await self._readable(channel)
        found = await self.backend.list_messages(where.sid, after_index=after_index, limit=limit)
        return [self._chat.visible(m, where) for m in found]

    async def cursor(self, channel: Channel | str) -> str:
        """Where the feed stands now: `follow(channel, after=cursor)` begins with what comes next."""
        await self._readable(channel)
        return await self.backend.last_cursor(_of(channel))

    async def follow(self, channel: Channel | str, *, after: str | None = None) -> AsyncGenerator[Event, None]:
        """What happens in a channel, as it happens, also through other processes; ends only with an error or `break`.

        Args:
            channel: the channel.
            after: the `cursor` of the last event that was seen; by default from the oldest event kept.

        Raises:
            ActionError: `not_a_member`, also once this identity leaves; `backend_unavailable` after ten attempts to
                reconnect; `session_closed`.
        """
        where = await self._readable(channel)
        failures = 0
        while True:
            feed = self.backend.events(where.sid, after=after)
            try:
                async with contextlib.aclosing(self._until_closed(feed)) as events:
                    async for event in events:
                        failures, after = 0, event.cursor
                        self._chat.must_be_open()
                        yield self._visible(event, where)
                        if event.type == "member_removed" and event.identity == self.identity:
                            await self._readable(where.sid)
            except ActionError as error:
                failures += 1
                if not error.retryable or failures > _RECONNECTS:
                    raise
                await self.backend.clock.sleep(min(5.0, 0.1 * 2**failures))
            finally:
                await feed.aclose()

    async def _until_closed(self, feed: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
        """The events of a feed; `close` ends the wait for the next one."""
        while True:
            step = asyncio.ensure_future(_next(feed))
            self._waiting.add(step)
            try:
                event = await step
            except StopAsyncIteration:
                return
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or not task.cancelling():
                    self._chat.must_be_open()
                raise
            finally:
                self._waiting.discard(step)
            yield event

    def _visible(self, event: Event, channel: Channel) -> Event:
        if event.message is None:
            return event
        return attrs.evolve(event, message=self._chat.visible(event.message, channel))

    def input(self, channel: Channel | str) -> InputView:
        """The message input of a channel (the object or its sid). Raises `unknown_channel` for a unique name."""
        if isinstance(channel, str) and not channel.startswith("CH"):
            raise ActionError(
                "unknown_channel",
                f"An input is found by the channel's sid, not by {brief(channel)}.",
                hint="await session.channel(name) gives the channel.",
            )
        return self._chat.input(_of(channel))

    def notify(self, notification: Notification) -> None:
        """Show a notification to whoever watches this session."""
        self._chat.notify(notification)

    async def download(
        self,
        source: Message | Link | str,
        to: str | os.PathLike[str] | BinaryIO,
        *,
        channel: Channel | str | None = None,
    ) -> Path | None:
        """Download the file of a message, through `DownloadMedia` and its hooks; or what a link leads to.

        Args:
            source: a message or its sid (a fresh link is asked for, and once more if it expires meanwhile), or a link.
            to: a file, which appears whole or not at all; a folder, for a file of the message's name, which must not
                exist yet; or a binary file object.
            channel: the channel, if `source` is a sid and the backend cannot find it alone.

        Returns:
            The path written to, or None for a file object.

        Raises:
            ActionError: as `DownloadMedia`, also for a link; `not_authorized` if it was given to another identity;
                `link_expired`, `link_invalid`; `file_unwritable` (also a device or pipe as `to`); `media_corrupt` if
                the content does not match its hash (then nothing stays behind).
        """
        self._chat.must_be_open()

        async def renewed() -> Link:
            payload: dict[str, Any] = {"message": source}
            if channel is not None:
                payload["channelSid"] = _of(channel)
            link = await self.actions.invoke("DownloadMedia", payload)
            assert isinstance(link, Link)
            return link

        is_link = isinstance(source, Link) or (isinstance(source, str) and ":" in source)
        url = source.url if isinstance(source, Link) else source
        if is_link:
            # A link opens for whoever has it, over HTTP; in here what holds for DownloadMedia holds for it too.
            self._chat.may_download()
        download = Download(
            self.backend,
            renew=None if is_link else renewed,
            on_progress=self._download_progress,
            reader=self.identity,
            judge=self._chat.judge_reading,
        )
        return await download.run(url if is_link and isinstance(url, str) else None, to)

    def _download_progress(self, name: str, done: int, total: int) -> None:
        signals.download_progress.emit(self, name=name, done_bytes=done, total_bytes=total)

    async def _readable(self, channel: Channel | str) -> Channel:
        self._chat.must_be_open()
        return await self.backend.get_channel(_of(channel), member=None if self.role == "supervisor" else self.identity)

    async def _own(self, channel: Channel | str) -> Channel:
        self._chat.must_be_open()
        return await self.backend.get_channel(_of(channel), member=self.identity)

    async def close(self) -> None:
        """Unload the plugins and end the session; the chat behind it stays. A second time does nothing."""
        if not self._chat.closed:
            # The plugins first: one that says goodbye still needs its session.
            try:
                await self.plugins.close()
            finally:
                await self._chat.close()
                for step in self._waiting:
                    step.cancel()


@contextlib.asynccontextmanager
async def connect(
    url: str | Backend = DEFAULT_URL,
    *,
    identity: str,
    role: Role = "agent",
    side: Side | None = None,
    config: Mapping[str, Any] | Config | None = None,
    plugins: Iterable[str | Callable[[Plugin], Any]] = (),
    profile: str = "strict",
    clock: Clock = SYSTEM_CLOCK,
    ids: Ids = RANDOM_IDS,
) -> AsyncIterator[Session]:
    """Enter a chat: `async with connect("local:chat", identity="ada") as session:`.

    Args:
        url: `local:FOLDER` (kept on disk), `memory:` (this session alone), `memory:NAME` (this process), or a backend
            from `open_backend` that several sessions share. By default `local:.flex-actions`.
        identity: who this is, 1 to 256 characters.
        role: agent, customer, supervisor or bot.
        side: agent or customer; by default the role's own (agent for supervisors and bots).
        config: the settings in the seed's shape, see `config.read_config`.
        plugins: names of installed plugins, `FILE.py`, or setup functions, in order; if one fails, so does this.
        profile: `strict`, `flex1` or `flex2`, see `Actions`.
        clock: where the time comes from (ignored for an open backend, which has its own).
        ids: where identifiers come from (likewise).

    Raises:
        ActionError: `invalid_config`; `store_version`, `store_corrupt`, `store_readonly`; what a plugin raises.
    """
    valid_identity(identity)
    if role not in ROLES:
        raise ActionError("invalid_config", f"There is no role {brief(role)}.", hint=did_you_mean(role, ROLES))
    side = side or ("customer" if role == "customer" else "agent")
    if side not in _SIDES:
        raise ActionError("invalid_config", f"There is no side {brief(side)}.", hint=did_you_mean(side, _SIDES))
    if not isinstance(plugins, Iterable):
        raise ActionError("invalid_config", f"plugins is a list of names or functions, not {brief(plugins)}.")
    settings = read_config(config, side=side, profile=profile)
    async with contextlib.AsyncExitStack() as stack:
        backend = url if isinstance(url, Backend) else None
        if backend is None:
            if not isinstance(url, str):
                raise ActionError("invalid_config", f"A chat's URL must be text, not {type(url).__name__}.")
            backend = await stack.enter_async_context(open_backend(url, clock=clock, ids=ids))
        session = Session(backend, identity=identity, role=role, side=side, config=settings, profile=profile)
        stack.push_async_callback(session.close)
        for plugin in [plugins] if isinstance(plugins, str) else plugins:
            await session.plugins.load(plugin)
        session.plugins.check_settings()
        for warning in session.actions.seal():
            warnings.warn(warning, stacklevel=2)
        yield session


async def _next(feed: AsyncGenerator[Event, None]) -> Event:
    return await anext(feed)


def _of(channel: Channel | str) -> str:
    if isinstance(channel, Channel):
        return channel.sid
    if not isinstance(channel, str) or not channel:
        raise ActionError(
            "invalid_payload", f"A channel is given as the object, its sid or its name, not {brief(channel)}."
        )
    return channel


def valid_identity(identity: str) -> str:
    """An identity that can be one. Raises `invalid_config`."""
    printable = isinstance(identity, str) and not any(unicodedata.category(c) in ("Cc", "Cs") for c in identity)
    if not printable or not identity.strip() or len(identity) > 256:
        raise ActionError(
            "invalid_config", f"An identity is a text of 1 to 256 printable characters, not {brief(identity)}."
        )
    return identity
