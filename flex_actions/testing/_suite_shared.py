"""Two backends on one store, as two processes have them."""

import asyncio

from ..clock import ManualClock
from ..ports import Backend, Draft, Key
from ._suite_tools import chat, expect, history, media_of, read, refused, say, send, shared_check, upload


@shared_check
async def both_see_the_same(backend: Backend, other: Backend, clock: ManualClock) -> None:
    """What one backend acknowledged the other one shows at once: channels, members, messages, files, events."""
    channel = await chat(backend, "bob")
    message = await send(backend, channel)
    expect(await other.list_messages(channel), [message], "messages")
    expect(await other.list_members(channel), await backend.list_members(channel), "members")
    expect(await other.list_channels(), await backend.list_channels(), "channels")
    expect(await read(other.open_media(media_of(message).sid)), b"hello", "content")
    answer = await say(other, channel, "yes", author="bob")
    expect(await backend.list_messages(channel), [message, answer], "messages, the other way")
    expect(await history(backend, channel), await history(other, channel), "events")


@shared_check
async def followers_see_the_other_one(backend: Backend, other: Backend, clock: ManualClock) -> None:
    """A follower of one backend is woken by what happens through the other."""
    channel = await chat(backend)
    for one, two in ((backend, other), (other, backend)):
        step = asyncio.ensure_future(anext(one.events(channel, after=await one.last_cursor(channel))))
        await asyncio.sleep(0)
        message = await say(two, channel, "x")
        expect((await step).message, message, "the message")


@shared_check
async def indexes_and_keys_are_common(backend: Backend, other: Backend, clock: ManualClock) -> None:
    """Indexes have no double across backends, and a key used in one is used in both."""
    channel = await chat(backend)
    posted = await asyncio.gather(
        *(say((backend, other)[i % 2], channel, str(i)) for i in range(40)),
    )
    expect(sorted(m.index for m in posted), list(range(40)), "indexes")
    first = await backend.post(channel, Draft("ada", body="x"), key=Key("k", "f"))
    again = await other.post(channel, Draft("ada", body="x"), key=Key("k", "f"))
    expect((again.message, again.repeated), (first.message, True), "the repeat")


@shared_check
async def links_and_deletions_are_common(backend: Backend, other: Backend, clock: ManualClock) -> None:
    """A link of one backend opens in the other, until the message was deleted through either."""
    channel = await chat(backend)
    message = await send(backend, channel)
    link = await backend.temporary_link(media_of(message).sid, reader="ada")
    _, content = await other.open_link(link.url)
    expect(await read(content), b"hello", "content")
    await other.delete_message(channel, message.sid)
    async with refused("media_deleted"):
        await backend.open_link(link.url)
    async with refused("unknown_message"):
        await backend.find_message(message.sid)


@shared_check
async def one_may_close_before_the_other(backend: Backend, other: Backend, clock: ManualClock) -> None:
    """Closing one leaves the other, and its uploads under way, untouched."""
    channel = await chat(backend)
    media = await upload(backend, channel)
    await other.close()
    await backend.post(channel, Draft("ada", media=media))
    expect(await read(backend.open_media(media.sid)), b"hello", "content")
