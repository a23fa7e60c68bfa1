"""Temporary links over HTTP: what a reader gets, what a hostile one gets, and how a server begins and ends."""

import asyncio
import contextlib
import json
import random
import re
import signal
import socket
import sys
import urllib.parse
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount
from structlog.testing import capture_logs

from flex_actions import ActionError, File, connect, open_backend
from flex_actions.backends.addresses import checked_public_url
from flex_actions.backends.transfers import READ_BYTES
from flex_actions.files import clean_name
from flex_actions.ports import Draft, Media
from flex_actions.server import Limits, media_app
from flex_actions.server.app import StreamBroken
from flex_actions.server.headers import INLINE_TYPES, content_disposition
from flex_actions.server.protocol import GuardedProtocol
from flex_actions.server.running import LEASE_S, serve

SAFE = {
    "cache-control": "private, no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
PDF = b"%PDF-1.7 to pay"
ROOT = Path(__file__).parent.parent


@attrs.frozen
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def code(self):
        return json.loads(self.body)["code"]


async def ask(app, target, *, method="GET", headers=(), sent=None):
    """The app's answer to one request; its messages are added to `sent` as they come."""
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    sent = [] if sent is None else sent

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    start, *parts = sent
    assert not parts[-1].get("more_body")
    found = {name.decode(): value.decode("latin-1") for name, value in start["headers"]}
    return Answer(start["status"], found, b"".join(part.get("body", b"") for part in parts))


@pytest.fixture
def app(backend):
    return media_app(backend)


async def posted(backend, channel, data=PDF, *, name="invoice.pdf", content_type=None):
    """A message with a file, and its media."""
    file = File.from_bytes(data, name=name, content_type=content_type)
    media = await backend.upload(channel, file, author="ada")
    return (await backend.post(channel, Draft("ada", media=media))).message


async def path_of(backend, media, **options):
    """The path of a link for cleo."""
    url = (await backend.temporary_link(media.sid, reader="cleo", **options)).url
    return "/media/" + url.rpartition(":" if url.startswith("flex-media:") else "/")[2]


@pytest.fixture
async def message(backend, channel):
    return await posted(backend, channel)


@pytest.fixture
async def path(backend, message):
    return await path_of(backend, message.media)


# -- what a reader gets --


async def test_a_link_gives_the_file(app, path, message):
    got = await ask(app, path)
    assert (got.status, got.body) == (200, PDF)
    assert got.headers == {
        **SAFE,
        "x-robots-tag": "noindex",
        "accept-ranges": "bytes",
        "content-disposition": 'attachment; filename="invoice.pdf"',
        "content-length": str(len(PDF)),
        "content-type": "application/pdf",
        "etag": f'"{message.media.sha256}"',
    }


async def test_head_gives_the_same_without_the_file(app, path):
    assert await ask(app, path, method="HEAD") == attrs.evolve(await ask(app, path), body=b"")


async def test_a_link_ends_after_exactly_five_minutes(app, path, clock):
    clock.advance(299.999)
    assert (await ask(app, path)).status == 200
    clock.advance(0.001)
    got = await ask(app, path)
    assert (got.status, got.code) == (403, "link_expired")


async def test_an_expired_link_is_refused_in_full(app, path, clock):
    clock.advance(300)
    got = await ask(app, path)
    assert json.loads(got.body) == {
        "code": "link_expired",
        "message": "The temporary link has expired.",
        "hint": "Request a new link.",
    }


@pytest.mark.parametrize("position", [7, 12, 45, 60, -1])
async def test_an_altered_link_is_refused(app, path, position):
    altered = path[:position] + ("0" if path[position] == "1" else "1") + path[position + 1 :][: len(path)]
    got = await ask(app, altered if position != -1 else path[:-1] + ("A" if path[-1] != "A" else "B"))
    assert (got.status, got.code) == (403, "link_invalid")


async def test_a_link_dies_with_its_message(app, path, backend, channel, message):
    await backend.delete_message(channel, message.sid)
    got = await ask(app, path)
    assert (got.status, got.code) == (403, "media_deleted")


async def test_a_link_dies_with_the_membership_of_its_reader_for_ever(app, path, backend, channel):
    await backend.remove_member(channel, "cleo")
    assert (await ask(app, path)).code == "not_a_member"
    await backend.add_member(channel, "cleo")
    assert (await ask(app, path)).code == "not_a_member"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_range_of_a_link_that_died_is_refused_too(backend, path, channel, message, method):
    await backend.delete_message(channel, message.sid)
    headers = [("range", "bytes=0-1"), ("if-none-match", f'"{message.media.sha256}"')]
    assert (await ask(media_app(backend), path, method=method, headers=headers)).status == 403


async def test_an_empty_file_is_one(app, backend, channel):
    empty = await posted(backend, channel, b"")
    got = await ask(app, await path_of(backend, empty.media))
    assert (got.status, got.headers["content-length"], got.body) == (200, "0", b"")


async def test_a_foreign_content_type_cannot_break_the_headers():
    class Foreign:
        async def open_link(self, url):
            return Media("ME1", "a\r\nset-cookie: x=1.txt", "text/html\r\nx: y", 0, "00"), self.open_media("ME1")

        async def open_media(self, sid, *, offset=0, length=None):
            for chunk in ():
                yield chunk

    got = await ask(media_app(Foreign()), "/media/x")
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["content-disposition"] == 'attachment; filename="aset-cookie_ x=1.txt"'


# -- names --


HEADER = re.compile(
    r"""attachment; filename="([^"\\%]+)"(?:; filename\*=UTF-8''((?:[\w.!#$&+^`|~-]|%[0-9A-F]{2})+))?""", re.ASCII
)


@given(st.text(max_size=80))
def test_every_name_arrives_and_stays_in_its_header(name):
    """What is sent is the clean name, in one of the two forms that the standard knows, and nothing besides."""
    header = content_disposition(name, "attachment", "application/pdf")
    assert header.isascii()
    assert header.isprintable()
    plain, exact = HEADER.fullmatch(header).groups()
    assert (urllib.parse.unquote(exact) if exact else plain) == clean_name(name)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.pdf", 'filename="a.pdf"'),
        ("two words.pdf", 'filename="two words.pdf"'),
        ('q"uo;te.pdf', 'filename="q_uo;te.pdf"'),
        ("50%41.pdf", "filename=\"50_41.pdf\"; filename*=UTF-8''50%2541.pdf"),
        ("ü€.pdf", "filename=\"__.pdf\"; filename*=UTF-8''%C3%BC%E2%82%AC.pdf"),
        ("a\r\nSet-Cookie: b.pdf", 'filename="aSet-Cookie_ b.pdf"'),
        ("../../etc/passwd", 'filename="passwd"'),
        ("it's (1)*.pdf", 'filename="it\'s (1)_.pdf"'),
        ("é'(.pdf", "filename=\"_'(.pdf\"; filename*=UTF-8''%C3%A9%27%28.pdf"),
        ("\u202efdp.exe", 'filename="fdp.exe"'),
        ("", 'filename="unnamed"'),
    ],
)
def test_names_in_both_forms(name, expected):
    assert content_disposition(name, "attachment", "application/pdf") == f"attachment; {expected}"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("image/png", "inline"),
        ("text/plain", "inline"),
        ("image/svg+xml", "attachment"),
        ("text/html", "attachment"),
        ("application/pdf", "attachment"),
    ],
)
async def test_only_harmless_types_are_shown_and_only_if_the_link_says_so(app, backend, channel, kind, expected):
    media = (await posted(backend, channel, b"x", name="x", content_type=kind)).media
    asked = await ask(app, await path_of(backend, media, disposition="inline"))
    usual = await ask(app, await path_of(backend, media))
    assert [a.headers["content-disposition"].partition(";")[0] for a in (asked, usual)] == [expected, "attachment"]


