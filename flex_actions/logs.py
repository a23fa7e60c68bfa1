"""Our structlog logger: your configuration if there is one, otherwise stderr.

Events carry names, codes and sids; never a text, a file name, an identity or a link.
"""

import os
import sys
from typing import Any


def where(error: BaseException) -> str:
    """The file and line in which an error was raised, for a log line: never its text, which may hold anything."""
    trace = error.__traceback__
    if trace is None:
        return "?"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"


def safe_text(value: object) -> str:
    """What `str` says of a value, or its class where that fails."""
    try:
        return str(value)
    except Exception:
        return f"<{type(value).__name__}>"


def logger(**facts: Any) -> Any:
    """A structlog logger with `facts` bound. Resolved anew each time, so a later configuration counts."""
    # Here, not above: it brings rich along, a third of what `import flex_actions` would take.
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("flex_actions", **facts)
    # structlog's own default prints to stdout, which belongs to the program's results.
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), **facts)
