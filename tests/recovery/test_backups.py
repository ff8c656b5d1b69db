"""A backup holds what the catalog names, whatever happens meanwhile, and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakehouse.config import BackupConfig
from lakehouse.database import Database
from lakehouse.errors import ConflictError, NotFoundError, PermissionDeniedError, UnprocessableError
from lakehouse.recovery import Backups, restore, verify
from lakehouse.recovery.copying import copy_file
from lakehouse.recovery.errors import BackupDamagedError, BackupRunningError
from lakehouse.recovery.restoring import UNFINISHED
from lakehouse.state import DataDirectory
from lakehouse.state.errors import DataDirectoryUnusableError
from tests.catalog.lake import Lake, main, open_lake


@pytest.fixture
def lake(tmp_path: Path, database: Database) -> Iterator[Lake]:
    (tmp_path / "data").mkdir()
    with open_lake(tmp_path / "data", database) as lake:
        for number in range(3):
            mode: Any = "append" if number else "create"
            lake.write("t", f"SELECT {number} AS id, 'x' AS name", mode=mode)
        lake.write("gone", "SELECT 5 AS id, 'x' AS name")
        lake.catalog.drop(main("gone"))
        yield lake


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def backups_of(lake: Lake, *directories: Path, keep: int = 14) -> Backups:
    config = BackupConfig(directories=tuple(map(str, directories)), keep=keep)
    return Backups(lake.state, lake.store, config)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_backup_restores_under_another_path_with_every_snapshot(
    lake: Lake, dest: Path, tmp_path: Path, fresh: Database
) -> None:
    lake.store.write("objects/a_o/0000000000000001-00000000", b"an object")
    lake.store.write("tables/main/orphan.parquet", b"named by nobody")
    before = [
        (e.snapshot_id, lake.rows("t", e.snapshot_id)) for e in lake.catalog.snapshots(main("t"))
    ]

    report = backups_of(lake, dest).run(dest, verify=True)
    done = restore(dest, tmp_path / "restored")

    assert report.verified and report.damaged == {}
    assert (done.source, done.tables) == (report.directory, 1)
    assert not list(Path(report.directory).rglob("orphan*"))
    with DataDirectory.open(tmp_path / "restored"):
        pass
    with open_lake(tmp_path / "restored", fresh) as restored:
        assert before == [
            (each.snapshot_id, restored.rows("t", each.snapshot_id))
            for each in restored.catalog.snapshots(main("t"))
        ]
        restored.catalog.undrop(main("gone"))
        assert restored.rows("gone") == [(5, "x")]
        assert restored.store.read("objects/a_o/0000000000000001-00000000") == b"an object"


def test_the_next_backup_links_what_is_there_and_the_oldest_goes(lake: Lake, dest: Path) -> None:
    backups = backups_of(lake, dest, keep=2)
    first = backups.run(dest, verify=False)
    lake.write("t", "SELECT 9 AS id, 'x' AS name", mode="append")
    second = backups.run(dest, verify=False)

    assert first.copied_files == first.file_count
    assert second.copied_files == 4, "data file, manifest, list and metadata"
    data = {path.stat().st_ino for path in Path(first.directory).rglob("*.parquet")}
    assert data < {path.stat().st_ino for path in Path(second.directory).rglob("*.parquet")}

    third = backups.run(dest, verify=True)
    assert third.copied_files == 0
    assert sorted(map(str, dest.glob("2*"))) == [second.directory, third.directory]
    assert list(dest.glob(".*")) == []


def test_a_backup_that_lost_a_file_costs_the_next_one_nothing(lake: Lake, dest: Path) -> None:
    backups = backups_of(lake, dest, keep=5)
    first = backups.run(dest, verify=False)
    next(Path(first.directory).rglob("*.parquet")).unlink()
    second = backups.run(dest, verify=True)
    assert second.damaged == {}
    assert second.copied_files == 1
    assert second.file_count == first.file_count


def test_what_is_deleted_while_it_is_copied_is_not_in_the_backup(
    lake: Lake, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def purging(source: Path, target: Path, key: str) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            lake.catalog.purge(main("gone"))
        return copy_file(source, target, key)

    monkeypatch.setattr("lakehouse.recovery.backups.copy_file", purging)
    report = backups_of(lake, dest).run(dest, verify=True)

    assert report.damaged == {}
    assert not [path for path in files(Path(report.directory)) if "gone-" in str(path)]


def test_a_table_that_lost_a_file_is_named_and_the_rest_is_backed_up(
    lake: Lake, dest: Path
) -> None:
    lake.write("whole", "SELECT 1 AS id, 'x' AS name")
    lost = lake.data_files("t")[0]
    lake.store.delete(lost)

    report = backups_of(lake, dest).run(dest, verify=True)

    assert report.damaged == {"main.t": f"the file {lost} is gone or cut short"}
    assert len([path for path in files(Path(report.directory)) if "whole-" in str(path)]) == 4


def test_a_backup_that_was_changed_is_found_out_and_not_restored(
    lake: Lake, dest: Path, tmp_path: Path
) -> None:
    report = backups_of(lake, dest).run(dest, verify=False)
    folder, record = verify(dest)
    assert str(folder) == report.directory
    assert len(record.files) == report.file_count
    path = next(folder.rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)

    with pytest.raises(BackupDamagedError, match="other bytes"):
        verify(dest)
    with pytest.raises(BackupDamagedError, match="not what was backed up"):
        restore(folder, tmp_path / "restored")
    assert list((tmp_path / "restored").iterdir()) == []


def test_a_restore_that_was_killed_leaves_what_no_server_starts_on(
    lake: Lake, dest: Path, tmp_path: Path
) -> None:
    backups_of(lake, dest).run(dest, verify=False)
    target = tmp_path / "restored"
    target.mkdir()
    (target / "format").write_text(UNFINISHED)

    with pytest.raises(DataDirectoryUnusableError, match="a restore that did not end"):
        DataDirectory.open(target).__enter__()
    with pytest.raises(ConflictError, match="not empty"):
        restore(dest, target)
    with pytest.raises(NotFoundError, match="no backup"):
        restore(tmp_path / "data", tmp_path / "other")


def test_nobody_chooses_a_path_that_the_configuration_does_not(lake: Lake, dest: Path) -> None:
    backups = backups_of(lake, dest, dest / "second")
    assert backups.target(None) == dest
    assert backups.target(str(dest / "second")) == dest / "second"
    for path in ("/etc", str(dest / "third"), f"{dest}/../x", ""):
        with pytest.raises(PermissionDeniedError):
            backups.target(path)
    with pytest.raises(UnprocessableError, match=r"backup\.directories"):
        backups_of(lake).target(None)


def test_one_backup_at_a_time_and_a_stopped_one_leaves_nothing(lake: Lake, dest: Path) -> None:
    backups = backups_of(lake, dest)

    def again(done: int) -> None:
        backups.run(dest, verify=False)

    with pytest.raises(BackupRunningError):
        backups.run(dest, verify=False, tell=again)
    assert files(dest) == []
