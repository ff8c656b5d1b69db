"""One statement on a worker thread: run it, and hand its result out in batches of bounded size."""

import errno
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Event
from typing import Any, Protocol

import pyarrow as pa

from lakehouse.database import Connection, is_of_remote, quoted
from lakehouse.query.models import ResultColumn
from lakehouse.query.run_errors import (
    CALLERS_FAULT,
    ENGINE_ERRORS,
    EngineDownError,
    InterruptedStatementError,
    MemoryPressureError,
    NoTextError,
    SpillFullError,
    StatementFailedError,
    TableUnreadableError,
    clean_message,
    kind_of,
)
from lakehouse.storage import engine_failed

log = logging.getLogger(__name__)

SPILL_LIMIT = "max_temp_directory_size"
"""What the engine names when the disk, not the memory, is what was too small."""
ARROW_TOO_DEEP = "Recursion level in ArrowSchema"
DISK_FULL = os.strerror(errno.ENOSPC)

BATCH_ROWS = 8_192
BATCH_BYTES = 4 * 1024 * 1024
# The engine counts rows, not bytes: with texts of 1 MB each a batch of 8,192 would take 8 GB.
VARIABLE_BATCH_ROWS = 256

# Arrow has no type for these, or one that loses something (UHUGEINT above 2^127 becomes
# negative, TIMETZ loses its zone): they leave as text.
WITHOUT_ARROW = frozenset({"uhugeint", "time with time zone", "bit", "bignum", "geometry"})
WITHOUT_PARQUET = WITHOUT_ARROW | {"interval", "union", "enum"}
WITHOUT_AVRO = WITHOUT_PARQUET | {"time_ns", "ubigint", '"null"'}
WITHOUT_ORC = WITHOUT_PARQUET | {"time", "time_ns", "ubigint", '"null"'}

FIXED_WIDTH = frozenset(
    (
        *("boolean", "tinyint", "smallint", "integer", "bigint", "hugeint"),
        *("utinyint", "usmallint", "uinteger", "ubigint", "float", "double", "decimal", "uuid"),
        *("date", "time", "time_ns", "timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns"),
        *("timestamp with time zone", "interval"),
    )
)

Parameters = Sequence[Any] | Mapping[str, Any] | None


class PinnedTable(Protocol):
    @property
    def table(self) -> object: ...
    @property
    def relation(self) -> str: ...


class Runnable(Protocol):
    """What the gate lets through."""

    @property
    def sql(self) -> str: ...
    @property
    def tables(self) -> Sequence[PinnedTable]: ...


@dataclass(frozen=True, slots=True)
class Result:
    columns: tuple[ResultColumn, ...]
    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    """About `BATCH_ROWS` rows or `BATCH_BYTES` each, never empty. Raises what `run` raises."""


def run(
    cursor: Connection,
    statement: Runnable,
    parameters: Parameters,
    stop: Event,
    *,
    lost: frozenset[str] = WITHOUT_ARROW,
) -> Result:
    """Start `statement`; the engine computes as the batches are read.

    Raises:
        StatementFailedError: the statement or a value it met is wrong.
        MemoryPressureError, EngineDownError, TableUnreadableError: it is not the caller's fault.
        InterruptedStatementError: somebody set `stop` or interrupted the cursor.
    """
    try:
        check(stop)
        cursor.execute(statement.sql, parameters)
        columns = tuple(ResultColumn(d[0], str(d[1])) for d in cursor.description or ())
        types = [d[1] for d in cursor.description or ()]
        if any(loses(type_, lost) for type_ in types):
            # Rare enough (a cast in the statement: no table has them) to start it twice.
            check(stop)
            cursor.execute(as_text(statement.sql, types, lost), parameters)
        variable = any(type_.id not in FIXED_WIDTH for type_ in types)
        reader = cursor.to_arrow_reader(VARIABLE_BATCH_ROWS if variable else BATCH_ROWS)
        schema = renamed(reader.schema, columns)
    except ENGINE_ERRORS as error:
        raise translated(error, statement.tables) from error
    return Result(columns, schema, gathered(read(reader, statement, schema, stop)))


def read(
    reader: pa.RecordBatchReader, statement: Runnable, schema: pa.Schema, stop: Event
) -> Iterator[pa.RecordBatch]:
    while True:
        try:
            check(stop)
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except ENGINE_ERRORS as error:
            raise translated(error, statement.tables) from error
        if batch.schema.names != schema.names:  # they ran under names of ours, as text
            batch = pa.RecordBatch.from_arrays(batch.columns, schema=schema)
        yield batch


