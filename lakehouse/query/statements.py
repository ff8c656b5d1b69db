"""Which statements run: how many, under which ids, until when, and how each one ended."""

import asyncio
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Event
from typing import TypeAlias, TypeVar

import pyarrow as pa

from lakehouse.auth import EVERYTHING, caller, may
from lakehouse.config import QueryConfig
from lakehouse.errors import LakehouseError
from lakehouse.query.models import Format, RunningQuery, StatementState
from lakehouse.query.run_errors import (
    BadRequestFieldError,
    InterruptedStatementError,
    MemoryPressureError,
    QueryIdInUseError,
    StatementCancelledError,
    StatementNotFoundError,
    StatementTimeoutError,
    TooManyStatementsError,
)

T = TypeVar("T")

SQL_SHOWN_MAX = 500
ENDED_MAX = 1_000
"""Statements of which it is remembered how they ended."""
GRACE_S = 0.05
"""A statement that has run for less has no share in it that memory is short."""
QUERY_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


@dataclass(frozen=True, slots=True)
class StatementEnded:
    """What a listener hears once for each statement, however it ended."""

    query_id: str
    sql: str
    outcome: str
    """`ok`, `not_modified`, `cancelled` (also: the client left), or the error's class name."""
    format: Format
    tables: tuple[str, ...]
    row_count: int
    sent_bytes: int
    duration_s: float
    engine_s: float


Listener: TypeAlias = Callable[[StatementEnded], None]
Key: TypeAlias = tuple[str, str]
"""Whose statement it is, and its id: an id that somebody chose is in nobody else's way."""


@dataclass(eq=False)
class Running:
    """A statement between its admission and its end."""

    query_id: str
    name: str
    """The id, and more where a caller chose that: what holds a thread is known by it alone."""
    format: Format
    timeout_s: float
    caller: str = field(default_factory=lambda: caller().name)
    began_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: float = field(default_factory=time.monotonic)
    stop: Event = field(default_factory=Event)
    scopes: list[asyncio.Timeout] = field(default_factory=list)
    sql: str = ""
    tables: tuple[str, ...] = ()
    row_count: int = 0
    sent_bytes: int = 0
    engine_s: float = 0.0
    found: dict[str, pa.Table] = field(default_factory=dict)
    """What its searches found, by the folded name that the statement calls it."""
    finished: bool = False
    """The last piece of a stream has been made."""
    interrupt: Callable[[], None] = lambda: None
    """Stops what the engine does for it right now."""
    gives_way: bool = False
    """It was interrupted because memory was short, and by nobody."""

    def ended(self, outcome: str) -> StatementEnded:
        return StatementEnded(
            self.query_id,
            self.sql,
            outcome,
            self.format,
            self.tables,
            self.row_count,
            self.sent_bytes,
            time.monotonic() - self.started_at,
            self.engine_s,
        )

    def told(self, *, is_held: bool) -> RunningQuery:
        """Return the statement as those who look at it see it.

        Args:
            is_held: whether it has ended for its caller, and still holds its thread.
        """
        return RunningQuery(
            self.query_id,
            self.caller,
            "stopping" if is_held or self.stop.is_set() else "running",
            self.sql[:SQL_SHOWN_MAX],
            self.format,
            list(self.tables),
            self.began_at,
            round(time.monotonic() - self.started_at, 3),
            self.row_count,
            self.sent_bytes,
        )

    def cancel(self) -> None:
        self.stop.set()
        for scope in self.scopes:
            if not scope.expired():
                scope.reschedule(0)

    def give_way(self) -> bool:
        """Have the engine stop, from any thread; not if it has only just begun."""
        is_due = time.monotonic() - self.started_at > GRACE_S
        if is_due:
            self.gives_way = True
            self.interrupt()
        return is_due

    @contextmanager
    def unless_short(self) -> Iterator[None]:
        """Raise `MemoryPressureError` when what is inside had to give way."""
        try:
            yield
        except InterruptedStatementError as error:
            gave_way, self.gives_way = self.gives_way, False
            if gave_way and not self.stop.is_set():
                raise MemoryPressureError from error
            raise

    @asynccontextmanager
    async def cancellable(self, timeout_s: float | None = None) -> AsyncIterator[None]:
        """Stop what is inside when `cancel` is called, or after `timeout_s`."""
        if self.stop.is_set():
            raise StatementCancelledError(self.query_id)
        scope = asyncio.timeout(timeout_s)
        try:
            async with scope:
                self.scopes.append(scope)
                try:
                    yield
                finally:
                    self.scopes.remove(scope)
        except InterruptedStatementError as error:
            raise StatementCancelledError(self.query_id) from error
        except TimeoutError:
            if not scope.expired():
                raise
            if self.stop.is_set():
                raise StatementCancelledError(self.query_id) from None
            self.stop.set()
            raise StatementTimeoutError(self.timeout_s) from None


