"""Temporary links over HTTP: `flex-actions serve`, and the same as an ASGI app to mount elsewhere.

    from flex_actions.server import media_app

    app = media_app(backend)  # answers GET and HEAD of /media/…, nothing else

Needs the extra `server` (Starlette, uvicorn, httptools); nothing else in flex_actions imports this.
"""

try:
    import starlette  # noqa: F401 - only to say which extra brings it
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "flex_actions.server needs Starlette: pip install 'flex-actions[server]'", name=error.name
    ) from error

from .app import media_app
from .limits import Limits

__all__ = ["Limits", "media_app"]
