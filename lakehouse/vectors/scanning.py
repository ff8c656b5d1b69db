"""Exact search from the disk: every vector that a predicate keeps, read in batches.

For collections that are not in memory, where no index may answer: it is not built yet, it is
damaged, a filter keeps so few items that looking at each is faster, or the truth is asked for.
Memory holds one batch and the nearest so far.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from lakehouse.lanes import on_thread
from lakehouse.vectors.answers import ANSWER_MAX_BYTES, SURE_ROWS, check_bytes, metadata_bytes
from lakehouse.vectors.lance import Items
from lakehouse.vectors.models import Distance
from lakehouse.vectors.nearest import Question, nearest
from lakehouse.vectors.resident import vectors_of

MET_MAX = 4
"""As many times what an answer may have, the nearest so far may have."""
Keep = Any
"""What says which rows of a batch a filter keeps: rows to rows, on a thread. None for all."""


async def scanned(
    items: Items,
    questions: Sequence[Question],
    distance: Distance,
    columns: Sequence[str],
    where: str | None = None,
    keep: Keep = None,
) -> list[pa.Table]:
    """Return for each question its nearest rows with `_distance`, equals by id, cut to k.

    Args:
        columns: of the answer, `id` among them; `keep` sees them too.
    """
    best = [Best(each) for each in questions]
    wanted = list(dict.fromkeys([*columns, "vector"]))
    async with items.batches(wanted, where) as batches:
        async for batch in batches:
            rows = pa.Table.from_batches([batch])
            if keep is not None:
                rows = await keep(rows)
            if rows.num_rows:
                await on_thread(partial(look_at, rows, best, distance))
    return [each.table(columns) for each in best]


def look_at(rows: pa.Table, best: Sequence["Best"], distance: Distance) -> None:
    vectors = vectors_of(rows)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1).astype(np.float32)
    rest = rows.drop_columns(["vector"])
    asked = [each.question for each in best]
    for each, found in zip(best, nearest(vectors, lengths, None, asked, distance), strict=True):
        each.take(rest.take(pa.array(found.rows)), found.distances)


class Best:
    """The nearest rows that one question has met so far."""

    def __init__(self, question: Question) -> None:
        self.question = question
        self._rows: pa.Table | None = None

    def take(self, rows: pa.Table, distances: Any) -> None:
        rows = rows.append_column("_distance", pa.array(distances, pa.float64()))
        both = rows if self._rows is None else pa.concat_tables([self._rows, rows])
        self._rows = first(both, self.question.k)
        if self.question.k > SURE_ROWS and "metadata" in rows.schema.names:
            # Nearer ones may be smaller: what leaves is measured again.
            check_bytes(metadata_bytes(self._rows), MET_MAX * ANSWER_MAX_BYTES)

    def table(self, columns: Sequence[str]) -> pa.Table:
        names = [*columns, "_distance"]
        if self._rows is None:
            return pa.table({name: [] for name in names})
        return self._rows.select(names)


def first(rows: pa.Table, k: int) -> pa.Table:
    """Return the k nearest rows, equals in the order of their ids."""
    order = rows.sort_by([("_distance", "ascending"), ("id", "ascending")])
    return order.slice(0, k).combine_chunks()
