"""`connect_sync`: a session for scripts without asyncio, run on a loop of its own in the background."""

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, Literal, TypeVar, overload

from .attachments import InputView
from .errors import ActionError
from .ports import Backend, Channel, Event, Link, Member, Message
from .session import DEFAULT_URL, Session, connect

if TYPE_CHECKING:
    from .outbox import Sent
    from .payloads import (
        DownloadMediaPayload,
        FileKeys,
        MessageKeys,
        SendMediaMessagePayload,
        SendMessagePayload,
        TextKeys,
    )

T = TypeVar("T")


class SyncSession:
    """A `Session` whose calls wait for their result. Hooks run on the background loop's thread.

    Attributes:
        session: the session itself; register hooks with `session.actions`.
    """

    def __init__(self, session: Session, loop: asyncio.AbstractEventLoop) -> None:
        self.session = session
        self._loop = loop

    @overload
    def invoke(
        self,
        name: Literal["SendMediaMessage"],
        payload: "SendMediaMessagePayload | FileKeys",
        *,
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> "Sent": ...
    @overload
    def invoke(
        self,
        name: Literal["SendMessage"],
        payload: "SendMessagePayload | TextKeys",
        *,
        key: str | None = None,
        timeout_s: float | None = None,
    ) -> "Sent": ...
    @overload
    def invoke(
        self,
        name: Literal["DownloadMedia"],
        payload: "DownloadMediaPayload | MessageKeys",
        *,
        key: None = None,
        timeout_s: float | None = None,
    ) -> Link: ...
    @overload
    def invoke(
        self, name: str, payload: Any = None, *, key: str | None = None, timeout_s: float | None = None
    ) -> Any: ...
    def invoke(self, name: str, payload: Any = None, *, key: str | None = None, timeout_s: float | None = None) -> Any:
        """Invoke an action; see `Actions.invoke`."""
        return self._run(self.session.actions.invoke(name, payload, key=key, timeout_s=timeout_s))

    def create_channel(
        self, unique_name: str | None = None, *, channel_type: str = "web", members: Iterable[str] = ()
    ) -> Channel:
        """See `Session.create_channel`."""
        return self._run(self.session.create_channel(unique_name, channel_type=channel_type, members=members))

    def channel(self, channel: Channel | str) -> Channel:
        """See `Session.channel`."""
        return self._run(self.session.channel(channel))

    def channels(self) -> list[Channel]:
        """See `Session.channels`."""
        return self._run(self.session.channels())

    def join(self, channel: Channel | str) -> Channel:
        """See `Session.join`."""
        return self._run(self.session.join(channel))

    def leave(self, channel: Channel | str) -> None:
        """See `Session.leave`."""
        self._run(self.session.leave(channel))

    def add_member(self, channel: Channel | str, identity: str) -> Member:
        """See `Session.add_member`."""
        return self._run(self.session.add_member(channel, identity))

    def remove_member(self, channel: Channel | str, identity: str) -> None:
        """See `Session.remove_member`."""
        self._run(self.session.remove_member(channel, identity))

    def members(self, channel: Channel | str) -> list[Member]:
        """See `Session.members`."""
        return self._run(self.session.members(channel))

    def close_channel(self, channel: Channel | str) -> Channel:
        """See `Session.close_channel`."""
        return self._run(self.session.close_channel(channel))

    def messages(self, channel: Channel | str, *, after_index: int = -1, limit: int | None = None) -> list[Message]:
        """See `Session.messages`."""
        return self._run(self.session.messages(channel, after_index=after_index, limit=limit))

    def cursor(self, channel: Channel | str) -> str:
        """See `Session.cursor`."""
        return self._run(self.session.cursor(channel))

    def follow(self, channel: Channel | str, *, after: str | None = None) -> Iterator[Event]:
        """See `Session.follow`; `break` ends it."""
        feed = self.session.follow(channel, after=after)
        try:
            while True:
                try:
                    yield self._run(_next(feed))
                except StopAsyncIteration:
                    return
        finally:
            # Left lying until the session had ended: the feed ended with it.
            with contextlib.suppress(ActionError):
                self._run(feed.aclose())

    def input(self, channel: Channel | str) -> InputView:
        """See `Session.input`."""
        return self.session.input(channel)

    def download(
        self,
        source: Message | Link | str,
        to: str | os.PathLike[str] | BinaryIO,
        *,
        channel: Channel | str | None = None,
    ) -> Path | None:
        """See `Session.download`."""
        return self._run(self.session.download(source, to, channel=channel))

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if threading.current_thread() is getattr(self._loop, "_flex_actions_thread", None):
            coroutine.close()
            raise _inside_loop(
                "A synchronous call inside a hook would wait for itself.", "Await session.actions there."
            )
        if not self._loop.is_running():
            coroutine.close()
            raise ActionError("session_closed", "This session is closed.")
        call = _Call(coroutine, self._loop)
        try:
            # Begun in here only: Ctrl-C may come as soon as it has.
            return call.run()
        except BaseException:
            # Ctrl-C in the calling thread: the work in the background ends as well, before control returns.
            call.cancel(self.session.backend.capabilities.commit_limit_s)
            raise


class _Call(Generic[T]):
    """A coroutine on the background loop. Its result comes when its task has ended, cancelled or not.

    The future of `run_coroutine_threadsafe` is done as soon as it is cancelled, while the task still runs.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop) -> None:
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[T] | None = None
        self._ended: concurrent.futures.Future[T] = concurrent.futures.Future()

    def run(self) -> T:
        """Begin it, and wait for its result."""
        self._loop.call_soon_threadsafe(self._begin)
        return self._ended.result()

    def cancel(self, limit_s: float) -> None:
        """Cancel, and wait so long for the end; nothing happens if it has ended."""
        if self._ended.done():
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            self._loop.call_soon_threadsafe(self._cancel)
        with contextlib.suppress(Exception, asyncio.CancelledError):
            self._ended.result(limit_s)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._end)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:
            # Interrupted before it was handed over.
            self._coroutine.close()
            self._ended.cancel()

    def _end(self, task: "asyncio.Task[T]") -> None:
        if task.cancelled():
            self._ended.cancel()
        elif (error := task.exception()) is not None:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(task.result())


async def _next(feed: Any) -> Event:
    event: Event = await anext(feed)
    return event


@contextlib.contextmanager
def connect_sync(url: str | Backend = DEFAULT_URL, **options: Any) -> Iterator[SyncSession]:
    """Enter a chat without asyncio: `with connect_sync("local:chat", identity="ada") as session:`.

    Takes what `connect` takes, except an open backend, which belongs to a loop.

    Raises:
        ActionError: `inside_event_loop` inside a running loop: use `connect` there; and what `connect` raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise _inside_loop("connect_sync() was called inside a running event loop.", "Use: async with connect(…).")
    if not isinstance(url, str):
        raise ActionError("invalid_config", "connect_sync() takes a URL; an open backend belongs to an event loop.")
    opened = connect(url, **options)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=_serve, args=(loop,), name="flex_actions", daemon=True)
    loop._flex_actions_thread = thread  # type: ignore[attr-defined]
    thread.start()
    try:
        session = _wait(loop, opened.__aenter__)
        try:
            yield SyncSession(session, loop)
        finally:
            _wait(loop, lambda: opened.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _wait(loop: asyncio.AbstractEventLoop, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
    future: concurrent.futures.Future[T] = asyncio.run_coroutine_threadsafe(begin(), loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def _inside_loop(message: str, hint: str) -> ActionError:
    return ActionError("inside_event_loop", message, hint=hint)
