"""Log lines: their form, who decides on it, and that nothing of what people write or are called is in them."""

import asyncio
import base64
import contextlib
import http.client
import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
from pathlib import Path

import pytest
import structlog
from canaries import CORE, canary, holds_canary
from click.testing import CliRunner

import flex_actions
from flex_actions import ActionError, Actions, File, configure_logs, connect, open_backend, signals
from flex_actions.cli import main
from flex_actions.clock import ManualClock
from flex_actions.logs import logger
from flex_actions.server import media_app, running

ROOT = Path(__file__).parent.parent
FORMATS = ["console", "json"]
STAMP = re.compile(r"(?:\x1b\[\d+m)?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z")


@pytest.fixture(autouse=True)
def structlog_as_delivered():
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Written:
    def __init__(self, capsys):
        self._capsys = capsys

    def getvalue(self):
        return self._capsys.readouterr().err


@pytest.fixture
def stderr(capsys):
    """What is written to stderr, which is no terminal; to be asked for once."""
    return Written(capsys)


def event_of(line):
    """The event of a log line in either form; None if it is no log line."""
    if line.startswith("{"):
        return json.loads(line)["event"]
    return line.split("] ")[1].split()[0] if STAMP.match(line) else None


# -- the form of a line --


def test_json_is_one_object_a_line_with_time_level_event_and_facts(stderr):
    assert configure_logs("json")
    logger(code="x").warning("thing.happened", count=2)
    [line] = stderr.getvalue().splitlines()
    facts = json.loads(line)
    assert STAMP.fullmatch(facts.pop("timestamp"))
    assert list(facts.items()) == [("level", "warning"), ("event", "thing.happened"), ("code", "x"), ("count", 2)]


def test_console_is_a_line_for_people(stderr):
    configure_logs("console")
    logger().info("thing.happened", count=2)
    assert STAMP.sub("T", stderr.getvalue()).split() == ["T", "[info", "]", "thing.happened", "count=2"]


