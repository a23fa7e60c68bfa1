"""`media_app`: the files that temporary links lead to, as an ASGI app."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any, Final

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..backends.links import PATH, SCHEME, disposition_of
from ..errors import CODES, ActionError
from ..logs import logger
from ..ports import Backend, Media
from .headers import (
    SAFETY,
    Unsatisfiable,
    content_disposition,
    content_type,
    etag,
    names_tag,
    requested_range,
)
from .limits import Limits

# The only errors that a reader is told of as they are.
_REFUSALS: Final = frozenset({"link_expired", "link_invalid", "media_deleted", "not_a_member"})
_NEW_LINK: Final = "Request a new link."
_RETRY_AFTER_S: Final = {"overloaded": 1, "backend_unavailable": 5}
_ANSWERS: Final = {
    "not_found": (404, "There is nothing here."),
    "method_not_allowed": (405, "Only GET and HEAD."),
    "precondition_failed": (412, "The file is another one."),
    "url_too_long": (414, "The address is too long."),
    "range_not_satisfiable": (416, "The file ends before that range."),
    "headers_too_large": (431, "The headers are too large."),
    "unexpected_body": (400, "A download takes no request body."),
    "internal_error": (500, "The server failed."),
    "media_corrupt": (500, CODES["media_corrupt"]),
    "overloaded": (503, "Too many downloads at once."),
    "backend_unavailable": (503, "The file cannot be read just now."),
}


_ALARMING: Final = frozenset({"media_corrupt", "backend_unavailable"})


class StreamBroken(Exception):
    """The rest of an answer cannot be sent: the connection must be cut, so that it does not look complete."""


def media_app(backend: Backend, *, limits: Limits | None = None, access_log: bool = False) -> Starlette:
    """An ASGI app that answers GET and HEAD of `/media/…` for the links of a backend, and 404 to all else.

    Mounted below a path, that path belongs into the public URL. A server of your own must not log paths, which are
    the links, and must drop readers that stop reading; `flex-actions serve` does both.

    Args:
        backend: an open one; it stays open when the app ends.
        limits: of which `concurrency`, `url_bytes` and `head_bytes` count here.
        access_log: log each request, without its link, name and identity.
    """
    app = Starlette(
        routes=[Route(PATH + "{token}", endpoint=_Files(backend), methods=["GET"])],
        middleware=[Middleware(_Gate, limits=limits or Limits(), access_log=access_log)],
        exception_handlers={HTTPException: _http_error},
    )
    # It would answer with an address made of whatever the Host header says.
    app.router.redirect_slashes = False
    return app


def refusal(code: str, *, headers: dict[str, str] | None = None) -> Response:
    """The answer for a code: a small JSON object that says what it is and nothing else of the store."""
    if code in _REFUSALS:
        status, body = 403, {"code": code, "message": CODES[code]}
        if code != "media_deleted":
            body["hint"] = _NEW_LINK
    else:
        status, message = _ANSWERS[code]
        body = {"code": code, "message": message}
    extra = {"retry-after": str(_RETRY_AFTER_S[code])} if code in _RETRY_AFTER_S else {}
    return JSONResponse(body, status, headers={**SAFETY, **extra, **(headers or {})})


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    answer: _Answer = request.scope["flex_actions.answer"]
    answer.code = "method_not_allowed" if error.status_code == 405 else "not_found"
    return refusal(answer.code, headers={"allow": "GET, HEAD"} if error.status_code == 405 else None)


class _Gate:
    """What goes for every request: limits, the access log, and that no failure says anything of the inside."""

    def __init__(self, app: ASGIApp, limits: Limits, access_log: bool) -> None:
        self._app = app
        self._limits = limits
        self._access_log = access_log
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        scope["flex_actions.answer"] = answer
        began = time.monotonic()
        self._under_way += 1
        try:
            code = self._too_much(scope)
            if code is None:
                await self._app(scope, receive, answer.send)
            else:
                answer.code = code
                # The rest of such a request is not worth reading.
                await refusal(code, headers={"connection": "close"})(scope, receive, answer.send)
        except StreamBroken as error:
            answer.code = str(error) or answer.code
            raise
        except Exception as error:
            answer.code = "internal_error"
            # Its message could name anything.
            logger().error("server.failed", error=type(error).__name__)
            if answer.status is not None:
                raise StreamBroken from None
            await refusal("internal_error")(scope, receive, answer.send)
        finally:
            self._under_way -= 1
            if self._access_log:
                self._log(scope, answer, time.monotonic() - began)

    def _too_much(self, scope: Scope) -> str | None:
        raw_path = scope.get("raw_path") or scope["path"].encode()
        if len(raw_path) + len(scope["query_string"]) > self._limits.url_bytes:
            return "url_too_long"
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > self._limits.head_bytes:
            return "headers_too_large"
        headers = Headers(scope=scope)
        if "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0":
            return "unexpected_body"
        return "overloaded" if self._under_way > self._limits.concurrency else None

    def _log(self, scope: Scope, answer: "_Answer", took_s: float) -> None:
        # A file that is damaged, or a store: somebody must look.
        log = logger().error if answer.code in _ALARMING else logger().info
        log(
            "server.request",
            method=scope["method"] if scope["method"] in ("GET", "HEAD") else "other",
            status=answer.status,
            code=answer.code,
            media_sid=answer.media_sid,
            sent_bytes=answer.sent_bytes,
            complete=answer.complete,
            took_ms=round(took_s * 1000, 1),
        )


class _Answer:
    """What was sent for a request.

    Attributes:
        media_sid: the file of a link that was found good.
        code: why it was refused.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status: int | None = None
        self.sent_bytes = 0
        self.complete = False
        self.media_sid: str | None = None
        self.code: str | None = None

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)
        if message["type"] == "http.response.body":
            self.sent_bytes += len(message.get("body", b""))
            self.complete = not message.get("more_body", False)


