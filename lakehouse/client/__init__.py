"""The same nouns over HTTP, for other programs: no engine is loaded, only httpx and msgspec."""

from lakehouse.client.answers import RemoteError
from lakehouse.client.client import DEFAULT_URL, Client
from lakehouse.client.models import IngestReport, Problem, RowsReport, Snapshot, Table
from lakehouse.client.results import Result

__all__ = [
    "DEFAULT_URL",
    "Client",
    "IngestReport",
    "Problem",
    "RemoteError",
    "Result",
    "RowsReport",
    "Snapshot",
    "Table",
]
