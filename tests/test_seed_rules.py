"""The seed's sixteen rules, each with a test named after it."""

import asyncio
import io
import zipfile

import pytest
from structlog.testing import capture_logs

from flex_actions import Config, File, connect, signals
from flex_actions.clock import ManualClock
from flex_actions.ports import Draft

PDF = b"%PDF-1.7 invoice"


def pdf(name="invoice.pdf", data=PDF):
    return File.from_bytes(data, name=name)


async def send(session, channel, file=None):
    return await session.actions.invoke("SendMediaMessage", {"file": file or pdf(), "channelSid": channel})


# 1 to 4: the four actions


async def test_rule_01_send_media_message_selects_and_sends_one_file(ada, cleo, channel):
    sent = await send(ada, channel)
    (message,) = await cleo.messages(channel)
    assert (message.sid, message.media.sid, message.index) == (sent.message_sid, sent.media_sid, sent.index)
    assert (message.author, message.media.name, message.media.size_bytes) == ("ada", "invoice.pdf", len(PDF))


async def test_rule_01_send_media_message_takes_a_path(ada, channel, tmp_path):
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    await ada.actions.invoke("SendMediaMessage", {"file": tmp_path / "cat.png", "channelSid": channel})
    (message,) = await ada.messages(channel)
    assert (message.media.name, message.media.content_type) == ("cat.png", "image/png")


async def test_rule_02_attach_file_puts_the_file_into_the_message_input(ada, channel):
    file = pdf()
    await ada.actions.invoke("AttachFile", {"file": file, "channelSid": channel})
    assert ada.input(channel).file is file
    assert await ada.messages(channel) == []


async def test_rule_02_attach_file_replaces_text_that_is_there(ada, channel):
    await ada.actions.invoke("SetInputText", {"body": "half a sen", "channelSid": channel})
    await ada.actions.invoke("AttachFile", {"file": pdf(), "channelSid": channel})
    assert (ada.input(channel).state.kind, ada.input(channel).text) == ("FILE", None)


async def test_rule_03_detach_file_removes_the_unsent_file(ada, channel):
    await ada.actions.invoke("AttachFile", {"file": pdf(), "channelSid": channel})
    await ada.actions.invoke("DetachFile", {"file": pdf(), "channelSid": channel})
    assert ada.input(channel).state.kind == "EMPTY"


async def test_rule_03_detach_file_does_not_restore_the_replaced_text(ada, channel):
    await ada.actions.invoke("SetInputText", {"body": "half a sen", "channelSid": channel})
    await ada.actions.invoke("AttachFile", {"file": pdf(), "channelSid": channel})
    await ada.actions.invoke("DetachFile", {"channelSid": channel})
    assert ada.input(channel).text is None


@pytest.mark.parametrize("as_object", [True, False], ids=["message object", "message sid"])
async def test_rule_04_download_media_gives_a_member_a_link(ada, cleo, channel, clock, as_object):
    sent = await send(ada, channel)
    (message,) = await cleo.messages(channel)
    given = message if as_object else sent.message_sid
    link = await cleo.actions.invoke("DownloadMedia", {"message": given, "channelSid": channel})
    assert (link.name, link.size_bytes, link.expires_at) == ("invoice.pdf", len(PDF), clock.now() + 300)


async def test_rule_04_download_media_link_opens_for_five_minutes_and_not_longer(ada, cleo, channel, clock, refused):
    sent = await send(ada, channel)
    link = await cleo.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})
    clock.advance(299.999)
    await cleo.download(link, io.BytesIO())
    clock.advance(0.001)
    with refused("link_expired"):
        await cleo.download(link, io.BytesIO())


async def test_rule_04_download_media_gives_a_new_link_after_the_old_one_expired(ada, cleo, channel, clock):
    sent = await send(ada, channel)
    await cleo.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})
    clock.advance(301)
    link = await cleo.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})
    target = io.BytesIO()
    await cleo.download(link, target)
    assert target.getvalue() == PDF


async def test_rule_04_download_media_is_for_members_of_the_channel(ada, backend, channel, refused):
    sent = await send(ada, channel)
    async with connect(backend, identity="eve") as eve:
        with refused("not_a_member"):
            await eve.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})


async def test_rule_04_a_link_dies_with_the_membership_of_its_reader(ada, cleo, channel, refused):
    sent = await send(ada, channel)
    link = await cleo.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})
    await cleo.leave(channel)
    with refused("not_a_member"):
        await cleo.download(link, io.BytesIO())


# 5 and 6: one file, or text


