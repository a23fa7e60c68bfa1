"""The command line: what each command prints, where, and how it ends."""

import io
import json
import os
import sys
import unicodedata

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from flex_actions import CODES, File, signals
from flex_actions.cli import main
from flex_actions.cli.exits import MEANINGS, exit_code
from flex_actions.cli.progress import progress_shown
from flex_actions.cli.render import jsonable, shown

NO_PDF = """
def setup(plugin):
    @plugin.actions.guard("SendMediaMessage")
    def refuse_pdf(payload, abort):
        if payload.file.extension == "pdf":
            abort("no pdf here")

    @plugin.actions.before("SendMediaMessage", priority=1)
    def earlier(payload): ...

    @plugin.actions.before("SendMediaMessage", priority=2)
    def earliest(payload): ...
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder of its own, in which the chat and the files lie."""
    monkeypatch.chdir(tmp_path)
    for name in ("FLEX_ACTIONS_URL", "FLEX_ACTIONS_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def cli(*args, code=0, stdin=None):
    result = CliRunner().invoke(main, args, input=stdin, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (code, result.stderr)
    assert "Traceback" not in result.output
    return result


def cli_json(*args, code=0):
    return [json.loads(line) for line in cli("--json", *args, code=code).stdout.splitlines()]


@pytest.fixture
def support():
    """A channel `support` with ada and carl."""
    return cli("channel", "create", "support", "--as", "ada", "--member", "carl").stdout.strip()


@pytest.fixture
def invoice(folder):
    path = folder / "invoice.pdf"
    path.write_bytes(b"%PDF- to pay")
    return path


@pytest.fixture
def sent(support, invoice):
    """The sid of the message that carries the invoice."""
    return cli("invoke", "SendMediaMessage", "file@invoice.pdf", "channelSid=support", "--as", "ada").stdout[:34]


# -- the main job --


def test_a_file_sent_by_one_command_is_read_by_another(support, invoice, folder):
    cli("invoke", "SendMediaMessage", "file@invoice.pdf", "channelSid=support", "--as", "ada")
    line = cli("messages", "support", "--as", "carl").stdout
    cli("download", line.split()[1], "-o", "copy.pdf", "--as", "carl", "--role", "customer")
    assert (folder / "copy.pdf").read_bytes() == invoice.read_bytes()


def test_invoke_prints_the_sid_first(support, invoice):
    result = cli("invoke", "SendMediaMessage", "file@invoice.pdf", "channelSid=support", "--as", "ada")
    sid, *rest = result.stdout.split()
    assert (sid[:2], len(sid), rest, result.stderr) == ("IM", 34, ["message", "0"], "")


def test_invoke_as_json_is_one_object(support, invoice):
    [answer] = cli_json("invoke", "SendMediaMessage", "file@invoice.pdf", "channelSid=support", "--as", "ada")
    assert answer["ok"]
    assert (answer["result"]["index"], answer["result"]["repeated"]) == (0, False)
    assert answer["result"]["mediaSid"].startswith("ME")


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_shared_options_stand_before_or_after_the_command(support, place):
    words = ["channel", "show", "support"]
    words[place:place] = ["--json"]
    assert json.loads(cli(*words).stdout)["uniqueName"] == "support"


def test_a_link_is_printed_with_what_it_leads_to(sent):
    out = cli("invoke", "DownloadMedia", f"message={sent}", "--as", "carl").stdout
    assert out.startswith("flex-media:")
    assert "invoice.pdf, application/pdf, 12B, until " in out


def test_the_same_key_sends_once(support):
    words = ("invoke", "SendMessage", "body=hi", "channelSid=support", "--as", "ada", "--key", "k1")
    first, again = cli_json(*words), cli_json(*words)
    assert again[0]["result"] == {**first[0]["result"], "repeated": True}


def test_json_values_are_written_with_a_colon(support):
    cli("invoke", "SendMessage", "body=hi", 'messageAttributes:={"a": [1]}', "channelSid=support", "--as", "ada")
    assert cli_json("messages", "support", "--as", "ada")[0]["attributes"] == {"a": [1]}


@pytest.mark.parametrize("key", ["channelSid", "channel_sid", "channel", "conversationSid"])
def test_a_channel_is_named_or_given_by_sid_under_each_of_its_words(support, key):
    for given_as in ("support", support):
        cli("invoke", "SendMessage", "body=hi", f"{key}={given_as}", "--as", "ada")
    assert len(cli_json("messages", support, "--as", "ada")) == 2


def test_attach_alone_says_that_the_input_ends_with_the_command(support, invoice):
    result = cli("invoke", "AttachFile", "file@invoice.pdf", "channelSid=support", "--as", "ada")
    assert result.stdout == "AttachFile: done\n"
    assert "flex-actions run" in result.stderr


def test_a_number_of_thousands_of_digits_is_no_json_of_ours(support):
    result = cli("invoke", "SendTyping", "channelSid:=" + "1" * 5000, "--as", "ada", code=2)
    assert "A number has 5000 digits." in result.stderr


@pytest.mark.parametrize("name", ["deep.toml", "deep.json"])
def test_settings_that_are_nested_without_end_are_wrong_usage(folder, name):
    (folder / name).write_text(('{"a":' if name.endswith("json") else "a = ") + "[" * 100_000)
    assert "nested too deeply" in cli("actions", "--config", name, code=2).stderr


def test_a_number_of_thousands_of_digits_is_no_setting(folder):
    (folder / "a.toml").write_text("a = " + "1" * 5000)
    assert "a number of thousands of digits" in cli("actions", "--config", "a.toml", code=2).stderr


def test_an_argument_cannot_act_on_the_terminal_through_the_error_that_refuses_it(support):
    stderr = cli("invoke", "SendTyping", "\x1b[2J:=", "--as", "ada", code=2).stderr
    assert "\x1b" not in stderr
    assert "For text write = instead of :=." in stderr


# -- channels --


def test_create_prints_the_sid_and_tells_people_who_is_in_it():
    result = cli("channel", "create", "support", "--member", "carl", "--member", "dora")
    assert result.stdout.startswith("CH")
    assert result.stderr == "Created support with flex-actions, carl, dora.\n"


def test_channels_are_listed_in_all_or_those_of_a_member(support):
    cli("channel", "create", "sales", "--type", "sms")
    assert [c["uniqueName"] for c in cli_json("channel", "list")] == ["support", "sales"]
    assert cli("channel", "list", "--as", "carl").stdout == f"{support}  support  web  active\n"


def test_members_come_and_go(support):
    assert cli("channel", "add-member", "support", "dora", "Émile").stdout == "dora\nÉmile\n"
    cli("channel", "remove-member", support, "dora")
    [channel] = cli_json("channel", "show", "support")
    assert [m["identity"] for m in channel["members"]] == ["ada", "carl", "Émile"]


def test_a_closed_channel_refuses_messages(support):
    assert cli("channel", "close", "support").stdout.endswith("closed\n")
    [answer] = cli_json("invoke", "SendMessage", "body=hi", "channelSid=support", "--as", "ada", code=1)
    assert answer["error"]["code"] == "channel_closed"


def test_show_lists_members(support):
    assert "  member carl since " in cli("channel", "show", "support").stdout


@pytest.mark.parametrize("name", ["", "\x1b[31m"])
def test_a_member_without_a_printable_name_is_refused(support, name):
    assert "(invalid_config)" in cli("channel", "add-member", "support", name, code=2).stderr


# -- reading --


def test_messages_after_an_index_and_at_most_so_many(support):
    for n in range(4):
        cli("invoke", "SendMessage", f"body={n}", "channelSid=support", "--as", "ada")
    found = cli_json("messages", "support", "--after", "0", "--limit", "2", "--as", "ada")
    assert [m["body"] for m in found] == ["1", "2"]


def test_a_file_is_a_placeholder_where_attachments_are_disabled(sent):
    off = '{"fileAttachment": {"enabled": false}}'
    out = cli("messages", "support", "--as", "carl", "--role", "customer", "--config", off).stdout
    assert "[a file; attachments are disabled for this side]" in out
    assert "invoice" not in out


def test_what_others_wrote_cannot_act_on_the_terminal(support):
    cli("invoke", "SendMessage", r'body:="\u001b[2J\nok \u202e\u009b👩\u200d👧"', "channelSid=support", "--as", "ada")
    [line] = cli("messages", "support", "--as", "ada").stdout.splitlines()
    assert line.endswith("ada: \\x1b[2J\\nok \\u202e\\x9b👩\u200d👧")


@given(st.text())
def test_shown_text_has_no_control_character(text):
    found = {unicodedata.category(c) for c in shown(text) if c not in "\u200c\u200d"}
    assert not found & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_json_is_ascii_and_whole(support):
    cli("invoke", "SendMessage", "body=schön 👩", "channelSid=support", "--as", "ada")
    out = cli("--json", "messages", "support", "--as", "ada").stdout
    assert out.isascii()
    assert json.loads(out)["body"] == "schön 👩"


def test_json_of_anything_is_json():
    odd = {"nan": float("nan"), 1: {2}, "file": File.from_bytes(b"x", name="a.txt"), "o": ValueError("x")}
    assert json.loads(json.dumps(jsonable(odd), allow_nan=False)) == {
        "nan": None,
        "1": [2],
        "file": {"name": "a.txt", "contentType": "text/plain", "sizeBytes": 1},
        "o": "x",
    }


def test_json_of_what_contains_itself_ends():
    endless = []
    endless.append(endless)
    assert "…" in str(jsonable(endless))


def test_follow_goes_on_behind_a_cursor(support):
    first = cli_json("follow", "support", "--limit", "1", "--as", "ada")
    then = cli_json("follow", "support", "--after", first[0]["cursor"], "--limit", "1", "--as", "ada")
    assert [e["type"] for e in first + then] == ["channel_created", "member_added"]


def test_follow_ends_when_its_time_is_up(sent):
    out = cli("follow", "support", "--as", "ada", "--timeout", "0.05").stdout
    assert "message_added  0  IM" in out


def test_follow_of_what_is_new_shows_nothing_old(sent):
    assert cli("follow", "support", "--as", "ada", "--new", "--timeout", "0.01").stdout == ""


def test_download_into_a_folder_takes_the_sent_name_and_overwrites_nothing(sent, folder):
    (folder / "in").mkdir()
    assert cli("download", sent, "-o", "in", "--as", "carl").stdout == "in/invoice.pdf\n"
    assert "(file_unwritable)" in cli("download", sent, "-o", "in", "--as", "carl", code=1).stderr


def test_download_to_stdout_is_the_bytes_alone(sent, invoice):
    assert cli("download", sent, "-o", "-", "--as", "carl").stdout_bytes == invoice.read_bytes()


def test_download_takes_a_link_and_a_channel(sent, folder):
    [answer] = cli_json("invoke", "DownloadMedia", f"message={sent}", "--as", "carl")
    cli("download", answer["result"]["url"], "-o", "a.pdf", "--as", "carl")
    assert cli_json("download", sent, "-o", "b.pdf", "--channel", "support", "--as", "carl") == [{"path": "b.pdf"}]
    assert (folder / "a.pdf").read_bytes() == (folder / "b.pdf").read_bytes()


# -- plugins and settings --


def test_a_plugin_file_takes_part(support, invoice, folder):
    (folder / "no_pdf.py").write_text(NO_PDF)
    words = ("invoke", "SendMediaMessage", "file@invoice.pdf", "channelSid=support", "--as", "ada")
    [answer] = cli_json(*words, "--plugin", "no_pdf.py", code=1)
    assert answer["error"]["code"] == "action_aborted"
    assert "no_pdf" in answer["error"]["hook"]


def test_actions_shows_payloads_and_hooks_in_the_order_they_run(folder):
    (folder / "no_pdf.py").write_text(NO_PDF)
    lines = cli("actions", "--plugin", "no_pdf.py").stdout.splitlines()
    start = lines.index("SendMediaMessage  channelSid, file?, messageAttributes?")
    assert lines[start + 1 : start + 4] == [
        "  1. before  no_pdf: setup.earliest",
        "  2. before  no_pdf: setup.earlier",
        "  3. guard  no_pdf: setup.refuse_pdf",
    ]


def test_actions_as_json_says_which_keys_are_required():
    facts = {a["action"]: a for a in cli_json("actions")}
    assert facts["AttachFile"] == {"action": "AttachFile", "payload": {"file": True, "channelSid": True}, "hooks": []}


def test_actions_lists_a_plugins_own_action(folder):
    (folder / "greet.py").write_text("def setup(plugin): plugin.actions.register('Greet', lambda p: 'hi\\x07')")
    assert "Greet  (its own payload)" in cli("actions", "--plugin", "greet.py").stdout
    cli("channel", "create")
    assert cli("invoke", "Greet", "channel=any", "--plugin", "greet.py", "--as", "ada").stdout == "hi\\x07\n"


def test_actions_leaves_no_store_behind(folder):
    cli("actions")
    assert list(folder.iterdir()) == []


def test_plugins_of_the_environment_are_separated_by_commas(folder, monkeypatch):
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text(f"def setup(plugin): plugin.actions.register('{name}', lambda: None)")
    monkeypatch.setenv("FLEX_ACTIONS_PLUGINS", "one.py, two.py,")
    assert {"one", "two"} <= {a["action"] for a in cli_json("actions")}


def test_a_hook_that_waits_in_vain_is_a_plain_warning(folder):
    (folder / "typo.py").write_text("def setup(plugin): plugin.actions.before('SendMesage', lambda p: None)")
    [line] = cli("actions", "--plugin", "typo.py").stderr.splitlines()
    assert line.startswith("Warning: ")
    assert "SendMessage" in line


def test_plugins_says_who_brings_what_and_where_names_clash(folder, monkeypatch):
    for dist, names in (("alpha", ["one", "both"]), ("beta", ["both"])):
        info = folder / f"{dist}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.5\n")
        points = "".join(f"{n} = {dist}:setup\n" for n in names)
        (info / "entry_points.txt").write_text(f"[flex_actions.plugins]\n{points}")
    monkeypatch.syspath_prepend(str(folder))
    lines = cli("plugins").stdout.splitlines()
    assert {"one  alpha  1.5  installed", "both  alpha  1.5  clash", "both  beta  1.5  clash"} <= set(lines)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.toml", "[fileAttachment]\nmaxFileSize = 3\n"),
        ("c.json", '{"fileAttachment": {"maxFileSize": 3}}'),
        (None, '{"fileAttachment": {"maxFileSize": 3}}'),
    ],
)
def test_settings_come_from_toml_json_or_the_command_line(support, invoice, folder, name, text):
    if name:
        (folder / name).write_text(text)
    words = ("invoke", "SendMediaMessage", "file@invoice.pdf", "channelSid=support", "--as", "ada")
    [answer] = cli_json(*words, "--config", name or text, code=1)
    assert answer["error"]["code"] == "invalid_size"
    assert answer["error"]["details"] == {"name": "invoice.pdf", "limit": 3, "actual": 12}


