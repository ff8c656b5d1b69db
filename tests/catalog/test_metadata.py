"""Requirements and updates in the words of the Iceberg REST protocol, on plain JSON."""

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyiceberg.table.metadata import TableMetadataV2

from lakehouse.catalog import Column
from lakehouse.catalog.errors import CommitFailedError, SnapshotNotFoundError
from lakehouse.catalog.metadata import (
    PREVIOUS_VERSIONS_MAX,
    Json,
    current_snapshot_id,
    new_metadata,
    previous_versions_max,
    read_metadata,
    schema_of,
    snapshot_at,
    snapshot_of,
    with_log_entry,
)
from lakehouse.catalog.models import TableName
from lakehouse.catalog.requirements import REQUIREMENTS, check
from lakehouse.catalog.table import chosen_snapshot, moment
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import make_fields
from lakehouse.catalog.updates import UPDATES, apply
from lakehouse.errors import InvalidInputError

UUID = "9c12d441-03fe-4693-9a96-a0705ddf69c1"


def fresh() -> Json:
    fields, last = make_fields([Column("id", "long"), Column("s", "struct<a: string>")])
    return new_metadata(
        table_uuid=UUID, location="file:///t", fields=fields, last_column_id=last, now_ms=1000
    )


def snapshot(number: int, at_ms: int = 0) -> Json:
    return {
        "snapshot-id": number,
        "sequence-number": number,
        "timestamp-ms": at_ms or 1000 + number,
        "manifest-list": f"file:///t/metadata/{number}.avro",
        "summary": {"operation": "append"},
        "schema-id": 0,
    }


def adding(number: int, at_ms: int = 0) -> list[Json]:
    reference = {"ref-name": "main", "type": "branch", "snapshot-id": number}
    return [
        {"action": "add-snapshot", "snapshot": snapshot(number, at_ms)},
        {"action": "set-snapshot-ref", **reference},
    ]


def test_new_metadata_is_what_pyiceberg_reads() -> None:
    parsed = TableMetadataV2.model_validate(orjson.loads(orjson.dumps(fresh())))
    assert parsed.last_column_id == 3
    assert parsed.current_snapshot() is None
    after = apply(fresh(), adding(7))
    assert TableMetadataV2.model_validate(after).current_snapshot_id == 7


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        ({"type": "assert-create"}, "table already exists"),
        ({"type": "assert-table-uuid", "uuid": "other"}, "UUID does not match"),
        ({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 8}, "branch main has"),
        ({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": None}, "branch main was"),
        ({"type": "assert-ref-snapshot-id", "ref": "b", "snapshot-id": 7}, "branch or tag b is"),
        ({"type": "assert-current-schema-id", "current-schema-id": 1}, "current schema changed"),
        (
            {"type": "assert-default-spec-id", "default-spec-id": 3},
            "default partition spec changed",
        ),
        (
            {"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 1000},
            "last assigned partition id changed: expected id 1000 != 999",
        ),
        (
            {"type": "assert-default-sort-order-id", "default-sort-order-id": 3},
            "default sort order changed: expected id 3 != 0",
        ),
    ],
)
def test_a_requirement_that_does_not_hold_is_a_conflict(requirement: Json, words: str) -> None:
    with pytest.raises(CommitFailedError, match=f"Requirement failed: {words}"):
        check(apply(fresh(), adding(7)), [requirement])


@pytest.mark.parametrize(
    "requirement",
    [
        {"type": "assert-table-uuid", "uuid": UUID},
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 7},
        {"type": "assert-ref-snapshot-id", "ref": "other", "snapshot-id": None},
        {"type": "assert-current-schema-id", "current-schema-id": 0},
    ],
)
def test_a_requirement_that_holds_says_nothing(requirement: Json) -> None:
    check(apply(fresh(), adding(7)), [requirement])


def test_a_table_that_is_not_there_meets_assert_create_alone() -> None:
    check(None, [{"type": "assert-create"}])
    for requirement in (
        {"type": "assert-table-uuid", "uuid": UUID},
        {"type": "assert-current-schema-id", "current-schema-id": 0},
    ):
        with pytest.raises(CommitFailedError):
            check(None, [requirement])


@pytest.mark.parametrize("word", ["assert-view-uuid", "", "assert-create "])
def test_an_unknown_requirement_is_refused_not_ignored(word: str) -> None:
    assert word not in REQUIREMENTS
    with pytest.raises(InvalidInputError, match="not known"):
        check(fresh(), [{"type": word}])


