import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from lakehouse import __version__
from lakehouse.state import DataDirectory, DataDirectoryInUseError, SqliteState, StateTooNewError
from lakehouse.state.errors import DataDirectoryUnusableError
from lakehouse.state.migrations import FORMAT
from tests.state.old import set_step, step_in, write_format_1

ROOT = Path(__file__).parents[2]
ADDRESS = "http://127.0.0.1:3110"

HOLD = """
import pathlib, sys, time
from lakehouse.state import DataDirectory, Lease, SqliteState

with DataDirectory.open(pathlib.Path(sys.argv[1]), address="http://127.0.0.1:3110") as directory:
    with SqliteState.open(directory.catalog_file) as state:
        with Lease.hold(state, directory.owner_id, address="http://127.0.0.1:3110"):
            print("ready", flush=True)
            time.sleep(60)
"""


@contextmanager
def another_process(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the directory and the lease, killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_directory_is_private_and_says_its_format(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "data"
    with DataDirectory.open(path) as directory:
        assert mode(path) == 0o700
        assert directory.spool.is_dir()
        assert directory.warehouse.is_dir()
        with SqliteState.open(directory.catalog_file):
            pass

    assert (path / "format").read_text() == f"{FORMAT}\nwritten by lakehouse {__version__}\n"


def test_a_directory_that_was_open_to_others_is_closed_again(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with DataDirectory.open(path):
        pass
    path.chmod(0o755)
    with DataDirectory.open(path):
        assert mode(path) == 0o700

    empty = tmp_path / "made by systemd"
    empty.mkdir(mode=0o755)
    with DataDirectory.open(empty):
        assert mode(empty) == 0o700


def test_a_directory_full_of_other_things_keeps_its_mode(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tmp"
    path.mkdir()
    path.chmod(0o777)
    (path / "of somebody else").write_text("x")

    with DataDirectory.open(path):
        assert mode(path) == 0o777
    assert "entered by others" in caplog.text
    assert (path / "of somebody else").read_text() == "x"


def test_the_spool_is_emptied_and_the_rest_is_kept(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    path = tmp_path / "data"
    with DataDirectory.open(path) as directory:
        owner = directory.owner_id
        (directory.spool / "duckdb").mkdir()
        (directory.spool / "duckdb" / "spill").write_text("x")
        (directory.spool / "upload").write_text("x")
        (directory.spool / "link").symlink_to(outside)
        (directory.warehouse / "tables").mkdir()

    with DataDirectory.open(path) as directory:
        assert list(directory.spool.iterdir()) == []
        assert (directory.warehouse / "tables").is_dir()
        assert directory.owner_id == owner
    assert (outside / "kept").exists()


def test_a_second_process_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with another_process(path) as process:
        with pytest.raises(DataDirectoryInUseError) as raised, DataDirectory.open(path):
            pass

        for word in (str(path), f"PID {process.pid}", socket.gethostname(), ADDRESS, "since 20"):
            assert word in raised.value.detail
        content = json.loads((path / "lock").read_text())
        assert content["pid"] == process.pid
        assert content["host"] == socket.gethostname()
        assert content["address"] == ADDRESS
        assert datetime.fromisoformat(content["since"]).tzinfo


def test_the_same_process_cannot_open_it_twice(tmp_path: Path) -> None:
    with (
        DataDirectory.open(tmp_path / "data"),
        pytest.raises(DataDirectoryInUseError, match=f"PID {os.getpid()}"),
        DataDirectory.open(tmp_path / "data"),
    ):
        pass
    with DataDirectory.open(tmp_path / "data"):
        pass


def test_a_start_after_kill_9_needs_no_hand(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with another_process(path) as process:
        (path / "spool" / "half an upload").write_text("x")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert json.loads((path / "lock").read_text())["pid"] == process.pid  # stale, and harmless

    with another_process(path):  # the directory, and the lease, which is 0 seconds old
        assert list((path / "spool").iterdir()) == []


def test_a_lock_file_that_says_nothing_names_another_process(tmp_path: Path) -> None:
    with another_process(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(DataDirectoryInUseError, match="another process"):
            DataDirectory.open(tmp_path).__enter__()


def test_an_older_directory_is_migrated_after_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    write_format_1(path / "catalog.db")
    (path / "format").write_text("1\nwritten by lakehouse 0.0.1\n")

    with DataDirectory.open(path) as directory, SqliteState.open(directory.catalog_file) as state:
        tables = state.read(
            lambda tx: tx.execute("SELECT table_name FROM iceberg_tables").fetchall()
        )
        assert tables == [("people",)]

    assert step_in(path / "catalog.db") == FORMAT
    assert step_in(path / "catalog.db.format-1") == 1
    assert (path / "format").read_text().startswith(f"{FORMAT}\n")


def test_a_migration_that_was_killed_keeps_the_first_copy(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    write_format_1(path / "catalog.db")
    (path / "catalog.db.format-1").write_text("the copy of the start that was killed")
    (path / "catalog.db.copying").write_text("half a copy")

    with DataDirectory.open(path):
        pass

    assert step_in(path / "catalog.db") == FORMAT
    assert (path / "catalog.db.format-1").read_text().startswith("the copy")


def test_a_draft_without_a_format_file_counts_as_what_its_catalog_is(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    with SqliteState.open(path / "catalog.db"):
        pass

    with DataDirectory.open(path):
        pass

    assert not list(path.glob("catalog.db.format-*"))
    assert (path / "format").exists()


def test_a_newer_directory_is_refused_naming_both_versions(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with DataDirectory.open(path) as directory:
        (directory.spool / "kept").write_text("x")
    (path / "format").write_text("99\nwritten by lakehouse 7.8.9\n")

    with pytest.raises(StateTooNewError) as raised, DataDirectory.open(path):
        pass

    for word in (str(path), "format 99", "7.8.9", __version__):
        assert word in raised.value.detail
    assert (path / "spool" / "kept").exists()
    assert (path / "format").read_text().startswith("99")


def test_a_newer_catalog_is_refused_whatever_the_format_says(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.mkdir()
    write_format_1(path / "catalog.db")
    set_step(path / "catalog.db", 99)

    with pytest.raises(StateTooNewError), DataDirectory.open(path):
        pass

    assert not (path / "format").exists()


@pytest.mark.parametrize("text", ["", "one\n", "-1\n", "1.5\n"])
def test_a_format_that_is_no_number_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "format").write_text(text)

    with pytest.raises(DataDirectoryUnusableError, match="format file"):
        DataDirectory.open(tmp_path).__enter__()


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(DataDirectoryUnusableError, match="directory"):
            DataDirectory.open(path).__enter__()


@pytest.mark.parametrize("inner", ["inner", "spool/inner", "warehouse/tables/main/inner"])
def test_a_directory_inside_of_another_one_is_refused(tmp_path: Path, inner: str) -> None:
    outer = tmp_path / "outer"
    with DataDirectory.open(outer):
        pass

    with pytest.raises(DataDirectoryUnusableError, match=f"inside of another one, {outer}"):
        DataDirectory.open(outer / inner).__enter__()

    assert not (outer / inner).exists()
    (tmp_path / "link").symlink_to(outer)
    with pytest.raises(DataDirectoryUnusableError, match="inside of another one"):
        DataDirectory.open(tmp_path / "link" / inner).__enter__()


@pytest.mark.parametrize("inner", ["spool", "spool/a/b", "warehouse/tables/main/inner", "cache"])
def test_one_whose_folders_would_swallow_another_is_refused(tmp_path: Path, inner: str) -> None:
    with DataDirectory.open(tmp_path / inner) as kept:
        (kept.path / "kept").write_text("x")

    with pytest.raises(DataDirectoryUnusableError, match=f"another one, {tmp_path / inner}, lies"):
        DataDirectory.open(tmp_path).__enter__()

    assert (tmp_path / inner / "kept").read_text() == "x"
    with DataDirectory.open(tmp_path / inner):  # as before: the other one has not begun
        pass


def test_directories_beside_each_other_are_not_in_the_way(tmp_path: Path) -> None:
    for _ in range(2):
        for name in ("a", "b/a", "ab"):
            with DataDirectory.open(tmp_path / name):
                pass
