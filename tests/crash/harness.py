"""Clients that remember what they were told, and a server that is killed.

Of each change a client knows one of three things: acknowledged (the answer came), in flight (sent,
no answer), or refused (503: nothing happened). It sends the next one when it knows.
"""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg

from lakehouse.config import StorageConfig
from lakehouse.failpoints import VARIABLE
from tests import object_store
from tests.crash.changes import SHARED, Asking, Change, Owned
from tests.crash.places import Directory, InMinio, Place

CLIENTS = 4
START_TIMEOUT_S = 30.0
DONE = (200, 201, 204)
REFUSED = 503
# Maintenance is at it all the time: merges of few manifests, snapshots that expire at once.
RESTLESS = {
    "LAKEHOUSE_MAINTENANCE__MANIFESTS_MIN": "4",
    "LAKEHOUSE_MAINTENANCE__SNAPSHOTS_MIN": "1",
    "LAKEHOUSE_MAINTENANCE__SNAPSHOTS_MAX": "10",
}


@dataclass(slots=True)
class Account:
    """What one client was told. It is read while nobody writes."""

    asking: Asking
    owned: Owned = field(default_factory=Owned)
    in_flight: Change | None = None
    erased: set[str] = field(default_factory=set)
    """Marks of the rows whose erasure was acknowledged."""
    acknowledged: Counter[str] = field(default_factory=Counter)
    """Changes, by kind."""

    def acknowledge(self, change: Change) -> None:
        self.owned = change.worlds[-1]
        self.erased.update(change.erases)
        self.acknowledged[change.kind] += 1
        self.in_flight = None


class Server:
    """`lakehouse serve` on a data directory, as a user would start it."""

    def __init__(
        self,
        data_dir: Path,
        port: int,
        catalog_uri: str | None = None,
        storage: StorageConfig | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.catalog_uri = catalog_uri
        """Of a PostgreSQL; None for `catalog.db`."""
        self.place: Place = InMinio(storage) if storage else Directory(data_dir)
        self._settings = object_store.variables(storage) if storage else {}
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._failpoint = data_dir.parent / "failpoint"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it as a user would, without a hand; ready when this returns."""
        self._failpoint.unlink(missing_ok=True)
        command = [sys.executable, "-m", "lakehouse", "serve", "--data", str(self.data_dir)]
        told = {**RESTLESS, **self._settings, VARIABLE: str(self._failpoint)}
        environment = {**os.environ, **told}
        if self.catalog_uri is not None:
            environment["LAKEHOUSE_CATALOG__URI"] = self.catalog_uri
        with (self.data_dir.parent / "server.log").open("ab") as log:
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
        log_text = (self.data_dir.parent / "server.log").read_text()[-3000:]
        raise AssertionError(f"the server did not start again by itself:\n{log_text}")

    def catalog_rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what the catalog's database answers, asked past the server."""
        if self.catalog_uri is not None:
            with psycopg.connect(self.catalog_uri) as connection:
                return connection.execute(sql).fetchall()
        uri = f"file:{self.data_dir / 'catalog.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as catalog:
            return catalog.execute(sql).fetchall()

    def die_at(self, name: str, nth: int) -> None:
        """Have it die the `nth` time that it comes to a failpoint from now on."""
        unfinished = self._failpoint.with_suffix(".new")
        unfinished.write_text(f"{name}:{nth}")
        unfinished.replace(self._failpoint)

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


def new_accounts(chance: random.Random) -> list[Account]:
    return [
        Account(Asking(number, random.Random(chance.randrange(2**32)))) for number in range(CLIENTS)
    ]


def create_table(url: str) -> None:
    columns = [
        *({"name": name, "type": "long"} for name in ("id", "owner", "n")),
        {"name": "mark", "type": "string"},
    ]
    answer = httpx.post(f"{url}/v1/tables", json={"name": SHARED, "columns": columns}, timeout=30)
    assert answer.status_code == 201, answer.text


def change_until_dead(
    url: str, account: Account, stop: threading.Event, wanted: frozenset[str]
) -> None:
    """One client: it sends change after change and notes what it was told."""
    with httpx.Client(base_url=url, timeout=60) as client:
        while not stop.is_set():
            change = account.in_flight = account.asking.next(account.owned, wanted)
            try:
                answer = change.send(client)
                while answer.status_code == REFUSED and change.kind == "erase":
                    answer = change.send(client)  # the rows are out; sent again it is finished
            except httpx.TransportError:
                return
            if answer.status_code == REFUSED:
                account.in_flight = None
                continue
            assert answer.status_code in DONE, (change, answer.text)
            account.acknowledge(change)


@contextmanager
def load(server: Server, accounts: list[Account], wanted: frozenset[str]) -> Iterator[None]:
    """Clients that change things while the block runs, and until the server is gone."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def guarded(account: Account) -> None:
        try:
            change_until_dead(server.url, account, stop, wanted)
        except BaseException as error:
            failures.append(error)
            server.kill()  # nobody need wait for the others

    threads = [threading.Thread(target=guarded, args=(account,)) for account in accounts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(timeout=120)
    assert not failures, failures
