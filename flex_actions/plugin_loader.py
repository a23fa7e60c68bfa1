"""Plugins: one function `setup(plugin)`, once a session; what it registers leaves with it."""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from . import signals
from .actions import Actions
from .clock import Clock, Ids
from .errors import ActionError, RegistrationError, brief
from .hooks import function_name
from .logs import logger, where
from .matching import snake
from .nearest import did_you_mean
from .notifications import Notification

if TYPE_CHECKING:
    from .session import Session

GROUP: Final = "flex_actions.plugins"
Setup = Callable[["Plugin"], Any]
S = TypeVar("S")

_shared: dict[str, dict[Any, Any]] = {}


class Plugin:
    """What a plugin's `setup` is given.

    Attributes:
        name: the plugin's name; `run_before` and `run_after` of other plugins mean it.
        actions: the session's actions; what is registered through it leaves with the plugin.
        session: the session that it was set up for.
        shared: a dict that all sessions of this process share for this plugin.
        signals: the module of signals, for observing.
        clock: where to take the time from.
    """

    session: "Session"

    def __init__(
        self, name: str, *, session: "Session", actions: Actions, settings: Mapping[str, Any], clock: Clock, ids: Ids
    ) -> None:
        self.name = name
        self.session = session
        self.actions = actions.owned(name)
        self.shared: dict[Any, Any] = _shared.setdefault(name, {})
        self.signals = signals
        self.clock = clock
        self._ids = ids
        self._settings = settings

    @property
    def log(self) -> Any:
        """A structlog logger that bears the plugin's name and the invocation that the caller runs in."""
        return logger(plugin=self.name)

    def settings(self, cls: type[S]) -> S:
        """The plugin's settings (`config["plugins"][name]`) as an attrs class of its own.

        Raises:
            ActionError: `invalid_config`: an unknown key (with the nearest right one), a missing one, or what the
                class's own validators refuse.
        """
        known = {f.name: f for f in attrs.fields(cls)}  # type: ignore[arg-type]
        given = {}
        for key, value in self._settings.items():
            name = snake(key) if isinstance(key, str) else ""
            if name not in known:
                raise ActionError(
                    "invalid_config",
                    f"The plugin {self.name} has no setting {brief(key)}.",
                    hint=did_you_mean(key, known),
                )
            given[name] = value
        try:
            return cls(**given)
        except (TypeError, ValueError) as error:
            raise ActionError("invalid_config", f"The settings of the plugin {self.name}: {error}") from error

    def new_id(self, prefix: str = "XX") -> str:
        """A new identifier in Twilio's form, from the session's source of randomness."""
        return self._ids.sid(prefix)

    def notify(self, notification_id: str, **context: Any) -> None:
        """Show a notification in this session."""
        self.session.notify(Notification(notification_id, context))


@attrs.frozen
class _Loaded:
    plugin: Plugin
    stack: contextlib.AsyncExitStack


