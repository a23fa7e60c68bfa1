"""Who has a store open: a lock that is shared while open, and a marker that only a crash leaves behind."""

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from typing import Any, Final

from ..errors import ActionError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: nobody can know to be alone there, so nothing is swept
    fcntl = None

LOCK: Final = "lock"
# Somebody who is alone tidies up, puts a restored chat in place, or copies a damaged database.
_WAIT_S: Final = 30.0
_LOOK_AGAIN_S: Final = 0.02
_NO_WAIT: Final = getattr(os, "O_NONBLOCK", 0)  # a pipe of that name would keep us waiting


class Presence:
    """Holds the shared lock from `enter` to `leave`. Blocks; for worker threads."""

    def __init__(self, root: str) -> None:
        self._path = os.path.join(root, LOCK)
        self._folder = os.path.join(root, "open")
        self._marker = os.path.join(self._folder, secrets.token_hex(8))
        self._descriptor: int | None = None
        self.alone = False
        self.clean = True

    def enter(self) -> None:
        """Take the lock. Then `alone` says that nobody else has the store open, until `settle`.

        Raises `store_in_use` if somebody keeps it from all others for long.
        """
        while True:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            if fcntl is None:
                return
            if not self.try_alone():
                _wait_for(self._descriptor)
            if os.path.samestat(os.fstat(self._descriptor), os.stat(self._path)):
                return
            # Another folder was put in the place of the one whose lock this is.
            os.close(self._descriptor)

    def try_alone(self) -> bool:
        """Whether nobody else has the store open; then nobody else can open it until `let_in` or `leave`."""
        if fcntl is None:
            return not os.path.isdir(self._folder) or set(os.listdir(self._folder)) <= {os.path.basename(self._marker)}
        self.alone = _try(self._descriptor, fcntl.LOCK_EX)
        return self.alone

    def let_in(self) -> None:
        """Share the store with others again."""
        self.alone = False
        if fcntl is not None:
            _wait_for(self._descriptor)

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
            self.let_in()

    def leave(self) -> None:
        """Let go; the marker stays if something was left lying (`clean` is False)."""
        if self._descriptor is None:
            return
        if self.clean:
            with contextlib.suppress(OSError):
                os.unlink(self._marker)
        os.close(self._descriptor)
        self._descriptor = None


@contextlib.contextmanager
def visiting(root: str) -> Iterator[None]:
    """Keep others from taking themselves for alone, without a trace; for who only reads. Raises `store_in_use`."""
    descriptor = _open(root)
    try:
        if descriptor is not None:
            _wait_for(descriptor)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def keeping_out(root: str) -> Iterator[None]:
    """Keep everybody else out of a store. Raises `store_in_use` if somebody has it open (on Windows nobody knows)."""
    descriptor = _open(root)
    try:
        if descriptor is not None and not _try(descriptor, fcntl.LOCK_EX):
            raise in_use()
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def claim(folder: str) -> int | None:
    """Lock a folder that is being built; the descriptor to close in the end, None if somebody builds in it just now."""
    descriptor = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    if fcntl is None or _try(descriptor, fcntl.LOCK_EX):
        return descriptor
    os.close(descriptor)
    return None


def in_use(why: str = "Somebody has the chat open.") -> ActionError:
    """The error of what needs a store for itself."""
    return ActionError(
        "store_in_use",
        why,
        hint="End what uses it (bots, flex-actions serve or follow), then try again.",
        retryable=True,
    )


def _open(root: str) -> int | None:
    # Without the file nobody has the store open, and who only reads makes none.
    try:
        return None if fcntl is None else os.open(os.path.join(root, LOCK), os.O_RDONLY | _NO_WAIT)
    except FileNotFoundError:
        return None


def _wait_for(descriptor: int | None) -> None:
    until = time.monotonic() + _WAIT_S
    while not _try(descriptor, fcntl.LOCK_SH):
        if time.monotonic() > until:
            raise ActionError(
                "store_in_use",
                "Somebody keeps the chat from all others: it is tidied up, restored or rescued.",
                hint="Try again in a while.",
                retryable=True,
            )
        time.sleep(_LOOK_AGAIN_S)


def _try(descriptor: int | None, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
