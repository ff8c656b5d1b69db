"""What snapshots changed, row by row, from the files that differ alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lakehouse.catalog import Differing, EmptyTableError, SnapshotNotFoundError, TableNotFoundError
from lakehouse.catalog import differences as module
from lakehouse.catalog.edits import Edit, snapshot_draft
from lakehouse.catalog.errors import ChangesExpiredError, NotInPastError, TableInUseError
from lakehouse.catalog.metadata import snapshot_of
from lakehouse.catalog.rules import rules_of
from lakehouse.catalog.table import AsOf
from lakehouse.catalog.tables import Change, Draft, LoadedTable
from lakehouse.config import MaintenanceConfig
from tests.catalog.lake import Lake, main
from tests.catalog.lake import rows_of as rows_as

Row = tuple[Any, ...]


def write(lake: Lake, sql: str, mode: Any = "append") -> int:
    written = lake.write("t", sql, mode=mode)
    assert written.snapshot_id is not None
    return written.snapshot_id


def rows_of(lake: Lake, found: Differing) -> list[Row]:
    """Return (change, snapshot, row) in the order of the answer."""
    table = lake.cursor.execute(found.sql).to_arrow_table()
    return [
        (row["_change_type"], row["_snapshot_id"], row["id"], row["name"])
        for row in table.to_pylist()
    ]


def changes(lake: Lake, since: AsOf | None = None, until: AsOf | None = None) -> list[Row]:
    return rows_of(lake, lake.catalog.differences.changes(lake.cursor, main("t"), since, until))


def between(lake: Lake, before: AsOf | None = None, after: AsOf | None = None) -> list[Row]:
    return rows_of(lake, lake.catalog.differences.between(lake.cursor, main("t"), before, after))


def test_appends_are_inserts_in_their_order(lake: Lake) -> None:
    first = write(lake, "SELECT 1 AS id, 'a' AS name", "create")
    second = write(lake, "SELECT 2 AS id, 'b' AS name")
    third = write(lake, "SELECT 3 AS id, 'c' AS name")
    all_ = [
        ("insert", first, 1, "a"),
        ("insert", second, 2, "b"),
        ("insert", third, 3, "c"),
    ]
    assert changes(lake) == all_
    assert changes(lake, first) == all_[1:]
    assert changes(lake, first, second) == all_[1:2]
    assert changes(lake, third) == []
    assert changes(lake, datetime(2020, 1, 1, tzinfo=UTC)) == all_
    assert changes(lake, datetime.now(UTC) + timedelta(seconds=1)) == []


def test_an_overwrite_is_what_left_and_what_came_each_row_as_often_as_it_did(lake: Lake) -> None:
    first = write(
        lake, "SELECT * FROM (VALUES (1, 'a'), (1, 'a'), (2, NULL)) t(id, name)", "create"
    )
    second = write(
        lake, "SELECT * FROM (VALUES (1, 'a'), (2, NULL), (3, 'c')) t(id, name)", "overwrite"
    )
    assert changes(lake, first) == [("delete", second, 1, "a"), ("insert", second, 3, "c")]
    assert between(lake) == changes(lake, first)
    assert [row[0] for row in between(lake, second, first)] == ["delete", "insert"]


def test_a_table_may_have_columns_of_the_names_that_we_use(lake: Lake) -> None:
    columns = {"w": "long", "WW": "long", 'a"b': "double", "l": "list<long>"}
    old = 'SELECT 1 AS w, 2 AS WW, \'nan\'::DOUBLE AS "a""b", [1, NULL] AS l'
    new = 'SELECT 1 AS w, 3 AS WW, NULL::DOUBLE AS "a""b", [1] AS l'
    lake.write("t", f"{old} UNION ALL {old} UNION ALL {old}", columns)
    lake.write("t", f"{old} UNION ALL {new}", columns, mode="overwrite")
    found = lake.catalog.differences.between(lake.cursor, main("t"), None, None)
    table = lake.cursor.execute(found.sql).to_arrow_table()
    assert table.column_names[:4] == list(columns)
    assert [(row["_change_type"], row["WW"], row["l"]) for row in table.to_pylist()] == [
        ("delete", 2, [1, None]),
        ("delete", 2, [1, None]),
        ("insert", 3, [1]),
    ]


def test_a_row_that_came_and_went_is_in_the_changes_and_not_in_the_difference(lake: Lake) -> None:
    first = write(lake, "SELECT 1 AS id, 'a' AS name", "create")
    write(lake, "SELECT 2 AS id, 'b' AS name")
    write(lake, "SELECT 1 AS id, 'a' AS name", "overwrite")
    assert [(row[0], row[2]) for row in changes(lake, first)] == [("insert", 2), ("delete", 2)]
    assert between(lake, first, "main") == []


def rewrite(lake: Lake, sql: str, *, keeps_rows: bool) -> int:
    """Rewrite all files of the table by one commit, as an update or a compaction does."""
    load = lake.catalog.loading.stage(lake.cursor, main("t"), rows_as(sql), mode="append")
    now = lake.catalog.load(main("t"))
    snapshot = snapshot_of(now.metadata)
    assert snapshot
    listed = lake.catalog._manifests.read_list(snapshot["manifest-list"])
    removed = frozenset(each.location for each in lake.catalog._manifests.live_files(listed))

    def build(now: LoadedTable | None) -> Draft:
        assert now is not None
        edit = Edit(added=load.files, removed=removed, keeps_rows=keeps_rows)
        return snapshot_draft(
            lake.catalog._manifests, lake.store, now, edit, base=now.metadata, summary={}
        )

    (table,) = lake.catalog._tables.commit([Change(main("t"), build)])
    result: int = table.metadata["current-snapshot-id"]
    return result


def test_rows_that_a_rewrite_kept_did_not_change(lake: Lake) -> None:
    write(lake, "SELECT range AS id, 'n' AS name FROM range(1000)", "create")
    second = write(lake, "SELECT 1000 AS id, 'n' AS name")
    updated = rewrite(
        lake,
        "SELECT range AS id, CASE range WHEN 7 THEN 'seven' ELSE 'n' END AS name FROM range(1001)",
        keeps_rows=False,
    )
    expected = [("delete", updated, 7, "n"), ("insert", updated, 7, "seven")]
    assert changes(lake, second) == expected
    rewrite(lake, "SELECT id, name FROM (VALUES (0, 'x')) t(id, name)", keeps_rows=True)
    assert changes(lake, updated) == [], "a replace says that it keeps the rows"
    assert changes(lake, second) == expected


def test_only_the_files_that_differ_are_read(lake: Lake) -> None:
    write(lake, "SELECT 1 AS id, 'a' AS name", "create")
    (kept,) = lake.data_files("t")
    second = write(lake, "SELECT 2 AS id, 'b' AS name")
    found = lake.catalog.differences.between(lake.cursor, main("t"), None, None)
    assert kept not in found.sql
    (lake.store.root / kept).unlink()
    assert rows_of(lake, found) == [("insert", second, 2, "b")]


def test_an_answer_covers_so_many_snapshots_and_says_where_to_go_on(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SNAPSHOTS_MAX", 2)
    write(lake, "SELECT 0 AS id, 'a' AS name", "create")
    for number in range(1, 5):
        write(lake, f"SELECT {number} AS id, 'a' AS name")
    seen: list[int] = []
    since: int | None = None
    while True:
        found = lake.catalog.differences.changes(lake.cursor, main("t"), since, None)
        if found.until == since:
            break
        seen += [row[2] for row in rows_of(lake, found)]
        since = found.until
    assert seen == [0, 1, 2, 3, 4]


def test_what_is_not_there_is_said(lake: Lake) -> None:
    with pytest.raises(TableNotFoundError):
        changes(lake)
    lake.catalog.create_table(main("t"), rows_as("").columns)
    assert changes(lake) == []
    assert between(lake) == []
    write(lake, "SELECT 1 AS id, 'a' AS name")
    for unknown in (5, "nope"):
        with pytest.raises(SnapshotNotFoundError):
            changes(lake, unknown)
        with pytest.raises(SnapshotNotFoundError):
            changes(lake, None, unknown)
        with pytest.raises(SnapshotNotFoundError):
            between(lake, unknown)


def test_a_dataset_without_columns_has_no_changes_to_read(lake: Lake) -> None:
    def seal(*_: object) -> None: ...

    lake.catalog.loading.add_files(main("t"), [], [], properties={}, seal=seal)
    with pytest.raises(EmptyTableError):
        changes(lake)


def test_after_a_rollback_the_changes_since_are_refused_and_the_difference_answers(
    lake: Lake,
) -> None:
    first = write(lake, "SELECT 1 AS id, 'a' AS name", "create")
    second = write(lake, "SELECT 2 AS id, 'b' AS name")
    lake.catalog.refs.rollback(main("t"), first)
    with pytest.raises(NotInPastError, match=f"diff/rows\\?from={second}&to={first}"):
        changes(lake, second)
    assert between(lake, second, first) == [("delete", first, 2, "b")]


def test_changes_that_have_expired_are_refused_not_left_out(lake: Lake) -> None:
    first = write(lake, "SELECT 1 AS id, 'a' AS name", "create")
    second = write(lake, "SELECT 2 AS id, 'b' AS name")
    third = write(lake, "SELECT 3 AS id, 'c' AS name")
    lake.catalog._tables.commit(
        [
            Change(
                main("t"),
                lambda now: Draft([{"action": "remove-snapshots", "snapshot-ids": [second]}]),
            )
        ]
    )
    for since in (None, first):
        with pytest.raises(ChangesExpiredError, match=str(third)):
            changes(lake, since)
    with pytest.raises(SnapshotNotFoundError):
        changes(lake, second)
    found = sorted((row[0], row[2]) for row in between(lake, first))
    assert found == [("insert", 2), ("insert", 3)]


def test_columns_are_those_of_the_later_snapshot(lake: Lake) -> None:
    first = write(lake, "SELECT 1 AS id, 'a' AS name", "create")
    fields = [
        {"id": 1, "name": "number", "type": "long", "required": False},
        {"id": 2, "name": "name", "type": "string", "required": False},
        {"id": 3, "name": "more", "type": "string", "required": False},
    ]
    schema = {"type": "struct", "fields": fields}
    updates = [
        {"action": "add-schema", "schema": schema, "last-column-id": 3},
        {"action": "set-current-schema", "schema-id": -1},
    ]
    lake.catalog._tables.commit([Change(main("t"), lambda now: Draft(updates))])
    columns = {"number": "long", "name": "string", "more": "string"}
    lake.write("t", "SELECT 2 AS number, 'b' AS name, 'm' AS more", columns, mode="append")
    found = lake.catalog.differences.changes(lake.cursor, main("t"), first, None)
    rows = lake.cursor.execute(found.sql).to_arrow_table().to_pylist()
    assert [(row["number"], row["name"], row["more"]) for row in rows] == [(2, "b", "m")]
    found = lake.catalog.differences.changes(lake.cursor, main("t"), None, None)
    rows = lake.cursor.execute(found.sql).to_arrow_table().to_pylist()
    assert [(row["number"], row["more"]) for row in rows] == [(1, None), (2, "m")]


def test_files_stay_while_changes_are_read(lake: Lake) -> None:
    write(lake, "SELECT 1 AS id, 'a' AS name", "create")
    found = lake.catalog.differences.changes(lake.cursor, main("t"), None, None)
    with pytest.raises(TableInUseError):
        lake.catalog.purge(main("t"))
    assert len(rows_of(lake, found)) == 1
    del found
    lake.catalog.purge(main("t"))
    assert lake.tree() == set()


def test_since_before_all_is_all_though_only_rewritten_files_are_left(lake: Lake) -> None:
    """The snapshots that brought the rows have expired; the last one says that it changed none."""
    past = [write(lake, "SELECT 1 AS id, 'a' AS name", "create")]
    past.append(write(lake, "SELECT 2 AS id, 'b' AS name"))
    rules = rules_of(lake.metadata("t"), MaintenanceConfig())
    assert lake.catalog.layout.compact(lake.cursor, main("t"), rules, 2).before == 2
    assert lake.catalog.expiry.expire(main("t"), past) == 2
    last = snapshot_of(lake.metadata("t"))
    assert last is not None
    found = lake.catalog.differences.net(lake.cursor, main("t"), None)
    snapshot_id = last["snapshot-id"]
    assert sorted(rows_of(lake, found)) == [
        ("insert", snapshot_id, 1, "a"),
        ("insert", snapshot_id, 2, "b"),
    ]
