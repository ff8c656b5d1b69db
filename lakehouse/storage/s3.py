"""The warehouse in a bucket: S3, MinIO, whatever speaks their protocol."""

import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO

from lakehouse.storage.bucket import Bucket
from lakehouse.storage.disk_cache import DiskCache
from lakehouse.storage.errors import ObjectNotFoundError
from lakehouse.storage.store import Stored

PLAIN_KEY = re.compile(r"[\w.:=%+-]+(/[\w.:=%+-]+)*", re.ASCII)
"""DuckDB takes what follows a `?` for options: another server, and our keys go there.

No part is empty. A `%` and a `+` come with values of partitions, which other engines escape in
paths: it is part of the name, and neither DuckDB nor the client decodes it.
"""
CLOCK = "_tmp/clock"
KEPT = re.compile(r"tables/.+/metadata/[^/]+\.(avro|metadata\.json)")
"""What is named once and never changes, is small, and is read by us: copies of it are kept."""
LISTED_MIN = 10
"""Fewer objects are asked for one by one: a list has those of the past, too."""


class S3Store:
    """The objects below one prefix of a bucket; `Store` says what is what.

    An object is there whole or not at all, and durable once it is there: that is the server's
    promise. Folders are only how names look.

    Args:
        place: `s3://bucket/prefix`.
        spool: a folder on this machine, for what is large and on its way.
        cache: for copies of what never changes; None keeps none.
    """

    def __init__(
        self, place: str, bucket: Bucket, spool: Path, cache: DiskCache | None = None
    ) -> None:
        self.place = place
        self.bucket = bucket
        self._prefix = f"{place}/"
        self._names = self._prefix.removeprefix(f"s3://{bucket.name}/")
        self._spool = spool
        self._cache = cache

    def uri(self, key: str) -> str:
        return f"{self._prefix}{checked(key)}" if key else self.place

    def key(self, uri: str) -> str:
        if not uri.startswith(self._prefix):
            raise ValueError(f"{uri!r} is not below {self.place}")
        return checked(uri.removeprefix(self._prefix))

    def name(self, key: str) -> str:
        """Return what the object of a key is called in the bucket."""
        return self._names + checked(key)

    def read(self, key: str) -> bytes:
        cache = self._cache_of(key)
        found = cache.get(key) if cache else None
        if found is not None:
            return found
        asked_at = cache.now() if cache else 0
        with naming(key), self.bucket.open(self.name(key)) as file:
            data = file.read()
        if cache and file.is_whole(data):
            cache.put(key, data, asked_at)
        return data

    def _cache_of(self, key: str) -> DiskCache | None:
        return self._cache if KEPT.fullmatch(key) else None

    def open(self, key: str) -> BinaryIO:
        with naming(key):
            return self.bucket.open(self.name(key))

    def write(self, key: str, data: bytes) -> None:
        self.bucket.put(self.name(key), data)
        self._keep(key, data)

    def create(self, key: str, data: bytes) -> None:
        self.bucket.create(self.name(key), data)
        self._keep(key, data)

    def _keep(self, key: str, data: bytes) -> None:
        if cache := self._cache_of(key):
            cache.put(key, data)

    def _leaving(self, key: str, *, is_folder: bool = False) -> AbstractContextManager[None]:
        return self._cache.leaving(key, is_folder=is_folder) if self._cache else nullcontext()

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        name = self.name(key)
        with tempfile.TemporaryFile(dir=self._spool) as file:
            yield file
            self.bucket.put_file(name, file, file.seek(0, 2))

    def sync(self, keys: Iterable[str]) -> None:
        """Do nothing: the server answered, so it is there."""

    def prepare(self, key: str) -> None:
        """Do nothing: there are no folders."""

    def check_room(self, size_bytes: int) -> None:
        """Do nothing: a bucket has no end that we know."""

    def delete(self, key: str) -> None:
        with self._leaving(key):
            self.bucket.delete(self.name(key))

    def delete_folder(self, key: str) -> None:
        with self._leaving(key, is_folder=True):
            self.bucket.delete_all(each.key for each in self.bucket.list(f"{self.name(key)}/"))

    def delete_empty_folders(self, key: str) -> None:
        """Do nothing: there are no folders."""

    def remove_empty_folders(self, prefix: str, before_s: float) -> None:
        """Do nothing: there are no folders."""

    def exists(self, key: str) -> bool:
        return self.size(key) is not None

    def is_linked(self, key: str) -> bool:
        return False

    def size(self, key: str) -> int | None:
        found = self.bucket.find(self.name(key))
        return None if found is None else found.size_bytes

    def sizes(self, folder: str, keys: Collection[str]) -> Mapping[str, int]:
        if len(keys) < LISTED_MIN:
            found = ((key, self.size(key)) for key in keys)
            return {key: size_bytes for key, size_bytes in found if size_bytes is not None}
        wanted = set(keys)
        return {each.key: each.size_bytes for each in self.stored(folder) if each.key in wanted}

    def now_s(self) -> float:
        return self.bucket.time_s(self.name(CLOCK))

    def stored(self, prefix: str) -> Iterator[Stored]:
        for found in self.bucket.list(self._folder(prefix)):
            yield found._replace(key=found.key.removeprefix(self._names))

    def keys(self, prefix: str) -> Iterator[str]:
        return (each.key for each in self.stored(prefix))

    def folders(self, prefix: str, depth: int) -> list[str]:
        found = [self._folder(prefix)]
        for _ in range(depth):
            found = [inner for outer in found for inner in self.bucket.folders(outer)]
        return sorted(each.removeprefix(self._names).rstrip("/") for each in found)

    def _folder(self, prefix: str) -> str:
        return f"{self.name(prefix)}/" if prefix else self._names


def checked(key: str) -> str:
    """Return `key`; `ValueError` when somebody could read another path in it."""
    if not PLAIN_KEY.fullmatch(key) or not {".", ".."}.isdisjoint(key.split("/")):
        raise ValueError(f"{key!r} is not the key of an object")
    return key


@contextmanager
def naming(key: str) -> Iterator[None]:
    """Name what is not there as its callers know it."""
    try:
        yield
    except ObjectNotFoundError:
        raise ObjectNotFoundError(key) from None
