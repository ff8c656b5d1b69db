"""Files that no table names go once they are old; nothing else does."""

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.catalog import TableRef
from lakehouse.catalog.expiry import Deleted
from lakehouse.catalog.orphans import Owner
from lakehouse.storage import ObjectNotFoundError
from tests.catalog.lake import Lake, main
from tests.catalog.test_layout import appends, edited_properties
from tests.postgres import alchemy_uri

DAY_S = 86_400


def plant(lake: Lake, key: str, age_s: float = 4 * DAY_S) -> str:
    lake.store.write(key, b"left behind")
    age(lake.store.path(key), age_s)
    return key


def age(path: Path, age_s: float) -> None:
    at = time.time() - age_s
    os.utime(path, (at, at))


def age_all(lake: Lake) -> None:
    for key in lake.tree():
        age(lake.store.path(key), 10 * DAY_S)


def remove(lake: Lake, *, dry_run: bool = False) -> Deleted:
    return lake.catalog.orphans.remove(lake.cursor, 3 * DAY_S, dry_run=dry_run)


def folder(lake: Lake, table: str) -> str:
    return lake.store.key(lake.metadata(table)["location"])


def test_what_no_table_names_goes_and_what_one_names_stays(lake: Lake) -> None:
    appends(lake, 3)
    lake.write("other", "SELECT 1 AS id, 'a' AS name")
    named = lake.tree()
    age_all(lake)
    inside = plant(lake, f"{folder(lake, 't')}/data/half-written.parquet")
    alone = plant(lake, "tables/main/gone-12345678/data/a.parquet")
    young = plant(lake, f"{folder(lake, 't')}/data/young.parquet", age_s=DAY_S)
    elsewhere = plant(lake, "objects/a.parquet")
    assert remove(lake, dry_run=True).file_count == 2
    assert {inside, alone} <= lake.tree()
    done = remove(lake)
    assert (done.file_count, done.size_bytes) == (2, 2 * len(b"left behind"))
    assert lake.tree() == named | {young, elsewhere}
    assert len(lake.rows("t")) == 3


def test_a_dropped_table_keeps_its_files_until_it_is_purged(lake: Lake) -> None:
    appends(lake, 2)
    age_all(lake)
    lake.catalog.drop(main("t"))
    assert remove(lake).file_count == 0
    lake.catalog.undrop(main("t"))
    assert len(lake.rows("t")) == 2


def test_files_that_an_expired_snapshot_still_shows_to_a_statement_stay(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="overwrite")
    first = lake.metadata("t")["snapshots"][0]["snapshot-id"]
    (pinned,) = lake.catalog.pin(lake.cursor, [TableRef("main", "t", first)])
    lake.catalog.expiry.expire(main("t"), [first])
    age_all(lake)
    assert remove(lake).file_count == 0
    assert lake.cursor.execute(f'SELECT id FROM "{pinned.relation}"').fetchall() == [(1,)]


def test_an_expiry_that_was_cut_short_holds_up_nobody(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="overwrite")
    (first, _) = lake.metadata("t")["snapshots"]
    (manifest,) = lake.catalog._manifests.read_list(first["manifest-list"])
    (file,) = lake.catalog._manifests.live_files([manifest])
    lake.catalog.expiry.expire(main("t"), [first["snapshot-id"]])
    for gone in (file.location, manifest.manifest_path):  # killed before the list went
        lake.store.delete(lake.store.key(gone))
    plant(lake, "tables/main/gone-12345678/data/a.parquet")
    later = lake.reopened()
    assert later.orphans.remove(lake.cursor, 3 * DAY_S).file_count == 1
    assert later.expiry.delete(main("t")).waiting == 0
    assert lake.rows("t") == [(2, "b")]


