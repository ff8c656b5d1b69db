"""append-concurrent: many clients append to one table at once, and share their commits."""

import itertools
import time
from collections.abc import Iterator

import msgspec

from benchmarks.row import Figure, Row, alternate
from benchmarks.serving import KeptAlive, Served, lakehouse_server
from benchmarks.together import together

CLIENTS = 32
FULL_S, QUICK_S = 5.0, 1.0
RATIO_MIN, RATE_MIN = 10, 600
PATH = "/v1/tables/appended/rows"


def run(*, quick: bool, runs: int) -> list[Row]:
    seconds = QUICK_S if quick else FULL_S
    with lakehouse_server() as server:
        columns = [{"name": "id", "type": "long"}, {"name": "client", "type": "long"}]
        create = msgspec.json.encode({"name": "appended", "columns": columns})
        server.send("POST", "/v1/tables", create, "application/json")
        appending = Appending(server, seconds)
        many, one = alternate(lambda: appending.rate(CLIENTS), lambda: appending.rate(1), runs)
        acknowledged = appending.acknowledged
        check(server, acknowledged)
    ours, reference = Figure(f"{CLIENTS} clients", many), Figure("one client", one)
    ratio = ours.median / reference.median
    return [
        Row(
            name="append-concurrent",
            work=f"1-row appends to one table, {CLIENTS} clients",
            unit="rows/s",
            ours=ours,
            reference=reference,
            ratio=round(ratio, 3),
            target=f">= {RATIO_MIN}x one client; >= {RATE_MIN} rows/s; none lost, none twice",
            met=ratio >= RATIO_MIN and ours.median >= RATE_MIN,
            sizes={"clients": CLIENTS, "seconds": seconds, "rows": acknowledged},
        )
    ]


class Appending:
    """Clients that append one row after the other, each with an id of its own."""

    def __init__(self, server: Served, seconds: float) -> None:
        self.acknowledged = 0
        self._server = server
        self._seconds = seconds
        self._ids = itertools.count()

    def rate(self, clients: int) -> float:
        """Return the rows a second that so many clients were told are durable."""
        counts = [0] * clients

        def append(number: int) -> None:
            for count in self._appends(number, deadline):
                counts[number] = count

        began = time.perf_counter()
        deadline = began + self._seconds
        together(append, clients)
        taken = time.perf_counter() - began
        self.acknowledged += sum(counts)
        return sum(counts) / taken

    def _appends(self, client: int, deadline: float) -> Iterator[int]:
        connection = KeptAlive(self._server.port, "POST", PATH, b"", "application/json", 201)
        for count in itertools.count(1):
            if time.perf_counter() >= deadline:
                break
            row = {"id": next(self._ids), "client": client}
            connection.send(msgspec.json.encode({"rows": [row]}))
            yield count
        connection.close()


def check(server: Served, acknowledged: int) -> None:
    """Raise unless every acknowledged row is there, once; ids were given in order from 0."""
    sql = "SELECT count(*), count(DISTINCT id), max(id) + 1 FROM appended"
    (found,) = server.sql(sql)
    assert found == [acknowledged] * 3, f"{found} are there, {acknowledged:,} were acknowledged"
