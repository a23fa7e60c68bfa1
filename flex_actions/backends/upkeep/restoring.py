"""What a chat was in a backup, put in the place of what is there now."""

import contextlib
import ctypes
import os
import sys
import time
from typing import Final, Literal

from ...clock import RANDOM_IDS
from ...errors import ActionError
from .. import sql
from ..asides import aside
from ..local import DATABASE, OWN, holds_no_chat, make_private
from ..media_folder import make_folder, sync_folder
from ..presence import keeping_out
from ..store import Store
from . import backup, replacing
from .places import chat_folder, copy_folder, lies_in
from .reports import RestoreReport
from .rescue import deleted_messages
from .sources import must_be_whole, reading
from .work import Work

ASIDE: Final = "restoring"
_EXCHANGE: Final = 2  # RENAME_EXCHANGE
_CWD: Final = -100  # AT_FDCWD


def restore(url: str, given: str, replace: bool, work: Work, now: float) -> RestoreReport:
    """See `restore_store`."""
    target, source = chat_folder(url, must_exist=False), copy_folder(given)
    if lies_in(source, target) or lies_in(target, source):
        raise ActionError("invalid_config", "The backup and the chat lie in one another.", hint="Name another folder.")
    there, why = _what_is_at(target, work)
    if there == "nothing":
        return _build(target, source, work, now)
    if there == "empty":
        _begin_store(target)
        return replacing.replace_chat(target, source, work, now, replace=True, fresh=True)
    if there == "chat":
        return replacing.replace_chat(target, source, work, now, replace=replace)
    if not replace:
        raise ActionError(
            "store_exists",
            f"There is a damaged chat in {target!a} ({why}).",
            hint="With --replace it is moved aside, and the backup takes its place.",
            details={"folder": target},
        )
    return _exchange(os.path.realpath(target), source, work, now)


def _what_is_at(target: str, work: Work) -> tuple[Literal["nothing", "empty", "chat", "damaged"], str]:
    """What lies where a chat is to be, and what is wrong with it. Raises `store_version`, `invalid_config`."""
    if not os.path.lexists(target):
        return "nothing", ""
    if not os.path.isdir(target):
        raise ActionError("store_corrupt", f"{target!a} is a file, no folder.", hint="Name another folder.")
    names = os.listdir(target)
    if not names and not os.path.ismount(target):
        return "nothing", ""
    if holds_no_chat(target):
        others = sorted(name for name in names if name not in OWN and not name.startswith("."))
        if others:
            raise ActionError(
                "invalid_config",
                f"The folder {target!a} holds other things ({others[0][:80]!a}, …) and no chat.",
                hint="Name a folder of its own: one that is empty or not there yet.",
            )
        if any(files for _, _, files in os.walk(os.path.join(target, "media"))):
            return "damaged", "its database is missing"
        return "empty", ""
    try:
        with reading(target, work) as db:
            must_be_whole(db, "The chat", "")
    except (ActionError, *sql.FAILURES) as error:
        told = sql.store_error(error)
        if told.code != "store_corrupt" or told.hint == sql.NOT_OURS:
            raise told from error
        return "damaged", told.message.rstrip(".")
    return "chat", ""


def _build(target: str, source: str, work: Work, now: float) -> RestoreReport:
    make_folder(os.path.dirname(target))
    with aside(f"{target}.{ASIDE}") as folder:
        found, _ = backup.build(source, folder, work, now, writable=True)
        _renew_link_keys(folder, now)
        backup.put_in_place(folder, target)
    return RestoreReport(target, *found[:3])


def _begin_store(target: str) -> None:
    """Make an empty store, in a folder that cannot be put in place itself (a disk of its own, say)."""
    path = os.path.join(target, DATABASE)
    make_private(path)
    with contextlib.closing(sql.connect(path)) as db:
        sql.prepare(db)


def _exchange(target: str, source: str, work: Work, now: float) -> RestoreReport:
    """Put a restored chat in the place of a damaged one, which is kept beside it."""
    with keeping_out(target), aside(f"{target}.{ASIDE}") as folder:
        deleted = _deleted_in(target, work)
        found, _ = backup.build(source, folder, work, now, writable=True, deleted=deleted)
        _renew_link_keys(folder, now)
        moved_to = _free_name(f"{target}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now))}")
        work.go_on()
        if not _swap(folder, moved_to, target):
            os.rename(target, moved_to)
            os.rename(folder, target)
        sync_folder(os.path.dirname(target))
    return RestoreReport(target, *found[:3], replaced="damaged", moved_to=moved_to)


def _renew_link_keys(folder: str, now: float) -> None:
    """No link that was given earlier opens: it may have been revoked since, or its reader have left."""
    with contextlib.closing(sql.connect(os.path.join(folder, DATABASE))) as db:
        db.execute("PRAGMA journal_mode=DELETE")
        db.execute("BEGIN")
        Store(db, RANDOM_IDS).rotate_link_keys(now, revoke=True)
        db.execute("COMMIT")


def _deleted_in(target: str, work: Work) -> set[str]:
    if holds_no_chat(target):
        return set()
    return deleted_messages(target, work)


def _free_name(path: str) -> str:
    number, name = 1, path
    while os.path.lexists(name):
        number, name = number + 1, f"{path}-{number + 1}"
    return name


def _swap(built: str, aside_name: str, target: str) -> bool:
    """Put both in each other's place in one step, if the system can: whoever is killed on the way leaves a whole chat.

    By way of the name that the damaged one gets: what is there under any other would be removed as a leftover.
    """
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    os.rename(built, aside_name)
    names = (os.fsencode(aside_name), os.fsencode(target))
    if renameat2(_CWD, names[0], _CWD, names[1], _EXCHANGE) == 0:
        return True
    os.rename(aside_name, built)
    return False
