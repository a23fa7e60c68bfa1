"""A server process: where it listens, what it tells the store, how it ends."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, cast

import attrs
import uvicorn

from ..backends.addresses import checked_public_url, is_loopback
from ..errors import ActionError
from ..ports import Addressable, Backend
from .app import media_app
from .limits import Limits
from .protocol import GuardedProtocol, protocol_class

LEASE_S: Final = 30.0
_RENEW_S: Final = LEASE_S / 3
_Found = tuple[socket.AddressFamily, tuple[Any, ...]]


@attrs.frozen
class Serving:
    """A server that has begun.

    Attributes:
        address: where it listens, as `http://host:port`.
        links_begin: what links of the chat begin with from now on, or None if it gives `flex-media:` links still.
        is_public: whether that is a public URL, which outlives the server.
        end: ends the server; from any thread, any number of times.
    """

    address: str
    links_begin: str | None
    is_public: bool
    end: Callable[[], None]


async def serve(
    backend: Backend,
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    public_url: str | None = None,
    insecure: bool = False,
    register: bool = True,
    limits: Limits | None = None,
    access_log: bool = True,
    ready: Callable[[Serving], None] = lambda serving: None,
) -> None:
    """Serve a chat's links until SIGINT, SIGTERM or `Serving.end`.

    Args:
        backend: an open one.
        host: the address to listen at; other machines can reach it only if there is a public URL.
        port: the port; 0 for any that is free.
        public_url: what links begin with for others, saved in the store for all its processes; by default what is
            configured or was saved before.
        insecure: take a public URL of `http://`.
        register: without a public URL, have links lead to this server while it runs.
        limits: what a client may take.
        access_log: log each request.
        ready: called once requests are answered.

    Raises:
        ActionError: `invalid_config`: a wrong address or URL, a port in use, a host that needs a public URL, a backend
            whose links are not ours to serve. What the store raises if it cannot be written.
    """
    if not isinstance(backend, Addressable):
        raise ActionError(
            "invalid_config", f"The links of a {backend.capabilities.scheme}: chat are not served by flex-actions."
        )
    if public_url is None:
        public, insecure = await backend.public_url(), True  # whoever configured or saved it has decided that
    else:
        public = checked_public_url(public_url, insecure=insecure)
    found = await asyncio.to_thread(_resolve, host, port)
    if public is None and not is_loopback(str(found[1][0])):
        raise ActionError(
            "invalid_config",
            f"Other machines can reach {host}, so links must say under which address they do.",
            hint="Give --public-url https://… (the address of a proxy with TLS in front), or listen at 127.0.0.1.",
        )
    limits = limits or Limits()
    with contextlib.closing(_listen(found, host, port)) as listening:
        server = _Server(_config(backend, limits, access_log))
        address = _address_of(listening)
        # The signals first: whoever is told that it is ready may end it at once.
        with server.signals():
            async with contextlib.AsyncExitStack() as stack:
                if public is not None:
                    await backend.save_public_url(public, insecure=insecure)
                elif register:
                    await stack.enter_async_context(_leased(backend, address))
                ready(Serving(address, public or (address if register else None), public is not None, server.end))
                try:
                    await server.serve(sockets=[listening])
                finally:
                    await server.cut()


def _resolve(host: str, port: int) -> _Found:
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (OSError, UnicodeError) as error:
        raise ActionError("invalid_config", f"There is no address {host[:80]!a} to listen at.") from error
    return family, where


def _listen(found: _Found, host: str, port: int) -> socket.socket:
    # Its protocol is named: only then asyncio turns off Nagle's algorithm, which costs each answer 40 ms.
    listening = socket.socket(found[0], socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would let others take the port over
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(found[1])
        # From here on nobody is refused, only kept waiting for a moment.
        listening.listen(1024)
    except OSError as error:
        listening.close()
        reason = error.strerror or type(error).__name__
        raise ActionError(
            "invalid_config", f"Cannot listen at {host} port {port}: {reason}.", hint="Name another --port."
        ) from error
    return listening


def _address_of(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    bare = ipaddress.ip_address(str(host).partition("%")[0])
    return f"http://[{bare}]:{port}" if bare.version == 6 else f"http://{bare}:{port}"


def _config(backend: Backend, limits: Limits, access_log: bool) -> uvicorn.Config:
    return uvicorn.Config(
        media_app(backend, limits=limits, access_log=access_log),
        http=protocol_class(limits),
        ws="none",
        lifespan="off",
        # Its own messages can hold addresses and paths.
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=cast(int, limits.idle_s),
        timeout_graceful_shutdown=cast(int, limits.grace_s),
    )


@contextlib.asynccontextmanager
async def _leased(backend: Addressable, address: str) -> AsyncIterator[None]:
    """Links of the chat lead to this address meanwhile."""
    await backend.lease_address(address, life_s=LEASE_S)
    renewing = asyncio.create_task(_renew(backend, address))
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        # A store that cannot be written forgets it by itself.
        with contextlib.suppress(ActionError):
            await backend.end_lease(address)


async def _renew(backend: Addressable, address: str) -> None:
    while True:
        await cast(Backend, backend).clock.sleep(_RENEW_S)
        with contextlib.suppress(ActionError):
            await backend.lease_address(address, life_s=LEASE_S)


class _Server(uvicorn.Server):
    """uvicorn's server, which would end by the signal that ended it and so with another exit code than 0."""

    def end(self) -> None:
        """End soon."""
        self.should_exit = True

    async def cut(self) -> None:
        """Leave nothing open."""
        for connection in list(self.server_state.connections):
            cast(GuardedProtocol, connection).drop()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing: `signals` has seen to it."""
        yield

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """End by SIGINT and SIGTERM, if this is the thread that gets them."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        handled = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._on_signal) for number in handled}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        # Asked twice, it does not wait for streams.
        self.force_exit = self.should_exit
        self.should_exit = True
