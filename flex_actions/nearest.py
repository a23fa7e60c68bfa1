"""The nearest right word for a misspelt one."""

import difflib
from collections.abc import Iterable


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word most like `word`, compared without case and underscores, or None if none is near."""
    plain = {_plain(k): k for k in known}
    hits = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6) if isinstance(word, str) else []
    return plain[hits[0]] if hits else None


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A hint sentence: the nearest right word, or else all of them."""
    names = sorted(set(known))
    hit = nearest(word, names)
    if hit is not None:
        return f"Did you mean {hit!r}?"
    return f"Known: {', '.join(names)}." if names else "None is known."


def _plain(word: str) -> str:
    return word.replace("_", "").replace("-", "").casefold()