class Plugins:
    """The plugins of one session, in the order loaded."""

    def __init__(
        self,
        *,
        session: Any,
        actions: Actions,
        settings: Mapping[str, Mapping[str, Any]],
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._facts: dict[str, Any] = {"session": session, "actions": actions, "clock": clock, "ids": ids}
        self._settings = settings
        self._loaded: dict[str, _Loaded] = {}

    @property
    def names(self) -> list[str]:
        """The plugins that are loaded."""
        return list(self._loaded)

    def check_settings(self) -> None:
        """Refuse settings for a plugin that is not loaded: a misspelt name would leave it at its defaults.

        Raises:
            ActionError: `invalid_config`, with the nearest loaded name.
        """
        for name in self._settings:
            if name not in self._loaded:
                raise ActionError(
                    "invalid_config",
                    f"config.plugins has settings for {brief(name)}, which is not loaded.",
                    hint=did_you_mean(name, self._loaded),
                )

    async def load(
        self, source: "str | Setup", name: str | None = None, *, settings: Mapping[str, Any] | None = None
    ) -> str:
        """Load a plugin and return its name.

        Args:
            source: the name of an installed plugin (an entry point in `flex_actions.plugins`), a `FILE.py` (its
                `setup`), or the function itself.
            name: what to call it; by default the entry point's, file's or module's name.
            settings: its settings; by default those that the session's config has under its name.

        Raises:
            RegistrationError: not found (with the nearest), a name taken, or `setup` failed; then all that it had
                registered is gone again.
        """
        setup, found = find_setup(source)
        name = name or found
        if name in self._loaded:
            raise RegistrationError("invalid_registration", f"A plugin named {name!r} is loaded already.")
        plugin = Plugin(name, settings=settings or self._settings.get(name, {}), **self._facts)
        stack = contextlib.AsyncExitStack()
        try:
            await _enter(setup, plugin, stack)
        except BaseException as error:
            plugin.actions.retire()
            await stack.aclose()
            if isinstance(error, ActionError) or not isinstance(error, Exception):
                raise
            raise RegistrationError(
                "invalid_registration",
                f"The plugin {name} could not be set up: {type(error).__name__}: {error}",
                hint="Nothing of it was kept.",
            ) from error
        self._loaded[name] = _Loaded(plugin, stack)
        return name

    async def unload(self, name: str) -> None:
        """Remove all that a plugin registered, then end its context manager.

        Raises:
            RegistrationError: no such plugin is loaded.
        """
        loaded = self._loaded.pop(name, None)
        if loaded is None:
            raise RegistrationError(
                "invalid_registration", f"No plugin {name!r} is loaded.", hint=did_you_mean(name, self._loaded)
            )
        loaded.plugin.actions.retire()
        await loaded.stack.aclose()

    async def close(self) -> None:
        """Unload all, newest first; one that fails does not keep the others."""
        cut: BaseException | None = None
        for name in reversed(self.names):
            try:
                await self.unload(name)
            except Exception as error:
                logger().warning("plugin.unload_failed", plugin=name, error=type(error).__name__, where=where(error))
            except BaseException as error:
                cut = error  # a cancellation: the other plugins must still go
        if cut is not None:
            raise cut


async def _enter(setup: Setup, plugin: Plugin, stack: contextlib.AsyncExitStack) -> None:
    """Run a setup, which may be plain, async, or a context manager that is closed on unload."""
    outcome = setup(plugin)
    if inspect.isasyncgen(outcome):
        generator = outcome
        outcome = contextlib.asynccontextmanager(lambda: generator)()
    elif inspect.isgenerator(outcome):
        plain = outcome
        outcome = contextlib.contextmanager(lambda: plain)()
    if inspect.isawaitable(outcome):
        outcome = await outcome
    if hasattr(outcome, "__aenter__"):
        await stack.enter_async_context(outcome)
    elif hasattr(outcome, "__enter__"):
        stack.enter_context(outcome)


def find_setup(source: "str | Setup") -> tuple[Setup, str]:
    """The setup function that a source means, and the plugin's name.

    Raises:
        RegistrationError: there is none.
    """
    if not isinstance(source, str):
        if not callable(source):
            raise RegistrationError("invalid_registration", f"A plugin is a function or a name, not {brief(source)}.")
        name = function_name(source)
        return source, name.rpartition(".")[2] if name != "setup" else source.__module__.rpartition(".")[2]
    if source.endswith(".py"):
        return _from_file(Path(source))
    installed = installed_plugins()
    if source not in installed:
        raise RegistrationError(
            "invalid_registration", f"No plugin {brief(source)} is installed.", hint=did_you_mean(source, installed)
        )
    points = installed[source]
    if len(points) > 1:
        owners = ", ".join(sorted(p.dist.name if p.dist else "?" for p in points))
        raise RegistrationError(
            "invalid_registration",
            f"Several distributions bring a plugin named {source!r}: {owners}.",
            hint="Uninstall one, or give its setup function itself.",
        )
    try:
        setup: Setup = points[0].load()
    except Exception as error:
        raise RegistrationError(
            "invalid_registration", f"The plugin {source} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    return setup, source


def installed_plugins() -> dict[str, list[importlib.metadata.EntryPoint]]:
    """The installed plugins by name; more than one under a name is a clash. Nothing is imported."""
    found: dict[str, list[importlib.metadata.EntryPoint]] = {}
    for point in importlib.metadata.entry_points(group=GROUP):
        same = found.setdefault(point.name, [])
        # One distribution can be seen twice on a path (editable and built).
        if not any(p.value == point.value for p in same):
            same.append(point)
    return found


def _from_file(path: Path) -> tuple[Setup, str]:
    name = path.stem
    spec = importlib.util.spec_from_file_location(f"flex_actions_plugin_{name}", path)
    try:
        if spec is None or spec.loader is None:
            raise FileNotFoundError(path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        setup: Setup = module.setup
        if not callable(setup):
            raise TypeError("setup is no function")
    except Exception as error:
        if spec is not None:
            sys.modules.pop(spec.name, None)
        raise RegistrationError(
            "invalid_registration",
            f"The plugin file {str(path)!r} cannot be loaded: {type(error).__name__}: {error}",
            hint="It must define setup(plugin)." if isinstance(error, (AttributeError, TypeError)) else None,
        ) from error
    return setup, name
