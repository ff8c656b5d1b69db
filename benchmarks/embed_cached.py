"""embed-cached: one text that is known already, asked for by fifty clients at once."""

import msgspec

from benchmarks.row import Figure, Row
from benchmarks.sentences import sentences
from benchmarks.serving import KeptAlive, lakehouse_server
from benchmarks.together import rate

CLIENTS = 50
FULL_S, QUICK_S, WARM_UP_S = 5.0, 0.5, 0.5
GO_PER_S = 12_531


def run(*, quick: bool, runs: int) -> list[Row]:
    seconds = QUICK_S if quick else FULL_S
    bodies = [msgspec.json.encode({"texts": [text]}) for text in sentences(CLIENTS)]
    with lakehouse_server() as server:
        clients = [
            KeptAlive(server.port, "POST", "/v1/embed", body, "application/json") for body in bodies
        ]
        asks = [client.send for client in clients]
        rate(asks, WARM_UP_S)
        values = [rate(asks, seconds) for _ in range(runs)]
        for client in clients:
            client.close()
    ours = Figure("lakehouse", values)
    published = Figure("the Go system as published, its machine unknown", [GO_PER_S])
    return [
        Row(
            name="embed-cached",
            work=f"a text whose vector is kept, {CLIENTS} clients",
            unit="requests/s",
            ours=ours,
            reference=published,
            ratio=round(ours.median / published.median, 3),
            target="none",
            sizes={"clients": CLIENTS, "seconds": seconds},
            note="the clients are threads of one process on the same cores, and take their share",
        )
    ]
