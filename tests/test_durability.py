"""What is acknowledged stays: processes killed at any moment, and power cuts of which each is fixed by its seed.

    FLEX_ACTIONS_POWER_CUTS=5000 pytest tests/test_durability.py -k power

runs more of them; FLEX_ACTIONS_POWER_SEED=N begins with seed N, so that a reported one can be looked at alone.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import sys
from pathlib import Path

import pytest
from power import powered, rng_of

from flex_actions import connect
from flex_actions.backends import open_backend
from flex_actions.backends.local import LocalBackend
from flex_actions.clock import CountingIds, ManualClock
from flex_actions.errors import ActionError
from flex_actions.files import File
from flex_actions.ports import Draft, Key, KeyRecord, Settled

ROOT = Path(__file__).parent.parent
CUTS = int(os.environ.get("FLEX_ACTIONS_POWER_CUTS", "120"))
FIRST = int(os.environ.get("FLEX_ACTIONS_POWER_SEED", "0"))
# More than any run takes, so that some runs end in good order and lose the power behind the last send.
STEPS = 330
ANY_BIN = {"fileAttachment": {"acceptedExtensions": ["bin"]}}


def content_of(name, size):
    return random.Random(name).randbytes(size)


def files_in(folder):
    return sorted(p.name for top in ("media", "incoming") for p in (Path(folder) / top).rglob("*") if p.is_file())


class Ledger:
    """What the senders know: keys they began, and what was acknowledged under them."""

    def __init__(self):
        self.begun = {}  # key -> sha256
        self.sent = {}  # key -> message sid
        self.deleted = set()  # message sids whose deletion was acknowledged
        self.deleting = set()

    async def check(self, backend, folder, channels):
        """Raise AssertionError for anything lost, half there, or left over."""
        messages = {m.sid: m for channel in channels for m in await backend.list_messages(channel)}
        for key, sid in self.sent.items():
            assert sid in messages or sid in self.deleting, f"acknowledged and lost: {key}"
        assert not self.deleted & messages.keys(), "deleted and back"
        for message in messages.values():
            assert message.media is not None, "a message without its media"
            digest = hashlib.sha256()
            try:
                async for chunk in backend.open_media(message.media.sid):
                    digest.update(chunk)
            except ActionError as error:
                raise AssertionError(f"{message.sid}: {error.code}") from error
            assert digest.hexdigest() == message.media.sha256 == self.begun[message.media.name]
        assert files_in(folder) == sorted(m.media.sid for m in messages.values()), "left over"
        for key in self.begun:
            record = await backend.settle(key)
            assert record is not Settled.UNKNOWN
            if key in self.sent:
                assert isinstance(record, KeyRecord), f"the key of an acknowledged message is lost: {key}"
                assert record.message_sid == self.sent[key]
            elif isinstance(record, KeyRecord):
                assert record.message_sid in messages


# Killed

SENDERS = 16  # in each of two processes
CHILD = r"""
import asyncio, hashlib, os, random, sys
from flex_actions import connect
from flex_actions.files import File

async def main(url, name, senders):
    async with connect(url, identity="ada", config={"fileAttachment": {"acceptedExtensions": ["bin"]}}) as session:
        # A channel for each sender: in one, a session sends one after another.
        channels = [(await session.channel(f"x{n}")).sid for n in range(senders)]

        async def send(number):
            for i in range(10**6):
                key = f"{name}-{number}-{i}.bin"
                data = random.Random(key).randbytes(500 + 7919 * (number + i) % 60_000)
                os.write(1, f"begun {key} {hashlib.sha256(data).hexdigest()}\n".encode())
                payload = {"file": File.from_bytes(data, name=key), "channelSid": channels[number]}
                sent = await session.actions.invoke("SendMediaMessage", payload, key=key)
                os.write(1, f"sent {key} {sent.message_sid}\n".encode())

        await asyncio.gather(*(send(n) for n in range(senders)))

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""


async def sender(folder, name):
    return await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", CHILD, f"local:{folder}", name, str(SENDERS),
        stdout=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


async def read_into(ledger, stream, enough=None):
    """Note what a sender tells; a line that its end cut short does not count."""
    count = 0
    while (line := await stream.readline()).endswith(b"\n"):
        word, key, value = line.decode().split()
        (ledger.begun if word == "begun" else ledger.sent)[key] = value
        count += word == "sent"
        if count == enough:
            return


@pytest.mark.parametrize("seed", range(4))
async def test_killed_at_any_moment_loses_nothing_acknowledged(tmp_path, seed):
    """`kill -9` under 32 senders in two processes; one is killed first, while the other goes on."""
    rng, ledger = random.Random(seed), Ledger()
    async with open_backend(f"local:{tmp_path}") as backend:
        for i in range(SENDERS):
            await backend.create_channel(creator="ada", unique_name=f"x{i}")
    async with asyncio.timeout(60):
        processes = [await sender(tmp_path, name) for name in ("one", "two")]
        for process in processes:
            await read_into(ledger, process.stdout, enough=rng.randrange(1, 150))
            process.send_signal(signal.SIGKILL)
        for process in processes:
            await read_into(ledger, process.stdout)
            await process.wait()
    async with open_backend(f"local:{tmp_path}") as backend:
        await ledger.check(backend, tmp_path, [f"x{i}" for i in range(SENDERS)])
        async with connect(backend, identity="ada", config=ANY_BIN) as session:
            for key in sorted(ledger.begun.keys() - ledger.sent.keys())[:5]:
                happened = isinstance(await backend.settle(key), KeyRecord)
                sent = [await send_again(session, key) for _ in range(2)]
                assert [s.repeated for s in sent] == [happened, True], "under one key it is there once, whichever way"
                assert sent[0].message_sid == sent[1].message_sid


