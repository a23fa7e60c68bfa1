"""What the upkeep of a store comes to."""

from collections.abc import Mapping
from typing import Literal

import attrs


def counted(count: int, word: str) -> str:
    """A number with its word, in the plural if need be."""
    return f"{count} {word}{'' if count == 1 else 's'}"


@attrs.frozen
class BackupReport:
    """A finished copy.

    Attributes:
        path: the folder it lies in.
        channels: how many are in it.
        messages: how many are in it, without the deleted ones.
        files: how many are in it.
        size_bytes: of its files, without the database.
        left_out: sids of files that were damaged or missing (`keep_going` only).
    """

    path: str
    channels: int
    messages: int
    files: int
    size_bytes: int
    left_out: tuple[str, ...] = ()


@attrs.frozen
class RestoreReport:
    """A finished restore.

    Attributes:
        path: the chat's folder.
        channels: how many are in it now.
        messages: how many are in it now, without the deleted ones.
        files: how many are in it now.
        replaced: what was there: nothing, a chat, or a damaged one.
        moved_to: where the damaged one lies now.
        log_emptied: whether nothing of the old chat is left in the database's log; somebody who reads just now can
            keep it there for a while.
    """

    path: str
    channels: int
    messages: int
    files: int
    replaced: Literal["nothing", "chat", "damaged"] = "nothing"
    moved_to: str | None = None
    log_emptied: bool = True


@attrs.frozen
class RescueReport:
    """What could be rescued.

    Attributes:
        path: the folder of the copy.
        saved: rows by table: channel, member, message, event, idempotency, secret, setting; and `media`, the files.
        lost: the same for what is known to be lost: rows that could be read and lead nowhere, messages by the gaps in
            the positions of their channel, files that messages name and that are missing or damaged.
        unreadable_pages: pages of the database that are damaged or missing.
        stand_in_channels: channels whose own row is lost: members and messages are there, name and type are not.
        files_without_message: how many lie in the folder `lost` of the copy, under their sids.
        new_secrets: links or idempotency keys given earlier are void.
    """

    path: str
    saved: Mapping[str, int]
    lost: Mapping[str, int]
    unreadable_pages: int
    stand_in_channels: int
    files_without_message: int
    new_secrets: bool
