"""Idempotency keys: the same request sent twice has one effect and one answer.

Key, request hash and answer are stored in the pointer's own transaction, so after a kill -9
either both are there or none is.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from lakehouse.auth import Caller, caller
from lakehouse.catalog.errors import IdempotencyInFlightError, IdempotencyMismatchError
from lakehouse.state import State, Transaction, UniqueViolationError

S = TypeVar("S")
T = TypeVar("T")
K = TypeVar("K", bound=msgspec.Struct | None)
DAY_S = 86_400
BETWEEN = "\x1f"
"""No key and no name of a token has it."""


@dataclass(frozen=True, slots=True)
class Idempotency(Generic[T]):
    """What a request leaves in the transaction of its effect, so that it has no second one."""

    key: str | None
    request_hash: str
    answer: Callable[[T], bytes]
    """What is stored, and sent again when the request comes again."""
    owner: str = field(default_factory=lambda: owner())
    """Two callers may choose the same key, and are told nothing of each other's."""
    also: Callable[[Transaction, T], None] = lambda tx, effect: None
    """What else is stored; raises to undo the effect."""

    @property
    def stored(self) -> str:
        assert self.key is not None, "only what has a key is stored by it"
        return stored_key(self.owner, self.key)

    def of(self, step: Callable[[S], T]) -> "Idempotency[S]":
        """Return this key for an effect that `step` makes the answer of."""
        return Idempotency(
            self.key,
            self.request_hash,
            lambda effect: self.answer(step(effect)),
            self.owner,
            lambda tx, effect: self.also(tx, step(effect)),
        )


class IdempotencyKeys:
    def __init__(self, state: State, *, keep_days: int) -> None:
        self._state = state
        self.keep_days = keep_days
        self._keep_s = keep_days * DAY_S
        self._running: set[str] = set()
        self._lock = threading.Lock()

    def find(self, key: str, request_hash: str) -> bytes | None:
        """Return the stored answer, or None.

        Raises:
            IdempotencyMismatchError: the key came with another request.
        """

        def work(tx: Transaction) -> tuple[str, bytes] | None:
            row: tuple[str, bytes] | None = tx.execute(
                "SELECT request_hash, answer FROM idempotency_key WHERE key = ? AND created_at > ?",
                (stored_key(owner(), key), time.time() - self._keep_s),
            ).fetchone()
            return row

        row = self._state.read(work)
        if row is None:
            return None
        if row[0] != request_hash:
            raise IdempotencyMismatchError(key)
        return row[1]

    def record(
        self,
        tx: Transaction,
        idempotency: Idempotency[T] | Sequence[Idempotency[T]] | None,
        result: T,
    ) -> None:
        """Store the answer, for a request that has a key, in the transaction that makes it true.

        Args:
            idempotency: of several requests that have one effect together, each with its answer.

        Raises:
            IdempotencyInFlightError: another process was faster; its answer is there now.
        """
        if isinstance(idempotency, Sequence):
            for each in idempotency:
                self.record(tx, each, result)
            return
        if idempotency is None:
            return
        idempotency.also(tx, result)
        if idempotency.key is None:
            return
        tx.execute(
            "DELETE FROM idempotency_key WHERE key = ? AND created_at <= ?",
            (idempotency.stored, time.time() - self._keep_s),
        )
        values = (idempotency.stored, idempotency.request_hash, idempotency.answer(result))
        try:
            tx.execute(
                "INSERT INTO idempotency_key (key, request_hash, answer, created_at)"
                " VALUES (?, ?, ?, ?)",
                (*values, time.time()),
            )
        except UniqueViolationError as error:
            raise IdempotencyInFlightError(idempotency.key) from error

    @contextmanager
    def in_flight(self, key: str) -> Iterator[None]:
        stored = stored_key(owner(), key)
        with self._lock:
            if stored in self._running:
                raise IdempotencyInFlightError(key)
            self._running.add(stored)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(stored)


def owner(who: Caller | None = None) -> str:
    """Return whose keys a caller's are: those of its token's name, which a rotation keeps."""
    who = who or caller()
    return who.name if who.token_id is not None else ""


def stored_key(owner: str, key: str) -> str:
    return f"{owner}{BETWEEN}{key}" if owner else key


@dataclass(frozen=True, slots=True)
class Once:
    """One request and its key, if it has one: who runs its work by this answers a retry alike."""

    keys: IdempotencyKeys
    key: str | None
    request_hash: str

    def run(self, kind: type[K], work: Callable[[Idempotency[K] | None], K]) -> K:
        """Return what `work` returns, or what it returned when the request came before.

        Args:
            kind: of the answer, as JSON keeps it.
            work: stores what it is given in the transaction of its effect, by `record`.

        Raises:
            IdempotencyMismatchError: the key came with another request.
            IdempotencyInFlightError: the first request still runs.
        """
        if self.key is None:
            return work(None)
        with self.keys.in_flight(self.key):
            answer = self.keys.find(self.key, self.request_hash)
            if answer is not None:
                return msgspec.json.decode(answer, type=kind)
            return work(Idempotency(self.key, self.request_hash, msgspec.json.encode))
