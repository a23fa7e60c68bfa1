"""`channel …`: create, list, show, close, and who is in it."""

import click

from ..session import valid_identity
from .app import NearestGroup, command, main
from .options import Options, shared_options
from .render import channel_line, jsonable, listed, put, put_json, say, shown, when
from .sessions import admin_session, find_channel


@main.group("channel", cls=NearestGroup)
@shared_options()
def channel() -> None:
    """Create channels, show them, say who is in them.

    This administers the chat: no membership is asked, no role counts, and --as is needed only to say who creates a
    channel (otherwise "flex-actions" does).
    """


@command(channel, "create")
@click.argument("name", required=False)
@click.option("--type", "channel_type", default="web", show_default=True, help="web, sms, whatsapp, …")
@click.option("--member", "members", multiple=True, metavar="IDENTITY", help="Who else is in it; may be repeated.")
async def create(options: Options, name: str | None, channel_type: str, members: tuple[str, ...]) -> None:
    """Create a channel, with a unique NAME or none; print its sid."""
    async with admin_session(options, may_create=True) as session:
        made = await session.create_channel(name, channel_type=channel_type, members=members)
        there = await session.members(made)
    if options.as_json:
        put_json({**jsonable(made), "members": jsonable(there)})
        return
    put(made.sid)
    say(f"Created {shown(name or 'a channel')} with {listed(m.identity for m in there)}.")


@command(channel, "list")
async def list_(options: Options) -> None:
    """List the channels, oldest first; with --as those of one member."""
    async with admin_session(options) as session:
        found = await session.backend.list_channels(member=options.identity)
    for each in found:
        if options.as_json:
            put_json(each)
        else:
            put(channel_line(each))


@command(channel, "show")
@click.argument("given", metavar="CHANNEL")
async def show(options: Options, given: str) -> None:
    """Show a channel and its members."""
    async with admin_session(options) as session:
        found = await find_channel(session, given, among=await session.backend.list_channels())
        there = await session.members(found)
    if options.as_json:
        put_json({**jsonable(found), "members": jsonable(there)})
        return
    put(channel_line(found))
    put(f"  created {when(found.created_at)} by {shown(found.created_by)}")
    for member in there:
        put(f"  member {shown(member.identity)} since {when(member.joined_at)}")


@command(channel, "add-member")
@click.argument("given", metavar="CHANNEL")
@click.argument("identities", metavar="IDENTITY…", nargs=-1, required=True)
async def add_member(options: Options, given: str, identities: tuple[str, ...]) -> None:
    """Add members to a channel; who is there already stays."""
    async with admin_session(options) as session:
        found = await find_channel(session, given, among=await session.backend.list_channels())
        added = [await session.backend.add_member(found.sid, valid_identity(identity)) for identity in identities]
    for member in added:
        if options.as_json:
            put_json(member)
        else:
            put(shown(member.identity))


@command(channel, "remove-member")
@click.argument("given", metavar="CHANNEL")
@click.argument("identity", metavar="IDENTITY")
async def remove_member(options: Options, given: str, identity: str) -> None:
    """Remove a member; links given to them open no longer."""
    async with admin_session(options) as session:
        found = await find_channel(session, given, among=await session.backend.list_channels())
        await session.backend.remove_member(found.sid, identity)
    if options.as_json:
        put_json({"channelSid": found.sid, "removed": identity})
    else:
        put(shown(identity))


@command(channel, "close")
@click.argument("given", metavar="CHANNEL")
async def close(options: Options, given: str) -> None:
    """Make a channel read-only, for ever."""
    async with admin_session(options) as session:
        found = await find_channel(session, given, among=await session.backend.list_channels())
        closed = await session.backend.close_channel(found.sid)
    if options.as_json:
        put_json(closed)
    else:
        put(channel_line(closed))
