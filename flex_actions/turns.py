"""Turns: the sends of one session in one channel go one after another, in the order they were called.

A send takes its ticket when it is invoked, before its hooks run, so that a slow hook of the first cannot let the
second overtake it. A send begun inside another's hooks goes before that one, which waits for it.
"""

import asyncio
import contextlib
from contextvars import ContextVar
from types import TracebackType
from typing import Self

from .errors import ActionError
from .message_input import EMPTY, InputState


class Slot:
    """The message input of one channel and the sends that wait for it."""

    def __init__(self, slots: "dict[str, Slot]", sid: str) -> None:
        self._slots = slots
        self.sid = sid
        self.state: InputState = EMPTY
        self.queue: list[Ticket] = []
        self.held_up = 0  # how many sends wait that were begun inside one of this queue

    @classmethod
    def of(cls, slots: "dict[str, Slot]", sid: str) -> "Slot":
        """The slot of a channel, made if there is none."""
        slot = slots.get(sid)
        if slot is None:
            slot = slots[sid] = cls(slots, sid)
        return slot

    def sweep(self) -> None:
        """Forget it if it is empty and nobody waits: a million channels must cost nothing."""
        if self.state is EMPTY and not self.queue and self._slots.get(self.sid) is self:
            del self._slots[self.sid]


class Ticket:
    """A send's place in the queue of a slot."""

    def __init__(self, slot: Slot, ancestors: "list[Ticket]") -> None:
        self.slot = slot
        self.sending = False
        self.within = [t for t in ancestors if t in t.slot.queue]
        self._ancestors = [t for t in self.within if t.slot is slot]
        self._turn: asyncio.Future[None] | None = None
        self.inner: set[Ticket] = set()  # the sends begun inside this one that wait now
        if self._ancestors:
            slot.queue.insert(slot.queue.index(self._ancestors[0]), self)
        else:
            slot.queue.append(self)

    async def wait(self) -> None:
        """Wait until all earlier sends have ended.

        Raises:
            ActionError: `input_busy`: this send was begun by one that is sending, so waiting would never end.
        """
        if any(t.sending for t in self._ancestors):
            raise ActionError(
                "input_busy",
                "The message input is sending.",
                hint="This send was begun inside the one that is under way; use an after hook.",
            )
        while self.slot.queue[0] is not self:
            self._refuse_circle()
            self._hold_up(1)
            self._turn = asyncio.get_running_loop().create_future()
            try:
                await self._turn
            finally:
                self._hold_up(-1)
        self.sending = True

    def _refuse_circle(self) -> None:
        """Raise if this send would wait for one that waits, through sends of its own, for this one."""
        if not self.slot.held_up:
            return
        seen: set[Ticket] = set()
        ahead = self._ahead()
        while ahead:
            ticket = ahead.pop()
            if ticket is self or ticket in self.within:
                raise ActionError(
                    "input_busy",
                    "The message input is sending, and that send waits for this one.",
                    hint="Hooks of sends in two channels send into each other's, or begin to; use an after hook.",
                )
            if ticket not in seen:
                seen.add(ticket)
                ahead += [t for inner in ticket.inner for t in inner._ahead()]

    def _hold_up(self, change: int) -> None:
        for outer in self.within:
            outer.slot.held_up += change
            (outer.inner.add if change > 0 else outer.inner.discard)(self)

    def _ahead(self) -> "list[Ticket]":
        queue = self.slot.queue
        return queue[: queue.index(self)] if self in queue else []

    def release(self) -> None:
        """Leave the queue; the next one's turn comes. A second time nothing happens."""
        queue = self.slot.queue
        if self not in queue:
            return
        queue.remove(self)
        self.sending = False
        if queue and (turn := queue[0]._turn) is not None and not turn.done():
            turn.set_result(None)
        self.slot.sweep()


class Turn:
    """The extent of one invoked send: `with Turn() as turn`, `turn.take(slot)` inside, released at the end."""

    def __init__(self) -> None:
        self.ticket: Ticket | None = None
        self._ended = False
        outer = _turn.get()
        # One that has ended says nothing any more, and would keep all before it alive where each begins the next.
        self._outer = None if outer is None or outer._ended else outer

    def take(self, slot: Slot) -> Ticket:
        """Queue up; a place taken before is kept if it is in this slot and still held, and given up otherwise."""
        if self.ticket is not None:
            if self.ticket.slot is slot and self.ticket in slot.queue:
                return self.ticket
            self.ticket.release()
        ancestors, outer = [], self._outer
        while outer is not None:
            if outer.ticket is not None:
                ancestors.append(outer.ticket)
            outer = outer._outer
        self.ticket = Ticket(slot, ancestors)
        return self.ticket

    def __enter__(self) -> Self:
        self._token = _turn.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended, self._outer = True, None
        if self.ticket is not None:
            self.ticket.release()
        # Closed from elsewhere, as at the end of a loop: that context is not this one.
        with contextlib.suppress(ValueError):
            _turn.reset(self._token)


_turn: ContextVar[Turn | None] = ContextVar("flex_actions_turn", default=None)


def current_turn() -> Turn | None:
    """The turn of the send that the calling code runs in, or None."""
    return _turn.get()
