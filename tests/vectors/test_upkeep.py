"""Collections are tidied now when somebody asks: beside writes, and without changing an item."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.app import create_app, open_lakehouse
from lakehouse.config import Config, VectorsConfig
from lakehouse.state import DataDirectory
from lakehouse.vectors import upkeep
from tests.services import client_of

PLACE = "/v1/vectors/index/tidied"


@pytest.fixture
async def client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a lake that indexes what is over 300 items, and does nothing by itself."""
    monkeypatch.setattr(upkeep, "PAUSE_S", 3600.0)
    config = Config(vectors=VectorsConfig(exact_max_rows=300))
    with DataDirectory.open(tmp_path / "data") as directory:
        async with (
            open_lakehouse(config, directory) as lakehouse,
            client_of(create_app(lakehouse)) as client,
        ):
            asked = {"name": "tidied", "dimension": 2, "columns": {"year": "integer"}}
            assert (await client.post("/v1/vectors/index", json=asked)).status_code == 201
            yield client


def item(number: int) -> dict[str, Any]:
    return {"id": str(number), "vector": [1, number], "metadata": {"year": number}}


async def add(client: httpx.AsyncClient, *numbers: int) -> None:
    answer = await client.post(f"{PLACE}/add", json={"items": [item(n) for n in numbers]})
    assert answer.status_code == 200, answer.text


async def ids(client: httpx.AsyncClient) -> list[int]:
    found = await client.post(f"{PLACE}/search", json={"vector": [1, 0], "k": 10_000})
    return sorted(int(each["id"]) for each in found.json()["results"])


async def test_many_pieces_become_one_and_an_index_knows_every_item(
    client: httpx.AsyncClient,
) -> None:
    for start in range(0, 400, 40):
        await add(client, *range(start, start + 40))
    done = (await client.post(f"{PLACE}/optimize")).json()
    assert (done["built"], done["fragments"]) == (["vector", "id", "year"], 1)
    assert done["merged"] == 10
    assert (done["indexed"], done["waiting"]) == (400, 0)
    await add(client, *range(400, 450))
    again = (await client.post(f"{PLACE}/optimize")).json()
    assert (again["built"], again["indexed"], again["waiting"]) == ([], 450, 0)
    assert await ids(client) == list(range(450))


async def test_writes_that_run_beside_it_are_all_there(client: httpx.AsyncClient) -> None:
    await add(client, *range(350))
    done = asyncio.Event()

    async def write(number: int) -> int:
        count = 0
        while not done.is_set() or count < 3:
            await add(client, 1000 * number + count, 1000 * number + count + 1)
            count += 1
        return count

    writers = [asyncio.create_task(write(each)) for each in (1, 2)]
    for _ in range(4):
        answer = await client.post(f"{PLACE}/optimize")
        assert answer.status_code == 200, answer.text
    done.set()
    counts = await asyncio.gather(*writers)
    added = [1000 * n + i for n, count in enumerate(counts, 1) for i in range(count + 1)]
    assert await ids(client) == sorted([*range(350), *added])


async def test_it_is_a_job_for_who_prefers_one_and_refused_where_there_is_nothing(
    client: httpx.AsyncClient,
) -> None:
    headers = {"Prefer": "respond-async"}
    begun = await client.post(f"{PLACE}/optimize", headers=headers)
    assert begun.status_code == 202
    for _ in range(100):
        job = (await client.get(begun.headers["Location"])).json()
        if job["state"] == "succeeded":
            break
        await asyncio.sleep(0.05)
    assert (job["kind"], job["subject"], job["result"]["built"]) == ("optimize", "tidied", [])
    for sent in ({}, headers):
        missing = await client.post("/v1/vectors/index/nobody/optimize", headers=sent)
        assert missing.status_code == 404


async def test_recall_and_what_waits_for_an_index_are_in_the_metrics(
    client: httpx.AsyncClient,
) -> None:
    await add(client, *range(350))
    before = (await client.get("/metrics")).text
    assert "lakehouse_collections 1.0" in before
    assert "lakehouse_collection_recall{" not in before
    assert "lakehouse_collection_waiting_rows{" not in before
    await client.post(f"{PLACE}/optimize")
    await add(client, *range(350, 360))
    assert (await client.get(PLACE)).json()["index"]["waiting"] == 10
    checked = (await client.post(f"{PLACE}/check", json={"queries": 20, "k": 5})).json()
    text = (await client.get("/metrics")).text
    assert f'lakehouse_collection_recall{{collection="tidied"}} {checked["recall"]}' in text
    assert 'lakehouse_collection_waiting_rows{collection="tidied"} 10.0' in text
    await client.delete(PLACE)
    after = (await client.get("/metrics")).text
    assert "lakehouse_collections 0.0" in after and "tidied" not in after
