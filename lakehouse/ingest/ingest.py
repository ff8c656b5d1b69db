"""One load: a file or rows, read by DuckDB as the rules say, committed whole or not at all."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias, TypeVar

import anyio
import msgspec

from lakehouse.catalog import (
    Catalog,
    Idempotency,
    Rows,
    SchemaDriftError,
    TableExistsError,
    TableName,
    TableState,
    Written,
    check_table_name,
    dataset_id,
    fingerprint,
)
from lakehouse.config import IngestConfig
from lakehouse.database import (
    Connection,
    ConversionError,
    Database,
    EngineInvalidInputError,
    Lane,
)
from lakehouse.failpoints import reach
from lakehouse.ingest.columns import differences
from lakehouse.ingest.csv import open_csv
from lakehouse.ingest.errors import BadRowsError, InvalidLoadError, TooManyLoadsError
from lakehouse.ingest.formats import as_utf8, decompressed, format_of
from lakehouse.ingest.models import (
    DryRun,
    IngestAnswer,
    LoadOptions,
    Mode,
    Rejected,
    RowsAnswer,
)
from lakehouse.ingest.ndjson import open_ndjson
from lakehouse.ingest.parquet import open_parquet
from lakehouse.ingest.rows import InvalidRowsError, JsonRows, parse_rows, register
from lakehouse.ingest.source import Limits, ReadOptions, Source
from lakehouse.ingest.spool import Upload, new_file, room_bytes

T = TypeVar("T")

CONTENT = "lakehouse.content"
SAMPLE_ROWS_SHOWN = 20
SLOT_WAIT_S = 30.0
NONE_REJECTED = Rejected(0, [])


@dataclass(frozen=True, slots=True)
class LoadEnded:
    """What a listener hears of each load that was committed."""

    table: str
    mode: str
    row_count: int
    size_bytes: int


Listener: TypeAlias = Callable[[LoadEnded], None]


class Ingest:
    """Loads into tables. At most `concurrency_max` files are read at once; the others wait."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        spool: Path,
        config: IngestConfig,
        *,
        listener: Listener = lambda event: None,
    ) -> None:
        self.spool = spool
        self.config = config
        self._database = database
        self._catalog = catalog
        self._listener = listener
        self._slots = anyio.Semaphore(config.concurrency_max)

    async def load(self, upload: Upload, options: LoadOptions, key: str | None) -> bytes:
        """Load a file into a table and return the answer, as JSON.

        Args:
            key: an idempotency key; the same request under it has one effect and one answer.

        Raises:
            InvalidFileError, BadRowsError, SchemaDriftError, UnknownFormatError
            TooManyLoadsError: no slot was free for 30 s.
        """
        work = partial(self._load, upload=upload, options=options, key=key)
        async with self._slot():
            return await self._database.run(work, Lane.LONG)

    async def dry_run(self, upload: Upload, options: LoadOptions) -> DryRun:
        """Return what `load` would do: the schema, how it differs, and a sample."""
        work = partial(self._dry_run, upload=upload, options=options)
        async with self._slot():
            return await self._database.run(work, Lane.LONG)

    async def append(self, name: TableName, body: bytes, key: str | None) -> bytes:
        """Append the rows of a JSON body to a table and return the answer, as JSON.

        Raises:
            TableNotFoundError: there is no such table.
            InvalidRowsError: a row does not fit; none was written.
        """
        work = partial(self._append, name=name, body=body, key=key)
        return await self._database.run(work, Lane.WRITE)

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        with anyio.move_on_after(SLOT_WAIT_S) as waiting:
            await self._slots.acquire()
        if waiting.cancelled_caught:
            raise TooManyLoadsError(self.config.concurrency_max)
        try:
            yield
        finally:
            self._slots.release()

    # Below: on a worker thread.

    def _load(
        self, cursor: Connection, *, upload: Upload, options: LoadOptions, key: str | None
    ) -> bytes:
        name = check_table_name(options.namespace, options.name)
        content = identity(upload, options)
        with ExitStack() as stack:
            if key is not None:
                stack.enter_context(self._catalog.in_flight(key))
                if (answer := self._catalog.replay(key, content)) is not None:
                    return answer
            current = self._catalog.find(name)
            mode = chosen_mode(options.mode, current)
            if key is None and current and current.summary.get(CONTENT) == content:
                return msgspec.json.encode(self._answer_existing(current))
            path = self._text(stack, upload, options)
            source = self._open(cursor, upload, path, options, current)
            loading = Loading(self._catalog, cursor, name, mode, options, content, key)
            answer = loading.run(source, is_new=current is None or not current.columns)
        reach("before-answer")
        self._listener(LoadEnded(str(name), mode, loading.added_rows, upload.size_bytes))
        return answer

    def _dry_run(self, cursor: Connection, *, upload: Upload, options: LoadOptions) -> DryRun:
        name = check_table_name(options.namespace, options.name)
        current = self._catalog.find(name)
        table = current if current and current.columns else None
        with ExitStack() as stack:
            path = self._text(stack, upload, options)
            source = self._open(cursor, upload, path, options, None)
            sql = f"SELECT * FROM ({source.rows().sql}) LIMIT {SAMPLE_ROWS_SHOWN}"
            sample = cursor.execute(sql).to_arrow_table().to_pylist()
        return DryRun(
            name=name.name,
            namespace=name.namespace,
            exists=current is not None,
            columns=list(source.columns),
            schema_fingerprint=fingerprint(source.columns),
            differences=differences(source.columns, table.columns) if table else [],
            sample=sample,
        )

    def _text(self, stack: ExitStack, upload: Upload, options: LoadOptions) -> Path:
        """Return the file without compression and, where it is text, in UTF-8."""
        room = min(self.config.max_bytes, room_bytes(self.spool))
        path = decompressed(upload.path, stack.enter_context(new_file(self.spool)), room)
        if format_of(upload, path, options.format) == "parquet":
            return path
        return as_utf8(path, stack.enter_context(new_file(self.spool)), options.encoding, room)

    def _open(
        self,
        cursor: Connection,
        upload: Upload,
        path: Path,
        options: LoadOptions,
        current: TableState | None,
    ) -> Source:
        reading = ReadOptions(
            limits=Limits(
                sample_rows=self.config.sample_rows,
                columns_max=self.config.columns_max,
                line_max_bytes=self.config.line_max_bytes,
                bad_rows_max=self.config.bad_rows_reported_max,
            ),
            delimiter=options.delimiter,
            types=options.types,
            date_format=options.date_format,
            table=current.columns if current and current.columns else None,
        )
        format_name = format_of(upload, path, options.format)
        if format_name == "parquet":
            source: Source = open_parquet(cursor, path, reading)
        elif format_name == "ndjson":
            source = open_ndjson(cursor, path, reading)
        else:
            source = open_csv(cursor, path, reading, tabs=format_name == "tsv")
        strange = options.types.keys() - {column.name for column in source.columns}
        if strange:
            raise InvalidLoadError(f"types names the column {min(strange)!r}, which is not there")
        return source

    def _answer_existing(self, table: TableState) -> IngestAnswer:
        return IngestAnswer(
            dataset_id=dataset_id(table.name.name),
            name=table.name.name,
            namespace=table.name.namespace,
            existing=True,
            row_count=table.row_count,
            added_rows=0,
            schema_fingerprint=fingerprint(table.columns),
            objects=[],
            snapshot_id=table.snapshot_id,
            columns=list(table.columns),
            rejected=NONE_REJECTED,
        )

    def _append(
        self, cursor: Connection, *, name: TableName, body: bytes, key: str | None
    ) -> bytes:
        request_hash = hashlib.sha256(str(name).encode() + b"\0" + body).hexdigest()
        with ExitStack() as stack:
            if key is not None:
                stack.enter_context(self._catalog.in_flight(key))
                if (answer := self._catalog.replay(key, request_hash)) is not None:
                    return answer
            table = self._catalog.get(name)
            if not table.columns:
                raise InvalidLoadError(f"the table {name} has no columns yet; ingest a file first")
            register(cursor, parse_rows(body))
            rows = JsonRows(table.columns, self.config.bad_rows_reported_max)
            try:
                written = self._catalog.write(
                    cursor,
                    name,
                    rows.rows(),
                    mode="append",
                    idempotency=Idempotency(key, request_hash, rows_answer) if key else None,
                )
            except (ConversionError, EngineInvalidInputError) as error:
                bad = rows.bad_rows(cursor)
                if not bad:
                    raise
                raise InvalidRowsError(bad) from error
        reach("before-answer")
        self._listener(LoadEnded(str(name), "append", written.added_rows, len(body)))
        return rows_answer(written)


