"""Channels and members."""

import asyncio

from ..clock import ManualClock
from ..ports import Backend, Draft
from ._suite_tools import chat, check, expect, expect_true, media_of, read, refused, say, send, upload

UNKNOWN = "CH" + "9" * 32
AWKWARD = ("Ω ß 漢字 😀", "a'b\"c;--", "x\0y", "%_~|.", "\u202e\u0301", "é", "e\u0301")


@check
async def a_new_channel_is_active_and_its_creator_a_member(backend: Backend, clock: ManualClock) -> None:
    """create_channel() gives an active channel whose creator is the first member; sid or unique name name it."""
    channel = await backend.create_channel(creator="ada", unique_name="support", channel_type="sms")
    expect((channel.state, channel.channel_type, channel.created_by), ("active", "sms", "ada"), "the channel")
    expect(channel.created_at, clock.now(), "created_at")
    expect_true(channel.sid.startswith("CH") and len(channel.sid) == 34, "the sid has Twilio's form")
    expect(await backend.get_channel(channel.sid), channel, "by sid")
    expect(await backend.get_channel("support", member="ada"), channel, "by unique name, as a member")
    members = await backend.list_members("support")
    expect([(m.channel_sid, m.identity, m.joined_at) for m in members], [(channel.sid, "ada", clock.now())], "members")


@check
async def a_unique_name_is_unique(backend: Backend, clock: ManualClock) -> None:
    """A second channel of the same unique name is refused with channel_exists; the first stays."""
    channel = await backend.create_channel(creator="ada", unique_name="one")
    async with refused("channel_exists"):
        await backend.create_channel(creator="bob", unique_name="one")
    expect(await backend.list_channels(), [channel], "channels")


@check
async def simultaneous_channels_of_one_name_are_one(backend: Backend, clock: ManualClock) -> None:
    """Of many simultaneous create_channel() with one unique name, one succeeds."""
    made = await asyncio.gather(
        *(backend.create_channel(creator=f"u{i}", unique_name="one") for i in range(10)), return_exceptions=True
    )
    expect(sum(not isinstance(one, BaseException) for one in made), 1, "channels made")
    expect(len(await backend.list_channels()), 1, "channels there")


@check
async def unknown_channels_are_refused_everywhere(backend: Backend, clock: ManualClock) -> None:
    """Every call with a channel raises unknown_channel if there is none of that sid or name."""
    for channel in (UNKNOWN, "nobody", "", *AWKWARD):
        async with refused("unknown_channel"):
            await backend.get_channel(channel)
        async with refused("unknown_channel"):
            await backend.close_channel(channel)
        async with refused("unknown_channel"):
            await backend.add_member(channel, "ada")
        async with refused("unknown_channel"):
            await backend.remove_member(channel, "ada")
        async with refused("unknown_channel"):
            await backend.list_members(channel)
        async with refused("unknown_channel"):
            await backend.post(channel, Draft("ada", body="x"))
        async with refused("unknown_channel"):
            await backend.get_message(channel, "IM" + "0" * 32)
        async with refused("unknown_channel"):
            await backend.list_messages(channel)
        async with refused("unknown_channel"):
            await backend.signal_typing(channel, "ada")
        async with refused("unknown_channel"):
            await backend.last_cursor(channel)
        async with refused("unknown_channel"):
            await anext(aiter(backend.events(channel)))
        async with refused("unknown_channel", "unknown_message"):
            await backend.delete_message(channel, "IM" + "0" * 32)


@check
async def channels_are_listed_oldest_first(backend: Backend, clock: ManualClock) -> None:
    """list_channels() gives all channels in the order of their making; with `member`, those of that member."""
    sids = [(await backend.create_channel(creator="ada" if i % 3 else "bob")).sid for i in range(700)]
    await backend.add_member(sids[0], "ada")
    expect([c.sid for c in await backend.list_channels()], sids, "all")
    of_ada = [sid for i, sid in enumerate(sids) if i % 3 or i == 0]
    expect([c.sid for c in await backend.list_channels(member="ada")], of_ada, "ada's")
    expect(await backend.list_channels(member="eve"), [], "a stranger's")


@check
async def adding_a_member_twice_changes_nothing(backend: Backend, clock: ManualClock) -> None:
    """add_member() of one who is there gives the same member, and no second event."""
    channel = await chat(backend)
    first = await backend.add_member(channel, "bob")
    cursor = await backend.last_cursor(channel)
    clock.advance(10)
    expect(await backend.add_member(channel, "bob"), first, "the member")
    expect(await backend.last_cursor(channel), cursor, "the newest event")
    expect([m.identity for m in await backend.list_members(channel)], ["ada", "bob"], "members")


@check
async def members_stand_in_the_order_they_joined(backend: Backend, clock: ManualClock) -> None:
    """list_members() is in order of joining; who left and came back stands last."""
    channel = await chat(backend, "zoe", "bob")
    await backend.remove_member(channel, "ada")
    await backend.add_member(channel, "ada")
    expect([m.identity for m in await backend.list_members(channel)], ["zoe", "bob", "ada"], "members")