@pytest.mark.parametrize("others", ["purge it", "let a snapshot expire", "lose its files"])
def test_a_table_that_changes_while_its_files_are_listed_holds_up_nobody(
    lake: Lake, others: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    lake.write("t", "SELECT 2 AS id, 'b' AS name", mode="overwrite")
    (first, _) = lake.metadata("t")["snapshots"]
    plant(lake, "tables/main/gone-12345678/data/a.parquet")
    orphans = lake.reopened().orphans
    found = orphans._owners()

    def found_before_others_came() -> list[Owner]:
        monkeypatch.undo()
        if others == "purge it":
            lake.catalog.drop(main("t"))
            lake.catalog.purge(main("t"))
        elif others == "let a snapshot expire":
            lake.catalog.expiry.expire(main("t"), [first["snapshot-id"]])
            lake.catalog.expiry.delete(main("t"))
        else:
            lake.store.delete(lake.store.key(first["manifest-list"]))
        return found

    monkeypatch.setattr(orphans, "_owners", found_before_others_came)
    if others == "lose its files":
        with pytest.raises(ObjectNotFoundError):
            orphans.remove(lake.cursor, 3 * DAY_S)
    else:
        assert orphans.remove(lake.cursor, 3 * DAY_S).file_count == 1


def test_a_table_whose_files_must_stay_keeps_its_orphans_too(lake: Lake) -> None:
    appends(lake, 1)
    edited_properties(lake, {"gc.enabled": "false"})
    plant(lake, f"{folder(lake, 't')}/data/left.parquet")
    age_all(lake)
    assert remove(lake).file_count == 0


def test_empty_folders_go_with_the_last_file(lake: Lake) -> None:
    plant(lake, "tables/main/gone-12345678/data/p=1/a.parquet")
    remove(lake)
    for path in lake.store.path("tables").rglob("*"):
        age(path, 4 * DAY_S)
    for path in sorted(lake.store.path("tables").rglob("*"), reverse=True):
        age(path, 4 * DAY_S)
        remove(lake)
    assert not lake.store.path("tables/main/gone-12345678").exists()


def test_metadata_files_before_the_log_go(lake: Lake) -> None:
    appends(lake, 1)
    edited_properties(lake, {"write.metadata.previous-versions-max": "3"})
    for number in range(12):
        edited_properties(lake, {"n": str(number)})
    table = lake.catalog.load(main("t"))
    assert len(table.metadata["metadata-log"]) == 3
    told = lake.catalog.orphans.remove_old_metadata(lake.cursor, table, dry_run=True)
    done = lake.catalog.orphans.remove_old_metadata(lake.cursor, table)
    assert told == done
    left = {each for each in lake.tree() if each.endswith(".json")}
    assert len(left) == 4 and left <= lake.reachable()
    assert done.file_count == 14 - 4
    with lake.pyiceberg("t") as seen:
        assert seen.scan().count() == 1


def test_a_metadata_file_that_a_statement_reads_through_stays_until_it_ends(lake: Lake) -> None:
    appends(lake, 75)  # so many files that the relation reads the metadata file itself
    edited_properties(lake, {"write.metadata.previous-versions-max": "1"})
    (pinned,) = lake.catalog.pin(lake.cursor, [TableRef("main", "t")])
    name = main("t")
    for number in range(4):
        edited_properties(lake, {"n": str(number)})
    lake.catalog.orphans.remove_old_metadata(lake.cursor, lake.catalog.load(name))
    read = f'SELECT count(*) FROM "{pinned.relation}"'
    assert lake.cursor.execute(read).fetchall() == [(75,)]
    del pinned
    age_all(lake)
    remove(lake)
    assert {each for each in lake.tree() if each.endswith(".json")} <= lake.reachable()
    assert len(lake.rows("t")) == 75


def test_a_table_that_lies_deeper_than_ours_keeps_every_file(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    catalog = SqlCatalog("lakehouse", uri=alchemy_uri(lake.root))
    location = lake.store.uri("tables/deep/dept/t-1")
    rows = pa.table({"id": [1, 2]})
    try:
        table = catalog.create_table(("main", "deep"), schema=rows.schema, location=location)
        table.append(rows)
    finally:
        catalog.close()
    before = lake.tree()
    alone = plant(lake, "tables/deep/dept/gone-1/data/a.parquet")
    age_all(lake)
    assert remove(lake).file_count == 1
    assert lake.tree() == before and alone not in before
    assert len(lake.rows("deep")) == 2