async def send_again(session, key):
    _, number, i = key.removesuffix(".bin").split("-")
    data = content_of(key, 500 + 7919 * (int(number) + int(i)) % 60_000)
    channel = (await session.channel(f"x{number}")).sid
    payload = {"file": File.from_bytes(data, name=key), "channelSid": channel}
    return await session.actions.invoke("SendMediaMessage", payload, key=key)


# Power


async def send_until_dark(url, seed, ledger):
    """Four senders; some of what they send is deleted again. Ends with the power."""
    rng = rng_of(seed)
    async with open_backend(url, clock=ManualClock(), ids=CountingIds()) as backend:
        channel = (await backend.create_channel(creator="ada", unique_name="x")).sid
        sizes = [[rng.choice((1, 3000, 9000, 300_000)) for _ in range(3)] for _ in range(4)]
        await asyncio.gather(*(_sender(backend, channel, i, ledger, own) for i, own in enumerate(sizes)))


async def _sender(backend, channel, number, ledger, sizes):
    for i, size in enumerate(sizes):
        key = f"{number}-{i}.bin"
        data = content_of(key, size)
        ledger.begun[key] = hashlib.sha256(data).hexdigest()
        media = await backend.upload(channel, File.from_bytes(data, name=key), author="ada")
        posted = await backend.post(channel, Draft("ada", media=media), key=Key(key, "f"))
        ledger.sent[key] = posted.message.sid
        if (number + i) % 4 == 0:
            ledger.deleting.add(posted.message.sid)
            await backend.delete_message(channel, posted.message.sid)
            ledger.deleted.add(posted.message.sid)


async def cut_once(tmp_path, seed, *, synchronous="FULL", skip_sync=None):
    """One run that loses its power at a step chosen by the seed; AssertionError for what was lost."""
    folder, found = tmp_path / f"chat{seed}", tmp_path / f"found{seed}"
    rng, ledger = rng_of(-seed - 1), Ledger()
    cut = rng.randrange(40, STEPS)
    with pytest.MonkeyPatch.context() as patch, powered(patch, folder, seed, cut, synchronous=synchronous) as machine:
        if skip_sync is not None:
            machine.skip_sync = skip_sync
        # In good order it would be closed at the end, and all be on the disk.
        patch.setattr(LocalBackend, "_close", _darkening(machine, rng, found))
        with contextlib.suppress(ActionError):
            await send_until_dark(f"local:{folder}", seed, ledger)
    try:
        async with open_backend(f"local:{found}") as backend:
            channels = [c for c in await backend.list_channels() if c.unique_name == "x"]
            if channels or ledger.begun:
                await ledger.check(backend, found, ["x"])
    except ActionError as error:
        raise AssertionError(f"the store cannot be read any more: {error.code}") from error
    return machine, ledger


def _darkening(machine, rng, found):
    close = LocalBackend._close

    async def dark(backend):
        machine.cut = min(machine.cut, machine.steps)
        machine.wreck(rng, found)
        await close(backend)

    return dark


async def test_a_power_cut_loses_nothing_acknowledged(tmp_path):
    """At a step that the seed fixes, in at least a hundred runs: whatever was not forced onto the disk goes."""
    dark = sent = 0
    for seed in range(FIRST, FIRST + CUTS):
        try:
            machine, ledger = await cut_once(tmp_path, seed)
        except AssertionError as error:
            pytest.fail(f"seed {seed} (FLEX_ACTIONS_POWER_SEED={seed} FLEX_ACTIONS_POWER_CUTS=1): {error}")
        dark += machine.dead
        sent += len(ledger.sent)
    # Most lose their power on the way, with something acknowledged by then.
    assert (dark >= CUTS // 2, sent >= CUTS) == (True, True) or CUTS < 100


@pytest.mark.parametrize(
    "slip",
    [
        {"synchronous": "OFF"},
        {"synchronous": "NORMAL"},
        {"skip_sync": lambda path: path.startswith("content of")},
        {"skip_sync": lambda path: "/media/" in path},
    ],
    ids=["rows never synced", "commits not synced", "files not synced", "names not synced"],
)
async def test_a_missing_sync_is_found_out(tmp_path, slip):
    """The check of the check: without any one of the syncs, a power cut is soon seen to lose something."""
    for seed in range(60):
        try:
            await cut_once(tmp_path, seed, **slip)
        except AssertionError:
            return
    pytest.fail("60 power cuts, and nothing was lost")


async def test_a_seed_fixes_the_run(tmp_path):
    runs = [await cut_once(tmp_path / name, 7) for name in ("first", "again")]
    first, again = [(m.cut, m.steps, len(m.changes), sorted(ledger.sent.items())) for m, ledger in runs]
    assert first == again


# Several at once


VISIT = """
import asyncio, sys
from flex_actions.backends import open_backend

async def main(url):
    async with open_backend(url):
        pass

asyncio.run(main(sys.argv[1]))
"""


async def test_a_visitor_takes_nothing_from_a_process_that_opened_the_folder_twice(tmp_path):
    """The locks of a process on a file go with the first descriptor of that file that it closes, whoever opened it.

    Without them the visitor would take itself for the last one, and remove the log that the others still write.
    """
    url = f"local:{tmp_path / 'chat'}"
    async with open_backend(url) as first:
        channel = (await first.create_channel(creator="a")).sid
        async with open_backend(url) as second:
            visitor = await asyncio.create_subprocess_exec(
                sys.executable, "-c", VISIT, url,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
            assert await visitor.wait() == 0
            assert (tmp_path / "chat" / "chat.sqlite3-wal").exists()
            for backend in (first, second):
                await backend.post(channel, Draft("a", body="behind the visitor"))
    async with open_backend(url) as backend:
        assert len(await backend.list_messages(channel)) == 2
