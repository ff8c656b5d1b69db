"""Small appends that arrive together are one commit, and each still stands for itself."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.audit import Record
from lakehouse.auth import NOBODY
from lakehouse.config import Config, IngestConfig
from lakehouse.ingest.appending import Line, Member
from tests.ingest.served import Served, serving

CLIENTS = 12
EACH = 8


def snapshots(lake: Served, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {"limit": 100, **({"cursor": cursor} if cursor else {})}
        page = lake.send("GET", f"/v1/tables/{name}/snapshots", params=params).json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def together(lake: Served, name: str, bodies: list[Any], **more: Any) -> list[httpx.Response]:
    def send(body: Any) -> httpx.Response:
        return lake.send("POST", f"/v1/tables/{name}/rows", json=body, **more)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(send, bodies))


def test_none_is_lost_none_is_there_twice_and_commits_are_fewer(lake: Served, name: str) -> None:
    lake.loaded(name, "id,city\n-1,start\n")
    bodies = [{"rows": [{"id": number, "city": "x"}]} for number in range(CLIENTS * EACH)]
    answers = together(lake, name, bodies)
    assert {answer.status_code for answer in answers} == {201}
    assert {answer.json()["added_rows"] for answer in answers} == {1}
    assert [row[0] for row in lake.rows(name, "id")] == list(range(-1, CLIENTS * EACH))
    commits = len(snapshots(lake, name)) - 1
    assert commits < CLIENTS * EACH / 2
    ids = {each["snapshot_id"] for each in snapshots(lake, name)}
    assert {answer.json()["snapshot_id"] for answer in answers} <= ids


def test_a_bad_member_fails_alone(lake: Served, name: str) -> None:
    lake.loaded(name, "id,seen\n-1,2026-01-01\n")
    good = [{"rows": [{"id": number, "seen": "2026-01-01"}]} for number in range(20)]
    bad: list[Any] = [
        {"rows": [{"id": "x", "seen": "2026-01-01"}]},
        {"rows": [{"id": 1, "town": "Oslo"}]},
        {"rows": []},
        {"row": []},
    ]
    answers = together(lake, name, [*good[:10], *bad, *good[10:]])
    codes = [answer.status_code for answer in answers]
    assert codes[:10] == codes[14:] == [201] * 10
    assert codes[10:14] == [400] * 4
    assert len(lake.rows(name)) == 21


def test_what_is_too_much_together_is_written_apart_and_what_is_too_much_alone_fails_alone(
    tmp_path: Path,
) -> None:
    config = Config(ingest=IngestConfig(partitions_max=4))
    with serving(tmp_path / "data", config) as lake:
        columns = [{"name": "id", "type": "long"}]
        made = {"name": "t", "columns": columns, "partition_by": ["id"]}
        assert lake.send("POST", "/v1/tables", json=made).status_code == 201
        good = [{"rows": [{"id": 2 * n}, {"id": 2 * n + 1}]} for n in range(CLIENTS)]
        bad = {"rows": [{"id": 100 + n} for n in range(5)]}
        answers = together(lake, "t", [*good[:6], bad, *good[6:]])
        codes = [answer.status_code for answer in answers]
        assert codes.pop(6) == 422
        assert codes == [201] * CLIENTS
        assert sorted(row[0] for row in lake.rows("t")) == list(range(2 * CLIENTS))


def test_each_member_has_its_own_key(lake: Served, name: str) -> None:
    lake.loaded(name, "id,city\n-1,start\n")
    bodies = [{"rows": [{"id": number, "city": "k"}]} for number in range(16)]

    def send(numbered: tuple[int, Any]) -> httpx.Response:
        number, body = numbered
        headers = {"Idempotency-Key": f"{name}-{number}"}
        return lake.send("POST", f"/v1/tables/{name}/rows", json=body, headers=headers)

    with ThreadPoolExecutor(CLIENTS) as pool:
        first = list(pool.map(send, enumerate(bodies)))
        again = list(pool.map(send, enumerate(bodies)))
        other = send((3, bodies[4]))
    assert {answer.status_code for answer in first} == {201}
    assert [answer.content for answer in again] == [answer.content for answer in first]
    assert other.status_code == 422
    assert len(lake.rows(name)) == 17


def test_a_group_for_a_table_that_is_not_there_is_404_for_all(lake: Served, name: str) -> None:
    answers = together(lake, name, [{"rows": [{"id": 1}]}] * 8)
    assert {answer.status_code for answer in answers} == {404}


def member() -> Member:
    answer = asyncio.get_running_loop().create_future()
    return Member(b"{}", None, NOBODY, Record(), answer)


async def test_who_was_answered_is_let_in_when_they_come_right_back() -> None:
    line = Line()
    line.join(member())

    async def come_back() -> None:
        for _ in range(2):
            await asyncio.sleep(0)
            line.join(member())

    coming = asyncio.create_task(come_back())
    await line.let_in(answered=2)
    assert coming.done()
    assert len(line.next_group()) == 3


async def test_nobody_is_waited_for_without_end() -> None:
    line = Line()
    line.join(member())
    async with asyncio.timeout(5):
        await line.let_in(answered=1)
        await line.let_in(answered=100_000)
    assert len(line.next_group()) == 1


async def test_who_is_alone_does_not_wait() -> None:
    line = Line()
    line.join(member())
    waiting = line.let_in(answered=0)
    with contextlib.suppress(StopIteration):
        waiting.send(None)
        pytest.fail("it waited")
