"""Ten thousand collections: the server starts, and each is found, as if there were one."""

import os
import shutil
import sqlite3
import statistics
import time
import uuid
from pathlib import Path

import httpx
import pytest

from tests.services import lakehouse_server

PLACE = "/v1/vectors/index"
COUNT = 10_000
START_MAX_S, LIST_MAX_S, INFO_MAX_S = 5.0, 1.0, 0.1


def multiplied(data: Path) -> None:
    """Make as many of the one that is there; nobody has it open."""
    folder = data / "warehouse" / "vectors"
    with sqlite3.connect(data / "catalog.db") as catalog:
        one = catalog.execute(
            "SELECT namespace, definition, created_at, folder FROM collection"
        ).fetchone()
        namespace, definition, created_at, source = one
        for number in range(1, COUNT):
            new = uuid.uuid4().hex
            shutil.copytree(folder / f"{source}.lance", folder / f"{new}.lance")
            name = f"c{number:05}"
            catalog.execute(
                "INSERT INTO collection (collection_id, namespace, name, folded, definition,"
                " created_at, folder, dropped) VALUES (?, ?, ?, ?, ?, ?, ?, 0)",
                (new, namespace, name, f"{namespace}.{name}", definition, created_at, new),
            )
    catalog.close()


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="a minute")
def test_ten_thousand_collections_start_in_five_seconds(tmp_path: Path) -> None:
    data, began = tmp_path / "data", time.monotonic()
    with (
        lakehouse_server(data, port=None) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        empty = time.monotonic() - began
        made = client.post(PLACE, json={"name": "c00000", "dimension": 4})
        assert made.status_code == 201, made.text
        items = [{"id": str(n), "vector": [1, 0, 0, n]} for n in range(10)]
        client.post(f"{PLACE}/c00000/add", json={"items": items}).raise_for_status()
    multiplied(data)
    began = time.monotonic()
    with (
        lakehouse_server(data, port=None) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        took = {"start when empty": empty, "start": time.monotonic() - began}
        took["list"] = seconds(client, "GET", "")
        took["first info"] = seconds(client, "GET", "/c05000")
        infos = [seconds(client, "GET", f"/c{n:05}") for n in range(0, COUNT, 5)]
        took["info, median of 2,000"] = statistics.median(infos)
        took["missing"] = seconds(client, "GET", "/nobody", status=404)
        took["create"] = seconds(client, "POST", "", {"name": "more", "dimension": 4}, status=201)
        took["search"] = seconds(client, "POST", "/c09999/search", {"vector": [1, 0, 0, 3]})
        names = client.get(PLACE).json()
        assert names["count"] == COUNT + 1
    print({name: round(value, 3) for name, value in took.items()})
    assert took["start"] < max(START_MAX_S, empty + 1.0), "on a machine that is busy, no slower"
    assert took["list"] < LIST_MAX_S
    assert took["info, median of 2,000"] < INFO_MAX_S


def seconds(
    client: httpx.Client, method: str, path: str, body: object = None, *, status: int = 200
) -> float:
    began = time.monotonic()
    answer = client.request(method, f"{PLACE}{path}", json=body)
    assert answer.status_code == status, answer.text
    return time.monotonic() - began
