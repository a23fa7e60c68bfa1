"""`store rotate-keys`: another key for links."""

import click

from ..backends import open_backend
from ..errors import ActionError
from ..ports import RotatesKeys
from .app import command
from .options import Options
from .render import put_json, say, when
from .sessions import must_be_there
from .storing import store


@command(store, "rotate-keys")
@click.option("--revoke", is_flag=True, help="Refuse all links given so far, at once.")
async def rotate_keys(options: Options, revoke: bool) -> None:
    """Sign links with a new key from now on, in every process that uses the chat.

    Links given before open until they expire, which none does later than in 7 days; then the old key is removed. If
    links or keys may have come into wrong hands, --revoke refuses all links given so far, also by a running serve.
    """
    must_be_there(options.chat)
    async with open_backend(options.chat) as backend:
        if not isinstance(backend, RotatesKeys):
            raise ActionError("invalid_config", f"The keys of a {backend.capabilities.scheme}: chat are not ours.")
        until = await backend.rotate_keys(revoke=revoke)
    if options.as_json:
        put_json({"revoked": revoke, "olderLinksOpenUntil": until})
    elif until is None:
        say("Links have a new key. All links given so far are refused.")
    else:
        say(f"Links have a new key. Those given so far open until they expire, by {when(until)} at the latest.")
