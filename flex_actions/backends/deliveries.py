"""Sends of files: a message for a file that is kept already, or kept by a worker that hands the message on by itself.

With the latter nothing comes back to the event loop in between, which has the most to do when many send at once.
"""

import asyncio
from collections.abc import Callable

from ..ports import Posted
from .store import Store
from .waiting import closed
from .writer import Write, Writer

Post = Callable[[Store], Posted]


class Delivery(Write[Posted]):
    """The message of a file that is kept; `drop` removes the file, in the writer's thread, if no new message has it."""

    __slots__ = ("_drop",)

    def __init__(self, post: Post, drop: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(post, loop, after=self._posted, failed=drop)
        self._drop = drop

    def _posted(self, posted: Posted) -> None:
        if posted.repeated:
            self._drop()


class WorkersDelivery(Delivery):
    """The same with the file still to be kept: for `Workers.take`, which passes it on to the writer.

    Args:
        keep: keeps the file; how to add its message then, or None if it was told to stop and left nothing.
        drop: as above.
        writer: what adds the message.
        loop: where it is awaited.
    """

    __slots__ = ("_keep", "_writer")

    def __init__(
        self,
        keep: Callable[[], Post | None],
        drop: Callable[[], object],
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(_nothing, drop, loop)
        self._keep: Callable[[], Post | None] | None = keep
        self._writer = writer

    def run(self) -> bool:
        """Keep the file and hand the message on; in the writer's thread, what follows it. Whether that is the end."""
        keep, self._keep = self._keep, None
        if keep is None:
            return super().run()
        try:
            post = keep()
        except Exception as error:
            self.error = error
            return True
        if post is None:
            self.error = closed()
            return True
        self._write = post
        self._writer.put(self)
        return False


def _nothing(store: Store) -> Posted:
    raise closed()
