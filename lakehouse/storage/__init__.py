"""Objects by key: what every other part of the warehouse is made of."""

from lakehouse.storage.catalog_copy import copy_catalog, keep_copies
from lakehouse.storage.errors import InvalidKeyError, ObjectNotFoundError
from lakehouse.storage.local import LocalStore
from lakehouse.storage.local_objects import LocalObjects, ObjectInfo
from lakehouse.storage.objects import Objects, steady

__all__ = [
    "InvalidKeyError",
    "LocalObjects",
    "LocalStore",
    "ObjectInfo",
    "ObjectNotFoundError",
    "Objects",
    "copy_catalog",
    "keep_copies",
    "steady",
]
