"""The one door to LanceDB: tables of items, each in a folder of its own.

Its methods are asynchronous down to Rust, where the work is done on threads of its own.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

import pyarrow as pa

from lakehouse.disk import DiskFullError
from lakehouse.errors import LakehouseError
from lakehouse.lanes import on_thread
from lakehouse.storage import StoreDownError, Warehouse
from lakehouse.vectors.about import About, read_about, written
from lakehouse.vectors.answers import SURE_ROWS, check_bytes
from lakehouse.vectors.durable import Durable, MissingVersionError, recover
from lakehouse.vectors.errors import CollectionBusyError, CollectionDamagedError
from lakehouse.vectors.models import DIMENSION_MAX, Distance
from lakehouse.vectors.schema import ID_MAX_BYTES, METADATA_MAX_BYTES, TEXT_MAX_BYTES, values

log = logging.getLogger(__name__)

T = TypeVar("T")
Keys: TypeAlias = Callable[[], Mapping[str, str]]
"""How LanceDB reaches a bucket, with the keys of now; blocks."""

METRIC: Mapping[Distance, Literal["cosine", "l2"]] = {"cosine": "cosine", "euclidean": "l2"}
VECTOR_INDEX, ID_INDEX, TEXT_INDEX = "vector_idx", "id_idx", "text_idx"
CACHE_BYTES = 64 * 1024 * 1024
"""Of Lance's own: footers and manifests. That of indexes is set beside it."""
REFINE = 30
"""As many times k are taken from the index, and their true distances computed. Of 200,000 sentences
recall@10 is 0.965 by 10, 0.977 by 15 and 0.987 by 30, in 4.1, 4.7 and 5.9 ms; of 100,000 random
vectors, which have no neighbourhoods and are the hardest there are, 0.62 by 10 and 0.77 by 30."""
PROBES_MIN, PROBES_ALL = 20, 0
"""Parts of the index that are looked into: more of them, all if need be, while fewer than are
wanted pass the filter. Without a word Lance stops at twenty, and what lies beyond is not found."""
OLD = timedelta(minutes=10)
"""Versions are kept so long: whoever reads one began before it was replaced."""
CONFLICT = re.compile(r"[Cc]ommit conflict|preempted|Retryable")
TRIES, RETRY_S = 5, 0.05
FULL = re.compile(r"No space left|StorageFull|disk quota", re.IGNORECASE)
UNREACHED = re.compile(r"error sending request|connect error|timed out|SlowDown|Server error")
"""How the client of object stores, in Rust, says that one does not answer."""
BATCH_ROWS, BATCH_BYTES = 8_192, 64 * 1024 * 1024
"""Rows that are read at once, and what they may be if each is as large as one can be."""
COLUMN_BYTES = {
    "id": ID_MAX_BYTES,
    "document": ID_MAX_BYTES,
    "text": TEXT_MAX_BYTES,
    "vector": 4 * DIMENSION_MAX,
}
"""Of the others, metadata has `METADATA_MAX_BYTES`, and so have all that are declared together."""
METADATA_SIZE = "coalesce(octet_length(metadata), 0)"
TEXT_SIZE = "coalesce(octet_length(text), 0)"


@dataclass(frozen=True, slots=True)
class Indexed:
    indexed: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Tidied:
    """What writing small files together did."""

    merged: int
    """Pieces that are part of others now."""
    versions_removed: int
    bytes_removed: int


