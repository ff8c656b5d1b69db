"""The catalog: which tables exist, what they are at, and what a statement reads of them.

Its methods block and belong on a worker thread: `Database.run` and `on_thread` cross over.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence

from lakehouse.auth import THE_PROCESS, acting
from lakehouse.catalog.adopting import Adopting
from lakehouse.catalog.differences import Differences
from lakehouse.catalog.dropped import DroppedTables
from lakehouse.catalog.erasing import Erasing
from lakehouse.catalog.errors import (
    DroppedTableNotFoundError,
    EmptyTableError,
    TableDamagedError,
    TableExistsError,
    TableNotFoundError,
    UnreadableFileError,
)
from lakehouse.catalog.expiry import Expiry
from lakehouse.catalog.health import Damages, damage_of, naming_damage
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.layout import Layout
from lakehouse.catalog.loading import Loading
from lakehouse.catalog.manifests import Manifests, holds_data
from lakehouse.catalog.metadata import Json, snapshot_of
from lakehouse.catalog.models import Column, DatasetObject, Snapshot, Table, TableName
from lakehouse.catalog.namespaces import Namespaces
from lakehouse.catalog.new_tables import NewTables
from lakehouse.catalog.orphans import Orphans
from lakehouse.catalog.outside import Outside
from lakehouse.catalog.properties import Properties
from lakehouse.catalog.pruning import Pruning
from lakehouse.catalog.refs import Refs
from lakehouse.catalog.relations import Relations
from lakehouse.catalog.row_changes import RowChanges
from lakehouse.catalog.schemas import Schemas
from lakehouse.catalog.table import (
    TOTALS,
    AsOf,
    Pinned,
    TableRef,
    TableState,
    Where,
    chosen_snapshot,
    moment,
    read_schema,
    snapshot_model,
    table_model,
    table_state,
    totals,
)
from lakehouse.catalog.tables import (
    CATALOG_NAME,
    Change,
    Draft,
    LoadedTable,
    Pointer,
    Tables,
    check_may_write,
    may_read,
)
from lakehouse.catalog.types import to_columns
from lakehouse.catalog.views import Views
from lakehouse.database import (
    Connection,
    EngineInvalidInputError,
    EngineIOError,
    EnginePermissionError,
    is_misread,
    is_of_remote,
)
from lakehouse.errors import LakehouseError
from lakehouse.names import DEFAULT_NAMESPACE, check_new_name
from lakehouse.state import State, Transaction
from lakehouse.storage import ObjectNotFoundError, Store, StoreDownError, engine_failed

UNREADABLE = (LakehouseError, EngineIOError, EngineInvalidInputError, EnginePermissionError)
"""What a relation cannot be made for; the last, of a file that lies outside of the warehouse."""


class Catalog:
    """Namespaces, tables and snapshots of one warehouse. Lives as long as the process."""

    def __init__(
        self,
        state: State,
        store: Store,
        *,
        idempotency_keys_days: int = 30,
        partitions_max: int = 1000,
        checks_commits: bool = True,
    ) -> None:
        self.keys = IdempotencyKeys(state, keep_days=idempotency_keys_days)
        self.namespaces = Namespaces(state, self.keys)
        self._state = state
        self._store = store
        self._new = NewTables(state, store, self.namespaces)
        self._tables = Tables(state, store)
        self.views = Views(state, store, self._tables, self.namespaces, self.keys)
        self._manifests = Manifests(store)
        self._relations = Relations(self._manifests)
        self._pruning = Pruning(self._manifests)
        self.dropped = DroppedTables(state, store, self._tables, self._relations.is_read)
        self.expiry = Expiry(state, store, self._tables, self._manifests, self._relations)
        self.refs = Refs(self._tables, self.keys, self.load)
        self.layout = Layout(store, self._tables, self._manifests)
        self.orphans = Orphans(state, store, self._tables, self._manifests, self._relations)
        self.differences = Differences(self._manifests, self._relations, self.load, self._pin)
        self.properties = Properties(self._tables, self.keys, self.load)
        self.schemas = Schemas(self._tables, self.keys, self.load)
        self._damages = Damages(self._check_all, self.damage_if_there)
        self.rows = RowChanges(
            self._tables,
            self._manifests,
            self._relations,
            self._pruning,
            store,
            self.keys,
            self._damages.refuse,
        )
        self.loading = Loading(
            self._tables,
            self._manifests,
            store,
            self.keys,
            self._new,
            self.rows,
            self.load,
            self._damages.refuse,
            partitions_max=partitions_max,
        )
        self.adopting = Adopting(
            state,
            store,
            self._tables,
            self._manifests,
            self.keys,
            self.loading.add_files,
            self._new.placed,
            checks=checks_commits,
        )
        self.outside = Outside(
            state,
            store,
            self._tables,
            self._manifests,
            self._new,
            self.keys,
            checks=checks_commits,
        )
        self.erasing = Erasing(
            self._tables,
            self._manifests,
            self._relations,
            store,
            self.rows,
            self.expiry,
            self.orphans,
            state,
            self.keys,
        )

    # What is there.

    def find(self, name: TableName) -> TableState | None:
        """Return the table as it is now; None when there is none."""
        loaded = self._tables.find(name)
        return table_state(loaded) if loaded else None

    def get(self, name: TableName) -> TableState:
        """Return the table as it is now; `TableNotFoundError` when there is none."""
        return table_state(self.load(name))

    def find_loaded(self, name: TableName) -> LoadedTable | None:
        return self._tables.find(name)

    def load(self, name: TableName) -> LoadedTable:
        loaded = self._tables.find(name)
        if loaded is None:
            raise TableNotFoundError(str(name), self.nearest(name))
        return loaded

    def on_commit(self, listener: Callable[[TableName], None]) -> None:
        """Have `listener` called after each commit, on the committing thread, with each table.

        It is also called with a name that was given to a table, or taken from one.
        """
        self._tables.listeners.append(listener)

    def nearest(self, name: TableName) -> str | None:
        """Return the name most like `name`, for the error that says it is not there."""
        names = [str(each) for each in self.names()]
        near = difflib.get_close_matches(str(name), names, n=1)
        return near[0] if near else None

    def names(self) -> list[TableName]:
        """Return the names of all tables that the caller may see, sorted."""
        return [pointer.name for pointer in self._pointers()]

    def check_may_change(self, name: TableName) -> None:
        """Refuse a change before anything is read, sent or waited for.

        Raises:
            TableNotFoundError: the caller may not see it.
            ForbiddenError: the caller may see it, and may not write it.
        """
        if not may_read(name):
            raise TableNotFoundError(str(name))
        check_may_write(name)

    def _pointers(self) -> list[Pointer]:
        def work(tx: Transaction) -> Sequence[tuple[str, str, str]]:
            return tx.execute(
                "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
                " WHERE catalog_name = ? AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)"
                " ORDER BY table_namespace, table_name",
                (CATALOG_NAME,),
            ).fetchall()

        found = [Pointer(TableName(row[0], row[1]), row[2]) for row in self._state.read(work)]
        return [pointer for pointer in found if may_read(pointer.name)]

    def describe(self, name: TableName) -> Table:
        """Return all that a person asks of a table; `TableNotFoundError` when there is none."""
        return self._model(self.load(name))

    def _model(self, table: LoadedTable) -> Table:
        return table_model(table, self._store, self._counted(table.snapshot))

    def _counted(self, snapshot: Json | None) -> Mapping[str, str]:
        """Return the summary of a snapshot, its totals counted where its engine left them out.

        The specification asks for none of them, and DuckDB says no bytes.
        """
        said = snapshot.get("summary", {}) if snapshot else {}
        if snapshot is None or said.keys() >= TOTALS:
            return said
        try:
            listed = self._manifests.read_list(snapshot["manifest-list"])
            files = self._manifests.live_files(filter(holds_data, listed))
        except (ObjectNotFoundError, UnreadableFileError):
            return said  # it is damaged, which is told where its rows are read
        counted = totals(
            len(files),
            sum(each.row_count for each in files),
            sum(each.size_bytes for each in files),
        )
        return {**counted, **said}

    def snapshots(self, name: TableName) -> list[Snapshot]:
        """Return the snapshots of a table, newest first."""
        metadata = self.load(name).metadata
        return [snapshot_model(metadata, each) for each in reversed(metadata["snapshots"])]

    def snapshot_id(self, name: TableName, as_of: AsOf | None) -> int | None:
        """Return the snapshot that `as_of` means, the current one without; None before the first.

        Raises:
            TableNotFoundError, SnapshotNotFoundError: there is no such table or snapshot.
        """
        snapshot = chosen_snapshot(self.load(name), as_of)
        return snapshot["snapshot-id"] if snapshot else None

    # What a statement reads.

    def pin(self, cursor: Connection, refs: Sequence[TableRef]) -> list[Pinned]:
        """Return a relation for each of `refs`, all tables as of one moment.

        Raises:
            TableNotFoundError, SnapshotNotFoundError: there is no such table or snapshot.
            TableDamagedError: its files are gone or unreadable.
            EmptyTableError: it has no columns yet.
        """
        while True:
            generation = self._relations.generation
            try:
                result = self._pin_all(cursor, refs)
            except TableDamagedError:
                if self._relations.generation == generation:
                    raise
                continue
            # Held by now, so maintenance sees what we read, unless it looked before.
            if self._relations.generation == generation:
                return result

    def _pin_all(self, cursor: Connection, refs: Sequence[TableRef]) -> list[Pinned]:
        names = [TableName(ref.namespace or DEFAULT_NAMESPACE, ref.name) for ref in refs]
        result = []
        for ref, name, pointer in zip(refs, names, self._tables.pointers(names), strict=True):
            if pointer is None:
                raise TableNotFoundError(str(name), self.nearest(name))
            result.append(self._pin(cursor, self._tables.load(pointer), ref.as_of, ref.where))
        return result

    def _pin(
        self, cursor: Connection, table: LoadedTable, as_of: AsOf | None, where: Where | None = None
    ) -> Pinned:
        snapshot = chosen_snapshot(table, as_of)
        schema = read_schema(table, snapshot, as_of)
        if not schema["fields"]:
            raise EmptyTableError(str(table.name))
        try:
            files = self._pruning.choose(cursor, table, snapshot, schema, where)
            relation = self._relations.get(cursor, table, snapshot, schema, files)
        except UNREADABLE as error:
            if is_of_remote(error) and not is_misread(error):
                raise engine_failed(error, "a file could not be read") from error
            reason = damage_of(table, snapshot, self._manifests, self._store)
            if reason is None and isinstance(error, LakehouseError):
                raise
            if reason is None and is_of_remote(error):  # the store told the engine otherwise
                raise StoreDownError("a whole file could not be read") from error
            # Whole to the byte, and yet unreadable: the first file is what DuckDB looked at.
            reason = reason or "a data file is not the Parquet file that was written"
            if as_of is None:
                self._damages.note(table.name, reason)
            raise TableDamagedError(str(table.name), reason) from error
        return Pinned(
            table=table.name,
            uuid=table.metadata["table-uuid"],
            snapshot_id=snapshot["snapshot-id"] if snapshot else None,
            columns=to_columns(schema["fields"]),
            relation=relation.name,
            holds=relation,
        )

    def damage(self, name: TableName) -> str | None:
        """Return why a table cannot be read, found out now; None when all its files are there."""
        try:
            table = self.load(name)
        except TableDamagedError as error:
            return error.reason
        return damage_of(table, snapshot_of(table.metadata), self._manifests, self._store)

    def damaged(self) -> dict[str, str]:
        """Return every table that cannot be read and why, as of at most a minute ago."""
        return self._damages.get()

    def look_at(self, names: Iterable[TableName]) -> None:
        """Look at the files of tables that could not be read, and remember what is gone.

        Raises:
            TableDamagedError: the current snapshot of one cannot be read.
        """
        for name in names:
            if reason := self.damage_if_there(name):
                self._damages.note(name, reason)
                raise TableDamagedError(str(name), reason)

    def _check_all(self) -> dict[str, str]:
        with acting(THE_PROCESS):  # whoever asks first asks for all
            reasons = {str(name): self.damage_if_there(name) for name in self.names()}
        return {name: reason for name, reason in reasons.items() if reason}

    def damage_if_there(self, name: TableName) -> str | None:
        try:
            return self.damage(name)
        except TableNotFoundError:
            return None  # dropped since we listed it

    # Changes.

    def create_table(
        self,
        name: TableName,
        columns: Sequence[Column],
        *,
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
        idempotency: Idempotency[Table] | None = None,
    ) -> Table:
        """Create an empty table and return it; `TableExistsError` when the name is taken."""
        base = self._new.metadata(name, columns, partition_by, sort_by, properties or {})

        def build(current: LoadedTable | None) -> Draft:
            if current:
                raise TableExistsError(str(current.name))
            return Draft(updates=[], requirements=[{"type": "assert-create"}], base=base)

        folder = self._store.key(base["location"])
        self._store.prepare(folder + "/data")
        try:
            (table,) = self._tables.commit(
                [Change(self._new.placed(name), build)],
                lambda tx, tables: self.keys.record(tx, idempotency, self._model(tables[0])),
            )
        except BaseException:
            self._store.delete_empty_folders(folder)
            raise
        return self._model(table)

    def contents(self, name: TableName) -> tuple[TableState, list[tuple[str, DatasetObject]]]:
        """Return a table and its data files with their locations, by key, all of one snapshot.

        Raises:
            TableNotFoundError: there is no such table.
            TableDamagedError: its metadata or a manifest cannot be read.
        """
        table = self.load(name)
        return table_state(table), self.objects(table)

    def objects(self, table: LoadedTable) -> list[tuple[str, DatasetObject]]:
        """Return the data files of a table's current snapshot with their locations, by key."""
        snapshot = snapshot_of(table.metadata)
        if snapshot is None:
            return []
        added_at = {
            each["snapshot-id"]: moment(each["timestamp-ms"])
            for each in table.metadata["snapshots"]
        }
        with naming_damage(table.name):
            listed = self._manifests.read_list(snapshot["manifest-list"])
            files = self._manifests.live_files(listed)
        updated_at = moment(table.metadata["last-updated-ms"])
        found = [
            (
                file.location,
                DatasetObject(
                    key=self._store.key(file.location),
                    size=file.size_bytes,
                    created_at=added_at.get(file.snapshot_id, updated_at),
                ),
            )
            for file in files
        ]
        return sorted(found, key=lambda each: each[1].key)

    def rename(
        self, name: TableName, to: TableName, *, idempotency: Idempotency[Table] | None = None
    ) -> Table:
        """Give a table another name; statements that run keep reading it.

        Raises:
            TableNotFoundError, NamespaceNotFoundError: there is no such table or namespace.
            TableExistsError: the new name is taken.
        """
        self.load(name)
        to = self._new.placed(to)
        table = self._tables.rename(
            name,
            to,
            lambda tx, moved: self.keys.record(tx, idempotency, self._model(moved)),
        )
        return self._model(table)

    def drop(self, name: TableName, *, idempotency: Idempotency[None] | None = None) -> None:
        """Take a table out of the catalog; `undrop` brings it back until it is purged.

        Raises:
            TableNotFoundError: there is no such table.
        """
        if not self.dropped.drop(name, seal=lambda tx: self.keys.record(tx, idempotency, None)):
            raise TableNotFoundError(str(name), self.nearest(name))

    def undrop(
        self,
        name: TableName,
        *,
        uuid: str | None = None,
        to: TableName | None = None,
        idempotency: Idempotency[Table] | None = None,
    ) -> Table:
        """Bring a dropped table back, as it was, and return it.

        Args:
            uuid: which of those of this name; None for the one dropped last.
            to: the name that it comes back under; None for the old one.

        Raises:
            DroppedTableNotFoundError: there is none, or it was purged.
            TableExistsError: the name is taken.
            NamespaceNotFoundError: the namespace was dropped too; create it, or give another name.
            TableDamagedError: its metadata cannot be read; it stays dropped.
        """
        if to is not None:
            check_new_name("table name", to.name)
        table = self.dropped.undrop(
            name,
            uuid,
            to,
            lambda tx, back: self.keys.record(tx, idempotency, self._model(back)),
        )
        return self._model(table)

    def purge(
        self,
        name: TableName,
        *,
        uuid: str | None = None,
        idempotency: Idempotency[None] | None = None,
    ) -> None:
        """Drop a table if it is not yet dropped, and delete its files. There is no way back.

        Args:
            uuid: which one; None for the table that is there, else the one dropped last.

        Raises:
            TableNotFoundError: no table, there or dropped, has that name and UUID.
            TableInUseError: a statement reads it; it is dropped.
            FilesKeptError: it has `gc.enabled=false`; it is dropped.
        """
        try:
            dropped = self.dropped.drop(name, uuid) or self.dropped.find(name, uuid).uuid
        except DroppedTableNotFoundError as error:
            raise TableNotFoundError(str(name), self.nearest(name)) from error
        self.dropped.purge(dropped, lambda tx: self.keys.record(tx, idempotency, None))
