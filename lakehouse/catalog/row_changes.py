"""Rows that change: deleted, updated, merged by key. Copy-on-write.

The files that hold such rows are found, what stays of them and what is new is written, and one
snapshot takes those files out and puts the new ones in, if each is still live. Appends go on
meanwhile: one that commits in between comes after the change. Changes of one table come one after
the other, so two that touch the same row never undo each other.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from lakehouse.catalog.edits import Edit, snapshot_draft
from lakehouse.catalog.errors import (
    CommitFailedError,
    CommitStateUnknownError,
    EmptyTableError,
    InputsGoneError,
    InvalidKeyError,
    NullKeyError,
    OneRowEachError,
    SchemaDriftError,
    TableNotFoundError,
)
from lakehouse.catalog.health import naming_damage
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.loads import check_columns, check_still
from lakehouse.catalog.manifests import Manifests, NewFile, holds_data, live, names_gone
from lakehouse.catalog.metadata import Json, schema_of, snapshot_of
from lakehouse.catalog.models import DatasetObject, TableName
from lakehouse.catalog.names import folded
from lakehouse.catalog.partitioning import find_field
from lakehouse.catalog.scans import Scan, free_name, same_deletes
from lakehouse.catalog.table import TableState, moment, table_state
from lakehouse.catalog.tables import Change, Draft, LoadedTable, Locks, Tables
from lakehouse.catalog.types import Field, duckdb_type, make_fields
from lakehouse.catalog.writing import Rows, copy_rows, new_load_id, remove_load, stored_select
from lakehouse.database import Connection, EngineError, quoted
from lakehouse.failpoints import reach
from lakehouse.state import Transaction
from lakehouse.storage import LocalStore

ATTEMPTS_MAX = 5
INSERTED, UPDATED, DELETED = (
    f"lakehouse.{what}-rows" for what in ("inserted", "updated", "deleted")
)
NO_KEY_TYPES = frozenset(["float", "double"])


@dataclass(frozen=True, slots=True)
class RowCounts:
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def is_nothing(self) -> bool:
        return not (self.inserted or self.updated or self.deleted)

    def summary(self) -> dict[str, str]:
        return {
            INSERTED: str(self.inserted),
            UPDATED: str(self.updated),
            DELETED: str(self.deleted),
        }


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


@dataclass(frozen=True, slots=True)
class Replacement:
    """These files go out; the rows of `sql` come in."""

    files: Sequence[str]
    sql: str
    """A SELECT of the table's columns."""
    rows: RowCounts
    row_count: int | None = None
    """How many rows must come in; None where that is known by construction."""


Plan: TypeAlias = Callable[[Connection, Scan], Replacement]


