"""Bounds are those of Iceberg and never leave out a value that is there."""

import struct
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg import expressions
from pyiceberg.manifest import DataFile

from lakehouse.catalog.metadata import snapshot_of
from lakehouse.catalog.statistics import bound
from tests.catalog.lake import Lake

INF = float("inf")


def statistics_of(lake: Lake, expression: str, type_: str) -> DataFile:
    """Return the data file of a table whose column `x` holds what `expression` unnests."""
    name = f"t{len(lake.catalog.names())}"
    lake.write(name, f"SELECT unnest({expression}) AS x", {"x": type_})
    snapshot = snapshot_of(lake.metadata(name))
    assert snapshot
    listed = lake.catalog._manifests.read_list(snapshot["manifest-list"])
    (entry,) = lake.catalog._manifests.live_entries(listed)
    return entry.data_file


def bounds(lake: Lake, expression: str, type_: str) -> tuple[bytes | None, bytes | None]:
    file = statistics_of(lake, expression, type_)
    return (file.lower_bounds or {}).get(1), (file.upper_bounds or {}).get(1)


def int8(value: int) -> bytes:
    return struct.pack("<q", value)


@pytest.mark.parametrize(
    ("expression", "type_", "low", "high"),
    [
        ("[true, false]", "boolean", b"\x00", b"\x01"),
        ("[true, true]", "boolean", b"\x01", b"\x01"),
        ("[-5, 7]", "long", int8(-5), int8(7)),
        ("[-5, 7]", "int", struct.pack("<i", -5), struct.pack("<i", 7)),
        ("[0.0, 1.0]", "double", struct.pack("<d", -0.0), struct.pack("<d", 1.0)),
        ("[-1.0, -0.0]", "double", struct.pack("<d", -1.0), struct.pack("<d", 0.0)),
        ("[-0.0]", "float", struct.pack("<f", -0.0), struct.pack("<f", 0.0)),
        ("['-inf'::FLOAT, 'inf']", "float", struct.pack("<f", -INF), struct.pack("<f", INF)),
        ("['b', 'a']", "string", b"a", b"b"),
        ("['']", "string", b"", b""),
        ("['\\x01\\x02'::BLOB, '\\xFF'::BLOB]", "binary", b"\x01\x02", b"\xff"),
        ("[1.50, -20.25]", "decimal(9,2)", b"\xf8\x17", b"\x00\x96"),
        ("[-1.28]", "decimal(9,2)", b"\x80", b"\x80"),
        ("[1.28]", "decimal(9,2)", b"\x00\x80", b"\x00\x80"),
        (
            "[12345678901234567890123456789012345678]",
            "decimal(38,0)",
            (12345678901234567890123456789012345678).to_bytes(16, "big"),
            (12345678901234567890123456789012345678).to_bytes(16, "big"),
        ),
        (
            "['f79c3e09-677c-4bbd-a479-3f349cb785e7'::UUID]",
            "uuid",
            UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7").bytes,
            UUID("f79c3e09-677c-4bbd-a479-3f349cb785e7").bytes,
        ),
        (
            "[DATE '1969-12-31', DATE '9999-12-31']",
            "date",
            struct.pack("<i", -1),
            b"\xa0\xc0\x2c\x00",
        ),
        ("[TIME '00:00:00.000001']", "time", int8(1), int8(1)),
        ("[TIMESTAMP '1969-12-31 23:59:59.5']", "timestamp", int8(-500_000), int8(-500_000)),
        ("[TIMESTAMPTZ '1970-01-01 02:00:00+02']", "timestamptz", int8(0), int8(0)),
    ],
)
def test_a_bound_is_the_bytes_of_the_specification(
    shared_lake: Lake, expression: str, type_: str, low: bytes, high: bytes
) -> None:
    assert bounds(shared_lake, expression, type_) == (low, high)


