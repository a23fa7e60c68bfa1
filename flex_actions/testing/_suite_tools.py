"""What the checks of the backend suite are made of."""

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

from ..clock import Clock, CountingIds, Ids, ManualClock
from ..errors import ActionError
from ..files import File
from ..ports import Backend, Draft, Event, EventType, Key, Media, Message

LIMIT_S: Final = 30.0


class BackendFactory(Protocol):
    """Gives a fresh, empty, opened backend each time; closes it at the end of the `async with`."""

    def __call__(self, *, clock: Clock, ids: Ids) -> AbstractAsyncContextManager[Backend]:
        """The backend, which takes its times and identifiers from these."""


class SecondView(Protocol):
    """Opens another backend on the store of one that is open, as another process would."""

    def __call__(self, backend: Backend, *, clock: Clock, ids: Ids) -> AbstractAsyncContextManager[Backend]:
        """The other backend, which takes its times and identifiers from these."""


Check = Callable[[BackendFactory], Awaitable[None]]
SharedCheck = Callable[[BackendFactory, SecondView], Awaitable[None]]
CHECKS: Final[dict[str, Check]] = {}
SHARED_CHECKS: Final[dict[str, SharedCheck]] = {}


def check(body: Callable[[Backend, ManualClock], Awaitable[None]]) -> Check:
    """Make a check of a function that gets a fresh backend and its clock; its docstring is the rule."""

    async def run(factory: BackendFactory) -> None:
        async with _named(run), _fresh(factory) as (backend, clock):
            await body(backend, clock)

    functools.update_wrapper(run, body, updated=())
    CHECKS[body.__name__] = run
    return run


def shared_check(body: Callable[[Backend, Backend, ManualClock], Awaitable[None]]) -> SharedCheck:
    """Make a check of a function that gets two backends on one store and their clock."""

    async def run(factory: BackendFactory, second: SecondView) -> None:
        async with (
            _named(run),
            _fresh(factory) as (backend, clock),
            # Other identifiers than the first one's, as two processes have.
            second(backend, clock=clock, ids=_HighIds()) as other,
        ):
            await body(backend, other, clock)

    functools.update_wrapper(run, body, updated=())
    SHARED_CHECKS[body.__name__] = run
    return run


class _HighIds(CountingIds):
    def sid(self, prefix: str) -> str:
        return prefix + "f" + super().sid("")[1:]


@contextlib.asynccontextmanager
async def _fresh(factory: BackendFactory) -> AsyncIterator[tuple[Backend, ManualClock]]:
    clock = ManualClock()
    async with factory(clock=clock, ids=CountingIds()) as backend:
        yield backend, clock


@contextlib.asynccontextmanager
async def _named(run: Callable[..., object]) -> AsyncIterator[None]:
    rule = (run.__doc__ or "").strip()
    try:
        async with asyncio.timeout(LIMIT_S):
            yield
    except TimeoutError as error:
        raise AssertionError(f"{run.__name__}: not done after {LIMIT_S} s. Rule: {rule}") from error
    except Exception as error:
        raise AssertionError(f"{run.__name__}: {error} Rule: {rule}") from error


def expect(found: object, wanted: object, what: str) -> None:
    """Fail unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{what}: expected {wanted!r}, found {found!r}.")


def expect_true(condition: bool, what: str) -> None:
    """Fail unless it holds."""
    if not condition:
        raise AssertionError(f"{what}.")


@contextlib.asynccontextmanager
async def refused(*codes: str) -> AsyncIterator[None]:
    """Fail unless what is inside raises `ActionError` with one of these codes."""
    try:
        yield
    except ActionError as error:
        if error.code not in codes:
            raise AssertionError(f"expected {' or '.join(codes)}, found {error.code} ({error}).") from error
    else:
        raise AssertionError(f"expected {' or '.join(codes)}, but nothing was refused.")


async def first(iterator: AsyncIterator[object]) -> None:
    """Take one step; a step that ends the iterator fails."""
    try:
        await anext(iterator)
    except StopAsyncIteration as error:
        raise AssertionError("the iterator ended instead.") from error


async def chat(backend: Backend, *others: str, creator: str = "ada") -> str:
    """A channel of `ada` and others; its sid."""
    channel = await backend.create_channel(creator=creator)
    for other in others:
        await backend.add_member(channel.sid, other)
    return channel.sid


async def say(backend: Backend, channel: str, body: str, *, author: str = "ada", key: Key | None = None) -> Message:
    """Post a text."""
    return (await backend.post(channel, Draft(author, body=body), key=key)).message


async def upload(
    backend: Backend, channel: str, data: bytes = b"hello", *, author: str = "ada", name: str = "a.txt"
) -> Media:
    """Upload bytes."""
    return await backend.upload(channel, File.from_bytes(data, name=name), author=author)


async def send(
    backend: Backend, channel: str, data: bytes = b"hello", *, author: str = "ada", name: str = "a.txt"
) -> Message:
    """Upload and post bytes."""
    media = await upload(backend, channel, data, author=author, name=name)
    return (await backend.post(channel, Draft(author, media=media))).message


def media_of(message: Message) -> Media:
    """The file of a message that has one."""
    if message.media is None:
        raise AssertionError("the message carries no file.")
    return message.media


async def read(chunks: AsyncIterator[bytes]) -> bytes:
    """All of it."""
    return b"".join([chunk async for chunk in chunks])


async def history(backend: Backend, channel: str, *, after: str | None = None) -> list[Event]:
    """The events up to the newest; without waiting for any."""
    newest = await backend.last_cursor(channel)
    found: list[Event] = []
    if after == newest:
        return found
    async for event in backend.events(channel, after=after):
        found.append(event)
        if event.cursor == newest:
            break
    return found


async def wait_for(events: AsyncIterator[Event], kind: EventType) -> Event:
    """The next event of a type."""
    async for event in events:
        if event.type == kind:
            return event
    raise AssertionError(f"the events ended before a {kind}.")


def stream(pieces: list[bytes], *, size_bytes: int | None = None, name: str = "s.bin") -> File:
    """A file from a stream of these pieces, of a declared size that may be a lie."""

    async def produce() -> AsyncIterator[bytes]:
        for piece in pieces:
            await asyncio.sleep(0)
            yield piece

    size = sum(map(len, pieces)) if size_bytes is None else size_bytes
    return File.from_stream(produce, name=name, size_bytes=size)
