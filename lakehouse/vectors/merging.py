"""Items of one collection into another."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import msgspec
import pyarrow as pa

from lakehouse.lanes import on_thread
from lakehouse.vectors.collection import Collection
from lakehouse.vectors.errors import InvalidCollectionError
from lakehouse.vectors.lance import among
from lakehouse.vectors.ledger import Definition
from lakehouse.vectors.models import Merged
from lakehouse.vectors.resident import vectors_of
from lakehouse.vectors.schema import Batch, check_declared, values

MOVED_AT_ONCE = 1_000


async def merged(giving: Collection, taking: Collection, *, clear_source: bool) -> Merged:
    """Move items that the destination has not; nobody else writes either of them meanwhile.

    A kill on the way leaves items in both: sent again, those are skipped and the rest is moved.

    Raises:
        InvalidCollectionError: they are the same, or do not go together.
    """
    one, other = giving.known.definition, taking.known.definition
    if giving is taking:
        raise InvalidCollectionError("a collection cannot be merged into itself")
    if one.dimension != other.dimension:
        raise InvalidCollectionError(
            f"vectors of {one.dimension} numbers do not go into a collection of {other.dimension}"
        )
    if one.model and other.model and one.model != other.model:
        raise InvalidCollectionError(
            f"they were built with other models: {one.model.model} and {other.model.model}"
        )

    async def work() -> Merged:
        async with AsyncExitStack() as stack:
            # In one order, whoever merges which into which: two that cross would wait for ever.
            for each in sorted((giving, taking), key=lambda each: each.known.id):
                await stack.enter_async_context(each.writing)
                each.check_there()
            return await moved(giving, taking, clear_source)

    return await taking.shielded(work)


async def check_fits(giving: Collection, taking: Collection) -> None:
    """Look at all items before one is moved.

    Raises:
        InvalidCollectionError: one is not as the destination declares, or has no direction there.
    """
    of_cosine = taking.known.definition.distance == "cosine"
    is_zero_refused = of_cosine and giving.known.definition.distance != "cosine"
    if not taking.known.definition.columns and not is_zero_refused:
        return
    columns = ["id", "metadata", *(["vector"] if is_zero_refused else [])]
    async with giving.items.batches(columns) as batches:
        async for batch in batches:
            rows = pa.Table.from_batches([batch])
            await on_thread(partial(check_rows, rows, taking.known.definition))


def check_rows(rows: pa.Table, definition: Definition) -> None:
    for name, text in zip(values(rows, "id"), values(rows, "metadata"), strict=True):
        try:
            check_declared(msgspec.json.decode(text) if text else {}, definition)
        except (ValueError, msgspec.DecodeError) as error:
            raise InvalidCollectionError(
                f"the item {name[:80]!r} does not fit: {error}; nothing was moved"
            ) from error
    if "vector" in rows.schema.names and not vectors_of(rows).any(axis=1).all():
        raise InvalidCollectionError("a vector is zero, which has no cosine; nothing was moved")


async def moved(giving: Collection, taking: Collection, clear_source: bool) -> Merged:
    await check_fits(giving, taking)
    count = skipped = 0
    ids = values(await giving.items.read(["id"], in_order=True), "id")
    for start in range(0, len(ids), MOVED_AT_ONCE):
        part = ids[start : start + MOVED_AT_ONCE]
        there = set(values(await taking.items.read(["id"], among(part)), "id"))
        wanted = [each for each in part if each not in there]
        skipped += len(part) - len(wanted)
        if wanted:
            await taking.write([await taken(giving, wanted)])
            count += len(wanted)
    if clear_source:
        await giving.delete(ids)
    return Merged(merged=count, skipped=skipped, length=await taking.length())


async def taken(giving: Collection, ids: Sequence[str]) -> Batch:
    columns = ["id", "vector", "text", "metadata", "document"]
    rows: pa.Table = await giving.items.read(columns, among(ids))
    return Batch(
        ids=values(rows, "id"),
        vectors=vectors_of(rows),
        texts=values(rows, "text"),
        metadata=values(rows, "metadata"),
        keeps=[False] * rows.num_rows,
        documents=values(rows, "document"),
    )
