"""Rows that have served their time go, and those that have not stay."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from lakehouse.state import State, expiry, keep_expiring

KEEP_DAYS = 30


def keys(state: State) -> list[str]:
    sql = "SELECT key FROM idempotency_key ORDER BY key"
    return [row[0] for row in state.read(lambda tx: tx.execute(sql).fetchall())]


def add(state: State, key: str, age_days: float) -> None:
    row = (key, "hash", b"{}", time.time() - age_days * expiry.DAY_S)
    sql = "INSERT INTO idempotency_key (key, request_hash, answer, created_at) VALUES (?, ?, ?, ?)"
    state.write(lambda tx: tx.execute(sql, row))


@asynccontextmanager
async def expiring(state: State) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(keep_expiring, state, KEEP_DAYS)
        yield
        tasks.cancel_scope.cancel()


async def until(done: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if done():
            return
        await anyio.sleep(0.01)
    pytest.fail("it did not come to that within 10 s")


async def test_keys_go_when_their_time_is_over(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "BATCH_ROWS", 2)
    for number in range(5):
        add(state, f"old {number}", KEEP_DAYS + 0.1)
    add(state, "young", KEEP_DAYS - 0.1)

    async with expiring(state):
        await until(lambda: keys(state) == ["young"])


async def test_a_failure_is_logged_and_the_next_turn_does_it(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(expiry, "EXPIRE_EVERY_S", 0.01)
    add(state, "old", KEEP_DAYS + 1)
    state.write(lambda tx: tx.execute("ALTER TABLE idempotency_key RENAME TO away"))

    async with expiring(state):
        await until(lambda: bool(caplog.records))
        assert caplog.records[0].message == "idempotency keys could not be expired"
        state.write(lambda tx: tx.execute("ALTER TABLE away RENAME TO idempotency_key"))
        await until(lambda: keys(state) == [])
