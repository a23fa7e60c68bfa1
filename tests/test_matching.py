"""When two payloads count as the same."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flex_actions.matching import contains, equal, fields, flex_match, payload_key, snake, snapshot


@attrs.define
class Payload:
    channel_sid: str | None = None
    file: object = None


@attrs.define
class One:
    text: str


ONE = object()

plain = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, 0.5]) | st.text("ab", max_size=2)
payloads = plain | st.dictionaries(st.sampled_from(["a", "b", "channelSid"]), plain, max_size=3)


@pytest.mark.parametrize(
    ("camel", "plain"),
    [("channelSid", "channel_sid"), ("channel_sid", "channel_sid"), ("file", "file"), ("aBC", "a_bc"), ("", "")],
)
def test_keys_are_compared_in_snake_case(camel, plain):
    assert snake(camel) == plain


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, None),
        (1, 1.0),
        ("a", "a"),
        ({}, {}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"channelSid": "CH1"}, {"channel_sid": "CH1"}),
        ({"channelSid": "CH1"}, Payload("CH1")),
        (Payload("CH1", ONE), Payload("CH1", ONE)),
        (One("a"), {"text": "a"}),
    ],
)
def test_these_are_equal(one, other):
    assert equal(one, other)
    assert payload_key(one) == payload_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, {}),
        (None, False),
        (1, True),
        (0, False),
        ("1", 1),
        (math.nan, math.nan + 0),
        ({"a": math.nan}, {"a": math.nan}),
        ({"a": 1}, {"a": 1, "b": 2}),
        ({"a": [1]}, {"a": [1]}),
        ({"a": True}, {"a": 1}),
        (Payload("CH1", object()), Payload("CH1", object())),
        ([1], [1]),
    ],
)
def test_these_are_not(one, other):
    assert not equal(one, other)


def test_what_an_object_does_not_give_is_no_key_of_it():
    assert fields(Payload("CH1")) == {"channel_sid": "CH1"}


def test_a_snapshot_keeps_what_was():
    payload, given = Payload("CH1"), {"a": 1}
    kept, mapping = snapshot(payload), snapshot(given)
    payload.channel_sid, given["a"] = "CH2", 2
    assert equal(kept, Payload("CH1"))
    assert equal(mapping, {"a": 1})


@given(payloads, payloads)
def test_equality_is_symmetric_and_agrees_with_the_key(one, other):
    assert equal(one, other) == equal(other, one) == (payload_key(one) == payload_key(other))


@given(payloads, payloads)
def test_two_are_equal_exactly_if_each_contains_the_other(one, other):
    assert equal(one, other) == (contains(one, other) and contains(other, one))


@given(payloads)
def test_every_payload_equals_itself(payload):
    assert equal(payload, payload)


@pytest.mark.parametrize(
    ("payload", "part", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {}, True),
        (None, {}, False),
        (None, {"a": 1}, False),
        ("x", "x", True),
        (Payload("CH1", ONE), {"channelSid": "CH1"}, True),
        (Payload("CH1"), {"file": ONE}, False),
    ],
)
def test_a_payload_contains_a_part_if_each_key_of_it_stands_there_with_the_same_value(payload, part, expected):
    assert contains(payload, part) is expected


@pytest.mark.parametrize(
    ("sought", "stored", "expected"),
    [
        (None, {"a": 1}, True),
        (None, None, True),
        ({}, {"a": 1}, True),
        ({}, None, False),
        ({"a": 1}, {"a": 1, "b": 2}, True),
        ({"a": 1, "b": 2}, {"a": 1}, False),
        (1, 1.0, True),
        (1, True, False),
        (math.nan, float("nan"), False),
        ("a", "a", True),
        (ONE, ONE, True),
        (object(), object(), False),
        ({"file": ONE}, {"file": ONE}, True),
        ({"file": [1]}, {"file": [1]}, False),
        (lambda stored, action: (stored, action) == ("x", "Go"), "x", True),
        (lambda stored, action: False, "x", False),
    ],
)
def test_flexs_own_rule_is_shallow_and_one_way(sought, stored, expected):
    assert flex_match(sought, stored, "Go") is expected
