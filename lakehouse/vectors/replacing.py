"""Files of a collection made aside and put in its place whole: other vectors, no erased rows."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pyarrow as pa

from lakehouse.audit import record
from lakehouse.auth import THE_PROCESS, acting
from lakehouse.disk import Disk
from lakehouse.embedding import Embedding
from lakehouse.lanes import on_thread
from lakehouse.names import TableName, folded, shown
from lakehouse.vectors.about import about_of
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.errors import CollectionNotFoundError, CollectionReplacedError
from lakehouse.vectors.following import Following
from lakehouse.vectors.lance import OLD, Items
from lakehouse.vectors.ledger import Definition, Kept
from lakehouse.vectors.models import Reembedded
from lakehouse.vectors.reembedding import Progress, Reembedding, begin, of_model, reembedded
from lakehouse.vectors.schema import schema_of
from lakehouse.vectors.shelf import Shelf
from lakehouse.vectors.upkeep import Upkeep

COPIED_BYTES = 32 * 1024 * 1024
LEAVE_S = 1.0
"""Searches of files that are about to go have so long to end."""


class Replacing:
    def __init__(
        self,
        shelf: Shelf,
        following: Following,
        upkeep: Upkeep,
        embedding: Embedding,
        disk: Disk,
    ) -> None:
        self._shelf = shelf
        self._following = following
        self._upkeep = upkeep
        self._embedding = embedding
        self._disk = disk
        self._forgetting = asyncio.Lock()

    async def reembed(self, name: TableName, model: str | None, progress: Progress) -> Reembedded:
        """Embed the texts of a collection again: by its model as it is now, or by another.

        Until all of them are, searches and writes go on with the old vectors.

        Raises:
            ItemsWithoutTextError, TextUnknownError: an item cannot be embedded.
            ReembeddingError: somebody else is at it.
            UnknownModelError, EmbedderFailedError, ModelMissingError, ModelChangedError
        """
        collection = await self._shelf.writable(name)
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
            aside = await self._shelf.whole(self._shelf.aside(collection.known, definition))
            work = Reembedding(collection, aside, self._embedding, identity, progress)
            await work.copy()
            await self._upkeep.look(aside)
        except BaseException:
            collection.touched = None
            if aside is not None:
                self._shelf.purge_later((aside.known.id, aside.known.folder))
            collection.check_there()  # of files that a drop took nobody says that they are lost
            raise
        await self._shelf.whole(self._switched(work))
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
                for known in self._following.of_table(table):
                    with suppress(CollectionNotFoundError):  # it was dropped, with its files
                        await self._forgotten(known)

    async def _forgotten(self, known: Kept) -> None:
        while True:
            await self._following.caught_up(known)
            try:
                return await self._shelf.whole(self._rewritten(known.name))
            except CollectionReplacedError:  # its texts were embedded anew meanwhile
                continue

    async def _rewritten(self, name: TableName) -> None:
        """Let a collection have new files with the items of now; all older ones are gone then."""
        old = await self._shelf.get(name)
        definition = old.known.definition
        aside = await self._shelf.aside(old.known, definition)
        unneeded = aside.known
        try:
            async with old.tending, old.writing:
                old.check_there()
                # Of models that it had, and of one that it is about to have.
                left = await on_thread(partial(self._shelf.ledger.left_of, old.known))
                await copied(old.items, aside.items, schema_of(definition))
                await self._upkeep.look(aside)
                async with self._shelf.defining:
                    unneeded, _ = await self._switch(old, aside, definition)
        except BaseException:
            await self._shelf.purge((unneeded.id, unneeded.folder))
            raise
        self._upkeep.wake(aside)
        await asyncio.sleep(LEAVE_S)
        # Not in the background: they must be gone.
        left = [each for each in left if each[0] != unneeded.id]
        for collection_id, folder in [*left, (unneeded.id, unneeded.folder)]:
            await self._shelf.lance.drop(folder, shown(old.known.name))
            await on_thread(partial(self._shelf.ledger.forget, collection_id))

    async def _switched(self, work: Reembedding) -> None:
        """Let a collection have the vectors that were made aside; its old ones go later."""
        old, aside = work.old, work.aside
        unneeded, after_s = aside.known, 0.0
        try:
            async with old.writing:
                old.check_there()
                await work.catch_up()
                async with self._shelf.defining:
                    definition = of_model(old.known.definition, work.identity)
                    unneeded, after_s = await self._switch(old, aside, definition)
        finally:
            old.touched = None
            # Whoever searches it meanwhile began before.
            self._shelf.purge_later((unneeded.id, unneeded.folder), after_s=after_s)
        self._upkeep.wake(aside)

    async def _switch(
        self, old: Collection, aside: Collection, definition: Definition
    ) -> tuple[Kept, float]:
        """Return the files that nobody needs then, and when, in seconds."""
        new = replace(old.known, definition=definition)
        await aside.items.tell(about_of(new))
        known = await on_thread(
            partial(self._shelf.ledger.switch, old.known, aside.known, definition)
        )
        if known is None:
            raise CollectionNotFoundError(shown(old.known.name), [])
        unneeded = replace(aside.known, folder=old.known.folder)
        aside.known = self._shelf.known[folded(str(known.name))] = known
        self._shelf.put_in_place(aside)
        self._following.renew(known)
        old.end(CollectionReplacedError(shown(known.name)))
        return unneeded, OLD.total_seconds()


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
