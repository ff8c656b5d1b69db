"""What a collection that is derived from a table reads of it: rows that came, ids that went."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import pyarrow as pa

from lakehouse.catalog import (
    Catalog,
    Column,
    Differing,
    SnapshotNotFoundError,
    TableRef,
    TableState,
    folded,
    parse_table_name,
)
from lakehouse.database import Connection, Database, Lane, Session, quoted
from lakehouse.names import TableName, shown
from lakehouse.vectors.errors import InvalidCollectionError
from lakehouse.vectors.ledger import Definition, Watermark
from lakehouse.vectors.models import ColumnType, Source
from lakehouse.vectors.schema import ID_MAX_BYTES, METADATA_MAX_BYTES, TEXT_MAX_BYTES

CHUNK_ROWS, CHUNK_BYTES = 10_000, 16 * 1024 * 1024
"""Rows that are embedded and written together: so many, or when their texts are so large."""
BATCH_ROWS = 2_048
"""The engine's own batch: fewer at once it does not give."""
GONE_ROWS = 1_000
"""Ids that one predicate of Lance deletes."""
IDS_ROWS = 100_000
"""Ids of the collection that are looked for in the table at once."""
TIMES = frozenset(["date", "timestamp", "timestamptz"])
ID_TYPES = frozenset(["string", "uuid", "int", "long", "date"])
TEXT_TYPES = frozenset(["string"])
COLUMN_TYPES: Mapping[ColumnType, frozenset[str]] = {
    "string": frozenset(["string", "uuid"]),
    "integer": frozenset(["int", "long"]),
    "float": frozenset(["int", "long", "float", "double"]),
    "boolean": frozenset(["boolean"]),
    "timestamp": TIMES,
}
"""Types of a table's columns that a declared column of a collection can be filled from."""
METADATA_TYPES = frozenset.union(*COLUMN_TYPES.values()) | {"time"}
"""Types that JSON has a value for, besides decimals."""
FLOATS = frozenset(["float", "double"])


def checked_source(catalog: Catalog, asked: Source, columns: dict[str, ColumnType]) -> Source:
    """Return a source with the names that the table and its columns really have. Blocks.

    Raises:
        TableNotFoundError: there is no such table, for this caller.
        InvalidCollectionError: a column is not there, or cannot be what it is to be.
    """
    table = catalog.get(parse_table_name(asked.table))
    there = Columns(table.name, table.columns)
    said = Source(
        table=shown(table.name),
        id=there.named(asked.id).name,
        text=there.named(asked.text).name,
        metadata=list(
            dict.fromkeys(there.named(each).name for each in [*asked.metadata, *columns])
        ),
    )
    for name in columns:
        if there.named(name).name != name:
            raise InvalidCollectionError(f"the table calls the column {there.named(name).name!r}")
    check_types(there, said, columns)
    return said


def check_types(there: "Columns", source: Source, columns: Mapping[str, ColumnType]) -> None:
    """Raise `InvalidCollectionError` unless the columns of a table can be what they are to be."""
    there.check_type("id", source.id, ID_TYPES)
    there.check_type("text", source.text, TEXT_TYPES)
    for name in source.metadata:
        if not there.named(name).type.startswith("decimal"):
            there.check_type("metadata", name, METADATA_TYPES)
    for name, kind in columns.items():
        there.check_type(f"column {name!r} of type {kind}", name, COLUMN_TYPES[kind])


def mark_of(table: TableState, of: Definition) -> Watermark:
    """Return what a collection has reached whose items are the rows of its table as it is."""
    source, model = of.source, of.model
    assert source is not None, "it follows a table"
    assert model is not None, "it was made with one"
    names = (folded(each.name) for each in table.columns)
    ids = dict(zip(names, table.column_ids, strict=True))
    wanted = [source.id, source.text, *source.metadata]
    columns = " ".join(str(ids.get(folded(name))) for name in wanted)
    return Watermark(table.uuid, table.snapshot_id, f"{model.model} {model.digest} {columns}")


class Columns:
    """The columns of a table, by whatever case they are asked for in."""

    def __init__(self, table: TableName, columns: Sequence[Column]) -> None:
        self._table = table
        self._places = {folded(each.name): place for place, each in enumerate(columns)}
        self._columns = columns

    def named(self, name: str) -> Column:
        return self._columns[self.place(name)]

    def place(self, name: str) -> int:
        """Return the place of a column, from 0.

        Raises:
            InvalidCollectionError: the table has none of that name.
        """
        place = self._places.get(folded(name))
        if place is None:
            known = ", ".join(each.name for each in self._columns[:20])
            raise InvalidCollectionError(
                f"the table {self._table} has no column {name[:80]!r}; it has {known}"
            )
        return place

    def check_type(self, role: str, name: str, types: frozenset[str]) -> None:
        type_ = self.named(name).type
        if type_ not in types:
            raise InvalidCollectionError(
                f"the {role} cannot come from the column {name!r}, which is {type_}: it takes one"
                f" of {', '.join(sorted(types))}"
            )


