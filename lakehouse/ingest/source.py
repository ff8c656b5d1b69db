"""A file that can be read as rows, and what to do when it cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lakehouse.catalog import Column, Rows
from lakehouse.database import Connection, literal
from lakehouse.ingest.forms import Form, TextColumn, declared_form, inferred_form
from lakehouse.ingest.inference import Inferred
from lakehouse.ingest.json_forms import Shape, is_nested, nested_form
from lakehouse.ingest.models import BadRow, Unit


@dataclass(frozen=True, slots=True)
class Limits:
    sample_rows: int
    columns_max: int
    line_max_bytes: int
    bad_rows_max: int


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What the caller said of the file, and the limits."""

    limits: Limits
    delimiter: str | None
    widths: Sequence[str]
    """Of columns that no delimiter parts, each with its name or all without."""
    types: Mapping[str, str]
    """By column name, folded; what is not here is inferred."""
    date_format: str | None
    table: tuple[Column, ...] | None
    """The columns of the table that the file goes into; None for a new one."""
    table_name: str = ""
    some_columns: bool = False
    """Whether the file may lack columns of the table: it names rows to delete."""
    evolve: bool = False
    """Whether the file may have other columns than the table."""
    by_key: bool = False
    """Whether the mode goes by key, which no `evolve` goes with."""
    may_be_empty: bool = False
    """Whether a file without rows means something: the table is there and `mode` was said."""
    unit: Unit = "line"
    """What rows are counted in."""

    @property
    def columns_advice(self) -> str:
        """What helps where the file has other columns than the table."""
        if self.some_columns:
            return ""
        if self.by_key:
            return f"change them first (POST /v1/tables/{self.table_name}/schema), then upsert"
        return "evolve=true takes the columns as they come"

    def infers(self, column: str) -> bool:
        """Whether the type of a column comes from what the file holds, and from nowhere else."""
        if column in self.types:
            return False
        return self.table is None or all(each.name != column for each in self.table)


class Source(Protocol):
    """One file, with a type for each of its columns."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """In the order of the file, under the names of the table."""
        ...

    def rows(self) -> Rows:
        """Return the rows, all of them: reading raises the engine's error for the first bad one."""
        ...

    def good_rows(self) -> Rows:
        """Return the rows that fit; the others are left out."""
        ...

    def widened(self, cursor: Connection, keep: set[str]) -> "Source":
        """Return the same file with columns that hold for all of its rows. One pass or two.

        A column with a value that is not of its type becomes text, unless it is one of `keep`.
        """
        ...

    def typed(self, types: Mapping[str, str]) -> "Source":
        """Return the same file with other types for some of its columns, none of them nested."""
        ...

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        """Return how many rows do not fit, and the first of them. One pass."""
        ...


def text_columns(
    columns: Sequence[Column],
    sample: Sequence[Inferred],
    shapes: Mapping[str, Shape],
    options: ReadOptions,
) -> list[TextColumn]:
    """Return how each column is made of its text, which the reader names `c0`, `c1` and on.

    Args:
        sample: what the first rows say, for each column.
        shapes: of nested types; their text is JSON.
    """

    def form(column: Column, found: Inferred) -> Form | None:
        if is_nested(column.type):
            return nested_form(column.type, shapes[column.type])
        return inferred_or_declared(column, found, options)

    return [
        TextColumn(column, f"c{number}", form(column, found))
        for number, (column, found) in enumerate(zip(columns, sample, strict=True))
    ]


def inferred_or_declared(column: Column, found: Inferred, options: ReadOptions) -> Form | None:
    """Return how the text of a column is read.

    Args:
        found: what the first rows say; they also tell how a declared column writes its times.
    """
    if options.infers(column.name):
        return inferred_form(column.type, found.layout if found.type == column.type else None)
    if column.type == "date" and found.type == "date" and found.layout:
        return declared_form(column.type, options.date_format or found.layout)
    layout = found.layout if found.type == column.type else None
    return declared_form(column.type, options.date_format, layout)


def struct(values: Mapping[str, str]) -> str:
    """Return a DuckDB struct of strings, as `columns =` takes it."""
    return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in values.items()) + "}"


def path_literal(path: Path) -> str:
    return literal(str(path))


def shown(value: object) -> str:
    """Return a value for a message: its beginning, quoted."""
    return repr(str(value)[:60])
