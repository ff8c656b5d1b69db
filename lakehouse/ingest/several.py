"""Several files as one: the same columns by name, one load, all rows or none."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from lakehouse.catalog import Column, Rows, folded
from lakehouse.database import Connection, quoted
from lakehouse.errors import LakehouseError
from lakehouse.ingest.errors import InvalidFileError
from lakehouse.ingest.json_forms import is_nested
from lakehouse.ingest.models import BadRow
from lakehouse.ingest.source import ReadOptions, Source

NUMBERS = ("long", "double")


@contextmanager
def naming(label: str | None) -> Iterator[None]:
    """Say of an error which file it is about."""
    try:
        yield
    except LakehouseError as error:
        if label is not None:
            error.detail = f"{label}: {error.detail}"
        raise


@dataclass(frozen=True, slots=True)
class Part:
    label: str
    """The name of the file in its request, or in its zip."""
    source: Source


@dataclass(frozen=True, slots=True)
class Several:
    """Files that are read one after the other."""

    parts: tuple[Part, ...]
    columns: tuple[Column, ...]
    options: ReadOptions

    def rows(self) -> Rows:
        return self._union(lambda source: source.rows())

    def good_rows(self) -> Rows:
        return self._union(lambda source: source.good_rows())

    def widened(self, cursor: Connection, keep: set[str]) -> "Several":
        return self._each(lambda source: source.widened(cursor, keep))

    def typed(self, types: Mapping[str, str]) -> "Several":
        return self._each(lambda source: source.typed(types))

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        total, found = 0, list[BadRow]()
        for part in self.parts:
            with naming(part.label):
                count, rows = part.source.bad_rows(cursor)
            total += count
            found += [msgspec.structs.replace(row, file=part.label) for row in rows]
        return total, found[: self.options.limits.bad_rows_max]

    def _each(self, change: Callable[[Source], Source]) -> "Several":
        changed = []
        for part in self.parts:
            with naming(part.label):
                changed.append(Part(part.label, change(part.source)))
        return together(changed, self.options)

    def _union(self, rows_of: Callable[[Source], Rows]) -> Rows:
        selects = []
        for part in self.parts:
            rows = rows_of(part.source)
            there = {folded(column.name): column.name for column in rows.columns}
            values = (
                f"{quoted(there[folded(c.name)]) if folded(c.name) in there else 'NULL'} AS "
                f"{quoted(c.name)}"
                for c in self.columns
            )
            selects.append(f"SELECT {', '.join(values)} FROM ({rows.sql})")
        return Rows(" UNION ALL ".join(selects), self.columns, read_for=self.options.table or ())


def together(parts: Sequence[Part], options: ReadOptions) -> Several:
    """Return the files as one, with a type for each column that holds for all of them.

    Raises:
        InvalidFileError: one has a column that another has not, and the table may not evolve; or
            their nested types differ.
    """
    columns: dict[str, Column] = {}
    for part in parts:
        for column in part.source.columns:
            key = folded(column.name)
            known = columns.setdefault(key, column)
            if known.type != column.type:
                columns[key] = Column(known.name, common_type(known, column, part.label))
    if not options.evolve:
        check_same(parts, columns, options)
    types = {column.name: column.type for column in columns.values()}
    typed = [
        Part(part.label, part.source.typed(wanted) if wanted else part.source)
        for part in parts
        for wanted in [
            {c.name: types[c.name] for c in part.source.columns if types.get(c.name) != c.type}
        ]
    ]
    return Several(tuple(typed), tuple(columns.values()), options)


def common_type(one: Column, other: Column, label: str) -> str:
    if one.type in NUMBERS and other.type in NUMBERS:
        return "double"
    if is_nested(one.type) or is_nested(other.type):
        raise InvalidFileError(
            f"{label}: column {other.name!r} is {other.type}, and {one.type} in a file before it; "
            "say its type with types="
        )
    return "string"


def check_same(parts: Sequence[Part], columns: Mapping[str, Column], options: ReadOptions) -> None:
    advice = "" if options.by_key else "; evolve=true takes the columns as they come"
    first = {folded(column.name) for column in parts[0].source.columns}
    for part in parts:
        own = {folded(column.name) for column in part.source.columns}
        for key in columns:
            if (key in own) != (key in first):
                has = "has no" if key in first else "has a"
                raise InvalidFileError(
                    f"{part.label}: it {has} column {columns[key].name!r}, unlike "
                    f"{parts[0].label}{advice}"
                )
