"""`/v1/storage` over HTTP: objects in, objects out, streamed both ways."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from litestar import Controller, Request, Response, delete, get, put, route
from litestar.di import NamedDependency, Provide
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException, InternalServerException, NotFoundException
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation
from litestar.params import FromQuery, QueryParameter
from litestar.response.base import ASGIResponse

from lakehouse.api.access import reads, writes
from lakehouse.api.documented import BYTES, UNCHANGED, streamed
from lakehouse.api.pages import decoded, encoded
from lakehouse.api.problems import MEDIA_TYPE as PROBLEM_TYPE
from lakehouse.api.problems import Problem
from lakehouse.api.streams import Streamed, StreamedASGI
from lakehouse.errors import InvalidInputError
from lakehouse.storage.conditions import (
    Span,
    UnsatisfiableError,
    http_date,
    is_known,
    requested_span,
)
from lakehouse.storage.errors import BodyLengthError, InvalidKeyError
from lakehouse.storage.models import ListedObject, ObjectPage, StoredObject
from lakehouse.storage.objects import Objects, OpenObject

AnyRequest = Request[Any, Any, Any]

ROOT = ["", "v1", "storage"]
MEDIA_TYPE = "application/octet-stream"
LIST_MAX = 10_000
OBJECT = {
    **UNCHANGED,
    200: ResponseSpec(bytes, description="The object.", media_type=MEDIA_TYPE),
    206: ResponseSpec(bytes, description="What `Range` asks for.", media_type=MEDIA_TYPE),
    416: ResponseSpec(
        Problem, description="The range begins behind the end.", media_type=PROBLEM_TYPE
    ),
}
BODY = streamed("The object, of any type.", {"*/*": BYTES})
KEYED = [HttpMethod.PUT, HttpMethod.GET, HttpMethod.HEAD, HttpMethod.DELETE]


def key_of(request: AnyRequest) -> str:
    """Return the key as the client wrote it: the router has merged `a//b` with `a/b`.

    Raises:
        InvalidKeyError: it is not UTF-8.
    """
    raw_path: bytes = request.scope["raw_path"].partition(b"?")[0]
    *above, _, key = raw_path.split(b"/", maxsplit=4)
    if [unquote_to_bytes(each).decode(errors="replace") for each in above] != ROOT:
        raise NotFoundException
    try:
        return unquote_to_bytes(key).decode()
    except UnicodeDecodeError as error:
        raise InvalidKeyError(ascii(unquote_to_bytes(key)), "it is not UTF-8") from error


@dataclass
class PutOperation(Operation):
    """The operation with its body, which no signature lists."""

    def __post_init__(self) -> None:
        self.request_body = BODY


class StorageController(Controller):
    path = "/v1/storage"
    tags = ["storage"]
    dependencies = {"object_key": Provide(key_of, sync_to_thread=False)}

    @put(
        "/put/{key:path}",
        request_max_body_size=None,
        operation_class=PutOperation,
        guards=[writes],
    )
    async def put_object(
        self,
        request: AnyRequest,
        objects: NamedDependency[Objects],
        object_key: NamedDependency[str],
    ) -> StoredObject:
        """Store the body under a key, in place of what was there."""
        info = await objects.put(object_key, body_of(request), announced_bytes(request))
        return StoredObject(info.key, info.size_bytes, info.etag)

    @route(
        "/get/{key:path}",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        responses=OBJECT,
        guards=[reads],
    )
    async def get_object(
        self,
        request: AnyRequest,
        objects: NamedDependency[Objects],
        object_key: NamedDependency[str],
    ) -> Response[Any]:
        """Return an object's bytes, whole or one range."""
        return answer(request, await objects.get(object_key))

    @get("/list", guards=[reads])
    async def list_objects(
        self,
        objects: NamedDependency[Objects],
        prefix: FromQuery[str] = "",
        continuation_token: Annotated[
            str | None, QueryParameter(description="`next` of the page before.")
        ] = None,
        limit: Annotated[
            int, QueryParameter(ge=1, le=LIST_MAX, description="Objects in one answer.")
        ] = LIST_MAX,
    ) -> ObjectPage:
        """List objects whose keys begin with `prefix`, by the bytes of their keys."""
        after = decoded(continuation_token) if continuation_token else ""
        found, more = await objects.list(prefix, after, limit)
        listed = [ListedObject(each.key, each.size_bytes, each.modified_at) for each in found]
        return ObjectPage(listed, encoded(found[-1].key) if more else None)

    @delete("/delete/{key:path}", guards=[writes])
    async def delete_object(
        self, objects: NamedDependency[Objects], object_key: NamedDependency[str]
    ) -> None:
        """Delete an object; one that is not there is deleted already."""
        await objects.delete(object_key)

    @route(["/put", "/get", "/delete"], http_method=KEYED, include_in_schema=False, guards=[reads])
    async def no_key(self) -> None:
        """Refuse the empty key, which the routes above do not match."""
        raise InvalidKeyError("", "it is empty")


