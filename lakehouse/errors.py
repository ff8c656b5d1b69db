"""The kinds of error a caller can meet.

    LakehouseError
    ├── InvalidInputError          the request is wrong; sending it again will not help
    ├── UnauthenticatedError       no valid credential was given
    ├── PermissionDeniedError      the credential may not do this
    ├── NotFoundError              the named thing is not there
    ├── ConflictError              the state moved; read it again, then retry
    ├── TooLargeError              the request is over a stated limit
    ├── UnsupportedError           the format or media type is not one we take
    ├── UnprocessableError         well formed, and refused
    ├── BusyError                  this caller's limit is in use; retry after a pause
    ├── OutcomeUnknownError        it may or may not have happened; check before you retry
    ├── UpstreamError              a service we call on failed
    ├── UnavailableError           the server's limit, or a part of it, is out; retry after a pause
    └── InsufficientStorageError   the disk has no room; retry after somebody made some

A package adds its own errors under one of these, in its `errors.py`. The domain knows no status
codes: `api/problems.py` maps kinds to HTTP, the CLI maps them to exit codes.
"""

from typing import ClassVar


class LakehouseError(Exception):
    """Base of every error this program raises on purpose.

    Args:
        detail: one sentence in lower case that names the thing and says what to do.
        context: facts for the machine; they leave in the problem's `context`.
    """

    retryable: ClassVar[bool] = False
    retry_after_s: ClassVar[int | None] = None

    def __init__(self, detail: str, **context: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.context = context


class InvalidInputError(LakehouseError): ...


class UnauthenticatedError(LakehouseError): ...


class PermissionDeniedError(LakehouseError): ...


class NotFoundError(LakehouseError): ...


class ConflictError(LakehouseError):
    retryable = True


class TooLargeError(LakehouseError): ...


class UnsupportedError(LakehouseError): ...


class UnprocessableError(LakehouseError): ...


class BusyError(LakehouseError):
    retryable = True
    retry_after_s = 1


class OutcomeUnknownError(LakehouseError): ...


class UpstreamError(LakehouseError):
    retryable = True


class UnavailableError(LakehouseError):
    retryable = True
    retry_after_s: ClassVar[int | None] = 5


class InsufficientStorageError(LakehouseError):
    retryable = True
    retry_after_s = 60