class _Files:
    """Answers for one link."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer: _Answer = scope["flex_actions.answer"]
        token: str = scope["path_params"]["token"]
        try:
            media = await self._verified(token)
            answer.media_sid = media.sid
            response = await self._response(media, token, scope)
        except ActionError as error:
            known = error.code in _REFUSALS or error.code == "media_corrupt"
            answer.code = error.code if known else "backend_unavailable"
            response = refusal(answer.code)
        await response(scope, receive, send)

    async def _verified(self, token: str) -> Media:
        media, content = await self._backend.open_link(SCHEME + token)
        await content.aclose()
        return media

    async def _response(self, media: Media, token: str, scope: Scope) -> ASGIApp:
        headers = Headers(scope=scope)
        tag = etag(media)
        facts = {**SAFETY, "etag": tag, "accept-ranges": "bytes"}
        if "if-match" in headers and not names_tag(headers.getlist("if-match"), tag, strong=True):
            return refusal("precondition_failed", headers=facts)
        if names_tag(headers.getlist("if-none-match"), tag, strong=False):
            return Response(status_code=304, headers=facts)
        kind = content_type(media)
        facts["content-type"] = kind
        facts["content-disposition"] = content_disposition(media.name, disposition_of(token), kind)
        offset, length, status = 0, media.size_bytes, 200
        if scope["method"] == "GET":
            try:
                part = requested_range(headers.getlist("range"), headers.getlist("if-range"), media)
            except Unsatisfiable:
                return refusal("range_not_satisfiable", headers={"content-range": f"bytes */{media.size_bytes}"})
            if part is not None:
                (offset, length), status = part, 206
                facts["content-range"] = f"bytes {offset}-{offset + length - 1}/{media.size_bytes}"
        facts["content-length"] = str(length)
        wanted = length if scope["method"] == "GET" else 0
        whole = offset == 0 and wanted == media.size_bytes
        content = self._backend.open_media(media.sid, offset=offset, length=None if whole else wanted)
        # Before anything is promised: now a file that is gone can still be refused.
        first = await anext(content, b"")
        return _Stream(status, facts, wanted, first, content)


class _Stream:
    """A file, or a part of it, on its way to a reader. What cannot be sent to its end is broken off."""

    def __init__(
        self, status: int, headers: dict[str, str], length: int, first: bytes, content: AsyncGenerator[bytes, None]
    ) -> None:
        self._status = status
        self._headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self._length = length
        self._first = first
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        try:
            async with contextlib.aclosing(self._content):
                await self._send(send, gone)
        finally:
            gone.cancel()

    async def _send(self, send: Send, gone: "asyncio.Future[None]") -> None:
        await send({"type": "http.response.start", "status": self._status, "headers": self._headers})
        chunk, left = self._first, self._length
        while left and not gone.done():
            if not chunk or len(chunk) > left:
                raise StreamBroken
            left -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
            if not left:
                return
            try:
                chunk = await anext(self._content, b"")
            except ActionError as error:
                raise StreamBroken(error.code) from None
        if not self._length:
            await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    """Return once the reader has closed the connection."""
    message: dict[str, Any] = {}
    while message.get("type") != "http.disconnect":
        message = dict(await receive())
