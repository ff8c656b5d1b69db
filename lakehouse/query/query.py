"""Running statements: who may run how many, for how long, and what comes back."""

import asyncio
import hashlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import anyio
import msgspec
import pyarrow as pa

from lakehouse.auth import EVERYTHING, Action, may, table_resource
from lakehouse.catalog import Catalog, TableName, parse_table_name, read_as_of
from lakehouse.config import QueryConfig
from lakehouse.database import Connection, Database, Lane, Session, Work
from lakehouse.query.avro import Avro
from lakehouse.query.formats import (
    ArrowStream,
    Csv,
    Encoder,
    JsonArray,
    Ndjson,
    Orc,
    Parquet,
    within_38_digits,
)
from lakehouse.query.gate import NO_LOGS, Logs, Statement, prepare
from lakehouse.query.models import Format, RunningQuery, SqlRequest, StatementState
from lakehouse.query.pages import Allowance, Page, Spool, fill
from lakehouse.query.pressure import wait_while_short, watched
from lakehouse.query.relations import Collections, relations, search
from lakehouse.query.run_errors import (
    ENGINE_ERRORS,
    EngineDownError,
    MemoryPressureError,
    TableUnreadableError,
    UnencodableResultError,
)
from lakehouse.query.running import (
    WITHOUT_ARROW,
    WITHOUT_AVRO,
    WITHOUT_ORC,
    WITHOUT_PARQUET,
    Result,
    run,
    translated,
)
from lakehouse.query.statements import Listener, Running, Statements
from lakehouse.query.stuck import Stuck

log = logging.getLogger(__name__)

T = TypeVar("T")

STREAM_CHUNK_BYTES = 1024 * 1024
MEMORY_RETRY_AFTER_S, MEMORY_WAIT_S = 0.2, 2.0
EXPIRE_EVERY_S = 60.0
ENCODERS: Mapping[str, Callable[[pa.Schema], Encoder]] = {
    "ndjson": Ndjson,
    "csv": Csv,
    "arrow": ArrowStream,
    "parquet": Parquet,
    "orc": Orc,
    "json": JsonArray,  # of a whole table; that of a statement comes in pages
}


LOST = {"parquet": WITHOUT_PARQUET, "orc": WITHOUT_ORC, "avro": WITHOUT_AVRO}
"""Types of the engine that a format has not: their values are text there."""
AS_TEXT = frozenset({"ndjson", "csv", "json"})


def authorise(action: Action, table: TableName) -> bool:
    """Whether the caller may do `action` to `table`."""
    return may(action, table_resource(*table))


def authorised_to_all() -> bool:
    """Whether the caller may read what the server keeps of others."""
    return may("administer", EVERYTHING)


