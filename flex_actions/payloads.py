"""The payloads of the chat's actions: mutable, validated, from Flex's camelCase, snake_case or the class itself."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, TypedDict, TypeVar

import attrs

from .errors import ActionError, brief
from .files import File
from .matching import snake
from .nearest import did_you_mean
from .ports import Channel, Message
from .values import attributes_json

P = TypeVar("P", bound="Payload")
T = TypeVar("T")

# Flex's other words for the channel; objects are taken for their sid.
_CHANNEL_WORDS: Final = ("channel", "conversation", "conversation_sid", "conversationSid")


class FileKeys(TypedDict, total=False):
    """`AttachFile`, `DetachFile`, `SendMediaMessage` as a mapping. `file`: a `File`, a path or bytes."""

    file: File | str | os.PathLike[str] | bytes
    channelSid: str
    channel_sid: str
    channel: Channel | str
    conversationSid: str
    messageAttributes: Mapping[str, Any]
    message_attributes: Mapping[str, Any]


class MessageKeys(TypedDict, total=False):
    """`DownloadMedia`, `DeleteMessage` as a mapping. `message`: a `Message` or its sid."""

    message: Message | str
    channelSid: str
    channel_sid: str
    channel: Channel | str
    conversationSid: str


class TextKeys(TypedDict, total=False):
    """`SendMessage`, `SetInputText`, `SendTyping` as a mapping."""

    body: str
    channelSid: str
    channel_sid: str
    channel: Channel | str
    conversationSid: str
    messageAttributes: Mapping[str, Any]
    message_attributes: Mapping[str, Any]


def _invalid(message: str, hint: str | None = None) -> ActionError:
    return ActionError("invalid_payload", message, hint=hint)


def _sid(value: Any) -> Any:
    return value.sid if isinstance(value, Channel) else value


def _is_sid(_: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise _invalid(f"channelSid must be a channel's sid, not {brief(value)}.")
    _encodable("channelSid", value)


def _optional_sid(owner: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None:
        _is_sid(owner, field, value)


def _is_message(_: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, Message) and (not isinstance(value, str) or not value):
        raise _invalid(f"message must be a message or its sid, not {brief(value)}.")
    if isinstance(value, str):
        _encodable("message", value)


def _is_text(_: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, str):
        raise _invalid(f"{field.name} must be text, not {type(value).__name__}.")
    _encodable(field.name, value)


def _optional_text(owner: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None:
        _is_text(owner, field, value)


def _encodable(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _invalid(f"{name} holds half a surrogate pair, which is no text.") from None


def json_attributes(value: Any) -> dict[str, Any]:
    """A message's attributes: a copy that is JSON through and through. Raises `invalid_payload`."""
    if value is None or value == {}:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid(f"messageAttributes must be a mapping, not {type(value).__name__}.")
    found: dict[str, Any] = json.loads(attributes_json(value))
    return found


def _file(value: Any) -> Any:
    return File.of(value)


def _file_or_none(value: Any) -> Any:
    return None if value is None else File.of(value)


@attrs.define
class Payload:
    """What the payloads have in common: setting a field converts and checks it."""

    action: ClassVar[str]


@attrs.define
class AttachFilePayload(Payload):
    """`AttachFile`: `file` goes into the message input of a channel."""

    action: ClassVar[str] = "AttachFile"
    file: File = attrs.field(converter=_file)
    channel_sid: str = attrs.field(converter=_sid, validator=_is_sid)


@attrs.define
class DetachFilePayload(Payload):
    """`DetachFile`: the attached file (or this one, if it is attached) leaves the message input."""

    action: ClassVar[str] = "DetachFile"
    channel_sid: str = attrs.field(converter=_sid, validator=_is_sid)
    file: File | None = attrs.field(default=None, converter=_file_or_none)


@attrs.define
class SendMediaMessagePayload(Payload):
    """`SendMediaMessage`: send `file`, or the attached one.

    When the attached one is meant, `file` is filled in before any hook runs, so that hooks always see what is sent
    (`entered` keeps what the input held then).
    """

    action: ClassVar[str] = "SendMediaMessage"
    channel_sid: str = attrs.field(converter=_sid, validator=_is_sid)
    file: File | None = attrs.field(default=None, converter=_file_or_none)
    message_attributes: dict[str, Any] = attrs.field(default=None, converter=json_attributes)
    entered: File | None = attrs.field(default=None, init=False, repr=False, eq=False)


@attrs.define
class DownloadMediaPayload(Payload):
    """`DownloadMedia`: a temporary link to the file of a message. `message`: the object or its sid."""

    action: ClassVar[str] = "DownloadMedia"
    message: Message | str = attrs.field(validator=_is_message)
    channel_sid: str | None = attrs.field(default=None, converter=_sid, validator=_optional_sid)


@attrs.define
class DeleteMessagePayload(Payload):
    """`DeleteMessage`: the message, its content and its file go, everywhere."""

    action: ClassVar[str] = "DeleteMessage"
    message: Message | str = attrs.field(validator=_is_message)
    channel_sid: str | None = attrs.field(default=None, converter=_sid, validator=_optional_sid)


