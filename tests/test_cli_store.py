"""`flex-actions store …`: what each command prints, where, and how it ends."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sqlite3
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from stores import add, file_of, filled

from flex_actions.backends import open_backend
from flex_actions.backends.local import DATABASE
from flex_actions.cli import main

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of its own, in which the chat lies."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLEX_ACTIONS_URL", "FLEX_ACTIONS_PLUGINS", "FLEX_ACTIONS_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def chat(folder):
    return folder / ".flex-actions"


@pytest.fixture
def messages(chat):
    """What is in the chat: 3 channels, 27 messages, 12 files."""
    return asyncio.run(filled(chat))


def cli(*args, code=0):
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (code, result.stderr)
    assert "Traceback" not in result.output
    return result


def cli_json(*args, code=0):
    return [json.loads(line) for line in cli("--json", *args, code=code).stdout.splitlines()]


async def _post(chat, *bodies):
    async with open_backend(f"local:{chat}") as backend:
        return await add(backend, "x0", *bodies)


def post(chat, *bodies):
    return asyncio.run(_post(chat, *bodies))


def texts(url="local:.flex-actions"):
    return [m["body"] for m in cli_json("--chat", url, "messages", "x0", "--as", "ada")]


def test_check_prints_a_line_a_subject(messages):
    lines = cli("store", "check", "--deep").stdout.splitlines()
    assert {line.split()[0] for line in lines} == {"ok"}
    assert "ok       files: 12 files read, with the right hash." in lines
    assert "ok       rows: The rows of 3 channels and 27 messages fit together." in lines


def test_check_ends_with_3_if_there_is_a_problem(messages, chat):
    path = file_of(chat, messages[1])
    path.write_bytes(bytes(len(path.read_bytes())))
    cli("store", "check")
    result = cli("store", "check", "--deep", code=3)
    assert "problem  files: Of 12 files: 1 wrong hash. Restore a backup" in result.stdout
    finding = next(f for f in cli_json("store", "check", "--deep", code=3) if f["level"] == "problem")
    assert finding["details"]["wrongHashSids"] == [messages[1].media.sid]


def test_check_of_what_is_no_database_ends_with_3(messages, chat):
    (chat / DATABASE).write_bytes(b"x" * 5000)
    assert (
        "problem  database: The store is damaged, or is none. Restore a backup" in cli("store", "check", code=3).stdout
    )


def test_backup_prints_where_it_lies_and_tells_people_what_is_in_it(messages, folder):
    result = cli("store", "backup", "monday")
    assert result.stdout == f"{folder / 'monday'}\n"
    assert re.fullmatch(r"Copied 3 channels, 27 messages, 12 files \(.*kB\)\.\n", result.stderr, re.IGNORECASE)
    assert len(texts("local:monday")) == len(texts())


def test_backup_as_json(messages, folder):
    [answer] = cli_json("store", "backup", "monday")
    size = sum(m.media.size_bytes for m in messages if m.media)
    assert answer == {
        "path": str(folder / "monday"), "channels": 3, "messages": 27, "files": 12, "sizeBytes": size, "leftOut": [],
    }  # fmt: skip


def test_a_backup_with_a_damaged_file_is_refused_or_goes_on_and_ends_with_1(messages, chat, folder):
    file_of(chat, messages[1]).unlink()
    [answer] = cli_json("store", "backup", "monday", code=3)
    assert (answer["error"]["code"], answer["error"]["details"]["mediaSids"]) == (
        "media_corrupt",
        [messages[1].media.sid],
    )
    assert os.listdir(folder) == [".flex-actions"]
    result = cli("store", "backup", "monday", "--keep-going", code=1)
    assert result.stdout == f"{folder / 'monday'}\n"
    assert f"Left out, damaged or missing: {messages[1].media.sid}.\n" in result.stderr
    [answer] = cli_json("store", "backup", "tuesday", "--keep-going", code=1)
    assert answer["leftOut"] == [messages[1].media.sid]


def test_a_backup_where_something_is_ends_with_1(messages, folder):
    (folder / "monday").mkdir()
    result = cli("store", "backup", "monday", code=1)
    assert result.stderr == f"Error (store_exists): '{folder / 'monday'}' is there already. Name a new folder.\n"


def test_restore_asks_for_replace_and_says_what_would_be_lost(messages, chat):
    cli("store", "backup", "monday")
    post(chat, "lost", "lost too")
    result = cli("store", "restore", "monday", code=1)
    assert "2 messages and 0 channels that are not in the backup would be lost." in result.stderr
    assert "--replace" in result.stderr
    done = cli("store", "restore", "monday", "--replace")
    assert (done.stdout, done.stderr) == (f"{chat}\n", "Restored 3 channels, 27 messages, 12 files.\n")
    assert "lost" not in texts()


def test_restore_as_json_into_a_new_chat(messages, folder):
    cli("store", "backup", "monday")
    [answer] = cli_json("--chat", "local:new", "store", "restore", "monday")
    assert answer == {
        "path": str(folder / "new"), "channels": 3, "messages": 27, "files": 12,
        "replaced": "nothing", "movedTo": None, "logEmptied": True,
    }  # fmt: skip


def test_restore_says_where_the_damaged_chat_is(messages, chat, folder):
    cli("store", "backup", "monday")
    (chat / DATABASE).write_bytes(b"x" * 5000)
    assert "is moved aside" in cli("store", "restore", "monday", code=1).stderr
    result = cli("store", "restore", "monday", "--replace")
    [kept] = [p for p in folder.iterdir() if ".damaged-" in p.name]
    assert f"The damaged chat is kept in {kept}; delete it when you need it no more.\n" in result.stderr


def test_rescue_tells_what_was_saved_and_lost(messages, chat, folder):
    file_of(chat, messages[1]).unlink()
    (chat / "media" / "a" / f"ME{'a' * 32}").touch()
    result = cli("store", "rescue", "saved")
    assert result.stdout == f"{folder / 'saved'}\n"
    lines = result.stderr.splitlines()
    assert "message      27 saved" in lines
    assert "media        11 saved, 1 lost" in lines
    assert lines[-1] == f"1 file without a message: {folder / 'saved'}/lost."
    assert "rescued copy: it can only be read" in cli(
        "--chat", "local:saved", "invoke", "SendMessage", "body=x", "channelSid=x0", "--as", "ada", code=3
    ).stderr  # fmt: skip


def test_rescue_as_json(messages, folder):
    [answer] = cli_json("store", "rescue", "saved")
    assert (answer["path"], answer["lost"], answer["newSecrets"]) == (str(folder / "saved"), {}, False)
    assert (answer["saved"]["message"], answer["saved"]["media"]) == (27, 12)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ("store check", 3, "There is no chat in"),
        ("store backup monday", 3, "There is no chat in"),
        ("store rescue monday", 3, "There is no chat in"),
        ("store restore monday", 3, "There is no chat in"),
        ("--chat memory: store check", 2, "is not kept in a folder"),
        ("--chat memory:x store backup monday", 2, "is not kept in a folder"),
        ("--chat memory:x store restore monday", 2, "is not kept in a folder"),
        ("--chat memory:x store rescue monday", 2, "is not kept in a folder"),
        ("store restore memory:x", 2, "is not kept in a folder"),
        ("store backup", 2, "Missing argument 'DEST'"),
        ("store chek", 2, "Did you mean 'check'?"),
    ],
)
def test_what_cannot_be_done_is_one_clear_error(words, code, told, folder):
    result = cli(*words.split(), code=code)
    assert (told in result.stderr, result.stderr.count("Error"), os.listdir(folder)) == (True, 1, [])


@pytest.mark.parametrize("words", ["check", "backup", "restore", "rescue"])
def test_each_command_has_its_help(words):
    assert cli("store", words, "--help").stdout.startswith(f"Usage: flex-actions store {words} ")


async def test_ctrl_c_ends_a_deep_check(folder, chat):
    await filled(chat, channels=1, messages=1)
    with contextlib.closing(sqlite3.connect(chat / DATABASE, isolation_level=None)) as db:
        # Many seconds to read, and no room on the disk.
        db.execute("UPDATE message SET media_size = ? WHERE media_sid IS NOT NULL", (1 << 37,))
        ((sid,),) = db.execute("SELECT media_sid FROM message WHERE media_sid IS NOT NULL").fetchall()
    os.truncate(chat / "media" / sid[-1] / sid, 1 << 37)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "flex_actions", "store", "check", "--deep",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])},
    )  # fmt: skip
    async with asyncio.timeout(60):
        while not any(name.endswith(sid) for name in open_files(process.pid)):
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (130, b"", b"")


def open_files(pid):
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            yield os.readlink(f"/proc/{pid}/fd/{descriptor}")


def test_progress_is_shown_on_a_terminal_only(messages, monkeypatch):
    import io

    from flex_actions.cli import progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with progress.work_shown() as on_progress:
        on_progress("files", 500_000, 2_000_000)
        on_progress("log", 1, 2)
    assert " 25% files" in shown.getvalue()
    assert "log" not in shown.getvalue()
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.work_shown() as on_progress:
        assert on_progress is None
