"""Why the state cannot be opened or written."""

from datetime import UTC, datetime
from pathlib import Path

from lakehouse.errors import (
    ConflictError,
    InsufficientStorageError,
    InvalidInputError,
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
