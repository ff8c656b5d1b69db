import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from lakehouse.errors import InsufficientStorageError, UnavailableError
from lakehouse.state import SqliteState, State, StateTooNewError, Transaction, UniqueViolationError
from lakehouse.state import migrations as steps
from lakehouse.state import sqlite as module
from lakehouse.state.errors import StateBusyError, StateClosedError, StateDamagedError
from lakehouse.state.expiry import BATCH_ROWS, DAY_S, expire_idempotency_keys
from lakehouse.state.migrations import FORMAT, MIGRATIONS, migrate
from tests.state.old import schema_in, set_step, step_in, write_format_1

THREADS = 50
ROOT = Path(__file__).parents[2]


def add(key: str) -> Callable[[Transaction], None]:
    def work(tx: Transaction) -> None:
        tx.execute("INSERT INTO registered_object VALUES (?, 'u', 'd')", (key,))

    return work


def two_rows(key: str) -> Callable[[Transaction], None]:
    """An odd number of rows is half a transaction."""

    def work(tx: Transaction) -> None:
        add(f"{key}a")(tx)
        add(f"{key}b")(tx)

    return work


def count(tx: Transaction) -> int:
    return int(tx.execute("SELECT count(*) FROM registered_object").fetchone()[0])


def open_files(folder: Path) -> list[str]:
    """Return what this process holds open in `folder`; other tests have databases of their own."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            links.append(str(each.readlink()))
        except FileNotFoundError:
            continue
    return [link for link in links if link.startswith(str(folder))]


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with SqliteState.open(path) as state:
        state.write(add("a"))
    with SqliteState.open(path) as state:
        assert state.read(count) == 1
    assert [each.name for each in tmp_path.iterdir()] == ["catalog.db"]  # the log is merged


def test_a_write_that_raises_is_rolled_back(state: State) -> None:
    def fail(tx: Transaction) -> None:
        add("a")(tx)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        state.write(fail)

    assert state.read(count) == 0
    assert state.revision == 0
    state.write(add("b"))
    with pytest.raises(UniqueViolationError):
        state.write(add("b"))
    assert state.read(count) == 1


def test_a_read_cannot_write(state: State) -> None:
    refusal = sqlite3.OperationalError, psycopg.errors.ReadOnlySqlTransaction
    with pytest.raises(refusal, match=r"read-?only"):
        state.read(add("a"))

    assert state.read(count) == 0


def test_a_read_sees_one_state_whatever_is_written_meanwhile(state: State) -> None:
    def work(tx: Transaction) -> tuple[int, int]:
        before = count(tx)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(state.write, add("a")).result()
        return before, count(tx)

    assert state.read(work) == (0, 0)
    assert state.read(count) == 1


def test_a_read_inside_a_write_sees_what_is_committed(state: State) -> None:
    def work(tx: Transaction) -> int:
        add("a")(tx)
        return state.read(count)

    assert state.write(work) == 0


def test_a_write_inside_a_write_is_a_mistake_and_no_deadlock(state: State) -> None:
    with pytest.raises(AssertionError, match="inside"):
        state.write(lambda tx: state.write(add("a")))

    state.write(add("b"))
    assert state.read(count) == 1


def test_the_revision_grows_with_what_the_copy_should_follow(state: State) -> None:
    state.write(add("a"))
    state.write(lambda tx: tx.execute("DELETE FROM registered_object WHERE object_key = 'x'"))
    state.write(lambda tx: tx.execute("SELECT 1").fetchone())
    state.write(add("b"), notable=False)

    assert state.revision == 1


def test_fifty_threads_lose_no_write_and_read_no_half(state: State) -> None:
    def write(number: int) -> None:
        for turn in range(4):
            state.write(two_rows(f"{number}:{turn}"))
            assert state.read(count) % 2 == 0

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, range(THREADS)))

    assert state.read(count) == THREADS * 8
    assert state.revision == THREADS * 4


def test_close_closes_every_connection_of_every_thread(tmp_path: Path) -> None:
    with SqliteState.open(tmp_path / "catalog.db") as state:
        barrier = threading.Barrier(10)

        def work(tx: Transaction) -> int:
            barrier.wait()  # ten at once, so ten connections
            return count(tx)

        with ThreadPoolExecutor(10) as pool:
            for _ in range(10):
                pool.submit(state.read, work)
        assert len(open_files(tmp_path)) > 10
    assert open_files(tmp_path) == []
    with pytest.raises(StateClosedError):
        state.read(count)
    with pytest.raises(StateClosedError):
        state.write(add("a"))


def test_a_read_that_runs_while_we_close_ends_well(tmp_path: Path) -> None:
    reading, closed = threading.Event(), threading.Event()

    def work(tx: Transaction) -> int:
        before = count(tx)
        reading.set()
        closed.wait(5)
        return before + count(tx)

    with ThreadPoolExecutor(1) as pool:
        with SqliteState.open(tmp_path / "catalog.db") as state:
            state.write(add("a"))
            running = pool.submit(state.read, work)
            reading.wait(5)
        closed.set()
        assert running.result() == 2
    assert open_files(tmp_path) == []


def test_another_process_that_holds_the_database_makes_us_say_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "catalog.db"
    with (
        SqliteState.open(path) as state,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateBusyError) as raised:
            state.write(add("a"))
        assert isinstance(raised.value, UnavailableError)
        assert state.read(count) == 0
        other.execute("ROLLBACK")
        state.write(add("a"))


@pytest.mark.parametrize("state", ["sqlite"], indirect=True)
def test_a_full_disk_is_surely_not_committed(state: State) -> None:
    pages = state.write(lambda tx: tx.execute("PRAGMA page_count").fetchone()[0])
    state.write(lambda tx: tx.execute(f"PRAGMA max_page_count = {pages + 1}"))

    with pytest.raises(InsufficientStorageError):
        state.write(add("x" * 100_000))

    assert state.read(count) == 0
    state.write(add("small"))


KILLED = """
import pathlib, sys
from lakehouse.state import SqliteState, State