def gathered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join small batches: encoding costs as much for 256 rows as for 2,000."""
    waiting: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        if batch.num_rows:
            waiting.append(batch)
            rows, size = rows + batch.num_rows, size + batch.get_total_buffer_size()
        if rows >= BATCH_ROWS or size >= BATCH_BYTES:
            yield one(waiting)
            waiting, rows, size = [], 0, 0
    if waiting:
        yield one(waiting)


def one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(batches) == 1:
        return batches[0]
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def renamed(schema: pa.Schema, columns: Sequence[ResultColumn]) -> pa.Schema:
    pairs = zip(schema, columns, strict=True)
    return pa.schema([field.with_name(column.name) for field, column in pairs])


def check(stop: Event) -> None:
    if stop.is_set():  # an interrupt between two calls of the engine is lost
        raise InterruptedStatementError


def loses(type_: Any, lost: frozenset[str]) -> bool:
    """Whether `type_`, a DuckDBPyType, holds one of the types named in `lost`, however deep."""
    if type_.id in lost or type_.id == "variant":
        return True
    return any(loses(child, lost) for _, child in members(type_))


def members(type_: Any) -> list[tuple[str, Any]]:
    if type_.id not in {"list", "array", "struct", "map", "union"}:
        return []
    tag_or_size = {"size"} if type_.id == "array" else {""} if type_.id == "union" else set()
    return [(name, child) for name, child in type_.children if name not in tag_or_size]


def as_text(sql: str, types: Sequence[Any], lost: frozenset[str]) -> str:
    """Return the statement with every type in `lost` cast to text."""
    names = [f"c{number}" for number in range(len(types))]
    casts = [
        # A VARIANT that is NULL would become the JSON text `null`.
        f"CASE WHEN {name} IS NOT NULL THEN CAST({name} AS {kept_type(type_, lost)}) END"
        if type_.id == "variant"
        else f"CAST({name} AS {kept_type(type_, lost)})"
        if loses(type_, lost)
        else name
        for name, type_ in zip(names, types, strict=True)
    ]
    return f"SELECT {', '.join(casts)} FROM ({sql.rstrip().rstrip(';')}) AS r({', '.join(names)})"


def kept_type(type_: Any, lost: frozenset[str]) -> str:
    kind = type_.id
    if kind == "variant":
        return "JSON"
    if kind in lost:
        return "VARCHAR"
    inner = [(name, kept_type(child, lost)) for name, child in members(type_)]
    if kind == "list":
        return f"{inner[0][1]}[]"
    if kind == "array":
        return f"{inner[0][1]}[{dict(type_.children)['size']}]"
    if kind == "map":
        return f"MAP({inner[0][1]}, {inner[1][1]})"
    if kind in {"struct", "union"}:
        if not all(name for name, _ in inner):
            return "VARCHAR"  # no cast can name the type of `row(1, 2)`
        return f"{kind}({', '.join(f'{quoted(name)} {inside}' for name, inside in inner)})"
    return str(type_)


def translated(error: BaseException, tables: Sequence[PinnedTable] = ()) -> BaseException:
    """Return what `error`, raised by the engine over `tables`, means for the caller."""
    if isinstance(error, UnicodeDecodeError):
        return NoTextError()
    kind = kind_of(error)
    if kind == "interrupt":
        return InterruptedStatementError()
    if SPILL_LIMIT in str(error) or (kind == "io" and DISK_FULL in str(error)):
        return SpillFullError()
    if kind == "out of memory":
        return MemoryPressureError()
    if ARROW_TOO_DEEP in str(error):
        return StatementFailedError(
            "a column of the answer is nested more than 60 deep: cast it to JSON"
        )
    if kind in ("fatal", "internal"):  # after either the engine refuses every statement
        log.critical("the engine has failed", exc_info=error)
        return EngineDownError()
    if is_of_remote(error):
        log.error("the object store failed", exc_info=error)
        return engine_failed(error, "a file of a table could not be read")
    if kind in ("io", "http"):
        log.error("a table could not be read", exc_info=error)
        return TableUnreadableError([str(pinned.table) for pinned in tables])
    if kind in CALLERS_FAULT:
        names = {pinned.relation: str(pinned.table) for pinned in tables}
        return StatementFailedError(clean_message(str(error), names))
    return error  # a bug: logged whole, told to nobody
