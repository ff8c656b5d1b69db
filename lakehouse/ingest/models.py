"""Loads as they cross the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from lakehouse.catalog import Column, DatasetObject

Mode: TypeAlias = Literal["create", "append", "overwrite", "upsert", "delete"]
RowsMode: TypeAlias = Literal["append", "upsert", "delete"]
CONTENT = "lakehouse.content-sha256"
"""What a snapshot's summary calls what identifies the load that made it."""
FILES_MAX = 100
"""Files of one load."""
MERGES: tuple[Literal["upsert", "delete"], ...] = ("upsert", "delete")
"""Modes that go by a key."""
OnError: TypeAlias = Literal["fail", "reject", "string"]
Format: TypeAlias = Literal[
    "csv", "tsv", "ndjson", "json", "parquet", "arrow", "orc", "avro", "xlsx"
]
Unit: TypeAlias = Literal["line", "element"]
"""What rows are counted in, from 1: lines of a text, elements of a JSON array."""


def said(words: str, example: str) -> msgspec.Meta:
    """Describe a parameter, with a value as it is written in the query."""
    return msgspec.Meta(description=words, examples=[example])


class BadRow(msgspec.Struct, frozen=True):
    line: int | None
    """Counted from 1, the header included; null where the format has no lines."""
    column: str | None
    reason: str
    unit: Unit = "line"
    """What `line` counts: lines of the file, or elements of a JSON array."""
    file: str | None = None
    """Which one of several it is in."""


class Rejected(msgspec.Struct, frozen=True):
    count: int
    rows: list[BadRow]
    """The first of them."""


class LoadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to read a file and what to do with its rows: the query of `POST /v1/ingest`.

    The OpenAPI document shows these fields, with these words and examples.
    """

    name: Annotated[str, said("The table; made if it is not there.", "people")]
    namespace: Annotated[str, said("Where the table lies.", "sales")] = "main"
    mode: Annotated[
        Mode | None,
        said(
            "Left out: `create` for a new name, else the file replaces the rows. `upsert` replaces "
            "the rows with the same `key`, `delete` takes them out.",
            "append",
        ),
    ] = None
    key: Annotated[list[str], said("The columns that `upsert` and `delete` go by.", "id")] = []
    format: Annotated[
        Format | None,
        said("Where neither the file's name nor its first bytes say.", "csv"),
    ] = None
    delimiter: Annotated[str | None, said("Of CSV, instead of what is detected.", ";")] = None
    widths: Annotated[
        list[str],
        said(
            "Of a text without a delimiter: how many characters each column has, and its name "
            "where the first line has none.",
            "id:8,city:20,amount:10",
        ),
    ] = []
    sheet: Annotated[
        str | None,
        said("Of a workbook: the name of the sheet, or its number; the first one without.", "2026"),
    ] = None
    header_row: Annotated[
        Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] | None,
        said("Of a workbook: the row of the names; the first that is not empty without.", "3"),
    ] = None
    encoding: Annotated[
        str | None, said("Of a text file, instead of what is detected.", "latin-1")
    ] = None
    types: Annotated[
        dict[str, str],
        said("Types of columns, before what is inferred.", "zip:string,price:decimal(9,2)"),
    ] = {}
    date_format: Annotated[str | None, said("How dates are written.", "%d.%m.%Y")] = None
    on_error: Annotated[
        OnError,
        said(
            "`fail`: nothing is loaded, the first bad lines are named. `reject`: the good rows, "
            "and a report. `string`: widen the column of a new table.",
            "reject",
        ),
    ] = "fail"
    evolve: Annotated[
        bool,
        said(
            "Make the table's columns fit the file: new ones are added, those that the file lacks "
            "are null, and a value that does not fit widens its column where Iceberg allows it. "
            "Not with `upsert` and `delete`: change the columns first.",
            "true",
        ),
    ] = False
    partition_by: Annotated[list[str], said("Of a new table.", "day(at),city")] = []
    sort_by: Annotated[list[str], said("Of a new table.", "at desc,city")] = []


class SourceReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a load took of its source."""

    object_count: int
    size_bytes: int
    skipped_count: int
    """Objects that the table has the rows of already."""
    more: bool
    """Whether there are others, which the next load takes."""


class IngestAnswer(msgspec.Struct, frozen=True):
    dataset_id: str
    name: str
    namespace: str
    existing: bool
    """The content that produced the current rows was sent again: nothing was written."""
    row_count: int
    added_rows: int
    updated_rows: int
    deleted_rows: int
    schema_fingerprint: str
    objects: list[DatasetObject]
    """The files that this load added."""
    snapshot_id: int | None
    columns: list[Column]
    rejected: Rejected
    source: SourceReport | msgspec.UnsetType = msgspec.UNSET
    """Of a load that named one."""


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


class RowsAnswer(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    added_rows: int
    updated_rows: int
    deleted_rows: int
    row_count: int
    snapshot_id: int | None


class UploadBegin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that will be sent in parts."""

    size_bytes: Annotated[int, msgspec.Meta(ge=1)]
    """Of the whole file."""
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | None = None
    """The same key and size, the same upload: so it is found again after a restart."""
    filename: Annotated[str, msgspec.Meta(max_length=1000)] | None = None
    """Says the format where the content does not."""
    content_type: Annotated[str, msgspec.Meta(max_length=200)] | None = None


class UploadState(msgspec.Struct, frozen=True, kw_only=True):
    """How far a file is that is sent in parts."""

    id: str
    size_bytes: int
    offset: int
    """Bytes that are here, on the disk: where the next part begins."""
    filename: str | None = None
    content_type: str | None = None
    expires_at: datetime
    """When it is given up unless another part comes, or it is loaded."""


class UploadList(msgspec.Struct, frozen=True):
    items: list[UploadState]
