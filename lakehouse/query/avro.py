"""Results as Avro object container files: the engine writes batches, and they become one file."""

import re
import secrets
from pathlib import Path

import pyarrow as pa

from lakehouse.database import Connection, beside, literal
from lakehouse.query.formats import unique
from lakehouse.query.run_errors import ENGINE_ERRORS, UnencodableResultError, kind_of
from lakehouse.query.running import translated

BATCH_ROWS = 65_536
BATCH_BYTES = 8 * 1024 * 1024
SYNC_BYTES = 16
WHOLE_NUMBERS: dict[pa.DataType, pa.DataType] = {
    **dict.fromkeys((pa.int8(), pa.int16(), pa.uint8(), pa.uint16()), pa.int32()),
    pa.uint32(): pa.int64(),
}
"""For those that Avro has not."""
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Avro:
    """Avro, not compressed. `BATCH_ROWS` or `BATCH_BYTES` are held in memory, and lie on the disk.

    Every file of the engine has the same head, but for the mark that ends it and each block, and by
    which readers find those. All blocks get the mark of the first file.

    Args:
        cursor: of the engine that writes, at another cursor of its own.
        folder: that it may write in.

    Raises:
        UnencodableResultError: a name or a type is none that Avro has.
    """

    def __init__(self, schema: pa.Schema, cursor: Connection, folder: Path) -> None:
        names = unique(schema.names)
        fields = zip(names, schema.types, strict=True)
        self._schema = pa.schema([(name, as_in_avro(type_)) for name, type_ in fields])
        for name in names:
            if not NAME.fullmatch(name):
                raise unnamed(name)
        self._engine = beside(cursor)
        self._path = folder / f"avro-{secrets.token_hex(12)}"
        self._waiting: list[pa.RecordBatch] = []
        self._head = self._written(self._schema.empty_table())
        self._mark = self._head[-SYNC_BYTES:]

    def head(self) -> bytes:
        return self._head

    def batch(self, batch: pa.RecordBatch) -> bytes:
        self._waiting.append(batch.rename_columns(self._schema.names))
        size = sum(batch.nbytes for batch in self._waiting)
        rows = sum(batch.num_rows for batch in self._waiting)
        return self._blocks() if size >= BATCH_BYTES or rows >= BATCH_ROWS else b""

    def tail(self) -> bytes:
        blocks = self._blocks() if self._waiting else b""
        self._engine.close()
        return blocks

    def _blocks(self) -> bytes:
        table = pa.Table.from_batches(self._waiting).cast(self._schema)
        self._waiting = []
        data = self._written(table.combine_chunks())
        mark = data[-SYNC_BYTES:]  # at the end of all, and first at that of the head
        return data[data.index(mark) + SYNC_BYTES :].replace(mark, self._mark)

    def _written(self, table: pa.Table) -> bytes:
        self._engine.register("batch", table)
        try:
            self._engine.execute(f"COPY batch TO {literal(str(self._path))} (FORMAT avro)")
            return self._path.read_bytes()
        except ENGINE_ERRORS as error:
            if kind_of(error) == "invalid input":  # the columns were looked at before
                raise unnamed("a field of a struct") from error
            if kind_of(error) == "not implemented":
                raise UnencodableResultError("avro", str(error).partition(": ")[2]) from error
            raise translated(error) from error
        finally:
            self._engine.unregister("batch")
            self._path.unlink(missing_ok=True)


def as_in_avro(type_: pa.DataType) -> pa.DataType:
    """Return the type that holds all values of another, and that Avro has."""
    if pa.types.is_timestamp(type_) and type_.unit in ("s", "ms"):
        return pa.timestamp("us", type_.tz)
    if pa.types.is_map(type_):
        return pa.map_(as_in_avro(type_.key_type), as_in_avro(type_.item_type))
    if pa.types.is_struct(type_):
        return pa.struct([(field.name, as_in_avro(field.type)) for field in type_.fields])
    if pa.types.is_list(type_) or pa.types.is_fixed_size_list(type_):
        return pa.list_(as_in_avro(type_.value_type))
    return WHOLE_NUMBERS.get(type_, type_)


def unnamed(what: str) -> UnencodableResultError:
    reason = f"{what[:80]!r} is no name there, which has letters, digits and `_`: call it otherwise"
    return UnencodableResultError("avro", reason)
