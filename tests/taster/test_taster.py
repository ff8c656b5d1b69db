"""A file that nobody trusts is read by another process first."""

import asyncio
import io
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.database import Connection, Database, DatabaseSettings, Lane, interruptible
from lakehouse.errors import LakehouseError
from lakehouse.taster import (
    FileMemoryError,
    FileSizeError,
    PoisonedFileError,
    RefusedFileError,
    Taster,
    TastingStoppedError,
)
from tests.fuzz.cases import CORPUS

MIB = 1024 * 1024


OTHERS: set[int] = set()
"""Tasters of servers that other tests share in this process."""


@pytest.fixture(autouse=True)
def others() -> None:
    OTHERS.clear()
    OTHERS.update(children())


@pytest.fixture
def taster(others: None) -> Iterator[Taster]:
    with Taster.open(512 * MIB) as taster:
        yield taster


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    settings = DatabaseSettings(
        directories=(tmp_path,),
        temp_dir=tmp_path / "spill",
        memory_max_bytes=512 * MIB,
        temp_max_bytes=512 * MIB,
    )
    with Database.open(settings) as opened:
        yield opened


def children() -> list[int]:
    """Return the processes of tasters that this one has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            command = (folder / "cmdline").read_bytes()
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == os.getpid() and b"taster/child.py" in command:
            found.append(int(folder.name))
    return [each for each in found if each not in OTHERS]


def write(path: Path, **columns: object) -> Path:
    target = io.BytesIO()
    pq.write_table(pa.table(columns), target)
    path.write_bytes(target.getvalue())
    return path


def test_files_are_read_one_after_the_other_by_one_process(taster: Taster, tmp_path: Path) -> None:
    for number in range(3):
        taster.taste(write(tmp_path / f"it's {number}", a=[1, 2], w=["x", "y"]))

    assert len(children()) == 1


def test_a_file_that_cannot_be_read_is_refused_and_the_next_one_is_read(
    taster: Taster, tmp_path: Path
) -> None:
    good = write(tmp_path / "good", a=list(range(10_000)))
    bad = tmp_path / "bad"
    whole = good.read_bytes()
    bad.write_bytes(whole[:500] + b"\xff" * 4000 + whole[4500:])

    with pytest.raises(PoisonedFileError):
        taster.taste(bad)
    taster.taste(good)


def test_a_file_that_asks_for_more_memory_than_it_may_is_refused(taster: Taster) -> None:
    with pytest.raises(FileMemoryError, match="256 MiB"):
        taster.taste(CORPUS / "delta-of-2-33-values.parquet")


def test_a_process_that_dies_of_a_file_takes_nobody_along(taster: Taster, tmp_path: Path) -> None:
    """No file is known of which it dies, so it is killed while it reads a long one."""
    good = write(tmp_path / "good", a=[1])
    taster.taste(good)
    (pid,) = children()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # to open it waits for somebody who writes
    killing = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    killing.start()

    with pytest.raises(PoisonedFileError):
        taster.taste(pipe)
    killing.join()
    taster.taste(good)


async def test_who_leaves_ends_the_process_that_reads_for_them(
    taster: Taster, tmp_path: Path, database: Database
) -> None:
    good = write(tmp_path / "good", a=[1])
    taster.taste(good)
    before = children()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # to open it waits for somebody who writes
    errors = []

    def work(cursor: Connection) -> None:
        try:
            taster.taste(pipe, interruptible)
        except LakehouseError as error:
            errors.append(error)
            raise

    with anyio.move_on_after(0.2):
        await database.run(work, Lane.LONG)

    assert [type(each) for each in errors] == [TastingStoppedError]
    assert children() == []
    assert database.lane(Lane.LONG).given_up() == []
    await database.call(lambda: taster.taste(good))
    assert children() != before


async def test_an_interrupt_ends_nothing_that_is_over(database: Database) -> None:
    ended: list[str] = []
    over = threading.Event()

    def work(cursor: Connection) -> None:
        with interruptible(lambda: ended.append("first")):
            pass
        over.set()
        with interruptible(lambda: ended.append("second")):
            cursor.execute("SELECT count(*) FROM range(100000000) a, range(100000000) b")

    with anyio.move_on_after(5) as scope:
        task = asyncio.ensure_future(database.run(work))
        while not over.is_set():  # noqa: ASYNC110 - of another thread
            await anyio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])

    assert not scope.cancelled_caught
    assert set(ended) == {"second"}


def test_one_that_died_while_it_waited_is_replaced(taster: Taster, tmp_path: Path) -> None:
    good = write(tmp_path / "good", a=[1])
    taster.taste(good)
    (pid,) = children()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

    taster.taste(good)

    assert children() != [pid]


def test_it_has_no_variable_and_no_file_of_the_server(
    taster: Taster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAKEHOUSE_TOKEN", "secret")
    with (tmp_path / "secret").open("w"):
        taster.taste(write(tmp_path / "good", a=[1]))
        (pid,) = children()
        place = Path(f"/proc/{pid}")
        assert b"secret" not in (place / "environ").read_bytes()
        opened = [str(each.readlink()) for each in (place / "fd").iterdir()]
        assert not [each for each in opened if each.startswith(str(tmp_path))]
    limits = (place / "limits").read_text()
    for what, limit in (("core file size", "0"), ("data size", str((256 + 512) * MIB))):
        (line,) = [line for line in limits.splitlines() if line.startswith(f"Max {what}")]
        assert line.split()[-3] == limit


def test_no_process_outlives_the_server(tmp_path: Path) -> None:
    with Taster.open(512 * MIB) as taster:
        taster.taste(write(tmp_path / "good", a=[1]))
        assert len(children()) == 1
    assert children() == []


def arrow(path: Path, **columns: object) -> Path:
    table = pa.table(columns)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)
    return path


def test_a_file_of_another_format_is_written_as_parquet(taster: Taster, tmp_path: Path) -> None:
    taster.convert(arrow(tmp_path / "it's", a=[1, 2]), tmp_path / "out'", "arrow", MIB)

    assert pq.read_table(tmp_path / "out'").to_pydict() == {"a": [1, 2]}
    taster.taste(tmp_path / "out'")
    assert len(children()) == 1


def test_it_writes_no_more_than_it_was_told(taster: Taster, tmp_path: Path) -> None:
    words = [os.urandom(64).hex() for _ in range(10_000)]
    long = arrow(tmp_path / "long", a=words)
    target = tmp_path / "target"

    with pytest.raises(FileSizeError, match=str(100_000)):
        taster.convert(long, target, "arrow", 100_000)
    assert target.stat().st_size <= 100_000
    taster.convert(long, target, "arrow", 10 * MIB)


def test_a_file_that_it_only_reads_leaves_it_nothing_to_write(
    taster: Taster, tmp_path: Path
) -> None:
    taster.convert(arrow(tmp_path / "a", a=[1]), tmp_path / "out", "arrow", MIB)
    (pid,) = children()
    limits = Path(f"/proc/{pid}/limits").read_text()

    (line,) = [line for line in limits.splitlines() if line.startswith("Max file size")]
    assert line.split()[3] == "0"


def test_what_parquet_cannot_hold_is_refused_in_words(taster: Taster, tmp_path: Path) -> None:
    months: object = pa.nulls(1, pa.month_day_nano_interval())
    file = arrow(tmp_path / "a", odd=months)

    with pytest.raises(RefusedFileError, match="'odd' is of the type month_day_nano_interval"):
        taster.convert(file, tmp_path / "out", "arrow", MIB)
