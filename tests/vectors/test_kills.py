"""A server that is killed while items are written: what was acknowledged is there, once."""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.services import ServerProcess, lakehouse_server

KILLS = int(os.environ.get("LAKEHOUSE_TEST_KILLS", "3"))
PLACE = "/v1/vectors/index"
BATCH = 7


@dataclass
class Known:
    """What clients were told, and what they asked for and never heard of."""

    there: dict[str, int] = field(default_factory=dict)
    """Version by id, of items whose write was acknowledged last."""
    unsure: dict[str, set[int | None]] = field(default_factory=dict)
    """By id, what else may hold: a write or a delete that was under way at a kill."""

    def may_be(self, name: str) -> set[int | None]:
        return {self.there.get(name), *self.unsure.get(name, set())}


class Writer(threading.Thread):
    """Adds, replaces, merges and deletes items of its own until the server is gone."""

    def __init__(self, url: str, number: int, known: Known, version: int) -> None:
        super().__init__()
        self.number, self.known, self.version = number, known, version
        self._client = httpx.Client(base_url=url, timeout=20)

    def run(self) -> None:
        chance = random.Random(self.version * 100 + self.number)
        with self._client:
            try:
                while True:
                    self.version += 1
                    ids = [f"w{self.number}-{chance.randrange(60)}" for _ in range(BATCH)]
                    self._write(list(dict.fromkeys(ids)), chance.random())
            except httpx.TransportError:
                return

    def _write(self, ids: list[str], what: float) -> None:
        if what < 0.15:
            self._send(ids, None, "kept/delete", {"ids": ids})
        elif what < 0.25:
            items = [item(f"m-{each}", self.version) for each in ids]
            # Unsure for good: whoever merges next moves it, or it is there already and skipped.
            self.unsure({f"m-{each}": self.version for each in ids})
            self._send([], None, "moving/add", {"items": items})
            self._send([], None, "moving/merge", {"dest": "kept", "clear_source": True})
        else:
            items = [item(each, self.version) for each in ids]
            self._send(ids, self.version, "kept/add", {"items": items})

    def unsure(self, merged: dict[str, int]) -> None:
        for name, version in merged.items():
            self.known.unsure.setdefault(name, {None}).add(version)

    def _send(self, ids: list[str], version: int | None, path: str, body: Any) -> None:
        for each in ids:
            self.known.unsure.setdefault(each, set()).add(version)
        answer = self._client.post(f"{PLACE}/{path}", json=body)
        assert answer.status_code == 200, answer.text
        for each in ids:
            self.known.unsure.pop(each, None)
            if version is None:
                self.known.there.pop(each, None)
            else:
                self.known.there[each] = version


def item(name: str, version: int) -> dict[str, Any]:
    return {"id": name, "vector": [1.0, float(version)], "metadata": {"version": version}}


def all_items(client: httpx.Client, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        asked = {"limit": 1000, **({"cursor": cursor} if cursor else {})}
        page = client.get(f"{PLACE}/{name}/items", params=asked).raise_for_status().json()
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def check(client: httpx.Client, known: Known) -> None:
    there = all_items(client, "kept")
    ids = [each["id"] for each in there]
    assert len(ids) == len(set(ids)), "an item is there twice"
    versions = {each["id"]: each["metadata"]["version"] for each in there}
    wrong = {
        name: (versions.get(name), known.may_be(name))
        for name in {*known.there, *known.unsure, *versions}
        if not name.startswith("m-") and versions.get(name) not in known.may_be(name)
    }
    assert not wrong
    for name, version in versions.items():
        if name.startswith("m-"):
            assert version in known.unsure.get(name, set())
    searched = client.post(f"{PLACE}/kept/search", json={"vector": [1, 0], "k": 10_000}).json()
    assert sorted(each["id"] for each in searched["results"]) == sorted(ids)
    # From here on it is known what holds.
    own = {name: version for name, version in versions.items() if not name.startswith("m-")}
    known.there, known.unsure = own, {n: s for n, s in known.unsure.items() if n.startswith("m-")}


def start(server: ServerProcess, known: list[Known], kill: int) -> list[Writer]:
    writers = [Writer(server.url, n, each, kill * 10_000) for n, each in enumerate(known)]
    for each in writers:
        each.start()
    return writers


def test_what_was_acknowledged_outlives_kills_and_nothing_is_there_twice(tmp_path: Path) -> None:
    known = [Known() for _ in range(4)]
    chance = random.Random(11)
    # So few rows are searched in memory that indexes are built, and files merged, meanwhile.
    variables = {"LAKEHOUSE_VECTORS__EXACT_MAX_ROWS": "100"}
    for kill in range(KILLS + 1):
        with lakehouse_server(tmp_path / "data", port=None, **variables) as server:
            with httpx.Client(base_url=server.url, timeout=30) as client:
                if kill == 0:
                    for name in ("kept", "moving"):
                        asked = {"name": name, "dimension": 2}
                        assert client.post(PLACE, json=asked).status_code == 201
                everything = Known()
                for each in known:
                    everything.there |= each.there
                    everything.unsure |= each.unsure
                check(client, everything)
                for number, each in enumerate(known):
                    mine = f"w{number}-"
                    each.there = {n: v for n, v in everything.there.items() if n.startswith(mine)}
                    each.unsure = {n: v for n, v in each.unsure.items() if n.startswith("m-")}
            if kill < KILLS:
                writers = start(server, known, kill)
                time.sleep(chance.uniform(0.3, 1.5))
                os.kill(server.pid, signal.SIGKILL)
                for writer in writers:
                    writer.join(30)
                    assert not writer.is_alive()
    assert sum(len(each.there) for each in known) > 50
