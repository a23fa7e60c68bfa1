"""Both backends against the public suite."""

import asyncio
import contextlib
import itertools
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from flex_actions.backends import make_backend, open_backend
from flex_actions.backends.local import LocalBackend
from flex_actions.backends.memory import MemoryBackend
from flex_actions.errors import ActionError
from flex_actions.ports import Draft
from flex_actions.testing import BACKEND_CHECKS, SHARED_BACKEND_CHECKS, check_backend


@contextlib.asynccontextmanager
async def opened(backend):
    await backend.open()
    try:
        yield backend
    finally:
        await backend.close()


@pytest.fixture(params=["memory", "local"])
def factory(request, tmp_path):
    """A fresh store a call."""
    numbers = itertools.count()

    def make(*, clock, ids):
        if request.param == "memory":
            return opened(MemoryBackend("suite", clock=clock, ids=ids))
        return opened(LocalBackend(str(tmp_path / f"chat{next(numbers)}"), clock=clock, ids=ids))

    return make


def second(backend, *, clock, ids):
    """Another backend on the same store."""
    where = backend.name if isinstance(backend, MemoryBackend) else backend.path
    return opened(type(backend)(where, clock=clock, ids=ids))


@pytest.mark.parametrize("name", BACKEND_CHECKS)
async def test_backend(name, factory):
    await BACKEND_CHECKS[name](factory)


@pytest.mark.parametrize("name", SHARED_BACKEND_CHECKS)
async def test_shared_store(name, factory):
    await SHARED_BACKEND_CHECKS[name](factory, second)


async def test_the_suite_finds_what_is_wrong():
    """A backend that breaks a rule fails the check of that rule, by name and with the rule in the message."""

    class Forgetful(MemoryBackend):
        async def discard(self, media_sid):
            pass

    def forgetful(*, clock, ids):
        return opened(Forgetful(clock=clock, ids=ids))

    with pytest.raises(AssertionError, match=r"a_discarded_upload_is_gone: .* Rule: discard\(\) forgets"):
        await check_backend(forgetful)


async def test_the_suite_runs_as_a_whole(factory):
    assert await check_backend(factory, second=second) == len(BACKEND_CHECKS) + len(SHARED_BACKEND_CHECKS)


@pytest.mark.parametrize("url", ["", "local", ":x", "local:", "lokal:x", "memry:", "nothing-like-it:"])
async def test_urls_that_name_no_backend(url):
    with pytest.raises(ActionError) as caught:
        make_backend(url)
    assert caught.value.code == "invalid_config"


def test_an_unknown_scheme_is_told_the_nearest():
    with pytest.raises(ActionError, match="Did you mean 'memory'"):
        make_backend("memry:")


def test_sqlite_is_imported_only_when_needed():
    code = "import sys, flex_actions.backends; assert 'sqlite3' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent.parent)


async def test_a_named_memory_is_freed_with_its_last_backend():
    async with open_backend("memory:x") as one:
        await one.create_channel(creator="ada")
        async with open_backend("memory:x") as two, open_backend("memory:") as private:
            assert len(await two.list_channels()) == 1
            assert await private.list_channels() == []
        assert len(await one.list_channels()) == 1
    async with open_backend("memory:x") as again:
        assert await again.list_channels() == []


async def test_a_named_memory_is_shared_between_threads():
    """Followers on one loop are woken by another loop in another thread."""
    async with open_backend("memory:threads") as backend:
        channel = (await backend.create_channel(creator="ada")).sid

        async def other_loop():
            async with open_backend("memory:threads") as other:
                for i in range(50):
                    await other.post(channel, Draft("ada", body=str(i)))

        thread = threading.Thread(target=lambda: asyncio.run(other_loop()))
        thread.start()
        seen = 0
        async with asyncio.timeout(30):
            async for event in backend.events(channel):
                seen += event.message is not None
                if seen == 1:
                    await backend.post(channel, Draft("ada", body="here"))
                if seen == 51:
                    break
        await asyncio.to_thread(thread.join)
        assert [m.index for m in await backend.list_messages(channel)] == list(range(51))


@pytest.mark.parametrize("junk", [5, 2.5, None, b"CH", 10**30, object(), ["CH"], "\ud800"], ids=ascii)
async def test_what_can_be_no_sid_or_name_is_not_there(junk, refused):
    async with open_backend("memory:") as backend:
        channel = (await backend.create_channel(creator="ada", unique_name="x")).sid
        with refused("unknown_channel"):
            await backend.get_channel(junk)
        with refused("unknown_message"):
            await backend.find_message(junk)
        with refused("not_a_member"):
            await backend.remove_member(channel, junk)
        with refused("media_deleted"):
            await backend.temporary_link(junk, reader="ada")


@pytest.mark.parametrize("junk", ["1", 1.5, True, [1], -(10**5000)], ids=lambda junk: type(junk).__name__)
async def test_a_range_or_a_life_that_is_no_number_is_refused(junk, refused):
    async with open_backend("memory:") as backend:
        for options in ({"offset": junk}, {"length": junk}):
            with refused("invalid_payload"):
                await anext(backend.open_media("ME" + "0" * 32, **options))
        for life in (junk if not isinstance(junk, float) else 10**400, "1", True):
            with refused("invalid_payload"):
                await backend.temporary_link("ME" + "0" * 32, reader="ada", ttl_s=life)
