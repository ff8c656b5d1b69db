"""Results as streams of bytes, a batch at a time: all forms but Avro, which the engine writes."""

import io
from collections.abc import Iterator, Sequence
from decimal import Context, Decimal
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute
import pyarrow.orc
import pyarrow.parquet as pq

from lakehouse.query import encoding
from lakehouse.query.run_errors import TooManyDigitsError

pc: Any = pyarrow.compute  # its stubs know half of what is called here

ROW_GROUP_BYTES = 32 * 1024 * 1024
ROW_GROUP_ROWS_MAX = 122_880
DIGITS_MAX = 38
EXACT = Context(prec=DIGITS_MAX)
SIGNED: dict[pa.DataType, pa.DataType] = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
}
"""For the unsigned numbers, which ORC has not."""


class Encoder(Protocol):
    """Turns batches of one schema into bytes. `head`, then `batch` for each, then `tail`."""

    def head(self) -> bytes: ...
    def batch(self, batch: pa.RecordBatch) -> bytes: ...
    def tail(self) -> bytes: ...


class Ndjson:
    """One object a line. The second column of one name becomes `name_1`."""

    def __init__(self, schema: pa.Schema) -> None:
        self._names = unique(schema.names)

    def head(self) -> bytes:
        return b""

    def batch(self, batch: pa.RecordBatch) -> bytes:
        return encoding.content(encoding.ndjson_rows(batch, self._names, "\n"))

    def tail(self) -> bytes:
        return b""


class JsonArray(Ndjson):
    """An array of the objects that NDJSON has, one a line."""

    def __init__(self, schema: pa.Schema) -> None:
        super().__init__(schema)
        self._before = "["

    def batch(self, batch: pa.RecordBatch) -> bytes:
        if not batch.num_rows:
            return b""
        before, self._before = self._before, ",\n"
        rows = encoding.ndjson_rows(batch, self._names, ",\n")
        return before.encode() + encoding.content(rows, but_last=len(",\n"))

    def tail(self) -> bytes:
        return b"[]\n" if self._before == "[" else b"]\n"


class Csv:
    """RFC 4180 with a header line; NULL is an empty field, an empty string is `""`."""

    def __init__(self, schema: pa.Schema) -> None:
        self._names = schema.names

    def head(self) -> bytes:
        fields = encoding.csv_field(pa.array(self._names, pa.string()))
        return ",".join(fields.to_pylist()).encode() + b"\r\n"

    def batch(self, batch: pa.RecordBatch) -> bytes:
        return encoding.content(encoding.csv_rows(batch))

    def tail(self) -> bytes:
        return b""