@pytest.mark.parametrize("word", ["add-view-version", "", "remove-snapshots "])
def test_an_unknown_update_is_refused_and_the_others_are_not_done(word: str) -> None:
    assert word not in UPDATES
    before = fresh()
    updates: list[Json] = [
        {"action": "set-properties", "updates": {"a": "1"}},
        {"action": word},
    ]
    with pytest.raises(InvalidInputError, match="not known"):
        apply(before, updates)
    assert before == fresh()


def test_a_snapshot_is_added_and_becomes_current() -> None:
    after = apply(fresh(), adding(7, 2000))
    assert current_snapshot_id(after) == 7
    assert after["last-sequence-number"] == 7
    assert after["last-updated-ms"] == 2000
    assert after["snapshot-log"] == [{"snapshot-id": 7, "timestamp-ms": 2000}]
    assert after["refs"] == {"main": {"type": "branch", "snapshot-id": 7}}


def test_a_stale_sequence_number_is_a_conflict() -> None:
    with pytest.raises(CommitFailedError, match="sequence number is stale"):
        apply(apply(fresh(), adding(7)), later(adding(8), 7))


def later(updates: list[Json], number: int) -> list[Json]:
    """Return updates whose snapshot goes on from another, with a sequence number of its own."""
    snapshot = {**updates[0]["snapshot"], "sequence-number": number, "parent-snapshot-id": 7}
    return [{**updates[0], "snapshot": snapshot}, *updates[1:]]


def test_a_snapshot_that_replaces_all_goes_on_from_none() -> None:
    replaced = later(adding(8), 7)
    del replaced[0]["snapshot"]["parent-snapshot-id"]
    assert apply(apply(fresh(), adding(7)), replaced)["last-sequence-number"] == 7


def test_a_reference_to_no_snapshot_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no snapshot 9"):
        apply(fresh(), adding(7)[:1] + adding(9)[1:])


def test_a_reference_that_does_not_move_changes_nothing() -> None:
    after = apply(fresh(), adding(7))
    assert apply(after, adding(7)[1:]) == after


def test_another_branch_does_not_move_the_table() -> None:
    branch = {"action": "set-snapshot-ref", "ref-name": "dev", "type": "branch", "snapshot-id": 8}
    updates = [*adding(7), {"action": "add-snapshot", "snapshot": snapshot(8)}, branch]
    after = apply(fresh(), updates)
    assert current_snapshot_id(after) == 7
    assert [each["snapshot-id"] for each in after["snapshot-log"]] == [7]


def test_a_schema_is_added_then_current() -> None:
    fields, last = make_fields([Column("other", "long"), Column("x", "list<long>")])
    added = {"action": "add-schema", "schema": {"type": "struct", "fields": fields}}
    after = apply(
        fresh(),
        [{**added, "last-column-id": last}, {"action": "set-current-schema", "schema-id": -1}],
    )
    assert after["current-schema-id"] == 1
    assert [each["name"] for each in schema_of(after)["fields"]] == ["other", "x"]
    assert [each["name"] for each in schema_of(after, 0)["fields"]] == ["id", "s"]
    assert after["last-column-id"] == 3
    back = apply(after, [{"action": "set-current-schema", "schema-id": 0}])
    assert schema_of(back)["schema-id"] == 0
    with pytest.raises(InvalidInputError, match="no schema 5"):
        apply(after, [{"action": "set-current-schema", "schema-id": 5}])


def test_properties_are_merged() -> None:
    one = apply(fresh(), [{"action": "set-properties", "updates": {"a": "1", "b": "2"}}])
    two = apply(one, [{"action": "set-properties", "updates": {"b": "3"}}])
    assert two["properties"] == {"a": "1", "b": "3"}


UNKNOWN: dict[str, Any] = {
    "next-row-id": 5,
    "encryption-keys": [{"a": None}],
    "x-vendor": {"nested": [1, {"deep": "ü"}]},
}


def test_fields_that_we_do_not_know_survive_every_update() -> None:
    before = {**fresh(), **UNKNOWN, "statistics": [{"blob-metadata": [{"type": "theirs"}]}]}
    before["schemas"][0]["x-theirs"] = 1
    updates = [{"action": "set-properties", "updates": {"a": "1"}}, *adding(7), *adding(8)]
    after = with_log_entry(apply(before, updates), "file:///t/0", before, 3000)
    assert {key: after[key] for key in UNKNOWN} == UNKNOWN
    assert after["statistics"] == before["statistics"]
    assert after["schemas"] == before["schemas"]
    assert read_metadata(orjson.dumps(after)) == after


