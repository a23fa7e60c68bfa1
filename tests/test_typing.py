"""What a caller's own `mypy --strict` says, with the installed package and none of our settings."""

import subprocess
import sys
from pathlib import Path

import pytest

import flex_actions

API = Path(__file__).parent / "typing/api.py"


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """Run mypy on a file as in a project of a caller's; what it prints."""
    folder = tmp_path_factory.mktemp("caller")

    def check(path):
        options = ["--strict", "--no-incremental", "--config-file=", f"--cache-dir={folder}"]
        done = subprocess.run(
            [sys.executable, "-m", "mypy", *options, str(path)], cwd=folder, capture_output=True, text=True, timeout=110
        )
        return done.stdout + done.stderr

    return check


def test_the_package_says_that_it_is_typed():
    assert Path(flex_actions.__file__).with_name("py.typed").is_file()


@pytest.mark.timeout(120)
def test_a_caller_s_strict_mypy_accepts_the_api_and_finds_each_mistake(check):
    assert check(API) == "Success: no issues found in 1 source file\n"
