"""Which files a change of rows touches, and what takes their place: deletes, updates, merges.

A plan is asked with the table as it is, and again when its files were replaced meanwhile. It reads
and makes temporary tables; it writes no file.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

from lakehouse.catalog.errors import CommitFailedError, InvalidKeyError, NullKeyError
from lakehouse.catalog.lossless import stored_sql, telling_losses
from lakehouse.catalog.metadata import Json, schema_of
from lakehouse.catalog.partitioning import find_field
from lakehouse.catalog.relations import empty_sql
from lakehouse.catalog.scans import Scan, free_name
from lakehouse.catalog.table import DELETED, INSERTED, UPDATED
from lakehouse.catalog.types import Field
from lakehouse.catalog.writing import Rows, given_types, stored_select
from lakehouse.database import Connection, EngineError, quoted

NO_KEY_TYPES = frozenset(["float", "double"])


@dataclass(frozen=True, slots=True)
class RowCounts:
    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def is_nothing(self) -> bool:
        return not (self.inserted or self.updated or self.deleted)

    def summary(self) -> dict[str, str]:
        return {
            INSERTED: str(self.inserted),
            UPDATED: str(self.updated),
            DELETED: str(self.deleted),
        }


@dataclass(frozen=True, slots=True)
class Replacement:
    """These files go out; the rows of `sql` come in."""

    files: Sequence[str]
    sql: str
    """A SELECT of the table's columns."""
    rows: RowCounts
    row_count: int | None = None
    """How many rows must come in; None where that is known by construction."""
    reads_all: bool = False
    """What is done depends on rows that stay, too: no file may have left meanwhile."""
    forced: bool = False
    """The files go out though no row of the table changes: they hold rows that it hides."""

    @property
    def is_written(self) -> bool:
        return self.forced or not self.rows.is_nothing


Plan: TypeAlias = Callable[[Connection, Scan], Replacement]


@dataclass(frozen=True, slots=True)
class Matching:
    """The files that hold rows of a condition."""

    files: Sequence[str]
    row_count: int
    """Of all rows in them."""
    matched: int


def matching(cursor: Connection, scan: Scan, where: str, rows: str | None = None) -> Matching:
    """Return the files with rows of which `where` is true, and how many those are.

    Args:
        rows: a SELECT of all rows of the scan with `file_column`, if not of the table's columns.
    """
    found = cursor.execute(
        f"SELECT {quoted(scan.file_column)}, count(*), count(*) FILTER ({where})"
        f" FROM ({rows or scan.rows(with_file=True)}) AS {scan.alias} GROUP BY 1"
    ).fetchall()
    hits = [row for row in found if row[2]]
    files = scan.touched(number for number, _, _ in hits)
    return Matching(files, sum(row[1] for row in hits), sum(row[2] for row in hits))


def deletion(where: str, *, reads_all: bool = False) -> Plan:
    """Return the plan of a delete.

    Args:
        reads_all: believe no bounds, which may be another engine's, but read every row.
    """

    def plan(cursor: Connection, scan: Scan) -> Replacement:
        found = matching(cursor, scan if reads_all else scan.holding(cursor, where), where)
        sql = (
            f"SELECT {scan.names} FROM ({scan.rows(found.files)}) AS {scan.alias}"
            f" WHERE ({where}) IS NOT TRUE"
        )
        left = found.row_count - found.matched
        return Replacement(found.files, sql, RowCounts(deleted=found.matched), left)

    return plan


def erasure(where: str, holding: frozenset[str]) -> Plan:
    """As `deletion`; files of `holding` are written again also where the rows are hidden.

    Another engine's deletes hide rows that their files still hold.
    """
    plain = deletion(where, reads_all=True)

    def plan(cursor: Connection, scan: Scan) -> Replacement:
        if not scan.deletes or holding.isdisjoint(scan.files):
            return plain(cursor, scan)
        found = matching(cursor, scan, where)
        sql = (
            f"SELECT {scan.names} FROM ({scan.rows()}) AS {scan.alias} WHERE ({where}) IS NOT TRUE"
        )
        return Replacement(scan.files, sql, RowCounts(deleted=found.matched), forced=True)

    return plan


def folding(cursor: Connection, scan: Scan) -> Replacement:
    """Plan to write all files again without the rows that another engine's deletes hide."""
    return Replacement(scan.files, scan.rows(), RowCounts(), reads_all=True, forced=True)


