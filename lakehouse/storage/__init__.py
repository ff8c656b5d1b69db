"""Objects by key: what every other part of the warehouse is made of."""

from lakehouse.storage.errors import InvalidKeyError, ObjectNotFoundError
from lakehouse.storage.local import LocalStore

__all__ = ["InvalidKeyError", "LocalStore", "ObjectNotFoundError"]
