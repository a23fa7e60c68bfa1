"""A machine whose power can fail: what was written and not forced onto the disk is then gone, or half of it.

Two layers remember what was there before each unsynced change. Under SQLite lies a VFS of apsw's (its own SQLite, in
one process: `locking_mode=EXCLUSIVE`, and all connections of a store are one), under the media a stand-in for `os`.
Workers and writer run on the event loop, so that a seed fixes everything that happens.
"""

import asyncio
import contextlib
import errno
import os
import random
import shutil
import sqlite3
import threading
from pathlib import Path

import apsw

from flex_actions.backends import local, media_folder, sql
from flex_actions.backends.workers import Workers
from flex_actions.backends.writer import Writer


class Machine:
    """Counts steps; at step `cut` the power fails, and every later one with it.

    Attributes:
        changes: what is not on the disk yet, oldest first: path and how to take it back under another root.
    """

    def __init__(self, root, seed, cut):
        self.root = str(root)
        self.cut = cut
        self.steps = 0
        self.changes = []
        self.limbo = Path(f"{root}-limbo")
        self.limbo.mkdir(parents=True)
        self.over = False
        self.vfs = f"power-{id(self)}-{seed}"
        self.skip_sync = lambda path: False

    @property
    def dead(self):
        return self.steps > self.cut

    def step(self):
        self.steps += not self.over
        return self.over or not self.dead

    def changed(self, path, undo):
        self.changes.append((path, undo))

    def synced(self, path):
        if not self.skip_sync(path):
            self.changes = [(p, undo) for p, undo in self.changes if p != path]

    def wreck(self, rng, target):
        """The folder as it is found after the power has come back: all that was not synced is gone, or some of it."""
        shutil.copytree(self.root, target)
        self.over = True  # what still happens in the original is of no interest
        everything = rng.random() < 0.5
        for _, undo in reversed(self.changes):
            if everything or rng.random() < 0.5:
                undo(lambda p: os.path.join(target, os.path.relpath(p, self.root)))


# Rows


class _File(apsw.VFSFile):
    def __init__(self, machine, name, flags):
        super().__init__("", name, flags)
        self.machine = machine
        self.path = name.filename() if isinstance(name, apsw.URIFilename) else name

    def alive(self):
        if not self.machine.step():
            raise apsw.IOError("the power has failed")

    def xWrite(self, data, offset):
        self.alive()
        size = super().xFileSize()
        before = super().xRead(min(len(data), size - offset), offset) if offset < size else b""
        super().xWrite(data, offset)
        self.machine.changed(self.path, lambda at: _write_back(at(self.path), before, offset, len(data), size))

    def xTruncate(self, size):
        self.alive()
        old = super().xFileSize()
        before = super().xRead(old - size, size) if size < old else b""
        super().xTruncate(size)
        self.machine.changed(self.path, lambda at: _write_back(at(self.path), before, size, len(before), old))

    def xSync(self, flags):
        self.alive()
        self.machine.synced(self.path)


class _Vfs(apsw.VFS):
    def __init__(self, machine):
        self.machine = machine
        super().__init__(machine.vfs, "")

    def xOpen(self, name, flags):
        return _File(self.machine, name, flags)

    def xDelete(self, name, sync):
        if not self.machine.step():
            raise apsw.IOError("the power has failed")
        super().xDelete(name, sync)


def _write_back(path, before, offset, length, size):
    if not os.path.exists(path):
        return  # a journal, deleted again
    with open(path, "r+b") as opened:
        end = os.fstat(opened.fileno()).st_size
        opened.seek(offset)
        # Bytes behind the old end: never written, so they read as zeros, or the file ends there again.
        opened.write(before.ljust(length, b"\0"))
        opened.truncate(size if end <= max(size, offset + length) else end)


class _Rows:
    def __init__(self, rows, changes, last):
        self.fetchall = lambda: rows
        self.rowcount = changes
        self.lastrowid = last


class _Connection:
    """As much of `sqlite3.Connection` as a store uses, over apsw; one for all that ask."""

    def __init__(self, machine, path, synchronous):
        self._db = apsw.Connection(path, vfs=machine.vfs)
        self._lock = threading.Lock()
        self._users = 1
        for setting in ("locking_mode=EXCLUSIVE", "foreign_keys=ON", "secure_delete=ON", "temp_store=MEMORY"):
            self.execute(f"PRAGMA {setting}")
        self.execute(f"PRAGMA synchronous={synchronous}")

    def shared(self):
        self._users += 1
        return self

    @property
    def in_transaction(self):
        return self._db.in_transaction

    def execute(self, text, values=()):
        with self._lock:
            try:
                rows = self._db.execute(text, tuple(values)).fetchall()
            except apsw.ConstraintError as error:
                raise sqlite3.IntegrityError(str(error)) from error
            except apsw.Error as error:
                raise sqlite3.OperationalError(str(error)) from error
            return _Rows(rows, self._db.changes(), self._db.last_insert_rowid())

    def close(self):
        self._users -= 1
        if not self._users:
            with contextlib.suppress(apsw.Error):
                self._db.close()


