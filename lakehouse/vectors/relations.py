"""Collections as relations of a statement: what a search found, and all items of a collection."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import msgspec
import pyarrow as pa

from lakehouse.errors import TooLargeError
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, folded, parse_table_name, shown
from lakehouse.vectors.models import SearchRequest
from lakehouse.vectors.schema import ARROW, column_value, values
from lakehouse.vectors.searching import Found
from lakehouse.vectors.vectors import Vectors

SCHEMA = "vectors"
"""Where SQL finds collections: `vectors.notes`, `vectors."sales.notes"`."""
FIXED = ("id", "text", "metadata", "document")


class CollectionTooLargeError(TooLargeError):
    """All items of a collection at once are more than a statement may hold in memory."""

    def __init__(self, name: str, max_bytes: int) -> None:
        super().__init__(
            f"the items of {name} are over the {max_bytes:,} bytes that a statement may read of a"
            " collection: search it (`search`), or read it page by page",
            max_bytes=max_bytes,
        )


class Relations:
    """Made on the event loop, which it remembers: statements ask from their threads.

    Args:
        bytes_max: of the items of one collection in one statement, without their vectors.
    """

    def __init__(self, vectors: Vectors, bytes_max: int) -> None:
        self._vectors = vectors
        self._bytes_max = bytes_max
        self._loop = asyncio.get_running_loop()

    async def found(self, collection: str, asked: Mapping[str, Any]) -> pa.Table:
        """Return what a search finds: `id`, `distance`, `score`, `rank`, `metadata`, columns.

        Args:
            asked: the fields of a search, `vector` or `text` among them.

        Raises:
            CollectionNotFoundError, InvalidQueryError, InvalidFilterError, and what embedding may.
        """
        name = parse_table_name(collection)
        request = msgspec.convert(asked, SearchRequest)
        found = await self._vectors.search(name, request)
        definition = (await self._vectors.shelf.get(name)).known.definition
        return await on_thread(partial(relation, found, definition.columns, definition.distance))

    def tables(self) -> Mapping[str, Callable[[], pa.Table]]:
        """Return, by the names that SQL knows, what reads the collections that the caller may."""
        return {
            f"{SCHEMA}.{folded(shown(name))}": partial(self._rows, name)
            for name in self._vectors.shelf.names()
        }

    def _rows(self, name: TableName) -> pa.Table:
        """Return all items but for their vectors. On a worker thread."""
        return asyncio.run_coroutine_threadsafe(self._read(name), self._loop).result()

    async def _read(self, name: TableName) -> pa.Table:
        collection = await self._vectors.shelf.get(name)
        columns = [*FIXED, *collection.known.definition.columns]
        read: list[pa.RecordBatch] = []
        size = 0
        async with collection.items.batches(columns) as batches:
            async for batch in batches:
                read.append(batch)
                size += batch.nbytes
                if size > self._bytes_max:
                    raise CollectionTooLargeError(shown(name), self._bytes_max)
        if read:
            return pa.Table.from_batches(read)
        return await collection.items.read(columns, limit=0)


def relation(found: Found, columns: Mapping[str, Any], distance: str) -> pa.Table:
    rows = found.rows
    count, names = rows.num_rows, rows.schema.names
    nothing: list[Any] = [None] * count
    far = values(rows, "_distance") if "_distance" in names else nothing
    if "_score" in names:
        scores = values(rows, "_score")
    elif distance == "cosine":
        scores = [1.0 - each for each in far]
    else:
        scores = [1.0 / (1.0 + each) for each in far]
    metadata = values(rows, "metadata")
    objects = [msgspec.json.decode(text) if columns and text else {} for text in metadata]
    return pa.table(
        {
            "id": pa.array(values(rows, "id"), pa.string()),
            "distance": pa.array(far, pa.float64()),
            "score": pa.array(scores, pa.float64()),
            "rank": pa.array(range(1, count + 1), pa.int64()),
            "metadata": pa.array(metadata, pa.string()),
            **{
                name: pa.array(
                    [column_value(kind, each.get(name)) for each in objects], ARROW[kind]
                )
                for name, kind in columns.items()
            },
        }
    )
