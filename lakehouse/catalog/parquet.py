"""What a Parquet file that we did not write holds, read from its footer without DuckDB.

Such a file becomes part of a table as it is, so its columns must be stored exactly as Iceberg
stores them: what would need a cast is refused, and can be ingested instead.
Source: https://iceberg.apache.org/spec/#parquet
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.catalog.errors import UnsupportedTypeError
from lakehouse.catalog.models import Column
from lakehouse.catalog.types import field_name
from lakehouse.errors import InvalidInputError

EXACT = {
    pa.bool_(): "boolean",
    pa.int32(): "int",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.date32(): "date",
    pa.time64("us"): "time",
    pa.timestamp("us"): "timestamp",
    pa.string(): "string",
    pa.large_string(): "string",
    pa.binary(): "binary",
    pa.large_binary(): "binary",
}
FIELD_ID = b"PARQUET:field_id"
INGEST = "stored as it is, Iceberg cannot read it; ingest the file instead of registering it"


class NotParquetError(InvalidInputError):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the object {key!r} is not a readable Parquet file: {reason}", key=key)


@dataclass(frozen=True, slots=True)
class ParquetFooter:
    columns: tuple[Column, ...]
    row_count: int
    field_ids: Mapping[str, int]
    """Of those that have one, by path, as `types.paths` spells it."""

    @property
    def has_field_ids(self) -> bool:
        return bool(self.field_ids)


def read_footer(file: BinaryIO, key: str) -> ParquetFooter:
    """Return what the footer of a Parquet file says.

    Raises:
        NotParquetError: it is not a Parquet file, or encrypted, or damaged.
        UnsupportedTypeError: a column is stored in a way that Iceberg does not know.
    """
    try:
        metadata = pq.read_metadata(file)
        schema = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NotParquetError(key, str(error).splitlines()[0][:200]) from error
    columns = tuple(Column(each.name, stored_type(each.type, each.name)) for each in schema)
    return ParquetFooter(columns, metadata.num_rows, dict(ids_below(schema)))


def ids_below(fields: Iterable["pa.Field[Any]"], above: str = "") -> Iterator[tuple[str, int]]:
    for each in fields:
        path = f"{above}{each.name}"
        field_id = (each.metadata or {}).get(FIELD_ID)
        if field_id is not None:
            yield path, int(field_id)
        yield from ids_below(inside(each.type), f"{path}.")


def inside(type_: pa.DataType) -> list["pa.Field[Any]"]:
    """Return what a nested type holds, under the names of the specification."""
    if isinstance(type_, pa.ListType):
        return [type_.value_field.with_name("element")]
    if isinstance(type_, pa.MapType):
        return [type_.key_field.with_name("key"), type_.item_field.with_name("value")]
    if isinstance(type_, pa.StructType):
        return [type_[number] for number in range(type_.num_fields)]
    return []


def read_ids(file: BinaryIO, key: str) -> dict[str, int | None]:
    """Return the field ids of the outer columns by name, None where there is none.

    Raises:
        NotParquetError: as `read_footer`.
    """
    try:
        schema = pq.read_metadata(file).schema.to_arrow_schema()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NotParquetError(key, str(error).splitlines()[0][:200]) from error
    own = dict(ids_below(schema))
    return {each.name: own.get(each.name) for each in schema}


def stored_type(type_: pa.DataType, column: str) -> str:
    """Return the Iceberg type of which `type_` is the stored form."""
    if type_ in EXACT:
        return EXACT[type_]
    if isinstance(type_, pa.TimestampType) and type_.unit == "us" and type_.tz is not None:
        return "timestamptz"
    if isinstance(type_, pa.Decimal128Type):
        return f"decimal({type_.precision},{type_.scale})"
    if isinstance(type_, pa.ListType):
        return f"list<{stored_type(type_.value_type, column)}>"
    if isinstance(type_, pa.MapType):
        key, item = stored_type(type_.key_type, column), stored_type(type_.item_type, column)
        return f"map<{key}, {item}>"
    if isinstance(type_, pa.StructType):
        inner = (
            f"{field_name(type_[number].name)}: {stored_type(type_[number].type, column)}"
            for number in range(type_.num_fields)
        )
        return f"struct<{', '.join(inner)}>"
    raise UnsupportedTypeError(str(type_), INGEST, column)
