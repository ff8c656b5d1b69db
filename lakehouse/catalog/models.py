"""Tables as they cross the wire and the package border."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from lakehouse.names import TableName as TableName

Text = Annotated[str, msgspec.Meta(min_length=1)]
PositiveInt = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
Milliseconds = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
"""Iceberg's long; its counts are ints."""


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    type: Text
    """As Iceberg spells it: `long`, `decimal(9,2)`, `list<string>`, `struct<a: long>`."""


class TableCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Text
    """`name`, or `namespace.name`; without a namespace it is `main`."""
    columns: Annotated[list[Column], msgspec.Meta(min_length=1)]
    partition_by: list[str] = []
    """Iceberg transforms: `city`, `day(at)`, `bucket(16, id)`, `truncate(3, zip)`."""
    sort_by: list[str] = []
    """Columns, each with ` desc` or not."""


class PropertiesChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    set: dict[Text, str] = {}
    remove: list[Text] = []


class TableProperties(msgspec.Struct, frozen=True):
    """What people have set; how the table is kept is not among it."""

    name: str
    namespace: str
    properties: dict[str, str]


class TableRename(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to: Text


class Adopt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One of the three; all paths begin below the warehouse."""

    files: Annotated[list[Text], msgspec.Meta(max_length=10_000)] = []
    """Parquet files."""
    prefix: Text | None = None
    """A folder: every Parquet file in it and below."""
    metadata: Text | None = None
    """The metadata file of an Iceberg table, the one that is current."""


class TableUndrop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    uuid: Text | None = None
    """Which of the dropped tables of this name; without it the one dropped last."""
    as_: Text | None = msgspec.field(default=None, name="as")
    """The name that it comes back under; without it the old one."""


class RefPut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["tag", "branch"]
    snapshot_id: int | Text | None = None
    """What it names: a snapshot id, a time, or another tag or branch. Without it what it named
    before, and a new one the table as it is now."""
    move: bool = False
    """A tag that is there goes to another snapshot."""
    max_ref_age_ms: Milliseconds | None = None
    """How long it is kept after its snapshot was committed; without it for ever."""
    min_snapshots_to_keep: PositiveInt | None = None
    """Of a branch."""
    max_snapshot_age_ms: Milliseconds | None = None
    """Of a branch: how long its snapshots are kept."""


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    to: int | Text
    """A snapshot id, a tag, a branch, or a time."""


class NamespaceCreate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Text


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
    """Where it lies, from the warehouse on: no path of the host is told."""
    format: str = "iceberg/2"
    """Of which version of the specification."""


class TableSummary(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    damaged: str | None = None
    """Why it cannot be read, where it cannot."""


class Snapshot(msgspec.Struct, frozen=True):
    snapshot_id: int
    parent_snapshot_id: int | None
    committed_at: datetime
    operation: str
    row_count: int
    added_rows: int
    deleted_rows: int
    summary: dict[str, str]
    refs: list[str] = []
    """Tags and branches that name it."""
    by: str | None = None
    """Who made it, where that is known."""
    trace_id: str | None = None
    """Of the request that made it: what to look for in the log."""
    updated_rows: int = 0
    """By an update or an upsert."""


class Ref(msgspec.Struct, frozen=True):
    name: str
    type: str
    snapshot_id: int
    committed_at: datetime | None
    """When that snapshot was committed."""
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
    """When the snapshot was committed that the table is at now."""
    row_count: int
    previous_snapshot_id: int | None
    """What the table was at; a rollback to it undoes this one."""


class TablePage(msgspec.Struct, frozen=True):
    """`next_cursor` is null on the last page, here and in every list."""

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


class SnapshotPage(msgspec.Struct, frozen=True):
    items: list[Snapshot]
    next_cursor: str | None = None


class NamespacePage(msgspec.Struct, frozen=True):
    items: list[str]
    next_cursor: str | None = None


class ManifestList(msgspec.Struct, frozen=True, omit_defaults=True):
    """Datasets by name: the Go contract's answer, and a cursor where that is not all."""

    manifests: list["Manifest"]
    next_cursor: str | None = None


class DatasetRegister(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The Go contract's register: Parquet objects of the storage API become rows of a dataset."""

    name: Text
    schema_fingerprint: Text
    objects: list["ObjectReference"] = []
    row_count: Annotated[int, msgspec.Meta(ge=0)] | None = None


class ObjectReference(msgspec.Struct, frozen=True):
    key: Text
    size: int | None = None
    created_at: str | None = None


class DatasetObject(msgspec.Struct, frozen=True):
    key: str
    size: int
    created_at: datetime


class Manifest(msgspec.Struct, frozen=True):
    """A dataset as the Go contract describes it: a table of the namespace `main`."""

    dataset_id: str
    name: str
    schema_fingerprint: str
    objects: list[DatasetObject]
    row_count: int
    created_at: datetime
    updated_at: datetime
    snapshot_id: int | None
    columns: list[Column]
    format: str = "iceberg/2"
    """Of which version of the specification."""
    existing: bool = True


class RebuildTable(msgspec.Struct, frozen=True):
    """What a rebuild of the catalog does for one table."""

    table: str
    action: str
    """`keep`, `forward`, `add`, `back` (its last file is gone); or left alone: `skip` (dropped),
    `gone`, `clash` (another has the name)."""
    commits: int
    """How many the pointer moves forward."""
    row_count: int | None
    metadata_file: str | None
    note: str | None


class RebuildFork(msgspec.Struct, frozen=True):
    """Metadata files that follow the same one. All of them stay where they are."""

    folder: str
    follow: str
    chosen: str
    others: list[str]
    reason: str


class RebuildReport(msgspec.Struct, frozen=True):
    copied_at: str | None
    """When the copy of the catalog was made; None when there was none to begin with."""
    tables: list[RebuildTable]
    forks: list[RebuildFork]
    unreadable: dict[str, str]
    """Metadata files that are none, and why."""


class RelocatedTable(msgspec.Struct, frozen=True):
    table: str
    snapshots: int
    metadata_file: str | None
    note: str | None
    """What of it is gone or unreadable; that it was left behind."""
