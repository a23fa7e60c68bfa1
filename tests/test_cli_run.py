"""`flex-actions run`: scripts, line by line; and commands as processes that talk, are cut off or interrupted."""

import asyncio
import contextlib
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flex_actions.cli import lines, main

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a chat, in it the channel `support` of ada and carl, and a file."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLEX_ACTIONS_URL", "FLEX_ACTIONS_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    CliRunner().invoke(main, ["channel", "create", "support", "--as", "ada", "--member", "carl"])
    (tmp_path / "invoice.pdf").write_bytes(b"%PDF- to pay")
    return tmp_path


def run(*script, code=0, options=("--as", "ada")):
    """Run a script of objects (or raw lines) from stdin; its answers."""
    raw = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in script)
    result = CliRunner().invoke(main, ["run", *options], input=raw, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (code, result.stderr)
    return [json.loads(line) for line in result.stdout.splitlines()]


def do(action, *, channel="support", **rest):
    payload = {"channelSid": channel, **rest.pop("payload", {})}
    return {"action": action, "payload": payload, **rest}


# -- what a script can do --


def test_the_input_lives_through_the_whole_script():
    answers = run(do("AttachFile", payload={"file": "invoice.pdf"}), do("SendMediaMessage", id=7))
    assert [a["ok"] for a in answers] == [True, True]
    assert (answers[0]["id"], answers[1]["id"], answers[1]["result"]["index"]) == (None, 7, 0)


def test_an_agent_and_a_customer_talk_in_one_script():
    found = run(
        do("SendMediaMessage", id="bill", payload={"file": "invoice.pdf"}),
        do("SendMessage", payload={"body": "thanks"}, **{"as": "carl"}, role="customer"),
        {"action": "DownloadMedia", "payload": {"message": {"id": "bill"}}, "as": "carl"},
    )
    assert found[2]["result"]["name"] == "invoice.pdf"


def test_each_identity_and_role_has_an_input_of_its_own():
    attach = do("AttachFile", payload={"file": "invoice.pdf"})
    found = run(attach, {**attach, "as": "carl"}, {**attach, "as": "carl", "role": "customer"}, attach, code=1)
    assert [a["ok"] for a in found] == [True, True, True, False]
    assert found[3]["error"]["code"] == "one_file_at_a_time"


def test_an_identity_keeps_the_role_it_had_last():
    hidden = '{"customer": {"fileAttachment": {"enabled": false}}}'
    attach = do("AttachFile", payload={"file": "invoice.pdf"}, **{"as": "carl"})
    found = run(do("SendTyping", **{"as": "carl"}, role="customer"), attach, code=1, options=("--config", hidden))
    assert found[1]["error"]["code"] == "attachments_disabled"


def test_a_script_lies_in_a_file_with_comments_and_empty_lines(folder):
    line = json.dumps(do("SendTyping"))
    (folder / "s.jsonl").write_bytes(b"\xef\xbb\xbf# hello\n\n  # more\r\n" + line.encode())
    result = CliRunner().invoke(main, ["run", "s.jsonl", "--as", "ada"])
    assert (result.exit_code, result.stdout) == (0, '{"id": null, "ok": true, "result": null}\n')


def test_a_key_sends_once_and_a_time_limit_is_taken():
    say = do("SendMessage", payload={"body": "x"}, key="k", timeoutS=5)
    first, second = run(say, say)
    assert (first["result"]["repeated"], second["result"]["repeated"]) == (False, True)


# -- failures --


def test_the_first_failure_ends_a_script():
    assert [a["ok"] for a in run(do("DetachFile"), do("SendTyping"), code=1)] == [False]


def test_with_keep_going_the_others_run_and_the_exit_code_says_that_one_failed():
    found = run(do("DetachFile", id="x"), do("SendTyping"), code=1, options=("--as", "ada", "--keep-going"))
    assert [a["ok"] for a in found] == [False, True]
    assert (found[0]["id"], found[0]["error"]["code"], found[0]["error"]["line"]) == ("x", "nothing_attached", 1)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"action": \n', "Expecting value at column "),
        (b"\xff\xfe\x00{\n", "no UTF-8"),
        (b"\x00\n", "no JSON"),
        (b"[1]\n", "must be a JSON object, not list"),
        (b'{"action": "SendTyping", "action": "SendTyping"}\n', "stands there twice"),
        (b'{"payload": {}}\n', "has no action"),
        (b'{"action": 3}\n', "action must be text"),
        (b'{"action": "SendTyping", "payload": []}\n', "payload must be a JSON object"),
        (b'{"action": "SendTyping", "payload": {"message": {"id": "zz"}}}\n', "No earlier line with the id"),
        (b'{"action": "SendTyping", "timeoutS": "1"}\n', "timeoutS must be a number"),
        (b'{"action": "SendTyping", "timeoutS": true}\n', "timeoutS must be a number"),
        (b'{"action": "SendTyping", "timeoutS": 0}\n', "timeoutS must be a number"),
        (b'{"action": "SendTyping", "timeoutS": 1' + b"0" * 400 + b"}\n", "timeoutS must be a number"),
        (b'{"id": ' + b"1" * 5000 + b"}\n", "A number has 5000 digits"),
        (b'{"action": "SendTyping", "as": ""}\n', "SendTyping needs channelSid"),
    ],
)
def test_a_bad_line_is_one_clear_error_with_its_number(line, said):
    [answer] = run(b"\n", line, code=1)
    assert (answer["ok"], answer["error"]["code"], answer["error"]["line"]) == (False, "invalid_payload", 2)
    assert said in answer["error"]["message"]


