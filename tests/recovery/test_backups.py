"""A backup holds what the catalog names, whatever happens meanwhile, and nothing else."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from lakehouse.catalog.files import of_table
from lakehouse.catalog.manifests import Manifests
from lakehouse.config import BackupConfig
from lakehouse.database import Database
from lakehouse.disk import Disk, DiskFullError
from lakehouse.errors import ConflictError, NotFoundError, PermissionDeniedError, UnprocessableError
from lakehouse.recovery import Backups, restore, verify
from lakehouse.recovery.copying import copy_stream
from lakehouse.recovery.errors import (
    BackupDamagedError,
    BackupRunningError,
    NoRoomError,
    UnreadableError,
)
from lakehouse.recovery.models import BackedUpFile
from lakehouse.state import DataDirectory
from lakehouse.state.errors import DataDirectoryUnusableError
from tests.catalog.lake import Lake, main, open_lake
from tests.cli.conftest import Shell
from tests.services import environment


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

    def purging(source: BinaryIO, target: Path, key: str) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            lake.catalog.purge(main("gone"))
        return copy_stream(source, target, key)

    monkeypatch.setattr("lakehouse.recovery.backups.copy_stream", purging)
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


@pytest.mark.parametrize("changed", ["*.parquet", "catalog.db"])
def test_a_backup_that_was_changed_is_found_out_and_not_restored(
    lake: Lake, dest: Path, tmp_path: Path, changed: str
) -> None:
    report = backups_of(lake, dest).run(dest, verify=False)
    folder, record = verify(dest)
    assert str(folder) == report.directory
    assert len(record.files) == report.file_count
    path = next(folder.rglob(changed))
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)

    with pytest.raises(BackupDamagedError, match="other bytes"):
        verify(dest)
    with pytest.raises(BackupDamagedError, match="not what was backed up"):
        restore(folder, tmp_path / "restored")
    assert list((tmp_path / "restored").iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_restore_that_was_killed_leaves_what_no_server_starts_on(
    lake: Lake, dest: Path, tmp_path: Path, signal_number: int
) -> None:
    report = backups_of(lake, dest).run(dest, verify=False)
    held = sorted(Path(report.directory).rglob("*.parquet"))[-1]
    held.unlink()
    os.mkfifo(held)  # the restore waits here for bytes that never come
    target, shell = tmp_path / "restored", Shell(tmp_path, "")
    words = ["restore", str(dest), "--data", str(target)]
    with subprocess.Popen([sys.executable, "-m", "lakehouse", *words], env=environment()) as it:
        writing = held.open("wb")  # returns once it reads
        it.send_signal(signal_number)
        it.wait(30)
        writing.close()
    assert files(target / "warehouse"), "it was in the middle"

    for command in ("serve", "tables"):
        refused = shell.run(command, "--data", target)
        assert refused.code == 5, refused
        assert "a restore into it was cut short; empty it, and restore again" in refused.stderr
    with pytest.raises(DataDirectoryUnusableError, match="cut short"):
        DataDirectory.open(target).__enter__()
    with pytest.raises(ConflictError, match="not empty"):
        restore(dest, target)
    with pytest.raises(NotFoundError, match="no backup"):
        restore(tmp_path / "data", tmp_path / "other")


def test_what_was_restored_is_on_the_disk_before_a_server_may_start(
    lake: Lake, dest: Path, tmp_path: Path, synced: set[int]
) -> None:
    backups_of(lake, dest).run(dest, verify=False)
    target = tmp_path / "restored"
    unlink, looked = Path.unlink, []

    def unlinking(path: Path, missing_ok: bool = False) -> None:
        if path.name == "format":
            looked.append({each for each in everything(target) if each.stat().st_ino not in synced})
        unlink(path, missing_ok=missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", unlinking)
        restore(dest, target)
    assert looked == [{target / "lock"}]
    assert not (target / "format").exists()


def test_a_new_backup_is_on_the_disk_before_an_old_one_goes(
    lake: Lake, dest: Path, synced: set[int]
) -> None:
    backups = backups_of(lake, dest, keep=1)
    first = Path(backups.run(dest, verify=False).directory)
    lake.write("t", "SELECT 9 AS id, 'x' AS name", mode="append")
    linked = {path.stat().st_ino for path in files(first)}
    synced.clear()
    rmtree, looked = shutil.rmtree, []

    def removing(path: Path, **more: Any) -> None:
        if path == first:
            (new,) = set(dest.glob("2*")) - {first}
            now = {*everything(new), dest}
            looked.append({each for each in now if each.stat().st_ino not in {*synced, *linked}})
        rmtree(path, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lakehouse.recovery.backups.shutil.rmtree", removing)
        backups.run(dest, verify=False)
    assert looked == [set()]
    assert not first.exists()


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The inodes that were synced so far."""
    inodes: set[int] = set()
    fsync = os.fsync

    def recorded(descriptor: int) -> None:
        fsync(descriptor)
        inodes.add(os.fstat(descriptor).st_ino)

    monkeypatch.setattr("os.fsync", recorded)
    return inodes


