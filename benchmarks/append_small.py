"""append-small: the last of many small appends costs what the first did."""

import time

import msgspec

from benchmarks.row import Figure, Row
from benchmarks.serving import KeptAlive, lakehouse_server

FULL_APPENDS, QUICK_APPENDS = 1_000, 60
ROWS = 1_000
COMPARED = 10
WARM_UP = 3
RATIO_MAX, P50_MAX_MS = 1.3, 20


def run(*, quick: bool, runs: int) -> list[Row]:
    appends = QUICK_APPENDS if quick else FULL_APPENDS
    columns = [{"name": "id", "type": "long"}, {"name": "city", "type": "string"}]
    rows = [{"id": number, "city": f"city {number % 100}"} for number in range(ROWS)]
    with lakehouse_server() as server:
        create = msgspec.json.encode({"name": "appended", "columns": columns})
        server.send("POST", "/v1/tables", create, "application/json")
        body = msgspec.json.encode({"rows": rows})
        path = "/v1/tables/appended/rows"
        for _ in range(WARM_UP):
            server.send("POST", path, body, "application/json")
        connection = KeptAlive(server.port, "POST", path, body, "application/json", status=201)
        latencies_ms = [timed_ms(connection) for _ in range(appends)]
        connection.close()
        (found,) = server.sql("SELECT count(*) FROM appended")[0]
    expected = (appends + WARM_UP) * ROWS
    assert found == expected, f"{found} rows are there, {expected} were acknowledged"
    first = Figure("first ten", latencies_ms[:COMPARED])
    last = Figure("last ten", latencies_ms[-COMPARED:])
    every = Figure("every append", latencies_ms)
    ratio = last.median / first.median
    return [
        Row(
            name="append-small",
            work=f"{appends:,} appends of {ROWS:,} rows: the last ten (all: "
            f"p50 {every.median:.1f} ms)",
            unit="ms",
            ours=last,
            reference=first,
            ratio=round(ratio, 3),
            target=f"<= {RATIO_MAX}x the first ten; p50 <= {P50_MAX_MS} ms",
            met=ratio <= RATIO_MAX and every.median <= P50_MAX_MS,
            sizes={"appends": appends, "rows_each": ROWS, "body_bytes": len(body)},
            others=[every],
        )
    ]


def timed_ms(connection: KeptAlive) -> float:
    began = time.perf_counter()
    connection.send()
    return (time.perf_counter() - began) * 1000
