"""A session: who one is, which channels one is in, and what one sees there."""

import asyncio
import gc
import io

import pytest

from flex_actions import ActionError, File, RegistrationError, connect, open_backend
from flex_actions.backends.memory import MemoryBackend
from flex_actions.payloads import SendMediaMessagePayload, SendMessagePayload

PDF = File.from_bytes(b"%PDF", name="a.pdf")


def say(session, channel, body="hi"):
    return session.actions.invoke("SendMessage", {"body": body, "channelSid": channel})


def send(session, channel, file=PDF):
    return session.actions.invoke("SendMediaMessage", {"file": file, "channelSid": channel})


# Channels and members


async def test_who_creates_a_channel_is_in_it_with_those_named(ada, cleo):
    channel = await ada.create_channel("support", channel_type="sms", members=["cleo", "bob"])
    assert [m.identity for m in await cleo.members(channel)] == ["ada", "cleo", "bob"]
    assert (channel.unique_name, channel.channel_type, channel.created_by) == ("support", "sms", "ada")


async def test_one_member_may_be_given_as_text(ada):
    channel = await ada.create_channel(members="cleo")
    assert [m.identity for m in await ada.members(channel)] == ["ada", "cleo"]


async def test_a_bad_member_is_refused_before_the_channel_is_made(ada, refused):
    with refused("invalid_config"):
        await ada.create_channel("support", members=["cleo", ""])
    with refused("unknown_channel"):
        await ada.channel("support")


@pytest.mark.parametrize("members", [None, 5, 2.5])
async def test_members_that_are_no_list_are_refused(ada, refused, members):
    with refused("invalid_payload"):
        await ada.create_channel("support", members=members)
    with refused("unknown_channel"):
        await ada.channel("support")


@pytest.mark.parametrize("plugins", [None, 5])
async def test_plugins_that_are_no_list_are_refused(refused, plugins):
    with refused("invalid_config"):
        async with connect("memory:", identity="ada", plugins=plugins):
            pass


async def test_a_name_is_used_once(ada, channel, refused):
    with refused("channel_exists"):
        await ada.create_channel("support")


@pytest.mark.parametrize("way", ["object", "sid", "name"])
async def test_a_channel_is_given_as_the_object_its_sid_or_its_name(ada, channel, way):
    found = await ada.channel("support")
    given = {"object": found, "sid": found.sid, "name": "support"}[way]
    assert await ada.channel(given) == found
    assert await ada.messages(given) == []
    assert len(await ada.members(given)) == 2


@pytest.mark.parametrize("channel", ["", None, 5, ["CH"]])
async def test_what_is_no_channel_is_refused(ada, channel, refused):
    with refused("invalid_payload"):
        await ada.messages(channel)


async def test_the_channels_of_a_session_are_those_it_is_in(ada, cleo, channel):
    other = await cleo.create_channel()
    assert [c.sid for c in await ada.channels()] == [channel]
    assert [c.sid for c in await cleo.channels()] == [channel, other.sid]


async def test_joining_lets_in_and_leaving_out(ada, backend, channel, refused):
    async with connect(backend, identity="bob") as bob:
        with refused("not_a_member"):
            await bob.messages(channel)
        await bob.join("support")
        await say(bob, channel)
        await bob.leave(channel)
        with refused("not_a_member"):
            await say(bob, channel)


async def test_joining_twice_changes_nothing_and_leaving_twice_is_refused(ada, channel, refused):
    await ada.join(channel)
    assert len(await ada.members(channel)) == 2
    await ada.leave(channel)
    with refused("not_a_member"):
        await ada.leave(channel)


async def test_members_add_and_remove_others(ada, channel):
    await ada.add_member(channel, "bob")
    await ada.remove_member(channel, "cleo")
    assert [m.identity for m in await ada.members(channel)] == ["ada", "bob"]


async def test_a_customer_removes_only_themselves_and_closes_nothing(cleo, channel, refused):
    with refused("not_authorized"):
        await cleo.remove_member(channel, "ada")
    with refused("not_authorized"):
        await cleo.close_channel(channel)
    await cleo.remove_member(channel, "cleo")


