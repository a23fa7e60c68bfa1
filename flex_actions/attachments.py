"""The chat's eight actions, over the rules and a backend."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal, TypeVar

import attrs

from . import signals
from .actions import Actions
from .config import Config
from .errors import ActionError, AttachmentRefused, brief
from .files import File
from .invocation import current_invocation
from .message_input import EMPTY, EventName, InputState, step
from .notifications import Notification, notification_for
from .outbox import Outbox, Sent
from .payloads import (
    AttachFilePayload,
    DeleteMessagePayload,
    DetachFilePayload,
    DownloadMediaPayload,
    Payload,
    SendMediaMessagePayload,
    SendMessagePayload,
    SendTypingPayload,
    SetInputTextPayload,
    build,
    json_attributes,
)
from .policy import AttachmentPolicy, Side, Verdict
from .ports import (
    Backend,
    Channel,
    Link,
    Message,
)
from .turns import Slot, Ticket, current_turn

Role = Literal["agent", "customer", "supervisor", "bot"]
ROLES: Final[tuple[Role, ...]] = ("agent", "customer", "supervisor", "bot")
P = TypeVar("P", bound=Payload)
_SENDABLE_CHANNELS: Final = 1024


class InputView:
    """The message input of one channel, as it is at each look."""

    def __init__(self, slots: dict[str, Slot], sid: str, policy: AttachmentPolicy) -> None:
        self._slots = slots
        self._sid = sid
        self._policy = policy

    @property
    def state(self) -> InputState:
        """The whole state."""
        slot = self._slots.get(self._sid)
        return slot.state if slot is not None else EMPTY

    @property
    def text(self) -> str | None:
        """The text that is entered, or None."""
        return self.state.text if self.state.kind == "TEXT" else None

    @property
    def file(self) -> File | None:
        """The file that is attached, or None."""
        return self.state.file if self.state.kind == "FILE" else None

    @property
    def can_attach(self) -> bool:
        """Whether a person's attach control is enabled: nothing entered, nothing attached, and allowed at all.

        The action itself is not bound by it: `AttachFile` replaces a text.
        """
        return self.state.kind == "EMPTY" and self._policy.enabled and not self._policy.read_only

    @property
    def can_enter_text(self) -> bool:
        """Whether a person can type: no file is attached and nothing is being sent."""
        return self.state.kind in ("EMPTY", "TEXT")


class Chat:
    """One session's side of a chat: its inputs, its policy and the bodies of its actions."""

    def __init__(
        self,
        backend: Backend,
        *,
        identity: str,
        role: Role,
        side: Side,
        config: Config,
        observer: Any,
    ) -> None:
        self.backend = backend
        self.identity = identity
        self.role = role
        self.side = side
        self.config = config
        self.policy = config.policy(side)
        self.closed = False
        self._observer = observer
        self._slots: dict[str, Slot] = {}
        self._outbox = Outbox(backend, identity, observer)
        self._sendable: dict[str, Channel] = {}  # channels by sid, as they were when a send last asked

    def register(self, actions: Actions) -> None:
        """Register the eight actions."""
        builtin: tuple[tuple[type[Payload], Any, Any, bool], ...] = (
            (AttachFilePayload, self._attach_file, self._check_file, False),
            (DetachFilePayload, self._detach_file, None, False),
            (SendMediaMessagePayload, self._send_media_message, self._check_file, True),
            (DownloadMediaPayload, self._download_media, self._check_download, False),
            (SendMessagePayload, self._send_message, None, True),
            (SetInputTextPayload, self._set_input_text, None, False),
            (SendTypingPayload, self._send_typing, None, False),
            (DeleteMessagePayload, self._delete_message, None, False),
        )
        for cls, body, check, takes_key in builtin:
            actions.register(cls.action, body, self._update(cls), check, takes_key=takes_key)

    def input(self, channel: str) -> InputView:
        """The message input of a channel."""
        return InputView(self._slots, channel, self.policy)

    async def channel(self, sid: str, *, member: bool = True, writable: bool = False) -> Channel:
        """The channel, of which this session must be a member.

        Raises:
            ActionError: `unknown_channel`, `not_a_member`, `session_closed`; `channel_closed` if it should be writable.
        """
        self.must_be_open()
        needs = member and (self.role != "bot" or self.backend.capabilities.sends_need_membership)
        found = await self.backend.get_channel(sid, member=self.identity if needs else None)
        if found.sid != sid:
            raise ActionError(
                "unknown_channel",
                f"{brief(sid)} is a unique name; an action needs the channel's sid.",
                hint="session.channel(name) gives the channel.",
            )
        if writable and found.state == "closed":
            raise ActionError("channel_closed", "The channel is closed; it can be read, not written.")
        return found

    async def _sending_channel(self, sid: str) -> Channel:
        """The channel of a send; raises as `channel`.

        What an earlier send has seen will do: the store decides who may write with the message itself, and asking it
        twice would cost as much as all the rest of a send.
        """
        self.must_be_open()
        found = self._sendable.get(sid)
        if found is None:
            found = await self.channel(sid, writable=True)
            if len(self._sendable) == _SENDABLE_CHANNELS:
                self._sendable.clear()
            self._sendable[sid] = found
        return found

    async def _ask_anew(self, sid: str) -> None:
        """Before a send is refused for a reason of ours: who may not write at all, or not any more, is told that."""
        self._sendable.pop(sid, None)
        await self.channel(sid, writable=True)

    def must_be_open(self) -> None:
        """Raise `session_closed` once the session is."""
        if self.closed:
            raise ActionError("session_closed", "This session is closed.")

    def visible(self, message: Message, channel: Channel) -> Message:
        """A message as this side may see it: a file is a placeholder where attachments are disabled."""
        if message.media is None or self.policy.for_channel(channel.channel_type).judge_reading().accepted:
            return message
        return attrs.evolve(message, media=None, media_hidden=True)

    def notify(self, notification: Notification) -> None:
        """Show a notification to whoever watches this session."""
        signals.notification_shown.emit(self._observer, notification=notification)

    # -- payloads --

    def _update(self, cls: type[P]) -> Callable[[Any], P]:
        def update(given: Any) -> P:
            self.must_be_open()
            payload = build(cls, given)
            if isinstance(payload, (SendMediaMessagePayload, SendMessagePayload)):
                self._queue_up(payload)
            return payload

        return update

    def _queue_up(self, payload: SendMediaMessagePayload | SendMessagePayload) -> None:
        """Take the send's place in the queue, and fill in what the input holds, so that hooks see what is sent."""
        # A payload object that was invoked before: what was filled in then is not what the input holds now.
        if isinstance(payload, SendMediaMessagePayload):
            if payload.entered is not None and payload.file is payload.entered:
                payload.file = None
        elif payload.entered is not None and payload.body == payload.entered:
            payload.body = None
        payload.entered = None
        slot = Slot.of(self._slots, payload.channel_sid)
        turn = current_turn()
        if turn is not None and turn.ticket is None:
            turn.take(slot)
        held = slot.state.back if slot.state.back is not None else slot.state
        if isinstance(payload, SendMediaMessagePayload):
            if payload.file is None and held.file is not None:
                payload.file = payload.entered = held.file
        elif payload.body is None and held.text is not None:
            payload.body = payload.entered = held.text
        slot.sweep()

    # -- checks --

    async def _check_file(self, payload: AttachFilePayload | SendMediaMessagePayload) -> None:
        if isinstance(payload, SendMediaMessagePayload):
            channel = await self._sending_channel(payload.channel_sid)
        else:
            channel = await self.channel(payload.channel_sid, writable=True)
        if payload.file is not None:
            verdict = self.policy.for_channel(channel.channel_type).judge(payload.file)
            if not verdict.accepted:
                await self._ask_anew(channel.sid)
            self._refuse(type(payload).action, channel.sid, payload.file.name, verdict)

    async def _check_download(self, payload: DownloadMediaPayload) -> None:
        self.may_download()
        _, channel = await self._message_of(payload)
        self.judge_reading(channel)

    def may_download(self) -> None:
        """Raise `not_authorized` for a supervisor without the setting, `session_closed`."""
        self.must_be_open()
        if self.role == "supervisor" and not self.config.supervisor_downloads:
            raise ActionError(
                "not_authorized",
                "A supervisor who monitors a chat cannot download its files.",
                action="DownloadMedia",
                hint="The setting supervisorDownloads allows it.",
            )

    def judge_reading(self, channel: Channel) -> None:
        """Raise `attachments_disabled` if this side may not see the files of a channel."""
        # Without the file's name: a side that may not see files is shown a placeholder, no more.
        self._refuse("DownloadMedia", channel.sid, None, self.policy.for_channel(channel.channel_type).judge_reading())

    def _refuse(self, action: str, channel_sid: str, name: str | None, verdict: Verdict) -> None:
        if verdict.code is None:
            return
        error = AttachmentRefused(
            verdict.code,
            verdict.reason,
            action=action,
            details={
                k: v for k, v in (("name", name), ("limit", verdict.limit), ("actual", verdict.actual)) if v is not None
            },
        )
        error.verdict = verdict
        signals.attachment_refused.emit(self._observer, action=action, channel_sid=channel_sid, verdict=verdict)
        self._tell(error, name)
        raise error

    def _tell(self, error: ActionError, name: str | None) -> None:
        """Show what Flex shows for a refusal; a customer only if the setting says so."""
        if self.side == "customer" and not self.config.notify_customer:
            return
        shown = notification_for(error, name)
        if shown is not None:
            self.notify(shown)

    # -- the message input --

    def _move(self, slot: Slot, state: InputState) -> None:
        before, slot.state = slot.state, state
        if before is not state:
            signals.input_changed.emit(self._observer, channel_sid=slot.sid, before=before, after=state)

    def _step(self, sid: str, event: EventName, argument: Any) -> None:
        slot = Slot.of(self._slots, sid)
        try:
            self._move(slot, step(slot.state, event, argument))
        except ActionError as error:
            error.action = event
            self._tell(error, None)
            raise
        finally:
            slot.sweep()

    async def _attach_file(self, payload: AttachFilePayload) -> None:
        self._step(payload.channel_sid, "AttachFile", payload.file)

    async def _detach_file(self, payload: DetachFilePayload) -> None:
        await self.channel(payload.channel_sid)
        self._step(payload.channel_sid, "DetachFile", payload.file)

    async def _set_input_text(self, payload: SetInputTextPayload) -> None:
        await self.channel(payload.channel_sid, writable=True)
        self._step(payload.channel_sid, "SetInputText", payload.body)

    # -- sending --

    async def _send_media_message(self, payload: SendMediaMessagePayload) -> Sent:
        file, entered, attributes = payload.file, payload.entered, _attributes_of(payload)

        def begin(state: InputState) -> InputState:
            if entered is None and file is not None:
                return step(state, "SendMediaMessage", file)
            # Hooks have judged what was attached at the call: nothing else may go out in its place.
            if file is None or state.kind != "FILE" or state.file is not entered:
                return step(EMPTY, "SendMediaMessage", None)
            return step(state, "SendMediaMessage", None)

        async def deliver(slot: Slot, key: str | None) -> tuple[Sent, bool]:
            assert file is not None
            return await self._deliver_file(slot.sid, file, attributes, key)

        return await self._send(payload.channel_sid, begin, deliver)

    async def _send_message(self, payload: SendMessagePayload) -> Sent:
        body, entered, attributes = payload.body, payload.entered, _attributes_of(payload)

        def begin(state: InputState) -> InputState:
            if entered is not None and state.kind != "TEXT":
                # Sent by an earlier send, or taken out of the input, while this one waited.
                return step(EMPTY, "SendMessage", None)
            # Without a body by now there was nothing entered at the call, or a hook took it away.
            sending = step(state if body else EMPTY, "SendMessage", body)
            # Typed on while the hooks ran: what was entered at the call goes out, what stands there now stays.
            typed_on = entered is not None and state.text != entered
            return attrs.evolve(sending, draft=False) if typed_on else sending

        async def deliver(slot: Slot, key: str | None) -> tuple[Sent, bool]:
            assert slot.state.text is not None
            return await self._deliver_text(slot.sid, slot.state.text, attributes, key)

        return await self._send(payload.channel_sid, begin, deliver)

    # What is sent was read from the payload at the beginning: a send waits, and what hooks have left behind must not
    # change it meanwhile.

    async def _send(
        self,
        channel_sid: str,
        begin: Callable[[InputState], InputState],
        deliver: Callable[[Slot, str | None], Awaitable[tuple[Sent, bool]]],
    ) -> Sent:
        """Wait for the turn, judge again, send; the input holds what it held before unless the send succeeded."""
        invocation = current_invocation()
        key = invocation.key if invocation is not None else None
        slot = Slot.of(self._slots, channel_sid)
        turn = current_turn()
        ticket = turn.take(slot) if turn is not None else Ticket(slot, [])
        try:
            await ticket.wait()
            try:
                sending = begin(slot.state)
            except ActionError:
                await self._ask_anew(slot.sid)
                raise
            self._move(slot, sending)
            try:
                sent, cancelled = await deliver(slot, key)
            except BaseException:
                self._sendable.pop(slot.sid, None)
                self._move(slot, step(slot.state, "unsent"))
                raise
            self._move(slot, step(slot.state, "sent"))
        finally:
            ticket.release()
        if cancelled:
            raise asyncio.CancelledError
        return sent

    async def _deliver_file(
        self, channel_sid: str, file: File, attributes: dict[str, Any], key: str | None
    ) -> tuple[Sent, bool]:
        channel = await self._sending_channel(channel_sid)
        limit = self.policy.for_channel(channel.channel_type).max_file_size
        try:
            return await self._outbox.send_file(channel.sid, file, attributes, key, max_bytes=limit)
        except ActionError as error:
            if error.code == "invalid_size":
                verdict = Verdict("invalid_size", error.message, limit, error.details.get("actual"))
                self._refuse("SendMediaMessage", channel.sid, file.name, verdict)
            raise

    async def _deliver_text(
        self, channel_sid: str, text: str, attributes: dict[str, Any], key: str | None
    ) -> tuple[Sent, bool]:
        channel = await self._sending_channel(channel_sid)
        return await self._outbox.send_text(channel.sid, text, attributes, key)

    async def close(self) -> None:
        """Wait for commits that are still under way, up to the backend's limit."""
        self.closed = True
        await self._outbox.close()

    # -- the rest --

    async def _message_of(self, payload: DownloadMediaPayload | DeleteMessagePayload) -> tuple[Message, Channel]:
        """The message as the store has it now, and its channel, of which this session is a member.

        A supervisor monitors: no membership is asked of one.
        """
        given = payload.message
        sid = given.sid if isinstance(given, Message) else given
        where = payload.channel_sid or (given.channel_sid if isinstance(given, Message) else None)
        if where is None:
            message = await self.backend.find_message(sid)
            where = message.channel_sid
            channel = await self._reading_channel(where, type(payload).action)
        else:
            channel = await self._reading_channel(where, type(payload).action)
            message = await self.backend.get_message(channel.sid, sid)
        return message, channel

    async def _reading_channel(self, sid: str, action: str) -> Channel:
        try:
            return await self.channel(sid, member=self.role != "supervisor")
        except ActionError as error:
            if error.code == "not_a_member":
                error.action = action
                self._tell(error, None)
            raise

    async def _download_media(self, payload: DownloadMediaPayload) -> Link:
        message, _ = await self._message_of(payload)
        if message.media is None:
            raise ActionError("no_media", "The message carries no file.", action="DownloadMedia")
        return await self.backend.temporary_link(
            message.media.sid, reader=self.identity, members_only=self.role != "supervisor"
        )

    async def _send_typing(self, payload: SendTypingPayload) -> None:
        channel = await self.channel(payload.channel_sid)
        await self.backend.signal_typing(channel.sid, self.identity)

    async def _delete_message(self, payload: DeleteMessagePayload) -> None:
        self.must_be_open()
        message, channel = await self._message_of(payload)
        if self.role == "supervisor" or (self.side == "customer" and message.author != self.identity):
            raise ActionError(
                "not_authorized",
                "A customer may delete only messages of their own, a supervisor none.",
                action="DeleteMessage",
            )
        await self.backend.delete_message(channel.sid, message.sid)


def _attributes_of(payload: SendMediaMessagePayload | SendMessagePayload) -> dict[str, Any]:
    """A copy of the attributes, checked once more: hooks may have put anything into them."""
    try:
        return json_attributes(payload.message_attributes)
    except ActionError as error:
        error.action = payload.action
        raise
