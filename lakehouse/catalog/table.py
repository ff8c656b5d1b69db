"""A table as readers and writers of it see it: at one state, or at one snapshot."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from lakehouse.catalog.errors import SnapshotNotFoundError
from lakehouse.catalog.fingerprint import FINGERPRINT, fingerprint
from lakehouse.catalog.metadata import (
    MAIN,
    Json,
    current_snapshot_id,
    schema_of,
    snapshot_at,
    snapshot_of,
    sort_order_of,
    spec_of,
)
from lakehouse.catalog.models import Column, DatasetObject, Snapshot, Table, TableName
from lakehouse.catalog.partitioning import partition_terms, sort_terms
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import to_columns
from lakehouse.storage import Store

AsOf: TypeAlias = int | datetime | str
"""A snapshot id, a moment (aware): what was current then, or the name of a tag or a branch."""

ID_DIGITS_MAX = 19
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What a change did to rows; the specification's own counts are those of the files it wrote again.
INSERTED, UPDATED, DELETED = (
    f"lakehouse.{what}-rows" for what in ("inserted", "updated", "deleted")
)
FILES, ROWS, BYTES = "total-data-files", "total-records", "total-files-size"
TOTALS = {FILES, ROWS, BYTES}
"""Of the data files of a snapshot, in its summary; other engines may leave them out."""
CREATED_AT = "lakehouse.created-at-ms"
BY = "lakehouse.by"
TRACE_ID = "lakehouse.trace-id"


@dataclass(frozen=True, slots=True)
class Where:
    """What the rows of a table must meet to be of use; those that do not may be read."""

    trees: bytes
    """A JSON list of the engine's trees, columns by bare names."""
    names: tuple[str, ...] = ()
    """Of the parameters in them."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Of these parameters, those that were given."""

    def bound(self, given: Mapping[str, Any]) -> "Where":
        if not self.names:
            return self
        return replace(self, values={each: given[each] for each in self.names if each in given})

    def digest(self) -> str:
        """Return what is equal when the trees and the values are: 1, 1.0 and true are not."""
        return hashlib.sha256(
            self.trees + repr(self.values).encode(errors="surrogatepass")
        ).hexdigest()


@dataclass(frozen=True, slots=True)
class TableRef:
    """A table as a statement names it."""

    namespace: str | None
    name: str
    as_of: AsOf | None = None
    where: Where | None = None


@dataclass(frozen=True, slots=True)
class Pinned:
    """A table at one snapshot, and the relation in DuckDB that reads exactly that."""

    table: TableName
    uuid: str
    snapshot_id: int | None
    columns: tuple[Column, ...]
    relation: str
    holds: object = field(default=None, repr=False, compare=False)
    """The relation stays in DuckDB for as long as somebody has this."""


@dataclass(frozen=True, slots=True)
class TableState:
    """A table as it is now, for those who write to it."""

    name: TableName
    uuid: str
    columns: tuple[Column, ...]
    column_ids: tuple[int, ...]
    """In the same order: a column keeps its own whatever it is called."""
    snapshot_id: int | None
    row_count: int
    properties: Mapping[str, str]
    location: str
    format: str
    summary: Mapping[str, str]
    """Of the current snapshot."""
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Written:
    """What a write did."""

    table: TableState
    snapshot_id: int | None
    added_rows: int
    created: bool
    objects: tuple[DatasetObject, ...]


def table_state(table: LoadedTable) -> TableState:
    metadata = table.metadata
    fields, snapshot = schema_of(metadata)["fields"], snapshot_of(metadata)
    summary = snapshot["summary"] if snapshot else {}
    return TableState(
        name=table.name,
        uuid=metadata["table-uuid"],
        columns=to_columns(fields),
        column_ids=tuple(each["id"] for each in fields),
        snapshot_id=current_snapshot_id(metadata),
        row_count=rows_of(summary),
        properties=metadata["properties"],
        location=metadata["location"],
        format=f"iceberg/{metadata['format-version']}",
        summary=summary,
        created_at=created_at(metadata),
        updated_at=moment(metadata["last-updated-ms"]),
    )


def totals(files: int, rows: int, size_bytes: int) -> dict[str, str]:
    """Return what a summary says of all data files of a snapshot."""
    return {FILES: str(files), ROWS: str(rows), BYTES: str(size_bytes)}


def table_model(
    table: LoadedTable, store: Store, counted: Mapping[str, str] | None = None
) -> Table:
    """Return a table as a person asks of it.

    Args:
        counted: the summary of its current snapshot with all totals; without: as it is.
    """
    state, metadata = table_state(table), table.metadata
    summary = state.summary if counted is None else counted
    fields = schema_of(metadata)["fields"]
    return Table(
        name=table.name.name,
        namespace=table.name.namespace,
        uuid=state.uuid,
        columns=list(state.columns),
        partition_by=partition_terms(spec_of(metadata), fields),
        sort_by=sort_terms(sort_order_of(metadata), fields),
        snapshot_id=state.snapshot_id,
        row_count=rows_of(summary),
        file_count=int(summary.get(FILES, 0)),
        size_bytes=int(summary.get(BYTES, 0)),
        created_at=state.created_at,
        updated_at=state.updated_at,
        location=store.key(state.location),
        format=state.format,
    )


