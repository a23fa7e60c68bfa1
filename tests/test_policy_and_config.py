"""Who may send what, and how the settings are read."""

import pytest

from flex_actions import AttachmentPolicy, Config, File, connect
from flex_actions.config import read_config
from flex_actions.policy import type_fits


def file(name="a.pdf", size=10, content_type=None):
    return File.from_bytes(bytes(size), name=name, content_type=content_type)


# Order and size


def test_the_order_is_enabled_then_read_only_then_type_then_size():
    wrong = file("a.exe", size=0)
    policy = {"enabled": False, "read_only": True, "accepted_extensions": ["pdf"], "max_file_size": 5}
    codes = []
    for mended in ({}, {"enabled": True}, {"read_only": False}, {"accepted_extensions": ["exe"]}):
        policy |= mended
        codes.append(AttachmentPolicy(**policy).judge(wrong).code)
    assert codes == ["attachments_disabled", "read_only", "invalid_type", "invalid_size"]


@pytest.mark.parametrize(("size", "code"), [(0, "invalid_size"), (1, None), (100, None), (101, "invalid_size")])
def test_the_limit_is_inclusive_and_an_empty_file_is_refused(size, code):
    verdict = AttachmentPolicy(max_file_size=100).judge(file(size=size))
    assert (verdict.code, verdict.accepted) == (code, code is None)


def test_a_verdict_carries_reason_limit_and_actual_value():
    verdict = AttachmentPolicy(max_file_size=100).judge(file(size=101))
    assert (verdict.limit, verdict.actual) == (100, 101)
    assert "at most 100" in verdict.reason


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "10MB", None, [1]])
def test_a_limit_must_be_a_whole_number_from_one(size, refused):
    with refused("invalid_config"):
        read_config({"fileAttachment": {"maxFileSize": size}}, side="agent")


def test_to_send_no_files_at_all_enabled_is_named(refused):
    with refused("invalid_config") as caught:
        AttachmentPolicy(max_file_size=0)
    assert "enabled" in caught.value.hint


def test_reading_asks_only_whether_attachments_are_enabled():
    narrow = AttachmentPolicy(read_only=True, max_file_size=1, accepted_extensions=[])
    assert narrow.judge_reading().accepted
    assert AttachmentPolicy(enabled=False).judge_reading().code == "attachments_disabled"


# Types


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.png", "a.gif", "a.txt", "a.pdf", "A.PDF", "a.b.pdf", "ä.Txt"])
def test_by_default_these_are_accepted(name):
    assert AttachmentPolicy().judge(file(name)).accepted


@pytest.mark.parametrize("name", ["a.zip", "a.pdf.zip", "a", "pdf", ".pdf", "a.", "a.pdfx", "a pdf", "a.jpg exe"])
def test_by_default_these_are_not(name):
    assert AttachmentPolicy().judge(file(name)).code == "invalid_type"


@pytest.mark.parametrize("entry", ["zip", ".zip", "ZIP", " .Zip "])
@pytest.mark.parametrize("name", ["a.zip", "a.ZIP"])
def test_a_custom_list_takes_the_place_of_the_default_without_dot_and_case(entry, name):
    policy = AttachmentPolicy(accepted_extensions=[entry])
    assert policy.accepted_extensions == ("zip",)
    assert policy.judge(file(name)).accepted
    assert policy.judge(file("a.pdf")).code == "invalid_type"


def test_an_entry_may_hold_a_dot():
    policy = AttachmentPolicy(accepted_extensions=["tar.gz"])
    assert policy.judge(file("logs.tar.gz")).accepted
    assert [policy.judge(file(name)).code for name in ("logs.gz", "tar.gz", ".tar.gz")] == ["invalid_type"] * 3


def test_an_empty_list_accepts_nothing():
    verdict = AttachmentPolicy(accepted_extensions=[]).judge(file())
    assert (verdict.code, verdict.limit) == ("invalid_type", ())


