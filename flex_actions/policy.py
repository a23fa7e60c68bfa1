"""Who may send which file, and who may see one. No I/O: a policy, a file, a verdict."""

import functools
import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from .errors import ActionError, brief
from .files import File, guess_content_type
from .values import plain_channel_type

Side = Literal["agent", "customer"]

MAX_FILE_SIZE: Final = 10 * 1024 * 1024
ACCEPTED_EXTENSIONS: Final = ("jpg", "jpeg", "png", "gif", "txt", "pdf")

# What is declared for these extensions in the wild, beside the registered type. The same on every machine.
_ALSO: Final[Mapping[str, frozenset[str]]] = {
    "jpg": frozenset({"image/jpg", "image/pjpeg"}),
    "jpeg": frozenset({"image/jpg", "image/pjpeg"}),
    "zip": frozenset({"application/x-zip-compressed", "application/x-zip", "multipart/x-zip"}),
    "csv": frozenset({"application/csv", "application/vnd.ms-excel", "text/plain"}),
    "md": frozenset({"text/plain", "text/x-markdown"}),
    "json": frozenset({"text/json"}),
    "xml": frozenset({"text/xml", "application/xml"}),
    "mp3": frozenset({"audio/mp3"}),
    "wav": frozenset({"audio/wav", "audio/wave", "audio/x-wav", "audio/vnd.wave"}),
    "m4a": frozenset({"audio/m4a", "audio/x-m4a"}),
    "gz": frozenset({"application/gzip", "application/x-gzip"}),
    "rtf": frozenset({"text/rtf", "application/rtf"}),
    "js": frozenset({"text/javascript", "application/javascript"}),
    "heic": frozenset({"image/heif"}),
    "ogg": frozenset({"application/ogg", "video/ogg"}),
}
# A sender that knows no type says this; it claims nothing, so it contradicts nothing.
_UNDECLARED: Final = "application/octet-stream"
_EXTENSION: Final = re.compile(r"[^\s./\\*?]+(\.[^\s./\\*?]+)*\Z")


@attrs.frozen
class Verdict:
    """What a policy says of a file.

    Attributes:
        code: an error code, or None if the file is accepted.
        reason: one sentence for people; empty if accepted.
        limit: what the policy allows (bytes, or a tuple of extensions), where there is a limit.
        actual: what the file has (bytes, or its extension or MIME type).
    """

    code: str | None = None
    reason: str = ""
    limit: int | tuple[str, ...] | None = None
    actual: int | str | None = None

    @property
    def accepted(self) -> bool:
        """Whether the file may pass."""
        return self.code is None


ACCEPTED: Final = Verdict()


