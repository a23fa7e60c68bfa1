"""Folders that are built aside and then put in place whole, and what killed processes leave of them."""

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from typing import Final

from .presence import LOCK, claim

# In the folder of a chat that is replaced while it is in use.
HIDDEN: Final = ".restoring"
_HOUR_S: Final = 3600.0


@contextlib.contextmanager
def aside(prefix: str) -> Iterator[str]:
    """A private folder `PREFIX-…` that nobody takes for a store, gone at the end unless it was put in place.

    What killed processes left of the same prefix goes first.
    """
    remove_leftovers(prefix)
    path = f"{prefix}-{secrets.token_hex(8)}"
    os.mkdir(path, 0o700)
    descriptor = None
    try:
        descriptor = claim(path)
        yield path
    finally:
        if descriptor is not None:
            os.close(descriptor)
        _remove(path)


def remove_leftovers(prefix: str, *, alone: bool = False) -> None:
    """Remove folders of this prefix that nobody builds in any more; all of them if the caller knows to be alone."""
    parent, name = os.path.split(prefix)
    ours = re.compile(re.escape(name) + r"-[0-9a-f]{16}\Z")
    with os.scandir(parent) as entries:
        found = [e.path for e in entries if ours.match(e.name) and e.is_dir(follow_symlinks=False)]
    for path in found:
        with contextlib.suppress(OSError):
            if alone:
                _remove(path)
            elif os.name == "nt" or not os.path.exists(os.path.join(path, LOCK)):
                # Somebody may have begun just now; without a lock nothing is in it yet, or any more.
                if time.time() - os.stat(path).st_mtime > _HOUR_S:
                    _remove(path)
            elif (descriptor := claim(path)) is not None:
                os.close(descriptor)
                _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        # The lock last: what is left by whoever is killed here can be told from what somebody begins just now.
        for name in sorted(os.listdir(path), key=LOCK.__eq__):
            inner = os.path.join(path, name)
            if os.path.isdir(inner):
                shutil.rmtree(inner)
            else:
                os.unlink(inner)
        os.rmdir(path)
