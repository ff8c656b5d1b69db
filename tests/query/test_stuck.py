"""Statements that look at no interrupt are named, bounded, and in the end a reason to start again.

No statement that the gate lets through does so for long: work that blocks stands for one.
"""

import threading
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from lakehouse import lanes
from lakehouse.config import QueryConfig
from lakehouse.database import Database
from lakehouse.lanes import Lane
from lakehouse.query import Query, Spool, SqlRequest, stuck
from lakehouse.query.run_errors import ThreadsStuckError
from tests.query.lake import open_lake


class Deaf:
    """Work that holds its thread until it is let go."""

    def __init__(self, database: Database) -> None:
        self.gate = threading.Event()
        self._database = database

    async def hold(self, name: str) -> None:
        with anyio.move_on_after(0.05), self._database.session(name=name) as session:
            await session.run(lambda cursor: self.gate.wait(20))


@pytest.fixture
async def ended() -> list[str]:
    return []


@pytest.fixture
async def query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ended: list[str]
) -> AsyncIterator[tuple[Query, Database]]:
    monkeypatch.setattr(lanes, "GIVE_UP_AFTER_S", 0.05)
    monkeypatch.setattr(stuck, "STUCK_MAX_S", 0.3)
    monkeypatch.setattr(stuck, "LOOK_EVERY_S", 0.05)
    with open_lake(tmp_path) as (database, catalog):
        spool = Spool(tmp_path / "results")
        opened = Query(
            database, catalog, QueryConfig(), spool, on_fatal=lambda: ended.append("stop")
        )
        async with opened.open():
            yield opened, database


async def test_a_statement_that_does_not_stop_is_named_and_the_others_run(
    query: tuple[Query, Database], ended: list[str]
) -> None:
    queries, database = query
    deaf = Deaf(database)
    try:
        await deaf.hold("slow-one")

        (warning,) = queries.stuck.warnings()
        assert "slow-one" in warning
        await queries.answer(SqlRequest(sql="SELECT 1"))
        await anyio.sleep(0.6)
        assert ended == []
    finally:
        deaf.gate.set()


async def test_when_half_of_the_threads_are_gone_statements_are_refused_and_the_process_ends(
    query: tuple[Query, Database], ended: list[str]
) -> None:
    queries, database = query
    deaf = Deaf(database)
    try:
        async with anyio.create_task_group() as tasks:
            for number in range(database.lane(Lane.SHORT).count // 2):
                tasks.start_soon(deaf.hold, f"q{number}")

        with pytest.raises(ThreadsStuckError):
            await queries.answer(SqlRequest(sql="SELECT 1"))
        await anyio.sleep(0.6)
        assert ended == ["stop"]
    finally:
        deaf.gate.set()
