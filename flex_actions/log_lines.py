"""How our log lines look: structlog processors that end in one line of JSON, or one for people, on stderr."""

import functools
import json
import logging
import math
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from .logs import safe_text, where
from .terminal import shown, takes_colours

Facts = MutableMapping[str, Any]
_FIRST: Final = ("timestamp", "level", "event")


class StderrLogger:
    """Writes finished lines to stderr, whatever that is at the moment. A line that cannot be written is lost."""

    def msg(self, line: str) -> None:
        """Write a line."""
        try:
            # One call: a line of another thread must not fall in between.
            sys.stderr.write(line + "\n")
            sys.stderr.flush()
        except (AttributeError, OSError, ValueError):
            pass  # no stderr, or nobody reads it: no reason for an action to fail

    log = debug = info = warn = warning = err = error = critical = exception = fatal = failure = msg


class StderrLoggers:
    """structlog's factory of `StderrLogger`; by its class we know a configuration of ours."""

    def __call__(self, *args: Any) -> StderrLogger:
        """A logger."""
        return StderrLogger()


@functools.cache
def chain(form: str) -> tuple[Any, ...]:
    """The processors for `json` or `console`."""
    return (
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_texts_of_errors,
        _as_json if form == "json" else _for_people,
    )


@functools.cache
def bound_class(level: str) -> Any:
    """The class of loggers that drop what is below a level."""
    return structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()])


def own_logger(form: str, level: str, **facts: Any) -> Any:
    """A logger that no configuration of structlog changes."""
    return structlog.wrap_logger(
        StderrLogger(),
        processors=chain(form),
        wrapper_class=bound_class(level),
        context_class=dict,
        cache_logger_on_first_use=False,
        **facts,
    )


def _without_texts_of_errors(_: Any, __: str, facts: Facts) -> Facts:
    """`log.exception(…)` says what was raised and where: the text, and the values in a traceback, may be anybody's."""
    error = facts.pop("exc_info", None)
    if isinstance(error, tuple):
        error = error[1]
    elif error and not isinstance(error, BaseException):
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        facts.setdefault("error", type(error).__name__)
        facts.setdefault("where", where(error))
    return facts


def _as_json(_: Any, __: str, facts: Facts) -> str:
    ordered = {name: facts[name] for name in _FIRST if name in facts} | dict(facts)
    try:
        return json.dumps(ordered, default=safe_text, allow_nan=False)
    except (TypeError, ValueError, RecursionError):  # a key that is none, a value that contains itself, NaN
        plain = {safe_text(name): value if _is_plain(value) else safe_text(value) for name, value in ordered.items()}
        return json.dumps(plain)


def _for_people(_: Any, method: str, facts: Facts) -> str:
    plain = {safe_text(name): _in_line(value) for name, value in facts.items()}
    return str(_renderer(takes_colours(sys.stderr))(None, method, plain))


def _in_line(value: Any) -> Any:
    if isinstance(value, str):
        return shown(value)
    return value if _is_plain(value) else shown(safe_text(value, repr))


def _is_plain(value: Any) -> bool:
    return type(value) in (bool, int, type(None)) or (type(value) is float and math.isfinite(value))


@functools.cache
def _renderer(colours: bool) -> Any:
    return structlog.dev.ConsoleRenderer(colors=colours, sort_keys=False)