@pytest.mark.parametrize("entry", ["", ".", "*", "a/b", "a\\b", "?df", 5, None, "p df"])
def test_an_entry_that_is_no_extension_is_refused(entry, refused):
    with refused("invalid_config"):
        AttachmentPolicy(accepted_extensions=[entry])


@pytest.mark.parametrize("value", ["pdf", b"pdf", {"pdf": True}, 5, None])
def test_the_extensions_must_be_a_list(value, refused):
    with refused("invalid_config"):
        AttachmentPolicy(accepted_extensions=value)


@pytest.mark.parametrize(
    ("name", "content_type", "fits"),
    [
        ("a.png", "image/png", True),
        ("a.png", "IMAGE/PNG", True),
        ("a.png", "image/png; charset=binary", True),
        ("a.png", "application/octet-stream", True),
        ("a.png", "image/jpeg", False),
        ("a.png", "text/html", False),
        ("a.jpg", "image/jpg", True),
        ("a.txt", "text/plain", True),
        ("a.txt", "text/html", False),
        ("a.pdf", "application/zip", False),
        ("a.jpeg", "image/pjpeg", True),
    ],
)
def test_the_declared_mime_type_must_fit_the_extension(name, content_type, fits):
    assert AttachmentPolicy().judge(file(name, content_type=content_type)).accepted == fits


def test_an_extension_that_nobody_knows_fits_any_type():
    assert type_fits("weird7", "application/x-weird")


# The seed's shape


def test_without_settings_everything_is_at_its_default():
    assert read_config(None, side="agent") == read_config({}, side="customer") == Config()
    policy = Config().agent
    assert (policy.enabled, policy.read_only, policy.max_file_size) == (True, False, 10_485_760)


@pytest.mark.parametrize("side", ["agent", "customer"])
def test_file_attachment_at_the_top_sets_the_side_of_the_session(side):
    config = read_config({"fileAttachment": {"enabled": False}}, side=side)
    assert [config.agent.enabled, config.customer.enabled] == [side != "agent", side != "customer"]


def test_agent_and_customer_are_independent():
    config = read_config(
        {"agent": {"fileAttachment": {"maxFileSize": 1}}, "customer": {"fileAttachment": {"maxFileSize": 2}}},
        side="agent",
    )
    assert (config.agent.max_file_size, config.customer.max_file_size) == (1, 2)
    assert (config.policy("agent"), config.policy("customer")) == (config.agent, config.customer)


def test_both_forms_at_once_are_refused(refused):
    with refused("invalid_config"):
        read_config({"fileAttachment": {}, "customer": {}}, side="agent")


def test_keys_may_be_written_in_snake_case():
    config = read_config({"file_attachment": {"max_file_size": 7, "accepted_extensions": ["zip"]}}, side="agent")
    assert (config.agent.max_file_size, config.agent.accepted_extensions) == (7, ("zip",))


def test_a_key_in_two_spellings_is_refused(refused):
    with refused("invalid_config"):
        read_config({"fileAttachment": {"maxFileSize": 1, "max_file_size": 2}}, side="agent")


@pytest.mark.parametrize(
    ("config", "nearest"),
    [
        ({"fileAttachement": {}}, "fileAttachment"),
        ({"fileattachment": {}}, "fileAttachment"),
        ({"Agent": {}, "agnet": {}}, "agent"),
        ({"fileAttachment": {"maxFilesize": 1}}, "maxFileSize"),
        ({"fileAttachment": {"max_file_szie": 1}}, "maxFileSize"),
        ({"fileAttachment": {"acceptedExtension": []}}, "acceptedExtensions"),
        ({"fileAttachment": {"enable": True}}, "enabled"),
        ({"customer": {"fileAttachments": {}}}, "fileAttachment"),
        ({"supervisorDownload": True}, "supervisorDownloads"),
        ({"fileAttachment": {"channelTypes": {"sms": {"maxfilesizes": 1}}}}, "maxFileSize"),
    ],
    ids=str,
)
def test_an_unknown_key_names_the_nearest_right_one(config, nearest, refused):
    with refused("invalid_config") as caught:
        read_config(config, side="agent")
    assert f"{nearest!r}" in caught.value.hint


