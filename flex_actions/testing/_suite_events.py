"""Events, cursors and the purge."""

import asyncio

from ..clock import ManualClock
from ..ports import PURGE_AFTER_S, PURGE_EVERY_S, Backend, Event
from ._suite_tools import chat, check, expect, expect_true, history, media_of, refused, say, send, wait_for


def _kinds(events: list[Event]) -> list[str]:
    return [event.type for event in events]


@check
async def everything_that_happens_is_told_in_order(backend: Backend, clock: ManualClock) -> None:
    """events() from the beginning gives each thing that happened, in order, with what belongs to it."""
    channel, start = await chat(backend), clock.now()
    clock.advance(1)
    await backend.add_member(channel, "bob")
    message = await send(backend, channel)
    await backend.signal_typing(channel, "bob")
    await backend.temporary_link(media_of(message).sid, reader="bob")
    await backend.remove_member(channel, "bob")
    await backend.close_channel(channel)
    await backend.create_channel(creator="eve")
    found = await history(backend, channel)
    wanted = [
        ("channel_created", None, None),
        ("member_added", None, "ada"),
        ("member_added", None, "bob"),
        ("message_added", message.sid, None),
        ("typing", None, "bob"),
        ("link_issued", message.sid, "bob"),
        ("member_removed", None, "bob"),
        ("channel_closed", None, None),
    ]
    expect([(e.type, e.message_sid, e.identity) for e in found], wanted, "events")
    expect({e.channel_sid for e in found}, {channel}, "channels")
    expect([e.at for e in found], [start] * 2 + [start + 1] * 6, "times")
    expect([e.message for e in found if e.message], [message], "messages")


@check
async def a_cursor_goes_on_behind_its_event(backend: Backend, clock: ManualClock) -> None:
    """events(after=cursor) gives what follows that event, none twice, none left out; last_cursor() is the newest's."""
    channel = await chat(backend, "bob")
    other = await chat(backend)
    for i in range(5):
        await say(backend, channel, str(i))
        await say(backend, other, str(i))
    found = await history(backend, channel)
    expect(len({e.cursor for e in found}), len(found), "different cursors")
    for position, event in enumerate(found):
        rest = await history(backend, channel, after=event.cursor)
        expect(rest, found[position + 1 :], f"what follows event {position}")
    expect(await backend.last_cursor(channel), found[-1].cursor, "last_cursor()")


@check
async def cursors_of_others_are_refused(backend: Backend, clock: ManualClock) -> None:
    """A cursor that this store did not make raises invalid_cursor."""
    channel = await chat(backend)
    newest = await backend.last_cursor(channel)
    for bad in ("", " ", "x", "-1", "1.0", "\u0661", newest + " ", newest + "999999999", "9" * 40, "\0", "1;DROP"):
        async with refused("invalid_cursor"):
            await anext(aiter(backend.events(channel, after=bad)))


@check
async def followers_see_things_as_they_happen(backend: Backend, clock: ManualClock) -> None:
    """A follower at the end waits and gets what happens next in its channel only; so do all others."""
    channel, other = await chat(backend), await chat(backend)
    cursor = await backend.last_cursor(channel)
    waiting = [asyncio.ensure_future(anext(backend.events(channel, after=cursor))) for _ in range(5)]
    await asyncio.sleep(0)
    await say(backend, other, "elsewhere")
    for _ in range(20):
        await asyncio.sleep(0)
    expect([w.done() for w in waiting], [False] * 5, "nothing happened here yet; told")
    message = await say(backend, channel, "here")
    expect([e.message for e in await asyncio.gather(*waiting)], [message] * 5, "what they were told")


@check
async def followers_miss_nothing(backend: Backend, clock: ManualClock) -> None:
    """A follower that runs while many post gets every message once, in the order of indexes."""
    channel = await chat(backend)

    async def follow() -> list[int]:
        indexes: list[int] = []
        async for event in backend.events(channel):
            if event.message is not None:
                indexes.append(event.message.index)
                if len(indexes) == 60:
                    return indexes
        return indexes

    followers = [asyncio.ensure_future(follow()) for _ in range(3)]
    for burst in range(6):
        await asyncio.gather(*(say(backend, channel, f"{burst}/{i}") for i in range(10)))
    expect(await asyncio.gather(*followers), [list(range(60))] * 3, "indexes")


