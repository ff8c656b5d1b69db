"""Rows in memory: in few chunks, in the order they came."""

import numpy as np
import pyarrow as pa

from lakehouse.vectors.ledger import Definition
from lakehouse.vectors.resident import MERGED_MAX, TAKEN_ALONE_MAX, Resident, rows_at
from lakehouse.vectors.schema import Batch

DEFINITION = Definition(dimension=2, distance="cosine")


def rows(first: int, count: int) -> pa.Table:
    ids = [f"i{first + number}" for number in range(count)]
    vectors = np.ones((count, 2), np.float32)
    texts: list[str | None] = [None] * count
    return Batch(ids, vectors, texts, texts).table(DEFINITION)


def test_rows_that_come_in_many_parts_lie_in_few_chunks_in_their_order() -> None:
    resident = Resident(DEFINITION)
    counts = np.random.default_rng(1).integers(1, 9, 500)
    for first, count in zip(np.cumsum([0, *counts[:-1]]), counts, strict=True):
        resident.put(rows(int(first), int(count)))

    ids = resident.view().table["id"]

    assert ids.num_chunks <= np.log2(counts.sum()) + 1
    assert ids.to_pylist() == [f"i{number}" for number in range(counts.sum())]


def test_rows_are_found_at_their_places_however_many_they_are() -> None:
    resident = Resident(DEFINITION)
    for first in range(0, 1_000, 10):
        resident.put(rows(first, 10))
    table = resident.view().table
    for count in (0, 1, TAKEN_ALONE_MAX, TAKEN_ALONE_MAX + 1):
        places = np.random.default_rng(count).integers(0, 1_000, count).tolist()
        assert rows_at(table, places)["id"].to_pylist() == [f"i{each}" for each in places]


def test_large_chunks_are_not_copied_for_a_few_rows() -> None:
    resident = Resident(DEFINITION)
    for first in range(0, 5 * MERGED_MAX, MERGED_MAX // 2):
        resident.put(rows(first, MERGED_MAX // 2))
    before = [len(chunk) for chunk in resident.view().table["id"].chunks]
    resident.put(rows(5 * MERGED_MAX, 10))

    assert max(before) <= 2 * MERGED_MAX
    assert [len(chunk) for chunk in resident.view().table["id"].chunks][:3] == before[:3]
