"""`import flex_actions` is light: what it does not need at once it does not load."""

import subprocess
import sys

import pytest

HEAVY = [
    "twilio",
    "requests",
    "aiohttp",
    "starlette",
    "uvicorn",
    "sqlite3",
    "click",
    "rich",
    "flex_actions.cli",
    "flex_actions.server",
    "flex_actions.testing",
    "flex_actions.backends.local",
    "flex_actions_plugins",
]


def loaded_after(statement, folder):
    """The modules that a fresh interpreter has loaded once it ran the statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


@pytest.fixture(scope="module")
def after_import(tmp_path_factory):
    return loaded_after("import flex_actions", tmp_path_factory.mktemp("empty"))


@pytest.mark.parametrize("module", HEAVY)
def test_importing_flex_actions_does_not_load(after_import, module):
    assert not {m for m in after_import if m == module or m.startswith(module + ".")}


def test_a_session_in_memory_loads_no_twilio_and_no_command_line(tmp_path):
    use = "import flex_actions\nwith flex_actions.connect_sync('memory:', identity='ada') as s: s.create_channel()"
    assert loaded_after(use, tmp_path).isdisjoint({"twilio", "requests", "aiohttp", "click"})


def test_the_command_line_loads_no_twilio(tmp_path):
    assert loaded_after("import flex_actions.cli", tmp_path).isdisjoint({"twilio", "requests", "aiohttp", "rich"})


def test_the_command_line_loads_the_server_only_to_serve(tmp_path):
    assert loaded_after("import flex_actions.cli", tmp_path).isdisjoint({"starlette", "uvicorn", "httptools"})
