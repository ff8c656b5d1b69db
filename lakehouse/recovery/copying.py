"""Files copied with the checksum of what was read, and read back by it."""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

from lakehouse.recovery.models import BackedUpFile

PIECE_BYTES = 1024 * 1024
PART = ".part"


def copy_file(source: Path, target: Path, key: str) -> BackedUpFile:
    """Copy a file; it has its name once it is whole and on the disk.

    Raises:
        FileNotFoundError: there is no such file.
    """
    with source.open("rb") as reading:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = target.with_name(target.name + PART)
        with part.open("wb") as writing:
            size_bytes, digest = pump(reading, writing)
            writing.flush()
            os.fsync(writing.fileno())
        part.replace(target)
    return BackedUpFile(key, size_bytes, digest)


def pump(reading: BinaryIO, writing: BinaryIO | None) -> tuple[int, str]:
    """Return the bytes that were read, written if there is where to, and their SHA-256."""
    digest, size_bytes = hashlib.sha256(), 0
    while piece := reading.read(PIECE_BYTES):
        digest.update(piece)
        size_bytes += len(piece)
        if writing is not None:
            writing.write(piece)
    return size_bytes, digest.hexdigest()


def difference(path: Path, wanted: BackedUpFile) -> str | None:
    """Return how a file differs from what was backed up; None when it does not. Reads it all."""
    try:
        with path.open("rb") as reading:
            size_bytes, digest = pump(reading, None)
    except OSError as error:
        return f"{wanted.key} cannot be read: {error.strerror}"
    if size_bytes != wanted.size_bytes:
        return f"{wanted.key} has {size_bytes} bytes, not {wanted.size_bytes}"
    return None if digest == wanted.sha256 else f"{wanted.key} has other bytes than were backed up"
