"""What was answered is there once, what was refused is not there at all: threads and processes."""

import multiprocessing
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from lakehouse.catalog import (
    Catalog,
    Commit,
    Idempotency,
    Rows,
    SchemaChangedError,
    TableExistsError,
    TableName,
    TableNotFoundError,
    TableRef,
    WriteMode,
    Written,
)
from lakehouse.catalog import tables as tables_module
from lakehouse.catalog.errors import (
    CommitFailedError,
    CommitStateUnknownError,
    MetadataTooLargeError,
    TooManyPartitionsError,
)
from lakehouse.catalog.metadata import Json
from lakehouse.catalog.models import Table
from lakehouse.catalog.tables import Change, Draft, LoadedTable
from lakehouse.database import Database
from lakehouse.errors import NotFoundError, UnavailableError
from lakehouse.state import SqliteState, Transaction
from lakehouse.storage import StoreDownError
from tests.catalog.lake import PAIR, Lake, main, open_lake, rows_of, settings_for
from tests.postgres import OF_SQLITE, state_of

ONE = rows_of("SELECT 1 AS id, 'x' AS name")


def append(lake: Lake, catalog: Catalog, table: str, number: int) -> Written:
    with lake.database.cursor() as cursor:
        rows = rows_of(f"SELECT {number} AS id, 'x' AS name")
        return catalog.loading.write(cursor, main(table), rows, mode="append")


def chain(lake: Lake, table: str) -> list[str]:
    """Return every metadata file of a table, oldest first, walking back one by one."""
    location = lake.catalog.load(main(table)).location
    found = [location]
    while True:
        metadata = orjson.loads(lake.store.read(lake.store.key(found[-1])))
        if not metadata["metadata-log"]:
            return found[::-1]
        found.append(metadata["metadata-log"][-1]["metadata-file"])


def check_whole(lake: Lake, table: str, appends: int) -> None:
    """Every append is there once, in a chain without gaps, and no file is left over."""
    metadata = lake.metadata(table)
    snapshots = metadata["snapshots"]
    assert len(snapshots) == appends
    for before, after in pairwise(snapshots):
        assert after["parent-snapshot-id"] == before["snapshot-id"]
        assert after["sequence-number"] == before["sequence-number"] + 1
        assert after["timestamp-ms"] > before["timestamp-ms"]
    log = [each["metadata-file"] for each in metadata["metadata-log"]]
    assert chain(lake, table) == [*log, lake.catalog.load(main(table)).location]
    assert lake.tree() == lake.reachable()


