"""Erased rows are in no file of the table: neither in data, nor as a bound, nor as a partition."""

import os
import shutil
import time

import pytest

from lakehouse.catalog import TableRef
from lakehouse.catalog.errors import ErasureRefusedError, ErasureUnfinishedError
from lakehouse.catalog.models import RefPut
from lakehouse.catalog.orphans import KEPT, keep
from lakehouse.storage import LocalStore
from tests.catalog.lake import Lake, main, unpacked

SECRET = "Zoe-Quuxley-0815"


def holding(lake: Lake, text: str = SECRET) -> list[str]:
    """Return the files of the warehouse that hold `text`, as it is or inside Parquet."""
    found = []
    for key in sorted(lake.tree()):
        data = lake.store.read(key)
        if key.endswith(".parquet"):
            file = f"read_parquet('{lake.store.uri(key)}')"
            sql = f"SELECT count(*) FROM {file} AS t WHERE CAST(t AS TEXT) LIKE ?"
            (count,) = lake.cursor.execute(sql, [f"%{text}%"]).fetchone() or (0,)
            if count or text.encode() in data:
                found.append(key)
        elif text.encode() in unpacked(data):
            found.append(key)
    return found


def fill(lake: Lake, partition_by: list[str] | None = None) -> None:
    """Make a table with a history in which the secret is a bound of several files."""
    sql = f"SELECT i AS id, CASE i WHEN 7 THEN '{SECRET}' ELSE 'name ' || i END AS name"
    lake.write("t", f"{sql} FROM range(10) r(i)", partition_by=partition_by or [])
    lake.write("t", "SELECT 100 AS id, 'other' AS name", mode="append")
    lake.catalog.rows.update(lake.cursor, main("t"), {"name": "name || '!'"}, "id IN (3, 7)")
    lake.write("t", "SELECT 101 AS id, 'more' AS name", mode="append")


@pytest.mark.parametrize("partition_by", [[], ["name"], ["truncate(4, name)"]])
def test_no_file_of_the_warehouse_holds_erased_rows(lake: Lake, partition_by: list[str]) -> None:
    fill(lake, partition_by)
    assert len(holding(lake)) >= 3, "the test must be able to see them"
    erased = lake.catalog.erasing.erase(lake.cursor, main("t"), f"name LIKE '{SECRET}%'")
    assert erased.rows.deleted == 1
    assert erased.expired_snapshots >= 3
    assert holding(lake) == []
    assert len(lake.rows("t")) == 11
    with lake.pyiceberg("t") as table:
        assert table.scan().to_arrow().num_rows == 11


@pytest.mark.parametrize("partition_by", [[], ["name"]])
def test_rows_that_only_older_snapshots_hold_are_erased_too(
    lake: Lake, partition_by: list[str]
) -> None:
    fill(lake, partition_by)
    lake.catalog.rows.delete(lake.cursor, main("t"), "id = 7")
    lake.write("t", "SELECT 102 AS id, 'later' AS name", mode="append")
    assert holding(lake)
    erased = lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    assert (erased.rows.deleted, holding(lake)) == (0, [])


