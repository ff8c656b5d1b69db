"""Searches of one collection: in memory, by the index, or from the disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec import UNSET

from lakehouse.database import Connection, Database
from lakehouse.lanes import on_thread
from lakehouse.vectors.answers import SURE_ROWS, check_bytes, metadata_bytes
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.conditions import Condition
from lakehouse.vectors.errors import CollectionDamagedError
from lakehouse.vectors.filter_duckdb import to_duckdb
from lakehouse.vectors.filter_lance import to_lance
from lakehouse.vectors.filters import parse_filter
from lakehouse.vectors.models import Explained, Hit, SearchResult
from lakehouse.vectors.nearest import Question, distances_of
from lakehouse.vectors.resident import View, rows_at, vectors_of
from lakehouse.vectors.scanning import first, scanned
from lakehouse.vectors.schema import as_written, values

SCANNED_MAX = 500
"""A filter that keeps no more is answered by looking at each: faster than the index, and exact. Of
200,000 rows 20 that were read one by one took 5 ms, 2,000 took 44, and the index 12."""
FEW = 100
"""Rows whose distances are computed on the event loop: that takes as long as a hop to a thread."""
SPARE = 2
"""More candidates than k that are taken from the index: Lance's distances are float32, and which of
two that are nearly equal comes first is decided by ours. Each costs: 32 made 8 ms 12."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of the answer, nearest first."""

    rows: pa.Table
    """`id`, `metadata`, whatever else was asked for, and `_distance`."""
    way: str
    items: int
    passed: int | None = None
    approximate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    vector: Any
    k: int
    filter: Mapping[str, Any] = field(default_factory=dict)
    columns: tuple[str, ...] = ("id", "metadata")


async def find(collection: Collection, search: Search, database: Database) -> Found:
    """Return the nearest items that the filter keeps; fewer than k only when fewer there are.

    Raises:
        InvalidFilterError: the filter is none.
        CollectionDamagedError: its rows cannot be read.
    """
    condition = None
    if search.filter:
        condition = parse_filter(dict(search.filter), collection.known.definition.columns)
    view = await collection.view()
    if view is None or view.cells is not None:
        collection.asked()
    if view is not None:
        return await in_memory(collection, view, search, condition, database)
    return await from_disk(collection, search, condition, database)


async def in_memory(
    collection: Collection,
    view: View,
    search: Search,
    condition: Condition | None,
    database: Database,
) -> Found:
    rows = None
    if condition is not None:
        rows = await database.run(partial(kept, view.table, condition))
        if view.alive is not None:
            rows = rows[view.alive[rows]]
    passed = None if rows is None else len(rows)
    found = await collection.nearest(view, Question(search.vector, search.k, rows))
    if len(found.rows) > SURE_ROWS:
        check_bytes(metadata_bytes(view.table, pa.array(found.rows)))
    table = rows_at(view.table.select(list(search.columns)), found.rows.tolist())
    table = table.append_column("_distance", pa.array(found.distances, pa.float64()))
    if rows is None and view.cells and view.cells.serves(search.k):
        return Found(table, "memory index", view.count, passed, approximate=True)
    return Found(table, "memory", view.count, passed)


async def from_disk(
    collection: Collection, search: Search, condition: Condition | None, database: Database
) -> Found:
    length, where, keep = await collection.length(), None, None
    passed: int | None = None
    if condition is not None:
        where = to_lance(condition)
        if where is None:  # Lance has no such column: the rows come to the engine that reads JSON
            keep = partial(keeping, database, condition)
        else:
            passed = await collection.items.count(where)
    question = Question(search.vector, search.k)
    distance = collection.known.definition.distance
    wanted = [*search.columns, *collection.known.definition.columns]
    columns = list(dict.fromkeys([*wanted, "metadata"])) if keep else list(search.columns)
    by_index = keep is None and (passed is None or passed > SCANNED_MAX)
    if by_index and collection.may_use_index and await collection.items.index():
        try:
            table = await near(collection, search, where)
        except CollectionDamagedError:
            collection.index_failed()
        else:
            return Found(table, "index", length, passed, approximate=True)
    (table,) = await scanned(collection.items, [question], distance, columns, where, keep)
    if table.num_rows > SURE_ROWS:
        check_bytes(metadata_bytes(table))
    return Found(table, "scan", length, passed)


async def near(collection: Collection, search: Search, where: str | None) -> pa.Table:
    """Return what the index finds, with distances as an exact search has them."""
    distance = collection.known.definition.distance
    columns = list(dict.fromkeys([*search.columns, "vector"]))
    rows = await collection.items.nearest(search.vector, search.k + SPARE, distance, columns, where)

    def work() -> pa.Table:
        query = search.vector.astype(np.float64)
        vectors = vectors_of(rows).astype(np.float64)
        distances = distances_of(vectors, query, float(np.sqrt(query @ query)), distance)
        table = rows.select(list(search.columns))
        return first(table.append_column("_distance", pa.array(distances)), search.k)

    return work() if rows.num_rows <= FEW else await on_thread(work)


def kept(rows: pa.Table, condition: Condition, cursor: Connection) -> Any:
    """Return the places of the rows that a condition keeps, ascending. On a worker thread."""
    sql, parameters = to_duckdb(condition)
    numbered = rows.append_column("__row", pa.array(np.arange(rows.num_rows)))
    cursor.register("items", numbered)
    try:
        found = cursor.execute(f"SELECT __row FROM items WHERE {sql}", parameters).fetchnumpy()
    finally:
        cursor.unregister("items")
    return np.sort(np.asarray(found["__row"]))


async def keeping(database: Database, condition: Condition, rows: pa.Table) -> pa.Table:
    return rows.take(pa.array(await database.run(partial(kept, rows, condition))))


def answer(found: Found, *, explain: bool) -> SearchResult:
    """Return what was found as it crosses the wire."""
    rows = found.rows
    nothing = [None] * rows.num_rows
    names = rows.schema.names
    scores = values(rows, "_score") if "_score" in names else nothing
    distances = values(rows, "_distance") if "_distance" in names else nothing
    hits = [
        Hit(
            id=name,
            distance=UNSET if far is None else far,
            score=UNSET if score is None else score,
            metadata=as_written(text),
        )
        for name, far, score, text in zip(
            values(rows, "id"), distances, scores, values(rows, "metadata"), strict=True
        )
    ]
    explained = Explained(
        way=found.way, items=found.items, passed=found.passed, approximate=found.approximate
    )
    return SearchResult(
        results=hits, approximate=found.approximate, explain=explained if explain else None
    )
