"""The rows of a collection in memory: what exact searches look at."""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from lakehouse.vectors.cells import Cells, fits
from lakehouse.vectors.ledger import Definition
from lakehouse.vectors.schema import schema_of, values

GROWTH = 1.5
TAKEN_ALONE_MAX = 200
"""Rows that are found one by one: more are taken together, which first copies all chunks of a
column into one. 10 of 50,000 in 50 chunks took 0.9 ms, one by one 0.01."""
MERGED_MAX = 16_384
"""Rows of a chunk that is copied when others come."""
DEAD_MIN, DEAD_SHARE = 1_000, 0.25
"""Rows that were replaced or deleted are left where they are until so many are dead."""
ID_BYTES = 120
"""What an id takes in the map from ids to rows, about."""
UNKNOWN_MIN, UNKNOWN_SHARE = 5_000, 0.05
"""Rows that cells need not know: to look at 5,000 takes 0.3 ms."""
IDLE_S = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """The rows as they were at one moment. Later writes add behind them, and change nothing."""

    vectors: Any
    """Shape (rows, dimension), float32."""
    lengths: Any
    alive: Any
    """Which rows count; None for all."""
    table: pa.Table
    """All columns but the vectors, row by row."""
    count: int
    """Rows that count."""
    cells: Cells | None = None
    """What knows which of them are near; None where all are looked at."""


class Resident:
    """Rows that change. On the event loop alone; who reads takes a `View`.

    With `cells` it is large, and its rows stay where they are: it is worn out, and no longer true,
    once it has no room for more, too many are dead, or numbers come that no cell can compare.
    Without, they are copied then.
    """

    def __init__(self, definition: Definition, rows: int = 0) -> None:
        """Have none yet, and room for so many."""
        schema = schema_of(definition)
        self._schema = schema.remove(schema.get_field_index("vector")).remove_metadata()
        self._vectors = np.empty((rows, definition.dimension), np.float32)
        self._lengths = np.empty(rows, np.float32)
        self._alive = np.zeros(rows, bool)
        self._table = self._schema.empty_table()
        self._rows: dict[str, int] = {}
        self._view: View | None = None
        self._cells: Cells | None = None
        self.is_worn = False

    @property
    def cells(self) -> Cells | None:
        return self._cells

    @cells.setter
    def cells(self, cells: Cells | None) -> None:
        self._cells, self._view = cells, None

    @property
    def is_behind(self) -> bool:
        """Whether its cells do not know many of its rows, which are looked at one by one."""
        if self._cells is None:
            return False
        known = self._cells.count
        return self._table.num_rows - known > max(UNKNOWN_MIN, UNKNOWN_SHARE * known)

    @property
    def size_bytes(self) -> int:
        held = self._vectors.nbytes + self._lengths.nbytes + self._alive.nbytes
        held += self._cells.size_bytes if self._cells else 0
        return int(held + self._table.nbytes + ID_BYTES * len(self._rows))

    @property
    def count(self) -> int:
        return len(self._rows)

    def rows_of(self, ids: Sequence[str]) -> list[int | None]:
        """Return where items are; None for one that is not there."""
        return [self._rows.get(each) for each in ids]

    def settle(self) -> None:
        """Have all columns in one chunk. For who has it alone: it takes a copy of them."""
        self._table = self._table.combine_chunks()

    def view(self) -> View:
        if self._view is None:
            used = self._table.num_rows
            alive = None if self.count == used else self._alive[:used].copy()
            self._view = View(
                self._vectors[:used],
                self._lengths[:used],
                alive,
                self._table,
                self.count,
                self._cells,
            )
        return self._view

    def put(self, table: pa.Table) -> None:
        """Add rows in the schema of the collection; each takes the place of the one with its id."""
        start, ids = self._table.num_rows, values(table, "id")
        vectors = vectors_of(table)
        if self._cells and not (start + len(ids) <= len(self._alive) and fits(vectors)):
            self.is_worn = True
            return
        self._kill(ids)
        self._reserve(start + len(ids))
        self._vectors[start : start + len(ids)] = vectors
        self._lengths[start : start + len(ids)] = np.linalg.norm(vectors.astype(np.float64), axis=1)
        self._alive[start : start + len(ids)] = True
        self._rows.update(zip(ids, range(start, start + len(ids)), strict=True))
        rest = table.select(self._schema.names).cast(self._schema)
        self._table = appended(self._table, rest)
        self._view = None
        self._bury()

    def remove(self, ids: Sequence[str]) -> None:
        self._kill(ids)
        self._view = None
        self._bury()

    def _kill(self, ids: Sequence[str]) -> None:
        gone = [row for each in ids if (row := self._rows.pop(each, None)) is not None]
        self._alive[gone] = False

    def _bury(self) -> None:
        """Leave out the dead rows, once they are many."""
        used = self._table.num_rows
        dead = used - self.count
        if dead <= max(DEAD_MIN, used * DEAD_SHARE):
            return
        if self._cells:
            self.is_worn = True
            return
        alive = self._alive[:used]
        self._table = self._table.filter(pa.array(alive)).combine_chunks()
        self._vectors, self._lengths = self._vectors[:used][alive], self._lengths[:used][alive]
        self._alive = np.ones(self.count, bool)
        self._rows = {each: row for row, each in enumerate(values(self._table, "id"))}
        self._view = None

    def _reserve(self, rows: int) -> None:
        """Have room for that many rows. Views keep the arrays that they were made of."""
        if rows <= len(self._alive):
            return
        room = max(rows, int(len(self._alive) * GROWTH))
        self._vectors = grown(self._vectors, room)
        self._lengths, self._alive = grown(self._lengths, room), grown(self._alive, room)


