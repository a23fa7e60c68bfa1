"""Where a store's files are served over HTTP: the public URL, and the address of a server on this machine.

A public URL is kept until it is taken back. A local server's address is only leased: the server renews it while it
runs, so that a killed one is soon forgotten.
"""

import ipaddress
import os
import urllib.parse
from typing import Final

from ..errors import ActionError
from .tables import Tables

ENVIRONMENT: Final = "FLEX_ACTIONS_PUBLIC_URL"
_MAX_CHARS: Final = 1024


class Addresses(Tables):
    """The addresses that a store knows of. The caller begins and commits the transactions."""

    def set_public_url(self, url: str | None) -> str | None:
        """Keep or, with None, forget the public URL; the one that was kept before."""
        before = self.public_url()
        if url == before:
            return before
        self.must_be_writable()
        self.db.execute("DELETE FROM setting WHERE name = 'public_url'")
        if url is not None:
            self.db.execute("INSERT INTO setting (name, value) VALUES ('public_url', ?)", (url,))
        return before

    def public_url(self) -> str | None:
        """The public URL that was kept."""
        row = self._one("SELECT value FROM setting WHERE name = 'public_url'")
        return None if row is None else str(row[0])

    def lease_address(self, url: str, since: float, until: float) -> None:
        """Note that a local server answers at `url` for a while."""
        self.db.execute(
            "INSERT OR REPLACE INTO setting (name, value, since, until) VALUES ('address', ?, ?, ?)",
            (url, since, until),
        )

    def end_lease(self, url: str) -> None:
        """Forget a local server, unless another one has taken its place."""
        self.db.execute("DELETE FROM setting WHERE name = 'address' AND value = ?", (url,))

    def address(self, now: float) -> str | None:
        """Where links should lead now: the public URL, else a local server that runs, else None."""
        row = self._one(
            "SELECT value FROM setting WHERE name = 'public_url' OR (name = 'address' AND since <= ? AND ? < until)"
            " ORDER BY name DESC",
            now,
            now,
        )
        return None if row is None else str(row[0])


def configured_public_url(given: str | None) -> str | None:
    """The public URL that the caller or the environment names. Raises `invalid_config`."""
    found = given if given is not None else os.environ.get(ENVIRONMENT, "").strip()
    return checked_public_url(found) if found else None


def checked_public_url(url: str, *, insecure: bool = False) -> str:
    """A public URL, without the slash at its end.

    Args:
        url: `https://host`, maybe with a port and a path; `http://` for a loopback host.
        insecure: take `http://` for any host.

    Raises:
        ActionError: `invalid_config`.
    """
    if not isinstance(url, str) or len(url) > _MAX_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise _no_url(f"A public URL is at most {_MAX_CHARS} printable ASCII characters without spaces.")
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise _no_url(f"{url[:80]!a} is no URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not host:
        raise _no_url(f"{url[:80]!a} is no public URL.")
    if "@" in parts.netloc or "?" in url or "#" in url or "%" in parts.netloc or "\\" in url:
        raise _no_url("A public URL has no user, password, query or fragment.")
    if parts.scheme == "http" and not is_loopback(host) and not insecure:
        raise ActionError(
            "invalid_config",
            f"Links at {url[:80]!a} could be read by others on their way: a public URL begins with https://.",
            hint="Put a proxy that speaks TLS in front; only flex-actions serve --insecure takes http:// all the same.",
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine alone."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _no_url(why: str) -> ActionError:
    return ActionError(
        "invalid_config", why, hint="Write it as https://files.example.org or https://example.org/files."
    )
