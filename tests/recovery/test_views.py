"""Views outlive what tables outlive: a backup, a move, a lost catalog, and maintenance."""

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from lakehouse.catalog import (
    Column,
    LoadedView,
    NameTakenError,
    RebuildReport,
    TableExistsError,
    ViewExistsError,
    check_root,
)
from lakehouse.catalog.errors import InvalidViewError, TablesElsewhereError, ViewDamagedError
from lakehouse.config import BackupConfig
from lakehouse.database import Database
from lakehouse.recovery import Backups, rebuild, relocate_directory, restore
from lakehouse.state import DataDirectory
from lakehouse.state.errors import CatalogLostError
from lakehouse.storage import copy_catalog
from tests.catalog.lake import Lake, main, open_lake

SCHEMA = {"type": "struct", "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}
DAY_S = 86_400


def version(sql: str) -> dict[str, Any]:
    return {
        "version-id": 1,
        "schema-id": 0,
        "timestamp-ms": 1,
        "summary": {},
        "representations": [{"type": "sql", "sql": sql, "dialect": "duckdb"}],
        "default-namespace": ["main"],
    }


def make(lake: Lake, name: str, sql: str = "SELECT 1 AS id", **properties: str) -> LoadedView:
    return lake.catalog.views.create(
        main(name), schema=SCHEMA, version=version(sql), properties=properties
    )


def replace(lake: Lake, name: str, sql: str) -> LoadedView:
    updates: list[dict[str, Any]] = [
        {"action": "add-view-version", "view-version": version(sql)},
        {"action": "set-current-view-version", "view-version-id": -1},
    ]
    return lake.catalog.views.commit(main(name), updates, [])


def sql_of(lake: Lake, name: str) -> str:
    metadata = lake.catalog.views.load(main(name)).metadata
    current = metadata["current-version-id"]
    (found,) = [each for each in metadata["versions"] if each["version-id"] == current]
    return str(found["representations"][0]["sql"])


def key(lake: Lake, view: LoadedView) -> str:
    return lake.store.key(view.location)


def files(lake: Lake) -> set[str]:
    return set(lake.store.keys("views"))


def copy(lake: Lake) -> None:
    spool = lake.root / "spool"
    spool.mkdir(exist_ok=True)
    copy_catalog(lake.state, lake.store, spool)


def actions(report: RebuildReport) -> dict[str, str]:
    return {each.table: each.action for each in report.tables}


# Maintenance.


def remove_orphans(lake: Lake) -> int:
    for each in files(lake):
        at = time.time() - 10 * DAY_S
        os.utime(lake.store.path(each), (at, at))
    return lake.catalog.orphans.remove(lake.cursor, 3 * DAY_S).file_count


def test_only_files_that_no_view_names_go(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        old = make(lake, "v")
        now = replace(lake, "v", "SELECT 2 AS id")
        dropped = make(lake, "dropped")
        kept = make(lake, "kept", **{"gc.enabled": "false"})
        for name in ("dropped", "kept"):
            lake.catalog.views.drop(main(name))
        theirs = "views/landing/metadata/00000-of-somebody-else.metadata.json"
        like_ours = key(lake, dropped).replace("dropped-", "like-")
        lake.store.write(theirs, b"{}")
        lake.store.write(like_ours, b"{}")
        young = key(lake, make(lake, "young"))
        lake.catalog.views.drop(main("young"))
        there = files(lake)
        assert remove_orphans(lake) == 3
        gone = {key(lake, old), key(lake, dropped), young}
        assert files(lake) == there - gone == {key(lake, now), key(lake, kept), theirs, like_ours}
        assert not lake.store.path(key(lake, dropped)).parent.parent.exists()
        assert sql_of(lake, "v") == "SELECT 2 AS id"
        assert lake.rows("t") == [(0, "x")]
        back = lake.catalog.views.register(main("kept"), kept.location)
        assert back.metadata["view-uuid"] == kept.metadata["view-uuid"]


def test_a_young_file_stays(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        dropped = make(lake, "dropped")
        lake.catalog.views.drop(main("dropped"))
        assert lake.catalog.orphans.remove(lake.cursor, 3 * DAY_S).file_count == 0
        assert files(lake) == {key(lake, dropped)}


# A failed change.


def test_what_fails_leaves_no_file(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        view = make(lake, "v")
        there = files(lake)
        with pytest.raises(InvalidViewError):
            make(lake, "w", **{"\ud800": "no text"})
        with pytest.raises(InvalidViewError):
            replace(lake, "v", "SELECT '\ud800'")
        assert files(lake) == there == {key(lake, view)}
        assert not any(each.name.startswith("w-") for each in (tmp_path / "warehouse").rglob("*"))


def test_a_file_that_is_gone_is_said_and_the_view_can_be_dropped(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        view = make(lake, "v")
    with open_lake(tmp_path, database) as lake:  # nothing is remembered
        lake.store.delete(key(lake, view))
        with pytest.raises(ViewDamagedError, match="its metadata file is gone"):
            lake.catalog.views.load(main("v"))
        lake.catalog.views.drop(main("v"))
        assert lake.catalog.views.names() == []


def test_a_file_that_is_too_long_for_a_view_is_not_read(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.store.write("landing/long.metadata.json", b"{}")
        os.truncate(tmp_path / "warehouse" / "landing" / "long.metadata.json", 2**34)
        with pytest.raises(InvalidViewError, match="over 16,777,216 bytes"):
            lake.catalog.views.register(main("v"), lake.store.uri("landing/long.metadata.json"))


# Backup and move.


def test_a_backup_brings_views_back_under_another_path(tmp_path: Path, database: Database) -> None:
    (tmp_path / "data").mkdir()
    with open_lake(tmp_path / "data", database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        make(lake, "v")
        view = replace(lake, "v", "SELECT id FROM t")
        config = BackupConfig(directories=(str(tmp_path / "backups"),))
        report = Backups(lake.state, lake.store, config).run(tmp_path / "backups", verify=True)
        assert report.damaged == {}
    restored = restore(tmp_path / "backups", tmp_path / "other")
    assert restored.tables == 1
    with open_lake(tmp_path / "other", database) as lake:
        check_root(lake.state, lake.store)
        assert sql_of(lake, "v") == "SELECT id FROM t"
        found = lake.catalog.views.load(main("v"))
        assert found.metadata["view-uuid"] == view.metadata["view-uuid"]
        assert found.metadata["location"].startswith(lake.store.uri("views/main/v-"))
        assert sql_of(lake, "v") == "SELECT id FROM t"
        replace(lake, "v", "SELECT 3 AS id")


def test_a_view_alone_is_relocated_too(tmp_path: Path, database: Database) -> None:
    (tmp_path / "old").mkdir()
    with open_lake(tmp_path / "old", database) as lake:
        make(lake, "v", "SELECT 4 AS id")
    shutil.move(tmp_path / "old", tmp_path / "new")
    old, new = str(tmp_path / "old" / "warehouse"), str(tmp_path / "new" / "warehouse")
    with open_lake(tmp_path / "new", database) as lake, pytest.raises(TablesElsewhereError):
        check_root(lake.state, lake.store)
    (moved,) = relocate_directory(tmp_path / "new", old, new)
    assert (moved.table, moved.note) == ("main.v", "a view")
    with open_lake(tmp_path / "new", database) as lake:
        check_root(lake.state, lake.store)
        assert sql_of(lake, "v") == "SELECT 4 AS id"


# The catalog is lost.


def test_a_rebuild_has_views_at_their_last_state(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.write("t", "SELECT 0 AS id, 'x' AS name")
        make(lake, "kept")
        make(lake, "later_changed")
        make(lake, "dropped")
        lake.catalog.views.drop(main("dropped"))
        lake.catalog.views.rename(make(lake, "before_renamed").name, main("renamed"))
        copy(lake)
        replace(lake, "later_changed", "SELECT 2 AS id")
        make(lake, "later_made", "SELECT 3 AS id")

    done = rebuild(tmp_path, apply=True)

    assert actions(done.report) == {
        "main.t": "keep",
        "main.kept": "keep",
        "main.renamed": "keep",
        "main.later_changed": "forward",
        "main.later_made": "add",
        "main.dropped": "skip",
    }
    assert done.report.unreadable == {}
    with open_lake(tmp_path, database) as lake:
        names = ["kept", "later_changed", "later_made", "renamed"]
        assert [each.name for each in lake.catalog.views.names()] == names
        assert sql_of(lake, "later_changed") == "SELECT 2 AS id"
        assert sql_of(lake, "later_made") == "SELECT 3 AS id"
        assert lake.rows("t") == [(0, "x")]


def test_without_a_copy_views_come_from_their_files(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        lake.catalog.namespaces.create("deep", inside=["very"])
        name = main("v")._replace(namespace="very.deep", name="a.b")
        lake.catalog.views.create(
            name, schema=SCHEMA, version=version("SELECT 5 AS id"), properties={}
        )
        lost = make(lake, "lost")
        lake.store.delete(key(lake, lost))
        make(lake, "same", "SELECT 'older' AS id")
        lake.catalog.views.drop(main("same"))
        time.sleep(0.002)  # which is newer is told by milliseconds
        newer = make(lake, "same", "SELECT 'newer' AS id")
    for path in tmp_path.glob("catalog.db*"):
        path.unlink()

    done = rebuild(tmp_path, apply=True)

    found = sorted((each.table, each.action) for each in done.report.tables)
    deep = '"very.deep".a.b'
    assert found == [(deep, "add"), ("main.same", "add"), ("main.same", "clash")]
    with open_lake(tmp_path, database) as lake:
        assert lake.catalog.views.load(name).metadata["current-version-id"] == 1
        assert lake.catalog.views.load(main("same")).location == newer.location
        there = files(lake)
        assert remove_orphans(lake) == 0, "what clashed is kept for somebody to look at"
        assert files(lake) == there


def test_a_view_whose_files_are_lost_is_gone_and_one_whose_last_is_goes_back(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        gone = make(lake, "gone")
        make(lake, "back", "SELECT 1 AS id")
        last = replace(lake, "back", "SELECT 2 AS id")
        copy(lake)
        for view in (gone, last):
            lake.store.delete(key(lake, view))

    done = rebuild(tmp_path, apply=True)

    assert actions(done.report) == {"main.gone": "gone", "main.back": "back"}
    with open_lake(tmp_path, database) as lake:
        assert [each.name for each in lake.catalog.views.names()] == ["back", "gone"]
        assert sql_of(lake, "back") == "SELECT 1 AS id"
        with pytest.raises(ViewDamagedError):
            lake.catalog.views.load(main("gone"))


def test_a_name_that_a_table_and_a_view_had_one_after_the_other_is_one_of_them(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        make(lake, "first_a_view")
        lake.write("first_a_table", "SELECT 0 AS id, 'x' AS name")
        copy(lake)
        lake.catalog.views.drop(main("first_a_view"))
        lake.write("first_a_view", "SELECT 1 AS id, 'y' AS name")
        lake.catalog.purge(main("first_a_table"))
        view = make(lake, "first_a_table")

    done = rebuild(tmp_path, apply=True)

    found = sorted((each.table, each.action) for each in done.report.tables)
    assert found == [
        ("main.first_a_table", "clash"),
        ("main.first_a_table", "gone"),
        ("main.first_a_view", "add"),
        ("main.first_a_view", "clash"),
    ]
    with open_lake(tmp_path, database) as lake:
        assert lake.rows("first_a_view") == [(1, "y")]
        lake.catalog.drop(main("first_a_table"))
        back = lake.catalog.views.register(main("first_a_table"), view.location)
        assert back.metadata["view-uuid"] == view.metadata["view-uuid"]


def test_no_server_starts_on_views_without_a_catalog(tmp_path: Path, database: Database) -> None:
    with open_lake(tmp_path, database) as lake:
        make(lake, "v")
    for path in tmp_path.glob("catalog.db*"):
        path.unlink()
    with pytest.raises(CatalogLostError), DataDirectory.open(tmp_path):
        pass


# One name, two kinds.


def test_of_a_table_and_a_view_that_are_made_at_once_one_is_there(
    tmp_path: Path, database: Database
) -> None:
    with open_lake(tmp_path, database) as lake:
        for number in range(20):
            makers: list[Any] = [
                partial(make, lake, f"n{number}"),
                partial(lake.catalog.create_table, main(f"N{number}"), [Column("id", "long")]),
                partial(make, lake, f"N{number}"),
            ]
            start = Barrier(len(makers))

            def made(maker: Any, start: Barrier = start) -> bool:
                start.wait()
                try:
                    maker()
                except (NameTakenError, TableExistsError, ViewExistsError):
                    return False
                return True

            with ThreadPoolExecutor(len(makers)) as threads:
                assert sum(threads.map(made, makers)) == 1
        assert len(lake.catalog.names()) + len(lake.catalog.views.names()) == 20