class RowChanges:
    """Deletes, updates and merges of one catalog's tables. Its methods block."""

    def __init__(
        self, tables: Tables, manifests: Manifests, store: LocalStore, keys: IdempotencyKeys
    ) -> None:
        self._tables = tables
        self._manifests = manifests
        self._store = store
        self._keys = keys
        self._locks = Locks()

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
            TableDamagedError: a manifest cannot be read.
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
        """
        table = self._load(name)
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
        forgets: bool = False,
    ) -> Changed:
        """Carry out `plan`, asked again when its files were replaced by others meanwhile.

        Args:
            forgets: let no manifest name the files that go out.
        """
        with self._locks.hold([folded(str(name))]):
            for _ in range(ATTEMPTS_MAX):
                table = self._load(name)
                try:
                    return self._attempt(cursor, table, plan, idempotency, summary or {}, forgets)
                except (InputsGoneError, SchemaDriftError):
                    continue
        raise CommitFailedError(f"{name} was rewritten by others {ATTEMPTS_MAX} times")

    def _load(self, name: TableName) -> LoadedTable:
        table = self._tables.find(name)
        if table is None:
            raise TableNotFoundError(str(name))
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
            scan = Scan.of(table, self._manifests)
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
        if replacement.rows.is_nothing:
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
                if replacement.rows.is_nothing and not ghosts:
                    return Draft([])
                if not same_deletes(scan, self._manifests, now.metadata):
                    raise InputsGoneError
                edit = Edit(
                    added=files,
                    removed=frozenset(replacement.files),
                    merged=ghosts,
                    keeps_rows=replacement.rows.is_nothing,
                    drops_deletes=bool(scan.deletes) and not replacement.rows.is_nothing,
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


@dataclass(frozen=True, slots=True)
class Matching:
    """The files that hold rows of a condition."""

    files: Sequence[str]
    row_count: int
    """Of all rows in them."""
    matched: int


def matching(cursor: Connection, scan: Scan, where: str) -> Matching:
    """Return the files with rows of which `where` is true, and how many those are."""
    found = cursor.execute(
        f"SELECT {quoted(scan.file_column)}, count(*), count(*) FILTER ({where})"
        f" FROM ({scan.rows(with_file=True)}) AS {scan.alias} GROUP BY 1"
    ).fetchall()
    hits = [row for row in found if row[2]]
    files = scan.touched(path for path, _, _ in hits)
    return Matching(files, sum(row[1] for row in hits), sum(row[2] for row in hits))


def deletion(where: str) -> Plan:
    def plan(cursor: Connection, scan: Scan) -> Replacement:
        found = matching(cursor, scan, where)
        sql = (
            f"SELECT {scan.names} FROM ({scan.rows(found.files)}) AS {scan.alias}"
            f" WHERE ({where}) IS NOT TRUE"
        )
        left = found.row_count - found.matched
        return Replacement(found.files, sql, RowCounts(deleted=found.matched), left)

    return plan


def updating(values: Mapping[str, str], where: str) -> Plan:
    def plan(cursor: Connection, scan: Scan) -> Replacement:
        new = {known_field(scan.fields, name)["name"]: sql for name, sql in values.items()}
        found = matching(cursor, scan, where)
        selected = ", ".join(
            updated_sql(each, new[each["name"]], where)
            if each["name"] in new
            else quoted(each["name"])
            for each in scan.fields
        )
        sql = f"SELECT {selected} FROM ({scan.rows(found.files)}) AS {scan.alias}"
        return Replacement(found.files, sql, RowCounts(updated=found.matched), found.row_count)

    return plan


def updated_sql(field: Field, expression: str, where: str) -> str:
    column = quoted(field["name"])
    value = f"CAST(({expression}) AS {duckdb_type(field['type'])})"
    return f"CASE WHEN ({where}) THEN {value} ELSE {column} END AS {column}"


# Merges.


@dataclass(frozen=True, slots=True)
class Given:
    """The rows of a merge, as the table stores them, one for each key."""

    table: str
    """A temporary table of the cursor."""
    number: str
    """Its column with the place of a row in the load, from 1."""
    key: Sequence[Field]
    schema: Json
    """Of the table when they were made."""

    def on(self, left: str, right: str) -> str:
        names = (quoted(each["name"]) for each in self.key)
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in names)


@contextmanager
def staged(
    cursor: Connection, schema: Json, rows: Rows, key: Sequence[Field], *, only_key: bool
) -> Iterator[Given]:
    """Put the rows into a temporary table: cast, numbered, the last one of each key.

    The engine spills it to disk when it is large.

    Raises:
        NullKeyError: a row has no value in a column of the key.
    """
    number = quoted(free_name(schema["fields"], "row_number"))
    given = Given(f"staged_{secrets.token_hex(8)}", number, key, schema)
    stored = stored_select(cursor, key if only_key else schema["fields"], rows)
    # The window is computed as rows stream by, so the numbers are those of the load.
    cursor.execute(
        f"CREATE TEMP TABLE {given.table} AS"
        f" SELECT *, row_number() OVER () AS {number} FROM ({stored})"
    )
    try:
        refuse_null_keys(cursor, given)
        keep_last(cursor, given)
        yield given
    finally:
        with suppress(EngineError):
            cursor.execute(f"DROP TABLE {given.table}")


def refuse_null_keys(cursor: Connection, given: Given) -> None:
    for field in given.key:
        row = cursor.execute(
            f"SELECT count(*), min({given.number}) FROM {given.table}"
            f" WHERE {quoted(field['name'])} IS NULL"
        ).fetchone()
        if row and row[0]:
            raise NullKeyError(field["name"], row[0], row[1])


def keep_last(cursor: Connection, given: Given) -> None:
    names = ", ".join(quoted(each["name"]) for each in given.key)
    cursor.execute(
        f"DELETE FROM {given.table} AS s USING (SELECT {names}, max({given.number}) AS last"
        f" FROM {given.table} GROUP BY {names} HAVING count(*) > 1) AS d"
        f" WHERE {given.on('s', 'd')} AND s.{given.number} < d.last"
    )


def find_hits(cursor: Connection, scan: Scan, given: Given, same: str) -> str:
    """Make a temporary table (n, path, same) of the table's rows that have a key of the load."""
    if schema_of(scan.table.metadata) != given.schema:
        raise CommitFailedError("the table's columns were changed meanwhile; send it again")
    hits = f"{given.table}_hits"
    cursor.execute(
        f"CREATE TEMP TABLE {hits} AS"
        f" SELECT s.{given.number} AS n, t.{quoted(scan.file_column)} AS path, {same} AS same"
        f" FROM ({scan.rows(with_file=True)}) AS t JOIN {given.table} AS s"
        f" ON {given.on('t', 's')}"
    )
    return hits