def grown(array: Any, rows: int) -> Any:
    larger = np.zeros((rows, *array.shape[1:]), array.dtype)
    larger[: len(array)] = array
    return larger


def vectors_of(table: pa.Table) -> Any:
    """Return the vectors of a table, shape (rows, dimension), float32."""
    column: Any = table["vector"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else column.type.wrap([])
    dimension = column.type.list_size
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, dimension)


def appended(table: pa.Table, rows: pa.Table) -> pa.Table:
    """Return a table with rows behind it, in few chunks: each has more than twice those after it.

    What reads a column looks into each of its chunks: a filter of 50,000 rows took 2.4 ms in one
    and 5.5 in 50. So a row is copied as often as its chunk doubles, and large chunks are not: of
    350 MB of texts one copy held up the event loop for 0.6 s.
    """
    before, behind, count = table.to_batches(), rows.to_batches(), rows.num_rows
    while before and before[-1].num_rows <= min(2 * count, MERGED_MAX):
        count += before[-1].num_rows
        behind.insert(0, before.pop())
    last = pa.Table.from_batches(behind, table.schema)
    if len(behind) > 1:
        last = last.combine_chunks()
    return pa.concat_tables([pa.Table.from_batches(before, table.schema), last])


def rows_at(table: pa.Table, places: Sequence[int]) -> pa.Table:
    """Return the rows of these places, in their order."""
    if not 0 < len(places) <= TAKEN_ALONE_MAX:
        return table.take(pa.array(places, pa.int64()))
    return pa.concat_tables([table.slice(place, 1) for place in places])


class Names:
    """The ids of a large collection, also where its rows are not in memory."""

    def __init__(self) -> None:
        self._ids: set[str] = set()

    @property
    def size_bytes(self) -> int:
        return ID_BYTES * len(self._ids)

    def among(self, ids: Sequence[str]) -> list[str]:
        """Return which of some ids are there."""
        return [each for each in ids if each in self._ids]

    def put(self, table: pa.Table) -> None:
        self._ids.update(values(table, "id"))

    def remove(self, ids: Sequence[str]) -> None:
        self._ids.difference_update(ids)


Change: TypeAlias = Callable[[Resident | Names], None]
NAMES = "names of "
"""Before the id of a collection, whose names are kept beside its rows."""


@dataclass(slots=True, eq=False)
class Held:
    kept: Resident | Names
    size_bytes: int
    """When it was kept last."""
    used_at: float