def test_apply_leaves_its_input_alone() -> None:
    before = apply(fresh(), adding(7))
    kept = copy.deepcopy(before)
    fields, _ = make_fields([Column("other", "long")])
    part = {"source-id": 1, "name": "part", "transform": "identity"}
    updates: list[Json] = [
        {"action": "assign-uuid", "uuid": UUID},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-schema", "schema": {"type": "struct", "fields": fields}},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "remove-schemas", "schema-ids": [0]},
        {"action": "add-spec", "spec": {"fields": [part]}},
        {"action": "set-default-spec", "spec-id": -1},
        {"action": "remove-partition-specs", "spec-ids": [0]},
        {"action": "add-sort-order", "sort-order": {"fields": [part]}},
        {"action": "set-default-sort-order", "sort-order-id": -1},
        {"action": "set-location", "location": "file:///t"},
        {"action": "set-statistics", "statistics": {"snapshot-id": 7}},
        {"action": "set-partition-statistics", "partition-statistics": {"snapshot-id": 7}},
        {"action": "remove-statistics", "snapshot-id": 7},
        {"action": "remove-partition-statistics", "snapshot-id": 7},
        {"action": "set-properties", "updates": {"a": "1", "b": "2"}},
        {"action": "remove-properties", "removals": ["b"]},
        *adding(8),
        {"action": "remove-snapshot-ref", "ref-name": "main"},
        {"action": "remove-snapshots", "snapshot-ids": [7]},
    ]
    assert {each["action"] for each in updates} == set(UPDATES), "every update is tried"
    after = with_log_entry(apply(before, updates), "file:///t/1", before, 9000)
    assert before == kept
    assert after != before


def test_a_removed_snapshot_leaves_no_reference_no_statistics_and_no_gap_in_the_log() -> None:
    metadata = fresh()
    for number in (1, 2, 3, 4):  # of one commit the log has the last alone
        metadata = apply(metadata, adding(number))
    for name, number in (("old", 2), ("new", 4)):
        reference = {"ref-name": name, "type": "tag", "snapshot-id": number}
        metadata = apply(metadata, [{"action": "set-snapshot-ref", **reference}])
    metadata["statistics"] = [{"snapshot-id": 2}, {"snapshot-id": 4}]
    after = apply(metadata, [{"action": "remove-snapshots", "snapshot-ids": [2]}])
    assert [each["snapshot-id"] for each in after["snapshots"]] == [1, 3, 4]
    assert [each["snapshot-id"] for each in after["snapshot-log"]] == [3, 4]
    assert set(after["refs"]) == {"main", "new"}
    assert after["statistics"] == [{"snapshot-id": 4}]
    none = apply(after, [{"action": "remove-snapshots", "snapshot-ids": [1, 3, 4]}])
    assert current_snapshot_id(none) is None
    assert none["refs"] == {} and none["snapshot-log"] == []
    TableMetadataV2.model_validate(none)


def test_the_metadata_log_is_complete_and_bounded() -> None:
    metadata = fresh()
    for number in range(PREVIOUS_VERSIONS_MAX + 20):
        after = apply(metadata, [{"action": "set-properties", "updates": {"n": str(number)}}])
        metadata = with_log_entry(after, f"file:///t/{number}", metadata, 2000 + number)
    log = [each["metadata-file"] for each in metadata["metadata-log"]]
    assert log == [f"file:///t/{number}" for number in range(20, PREVIOUS_VERSIONS_MAX + 20)]
    times = [each["timestamp-ms"] for each in metadata["metadata-log"]]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty document"),
        (b'{"format-version": 2', "unexpected"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"{}", "format version None"),
        (b'{"format-version": 4}', "format version 4"),
        (b'{"format-version": 2}', "it lacks current-schema-id"),
        (b"\x00\xff", "line 1 column 1"),
    ],
)
def test_what_is_no_metadata_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_metadata(data)


