"""Why a file is not read."""

from typing import ClassVar

from lakehouse.errors import ConflictError, InvalidInputError, TooLargeError, UnavailableError


class PoisonedFileError(InvalidInputError):
    """The file is damaged: the engine cannot read it, or ended over it."""

    def __init__(self) -> None:
        super().__init__("the file cannot be read as its format: it is damaged")


class FileMemoryError(TooLargeError):
    def __init__(self, limit_bytes: int) -> None:
        mib = limit_bytes // 1024**2
        super().__init__(
            f"to read the file takes more than {mib} MiB of memory, which is the most for one: it "
            "is damaged, or holds too much at once",
            max_bytes=limit_bytes,
        )


class RefusedFileError(InvalidInputError):
    """The file is sound, and holds what cannot be loaded."""


class FileSizeError(TooLargeError):
    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the file takes more than {limit_bytes} bytes when it is unpacked, or grows more than "
            "200 times, which is the most",
            max_bytes=limit_bytes,
        )


class FileTimeError(TooLargeError):
    def __init__(self, limit_s: int) -> None:
        super().__init__(
            f"to read the file takes more than {limit_s} s, which is the most for its size"
        )


class TastingStoppedError(ConflictError):
    """Whoever sent the file has left, or somebody stopped the job that loads it."""

    def __init__(self) -> None:
        super().__init__("the file was not read: its load was stopped")


class NoTasterError(UnavailableError):
    """The child process did not start."""

    retry_after_s: ClassVar[int | None] = 1

    def __init__(self) -> None:
        super().__init__("there is no memory for the process that reads the file first; try again")