# Media


class _Os:
    """`os` for the media: the same, and remembered until it is synced."""

    def __init__(self, machine):
        self.machine = machine
        self.paths = {}

    def __getattr__(self, name):
        return getattr(os, name)

    def _alive(self):
        if not self.machine.step():
            raise OSError(errno.EIO, "the power has failed")

    def open(self, path, flags, mode=0o777):
        self._alive()
        descriptor = os.open(path, flags, mode)
        self.paths[descriptor] = path
        if flags & os.O_CREAT:
            self.machine.changed(os.path.dirname(path), lambda at: _gone(at(path)))
        return descriptor

    def close(self, descriptor):
        self.paths.pop(descriptor, None)
        os.close(descriptor)

    def write(self, descriptor, data):
        self._alive()
        path, offset = self.paths[descriptor], os.lseek(descriptor, 0, os.SEEK_CUR)
        # Short writes are allowed, and a power cut between two of them is a file cut short.
        count = os.write(descriptor, data[: max(1, len(data) // 2)])
        self.machine.changed(_inode(path), lambda at: _shorter(at, path, offset))
        return count

    def fsync(self, descriptor):
        self._alive()
        path = self.paths[descriptor]
        self.machine.synced(path if os.path.isdir(path) else _inode(path))

    def replace(self, source, target):
        self._alive()
        os.replace(source, target)
        self.machine.changed(os.path.dirname(target), lambda at: _moved_back(at(target), at(source)))

    def unlink(self, path):
        self._alive()
        kept = self.machine.limbo / str(self.machine.steps)
        with contextlib.suppress(FileNotFoundError):
            os.link(path, kept)
        os.unlink(path)
        self.machine.changed(os.path.dirname(path), lambda at: _there_again(kept, at(path)))


def _inode(path):
    """A name for a file's content that a rename does not change."""
    return "content of " + os.path.basename(path).removesuffix(".part")


def _gone(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _shorter(at, path, size):
    sid = os.path.basename(path).removesuffix(".part")
    root = Path(at(path)).parent.parent
    for found in root.rglob(f"{sid}*"):
        os.truncate(found, size)


def _moved_back(target, source):
    with contextlib.suppress(FileNotFoundError):
        os.replace(target, source)


def _there_again(kept, path):
    if kept.exists() and not os.path.exists(path):
        shutil.copyfile(kept, path)


# On the event loop


class InlineWorkers(Workers):
    """Makes each call in a step of the loop of its own."""

    def take(self, job):
        self._limit = 0
        super().take(job)
        assert self._queue.get() is job
        self._loop.call_soon(self._run, job)

    def _run(self, job):
        if job.run():
            self._loop.call_soon(job.resolve)
        self._freed.append(None)


class InlineWriter(Writer):
    """Commits in a step of the loop what has been handed in until then."""

    def start(self):
        self._waiting = []
        self._loop = asyncio.get_running_loop()

    def submit(self, job):
        super().submit(job)
        self._take()
        return job

    def put(self, job):
        super().put(job)
        self._take()

    def _take(self):
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(self._queue.get())

    def _flush(self):
        jobs, self._waiting = self._waiting, []
        if not jobs:
            return
        self._commit(jobs)
        touched = self._store.touched
        self._erase()
        self._loop.call_soon(self._resolve, jobs, touched)

    def close(self):
        jobs, self._waiting = self._waiting, []
        if jobs:
            self._commit(jobs)
            self._loop.call_soon_threadsafe(self._resolve, jobs, set())


def inline(patch):
    """Have every local backend work on the event loop."""
    patch.setattr(local, "Workers", InlineWorkers)
    patch.setattr(local, "Writer", InlineWriter)


@contextlib.contextmanager
def powered(patch, root, seed, cut, *, synchronous="FULL"):
    """A machine on which the local backends below `root` run; `patch` is a `pytest.MonkeyPatch`."""
    machine = Machine(root, seed, cut)
    vfs = _Vfs(machine)
    connections = {}

    def connect(path, *, read_only=False):
        if path not in connections:
            connections[path] = _Connection(machine, path, synchronous)
            return connections[path]
        return connections[path].shared()

    inline(patch)
    patch.setattr(sql, "connect", connect)
    patch.setattr(media_folder, "os", _Os(machine))
    try:
        yield machine
    finally:
        vfs.unregister()
        shutil.rmtree(machine.limbo)


def rng_of(seed):
    return random.Random(f"power {seed}")
