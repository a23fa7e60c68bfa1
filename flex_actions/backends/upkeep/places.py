"""Where stores lie and copies go."""

import os

from ...errors import ActionError
from ..local import folder_of, holds_no_chat


def chat_folder(url: str, *, must_exist: bool = True) -> str:
    """The folder of a `local:` chat. Raises `invalid_config`, `store_missing`."""
    scheme, _, path = str(url).partition(":")
    if scheme != "local":
        raise ActionError(
            "invalid_config",
            f"A {scheme[:40]}: chat is not kept in a folder: there is nothing to check, back up or restore.",
            hint="Name one with --chat local:FOLDER.",
        )
    return _checked(path, must_exist=must_exist)


def copy_folder(text: str) -> str:
    """The folder of a backup, given as a path or as the URL of its chat. Raises as `chat_folder`."""
    return chat_folder(text) if text.startswith(("local:", "memory:")) else _checked(text)


def _checked(path: str, *, must_exist: bool = True) -> str:
    if not path or "\0" in path:
        raise ActionError("invalid_config", "local: needs the path of a folder.", hint="Write 'local:./chat'.")
    try:
        os.fsencode(path)
    except UnicodeEncodeError:
        raise ActionError("invalid_config", f"{path[:80]!a} is no path.") from None
    folder = folder_of(path)
    if must_exist and holds_no_chat(folder):
        raise ActionError("store_missing", f"There is no chat in {folder!a}.", details={"folder": folder})
    return folder


def new_folder(text: str, *, outside: str) -> str:
    """Where a copy is to lie. Raises `invalid_config`, `store_exists`, `file_unwritable`."""
    if text.startswith("memory:"):
        raise ActionError("invalid_config", "A copy is kept in a folder; memory: is none.")
    dest = _checked(text.removeprefix("local:"), must_exist=False)
    if lies_in(dest, outside):
        raise ActionError(
            "invalid_config", f"{dest!a} lies in the folder of the chat itself.", hint="Name a place outside of it."
        )
    if os.path.lexists(dest):
        raise ActionError(
            "store_exists", f"{dest!a} is there already.", hint="Name a new folder.", details={"folder": dest}
        )
    if not os.path.isdir(os.path.dirname(dest)):
        raise ActionError("file_unwritable", f"There is no folder {os.path.dirname(dest)!a}.", hint="Make it first.")
    return dest


def lies_in(path: str, folder: str) -> bool:
    """Whether a path is a folder or something below it, whatever links lead there."""
    found, top = os.path.realpath(path), os.path.realpath(folder)
    return found == top or found.startswith(os.path.join(top, ""))
