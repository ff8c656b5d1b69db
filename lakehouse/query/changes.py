"""Changing rows by SQL: deletes, updates, and tables made from a query.

What the caller writes goes through the gate first; the catalog then rewrites files.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from functools import partial

import anyio
import msgspec

from lakehouse.catalog import (
    Catalog,
    Changed,
    Column,
    CommitFailedError,
    Erased,
    Idempotency,
    InputsGoneError,
    Rows,
    TableName,
    TableState,
    Written,
    check_column_names,
    duckdb_type,
    folded,
    iceberg_type,
    read_as_of,
)
from lakehouse.config import QueryConfig
from lakehouse.database import Connection, Database, quoted
from lakehouse.disk import Disk
from lakehouse.lanes import Lane
from lakehouse.query.change_models import (
    RowsChanged,
    RowsDelete,
    RowsFromQuery,
    RowsUpdate,
    TableFromQuery,
)
from lakehouse.query.conditions import Expressions, Parameters
from lakehouse.query.errors import SqlError
from lakehouse.query.gate import prepare
from lakehouse.query.query import authorise
from lakehouse.query.run_errors import ENGINE_ERRORS, BadRequestFieldError, TableBusyError
from lakehouse.query.running import PinnedTable, translated

ATTEMPTS_MAX = 5
CONDITION_TYPES = frozenset(["BOOLEAN", '"NULL"'])
QUEUE_WAIT_S = 60.0


class TableChanges:
    """Changes of rows, one at a time for a table; those that wait hold no thread."""

    def __init__(
        self, database: Database, catalog: Catalog, config: QueryConfig, disk: Disk
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._config = config
        self._disk = disk
        self._queues: dict[str, tuple[anyio.Lock, int]] = {}

    async def delete(self, name: TableName, request: RowsDelete, key: str | None) -> bytes:
        """Delete or erase rows and return what happened, as JSON.

        Raises:
            SqlError: `where` is not one plain expression over the table.
            TableNotFoundError, EmptyTableError, TableDamagedError
            CommitFailedError: others rewrote the same files again and again.
            TableBusyError: other changes of this table took a minute.
            ErasureRefusedError, ErasureUnfinishedError: as `Erasing.erase`.
        """
        if request.erase:
            return await self._in_turn(name, request, key, partial(self._erase, name, request))

        def change(cursor: Connection, idempotency: Idempotency[Changed] | None) -> Changed:
            expressions = self._expressions(cursor, name, request.parameters)
            where = self._condition(cursor, name, expressions.read(request.where, "where"))
            expressions.check_used()
            rows = self._catalog.rows
            return rows.delete(cursor, name, where, idempotency=idempotency)

        return await self._changed(name, change, request, key)

    async def update(self, name: TableName, request: RowsUpdate, key: str | None) -> bytes:
        """Set columns of rows and return what happened, as JSON.

        Raises:
            As `delete`; DiskFullError: the disk has no room above its reserve.
        """

        def change(cursor: Connection, idempotency: Idempotency[Changed] | None) -> Changed:
            self._disk.check()
            expressions = self._expressions(cursor, name, request.parameters)
            values = {
                column: expressions.read(text, f"set.{column[:80]}")
                for column, text in request.set.items()
            }
            where = self._condition(cursor, name, expressions.read(request.where, "where"))
            expressions.check_used()
            rows = self._catalog.rows
            return rows.update(cursor, name, values, where, idempotency=idempotency)

        return await self._changed(name, change, request, key)

    async def from_query(self, name: TableName, request: RowsFromQuery, key: str | None) -> bytes:
        """Write the rows of a statement into a table and return what happened, as JSON.

        Raises:
            SqlError: the statement is refused; as `Query.answer`.
            TableExistsError, TableNotFoundError, SchemaDriftError: as `Catalog.write`.
            UnsupportedTypeError: a column is of a type that no table holds.
            DiskFullError: the disk has no room above its reserve.
        """
        if (request.mode == "upsert") != bool(request.key):
            raise BadRequestFieldError("`key` names columns for the mode upsert", field="key")
        work = partial(self._from_query, name=name, request=request)
        return await self._in_turn(name, request, key, work)

    def _expressions(
        self, cursor: Connection, name: TableName, parameters: Parameters
    ) -> Expressions:
        columns = frozenset(folded(each.name) for each in self._catalog.get(name).columns)
        return Expressions(cursor, name, self._config, parameters, columns)

    def _condition(self, cursor: Connection, name: TableName, where: str) -> str:
        """Return `where` if it is true or false: a mere column would delete all but zeros."""
        columns = ", ".join(
            f"CAST(NULL AS {duckdb_type(each.type)}) AS {quoted(each.name)}"
            for each in self._catalog.get(name).columns
        )
        described = cursor.execute(
            f"DESCRIBE SELECT ({where}) FROM (SELECT {columns}) AS {quoted(name.name)}"
        ).fetchall()
        if described[0][1] not in CONDITION_TYPES:
            raise SqlError(f"where is a {described[0][1]}, and must be true or false: `id = 5`")
        return where

    async def _changed(
        self,
        name: TableName,
        change: Callable[[Connection, Idempotency[Changed] | None], Changed],
        request: RowsDelete | RowsUpdate,
        key: str | None,
    ) -> bytes:
        def work(cursor: Connection, request_hash: str, key: str | None) -> bytes:
            with in_our_words():
                sealed: Idempotency[Changed] | None = (
                    Idempotency(key, request_hash, changed_answer) if key else None
                )
                return changed_answer(change(cursor, sealed))

        return await self._in_turn(name, request, key, work)

    def _erase(
        self,
        name: TableName,
        request: RowsDelete,
        cursor: Connection,
        request_hash: str,
        key: str | None,
    ) -> bytes:
        with in_our_words():
            expressions = self._expressions(cursor, name, request.parameters)
            where = self._condition(cursor, name, expressions.read(request.where, "where"))
            expressions.check_used()
            if expressions.volatile:
                raise SqlError("where has a value of this moment; an erasure takes it written out")
            sealed: Idempotency[Erased] | None = (
                Idempotency(key, request_hash, erased_answer) if key else None
            )
            erasing = self._catalog.erasing
            return erased_answer(erasing.erase(cursor, name, where, idempotency=sealed))

    def _from_query(
        self,
        cursor: Connection,
        request_hash: str,
        key: str | None,
        *,
        name: TableName,
        request: RowsFromQuery,
    ) -> bytes:
        """Run the statement, again when it replaces rows that it read and others came meanwhile."""
        self._disk.check()
        seen: list[int | None] = []
        for _ in range(ATTEMPTS_MAX):
            with suppress(InputsGoneError):
                return self._from_query_once(cursor, request_hash, key, name, request, seen)
        raise CommitFailedError(f"{name} was changed by others {ATTEMPTS_MAX} times")

    def _from_query_once(
        self,
        cursor: Connection,
        request_hash: str,
        key: str | None,
        name: TableName,
        request: RowsFromQuery,
        seen: list[int | None],
    ) -> bytes:
        statement = prepare(
            cursor,
            request.sql,
            catalog=self._catalog,
            may=authorise,
            as_of={table: read_as_of(asked) for table, asked in request.as_of.items()},
            limits=self._config,
        )
        with in_our_words(statement.tables):
            read_at = next(
                (each.snapshot_id for each in statement.tables if is_same(each.table, name)), None
            )
            # The same snapshot again: the statement names it, whatever the table is at.
            held = None if read_at in seen else read_at
            seen.append(read_at)
            columns = result_columns(cursor, statement.sql)
            rows = Rows(statement.sql, columns, read_at=held)
            if request.mode == "upsert":
                merged: Idempotency[Changed] | None = (
                    Idempotency(key, request_hash, merged_answer) if key else None
                )
                done = self._catalog.upsert(
                    cursor,
                    name,
                    rows,
                    request.key,
                    idempotency=merged,
                    partition_by=request.partition_by,
                    sort_by=request.sort_by,
                )
                return merged_answer(done)
            is_new = self._catalog.find(name) is None
            sealed: Idempotency[Written] | None = (
                Idempotency(key, request_hash, written_answer) if key else None
            )
            written = self._catalog.write(
                cursor,
                name,
                rows,
                mode="create" if is_new else request.mode,
                idempotency=sealed,
                partition_by=request.partition_by,
                sort_by=request.sort_by,
            )
            return written_answer(written)

    async def _in_turn(
        self,
        name: TableName,
        request: msgspec.Struct,
        key: str | None,
        work: Callable[[Connection, str, str | None], bytes],
    ) -> bytes:
        said = msgspec.json.encode([type(request).__name__, str(name), request])
        request_hash = hashlib.sha256(said).hexdigest()

        def once(cursor: Connection) -> bytes:
            with ExitStack() as stack:
                if key is not None:
                    stack.enter_context(self._catalog.in_flight(key))
                    if (answer := self._catalog.replay(key, request_hash)) is not None:
                        return answer
                return work(cursor, request_hash, key)

        async with self._turn(name):
            return await self._database.run(once, Lane.LONG)

    @asynccontextmanager
    async def _turn(self, name: TableName) -> AsyncIterator[None]:
        place = folded(str(name))
        lock, users = self._queues.get(place, (anyio.Lock(), 0))
        self._queues[place] = (lock, users + 1)
        try:
            with anyio.move_on_after(QUEUE_WAIT_S) as waiting:
                await lock.acquire()
            if waiting.cancelled_caught:
                raise TableBusyError(str(name))
            try:
                yield
            finally:
                lock.release()
        finally:
            lock, users = self._queues.pop(place)
            if users > 1:
                self._queues[place] = (lock, users - 1)


def is_same(one: TableName, other: TableName) -> bool:
    return folded(str(one)) == folded(str(other))


@contextmanager
def in_our_words(tables: Sequence[PinnedTable] = ()) -> Iterator[None]:
    """Translate the engine's errors, as those of a statement."""
    try:
        yield
    except ENGINE_ERRORS as error:
        raise translated(error, tables) from error