@attrs.define
class SendMessagePayload(Payload):
    """`SendMessage`: send `body`, or the text in the message input (filled in before any hook runs)."""

    action: ClassVar[str] = "SendMessage"
    channel_sid: str = attrs.field(converter=_sid, validator=_is_sid)
    body: str | None = attrs.field(default=None, validator=_optional_text)
    message_attributes: dict[str, Any] = attrs.field(default=None, converter=json_attributes)
    entered: str | None = attrs.field(default=None, init=False, repr=False, eq=False)


@attrs.define
class SetInputTextPayload(Payload):
    """`SetInputText`: what is entered in the message input; empty clears it."""

    action: ClassVar[str] = "SetInputText"
    channel_sid: str = attrs.field(converter=_sid, validator=_is_sid)
    body: str = attrs.field(validator=_is_text)


@attrs.define
class SendTypingPayload(Payload):
    """`SendTyping`: tell the others that this member types."""

    action: ClassVar[str] = "SendTyping"
    channel_sid: str = attrs.field(converter=_sid, validator=_is_sid)


PAYLOADS: Final[dict[str, type[Payload]]] = {
    cls.action: cls
    for cls in (
        AttachFilePayload,
        DetachFilePayload,
        SendMediaMessagePayload,
        DownloadMediaPayload,
        SendMessagePayload,
        SetInputTextPayload,
        SendTypingPayload,
        DeleteMessagePayload,
    )
}


def camel(name: str) -> str:
    """`channel_sid` as `channelSid`."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def keys_of(cls: type[Payload]) -> dict[str, bool]:
    """The keys of a payload as Flex writes them, and whether each is required."""
    return {camel(f.name): f.default is attrs.NOTHING for f in attrs.fields(cls) if f.init}


@attrs.frozen
class _Shape:
    """What `build` needs to know of a class, worked out once: each spelling of a key, and the fields it needs."""

    spellings: Mapping[str, str]
    required: tuple[str, ...]

    @classmethod
    def of(cls, payload: type[Payload]) -> "_Shape":
        names = [f.name for f in attrs.fields(payload) if f.init]
        spellings = {spelling: name for name in names for spelling in (name, camel(name))}
        if "channel_sid" in names:
            spellings.update(dict.fromkeys(_CHANNEL_WORDS, "channel_sid"))
        return cls(spellings, tuple(snake(k) for k, required in keys_of(payload).items() if required))


_shapes: Final[dict[type[Payload], _Shape]] = {}


def payload_update(cls: type[T]) -> Callable[[Any], T]:
    """What `register(…, payload_update=…)` wants, for an attrs class of one's own as the payload.

    Takes a mapping in Flex's camelCase or snake_case, or an object of the class; an unknown key is refused with the
    nearest right one (`invalid_payload`).
    """
    names = {spelling: f.name for f in attrs.fields(cls) if f.init for spelling in (f.name, camel(f.name))}  # type: ignore[arg-type]

    def update(given: Any) -> T:
        if isinstance(given, cls):
            return given
        if not isinstance(given, Mapping):
            raise _invalid(f"The payload must be a mapping or {cls.__name__}, not {type(given).__name__}.")
        found = {}
        for key, value in given.items():
            if not isinstance(key, str) or key not in names:
                raise _invalid(f"{cls.__name__} has no key {brief(key)}.", did_you_mean(key, map(camel, names)))
            found[names[key]] = value
        try:
            return cls(**found)
        except (TypeError, ValueError) as error:
            raise _invalid(f"{cls.__name__}: {error}") from error

    return update


def build(cls: type[P], given: Any) -> P:
    """A payload object from what a caller gave; a payload object is used as it is.

    Raises:
        ActionError: `invalid_payload`: an unknown key (with the nearest right one), a missing one, a wrong type.
    """
    if isinstance(given, cls):
        return given
    if given is None:
        given = {}
    if type(given) is not dict and not isinstance(given, Mapping):
        raise _for(cls, f"The payload of {cls.action} must be a mapping or {cls.__name__}, not {type(given).__name__}.")
    shape = _shapes.get(cls)
    if shape is None:
        shape = _shapes[cls] = _Shape.of(cls)
    found: dict[str, Any] = {}
    for key, raw in given.items():
        name = shape.spellings.get(key) if isinstance(key, str) else None
        if name is None:
            raise _for(cls, f"{cls.action} has no key {brief(key)}.", did_you_mean(key, keys_of(cls)))
        value = _sid(raw) if name == "channel_sid" else raw
        if name in found and found[name] != value:
            raise _for(cls, f"{cls.action} was given {camel(name)!r} twice, with different values.")
        found[name] = value
    for name in shape.required:
        if name not in found:
            missing = [camel(n) for n in shape.required if n not in found]
            raise _for(cls, f"{cls.action} needs {' and '.join(missing)}.", f"Its keys: {', '.join(keys_of(cls))}.")
    try:
        return cls(**found)
    except ActionError as error:
        error.action = cls.action
        raise


def _for(cls: type[Payload], message: str, hint: str | None = None) -> ActionError:
    return ActionError("invalid_payload", message, action=cls.action, hint=hint)
