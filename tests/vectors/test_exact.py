"""Exact search equals looking at each, whatever is asked at the same time, written or deleted."""

import asyncio
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.app import Lakehouse
from lakehouse.names import TableName, parse_table_name
from lakehouse.vectors import CollectionNotFoundError
from lakehouse.vectors.ledger import Definition
from lakehouse.vectors.models import CollectionCreate, ItemIn, ItemsDelete, SearchRequest
from lakehouse.vectors.nearest import Question, nearest
from lakehouse.vectors.resident import Resident
from lakehouse.vectors.schema import Batch, together

Distance = Literal["cosine", "euclidean"]


def brute(rows: Any, query: Any, distance: Distance) -> Any:
    """Return the distances, pair by pair, in float64."""
    rows, query = rows.astype(np.float64), query.astype(np.float64)
    if distance == "euclidean":
        return np.linalg.norm(rows - query, axis=1)
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(query)
    return 1 - (rows * query).sum(axis=1) / lengths


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 300),
    k=st.integers(1, 320),
    d=st.integers(1, 40),
)
@settings(max_examples=60, deadline=None)
def test_the_nearest_are_those_that_brute_force_finds(
    distance: Distance, seed: int, count: int, k: int, d: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.standard_normal((count, d)) * 10.0 ** rng.integers(-3, 4)).astype(np.float32)
    rows[:, 0] += np.float32(1e-3)
    query = rng.standard_normal(d).astype(np.float32)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1).astype(np.float32)
    (found,) = nearest(rows, lengths, None, [Question(query, k)], distance)
    true = brute(rows, query, distance)
    worst = np.sort(true)[min(k, count) - 1]
    assert set(np.flatnonzero(true < worst - 1e-9)) <= set(found.rows.tolist())
    np.testing.assert_allclose(found.distances, np.maximum(true[found.rows], 0), atol=1e-9)
    assert len(found.rows) >= min(k, count)


def test_an_answer_does_not_depend_on_what_is_asked_beside_it() -> None:
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((5_000, 64)).astype(np.float32)
    rows[100:200] = rows[7]  # equals: which of them are in must not depend on a last bit
    lengths = np.linalg.norm(rows, axis=1)
    queries = [*rng.standard_normal((30, 64)).astype(np.float32), rows[7]]
    together_ = list(nearest(rows, lengths, None, [Question(q, 10) for q in queries], "cosine"))
    for query, found in zip(queries, together_, strict=True):
        (alone,) = nearest(rows, lengths, None, [Question(query, 10)], "cosine")
        assert alone.rows.tolist() == found.rows.tolist()
        assert alone.distances.tobytes() == found.distances.tobytes()
    assert len(together_[-1].rows) >= 101


changes = st.lists(
    st.tuples(
        st.sampled_from(["put", "remove"]),
        st.lists(
            st.sampled_from([f"i{n}" for n in range(12)]), min_size=1, max_size=4, unique=True
        ),
    ),
    max_size=40,
)


@given(changes=changes)
@settings(max_examples=100, deadline=None)
def test_rows_in_memory_are_what_was_put_and_not_removed(
    changes: list[tuple[str, list[str]]],
) -> None:
    definition = Definition(dimension=2)
    resident, model = Resident(definition), dict[str, float]()
    for step, (what, ids) in enumerate(changes, start=1):
        before, shown = resident.view(), dict(model)
        if what == "put":
            vectors = np.array([[step, 1.0]] * len(ids), np.float32)
            nothing: list[str | None] = [None] * len(ids)
            batch = Batch(ids=ids, vectors=vectors, texts=nothing, metadata=list(nothing))
            resident.put(batch.table(definition))
            model.update(dict.fromkeys(ids, float(step)))
        else:
            resident.remove(ids)
            for each in ids:
                model.pop(each, None)
        assert held(resident.view()) == model
        assert held(before) == shown  # who looks at the rows of before sees no change


def held(view: Any) -> dict[str, float]:
    alive = np.ones(len(view.lengths), bool) if view.alive is None else view.alive
    ids = view.table["id"].filter(pa.array(alive)).to_pylist()
    return dict(zip(ids, view.vectors[alive][:, 0].tolist(), strict=True))


def test_of_batches_together_the_last_of_an_id_holds() -> None:
    def batch(ids: list[str], first: float, metadata: list[str | None]) -> Batch:
        vectors = np.array([[first + n] for n in range(len(ids))], np.float32)
        keeps = [each is None for each in metadata]
        return Batch(ids, vectors, [None] * len(ids), metadata, keeps)

    made = together(
        [batch(["a", "b", "a"], 0, ["1", "2", None]), batch(["b", "c"], 10, [None, "3"])]
    )
    assert made.ids == ["a", "b", "c"]
    assert made.vectors[:, 0].tolist() == [2, 10, 11]
    assert made.metadata == ["1", "2", "3"] and made.keeps == [False, False, False]