@pytest.mark.parametrize("key", [5, None, ("a",), ""])
def test_a_key_that_is_no_text_is_refused(key, refused):
    with refused("invalid_config"):
        read_config({key: True}, side="agent")


@pytest.mark.parametrize("wrong", [[], "text", 5, True, b"x"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda w: w,
        lambda w: {"fileAttachment": w},
        lambda w: {"agent": w},
        lambda w: {"customer": {"fileAttachment": w}},
        lambda w: {"fileAttachment": {"channelTypes": w}},
        lambda w: {"fileAttachment": {"channelTypes": {"sms": w}}},
        lambda w: {"plugins": w},
        lambda w: {"plugins": {"mine": w}},
    ],
)
def test_a_wrong_type_is_refused_at_each_level(wrap, wrong, refused):
    with refused("invalid_config"):
        read_config(wrap(wrong), side="agent")


@pytest.mark.parametrize("key", ["supervisorDownloads", "notifyCustomer"])
@pytest.mark.parametrize("value", [1, "true", None])
def test_a_switch_must_be_true_or_false(key, value, refused):
    with refused("invalid_config") as caught:
        read_config({key: value}, side="agent")
    assert key in caught.value.message


def test_plugin_names_must_be_text(refused):
    with refused("invalid_config"):
        read_config({"plugins": {5: {}}}, side="agent")


def test_a_config_object_is_used_as_it_is():
    config = Config(customer=AttachmentPolicy(enabled=False))
    assert read_config(config, side="agent") is config


@pytest.mark.parametrize("wrong", [{"agent": {"enabled": True}}, {"customer": None}, {"plugins": [1]}])
def test_a_config_object_of_wrong_types_is_refused(wrong, refused):
    with refused("invalid_config"):
        Config(**wrong)


@pytest.mark.parametrize("types", [[], "sms", {"sms": {"maxFileSize": 1}}])
def test_a_policy_object_with_wrong_channel_types_is_refused(types, refused):
    with refused("invalid_config"):
        AttachmentPolicy(channel_types=types)


def test_a_policy_object_may_stand_where_its_settings_may():
    policy = AttachmentPolicy(max_file_size=5)
    config = read_config({"agent": {"fileAttachment": policy}}, side="customer")
    assert config.agent is policy


def endless():
    found = []
    for _ in range(100_000):
        found = [found]
    return found


@pytest.mark.parametrize("value", [10**5000, -(10**5000), endless()], ids=["huge", "negative", "deep"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda v: {"fileAttachment": {"enabled": v}},
        lambda v: {"fileAttachment": {"maxFileSize": [v]}},
        lambda v: {"fileAttachment": {"acceptedExtensions": [v]}},
        lambda v: {"fileAttachment": {"channelTypes": {"web": {"readOnly": v}}}},
        lambda v: {v if isinstance(v, int) else "x": v},
        lambda v: {"fileAttachment": {"channelTypes": {v if isinstance(v, int) else "?": {"readOnly": 1}}}},
        lambda v: {"plugins": v},
    ],
)
def test_what_python_cannot_even_show_is_refused_like_anything_else(wrap, value, refused):
    with refused("invalid_config") as caught:
        read_config(wrap(value), side="agent")
    assert len(str(caught.value)) < 1000


def test_the_callers_config_is_left_alone():
    given = {"fileAttachment": {"channelTypes": {"sms": {}}, "enabled": True}, "plugins": {"mine": {"a": 1}}}
    read_config(given, side="agent")
    assert given == {"fileAttachment": {"channelTypes": {"sms": {}}, "enabled": True}, "plugins": {"mine": {"a": 1}}}


