"""Hostile values, without a store: names, the header that carries them, links, settings."""

import asyncio
import re
import unicodedata
import urllib.parse

import pytest
from hostile import altered, configs, content_types, junk, names, odd_numbers, search, sizes, texts
from hypothesis import given
from hypothesis import strategies as st
from scene import check_error

from flex_actions import ActionError, Config, File, connect
from flex_actions.backends.addresses import checked_public_url
from flex_actions.backends.links import LinkClaims, make_token, read_token
from flex_actions.config import read_config
from flex_actions.files import MAX_NAME_BYTES, clean_name, extension_of
from flex_actions.server.headers import content_disposition

# What Windows makes a device of, whatever follows.
DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])( *\.| *$)", re.IGNORECASE)


def result_of(call):
    """What a call gives, or its one clear error."""
    try:
        return call()
    except ActionError as error:
        check_error(error)
        return error


# -- names --


@search(300)
@given(names | texts)
def test_a_cleaned_name_is_safe_everywhere_and_stays_as_it_is(name):
    clean = clean_name(name)
    assert clean == clean_name(clean)
    assert 0 < len(clean.encode()) <= MAX_NAME_BYTES
    assert clean == clean.strip().rstrip(".") == unicodedata.normalize("NFC", clean)
    assert not set(clean) & set('/\\\0<>:"|?*')
    assert not {unicodedata.category(c) for c in clean} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not DEVICE.match(clean)


@search(100)
@given(
    st.text(), st.sampled_from(["pdf", "PDF", "gz", "x" * 30, "ü"]), st.integers(0, 5000), st.sampled_from(" .xé\u0301")
)
def test_the_extension_stays_however_long_the_name_is(start, extension, times, filler):
    name = f"{start}x{filler * times}.{extension}"
    assert extension_of(clean_name(name)) == extension.casefold()


@search(15)
@given(st.sampled_from(' .\t\u0301\u0327\u202e/\\:<"\U000e0041é'), st.sampled_from("x.\u0301\u0327 "), names)
def test_a_name_of_hundreds_of_thousands_of_characters_is_cleaned_like_any_other(first, second, end):
    """What is quadratic in the length of a name would run into the suite's time limit."""
    for name in (first * 100_000 + second * 100_000 + end, (first + second) * 100_000 + end):
        assert len(clean_name(name).encode()) <= MAX_NAME_BYTES


def parsed(header):
    """What a browser makes of a Content-Disposition, by RFC 6266 and RFC 5987: how to take it, and the name."""
    kind, *rest = re.findall(r';|=|"(?:[^"\\]|\\.)*"|[^;="\s]+|\s+', header)
    assert "".join([kind, *rest]) == header
    pieces = [piece for piece in rest if not piece.isspace()]
    parameters = {}
    while pieces:
        (semicolon, key, equals, value), pieces = pieces[:4], pieces[4:]
        assert (semicolon, equals, key in parameters) == (";", "=", False)
        parameters[key.lower()] = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
    if "filename*" not in parameters:
        return kind, parameters["filename"], parameters
    charset, _, encoded = parameters["filename*"].split("'")
    assert re.fullmatch(r"([A-Za-z0-9!#$&+.^_`|~-]|%[0-9A-Fa-f]{2})+", encoded)
    return kind, urllib.parse.unquote(encoded, encoding=charset, errors="strict"), parameters


@search(300)
@given(names | texts, st.sampled_from(["attachment", "inline"]), st.sampled_from(["text/plain", "text/html"]))
def test_a_browser_reads_the_cleaned_name_back(name, wanted, kind):
    header = content_disposition(name, wanted, kind)
    found, shown, parameters = parsed(header)
    assert header.isascii()
    assert header.isprintable()
    assert shown == clean_name(name)
    assert found == (wanted if kind == "text/plain" else "attachment")
    # Clients that know one form only: nothing to decode, no path, no device.
    assert not set(parameters["filename"]) & set('%"\\/')
    assert set(parameters) <= {"filename", "filename*"}


