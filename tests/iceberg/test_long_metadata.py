"""A table of 10,000 snapshots, and one of 50 MB of metadata: both go on, and more is refused."""

import time
from typing import Any

import httpx
import pytest

from tests.iceberg.conftest import PLACE, load
from tests.services import ServerProcess, size_of

pytestmark = pytest.mark.slow
AT = f"{PLACE}/namespaces/main/tables/long"
MB = 1_000_000
MEMORY_MAX = 700 * 2**20
"""It was 290 MiB, 390 for a moment; 120 of them are a server that did nothing."""


def grow(client: httpx.Client, count: int, words: int = 0) -> httpx.Response:
    """Commit `count` snapshots of the rows that are there, of `words` bytes more each."""
    metadata = client.get(AT).json()["metadata"]
    base = metadata["snapshots"][-1]
    summary = {k: v for k, v in base["summary"].items() if not k.startswith("lakehouse.")}
    first, number = metadata["current-snapshot-id"], metadata["last-sequence-number"]
    snapshots = [
        {
            **base,
            "snapshot-id": first + each,
            "parent-snapshot-id": first + each - 1,
            "sequence-number": number + each,
            "timestamp-ms": int(time.time() * 1000),
            "summary": {**summary, "words": "x" * words},
        }
        for each in range(1, count + 1)
    ]
    updates: list[dict[str, Any]] = [
        {"action": "add-snapshot", "snapshot": snapshot} for snapshot in snapshots
    ]
    last = {"ref-name": "main", "type": "branch", "snapshot-id": first + count}
    updates.append({"action": "set-snapshot-ref", **last})
    return client.post(AT, json={"requirements": [], "updates": updates})


def goes_on(client: httpx.Client, rows: int) -> None:
    """A load, a statement and a page of history, and the table as an engine loads it."""
    load(client, "long", b'{"id":%d,"name":"more"}\n' % rows)
    answer = client.post("/v1/sql", json={"sql": "SELECT count(*) FROM long"})
    assert answer.json()["rows"] == [[rows]]
    page = client.get("/v1/tables/long/snapshots", params={"limit": 10})
    assert len(page.raise_for_status().json()["items"]) == 10
    refs = client.get(AT, params={"snapshots": "refs"}).raise_for_status()
    assert len(refs.content) < MB


def test_ten_thousand_snapshots_and_fifty_megabytes(
    client: httpx.Client, server: ServerProcess
) -> None:
    client.timeout = httpx.Timeout(60)
    load(client, "long")
    kept = {"lakehouse.history.max-snapshots-to-keep": "20000"}
    client.post("/v1/tables/long/properties", json={"set": kept}).raise_for_status()
    for _ in range(2):
        answer = grow(client, 4_990)
        assert answer.status_code == 200, answer.text
    goes_on(client, 3)
    assert len(client.get(AT).json()["metadata"]["snapshots"]) == 9_982

    refused = None
    while refused is None:
        answer = grow(client, 300, 22_500)
        assert answer.status_code in (200, 413), answer.text
        refused = answer if answer.status_code == 413 else None
    assert "expire snapshots" in refused.json()["error"]["message"]
    assert 50 * MB < len(client.get(AT).content) < 64 * 2**20
    goes_on(client, 4)
    assert size_of(server, "VmHWM") < MEMORY_MAX
