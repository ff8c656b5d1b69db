"""Where loads may come from besides the request: objects of `/v1/storage`, and of buckets."""

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from lakehouse.lanes import on_thread
from lakehouse.storage import (
    InvalidSourceError,
    ObjectChangedError,
    Objects,
    Outside,
    OutsideObject,
)

OBJECT, BUCKET = "object:", "s3://"
LISTED_AT_ONCE = 1_000
READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SourceObject:
    uri: str
    """`s3://bucket/name`, or `object:` and a key."""
    size_bytes: int
    etag: str
    """Another one when the content is another."""

    @property
    def filename(self) -> str:
        return PurePosixPath(self.uri.removeprefix(OBJECT)).name


class Sources:
    """Lists and reads what the caller may read, and nothing that the settings do not name."""

    def __init__(self, objects: Objects, outside: Outside) -> None:
        self._objects = objects
        self._outside = outside

    async def batches(self, source: str, after: str = "") -> AsyncGenerator[list[SourceObject]]:
        """Yield the objects that a source means, in the order of their names.

        Args:
            source: `object:KEY`; `object:PREFIX/`, for all keys that begin with it; or
                `s3://bucket/prefix`, as `Outside.list` reads it.
            after: one that was listed before, by its `uri`: none up to it is.

        Raises:
            InvalidSourceError: it is none of these.
            ObjectNotFoundError: there is no such key for the caller.
            SourceNotAllowedError, ForbiddenError: nobody may read there, or not the caller.
        """
        if source.startswith(BUCKET):
            listing = self._outside.list(source, after)
            while found := await on_thread(lambda: list(itertools.islice(listing, LISTED_AT_ONCE))):
                yield [SourceObject(*each) for each in found]
            return
        key = source.removeprefix(OBJECT)
        if key == source or not key:
            raise InvalidSourceError(source, "it begins with neither, or nothing follows")
        if not key.endswith("/"):
            if source == after:
                return
            opened = await self._objects.get(key)
            opened.close()
            yield [SourceObject(source, opened.info.size_bytes, opened.info.etag)]
            return
        behind, more = after.removeprefix(OBJECT), True
        while more:
            listed, more = await self._objects.list(key, behind, LISTED_AT_ONCE)
            if listed:
                behind = listed[-1].key
                yield [SourceObject(f"{OBJECT}{i.key}", i.size_bytes, i.etag) for i in listed]

    async def chunks(self, found: SourceObject) -> AsyncGenerator[bytes]:
        """Yield the bytes of an object.

        Raises:
            ObjectChangedError: it is not what was listed any more.
        """
        if found.uri.startswith(BUCKET):
            outside = self._outside_chunks(OutsideObject(found.uri, found.size_bytes, found.etag))
            async with aclosing(outside):
                async for piece in outside:
                    yield piece
            return
        opened = await self._objects.get(found.uri.removeprefix(OBJECT))
        try:
            if opened.info.etag != found.etag:
                raise ObjectChangedError(found.uri)
            async for piece in opened.pieces(0, found.size_bytes):
                yield piece
        finally:
            opened.close()

    async def _outside_chunks(self, found: OutsideObject) -> AsyncGenerator[bytes]:
        file = await on_thread(partial(self._outside.open, found))
        try:
            while piece := await on_thread(partial(file.read, READ_BYTES)):
                yield piece
        finally:
            file.close()