class Statements:
    """The statements that run now, at most `query.concurrency_max`, streams included."""

    def __init__(
        self, config: QueryConfig, listener: Listener, check: Callable[[], None] = lambda: None
    ) -> None:
        self._config = config
        self._check = check
        self._listener = listener
        self._running: dict[Key, Running] = {}
        self._ended: dict[Key, tuple[Running, StatementState]] = {}
        """What ran, and how it ended."""

    @contextmanager
    def admit(
        self,
        timeout_s: float | None,
        query_id: str | None,
        format_name: Format,
        *,
        most_s: float | None = None,
    ) -> Iterator[Running]:
        """Count a statement in while the block runs; the listener hears how it ended.

        Args:
            most_s: the longest that it may take; None for that of a SELECT.

        Raises:
            TooManyStatementsError: as many as may be are running.
            ThreadsStuckError: too many were stopped and do not end.
            QueryIdInUseError, BadRequestFieldError: the id cannot be used.
        """
        name = secrets.token_hex(16)
        if query_id is not None:
            name = f"{check_query_id(query_id)}#{name[:6]}"
        query_id = query_id or name
        key = (caller().name, query_id)
        if key in self._running:
            raise QueryIdInUseError(query_id)
        if len(self._running) >= self._config.concurrency_max:
            raise TooManyStatementsError(self._config.concurrency_max)
        self._check()
        most = float(self._config.timeout_s) if most_s is None else most_s
        running = Running(query_id, name, format_name, min(timeout_s or most, most))
        self._running[key] = running
        outcome, reason = "ok", None
        try:
            yield running
        except BaseException as error:
            cancelled = isinstance(error, asyncio.CancelledError | StatementCancelledError)
            outcome = "cancelled" if cancelled else type(error).__name__
            reason = error.detail if isinstance(error, LakehouseError) else None
            raise
        finally:
            del self._running[key]
            self._listener(running.ended(outcome))
            self._remember(key, running, StatementState(query_id, "ended", outcome, reason))

    def _remember(self, key: Key, running: Running, ended: StatementState) -> None:
        running.sql = running.sql[:SQL_SHOWN_MAX]
        self._ended.pop(key, None)
        self._ended[key] = running, ended
        while len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def state(self, query_id: str) -> StatementState:
        """Return what became of a statement; `StatementNotFoundError` of one long ago."""
        if ours_of(self._running, query_id):
            return StatementState(query_id, "running")
        before = ours_of(self._ended, query_id)
        if not before:
            raise StatementNotFoundError(query_id)
        return before[-1][1]

    def shown(self, held: Iterable[str]) -> list[RunningQuery]:
        """Return the statements of the caller, an admin's of all, those that began first first.

        Args:
            held: names of statements that have ended and still hold their threads.
        """
        holding = set(held)
        left = [each for each, _ in self._ended.values() if each.name in holding]
        found = [(each, False) for each in self._running.values()] + [(each, True) for each in left]
        return [
            each.told(is_held=is_held)
            for each, is_held in sorted(found, key=lambda pair: pair[0].started_at)
            if is_ours(each.caller)
        ]

    def cancel(self, query_id: str) -> None:
        """Stop a running statement of the caller; an admin's own, or else all of that id.

        Raises:
            StatementNotFoundError: there is none.
        """
        found = ours_of(self._running, query_id)
        if not found:
            raise StatementNotFoundError(query_id)
        for running in found:
            running.cancel()

    def ids(self) -> set[str]:
        return {query_id for _, query_id in self._running}

    def give_way(self) -> int:
        """Interrupt what runs, from any thread, and return how many statements that were."""
        return sum(running.give_way() for running in list(self._running.values()))

    def cancel_all(self) -> None:
        for running in list(self._running.values()):
            running.cancel()


def ours_of(found: Mapping[Key, T], query_id: str) -> list[T]:
    """Return what the caller has under an id; an admin who has nothing, what others have."""
    own = found.get((caller().name, query_id))
    if own is not None:
        return [own]
    if not may("administer", EVERYTHING):
        return []
    return [each for (_, id_), each in found.items() if id_ == query_id]


def is_ours(by: str) -> bool:
    return by == caller().name or may("administer", EVERYTHING)


def check_query_id(query_id: str) -> str:
    if not QUERY_ID.fullmatch(query_id):
        raise BadRequestFieldError(
            "X-Lakehouse-Query-Id is 1 to 64 letters, digits, dots, colons, hyphens, underscores",
            field="X-Lakehouse-Query-Id",
        )
    return query_id
