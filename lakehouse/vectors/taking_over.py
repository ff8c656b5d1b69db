"""Rows of a table made the items of a collection: those that changed, or all of them compared."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from lakehouse.disk import Disk
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.lance import among, text_literal
from lakehouse.vectors.schema import Batch, values
from lakehouse.vectors.sources import GONE_ROWS, IDS_ROWS, Reading
from lakehouse.vectors.texts import Texts

TEXTS_EMBEDDED = 500
"""At once: each time has the deadline of the model."""
UNKNOWN = "a row is no item: the model knows no word of its text"

Put: TypeAlias = Callable[[Collection, pa.Table, Sequence[str]], Awaitable[int]]
"""Puts rows into a collection while ids go, as one version; returns how many are no items."""


async def take_over(
    collection: Collection, reading: Reading, put: Put, slow: Callable[[], None]
) -> None:
    """Put and delete what a look at the table gives; what is little is one version.

    Args:
        slow: called when it is more than that.
    """
    compare = reading.is_whole and await collection.length() > 0
    chunks = changed(collection, reading) if compare else reading.chunks()
    rows = await anext(chunks, None)
    further = await anext(chunks, None) if rows is not None else None
    while rows is not None and further is not None:
        slow()
        reading.skip(await put(collection, rows, []), UNKNOWN)
        rows, further = further, await anext(chunks, None)
    leaving = strangers(collection, reading) if compare else reading.gone()
    gone: list[str] = await anext(leaving, [])
    if rows is not None:
        reading.skip(await put(collection, rows, gone), UNKNOWN)
    elif gone:
        await collection.alone(partial(collection.delete, gone))
    async for ids in leaving:
        await collection.alone(partial(collection.delete, ids))


async def changed(collection: Collection, reading: Reading) -> AsyncIterator[pa.Table]:
    """The rows of a table that are not yet items as they are now."""
    async for rows in reading.chunks():
        there: dict[str, tuple[str | None, str | None]] = {}
        ids = values(rows, "id")
        for start in range(0, len(ids), GONE_ROWS):
            where = among(ids[start : start + GONE_ROWS])
            found = await collection.items.read(["id", "text", "metadata"], where)
            said = zip(values(found, "text"), values(found, "metadata"), strict=True)
            there |= dict(zip(values(found, "id"), said, strict=True))
        wanted = zip(ids, values(rows, "text"), values(rows, "metadata"), strict=True)
        new = [there.get(name) != (text, about) for name, text, about in wanted]
        if any(new):
            yield rows.filter(pa.array(new))


async def strangers(collection: Collection, reading: Reading) -> AsyncIterator[list[str]]:
    """The ids of items that no row of the table has."""
    after: str | None = None
    while True:
        where = None if after is None else f"id > {text_literal(after)}"
        page = await collection.items.read(["id"], where, limit=IDS_ROWS, in_order=True)
        if not page.num_rows:
            return
        after = page["id"][-1].as_py()
        ids = await reading.missing(page)
        for start in range(0, len(ids), GONE_ROWS):
            yield ids[start : start + GONE_ROWS]


async def put_rows(
    texts_of: Texts, disk: Disk, collection: Collection, rows: pa.Table, gone: Sequence[str]
) -> int:
    """Put rows of a table as items, while others go; return how many the model knows not."""
    disk.check(rows.nbytes + rows.num_rows * collection.known.definition.dimension * 4)
    texts, parts = values(rows, "text"), []
    for start in range(0, len(texts), TEXTS_EMBEDDED):
        part = texts[start : start + TEXTS_EMBEDDED]
        parts.append(await texts_of.vectors(collection, part, "document", zeros=True))
    vectors = np.concatenate(parts)
    known: Any = vectors.any(axis=1)
    gone = [*gone, *values(rows.filter(pa.array(~known)), "id")]
    rows, vectors = rows.filter(pa.array(known)), vectors[known]
    if rows.num_rows:
        batch = Batch(
            ids=values(rows, "id"),
            vectors=vectors,
            texts=values(rows, "text"),
            metadata=values(rows, "metadata"),
            keeps=[False] * rows.num_rows,
        )
        instead_of = among(gone) if gone else None
        await collection.alone(partial(collection.write, [batch], instead_of))
    elif gone:
        await collection.alone(partial(collection.delete, gone))
    return len(known) - rows.num_rows
