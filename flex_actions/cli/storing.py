"""`store …`: check a chat on disk, back it up, restore it, rescue what a damaged one still holds."""

import click

from ..backends.findings import Finding
from ..backends.upkeep import backup_store, check_store, rescue_store, restore_store
from ..backends.upkeep.reports import counted
from ..notifications import readable_size
from ..payloads import camel
from . import exits
from .app import NearestGroup, command, main
from .options import Options, shared_options
from .progress import work_shown
from .render import jsonable, listed, put, put_json, say, shown
from .sessions import must_be_there


@main.group("store", cls=NearestGroup)
@shared_options()
def store() -> None:
    """Look after a chat on disk: check it, back it up, restore it, rescue it.

    For local: chats only, while bots and servers use them; only rescue, and restore in the place of a damaged chat,
    need it for themselves.
    """


@command(store, "check")
@click.option("--deep", is_flag=True, help="Also read every file, and compare it with its hash.")
async def check(options: Options, deep: bool) -> None:
    """Look through a chat for damage; changes nothing.

    One line a subject: ok, note (nothing to be done about, or a matter of taste) or problem. Ends with 3 if there is a
    problem.
    """
    must_be_there(options.chat)
    with work_shown() as on_progress:
        found = await check_store(options.chat, deep=deep, on_progress=on_progress)
    for finding in found:
        if options.as_json:
            put_json({**jsonable(finding), "details": {camel(key): value for key, value in finding.details.items()}})
        else:
            put(_line(finding))
    if any(finding.level == "problem" for finding in found):
        click.get_current_context().exit(exits.BACKEND)


@command(store, "backup")
@click.argument("dest", metavar="DEST")
@click.option("--keep-going", is_flag=True, help="Leave out files that are damaged or missing; ends with 1 then.")
async def backup(options: Options, dest: str, keep_going: bool) -> None:
    """Copy a chat to the new folder DEST, while others write to it.

    DEST is a chat itself, --chat local:DEST, whole or not there.
    """
    must_be_there(options.chat)
    with work_shown() as on_progress:
        done = await backup_store(options.chat, dest, keep_going=keep_going, on_progress=on_progress)
    if options.as_json:
        put_json(done)
    else:
        put(shown(done.path))
        say(f"Copied {_of(done.channels, done.messages, done.files)} ({readable_size(done.size_bytes)}).")
    if done.left_out:
        say(f"Left out, damaged or missing: {listed(done.left_out)}.")
        click.get_current_context().exit(exits.REFUSED)


@command(store, "restore")
@click.argument("backup", metavar="BACKUP")
@click.option("--replace", is_flag=True, help="Also if there is a chat already, which is lost then.")
async def restore(options: Options, backup: str, replace: bool) -> None:
    """Make the chat of --chat what it was in BACKUP, also while it is in use.

    Without --replace only where there is none; the error says what would be lost. What was deleted in the chat stays
    deleted. A damaged chat is moved aside, never deleted.
    """
    with work_shown() as on_progress:
        done = await restore_store(options.chat, backup, replace=replace, on_progress=on_progress)
    if options.as_json:
        put_json(done)
        return
    put(shown(done.path))
    say(f"Restored {_of(done.channels, done.messages, done.files)}.")
    if done.moved_to is not None:
        say(f"The damaged chat is kept in {shown(done.moved_to)}; delete it when you need it no more.")
    if not done.log_emptied:
        say("Somebody reads just now: what was replaced goes from the disk once they have ended.")


@command(store, "rescue")
@click.argument("dest", metavar="DEST")
async def rescue(options: Options, dest: str) -> None:
    """Copy all that can be read of a damaged chat to the new folder DEST.

    Nobody may use the chat meanwhile; nothing in it is changed. DEST can only be read: store restore makes a chat of
    it. Files whose message is lost lie in DEST/lost, under their sids.
    """
    must_be_there(options.chat)
    with work_shown() as on_progress:
        done = await rescue_store(options.chat, dest, on_progress=on_progress)
    if options.as_json:
        put_json(done)
        return
    put(shown(done.path))
    for table, count in done.saved.items():
        lost = done.lost.get(table, 0)
        # A position without a message can also come from a restore.
        most = "up to " if table == "message" else ""
        say(f"{table:<12} {count} saved{f', {most}{lost} lost' if lost else ''}")
    if done.unreadable_pages:
        say(f"Pages of the database that cannot be read: {done.unreadable_pages}.")
    if done.stand_in_channels:
        say(f"Without its name and type: {counted(done.stand_in_channels, 'channel')}.")
    if done.files_without_message:
        say(f"{counted(done.files_without_message, 'file')} without a message: {shown(done.path)}/lost.")
    if done.new_secrets:
        say("Secrets were lost: links given earlier are void, and keys of sends may be.")


def _line(finding: Finding) -> str:
    advice = f" {shown(finding.advice)}" if finding.advice else ""
    return f"{finding.level:<8} {finding.subject}: {shown(finding.fact)}{advice}"


def _of(channels: int, messages: int, files: int) -> str:
    return f"{counted(channels, 'channel')}, {counted(messages, 'message')}, {counted(files, 'file')}"
