"""One round: change things under load, die, start again without a hand, account for everything."""

import random
import socket
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from lakehouse.config import StorageConfig
from tests.crash.changes import LEADING_TO
from tests.crash.harness import Server, create_table, load, new_accounts
from tests.crash.reckoning import check_with_pyiceberg, reckon

FAILPOINT_WAIT_S = 120.0
LONGEST_LOAD_S = 1.5


class Crash:
    """A server, its data directory and its clients over many deaths. It runs between rounds."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        catalog_uri: str | None = None,
        storage: StorageConfig | None = None,
    ) -> None:
        self._chance = random.Random(seed)
        self._server = Server(folder / "data", free_port(), catalog_uri, storage)
        self._accounts = new_accounts(self._chance)
        self._kills = 0

    def __enter__(self) -> Self:
        self._server.start()
        create_table(self._server.url)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.kill()

    def at_failpoint(self, name: str, nth: int) -> None:
        """Die the `nth` time the process reaches the failpoint `name`, under load."""
        self._server.die_at(name, nth)
        with load(self._server, self._accounts, LEADING_TO.get(name, frozenset())):
            died = self._server.wait_for_death(FAILPOINT_WAIT_S)
        assert died, f"nobody ever came to {name}"
        self._reckon()

    def at_random(self) -> None:
        """Die by kill -9 at any moment, under load."""
        with load(self._server, self._accounts, frozenset()):
            time.sleep(self._chance.uniform(0, LONGEST_LOAD_S))
            self._server.kill()
        self._reckon()

    def _reckon(self) -> None:
        self._kills += 1
        self._server.place.backdate()
        self._server.start()
        reckon(self._server, self._accounts, self._chance)

    def read_by_others(self) -> None:
        """Read every table as it is now with PyIceberg, those that were dropped too."""
        check_with_pyiceberg(self._server, self._accounts)

    def figures(self) -> dict[str, int]:
        """Return kills, acknowledged changes by kind, and the rows that are there now."""
        changes: Counter[str] = Counter()
        for account in self._accounts:
            changes += account.acknowledged
        return {
            "kills": self._kills,
            "changes": changes.total(),
            **dict(sorted(changes.items())),
            "rows": sum(len(each.owned.rows) for each in self._accounts),
            "erased_rows": sum(len(each.erased) for each in self._accounts),
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
