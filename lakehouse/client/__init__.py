"""The same nouns over HTTP, for other programs: no engine is loaded, only httpx and msgspec."""

from lakehouse.client.answers import RemoteError
from lakehouse.client.client import DEFAULT_URL, Client
from lakehouse.client.models import (
    DryRun,
    IngestReport,
    Problem,
    Rejected,
    RowsReport,
    Snapshot,
    Table,
)
from lakehouse.client.results import Result

__all__ = [
    "DEFAULT_URL",
    "Client",
    "DryRun",
    "IngestReport",
    "Problem",
    "Rejected",
    "RemoteError",
    "Result",
    "RowsReport",
    "Snapshot",
    "Table",
]
