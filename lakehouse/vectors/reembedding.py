"""The texts of a collection embedded anew: beside it, and then in its place, whole.

While they are, searches and writes go on with the old vectors. What is written meanwhile is
remembered by id and embedded after, until so little is left that writes wait for the rest of it. A
process that is killed before the switch leaves the old collection, and after it the new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import msgspec
import pyarrow as pa

from lakehouse.embedding import Embedding, Identity, ModelChangedError, NothingKnownError
from lakehouse.lanes import on_thread
from lakehouse.vectors.collection import LOOKED_UP, Collection
from lakehouse.vectors.errors import ItemsWithoutTextError, ReembeddingError, TextUnknownError
from lakehouse.vectors.lance import TEXT_INDEX, among
from lakehouse.vectors.ledger import Definition
from lakehouse.vectors.models import Reembedded
from lakehouse.vectors.schema import Batch, values

TEXTS_AT_ONCE = 500
"""Embedded by one call: half a second of a model on a processor, or many of a large one."""
WAITED_FOR = 500
"""Items that writes wait for in the end."""
ROUNDS_MAX = 20
"""Of items that were written meanwhile; who writes faster than the model embeds waits after it."""
TOLD = 3
WITHOUT_TEXT = "text IS NULL"


class Progress(Protocol):
    def __call__(
        self, done: int | None = None, total: int | None = None, phase: str | None = None
    ) -> None: ...


@dataclass(slots=True)
class Reembedding:
    """One on its way."""

    old: Collection
    aside: Collection
    """Empty, defined with the new model; nobody else knows it."""
    embedding: Embedding
    identity: Identity
    progress: Progress
    embedded: int = 0

    async def copy(self) -> None:
        """Embed all that is there now, and what is written meanwhile until little is left.

        Raises:
            ItemsWithoutTextError, TextUnknownError: an item cannot be embedded.
            EmbedderFailedError, ModelMissingError, ModelChangedError
        """
        old = self.old
        await check_texts(old)
        columns = ["id", "text", "metadata", "document"]
        async with old.tending, old.items.batches(columns) as batches:
            old.check_there()
            self.progress(done=0, total=await old.length(), phase="embedding")
            async for batch in batches:
                await self._take(pa.Table.from_batches([batch]), is_new=True)
        for _ in range(ROUNDS_MAX):
            if len(old.touched or ()) <= WAITED_FOR:
                break
            await self.catch_up()
        if TEXT_INDEX in await old.items.index_names():
            self.progress(phase="indexing")
            await self.aside.index_texts()

    async def catch_up(self) -> None:
        """Embed what was written since the last look, and delete what was."""
        old = self.old
        ids, old.touched = sorted(old.touched or ()), set()
        for start in range(0, len(ids), LOOKED_UP):
            part = ids[start : start + LOOKED_UP]
            rows = await old.items.read(["id", "text", "metadata", "document"], among(part))
            if without := [n for n, t in zip(*both(rows), strict=True) if t is None]:
                raise ItemsWithoutTextError(str(old.known.name), len(without), without[:TOLD])
            there = set(values(rows, "id"))
            await self.aside.delete([each for each in part if each not in there])
            await self._take(rows, is_new=False)

    async def _take(self, rows: pa.Table, *, is_new: bool) -> None:
        for start in range(0, rows.num_rows, TEXTS_AT_ONCE):
            part = rows.slice(start, TEXTS_AT_ONCE)
            batch = batch_of(part, await self._vectors(*both(part)))
            if is_new:
                table = await on_thread(partial(batch.table, self.aside.known.definition))
                await self.aside.items.add(table)
            else:
                await self.aside.write([batch])
            self.embedded += len(batch)
            self.progress(done=self.embedded)

    async def _vectors(self, ids: Sequence[str], texts: Sequence[str]) -> Any:
        model = self.identity.model
        try:
            identity, vectors = await self.embedding.embed(texts, model, "document")
        except NothingKnownError as error:
            raise TextUnknownError(str(self.old.known.name), ids[error.index], model) from error
        if identity != self.identity:
            raise ModelChangedError(model, "it was replaced while it embedded")
        return vectors


async def begin(collection: Collection) -> None:
    """Have it remember what is written from now on.

    Raises:
        ReembeddingError: somebody else is at it.
    """

    async def work() -> None:
        if collection.touched is not None:
            raise ReembeddingError(str(collection.known.name))
        collection.touched = set()

    await collection.alone(work)  # no write is under way that nobody would remember


async def check_texts(collection: Collection) -> None:
    """Raise `ItemsWithoutTextError` when an item came as a vector."""
    count = await collection.items.count(WITHOUT_TEXT)
    if count:
        some = await collection.items.read(["id"], WITHOUT_TEXT, limit=TOLD)
        raise ItemsWithoutTextError(str(collection.known.name), count, values(some, "id"))


def both(rows: pa.Table) -> tuple[list[str], list[Any]]:
    return values(rows, "id"), values(rows, "text")


def batch_of(rows: pa.Table, vectors: Any) -> Batch:
    ids, texts = both(rows)
    return Batch(
        ids=ids,
        vectors=vectors,
        texts=texts,
        metadata=values(rows, "metadata"),
        keeps=[False] * len(ids),
        documents=values(rows, "document"),
    )


def of_model(definition: Definition, identity: Identity) -> Definition:
    """Return a definition with another model; what was measured was of the old vectors."""
    return msgspec.structs.replace(
        definition, model=identity, dimension=identity.dimension, checked=None
    )


def reembedded(identity: Identity, count: int) -> Reembedded:
    return Reembedded(
        embedded=count,
        model=identity.model,
        digest=identity.digest,
        dimension=identity.dimension,
    )
