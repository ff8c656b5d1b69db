"""Collections by name: which there are, what is in them, what is near."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np
import pyarrow as pa

from lakehouse.audit import record
from lakehouse.auth import check_may, table_resource
from lakehouse.catalog import Catalog
from lakehouse.config import MemoryShares, VectorsConfig
from lakehouse.database import Database
from lakehouse.disk import Disk
from lakehouse.embedding import Embedding
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, check_new_name, folded, parse_table_name, shown
from lakehouse.vectors.about import about_of, written
from lakehouse.vectors.answers import ANSWER_MAX_BYTES, SURE_ITEMS, check_bytes
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.documents import put_documents
from lakehouse.vectors.errors import (
    CollectionExistsError,
    CollectionNotFoundError,
    InvalidCollectionError,
    InvalidQueryError,
)
from lakehouse.vectors.filter_lance import to_lance
from lakehouse.vectors.filters import parse_filter
from lakehouse.vectors.following import Following, Writer
from lakehouse.vectors.items import checked
from lakehouse.vectors.lance import Lance, among, text_literal
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
    SearchRequest,
)
from lakehouse.vectors.ranking import by_both, by_words
from lakehouse.vectors.recall import recall_of
from lakehouse.vectors.replacing import Replacing
from lakehouse.vectors.resident import Residents
from lakehouse.vectors.room import Room
from lakehouse.vectors.schema import check_columns, schema_of, values
from lakehouse.vectors.searching import Found, Search, find, keeping
from lakehouse.vectors.shelf import Shelf, check_may_write
from lakehouse.vectors.taking_over import put_rows
from lakehouse.vectors.texts import Texts
from lakehouse.vectors.upkeep import Upkeep

log = logging.getLogger(__name__)

T = TypeVar("T")

RESIDENT_PARTS, PARTS = 3, 4
"""Of the memory of vectors, what is for rows; the rest is for indexes."""
MEASURED_MAX = 100
"""Collections that the metrics name."""


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
        self._database = database
        self._catalog = catalog
        self._embedding = embedding
        self._disk = disk
        self.room = Room(shares.uploads_and_results)
        self.upkeep = Upkeep(config)
        residents = Residents(shares.vectors * RESIDENT_PARTS // PARTS)
        self.shelf = Shelf(ledger, lance, residents, config.exact_max_rows, self.upkeep)
        self._texts = Texts(self.shelf, embedding)
        writer = Writer(self.shelf.get, self._put_rows)
        self.following = Following(ledger, catalog, database, writer)
        self.replacing = Replacing(self.shelf, self.following, self.upkeep, embedding, disk)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Know which collections there are, and look after them while the block runs."""
        async with (
            self.shelf.open() as found,
            self.upkeep.open(),
            self.following.open(found),
        ):
            yield self

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
        if (there := self.shelf.known.get(folded(str(name)))) is not None:
            raise CollectionExistsError(shown(there.name))
        definition = await self._defined(asked)
        made = await self.shelf.whole(self._made(name, definition))
        record().note((str(name),))
        if definition.source is not None:
            await self.following.settle(made)
        return await self.info(name)

    async def _made(self, name: TableName, definition: Definition) -> Kept:
        known = await on_thread(partial(self.shelf.ledger.reserve, name, definition))
        try:
            schema = schema_of(definition, written(about_of(known)))
            await self.shelf.lance.create(known.folder, str(name), schema)
            await on_thread(partial(self.shelf.ledger.publish, known))
        except BaseException:
            await self.shelf.purge((known.id, known.folder))
            raise
        self.shelf.known[folded(str(name))] = known
        self.following.add(known)
        return known

    async def info(self, name: TableName) -> Shown:
        """Return what a collection is like.

        Raises:
            CollectionNotFoundError: there is none, for this caller.
        """
        collection = await self.shelf.get(name)
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
            for each in self.shelf.opened.values()
            if not each.may_use_index
        ]
        cut_off = [
            f"the last write to the collection {shown(each.known.name)} was cut off when the last"
            " process ended, and is put aside; nobody was told that it is done"
            for each in self.shelf.opened.values()
            if each.items.lost
        ]
        return [*damaged, *cut_off, *self.following.warnings()]

    @property
    def count(self) -> int:
        return len(self.shelf.known)

    def recalls(self) -> dict[str, float]:
        """Return what the last checks measured, by the names of the collections checked last."""
        found = [(each.definition.checked, each.name) for each in self.shelf.known.values()]
        checked = sorted(((c.at, name, c.recall) for c, name in found if c), reverse=True)
        return {shown(name): recall for _, name, recall in checked[:MEASURED_MAX]}

    def waiting(self) -> dict[str, float]:
        """Return how many rows an index does not know yet, by name, of those used last."""
        used = [each for each in reversed(self.shelf.opened.values()) if each.waiting is not None]
        return {shown(each.known.name): each.waiting or 0 for each in used[:MEASURED_MAX]}

    async def drop(self, name: TableName) -> None:
        """Drop a collection and all that is in it, also one whose files cannot be read.

        Files that cannot be removed now are removed at the next start.
        """
        known = self.shelf.readable(name)
        check_may_write(known)
        collection = self.shelf.in_use(known)

        async def work() -> None:
            if not await on_thread(partial(self.shelf.ledger.drop, known)):
                raise CollectionNotFoundError(shown(name), [])
            self.shelf.known.pop(folded(str(name)), None)
            self.shelf.opened.pop(known.id, None)
            self.following.remove(known)
            if collection is not None:
                collection.end()
            await self.shelf.purge((known.id, known.folder))

        await (self.shelf.whole(work()) if collection is None else collection.alone(work))

    async def add(self, name: TableName, items: Sequence[ItemIn]) -> ItemsAdded:
        """Add items, or put them in the place of those with their ids: all of them or none.

        Raises:
            InvalidItemError, TooManyItemsError: nothing was added.
            NoModelError, OtherModelError: a text came, and the model is not there for it.
            DiskFullError, CollectionBusyError
        """
        collection = await self.shelf.changeable(name)
        batch = await on_thread(partial(checked, items, collection.known.definition))
        await self._texts.fill_in(collection, batch)
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
        collection = await self.shelf.get(name)
        if asked.wait_for is not None:
            await self.following.wait_for(collection.known, asked.wait_for)
        search = Search(vector=None, k=asked.k, filter=asked.filter)
        if asked.mode == "text":
            found = await by_words(collection, asked.text or "", search, self._database)
        else:
            search = replace(search, vector=await self._texts.query(collection, asked))
            if asked.mode == "hybrid":
                found = await by_both(collection, asked.text or "", search, self._database)
            else:
                found = await find(collection, search, self._database)
        record().note((str(collection.known.name),), found.rows.num_rows)
        return found

    async def put_documents(self, name: TableName, asked: DocumentsPut) -> DocumentsDone:
        """Split documents into chunks and put them in the place of those with their ids.

        Raises:
            NoModelError, OtherModelError, EmbedderFailedError: of the first, nothing was put.
        """
        collection = await self.shelf.changeable(name)
        self._disk.check(sum(len(each.text) for each in asked.documents))
        embed = partial(self._texts.vectors, kind="document")
        added, failed = await put_documents(collection, asked, embed)
        self.upkeep.wake(collection)
        record().note((str(collection.known.name),), sum(each.chunks for each in added))
        return DocumentsDone(added=added, failed=failed, length=await collection.length())

    async def merge(self, source: TableName, dest: TableName, *, clear_source: bool) -> Merged:
        """Move the items of one collection into another; ids that are there already are skipped.

        Raises:
            InvalidCollectionError: they are the same, or their vectors are of other lengths.
        """
        giving = await (self.shelf.changeable(source) if clear_source else self.shelf.get(source))
        taking = await self.shelf.changeable(dest)
        done = await merged(giving, taking, clear_source=clear_source)
        self.upkeep.wake(taking)
        record().note((str(giving.known.name), str(taking.known.name)), done.merged)
        return done

    async def delete(self, name: TableName, asked: ItemsDelete) -> ItemsDeleted:
        """Delete items by their ids, or all that a filter keeps."""
        if (asked.ids is None) == (asked.filter is None):
            raise InvalidQueryError("say which items: `ids`, or a `filter`; one of both")
        collection = await self.shelf.changeable(name)

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
        collection = await self.shelf.get(name)
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
        items = (await self.shelf.get(name)).items
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
        collection = await self.shelf.writable(name)
        found = await recall_of(collection, queries, k, self._database)
        said = Checked(found.recall, k, datetime.now(UTC).timestamp())
        await self.shelf.define(collection, checked=said)
        return found

    async def optimize(self, name: TableName) -> Optimized:
        """Write files together, bring indexes up to date and remove what is old: now."""
        collection = await self.shelf.writable(name)
        record().note((str(collection.known.name),))
        return await self.upkeep.optimize(collection)

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

    async def _put_rows(self, collection: Collection, rows: pa.Table, gone: Sequence[str]) -> int:
        unknown = await put_rows(self._texts, self._disk, collection, rows, gone)
        self.upkeep.wake(collection)
        return unknown

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