def known_fingerprint(table: TableState) -> str:
    """Return the fingerprint a dataset was registered with, else that of its columns."""
    return table.properties.get(FINGERPRINT) or fingerprint(table.columns)


def created_at(metadata: Json) -> datetime:
    """Return when a table was created: ours say so, of others the first snapshot is a guess."""
    known = metadata["properties"].get(CREATED_AT)
    if known is not None:
        return moment(int(known))
    log = metadata["snapshot-log"]
    return moment(log[0]["timestamp-ms"] if log else metadata["last-updated-ms"])


def moment(milliseconds: int) -> datetime:
    return EPOCH + timedelta(milliseconds=milliseconds)


def epoch_ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def snapshot_model(metadata: Json, snapshot: Json) -> Snapshot:
    summary = snapshot.get("summary", {})
    return Snapshot(
        snapshot_id=snapshot["snapshot-id"],
        parent_snapshot_id=snapshot.get("parent-snapshot-id"),
        committed_at=moment(snapshot["timestamp-ms"]),
        operation=summary.get("operation", "unknown"),
        row_count=rows_of(summary),
        added_rows=int(summary.get(INSERTED, summary.get("added-records", 0))),
        deleted_rows=deleted_rows(summary),
        updated_rows=int(summary.get(UPDATED, 0)),
        summary=summary,
        refs=sorted(
            name
            for name, ref in metadata["refs"].items()
            if ref["snapshot-id"] == snapshot["snapshot-id"]
        ),
        by=summary.get(BY),
        trace_id=summary.get(TRACE_ID),
    )


def rows_of(summary: Mapping[str, str]) -> int:
    """Return the rows of a snapshot: those of its files without those that are deleted in them."""
    deleted = int(summary.get("total-position-deletes", 0))
    return max(0, int(summary.get(ROWS, 0)) - deleted)


def deleted_rows(summary: Mapping[str, str]) -> int:
    """Return the rows that a snapshot took out, with their files or by deletes of rows."""
    if DELETED in summary:
        return int(summary[DELETED])
    return sum(int(summary.get(key, 0)) for key in ("deleted-records", "added-position-deletes"))


def is_of_another_engine(snapshot: Json) -> bool:
    return BY not in snapshot.get("summary", {})


class SaidTime(datetime):
    """A time as a caller wrote it: a tag of another engine may be called so."""

    said = ""


def read_as_of(asked: int | str) -> AsOf:
    """Return what a caller means: ISO 8601 is a time, other text a name or the digits of an id.

    A time without a zone is UTC. Ids may come as text: JavaScript has no numbers that large. What
    is a tag or a branch of the table is that all the same: other engines name them after days.
    """
    if isinstance(asked, int) or is_id(asked):
        return asked
    try:
        at = SaidTime.fromisoformat(asked)
    except ValueError:
        return asked
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    at.said = asked
    return at


def chosen_snapshot(table: LoadedTable, as_of: AsOf | None) -> Json | None:
    """Return the snapshot that `as_of` means, the current one without.

    Raises:
        SnapshotNotFoundError: the table has none of that id or name, or had none at that time.
    """
    metadata = table.metadata
    if as_of is None:
        return snapshot_of(metadata)
    if isinstance(as_of, datetime) and not is_named(metadata, as_of):
        found = snapshot_at(metadata, epoch_ms(as_of))
    else:
        said = as_of.said if isinstance(as_of, SaidTime) else as_of
        assert not isinstance(said, datetime), "only one that was written can be a name"
        found = snapshot_of(metadata, snapshot_id_of(metadata, said))
    if found is None:
        raise SnapshotNotFoundError(str(table.name), as_of)
    return found


def is_named(metadata: Json, as_of: AsOf | None) -> bool:
    """Whether a time is the name of a tag or a branch, letter by letter."""
    return isinstance(as_of, SaidTime) and as_of.said in metadata["refs"]


def snapshot_id_of(metadata: Json, as_of: int | str) -> int:
    """Return the id that a name or a text of digits says; -1, which is nobody's, of no name."""
    if isinstance(as_of, int):
        return as_of
    if as_of in metadata["refs"]:
        return int(metadata["refs"][as_of]["snapshot-id"])
    return int(as_of) if is_id(as_of) else -1


def is_id(text: str) -> bool:
    """Whether a text can be a snapshot id: 63 bits, in digits."""
    return text.isascii() and text.isdigit() and len(text) <= ID_DIGITS_MAX


def read_schema(table: LoadedTable, snapshot: Json | None, as_of: AsOf | None) -> Json:
    """Return the schema that a snapshot is read with: its own, whenever it was asked for.

    What the table is now has the current schema, which may be younger than the last snapshot.
    """
    own = snapshot.get("schema-id") if snapshot and as_of not in (None, MAIN) else None
    return schema_of(table.metadata, own)