def test_sixteen_threads_appending_to_one_table_lose_nothing(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    with ThreadPoolExecutor(16) as pool:
        written = list(pool.map(lambda n: append(lake, lake.catalog, "t", n), range(1, 97)))
    assert lake.rows("t") == sorted(((n, "x") for n in range(97)), key=repr)
    assert len({each.snapshot_id for each in written}) == 96
    assert sorted(each.table.row_count for each in written) == list(range(2, 98))
    check_whole(lake, "t", 97)


def test_two_catalogs_over_one_database_lose_nothing(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    with state_of(lake.root) as other_state:
        catalogs = [lake.catalog, Catalog(other_state, lake.store)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: append(lake, catalogs[n % 2], "t", n), range(1, 65)))
    assert lake.rows("t") == sorted(((n, "x") for n in range(65)), key=repr)
    check_whole(lake, "t", 65)


def append_in_process(root: str, first: int, count: int) -> None:
    with (
        Database.open(settings_for(Path(root))) as database,
        open_lake(Path(root), database) as lake,
        ThreadPoolExecutor(3) as pool,
    ):
        list(pool.map(lambda n: append(lake, lake.catalog, "t", n), range(first, first + count)))


def test_two_processes_lose_nothing(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=append_in_process, args=(str(lake.root), first, 20))
        for first in (1, 21)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    assert lake.rows("t") == sorted(((n, "x") for n in range(41)), key=repr)
    check_whole(lake, "t", 41)


def add_columns_in_process(root: str, who: str, count: int) -> None:
    """Add columns as another engine does: seen, required, and anew where it was too late."""
    with (
        Database.open(settings_for(Path(root))) as database,
        open_lake(Path(root), database) as lake,
    ):
        for number in range(count):
            while True:
                seen = lake.metadata("t")
                try:
                    lake.catalog.outside.commit([one_more_column(seen, f"{who}{number}")])
                    break
                except CommitFailedError:
                    continue


def one_more_column(seen: Json, name: str) -> Commit:
    last = seen["last-column-id"]
    (schema,) = [s for s in seen["schemas"] if s["schema-id"] == seen["current-schema-id"]]
    column = {"id": last + 1, "name": name, "type": "long", "required": False}
    updates: list[Json] = [
        {"action": "add-schema", "schema": {**schema, "fields": [*schema["fields"], column]}},
        {"action": "set-current-schema", "schema-id": -1},
    ]
    required = {"type": "assert-last-assigned-field-id", "last-assigned-field-id": last}
    return Commit(main("t"), [required], updates)


def test_two_processes_that_commit_as_other_engines_do_each_change_once(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(target=add_columns_in_process, args=(str(lake.root), who, 15))
        for who in "ab"
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    metadata = lake.metadata("t")
    assert [each["schema-id"] for each in metadata["schemas"]] == list(range(31))
    fields = metadata["schemas"][-1]["fields"]
    assert [each["id"] for each in fields] == list(range(1, 33))
    names = {f"{who}{number}" for who in "ab" for number in range(15)}
    assert {each["name"] for each in fields} == {"id", "name", *names}
    assert len(chain(lake, "t")) == 31
    assert lake.tree() == lake.reachable()


def test_of_many_that_create_one_name_one_wins(lake: Lake) -> None:
    with state_of(lake.root) as other_state:
        catalogs = [lake.catalog, Catalog(other_state, lake.store)]

        def create(number: int) -> bool:
            name = "T" if number % 3 else "t"
            with lake.database.cursor() as cursor:
                rows = rows_of(f"SELECT {number} AS id, 'x' AS name")
                try:
                    catalogs[number % 2].loading.write(cursor, main(name), rows, mode="create")
                except TableExistsError:
                    return False
            return True

        with ThreadPoolExecutor(12) as pool:
            won = list(pool.map(create, range(24)))
    assert sum(won) == 1
    assert lake.rows("t") == [(won.index(True), "x")]
    assert lake.tree() == lake.reachable()


def test_of_many_empty_tables_of_one_name_one_is_made(lake: Lake) -> None:
    def create(number: int) -> bool:
        try:
            lake.catalog.create_table(main("t"), PAIR)
        except TableExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(16))) == 1
    assert lake.tree() == lake.reachable()


def draft_of(**updates: str) -> Callable[[LoadedTable | None], Draft]:
    update: Json = {"action": "set-properties", "updates": updates}
    return lambda current: Draft([update])


