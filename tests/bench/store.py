"""What the local store costs, against the same work done bare, in the same run.

The bare protocol is what nobody can leave out: write `.part` and hash it, fsync, rename, fsync the folder, add a row
in a group commit, and only then take the next file. Plain threads do it, as many workers and writers as the store
has, without an event loop, hooks, rules, members, events or keys. Both sides take turns, and each round is a ratio.
"""

import asyncio
import contextlib
import gc
import hashlib
import os
import queue
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

from flex_actions import connect, open_backend
from flex_actions.backends import local, sql
from flex_actions.files import CHUNK_BYTES, File

ROOT = Path(__file__).parent.parent.parent
SENDERS = 32
SMALL_BYTES = 10_000
LARGE_BYTES = 25 * 1024 * 1024
MB = 1_000_000
# The rules of the store's own workers, so that both sides have the same number of hands.
WORKERS = local._WORKERS
BATCH_ROWS = 512
CONFIG = {"fileAttachment": {"enabled": True, "maxFileSize": 10**12, "acceptedExtensions": ["bin"]}}


class Bare:
    """32 senders, each with one file under way, over worker threads and one writing thread."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folders = []
        for digit in "0123456789abcdef":
            (self.folder / "media" / digit).mkdir(parents=True)
            self.folders.append(os.open(self.folder / "media" / digit, os.O_RDONLY))
        (self.folder / "incoming").mkdir()
        self.db = sqlite3.connect(self.folder / "bare.sqlite3", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
            self.db.execute(f"PRAGMA {setting}")
        self.db.execute(
            "CREATE TABLE message (id INTEGER PRIMARY KEY, sid TEXT NOT NULL UNIQUE, channel INTEGER NOT NULL,"
            " idx INTEGER NOT NULL, author TEXT NOT NULL, created_at REAL NOT NULL, media_sid TEXT, media_name TEXT,"
            " media_type TEXT, media_size INTEGER, media_sha256 TEXT)"
        )

    def close(self):
        self.db.close()
        for descriptor in self.folders:
            os.close(descriptor)

    def run(self, contents, sends):
        """Every sender sends its content so many times; the seconds it took."""
        files, rows = queue.SimpleQueue(), queue.SimpleQueue()
        threads = [threading.Thread(target=self.work, args=(files, rows)) for _ in range(WORKERS)]
        writer = threading.Thread(target=self.write, args=(files, rows, len(contents) * sends))
        for thread in (*threads, writer):
            thread.start()
        begun = time.perf_counter()
        for channel, content in enumerate(contents):
            files.put((channel, 0, sends, content))
        writer.join()
        took = time.perf_counter() - begun
        for _ in threads:
            files.put(None)
        for thread in threads:
            thread.join()
        return took

    def work(self, files, rows):
        while (job := files.get()) is not None:
            channel, index, _, content = job
            sid = "ME" + uuid.uuid4().hex
            size, sha256 = self.keep(sid, content)
            rows.put(((f"IM{sid[2:]}", channel, index, "ada", time.time(), sid, "a.bin", "x/y", size, sha256), job))

    def keep(self, sid, content):
        part, digit = self.folder / "incoming" / f"{sid}.part", sid[-1]
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        digest, size = hashlib.sha256(), 0
        for chunk in content():
            digest.update(chunk)
            size += len(chunk)
            os.write(descriptor, chunk)
        os.fsync(descriptor)
        os.close(descriptor)
        os.replace(part, self.folder / "media" / digit / sid)
        os.fsync(self.folders[int(digit, 16)])
        return size, digest.hexdigest()

    def write(self, files, rows, total):
        while total:
            batch = [rows.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < BATCH_ROWS:
                    batch.append(rows.get_nowait())
            self.db.execute("BEGIN IMMEDIATE")
            for row, _ in batch:
                self.db.execute(
                    "INSERT INTO message (sid, channel, idx, author, created_at, media_sid, media_name, media_type,"
                    " media_size, media_sha256) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
            self.db.execute("COMMIT")
            total -= len(batch)
            for _, (channel, index, sends, content) in batch:
                if index + 1 < sends:
                    files.put((channel, index + 1, sends, content))


def from_bytes(data):
    return lambda: (data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES))


def from_path(path):
    def chunks():
        with open(path, "rb", buffering=0) as opened:
            while chunk := opened.read(CHUNK_BYTES):
                yield chunk

    return chunks


async def ours(folder, files, sends):
    """The same through `SendMediaMessage`, a session and a channel for each sender."""
    async with open_backend(f"local:{folder}") as backend, contextlib.AsyncExitStack() as stack:
        sessions = []
        for i in range(len(files)):
            session = await stack.enter_async_context(connect(backend, identity=f"user{i}", config=CONFIG))
            sessions.append((session, (await session.create_channel()).sid))

        async def send(session, channel, file):
            for _ in range(sends):
                await session.actions.invoke("SendMediaMessage", {"file": file, "channelSid": channel})

        begun = time.perf_counter()
        await asyncio.gather(*(send(*pair, file) for pair, file in zip(sessions, files, strict=True)))
        return time.perf_counter() - begun


def rounds(count, scratch, bare, own):
    """Seconds of both sides, in turns; each begins every other round."""
    times = []
    for i in range(count):
        took = {}
        for side in (bare, own) if i % 2 else (own, bare):
            folder = tempfile.mkdtemp(dir=scratch)
            gc.collect()
            took[side] = side(folder)
            shutil.rmtree(folder)
        times.append((took[bare], took[own]))
    return times


def small(scratch, count, sends):
    contents = [os.urandom(SMALL_BYTES) for _ in range(SENDERS)]

    def bare(folder):
        with contextlib.closing(Bare(folder)) as protocol:
            return protocol.run([from_bytes(c) for c in contents], sends)

    def own(folder):
        files = [File.from_bytes(c, name="a.bin") for c in contents]
        return asyncio.run(ours(os.path.join(folder, "chat"), files, sends))

    return row("10 kB, 32 sessions", 0.7, SENDERS * sends, rounds(count, scratch, bare, own))


def large(scratch, count, senders=2, sends=2):
    sources = [os.path.join(scratch, f"source{i}.bin") for i in range(senders)]
    for path in sources:
        Path(path).write_bytes(os.urandom(LARGE_BYTES))

    def bare(folder):
        with contextlib.closing(Bare(folder)) as protocol:
            return protocol.run([from_path(p) for p in sources], sends)

    def own(folder):
        files = [File.from_path(p) for p in sources]
        return asyncio.run(ours(os.path.join(folder, "chat"), files, sends))

    found = row(f"25 MiB, {senders} sessions", 0.9, senders * sends, rounds(count, scratch, bare, own))
    for path in sources:
        os.unlink(path)
    return found


def row(what, target, messages, times):
    ratios = [bare / own for bare, own in times]
    return {
        "what": what,
        "target": target,
        "median_ratio": round(statistics.median(ratios), 3),
        "best_ratio": round(min(b for b, _ in times) / min(o for _, o in times), 3),
        "ours_per_s": round(messages / min(own for _, own in times)),
        "bare_per_s": round(messages / min(bare for bare, _ in times)),
        "rounds": len(times),
    }


def memory(scratch, sizes):
    """Peak resident memory of a process that sends one file of each size, in MB."""
    peaks = {}
    for size in sizes:
        path, folder = os.path.join(scratch, "big.bin"), os.path.join(scratch, "big")
        with open(path, "wb") as opened:
            opened.truncate(size)
        command = [sys.executable, "-m", "tests.bench.store", path, folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
        peaks[f"{size // MB} MB"] = round(int(done.stdout) / 1000, 1)
        os.unlink(path)
        shutil.rmtree(folder)
    return peaks


def one(path, folder):
    asyncio.run(ours(folder, [File.from_path(path)], 1))
    # Not getrusage: that counts what the process was before it became this program.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(peak.split()[1])


def durability():
    """How safely the store writes, as SQLite says it."""
    with contextlib.closing(sql.connect(":memory:")) as db:
        return {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}[db.execute("PRAGMA synchronous").fetchone()[0]]


def measure(*, rounds=7, sends=40, huge=False, folder=None):
    """Measure and print all rows; about 30 s."""
    # Not the system's own place for such files: that is in memory on many machines, where fsync costs nothing.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=folder or ROOT) as scratch:
        print(f"{'SendMediaMessage, local':26} {'median':>8} {'best':>8} {'target':>8} {'ours/s':>8} {'bare/s':>8}")
        for figures in (small(scratch, rounds, sends), large(scratch, max(3, rounds // 2))):
            print(
                f"{figures['what']:26} {figures['median_ratio']:7.2f}x {figures['best_ratio']:7.2f}x"
                f" {'≥ ' + str(figures['target']):>7}x {figures['ours_per_s']:8} {figures['bare_per_s']:8}"
            )
        sizes = [MB, 16 * MB, 64 * MB, 256 * MB, *([5_000 * MB] if huge else [])]
        peaks = ", ".join(f"{size}: {peak:g} MB" for size, peak in memory(scratch, sizes).items())
        print(f"peak resident memory while sending one file of … {peaks}")


if __name__ == "__main__":
    one(*sys.argv[1:])
