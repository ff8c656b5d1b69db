"""Deletes, updates and merges change exactly the rows they name, and nothing by halves."""

import threading
from typing import Any

import pytest

from lakehouse.catalog import Idempotency, Rows, TableNotFoundError
from lakehouse.catalog.errors import InvalidKeyError, NullKeyError
from lakehouse.catalog.row_changes import Changed
from lakehouse.catalog.row_plans import RowCounts, deletion
from tests.catalog.lake import PAIR, Lake, main, rows_of

FIVE = "SELECT i AS id, 'n' || i AS name FROM range(5) r(i)"


def fill(lake: Lake, appends: int = 3) -> None:
    """Make the table `t`: five rows a file, ids from 0 on."""
    lake.write("t", FIVE)
    for number in range(1, appends):
        sql = f"SELECT i + {5 * number} AS id, 'n' || (i + {5 * number}) AS name FROM range(5) r(i)"
        lake.write("t", sql, mode="append")


def merge(lake: Lake, sql: str, *key: str, deletes: bool = False, **more: Any) -> Changed:
    rows = rows_of(sql, {"id": "long"} if deletes else None)
    return lake.catalog.rows.merge(
        lake.cursor, main("t"), rows, key or ("id",), deletes=deletes, **more
    )


def ids(lake: Lake) -> list[int]:
    return sorted(row[0] for row in lake.rows("t"))


def seen_by_others(lake: Lake) -> list[tuple[Any, ...]]:
    with lake.pyiceberg("t") as table:
        rows = table.scan().to_arrow().to_pylist()
    return sorted(((row["id"], row["name"]) for row in rows), key=repr)


def test_a_delete_takes_its_rows_out_and_rewrites_only_their_files(lake: Lake) -> None:
    fill(lake)
    before = set(lake.data_files("t"))
    changed = lake.catalog.rows.delete(lake.cursor, main("t"), "id IN (6, 7)")
    assert changed.rows == RowCounts(deleted=2)
    assert changed.rewritten_files == 1
    assert changed.table.row_count == 13
    assert ids(lake) == [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 14]
    assert len(before & set(lake.data_files("t"))) == 2
    assert seen_by_others(lake) == lake.rows("t")


def test_a_row_of_which_the_condition_is_null_stays(lake: Lake) -> None:
    lake.write("t", "SELECT unnest([1, NULL, 3]) AS id, 'x' AS name")
    lake.catalog.rows.delete(lake.cursor, main("t"), "id > 0")
    assert lake.rows("t") == [(None, "x")]


def test_a_delete_of_nothing_makes_no_snapshot(lake: Lake) -> None:
    fill(lake)
    before, tree = lake.metadata("t"), lake.tree()
    changed = lake.catalog.rows.delete(lake.cursor, main("t"), "id > 1000")
    assert changed.rows.is_nothing
    assert changed.snapshot_id == before["current-snapshot-id"]
    assert lake.metadata("t") == before
    assert lake.tree() == tree


def test_a_delete_of_everything_leaves_an_empty_table(lake: Lake) -> None:
    fill(lake)
    changed = lake.catalog.rows.delete(lake.cursor, main("t"), "true")
    assert (changed.rows.deleted, changed.table.row_count) == (15, 0)
    assert lake.rows("t") == []
    assert seen_by_others(lake) == []


def test_an_update_sets_the_rows_it_names_from_their_old_values(lake: Lake) -> None:
    fill(lake, appends=1)
    values = {"name": "upper(name) || id", "id": "id + 100"}
    changed = lake.catalog.rows.update(lake.cursor, main("t"), values, "t.id >= 3")
    assert changed.rows == RowCounts(updated=2)
    assert dict(lake.rows("t")) == {0: "n0", 1: "n1", 2: "n2", 103: "N33", 104: "N44"}
    assert seen_by_others(lake) == lake.rows("t")


def test_an_update_of_a_column_that_is_not_there_is_refused(lake: Lake) -> None:
    fill(lake, appends=1)
    with pytest.raises(InvalidKeyError, match="no such column; it has id, name"):
        lake.catalog.rows.update(lake.cursor, main("t"), {"nme": "1"}, "true")


