"""Personal data that a test plants, and a look for it in whatever form it might come out."""

import base64
import codecs
import html
import urllib.parse

CORE = "kanarie7f3"


def canary(place):
    """A text that says where it was planted, with characters that quoting and escaping change."""
    return f"Zoë {CORE} {place}"


def _base64_of_core():
    """The core as it looks in base64, whatever stands before and behind it."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + CORE.encode() + bytes(3)).decode()
        yield encoded[-(-before * 8 // 6) : (before + len(CORE)) * 8 // 6]


def _forms_of(text, rounds=3):
    """A text, and what it says once quoting and escapes are undone, one round after another."""
    yield text
    if not rounds:
        return
    for undone in (urllib.parse.unquote_plus(text), html.unescape(text), _unescaped(text)):
        if undone != text:
            yield from _forms_of(undone, rounds - 1)


def _unescaped(text):
    try:
        return codecs.decode(text.encode("ascii", "backslashreplace"), "unicode_escape")
    except UnicodeDecodeError:
        return text


def holds_canary(text):
    """Whether something planted is in a text: as it is, quoted, escaped, in base64 or hexadecimal, in capitals."""
    if any(encoded in text for encoded in _base64_of_core()):
        return True
    needles = (CORE, CORE.encode().hex())
    return any(needle in form.casefold() for form in _forms_of(text) for needle in needles)
