"""Hostile words on the command line: an exit code of ours, one sentence, no traceback; a refusal changes nothing."""

import json
import unicodedata

import pytest
from click.testing import CliRunner
from hostile import altered, attributes, configs, cursors, identities, names, search, sids, texts
from hypothesis import given
from hypothesis import strategies as st
from scene import Scene, check_paths

from flex_actions import CODES, File
from flex_actions.cli import main
from flex_actions.cli.exits import MEANINGS, OK
from flex_actions.payloads import PAYLOADS
from flex_actions.ports import Draft

# What an argument can hold: no NUL; bytes that are no UTF-8 come as halves of surrogate pairs.
words = texts.map(lambda text: text.replace("\0", "")[:2000]).map(
    lambda text: "".join(c if not "\ud800" <= c <= "\udfff" else "\udcff" for c in text)
)
sid_words = sids.filter(lambda sid: isinstance(sid, str)).map(lambda sid: sid.replace("\0", "")[:200])


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    found = Scene(tmp_path_factory.mktemp("cli"))
    found.run(found.begin())
    (found.parent / "invoice.pdf").write_bytes(b"%PDF-1.7 to pay")

    async def link():
        media = await found.backend.upload(found.channel, File.from_bytes(b"a secret", name="a.pdf"), author="ada")
        found.message = (await found.backend.post(found.channel, Draft("ada", media=media))).message.sid
        urls = [await found.backend.temporary_link(media.sid, reader=reader) for reader in ("ada", "cleo")]
        return [each.url.removeprefix("flex-media:") for each in urls]

    found.tokens = found.run(link())
    yield found
    found.end()


