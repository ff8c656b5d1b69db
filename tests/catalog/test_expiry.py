"""Snapshots that expire: the table forgets them, and exactly their files go."""

from collections.abc import Sequence
from contextlib import nullcontext

import pytest

from lakehouse.catalog import SnapshotNotFoundError, TableNotFoundError, TableRef
from lakehouse.catalog.datasets import Datasets, ObjectLookup, StoredObject
from lakehouse.catalog.expiry import Deleted
from lakehouse.catalog.metadata import Json
from lakehouse.catalog.models import DatasetRegister, ObjectReference
from lakehouse.catalog.tables import Change, Draft
from tests.catalog.lake import Lake, main


def overwrites(lake: Lake, count: int) -> list[int]:
    """Make a table that was written over again and again, and return its snapshots."""
    for number in range(count):
        mode = "overwrite" if number else "create"
        lake.write("t", f"SELECT {number} AS id, 'v{number}' AS name", mode=mode)  # type: ignore[arg-type]
    return snapshot_ids(lake)


def snapshot_ids(lake: Lake) -> list[int]:
    return [each["snapshot-id"] for each in lake.metadata("t")["snapshots"]]


def update(lake: Lake, *updates: Json) -> None:
    lake.catalog._tables.commit([Change(main("t"), lambda now: Draft(list(updates)))])


def name_it(lake: Lake, reference: str, snapshot_id: int, kind: str = "tag") -> None:
    update(
        lake,
        {
            "action": "set-snapshot-ref",
            "ref-name": reference,
            "type": kind,
            "snapshot-id": snapshot_id,
        },
    )


def expire(lake: Lake, ids: Sequence[int]) -> Deleted:
    lake.catalog.expiry.expire(main("t"), ids)
    return lake.catalog.expiry.delete(main("t"))


def notes(lake: Lake) -> int:
    sql = "SELECT count(*) FROM expired_snapshot"
    return int(lake.state.read(lambda tx: tx.execute(sql).fetchone()[0]))


def test_an_expired_snapshot_is_gone_with_exactly_its_files(lake: Lake) -> None:
    ids = overwrites(lake, 4)
    before = lake.tree()
    deleted = expire(lake, ids[:2])
    assert snapshot_ids(lake) == ids[2:]
    assert lake.tree() - {each for each in lake.tree() if each.endswith(".json")} == {
        each for each in lake.reachable() if not each.endswith(".json")
    }
    # Of each its data file, its manifest and its list; the second has one that says what it took
    # out, besides.
    assert deleted.file_count == len(before - lake.tree()) == 7
    assert deleted.size_bytes > 0
    assert lake.rows("t") == [(3, "v3")]
    assert lake.rows("t", ids[2]) == [(2, "v2")]
    with pytest.raises(SnapshotNotFoundError):
        lake.rows("t", ids[0])
    with lake.pyiceberg("t") as seen:
        assert [each.snapshot_id for each in seen.snapshots()] == ids[2:]
        assert [each.snapshot_id for each in seen.history()] == ids[2:]
        assert seen.scan(snapshot_id=ids[2]).to_arrow().to_pylist() == [{"id": 2, "name": "v2"}]
    assert notes(lake) == 0


def test_files_that_a_later_snapshot_still_reads_stay(lake: Lake) -> None:
    for number in range(4):
        mode = "append" if number else "create"
        lake.write("t", f"SELECT {number} AS id, 'v{number}' AS name", mode=mode)  # type: ignore[arg-type]
    ids = snapshot_ids(lake)
    deleted = expire(lake, ids[:3])
    assert deleted.file_count == 3, "the three lists"
    assert len(lake.rows("t")) == 4
    with lake.pyiceberg("t") as seen:
        assert seen.scan().count() == 4


def test_a_list_of_manifests_that_another_snapshot_names_too_stays(lake: Lake) -> None:
    """As an engine may commit that gives a state again under a new id."""
    first, second = overwrites(lake, 2)
    metadata = lake.metadata("t")
    again = {
        **{k: v for k, v in metadata["snapshots"][0].items() if k != "schema-id"},
        "snapshot-id": 7,
        "parent-snapshot-id": second,
        "sequence-number": 3,
        "timestamp-ms": metadata["last-updated-ms"] + 1,
        "summary": {"operation": "overwrite"},
    }
    update(lake, {"action": "add-snapshot", "snapshot": again})
    name_it(lake, "main", 7, "branch")
    assert expire(lake, [first, second]).file_count == 4
    assert notes(lake) == 0
    assert snapshot_ids(lake) == [7]
    assert lake.tree() == lake.reachable()
    assert lake.rows("t") == [(0, "v0")]


def test_a_tag_or_a_branch_keeps_its_snapshot_whole(lake: Lake) -> None:
    ids = overwrites(lake, 4)
    name_it(lake, "v1", ids[0])
    name_it(lake, "audit", ids[1], "branch")
    expire(lake, ids[:3])
    assert snapshot_ids(lake) == [ids[0], ids[1], ids[3]]
    assert lake.rows("t", ids[0]) == [(0, "v0")]
    assert lake.rows("t", ids[1]) == [(1, "v1")]
    lake.catalog.expiry.expire(main("t"), [ids[0]], {"v1": ids[0]})
    assert snapshot_ids(lake) == [ids[1], ids[3]]
    assert set(lake.metadata("t")["refs"]) == {"main", "audit"}


def test_what_a_statement_reads_stays_until_it_ends(lake: Lake) -> None:
    ids = overwrites(lake, 3)
    (pinned,) = lake.catalog.pin(lake.cursor, [TableRef("main", "t", ids[0])])
    deleted = expire(lake, ids[:2])
    assert deleted.waiting == 1
    read = f'SELECT id FROM "{pinned.relation}"'
    assert lake.cursor.execute(read).fetchall() == [(0,)]
    assert notes(lake) == 1
    del pinned
    again = lake.catalog.expiry.delete(main("t"))
    assert again.waiting == 0
    assert again.file_count == 3
    assert notes(lake) == 0


