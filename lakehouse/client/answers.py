"""From an answer to a value, or to an error of the kind the server meant."""

from collections.abc import Mapping
from typing import TypeVar

import httpx
import msgspec

from lakehouse import errors
from lakehouse.client.models import Problem
from lakehouse.errors import LakehouseError

T = TypeVar("T")

TRACE_ID = "X-Lakehouse-Trace-Id"

KINDS: Mapping[int, type[LakehouseError]] = {
    400: errors.InvalidInputError,
    401: errors.UnauthenticatedError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    413: errors.TooLargeError,
    415: errors.UnsupportedError,
    422: errors.UnprocessableError,
    429: errors.BusyError,
    502: errors.UpstreamError,
    503: errors.UnavailableError,
    504: errors.UpstreamError,
    507: errors.InsufficientStorageError,
}


class RemoteError(LakehouseError):
    """An error that the server answered. It is of the server's kind as well.

    `except NotFoundError as error` catches a missing table, and `error.problem` holds the
    type, the status and the trace id.
    """

    problem: Problem


REMOTE: Mapping[type[LakehouseError], type[RemoteError]] = {
    kind: type(f"Remote{kind.__name__}", (RemoteError, kind), {"__doc__": kind.__doc__})
    for kind in (*KINDS.values(), errors.OutcomeUnknownError, LakehouseError)
}


def kind_of(problem: Problem) -> type[LakehouseError]:
    if problem.status in KINDS:
        return KINDS[problem.status]
    if 400 <= problem.status < 500:
        return errors.InvalidInputError
    # 500 with a type is an error the server knows, and that is one kind; without, it is a bug.
    known = problem.status == 500 and problem.type != "about:blank"
    return errors.OutcomeUnknownError if known else LakehouseError


def problem_of(response: httpx.Response) -> Problem:
    """Return the problem that an answer holds; one is made up for proxies that know none."""
    trace_id = response.headers.get(TRACE_ID)
    try:
        problem = msgspec.json.decode(response.content, type=Problem)
    except msgspec.DecodeError:
        text = " ".join(response.text.split())[:200]
        detail = f"the server answered {response.status_code} {response.reason_phrase}"
        return Problem(
            status=response.status_code,
            detail=f"{detail}: {text}" if text else detail,
            trace_id=trace_id,
        )
    return msgspec.structs.replace(
        problem, status=response.status_code, trace_id=problem.trace_id or trace_id
    )


def error_of(response: httpx.Response) -> RemoteError:
    """Return the error that `response` (read, status 4xx or 5xx) stands for."""
    return raised_of(problem_of(response))


def raised_of(problem: Problem) -> RemoteError:
    """Return the error that a problem stands for."""
    detail = problem.detail or problem.title or f"the server answered {problem.status}"
    error = REMOTE[kind_of(problem)](detail)
    error.context = problem.context
    error.problem = problem
    return error


def value_of(response: httpx.Response, expected: type[T]) -> T:
    """Return the JSON of an answer as `expected`.

    Raises:
        UpstreamError: it is no such thing; probably another program listens there.
    """
    try:
        return msgspec.json.decode(response.content, type=expected)
    except msgspec.DecodeError as error:
        raise errors.UpstreamError(
            f"what {response.request.url} answered is not lakehouse's; does another program "
            f"listen there? ({error})",
            url=str(response.request.url),
        ) from error
