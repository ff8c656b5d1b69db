"""Changing rows by SQL: deletes, updates, and tables made from a query.

What the caller writes goes through the gate first; the catalog then rewrites files.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import Any, TypeAlias, TypeVar

from lakehouse.audit import record
from lakehouse.catalog import (
    Catalog,
    Changed,
    Column,
    CommitFailedError,
    Erased,
    Idempotency,
    InputsGoneError,
    Once,
    Rows,
    TableName,
    TableState,
    Written,
    check_column_names,
    check_may_write,
    duckdb_type,
    folded,
    iceberg_type,
    read_as_of,
)
from lakehouse.config import QueryConfig
from lakehouse.database import Connection, Database, Session, quoted
from lakehouse.disk import Disk
from lakehouse.errors import LakehouseError
from lakehouse.jobs import JobHandle
from lakehouse.lanes import Lane, Turns
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
from lakehouse.query.run_errors import (
    ENGINE_ERRORS,
    BadRequestFieldError,
    ChangeTimeoutError,
    InterruptedStatementError,
    StatementCancelledError,
    StatementTimeoutError,
)
from lakehouse.query.running import PinnedTable, translated
from lakehouse.query.statements import Running, Statements

ATTEMPTS_MAX = 5
INTERRUPT_EVERY_S = 0.05
CONDITION_TYPES = frozenset(["BOOLEAN", '"NULL"'])

S = TypeVar("S")
K = TypeVar("K", RowsChanged, TableFromQuery)
Key: TypeAlias = Idempotency[K] | None
Change: TypeAlias = Callable[[JobHandle | None], Coroutine[Any, Any, S]]
"""Made once, by a request that waits for it or, with its handle, by a job."""


class TableChanges:
    """Changes of rows, one at a time for a table."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        config: QueryConfig,
        *,
        statements: Statements,
        disk: Disk,
        turns: Turns,
    ) -> None:
        self._statements = statements
        self._database = database
        self._catalog = catalog
        self._config = config
        self._disk = disk
        self._turns = turns

    def delete(self, name: TableName, request: RowsDelete, once: Once) -> Change[RowsChanged]:
        """Return the change that deletes or erases rows and returns what happened.

        An erasure whose job is cancelled once the rows are out of the table goes on: it could not
        be undone.

        Raises, at once or when it is made:
            SqlError: `where` is not one plain expression over the table.
            TableNotFoundError, EmptyTableError, TableDamagedError
            CommitFailedError: others rewrote the same files again and again.
            TableBusyError: other changes of this table took a minute.
            ErasureRefusedError, ErasureUnfinishedError: as `Erasing.erase`.
        """
        self._catalog.check_may_change(name)
        sql = f"DELETE FROM {name} WHERE {request.where}"
        if not request.erase:
            work = partial(self._delete, name, request)
            return partial(self._in_turn, name, once, RowsChanged, work, sql)
        begun = threading.Event()
        erase = partial(self._erase, name, request, begun.set)
        return partial(self._in_turn, name, once, RowsChanged, erase, sql, goes_on=begun.is_set)

    def update(self, name: TableName, request: RowsUpdate, once: Once) -> Change[RowsChanged]:
        """Return the change that sets columns of rows and returns what happened.

        Raises:
            As `delete`; DiskFullError: the disk has no room above its reserve.
        """
        self._catalog.check_may_change(name)
        work = partial(self._update, name, request)
        values = ", ".join(f"{column} = {value}" for column, value in request.set.items())
        sql = f"UPDATE {name} SET {values} WHERE {request.where}"
        return partial(self._in_turn, name, once, RowsChanged, work, sql)

    def from_query(
        self, name: TableName, request: RowsFromQuery, once: Once
    ) -> Change[TableFromQuery]:
        """Return the change that writes a statement's rows into a table, and what happened.

        Raises:
            SqlError: the statement is refused; as `Query.answer`.
            TableExistsError, TableNotFoundError, SchemaDriftError: as `Catalog.write`.
            UnsupportedTypeError: a column is of a type that no table holds.
            ValueLostError: the table's column would change a value.
            DiskFullError: the disk has no room above its reserve.
        """
        if (request.mode == "upsert") != bool(request.key):
            raise BadRequestFieldError("`key` names columns for the mode upsert", field="key")
        check_may_write(name)
        work = partial(self._from_query, name, request)
        return partial(self._in_turn, name, once, TableFromQuery, work, request.sql)

    async def _in_turn(
        self,
        name: TableName,
        once: Once,
        kind: type[K],
        work: Callable[[Connection, Key[K]], K],
        sql: str,
        job: JobHandle | None,
        *,
        goes_on: Callable[[], bool] = lambda: False,
    ) -> K:
        """Do `work` when it is its turn; a job waits for it without end.

        Without a job it is a statement among the others while it runs: with a time, and to be
        stopped by who may.

        Args:
            sql: what those see of it.
            goes_on: whether the work is past where it may be interrupted.
        """

        def run(cursor: Connection) -> K:
            return once.run(kind, partial(work, cursor))

        if job is None:
            most_s = float(self._config.change_timeout_s)
            with self._statements.admit(None, None, "json", most_s=most_s) as running:
                running.sql, running.tables = sql, (str(name),)
                async with self._turns.at(folded(str(name))):
                    with self._database.session(Lane.LONG, name=running.name) as session:
                        async with stopped(running, session, goes_on):
                            return await session.run(run)

        job.progress(phase="waiting for other changes of the table")
        async with self._turns.at(folded(str(name)), patient=True):
            with self._database.session(Lane.LONG) as session:
                job.progress(phase="changing rows")
                with job.stopped_by(lambda: None if goes_on() else session.interrupt()):
                    return await session.run(run)

    # Below: on a worker thread.

    def _delete(
        self, name: TableName, request: RowsDelete, cursor: Connection, key: Key[RowsChanged]
    ) -> RowsChanged:
        # Within the disk's reserve too, as `_erase`: for whoever has nothing to drop this is the
        # way to make room. What stays of the files is less than what goes with them, at once or
        # when the snapshots expire; where even that has no room, it is 507 and nothing changed.
        with in_our_words():
            where = self._only_where(self._expressions(cursor, name, request.parameters), request)
            rows, seal = self._catalog.rows, sealed(key, changed_answer)
            return noted(changed_answer(rows.delete(cursor, name, where, idempotency=seal)))

    def _erase(
        self,
        name: TableName,
        request: RowsDelete,
        begun: Callable[[], None],
        cursor: Connection,
        key: Key[RowsChanged],
    ) -> RowsChanged:
        with in_our_words():
            expressions = self._expressions(cursor, name, request.parameters)
            where = self._only_where(expressions, request)
            if expressions.volatile:
                raise SqlError("where has a value of this moment; an erasure takes it written out")
            erasing, seal = self._catalog.erasing, sealed(key, erased_answer)
            done = erasing.erase(cursor, name, where, idempotency=seal, begun=begun)
            return noted(erased_answer(done))

    def _update(
        self, name: TableName, request: RowsUpdate, cursor: Connection, key: Key[RowsChanged]
    ) -> RowsChanged:
        with in_our_words():
            self._disk.check()
            check_once_each(request.set)
            expressions = self._expressions(cursor, name, request.parameters)
            values = {
                column: expressions.read(text, f"set.{column[:80]}")
                for column, text in request.set.items()
            }
            where = self._only_where(expressions, request)
            rows, seal = self._catalog.rows, sealed(key, changed_answer)
            changed = rows.update(cursor, name, values, where, idempotency=seal)
            return noted(changed_answer(changed))

    def _expressions(
        self, cursor: Connection, name: TableName, parameters: Parameters
    ) -> Expressions:
        columns = frozenset(folded(each.name) for each in self._catalog.get(name).columns)
        return Expressions(cursor, name, self._config, parameters, columns)

    def _only_where(self, expressions: Expressions, request: RowsDelete | RowsUpdate) -> str:
        """Return the condition, the last expression, if it is true or false.

        A mere column would delete all but zeros.
        """
        where = expressions.read(request.where, "where")
        expressions.check_used()
        name = expressions.table
        columns = ", ".join(
            f"CAST(NULL AS {duckdb_type(each.type)}) AS {quoted(each.name)}"
            for each in self._catalog.get(name).columns
        )
        described = expressions.cursor.execute(
            f"DESCRIBE SELECT ({where}) FROM (SELECT {columns}) AS {quoted(name.name)}"
        ).fetchall()
        if described[0][1] not in CONDITION_TYPES:
            raise SqlError(f"where is a {described[0][1]}, and must be true or false: `id = 5`")
        return where

    def _from_query(
        self, name: TableName, request: RowsFromQuery, cursor: Connection, key: Key[TableFromQuery]
    ) -> TableFromQuery:
        """Run the statement, again when it replaces rows that it read and others came meanwhile."""
        self._disk.check()
        record().note(sql=request.sql)
        seen: list[int | None] = []
        for _ in range(ATTEMPTS_MAX):
            with suppress(InputsGoneError):
                return noted(self._from_query_once(name, request, cursor, key, seen))
        raise CommitFailedError(f"{name} was changed by others {ATTEMPTS_MAX} times")

    def _from_query_once(
        self,
        name: TableName,
        request: RowsFromQuery,
        cursor: Connection,
        key: Key[TableFromQuery],
        seen: list[int | None],
    ) -> TableFromQuery:
        statement = prepare(
            cursor,
            request.sql,
            catalog=self._catalog,
            may=authorise,
            as_of={table: read_as_of(asked) for table, asked in request.as_of.items()},
            limits=self._config,
        )
        record().note(tuple(str(each.table) for each in statement.tables))
        with in_our_words(statement.tables):
            read_at = next(
                (each.snapshot_id for each in statement.tables if is_same(each.table, name)), None
            )
            # The same snapshot again: the statement names it, whatever the table is at.
            held = None if read_at in seen else read_at
            seen.append(read_at)
            sql, given = self._named_as(name, statement.sql, result_types(cursor, statement.sql))
            columns = tuple(
                Column(each, iceberg_type(type_, each)) for each, type_ in given.items()
            )
            rows = Rows(sql, columns, read_at=held, given=given)
            if request.mode == "upsert":
                return self._upsert(name, request, cursor, rows, key)
            return self._write(name, request, cursor, rows, key)

    def _named_as(
        self, name: TableName, sql: str, given: dict[str, str]
    ) -> tuple[str, dict[str, str]]:
        """Return the statement and its types under the names of the table: SQL ignores case."""
        table = self._catalog.find(name)
        own = {folded(each.name): each.name for each in table.columns} if table else {}
        names = {each: own.get(folded(each), each) for each in given}
        if all(each == named for each, named in names.items()):
            return sql, given
        renamed = ", ".join(f"{quoted(each)} AS {quoted(named)}" for each, named in names.items())
        return f"SELECT {renamed} FROM ({sql})", {
            names[each]: type_ for each, type_ in given.items()
        }

    def _upsert(
        self,
        name: TableName,
        request: RowsFromQuery,
        cursor: Connection,
        rows: Rows,
        key: Key[TableFromQuery],
    ) -> TableFromQuery:
        return merged_answer(
            self._catalog.loading.upsert(
                cursor,
                name,
                rows,
                request.key,
                idempotency=sealed(key, merged_answer),
                partition_by=request.partition_by,
                sort_by=request.sort_by,
            )
        )

    def _write(
        self,
        name: TableName,
        request: RowsFromQuery,
        cursor: Connection,
        rows: Rows,
        key: Key[TableFromQuery],
    ) -> TableFromQuery:
        assert request.mode != "upsert", "that one has a key"
        is_new = self._catalog.find(name) is None
        return written_answer(
            self._catalog.loading.write(
                cursor,
                name,
                rows,
                mode="create" if is_new else request.mode,
                idempotency=sealed(key, written_answer),
                partition_by=request.partition_by,
                sort_by=request.sort_by,
            )
        )