@check
async def a_cancelled_step_loses_nothing(backend: Backend, clock: ManualClock) -> None:
    """After a step was cancelled (a time limit), a new events() from the last cursor goes on without loss."""
    channel = await chat(backend)
    cursor = await backend.last_cursor(channel)
    step = asyncio.ensure_future(anext(backend.events(channel, after=cursor)))
    await asyncio.sleep(0)
    step.cancel()
    await asyncio.gather(step, return_exceptions=True)
    message = await say(backend, channel, "x")
    expect((await anext(backend.events(channel, after=cursor))).message, message, "the message")


@check
async def a_deletion_is_told_and_forgotten(backend: Backend, clock: ManualClock) -> None:
    """message_deleted names the message and carries nothing of it; the old message_added carries None from then on."""
    channel = await chat(backend)
    message = await say(backend, channel, "secret")
    await backend.delete_message(channel, message.sid)
    found = await history(backend, channel)
    expect(_kinds(found)[2:], ["message_added", "message_deleted"], "events")
    for event in found[2:]:
        expect((event.message_sid, event.message, event.identity), (message.sid, None, None), event.type)


@check
async def personal_events_go_after_7_days(backend: Backend, clock: ManualClock) -> None:
    """purge() takes events with an identity once they are 7 days old, not earlier; all else stays."""
    channel = await chat(backend, "bob")
    message = await send(backend, channel)
    deleted = await say(backend, channel, "x")
    await backend.delete_message(channel, deleted.sid)
    await backend.signal_typing(channel, "bob")
    await backend.temporary_link(media_of(message).sid, reader="bob")
    await backend.remove_member(channel, "bob")
    cursor = await backend.last_cursor(channel)
    everything = await history(backend, channel)
    clock.advance(PURGE_AFTER_S - 1)
    expect(await backend.purge(), 0, "purged a second too early")
    expect(await history(backend, channel), everything, "events a second too early")
    await backend.add_member(channel, "zoe")
    clock.advance(1)
    await backend.purge()
    found = await history(backend, channel)
    wanted = ["channel_created", "message_added", "message_added", "message_deleted", "member_added"]
    expect(_kinds(found), wanted, "events left")
    expect([e.identity for e in found if e.identity], ["zoe"], "identities left")
    expect([m.identity for m in await backend.list_members(channel)], ["ada", "zoe"], "members stay")
    expect(await backend.list_messages(channel), [message], "messages stay")
    rest = await history(backend, channel, after=cursor)
    expect(_kinds(rest), ["member_added"], "a cursor at a purged event still works; what follows it")


@check
async def cursors_are_not_used_again_after_a_purge(backend: Backend, clock: ManualClock) -> None:
    """After the newest events were purged, new ones come behind every old cursor."""
    channel = await chat(backend)
    await backend.signal_typing(channel, "ada")
    cursor = await backend.last_cursor(channel)
    clock.advance(PURGE_AFTER_S)
    expect_true(await backend.purge() > 0, "something was purged")
    follower = backend.events(channel, after=cursor)
    step = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0)
    message = await say(backend, channel, "x")
    expect((await step).message, message, "the next event")


@check
async def the_purge_runs_by_itself(backend: Backend, clock: ManualClock) -> None:
    """While open, a backend purges every hour of its clock without being asked."""
    channel = await chat(backend)
    # Stays, so that the newest event is the same before and after the purge.
    await say(backend, channel, "x")
    clock.advance(PURGE_AFTER_S)
    while "member_added" in _kinds(await history(backend, channel)):
        await asyncio.sleep(0.001)
        clock.advance(PURGE_EVERY_S)


@check
async def followers_of_a_new_member_are_told(backend: Backend, clock: ManualClock) -> None:
    """Membership and typing are told live too."""
    channel = await chat(backend)
    events = backend.events(channel, after=await backend.last_cursor(channel))
    await backend.add_member(channel, "bob")
    expect((await wait_for(events, "member_added")).identity, "bob", "who joined")
    await backend.signal_typing(channel, "bob")
    expect((await wait_for(events, "typing")).identity, "bob", "who types")
