"""`messages`, `follow`, `download`: what is in a chat."""

import asyncio
import contextlib
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from typing import BinaryIO

import click

from ..errors import ActionError
from .app import command, main
from .options import Options, Seconds, must_be_someone
from .progress import progress_shown
from .render import event_line, jsonable, message_line, put, put_json, shown
from .sessions import find_channel, session_of


@command(main, "messages")
@click.argument("given", metavar="CHANNEL")
@click.option("--after", "after_index", type=click.IntRange(-1), default=-1, metavar="INDEX", help="Only later ones.")
@click.option("--limit", type=click.IntRange(0), help="At most so many.")
async def messages(options: Options, given: str, after_index: int, limit: int | None) -> None:
    """Print the messages of a channel, oldest first."""
    async with session_of(options, must_be_someone(options)) as session:
        found = await find_channel(session, given)
        for message in await session.messages(found, after_index=after_index, limit=limit):
            if options.as_json:
                put_json(message)
            else:
                put(message_line(message))


@command(main, "follow")
@click.argument("given", metavar="CHANNEL")
@click.option("--after", metavar="CURSOR", help="Only what comes behind this event.  [default: the oldest kept]")
@click.option("--new", "only_new", is_flag=True, help="Only what comes from now on.")
@click.option("--limit", type=click.IntRange(1), help="End after so many events.")
@click.option("--timeout", "timeout_s", type=Seconds(), help="End after so many seconds.")
async def follow(  # noqa: PLR0917 - click gives them all by name
    options: Options, given: str, after: str | None, only_new: bool, limit: int | None, timeout_s: float | None
) -> None:
    """Print what happens in a channel, as it happens.

    Also what other processes do. With --json each event has a cursor, with which a later
    `follow --after CURSOR` goes on.
    """
    if after is not None and only_new:
        raise click.UsageError("--after and --new exclude each other.", click.get_current_context())
    async with session_of(options, must_be_someone(options)) as session:
        found = await find_channel(session, given)
        if only_new:
            after = await session.cursor(found)
        left = limit
        with contextlib.suppress(_TimeIsUp), _ends_with_its_reader():
            async with _at_most(timeout_s), contextlib.aclosing(session.follow(found, after=after)) as feed:
                async for event in feed:
                    if options.as_json:
                        put_json(event)
                    else:
                        put(event_line(event))
                    left = None if left is None else left - 1
                    if left == 0:
                        break


@command(main, "download")
@click.argument("message", metavar="MESSAGE")
@click.option(
    "-o", "--output", "to", default=".", metavar="FILE|FOLDER|-", help="Where to; - is stdout.  [default: this folder]"
)
@click.option("--channel", "given", metavar="CHANNEL", help="The message's channel; rarely needed.")
async def download(options: Options, message: str, to: str, given: str | None) -> None:
    """Download the file of a MESSAGE, or of a link.

    MESSAGE is a sid (IM…) or a link (flex-media:…, https://…). Printed is where the file lies now. In a FOLDER it gets
    the name it was sent under, and overwrites nothing.
    """
    if to == "-" and options.as_json:
        raise click.UsageError("-o - and --json both want stdout.", click.get_current_context())
    if to.endswith(("/", os.sep)) and not os.path.isdir(to):  # noqa: ASYNC240 - nothing else runs yet
        raise ActionError("file_unwritable", f"There is no folder {to!a}.")
    async with session_of(options, must_be_someone(options)) as session:
        with progress_shown(session):
            channel = await find_channel(session, given) if given else None
            target: str | BinaryIO = sys.stdout.buffer if to == "-" else to
            path = await session.download(message, target, channel=channel)
    if path is None:
        sys.stdout.buffer.flush()
    elif options.as_json:
        put_json({"path": jsonable(path)})
    else:
        put(shown(path))


class _TimeIsUp(Exception):
    """The command's own time limit, told apart from every other one."""


@contextlib.asynccontextmanager
async def _at_most(seconds: float | None) -> AsyncIterator[None]:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise _TimeIsUp from None
        raise


@contextlib.contextmanager
def _ends_with_its_reader() -> Iterator[None]:
    """Stop waiting once the pipe that stdout is has no reader: nothing would be written to notice it by."""
    loop, task, gone = asyncio.get_running_loop(), asyncio.current_task(), False
    assert task is not None

    def cut() -> None:
        nonlocal gone
        gone = True
        loop.remove_reader(descriptor)
        task.cancel()

    descriptor = _pipe_of_stdout()
    if descriptor >= 0:
        # The write end of a pipe is never readable; what wakes this is the error that no reader is left.
        loop.add_reader(descriptor, cut)
    try:
        yield
    except asyncio.CancelledError:
        if gone:
            task.uncancel()
            raise BrokenPipeError from None
        raise
    finally:
        if descriptor >= 0:
            loop.remove_reader(descriptor)


def _pipe_of_stdout() -> int:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or not a file
        descriptor = sys.stdout.fileno()
        if sys.platform == "linux" and stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            return descriptor
    return -1
