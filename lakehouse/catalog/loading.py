"""How rows get into a table: their files first, then the commit that shows them.

A load is staged, which writes its files and changes nothing, and then committed or discarded.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, TypeAlias

from lakehouse.catalog.edits import Edit, snapshot_draft
from lakehouse.catalog.errors import CommitStateUnknownError, TableExistsError
from lakehouse.catalog.health import naming_damage
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.loads import (
    Staged,
    check_still,
    discard,
    first_columns,
    load_draft,
    map_names,
    stage,
)
from lakehouse.catalog.manifests import Manifests, NewFile
from lakehouse.catalog.metadata import schema_of, sort_order_of, spec_of
from lakehouse.catalog.models import Column, DatasetObject, TableName
from lakehouse.catalog.new_tables import NewTables
from lakehouse.catalog.partitioning import (
    LayoutError,
    partition_fields,
    partition_terms,
    sort_fields,
    sort_terms,
)
from lakehouse.catalog.row_changes import Changed, RowChanges
from lakehouse.catalog.row_plans import RowCounts
from lakehouse.catalog.table import TableState, Written, table_state
from lakehouse.catalog.tables import Change, Draft, LoadedTable, Tables, check_may_write
from lakehouse.catalog.updates import apply
from lakehouse.catalog.writing import Rows
from lakehouse.database import Connection
from lakehouse.errors import InvalidInputError
from lakehouse.state import Transaction
from lakehouse.storage import Store

WriteMode: TypeAlias = Literal["create", "append", "overwrite"]


class Loading:
    """Loads into the tables of one catalog. Its methods block."""

    def __init__(
        self,
        tables: Tables,
        manifests: Manifests,
        store: Store,
        keys: IdempotencyKeys,
        new: NewTables,
        rows: RowChanges,
        load: Callable[[TableName], LoadedTable],
        refuse_damaged: Callable[[TableName], None],
        *,
        partitions_max: int,
    ) -> None:
        self._tables = tables
        self._manifests = manifests
        self._store = store
        self._keys = keys
        self._new = new
        self._rows = rows
        self._load = load
        self._refuse_damaged = refuse_damaged
        self._partitions_max = partitions_max

    def write(
        self,
        cursor: Connection,
        name: TableName,
        rows: Rows,
        *,
        mode: WriteMode,
        idempotency: Idempotency[Written] | Sequence[Idempotency[Written]] | None = None,
        summary: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
        evolve: bool = False,
    ) -> Written:
        """Write `rows` into a table, committed and on disk when this returns.

        With `evolve` the table gets the columns and the wider types that `rows` have, in the same
        commit, and what `rows` lack is NULL.

        Errors of the engine that `rows.sql` causes pass through; then nothing is left behind.

        Raises:
            TableExistsError: `mode` is create and the name is taken.
            TableNotFoundError: it is not, and there is no such table.
            SchemaDriftError: the table has other columns.
            SchemaChangedError: with `evolve`, its columns were changed meanwhile.
            CommitStateUnknownError: it may have happened; the files stay.
        """
        staged = self.stage(
            cursor,
            name,
            rows,
            mode=mode,
            summary=summary,
            properties=properties,
            partition_by=partition_by,
            sort_by=sort_by,
            evolve=evolve,
        )
        return self.commit([staged], idempotency)[0]

    def stage(
        self,
        cursor: Connection,
        name: TableName,
        rows: Rows,
        *,
        mode: WriteMode,
        summary: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
        evolve: bool = False,
    ) -> Staged:
        """Write the data files of one load and return it, durable but in no table yet.

        Raises:
            TableExistsError, TableNotFoundError, SchemaDriftError: as `write`.
            InvalidInputError: the table that is there is partitioned or sorted otherwise.
            TableDamagedError: rows would be added to what cannot be read; an overwrite mends it.
            TooManyPartitionsError: the rows have more of them than one load may write.
            ForbiddenError: the caller may not write under that name, whatever is there.
        """
        check_may_write(name)
        current = self._tables.find(name) if mode == "create" else self._load(name)
        if current and mode == "create" and schema_of(current.metadata)["fields"]:
            raise TableExistsError(str(current.name))
        if current:
            check_layout(current, partition_by, sort_by)
            if mode != "overwrite":
                self._refuse_damaged(current.name)
        base = (
            current.metadata
            if current
            else self._new.metadata(name, rows.columns, partition_by, sort_by, properties or {})
        )
        target = current.name if current else self._new.placed(name)
        return stage(
            cursor,
            self._store,
            target,
            current,
            base,
            rows,
            mode == "overwrite",
            summary or {},
            partitions_max=self._partitions_max,
            evolve=evolve,
        )

    def commit(
        self,
        loads: Sequence[Staged],
        idempotency: Idempotency[Written] | Sequence[Idempotency[Written]] | None = None,
    ) -> list[Written]:
        """Make staged loads visible, all of them in one moment or none, in the order given.

        Args:
            loads: at most one per table.
            idempotency: stored in the same transaction, with the answer to the first load.
        """
        written: list[Written] = []

        def seal(tx: Transaction, tables: list[LoadedTable]) -> None:
            now = {table.metadata["table-uuid"]: table for table in tables}
            written[:] = [self._written(now[load.base["table-uuid"]], load) for load in loads]
            self._keys.record(tx, idempotency, written[0])

        try:
            changes = [
                Change(load.name, partial(load_draft, load, self._manifests, self._store))
                for load in loads
            ]
            self._tables.commit(changes, seal)
        except CommitStateUnknownError:
            raise
        except BaseException:
            self.discard(loads)
            raise
        return written

    def discard(self, loads: Sequence[Staged]) -> None:
        """Delete the files of staged loads that will not be committed."""
        for load in loads:
            discard(self._store, load)

    def _written(self, table: LoadedTable, load: Staged) -> Written:
        state = table_state(table)
        return Written(
            table=state,
            snapshot_id=state.snapshot_id,
            added_rows=sum(file.row_count for file in load.files),
            created=load.before is None,
            objects=tuple(
                DatasetObject(self._store.key(file.location), file.size_bytes, state.updated_at)
                for file in load.files
            ),
        )

    def upsert(
        self,
        cursor: Connection,
        name: TableName,
        rows: Rows,
        key: Sequence[str],
        *,
        idempotency: Idempotency[Changed] | None = None,
        summary: Mapping[str, str] | None = None,
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
    ) -> Changed:
        """Merge `rows` by key into a table, as `RowChanges.merge`; it is made when it is not there.

        Raises:
            As `RowChanges.merge` and `write`.
        """
        current = self._tables.find(name)
        if current and schema_of(current.metadata)["fields"]:
            check_layout(current, partition_by, sort_by)
            return self._rows.merge(
                cursor, name, rows, key, idempotency=idempotency, summary=summary
            )

        def changed(written: Written) -> Changed:
            counts = RowCounts(inserted=written.added_rows)
            created, at = written.created, written.snapshot_id
            return Changed(written.table, at, counts, 0, written.objects, created)

        sealed = idempotency.of(changed) if idempotency else None
        with self._rows.last_of_each(cursor, rows, key) as single:
            return changed(
                self.write(
                    cursor,
                    name,
                    single,
                    mode="create",
                    idempotency=sealed,
                    summary=summary,
                    partition_by=partition_by,
                    sort_by=sort_by,
                )
            )

    def add_files(
        self,
        name: TableName,
        columns: Sequence[Column],
        files: Sequence[NewFile],
        *,
        properties: Mapping[str, str],
        seal: Callable[[Transaction, LoadedTable], None],
        by_name: bool = True,
    ) -> TableState:
        """Add Parquet files that lie in the warehouse to a table by reference, and return it.

        The table is made when it is not there.

        Args:
            columns: of the files and of the table; empty for a dataset without columns yet.
            by_name: some files carry no field ids, so readers match columns by name: the table
                gets a name mapping. All others carry those of the table.
            seal: called with the table inside the pointer's transaction.

        Raises:
            InvalidInputError: the table is partitioned; nobody says where the files belong.
            TableDamagedError: its other files are gone or unreadable.
        """
        current = self._tables.find(name)
        if current:
            self._refuse_damaged(current.name)
        base = (
            current.metadata if current else self._new.metadata(name, columns, (), (), properties)
        )
        if spec_of(base)["fields"] and files:
            raise InvalidInputError(f"the table {name} is partitioned; ingest the files instead")

        def build(now: LoadedTable | None) -> Draft:
            check_still(name, current, now)
            if not files:
                return Draft([], base=None if now else base)
            before = now.metadata if now else base
            updates = first_columns(before, columns)
            going_on = apply(before, updates)
            if by_name:
                updates.append(map_names(going_on))
            with naming_damage(name):
                return snapshot_draft(
                    self._manifests,
                    self._store,
                    now,
                    Edit(added=files),
                    base=apply(before, updates),
                    summary={},
                    updates=updates,
                )

        (table,) = self._tables.commit(
            [Change(current.name if current else self._new.placed(name), build)],
            lambda tx, tables: seal(tx, tables[0]),
        )
        return table_state(table)


def check_layout(table: LoadedTable, partition_by: Sequence[str], sort_by: Sequence[str]) -> None:
    """Refuse a layout that is not the table's, rather than ignore it."""
    metadata, fields = table.metadata, schema_of(table.metadata)["fields"]
    spec, order = spec_of(metadata), sort_order_of(metadata)
    if partition_by:
        there = partition_terms(spec, fields)
        if partition_terms({"fields": partition_fields(partition_by, fields)}, fields) != there:
            raise LayoutError("partition_by", str(table.name), there)
    if sort_by and sort_fields(sort_by, fields) != order["fields"]:
        raise LayoutError("sort_by", str(table.name), sort_terms(order, fields))
