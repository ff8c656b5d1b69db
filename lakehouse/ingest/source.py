"""A file that can be read as rows, and what to do when it cannot."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lakehouse.catalog import Column, Rows
from lakehouse.database import Connection, literal, quoted
from lakehouse.ingest.models import BadRow


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
    types: Mapping[str, str]
    """By column name, folded; what is not here is inferred."""
    date_format: str | None
    table: tuple[Column, ...] | None
    """The columns of the table that the file goes into; None for a new one."""


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

    def contradicted(self, cursor: Connection) -> set[str]:
        """Return the columns with a value that is not of their type. One pass."""
        ...

    def with_strings(self, names: set[str]) -> "Source":
        """Return the same file with these columns as text."""
        ...

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        """Return how many rows do not fit, and the first of them. One pass."""
        ...


def select(expressions: Mapping[str, str], source: str) -> str:
    """Return a SELECT of `expressions` by their names."""
    items = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in expressions.items())
    return f"SELECT {items} FROM {source}"


def struct(values: Mapping[str, str]) -> str:
    """Return a DuckDB struct of strings, as `columns =` takes it."""
    return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in values.items()) + "}"


def path_literal(path: Path) -> str:
    return literal(str(path))
