"""One relation a snapshot: what a statement reads is one state, for as long as it runs."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from lakehouse.catalog import (
    SnapshotNotFoundError,
    TableNotFoundError,
    TableRef,
)
from lakehouse.catalog import relations as relations_module
from lakehouse.catalog.metadata import schema_of, snapshot_of
from lakehouse.catalog.relations import relation_sql
from lakehouse.catalog.table import moment
from tests.catalog.lake import Lake, main, rows_of

ONE = "SELECT 1 AS id, 'a' AS name"


def reads_by(lake: Lake, table: str) -> str:
    loaded = lake.catalog.load(main(table))
    metadata = loaded.metadata
    read = (snapshot_of(metadata), schema_of(metadata))
    sql, _ = relation_sql(lake.catalog._manifests, loaded, *read)
    return "iceberg_scan" if "iceberg_scan" in sql else "read_parquet"


EVERYTHING = {
    "b": ("boolean", "i % 2 = 0"),
    "l": ("long", "i * 1000000007"),
    "f": ("float", "(i / 3)::FLOAT"),
    "d": ("double", "i / 7"),
    "dec": ("decimal(38,9)", "(i * 1000000007)::DECIMAL(38,9) / 8"),
    "day": ("date", "DATE '1969-12-30' + i::INTEGER"),
    "at": ("timestamp", "TIMESTAMP '1969-12-31 23:59:59.999999' + INTERVAL (i) HOUR"),
    "atz": ("timestamptz", "TIMESTAMPTZ '1969-12-31 23:59:59.999999+00' + INTERVAL (i) HOUR"),
    "t": ("time", "TIME '00:00:00' + INTERVAL (i) MINUTE"),
    "s": ("string", "'ünï🐘' || i"),
    "u": ("uuid", "md5(i::VARCHAR)::UUID"),
    "bin": ("binary", "('\\x00' || i)::BLOB"),
    "ls": ("list<string>", "[i::VARCHAR, NULL]"),
    "m": ("map<string, long>", "MAP {'k' || i: i}"),
    "st": ('struct<a: long, "b c": list<double>>', "{'a': i, 'b c': [i / 3, NULL]}"),
}


@pytest.mark.parametrize(
    "partition_by", [[], ["day(at)"], ["bucket(4, s)", "truncate(1000, l)"], ["u"]]
)
def test_pyiceberg_reads_every_type_as_duckdb_does(lake: Lake, partition_by: list[str]) -> None:
    columns = {name: type_ for name, (type_, _) in EVERYTHING.items()}
    selected = ", ".join(
        f"CASE WHEN i % 5 = 4 THEN NULL ELSE {sql} END AS {name}"
        for name, (_, sql) in EVERYTHING.items()
    )
    sql = f"SELECT {selected} FROM range"
    lake.write("t", f"{sql}(0, 10) r(i)", columns, partition_by=partition_by)
    for mode, start in (("append", 10), ("overwrite", 20), ("append", 30)):
        lake.write("t", f"{sql}({start}, {start + 10}) r(i)", columns, mode)  # type: ignore[arg-type]
        with lake.pyiceberg("t") as table:
            theirs = table.scan().to_arrow()
        ours = lake.arrow("t")
        assert [plain(row) for row in sorted(theirs.to_pylist(), key=repr)] == [
            plain(row) for row in sorted(ours.to_pylist(), key=repr)
        ]
        assert theirs.column_names == ours.column_names == list(columns)


def plain(row: dict[str, Any]) -> dict[str, Any]:
    return {key: str(value) for key, value in row.items()}


def test_a_table_of_many_files_reads_the_same_through_iceberg_scan(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(22):
        sql = f"SELECT {number} * 10 + i AS id, 'n' || i AS name FROM range(10) r(i)"
        lake.write("t", sql, mode="append" if number else "create")
    assert reads_by(lake, "t") == "read_parquet"
    expected = lake.rows("t")
    monkeypatch.setattr(relations_module, "FILES_MAX", 0)
    monkeypatch.setattr(relations_module, "FILES_PER_MANIFEST", 0)
    lake.catalog = lake.reopened()
    lake.cursor.execute(
        "SELECT view_name FROM duckdb_views() WHERE view_name LIKE 'r!_%' ESCAPE '!'"
    )
    for (view,) in lake.cursor.fetchall():
        lake.cursor.execute(f'DROP VIEW "{view}"')
    assert reads_by(lake, "t") == "iceberg_scan"
    assert lake.rows("t") == expected
    assert lake.arrow("t", where="id = 215").to_pylist() == [{"id": 215, "name": "n5"}]
    middle = lake.metadata("t")["snapshots"][10]["snapshot-id"]
    assert len(lake.rows("t", as_of=middle)) == 110


def test_few_manifests_with_many_files_are_scanned(lake: Lake) -> None:
    sql = "SELECT i AS id, 'x' AS name FROM range(80) r(i)"
    lake.write("t", sql, partition_by=["id"])
    assert reads_by(lake, "t") == "iceberg_scan"
    assert lake.arrow("t").num_rows == 80
    lake.write("t", ONE, mode="overwrite")
    assert reads_by(lake, "t") == "read_parquet"


def test_a_snapshot_is_read_by_its_id_and_by_a_time(lake: Lake) -> None:
    lake.write("t", ONE)
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="append")
    lake.write("t", "SELECT 3 AS id, 'c' AS name", mode="overwrite")
    snapshots = lake.metadata("t")["snapshots"]
    states = [[(1, "a")], [(1, "a"), (2, "b")], [(3, "c")]]
    for snapshot, expected in zip(snapshots, states, strict=True):
        assert lake.rows("t", as_of=snapshot["snapshot-id"]) == expected
        assert lake.rows("t", as_of=moment(snapshot["timestamp-ms"])) == expected
    first = moment(snapshots[0]["timestamp-ms"])
    for asked in (first - timedelta(milliseconds=1), datetime(1970, 1, 1, tzinfo=UTC), 1, -1):
        with pytest.raises(SnapshotNotFoundError, match=r"main\.t"):
            lake.rows("t", as_of=asked)
    assert lake.rows("t", as_of=datetime(9000, 1, 1, tzinfo=UTC)) == [(3, "c")]


def test_before_its_first_load_an_empty_table_has_no_past(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name WHERE false")
    assert lake.rows("t") == []
    with pytest.raises(SnapshotNotFoundError):
        lake.rows("t", as_of=datetime.now(UTC))


def test_a_pin_says_what_it_reads(lake: Lake) -> None:
    lake.write("t", ONE)
    lake.catalog.namespaces.create("sales")
    lake.write("sales.t", "SELECT 2 AS id, 'b' AS name")
    refs = [TableRef(None, "T"), TableRef("SALES", "t"), TableRef("main", "t")]
    one, two, three = lake.catalog.pin(lake.cursor, refs)
    assert one == three
    assert (str(one.table), str(two.table)) == ("main.t", "sales.t")
    assert one.snapshot_id == lake.catalog.get(main("t")).snapshot_id
    assert [column.name for column in two.columns] == ["id", "name"]
    with pytest.raises(TableNotFoundError):
        lake.catalog.pin(lake.cursor, [*refs, TableRef(None, "nope")])


def test_what_was_pinned_is_read_though_the_table_is_gone(lake: Lake) -> None:
    lake.write("t", ONE)
    (pinned,) = lake.catalog.pin(lake.cursor, [TableRef(None, "t")])
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="overwrite")
    lake.catalog.drop(main("t"))
    lake.write("t", "SELECT 3 AS id, 'c' AS name")
    read = lake.cursor.execute(f'SELECT id FROM "{pinned.relation}"').fetchall()
    assert read == [(1,)]
    assert lake.rows("t") == [(3, "c")]


def test_a_relation_made_with_one_cursor_is_there_for_all(lake: Lake) -> None:
    lake.write("t", ONE)
    with lake.database.cursor() as other:
        (pinned,) = lake.catalog.pin(other, [TableRef(None, "t")])
    assert lake.cursor.execute(f'SELECT id FROM "{pinned.relation}"').fetchall() == [(1,)]


def test_many_cursors_that_pin_one_snapshot_at_once_make_one_relation(lake: Lake) -> None:
    for number in range(8):
        lake.write(
            "t", f"SELECT {number} AS id, 'a' AS name", mode="append" if number else "create"
        )
        barrier = threading.Barrier(8)

        def pin(_: int, barrier: threading.Barrier = barrier) -> tuple[str, int]:
            with lake.database.cursor() as cursor:
                barrier.wait()
                (pinned,) = lake.catalog.pin(cursor, [TableRef(None, "t")])
                cursor.execute(f'SELECT count(*) FROM "{pinned.relation}"')
                ((count,),) = cursor.fetchall()
            return pinned.relation, count

        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(pin, range(8)))
        assert len(found) == 1
        assert {count for _, count in found} == {number + 1}


def views(lake: Lake) -> int:
    lake.cursor.execute(
        "SELECT count(*) FROM duckdb_views() WHERE view_name LIKE 'r!_%' ESCAPE '!'"
    )
    ((count,),) = lake.cursor.fetchall()
    return int(count)


def test_relations_are_bounded_and_those_in_use_stay(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = 10 * (relations_module.VIEW_WEIGHT + 1)
    monkeypatch.setattr(relations_module, "KEPT_FILES_MAX", bound)
    before = views(lake)
    lake.write("t", ONE)
    (held,) = lake.catalog.pin(lake.cursor, [TableRef(None, "t")])
    for number in range(30):
        lake.write("t", f"SELECT {number} AS id, 'a' AS name", mode="overwrite")
        assert lake.rows("t") == [(number, "a")]
    assert views(lake) - before <= 11
    assert lake.cursor.execute(f'SELECT id FROM "{held.relation}"').fetchall() == [(1,)]
    relation = held.relation
    del held
    gc.collect()
    for number in range(12):
        lake.write("t", f"SELECT {number} AS id, 'a' AS name", mode="overwrite")
        lake.rows("t")
    lake.cursor.execute("SELECT view_name FROM duckdb_views()")
    assert (relation,) not in lake.cursor.fetchall()
    first = lake.metadata("t")["snapshots"][0]["snapshot-id"]
    assert lake.rows("t", as_of=first) == [(1, "a")], "one that was dropped is made again"


def test_relations_are_dropped_under_readers_that_never_notice(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relations_module, "KEPT_FILES_MAX", 5 * relations_module.VIEW_WEIGHT)
    for number in range(16):
        lake.write(
            "t", f"SELECT {number} AS id, 'a' AS name", mode="overwrite" if number else "create"
        )
    snapshots = [each["snapshot-id"] for each in lake.metadata("t")["snapshots"]]

    def read(seed: int) -> None:
        with lake.database.cursor() as cursor:
            for step in range(40):
                wanted = (seed * 7 + step * (seed + 1)) % 16
                refs = [TableRef(None, "t", snapshots[wanted]), TableRef(None, "t")]
                old, new = lake.catalog.pin(cursor, refs)
                cursor.execute(f'SELECT a.id, b.id FROM "{old.relation}" a, "{new.relation}" b')
                assert cursor.fetchall() == [(wanted, 15)]

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(read, range(6)))


def test_a_read_sees_a_write_that_was_answered(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'a' AS name")
    for number in range(1, 20):
        lake.write("t", f"SELECT {number} AS id, 'a' AS name", mode="append")
        assert lake.arrow("t").num_rows == number + 1


def test_what_another_process_wrote_is_read_at_once(lake: Lake) -> None:
    lake.write("t", ONE)
    assert lake.rows("t") == [(1, "a")]
    with lake.database.cursor() as cursor:
        rows = rows_of("SELECT 2 AS id, 'b' AS name")
        lake.reopened().loading.write(cursor, main("t"), rows, mode="append")
    assert lake.rows("t") == [(1, "a"), (2, "b")]


def test_an_append_of_pyiceberg_is_read_too(lake: Lake) -> None:
    """They share our catalog; only its losses (iceberg.md) speak against it."""
    lake.write("t", ONE)
    with lake.pyiceberg("t") as table:
        table.append(pa.table({"id": pa.array([2], pa.int64()), "name": ["b"]}))
    assert lake.rows("t") == [(1, "a"), (2, "b")]
    lake.write("t", "SELECT 3 AS id, 'c' AS name", mode="append")
    with lake.pyiceberg("t") as table:
        assert table.scan().to_arrow().num_rows == 3
        table.overwrite(pa.table({"id": pa.array([9], pa.int64()), "name": ["z"]}))
    assert lake.rows("t") == [(9, "z")]
    lake.write("t", ONE, mode="overwrite")
    assert lake.rows("t") == [(1, "a")]
