"""Our structlog logger: your configuration if there is one, otherwise readable lines on stderr.

Events have constant names; their facts are names, codes and sids: never a text, a file name, an identity or a link.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeVar

from .errors import ActionError
from .invocation import current
from .nearest import did_you_mean

# structlog is imported where it is needed: that takes longer than `import flex_actions` itself, and may never be.

T = TypeVar("T")
LogFormat = Literal["console", "json"]
FORMATS: Final[tuple[LogFormat, ...]] = ("console", "json")
LEVELS: Final = ("debug", "info", "warning", "error", "critical")

_wanted: Final[list[tuple[LogFormat, str]]] = []


def where(error: BaseException) -> str:
    """The file and line in which an error was raised, for a log line: never its text, which may hold anything."""
    trace = error.__traceback__
    if trace is None:
        return "?"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def safe_text(value: T, text_of: Callable[[T], str] = str) -> str:
    """What `str` says of a value, or its class where that fails."""
    try:
        return text_of(value)
    except Exception:
        return f"<{type(value).__name__}>"


def configure_logs(format: LogFormat = "console", *, level: str = "info") -> bool:
    """Have structlog write log lines to stderr: those of flex_actions, of plugins, and yours.

    A configuration of your own is never overridden. Without any, flex_actions' own lines look like `console` anyway.

    Args:
        format: `console` for people (in colour if stderr is a terminal and NO_COLOR is unset), or `json`: one object a
            line, with `timestamp` (ISO 8601, UTC), `level`, `event` and its facts.
        level: the lowest one that is written: debug, info, warning, error or critical.

    Returns:
        Whether it was done: False if structlog has been configured otherwise.

    Raises:
        ActionError: `invalid_config`: no such format or level.
    """
    for value, known in ((format, FORMATS), (level, LEVELS)):
        if value not in known:
            raise ActionError("invalid_config", f"Logs know no {value!r}.", hint=did_you_mean(str(value), known))
    import structlog

    from . import log_lines

    if _is_yours():
        return False
    structlog.configure(
        processors=list(log_lines.chain(format)),
        wrapper_class=log_lines.bound_class(level),
        context_class=dict,
        logger_factory=log_lines.StderrLoggers(),
        cache_logger_on_first_use=False,
    )
    return True


@contextlib.contextmanager
def configured(format: LogFormat, level: str, *, at_once: bool) -> Iterator[None]:
    """While this lasts, as by `configure_logs`; then as before. A configuration that is there already stays.

    Args:
        format, level: see `configure_logs`.
        at_once: also for those who log through structlog itself; otherwise once we have something to log.
    """
    structlog = sys.modules.get("structlog")
    if structlog is not None and structlog.is_configured():
        yield
        return
    _wanted[:] = [(format, level)]
    try:
        if at_once:
            logger()
        yield
    finally:
        _wanted.clear()
        structlog = sys.modules.get("structlog")
        if structlog is not None and structlog.is_configured() and not _is_yours():
            structlog.reset_defaults()


def logger(**facts: Any) -> Any:
    """A structlog logger with `facts` bound, and the action and number of the invocation that the caller runs in.

    Resolved anew each time, so a later configuration counts.
    """
    import structlog

    from . import log_lines

    invocation = current.get()
    if invocation is not None:
        facts = {"action": invocation.action, "invocation": invocation.id, **facts}
    while _wanted:
        form, level = _wanted.pop()
        configure_logs(form, level=level)
    if structlog.is_configured():
        return structlog.get_logger("flex_actions", **facts)
    # structlog's own default prints to stdout, which belongs to the program's results.
    return log_lines.own_logger("console", "info", **facts)


def _is_yours() -> bool:
    import structlog

    from . import log_lines

    return structlog.is_configured() and not isinstance(
        structlog.get_config()["logger_factory"], log_lines.StderrLoggers
    )
