"""Clients that remember what they were told, a server that is killed, and the reckoning.

Every row carries a number that is used once. Of each batch a client knows one of three things:
acknowledged (the answer came), in flight (sent, no answer), or refused. After the next start,
which needs no hand, a part of the batches in flight is sent again with its key. Then:

- an acknowledged row is there exactly once;
- a row sent again with its key is there exactly once;
- a row in flight that was not sent again is there once or not at all, with its whole batch.
"""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx

from lakehouse.failpoints import VARIABLE

TABLE = "crash"
CLIENTS = 4
START_TIMEOUT_S = 30.0
ROWS_PER_BATCH = 5
RESENT_SHARE = 0.5
# Maintenance is at it all the time: merges of few manifests, snapshots that expire at once.
RESTLESS = {
    "LAKEHOUSE_MAINTENANCE__MANIFESTS_MIN": "4",
    "LAKEHOUSE_MAINTENANCE__SNAPSHOTS_MIN": "1",
    "LAKEHOUSE_MAINTENANCE__SNAPSHOTS_MAX": "2",
}


@dataclass(frozen=True, slots=True)
class Batch:
    key: str
    ids: tuple[int, ...]
    as_file: bool
    """Sent as a CSV to `/v1/ingest`, else as JSON to `/rows`."""


@dataclass(slots=True)
class Ledger:
    """What the clients were told."""

    acknowledged: list[Batch] = field(default_factory=list)
    in_flight: list[Batch] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: Iterator[int] = field(default_factory=count)

    def new_batch(self, as_file: bool) -> Batch:
        with self.lock:
            ids = tuple(next(self.numbers) for _ in range(ROWS_PER_BATCH))
        return Batch(f"batch-{ids[0]}", ids, as_file)


class Server:
    """`lakehouse serve` on a data directory, as a user would start it."""

    def __init__(self, data_dir: Path, port: int) -> None:
        self._data_dir = data_dir
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, failpoint: str | None = None) -> None:
        command = [sys.executable, "-m", "lakehouse", "serve", "--data", str(self._data_dir)]
        point = {VARIABLE: failpoint} if failpoint else {}
        environment = {**os.environ, **RESTLESS, **point}
        with (self._data_dir.parent / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--port", str(self._port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/ready", timeout=5).status_code == 200:
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        log_text = (self._data_dir.parent / "server.log").read_text()[-3000:]
        raise AssertionError(f"the server did not start again by itself:\n{log_text}")

    def kill(self) -> None:
        """Kill -9 of the one PID there is."""
        assert self.process is not None, "start it first"
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=10)

    def wait_for_death(self, timeout_s: float) -> bool:
        assert self.process is not None, "start it first"
        try:
            self.process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return self.process.returncode == -signal.SIGKILL


def send(client: httpx.Client, batch: Batch) -> httpx.Response:
    headers = {"Idempotency-Key": batch.key}
    if batch.as_file:
        body = "id,batch\n" + "".join(f"{id_},{batch.key}\n" for id_ in batch.ids)
        return client.post(
            "/v1/ingest",
            params={"name": TABLE, "mode": "append"},
            headers={**headers, "Content-Type": "text/csv"},
            content=body,
        )
    rows = [{"id": id_, "batch": batch.key} for id_ in batch.ids]
    return client.post(f"/v1/tables/{TABLE}/rows", headers=headers, json={"rows": rows})


def create_table(url: str) -> None:
    columns = [{"name": "id", "type": "long"}, {"name": "batch", "type": "string"}]
    answer = httpx.post(f"{url}/v1/tables", json={"name": TABLE, "columns": columns}, timeout=30)
    assert answer.status_code == 201, answer.text


def write_until_dead(url: str, ledger: Ledger, stop: threading.Event, seed: int) -> None:
    """One client: it sends batch after batch and notes what it was told."""
    chance = random.Random(seed)
    with httpx.Client(base_url=url, timeout=30) as client:
        while not stop.is_set():
            batch = ledger.new_batch(as_file=chance.random() < 0.3)
            with ledger.lock:
                ledger.in_flight.append(batch)
            try:
                answer = send(client, batch)
            except httpx.TransportError:
                return
            assert answer.status_code in (200, 201, 503), answer.text
            with ledger.lock:
                ledger.in_flight.remove(batch)
                if answer.status_code != 503:
                    ledger.acknowledged.append(batch)


@contextmanager
def load(url: str, ledger: Ledger, seed: int) -> Iterator[None]:
    """Clients that write while the block runs, and until the server is gone."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            write_until_dead(url, ledger, stop, seed + number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
    assert not failures, failures


def reckon(server: Server, ledger: Ledger, seed: int) -> None:
    """Send a part of what was in flight again, then count every row."""
    chance = random.Random(seed)
    waiting, ledger.in_flight = ledger.in_flight, []
    with httpx.Client(base_url=server.url, timeout=30) as client:
        for batch in waiting:
            if chance.random() < RESENT_SHARE:
                answer = send(client, batch)
                assert answer.status_code in (200, 201), answer.text
                ledger.acknowledged.append(batch)
        answer = client.post("/v1/sql", json={"sql": f"SELECT id FROM {TABLE}"})
        assert answer.status_code == 200, answer.text
        assert not answer.json()["truncated"], "the reckoning must see every row"
    found = Counter(row[0] for row in answer.json()["rows"])

    doubled = {id_: times for id_, times in found.items() if times > 1}
    assert not doubled, f"rows that are there more than once: {doubled}"
    lost = [id_ for batch in ledger.acknowledged for id_ in batch.ids if id_ not in found]
    assert not lost, f"acknowledged rows that are gone: {lost}"
    unresolved = [batch for batch in waiting if batch not in ledger.acknowledged]
    for batch in unresolved:
        there = sum(id_ in found for id_ in batch.ids)
        assert there in (0, len(batch.ids)), f"half of a batch is there: {batch}"
        if there:
            ledger.acknowledged.append(batch)
    known = {id_ for batch in ledger.acknowledged for id_ in batch.ids}
    assert set(found) <= known, f"rows nobody sent: {set(found) - known}"
