"""`/v1/tables/{table}/delete`, `/update` and `/from-query`: rows changed by SQL over HTTP."""

from typing import Any, TypeAlias

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import writes
from lakehouse.api.later import ACCEPTED, now_or_later
from lakehouse.catalog import Once, parse_table_name
from lakehouse.jobs import Jobs
from lakehouse.query.change_models import (
    RowsChanged,
    RowsDelete,
    RowsFromQuery,
    RowsUpdate,
    TableFromQuery,
)
from lakehouse.query.changes import TableChanges

AnyRequest: TypeAlias = Request[Any, Any, Any]
CHANGED = {200: ResponseSpec(RowsChanged, description="What happened to rows."), 202: ACCEPTED}
WRITTEN = {200: ResponseSpec(TableFromQuery, description="What was written."), 202: ACCEPTED}


class ChangesController(Controller):
    path = "/v1/tables/{table:str}"
    tags = ("tables",)

    @post("/delete", status_code=200, responses=CHANGED, guards=[writes])
    async def delete_rows(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        jobs: NamedDependency[Jobs],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[RowsDelete],
    ) -> Response[bytes]:
        """Delete the rows of which a condition is true: `{"where": "at < '2024-01-01'"}`.

        The condition is one SQL expression over the table's columns. Older snapshots keep the rows
        until they expire; with `erase` the files that hold such rows are gone when it is done.
        """
        name = parse_table_name(table)
        change = table_changes.delete(name, data, once)
        kind = "erase" if data.erase else "delete"
        return await now_or_later(request, jobs, kind, change, subject=str(name))

    @post("/update", status_code=200, responses=CHANGED, guards=[writes])
    async def update_rows(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        jobs: NamedDependency[Jobs],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[RowsUpdate],
    ) -> Response[bytes]:
        """Set columns of rows: `{"set": {"price": "price * 2"}, "where": "city = 'Bern'"}`.

        The values are SQL expressions over the row as it was; a text is written in quotes.
        """
        name = parse_table_name(table)
        change = table_changes.update(name, data, once)
        return await now_or_later(request, jobs, "update", change, subject=str(name))

    @post("/from-query", status_code=200, responses=WRITTEN, guards=[writes])
    async def write_from_query(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        jobs: NamedDependency[Jobs],
        once: NamedDependency[Once],
        table: FromPath[str],
        data: JSONBody[RowsFromQuery],
    ) -> Response[bytes]:
        """Write the rows of a SELECT into a table, in one commit.

        `mode` is create (the default), append, overwrite or upsert (with `key`). A table that is
        not there is made, with the columns of the statement.
        """
        name = parse_table_name(table)
        change = table_changes.from_query(name, data, once)
        return await now_or_later(request, jobs, "from-query", change, subject=str(name))
