"""Statements that look at no interrupt are named, bounded, and in the end a reason to start again.

No statement that the gate lets through is known to: work that blocks stands for one.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest

from lakehouse.config import QueryConfig
from lakehouse.lanes import Lane, Threads
from lakehouse.query import Query, Spool, SqlRequest
from lakehouse.query.run_errors import ThreadsStuckError
from lakehouse.query.stuck import Stuck
from tests.query.lake import open_lake


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
async def threads(let_go: threading.Event) -> AsyncIterator[Threads]:
    lane = Threads(Lane.SHORT, 4, give_up_after_s=0.02)
    yield lane
    let_go.set()
    lane.close()


async def hold(threads: Threads, let_go: threading.Event, *names: str) -> None:
    """Give the lane work that ends at `let_go` only, and leave it."""

    async def one(name: str) -> None:
        with anyio.move_on_after(0.01):
            await threads.run(lambda: let_go.wait(20), lambda: None, name)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(one, name)


async def all_back(threads: Threads, let_go: threading.Event) -> None:
    let_go.set()
    barrier = threading.Barrier(threads.count)  # passed when every thread is at it
    with anyio.fail_after(5):
        await asyncio.gather(*(threads.call(barrier.wait) for _ in range(threads.count)))


async def test_a_statement_that_does_not_stop_is_named_and_others_are_taken(
    threads: Threads, let_go: threading.Event
) -> None:
    stuck = Stuck(threads)
    await hold(threads, let_go, "slow-one")

    (warning,) = stuck.warnings()

    assert warning.startswith("the statement slow-one was stopped 0 s ago")
    stuck.check()


async def test_statements_are_refused_while_half_of_the_threads_do_not_come_back(
    threads: Threads, let_go: threading.Event
) -> None:
    stuck = Stuck(threads)
    await hold(threads, let_go, "one", "two")

    with pytest.raises(ThreadsStuckError, match="2 statements that were stopped"):
        stuck.check()

    await all_back(threads, let_go)
    stuck.check()


async def test_the_process_ends_when_half_of_the_threads_stay_away(
    threads: Threads, let_go: threading.Event
) -> None:
    stuck, ended = Stuck(threads, stuck_max_s=0.1, look_every_s=0.01), anyio.Event()
    await hold(threads, let_go, "one", "two")

    with anyio.fail_after(5):
        await stuck.watch(ended.set)

    assert ended.is_set()


async def test_the_process_goes_on_while_more_than_half_of_the_threads_serve(
    threads: Threads, let_go: threading.Event
) -> None:
    stuck, ended = Stuck(threads, stuck_max_s=0.1, look_every_s=0.01), anyio.Event()
    await hold(threads, let_go, "one")

    with anyio.move_on_after(0.4):
        await stuck.watch(ended.set)

    assert not ended.is_set()


async def test_sql_asks_the_lane_before_it_takes_a_statement(
    tmp_path: Path, threads: Threads, let_go: threading.Event
) -> None:
    await hold(threads, let_go, "one", "two")
    with open_lake(tmp_path) as (database, catalog):
        spool = Spool(tmp_path / "results")
        query = Query(database, catalog, QueryConfig(), spool, stuck=Stuck(threads))
        async with query.open():
            with pytest.raises(ThreadsStuckError):
                await query.answer(SqlRequest(sql="SELECT 1"))
            await all_back(threads, let_go)
            await query.answer(SqlRequest(sql="SELECT 1"))
