"""The payloads of the eight actions: what callers may write, and what hooks may set."""

import attrs
import pytest

from flex_actions import (
    ActionError,
    AttachFilePayload,
    DownloadMediaPayload,
    File,
    SendMediaMessagePayload,
    SendMessagePayload,
    SetInputTextPayload,
    payload_update,
)
from flex_actions.payloads import PAYLOADS, build, keys_of
from flex_actions.ports import Channel, Message

SID = "CH" + "0" * 32
CHANNEL = Channel(SID, "support", "web", "active", "ada", 0.0)
MESSAGE = Message("IM" + "0" * 32, SID, 0, "ada", "hi", None, {}, 0.0)
PDF = File.from_bytes(b"%PDF", name="a.pdf")


# Spellings


@pytest.mark.parametrize(
    "channel",
    [
        {"channelSid": SID},
        {"channel_sid": SID},
        {"channel": CHANNEL},
        {"channel": SID},
        {"conversationSid": SID},
        {"conversation_sid": SID},
        {"conversation": CHANNEL},
        {"channelSid": CHANNEL},
        {"channelSid": SID, "channel": CHANNEL},
    ],
    ids=str,
)
def test_the_channel_may_be_written_in_many_ways(channel):
    assert build(AttachFilePayload, {"file": PDF, **channel}) == AttachFilePayload(file=PDF, channel_sid=SID)


@pytest.mark.parametrize("key", ["messageAttributes", "message_attributes"])
def test_keys_may_be_camel_case_or_snake_case(key):
    assert build(SendMessagePayload, {"body": "x", "channelSid": SID, key: {"a": 1}}).message_attributes == {"a": 1}


def test_an_object_of_the_class_is_used_as_it_is():
    payload = AttachFilePayload(file=PDF, channel_sid=SID)
    assert build(AttachFilePayload, payload) is payload


def test_an_object_of_another_class_is_refused(refused):
    with refused("invalid_payload") as caught:
        build(AttachFilePayload, SetInputTextPayload(channel_sid=SID, body="x"))
    assert "AttachFilePayload" in caught.value.message


@pytest.mark.parametrize("given", [5, "text", b"x", [("file", PDF)], {"file"}, True])
def test_a_payload_must_be_a_mapping(given, refused):
    with refused("invalid_payload"):
        build(AttachFilePayload, given)


def test_the_callers_mapping_is_left_alone():
    attributes = {"a": [1]}
    given = {"body": "x", "channel": CHANNEL, "messageAttributes": attributes}
    build(SendMessagePayload, given).message_attributes["a"].append(2)
    assert given == {"body": "x", "channel": CHANNEL, "messageAttributes": {"a": [1]}}


def test_the_keys_are_known_as_flex_writes_them():
    assert keys_of(SendMediaMessagePayload) == {"channelSid": True, "file": False, "messageAttributes": False}
    assert keys_of(AttachFilePayload) == {"file": True, "channelSid": True}


# Mistakes


@pytest.mark.parametrize(
    ("cls", "key", "nearest"),
    [
        ("AttachFile", "fiel", "file"),
        ("AttachFile", "chanelSid", "channelSid"),
        ("SendMessage", "boddy", "body"),
        ("SendMessage", "messageAttribute", "messageAttributes"),
        ("DownloadMedia", "mesage", "message"),
    ],
)
def test_an_unknown_key_names_the_nearest_right_one(cls, key, nearest, refused):
    with refused("invalid_payload") as caught:
        build(PAYLOADS[cls], {key: "x", "channelSid": SID})
    assert (f"{nearest!r}" in caught.value.hint, caught.value.action) == (True, cls)


@pytest.mark.parametrize("key", ["entered", "sender", 5, None, ""])
def test_any_other_key_is_refused(key, refused):
    with refused("invalid_payload"):
        build(SendMediaMessagePayload, {"file": PDF, "channelSid": SID, key: "x"})