class Drain(io.RawIOBase):
    """A file that is written to and emptied in turns."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._position += len(part)
        return len(part)

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


class ArrowStream:
    """Arrow IPC streaming format, not compressed: what the engine hands out, as it is."""

    def __init__(self, schema: pa.Schema) -> None:
        self._drain = Drain()
        self._writer = pa.ipc.new_stream(self._drain, schema)

    def head(self) -> bytes:
        return self._drain.take()

    def batch(self, batch: pa.RecordBatch) -> bytes:
        self._writer.write_batch(batch)
        return self._drain.take()

    def tail(self) -> bytes:
        self._writer.close()
        return self._drain.take()


class Parquet:
    """Parquet, zstd, in row groups of at most `ROW_GROUP_BYTES`: those are held in memory."""

    def __init__(self, schema: pa.Schema) -> None:
        self._drain = Drain()
        names = unique(schema.names)  # readers do not take a name twice
        self._schema = pa.schema([f.with_name(n) for f, n in zip(schema, names, strict=True)])
        sink = pa.PythonFile(self._drain, mode="w")
        self._writer = pq.ParquetWriter(sink, self._schema, compression="zstd")
        self._waiting: list[pa.RecordBatch] = []

    def head(self) -> bytes:
        return self._drain.take()

    def batch(self, batch: pa.RecordBatch) -> bytes:
        self._waiting.append(batch.rename_columns(self._schema.names))
        size = sum(batch.nbytes for batch in self._waiting)
        rows = sum(batch.num_rows for batch in self._waiting)
        if size >= ROW_GROUP_BYTES or rows >= ROW_GROUP_ROWS_MAX:
            self._flush()
        return self._drain.take()

    def tail(self) -> bytes:
        self._flush()
        self._writer.close()
        return self._drain.take()

    def _flush(self) -> None:
        if self._waiting:
            table = pa.Table.from_batches(self._waiting, self._schema)
            self._waiting = []
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))


class Orc:
    """ORC, zstd, in stripes of `ROW_GROUP_BYTES`: one is held in memory."""

    def __init__(self, schema: pa.Schema) -> None:
        self._drain = Drain()
        names = unique(schema.names)
        fields = zip(schema.types, names, strict=True)
        self._schema = pa.schema([(name, SIGNED.get(type_, type_)) for type_, name in fields])
        sink = pa.PythonFile(self._drain, mode="w")
        self._writer = pyarrow.orc.ORCWriter(sink, compression="ZSTD", stripe_size=ROW_GROUP_BYTES)
        self._writer.write(self._schema.empty_table())  # raises for a type that ORC has not

    def head(self) -> bytes:
        return self._drain.take()

    def batch(self, batch: pa.RecordBatch) -> bytes:
        table = pa.Table.from_batches([batch]).rename_columns(self._schema.names)
        self._writer.write(table.cast(self._schema))
        return self._drain.take()

    def tail(self) -> bytes:
        self._writer.close()
        return self._drain.take()


def within_38_digits(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, format_name: str
) -> Iterator[pa.RecordBatch]:
    """Yield `batches` as they are. Cost: about 5 ns for each value of a decimal of 38 digits.

    What the engine hands out as such a decimal is any number of 128 bits, and whoever reads it
    from a file shows it, refuses it or makes another of it.

    Raises:
        TooManyDigitsError: a number has more digits than its column.
    """
    named = list(zip(schema.names, schema.types, strict=True))
    looked_at = [number for number, (_, type_) in enumerate(named) if has_38_digits(type_)]
    for batch in batches:
        for number in looked_at:
            if any(map(is_longer, decimals(batch.column(number)))):
                raise TooManyDigitsError(schema.names[number], format_name)
        yield batch


def has_38_digits(type_: pa.DataType) -> bool:
    if pa.types.is_decimal128(type_):
        return bool(type_.precision == DIGITS_MAX)
    return any(has_38_digits(type_.field(number).type) for number in range(type_.num_fields))


def decimals(values: Any) -> Iterator[Any]:
    """Yield the arrays of decimals that an array is made of, however deep."""
    if pa.types.is_decimal128(values.type):
        yield values
    elif pa.types.is_struct(values.type):
        for child in values.flatten():
            yield from decimals(child)
    elif pa.types.is_map(values.type):
        yield from decimals(values.keys)
        yield from decimals(values.items)
    elif pa.types.is_union(values.type):
        for number in range(values.type.num_fields):
            yield from decimals(values.field(number))
    elif values.type.num_fields:  # the kinds of lists
        yield from decimals(values.flatten())


def is_longer(values: Any) -> bool:
    # Not by `validate`, to which -2^127, having no opposite, fits.
    most = Decimal(10**DIGITS_MAX - 1).scaleb(-values.type.scale, EXACT)
    ends = pc.min_max(values)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    return low is not None and (low < most.copy_negate() or high > most)


def unique(names: Sequence[str]) -> list[str]:
    """Return `names` with the second `a` as `a_1`, as DuckDB does for a table of the result."""
    seen = set(names)
    used: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 0
        while candidate in used or (number and candidate in seen):
            number += 1
            candidate = f"{name}_{number}"
        used.add(candidate)
        result.append(candidate)
    return result