@dataclass(frozen=True, slots=True)
class TableRequest:
    """Rows of a table that no SELECT names: its changes, say. In all else a statement like any."""

    prepare: Callable[[Connection], Statement]
    """On a worker thread: what runs, and what it holds while it does."""
    sql: str = ""
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class NotModified:
    etag: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer, ready to be sent; `release` gives its memory back."""

    body: list[bytes]
    query_id: str
    etag: str | None
    release: Callable[[], None]


class Query:
    """The SQL of the process: statements, the results that wait, and the limits on both."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        config: QueryConfig,
        spool: Spool,
        *,
        allowance: Allowance | None = None,
        listener: Listener = lambda event: None,
        on_fatal: Callable[[], None] = lambda: None,
        stuck: Stuck | None = None,
        logs: Logs = NO_LOGS,
        collections: Collections | None = None,
    ) -> None:
        self._collections = collections
        self._database = database
        self._catalog = catalog
        self._config = config
        self._spool = spool
        self._allowance = allowance or Allowance()
        self._on_fatal = on_fatal
        self._logs = logs
        self.stuck = stuck or Stuck(database.lane(Lane.SHORT))
        self.statements = Statements(config, listener, self.stuck.check)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Keep the spool within its time while this is open; afterwards it is empty."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._expire)
            tasks.start_soon(self.stuck.watch, self._on_fatal)
            try:
                with watched(self.statements.give_way):
                    yield self
            finally:
                tasks.cancel_scope.cancel()
                self.cancel_all()
                with anyio.CancelScope(shield=True):
                    await self._database.call(self._spool.clear)

    async def answer(
        self,
        request: SqlRequest | TableRequest,
        *,
        query_id: str | None = None,
        with_etag: bool = False,
        known_etags: frozenset[str] = frozenset(),
    ) -> Answer | NotModified:
        """Run the statement and return its first page as JSON, whole.

        What does not fit in `max_result_bytes` is on disk by then, so every error of the engine
        is known. Cost over the statement: one thread hop, and about 0.5 µs a value.

        Args:
            request: what to run.
            query_id: the name under which it can be cancelled; one is made when None.
            with_etag: whether to compute one; there is none for volatile and for long results.
            known_etags: answer `NotModified` without running it when its ETag is one of these.

        Raises:
            InvalidInputError: the statement is refused, wrong, or met a bad value.
            StatementTimeoutError, StatementCancelledError, TooManyStatementsError,
            MemoryPressureError, ResultTooLargeError, SpoolFullError
        """
        with (
            self.statements.admit(request.timeout_s, query_id, "json") as running,
            self._database.session(name=running.name) as session,
        ):
            running.interrupt = session.interrupt
            await search(running, request, self._collections)
            etag_wanted = with_etag or bool(known_etags)
            work = partial(self._answer_json, running, session, request, etag_wanted, known_etags)
            return await self._hop(running, session, work)

    async def stream(
        self,
        request: SqlRequest | TableRequest,
        format_name: Format,
        *,
        query_id: str | None = None,
        with_etag: bool = False,
        known_etags: frozenset[str] = frozenset(),
    ) -> "ResultStream | NotModified":
        """Run the statement up to its first batch; the stream pulls the rest when it is read.

        The caller closes the stream. Between two pieces it holds a cursor but no thread.
        Arguments and errors are those of `answer`.
        """
        async with AsyncExitStack() as stack:
            running = stack.enter_context(
                self.statements.admit(request.timeout_s, query_id, format_name)
            )
            session = stack.enter_context(self._database.session(name=running.name))
            running.interrupt = session.interrupt
            await search(running, request, self._collections)
            etag_wanted = with_etag or bool(known_etags)
            work = partial(self._start_stream, running, session, request, etag_wanted, known_etags)
            started = await self._hop(running, session, work)
            if isinstance(started, NotModified):
                return started
            etag, first, pieces = started
            hop = partial(self._hop, running, session)
            return ResultStream(running, etag, first, pieces, hop, stack.pop_all())

    async def page(self, result_id: str, offset: int) -> Answer:
        """Return the page of a result that begins with row `offset`.

        Raises:
            ResultNotFoundError: it is unknown or was dropped.
            InvalidInputError: the result does not keep that row.
        """
        spooled, page = await self._database.call(
            partial(
                self._spool.page, result_id, offset, self._config.max_result_bytes, self._allowance
            )
        )
        link = spooled.link(offset + page.row_count)
        body = page.body(spooled.columns, link, spooled.query_id)
        return Answer(body, spooled.query_id, None, page.release)

    async def drop_result(self, result_id: str) -> None:
        """Delete a result that waits; `ResultNotFoundError` when there is none."""
        await self._database.call(partial(self._spool.drop, result_id))

    def cancel(self, query_id: str) -> None:
        """Stop a running statement, also while its result is sent.

        Raises:
            StatementNotFoundError: none of that id is running.
        """
        self.statements.cancel(query_id)

    def running(self) -> set[str]:
        """Return the ids of the statements that run now."""
        return self.statements.ids()

    def all(self) -> list[RunningQuery]:
        """Return what runs, and what was stopped and still holds its thread.

        A caller's own; for an admin everybody's.
        """
        return self.statements.shown(self.stuck.names())

    def state(self, query_id: str) -> StatementState:
        """Return whether a statement runs, or how it ended.

        Raises:
            StatementNotFoundError: it is not among the last that ended.
        """
        return self.statements.state(query_id)

    def cancel_all(self) -> None:
        """Stop every running statement: the server ends."""
        self.statements.cancel_all()

    async def _hop(self, running: Running, session: Session, work: Work[T]) -> T:
        """Run `work` on a thread within what is left of the statement's time."""
        begun = time.monotonic()
        try:
            async with running.cancellable(running.timeout_s - running.engine_s):
                with running.unless_short():
                    return await session.run(work)
        except EngineDownError:
            self._on_fatal()
            raise
        except TableUnreadableError as error:
            names = map(parse_table_name, error.tables)
            await self._database.call(partial(self._catalog.look_at, names))
            raise
        except asyncio.CancelledError:
            running.stop.set()
            raise
        finally:
            running.engine_s += time.monotonic() - begun

    # Below: on a worker thread.

    def _prepare(
        self, cursor: Connection, running: Running, request: SqlRequest | TableRequest
    ) -> Statement:
        running.sql = request.sql
        try:
            statement = (
                request.prepare(cursor)
                if isinstance(request, TableRequest)
                else self._prepare_sql(cursor, request, running.found)
            )
        except ENGINE_ERRORS as error:  # the gate names what the caller did; this is our side
            raise translated(error) from error
        running.tables = tuple(str(pinned.table) for pinned in statement.tables)
        return statement

    def _prepare_sql(
        self, cursor: Connection, request: SqlRequest, found: Mapping[str, pa.Table]
    ) -> Statement:
        logs = dict(self._logs) if authorised_to_all() else {}
        logs |= relations(request.sql, self._collections, found)
        return prepare(
            cursor,
            request.sql,
            catalog=self._catalog,
            may=authorise,
            as_of={table: read_as_of(asked) for table, asked in request.as_of.items()},
            limits=self._config,
            parameters=request.parameters,
            logs=logs,
        )

    def _answer_json(
        self,
        running: Running,
        session: Session,
        request: SqlRequest | TableRequest,
        with_etag: bool,
        known_etags: frozenset[str],
        cursor: Connection,
    ) -> Answer | NotModified:
        statement = self._prepare(cursor, running, request)
        etag = etag_of(statement, request, "json") if with_etag else None
        if etag in known_etags:
            assert etag is not None
            return NotModified(etag)

        def build() -> Answer:
            result = run(cursor, statement, statement.parameters, running.stop)
            page, rest = fill(result.batches, self._config.max_result_bytes, self._allowance)
            try:
                link = self._spool_rest(running, result, page, rest) if rest else None
            except BaseException:
                page.release()
                raise
            running.row_count, running.sent_bytes = page.row_count, page.size_bytes
            body = page.body(result.columns, link, running.query_id)
            return Answer(body, running.query_id, None if link else etag, page.release)

        answer = twice(running, build)
        if not statement.registers:  # all rows were read
            session.keep()
        return answer

    def _spool_rest(
        self, running: Running, result: Result, page: Page, rest: Iterator[pa.RecordBatch]
    ) -> str | None:
        spooled = self._spool.store(
            running.query_id, result.columns, result.schema, rest, page.row_count
        )
        return spooled.link(page.row_count)

    def _start_stream(
        self,
        running: Running,
        session: Session,
        request: SqlRequest | TableRequest,
        with_etag: bool,
        known_etags: frozenset[str],
        cursor: Connection,
    ) -> "tuple[str | None, bytes, Iterator[bytes]] | NotModified":
        statement = self._prepare(cursor, running, request)
        etag = etag_of(statement, request, running.format) if with_etag else None
        if etag in known_etags:
            assert etag is not None
            return NotModified(etag)

        def build() -> tuple[bytes, Iterator[bytes]]:
            result = run(
                cursor,
                statement,
                statement.parameters,
                running.stop,
                lost=LOST.get(running.format, WITHOUT_ARROW),
            )
            encoder = self._encoder(running.format, result.schema, cursor)
            pieces = encoded(result, encoder, running)
            return next(pieces), pieces  # what fails up to here still gets its status

        first, pieces = twice(running, build)
        if running.finished and not statement.registers:
            session.keep()
        return etag, first, pieces

    def _encoder(self, name: Format, schema: pa.Schema, cursor: Connection) -> Encoder:
        try:
            if name == "avro":
                return Avro(schema, cursor, self._spool.directory)
            return ENCODERS[name](schema)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise UnencodableResultError(name, str(error)) from error

    async def _expire(self) -> None:
        while True:
            await anyio.sleep(EXPIRE_EVERY_S)
            try:
                await self._database.call(self._spool.expire)
            except Exception:
                log.exception("old results could not be removed")


