"""The Iceberg REST catalog protocol over the same catalog: other engines open the same tables."""

from lakehouse.iceberg.endpoints import Protocol
from lakehouse.iceberg.mount import iceberg_at

__all__ = ["Protocol", "iceberg_at"]
