"""The raw objects of the storage API: put, get, list, delete, each within its limits."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, TypeVar

import anyio

from lakehouse.auth import (
    ALL_OBJECTS,
    caller,
    check_may,
    may,
    object_resource,
    table_resource,
)
from lakehouse.config import StorageConfig
from lakehouse.errors import UnavailableError
from lakehouse.lanes import on_thread
from lakehouse.state import State, Transaction
from lakehouse.storage.errors import (
    BodyLengthError,
    ObjectNotFoundError,
    ObjectRegisteredError,
    ObjectTooLargeError,
    PutsBusyError,
)
from lakehouse.storage.keys import KEY_MAX_BYTES, check_key
from lakehouse.storage.object_store import ObjectInfo, ObjectStore, Upload

T = TypeVar("T")

VECTORS = "_vectors/"
PIECE_BYTES = 256 * 1024
"""What a download holds in memory."""
GATHERED_BYTES = 1024 * 1024
"""What an upload gathers in memory before it goes to the disk: a thread hop for each."""
THREADS_MAX = 16


@dataclass(frozen=True, slots=True)
class OpenObject:
    """An object whose bytes can be read; no later PUT or DELETE changes them. Close it."""

    info: ObjectInfo
    _file: BinaryIO
    _limiter: anyio.CapacityLimiter

    async def pieces(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Yield `length` bytes from `start`, in pieces of `PIECE_BYTES`."""
        while length > 0:
            read = partial(self._read, min(PIECE_BYTES, length), start)
            piece = await on_thread(read, self._limiter)
            if not piece:
                raise UnavailableError(f"the object {self.info.key!r} was cut short")
            start, length = start + len(piece), length - len(piece)
            yield piece

    def _read(self, length: int, start: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)

    def close(self) -> None:
        self._file.close()


