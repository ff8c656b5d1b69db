"""Collections of vectors: items by id, what is near to a vector or a text, and their indexes."""

from lakehouse.vectors.errors import (
    CollectionDamagedError,
    CollectionExistsError,
    CollectionNotFoundError,
    InvalidCollectionError,
    InvalidFilterError,
    InvalidItemError,
    InvalidQueryError,
)
from lakehouse.vectors.lance import Lance
from lakehouse.vectors.ledger import Ledger, count_in
from lakehouse.vectors.relations import Relations
from lakehouse.vectors.vectors import Vectors

__all__ = [
    "CollectionDamagedError",
    "CollectionExistsError",
    "CollectionNotFoundError",
    "InvalidCollectionError",
    "InvalidFilterError",
    "InvalidItemError",
    "InvalidQueryError",
    "Lance",
    "Ledger",
    "Relations",
    "Vectors",
    "count_in",
]
