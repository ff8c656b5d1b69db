"""Files copied with the checksum of what was read, and read back by it."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lakehouse.recovery.errors import NoRoomError, UnreadableError
from lakehouse.recovery.models import BackedUpFile
from lakehouse.state import sync_directory

PIECE_BYTES = 1024 * 1024
PART = ".part"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def copy_file(source: Path, target: Path, key: str) -> BackedUpFile:
    """Copy a file; it has its name once it is whole and on the disk. Its folder is not synced.

    Raises:
        FileNotFoundError: there is no such file.
        UnreadableError: it is there and cannot be read.
    """
    with opened(source) as reading:
        return copy_stream(reading, target, key)


def copy_stream(reading: BinaryIO, target: Path, key: str) -> BackedUpFile:
    """Copy what is open, as `copy_file`."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(target.name + PART)
    with part.open("wb") as writing:
        size_bytes, digest = pump(reading, writing)
        writing.flush()
        os.fsync(writing.fileno())
    part.replace(target)
    return BackedUpFile(key, size_bytes, digest)


def opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableError(path, error) from error


def pump(reading: BinaryIO, writing: BinaryIO | None) -> tuple[int, str]:
    """Return the bytes that were read, written if there is where to, and their SHA-256.

    Raises:
        UnreadableError: the rest cannot be read.
    """
    digest, size_bytes = hashlib.sha256(), 0
    while piece := next_piece(reading):
        digest.update(piece)
        size_bytes += len(piece)
        if writing is not None:
            writing.write(piece)
    return size_bytes, digest.hexdigest()


def next_piece(reading: BinaryIO) -> bytes:
    try:
        return reading.read(PIECE_BYTES)
    except OSError as error:
        raise UnreadableError(Path(str(getattr(reading, "name", "an object"))), error) from error


def difference(path: Path, wanted: BackedUpFile) -> str | None:
    """Return how a file differs from what was backed up; None when it does not. Reads it all."""
    try:
        with opened(path) as reading:
            size_bytes, digest = pump(reading, None)
    except FileNotFoundError:
        return f"{wanted.key} is gone"
    except UnreadableError as error:
        return f"{wanted.key} cannot be read: {error.reason}"
    if size_bytes != wanted.size_bytes:
        return f"{wanted.key} has {size_bytes} bytes, not {wanted.size_bytes}"
    return None if digest == wanted.sha256 else f"{wanted.key} has other bytes than were backed up"


def sync_tree(folder: Path) -> None:
    """Bring the names of all files below `folder` to the disk: a copy or a link alone does not."""
    for path, _, _ in os.walk(folder, topdown=False):
        sync_directory(Path(path))


@contextmanager
def filling(folder: Path) -> Iterator[None]:
    """Say which disk it is that has no room.

    Raises:
        NoRoomError
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise NoRoomError(folder) from error
        raise
