"""Manifests and small files become few; every row stays, and nothing of others is touched."""

from typing import Any

import pytest

from lakehouse.catalog import layout
from lakehouse.catalog.edits import Edit
from lakehouse.catalog.errors import InputsGoneError
from lakehouse.catalog.layout import (
    GROUP_FILES,
    Done,
    NotRewritableError,
    groups,
    up_to,
    worth_it,
)
from lakehouse.catalog.manifests import LiveFile, Manifests, NewFile
from lakehouse.catalog.metadata import snapshot_of
from lakehouse.catalog.relations import files_sql
from lakehouse.catalog.rules import Rules, rules_of
from lakehouse.catalog.tables import Change, Draft
from lakehouse.config import MaintenanceConfig
from tests.catalog.lake import Lake, main
from tests.catalog.test_edits import edited, manifest_paths, summary


def appends(lake: Lake, count: int, start: int = 0, **layout: list[str]) -> None:
    for number in range(start, start + count):
        mode = "append" if number else "create"
        sql = f"SELECT {number} AS id, 'v' || ({number} % 2) AS name"
        lake.write("t", sql, mode=mode, **(layout if not number else {}))  # type: ignore[arg-type]


def rules(lake: Lake, **settings: int) -> Rules:
    return rules_of(lake.metadata("t"), MaintenanceConfig(**settings))  # type: ignore[arg-type]


def compact(lake: Lake, files_min: int = 5) -> Done:
    return lake.catalog.layout.compact(lake.cursor, main("t"), rules(lake), files_min)


def test_small_files_become_one_and_every_row_stays(lake: Lake) -> None:
    appends(lake, 7)
    before = lake.rows("t")
    done = compact(lake)
    assert (done.before, done.after) == (7, 1)
    assert len(lake.data_files("t")) == 1
    assert lake.rows("t") == before
    found = summary(lake.catalog.load(main("t")))
    assert found["operation"] == "replace"
    assert (found["total-records"], found["total-data-files"]) == ("7", "1")
    with lake.pyiceberg("t") as seen:
        assert sorted(row["id"] for row in seen.scan().to_arrow().to_pylist()) == list(range(7))
    old = lake.metadata("t")["snapshots"][3]["snapshot-id"]
    assert len(lake.rows("t", old)) == 4


def test_few_files_are_left_alone(lake: Lake) -> None:
    appends(lake, 4)
    files = lake.data_files("t")
    assert compact(lake) == Done()
    assert lake.data_files("t") == files


def test_each_partition_is_rewritten_by_itself_and_sorted(lake: Lake) -> None:
    appends(lake, 12, partition_by=["name"], sort_by=["id desc"])
    done = compact(lake)
    assert (done.before, done.after) == (12, 2)
    for key in lake.data_files("t"):
        sql = f"SELECT id FROM read_parquet('{lake.store.path(key)}')"
        ids = [row[0] for row in lake.cursor.execute(sql).fetchall()]
        assert ids == sorted(ids, reverse=True) and len(ids) == 6
    with lake.pyiceberg("t") as seen:
        assert {task.file.partition[0] for task in seen.scan().plan_files()} == {"v0", "v1"}
        assert seen.scan(row_filter="name = 'v1'").count() == 6


def test_a_target_of_the_table_bounds_what_becomes_one(lake: Lake) -> None:
    appends(lake, 12)
    size = max(each.size for _, each in lake.catalog.contents(main("t"))[1])
    properties = {"write.target-file-size-bytes": str(6 * size)}
    edited_properties(lake, properties)
    compact(lake)
    assert len(lake.data_files("t")) == 2
    assert len(lake.rows("t")) == 12


def test_very_many_files_are_rewritten_a_thousand_at_a_time() -> None:
    files = [
        LiveFile(f"f{number:05}", 1, 1, 1, number, (0,)) for number in range(2 * GROUP_FILES + 3)
    ]
    assert [len(group) for group in groups(files, 1 << 30, 2)] == [GROUP_FILES, GROUP_FILES, 3]


