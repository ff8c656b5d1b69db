"""The process under statements that ask for more memory than there is."""

import os
import resource
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import httpx
import pytest

from lakehouse.server import MEMORY_ROOM_BYTES
from tests.services import lakehouse_server, size_of, wait_until


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="a quarter of a minute")
def test_a_statement_that_asks_for_more_than_there_is_ends_alone(tmp_path: Path) -> None:
    """None of them is stopped by DuckDB's own limit: what refuses is `RLIMIT_DATA`."""
    max_bytes = 512 * 1024**2
    text = "repeat('x', 100000)"
    one = "(SELECT repeat('x', 1000000) AS s)"
    hostile = [
        f"SELECT len(concat_ws('', {', '.join(['s'] * 2000)})) FROM {one}",
        f"SELECT len(list({text} || i)) FROM range(30000) t(i)",
        f"SELECT len(string_agg({text} || i, '')) FROM range(30000) t(i)",
    ]
    with (
        lakehouse_server(tmp_path / "data", LAKEHOUSE_MEMORY__MAX_BYTES=str(max_bytes)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        for sql in hostile:
            answer = client.post("/v1/sql", json={"sql": sql})
            assert answer.status_code == 503, answer.text
            assert answer.json()["type"] == "/problems/memory-pressure"
            assert client.post("/v1/sql", json={"sql": "SELECT 1"}).json()["rows"] == [[1]]
        assert size_of(server, "VmHWM") < max_bytes + MEMORY_ROOM_BYTES
        # What it took comes back: else the next statement, or thread, would find no room.
        wait_until(lambda: size_of(server, "VmData") < max_bytes + MEMORY_ROOM_BYTES // 2)


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="ten seconds")
def test_small_loads_of_many_columns_wait_for_memory_instead_of_failing(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(100))
    row = ",".join(["value"] * 100)
    body = "\n".join([names, *[row] * 2000]).encode()
    with (
        lakehouse_server(
            tmp_path / "data", LAKEHOUSE_MEMORY__MAX_BYTES=str(512 * 1024**2)
        ) as server,
        httpx.Client(base_url=server.url, timeout=120) as client,
        ThreadPoolExecutor(4) as threads,
    ):

        def load(number: int) -> int:
            return client.post(f"/v1/ingest?name=t{number}&format=csv", content=body).status_code

        assert set(threads.map(load, range(8))) == {200}


LARGE_BYTES, LARGE_MAX_BYTES = 3 * 1000**3, 2 * 1000**3
LARGE_DATA_MAX_BYTES = LARGE_MAX_BYTES + MEMORY_ROOM_BYTES
"""The kernel refuses more: a load or a statement would fail.

It counts what is reserved, touched or not: stacks, arenas, what DuckDB holds in hand. At the budget
itself the count of distinct texts was refused (503).
"""
ROW = """
    SELECT i AS id, hash(i) % 5000000 AS customer, TIMESTAMP '2020-01-01' + to_seconds(i) AS moment,
        'city ' || hash(i) % 1000 AS city, (hash(i) % 1000000) / 100 AS amount,
        md5(i::VARCHAR) AS note
"""
LARGE_QUERIES = {
    "all": "SELECT count(*), sum(amount), min(moment), max(note) FROM large",
    "groups": "SELECT count(*) FROM (SELECT customer, sum(amount) FROM large GROUP BY customer)",
    "distinct": "SELECT count(DISTINCT note) FROM large WHERE id % 4 = 0",
    "sort": "SELECT id FROM large ORDER BY note LIMIT 1 OFFSET 10000000",
    "join": "SELECT count(*) FROM large a JOIN large b ON a.id = b.customer",
    "window": "SELECT max(r) FROM (SELECT row_number() OVER (PARTITION BY city ORDER BY amount)"
    " AS r FROM large)",
    "percentiles": "SELECT city, quantile_cont(amount, 0.9) FROM large GROUP BY city ORDER BY 1",
    "text": "SELECT count(*) FROM large WHERE note LIKE '%abc%' AND city = 'city 7'",
}


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LARGE" not in os.environ, reason="3 GB: two minutes or more")
def test_three_gigabytes_and_eight_queries_stay_within_two(tmp_path: Path) -> None:
    file = tmp_path / "large.csv"
    with duckdb.connect(config={"temp_directory": str(tmp_path)}) as connection:
        rows = 100_000
        connection.execute(f"COPY ({ROW} FROM range({rows}) t(i)) TO '{file}'")
        rows = int(rows * LARGE_BYTES / file.stat().st_size) + 1
        connection.execute(f"COPY ({ROW} FROM range({rows}) t(i)) TO '{file}'")
    assert file.stat().st_size >= LARGE_BYTES
    with (
        lakehouse_server(
            tmp_path / "data",
            LAKEHOUSE_MEMORY__MAX_BYTES=str(LARGE_MAX_BYTES),
            LAKEHOUSE_QUERY__TIMEOUT_S="300",
        ) as server,
        httpx.Client(base_url=server.url, timeout=1800) as client,
        file.open("rb") as body,
    ):
        assert resource.prlimit(server.pid, resource.RLIMIT_DATA)[0] == LARGE_DATA_MAX_BYTES
        # From here on the server cannot raise it, as it does for what is reserved and idle.
        resource.prlimit(server.pid, resource.RLIMIT_DATA, (LARGE_DATA_MAX_BYTES,) * 2)
        loaded = client.post("/v1/ingest?name=large&format=csv", content=body)
        assert loaded.status_code == 200, loaded.text
        assert loaded.json()["row_count"] == rows
        print(f"loaded: {size_of(server, 'VmHWM') / 1e6:.0f} MB were resident at most")
        for name, sql in LARGE_QUERIES.items():
            began = time.monotonic()
            answer = client.post("/v1/sql", json={"sql": sql})
            took_s, peak = time.monotonic() - began, size_of(server, "VmHWM")
            assert answer.status_code == 200, f"{name}: {answer.text}"
            print(f"{name}: {took_s:.1f} s, {peak / 1e6:.0f} MB")
        assert resource.prlimit(server.pid, resource.RLIMIT_DATA) == (LARGE_DATA_MAX_BYTES,) * 2
        assert size_of(server, "VmHWM") < LARGE_MAX_BYTES
