"""What the OpenAPI document says that a route may answer, beside what it was asked for."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIType, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat

from lakehouse import errors
from lakehouse.api.problems import (
    MEDIA_TYPE,
    BodyTooLargeError,
    HeadersTooLargeError,
    InvalidRequestError,
    OutOfMemoryError,
    Problem,
    problem_of,
)
from lakehouse.api.requests import SAFE
from lakehouse.api.streams import BodyTooSlowError
from lakehouse.auth import ForbiddenError, NoTokenError, RateLimitedError
from lakehouse.catalog import IdempotencyMismatchError, TableExistsError, TableNotFoundError
from lakehouse.disk import DiskFullError

Answers: TypeAlias = Mapping[int, ResponseSpec]


def documented(description: str, example: errors.LakehouseError) -> ResponseSpec:
    """Describe what an error leaves as."""
    return ResponseSpec(
        Problem,
        description=description,
        media_type=MEDIA_TYPE,
        generate_examples=False,
        examples=[Example(value=msgspec.json.decode(problem_of(example)[2]))],
    )


BYTES = Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY)


def streamed(description: str, content: Mapping[str, Schema]) -> RequestBody:
    """Describe a body that a route reads by itself, by media type: no signature tells of it."""
    described = {name: OpenAPIMediaType(schema=schema) for name, schema in content.items()}
    return RequestBody(content=described, description=description, required=True)


EVERYWHERE: Answers = {
    400: documented(
        "The request is wrong as it stands; a wrong field is named.",
        InvalidRequestError(
            [{"field": "nam", "message": "the field 'nam' is unknown", "in": "body"}]
        ),
    ),
    401: documented("The server asks for a token, and there is no valid one.", NoTokenError()),
    403: documented(
        "The token has no grant for this, or the Host or the Origin is not this server's.",
        ForbiddenError("write", "sales.orders"),
    ),
    413: documented("Over a limit, which the problem names.", BodyTooLargeError(4 * 1024 * 1024)),
    429: documented(
        "A limit of the token is used up; see `Retry-After`.",
        RateLimitedError("requests a minute", 60, 1),
    ),
    431: documented("The headers are too large.", HeadersTooLargeError(64 * 1024)),
    502: documented(
        "The object store that the warehouse lies in failed; see `docs/storage.md`.",
        errors.UpstreamError("the object store of the warehouse failed: no answer in time"),
    ),
    503: documented(
        "A limit of the server is in use, or it is stopping; see `Retry-After`.",
        OutOfMemoryError(),
    ),
}
NAMED: Answers = {
    404: documented(
        "What it names is not there, or not for this token.", TableNotFoundError("sales.ordres")
    ),
}
CHANGES: Answers = {
    408: documented(
        "The body hardly came; see `docs/security.md`.", BodyTooSlowError(60.0, 8 * 1024)
    ),
    409: documented(
        "What is there does not go with it; read it again.", TableExistsError("sales.orders")
    ),
    415: documented(
        "The body is of no type that is taken here.",
        errors.UnsupportedError("no file of this kind is read: application/pdf"),
    ),
    422: documented(
        "It is understood, and cannot be done.", IdempotencyMismatchError("2026-01-31-orders")
    ),
    500: documented(
        "Nobody knows whether it was done: look, then send it again.",
        errors.OutcomeUnknownError("the commit to 'sales.orders' may or may not have happened"),
    ),
    507: documented("The disk, or its share of this, is full.", DiskFullError()),
}

NOT_ACCEPTABLE = ResponseSpec(
    Problem, description="Accept names no form that there is.", media_type=MEDIA_TYPE
)
ROWS: Answers = {
    406: NOT_ACCEPTABLE,
    409: documented(
        "It was stopped by somebody, or its id is that of another that runs.",
        errors.ConflictError("the statement 'report-7' was cancelled"),
    ),
    422: documented(
        "It ran for longer than it may.",
        errors.UnprocessableError("the statement ran longer than 60 s and was stopped"),
    ),
    507: CHANGES[507],
}
"""What a route may answer that answers rows."""
UNCHANGED: Answers = {
    304: ResponseSpec(
        None, description="The client has it already: `If-None-Match` names its ETag."
    )
}


def answers_of(path: str, methods: Iterable[str]) -> Answers:
    """Return what a route may answer by what it is: it names something, or it changes something."""
    if not SAFE.issuperset(methods):
        return {**EVERYWHERE, **NAMED, **CHANGES}
    return {**EVERYWHERE, **NAMED} if "{" in path else EVERYWHERE
