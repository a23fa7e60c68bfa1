"""The exit codes of `flex-actions`, for scripts: one table."""

from typing import Final

OK: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
BACKEND: Final = 3
UNKNOWN: Final = 4
INTERRUPTED: Final = 130
CUT_OFF: Final = 141

MEANINGS: Final = {
    OK: "done",
    REFUSED: "an action was refused or failed; with run: at least one line",
    USAGE: "wrong usage: of the command line, the configuration or a plugin",
    BACKEND: "the chat cannot be used: its store is full, damaged, too new, or out of reach; with doctor: a problem",
    UNKNOWN: "a call may or may not have happened: repeat it with the same --key",
    INTERRUPTED: "interrupted (Ctrl-C)",
    CUT_OFF: "whoever read the output went away",
}

_BY_CODE: Final = {
    "invalid_config": USAGE,
    "invalid_registration": USAGE,
    "backend_unavailable": BACKEND,
    "rate_limited": BACKEND,
    "store_exists": REFUSED,
    "media_corrupt": BACKEND,
    "outcome_unknown": UNKNOWN,
    "action_timeout": UNKNOWN,
}


def exit_code(code: str) -> int:
    """What the process ends with after an `ActionError` of that code."""
    return _BY_CODE.get(code, BACKEND if code.startswith("store_") else REFUSED)