def updating(values: Mapping[str, str], where: str) -> Plan:
    """Return the plan of an update; a row that has the new values already is none of it."""

    def plan(cursor: Connection, scan: Scan) -> Replacement:
        update = Update.of(cursor, scan, values, where)
        held = scan.holding(cursor, where)
        with telling_losses():
            rows = update.valued(held.rows(with_file=True), scan)
            found = matching(cursor, held, update.differs(scan.fields), rows)
        selected = ", ".join(update.column(each) for each in scan.fields)
        sql = f"SELECT {selected} FROM ({update.valued(scan.rows(found.files), scan)})"
        return Replacement(found.files, sql, RowCounts(updated=found.matched), found.row_count)

    return plan


@dataclass(frozen=True, slots=True)
class Update:
    """What an update sets, each value computed once a row, and only where its condition holds."""

    where: str
    hit: str
    """The column that says whether it holds."""
    set: Mapping[str, str]
    """By column, the expression of its value."""
    value: Mapping[str, str]
    """By column, the column of that value."""
    given: Mapping[str, str]
    """By that one, its type as DuckDB spells it."""

    @classmethod
    def of(cls, cursor: Connection, scan: Scan, values: Mapping[str, str], where: str) -> "Update":
        exprs = {known_field(scan.fields, name)["name"]: sql for name, sql in values.items()}
        unique = secrets.token_hex(8)  # no expression names it
        value = {name: f"value_{number}_{unique}" for number, name in enumerate(exprs)}
        empty = cls(where, f"hit_{unique}", exprs, value, {})
        given = given_types(cursor, empty.valued(empty_sql(scan.fields), scan))
        return replace(empty, given=given)

    def valued(self, rows: str, scan: Scan) -> str:
        """Return the SELECT of `rows` with the values beside them."""
        values = "".join(
            f", CASE WHEN ({self.where}) THEN ({sql}) END AS {quoted(self.value[name])}"
            for name, sql in self.set.items()
        )
        hit = f"({self.where}) IS TRUE AS {quoted(self.hit)}"
        return f"SELECT *{values}, {hit} FROM ({rows}) AS {scan.alias}"

    def stored(self, field: Field) -> str:
        value = self.value[field["name"]]
        return stored_sql(field, quoted(value), self.given[value], is_checked=False)

    def column(self, field: Field) -> str:
        """Return the new value of a column, set or not."""
        column = quoted(field["name"])
        if field["name"] not in self.set:
            return column
        return (
            f"CASE WHEN {quoted(self.hit)} THEN {self.stored(field)} ELSE {column} END AS {column}"
        )

    def differs(self, fields: Sequence[Field]) -> str:
        """Return what is true of a row that becomes another one."""
        changes = " OR ".join(
            f"{quoted(each['name'])} IS DISTINCT FROM ({self.stored(each)})"
            for each in fields
            if each["name"] in self.set
        )
        return f"{quoted(self.hit)} AND ({changes})"


# Merges.


@dataclass(frozen=True, slots=True)
class Given:
    """The rows of a merge, as the table stores them, one for each key."""

    table: str
    """A temporary table of the cursor."""
    number: str
    """Its column with the place of a row in the load, from 1."""
    key: Sequence[Field]
    schema: Json
    """Of the table when they were made."""

    def on(self, left: str, right: str) -> str:
        names = (quoted(each["name"]) for each in self.key)
        return " AND ".join(f"{left}.{name} = {right}.{name}" for name in names)


@contextmanager
def staged(
    cursor: Connection, schema: Json, rows: Rows, key: Sequence[Field], *, only_key: bool
) -> Iterator[Given]:
    """Put the rows into a temporary table: cast, numbered, the last one of each key.

    The engine spills it to disk when it is large.

    Raises:
        NullKeyError: a row has no value in a column of the key.
        ValueLostError: a value does not fit the type of its column.
    """
    number = quoted(free_name(schema["fields"], "row_number"))
    given = Given(f"staged_{secrets.token_hex(8)}", number, key, schema)
    stored = stored_select(cursor, key if only_key else schema["fields"], rows)
    # The window is computed as rows stream by, so the numbers are those of the load.
    with telling_losses():
        cursor.execute(
            f"CREATE TEMP TABLE {given.table} AS"
            f" SELECT *, row_number() OVER () AS {number} FROM ({stored})"
        )
    try:
        refuse_null_keys(cursor, given)
        keep_last(cursor, given)
        yield given
    finally:
        with suppress(EngineError):
            cursor.execute(f"DROP TABLE {given.table}")


def refuse_null_keys(cursor: Connection, given: Given) -> None:
    for field in given.key:
        row = cursor.execute(
            f"SELECT count(*), min({given.number}) FROM {given.table}"
            f" WHERE {quoted(field['name'])} IS NULL"
        ).fetchone()
        if row and row[0]:
            raise NullKeyError(field["name"], row[0], row[1])


