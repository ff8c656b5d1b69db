"""One load: a file or rows, read by DuckDB as the rules say, committed whole or not at all."""

import hashlib
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
    nullcontext,
    suppress,
)
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import msgspec

from lakehouse.catalog import (
    Catalog,
    IdempotencyInFlightError,
    SchemaChangedError,
    TableExistsError,
    TableName,
    TableNotFoundError,
    TableState,
    check_table_name,
    fingerprint,
    folded,
    known_fingerprint,
)
from lakehouse.config import IngestConfig
from lakehouse.database import (
    ARROW_ROWS,
    Connection,
    Database,
    Session,
)
from lakehouse.disk import Disk
from lakehouse.failpoints import reach
from lakehouse.ingest.appending import Appending, Listener, LoadEnded, check_key_columns
from lakehouse.ingest.columns import differences
from lakehouse.ingest.converting import converted
from lakehouse.ingest.csv import open_csv
from lakehouse.ingest.errors import (
    InvalidLoadError,
    LoadMemoryError,
    TooManyLoadsError,
)
from lakehouse.ingest.faults import (
    in_our_words,
    whole_file,
)
from lakehouse.ingest.fixed_width import open_fixed_width
from lakehouse.ingest.formats import Readable, readable
from lakehouse.ingest.loading import NONE_REJECTED, Loading, chosen_mode, dataset_id_of
from lakehouse.ingest.models import (
    CONTENT,
    FILES_MAX,
    MERGES,
    DryRun,
    IngestAnswer,
    LoadOptions,
)
from lakehouse.ingest.ndjson import open_ndjson
from lakehouse.ingest.parquet import open_parquet
from lakehouse.ingest.several import Part, naming, together
from lakehouse.ingest.source import Limits, ReadOptions, Source
from lakehouse.ingest.spool import Upload, new_file, spool_limits
from lakehouse.ingest.taken import Taken
from lakehouse.ingest.zips import entries_of, is_workbook, is_zip
from lakehouse.jobs import JobHandle
from lakehouse.lanes import Lane, Turns
from lakehouse.taster import Taster

log = logging.getLogger(__name__)

SAMPLE_ROWS_SHOWN = 20
SLOT_WAIT_S = 30.0
IN_FLIGHT_WAIT_S = 0.5
LOADING = "loading rows"
UPLOADS_PER_SLOT = 8
"""Uploads at once, for each load at once: a slow client holds no slot while it sends."""
ATTEMPTS_MAX = 3


@dataclass(frozen=True, slots=True)
class Laid:
    """A file in the spool, ready to be read."""

    file: Readable
    spare: Path
    """Where a copy of it may go."""
    label: str | None
    """What errors call it, where it is one of several."""


