"""Partitions are PyIceberg's own, value for value; sort orders are those of the files."""

from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.transforms import parse_transform

from lakehouse.catalog import Column
from lakehouse.catalog.metadata import snapshot_of, spec_of
from lakehouse.catalog.partitioning import (
    InvalidPartitionError,
    InvalidSortError,
    partition_fields,
    partition_terms,
    sort_fields,
    sort_terms,
)
from lakehouse.catalog.types import make_fields
from lakehouse.errors import LakehouseError
from tests.catalog.lake import Lake, main

TIMES = [
    "1969-12-31 23:59:59.999999",
    "1970-01-01 00:00:00",
    "1900-02-28 13:00:00",
    "2024-02-29 12:34:56.789",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59",
]
STRINGS = [
    "",
    "a",
    "abcdef",
    "ünïcode",
    "🐘🐘🐘🐘",
    "e\u0301e\u0301e\u0301",
    "a'b",
    "NULL",
    "a, b",
    "x/y=z%",
]
UUIDS = ["f79c3e09-677c-4bbd-a479-3f349cb785e7", "00000000-0000-0000-0000-000000000000"]
SOURCES = {
    "long": [str(2**63 - 1), str(-(2**63) + 2), "-1", "0", "1", "34", "-100"],
    "int": ["-2147483600", "-1", "0", "34"],
    "date": [text[:10] for text in TIMES],
    "time": ["00:00:00", "22:31:08", "23:59:59.999999"],
    "timestamp": TIMES,
    "timestamptz": [f"{text}+00" for text in TIMES],
    "string": STRINGS,
    "uuid": UUIDS,
    "boolean": ["true", "false"],
    "decimal(9,2)": ["-14.25", "0", "14.20"],
    "binary": ["", "\\x00\\xFF", "abc"],
}
EARLY = "x < '1970-01-01T00:00:00+00:00'"
STAMPS = ("timestamp", "timestamptz")
BUCKETED = ("int", "long", "date", "time", *STAMPS, "string", "uuid")
TRANSFORMS = [
    *((f"{each}(x)", type_) for each in ("year", "month", "day") for type_ in ("date", *STAMPS)),
    *(("hour(x)", type_) for type_ in STAMPS),
    *(("bucket(16, x)", type_) for type_ in BUCKETED),
    *(("truncate(3, x)", type_) for type_ in ("int", "long", "string")),
    *(("x", type_) for type_ in SOURCES),
]  # fmt: skip


def partitions(lake: Lake, table: str) -> list[tuple[str, Any]]:
    """Return (location, partition value) of each file of a table of one partition field."""
    snapshot = snapshot_of(lake.metadata(table))
    assert snapshot
    entries = lake.catalog._manifests.live_entries(
        lake.catalog._manifests.read_list(snapshot["manifest-list"])
    )
    return [(each.data_file.file_path, each.data_file.partition[0]) for each in entries]


def internal(type_: str, value: Any) -> Any:
    """Return a value as PyIceberg's transforms take it."""
    if isinstance(value, datetime):
        naive = value.replace(tzinfo=None) - datetime(1970, 1, 1)  # noqa: DTZ001
        return (naive.days * 86_400 + naive.seconds) * 1_000_000 + naive.microseconds
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days
    if isinstance(value, time):
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        return seconds * 1_000_000 + value.microsecond
    if type_ == "uuid":
        return UUID(bytes=value) if isinstance(value, bytes) else UUID(str(value))
    return value


