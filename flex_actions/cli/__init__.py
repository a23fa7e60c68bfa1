"""The command line, `flex-actions`: channels, actions, messages and files of a chat.

Results go to stdout, what is meant for people to stderr. With `--json` a result is one JSON object a line, in ASCII,
with Flex's camelCase keys; an error is `{"ok": false, "error": {"code": …}}`.

Exit codes: see `exits`.
"""

# The modules of commands add them to `main`.
from . import channels, doctor, inspecting, invoking, keys, reading, scripts, serving, storing  # noqa: F401
from .app import main

__all__ = ["main"]