def test_snapshots_without_such_rows_stay(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'a' AS name")
    clean = lake.metadata("t")["current-snapshot-id"]
    lake.write("t", f"SELECT 2 AS id, '{SECRET}' AS name", mode="append")
    lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 2")
    assert lake.rows("t", as_of=clean) == lake.rows("t") == [(1, "a")]
    assert holding(lake) == []


def test_what_a_tag_keeps_is_refused_before_anything_is_done(lake: Lake) -> None:
    fill(lake)
    first = lake.metadata("t")["snapshots"][0]["snapshot-id"]
    lake.catalog.refs.put(main("t"), "audit", RefPut(type="tag", snapshot_id=first))
    before, tree = lake.metadata("t"), lake.tree()
    with pytest.raises(ErasureRefusedError, match="the reference 'audit' keeps such rows"):
        lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    assert lake.metadata("t") == before
    assert lake.tree() == tree


def test_a_tag_on_a_snapshot_that_only_names_the_partition_of_such_rows_refuses_it(
    lake: Lake,
) -> None:
    fill(lake, ["name"])
    lake.catalog.rows.delete(lake.cursor, main("t"), "id = 7")
    lake.catalog.refs.put(main("t"), "audit", RefPut(type="tag"))
    lake.write("t", "SELECT 102 AS id, 'later' AS name", mode="append")
    before = lake.metadata("t")
    with pytest.raises(ErasureRefusedError, match="the reference 'audit' keeps such rows"):
        lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    assert lake.metadata("t") == before


def test_a_statement_that_reads_the_rows_is_waited_for(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake)
    monkeypatch.setattr("lakehouse.catalog.erasing.READERS_WAIT_S", 0.3)
    pinned = lake.catalog.pin(lake.cursor, [TableRef("main", "t")])
    with lake.database.cursor() as other:
        with pytest.raises(ErasureUnfinishedError):
            lake.catalog.erasing.erase(other, main("t"), "id = 7")
        relation = pinned[0].relation
        sql = f'SELECT count(*) FROM "{relation}" WHERE id = 7'
        assert lake.cursor.execute(sql).fetchall() == [(1,)], "what it began with, it reads"
        del pinned
        again = lake.catalog.erasing.erase(other, main("t"), "id = 7")
    assert again.rows.deleted == 0
    assert holding(lake) == []


def test_a_tag_on_the_current_snapshot_refuses_it_before_anything_is_done(lake: Lake) -> None:
    fill(lake)
    lake.catalog.refs.put(main("t"), "now", RefPut(type="tag"))
    before = lake.metadata("t")
    with pytest.raises(ErasureRefusedError, match="the reference 'now' keeps such rows"):
        lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    assert lake.metadata("t") == before


def test_it_is_not_done_while_a_statement_reads_on_however_often_it_is_asked(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake)
    monkeypatch.setattr("lakehouse.catalog.erasing.READERS_WAIT_S", 0.1)
    pinned = lake.catalog.pin(lake.cursor, [TableRef("main", "t")])
    with lake.database.cursor() as other:
        for _ in range(2):
            with pytest.raises(ErasureUnfinishedError):
                lake.catalog.erasing.erase(other, main("t"), "id = 7")
        assert pinned and holding(lake)


@pytest.mark.parametrize("only_then", [False, True])
def test_rows_that_are_appended_while_it_looks_are_erased_too(lake: Lake, only_then: bool) -> None:
    if only_then:
        lake.write("t", "SELECT 1 AS id, 'a' AS name")
    else:
        fill(lake)
    look = lake.catalog.erasing._check
    done: list[bool] = []

    def interrupted(*args: object) -> None:
        look(*args)  # type: ignore[arg-type]
        if not done:
            done.append(True)
            lake.write("t", f"SELECT 7 AS id, '{SECRET}' AS name", mode="append")

    lake.catalog.erasing._check = interrupted  # type: ignore[method-assign,assignment]
    lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    assert done
    assert holding(lake) == []


def killed_before_its_commit(lake: Lake, age_s: float = 60) -> list[str]:
    """Have a rewrite of every file end before its commit, as by a kill; return what it left."""
    before = set(lake.tree())
    lake.catalog.rows.update(lake.cursor, main("t"), {"id": "id + 1000"}, "true")
    new = set(lake.tree()) - before
    left = [each for each in new if not each.endswith(".json")]
    lake.catalog.refs.rollback(main("t"), lake.metadata("t")["snapshots"][-2]["snapshot-id"])
    copies = {each: lake.store.read(each) for each in left}
    lake.catalog.expiry.expire(main("t"), lake.snapshot_ids("t"))
    lake.catalog.expiry.delete(main("t"))
    for key, data in copies.items():
        lake.store.write(key, data)
        at = time.time() - age_s
        os.utime(lake.store.path(key), (at, at))
    return left


def test_what_a_killed_rewrite_left_goes_with_the_rows(lake: Lake) -> None:
    lake.write("t", f"SELECT 7 AS id, '{SECRET}' AS name UNION ALL SELECT 8, 'b'")
    left = killed_before_its_commit(lake)
    assert {each for each in left if each.endswith(".parquet")} < set(holding(lake))

    erased = lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")

    assert holding(lake) == []
    assert erased.deleted_files >= len(left)
    assert lake.rows("t") == [(8, "b")]


def test_what_this_process_writes_meanwhile_stays(lake: Lake) -> None:
    lake.write("t", f"SELECT 7 AS id, '{SECRET}' AS name UNION ALL SELECT 8, 'b'")
    left = killed_before_its_commit(lake, age_s=-1)
    lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    assert set(left) <= set(lake.tree()), "an append is about to commit them"


def test_what_a_recovery_keeps_refuses_an_erasure(lake: Lake) -> None:
    fill(lake)
    key = keep(lake.store, lake.store.key(lake.metadata("t")["location"]), "a fork")
    with pytest.raises(ErasureRefusedError, match=KEPT):
        lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    lake.store.delete(key)
    lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    assert holding(lake) == []


def test_a_purge_of_another_table_that_was_cut_short_holds_up_no_erasure(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("other", "SELECT 1 AS id, 'a' AS name")
    table = lake.catalog.load(main("other"))
    lake.catalog.drop(main("other"))
    with monkeypatch.context() as patched, pytest.raises(OSError, match="cut short"):
        patched.setattr(LocalStore, "delete_folder", cut_short)
        lake.catalog.dropped.purge(table.metadata["table-uuid"])
    assert not lake.store.exists(lake.store.key(table.location))
    lake.write("t", f"SELECT 7 AS id, '{SECRET}' AS name UNION ALL SELECT 8, 'b'")
    killed_before_its_commit(lake)
    lake.catalog.erasing.erase(lake.cursor, main("t"), "id = 7")
    assert holding(lake) == []


def cut_short(store: LocalStore, key: str) -> None:
    folder = store.path(key).parent
    shutil.rmtree(folder / "metadata")
    raise OSError("cut short")


def test_a_snapshot_that_expires_as_the_erasure_begins_holds_it_up_no_more(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(lake)
    first = lake.metadata("t")["snapshots"][0]["snapshot-id"]
    expiry, relations = lake.catalog.expiry, lake.catalog._relations
    leased = relations.lease

    def just_too_late(table_uuid: str, snapshot_ids: set[int]) -> object:
        monkeypatch.undo()
        expiry.expire(main("t"), [first])
        expiry.delete(main("t"))
        return leased(table_uuid, snapshot_ids)

    monkeypatch.setattr(relations, "lease", just_too_late)
    later = lake.reopened()  # with caches that have seen none of its files
    monkeypatch.setattr(later.erasing, "_relations", relations)
    assert later.erasing.erase(lake.cursor, main("t"), f"name LIKE '{SECRET}%'").rows.deleted == 1
    assert holding(lake) == []
