"""For tests of plugins, bots and backends: time and identifiers in your hand, and the suite a backend has to pass."""

from ..clock import CountingIds, ManualClock
from .backend_suite import (
    BACKEND_CHECKS,
    SHARED_BACKEND_CHECKS,
    BackendFactory,
    SecondView,
    check_backend,
)

__all__ = [
    "BACKEND_CHECKS",
    "SHARED_BACKEND_CHECKS",
    "BackendFactory",
    "CountingIds",
    "ManualClock",
    "SecondView",
    "check_backend",
]
