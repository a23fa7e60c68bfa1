"""Hostile requests over a real socket: plain refusals, never a failure, never a file but to its own link."""

# ruff: noqa: RUF005 - long lists read better in rows

import asyncio
import re
import string
import urllib.parse

import pytest
from hostile import altered, characters, search, texts
from hypothesis import given
from hypothesis import strategies as st
from scene import Scene
from structlog.testing import capture_logs

from flex_actions import File
from flex_actions.clock import ManualClock
from flex_actions.ports import Draft
from flex_actions.server import Limits
from flex_actions.server.headers import SAFETY
from flex_actions.server.running import serve

SECRET = "geheim-" + "0123456789" * 6
NAME = 'rechnung "ü" %41;.pdf'
LIMITS = Limits(head_s=0.2, idle_s=0.2, grace_s=0.1)


class Served(Scene):
    """A chat that is served, and two links into it: tokens with the content that they lead to."""

    async def start(self):
        await self.begin()
        self.tokens = {}
        for reader in ("ada", "cleo"):
            data = f"{SECRET} {reader}".encode()
            media = await self.backend.upload(self.channel, File.from_bytes(data, name=NAME), author="ada")
            await self.backend.post(self.channel, Draft("ada", media=media))
            link = await self.backend.temporary_link(media.sid, reader=reader)
            self.tokens[link.url.removeprefix("flex-media:")] = data
        ready = asyncio.get_running_loop().create_future()
        serving = serve(self.backend, port=0, limits=LIMITS, register=False, ready=ready.set_result)
        self.task = asyncio.ensure_future(serving)
        self.serving = await ready
        self.port = int(self.serving.address.rpartition(":")[2])

    async def stop(self):
        self.serving.end()
        await self.task

    async def raw(self, data, *, cut=None):
        """Whatever comes back for these bytes, in one piece or in two, until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data[:cut])
            await asyncio.sleep(0)
            writer.write(data[len(data) if cut is None else cut :])
            async with asyncio.timeout(20):
                return await reader.read(-1)
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    found = Served(tmp_path_factory.mktemp("served"), clock=ManualClock())
    found.run(found.start())
    yield found
    found.run(found.stop())
    found.end()


def answers_in(data):
    """The answers in what came back: status, headers, body. The last body may belong to HEAD, and be absent."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        status, *lines = head.decode("latin-1").split("\r\n")
        assert re.fullmatch(r"HTTP/1\.1 [1-5]\d\d [ -~]*", status), status
        pairs = [tuple(line.split(": ", 1)) for line in lines]
        headers = {name.lower(): value for name, value in pairs}
        assert len(headers) == len(pairs), pairs
        length = int(headers.get("content-length", "0"))
        body = b"" if data.startswith(b"HTTP/1.1") else data[:length]
        data = data[len(body) :]
        found.append((int(status[9:12]), headers, body))
    return found


def check_answers(served, data, paths):
    """What goes for every answer; a file only if one of the requested paths is its link."""
    answers = answers_in(data)
    for status, headers, body in answers:
        assert status in (200, 206, 304, 400, 403, 404, 405, 412, 414, 416, 431), (status, body)
        assert headers.items() >= SAFETY.items()
        assert "location" not in headers
        assert "set-cookie" not in headers
        if status in (200, 206):
            assert headers["content-type"] == "application/pdf"
            assert headers["content-disposition"].startswith("attachment; ")
    wanted = {urllib.parse.unquote(path.partition("?")[0].partition("#")[0]) for path in paths}
    for token, content in served.tokens.items():
        if f"/media/{token}" not in wanted:
            assert content not in data
        assert token.encode() not in data
        assert token.rpartition("~")[2].encode() not in data
    return answers


def path_of(target):
    """The path of a target, which may be a whole URL."""
    return re.sub(r"^https?://[^/]*", "", target)


# -- requests of all kinds --