def test_a_value_that_does_not_cast_leaves_nothing_behind(lake: Lake) -> None:
    fill(lake)
    tree, rows = lake.tree(), lake.rows("t")
    with pytest.raises(Exception, match="Could not convert string 'n7'"):
        lake.catalog.rows.update(lake.cursor, main("t"), {"id": "CAST(name AS BIGINT)"}, "id = 7")
    assert lake.tree() == tree
    assert lake.rows("t") == rows


def test_now_is_the_same_moment_in_the_whole_change(lake: Lake) -> None:
    columns = {"seen": "timestamptz"}
    lake.write("t", "SELECT now() + i * INTERVAL 1 HOUR AS seen FROM range(-5, 5) r(i)", columns)
    changed = lake.catalog.rows.delete(lake.cursor, main("t"), "seen < now() - INTERVAL 30 MINUTE")
    assert changed.rows.deleted == 5
    assert changed.table.row_count == len(lake.rows("t")) == 5


def test_a_merge_inserts_updates_and_leaves_equal_rows_alone(lake: Lake) -> None:
    fill(lake)
    before = set(lake.data_files("t"))
    changed = merge(lake, "SELECT * FROM (VALUES (1, 'n1'), (7, 'new'), (99, 'more')) v(id, name)")
    assert changed.rows == RowCounts(inserted=1, updated=1)
    assert changed.rewritten_files == 1, "the file of row 1, which is equal, stays"
    assert len(before & set(lake.data_files("t"))) == 2
    rows = dict(lake.rows("t"))
    assert (rows[1], rows[7], rows[99], len(rows)) == ("n1", "new", "more", 16)
    assert seen_by_others(lake) == lake.rows("t")


def test_a_snapshot_says_how_many_rows_changed_not_how_many_were_written_again(lake: Lake) -> None:
    fill(lake)
    lake.catalog.rows.delete(lake.cursor, main("t"), "id = 1")
    merge(lake, "SELECT * FROM (VALUES (2, 'x'), (3, 'y'), (99, 'z')) v(id, name)")
    merged, deleted, *_ = lake.catalog.snapshots(main("t"))
    assert (deleted.added_rows, deleted.updated_rows, deleted.deleted_rows) == (0, 0, 1)
    assert (merged.added_rows, merged.updated_rows, merged.deleted_rows) == (1, 2, 0)
    assert int(merged.summary["added-records"]) == 5, "the specification counts rows of files"


def test_the_same_merge_again_changes_nothing(lake: Lake) -> None:
    fill(lake)
    sql = "SELECT i AS id, NULLIF('m' || i, 'm3') AS name FROM range(3, 9) r(i)"
    merge(lake, sql)
    before, tree = lake.metadata("t"), lake.tree()
    changed = merge(lake, sql)
    assert changed.rows.is_nothing
    assert lake.metadata("t") == before
    assert lake.tree() == tree


def test_the_last_row_of_a_key_wins_however_large_the_load(lake: Lake) -> None:
    fill(lake, appends=1)
    count = 300_000
    lake.cursor.execute(
        f"COPY (SELECT i % 1000 AS id, 'v' || i AS name FROM range({count}) r(i))"
        f" TO '{lake.store.uri('load.csv')}'"
    )
    file = lake.store.uri("load.csv")
    columns = "{'id': 'BIGINT', 'name': 'VARCHAR'}"
    changed = merge(lake, f"SELECT * FROM read_csv('{file}', columns = {columns}, header = true)")
    assert changed.rows == RowCounts(inserted=995, updated=5)
    assert dict(lake.rows("t")) == {i: f"v{count - 1000 + i}" for i in range(1000)}