async def test_rule_05_an_input_holds_one_file(ada, channel, refused):
    await ada.actions.invoke("AttachFile", {"file": pdf("one.pdf"), "channelSid": channel})
    with refused("one_file_at_a_time") as caught:
        await ada.actions.invoke("AttachFile", {"file": pdf("two.pdf"), "channelSid": channel})
    assert (ada.input(channel).file.name, bool(caught.value.hint)) == ("one.pdf", True)


async def test_rule_05_a_message_carries_one_file(ada, channel, refused):
    with refused("invalid_payload") as caught:
        await ada.actions.invoke("SendMediaMessage", {"file": [pdf("a.pdf"), pdf("b.pdf")], "channelSid": channel})
    assert "zip" in caught.value.hint


async def test_rule_05_sends_run_one_after_another_in_call_order(ada, channel):
    go_on, names = asyncio.Event(), []

    async def slow():
        await go_on.wait()
        yield PDF

    first = File.from_stream(slow, name="first.pdf", size_bytes=len(PDF))
    ada.actions.after("SendMediaMessage", lambda payload: names.append(payload.file.name))
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for file in (first, pdf("second.pdf"), pdf("third.pdf")):
            group.create_task(send(ada, channel, file))
        group.create_task(asyncio.sleep(0)).add_done_callback(lambda _: go_on.set())
    assert names == ["first.pdf", "second.pdf", "third.pdf"]
    assert [m.media.name for m in await ada.messages(channel)] == names


async def test_rule_05_zipped_files_go_where_zip_is_accepted(backend, channel, ada, refused):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.txt", "a")
        archive.writestr("b.txt", "b")
    bundle = File.from_bytes(packed.getvalue(), name="both.zip")
    with refused("invalid_type"):
        await send(ada, channel, bundle)
    async with connect(backend, identity="ada", config={"fileAttachment": {"acceptedExtensions": ["zip"]}}) as with_zip:
        await send(with_zip, channel, bundle)
    (message,) = await ada.messages(channel)
    assert message.media.name == "both.zip"


async def test_rule_06_with_text_in_the_input_the_attach_control_is_disabled(ada, channel):
    assert ada.input(channel).can_attach
    await ada.actions.invoke("SetInputText", {"body": "hello", "channelSid": channel})
    assert not ada.input(channel).can_attach


async def test_rule_06_with_a_file_in_the_input_no_text_can_be_entered(ada, channel, refused):
    await ada.actions.invoke("AttachFile", {"file": pdf(), "channelSid": channel})
    assert not ada.input(channel).can_enter_text
    with refused("input_holds_file"):
        await ada.actions.invoke("SetInputText", {"body": "hello", "channelSid": channel})
    assert ada.input(channel).file.name == "invoice.pdf"


# 7 to 9: the policy


async def test_rule_07_the_default_limit_is_10485760_bytes_inclusive(ada, channel, refused):
    await send(ada, channel, pdf(data=bytes(10_485_760)))
    with refused("invalid_size") as caught:
        await send(ada, channel, pdf(data=bytes(10_485_761)))
    assert caught.value.details == {"name": "invoice.pdf", "limit": 10_485_760, "actual": 10_485_761}


def test_rule_07_the_default_extensions_are_the_seeds():
    assert Config().agent.accepted_extensions == ("jpg", "jpeg", "png", "gif", "txt", "pdf")
    assert Config().customer == Config().agent


async def test_rule_07_agent_and_customer_are_configured_independently(backend, ada, channel, refused):
    config = {
        "agent": {"fileAttachment": {"acceptedExtensions": ["exe"]}},
        "customer": {"fileAttachment": {"maxFileSize": 3}},
    }
    async with (
        connect(backend, identity="ada", config=config) as agent,
        connect(backend, identity="cleo", role="customer", config=config) as customer,
    ):
        await send(agent, channel, File.from_bytes(b"MZ..", name="setup.exe"))
        with refused("invalid_type"):
            await send(customer, channel, File.from_bytes(b"MZ", name="setup.exe"))
        with refused("invalid_size"):
            await send(customer, channel, pdf(data=b"%PDF"))


async def test_rule_07_a_custom_list_overrides_the_default_with_any_extension(backend, ada, channel, refused):
    config = {"fileAttachment": {"enabled": True, "acceptedExtensions": ["weird7"]}}
    async with connect(backend, identity="ada", config=config) as session:
        await send(session, channel, File.from_bytes(b"x", name="a.weird7"))
        with refused("invalid_type"):
            await send(session, channel, pdf())


