"""Changes by the protocol that wait for one table hold up nothing else."""

from collections.abc import AsyncIterator

import anyio
import httpx
import pytest

from lakehouse.app import Lakehouse, create_app
from lakehouse.catalog import Column, TableName
from lakehouse.iceberg.protocol import WRITES_MAX
from tests.iceberg.conftest import PLACE
from tests.services import client_of

NAME = TableName("main", "contended")
COUNT = 60
"""More than all threads that anyio's default limiter has."""


@pytest.fixture
async def http(lake: Lakehouse) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(lake)) as client:
        yield client


async def test_uploads_and_reads_go_on_while_many_commits_wait_for_one_table(
    lake: Lakehouse, http: httpx.AsyncClient
) -> None:
    lake.catalog.create_table(NAME, [Column("id", "long")])
    statuses: list[int] = []

    async def commit(number: int) -> None:
        update = {"action": "set-properties", "updates": {"user.number": str(number)}}
        content = {"requirements": [], "updates": [update]}
        place = f"{PLACE}/namespaces/main/tables/{NAME.name}"
        statuses.append((await http.post(place, json=content)).status_code)

    waits = lake.iceberg.writes.statistics
    async with anyio.create_task_group() as tasks:
        with lake.catalog._tables.locked([NAME]):
            for number in range(COUNT):
                tasks.start_soon(commit, number)
            with anyio.fail_after(30):
                while waits().tasks_waiting < COUNT - WRITES_MAX:  # noqa: ASYNC110 - no event tells
                    await anyio.sleep(0.01)
            with anyio.move_on_after(30) as others:
                for place in ("/v1/tables", f"{PLACE}/namespaces/main/tables"):
                    assert (await http.get(place)).status_code == 200
                put = await http.put("/v1/storage/put/meanwhile", content=b"x")
                assert put.is_success
            waiting = COUNT - len(statuses)
    assert not others.cancelled_caught
    assert waiting == COUNT
    assert statuses == [200] * COUNT
