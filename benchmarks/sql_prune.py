"""sql-prune: a filter on a table of many files costs what the files that can match cost."""

import tempfile
from pathlib import Path

import msgspec

from benchmarks.row import Figure, Row, alternate, compared
from benchmarks.serving import KeptAlive, Served, lakehouse_server
from benchmarks.sql_overhead import p50_ms
from benchmarks.store import BUCKET, Bucket, counted
from tests.object_store import Proxy

FULL_FILES, QUICK_FILES = 2_000, 100
FULL_ROWS_EACH, QUICK_ROWS_EACH = 5_000, 1_000
FULL_REQUESTS, QUICK_REQUESTS = 200, 20
FIRST_DAY = "DATE '2020-01-01'"
DAYS_A_LOAD = 100
RATIO_MAX = 1.2
ONE_FILE = "the same on a table of the file that matches"


def run(*, quick: bool, runs: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="lakehouse-bench-") as folder:
        data_dir = Path(folder) / "data"
        rows = [timed(data_dir, quick, runs)]
        if (bucket := BUCKET.get()) is not None:
            rows.append(asked(bucket, data_dir, quick, runs))
        return rows


def timed(data_dir: Path, quick: bool, runs: int) -> Row:
    """Make both tables, and time the statement on each of them."""
    files, rows_each, requests = (
        (QUICK_FILES, QUICK_ROWS_EACH, QUICK_REQUESTS)
        if quick
        else (FULL_FILES, FULL_ROWS_EACH, FULL_REQUESTS)
    )
    day = files // 2
    with lakehouse_server(data_dir) as server:
        for first in range(0, files, DAYS_A_LOAD):
            load(server, "events", first, min(first + DAYS_A_LOAD, files), rows_each)
        load(server, "one_day", day, day + 1, rows_each)
        many, one = client(server, "events", day), client(server, "one_day", day)
        found, expected = (msgspec.json.decode(each.send())["rows"] for each in (many, one))
        assert found == expected, f"the filter found {found}, there is {expected}"
        ours, theirs = alternate(
            lambda: p50_ms(many.send, requests), lambda: p50_ms(one.send, requests), runs
        )
        many.close()
        one.close()
    return compared(
        "sql-prune",
        f"a one-day filter on a table of {files:,} files over REST, p50",
        "ms",
        ours,
        Figure(ONE_FILE, theirs),
        at_most=RATIO_MAX,
        sizes={"files": files, "rows_each": rows_each, "requests": requests},
    )


def asked(bucket: Bucket, data_dir: Path, quick: bool, runs: int) -> Row:
    """Count what the store is asked for by the first such statement after a start."""
    files = QUICK_FILES if quick else FULL_FILES
    ours, theirs = list[float](), list[float]()
    for _ in range(runs):
        with counted(bucket) as proxy, lakehouse_server(data_dir) as server:
            ours.append(gets(proxy, server, "events", files // 2))
            theirs.append(gets(proxy, server, "one_day", files // 2))
    return compared(
        "sql-prune",
        f"the first one-day filter after a start on a table of {files:,} files",
        "GETs",
        ours,
        Figure(ONE_FILE, theirs),
        at_most=RATIO_MAX,
        sizes={"files": files},
    )


def gets(proxy: Proxy, server: Served, table: str, day: int) -> int:
    before = len(proxy.asked)
    asking = client(server, table, day)
    asking.send()
    asking.close()
    return sum(
        each.method == "GET" and f"/tables/main/{table}" in each.path
        for each in proxy.asked[before:]
    )


def load(server: Served, table: str, first: int, end: int, rows_each: int) -> None:
    """Write a file for each day from `first` up to `end`."""
    sql = (
        f"SELECT i AS id, {FIRST_DAY} + (i // {rows_each})::INTEGER AS day, i % 997 / 10 AS amount,"
        f" 'name ' || i % 1000 AS name FROM range({first * rows_each}, {end * rows_each}) r(i)"
    )
    mode = "append" if first and table == "events" else "create"
    request = msgspec.json.encode({"sql": sql, "mode": mode, "partition_by": ["day"]})
    server.send("POST", f"/v1/tables/{table}/from-query", request, "application/json")


def client(server: Served, table: str, day: int) -> KeptAlive:
    sql = f"SELECT count(*), sum(amount), max(name) FROM {table} WHERE day = {FIRST_DAY} + {day}"
    body = msgspec.json.encode({"sql": sql})
    return KeptAlive(server.port, "POST", "/v1/sql", body, "application/json")