async def test_who_is_outside_changes_nothing(ada, backend, channel, refused):
    async with connect(backend, identity="eve") as eve:
        for attempt in (eve.add_member(channel, "bob"), eve.remove_member(channel, "ada"), eve.close_channel(channel)):
            with refused("not_a_member"):
                await attempt
    assert [m.identity for m in await ada.members(channel)] == ["ada", "cleo"]


@pytest.mark.parametrize("file", [PDF, None, File.from_bytes(b"MZ", name="a.exe")], ids=["good", "none", "refused"])
@pytest.mark.parametrize("code", ["not_a_member", "channel_closed"])
async def test_who_may_not_write_any_more_is_told_that_first(ada, channel, file, code, refused):
    """Also right behind a send that went well, whatever else is wrong with this one."""
    await send(ada, channel)
    await say(ada, channel)
    if code == "not_a_member":
        await ada.backend.remove_member(channel, "ada")
    else:
        await ada.backend.close_channel(channel)
    for _ in range(2):
        with refused(code):
            await send(ada, channel, file)
        with refused(code):
            await say(ada, channel, None)
    assert len(await ada.backend.list_messages(channel)) == 2


async def test_a_closed_channel_can_be_read_not_written(ada, cleo, channel, refused):
    sent = await send(ada, channel)
    assert (await ada.close_channel(channel)).state == "closed"
    with refused("channel_closed"):
        await say(cleo, channel)
    target = io.BytesIO()
    await cleo.download(sent.message_sid, target)
    assert target.getvalue() == b"%PDF"


async def test_messages_come_oldest_first_from_an_index_and_up_to_a_limit(ada, channel):
    for body in "abcd":
        await say(ada, channel, body)
    assert [m.body for m in await ada.messages(channel)] == list("abcd")
    assert [m.body for m in await ada.messages(channel, after_index=0, limit=2)] == ["b", "c"]


async def test_a_customer_deletes_only_their_own_messages(ada, cleo, channel, refused):
    hers, theirs = await say(ada, channel), await say(cleo, channel)
    with refused("not_authorized"):
        await cleo.actions.invoke("DeleteMessage", {"message": hers.message_sid})
    await cleo.actions.invoke("DeleteMessage", {"message": theirs.message_sid})
    await ada.actions.invoke("DeleteMessage", {"message": hers.message_sid})
    assert await ada.messages(channel) == []


# Following


async def take(feed, count):
    """The next events of a feed."""
    async with asyncio.timeout(5):
        return [await anext(feed) for _ in range(count)]


async def test_a_feed_begins_with_what_is_kept_and_goes_on_live(ada, cleo, channel):
    feed = ada.follow(channel)
    assert [e.type for e in await take(feed, 3)] == ["channel_created", "member_added", "member_added"]
    live = asyncio.create_task(take(feed, 2))
    await asyncio.sleep(0)
    await say(cleo, channel, "hello")
    await send(cleo, channel)
    assert [(e.type, e.message.body) for e in await live] == [("message_added", "hello"), ("message_added", None)]
    await feed.aclose()


async def test_a_feed_goes_on_behind_a_cursor(ada, channel):
    cursor = await ada.cursor(channel)
    await say(ada, channel, "one")
    await say(ada, channel, "two")
    feed = ada.follow(channel, after=cursor)
    (first,) = await take(feed, 1)
    await feed.aclose()
    feed = ada.follow(channel, after=first.cursor)
    (second,) = await take(feed, 1)
    await feed.aclose()
    assert (first.message.body, second.message.body) == ("one", "two")


async def test_a_feed_sees_what_happens_through_another_backend_on_the_same_store(tmp_path):
    url = f"local:{tmp_path}"
    async with connect(url, identity="ada") as ada, connect(url, identity="cleo", role="customer") as cleo:
        channel = (await ada.create_channel(members=["cleo"])).sid
        feed = cleo.follow(channel, after=await cleo.cursor(channel))
        live = asyncio.create_task(take(feed, 1))
        await asyncio.sleep(0)
        await say(ada, channel, "hello")
        assert [e.message.body for e in await live] == ["hello"]
        await feed.aclose()


