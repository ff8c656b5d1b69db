"""What goes wrong, in the protocol's shape: Java clients choose their exception by the type."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Literal

import orjson

from lakehouse.api.problems import problem_of
from lakehouse.catalog import (
    IdempotencyInFlightError,
    InvalidViewError,
    NamespaceExistsError,
    NamespaceNotEmptyError,
    NamespaceNotFoundError,
    NameTakenError,
    TableExistsError,
    TableKnownError,
    TableNotFoundError,
    ViewExistsError,
    ViewNotFoundError,
)
from lakehouse.errors import (
    ConflictError,
    InvalidInputError,
    LakehouseError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)
from lakehouse.names import TableName, split_name
from lakehouse.redaction import redacted

JSON = "application/json"
TYPES: Mapping[int, str] = {
    400: "BadRequestException",
    401: "NotAuthorizedException",
    403: "ForbiddenException",
    404: "NotFoundException",
    406: "UnsupportedOperationException",
    409: "CommitFailedException",
    413: "BadRequestException",
    422: "UnprocessableEntityException",
    429: "TooManyRequestsException",
    503: "ServiceUnavailableException",
}


class NoSuchNamespaceError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"Namespace does not exist: {name[:255]}")


class NoSuchTableError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"Table does not exist: {name[:512]}")


class NoSuchViewError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"View does not exist: {name[:512]}")


class RenameTakenError(ConflictError):
    retryable = False

    def __init__(
        self, name: TableName, to: TableName, kind: Literal["Table", "View"] = "Table"
    ) -> None:
        names = f"{'.'.join(name)} to {'.'.join(to)}"
        super().__init__(f"Cannot rename {names}. {kind} already exists")


class SetAndRemovedError(UnprocessableError):
    def __init__(self, keys: Sequence[str]) -> None:
        super().__init__(f"a property cannot be set and removed at once: {', '.join(keys)[:255]}")


class TooManyValuesError(TooLargeError):
    def __init__(self, most: int) -> None:
        super().__init__(f"the body has more than {most:,} values: make several", max_count=most)


class ChangesBusyError(UnavailableError):
    """Nothing of the change has begun: a client sends it again as it is."""

    retry_after_s = 10

    def __init__(self) -> None:
        super().__init__("many changes by the protocol are under way; send it again later")


class NoSuchEndpointError(NotFoundError):
    """Nothing of the protocol is served at this path."""

    def __init__(self, method: str, path: str) -> None:
        super().__init__(
            f"{method} {path[:200]} is not served; GET /iceberg/v1/config lists the endpoints"
        )


OAUTH = "/oauth/tokens"
"""The end of the path at which older clients change a secret for a token."""
NO_EXCHANGE = (
    "no secret is changed for a token here: give the client a token of this server, as `token` and "
    "not as `credential`"
)


class NoTokenExchangeError(InvalidInputError):
    """The protocol has deprecated the route, and tokens are made by `lakehouse token create`."""

    def __init__(self) -> None:
        super().__init__(NO_EXCHANGE)


def shaped(path: str, error: LakehouseError) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers and the body that an error of a path leaves as."""
    status, headers, body = error_of(error)
    if not path.endswith(OAUTH):
        return status, headers, body
    # Source: https://datatracker.ietf.org/doc/html/rfc6749#section-5.2
    kind = "invalid_client" if status == HTTPStatus.UNAUTHORIZED else "unsupported_grant_type"
    return status, headers, orjson.dumps({"error": kind, "error_description": NO_EXCHANGE})


def error_of(error: LakehouseError) -> tuple[int, dict[str, str], bytes]:
    """Return the status, the headers and the body that say what went wrong."""
    status, headers, _ = problem_of(error)
    if isinstance(error, IdempotencyInFlightError):
        # Of 409 a client reads its metadata anew and commits once more: what the first request does
        # would be there twice. This one it sends again as it is.
        status, headers = HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "1"}
    message = redacted(message_of(error).encode("utf-8", "backslashreplace").decode())
    said = {"message": message, "type": type_of(error, status), "code": status}
    return status, {"Content-Type": JSON, **headers}, orjson.dumps({"error": said})


def message_of(error: LakehouseError) -> str:
    """Return what went wrong, where clients compare the words in those of the reference code."""
    match error:
        case NamespaceExistsError():
            return f"Namespace already exists: {error.context['namespace']}"
        case NamespaceNotFoundError():
            return f"Namespace does not exist: {error.context['namespace']}"
        case TableNotFoundError():
            return f"Table does not exist: {dotted(error.context['table'])}"
        case TableExistsError():
            return f"Table already exists: {dotted(error.context['table'])}"
        case NamespaceNotEmptyError():
            return f"Namespace {error.context['namespace']} is not empty: {error}"
        case ViewExistsError():
            return f"View already exists: {dotted(error.context['view'])}"
        case ViewNotFoundError():
            return f"View does not exist: {dotted(error.context['view'])}"
        case NameTakenError():
            return f"{error.kind.capitalize()} with same name already exists: {dotted(error.name)}"
    return str(error)


def dotted(name: object) -> str:
    """Return a name as the protocol's messages have it, where we quote several levels."""
    namespace, rest = split_name(str(name))
    return namespace if rest is None else f"{namespace}.{rest}"


def type_of(error: LakehouseError, status: int) -> str:
    match error:
        case NoSuchTableError() | TableNotFoundError():
            return "NoSuchTableException"
        case NoSuchViewError() | ViewNotFoundError():
            return "NoSuchViewException"
        case NoSuchNamespaceError() | NamespaceNotFoundError():
            return "NoSuchNamespaceException"
        case NamespaceNotEmptyError():
            return "NamespaceNotEmptyException"
        case TableExistsError() | NamespaceExistsError() | RenameTakenError():
            return "AlreadyExistsException"
        case ViewExistsError() | NameTakenError() | TableKnownError():
            return "AlreadyExistsException"
        case InvalidViewError():
            return "IllegalArgumentException"
    return TYPES.get(status, "InternalServerError")
