"""Tags, branches and rollback: names for snapshots, as PyIceberg reads them too."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pyiceberg.table import Table as PyIcebergTable

from lakehouse.catalog import SnapshotNotFoundError, TableNotFoundError, read_as_of
from lakehouse.catalog.edits import Edit, snapshot_draft
from lakehouse.catalog.errors import (
    NotForwardError,
    NotMainsPastError,
    RefExistsError,
    RefNotFoundError,
)
from lakehouse.catalog.models import Ref, RefPut
from lakehouse.catalog.table import moment
from lakehouse.catalog.tables import Change, Draft, LoadedTable
from lakehouse.errors import InvalidInputError
from lakehouse.names import InvalidNameError
from tests.catalog.lake import PAIR, Lake, main, rows_of

ROWS = [(1, "a"), (2, "b"), (3, "c")]


def three(lake: Lake) -> list[int]:
    """Make a table by three appends and return their snapshots."""
    for number, (id_, name) in enumerate(ROWS):
        mode: Any = "append" if number else "create"
        lake.write("t", f"SELECT {id_} AS id, '{name}' AS name", mode=mode)
    return [each["snapshot-id"] for each in lake.metadata("t")["snapshots"]]


def past_moment() -> datetime:
    """Return the time; what happens next is later by at least the millisecond of a log."""
    now = datetime.now(UTC)
    time.sleep(0.002)
    return now


def put(lake: Lake, ref: str, type_: Any = "tag", **asked: Any) -> Ref:
    return lake.catalog.refs.put(main("t"), ref, RefPut(type_, **asked))


def append_to(lake: Lake, branch: str, sql: str) -> int:
    """Append to a branch as another engine does, and return the snapshot."""
    load = lake.catalog.loading.stage(lake.cursor, main("t"), rows_of(sql), mode="append")

    def build(now: LoadedTable | None) -> Draft:
        assert now is not None
        return snapshot_draft(
            lake.catalog._manifests,
            lake.store,
            now,
            Edit(added=load.files),
            base=now.metadata,
            summary={},
            branch=branch,
        )

    (table,) = lake.catalog._tables.commit([Change(main("t"), build)])
    head: int = table.metadata["refs"][branch]["snapshot-id"]
    return head


def read_by_pyiceberg(table: PyIcebergTable, ref: str) -> Sequence[Any]:
    snapshot = table.snapshot_by_name(ref)
    assert snapshot is not None
    found = table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().to_pylist()
    return sorted(tuple(row.values()) for row in found)


def test_a_tag_and_a_branch_read_what_they_name_here_and_in_pyiceberg(lake: Lake) -> None:
    first, second, third = three(lake)
    put(lake, "start", snapshot_id=first, max_ref_age_ms=86_400_000)
    put(lake, "audit", "branch", snapshot_id="start", min_snapshots_to_keep=3)
    put(lake, "now")
    lake.write("t", "SELECT 4 AS id, 'd' AS name", mode="append")
    assert lake.rows("t", "start") == ROWS[:1]
    assert lake.rows("t", "audit") == ROWS[:1]
    assert lake.rows("t", "now") == ROWS
    assert len(lake.rows("t", "main")) == 4
    names = {each.name: each for each in lake.catalog.refs.list(main("t"))}
    assert list(names) == ["audit", "main", "now", "start"]
    assert names["start"].max_ref_age_ms == 86_400_000
    assert names["audit"].min_snapshots_to_keep == 3
    assert names["now"].snapshot_id == third
    assert names["now"].committed_at == lake.catalog.snapshots(main("t"))[1].committed_at
    with lake.pyiceberg("t") as table:
        assert set(table.refs()) == {"audit", "main", "now", "start"}
        assert table.refs()["start"].max_ref_age_ms == 86_400_000
        assert table.refs()["audit"].snapshot_ref_type.value == "branch"
        assert read_by_pyiceberg(table, "start") == ROWS[:1]
        assert read_by_pyiceberg(table, "now") == ROWS
    by_snapshot = {each.snapshot_id: each.refs for each in lake.catalog.snapshots(main("t"))}
    assert by_snapshot[first] == ["audit", "start"]
    assert by_snapshot[second] == []


def test_the_same_reference_twice_is_one_commit(lake: Lake) -> None:
    first, *_ = three(lake)
    put(lake, "start", snapshot_id=first)
    location = lake.catalog.load(main("t")).location
    assert put(lake, "start", snapshot_id=str(first)).snapshot_id == first
    assert put(lake, "start").snapshot_id == first, "without a snapshot it stays where it is"
    assert lake.catalog.load(main("t")).location == location


def test_a_tag_moves_only_when_told_and_a_name_keeps_its_kind(lake: Lake) -> None:
    first, second, _ = three(lake)
    put(lake, "start", snapshot_id=first)
    with pytest.raises(RefExistsError, match=f"is at {first}"):
        put(lake, "start", snapshot_id=second)
    assert put(lake, "start", snapshot_id=second, move=True).snapshot_id == second
    with pytest.raises(RefExistsError, match="is a tag"):
        put(lake, "start", "branch", snapshot_id=second)
    put(lake, "work", "branch", snapshot_id=first)
    assert put(lake, "work", "branch", snapshot_id=second).snapshot_id == second


def test_names_that_differ_by_case_alone_are_refused(lake: Lake) -> None:
    first, *_ = three(lake)
    put(lake, "Month-End", snapshot_id=first)
    for name, type_ in (("month-end", "tag"), ("MONTH-END", "branch"), ("Main", "branch")):
        with pytest.raises(RefExistsError, match="by case alone; say it like this"):
            put(lake, name, type_, snapshot_id=first)
    assert put(lake, "Month-End", snapshot_id=first).snapshot_id == first
    assert put(lake, "Ärger").name == "Ärger"
    assert put(lake, "ärger").name == "ärger", "DuckDB tells these apart, and so do we"


@pytest.mark.parametrize("name", ["2026-Q1", "2026-01", "v1.0", "at-1", "e5", "x-1"])
def test_a_name_that_reads_as_nothing_else_is_one(lake: Lake, name: str) -> None:
    first, *_ = three(lake)
    put(lake, name, snapshot_id=first)
    assert lake.catalog.snapshot_id(main("t"), read_as_of(name)) == first


def test_main_moves_only_forward_by_its_reference(lake: Lake) -> None:
    first, _, third = three(lake)
    put(lake, "audit", "branch")
    head = append_to(lake, "audit", "SELECT 9 AS id, 'z' AS name")
    assert lake.rows("t") == ROWS
    before = past_moment()
    with pytest.raises(NotForwardError, match="rollback"):
        put(lake, "main", "branch", snapshot_id=first)
    put(lake, "main", "branch", snapshot_id="audit")
    assert lake.rows("t") == [*ROWS, (9, "z")]
    assert lake.metadata("t")["current-snapshot-id"] == head
    # What was committed to a branch is the table's state from the moment it became that.
    assert lake.rows("t", before) == ROWS
    lake.write("t", "SELECT 5 AS id, 'e' AS name", mode="append")
    put(lake, "side", "branch", snapshot_id=third)
    append_to(lake, "side", "SELECT 8 AS id, 'y' AS name")
    with pytest.raises(NotForwardError):
        put(lake, "main", "branch", snapshot_id="side")


@pytest.mark.parametrize(
    ("ref", "asked", "words"),
    [
        ("12345", {"type": "tag"}, "snapshot id"),
        ("2026-01-31", {"type": "tag"}, "a time"),
        ("12:00", {"type": "tag"}, "a time"),
        ("2026-W05-1", {"type": "tag"}, "a time"),
        ("1e5", {"type": "tag"}, "a number"),
        ("-1", {"type": "tag"}, "a number"),
        ("1.0", {"type": "branch"}, "a number"),
        ("-x", {"type": "tag"}, "an option"),
        ("a/b", {"type": "tag"}, "control character"),
        ("", {"type": "tag"}, "empty"),
        ("x" * 256, {"type": "tag"}, "256 bytes"),
        ("main", {"type": "tag"}, "never a tag"),
        ("main", {"type": "branch", "max_ref_age_ms": 1}, "does not age"),
        ("t", {"type": "tag", "min_snapshots_to_keep": 1}, "for branches"),
        ("t", {"type": "tag", "max_snapshot_age_ms": 1}, "for branches"),
    ],
)
def test_what_cannot_be_a_reference_is_refused(
    lake: Lake, ref: str, asked: dict[str, Any], words: str
) -> None:
    three(lake)
    before = lake.tree()
    with pytest.raises(InvalidInputError, match=words):
        lake.catalog.refs.put(main("t"), ref, RefPut(**asked))
    assert lake.tree() == before


def test_what_is_not_there_is_said(lake: Lake) -> None:
    with pytest.raises(TableNotFoundError):
        put(lake, "x")
    lake.catalog.create_table(main("t"), PAIR)
    assert lake.catalog.refs.list(main("t")) == []
    with pytest.raises(InvalidInputError, match="no snapshot yet"):
        put(lake, "x")
    with pytest.raises(SnapshotNotFoundError):
        lake.catalog.refs.rollback(main("t"), 5)
    lake.write("t", "SELECT 1 AS id, 'a' AS name", mode="append")
    for unknown in (5, "nope", "2020-01-01"):
        with pytest.raises(SnapshotNotFoundError):
            put(lake, "x", snapshot_id=unknown)
        with pytest.raises(SnapshotNotFoundError):
            lake.catalog.refs.rollback(main("t"), unknown)
    with pytest.raises(RefNotFoundError):
        lake.catalog.refs.delete(main("t"), "x")
    with pytest.raises(RefNotFoundError):
        lake.catalog.refs.get(main("t"), "x")
    with pytest.raises(InvalidInputError, match="is the table"):
        lake.catalog.refs.delete(main("t"), "main")
    with pytest.raises(SnapshotNotFoundError, match="tag or branch 'nope'"):
        lake.rows("t", "nope")


def test_a_deleted_reference_leaves_its_snapshot(lake: Lake) -> None:
    first, *_ = three(lake)
    put(lake, "start", snapshot_id=first)
    lake.catalog.refs.delete(main("t"), "start")
    assert [each.name for each in lake.catalog.refs.list(main("t"))] == ["main"]
    assert lake.rows("t", first) == ROWS[:1]


def test_a_rollback_is_the_table_as_it_was_and_can_be_undone(lake: Lake) -> None:
    first, _, third = three(lake)
    tree, before = lake.tree(), past_moment()
    done = lake.catalog.refs.rollback(main("t"), first)
    assert (done.snapshot_id, done.previous_snapshot_id, done.row_count) == (first, third, 1)
    assert lake.rows("t") == ROWS[:1]
    assert lake.catalog.get(main("t")).row_count == 1
    assert lake.tree() > tree, "nothing is deleted"
    assert lake.rows("t", before) == ROWS, "a time before it reads what was there then"
    metadata = lake.metadata("t")
    entry = metadata["snapshot-log"][-1]
    assert entry["snapshot-id"] == first
    assert moment(entry["timestamp-ms"]) >= before - timedelta(milliseconds=1)
    assert entry["timestamp-ms"] <= metadata["last-updated-ms"]
    with lake.pyiceberg("t") as table:
        assert table.scan().to_arrow().num_rows == 1

    lake.write("t", "SELECT 7 AS id, 'g' AS name", mode="append")
    assert lake.rows("t") == [(1, "a"), (7, "g")]
    lake.catalog.refs.rollback(main("t"), third)
    assert lake.rows("t") == ROWS


def test_a_rollback_goes_to_a_tag_and_to_a_time(lake: Lake) -> None:
    first, *_ = three(lake)
    put(lake, "start", snapshot_id=first)
    now = past_moment().isoformat()
    lake.catalog.refs.rollback(main("t"), "start")
    assert lake.rows("t") == ROWS[:1]
    lake.catalog.refs.rollback(main("t"), now)
    assert lake.rows("t") == ROWS
    location = lake.catalog.load(main("t")).location
    lake.catalog.refs.rollback(main("t"), "main")
    assert lake.catalog.load(main("t")).location == location, "where it is already"


def test_a_snapshot_of_a_branch_alone_is_no_past_of_the_table(lake: Lake) -> None:
    three(lake)
    put(lake, "audit", "branch")
    head = append_to(lake, "audit", "SELECT 9 AS id, 'z' AS name")
    assert lake.rows("t", "audit") == [*ROWS, (9, "z")]
    for to in ("audit", head):
        with pytest.raises(NotMainsPastError):
            lake.catalog.refs.rollback(main("t"), to)
    assert lake.rows("t") == ROWS


def test_a_rollback_brings_rows_back_not_columns(lake: Lake) -> None:
    first, *_ = three(lake)
    more = {"id": 3, "name": "more", "type": "string", "required": False}
    fields = [*lake.metadata("t")["schemas"][0]["fields"], more]
    schema = {"type": "struct", "fields": fields}
    updates = [
        {"action": "add-schema", "schema": schema, "last-column-id": 3},
        {"action": "set-current-schema", "schema-id": -1},
    ]
    lake.catalog._tables.commit([Change(main("t"), lambda now: Draft(updates))])
    lake.catalog.refs.rollback(main("t"), first)
    assert lake.rows("t") == [(1, "a", None)]
    assert lake.rows("t", first) == [(1, "a")], "with as_of it has the columns that it had"


def test_snapshots_say_who_made_them(lake: Lake) -> None:
    three(lake)
    newest = lake.catalog.snapshots(main("t"))[0]
    assert newest.by == "lakehouse"
    assert newest.refs == ["main"]
    assert newest.trace_id is None, "there was no request"


def test_a_name_that_is_wrong_is_an_invalid_name(lake: Lake) -> None:
    three(lake)
    with pytest.raises(InvalidNameError):
        put(lake, "e\u0301")
