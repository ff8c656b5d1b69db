"""Parquet: its footer says the types; it is looked at before DuckDB sees the file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.catalog import (
    Column,
    Rows,
    UnsupportedTypeError,
    check_column_names,
    duckdb_type,
    folded,
    iceberg_type,
)
from lakehouse.database import Connection, EngineError, interruptible, literal, quoted
from lakehouse.errors import LakehouseError
from lakehouse.ingest.columns import matched
from lakehouse.ingest.errors import InvalidFileError
from lakehouse.ingest.forms import contradiction, select
from lakehouse.ingest.models import BadRow
from lakehouse.ingest.source import ReadOptions, path_literal, shown
from lakehouse.taster import Taster

NESTING_MAX = 16
TIMES = ("date", "timestamp", "timestamptz")
NANOSECONDS = "finer than microseconds, which is the finest that Iceberg holds"


@dataclass(frozen=True, slots=True)
class ParquetColumn:
    column: Column
    name: str
    """As the file has it."""
    read_as: str
    """The type that DuckDB reads it as."""
    natural: str | None
    """The Iceberg type that holds it without a loss; None when there is none."""
    sound: str | None
    """SQL that is true where the value is one of the file's own type; None where all are."""

    def value(self) -> str:
        return f"TRY_CAST({quoted(self.name)} AS {duckdb_type(self.column.type)})"

    def fits(self) -> str:
        """Return SQL that is true where the value is NULL or kept by the column's type."""
        raw = quoted(self.name)
        if self.read_as == "TIMESTAMP_NS":
            test = f"isfinite({raw}) AND epoch_ns({raw}) % 1000 = 0"
        elif self.column.type in TIMES and self.natural == self.column.type:
            test = f"isfinite({raw})"
        elif self.natural == self.column.type:
            test = f"{self.value()} IS NOT NULL"
        else:  # another type than its own: only what comes back the same was kept
            test = f"CAST({self.value()} AS {self.read_as}) IS NOT DISTINCT FROM {raw}"
        if self.sound is not None:  # CASE alone looks at no other value
            test = f"CASE WHEN {self.sound} THEN {test} END"
        return f"({raw} IS NULL OR coalesce({test}, false))"

    def always_fits(self) -> bool:
        """Whether no value can be lost: then none is looked at."""
        kept = self.natural == self.column.type and self.column.type not in TIMES
        return kept and "HUGEINT" not in self.read_as and self.sound is None

    def shown(self) -> str:
        """Return SQL of the beginning of the value as text; NULL where it has none."""
        text = f"left(CAST({quoted(self.name)} AS VARCHAR), 80)"
        return text if self.sound is None else f"CASE WHEN {self.sound} THEN {text} END"

    def checked(self) -> str:
        if self.always_fits():
            return quoted(self.name)
        message = literal(contradiction(self.column))
        return f"CASE WHEN {self.fits()} THEN {self.value()} ELSE error({message}) END"


@dataclass(frozen=True, slots=True)
class ParquetSource:
    path: Path
    parts: tuple[ParquetColumn, ...]
    options: ReadOptions

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(part.column for part in self.parts)

    def rows(self) -> Rows:
        checked = {part.column.name: part.checked() for part in self.parts}
        return Rows(
            f"{select(checked)} FROM {self._reader()}",
            self.columns,
            read_for=self.options.table or (),
        )

    def good_rows(self) -> Rows:
        values = {part.column.name: part.value() for part in self.parts}
        return Rows(
            f"{select(values)} FROM {self._reader()} WHERE {self._fits()}",
            self.columns,
            read_for=self.options.table or (),
        )

    def widened(self, cursor: Connection, keep: set[str]) -> "ParquetSource":
        """Nothing is text here that could be a number: what does not fit is an error."""
        return self

    def typed(self, types: Mapping[str, str]) -> "ParquetSource":
        parts = tuple(
            replace(part, column=Column(part.column.name, types[part.column.name]))
            if part.column.name in types
            else part
            for part in self.parts
        )
        return replace(self, parts=parts)

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        bad = f"FROM {self._reader()} WHERE NOT {self._fits()}"
        counted = cursor.execute(f"SELECT count(*) {bad}").fetchone()
        parts = [part for part in self.parts if not part.always_fits()]
        values = ", ".join(f"{part.shown()}, {part.fits()}" for part in parts)
        if not counted or not counted[0]:
            return 0, []
        found = cursor.execute(
            f"SELECT {values} {bad} LIMIT {self.options.limits.bad_rows_max}"
        ).fetchall()
        rows = []
        for cells in found:
            pairs = zip(parts, cells[::2], cells[1::2], strict=True)
            part, value = next((part, value) for part, value, is_good in pairs if not is_good)
            reason = f"{shown(value)} does not fit into {part.column.type}"
            if value is None:
                reason = "it is beyond what its type can hold: the file is damaged"
            elif part.read_as == "TIMESTAMP_NS":
                reason = f"{shown(value)} is {NANOSECONDS}"
            rows.append(BadRow(None, part.column.name, reason))
        return int(counted[0]), rows

    def _fits(self) -> str:
        tests = [part.fits() for part in self.parts if not part.always_fits()]
        return f"({' AND '.join(tests) or 'true'})"

    def _reader(self) -> str:
        return f"read_parquet({path_literal(self.path)})"


