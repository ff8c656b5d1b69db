"""Collections of vectors: items by id, what is near to a vector or a text, and their indexes."""

from lakehouse.vectors.about import About
from lakehouse.vectors.errors import (
    CollectionDamagedError,
    CollectionExistsError,
    CollectionNotFoundError,
    InvalidCollectionError,
    InvalidFilterError,
    InvalidItemError,
    InvalidQueryError,
)
from lakehouse.vectors.lance import Lance, open_lance
from lakehouse.vectors.ledger import Kept, Ledger, count_in
from lakehouse.vectors.ledger import restore as restore_collection
from lakehouse.vectors.relations import Relations
from lakehouse.vectors.vectors import Vectors

__all__ = [
    "About",
    "CollectionDamagedError",
    "CollectionExistsError",
    "CollectionNotFoundError",
    "InvalidCollectionError",
    "InvalidFilterError",
    "InvalidItemError",
    "InvalidQueryError",
    "Kept",
    "Lance",
    "Ledger",
    "Relations",
    "Vectors",
    "count_in",
    "open_lance",
    "restore_collection",
]
