"""`/v1/tables/{table}/export`, `/changes` and `/diff`: rows of a table without a statement."""

import re
from functools import partial
from typing import Annotated, Any, TypeAlias, cast
from urllib.parse import quote

import msgspec
from litestar import Controller, Request, Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, QueryParameter

from lakehouse.api.access import reads
from lakehouse.api.documented import ROWS
from lakehouse.api.negotiation import negotiated
from lakehouse.api.streams import unless_gone
from lakehouse.catalog import Catalog, parse_table_name, read_as_of
from lakehouse.database import Database
from lakehouse.query import Query, SqlRequest
from lakehouse.query.models import Difference, Format
from lakehouse.query.query import Answer, TableRequest
from lakehouse.query.routes import (
    MEDIA_TYPES,
    QUERY_ID,
    RESULT,
    FormatName,
    QueryId,
    response_of,
)
from lakehouse.query.tables import (
    Found,
    changes_request,
    check_visible,
    counted,
    difference_request,
    export_request,
    with_names,
)

SNAPSHOT_ID = "X-Lakehouse-Snapshot-Id"
FILE_FORMATS = {
    name: MEDIA_TYPES[name] for name in ("csv", "ndjson", "json", "arrow", "parquet", "orc", "avro")
}
SUFFIXES = {"arrow": "arrows"}
FILE = {**ROWS, 200: ResponseSpec(bytes, description="The rows.", media_type="text/csv")}

AnyRequest: TypeAlias = Request[Any, Any, Any]
AsOfText: TypeAlias = Annotated[
    str | None,
    QueryParameter(description="A snapshot id, a tag, a branch, or an ISO 8601 time."),
]
FromText: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        name="from", description="As `to`; left out, the snapshot that `to` was made from."
    ),
]


class TableRowsController(Controller):
    path = "/v1/tables/{table:str}"
    tags = ["tables"]

    @get("/export", responses=FILE, guards=[reads])
    async def export_table(
        self,
        request: AnyRequest,
        queries: NamedDependency[Query],
        catalog: NamedDependency[Catalog],
        database: NamedDependency[Database],
        table: FromPath[str],
        as_of: AsOfText = None,
        format_name: FormatName = None,
        query_id: QueryId = None,
    ) -> Response[Any]:
        """Stream a whole table as CSV, NDJSON, JSON, Arrow, Parquet, ORC or Avro, as it is or was.

        `X-Lakehouse-Snapshot-Id` says which snapshot it is: `changes?since=` goes on from there.
        """
        accept = request.headers.get("accept")
        chosen = cast(Format, negotiated(accept, format_name, FILE_FORMATS))
        name = parse_table_name(table)
        snapshot_id = await database.call(
            partial(catalog.snapshot_id, check_visible(name), wanted(as_of))
        )
        asked: SqlRequest = export_request(name, snapshot_id)
        work = queries.stream(asked, chosen, query_id=query_id)
        answer = response_of(await unless_gone(request.receive, work), chosen)
        file = f"{name.name}.{SUFFIXES.get(chosen, chosen)}"
        answer.headers["Content-Disposition"] = attachment(file)
        return told(answer, snapshot_id)

    @get("/changes", responses=RESULT, guards=[reads])
    async def list_changes(
        self,
        request: AnyRequest,
        queries: NamedDependency[Query],
        catalog: NamedDependency[Catalog],
        table: FromPath[str],
        since: AsOfText = None,
        until: AsOfText = None,
        format_name: FormatName = None,
        query_id: QueryId = None,
    ) -> Response[Any]:
        """Return the rows that were added and deleted since a snapshot or a time, oldest first.

        Each has `_change_type` (`insert` or `delete`), `_snapshot_id` and `_committed_at`. Rows
        that a rewrite only moved are not among them. An answer covers 500 snapshots at most;
        `X-Lakehouse-Snapshot-Id` is the last of them, and the `since` of the next request.
        """
        asked, found = changes_request(
            catalog, parse_table_name(table), wanted(since), wanted(until)
        )
        return await answered(request, queries, asked, found, format_name, query_id)

    @get("/diff", responses=ROWS, guards=[reads])
    async def count_differences(
        self,
        request: AnyRequest,
        queries: NamedDependency[Query],
        catalog: NamedDependency[Catalog],
        table: FromPath[str],
        before: FromText = None,
        to: AsOfText = None,
        query_id: QueryId = None,
    ) -> Response[Difference]:
        """Count the rows by which two snapshots differ; only files that differ are read."""
        name = parse_table_name(table)
        asked, found = difference_request(catalog, name, wanted(before), wanted(to))
        work = queries.answer(counted(asked), query_id=query_id)
        answer = cast(Answer, await unless_gone(request.receive, work))
        try:
            ((deleted, inserted),) = msgspec.json.decode(b"".join(answer.body))["rows"]
        finally:
            answer.release()
        content = Difference(found.before, found.until, inserted, deleted)
        return Response(content, headers={QUERY_ID: answer.query_id})

    @get("/diff/rows", responses=RESULT, guards=[reads])
    async def list_differences(
        self,
        request: AnyRequest,
        queries: NamedDependency[Query],
        catalog: NamedDependency[Catalog],
        table: FromPath[str],
        before: FromText = None,
        to: AsOfText = None,
        format_name: FormatName = None,
        query_id: QueryId = None,
    ) -> Response[Any]:
        """Return the rows by which two snapshots differ, with `_change_type` as in `changes`."""
        name = parse_table_name(table)
        asked, found = difference_request(catalog, name, wanted(before), wanted(to))
        return await answered(request, queries, asked, found, format_name, query_id)


async def answered(
    request: AnyRequest,
    queries: Query,
    asked: TableRequest,
    found: Found,
    format_name: str | None,
    query_id: str | None,
) -> Response[Any]:
    chosen = cast(Format, negotiated(request.headers.get("accept"), format_name, MEDIA_TYPES))
    asked = with_names(asked)
    work = (
        queries.answer(asked, query_id=query_id)
        if chosen == "json"
        else queries.stream(asked, chosen, query_id=query_id)
    )
    return told(response_of(await unless_gone(request.receive, work), chosen), found.until)


def told(answer: Response[Any], snapshot_id: int | None) -> Response[Any]:
    if snapshot_id is not None:
        answer.headers[SNAPSHOT_ID] = str(snapshot_id)
    return answer


def wanted(asked: str | None) -> Any:
    return read_as_of(asked) if asked is not None else None


def attachment(name: str) -> str:
    """Return a Content-Disposition: plain letters for old clients, then the name itself.

    Source: RFC 6266, 4.3.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
