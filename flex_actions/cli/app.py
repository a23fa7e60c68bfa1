"""The outermost command: what all commands share, and how each of them ends."""

import asyncio
import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import click

from ..errors import ActionError
from ..nearest import did_you_mean
from . import exits
from .log_setup import logged
from .options import Options, shared_options
from .render import error_facts, put_json, say, say_error, shown

_OTHERS: Final = (
    "Also --chat, --config, --plugin, --profile, --side, --log-format, --log-level: see flex-actions --help."
)
_CODES: Final = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in exits.MEANINGS.items())


class NearestGroup(click.Group):
    """A group that answers a misspelt command with the nearest right one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments begin with."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and not name.startswith("-"):
            known = self.list_commands(ctx)
            ctx.fail(f"There is no command {name[:80]!a}. {did_you_mean(name, known)}")
        return super().resolve_command(ctx, args)


class App(NearestGroup):
    """The group that turns every end of a command into an exit code and one sentence."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with contextlib.suppress(AttributeError, ValueError):
            # A terminal of another encoding must not stop us at a name that it cannot show.
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        try:
            return self._run(ctx)
        except KeyboardInterrupt:
            ctx.exit(exits.INTERRUPTED)
        except BrokenPipeError:
            _let_go_of_stdout()
            ctx.exit(exits.CUT_OFF)
        except OSError as error:
            _let_go_of_stdout()
            say(f"Error: {shown(error)}")
            ctx.exit(exits.REFUSED)

    def _run(self, ctx: click.Context) -> Any:
        try:
            with _plain_warnings():
                return super().invoke(ctx)
        except ActionError as error:
            if ctx.ensure_object(Options).as_json:
                put_json({"ok": False, "error": error_facts(error)})
            say_error(error)
            ctx.exit(exits.exit_code(error.code))


@contextlib.contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a plugin author's warnings as a sentence, without the line of our source they come from."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        say(f"Warning: {shown(message)}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = show
        yield


def _let_go_of_stdout() -> None:
    """Point stdout nowhere: the interpreter flushes it at its end, and would complain once more."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def command(group: click.Group, name: str) -> Callable[[Callable[..., Coroutine[Any, Any, Any]]], click.Command]:
    """Make an `async def (options, …)` a command of a group, with the shared options."""

    def decorate(function: Callable[..., Coroutine[Any, Any, Any]]) -> click.Command:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            options = click.get_current_context().ensure_object(Options)
            with logged(options):
                return asyncio.run(function(options, *args, **kwargs))

        return group.command(name, epilog=_OTHERS)(shared_options()(run))

    return decorate


def _version() -> str:
    # Not imported: no module inside imports the front door.
    return str(sys.modules[__name__.partition(".")[0]].__version__)


@click.group(
    "flex-actions",
    cls=App,
    epilog=f"\b\nExit codes:\n{_CODES}",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@shared_options(outermost=True)
@click.version_option(_version(), prog_name="flex-actions")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Chats with files, by the rules and hooks of Twilio Flex's Actions.

    The options below may stand before or after the command. A CHANNEL is a unique name or a sid (CH…). Results go to
    stdout, everything else to stderr; with --json a result is one JSON object a line, and an error too.
    """
    ctx.ensure_object(Options)