def test_a_key_that_the_table_has_twice_becomes_one_row(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name FROM range(3)")
    changed = merge(lake, "SELECT 1 AS id, 'a' AS name")
    assert changed.rows == RowCounts(updated=1)
    assert lake.rows("t") == [(1, "a")]


def test_a_merge_by_two_columns(lake: Lake) -> None:
    lake.write("t", "SELECT * FROM (VALUES (1, 'a'), (1, 'b'), (NULL, 'a')) v(id, name)")
    changed = merge(lake, "SELECT * FROM (VALUES (1, 'b'), (2, 'a')) v(id, name)", "id", "NAME")
    assert changed.rows == RowCounts(inserted=1)
    assert lake.rows("t") == [(1, "a"), (1, "b"), (2, "a"), (None, "a")]


def test_a_null_key_is_refused_and_named(lake: Lake) -> None:
    fill(lake)
    tree = lake.tree()
    with pytest.raises(NullKeyError, match=r"1 rows have no value in the key column 'id'.* row 2"):
        merge(lake, "SELECT * FROM (VALUES (1, 'x'), (NULL, 'y')) v(id, name)")
    assert lake.tree() == tree


@pytest.mark.parametrize(
    ("key", "words"), [("nope", "no such column"), ("x", "a type with exact equality")]
)
def test_a_key_must_be_a_column_with_equality(lake: Lake, key: str, words: str) -> None:
    lake.write("t", "SELECT 1.5 AS x", {"x": "double"})
    rows = rows_of("SELECT 1.5 AS x", {"x": "double"})
    with pytest.raises(InvalidKeyError, match=words):
        lake.catalog.rows.merge(lake.cursor, main("t"), rows, [key])


def test_rows_are_deleted_by_the_keys_of_a_load(lake: Lake) -> None:
    fill(lake)
    changed = merge(lake, "SELECT unnest([2, 2, 14, 77]) AS id", deletes=True)
    assert (changed.rows, changed.rewritten_files) == (RowCounts(deleted=2), 2)
    assert ids(lake) == [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]


def test_a_change_of_a_partitioned_table_moves_rows_to_their_partition(lake: Lake) -> None:
    sql = "SELECT i AS id, 'p' || (i % 2) AS name FROM range(10) r(i)"
    lake.write("t", sql, partition_by=["name"])
    lake.catalog.rows.update(lake.cursor, main("t"), {"name": "'p1'"}, "id = 4")
    with lake.pyiceberg("t") as table:
        tasks = list(table.scan(row_filter="name = 'p1'").plan_files())
        assert sum(task.file.record_count for task in tasks) == 6
    assert (4, "p1") in lake.rows("t")


def test_names_of_our_own_are_free_for_columns(lake: Lake) -> None:
    columns = {"lakehouse_file": "string", "row_number": "long"}
    lake.write("t", "SELECT 'a' AS lakehouse_file, 1 AS row_number", columns)
    rows = Rows("SELECT 'b' AS lakehouse_file, 1 AS row_number", rows_of("", columns).columns)
    lake.catalog.rows.merge(lake.cursor, main("t"), rows, ["row_number"])
    assert lake.rows("t") == [("b", 1)]
    lake.catalog.rows.delete(lake.cursor, main("t"), "lakehouse_file = 'b'")
    assert lake.rows("t") == []


def test_a_table_that_is_not_there(lake: Lake) -> None:
    with pytest.raises(TableNotFoundError):
        lake.catalog.rows.delete(lake.cursor, main("t"), "true")


def test_a_change_under_a_key_is_answered_once(lake: Lake) -> None:
    fill(lake)
    key: Idempotency[Changed] = Idempotency("k", "h", lambda done: str(done.rows.deleted).encode())
    lake.catalog.rows.delete(lake.cursor, main("t"), "id = 1", idempotency=key)
    assert lake.catalog.keys.find("k", "h") == b"1"


def test_an_append_that_commits_meanwhile_stays_and_an_overwrite_begins_it_anew(
    lake: Lake,
) -> None:
    fill(lake)
    seen: list[int] = []

    def plan(cursor: Any, scan: Any) -> Any:
        result = deletion("id < 3")(cursor, scan)
        seen.append(result.rows.deleted)
        if len(seen) == 1:
            with lake.database.cursor() as other:
                rows = Rows("SELECT 2 AS id, 'late' AS name", PAIR)
                lake.catalog.loading.write(other, main("t"), rows, mode="append")
        elif len(seen) == 2:
            pytest.fail("an append is no reason to begin anew")
        return result

    lake.catalog.rows.run(lake.cursor, main("t"), plan)
    assert (2, "late") in lake.rows("t")

    def again(cursor: Any, scan: Any) -> Any:
        result = deletion("id > 10")(cursor, scan)
        seen.append(result.rows.deleted)
        if len(seen) == 2:
            with lake.database.cursor() as other:
                rows = Rows("SELECT unnest([1, 50]) AS id, 'o' AS name", PAIR)
                lake.catalog.loading.write(other, main("t"), rows, mode="overwrite")
        return result

    lake.catalog.rows.run(lake.cursor, main("t"), again)
    assert lake.rows("t") == [(1, "o")]
    assert seen == [3, 4, 1]
    assert {key for key in lake.tree() if "/data/" in key} <= lake.reachable()


def test_a_merge_that_only_inserts_begins_anew_when_its_table_was_overwritten(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it took for new may be there by now, and would be there twice."""
    fill(lake)
    commit, seen = lake.catalog.rows._commit, list[int]()

    def late(*args: Any) -> Changed:
        if not seen:
            seen.append(1)
            with lake.database.cursor() as other:
                rows = Rows("SELECT unnest([50, 60]) AS id, 'theirs' AS name", PAIR)
                lake.catalog.loading.write(other, main("t"), rows, mode="overwrite")
        return commit(*args)

    monkeypatch.setattr(lake.catalog.rows, "_commit", late)
    changed = merge(lake, "SELECT unnest([50, 70]) AS id, 'ours' AS name")
    assert changed.rows == RowCounts(inserted=1, updated=1)
    assert lake.rows("t") == [(50, "ours"), (60, "theirs"), (70, "ours")]


def test_a_key_is_stored_in_the_transaction_of_its_change(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Were it stored afterwards, a crash in between would let a retry change the rows again."""
    fill(lake)
    before = lake.rows("t")
    fails: Idempotency[Changed] = Idempotency("k", "h", lambda changed: b"{}")
    monkeypatch.setattr(lake.catalog.keys, "record", broken)
    with pytest.raises(OSError, match="no room"):
        lake.catalog.rows.update(
            lake.cursor, main("t"), {"name": "'x'"}, "id = 1", idempotency=fails
        )
    assert lake.rows("t") == before


def broken(*args: object) -> None:
    raise OSError("no room for the key")


def test_changes_of_one_table_at_once_lose_none(lake: Lake) -> None:
    lake.write("t", "SELECT i AS id, '0' AS name FROM range(8) r(i)")
    errors: list[BaseException] = []

    def bump(row: int) -> None:
        try:
            with lake.database.cursor() as cursor:
                values = {"name": "CAST(CAST(name AS INT) + 1 AS VARCHAR)"}
                for _ in range(3):
                    lake.catalog.rows.update(cursor, main("t"), values, f"id % 2 = {row % 2}")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=bump, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert {name for _, name in lake.rows("t")} == {"6"}


@pytest.mark.parametrize("name", ["filename", "file_index", "file_row_number", "rowid"])
def test_columns_may_have_the_engine_s_own_names(lake: Lake, name: str) -> None:
    columns = {name: "string", "v": "long"}
    for value in ("a", "b"):
        mode = "create" if value == "a" else "append"
        lake.write("t", f"SELECT '{value}' AS {name}, 1 AS v", columns, mode)  # type: ignore[arg-type]
    rows = rows_of(f"SELECT 'a' AS {name}, 2 AS v", columns)
    changed = lake.catalog.rows.merge(lake.cursor, main("t"), rows, [name])
    assert changed.rows == RowCounts(updated=1)
    assert lake.catalog.rows.delete(lake.cursor, main("t"), f"{name} = 'b'").rows.deleted == 1
    assert lake.rows("t") == [("a", 2)]
    lake.catalog.erasing.erase(lake.cursor, main("t"), f"{name} = 'a'")
    assert lake.rows("t") == []
    assert len(lake.metadata("t")["snapshots"]) == 1, "all the others held one of them"
