"""Lines of a script as they arrive, without waiting for more than one and without holding more than one."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from typing import Any, BinaryIO, Final, TypeVar

T = TypeVar("T")

MAX_LINE_BYTES: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024


async def lines_of(stream: BinaryIO) -> AsyncGenerator[tuple[int, bytes | None], None]:
    """Pairs of line number and line; None for one of more than 1 MiB, as soon as that is known."""
    number, skipping, held = 0, False, bytearray()
    while chunk := await _chunk(stream):
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            piece, start = chunk[start:end], end + 1
            if not skipping:
                number += 1
                yield number, bytes(held) + piece if len(held) + len(piece) <= MAX_LINE_BYTES else None
            skipping = False
            held.clear()
        held += chunk[start:]
        if skipping:
            held.clear()
        elif len(held) > MAX_LINE_BYTES:
            number, skipping = number + 1, True
            held.clear()
            yield number, None
    if held:
        yield number + 1, bytes(held)


async def _chunk(stream: BinaryIO) -> bytes:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # not a real file: it has everything already
        return stream.read(_CHUNK_BYTES)
    return await _apart(os.read, descriptor, _CHUNK_BYTES)


async def _apart(function: Callable[..., T], *arguments: Any) -> T:
    """Call in a thread that nobody waits for at the end: a read of a terminal may never return."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)

    def work() -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = function(*arguments)
        except BaseException as caught:
            error = caught
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="flex_actions-lines", daemon=True).start()
    return await future
