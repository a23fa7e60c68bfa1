"""Hostile values of every kind, for hypothesis, and how hard to search with them.

`FLEX_ACTIONS_FUZZ=10` searches ten times as long, and anew each time.
"""

# Letters that look like others are the point.
# ruff: noqa: RUF001, RUF005

import os
import string

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

TIMES = float(os.environ.get("FLEX_ACTIONS_FUZZ", "1"))


def search(examples, **options):
    """Settings for so many examples, or as many times more as is wanted."""
    if TIMES != 1:
        options["derandomize"] = False
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    return settings(max_examples=max(1, int(examples * TIMES)), deadline=None, suppress_health_check=quiet, **options)


def _nested(levels):
    found = []
    for _ in range(levels):
        found = [found]
    return found


def _cyclic():
    found = {}
    found["a"] = found
    return found


# -- texts --

characters = st.characters() | st.sampled_from(
    "/\\.:~%?#*\"'<>|;=&+ \t\r\n\0\x1b\x7f\x85\xa0\u061c\u200b\u200d\u200f\u2028\u2029\u202e\u2066\ufeff\ufffd\ufffe"
    "\u0301\u0327\u0344\u0338\u1160\u3000\ufb2c\u212a\u0130ßﬁ\ud800\udcff\udfff\U000e0041\U0010ffff"
)
extensions = st.sampled_from(
    ["pdf", "PDF", "pdf ", "pdf.", "pdf/", "pdf\0", "pdf.exe", "exe.pdf", "\u202efdp.exe", "рdf", "p\u200bdf", "ﬁ"]
    + ["tar.gz", "TXT", "txt\r\nx: y", "x" * 40, "x" * 300, "", ".", "İ", "ﬄ", "p\u0301df", "png;.exe", "pdf::$DATA"]
)
stems = st.one_of(
    st.text(characters, max_size=30),
    st.sampled_from(
        ["", ".", "..", "...", " ", ". .", "~", "-", "-rf", "CON", "con .", "NUL", "AUX\u200b", "COM1", "COM¹", "LPT9"]
        + [
            "../../etc/passwd",
            "..\\..\\boot",
            "/etc/shadow",
            "C:\\Windows\\a",
            "C:a",
            "\\\\host\\share\\a",
            "file:///a",
        ]
        + ["%2e%2e%2f", "%00", "%0d%0aset-cookie: a=b", "a\r\nset-cookie: a=b", 'a"; filename="b', "a\\", "UTF-8''a%41"]
        + ["=?utf-8?b?YQ==?=", "a;b=c", "chat.sqlite3", "ME" + "0" * 32, "CON" + " " * 300 + "x", "e\u0301" * 200]
    ),
    st.builds(lambda piece, times: piece * times, st.text(characters, min_size=1, max_size=3), st.integers(80, 400)),
)
names = st.builds("{}{}{}".format, stems, st.sampled_from([".", "", ". .", "\u2024", ".\u200b"]), extensions)
texts = st.one_of(
    st.text(characters, max_size=60), names, st.just("x" * 5000), st.sampled_from(["", "\ud83d", "\0", "'); --"])
)
identities = st.one_of(
    texts, st.sampled_from(["ada", "cleo", "Ada", "ada ", "аda", "ada\u200b", "a" * 256, "a" * 257, "../ada", "*"])
)

# -- values of the wrong kind --