@dataclass(slots=True)
class Loading:
    """One file on its way into one table."""

    catalog: Catalog
    cursor: Connection
    name: TableName
    mode: Mode
    options: LoadOptions
    content: str
    key: str | None
    rejected: Rejected = NONE_REJECTED
    added_rows: int = 0

    def run(self, source: Source, *, is_new: bool) -> bytes:
        """Load `source`, and what does not fit as `on_error` says."""
        if self.options.on_error == "reject":
            if is_new:
                source = self._widened(source, keep=set(self.options.types))
            self.rejected = Rejected(*source.bad_rows(self.cursor))
            rows = source.good_rows() if self.rejected.count else source.rows()
            return self._write(rows)
        try:
            return self._write(source.rows())
        except (ConversionError, EngineInvalidInputError) as error:
            if is_new:
                keep = set(self.options.types) if self.options.on_error == "fail" else set()
                widened = self._widened(source, keep=keep)
                if widened.columns != source.columns:
                    return self._second(widened, error)
            raise self._failure(source, is_new=is_new) from error

    def _second(self, source: Source, first: Exception) -> bytes:
        try:
            return self._write(source.rows())
        except (ConversionError, EngineInvalidInputError) as error:
            raise self._failure(source, is_new=True) from error

    def _widened(self, source: Source, keep: set[str]) -> Source:
        """Return the source with every column as text that a later value contradicts."""
        names = source.contradicted(self.cursor) - keep
        return source.with_strings(names) if names else source

    def _failure(self, source: Source, *, is_new: bool) -> Exception:
        _, rows = source.bad_rows(self.cursor)
        if not rows:
            return InvalidLoadError("the file cannot be read as its format says")
        if not is_new and all(row.column for row in rows):
            shown = [f"{row.column}: {row.reason} (line {row.line or '?'})" for row in rows]
            return SchemaDriftError(str(self.name), shown)
        return BadRowsError(rows, "mend the file, or load the good rows with on_error=reject")

    def _write(self, rows: Rows) -> bytes:
        written = self.catalog.write(
            self.cursor,
            self.name,
            rows,
            mode=self.mode,
            idempotency=Idempotency(self.key, self.content, self._answer) if self.key else None,
            summary={CONTENT: self.content},
            partition_by=self.options.partition_by,
            sort_by=self.options.sort_by,
        )
        self.added_rows = written.added_rows
        return self._answer(written)

    def _answer(self, written: Written) -> bytes:
        table = written.table
        return msgspec.json.encode(
            IngestAnswer(
                dataset_id=dataset_id(table.name.name),
                name=table.name.name,
                namespace=table.name.namespace,
                existing=False,
                row_count=table.row_count,
                added_rows=written.added_rows,
                schema_fingerprint=fingerprint(table.columns),
                objects=list(written.objects),
                snapshot_id=written.snapshot_id,
                columns=list(table.columns),
                rejected=self.rejected,
            )
        )


def chosen_mode(asked: Mode | None, current: TableState | None) -> Mode:
    """Return what to do: a new name is created, and a file replaces an existing dataset's rows.

    An explicit append or overwrite creates the table too: a daily job's first run is no special
    case.

    Raises:
        TableExistsError: create was asked for, and the table has columns.
    """
    if current is None:
        return "create"
    if asked == "create" and current.columns:
        raise TableExistsError(str(current.name))
    return asked or "overwrite"


def identity(upload: Upload, options: LoadOptions) -> str:
    """Return what identifies a load: the content, and how it was to be read."""
    said = msgspec.json.encode(options)
    return f"{upload.sha256}-{hashlib.sha256(said).hexdigest()[:16]}"


def rows_answer(written: Written) -> bytes:
    return msgspec.json.encode(
        RowsAnswer(
            name=written.table.name.name,
            namespace=written.table.name.namespace,
            added_rows=written.added_rows,
            row_count=written.table.row_count,
            snapshot_id=written.snapshot_id,
        )
    )