@pytest.mark.parametrize(("term", "type_"), TRANSFORMS)
def test_a_partition_is_what_pyicebergs_transform_makes_of_each_value_in_it(
    shared_lake: Lake, term: str, type_: str
) -> None:
    lake, name = shared_lake, f"t{TRANSFORMS.index((term, type_))}"
    values = ", ".join(f"('{value.replace(chr(39), chr(39) * 2)}')" for value in SOURCES[type_])
    lake.write(
        name,
        f"SELECT x, 'r' || x AS other FROM (VALUES {values}, (NULL), (NULL)) v(x)",
        {"x": type_, "other": "string"},
        partition_by=[term],
    )

    spec = spec_of(lake.metadata(name))["fields"][0]
    transform = parse_transform(spec["transform"])
    with lake.pyiceberg(name) as table:
        source = table.schema().find_field("x").field_type
        assert table.scan().to_arrow().num_rows == len(SOURCES[type_]) + 2
        files = partitions(lake, name)
        seen = []
        for location, partition in files:
            read = pq.read_table(lake.store.root / lake.store.key(location))
            for value in read["x"].to_pylist():
                made = (
                    transform.transform(source)(internal(type_, value))
                    if value is not None
                    else None
                )
                assert partition == made, (value, partition, made)
                seen.append(value)
        assert len(seen) == len(SOURCES[type_]) + 2
        nulls = table.scan(row_filter="x is null").to_arrow()
        assert nulls.num_rows == 2
        assert len(list(table.scan(row_filter="x is null").plan_files())) == 1


@pytest.mark.parametrize(
    ("term", "type_", "where"),
    [
        ("x", "string", ["x = 'ünïcode'", "x = ''", "x = 'NULL'", "x > 'a'"]),
        ("truncate(3, x)", "string", [f"x = '{STRINGS[4]}'", f"x = '{STRINGS[5]}'", "x >= 'abc'"]),
        ("bucket(16, x)", "long", ["x = -1", "x = 34", "x = 9223372036854775807", "x = 3"]),
        ("bucket(16, x)", "uuid", [f"x = '{UUIDS[0]}'", f"x = '{UUIDS[1]}'"]),
        ("bucket(16, x)", "string", ["x = '🐘🐘🐘🐘'", "x = ''"]),
        ("year(x)", "timestamp", ["x < '1970-01-01T00:00:00'", "x >= '1969-12-31T23:59:59'"]),
        ("month(x)", "date", ["x = '1900-02-28'", "x > '1970-01-01'", "x <= '1969-12-31'"]),
        ("day(x)", "timestamptz", ["x = '2024-02-29T12:34:56.789+00:00'", EARLY]),
        ("hour(x)", "timestamp", ["x = '1969-12-31T23:59:59.999999'", "x > '1970-01-01T00:00:00'"]),
        ("truncate(3, x)", "long", ["x = -1", "x = -100", "x > 0"]),
        ("x", "decimal(9,2)", ["x = -14.25", "x > 0"]),
        ("x", "date", ["x = '1969-12-31'", "x < '1900-01-01'"]),
    ],
)  # fmt: skip
def test_a_pyiceberg_scan_with_a_filter_finds_the_rows_that_duckdb_finds(
    shared_lake: Lake, term: str, type_: str, where: list[str]
) -> None:
    lake, name = shared_lake, f"f{abs(hash((term, type_)))}"
    values = ", ".join(f"('{value.replace(chr(39), chr(39) * 2)}')" for value in SOURCES[type_])
    lake.write(
        name,
        f"SELECT x FROM (VALUES {values}, (NULL)) v(x)",
        {"x": type_},
        partition_by=[term],
    )
    with lake.pyiceberg(name) as table:
        for each in where:
            scanned = table.scan(row_filter=each).to_arrow()["x"].to_pylist()
            read = lake.arrow(name, where=each)["x"].to_pylist()
            assert sorted(map(str, scanned)) == sorted(str(as_pyiceberg(type_, v)) for v in read)


def as_pyiceberg(type_: str, value: Any) -> Any:
    return UUID(value) if type_ == "uuid" and isinstance(value, str) else value


