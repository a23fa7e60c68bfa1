"""Messages, their order, their keys, their end."""

import asyncio
from typing import Any

import attrs

from ..clock import ManualClock
from ..ports import Backend, Draft, Key, KeyRecord, Settled
from ..values import ATTRIBUTES_BYTES, ATTRIBUTES_DEPTH
from ._suite_tools import chat, check, expect, expect_true, media_of, read, refused, say, send, upload

NO_MESSAGE = "IM" + "9" * 32


@check
async def indexes_grow_and_are_never_used_again(backend: Backend, clock: ManualClock) -> None:
    """Indexes begin at 0 and grow by 1; that of a deleted message, the newest too, is not given again."""
    channel, other = await chat(backend), await chat(backend)
    messages = [await say(backend, channel, str(i)) for i in range(3)]
    expect([m.index for m in messages], [0, 1, 2], "indexes")
    await backend.delete_message(channel, messages[2].sid)
    await backend.delete_message(channel, messages[0].sid)
    expect((await say(backend, channel, "next")).index, 3, "the index after a deletion")
    expect((await say(backend, other, "x")).index, 0, "the first index of another channel")
    expect([m.index for m in await backend.list_messages(channel)], [1, 3], "indexes left")


@check
async def simultaneous_posts_get_their_own_indexes(backend: Backend, clock: ManualClock) -> None:
    """Simultaneous posts lead to one message each, without gap or double."""
    channel = await chat(backend)
    posted = await asyncio.gather(*(say(backend, channel, str(i)) for i in range(100)))
    expect(sorted(m.index for m in posted), list(range(100)), "indexes")
    listed = await backend.list_messages(channel)
    expect(sorted(listed, key=lambda m: m.sid), sorted(posted, key=lambda m: m.sid), "messages")
    expect([m.index for m in listed], list(range(100)), "order")


@check
async def a_message_is_found_by_sid_and_channel(backend: Backend, clock: ManualClock) -> None:
    """get_message() and find_message() give what post() gave; elsewhere or unknown it is unknown_message."""
    channel, other = await chat(backend), await chat(backend)
    clock.advance(5)
    message = await say(backend, channel, "hello")
    expect((message.channel_sid, message.author, message.body), (channel, "ada", "hello"), "the message")
    expect((message.created_at, message.media), (clock.now(), None), "time and media")
    expect_true(message.sid.startswith("IM") and len(message.sid) == 34, "the sid has Twilio's form")
    expect(await backend.get_message(channel, message.sid), message, "get_message()")
    expect(await backend.find_message(message.sid), message, "find_message()")
    async with refused("unknown_message"):
        await backend.get_message(other, message.sid)
    async with refused("unknown_message"):
        await backend.delete_message(other, message.sid)
    for sid in (NO_MESSAGE, "", "x", channel):
        async with refused("unknown_message"):
            await backend.get_message(channel, sid)
        async with refused("unknown_message"):
            await backend.find_message(sid)
        async with refused("unknown_message"):
            await backend.delete_message(channel, sid)


@check
async def messages_are_listed_in_ranges(backend: Backend, clock: ManualClock) -> None:
    """list_messages() gives those behind an index, oldest first, at most `limit`."""
    channel = await chat(backend)
    for start in range(0, 600, 100):
        for i in range(start, start + 100):
            await say(backend, channel, str(i))

    async def indexes(after_index: int = -1, limit: int | None = None) -> list[int]:
        found = await backend.list_messages(channel, after_index=after_index, limit=limit)
        return [m.index for m in found]

    expect(await indexes(), list(range(600)), "all")
    expect(await indexes(limit=3), [0, 1, 2], "the first three")
    expect(await indexes(9, 2), [10, 11], "two behind 9")
    expect(await indexes(100, 400), list(range(101, 501)), "400 behind 100")
    expect(await indexes(597), [598, 599], "the last")
    expect((await indexes(599), await indexes(10**30), await indexes(limit=0)), ([], [], []), "none")
    expect(len(await indexes(-(10**30))), 600, "behind a very low index")
    for bad in ({"after_index": None}, {"after_index": "1"}, {"limit": "1"}, {"limit": 1.5}, {"limit": True}):
        async with refused("invalid_payload"):
            await backend.list_messages(channel, **bad)


