"""sql-rate: `SELECT 1` as fast as eight clients can ask, beside ROAPI and Datasette."""

import msgspec

from benchmarks.files import rows_file
from benchmarks.rivals import NotHereError, datasette, roapi, version_of
from benchmarks.row import Figure, Row
from benchmarks.serving import KeptAlive, lakehouse_server
from benchmarks.together import rate

CLIENTS = 8
FULL_S, QUICK_S = 5.0, 0.5
WARM_UP_S = 0.5
ROAPI_ROWS = 1_000


def run(*, quick: bool, runs: int) -> list[Row]:
    seconds = QUICK_S if quick else FULL_S
    body = msgspec.json.encode({"sql": "SELECT 1"})
    others: list[Figure] = []
    missing: list[str] = []
    with lakehouse_server() as server:
        ours = rates(runs, seconds, server.port, "POST", "/v1/sql", body, "application/json")
    try:
        with roapi({"rows": rows_file("parquet", ROAPI_ROWS)}) as port:
            found = rates(runs, seconds, port, "POST", "/api/sql", b"SELECT 1", "text/plain")
            others.append(Figure(version_of("roapi"), found))
    except NotHereError as error:
        missing.append(str(error))
    try:
        with datasette() as port:
            path = "/_memory.json?sql=SELECT+1&_shape=arrays"
            found = rates(runs, seconds, port, "GET", path, b"", "")
            others.append(Figure(version_of("datasette"), found))
    except NotHereError as error:
        missing.append(str(error))
    figure = Figure("lakehouse", ours)
    fastest = max(others, key=lambda other: other.median, default=None)
    return [
        Row(
            name="sql-rate",
            work=f"SELECT 1, {CLIENTS} clients",
            unit="requests/s",
            ours=figure,
            reference=fastest,
            ratio=round(figure.median / fastest.median, 3) if fastest else None,
            target="ahead of ROAPI and Datasette",
            met=figure.median > fastest.median if fastest else None,
            sizes={"clients": CLIENTS, "seconds": seconds},
            others=others,
            note="; ".join(missing) or None,
        )
    ]


def rates(
    runs: int, seconds: float, port: int, method: str, path: str, body: bytes, content_type: str
) -> list[float]:
    """Return the answered requests a second of each run, after a warm-up."""
    clients = [KeptAlive(port, method, path, body, content_type) for _ in range(CLIENTS)]
    asks = [client.send for client in clients]
    rate(asks, WARM_UP_S)
    found = [rate(asks, seconds) for _ in range(runs)]
    for client in clients:
        client.close()
    return found
