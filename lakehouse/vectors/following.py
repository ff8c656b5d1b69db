"""Collections that follow a table: what is committed there is found here, and nothing else.

A commit wakes those that follow its table. Each looks at what differs from the snapshot that it has
reached, puts and deletes items, and then moves its watermark: killed in between it does the same
again, which changes nothing. Where that snapshot is gone, or there is none yet, all rows are
compared with all items. Whatever goes wrong here, the table's commit is neither late nor lost.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Self

from lakehouse.auth import THE_PROCESS, acting
from lakehouse.catalog import Catalog, Snapshot, TableNotFoundError, TableState
from lakehouse.database import Database
from lakehouse.errors import LakehouseError
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, folded, parse_table_name, shown
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.errors import (
    CollectionBehindError,
    CollectionNotFoundError,
    CollectionReplacedError,
    InvalidQueryError,
)
from lakehouse.vectors.ledger import Kept, Ledger, Watermark
from lakehouse.vectors.models import Source, SourceInfo, SourceState
from lakehouse.vectors.sources import Reading, checked_source, mark_of
from lakehouse.vectors.taking_over import Put, take_over

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Collections that catch up at the same time; so many, and as many of those that take long."""
RETRY_S = 15.0
"""After a look that failed."""
COMMIT_WAIT_S = 10.0
"""A write waits so long for the collections of its table; then it says that they are behind."""
SEARCH_WAIT_S = 30.0
QUICK = "static"
"""The provider whose texts a write waits for; any other takes as long as it takes."""


@dataclass(frozen=True, slots=True)
class Writer:
    """How a collection is reached, by its name, and rows are put into it.

    `put` takes rows of `id`, `text` and `metadata`, and ids that go in the same version; it returns
    how many of the rows the model knows no word of: they are no items.
    """

    get: Callable[[TableName], Awaitable[Collection]]
    put: Put


class SlowError(Exception):
    """A look takes longer than a write waits: it has to leave its turn to those that do not."""


