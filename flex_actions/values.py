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
    except RecursionError:
        raise _too_deep() from None
    except (TypeError, ValueError) as error:
        raise _invalid(f"messageAttributes cannot be written as JSON: {error}.") from error
    if size > ATTRIBUTES_BYTES:
        raise _invalid(f"messageAttributes have {size} bytes as JSON; at most {ATTRIBUTES_BYTES} are allowed.")
    # In the text: whoever reads it must be able to, and a parser gives up long before 4096 levels.
    if is_too_deep(text):
        raise _too_deep()
    return text


def is_too_deep(text: str) -> bool:
    """Whether JSON is nested more than 32 deep."""
    if text.count("{") + text.count("[") <= ATTRIBUTES_DEPTH:
        return False
    deepest = depth = 0
    for character in _STRING.sub("", text):
        if character in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif character in "}]":
            depth -= 1
    return deepest > ATTRIBUTES_DEPTH


def plain_channel_type(value: object) -> str | None:
    """A channel's type as it is compared, or None if it is none: `' WhatsApp'` must not escape a rule."""
    plain = value.strip().casefold() if isinstance(value, str) else ""
    return plain if _CHANNEL_TYPE.match(plain) else None


def _too_deep() -> ActionError:
    return _invalid(f"messageAttributes are nested too deeply; at most {ATTRIBUTES_DEPTH} levels are allowed.")


def _invalid(message: str) -> ActionError:
    return ActionError("invalid_payload", message)
