"""Objects by key: what every other part of the warehouse is made of."""

from lakehouse.storage.catalog_copy import COPY_KEY, copy_catalog, keep_copies
from lakehouse.storage.errors import InvalidKeyError, ObjectNotFoundError
from lakehouse.storage.keys import check_key
from lakehouse.storage.local import LocalStore
from lakehouse.storage.local_objects import LocalObjects, ObjectInfo, object_key
from lakehouse.storage.objects import Objects

__all__ = [
    "COPY_KEY",
    "InvalidKeyError",
    "LocalObjects",
    "LocalStore",
    "ObjectInfo",
    "ObjectNotFoundError",
    "Objects",
    "check_key",
    "copy_catalog",
    "keep_copies",
    "object_key",
]
