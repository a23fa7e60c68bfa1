"""From rows to the records of `ports`."""

import json
from typing import Any, Final

from ..ports import Channel, Event, Media, Message
from ..values import is_too_deep

CHANNEL: Final = "c.sid, c.unique_name, c.channel_type, c.state, c.created_by, c.created_at"
MESSAGE: Final = (
    "m.sid, m.idx, m.author, m.body, m.attributes, m.created_at,"
    " m.media_sid, m.media_name, m.media_type, m.media_size, m.media_sha256"
)
_MESSAGE_AT: Final = 5

Row = tuple[Any, ...]


def to_channel(row: Row) -> Channel:
    """A channel, from the columns `CHANNEL`."""
    return Channel(*row)


def to_message(row: Row) -> Message:
    """A message, from the columns `MESSAGE` and the sid of its channel."""
    sid, index, author, body, attributes, created_at, media_sid, name, kind, size, sha256, channel_sid = row
    return Message(
        sid=sid,
        channel_sid=channel_sid,
        index=index,
        author=author,
        body=body,
        media=Media(media_sid, name, kind, size, sha256) if media_sid is not None else None,
        attributes={} if attributes == "{}" else _attributes(attributes),
        created_at=created_at,
    )


def _attributes(text: str) -> dict[str, Any]:
    try:
        # Nested so deeply that whoever goes through it would fail: written before there was a limit.
        if is_too_deep(text):
            return {}
        found = json.loads(text)
    except (ValueError, TypeError, RecursionError, AttributeError):
        # One message that cannot be read whole must not close the channel to everybody.
        return {}
    return found if isinstance(found, dict) else {}


def to_event(row: Row, channel_sid: str) -> Event:
    """An event, from its sequence number, type, time, message sid, identity and the columns `MESSAGE`."""
    seq, kind, at, message_sid, identity = row[:_MESSAGE_AT]
    there = row[_MESSAGE_AT] is not None
    return Event(
        cursor=str(seq),
        type=kind,
        channel_sid=channel_sid,
        at=at,
        message=to_message((*row[_MESSAGE_AT:], channel_sid)) if there else None,
        message_sid=message_sid,
        identity=identity,
    )