async def test_a_feed_shows_who_types_and_what_was_deleted(ada, cleo, channel):
    cursor = await ada.cursor(channel)
    await cleo.actions.invoke("SendTyping", {"channelSid": channel})
    sent = await say(cleo, channel, "oops")
    await cleo.actions.invoke("DeleteMessage", {"message": sent.message_sid})
    feed = ada.follow(channel, after=cursor)
    typing, added, deleted = await take(feed, 3)
    await feed.aclose()
    assert (typing.type, typing.identity) == ("typing", "cleo")
    assert (added.type, added.message) == ("message_added", None)
    assert (deleted.type, deleted.message_sid) == ("message_deleted", sent.message_sid)


async def test_a_feed_shows_a_placeholder_where_attachments_are_disabled(ada, backend, channel):
    await send(ada, channel)
    off = {"fileAttachment": {"enabled": False}}
    async with connect(backend, identity="cleo", role="customer", config=off) as cleo:
        feed = cleo.follow(channel)
        message = (await take(feed, 4))[-1].message
        await feed.aclose()
    assert (message.media, message.media_hidden) == (None, True)


async def test_a_feed_ends_when_its_reader_leaves(ada, cleo, channel, refused):
    feed = cleo.follow(channel)
    await take(feed, 3)
    await cleo.leave(channel)
    assert [(e.type, e.identity) for e in await take(feed, 1)] == [("member_removed", "cleo")]
    with refused("not_a_member"):
        await take(feed, 1)


async def test_a_feed_ends_when_its_reader_is_removed_while_it_waits(ada, cleo, channel, refused):
    feed = cleo.follow(channel, after=await cleo.cursor(channel))
    live = asyncio.create_task(take(feed, 2))
    await asyncio.sleep(0)
    await ada.remove_member(channel, "cleo")
    with refused("not_a_member"):
        await live


async def test_a_waiting_feed_ends_when_its_session_does(ada, cleo, channel, refused):
    feed = cleo.follow(channel, after=await cleo.cursor(channel))
    live = asyncio.create_task(take(feed, 1))
    await asyncio.sleep(0)
    await cleo.close()
    with refused("session_closed"):
        await live


async def test_a_cancelled_feed_lets_go(ada, backend, channel):
    feed = ada.follow(channel, after=await ada.cursor(channel))
    live = asyncio.create_task(take(feed, 1))
    for _ in range(3):
        await asyncio.sleep(0)
    live.cancel()
    with pytest.raises(asyncio.CancelledError):
        await live
    assert backend._feed.idle
    gc.collect()


async def test_a_feed_of_a_channel_that_one_is_not_in_is_refused(ada, backend, channel, refused):
    async with connect(backend, identity="eve") as eve:
        with refused("not_a_member"):
            await take(eve.follow(channel), 1)


@pytest.mark.parametrize("cursor", ["", "nonsense", "-1", "99999", "\uff11"])
async def test_a_cursor_that_is_none_is_refused(ada, channel, cursor, refused):
    with refused("invalid_cursor"):
        await take(ada.follow(channel, after=cursor), 1)


class BreakingBackend(MemoryBackend):
    """A chat whose feeds break off so many times."""

    breaks = 0

    async def _broken(self, feed):
        async for event in feed:
            yield event
            if self.breaks:
                self.breaks -= 1
                raise ActionError("backend_unavailable", "Unplugged.", retryable=True)

    def events(self, channel, *, after=None):
        return self._broken(super().events(channel, after=after))


async def test_a_feed_that_breaks_off_is_taken_up_where_it_stood(clock):
    backend = BreakingBackend(clock=clock)
    await backend.open()
    async with connect(backend, identity="ada") as ada:
        channel = (await ada.create_channel()).sid
        for body in "abc":
            await say(ada, channel, body)
        backend.breaks = 3
        task = asyncio.create_task(take(ada.follow(channel), 5))
        async with asyncio.timeout(5):
            while not task.done():
                clock.advance(5)
                await asyncio.sleep(0)
        assert [e.message.body for e in await task if e.message] == ["a", "b", "c"]
    await backend.close()


class DeadBackend(MemoryBackend):
    """A chat whose feeds never come."""

    tried = 0

    def events(self, channel, *, after=None):
        self.tried += 1
        return self._dead()

    async def _dead(self):
        raise ActionError("backend_unavailable", "Unplugged.", retryable=True)
        yield


