"""The way of a message into the chat: once, whole, with an outcome that is known even to a sender who was cancelled."""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from . import signals
from .errors import ActionError, OutcomeUnknown
from .files import File
from .ports import Backend, Draft, Key, KeyRecord, Media, Posted, Progress, SendsFiles, Settled

_MakesKey = Callable[[Media], Key]


@attrs.frozen
class Sent:
    """What a send returns.

    Attributes:
        message_sid: the message.
        media_sid: its file, or None for a text.
        index: its position in the channel.
        repeated: the idempotency key had led to this message earlier; nothing was sent now.
    """

    message_sid: str
    media_sid: str | None
    index: int
    repeated: bool = False


class Outbox:
    """What one identity sends through a backend.

    Args:
        backend: an open one.
        identity: the author.
        observer: whom `upload_progress` names as its sender.
    """

    def __init__(self, backend: Backend, identity: str, observer: Any) -> None:
        self._backend = backend
        self._whole = backend if isinstance(backend, SendsFiles) else None
        self._identity = identity
        self._observer = observer
        self._discarding: set[asyncio.Task[None]] = set()
        self._commits: dict[str, asyncio.Task[Posted]] = {}  # by idempotency key, while their outcome is unknown

    async def send_file(
        self, channel_sid: str, file: File, attributes: dict[str, Any], key: str | None, *, max_bytes: int
    ) -> tuple[Sent, bool]:
        """Send a file; what came of it, and whether a cancellation came too late to stop it.

        Raises:
            ActionError: as the backend; `key_reused`, `outcome_unknown`.
            asyncio.CancelledError: nothing was sent, or nobody knows yet.
        """
        print_ = _Fingerprint(self._identity, channel_sid, attributes)
        if key is not None and (record := await self._settled(key)) is not None:
            self._match(record, print_.file(file, await _sha256(file)))
            return _repeated(record), False
        send = self._send_in_one if self._whole is not None else self._send_in_two
        wanted = None if key is None else lambda media: Key(key, print_.file(file, media.sha256))
        try:
            posted, cancelled = await send(channel_sid, file, attributes, wanted, max_bytes)
        except OutcomeUnknown as error:
            error.key = error.key or key
            raise
        return _sent(posted), cancelled

    async def send_text(
        self, channel_sid: str, text: str, attributes: dict[str, Any], key: str | None
    ) -> tuple[Sent, bool]:
        """Send a text; as `send_file`."""
        wanted = None
        if key is not None:
            wanted = Key(key, _Fingerprint(self._identity, channel_sid, attributes).text(text))
            if (record := await self._settled(key)) is not None:
                self._match(record, wanted.fingerprint)
                return _repeated(record), False
        draft = Draft(self._identity, body=text, attributes=attributes)
        commit = asyncio.ensure_future(self._backend.post(channel_sid, draft, key=wanted))
        posted, cancelled = await self._outcome(commit, draft, wanted)
        return _sent(posted), cancelled

    async def close(self) -> None:
        """Wait for commits that are still under way, up to the backend's limit."""
        if self._commits:
            await asyncio.wait(self._commits.values(), timeout=self._backend.capabilities.commit_limit_s)
            await asyncio.sleep(0)  # what follows a failed one has begun
        if self._discarding:
            await asyncio.wait(self._discarding, timeout=self._backend.capabilities.commit_limit_s)

    async def _send_in_one(
        self, channel_sid: str, file: File, attributes: Mapping[str, Any], key: _MakesKey | None, max_bytes: int
    ) -> tuple[Posted, bool]:
        """Send a file through a backend that does all of it in one go; whether a cancellation came too late."""
        assert self._whole is not None
        task = asyncio.current_task()
        before = task.cancelling() if task is not None else 0
        posted = await self._whole.send_file(
            channel_sid,
            file,
            author=self._identity,
            attributes=attributes,
            key=key,
            max_bytes=max_bytes,
            progress=self._progress(file),
        )
        return posted, task is not None and task.cancelling() > before

    async def _send_in_two(
        self, channel_sid: str, file: File, attributes: Mapping[str, Any], key: _MakesKey | None, max_bytes: int
    ) -> tuple[Posted, bool]:
        """The same through any other: an upload, then a post."""
        media = await self._backend.upload(
            channel_sid, file, author=self._identity, max_bytes=max_bytes, progress=self._progress(file)
        )
        try:
            draft = Draft(self._identity, media=media, attributes=attributes)
            wanted = None if key is None else key(media)
            commit = asyncio.ensure_future(self._backend.post(channel_sid, draft, key=wanted))
        except BaseException:
            await self._discard(media)
            raise
        posted, cancelled = await self._outcome(commit, draft, wanted)
        if posted.repeated:
            await self._backend.discard(media.sid)
        return posted, cancelled

    def _progress(self, file: File) -> Progress | None:
        signal = signals.upload_progress
        if not signal.receivers:
            return None
        return lambda done: signal.emit(self._observer, file=file, done_bytes=done, total_bytes=file.size_bytes)

    async def _outcome(self, commit: "asyncio.Task[Posted]", draft: Draft, key: Key | None) -> tuple[Posted, bool]:
        """What a post led to; a cancellation waits for it, up to the backend's limit. The flag says that one came."""
        limit = self._backend.capabilities.commit_limit_s
        deadline: float | None = None
        # asyncio.wait does the same and costs more; it is left for those who are cancelled.
        with contextlib.suppress(Exception):  # told below
            try:
                return await asyncio.shield(commit), False
            except asyncio.CancelledError:
                deadline = asyncio.get_running_loop().time() + limit
        while not commit.done():
            loop = asyncio.get_running_loop()
            left = None if deadline is None else max(0.0, deadline - loop.time())
            try:
                await asyncio.wait({commit}, timeout=left)
            except asyncio.CancelledError:
                deadline = deadline if deadline is not None else loop.time() + limit
                continue
            if deadline is not None and loop.time() >= deadline:
                break
        if not commit.done():
            self._remember(commit, draft.media, key)
            raise asyncio.CancelledError
        error = commit.exception()
        if isinstance(error, OutcomeUnknown) and error.key is None and key is not None:
            error.key = key.value
        if error is not None and not isinstance(error, OutcomeUnknown):
            await self._discard(draft.media)
        if error is not None and deadline is not None:
            raise asyncio.CancelledError from error
        return commit.result(), deadline is not None

    async def _discard(self, media: Media | None) -> None:
        """Leave no upload behind; an error of its own must not hide the one that led here."""
        if media is not None:
            with contextlib.suppress(ActionError):
                await self._backend.discard(media.sid)

    def _remember(self, commit: "asyncio.Task[Posted]", media: Media | None, key: Key | None) -> None:
        """Keep a commit whose outcome nobody waits for any more, and its key unsettled until it comes."""
        name = key.value if key is not None else f"commit {id(commit)}"
        self._commits[name] = commit

        def ended(task: "asyncio.Task[Posted]") -> None:
            self._commits.pop(name, None)
            error = None if task.cancelled() else task.exception()
            if error is not None and media is not None and not isinstance(error, OutcomeUnknown):
                discarding = asyncio.ensure_future(self._discard(media))
                self._discarding.add(discarding)
                discarding.add_done_callback(self._discarding.discard)

        commit.add_done_callback(ended)

    async def _settled(self, key: str) -> KeyRecord | None:
        found: KeyRecord | Settled = Settled.UNKNOWN if key in self._commits else await self._backend.settle(key)
        if isinstance(found, KeyRecord):
            return found
        if found is Settled.NOTHING:
            return None
        error = OutcomeUnknown(
            "outcome_unknown",
            "Whether the send under this key happened is not known yet.",
            hint="Invoke it again later with the same key; nothing is sent twice.",
            retryable=True,
        )
        error.key = key
        raise error

    def _match(self, record: KeyRecord, fingerprint: str) -> None:
        # Blank once the message was deleted: comparing would let anybody try out what it said.
        if record.fingerprint not in ("", fingerprint):
            raise ActionError(
                "key_reused",
                "This idempotency key belongs to another payload.",
                hint="Use a new key for a new message.",
            )


class _Fingerprint:
    """A digest of what a key stands for, so that another payload under the same key is found out."""

    def __init__(self, identity: str, channel_sid: str, attributes: dict[str, Any]) -> None:
        self._common = [identity, channel_sid, attributes]

    def file(self, file: File, sha256: str) -> str:
        return self._digest(["file", file.name, file.content_type, file.size_bytes, sha256])

    def text(self, body: str) -> str:
        return self._digest(["text", body])

    def _digest(self, what: list[Any]) -> str:
        text = json.dumps([*self._common, *what], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()


async def _sha256(file: File) -> str:
    digest = hashlib.sha256()
    async for chunk in file.chunks():
        digest.update(chunk)
    return digest.hexdigest()


def _sent(posted: Posted) -> Sent:
    media: Media | None = posted.message.media
    return Sent(posted.message.sid, media.sid if media else None, posted.message.index, posted.repeated)


def _repeated(record: KeyRecord) -> Sent:
    return Sent(record.message_sid, record.media_sid, record.index, repeated=True)
