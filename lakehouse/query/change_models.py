"""Changes of rows as they cross the wire."""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from lakehouse.catalog import Column

Expression: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
QueryMode: TypeAlias = Literal["create", "append", "overwrite", "upsert"]


class RowsDelete(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    where: Expression
    """One SQL expression over the table's columns; rows of which it is true go. `true` is all."""
    parameters: list[Any] | dict[str, Any] = []
    """Values for `?`, in order, or for `$name`, by name."""
    erase: bool = False
    """Also expire the older snapshots that hold such rows and delete their files, before this is
    answered: no file of the table holds the rows then."""


class RowsUpdate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    set: Annotated[dict[str, Expression], msgspec.Meta(min_length=1)]
    """By column a SQL expression over the old values: a text is written in quotes, `'sold'`."""
    where: Expression
    parameters: list[Any] | dict[str, Any] = []
    """Values for `?`, counted through `set` in its order and then `where`, or for `$name`."""


class RowsFromQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sql: Expression
    """One SELECT, as `/v1/sql` takes it."""
    mode: QueryMode = "create"
    key: list[str] = []
    """The columns of the key, for `upsert`."""
    as_of: dict[str, int | str] = {}
    partition_by: list[str] = []
    sort_by: list[str] = []
    """For a table that is created."""


class RowsChanged(msgspec.Struct, frozen=True):
    """What a change did. Where no row was touched there is no new snapshot."""

    name: str
    namespace: str
    inserted_rows: int
    updated_rows: int
    deleted_rows: int
    row_count: int
    snapshot_id: int | None
    rewritten_files: int
    expired_snapshots: int = 0
    deleted_files: int = 0
    """What an erasure has deleted, manifests and lists included."""

    @property
    def touched_rows(self) -> int:
        return self.inserted_rows + self.updated_rows + self.deleted_rows


class TableFromQuery(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    created: bool
    added_rows: int
    updated_rows: int
    row_count: int
    snapshot_id: int | None
    columns: list[Column]

    @property
    def touched_rows(self) -> int:
        return self.added_rows + self.updated_rows