def test_nothing_that_runs_is_shown():
    assert {t.partition("/")[0] for t in INLINE_TYPES} == {"image", "text"}
    assert not {"image/svg+xml", "text/html", "text/xml"} & INLINE_TYPES


async def test_a_disposition_that_is_none_is_refused(backend, message, refused):
    with refused("invalid_payload"):
        await backend.temporary_link(message.media.sid, reader="cleo", disposition="embed")


# -- ranges --


def slice_of(data, header):
    """What RFC 9110 wants for a Range header: status and content."""
    unit, _, spec = header.partition("=")
    first, dash, last = spec.strip().partition("-")
    numbers = all(part.isdecimal() and part.isascii() for part in (first, last) if part)
    if unit.strip().lower() != "bytes" or not dash or not numbers or not first + last:
        return 200, data
    if not first:
        tail = data[-int(last) :] if int(last) else b""
        return (206, tail) if tail else (416, None)
    if last and int(last) < int(first):
        return 200, data
    part = data[int(first) : int(last) + 1 if last else None]
    return (206, part) if part else (416, None)


numbers = st.one_of(st.just(""), st.integers(0, 40).map(str), st.sampled_from(["007", "9" * 18, "9" * 40, "٣", "+1"]))
ranges = st.one_of(
    st.builds("bytes={}-{}".format, numbers, numbers),
    st.sampled_from(
        ["bytes=", "bytes", "bytes=-", "BYTES=1-2", "items=0-1", "bytes=0-1,3-4", "bytes=a-b", "bytes=--1"]
    ),
)


@given(st.binary(max_size=30), ranges)
def test_a_range_is_a_slice(data, header):
    """Whatever is asked: the slice, the whole file, or 416; and the headers agree with it."""

    async def run():
        async with open_backend("memory:") as backend:
            channel = (await backend.create_channel(creator="cleo")).sid
            await backend.add_member(channel, "ada")
            media = (await posted(backend, channel, data)).media
            headers = [("range", header.encode().decode("latin-1"))]
            return await ask(media_app(backend), await path_of(backend, media), headers=headers)

    got = asyncio.run(run())
    status, content = slice_of(data, header)
    assert got.status == status
    if status == 416:
        assert (got.code, got.headers["content-range"]) == ("range_not_satisfiable", f"bytes */{len(data)}")
        return
    assert (got.body, got.headers["content-length"]) == (content, str(len(content)))
    if status == 206:
        begin, end = got.headers["content-range"].removeprefix("bytes ").partition("/")[0].split("-")
        assert data[int(begin) : int(end) + 1] == content


