"""What is read of a file's bounds is never tighter than the values in it."""

import math
import struct
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import pytest
from pyiceberg.manifest import DataFile
from pyiceberg.typedef import Record

from lakehouse.catalog.bounds import bounds_of, decoded, partition_bounds

HOUR_US = 3_600_000_000
EPOCH = date(1970, 1, 1)


def data_file(partition: tuple[object, ...] = (), **known: Mapping[int, Any]) -> DataFile:
    return DataFile.from_args(
        _table_format_version=2, partition=Record(*partition), record_count=10, **known
    )


def bounds(type_: str, file: DataFile, transform: str | None = None) -> tuple[Any, ...]:
    fields = [{"source-id": 1, "transform": transform}] if transform else []
    return bounds_of(file, {"id": 1, "type": type_}, {"fields": fields})


def test_what_a_manifest_does_not_say_is_not_known() -> None:
    assert bounds("long", data_file()) == (None, None, None, None)


def test_counts_of_nulls_say_whether_there_are_values() -> None:
    for nulls, expected in [(0, (False, True)), (3, (True, True)), (10, (True, False))]:
        file = data_file(null_value_counts={1: nulls})
        assert bounds("long", file)[2:] == expected


def test_a_file_that_may_hold_nan_is_open_above() -> None:
    low, high = struct.pack("<d", 1.5), struct.pack("<d", 2.5)
    both: dict[str, Any] = {"lower_bounds": {1: low}, "upper_bounds": {1: high}}
    assert bounds("double", data_file(**both, nan_value_counts={1: 0}))[:2] == (1.5, 2.5)
    unknown: dict[str, Any] = {}
    for counts in (unknown, {"nan_value_counts": {1: 2}}):
        found = bounds("double", data_file(**both, **counts))
        assert found[0] == 1.5
        assert math.isnan(found[1])


@pytest.mark.parametrize(
    ("type_", "data", "expected"),
    [
        ("long", struct.pack("<i", -5), -5),  # from before the column was widened
        ("double", struct.pack("<f", 0.5), 0.5),
        ("int", struct.pack("<q", 5), None),
        ("date", b"", None),
        ("timestamp", struct.pack("<q", -1), -1),
        ("string", "ü".encode()[:1], None),
        ("double", struct.pack("<d", math.nan), None),
        ("uuid", b"\x01" * 15, None),
        ("boolean", b"\x00", False),
    ],
)
def test_a_bound_is_read_or_it_is_not_known(type_: str, data: bytes, expected: object) -> None:
    assert decoded(type_, data) == expected


@pytest.mark.parametrize(
    ("transform", "type_", "value", "expected"),
    [
        ("identity", "long", 7, (7, 7)),
        ("truncate[10]", "long", -10, (-10, -1)),
        ("day", "date", -1, (-1, -1)),
        ("day", "timestamp", -1, (-24 * HOUR_US, -1)),
        ("hour", "timestamptz", 2, (2 * HOUR_US, 3 * HOUR_US - 1)),
        ("month", "date", -1, (-31, -1)),
        ("year", "date", 1, (365, 729)),
        ("year", "date", 9000, (None, None)),
        ("bucket[4]", "long", 3, (None, None)),
        ("identity", "long", None, (None, None)),
        ("identity", "double", 1.5, (None, None)),
    ],
)
def test_a_partition_value_bounds_its_column(
    transform: str, type_: str, value: object, expected: tuple[object, object]
) -> None:
    assert partition_bounds(transform, type_, value) == expected
    file = data_file((value,))
    assert bounds(type_, file, transform)[:2] == expected


def test_every_day_lies_in_the_month_and_the_year_that_bound_it() -> None:
    for number in range(-800, 800, 7):
        day = EPOCH + timedelta(days=number)
        months = (day.year - 1970) * 12 + day.month - 1
        for transform, value in (("month", months), ("year", day.year - 1970)):
            low, high = partition_bounds(transform, "date", value)
            assert low <= number <= high
            assert (EPOCH + timedelta(days=low)).day == 1
            assert (EPOCH + timedelta(days=high + 1)).day == 1


def test_a_bound_of_the_file_itself_is_preferred_to_its_partition() -> None:
    file = data_file((7,), lower_bounds={1: struct.pack("<q", 71)})
    assert bounds("long", file, "truncate[100]")[:2] == (71, 106)
