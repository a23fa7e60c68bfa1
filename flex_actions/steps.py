"""Driving a coroutine by hand: JavaScript runs an async function at once up to its first wait, asyncio a turn later."""

import asyncio
import contextvars
import sys
import types
from asyncio import tasks as _tasks
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any


@types.coroutine
def resume(coroutine: Coroutine[Any, Any, Any], yielded: Any) -> Generator[Any, Any, Any]:
    """Go on awaiting a coroutine that was driven up to its first wait and yielded `yielded` there."""
    sent = None
    while True:
        try:
            sent = yield yielded
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            thrown: BaseException | None = error
        else:
            thrown = None
        try:
            yielded = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
        except StopIteration as stop:
            return stop.value


class Started:
    """What `start_now` began: awaitable, like a promise. Its task ends with the same value or error."""

    def __init__(self, task: "asyncio.Task[Any]", driver: "_Driver | None") -> None:
        self.task = task
        self._driver = driver

    def done(self) -> bool:
        """Whether it ran to its end without waiting (or has ended since)."""
        return self.task.done() or (self._driver is not None and self._driver.finished)

    def failure(self) -> BaseException | None:
        """What it raised, once done."""
        if self._driver is not None and self._driver.finished:
            return self._driver.error
        return None if self.task.cancelled() else self.task.exception()

    def __await__(self) -> Generator[Any, Any, Any]:
        driver = self._driver
        if driver is not None and driver.finished:
            if driver.error is not None:
                raise driver.error
            return driver.value
        return (yield from self.task.__await__())


def start_now(awaitable: Awaitable[Any]) -> Started:
    """Start a coroutine in this turn, in a task of its own and in a copy of the context."""
    coroutine = awaitable if asyncio.iscoroutine(awaitable) else _wrapped(awaitable)
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        return Started(asyncio.Task(coroutine, loop=loop, eager_start=True), None)
    driver = _Driver(coroutine)
    context = contextvars.copy_context()
    # The task exists before the first step: `asyncio.timeout` inside it must find this task, not the caller's.
    task: asyncio.Task[Any] = loop.create_task(driver, context=context)
    caller = asyncio.current_task()
    if caller is not None:
        _tasks._leave_task(loop, caller)
    _tasks._enter_task(loop, task)
    try:
        context.run(driver.first_step)
    finally:
        _tasks._leave_task(loop, task)
        if caller is not None:
            _tasks._enter_task(loop, caller)
    return Started(task, driver)


async def _wrapped(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class _Driver(Coroutine[Any, Any, Any]):
    """The coroutine as its task sees it: the first step was taken already, the task only repeats what it yielded."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._pending: Any = None
        self._handed_over = False
        self.finished = False
        self.value: Any = None
        self.error: BaseException | None = None

    def first_step(self) -> None:
        try:
            self._pending = self._coroutine.send(None)
        except StopIteration as stop:
            self.finished, self.value = True, stop.value
        except BaseException as error:
            self.finished, self.error = True, error
            if not isinstance(error, (Exception, asyncio.CancelledError)):
                raise

    def send(self, value: Any) -> Any:
        if self.finished:
            # The value or error was handed out by `Started`; the task must not report it a second time.
            raise StopIteration(self.value)
        if not self._handed_over:
            self._handed_over = True
            return self._pending
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        if self.finished:
            raise StopIteration(self.value)
        self._handed_over = True
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        raise RuntimeError("driven by its task")
