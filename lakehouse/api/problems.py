"""Every error leaves as `application/problem+json` (RFC 9457)."""

import inspect
import logging
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from litestar import MediaType, Request, Response, get
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.params import FromPath
from litestar.types import ExceptionHandlersMap

from lakehouse import errors
from lakehouse.observability import trace_id

log = logging.getLogger(__name__)

STATUS = {
    errors.InvalidInputError: 400,
    errors.UnauthenticatedError: 401,
    errors.PermissionDeniedError: 403,
    errors.NotFoundError: 404,
    errors.ConflictError: 409,
    errors.TooLargeError: 413,
    errors.UnsupportedError: 415,
    errors.UnprocessableError: 422,
    errors.BusyError: 429,
    errors.OutcomeUnknownError: 500,
    errors.UpstreamError: 502,
    errors.UnavailableError: 503,
    errors.InsufficientStorageError: 507,
    errors.LakehouseError: 500,
}

AnyRequest = Request[Any, Any, Any]
Headers = dict[str, str]


class ProblemNotFoundError(errors.NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"no problem is of the type {name[:80]!r}")


def problem(
    status: int, detail: str, *, headers: Headers | None = None, **members: object
) -> Response[dict[str, object]]:
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "detail": detail,
        **members,
        "status": status,
        "trace_id": trace_id.get(),
    }
    return Response(
        body, status_code=status, media_type="application/problem+json", headers=headers
    )


def slug(error: type[errors.LakehouseError]) -> str:
    """`TableNotFoundError` -> `table-not-found`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__.removesuffix("Error")).lower()


def status_of(error: type[errors.LakehouseError]) -> int:
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def on_our_error(request: AnyRequest, error: errors.LakehouseError) -> Response[Any]:
    name = slug(type(error))
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else None
    return problem(
        status_of(type(error)),
        error.detail,
        headers=headers,
        type=f"/problems/{name}",
        title=name.replace("-", " ").capitalize(),
        retryable=error.retryable,
        context=error.context,
    )


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    """Errors of the framework: the same shape, and the field by name where there is one."""
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        found = [f"{each.get('key', 'the body')}: {each.get('message')}" for each in error.extra]
        return problem(400, "; ".join(found) or error.detail, errors=error.extra)
    detail = error.detail
    if isinstance(error, NotFoundException):
        detail = f"there is no route {request.url.path[:200]}; /schema lists them"
    elif isinstance(error, MethodNotAllowedException):
        detail = f"{request.method} is not what {request.url.path[:200]} takes"
    return problem(error.status_code, detail, headers=error.headers)


def on_bug(request: AnyRequest, error: Exception) -> Response[Any]:
    log.error("unhandled error on %s %s", request.method, request.url.path, exc_info=error)
    return problem(500, "This is a bug in the server. It has been logged.")


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    errors.LakehouseError: on_our_error,
    HTTPException: on_http_error,
    Exception: on_bug,
}


@get("/problems/{name:str}", media_type=MediaType.TEXT, sync_to_thread=False, tags=["operations"])
def get_problem(name: FromPath[str]) -> str:
    """Say what a problem's `type` means: its `type` is the path of this answer."""
    for error in kinds(errors.LakehouseError):
        if slug(error) == name:
            words = inspect.getdoc(error) or "The `detail` of the problem says it all."
            retry = "may be sent again" if error.retryable else "will fail again as it is"
            return f"{name}: status {status_of(error)}; the request {retry}.\n\n{words}\n"
    raise ProblemNotFoundError(name)


def kinds(error: type[errors.LakehouseError]) -> Iterator[type[errors.LakehouseError]]:
    for child in error.__subclasses__():
        yield child
        yield from kinds(child)