def test_what_the_specification_lets_a_writer_leave_out_is_there() -> None:
    optional = ["properties", "refs", "snapshots", "snapshot-log", "metadata-log"]
    lean = {key: value for key, value in fresh().items() if key not in optional}
    lean.pop("current-snapshot-id")
    read = read_metadata(orjson.dumps(lean))
    assert apply(read, adding(7))["current-snapshot-id"] == 7
    other = {**lean, "snapshots": [snapshot(5)], "current-snapshot-id": 5}
    refs = read_metadata(orjson.dumps(other))["refs"]
    assert refs == {"main": {"snapshot-id": 5, "type": "branch"}}


def loaded(metadata: Json) -> LoadedTable:
    return LoadedTable(TableName("main", "t"), "file:///t/0", metadata)


def test_a_snapshot_is_found_by_id_and_by_time() -> None:
    metadata = fresh()
    for number, at_ms in ((7, 2000), (8, 3000), (9, 4000)):
        metadata = apply(metadata, adding(number, at_ms))
    assert snapshot_of(metadata, 8) == snapshot(8, 3000)
    assert snapshot_of(metadata) == snapshot(9, 4000)
    for at_ms, expected in ((2000, 7), (2999, 7), (3000, 8), (10**12, 9)):
        assert snapshot_at(metadata, at_ms) == snapshot_of(metadata, expected)
        assert chosen_snapshot(loaded(metadata), moment(at_ms)) == snapshot_of(metadata, expected)
    assert snapshot_at(metadata, 1999) is None
    for asked in (1, moment(1999), datetime(1970, 1, 1, tzinfo=UTC)):
        with pytest.raises(SnapshotNotFoundError):
            chosen_snapshot(loaded(metadata), asked)


@given(st.integers(1, 4 * 10**12), st.integers(0, 999))
def test_a_moment_is_the_same_millisecond_there_and_back(at_ms: int, microseconds: int) -> None:
    metadata = apply(fresh(), adding(7, at_ms))
    asked = moment(at_ms) + timedelta(microseconds=microseconds)
    assert chosen_snapshot(loaded(metadata), asked) == snapshot(7, at_ms)


def test_after_a_rollback_time_travel_reads_what_was_current_then() -> None:
    metadata = apply(apply(fresh(), adding(7, 2000)), adding(8, 3000))
    back = {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 7}
    metadata = apply({**metadata, "last-updated-ms": 4000}, [back])
    assert current_snapshot_id(metadata) == 7
    assert snapshot_at(metadata, 3500) == snapshot(8, 3000)
    back_ms = metadata["last-updated-ms"]
    assert abs(back_ms / 1000 - datetime.now(UTC).timestamp()) < 60
    assert snapshot_at(metadata, back_ms - 1) == snapshot(8, 3000)
    assert snapshot_at(metadata, back_ms) == snapshot(7, 2000)


def test_a_branch_becomes_the_table_when_main_goes_there() -> None:
    branch = {"action": "set-snapshot-ref", "ref-name": "b", "type": "branch", "snapshot-id": 8}
    before = apply(apply(fresh(), adding(7)), [adding(8)[0], branch])
    assert current_snapshot_id(before) == 7
    after = apply(before, [{**branch, "ref-name": "main"}])
    assert after["snapshot-log"][-1]["timestamp-ms"] > snapshot(8)["timestamp-ms"]
    assert snapshot_at(after, after["last-updated-ms"] - 1) == snapshot(7)
    assert TableMetadataV2.model_validate(after).current_snapshot_id == 8


def test_main_is_a_branch_and_a_reference_of_another_kind_is_refused() -> None:
    metadata = apply(fresh(), adding(7))
    for ref, type_ in (("main", "tag"), ("x", "bookmark")):
        with pytest.raises(InvalidInputError):
            apply(
                metadata,
                [{"action": "set-snapshot-ref", "ref-name": ref, "type": type_, "snapshot-id": 7}],
            )


def test_without_main_a_table_has_no_current_snapshot() -> None:
    metadata = apply(fresh(), adding(7))
    without = apply(metadata, [{"action": "remove-snapshot-ref", "ref-name": "main"}])
    assert current_snapshot_id(without) is None
    assert without["refs"] == {}
    assert apply(metadata, [{"action": "remove-snapshot-ref", "ref-name": "x"}]) == metadata


@pytest.mark.parametrize("text", ["9" * 5000, "", "-1", "1.5", "\u0664"])
def test_a_property_that_is_no_number_leaves_the_log_as_long_as_ever(text: str) -> None:
    metadata = {"properties": {"write.metadata.previous-versions-max": text}}
    assert previous_versions_max(metadata) == 100