class Ingest:
    """Loads into tables. At most `concurrency_max` files are read at once; the others wait."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        spool: Path,
        config: IngestConfig,
        *,
        disk: Disk,
        turns: Turns,
        taster: Taster,
        listener: Listener = lambda event: None,
    ) -> None:
        self.spool = spool
        self.config = config
        self.limits = spool_limits(spool, disk, config)
        self._database = database
        self._catalog = catalog
        self._turns = turns
        self._taster = taster
        self._listener = listener
        self._slots = anyio.Semaphore(config.concurrency_max)
        # One slot is always left for loads that somebody waits for.
        self._background_slots = anyio.Semaphore(max(config.concurrency_max - 1, 1))
        self._memory_turn = anyio.Semaphore(1)
        self._uploads = 0
        self.rows = Appending(database, catalog, disk=disk, turns=turns, listener=listener)
        """Rows that come as JSON."""

    @contextmanager
    def uploading(self) -> Iterator[Path]:
        """A place for one upload, gone after the block.

        Raises:
            TooManyLoadsError: too many are being sent already.
        """
        most = self.config.concurrency_max * UPLOADS_PER_SLOT
        if self._uploads >= most:
            raise TooManyLoadsError(most)
        self._uploads += 1
        try:
            with new_file(self.spool) as path:
                yield path
        finally:
            self._uploads -= 1

    async def load(
        self,
        uploads: Sequence[Upload],
        options: LoadOptions,
        key: str | None,
        taken: Taken | None = None,
    ) -> bytes:
        """Load files into a table and return the answer, as JSON.

        Args:
            key: an idempotency key; the same request under it has one effect and one answer.
            taken: the objects that the files were, where they come from a source.

        Raises:
            InvalidFileError, BadRowsError, SchemaDriftError, UnknownFormatError
            TooManyLoadsError: no slot was free for 30 s.
            TableBusyError: as `Appending.merge`, of a load that merges.
        """
        work = partial(self._load, uploads=uploads, options=options, key=key, taken=taken)
        async with self._turn(options), self._slot():
            with suppress(LoadMemoryError):  # its neighbours had it
                return await self._database.run(work, Lane.LONG)
            async with self._again():
                return await self._database.run(work, Lane.LONG)

    async def load_in_background(
        self,
        job: JobHandle,
        *,
        uploads: Sequence[Upload],
        options: LoadOptions,
        key: str | None,
        taken: Taken | None = None,
    ) -> bytes:
        """Do what `load` does as the work of a job: nobody waits, so it may for its slot.

        It waits for another load under the same key too, and returns that one's answer.
        """
        job.progress(0, size_of(uploads), "waiting for other loads")
        work = partial(self._load, uploads=uploads, options=options, key=key, taken=taken, job=job)
        while True:
            async with self._turn(options, patient=True), self._background_slots, self._slots:
                with (
                    self._database.session(Lane.LONG, measured=True) as session,
                    suppress(IdempotencyInFlightError),
                    job.stopped_by(session.interrupt),
                    job.measured_by(partial(tell_progress, job, session, size_of(uploads))),
                ):
                    return await session.run(work)
            await anyio.sleep(IN_FLIGHT_WAIT_S)

    async def dry_run(self, uploads: Sequence[Upload], options: LoadOptions) -> DryRun:
        """Return what `load` would do: the schema, how it differs, and a sample."""
        work = partial(self._dry_run, uploads=uploads, options=options)
        async with self._slot():
            return await self._database.run(work, Lane.LONG)

    def _turn(
        self, options: LoadOptions, *, patient: bool = False
    ) -> AbstractAsyncContextManager[None]:
        """Return the turn that a load waits for: those that merge go one by one for a table."""
        if options.mode not in MERGES:
            return nullcontext()
        name = check_table_name(options.namespace, options.name)
        return self._turns.at(folded(str(name)), patient=patient)

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

    @asynccontextmanager
    async def _again(self) -> AsyncIterator[None]:
        """The turn of a load that found too little memory: they go one after the other then."""
        with anyio.move_on_after(SLOT_WAIT_S) as waiting:
            await self._memory_turn.acquire()
        if waiting.cancelled_caught:
            raise LoadMemoryError
        try:
            yield
        finally:
            self._memory_turn.release()

    # Below: on a worker thread.

    def _load(
        self,
        cursor: Connection,
        *,
        uploads: Sequence[Upload],
        options: LoadOptions,
        key: str | None,
        taken: Taken | None = None,
        job: JobHandle | None = None,
    ) -> bytes:
        name = check_table_name(options.namespace, options.name)
        with ExitStack() as stack:
            if key is not None:
                stack.enter_context(self._catalog.keys.in_flight(key))
            if job is not None:
                job.progress(phase="reading the file")
            files = self._readable(stack, cursor, uploads, options)
            content = taken.content if taken else identity([each.file for each in files], options)
            request = taken.request if taken else content
            if key is not None and (answer := self._catalog.keys.find(key, request)) is not None:
                return answer
            # The table's files take about as much again, and stay within the warehouse.
            self.limits.disk.check(size_of(uploads))
            if job is not None:
                job.check_cancelled()
                job.progress(phase=LOADING)
            for attempt in range(1, ATTEMPTS_MAX + 1):
                try:
                    given, load = self._into(cursor, name, files, options, content, key, taken)
                    break
                except (TableExistsError, TableNotFoundError):
                    # Made or dropped by somebody else meanwhile: these two alone ask which it is.
                    if options.mode in ("create", "delete") or attempt == ATTEMPTS_MAX:
                        raise
                except SchemaChangedError:  # read the file again, by the columns that are there now
                    if attempt == ATTEMPTS_MAX:
                        raise
        if load is not None:
            reach("before-answer")
            self._listener(LoadEnded(str(name), load.mode, load.added_rows, size_of(uploads)))
        return given

    def _into(
        self,
        cursor: Connection,
        name: TableName,
        files: Sequence[Laid],
        options: LoadOptions,
        content: str,
        key: str | None,
        taken: Taken | None,
    ) -> "tuple[bytes, Loading | None]":
        """Load the files into the table as it is now; no `Loading` when its rows are there."""
        check_key_columns(options.mode, options.key)
        if options.evolve and options.key:
            raise InvalidLoadError(
                "evolve=true goes with mode=create, append and overwrite; change the columns first "
                f"(POST /v1/tables/{name}/schema), then upsert"
            )
        current = self._catalog.find(name)
        mode = chosen_mode(options.mode, current)
        if key is None and current and current.summary.get(CONTENT) == content:
            return msgspec.json.encode(self.answer_existing(current, taken)), None
        table = current if current and current.columns else None
        columns = table.columns if table else ()
        loading = Loading(self._catalog, cursor, name, mode, options, content, key, columns, taken)
        with in_our_words():
            source = self._open(cursor, files, options, table)
            return loading.run(source, is_new=table is None), loading

    def _dry_run(
        self, cursor: Connection, *, uploads: Sequence[Upload], options: LoadOptions
    ) -> DryRun:
        name = check_table_name(options.namespace, options.name)
        current = self._catalog.find(name)
        table = current if current and current.columns else None
        with ExitStack() as stack, in_our_words():
            files = self._readable(stack, cursor, uploads, options)
            source = self._open(cursor, files, options, None)
            sql = f"SELECT * FROM ({source.good_rows().sql}) LIMIT {SAMPLE_ROWS_SHOWN}"
            with whole_file():
                sample = rows_of(cursor, sql)
        return DryRun(
            name=name.name,
            namespace=name.namespace,
            exists=current is not None,
            columns=list(source.columns),
            schema_fingerprint=fingerprint(source.columns),
            differences=differences(source.columns, table.columns) if table else [],
            sample=[{key: plain(value) for key, value in row.items()} for row in sample],
        )

    def _readable(
        self,
        stack: ExitStack,
        cursor: Connection,
        uploads: Sequence[Upload],
        options: LoadOptions,
    ) -> list[Laid]:
        """Return the files as DuckDB can read them, those of a zip one by one."""

        def new_path() -> Path:
            return stack.enter_context(new_file(self.spool))

        files: list[Upload] = []
        for upload in uploads:
            with naming(upload.label):
                files += self._inside(upload, new_path, options)
        if len(files) > FILES_MAX:
            raise InvalidLoadError(f"there are {len(files)} files; {FILES_MAX} are the most")
        return [self._laid(cursor, each, new_path, options) for each in files]

    def _inside(
        self, upload: Upload, new_path: Callable[[], Path], options: LoadOptions
    ) -> Sequence[Upload]:
        if not is_zip(upload):
            return [upload]
        if is_workbook(upload):
            return [replace(upload, is_workbook=True)]
        return entries_of(upload, new_path, options.format, self.limits)

    def _laid(
        self, cursor: Connection, upload: Upload, new_path: Callable[[], Path], options: LoadOptions
    ) -> Laid:
        with naming(upload.label):
            file = readable(
                upload,
                new_path(),
                new_path(),
                declared=options.format,
                encoding=options.encoding,
                limits=self.limits,
            )
            if file.format != "xlsx" and (options.sheet or options.header_row):
                raise InvalidLoadError("sheet and header_row are of workbooks (.xlsx)")
            file = converted(
                cursor,
                file,
                new_path(),
                limits=self.limits,
                element_max_bytes=self.config.line_max_bytes,
                taster=self._taster,
                sheet=options.sheet,
                header_row=options.header_row,
            )
        return Laid(file, new_path(), upload.label)

    def _open(
        self,
        cursor: Connection,
        files: Sequence[Laid],
        options: LoadOptions,
        table: TableState | None,
    ) -> Source:
        reading = ReadOptions(
            limits=Limits(
                sample_rows=self.config.sample_rows,
                columns_max=self.config.columns_max,
                line_max_bytes=self.config.line_max_bytes,
                bad_rows_max=self.config.bad_rows_reported_max,
            ),
            delimiter=options.delimiter,
            widths=options.widths,
            types=options.types,
            date_format=options.date_format,
            table=table.columns if table else None,
            table_name=str(table.name) if table else "",
            some_columns=options.mode == "delete",
            evolve=options.evolve,
            by_key=options.mode in MERGES,
            may_be_empty=options.mode is not None and table is not None,
        )
        parts = []
        for each in files:
            with naming(each.label):
                parts.append(Part(each.label or "", self._open_one(cursor, each, reading)))
        source = parts[0].source if files[0].label is None else together(parts, reading)
        strange = options.types.keys() - {column.name for column in source.columns}
        if strange:
            raise InvalidLoadError(f"types names the column {min(strange)!r}, which is not there")
        return source

    def _open_one(self, cursor: Connection, laid: Laid, reading: ReadOptions) -> Source:
        file, reading = laid.file, replace(reading, unit=laid.file.unit)
        if reading.widths and file.format == "csv":
            return open_fixed_width(cursor, file.path, reading)
        if file.format == "parquet":
            return open_parquet(cursor, file.path, reading, self._taster)
        if file.format == "ndjson":
            return open_ndjson(cursor, file, laid.spare, reading)
        return open_csv(cursor, file.path, reading, tabs=file.format == "tsv")

    def answer_existing(self, table: TableState, taken: Taken | None = None) -> IngestAnswer:
        """Return the answer of a load that had nothing to do."""
        return IngestAnswer(
            dataset_id=dataset_id_of(table.name),
            name=table.name.name,
            namespace=table.name.namespace,
            existing=True,
            row_count=table.row_count,
            added_rows=0,
            updated_rows=0,
            deleted_rows=0,
            schema_fingerprint=known_fingerprint(table),
            objects=[],
            snapshot_id=table.snapshot_id,
            columns=list(table.columns),
            rejected=NONE_REJECTED,
            source=taken.report if taken else msgspec.UNSET,
        )


def identity(files: Sequence[Readable], options: LoadOptions) -> str:
    """Return what identifies a load: the content, and how it was to be read."""
    if len(files) == 1:
        said = msgspec.json.encode((files[0].format, options))
        return f"{files[0].sha256}-{hashlib.sha256(said).hexdigest()[:16]}"
    said = msgspec.json.encode(([file.format for file in files], options))
    content = hashlib.sha256("".join(file.sha256 for file in files).encode())
    return f"{content.hexdigest()}-{hashlib.sha256(said).hexdigest()[:16]}"


def size_of(uploads: Sequence[Upload]) -> int:
    return sum(upload.size_bytes for upload in uploads)


def tell_progress(job: JobHandle, session: Session, size_bytes: int) -> None:
    """Tell how much of the file the engine has read; a second pass does not take it back."""
    share, told = session.share_done(), job.told
    if share is not None and told.phase == LOADING:
        job.progress(max(told.done or 0, int(size_bytes * share)))


def rows_of(cursor: Connection, sql: str) -> list[dict[str, object]]:
    """Return the rows of a SELECT; as text when Python has no value for one (a year of 10000)."""
    try:
        return cursor.execute(sql).to_arrow_table(ARROW_ROWS).to_pylist()
    except (OverflowError, ValueError):
        as_text = cursor.execute(f"SELECT COLUMNS(*)::VARCHAR FROM ({sql})")
        return as_text.to_arrow_table(ARROW_ROWS).to_pylist()


def plain(value: object) -> object:
    """Return a value as JSON can say it, in the forms of SQL answers."""
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list) else value
