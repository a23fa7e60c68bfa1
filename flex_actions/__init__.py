"""flex_actions: Twilio Flex's Actions model in Python, for chat attachments."""

from . import signals
from .actions import Actions
from .attachments import InputView
from .backends import open_backend
from .backends.upkeep import (
    BackupReport,
    Finding,
    RescueReport,
    RestoreReport,
    backup_store,
    check_store,
    rescue_store,
    restore_store,
)
from .chat_actions import ChatActions
from .clock import Clock, Ids
from .config import Config
from .errors import (
    CODES,
    ActionAborted,
    ActionError,
    ActionFailed,
    AttachmentRefused,
    HookFailed,
    OutcomeUnknown,
    RegistrationError,
)
from .files import File
from .hooks import Hook
from .invocation import Invocation, current_invocation
from .logs import configure_logs
from .message_input import InputState
from .notifications import Notification
from .outbox import Sent
from .payloads import (
    AttachFilePayload,
    DeleteMessagePayload,
    DetachFilePayload,
    DownloadMediaPayload,
    SendMediaMessagePayload,
    SendMessagePayload,
    SendTypingPayload,
    SetInputTextPayload,
    payload_update,
)
from .plugin_loader import Plugin
from .policy import AttachmentPolicy, Verdict
from .ports import (
    Backend,
    Capabilities,
    Channel,
    Draft,
    Event,
    Key,
    KeyRecord,
    Link,
    Media,
    Member,
    Message,
    Posted,
    Settled,
)
from .registry import Handle
from .session import Session, connect
from .sync import SyncSession, connect_sync

__version__ = "0.1.0"

__all__ = [
    "CODES",
    "ActionAborted",
    "ActionError",
    "ActionFailed",
    "Actions",
    "AttachFilePayload",
    "AttachmentPolicy",
    "AttachmentRefused",
    "Backend",
    "BackupReport",
    "Capabilities",
    "Channel",
    "ChatActions",
    "Clock",
    "Config",
    "DeleteMessagePayload",
    "DetachFilePayload",
    "DownloadMediaPayload",
    "Draft",
    "Event",
    "File",
    "Finding",
    "Handle",
    "Hook",
    "HookFailed",
    "Ids",
    "InputState",
    "InputView",
    "Invocation",
    "Key",
    "KeyRecord",
    "Link",
    "Media",
    "Member",
    "Message",
    "Notification",
    "OutcomeUnknown",
    "Plugin",
    "Posted",
    "RegistrationError",
    "RescueReport",
    "RestoreReport",
    "SendMediaMessagePayload",
    "SendMessagePayload",
    "SendTypingPayload",
    "Sent",
    "Session",
    "SetInputTextPayload",
    "Settled",
    "SyncSession",
    "Verdict",
    "backup_store",
    "check_store",
    "configure_logs",
    "connect",
    "connect_sync",
    "current_invocation",
    "open_backend",
    "payload_update",
    "rescue_store",
    "restore_store",
    "signals",
]
