"""Who has a store open: a lock that is shared while open, and a marker that only a crash leaves behind."""

import contextlib
import os
import secrets
from typing import Any

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: nobody can know to be alone there, so nothing is swept
    fcntl = None


class Presence:
    """Holds the shared lock from `enter` to `leave`. Blocks; for worker threads."""

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, "lock")
        self._folder = os.path.join(root, "open")
        self._marker = os.path.join(self._folder, secrets.token_hex(8))
        self._descriptor: int | None = None
        self.alone = False
        self.clean = True

    def enter(self) -> None:
        """Take the lock. Then `alone` says that nobody else has the store open, until `settle`."""
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if fcntl is None:
            return
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.alone = True
        except OSError:
            # Waits for somebody who is alone and tidies up.
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    @property
    def crashed(self) -> bool:
        """Somebody who had the store open never closed it; means something only while `alone`."""
        return os.path.isdir(self._folder) and bool(os.listdir(self._folder))

    def settle(self) -> None:
        """Leave a marker and let others in."""
        if self.alone and os.path.isdir(self._folder):
            for name in os.listdir(self._folder):
                os.unlink(os.path.join(self._folder, name))
        os.makedirs(self._folder, 0o700, exist_ok=True)
        os.close(os.open(self._marker, os.O_WRONLY | os.O_CREAT, 0o600))
        if self.alone:
            self.alone = False
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Let go; the marker stays if something was left lying (`clean` is False)."""
        if self._descriptor is None:
            return
        if self.clean:
            with contextlib.suppress(OSError):
                os.unlink(self._marker)
        os.close(self._descriptor)
        self._descriptor = None
