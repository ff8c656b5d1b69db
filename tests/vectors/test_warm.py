"""Large collections in memory: they follow every write, and leave when they must."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from lakehouse.app import Lakehouse, open_lakehouse
from lakehouse.config import Config, VectorsConfig
from lakehouse.disk import DiskFullError
from lakehouse.names import parse_table_name
from lakehouse.state import DataDirectory
from lakehouse.vectors import collection as collections
from lakehouse.vectors import resident as residents
from lakehouse.vectors import warming
from lakehouse.vectors.cells import built
from lakehouse.vectors.models import CollectionCreate, ItemIn, ItemsDelete, SearchRequest
from lakehouse.vectors.resident import Resident, Residents, vectors_of
from lakehouse.vectors.schema import values
from lakehouse.vectors.searching import Found
from tests import object_store
from tests.vectors.test_cells import around
from tests.vectors.test_resident import DEFINITION, rows

NAME = parse_table_name("many")
DIMENSION, COUNT, EXACT_MAX = 24, 12_000, 500
VECTORS = around(1, COUNT, DIMENSION)


def items(vectors: Any, first: int = 0) -> list[ItemIn]:
    return [
        ItemIn(id=f"i{first + n}", vector=row.tolist(), metadata=metadata(first + n))
        for n, row in enumerate(vectors)
    ]


def metadata(number: int) -> Any:
    return msgspec.Raw(b'{"part": %d}' % (number % 10))


@pytest.fixture
def exact_max(request: pytest.FixtureRequest) -> int:
    return int(getattr(request, "param", EXACT_MAX))


@pytest.fixture
def rest_s(request: pytest.FixtureRequest) -> float:
    return float(getattr(request, "param", 0.2))


@pytest.fixture
def memory_index(request: pytest.FixtureRequest) -> bool:
    return bool(getattr(request, "param", True))


@pytest.fixture
async def lake(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exact_max: int,
    rest_s: float,
    *,
    memory_index: bool,
) -> AsyncIterator[Lakehouse]:
    monkeypatch.setattr(collections, "REST_S", rest_s)
    with DataDirectory.open(tmp_path / "data") as directory:
        config = Config(
            vectors=VectorsConfig(exact_max_rows=exact_max, memory_index=memory_index),
            storage=object_store.chosen(tmp_path / "data"),
        )
        async with open_lakehouse(config, directory) as lakehouse:
            await lakehouse.vectors.create(CollectionCreate(name="many", dimension=DIMENSION))
            for first in range(0, COUNT, 4_000):
                part = items(VECTORS[first : first + 4_000], first)
                await lakehouse.vectors.add(NAME, part)
            yield lakehouse


async def until(true: Callable[[], Awaitable[bool]], within_s: float = 60.0) -> None:
    for _ in range(int(within_s / 0.05)):
        if await true():
            return
        await asyncio.sleep(0.05)
    raise TimeoutError


async def search(lake: Lakehouse, vector: Any, k: int = 10, **said: Any) -> Found:
    return await lake.vectors.search(NAME, SearchRequest(vector=vector.tolist(), k=k, **said))


async def is_warm(lake: Lakehouse) -> bool:
    return (await search(lake, VECTORS[0])).way == "memory index"


async def check_true(lake: Lakehouse) -> None:
    """See that what is in memory is what the files have, row by row."""
    collection = await lake.vectors.shelf.get(NAME)
    resident = collection.in_memory
    assert resident is not None
    view, stored = resident.view(), await collection.items.read(["id", "vector"], in_order=True)
    alive = np.arange(view.table.num_rows) if view.alive is None else np.flatnonzero(view.alive)
    ids = np.array(view.table["id"].to_pylist(), object)[alive]
    order = np.argsort(ids)
    assert ids[order].tolist() == stored["id"].to_pylist()
    np.testing.assert_array_equal(view.vectors[alive][order], vectors_of(stored))


async def write_to_full_disk(lake: Lakehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = await lake.vectors.shelf.get(NAME)

    async def full(rows: Any) -> None:
        raise DiskFullError

    with monkeypatch.context() as patched:
        patched.setattr(collection.items, "add", full)
        with pytest.raises(DiskFullError):
            await lake.vectors.add(NAME, [ItemIn(id="new", vector=VECTORS[0].tolist())])


async def test_it_finds_nearly_all_with_the_distances_of_an_exact_search(lake: Lakehouse) -> None:
    await until(lambda: is_warm(lake))
    rows, found = VECTORS.astype(np.float64), 0.0
    for query in around(2, 50, DIMENSION):
        q = query.astype(np.float64)
        true = 1 - rows @ q / np.linalg.norm(rows, axis=1) / np.linalg.norm(q)
        answer = await search(lake, query)
        assert answer.approximate
        ids, distances = values(answer.rows, "id"), values(answer.rows, "_distance")
        np.testing.assert_allclose(distances, true[[int(n[1:]) for n in ids]], atol=1e-12)
        assert distances == sorted(distances)
        found += float(np.count_nonzero(np.array(distances) <= np.sort(true)[9] + 1e-12))
    assert found > 0.95 * 500


async def test_writes_are_seen_by_the_next_search(lake: Lakehouse) -> None:
    await until(lambda: is_warm(lake))
    new, moved = around(7, 2, DIMENSION)
    await lake.vectors.add(NAME, [ItemIn(id="new", vector=new.tolist())])
    assert values((await search(lake, new)).rows, "id")[0] == "new"
    await lake.vectors.add(NAME, [ItemIn(id="new", vector=moved.tolist())])
    assert values((await search(lake, moved)).rows, "id")[0] == "new"
    assert "new" not in values((await search(lake, new, k=5)).rows, "id")
    await lake.vectors.delete(NAME, ItemsDelete(ids=["new", "i0"]))
    assert "new" not in values((await search(lake, moved)).rows, "id")
    answer = await search(lake, VECTORS[0])
    assert "i0" not in values(answer.rows, "id")
    assert (answer.way, answer.items) == ("memory index", COUNT - 1)
    await check_true(lake)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """When rows have been read and cells are about to be built, and what that waits for."""
    has_begun, may_end = threading.Event(), threading.Event()

    def waiting(*asked: Any) -> Any:
        has_begun.set()
        assert may_end.wait(30)
        return built(*asked)

    monkeypatch.setattr(warming, "built", waiting)
    yield has_begun, may_end
    may_end.set()


async def begun(lake: Lakehouse, event: threading.Event) -> None:
    async def is_begun() -> bool:
        await search(lake, VECTORS[0])
        return event.is_set()

    await until(is_begun)


async def test_what_is_written_while_rows_are_read_is_not_lost(
    lake: Lakehouse, reading: tuple[threading.Event, threading.Event]
) -> None:
    has_begun, may_end = reading
    await begun(lake, has_begun)
    vectors = around(8, 300, DIMENSION)
    await lake.vectors.add(NAME, items(vectors, 400))  # they are there
    await lake.vectors.add(NAME, items(vectors, COUNT))
    await lake.vectors.delete(NAME, ItemsDelete(ids=[f"i{n}" for n in range(600, COUNT, 9)]))
    await lake.vectors.add(NAME, items(vectors[:9], 609))
    may_end.set()

    await until(lambda: is_warm(lake))

    await check_true(lake)
    assert values((await search(lake, vectors[7])).rows, "id")[:3] == ["i12007", "i407", "i616"]


@pytest.mark.parametrize("fails", [True, False])
async def test_rows_that_changed_unknown_or_too_much_are_read_again(
    lake: Lakehouse,
    reading: tuple[threading.Event, threading.Event],
    monkeypatch: pytest.MonkeyPatch,
    *,
    fails: bool,
) -> None:
    has_begun, may_end = reading
    await begun(lake, has_begun)
    if fails:
        await write_to_full_disk(lake, monkeypatch)
    else:
        await lake.vectors.add(NAME, items(around(8, 3_001, DIMENSION), COUNT))
    has_begun.clear()
    may_end.set()

    await begun(lake, has_begun)
    await until(lambda: is_warm(lake))
    await check_true(lake)


async def test_a_filter_or_more_neighbours_than_were_measured_are_looked_at_exactly(
    lake: Lakehouse,
) -> None:
    await until(lambda: is_warm(lake))
    filtered = await search(lake, VECTORS[5], filter={"part": 5})
    assert (filtered.way, filtered.approximate, filtered.passed) == ("memory", False, COUNT // 10)
    assert values(filtered.rows, "id")[0] == "i5"
    many = await search(lake, VECTORS[5], k=2_000)
    assert (many.way, many.approximate, many.rows.num_rows) == ("memory", False, 2_000)


async def test_a_write_that_failed_may_have_happened_so_memory_is_left(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    await until(lambda: is_warm(lake))
    collection = await lake.vectors.shelf.get(NAME)
    await write_to_full_disk(lake, monkeypatch)
    assert collection.in_memory is None

    assert (await search(lake, VECTORS[0])).way in {"index", "scan"}
    await until(lambda: is_warm(lake))
    await check_true(lake)


async def test_cells_learn_of_rows_and_are_made_anew_once_they_are_worn(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(residents, "UNKNOWN_MIN", 100)
    await until(lambda: is_warm(lake))
    collection = await lake.vectors.shelf.get(NAME)

    await lake.vectors.add(NAME, items(around(8, 1_500, DIMENSION), COUNT))

    async def knows_all() -> bool:
        await search(lake, VECTORS[0])
        resident = collection.in_memory
        return bool(resident and resident.cells and resident.cells.count == COUNT + 1_500)

    await until(knows_all)
    await check_true(lake)
    await lake.vectors.add(NAME, items(around(9, 4_000, DIMENSION), COUNT + 1_500))
    assert collection.in_memory is None
    await until(lambda: is_warm(lake))
    await check_true(lake)
    gone = [f"i{number}" for number in range(6_000)]
    await lake.vectors.delete(NAME, ItemsDelete(ids=gone))
    assert collection.in_memory is None
    await until(lambda: is_warm(lake))
    await check_true(lake)


@pytest.mark.parametrize("exact_max", [COUNT - 500], indirect=True)
async def test_what_becomes_small_is_searched_exactly_and_by_cells_when_it_grows(
    lake: Lakehouse,
) -> None:
    await until(lambda: is_warm(lake))
    collection = await lake.vectors.shelf.get(NAME)
    resident = collection.in_memory
    gone = [f"i{number}" for number in range(COUNT - 600, COUNT)]
    await lake.vectors.delete(NAME, ItemsDelete(ids=gone))

    answer = await search(lake, VECTORS[3])

    assert (answer.way, answer.approximate, answer.items) == ("memory", False, COUNT - 600)
    assert values(answer.rows, "id")[0] == "i3"
    assert collection.in_memory is resident
    await lake.vectors.add(NAME, items(VECTORS[-600:], COUNT - 600))
    assert collection.in_memory is None
    await until(lambda: is_warm(lake))
    await check_true(lake)


async def test_a_collection_that_was_closed_while_it_is_read_is_opened_as_the_one_it_is(
    lake: Lakehouse, reading: tuple[threading.Event, threading.Event]
) -> None:
    has_begun, may_end = reading
    await begun(lake, has_begun)
    shelf = lake.vectors.shelf
    first = await shelf.get(NAME)
    del shelf.opened[first.known.id]  # as when a thousand others were opened
    assert await shelf.get(NAME) is first
    await lake.vectors.add(NAME, [ItemIn(id="new", vector=VECTORS[0].tolist())])
    await lake.vectors.delete(NAME, ItemsDelete(ids=["i0"]))
    may_end.set()

    await until(lambda: is_warm(lake))

    await check_true(lake)
    assert values((await search(lake, VECTORS[0])).rows, "id")[0] == "new"


async def test_numbers_that_no_cell_can_compare_send_searches_to_the_disk(lake: Lakehouse) -> None:
    await until(lambda: is_warm(lake))
    huge = VECTORS[0] * np.float32(1e20)
    await lake.vectors.add(NAME, [ItemIn(id="huge", vector=huge.tolist())])

    answer = await search(lake, VECTORS[0])

    assert answer.way in {"index", "scan"}
    assert {"i0", "huge"} <= set(values(answer.rows, "id"))


@pytest.mark.parametrize("memory_index", [False], indirect=True)
async def test_it_is_left_on_the_disk_where_the_settings_say_so(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    collection = await lake.vectors.shelf.get(NAME)

    async def ready() -> bool:
        return (await lake.vectors.info(NAME)).index.state == "ready"

    await until(ready)
    await asyncio.sleep(1.5)  # what was woken by the writes

    async def count() -> int:
        nonlocal looks
        looks += 1
        return 1

    monkeypatch.setattr(collection.items, "fragments", count)
    monkeypatch.setattr(collection.items, "index_names", count)
    for _ in range(25):
        assert (await search(lake, VECTORS[0])).way == "index"
        await asyncio.sleep(0.1)
    assert (looks, collection.in_memory) == (0, None)


async def test_a_collection_that_is_dropped_while_it_is_read_is_not_kept(
    lake: Lakehouse, reading: tuple[threading.Event, threading.Event]
) -> None:
    has_begun, may_end = reading
    await begun(lake, has_begun)
    collection = await lake.vectors.shelf.get(NAME)
    await lake.vectors.drop(NAME)
    may_end.set()

    async def is_done() -> bool:
        return not collection.tending.locked()

    await until(is_done)
    assert collection.in_memory is None


def test_room_is_made_by_those_that_nobody_used_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    known = Resident(DEFINITION, 100)
    known.put(rows(0, 100))
    held = Residents(3 * known.size_bytes)
    for name in ("a", "b"):
        held.keep(name, known)
    with held.reserving(known.size_bytes) as has_room:
        assert has_room
        held.keep("c", known)  # no room but what is reserved: the least recently used leaves
        assert [held.get(name) is None for name in ("a", "b", "c")] == [True, False, False]
    with held.reserving(2 * known.size_bytes) as has_room:
        assert not has_room
    monkeypatch.setattr(residents, "IDLE_S", -1.0)
    with held.reserving(2 * known.size_bytes) as has_room:
        assert has_room
        assert [held.get(name) is None for name in ("b", "c")] == [True, False]
    with held.reserving(4 * known.size_bytes) as has_room:
        assert not has_room
        assert held.get("c") is not None


@pytest.mark.parametrize("rest_s", [3_600], indirect=True)
async def test_rows_that_take_more_than_was_thought_are_read_at_once_with_more_room(
    lake: Lakehouse,
) -> None:
    large = msgspec.Raw(b'{"text": "%s"}' % (b"x" * 3_000))
    for first in range(0, COUNT, 4_000):
        of = VECTORS[first : first + 4_000].tolist()
        part = [ItemIn(id=f"i{first + n}", vector=v, metadata=large) for n, v in enumerate(of)]
        await lake.vectors.add(NAME, part)

    await until(lambda: is_warm(lake))

    collection = await lake.vectors.shelf.get(NAME)
    assert collection.row_bytes > 3_000
    await check_true(lake)