async def test_a_feed_gives_up_after_ten_attempts(clock, refused):
    backend = DeadBackend(clock=clock)
    await backend.open()
    async with connect(backend, identity="ada") as ada:
        channel = await ada.create_channel()
        task = asyncio.create_task(take(ada.follow(channel), 1))
        async with asyncio.timeout(5):
            while not task.done():
                clock.advance(5)
                await asyncio.sleep(0)
        with refused("backend_unavailable"):
            await task
    assert backend.tried == 11
    await backend.close()


# Supervisors and bots


async def test_a_supervisor_reads_and_follows_without_joining_but_does_not_write(ada, backend, channel, refused):
    await say(ada, channel)
    async with connect(backend, identity="sue", role="supervisor") as sue:
        assert [m.body for m in await sue.messages(channel)] == ["hi"]
        assert len(await sue.members(channel)) == 2
        feed = sue.follow(channel)
        await take(feed, 4)
        await feed.aclose()
        with refused("not_a_member"):
            await say(sue, channel)
        with refused("not_a_member"):
            await send(sue, channel)


async def test_a_supervisor_deletes_nothing(ada, backend, channel, refused):
    sent = await say(ada, channel)
    async with connect(backend, identity="sue", role="supervisor") as sue:
        with refused("not_authorized"):
            await sue.actions.invoke("DeleteMessage", {"message": sent.message_sid, "channelSid": channel})


async def test_a_bot_is_a_member_where_the_backend_asks_for_it(ada, backend, channel, refused):
    async with connect(backend, identity="robo", role="bot") as bot:
        with refused("not_a_member"):
            await say(bot, channel)
        await ada.add_member(channel, "robo")
        await say(bot, channel)


# Beginning and ending


@pytest.mark.parametrize("identity", ["", " ", 5, None, b"ada", "a" * 257, "a\nb", "a\0", "\ud800", [10**5000]])
async def test_an_identity_is_printable_text(identity, refused):
    with refused("invalid_config"):
        async with connect("memory:", identity=identity):
            pass


@pytest.mark.parametrize("identity", ["a", "a" * 256, "Ünïcödé 😀", "ada@example.org", "../../etc"])
async def test_any_printable_identity_is_fine(identity, refused):
    async with connect("memory:", identity=identity) as session:
        channel = await session.create_channel()
        await send(session, channel.sid)
        assert (await session.messages(channel))[0].author == identity


@pytest.mark.parametrize(
    ("options", "nearest"),
    [({"role": "agnt"}, "'agent'"), ({"role": "superviser"}, "'supervisor'"), ({"side": "custmer"}, "'customer'")],
)
async def test_a_wrong_role_or_side_names_the_nearest(options, nearest, refused):
    with refused("invalid_config") as caught:
        async with connect("memory:", identity="ada", **options):
            pass
    assert nearest in caught.value.hint


@pytest.mark.parametrize(
    "options", [{"role": 5}, {"role": None}, {"role": ["agent"]}, {"side": 5}, {"side": ["agent"]}]
)
async def test_a_role_or_side_that_is_no_text_is_refused(options, refused):
    with refused("invalid_config"):
        async with connect("memory:", identity="ada", **options):
            pass


@pytest.mark.parametrize("profile", ["strikt", "", 5, None, ["strict"]])
async def test_a_wrong_profile_is_refused(profile):
    with pytest.raises(RegistrationError, match="No profile"):
        async with connect("memory:", identity="ada", profile=profile):
            pass


async def test_many_sessions_share_one_backend_and_end_without_it(backend):
    async with connect(backend, identity="ada") as ada:
        channel = (await ada.create_channel()).sid
        for i in range(50):
            async with connect(backend, identity="ada") as other:
                await say(other, channel, str(i))
        assert len(await ada.messages(channel)) == 50
        assert ada.backend is backend


async def test_sessions_never_share_hooks_or_inputs(ada, backend, channel):
    async with connect(backend, identity="ada") as twin:
        twin.actions.before("SendMessage", lambda payload, abort: abort())
        await twin.actions.invoke("SetInputText", {"body": "mine", "channelSid": channel})
        assert ada.input(channel).text is None
        await say(ada, channel)
    assert len(await ada.messages(channel)) == 1


