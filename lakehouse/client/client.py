"""The client: what a caller can say to a server, one method a noun."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import quote
from uuid import uuid4

import httpx

from lakehouse.client import parts
from lakehouse.client.answers import value_of
from lakehouse.client.embedding import Embedding
from lakehouse.client.iceberg import Iceberg
from lakehouse.client.jobs import Jobs
from lakehouse.client.loads import COMMIT_TIMEOUT_S, RESPOND_ASYNC, load_params
from lakehouse.client.maintenance import Maintenance
from lakehouse.client.models import (
    Difference,
    DroppedPage,
    DroppedTable,
    DryRun,
    ExportFormat,
    FileExportFormat,
    FileFormat,
    Health,
    IngestReport,
    Job,
    Mode,
    NamespacePage,
    OnError,
    QueryMode,
    Readiness,
    ResultPage,
    RolledBack,
    RowsChanged,
    RowsMode,
    RowsReport,
    Snapshot,
    SnapshotPage,
    Table,
    TableFromQuery,
    TablePage,
    TableProperties,
    TableSummary,
)
from lakehouse.client.objects import Datasets, Storage
from lakehouse.client.queries import Queries
from lakehouse.client.refs import Refs, table_path
from lakehouse.client.results import Result
from lakehouse.client.schedules import Schedules
from lakehouse.client.schemas import Schemas
from lakehouse.client.sources import Sources
from lakehouse.client.tokens import Tokens
from lakehouse.client.transport import UNIX, Params, Transport
from lakehouse.client.uploads import Progress, Source, Upload, silent, upload_of
from lakehouse.client.vectors import VectorCollections
from lakehouse.errors import NotFoundError

if TYPE_CHECKING:  # 100 MB of memory that most callers of this module never need
    import pyarrow as pa

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]
When: TypeAlias = int | str | datetime
"""A snapshot id, the name of a tag or a branch, or a time."""
AsOf: TypeAlias = Mapping[str, When]
Searches: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Searches of collections, by the names that a statement reads what they find under."""

DEFAULT_URL = "http://127.0.0.1:3110"
TOKEN_VARIABLE = "LAKEHOUSE_TOKEN"