class Objects:
    """Objects by key. An object that a table reads is neither replaced nor deleted."""

    def __init__(self, objects: ObjectStore, state: State, config: StorageConfig) -> None:
        self._objects = objects
        self._state = state
        self._config = config
        self._puts = 0
        self._limiter = anyio.CapacityLimiter(THREADS_MAX)
        self._watched: dict[int, tuple[Collection[str], set[str]]] = {}

    @contextmanager
    def watching(self, keys: Collection[str]) -> Iterator[Collection[str]]:
        """Yield those of `keys` that were put or deleted since the block began, as it goes on.

        A change is among them before its transaction ends. So who looks at an object in this block
        and then asks in a transaction of their own knows whether it is still what it was, and
        nobody waits for a store meanwhile.
        """
        changed = set[str]()
        self._watched[id(changed)] = keys, changed
        try:
            yield changed
        finally:
            del self._watched[id(changed)]

    async def put(
        self, key: str, stream: AsyncIterator[bytes], size_bytes: int | None = None
    ) -> ObjectInfo:
        """Store what `stream` yields under `key`; on disk when this returns.

        Until then, and after any error, the object that was there before is what everybody sees.

        Args:
            key: checked against the contract's rules.
            stream: not read before all that can be refused at once was.
            size_bytes: what was announced; None when nothing was.

        Raises:
            InvalidKeyError, ObjectTooLargeError: refused, whatever is sent.
            BodyLengthError: the stream is not as long as announced.
            PutsBusyError: as many as are allowed at once are being stored already.
            ObjectRegisteredError: a table reads the object that is there.
            DiskFullError: there is no room.
            ForbiddenError: the caller may not write under that key.
        """
        check_may("write", object_resource(key), f"the object {key[:80]!r}")
        max_bytes = self._max_bytes(check_key(key))
        if size_bytes is not None and size_bytes > max_bytes:
            raise ObjectTooLargeError(key, max_bytes)
        if self._puts >= self._config.put_concurrency_max:
            raise PutsBusyError(self._config.put_concurrency_max)
        self._puts += 1
        try:
            upload = await self._call(partial(self._begin, key, size_bytes))
            try:
                await self._receive(upload, key, stream, size_bytes, max_bytes)
                return await self._call(
                    partial(self._objects.put, upload, key, self._unless_registered)
                )
            finally:
                with anyio.CancelScope(shield=True):
                    await self._call(upload.discard)
        finally:
            self._puts -= 1

    async def get(self, key: str) -> OpenObject:
        """Return the object, open; `ObjectNotFoundError` when there is none for the caller."""
        if not may("read", object_resource(key)):
            raise ObjectNotFoundError(key)
        info, file = await self._call(partial(self._objects.open, key))
        return OpenObject(info, file, self._limiter)

    def _list_visible(self, prefix: str, after: str, limit: int) -> tuple[list[ObjectInfo], bool]:
        """List, of the objects that begin with `prefix`, those that the caller may see.

        Looks at no others, however many there are.
        """
        kept: list[ObjectInfo] = []
        for part in caller().parts("read", object_resource(prefix)):
            if len(kept) <= limit:
                wanted = limit + 1 - len(kept)
                found, _ = self._objects.list(part.removeprefix(ALL_OBJECTS), after, wanted)
                kept += found
        return kept[:limit], len(kept) > limit

    async def list(
        self, prefix: str = "", after: str = "", limit: int = 1000
    ) -> tuple[list[ObjectInfo], bool]:
        """Return objects by the bytes of their keys, and whether there are more.

        Args:
            prefix: of the key; empty for all.
            after: the last key of the page before; empty for the first page.
            limit: 1 or more.
        """
        if len(prefix.encode(errors="replace")) > KEY_MAX_BYTES:
            return [], False
        return await self._call(partial(self._list_visible, prefix, after, limit))

    async def delete(self, key: str) -> None:
        """Remove the object, if there is one.

        Raises:
            ObjectRegisteredError: a table reads it.
            ForbiddenError: the caller may not write under that key.
        """
        check_may("write", object_resource(key), f"the object {key[:80]!r}")
        await self._call(partial(self._objects.delete, check_key(key), self._unless_registered))

    def _max_bytes(self, key: str) -> int:
        if key.startswith(VECTORS):
            return self._config.vectors_put_max_bytes
        return self._config.put_max_bytes

    def _begin(self, key: str, size_bytes: int | None) -> Upload:
        self._state.read(partial(refuse_registered, key))
        return self._objects.begin(key, size_bytes)

    async def _receive(
        self,
        upload: Upload,
        key: str,
        stream: AsyncIterator[bytes],
        size_bytes: int | None,
        max_bytes: int,
    ) -> None:
        received, gathered = 0, bytearray()
        async for piece in stream:
            received += len(piece)
            if received > max_bytes:
                raise ObjectTooLargeError(key, max_bytes)
            gathered += piece
            if len(gathered) >= GATHERED_BYTES:
                await self._call(partial(upload.write, gathered))
                gathered = bytearray()
        if size_bytes is not None and received != size_bytes:
            raise BodyLengthError(size_bytes, received)
        await self._call(partial(upload.write, gathered))

    def _unless_registered(self, key: str, change: Callable[[], None]) -> None:
        """Run `change` in the transaction that finds no table reading the object.

        A table is registered in a transaction too, and there is one at a time: what it found
        unregistered stays so until the change is done, and who registers is `watching`.
        """

        def work(tx: Transaction) -> None:
            refuse_registered(key, tx)
            change()
            for keys, changed in list(self._watched.values()):
                if key in keys:
                    changed.add(key)

        self._state.write(work)

    async def _call(self, work: Callable[[], T]) -> T:
        return await on_thread(work, self._limiter)


def refuse_registered(key: str, tx: Transaction) -> None:
    row = tx.execute(
        "SELECT dataset, dropped_table.table_uuid FROM registered_object"
        " LEFT JOIN dropped_table USING (table_uuid)"
        " WHERE object_key = ? ORDER BY dropped_table.table_uuid IS NOT NULL, dataset",
        (key,),
    ).fetchone()
    if row:
        dataset, dropped_uuid = row
        namespace, _, name = dataset.partition(".")
        is_seen = may("read", table_resource(namespace, name))
        raise ObjectRegisteredError(key, dataset if is_seen else None, dropped_uuid)