def edited_properties(lake: Lake, properties: dict[str, str]) -> None:
    update = {"action": "set-properties", "updates": properties}
    lake.catalog._tables.commit([Change(main("t"), lambda now: Draft([update]))])


def test_rows_that_come_meanwhile_stay_and_files_that_go_meanwhile_stop_it(lake: Lake) -> None:
    appends(lake, 6)
    layout, rewrite = lake.catalog.layout, lake.catalog.layout._rewrite

    def slow(*args: object) -> object:
        result = rewrite(*args)  # type: ignore[arg-type]
        appends(lake, 1, start=len(lake.rows("t")))
        return result

    layout._rewrite = slow  # type: ignore[method-assign,assignment]
    assert compact(lake).before == 6
    assert len(lake.rows("t")) == 7
    assert len(lake.data_files("t")) == 2

    appends(lake, 6, start=7)

    def overtaken(*args: object) -> object:
        result = rewrite(*args)  # type: ignore[arg-type]
        lake.write("t", "SELECT 99 AS id, 'new' AS name", mode="overwrite")
        return result

    layout._rewrite = overtaken  # type: ignore[method-assign,assignment]
    with pytest.raises(InputsGoneError):
        compact(lake)
    assert lake.rows("t") == [(99, "new")]
    assert {each for each in lake.tree() if each.endswith(".parquet")} <= lake.reachable()


