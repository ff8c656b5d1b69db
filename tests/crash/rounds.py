"""One round: write under load, die, start again without a hand, account for every row."""

import random
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.crash.harness import Ledger, Server, create_table, load, reckon

FAILPOINT_WAIT_S = 120.0
LONGEST_LOAD_S = 0.6


class Crash:
    """A server, its data directory and its clients over many deaths. It runs between rounds."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._chance = random.Random(seed)
        self._server = Server(folder / "data", free_port())
        self._ledger = Ledger()
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
        self._server.kill()
        self._server.start(failpoint=f"{name}:{nth}")
        with load(self._server.url, self._ledger, self._seed()):
            died = self._server.wait_for_death(FAILPOINT_WAIT_S)
        assert died, f"nobody ever came to {name}"
        self._reckon()

    def at_random(self) -> None:
        """Die by kill -9 at any moment, under load."""
        with load(self._server.url, self._ledger, self._seed()):
            time.sleep(self._chance.uniform(0, LONGEST_LOAD_S))
            self._server.kill()
        self._reckon()

    def _reckon(self) -> None:
        self._kills += 1
        self._server.start()
        reckon(self._server, self._ledger, self._seed())

    def _seed(self) -> int:
        return self._chance.randrange(2**32)

    def figures(self) -> dict[str, int]:
        return {
            "kills": self._kills,
            "batches_accounted_for": len(self._ledger.acknowledged),
            "rows": sum(len(batch.ids) for batch in self._ledger.acknowledged),
        }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