@pytest.mark.parametrize(
    ("expression", "type_", "missing"),
    [
        ("['nan'::DOUBLE]", "double", "both"),
        ("['nan'::FLOAT, 'nan'::FLOAT]", "float", "both"),
        ("[TIME '24:00:00']", "time", "both"),
        ("[TIME '10:00:00', TIME '24:00:00']", "time", "upper"),
        ("[DATE '10000-01-01', DATE '2020-01-01']", "date", "upper"),
        ("[DATE '0044-03-15 (BC)', DATE '2020-01-01']", "date", "lower"),
        ("[TIMESTAMP '290000-01-01', TIMESTAMP '2020-01-01']", "timestamp", "upper"),
        ("[TIMESTAMP '0044-03-15 (BC) 00:00:00', TIMESTAMP '2020-01-01']", "timestamp", "lower"),
        ("[NULL::BIGINT, NULL]", "long", "both"),
        ("[repeat('\U0010ffff', 300)]", "string", "both"),
        ("[unhex(repeat('FF', 300))]", "binary", "both"),
    ],
)
def test_what_is_not_certain_has_no_bound(
    shared_lake: Lake, expression: str, type_: str, missing: str
) -> None:
    low, high = bounds(shared_lake, expression, type_)
    assert (low is None) == (missing in ("both", "lower"))
    assert (high is None) == (missing in ("both", "upper"))


def test_a_nan_among_numbers_leaves_bounds_that_hold_the_numbers(shared_lake: Lake) -> None:
    file = statistics_of(shared_lake, "['nan'::DOUBLE, 1.5, -2.5]", "double")
    assert 1 not in (file.nan_value_counts or {}), "how many there are is not known"
    low, high = (file.lower_bounds or {}).get(1), (file.upper_bounds or {}).get(1)
    assert low is None or struct.unpack("<d", low)[0] <= -2.5
    assert high is None or struct.unpack("<d", high)[0] >= 1.5


def test_without_nan_their_count_is_zero(shared_lake: Lake) -> None:
    file = statistics_of(shared_lake, "[1.5::FLOAT, NULL]", "float")
    assert file.nan_value_counts == {1: 0}
    assert file.null_value_counts == {1: 1}
    assert file.value_counts == {1: 2}
    assert file.column_sizes is not None and file.column_sizes[1] > 0


@pytest.mark.parametrize("letter", ["a", "ü", "🐘"])
def test_a_long_string_is_cut_with_its_upper_bound_rounded_up(
    shared_lake: Lake, letter: str
) -> None:
    low, high = bounds(shared_lake, f"[repeat('{letter}', 1000)]", "string")
    whole = (letter * 1000).encode()
    assert low is None or low <= whole
    assert letter != "a" or (low and high), "for wide characters DuckDB says none"
    assert high is None or (high >= whole and high.decode())


@pytest.mark.parametrize(
    ("expression", "type_"),
    [
        ("[[1, 2]]", "list<long>"),
        ("[MAP {'a': 1}]", "map<string, long>"),
        ("['10:00:00+01'::TIMETZ]", "string"),
    ],
)
def test_children_of_lists_and_maps_have_no_bounds(
    shared_lake: Lake, expression: str, type_: str
) -> None:
    file = statistics_of(shared_lake, expression, type_)
    assert set(file.lower_bounds or {}) <= {1}
    assert type_ == "string" or not file.lower_bounds


def test_a_field_of_a_struct_has_bounds_under_its_own_id(shared_lake: Lake) -> None:
    type_ = 'struct<"a.b": long, "q""x": struct<c: string>>'
    file = statistics_of(shared_lake, """[{'a.b': 5, 'q"x': {'c': 'z'}}]""", type_)
    assert file.lower_bounds == {2: int8(5), 4: b"z"}


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("date", "infinity"),
        ("timestamp", "-infinity"),
        ("timestamp", "294247-01-10 04:00:54.775807"),
        ("date", "5877642-06-25 (BC)"),
        ("time", "24:00:00"),
        ("float", "1e39"),
        ("float", "nan"),
        ("int", "9999999999"),
        ("boolean", "maybe"),
        ("binary", "xyz"),
        ("uuid", "no"),
        ("decimal(9,2)", "NaN"),
        ("anything", "else"),
    ],
)
def test_text_that_is_not_understood_gives_no_bound(type_: str, text: str) -> None:
    assert bound(type_, text, is_upper=True) is None


