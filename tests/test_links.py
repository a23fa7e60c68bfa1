"""Links: nothing but what was signed, and not for longer than was said."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flex_actions.backends.links import LinkClaims, make_token, make_url, read_token, read_url
from flex_actions.errors import ActionError

SECRET = b"s" * 32
KEYS = {"1": SECRET, "2": b"t" * 32}
CLAIMS = LinkClaims("ME" + "0" * 32, 1300.0, "ada", 7)

identities = st.text(st.characters(exclude_categories=()), max_size=40)
claims = st.builds(
    LinkClaims,
    media_sid=st.text("0123456789abcdef", min_size=32, max_size=32).map("ME".__add__),
    expires_at=st.floats(min_value=1, max_value=1e12),
    reader=identities,
    membership=st.none() | st.integers(0, 2**63),
    disposition=st.sampled_from(["attachment", "inline"]),
)


def code_of(token, *, now=1000.0, keys=KEYS):
    with pytest.raises(ActionError) as caught:
        read_token(token, keys=keys, now=now)
    return caught.value.code


@given(claims)
def test_what_was_signed_comes_back(wanted):
    token = make_token(wanted, key_id="1", secret=SECRET)
    assert read_token(token, keys=KEYS, now=0.0) == wanted
    assert set(token) <= set(string.ascii_letters + string.digits + "-_.~+")


@given(claims, st.data())
def test_any_altered_character_is_refused(wanted, data):
    token = make_token(wanted, key_id="1", secret=SECRET)
    position = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(exclude_characters=token[position], exclude_categories=()))
    assert code_of(token[:position] + other + token[position + 1 :], now=0.0) == "link_invalid"


@given(claims, st.data())
def test_anything_cut_or_added_is_refused(wanted, data):
    token = make_token(wanted, key_id="1", secret=SECRET)
    start = data.draw(st.integers(0, len(token)))
    end = data.draw(st.integers(start, len(token)))
    added = data.draw(st.text(min_size=0 if end > start else 1, max_size=5))
    altered = token[:start] + added + token[end:]
    if altered != token:
        assert code_of(altered, now=0.0) == "link_invalid"


@given(claims, claims)
def test_fields_of_two_links_cannot_be_mixed(one, two):
    first, second = (make_token(c, key_id="1", secret=SECRET).split("~") for c in (one, two))
    for position in range(len(first)):
        mixed = "~".join([*first[:position], second[position], *first[position + 1 :]])
        if mixed != "~".join(first):
            assert code_of(mixed, now=0.0) == "link_invalid"


@given(st.text())
def test_garbage_is_refused(text):
    assert code_of(text) == "link_invalid"
    with pytest.raises(ActionError, match="no link of this store"):
        read_url(text, keys=KEYS, now=0.0)


def test_every_character_of_one_link():
    token = make_token(CLAIMS, key_id="1", secret=SECRET)
    for position, character in enumerate(token):
        for other in string.printable:
            if other != character:
                assert code_of(token[:position] + other + token[position + 1 :]) == "link_invalid"


def test_a_link_ends_exactly_at_its_expiry():
    token = make_token(CLAIMS, key_id="1", secret=SECRET)
    assert read_token(token, keys=KEYS, now=1299.999) == CLAIMS
    assert code_of(token, now=1300.0) == "link_expired"
    assert code_of(token, now=1e9) == "link_expired"


def test_an_altered_link_is_invalid_even_after_its_expiry():
    token = make_token(CLAIMS, key_id="1", secret=SECRET)
    assert code_of(token.replace("1300.0", "9999.0"), now=1e9) == "link_invalid"


def test_another_key_signs_nothing_for_this_one():
    assert code_of(make_token(CLAIMS, key_id="1", secret=KEYS["2"])) == "link_invalid"
    assert code_of(make_token(CLAIMS, key_id="3", secret=SECRET)) == "link_invalid"
    assert code_of(make_token(CLAIMS, key_id="1", secret=SECRET), keys={}) == "link_invalid"


def test_old_keys_verify_what_they_signed():
    token = make_token(CLAIMS, key_id="2", secret=KEYS["2"])
    assert read_token(token, keys=KEYS, now=0.0) == CLAIMS


def test_a_url_is_the_token_behind_its_scheme():
    url = make_url(CLAIMS, key_id="1", secret=SECRET)
    assert url == "flex-media:" + make_token(CLAIMS, key_id="1", secret=SECRET)
    assert read_url(url, keys=KEYS, now=0.0) == CLAIMS


@pytest.mark.parametrize("url", [None, 5, b"flex-media:x", "https://x/y", "FLEX-MEDIA:x"])
def test_what_is_no_such_url_is_invalid(url):
    with pytest.raises(ActionError) as caught:
        read_url(url, keys=KEYS, now=0.0)
    assert caught.value.code == "link_invalid"


def test_a_very_long_identity_gets_no_link():
    with pytest.raises(ActionError) as caught:
        make_token(LinkClaims("ME" + "0" * 32, 1.0, "x" * 10_000), key_id="1", secret=SECRET)
    assert caught.value.code == "invalid_payload"


@pytest.mark.parametrize("expires_at", [float("nan"), float("inf")])
def test_a_link_without_an_end_is_refused(expires_at):
    with pytest.raises(ActionError) as caught:
        make_token(LinkClaims("ME" + "0" * 32, expires_at, "x"), key_id="1", secret=SECRET)
    assert caught.value.code == "invalid_payload"