class Client:
    """A server, over HTTP. Close it, or use it in a `with`.

        with Client() as lake:
            lake.ingest("orders.csv", "sales.orders")
            for city, count in lake.sql("SELECT city, count(*) FROM sales.orders GROUP BY 1"):
                print(city, count)

    Errors are those of `lakehouse.errors`: what the server answered is also a `RemoteError` with
    the problem in it. Requests that only read, and writes, which carry a key, are tried again
    when the server says `Retry-After` or the connection breaks; nothing is written twice.

    Args:
        url: where the server listens; `unix:/path/to/data/operator.sock` for its owner.
        token: who asks, where the server asks for one; `LAKEHOUSE_TOKEN` of the environment
            when None, which no socket is sent.
        timeout_s: seconds to wait for the next byte of an answer.
        retry_max_s: seconds of pauses that one call may spend on retries.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        timeout_s: float = 120.0,
        retry_max_s: float = 30.0,
    ) -> None:
        if token is None and not url.startswith(UNIX):  # there it is the owner who asks
            token = os.environ.get(TOKEN_VARIABLE)
        self._transport = Transport(url, token=token, timeout_s=timeout_s, retry_max_s=retry_max_s)
        self.tokens = Tokens(self._transport)
        self.queries = Queries(self._transport)
        self.storage = Storage(self._transport)
        self.datasets = Datasets(self._transport)
        self.refs = Refs(self._transport)
        self.schemas = Schemas(self._transport)
        self.jobs = Jobs(self._transport)
        self.sources = Sources(self._transport)
        self.schedules = Schedules(self._transport)
        self.embedding = Embedding(self._transport)
        self.vectors = VectorCollections(self._transport, self.jobs)
        self.iceberg = Iceberg(self._transport)
        self.maintenance = Maintenance(self._transport, self.jobs)

    @property
    def url(self) -> str:
        return self._transport.url

    def close(self) -> None:
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def health(self) -> Health:
        """Return the service's name and state; `UnavailableError` when nobody answers."""
        return value_of(self._transport.send("GET", "/health", again=False), Health)

    def ready(self) -> Readiness:
        """Return whether every part of the server can work, and what each of them says."""
        response = self._transport.send("GET", "/ready", again=False, accepted=frozenset({503}))
        return value_of(response, Readiness)

    def ingest(
        self,
        source: Source,
        table: str,
        *,
        mode: Mode | None = None,
        on_error: OnError | None = None,
        evolve: bool = False,
        types: Mapping[str, str] | None = None,
        date_format: str | None = None,
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
        key: Sequence[str] = (),
        format: FileFormat | None = None,
        delimiter: str | None = None,
        widths: Sequence[str] = (),
        sheet: str | None = None,
        header_row: int | None = None,
        encoding: str | None = None,
        idempotency_key: str | None = None,
        progress: Progress = silent,
    ) -> IngestReport:
        """Load one file into a table: whole, or not at all. Every SELECT sees it on return.

        Cost: one pass over the file, 256 KiB in memory.

        Args:
            source: a path, bytes, or a binary file; a file is read from where it stands, once.
            table: `name` or `namespace.name`; made if it is not there.
            mode: None replaces the rows of a table that is there.
            on_error: "fail" (the default) loads nothing when a row is bad, "reject" the others,
                "string" makes the column a string.
            evolve: make the table's columns fit the file: new ones are added, those that it lacks
                are null, and types widen where Iceberg allows it.
            types: of columns, as Iceberg spells them, before what is inferred.
            date_format: as strptime has it, where the file leaves the order of day and month open.
            partition_by: of a new table: columns, `day(c)`, `bucket(16, c)`, `truncate(3, c)`.
            sort_by: of a new table: columns, each with ` desc` or not.
            key: the columns that the modes upsert and delete go by.
            format: where neither name nor content says it.
            delimiter: of CSV, where it is neither comma, semicolon, tab nor bar; 1 to 4 bytes.
            widths: of the columns of a text without a delimiter, in characters: `id:8`, `city:20`.
            sheet: of a workbook, its name or its number; the first one when None.
            header_row: of a workbook, the row of the names, from 1; the first that is not empty
                when None.
            encoding: of text that is not UTF-8 and has no byte order mark.
            idempotency_key: the same key never loads twice; one is made when None.
            progress: called with the bytes sent and the bytes there are, the last time when all
                are sent and the server commits.

        Raises:
            InvalidInputError: the file or a row is bad; `error.context["rows"]` names the rows.
            ConflictError: the columns differ from the table's, or `mode` is "create" and it exists.
            TooLargeError: over the server's limit.
        """
        upload = upload_of(source)
        params = load_params(
            table,
            mode=mode,
            on_error=on_error,
            evolve=evolve,
            types=types,
            date_format=date_format,
            partition_by=partition_by,
            sort_by=sort_by,
            key=key,
            format=format,
            delimiter=delimiter,
            widths=widths,
            sheet=sheet,
            header_row=header_row,
            encoding=encoding,
        )
        response = self._send_file(upload, params, progress, idempotency_key or uuid4().hex)
        return value_of(response, IngestReport)

    def ingest_later(
        self,
        source: Source,
        table: str,
        *,
        idempotency_key: str | None = None,
        progress: Progress = silent,
        **options: Any,
    ) -> Job:
        """Send one file and return the job that loads it; arguments are those of `ingest`.

        `lake.jobs.wait(job.id)` returns when the rows are there, and raises what `ingest` raises.
        """
        upload = upload_of(source)
        key = idempotency_key or uuid4().hex
        params = load_params(table, **options)
        return value_of(self._send_file(upload, params, progress, key, RESPOND_ASYNC), Job)

    def try_ingest(
        self, source: Source, table: str, *, progress: Progress = silent, **options: Any
    ) -> DryRun:
        """Return what `ingest` with these options would do: schema, differences, a sample.

        The file is sent whole, and nothing is written.
        """
        upload = upload_of(source)
        params = {**load_params(table, **options), "dry_run": "true"}
        return value_of(self._send_file(upload, params, progress, None), DryRun)

    def rows(
        self,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        mode: RowsMode = "append",
        key: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> RowsReport:
        """Append rows to a table. They are durable, and seen by every SELECT, on return.

        Args:
            table: `name` or `namespace.name`.
            rows: objects, a value for each column; the forms that `sql` answers are taken back.
            mode: `upsert` puts them in the place of the rows with the same key, `delete` takes
                those out.
            key: the columns that upsert and delete go by.
            idempotency_key: the same key never appends twice; one is made when None.

        Raises:
            NotFoundError: no such table.
            InvalidInputError: a row does not fit; the error names it, and none was added.
        """
        response = self._transport.send(
            "POST",
            f"/v1/tables/{quote(table, safe='')}/rows",
            params={"mode": mode, **({"key": ",".join(key)} if key else {})},
            json={"rows": rows},
            headers={"Idempotency-Key": idempotency_key or uuid4().hex},
        )
        return value_of(response, RowsReport)

    def properties(
        self,
        table: str,
        values: Mapping[str, str] | None = None,
        remove: Sequence[str] = (),
        *,
        idempotency_key: str | None = None,
    ) -> TableProperties:
        """Set and remove properties of a table, if any are named, and return those it has then.

        Args:
            values: by name; those of maintenance (docs/maintenance.md), or `user.` and a name.

        Raises:
            InvalidInputError: a name is not one to set, or a value is not of its property.
            NotFoundError: no such table.
        """
        path = f"{table_path(table)}/properties"
        if not values and not remove:
            return value_of(self._transport.send("GET", path), TableProperties)
        body = {"set": values or {}, "remove": list(remove)}
        return value_of(self._change(table, "properties", body, idempotency_key), TableProperties)

    def delete_rows(
        self,
        table: str,
        where: str,
        parameters: Parameters | None = None,
        *,
        erase: bool = False,
        idempotency_key: str | None = None,
    ) -> RowsChanged:
        """Delete the rows of which `where` is true; older snapshots keep them until they expire.

        Args:
            where: one SQL expression over the table's columns.
            parameters: values for `?`, in order, or for `$name`.
            erase: also delete every file that holds such rows, with the older snapshots.

        Raises:
            InvalidInputError: `where` is not one plain expression.
            NotFoundError: no such table.
        """
        body = deletion(where, parameters, erase)
        return value_of(self._change(table, "delete", body, idempotency_key), RowsChanged)

    def delete_rows_later(
        self,
        table: str,
        where: str,
        parameters: Parameters | None = None,
        *,
        erase: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Return the job that does what `delete_rows` does.

        `lake.jobs.wait(job.id)` returns when it is done, and raises what `delete_rows` raises.
        """
        body = deletion(where, parameters, erase)
        return value_of(self._change(table, "delete", body, idempotency_key, RESPOND_ASYNC), Job)

    def update_rows(
        self,
        table: str,
        values: Mapping[str, str],
        where: str,
        parameters: Parameters | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> RowsChanged:
        """Set columns of the rows of which `where` is true.

        Args:
            values: by column, a SQL expression over the row as it was.
            parameters: values for `?`, counted through `values` and then `where`, or for `$name`.

        Raises:
            As `delete_rows`.
        """
        body = {"set": values, "where": where, "parameters": parameters or []}
        response = self._change(table, "update", body, idempotency_key)
        return value_of(response, RowsChanged)

    def from_query(
        self,
        table: str,
        sql: str,
        *,
        mode: QueryMode = "create",
        key: Sequence[str] = (),
        idempotency_key: str | None = None,
    ) -> TableFromQuery:
        """Write the rows of a SELECT into a table, in one commit.

        Args:
            mode: create fails where the table exists; the others make it where it does not.
            key: the columns that upsert goes by.

        Raises:
            InvalidInputError: the statement is refused.
            ConflictError: the table exists, or has other columns.
        """
        body = {"sql": sql, "mode": mode, "key": list(key)}
        response = self._change(table, "from-query", body, idempotency_key)
        return value_of(response, TableFromQuery)

    def _change(
        self,
        table: str,
        what: str,
        body: Mapping[str, Any],
        idempotency_key: str | None,
        more: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        headers = {"Idempotency-Key": idempotency_key or uuid4().hex, **(more or {})}
        return self._transport.send(
            "POST", f"{table_path(table)}/{what}", json=body, headers=headers
        )

    def sql(
        self,
        sql: str,
        parameters: Parameters | None = None,
        *,
        as_of: AsOf | None = None,
        search: Searches | None = None,
        timeout_s: float | None = None,
    ) -> Result:
        """Run one SELECT. Its first page is read on return, the others when you get there.

        Values come as JSON has them: DECIMAL, HUGEINT, NaN, times and blobs are strings. `arrow`
        keeps the types.

        Args:
            sql: one SELECT, or DESCRIBE, SHOW TABLES, SUMMARIZE, EXPLAIN.
            parameters: values for `?`, in order, or for `$name`, by name.
            as_of: for a table, the snapshot to read: its id, a tag, a branch, or a time.
            search: by name, a `collection` and what to look for in it, as `text` and `k`: what is
                found is a relation of that name.
            timeout_s: seconds it may run; at most what the server allows.

        Raises:
            InvalidInputError: the statement is wrong, or names a table that is not there.
            UnprocessableError: it ran too long, and was stopped.
        """
        response = self._transport.send(
            "POST",
            "/v1/sql",
            json=statement(sql, parameters, as_of, search, timeout_s),
            headers={"Accept": "application/json"},
        )
        return self._result(response)

    @contextmanager
    def export(
        self,
        sql: str,
        format: ExportFormat,
        parameters: Parameters | None = None,
        *,
        as_of: AsOf | None = None,
        search: Searches | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """Run one SELECT and read all its rows as bytes of a format, in pieces.

        Arguments and errors are those of `sql`; an answer that breaks off raises while it is read.
        """
        body = statement(sql, parameters, as_of, search, timeout_s)
        params = {"format": format}
        with self._transport.stream("POST", "/v1/sql", params=params, json=body) as pieces:
            yield pieces

    @contextmanager
    def batches(
        self,
        sql: str,
        parameters: Parameters | None = None,
        *,
        as_of: AsOf | None = None,
        search: Searches | None = None,
    ) -> Iterator["pa.RecordBatchReader"]:
        """Run one SELECT and read its rows as Arrow, with their exact types, a batch at a time."""
        # Needs pyarrow (60 ms and 100 MB), which the other methods do without.
        from lakehouse.client.arrow import reading

        asked = self.export(sql, "arrow", parameters, as_of=as_of, search=search)
        with asked as pieces, reading(pieces) as it:
            yield it

    def arrow(
        self,
        sql: str,
        parameters: Parameters | None = None,
        *,
        as_of: AsOf | None = None,
        search: Searches | None = None,
    ) -> "pa.Table":
        """Run one SELECT and return all its rows as an Arrow table, in memory."""
        with self.batches(sql, parameters, as_of=as_of, search=search) as reader:
            return reader.read_all()

    def tables(self, namespace: str | None = None) -> Iterator[TableSummary]:
        """Yield the tables by name, all or those of one namespace."""
        cursor: str | None = None
        while True:
            params = {"namespace": namespace, "cursor": cursor}
            page = value_of(self._transport.send("GET", "/v1/tables", params=params), TablePage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def describe(self, table: str) -> Table:
        """Return the table's columns, partitioning, rows, files, bytes.

        Raises:
            NotFoundError: no such table.
        """
        return value_of(self._transport.send("GET", table_path(table)), Table)

    def history(self, table: str) -> Iterator[Snapshot]:
        """Yield the table's snapshots, newest first; `NotFoundError`: no such table."""
        cursor: str | None = None
        while True:
            path = f"{table_path(table)}/snapshots"
            response = self._transport.send("GET", path, params={"cursor": cursor})
            page = value_of(response, SnapshotPage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def backup(self, directory: str | None = None, *, verify: bool = False) -> Job:
        """Begin a backup and return its job; `lake.jobs.wait(job.id)` returns when it is whole.

        Args:
            directory: one of the server's `backup.directories`; None for its first.
            verify: whether the server reads back all that it backed up.
        """
        asked = {"directory": directory, "verify": verify}
        return value_of(self._transport.send("POST", "/v1/backups", json=asked), Job)

    def rollback(self, table: str, to: When, *, idempotency_key: str | None = None) -> RolledBack:
        """Make the table what it was; a rollback to what came after undoes it.

        Args:
            to: a snapshot id, a tag, or a time.
            idempotency_key: the same key never rolls back twice; one is made when None.

        Raises:
            NotFoundError: no such table, or no such snapshot (any more).
            ConflictError: the table never was at that snapshot.
        """
        response = self._transport.send(
            "POST",
            f"{table_path(table)}/rollback",
            json={"to": to},
            headers={"Idempotency-Key": idempotency_key or uuid4().hex},
        )
        return value_of(response, RolledBack)

    def changes(
        self, table: str, since: When | None = None, until: When | None = None
    ) -> tuple[Result, int | None]:
        """Return the rows added and deleted since, the oldest first, and where to go on.

        Each row ends with `_change_type` (`insert` or `delete`), `_snapshot_id` and
        `_committed_at`. Call it again with the second value until that stays the same: one answer
        covers 500 snapshots at most.

        Args:
            since: a snapshot id, a tag or a time; None for all there are.
            until: the last snapshot; None for the current one.

        Raises:
            NotFoundError: no such table or snapshot, or what was in between has expired.
            ConflictError: the table was rolled back since; `diff_rows` says what differs.
        """
        params = {"since": text_of(since), "until": text_of(until), "format": "json"}
        response = self._transport.send("GET", f"{table_path(table)}/changes", params=params)
        last = response.headers.get("X-Lakehouse-Snapshot-Id")
        return self._result(response), int(last) if last else None

    def diff(self, table: str, before: When | None = None, after: When | None = None) -> Difference:
        """Count the rows by which two snapshots differ.

        Args:
            before: a snapshot id, a tag, a branch or a time; None for the one before `after`.
            after: None for the current one.

        Raises:
            NotFoundError: no such table or snapshot.
        """
        params = {"from": text_of(before), "to": text_of(after)}
        response = self._transport.send("GET", f"{table_path(table)}/diff", params=params)
        return value_of(response, Difference)

    def diff_rows(
        self, table: str, before: When | None = None, after: When | None = None
    ) -> Result:
        """Return the rows by which two snapshots differ, as `changes` does; see `diff`."""
        params = {"from": text_of(before), "to": text_of(after), "format": "json"}
        path = f"{table_path(table)}/diff/rows"
        return self._result(self._transport.send("GET", path, params=params))

    @contextmanager
    def export_table(
        self, table: str, format: FileExportFormat = "csv", *, as_of: When | None = None
    ) -> Iterator[Iterator[bytes]]:
        """Read a whole table as bytes of a format, in pieces, as it is or as it was.

        Raises:
            NotFoundError: no such table or snapshot.
        """
        params = {"format": format, "as_of": text_of(as_of)}
        path = f"{table_path(table)}/export"
        with self._transport.stream("GET", path, params=params) as pieces:
            yield pieces

    def namespaces(self) -> Iterator[str]:
        """Yield the namespaces by name."""
        cursor: str | None = None
        while True:
            response = self._transport.send("GET", "/v1/namespaces", params={"cursor": cursor})
            page = value_of(response, NamespacePage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def create_namespace(self, name: str) -> None:
        """Create an empty namespace; `ConflictError` when it is there."""
        self._transport.send("POST", "/v1/namespaces", json={"name": name}, headers=new_key())

    def drop(self, table: str) -> None:
        """Take the table out of the catalog; `undrop` brings it back. `NotFoundError`: none."""
        self._transport.send("DELETE", table_path(table), headers=new_key())

    def dropped(self, namespace: str | None = None) -> Iterator[DroppedTable]:
        """Yield the tables that can be brought back, by name, of one name the newest first."""
        cursor: str | None = None
        while True:
            params = {"dropped": "true", "namespace": namespace, "cursor": cursor}
            page = value_of(self._transport.send("GET", "/v1/tables", params=params), DroppedPage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def undrop(self, table: str, *, uuid: str | None = None, to: str | None = None) -> Table:
        """Bring a dropped table back, as it was.

        Args:
            table: the name it had.
            uuid: which one, of several of that name; None for the one dropped last.
            to: the name that it comes back under; None for the old one.

        Raises:
            NotFoundError: no table of that name was dropped, or it was purged.
            ConflictError: the name is taken.
        """
        body = {key: value for key, value in {"uuid": uuid, "as": to}.items() if value is not None}
        path = f"{table_path(table)}/undrop"
        return value_of(self._transport.send("POST", path, json=body, headers=new_key()), Table)

    def adopt(
        self,
        table: str,
        *,
        files: Sequence[str] = (),
        prefix: str | None = None,
        metadata: str | None = None,
        idempotency_key: str | None = None,
    ) -> Table:
        """Make a table of what lies in the server's warehouse already; nothing is copied.

        Args:
            table: `name` or `namespace.name`; one that is there gets the files that it lacks.
            files: Parquet files, by their paths below the warehouse.
            prefix: a folder: every Parquet file in it.
            metadata: the current metadata file of an Iceberg table, which comes with its history.
            idempotency_key: one is made when None.

        Raises:
            NotFoundError: no such file is there.
            UnprocessableError: it cannot be part of a table; the message says why.
            ConflictError: columns differ, or it belongs to another table.
        """
        given = {"files": list(files), "prefix": prefix, "metadata": metadata}
        response = self._transport.send(
            "POST",
            f"{table_path(table)}/adopt",
            json={key: value for key, value in given.items() if value},
            headers={"Idempotency-Key": idempotency_key or uuid4().hex},
            timeout_s=COMMIT_TIMEOUT_S,
        )
        return value_of(response, Table)

    def purge(self, table: str, *, uuid: str | None = None) -> None:
        """Drop the table if it is there, and delete its files: there is no way back.

        Args:
            table: its name; one that is there goes before one that was dropped.
            uuid: which one, there or dropped; None for any.

        Raises:
            NotFoundError: no such table, there or dropped.
            ConflictError: a statement reads it; it is dropped, and can be purged later.
        """
        params = {"purge": "true", "uuid": uuid}
        self._transport.send("DELETE", table_path(table), params=params, headers=new_key())

    def _send_file(
        self,
        upload: Upload,
        params: Params,
        progress: Progress,
        key: str | None,
        headers: Mapping[str, str] = {},
    ) -> httpx.Response:
        if upload.key is not None and (upload.size_bytes or 0) >= parts.FROM_BYTES:
            upload_id = parts.send_in_parts(self._transport, upload, progress)
            return self._transport.send(
                "POST",
                "/v1/ingest",
                params={**params, "upload": upload_id},
                headers={**headers, **({"Idempotency-Key": key} if key else {})},
                timeout_s=COMMIT_TIMEOUT_S,
            )
        return self._transport.send(
            "POST",
            "/v1/ingest",
            params=params,
            body=lambda: upload.pieces(progress),
            headers={
                "Content-Type": upload.media_type(),
                **upload.headers(),
                **headers,
                **({"Idempotency-Key": key} if key else {}),
            },
            again=upload.again,
            timeout_s=COMMIT_TIMEOUT_S,
        )

    def _result(self, response: httpx.Response) -> Result:
        return Result(value_of(response, ResultPage), self._page, self._drop_result)

    def _page(self, path: str) -> ResultPage:
        return value_of(self._transport.send("GET", path), ResultPage)

    def _drop_result(self, path: str) -> None:
        with suppress(NotFoundError):  # forgotten already
            self._transport.send("DELETE", path)


def text_of(when: When | None) -> str | None:
    """Return what a query string says: a snapshot id, a name, or an ISO 8601 time."""
    return when.isoformat() if isinstance(when, datetime) else None if when is None else str(when)


def new_key() -> dict[str, str]:
    """Return the header by which a request that is sent again has one effect."""
    return {"Idempotency-Key": uuid4().hex}


def statement(
    sql: str,
    parameters: Parameters | None,
    as_of: AsOf | None,
    search: Searches | None,
    timeout_s: float | None,
) -> dict[str, Any]:
    body: dict[str, Any] = {"sql": sql}
    if parameters is not None:
        body["parameters"] = parameters
    if as_of:
        body["as_of"] = as_of
    if search:
        body["search"] = search
    if timeout_s is not None:
        body["timeout_s"] = timeout_s
    return body


def deletion(where: str, parameters: Parameters | None, erase: bool) -> dict[str, Any]:
    return {"where": where, "parameters": parameters or [], "erase": erase}