WIDE = Context(prec=50)
VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "boolean": (pa.bool_(), st.booleans()),
    "long": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    # PyIceberg takes an infinite literal for one that no float can have, and finds nothing.
    "float": (pa.float32(), st.floats(width=32, allow_nan=False, allow_infinity=False)),
    "double": (pa.float64(), st.floats(allow_nan=False)),
    "date": (pa.date32(), st.dates()),
    "time": (pa.time64("us"), st.times()),
    "timestamp": (pa.timestamp("us"), st.datetimes()),
    "timestamptz": (pa.timestamp("us", "UTC"), st.datetimes(timezones=st.just(UTC))),
    "string": (pa.string(), st.text(max_size=12) | st.text(min_size=250, max_size=300)),
    "uuid": (pa.string(), st.uuids().map(str)),
    "binary": (pa.binary(), st.binary(max_size=300)),
    "decimal(38,9)": (
        pa.decimal128(38, 9),
        st.integers(-(10**38) + 1, 10**38 - 1).map(lambda n: Decimal(n).scaleb(-9, WIDE)),
    ),
}
filters: Any = expressions  # whose arguments are typed for its own parser
ROWS = st.integers(1, 4).flatmap(
    lambda count: st.fixed_dictionaries(
        {
            type_: st.lists(st.none() | values, min_size=count, max_size=count)
            for type_, (_, values) in VALUES.items()
        }
    )
)


def comparable(type_: str, value: Any) -> Any:
    """Return a value as PyIceberg's filters take it."""
    if type_ == "uuid":
        return UUID(value)
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return value


@given(ROWS)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
def test_bounds_never_exclude_a_value_that_is_there(
    shared_lake: Lake, rows: dict[str, list[Any]]
) -> None:
    lake = shared_lake
    name = f"p{len(lake.catalog.names())}"
    given_rows = pa.table(
        {f"c_{type_}": pa.array(rows[type_], arrow) for type_, (arrow, _) in VALUES.items()}
    )
    lake.cursor.register("given", given_rows)
    columns = {f"c_{type_}": type_ for type_ in VALUES}
    lake.write(name, "SELECT * FROM given", columns)
    with lake.pyiceberg(name) as table:
        for type_, values in rows.items():
            for value in values:
                if value is None:
                    continue
                wanted, column = comparable(type_, value), f"c_{type_}"
                for found in (
                    filters.EqualTo(column, wanted),
                    filters.GreaterThanOrEqual(column, wanted),
                    filters.LessThanOrEqual(column, wanted),
                ):
                    assert list(table.scan(row_filter=found).plan_files()), value


@pytest.mark.parametrize(
    ("type_", "texts"),
    [
        ("long", ["x = 500", "x > 2499", "x < 7", "x >= 100 AND x < 105", "x = -1"]),
        ("string", ["x = '500'", "x > '998'", "x >= '99' AND x < '991'", "x = 'none'"]),
        ("double", ["x = 500", "x > 2499.5", "x <= -1"]),
        ("decimal(18,3)", ["x = 500", "x > 2499", "x < 7"]),
    ],
)
def test_pyicebergs_filtered_scan_equals_duckdbs(
    shared_lake: Lake, type_: str, texts: list[str]
) -> None:
    lake, name = shared_lake, f"f_{type_[:4]}"
    for part in range(5):  # five files with bounds of their own
        mode: Any = "append" if part else "create"
        lake.write(
            name,
            f"SELECT i AS x FROM range({part} * 500, {part} * 500 + 500) r(i)",
            {"x": type_},
            mode,
        )
    with lake.pyiceberg(name) as table:
        for text in texts:
            scanned = table.scan(row_filter=text).to_arrow()
            read = lake.arrow(name, where=text)
            assert scanned["x"].cast(read["x"].type).sort() == read["x"].sort()
        assert len(list(table.scan(row_filter=texts[1]).plan_files())) < 5
