"""Every error that flex_actions raises, with its stable code.

    ActionError                 anything refused or failed; `code` says what
    ├── ActionAborted           a hook called `abort(reason)`
    ├── ActionFailed            a body raised something of its own; the cause is chained
    ├── HookFailed              a before hook or a guard raised; the cause is chained
    ├── AttachmentRefused       the attachment policy said no; `verdict` holds limit and actual value
    ├── OutcomeUnknown          a send may or may not have happened; settle it by its key
    └── RegistrationError       a hook, action or plugin was registered wrongly (the author's mistake)

`BaseException` (cancellation, Ctrl-C) is never wrapped.
"""

from collections.abc import Mapping
from typing import Any, Final

# One line a code: the public contract of `ActionError.code`. Grow it; never reuse one.
CODES: Final[Mapping[str, str]] = {
    "unknown_action": "No action of that name is registered.",
    "action_pending": "The same action with an equal payload is still running.",
    "action_blocked": "The action is blocked.",
    "action_aborted": "A before hook or a guard called abort().",
    "abort_too_late": "abort() was called after the before hooks had ended.",
    "hook_failed": "A before hook or a guard raised, so the action was refused.",
    "hook_timeout": "A hook exceeded its time limit.",
    "action_timeout": "The invocation exceeded the caller's timeout_s.",
    "action_failed": "The body or a replacement raised.",
    "original_not_awaited": "A replacement returned before the original() it had called was awaited.",
    "depth_exceeded": "Invocations are nested too deeply.",
    "invalid_registration": "A hook, action or plugin was registered wrongly.",
    "invalid_payload": "The payload has a wrong, unknown or missing key or value.",
    "payload_changed": "A hook's leftover task changed the payload while guards decided on it.",
    "key_not_supported": "The action takes no idempotency key.",
    "key_reused": "The idempotency key already belongs to another payload.",
    "attachments_disabled": "File attachments are disabled for this side.",
    "read_only": "This side may receive files, not send them.",
    "invalid_type": "The file's extension or MIME type is not accepted.",
    "invalid_size": "The file is empty or larger than allowed.",
    "one_file_at_a_time": "The message input already holds a file.",
    "input_holds_file": "Text cannot be entered while a file is attached.",
    "input_busy": "The message input is sending.",
    "nothing_attached": "No file is attached.",
    "file_not_attached": "Another file is attached.",
    "nothing_to_send": "There is no text to send.",
    "file_changed": "The file changed between the check and the end of the send.",
    "file_unreadable": "The file cannot be read.",
    "file_unwritable": "The download cannot be written there.",
    "unknown_channel": "No such channel.",
    "channel_exists": "A channel of that unique name exists already.",
    "channel_closed": "The channel is closed.",
    "not_a_member": "Not a member of the channel.",
    "unknown_message": "No such message, or it was deleted.",
    "no_media": "The message carries no file.",
    "link_expired": "The temporary link has expired.",
    "link_invalid": "The temporary link was altered or is no link of this store.",
    "media_deleted": "The file was deleted.",
    "media_corrupt": "The stored file no longer matches its size or hash.",
    "invalid_cursor": "The event cursor was not made by this store.",
    "store_full": "The disk of the store is full.",
    "store_missing": "There is no chat at that place.",
    "store_exists": "There is something at that place already.",
    "store_in_use": "Others have the chat open, or keep it to themselves.",
    "store_readonly": "The store cannot be written.",
    "store_version": "The store was written by a newer version.",
    "store_corrupt": "The store is not a flex_actions store or is damaged.",
    "backend_unavailable": "The backend cannot be reached or is closed.",
    "rate_limited": "The backend asks to slow down.",
    "not_authorized": "This identity or role may not do that.",
    "outcome_unknown": "The send may or may not have happened.",
    "invalid_config": "The configuration has a wrong, unknown or missing key or value.",
    "session_closed": "The session is closed.",
    "inside_event_loop": "connect_sync() was called inside a running event loop.",
}
_SHOWN_CHARS: Final = 200


def brief(value: object) -> str:
    """A value as the sentence of an error shows it: quoted, not endless, whatever it is."""
    try:
        shown = repr(value)
    except Exception:  # an integer of thousands of digits, a list nested without end
        return f"a {type(value).__name__} that cannot be shown"
    return shown if len(shown) <= _SHOWN_CHARS else shown[:_SHOWN_CHARS] + "…"


def as_text(value: object) -> str:
    """A value as the facts of an error hold it: text stays, anything else is told about."""
    return value if isinstance(value, str) else brief(value)


class ActionError(Exception):
    """An action was refused or failed.

    Attributes:
        code: one of `CODES`; stable, for programs.
        message: one sentence for people.
        action: the action's name, if one was concerned.
        hook: who refused or failed, as `plugin: function` or `function`.
        hint: what to do about it.
        retryable: the same call may succeed later, unchanged.
        description: the longer text that Flex gives the same error (flex profiles only).
        details: the facts behind it (limit, actual value, …), JSON-compatible.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        action: str | None = None,
        hook: str | None = None,
        hint: str | None = None,
        retryable: bool = False,
        description: str | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        if code not in CODES:
            raise ValueError(f"not an error code of flex_actions: {code!r}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.action = action
        self.hook = hook
        self.hint = hint
        self.retryable = retryable
        self.description = description
        self.details = dict(details or {})

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        end = "" if self.message.endswith((".", "!", "?", ":")) else "."
        return f"{self.message}{end} {self.hint}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code!r}, {self.message!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__, self.args)

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-compatible facts, without those that are absent."""
        facts: dict[str, Any] = {"code": self.code, "message": self.message}
        for name in ("action", "hook", "hint", "description"):
            if (value := getattr(self, name)) is not None:
                facts[name] = value
        facts["retryable"] = self.retryable
        if self.details:
            facts["details"] = self.details
        return facts


def _rebuild(cls: type[ActionError], state: dict[str, Any], args: tuple[Any, ...]) -> ActionError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ActionAborted(ActionError):
    """A hook called `abort(reason)`; `reason` is what it gave, `hook` who it was."""

    reason: object = None


class ActionFailed(ActionError):
    """A body or replacement raised; the cause is chained as `__cause__`."""


class HookFailed(ActionError):
    """A before hook or a guard raised or ran out of time; the cause is chained as `__cause__`."""


class AttachmentRefused(ActionError):
    """The attachment policy refused a file; `verdict` is the `policy.Verdict`, `details` its facts."""

    verdict: Any = None


class OutcomeUnknown(ActionError):
    """A send may or may not have happened. Nothing is sent again by itself: settle it by `key`."""

    key: str | None = None


class RegistrationError(ActionError, ValueError):
    """A hook, action or plugin was registered wrongly: a mistake of its author, found at once."""