@pytest.mark.parametrize(("profile", "expected"), [("strict", True), ("flex1", False), ("flex2", True)])
def test_a_customers_attachments_are_off_by_default_in_flex1_only(profile, expected):
    config = read_config(None, side="customer", profile=profile)
    assert (config.agent.enabled, config.customer.enabled, config.notify_customer) == (True, expected, expected)


# Channel types


def test_a_channel_type_has_settings_of_its_own_over_those_of_the_side():
    config = read_config(
        {"fileAttachment": {"maxFileSize": 100, "channelTypes": {"sms": {"acceptedExtensions": ["png"]}}}}, side="agent"
    )
    sms = config.agent.for_channel("sms")
    assert (sms.max_file_size, sms.accepted_extensions) == (100, ("png",))
    assert config.agent.for_channel("web") is config.agent


def test_channel_types_do_not_nest(refused):
    with refused("invalid_config"):
        read_config({"fileAttachment": {"channelTypes": {"sms": {"channelTypes": {}}}}}, side="agent")


async def test_the_policy_of_the_channels_type_judges_what_is_sent_there(backend, refused):
    config = {"fileAttachment": {"channelTypes": {"sms": {"maxFileSize": 5}}}}
    async with connect(backend, identity="ada", config=config) as ada:
        sms = await ada.create_channel(channel_type="sms")
        web = await ada.create_channel()
        await ada.actions.invoke("SendMediaMessage", {"file": file(size=6), "channel": web})
        with refused("invalid_size"):
            await ada.actions.invoke("SendMediaMessage", {"file": file(size=6), "channel": sms})


async def test_a_type_that_has_attachments_disabled_hides_them_there_only(ada, backend):
    sms = await ada.create_channel(channel_type="sms", members=["cleo"])
    web = await ada.create_channel(members=["cleo"])
    for channel in (sms, web):
        await ada.actions.invoke("SendMediaMessage", {"file": file(), "channel": channel})
    config = {"fileAttachment": {"channelTypes": {"sms": {"enabled": False}}}}
    async with connect(backend, identity="cleo", role="customer", config=config) as cleo:
        hidden = [m.media_hidden for c in (sms, web) for m in await cleo.messages(c)]
    assert hidden == [True, False]


# Roles


@pytest.mark.parametrize(
    ("role", "side"), [("agent", "agent"), ("bot", "agent"), ("supervisor", "agent"), ("customer", "customer")]
)
async def test_bots_and_supervisors_are_on_the_agents_side(backend, role, side):
    config = {"fileAttachment": {"maxFileSize": 7}}
    async with connect(backend, identity="ada", role=role, config=config) as session:
        assert (session.side, session.config.policy(side).max_file_size) == (side, 7)


async def test_the_side_may_be_said(backend):
    async with connect(backend, identity="ada", role="bot", side="customer") as session:
        assert session.side == "customer"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"fileAttachment": {"enabled": "no"}}, "config.agent.fileAttachment.enabled must"),
        ({"customer": {"fileAttachment": {"maxFileSize": 0}}}, "config.customer.fileAttachment.maxFileSize must"),
        (
            {"fileAttachment": {"channelTypes": {"sms": {"readOnly": 1}}}},
            "config.agent.fileAttachment.channelTypes.sms.readOnly must",
        ),
        ({"fileAttachment": {"acceptedExtensions": ["*"]}}, "config.agent.fileAttachment.acceptedExtensions holds"),
        ({"fileAttachment": {"channelTypes": {"a b": {}}}}, "config.agent.fileAttachment.channelTypes: 'a b'"),
        ({"fileAttachment": {"channelTypes": {"sms": {}, "SMS ": {}}}}, "config.agent.fileAttachment.channelTypes"),
        ({"notifyCustomer": 1}, "config.notifyCustomer must"),
    ],
)
def test_a_wrong_value_says_which_key_it_stands_at(config, where, refused):
    with refused("invalid_config") as caught:
        read_config(config, side="agent")
    assert caught.value.message.startswith(where)