@pytest.mark.parametrize("name", PAYLOADS)
def test_a_missing_key_is_named(name, refused):
    required = [key for key, needed in keys_of(PAYLOADS[name]).items() if needed]
    with refused("invalid_payload") as caught:
        build(PAYLOADS[name], None)
    assert all(key in caught.value.message for key in required)


@pytest.mark.parametrize(
    "twice",
    [
        {"channelSid": SID, "channel_sid": SID.replace("0", "1")},
        {"channelSid": SID, "conversation": attrs.evolve(CHANNEL, sid="CH1")},
        {"messageAttributes": {"a": 1}, "message_attributes": {"a": 2}},
    ],
)
def test_a_key_twice_with_different_values_is_refused(twice, refused):
    with refused("invalid_payload"):
        build(SendMessagePayload, {"channelSid": SID, "body": "x", **twice})


@pytest.mark.parametrize("sid", ["", None, 5, b"CH", [SID], MESSAGE, "CH\ud800"])
def test_what_is_no_channel_is_refused(sid, refused):
    with refused("invalid_payload"):
        build(AttachFilePayload, {"file": PDF, "channelSid": sid})


@pytest.mark.parametrize("message", ["", None, 5, b"IM", CHANNEL, "IM\ud800"])
def test_what_is_no_message_is_refused(message, refused):
    with refused("invalid_payload"):
        build(DownloadMediaPayload, {"message": message})


@pytest.mark.parametrize("name", ["SendMessage", "SetInputText"])
@pytest.mark.parametrize("body", [5, b"x", ["x"], True, "\ud83d"])
def test_a_body_that_is_no_text_is_refused(name, body, refused):
    with refused("invalid_payload"):
        build(PAYLOADS[name], {"body": body, "channelSid": SID})


def cyclic():
    attributes = {}
    attributes["self"] = attributes
    return attributes


@pytest.mark.parametrize(
    "attributes",
    [
        5,
        "text",
        [("a", 1)],
        {"a": object()},
        {"a": {1}},
        {"a": b"x"},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": "\udc00"},
        {("a",): 1},
        cyclic(),
    ],
    ids=repr,
)
def test_attributes_that_are_no_json_are_refused(attributes, refused):
    with refused("invalid_payload"):
        build(SendMessagePayload, {"body": "x", "channelSid": SID, "messageAttributes": attributes})


def test_attributes_are_json_through_and_through():
    payload = SendMessagePayload(channel_sid=SID, body="x", message_attributes={"a": (1, 2), 3: None})
    assert payload.message_attributes == {"a": [1, 2], "3": None}


def test_attributes_default_to_none_of_their_own():
    one, other = (SendMessagePayload(channel_sid=SID) for _ in range(2))
    one.message_attributes["a"] = 1
    assert other.message_attributes == {}


@pytest.mark.parametrize("key", ["file", "body"])
def test_half_a_surrogate_pair_never_gets_through(key, refused):
    cls = AttachFilePayload if key == "file" else SetInputTextPayload
    with refused("file_unreadable" if key == "file" else "invalid_payload"):
        build(cls, {key: "\ud83d", "channelSid": SID})


# What hooks set


def test_what_a_hook_sets_is_converted():
    payload = SendMediaMessagePayload(channel_sid=SID)
    payload.file = b"%PDF-1.7"
    payload.channel_sid = CHANNEL
    payload.message_attributes = {"a": (1,)}
    assert (payload.file.name, payload.channel_sid, payload.message_attributes) == ("attachment.pdf", SID, {"a": [1]})


@pytest.mark.parametrize(
    ("field", "value"),
    [("file", 5), ("file", [PDF]), ("channel_sid", ""), ("channel_sid", None), ("message_attributes", [1])],
)
def test_what_a_hook_sets_wrongly_is_refused_and_not_kept(field, value, refused):
    payload = SendMediaMessagePayload(channel_sid=SID, file=PDF)
    before = attrs.asdict(payload, recurse=False)
    with refused("invalid_payload"):
        setattr(payload, field, value)
    assert attrs.asdict(payload, recurse=False) == before