@dataclass(slots=True, eq=False)
class Follower:
    """A collection, and how far it is."""

    known: Kept
    source: Source
    mark: Watermark | None
    wanted: int = 0
    """Grows with each commit of the table."""
    done: int = 0
    """What was wanted when the last look began that came to its end."""
    is_slow: bool = False
    """Whether what it does now is more than a write waits for."""
    error: str | None = None
    skipped: int = 0
    example: str | None = None
    task: asyncio.Task[None] | None = None
    logged: str | None = None
    """The error that the log has: one line, however often it is tried."""
    retry: asyncio.TimerHandle | None = None
    told: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and made anew, whenever one of these changes."""

    def slow(self) -> None:
        """Say that what it does now is not waited for.

        Raises:
            SlowError: it has a turn of those that are: it begins again among its like.
        """
        if not self.is_slow:
            self.is_slow = True
            self.tell()
            raise SlowError

    def tell(self) -> None:
        self.told.set()
        self.told = asyncio.Event()


class Following:
    """All of it on the event loop, but for `committed`.

    Args:
        writer: what collections are opened and written by.
    """

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        database: Database,
        writer: Writer,
    ) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._database = database
        self._writer = writer
        self._followers: dict[str, Follower] = {}
        """By the id of the collection."""
        self._tables: dict[str, list[Follower]] = {}
        """By the name of the table, folded."""
        self._turns, self._slow_turns = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(AT_ONCE)
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._is_open = True

    @asynccontextmanager
    async def open(self, known: Iterable[Kept]) -> AsyncIterator[Self]:
        """Have each of the collections catch up with what was committed while nobody looked."""
        marks = await on_thread(self._ledger.watermarks)
        for each in known:
            self.add(each, marks.get(each.id))
        try:
            yield self
        finally:
            self._is_open = False
            tasks = [each.task for each in self._followers.values() if each.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def checked(self, source: Source, columns: Any) -> Source:
        """Return a source as its table has it; raises what `checked_source` does."""
        return await on_thread(partial(checked_source, self._catalog, source, columns))

    def add(self, known: Kept, mark: Watermark | None = None) -> None:
        """Let a collection follow its table, if it has one."""
        source = known.definition.source
        if source is None:
            return
        follower = Follower(known, source, mark)
        self._followers[known.id] = follower
        self._tables.setdefault(key_of(source), []).append(follower)
        self._wake(follower)

    def remove(self, known: Kept) -> None:
        """Forget a collection that was dropped."""
        follower = self._followers.pop(known.id, None)
        if follower is None:
            return
        of_table = self._tables[key_of(follower.source)]
        of_table.remove(follower)
        if not of_table:
            del self._tables[key_of(follower.source)]
        if follower.task is not None:
            follower.task.cancel()
        follower.error = "it was dropped"
        follower.tell()

    def renew(self, known: Kept) -> None:
        """Know a collection as it is by now; with another model other rows may be items."""
        follower = self._followers.get(known.id)
        if follower is not None:
            follower.known = known
            self._wake(follower)

    def committed(self, table: TableName) -> bool:
        """Whether collections follow a table that has a new state; they are woken. On any thread.

        It takes a moment and raises nothing: the commit is done.
        """
        if folded(str(table)) not in self._tables:
            return False
        try:
            self._loop.call_soon_threadsafe(self._wake_all, folded(str(table)))
        except RuntimeError:  # the loop is closed: the next start looks at every table
            return False
        return True

    async def settled(self, tables: Iterable[str]) -> bool:
        """Whether all that follow these tables have reached them, within `COMMIT_WAIT_S`.

        False at once of those that cannot be waited for.
        """
        wanted = [
            (follower, follower.wanted)
            for table in tables
            for follower in self._tables.get(folded(table), ())
        ]
        deadline = time.monotonic() + COMMIT_WAIT_S
        reached = [await self._reached(*each, deadline) for each in wanted]
        return all(reached)

    async def settle(self, known: Kept) -> bool:
        """Whether one collection has reached its table, as `settled`; not one that was dropped."""
        follower = self._followers.get(known.id)
        if follower is None:
            return False
        return await self._reached(follower, follower.wanted, time.monotonic() + COMMIT_WAIT_S)

    def of_table(self, table: TableName) -> list[Kept]:
        """Return the collections that follow a table."""
        return [each.known for each in self._tables.get(folded(str(table)), ())]

    async def caught_up(self, known: Kept) -> None:
        """Wait until a collection has reached its table, whatever its model.

        Raises:
            CollectionBehindError: it has not within `SEARCH_WAIT_S`.
            CollectionNotFoundError: it was dropped.
        """
        follower = self._followers.get(known.id)
        if follower is None:
            raise CollectionNotFoundError(shown(known.name), [])
        await self._until(follower, follower.wanted, None)

    async def wait_for(self, known: Kept, snapshot_id: int) -> None:
        """Wait until a collection has reached a snapshot of its table, or a later one.

        Raises:
            InvalidQueryError: it follows no table.
            SnapshotNotFoundError, TableNotFoundError: there is no such snapshot.
            CollectionBehindError: it has not reached it within `SEARCH_WAIT_S`.
            CollectionNotFoundError: it was dropped meanwhile.
        """
        follower = self._followers.get(known.id)
        if follower is None:
            raise InvalidQueryError("`wait_for` is for collections that are derived from a table")
        wanted = follower.wanted  # whoever knows the snapshot knows it from after its commit
        table = parse_table_name(follower.source.table)
        with acting(THE_PROCESS):  # who may read the collection may know how far it is
            await on_thread(partial(self._catalog.snapshot_id, table, snapshot_id))
        await self._until(follower, wanted, snapshot_id)

    async def info(self, known: Kept) -> SourceInfo | None:
        """Return how far a collection is; None of one that follows no table."""
        follower = self._followers.get(known.id)
        if follower is None:
            return None
        source, mark = follower.source, follower.mark
        with acting(THE_PROCESS):
            now, snapshots = await on_thread(partial(self._table, source))
        error = follower.error if now is not None else f"no table is named {source.table!r}"
        is_current = now is not None and mark == mark_of(now, follower.known.definition)
        state: SourceState = "current" if is_current else "failed" if error else "pending"
        behind_s = 0.0
        if now is not None and not is_current:
            since = unreached_since(snapshots, mark) or now.updated_at
            behind_s = max(0.0, time.time() - since.timestamp())
        return SourceInfo(
            table=source.table,
            id=source.id,
            text=source.text,
            metadata=source.metadata,
            state=state,
            snapshot_id=mark.snapshot_id if mark is not None else None,
            table_snapshot_id=now.snapshot_id if now is not None else None,
            lag_s=round(behind_s, 3),
            skipped=follower.skipped,
            detail=error if state == "failed" else follower.example,
        )

    def _table(self, source: Source) -> tuple[TableState | None, Sequence[Snapshot]]:
        """Return a table as it is now, and its snapshots; None without. Blocks."""
        name = parse_table_name(source.table)
        try:
            return self._catalog.get(name), self._catalog.snapshots(name)
        except TableNotFoundError:
            return None, ()

    def warnings(self) -> list[str]:
        """Return which collections do not follow, and why, in a sentence each."""
        return [
            f"the collection {each.known.name} does not follow the table {each.source.table}:"
            f" {each.error}"
            for each in self._followers.values()
            if each.error is not None
        ]

    async def _until(self, follower: Follower, wanted: int, snapshot_id: int | None) -> None:
        try:
            async with asyncio.timeout(SEARCH_WAIT_S):
                while follower.done < wanted:
                    if follower.known.id not in self._followers:
                        raise CollectionNotFoundError(shown(follower.known.name), [])
                    await follower.told.wait()
        except TimeoutError:
            name, source = shown(follower.known.name), follower.source.table
            raise CollectionBehindError(name, source, snapshot_id, follower.error) from None

    async def _reached(self, follower: Follower, wanted: int, deadline: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                while follower.done < wanted:
                    if follower.is_slow or follower.error is not None:
                        return False
                    await follower.told.wait()
        except TimeoutError:
            return False
        return follower.error is None

    def _wake_all(self, table: str) -> None:
        for follower in self._tables.get(table, ()):
            self._wake(follower)

    def _wake(self, follower: Follower) -> None:
        follower.wanted += 1
        self._begin(follower)

    def _begin(self, follower: Follower) -> None:
        if follower.retry is not None:
            follower.retry.cancel()
            follower.retry = None
        if follower.task is None and self._is_open and follower.known.id in self._followers:
            follower.error = None
            # Not in the context of the write that woke it: it is nobody's texts, nobody's work.
            context = self._context.copy()
            follower.task = asyncio.create_task(self._follow(follower), context=context)

    async def _follow(self, follower: Follower) -> None:
        """Look again and again, until nothing new was committed meanwhile."""
        try:
            with acting(THE_PROCESS):
                while follower.done < follower.wanted:
                    wanted = follower.wanted
                    try:
                        async with self._slow_turns if follower.is_slow else self._turns:
                            await self._look(follower)
                    # The last: its texts were embedded anew meanwhile.
                    except (SlowError, CollectionReplacedError):
                        continue
                    follower.done, follower.error, follower.logged = wanted, None, None
                    follower.tell()
        except Exception as error:
            self._failed(follower, error)
            follower.retry = self._loop.call_later(RETRY_S, self._begin, follower)
        finally:
            follower.task, follower.is_slow = None, False
            follower.tell()

    def _failed(self, follower: Follower, error: Exception) -> None:
        is_known = isinstance(error, LakehouseError)
        follower.error = str(error) if is_known else "the table could not be read"
        if follower.error != follower.logged:
            follower.logged, name = follower.error, follower.known.name
            told = "the collection %s does not follow its table: %s"
            log.warning(told, name, error, exc_info=not is_known)

    async def _look(self, follower: Follower) -> None:
        """Bring a collection to the state that its table has now."""
        now = await on_thread(partial(self._catalog.get, parse_table_name(follower.source.table)))
        mark, definition = follower.mark, follower.known.definition
        if mark == mark_of(now, definition):
            return
        collection = await self._writer.get(follower.known.name)
        if definition.model is None or definition.model.provider != QUICK:
            follower.slow()
        with Reading.open(self._database, self._catalog, definition, mark) as reading:
            reached = await reading.begin()
            await take_over(collection, reading, self._writer.put, follower.slow)
            follower.skipped, follower.example = reading.skipped, reading.example
        await on_thread(partial(self._ledger.reach, follower.known, reached))
        follower.mark = reached
        follower.tell()


def unreached_since(snapshots: Sequence[Snapshot], mark: Watermark | None) -> datetime | None:
    """Return when a table went on from what was reached, as far as its snapshots tell."""
    times = {each.snapshot_id: each.committed_at for each in snapshots}
    reached = None if mark is None else times.get(mark.snapshot_id or 0)
    return min((at for at in times.values() if reached is None or at > reached), default=None)


def key_of(source: Source) -> str:
    return folded(str(parse_table_name(source.table)))