class Lance:
    """Where the collections lie: a folder, or a prefix of a bucket.

    Args:
        place: the path of it, or `s3://bucket/prefix`.
        keys: what a bucket is reached with; None for a folder.
        index_cache_bytes: what indexes may keep in memory, all together.
    """

    def __init__(self, place: str, keys: Keys | None, index_cache_bytes: int) -> None:
        self._place = place
        self._keys = keys
        self._index_cache_bytes = index_cache_bytes
        self._connection: Any = None
        self._connected_with: Mapping[str, str] = {}
        self._connecting = asyncio.Lock()
        self._recovered: set[str] = set()
        """Folders that this process has opened: from then on all that is in them is ours."""

    async def create(self, folder: str, name: str, schema: pa.Schema) -> "Items":
        """Make the files of an empty collection, durably.

        Raises:
            DiskFullError, StoreDownError: there are none.
        """
        connection = await self._connect()
        try:
            table = await connection.create_table(folder, schema=schema)
        except (RuntimeError, OSError, ValueError) as error:
            raise in_our_words(name, error) from error
        return await self._items(folder, table, name)

    async def open(self, folder: str, name: str) -> "Items":
        """Return the items of a collection.

        Raises:
            CollectionDamagedError: its files cannot be read.
        """
        connection = await self._connect()
        lost = await self._recover(folder, name)
        try:
            table = await connection.open_table(folder)
        except (RuntimeError, OSError, ValueError) as error:
            raise in_our_words(name, error) from error
        return await self._items(folder, table, name, lost)

    async def peek(self, folder: str) -> About | None:
        """Return what a collection says of itself, and leave its files as they are.

        Raises:
            CollectionDamagedError: they cannot be read.
        """
        connection = await self._connect()
        try:
            return read_about(await (await connection.open_table(folder)).schema())
        except (RuntimeError, OSError, ValueError) as error:
            raise in_our_words(folder, error) from error

    async def drop(self, folder: str, name: str | None = None) -> None:
        """Remove the files of a collection, if there are any.

        Raises:
            StoreDownError, CollectionDamagedError: some of them are still there.
        """
        connection = await self._connect()
        try:
            await connection.drop_table(folder, ignore_missing=True)
        except (RuntimeError, OSError, ValueError) as error:
            if "not found" not in str(error):
                raise in_our_words(name or folder, error) from error

    async def is_current(self, items: "Items") -> bool:
        """Whether items are reached with the keys of now: those to a bucket change."""
        return self._keys is None or items.keys == await on_thread(self._keys)

    async def _items(self, folder: str, table: Any, name: str, lost: Sequence[int] = ()) -> "Items":
        durable = None if self._keys else Durable(self._path(folder))
        items = Items(table, durable, name, self._connected_with, lost)
        self._recovered.add(folder)
        await items.make_durable()
        return items

    def _path(self, folder: str) -> Path:
        return Path(self._place) / f"{folder}.lance"

    async def _recover(self, folder: str, name: str) -> list[int]:
        """Put aside what nobody was told of when the last process ended; return its versions."""
        if self._keys is not None or folder in self._recovered:
            return []
        try:
            lost = await on_thread(partial(recover, self._path(folder)))
        except (OSError, MissingVersionError) as error:
            raise in_our_words(name, error) from error
        if lost:
            log.warning(
                "the last write to the collection %s had not ended, and is put aside: nobody was"
                " told that it is done (versions %s)",
                name,
                lost,
            )
        return lost

    async def _connect(self) -> Any:
        """Return a connection with the keys of now; the first takes a second: Lance is large."""
        async with self._connecting:
            options = await on_thread(self._keys) if self._keys else {}
            if self._connection is None or options != self._connected_with:
                library = await on_thread(imported)
                session = library.Session(self._index_cache_bytes, CACHE_BYTES)
                self._connection = await library.connect_async(
                    self._place, storage_options=dict(options) or None, session=session
                )
                self._connected_with = options
            return self._connection


