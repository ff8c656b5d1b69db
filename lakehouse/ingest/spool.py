"""An upload becomes one file in `spool/`: streamed, capped, hashed on the way."""

import asyncio
import errno
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio

from lakehouse.config import IngestConfig
from lakehouse.disk import Disk, DiskFullError, Quota, QuotaUsedError
from lakehouse.ingest.errors import UploadTooLargeError
from lakehouse.lanes import on_thread

BUFFER_BYTES = 2 * 1024 * 1024
HEAD_BYTES = 4096
"""What says which format a file has."""
UPLOAD = "upload-"
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FILLING = b"\n"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that somebody sent, whole."""

    path: Path
    size_bytes: int
    sha256: str
    filename: str | None
    content_type: str | None
    room_bytes: int = 0
    """Line feeds before the first byte that was sent: `ndjson.py` writes there."""
    label: str | None = None
    """What errors call it, where it is one of several."""
    is_workbook: bool = False
    """Whether it is a zip of a workbook's parts."""


@dataclass(frozen=True, slots=True)
class SpoolLimits:
    """How large one file may become, and all of them."""

    file_max_bytes: int
    disk: Disk
    quota: Quota
    before_bytes: int = 0
    """Of files that came before it in the same load."""

    def after(self, size_bytes: int) -> "SpoolLimits":
        """Return the limits of the next file of a load of which so much is there."""
        return replace(self, before_bytes=size_bytes)

    def take(self, file_bytes: int, more_bytes: int) -> None:
        """Let a file of `file_bytes`, which are `more_bytes` more than before, be written.

        Raises:
            UploadTooLargeError: the file would be over its limit.
            DiskFullError: the disk would be below its reserve.
            QuotaUsedError: all files together would be over their limit.
        """
        if self.before_bytes + file_bytes > self.file_max_bytes:
            what = "the files together are" if self.before_bytes else "the file is"
            raise UploadTooLargeError(f"{what} too large", self.file_max_bytes)
        self.disk.check(more_bytes)
        if not self.quota.take(more_bytes):
            raise QuotaUsedError("uploads", "ingest.spool_max_bytes", self.quota.max_bytes)


def spool_limits(spool: Path, disk: Disk, config: IngestConfig) -> SpoolLimits:
    quota = Quota(spool, f"{UPLOAD}*", config.spool_max_bytes)
    return SpoolLimits(config.max_bytes, disk, quota)


@contextmanager
def new_file(directory: Path) -> Iterator[Path]:
    """A path in the spool that nobody had before; what lies there is gone after the block.

    So is what was put beside it under the same name with a suffix. Names are never used twice:
    DuckDB's caches would serve the old content.
    """
    path = directory / f"{UPLOAD}{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        for each in directory.glob(f"{path.name}*"):
            each.unlink(missing_ok=True)


@contextmanager
def filling_the_disk() -> Iterator[None]:
    """Say it in our words when there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DiskFullError from error
        raise


class SpoolFile:
    """A file that grows, and the hash of what was written. Its methods block."""

    def __init__(self, path: Path, limits: SpoolLimits, room_bytes: int = 0) -> None:
        self.path = path
        self.size_bytes = 0
        self.room_bytes = room_bytes
        self._limits = limits
        self._digest = hashlib.sha256()
        self._file = path.open("wb")
        self._file.write(FILLING * room_bytes)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, *pieces: bytes) -> None:
        """Append the pieces, without joining them first; raises what `SpoolLimits.take` does."""
        size = sum(map(len, pieces))
        self.size_bytes += size
        self._limits.take(self.size_bytes, size)
        with filling_the_disk():
            for piece in pieces:
                self._digest.update(piece)
                self._file.write(piece)

    def close(self) -> None:
        with filling_the_disk():
            self._file.close()


async def spooled(
    chunks: AsyncIterator[bytes],
    path: Path,
    limits: SpoolLimits,
    room_for: Callable[[bytes], int] = lambda head: 0,
) -> SpoolFile:
    """Write `chunks` to `path` and return the file, closed.

    One piece is written and hashed on a thread while the next one arrives.

    Args:
        room_for: given the first bytes, how many to leave free in front of them.

    Raises:
        UploadTooLargeError, DiskFullError, QuotaUsedError: there is too much of it.
    """
    file: SpoolFile | None = None
    writing: asyncio.Future[None] | None = None
    waiting, waiting_bytes = list[bytes](), 0

    async def flush() -> None:
        nonlocal file, writing, waiting, waiting_bytes
        pieces, waiting, waiting_bytes = waiting, [], 0
        if writing is not None:
            await writing
        if file is None:
            room = room_for(b"".join(pieces)[:HEAD_BYTES])
            file = await on_thread(lambda: SpoolFile(path, limits, room))
        writing = asyncio.ensure_future(on_thread(partial(file.write, *pieces)))

    try:
        async for chunk in chunks:
            waiting.append(chunk)
            waiting_bytes += len(chunk)
            if waiting_bytes >= BUFFER_BYTES:
                await flush()
        await flush()
        assert writing is not None, "flush began to write"
        await writing
    finally:
        with anyio.CancelScope(shield=True):
            if writing is not None:
                await asyncio.wait([writing])
                if not writing.cancelled():
                    writing.exception()  # looked at: the first error is the one that leaves
            if file is not None:
                await on_thread(file.close)
    assert file is not None, "flush made it"
    return file
