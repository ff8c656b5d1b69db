"""A server that is killed while a table is written: what follows it catches up, and is the same."""

import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from tests.services import lakehouse_server

KILLS = int(os.environ.get("LAKEHOUSE_TEST_KILLS", "3"))
PLACE = "/v1/vectors/index/found"
WORDS = ["river", "mountain", "kettle", "bicycle", "winter", "violin"]
COLUMNS = [
    {"name": "id", "type": "long"},
    {"name": "body", "type": "string"},
    {"name": "turn", "type": "long"},
]
SOURCE = {"table": "notes", "id": "id", "text": "body", "metadata": ["turn"]}
CAUGHT_UP_S = 60


class Writer(threading.Thread):
    """Changes the table until the server is gone."""

    def __init__(self, url: str, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.acknowledged = 0
        self._client = httpx.Client(base_url=url, timeout=30)

    def run(self) -> None:
        with self._client:
            try:
                while True:
                    self._change()
                    self.acknowledged += 1
            except httpx.TransportError:
                return

    def _change(self) -> None:
        chance = self.chance
        ids = sorted({chance.randrange(300) for _ in range(chance.randrange(1, 60))})
        if chance.random() < 0.3:
            listed = ", ".join(map(str, ids))
            self._send("/v1/tables/notes/delete", json={"where": f"id IN ({listed})"})
        else:
            turn = chance.randrange(1000)
            rows = [{"id": n, "body": f"{chance.choice(WORDS)} {turn}", "turn": turn} for n in ids]
            body = "\n".join(map(json.dumps, rows)).encode()
            asked = {"name": "notes", "mode": "upsert", "key": "id", "format": "ndjson"}
            self._send("/v1/ingest", params=asked, content=body)

    def _send(self, path: str, **request: Any) -> None:
        answer = self._client.post(path, **request)
        assert answer.status_code in (200, 409), answer.text  # two writers may meet


def caught_up(client: httpx.Client) -> None:
    """Wait until the collection has reached its table."""
    deadline = time.monotonic() + CAUGHT_UP_S
    while True:
        said = client.get(PLACE).raise_for_status().json()["source"]
        if said["state"] == "current":
            return
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def check(client: httpx.Client) -> int:
    """Compare the items with the rows; return how many there are."""
    caught_up(client)
    sql = {"sql": "SELECT id, body, turn FROM notes"}
    rows = client.post("/v1/sql", json=sql).raise_for_status().json()["rows"]
    asked = {"limit": 1000}
    items = client.get(f"{PLACE}/items", params=asked).raise_for_status().json()["items"]
    there = sorted((int(each["id"]), each["text"], each["metadata"]["turn"]) for each in items)
    assert there == sorted(map(tuple, rows))
    return len(there)


def test_after_each_kill_the_items_are_the_rows(tmp_path: Path) -> None:
    chance = random.Random(5)
    acknowledged = most = 0
    # So few rows are searched in memory that indexes are built, and files merged, meanwhile.
    variables = {"LAKEHOUSE_VECTORS__EXACT_MAX_ROWS": "100"}
    for kill in range(KILLS + 1):
        with lakehouse_server(tmp_path / "data", port=None, **variables) as server:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                if kill == 0:
                    client.post("/v1/tables", json={"name": "notes", "columns": COLUMNS})
                    made = {"name": "found", "source": SOURCE}
                    client.post("/v1/vectors/index", json=made).raise_for_status()
                most = max(most, check(client))
            if kill < KILLS:
                writers = [Writer(server.url, kill * 10 + number) for number in range(2)]
                for writer in writers:
                    writer.start()
                time.sleep(chance.uniform(0.3, 1.5))
                os.kill(server.pid, signal.SIGKILL)
                for writer in writers:
                    writer.join(30)
                    assert not writer.is_alive()
                    acknowledged += writer.acknowledged
    assert acknowledged > KILLS
    assert most > 20
