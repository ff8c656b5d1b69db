"""What leaves and what is read at once is bounded in bytes, however large each item is."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.app import create_app, open_lakehouse
from lakehouse.config import Config, MemoryConfig, QueryConfig, VectorsConfig
from lakehouse.names import parse_table_name
from lakehouse.state import DataDirectory
from lakehouse.vectors import answers, lance, vectors
from tests.services import client_of

PLACE = "/v1/vectors/index/wide"
WIDE = "x" * 60_000
COUNT = 1_200


async def filled(client: httpx.AsyncClient) -> None:
    """1,200 items with 72 MB of metadata."""
    await client.post("/v1/vectors/index", json={"name": "wide"})
    for start in range(0, COUNT, 150):
        items = [
            {"id": f"{n:04}", "text": f"lake {n}", "metadata": {"n": n, "w": WIDE}}
            for n in range(start, start + 150)
        ]
        answer = await client.post(f"{PLACE}/add", json={"items": items})
        assert answer.status_code == 200, answer.text


@pytest.fixture(params=[100, 50_000], scope="module")
async def client(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    config = Config(vectors=VectorsConfig(exact_max_rows=request.param))
    with DataDirectory.open(tmp_path_factory.mktemp("wide") / "data") as directory:
        async with open_lakehouse(config, directory) as lake, client_of(create_app(lake)) as client:
            await filled(client)
            yield client


async def search(client: httpx.AsyncClient, **said: Any) -> httpx.Response:
    return await client.post(f"{PLACE}/search", json={"text": "lake", "explain": True, **said})


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
async def test_an_answer_that_is_too_large_is_refused_with_what_to_do(
    client: httpx.AsyncClient, mode: str
) -> None:
    few = await search(client, mode=mode, k=900)
    assert len(few.json()["results"]) == 900
    many = await search(client, mode=mode, k=COUNT)
    assert many.status_code == 413, many.json().get("explain")
    assert many.json()["type"] == "/problems/answer-too-large"
    assert "ask for fewer" in many.json()["detail"]
    filtered = await search(client, mode=mode, k=COUNT, filter={"n": {"$lt": 300}})
    if mode == "vector":
        assert len(filtered.json()["results"]) == 300


async def test_pages_are_shorter_where_items_are_large_and_none_is_left_out(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (answers, vectors):
        monkeypatch.setattr(module, "ANSWER_MAX_BYTES", 1024 * 1024)
    monkeypatch.setattr(vectors, "SURE_ITEMS", 3)
    found: list[str] = []
    cursor, pages = None, 0
    while pages < 100:
        params = {"limit": "1000", **({"cursor": cursor} if cursor else {})}
        page = (await client.get(f"{PLACE}/items", params=params)).json()
        found += [each["id"] for each in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
        if cursor is None:
            break
    assert found == [f"{n:04}" for n in range(COUNT)]
    assert pages == 71, "17 of 60,000 bytes are a page"
    asked = {"ids": found[:30]}
    refused = await client.post(f"{PLACE}/get", json=asked)
    assert refused.status_code == 413 and "fewer `ids`" in refused.json()["detail"]
    assert (await client.post(f"{PLACE}/get", json={"ids": found[:10]})).is_success


@pytest.mark.parametrize(
    "columns",
    [["id"], ["id", "vector"], ["id", "metadata", "vector"], ["id", "text", "year", "metadata"]],
)
def test_a_batch_is_bounded_however_large_each_row_is(columns: list[str]) -> None:
    most = {"id": 512, "metadata": 65_536, "text": 262_144, "vector": 16_384, "year": 65_536}
    rows = lance.rows_at_once(columns)
    assert 100 < rows <= 8_192
    assert rows * sum(most[each] for each in columns) <= lance.BATCH_BYTES


async def test_rows_that_do_not_fit_into_memory_are_searched_on_the_disk(tmp_path: Path) -> None:
    config = Config(
        memory=MemoryConfig(max_bytes=400_000_000), query=QueryConfig(max_result_bytes=1_000_000)
    )
    with DataDirectory.open(tmp_path / "data") as directory:
        async with open_lakehouse(config, directory) as lake, client_of(create_app(lake)) as client:
            await filled(client)
            collection = await lake.vectors.shelf.get(parse_table_name("wide"))
            found = (await search(client, k=5)).json()
            assert found["explain"]["way"] == "scan"
            assert len(found["results"]) == 5
            assert collection.in_memory is None
            keep = [f"{n:04}" for n in range(COUNT - 50)]
            answer = await client.post(f"{PLACE}/delete", json={"ids": keep})
            assert answer.json()["length"] == 50
            assert (await search(client, k=5)).json()["explain"]["way"] == "memory"
            assert not collection._is_too_large(50)