with SqliteState.open(pathlib.Path(sys.argv[1])) as state:
    number = 0
    while True:
        key = str(number)
        state.write(lambda tx: [
            tx.execute("INSERT INTO registered_object VALUES (?, ?, 'd')", (key, half))
            for half in "ab"
        ])
        print(number, flush=True)
        number += 1
"""


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    for start in (0, 10**6, 10**7):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED.replace("number = 0", f"number = {start}"), path],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert process.stdout
        acknowledged = [int(process.stdout.readline()) for _ in range(20)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout.read().split()]
        process.wait()
        process.stdout.close()

        with SqliteState.open(path) as state:
            rows = state.read(
                lambda tx: tx.execute("SELECT object_key FROM registered_object").fetchall()
            )
        keys = [int(row[0]) for row in rows]
        assert set(acknowledged) <= set(keys)
        assert all(keys.count(key) == 2 for key in set(keys))


# Migrations.


def test_a_database_of_the_first_format_is_brought_up(tmp_path: Path) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    write_format_1(old)

    with SqliteState.open(old) as state:
        rows = state.read(lambda tx: tx.execute("SELECT table_name FROM iceberg_tables").fetchall())
    assert rows == [("people",)]

    with SqliteState.open(new):
        pass
    assert step_in(old) == FORMAT
    assert schema_in(old) == schema_in(new)


def test_a_step_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalog.db"
    write_format_1(path)
    before = schema_in(path)
    broken = (*MIGRATIONS, ("CREATE TABLE good (x)", "CREATE TABLE bad ("))
    monkeypatch.setattr(steps, "MIGRATIONS", broken)
    monkeypatch.setattr(steps, "FORMAT", len(broken))

    with pytest.raises(sqlite3.OperationalError), SqliteState.open(path):
        pass

    assert schema_in(path) == before
    assert step_in(path) == 1


def test_several_that_start_at_once_migrate_once(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    write_format_1(path)

    def work(_: int) -> None:
        with closing(module.connect(path)) as connection:
            migrate(connection, path)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert step_in(path) == FORMAT


def test_a_newer_database_is_refused_and_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    write_format_1(path)
    set_step(path, FORMAT + 1)
    before = schema_in(path)

    with pytest.raises(StateTooNewError, match=f"step {FORMAT + 1}"), SqliteState.open(path):
        pass

    assert schema_in(path) == before


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.write_bytes(b"this is a letter, not a database, and it is long enough to be read as one")

    with (
        pytest.raises(StateDamagedError, match=r"catalog\.db.*catalog rebuild"),
        SqliteState.open(path),
    ):
        pass


# Expiry.


def test_old_idempotency_keys_go_and_young_ones_stay(state: State) -> None:
    now = time.time()

    def fill(tx: Transaction) -> None:
        rows = [(f"old{number}", b"\0", now - 31 * DAY_S) for number in range(BATCH_ROWS + 5)]
        rows += [("young", b"\0", now - 29 * DAY_S)]
        tx.executemany("INSERT INTO idempotency_key VALUES (?, 'h', ?, ?)", rows)

    state.write(fill)

    assert expire_idempotency_keys(state, 30) == BATCH_ROWS + 5
    assert expire_idempotency_keys(state, 30) == 0
    left = state.read(lambda tx: tx.execute("SELECT key FROM idempotency_key").fetchall())
    assert left == [("young",)]
