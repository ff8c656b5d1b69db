"""Objects by key: what every other part of the warehouse is made of."""

from lakehouse.storage.catalog_copy import COPY_KEY, copy_catalog, keep_copies
from lakehouse.storage.errors import (
    InvalidKeyError,
    InvalidSourceError,
    ObjectChangedError,
    ObjectNotFoundError,
    StoreDownError,
    WarehouseNestedError,
    WarehouseOwnedError,
    engine_failed,
)
from lakehouse.storage.keys import check_key
from lakehouse.storage.local import LocalStore
from lakehouse.storage.local_objects import LocalObjects
from lakehouse.storage.object_store import ObjectInfo, ObjectStore
from lakehouse.storage.objects import Objects
from lakehouse.storage.outside import Outside, OutsideObject
from lakehouse.storage.places import object_key
from lakehouse.storage.s3 import S3Store
from lakehouse.storage.s3_objects import S3Objects
from lakehouse.storage.store import Store, Stored
from lakehouse.storage.together import at_once
from lakehouse.storage.warehouse import Warehouse, open_warehouse

__all__ = [
    "COPY_KEY",
    "InvalidKeyError",
    "InvalidSourceError",
    "LocalObjects",
    "LocalStore",
    "ObjectChangedError",
    "ObjectInfo",
    "ObjectNotFoundError",
    "ObjectStore",
    "Objects",
    "Outside",
    "OutsideObject",
    "S3Objects",
    "S3Store",
    "Store",
    "StoreDownError",
    "Stored",
    "Warehouse",
    "WarehouseNestedError",
    "WarehouseOwnedError",
    "at_once",
    "check_key",
    "copy_catalog",
    "engine_failed",
    "keep_copies",
    "object_key",
    "open_warehouse",
]
