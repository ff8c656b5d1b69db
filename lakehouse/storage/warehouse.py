"""The warehouse, opened where the settings say that it lies."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lakehouse.config import StorageConfig, take_s3_keys
from lakehouse.database import Remote
from lakehouse.disk import Disk
from lakehouse.storage.bucket import Bucket
from lakehouse.storage.catalog_copy import COPY_KEY
from lakehouse.storage.credentials import KeySource
from lakehouse.storage.disk_cache import DiskCache
from lakehouse.storage.errors import (
    ObjectExistsError,
    ObjectNotFoundError,
    StoreRefusedError,
    WarehouseNestedError,
    WarehouseOwnedError,
)
from lakehouse.storage.local import LocalStore
from lakehouse.storage.local_objects import LocalObjects
from lakehouse.storage.object_store import ObjectStore
from lakehouse.storage.outside import Outside
from lakehouse.storage.s3 import S3Store
from lakehouse.storage.s3_objects import S3Objects
from lakehouse.storage.store import Store

OWNER = "_catalog/owner"


@dataclass(frozen=True, slots=True)
class Warehouse:
    store: Store
    objects: ObjectStore
    bucket: Bucket | None = None
    """What it lies in; None for a directory."""
    remote: Remote | None = None
    """How the engine reaches it there."""
    outside: Outside = field(default_factory=lambda: Outside(StorageConfig(), None))
    """What else loads may read."""

    @property
    def has_copy(self) -> bool:
        """Whether a copy of a catalog lies there: somebody has tables in it."""
        return self.store.exists(COPY_KEY)

    def claim(self, owner_id: str) -> None:
        """Make a bucket this data directory's, or see that it is.

        A directory lies in its data directory, which has a lock.

        Raises:
            WarehouseOwnedError: it is another one's.
            WarehouseNestedError: another one's lies around or inside it; if it was nobody's, it
                still is.
        """
        if self.bucket is None:
            return
        is_new = not self.store.exists(OWNER)
        if is_new:
            try:
                self.store.create(OWNER, owner_id.encode())
            except ObjectExistsError:
                raise WarehouseOwnedError(self.store.place) from None
        if self.store.read(OWNER) != owner_id.encode():
            raise WarehouseOwnedError(self.store.place)
        try:
            # Whoever comes later finds our mark around it. Without a copy we may have been killed
            # between the two.
            self.check_alone(owner_id, looks_inside=is_new or not self.has_copy)
        except WarehouseNestedError:
            if is_new:
                self.store.delete(OWNER)
            raise

    def take(self, owner_id: str) -> None:
        """Make a bucket this data directory's, whoever had it."""
        if self.bucket is not None:
            self.store.write(OWNER, owner_id.encode())

    def check_alone(self, owner_id: str, *, looks_inside: bool = True) -> None:
        """See that the warehouse of no other data directory lies around or inside this one.

        What one has below its `tables/` that no table of it names, it deletes as an orphan, be it
        another one's. A place that these keys may not read is none that they can delete in.

        Args:
            looks_inside: at each name below it, a thousand a request.

        Raises:
            WarehouseNestedError: one does.
        """
        if self.bucket is None:
            return
        root = f"s3://{self.bucket.name}/"
        prefix = f"{self.store.place}/".removeprefix(root)
        parts = prefix.split("/")[:-1]
        marks = [f"{'/'.join((*parts[:depth], OWNER))}" for depth in range(len(parts))]
        if looks_inside:
            inside = (each.key for each in self.bucket.list(prefix))
            marks += [name for name in inside if name.endswith(f"/{OWNER}")]
        for name in marks:
            if name != prefix + OWNER and self._is_anothers(name, owner_id):
                other = root + name.removesuffix(OWNER).rstrip("/")
                raise WarehouseNestedError(self.store.place, other.rstrip("/"), root + name)

    def _is_anothers(self, name: str, owner_id: str) -> bool:
        assert self.bucket is not None
        try:
            return self.bucket.get(name) != owner_id.encode()
        except (ObjectNotFoundError, StoreRefusedError):
            return False


def open_warehouse(
    config: StorageConfig,
    directory: Path,
    spool: Path,
    disk: Disk | None = None,
    *,
    cache: Path | None = None,
) -> Warehouse:
    """Return the warehouse; nothing is asked of a network yet.

    Args:
        directory: where it lies unless the settings name a bucket.
        spool: a folder for what is on its way to one.
        disk: that all folders lie on.
        cache: a folder for copies of what a bucket has; without one there are none.
    """
    if config.warehouse is None:
        store = LocalStore(directory, disk)
        keys = KeySource.of(config) if config.sources else None
        take_s3_keys()  # no child inherits what nobody here needs
        return Warehouse(store, LocalObjects(store), outside=Outside(config, keys))
    source = KeySource.of(config)
    bucket = Bucket(urlsplit(config.warehouse).netloc, config.warehouse, config, source)
    disk = disk or Disk(spool)
    copies = None
    if cache is not None and config.cache_max_bytes:
        copies = DiskCache(cache, config.warehouse, config.cache_max_bytes, disk)
    remote_store = S3Store(config.warehouse, bucket, spool, copies)
    server = urlsplit(config.endpoint)
    remote = Remote(
        place=config.warehouse,
        endpoint=server.netloc,
        has_tls=server.scheme == "https",
        region=config.region,
        path_style=config.path_style,
        keys=partial(keys_of, source),
    )
    objects = S3Objects(remote_store, spool, disk)
    return Warehouse(remote_store, objects, bucket, remote, Outside(config, source))


def keys_of(source: KeySource) -> tuple[str, str, str]:
    keys = source.keys()
    return keys.access_key, keys.secret_key, keys.session_token
