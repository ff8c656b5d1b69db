"""A warehouse that was moved is read, and written, where it lies now."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from click.testing import CliRunner
from pyiceberg.typedef import Record

from lakehouse.catalog import check_root, parse_table_name
from lakehouse.catalog.avro import Fields, rewritten
from lakehouse.catalog.errors import (
    CannotRelocateError,
    NothingToRelocateError,
    TablesElsewhereError,
)
from lakehouse.catalog.metadata import Json, snapshot_of
from lakehouse.catalog.tables import Change, Draft
from lakehouse.cli import lakehouse
from lakehouse.database import Database
from lakehouse.recovery import relocate_directory
from lakehouse.recovery.errors import OtherWarehouseError
from lakehouse.storage import LocalStore
from tests.catalog.lake import Lake, main, open_lake

TYPES = {
    "at": "timestamp",
    "day": "date",
    "price": "decimal(9,2)",
    "id": "uuid",
    "ok": "boolean",
    "raw": "binary",
    "tags": "list<string>",
}
TYPED = """
    SELECT TIMESTAMP '2026-01-02 03:04:05.678901' AS at, DATE '2026-01-02' AS day,
           12.34::DECIMAL(9,2) AS price, '6d3c9a52-0f5b-4b7e-9a52-000000000001'::UUID AS id,
           true AS ok, 'x'::BLOB AS raw, ['a', NULL] AS tags
