"""Output: JSON for machines, lines for people in which nothing that others wrote can act on the terminal."""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import attrs
import click

from ..errors import ActionError
from ..notifications import readable_size
from ..outbox import Sent
from ..payloads import camel
from ..ports import Channel, Event, Link, Message
from ..terminal import shown

__all__ = [
    "channel_line",
    "error_facts",
    "event_line",
    "jsonable",
    "listed",
    "message_line",
    "put",
    "put_json",
    "result_line",
    "say",
    "say_error",
    "shown",
    "when",
]

_MAX_DEPTH: Final = 100


def put(text: str) -> None:
    """A line of results, for people."""
    click.echo(text)


def put_json(value: Any) -> None:
    """A line of results, for machines."""
    # ASCII: no terminal acts on it, every encoding can carry it.
    click.echo(json.dumps(jsonable(value), allow_nan=False))


def say(text: str) -> None:
    """A line that is no result, on stderr."""
    click.echo(text, err=True)


def say_error(error: ActionError, where: str = "") -> None:
    """An error in one line, on stderr."""
    hint = error.hint
    if error.code == "not_a_member":
        hint = "Add them: flex-actions channel add-member CHANNEL IDENTITY"
    say(f"Error{where} ({error.code}): {shown(error.message)}{' ' + shown(hint) if hint else ''}")


def error_facts(error: ActionError) -> dict[str, Any]:
    """What machines are told of an error."""
    facts = error.as_dict()
    if "details" in facts:
        facts["details"] = {camel(str(k)): v for k, v in facts["details"].items()}
    return facts


def jsonable(value: Any, depth: int = 0) -> Any:
    """A value as JSON can carry it; records with camelCase keys, what JSON does not know as text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth == _MAX_DEPTH:  # it may contain itself
        return "…"
    if isinstance(value, Enum):
        return jsonable(value.value, depth + 1)
    if isinstance(value, Mapping):
        return {str(k): jsonable(v, depth + 1) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(v, depth + 1) for v in value]
    if attrs.has(type(value)):
        fields = [f.name for f in attrs.fields(type(value)) if not f.name.startswith("_")]
        return {camel(name): jsonable(getattr(value, name), depth + 1) for name in fields}
    return str(value)


def when(seconds: float) -> str:
    """Seconds since the epoch as `2026-05-01T12:00:00Z`."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def channel_line(channel: Channel) -> str:
    """A channel in one line."""
    return f"{channel.sid}  {shown(channel.unique_name or '-')}  {shown(channel.channel_type)}  {channel.state}"


def message_line(message: Message) -> str:
    """A message in one line."""
    return (
        f"{message.index}  {message.sid}  {when(message.created_at)}  {shown(message.author)}: {_content_of(message)}"
    )


def _content_of(message: Message) -> str:
    if message.media_hidden:
        return "[a file; attachments are disabled for this side]"
    if message.media is not None:
        media = message.media
        return f"[{shown(media.name)}, {shown(media.content_type)}, {readable_size(media.size_bytes)}]"
    return shown(message.body or "")


def event_line(event: Event) -> str:
    """An event in one line."""
    parts = [when(event.at), event.type]
    if event.message is not None:
        message = event.message
        parts.append(f"{message.index}  {message.sid}  {shown(message.author)}: {_content_of(message)}")
        return "  ".join(parts)
    if event.message_sid is not None:
        parts.append(event.message_sid)
        if event.type == "message_added":
            parts.append("[deleted since]")
    if event.identity is not None:
        parts.append(shown(event.identity))
    return "  ".join(parts)


def result_line(action: str, result: Any) -> str:
    """What an action returned, in one line that begins with what a script would want of it."""
    if isinstance(result, Sent):
        again = ", sent earlier under this key" if result.repeated else ""
        return f"{result.message_sid}  message {result.index}{again}"
    if isinstance(result, Link):
        about = f"{shown(result.name)}, {shown(result.content_type)}, {readable_size(result.size_bytes)}"
        return f"{result.url}  {about}, until {when(result.expires_at)}"
    if result is None:
        return f"{action}: done"
    return shown(result) if isinstance(result, str) else json.dumps(jsonable(result), allow_nan=False)


def listed(items: Iterable[object]) -> str:
    """Items with commas between them, safe to show."""
    return ", ".join(shown(item) for item in items)