def test_below_the_level_nothing_is_written(stderr):
    configure_logs("json", level="warning")
    logger().info("quiet")
    logger().warning("loud")
    assert [event_of(line) for line in stderr.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize("wrong", [{"format": "xml"}, {"level": "loud"}])
def test_an_unknown_format_or_level_is_refused(refused, wrong):
    with refused("invalid_config"):
        configure_logs(**wrong)
    assert not structlog.is_configured()


@pytest.mark.parametrize("configured", [True, False])
@pytest.mark.parametrize("out", [io.StringIO, Terminal])
@pytest.mark.parametrize(
    ("err", "environment", "coloured"),
    [
        (Terminal, {}, True),
        (io.StringIO, {}, False),
        (Terminal, {"NO_COLOR": "1"}, False),
        (Terminal, {"TERM": "dumb"}, False),
    ],
)
def test_colours_are_for_stderr_alone_to_decide(  # noqa: PLR0917 - pytest gives them all by name
    monkeypatch, configured, out, err, environment, coloured
):
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if configured:
        configure_logs()
    monkeypatch.setattr(sys, "stdout", out())
    monkeypatch.setattr(sys, "stderr", err())
    logger().warning("thing.happened")
    assert ("\x1b[" in sys.stderr.getvalue(), sys.stdout.getvalue()) == (coloured, "")


@pytest.mark.parametrize("form", FORMATS)
def test_a_line_stays_one_line_and_acts_on_no_terminal(stderr, form):
    configure_logs(form)

    class Awkward:
        def __repr__(self):
            raise ValueError

    circle = []
    circle.append(circle)
    logger().info("e", a="x\n\x1b[31mred\u202e\ud800", b=Awkward(), c=float("nan"), d=circle, e={1: b"\n"}, f={"k"})
    [line] = stderr.getvalue().splitlines()
    assert line.isprintable(), line
    assert event_of(line) == "e"


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_raised_is_told_without_its_text(stderr, form):
    configure_logs(form)
    try:
        raise KeyError(canary("text"))
    except KeyError as error:
        logger().exception("a")
        logger().error("b", exc_info=error)
    told = stderr.getvalue()
    assert not holds_canary(told)
    assert (told.count("KeyError"), told.count("test_logs.py:")) == (2, 2)


def test_without_stderr_nothing_fails(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    logger().info("thing.happened")
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    logger().info("thing.happened")


# -- who decides --


def test_a_programs_own_configuration_is_never_overridden(stderr):
    seen = []

    def keep(_, __, facts):
        seen.append(facts["event"])
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    assert not configure_logs("json")
    logger().info("mine")
    assert (seen, stderr.getvalue()) == (["mine"], "")


def test_ours_may_be_changed(stderr):
    assert configure_logs("json")
    assert configure_logs("console")
    logger().info("thing.happened")
    assert STAMP.match(stderr.getvalue())


def test_it_holds_for_a_programs_own_loggers_too(capsys):
    configure_logs("json")
    structlog.get_logger().info("theirs")
    out, err = capsys.readouterr()
    assert (event_of(err), out) == ("theirs", "")


async def test_lines_of_hooks_name_their_invocation(stderr):
    configure_logs("json")
    async with connect("memory:", identity="ada", plugins=[logs_in_a_hook]) as session:
        await session.create_channel("support")
        sid = (await session.channel("support")).sid
        await session.actions.invoke("SendTyping", {"channelSid": sid})
        await session.actions.invoke("SendTyping", {"channelSid": sid})
    lines = [json.loads(line) for line in stderr.getvalue().splitlines()]
    facts = [(x["event"], x["plugin"], x["action"]) for x in lines]
    assert facts == [("seen", "logs_in_a_hook", "SendTyping")] * 2
    assert lines[0]["invocation"] != lines[1]["invocation"]


def logs_in_a_hook(plugin):
    plugin.actions.before("SendTyping", lambda payload: plugin.log.info("seen"))


# -- the command line --

BAD_PLUGIN = f"""
import asyncio, logging, threading
import structlog

structlog.get_logger().info("imported")

class Bad:
    def __del__(self):
        raise ValueError("{canary("unraisable")}")

async def late(text):
    raise ValueError(text)

def fail_in_thread():
    raise ValueError("{canary("thread")}")

def setup(plugin):
    @plugin.actions.before("SendMessage", on_error="ignore")
    async def fails(payload):
        raise ValueError(payload.body)

    @plugin.actions.after("SendMessage")
    async def leaves_trouble(payload):
        asyncio.ensure_future(late(payload.body))
        await asyncio.sleep(0)
        thread = threading.Thread(target=fail_in_thread)
        thread.start()
        thread.join()
        Bad()
        asyncio.get_running_loop().call_soon(fail_in_thread)
        await asyncio.sleep(0)
        logging.getLogger("mine").warning("a sentence of mine")
        plugin.log.info("mine.done")

    yield
    raise ValueError("{canary("unload")}")
"""


def cli(*args, **options):
    return CliRunner().invoke(main, args, catch_exceptions=False, **options)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a chat that has a channel, and a plugin that fails in every way."""
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("FLEX_ACTIONS_")]:
        monkeypatch.delenv(name)
    assert cli("channel", "create", "support", "--as", canary("identity")).exit_code == 0
    (tmp_path / "bad.py").write_text(BAD_PLUGIN, encoding="utf-8")
    return tmp_path


@pytest.fixture
def process(folder):
    """`process("run", …)`: the command as a process of its own, ended with the test."""
    started = []

    def start(*args, **more):
        environment = {"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONUTF8": "1", **more}
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(
            subprocess.Popen([sys.executable, "-m", "flex_actions", *args], cwd=folder, env=environment, **pipes)
        )
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


SEND = ["invoke", "SendMessage", f"body={canary('body')}", "channelSid=support", "--as", canary("identity")]
ALL = {
    "imported",
    "hook.failed",
    "mine.done",
    "plugin.unload_failed",
    "python.log",
    "python.thread_failed",
    "python.unraisable",
}


@pytest.mark.parametrize("how", ["option before", "option behind", "environment"])
def test_the_command_line_takes_a_format(process, how):
    option = ["--log-format", "json"]
    command = ["--plugin", "bad.py", *SEND]
    words = {"option before": option + command, "option behind": command + option}.get(how, command)
    _, told = process(*words, FLEX_ACTIONS_LOG_FORMAT="json" if how == "environment" else "console").communicate()
    assert {json.loads(line)["event"] for line in told.decode().splitlines()} == ALL


@pytest.mark.parametrize("how", ["option", "environment"])
def test_the_command_line_takes_a_level(process, how):
    words = ["--plugin", "bad.py", *SEND, *(["--log-level", "error"] if how == "option" else [])]
    _, told = process(*words, FLEX_ACTIONS_LOG_LEVEL="error" if how == "environment" else "info").communicate()
    events = {event_of(line) for line in told.decode().splitlines()}
    assert events == {"python.log", "python.thread_failed", "python.unraisable"}


@pytest.mark.parametrize("form", FORMATS)
def test_whatever_fails_in_a_command_is_logged_in_one_form_and_without_its_text(process, form):
    command = process("--plugin", "bad.py", "--log-format", form, "--json", *SEND)
    out, err = (told.decode() for told in command.communicate())
    assert {event_of(line) for line in err.splitlines()} == ALL
    assert "a sentence of mine" in err
    assert not holds_canary(err)
    assert (json.loads(out)["ok"], command.returncode) == (True, 0)


def test_a_command_leaves_everything_as_it_was(folder, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    before = sys.unraisablehook, threading.excepthook
    assert cli("actions", "--plugin", "refuse_executables").exit_code == 0
    assert (sys.unraisablehook, threading.excepthook) == before
    assert (root.handlers, structlog.is_configured()) == ([], False)


def test_a_command_keeps_a_configuration_of_the_program_by_configure_logs(folder):
    configure_logs("json")
    (folder / "logs.py").write_text("def setup(plugin):\n    plugin.log.info('mine.begun')\n", encoding="utf-8")
    result = cli("actions", "--plugin", "logs.py", "--log-format", "console")
    assert (event_of(result.stderr), result.stderr[0], structlog.is_configured()) == ("mine.begun", "{", True)


def test_a_command_keeps_a_configuration_that_is_there(folder):
    (folder / "fails.py").write_text("def setup(plugin):\n    plugin.log.info('mine.begun')\n", encoding="utf-8")
    with structlog.testing.capture_logs() as logs:
        result = cli("actions", "--plugin", "fails.py", "--log-format", "json")
    assert ([entry["event"] for entry in logs], result.stderr) == (["mine.begun"], "")


# -- nothing personal --


def fails_with(text):
    def fail(*_, **__):
        raise ValueError(text)

    return fail


def hostile_plugin(plugin):
    """Everything that a plugin can do wrong, with personal data in all it raises."""
    actions = plugin.actions
    actions.before("SendTyping", fails_with(canary("before")))
    actions.before("SetInputText", fails_with(canary("ignored")), on_error="ignore")
    actions.guard("DeleteMessage", lambda payload, abort: abort(canary("abort reason")))
    actions.after("SendMessage", fails_with(canary("after")))
    actions.add_listener("abortDeleteMessage", fails_with(canary("abort listener")))
    actions.add_listener("errorSendTyping", fails_with(canary("error listener")))
    actions.add_listener("invocationBegin", fails_with(canary("event listener")))
    actions.before("AttachFile", lambda payload: None, timeout_s=0)

    async def too_long(payload):
        await asyncio.sleep(60)

    actions.before("DetachFile", too_long, timeout_s=0.001)
    actions.register("Explode", fails_with(canary("body of an action")))
    yield
    raise ValueError(canary("unload"))


async def trouble(call):
    """Whatever this is refused with, or its value."""
    try:
        return await call
    except (ActionError, ValueError) as error:
        return error


async def all_actions(session, sid, path):
    invoke = session.actions.invoke
    name = canary("file").replace("/", "")
    for action, payload, key in (
        ("SendMessage", {"body": canary("text"), "messageAttributes": {canary("k"): canary("v")}}, canary("key")),
        ("SendMessage", {"body": canary("other text")}, canary("key")),
        ("SetInputText", {"body": canary("input")}, None),
        ("SendTyping", {}, None),
        ("AttachFile", {"file": str(path)}, None),
        ("AttachFile", {"file": str(path) + canary("missing")}, None),
        ("DetachFile", {}, None),
        ("SendMediaMessage", {"file": str(path)}, canary("key of a file")),
        ("SendMediaMessage", {"file": File.from_bytes(b"x", name=name + ".exe")}, None),
        ("SendMediaMessage", {"file": File.from_bytes(b"", name=name + ".pdf")}, None),
        ("DownloadMedia", {"message": canary("no message")}, None),
        ("Explode", {canary("k"): canary("v")}, None),
        (canary("unknown action"), {canary("k"): 1}, None),
        ("SendMessage", {"body": canary("text"), canary("unknown key"): 1}, None),
        ("SendMessage", {"body": canary("text"), "channelSid": canary("no channel")}, None),
    ):
        await trouble(invoke(action, {"channelSid": sid, **payload}, key=key, timeout_s=30))
    for message in await session.messages(sid):
        for action in ("DownloadMedia", "DeleteMessage"):
            await trouble(invoke(action, {"message": message.sid, "channelSid": sid}))


@contextlib.contextmanager
def failing_observers():
    with contextlib.ExitStack() as stack:
        for name, each in signals.SIGNALS.items():
            stack.enter_context(each.connected_to(fails_with(canary(f"observer of {name}"))))
        yield


async def get(address, path, method="GET", headers=()):
    """One request, sent as it is; what came back."""
    host, port = address.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = "".join(f"{name}: {value}\r\n" for name, value in (("host", canary("host")), *headers))
    writer.write(f"{method} {path} HTTP/1.1\r\n{head}connection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer


async def serve_all(backend, clock, media_sid, identity):
    """Good, expired, altered and hostile requests."""
    started = asyncio.get_running_loop().create_future()
    task = asyncio.ensure_future(running.serve(backend, port=0, ready=started.set_result))
    serving = await started
    link = (await backend.temporary_link(media_sid, reader=identity)).url.removeprefix(serving.address)
    headers = [
        (name, canary(name)) for name in ("user-agent", "cookie", "referer", "authorization", "range", "if-match")
    ]
    answers = [await get(serving.address, link), await get(serving.address, link, headers=headers)]
    for path in (
        link[:-2],
        f"/media/{CORE}",
        f"/{CORE}?{CORE}={CORE}",
        f"/media/{CORE * 2000}",
        link.upper(),
        f"/{canary('')}",
    ):
        answers.append(await get(serving.address, path.replace(" ", "%20"), headers=headers))
    for method in (CORE.upper(), "PUT"):
        answers.append(await get(serving.address, link, method=method, headers=headers))
    answers.append(await get(serving.address, link, headers=[("content-length", "7"), ("x", CORE)]))
    clock.advance(301)
    answers.append(await get(serving.address, link, headers=headers))
    serving.end()
    await task
    return [answer[9:12] for answer in answers], link.rpartition("~")[2]


class Failing:
    async def open_link(self, url):
        raise RuntimeError(canary("inside the server"))


async def fail_inside(app):
    async def nothing(*_):
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": f"/media/{CORE}", "query_string": b"", "headers": []}
    await app({**scope, "root_path": "", "http_version": "1.1", "scheme": "http"}, nothing, nothing)


async def everything(folder):
    """A wide round through the library, with something planted wherever a user has a say."""
    clock, identity, customer = ManualClock(), canary("identity"), canary("customer")
    path = folder / f"{canary('path')}.pdf"
    path.write_bytes(b"%PDF-" + canary("content").encode())
    chat = folder / canary("chat")
    async with open_backend(f"local:{chat}", clock=clock):
        pass
    (chat / "media" / "0" / ("ME" + "0" * 32)).write_text(canary("left over"))
    with failing_observers():
        async with (
            open_backend(f"local:{chat}", clock=clock) as backend,
            connect(backend, identity=identity, plugins=[hostile_plugin]) as ada,
            connect(backend, identity=customer, role="customer", profile="flex1") as cleo,
        ):
            sid = (await ada.create_channel(canary("unique name"), members=[customer])).sid
            follower = ada.follow(sid)
            await anext(follower)
            await trouble(ada.create_channel(canary("unique name")))
            await trouble(ada.plugins.load(fails_with(canary("setup"))))
            cleo.actions.before("SendMessage", fails_with(canary("in flex1")))
            for session in (ada, cleo):
                await all_actions(session, sid, path)
            await trouble(backend.open_link("flex-media:v1~" + canary("token")))
            sent = await ada.actions.invoke("SendMediaMessage", {"file": str(path), "channelSid": sid})
            statuses, signature = await serve_all(backend, clock, sent.media_sid, identity)
            secrets = [value for (value,) in backend._writing.db.execute("SELECT value FROM secret").fetchall()]
            await store_faults(backend, ada, sid, sent)
            await follower.aclose()
    await fail_inside(media_app(Failing()))
    return statuses, [
        signature,
        *(form for s in secrets for form in (repr(s)[2:-1], s.hex(), base64.b64encode(s).decode())),
    ]


async def store_faults(backend, session, sid, sent):
    db = backend._writing.db
    db.execute("PRAGMA max_page_count=1")
    full = await trouble(session.actions.invoke("SendMessage", {"body": canary("big") * 9999, "channelSid": sid}))
    assert full.code == "store_full"
    db.execute("PRAGMA max_page_count=1000000")
    Path(backend._folder.path(sent.media_sid)).write_bytes(canary("other content").encode())
    [message] = [m for m in await session.messages(sid) if m.sid == sent.message_sid]
    damaged = await trouble(session.download(message, Path(backend.path) / "copy.pdf"))
    assert damaged.code == "media_corrupt"


OURS = {
    *("hook.failed", "hook.slow", "observer.failed", "plugin.unload_failed"),
    *("server.failed", "server.request", "store.files_set_aside"),
}


@pytest.mark.parametrize("form", FORMATS)
async def test_nothing_that_people_control_is_in_any_log_line(tmp_path, stderr, form):
    configure_logs(form, level="debug")
    statuses, secrets = await everything(tmp_path)
    lines = stderr.getvalue().splitlines()
    assert {event_of(line) for line in lines} == OURS
    assert [line for line in lines if holds_canary(line) or any(secret in line for secret in secrets)] == []
    assert {b"200", b"400", b"403", b"404", b"405", b"414"} <= set(statuses)


@pytest.mark.parametrize("form", FORMATS)
async def test_the_same_unconfigured(tmp_path, stderr, form):
    del form
    await everything(tmp_path)
    lines = stderr.getvalue().splitlines()
    assert {event_of(line) for line in lines} == OURS
    assert [line for line in lines if holds_canary(line)] == []


WAYS = {
    "as it is": str,
    "in capitals": str.upper,
    "quoted": urllib.parse.quote,
    "quoted all over": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "escaped": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "as JSON in JSON": lambda text: json.dumps({"x": json.dumps(text)}),
    "bytes": lambda text: text.encode(),
    "hexadecimal": lambda text: text.encode().hex(),
    **{
        f"base64 {n}": lambda text, n=n: base64.urlsafe_b64encode(b"-" * n + text.encode()).decode().rstrip("=")
        for n in range(3)
    },
    "in a list": lambda text: [{"a": text}],
    "a path": Path,
}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("way", WAYS)
async def test_the_hunt_finds_what_is_planted_on_purpose(tmp_path, stderr, form, way):
    """Check the checker: one careless plugin is enough."""
    configure_logs(form)

    def careless(plugin):
        plugin.actions.after(
            "SendMessage", lambda payload: plugin.log.info("sent", what=WAYS[way](payload.body)), on_error="refuse"
        )

    async with connect("memory:", identity="ada", plugins=[careless]) as session:
        sid = (await session.create_channel()).sid
        await session.actions.invoke("SendMessage", {"body": canary("text"), "channelSid": sid})
    [line] = stderr.getvalue().splitlines()
    assert (event_of(line), holds_canary(line)) == ("sent", True)


# -- and in processes of their own --


@pytest.mark.parametrize("form", FORMATS)
def test_a_script_logs_nothing_personal(process, form):
    lines = [
        {"action": "SendMessage", "payload": {"body": canary("body"), "channelSid": "support"}, "key": canary("key")},
        {"action": "SendMessage", "payload": {"body": canary("body"), "channelSid": canary("unknown")}},
        {"action": canary("action"), "payload": {canary("k"): canary("v")}, "id": canary("id")},
        {canary("key"): 1},
        canary("no object"),
    ]
    script = "\n".join([*map(json.dumps, lines), canary("no JSON")])
    run = process("run", "--keep-going", "--plugin", "bad.py", "--log-format", form, "--as", canary("identity"))
    _, told = run.communicate(script.encode())
    logged, said = split(told)
    assert run.returncode == 1
    assert [line for line in said if not line.startswith("Error in line ")] == []
    assert {"hook.failed", "python.log", "plugin.unload_failed"} <= {event_of(line) for line in logged}
    assert [line for line in logged if holds_canary(line)] == []
    assert holds_canary("\n".join(said))  # its user is told what was wrong


def split(told):
    """Log lines, and what a command says to its user."""
    lines = told.decode().splitlines()
    return [x for x in lines if event_of(x)], [x for x in lines if not event_of(x)]


@pytest.mark.parametrize("form", FORMATS)
def test_a_server_logs_nothing_personal_and_all_in_one_form(process, folder, form):
    (folder / "a.pdf").write_bytes(b"%PDF-")
    send = ["invoke", "SendMediaMessage", "file@a.pdf", "channelSid=support", "--as", canary("identity"), "--json"]
    sent = json.loads(cli(*send).stdout)
    server = process("serve", "--port", "0", "--log-format", form, "--json")
    address = json.loads(server.stdout.readline())["address"]
    link = cli("invoke", "DownloadMedia", f"message={sent['result']['messageSid']}", "--as", canary("identity"))
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    statuses = []
    for path in (link.stdout.split()[0].removeprefix(address), f"/media/{CORE}", f"/{CORE}"):
        connection.request("GET", path, headers={"user-agent": CORE, "cookie": CORE})
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    server.send_signal(signal.SIGTERM)
    _, told = server.communicate()
    logged, said = split(told)
    assert (statuses, server.returncode) == ([200, 403, 404], 0)
    assert [event_of(line) for line in logged] == ["server.request"] * 3
    assert (said, holds_canary(told.decode())) == ([], False)


def test_the_readme_names_every_event():
    found = set()
    for path in Path(flex_actions.__file__).parent.rglob("*.py"):
        found |= set(
            re.findall(r'"((?:hook|observer|plugin|server|store|python)\.[a-z_]+)"', path.read_text(encoding="utf-8"))
        )
    told = (ROOT / "README.md").read_text(encoding="utf-8").partition("| log event |")[2].partition("\n\n")[0]
    assert (
        found == set(re.findall(r"`([a-z]+\.[a-z_]+)`", told)) == OURS | {e for e in found if e.startswith("python.")}
    )


async def test_an_action_on_its_own_logs_its_hooks_failure_once(stderr):
    actions = Actions()
    actions.register("Go", lambda payload: None)
    actions.before("Go", fails_with(canary("text")), on_error="ignore")
    await actions.invoke("Go")
    [line] = stderr.getvalue().splitlines()
    assert " action=Go invocation=1 " in line
    assert not holds_canary(line)