class Reading:
    """One look at a table, all of it at one snapshot: first the rows that came, then what went.

    Args:
        mark: what the collection has reached; None to compare it with the whole table.
    """

    def __init__(
        self, session: Session, catalog: Catalog, of: Definition, mark: Watermark | None
    ) -> None:
        assert of.source is not None, "it follows a table"
        self._session = session
        self._catalog = catalog
        self._of = of
        self._source = of.source
        self._mark = mark
        self._table = parse_table_name(of.source.table)
        self._reader: pa.RecordBatchReader | None = None
        self._rest: pa.RecordBatch | None = None
        """Rows that were read, and are more than a chunk has."""
        self._differing: Differing | None = None
        self._current: Any = None
        """The table at the snapshot that is reached; held, so that its files stay."""
        self.skipped = 0
        """Rows that cannot be items."""
        self.example: str | None = None
        """One of them, in a sentence."""

    @classmethod
    @contextmanager
    def open(
        cls, database: Database, catalog: Catalog, of: Definition, mark: Watermark | None
    ) -> Iterator[Self]:
        assert of.source is not None, "it follows a table"
        with database.session(Lane.SHORT, f"what follows {of.source.table}") as session:
            yield cls(session, catalog, of, mark)

    @property
    def is_whole(self) -> bool:
        """Whether all rows are read, and not only those that changed."""
        return self._differing is None

    async def begin(self) -> Watermark:
        """Find what is to be read; return what is reached when all of it was taken over.

        Raises:
            TableNotFoundError, TableDamagedError, EmptyTableError: the table cannot be read.
            InvalidCollectionError: it has lost a column, or has one of another type.
        """
        return await self._session.run(self._begin)

    async def chunks(self) -> AsyncIterator[pa.Table]:
        """Rows that came, or changed, up to `CHUNK_ROWS` at once: `id`, `text`, `metadata`.

        So do rows that stayed when another one of their id left: its item may be that one's.
        """
        if not self.is_whole:
            await self._session.run(self._find_gone)
        await self._session.run(partial(self._start, self._rows_sql()))
        while (rows := await self._session.run(self._chunk)) is not None:
            yield rows

    async def gone(self) -> AsyncIterator[list[str]]:
        """Ids that went with their rows, up to `GONE_ROWS` at once; none when all rows are read."""
        if self.is_whole:
            return
        await self._session.run(partial(self._start, GONE))
        while ids := await self._session.run(self._ids):
            for start in range(0, len(ids), GONE_ROWS):
                yield ids[start : start + GONE_ROWS]

    async def missing(self, ids: pa.Table) -> list[str]:
        """Return which of these ids of the collection no row of the table has."""

        def work(cursor: Connection) -> list[str]:
            cursor.register("ids_of_items", ids)
            kept = f"SELECT id FROM ({self._all()}) WHERE valid"
            found = cursor.execute(f"SELECT id FROM ids_of_items WHERE id NOT IN ({kept})")
            return [each for (each,) in found.fetchall()]

        return await self._session.run(work)

    def skip(self, count: int, why: str) -> None:
        """Note that rows are no items."""
        if count:
            self.skipped += count
            self.example = self.example or why

    # Below: on a worker thread.

    def _begin(self, cursor: Connection) -> Watermark:
        while True:
            reached = mark_of(self._catalog.get(self._table), self._of)
            (self._current,) = self._catalog.pin(cursor, [TableRef(*self._table)])
            there = Columns(self._table, self._current.columns)
            check_types(there, self._source, self._of.columns)
            self._differing = self._since_mark(cursor, reached)
            read = {self._current.snapshot_id}
            if self._differing is not None:
                read.add(self._differing.until)
            if read == {reached.snapshot_id}:
                return reached  # else somebody wrote in between

    def _since_mark(self, cursor: Connection, reached: Watermark) -> Differing | None:
        """Return what differs from what was reached before; None where nobody can say."""
        mark = self._mark
        if mark is None or reached.snapshot_id is None:
            return None
        if (mark.table_uuid, mark.made_of) != (reached.table_uuid, reached.made_of):
            return None
        try:
            return self._catalog.differences.net(cursor, self._table, mark.snapshot_id)
        except SnapshotNotFoundError:  # it has expired
            return None

    def _start(self, sql: str, cursor: Connection) -> None:
        self._reader = cursor.execute(sql).to_arrow_reader(BATCH_ROWS)

    def _batch(self) -> pa.RecordBatch | None:
        assert self._reader is not None, "it was started"
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            return None

    def _ids(self, cursor: Connection) -> list[str]:
        batch = self._batch()
        found: list[Any] = batch.column(0).to_pylist() if batch is not None else []
        return found

    def _chunk(self, cursor: Connection) -> pa.Table | None:
        """Return rows that are to be items; None when all were read."""
        parts: list[pa.RecordBatch] = []
        count = size = 0
        while count < CHUNK_ROWS and size < CHUNK_BYTES:
            part = self._next()
            if part is None:
                break
            fitting = 1 + (CHUNK_BYTES - size) * part.num_rows // max(part.nbytes, 1)
            fitting = min(fitting, CHUNK_ROWS - count)
            self._rest, part = part.slice(fitting), part.slice(0, fitting)
            if part.num_rows:
                parts.append(part)
                count, size = count + part.num_rows, size + part.nbytes
        return pa.Table.from_batches(parts) if parts else None

    def _next(self) -> pa.RecordBatch | None:
        """Return rows that the last chunk left, or the next ones that can be items."""
        if self._rest is not None and self._rest.num_rows:
            return self._rest
        batch = self._batch()
        return None if batch is None else self._kept(batch)

    def _kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the rows of a batch that can be items, and count the others."""
        valid: Any = batch.column(3)
        if refused := batch.num_rows - valid.true_count:
            row = valid.to_pylist().index(False)
            self.skip(refused, why_skipped(batch.column(0)[row].as_py()))
            batch = batch.filter(valid)
        return batch.select([0, 1, 2])

    def _rows_sql(self) -> str:
        rows = self._all()
        if self._differing is not None:
            rows = f"{self._changed('insert')} UNION ALL FROM stayed"
        return (
            "SELECT id, CASE WHEN valid THEN text END AS text,"
            f" CASE WHEN valid THEN metadata END AS metadata, valid FROM ({rows})"
        )

    def _find_gone(self, cursor: Connection) -> None:
        """Find ids that left and did not come back, and rows that have one of them still."""
        left = f"SELECT id FROM ({self._changed('delete')}) WHERE id IS NOT NULL"
        came = f"SELECT id FROM ({self._changed('insert')}) WHERE valid"
        cursor.execute(f"CREATE TEMP TABLE went AS {left} EXCEPT {came}")
        stayed = f"FROM ({self._all()}) WHERE valid AND id IN (FROM went)"
        cursor.execute(f"CREATE TEMP TABLE stayed AS {stayed}")

    def _all(self) -> str:
        names = [f"c{place}" for place in range(len(self._current.columns))]
        rows = f"(FROM {quoted(self._current.relation)}) AS rows_of({', '.join(names)})"
        return self._parts(self._current.columns, rows)

    def _changed(self, change: str) -> str:
        assert self._differing is not None, "only what changed is read"
        columns = self._differing.pinned[0].columns
        names = [f"c{place}" for place in range(len(columns))]
        names += ["change", "snapshot_id", "committed_at"]
        rows = f"({self._differing.sql}) AS rows_of({', '.join(names)}) WHERE change = '{change}'"
        return self._parts(columns, rows)

    def _parts(self, columns: Sequence[Column], rows: str) -> str:
        """Return the SELECT of `id`, `text`, `metadata`, and whether they make an item."""
        there = Columns(self._table, columns)
        about = [
            f"{quoted(name)} := {json_value(f'c{there.place(name)}', there.named(name).type)}"
            for name in self._source.metadata
        ]
        metadata = f"CAST(to_json(struct_pack({', '.join(about)})) AS VARCHAR)" if about else "NULL"
        parts = (
            f"SELECT CAST(c{there.place(self._source.id)} AS VARCHAR) AS id,"
            f" c{there.place(self._source.text)} AS text, {metadata} AS metadata FROM {rows}"
        )
        return f"SELECT id, text, metadata, {VALID} AS valid FROM ({parts})"


GONE = "SELECT id FROM went WHERE id NOT IN (SELECT id FROM stayed)"
NOT_BLANK = r"[^\s\p{Z}\x{0b}\x{1c}-\x{1f}\x{85}]"
"""What a text has that is more than what `str.strip` takes away."""
VALID = (
    f"coalesce(strlen(id) BETWEEN 1 AND {ID_MAX_BYTES} AND NOT contains(id, chr(0))"
    rf" AND strlen(text) <= {TEXT_MAX_BYTES} AND regexp_matches(text, '{NOT_BLANK}')"
    f" AND coalesce(strlen(metadata), 0) <= {METADATA_MAX_BYTES}, false)"
)
"""`strlen` counts bytes."""


def json_value(column: str, type_: str) -> str:
    """Return the expression of a column's value, null for one that JSON or Python has none for."""
    if type_ in FLOATS:
        return f"CASE WHEN isfinite({column}) THEN {column} END"
    if type_ in TIMES:
        years = f"isfinite({column}) AND year({column}) BETWEEN 2 AND 9998"
        return f"CASE WHEN {years} THEN {column} END"
    return column


def why_skipped(name: str | None) -> str:
    which = "with no id" if not name else f"with the id {name[:80]!r}"
    return (
        f"a row {which} is no item: an id has 1 to {ID_MAX_BYTES} bytes, a text 1 to"
        f" {TEXT_MAX_BYTES:,}, metadata at most {METADATA_MAX_BYTES:,}"
    )