class Changes:
    """What is changed while rows are read into memory.

    Args:
        rows_max: more are not kept.
    """

    def __init__(self, rows_max: int) -> None:
        self.are_all = True
        """False once some are not known."""
        self._rows_left = rows_max
        self._kept: list[Change] = []

    def note(self, change: Change, rows: int) -> None:
        self._rows_left -= rows
        if self._rows_left < 0:
            self.lose()
        if self.are_all:
            self._kept.append(change)

    def lose(self) -> None:
        self.are_all = False
        self._kept.clear()

    def taken(self) -> list[Change]:
        """Return those that were not taken yet, in their order."""
        kept, self._kept = self._kept, []
        return kept


class Residents:
    """What all collections together keep in memory; the least recently used leaves.

    Args:
        bytes_max: for all of them.
    """

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes = 0
        self._bytes_max = bytes_max
        self._reserved = 0
        self._held: OrderedDict[str, Held] = OrderedDict()
        """By the id of their collection: rows, and names."""
        self._changes: dict[str, Changes] = {}
        """Of those that are being read, by the same."""

    def get(self, collection_id: str) -> Resident | None:
        found = self._used(collection_id)
        return found if isinstance(found, Resident) else None

    def names(self, collection_id: str) -> Names | None:
        found = self._used(NAMES + collection_id)
        return found if isinstance(found, Names) else None

    def _used(self, key: str) -> Resident | Names | None:
        held = self._held.get(key)
        if held is None:
            return None
        self._held.move_to_end(key)
        held.used_at = time.monotonic()
        return held.kept

    def fits(self, size_bytes: int) -> bool:
        """Whether a collection of so many bytes may be kept at all."""
        return size_bytes <= self._bytes_max

    def keep_names(self, collection_id: str, names: Names) -> None:
        self.keep(NAMES + collection_id, names)

    def keep(self, collection_id: str, kept: Resident | Names) -> None:
        """Keep one, also one that has grown; others leave for it."""
        self.drop(collection_id)
        size = kept.size_bytes
        self._held[collection_id] = Held(kept, size, time.monotonic())
        self.size_bytes += size
        while self._held and self.size_bytes + self._reserved > self._bytes_max:
            self.drop(next(iter(self._held)))

    def change(self, collection_id: str, change: Change, rows: int) -> Resident | None:
        """Change so many rows as those on the disk were, and return them; None without any.

        Those that are being read are changed later. The caller keeps what is returned, or drops it.
        """
        if collection_id in self._changes:
            self._changes[collection_id].note(change, rows)
        resident, names = self.get(collection_id), self.names(collection_id)
        try:
            if names is not None:
                change(names)
                self.keep_names(collection_id, names)
            if resident is not None:
                change(resident)
        except BaseException:  # half of it may have been done
            self.forget(collection_id)
            raise
        return resident

    def forget(self, collection_id: str) -> None:
        """Drop what is there, and what is being read: neither may be true."""
        self.drop(collection_id)
        self.drop(NAMES + collection_id)
        if collection_id in self._changes:
            self._changes[collection_id].lose()

    @contextmanager
    def noting(self, collection_id: str, changes: Changes) -> Iterator[None]:
        """Note what is changed in this block."""
        self._changes[collection_id] = changes
        try:
            yield
        finally:
            del self._changes[collection_id]

    def drop(self, collection_id: str) -> None:
        held = self._held.pop(collection_id, None)
        self.size_bytes -= held.size_bytes if held else 0

    @contextmanager
    def reserving(self, size_bytes: int) -> Iterator[bool]:
        """Have room for so many bytes in this block, if those in use leave it; say whether.

        Only what nobody used for `IDLE_S` leaves for it: two large collections that are searched in
        turns would be read again and again.
        """
        since = time.monotonic() - IDLE_S
        idle = [name for name, held in self._held.items() if held.used_at < since]
        idle_bytes = sum(self._held[name].size_bytes for name in idle)
        needed = self.size_bytes + self._reserved + size_bytes - self._bytes_max
        if needed > idle_bytes:
            yield False
            return
        for name in idle:
            if self.size_bytes + self._reserved + size_bytes > self._bytes_max:
                self.drop(name)
        self._reserved += size_bytes
        try:
            yield True
        finally:
            self._reserved -= size_bytes