"""


def fill(lake: Lake) -> None:
    lake.write("plain", "SELECT 0 AS id, 'x' AS name")
    for number in range(1, 4):
        lake.write("plain", f"SELECT {number} AS id, 'x' AS name", mode="append")
    lake.write("plain", "SELECT 9 AS id, 'only' AS name", mode="overwrite")
    parts = ["hour(at)", "day", "price", "id", "ok", "raw"]
    lake.write("typed", TYPED, TYPES, partition_by=parts)
    lake.write("gone", "SELECT 5 AS id, 'x' AS name")
    lake.catalog.drop(main("gone"))


def contents(lake: Lake) -> dict[str, Any]:
    """Return the rows of every table at every snapshot."""
    return {
        str(name): [
            (each.snapshot_id, each.summary, lake.rows(str(name), each.snapshot_id))
            for each in lake.catalog.snapshots(name)
        ]
        for name in lake.catalog.names()
    }


@pytest.fixture
def moved(tmp_path: Path, database: Database) -> tuple[Path, Path, dict[str, Any]]:
    """A data directory that was moved: where it was, where it is, and what was in it."""
    old, new = tmp_path / "old", tmp_path / "new place"
    old.mkdir()
    with open_lake(old, database) as lake:
        fill(lake)
        before = contents(lake)
    old.rename(new)
    return old, new, before


def relocate(old: Path, new: Path, **options: Any) -> dict[str, str | None]:
    done = relocate_directory(new, str(old / "warehouse"), str(new / "warehouse"), **options)
    return {each.table: each.note for each in done}


def test_every_snapshot_is_read_where_the_warehouse_lies_now(
    moved: tuple[Path, Path, dict[str, Any]], fresh: Database
) -> None:
    old, new, before = moved
    data = {path: path.read_bytes() for path in new.rglob("*.parquet")}
    with open_lake(new, fresh) as lake, pytest.raises(TablesElsewhereError) as raised:
        check_root(lake.state, lake.store)
    command = f"lakehouse catalog relocate {old}/warehouse '{new}/warehouse'"
    assert raised.value.detail.endswith(command)

    assert relocate(old, new) == {"main.plain": None, "main.typed": None, "main.gone": None}

    with open_lake(new, fresh) as lake:
        check_root(lake.state, lake.store)
        assert contents(lake) == before
        assert {path: path.read_bytes() for path in new.rglob("*.parquet")} == data
        lake.write("plain", "SELECT 10 AS id, 'later' AS name", mode="append")
        assert lake.rows("plain") == [(10, "later"), (9, "only")]
        lake.catalog.undrop(main("gone"))
        assert lake.rows("gone") == [(5, "x")]
        with lake.pyiceberg("typed") as table:
            assert table.scan().to_arrow().num_rows == 1
        for key in lake.reachable():
            if key.endswith(".metadata.json"):
                assert lake.store.exists(key)
        assert not any(
            str(old) in lake.store.read(key).decode("latin-1")
            for key in lake.reachable()
            if key.endswith(".avro")
        )


def test_fields_that_we_do_not_know_stay(
    moved: tuple[Path, Path, dict[str, Any]], fresh: Database
) -> None:
    old, new, _ = moved
    with open_lake(new, fresh) as lake:
        location = dict(places(lake))["plain"]
    path = new / Path(location.removeprefix("file://")).relative_to(old)
    metadata = orjson.loads(path.read_bytes())
    metadata["x-of-another"] = {"kept": [1]}
    metadata["properties"] |= {
        "write.data.path": f"{metadata['location']}/data",
        "comment": f"{metadata['location']} is in a text",
    }
    path.write_bytes(orjson.dumps(metadata))

    relocate(old, new)

    with open_lake(new, fresh) as lake:
        found = lake.metadata("plain")
        assert found["x-of-another"] == {"kept": [1]}
        assert found["properties"]["write.data.path"] == f"{found['location']}/data"
        assert found["location"].startswith(f"file://{new}/")
        assert found["properties"]["comment"].startswith(f"file://{old}")


def places(lake: Lake) -> list[tuple[str, str]]:
    sql = "SELECT table_name, metadata_location FROM iceberg_tables"
    return lake.state.read(lambda tx: tx.execute(sql).fetchall())


def test_a_relocation_that_fails_on_the_way_leaves_nothing_and_begins_again(
    moved: tuple[Path, Path, dict[str, Any]], fresh: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, before = moved
    files = set((new / "warehouse").rglob("*"))
    write, count = LocalStore.write, 0

    def failing(self: LocalStore, key: str, data: bytes) -> None:
        nonlocal count
        count += 1
        if count == 7:
            raise OSError("the disk broke")
        write(self, key, data)

    with monkeypatch.context() as patched:
        patched.setattr(LocalStore, "write", failing)
        with pytest.raises(OSError, match="broke"):
            relocate(old, new)

    left = {path for path in (new / "warehouse").rglob("*") if path.is_file()}
    assert left == {path for path in files if path.is_file()}
    relocate(old, new)
    with open_lake(new, fresh) as lake:
        assert contents(lake) == before


def plant_position_deletes(lake: Lake, table: str) -> None:
    """Make a manifest say that it holds position deletes, as Spark writes them."""
    snapshot = snapshot_of(lake.metadata(table))
    assert snapshot
    manifests: list[str] = []

    def mark_manifest(record: Record, fields: Callable[..., Fields]) -> None:
        record[fields()[517]] = 1
        manifests.append(record[fields()[500]])

    def mark_file(record: Record, fields: Callable[..., Fields]) -> None:
        record[fields()[2]][fields(2)[134]] = 1

    change(lake, snapshot["manifest-list"], mark_manifest)
    change(lake, manifests[0], mark_file)


def change(lake: Lake, location: str, how: Callable[[Record, Callable[..., Fields]], None]) -> None:
    key = lake.store.key(location)
    lake.store.write(key, rewritten(lake.store.read(key), how))


def test_a_table_with_position_deletes_is_refused_by_name_and_can_be_left_behind(
    tmp_path: Path, database: Database, fresh: Database
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    with open_lake(old, database) as lake:
        lake.write("spark", "SELECT 0 AS id, 'x' AS name")
        plant_position_deletes(lake, "spark")
        lake.write("ours", "SELECT 1 AS id, 'x' AS name")
    old.rename(new)
    files = set(new.rglob("*"))

    with pytest.raises(CannotRelocateError, match=r"main\.spark has position deletes"):
        relocate(old, new)
    assert set(new.rglob("*.avro")) == {p for p in files if p.suffix == ".avro"}

    done = relocate(old, new, without=["SPARK"])

    assert done == {"main.ours": None, "main.spark": "taken out of the catalog"}
    with open_lake(new, fresh) as lake:
        assert lake.catalog.names() == [main("ours")]
        assert lake.rows("ours") == [(1, "x")]
        lake.catalog.orphans.remove(lake.cursor, -60)
        left = {path for path in files if "/spark-" in str(path) and path.is_file()}
        assert left and {path for path in left if not path.exists()} == set()


def test_a_table_that_lost_files_moves_damaged_and_holds_up_no_other(
    moved: tuple[Path, Path, dict[str, Any]], fresh: Database
) -> None:
    old, new, before = moved
    next((new / "warehouse/tables/main").glob("typed-*/metadata/snap-*")).unlink()

    notes = relocate(old, new)

    assert "no object has the key" in (notes["main.typed"] or "")
    with open_lake(new, fresh) as lake:
        assert "is gone" in (lake.catalog.damage(parse_table_name("typed")) or "")
        assert contents_of(lake, "plain") == before["main.plain"]


def contents_of(lake: Lake, table: str) -> Any:
    return [
        (each.snapshot_id, each.summary, lake.rows(table, each.snapshot_id))
        for each in lake.catalog.snapshots(main(table))
    ]


def test_a_wrong_root_is_refused_and_the_right_one_named(
    moved: tuple[Path, Path, dict[str, Any]],
) -> None:
    old, new, _ = moved
    with pytest.raises(NothingToRelocateError, match=f"{old}/warehouse"):
        relocate(new / "nowhere", new)
    with pytest.raises(OtherWarehouseError, match="not /elsewhere"):
        relocate_directory(new, str(old / "warehouse"), "/elsewhere")


def test_a_pointer_of_which_nothing_lies_here_does_not_stop_a_start(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        sql = "UPDATE iceberg_tables SET metadata_location = 'file:///far/tables/a/b/metadata/c'"
        lake.state.write(lambda tx: tx.execute(sql))
        check_root(lake.state, lake.store)


def test_the_command_that_the_error_names_does_it(
    moved: tuple[Path, Path, dict[str, Any]], fresh: Database
) -> None:
    old, new, before = moved
    words = ["catalog", "relocate", f"{old}/warehouse", f"{new}/warehouse"]

    done = CliRunner().invoke(lakehouse, words)

    assert done.exit_code == 0, done.output
    assert "main.plain" in done.stdout
    with open_lake(new, fresh) as lake:
        assert contents(lake) == before


def test_old_metadata_files_go_from_a_warehouse_that_was_moved(
    tmp_path: Path, database: Database, fresh: Database
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    with open_lake(old, database) as lake:
        fill(lake)
        with_short_logs(lake)
        before = contents(lake)
    old.rename(new)
    relocate(old, new)
    with open_lake(new, fresh) as lake:
        with_short_logs(lake)
        table = lake.catalog.load(main("plain"))
        done = lake.catalog.orphans.remove_old_metadata(lake.cursor, table)
        assert done.file_count > 3
        assert lake.tree() >= lake.reachable()
        assert contents(lake) == before


def with_short_logs(lake: Lake) -> None:
    for value in ("x", "y", "z", "end"):
        properties = {"write.metadata.previous-versions-max": "1", "n": value}
        update = {"action": "set-properties", "updates": properties}
        lake.catalog._tables.commit([Change(main("plain"), partial(draft_of, update))])


def draft_of(update: Json, now: object) -> Draft:
    return Draft([update])
