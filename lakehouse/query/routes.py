"""`/v1/sql`: statements and their results over HTTP."""

from typing import Annotated, Any, TypeAlias, cast

from litestar import Controller, Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.enums import RequestEncodingType
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import BodyKwarg, FromPath, HeaderParameter, QueryParameter

from lakehouse.api.access import reads
from lakehouse.api.documented import NAMED, ROWS, UNCHANGED
from lakehouse.api.negotiation import check_body_type, negotiated
from lakehouse.api.streams import Pieces, Streamed, unless_gone
from lakehouse.query import Answer, NotModified, Query, ResultStream, SqlRequest
from lakehouse.query.models import Format, QueryList, SqlResult, StatementState
from lakehouse.query.run_errors import BadRequestFieldError

BODY_MAX_BYTES = 4 * 1024 * 1024
QUERY_ID = "X-Lakehouse-Query-Id"
MEDIA_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "arrow": "application/vnd.apache.arrow.stream",
    "parquet": "application/vnd.apache.parquet",
    "orc": "application/vnd.apache.orc",
    "avro": "application/vnd.apache.avro",
}
EXAMPLES = [
    Example(
        summary="a statement with bound values",
        value={
            "sql": "SELECT city, count(*) AS people FROM people WHERE age > ? GROUP BY city",
            "parameters": [30],
        },
    ),
    Example(
        summary="a table as it was",
        value={
            "sql": "SELECT sum(amount) FROM sales.orders",
            "as_of": {"sales.orders": "2026-01-31T23:59:59Z"},
        },
    ),
]
RESULT = {**ROWS, 200: ResponseSpec(SqlResult, description="The first page of the rows.")}

Body: TypeAlias = Annotated[
    SqlRequest, BodyKwarg(media_type=RequestEncodingType.JSON, examples=EXAMPLES)
]
FormatName: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        name="format", description=f"One of {', '.join(MEDIA_TYPES)}; it goes before Accept."
    ),
]
QueryId: TypeAlias = Annotated[
    str | None,
    HeaderParameter(name=QUERY_ID, description="A name of your choice, to cancel it by."),
]
AnyRequest: TypeAlias = Request[Any, Any, Any]


class SqlController(Controller):
    path = "/v1/sql"
    tags = ["sql"]

    @post(status_code=200, responses=RESULT, request_max_body_size=BODY_MAX_BYTES, guards=[reads])
    async def run_sql(
        self,
        request: AnyRequest,
        queries: NamedDependency[Query],
        data: Body,
        format_name: FormatName = None,
        query_id: QueryId = None,
    ) -> Response[Any]:
        """Run one SELECT and return its rows.

        A table is readable the moment its load was answered. `Accept` or `?format=` chooses JSON,
        NDJSON, CSV, Arrow IPC, Parquet, ORC or Avro. JSON comes in pages of
        `query.max_result_bytes` (`truncated` says that there are more, `next` where), the others
        stream all rows.
        In JSON, BIGINT is a number; HUGEINT, DECIMAL, NaN and Infinity are strings, blobs are
        base64, times are ISO 8601. Leaving, or `DELETE /v1/sql/{query_id}`, stops the statement.
        """
        check_body_type(request.headers)
        return await answered(request, queries, data, format_name, query_id)

    @get(responses={**RESULT, **NAMED, **UNCHANGED}, guards=[reads])
    async def get_sql(
        self,
        request: AnyRequest,
        queries: NamedDependency[Query],
        sql: Annotated[
            str | None, QueryParameter(description="One SELECT: `SELECT count(*) FROM people`.")
        ] = None,
        timeout_s: Annotated[
            float | None, QueryParameter(gt=0, description="Seconds it may run.")
        ] = None,
        format_name: FormatName = None,
        query_id: QueryId = None,
    ) -> Response[Any]:
        """Run one SELECT that fits in a URL.

        The answer has an ETag made of the statement and the snapshots it read, except where
        the statement is volatile (`now()`, `random()`) or the answer has a `next`; sent back as
        `If-None-Match` it gives 304 while no table has changed, without running the statement.
        """
        if sql is None:
            raise BadRequestFieldError("the field 'sql' is missing", field="sql")
        data = SqlRequest(sql=sql, timeout_s=timeout_s)
        return await answered(request, queries, data, format_name, query_id, with_etag=True)

    @get("/{query_id:str}", guards=[reads])
    async def get_statement(
        self, queries: NamedDependency[Query], query_id: FromPath[str]
    ) -> StatementState:
        """Say whether a statement runs, or how it ended: why a stream broke off, above all.

        The server remembers the last 1,000.
        """
        return queries.state(query_id)

    @delete("/{query_id:str}", guards=[reads])
    async def cancel_sql(self, queries: NamedDependency[Query], query_id: FromPath[str]) -> None:
        """Stop a running statement; its own request answers 409."""
        queries.cancel(query_id)

    @get("/results/{result_id:str}", responses=RESULT, guards=[reads])
    async def get_result_page(
        self,
        request: AnyRequest,
        queries: NamedDependency[Query],
        result_id: FromPath[str],
        offset: Annotated[int, QueryParameter(ge=0, description="The row it begins with.")],
    ) -> Response[Any]:
        """Return a page of a long result: the path is the `next` of the page before.

        All pages are of the snapshots that the first one read. A result is kept 15 minutes after
        it was last read; then this is 404.
        """
        negotiated(request.headers.get("accept"), None, {"json": MEDIA_TYPES["json"]})
        return response_of(await queries.page(result_id, offset))

    @delete("/results/{result_id:str}", guards=[reads])
    async def drop_result(self, queries: NamedDependency[Query], result_id: FromPath[str]) -> None:
        """Delete the pages of a long result that nobody will read any more."""
        await queries.drop_result(result_id)