latin = st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=12)
methods = st.sampled_from(
    ["GET"] * 20 + ["HEAD", "get", "POST", "OPTIONS", "TRACE", "BREW", "", "G\0T", "PRI", "CONNECT"]
)
versions = st.sampled_from(
    ["HTTP/1.1"] * 20 + ["HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "http/1.1", "", "HTTP/1.1 "]
)
values = st.one_of(
    latin,
    st.text(st.characters(max_codepoint=255), max_size=3),
    st.sampled_from(
        ["bytes=0-1", "bytes=-5", "bytes=99-", "bytes=0-0,2-3", "bytes=1-0", "bytes=" + "9" * 5000, "bytes=٣-٤", "*"]
        + ['"x"', 'W/"x"', '"' * 500, '"a ' * 300, "0", "5", "-1", "0x5", "+1", "1" * 40, "chunked", "gzip, chunked"]
        + ["close", "keep-alive", "upgrade", "websocket", "100-continue", "evil.example/\"<'", "x" * 9000, "a, b" * 999]
    ),
)
header_names = st.sampled_from(
    ["host", "Host", "range", "if-range", "if-match", "if-none-match", "content-length", "transfer-encoding", "expect"]
    + ["connection", "upgrade", "x-forwarded-for", "x-forwarded-proto", "forwarded", "x", "", " x", "x ", "cookie"]
    + ["accept-encoding", "if-modified-since", "te", "trailer", "x" * 300, "range", "if-range", "x", "user-agent"]
)
headers = st.lists(st.tuples(header_names, values), max_size=2) | st.lists(st.tuples(header_names, values), max_size=6)
bodies = st.sampled_from(
    [
        "",
        "hello",
        "5\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\n",
        "0\r\nx: y\r\n\r\n",
        "-1\r\n",
        "5;" + "x" * 999 + "\r\n",
    ]
)
ends = st.sampled_from(["\r\n"] * 20 + ["\n", "\r", "\r\n ", "\0\r\n"])


def targets(token, other):
    """Targets round about a good link."""
    encoded = "".join(f"%{ord(c):02x}" for c in token)
    near = [f"/media/{token}", f"/media/{encoded}", f"http://evil.example/media/{token}", f"/media/{token}?a=b#c"]
    near += [f"/media//{token}", f"/media/{token}/", f"//media/{token}", f"/media/./{token}", f"/media/x/../{token}"]
    near += [
        f"/media%2f{token}",
        f"/MEDIA/{token}",
        f"/media/{token}%00",
        f"/media/{token}%20",
        f"/media/{token}%0d%0a",
    ]
    near += [f"/media;x/{token}", f"\\media\\{token}", f"media/{token}", f"/media/{token},{other}", f"/media/?{token}"]
    near += ["/", "*", "", "/media/", "/media", "/media/..%2f..%2fchat.sqlite3", "/media/../chat.sqlite3", "/%", "/%zz"]
    near += ["/media/" + "x" * 20_000, "/media/%c0%ae%c0%ae", "/\xff", "//", "/../" * 50, "evil.example:443", "/\t/"]
    return st.sampled_from(near) | altered(token, other).map("/media/{}".format) | texts.map("/media/{}".format)


@st.composite
def requests(draw, tokens):
    """The bytes of a request, and its path."""
    token, other = draw(st.permutations(tokens))
    target = draw(targets(token, other))
    end = draw(ends)
    lines = [f"{draw(methods)} {target} {draw(versions)}", *(f"{n}: {v}" for n, v in draw(headers)), "host: x"]
    text = end.join(lines) + "\r\n\r\n" + draw(bodies)
    return text.encode("utf-8", "surrogatepass"), path_of(target)


@search(150)
@given(data=st.data())
def test_any_request_gets_a_plain_answer_or_none(served, data):
    """One request or some behind one another, in one piece or cut anywhere; and the server goes on."""
    several = data.draw(st.lists(requests(list(served.tokens)), min_size=1, max_size=3))
    whole = b"".join(request for request, _ in several)
    cut = data.draw(st.none() | st.integers(0, len(whole)))
    token, content = next(iter(served.tokens.items()))

    async def talk():
        with capture_logs() as logs:
            found = await served.raw(whole, cut=cut)
        good = await served.raw(f"GET /media/{token} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        return found, good, logs

    found, good, logs = served.run(talk())
    # The bytes may hold another request than was meant; what is in them counts.
    paths = {path for _, path in several} | {path_of(p) for p in re.findall(r"\S+", whole.decode("latin-1"))}
    check_answers(served, found, paths)
    assert good.endswith(content)
    assert not any(t in str(logs) or "cleo" in str(logs) or "rechnung" in str(logs) for t in served.tokens)
    assert not [entry for entry in logs if entry["log_level"] != "info"]


pieces = st.binary(max_size=40) | st.sampled_from(
    [b"GET ", b"/media/", b" HTTP/1.1\r\n", b"\r\n", b"\r\n\r\n", b"content-length: 9\r\n", b"range: bytes=0-", b"\0"]
    + [b"transfer-encoding: chunked\r\n", b"\xff" * 50, b"a" * 5000, b": ", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"]
)


@search(80)
@given(st.lists(pieces, max_size=20))
def test_any_bytes_get_a_refusal_or_nothing(served, sent):
    found = served.run(served.raw(b"".join(sent)))
    assert {status for status, _, _ in check_answers(served, found, [])} <= {400, 403, 404, 405, 414, 431}


@search(150)
@given(data=st.data())
def test_only_the_link_itself_opens_and_gives_its_own_file(served, data):
    one, other = data.draw(st.permutations(list(served.tokens)))
    token = data.draw(altered(one, other) | st.text(string.printable, max_size=20) | st.text(characters, max_size=9))
    quoted = urllib.parse.quote(token, safe="~", errors="surrogatepass")
    request = f"GET /media/{quoted} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answers = check_answers(served, served.run(served.raw(request.encode())), [f"/media/{quoted}"])
    if token in served.tokens:
        assert [(status, body) for status, _, body in answers] == [(200, served.tokens[token])]
    else:
        assert [status for status, _, _ in answers] in ([403], [404])
