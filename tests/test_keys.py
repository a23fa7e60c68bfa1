"""The keys of links: a new one signs at once everywhere, older ones verify as long as they must, and leave nothing."""

import asyncio
import contextlib
import http.client
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from flex_actions.backends import open_backend
from flex_actions.backends.local import DATABASE
from flex_actions.cli import main
from flex_actions.clock import CountingIds, ManualClock
from flex_actions.errors import ActionError
from flex_actions.files import File
from flex_actions.ports import LINK_LIFE_LIMIT_S, Draft, RotatesKeys

ROOT = Path(__file__).parent.parent
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": ""}
WEEK_S = LINK_LIFE_LIMIT_S
YEAR_S = 365 * 24 * 3600.0


@pytest.fixture(params=["memory:keys", "local:{}"])
def url(request, tmp_path):
    return request.param.format(tmp_path / "chat")


@pytest.fixture
async def store(url, clock):
    """A backend that others may be opened beside."""
    async with open_backend(url, clock=clock) as backend:
        yield backend


@pytest.fixture
async def other(store, url, clock):
    """Another backend on the same store."""
    async with open_backend(url, clock=clock) as backend:
        yield backend


async def file_in(backend):
    """The sid of a file that ada may read."""
    channel = (await backend.create_channel(creator="ada")).sid
    media = await backend.upload(channel, File.from_bytes(b"hello", name="a.txt"), author="ada")
    await backend.post(channel, Draft("ada", media=media))
    return media.sid


@pytest.fixture
async def file(store):
    return await file_in(store)


async def link(backend, file, **options):
    return (await backend.temporary_link(file, reader="ada", **options)).url


def key_of(url):
    return url.split("~")[1]


async def opens(backend, url):
    """`open`, or the code it is refused with."""
    try:
        _, content = await backend.open_link(url)
        assert b"".join([chunk async for chunk in content]) == b"hello"
    except ActionError as error:
        return error.code
    return "open"


def keys_of(backend):
    """Ids of the keys that are kept, with their times."""
    rows = backend._look(
        lambda store: store._all(
            "SELECT s.id, k.since, k.until FROM secret s LEFT JOIN setting k ON k.name = 'link_key:' || s.id"
            " WHERE s.purpose = 'link' ORDER BY s.id"
        )
    )
    return {str(number): (since, until) for number, since, until in rows}


async def test_a_new_key_signs_and_older_links_open_still(store, other, file):
    assert isinstance(store, RotatesKeys)
    before = await link(store, file)
    await store.rotate_keys()
    after = [await link(backend, file) for backend in (store, other)]
    assert key_of(before) != key_of(after[0]) == key_of(after[1])
    for backend in (store, other):
        assert [await opens(backend, url) for url in (before, *after)] == ["open"] * 3


async def test_links_of_a_revoked_key_are_refused_at_once_everywhere(store, other, file):
    before = await link(other, file)
    assert await store.rotate_keys(revoke=True) is None
    after = await link(other, file)
    for backend in (store, other):
        assert [await opens(backend, url) for url in (before, after)] == ["link_invalid", "open"]


async def test_revoking_takes_every_older_key(store, file):
    links = []
    for _ in range(3):
        links.append(await link(store, file))
        await store.rotate_keys()
    await store.rotate_keys(revoke=True)
    assert {await opens(store, url) for url in links} == {"link_invalid"}
    assert list(keys_of(store)) == [key_of(await link(store, file))]


async def test_a_download_that_has_begun_goes_on(store, file):
    _, content = await store.open_link(await link(store, file))
    await store.rotate_keys(revoke=True)
    assert b"".join([chunk async for chunk in content]) == b"hello"


async def test_an_older_key_verifies_until_its_last_link_has_expired(store, file, clock):
    longest = await link(store, file, ttl_s=WEEK_S)
    until = await store.rotate_keys()
    assert until == clock.now() + WEEK_S
    clock.advance(WEEK_S - 0.001)
    assert await opens(store, longest) == "open"
    clock.advance(0.001)
    assert await opens(store, longest) in ("link_expired", "link_invalid")


