"""One collection that is open: its writes one after the other, its searches beside them.

Writes that arrive together become one version of the Lance table: while one group is written,
whoever comes waits, and all who wait form the next. Each is answered when its own is durable, and
from then on every search sees it: rows in memory change in the same moment.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from lakehouse.errors import LakehouseError
from lakehouse.lanes import on_thread
from lakehouse.vectors.errors import CollectionBusyError, CollectionNotFoundError
from lakehouse.vectors.lance import TEXT_INDEX, Items, among
from lakehouse.vectors.ledger import Kept
from lakehouse.vectors.nearest import Nearest, Question, found_in
from lakehouse.vectors.resident import (
    ID_BYTES,
    Change,
    Changes,
    Names,
    Resident,
    Residents,
    View,
    rows_at,
)
from lakehouse.vectors.schema import Batch, together, values

log = logging.getLogger(__name__)

T = TypeVar("T")

GROUP_MAX = 20_000
"""Items of one version that a group may have; one request may have fewer in any case."""
WAITING_MAX = 100_000
"""Items that wait for one collection; more are refused until some are written."""
LOOKED_UP = 1_000
"""Ids that one predicate asks for."""
NAMED_MIN = 100
"""Items of a write from which on it is worth to have all ids in memory."""
REST_S, REST_MAX_S = 60.0, 3600.0
"""Before its rows are read into memory again; each time that they could not be, twice as long."""


@dataclass(slots=True, eq=False)
class Put:
    batch: Batch
    done: "asyncio.Future[int]" = field(repr=False)


@dataclass(slots=True, eq=False)
class Asked:
    view: View
    question: Question
    found: "asyncio.Future[Nearest]" = field(repr=False)


class Collection:
    """All of it on the event loop, but for what numpy and Lance do on threads of theirs."""

    def __init__(
        self,
        known: Kept,
        items: Items,
        residents: Residents,
        exact_max: int,
        tend: Callable[["Collection"], None],
        warm: Callable[["Collection"], None],
    ) -> None:
        self.known = known
        self.items = items
        self.writing = asyncio.Lock()
        """Held by who changes it, and by who must see it unchanged for a while."""
        self.tending = asyncio.Lock()
        """Held by who builds its indexes or writes its files together."""
        self.unmerged: int | None = None
        """Pieces that its rows lie in, about. None: not known yet."""
        self.may_use_index = True
        """False while its index is damaged: searches look at every vector then."""
        self.waiting: int | None = None
        """Rows that its index does not know, at the last look; None without an index."""
        self.touched: set[str] | None = None
        """While its texts are embedded again: the ids of what is written meanwhile."""
        self.row_bytes = 0
        """What a row takes in memory, as they were measured last."""
        self._folder = known.folder
        self._residents = residents
        self._exact_max = exact_max
        self._gone: LakehouseError | None = None
        self._tend = tend
        self._warm = warm
        self._rest_s = REST_S
        self._rests_until = 0.0
        self._has_words = False
        self._length: int | None = None
        self._waiting: list[Put] = []
        self._leader: asyncio.Task[None] | None = None
        self._asked: list[Asked] = []
        self._answering: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def length(self) -> int:
        """Return how many items there are."""
        if self._length is None:
            self._length = await self.items.count()
        return self._length

    async def put(self, batch: Batch) -> int:
        """Add items or put them in the place of those with their ids; return how many they were.

        Raises:
            CollectionBusyError: too many wait already.
        """
        if sum(len(each.batch) for each in self._waiting) + len(batch) > WAITING_MAX:
            raise CollectionBusyError(str(self.known.name))
        member = Put(batch, asyncio.get_running_loop().create_future())
        self._waiting.append(member)
        if self._leader is None:
            self._leader = asyncio.create_task(self._lead())
        return await asyncio.shield(member.done)

    async def alone(self, work: Callable[[], Awaitable[T]]) -> T:
        """Return what a change gives that nobody else's comes between.

        It goes on to its end when the caller leaves: half of it would be neither old nor new.
        """

        async def run() -> T:
            async with self.writing:
                self.check_there()
                return await work()

        return await self.shielded(run)

    def check_there(self) -> None:
        """Raise unless it is what its name means still.

        Raises:
            CollectionNotFoundError: it was dropped while somebody waited.
            CollectionReplacedError: its texts were embedded again meanwhile.
        """
        if self._gone is not None:
            raise self._gone

    @property
    def is_gone(self) -> bool:
        return self._gone is not None

    async def shielded(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what work gives that goes on to its end when the caller leaves."""
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def delete(self, ids: Sequence[str]) -> int:
        """Delete items by their ids, by who holds `writing`; return how many there were."""
        ids, deleted = list(dict.fromkeys(ids)), 0
        self._touch(ids)
        for start in range(0, len(ids), LOOKED_UP):
            part = ids[start : start + LOOKED_UP]
            deleted += await self._change(self.items.delete(among(part)))
            self._apply(partial(removed, part), len(part))
        if self._length is not None:
            self._length -= deleted
        return deleted

    async def index_texts(self) -> None:
        """Have an index of the words; built when it is asked for first. Later texts are found too.

        They are, as Lance looks through what its index does not know yet.
        """
        if self._has_words:
            return

        async def build() -> None:
            if TEXT_INDEX not in await self.items.index_names():
                await self.items.build_text_index()
            self._has_words = True

        await self.alone(build)

    async def resident(self) -> Resident | None:
        """Return its rows in memory; None when they are too many.

        By who holds `writing`.
        """
        known = self._residents.get(self._folder)
        if known is not None:
            return known
        length = await self.length()
        if self._is_too_large(length):
            return None
        found = Resident(self.known.definition, length)
        async with self.all_rows() as batches:
            async for batch in batches:
                await on_thread(partial(found.put, pa.Table.from_batches([batch])))
                if not self._residents.fits(found.size_bytes):
                    self.row_bytes = found.size_bytes // length + 1
                    return None
        self.row_bytes = found.size_bytes // max(length, 1)
        self._residents.keep(self._folder, found)
        return found

    def _is_too_large(self, length: int) -> bool:
        row_bytes = max(self.row_bytes, self.known.definition.dimension * 4)
        return length > self._exact_max or not self._residents.fits(length * row_bytes)

    async def view(self) -> View | None:
        """Return the rows as they are now; None when they are too many to be in memory."""
        known = self._residents.get(self._folder)
        if known is None and self._length is not None and self._is_too_large(self._length):
            return None  # without waiting for who writes
        if known is None:
            async with self.writing:
                known = await self.resident()
        return None if known is None else known.view()

    async def nearest(self, view: View, question: Question) -> Nearest:
        """Return the nearest rows of a view; who asks meanwhile is answered by one product."""
        asked = Asked(view, question, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer())
        return await asked.found

    async def _answer(self) -> None:
        try:
            while self._asked:
                group, self._asked = self._asked, []
                for view in dict.fromkeys(each.view for each in group):
                    of_view = [e for e in group if e.view is view and not e.found.done()]
                    await self._answer_of(view, of_view)
        finally:
            self._answering = None

    async def _answer_of(self, view: View, group: Sequence[Asked]) -> None:
        if not group:
            return
        distance = self.known.definition.distance
        questions = [each.question for each in group]
        work = partial(found_in, view, questions, distance)
        try:
            answers = await on_thread(work)
        except Exception as error:
            for each in group:
                if not each.found.done():
                    each.found.set_exception(error)
            return
        for each, answer in zip(group, answers, strict=True):
            if not each.found.done():
                each.found.set_result(answer)

    @property
    def _columns(self) -> list[str]:
        return ["id", "vector", "text", "metadata", "document", *self.known.definition.columns]

    async def _lead(self) -> None:
        """Write group after group until nobody waits."""
        try:
            while self._waiting:
                async with self.writing:
                    await self._write_group(self._next_group())
        finally:
            self._leader = None

    def _next_group(self) -> list[Put]:
        size = count = 0
        while count < len(self._waiting) and (not count or size < GROUP_MAX):
            size += len(self._waiting[count].batch)
            count += 1
        group = self._waiting[:count]
        del self._waiting[:count]
        return group

    async def _write_group(self, group: Sequence[Put]) -> None:
        try:
            self.check_there()
            await self.write([each.batch for each in group])
        except Exception as error:
            for each in group:
                each.done.set_exception(error)
        except BaseException:  # the server ends: whoever waits still hears of it
            for each in group:
                each.done.cancel()
            raise
        else:
            for each in group:
                each.done.set_result(len(set(each.batch.ids)))

    async def write(self, batches: Sequence[Batch], instead_of: str | None = None) -> int:
        """Write batches as one version, by who holds `writing`; return how many ids are new.

        Args:
            instead_of: a predicate; other items that it keeps go with the same version.
        """
        resident = await self.resident()
        batch = await on_thread(partial(together, batches))
        self._touch(batch.ids)
        there = await self._there(batch, resident)
        rows = await on_thread(partial(batch.table, self.known.definition))
        if instead_of is not None:
            gone = await self._others(instead_of, set(batch.ids))
            self._touch(gone)
            await self._change(self.items.upsert(rows, instead_of))
        else:
            gone = []
            await self._change(self.items.upsert(rows) if there else self.items.add(rows))
        new = len(batch) - len(there)
        if self._length is not None:  # else what is counted later has the new ones already
            self._length += new - len(gone)
        self._apply(partial(removed, gone), len(gone))
        self._apply(partial(put, rows), len(batch))
        return new

    def _touch(self, ids: Sequence[str]) -> None:
        """Remember what is about to be written, for who embeds the texts again."""
        if self.touched is None:
            return
        if len(self.touched) + len(ids) > WAITING_MAX:
            raise CollectionBusyError(str(self.known.name))
        self.touched.update(ids)

    async def _others(self, where: str, ids: set[str]) -> list[str]:
        """Return which ids a predicate keeps besides these."""
        rows = await self.items.read(["id"], where)
        return [each for each in values(rows, "id") if each not in ids]

    async def _there(self, batch: Batch, resident: Resident | None) -> set[str]:
        """Return which ids are there; those that keep their metadata get it."""
        if resident is not None:
            rows = resident.rows_of(batch.ids)
            keeping = [n for n, row in enumerate(rows) if row is not None and batch.keeps[n]]
            if keeping:
                places = [row for n in keeping if (row := rows[n]) is not None]
                taken = rows_at(resident.view().table.select(["metadata"]), places)
                for number, text in zip(keeping, values(taken, "metadata"), strict=True):
                    batch.metadata[number] = text
            return {name for name, row in zip(batch.ids, rows, strict=True) if row is not None}
        ids: Sequence[str] = batch.ids
        names = await self._names(len(batch))
        if names is not None:
            ids = names.among(ids)
            kept = {each for each, keeps in zip(batch.ids, batch.keeps, strict=True) if keeps}
            if kept.isdisjoint(ids):
                return set(ids)
        there: dict[str, str | None] = {}
        for start in range(0, len(ids), LOOKED_UP):
            part = ids[start : start + LOOKED_UP]
            found = await self.items.read(["id", "metadata"], among(part))
            texts = values(found, "metadata")
            there |= dict(zip(values(found, "id"), texts, strict=True))
        for number, name in enumerate(batch.ids):
            if batch.keeps[number] and name in there:
                batch.metadata[number] = there[name]
        return set(there)

    async def _names(self, asked: int) -> Names | None:
        """Return all ids, of a collection that is not in memory; None when they are too many.

        They are read for who brings many items: 1,000 of them were looked up in 29 ms.
        """
        known = self._residents.names(self._folder)
        if known is not None or asked < NAMED_MIN:
            return known
        size_bytes = ID_BYTES * (await self.length() + asked)
        with self.reserving(size_bytes) as has_room:
            if not has_room:
                return None
            known = Names()
            async with self.items.batches(["id"]) as batches:
                async for batch in batches:
                    await on_thread(partial(known.put, pa.Table.from_batches([batch])))
        self._residents.keep_names(self._folder, known)
        return known

    async def _change(self, work: Awaitable[T]) -> T:
        """Return what a write gives. One that failed may have happened: what is known is not."""
        try:
            done = await work
        except BaseException:
            self._length = None
            self.forget()
            raise
        self.unmerged = None if self.unmerged is None else self.unmerged + 1
        return done

    def _apply(self, change: Change, rows: int) -> None:
        """Change the rows in memory as those on the disk were."""
        resident = self._residents.change(self._folder, change, rows)
        if resident is None:
            return
        if resident.is_worn:
            self._residents.drop(self._folder)
            return
        if resident.cells:
            self.take(resident)
            return
        self.row_bytes = resident.size_bytes // max(resident.count, 1)
        if self._is_too_large(resident.count):
            self._residents.drop(self._folder)
        else:
            self._residents.keep(self._folder, resident)

    def take(self, resident: Resident) -> None:
        """Have the rows of a large collection in memory from now on, as long as they fit."""
        self.row_bytes = resident.size_bytes // max(resident.count, 1)
        if self.is_gone or not self._residents.fits(resident.size_bytes):
            self._residents.drop(self._folder)
            return
        if resident.count <= self._exact_max:
            resident.cells = None  # from here on each is looked at
        self._residents.keep(self._folder, resident)

    def forget(self) -> None:
        """Leave memory: what is there, or is being read, may not be true."""
        self._residents.forget(self._folder)

    @property
    def in_memory(self) -> Resident | None:
        return self._residents.get(self._folder)

    def asked(self) -> None:
        """Note that it was searched where something could serve better that is to be made."""
        if not self.may_use_index:
            self._tend(self)
        resident = self.in_memory
        if (resident is None or resident.is_behind) and time.monotonic() >= self._rests_until:
            self._warm(self)

    def rest(self, *, longer: bool = False) -> None:
        """Have its rows left on the disk for a while: `longer` each time that they had to be."""
        self._rest_s = min(2 * self._rest_s, REST_MAX_S) if longer else REST_S
        self._rests_until = time.monotonic() + self._rest_s

    def noting(self, changes: Changes) -> AbstractContextManager[None]:
        return self._residents.noting(self._folder, changes)

    def reserving(self, size_bytes: int) -> AbstractContextManager[bool]:
        return self._residents.reserving(size_bytes)

    def all_rows(self) -> AbstractAsyncContextManager[AsyncIterator[pa.RecordBatch]]:
        """Return all rows as they are now, in batches, with the columns that memory has."""
        return self.items.batches(self._columns)

    @property
    def is_idle(self) -> bool:
        """Whether nobody writes it, tends it, or waits to."""
        is_locked = self.writing.locked() or self.tending.locked()
        is_written = bool(self._waiting or self._tasks or is_locked)
        return not is_written and self.touched is None

    def index_failed(self) -> None:
        """Note that the index cannot be read; what looks after it builds it anew."""
        self.may_use_index = False
        self._tend(self)

    def end(self, why: LakehouseError | None = None) -> None:
        """Forget what is in memory; who waits to write is told why. Without: it was dropped."""
        self._gone = why or CollectionNotFoundError(str(self.known.name), [])
        self.forget()


def removed(ids: Sequence[str], kept: Resident | Names) -> None:
    kept.remove(ids)


def put(rows: pa.Table, kept: Resident | Names) -> None:
    kept.put(rows)
