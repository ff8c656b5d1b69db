"""Files that nobody trusts, read in a child process before the server's own engine reads them."""

from lakehouse.taster.child import grows_to
from lakehouse.taster.errors import (
    FileMemoryError,
    FileSizeError,
    FileTimeError,
    PoisonedFileError,
    RefusedFileError,
    TastingStoppedError,
)
from lakehouse.taster.taster import Taster

__all__ = [
    "FileMemoryError",
    "FileSizeError",
    "FileTimeError",
    "PoisonedFileError",
    "RefusedFileError",
    "Taster",
    "TastingStoppedError",
    "grows_to",
]