def test_the_chat_comes_from_the_environment_unless_it_is_given(folder, monkeypatch):
    monkeypatch.setenv("FLEX_ACTIONS_URL", "local:one")
    cli("channel", "create", "x")
    cli("channel", "create", "x", "--chat", "local:two")
    assert {p.name for p in folder.iterdir()} == {"one", "two"}


# -- misspelt --


@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["mesages", "support"], "Did you mean 'messages'?"),
        (["channel", "addmember"], "Did you mean 'add-member'?"),
        (["messages", "support", "--limt", "1"], "--limit"),
        (["messages", "support", "--rol", "agent"], "--role"),
        (["messages", "support", "--role", "agnet"], "agent"),
        (["actions", "--config", '{"fileAttachmnt": {}}'], "Did you mean 'fileAttachment'?"),
        (["actions", "--plugin", "refuse_executable"], "refuse_executable"),
        (["actions", "--chat", "lokal:x"], ""),
    ],
)
def test_a_misspelt_word_of_usage_gets_the_nearest_right_one(words, near):
    assert near in cli(*words, code=0 if near == "" else 2).stderr


@pytest.mark.parametrize(
    ("words", "code", "near"),
    [
        (["SendMediaMesage", "channelSid=support"], "unknown_action", "SendMediaMessage"),
        (["SendMessage", "boddy=x", "channelSid=support"], "invalid_payload", "body"),
        (["SendMessage", "body=x", "channelSid=suport"], "unknown_channel", "support"),
    ],
)
def test_a_misspelt_action_key_or_channel_gets_the_nearest_right_one(support, words, code, near):
    err = cli("invoke", *words, "--as", "ada", code=1).stderr
    assert err.startswith(f"Error ({code}): ")
    assert err.rstrip().endswith(f"Did you mean {near!r}?")