def open_parquet(
    cursor: Connection, path: Path, options: ReadOptions, taster: Taster
) -> ParquetSource:
    """Return the file with the types of its footer, once another process has read all of it.

    Raises:
        InvalidFileError: the footer is damaged or encrypted, or names that no table can have.
        PoisonedFileError, FileMemoryError, FileTimeError: it cannot be read, or not like that.
        UnsupportedTypeError: a type that Iceberg cannot hold.
        SchemaDriftError: the table has other columns.
    """
    try:
        metadata = pq.read_metadata(path)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InvalidFileError(f"the Parquet footer cannot be read: {reason}") from error
    if metadata.num_rows == 0 and not options.may_be_empty:
        raise InvalidFileError("the file has no rows")
    names = check_names(schema.names, options)
    for field in schema:
        check_type(field.type, field.name)
    taster.taste(path, interruptible)
    try:
        described = cursor.execute(
            f"DESCRIBE SELECT * FROM read_parquet({path_literal(path)})"
        ).fetchall()
    except EngineError as error:
        raise InvalidFileError("the Parquet file is damaged: its schema cannot be read") from error
    found = [row[1] for row in described]
    known = {folded(column.name) for column in options.table or ()}
    file = []
    for name, read_as, arrow in zip(names, found, schema.types, strict=True):
        # One that the table has gets its type, also where the file's own is none of Iceberg's.
        own = "string" if pa.types.is_null(arrow) or folded(name) in known else None
        file.append(Column(name, options.types.get(name) or own or iceberg_type(read_as, name)))
    parts = tuple(
        ParquetColumn(
            column, name, read_as, natural_type(read_as, name), sound(quoted(name), arrow)
        )
        for column, name, read_as, arrow in zip(
            matched(file, options), names, found, schema.types, strict=True
        )
    )
    check_zoned_nanoseconds(path, schema)
    return ParquetSource(path, parts, options)


def natural_type(read_as: str, name: str) -> str | None:
    try:
        return iceberg_type(read_as, name)
    except UnsupportedTypeError:
        return None


def check_names(names: Sequence[str], options: ReadOptions) -> Sequence[str]:
    if len(names) > options.limits.columns_max:
        raise InvalidFileError(
            f"the file has {len(names)} columns; {options.limits.columns_max} are the most"
        )
    try:
        check_column_names(names)
    except LakehouseError as error:
        raise InvalidFileError(f"the file's columns: {error.detail}") from error
    return names


def check_type(type_: pa.DataType, column: str, depth: int = 0) -> None:
    """Refuse what DuckDB would read as something else.

    It makes a double of a wide decimal, and a number without a unit of a duration; and it takes
    twice as long for each list in a list.
    """
    if isinstance(type_, pa.Decimal256Type):
        raise UnsupportedTypeError(
            str(type_), "a decimal of more than 38 digits; make it a string", column
        )
    if isinstance(type_, pa.DurationType):
        reason = "Iceberg has no durations; make it a number of seconds, or a string"
        raise UnsupportedTypeError(str(type_), reason, column)
    if depth > NESTING_MAX:
        reason = f"it is nested more than {NESTING_MAX} deep; make it a string"
        raise UnsupportedTypeError(str(type_), reason, column)
    for number in range(type_.num_fields):
        check_type(type_.field(number).type, column, depth + 1)


def sound(x: str, type_: pa.DataType, depth: int = 0) -> str | None:
    """Return SQL that is true where `x` is a value of its type; None where all of them are.

    A file may say of a time that it is 300 hours, and of a decimal that it has more digits than
    its type: the engine reads both, and breaks when it prints them. `TRY` hides the value from the
    optimizer, which believes the bounds in the footer and would leave the test out.
    """
    if pa.types.is_time(type_):
        return f"(TRY({x}) >= TIME '00:00:00' AND TRY({x}) < TIME '24:00:00')"
    if pa.types.is_decimal(type_):
        most = "9" * (type_.precision - type_.scale) + "." + "9" * type_.scale
        sql = f"CAST('{most}' AS DECIMAL({type_.precision}, {type_.scale}))"
        return f"(TRY({x}) <= {sql} AND TRY({x}) >= -{sql})"
    if depth and pa.types.is_temporal(type_):  # of a column of its own `fits` asks that
        return f"isfinite({x})"
    if pa.types.is_map(type_):
        lists = ((f"map_keys({x})", type_.key_type), (f"map_values({x})", type_.item_type))
        inner = [each_sound(items, kind, depth) for items, kind in lists]
    elif pa.types.is_struct(type_):
        fields = [type_.field(number) for number in range(type_.num_fields)]
        values = ((f"struct_extract({x}, {literal(each.name)})", each.type) for each in fields)
        inner = [or_null(value, sound(value, kind, depth + 1)) for value, kind in values]
    elif pa.types.is_list(type_) or pa.types.is_large_list(type_):
        inner = [each_sound(x, type_.value_type, depth)]
    else:
        return None
    tests = [test for test in inner if test is not None]
    return f"({' AND '.join(tests)})" if tests else None


def or_null(x: str, test: str | None) -> str | None:
    return test and f"({x} IS NULL OR {test})"


def each_sound(items: str, type_: pa.DataType, depth: int) -> str | None:
    item = f"e{depth}"
    test = or_null(item, sound(item, type_, depth + 1))
    each = f"list_bool_and(list_transform({items}, lambda {item}: {test}))"
    return test and f"coalesce({each}, true)"


def check_zoned_nanoseconds(path: Path, schema: pa.Schema) -> None:
    """Refuse what would be cut: DuckDB reads nanoseconds with a zone as microseconds."""
    fine = [f for f in schema if isinstance(f.type, pa.TimestampType) and f.type.unit == "ns"]
    zoned = [field for field in fine if field.type.tz is not None and "." not in field.name]
    for field in zoned:
        try:
            for batch in pq.ParquetFile(path).iter_batches(columns=[field.name]):
                batch.column(0).cast(pa.timestamp("us", field.type.tz), safe=True)
        except pa.ArrowInvalid as error:
            raise InvalidFileError(f"column {field.name!r} is {NANOSECONDS}") from error
