"""What a store's folder stands on: file system, room, permissions. Looked at only, from outside.

Every function raises what the operating system raises; `condition.examined` makes findings of that.
"""

import os
import shutil
from collections.abc import Iterator
from typing import Any, Final

from .findings import Finding

_GB: Final = 1_000_000_000
_NOTE_BYTES, _NOTE_SHARE = _GB, 0.05
_PROBLEM_BYTES: Final = 100_000_000
_PROBLEM_FILES: Final = 1000
_MOUNTS: Final = "/proc/self/mountinfo"
# SQLite's log needs memory that all who use it share, and locks that hold: over a network there is neither.
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "vboxsf"}
    | {"ncpfs", "coda", "ocfs2", "gfs2", "webdav", "davfs", "virtiofs", "fuse"}
)
_LOCAL_DISK: Final = "Keep the chat on a disk of this machine, and reach it from others by what runs on it."


def file_system(path: str, *, mounts: str = _MOUNTS) -> Finding:
    """On what kind of file system it lies: one of the network cannot keep a chat safe."""
    try:
        with open(mounts, encoding="utf-8", errors="surrogateescape") as lines:
            kind, read_only = _mount_of(os.path.realpath(path), lines)
    except (FileNotFoundError, LookupError):
        return Finding("ok", "file system", "Of a kind that cannot be found out here: it must be a local disk's.")
    facts = {"kind": kind, "read_only": read_only}
    if read_only:
        advice = "Mount it so that it can be written, or move the chat."
        return Finding("problem", "file system", f"{kind}, mounted read-only: nothing can be sent.", advice, facts)
    if kind in _NETWORK or kind.startswith("fuse."):
        fact = f"{kind}: a chat is not safe over a network; its database can be damaged."
        return Finding("problem", "file system", fact, _LOCAL_DISK, facts)
    if kind in ("tmpfs", "ramfs"):
        fact = f"{kind}: it lies in memory and is gone when the machine restarts."
        return Finding("note", "file system", fact, "Keep what should last on a disk.", facts)
    return Finding("ok", "file system", f"{kind}.", details=facts)


def _mount_of(path: str, lines: Iterator[str] | Any) -> tuple[str, bool]:
    best: tuple[int, str, bool] | None = None
    for line in lines:
        before, _, behind = line.partition(" - ")
        fields = before.split()
        # Spaces and the like stand there as \040.
        point = fields[4].encode("utf-8", "surrogateescape").decode("unicode_escape").encode("latin-1")
        under = os.fsdecode(point).rstrip("/") + "/"
        # The last one wins: it lies above the others.
        if f"{path}/".startswith(under) and (best is None or len(under) >= best[0]):
            read_only = "ro" in fields[5].split(",") or "ro" in behind.split()[2].split(",")
            best = len(under), behind.split()[0], read_only
    if best is None:
        raise LookupError(path)
    return best[1:]


def room(path: str) -> Iterator[Finding]:
    """Free bytes, and how many files may be added."""
    if not hasattr(os, "statvfs"):
        usage = shutil.disk_usage(path)
        yield _bytes(usage.free, usage.total)
        return
    there = os.statvfs(path)
    yield _bytes(there.f_bavail * there.f_frsize, there.f_blocks * there.f_frsize)
    if there.f_files:  # some file systems know no such limit
        yield _files(there.f_favail, there.f_files)


def _bytes(free: int, total: int) -> Finding:
    share = free / total if total else 0.0
    fact = f"{size(free)} of {size(total)}, {share:.0%}."
    facts = {"free_bytes": free, "total_bytes": total}
    if free < _PROBLEM_BYTES:
        return Finding("problem", "free space", fact, "Free some space: sends will fail (store_full).", facts)
    if free < _NOTE_BYTES or share < _NOTE_SHARE:
        return Finding("note", "free space", fact, "Free some space soon, or move the chat to a larger disk.", facts)
    return Finding("ok", "free space", fact, details=facts)


def _files(free: int, total: int) -> Finding:
    fact = f"The file system takes {free} more files (inodes) of {total}."
    facts = {"free_inodes": free, "total_inodes": total}
    if free < _PROBLEM_FILES:
        return Finding("problem", "free files", fact, "Remove files: each that is sent needs one.", facts)
    if free / total < _NOTE_SHARE:
        return Finding("note", "free files", fact, "Remove files soon: each that is sent needs one.", facts)
    return Finding("ok", "free files", fact, details=facts)


def permissions(folder: str, *parts: str) -> Iterator[Finding]:
    """Whether this user can read and write a store's folder and those parts of it that are there."""
    there = _there(folder, *parts)
    names = [os.path.relpath(path, folder) for path in there if not _may(path)]
    if names:
        listed = ", ".join("the folder itself" if name == "." else name for name in names)
        advice = "Run as the user whose chat it is, or mend owner and permissions (chown -R, chmod -R u+rwX)."
        yield Finding(
            "problem", "permissions", f"This user may not read and write {listed}.", advice, {"unwritable": names}
        )
    else:
        yield Finding("ok", "permissions", "This user may read and write it.")


def ownership(folder: str, *parts: str) -> Iterator[Finding]:
    """Whose a store is, and whether others may look into it."""
    if not hasattr(os, "geteuid"):
        return
    there = _there(folder, *parts)
    owner, user = os.stat(folder).st_uid, os.geteuid()
    if owner != user:
        fact = f"The chat belongs to the user {owner}; this is user {user}."
        advice = "Run as its owner: files that others make there, the owner may not be able to open."
        yield Finding("note", "owner", fact, advice, {"owner": owner, "user": user})
    if any(os.stat(path).st_mode & 0o077 for path in there if not os.path.islink(path)):
        fact = "Other users of this machine may look into it."
        yield Finding("note", "privacy", fact, "If they should not: chmod -R go-rwx FOLDER.")


def _there(folder: str, *parts: str) -> list[str]:
    return [path for path in (folder, *(os.path.join(folder, part) for part in parts)) if os.path.exists(path)]


def _may(path: str) -> bool:
    effective = {"effective_ids": True} if os.access in os.supports_effective_ids else {}
    return os.access(path, os.R_OK | os.W_OK | (os.X_OK if os.path.isdir(path) else 0), **effective)


def size(count: int) -> str:
    """Bytes for people, in decimal units."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 10 else f"{value:.1f} {unit}"
