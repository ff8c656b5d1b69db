"""Statements of our own over a table: all its rows, what changed in it, what differs."""

from collections.abc import Callable
from dataclasses import dataclass

from lakehouse.catalog import (
    ADDED_COLUMNS,
    AsOf,
    Catalog,
    Differing,
    TableName,
    TableNotFoundError,
    folded,
)
from lakehouse.database import Connection, quoted
from lakehouse.query.errors import ColumnTakenError
from lakehouse.query.gate import Statement
from lakehouse.query.models import SqlRequest
from lakehouse.query.query import TableRequest, authorise

COUNTED = """
    SELECT count(*) FILTER (change = 'delete'), count(*) FILTER (change = 'insert')
"""


@dataclass(slots=True)
class Found:
    """Which snapshots a request came to read; known once it was prepared."""

    before: int | None = None
    until: int | None = None


def check_visible(name: TableName) -> TableName:
    """Refuse a table that the caller may not read as one that is not there."""
    if not authorise("read", name):
        raise TableNotFoundError(str(name))
    return name


def export_request(name: TableName, snapshot_id: int | None) -> SqlRequest:
    """Return the statement of all rows of a table at a snapshot; None before the first."""
    sql = f"SELECT * FROM {quoted(name.namespace)}.{quoted(name.name)}"
    return SqlRequest(sql, as_of={} if snapshot_id is None else {str(name): snapshot_id})


def changes_request(
    catalog: Catalog, name: TableName, since: AsOf | None, until: AsOf | None
) -> tuple[TableRequest, Found]:
    """Return a request for what `Differences.changes` says, and what tells its snapshots."""
    check_visible(name)
    return requested(lambda cursor: catalog.differences.changes(cursor, name, since, until))


def difference_request(
    catalog: Catalog, name: TableName, before: AsOf | None, after: AsOf | None
) -> tuple[TableRequest, Found]:
    """Return a request for what `Differences.between` says, and what tells its snapshots."""
    check_visible(name)
    return requested(lambda cursor: catalog.differences.between(cursor, name, before, after))


def requested(differing: Callable[[Connection], Differing]) -> tuple[TableRequest, Found]:
    found = Found()

    def prepare(cursor: Connection) -> Statement:
        these = differing(cursor)
        found.before, found.until = these.before, these.until
        return Statement(these.sql, these.pinned, volatile=False)

    return TableRequest(prepare), found


def counted(asked: TableRequest) -> TableRequest:
    """Return a request for the number of rows deleted and inserted, whatever columns are called."""

    def prepare(cursor: Connection) -> Statement:
        rows = asked.prepare(cursor)
        own = (f"c{number}" for number in range(len(rows.tables[0].columns)))
        names = ", ".join([*own, "change", "snapshot_id", "committed_at"])
        sql = f"{COUNTED} FROM ({rows.sql}) AS differing({names})"
        return Statement(sql, rows.tables, volatile=False)

    return TableRequest(prepare)


def with_names(asked: TableRequest) -> TableRequest:
    """Return a request whose rows name each value once.

    Its statement raises `ColumnTakenError` when the table has a column of one of our names.
    """

    def prepare(cursor: Connection) -> Statement:
        rows = asked.prepare(cursor)
        first = rows.tables[0]
        taken = [each.name for each in first.columns if folded(each.name) in ADDED_COLUMNS]
        if taken:
            raise ColumnTakenError(first.table, taken)
        return rows

    return TableRequest(prepare)
