"""One file a group of claims; importing this package fills `evidence.CASES`."""

from tests.proof.cases import (
    catalog,
    embed,
    health,
    ingest,
    performance,
    query,
    refusals,
    risks,
    storage,
    vectors,
)

__all__ = [
    "catalog",
    "embed",
    "health",
    "ingest",
    "performance",
    "query",
    "refusals",
    "risks",
    "storage",
    "vectors",
]