async def test_a_named_memory_is_shared_in_the_process_and_a_nameless_one_is_not():
    async with connect("memory:shared-test", identity="ada") as ada, connect("memory:shared-test", identity="b") as b:
        await ada.create_channel("here")
        assert (await b.channel("here")).unique_name == "here"
    async with connect("memory:", identity="ada") as ada, connect("memory:", identity="b") as b:
        await ada.create_channel("here")
        with pytest.raises(ActionError):
            await b.channel("here")


async def test_a_closed_session_does_nothing_more(ada, backend, channel, refused):
    sent = await send(ada, channel)
    await ada.close()
    await ada.close()
    for attempt in (
        say(ada, channel),
        send(ada, channel),
        ada.actions.invoke("AttachFile", {"file": PDF, "channelSid": channel}),
        ada.actions.invoke("DownloadMedia", {"message": sent.message_sid}),
        ada.actions.invoke("SendTyping", {"channelSid": channel}),
        ada.messages(channel),
        ada.create_channel(),
        ada.channels(),
        ada.join(channel),
        ada.leave(channel),
        ada.download(sent.message_sid, io.BytesIO()),
        anext(ada.follow(channel)),
    ):
        with refused("session_closed"):
            await attempt
    assert len(await backend.list_messages(channel)) == 1


async def test_a_url_opens_a_backend_that_ends_with_the_session(tmp_path, refused):
    async with connect(f"local:{tmp_path}", identity="ada") as session:
        backend = session.backend
    with refused("backend_unavailable"):
        await backend.list_channels()


async def test_an_error_inside_comes_out_and_everything_is_closed(tmp_path, refused):
    with pytest.raises(ZeroDivisionError):
        async with connect(f"local:{tmp_path}", identity="ada") as session:
            raise ZeroDivisionError
    with refused("session_closed"):
        await session.channels()


async def test_a_guard_whose_action_never_came_refuses_the_session(backend):
    def misspelt(plugin):
        plugin.actions.guard("SendMediaMesage", lambda payload: None)

    with pytest.raises(RegistrationError) as caught:
        async with connect(backend, identity="ada", plugins=[misspelt]):
            pytest.fail("it began")
    assert "'SendMediaMessage'" in caught.value.hint


async def test_another_hook_whose_action_never_came_is_a_warning(backend):
    def misspelt(plugin):
        plugin.actions.after("SendMediaMesage", lambda payload: None)

    with pytest.warns(UserWarning, match="SendMediaMesage.*'SendMediaMessage'"):
        async with connect(backend, identity="ada", plugins=[misspelt]):
            pass


async def test_once_the_session_is_open_a_hook_for_an_unknown_action_is_refused_at_once(ada):
    with pytest.raises(RegistrationError):
        ada.actions.before("SendMediaMesage", lambda payload: None)


async def test_the_eight_actions_are_there(ada):
    assert set(ada.actions.names) == {
        "AttachFile",
        "DetachFile",
        "SendMediaMessage",
        "DownloadMedia",
        "SendMessage",
        "SetInputText",
        "SendTyping",
        "DeleteMessage",
    }


async def test_a_session_shows_itself_without_personal_data(ada):
    assert "ada" not in repr(ada)


@pytest.mark.parametrize("profile", ["flex1", "flex2"])
async def test_the_chats_rules_hold_in_every_profile(backend, channel, refused, profile):
    on = {"fileAttachment": {"enabled": True}}
    async with connect(backend, identity="ada", profile=profile, config=on) as session:
        await send(session, channel)
        await session.actions.invoke("AttachFile", {"file": PDF, "channelSid": channel})
        with refused("one_file_at_a_time"):
            await session.actions.invoke("AttachFile", {"file": PDF, "channelSid": channel})
        with refused("invalid_type"):
            await send(session, channel, File.from_bytes(b"MZ", name="a.exe"))
        await session.actions.invoke("SendMediaMessage", {"channelSid": channel})
        assert len(await session.messages(channel)) == 2
        assert session._chat._slots == {}


async def test_an_open_backend_is_opened_and_closed_by_its_owner():
    async with open_backend("memory:") as backend:
        async with connect(backend, identity="ada"):
            pass
        assert await backend.list_channels() == []