def open_lance(warehouse: Warehouse, bytes_max: int) -> Lance:
    """Return where collections lie; a quarter of the memory of vectors is for their indexes."""
    place, remote = f"{warehouse.store.place}/vectors", warehouse.remote
    if remote is None:
        return Lance(place, None, bytes_max // 4)

    def options() -> dict[str, str]:
        access_key, secret_key, token = remote.keys()
        return {
            "aws_access_key_id": access_key,
            "aws_secret_access_key": secret_key,
            **({"aws_session_token": token} if token else {}),
            "aws_endpoint": f"{'https' if remote.has_tls else 'http'}://{remote.endpoint}",
            "aws_region": remote.region,
            "allow_http": str(not remote.has_tls).lower(),
            "aws_virtual_hosted_style_request": str(not remote.path_style).lower(),
        }

    return Lance(place, options, bytes_max // 4)


def imported() -> Any:
    import lancedb  # 1.1 s, which a server without collections saves

    return lancedb


class Items:
    """The rows of one collection. Writes come one after the other: who writes holds a lock."""

    def __init__(
        self,
        table: Any,
        durable: Durable | None,
        name: str,
        keys: Mapping[str, str],
        lost: Sequence[int] = (),
    ) -> None:
        self.keys = keys
        self.lost = lost
        """Versions that were put aside when it was opened."""
        self._table = table
        self._durable = durable
        self._name = name

    async def about(self) -> About | None:
        """Return what the table says of itself."""
        return read_about(await self._reading(self._table.schema()))

    async def tell(self, about: About) -> None:
        """Have the table say it from now on."""
        update = {"path": "id", "metadata": written(about)}
        await self._write(lambda: self._table.update_field_metadata(update))

    async def count(self, where: str | None = None) -> int:
        return int(await self._reading(self._table.count_rows(where)))

    async def add(self, rows: pa.Table) -> None:
        """Add rows whose ids are new."""
        await self._write(lambda: self._table.add(rows))

    async def upsert(self, rows: pa.Table, instead_of: str | None = None) -> None:
        """Put rows in the place of those with their ids, and add the others; one version.

        Args:
            instead_of: a predicate; other rows that it keeps are gone with the same version.
        """

        def write() -> Awaitable[Any]:
            merge = self._table.merge_insert("id").when_matched_update_all()
            merge = merge.when_not_matched_insert_all()
            if instead_of is not None:
                merge = merge.when_not_matched_by_source_delete(instead_of)
            done: Awaitable[Any] = merge.execute(rows)
            return done

        await self._write(write)

    async def delete(self, where: str) -> int:
        """Delete the rows that a predicate keeps; return how many."""
        done = await self._write(lambda: self._table.delete(where))
        return int(done.num_deleted_rows)

    async def read(
        self,
        columns: Sequence[str],
        where: str | None = None,
        *,
        limit: int | None = None,
        in_order: bool = False,
    ) -> pa.Table:
        """Return rows, `in_order` by their ids."""
        query = self._scan(columns, where, limit)
        query = by_id(query) if in_order else query
        found: pa.Table = await self._reading(query.to_arrow())
        return found

    @asynccontextmanager
    async def batches(
        self, columns: Sequence[str], where: str | None = None
    ) -> AsyncIterator[AsyncIterator[pa.RecordBatch]]:
        """Rows in batches of at most `BATCH_BYTES`, of one version however long they are read."""
        query = self._scan(columns, where, None)
        found = await self._reading(query.to_batches(max_batch_length=rows_at_once(columns)))

        async def each() -> AsyncIterator[pa.RecordBatch]:
            rows = aiter(found)
            while (batch := await self._reading(anext(rows, None))) is not None:
                yield batch

        yield each()

    async def sizes(self, where: str | None = None, *, limit: int) -> pa.Table:
        """Return the first items by id, each with its `size`: metadata and text, in bytes."""
        sized = {"id": "id", "size": f"{METADATA_SIZE} + {TEXT_SIZE}"}
        query = by_id(self._scan(sized, where, limit))
        found: pa.Table = await self._reading(query.to_arrow())
        return found

    async def nearest(
        self,
        vector: Any,
        k: int,
        distance: Distance,
        columns: Sequence[str],
        where: str | None = None,
    ) -> pa.Table:
        """Return rows that the index finds near a vector, with `_distance`, nearest first.

        Raises:
            AnswerTooLargeError: their metadata is.
        """
        query = self._table.query().nearest_to(vector).distance_type(METRIC[distance])
        query = query.refine_factor(REFINE).minimum_nprobes(PROBES_MIN).maximum_nprobes(PROBES_ALL)
        return await self._ranked(query, k, [*columns, "_distance"], where)

    async def matching(
        self, text: str, k: int, columns: Sequence[str], where: str | None = None
    ) -> pa.Table:
        """Return rows whose text has words of a text, with `_score` (BM25), best first.

        Raises:
            AnswerTooLargeError: their metadata is.
        """
        query = self._table.query().nearest_to_text(text, columns=["text"])
        return await self._ranked(query, k, [*columns, "_score"], where)

    async def _ranked(
        self, query: Any, k: int, columns: Sequence[str], where: str | None
    ) -> pa.Table:
        query = query.limit(k) if where is None else query.limit(k).where(where)
        if k > SURE_ROWS and "metadata" in columns:
            sized = {columns[-1]: columns[-1], "size": METADATA_SIZE}
            sizes = await self._reading(query.select(sized).to_arrow())
            check_bytes(sum(values(sizes, "size")))
        found: pa.Table = await self._reading(query.select(list(columns)).to_arrow())
        return found

    async def build_text_index(self) -> None:
        """Build the index of the words of all texts; of any language, so without stems."""
        from lancedb.index import FTS

        config = FTS(with_position=False, stem=False, remove_stop_words=False, ascii_folding=True)
        await self._again(lambda: self._table.create_index("text", config=config, replace=True))
        await self.make_durable()

    async def fragments(self) -> int:
        """Return in how many pieces the rows lie."""
        stats: Any = await self._reading(self._table.stats())
        return int(stats["fragment_stats"]["num_fragments"])

    async def index(self) -> Indexed | None:
        """Return how much the index of the vectors knows; None without one."""
        stats = await self._reading(self._table.index_stats(VECTOR_INDEX))
        if stats is None:
            return None
        return Indexed(int(stats.num_indexed_rows), int(stats.num_unindexed_rows))

    async def index_names(self) -> set[str]:
        return {each.name for each in await self._reading(self._table.list_indices())}

    async def build_vector_index(self, distance: Distance, dimension: int) -> None:
        """Build the index of the vectors: a bit a number, where Lance packs them by eights.

        Else a byte a number, which takes eight times the memory and finds no less.
        """
        from lancedb.index import IvfRq, IvfSq

        metric = METRIC[distance]
        config = IvfSq(distance_type=metric) if dimension % 8 else IvfRq(distance_type=metric)
        await self._again(lambda: self._table.create_index("vector", config=config, replace=True))
        await self.make_durable()

    async def build_column_index(self, column: str, *, few_values: bool = False) -> None:
        """Build the index of a scalar column."""
        from lancedb.index import Bitmap, BTree

        config = Bitmap() if few_values else BTree()
        await self._again(lambda: self._table.create_index(column, config=config, replace=True))
        await self.make_durable()

    async def optimize(self) -> Tidied:
        """Write small files together, bring indexes up to date, remove what is old.

        Raises:
            CollectionBusyError: others wrote the same pieces meanwhile, again and again.
        """
        done = await self._again(lambda: self._table.optimize(cleanup_older_than=OLD))
        await self.make_durable()
        merged = done.compaction.fragments_removed
        return Tidied(merged, done.prune.old_versions_removed, done.prune.bytes_removed)

    async def make_durable(self) -> None:
        """Sync what was written up to now; a bucket is durable by itself."""
        if self._durable is None:
            return
        version = int(await self._table.version())
        try:
            await on_thread(partial(self._durable.sync, version))
        except OSError as error:
            raise in_our_words(self._name, error) from error

    def _scan(
        self, columns: Sequence[str] | dict[str, str], where: str | None, limit: int | None
    ) -> Any:
        chosen = columns if isinstance(columns, dict) else list(columns)
        query = self._table.query().select(chosen)
        if where is not None:
            query = query.where(where)
        return query if limit is None else query.limit(limit)

    async def _write(self, write: Callable[[], Awaitable[T]]) -> T:
        done = await self._again(write)
        await self.make_durable()
        return done

    async def _again(self, write: Callable[[], Awaitable[T]]) -> T:
        """Return what a write gives; one that another was faster than is tried again."""
        for number in range(TRIES):
            try:
                return await write()
            except (RuntimeError, OSError, ValueError) as error:
                if not CONFLICT.search(str(error)):
                    raise in_our_words(self._name, error) from error
                if number + 1 == TRIES:
                    raise CollectionBusyError(self._name) from error
                await asyncio.sleep(RETRY_S * 2**number)
        raise AssertionError("the last try returned or raised")

    async def _reading(self, asked: Awaitable[T]) -> T:
        try:
            return await asked
        except (RuntimeError, OSError) as error:
            raise in_our_words(self._name, error) from error


def by_id(query: Any) -> Any:
    from lancedb.query import ColumnOrdering

    return query.order_by([ColumnOrdering(column_name="id", ascending=True)])


def rows_at_once(columns: Sequence[str]) -> int:
    """Return how many rows of some columns have at most `BATCH_BYTES`, however large they are."""
    known = sum(COLUMN_BYTES.get(name, 0) for name in columns)
    has_more = not COLUMN_BYTES.keys() >= set(columns)
    return min(BATCH_ROWS, BATCH_BYTES // (known + has_more * 2 * METADATA_MAX_BYTES))


def in_our_words(name: str, error: Exception) -> LakehouseError:
    """Return our error for one of Lance, which has paths of this machine in it."""
    log.warning("the collection %s cannot be read or written: %s", name, error)
    if FULL.search(str(error)):
        return DiskFullError()
    if UNREACHED.search(str(error)):
        return StoreDownError("it does not answer")
    why = "a file is missing" if "not found" in str(error).lower() else "a file is damaged"
    return CollectionDamagedError(name, why)


def text_literal(text: str) -> str:
    """Return a text as Lance's SQL writes one."""
    return "'" + text.replace("'", "''") + "'"


def among(ids: Sequence[str]) -> str:
    """Return the predicate that an id is one of these."""
    return f"id IN ({', '.join(map(text_literal, ids))})"
