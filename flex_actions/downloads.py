"""Downloads: a file appears whole and with the right hash, or not at all."""

import asyncio
import contextlib
import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO

from .errors import ActionError
from .files import clean_name
from .ports import Backend, Channel, Link, Media

Report = Callable[[str, int, int], None]


class Download:
    """One download.

    Args:
        backend: opens the links.
        renew: gives a fresh link, or None if there is only the one.
        on_progress: called with the name, the bytes done and the bytes in all.
        reader: for a link: whose it must be; see `Backend.open_link`.
        judge: for a link: says whether files of its channel may be read.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        renew: Callable[[], Awaitable[Link]] | None,
        on_progress: Report,
        reader: str | None = None,
        judge: Callable[[Channel], object] | None = None,
    ) -> None:
        self._backend = backend
        self._renew = renew
        self._reader = reader
        self._judge = judge
        self._on_progress = on_progress

    async def run(self, url: str | None, to: str | os.PathLike[str] | BinaryIO) -> Path | None:
        """Read what `url` (or a renewed link) leads to, into `to`. See `Session.download`."""
        if not isinstance(to, (str, os.PathLike)) and not hasattr(to, "write"):
            raise ActionError(
                "invalid_payload", f"A download goes to a path or a binary file object, not {type(to).__name__}."
            )
        media, content = await self._open(url)
        try:
            if isinstance(to, (str, os.PathLike)):
                return await self._to_path(media, content, Path(to))
            try:
                await self._copy(media, content, to)
            except (OSError, ValueError) as error:
                raise _unwritable("The file object", error) from error
            return None
        finally:
            await content.aclose()

    async def _open(self, url: str | None) -> tuple[Media, AsyncGenerator[bytes, None]]:
        if url is not None:
            return await self._backend.open_link(url, reader=self._reader, judge=self._judge)
        assert self._renew is not None
        try:
            return await self._backend.open_link((await self._renew()).url)
        except ActionError as error:
            if error.code != "link_expired":
                raise
        return await self._backend.open_link((await self._renew()).url)

    async def _to_path(self, media: Media, content: AsyncIterator[bytes], to: Path) -> Path:
        path, part = to, None
        try:
            is_folder = await asyncio.to_thread(to.is_dir)
            path = to / clean_name(media.name) if is_folder else await asyncio.to_thread(_target, to)
            part = path.with_name(f".{secrets.token_hex(8)}.part")
            if is_folder and await asyncio.to_thread(path.exists):
                raise FileExistsError(17, "exists already", str(path))
            with await _to_the_end(open, part, "xb") as file:
                await self._copy(media, content, file)
            # A name that the sender chose must not overwrite anything; one that the caller chose may.
            await _to_the_end(_move_new if is_folder else os.replace, part, path)
            return path if is_folder else to
        except (OSError, ValueError) as error:
            raise _unwritable(f"{str(path)!a}", error) from error
        finally:
            if part is not None:
                with contextlib.suppress(OSError, ValueError):
                    part.unlink(missing_ok=True)

    async def _copy(self, media: Media, content: AsyncIterator[bytes], file: BinaryIO) -> None:
        digest, done = hashlib.sha256(), 0
        async for chunk in content:
            await _to_the_end(_write, file, digest, chunk)
            done += len(chunk)
            self._on_progress(media.name, done, media.size_bytes)
        if done != media.size_bytes or digest.hexdigest() != media.sha256:
            raise ActionError("media_corrupt", "The content does not match the size and hash it was stored with.")


async def _to_the_end(call: Callable[..., Any], *arguments: Any) -> Any:
    """Call in a thread; a cancellation waits for its end, so that no file appears behind the caller's back."""
    job = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await asyncio.wait([job])
        if not job.cancelled() and job.exception() is None and hasattr(job.result(), "close"):
            job.result().close()
        raise


def _write(file: BinaryIO, digest: "hashlib._Hash", chunk: bytes) -> None:
    digest.update(chunk)
    try:
        taken = file.write(chunk)
        # An unbuffered file may take less than it is given.
        while isinstance(file, io.RawIOBase) and (chunk := chunk[taken or 0 :]):
            if not taken:
                raise BlockingIOError(errno.EAGAIN, "it takes no more just now")
            taken = file.write(chunk)
    except TypeError as error:
        raise ActionError("invalid_payload", "A download needs a file object that is open for bytes.") from error


def _unwritable(what: str, error: Exception) -> ActionError:
    return ActionError(
        "file_unwritable",
        f"{what} cannot be written: {getattr(error, 'strerror', None) or error}.",
        hint="Name another file." if isinstance(error, FileExistsError) else None,
    )


def _target(to: Path) -> Path:
    """The file to put in place: what a symbolic link leads to, and nothing that renaming would destroy."""
    try:
        mode = to.stat().st_mode
    except FileNotFoundError:
        pass
    else:
        if not stat.S_ISREG(mode):
            raise ActionError(
                "file_unwritable",
                f"{str(to)!a} is no regular file, and a download would take its place.",
                hint="Name another file; flex-actions download -o - writes to stdout.",
            )
    return Path(os.path.realpath(to))


def _move_new(part: Path, path: Path) -> None:
    """Rename without overwriting: unlike `os.replace` this fails if the name was taken meanwhile."""
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # A file system without hard links: an empty file claims the name.
        with open(path, "xb"):
            pass
        os.replace(part, path)
    else:
        part.unlink()
