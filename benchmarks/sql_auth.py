"""sql-auth: what a token and the gate take of the requests that eight clients get answered."""

from collections.abc import Sequence

import httpx
import msgspec

from benchmarks.files import CONTENT_TYPES, rows_file
from benchmarks.row import Figure, Row
from benchmarks.serving import KeptAlive, Served, lakehouse_server
from benchmarks.sql_rate import CLIENTS, FULL_S, QUICK_S, WARM_UP_S
from benchmarks.together import rate

ROWS = 100_000
AT_LEAST = 0.9


def run(*, quick: bool, runs: int) -> list[Row]:
    seconds = QUICK_S if quick else FULL_S
    path = rows_file("parquet", ROWS)
    one, point = asking("SELECT 1"), asking(point_read(77777))
    with lakehouse_server() as free, lakehouse_server() as guarded:
        for server in (free, guarded):
            server.ingest("points", path, CONTENT_TYPES["parquet"])
        token = create_token(guarded)
        rows = []
        for work, body in (("SELECT 1", one), ("a point read", point)):
            asked, known = clients(guarded, body, token), clients(free, body)
            told = f"{work}, with a token"
            rows.append(row(told, asked, "without one", known, seconds, runs, AT_LEAST))
        # Connected when their row begins: the server closes what sends nothing for 30 s.
        new, known = new_to_the_gate(free), clients(free, point)
        work, name = "point reads that the gate never saw", "one that it saw before"
        return [*rows, row(work, new, name, known, seconds, runs, None)]


def create_token(server: Served) -> str:
    """Return the secret of a reader's token, made as its operator would: through the socket."""
    body = {"name": "bench", "grants": [{"role": "reader", "on": "main"}]}
    transport = httpx.HTTPTransport(uds=str(server.data_dir / "operator.sock"))
    with httpx.Client(transport=transport, base_url="http://localhost") as operator:
        answer = operator.post("/v1/tokens", json=body).raise_for_status()
    secret: str = answer.json()["token"]
    return secret


def point_read(number: int) -> str:
    return f"SELECT id, city, amount FROM points WHERE id = {number}"


def asking(text: str) -> bytes:
    return msgspec.json.encode({"sql": text})


def clients(server: Served, body: bytes, token: str | None = None) -> list[KeptAlive]:
    kind = "application/json"
    return [
        KeptAlive(server.port, "POST", "/v1/sql", body, kind, token=token) for _ in range(CLIENTS)
    ]


class NewEachTime(KeptAlive):
    """A client that never sends a statement twice."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(port, "POST", "/v1/sql", b"", "application/json")
        self._number = number

    def send(self, body: bytes | None = None) -> bytes:
        self._number += CLIENTS
        return super().send(body or asking(point_read(self._number)))


def new_to_the_gate(server: Served) -> list[KeptAlive]:
    return [NewEachTime(server.port, number) for number in range(CLIENTS)]


def row(
    work: str,
    ours: Sequence[KeptAlive],
    name: str,
    theirs: Sequence[KeptAlive],
    seconds: float,
    runs: int,
    at_least: float | None,
) -> Row:
    """Measure both sides by turns, after a warm-up."""
    taken: tuple[list[float], list[float]] = [], []
    for number in range(-1, runs):
        for side, values in zip((ours, theirs), taken, strict=True):
            asks = [each.send for each in side]
            value = rate(asks, WARM_UP_S if number < 0 else seconds)
            if number >= 0:
                values.append(value)
    for client in (*ours, *theirs):
        client.close()
    mine, reference = Figure("lakehouse", taken[0]), Figure(name, taken[1])
    ratio = mine.median / reference.median
    return Row(
        name="sql-auth",
        work=f"{work}, {CLIENTS} clients",
        unit="requests/s",
        ours=mine,
        reference=reference,
        ratio=round(ratio, 3),
        target=f">= {at_least}x" if at_least else "none",
        met=ratio >= at_least if at_least else None,
        sizes={"clients": CLIENTS, "seconds": seconds, "rows": ROWS},
    )
