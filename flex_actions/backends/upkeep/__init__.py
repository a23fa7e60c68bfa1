"""Upkeep of a `local:` store: check it, back it up, restore it, rescue what a damaged one still holds.

Each call does its work in a thread of its own. A cancelled call leaves nothing half done and returns once the thread
has ended. `on_progress` is called on the event loop with a word for what is being done, how much of it is done, and how
much there is, mostly in bytes.

SQLite is loaded with the first call.
"""

import os

from ...clock import SYSTEM_CLOCK, Clock
from ..findings import Finding
from .reports import BackupReport, RescueReport, RestoreReport
from .work import OnProgress, apart


async def check_store(
    url: str, *, deep: bool = False, clock: Clock = SYSTEM_CLOCK, on_progress: OnProgress | None = None
) -> list[Finding]:
    """Look through a store for whatever is not as it should be, while others use it; changes nothing.

    Args:
        url: the chat, `local:FOLDER`.
        deep: also read every file and compare it with its hash.
        clock: what the ages of files are reckoned by.
        on_progress: see the module.

    Returns:
        One finding a subject. What is deleted, uploaded or sent meanwhile is none.

    Raises:
        ActionError: `store_missing`, `store_version`, `invalid_config` (no `local:` chat), `backend_unavailable`.
    """
    from . import checking

    return await apart(lambda work: checking.check(url, deep, work, clock.now()), on_progress)


async def backup_store(
    url: str,
    dest: str | os.PathLike[str],
    *,
    keep_going: bool = False,
    clock: Clock = SYSTEM_CLOCK,
    on_progress: OnProgress | None = None,
) -> BackupReport:
    """Copy a store while others write to it. The copy is a store itself, `local:DEST`, whole or not there.

    What was acknowledged before the call is in it; what is deleted before its end is not, nor are personal events older
    than 7 days.

    Args:
        url: the chat, `local:FOLDER`.
        dest: the folder to make; its parent must be there.
        keep_going: leave out files that are damaged or missing, and name them in the report.
        clock: what the ages of events are reckoned by.
        on_progress: see the module.

    Raises:
        ActionError: `store_missing`, `store_version`, `store_corrupt`, `store_exists` (DEST is there), `store_full`,
            `media_corrupt` (names the files), `file_unwritable`, `invalid_config` (no `local:` chat; DEST lies in it).
    """
    from . import backup

    return await apart(lambda work: backup.back_up(url, os.fspath(dest), keep_going, work, clock.now()), on_progress)


async def restore_store(
    url: str,
    backup: str | os.PathLike[str],
    *,
    replace: bool = False,
    clock: Clock = SYSTEM_CLOCK,
    on_progress: OnProgress | None = None,
) -> RestoreReport:
    """Make a chat what it was in a backup, also while others use it: they see the old one or the new one, never half.

    A chat that is there keeps its link keys, its public URL and its deletions; no cursor, position or membership number
    is given twice. A damaged one is moved aside, never deleted. The backup stays as it is and is checked first.

    Args:
        url: the chat, `local:FOLDER`; it need not be there.
        backup: a folder that `backup_store` or `rescue_store` made.
        replace: go on although there is a chat; without it the error tells what would be lost.
        clock: what the ages of events are reckoned by.
        on_progress: see the module.

    Raises:
        ActionError: `store_missing` (no backup there), `store_version`, `store_corrupt` or `media_corrupt` (the backup
            is damaged), `store_exists` (there is a chat, and no `replace`), `store_in_use`, `store_full`,
            `store_readonly`, `invalid_config`. Nothing has changed then.
    """
    from . import restoring

    return await apart(lambda work: restoring.restore(url, os.fspath(backup), replace, work, clock.now()), on_progress)


async def rescue_store(
    url: str, dest: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK, on_progress: OnProgress | None = None
) -> RescueReport:
    """Copy all that can still be read of a damaged store; the copy, `local:DEST`, can only be read.

    Nothing is written into the damaged store. `restore_store` makes a chat of the copy.

    Args:
        url: the damaged chat, `local:FOLDER`, which nobody may have open.
        dest: the folder to make; its parent must be there.
        clock: what the ages of events are reckoned by.
        on_progress: see the module.

    Raises:
        ActionError: `store_missing`, `store_in_use`, `store_corrupt` (nothing of a chat can be read), `store_version`,
            `store_exists` (DEST is there), `store_full`, `file_unwritable`, `invalid_config`.
    """
    from . import rescue

    return await apart(lambda work: rescue.rescue(url, os.fspath(dest), work, clock.now()), on_progress)


__all__ = [
    "BackupReport",
    "Finding",
    "RescueReport",
    "RestoreReport",
    "backup_store",
    "check_store",
    "rescue_store",
    "restore_store",
]