@check
async def strangers_are_refused(backend: Backend, clock: ManualClock) -> None:
    """Who is no member, or no longer, gets not_a_member; nothing is written."""
    channel = await chat(backend, "bob")
    await backend.remove_member(channel, "bob")
    cursor = await backend.last_cursor(channel)
    for identity in ("bob", "eve", "Ada", *AWKWARD):
        async with refused("not_a_member"):
            await backend.get_channel(channel, member=identity)
        async with refused("not_a_member"):
            await backend.remove_member(channel, identity)
        async with refused("not_a_member"):
            await backend.signal_typing(channel, identity)
        if backend.capabilities.sends_need_membership:
            async with refused("not_a_member"):
                await say(backend, channel, "x", author=identity)
            async with refused("not_a_member"):
                await send(backend, channel, author=identity)
    expect(await backend.list_messages(channel), [], "messages")
    expect(await backend.last_cursor(channel), cursor, "the newest event")


@check
async def a_closed_channel_is_read_only(backend: Backend, clock: ManualClock) -> None:
    """After close_channel() writing is refused with channel_closed, reading goes on; again it changes nothing."""
    channel = await chat(backend, "bob")
    message = await send(backend, channel, b"data")
    media = await upload(backend, channel)
    expect((await backend.close_channel(channel)).state, "closed", "the state")
    cursor = await backend.last_cursor(channel)
    expect((await backend.close_channel(channel)).state, "closed", "the state, closed twice")
    expect(await backend.last_cursor(channel), cursor, "the newest event")
    expect((await backend.get_channel(channel)).state, "closed", "the state, read")
    async with refused("channel_closed"):
        await say(backend, channel, "x")
    async with refused("channel_closed"):
        await backend.post(channel, Draft("ada", media=media))
    async with refused("channel_closed"):
        await send(backend, channel)
    async with refused("channel_closed"):
        await backend.add_member(channel, "eve")
    async with refused("channel_closed"):
        await backend.signal_typing(channel, "ada")
    expect(await backend.list_messages(channel), [message], "messages")
    expect(await read(backend.open_media(media_of(message).sid)), b"data", "content")


@check
async def any_unicode_comes_back_unchanged(backend: Backend, clock: ManualClock) -> None:
    """Identities, unique names, texts and attributes of any characters come back as they were."""
    for text in AWKWARD:
        channel = await backend.create_channel(creator=text, unique_name=(name := text.replace("\0", "0")))
        expect((await backend.get_channel(name, member=text)).sid, channel.sid, f"the channel {text!a}")
        message = await backend.post(channel.sid, Draft(text, body=text, attributes={text: [text, 1.5, None]}))
        found = await backend.get_message(name, message.message.sid)
        expect((found.author, found.body), (text, text), "author and body")
        expect(dict(found.attributes), {text: [text, 1.5, None]}, "attributes")
    expect(len(await backend.list_channels()), len(AWKWARD), "é composed and decomposed are two names; channels")


@check
async def names_and_types_are_plain(backend: Backend, clock: ManualClock) -> None:
    """A unique name with control characters, like a sid or too long, and a type that is no word, raise invalid_payload.

    A type is kept in lower case, without spaces around it.
    """
    for name in ("a\nb", "x\0y", "\x1b[2J", UNKNOWN, UNKNOWN.upper(), UNKNOWN + "0", "CH12", "CH0123456789", "x" * 257):
        async with refused("invalid_payload"):
            await backend.create_channel(creator="ada", unique_name=name)
    for kind in ("", " ", "a b", "web\n\0", "x" * 65):
        async with refused("invalid_payload"):
            await backend.create_channel(creator="ada", channel_type=kind)
    expect(await backend.list_channels(), [], "channels")
    expect((await backend.create_channel(creator="ada", channel_type=" WhatsApp ")).channel_type, "whatsapp", "type")
    expect((await backend.create_channel(creator="ada", unique_name="CHAT")).unique_name, "CHAT", "a name")


@check
async def what_is_no_text_is_refused_not_stored(backend: Backend, clock: ManualClock) -> None:
    """Lone surrogates, which are no Unicode text, and empty identities raise invalid_payload; nothing is stored."""
    channel = await chat(backend)
    for bad in ("\ud800", ""):
        async with refused("invalid_payload"):
            await backend.create_channel(creator=bad)
        async with refused("invalid_payload"):
            await backend.create_channel(creator="ada", unique_name=bad)
        async with refused("invalid_payload"):
            await backend.create_channel(creator="ada", channel_type=bad)
        async with refused("invalid_payload"):
            await backend.add_member(channel, bad)
    async with refused("invalid_payload"):
        await say(backend, channel, "x\udfff")
    async with refused("invalid_payload"):
        await backend.create_channel(creator="ada", unique_name=UNKNOWN)
    expect(len(await backend.list_channels()), 1, "channels")


@check
async def a_closed_backend_is_unavailable(backend: Backend, clock: ManualClock) -> None:
    """After close(), which may be called twice, every call raises backend_unavailable and followers end with it."""
    channel = await chat(backend)
    message = await send(backend, channel)
    link = await backend.temporary_link(media_of(message).sid, reader="ada")
    follower = backend.events(channel, after=await backend.last_cursor(channel))
    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    await asyncio.gather(backend.close(), backend.close())
    await backend.close()
    async with refused("backend_unavailable"):
        await waiting
    async with refused("backend_unavailable"):
        await backend.get_channel(channel)
    async with refused("backend_unavailable"):
        await say(backend, channel, "x")
    async with refused("backend_unavailable"):
        await send(backend, channel)
    async with refused("backend_unavailable"):
        await anext(aiter(backend.events(channel)))
    async with refused("backend_unavailable"):
        await read(backend.open_media(media_of(message).sid))
    async with refused("backend_unavailable"):
        await backend.open_link(link.url)
    async with refused("backend_unavailable"):
        await backend.settle("k")
    async with refused("backend_unavailable"):
        await backend.purge()