def keep_last(cursor: Connection, given: Given) -> None:
    names = ", ".join(quoted(each["name"]) for each in given.key)
    cursor.execute(
        f"DELETE FROM {given.table} AS s USING (SELECT {names}, max({given.number}) AS last"
        f" FROM {given.table} GROUP BY {names} HAVING count(*) > 1) AS d"
        f" WHERE {given.on('s', 'd')} AND s.{given.number} < d.last"
    )


def reached(cursor: Connection, scan: Scan, given: Given) -> Scan:
    """Return the scan of the files that can hold a key of the load."""
    if schema_of(scan.table.metadata) != given.schema:
        raise CommitFailedError("the table's columns were changed meanwhile; send it again")
    return scan.reached(cursor, given.table, given.key)


def find_hits(cursor: Connection, scan: Scan, given: Given, same: str) -> str:
    """Make a temporary table (n, file, same) of the table's rows that have a key of the load."""
    hits = f"{given.table}_hits"
    cursor.execute(
        f"CREATE TEMP TABLE {hits} AS"
        f" SELECT s.{given.number} AS n, t.{quoted(scan.file_column)} AS file, {same} AS same"
        f" FROM ({scan.rows(with_file=True)}) AS t JOIN {given.table} AS s"
        f" ON {given.on('t', 's')}"
    )
    return hits


def merging(given: Given) -> Plan:
    def plan(cursor: Connection, whole: Scan) -> Replacement:
        scan = reached(cursor, whole, given)
        columns = [quoted(each["name"]) for each in scan.fields]
        same = " AND ".join(f"t.{each} IS NOT DISTINCT FROM s.{each}" for each in columns)
        hits = find_hits(cursor, scan, given, same)
        todo = f"{given.table}_todo"
        cursor.execute(
            f"CREATE TEMP TABLE {todo} AS SELECT * FROM {given.table} WHERE {given.number} NOT IN"
            f" (SELECT n FROM {hits} GROUP BY n HAVING count(*) = 1 AND bool_and(same))"
        )
        todo_hits = f"(SELECT * FROM {hits} WHERE n IN (SELECT {given.number} FROM {todo}))"
        numbers = cursor.execute(f"SELECT DISTINCT file FROM {todo_hits}").fetchall()
        counts = cursor.execute(
            f"SELECT (SELECT count(*) FROM {todo}), (SELECT count(DISTINCT n) FROM {todo_hits})"
        ).fetchone()
        assert counts is not None, "two counts, one row"
        changed, updated = counts
        files = scan.touched(number for (number,) in numbers)
        sql = (
            f"SELECT {scan.names} FROM ({scan.rows(files)}) AS t"
            f" ANTI JOIN {todo} AS s ON {given.on('t', 's')}"
            f" UNION ALL SELECT {scan.names} FROM {todo}"
        )
        done = RowCounts(inserted=changed - updated, updated=updated)
        return Replacement(files, sql, done, reads_all=True)

    return plan


def removal(given: Given) -> Plan:
    def plan(cursor: Connection, whole: Scan) -> Replacement:
        scan = reached(cursor, whole, given)
        hits = find_hits(cursor, scan, given, "true")
        found = cursor.execute(f"SELECT file, count(*) FROM {hits} GROUP BY file").fetchall()
        files = scan.touched(number for number, _ in found)
        sql = (
            f"SELECT {scan.names} FROM ({scan.rows(files)}) AS t"
            f" ANTI JOIN {given.table} AS s ON {given.on('t', 's')}"
        )
        counts = RowCounts(deleted=sum(count for _, count in found))
        return Replacement(files, sql, counts, reads_all=True)

    return plan


def key_fields(fields: Sequence[Field], key: Sequence[str]) -> list[Field]:
    """Return the fields of a key.

    Raises:
        InvalidKeyError: a column is not there, is there twice, or has no exact equality.
    """
    chosen = [known_field(fields, name) for name in key]
    for number, field in enumerate(chosen):
        if field in chosen[:number]:
            raise InvalidKeyError(field["name"], "the key names it twice")
        if not isinstance(field["type"], str) or field["type"] in NO_KEY_TYPES:
            raise InvalidKeyError(field["name"], "a key is of a type with exact equality")
    return chosen


def known_field(fields: Sequence[Field], name: str) -> Field:
    found = find_field(fields, name)
    if found is None:
        shown = ", ".join(each["name"] for each in fields[:20])
        raise InvalidKeyError(name, f"the table has no such column; it has {shown}")
    return found
