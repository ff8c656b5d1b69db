"""What identifies a schema and a dataset, on every host alike."""

import hashlib
import uuid
from collections.abc import Iterable

from lakehouse.catalog.models import Column

FINGERPRINT = "lakehouse.schema-fingerprint"
"""The property of a table that keeps what it was registered with."""
DATASET_NAMESPACE = uuid.UUID("a8f3c1d2-4e5b-5a6c-9d8e-7f0a1b2c3d4e")


def fingerprint(columns: Iterable[Column]) -> str:
    """Return the SHA-256 over (name, type) in column order; nullability is not part of it.

    Fields are joined with 0x1f, columns with 0x1e: `rest-contract.md`, Catalog.
    """
    text = "\x1e".join(f"{column.name}\x1f{column.type}" for column in columns)
    return hashlib.sha256(text.encode()).hexdigest()


def dataset_id(name: str) -> str:
    """Return the UUIDv5 of a dataset's name: the same on every host."""
    return str(uuid.uuid5(DATASET_NAMESPACE, name))