@search(200)
@given(names | texts | junk, content_types, st.binary(max_size=9))
def test_a_file_of_any_name_and_type_is_one_or_is_refused(name, kind, data):
    file = result_of(lambda: File.from_bytes(data, name=name, content_type=kind))
    if isinstance(file, File):
        assert file.name == (clean_name(name) if name is not None else file.name)
        assert re.fullmatch(r"[!-~]+/[!-~]+", file.content_type)
        assert len(file.content_type) <= 255
        again = File.from_bytes(data, name=file.name, content_type=file.content_type)
        assert again.same_as(file)
    else:
        assert file.code == "invalid_payload"


@search(100)
@given(sizes, names)
def test_a_stream_of_any_size_is_one_or_is_refused(size, name):
    file = result_of(lambda: File.from_stream(lambda: None, name=name, size_bytes=size))
    assert file.size_bytes == size if isinstance(file, File) else file.code == "invalid_payload"


@search(100)
@given(st.one_of(junk, texts.filter(lambda text: not text.strip("./ ~")), st.binary(max_size=5)))
def test_anything_may_be_given_for_a_file(value):
    file = result_of(lambda: File.of(value))
    assert isinstance(file, File) or file.code in ("invalid_payload", "file_unreadable")


# -- links --

KEYS = {"1": b"s" * 32, "2": b"t" * 32}
ONE = make_token(LinkClaims("ME" + "0" * 32, 1300.0, "ada", 7), key_id="1", secret=KEYS["1"])
OTHER = make_token(LinkClaims("ME" + "1" * 32, 9300.5, "cleo", None, "inline"), key_id="2", secret=KEYS["2"])


@search(400)
@given(altered(ONE, OTHER) | altered(OTHER, ONE))
def test_only_what_was_signed_opens(token):
    found = result_of(lambda: read_token(token, keys=KEYS, now=1.0))
    if token in (ONE, OTHER):
        assert found.reader == ("ada" if token == ONE else "cleo")
    else:
        assert found.code == "link_invalid"
        assert token not in str(found) or len(token) < 20


@search(100)
@given(texts | junk | st.builds("http{}://{}{}".format, st.sampled_from(["", "s"]), texts, texts))
def test_an_address_is_public_and_plain_or_refused(url):
    found = result_of(lambda: checked_public_url(url))
    if isinstance(found, str):
        assert found.isascii()
        assert found.isprintable()
        assert found == checked_public_url(found)
        assert not found.endswith("/")
        assert urllib.parse.urlsplit(found).hostname
    else:
        assert found.code == "invalid_config"


# -- settings --


@search(400)
@given(configs, st.sampled_from(["agent", "customer"]), st.sampled_from(["strict", "flex1", "flex2"]))
def test_settings_are_understood_or_refused(config, side, profile):
    found = result_of(lambda: read_config(config, side=side, profile=profile))
    if isinstance(found, Config):
        assert read_config(found, side=side) is found
        for policy in (found.agent, found.customer):
            assert policy.max_file_size >= 1
            assert all(e == e.casefold() and not e.startswith(".") for e in policy.accepted_extensions)
    else:
        assert found.code == "invalid_config"


async def begins(url, options):
    async with connect(url, **options) as session:
        assert await session.channels() == []


@pytest.mark.parametrize("option", ["identity", "role", "side", "config", "plugins", "profile"])
@search(30)
@given(value=texts | junk | odd_numbers)
def test_a_session_begins_or_is_refused(option, value):
    error = result_of(lambda: asyncio.run(begins("memory:", {"identity": "ada", option: value})))
    assert error is None or error.code in ("invalid_config", "invalid_registration")


@search(100)
@given(junk | texts.filter(lambda text: not text.startswith("local:")) | texts.map("memory:{}".format))
def test_a_chat_is_named_by_a_url_or_refused(url):
    error = result_of(lambda: asyncio.run(begins(url, {"identity": "ada"})))
    assert error.code == "invalid_config" if error is not None else url.startswith("memory:")