def test_a_commit_that_lost_is_built_again_on_what_won(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    shown: list[int] = []
    with state_of(lake.root) as other_state:
        other = Catalog(other_state, lake.store)

        def build(current: LoadedTable | None) -> Draft:
            assert current
            shown.append(len(current.metadata["snapshots"]))
            if len(shown) < 4:
                append(lake, other, "t", len(shown))
            return Draft([{"action": "set-properties", "updates": {"a": "1"}}])

        lake.catalog._tables.commit([Change(main("t"), build)])
    assert shown == [1, 2, 3, 4]
    assert lake.metadata("t")["properties"]["a"] == "1"
    assert lake.rows("t") == [(0, "x"), (1, "x"), (2, "x"), (3, "x")]
    assert lake.tree() == lake.reachable(), "the files of the lost attempts are gone"


def test_who_loses_again_and_again_gets_a_conflict(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables_module, "BACKOFF_S", 0.0)
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    with state_of(lake.root) as other_state:
        other = Catalog(other_state, lake.store)

        def build(current: LoadedTable | None) -> Draft:
            append(lake, other, "t", 1)
            return Draft([{"action": "set-properties", "updates": {"a": "1"}}])

        with pytest.raises(CommitFailedError, match="10 times"):
            lake.catalog._tables.commit([Change(main("t"), build)])
    assert "a" not in lake.metadata("t")["properties"]
    assert lake.tree() == lake.reachable()


def test_nothing_changed_means_no_new_file(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    lake.catalog._tables.commit([Change(main("t"), draft_of(a="1"))])
    before, location = lake.tree(), lake.catalog.load(main("t")).location
    lake.catalog._tables.commit([Change(main("t"), draft_of(a="1"))])
    assert lake.tree() == before
    assert lake.catalog.load(main("t")).location == location


def test_two_tables_are_committed_in_one_moment(lake: Lake) -> None:
    for name in ("one", "two"):
        lake.write(name, "SELECT 0 AS id, 'x' AS name")
    stop = threading.Event()
    seen: set[tuple[int, int]] = set()

    def reader() -> None:
        with lake.database.cursor() as cursor:
            while not stop.is_set():
                pinned = lake.catalog.pin(cursor, [TableRef(None, "two"), TableRef(None, "one")])
                counts = []
                for each in pinned:
                    cursor.execute(f'SELECT count(*) FROM "{each.relation}"')
                    (row,) = cursor.fetchall()
                    counts.append(row[0])
                seen.add((counts[0], counts[1]))

    threads = [threading.Thread(target=reader) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, 16):
            staged = [
                lake.catalog.loading.stage(
                    lake.cursor, main(name), rows_of(f"SELECT {number} AS id, 'x' AS name"),
                    mode="append",
                )
                for name in ("two", "one")
            ]  # fmt: skip
            written = lake.catalog.loading.commit(staged)
            assert [each.table.name.name for each in written] == ["two", "one"]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert all(one == two for one, two in seen)
    assert len(seen) > 1
    assert lake.tree() == lake.reachable()


def test_of_two_tables_both_or_none_are_created(lake: Lake) -> None:
    staged = [
        lake.catalog.loading.stage(lake.cursor, main(name), ONE, mode="create")
        for name in ("fresh", "taken")
    ]
    lake.write("taken", "SELECT 0 AS id, 'first' AS name")
    with pytest.raises(TableExistsError, match="taken"):
        lake.catalog.loading.commit(staged)
    assert lake.catalog.names() == [main("taken")]
    assert lake.rows("taken") == [(0, "first")]
    assert lake.tree() == lake.reachable(), "no file of either is left"


def test_when_one_requirement_fails_no_table_changes(lake: Lake) -> None:
    for name in ("one", "two"):
        lake.write(name, "SELECT 0 AS id, 'x' AS name")
    before = lake.tree()
    stale = [{"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 1}]
    update: Json = {"action": "set-properties", "updates": {"a": "1"}}
    with pytest.raises(CommitFailedError, match="Requirement failed"):
        lake.catalog._tables.commit(
            [
                Change(main("one"), lambda current: Draft([update])),
                Change(main("two"), lambda current: Draft([update], requirements=stale)),
            ]
        )
    for name in ("one", "two"):
        assert "a" not in lake.metadata(name)["properties"]
    assert lake.tree() == before


def test_loads_that_will_not_be_committed_are_discarded(lake: Lake) -> None:
    rows = rows_of("SELECT 1 AS id, 'x' AS name")
    staged = lake.catalog.loading.stage(lake.cursor, main("t"), rows, mode="create")
    assert lake.tree() != set()
    lake.catalog.loading.discard([staged])
    assert lake.tree() == set()


@pytest.mark.parametrize("lost", ["-m0.avro", "snap-", ".metadata.json"])
def test_when_one_of_its_files_cannot_be_stored_a_commit_leaves_none(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    before, write = lake.tree(), lake.store.write

    def failing(key: str, data: bytes) -> None:
        if lost in key:
            raise StoreDownError("not now")
        write(key, data)

    for way in ("write", "create"):
        monkeypatch.setattr(lake.store, way, failing)
    with pytest.raises(StoreDownError):
        lake.write("t", "SELECT 1 AS id, 'y' AS name", mode="append")
    monkeypatch.undo()
    assert lake.tree() == before
    lake.write("t", "SELECT 1 AS id, 'y' AS name", mode="append")
    assert lake.rows("t") == [(0, "x"), (1, "y")]
    assert lake.tree() == lake.reachable()


def test_metadata_is_stored_when_all_that_it_names_is(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    write, create, met = lake.store.write, lake.store.create, threading.Barrier(2)
    ended: list[str] = []

    def slow(key: str, data: bytes) -> None:
        met.wait(10)  # the manifest and the list, beside each other
        time.sleep(0.1)
        write(key, data)
        ended.append(key)

    def last(key: str, data: bytes) -> None:
        monkeypatch.undo()
        assert len(ended) == 2, "a rebuild would find metadata of what is not there"
        create(key, data)
        ended.append(key)

    monkeypatch.setattr(lake.store, "write", slow)
    monkeypatch.setattr(lake.store, "create", last)
    lake.write("t", "SELECT 1 AS id, 'y' AS name", mode="append")
    assert len(ended) == 3
    assert set(ended) <= lake.reachable()


class SealError(Exception): ...


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_when_the_seal_fails_nothing_is_left(lake: Lake, mode: Any) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    before, location = lake.tree(), lake.catalog.load(main("t")).location

    def answer(written: Written) -> bytes:
        raise SealError

    key = Idempotency("key", "hash", answer)
    with pytest.raises(SealError):
        lake.write("t", "SELECT 1 AS id, 'y' AS name", mode=mode, idempotency=key)
    assert lake.tree() == before
    assert lake.catalog.load(main("t")).location == location
    assert lake.catalog.keys.find("key", "hash") is None


def test_when_the_first_load_cannot_be_sealed_there_is_no_table(lake: Lake) -> None:
    def answer(table: Table) -> bytes:
        raise SealError

    with pytest.raises(SealError):
        lake.catalog.create_table(main("t"), PAIR, idempotency=Idempotency("a", "hash", answer))
    assert lake.catalog.names() == []
    assert lake.tree() == set()


class Dying(SqliteState):
    """A database whose connection breaks while it commits."""

    broken = False
    lost = False

    def write(self, work: Callable[[Transaction], Any], *, notable: bool = True) -> Any:
        if not self.broken:
            return super().write(work, notable=notable)
        if self.lost:
            super().write(work, notable=notable)
        else:
            with pytest.raises(SealError):
                super().write(lambda tx: fail_after(work, tx), notable=notable)
        raise sqlite3.OperationalError("disk I/O error")


def fail_after(work: Callable[[Transaction], Any], tx: Transaction) -> None:
    work(tx)
    raise SealError


@contextmanager
def dying(lake: Lake, *, lost: bool) -> Iterator[Catalog]:
    """A catalog whose commits end in the dark: the answer is lost, or the commit is."""
    with Dying.open(lake.root / "catalog.db") as state:
        catalog = Catalog(state, lake.store)
        state.broken, state.lost = True, lost
        yield catalog


@OF_SQLITE
@pytest.mark.parametrize("lost", [True, False])
def test_an_unknown_outcome_is_said_and_keeps_the_files(lake: Lake, lost: bool) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    before = lake.tree()
    with dying(lake, lost=lost) as catalog, pytest.raises(CommitStateUnknownError):
        append(lake, catalog, "t", 1)
    assert len(lake.tree() - before) == 4, "data file, manifest, list and metadata stay"
    assert lake.rows("t") == ([(0, "x"), (1, "x")] if lost else [(0, "x")])
    append(lake, lake.catalog, "t", 2)
    assert (2, "x") in lake.rows("t")


def test_a_table_dropped_and_made_again_gets_no_rows_of_the_other(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'old' AS name")
    rows = rows_of("SELECT 1 AS id, 'late' AS name")
    staged = lake.catalog.loading.stage(lake.cursor, main("t"), rows, mode="append")
    lake.catalog.drop(main("t"))
    lake.write("t", "SELECT 2 AS id, 'new' AS name")
    with pytest.raises(TableNotFoundError):
        lake.catalog.loading.commit([staged])
    assert lake.rows("t") == [(2, "new")]
    assert not any("late" in str(row) for row in lake.rows("t"))
    data = {key for key in lake.tree() if "/data/" in key}
    assert len(data) == 2, "one file of each table, none of the late load"


def test_a_table_renamed_meanwhile_gets_no_rows_under_the_old_name(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    rows = rows_of("SELECT 1 AS id, 'late' AS name")
    staged = lake.catalog.loading.stage(lake.cursor, main("t"), rows, mode="append")
    lake.catalog.rename(main("t"), main("u"))
    with pytest.raises(TableNotFoundError):
        lake.catalog.loading.commit([staged])
    assert lake.rows("u") == [(0, "x")]
    assert lake.tree() == lake.reachable()


def test_a_table_renamed_by_case_alone_gets_its_rows(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    rows = rows_of("SELECT 1 AS id, 'x' AS name")
    staged = lake.catalog.loading.stage(lake.cursor, main("t"), rows, mode="append")
    assert lake.catalog.rename(main("t"), main("T")).name == "T"
    (written,) = lake.catalog.loading.commit([staged])
    assert written.table.name == main("T")
    assert lake.rows("t") == [(0, "x"), (1, "x")]


def test_rename_keeps_rows_and_history_and_frees_the_name(lake: Lake) -> None:
    lake.write("a", "SELECT 0 AS id, 'first' AS name")
    uuid = lake.catalog.get(main("a")).uuid
    lake.write("b", "SELECT 9 AS id, 'b' AS name")
    with pytest.raises(TableExistsError):
        lake.catalog.rename(main("a"), main("B"))
    with pytest.raises(TableNotFoundError):
        lake.catalog.rename(main("nope"), main("c"))
    with pytest.raises(NotFoundError, match="namespace"):
        lake.catalog.rename(main("a"), TableName("nope", "c"))
    lake.catalog.rename(main("a"), main("c"))
    lake.write("a", "SELECT 1 AS id, 'second' AS name")
    lake.write("c", "SELECT 2 AS id, 'third' AS name", mode="append")
    assert lake.catalog.get(main("c")).uuid == uuid
    assert lake.rows("c") == [(0, "first"), (2, "third")]
    assert lake.rows("a") == [(1, "second")]
    folders = {key.split("/data/")[0] for key in lake.tree() if "/data/" in key}
    assert len(folders) == 3, "no two tables share a folder"


def test_drop_and_append_at_once_end_clean(lake: Lake) -> None:
    acknowledged = 0
    for round_ in range(6):
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        barrier = threading.Barrier(4)

        def appender(number: int, barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            try:
                append(lake, lake.catalog, "t", number)
            except TableNotFoundError:
                return "gone"
            return "there"

        def dropper(barrier: threading.Barrier = barrier) -> str:
            barrier.wait()
            lake.catalog.drop(main("t"))
            return "dropped"

        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(appender, n) for n in range(3)] + [pool.submit(dropper)]
            outcomes = [future.result() for future in futures]
        assert outcomes[3] == "dropped", round_
        assert lake.catalog.find(main("t")) is None
        acknowledged += outcomes.count("there")
        data = [key for key in lake.tree() if "/data/" in key]
        assert len(data) == round_ + 1 + acknowledged, "a refused append leaves no file"


def test_drop_says_once_that_it_dropped(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")

    def drop(_: int) -> bool:
        try:
            lake.catalog.drop(main("t"))
        except TableNotFoundError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(drop, range(12))) == 1


def test_of_two_first_loads_of_a_dataset_without_columns_one_brings_them(lake: Lake) -> None:
    lake.catalog.create_table(main("t"), [])
    rows = rows_of("SELECT 1 AS id, 'x' AS name")
    staged = [
        lake.catalog.loading.stage(lake.cursor, main("t"), rows, mode="append") for _ in range(2)
    ]
    lake.catalog.loading.commit(staged[:1])
    with pytest.raises(SchemaChangedError, match="meanwhile"):
        lake.catalog.loading.commit(staged[1:])
    assert lake.rows("t") == [(1, "x")]
    assert lake.tree() == lake.reachable()


def test_a_second_update_of_one_table_is_our_own_mistake(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    changes = [Change(main("t"), draft_of(a="1")), Change(main("T"), draft_of(a="2"))]
    with pytest.raises(AssertionError):
        lake.catalog._tables.commit(changes)


@OF_SQLITE
def test_a_locked_database_is_a_clean_refusal(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    before = lake.tree()
    assert isinstance(lake.state, SqliteState)
    lake.state._writer.execute("PRAGMA busy_timeout = 10")
    holder = sqlite3.connect(lake.root / "catalog.db", isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnavailableError):
            append(lake, lake.catalog, "t", 1)
    finally:
        holder.close()
    assert lake.tree() == before
    append(lake, lake.catalog, "t", 2)
    assert lake.rows("t") == [(0, "x"), (2, "x")]


def test_rows_read_for_other_columns_are_not_cast_to_those_that_are_there(lake: Lake) -> None:
    lake.write("t", "SELECT 1 AS id, 'x' AS name")
    before = lake.tree()
    read = rows_of("SELECT 1.5 AS id, 'y' AS name", {"id": "double", "name": "string"})

    for read_for in ((), read.columns):
        rows = Rows(read.sql, read.columns, read_for=read_for)
        modes: tuple[WriteMode, ...] = ("append", "overwrite")
        for mode in modes:
            with pytest.raises(SchemaChangedError):
                lake.catalog.loading.write(lake.cursor, main("t"), rows, mode=mode)
        with pytest.raises(SchemaChangedError):
            lake.catalog.loading.upsert(lake.cursor, main("t"), rows, ["id"])

    assert lake.tree() == before


def test_partitions_have_a_limit_in_loads_alone(lake: Lake) -> None:
    catalog = Catalog(lake.state, lake.store, partitions_max=2)

    def write(numbers: str, mode: WriteMode = "append") -> None:
        rows = rows_of(f"SELECT unnest([{numbers}]) AS id, 'x' AS name")
        catalog.loading.write(lake.cursor, main("t"), rows, mode=mode, partition_by=["id"])

    with pytest.raises(TooManyPartitionsError, match=r"3 partitions by id; 2 are the most"):
        write("1, 2, 3", "create")
    assert lake.tree() == set()

    write("1, 2, 1", "create")
    write("3, 4")
    rows = rows_of("SELECT unnest([1, 2, 3, 4]) AS id, 'y' AS name")
    catalog.rows.merge(lake.cursor, main("t"), rows, ["id"], deletes=True)
    assert catalog.get(main("t")).row_count == 0
    write("1, 2")
    write("3, 4")
    assert catalog.loading.upsert(lake.cursor, main("t"), rows, ["id"]).rows.updated == 4


def test_metadata_that_is_too_long_is_refused_and_the_table_stays(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.write("one", "SELECT 0 AS id, 'x' AS name")
    before = lake.metadata("one")
    monkeypatch.setattr(tables_module, "METADATA_MAX_BYTES", 10_000)
    long = [{"action": "set-properties", "updates": {"user.long": "x" * 9_000}}]
    with pytest.raises(MetadataTooLargeError, match="expire snapshots"):
        lake.catalog._tables.commit([Change(main("one"), lambda current: Draft(long))])
    assert lake.metadata("one") == before
    lake.write("one", "SELECT 1 AS id, 'y' AS name", mode="append")
