"""Why the state cannot be opened or written."""

from datetime import UTC, datetime
from pathlib import Path

from lakehouse.errors import (
    ConflictError,
    InsufficientStorageError,
    InvalidInputError,
    NotFoundError,
    OutcomeUnknownError,
    UnavailableError,
    UnprocessableError,
)


class DataDirectoryInUseError(UnavailableError):
    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"the data directory {path} is in use by {holder}; stop that one first")


class DataDirectoryUnusableError(InvalidInputError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"the data directory {path} cannot be used: {reason}")


class StateTooNewError(UnprocessableError):
    """Written by a newer lakehouse: nothing was touched."""

    def __init__(self, what: str, found: str, ours: str) -> None:
        super().__init__(f"{what} has {found}; this is {ours}: install the newer version again")


class StateDamagedError(UnprocessableError):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path} cannot be read ({reason}); `lakehouse catalog rebuild --data {path.parent}` "
            "makes it anew from the warehouse (docs/recovery.md)"
        )


class CatalogLostError(UnprocessableError):
    """Tables are there, and the catalog that names them is not: nothing was touched."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} holds tables, but its catalog.db is gone or empty; `lakehouse catalog rebuild"
            f" --data {path}` makes it anew from the warehouse (docs/recovery.md)"
        )


class CatalogNotMovedError(UnprocessableError):
    """There are two catalogs, and which one is meant is not ours to guess."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} has a catalog.db, and catalog.uri names PostgreSQL; `lakehouse catalog move"
            f" --data {path}` puts what is in the file there (docs/postgresql.md)"
        )


class NoCatalogError(NotFoundError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no catalog.db in {path}: nothing to move")


class StateBusyError(UnavailableError):
    """Surely not committed."""

    def __init__(self) -> None:
        super().__init__("the catalog database is locked; try again")


class StateClosedError(UnavailableError):
    """Surely not committed."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; try again when it is back")


class StateFullError(InsufficientStorageError):
    """Surely not committed."""

    def __init__(self) -> None:
        super().__init__("the disk of the catalog database is full; nothing was changed")


class CatalogInUseError(UnavailableError):
    def __init__(self, host: str, pid: int, address: str | None, since: float) -> None:
        at = datetime.fromtimestamp(since, UTC).isoformat(timespec="seconds")
        where = f" at {address}" if address else ""
        super().__init__(
            f"the catalog is in use by another data directory: PID {pid} on {host}{where},"
            f" since {at}; other writers go through its /iceberg"
        )


class LeaseLostError(ConflictError):
    """Somebody else writes to our catalog now. Stop."""

    retryable = False

    def __init__(self) -> None:
        super().__init__("another server has taken the lease on the catalog; this one must stop")


class StateUnreachableError(UnavailableError):
    """Surely not committed. Where it is and what it said is for the log, not for who asked."""

    def __init__(self) -> None:
        super().__init__("the catalog database does not answer; nothing was changed, try again")


class CatalogUnreachableError(UnavailableError):
    """At the start, where the operator reads it."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"the catalog database {place} does not answer: {reason}")


class StateUnknownError(OutcomeUnknownError):
    """The connection broke while it committed: the change is there or not."""

    def __init__(self) -> None:
        super().__init__(
            "the catalog database broke off while it committed: the change is there, or it is not;"
            " look before you ask again"
        )


class UniqueViolationError(Exception):
    """A row with that key is there already."""


class StateRefusedError(InvalidInputError):
    """The database server answers, and refuses us."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"the catalog database {place} cannot be used: {reason}")


class CatalogNotEmptyError(ConflictError):
    retryable = False

    def __init__(self, place: str) -> None:
        super().__init__(
            f"the catalog database {place} has tables or tokens already; nothing was changed."
            " Name an empty database or schema"
        )
