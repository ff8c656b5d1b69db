"""A write is whole or nothing, and says what it did."""

from pathlib import Path
from typing import Any

import pytest
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.table.snapshots import Operation

from lakehouse.catalog import (
    Column,
    EmptyTableError,
    InvalidNameError,
    Rows,
    SchemaDriftError,
    TableExistsError,
    TableNotFoundError,
    UnsupportedTypeError,
)
from lakehouse.catalog.metadata import current_snapshot_id
from lakehouse.catalog.tables import Change, Draft, LoadedTable
from lakehouse.database import Database, EngineError
from lakehouse.errors import InvalidInputError
from tests.catalog.lake import PAIR, Lake, main, open_lake, rows_of

LAST = {"action": "set-current-schema", "schema-id": -1}
LATE = "CASE WHEN i = 90000 THEN 'x' ELSE i::VARCHAR END AS name"
BAD = f"SELECT i AS id, {LATE} FROM range(100000) r(i)"


@pytest.mark.parametrize("partition_by", [[], ["bucket(4, id)"]])
@pytest.mark.parametrize("mode", ["create", "append", "overwrite"])
def test_a_cast_that_fails_leaves_nothing_behind(
    lake: Lake, mode: Any, partition_by: list[str]
) -> None:
    columns = {"id": "long", "name": "long"}
    if mode != "create":
        lake.write("t", "SELECT 1 AS id, 2 AS name", columns, partition_by=partition_by)
    before = lake.tree()
    partition = partition_by if mode == "create" else []
    with pytest.raises(EngineError, match=r"^Conversion Error"):
        lake.write("t", BAD, columns, mode, partition_by=partition)
    assert lake.tree() == before
    assert (lake.catalog.find(main("t")) is None) == (mode == "create")


def test_a_statement_that_cannot_be_bound_leaves_nothing_behind(lake: Lake) -> None:
    with pytest.raises(EngineError):
        lake.write("t", "SELECT nope FROM nowhere")
    assert lake.tree() == set()


def test_a_write_says_what_it_did(lake: Lake) -> None:
    first = lake.write("t", "SELECT 1 AS id, 'a' AS name")
    assert (first.created, first.added_rows, first.table.row_count) == (True, 1, 1)
    second = lake.write("t", "SELECT 2 AS id, 'b' AS name FROM range(3)", mode="append")
    assert (second.created, second.added_rows, second.table.row_count) == (False, 3, 4)
    assert second.snapshot_id == lake.catalog.get(main("t")).snapshot_id
    (file,) = second.objects
    assert file.size == lake.store.size(file.key)
    assert sorted(lake.data_files("t")) == sorted(each.objects[0].key for each in (first, second))
    third = lake.write("t", "SELECT 9 AS id, 'c' AS name", mode="overwrite")
    assert (third.added_rows, third.table.row_count) == (1, 1)
    assert third.table.summary["deleted-records"] == "4"
    assert third.table.summary["operation"] == "overwrite"


def test_columns_may_come_in_another_order(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    rows = Rows("SELECT 'b' AS name, 2 AS id", (Column("name", "string"), Column("id", "long")))
    lake.catalog.loading.write(lake.cursor, main("t"), rows, mode="append")
    assert lake.rows("t") == [(1, "a"), (2, "b")]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"id": "long"}, "column 'name' is missing"),
        ({"id": "long", "name": "string", "x": "long"}, "column 'x' is not in the table"),
        ({"ID": "long", "name": "string"}, "column 'id' is missing"),
    ],
)
def test_other_columns_are_drift_and_named(lake: Lake, columns: dict[str, str], words: str) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    before = lake.tree()
    sql = "SELECT " + ", ".join(f"1 AS {name}" for name in columns)
    for mode in ("append", "overwrite"):
        with pytest.raises(SchemaDriftError, match=words):
            lake.write("t", sql, columns, mode)
    assert lake.tree() == before


def test_modes_meet_the_table_they_expect(lake: Lake) -> None:
    for mode in ("append", "overwrite"):
        with pytest.raises(TableNotFoundError):
            lake.write("t", "SELECT 1 AS id, 'a' AS name", mode=mode)
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    with pytest.raises(TableExistsError):
        lake.write("t", "SELECT 1 AS id, 'a' AS name")
    assert lake.tree() == lake.reachable()


NONE = "SELECT 1 AS id, 'a' AS name WHERE false"


