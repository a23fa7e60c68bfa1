"""Values that several layers check in the same way: a message's attributes, a channel's type."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from .errors import ActionError

ATTRIBUTES_BYTES: Final = 4096
ATTRIBUTES_DEPTH: Final = 32
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')
_CHANNEL_TYPE: Final = re.compile(r"[\w.:+-]{1,64}\Z")


def attributes_json(value: Mapping[str, Any]) -> str:
    """A message's attributes as JSON.

    Raises:
        ActionError: `invalid_payload`: they are no JSON, more than 4096 bytes, or nested more than 32 deep.
    """
    try:
        text = json.dumps(dict(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        size = len(text.encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise _invalid(f"messageAttributes cannot be written as JSON: {error}.") from error
    if size > ATTRIBUTES_BYTES:
        raise _invalid(f"messageAttributes have {size} bytes as JSON; at most {ATTRIBUTES_BYTES} are allowed.")
    # In the text: whoever reads it must be able to, and a parser gives up long before 4096 levels.
    if _depth(text) > ATTRIBUTES_DEPTH:
        raise _invalid(f"messageAttributes are nested too deeply; at most {ATTRIBUTES_DEPTH} levels are allowed.")
    return text


def _depth(text: str) -> int:
    deepest = depth = 0
    for character in _STRING.sub("", text):
        if character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest


def plain_channel_type(value: object) -> str | None:
    """A channel's type as it is compared, or None if it is none: `' WhatsApp'` must not escape a rule."""
    plain = value.strip().casefold() if isinstance(value, str) else ""
    return plain if _CHANNEL_TYPE.match(plain) else None


def _invalid(message: str) -> ActionError:
    return ActionError("invalid_payload", message)
