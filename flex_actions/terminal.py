"""What may be written onto a terminal: text that cannot act on it, and colours only where somebody sees them."""

import os
import unicodedata
from typing import Any, Final

# Cc, Cf, Cs, Zl, Zp: escape sequences, reordering, broken lines. Joiners only shape emoji and scripts.
_UNSAFE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS: Final = "\u200c\u200d"


def shown(text: object) -> str:
    """Text that is safe on a terminal and stays in its line: control and format characters are written as escapes."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in _UNSAFE and c not in _JOINERS else c
        for c in str(text)
    )


def takes_colours(stream: Any) -> bool:
    """Whether a stream is a terminal whose user has not asked for no colours (NO_COLOR)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # there is none, or it is closed
        return False
