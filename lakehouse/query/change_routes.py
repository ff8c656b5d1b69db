"""`/v1/tables/{table}/delete`, `/update` and `/from-query`: rows changed by SQL over HTTP."""

from typing import Any, TypeAlias

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from lakehouse.api.idempotency import IdempotencyKey, check_key
from lakehouse.api.streams import unless_gone
from lakehouse.catalog import parse_table_name
from lakehouse.query.change_models import (
    RowsChanged,
    RowsDelete,
    RowsFromQuery,
    RowsUpdate,
    TableFromQuery,
)
from lakehouse.query.changes import TableChanges

AnyRequest: TypeAlias = Request[Any, Any, Any]
CHANGED = {200: ResponseSpec(RowsChanged, description="The change is committed.")}
MADE = {200: ResponseSpec(TableFromQuery, description="The rows are committed.")}


class ChangesController(Controller):
    path = "/v1/tables/{table:str}"
    tags = ("tables",)

    @post("/delete", status_code=200, responses=CHANGED)
    async def delete_rows(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        table: FromPath[str],
        data: JSONBody[RowsDelete],
        key: IdempotencyKey = None,
    ) -> Response[bytes]:
        """Delete the rows of which a condition is true: `{"where": "at < '2024-01-01'"}`.

        The condition is one SQL expression over the table's columns. Older snapshots keep the rows
        until they expire.
        """
        check_key(key)
        work = table_changes.delete(parse_table_name(table), data, key)
        return answer(await unless_gone(request.receive, work))

    @post("/update", status_code=200, responses=CHANGED)
    async def update_rows(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        table: FromPath[str],
        data: JSONBody[RowsUpdate],
        key: IdempotencyKey = None,
    ) -> Response[bytes]:
        """Set columns of rows: `{"set": {"price": "price * 1.1"}, "where": "city = 'Bern'"}`.

        The values are SQL expressions over the row as it was; a text is written in quotes.
        """
        check_key(key)
        work = table_changes.update(parse_table_name(table), data, key)
        return answer(await unless_gone(request.receive, work))

    @post("/from-query", status_code=200, responses=MADE)
    async def write_from_query(
        self,
        request: AnyRequest,
        table_changes: NamedDependency[TableChanges],
        table: FromPath[str],
        data: JSONBody[RowsFromQuery],
        key: IdempotencyKey = None,
    ) -> Response[bytes]:
        """Write the rows of a SELECT into a table, in one commit.

        `mode` is create (the default), append, overwrite or upsert (with `key`). A table that is
        not there is made, with the columns of the statement.
        """
        check_key(key)
        work = table_changes.from_query(parse_table_name(table), data, key)
        return answer(await unless_gone(request.receive, work))


def answer(body: bytes) -> Response[bytes]:
    return Response(body, media_type="application/json")
