"""`Config`: a session's settings, read from the seed's own shape.

    {"fileAttachment": {"enabled": True, "maxFileSize": 5242880, "acceptedExtensions": ["pdf"]}}

sets the side of the session that it is given to; `{"agent": {"fileAttachment": …}, "customer": {…}}` sets both.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from .errors import ActionError, brief
from .matching import snake
from .nearest import did_you_mean
from .policy import AttachmentPolicy, Side, _flag
from .values import plain_channel_type

_TOP: Final = {
    "fileAttachment": "file_attachment",
    "agent": "agent",
    "customer": "customer",
    "supervisorDownloads": "supervisor_downloads",
    "notifyCustomer": "notify_customer",
    "plugins": "plugins",
}
_SIDE: Final = {"fileAttachment": "file_attachment"}
_POLICY: Final = {f.metadata["seed"]: f.name for f in attrs.fields(AttachmentPolicy)}
_CHANNEL_POLICY: Final = {k: v for k, v in _POLICY.items() if k != "channelTypes"}


def _is_policy(_: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, AttachmentPolicy):
        raise ActionError(
            "invalid_config", f"config.{field.name} must be an AttachmentPolicy, not {type(value).__name__}."
        )


def _is_by_plugin(_: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, Mapping) or not all(
        isinstance(k, str) and isinstance(v, Mapping) for k, v in value.items()
    ):
        raise ActionError("invalid_config", "config.plugins must map plugin names to their settings.")


@attrs.frozen
class Config:
    """What a session may do.

    Attributes:
        agent, customer: the attachment policy of each side.
        supervisor_downloads: whether a supervisor may download files (the seed says no).
        notify_customer: whether a customer is shown a notification for a refused file.
        plugins: settings by plugin name.
    """

    agent: AttachmentPolicy = attrs.field(factory=AttachmentPolicy, validator=_is_policy)
    customer: AttachmentPolicy = attrs.field(factory=AttachmentPolicy, validator=_is_policy)
    supervisor_downloads: bool = attrs.field(default=False, validator=_flag, metadata={"seed": "supervisorDownloads"})
    notify_customer: bool = attrs.field(default=True, validator=_flag, metadata={"seed": "notifyCustomer"})
    plugins: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, validator=_is_by_plugin)

    def policy(self, side: Side) -> AttachmentPolicy:
        """The attachment policy of a side."""
        return self.agent if side == "agent" else self.customer


def read_config(value: Any, *, side: Side, profile: str = "strict") -> Config:
    """A `Config` from the seed's shape (camelCase or snake_case), a `Config`, or None for the defaults.

    Raises:
        ActionError: `invalid_config`: an unknown key (with the nearest right one), a wrong type, an impossible value.
    """
    if isinstance(value, Config):
        return value
    # Flex 1.x: a customer's attachments are off and its errors unseen unless its page says otherwise.
    flex1 = profile == "flex1"
    defaults = {"agent": AttachmentPolicy(), "customer": AttachmentPolicy(enabled=not flex1)}
    given = _keys({} if value is None else value, _TOP, "config")
    if "file_attachment" in given:
        if both := [s for s in ("agent", "customer") if s in given]:
            raise ActionError(
                "invalid_config",
                f"config has both fileAttachment and {both[0]}.",
                hint="Put fileAttachment inside 'agent' and 'customer', or leave those out.",
            )
        given[side] = {"fileAttachment": given.pop("file_attachment")}
    for each, policy in defaults.items():
        inner = _keys(given.get(each, {}), _SIDE, f"config.{each}")
        if "file_attachment" in inner:
            defaults[each] = _policy(inner["file_attachment"], policy, f"config.{each}.fileAttachment")
    with _at("config"):
        return Config(
            agent=defaults["agent"],
            customer=defaults["customer"],
            supervisor_downloads=given.get("supervisor_downloads", False),
            notify_customer=given.get("notify_customer", not flex1),
            plugins=given.get("plugins", {}),
        )


def _policy(value: Any, default: AttachmentPolicy, where: str) -> AttachmentPolicy:
    if isinstance(value, AttachmentPolicy):
        return value
    given = _keys(value, _POLICY, where)
    by_type = given.pop("channel_types", {})
    if not isinstance(by_type, Mapping):
        raise ActionError("invalid_config", f"{where}.channelTypes must map channel types to settings.")
    with _at(where):
        base = attrs.evolve(default, **given)
    types = {}
    for name, settings in by_type.items():
        inner = f"{where}.channelTypes.{name if plain_channel_type(name) else brief(name)}"
        if isinstance(settings, AttachmentPolicy):
            types[name] = settings
        else:
            with _at(inner):
                types[name] = attrs.evolve(base, **_keys(settings, _CHANNEL_POLICY, inner))
    with _at(where):
        return attrs.evolve(base, channel_types=types)


@contextlib.contextmanager
def _at(where: str) -> Iterator[None]:
    """A value's error says which key it means, from the top."""
    try:
        yield
    except ActionError as error:
        if error.message.startswith("config."):
            raise
        raise ActionError(error.code, f"{where}.{error.message}", hint=error.hint) from None


def _keys(value: Any, known: Mapping[str, str], where: str) -> dict[str, Any]:
    """The settings under their Python names."""
    if not isinstance(value, Mapping):
        raise ActionError("invalid_config", f"{where} must be a mapping, not {type(value).__name__}.")
    found: dict[str, Any] = {}
    for key, setting in value.items():
        name = snake(key) if isinstance(key, str) else ""
        if name not in known.values():
            raise ActionError("invalid_config", f"{where} has no key {brief(key)}.", hint=did_you_mean(key, known))
        if name in found:
            raise ActionError("invalid_config", f"{where} has {brief(key)} twice, in two spellings.")
        found[name] = setting
    return found