# -- bad input --


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["body"], "no key=value"),
        (["=x"], "no key=value"),
        (["body=x", "body=y"], "'body' is given twice"),
        (["body:={"], "no JSON: "),
        (["body:=NaN"], "NaN is no JSON"),
        (['body:={"a": 1, "a": 2}'], "stands there twice"),
        (["body:=" + "[" * 100_000], "no JSON"),
    ],
)
def test_a_part_of_a_payload_that_is_none_is_wrong_usage(words, said):
    assert said in cli("invoke", "SendMessage", *words, "--as", "ada", code=2).stderr


@pytest.mark.parametrize(("path", "why"), [("nope.pdf", "No such file"), (".", "is a folder"), ("a\0b", "null byte")])
def test_a_file_that_is_none_is_refused(support, path, why):
    err = cli("invoke", "SendMediaMessage", f"file@{path}", "channelSid=support", "--as", "ada", code=1).stderr
    assert "(file_unreadable)" in err
    assert why in err


@pytest.mark.parametrize(
    "words", [["messages", "support"], ["follow", "support"], ["invoke", "SendMessage"], ["download", "IM0"]]
)
def test_who_you_are_must_be_said(words):
    assert "--as IDENTITY" in cli(*words, code=2).stderr


def test_one_who_is_no_member_is_told_how_to_become_one(support):
    err = cli("messages", "support", "--as", "bob", code=1).stderr
    assert err.startswith("Error (not_a_member): 'bob' is not a member")
    assert "flex-actions channel add-member" in err


