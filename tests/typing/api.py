"""What a caller's type checker knows: `mypy --strict` accepts all of this, and objects wherever an ignore stands.

It is checked, not run. An ignore that is not needed is an error too, so each one is a proof.
"""

from pathlib import Path
from typing import assert_type

import attrs

from flex_actions import (
    ActionAborted,
    ActionError,
    AttachFilePayload,
    Channel,
    Event,
    File,
    Handle,
    InputState,
    Link,
    Message,
    Plugin,
    SendMediaMessagePayload,
    Sent,
    Session,
    connect,
    connect_sync,
    current_invocation,
    open_backend,
)
from flex_actions.testing import CountingIds, ManualClock


async def payloads_and_results(session: Session, message: Message) -> None:
    """Each action knows its payload and its result."""
    invoke = session.actions.invoke
    assert_type(await invoke("AttachFile", {"file": "a.pdf", "channelSid": "CH1"}), None)
    assert_type(await invoke("DetachFile", {"channelSid": "CH1"}), None)
    sent = await invoke("SendMediaMessage", {"file": b"%PDF-", "channelSid": "CH1"}, key="order-1", timeout_s=30)
    assert_type(sent, Sent)
    assert_type(sent.media_sid, str | None)
    assert_type(await invoke("SendMessage", {"body": "hello", "channelSid": "CH1"}), Sent)
    assert_type(await invoke("DownloadMedia", {"message": message}), Link)
    assert_type(await invoke("SetInputText", {"body": "", "channel_sid": "CH1"}), None)
    assert_type(await invoke("SendTyping", {"channelSid": "CH1"}), None)
    assert_type(await invoke("DeleteMessage", {"message": "IM1", "channelSid": "CH1"}), None)
    payload = SendMediaMessagePayload(channel_sid="CH1", file=File.from_path(Path("a.pdf")))
    assert_type(await invoke("SendMediaMessage", payload), Sent)


async def wrong_results(session: Session) -> None:
    """A result that is taken for something else is found."""
    sent = await session.actions.invoke("SendMessage", {"body": "hello", "channelSid": "CH1"})
    print(sent.url)  # type: ignore[attr-defined]
    wrong: Link = await session.actions.invoke("SendMessage", {"body": "", "channelSid": "CH1"})  # type: ignore[assignment]
    print(wrong)


async def around_a_session() -> None:
    """Opening, reading, following."""
    clock, ids = ManualClock(), CountingIds()
    async with open_backend("memory:", clock=clock, ids=ids) as backend, connect(backend, identity="ada") as ada:
        channel = await ada.create_channel("support", members=["carl"])
        assert_type(channel, Channel)
        assert_type(await ada.messages(channel), list[Message])
        assert_type(ada.input(channel).state, InputState)
        assert_type(ada.input(channel).file, File | None)
        async for event in ada.follow(channel):
            assert_type(event, Event)
            assert_type(event.message, Message | None)
    async with connect("memory:", identity="ada", role="boss"):  # type: ignore[arg-type]
        pass
    async with connect("memory:"):  # type: ignore[call-arg]
        pass


async def errors(session: Session) -> None:
    """An error's facts."""
    try:
        await session.actions.invoke("SendTyping", {"channelSid": "CH1"})
    except ActionAborted as aborted:
        assert_type(aborted.reason, object)
    except ActionError as error:
        assert_type(error.code, str)
        assert_type(error.retryable, bool)
        assert_type(error.hint, str | None)


@attrs.frozen
class Settings:
    """A plugin's settings."""

    limit: int = 3


def setup(plugin: Plugin) -> None:
    """A plugin's hooks keep their own types behind the decorators."""
    assert_type(plugin.settings(Settings).limit, int)

    @plugin.actions.before("AttachFile", priority=5, timeout_s=1.5)
    async def small(payload: AttachFilePayload) -> bool:
        payload.file = "a.pdf"  # type: ignore[assignment]
        return payload.file.size_bytes < 100

    handle = plugin.actions.after("AttachFile", small)
    assert_type(handle, Handle)
    handle.remove()
    if (invocation := current_invocation()) is not None:
        assert_type(invocation.parent is None, bool)


def script() -> None:
    """Without asyncio."""
    with connect_sync("memory:", identity="ada") as session:
        channel = session.create_channel()
        for event in session.follow(channel):
            assert_type(event, Event)
        assert_type(session.download("IM1", "folder"), Path | None)