@pytest.mark.parametrize("partition_by", [[], ["name"]])
def test_no_rows_make_a_table_but_no_snapshot(lake: Lake, partition_by: list[str]) -> None:
    written = lake.write("t", NONE, partition_by=partition_by)
    assert (written.created, written.added_rows, written.snapshot_id) == (True, 0, None)
    assert lake.rows("t") == []
    assert lake.arrow("t").column_names == ["id", "name"]
    assert not any(key.endswith(".parquet") for key in lake.tree())
    written = lake.write("t", NONE, mode="append")
    assert written.snapshot_id is None
    written = lake.write("t", "SELECT 1 AS id, 'a' AS name", mode="append")
    again = lake.write("t", NONE, mode="append")
    assert again.snapshot_id == written.snapshot_id
    with lake.pyiceberg("t") as table:
        assert table.scan().to_arrow().num_rows == 1


@pytest.mark.parametrize("partition_by", [[], ["name"]])
def test_overwriting_with_no_rows_empties_the_table(lake: Lake, partition_by: list[str]) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name", partition_by=partition_by)
    emptied = lake.write("t", NONE, mode="overwrite")
    assert (emptied.table.row_count, emptied.added_rows) == (0, 0)
    assert lake.rows("t") == []
    assert lake.catalog.describe(main("t")).file_count == 0
    with lake.pyiceberg("t") as table:
        assert table.scan().to_arrow().num_rows == 0
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="append")
    assert lake.rows("t") == [(2, "b")]


def test_an_overwrite_records_what_it_took_out(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="append")
    lake.write("t", "SELECT 3 AS id, 'c' AS name", mode="overwrite")
    lake.write("t", "SELECT 4 AS id, 'd' AS name", mode="append")
    with lake.pyiceberg("t") as table:
        history = [each.snapshot_id for each in table.history()]
        snapshots = table.snapshots()
        assert [each.snapshot_id for each in snapshots] == history
        operations = [each.summary.operation if each.summary else None for each in snapshots]
        assert operations == [
            Operation.APPEND,
            Operation.APPEND,
            Operation.OVERWRITE,
            Operation.APPEND,
        ]
        statuses = {
            (entry.status, entry.sequence_number, entry.snapshot_id)
            for manifest in snapshots[2].manifests(table.io)
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        }
        third = history[2]
        assert statuses == {
            (ManifestEntryStatus.ADDED, 3, third),
            (ManifestEntryStatus.DELETED, 1, third),
            (ManifestEntryStatus.DELETED, 2, third),
        }
        last = snapshots[3].manifests(table.io)
        assert len(last) == 2, "what only says which files left is not carried on"
        for snapshot, expected in zip(history, ([1], [1, 2], [3], [3, 4]), strict=True):
            read = table.scan(snapshot_id=snapshot).to_arrow()["id"].to_pylist()
            assert sorted(each for each in read if each is not None) == expected
        summary = snapshots[3].summary
        assert summary and summary["total-records"] == "2"
        assert summary["total-data-files"] == "2"


def test_the_first_load_of_a_table_without_columns_sets_them(lake: Lake) -> None:
    lake.catalog.create_table(main("t"), [])
    with pytest.raises(EmptyTableError, match="no columns yet"):
        lake.rows("t")
    written = lake.write("t", "SELECT 1 AS id, 'a' AS name")
    assert not written.created
    assert lake.catalog.get(main("t")).columns == PAIR
    assert lake.rows("t") == [(1, "a")]
    with lake.pyiceberg("t") as table:
        assert table.scan().to_arrow().to_pylist() == [{"id": 1, "name": "a"}]


@pytest.mark.parametrize(
    "columns",
    [
        [Column("a", "long"), Column("A", "long")],
        [Column("a", "int64")],
        [Column("a/b", "long")],
        [Column("a", "struct<x: long, X: long>")],
    ],
)
def test_columns_that_cannot_be_are_refused(lake: Lake, columns: list[Column]) -> None:
    with pytest.raises((InvalidNameError, UnsupportedTypeError)):
        lake.catalog.create_table(main("t"), columns)
    assert lake.tree() == set()


def test_five_thousand_columns_are_written_and_read(lake: Lake) -> None:
    columns = {f"c{number}": "long" for number in range(5000)}
    sql = "SELECT " + ", ".join(f"{number} AS c{number}" for number in range(5000))
    lake.write("t", sql, columns)
    assert lake.rows("t") == [tuple(range(5000))]


def test_an_empty_table_is_described(lake: Lake) -> None:
    made = lake.catalog.create_table(
        main("t"), PAIR, partition_by=["bucket(4, id)"], sort_by=["name desc"]
    )
    assert made == lake.catalog.describe(main("t"))
    assert (made.row_count, made.file_count, made.snapshot_id) == (0, 0, None)
    assert (made.partition_by, made.sort_by) == (["bucket(4, id)"], ["name desc"])
    assert made.columns == list(PAIR)
    assert made.location.startswith("tables/main/t-")
    assert abs((made.updated_at - made.created_at).total_seconds()) < 1