@pytest.mark.parametrize(
    ("line", "near"),
    [
        ({"acton": "SendTyping"}, "action"),
        (do("SendTyping", timeout_s=1), "timeoutS"),
        (do("SendTyping", role="agnet"), "agent"),
        (do("SendTypin"), "SendTyping"),
        (do("SendTyping", payload={"chanelSid": "x"}), "channelSid"),
        (do("SendTyping", channel="suport"), "support"),
    ],
)
def test_a_misspelt_word_in_a_line_gets_the_nearest_right_one(line, near):
    [answer] = run(line, code=1)
    assert answer["error"]["hint"] == f"Did you mean {near!r}?"


def test_a_line_that_does_not_say_who_acts_is_refused():
    [answer] = run(do("SendTyping"), code=1, options=())
    assert "does not say who acts" in answer["error"]["message"]


def test_wrong_options_are_found_before_the_first_line():
    assert run(do("SendTyping"), code=2, options=("--as", "ada", "--plugin", "nope")) == []


@pytest.mark.parametrize("script", ["nope.jsonl", "."])
def test_a_script_that_is_none_is_wrong_usage(script):
    assert CliRunner().invoke(main, ["run", script, "--as", "ada"]).exit_code == 2


def test_a_line_of_more_than_1_mib_is_refused_and_the_next_one_read():
    found = run(b"x" * 3_000_000 + b"\n", do("SendTyping"), code=1, options=("--as", "ada", "--keep-going"))
    assert [a["ok"] for a in found] == [False, True]
    assert "longer than 1048576 bytes" in found[0]["error"]["message"]


# -- lines --


class Pieces(io.BytesIO):
    """Bytes that arrive in pieces."""

    def __init__(self, pieces):
        super().__init__()
        self._pieces = [p for p in pieces if p]

    def read(self, *_):
        return self._pieces.pop(0) if self._pieces else b""


async def collect(stream):
    return [line async for line in lines.lines_of(stream)]


@given(st.lists(st.lists(st.sampled_from([b"a", b"bb", b"\n"]), max_size=8).map(b"".join), max_size=8))
def test_lines_are_the_same_however_they_arrive(pieces):
    expected = b"".join(pieces).split(b"\n")
    if not expected[-1]:
        expected.pop()
    with mock.patch.object(lines, "MAX_LINE_BYTES", 3):
        found = asyncio.run(collect(Pieces(pieces)))
    assert found == [(n, e if len(e) <= 3 else None) for n, e in enumerate(expected, 1)]


async def test_a_line_without_an_end_is_refused_before_it_ends():
    class Endless(io.BytesIO):
        def read(self, *_):
            return b"x" * 65536

    async with contextlib.aclosing(lines.lines_of(Endless())) as found:
        assert await anext(found) == (1, None)


# -- processes --


@pytest.fixture
def process():
    """`process("run", …)`: the command as a process of its own, ended with the test."""
    started = []

    def start(*args):
        command = [sys.executable, "-m", "flex_actions", *args]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen(command, env={"PYTHONPATH": str(ROOT), "PATH": ""}, **pipes))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.wait()
        for pipe in (each.stdin, each.stdout, each.stderr):
            pipe.close()


def test_each_result_is_there_before_the_next_line_is_written(process):
    script = process("run", "--as", "ada")
    for n in range(2):
        script.stdin.write(json.dumps(do("SendTyping", id=n)).encode() + b"\n")
        script.stdin.flush()
        assert json.loads(script.stdout.readline())["id"] == n
    assert script.communicate() == (b"", b"")
    assert script.returncode == 0


def test_one_process_follows_what_another_one_sends(process):
    follower = process("follow", "support", "--as", "carl", "--json")
    while json.loads(follower.stdout.readline()).get("identity") != "carl":
        pass
    assert process("invoke", "SendMessage", "body=grüße", "channelSid=support", "--as", "ada").wait() == 0
    assert json.loads(follower.stdout.readline())["message"]["body"] == "grüße"


@pytest.mark.parametrize("args", [("follow", "support", "--as", "ada"), ("run", "--as", "ada")])
def test_ctrl_c_ends_a_command_quietly(process, args):
    running = process(*args)
    if args[0] == "run":
        running.stdin.write(json.dumps(do("SendTyping")).encode() + b"\n")
        running.stdin.flush()
    assert running.stdout.readline()
    running.send_signal(signal.SIGINT)
    assert (running.stderr.read(), running.wait()) == (b"", 130)


def test_follow_ends_quietly_once_nobody_reads_it(process):
    follower = process("follow", "support", "--as", "ada")
    follower.stdout.readline()
    follower.stdout.close()
    assert (follower.stderr.read(), follower.wait()) == (b"", 141)


def test_a_command_whose_output_nobody_reads_ends_quietly(process):
    lister = process("run", "--as", "ada")
    lister.stdout.close()
    lister.stdin.write(json.dumps(do("SendTyping")).encode())
    lister.stdin.close()
    assert (lister.stderr.read(), lister.wait()) == (b"", 141)


def test_the_command_line_starts_without_what_it_does_not_need():
    code = "import sys, flex_actions.cli; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["twilio.rest", "requests", "aiohttp", "rich", "structlog", "sqlite3"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