def test_who_read_the_pointer_before_files_went_looks_again(lake: Lake) -> None:
    ids = overwrites(lake, 2)
    relations, get = lake.catalog._relations, lake.catalog._relations.get
    calls = []

    def late(*args: object) -> object:
        """Between its look at the pointer and its relation, the statement loses the snapshot."""
        calls.append(args)
        if len(calls) == 1:
            lake.write("t", "SELECT 9 AS id, 'v9' AS name", mode="overwrite")
            expire(lake, ids)
        return get(*args)  # type: ignore[arg-type]

    relations.get = late  # type: ignore[method-assign,assignment]
    assert lake.rows("t") == [(9, "v9")]
    assert len(calls) == 2


def test_a_process_that_ends_before_it_deletes_leaves_a_note_of_what_to_delete(lake: Lake) -> None:
    ids = overwrites(lake, 3)
    lake.catalog.expiry.expire(main("t"), ids[:2])
    later = lake.reopened()
    assert later.expiry.delete(main("t")).file_count == 7
    assert notes(lake) == 0


@pytest.mark.parametrize("missing", ["data", "manifest", "list"])
def test_a_deletion_that_was_interrupted_goes_on(lake: Lake, missing: str) -> None:
    ids = overwrites(lake, 3)
    (snapshot,) = (e for e in lake.metadata("t")["snapshots"] if e["snapshot-id"] == ids[0])
    manifests = lake.catalog._manifests.read_list(snapshot["manifest-list"])
    gone = {
        "data": [each.location for each in lake.catalog._manifests.live_files(manifests)],
        "manifest": [each.manifest_path for each in manifests],
        "list": [snapshot["manifest-list"]],
    }
    lake.catalog.expiry.expire(main("t"), ids[:1])
    for kind in ["data", "manifest", "list"]:
        for location in gone[kind]:
            lake.store.delete(lake.store.key(location))
        if kind == missing:
            break
    lake.reopened().expiry.delete(main("t"))
    assert notes(lake) == 0
    assert {each for each in lake.tree() if "json" not in each} == {
        each for each in lake.reachable() if "json" not in each
    }


def test_a_dry_run_counts_what_would_go_and_touches_nothing(lake: Lake) -> None:
    ids = overwrites(lake, 4)
    before = lake.tree()
    told = lake.catalog.expiry.deletable(main("t"), ids[:2])
    assert lake.tree() == before
    assert snapshot_ids(lake) == ids
    assert told == expire(lake, ids[:2])


def test_a_table_whose_files_must_stay_keeps_them(lake: Lake) -> None:
    ids = overwrites(lake, 2)
    update(lake, {"action": "set-properties", "updates": {"gc.enabled": "false"}})
    before = lake.tree()
    assert expire(lake, ids[:1]).file_count == 0
    assert lake.tree() >= before


def test_an_object_that_a_user_registered_is_never_deleted(lake: Lake) -> None:
    lake.store.prepare("objects")
    location = lake.store.uri("objects/a.parquet")
    target = location.removeprefix("file://")
    lake.cursor.execute(f"COPY (SELECT 1 AS id, 'a' AS name) TO '{target}' (FORMAT parquet)")
    size = lake.store.size("objects/a.parquet") or 0
    lookup = ObjectLookup(
        lambda key: StoredObject(key, location, size),
        lambda key: lake.store.open(f"objects/{key}"),
        lambda keys: nullcontext(()),
    )
    Datasets(lake.catalog, lake.state, lookup).register(
        DatasetRegister(
            name="t", schema_fingerprint="sha256:x", objects=[ObjectReference("a.parquet")]
        )
    )
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="overwrite")
    ids = snapshot_ids(lake)
    assert expire(lake, ids[:1]).file_count == 2
    assert lake.store.exists("objects/a.parquet")


def test_a_table_that_is_gone_is_said(lake: Lake) -> None:
    with pytest.raises(TableNotFoundError):
        lake.catalog.expiry.expire(main("none"), [1])
    assert lake.catalog.expiry.delete(main("none")) == Deleted()


def test_a_tag_that_was_moved_since_it_was_chosen_stays(lake: Lake) -> None:
    ids = overwrites(lake, 3)
    name_it(lake, "v1", ids[0])
    name_it(lake, "v2", ids[0])
    chosen = {"v1": ids[0], "v2": ids[0], "gone": ids[0]}
    name_it(lake, "v1", ids[1])
    lake.catalog.expiry.expire(main("t"), ids[:2], chosen)
    assert set(lake.metadata("t")["refs"]) == {"main", "v1"}
    assert snapshot_ids(lake) == ids[1:]


def test_a_snapshot_that_came_back_keeps_its_files(lake: Lake) -> None:
    ids = overwrites(lake, 3)
    (back,) = (each for each in lake.metadata("t")["snapshots"] if each["snapshot-id"] == ids[0])
    lake.catalog.expiry.expire(main("t"), ids[:2])
    earlier = lake.metadata("t")["metadata-log"][-1]["metadata-file"]
    sql = "UPDATE iceberg_tables SET metadata_location = ?"  # as rebuilding a catalog may do
    lake.state.write(lambda tx: tx.execute(sql, (earlier,)))
    assert back in lake.metadata("t")["snapshots"]
    lake.catalog.expiry.delete(main("t"))
    assert lake.rows("t", ids[0]) == [(0, "v0")]
    assert lake.tree() >= lake.reachable()
