"""Whose fault an error of the engine is while a load runs: the file's, or ours."""

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from lakehouse.database import (
    EngineError,
    EngineFatalError,
    EngineInterruptError,
    EngineMemoryError,
)
from lakehouse.disk import DiskFullError
from lakehouse.ingest.errors import InvalidFileError, LoadMemoryError

log = logging.getLogger(__name__)

READING_ERRORS = (EngineError, UnicodeDecodeError)
"""The second when the engine quotes a line of the file, and cuts it amid a letter."""
DAMAGED = "the file cannot be read as its format: it is damaged"


@contextmanager
def whole_file() -> Iterator[None]:
    """Read all of a file: what stops the engine there, and is not our fault, is damage."""
    try:
        yield
    except READING_ERRORS as error:
        if is_system_fault(error):
            raise
        log.warning("a file could not be read", exc_info=error)
        raise InvalidFileError(DAMAGED) from error


@contextmanager
def in_our_words() -> Iterator[None]:
    """Translate what is not the file's fault."""
    try:
        yield
    except EngineMemoryError as error:
        raise LoadMemoryError from error
    except EngineError as error:
        if is_disk_full(error):
            raise DiskFullError from error
        raise


def is_system_fault(error: Exception) -> bool:
    """Whether no other file would have fared better."""
    faults = (EngineMemoryError, EngineFatalError, EngineInterruptError)
    return isinstance(error, faults) or is_disk_full(error)


def is_disk_full(error: Exception) -> bool:
    text = str(error)
    return os.strerror(errno.ENOSPC) in text or "max_temp_directory_size" in text
