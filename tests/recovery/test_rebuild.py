"""A catalog made anew from the warehouse is the one that was lost."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog

from lakehouse.catalog import RebuildReport
from lakehouse.catalog.errors import NotAdoptableError
from lakehouse.catalog.metadata import with_log_entry
from lakehouse.catalog.models import Adopt
from lakehouse.database import Database
from lakehouse.recovery import Rebuilt, rebuild
from lakehouse.state import DataDirectory, DataDirectoryInUseError
from lakehouse.storage import copy_catalog
from tests.catalog.lake import Lake, main, open_lake
from tests.services import environment, free_port, lakehouse_server


def copy(lake: Lake) -> None:
    """Copy the catalog into the warehouse, as the server does."""
    spool = lake.root / "spool"
    spool.mkdir(exist_ok=True)
    copy_catalog(lake.state, lake.store, spool)


def add(lake: Lake, table: str, number: int) -> None:
    lake.write(table, f"SELECT {number} AS id, 'x' AS name", mode="append")


def forget_catalog(root: Path) -> None:
    for path in root.glob("catalog.db*"):
        path.unlink()


def actions(report: RebuildReport) -> dict[str, str]:
    return {each.table: each.action for each in report.tables}


def rebuilt(root: Path, database: Database, table: str) -> list[tuple[Any, ...]]:
    """Rebuild, and return the rows that the table has then."""
    rebuild(root, apply=True)
    with open_lake(root, database) as lake:
        return lake.rows(table)


def test_a_table_in_a_namespace_of_several_levels_has_its_name_again(
    tmp_path: Path, database: Database
) -> None:
    name = '"deep.down".t'
    with open_lake(tmp_path, database) as lake:
        lake.catalog.namespaces.create("down", inside=["deep"])
        lake.write(name, "SELECT 1 AS id, 'x' AS name")
    forget_catalog(tmp_path)
    assert rebuilt(tmp_path, database, name) == [(1, "x")]


def test_pointers_move_forward_over_what_was_committed_after_the_copy(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        for table in ("still", "busy"):
            lake.write(table, "SELECT 0 AS id, 'x' AS name")
        copy(lake)
        for number in range(1, 4):
            add(lake, "busy", number)
        lake.write("new", "SELECT 7 AS id, 'x' AS name")
        lake.catalog.rename(main("new"), main("néw [1]"))
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=True)

    assert actions(done.report) == {
        "main.busy": "forward",
        "main.still": "keep",
        "main.néw [1]": "add",
    }
    busy = next(each for each in done.report.tables if each.table == "main.busy")
    assert (busy.commits, busy.row_count) == (3, 4)
    assert done.kept is None
    with open_lake(tmp_path, database) as lake:
        assert [row[0] for row in lake.rows("busy")] == [0, 1, 2, 3]
        assert lake.rows("still") == [(0, "x")]
        assert lake.rows("néw [1]") == [(7, "x")]
        add(lake, "busy", 4)


@pytest.mark.parametrize("copied", [True, False])
def test_deleted_rows_do_not_come_back_with_their_folder(
    tmp_path: Path, database: Database, copied: bool
) -> None:
    def land(lake: Lake, number: int) -> str:
        with lake.store.writing(f"landing/{number}.parquet") as file:
            rows = pa.table({"id": pa.array([number], pa.int64()), "name": ["x"]})
            pq.write_table(rows, file)
        return f"landing/{number}.parquet"

    again = Adopt(prefix="landing")
    with open_lake(tmp_path, database) as lake:
        land(lake, 1), land(lake, 2)
        lake.catalog.adopting.adopt(main("people"), again)
        lake.catalog.rows.delete(lake.cursor, main("people"), "id = 1")
        past = lake.snapshot_ids("people") - {lake.metadata("people")["current-snapshot-id"]}
        lake.catalog.expiry.expire(main("people"), past)
        lake.catalog.expiry.delete(main("people"))
        if copied:
            copy(lake)
        land(lake, 3)
        lake.catalog.adopting.adopt(main("people"), again)
    forget_catalog(tmp_path)

    rebuild(tmp_path, apply=True)

    with open_lake(tmp_path, database) as lake:
        new = land(lake, 4)
        if copied:
            lake.catalog.adopting.adopt(main("people"), again)
        else:
            with pytest.raises(NotAdoptableError, match="rebuilt without its copy"):
                lake.catalog.adopting.adopt(main("people"), again)
            lake.catalog.adopting.adopt(main("people"), Adopt([new]))
        assert [row[0] for row in lake.rows("people")] == [2, 3, 4]


def test_without_a_copy_every_table_comes_from_its_files(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.catalog.namespaces.create("sales")
        lake.write("sales.orders of 2026", "SELECT 1 AS id, 'x' AS name")
        add(lake, "sales.orders of 2026", 2)
        lake.catalog.rename(
            lake.catalog.names()[0], lake.catalog.names()[0]._replace(name="örders")
        )
        snapshots = [each.snapshot_id for each in lake.catalog.snapshots(lake.catalog.names()[0])]
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=True)

    assert actions(done.report) == {"sales.örders": "add"}
    assert done.copy.startswith("no copy")
    with open_lake(tmp_path, database) as lake:
        assert lake.rows("sales.örders") == [(1, "x"), (2, "x")]
        assert [e.snapshot_id for e in lake.catalog.snapshots(lake.catalog.names()[0])] == snapshots


def test_a_table_that_was_adopted_where_it_lay_comes_back(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        uri, folder = f"sqlite:///{tmp_path / 'theirs.db'}", lake.store.uri("spark")
        theirs = SqlCatalog("theirs", uri=uri, warehouse=folder)
        theirs.create_namespace("sales")
        rows = pa.table({"id": [1], "the name": ["x"]})
        for name in ("adopted", "never"):
            table = theirs.create_table(f"sales.{name}", rows.schema)
            table.append(rows)
            if name == "adopted":
                at = lake.store.key(table.metadata_location)
                lake.catalog.adopting.adopt(main("orders"), Adopt(metadata=at))
        theirs.close()
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=True)

    assert actions(done.report) == {"main.orders": "add"}
    with open_lake(tmp_path, database) as lake:
        assert lake.rows("orders") == [(1, "x")]


def test_a_table_whose_metadata_says_no_name_is_named_after_its_folder(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("people", "SELECT 1 AS id, 'x' AS name")
        location = lake.catalog.load(main("people")).location
    path = Path(location.removeprefix("file://"))
    metadata = orjson.loads(path.read_bytes())
    del metadata["properties"]["lakehouse.name"]
    path.write_bytes(orjson.dumps(metadata))
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=False)

    assert actions(done.report) == {"main.people": "add"}
    assert "named after its folder" in (done.report.tables[0].note or "")


def test_a_dry_run_changes_nothing(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 1 AS id, 'x' AS name")
        copy(lake)
        add(lake, "t", 2)

    def state() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    before = state()
    done = rebuild(tmp_path, apply=False)

    assert actions(done.report) == {"main.t": "forward"}
    after = state()
    after.pop(str(tmp_path / "lock"))
    assert after == before


def plant(lake: Lake, table: str, *, after: str | None = None, later_ms: int = 0) -> str:
    """Write a metadata file that follows the current one and never became current."""
    loaded = lake.catalog.load(main(table))
    location = after or loaded.location
    metadata = orjson.loads(lake.store.read(lake.store.key(location)))
    now = metadata["last-updated-ms"] + later_ms
    planted = with_log_entry(metadata, location, metadata, now)
    name = f"{location.rpartition('/')[0]}/00009-planted-{later_ms}.metadata.json"
    lake.store.write(lake.store.key(name), orjson.dumps(planted))
    return name


def fork_before_commits(lake: Lake) -> tuple[str, str]:
    """A commit that was killed before its pointer moved; the next start went on without it."""
    copy(lake)
    planted = plant(lake, "t", later_ms=60_000)
    add(lake, "t", 1)
    add(lake, "t", 2)
    return planted, "it was followed, and the others never were"


def fork_behind_the_copy(lake: Lake) -> tuple[str, str]:
    planted = plant(lake, "t", later_ms=60_000)
    add(lake, "t", 1)
    add(lake, "t", 2)
    copy(lake)
    return planted, "the copy of the catalog knows it"


def fork_at_the_end(lake: Lake) -> tuple[str, str]:
    add(lake, "t", 1)
    copy(lake)
    planted = plant(lake, "t", later_ms=-1)
    add(lake, "t", 2)
    return planted, "none was followed; it is the newest"


@pytest.mark.parametrize("make", [fork_before_commits, fork_behind_the_copy, fork_at_the_end])
def test_a_fork_is_named_and_what_was_current_is_chosen(
    make: Callable[[Lake], tuple[str, str]], tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        planted, reason = make(lake)
        current = lake.catalog.load(main("t")).location
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=True)

    (fork,) = done.report.forks
    assert fork.others == [planted.rpartition("/")[2]]
    assert fork.reason.startswith(reason)
    with open_lake(tmp_path, database) as lake:
        assert lake.catalog.load(main("t")).location == current
        assert [row[0] for row in lake.rows("t")] == [0, 1, 2]
        before = lake.tree()
        orphaned(lake)
        assert lake.tree() == before and lake.store.key(planted) in before, "nothing is deleted"


def test_two_histories_of_one_state_are_named_and_the_later_one_goes_on(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
    for name in ("catalog.db",):
        shutil.copy(tmp_path / name, tmp_path / "kept")
    with open_lake(tmp_path, database) as lake:
        add(lake, "t", 1)
        add(lake, "t", 2)
    forget_catalog(tmp_path)
    shutil.copy(tmp_path / "kept", tmp_path / "catalog.db")
    with open_lake(tmp_path, database) as lake:
        add(lake, "t", 10)
        add(lake, "t", 11)

    done = rebuild(tmp_path, apply=False)

    (fork,) = done.report.forks
    assert fork.reason.startswith("several were followed")
    assert rebuilt(tmp_path, database, "t") == [(0, "x"), (10, "x"), (11, "x")]


def test_a_commit_that_took_its_snapshot_back_is_passed_by(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        copy(lake)
        add(lake, "t", 1)
        add(lake, "t", 2)
        lake.store.delete(lake.manifest_list("t"))
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=True)

    assert "was taken back" in (done.report.tables[0].note or "")
    with open_lake(tmp_path, database) as lake:
        assert [row[0] for row in lake.rows("t")] == [0, 1]


def test_a_table_that_lost_a_file_stays_at_its_last_state_and_is_called_damaged(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        copy(lake)
        add(lake, "t", 1)
        lake.store.delete(lake.data_files("t")[0])
        current = lake.catalog.load(main("t")).location
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=True)

    assert "damaged: the data file" in (done.report.tables[0].note or "")
    with open_lake(tmp_path, database) as lake:
        assert lake.catalog.load(main("t")).location == current


def test_dropped_tables_stay_dropped(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("old", "SELECT 0 AS id, 'x' AS name")
        lake.catalog.drop(main("old"))
        lake.write("old", "SELECT 1 AS id, 'again' AS name")
        lake.write("purged", "SELECT 2 AS id, 'x' AS name")
        lake.catalog.drop(main("purged"))
        # What a purge left whose files could not all be deleted.
        lake.state.write(
            lambda tx: tx.execute("DELETE FROM dropped_table WHERE table_name = 'purged'")
        )
        copy(lake)
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=True)

    assert sorted(each.action for each in done.report.tables) == ["keep", "skip", "skip"]
    with open_lake(tmp_path, database) as lake:
        assert lake.rows("old") == [(1, "again")]
        assert lake.catalog.names() == [main("old")]
        lake.catalog.undrop(main("old"), to=main("older"))
        assert lake.rows("older") == [(0, "x")]


def test_of_two_tables_of_one_name_the_newer_gets_it_and_the_other_is_named(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        old = lake.metadata("t")["location"]
        lake.catalog.drop(main("t"))
        lake.write("T", "SELECT 1 AS id, 'y' AS name")
    forget_catalog(tmp_path)

    done = rebuild(tmp_path, apply=True)

    clash = next(each for each in done.report.tables if each.action == "clash")
    assert old in (clash.note or "")
    with open_lake(tmp_path, database) as lake:
        assert lake.rows("t") == [(1, "y")]
        before = lake.tree()
        orphaned(lake)
        assert lake.tree() == before
        (kept,) = (each for each in before if each.endswith("kept-by-recovery.txt"))
        assert lake.store.uri(kept).startswith(old)
        assert b"another table has the name" in lake.store.read(kept)
        lake.store.delete(kept)
        orphaned(lake)
        assert not [each for each in lake.tree() if lake.store.uri(each).startswith(old)]


def orphaned(lake: Lake) -> None:
    """Have maintenance look for orphans when all that is there is old."""
    lake.catalog.orphans.remove(lake.cursor, -60)


def test_a_pointer_whose_files_are_gone_is_named_and_kept(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        copy(lake)
        shutil.rmtree(lake.root / "warehouse" / "tables")

    done = rebuild(tmp_path, apply=True)

    assert actions(done.report) == {"main.t": "gone"}
    with open_lake(tmp_path, database) as lake:
        assert lake.catalog.names() == [main("t")]


def test_a_table_without_its_last_metadata_file_goes_back_to_the_one_before(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        add(lake, "t", 1)
        copy(lake)
        lake.store.delete(lake.store.key(lake.catalog.load(main("t")).location))

    done = rebuild(tmp_path, apply=True)

    assert actions(done.report) == {"main.t": "back"}
    with open_lake(tmp_path, database) as lake:
        assert lake.rows("t") == [(0, "x")]


def test_the_catalog_that_was_there_is_kept_whole(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        copy(lake)
        lake.write("later", "SELECT 0 AS id, 'x' AS name")

    done = rebuild(tmp_path, apply=True)

    assert done.kept is not None
    with sqlite3.connect(done.kept) as kept:
        assert kept.execute("SELECT count(*) FROM iceberg_tables").fetchone() == (2,)
    kept.close()


def test_a_damaged_catalog_gives_way_and_a_damaged_copy_counts_as_none(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        copy(lake)
    (tmp_path / "catalog.db").write_bytes(b"no database" * 1000)
    (tmp_path / "catalog.db-wal").write_bytes(b"of the other one")
    (tmp_path / "warehouse" / "_catalog" / "catalog.db").write_bytes(b"SQLite format 3\0" * 99)

    done = rebuild(tmp_path, apply=True)

    assert "damaged" in done.copy
    assert done.kept is not None
    assert Path(done.kept).read_bytes().startswith(b"no database")
    assert not (tmp_path / "catalog.db-wal").exists(), "the new one would read it"
    with open_lake(tmp_path, database) as lake:
        assert lake.rows("t") == [(0, "x")]


def test_a_metadata_file_that_is_none_is_named_and_passed_by(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        location = lake.catalog.load(main("t")).location
    bad = Path(location.removeprefix("file://")).with_name("00099-x.metadata.json")
    bad.write_bytes(b"{}")

    done: Rebuilt = rebuild(tmp_path, apply=True)

    assert [key.rpartition("/")[2] for key in done.report.unreadable] == [bad.name]
    assert actions(done.report) == {"main.t": "add"}


def test_a_directory_that_is_served_is_refused(tmp_path: Path) -> None:
    with (
        DataDirectory.open(tmp_path / "data"),
        pytest.raises(DataDirectoryInUseError, match="stop that one first"),
    ):
        rebuild(tmp_path / "data", apply=True)


def there(data_dir: Path) -> list[bytes | None]:
    """Return the catalog and its copy in the warehouse, as far as they are there."""
    places = [data_dir / "catalog.db", data_dir / "warehouse" / "_catalog" / "catalog.db"]
    return [place.read_bytes() if place.exists() else None for place in places]


def of_somebody_else(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (id)")
        connection.commit()


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
@pytest.mark.parametrize(
    "lose",
    [Path.unlink, lambda path: path.write_bytes(b""), of_somebody_else],
    ids=["gone", "empty", "of somebody else"],
)
def test_no_server_starts_on_tables_without_a_catalog(
    tmp_path: Path, lose: Callable[[Path], object]
) -> None:
    data_dir = tmp_path / "data"
    with lakehouse_server(data_dir) as server:
        answer = httpx.post(f"{server.url}/v1/ingest?name=t&format=csv", content="id\n1\n")
        assert answer.status_code == 200, answer.text
    lose(data_dir / "catalog.db")
    left = there(data_dir)
    before = {each: each.stat().st_mtime_ns for each in data_dir.rglob("*") if each.is_file()}
    command = [
        sys.executable,
        "-m",
        "lakehouse",
        "serve",
        "--data",
        str(data_dir),
        "--port",
        str(free_port()),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=60, check=False
    )
    assert done.returncode != 0
    assert f"lakehouse catalog rebuild --data {data_dir}" in " ".join(done.stderr.split())
    after = {each: each.stat().st_mtime_ns for each in data_dir.rglob("*") if each.is_file()}
    assert {p for p in before if p.name != "lock"} <= set(after)
    assert there(data_dir) == left, "what is there is all there is to rebuild it from"
