import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from lakehouse.state import State, Transaction
from lakehouse.storage import LocalStore, copy_catalog, keep_copies


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    path = tmp_path / "spool"
    path.mkdir()
    return path


def add(state: State, number: int) -> None:
    """Two rows a transaction: a copy that has an odd number of rows is torn."""

    def work(tx: Transaction) -> None:
        for half in "ab":
            row = (f"{number}{half}", "u", "x" * 2000)
            tx.execute("INSERT INTO registered_object VALUES (?, ?, ?)", row)

    state.write(work)


def count_in_copy(store: LocalStore) -> int:
    with closing(sqlite3.connect(store.root / "_catalog" / "catalog.db")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(copy.execute("SELECT count(*) FROM registered_object").fetchone()[0])


def test_the_copy_is_whole_while_others_write(state: State, store: LocalStore, spool: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            add(state, number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(10):
            before = state.revision
            copy_catalog(state, store, spool)
            copied = count_in_copy(store)
            assert copied % 2 == 0
            assert copied >= 2 * before
    finally:
        stop.set()
        writer.join()
    assert list(spool.iterdir()) == []
    assert [path.name for path in (store.root / "_catalog").iterdir()] == ["catalog.db"]


async def test_a_copy_follows_a_change_and_nothing_else(
    state: State, store: LocalStore, spool: Path
) -> None:
    file = store.root / "_catalog" / "catalog.db"

    async def changes_of(inode: int) -> bool:
        await anyio.sleep(0.15)
        return file.stat().st_ino != inode

    async def until(happened: Callable[[], bool]) -> None:
        with anyio.fail_after(20):
            while not happened():  # noqa: ASYNC110 - it shows on the disk alone
                await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:

        async def keep() -> None:
            await keep_copies(state, store, spool, interval_s=0.03)

        tasks.start_soon(keep)
        await until(file.exists)  # the first start makes one
        assert count_in_copy(store) == 0
        first = file.stat().st_ino

        assert not await changes_of(first)
        state.write(lambda tx: tx.execute("DELETE FROM lease"), notable=False)
        assert not await changes_of(first)
        add(state, 1)
        await until(lambda: file.stat().st_ino != first)
        assert count_in_copy(store) == 2
        tasks.cancel_scope.cancel()


async def test_the_stop_copies_what_the_last_interval_has_not(
    state: State, store: LocalStore, spool: Path
) -> None:
    async with anyio.create_task_group() as tasks:

        async def keep() -> None:
            await keep_copies(state, store, spool, interval_s=3600)

        tasks.start_soon(keep)
        with anyio.fail_after(20):
            while not (store.root / "_catalog/catalog.db").exists():  # noqa: ASYNC110
                await anyio.sleep(0.01)
        add(state, 1)
        assert count_in_copy(store) == 0
        tasks.cancel_scope.cancel()

    assert count_in_copy(store) == 2


async def test_a_copy_that_fails_is_tried_again(
    state: State, store: LocalStore, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = anyio.Path(spool / "later")
    async with anyio.create_task_group() as tasks:

        async def keep() -> None:
            await keep_copies(state, store, spool / "later", interval_s=0.05)

        tasks.start_soon(keep)
        await anyio.sleep(0.15)
        assert "could not be copied" in caplog.text
        await missing.mkdir()
        await anyio.sleep(0.2)
        assert count_in_copy(store) == 0
        tasks.cancel_scope.cancel()
