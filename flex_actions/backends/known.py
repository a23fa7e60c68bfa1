"""Which members have been found, remembered for as long as nobody can have changed that.

A look at SQLite lets other threads in several times, and the loop waits each time: a send spent a quarter of its time
there. Whether anything was committed is known without a look: SQLite counts all commits, of every process, in memory
that they share (the header of the WAL index, `-shm`). Where there is none, nothing is remembered.
"""

import contextlib
import mmap
import struct
from typing import Final

import attrs

from ..ports import Channel

_LIMIT: Final = 10_000
_FORMAT: Final = 3007000
_HEADER: Final = struct.Struct("=I4xI")  # format, unused, number of commits


@attrs.frozen(eq=False)
class _State:
    """What is known while the number of commits lies between these two."""

    low: int
    high: int
    found: dict[tuple[str, str], tuple[int, Channel]]


class Known:
    """Channels by channel and member. `get` and `put` belong to the event loop, the rest to the writer.

    States are replaced, never changed but for additions, so that a late one goes into a state that nobody reads.
    """

    def __init__(self) -> None:
        self._map: mmap.mmap | None = None
        self._state = _State(-1, -1, {})

    def open(self, database: str) -> None:
        """Begin to watch a database that is open in WAL mode."""
        with contextlib.suppress(OSError, ValueError), open(f"{database}-shm", "rb") as shared:
            mapped = mmap.mmap(shared.fileno(), 4096, access=mmap.ACCESS_READ)
            if _HEADER.unpack_from(mapped)[0] == _FORMAT:
                self._map = mapped
            else:
                mapped.close()

    def close(self) -> None:
        """Let go."""
        mapped, self._map = self._map, None
        if mapped is not None:
            mapped.close()

    def state(self) -> _State | None:
        """What is known now: take it before a look, and put what was found into the same."""
        if self._map is None:
            return None
        count: int = _HEADER.unpack_from(self._map)[1]
        state = self._state
        if not state.low <= count <= state.high or len(state.found) >= _LIMIT:
            state = self._state = _State(count, count, {})
        return state

    def committing(self) -> int:
        """Call it inside a transaction, when nobody else can commit; the number of commits so far."""
        if self._map is None:
            return 0
        count: int = _HEADER.unpack_from(self._map)[1]
        state = self._state
        found = state.found if state.low <= count <= state.high else {}
        self._state = _State(count, count + 1, found)
        return count

    def committed(self, count: int, *, keep: bool) -> None:
        """Call it behind the transaction, with the number of commits as it must be if nobody else has committed."""
        self._state = _State(count, count, self._state.found if keep else {})
