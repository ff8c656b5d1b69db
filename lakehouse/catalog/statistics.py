"""From the text of DuckDB's `RETURN_STATS` to the bytes of Iceberg's column bounds.

A wrong bound loses rows silently in every engine, a missing one only costs time: whatever is not
certain has no bound. The traps are those of `iceberg.md`, Writing rows.
Source: https://iceberg.apache.org/spec/#appendix-d-single-value-serialization
"""

import math
import struct
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal

from lakehouse.catalog.types import Field, leaves

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - timestamps without a zone are compared with it
EPOCH_DATE = date(1970, 1, 1)
WIDE = Context(prec=64)  # the default rounds to 28 digits; a decimal has 38
FLOATS = {"float": "<f", "double": "<d"}


@dataclass(slots=True)
class ColumnStatistics:
    """What a manifest says of each column of one file, by field id."""

    sizes: dict[int, int] = field(default_factory=dict)
    values: dict[int, int] = field(default_factory=dict)
    nulls: dict[int, int] = field(default_factory=dict)
    nans: dict[int, int] = field(default_factory=dict)
    lower: dict[int, bytes] = field(default_factory=dict)
    upper: dict[int, bytes] = field(default_factory=dict)


def column_statistics(
    fields: Iterable[Field], stats: Mapping[str, Mapping[str, str]]
) -> ColumnStatistics:
    """Return the statistics of one file from what DuckDB said of it, by quoted path."""
    result = ColumnStatistics()
    for path, leaf in leaves(fields):
        found = stats.get(path)
        if found is None:
            continue
        id_, type_ = leaf["id"], leaf["type"]
        result.sizes[id_] = int(found["column_size_bytes"])
        result.values[id_] = int(found["num_values"])
        if "null_count" in found:
            result.nulls[id_] = int(found["null_count"])
        if type_ in FLOATS and found.get("has_nan") in ("false", "0"):
            result.nans[id_] = 0  # how many there are is not said, only whether
        if (low := bound(type_, found.get("min"), is_upper=False)) is not None:
            result.lower[id_] = low
        if (high := bound(type_, found.get("max"), is_upper=True)) is not None:
            result.upper[id_] = high
    return result


def bound(type_: str, text: str | None, *, is_upper: bool) -> bytes | None:
    """Return the bound as Iceberg stores it; None where there is none or it is not certain."""
    if text is None:
        return None
    try:
        return encode(type_, text, is_upper=is_upper)
    except (ValueError, ArithmeticError, struct.error):
        return None  # infinity, 24:00, years beyond 9999 or BC: Python refuses, so do we


def encode(type_: str, text: str, *, is_upper: bool) -> bytes | None:
    if type_ == "boolean":
        return {"1": b"\x01", "true": b"\x01", "0": b"\x00", "false": b"\x00"}.get(text)
    if type_ == "int":
        return struct.pack("<i", int(text))
    if type_ == "long":
        return struct.pack("<q", int(text))
    if type_ in FLOATS:
        value = float(text)
        if math.isnan(value):
            return None
        if value == 0:  # the order of Iceberg puts -0.0 below 0.0
            value = 0.0 if is_upper else -0.0
        return struct.pack(FLOATS[type_], value)
    if type_ == "date":
        return struct.pack("<i", (date.fromisoformat(text) - EPOCH_DATE).days)
    if type_ == "time" and not text.startswith("24"):  # Python 3.14 would read it as 00:00
        return struct.pack("<q", microseconds_of_day(time.fromisoformat(text)))
    if type_ in ("timestamp", "timestamptz"):
        return struct.pack("<q", microseconds(datetime.fromisoformat(text)))
    if type_ == "string":
        return text.encode()
    if type_ == "uuid":
        return uuid.UUID(text).bytes
    if type_.startswith("decimal"):
        scale = int(type_.rstrip(")").split(",")[1])
        unscaled = int(Decimal(text).scaleb(scale, WIDE))
        length = (unscaled + (unscaled < 0)).bit_length() // 8 + 1
        return unscaled.to_bytes(length, "big", signed=True)
    if type_ == "binary" or type_.startswith("fixed"):
        return bytes.fromhex(text)
    return None


def microseconds(value: datetime) -> int:
    if value.tzinfo is not None:
        value = value.astimezone(UTC).replace(tzinfo=None)
    delta = value - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def microseconds_of_day(value: time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond
