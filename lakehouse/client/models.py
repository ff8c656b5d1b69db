"""What the server answers. Unknown fields are passed over: a newer server stays readable."""

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

Mode: TypeAlias = Literal["create", "append", "overwrite", "upsert", "delete"]
RowsMode: TypeAlias = Literal["append", "upsert", "delete"]
QueryMode: TypeAlias = Literal["create", "append", "overwrite", "upsert"]
OnError: TypeAlias = Literal["fail", "reject", "string"]
Role: TypeAlias = Literal["reader", "writer", "admin"]
JobState: TypeAlias = Literal[
    "queued", "running", "succeeded", "failed", "cancelled", "interrupted"
]
FileFormat: TypeAlias = Literal[
    "csv", "tsv", "ndjson", "json", "parquet", "arrow", "orc", "avro", "xlsx"
]
FileExportFormat: TypeAlias = Literal["ndjson", "json", "csv", "arrow", "parquet", "orc", "avro"]
ExportFormat: TypeAlias = FileExportFormat


class Problem(msgspec.Struct, frozen=True):
    """An error as the server tells it (RFC 9457)."""

    status: int
    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    retryable: bool = False
    context: dict[str, Any] = {}
    errors: Any = None
    trace_id: str | None = None
    """What to look for in the server's log."""


class Health(msgspec.Struct, frozen=True):
    service: str = ""
    status: str = ""
    version: str | None = None


class PartHealth(msgspec.Struct, frozen=True):
    ok: bool
    reason: str | None = None


class Readiness(msgspec.Struct, frozen=True):
    ready: bool
    parts: dict[str, PartHealth] = {}
    warnings: list[str] = []


class Column(msgspec.Struct, frozen=True):
    name: str
    type: str


class Table(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    uuid: str
    columns: list[Column]
    partition_by: list[str]
    sort_by: list[str]
    snapshot_id: int | None
    row_count: int
    file_count: int
    size_bytes: int
    created_at: datetime
    updated_at: datetime
    location: str
    format: str


class TableSummary(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    damaged: str | None = None


class TablePage(msgspec.Struct, frozen=True):
    items: list[TableSummary]
    next_cursor: str | None = None


class DroppedTable(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    uuid: str
    dropped_at: datetime


class DroppedPage(msgspec.Struct, frozen=True):
    items: list[DroppedTable]
    next_cursor: str | None = None


class NamespacePage(msgspec.Struct, frozen=True):
    items: list[str]
    next_cursor: str | None = None


class Snapshot(msgspec.Struct, frozen=True):
    snapshot_id: int
    parent_snapshot_id: int | None
    committed_at: datetime
    operation: str
    row_count: int
    added_rows: int
    deleted_rows: int
    summary: dict[str, str] = {}
    refs: list[str] = []
    by: str | None = None
    trace_id: str | None = None
    updated_rows: int = 0


class SnapshotPage(msgspec.Struct, frozen=True):
    items: list[Snapshot]
    next_cursor: str | None = None


class Ref(msgspec.Struct, frozen=True):
    """A tag or a branch."""

    name: str
    type: str
    snapshot_id: int
    committed_at: datetime | None = None
    max_ref_age_ms: int | None = None
    min_snapshots_to_keep: int | None = None
    max_snapshot_age_ms: int | None = None


class RefPage(msgspec.Struct, frozen=True):
    items: list[Ref]
    next_cursor: str | None = None


class RolledBack(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    snapshot_id: int
    committed_at: datetime
    row_count: int
    previous_snapshot_id: int | None = None


class Difference(msgspec.Struct, frozen=True):
    """How many rows differ between two snapshots; an updated row is one of each."""

    from_snapshot_id: int | None
    to_snapshot_id: int | None
    inserted_rows: int
    deleted_rows: int


class ResultPage(msgspec.Struct, frozen=True):
    columns: list[Column]
    rows: list[msgspec.Raw]
    """Each row as the JSON it came as: decoded, 64 MiB of them would take 600 MB of memory."""
    row_count: int
    truncated: bool = False
    next: str | None = None
    query_id: str | None = None


class StoredObject(msgspec.Struct, frozen=True):
    key: str
    size: int
    etag: str | None = None
    last_modified: datetime | None = None


class ObjectPage(msgspec.Struct, frozen=True):
    objects: list[StoredObject]
    next: str | None = None


class DatasetObject(msgspec.Struct, frozen=True):
    key: str
    size: int | None = None
    created_at: datetime | None = None


class Manifest(msgspec.Struct, frozen=True):
    dataset_id: str
    name: str
    schema_fingerprint: str
    objects: list[DatasetObject]
    row_count: int
    created_at: datetime
    updated_at: datetime
    snapshot_id: int | None = None
    columns: list[Column] = []
    existing: bool = True


class ManifestList(msgspec.Struct, frozen=True):
    manifests: list[Manifest]
    next_cursor: str | None = None


class TableProperties(msgspec.Struct, frozen=True):
    """What people have set for a table."""

    name: str
    namespace: str
    properties: dict[str, str]


class RowsReport(msgspec.Struct, frozen=True):
    """What became of appended, merged or deleted rows."""

    name: str
    namespace: str
    added_rows: int
    row_count: int
    """Rows of the table now."""
    snapshot_id: int | None
    updated_rows: int = 0
    deleted_rows: int = 0


class RowsChanged(msgspec.Struct, frozen=True):
    """What a change by a condition did; without a row in it there is no new snapshot."""

    name: str
    namespace: str
    inserted_rows: int
    updated_rows: int
    deleted_rows: int
    row_count: int
    """Rows of the table now."""
    snapshot_id: int | None
    rewritten_files: int
    expired_snapshots: int = 0
    deleted_files: int = 0


class TableFromQuery(msgspec.Struct, frozen=True):
    """What a statement wrote into a table."""

    name: str
    namespace: str
    created: bool
    added_rows: int
    updated_rows: int
    row_count: int
    """Rows of the table now."""
    snapshot_id: int | None
    columns: list[Column]


class BadRow(msgspec.Struct, frozen=True):
    line: int | None
    """Counted from 1, the header included; None where the format has no lines."""
    column: str | None
    reason: str
    unit: str = "line"
    """What `line` counts: `line`, or the `element` of a JSON array."""
    file: str | None = None
    """Which one of several files it is in."""


class Rejected(msgspec.Struct, frozen=True):
    count: int = 0
    rows: list[BadRow] = []
    """The first of them."""


class SourceReport(msgspec.Struct, frozen=True):
    """What a load took of its source."""

    object_count: int
    size_bytes: int
    skipped_count: int
    """Objects that the table has the rows of already."""
    more: bool
    """Whether there are others, which the next load takes."""


class IngestReport(msgspec.Struct, frozen=True):
    """What became of a file."""

    dataset_id: str
    name: str
    namespace: str
    existing: bool
    """The content that made the current rows was sent again: nothing was written."""
    row_count: int
    """Rows of the table now."""
    added_rows: int
    schema_fingerprint: str
    objects: list[DatasetObject]
    """The files that this load added."""
    snapshot_id: int | None
    columns: list[Column] = []
    rejected: Rejected = Rejected()
    updated_rows: int = 0
    deleted_rows: int = 0
    source: SourceReport | None = None
    """Of a load that named one."""


class Job(msgspec.Struct, frozen=True):
    """Long work, as it is now."""

    id: str
    kind: str
    state: JobState
    created_at: datetime
    subject: str | None = None
    """What it works on: a table, a path."""
    phase: str | None = None
    done: int | None = None
    total: int | None = None
    unit: str | None = None
    """What `done` and `total` count."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    trace_id: str | None = None
    error: Problem | None = None
    """Why it did not succeed."""
    result: Any = None
    """What the request would have answered."""


class JobPage(msgspec.Struct, frozen=True):
    items: list[Job]
    next_cursor: str | None = None


class ColumnDifference(msgspec.Struct, frozen=True):
    column: str
    in_file: str | None
    in_table: str | None


class DryRun(msgspec.Struct, frozen=True):
    """What a load would do; nothing was written."""

    name: str
    namespace: str
    exists: bool
    columns: list[Column]
    schema_fingerprint: str
    differences: list[ColumnDifference]
    sample: list[dict[str, Any]]


class MaintenanceRun(msgspec.Struct, frozen=True, kw_only=True):
    """What one task did to one table, or why it did not."""

    run_id: int | None = None
    table: str | None = None
    """None for the files of no table."""
    task: str
    outcome: str
    """`done`, `planned`, `nothing`, `skipped` or `failed`."""
    reason: str | None = None
    item_count: int = 0
    size_bytes: int = 0
    started_at: datetime
    duration_s: float = 0.0


class MaintenanceAnswer(msgspec.Struct, frozen=True):
    runs: list[MaintenanceRun]


class MaintenancePage(msgspec.Struct, frozen=True):
    enabled: bool
    items: list[MaintenanceRun]
    next_cursor: str | None = None


class RunningQuery(msgspec.Struct, frozen=True):
    """A statement that runs, or that was stopped and still holds its thread."""

    query_id: str
    caller: str
    state: str
    sql: str
    format: str
    tables: list[str]
    began_at: datetime
    running_s: float
    row_count: int
    sent_bytes: int


class QueryList(msgspec.Struct, frozen=True):
    items: list[RunningQuery]


class Grant(msgspec.Struct, frozen=True):
    """A role on a part of what is there."""

    role: Role
    on: str = "*"
    """`*`, a namespace, a table as `namespace.table`, or `objects:` and the beginning of keys."""


class Limits(msgspec.Struct, frozen=True):
    """How much a token may ask for; None is no limit."""

    requests_per_minute: int | None = None
    concurrency: int | None = None
    requests_per_day: int | None = None
    rows_per_day: int | None = None
    texts_per_day: int | None = None


NO_LIMITS = Limits()


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret."""

    id: str
    name: str
    tenant: str
    grants: list[Grant]
    addresses: list[str]
    limits: Limits = NO_LIMITS
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class TokenMade(Token, frozen=True, kw_only=True):
    token: str
    """The secret: this once."""


class TokenPage(msgspec.Struct, frozen=True):
    items: list[Token]
    next_cursor: str | None = None


class WhoAmI(msgspec.Struct, frozen=True):
    """Who the server takes the caller for."""

    name: str
    tenant: str
    grants: list[Grant]