async def test_purge_removes_a_key_at_that_moment_and_not_before(store, file, clock):
    old = key_of(await link(store, file))
    await store.rotate_keys()
    clock.advance(WEEK_S - 0.001)
    await store.purge()
    assert old in keys_of(store)
    clock.advance(0.001)
    await store.purge()
    assert old not in keys_of(store)


async def test_a_key_that_is_due_verifies_nothing_though_nobody_has_purged(store, file, clock, monkeypatch):
    """Also not what whoever knows the old secret signs anew."""
    monkeypatch.setattr("flex_actions.backends.texts.LINK_LIFE_LIMIT_S", 10 * WEEK_S)
    forged = await link(store, file, ttl_s=5 * WEEK_S)
    await store.rotate_keys()
    clock.advance(WEEK_S)
    assert await opens(store, forged) == "link_invalid"


async def test_the_time_of_a_second_rotation_is_its_own(store, file, clock):
    first = key_of(await link(store, file))
    began = clock.now()
    await store.rotate_keys()
    clock.advance(1000)
    second = key_of(await link(store, file))
    await store.rotate_keys()
    newest = key_of(await link(store, file))
    assert keys_of(store) == {
        first: (began, began + WEEK_S),
        second: (began, began + 1000 + WEEK_S),
        newest: (began + 1000, None),
    }


async def test_a_new_key_after_a_revocation_is_as_old_as_it_is(store, file, clock):
    clock.advance(YEAR_S)
    await store.rotate_keys(revoke=True)
    assert [since for since, _ in keys_of(store).values()] == [clock.now()]


async def test_a_key_id_is_never_given_twice(store, file):
    seen = []
    for revoke in (True, False, True, True):
        seen.append(key_of(await link(store, file)))
        await store.rotate_keys(revoke=revoke)
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("key", ["", "0", "-1", "99", "1" * 18, "1" * 400, "٣", "1 OR 1=1", "idempotency", "2", "01"])
async def test_an_unknown_key_is_an_invalid_link(store, file, key):
    url = await link(store, file)
    parts = url.split("~")
    assert key_of(url) == "1"
    assert await opens(store, "~".join([parts[0], key, *parts[2:]])) == "link_invalid"


async def test_a_stranger_causes_one_small_look_a_link(store, file):
    parts = (await link(store, file)).split("~")
    statements = []
    db = (store._reading if hasattr(store, "_reading") else store._shared.store).db
    db.set_trace_callback(statements.append)
    for key in ("7", "x" * 5000, "1" * 17):
        statements.clear()
        assert await opens(store, "~".join([parts[0], key, *parts[2:]])) == "link_invalid"
        assert len(statements) == (1 if key.isdigit() else 0)
    db.set_trace_callback(None)


# Stores made before


def edit(folder, sql):
    """Change a closed store behind the library's back."""
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db:
        db.executescript(sql)


@pytest.mark.parametrize("age", ["DELETE FROM setting", "DROP TABLE setting"])
async def test_a_store_made_before_keys_had_a_time(tmp_path, clock, age):
    folder = tmp_path / "chat"
    made = clock.now()
    async with open_backend(f"local:{folder}", clock=clock) as backend:
        file = await file_in(backend)
    edit(folder, age)
    clock.advance(2 * YEAR_S)
    async with open_backend(f"local:{folder}", clock=clock) as backend:
        assert keys_of(backend) == {"1": (made, None)}  # as old as its first channel, at least
        before = await link(backend, file)
        await backend.rotate_keys()
        assert [await opens(backend, url) for url in (before, await link(backend, file))] == ["open", "open"]


async def test_a_store_without_channels_counts_from_now(tmp_path, clock):
    folder = tmp_path / "chat"
    async with open_backend(f"local:{folder}", clock=clock):
        pass
    edit(folder, "DELETE FROM setting")
    clock.advance(YEAR_S)
    async with open_backend(f"local:{folder}", clock=clock) as backend:
        assert keys_of(backend) == {"1": (clock.now(), None)}


