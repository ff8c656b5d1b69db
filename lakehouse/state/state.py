"""The state: pointers, tokens, idempotency keys, jobs, the audit log and the lease, in a database.

Every transaction is on disk when it returns. Callers are on a worker thread already.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lakehouse.state.errors import StateBusyError, StateClosedError
from lakehouse.state.transactions import Transaction

T = TypeVar("T")

WRITE_WAIT_MAX_S = 30.0
"""How long a write waits for the writes of this process that came before it."""


class State(ABC):
    """A database, opened and migrated: `SqliteState` or `PostgresState`.

    There is one writer at a time, whoever it is: what a transaction read stays so until it ends.
    """

    def __init__(self) -> None:
        self.revision = 0
        """Grows with each notable change by this process: equal numbers, equal contents."""
        self._writing = threading.Lock()
        self._writing_thread: int | None = None
        self._closed = False
        self._held_under: str | None = None

    @abstractmethod
    def read(self, work: Callable[[Transaction], T]) -> T:
        """Return `work(transaction)` over one consistent state of the database.

        Raises:
            StateBusyError, StateClosedError, StateUnreachableError: nothing was read.
        """

    def write(self, work: Callable[[Transaction], T], *, notable: bool = True) -> T:
        """Return `work(transaction)`, committed and on disk; rolled back when it raises.

        A write inside a write would wait for itself: `work` uses the transaction it is given.

        Args:
            work: kept short, for all other writers wait.
            notable: whether the copy in the warehouse should follow; a heartbeat is not.

        Raises:
            StateBusyError, StateClosedError, StateFullError, StateUnreachableError: surely not
                committed.
            LeaseLostError: surely not committed; another server writes now.
        """
        assert self._writing_thread != threading.get_ident(), "a write inside a write"
        if not self._writing.acquire(timeout=WRITE_WAIT_MAX_S):
            raise StateBusyError
        try:
            if self._closed:
                raise StateClosedError
            self._writing_thread = threading.get_ident()
            result, has_changed = self._write(work)
        finally:
            self._writing_thread = None
            self._writing.release()
        if notable and has_changed:
            self.revision += 1
        return result

    def guard(self, token: str | None) -> None:
        """Have every write check, from now on, that the lease is still held under `token`.

        Where nobody else can reach the database, the lock of its directory says so already.
        """
        self._held_under = token

    @abstractmethod
    def _write(self, work: Callable[[Transaction], T]) -> tuple[T, bool]:
        """Return what `work` returned, and whether it changed anything."""

    @abstractmethod
    def copy_to(self, path: Path) -> None:
        """Write one consistent state to a new SQLite file, while others read and write.

        The file stands alone: no write-ahead log belongs to it. It says when it was made, and
        nobody holds the lease in it.
        """

    def merge_log(self) -> None:
        """Have the database's own file say all, so that nothing deleted is in a log beside it.

        A database server has logs of its own, and its own rules for them.

        Raises:
            StateBusyError: a read went on too long.
        """
        return

    @abstractmethod
    def close(self) -> None:
        """Close every connection. A write that runs is waited for."""