def noted(answer: K) -> K:
    """Note the rows that a change has touched: for the audit log, and the limits of its token."""
    record().note(rows=answer.touched_rows)
    return answer


def sealed(key: Key[K], answer: Callable[[S], K]) -> Idempotency[S] | None:
    return None if key is None else key.of(answer)


def check_once_each(names: Iterable[str]) -> None:
    """Refuse a column that is set twice: which value holds would be chance."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(folded(name), name)
        if other is not name:
            raise SqlError(f"set names one column twice, as {other[:80]!r} and {name[:80]!r}")


def is_same(one: TableName, other: TableName) -> bool:
    return folded(str(one)) == folded(str(other))


@asynccontextmanager
async def stopped(
    running: Running, session: Session, goes_on: Callable[[], bool]
) -> AsyncIterator[None]:
    """Interrupt the change in the block when its time is over, or somebody stops it.

    It is never left alone: what cannot be interrupted any more is answered as done.

    Raises:
        ChangeTimeoutError, StatementCancelledError: it was interrupted; nothing was changed.
    """
    why: list[LakehouseError] = []

    async def watch() -> None:
        try:
            async with running.cancellable(running.timeout_s):
                await asyncio.get_running_loop().create_future()
        except StatementTimeoutError:
            why.append(ChangeTimeoutError(running.timeout_s))
        except StatementCancelledError as error:
            why.append(error)
        while True:  # one that falls between two calls of the engine is lost
            if not goes_on():
                session.interrupt()
            await asyncio.sleep(INTERRUPT_EVERY_S)

    watching = asyncio.create_task(watch())
    try:
        yield
    except InterruptedStatementError as error:
        raise (why[0] if why else error) from error
    finally:
        watching.cancel()
        await asyncio.wait([watching])


@contextmanager
def in_our_words(tables: Sequence[PinnedTable] = ()) -> Iterator[None]:
    """Translate the engine's errors, as those of a statement."""
    try:
        yield
    except ENGINE_ERRORS as error:
        raise translated(error, tables) from error


