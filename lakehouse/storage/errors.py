"""What can go wrong with an object."""

from lakehouse.database import is_refused
from lakehouse.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    TooLargeError,
    UnavailableError,
    UpstreamError,
)

SHOWN_MAX = 80


class ObjectNotFoundError(NotFoundError):
    def __init__(self, key: str) -> None:
        super().__init__(f"no object has the key {key[:SHOWN_MAX]!r}", key=key)


class ObjectExistsError(ConflictError):
    """Two writers chose one name: two servers on one warehouse."""

    def __init__(self, key: str) -> None:
        super().__init__(f"an object has the key {key[:SHOWN_MAX]!r} already", key=key)


class InvalidKeyError(InvalidInputError):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the key {key[:SHOWN_MAX]!r} is refused: {reason}", reason=reason)


class ObjectTooLargeError(TooLargeError):
    def __init__(self, key: str, max_bytes: int) -> None:
        super().__init__(
            f"the object {key[:SHOWN_MAX]!r} is over the limit of {max_bytes} bytes",
            max_bytes=max_bytes,
        )


class BodyLengthError(InvalidInputError):
    """The body is not as long as it said. Nothing was stored."""

    def __init__(self, announced: int | None, received: int) -> None:
        said = f"Content-Length says {announced}" if announced is not None else "it has no end"
        super().__init__(
            f"the body stopped after {received} bytes, but {said}; nothing was stored",
            announced=announced,
            received=received,
        )


class ObjectRegisteredError(ConflictError):
    """A table reads this object where it lies: neither its bytes nor its name may change.

    Args:
        dataset: None for who may not know which.
    """

    retryable = False

    def __init__(self, key: str, dataset: str | None, dropped_uuid: str | None = None) -> None:
        held = f"the dataset {dataset!r}; drop that first"
        if dataset is None:
            held = "a dataset that this caller may not see; who may can drop it"
        elif dropped_uuid:
            held = (
                f"the dropped dataset {dataset!r}, which can still be brought back; purge it "
                f"first: DELETE /v1/tables/{dataset}?purge=true&uuid={dropped_uuid}"
            )
        super().__init__(
            f"the object {key[:SHOWN_MAX]!r} is part of {held}", key=key, dataset=dataset
        )


class PutsBusyError(UnavailableError):
    retry_after_s = 5

    def __init__(self, concurrency_max: int) -> None:
        super().__init__(
            f"{concurrency_max} objects are being stored already, which is the limit; try again",
            concurrency_max=concurrency_max,
        )


class WarehousePathError(InvalidInputError):
    def __init__(self, path: str, character: str) -> None:
        super().__init__(
            f"the warehouse cannot lie at {path!r}: readers of its tables misunderstand"
            f" {character!r} in a path; choose another data directory"
        )


class StoreDownError(UpstreamError):
    """The object store did not answer, or not with what was asked for, several times."""

    retry_after_s = 5

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the object store of the warehouse failed: {reason}; see that it runs and is reached"
            " at storage.endpoint, then send this again",
            reason=reason,
        )


class StoreBusyError(UnavailableError):
    def __init__(self) -> None:
        super().__init__("the object store of the warehouse asks for fewer requests; try again")


class StoreRefusedError(UpstreamError):
    """It knows the keys not, or they may not do this."""

    retryable = False

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the object store of the warehouse refuses the server: {reason}; see its keys, what"
            " they may do in the bucket, and the clocks of both",
            reason=reason,
        )


def engine_failed(error: BaseException, what: str) -> UpstreamError:
    """Return what the engine's error over an object means for the caller."""
    return StoreRefusedError(what) if is_refused(error) else StoreDownError(what)


class KeysMissingError(UpstreamError):
    retryable = False

    def __init__(self, why: str) -> None:
        super().__init__(
            f"there are no keys to the object store: {why}; name a file in"
            " storage.credentials_file, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )


class WarehouseOwnedError(ConflictError):
    retryable = False

    def __init__(self, place: str) -> None:
        super().__init__(
            f"the warehouse {place} belongs to another data directory: stop the server of that, and"
            " if it is lost, make the catalog of this one anew with `lakehouse catalog rebuild`",
            place=place,
        )


class WarehouseNestedError(ConflictError):
    """Neither would be safe: one takes the files of the other for what a killed process left."""

    retryable = False

    def __init__(self, place: str, other: str, mark: str) -> None:
        super().__init__(
            f"the warehouse {place} and {other}, that of another data directory, lie one inside the"
            " other: choose a prefix beside it; if nobody uses the other any more, move it away or"
            f" delete {mark}",
            place=place,
            other=other,
        )


class NoBucketError(UpstreamError):
    retryable = False

    def __init__(self, place: str) -> None:
        super().__init__(f"there is no bucket for {place}: make it, then start again", place=place)


class InvalidSourceError(InvalidInputError):
    def __init__(self, source: str, reason: str) -> None:
        super().__init__(
            f"the source {source[:200]!r} is refused: {reason}; it is `object:KEY` or"
            " `s3://bucket/prefix`"
        )


class SourceNotAllowedError(PermissionDeniedError):
    """The operator says what is read from outside of the warehouse, and by default nothing is."""

    def __init__(self, source: str) -> None:
        super().__init__(
            f"nothing is read from {source[:200]!r}: no prefix of storage.sources has it"
        )


class ObjectChangedError(ConflictError):
    """It was replaced or deleted while it was read."""

    def __init__(self, uri: str) -> None:
        super().__init__(f"{uri[:200]} changed while it was read; send the request again")
