"""Rows that change: deleted, updated, merged by key. Copy-on-write.

The files that hold such rows are found, what stays of them and what is new is written, and one
snapshot takes those files out and puts the new ones in, if each is still live. Appends go on
meanwhile: one that commits in between comes after the change. Changes of one table come one after
the other, so two that touch the same row never undo each other.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lakehouse.catalog.edits import Edit, snapshot_draft
from lakehouse.catalog.errors import (
    CommitFailedError,
    CommitStateUnknownError,
    EmptyTableError,
    InputsGoneError,
    OneRowEachError,
    SchemaDriftError,
    TableNotFoundError,
)
from lakehouse.catalog.health import naming_damage
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.layout import check_rewritable
from lakehouse.catalog.loads import check_columns, check_read_for, check_still
from lakehouse.catalog.manifests import Manifests, NewFile, holds_data, live, names_gone
from lakehouse.catalog.metadata import current_snapshot_id, schema_of, snapshot_of
from lakehouse.catalog.models import DatasetObject, TableName
from lakehouse.catalog.pruning import Pruning
from lakehouse.catalog.relations import Relations
from lakehouse.catalog.row_plans import (
    Plan,
    Replacement,
    RowCounts,
    deletion,
    folding,
    key_fields,
    merging,
    removal,
    staged,
    updating,
)
from lakehouse.catalog.scans import Scan, same_deletes, still_live
from lakehouse.catalog.table import TableState, moment, table_state
from lakehouse.catalog.tables import Change, Draft, LoadedTable, Tables
from lakehouse.catalog.types import make_fields
from lakehouse.catalog.writing import Rows, copy_rows, new_load_id, remove_load
from lakehouse.database import Connection, quoted
from lakehouse.failpoints import reach
from lakehouse.state import Transaction
from lakehouse.storage import Store

ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did; with no rows in it there is no new snapshot."""

    table: TableState
    snapshot_id: int | None
    rows: RowCounts
    rewritten_files: int
    objects: tuple[DatasetObject, ...] = ()
    """The files that it added."""
    created: bool = False


