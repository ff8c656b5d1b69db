"""Which collections there are, which are open, and their files: made, described, removed."""

import asyncio
import difflib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec

from lakehouse.auth import check_may, may, table_resource
from lakehouse.errors import LakehouseError
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, folded, shown
from lakehouse.vectors.about import about_of, is_same
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.errors import CollectionNotFoundError, DerivedCollectionError
from lakehouse.vectors.lance import Items, Lance
from lakehouse.vectors.ledger import Definition, Kept, Ledger
from lakehouse.vectors.resident import Residents
from lakehouse.vectors.schema import schema_of
from lakehouse.vectors.upkeep import Upkeep

log = logging.getLogger(__name__)

T = TypeVar("T")

OPEN_MAX = 1_000
"""Collections whose tables are open; for another one, that of the longest ago is closed."""
NEAR_MAX, COMPARED_MAX = 3, 1_000
"""Names that are told as like one that is not there, and that are compared: 10,000 take 0.2 s."""


class Shelf:
    """Its methods are of the event loop, and leave it free."""

    def __init__(
        self, ledger: Ledger, lance: Lance, residents: Residents, exact_max: int, upkeep: Upkeep
    ) -> None:
        self.ledger = ledger
        self.lance = lance
        self.known: dict[str, Kept] = {}
        """By name, folded: nobody else writes the catalog while we hold its lease."""
        self.opened: OrderedDict[str, Collection] = OrderedDict()
        """By id, the one that was used last at the end."""
        self.defining = asyncio.Lock()
        self._residents = residents
        self._exact_max = exact_max
        self._upkeep = upkeep
        self._opening = asyncio.Lock()
        self._used: WeakValueDictionary[str, Collection] = WeakValueDictionary()
        """By id, all that somebody has still, closed or not: of a collection there is one."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._purging: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[list[Kept]]:
        """Know which collections there are; the files of dropped ones go in the background."""
        found = await on_thread(self.ledger.all)
        self.known = {folded(str(each.name)): each for each in found}
        leftovers = await on_thread(self.ledger.dropped)
        self.purge_later(*leftovers)
        try:
            yield found
        finally:
            for each in self._purging:
                each.cancel()
            await asyncio.gather(*self._purging, *self._tasks, return_exceptions=True)

    async def whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what work gives that goes on to its end when the caller leaves."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def names(self) -> list[TableName]:
        """Return the collections that the caller may read, by name."""
        known = list(self.known.values())  # at once: statements ask from their threads
        return sorted(each.name for each in known if may_read(each.name))

    async def get(self, name: TableName) -> Collection:
        """Return a collection that the caller may read, open.

        Raises:
            CollectionNotFoundError: there is none, for this caller.
            CollectionDamagedError: its files cannot be read.
        """
        known = self.readable(name)
        found = self.opened.get(known.id)
        if found is None:
            async with self._opening:
                found = self.opened.get(known.id) or await self._opened(known)
        if not await self.lance.is_current(found.items):
            async with found.writing:  # a write by the old ones is seen by the new
                if not await self.lance.is_current(found.items):
                    found.items = await self.lance.open(known.folder, str(known.name))
        self.opened.move_to_end(known.id)
        return found

    async def writable(self, name: TableName) -> Collection:
        """As `get`, of one that the caller may write; `ForbiddenError` when it may only read."""
        check_may_write(self.readable(name))
        return await self.get(name)

    async def changeable(self, name: TableName) -> Collection:
        """As `writable`, of one whose items are not the rows of a table.

        Raises:
            DerivedCollectionError: they are.
        """
        collection = await self.writable(name)
        source = collection.known.definition.source
        if source is not None:
            raise DerivedCollectionError(shown(collection.known.name), source.table)
        return collection

    def readable(self, name: TableName) -> Kept:
        """Return a collection that the caller may read; `CollectionNotFoundError` without."""
        known = self.known.get(folded(str(name)))
        if known is None or not may_read(known.name):
            raise CollectionNotFoundError(shown(name), self._near(name))
        return known

    async def _opened(self, known: Kept) -> Collection:
        made = self._used.get(known.id)
        if made is None or made.is_gone:
            made = self.collection(known, await self.lance.open(known.folder, str(known.name)))
        self.opened[known.id] = made
        for each in list(self.opened.values()):
            if len(self.opened) <= OPEN_MAX:
                break
            if each is not made and each.is_idle:
                del self.opened[each.known.id]
        await self.tell(made)
        self._upkeep.wake(made)
        return made

    async def tell(self, collection: Collection) -> None:
        """Have the files of a collection say what it is, unless they do; it is served even so."""
        try:
            if not is_same(await collection.items.about(), collection.known):
                await collection.items.tell(about_of(collection.known))
        except LakehouseError as error:
            log.warning("the files of %s do not say what it is: %s", collection.known.name, error)

    def collection(self, known: Kept, items: Items) -> Collection:
        upkeep = self._upkeep
        made = Collection(
            known, items, self._residents, self._exact_max, upkeep.wake, upkeep.warm_later
        )
        self._used[known.id] = made
        return made

    def put_in_place(self, collection: Collection) -> None:
        """Have a collection that was made aside be the one of its id, which it has got."""
        self._used[collection.known.id] = self.opened[collection.known.id] = collection

    def in_use(self, known: Kept) -> Collection | None:
        """Return a collection that is open, or that somebody has who opened it."""
        return self.opened.get(known.id) or self._used.get(known.id)

    def purge_later(self, *dropped: tuple[str, str], after_s: float = 0.0) -> None:
        async def work() -> None:
            await asyncio.sleep(after_s)
            await self.purge(*dropped)

        task = asyncio.create_task(work())
        self._purging.add(task)
        task.add_done_callback(self._purging.discard)

    async def purge(self, *dropped: tuple[str, str]) -> None:
        """Remove the files of dropped collections; those that stay are tried at the next start.

        Args:
            dropped: the id and the folder of each.
        """
        for collection_id, folder in dropped:
            try:
                await self.lance.drop(folder)
            except Exception as error:
                log.warning("files of a dropped collection stay for now: %s", error)
            else:
                await on_thread(partial(self.ledger.forget, collection_id))

    async def aside(self, known: Kept, definition: Definition) -> Collection:
        """Make the files of a collection that no name leads to."""
        made = await on_thread(partial(self.ledger.reserve, known.name, definition))
        items = await self.lance.create(made.folder, str(known.name), schema_of(definition))
        return self.collection(made, items)

    async def define(self, collection: Collection, **changes: Any) -> None:
        """Change what is known of a collection, unless it was dropped meanwhile."""
        async with self.defining:
            if collection.is_gone:
                return
            definition = msgspec.structs.replace(collection.known.definition, **changes)
            known = await on_thread(partial(self.ledger.define, collection.known, definition))
            collection.known = known
            if not collection.is_gone:
                self.known[folded(str(known.name))] = known
                await self.tell(collection)

    def _near(self, name: TableName) -> list[str]:
        known = [shown(each) for each in self.names()[:COMPARED_MAX]]
        return difflib.get_close_matches(shown(name)[:80], known, n=NEAR_MAX)


def check_may_write(known: Kept) -> None:
    check_may("write", table_resource(*known.name), f"the collection {shown(known.name)}")


def may_read(name: TableName) -> bool:
    return may("read", table_resource(*name))
