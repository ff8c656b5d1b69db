"""`/v1/ingest` and `/v1/tables/{table}/rows`: files and rows in over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.exceptions import ClientException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIType, Operation, Parameter, Schema
from litestar.params import FromPath, QueryParameter
from multipart import parse_options_header

from lakehouse.api.access import writes
from lakehouse.api.documented import BYTES, streamed
from lakehouse.api.idempotency import IdempotencyKey, check_key
from lakehouse.api.later import ACCEPTED, accepted, wants_job
from lakehouse.api.problems import InvalidRequestError
from lakehouse.api.requests import QUERY
from lakehouse.api.streams import unless_gone
from lakehouse.api.words import of_error
from lakehouse.catalog import check_may_write, check_table_name, parse_table_name
from lakehouse.ingest import Ingest, IngestAnswer, LoadOptions, Upload
from lakehouse.ingest.background import UploadLoad, start_load, start_upload
from lakehouse.ingest.errors import InvalidLoadError, InvalidUploadError, UploadTooLargeError
from lakehouse.ingest.formats import MEDIA_TYPES, Named, room_for
from lakehouse.ingest.loading import quoting_nothing
from lakehouse.ingest.models import RowsAnswer, RowsMode
from lakehouse.ingest.multipart import FilePart, files_of
from lakehouse.ingest.options import check_options
from lakehouse.ingest.several import naming
from lakehouse.ingest.source_loads import SourceLoads
from lakehouse.ingest.spool import SpoolFile, SpoolLimits, spooled
from lakehouse.ingest.taken import request_of
from lakehouse.ingest.uploads import Uploads, put_together
from lakehouse.jobs import Jobs

BODY_MAX_BYTES = 4 * 1024 * 1024
MULTIPART_ROOM_BYTES = 16 * 1024
LISTS = frozenset(["partition_by", "sort_by", "key", "widths"])

DRY_RUN = "dry_run"
UPLOAD, SOURCE = "upload", "source"
PARAMETERS = (*LoadOptions.__struct_fields__, DRY_RUN, UPLOAD, SOURCE)

AnyRequest: TypeAlias = Request[Any, Any, Any]


def parameters() -> list[Parameter]:
    """Describe the query of a load for the OpenAPI document: what `LoadOptions` says of it."""
    schema = msgspec.json.schema(LoadOptions)["$defs"]["LoadOptions"]
    dry = {
        "type": "boolean",
        "default": False,
        "description": "Only say what would happen: the schema, what differs, a sample.",
        "examples": [True],
    }
    sent = {
        "type": "string",
        "description": "Id of a file that was sent in parts (`/v1/uploads`); no body comes then.",
        "examples": ["0f8fad5bd9cb469fa16570867728950e"],
    }
    elsewhere = {
        "type": "string",
        "description": "What lies there already: `object:` and a key of `/v1/storage`, or the "
        "beginning of keys up to a slash; or `s3://bucket/prefix` below one of `storage.sources`, "
        "with `*`, `?` and `**`. All of it is one load; no body comes then.",
        "examples": ["object:raw/people.csv"],
    }
    fields = {**schema["properties"], DRY_RUN: dry, UPLOAD: sent, SOURCE: elsewhere}
    return [parameter(name, each, name in schema["required"]) for name, each in fields.items()]


def parameter(name: str, field: dict[str, Any], required: bool) -> Parameter:
    """Describe one parameter; lists and types of columns are text here."""
    options = field.get("anyOf", [field])
    values = next((each["enum"] for each in options if "enum" in each), None)
    kind = OpenAPIType.BOOLEAN if field.get("type") == "boolean" else OpenAPIType.STRING
    return Parameter(
        name=name,
        param_in="query",
        required=required,
        description=field["description"],
        schema=Schema(type=kind, enum=values, default=field.get("default") or None),
        example=field["examples"][0],
    )


FILE = streamed(
    "The file itself, of any of these types, or in a form of one file.",
    {
        **dict.fromkeys(["application/octet-stream", *sorted(MEDIA_TYPES)], BYTES),
        "multipart/form-data": Schema(
            type=OpenAPIType.OBJECT, properties={"file": BYTES}, required=["file"]
        ),
    },
)
ROWS = streamed(
    "The rows: their fields are the columns of the table.",
    {
        "application/json": Schema(
            type=OpenAPIType.OBJECT,
            properties={
                "rows": Schema(
                    type=OpenAPIType.ARRAY, items=Schema(type=OpenAPIType.OBJECT), min_items=1
                )
            },
            required=["rows"],
        )
    },
)


@dataclass
class IngestOperation(Operation):
    """The operation with its query and its body, which no signature lists."""

    def __post_init__(self) -> None:
        self.parameters = [*parameters(), *(self.parameters or [])]
        self.request_body = FILE


@dataclass
class RowsOperation(Operation):
    def __post_init__(self) -> None:
        self.request_body = ROWS


RowsModeName: TypeAlias = Annotated[
    RowsMode, QueryParameter(name="mode", description="What to do with the rows.")
]
KeyColumns: TypeAlias = Annotated[
    str | None,
    QueryParameter(name="key", description="Columns that upsert and delete go by: `id`, `a,b`."),
]


class IngestController(Controller):
    tags = ["ingest"]

    @post(
        "/v1/ingest",
        status_code=200,
        request_max_body_size=None,
        opt={QUERY: PARAMETERS},
        operation_class=IngestOperation,
        responses={
            200: ResponseSpec(IngestAnswer, description="What the load did."),
            202: ACCEPTED,
        },
        guards=[writes],
    )
    async def ingest_file(
        self,
        request: AnyRequest,
        ingest: NamedDependency[Ingest],
        uploads: NamedDependency[Uploads],
        source_loads: NamedDependency[SourceLoads],
        jobs: NamedDependency[Jobs],
        key: IdempotencyKey = None,
    ) -> Response[bytes]:
        """Load a file into a table.

        It is CSV, TSV, NDJSON, JSON, Parquet, Arrow IPC, ORC or Avro, plain, gzip or zstd, or a
        workbook of Excel.

        The body is multipart with one file or several, or the file itself, or a zip of files: all
        of them are one load. `name` is the table; `mode` is create, append or overwrite (left out:
        a new name is created, an existing table's rows are replaced). Once this is answered, the
        next SELECT reads the rows. `dry_run=true` says what would happen and writes nothing. With
        `upload` it is a file that was sent in parts before; with `source` it is what lies in
        `/v1/storage` or in a bucket, and of what the table has rows of already nothing is added.
        With `Prefer: respond-async` the load is a job, which begins once the body was received.
        """
        options, dry_run = read_options(request)
        check_key(key)
        check_may_write(check_table_name(options.namespace, options.name))  # before it is sent
        as_job = wants_job(request.headers) and not dry_run
        in_parts = request.query_params.get(UPLOAD)
        if as_job and in_parts is None:
            jobs.check_room()
        check_length(request, ingest.config.max_bytes)
        if (source := request.query_params.get(SOURCE)) is not None:
            await no_body(request)
            if in_parts is not None:
                raise InvalidLoadError("source and upload exclude each other")
            if as_job:
                return accepted(await source_loads.start(jobs, source, options, key))
            if dry_run:
                found = await unless_gone(request.receive, source_loads.dry_run(source, options))
                return Response(msgspec.json.encode(found))
            body = await unless_gone(request.receive, source_loads.load(source, options, key))
            return Response(body, media_type="application/json")
        asked = request_of(in_parts or "", options)
        if in_parts is not None:
            await no_body(request)
            told = await uploads.answer(in_parts, key, asked) if key else None
            if as_job and (told is None or await uploads.job(in_parts, asked)):
                load = UploadLoad(in_parts, options, key, asked)
                return accepted(await start_upload(jobs, ingest, uploads, load))
            if told is not None:
                return Response(told, media_type="application/json")
            await uploads.free(in_parts)
        with ingest.uploading() as path:
            if in_parts is None:
                files = await received(request, path, options, ingest.limits)
            else:
                files = [await put_together(uploads, in_parts, path, options, ingest.limits)]
            if dry_run:
                work = ingest.dry_run(files, options)
                return Response(msgspec.json.encode(await unless_gone(request.receive, work)))
            if as_job:
                job = await start_load(jobs, ingest, files, options, key)
            else:
                body = await unless_gone(request.receive, ingest.load(files, options, key))
        if as_job:
            return accepted(job)
        if in_parts is not None:  # of one that failed it stays: load it again, with other options
            await uploads.end(in_parts, asked, quoting_nothing(body), key=key)
        return Response(body, media_type="application/json")

    @post(
        "/v1/tables/{table:str}/rows",
        status_code=201,
        request_max_body_size=BODY_MAX_BYTES,
        operation_class=RowsOperation,
        responses={201: ResponseSpec(RowsAnswer, description="The rows are durable.")},
        guards=[writes],
    )
    async def append_rows(
        self,
        request: AnyRequest,
        ingest: NamedDependency[Ingest],
        table: FromPath[str],
        mode: RowsModeName = "append",
        by: KeyColumns = None,
        key: IdempotencyKey = None,
    ) -> Response[bytes]:
        """Append `{"rows": [{...}, ...]}` to a table; answered once they are durable.

        `?mode=upsert&key=id` puts them in the place of the rows with the same key, `mode=delete`
        takes those out.
        """
        check_key(key)
        name, body = parse_table_name(table), await request.body()
        columns = split_outside(by or "")
        if mode == "append" and not columns:
            answer = await ingest.rows.append(name, body, key)
        else:
            answer = await ingest.rows.merge(name, body, mode, columns, key)
        return Response(answer, media_type="application/json", status_code=201)


async def received(
    request: AnyRequest, path: Path, options: LoadOptions, limits: SpoolLimits
) -> list[Upload]:
    """Return the files of the request, whichever way they were sent, spooled beside `path`."""
    events = file_events(request)
    coming = await anext(events, None)
    uploads: list[Upload] = []
    while isinstance(coming, FilePart):
        part, coming = coming, None

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal coming
            async for event in events:
                if isinstance(event, FilePart):
                    coming = event
                    return
                yield event

        named = Named(part.filename, part.content_type)
        before = limits.after(sum(each.size_bytes for each in uploads))
        with naming(label_of(len(uploads) + 1, part) if uploads else None):
            file = await spooled(
                chunks(),
                path.with_name(f"{path.name}-{len(uploads)}"),
                before,
                partial(room_for, declared=options.format, named=named),
            )
        uploads.append(upload_of(file, part))
    if len(uploads) == 1 and uploads[0].size_bytes == 0:
        raise InvalidUploadError("there is no file: the body is empty")
    if len(uploads) > 1:
        return [replace(each, label=label_of(n, each)) for n, each in enumerate(uploads, start=1)]
    return uploads


def upload_of(file: SpoolFile, part: FilePart) -> Upload:
    return Upload(
        file.path, file.size_bytes, file.sha256, part.filename, part.content_type, file.room_bytes
    )


async def no_body(request: AnyRequest) -> None:
    async for chunk in whole_body(request):
        if chunk:
            raise InvalidLoadError("`upload` and `source` name what is loaded: send no body")


def label_of(number: int, part: FilePart | Upload) -> str:
    return PurePath(part.filename or "").name or f"file {number}"


async def file_events(request: AnyRequest) -> AsyncIterator[FilePart | bytes]:
    """Yield each file, whichever way it was sent: what is said of it, then its bytes.

    Raises:
        InvalidUploadError: the client left before the end, or multipart is malformed.
    """
    content_type = request.headers.get("content-type")
    kind, parameters = parse_options_header(content_type or "")
    if kind != "multipart/form-data":
        yield FilePart(None, content_type)
        async for chunk in whole_body(request):
            yield chunk
        return
    boundary = parameters.get("boundary")
    if not boundary:
        raise InvalidUploadError("the multipart Content-Type has no boundary")
    async for event in files_of(whole_body(request), boundary):
        yield event


async def whole_body(request: AnyRequest) -> AsyncIterator[bytes]:
    """Yield the body as it arrives.

    Raises:
        InvalidUploadError: the client left before the end, or sent another length than it said.
    """
    said, size = request.headers.get("content-length"), 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            yield chunk
    except ClientException as error:
        raise InvalidUploadError(f"the body ended too early: {error.detail}") from error
    if said is not None and said != str(size):
        raise InvalidUploadError(f"the body has {size} bytes, but Content-Length says {said[:20]}")


def read_options(request: AnyRequest) -> tuple[LoadOptions, bool]:
    """Return what the query string says of the load, and whether it is a dry run.

    Raises:
        InvalidLoadError, InvalidRequestError: a parameter is missing or wrong.
        UnsupportedTypeError: no table has a type that it names.
    """
    values: dict[str, Any] = dict(request.query_params.multi_items())
    values.pop(UPLOAD, None)
    values.pop(SOURCE, None)
    if not values.get("name"):
        raise InvalidLoadError("the parameter 'name' is missing: which table is it for?")
    flags = {name: read_flag(values, name) for name in (DRY_RUN, "evolve")}
    dry_run = flags.pop(DRY_RUN)
    values |= flags
    for name in LISTS & values.keys():
        values[name] = split_outside(values[name])
    if "header_row" in values:
        values["header_row"] = read_number(values["header_row"])
    if "types" in values:
        values["types"] = read_types(values["types"])
    try:
        options = msgspec.convert(values, LoadOptions)
    except msgspec.ValidationError as error:
        raise InvalidRequestError([of_error(LoadOptions, error, "query")]) from error
    check_options(options)
    return options, dry_run


def read_flag(values: dict[str, Any], name: str) -> bool:
    text = values.pop(name, "false").lower()
    if text not in ("true", "false"):
        raise InvalidLoadError(f"{name} is true or false")
    return bool(text == "true")


def read_number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidLoadError("header_row is the number of a row, from 1")
    return int(text)


def read_types(text: str) -> dict[str, str]:
    types = {}
    for item in split_outside(text):
        name, colon, type_ = item.partition(":")
        if not colon or not name.strip() or not type_.strip():
            raise InvalidLoadError("types is written `zip:string,price:decimal(9,2)`")
        types[name.strip()] = type_.strip()
    return types


def split_outside(text: str) -> list[str]:
    """Split at commas, but not inside brackets: `day(at), bucket(16, id)` are two."""
    parts, depth = [""], 0
    for char in text:
        depth += (char in "(<") - (char in ")>")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def check_length(request: AnyRequest, max_bytes: int) -> None:
    """Refuse by the Content-Length before a byte is read."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + MULTIPART_ROOM_BYTES:
        raise UploadTooLargeError(f"the body has {length} bytes", max_bytes)