@pytest.mark.parametrize(
    "value", ["nope.toml", "nope.json", "settings.yaml", "{", '{"a": 1, "a": 2}', '{"fileAttachment": 3}', "bad.toml"]
)
def test_settings_that_are_none_are_wrong_usage(folder, value):
    (folder / "bad.toml").write_bytes(b"= \xff")
    cli("actions", "--config", value, code=2)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["download", "IM0", "-o", "-", "--json", "--as", "a"], 2),
        (["download", "IM0", "-o", "none/", "--as", "a"], 1),
        (["download", "IM" + "0" * 32, "--as", "a"], 1),
        (["download", "flex-media:v1~x", "--as", "a"], 1),
        (["follow", "support", "--after", "1", "--new", "--as", "a"], 2),
        (["follow", "support", "--after", "zzz", "--as", "ada"], 1),
        (["channel", "create", "support"], 1),
        (["channel", "create", "CH" + "0" * 32], 1),
        (["channel", "show", "suppor"], 1),
        (["messages", "\udcff", "--as", "ada"], 1),
        (["messages", "support", "--as", "\udcff"], 2),
        (["invoke", "SendMessage", "body=\udcff", "channelSid=support", "--as", "ada"], 1),
        (["invoke", "SendTyping", "channelSid=support", "--as", "ada", "--timeout", "0"], 2),
        (["invoke", "SendTyping", "channelSid=support", "--as", "ada", "--key", "k"], 1),
        (["--chat", "nothing", "channel", "list"], 2),
    ],
)
def test_bad_input_is_one_clear_error(support, words, code):
    assert cli(*words, code=code).stderr.count("Error") == 1


