"""Collections by name: which there are, what is in them, what is near."""

import asyncio
import difflib
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeVar

import msgspec
import numpy as np
import pyarrow as pa

from lakehouse.audit import record
from lakehouse.auth import THE_PROCESS, acting, check_may, may, table_resource
from lakehouse.catalog import Catalog
from lakehouse.config import MemoryShares, VectorsConfig
from lakehouse.database import Database
from lakehouse.disk import Disk
from lakehouse.embedding import Embedding, Kind, ModelChangedError
from lakehouse.errors import LakehouseError
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, check_new_name, folded, parse_table_name, shown
from lakehouse.vectors.about import about_of, is_same, written
from lakehouse.vectors.answers import ANSWER_MAX_BYTES, SURE_ITEMS, check_bytes
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.documents import put_documents
from lakehouse.vectors.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    CollectionReplacedError,
    DerivedCollectionError,
    InvalidCollectionError,
    InvalidQueryError,
    NoModelError,
    OtherModelError,
)
from lakehouse.vectors.filter_lance import to_lance
from lakehouse.vectors.filters import parse_filter
from lakehouse.vectors.following import Following, Writer
from lakehouse.vectors.items import checked, query_vector
from lakehouse.vectors.lance import OLD, Items, Lance, among, text_literal
from lakehouse.vectors.ledger import Checked, Definition, Kept, Ledger
from lakehouse.vectors.merging import merged
from lakehouse.vectors.models import (
    Collection as Shown,
)
from lakehouse.vectors.models import (
    CollectionCreate,
    DocumentsDone,
    DocumentsPut,
    IndexInfo,
    ItemIn,
    ItemsAdded,
    ItemsDelete,
    ItemsDeleted,
    Merged,
    Optimized,
    RecallChecked,
    Reembedded,
    SearchRequest,
)
from lakehouse.vectors.ranking import by_both, by_words
from lakehouse.vectors.recall import recall_of
from lakehouse.vectors.reembedding import Progress, Reembedding, begin, of_model, reembedded
from lakehouse.vectors.resident import Residents
from lakehouse.vectors.room import Room
from lakehouse.vectors.schema import Batch, check_columns, schema_of, values
from lakehouse.vectors.searching import Found, Search, find, keeping
from lakehouse.vectors.upkeep import Upkeep

log = logging.getLogger(__name__)

T = TypeVar("T")

RESIDENT_PARTS, PARTS = 3, 4
"""Of the memory of vectors, what is for rows; the rest is for indexes."""
OPEN_MAX = 1_000
"""Collections whose tables are open; for another one, that of the longest ago is closed."""
MEASURED_MAX = 100
"""Collections that the metrics name."""
COPIED_BYTES = 32 * 1024 * 1024
LEAVE_S = 1.0
"""Searches of files that are about to go have so long to end."""
TEXTS_EMBEDDED = 500
"""Of a table, at once: each time has the deadline of the model."""
NEAR_MAX, COMPARED_MAX = 3, 1_000
"""Names that are told as like one that is not there, and that are compared: 10,000 take 0.2 s."""


