"""Log lines of a command: one form for all that anybody in the process has to log, on stderr."""

import contextlib
import logging
import sys
import threading
from collections.abc import Iterator
from typing import Any, Final

from ..logs import LEVELS, configured, logger, safe_text, where
from .options import Options

# They quote what they handle: tasks, requests, exceptions. Of these only what it was and where.
_QUOTING: Final = frozenset({"asyncio", "concurrent", "uvicorn"})


@contextlib.contextmanager
def logged(options: Options) -> Iterator[None]:
    """While this lasts, log lines look as the options want them; a program that has configured logs keeps its own."""
    root, handler = logging.getLogger(), _Handler(options)
    given = bool(root.handlers)
    before = threading.excepthook, sys.unraisablehook
    # Plugins may log through structlog itself, whose own default is stdout.
    with configured(options.log_format, options.log_level, at_once=bool(options.plugins)):
        try:
            if not given:
                root.addHandler(handler)
                threading.excepthook, sys.unraisablehook = _thread_failed, _unraisable
            yield
        finally:
            root.removeHandler(handler)
            if not given:
                threading.excepthook, sys.unraisablehook = before


class _Handler(logging.Handler):
    """Passes on what comes through Python's own logging."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self._options = options

    def emit(self, record: logging.LogRecord) -> None:
        """Log a record."""
        facts: dict[str, Any] = {"source": record.name}
        if record.name.partition(".")[0] not in _QUOTING:
            facts["message"] = safe_text(record, logging.LogRecord.getMessage)
        if record.exc_info and record.exc_info[1] is not None:
            facts |= _facts_of(record.exc_info[1])
        from ..log_lines import own_logger  # not at the top: it loads structlog

        # Not by way of a configuration that may itself lead to Python's logging.
        own = own_logger(self._options.log_format, self._options.log_level)
        getattr(own, _level_of(record.levelno))("python.log", **facts)


def _level_of(number: int) -> str:
    return next((name for name in reversed(LEVELS) if number >= getattr(logging, name.upper())), "debug")


def _facts_of(error: BaseException | None) -> dict[str, Any]:
    return {} if error is None else {"error": type(error).__name__, "where": where(error)}


def _thread_failed(failure: Any) -> None:
    if not isinstance(failure.exc_value, SystemExit):
        logger().error("python.thread_failed", **_facts_of(failure.exc_value))


def _unraisable(failure: Any) -> None:
    logger().error("python.unraisable", **_facts_of(failure.exc_value))
