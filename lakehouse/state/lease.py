"""The lease: which data directory writes to a catalog, for catalogs that several can reach."""

import logging
import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

import anyio

from lakehouse.errors import LakehouseError
from lakehouse.lanes import on_thread
from lakehouse.state.errors import CatalogInUseError, LeaseLostError
from lakehouse.state.state import State
from lakehouse.state.transactions import Transaction

log = logging.getLogger(__name__)

HEARTBEAT_S = 10.0
EXPIRY_S = 30.0
NAME = "writer"


class Lease:
    """Our right to write to the catalog. Whoever else wants it is told who we are."""

    def __init__(self, state: State, token: str) -> None:
        self._state = state
        self._token = token

    @classmethod
    @contextmanager
    def hold(cls, state: State, owner_id: str, *, address: str | None = None) -> Iterator[Self]:
        """Take the lease, and give it back at the end.

        The directory that had it last retakes it at once: its own lock says that nobody else is
        in there, so what still stands in the row is a process that was killed.

        Raises:
            CatalogInUseError: another directory has it, and was heard of within `EXPIRY_S`.
        """
        token = str(uuid.uuid4())
        state.write(lambda tx: take(tx, owner_id, token, address), notable=False)
        lease = cls(state, token)
        state.guard(token)
        try:
            yield lease
        finally:
            with suppress(LakehouseError):  # it expires by itself
                lease.release()
            state.guard(None)

    def renew(self) -> None:
        """Say that we are still here; `LeaseLostError` when somebody took over."""

        def work(tx: Transaction) -> int:
            return tx.execute(
                "UPDATE lease SET heartbeat_at = ? WHERE name = ? AND token = ?",
                (time.time(), NAME, self._token),
            ).rowcount

        if self._state.write(work, notable=False) != 1:
            raise LeaseLostError

    def release(self) -> None:
        def work(tx: Transaction) -> None:
            tx.execute("DELETE FROM lease WHERE name = ? AND token = ?", (NAME, self._token))

        self._state.write(work, notable=False)


def take(tx: Transaction, owner_id: str, token: str, address: str | None) -> None:
    now = time.time()
    row = tx.execute(
        "SELECT owner_id, host, pid, address, taken_at, heartbeat_at FROM lease WHERE name = ?",
        (NAME,),
    ).fetchone()
    # A heartbeat far in the future is a clock that was wrong, not an owner that lives.
    if row and row[0] != owner_id and abs(now - row[5]) < EXPIRY_S:
        raise CatalogInUseError(row[1], row[2], row[3], row[4])
    tx.execute("DELETE FROM lease WHERE name = ?", (NAME,))
    tx.execute(
        "INSERT INTO lease (name, owner_id, token, host, pid, address, taken_at, heartbeat_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (NAME, owner_id, token, socket.gethostname(), os.getpid(), address, now, now),
    )


async def keep_lease(lease: Lease) -> None:
    """Renew the lease every `HEARTBEAT_S`, until cancelled.

    Raises:
        LeaseLostError: another server writes now; this process must stop.
    """
    limiter = anyio.CapacityLimiter(1)  # never behind the threads of slow requests
    while True:
        await anyio.sleep(HEARTBEAT_S)
        try:
            await on_thread(lease.renew, limiter)
        except LeaseLostError:
            raise
        except Exception:
            log.exception("the lease on the catalog could not be renewed")