class RowChanges:
    """Deletes, updates and merges of one catalog's tables. Its methods block."""

    def __init__(
        self,
        tables: Tables,
        manifests: Manifests,
        relations: Relations,
        pruning: Pruning,
        store: Store,
        keys: IdempotencyKeys,
        refuse_damaged: Callable[[TableName], None],
    ) -> None:
        self._tables = tables
        self._manifests = manifests
        self._relations = relations
        self._pruning = pruning
        self._store = store
        self._keys = keys
        self._refuse_damaged = refuse_damaged

    def delete(
        self,
        cursor: Connection,
        name: TableName,
        where: str,
        *,
        idempotency: Idempotency[Changed] | None = None,
    ) -> Changed:
        """Delete the rows of which `where` is true.

        Args:
            where: a SQL expression over the table's columns that the gate let through.

        Raises:
            TableNotFoundError, EmptyTableError: there is no such table, or it has no columns.
            TableDamagedError: a manifest cannot be read, or a file was found to be gone.
            CommitFailedError: others changed the same files again and again.
            CommitStateUnknownError: it may have happened.
        """
        return self.run(cursor, name, deletion(where), idempotency=idempotency)

    def update(
        self,
        cursor: Connection,
        name: TableName,
        values: Mapping[str, str],
        where: str,
        *,
        idempotency: Idempotency[Changed] | None = None,
    ) -> Changed:
        """Set columns of the rows of which `where` is true; all see the old values.

        Args:
            values: by column, a SQL expression that the gate let through.

        Raises:
            As `delete`; InvalidKeyError: there is no such column.
        """
        return self.run(cursor, name, updating(values, where), idempotency=idempotency)

    def merge(
        self,
        cursor: Connection,
        name: TableName,
        rows: Rows,
        key: Sequence[str],
        *,
        deletes: bool = False,
        idempotency: Idempotency[Changed] | None = None,
        summary: Mapping[str, str] | None = None,
    ) -> Changed:
        """Put `rows` in the place of those with the same key, the last one of a key winning.

        A row that is there already, equal in every column, is left alone; so the same rows again
        change nothing.

        Args:
            key: columns; equal as the table stores them.
            deletes: take the rows with these keys out instead; `rows` needs only the key.

        Raises:
            As `delete`; NullKeyError: a row has none.
            InvalidKeyError: a column of the key is not there, or of a type without equality.
            SchemaDriftError: `rows` has other columns than the table.
            SchemaChangedError: it got other ones since `rows` was read.
        """
        table = self._load(name)
        check_read_for(name, table, rows)
        fields = key_fields(schema_of(table.metadata)["fields"], key)
        given = {column.name for column in rows.columns}
        missing = [each["name"] for each in fields if each["name"] not in given]
        if not deletes:
            check_columns(name, table.metadata, rows.columns)
        elif missing:
            raise SchemaDriftError(str(name), [f"column {each!r} is missing" for each in missing])
        schema = schema_of(table.metadata)
        with staged(cursor, schema, rows, fields, only_key=deletes) as keyed:
            plan = removal(keyed) if deletes else merging(keyed)
            return self.run(cursor, name, plan, idempotency=idempotency, summary=summary)

    def fold(self, cursor: Connection, name: TableName) -> Changed:
        """Write a table's files again without the rows that another engine has deleted in them.

        Raises:
            DiskFullError: there is no room for all of it above the disk's reserve.
            NotRewritableError: it has a type that only other engines write.
            InputsGoneError: others changed the same files meanwhile; nothing was done.
        """
        table = self._load(name)
        check_rewritable(table)
        snapshot = snapshot_of(table.metadata)
        listed = self._manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
        self._store.check_room(sum(each.size_bytes for each in self._manifests.live_files(listed)))
        with self._tables.rewriting(name):
            try:
                return self.run_held(cursor, name, folding, attempts=1)
            except CommitFailedError as error:  # somebody deleted more, or rewrote it
                raise InputsGoneError from error

    @contextmanager
    def last_of_each(self, cursor: Connection, rows: Rows, key: Sequence[str]) -> Iterator[Rows]:
        """Yield `rows`, of each key the last one only: for a table that has no rows yet.

        Raises:
            NullKeyError, InvalidKeyError: as `merge`.
        """
        fields, _ = make_fields(rows.columns)
        schema = {"fields": fields}
        with staged(cursor, schema, rows, key_fields(fields, key), only_key=False) as given:
            names = ", ".join(quoted(each["name"]) for each in fields)
            ordered = f"SELECT {names} FROM {given.table} ORDER BY {given.number}"
            yield Rows(ordered, rows.columns)

    def run(
        self,
        cursor: Connection,
        name: TableName,
        plan: Plan,
        *,
        idempotency: Idempotency[Changed] | None = None,
        summary: Mapping[str, str] | None = None,
    ) -> Changed:
        """Carry out `plan`, asked again when its files were replaced by others meanwhile."""
        with self._tables.rewriting(name):
            return self.run_held(cursor, name, plan, idempotency=idempotency, summary=summary)

    def run_held(
        self,
        cursor: Connection,
        name: TableName,
        plan: Plan,
        *,
        idempotency: Idempotency[Changed] | None = None,
        summary: Mapping[str, str] | None = None,
        forgets: bool = False,
        attempts: int = ATTEMPTS_MAX,
    ) -> Changed:
        """As `run`, for who holds the table by `Tables.rewriting`.

        Args:
            forgets: let no manifest name the files that go out.
        """
        for _ in range(attempts):
            table = self._load(name)
            # Maintenance keeps the files of this snapshot, though newer ones come.
            lease = self._relations.lease(table.metadata["table-uuid"], snapshot_ids(table))
            try:
                return self._attempt(cursor, table, plan, idempotency, summary or {}, forgets)
            except (InputsGoneError, SchemaDriftError):
                continue
            finally:
                del lease
        raise CommitFailedError(f"{name} was rewritten by others {attempts} times")

    def _load(self, name: TableName) -> LoadedTable:
        table = self._tables.find(name)
        if table is None:
            raise TableNotFoundError(str(name))
        self._refuse_damaged(table.name)
        return table

    def _attempt(
        self,
        cursor: Connection,
        table: LoadedTable,
        plan: Plan,
        idempotency: Idempotency[Changed] | None,
        summary: Mapping[str, str],
        forgets: bool,
    ) -> Changed:
        with naming_damage(table.name):
            scan = Scan.of(table, self._manifests, self._pruning)
        if not scan.fields:
            raise EmptyTableError(str(table.name))
        with transaction(cursor):  # `now()` is the same in every statement of it
            replacement = plan(cursor, scan)
            files = self._written(cursor, table, scan, replacement)
        reach("after-data-file")
        try:
            return self._commit(scan, replacement, files, idempotency, summary, forgets)
        except CommitStateUnknownError:
            raise
        except BaseException:
            for file in files:
                self._store.delete(self._store.key(file.location))
            raise

    def _written(
        self, cursor: Connection, table: LoadedTable, scan: Scan, replacement: Replacement
    ) -> list[NewFile]:
        if not replacement.is_written:
            return []
        load_id = new_load_id()
        rows = Rows(replacement.sql, scan.columns)
        try:
            files = copy_rows(cursor, self._store, table.metadata, rows, load_id)
            if replacement.row_count not in (None, sum(each.row_count for each in files)):
                raise OneRowEachError
            return files
        except BaseException:
            remove_load(self._store, table.metadata, load_id)
            raise

    def _commit(
        self,
        scan: Scan,
        replacement: Replacement,
        files: Sequence[NewFile],
        idempotency: Idempotency[Changed] | None,
        summary: Mapping[str, str],
        forgets: bool,
    ) -> Changed:
        result: list[Changed] = []

        def build(now: LoadedTable | None) -> Draft:
            check_still(scan.table.name, scan.table, now)
            assert now, "it was just compared"
            with naming_damage(scan.table.name):
                ghosts = naming_gone_files(self._manifests, now) if forgets else frozenset()
                if not replacement.is_written and not ghosts:
                    return Draft([])
                if not same_deletes(scan, self._manifests, now.metadata):
                    raise InputsGoneError
                if replacement.reads_all and not still_live(scan, self._manifests, now.metadata):
                    raise InputsGoneError
                edit = Edit(
                    added=files,
                    removed=frozenset(replacement.files),
                    merged=ghosts,
                    keeps_rows=replacement.rows.is_nothing,
                    # An upsert of new keys alone leaves the files, and their rows stay deleted.
                    drops_deletes=bool(scan.deletes)
                    and frozenset(scan.files).issubset(replacement.files),
                    forgets=forgets,
                )
                return snapshot_draft(
                    self._manifests,
                    self._store,
                    now,
                    edit,
                    base=now.metadata,
                    summary={**replacement.rows.summary(), **summary},
                )

        def seal(tx: Transaction, tables: list[LoadedTable]) -> None:
            result[:] = [self._changed(tables[0], replacement, files)]
            if idempotency:
                self._keys.record(tx, idempotency, result[0])

        self._tables.commit([Change(scan.table.name, build)], seal)
        return result[0]

    def _changed(
        self, table: LoadedTable, replacement: Replacement, files: Sequence[NewFile]
    ) -> Changed:
        state = table_state(table)
        at = moment(table.metadata["last-updated-ms"])
        return Changed(
            table=state,
            snapshot_id=state.snapshot_id,
            rows=replacement.rows,
            rewritten_files=len(replacement.files),
            objects=tuple(
                DatasetObject(self._store.key(each.location), each.size_bytes, at) for each in files
            ),
        )


def snapshot_ids(table: LoadedTable) -> list[int]:
    current = current_snapshot_id(table.metadata)
    return [] if current is None else [current]


def naming_gone_files(manifests: Manifests, table: LoadedTable) -> frozenset[str]:
    """Return the manifests of the current snapshot that name files which are out, too."""
    snapshot = snapshot_of(table.metadata)
    listed = manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
    return frozenset(
        each.manifest_path for each in live(listed) if holds_data(each) and names_gone(each)
    )


@contextmanager
def transaction(cursor: Connection) -> Iterator[None]:
    """One transaction of the engine; nothing of ours lies in it, so its end is of no account."""
    cursor.begin()
    try:
        yield
    finally:
        cursor.rollback()
