"""The Iceberg REST catalog protocol over the same catalog: other engines open the same tables."""

from lakehouse.iceberg.mount import iceberg_at
from lakehouse.iceberg.protocol import Protocol

__all__ = ["Protocol", "iceberg_at"]