# What others left behind


async def test_a_supervisor_who_is_no_member_changes_nothing(backend, channel, refused):
    async with connect(backend, identity="sue", role="supervisor") as sue:
        assert len(await sue.members(channel)) == 2
        with refused("not_a_member"):
            await sue.close_channel(channel)
        with refused("not_a_member"):
            await sue.remove_member(channel, "cleo")
        with refused("not_a_member"):
            await sue.add_member(channel, "bob")
        await sue.join(channel)
        await sue.remove_member(channel, "cleo")
        assert (await sue.close_channel(channel)).state == "closed"


@pytest.mark.parametrize("how", [{"limit": "1"}, {"limit": 1.5}, {"after_index": None}, {"after_index": True}])
async def test_a_range_of_messages_is_given_in_whole_numbers(ada, channel, refused, how):
    with refused("invalid_payload"):
        await ada.messages(channel, **how)


@pytest.mark.parametrize("text", ["[" * 5000, '{"a":' * 900 + "1" + "}" * 900, "{", "7", '{"a": NaN' + "}"])
async def test_a_message_whose_attributes_cannot_be_read_is_shown_all_the_same(ada, backend, channel, text):
    await say(ada, channel)
    backend._shared.db.execute("UPDATE message SET attributes = ?", (text,))
    (message,) = await ada.messages(channel)
    assert (message.body, dict(message.attributes) if "NaN" not in text else {}) == ("hi", {})


@pytest.mark.parametrize("kind", ["WhatsApp", " whatsapp\t", "WHATSAPP"])
async def test_a_rule_for_a_type_holds_however_the_type_is_written(backend, refused, kind):
    config = {"fileAttachment": {"channelTypes": {"whatsApp ": {"enabled": False}}}}
    async with connect(backend, identity="ada", config=config) as session:
        channel = await session.create_channel(channel_type=kind)
        assert channel.channel_type == "whatsapp"
        with refused("attachments_disabled"):
            await send(session, channel.sid)


@pytest.mark.parametrize("kind", ["", " ", "two words", 5, None, "x\0"])
async def test_an_odd_channel_type_is_refused(ada, refused, kind):
    with refused("invalid_payload"):
        await ada.create_channel(channel_type=kind)


async def test_a_deleted_text_cannot_be_guessed_by_its_key(ada, channel):
    first = await ada.actions.invoke("SendMessage", {"body": "pin 1234", "channelSid": channel}, key="k")
    await ada.actions.invoke("DeleteMessage", {"message": first.message_sid})
    for guess in ("pin 0000", "pin 1234"):
        again = await ada.actions.invoke("SendMessage", {"body": guess, "channelSid": channel}, key="k")
        assert (again.repeated, again.message_sid) == (True, first.message_sid)


@pytest.mark.parametrize("key", ["k", None])
async def test_attributes_that_a_hook_spoils_are_refused_before_the_upload(ada, backend, channel, refused, key):
    ada.actions.before("SendMediaMessage", lambda payload: payload.message_attributes.update(x={1}))
    with refused("invalid_payload"):
        await ada.actions.invoke("SendMediaMessage", {"file": PDF, "channelSid": channel}, key=key)
    assert backend._shared.content == {}
    assert ada.input(channel).can_attach


async def test_a_payload_object_used_again_sends_what_is_entered_now(ada, channel):
    text, file = SendMessagePayload(channel), SendMediaMessagePayload(channel)
    for body in ("one", "two"):
        await ada.actions.invoke("SetInputText", {"body": body, "channelSid": channel})
        await ada.actions.invoke("SendMessage", text)
    for name in ("1.pdf", "2.pdf"):
        await ada.actions.invoke("AttachFile", {"file": File.from_bytes(b"%PDF", name=name), "channelSid": channel})
        await ada.actions.invoke("SendMediaMessage", file)
    assert [m.body or m.media.name for m in await ada.messages(channel)] == ["one", "two", "1.pdf", "2.pdf"]


async def test_detaching_from_an_empty_input_does_not_speak_of_sending(ada, channel, refused):
    with refused("nothing_attached") as caught:
        await ada.actions.invoke("DetachFile", {"channelSid": channel})
    assert "send" not in caught.value.hint
