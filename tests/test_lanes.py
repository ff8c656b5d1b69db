"""A lane hands work to its threads in order, and counts those that do not come back."""

import asyncio
import threading
import time

import anyio
import anyio.lowlevel
import pytest

from lakehouse.lanes import Lane, Threads


async def test_work_waits_in_order_while_all_threads_are_in_use() -> None:
    threads, gate, order = Threads(Lane.SHORT, 1), threading.Event(), []

    def noted(number: int) -> None:
        gate.wait(5)
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(threads.call, lambda number=number: noted(number))
            await anyio.lowlevel.checkpoint()
        gate.set()
    threads.close()

    assert order == [0, 1, 2, 3]


async def test_work_that_still_waits_when_its_caller_leaves_never_runs() -> None:
    threads, gate, ran = Threads(Lane.SHORT, 1), threading.Event(), []
    first = asyncio.ensure_future(threads.call(lambda: gate.wait(5)))
    await anyio.lowlevel.checkpoint()

    with anyio.move_on_after(0.01):
        await threads.run(lambda: ran.append(1), lambda: None, "late")
    gate.set()
    await first
    await threads.call(lambda: None)
    threads.close()

    assert ran == []


@pytest.mark.parametrize("error", [ValueError("so"), StopIteration()])
async def test_what_the_work_raises_reaches_the_caller(error: Exception) -> None:
    threads = Threads(Lane.SHORT, 1)

    def fail() -> None:
        raise error

    with anyio.fail_after(5), pytest.raises((ValueError, RuntimeError)):
        await threads.run(fail, lambda: None, "fails")
    assert await threads.call(lambda: 7) == 7
    threads.close()


async def test_a_thread_that_does_not_come_back_is_counted_until_it_does() -> None:
    threads, gate = Threads(Lane.SHORT, 2, give_up_after_s=0.05), threading.Event()
    interrupts: list[float] = []

    with anyio.move_on_after(0.01):
        await threads.run(lambda: gate.wait(10), lambda: interrupts.append(0), "deaf")
    (deaf,) = threads.given_up()

    assert deaf.name == "deaf"
    assert deaf.since <= time.monotonic()
    assert len(interrupts) > 1
    assert await threads.call(lambda: 7) == 7  # the other thread serves on
    gate.set()
    both = threading.Barrier(2)  # waits for two threads
    with anyio.fail_after(5):
        await asyncio.gather(threads.call(both.wait), threads.call(both.wait))
    threads.close()
    assert threads.given_up() == []
