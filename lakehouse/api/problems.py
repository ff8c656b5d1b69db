"""Every error leaves as `application/problem+json` (RFC 9457)."""

import logging
import re
from http import HTTPStatus
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.types import ExceptionHandlersMap

from lakehouse import errors

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


def problem(
    status: int, detail: str, *, headers: Headers | None = None, **members: object
) -> Response[dict[str, object]]:
    body: dict[str, object] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "detail": detail,
        **members,
        "status": status,
    }
    return Response(
        body, status_code=status, media_type="application/problem+json", headers=headers
    )


def slug(error: type[errors.LakehouseError]) -> str:
    """`TableNotFoundError` -> `table-not-found`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__.removesuffix("Error")).lower()


def status_of(error: errors.LakehouseError) -> int:
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def on_our_error(request: AnyRequest, error: errors.LakehouseError) -> Response[Any]:
    name = slug(type(error))
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else None
    return problem(
        status_of(error),
        error.detail,
        headers=headers,
        type=f"/problems/{name}",
        title=name.replace("-", " ").capitalize(),
        retryable=error.retryable,
        context=error.context,
    )


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[Any]:
    members = {"errors": error.extra} if isinstance(error, ValidationException) else {}
    return problem(error.status_code, error.detail, headers=error.headers, **members)


def on_bug(request: AnyRequest, error: Exception) -> Response[Any]:
    log.error("unhandled error on %s %s", request.method, request.url.path, exc_info=error)
    return problem(500, "This is a bug in the server. It has been logged.")


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    errors.LakehouseError: on_our_error,
    HTTPException: on_http_error,
    Exception: on_bug,
}