@pytest.mark.parametrize(
    ("begin", "end"), [(0, 1), (READ_BYTES - 1, READ_BYTES), (READ_BYTES, 2 * READ_BYTES), (5, 3 * READ_BYTES)]
)
async def test_ranges_of_large_files_on_disk(tmp_path, begin, end):
    data = random.Random(1).randbytes(3 * READ_BYTES + 7)
    async with open_backend(f"local:{tmp_path}/chat") as backend:
        channel = (await backend.create_channel(creator="cleo")).sid
        await backend.add_member(channel, "ada")
        path = await path_of(backend, (await posted(backend, channel, data)).media)
        got = await ask(media_app(backend), path, headers=[("range", f"bytes={begin}-{end}")])
    assert (got.status, got.body == data[begin : end + 1]) == (206, True)


async def test_several_ranges_are_the_whole_file(app, path):
    got = await ask(app, path, headers=[("range", "bytes=0-1,4-5")])
    assert (got.status, got.body) == (200, PDF)
    got = await ask(app, path, headers=[("range", "bytes=0-1"), ("range", "bytes=4-5")])
    assert (got.status, got.body) == (200, PDF)


async def test_head_takes_no_range(app, path):
    got = await ask(app, path, method="HEAD", headers=[("range", "bytes=0-1")])
    assert (got.status, got.headers["content-length"]) == (200, str(len(PDF)))


# -- conditions --


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("if-none-match", "{tag}", 304),
        ("if-none-match", "W/{tag}", 304),
        ("if-none-match", '"other", {tag}', 304),
        ("if-none-match", "*", 304),
        ("if-none-match", '"other"', 200),
        ("if-none-match", "garbage", 200),
        ("if-match", "{tag}", 200),
        ("if-match", "*", 200),
        ("if-match", "W/{tag}", 412),
        ("if-match", '"other"', 412),
        ("if-modified-since", "Sun, 22 Nov 2099 14:00:00 GMT", 200),
    ],
)
async def test_conditions(app, path, name, value, status):
    tag = (await ask(app, path)).headers["etag"]
    got = await ask(app, path, headers=[(name, value.format(tag=tag))])
    assert (got.status, got.body == PDF) == (status, status == 200)


@pytest.mark.parametrize(
    ("value", "status"),
    [("{tag}", 206), ("W/{tag}", 200), ('"other"', 200), ("Sun, 22 Nov 2026 14:00:00 GMT", 200), ("", 200)],
)
async def test_a_range_of_another_version_is_the_whole_file(app, path, message, value, status):
    headers = [("range", "bytes=0-1"), ("if-range", value.format(tag=f'"{message.media.sha256}"'))]
    assert (await ask(app, path, headers=headers)).status == status


# -- nothing else is there --


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "/media",
        "/media/",
        "/media/x/",
        "/media/x/y",
        "//media/x",
        "/media/../chat.sqlite3",
        "/Media/x",
        "/favicon.ico",
        "/media/%2e%2e%2fchat",
        "/.flex-actions/chat.sqlite3",
        "*",
        "/media//x",
        "/docs",
        "/openapi.json",
    ],
)
async def test_every_other_path_is_not_found(app, target):
    got = await ask(app, target.replace("%2f", "/"), headers=[("host", "evil.example")])
    assert (got.status, json.loads(got.body)) == (404, {"code": "not_found", "message": "There is nothing here."})


@pytest.mark.parametrize("token", ["x", "..", "ME" + "0" * 32, "v1~" * 8, "é", "\0", "x" * 9000, "v1~1~2~3~4~5~6~7"])
async def test_what_is_no_link_is_invalid(app, token):
    got = await ask(app, f"/media/{token}")
    assert (got.status, got.code) == (403, "link_invalid")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND", "get"])
async def test_only_get_and_head(app, path, method):
    got = await ask(app, path, method=method)
    assert (got.status, got.headers["allow"], got.code) == (405, "GET, HEAD", "method_not_allowed")


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("/", {}),
        ("/media/x", {}),
        ("{path}", {"method": "POST"}),
        ("{path}", {"headers": [("if-none-match", "*")]}),
        ("{path}", {"headers": [("if-match", '"x"')]}),
        ("{path}", {"headers": [("range", "bytes=99-")]}),
        ("{path}", {"headers": [("content-length", "5")]}),
        ("/" + "x" * 20_000, {}),
    ],
)
async def test_every_answer_has_the_safety_headers(app, path, target, options):
    got = await ask(app, target.format(path=path), **options)
    assert got.headers.items() >= SAFE.items()


@pytest.mark.parametrize(
    ("target", "headers", "status", "code"),
    [
        ("/media/x?" + "q" * 16_384, [], 414, "url_too_long"),
        ("/media/x", [("x", "y" * 32_768)], 431, "headers_too_large"),
        ("/media/x", [("x", "")] * 10_000, 431, "headers_too_large"),
        ("/media/x", [("content-length", "1")], 400, "unexpected_body"),
        ("/media/x", [("transfer-encoding", "chunked")], 400, "unexpected_body"),
    ],
)
async def test_a_request_has_limits(app, target, headers, status, code):
    got = await ask(app, target, headers=headers)
    assert (got.status, got.code, got.headers["connection"]) == (status, code, "close")


