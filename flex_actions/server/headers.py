"""The rules of HTTP that a download needs, without I/O: ranges, conditions, the name of a file, safety."""

import re
import urllib.parse
from collections.abc import Sequence
from typing import Final

from ..files import clean_name
from ..ports import Disposition, Media

# On every answer, whatever it is.
SAFETY: Final = {
    "cache-control": "private, no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-robots-tag": "noindex",
}
# What no browser runs anything of. No SVG, HTML or PDF.
INLINE_TYPES: Final = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp", "text/plain"})

_TYPE: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_RANGE: Final = re.compile(r"([0-9]*)-([0-9]*)\Z")
_ETAGS: Final = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_ATTR_CHARS: Final = "!#$&+-.^_`|~"  # RFC 5987, besides letters and digits
_PAST_ANY_END: Final = 2**63


class Unsatisfiable(Exception):
    """A range that begins behind the end of the file."""


def content_disposition(name: str, wanted: Disposition, content_type: str) -> str:
    """How to take the file and under which name, for old clients and, if they differ, for those that know Unicode."""
    kind = "inline" if wanted == "inline" and content_type in INLINE_TYPES else "attachment"
    # Once more, for backends that are not ours: nothing that ends the line or the path may pass.
    name = clean_name(name)
    # Without % as well: some clients would decode it.
    plain = re.sub(r'[^ -~]|["\\%]', "_", name)
    if plain == name:
        return f'{kind}; filename="{plain}"'
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{urllib.parse.quote(name, safe=_ATTR_CHARS)}"


def content_type(media: Media) -> str:
    """The type as declared, if it is one at all."""
    return media.content_type if _TYPE.match(media.content_type) else "application/octet-stream"


def etag(media: Media) -> str:
    """A strong validator: the hash of the content."""
    return f'"{media.sha256}"'


def names_tag(values: Sequence[str], tag: str, *, strong: bool) -> bool:
    """Whether a list of entity tags names this one, or all (`*`); weak ones count only for the weak comparison."""
    text = ",".join(values)
    if text.strip() == "*":
        return True
    return any(found == tag and not (strong and weak) for weak, found in _ETAGS.findall(text))


def requested_range(ranges: Sequence[str], if_range: Sequence[str], media: Media) -> tuple[int, int] | None:
    """Offset and length of the part that is asked for, or None for the whole file.

    Several parts at once, other units, what cannot be understood and a range of another version (`If-Range`) all mean
    the whole file, as the standard allows.

    Raises:
        Unsatisfiable: nothing of the file lies there.
    """
    if len(ranges) != 1 or (if_range and [value.strip() for value in if_range] != [etag(media)]):
        return None
    unit, _, text = ranges[0].partition("=")
    match = _RANGE.match(text.strip())
    if unit.strip().lower() != "bytes" or match is None:
        return None
    first, last = match.groups()
    if not first:
        return _suffix(last, media.size_bytes)
    begin, end = _number(first), _number(last) if last else _PAST_ANY_END
    if end < begin:
        return None
    if begin >= media.size_bytes:
        raise Unsatisfiable
    return begin, min(end + 1, media.size_bytes) - begin


def _suffix(last: str, size_bytes: int) -> tuple[int, int] | None:
    if not last:
        return None
    length = min(_number(last), size_bytes)
    if not length:
        raise Unsatisfiable
    return size_bytes - length, length


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    # Python refuses to read thousands of digits, and no file is that large.
    return int(digits) if len(digits) < 19 else _PAST_ANY_END