@pytest.fixture(autouse=True)
def here(scene, monkeypatch):
    monkeypatch.chdir(scene.parent)
    for name in ("FLEX_ACTIONS_URL", "FLEX_ACTIONS_PLUGINS", "FLEX_ACTIONS_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)


def check(scene, *arguments, stdin=None):
    """Run a command line; what goes for each."""
    before = scene.look()
    result = CliRunner().invoke(main, [f"--chat=local:{scene.folder}", *arguments], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in MEANINGS
    assert "Traceback" not in result.output
    check_paths(scene.folder)
    if result.exit_code != OK:
        [said] = [line for line in result.stderr.splitlines() if line.startswith("Error")]
        assert not {unicodedata.category(c) for c in said} & {"Cc", "Cs", "Zl", "Zp"}
        assert "sys." not in said
        assert scene.look() == before
    return result


def check_json(scene, *arguments):
    """The same with --json: each line is an object, an error has a code of ours (wrong usage stays text)."""
    result = check(scene, "--json", *arguments)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.stdout.isascii()
    assert all(answer["error"]["code"] in CODES for answer in answers if answer.get("ok") is False)


keys = st.sampled_from(["file", "body", "message", "channelSid", "channel", "messageAttributes", "x"]) | words


def no_cycle(value):
    try:
        return json.dumps(value, default=str, skipkeys=True)[:3000]
    except (ValueError, RecursionError):
        return "[" * 5000


values = (
    words | sid_words | attributes.map(no_cycle) | st.sampled_from(["1" * 5000, "NaN", "1e999", "-0", '{"a":1,"a":2}'])
)
parts = st.builds("{}{}{}".format, keys, st.sampled_from(["=", ":=", "@", "=@", ":", ""]), values)


@search(100)
@given(
    st.sampled_from(sorted(PAYLOADS)) | words,
    st.lists(parts | st.sampled_from(["file@invoice.pdf", "channelSid=support", "body=hello"]), max_size=4),
    st.lists(st.sampled_from(["--key=k", "--timeout=9", "--role=customer", "--role=supervisor", "--json"]), max_size=2),
)
def test_invoke(scene, action, payload, options):
    check(scene, "invoke", "--as=ada", *options, "--", action, *payload)


COMMANDS = {
    "channel create": (["channel", "create", "--"], words),
    "channel create --type": (["channel", "create", "--type"], words),
    "channel create --member": (["channel", "create", "--member"], identities.map(lambda i: i.replace("\0", ""))),
    "channel show": (["channel", "show", "--"], words | sid_words),
    "channel add-member": (["channel", "add-member", "--", "support"], words),
    "channel remove-member": (
        ["channel", "remove-member", "--", "support"],
        words.filter(lambda w: w not in ("ada", "cleo")),
    ),
    "channel close": (["channel", "close", "--"], words | sid_words),
    "messages": (["messages", "--as=ada", "--"], words | sid_words),
    "messages --after": (
        ["messages", "--as=ada", "support", "--after"],
        words | cursors.filter(lambda c: isinstance(c, str)),
    ),
    "messages --limit": (["messages", "--as=ada", "support", "--limit"], words),
    "--as": (["messages", "support", "--as"], words),
    "--role": (["messages", "support", "--as=ada", "--role"], words),
    "--config": (["messages", "support", "--as=ada", "--config"], words | configs.map(no_cycle)),
    "--plugin": (["messages", "support", "--as=ada", "--plugin"], words | words.map("{}.py".format)),
    "follow --after": (["follow", "support", "--as=ada", "--limit=1", "--timeout=0.01", "--after"], words | sid_words),
    "download": (["download", "--as=ada", "-o", "beside", "--"], words | sid_words),
    "download -o": (["download", "IM" + "0" * 32, "--as=ada", "-o"], words),
    "a command": (["--as=ada", "--"], words),
    "run": (["run", "--as=ada", "--"], words),
}


@pytest.mark.parametrize("command", COMMANDS)
@search(15)
@given(data=st.data())
def test_any_word(scene, command, data):
    before, strategy = COMMANDS[command]
    word = data.draw(strategy).replace("\0", "")
    check_json(scene, *before, word)


@search(60)
@given(st.data(), st.sampled_from(["flex-media:{}", "https://files.example.org/media/{}", "{}"]))
def test_only_the_link_itself_downloads(scene, data, form):
    one, other = data.draw(st.permutations(scene.tokens))
    token = data.draw(st.just(one) | altered(one, other)).replace("\0", "")
    target = scene.parent / "beside" / "download"
    result = check(scene, "download", "--as=ada", "-o", str(target), "--", form.format(token))
    if token == scene.tokens[0] and form != "{}":
        assert (result.exit_code, target.read_bytes()) == (OK, b"a secret")
        target.unlink()
    else:
        assert (result.exit_code, target.exists()) == (1 if token else result.exit_code, False)
        assert len(token) < 40 or token not in result.stderr


script_values = st.one_of(words, sid_words, configs.map(no_cycle), st.none(), st.integers())
lines = st.one_of(
    st.binary(max_size=60),
    st.dictionaries(
        st.sampled_from(["action", "payload", "id", "key", "as", "role", "timeoutS"]) | words,
        script_values | st.sampled_from(sorted(PAYLOADS)) | st.just({"channelSid": "support", "body": "x"}),
        max_size=5,
    ).map(lambda line: json.dumps(line).encode()),
    st.sampled_from([b"[" * 99_999, b'{"timeoutS": 1' + b"0" * 400 + b', "action": "SendTyping"}', b"{}" * 600_000]),
)


@search(60)
@given(st.lists(lines, max_size=4))
def test_a_script_of_any_lines_gives_a_line_for_each(scene, script):
    """Each line that is none is told with its number; those around it are done all the same."""
    result = CliRunner().invoke(
        main, [f"--chat=local:{scene.folder}", "--as=ada", "run", "--keep-going"], input=b"\n".join(script)
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    spoken = b"\n".join(script).removeprefix(b"\xef\xbb\xbf").split(b"\n")
    statements = [line for line in spoken if line.strip() and not line.lstrip().startswith(b"#")]
    assert len(answers) == len(statements)
    assert all(a["ok"] or (a["error"]["code"] in CODES and a["error"]["line"] > 0) for a in answers)
    assert result.exit_code == (OK if all(a["ok"] for a in answers) else 1)
    check_paths(scene.folder)


contents = st.one_of(
    st.binary(max_size=40),
    configs.map(no_cycle).map(str.encode),
    st.sampled_from(
        [b"a = " + b"[" * 50_000, b'{"a":' * 50_000, b"a = 1" + b"0" * 5000, b"\xff\xfe", b"\xef\xbb\xbf{}"]
    ),
)


@search(40)
@given(st.sampled_from([".toml", ".json"]), contents)
def test_a_file_of_settings_of_any_content(scene, ending, content):
    path = scene.parent / "beside" / f"settings{ending}"
    path.write_bytes(content)
    try:
        check(scene, "messages", "support", "--as=ada", "--config", str(path))
    finally:
        path.unlink()


@search(40)
@given(names)
def test_a_file_of_any_name_is_sent_and_shown_in_one_line(scene, name):
    path = scene.parent / "beside" / (name.replace("/", "_").replace("\0", "")[:60].strip(".") or "x")
    try:
        path = path.with_name(path.name + ".pdf")
        path.write_bytes(b"%PDF")
    except (OSError, ValueError):  # no name for this file system
        return
    try:
        result = check(scene, "invoke", "SendMediaMessage", f"file@{path}", "channelSid=support", "--as=ada")
    finally:
        path.unlink()
    if result.exit_code == OK:
        shown = check(scene, "messages", "support", "--as=cleo").stdout.removesuffix("\n")
        assert len(shown.split("\n")) == len(scene.run(scene.ada.messages(scene.channel)))
        check(scene, "invoke", "DeleteMessage", f"message={result.stdout[:34]}", "--as=ada")
