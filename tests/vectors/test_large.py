"""Collections that are not searched in memory: an index, a scan, and what keeps both."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from lancedb.index import IvfRq

from lakehouse.app import Lakehouse, open_lakehouse
from lakehouse.config import Config, VectorsConfig
from lakehouse.names import parse_table_name
from lakehouse.state import DataDirectory
from lakehouse.vectors.lance import ID_INDEX, VECTOR_INDEX
from lakehouse.vectors.models import CollectionCreate, ItemIn, ItemsDelete, SearchRequest
from lakehouse.vectors.resident import Residents
from lakehouse.vectors.searching import Found
from tests import object_store

NAME = parse_table_name("many")
DIMENSION = 32
COUNT = 2_000
LOOK_S = 0.05
SETTINGS = VectorsConfig(exact_max_rows=500)


def vectors_of(seed: int, count: int = COUNT) -> Any:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION)).astype(np.float32)


def items(rows: Any, first: int = 0) -> list[ItemIn]:
    return [
        ItemIn(id=f"i{first + n}", vector=row.tolist(), metadata=metadata(first + n))
        for n, row in enumerate(rows)
    ]


def metadata(number: int) -> Any:
    return msgspec.Raw(b'{"part": %d, "other": %d}' % (number % 100, number % 7))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def lake(folder: Path) -> AsyncIterator[Lakehouse]:
    with DataDirectory.open(folder) as directory:
        config = Config(vectors=SETTINGS, storage=object_store.chosen(folder))
        async with open_lakehouse(config, directory) as lakehouse:
            asked = CollectionCreate(name="many", dimension=DIMENSION, columns={"part": "integer"})
            await lakehouse.vectors.create(asked)
            await lakehouse.vectors.add(NAME, items(vectors_of(1)))
            yield lakehouse


async def until(true: Callable[[], Awaitable[bool]], within_s: float = 30.0) -> None:
    for _ in range(int(within_s / LOOK_S)):
        if await true():
            return
        await asyncio.sleep(LOOK_S)
    raise TimeoutError


async def is_ready(lake: Lakehouse) -> bool:
    """Whether the index is there, and nothing more is to be done in the background."""
    collection = await lake.vectors.shelf.get(NAME)
    names = await collection.items.index_names()
    is_all = {VECTOR_INDEX, ID_INDEX, "part_idx"} <= names
    return is_all and (await lake.vectors.info(NAME)).index.state == "ready"


async def search(lake: Lakehouse, vector: Any, k: int = 10, **said: Any) -> Found:
    return await lake.vectors.search(NAME, SearchRequest(vector=vector.tolist(), k=k, **said))


def ids(found: Found) -> list[str]:
    ids: list[Any] = found.rows["id"].to_pylist()
    return ids


def nearest(rows: Any, query: Any, k: int = 10) -> list[str]:
    cosines = rows @ query / np.linalg.norm(rows, axis=1)
    return [f"i{n}" for n in np.argsort(-cosines)[:k]]


async def test_before_its_index_is_there_a_large_collection_is_searched_exactly(
    lake: Lakehouse,
) -> None:
    rows, query = vectors_of(1), vectors_of(2, 1)[0]
    collection = await lake.vectors.shelf.get(NAME)
    collection.may_use_index = False
    found = await search(lake, query)
    assert found.way == "scan" and not found.approximate
    assert ids(found) == nearest(rows, query)


async def test_the_index_is_built_by_itself_and_finds_the_nearest(lake: Lakehouse) -> None:
    await until(lambda: is_ready(lake))
    rows = vectors_of(1)
    hits = 0
    for query in vectors_of(2, 20):
        found = await search(lake, query)
        assert found.way == "index" and found.approximate
        assert found.rows.num_rows == 10
        hits += len(set(ids(found)) & set(nearest(rows, query)))
    assert hits >= 190  # of 200
    checked = await lake.vectors.check(NAME, 20, 10)
    assert checked.approximate and checked.recall >= 0.95
    assert (await lake.vectors.info(NAME)).index.recall == checked.recall


async def test_what_is_added_deleted_and_replaced_after_the_index_is_found_as_it_is(
    lake: Lakehouse,
) -> None:
    await until(lambda: is_ready(lake))
    query = vectors_of(3, 1)[0]
    await lake.vectors.add(NAME, [ItemIn(id="new", vector=query.tolist())])
    assert ids(await search(lake, query))[0] == "new"
    await lake.vectors.add(NAME, [ItemIn(id="new", vector=(-query).tolist())])
    assert "new" not in ids(await search(lake, query))
    assert ids(await search(lake, -query))[0] == "new"
    assert (await lake.vectors.delete(NAME, ItemsDelete(ids=["new"]))).length == COUNT
    assert "new" not in ids(await search(lake, -query))


async def test_a_filter_never_leaves_fewer_than_there_are(lake: Lakehouse) -> None:
    await until(lambda: is_ready(lake))
    rows, query = vectors_of(1), vectors_of(4, 1)[0]
    for said, kept in (
        ({"part": 7}, [n for n in range(COUNT) if n % 100 == 7]),
        (
            {"other": 3, "part": {"$lt": 50}},
            [n for n in range(COUNT) if n % 7 == 3 and n % 100 < 50],
        ),
    ):
        found = await search(lake, query, k=15, filter=said)
        order = sorted(kept, key=lambda n: -(rows[n] @ query) / np.linalg.norm(rows[n]))
        assert ids(found) == [f"i{n}" for n in order[:15]]


async def test_what_a_filter_keeps_is_found_in_whatever_part_of_the_index_it_lies(
    lake: Lakehouse,
) -> None:
    await until(lambda: is_ready(lake))
    clusters = 40
    angles = np.repeat(np.linspace(0, np.pi, clusters), COUNT // clusters)
    rows = vectors_of(7) * np.float32(0.001)
    rows[:, 0] += np.cos(angles)
    rows[:, 1] += np.sin(angles)
    apart = [
        ItemIn(id=f"i{n}", vector=row.tolist(), metadata=msgspec.Raw(b'{"part": %d}' % (n // 50)))
        for n, row in enumerate(rows)
    ]
    await lake.vectors.add(NAME, apart)
    collection = await lake.vectors.shelf.get(NAME)
    config = IvfRq(distance_type="cosine", num_partitions=clusters)
    await collection.items._table.create_index("vector", config=config, replace=True)

    found = await search(lake, rows[0], k=600, filter={"part": {"$gte": 26}})

    assert found.way == "index"
    assert len(set(ids(found))) == 600
    assert min(int(each[1:]) for each in ids(found)) >= 26 * 50


@pytest.mark.skipif(object_store.IN_BUCKET in os.environ, reason="its files are in a bucket")
async def test_a_damaged_index_is_gone_around_and_built_anew(lake: Lakehouse, folder: Path) -> None:
    await until(lambda: is_ready(lake))
    collection = await lake.vectors.shelf.get(NAME)
    place = folder / "warehouse" / "vectors" / f"{collection.known.folder}.lance"
    shutil.rmtree(place / "_indices")
    lake.vectors.shelf.opened.clear()  # what Lance has of it in memory
    lake.vectors.shelf.lance._connection = None
    rows, query = vectors_of(1), vectors_of(5, 1)[0]
    found = await search(lake, query)
    assert ids(found) == nearest(rows, query)
    assert "many is damaged" in "".join(lake.vectors.warnings())
    await until(lambda: is_ready(lake))
    assert lake.vectors.warnings() == []
    assert (await search(lake, query)).way == "index"


async def test_a_restart_gives_the_same_answers_bit_by_bit(lake: Lakehouse, folder: Path) -> None:
    await until(lambda: is_ready(lake))
    queries = vectors_of(6, 10)
    before = [(await search(lake, each)).rows.to_pydict() for each in queries]
    lake.vectors.shelf.opened.clear()
    lake.vectors.shelf.lance._connection = None
    assert [(await search(lake, each)).rows.to_pydict() for each in queries] == before


async def fragments(lake: Lakehouse) -> int:
    collection = await lake.vectors.shelf.get(NAME)
    stats: Any = await collection.items._table.stats()
    return int(stats["fragment_stats"]["num_fragments"])


async def test_small_files_are_written_together(lake: Lakehouse) -> None:
    for number, row in enumerate(vectors_of(7, 150)):
        await lake.vectors.add(NAME, [ItemIn(id=f"s{number}", vector=row.tolist())])

    async def are_few() -> bool:
        return await fragments(lake) < 60

    await until(are_few)
    assert (await lake.vectors.info(NAME)).length == COUNT + 150


async def test_what_many_items_are_put_in_the_place_of_is_known_without_reading_it(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = await lake.vectors.shelf.get(NAME)
    assert collection.in_memory is None
    read = collection.items.read
    looked_up = 0

    async def counting(columns: Any, where: Any = None, **said: Any) -> Any:
        nonlocal looked_up
        looked_up += 1
        return await read(columns, where, **said)

    monkeypatch.setattr(collection.items, "read", counting)
    vectors = vectors_of(9, 300)
    await lake.vectors.add(NAME, items(vectors, COUNT - 100))  # 100 are there
    await lake.vectors.add(NAME, items(vectors[:50], COUNT - 25))
    await lake.vectors.delete(NAME, ItemsDelete(ids=[f"i{n}" for n in range(150)]))
    await lake.vectors.add(NAME, items(vectors[:100], 100))
    assert looked_up == 0

    keeping = [ItemIn(id=f"i{n}", vector=[1.0] * DIMENSION) for n in range(190, 310)]
    await lake.vectors.add(NAME, keeping)
    assert looked_up == 1

    found: Any = await read(["id", "metadata"])
    numbers = sorted(int(each[1:]) for each in found["id"].to_pylist())
    assert numbers == list(range(100, COUNT + 200))
    assert await collection.length() == len(numbers)
    said = dict(zip(found["id"].to_pylist(), found["metadata"].to_pylist(), strict=True))
    assert msgspec.json.decode(said["i200"]) == {"part": 0, "other": 4}


async def test_ids_are_looked_up_where_there_is_no_memory_for_them_all(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = await lake.vectors.shelf.get(NAME)
    monkeypatch.setattr(Residents, "reserving", lambda self, size_bytes: nullcontext(False))
    vectors = vectors_of(9, 300)
    await lake.vectors.add(NAME, items(vectors, COUNT - 100))
    assert await collection.length() == COUNT + 200
    ids = (await collection.items.read(["id"]))["id"].to_pylist()
    assert len(ids) == len(set(ids)) == COUNT + 200
