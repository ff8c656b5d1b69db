"""Large collections in memory: their rows, and cells that say which of them may be near.

The index on the disk serves until they are there, and again once they are worn out or others need
the memory. Writes go on while rows are read, and are done to those in memory afterwards.
"""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from lakehouse.lanes import on_thread
from lakehouse.vectors.cells import built
from lakehouse.vectors.collection import Change, Changes, Collection
from lakehouse.vectors.resident import ID_BYTES, Resident

ROWS_MIN = 10_000
"""Fewer are searched as fast from the disk."""
ROOM = 0.25
"""The share of its rows that may be added to a collection before it is read anew."""
REST_BYTES = 256
"""What a row is taken to have besides its vector, before that was measured."""


async def warm(collection: Collection) -> None:
    """Read or renew what searches ask for; all stays as it is where there is no memory for it.

    Raises:
        CollectionDamagedError: the rows cannot be read.
    """
    if not collection.is_asked:
        return
    resident = collection.in_memory
    if resident is None:
        await load(collection)
    elif resident.is_behind:
        await renew(collection, resident)


async def renew(collection: Collection, resident: Resident) -> None:
    """Have the cells know what was added. No row of these moves, so writes may go on."""
    known, vectors = resident.cells, resident.view().vectors
    cells = await on_thread(partial(built, vectors, collection.known.definition.distance, known))
    if resident.cells is not known:  # it has become small meanwhile
        return
    if cells is None:
        collection.forget()
    else:
        resident.cells = cells


async def load(collection: Collection) -> None:
    """Have all rows in memory, and their cells."""
    collection.tried()
    length = await collection.length()
    if length < ROWS_MIN:
        return
    changes = Changes(int(length * ROOM))
    at_least = estimated(collection.known.definition.dimension)
    size = length * max(collection.row_bytes, at_least)
    with collection.reserving(size) as has_room, collection.noting(changes):
        found = await read(collection, length, size, changes) if has_room else None
    if found is not None:  # no change has come since the last of them was done to it
        collection.take(found)


def estimated(dimension: int) -> int:
    """Return what a row takes at least: its vector, as much for room and cells, and the rest."""
    return 8 * dimension + ID_BYTES + REST_BYTES


async def read(
    collection: Collection, length: int, bytes_max: int, changes: Changes
) -> Resident | None:
    """Return all rows with their cells, and what was changed meanwhile done to them.

    Changes are noted from before the first row is read, so some are in it already: done again in
    their order they end in the same. None when it is too large, or has changed too much.
    """
    definition = collection.known.definition
    found = Resident(definition, int(length * (1 + ROOM)))
    async with collection.all_rows() as batches:
        async for batch in batches:
            await on_thread(partial(found.put, pa.Table.from_batches([batch])))
            if found.size_bytes > bytes_max:
                collection.row_bytes = 2 * bytes_max // length
                return None
    if not found.count:
        return None
    found.cells = await on_thread(partial(built, found.view().vectors, definition.distance))
    while part := changes.taken():
        await on_thread(partial(done, part, found))
    return found if found.cells and changes.are_all and not found.is_worn else None


def done(changes: Sequence[Change], found: Resident) -> None:
    for change in changes:
        change(found)
