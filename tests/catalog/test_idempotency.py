"""A request that is sent again has one effect and the first answer, whatever happens between."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lakehouse.catalog import (
    Catalog,
    Idempotency,
    IdempotencyInFlightError,
    IdempotencyMismatchError,
    Written,
)
from lakehouse.catalog.tables import Change, Draft
from lakehouse.errors import LakehouseError
from tests.catalog.lake import Lake, main, rows_of
from tests.postgres import state_of


def keyed(key: str, request_hash: str = "hash") -> Idempotency[Written]:
    return Idempotency(key, request_hash, lambda done: f"rows {done.table.row_count}".encode())


def test_the_answer_is_stored_with_the_pointer(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name", idempotency=keyed("a"))
    lake.write("t", "SELECT 1 AS id, 'x' AS name", mode="append", idempotency=keyed("b"))
    assert lake.catalog.keys.find("a", "hash") == b"rows 1"
    assert lake.catalog.keys.find("b", "hash") == b"rows 2"
    assert lake.catalog.keys.find("c", "hash") is None


def test_the_key_survives_reopening(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name", idempotency=keyed("a"))
    with state_of(lake.root) as state:
        assert Catalog(state, lake.store).keys.find("a", "hash") == b"rows 1"


def test_the_key_of_another_request_is_refused(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name", idempotency=keyed("a"))
    with pytest.raises(IdempotencyMismatchError):
        lake.catalog.keys.find("a", "other")


def test_a_key_is_held_while_its_request_runs(lake: Lake) -> None:
    with lake.catalog.keys.in_flight("a"):
        with pytest.raises(IdempotencyInFlightError), lake.catalog.keys.in_flight("a"):
            pass
        with lake.catalog.keys.in_flight("b"):
            pass
    with lake.catalog.keys.in_flight("a"):
        pass


def test_a_key_is_free_again_when_its_request_failed(lake: Lake) -> None:
    with pytest.raises(RuntimeError), lake.catalog.keys.in_flight("a"):
        raise RuntimeError
    with lake.catalog.keys.in_flight("a"):
        pass


def test_a_load_that_failed_leaves_no_key(lake: Lake) -> None:
    with pytest.raises(LakehouseError):
        lake.write("nope", "SELECT 0 AS id, 'x' AS name", mode="append", idempotency=keyed("a"))
    assert lake.catalog.keys.find("a", "hash") is None


def test_two_processes_with_one_key_write_once(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    with state_of(lake.root) as state:
        catalogs = [lake.catalog, Catalog(state, lake.store)]

        def send(number: int) -> str:
            rows = rows_of("SELECT 1 AS id, 'x' AS name")
            with lake.database.cursor() as cursor:
                try:
                    catalogs[number % 2].loading.write(
                        cursor, main("t"), rows, mode="append", idempotency=keyed("same")
                    )
                except IdempotencyInFlightError:
                    return "in flight"
            return "written"

        began = time.monotonic()
        with ThreadPoolExecutor(6) as pool:
            outcomes = list(pool.map(send, range(12)))
    assert outcomes.count("written") == 1
    assert lake.rows("t") == [(0, "x"), (1, "x")]
    assert lake.catalog.keys.find("same", "hash") == b"rows 2"
    assert lake.tree() == lake.reachable()
    assert time.monotonic() - began < 10, "a key that is taken is not tried again"


def test_an_expired_key_is_as_if_it_never_was(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name", idempotency=keyed("a"))
    late = time.time() - 31 * 86_400
    lake.state.write(lambda tx: tx.execute("UPDATE idempotency_key SET created_at = ?", (late,)))
    assert lake.catalog.keys.find("a", "hash") is None
    assert lake.catalog.keys.find("a", "other") is None
    lake.write("t", "SELECT 1 AS id, 'x' AS name", mode="append", idempotency=keyed("a", "new"))
    assert lake.catalog.keys.find("a", "new") == b"rows 2"


def test_a_lost_attempt_stores_the_answer_of_the_one_that_won(lake: Lake) -> None:
    lake.write("t", "SELECT 0 AS id, 'x' AS name")
    staged = lake.catalog.loading.stage(
        lake.cursor, main("t"), rows_of("SELECT 1 AS id, 'x' AS name"), mode="append"
    )
    answered = threading.Event()

    def answer(written: Written) -> bytes:
        answered.set()
        return f"{written.snapshot_id}".encode()

    update = {"action": "set-properties", "updates": {"a": "1"}}
    lake.reopened()._tables.commit([Change(main("t"), lambda current: Draft([update]))])
    (written,) = lake.catalog.loading.commit([staged], Idempotency("k", "hash", answer))
    assert answered.is_set()
    assert lake.catalog.keys.find("k", "hash") == f"{written.snapshot_id}".encode()
    assert written.snapshot_id == lake.catalog.get(main("t")).snapshot_id