class QueriesController(Controller):
    path = "/v1/queries"
    tags = ["sql"]

    @get(guards=[reads], sync_to_thread=False)
    def list_queries(self, queries: NamedDependency[Query]) -> QueryList:
        """List the statements that run, or that were stopped and still hold their threads.

        A caller sees its own, an admin those of everybody.
        """
        return QueryList(queries.all())

    @delete("/{query_id:str}", guards=[reads], sync_to_thread=False)
    def kill_query(self, queries: NamedDependency[Query], query_id: FromPath[str]) -> None:
        """Stop a statement, of one's own or, as an admin, of anybody; its request answers 409.

        It is `stopping` until its thread has come back, and then in the list no more.
        """
        queries.cancel(query_id)


async def answered(
    request: AnyRequest,
    query: Query,
    data: SqlRequest,
    format_name: str | None,
    query_id: str | None,
    *,
    with_etag: bool = False,
) -> Response[Any]:
    headers = request.headers
    chosen = cast(Format, negotiated(headers.get("accept"), format_name, MEDIA_TYPES))
    known = etags(headers.get("if-none-match")) if with_etag else frozenset()
    work = (
        query.answer(data, query_id=query_id, with_etag=with_etag, known_etags=known)
        if chosen == "json"
        else query.stream(data, chosen, query_id=query_id, with_etag=with_etag, known_etags=known)
    )
    return response_of(await unless_gone(request.receive, work), chosen)


def response_of(
    answer: Answer | ResultStream | NotModified, chosen: Format = "json"
) -> Response[Any]:
    headers = {"Vary": "Accept"}
    if answer.etag is not None:
        headers |= {"ETag": answer.etag, "Cache-Control": "private, no-cache"}
    if isinstance(answer, NotModified):
        return Response(None, status_code=304, headers=headers)
    headers[QUERY_ID] = answer.query_id
    media_type = MEDIA_TYPES[chosen]
    if isinstance(answer, Answer):
        return Pieces(answer.body, media_type=media_type, headers=headers, release=answer.release)
    return Streamed(answer, media_type=media_type, headers=headers)


def etags(header: str | None) -> frozenset[str]:
    return frozenset(part.strip() for part in header.split(",")) if header else frozenset()