async def test_rule_07_an_unknown_key_is_refused_with_the_nearest(refused):
    with refused("invalid_config") as caught:
        async with connect("memory:", identity="ada", config={"fileAttachment": {"maxFilesize": 1, "enable": True}}):
            pass
    assert "'enabled'" in caught.value.hint or "'maxFileSize'" in caught.value.hint


async def test_rule_08_a_side_that_has_attachments_disabled_cannot_send(backend, channel, refused):
    off = {"fileAttachment": {"enabled": False}}
    async with connect(backend, identity="cleo", role="customer", config=off) as cleo:
        with refused("attachments_disabled"):
            await send(cleo, channel)


async def test_rule_08_a_side_that_has_attachments_disabled_sees_a_placeholder(ada, backend, channel, refused):
    sent = await send(ada, channel)
    off = {"fileAttachment": {"enabled": False}}
    async with connect(backend, identity="cleo", role="customer", config=off) as cleo:
        (message,) = await cleo.messages(channel)
        assert (message.media, message.body, message.media_hidden) == (None, None, True)
        with refused("attachments_disabled"):
            await cleo.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})


async def test_rule_08_the_senders_limits_do_not_bind_the_reader(ada, backend, channel):
    sent = await send(ada, channel)
    narrow = {"fileAttachment": {"acceptedExtensions": ["png"], "maxFileSize": 1}}
    async with connect(backend, identity="cleo", role="customer", config=narrow) as cleo:
        link = await cleo.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})
    assert link.name == "invoice.pdf"


async def test_rule_09_the_core_checks_extension_and_declared_type_only(ada, channel, refused):
    not_really = File.from_bytes(b"MZ\x90\x00", name="harmless.png")
    await send(ada, channel, not_really)  # what the content is, is business logic
    with refused("invalid_type"):
        await send(ada, channel, File.from_bytes(b"x", name="a.png", content_type="application/zip"))
    with refused("invalid_type"):
        await send(ada, channel, File.from_bytes(b"x", name="a.exe", content_type="image/png"))


async def test_rule_09_a_hook_adds_business_logic(ada, channel, refused):
    @ada.actions.before("SendMediaMessage")
    def refuse_invoices_on_sundays(payload, abort):
        abort("not on Sundays")

    with refused("action_aborted") as caught:
        await send(ada, channel)
    assert caught.value.reason == "not on Sundays"


# 10 to 16


@pytest.mark.parametrize("profile", ["strict", "flex1"])
async def test_rule_10_a_refusal_is_always_in_error_and_signal_and_shown_to_a_customer_in_strict_only(
    backend, channel, refused, watch, profile
):
    on = {"fileAttachment": {"enabled": True}}
    async with connect(backend, identity="cleo", role="customer", config=on, profile=profile) as cleo:
        refusals = watch(signals.attachment_refused, cleo)
        notifications = watch(signals.notification_shown, cleo)
        with refused("invalid_type"):
            await cleo.actions.invoke(
                "AttachFile", {"file": File.from_bytes(b"x", name="a.exe"), "channelSid": channel}
            )
    assert [r["verdict"].code for r in refusals] == ["invalid_type"]
    assert len(notifications) == (profile == "strict")


@pytest.mark.parametrize("shown", [True, False])
async def test_rule_10_the_setting_is_notify_customer(backend, channel, refused, watch, shown):
    async with connect(backend, identity="cleo", role="customer", config={"notifyCustomer": shown}) as cleo:
        seen = watch(signals.notification_shown, cleo)
        with refused("invalid_size"):
            await send(cleo, channel, pdf(data=b""))
    assert [s["notification"].id for s in seen] == ["SendMediaMessageInvalidSize"] * shown


@pytest.mark.parametrize("closed", [False, True], ids=["live", "from the transcript"])
async def test_rule_11_a_supervisor_cannot_download(ada, backend, channel, refused, closed):
    sent = await send(ada, channel)
    if closed:
        await ada.close_channel(channel)
    async with connect(backend, identity="sue", role="supervisor") as sue:
        assert [m.sid for m in await sue.messages(channel)] == [sent.message_sid]
        with refused("not_authorized") as caught:
            await sue.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})
    assert "supervisorDownloads" in caught.value.hint


@pytest.mark.parametrize("closed", [False, True], ids=["live", "from the transcript"])
async def test_rule_11_a_setting_allows_it(ada, backend, channel, closed):
    sent = await send(ada, channel)
    if closed:
        await ada.close_channel(channel)
    target = io.BytesIO()
    async with connect(backend, identity="sue", role="supervisor", config={"supervisorDownloads": True}) as sue:
        await sue.download(sent.message_sid, target, channel=channel)
    assert target.getvalue() == PDF


