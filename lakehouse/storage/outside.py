"""Objects of others that loads may read: below the prefixes that the settings name.

A request says which objects; where the server is, and the keys to it, the settings alone say.
"""

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import BinaryIO, NamedTuple

from lakehouse.auth import check_may, may, object_resource
from lakehouse.config import StorageConfig, is_below
from lakehouse.storage.bucket import Bucket
from lakehouse.storage.credentials import KeySource
from lakehouse.storage.errors import (
    InvalidSourceError,
    ObjectChangedError,
    ObjectExistsError,
    ObjectNotFoundError,
    SourceNotAllowedError,
)

SCHEME = "s3://"
ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
ADDRESS_MAX_BYTES = 2048
UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
WILD = re.compile(r"[*?\[]")


class OutsideObject(NamedTuple):
    uri: str
    size_bytes: int
    etag: str


class Wanted(NamedTuple):
    """What an address means: one object, those below a folder, or those of a pattern."""

    bucket: str
    exact: str
    """The name of one object; empty with a pattern."""
    folder: str
    """What the names of the others begin with: it ends in a slash, or is empty."""
    pattern: Sequence[str] | None
    """By the parts of names."""


class Outside:
    """Everything here blocks.

    Who may read an object there is said as for one of `/v1/storage` that has its address as key:
    a grant on `objects:s3://bucket/prefix/`, or on everything.
    """

    def __init__(self, config: StorageConfig, keys: KeySource | None) -> None:
        self._prefixes = config.sources
        self._buckets: dict[str, Bucket] = {}
        if keys is not None:
            for prefix in self._prefixes:
                name = prefix.removeprefix(SCHEME).partition("/")[0]
                self._buckets.setdefault(name, Bucket(name, prefix, config, keys))

    def list(self, address: str, after: str = "") -> Iterator[OutsideObject]:
        """Yield the objects that an address means, by their names.

        Args:
            after: the address of an object: none up to it is listed.
            address: `s3://bucket/name`: the object, and what lies below `name/`; or with `*`,
                `?` and `[a-z]` within a part of the name, and `**` for several parts. A name of
                which a part begins with `_` or `.` is met by the whole of it alone: writers leave
                such objects beside their files.

        Raises:
            InvalidSourceError: it is no address.
            SourceNotAllowedError: it is not below one of the prefixes.
            ForbiddenError: the caller may not read there.
            StoreDownError, StoreRefusedError, NoBucketError: the server has something against it.
        """
        wanted = parse(address)
        base = f"{SCHEME}{wanted.bucket}/{wanted.exact or wanted.folder}".rstrip("/")
        if not any(is_below(base, prefix) for prefix in self._prefixes):
            raise SourceNotAllowedError(address)
        bucket = self._buckets[wanted.bucket]
        folder = f"{SCHEME}{wanted.bucket}/{wanted.folder}"
        behind = after.removeprefix(f"{SCHEME}{wanted.bucket}/")
        if wanted.exact > behind and may("read", object_resource(base)):
            found = bucket.find(wanted.exact)
            if found is not None:
                yield OutsideObject(base, found.size_bytes, found.etag)
        elif not may("read", object_resource(folder)):
            check_may("read", object_resource(base), f"what lies at {base[:200]}")
        if not may("read", object_resource(folder)):
            return
        for found in bucket.list(wanted.folder, behind):
            if is_wanted(found.key, wanted):
                uri = f"{SCHEME}{wanted.bucket}/{found.key}"
                yield OutsideObject(uri, found.size_bytes, found.etag)

    def open(self, found: OutsideObject) -> BinaryIO:
        """Open an object that `list` yielded, as it was then.

        Raises:
            ObjectChangedError: it is gone, or another one.
        """
        name, _, key = found.uri.removeprefix(SCHEME).partition("/")
        try:
            return self._buckets[name].open(key, found.etag)
        except (ObjectExistsError, ObjectNotFoundError):
            raise ObjectChangedError(found.uri) from None


def parse(address: str) -> Wanted:
    """Read an address.

    Raises:
        InvalidSourceError: it is none, or a part of it is not what every client takes it for.
    """
    found = ADDRESS.fullmatch(address)
    if found is None or len(address.encode(errors="replace")) > ADDRESS_MAX_BYTES:
        raise InvalidSourceError(address, "it is not `s3://bucket/prefix`")
    bucket, path = found[1], found[2] or ""
    if UNSAFE.search(path) or not is_plain(path.removesuffix("/")):
        raise InvalidSourceError(address, "its parts are empty, `.` or `..`, or not printable")
    if wild := WILD.search(path):
        folder = path[: wild.start()].rpartition("/")
        return Wanted(bucket, "", folder[0] + folder[1], path.split("/"))
    exact = "" if path.endswith("/") else path
    return Wanted(bucket, exact, f"{path}/" if exact else path, None)


def is_plain(path: str) -> bool:
    """Whether no client reads another path in it: they take `.` and `..` out of an address."""
    return not path or {"", ".", ".."}.isdisjoint(path.split("/"))


def matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a name has a pattern, part by part; in time that nobody's pattern makes long."""
    reached = {0}
    for each in pattern:
        if each == "**":
            reached = set(range(min(reached), len(parts) + 1))
        else:
            there = (at for at in reached if at < len(parts))
            reached = {at + 1 for at in there if fnmatchcase(parts[at], each)}
        if not reached:
            return False
    return len(parts) in reached


def is_wanted(name: str, wanted: Wanted) -> bool:
    below = name[len(wanted.folder) :]
    if not below or not is_plain(below) or UNSAFE.search(below):
        return False
    if any(part.startswith(("_", ".")) for part in below.split("/")):
        return False
    return wanted.pattern is None or matches(name.split("/"), wanted.pattern)
