"""What lies in a store's folder beside its chat: leftovers, things of others, and who may read it all."""

import os
import re
import stat
from collections.abc import Callable, Iterator
from typing import Final

from ..findings import Finding
from ..local import DATABASE, OWN
from ..media_folder import SID, STRAY
from .copying import stored_at
from .reports import counted
from .work import Work

OLD_S: Final = 3600.0  # younger ones may be uploads under way
_UPLOAD: Final = re.compile(r"ME[0-9a-f]{32}(\.part)?\Z")
_AT_ONCE: Final = 500
_NAMED: Final = 100
_DIGITS: Final = "0123456789abcdef"
_LATER: Final = "They go when the chat is next opened by a process that is alone with it after a crash."
_ASIDE: Final = (
    "An opening by a process that is alone with the chat sets them aside, in stray/, for a week. Should messages be"
    " missing (an older database was put there, or its log removed), rescue the chat, or put the right database back."
)


def strays(folder: str, carried: Callable[[list[str]], set[str]], now: float, work: Work) -> list[Finding]:
    """What no message, upload or chat accounts for; `carried` says which of some sids messages carry."""
    orphans: list[str] = []
    count = foreign = 0
    for digit in _DIGITS:
        for sids in _pages(os.path.join(folder, "media", digit), now, work):
            known = [sid for sid in sids if SID.match(sid) and sid.endswith(digit)]
            foreign += len(sids) - len(known)
            there = carried(known) if known else set()
            lost = [sid for sid in known if sid not in there]
            count += len(lost)
            orphans = [*orphans, *lost][:_NAMED]
    # A deletion takes the row first.
    gone = [sid for sid in orphans if not os.path.lexists(stored_at(folder, sid))]
    orphans, count = [sid for sid in orphans if sid not in gone], count - len(gone)
    found = [_found("orphans", count, "file", "that no message carries", advice=_ASIDE, sids=orphans)]
    parts = [n for names in _pages(os.path.join(folder, "incoming"), now, work) for n in names if n.endswith(".part")]
    found.append(_found("unfinished uploads", len(parts), "upload", "that was never finished", advice=_LATER, sids=[]))
    foreign += _foreign_at_the_top(folder)
    advice = "Move them elsewhere: what is in this folder is the chat's own."
    found.append(_found("other things", foreign, "thing", "that does not belong there", advice=advice, sids=[]))
    return [finding for finding in found if finding is not None] or [
        Finding("ok", "leftovers", "Nothing older than an hour lies there that no message accounts for.")
    ]


def _found(subject: str, count: int, word: str, what: str, *, advice: str, sids: list[str]) -> Finding | None:
    if not count:
        return None
    details = {"count": count, **({"sids": sids} if sids else {})}
    return Finding("note", subject, f"{counted(count, word)} {what}.", advice, details)


def _pages(folder: str, now: float, work: Work) -> Iterator[list[str]]:
    """The names of a folder's old files, some at a time."""
    page: list[str] = []
    for entry in _entries(folder):
        work.go_on()
        try:
            old = now - entry.stat(follow_symlinks=False).st_mtime > OLD_S
        except OSError:
            continue  # gone meanwhile
        if old or not _UPLOAD.match(entry.name):
            page.append(entry.name)
        if len(page) == _AT_ONCE:
            yield page
            page = []
    if page:
        yield page


def _foreign_at_the_top(folder: str) -> int:
    top = sum(not e.name.startswith(".") and e.name not in OWN and e.name != "lost" for e in _entries(folder))
    media = sum(not e.name.startswith(".") and e.name not in _DIGITS for e in _entries(os.path.join(folder, "media")))
    incoming = _entries(os.path.join(folder, "incoming"))
    return top + media + sum(not e.name.startswith(".") and not e.name.endswith(".part") for e in incoming)


def _entries(folder: str) -> Iterator["os.DirEntry[str]"]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except (FileNotFoundError, NotADirectoryError):
        return


def permissions(folder: str, work: Work) -> list[Finding]:
    """Whether others on the machine can read the chat."""
    if os.name == "nt":
        return []
    open_ = sum(_is_open(path) for path in _all_paths(folder, work))
    if not _is_open(folder):
        return [Finding("ok", "permissions", "Only its owner can read it.", details={"open": open_})]
    advice = f"chmod -R go= {folder!a}"
    if open_:
        fact = f"Others on this machine can read {open_} of its files and folders."
        return [Finding("problem", "permissions", fact, advice, {"open": open_})]
    fact = "Others on this machine can look into its folder, not into its files."
    return [Finding("note", "permissions", fact, advice, {"open": 0})]


def _is_open(path: str) -> bool:
    try:
        return bool(stat.S_IMODE(os.lstat(path).st_mode) & 0o077) and not os.path.islink(path)
    except OSError:
        return False


def _all_paths(folder: str, work: Work) -> Iterator[str]:
    """Everything of the chat's own below its folder."""
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm", "media", "incoming", "open", "lost", STRAY):
        path = os.path.join(folder, name)
        yield path
        for entry in _entries(path):
            work.go_on()
            yield entry.path
            if name == "media":
                yield from (file.path for file in _entries(entry.path))