class ResultStream:
    """Pieces of a result. Close it, or its cursor stays: `async with stream: async for ...`."""

    def __init__(
        self,
        running: Running,
        etag: str | None,
        first: bytes,
        pieces: Iterator[bytes],
        hop: Callable[[Work[bytes]], Awaitable[bytes]],
        stack: AsyncExitStack,
    ) -> None:
        self.query_id = running.query_id
        self.etag = etag
        self._running = running
        self._first = first
        self._pieces = pieces
        self._hop = hop
        self._stack = stack

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        piece = self._first  # a short answer is all in it, and needs no second hop
        self._running.sent_bytes += len(piece)
        yield piece
        while not self._running.finished:
            piece = await self._hop(lambda cursor: next(self._pieces))
            self._running.sent_bytes += len(piece)
            yield piece

    def sending(self) -> Any:
        """A block that ends with `StatementCancelledError` when the statement is cancelled."""
        return self._running.cancellable()


def encoded(result: Result, encoder: Encoder, running: Running) -> Iterator[bytes]:
    """Yield the result in its format, in pieces of about `STREAM_CHUNK_BYTES`."""
    running.row_count = 0
    waiting, size = [encoder.head()], 0
    batches = result.batches
    if running.format not in AS_TEXT:
        batches = within_38_digits(batches, result.schema, running.format)
    for batch in batches:
        data = encoder.batch(batch)
        running.row_count += batch.num_rows
        waiting.append(data)
        size += len(data)
        if size >= STREAM_CHUNK_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    waiting.append(encoder.tail())
    running.finished = True
    yield b"".join(waiting)


def twice(running: Running, build: Callable[[], T]) -> T:
    """Return `build()`, tried again once: a neighbour's memory may have been what was missing."""
    try:
        with running.unless_short():
            return build()
    except MemoryPressureError:
        time.sleep(MEMORY_RETRY_AFTER_S)
        wait_while_short(MEMORY_WAIT_S)
        with running.unless_short():
            return build()


def etag_of(
    statement: Statement, request: SqlRequest | TableRequest, format_name: Format
) -> str | None:
    """Return a weak ETag: the text that runs names the snapshots it reads."""
    if statement.volatile:
        return None
    parts = (statement.etag_parts, request.sql, statement.parameters, format_name)
    digest = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()
    return f'W/"{digest[:32]}"'