@given(
    st.lists(
        st.tuples(st.text(max_size=6) | st.none(), st.text(max_size=3) | st.none()), max_size=8
    )
)
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_rows_of_different_partitions_never_share_a_file(
    shared_lake: Lake, rows: list[tuple[str | None, str | None]]
) -> None:
    lake = shared_lake
    name = f"h{len(lake.catalog.names())}"
    columns = list(zip(*rows, strict=True)) or [(), ()]
    table = pa.table(
        {"a": pa.array(columns[0], pa.string()), "b": pa.array(columns[1], pa.string())}
    )
    lake.cursor.register("given", table)
    types = {"a": "string", "b": "string", "c": "long"}
    lake.write(name, "SELECT a, b, 1 AS c FROM given", types, partition_by=["a", "b"])
    entries = {}
    snapshot = snapshot_of(lake.metadata(name))
    listed = lake.catalog._manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
    for entry in lake.catalog._manifests.live_entries(listed):
        key = (entry.data_file.partition[0], entry.data_file.partition[1])
        entries[key] = entry.data_file.record_count
    assert entries == {pair: rows.count(pair) for pair in rows}
    assert sorted(lake.rows(name), key=repr) == sorted(((*pair, 1) for pair in rows), key=repr)


def test_a_load_of_200_partitions_writes_one_small_file_each(lake: Lake) -> None:
    lake.write(
        "t",
        "SELECT i % 200 AS id, i::VARCHAR AS name FROM range(20000) r(i)",
        partition_by=["id"],
    )
    files = partitions(lake, "t")
    assert sorted(partition for _, partition in files) == list(range(200))
    assert lake.arrow("t", where="id = 7").num_rows == 100
    assert lake.arrow("t").num_rows == 20_000
    with lake.pyiceberg("t") as table:
        assert table.scan(row_filter="id = 7").to_arrow().num_rows == 100
        assert len(list(table.scan(row_filter="id = 7").plan_files())) == 1
    assert len(lake.metadata("t")["snapshots"]) == 1


def test_appends_and_overwrites_of_a_partitioned_table_are_read_by_both(lake: Lake) -> None:
    sql = "SELECT i AS id, 'n' || i % 3 AS name FROM range({0}, {0} + 9) r(i)"
    lake.write("t", sql.format(0), partition_by=["name", "bucket(4, id)"])
    lake.write("t", sql.format(9), mode="append")
    with lake.pyiceberg("t") as table:
        assert table.scan().to_arrow().num_rows == 18
    lake.write("t", sql.format(100), mode="overwrite")
    expected = [(i, f"n{i % 3}") for i in range(100, 109)]
    assert lake.rows("t") == sorted(expected, key=repr)
    with lake.pyiceberg("t") as table:
        assert table.scan(row_filter="name = 'n1'").to_arrow().num_rows == 3
        assert set(table.scan().to_arrow()["id"].to_pylist()) == set(range(100, 109))


def test_a_partition_by_an_infinite_year_never_exists(lake: Lake) -> None:
    before = lake.tree()
    with pytest.raises(Exception, match="infinite"):
        lake.write("t", "SELECT 'infinity'::DATE AS d", {"d": "date"}, partition_by=["year(d)"])
    assert lake.tree() == before


FIELDS, _ = make_fields(
    [
        Column("id", "long"),
        Column("at", "timestamp"),
        Column("name", "string"),
        Column("x", "double"),
        Column("l", "list<long>"),
        Column("day(at)", "string"),
        Column("a b", "long"),
        Column("at_year", "long"),
    ]
)


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (["nope"], "no such column"),
        (["year(nope)"], "no such column"),
        (["year(id)"], "does not take"),
        (["hour(name)"], "does not take"),
        (["bucket(16, x)"], "does not take"),
        (["truncate(2, at)"], "does not take"),
        (["l"], "does not take"),
        (["x"], "does not take"),
        (["bucket(id)"], "the forms are"),
        (["bucket(0, id)"], "the width"),
        (["bucket(99999999999, id)"], "the width"),
        (["truncate(0, id)"], "the width"),
        (["year(3, at)"], "the forms are"),
        (["bucket(16, id"], "no such column"),
        (["void(id)"], "no such column"),
        ([""], "no such column"),
        (["id", "id"], "twice"),
        (["bucket(2, id)", "bucket(3, id)"], "twice"),
        (["year(at)"], "so is a column"),
        (["x; DROP TABLE y"], "no such column"),
    ],
)
def test_a_partition_that_makes_no_sense_is_refused(terms: list[str], words: str) -> None:
    with pytest.raises(InvalidPartitionError, match=words):
        partition_fields(terms, FIELDS)


