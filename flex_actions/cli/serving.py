"""`serve`: the temporary links of a chat over HTTP."""

import click

from ..backends import open_backend
from ..errors import ActionError
from ..ports import Addressable
from .app import command, main
from .options import Options
from .render import put, put_json, say, shown
from .sessions import missing, must_be_there


@command(main, "serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes any free one.")
@click.option("--public-url", metavar="URL", help="What links begin with, https://…; saved in the chat.")
@click.option("--insecure", is_flag=True, help="Take a public URL of http://, which others on the way can read.")
@click.option("--no-register", is_flag=True, help="Without a public URL: have no links lead here.")
@click.option("--forget-public-url", "forget", is_flag=True, help="Take the saved URL back, and end.")
@click.option("--concurrency", type=click.IntRange(1), help="Requests answered at once.  [default: 64]")
@click.option("--no-access-log", is_flag=True, help="Log no requests.")
async def serve(  # noqa: PLR0917 - click gives them all by name
    options: Options,
    host: str,
    port: int,
    public_url: str | None,
    insecure: bool,
    no_register: bool,
    forget: bool,
    concurrency: int | None,
    no_access_log: bool,
) -> None:
    """Serve the chat's temporary links over HTTP, until Ctrl-C or SIGTERM.

    DownloadMedia, in whatever process, then gives links that any browser opens. By default they lead to this machine
    only, while this runs. For others, put a proxy that speaks TLS in front and say with --public-url (or in
    FLEX_ACTIONS_PUBLIC_URL) what links begin with there. It passes the path on from /media/ and must not log it: it is
    the link.
    """
    if forget:
        if public_url is not None:
            raise click.UsageError(
                "--public-url and --forget-public-url exclude each other.", click.get_current_context()
            )
        must_be_there(options.chat)
        await _forget(options)
        return
    try:
        from ..server import Limits, running
    except ModuleNotFoundError as error:
        raise ActionError(
            "invalid_config",
            f"Serving links needs the package {error.name}.",
            hint="pip install 'flex-actions[server]'",
        ) from error

    def ready(serving: running.Serving) -> None:
        if options.as_json:
            put_json({"address": serving.address, "linksBegin": serving.links_begin, "isPublic": serving.is_public})
            return
        put(serving.address)
        if serving.links_begin is None:
            say("Links do not lead here: the chat gives flex-media: links still.")
        elif serving.is_public:
            say(f"Links begin with {serving.links_begin}/media/, also after this ends (--forget-public-url).")
        else:
            say(f"Links begin with {serving.links_begin}/media/ while this runs, for this machine only.")

    if (folder := missing(options.chat)) is not None:
        # Not refused: a server may well be the first who comes. But a mistyped --chat must show.
        say(f"There was no chat in {folder!a} yet: it is made now.")
    async with open_backend(options.chat) as backend:
        await running.serve(
            backend,
            host=host,
            port=port,
            public_url=public_url,
            insecure=insecure,
            register=not no_register,
            limits=Limits() if concurrency is None else Limits(concurrency=concurrency),
            access_log=not no_access_log,
            ready=ready,
        )


async def _forget(options: Options) -> None:
    async with open_backend(options.chat) as backend:
        if not isinstance(backend, Addressable):
            raise ActionError("invalid_config", f"A {backend.capabilities.scheme}: chat has no public URL.")
        before = await backend.save_public_url(None)
    if options.as_json:
        put_json({"forgotten": before})
    elif before is None:
        say("There was no public URL.")
    else:
        put(shown(before))
