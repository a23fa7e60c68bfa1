"""What a person is shown, with Flex's own ids and contexts; the wording is the page's."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from .errors import ActionError, AttachmentRefused


@attrs.frozen
class Notification:
    """A notification: `id` as in Flex, `context` what its text may show."""

    id: str
    context: Mapping[str, Any]


_VERBS: Final = {"AttachFile": "AttachFile", "SendMediaMessage": "SendMediaMessage", "DownloadMedia": "DownloadFile"}
_SIZE_UNITS: Final = ((1024**3, "GB"), (1024**2, "MB"), (1024, "kB"), (1, "B"))


def notification_for(error: ActionError, file_name: str | None) -> Notification | None:
    """The notification that Flex shows for a refusal, or None where it shows none."""
    verb = _VERBS.get(error.action or "")
    if verb and isinstance(error, AttachmentRefused):
        if error.code == "invalid_type":
            return Notification(f"{verb}InvalidType", {"fileName": file_name})
        if error.code == "invalid_size":
            limit = readable_size(error.details.get("limit", 0))
            return Notification(f"{verb}InvalidSize", {"fileName": file_name, "maxFileSize": limit})
        if error.code == "attachments_disabled" and verb == "AttachFile":
            return Notification("AttachFileDisabled", {})
    if error.code == "one_file_at_a_time":
        return Notification("AttachFileInvalidMaxAmount", {"maxAmount": 1, "singular": True})
    if error.code == "not_a_member" and error.action == "DownloadMedia":
        return Notification("DownloadFileNotParticipant", {})
    return None


def readable_size(size_bytes: int) -> str:
    """10485760 as `10MB`."""
    for factor, unit in _SIZE_UNITS:
        if size_bytes >= factor:
            return f"{size_bytes / factor:.4g}{unit}"
    return "0B"
