"""`flex-actions serve`: what it says, what it refuses, what it leaves in the chat."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from flex_actions.cli import main
from flex_actions.server import running

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("FLEX_ACTIONS_URL", "FLEX_ACTIONS_PLUGINS", "FLEX_ACTIONS_PUBLIC_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def at_once(monkeypatch):
    """A server that ends as soon as it has begun, and what it was started with."""
    seen = {}
    true_serve = running.serve

    async def serve(backend, *, ready, **options):
        def ready_and_end(serving):
            ready(serving)
            serving.end()

        seen.update(options)
        async with asyncio.timeout(20):
            await true_serve(backend, ready=ready_and_end, **options)

    monkeypatch.setattr(running, "serve", serve)
    cli("channel", "create", "first", "--as", "zoe")
    return seen


def cli(*args, code=0):
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (code, result.stderr)
    return result


def link(folder):
    (folder / "a.pdf").write_bytes(b"%PDF-")
    cli("channel", "create", "support", "--as", "ada")
    sid = cli("invoke", "SendMediaMessage", "file@a.pdf", "channelSid=support", "--as", "ada").stdout[:34]
    return cli("invoke", "DownloadMedia", f"message={sid}", "--as", "ada").stdout.split()[0]


def test_it_says_where_it_listens_and_what_links_begin_with(at_once):
    result = cli("serve", "--port", "0")
    address = result.stdout.strip()
    assert address.startswith("http://127.0.0.1:")
    assert result.stderr == f"Links begin with {address}/media/ while this runs, for this machine only.\n"


def test_it_says_that_the_chat_is_new(at_once, folder):
    """A mistyped --chat would make every link wrong, and nobody would notice."""
    result = cli("serve", "--port", "0", "--chat", "local:nope")
    assert result.stderr.startswith(f"There was no chat in {str(folder / 'nope')!a} yet: it is made now.\nLinks begin")
    assert "error" in cli("--json", "serve", "--forget-public-url", "--chat", "local:nowhere", code=3).stdout
    assert not (folder / "nowhere").exists()


def test_it_says_so_as_json(at_once):
    facts = json.loads(cli("--json", "serve", "--port", "0", "--no-register").stdout)
    assert facts == {"address": facts["address"], "linksBegin": None, "isPublic": False}


def test_after_its_end_links_are_as_before(at_once, folder):
    cli("serve", "--port", "0")
    assert link(folder).startswith("flex-media:")


def test_a_public_url_stays_until_it_is_forgotten(at_once, folder):
    result = cli("serve", "--port", "0", "--public-url", "https://files.example/")
    assert "Links begin with https://files.example/media/, also after this ends" in result.stderr
    assert link(folder).startswith("https://files.example/media/v1~")
    assert cli("serve", "--forget-public-url").stdout == "https://files.example\n"
    assert cli("serve", "--forget-public-url").stderr == "There was no public URL.\n"
    assert json.loads(cli("--json", "serve", "--forget-public-url").stdout) == {"forgotten": None}


def test_the_file_of_an_http_link_is_downloaded_without_a_server(at_once, folder):
    cli("serve", "--port", "0", "--public-url", "https://files.invalid")
    cli("download", link(folder), "-o", "copy.pdf", "--as", "ada")
    assert (folder / "copy.pdf").read_bytes() == b"%PDF-"


def test_the_environment_may_name_the_public_url_that_is_saved(at_once, monkeypatch):
    monkeypatch.setenv("FLEX_ACTIONS_PUBLIC_URL", "https://env.example")
    assert "https://env.example/media/" in cli("serve", "--port", "0").stderr
    monkeypatch.delenv("FLEX_ACTIONS_PUBLIC_URL")
    assert cli("serve", "--forget-public-url").stdout == "https://env.example\n"


def test_its_options_reach_the_server(at_once):
    cli("serve", "--port", "0", "--concurrency", "3", "--no-access-log", "--no-register")
    assert (at_once["limits"].concurrency, at_once["access_log"], at_once["register"]) == (3, False, False)


@pytest.mark.parametrize("words", ["serve", "serve --public-url https://files.example.org"])
def test_the_readme_shows_what_it_prints(at_once, words):
    result = cli(*words.split(), "--port", "0")
    printed = (result.stdout + result.stderr).replace(result.stdout.strip(), "http://127.0.0.1:8080")
    assert f"$ flex-actions {words}\n{printed}```" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--host", "0.0.0.0"], "Give --public-url https://"),
        (["--host", "::"], "Give --public-url https://"),
        (["--public-url", "http://files.example"], "begins with https://"),
        (["--public-url", "nonsense"], "is no public URL"),
        (["--host", "no.such.host.invalid"], "There is no address"),
        (["--port", "99999"], "not in the range"),
        (["--public-url", "https://x", "--forget-public-url"], "exclude each other"),
    ],
)
def test_what_cannot_be_served_is_told_in_a_sentence(words, told):
    result = cli("serve", *words, code=2)
    assert told in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "httptools"])
def test_without_its_packages_it_names_the_extra(monkeypatch, package):
    for name in [n for n in sys.modules if n.startswith(("flex_actions.server", "uvicorn", package))]:
        monkeypatch.delitem(sys.modules, name)
    # The package itself remembers its parts.
    monkeypatch.delattr(sys.modules["flex_actions"], "server", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    result = cli("serve", code=2)
    assert f"Serving links needs the package {package}" in result.stderr
    assert "pip install 'flex-actions[server]'" in result.stderr
