"""The objects of the storage API in a bucket.

Where one lies:

    raw/2024/people.csv    objects/raw-2F2024-2Fpeople-2Ecsv-/00001898f3a5b2c4-5f2e91d0

The name is the key's bytes, those that are no letters and digits in hex, so that names sort as keys
do and a list is one request a thousand objects; by the `-` at its end `a` comes before `a/b`. The
last part is named anew by each PUT: nothing that was read under the old name, by DuckDB's caches
least of all, is taken for the new.
"""

import itertools
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from lakehouse.disk import Disk
from lakehouse.storage.errors import InvalidKeyError, ObjectNotFoundError, StoreDownError
from lakehouse.storage.keys import check_key
from lakehouse.storage.object_store import OBJECTS, Guard, ObjectInfo, Upload
from lakehouse.storage.s3 import S3Store
from lakehouse.storage.store import Stored
from lakehouse.storage.versions import VERSION, version_after

NAME_MAX_BYTES = 1024
"""Of an object in a bucket. Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html"""
VERSION_CHARACTERS = 25
END = "-"
PLAIN = re.compile(rb"[A-Za-y0-9]")
ESCAPED = re.compile(r"[-=_z]([0-9A-F]{2})")
FIND_ATTEMPTS_MAX = 20


class S3Objects:
    """What lies under `objects/`; `ObjectStore` says what is what.

    This process alone has the warehouse, so what is about to come, or to go, is known in memory:
    others do not see it before the guard has let it pass.
    """

    def __init__(self, store: S3Store, spool: Path, disk: Disk) -> None:
        self._store = store
        self._bucket = store.bucket
        self._spool = spool
        self._disk = disk
        self._hidden: set[str] = set()
        """Keys in the warehouse of what is not there for anybody."""
        self._changing = threading.Lock()

    def find(self, key: str) -> ObjectInfo:
        found = self._versions(check_key(key))
        if not found:
            raise ObjectNotFoundError(key)
        return self._info(key, found[-1])

    def open(self, key: str) -> tuple[ObjectInfo, BinaryIO]:
        for _ in range(FIND_ATTEMPTS_MAX):
            info = self.find(key)
            try:
                file = self._bucket.open(self._store.name(self._store.key(info.location)))
            except ObjectNotFoundError:
                continue  # replaced between the two looks
            if file.size_bytes != info.size_bytes:  # an object of that name is never another
                file.close()
                raise StoreDownError("it says two sizes of one object")
            return info, file
        raise ObjectNotFoundError(key)

    def list(self, prefix: str, after: str, limit: int) -> tuple[list[ObjectInfo], bool]:
        found: list[ObjectInfo] = []
        for key, newest in self._newest(prefix, after):
            if len(found) == limit:
                return found, True
            found.append(self._info(key, newest))
        return found, False

    def begin(self, key: str, size_bytes: int | None) -> Upload:
        self._folder(check_key(key))
        path = self._spool / f"object-{secrets.token_hex(12)}"
        return Upload.begin(path, self._disk, size_bytes)

    def put(self, upload: Upload, key: str, guard: Guard) -> ObjectInfo:
        folder = self._folder(check_key(key))
        with self._changing:
            older = self._versions(key)
            target = f"{folder}/{version_after([each.key[-VERSION_CHARACTERS:] for each in older])}"
            self._hidden.add(target)
        try:
            upload.file.flush()
            size_bytes = upload.file.seek(0, 2)
            self._bucket.put_file(self._store.name(target), upload.file, size_bytes)
            with self._changing:
                older = [each for each in self._versions(key) if each.key < target]
                guard(key, lambda: self._hidden.discard(target))
        except BaseException:
            self._store.delete(target)
            raise
        finally:
            self._hidden.discard(target)
        for each in older:
            self._store.delete(each.key)
        return self._stored(key, target, size_bytes)

    def _stored(self, key: str, target: str, size_bytes: int) -> ObjectInfo:
        """Return what was just put, of the size that went up whatever is said of it."""
        found = self._bucket.find(self._store.name(target))
        if found is None:  # replaced or deleted since
            raise ObjectNotFoundError(key)
        return self._info(key, found._replace(key=target, size_bytes=size_bytes))

    def delete(self, key: str, guard: Guard) -> None:
        check_key(key)
        with self._changing:
            gone = [each.key for each in self._versions(key)]
            guard(key, lambda: self._hidden.update(gone))
        try:
            for each in gone:  # oldest first, so that no older one is ever the newest
                self._store.delete(each)
        finally:
            self._hidden.difference_update(gone)

    def _folder(self, key: str) -> str:
        """Return the key, in the warehouse, of what an object's bytes lie under."""
        folder = f"{OBJECTS}/{name_of(key)}{END}"
        length = len(self._store.name(folder)) + 1 + VERSION_CHARACTERS
        if length > NAME_MAX_BYTES:
            reason = f"its name in the bucket would have {length} bytes, {NAME_MAX_BYTES} is most"
            raise InvalidKeyError(key, reason)
        return folder

    def _versions(self, key: str) -> Sequence[Stored]:
        """Return what is there of an object, the newest last; usually one, or none."""
        try:
            folder = self._folder(key)
        except InvalidKeyError:
            return []
        return [each for each in self._store.stored(folder) if self._is_seen(each.key)]

    def _is_seen(self, key: str) -> bool:
        return key not in self._hidden and bool(VERSION.fullmatch(key.rpartition("/")[2]))

    def _newest(self, prefix: str, after: str) -> Iterator[tuple[str, Stored]]:
        start = self._store.name(OBJECTS) + "/"
        # `0` follows `/`: what is stored under the key itself is left out, what it begins is not.
        behind = f"{start}{name_of(after)}{END}0" if after else ""
        strip = len(self._store.name("x")) - 1
        listed = (
            found._replace(key=found.key[strip:])
            for found in self._bucket.list(start + name_of(prefix), behind)
        )
        seen = (found for found in listed if self._is_seen(found.key))
        for folder, versions in itertools.groupby(seen, lambda each: each.key.rpartition("/")[0]):
            key = key_of(folder.removeprefix(f"{OBJECTS}/"))
            if key is not None:
                *_, newest = versions
                yield key, newest

    def _info(self, key: str, found: Stored) -> ObjectInfo:
        return ObjectInfo(
            key=key,
            size_bytes=found.size_bytes,
            etag=found.key.rpartition("/")[2],
            modified_at=datetime.fromtimestamp(int(found.changed_at_s), UTC),
            location=self._store.uri(found.key),
        )


def name_of(key: str) -> str:
    """Return a key's name: bytes below `0`, below `A`, below `a`, and above `y`, are escaped.

    Each of these begins with a character that sorts where they do: `-`, `=`, `_`, `z`.
    """
    return "".join(
        chr(byte) if PLAIN.match(bytes([byte])) else f"{lead(byte)}{byte:02X}"
        for byte in key.encode()
    )


def lead(byte: int) -> str:
    if byte < ord("0"):
        return "-"
    if byte < ord("A"):
        return "="
    return "_" if byte < ord("a") else "z"


def key_of(name: str) -> str | None:
    """Return the key of a name with its end; None for one that no key has."""
    name = name.removesuffix(END)
    try:
        key = re.sub(ESCAPED, lambda found: chr(int(found[1], 16)), name).encode("latin-1").decode()
    except UnicodeDecodeError:
        return None
    return key if name_of(key) == name else None
