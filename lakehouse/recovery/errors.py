"""Why something cannot be recovered."""

from collections.abc import Sequence
from pathlib import Path

from lakehouse.errors import (
    ConflictError,
    InsufficientStorageError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
    UnprocessableError,
    UpstreamError,
)


class NoWarehouseError(NotFoundError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no warehouse at {path}: nothing to rebuild a catalog from")


class OtherWarehouseError(InvalidInputError):
    def __init__(self, given: str, found: str) -> None:
        super().__init__(f"the warehouse of this data directory is {found}, not {given}")


class NoBackupDirectoryError(UnprocessableError):
    def __init__(self) -> None:
        super().__init__(
            "the server has no directory for backups: name one in backup.directories, start again"
        )


class BackupDirectoryError(PermissionDeniedError):
    def __init__(self, given: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"backups do not go to {given[:200]!r}; backup.directories has {', '.join(allowed)}",
            directories=list(allowed),
        )


class BackupRunningError(ConflictError):
    def __init__(self) -> None:
        super().__init__("a backup is being made already; try again when it has ended")


class BackupsRestlessError(UnavailableError):
    def __init__(self, attempts: int) -> None:
        super().__init__(
            f"files were deleted faster than they could be copied, {attempts} times; nothing is"
            " left of the backup, the one before is whole: try again when maintenance is done"
        )


class NoRoomError(InsufficientStorageError):
    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"the disk of {folder} is full; nothing is left of what was copied: give it more room,"
            " then run it again"
        )


class UnreadableError(UpstreamError):
    def __init__(self, path: Path, error: OSError) -> None:
        self.reason = (error.strerror or str(error)).lower()
        super().__init__(f"{path} cannot be read: {self.reason}")


class NoBackupError(NotFoundError):
    def __init__(self, path: Path) -> None:
        super().__init__(f"there is no backup in {path}")


class NotEmptyError(ConflictError):
    retryable = False

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not empty: restore into a new directory")


class BackupDamagedError(UnprocessableError):
    def __init__(self, folder: Path, wrong: list[str]) -> None:
        more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        super().__init__(
            f"the backup {folder} is damaged: {'; '.join(wrong[:3])}{more}", files=wrong[:100]
        )
