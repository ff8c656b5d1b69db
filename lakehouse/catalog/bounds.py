"""What manifests say of the values of one column in each file, as columns that DuckDB compares.

Read for the columns that a statement asks of, and kept within a bound: a table of 100 columns has
30 KB of statistics a file.
Source: https://iceberg.apache.org/spec/#appendix-d-single-value-serialization
"""

import math
import struct
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, TypeAlias

import pyarrow as pa

from lakehouse.catalog.cache import Cache
from lakehouse.catalog.manifests import DataFile, ManifestFile, Manifests
from lakehouse.catalog.metadata import Json, spec_of
from lakehouse.catalog.statistics import EPOCH_DATE, FLOATS, WIDE
from lakehouse.catalog.types import Field

Value: TypeAlias = Any
KEPT_BYTES_MAX = 64 * 1024 * 1024
ARROW: Mapping[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", tz="UTC"),
    "string": pa.string(),
    "uuid": pa.string(),
}
HOUR_US = 3_600_000_000
DAY_US = 24 * HOUR_US
SHORT = 4
"""Bytes of an int and a float."""
LENGTHS = {"int": 4, "date": 4, "long": 8, "time": 8, "timestamp": 8, "timestamptz": 8}


class Bounds:
    """Bounds by manifest and column. Files are immutable, so what was read is kept."""

    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self._kept: Cache[pa.Table] = Cache(KEPT_BYTES_MAX, lambda table: int(table.nbytes))

    def read(
        self, metadata: Json, manifests: Sequence[ManifestFile], fields: Sequence[Field]
    ) -> pa.Table:
        """Return a row for each live file, in the order of `Manifests.live_files`.

        Of field `n` there are `low_n` and `high_n`, which no value is below or above (NaN is the
        largest), `nulls_n` and `values_n`, whether there are any, and `bucket_n`, in which of
        `buckets_n` all values are; NULL is not known.

        Raises:
            ObjectNotFoundError, UnreadableFileError: a manifest is gone, or is none.
        """
        parts = [
            pa.concat_tables(self._column(metadata, each, field) for each in manifests)
            for field in fields
        ]
        columns = {
            f"{name}_{field['id']}": part[name]
            for field, part in zip(fields, parts, strict=True)
            for name in part.column_names
        }
        return pa.table(columns)

    def _column(self, metadata: Json, manifest: ManifestFile, field: Field) -> pa.Table:
        key = f"{manifest.manifest_path}#{field['id']}#{field['type']}"
        return self._kept.get(key, partial(self._decoded, metadata, manifest, field))

    def _decoded(self, metadata: Json, manifest: ManifestFile, field: Field) -> pa.Table:
        spec = spec_of(metadata, manifest.partition_spec_id)
        rows = [
            (*bounds_of(entry.data_file, field, spec), *bucket_of(entry.data_file, field, spec))
            for entry in self._manifests.read_entries(manifest)
        ]
        type_ = arrow_type(field["type"])
        assert type_ is not None, "only columns of these types are asked for"
        names = {"low": type_, "high": type_, "nulls": pa.bool_(), "values": pa.bool_()}
        names |= {"bucket": pa.int32(), "buckets": pa.int32()}
        return pa.table(
            {
                name: column([row[number] for row in rows], each)
                for number, (name, each) in enumerate(names.items())
            }
        )


def column(values: Sequence[Value], type_: pa.DataType) -> "pa.Array[Any]":
    try:
        return pa.array(values, type_)
    except (pa.ArrowInvalid, OverflowError):  # bounds that the type cannot have: another engine's
        return pa.array([None] * len(values), type_)


def arrow_type(type_: object) -> pa.DataType | None:
    """Return how bounds of a column are held; None for types that are not pruned by."""
    if not isinstance(type_, str):
        return None
    if type_.startswith("decimal"):
        precision, scale = type_[len("decimal(") : -1].split(",")
        return pa.decimal128(int(precision), int(scale))
    return ARROW.get(type_)


def bounds_of(file: DataFile, field: Field, spec: Json) -> tuple[Value, Value, Value, Value]:
    """Return the lowest and the highest value, and whether there are nulls and values."""
    id_, type_ = field["id"], field["type"]
    low = decoded(type_, (file.lower_bounds or {}).get(id_))
    high = decoded(type_, (file.upper_bounds or {}).get(id_))
    null_count = (file.null_value_counts or {}).get(id_)
    if type_ in FLOATS and (file.nan_value_counts or {}).get(id_) != 0:
        high = math.nan if high is not None else None
    nulls = None if null_count is None else null_count > 0
    values = None if null_count is None else null_count < file.record_count
    for number, partition in enumerate(spec["fields"]):
        if partition["source-id"] == id_ and (low is None or high is None):
            least, most = partition_bounds(partition["transform"], type_, file.partition[number])
            low = least if low is None else low
            high = most if high is None else high
    return low, high, nulls, values


def bucket_of(file: DataFile, field: Field, spec: Json) -> tuple[Value, Value]:
    """Return the bucket of a file's values and how many buckets there are; None without any."""
    for number, partition in enumerate(spec["fields"]):
        name, _, width = partition["transform"].rstrip("]").partition("[")
        if partition["source-id"] == field["id"] and name == "bucket":
            return file.partition[number], int(width)
    return None, None


def decoded(type_: str, data: bytes | None) -> Value:
    """Return the value of a bound; None where there is none or it cannot be read.

    A file from before its column was widened has the bytes of the narrower type.
    """
    if data is None:
        return None
    try:
        return decode(type_, data)
    except (ValueError, struct.error):
        return None


def decode(type_: str, data: bytes) -> Value:
    if type_ == "boolean":
        return data != b"\x00"
    if type_ in FLOATS:
        value = struct.unpack("<f" if len(data) == SHORT else "<d", data)[0]
        return None if math.isnan(value) else value
    if type_ == "string":
        return data.decode()
    if type_ == "uuid":
        return str(uuid.UUID(bytes=data))
    if type_.startswith("decimal"):
        scale = int(type_.rstrip(")").split(",")[1])
        return Decimal(int.from_bytes(data, "big", signed=True)).scaleb(-scale, WIDE)
    if len(data) != LENGTHS[type_] and (type_, len(data)) != ("long", SHORT):
        raise ValueError(f"{len(data)} bytes are no {type_}")
    return int.from_bytes(data, "little", signed=True)


def partition_bounds(transform: str, type_: str, value: Value) -> tuple[Value, Value]:
    """Return the lowest and the highest value that a partition can hold, where that is known."""
    name, _, width = transform.rstrip("]").partition("[")
    if type_ not in LENGTHS or not isinstance(value, int):
        return None, None
    if name == "identity":
        return value, value
    if name == "truncate":
        return value, value + int(width) - 1
    if name not in CALENDAR:
        return None, None
    try:
        low, high = CALENDAR[name](value), CALENDAR[name](value + 1) - 1
    except ValueError:  # a year that Python has not
        return None, None
    return (low // DAY_US, high // DAY_US) if type_ == "date" else (low, high)


def month_us(month: int) -> int:
    """Return when a month begins, counted from January 1970."""
    first = EPOCH_DATE.replace(year=1970 + month // 12, month=month % 12 + 1)
    return (first - EPOCH_DATE).days * DAY_US


CALENDAR: Mapping[str, Callable[[int], int]] = {
    "hour": lambda hour: hour * HOUR_US,
    "day": lambda day: day * DAY_US,
    "month": month_us,
    "year": lambda year: month_us(year * 12),
}
