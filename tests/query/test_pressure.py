"""Statements give way when memory is short; what they get for it is no cancellation."""

import asyncio
import itertools
import mmap
import threading
import time
from pathlib import Path

import pytest

from lakehouse.config import QueryConfig
from lakehouse.query import Query, Spool, SqlRequest
from lakehouse.query.pressure import (
    IDLE_LOOKS,
    MOVED_MAX_BYTES,
    RESERVED_BYTES,
    STATM,
    Limit,
    sizes,
    watch,
)
from lakehouse.query.query import ResultStream
from lakehouse.query.run_errors import MemoryPressureError, StatementCancelledError
from lakehouse.query.statements import GRACE_S
from tests.query.lake import open_lake

MIB, GIB = 1024**2, 1024**3
ENDLESS = "SELECT count(*) FROM range(10000000) a(i), range(10000000) b(j) WHERE i * j % 7 = 8"


def always(data: int, untouched: int) -> bool:
    return True


def never(data: int, untouched: int) -> bool:
    return False


def test_the_limit_moves_by_what_was_not_touched_for_a_while_and_back_at_once() -> None:
    told: list[int] = []
    limit = Limit(2 * GIB, told.append)
    for second in range(1, IDLE_LOOKS):
        limit.look(RESERVED_BYTES + 400 * MIB, second)
    assert told == [], "it may be about to be filled"
    limit.look(RESERVED_BYTES + 400 * MIB, IDLE_LOOKS)
    assert limit.bytes == told.pop() == 2 * GIB + 400 * MIB
    limit.look(RESERVED_BYTES + 192 * MIB, IDLE_LOOKS + 0.01)
    assert limit.bytes == told.pop() == 2 * GIB + 192 * MIB
    limit.look(RESERVED_BYTES // 2, IDLE_LOOKS + 0.02)
    assert limit.bytes == told.pop() == 2 * GIB, "never below what it was"


def test_the_limit_moves_so_far_and_no_further() -> None:
    told: list[int] = []
    limit = Limit(2 * GIB, told.append)
    for second in range(1, IDLE_LOOKS + 1):
        limit.look(9 * GIB, second)
    assert told == [2 * GIB + MOVED_MAX_BYTES]


def test_what_is_reserved_and_not_touched_is_told_apart() -> None:
    before, untouched_before = sizes(STATM.read_bytes())
    with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as mapped:
        data, untouched = sizes(STATM.read_bytes())
        assert data - before > 60 * MIB
        assert untouched - untouched_before > 60 * MIB
        mapped.write(bytes(64 * MIB))
        _, touched = sizes(STATM.read_bytes())
        assert untouched - touched > 50 * MIB


def test_who_watches_calls_while_memory_is_short_and_not_before() -> None:
    called = threading.Event()

    def give_way() -> int:
        called.set()
        return 1

    with watch(never, give_way):
        assert not called.wait(0.2)
    with watch(always, give_way):
        assert called.wait(10)


def test_who_watches_goes_on_when_there_was_no_memory_for_that() -> None:
    again = threading.Event()
    calls = itertools.count()

    def give_way() -> int:
        if next(calls) == 0:
            raise MemoryError
        again.set()
        return 0

    with watch(always, give_way):
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

            with watch(always, give_way), pytest.raises(MemoryPressureError):
                if stream:
                    await query.stream(SqlRequest(sql=ENDLESS), "ndjson")
                else:
                    await query.answer(SqlRequest(sql=ENDLESS))
            assert len(ways) >= 2
            with watch(never, give_way):
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

            with watch(always, cancelled_first), pytest.raises(StatementCancelledError):
                await query.answer(SqlRequest(sql=ENDLESS))
