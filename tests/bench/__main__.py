"""All figures, as ratios within one run: `python -m tests.bench` at the root of the repository; about two minutes.

Absolute times belong to the machine; the ratios are what is compared with the targets. Nothing is asserted.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import subprocess
from pathlib import Path

from . import dispatcher, links, store

PARTS = ("calls", "store", "links")


def machine(folder):
    """What the figures hang on, in one line."""
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        models = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        processor = next(models, platform.machine())
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=False)
    return " · ".join((
        f"{processor}, {os.cpu_count()} cores",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        f"SQLite {sqlite3.sqlite_version}, synchronous={store.durability()}",
        f"files on {kind.stdout.strip() or 'an unknown file system'}",
        f"{store.WORKERS} workers",
    ))  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="All figures, as ratios.")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--rounds", type=int, help="how often each case is measured (default 15, store 7, links 5)")
    parser.add_argument("--channels", type=int, default=20_000, help="channels known to the chat (default 20,000)")
    parser.add_argument("--flex", action="store_true", help="also the real Flex, from npm, in a throw-away folder")
    parser.add_argument("--huge", action="store_true", help="memory for a file of 5 GB as well")
    parser.add_argument("--folder", default=str(store.ROOT), help="where to write (default: the project's folder)")
    options = parser.parse_args()
    parts = options.only or PARTS
    print(machine(Path(options.folder)))
    if "calls" in parts:
        print()
        asyncio.run(dispatcher.measure(rounds=options.rounds or 15, known_channels=options.channels, flex=options.flex))
    if "store" in parts:
        print()
        store.measure(rounds=options.rounds or 7, huge=options.huge, folder=options.folder)
    if "links" in parts:
        print()
        links.measure(rounds=options.rounds or 5, folder=options.folder)


main()
