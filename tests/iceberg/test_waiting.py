"""Changes by the protocol that wait for one table hold up nothing else."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import TaskStatus

from lakehouse.app import Lakehouse, create_app
from lakehouse.catalog import Column, TableName
from lakehouse.iceberg import protocol
from lakehouse.lanes import Turns
from tests.iceberg.conftest import PLACE
from tests.services import client_of

COUNT = 60
"""More than all threads that anyio's default limiter has."""


@pytest.fixture
async def http(lake: Lakehouse) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(create_app(lake)) as client:
        yield client


@pytest.fixture
def name(lake: Lakehouse) -> TableName:
    return made(lake)


@pytest.fixture
def other(lake: Lakehouse) -> TableName:
    return made(lake)


def made(lake: Lakehouse) -> TableName:
    name = TableName("main", f"t{uuid.uuid4().hex}")
    lake.catalog.create_table(name, [Column("id", "long")])
    return name


async def until_waiting(lake: Lakehouse, name: TableName, count: int) -> None:
    """Return when one change of the table has a thread, and `count` wait for their turn."""
    with anyio.fail_after(30):
        while True:  # no event tells
            lock = lake.iceberg.turns._locks.get(str(name))
            if (
                lock
                and lock.statistics().tasks_waiting == count
                and lake.iceberg.writes.borrowed_tokens == 1
            ):
                return
            await anyio.sleep(0.01)


@asynccontextmanager
async def taken(turns: Turns, name: TableName) -> AsyncIterator[None]:
    """Have another task hold the turn at a table."""

    async def hold(*, task_status: TaskStatus[None]) -> None:
        async with turns.at(str(name)):
            task_status.started()
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        await tasks.start(hold)
        yield
        tasks.cancel_scope.cancel()


def properties(**values: str) -> dict[str, Any]:
    return {"requirements": [], "updates": [{"action": "set-properties", "updates": values}]}


def at(name: TableName) -> str:
    return f"{PLACE}/namespaces/{name.namespace}/tables/{name.name}"


async def test_uploads_and_reads_go_on_while_many_commits_wait_for_one_table(
    lake: Lakehouse, http: httpx.AsyncClient, name: TableName
) -> None:
    statuses: list[int] = []

    async def commit(number: int) -> None:
        content = properties(**{"user.number": str(number)})
        statuses.append((await http.post(at(name), json=content)).status_code)

    async with anyio.create_task_group() as tasks:
        with lake.catalog._tables.locked([name]):
            for number in range(COUNT):
                tasks.start_soon(commit, number)
            await until_waiting(lake, name, COUNT - 1)
            with anyio.move_on_after(30) as others:
                for place in ("/v1/tables", f"{PLACE}/namespaces/main/tables"):
                    assert (await http.get(place)).status_code == 200
                put = await http.put("/v1/storage/put/meanwhile", content=b"x")
                assert put.is_success
            waiting = COUNT - len(statuses)
    assert not others.cancelled_caught
    assert waiting == COUNT
    assert statuses == [200] * COUNT


ID = {"id": 1, "name": "id", "type": "long", "required": False}
WRITES: dict[str, Callable[[httpx.AsyncClient, TableName], Awaitable[httpx.Response]]] = {
    "a commit": lambda http, other: http.post(at(other), json=properties(a="b")),
    "a table": lambda http, other: http.post(
        f"{PLACE}/namespaces/main/tables",
        json={
            "name": f"{other.name}_new",
            "schema": {"type": "struct", "schema-id": 0, "fields": [ID]},
        },
    ),
    "a transaction": lambda http, other: http.post(
        f"{PLACE}/transactions/commit",
        json={
            "table-changes": [
                {
                    "identifier": {"namespace": [other.namespace], "name": other.name},
                    **properties(a="b"),
                }
            ]
        },
    ),
    "a drop": lambda http, other: http.delete(at(other)),
}


@pytest.mark.parametrize("what", WRITES)
async def test_a_change_of_another_table_does_not_wait_for_many_of_one(
    lake: Lakehouse, http: httpx.AsyncClient, name: TableName, other: TableName, what: str
) -> None:
    async with anyio.create_task_group() as tasks:
        with lake.catalog._tables.locked([name]):
            for number in range(COUNT):
                content = properties(**{"user.number": str(number)})
                tasks.start_soon(partial(http.post, at(name), json=content))
            await until_waiting(lake, name, COUNT - 1)
            with anyio.move_on_after(30) as waited:
                assert (await WRITES[what](http, other)).is_success
    assert not waited.cancelled_caught


async def test_a_change_whose_turn_does_not_come_is_asked_to_come_again(
    lake: Lakehouse, name: TableName
) -> None:
    impatient = replace(lake.iceberg, turns=Turns(wait_s=0.05))
    lake = replace(lake, iceberg=impatient)
    async with client_of(create_app(lake)) as http, taken(impatient.turns, name):
        key = {"Idempotency-Key": str(uuid.uuid4())}
        refused = await http.post(at(name), json=properties(a="b"), headers=key)
        both = {
            "table-changes": [
                {"identifier": {"namespace": ["main"], "name": each}, **properties(a="b")}
                for each in (name.name, "aa_other")
            ]
        }
        transaction = await http.post(f"{PLACE}/transactions/commit", json=both)
    for answer in (refused, transaction):
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["error"]["type"] == "ServiceUnavailableException"
    assert "a" not in lake.catalog.load(name).metadata["properties"]
    async with client_of(create_app(lake)) as http:
        again = await http.post(at(name), json=properties(a="b"), headers=key)
    assert again.status_code == 200, "the key is free: nothing had begun"


async def test_only_so_many_changes_wait_and_not_for_ever(
    lake: Lakehouse, http: httpx.AsyncClient, name: TableName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "WRITES_WAIT_S", 0.05)
    for _ in range(protocol.WRITES_MAX):
        lake.iceberg.writes.acquire_on_behalf_of_nowait(object())
    late = await http.post(at(name), content=b"not even JSON")
    monkeypatch.setattr(protocol, "WRITES_WAITING_MAX", 0)
    monkeypatch.setattr(protocol, "WRITES_WAIT_S", 60)
    with anyio.fail_after(30):
        many = await http.post(at(name), json=properties(a="b"))
    for answer in (late, many):  # and no body was read into objects
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10"), answer.text
        assert "many changes" in answer.text
