"""Every error leaves as `application/problem+json` (RFC 9457), in one shape."""

import asyncio
import difflib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
from litestar import MediaType, Request, Response, get
from litestar.exceptions import (
    HTTPException,
    InternalServerException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.params import FromPath
from litestar.types import ExceptionHandlersMap

from lakehouse import errors
from lakehouse.api.access import open_to_all
from lakehouse.api.streams import BodyTooSlowError, ClientGoneError
from lakehouse.api.words import SHOWN_MAX, in_words, of_error
from lakehouse.database import EngineFatalError, EngineMemoryError
from lakehouse.observability import trace_id
from lakehouse.redaction import redacted

log = logging.getLogger(__name__)

CLIENT_LEFT = 499
"""In log, metrics and audit: nobody was there to answer. The code is nginx's."""
MEDIA_TYPE = "application/problem+json"
IN_BODY = "`$.data"
"""How msgspec begins the path of a field, when the framework asks it."""
BUG = "This is a bug in the server. It has been logged under the trace id."

AnyRequest: TypeAlias = Request[Any, Any, Any]
Headers: TypeAlias = dict[str, str]
Body: TypeAlias = dict[str, object]


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not done, by RFC 9457."""

    type: str
    """A path of this server that explains the error; `about:blank` when the status says it all."""
    title: str
    status: int
    detail: str
    """What was wrong this time, in one sentence."""
    retryable: bool
    """Whether the same request may succeed later."""
    context: dict[str, Any]
    """Facts for a program; which ones depends on the type."""
    trace_id: str | None
    """Find the request in the log by it; `X-Lakehouse-Trace-Id` says the same."""


class RouteNotFoundError(errors.NotFoundError):
    """Nothing is served at this path."""

    def __init__(self, path: str, near: list[str]) -> None:
        hint = f"did you mean {' or '.join(near)}?" if near else "/schema lists them all"
        super().__init__(f"there is no route {path[:SHOWN_MAX]}; {hint}", near=near)


class MethodNotAllowedError(errors.InvalidInputError):
    """The path is served, but not with this method."""

    def __init__(self, method: str, path: str, allowed: str) -> None:
        super().__init__(
            f"{path[:SHOWN_MAX]} does not take {method[:SHOWN_MAX]}; it takes {allowed}",
            allowed=allowed.split(", "),
        )


class InvalidRequestError(errors.InvalidInputError):
    """A field of the body, of the query or of the headers is unknown, missing or wrong.

    `context.errors` names each one: `field`, `message`, and `in`, the part of the request.
    """

    def __init__(self, found: list[dict[str, str]]) -> None:
        super().__init__("; ".join(each["message"] for each in found), errors=found)


class BodyTooLargeError(errors.TooLargeError):
    """The body is over the limit of its route; `context.max_bytes` says it."""

    def __init__(self, max_bytes: int | None) -> None:
        limit = f"the {max_bytes:,} bytes that this route takes" if max_bytes else "its limit"
        super().__init__(f"the body is over {limit}", max_bytes=max_bytes)


class HeadersTooLargeError(errors.TooLargeError):
    """All header fields together are over what the server reads."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the headers are over {max_bytes:,} bytes", max_bytes=max_bytes)


class BodyCutOffError(errors.InvalidInputError):
    """The client left before the end of the body."""

    def __init__(self) -> None:
        super().__init__("the client left before the end of the body")


class OutOfMemoryError(errors.UnavailableError):
    """The process is at its limit of memory; the request had no effect that was answered."""

    def __init__(self) -> None:
        super().__init__("the server is out of memory for now; try again, or ask for less at once")


class EngineBrokenError(errors.UnavailableError):
    """The engine met a fault of its own and takes no more work; the server ends to start again."""

    def __init__(self) -> None:
        super().__init__("the engine broke, and the server stops; try again when it is back")


class ProblemNotFoundError(errors.NotFoundError):
    """No error of this server has that type."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no problem is of the type {name[:80]!r}")


CHALLENGE = 'Bearer realm="lakehouse"'
"""Source: https://www.rfc-editor.org/rfc/rfc6750#section-3"""

