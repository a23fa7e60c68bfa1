"""Driving coroutines by hand: up to the first wait at once, the rest in a task."""

import asyncio

import pytest

from flex_actions.steps import resume, start_now


async def waits_for(event, log):
    log.append("begun")
    await event.wait()
    log.append("ended")
    return "value"


async def test_a_coroutine_that_never_waits_is_done_at_once():
    async def quick():
        return "value"

    started = start_now(quick())
    assert (started.task, started.error, await started, await started) == (None, None, "value", "value")


async def test_one_that_waits_is_begun_at_once_and_ends_in_its_task():
    log, gate = [], asyncio.Event()
    started = start_now(waits_for(gate, log))
    assert (log, started.task.done()) == (["begun"], False)
    gate.set()
    assert await started == "value"
    assert (log, started.task.done(), started.task.exception()) == (["begun", "ended"], True, None)


@pytest.mark.parametrize("waits", [False, True])
async def test_an_error_is_raised_to_whoever_awaits(waits):
    async def fails():
        if waits:
            await asyncio.sleep(0)
        raise ValueError("oops")

    started = start_now(fails())
    with pytest.raises(ValueError, match="oops"):
        await started
    assert isinstance(started.task.exception() if waits else started.error, ValueError)


async def test_an_error_before_the_first_wait_is_not_reported_a_second_time_by_the_loop():
    reports = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reports.append(context))

    async def fails():
        raise ValueError

    started = start_now(fails())
    await asyncio.sleep(0)
    assert (started.task, type(started.error)) == (None, ValueError)
    del started
    assert reports == []


async def test_a_future_can_be_started_too():
    future = asyncio.get_running_loop().create_future()
    started = start_now(future)
    future.set_result("value")
    assert await started == "value"


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_cancelled_task_throws_where_the_coroutine_waits(turns):
    log = []

    async def cleans_up():
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cleaned up")

    started = start_now(cleans_up())
    for _turn in range(turns):
        await asyncio.sleep(0)
    started.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await started
    assert log == ["cleaned up"]


async def test_started_inside_started():
    log, gate = [], asyncio.Event()

    async def outer():
        outer_task = asyncio.current_task()
        inner = start_now(waits_for(gate, log))
        assert asyncio.current_task() is outer_task
        return await inner

    started = start_now(outer())
    assert log == ["begun"]
    gate.set()
    assert await started == "value"


async def test_a_task_group_works_before_the_first_wait():
    async def grouped():
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "value"))
        return task.result()

    assert await start_now(grouped()) == "value"


async def test_a_coroutine_driven_to_its_first_wait_can_be_resumed():
    log, gate = [], asyncio.Event()
    coroutine = waits_for(gate, log)
    first = coroutine.send(None)
    gate.set()
    assert await resume(coroutine, first) == "value"


async def test_a_resumed_coroutine_gets_what_is_thrown():
    log = []

    async def cleans_up():
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cleaned up")

    coroutine = cleans_up()
    first = coroutine.send(None)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await resume(coroutine, first)
    assert log == ["cleaned up"]


async def test_a_resumed_coroutine_is_closed_with_its_driver():
    log = []

    async def cleans_up():
        try:
            await asyncio.Event().wait()
        finally:
            log.append("closed")

    coroutine = cleans_up()
    driver = resume(coroutine, coroutine.send(None))
    driver.send(None)
    driver.close()
    assert log == ["closed"]
