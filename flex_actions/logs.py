"""Our structlog logger: your configuration if there is one, otherwise stderr.

Events carry names, codes and sids; never a text, a file name, an identity or a link.
"""

import sys
from typing import Any


def logger(**facts: Any) -> Any:
    """A structlog logger with `facts` bound. Resolved anew each time, so a later configuration counts."""
    # Here, not above: it brings rich along, a third of what `import flex_actions` would take.
    import structlog

    if structlog.is_configured():
        return structlog.get_logger("flex_actions", **facts)
    # structlog's own default prints to stdout, which belongs to the program's results.
    return structlog.wrap_logger(structlog.PrintLogger(sys.stderr), **facts)
