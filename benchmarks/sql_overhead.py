"""sql-overhead: what HTTP, the gate and the rewrite add to a short statement."""

import time
from collections.abc import Callable

import duckdb
import msgspec

from benchmarks.files import CONTENT_TYPES, rows_file
from benchmarks.row import Figure, Row
from benchmarks.serving import KeptAlive, Served, lakehouse_server
from benchmarks.store import beside, connection, reference_file

ROWS = 100_000
FULL_REQUESTS, QUICK_REQUESTS = 1_000, 100
WARM_UP = 50
MORE_MAX_MS = 1.5


def run(*, quick: bool, runs: int) -> list[Row]:
    requests = QUICK_REQUESTS if quick else FULL_REQUESTS
    path = rows_file("parquet", ROWS)
    with lakehouse_server() as server, connection() as engine:
        server.ingest("points", path, CONTENT_TYPES["parquet"])
        source = reference_file(path)
        engine.execute(f"CREATE VIEW points AS FROM read_parquet('{source}')")
        return [
            row(server, engine, name, text, requests, runs)
            for name, text in (
                ("SELECT 1", "SELECT 1"),
                ("a point read", "SELECT id, city, amount FROM points WHERE id = 77777"),
            )
        ]


def row(
    server: Served,
    engine: duckdb.DuckDBPyConnection,
    name: str,
    text: str,
    requests: int,
    runs: int,
) -> Row:
    client = KeptAlive(
        server.port, "POST", "/v1/sql", msgspec.json.encode({"sql": text}), "application/json"
    )
    cursor = engine.cursor()
    mine, theirs = [], []
    for _ in range(runs):
        mine.append(p50_ms(client.send, requests))
        theirs.append(p50_ms(lambda: cursor.execute(text).fetchall(), requests))
    client.close()
    ours, reference = Figure("lakehouse", mine), Figure(f"DuckDB cursor{beside()}", theirs)
    more_ms = ours.median - reference.median
    return Row(
        name="sql-overhead",
        work=f"{name} over REST, one client, p50 ({more_ms:+.2f} ms)",
        unit="ms",
        ours=ours,
        reference=reference,
        ratio=round(ours.median / reference.median, 3),
        target=f"<= {MORE_MAX_MS} ms more",
        met=more_ms <= MORE_MAX_MS,
        sizes={"requests": requests, "rows": ROWS},
    )


def p50_ms(work: Callable[[], object], requests: int) -> float:
    for _ in range(WARM_UP):
        work()
    taken = []
    for _ in range(requests):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return sorted(taken)[len(taken) // 2] * 1000
