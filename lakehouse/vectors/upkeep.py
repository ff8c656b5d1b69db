"""What collections need in the background: indexes built and kept fresh, small files merged.

One collection at a time, and no write waits for it. A write wakes it, and so does the first use
after a start.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Self

from lakehouse.config import VectorsConfig
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.errors import CollectionBusyError, ReembeddingError
from lakehouse.vectors.lance import ID_INDEX, VECTOR_INDEX, Indexed, Tidied
from lakehouse.vectors.models import IndexState, Optimized
from lakehouse.vectors.warming import warm

log = logging.getLogger(__name__)

PAUSE_S = 1.0
"""Between two looks: writes that follow each other are looked at together."""
RETRY_S = 30.0
"""After work that failed."""
FRAGMENTS_MAX = 100
"""Pieces of a collection that are worth to be written together."""
WAITING_MIN, WAITING_SHARE = 10_000, 0.05
"""Rows that the index may not know yet: as many, or this share of all."""
FEW_VALUES = frozenset(["boolean"])


@dataclass(frozen=True, slots=True)
class State:
    name: IndexState
    indexed: int = 0
    waiting: int = 0


class Rounds:
    """Work on collections that were woken, one after the other; what failed is tried again.

    Args:
        work: what is done with each.
        done: the word for it, of a collection for which it failed.
    """

    def __init__(self, work: Callable[[Collection], Awaitable[None]], done: str) -> None:
        self._work = work
        self._done = done
        self._woken: dict[str, Collection] = {}
        self._event = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._go())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def wake(self, collection: Collection) -> None:
        self._woken[collection.known.id] = collection
        self._event.set()

    async def _go(self) -> None:
        while True:
            await self._event.wait()
            self._event.clear()
            woken, self._woken = self._woken, {}
            for collection in woken.values():
                try:
                    await self._work(collection)
                except Exception as error:  # whatever it was, the others are looked after
                    name = collection.known.name
                    log.warning("the collection %s is not %s: %s", name, self._done, error)
                    asyncio.get_running_loop().call_later(RETRY_S, self.wake, collection)
            await asyncio.sleep(PAUSE_S)


class Upkeep:
    def __init__(self, config: VectorsConfig) -> None:
        self._exact_max = config.exact_max_rows
        self._memory_index = config.memory_index
        self._looks = Rounds(self.look, "kept")
        self._warms = Rounds(warm, "read into memory")
        self._building: set[str] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        async with self._looks.open(), self._warms.open():
            yield self

    def wake(self, collection: Collection) -> None:
        """Have a collection looked after soon."""
        self._looks.wake(collection)

    def warm_later(self, collection: Collection) -> None:
        """Have a large collection read into memory, or what is there renewed, if it may be."""
        if self._memory_index:
            self._warms.wake(collection)

    async def state(self, collection: Collection) -> State:
        """Return how the index of a collection is."""
        length = await collection.length()
        if not collection.may_use_index:
            return State("damaged", 0, length)
        index = await measured(collection)
        if index is not None:
            name: IndexState = "building" if collection.known.id in self._building else "ready"
            return State(name, index.indexed, index.waiting)
        if collection.known.id in self._building:
            return State("building", 0, length)
        return State("none")

    async def look(self, collection: Collection) -> None:
        """Do what a collection needs now.

        Raises:
            LakehouseError: it could not be done; it stays as it was.
        """
        if collection.touched is not None:  # old versions stay while somebody reads all of one
            return
        async with collection.tending:
            if collection.is_gone:
                return
            await self._built(collection)
            if await self._needs_optimizing(collection):
                await self._tidied(collection)
                await measured(collection)

    async def optimize(self, collection: Collection) -> Optimized:
        """Do it all now, worth it or not; reads and writes go on, and it goes on to its end.

        Raises:
            CollectionNotFoundError: it was dropped while this waited.
            ReembeddingError: its texts are being embedded again.
            LakehouseError: it could not be done; the collection stays as it was.
        """

        async def work() -> Optimized:
            if collection.touched is not None:
                raise ReembeddingError(str(collection.known.name))
            async with collection.tending:
                collection.check_there()
                built = await self._built(collection)
                done = await self._tidied(collection)
                index = await measured(collection)
            return Optimized(
                built=built,
                merged=done.merged,
                fragments=collection.unmerged or 0,
                versions_removed=done.versions_removed,
                bytes_removed=done.bytes_removed,
                indexed=index.indexed if index else 0,
                waiting=index.waiting if index else 0,
            )

        return await collection.shielded(work)

    async def _built(self, collection: Collection) -> list[str]:
        """Build the indexes that a large collection lacks; return the columns that got one."""
        items, definition = collection.items, collection.known.definition
        built: list[str] = []
        if await collection.length() <= self._exact_max:
            return built
        names = await items.index_names()
        if VECTOR_INDEX not in names or not collection.may_use_index:
            with self._marked(collection):
                await items.build_vector_index(definition.distance, definition.dimension)
            collection.may_use_index = True
            built.append("vector")
        if ID_INDEX not in names:
            await items.build_column_index("id")
            built.append("id")
        for column, kind in definition.columns.items():
            if f"{column}_idx" not in names:
                await items.build_column_index(column, few_values=kind in FEW_VALUES)
                built.append(column)
        return built

    async def _tidied(self, collection: Collection) -> Tidied:
        """Write small files together beside whoever writes, or alone when they are faster."""
        with self._marked(collection):
            try:
                done = await collection.items.optimize()
            except CollectionBusyError:
                done = await collection.alone(collection.items.optimize)
        collection.unmerged = await collection.items.fragments()
        return done

    async def _needs_optimizing(self, collection: Collection) -> bool:
        if collection.unmerged is None:
            collection.unmerged = await collection.items.fragments()
        index = await measured(collection)
        if collection.unmerged >= FRAGMENTS_MAX:
            return True
        if index is None:
            return False
        return index.waiting > max(WAITING_MIN, WAITING_SHARE * await collection.length()) / 2

    @contextmanager
    def _marked(self, collection: Collection) -> Iterator[None]:
        self._building.add(collection.known.id)
        try:
            yield
        finally:
            self._building.discard(collection.known.id)


async def measured(collection: Collection) -> Indexed | None:
    """Return how much the index knows, and remember it for the metrics."""
    index = await collection.items.index()
    collection.waiting = index.waiting if index else None
    return index