def ids_of(rows: pa.Table) -> list[Any]:
    return rows["id"].to_pylist()


async def collection(lake: Lakehouse, name: str) -> TableName:
    await lake.vectors.create(CollectionCreate(name=name, dimension=8))
    return parse_table_name(name)


async def test_upserts_at_the_same_time_leave_one_item_for_each_id(lake: Lakehouse) -> None:
    name = await collection(lake, "crowd")

    async def write(writer: int) -> None:
        for number in range(10):
            rows = [
                ItemIn(id=f"i{(writer + n) % 20}", vector=[float(writer + 1), float(number)] * 4)
                for n in range(5)
            ]
            await lake.vectors.add(name, rows)

    await asyncio.gather(*(write(writer) for writer in range(16)))
    assert (await lake.vectors.info(name)).length == 20
    found = await lake.vectors.search(name, SearchRequest(vector=[1.0] * 8, k=100))
    assert sorted(ids_of(found.rows)) == sorted(f"i{n}" for n in range(20))
    on_disk = await (await lake.vectors.shelf.get(name)).items.read(["id"])
    assert sorted(ids_of(on_disk)) == sorted(f"i{n}" for n in range(20))


async def test_many_at_once_see_what_was_acknowledged_to_each(lake: Lakehouse) -> None:
    name = await collection(lake, "own_writes")

    async def write_and_look(writer: int) -> None:
        vector = np.random.default_rng(writer).standard_normal(8)
        for number in range(5):
            mine = f"w{writer}-{number}"
            said = (vector + number).tolist()
            await lake.vectors.add(name, [ItemIn(id=mine, vector=said)])
            found = await lake.vectors.search(name, SearchRequest(vector=said, k=1))
            assert ids_of(found.rows) == [mine]
            await lake.vectors.delete(name, ItemsDelete(ids=[mine]))
            found = await lake.vectors.search(name, SearchRequest(vector=said, k=1000))
            assert mine not in ids_of(found.rows)

    await asyncio.gather(*(write_and_look(writer) for writer in range(20)))
    assert (await lake.vectors.info(name)).length == 0


async def test_who_leaves_while_it_is_written_leaves_nothing_half(lake: Lakehouse) -> None:
    name = await collection(lake, "leaving")
    for number in range(20):
        rows = [ItemIn(id=f"{number}-{n}", vector=[1.0 + n] * 8) for n in range(50)]
        task = asyncio.create_task(lake.vectors.add(name, rows))
        await asyncio.sleep(0.0005 * number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await lake.vectors.add(name, [ItemIn(id="last", vector=[1.0] * 8)])
    ids = ids_of(await (await lake.vectors.shelf.get(name)).items.read(["id"]))
    parts = [each.partition("-")[0] for each in ids if each != "last"]
    assert all(parts.count(part) == 50 for part in set(parts))
    found = await lake.vectors.search(name, SearchRequest(vector=[1.0] * 8, k=10_000))
    assert sorted(ids_of(found.rows)) == sorted(ids)


async def test_who_waits_to_write_a_collection_that_is_dropped_is_told(lake: Lakehouse) -> None:
    name = await collection(lake, "dropped")
    rows = [ItemIn(id=f"i{n}", vector=[1.0 + n] * 8) for n in range(200)]
    writes = [asyncio.create_task(lake.vectors.add(name, rows)) for _ in range(8)]
    await asyncio.sleep(0)
    drops = [asyncio.create_task(lake.vectors.drop(name)) for _ in range(2)]
    ends = await asyncio.gather(*writes, *drops, return_exceptions=True)
    failed = [each for each in ends if isinstance(each, BaseException)]
    assert failed and all(isinstance(each, CollectionNotFoundError) for each in failed)
    assert ends[8:].count(None) == 1  # one of the drops did it
    await lake.vectors.create(CollectionCreate(name="dropped", dimension=8))
    assert (await lake.vectors.info(name)).length == 0


async def test_a_search_of_a_large_collection_does_not_wait_for_who_writes(
    lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await collection(lake, "busy")
    await lake.vectors.add(name, [ItemIn(id="a", vector=[1.0] * 8)])
    held = await lake.vectors.shelf.get(name)
    monkeypatch.setattr(held, "_exact_max", 0)
    held._residents.drop(held.known.id)
    async with held.writing, asyncio.timeout(5):
        found = await lake.vectors.search(name, SearchRequest(vector=[1.0] * 8))
    assert found.way == "scan" and ids_of(found.rows) == ["a"]
