"""Temporary links: made and verified without any store, so that whoever holds the keys can check one.

A link is a token behind a prefix. The token is plain fields and a signature over exactly their text:

    v1~<key id>~<media sid>~<expiry>~<disposition>~<membership>~<reader>~<signature>

Every character is safe in a URL's path, so the same token stands behind `flex-media:` or an HTTP address and `/media/`.
"""

import base64
import hashlib
import hmac
import math
from typing import Final, Protocol, cast

import attrs

from ..errors import ActionError
from ..ports import Disposition

SCHEME: Final = "flex-media:"
PATH: Final = "/media/"
MAX_TOKEN_CHARS: Final = 8192
_VERSION: Final = "v1"


@attrs.frozen
class LinkClaims:
    """What a link says.

    Attributes:
        media_sid: the file it leads to.
        expires_at: seconds since the epoch, UTC; from this moment on it is refused.
        reader: identity it was made for; any Unicode.
        membership: number of the membership that it hangs on, or None if it needs none (a supervisor's).
        disposition: how a browser should take the file.
    """

    media_sid: str
    expires_at: float
    reader: str
    membership: int | None = None
    disposition: Disposition = "attachment"


class Secrets(Protocol):
    """Where secrets are found by key id: a dict will do."""

    def get(self, key_id: str, /) -> bytes | None:
        """The secret of a key, None if there is none."""


def make_token(claims: LinkClaims, *, key_id: str, secret: bytes) -> str:
    """The signed text of the claims.

    Raises:
        ActionError: `invalid_payload` if the expiry is no finite number or the identity is too long for a link.
    """
    if not math.isfinite(claims.expires_at):
        raise ActionError("invalid_payload", f"A link cannot expire at {claims.expires_at!r}.")
    membership = "-" if claims.membership is None else str(claims.membership)
    fields = (
        _VERSION,
        key_id,
        claims.media_sid,
        repr(float(claims.expires_at)),
        claims.disposition,
        membership,
        _encode(claims.reader.encode("utf-8", "surrogatepass")),
    )
    text = "~".join(fields)
    token = f"{text}~{_sign(text, secret)}"
    if len(token) > MAX_TOKEN_CHARS:
        raise ActionError("invalid_payload", "The reader's identity is too long for a link.")
    return token


def read_token(token: str, *, keys: Secrets, now: float) -> LinkClaims:
    """The claims of a token that one of the keys has signed and that has not expired.

    Args:
        token: what `make_token` gave.
        keys: secrets by key id; old ones are there as long as their links may live.
        now: seconds since the epoch, UTC.

    Raises:
        ActionError: `link_invalid` for anything altered, foreign or too long; `link_expired` if now ≥ expiry.
    """
    fields = _signed_fields(token, keys)
    claims = LinkClaims(
        media_sid=fields[2],
        expires_at=float(fields[3]),
        disposition=cast(Disposition, fields[4]),
        membership=None if fields[5] == "-" else int(fields[5]),
        reader=_decode(fields[6]).decode("utf-8", "surrogatepass"),
    )
    if now >= claims.expires_at:
        raise ActionError("link_expired", "The link has expired.", hint="Request a new one.")
    return claims


def make_url(claims: LinkClaims, *, key_id: str, secret: bytes, base: str | None = None) -> str:
    """A link below `base` (an HTTP address), or a `flex-media:` link; raises as `make_token`."""
    token = make_token(claims, key_id=key_id, secret=secret)
    return SCHEME + token if base is None else base + PATH + token


def read_url(url: str, *, keys: Secrets, now: float) -> LinkClaims:
    """The claims of a link in either form; raises as `read_token`.

    Whatever host an HTTP link names: the signature says whose it is, and an address may have changed since.
    """
    if not isinstance(url, str):
        raise _invalid()
    if url.startswith(SCHEME):
        return read_token(url[len(SCHEME) :], keys=keys, now=now)
    before, _, token = url.rpartition("/")
    if not before.startswith(("https://", "http://")) or not f"{before}/".endswith(PATH):
        raise _invalid()
    return read_token(token, keys=keys, now=now)


def disposition_of(token: str) -> Disposition:
    """How a browser should take the file of a token that has been verified already."""
    fields = token.split("~")
    return "inline" if len(fields) == 8 and fields[4] == "inline" else "attachment"


def _signed_fields(token: str, keys: Secrets) -> list[str]:
    # Nothing is interpreted before the signature has been found right.
    if len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise _invalid()
    text, _, signature = token.rpartition("~")
    fields = text.split("~")
    secret = keys.get(fields[1]) if len(fields) == 7 and fields[0] == _VERSION else None
    # The encoded forms are compared: two base64 texts can stand for the same bytes.
    if secret is None or not hmac.compare_digest(signature.encode(), _sign(text, secret).encode()):
        raise _invalid()
    return fields


def _sign(text: str, secret: bytes) -> str:
    return _encode(hmac.digest(secret, text.encode(), hashlib.sha256))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _invalid() -> ActionError:
    return ActionError("link_invalid", "This is no link of this store.", hint="Request a new one.")