# Nothing that cannot be shown: what fails would not be told.
odd_numbers = st.sampled_from(
    [0, -1, True, 1.5, -0.0, 1e308, float("nan"), float("inf"), 2**31, 2**63 - 1, 2**63, -(2**63), 10**30, 10**400]
)
junk = st.one_of(
    st.none(),
    odd_numbers,
    st.binary(max_size=8),
    st.sampled_from([(), [], {}, set(), frozenset(), b"", [""], ["a", "b"], {"a": 1}, {"id": "a"}, {"sid": "CH"}]),
    st.builds(object),
    st.builds(_nested, st.sampled_from([40, 5000])),
    st.builds(lambda: 10**5000),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
attributes = st.one_of(
    st.dictionaries(st.text(max_size=8), json_values, max_size=4),
    st.dictionaries(st.integers() | st.none() | st.floats() | st.binary() | st.text(max_size=3), junk, max_size=3),
    st.builds(_cyclic),
    st.builds(lambda n: {"a": _nested(n)}, st.sampled_from([29, 30, 31, 32, 2000])),
    st.builds(lambda n: {"a": "é" * n}, st.integers(2040, 2050)),
    json_values,
    junk,
)
content_types = st.one_of(
    st.sampled_from(
        ["application/pdf", "image/png; a=b", "text/html", "a/b\r\nx: y", "a/b;" * 999, "a/" + "b" * 300, "text/\u212a"]
        + ["/", "a/", "*/*", "image/svg+xml", "a/b/c", " ", "application/octet-stream", "multipart/x"]
    ),
    texts,
    junk,
)
sizes = st.one_of(st.integers(0, 40), odd_numbers, junk)

# -- names for things in a store --

hexadecimal = st.text("0123456789abcdefABCDEF", min_size=30, max_size=34)
sids = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["CH", "IM", "ME", "ch", "XX", ""]), hexadecimal),
    st.builds("{}{}{}".format, st.sampled_from(["CH", "IM", "ME"]), st.just("0" * 32), st.text(characters, max_size=3)),
    texts,
    junk,
)
cursors = st.one_of(
    st.integers(-2, 100).map(str),
    st.sampled_from(["", "00", "+1", " 1", "1 ", "1\n", "١", "1_0", "1e3", "0x1", "1.0", "9" * 19, "9" * 5000, "-0"]),
    sids,
)

# -- configurations --

_KEYS = [
    *("fileAttachment", "file_attachment", "FileAttachment", "fileAttachments", "agent", "customer", "Agent"),
    *("enabled", "readOnly", "maxFileSize", "max_file_size", "maxfilesize", "acceptedExtensions", "channelTypes"),
    *("supervisorDownloads", "notifyCustomer", "plugins", "whatsapp", " WhatsApp ", "web", "", "__class__", "ﬁle"),
]
configs = st.recursive(
    st.one_of(json_values, junk, st.booleans(), st.integers(1, 99), st.lists(extensions, max_size=3)),
    lambda inner: st.dictionaries(st.sampled_from(_KEYS) | st.text(characters, max_size=9), inner, max_size=4),
    max_leaves=8,
)

# -- links --

_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")


_BASE64 = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


def _same_bytes(text, bits):
    """Another text that base64 reads as the same bytes, if the last character has bits that count for nothing."""
    if not text or text[-1] not in _BASE64:
        return text + "="
    return text[:-1] + _BASE64[_BASE64.index(text[-1]) ^ bits]


@st.composite
def altered(draw, token, other):
    """A token that is not quite the one that was signed; `other` is another good one of the same store."""
    fields, others = token.split("~"), other.split("~")
    at = draw(st.sampled_from([*range(len(fields)), -1, -1]))
    expiry = float(fields[3])
    whole = int(expiry)
    changes = [
        lambda f: others[at],
        lambda f: f.translate(_DIGITS),
        lambda f: f.upper() if f != f.upper() else f.lower(),
        lambda f: draw(st.sampled_from(["", " ", "0", "-", "=", "==", "%", "\n", "\0"])) + f,
        lambda f: f + draw(st.sampled_from(["", " ", "0", "=", "==", "A", "~", "\n", "\0", "%00", "%3d"])),
        lambda f: f.replace("-", "+").replace("_", "/"),
        lambda f: _same_bytes(f, draw(st.sampled_from([1, 2, 3]))),
        lambda f: draw(st.text(string.printable, max_size=8)),
        lambda f: draw(
            st.sampled_from(["v0", "v2", "V1", "v01", "1", "2", "01", "9e99", "inf", "nan", f"{whole + 999}.0"])
        ),
        lambda f: draw(st.sampled_from([str(whole), f"{expiry!r}0", f"+{expiry!r}", f"{expiry:e}", f" {expiry!r}"])),
    ]
    fields[at] = draw(st.sampled_from(changes))(fields[at])
    made = draw(
        st.sampled_from(
            [
                "~".join(fields),
                "~".join(fields[::-1]),
                "~".join([*fields, fields[-1]]),
                "~".join(fields[:-1]),
                token * 2,
            ]
        )
        if draw(st.integers(0, 4)) == 0
        else st.just("~".join(fields))
    )
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(made)))
        made = made[:at] + draw(st.text(characters, max_size=2)) + made[at + draw(st.integers(0, 2)) :]
    return made