@check
async def a_message_carries_text_or_one_file(backend: Backend, clock: ManualClock) -> None:
    """A draft with both, with neither, or with attributes that are no JSON or too much raises invalid_payload."""
    channel = await chat(backend)
    media = await upload(backend, channel)
    bad = (
        Draft("ada"),
        Draft("ada", body="x", media=media),
        Draft("ada", body="x", attributes={"x": {1, 2}}),
        Draft("ada", body="x", attributes={"x": float("nan")}),
        Draft("ada", body="x", attributes={"x": _nested(ATTRIBUTES_DEPTH)}),
        Draft("ada", body="x", attributes={"x": _nested(977)}),
        Draft("ada", body="x", attributes={"x": "ß" * (ATTRIBUTES_BYTES // 2)}),
    )
    for draft in bad:
        async with refused("invalid_payload"):
            await backend.post(channel, draft)
    expect(await backend.list_messages(channel), [], "messages")
    expect((await backend.post(channel, Draft("ada", media=media))).message.media, media, "the media, still there")
    for most in ({"x": _nested(ATTRIBUTES_DEPTH - 1)}, {"x": "ß" * (ATTRIBUTES_BYTES // 2 - 4)}):
        posted = await backend.post(channel, Draft("ada", body="x", attributes=most))
        expect((await backend.find_message(posted.message.sid)).attributes, most, "attributes")


def _nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@check
async def a_key_posts_once(backend: Backend, clock: ManualClock) -> None:
    """Under a key used before with the same fingerprint nothing is added; the first message returns, repeated."""
    channel = await chat(backend)
    media = await upload(backend, channel)
    draft, key = Draft("ada", media=media), Key("k", "f")
    posted = await backend.post(channel, draft, key=key)
    expect(posted.repeated, False, "repeated, the first time")
    again = await backend.post(channel, draft, key=key)
    expect((again.message, again.repeated), (posted.message, True), "the second time")
    second = await upload(backend, channel)
    again = await backend.post(channel, Draft("ada", media=second), key=key)
    expect((again.message, again.repeated), (posted.message, True), "with a second upload")
    expect(await backend.list_messages(channel), [posted.message], "messages")
    third = await backend.post(channel, Draft("ada", media=second))
    expect(third.message.index, 1, "the upload of the repeat can be posted; its index")


@check
async def simultaneous_posts_with_one_key_are_one_message(backend: Backend, clock: ManualClock) -> None:
    """Of simultaneous posts with one key, one adds a message and the others return it."""
    channel = await chat(backend)
    media = await upload(backend, channel)
    posted = await asyncio.gather(
        *(backend.post(channel, Draft("ada", media=media), key=Key("k", "f")) for _ in range(20))
    )
    expect(sum(not p.repeated for p in posted), 1, "posts that were no repeat")
    expect(len({p.message.sid for p in posted}), 1, "messages returned")
    expect(len(await backend.list_messages(channel)), 1, "messages there")


@check
async def a_key_belongs_to_one_payload(backend: Backend, clock: ManualClock) -> None:
    """The same key with another fingerprint raises key_reused, and adds nothing."""
    channel = await chat(backend)
    await say(backend, channel, "a", key=Key("k", "f"))
    async with refused("key_reused"):
        await say(backend, channel, "b", key=Key("k", "g"))
    expect(len(await backend.list_messages(channel)), 1, "messages")
    expect((await say(backend, channel, "b", key=Key("K", "g"))).index, 1, "another key; its index")


@check
async def a_refused_post_uses_up_nothing(backend: Backend, clock: ManualClock) -> None:
    """A post that was refused leaves its key unused, its media postable and no index taken."""
    channel = await chat(backend)
    media = await upload(backend, channel)
    if backend.capabilities.sends_need_membership:
        async with refused("not_a_member"):
            await backend.post(channel, Draft("eve", media=media), key=Key("k", "f"))
    expect(await backend.settle("k"), Settled.NOTHING, "settle()")
    posted = await backend.post(channel, Draft("ada", media=media), key=Key("k", "g"))
    expect((posted.repeated, posted.message.index), (False, 0), "repeated and index")


@check
async def settle_tells_what_a_key_led_to(backend: Backend, clock: ManualClock) -> None:
    """settle() gives NOTHING for an unused key, and else what it led to, also after the message was deleted.

    Then the fingerprint is blank and any repeats it: nobody can try out what the message said.
    """
    channel = await chat(backend)
    for key in ("k", "", "Ω\0"):
        expect(await backend.settle(key), Settled.NOTHING, "an unused key")
    media = await upload(backend, channel)
    message = (await backend.post(channel, Draft("ada", media=media), key=Key("k", "f"))).message
    record = KeyRecord("f", channel, message.sid, media.sid, 0)
    expect(await backend.settle("k"), record, "a used key")
    await backend.delete_message(channel, message.sid)
    expect(await backend.settle("k"), attrs.evolve(record, fingerprint=""), "after the deletion")
    for fingerprint in ("f", "other"):
        async with refused("unknown_message"):
            await backend.post(channel, Draft("ada", body="x"), key=Key("k", fingerprint))
    expect(await backend.list_messages(channel), [], "messages")


@check
async def settle_sees_a_post_under_way(backend: Backend, clock: ManualClock) -> None:
    """settle() called while a post with its key is under way does not say NOTHING if that post then happens."""
    channel = await chat(backend)
    under_way = asyncio.ensure_future(backend.post(channel, Draft("ada", body="x"), key=Key("k", "f")))
    await asyncio.sleep(0)
    expect_true(await backend.settle("k") is not Settled.NOTHING, "settle() says NOTHING")
    await under_way


@check
async def a_cancelled_post_is_done_or_not(backend: Backend, clock: ManualClock) -> None:
    """A cancelled post leaves a whole message or none, and settle() says which."""
    channel = await chat(backend)
    for turns in range(6):
        key = f"k{turns}"
        media = await upload(backend, channel)
        task = asyncio.ensure_future(backend.post(channel, Draft("ada", media=media), key=Key(key, "f")))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        found = [m for m in await backend.list_messages(channel) if m.media == media]
        record = await backend.settle(key)
        expect([record.message_sid] if isinstance(record, KeyRecord) else [], [m.sid for m in found], "the record")
        for message in found:
            expect(await read(backend.open_media(media_of(message).sid)), b"hello", "content")


@check
async def deleting_takes_everything(backend: Backend, clock: ManualClock) -> None:
    """delete_message() takes the message, its media and its links; a second time it is unknown."""
    channel = await chat(backend)
    message = await send(backend, channel)
    media = media_of(message)
    kept = await send(backend, channel, b"kept")
    link = await backend.temporary_link(media.sid, reader="ada")
    await backend.delete_message(channel, message.sid)
    async with refused("unknown_message"):
        await backend.get_message(channel, message.sid)
    async with refused("unknown_message"):
        await backend.find_message(message.sid)
    async with refused("unknown_message"):
        await backend.delete_message(channel, message.sid)
    async with refused("media_deleted"):
        await read(backend.open_media(media.sid))
    async with refused("media_deleted"):
        await backend.temporary_link(media.sid, reader="ada")
    async with refused("media_deleted"):
        _, content = await backend.open_link(link.url)
        await read(content)
    async with refused("media_deleted"):
        await backend.post(channel, Draft("ada", media=media))
    expect(await backend.list_messages(channel), [kept], "messages")
    expect(await read(backend.open_media(media_of(kept).sid)), b"kept", "the other's content")
