"""Searches by words: BM25 over the texts of items, alone or fused with what is near in meaning."""

from dataclasses import replace

import pyarrow as pa

from lakehouse.database import Database
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.filter_lance import to_lance
from lakehouse.vectors.filters import parse_filter
from lakehouse.vectors.fusion import fuse
from lakehouse.vectors.schema import values
from lakehouse.vectors.searching import Found, Search, find, keeping

FUSED_MIN = 100
"""Of each ranking at least so many are fused: one that both have further down is ahead of one that
only one of them has."""
WIDER = 8
"""As many times more matches are asked for, until the filter kept enough or there are no more."""
COLUMNS = ("id", "metadata")


async def by_words(collection: Collection, text: str, search: Search, database: Database) -> Found:
    """Return the items whose texts have words of a text, best first, with `_score`.

    Equals are in the order of their ids; which of those that are as good as the last one come is
    the index's choice.

    Raises:
        InvalidFilterError: the filter is none.
    """
    await collection.index_texts()
    length = await collection.length()
    where, keep = None, None
    if search.filter:
        condition = parse_filter(dict(search.filter), collection.known.definition.columns)
        where = to_lance(condition)
        keep = condition if where is None else None
    columns = ["id", "metadata", *(collection.known.definition.columns if keep else ())]
    most = search.k if keep is None else search.k * WIDER
    rows = found = await collection.items.matching(text, most, columns, where)
    while keep is not None:  # a filter that Lance cannot say is asked of what matches
        rows = await keeping(database, keep, found)
        if rows.num_rows >= search.k or found.num_rows < most:
            break
        most *= WIDER
        found = await collection.items.matching(text, most, columns, where)
    rows = rows.sort_by([("_score", "descending"), ("id", "ascending")]).slice(0, search.k)
    return Found(rows.select([*COLUMNS, "_score"]), "words", length)


async def by_both(collection: Collection, text: str, search: Search, database: Database) -> Found:
    """Return what is near and what has the words, fused by their ranks; `_score`, `_distance`."""
    wider = replace(search, k=max(search.k, FUSED_MIN))
    near = await find(collection, wider, database)
    words = await by_words(collection, text, wider, database)
    fused = fuse([values(near.rows, "id"), values(words.rows, "id")])[: search.k]
    distances = dict(zip(values(near.rows, "id"), values(near.rows, "_distance"), strict=True))
    metadata = {
        name: said
        for rows in (near.rows, words.rows)
        for name, said in zip(values(rows, "id"), values(rows, "metadata"), strict=True)
    }
    rows = pa.table(
        {
            "id": pa.array([each.id for each in fused], pa.string()),
            "metadata": pa.array([metadata[each.id] for each in fused], pa.string()),
            "_score": pa.array([each.score for each in fused], pa.float64()),
            "_distance": pa.array([distances.get(each.id) for each in fused], pa.float64()),
        }
    )
    return replace(near, rows=rows, way=f"{near.way} and words")
