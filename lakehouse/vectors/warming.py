"""Large collections in memory: their rows, and cells that say which of them may be near.

The index on the disk serves until they are there, and again once they are worn out or others need
the memory. Writes go on while rows are read, and are done to those in memory afterwards.
"""

from collections.abc import Sequence
from functools import partial

import pyarrow as pa

from lakehouse.lanes import on_thread
from lakehouse.vectors.cells import Cells, built
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.resident import ID_BYTES, Change, Changes, Resident

ROWS_MIN = 10_000
"""Fewer are searched as fast from the disk."""
ROOM = 0.25
"""The share of its rows that may be added to a collection before it is read anew."""
FLAT_MAX = 100_000_000
"""Numbers that are looked at one by one for lack of cells: they take 26 ms. More are left to the
index on the disk, whatever it finds."""
REST_BYTES = 256
"""What a row is taken to have besides its vector, before that was measured."""


async def warm(collection: Collection) -> None:
    """Read or renew what searches ask for; all stays as it is where there is no memory for it.

    Raises:
        CollectionDamagedError: the rows cannot be read.
    """
    resident = collection.in_memory
    collection.rest(longer=True)
    found = await load(collection) if resident is None else await renewed(collection, resident)
    if found is not None:  # nothing has changed since it was made
        collection.take(found)
        collection.rest()


async def renewed(collection: Collection, resident: Resident) -> Resident | None:
    """Have the cells know what was added; None when that was not to be.

    No row of these moves, so writes may go on.
    """
    known = resident.cells
    if known is None or not resident.is_behind:
        return None
    with collection.reserving(known.size_bytes) as has_room:
        cells = await cells_of(collection, resident) if has_room else None
    if cells is None or resident.cells is not known or collection.in_memory is not resident:
        return None
    resident.cells = cells
    return resident


async def load(collection: Collection) -> Resident | None:
    """Return all rows and their cells; None where they are too few or too many."""
    length = await collection.length()
    if length < ROWS_MIN:
        return None
    at_least = estimated(collection.known.definition.dimension)
    while True:
        size = length * max(collection.row_bytes, at_least)
        changes = Changes(int(length * ROOM))
        with collection.reserving(size) as has_room, collection.noting(changes):
            found = await read(collection, length, size, changes) if has_room else None
        if found is not None or length * collection.row_bytes <= size:
            return found  # else a row was found to take more: that much room is asked for


async def cells_of(collection: Collection, resident: Resident) -> Cells | None:
    """Return the cells of rows; None when they would be of no use."""
    vectors = resident.view().vectors
    work = partial(built, vectors, collection.known.definition.distance)
    cells = await on_thread(work, patient=False)
    return cells if cells and (cells.probes or vectors.size <= FLAT_MAX) else None


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
                collection.row_bytes = 2 * bytes_max // length + 1
                return None
    if not found.count:
        return None
    await on_thread(found.settle)
    found.cells = await cells_of(collection, found)
    if found.cells is None:
        return None
    while part := changes.taken():
        await on_thread(partial(done, part, found))
    return found if changes.are_all and not found.is_worn else None


def done(changes: Sequence[Change], found: Resident) -> None:
    for change in changes:
        change(found)