def announced_bytes(request: AnyRequest) -> int | None:
    text = request.headers.get("content-length")
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20):
        raise InvalidInputError(f"Content-Length is {text[:40]!r}, not a number of bytes")
    return int(text)


async def body_of(request: AnyRequest) -> AsyncIterator[bytes]:
    """Yield the body; `BodyLengthError` when the client left before its end."""
    received = 0
    try:
        async for piece in request.stream():
            received += len(piece)
            yield piece
    except InternalServerException as error:  # Litestar's word for a client that left
        raise BodyLengthError(announced_bytes(request), received) from error


def answer(request: AnyRequest, found: OpenObject) -> Response[Any]:
    """Return what the headers ask for: the object, a part of it, its headers, or that it is known.

    Raises:
        HTTPException: 416.
    """
    info = found.info
    size, etag = info.size_bytes, f'"{info.etag}"'
    headers = {
        "ETag": etag,
        "Last-Modified": http_date(info.modified_at),
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-cache",
        # Somebody else's bytes: no browser shall run them as a page of ours.
        "Content-Disposition": "attachment",
    }
    asked = {name.lower(): value for name, value in request.headers.items()}
    if is_known(asked, etag, info.modified_at):
        found.close()
        return Response(b"", status_code=304, headers=headers)
    if request.method == HttpMethod.HEAD:
        found.close()
        headers |= {"Content-Length": str(size), "Content-Type": MEDIA_TYPE}
        return Response(b"", headers=headers)
    try:
        span = requested_span(asked, size, etag, info.modified_at)
    except UnsatisfiableError as error:
        found.close()
        raise HTTPException(
            f"the range {asked['range'][:80]!r} begins behind the object's {size} bytes",
            status_code=416,
            headers={"Content-Range": f"bytes */{size}"},
        ) from error
    if span is None:
        return ObjectBody(found, Span(0, size), 200, headers)
    headers["Content-Range"] = f"bytes {span.start}-{span.start + span.length - 1}/{size}"
    return ObjectBody(found, span, 206, headers)


class Sent:
    """A part of an open object on its way out."""

    def __init__(self, found: OpenObject, span: Span) -> None:
        self._pieces = found.pieces(span.start, span.length)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces

    def sending(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()


@asynccontextmanager
async def sent(found: OpenObject, span: Span) -> AsyncIterator[Sent]:
    try:
        yield Sent(found, span)
    finally:
        found.close()


class ObjectBody(Streamed):
    """A stream whose length is known."""

    def __init__(
        self, found: OpenObject, span: Span, status_code: int, headers: dict[str, str]
    ) -> None:
        length = {"Content-Length": str(span.length)}
        super().__init__(sent(found, span), media_type=MEDIA_TYPE, headers={**headers, **length})
        self.status_code = status_code

    def to_asgi_response(self, app: Any, request: AnyRequest, **options: Any) -> ASGIResponse:
        """Return the stream with this status; Litestar calls it."""
        headers = {**(options.get("headers") or {}), **self.headers}
        return StreamedASGI(
            self._source, headers=headers, media_type=MEDIA_TYPE, status_code=self.status_code
        )