# -- exit codes --


def test_each_exit_code_has_one_meaning_and_help_shows_them_all():
    assert {exit_code(code) for code in CODES} == {1, 2, 3, 4}
    out = cli("--help").stdout
    assert all(f"{code:>3}  {meaning}" in out for code, meaning in MEANINGS.items())


def test_a_store_that_is_none_ends_with_3(folder):
    (folder / "file").write_text("x")
    [answer] = cli_json("channel", "list", "--chat", "local:file", code=3)
    assert answer["error"]["code"] == "store_corrupt"


def test_an_unknown_outcome_ends_with_4(support, folder):
    (folder / "lost.py").write_text(
        "from flex_actions import OutcomeUnknown\n"
        "def setup(plugin):\n"
        "    def lost(payload): raise OutcomeUnknown('outcome_unknown', 'Who knows.')\n"
        "    plugin.actions.replace('SendMessage', lost)\n"
    )
    cli("invoke", "SendMessage", "body=x", "channelSid=support", "--as", "ada", "--plugin", "lost.py", code=4)


def test_version_and_help_of_every_command():
    assert cli("--version").stdout.startswith("flex-actions, version ")
    for name in ("channel", *main.commands):
        assert cli(name, "-h").stdout.startswith("Usage: flex-actions ")


# -- progress --


