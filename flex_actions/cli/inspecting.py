"""`actions`, `plugins`: what is registered and installed."""

from importlib.metadata import EntryPoint
from typing import Any

from ..hooks import Hook
from ..payloads import PAYLOADS, keys_of
from ..plugin_loader import installed_plugins
from ..session import Session, connect
from .app import command, main
from .options import Options
from .render import listed, put, put_json, shown
from .sessions import ADMIN


@command(main, "actions")
async def actions(options: Options) -> None:
    """List every action with its payload and hooks.

    Hooks stand in the order they run, those of --plugin too. A key with ? may be left out. The chat is not touched.
    """
    async with connect(
        # Only hooks are asked for: no store should appear for it.
        "memory:",
        identity=options.identity or ADMIN,
        role=options.role or "agent",
        side=options.side,
        config=options.config,
        plugins=options.plugins,
        profile=options.profile,
    ) as session:
        for name in session.actions.names:
            if options.as_json:
                put_json(_action_facts(session, name))
            else:
                _put_action(session, name)


def _action_facts(session: Session, name: str) -> dict[str, Any]:
    payload = PAYLOADS.get(name)
    return {
        "action": name,
        "payload": None if payload is None else keys_of(payload),
        "hooks": [_hook_facts(hook) for hook in session.actions.hooks_of(name)],
    }


def _hook_facts(hook: Hook) -> dict[str, Any]:
    facts: dict[str, Any] = {"phase": hook.phase, "plugin": hook.plugin, "name": hook.name}
    if hook.phase != "replace":
        facts.update(priority=hook.priority, timeoutS=hook.timeout_s)
    return facts


def _put_action(session: Session, name: str) -> None:
    payload = PAYLOADS.get(name)
    if payload is None:
        put(f"{shown(name)}  (its own payload)")
    else:
        put(f"{name}  {listed(key if required else key + '?' for key, required in keys_of(payload).items())}")
    for number, hook in enumerate(session.actions.hooks_of(name), 1):
        put(f"  {number}. {hook.phase}  {shown(hook)}")


@command(main, "plugins")
async def plugins(options: Options) -> None:
    """List the installed plugins.

    Name, distribution, version, and whether --plugin loads it. A name that two distributions use is a clash."""
    for name, points in sorted(installed_plugins().items()):
        state = "clash" if len(points) > 1 else "loaded" if name in options.plugins else "installed"
        for point in points:
            facts = {"name": name, **_dist_of(point), "setup": point.value, "state": state}
            if options.as_json:
                put_json(facts)
            else:
                put("  ".join(shown(facts[k]) for k in ("name", "distribution", "version", "state")))


def _dist_of(point: EntryPoint) -> dict[str, str]:
    return {
        "distribution": point.dist.name if point.dist else "?",
        "version": point.dist.version if point.dist else "?",
    }