def test_a_misspelt_field_is_refused():
    payload = AttachFilePayload(file=PDF, channel_sid=SID)
    with pytest.raises(AttributeError):
        payload.fiel = PDF


async def test_a_before_hook_changes_what_is_sent(ada, channel):
    ada.actions.before("SendMediaMessage", lambda payload: setattr(payload, "file", b"%PDF-other"))
    await ada.actions.invoke("SendMediaMessage", {"file": PDF, "channelSid": channel})
    (message,) = await ada.messages(channel)
    assert (message.media.name, message.media.size_bytes) == ("attachment.pdf", 10)


async def test_a_before_hook_that_sets_nonsense_refuses_the_action(ada, channel, refused):
    ada.actions.before("SendMediaMessage", lambda payload: setattr(payload, "file", 5))
    with refused("hook_failed"):
        await ada.actions.invoke("SendMediaMessage", {"file": PDF, "channelSid": channel})
    assert await ada.messages(channel) == []


async def test_what_hooks_change_is_judged_by_the_policy(ada, channel, refused):
    virus = File.from_bytes(b"MZ", name="a.exe")
    ada.actions.before("SendMediaMessage", lambda payload: setattr(payload, "file", virus))
    with refused("invalid_type"):
        await ada.actions.invoke("SendMediaMessage", {"file": PDF, "channelSid": channel})


async def test_a_message_given_as_an_object_is_looked_up_anew(ada, channel, refused):
    await ada.actions.invoke("SendMediaMessage", {"file": PDF, "channelSid": channel})
    (message,) = await ada.messages(channel)
    await ada.actions.invoke("DeleteMessage", {"message": message})
    with refused("unknown_message"):
        await ada.actions.invoke("DownloadMedia", {"message": message})


async def test_a_message_alone_is_enough_to_find_its_channel(ada, channel):
    sent = await ada.actions.invoke("SendMediaMessage", {"file": PDF, "channelSid": channel})
    link = await ada.actions.invoke("DownloadMedia", {"message": sent.message_sid})
    assert link.name == "a.pdf"


@attrs.define
class Receipt:
    order_number: int
    total: float = 0.0


@pytest.mark.parametrize("key", ["orderNumber", "order_number"])
def test_an_attrs_class_of_ones_own_is_a_payload_in_both_spellings(key):
    assert payload_update(Receipt)({key: 7}) == Receipt(7)


@pytest.mark.parametrize(
    ("given", "says"),
    [({"orderNumbr": 7}, "'orderNumber'"), ({}, "order_number"), ("x", "mapping"), ({7: 7}, "no key 7")],
)
def test_a_payload_of_ones_own_is_checked_like_the_others(given, says):
    with pytest.raises(ActionError) as caught:
        payload_update(Receipt)(given)
    assert (caught.value.code, says in str(caught.value)) == ("invalid_payload", True)


def nested(levels):
    value = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("attributes", "limit"),
    [(nested(33), "32"), (nested(500), "32"), (nested(5000), "32"), ({"a": "x" * 4089}, "4096")],
)
def test_attributes_that_are_too_much_are_refused_with_the_limit(attributes, limit):
    with pytest.raises(ActionError, match=limit) as caught:
        build(SendMessagePayload, {"channelSid": "CH1", "messageAttributes": attributes})
    assert caught.value.code == "invalid_payload"


@pytest.mark.parametrize("attributes", [nested(32), {"a": "x" * 4088}, {"brackets": '[[["{{{' * 20}])
def test_attributes_up_to_the_limit_are_kept(attributes):
    payload = build(SendMessagePayload, {"channelSid": "CH1", "messageAttributes": attributes})
    assert payload.message_attributes == attributes
