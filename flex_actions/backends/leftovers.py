"""Who has a store open, and what those have left behind who never closed it. Looked at only."""

import contextlib
import itertools
import os
import socket
import sqlite3
import urllib.parse
from collections.abc import Iterator
from typing import Any, Final

import attrs

from .addresses import is_loopback
from .findings import Finding
from .glance import one, setting
from .media_folder import SID
from .presence import fcntl

FILES: Final = 2000
_OLD_S: Final = 3600.0
_ANSWER_S: Final = 0.5
_LOCKS: Final = "/proc/locks"


@attrs.frozen
class Users:
    """Who has the store open.

    Attributes:
        count: how often it is open; None if that cannot be known.
        markers: of those who have it open, and of those who never closed it.
        exact: False if it is only known to be more often than never.
    """

    count: int | None
    markers: int
    exact: bool = True


def users(folder: str) -> Users:
    """Who has the store open; takes no lock that anybody would notice."""
    markers = _count(os.path.join(folder, "open"))
    path = os.path.join(folder, "lock")
    if not os.path.exists(path):
        return Users(0, markers)
    if fcntl is None:
        return Users(None, markers)
    try:
        listed = _listed(path)
        if not listed and _is_taken(path):
            return Users(1, markers, exact=False)
        return Users(listed, markers)
    except PermissionError:
        return Users(None, markers)


def _listed(path: str) -> int:
    """How many locks the system lists on a file; those of other containers are not among them."""
    facts = os.stat(path)
    place = f"{os.major(facts.st_dev):02x}:{os.minor(facts.st_dev):02x}:{facts.st_ino}"
    try:
        with open(_LOCKS, encoding="ascii") as lines:
            return sum(1 for line in lines if line.split()[1] == "FLOCK" and place in line.split())
    except OSError:
        return 0


def _is_taken(path: str) -> bool:
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        # Let go at once. Somebody who comes in this moment only takes it for somebody else's, and tidies up later.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def in_use(found: Users) -> Finding:
    """What `users` comes to."""
    facts = {"open": found.count, "markers": found.markers}
    begun = f"{found.markers} have begun and not ended" if found.markers else "nobody has begun and not ended"
    if found.count is None:
        return Finding("ok", "in use", f"Who has it open cannot be found out here; {begun}.", None, facts)
    if not found.exact:
        return Finding("ok", "in use", f"Somebody has it open; {begun}.", None, facts)
    left = max(0, found.markers - found.count)
    whom = {0: "Nobody has it open.", 1: "It is open once."}.get(found.count, f"It is open {found.count} times.")
    if not left:
        return Finding("ok", "in use", whom, None, facts)
    if found.count:
        fact = f"{whom} {left} more began and never closed it: killed, or in another container."
        advice = "What a killed one has left goes when it is opened after all have closed it."
    else:
        fact = f"{whom} {left} who had it open never closed it (killed, or the machine went down)."
        advice = "The next opening tidies up."
    return Finding("note", "in use", fact, advice, facts)


def parts(folder: str, now: float, *, alone: bool) -> Iterator[Finding]:
    """Uploads that were never finished."""
    with contextlib.suppress(FileNotFoundError):
        files = _oldest_of(os.path.join(folder, "incoming"), now, alone=alone)
        found = sum(1 for entry in files if entry.name.endswith(".part"))
        if found:
            fact = f"{_at_least(found)} uploads were never finished."
            advice = "They go when the chat is opened while nobody else has it open."
            yield Finding("note", "leftovers", fact, advice, {"parts": found})


def orphans(folder: str, db: sqlite3.Connection, now: float, *, alone: bool) -> Iterator[Finding]:
    """Files that no message carries, among the first that are found."""
    media = os.path.join(folder, "media")
    digits = [os.path.join(media, digit) for digit in "0123456789abcdef"]
    there = itertools.chain.from_iterable(
        _oldest_of(digit, now, alone=alone) for digit in digits if os.path.isdir(digit)
    )
    looked = [entry.name for entry in itertools.islice(there, FILES) if SID.match(entry.name)]
    lost = [sid for sid in looked if one(db, "SELECT 1 FROM message WHERE media_sid = ?", sid) is None]
    if lost:
        fact = f"Of {len(looked)} files looked at, {len(lost)} belong to no message."
        advice = (
            "The next opening after a crash sets them aside, in stray/, for a week. If messages are missing, do not"
            " open it, but rescue it: flex-actions store rescue DEST. flex-actions store check counts all."
        )
        yield Finding("note", "leftovers", fact, advice, {"files": len(looked), "orphans": len(lost)})


def neighbours(folder: str) -> Iterator[Finding]:
    """Backups that were never finished and damaged stores that were moved aside, next to the folder."""
    above, name = os.path.split(folder)
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(above) as entries:
        names = [entry.name for entry in itertools.islice(entries, FILES)]
        for mark, what, advice in (
            (".partial-", "backups that were never finished", "Remove them once no backup is under way."),
            (".damaged-", "damaged chats that were moved aside", "Remove them once you have all that you need."),
        ):
            found = [each for each in names if mark in each]
            if found:
                fact = f"Next to it lie {len(found)} {what} ('*{mark}*')."
                yield Finding("note", "leftovers", fact, advice, {"count": len(found), "of_this": _of(name, found)})


def _of(name: str, found: list[str]) -> int:
    return sum(1 for each in found if each.lstrip(".").startswith(name))


def address(db: sqlite3.Connection, now: float) -> Finding:
    """Where links lead, and whether a server of this machine answers there."""
    public, leased = setting(db, "public_url"), setting(db, "address")
    if public is None and (leased is None or not now < setting(db, "address", "until")):
        return Finding("ok", "links", "They are flex-media: links, which only this library opens.")
    url = str(public or leased)
    facts = {"begin": url, "is_public": public is not None}
    host, port = _host_of(url)
    if not is_loopback(host):
        return Finding("ok", "links", f"They begin with {url}/media/ (whether it answers was not tried).", None, facts)
    try:
        socket.create_connection((host, port), _ANSWER_S).close()
    except OSError:
        advice = (
            "Start flex-actions serve there, or forget it: flex-actions serve --forget-public-url"
            if public is not None
            else "A serve was killed; within half a minute links are flex-media: links again."
        )
        return Finding("note", "links", f"They begin with {url}/media/, where nobody answers.", advice, facts)
    return Finding("ok", "links", f"They begin with {url}/media/, and somebody answers there.", None, facts)


def _host_of(url: str) -> tuple[str, int]:
    found = urllib.parse.urlsplit(url)
    return found.hostname or "", found.port or (443 if found.scheme == "https" else 80)


def _oldest_of(folder: str, now: float, *, alone: bool) -> "Iterator[os.DirEntry[Any]]":
    """Up to so many files of a folder; while others are at work, only what lies there for an hour."""
    with os.scandir(folder) as entries:
        for entry in itertools.islice(entries, FILES):
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile
                if alone or entry.stat(follow_symlinks=False).st_mtime < now - _OLD_S:
                    yield entry


def _count(folder: str) -> int:
    with contextlib.suppress(FileNotFoundError, PermissionError), os.scandir(folder) as entries:
        return sum(1 for _ in itertools.islice(entries, FILES))
    return 0


def _at_least(count: int) -> str:
    return f"At least {count}" if count >= FILES else str(count)
