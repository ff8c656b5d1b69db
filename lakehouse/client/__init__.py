"""The same nouns over HTTP, for other programs: no engine is loaded, only httpx and msgspec."""

from lakehouse.client.answers import RemoteError
from lakehouse.client.client import DEFAULT_URL, Client
from lakehouse.client.models import (
    Difference,
    DroppedTable,
    DryRun,
    IngestReport,
    Job,
    JobState,
    MaintenanceRun,
    Problem,
    Ref,
    Rejected,
    RolledBack,
    RowsChanged,
    RowsReport,
    Snapshot,
    Table,
    TableFromQuery,
    TableProperties,
)
from lakehouse.client.results import Result
from lakehouse.client.schemas import SchemaField, TableSchema

__all__ = [
    "DEFAULT_URL",
    "Client",
    "Difference",
    "DroppedTable",
    "DryRun",
    "IngestReport",
    "Job",
    "JobState",
    "MaintenanceRun",
    "Problem",
    "Ref",
    "Rejected",
    "RemoteError",
    "Result",
    "RolledBack",
    "RowsChanged",
    "RowsReport",
    "SchemaField",
    "Snapshot",
    "Table",
    "TableFromQuery",
    "TableProperties",
    "TableSchema",
]
