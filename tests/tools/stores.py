"""Stores for the tests of their upkeep: filled ones, other processes on them, what lies in their folders."""

import asyncio
import os
import subprocess
import sys
import textwrap
from pathlib import Path

from flex_actions.backends import open_backend
from flex_actions.files import File
from flex_actions.ports import Draft, Key

ROOT = Path(__file__).parent.parent.parent

PRELUDE = """
import asyncio, hashlib, os, signal, sys
from flex_actions.backends import open_backend, sql
from flex_actions.backends.upkeep import backup_store, check_store, rescue_store, restore_store
from flex_actions.files import File
from flex_actions.ports import Draft, Key
FOLDER, OTHER = sys.argv[1:3]
"""
# Ends by its own hand at step N: a step is a statement of SQLite, or a change of the file system.
KILLED = """
steps, last = 0, int(sys.argv[3])
def step(*_):
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)
def stepping(function):
    def call(*args, **kwargs):
        step()
        return function(*args, **kwargs)
    return call
for name in ("rename", "replace", "unlink", "mkdir", "rmdir", "write", "fsync"):
    setattr(os, name, stepping(getattr(os, name)))
def traced(*args, _connect=sql.connect, **kwargs):
    db = _connect(*args, **kwargs)
    db.set_trace_callback(step)
    return db
sql.connect = traced
"""


def child(body, folder, other, *arguments, killed=False):
    """Another process that runs `body`, with FOLDER and OTHER."""
    code = PRELUDE + (KILLED if killed else "") + textwrap.dedent(body)
    return asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", "-c", code, str(folder), str(other), *map(str, arguments),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )  # fmt: skip


async def add(backend, channel, *bodies, author="ada"):
    """Post texts (`str`) and files (`bytes`); the messages."""
    found = []
    for body in bodies:
        media = None
        if isinstance(body, bytes):
            media = await backend.upload(channel, File.from_bytes(body, name="a.bin"), author=author)
        draft = Draft(author, media=media) if media is not None else Draft(author, body=body)
        found.append((await backend.post(channel, draft)).message)
    return found


async def filled(folder, *, channels=3, messages=4):
    """A closed store with some of everything in it; its messages."""
    found = []
    async with open_backend(f"local:{folder}") as backend:
        for i in range(channels):
            sid = (await backend.create_channel(creator="ada", unique_name=f"x{i}")).sid
            await backend.add_member(sid, "carl")
            for j in range(messages):
                found += await add(backend, sid, f"text {i} {j} " * 40, os.urandom(2000 + 100 * j))
            await backend.post(sid, Draft("ada", body=f"keyed {i}"), key=Key(f"key {i}", "f" * 64))
            await backend.signal_typing(sid, "carl")
    return found


async def everything(folder):
    """What is in a chat, as it can be compared: messages by channel, and each file's content."""
    found = {}
    async with open_backend(f"local:{folder}") as backend:
        for channel in await backend.list_channels():
            found[channel] = await backend.list_messages(channel.sid)
            for message in found[channel]:
                if message.media is not None:
                    found[message.media.sid] = b"".join([c async for c in backend.open_media(message.media.sid)])
    return found


def bytes_in(folder):
    """All that lies in a folder, in one."""
    return b"".join(p.name.encode() + p.read_bytes() for p in sorted(Path(folder).rglob("*")) if p.is_file())


def tree(folder):
    """Every file below a folder with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def file_of(folder, message):
    """Where the file of a message lies."""
    return Path(folder) / "media" / message.media.sid[-1] / message.media.sid
