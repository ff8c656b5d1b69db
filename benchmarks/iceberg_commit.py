"""iceberg-commit: another engine's commit to a table of 1,000 snapshots, by the REST protocol."""

import statistics
import time
from typing import Any

import msgspec

from benchmarks.row import Figure, Row
from benchmarks.serving import KeptAlive, Served, lakehouse_server

FULL_SNAPSHOTS, QUICK_SNAPSHOTS = 1_000, 50
FULL_COMMITS, QUICK_COMMITS = 200, 10
P50_MAX_MS = 12
TABLE = "/iceberg/v1/namespaces/main/tables/committed"
AS_MADE = {"LAKEHOUSE_MAINTENANCE__ENABLED": "false"}
"""Maintenance would expire half of the snapshots, and add some of its own."""
JSON = "application/json"


def run(*, quick: bool, runs: int) -> list[Row]:
    snapshots = QUICK_SNAPSHOTS if quick else FULL_SNAPSHOTS
    commits = QUICK_COMMITS if quick else FULL_COMMITS
    with lakehouse_server(settings=AS_MADE) as server:
        # Overwritten: its list names few manifests, as that of a table which is tended.
        for number in range(snapshots):
            rows = {"sql": f"SELECT {number} AS id", "mode": "overwrite" if number else "create"}
            body = msgspec.json.encode(rows)
            server.send("POST", "/v1/tables/committed/from-query", body, JSON)
        connection = KeptAlive(server.port, "POST", TABLE, b"", JSON)
        latencies_ms = [commit_ms(server, connection) for _ in range(commits)]
        connection.close()
        found = len(metadata_of(server)["snapshots"])
    assert found == snapshots + commits, f"{found} snapshots are there"
    ours = Figure("a commit", latencies_ms)
    p95 = statistics.quantiles(latencies_ms, n=20)[-1]
    return [
        Row(
            name="iceberg-commit",
            work=f"a snapshot committed to a table of {snapshots:,}, p50 (p95 {p95:.1f} ms)",
            unit="ms",
            ours=ours,
            target=f"<= {P50_MAX_MS} ms",
            met=ours.median <= P50_MAX_MS,
            sizes={"snapshots": snapshots, "commits": commits},
        )
    ]


def metadata_of(server: Served) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(server.send("GET", TABLE))["metadata"]
    return found


def commit_ms(server: Served, connection: KeptAlive) -> float:
    """Commit the rows that are there as one more snapshot; the body is made before the clock."""
    metadata = metadata_of(server)
    base, number = metadata["snapshots"][-1], metadata["last-sequence-number"]
    summary = {k: v for k, v in base["summary"].items() if not k.startswith("lakehouse.")}
    snapshot = {
        **base,
        "snapshot-id": base["snapshot-id"] + 1,
        "parent-snapshot-id": base["snapshot-id"],
        "sequence-number": number + 1,
        "timestamp-ms": int(time.time() * 1000),
        "summary": summary,
    }
    main = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]}
    stands = {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": base["snapshot-id"]}
    updates = [
        {"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", **main},
    ]
    body = msgspec.json.encode({"requirements": [stands], "updates": updates})
    began = time.perf_counter()
    connection.send(body)
    return (time.perf_counter() - began) * 1000
