"""`/v1/tables/{table}/delete`, `/update` and `/from-query`: rows changed by SQL over HTTP."""

from typing import Any, TypeAlias

from litestar import Controller, Request, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import writes
from lakehouse.api.streams import unless_gone
from lakehouse.catalog import Once, parse_table_name
from lakehouse.query.change_models import (
    RowsChanged,
    RowsDelete,
    RowsFromQuery,
    RowsUpdate,
    TableFromQuery,
)
from lakehouse.query.changes import TableChanges

AnyRequest: TypeAlias = Request[Any, Any, Any]


class ChangesController(Controller):
    path = "/v1/tables/{table:str}"
    tags = ("tables",)

    @post("/delete", status_code=200, guards=[writes])
    async def delete_rows(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[RowsDelete],
    ) -> RowsChanged:
        """Delete the rows of which a condition is true: `{"where": "at < '2024-01-01'"}`.

        The condition is one SQL expression over the table's columns. Older snapshots keep the rows
        until they expire.
        """
        work = table_changes.delete(parse_table_name(table), data, once)
        return await unless_gone(request.receive, work)

    @post("/update", status_code=200, guards=[writes])
    async def update_rows(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[RowsUpdate],
    ) -> RowsChanged:
        """Set columns of rows: `{"set": {"price": "price * 1.1"}, "where": "city = 'Bern'"}`.

        The values are SQL expressions over the row as it was; a text is written in quotes.
        """
        work = table_changes.update(parse_table_name(table), data, once)
        return await unless_gone(request.receive, work)

    @post("/from-query", status_code=200, guards=[writes])
    async def write_from_query(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[RowsFromQuery],
    ) -> TableFromQuery:
        """Write the rows of a SELECT into a table, in one commit.

        `mode` is create (the default), append, overwrite or upsert (with `key`). A table that is
        not there is made, with the columns of the statement.
        """
        work = table_changes.from_query(parse_table_name(table), data, once)
        return await unless_gone(request.receive, work)
