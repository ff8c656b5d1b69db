"""Schemas and their changes as they cross the wire."""

from typing import Annotated, TypeAlias

import msgspec

from lakehouse.catalog.models import Text

CHANGES_MAX = 1000


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="op"):
    """One change of one column; `op` says which.

    A name is that of a column, or leads into it: `address.zip`, `tags.element`, `scores.value`.
    A name that holds dots itself is written in double quotes where it could be misread.
    """

    name: Text


class Add(Change, frozen=True, tag="add"):
    """Add a column, or a field of a struct: at its end, or where `first` or `after` says."""

    type: Text
    """As in a create: `long`, `decimal(9,2)`, `list<string>`, `struct<a: long>`."""
    after: str | None = None
    first: bool = False


class Widen(Change, frozen=True, tag="widen"):
    """Give a column a wider type: int to long, float to double, a decimal more digits."""

    type: Text


class Rename(Change, frozen=True, tag="rename"):
    to: Text
    """The new name alone, as it is: dots do not lead anywhere."""


class Drop(Change, frozen=True, tag="drop"):
    """Take a column out. Snapshots from before keep it; a new one of that name begins empty."""


class Move(Change, frozen=True, tag="move"):
    """Put a column first, or after another one."""

    after: str | None = None
    first: bool = False


AnyChange: TypeAlias = Add | Widen | Rename | Drop | Move


class SchemaEvolve(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Changes in their order: each finds what those before it have made. All happen, or none."""

    changes: Annotated[list[AnyChange], msgspec.Meta(min_length=1, max_length=CHANGES_MAX)]
    expected_schema_id: int | None = None
    """Refuse with 409 when the current schema is another one by then."""


class SchemaField(msgspec.Struct, frozen=True):
    id: int
    """What a file finds a column by, whatever its name; never given twice."""
    name: str
    type: str
    required: bool
    fields: list["SchemaField"] = []
    """What is inside a nested column."""


class SchemaVersion(msgspec.Struct, frozen=True):
    schema_id: int
    columns: list[SchemaField]


class TableSchema(msgspec.Struct, frozen=True):
    name: str
    namespace: str
    schema_id: int
    """The current one. Snapshots that `as_of` names are read with that of their time."""
    columns: list[SchemaField]
    schemas: list[SchemaVersion]
    """All, the current one among them."""