async def test_rule_12_a_media_message_never_counts_as_input_to_automation(ada, cleo, backend, channel):
    await cleo.actions.invoke("SendMessage", {"body": "hello", "channelSid": channel})
    await send(cleo, channel)
    assert [m.is_automation_input for m in await ada.messages(channel)] == [True, False]
    async with connect(backend, identity="ada", config={"fileAttachment": {"enabled": False}}) as blind:
        assert [m.is_automation_input for m in await blind.messages(channel)] == [True, False]


async def kinds(session, channel):
    """What is kept of what happened, before now."""
    last, found = await session.cursor(channel), []
    async for event in session.follow(channel):
        found.append(event.type)
        if event.cursor == last:
            return found


async def test_rule_13_personal_metadata_goes_within_seven_days(ada, channel, clock):
    await ada.actions.invoke("SendTyping", {"channelSid": channel})
    await send(ada, channel)
    assert "typing" in await kinds(ada, channel)
    clock.advance(7 * 24 * 3600)
    async with asyncio.timeout(5):
        while "typing" in await kinds(ada, channel):
            await asyncio.sleep(0)
    assert await kinds(ada, channel) == ["channel_created", "message_added"]
    assert len(await ada.messages(channel)) == 1


async def test_rule_13_a_store_purges_at_opening(tmp_path):
    clock, url = ManualClock(), f"local:{tmp_path / 'chat'}"
    async with connect(url, identity="ada", clock=clock) as ada:
        channel = (await ada.create_channel()).sid
        await send(ada, channel)
    clock.advance(7 * 24 * 3600)
    async with connect(url, identity="ada", clock=clock) as ada:
        assert await kinds(ada, channel) == ["channel_created", "message_added"]


async def test_rule_13_deleting_a_message_deletes_content_and_media_everywhere(ada, cleo, channel, refused):
    sent = await send(ada, channel)
    link = await cleo.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})
    await ada.actions.invoke("DeleteMessage", {"message": sent.message_sid, "channelSid": channel})
    assert await cleo.messages(channel) == []
    with refused("media_deleted"):
        await cleo.download(link, io.BytesIO())
    with refused("unknown_message"):
        await cleo.actions.invoke("DownloadMedia", {"message": sent.message_sid, "channelSid": channel})


async def test_rule_13_a_deleted_file_is_gone_from_the_disk(tmp_path):
    secret = b"my social security number"
    async with connect(f"local:{tmp_path}", identity="ada") as ada:
        channel = (await ada.create_channel()).sid
        sent = await send(ada, channel, pdf("secret-name.pdf", secret))
        await ada.actions.invoke("DeleteMessage", {"message": sent.message_sid, "channelSid": channel})
    left = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
    assert secret not in left
    assert b"secret-name" not in left


async def test_rule_13_our_logs_hold_no_personal_data(ada, channel, refused):
    def fails(payload):
        raise ValueError("oops")

    ada.actions.before("SendMessage", fails)
    with capture_logs() as logs, refused("hook_failed"):
        await ada.actions.invoke("SendMessage", {"body": "my private words", "channelSid": channel})
    assert logs
    assert not any(word in str(logs) for word in ("ada", "my private words"))


EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + rb"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


async def test_rule_14_no_virus_scan_is_built_in_and_a_hook_does_it(ada, channel, refused):
    virus = File.from_bytes(EICAR, name="readme.txt")
    await send(ada, channel, virus)

    @ada.actions.guard("SendMediaMessage")
    async def refuse_viruses(payload, abort):
        async for chunk in payload.file.chunks():
            if b"EICAR" in chunk:
                abort("virus found")

    with refused("action_aborted"):
        await send(ada, channel, virus)
    assert len(await ada.messages(channel)) == 1


async def test_rule_15_media_of_any_other_client_is_an_attachment_like_ours(ada, cleo, backend, channel):
    media = await backend.upload(channel, File.from_bytes(b"MZ", name="setup.exe"), author="cleo")
    posted = await backend.post(channel, Draft("cleo", media=media))
    (message,) = await ada.messages(channel)
    assert (message.sid, message.media.name) == (posted.message.sid, "setup.exe")
    target = io.BytesIO()
    await ada.download(message, target)
    assert target.getvalue() == b"MZ"


async def test_rule_16_without_a_page_there_is_neither_paste_nor_drop(ada, refused):
    assert {"Paste", "Drop"}.isdisjoint(ada.actions.names)
    with refused("invalid_config"):
        async with connect("memory:", identity="ada", config={"fileAttachment": {"paste": True}}):
            pass
