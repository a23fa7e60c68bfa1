"""uvicorn's HTTP protocol with what it leaves open: heads that never end, readers that do not read, cut streams."""

import asyncio
import json
from typing import Any, Final

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from .app import StreamBroken
from .headers import SAFETY
from .limits import Limits

_MAX_PIPELINE: Final = 16


def protocol_class(limits: Limits) -> type["GuardedProtocol"]:
    """The protocol with these limits: uvicorn wants a class."""
    return type("LimitedProtocol", (GuardedProtocol,), {"limits": limits})


class GuardedProtocol(HttpToolsProtocol):
    """One connection.

    Attributes:
        limits: what its client may take.
    """

    limits = Limits()

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._inner: ASGIApp = self.app
        self.app = self._cut_if_broken
        self._head_bytes = 0
        self._in_head = True
        self._running: RequestResponseCycle | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None

    # Ends of all kinds

    async def _cut_if_broken(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._inner(scope, receive, send)
        except (StreamBroken, asyncio.CancelledError) as error:
            # A plain close would first wait for the reader to take what is buffered.
            self.transport.abort()
            if isinstance(error, asyncio.CancelledError):
                raise
            while (await receive())["type"] != "http.disconnect":
                pass

    def _turn_away(self, status: str, code: str, message: str, *more: str) -> None:
        body = json.dumps({"code": code, "message": message})
        head = {**SAFETY, "content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in head.items()), *more, "", body]
        self.transport.write("\r\n".join(lines).encode())
        self.transport.close()

    # Connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room for one more."""
        super().connection_made(transport)
        # Whatever waits for its reader then counts as paused, and is watched.
        transport.set_write_buffer_limits(high=0)
        if len(self.connections) > self.limits.connections:
            self._turn_away("503 Service Unavailable", "overloaded", "Too many connections.", "retry-after: 1")
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        # With requests behind it, uvicorn tells only the last of them.
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    # Heads

    def _await_head(self) -> None:
        self._in_head, self._head_bytes = True, 0
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.limits.head_s, self.transport.abort)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._in_head = False
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if len(self.pipeline) >= _MAX_PIPELINE:
            self.transport.abort()
        else:
            super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def data_received(self, data: bytes) -> None:
        """Read on, unless a head grows too long or is none."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        idle = self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None
        if idle and not self._in_head:
            # Empty lines between requests begin nothing, but have stopped uvicorn's own timer.
            self._await_head()
        # What came in one piece is judged by the app, which can say more.
        if self._in_head and self._head_bytes > self.limits.url_bytes + self.limits.head_bytes:
            self._refuse_head("431 Request Header Fields Too Large", "headers_too_large", "The headers are too large.")

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse_head("400 Bad Request", "bad_request", "This is no HTTP request.")

    def _refuse_head(self, status: str, code: str, message: str) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # In the middle of another answer there is no place for this one.
            self.transport.abort()
            return
        self._turn_away(status, code, message)

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: an upgrade is answered like any request."""

    # Readers

    def pause_writing(self) -> None:
        """Something waits for the reader: watch that it is taken."""
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Nothing waits any more."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def _watch(self, waiting: int) -> None:
        self._stall_timer = self.loop.call_later(self.limits.stall_s, self._look_again, waiting)

    def _look_again(self, before: int) -> None:
        waiting = self.transport.get_write_buffer_size()
        if waiting > before - self.limits.stall_bytes:
            self.transport.abort()
        else:
            self._watch(waiting)

    def drop(self) -> None:
        """Cut the connection."""
        self.transport.abort()