def test_partitions_are_shown_as_they_were_written() -> None:
    terms = ["id", "month(at)", "bucket(16, id)", "truncate(3, name)", "day(at)", "a b"]
    spec = {"fields": partition_fields(terms, FIELDS)}
    assert partition_terms(spec, FIELDS) == terms
    by_name = {each["name"]: each["source-id"] for each in spec["fields"]}
    assert by_name["day(at)"] == 6, "a column of that very name is meant first"
    assert partition_fields([" Month ( AT ) "], FIELDS)[0]["name"] == "at_month"


def test_a_table_that_cannot_be_partitioned_so_is_not_made(lake: Lake) -> None:
    before = lake.tree()
    with pytest.raises(LakehouseError):
        lake.catalog.create_table(main("t"), [Column("id", "long")], partition_by=["day(id)"])
    assert lake.catalog.find(main("t")) is None
    assert lake.tree() == before


@pytest.mark.parametrize("partition_by", [[], ["bucket(3, id)"]])
def test_the_files_are_sorted_as_the_table_says(lake: Lake, partition_by: list[str]) -> None:
    columns = "(hash(i) % 1000)::BIGINT AS id, nullif('n' || i % 7, 'n3') AS name"
    sql = f"SELECT {columns} FROM range(50000) r(i)"
    lake.write("t", sql, partition_by=partition_by, sort_by=["name desc", "id"])
    assert lake.catalog.describe(main("t")).sort_by == ["name desc", "id"]
    for key in lake.data_files("t"):
        rows = pq.read_table(lake.store.root / key).to_pylist()
        named = [(row["name"], row["id"]) for row in rows if row["name"] is not None]
        unnamed = [row["id"] for row in rows if row["name"] is None]
        assert [row["name"] for row in rows[len(named) :]] == [None] * len(unnamed), "nulls last"
        assert unnamed == sorted(unnamed)
        assert named == sorted(sorted(named, key=lambda r: r[1]), key=lambda r: r[0], reverse=True)
    with lake.pyiceberg("t") as table:
        assert [each.direction.value for each in table.sort_order().fields] == ["desc", "asc"]


@pytest.mark.parametrize("term", ["nope", "l", "id sideways", "", "desc"])
def test_a_sort_order_that_makes_no_sense_is_refused(term: str) -> None:
    with pytest.raises(InvalidSortError):
        sort_fields([term], FIELDS)


def test_sort_orders_are_shown_as_they_were_written() -> None:
    order = {"fields": sort_fields(["a b desc", "ID", "name ASC"], FIELDS)}
    assert sort_terms(order, FIELDS) == ["a b desc", "id", "name"]


def test_time_zones_do_not_move_a_partition(lake: Lake) -> None:
    values = "('2024-01-01 00:30:00+05'::TIMESTAMPTZ), ('2023-12-31 19:30:00+00'::TIMESTAMPTZ)"
    lake.write(
        "t", f"SELECT x FROM (VALUES {values}) v(x)", {"x": "timestamptz"}, partition_by=["day(x)"]
    )
    assert [each for _, each in partitions(lake, "t")] == [
        (date(2023, 12, 31) - date(1970, 1, 1)).days
    ]
    at = datetime(2023, 12, 31, 19, 30, tzinfo=UTC)
    assert [row[0] for row in lake.rows("t")] == [at, at]