def test_deletes_that_come_while_files_are_compacted_stop_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rewritten file would not be theirs, and the deleted rows would be back."""
    appends(lake, 6)
    before = lake.rows("t")
    seen = iter([False, True])  # at the plan there were none, at the commit there are
    monkeypatch.setattr(layout, "has_deletes", lambda listed: next(seen))
    with pytest.raises(InputsGoneError):
        compact(lake)
    assert lake.rows("t") == before
    assert {each for each in lake.tree() if each.endswith(".parquet")} <= lake.reachable()


def test_what_ends_the_work_leaves_no_file(lake: Lake) -> None:
    appends(lake, 6)
    before = lake.tree()

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lake.catalog.layout.compact(lake.cursor, main("t"), rules(lake), 5, stop)
    assert lake.tree() == before


def test_files_that_lost_rows_are_never_committed(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    appends(lake, 6)
    before = lake.tree()

    def some(*arguments: Any, **options: Any) -> str:
        return f"{files_sql(*arguments, **options)} WHERE id > 0"

    monkeypatch.setattr("lakehouse.catalog.layout.files_sql", some)
    with pytest.raises(NotRewritableError, match="5 of 6 rows"):
        compact(lake)
    assert lake.tree() == before


def test_manifests_become_one_while_the_table_goes_on(lake: Lake) -> None:
    appends(lake, 6)
    assert lake.catalog.layout.merge_manifests(main("t"), rules(lake)) == Done()
    layout = lake.catalog.layout
    done = layout.merge_manifests(main("t"), rules(lake, manifests_min=5))
    assert (done.before, done.after) == (6, 1)
    assert len(manifest_paths(lake, "t")) == 1
    assert summary(lake.catalog.load(main("t")))["operation"] == "replace"
    snapshot = snapshot_of(lake.metadata("t"))
    assert snapshot
    (listed,) = Manifests(lake.store).read_list(snapshot["manifest-list"])
    assert listed.added_snapshot_id == snapshot["snapshot-id"]
    assert listed.sequence_number == snapshot["sequence-number"]
    assert listed.min_sequence_number == 1
    assert listed.existing_files_count == 6
    appends(lake, 2, start=6)
    assert len(lake.rows("t")) == 8
    with lake.pyiceberg("t") as seen:
        assert seen.scan().count() == 8
        assert {e["status"] for e in seen.inspect.entries().to_pylist()} <= {0, 1}


def test_manifests_that_somebody_rewrote_stop_the_merge(lake: Lake) -> None:
    appends(lake, 6)
    commit, layout = lake.catalog.layout._commit, lake.catalog.layout

    def overtaken(*args: object) -> None:
        files = [location for location, _ in lake.catalog.contents(main("t"))[1]]
        edited(lake, "t", Edit(removed=frozenset(files[:1])))
        commit(*args)  # type: ignore[arg-type]

    layout._commit = overtaken  # type: ignore[method-assign,assignment]
    with pytest.raises(InputsGoneError):
        layout.merge_manifests(main("t"), rules(lake, manifests_min=5))
    assert len(lake.rows("t")) == 5
    manifests = {e for e in lake.tree() if e.endswith(".avro") and "snap-" not in e}
    assert manifests <= lake.reachable()


def test_a_manifest_that_only_says_what_left_is_no_obstacle_to_a_merge(lake: Lake) -> None:
    appends(lake, 4)
    lake.catalog.rows.delete(lake.cursor, main("t"), "id = 0")
    done = lake.catalog.layout.merge_manifests(main("t"), rules(lake, manifests_min=2))
    assert (done.before, done.after) == (3, 1)
    assert [row[0] for row in lake.rows("t")] == [1, 2, 3]


def test_a_table_that_does_not_want_its_manifests_merged_keeps_them(lake: Lake) -> None:
    appends(lake, 6)
    edited_properties(lake, {"commit.manifest-merge.enabled": "false"})
    layout = lake.catalog.layout
    assert layout.merge_manifests(main("t"), rules(lake, manifests_min=2)) == Done()
    edited_properties(
        lake,
        {"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "6"},
    )
    assert layout.merge_manifests(main("t"), rules(lake)).before == 6


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ([1, 1, 1], [1, 1, 1]),
        ([1, 5, 5, 5], [1, 5, 5, 5]),
        ([1, 1, 1, 100], [1, 1, 1]),
        ([1, 2, 4, 8], []),
        ([5], []),
        ([], []),
    ],
)
def test_a_large_item_waits_until_the_small_ones_add_up_to_it(
    sizes: list[int], chosen: list[int]
) -> None:
    assert worth_it(sizes, int) == chosen


def test_what_is_taken_together_is_bounded() -> None:
    assert up_to([1, 2, 3], 3, int) == [1, 2]
    assert up_to([2, 2], 3, int) == []


def test_a_manifest_of_a_commit_tried_again_gets_the_later_number(lake: Lake) -> None:
    appends(lake, 1)
    manifests, metadata = lake.catalog._manifests, lake.metadata("t")
    folder = f"{metadata['location']}/metadata"
    new = manifests.make_added(
        lake.store.write, f"{folder}/new.avro", metadata, 7, [NewFile("file:///a.parquet", 1, 1)]
    )
    for number in (5, 6):  # the first attempt lost; what was merged is not written again
        manifests.make_list(
            lake.store.write, f"{folder}/list-{number}.avro", 7, None, number, [new]
        )
    (listed,) = Manifests(lake.store).read_list(f"{folder}/list-6.avro")
    assert (listed.sequence_number, listed.min_sequence_number) == (6, 6)


def test_a_larger_target_than_loads_have_is_reached_and_then_left_alone(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakehouse.catalog.writing.TARGET_FILE_BYTES", 1 << 19)
    for number in range(4):
        rows = f"SELECT range AS id, md5((range + {number})::VARCHAR) AS name FROM range(20000)"
        lake.write("t", rows, mode="append" if number else "create")
    large = rules(lake, target_file_bytes=4 << 20)
    done = lake.catalog.layout.compact(lake.cursor, main("t"), large, 2)
    assert (done.before, done.after) == (4, 1)
    assert lake.catalog.layout.compact(lake.cursor, main("t"), large, 2) == Done()


def test_a_load_writes_files_of_the_size_that_the_table_asks_for(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    edited_properties(lake, {"write.target-file-size-bytes": str(1 << 20)})
    rows = "SELECT range AS id, md5(range::VARCHAR) AS name FROM range(300000)"
    lake.write("t", rows, mode="overwrite")
    assert len(lake.data_files("t")) > 2
    edited_properties(lake, {"write.target-file-size-bytes": "big"})
    lake.write("t", rows, mode="overwrite")
    assert len(lake.data_files("t")) == 1
