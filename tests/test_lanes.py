"""A lane hands work to its threads in order; a table is one change's at a time."""

import _thread
import asyncio
import gc
import threading
import time
from contextvars import ContextVar
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from lakehouse import lanes
from lakehouse.lanes import Lane, TableBusyError, Threads, Turns, on_thread


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


async def test_a_thread_that_began_keeps_whatever_it_was_handed() -> None:
    """The look whether it began may come when a later job of it is just handed over."""
    threads, hands = Threads(Lane.SHORT, 1, start_max_s=0.02), 0
    with anyio.fail_after(30):
        while hands < 2_000:
            worker = threads._workers[0] if threads._workers else None
            answer = asyncio.ensure_future(threads.call(lambda: None))
            await anyio.lowlevel.checkpoint()
            if worker is not None and not worker.jobs.empty():  # handed over, not yet taken
                hands += 1
                threads._see_it_began(worker)
            await answer
    threads.close()


async def test_a_thread_that_never_begins_is_missed_by_nobody_but_its_own_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = Threads(Lane.SHORT, 1, start_max_s=0.05)
    with monkeypatch.context() as patch, anyio.fail_after(5):
        # What happens at the limit of memory: it is there, and ends before its first line.
        patch.setattr(_thread, "start_new_thread", lambda *arguments: 1)
        first = asyncio.ensure_future(threads.call(lambda: 1))
        second = asyncio.ensure_future(threads.call(lambda: 2))
        await anyio.lowlevel.checkpoint()
        patch.undo()

        with pytest.raises(MemoryError):
            await first
        assert await second == 2, "it waited for the thread, and gets another"
    threads.close()


async def test_without_memory_for_a_thread_the_work_is_refused_and_the_next_is_done(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = Threads(Lane.SHORT, 1)

    def fail(*arguments: object) -> int:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(_thread, "start_new_thread", fail)
        with pytest.raises(MemoryError):
            await threads.call(lambda: 1)

    assert await threads.call(lambda: 2) == 2
    threads.close()


async def test_what_came_back_without_memory_to_say_so_says_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads, loop = Threads(Lane.SHORT, 1), asyncio.get_running_loop()
    tell, told = loop.call_soon_threadsafe, list[object]()

    def reluctant(*arguments: object) -> object:
        told.append(tell(*arguments))  # type: ignore[arg-type]
        if len(told) < 3:
            raise MemoryError
        return told[-1]

    monkeypatch.setattr(loop, "call_soon_threadsafe", reluctant)
    with anyio.fail_after(5):
        assert await threads.call(lambda: 7) == 7
        assert await threads.call(lambda: 8) == 8
    threads.close()


async def test_threads_that_nobody_needs_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "IDLE_MAX_S", 0.05)
    threads, together = Threads(Lane.SHORT, 9), threading.Barrier(9)
    before = count_threads()
    with anyio.fail_after(10):
        await asyncio.gather(*(threads.call(together.wait) for _ in range(9)))
        while count_threads() > before + lanes.IDLE_KEPT:  # noqa: ASYNC110 - of the kernel
            await anyio.sleep(0.01)
        assert await threads.call(lambda: 7) == 7
    threads.close()
    threads.join(5)


def count_threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


async def test_small_work_runs_beside_the_lanes_in_its_callers_context() -> None:
    name = ContextVar("name", default="")
    name.set("ours")
    limiter = anyio.CapacityLimiter(1)

    assert await on_thread(name.get, limiter) == "ours"
    assert await on_thread(threading.get_ident) != threading.get_ident()
    assert limiter.borrowed_tokens == 0


async def test_who_is_not_patient_leaves_work_behind() -> None:
    gate = threading.Event()
    with anyio.fail_after(5), anyio.move_on_after(0.01):
        await on_thread(lambda: gate.wait(10), patient=False)
    assert not gate.is_set()
    gate.set()


async def test_an_error_that_nobody_waits_for_any_more_is_no_complaint_of_the_loop() -> None:
    gate = threading.Event()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))

    def fail() -> None:
        gate.wait(10)
        raise ValueError

    task = asyncio.create_task(on_thread(fail))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    del task  # it holds what it was cancelled in
    gate.set()
    await asyncio.sleep(0.1)
    gc.collect()
    assert told == []


async def test_turns_at_a_table_come_in_order_and_another_table_does_not_wait() -> None:
    turns = Turns()
    order: list[int | str] = []

    async def noted(number: int) -> None:
        async with turns.at("main.t"):
            order.append(number)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks, turns.at("main.t"):
        for number in range(3):
            tasks.start_soon(noted, number)
            await anyio.lowlevel.checkpoint()
        with anyio.fail_after(5):
            async with turns.at("main.u"):
                order.append("other")

    assert order == ["other", 0, 1, 2]


async def test_a_turn_that_does_not_come_in_time_is_refused_and_the_next_is_fine() -> None:
    turns = Turns(wait_s=0.01)
    async with turns.at("main.t"):
        with pytest.raises(TableBusyError, match=r"main\.t"):
            await asyncio.create_task(take_and_leave(turns))
    with anyio.fail_after(5):
        await take_and_leave(turns)


async def test_only_so_many_wait_for_a_table_but_for_the_patient() -> None:
    turns, got = Turns(wait_s=5, waiting_max=1), []

    async def taken(patient: bool) -> None:
        async with turns.at("main.t", patient=patient):
            got.append(patient)

    async with anyio.create_task_group() as tasks, turns.at("main.t"):
        for patient in (False, True):
            tasks.start_soon(taken, patient)
            await anyio.lowlevel.checkpoint()
        with pytest.raises(TableBusyError):
            await taken(False)
        await anyio.sleep(0.01)

    assert got == [False, True]


async def test_who_leaves_the_queue_of_a_table_does_not_take_its_turn() -> None:
    turns = Turns()
    async with turns.at("main.t"):
        leaving = asyncio.create_task(take_and_leave(turns))
        await anyio.lowlevel.checkpoint()
        leaving.cancel()
        await asyncio.wait([leaving])
    assert leaving.cancelled()
    with anyio.fail_after(5):
        await take_and_leave(turns)


async def take_and_leave(turns: Turns) -> None:
    async with turns.at("main.t"):
        pass