def _extensions(value: Any) -> tuple[str, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise ActionError(
            "invalid_config",
            f"acceptedExtensions must be a list of extensions, not {brief(value)}.",
            hint='Write it as ["pdf", "png"].',
        )
    found = []
    for item in value:
        plain = item.strip().lstrip(".").casefold() if isinstance(item, str) else ""
        if not _EXTENSION.match(plain):
            raise ActionError(
                "invalid_config",
                f"acceptedExtensions holds {brief(item)}, which is no extension.",
                hint='Write extensions as "pdf"; there are no wildcards.',
            )
        found.append(plain)
    return tuple(dict.fromkeys(found))


def _flag(_: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, bool):
        raise ActionError("invalid_config", f"{field.metadata['seed']} must be true or false, not {brief(value)}.")


def _size(_: Any, field: "attrs.Attribute[Any]", value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ActionError(
            "invalid_config",
            f"{field.metadata['seed']} must be a whole number of bytes from 1, not {brief(value)}.",
            hint="To send no files at all, set enabled to false." if value == 0 else None,
        )


def _by_type(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(p, AttachmentPolicy) for p in value.values()):
        raise ActionError("invalid_config", "channel_types must map types of channels to their AttachmentPolicy.")
    found: dict[str, Any] = {}
    for name, policy in value.items():
        plain = plain_channel_type(name)
        if plain is None or plain in found:
            why = "is no type of a channel" if plain is None else "stands there twice"
            raise ActionError("invalid_config", f"channelTypes: {brief(name)} {why}.", hint="Write it as 'whatsapp'.")
        found[plain] = policy
    return found


@attrs.frozen
class AttachmentPolicy:
    """The seed's `fileAttachment` settings of one side.

    Attributes:
        enabled: whether this side sends and sees files.
        read_only: it may receive files, not send them.
        max_file_size: bytes, inclusive.
        accepted_extensions: without dot, lower case; a custom list takes the place of the default.
        channel_types: policies that hold instead in channels of a type (`whatsapp`, …; in whatever case).
    """

    enabled: bool = attrs.field(default=True, validator=_flag, metadata={"seed": "enabled"})
    read_only: bool = attrs.field(default=False, validator=_flag, metadata={"seed": "readOnly"})
    max_file_size: int = attrs.field(default=MAX_FILE_SIZE, validator=_size, metadata={"seed": "maxFileSize"})
    accepted_extensions: tuple[str, ...] = attrs.field(
        default=ACCEPTED_EXTENSIONS, converter=_extensions, metadata={"seed": "acceptedExtensions"}
    )
    channel_types: "Mapping[str, AttachmentPolicy]" = attrs.field(
        factory=dict, converter=_by_type, metadata={"seed": "channelTypes"}
    )

    def for_channel(self, channel_type: str) -> "AttachmentPolicy":
        """The policy for a type of channel."""
        if not self.channel_types:
            return self
        # An older store may hold a type as somebody wrote it.
        return self.channel_types.get(plain_channel_type(channel_type) or "", self)

    def judge(self, file: File) -> Verdict:
        """Whether this side may send a file: enabled, then read-only, type, size."""
        if not self.enabled:
            return Verdict("attachments_disabled", "File attachments are disabled for this side.")
        if self.read_only:
            return Verdict("read_only", "This side may receive files, but not send them.")
        return self._judge_type(file) or self._judge_size(file.name, file.size_bytes) or ACCEPTED

    def judge_reading(self) -> Verdict:
        """Whether this side may see and download files. A sender's limits do not bind its readers."""
        if not self.enabled:
            return Verdict("attachments_disabled", "File attachments are disabled for this side.")
        return ACCEPTED

    def _judge_type(self, file: File) -> Verdict | None:
        accepted = self.accepted_extensions
        extension = file.extension
        lowered = file.name.casefold()
        # An entry may hold a dot ("tar.gz"), so the whole ending is compared.
        # From the second character on: a name that is nothing but an ending has none.
        if not lowered.endswith(_endings(accepted), 1):
            what = f"has the extension {extension!r}" if extension else "has no extension"
            allowed = ", ".join(accepted) or "none"
            return Verdict("invalid_type", f"{file.name!r} {what}; accepted: {allowed}.", accepted, extension)
        if not type_fits(extension, file.content_type):
            return Verdict(
                "invalid_type",
                f"{file.name!r} is declared as {file.content_type}, which contradicts its extension.",
                accepted,
                file.content_type,
            )
        return None

    def _judge_size(self, name: str, size_bytes: int) -> Verdict | None:
        if size_bytes == 0:
            return Verdict("invalid_size", f"{name!r} is empty.", self.max_file_size, 0)
        if size_bytes > self.max_file_size:
            return Verdict(
                "invalid_size",
                f"{name!r} has {size_bytes} bytes; at most {self.max_file_size} are allowed.",
                self.max_file_size,
                size_bytes,
            )
        return None


@functools.lru_cache(64)
def _endings(extensions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("." + extension for extension in extensions)


def type_fits(extension: str, content_type: str) -> bool:
    """Whether a declared MIME type can be that of an extension. An extension nobody knows fits any type."""
    known = guess_content_type(f"x.{extension}")
    if _UNDECLARED in (content_type, known):
        return True
    return content_type == known or content_type in _ALSO.get(extension, ())
