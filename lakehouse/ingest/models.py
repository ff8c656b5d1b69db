"""Loads as they cross the wire."""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from lakehouse.catalog import Column, DatasetObject

Mode: TypeAlias = Literal["create", "append", "overwrite"]
OnError: TypeAlias = Literal["fail", "reject", "string"]
Format: TypeAlias = Literal["csv", "tsv", "ndjson", "parquet"]


class BadRow(msgspec.Struct, frozen=True):
    line: int | None
    """Counted from 1, the header included; null where the format has no lines."""
    column: str | None
    reason: str


class Rejected(msgspec.Struct, frozen=True):
    count: int
    rows: list[BadRow]
    """The first of them."""


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to read a file and what to do with its rows."""

    name: str
    namespace: str = "main"
    mode: Mode | None = None
    """Left out: `create` for a new name, else the file replaces the rows."""
    format: Format | None = None
    delimiter: str | None = None
    encoding: str | None = None
    types: dict[str, str] = {}
    date_format: str | None = None
    on_error: OnError = "fail"
    partition_by: list[str] = []
    sort_by: list[str] = []


class IngestAnswer(msgspec.Struct, frozen=True):
    dataset_id: str
    name: str
    namespace: str
    existing: bool
    """The content that produced the current rows was sent again: nothing was written."""
    row_count: int
    added_rows: int
    schema_fingerprint: str
    objects: list[DatasetObject]
    """The files that this load added."""
    snapshot_id: int | None
    columns: list[Column]
    rejected: Rejected


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


class RowsAppend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rows: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    """In the forms that SQL answers give: decimals as text, times in ISO 8601, blobs base64."""


class RowsAnswer(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    added_rows: int
    row_count: int
    snapshot_id: int | None
