"""What callers hand in, checked before it reaches a store."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from ..errors import ActionError, brief
from ..ports import LINK_LIFE_LIMIT_S, Draft
from ..values import attributes_json, plain_channel_type

_CHANNEL_SID: Final = re.compile(r"CH[0-9a-f]{32}\Z")
# Whole, cut off, too long or in capitals: whoever reads it would take it for one.
_LIKE_A_SID: Final = re.compile(r"CH(?:[0-9a-fA-F]{8}|[0-9a-f]+\Z)")
_MAX_NAME_CHARS: Final = 256  # as many as an identity
_UNSEEN: Final = frozenset({"Cc", "Zl", "Zp"})
_CURSOR: Final = re.compile(r"(?:0|[1-9][0-9]{0,18})\Z", re.ASCII)


def is_channel_sid(text: str) -> bool:
    """Whether a channel is named by its sid rather than by its unique name."""
    return isinstance(text, str) and _CHANNEL_SID.match(text) is not None


def storable(text: object, what: str) -> str:
    """Text that can be kept, not empty.

    Raises:
        ActionError: `invalid_payload` for anything else (lone surrogates are no Unicode text).
    """
    if not isinstance(text, str) or not text:
        raise ActionError("invalid_payload", f"{what} must be text and not empty.")
    return _encodable(text, what)


def unique_name(name: str | None) -> str | None:
    """A unique name that cannot be taken for a sid. Raises `invalid_payload`."""
    if name is None:
        return None
    if len(storable(name, "unique_name")) > _MAX_NAME_CHARS:
        raise ActionError(
            "invalid_payload", f"A unique_name has at most {_MAX_NAME_CHARS} characters, not {len(name)}."
        )
    if _LIKE_A_SID.match(name):
        raise ActionError("invalid_payload", "A unique_name must not look like a channel's sid (CH…).")
    if not all(unicodedata.category(c) not in _UNSEEN for c in name):
        raise ActionError("invalid_payload", "A unique_name must not hold control characters.")
    return name


def channel_type(value: object) -> str:
    """A channel's type in its one form. Raises `invalid_payload`."""
    plain = plain_channel_type(value)
    if plain is None:
        raise ActionError(
            "invalid_payload",
            f"channel_type must be one word of 1 to 64 letters, digits and .:+-_, not {brief(value)}.",
            hint="Write it as 'web', 'sms' or 'whatsapp'.",
        )
    return plain


def checked_page(after_index: object, limit: object) -> None:
    """Refuse a range of messages that is not given in whole numbers, with `invalid_payload`."""
    for name, value in (("after_index", after_index), ("limit", limit)):
        if (isinstance(value, bool) or not isinstance(value, int)) and not (name == "limit" and value is None):
            raise ActionError("invalid_payload", f"{name} must be a whole number, not {brief(value)}.")


def checked_draft(draft: Draft) -> str:
    """The attributes of a draft as JSON text, once all of it is found storable. Raises `invalid_payload`."""
    attributes = checked_sender(draft.author, draft.attributes)
    if (draft.body is None) == (draft.media is None):
        raise ActionError("invalid_payload", "A message carries text or one file: exactly one of them.")
    if draft.body is not None:
        if not isinstance(draft.body, str):
            raise ActionError("invalid_payload", "body must be text.")
        _encodable(draft.body, "body")
    return attributes


def checked_sender(author: object, attributes: Mapping[str, Any]) -> str:
    """The attributes of a message as JSON text, once these and its author prove storable. Raises `invalid_payload`."""
    storable(author, "author")
    return attributes_json(attributes) if attributes else "{}"


def parse_cursor(cursor: str, newest: int) -> int:
    """The sequence number of a cursor. Raises `invalid_cursor` if no event up to `newest` has had it."""
    if isinstance(cursor, str) and _CURSOR.match(cursor) and int(cursor) <= newest:
        return int(cursor)
    raise ActionError(
        "invalid_cursor",
        "The cursor was not made by this store.",
        hint="Begin without one, or use last_cursor().",
    )


def checked_range(offset: object, length: object) -> None:
    """Refuse a range that is not given in whole numbers from 0, with `invalid_payload`."""
    if not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in (offset, 0 if length is None else length)
    ):
        raise ActionError("invalid_payload", "offset and length of a range must be whole numbers from 0.")


def checked_ttl(ttl_s: object) -> None:
    """Refuse a link's life that is not a number above 0 and at most a week, with `invalid_payload`."""
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, (int, float)) or not 0 < ttl_s <= LINK_LIFE_LIMIT_S:
        limit = f"{LINK_LIFE_LIMIT_S:.0f}"
        raise ActionError(
            "invalid_payload", f"ttl_s must be a number of seconds above 0 and at most {limit}, not {brief(ttl_s)}."
        )


def _encodable(text: str, what: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ActionError("invalid_payload", f"{what} holds characters that are no Unicode text.") from error
    return text
