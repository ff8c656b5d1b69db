"""What a token may ask for in a minute, at once and in a day; whoever asks for more is told when.

A day is one of UTC. Its counts are kept in `catalog.db` every few seconds: a process that is killed
forgets the last of them. All but `_save` and `_read` runs on the event loop.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Self

import anyio

from lakehouse.auth.callers import Caller
from lakehouse.auth.models import NO_LIMITS, Limits
from lakehouse.errors import BusyError
from lakehouse.lanes import on_thread
from lakehouse.state import State, Transaction

log = logging.getLogger(__name__)

MINUTE_S = 60
DAY_S = 86_400
SAVE_EVERY_S = 5.0
CONCURRENCY_RETRY_S = 1
REQUESTS_LEFT, ROWS_LEFT = b"x-lakehouse-requests-left-today", b"x-lakehouse-rows-left-today"
TEXTS_LEFT = b"x-lakehouse-texts-left-today"

Pairs = Sequence[tuple[bytes, bytes]]


class Used(NamedTuple):
    """What a request took, known once it was answered."""

    rows: int = 0
    """Answered or changed."""
    texts: int = 0
    """Embedded, those that were known from before too: a count must not tell which were."""


class RateLimitedError(BusyError):
    """A limit of this token is used up for now."""

    def __init__(self, what: str, limit: int, retry_after_s: int) -> None:
        super().__init__(
            f"this token may have {limit:,} {what}; ask again in {retry_after_s} s", limit=limit
        )
        self.retry_after_s = retry_after_s  # type: ignore[misc] # of this one


@dataclass(slots=True)
class Usage:
    """What one token has used."""

    tokens: float = 0.0
    """Requests it may make right now: as many as its limit a minute, refilled as time goes by."""
    refilled_at: float = field(default_factory=time.monotonic)
    is_new: bool = True
    inside: int = 0
    day: int = 0
    requests: int = 0
    rows: int = 0
    texts: int = 0
    is_saved: bool = True

    def turn(self, today: int) -> None:
        """Begin to count anew on another day."""
        if self.day != today:
            self.day, self.requests, self.rows, self.texts = today, 0, 0, 0


class Limiter:
    """The limits of all tokens, and what is left of them."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._usages: dict[str, Usage] = {}
        """By name: a rotation begins no other day, and two secrets of one name share it."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Know what was used today before, and keep what is used while this is open."""
        await on_thread(self._read)
        keeping = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            keeping.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([keeping])
                await on_thread(self._save)

    @contextmanager
    def enter(self, caller: Caller) -> Iterator[Usage | None]:
        """Count a request of the caller in; None when it has no limits.

        Raises:
            RateLimitedError: one of them is used up; nothing was counted.
        """
        limits = caller.limits
        if caller.token_id is None or limits == NO_LIMITS:
            yield None
            return
        usage = self._usages.setdefault(caller.name, Usage())
        self._take(usage, limits)
        usage.inside += 1
        try:
            yield usage
        finally:
            usage.inside -= 1

    def count(self, usage: Usage, used: Used) -> None:
        """Count what a request has answered or changed, once it is known."""
        usage.turn(today())
        usage.rows += used.rows
        usage.texts += used.texts
        usage.is_saved = False

    def count_later(self, caller: Caller, used: Used) -> None:
        """Count what a job took whose request was counted before."""
        if any(used) and (usage := self._usages.get(caller.name)) is not None:
            self.count(usage, used)

    def headers(self, caller: Caller) -> Pairs:
        """Return what is left of the limit that ends first, and of the day, to go by.

        Source: draft-ietf-httpapi-ratelimit-headers-07
        """
        usage = self._usages.get(caller.name)
        left = min(self._left(caller.limits, usage), default=None) if usage else None
        if usage is None or left is None:
            return ()
        remaining, limit, reset_s = left
        told = {
            b"ratelimit-limit": limit,
            b"ratelimit-remaining": max(remaining, 0),
            b"ratelimit-reset": reset_s,
        }
        if (most := caller.limits.requests_per_day) is not None:
            told[REQUESTS_LEFT] = max(most - usage.requests, 0)
        if (most := caller.limits.rows_per_day) is not None:
            told[ROWS_LEFT] = max(most - usage.rows, 0)
        if (most := caller.limits.texts_per_day) is not None:
            told[TEXTS_LEFT] = max(most - usage.texts, 0)
        return [(name, str(value).encode()) for name, value in told.items()]

    def _take(self, usage: Usage, limits: Limits) -> None:
        usage.turn(today())
        until_tomorrow = DAY_S - int(time.time()) % DAY_S
        if limits.concurrency is not None and usage.inside >= limits.concurrency:
            raise RateLimitedError("requests at once", limits.concurrency, CONCURRENCY_RETRY_S)
        if limits.requests_per_day is not None and usage.requests >= limits.requests_per_day:
            raise RateLimitedError("requests a day", limits.requests_per_day, until_tomorrow)
        if limits.rows_per_day is not None and usage.rows >= limits.rows_per_day:
            raise RateLimitedError("rows a day", limits.rows_per_day, until_tomorrow)
        if limits.texts_per_day is not None and usage.texts >= limits.texts_per_day:
            raise RateLimitedError("texts embedded a day", limits.texts_per_day, until_tomorrow)
        if (rate := limits.requests_per_minute) is not None:
            refill(usage, rate)
            if usage.tokens < 1:
                wait_s = int((1 - usage.tokens) * MINUTE_S / rate) + 1
                raise RateLimitedError("requests a minute", rate, wait_s)
            usage.tokens -= 1
        usage.requests += 1
        usage.is_saved = False

    def _left(self, limits: Limits, usage: Usage) -> Iterator[tuple[int, int, int]]:
        """Yield what remains, the limit, and the seconds until it is whole again."""
        until_tomorrow = DAY_S - int(time.time()) % DAY_S
        if (rate := limits.requests_per_minute) is not None:
            yield int(usage.tokens), rate, int((rate - usage.tokens) * MINUTE_S / rate)
        if (most := limits.requests_per_day) is not None:
            yield most - usage.requests, most, until_tomorrow
        if (most := limits.rows_per_day) is not None:
            yield most - usage.rows, most, until_tomorrow
        if (most := limits.texts_per_day) is not None:
            yield most - usage.texts, most, until_tomorrow

    async def _keep(self) -> None:
        while True:
            await anyio.sleep(SAVE_EVERY_S)
            try:
                await on_thread(self._save)
            except Exception:
                log.exception("what tokens have used could not be stored")

    def _read(self) -> None:
        sql = "SELECT name, day, requests, rows, texts FROM token_usage WHERE day = ?"
        rows = self._state.read(lambda tx: tx.execute(sql, (today(),)).fetchall())
        for name, day, requests, count, texts in rows:
            self._usages[name] = Usage(day=day, requests=requests, rows=count, texts=texts)

    def _save(self) -> None:
        changed = [(key, each) for key, each in list(self._usages.items()) if not each.is_saved]
        if not changed:
            return
        rows = [(key, each.day, each.requests, each.rows, each.texts) for key, each in changed]
        for _, each in changed:
            each.is_saved = True
        self._state.write(partial(store, rows), notable=False)


def store(rows: Sequence[tuple[str, int, int, int, int]], tx: Transaction) -> None:
    tx.execute("DELETE FROM token_usage WHERE day < ?", (today(),))
    tx.executemany(
        "INSERT INTO token_usage (name, day, requests, rows, texts) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (name) DO UPDATE SET"
        " day = excluded.day, requests = excluded.requests, rows = excluded.rows,"
        " texts = excluded.texts",
        rows,
    )


def refill(usage: Usage, rate: int) -> None:
    """Give back what time has brought, up to a minute's worth."""
    now = time.monotonic()
    brought = rate if usage.is_new else (now - usage.refilled_at) * rate / MINUTE_S
    usage.tokens, usage.refilled_at = min(float(rate), usage.tokens + brought), now
    usage.is_new = False


def today() -> int:
    """Return the day, counted from 1970."""
    return int(time.time()) // DAY_S
