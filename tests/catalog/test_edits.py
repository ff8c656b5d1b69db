"""An edit takes exactly these files out and puts those in, whatever manifest they stand in."""

import pytest
from pyiceberg.manifest import ManifestEntryStatus

from lakehouse.catalog.edits import Edit, snapshot_draft
from lakehouse.catalog.errors import InputsGoneError
from lakehouse.catalog.metadata import snapshot_of
from lakehouse.catalog.tables import Change, Draft, LoadedTable
from tests.catalog.lake import Lake, main


def edited(lake: Lake, table: str, edit: Edit) -> LoadedTable:
    def build(now: LoadedTable | None) -> Draft:
        assert now
        manifests = lake.catalog._manifests
        return snapshot_draft(manifests, lake.store, now, edit, base=now.metadata, summary={})

    (result,) = lake.catalog._tables.commit([Change(main(table), build)])
    return result


def locations(lake: Lake, table: str) -> list[str]:
    return [location for location, _ in lake.catalog.contents(main(table))[1]]


def summary(table: LoadedTable) -> dict[str, str]:
    snapshot = snapshot_of(table.metadata)
    assert snapshot
    found: dict[str, str] = snapshot["summary"]
    return found


def manifest_paths(lake: Lake, table: str) -> list[str]:
    snapshot = snapshot_of(lake.metadata(table))
    assert snapshot
    listed = lake.catalog._manifests.read_list(snapshot["manifest-list"])
    return [each.manifest_path for each in listed]


def three_appends(lake: Lake) -> list[str]:
    """Make a table of three files, one a commit, and return their locations in that order."""
    files: list[str] = []
    for number in range(3):
        mode = "append" if number else "create"
        written = lake.write("t", f"SELECT {number} AS id, 'v{number}' AS name", mode=mode)  # type: ignore[arg-type]
        files.append(lake.store.uri(written.objects[0].key))
    return files


def test_one_file_goes_out_and_the_others_stay_where_they_were(lake: Lake) -> None:
    files = three_appends(lake)
    before = manifest_paths(lake, "t")
    table = edited(lake, "t", Edit(removed=frozenset([files[1]])))
    assert lake.rows("t") == [(0, "v0"), (2, "v2")]
    assert summary(table)["operation"] == "delete"
    assert summary(table)["total-data-files"] == "2"
    assert summary(table)["total-records"] == "2"
    assert summary(table)["deleted-records"] == "1"
    assert len(set(manifest_paths(lake, "t")) & set(before)) == 2, "only one was written again"
    with lake.pyiceberg("t") as seen:
        assert {row["id"] for row in seen.scan().to_arrow().to_pylist()} == {0, 2}


def test_manifests_become_one_and_their_files_keep_their_numbers(lake: Lake) -> None:
    three_appends(lake)
    with lake.pyiceberg("t") as seen:
        before = {
            (e["data_file"]["file_path"], e["sequence_number"], e["snapshot_id"])
            for e in seen.inspect.entries().to_pylist()
        }
    merged = Edit(merged=frozenset(manifest_paths(lake, "t")), keeps_rows=True)
    table = edited(lake, "t", merged)
    assert len(manifest_paths(lake, "t")) == 1
    assert summary(table)["operation"] == "replace"
    assert summary(table)["total-records"] == "3"
    with lake.pyiceberg("t") as seen:
        entries = seen.inspect.entries().to_pylist()
    after = {(e["data_file"]["file_path"], e["sequence_number"], e["snapshot_id"]) for e in entries}
    assert after == before
    assert {e["status"] for e in entries} == {int(ManifestEntryStatus.EXISTING)}
    assert lake.rows("t") == [(0, "v0"), (1, "v1"), (2, "v2")]


def test_a_file_that_is_out_is_named_without_its_values(lake: Lake) -> None:
    files = three_appends(lake)
    edited(lake, "t", Edit(removed=frozenset(files[:1])))
    found = [lake.store.read(lake.store.key(each)) for each in manifest_paths(lake, "t")]
    with lake.pyiceberg("t") as seen:
        snapshot = seen.current_snapshot()
        assert snapshot
        entries = [
            entry
            for manifest in snapshot.manifests(seen.io)
            for entry in manifest.fetch_manifest_entry(seen.io, discard_deleted=False)
        ]
    (gone,) = [each for each in entries if each.status == ManifestEntryStatus.DELETED]
    assert gone.data_file.file_path == files[0]
    assert not gone.data_file.lower_bounds
    assert len(found) == 3


@pytest.mark.parametrize("what", ["file", "manifest"])
def test_what_is_not_there_any_more_stops_the_edit_and_leaves_nothing(
    lake: Lake, what: str
) -> None:
    files = three_appends(lake)
    paths = manifest_paths(lake, "t")
    edited(lake, "t", Edit(removed=frozenset(files[:1])))
    gone = next(each for each in paths if each not in manifest_paths(lake, "t"))
    edit = Edit(removed=frozenset(files)) if what == "file" else Edit(merged=frozenset([gone]))
    before = lake.tree()
    with pytest.raises(InputsGoneError):
        edited(lake, "t", edit)
    assert lake.tree() == before
    assert lake.rows("t") == [(1, "v1"), (2, "v2")]


def test_files_of_a_partitioned_table_keep_their_partition(lake: Lake) -> None:
    sql = "SELECT i AS id, 'n' || (i % 3) AS name FROM range(9) r(i)"
    lake.write("t", sql, partition_by=["name"])
    files = locations(lake, "t")
    assert len(files) == 3
    edited(lake, "t", Edit(removed=frozenset(files[:1])))
    with lake.pyiceberg("t") as seen:
        left = {each.partition[0] for each in (t.file for t in seen.scan().plan_files())}
    assert len(left) == 2
    assert {name for _, name in lake.rows("t")} == left


def test_the_last_file_leaves_an_empty_table(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    edited(lake, "t", Edit(removed=frozenset(locations(lake, "t"))))
    assert lake.rows("t") == []
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="append")
    assert lake.rows("t") == [(2, "b")]