class Held:
    """A backend whose links open only when told."""

    def __init__(self, inner):
        self.inner = inner
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self.open_media = inner.open_media

    async def open_link(self, url):
        self.asked.set()
        await self.go.wait()
        return await self.inner.open_link(url)


async def test_more_requests_than_allowed_are_told_to_come_again(backend, path):
    held = Held(backend)
    app = media_app(held, limits=Limits(concurrency=1))
    first = asyncio.ensure_future(ask(app, path))
    await held.asked.wait()
    second = await ask(app, path)
    held.go.set()
    assert (second.status, second.code, second.headers["retry-after"]) == (503, "overloaded", "1")
    assert [(await first).status, (await ask(app, path)).status] == [200, 200]


# -- failures --


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (ActionError("store_corrupt", "/home/ada/chat is damaged"), 503, "backend_unavailable"),
        (ActionError("backend_unavailable", "closed"), 503, "backend_unavailable"),
        (ActionError("unknown_message", "IM1"), 503, "backend_unavailable"),
        (ActionError("media_corrupt", "/home/ada"), 500, "media_corrupt"),
        (ActionError("not_a_member", "ada is none"), 403, "not_a_member"),
        (RuntimeError("/home/ada"), 500, "internal_error"),
    ],
)
async def test_a_failure_says_nothing_of_the_inside(error, status, code):
    class Failing:
        async def open_link(self, url):
            raise error

    with capture_logs() as logs:
        got = await ask(media_app(Failing()), "/media/x")
    assert (got.status, got.code) == (status, code)
    assert "ada" not in got.body.decode() + str(logs)


class Broken:
    """A backend that fails in the middle of a file."""

    def __init__(self, inner, pieces):
        self.inner, self.pieces = inner, pieces

    async def open_link(self, url):
        return await self.inner.open_link(url)

    async def open_media(self, sid, *, offset=0, length=None):
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


@pytest.mark.parametrize(
    "pieces",
    [[PDF[:3]], [PDF[:3], ActionError("media_corrupt", "x")], [PDF[:3], PDF], [PDF[:3], OSError("x")], [b""]],
    ids=["too short", "corrupt", "too long", "unreadable", "empty"],
)
async def test_what_cannot_be_sent_to_its_end_never_looks_complete(backend, path, pieces):
    sent = []
    with capture_logs(), pytest.raises(StreamBroken):
        await ask(media_app(Broken(backend, pieces)), path, sent=sent)
    assert all(message["more_body"] for message in sent[1:])
    assert sum(len(message["body"]) for message in sent[1:]) < len(PDF)


async def test_a_broken_stream_is_a_broken_connection(path, backend):
    class Breaking(Endless):
        async def open_media(self, sid, *, offset=0, length=None):
            yield bytes(READ_BYTES)
            raise ActionError("media_corrupt", "x")

    async with running(Breaking(backend)) as serving:
        alive = request(path).replace(b"connection: close\r\n", b"")
        assert len(await raw(serving, alive)) < READ_BYTES + 2000


async def test_a_file_that_vanished_is_refused_before_anything_is_promised(tmp_path):
    async with open_backend(f"local:{tmp_path}/chat") as backend:
        channel = (await backend.create_channel(creator="cleo")).sid
        await backend.add_member(channel, "ada")
        path = await path_of(backend, (await posted(backend, channel)).media)
        [file] = (tmp_path / "chat/media").glob("*/ME*")
        file.unlink()
        answers = [await ask(media_app(backend), path, method=method) for method in ("GET", "HEAD")]
    assert [a.status for a in answers] == [403, 403]


# -- the log --


async def test_the_log_names_no_link_file_or_person(backend, path, clock):
    app = media_app(backend, access_log=True)
    with capture_logs() as logs:
        for target, method in ((path, "GET"), (path, "HEAD"), (path + "x", "GET"), ("/who/cleo", "BREW")):
            await ask(app, target, method=method, headers=[("user-agent", "cleo"), ("cookie", "cleo")])
    assert [(e["event"], e["method"], e["status"], e["code"]) for e in logs] == [
        ("server.request", "GET", 200, None),
        ("server.request", "HEAD", 200, None),
        ("server.request", "GET", 403, "link_invalid"),
        ("server.request", "other", 404, "not_found"),
    ]
    text = str(logs)
    assert not any(word in text for word in ("cleo", "invoice", path.rpartition("~")[2], "media/", "test", "BREW"))


# -- mounted elsewhere --


async def test_it_can_be_mounted_below_a_path(backend, path):
    app = Starlette(routes=[Mount("/files", media_app(backend))])
    assert (await ask(app, "/files" + path)).body == PDF
    assert (await ask(app, "/files/")).status == 404


# -- a real server --


