"""What a commit of another engine names is counted over all of the request, and looked at once."""

import time
from typing import Any

import pytest

from lakehouse.catalog import new_manifests
from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import Json, snapshot_of
from lakehouse.catalog.models import Adopt
from lakehouse.catalog.new_manifests import Look, Looked
from lakehouse.catalog.outside import Commit
from lakehouse.errors import InvalidInputError
from tests.catalog.lake import Lake, main
from tests.iceberg.snapshots import written

ROW = "SELECT 1::BIGINT AS id, 'a' AS name"


def current(lake: Lake, table: str) -> Json:
    found = snapshot_of(lake.metadata(table))
    assert found
    return found


def look(lake: Lake, table: str, looked: Looked | None = None) -> Look:
    return Look(lake.store, lake.catalog._manifests, lake.metadata(table), looked or Looked())


def again(lake: Lake, table: str, snapshot_id: int) -> Json:
    """Return the update that adds what the table has once more, as a snapshot of its own."""
    now = current(lake, table)
    snapshot = {
        "snapshot-id": snapshot_id,
        "sequence-number": lake.metadata(table)["last-sequence-number"] + 1,
        "timestamp-ms": time.time_ns() // 1_000_000,
        "manifest-list": now["manifest-list"],
        "summary": {"operation": "append"},
    }
    return {"action": "add-snapshot", "snapshot": snapshot}


def test_files_are_counted_over_all_tables_of_a_request(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = ("a", "b")
    for table in tables:
        lake.write(table, ROW)
    commits = [Commit(main(table), [], [again(lake, table, 7)]) for table in tables]
    monkeypatch.setattr(new_manifests, "FILES_MAX", 5)  # a list, a manifest and a file each are 6
    with pytest.raises(InvalidInputError, match="more than 5 files"):
        lake.catalog.outside.commit(commits)
    assert 7 not in lake.snapshot_ids("a") | lake.snapshot_ids("b")
    monkeypatch.setattr(new_manifests, "FILES_MAX", 6)
    lake.catalog.outside.commit(commits)
    assert 7 in lake.snapshot_ids("a") & lake.snapshot_ids("b")


def test_a_manifest_is_looked_at_once_for_all_snapshots_that_name_it(lake: Lake) -> None:
    snapshots = []
    for mode in ("create", "append", "append"):
        lake.write("t", ROW, mode=mode)
        snapshots.append(current(lake, "t"))
    looked = Looked()
    found = [look(lake, "t", looked).files(each, None) for each in snapshots]
    assert [(len(read), len(named)) for read, named in found] == [(2, 1)] * 3
    assert looked.files == 9
    assert len({key for read, named in found for key in (*read, *named)}) == 9


def test_a_manifest_that_was_looked_at_for_one_table_is_no_other_ones(lake: Lake) -> None:
    for table in ("a", "b"):
        lake.write(table, ROW)
    looked, snapshot = Looked(), current(lake, "a")
    look(lake, "a", looked).files(snapshot, None)
    with lake.pyiceberg("b") as theirs:
        own = f"{theirs.location()}/metadata/taken.avro"
    with lake.store.writing(lake.store.key(own)) as file:
        file.write(lake.store.read(lake.store.key(snapshot["manifest-list"])))
    with pytest.raises(InvalidInputError, match="no plain path below"):
        look(lake, "b", looked).files({**snapshot, "manifest-list": own}, None)


def test_files_of_before_are_walked_for_one_that_lies_elsewhere_alone(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks: list[int] = []
    live_files = Manifests.live_files

    def walked(self: Manifests, manifests: Any) -> Any:
        walks.append(len(manifests))
        return live_files(self, manifests)

    with lake.store.writing("landing/a.parquet") as file:
        lake.write("source", ROW)
        file.write(lake.store.read(lake.data_files("source")[0]))
    lake.catalog.adopting.adopt(main("t"), Adopt(["landing/a.parquet"]))
    outside, now = lake.store.uri("landing/a.parquet"), current(lake, "t")
    with lake.pyiceberg("t") as table:
        inside = f"{table.location()}/data/x.parquet"
        plain, twice = written(table, inside, number=2), written(table, outside, inside, number=2)
        more = written(table, outside, number=2)
    monkeypatch.setattr(Manifests, "live_files", walked)
    assert look(lake, "t").files(plain, now)[1].keys() == {lake.store.key(inside)}
    assert walks == []
    looked = Looked()
    assert look(lake, "t", looked).files(twice, now)[1].keys() == {lake.store.key(inside)}
    assert walks == [1]
    assert look(lake, "t", looked).files(more, now)[1] == {}
    assert walks == [1, 0]
    with pytest.raises(InvalidInputError, match="no plain path below"):
        look(lake, "t").files(more, None)