def result_types(cursor: Connection, sql: str) -> dict[str, str]:
    """Return the types of a statement's columns as DuckDB spells them, by name.

    Raises:
        InvalidNameError: a name is no column's, or is there twice.
    """
    described = cursor.execute(f"DESCRIBE {sql}").fetchall()
    check_column_names([name for name, *_ in described])
    return {name: type_ for name, type_, *_ in described}


def changed_answer(changed: Changed) -> RowsChanged:
    return RowsChanged(
        name=changed.table.name.name,
        namespace=changed.table.name.namespace,
        inserted_rows=changed.rows.inserted,
        updated_rows=changed.rows.updated,
        deleted_rows=changed.rows.deleted,
        row_count=changed.table.row_count,
        snapshot_id=changed.snapshot_id,
        rewritten_files=changed.rewritten_files,
    )


def erased_answer(erased: Erased) -> RowsChanged:
    table = erased.table
    return RowsChanged(
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


def merged_answer(changed: Changed) -> TableFromQuery:
    return table_answer(changed.table, changed.created, changed.rows.inserted, changed.rows.updated)


def written_answer(written: Written) -> TableFromQuery:
    return table_answer(written.table, written.created, written.added_rows, 0)


def table_answer(
    table: TableState, created: bool, added_rows: int, updated_rows: int
) -> TableFromQuery:
    return TableFromQuery(
        name=table.name.name,
        namespace=table.name.namespace,
        created=created,
        added_rows=added_rows,
        updated_rows=updated_rows,
        row_count=table.row_count,
        snapshot_id=table.snapshot_id,
        columns=list(table.columns),
    )