def merging(given: Given) -> Plan:
    def plan(cursor: Connection, scan: Scan) -> Replacement:
        columns = [quoted(each["name"]) for each in scan.fields]
        same = " AND ".join(f"t.{each} IS NOT DISTINCT FROM s.{each}" for each in columns)
        hits = find_hits(cursor, scan, given, same)
        todo = f"{given.table}_todo"
        cursor.execute(
            f"CREATE TEMP TABLE {todo} AS SELECT * FROM {given.table} WHERE {given.number} NOT IN"
            f" (SELECT n FROM {hits} GROUP BY n HAVING count(*) = 1 AND bool_and(same))"
        )
        todo_hits = f"(SELECT * FROM {hits} WHERE n IN (SELECT {given.number} FROM {todo}))"
        paths = cursor.execute(f"SELECT DISTINCT path FROM {todo_hits}").fetchall()
        counts = cursor.execute(
            f"SELECT (SELECT count(*) FROM {todo}), (SELECT count(DISTINCT n) FROM {todo_hits})"
        ).fetchone()
        assert counts is not None, "two counts, one row"
        changed, updated = counts
        files = scan.touched(path for (path,) in paths)
        sql = (
            f"SELECT {scan.names} FROM ({scan.rows(files)}) AS t"
            f" ANTI JOIN {todo} AS s ON {given.on('t', 's')}"
            f" UNION ALL SELECT {scan.names} FROM {todo}"
        )
        return Replacement(files, sql, RowCounts(inserted=changed - updated, updated=updated))

    return plan


def removal(given: Given) -> Plan:
    def plan(cursor: Connection, scan: Scan) -> Replacement:
        hits = find_hits(cursor, scan, given, "true")
        found = cursor.execute(f"SELECT path, count(*) FROM {hits} GROUP BY path").fetchall()
        files = scan.touched(path for path, _ in found)
        sql = (
            f"SELECT {scan.names} FROM ({scan.rows(files)}) AS t"
            f" ANTI JOIN {given.table} AS s ON {given.on('t', 's')}"
        )
        return Replacement(files, sql, RowCounts(deleted=sum(count for _, count in found)))

    return plan


def key_fields(fields: Sequence[Field], key: Sequence[str]) -> list[Field]:
    """Return the fields of a key.

    Raises:
        InvalidKeyError: a column is not there, or cannot be compared for equality.
    """
    chosen = [known_field(fields, name) for name in key]
    for field in chosen:
        if not isinstance(field["type"], str) or field["type"] in NO_KEY_TYPES:
            raise InvalidKeyError(field["name"], "a key is of a type with exact equality")
    return chosen


def known_field(fields: Sequence[Field], name: str) -> Field:
    found = find_field(fields, name)
    if found is None:
        shown = ", ".join(each["name"] for each in fields[:20])
        raise InvalidKeyError(name, f"the table has no such column; it has {shown}")
    return found
