"""`ChatActions`: the dispatcher of a session, with the types of the chat's actions."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, Literal, overload

from .actions import Actions
from .turns import Turn

if TYPE_CHECKING:
    from .outbox import Sent
    from .payloads import (
        AttachFilePayload,
        DeleteMessagePayload,
        DetachFilePayload,
        DownloadMediaPayload,
        FileKeys,
        MessageKeys,
        SendMediaMessagePayload,
        SendMessagePayload,
        SendTypingPayload,
        SetInputTextPayload,
        TextKeys,
    )
    from .ports import Link

ActionName = Literal[
    "AttachFile",
    "DetachFile",
    "SendMediaMessage",
    "DownloadMedia",
    "SendMessage",
    "DeleteMessage",
    "SetInputText",
    "SendTyping",
]


class WrongPayload:
    """What a type checker sees where the payload of one of the chat's actions has wrong or missing keys. Never made."""


# No set: what cannot be looked up in one is an unknown action like any other.
_SENDS: Final = ("SendMessage", "SendMediaMessage")


class ChatActions(Actions):
    """`Actions` whose sends keep the order in which they were called."""

    if TYPE_CHECKING:

        @overload  # type: ignore[override]
        def invoke(  # type: ignore[overload-overlap]
            self,
            name: Literal["AttachFile"],
            payload: AttachFilePayload | FileKeys,
            *,
            key: None = None,
            timeout_s: float | None = None,
        ) -> Coroutine[Any, Any, None]: ...
        @overload
        def invoke(  # type: ignore[overload-overlap]
            self,
            name: Literal["DetachFile"],
            payload: DetachFilePayload | FileKeys,
            *,
            key: None = None,
            timeout_s: float | None = None,
        ) -> Coroutine[Any, Any, None]: ...
        @overload
        def invoke(  # type: ignore[overload-overlap]
            self,
            name: Literal["SendMediaMessage"],
            payload: SendMediaMessagePayload | FileKeys,
            *,
            key: str | None = None,
            timeout_s: float | None = None,
        ) -> Coroutine[Any, Any, Sent]: ...
        @overload
        def invoke(  # type: ignore[overload-overlap]
            self,
            name: Literal["SendMessage"],
            payload: SendMessagePayload | TextKeys,
            *,
            key: str | None = None,
            timeout_s: float | None = None,
        ) -> Coroutine[Any, Any, Sent]: ...
        @overload
        def invoke(  # type: ignore[overload-overlap]
            self,
            name: Literal["DownloadMedia"],
            payload: DownloadMediaPayload | MessageKeys,
            *,
            key: None = None,
            timeout_s: float | None = None,
        ) -> Coroutine[Any, Any, Link]: ...
        @overload
        def invoke(  # type: ignore[overload-overlap]
            self,
            name: Literal["DeleteMessage"],
            payload: DeleteMessagePayload | MessageKeys,
            *,
            key: None = None,
            timeout_s: float | None = None,
        ) -> Coroutine[Any, Any, None]: ...
        @overload
        def invoke(  # type: ignore[overload-overlap]
            self,
            name: Literal["SetInputText", "SendTyping"],
            payload: SetInputTextPayload | SendTypingPayload | TextKeys,
            *,
            key: None = None,
            timeout_s: float | None = None,
        ) -> Coroutine[Any, Any, None]: ...
        # A payload that fits none of the above must not fall through to the actions of one's own: what this returns
        # cannot be awaited, so the type checker objects at the call.
        @overload
        def invoke(self, name: ActionName, payload: object = None, **options: object) -> WrongPayload: ...  # type: ignore[overload-overlap]
        @overload
        def invoke(
            self, name: str, payload: Any = None, *, key: str | None = None, timeout_s: float | None = None
        ) -> Coroutine[Any, Any, Any]: ...

        def invoke(self, name: str, payload: Any = None, **options: Any) -> Any:
            """Invoke an action; see `Actions.invoke`."""

    else:

        def invoke(self, name: str, payload: Any = None, **options: Any) -> Coroutine[Any, Any, Any]:
            """Invoke an action; see `Actions.invoke`."""
            if name in _SENDS:
                return self._in_order(super().invoke, name, payload, options)
            return super().invoke(name, payload, **options)

    async def _in_order(
        self, invoke: Callable[..., Coroutine[Any, Any, Any]], name: str, payload: Any, options: dict[str, Any]
    ) -> Any:
        with Turn():
            return await invoke(name, payload, **options)
