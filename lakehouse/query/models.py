"""Statements and results as they cross the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

Format: TypeAlias = Literal["json", "ndjson", "csv", "arrow", "parquet", "orc", "avro"]


class SearchRelation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A search of a collection, as a relation of the statement."""

    collection: str
    vector: list[float] | None = None
    text: str | None = None
    """One of `vector` and `text`."""
    mode: Literal["vector", "text", "hybrid"] = "vector"
    k: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 10
    filter: dict[str, Any] = {}
    wait_for: int | None = None
    """A snapshot of the table that the collection is derived from: wait until it is reached."""


class SqlRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sql: str
    """One SELECT, or DESCRIBE, SHOW TABLES, SUMMARIZE, EXPLAIN."""
    parameters: list[Any] | dict[str, Any] | None = None
    """Values for `?`, in order, or for `$name`, by name."""
    as_of: dict[str, int | str] = {}
    """For a table, the snapshot to read: its id, a tag, a branch, or an ISO 8601 time (without a
    zone: UTC)."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Seconds it may run. The server's `query.timeout_s` is the most and the default."""
    search: dict[str, SearchRelation] = {}
    """Searches, by the name that the statement calls what they find: a relation with `id`,
    `distance`, `score`, `rank`, `metadata`, and the declared columns of the collection."""


class ResultColumn(msgspec.Struct, frozen=True):
    name: str
    type: str
    """As DuckDB names it: `BIGINT`, `DECIMAL(9,2)`, `STRUCT(a INTEGER, b VARCHAR[])`."""


class SqlResult(msgspec.Struct, frozen=True):
    """What a JSON answer looks like. Nothing builds one: rows go from Arrow to bytes."""

    columns: list[ResultColumn]
    rows: list[list[Any]]
    """BIGINT is a number; HUGEINT and DECIMAL, NaN and Infinity, times and blobs are strings."""
    row_count: int
    """Rows in this answer."""
    truncated: bool
    """There are more rows than fit: read them at `next`."""
    next: str | None
    """The path of the next page, or null. Pages are of one snapshot, and kept 15 minutes."""
    query_id: str


class StatementState(msgspec.Struct, frozen=True):
    """What became of a statement: why a stream ended early, which no status can say any more."""

    query_id: str
    state: Literal["running", "ended"]
    outcome: str | None = None
    """`ok`, `not_modified`, `cancelled`, or the name of the error that ended it."""
    reason: str | None = None


class RunningQuery(msgspec.Struct, frozen=True):
    """A statement that runs, or that was stopped and still holds its thread."""

    query_id: str
    caller: str
    state: Literal["running", "stopping"]
    """`stopping`: somebody stopped it, and its thread has not come back yet."""
    sql: str
    """The beginning of its text; empty for an export and the like."""
    format: Format
    tables: list[str]
    began_at: datetime
    running_s: float
    row_count: int
    sent_bytes: int


class QueryList(msgspec.Struct, frozen=True):
    items: list[RunningQuery]
    """Those that began first come first."""


class Difference(msgspec.Struct, frozen=True):
    """How many rows differ between two snapshots; an updated row is one of each."""

    from_snapshot_id: int | None
    to_snapshot_id: int | None
    inserted_rows: int
    deleted_rows: int