class Terminal(io.StringIO):
    def isatty(self):
        return True


def move(name, total):
    file = File.from_bytes(b"x", name=name)
    signals.upload_progress.emit(None, file=file, done_bytes=total // 2, total_bytes=total)
    signals.download_progress.emit(None, name=name, done_bytes=total, total_bytes=total)


@pytest.mark.parametrize("with_rich", [True, False])
def test_progress_of_a_large_file_is_shown_on_a_terminal(monkeypatch, with_rich):
    if not with_rich:
        monkeypatch.setitem(sys.modules, "rich.progress", None)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress_shown():
        move("film.mp4", 2_000_000)
    assert "film.mp4" in terminal.getvalue()
    assert not signals.upload_progress.receivers


def test_no_progress_for_small_files_or_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with progress_shown():
        move("note.txt", 900_000)
    monkeypatch.setattr(sys, "stderr", pipe := io.StringIO())
    with progress_shown():
        move("film.mp4", 2_000_000)
    assert terminal.getvalue() + pipe.getvalue() == ""


# Chats that are not there, and other slips


@pytest.mark.parametrize(
    "command",
    [
        ("messages", "support", "--as", "ada"),
        ("follow", "support", "--as", "ada"),
        ("download", "IM1", "--as", "ada"),
        ("invoke", "SendMessage", "body=x", "channelSid=support", "--as", "ada"),
        ("run", "-", "--as", "ada"),
        ("channel", "list"),
        ("channel", "show", "support"),
        ("channel", "close", "support"),
        ("channel", "add-member", "support", "bob"),
        ("channel", "remove-member", "support", "bob"),
    ],
)
def test_a_mistyped_chat_is_not_made(folder, command):
    result = cli(*command, "--chat", "local:lokal", "--json", code=3)
    error = json.loads(result.stdout)["error"]
    assert (error["code"], "channel create" in error["hint"], os.listdir(folder)) == ("store_missing", True, [])


def test_a_folder_of_other_things_is_no_place_for_a_chat(folder):
    (folder / "mine.txt").touch()
    result = cli("channel", "create", "--chat", f"local:{folder}", code=2)
    assert ("a folder of its own" in result.stderr, os.listdir(folder)) == (True, ["mine.txt"])


@pytest.mark.parametrize("seconds", ["nan", "-1", "0", "inf"])
def test_a_time_limit_is_a_number_above_zero(support, seconds):
    cli("follow", "support", "--timeout", seconds, "--as", "ada", code=2)
    cli("invoke", "SendTyping", "channelSid=support", f"--timeout={seconds}", "--as", "ada", code=2)


def test_stdin_cannot_be_attached(support):
    said = cli("invoke", "SendMediaMessage", "file@-", "channelSid=support", "--as", "ada", code=2).stderr
    assert "path" in said


def test_a_file_of_the_home_folder_is_found(support, folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    (folder / "x.txt").write_text("x")
    cli("invoke", "SendMediaMessage", "file@~/x.txt", "channelSid=support", "--as", "ada")
