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
from lakehouse.storage.errors import ObjectExistsError, WarehouseOwnedError
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
        """
        if self.bucket is None:
            return
        if not self.store.exists(OWNER):
            try:
                self.store.create(OWNER, owner_id.encode())
            except ObjectExistsError:
                raise WarehouseOwnedError(self.store.place) from None
        if self.store.read(OWNER) != owner_id.encode():
            raise WarehouseOwnedError(self.store.place)

    def take(self, owner_id: str) -> None:
        """Make a bucket this data directory's, whoever had it."""
        if self.bucket is not None:
            self.store.write(OWNER, owner_id.encode())


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
