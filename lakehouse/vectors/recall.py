"""How many of the true nearest a search finds, measured against looking at every vector."""

from typing import Any

import numpy as np

from lakehouse.database import Database
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.lance import among
from lakehouse.vectors.models import RecallChecked
from lakehouse.vectors.nearest import Question
from lakehouse.vectors.resident import vectors_of
from lakehouse.vectors.scanning import scanned
from lakehouse.vectors.schema import values
from lakehouse.vectors.searching import Search, find

AS_NEAR = 1e-6
"""What is no farther than the k-th true neighbour, but for this, is as good as it."""


async def recall_of(
    collection: Collection, queries: int, k: int, database: Database
) -> RecallChecked:
    """Search for the neighbours of items spread over the collection, both ways.

    Cost: one pass over all vectors, and `queries` searches.
    """
    length = await collection.length()
    rows = await sample(collection, min(queries, length))
    truth = await scanned(
        collection.items,
        [Question(vector, k) for vector in rows],
        collection.known.definition.distance,
        ["id"],
    )
    found = wanted = 0
    approximate = False
    for vector, true in zip(rows, truth, strict=True):
        answer = await find(collection, Search(vector=vector, k=k, columns=("id",)), database)
        approximate = approximate or answer.approximate
        distances = values(true, "_distance")
        near = [d for d in values(answer.rows, "_distance") if d <= distances[-1] + AS_NEAR]
        found, wanted = found + min(len(near), len(distances)), wanted + len(distances)
    return RecallChecked(
        queries=len(rows),
        k=k,
        recall=found / wanted if wanted else 1.0,
        items=length,
        approximate=approximate,
    )


async def sample(collection: Collection, count: int) -> Any:
    """Return the vectors of items spread evenly over the collection by their ids."""
    if not count:
        return []
    ids = (await collection.items.read(["id"], in_order=True))["id"]
    places = np.linspace(0, len(ids) - 1, count).astype(int)
    chosen = [ids[int(place)].as_py() for place in places]
    return vectors_of(await collection.items.read(["vector"], among(chosen)))