async def test_what_an_earlier_version_asks_for_is_there(tmp_path):
    """It reads all secrets when it opens the store, and signs with the last one for links."""
    folder = tmp_path / "chat"
    async with open_backend(f"local:{folder}") as backend:
        file = await file_in(backend)
        await backend.rotate_keys()
        newest = key_of(await link(backend, file))
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db:
        rows = db.execute("SELECT id, purpose, value FROM secret ORDER BY id").fetchall()
    assert str([number for number, purpose, _ in rows if purpose == "link"][-1]) == newest
    assert {purpose for _, purpose, _ in rows} == {"link", "idempotency"}


# What is left of a secret


def secrets_in(folder):
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db:
        return [value for (value,) in db.execute("SELECT value FROM secret WHERE purpose = 'link' ORDER BY id")]


def holds(folder, secret):
    """Whether bytes are in any file; asked in another process, which takes no locks away from this one."""
    look = (
        "import pathlib, sys; print(any(bytes.fromhex(sys.argv[2]) in p.read_bytes()"
        " for p in pathlib.Path(sys.argv[1]).rglob('*') if p.is_file()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", look, folder, secret.hex()], capture_output=True, text=True, check=True
    )
    return done.stdout == "True\n"


@pytest.mark.parametrize("how", ["revoked", "purged"])
async def test_the_secret_of_a_removed_key_is_in_no_file_any_more(tmp_path, clock, how):
    folder = tmp_path / "chat"
    async with open_backend(f"local:{folder}", clock=clock) as backend:
        await file_in(backend)
    [secret] = secrets_in(folder)
    assert holds(folder, secret)
    async with open_backend(f"local:{folder}", clock=clock) as backend:
        for _ in range(100):  # more than a page of them
            await backend.rotate_keys()
        if how == "revoked":
            await backend.rotate_keys(revoke=True)
        else:
            clock.advance(WEEK_S)
            await backend.purge()
        await backend.list_channels()
        many = keys_of(backend)
    assert (len(many), holds(folder, secret), holds(folder, secrets_in(folder)[0])) == (1, False, True)


async def test_a_revoked_secret_is_in_no_file_though_the_store_stays_open(tmp_path):
    """Not in the database's log either."""
    folder = tmp_path / "chat"
    async with open_backend(f"local:{folder}") as backend:
        _, secret = backend._look(lambda store: store.signing_key())
        assert await asyncio.to_thread(holds, folder, secret)
        await backend.rotate_keys(revoke=True)
        assert not await asyncio.to_thread(holds, folder, secret)


# Other processes

BESIDE = """
import asyncio, json, sys
from flex_actions import ActionError, open_backend

async def main(folder, file):
    async with open_backend("local:" + folder) as backend:
        for line in sys.stdin:
            word, url = json.loads(line)
            if word == "link":
                answer = (await backend.temporary_link(file, reader="ada")).url
            else:
                try:
                    await backend.open_link(url)
                    answer = "open"
                except ActionError as error:
                    answer = error.code
            print(json.dumps(answer), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def start():
    """`start(*command)`: a process, ended with the test."""
    started = []

    def start(*command):
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        started.append(subprocess.Popen([sys.executable, *command], env=ENVIRONMENT, text=True, **pipes))
        return started[-1]

    yield start
    for each in started:
        each.kill()
        each.communicate()


def ask(process, word, url=None):
    process.stdin.write(json.dumps([word, url]) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


async def test_a_process_that_has_it_open_notices_at_once(tmp_path, start):
    async with open_backend(f"local:{tmp_path}/chat") as backend:
        file = await file_in(backend)
        beside = start("-c", BESIDE, str(tmp_path / "chat"), file)
        first = ask(beside, "link")
        await backend.rotate_keys()
        second = ask(beside, "link")
        assert key_of(first) != key_of(second) == key_of(await link(backend, file))
        assert [ask(beside, "open", url) for url in (first, second)] == ["open", "open"]
        await backend.rotate_keys(revoke=True)
        third = await link(backend, file)
        assert [ask(beside, "open", url) for url in (first, second, third)] == ["link_invalid", "link_invalid", "open"]


KILLED = """
import asyncio, os, signal, sys
from flex_actions import open_backend
from flex_actions.backends.store import Store

