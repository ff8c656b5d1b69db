"""A dropped table comes back as it was, until it is purged; then nothing of it is left."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from lakehouse.catalog import NamespaceNotFoundError, TableExistsError, TableNotFoundError, TableRef
from lakehouse.catalog.errors import DroppedTableNotFoundError, FilesKeptError, TableInUseError
from lakehouse.catalog.models import TableName
from lakehouse.config import MaintenanceConfig
from lakehouse.maintenance.ledger import Ledger
from lakehouse.maintenance.upkeep import Look, Upkeep
from tests.catalog.lake import Lake, main
from tests.catalog.test_layout import edited_properties

ONE = "SELECT 1 AS id, 'a' AS name"
TWO = "SELECT 2 AS id, 'b' AS name"


def test_a_dropped_table_comes_back_with_rows_and_history(lake: Lake) -> None:
    lake.write("t", ONE)
    lake.write("t", TWO, mode="append")
    before, tree = lake.metadata("t"), lake.tree()
    lake.catalog.drop(main("t"))
    assert lake.catalog.find(main("t")) is None
    (dropped,) = lake.catalog.dropped.list()
    assert (dropped.name, dropped.uuid) == (main("t"), before["table-uuid"])
    assert abs(datetime.now(UTC) - dropped.dropped_at) < timedelta(minutes=1)

    assert lake.catalog.undrop(main("T")).row_count == 2

    assert lake.metadata("t") == before
    assert lake.rows("t") == [(1, "a"), (2, "b")]
    assert lake.rows("t", as_of=before["snapshots"][0]["snapshot-id"]) == [(1, "a")]
    assert lake.tree() == tree
    assert lake.catalog.dropped.list() == []
    with lake.pyiceberg("t") as table:
        assert table.scan().to_arrow().num_rows == 2
    lake.write("t", TWO, mode="append")
    assert len(lake.rows("t")) == 3


def test_of_several_of_one_name_the_last_comes_back_and_the_others_by_uuid(lake: Lake) -> None:
    uuids = []
    for number in range(3):
        lake.write("t", f"SELECT {number} AS id, 'x' AS name")
        uuids.append(lake.metadata("t")["table-uuid"])
        lake.catalog.drop(main("t"))
    assert [each.uuid for each in lake.catalog.dropped.list()] == uuids[::-1]
    lake.catalog.undrop(main("t"))
    assert lake.rows("t") == [(2, "x")]
    lake.catalog.undrop(main("t"), uuid=uuids[0], to=main("first"))
    assert lake.rows("first") == [(0, "x")]
    assert [each.uuid for each in lake.catalog.dropped.list()] == [uuids[1]]


def test_a_taken_name_a_namespace_that_is_gone_and_nothing_dropped_are_refused(lake: Lake) -> None:
    with pytest.raises(DroppedTableNotFoundError):
        lake.catalog.undrop(main("t"))
    lake.write("t", ONE)
    lake.catalog.drop(main("t"))
    lake.write("T", TWO)
    with pytest.raises(TableExistsError, match=r"main\.T"):
        lake.catalog.undrop(main("t"))
    with pytest.raises(NamespaceNotFoundError):
        lake.catalog.undrop(main("t"), to=TableName("sales", "t"))
    with pytest.raises(DroppedTableNotFoundError):
        lake.catalog.undrop(main("t"), uuid="another")
    lake.catalog.namespaces.create("Sales")
    back = lake.catalog.undrop(main("t"), to=TableName("sales", "t"))
    assert (back.namespace, back.name) == ("Sales", "t")
    assert lake.rows("T") == [(2, "b")]


def test_a_purge_leaves_no_file_and_no_way_back(lake: Lake) -> None:
    lake.write("other", ONE)
    kept = lake.tree()
    lake.write("t", ONE, partition_by=["name"])
    lake.write("t", TWO, mode="append")
    folder = lake.store.path(lake.store.key(lake.metadata("t")["location"]))
    lake.catalog.purge(main("t"))
    assert lake.tree() == kept
    assert not folder.exists()
    assert lake.catalog.dropped.list() == []
    with pytest.raises(DroppedTableNotFoundError):
        lake.catalog.undrop(main("t"))
    with pytest.raises(TableNotFoundError):
        lake.catalog.purge(main("t"))


def test_a_purge_by_uuid_spares_the_table_that_has_the_name_now(lake: Lake) -> None:
    lake.write("t", ONE)
    old = lake.metadata("t")["table-uuid"]
    lake.catalog.drop(main("t"))
    lake.write("t", TWO)
    lake.catalog.purge(main("t"), uuid=old)
    assert lake.rows("t") == [(2, "b")]
    assert lake.tree() == lake.reachable()
    lake.catalog.drop(main("t"))
    lake.catalog.purge(main("t"))
    assert lake.tree() == set()


def test_a_running_statement_keeps_the_files_of_a_table(lake: Lake) -> None:
    lake.write("t", ONE)
    (pinned,) = lake.catalog.pin(lake.cursor, [TableRef("main", "t")])
    with pytest.raises(TableInUseError):
        lake.catalog.purge(main("t"))
    assert lake.cursor.execute(f"FROM {pinned.relation}").fetchall() == [(1, "a")]
    assert [each.name for each in lake.catalog.dropped.list()] == [main("t")]
    del pinned
    lake.catalog.purge(main("t"))
    assert lake.tree() == set()


def test_a_purge_that_was_interrupted_goes_on_and_cannot_be_undone(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("t", ONE)
    uuid = lake.metadata("t")["table-uuid"]

    def fails(key: str) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patched, pytest.raises(OSError):
        patched.setattr(lake.store, "delete_folder", fails)
        lake.catalog.purge(main("t"))
    assert lake.catalog.dropped.list() == []
    assert lake.catalog.dropped.unfinished() == [uuid]
    with pytest.raises(DroppedTableNotFoundError):
        lake.catalog.undrop(main("t"))
    lake.catalog.dropped.purge(uuid)
    assert lake.catalog.dropped.unfinished() == []
    assert lake.tree() == set()


def test_a_table_outside_our_folders_loses_no_file(lake: Lake) -> None:
    lake.write("t", ONE)
    location = lake.catalog.load(main("t")).location
    moved = location.replace("/tables/", "/objects/tables/")
    lake.store.write(lake.store.key(moved), lake.store.read(lake.store.key(location)))
    sql = "UPDATE iceberg_tables SET metadata_location = ?"
    lake.state.write(lambda tx: tx.execute(sql, (moved,)))
    before = lake.tree()
    lake.catalog.purge(main("t"))
    assert lake.tree() == before
    assert lake.catalog.dropped.list() == []


def test_two_names_of_one_folder_share_no_fate(lake: Lake) -> None:
    lake.write("t", ONE)
    sql = "INSERT INTO iceberg_tables SELECT catalog_name, 'main', 'twin', metadata_location,"
    lake.state.write(lambda tx: tx.execute(f"{sql} NULL, 'TABLE' FROM iceberg_tables"))
    lake.catalog.purge(main("t"))
    assert lake.rows("twin") == [(1, "a")]


def test_a_damaged_table_comes_back_once_it_is_mended(lake: Lake) -> None:
    lake.write("t", ONE)
    key = lake.store.key(lake.catalog.load(main("t")).location)
    whole = lake.store.read(key)
    lake.store.delete(key)
    lake.catalog = lake.reopened()
    lake.catalog.drop(main("t"))
    lake.store.write(key, whole)
    lake.catalog.undrop(main("t"))
    assert lake.rows("t") == [(1, "a")]


def test_maintenance_finds_those_dropped_before_a_moment(lake: Lake) -> None:
    lake.write("t", ONE)
    lake.catalog.drop(main("t"))
    now = datetime.now(UTC)
    assert lake.catalog.dropped.list(before=now - timedelta(days=7)) == []
    assert len(lake.catalog.dropped.list(before=now + timedelta(seconds=1))) == 1


def test_of_many_that_bring_back_one_table_one_does(lake: Lake) -> None:
    lake.write("t", ONE)
    lake.catalog.drop(main("t"))
    barrier = threading.Barrier(6)
    outcomes: list[str] = []

    def bring_back(number: int) -> None:
        barrier.wait()
        try:
            lake.catalog.undrop(main("t"), to=main(f"t{number}"))
            outcomes.append("back")
        except DroppedTableNotFoundError:
            outcomes.append("gone")

    threads = [threading.Thread(target=bring_back, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["back"] + ["gone"] * 5
    assert len(lake.catalog.names()) == 1


def test_a_table_whose_files_must_stay_is_dropped_and_not_purged(lake: Lake) -> None:
    lake.write("t", ONE)
    edited_properties(lake, {"gc.enabled": "false"})
    before = lake.tree()
    with pytest.raises(FilesKeptError, match=r"gc\.enabled"):
        lake.catalog.purge(main("t"))
    config = MaintenanceConfig(dropped_days=0)
    (run,) = Upkeep(lake.catalog, Ledger(lake.state), config).dropped(Look())
    assert run.outcome == "skipped" and "gc.enabled" in (run.reason or "")
    assert lake.tree() == before
    lake.catalog.undrop(main("t"))
    edited_properties(lake, {"gc.enabled": "true"})
    lake.catalog.purge(main("t"))
    assert lake.tree() == set()