@contextlib.asynccontextmanager
async def running(backend, **options):
    """A server on a real socket, in this loop."""
    started = asyncio.get_running_loop().create_future()
    options = {"port": 0, "access_log": False, **options}
    task = asyncio.ensure_future(serve(backend, ready=started.set_result, **options))
    await asyncio.wait([task, started], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    serving = started.result()
    try:
        yield serving
    finally:
        serving.end()
        async with asyncio.timeout(10):
            await task


async def raw(serving, data, *, until_closed=True):
    """Whatever comes back for these bytes, until the server closes."""
    port = int(serving.address.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(20):
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            with contextlib.suppress(ConnectionError):
                return await reader.read(-1)
            return b""
    finally:
        writer.transport.abort()


def request(path, *headers, method="GET"):
    lines = [f"{method} {path} HTTP/1.1", "host: x", *headers, "connection: close", "", ""]
    return "\r\n".join(lines).encode()


def status_of(answer):
    return int(answer[9:12]) if answer else None


async def test_a_file_comes_over_a_real_socket(backend, path):
    async with running(backend) as serving:
        answer = await raw(serving, request(path))
    assert status_of(answer) == 200
    assert answer.endswith(b"\r\n\r\n" + PDF)
    assert b"server:" not in answer.lower()


async def test_requests_in_a_row_are_answered_in_order(backend, path):
    first = request(path, "range: bytes=0-0").replace(b"connection: close\r\n", b"")
    async with running(backend) as serving:
        answer = await raw(serving, first + first.replace(b"0-0", b"1-1") + request(path, "range: bytes=2-2"))
    assert [part[-1:] for part in answer.split(b"HTTP/1.1 206")[1:]] == [b"%", b"P", b"D"]


HOSTILE = {
    "nothing": b"\r\n\r\n\r\n\r\nX",
    "no http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no version": b"GET /media/x\r\n\r\n",
    "an old version": b"GET /media/x HTTP/0.9\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no path": b"GET  HTTP/1.1\r\nhost: x\r\n\r\n",
    "a star": request("*", method="OPTIONS"),
    "connect": request("evil.example:443", method="CONNECT"),
    "a whole url": request("http://evil.example/media/x"),
    "not ascii": b"GET /media/\xff\xfe HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    "percent nonsense": request("/media/%zz%"),
    "percent nul": request("/media/%00"),
    "percent slash": request("/media/..%2f..%2fchat.sqlite3"),
    "percent dots": request("/media/%2e%2e/%2e%2e/chat.sqlite3"),
    "percent utf-8": request("/media/%c0%ae%c0%ae%ff"),
    "dots": request("/media/../../../../etc/passwd"),
    "backslashes": request("/media/..\\..\\chat.sqlite3"),
    "a hostile host": request("/media/x/").replace(b"host: x", b"host: evil.example/\"<>'"),
    "two hosts": request("/media/x", "host: y"),
    "two lengths": request("/media/x", "content-length: 0", "content-length: 5"),
    "length and chunks": request("/media/x", "content-length: 5", "transfer-encoding: chunked"),
    "a negative length": request("/media/x", "content-length: -1"),
    "a huge length": request("/media/x", "content-length: " + "9" * 30),
    "a body": request("/media/x", "content-length: 5", method="POST") + b"hello",
    "expect": request("/media/x", "expect: 100-continue", "content-length: 5"),
    "upgrade": request("/media/x", "upgrade: websocket", "connection: upgrade", "sec-websocket-key: x"),
    "h2c": request("/media/x", "upgrade: h2c", "connection: upgrade, http2-settings"),
    "a nul header": request("/media/x", "x: a\0b"),
    "a folded header": request("/media/x", "x: a", " b"),
    "a header without a name": request("/media/x", ": b"),
    "a bare newline": b"GET /media/x HTTP/1.1\nhost: x\n\n",
    "a long url": request("/media/" + "x" * 30_000),
    "a long header": request("/media/x", "x: " + "y" * 40_000),
    "a very long header": request("/media/x", "x: " + "y" * 2_000_000),
    "a very long url": request("/media/" + "x" * 2_000_000),
    "many requests at once": b"GET /media/x HTTP/1.1\r\nhost: x\r\n\r\n" * 5000,
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_hostile_request_gets_a_plain_refusal_or_nothing(backend, path, what):
    """Never a file, a redirect, a crash; and the server goes on."""
    limits = Limits(head_s=0.5, idle_s=0.5)
    with capture_logs() as logs:
        async with running(backend, limits=limits) as serving:
            answer = await raw(serving, HOSTILE[what])
            after = await raw(serving, request(path))
    assert status_of(answer) in (None, 400, 403, 404, 405, 414, 431, 503)
    assert b"location:" not in answer.lower()
    assert b"evil" not in answer
    assert (status_of(after), logs) == (200, [])


async def test_garbage_of_all_kinds_does_no_harm(backend, path):
    chance = random.Random(1)
    pieces = [
        b"GET ",
        b"/media/",
        b" HTTP/1.1",
        b"\r\n",
        b"\r\n\r\n",
        b": ",
        b"%",
        b"\0",
        b"range: bytes=",
        b"\xff",
        b"a" * 999,
    ]
    async with running(backend, limits=Limits(head_s=0.2, idle_s=0.2)) as serving:
        for _ in range(10):
            garbage = [b"".join(chance.choices(pieces, k=chance.randrange(1, 30))) for _ in range(10)]
            answers = await asyncio.gather(*(raw(serving, piece) for piece in garbage))
            assert not [a for a in answers if a and status_of(a) not in (400, 403, 404, 405)]
        assert status_of(await raw(serving, request(path))) == 200


async def test_a_head_that_does_not_come_is_not_waited_for(backend):
    async with running(backend, limits=Limits(head_s=0.05)) as serving:
        assert await raw(serving, b"") == b""
        assert await raw(serving, b"GET /media/x HTTP/1.1\r\nx: ") == b""


async def test_a_head_that_never_ends_is_cut_short(backend):
    async with running(backend, limits=Limits(head_s=3600)) as serving:
        answer = await raw(serving, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200_000)
    assert status_of(answer) in (None, 431)  # what was sent meanwhile may reset the connection first


async def test_an_idle_connection_is_closed(backend, path):
    alive = request(path).replace(b"connection: close\r\n", b"")
    async with running(backend, limits=Limits(idle_s=0.05, head_s=0.05)) as serving:
        assert (await raw(serving, alive)).endswith(PDF)


async def test_empty_lines_keep_no_connection_open(backend, path):
    alive = request(path).replace(b"connection: close\r\n", b"")
    async with running(backend, limits=Limits(idle_s=1, head_s=0.05)) as serving, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(serving.address.rpartition(":")[2]))
        writer.write(alive)
        await reader.readuntil(PDF)
        writer.write(b"\r\n")
        await until_the_end(reader)
        writer.transport.abort()


async def test_too_many_requests_behind_one_another_end_the_connection(backend, path):
    held = Endless(backend)
    held.open_link = Held(backend).open_link
    alive = request(path).replace(b"connection: close\r\n", b"")
    async with running(held, limits=Limits(grace_s=0.1, head_s=3600)) as serving:
        assert await raw(serving, alive * 5000) == b""


async def test_more_connections_than_allowed_are_turned_away(backend, path):
    async with running(backend, limits=Limits(connections=1)) as serving:
        port = int(serving.address.rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(path).replace(b"connection: close\r\n", b""))
        await reader.readuntil(PDF)
        answer = await raw(serving, b"")
        writer.transport.abort()
    assert status_of(answer) == 503
    assert b"retry-after: 1" in answer


class Endless:
    """A backend with one file that is larger than all buffers on the way; says when its reading ends."""

    def __init__(self, inner):
        self.inner = inner
        self.clock, self.capabilities = inner.clock, inner.capabilities
        self.public_url, self.lease_address = inner.public_url, inner.lease_address
        self.save_public_url, self.end_lease = inner.save_public_url, inner.end_lease
        self.ended = asyncio.Event()

    async def open_link(self, url):
        media, content = await self.inner.open_link(url)
        return attrs.evolve(media, size_bytes=2**40), content

    async def open_media(self, sid, *, offset=0, length=None):
        try:
            while True:
                yield bytes(READ_BYTES)
                await asyncio.sleep(0)
        finally:
            self.ended.set()


async def begin_to_read(serving, path, *, times=1):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(serving.address.rpartition(":")[2]))
    writer.write(request(path).replace(b"connection: close\r\n", b"") * times)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"content-length: 1099511627776\r\n" in head
    return reader, writer


async def test_a_reader_that_stops_reading_is_dropped(backend, path):
    endless = Endless(backend)
    async with running(endless, limits=Limits(stall_s=0.1)) as serving, asyncio.timeout(20):
        _, writer = await begin_to_read(serving, path)
        writer.transport.pause_reading()
        await endless.ended.wait()
        writer.transport.abort()


async def test_a_reader_that_goes_away_ends_its_stream(backend, path):
    endless = Endless(backend)
    async with running(endless) as serving, asyncio.timeout(20):
        _, writer = await begin_to_read(serving, path)
        writer.transport.abort()
        await endless.ended.wait()


async def test_a_reader_with_requests_behind_its_stream_is_missed_too(backend, path):
    endless = Endless(backend)
    async with running(endless) as serving, asyncio.timeout(20):
        _, writer = await begin_to_read(serving, path, times=3)
        writer.transport.abort()
        await endless.ended.wait()


@pytest.mark.parametrize(
    ("taken", "dropped"), [(0, True), (Limits().stall_bytes - 1, True), (Limits().stall_bytes, False)]
)
async def test_a_reader_must_take_a_little_in_each_while(taken, dropped):
    """Slow is allowed: what counts is how much left in `stall_s`, not when all of it has."""

    class Transport:
        aborted = False
        waiting = 1_000_000

        def get_write_buffer_size(self):
            return self.waiting - taken

        def abort(self):
            self.aborted = True

    protocol = GuardedProtocol.__new__(GuardedProtocol)
    protocol.transport, protocol.loop, protocol._stall_timer = Transport(), asyncio.get_running_loop(), None
    protocol._look_again(1_000_000)
    assert (protocol.transport.aborted, protocol._stall_timer is None) == (dropped, dropped)
    if protocol._stall_timer is not None:
        protocol._stall_timer.cancel()


async def test_whatever_waits_for_a_reader_is_watched(backend, path, monkeypatch):
    """Also the end of an answer, which no part of the app waits for: nothing may lie in a buffer unwatched."""
    limits = asyncio.Queue()

    class Noting(GuardedProtocol):
        def pause_writing(self):
            super().pause_writing()
            limits.put_nowait((self.transport.get_write_buffer_limits(), self._stall_timer is not None))

    monkeypatch.setattr("flex_actions.server.running.protocol_class", lambda limits: Noting)
    async with running(Endless(backend)) as serving, asyncio.timeout(20):
        _, writer = await begin_to_read(serving, path)
        assert await limits.get() == ((0, 0), True)
        writer.transport.abort()


async def test_a_kept_connection_does_not_wait_for_acknowledgements(backend, path, monkeypatch):
    """Head and body are two writes: with Nagle's algorithm the second would wait 40 ms for the client's kernel."""
    delays = []

    class Noting(GuardedProtocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            delays.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr("flex_actions.server.running.protocol_class", lambda limits: Noting)
    async with running(backend) as serving:
        await raw(serving, request(path))
    assert [bool(delay) for delay in delays] == [True]


async def test_a_server_ends_in_the_middle_of_a_stream_and_cuts_it(backend, path):
    endless = Endless(backend)
    async with running(endless, limits=Limits(grace_s=0.1)) as serving:
        reader, writer = await begin_to_read(serving, path)
        reading = asyncio.ensure_future(until_the_end(reader))
    assert (await reading) < 2**40
    assert endless.ended.is_set()
    writer.transport.abort()


async def until_the_end(reader):
    count = 0
    with contextlib.suppress(ConnectionError):
        while chunk := await reader.read(READ_BYTES):
            count += len(chunk)
    return count


# -- a process of its own --


@contextlib.asynccontextmanager
async def serving_process(folder, *options):
    """`flex-actions serve` in a process of its own, and the address it prints."""
    command = [sys.executable, "-W", "error", "-m", "flex_actions", "serve", "--port", "0", *options]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_in_peace_with_a_stream_open(tmp_path, monkeypatch, number):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'plugins'}" if (ROOT / "flex_actions").is_dir() else "")
    async with connect(f"local:{tmp_path}/.flex-actions", identity="ada") as ada:
        channel = (await ada.create_channel("support")).sid
        media = await ada.backend.upload(channel, File.from_bytes(bytes(40_000_000), name="big.pdf"), author="ada")
        sent = (await ada.backend.post(channel, Draft("ada", media=media))).message
        async with serving_process(tmp_path) as (process, address):
            link = await ada.actions.invoke("DownloadMedia", {"message": sent})
            assert link.url.startswith(address + "/media/")
            reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
            writer.write(request(link.url.removeprefix(address)))
            assert b"content-length: 40000000" in await reader.readuntil(b"\r\n\r\n")
            process.send_signal(number)
            async with asyncio.timeout(5):
                _, told = await process.communicate()
            got = await until_the_end(reader)
            writer.transport.abort()
        again = await ada.actions.invoke("DownloadMedia", {"message": sent})
    assert (process.returncode, b"Traceback" in told) == (0, False)
    assert got < 40_000_000
    assert again.url.startswith("flex-media:")
    assert not any(word in told.decode() for word in ("big.pdf", "ada", "~"))


# -- where links lead --


async def url(backend, message):
    return (await backend.temporary_link(message.media.sid, reader="cleo")).url


async def test_links_lead_to_a_local_server_while_it_runs(backend, message):
    assert (await url(backend, message)).startswith("flex-media:")
    async with running(backend) as serving:
        assert (await url(backend, message)).startswith(serving.address + "/media/v1~")
        assert (serving.links_begin, serving.is_public) == (serving.address, False)
    assert (await url(backend, message)).startswith("flex-media:")


async def test_a_server_may_keep_to_itself(backend, message):
    async with running(backend, register=False) as serving:
        assert (await url(backend, message)).startswith("flex-media:")
        assert serving.links_begin is None


async def test_a_server_that_was_killed_is_soon_forgotten(backend, message, clock):
    await backend.lease_address("http://127.0.0.1:8080", life_s=LEASE_S)
    clock.advance(LEASE_S - 0.001)
    assert (await url(backend, message)).startswith("http://127.0.0.1:8080/")
    clock.advance(0.001)
    assert (await url(backend, message)).startswith("flex-media:")


async def test_a_server_that_runs_is_not_forgotten(backend, message, clock):
    class Watched(Endless):
        def __init__(self, inner):
            super().__init__(inner)
            self.leased = asyncio.Queue()

            async def lease(address, *, life_s):
                await inner.lease_address(address, life_s=life_s)
                self.leased.put_nowait(address)

            self.lease_address = lease

    watched = Watched(backend)
    async with running(watched) as serving, asyncio.timeout(10):
        await watched.leased.get()
        for _ in range(6):
            while not clock._sleepers:
                await asyncio.sleep(0)
            clock.advance(LEASE_S / 3)
            await watched.leased.get()
            await asyncio.sleep(0)
        assert (await url(backend, message)).startswith(serving.address)


async def test_an_end_forgets_only_the_server_that_ended(backend, message):
    await backend.lease_address("http://127.0.0.1:1", life_s=30)
    await backend.lease_address("http://127.0.0.1:2", life_s=30)
    await backend.end_lease("http://127.0.0.1:1")
    assert (await url(backend, message)).startswith("http://127.0.0.1:2/")


async def test_a_public_url_is_saved_for_every_process(tmp_path):
    where = f"local:{tmp_path}/chat"
    async with open_backend(where) as one, open_backend(where) as two:
        channel = (await one.create_channel(creator="cleo")).sid
        await one.add_member(channel, "ada")
        message = await posted(one, channel)
        async with running(two, public_url="https://Files.Example.org/chat/") as serving:
            assert (serving.links_begin, serving.is_public) == ("https://files.example.org/chat", True)
        assert (await url(one, message)).startswith("https://files.example.org/chat/media/v1~")
    async with open_backend(where) as three:
        assert await three.public_url() == "https://files.example.org/chat"
        assert await three.save_public_url(None) == "https://files.example.org/chat"
        assert (await url(three, message)).startswith("flex-media:")


async def test_a_public_url_goes_before_a_local_server(backend, message):
    await backend.lease_address("http://127.0.0.1:1", life_s=30)
    await backend.save_public_url("https://x.example")
    assert (await url(backend, message)).startswith("https://x.example/media/")


async def test_the_environment_or_the_caller_may_name_the_public_url(monkeypatch):
    monkeypatch.setenv("FLEX_ACTIONS_PUBLIC_URL", "https://env.example")
    async with open_backend("memory:") as one, open_backend("memory:", public_url="https://own.example/x/") as two:
        assert [await one.public_url(), await two.public_url()] == ["https://env.example", "https://own.example/x"]


async def test_a_wrong_public_url_of_the_environment_is_told(monkeypatch, refused):
    monkeypatch.setenv("FLEX_ACTIONS_PUBLIC_URL", "http://files.example")
    with refused("invalid_config"):
        async with open_backend("memory:"):
            pass


@pytest.mark.parametrize(
    "given",
    [
        *("", "x", "ftp://x", "https://", "javascript:x", "https://[::1", "https://x:99999", "https://ü.de", None, 5),
        *("https://x/?a", "https://x/#a", "https://u:p@x", "https://x y", "https://x\r\ny", "https://x/\\y"),
        *("http://x.example", "http://127.0.0.1.evil.example", "http://localhost.evil", "https://x/" + "y" * 2000),
    ],
)
def test_what_is_no_public_url_is_refused(given, refused):
    with refused("invalid_config"):
        checked_public_url(given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://x.example", "https://x.example"),
        ("HTTPS://X.example:8443/A/", "https://x.example:8443/A"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_public_urls_in_their_usual_form(given, kept):
    assert checked_public_url(given) == kept


def test_http_to_others_has_to_be_wanted():
    assert checked_public_url("http://x.example", insecure=True) == "http://x.example"


async def test_listening_to_others_needs_a_public_url(backend, refused):
    with refused("invalid_config") as caught:
        await serve(backend, host="0.0.0.0", port=0)
    assert "--public-url" in str(caught.value)


async def test_listening_to_others_is_allowed_once_there_is_one(backend, path):
    async with running(backend, host="0.0.0.0", public_url="https://x.example") as serving:
        assert status_of(await raw(serving, request(path))) == 200


async def test_a_public_url_of_http_is_refused_unless_wanted(backend, refused):
    with refused("invalid_config"):
        await serve(backend, port=0, public_url="http://x.example")
    async with running(backend, public_url="http://x.example", insecure=True) as serving:
        assert serving.links_begin == "http://x.example"


@pytest.mark.parametrize("host", ["no.such.host.invalid", "x" * 300, "1.2.3.4.5"])
async def test_a_host_that_is_none(backend, refused, host):
    with refused("invalid_config"):
        await serve(backend, host=host, port=0)


async def test_a_port_that_is_taken(backend, refused):
    async with running(backend) as serving:
        with refused("invalid_config"):
            await serve(backend, port=int(serving.address.rpartition(":")[2]))


async def test_a_backend_with_links_of_its_own_is_not_served(backend, refused):
    class Other:
        capabilities = attrs.evolve(backend.capabilities, scheme="other")

    with refused("invalid_config"):
        await serve(Other(), port=0)


# -- links of this library's own --


async def test_a_session_downloads_what_an_http_link_leads_to_without_a_network(backend, cleo, message, tmp_path):
    await backend.save_public_url("https://nowhere.invalid/x")
    link = await cleo.actions.invoke("DownloadMedia", {"message": message})
    assert link.url.startswith("https://nowhere.invalid/x/media/")
    for source in (link, link.url, message):
        to = tmp_path / "copy.pdf"
        assert (await cleo.download(source, to)).read_bytes() == PDF


async def test_a_link_opens_in_both_forms_whatever_host_it_names(backend, message):
    token = (await url(backend, message)).removeprefix("flex-media:")
    for before in ("flex-media:", "https://a.example/media/", "http://b.example:1/x/media/"):
        media, content = await backend.open_link(before + token)
        await content.aclose()
        assert media == message.media


@pytest.mark.parametrize(
    "form", ["https://x/{}", "https://x/media/{}/", "https://x/media/{}?x", "https://x/media/{}#x", "ftp://x/media/{}"]
)
async def test_other_forms_are_no_links(backend, message, form, refused):
    token = (await url(backend, message)).removeprefix("flex-media:")
    with refused("link_invalid"):
        await backend.open_link(form.format(token))
