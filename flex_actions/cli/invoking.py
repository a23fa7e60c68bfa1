"""`invoke`: one action."""

from typing import Final

import click

from .app import command, main
from .arguments import read_payload
from .options import Options, Seconds, must_be_someone
from .progress import progress_shown
from .render import put, put_json, result_line, say
from .sessions import session_of, with_channel_sid

_INPUT_ONLY: Final = frozenset({"AttachFile", "SetInputText"})


@command(main, "invoke")
@click.argument("action")
@click.argument("parts", metavar="[KEY=TEXT | KEY:=JSON | KEY@FILE]…", nargs=-1)
@click.option("--key", help="An idempotency key: a send repeated under it happens once.")
@click.option("--timeout", "timeout_s", type=Seconds(), help="Seconds for all of it.")
async def invoke(
    options: Options, action: str, parts: tuple[str, ...], key: str | None, timeout_s: float | None
) -> None:
    """Invoke an action and print what it returns.

    \b
    flex-actions invoke SendMediaMessage file@invoice.pdf channelSid=support --as ada
    flex-actions invoke SendMessage body="Here it is." channelSid=support --as ada

    The message input lives as long as its session: a file attached by `invoke AttachFile` is gone with this command.
    Use SendMediaMessage, or `run` for several steps.
    """
    identity = must_be_someone(options)
    payload = read_payload(parts)
    async with session_of(options, identity) as session:
        with progress_shown(session):
            resolved = await with_channel_sid(session, action, payload)
            result = await session.actions.invoke(action, resolved, key=key, timeout_s=timeout_s)
    if options.as_json:
        put_json({"ok": True, "result": result})
        return
    put(result_line(action, result))
    if action in _INPUT_ONLY:
        say("The message input ends with this command; `flex-actions run` does several steps in one session.")
