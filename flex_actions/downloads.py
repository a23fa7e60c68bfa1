"""Downloads: a file appears whole and with the right hash, or not at all."""

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from .errors import ActionError
from .files import clean_name
from .ports import Backend, Link, Media

Report = Callable[[str, int, int], None]


class Download:
    """One download.

    Args:
        backend: opens the links.
        renew: gives a fresh link, or None if there is only the one.
        on_progress: called with the name, the bytes done and the bytes in all.
    """

    def __init__(self, backend: Backend, *, renew: Callable[[], Awaitable[Link]] | None, on_progress: Report) -> None:
        self._backend = backend
        self._renew = renew
        self._on_progress = on_progress

    async def run(self, url: str | None, to: str | os.PathLike[str] | BinaryIO) -> Path | None:
        """Read what `url` (or a renewed link) leads to, into `to`. See `Session.download`."""
        media, content = await self._open(url)
        try:
            if not isinstance(to, (str, os.PathLike)):
                await self._copy(media, content, to)
                return None
            return await self._to_path(media, content, Path(to))
        finally:
            await content.aclose()

    async def _open(self, url: str | None) -> tuple[Media, AsyncGenerator[bytes, None]]:
        if url is None:
            assert self._renew is not None
            try:
                return await self._backend.open_link((await self._renew()).url)
            except ActionError as error:
                if error.code != "link_expired":
                    raise
            url = (await self._renew()).url
        return await self._backend.open_link(url)

    async def _to_path(self, media: Media, content: AsyncIterator[bytes], to: Path) -> Path:
        is_folder = await asyncio.to_thread(to.is_dir)
        path = to / clean_name(media.name) if is_folder else to
        part = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            if is_folder and await asyncio.to_thread(path.exists):
                raise FileExistsError(17, "exists already", str(path))
            with await asyncio.to_thread(open, part, "xb") as file:
                await self._copy(media, content, file)
            # A name that the sender chose must not overwrite anything; one that the caller chose may.
            await asyncio.to_thread(_move_new if is_folder else os.replace, part, path)
        except (OSError, ValueError) as error:
            raise ActionError(
                "file_unwritable",
                f"{str(path)!a} cannot be written: {getattr(error, 'strerror', None) or error}.",
                hint="Name another file." if isinstance(error, FileExistsError) else None,
            ) from error
        finally:
            with contextlib.suppress(OSError, ValueError):
                part.unlink(missing_ok=True)
        return path

    async def _copy(self, media: Media, content: AsyncIterator[bytes], file: BinaryIO) -> None:
        digest, done = hashlib.sha256(), 0
        async for chunk in content:
            await asyncio.to_thread(_write, file, digest, chunk)
            done += len(chunk)
            self._on_progress(media.name, done, media.size_bytes)
        if done != media.size_bytes or digest.hexdigest() != media.sha256:
            raise ActionError("media_corrupt", "The content does not match the size and hash it was stored with.")


def _write(file: BinaryIO, digest: "hashlib._Hash", chunk: bytes) -> None:
    digest.update(chunk)
    file.write(chunk)


def _move_new(part: Path, path: Path) -> None:
    os.link(part, path)  # unlike a rename it fails if the name was taken meanwhile
    part.unlink()
