"""`doctor`: how things are, in seconds, and what to do."""

import asyncio
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

import click

from ..backends import make_backend
from ..backends.findings import Finding, Level
from ..config import read_config
from ..nearest import did_you_mean
from ..plugin_loader import find_setup, installed_plugins
from ..terminal import takes_colours
from . import exits
from .app import command, main
from .options import ENVIRONMENT, Options
from .render import listed, put, put_json, say, shown

_NEEDED: Final = ("attrs", "blinker", "click", "structlog", "twilio")
_EXTRAS: Final = {
    "starlette": ("server", "serve"),
    "uvicorn": ("server", "serve"),
    "httptools": ("server", "serve"),
    "rich": ("progress", "bars of progress"),
}
_COLOURS: Final[dict[Level, str]] = {"ok": "green", "note": "yellow", "problem": "red"}


@command(main, "doctor")
async def doctor(options: Options) -> None:
    """Look at versions, configuration and the chat's store, and say what to do.

    It takes seconds: only a part of the messages and files is looked at, nothing is changed, and others may use the
    chat meanwhile. Each finding is ok, a note, or a problem; the exit code is 3 if there is a problem, otherwise 0.
    """
    found = await asyncio.to_thread(lambda: list(_examine(options)))
    if options.as_json:
        for finding in found:
            put_json(finding)
    else:
        _put(found)
    if any(finding.level == "problem" for finding in found):
        click.get_current_context().exit(exits.BACKEND)


def _put(found: list[Finding]) -> None:
    width = max(len(finding.subject) for finding in found)
    colours = takes_colours(sys.stdout)
    for finding in found:
        mark = finding.level.ljust(7)
        if colours:
            mark = click.style(mark, fg=_COLOURS[finding.level])
        put(f"{mark}  {finding.subject.ljust(width)}  {shown(finding.fact)}")
    advised = [finding for finding in found if finding.advice]
    if advised:
        put("")
    for finding in advised:
        put(f"{finding.subject}: {shown(finding.advice)}")
    problems, notes = (sum(finding.level == level for finding in found) for level in ("problem", "note"))
    say(f"{problems or 'No'} problem{'s' * (problems != 1)}, {notes or 'no'} note{'s' * (notes != 1)}.")


def _examine(options: Options) -> Iterator[Finding]:
    from ..backends.condition import examined  # not at the top: it loads SQLite

    yield from examined("versions", _versions)
    yield from examined("environment", _environment)
    yield from examined("config", lambda: _config(options))
    yield from examined("plugins", _installed)
    for source in options.plugins:
        yield from examined("plugin", lambda: _plugin(source))  # noqa: B023
    yield from examined("chat", lambda: _chat(options.chat))


def _versions() -> Iterator[Finding]:
    import sqlite3

    versions: dict[str, str] = {
        "flex_actions": str(sys.modules[__name__.partition(".")[0]].__version__),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
    }
    missing = []
    for package in (*_NEEDED, *_EXTRAS):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    yield Finding("ok", "versions", f"{', '.join(f'{n} {v}' for n, v in versions.items())}.", None, versions)
    for package in missing:
        extra, what = _EXTRAS.get(package, ("", ""))
        if extra:
            fact = f"{package} is not installed, which {what} needs."
            yield Finding("note", "versions", fact, f"If you want that: pip install 'flex-actions[{extra}]'")
        else:
            fact = f"{package} is not installed, which flex_actions needs."
            yield Finding("problem", "versions", fact, "pip install --upgrade flex-actions")


def _environment() -> Iterator[Finding]:
    from ..backends.addresses import ENVIRONMENT as PUBLIC_URL
    from ..backends.addresses import configured_public_url

    known = {*ENVIRONMENT, PUBLIC_URL}
    given = sorted(name for name in os.environ if name.upper().startswith(("FLEX_ACTIONS", "FLEX_ACTION_")))
    for name in given:
        if name not in known:
            fact = f"{shown(name)[:80]} is set, but means nothing."
            yield Finding("note", "environment", fact, did_you_mean(name, known))
    configured_public_url(None)
    used = [name for name in given if name in known]
    yield Finding("ok", "environment", f"Counting: {', '.join(used) or 'nothing'}.", None, {"set": used})


def _config(options: Options) -> Iterator[Finding]:
    for side in (options.side,) if options.side else ("agent", "customer"):
        found = read_config(options.config, side=side, profile=options.profile)
    loose = sorted(set(found.plugins) - {_name_of(source) for source in options.plugins})
    if loose:
        fact = f"It has settings for plugins that no --plugin names: {listed(loose)}."
        advice = "Load them, or take the settings out: a session refuses them."
        yield Finding("problem", "config", fact, advice)
    else:
        yield Finding("ok", "config", "None given." if options.config is None else "It is understood.")


def _name_of(source: str) -> str:
    return os.path.basename(source).removesuffix(".py")


def _installed() -> Iterator[Finding]:
    found = installed_plugins()
    for name, points in found.items():
        if len(points) > 1:
            owners = listed(sorted(point.dist.name if point.dist else "?" for point in points))
            fact = f"Several distributions bring a plugin {shown(name)}: {owners}."
            yield Finding("note", "plugins", fact, "Uninstall all but one.")
    yield Finding("ok", "plugins", f"Installed: {listed(sorted(found)) or 'none'}.", None, {"installed": sorted(found)})


def _plugin(source: str) -> Iterator[Finding]:
    _, name = find_setup(source)
    yield Finding("ok", "plugin", f"{name} can be loaded.", None, {"name": name})


def _chat(url: str) -> Iterator[Finding]:
    backend: Any = make_backend(url)  # not opened; refuses what it cannot be
    scheme, _, path = url.partition(":")
    if scheme == "local":
        from ..backends.condition import examine
        from ..backends.local import folder_of

        yield from examine(folder_of(path), now=time.time())
    elif scheme == "memory":
        fact = "A memory: chat lives in its process alone: there is nothing to look at."
        yield Finding("ok", "chat", fact, "For one that lasts: --chat local:FOLDER")
    else:
        fact = f"{shown(scheme)}: is kept by {type(backend).__module__.partition('.')[0]}, and was not looked at."
        yield Finding("ok", "chat", fact, "Only local: chats can be examined from here.")