STATUS: dict[type[Exception], int] = {
    ClientGoneError: 499,  # nginx's: nobody reads it, but the log and the metrics tell it apart
    MethodNotAllowedError: 405,
    BodyTooSlowError: 408,
    HeadersTooLargeError: 431,
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


def status_of(error: type[errors.LakehouseError]) -> int:
    return next(STATUS[kind] for kind in error.__mro__ if kind in STATUS)


def slug(error: type[errors.LakehouseError]) -> str:
    """`TableNotFoundError` -> `table-not-found`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", error.__name__.removesuffix("Error")).lower()


def problem_of(error: errors.LakehouseError) -> tuple[int, Headers, bytes]:
    """Return the status, the headers and the body that an error leaves as."""
    name, status = slug(type(error)), status_of(type(error))
    headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = CHALLENGE
    body: Body = {
        "type": f"/problems/{name}",
        "title": name.replace("-", " ").capitalize(),
        "status": status,
        "detail": error.detail,
        "retryable": error.retryable,
        "context": error.context,
        "trace_id": trace_id.get(),
    }
    return status, headers, encoded(body)


SHAPES: dict[str, Callable[[str, errors.LakehouseError], tuple[int, Headers, bytes]]] = {}
"""By the beginning of a path, how errors leave there: a protocol has a shape of its own."""


def answer_to(path: str, error: errors.LakehouseError) -> tuple[int, Headers, bytes]:
    """Return the status, the headers and the body that an error of a path leaves as."""
    for place, shape in SHAPES.items():
        if path.startswith(f"{place}/"):
            return shape(path, error)
    status, headers, body = problem_of(error)
    return status, {"Content-Type": MEDIA_TYPE, **headers}, body


def encoded(body: Body) -> bytes:
    try:
        return redacted(msgspec.json.encode(body, enc_hook=str).decode()).encode()
    except ValueError:  # half a surrogate pair, from a path or a file name: no JSON has it
        plain = repr(body["context"]).encode("ascii", "backslashreplace").decode()
        detail = str(body["detail"]).encode("ascii", "backslashreplace").decode()
        return msgspec.json.encode({**body, "detail": detail, "context": {"as_text": plain}})


def on_our_error(request: AnyRequest, error: errors.LakehouseError) -> Response[bytes]:
    status, headers, body = answer_to(request.url.path, error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("%s: %s", slug(type(error)), error.detail, exc_info=error.__cause__)
    media_type = headers.pop("Content-Type")
    return Response(body, status_code=status, media_type=media_type, headers=headers)


def on_http_error(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """Translate what the framework raises; what we have no word for keeps its status."""
    path = request.url.path
    match error:
        case ValidationException(extra=list(found)) if found:
            return on_our_error(request, InvalidRequestError(fields_of(request, found)))
        case NotFoundException():
            return on_our_error(request, RouteNotFoundError(path, near_routes(request, path)))
        case MethodNotAllowedException():
            allowed = {key.lower(): value for key, value in (error.headers or {}).items()}["allow"]
            answer = on_our_error(request, MethodNotAllowedError(request.method, path, allowed))
            answer.headers["Allow"] = allowed
            return answer
        case HTTPException(status_code=413):
            limit = request.route_handler.resolve_request_max_body_size()
            return on_our_error(request, BodyTooLargeError(limit or None))
        case InternalServerException(detail="client disconnected prematurely"):
            return on_our_error(request, BodyCutOffError())
        case InternalServerException(__cause__=msgspec.ValidationError() as cause) if (
            IN_BODY in str(cause)
        ):
            # A field that has the name of something we hand in: the framework takes it for that.
            kind = request.route_handler.parsed_data_field
            assert kind is not None, "a field of the body is wrong, so there is one"
            wrong = msgspec.ValidationError(str(cause).replace(IN_BODY, "`$", 1))
            found = [of_error(kind.annotation, wrong, "body")]
            return on_our_error(request, InvalidRequestError(found))
    return plain(error.status_code, error.detail, error.headers)


def on_bug(request: AnyRequest, error: Exception) -> Response[bytes]:
    if isinstance(error, ExceptionGroup):  # of a task group: what one of its tasks met
        for each in error.exceptions:
            if isinstance(each, errors.LakehouseError):
                return on_our_error(request, each)
    if is_memory(error):
        log.warning("out of memory on %s %s", request.method, request.url.path, exc_info=error)
        return on_our_error(request, OutOfMemoryError())
    if isinstance(error, EngineFatalError):
        log.critical("the engine broke on %s", request.url.path, exc_info=error)
        request.app.state.stop()
        return on_our_error(request, EngineBrokenError())
    log.error("unhandled error on %s %s", request.method, request.url.path, exc_info=error)
    return plain(500, BUG)


def is_memory(error: BaseException) -> bool:
    """Whether there was no memory. Python says it in another way where a call found no frame."""
    return isinstance(error, MemoryError | EngineMemoryError) or (
        isinstance(error, SystemError) and str(error) == "error return without exception set"
    )


def as_problem(error: Exception, stop: Callable[[], None]) -> bytes:
    """Return what `error` would have left as, of work that nobody waits for.

    Args:
        stop: called when the engine broke: only a new start mends that.
    """
    match error:
        case errors.LakehouseError():
            return problem_of(error)[2]
        case _ if is_memory(error):
            return problem_of(OutOfMemoryError())[2]
        case EngineFatalError():
            log.critical("the engine broke under a job", exc_info=error)
            stop()
            return problem_of(EngineBrokenError())[2]
    log.error("unhandled error in a job", exc_info=error)
    return encoded(unnamed(500, BUG))


def status_of_work(error: BaseException) -> int:
    """Return the status that `error` would have left with, of work that nobody waits for."""
    match error:
        case errors.LakehouseError():
            return status_of(type(error))
        case asyncio.CancelledError():
            return CLIENT_LEFT
        case _ if is_memory(error):
            return status_of(OutOfMemoryError)
    return HTTPStatus.INTERNAL_SERVER_ERROR


def plain(status: int, detail: str, headers: Headers | None = None) -> Response[bytes]:
    """Answer a problem that has no type of its own: what the status says is all there is."""
    body = encoded(unnamed(status, detail))
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def unnamed(status: int, detail: str) -> Body:
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "retryable": False,
        "context": {},
        "trace_id": trace_id.get(),
    }


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    errors.LakehouseError: on_our_error,
    HTTPException: on_http_error,
    Exception: on_bug,
}


def near_routes(request: AnyRequest, path: str) -> list[str]:
    routes = {route.path_format for route in request.app.routes}
    return difflib.get_close_matches(path[:SHOWN_MAX], sorted(routes), n=2, cutoff=0.75)


def fields_of(request: AnyRequest, found: Iterable[Any]) -> list[dict[str, str]]:
    """Return each wrong field by name, in words, with the part of the request that it is in."""
    known = request.route_handler.parsed_fn_signature.parameters
    body = request.route_handler.parsed_data_field
    result = []
    for each in found:
        source, key = each.get("source", "request"), str(each.get("key") or "")
        part, message = str(getattr(source, "value", source)), str(each.get("message", ""))
        if message == "'data'":
            missing = "the body is missing: this route takes JSON"
            result.append({"field": "", "message": missing, "in": part})
        elif part == "body":
            kind = body.annotation if body else object
            result.append(in_words(kind, "" if key == "data" else key, message, part))
        elif key in known:
            name = getattr(known[key].kwarg_definition, "name", None) or key
            result.append(in_words(known[key].annotation, name, message, part))
        else:
            result.append(in_words(object, key, message, part))
    return result


@get(
    "/problems/{name:str}",
    media_type=MediaType.TEXT,
    sync_to_thread=False,
    tags=["operations"],
    guards=[open_to_all],
)
def get_problem(name: FromPath[str]) -> str:
    """Say what a problem's `type` means: its `type` is the path of this answer."""
    for error in kinds(errors.LakehouseError):
        if slug(error) == name:
            retry = "may be sent again" if error.retryable else "will fail again as it is"
            return f"{name}: status {status_of(error)}; the request {retry}.\n\n{words_of(error)}\n"
    raise ProblemNotFoundError(name)


def kinds(error: type[errors.LakehouseError]) -> Iterator[type[errors.LakehouseError]]:
    """Yield the errors below `error`, but not those that our client makes of answers."""
    for child in error.__subclasses__():
        if not child.__module__.startswith("lakehouse.client"):
            yield child
            yield from kinds(child)


def words_of(error: type[errors.LakehouseError]) -> str:
    """Return what the class says of itself, else what `errors.py` says of its kind."""
    for each in error.__mro__:
        own = vars(each).get("__doc__")
        if own and each is not errors.LakehouseError:
            return inspect.cleandoc(own)
        line = re.search(rf"── {each.__name__} +(.*)", errors.__doc__ or "")
        if line:
            return f"{line[1][0].upper()}{line[1][1:]}."
    return "The `detail` of the problem says it all."