class Vectors:
    """Its methods are of the event loop, and leave it free."""

    def __init__(
        self,
        ledger: Ledger,
        lance: Lance,
        database: Database,
        catalog: Catalog,
        embedding: Embedding,
        config: VectorsConfig,
        *,
        disk: Disk,
        shares: MemoryShares,
    ) -> None:
        self._ledger = ledger
        self._lance = lance
        self._database = database
        self._embedding = embedding
        self._config = config
        self._disk = disk
        self._residents = Residents(shares.vectors * RESIDENT_PARTS // PARTS)
        self._catalog = catalog
        self._known: dict[str, Kept] = {}
        """By name, folded: nobody else writes the catalog while we hold its lease."""
        self._open: OrderedDict[str, Collection] = OrderedDict()
        self._opening = asyncio.Lock()
        self._defining = asyncio.Lock()
        self._forgetting = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._purging: set[asyncio.Task[None]] = set()
        self.room = Room(shares.uploads_and_results)
        self.upkeep = Upkeep(config)
        writer = Writer(self.get, self._take_over)
        self.following = Following(ledger, catalog, database, writer)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Know which collections there are; the files of dropped ones go in the background."""
        found = await on_thread(self._ledger.all)
        self._known = {folded(str(each.name)): each for each in found}
        leftovers = await on_thread(self._ledger.dropped)
        self._purge_later(*leftovers)
        try:
            async with self.upkeep.open(), self.following.open(found):
                yield self
        finally:
            for each in self._purging:
                each.cancel()
            await asyncio.gather(*self._purging, *self._tasks, return_exceptions=True)

    async def create(self, asked: CollectionCreate) -> Shown:
        """Make an empty collection.

        Raises:
            CollectionExistsError: the name is taken.
            InvalidCollectionError, InvalidNameError: it cannot be as it is asked for.
            UnknownModelError, EmbedderFailedError, ModelMissingError: of `model`.
            ForbiddenError: the caller may not write it.
        """
        name = parse_table_name(asked.name)
        check_new_name("collection name", name.name)
        check_may("write", table_resource(*name), f"the collection {name}")
        namespace = await on_thread(partial(self._catalog.namespaces.get, name.namespace))
        name = TableName(namespace, name.name)
        if (there := self._known.get(folded(str(name)))) is not None:
            raise CollectionExistsError(shown(there.name))
        definition = await self._defined(asked)
        made = await self._whole(self._made(name, definition))
        record().note((str(name),))
        if definition.source is not None:
            await self.following.settle(made)
        return await self.info(name)

    async def _made(self, name: TableName, definition: Definition) -> Kept:
        known = await on_thread(partial(self._ledger.reserve, name, definition))
        try:
            schema = schema_of(definition, written(about_of(known)))
            await self._lance.create(known.folder, str(name), schema)
            await on_thread(partial(self._ledger.publish, known))
        except BaseException:
            await self._purge((known.id, known.folder))
            raise
        self._known[folded(str(name))] = known
        self.following.add(known)
        return known

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what work gives that goes on to its end when the caller leaves."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def names(self) -> list[TableName]:
        """Return the collections that the caller may read, by name."""
        known = list(self._known.values())  # at once: statements ask from their threads
        return sorted(each.name for each in known if may_read(each.name))

    async def info(self, name: TableName) -> Shown:
        """Return what a collection is like.

        Raises:
            CollectionNotFoundError: there is none, for this caller.
        """
        collection = await self.get(name)
        definition = collection.known.definition
        found = definition.checked
        state = await self.upkeep.state(collection)
        return Shown(
            name=shown(collection.known.name),
            dimension=definition.dimension,
            distance=definition.distance,
            length=await collection.length(),
            columns=definition.columns,
            model=definition.model.model if definition.model else None,
            created_at=datetime.fromtimestamp(collection.known.created_at, UTC),
            index=IndexInfo(
                state=state.name,
                indexed=state.indexed,
                waiting=state.waiting,
                recall=found.recall if found else None,
                recall_k=found.k if found else None,
                checked_at=datetime.fromtimestamp(found.at, UTC) if found else None,
            ),
            source=await self.following.info(collection.known),
            m=definition.m,
            ef_search=definition.ef_search,
        )

    def warnings(self) -> list[str]:
        """Return what is wrong with collections that are open, in a sentence each."""
        damaged = [
            f"the index of the collection {shown(each.known.name)} is damaged, and built anew"
            for each in self._open.values()
            if not each.may_use_index
        ]
        cut_off = [
            f"the last write to the collection {shown(each.known.name)} was cut off when the last"
            " process ended, and is put aside; nobody was told that it is done"
            for each in self._open.values()
            if each.items.lost
        ]
        return [*damaged, *cut_off, *self.following.warnings()]

    @property
    def count(self) -> int:
        return len(self._known)

    def recalls(self) -> dict[str, float]:
        """Return what the last checks measured, by the names of the collections checked last."""
        found = [(each.definition.checked, each.name) for each in self._known.values()]
        checked = sorted(((c.at, name, c.recall) for c, name in found if c), reverse=True)
        return {shown(name): recall for _, name, recall in checked[:MEASURED_MAX]}

    def waiting(self) -> dict[str, float]:
        """Return how many rows an index does not know yet, by name, of those used last."""
        used = [each for each in reversed(self._open.values()) if each.waiting is not None]
        return {shown(each.known.name): each.waiting or 0 for each in used[:MEASURED_MAX]}

    async def drop(self, name: TableName) -> None:
        """Drop a collection and all that is in it, also one whose files cannot be read.

        Files that cannot be removed now are removed at the next start.
        """
        known = self._readable(name)
        check_may_write(known)
        collection = self._open.get(known.id)

        async def work() -> None:
            if not await on_thread(partial(self._ledger.drop, known)):
                raise CollectionNotFoundError(shown(name), [])
            self._known.pop(folded(str(name)), None)
            self._open.pop(known.id, None)
            self.following.remove(known)
            if collection is not None:
                collection.end()
            await self._purge((known.id, known.folder))

        await (self._whole(work()) if collection is None else collection.alone(work))

    async def add(self, name: TableName, items: Sequence[ItemIn]) -> ItemsAdded:
        """Add items, or put them in the place of those with their ids: all of them or none.

        Raises:
            InvalidItemError, TooManyItemsError: nothing was added.
            NoModelError, OtherModelError: a text came, and the model is not there for it.
            DiskFullError, CollectionBusyError
        """
        collection = await self.changeable(name)
        batch = await on_thread(partial(checked, items, collection.known.definition))
        await self._embed_texts(collection, batch)
        self._disk.check(batch.vectors.nbytes)
        added = await collection.put(batch)
        self.upkeep.wake(collection)
        record().note((str(collection.known.name),), len(items))
        return ItemsAdded(added=added, length=await collection.length())

    async def search(self, name: TableName, asked: SearchRequest) -> Found:
        """Return the items nearest to a vector or a text, of those that the filter keeps.

        Raises:
            InvalidQueryError, InvalidFilterError: what is asked for cannot be.
            NoModelError, OtherModelError: of a text.
        """
        if (asked.vector is None) == (asked.text is None):
            raise InvalidQueryError("send a `vector` or a `text` to search by, one of both")
        if asked.mode != "vector" and asked.text is None:
            raise InvalidQueryError(f"the mode {asked.mode} looks for words: send a `text`")
        collection = await self.get(name)
        if asked.wait_for is not None:
            await self.following.wait_for(collection.known, asked.wait_for)
        search = Search(vector=None, k=asked.k, filter=asked.filter)
        if asked.mode == "text":
            found = await by_words(collection, asked.text or "", search, self._database)
        else:
            search = replace(search, vector=await self._query(collection, asked))
            if asked.mode == "hybrid":
                found = await by_both(collection, asked.text or "", search, self._database)
            else:
                found = await find(collection, search, self._database)
        record().note((str(collection.known.name),), found.rows.num_rows)
        if not collection.may_use_index:
            self.upkeep.wake(collection)
        return found

    async def put_documents(self, name: TableName, asked: DocumentsPut) -> DocumentsDone:
        """Split documents into chunks and put them in the place of those with their ids.

        Raises:
            NoModelError, OtherModelError, EmbedderFailedError: of the first, nothing was put.
        """
        collection = await self.changeable(name)
        self._disk.check(sum(len(each.text) for each in asked.documents))
        embed = partial(self._embedded, kind="document")
        added, failed = await put_documents(collection, asked, embed)
        self.upkeep.wake(collection)
        record().note((str(collection.known.name),), sum(each.chunks for each in added))
        return DocumentsDone(added=added, failed=failed, length=await collection.length())

    async def merge(self, source: TableName, dest: TableName, *, clear_source: bool) -> Merged:
        """Move the items of one collection into another; ids that are there already are skipped.

        Raises:
            InvalidCollectionError: they are the same, or their vectors are of other lengths.
        """
        giving = await (self.changeable(source) if clear_source else self.get(source))
        taking = await self.changeable(dest)
        done = await merged(giving, taking, clear_source=clear_source)
        self.upkeep.wake(taking)
        record().note((str(giving.known.name), str(taking.known.name)), done.merged)
        return done

    async def delete(self, name: TableName, asked: ItemsDelete) -> ItemsDeleted:
        """Delete items by their ids, or all that a filter keeps."""
        if (asked.ids is None) == (asked.filter is None):
            raise InvalidQueryError("say which items: `ids`, or a `filter`; one of both")
        collection = await self.changeable(name)

        async def work() -> int:
            ids = asked.ids if asked.ids is not None else await self._ids(collection, asked.filter)
            return await collection.delete(ids)

        deleted = await collection.alone(work)
        self.upkeep.wake(collection)
        record().note((str(collection.known.name),), deleted)
        return ItemsDeleted(deleted=deleted, length=await collection.length())

    async def items(
        self, name: TableName, ids: Sequence[str], *, with_vectors: bool = False
    ) -> Any:
        """Return the items of these ids that are there, as rows sorted by id."""
        collection = await self.get(name)
        where = among(list(dict.fromkeys(ids)))
        if len(ids) > SURE_ITEMS:
            check_bytes(sum(values(await collection.items.sizes(where, limit=len(ids)), "size")))
        columns = ["id", "metadata", "text", *(["vector"] if with_vectors else [])]
        found = await collection.items.read(columns, where)
        return found.sort_by("id")

    async def page(self, name: TableName, after: str | None, limit: int) -> tuple[Any, bool]:
        """Return the first items whose ids come after one, as rows by id, and if there are more.

        They are fewer than `limit` where they would be more bytes than an answer may have.
        """
        items = (await self.get(name)).items
        where = None if after is None else f"id > {text_literal(after)}"
        if limit >= SURE_ITEMS:
            sizes = np.cumsum(values(await items.sizes(where, limit=limit), "size"))
            fits = int(np.searchsorted(sizes, ANSWER_MAX_BYTES, side="right"))
            limit = max(1, min(limit, fits))
        columns = ["id", "metadata", "text"]
        rows = await items.read(columns, where, limit=limit + 1, in_order=True)
        return rows.slice(0, limit), rows.num_rows > limit

    async def check(self, name: TableName, queries: int, k: int) -> RecallChecked:
        """Measure how many of the true nearest searches find, and remember it."""
        collection = await self.writable(name)
        found = await recall_of(collection, queries, k, self._database)
        said = Checked(found.recall, k, datetime.now(UTC).timestamp())
        await self._define(collection, checked=said)
        return found

    async def optimize(self, name: TableName) -> Optimized:
        """Write files together, bring indexes up to date and remove what is old: now."""
        collection = await self.writable(name)
        record().note((str(collection.known.name),))
        return await self.upkeep.optimize(collection)

    async def reembed(self, name: TableName, model: str | None, progress: Progress) -> Reembedded:
        """Embed the texts of a collection again: by its model as it is now, or by another.

        Until all of them are, searches and writes go on with the old vectors.

        Raises:
            ItemsWithoutTextError, TextUnknownError: an item cannot be embedded.
            ReembeddingError: somebody else is at it.
            UnknownModelError, EmbedderFailedError, ModelMissingError, ModelChangedError
        """
        collection = await self.writable(name)
        record().note((str(collection.known.name),))
        has = collection.known.definition.model
        identity = await self._embedding.identity(model or (has.model if has else None))
        if identity == has:
            return reembedded(identity, 0)
        self._disk.check(await collection.length() * identity.dimension * 4)
        await begin(collection)
        aside = None
        try:
            definition = of_model(collection.known.definition, identity)
            aside = await self._whole(self._aside(collection.known, definition))
            work = Reembedding(collection, aside, self._embedding, identity, progress)
            await work.copy()
            await self.upkeep.look(aside)
        except BaseException:
            collection.touched = None
            if aside is not None:
                self._purge_later((aside.known.id, aside.known.folder))
            collection.check_there()  # of files that a drop took nobody says that they are lost
            raise
        await self._whole(self._switched(work))
        record().text_count += work.embedded
        return reembedded(identity, work.embedded)

    async def forget(self, table: TableName) -> None:
        """Leave no byte of rows that a table has lost in the files of what is derived from it.

        Raises:
            CollectionBehindError: a collection does not follow; what it holds stays.
        """
        # Whoever erases rows of a table may know nothing of what others made of it.
        with acting(THE_PROCESS):
            async with self._forgetting:
                for known in self.following.of_table(table):
                    with suppress(CollectionNotFoundError):  # it was dropped, with its files
                        await self._forgotten(known)

    async def _forgotten(self, known: Kept) -> None:
        while True:
            await self.following.caught_up(known)
            try:
                return await self._whole(self._rewritten(known.name))
            except CollectionReplacedError:  # its texts were embedded anew meanwhile
                continue

    async def _rewritten(self, name: TableName) -> None:
        """Let a collection have new files with the items of now; all older ones are gone then."""
        old = await self.get(name)
        definition = old.known.definition
        aside = await self._aside(old.known, definition)
        unneeded = aside.known
        try:
            async with old.tending, old.writing:
                old.check_there()
                # Of models that it had, and of one that it is about to have.
                left = await on_thread(partial(self._ledger.left_of, old.known))
                await copied(old.items, aside.items, schema_of(definition))
                await self.upkeep.look(aside)
                async with self._defining:
                    unneeded, _ = await self._switch(old, aside, definition)
        except BaseException:
            await self._purge((unneeded.id, unneeded.folder))
            raise
        self.upkeep.wake(aside)
        await asyncio.sleep(LEAVE_S)
        # Not in the background: they must be gone.
        left = [each for each in left if each[0] != unneeded.id]
        for collection_id, folder in [*left, (unneeded.id, unneeded.folder)]:
            await self._lance.drop(folder)
            await on_thread(partial(self._ledger.forget, collection_id))

    async def _aside(self, known: Kept, definition: Definition) -> Collection:
        """Make the files of a collection that no name leads to."""
        made = await on_thread(partial(self._ledger.reserve, known.name, definition))
        items = await self._lance.create(made.folder, str(known.name), schema_of(definition))
        return self._collection(made, items)

    async def _switched(self, work: Reembedding) -> None:
        """Let a collection have the vectors that were made aside; its old ones go later."""
        old, aside = work.old, work.aside
        unneeded, after_s = aside.known, 0.0
        try:
            async with old.writing:
                old.check_there()
                await work.catch_up()
                async with self._defining:
                    definition = of_model(old.known.definition, work.identity)
                    unneeded, after_s = await self._switch(old, aside, definition)
        finally:
            old.touched = None
            # Whoever searches it meanwhile began before.
            self._purge_later((unneeded.id, unneeded.folder), after_s=after_s)
        self.upkeep.wake(aside)

    async def _switch(
        self, old: Collection, aside: Collection, definition: Definition
    ) -> tuple[Kept, float]:
        """Return the files that nobody needs then, and when, in seconds."""
        new = replace(old.known, definition=definition)
        await aside.items.tell(about_of(new))
        known = await on_thread(partial(self._ledger.switch, old.known, aside.known, definition))
        if known is None:
            raise CollectionNotFoundError(shown(old.known.name), [])
        unneeded = replace(aside.known, folder=old.known.folder)
        aside.known = self._known[folded(str(known.name))] = known
        self._open[known.id] = aside
        self.following.renew(known)
        old.end(CollectionReplacedError(shown(known.name)))
        return unneeded, OLD.total_seconds()

    async def get(self, name: TableName) -> Collection:
        """Return a collection that the caller may read, open.

        Raises:
            CollectionNotFoundError: there is none, for this caller.
            CollectionDamagedError: its files cannot be read.
        """
        known = self._readable(name)
        found = self._open.get(known.id)
        if found is None:
            async with self._opening:
                found = self._open.get(known.id) or await self._opened(known)
        if not await self._lance.is_current(found.items):
            found.items = await self._lance.open(known.folder, str(known.name))
        self._open.move_to_end(known.id)
        return found

    async def writable(self, name: TableName) -> Collection:
        """As `get`, of one that the caller may write; `ForbiddenError` when it may only read."""
        check_may_write(self._readable(name))
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

    def _readable(self, name: TableName) -> Kept:
        """Return a collection that the caller may read; `CollectionNotFoundError` without."""
        known = self._known.get(folded(str(name)))
        if known is None or not may_read(known.name):
            raise CollectionNotFoundError(shown(name), self._near(name))
        return known

    async def _opened(self, known: Kept) -> Collection:
        items = await self._lance.open(known.folder, str(known.name))
        made = self._collection(known, items)
        self._open[known.id] = made
        for each in list(self._open.values()):
            if len(self._open) <= OPEN_MAX:
                break
            if each is not made and each.is_idle:
                del self._open[each.known.id]
        await self._tell(made)
        self.upkeep.wake(made)
        return made

    async def _tell(self, collection: Collection) -> None:
        """Have the files of a collection say what it is, unless they do; it is served even so."""
        try:
            if not is_same(await collection.items.about(), collection.known):
                await collection.items.tell(about_of(collection.known))
        except LakehouseError as error:
            log.warning("the files of %s do not say what it is: %s", collection.known.name, error)

    def _collection(self, known: Kept, items: Items) -> Collection:
        return Collection(known, items, self._residents, self._config.exact_max_rows)

    def _purge_later(self, *dropped: tuple[str, str], after_s: float = 0.0) -> None:
        async def work() -> None:
            await asyncio.sleep(after_s)
            await self._purge(*dropped)

        task = asyncio.create_task(work())
        self._purging.add(task)
        task.add_done_callback(self._purging.discard)

    async def _purge(self, *dropped: tuple[str, str]) -> None:
        """Remove the files of dropped collections; those that stay are tried at the next start.

        Args:
            dropped: the id and the folder of each.
        """
        for collection_id, folder in dropped:
            try:
                await self._lance.drop(folder)
            except Exception as error:
                log.warning("files of a dropped collection stay for now: %s", error)
            else:
                await on_thread(partial(self._ledger.forget, collection_id))

    async def _defined(self, asked: CollectionCreate) -> Definition:
        check_columns(asked.columns)
        source = model = None
        if asked.source is not None:
            source = await self.following.checked(asked.source, asked.columns)
        if asked.model is not None or asked.dimension is None or source is not None:
            model = await self._embedding.identity(asked.model)
            if asked.dimension not in (None, model.dimension):
                raise InvalidCollectionError(
                    f"the model {model.model} gives {model.dimension} numbers, not"
                    f" {asked.dimension}: leave `dimension` out, or `model`"
                )
        dimension = model.dimension if model else asked.dimension
        assert dimension is not None, "without a model it was said"
        return Definition(
            dimension=dimension,
            distance=asked.distance,
            columns=asked.columns,
            model=model,
            m=asked.m,
            ef_search=asked.ef_search,
            source=source,
        )

    async def _query(self, collection: Collection, asked: SearchRequest) -> Any:
        """Return the vector that is searched by."""
        if asked.vector is not None:
            return query_vector(asked.vector, collection.known.definition)
        assert asked.text is not None, "one of both is there"
        (vector,) = await self._embedded(collection, [asked.text], "query")
        return vector

    async def _embed_texts(self, collection: Collection, batch: Batch) -> None:
        """Fill in the vectors of the items that came as texts."""
        places = [n for n, text in enumerate(batch.texts) if text is not None]
        if places:
            texts = [text for text in batch.texts if text is not None]
            batch.vectors[places] = await self._embedded(collection, texts, "document")

    async def _take_over(self, collection: Collection, rows: pa.Table, gone: Sequence[str]) -> int:
        """Put rows of a table as items, while others go; return how many the model knows not."""
        self._disk.check(rows.nbytes + rows.num_rows * collection.known.definition.dimension * 4)
        texts, parts = values(rows, "text"), []
        for start in range(0, len(texts), TEXTS_EMBEDDED):
            part = texts[start : start + TEXTS_EMBEDDED]
            parts.append(await self._embedded(collection, part, "document", zeros=True))
        vectors = np.concatenate(parts)
        known: Any = vectors.any(axis=1)
        gone = [*gone, *values(rows.filter(pa.array(~known)), "id")]
        rows, vectors = rows.filter(pa.array(known)), vectors[known]
        if rows.num_rows:
            batch = Batch(
                ids=values(rows, "id"),
                vectors=vectors,
                texts=values(rows, "text"),
                metadata=values(rows, "metadata"),
                keeps=[False] * rows.num_rows,
            )
            instead_of = among(gone) if gone else None
            await collection.alone(partial(collection.write, [batch], instead_of))
        elif gone:
            await collection.alone(partial(collection.delete, gone))
        self.upkeep.wake(collection)
        return len(known) - rows.num_rows

    async def _embedded(
        self, collection: Collection, texts: Sequence[str], kind: Kind, *, zeros: bool = False
    ) -> Any:
        """Return the vectors of texts by the model that the collection was built with."""
        definition = collection.known.definition
        model = definition.model.model if definition.model else None
        name = shown(collection.known.name)
        try:
            identity, vectors = await self._embedding.embed(texts, model, kind, zeros=zeros)
        except ModelChangedError:  # meanwhile; which one it is by now says the next answer
            identity, vectors = await self._embedding.embed(texts, model, kind, zeros=zeros)
        if definition.model is None:
            if identity.dimension != definition.dimension:
                raise NoModelError(name, definition.dimension, identity.model, identity.dimension)
            if kind == "document":
                await self._define(collection, model=identity)
        elif identity != definition.model:
            raise OtherModelError(name, identity.model)
        record().text_count += len(texts)
        return vectors

    async def _define(self, collection: Collection, **changes: Any) -> None:
        """Change what is known of a collection, unless it was dropped meanwhile."""
        async with self._defining:
            if collection.is_gone:
                return
            definition = msgspec.structs.replace(collection.known.definition, **changes)
            known = await on_thread(partial(self._ledger.define, collection.known, definition))
            collection.known = known
            if not collection.is_gone:
                self._known[folded(str(known.name))] = known
                await self._tell(collection)

    async def _ids(self, collection: Collection, filter_: Any) -> list[str]:
        """Return the ids of the items that a filter keeps."""
        condition = parse_filter(filter_, collection.known.definition.columns)
        where = to_lance(condition)
        if where is not None:
            rows = await collection.items.read(["id"], where)
            return list(values(rows, "id"))
        found: list[str] = []
        columns = ["id", "metadata", *collection.known.definition.columns]
        async with collection.items.batches(columns) as batches:
            async for batch in batches:
                rows = await keeping(self._database, condition, pa.Table.from_batches([batch]))
                found += values(rows, "id")
        return found

    def _near(self, name: TableName) -> list[str]:
        known = [shown(each) for each in self.names()[:COMPARED_MAX]]
        return difflib.get_close_matches(shown(name)[:80], known, n=NEAR_MAX)


def check_may_write(known: Kept) -> None:
    check_may("write", table_resource(*known.name), f"the collection {shown(known.name)}")


def may_read(name: TableName) -> bool:
    return may("read", table_resource(*name))


async def copied(old: Items, new: Items, schema: pa.Schema) -> None:
    """Write all items of one collection into an empty one, `COPIED_BYTES` or so at once."""
    parts: list[pa.RecordBatch] = []
    async with old.batches(schema.names) as batches:
        async for batch in batches:
            parts.append(batch)
            if sum(each.nbytes for each in parts) > COPIED_BYTES:
                await new.add(pa.Table.from_batches(parts).cast(schema))
                parts.clear()
    if parts:
        await new.add(pa.Table.from_batches(parts).cast(schema))
