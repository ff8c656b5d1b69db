"""Collections are made and dropped whole, whoever leaves, is killed or damages files on the way."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.config import Config
from lakehouse.names import parse_table_name
from lakehouse.state import DataDirectory
from lakehouse.vectors import CollectionExistsError, CollectionNotFoundError
from lakehouse.vectors.ledger import Definition
from lakehouse.vectors.models import CollectionCreate, ItemIn
from lakehouse.vectors.schema import schema_of
from tests.services import client_of

NAME = parse_table_name("one")
MADE = CollectionCreate(name="one", dimension=2)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Lakehouse]:
    with DataDirectory.open(folder / "data") as directory:
        async with open_lakehouse(Config(), directory) as lake:
            yield lake


def folders(folder: Path) -> list[str]:
    return sorted(each.name for each in (folder / "data" / "warehouse" / "vectors").glob("*.lance"))


async def gone(folder: Path, count: int) -> None:
    for _ in range(200):
        if len(folders(folder)) == count:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{folders(folder)} are {count}, they should be")


async def test_a_create_that_its_client_left_is_done_or_was_never_begun(tmp_path: Path) -> None:
    async with opened(tmp_path) as lake:
        for number in range(12):
            task = asyncio.create_task(lake.vectors.create(MADE))
            await asyncio.sleep(0.0004 * number)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.gather(*lake.vectors.shelf._tasks, return_exceptions=True)
            names = [str(each) for each in lake.vectors.shelf.names()]
            if names:
                assert (await lake.vectors.info(NAME)).length == 0
                await lake.vectors.drop(NAME)
            assert lake.vectors.shelf.ledger.all() == []
        await lake.vectors.create(MADE)
        await lake.vectors.add(NAME, [ItemIn(id="a", vector=[1, 0])])
        assert len(folders(tmp_path)) == 1


async def test_what_a_killed_process_had_begun_to_make_or_drop_is_gone_after_a_start(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as lake:
        await lake.vectors.create(MADE)
        begun = lake.vectors.shelf.ledger.reserve(parse_table_name("half"), Definition(dimension=2))
        await lake.vectors.shelf.lance.create(begun.folder, "half", schema_of(begun.definition))
        await lake.vectors.create(CollectionCreate(name="dropping", dimension=2))
        dropping = lake.vectors.shelf.known["main.dropping"]
        lake.vectors.shelf.ledger.drop(dropping)
        assert len(folders(tmp_path)) == 3
    async with opened(tmp_path) as lake:
        assert [str(each) for each in lake.vectors.shelf.names()] == ["main.one"]
        await gone(tmp_path, 1)
        for _ in range(200):  # a folder goes before the row that names it
            if not lake.vectors.shelf.ledger.dropped():
                break
            await asyncio.sleep(0.05)
        assert lake.vectors.shelf.ledger.dropped() == []
        await lake.vectors.create(CollectionCreate(name="half", dimension=3))


async def test_a_collection_without_its_files_is_told_so_and_can_be_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path) as lake:
        await lake.vectors.create(MADE)
    (tmp_path / "data" / "warehouse" / "vectors" / folders(tmp_path)[0]).rename(tmp_path / "lost")
    async with opened(tmp_path) as lake, client_of(create_app(lake)) as client:
        place = "/v1/vectors/index/one"
        for answer in (
            await client.get(place),
            await client.post(f"{place}/search", json={"vector": [1, 0]}),
            await client.post(f"{place}/add", json={"items": [{"id": "a", "vector": [1, 0]}]}),
        ):
            assert answer.status_code == 503
            assert answer.json()["type"] == "/problems/collection-damaged"
            assert str(tmp_path) not in answer.text
        assert (await client.delete(place)).status_code == 204
        assert (await client.get(place)).status_code == 404
        again = await client.post("/v1/vectors/index", json={"name": "one", "dimension": 2})
        assert again.status_code == 201


async def test_files_that_vanish_under_a_writer_are_told_and_nothing_is_acknowledged(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as lake, client_of(create_app(lake)) as client:
        await lake.vectors.create(MADE)
        await lake.vectors.add(NAME, [ItemIn(id="a", vector=[1, 0])])
        folder = tmp_path / "data" / "warehouse" / "vectors" / folders(tmp_path)[0]
        shutil.rmtree(folder / "data")
        (folder / "data").write_text("no folder")
        items = {"items": [{"id": "b", "vector": [0, 1]}]}
        answer = await client.post("/v1/vectors/index/one/add", json=items)
        assert answer.status_code == 503 and str(tmp_path) not in answer.text


async def test_one_of_two_that_make_the_same_does(tmp_path: Path) -> None:
    async with opened(tmp_path) as lake:
        asked = [lake.vectors.create(MADE) for _ in range(5)]
        ends = await asyncio.gather(*asked, return_exceptions=True)
        refused = [each for each in ends if isinstance(each, BaseException)]
        assert len(refused) == 4
        assert all(isinstance(each, CollectionExistsError) for each in refused)
        await gone(tmp_path, 1)


async def test_a_check_does_not_bring_a_dropped_collection_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path) as lake:
        await lake.vectors.create(MADE)
        await lake.vectors.add(NAME, [ItemIn(id="a", vector=[1, 0])])
        collection = await lake.vectors.shelf.get(NAME)
        await lake.vectors.drop(NAME)
        await lake.vectors.shelf.define(collection, checked=None)
        assert lake.vectors.shelf.names() == []
        with pytest.raises(CollectionNotFoundError):
            await lake.vectors.shelf.get(NAME)


async def test_a_namespace_with_a_collection_in_it_is_not_empty(tmp_path: Path) -> None:
    async with opened(tmp_path) as lake, client_of(create_app(lake)) as client:
        await client.post("/v1/namespaces", json={"name": "sales"})
        await client.post("/v1/vectors/index", json={"name": "sales.notes", "dimension": 2})
        refused = await client.delete("/v1/namespaces/sales")
        assert refused.status_code == 409 and "collections" in refused.json()["detail"]
        await client.delete("/v1/vectors/index/sales.notes")
        assert (await client.delete("/v1/namespaces/sales")).status_code == 204


async def two(client: httpx.AsyncClient, **dest: object) -> None:
    made = {"name": "from", "dimension": 2, "distance": "euclidean"}
    assert (await client.post("/v1/vectors/index", json=made)).status_code == 201
    asked = {"name": "to", "dimension": 2, "distance": "euclidean", **dest}
    assert (await client.post("/v1/vectors/index", json=asked)).status_code == 201


@pytest.mark.parametrize(
    ("dest", "bad"),
    [
        (
            {"columns": {"year": "integer"}},
            '{"id": "z", "vector": [1, 0], "metadata": {"year": "x"}}',
        ),
        (
            {"columns": {"year": "integer"}},
            '{"id": "z", "vector": [1, 0], "metadata": {"a": 1e999}}',
        ),
        ({"distance": "cosine"}, '{"id": "z", "vector": [0, 0]}'),
    ],
)
async def test_a_merge_of_what_does_not_fit_moves_nothing(
    tmp_path: Path, dest: dict[str, object], bad: str
) -> None:
    async with opened(tmp_path) as lake, client_of(create_app(lake)) as client:
        await two(client, **dest)
        body = f'{{"items": [{{"id": "a", "vector": [1, 0]}}, {bad}]}}'
        added = await client.post("/v1/vectors/index/from/add", content=body)
        assert added.status_code == 200, added.text
        merge = {"dest": "to", "clear_source": True}
        refused = await client.post("/v1/vectors/index/from/merge", json=merge)
        assert refused.status_code == 400 and "nothing was moved" in refused.json()["detail"]
        lengths = [
            (await client.get(f"/v1/vectors/index/{n}")).json()["length"] for n in ("from", "to")
        ]
        assert lengths == [2, 0]


async def test_metadata_that_nobody_can_read_as_numbers_stands_in_sql_as_it_was(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as lake, client_of(create_app(lake)) as client:
        await two(client)
        body = '{"items": [{"id": "a", "vector": [1, 0], "metadata": {"n": 1e999}}]}'
        await client.post("/v1/vectors/index/from/add", content=body)
        search = {"hits": {"collection": "from", "vector": [1, 0]}}
        asked = {"sql": "SELECT metadata FROM hits", "search": search}
        answer = await client.post("/v1/sql", json=asked)
        assert answer.json()["rows"] == [['{"n": 1e999}']]
