"""What an examination of a store comes to: findings, each with what to do about it."""

from collections.abc import Mapping
from typing import Any, Literal

import attrs

Level = Literal["ok", "note", "problem"]


@attrs.frozen
class Finding:
    """One thing that was looked at.

    Attributes:
        level: `ok`; `note` for what will mend itself or is a matter of taste; `problem` for what somebody must mend.
        subject: what was looked at, in a word or two (`database`, `free space`).
        fact: what is so, in one sentence; never a text, a file name or an identity from the chat.
        advice: what to do, if something is to be done.
        details: the same for programs, JSON-compatible, keys in snake_case.
    """

    level: Level
    subject: str
    fact: str
    advice: str | None = None
    details: Mapping[str, Any] = attrs.field(factory=dict)
