"""The options that every command takes, before or after its name, and what they come to."""

import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import attrs
import click

from ..attachments import ROLES, Role
from ..logs import FORMATS, LEVELS, LogFormat
from ..policy import Side
from ..registry import PROFILES
from ..session import DEFAULT_URL
from .arguments import read_json

F = TypeVar("F", bound=Callable[..., Any])


@attrs.define
class Options:
    """What the options came to, for one run of the command line."""

    chat: str = DEFAULT_URL
    as_json: bool = False
    plugins: tuple[str, ...] = ()
    config: Any = None
    identity: str | None = None
    role: Role | None = None
    side: Side | None = None
    profile: str = "strict"
    log_format: LogFormat = "console"
    log_level: str = "info"


class Seconds(click.FloatRange):
    """A time limit: a number above 0, which NaN passes for in every comparison."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number of seconds."""
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no number of seconds.", param, ctx)
        return found


class _Names(click.types.StringParamType):
    name = "NAME|FILE.py"
    envvar_list_splitter = ","


def _read_toml(text: str) -> Any:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # Python reads no more than some thousand digits
        raise ValueError("It holds a number of thousands of digits.") from None


def _settings(ctx: click.Context, param: click.Parameter, text: str) -> Any:
    """What --config means: a file or JSON in place."""

    def fail(why: str) -> NoReturn:
        raise click.BadParameter(f"{text[:80]!a} {why}", ctx, param)

    try:
        if text.lstrip().startswith("{"):
            return read_json(text)
        path = Path(text)
        if path.suffix.lower() == ".toml":
            return _read_toml(path.read_text(encoding="utf-8"))
        if path.suffix.lower() == ".json":
            return read_json(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        fail(f"cannot be read: {error.strerror or error}.")
    except ValueError as error:
        fail(f"cannot be understood: {error}")
    fail("is no FILE.toml, FILE.json or JSON object.")


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        options = ctx.ensure_object(Options)
        if name == "config" and value is not None:
            value = _settings(ctx, param, value)
        if name == "plugins":
            value = tuple(v.strip() for v in value if v.strip())
        if value not in (None, (), False):
            setattr(options, name, value)

    return callback


# Name, flags, and what click should know. The environment counts at the outermost place only.
_SHARED: Final[tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...]] = (
    (
        "chat",
        ("--chat",),
        {"metavar": "URL", "envvar": "FLEX_ACTIONS_URL", "help": f"The chat.  [default: {DEFAULT_URL}]"},
    ),
    ("identity", ("--as",), {"metavar": "IDENTITY", "help": "Who you are in the chat."}),
    ("role", ("--role",), {"type": click.Choice(ROLES), "help": "What you are in the chat.  [default: agent]"}),
    (
        "side",
        ("--side",),
        {"type": click.Choice(("agent", "customer")), "help": "Whose attachment policy holds; by default the role's."},
    ),
    (
        "config",
        ("--config",),
        {"metavar": "FILE|JSON", "help": "Settings: FILE.toml, FILE.json or a JSON object."},
    ),
    (
        "plugins",
        ("--plugin",),
        {
            "type": _Names(),
            "multiple": True,
            "metavar": "NAME|FILE.py",
            "envvar": "FLEX_ACTIONS_PLUGINS",
            "help": "A plugin to load; may be repeated.",
        },
    ),
    ("profile", ("--profile",), {"type": click.Choice(tuple(PROFILES)), "help": "Whose Actions.  [default: strict]"}),
    (
        "log_format",
        ("--log-format",),
        {
            "type": click.Choice(FORMATS),
            "envvar": "FLEX_ACTIONS_LOG_FORMAT",
            "help": "How log lines on stderr look.  [default: console]",
        },
    ),
    (
        "log_level",
        ("--log-level",),
        {
            "type": click.Choice(LEVELS),
            "envvar": "FLEX_ACTIONS_LOG_LEVEL",
            "help": "The lowest level that is logged.  [default: info]",
        },
    ),
    ("as_json", ("--json",), {"is_flag": True, "help": "Results as one JSON object a line."}),
)
ENVIRONMENT: Final = frozenset(str(facts["envvar"]) for _, _, facts in _SHARED if "envvar" in facts)
# Shown with each command; the others are in `flex-actions --help`.
_SHOWN: Final = frozenset({"identity", "role", "as_json"})


def shared_options(*, outermost: bool = False) -> Callable[[F], F]:
    """Add the shared options to a command; the same option given again, further right, wins."""

    def decorate(function: F) -> F:
        for name, flags, facts in reversed(_SHARED):
            known = dict(facts, callback=_keep(name), expose_value=False)
            if outermost:
                known["show_envvar"] = "envvar" in known
            else:
                known.pop("envvar", None)
                known["hidden"] = name not in _SHOWN
            # A name of its own: a command's parameter must not be taken for a shared option.
            function = click.option(*flags, f"shared_{name}", **known)(function)
        return function

    return decorate


def must_be_someone(options: Options) -> str:
    """The identity, without which nothing can be done. Raises a usage error."""
    if not options.identity:
        raise click.UsageError("Say who you are: --as IDENTITY.", click.get_current_context())
    return options.identity
