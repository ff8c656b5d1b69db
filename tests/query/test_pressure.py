"""Statements give way when memory is short; what they get for it is no cancellation."""

import asyncio
import itertools
import threading
import time
from pathlib import Path

import pytest

from lakehouse.config import QueryConfig
from lakehouse.query import Query, Spool, SqlRequest
from lakehouse.query.pressure import watch
from lakehouse.query.query import ResultStream
from lakehouse.query.run_errors import MemoryPressureError, StatementCancelledError
from lakehouse.query.statements import GRACE_S
from tests.query.lake import open_lake

ENDLESS = "SELECT count(*) FROM range(10000000) a(i), range(10000000) b(j) WHERE i * j % 7 = 8"


def test_who_watches_calls_while_memory_is_short_and_not_before() -> None:
    called = threading.Event()

    def give_way() -> int:
        called.set()
        return 1

    with watch(1 << 50, give_way):
        assert not called.wait(0.2)
    with watch(0, give_way):
        assert called.wait(10)


def test_who_watches_goes_on_when_there_was_no_memory_for_that() -> None:
    again = threading.Event()
    calls = itertools.count()

    def give_way() -> int:
        if next(calls) == 0:
            raise MemoryError
        again.set()
        return 0

    with watch(0, give_way):
        assert again.wait(10)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_statement_that_gives_way_is_tried_again_and_told_why(
    tmp_path: Path, stream: bool
) -> None:
    with open_lake(tmp_path) as (database, catalog):
        spool = Spool(tmp_path / "results")
        async with Query(database, catalog, QueryConfig(), spool).open() as query:
            ways: list[float] = []

            def give_way() -> int:
                count = query.statements.give_way()
                ways.extend([time.monotonic()] * count)
                return count

            with watch(0, give_way), pytest.raises(MemoryPressureError):
                if stream:
                    await query.stream(SqlRequest(sql=ENDLESS), "ndjson")
                else:
                    await query.answer(SqlRequest(sql=ENDLESS))
            assert len(ways) >= 2
            with watch(1 << 50, give_way):
                answer = await query.answer(SqlRequest(sql="SELECT 1"))
    assert answer.body  # type: ignore[union-attr]


async def test_a_stream_that_gives_way_between_two_pieces_is_told_why(tmp_path: Path) -> None:
    with open_lake(tmp_path) as (database, catalog):
        spool = Spool(tmp_path / "results")
        async with Query(database, catalog, QueryConfig(), spool).open() as query:
            request = SqlRequest(sql="SELECT i, repeat('x', 900) FROM range(10000000) r(i)")
            stream = await query.stream(request, "ndjson")
            assert isinstance(stream, ResultStream)
            with pytest.raises(MemoryPressureError):
                async with stream:
                    async for _ in stream:
                        await asyncio.sleep(GRACE_S)
                        assert query.statements.give_way() == 1


async def test_a_statement_that_was_cancelled_as_well_is_cancelled(tmp_path: Path) -> None:
    with open_lake(tmp_path) as (database, catalog):
        spool = Spool(tmp_path / "results")
        async with Query(database, catalog, QueryConfig(), spool).open() as query:
            loop = asyncio.get_running_loop()

            def cancelled_first() -> int:
                loop.call_soon_threadsafe(query.cancel_all)
                time.sleep(0.1)
                return query.statements.give_way()

            with watch(0, cancelled_first), pytest.raises(StatementCancelledError):
                await query.answer(SqlRequest(sql=ENDLESS))