def everything(folder: Path) -> set[Path]:
    return {folder, *folder.rglob("*")}


def test_while_a_table_is_damaged_no_older_backup_goes(lake: Lake, dest: Path) -> None:
    backups = backups_of(lake, dest, keep=1)
    whole = backups.run(dest, verify=False)
    lake.store.delete(lake.data_files("t")[0])
    for _ in range(2):
        assert backups.run(dest, verify=False).damaged
    assert len(list(dest.glob("2*"))) == 3 and Path(whole.directory).exists()


def test_a_file_that_cannot_be_read_is_named_and_the_rest_is_backed_up(
    lake: Lake, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.store.write("objects/a_o/0000000000000001-00000000", b"an object")
    lost = lake.data_files("t")[0]

    def broken(source: BinaryIO, target: Path, key: str) -> BackedUpFile:
        if key in (lost, "objects/a_o/0000000000000001-00000000"):
            raise UnreadableError(Path(key), OSError(errno.EIO, "Input/output error"))
        return copy_stream(source, target, key)

    monkeypatch.setattr("lakehouse.recovery.backups.copy_stream", broken)
    report = backups_of(lake, dest).run(dest, verify=True)
    assert report.damaged == {
        "main.t": f"the file {lost} cannot be read: input/output error",
        "objects": "the file objects/a_o/0000000000000001-00000000 cannot be read: "
        "input/output error",
    }
    assert report.file_count > 5


def test_what_a_table_has_outside_of_the_warehouse_costs_nothing_of_the_rest(lake: Lake) -> None:
    metadata = lake.metadata("t")
    whole = {each.key for each in of_table(metadata, "t", lake.store, Manifests(lake.store))}
    outside = {"metadata-file": "file:///elsewhere/v1.metadata.json", "timestamp-ms": 1}
    moved = {**metadata, "metadata-log": [outside, *metadata["metadata-log"]]}
    found = list(of_table(moved, "t", lake.store, Manifests(lake.store)))
    assert {each.key for each in found} == {*whole, outside["metadata-file"]}


def test_a_backup_onto_the_disk_of_the_warehouse_leaves_its_reserve_alone(
    lake: Lake, dest: Path
) -> None:
    backups = backups_of(lake, dest, keep=5)
    first = backups.run(dest, verify=False)
    lake.store.disk = Disk(lake.root, 1 << 60)
    assert backups.run(dest, verify=False).copied_files == 0, "links take no room"
    lake.write("t", "SELECT 9 AS id, 'x' AS name", mode="append")
    with pytest.raises(DiskFullError):
        backups.run(dest, verify=False)
    assert len(list(dest.iterdir())) == 2 and Path(first.directory).exists()


def test_a_full_disk_is_said_and_leaves_nothing(
    lake: Lake, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backups_of(lake, dest).run(dest, verify=False)

    def full(source: Path, target: Path, key: str) -> BackedUpFile:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lakehouse.recovery.backups.copy_stream", full)
    monkeypatch.setattr("lakehouse.recovery.restoring.copy_file", full)
    with pytest.raises(NoRoomError, match=f"the disk of {tmp_path / 'other'} is full"):
        backups_of(lake, tmp_path / "other").run(tmp_path / "other", verify=False)
    assert list((tmp_path / "other").iterdir()) == []
    with pytest.raises(NoRoomError, match="give it more room"):
        restore(dest, tmp_path / "restored")
    assert list((tmp_path / "restored").iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
def test_the_command_says_that_a_backup_is_not_whole_and_exits_with_1(
    lake: Lake, dest: Path, tmp_path: Path
) -> None:
    shell = Shell(tmp_path, "")
    assert shell.run("backup", f"{dest}/", "--data", tmp_path / "data").code == 0
    lost = lake.data_files("t")[0]
    lake.store.delete(lost)
    for more in ([], ["--json"]):
        done = shell.run("backup", dest, "--data", tmp_path / "data", *more)
        assert done.code == 1, done
        assert lost in done.stdout
        assert "1 damaged table" in done.stderr


def test_nobody_chooses_a_path_that_the_configuration_does_not(lake: Lake, dest: Path) -> None:
    backups = backups_of(lake, dest, dest / "second")
    assert backups.target(None) == dest
    assert backups.target(str(dest / "second")) == dest / "second"
    assert backups.target(f"{dest}/") == dest
    assert backups_of(lake, Path(f"{dest}/")).target(str(dest)) == dest
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
