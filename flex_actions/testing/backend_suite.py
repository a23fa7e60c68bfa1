"""The conformance suite: whether a backend does what `flex_actions.ports` says.

With pytest:

    @pytest.mark.parametrize("name", BACKEND_CHECKS)
    async def test_backend(name):
        await BACKEND_CHECKS[name](factory)

or, without any test runner, `asyncio.run(check_backend(factory))`. The factory gives a fresh, empty store each time:

    @contextlib.asynccontextmanager
    async def factory(*, clock, ids):
        backend = MyBackend(clock=clock, ids=ids)
        await backend.open()
        try:
            yield backend
        finally:
            await backend.close()

The clock is a `ManualClock`: what must happen after 5 minutes or 7 days is checked in no time.
"""

from . import _suite_channels, _suite_events, _suite_links, _suite_media, _suite_messages, _suite_sending, _suite_shared
from ._suite_tools import CHECKS, SHARED_CHECKS, BackendFactory, Check, SecondView, SharedCheck

# Importing them is what registers their checks.
_PARTS = (_suite_channels, _suite_messages, _suite_media, _suite_sending, _suite_events, _suite_links, _suite_shared)

BACKEND_CHECKS: dict[str, Check] = CHECKS
"""Every check of one backend, by name: `await BACKEND_CHECKS[name](factory)`; its docstring is the rule."""

SHARED_BACKEND_CHECKS: dict[str, SharedCheck] = SHARED_CHECKS
"""Every check of two backends on one store: `await SHARED_BACKEND_CHECKS[name](factory, second)`."""


async def check_backend(factory: BackendFactory, *, second: SecondView | None = None) -> int:
    """Hold a backend to every rule of `ports.Backend`; how many checks it passed.

    Args:
        factory: called as `factory(clock=…, ids=…)`; an async context manager that yields a fresh, empty, opened
            backend and closes it at the end (it may be closed already then).
        second: called as `second(backend, clock=…, ids=…)`; an async context manager that yields another opened
            backend on the same store. Without it, what concerns shared stores is not checked.

    Raises:
        AssertionError: names the check, what was found and the rule; the cause is chained.
    """
    for check in BACKEND_CHECKS.values():
        await check(factory)
    if second is None:
        return len(BACKEND_CHECKS)
    for shared in SHARED_BACKEND_CHECKS.values():
        await shared(factory, second)
    return len(BACKEND_CHECKS) + len(SHARED_BACKEND_CHECKS)


__all__ = [
    "BACKEND_CHECKS",
    "SHARED_BACKEND_CHECKS",
    "BackendFactory",
    "Check",
    "SecondView",
    "SharedCheck",
    "check_backend",
]