def result_columns(cursor: Connection, sql: str) -> tuple[Column, ...]:
    """Return the columns of a statement, with the types that a table stores them as.

    Raises:
        InvalidNameError: a name is no column's, or is there twice.
        UnsupportedTypeError: no table holds such values.
    """
    described = cursor.execute(f"DESCRIBE {sql}").fetchall()
    check_column_names([name for name, *_ in described])
    return tuple(Column(name, iceberg_type(type_, name)) for name, type_, *_ in described)


def changed_answer(changed: Changed) -> bytes:
    return msgspec.json.encode(
        RowsChanged(
            name=changed.table.name.name,
            namespace=changed.table.name.namespace,
            inserted_rows=changed.rows.inserted,
            updated_rows=changed.rows.updated,
            deleted_rows=changed.rows.deleted,
            row_count=changed.table.row_count,
            snapshot_id=changed.snapshot_id,
            rewritten_files=changed.rewritten_files,
        )
    )


def erased_answer(erased: Erased) -> bytes:
    table = erased.table
    return msgspec.json.encode(
        RowsChanged(
            name=table.name.name,
            namespace=table.name.namespace,
            inserted_rows=0,
            updated_rows=0,
            deleted_rows=erased.rows.deleted,
            row_count=table.row_count,
            snapshot_id=table.snapshot_id,
            rewritten_files=erased.rewritten_files,
            expired_snapshots=erased.expired_snapshots,
            deleted_files=erased.deleted_files,
        )
    )


def merged_answer(changed: Changed) -> bytes:
    return table_answer(changed.table, changed.created, changed.rows.inserted, changed.rows.updated)


def written_answer(written: Written) -> bytes:
    return table_answer(written.table, written.created, written.added_rows, 0)


def table_answer(table: TableState, created: bool, added_rows: int, updated_rows: int) -> bytes:
    return msgspec.json.encode(
        TableFromQuery(
            name=table.name.name,
            namespace=table.name.namespace,
            created=created,
            added_rows=added_rows,
            updated_rows=updated_rows,
            row_count=table.row_count,
            snapshot_id=table.snapshot_id,
            columns=list(table.columns),
        )
    )
