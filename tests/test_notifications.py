"""What a person is shown for a refusal: Flex's own ids and contexts."""

import pytest

from flex_actions import ActionError, File, Notification, connect, signals
from flex_actions.notifications import readable_size


def file(name="a.pdf", size=10):
    return File.from_bytes(bytes(size), name=name)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0B"), (1, "1B"), (1023, "1023B"), (1024, "1kB"), (1536, "1.5kB"), (10_485_760, "10MB"), (5 * 1024**3, "5GB")],
)
def test_sizes_are_shown_as_flex_shows_them(size, shown):
    assert readable_size(size) == shown


@pytest.mark.parametrize("action", ["AttachFile", "SendMediaMessage"])
@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (file("a.exe"), ("InvalidType", {"fileName": "a.exe"})),
        (file(size=11), ("InvalidSize", {"fileName": "a.pdf", "maxFileSize": "10B"})),
    ],
)
async def test_a_refused_file_is_shown_with_flexs_ids_and_contexts(backend, watch, action, bad, expected):
    suffix, context = expected
    async with connect(backend, identity="ada", config={"fileAttachment": {"maxFileSize": 10}}) as ada:
        seen = watch(signals.notification_shown, ada)
        with pytest.raises(ActionError):
            await ada.actions.invoke(action, {"file": bad, "channel": await ada.create_channel()})
    assert [s["notification"] for s in seen] == [Notification(action + suffix, context)]


async def test_a_disabled_side_is_shown_so_when_attaching(backend, channel, watch):
    async with connect(backend, identity="ada", config={"fileAttachment": {"enabled": False}}) as ada:
        seen = watch(signals.notification_shown, ada)
        with pytest.raises(ActionError):
            await ada.actions.invoke("AttachFile", {"file": file(), "channelSid": channel})
    assert [s["notification"].id for s in seen] == ["AttachFileDisabled"]


async def test_a_second_file_is_shown_as_too_many(ada, channel, watch):
    seen = watch(signals.notification_shown, ada)
    await ada.actions.invoke("AttachFile", {"file": file(), "channelSid": channel})
    with pytest.raises(ActionError):
        await ada.actions.invoke("AttachFile", {"file": file(), "channelSid": channel})
    assert [s["notification"] for s in seen] == [
        Notification("AttachFileInvalidMaxAmount", {"maxAmount": 1, "singular": True})
    ]


async def test_who_is_no_member_is_shown_so_when_downloading(ada, backend, channel, watch):
    sent = await ada.actions.invoke("SendMediaMessage", {"file": file(), "channelSid": channel})
    async with connect(backend, identity="eve", role="customer") as eve:
        seen = watch(signals.notification_shown, eve)
        with pytest.raises(ActionError):
            await eve.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})
    assert [s["notification"].id for s in seen] == ["DownloadFileNotParticipant"]


@pytest.mark.parametrize("code", ["input_holds_file", "nothing_attached", "file_not_attached"])
async def test_where_flex_shows_nothing_nothing_is_shown(ada, channel, watch, code):
    await ada.actions.invoke("AttachFile", {"file": file(), "channelSid": channel})
    if code == "nothing_attached":
        await ada.actions.invoke("DetachFile", {"channelSid": channel})
    seen = watch(signals.notification_shown, ada)
    name, payload = (
        ("SetInputText", {"body": "x"}) if code == "input_holds_file" else ("DetachFile", {"file": file("b")})
    )
    with pytest.raises(ActionError) as caught:
        await ada.actions.invoke(name, {"channelSid": channel, **payload})
    assert (caught.value.code, seen) == (code, [])


async def test_a_notification_goes_to_its_own_session_only(ada, cleo, watch):
    mine, others = watch(signals.notification_shown, ada), watch(signals.notification_shown, cleo)
    ada.notify(Notification("Hello", {"who": "ada"}))
    assert (mine, others) == ([{"notification": Notification("Hello", {"who": "ada"})}], [])


async def test_a_refusal_without_a_customer_setting_reaches_the_customer_in_strict(cleo, channel, watch):
    seen = watch(signals.notification_shown, cleo)
    with pytest.raises(ActionError):
        await cleo.actions.invoke("AttachFile", {"file": file("a.exe"), "channelSid": channel})
    assert [s["notification"].id for s in seen] == ["AttachFileInvalidType"]


async def test_a_watcher_that_fails_breaks_nothing(ada, watch):
    def fails(_, **facts):
        raise ValueError("oops")

    signals.notification_shown.connect(fails, ada)
    seen = watch(signals.notification_shown, ada)
    try:
        ada.notify(Notification("Hello", {}))
    finally:
        signals.notification_shown.disconnect(fails)
    assert len(seen) == 1