def test_snapshots_are_listed_newest_first(lake: Lake) -> None:
    for number, mode in enumerate(["create", "append", "overwrite"]):
        sql = f"SELECT i AS id, 'a' AS name FROM range({number + 1}) r(i)"
        lake.write("t", sql, mode=mode)  # type: ignore[arg-type]
    listed = lake.catalog.snapshots(main("t"))
    assert [each.operation for each in listed] == ["overwrite", "append", "append"]
    assert [each.row_count for each in listed] == [3, 3, 1]
    assert [each.added_rows for each in listed] == [3, 2, 1]
    assert [each.deleted_rows for each in listed] == [3, 0, 0]
    assert listed[0].parent_snapshot_id == listed[1].snapshot_id
    assert listed[0].committed_at > listed[1].committed_at > listed[2].committed_at


def test_snapshot_ids_fit_readers_without_64_bit_integers(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    snapshot_id = current_snapshot_id(lake.metadata("t"))
    assert snapshot_id is not None and 0 < snapshot_id < 2**53


def test_every_file_lies_under_the_tables_location(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name", partition_by=["name"])
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="append")
    location = lake.metadata("t")["location"]
    assert {each.partition("/data")[0].partition("/metadata")[0] for each in lake.tree()} == {
        lake.store.key(location)
    }
    for at, _ in lake.catalog.contents(main("t"))[1]:
        assert at.startswith(f"{location}/data/"), "letter by letter, as engines compare it"


def test_a_layout_that_is_not_the_tables_is_not_ignored(lake: Lake) -> None:
    one = "SELECT 1 AS id, 'a' AS name"
    layout: Any = {"partition_by": ["bucket(4, id)"], "sort_by": ["name desc"]}
    lake.write("t", one, **layout)
    lake.write("t", one, mode="append", **layout)
    lake.write("t", one, mode="overwrite", partition_by=["BUCKET(4,ID)"])
    for other in ({"partition_by": ["id"]}, {"sort_by": ["name"]}):
        with pytest.raises(InvalidInputError, match="only a create sets it"):
            lake.write("t", one, mode="append", **other)  # type: ignore[arg-type]
    assert lake.tree() == lake.reachable()


ODD_FOLDERS = ["with space", "ünï", "it's", 'q"uote', "a&b=c+d", "per%20cent"]


@pytest.mark.parametrize("folder", ODD_FOLDERS)
def test_the_data_directory_may_have_an_odd_name(
    tmp_path: Path, database: Database, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    with open_lake(tmp_path / folder, database) as lake:
        lake.write("t", "SELECT 1 AS id, 'a' AS name", partition_by=["name"])
        lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="append")
        assert lake.rows("t") == [(1, "a"), (2, "b")]
        assert lake.tree() == lake.reachable()
        assert lake.catalog.damaged() == {}


def test_a_folder_named_like_a_column_does_not_become_its_value(
    tmp_path: Path, database: Database
) -> None:
    """Left alone, DuckDB takes `id=7` in a path for the value of the column `id`."""
    (tmp_path / "id=7").mkdir()
    columns = {"id": "long", "p": "string", "name": "string"}
    with open_lake(tmp_path / "id=7", database) as lake:
        sql = "SELECT 1 AS id, 'mine' AS p, 'a' AS name"
        lake.write("plain", sql, columns)
        lake.write("parted", sql, columns, partition_by=["id", "name"])
        assert lake.rows("plain") == lake.rows("parted") == [(1, "mine", "a")]
        with lake.pyiceberg("parted") as table:
            assert table.scan(row_filter="id = 1").to_arrow().num_rows == 1


def test_a_load_of_one_kind_of_quote_in_its_sql(lake: Lake) -> None:
    rows = rows_of("""SELECT 1 AS id, 'it''s "x"; --' AS name""")
    lake.catalog.loading.write(lake.cursor, main("t"), rows, mode="create")
    assert lake.rows("t") == [(1, 'it\'s "x"; --')]


def test_a_table_whose_rows_no_column_could_identify_is_written(lake: Lake) -> None:
    """An engine named an optional column once, when nobody looked: PyIceberg makes no schema so."""
    lake.write("t", "SELECT 1 AS id, 'a' AS name")

    def build(now: LoadedTable | None) -> Draft:
        assert now is not None
        schema = {**now.metadata["schemas"][0], "identifier-field-ids": [1]}
        return Draft([{"action": "add-schema", "schema": schema}, LAST])

    lake.catalog._tables.commit([Change(main("t"), build)])
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="append")
    assert lake.rows("t") == [(1, "a"), (2, "b")]
