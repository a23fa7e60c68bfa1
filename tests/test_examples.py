"""What the examples and the guides show is what they do: each is run, and its shown output compared."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(ROOT.glob("examples/*.py"))
JSONL = sorted(ROOT.glob("examples/*.jsonl"))
GUIDES = [ROOT / n for n in ("README.md", "plugins/README.md", "examples/README.md", "tests/README.md")]
MARK = "\n# Output:\n"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What a guide only defines is used as its reader would: a session opens with the plugin, a test is run.
USE = """
import asyncio
from flex_actions import connect
async def _use(setup=None, **found):
    if setup is not None:
        async with connect("memory:", identity="reader", plugins=[setup]): pass
    for name, test in found.items():
        if name.startswith("test_"):
            await test()
asyncio.run(_use(**globals()))
"""


def blocks(guide):
    """The code blocks of a guide with their line numbers: `(line, language, text)`."""
    text = guide.read_text(encoding="utf-8")
    return [(text[: b.start()].count("\n") + 1, b[1], b[2]) for b in BLOCK.finditer(text)]


@pytest.fixture
def checkout(tmp_path):
    """A folder of its own with what the guides name."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def shown_python():
    """Every `python` block, with the `text` block behind it if there is one."""
    for guide in filter(Path.exists, GUIDES):
        found = blocks(guide)
        for (line, language, source), (_, behind, text) in zip(found, [*found, (0, "", "")][1:], strict=True):
            if language == "python":
                name = f"{guide.relative_to(ROOT)}:{line}"
                yield pytest.param(source, text if behind == "text" else "", id=name)


def shown_consoles():
    """Every `console` block: `$ command` lines, each followed by what it prints; `…` stands for what varies."""
    for guide in filter(Path.exists, GUIDES):
        for line, language, text in blocks(guide):
            if language == "console":
                yield pytest.param(text, id=f"{guide.relative_to(ROOT)}:{line}")


def run(arguments, folder):
    """The finished process of a command, run in a folder of its own, with the tools of this environment."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONWARNINGS": "error", "PYTHONUTF8": "1", "COLUMNS": "100"}
    return subprocess.run(
        arguments, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL
    )


def matches(shown, actual):
    pattern = ".*".join(re.escape(part) for part in shown.split("…"))
    return re.fullmatch(pattern, actual) is not None


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_an_example_prints_what_it_shows_and_leaves_nothing_behind(script, tmp_path):
    _, _, shown = script.read_text(encoding="utf-8").partition(MARK)
    done = run([sys.executable, str(script)], tmp_path)
    printed = "".join(f"# {line}".rstrip() + "\n" for line in done.stdout.splitlines())
    assert shown, f"{script.name} shows no output"
    assert (done.stderr, done.returncode, printed) == ("", 0, shown)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", [*SCRIPTS, *JSONL], ids=lambda p: p.name)
def test_an_example_has_its_line_in_the_list(path):
    assert f"[{path.name}]({path.name})" in (ROOT / "examples/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", JSONL, ids=lambda p: p.name)
def test_a_script_for_the_command_line_shows_what_it_prints(path):
    """As a console block in the list of examples, which another test runs."""
    assert any(f"flex-actions run examples/{path.name}" in text for _, _, text in blocks(path.parent / "README.md"))


def test_the_plugin_project_passes_its_own_test():
    done = run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], ROOT / "examples/third_party_plugin")
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize(("source", "shown"), list(shown_python()))
def test_a_python_block_does_what_the_guide_shows(source, shown, checkout):
    (checkout / "block.py").write_text(source + USE, encoding="utf-8")
    done = run([sys.executable, "block.py"], checkout)
    assert (done.stderr, done.returncode) == ("", 0)
    assert matches(shown, done.stdout), done.stdout


@pytest.mark.parametrize("text", list(shown_consoles()))
def test_a_console_block_prints_what_the_guide_shows(text, checkout):
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        done = run(["bash", "-c", command], checkout)
        assert matches(shown, done.stdout + done.stderr), f"$ {command}\n{done.stdout}{done.stderr}"


def test_the_first_two_shell_blocks_of_the_readme_are_one_line_each():
    commands = [text for _, language, text in blocks(ROOT / "README.md") if language == "sh"]
    assert [c.count("\n") for c in commands[:2]] == [1, 1]
    assert "examples/01_invoice_bot.py" in shlex.split(commands[0])