def killing(rotate):
    def run(*args, **kwargs):
        rotate(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)
    return run

async def main(folder, when):
    async with open_backend("local:" + folder) as backend:
        if when == "before":
            Store.rotate_link_keys = killing(Store.rotate_link_keys)
        await backend.rotate_keys(revoke=True)
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize(("when", "found"), [("before", "open"), ("behind", "link_invalid")])
async def test_a_process_killed_before_or_behind_the_commit_leaves_the_old_key_or_the_new_one(tmp_path, when, found):
    url = f"local:{tmp_path}/chat"
    async with open_backend(url) as backend:
        file = await file_in(backend)
        before = await link(backend, file)
    [secret] = secrets_in(tmp_path / "chat")
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path / "chat", when], env=ENVIRONMENT, check=False)
    assert done.returncode == -9
    async with open_backend(url) as backend:
        assert [await opens(backend, each) for each in (before, await link(backend, file))] == [found, "open"]
    assert holds(tmp_path / "chat", secret) == (found == "open")


# The command


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [n for n in os.environ if n.startswith("FLEX_ACTIONS_")]:
        monkeypatch.delenv(name)
    return tmp_path


def cli(*args, code=0):
    result = CliRunner().invoke(main, args, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (code, result.stderr)
    return result


def test_the_command_says_until_when_older_links_open(folder):
    cli("channel", "create", "support", "--as", "ada")
    assert "Those given so far open until they expire, by 20" in cli("store", "rotate-keys").stderr
    facts = json.loads(cli("store", "rotate-keys", "--json").stdout)
    assert (facts["revoked"], facts["olderLinksOpenUntil"] > 0) == (False, True)


def test_the_command_revokes(folder):
    cli("channel", "create", "support", "--as", "ada")
    assert (
        cli("store", "rotate-keys", "--revoke").stderr == "Links have a new key. All links given so far are refused.\n"
    )
    facts = json.loads(cli("store", "rotate-keys", "--revoke", "--json").stdout)
    assert facts == {"revoked": True, "olderLinksOpenUntil": None}


def test_the_command_makes_no_chat(folder):
    assert "(store_missing)" in cli("store", "rotate-keys", code=3).stderr
    assert list(folder.iterdir()) == []


def test_a_running_server_goes_by_the_new_keys(folder, start):
    (folder / "a.pdf").write_bytes(b"%PDF-")
    cli("channel", "create", "support", "--as", "ada")
    sid = cli("invoke", "SendMediaMessage", "file@a.pdf", "channelSid=support", "--as", "ada").stdout[:34]
    server = start("-m", "flex_actions", "serve", "--port", "0", "--no-access-log")
    address = server.stdout.readline().strip()

    def linked():
        return cli("invoke", "DownloadMedia", f"message={sid}", "--as", "ada").stdout.split()[0].removeprefix(address)

    def get(path):
        with contextlib.closing(http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)) as connection:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            return "open" if answer.status == 200 else json.loads(body)["code"]

    first = linked()
    cli("store", "rotate-keys")
    second = linked()
    assert [get(first), get(second)] == ["open", "open"]
    cli("store", "rotate-keys", "--revoke")
    assert [get(first), get(second), get(linked())] == ["link_invalid", "link_invalid", "open"]


def test_keys_are_rotated_while_links_are_given(tmp_path):
    """No link is ever signed with a key that is not there."""

    async def all_at_once():
        async with open_backend(f"local:{tmp_path}/chat", clock=ManualClock(), ids=CountingIds()) as backend:
            file = await file_in(backend)
            turns = [(link(backend, file), backend.rotate_keys()) for _ in range(30)]
            found = await asyncio.gather(*[call for turn in turns for call in turn])
            return {await opens(backend, url) for url in found[::2]}

    assert asyncio.run(all_at_once()) == {"open"}
