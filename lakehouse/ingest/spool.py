"""An upload becomes one file in `spool/`: streamed, capped, hashed on the way."""

import asyncio
import errno
import hashlib
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from lakehouse.ingest.errors import DiskFullError, UploadTooLargeError

BUFFER_BYTES = 2 * 1024 * 1024
HEAD_BYTES = 4096
"""What says which format a file has."""
RESERVE_SHARE = 0.1
RESERVE_MAX_BYTES = 2 * 1024**3
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


def free_bytes(directory: Path) -> int:
    """Return the bytes that uploads may take: the free disk minus its reserve.

    The reserve, a tenth of the disk and at most 2 GiB, is for the commits of what was accepted.
    """
    usage = shutil.disk_usage(directory)
    reserve = min(int(usage.total * RESERVE_SHARE), RESERVE_MAX_BYTES)
    return max(usage.free - reserve, 0)


@contextmanager
def new_file(directory: Path) -> Iterator[Path]:
    """A path in the spool that nobody had before; what lies there is gone after the block.

    So is what was put beside it under the same name with a suffix. Names are never used twice:
    DuckDB's caches would serve the old content.
    """
    path = directory / f"upload-{uuid.uuid4().hex}"
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

    def __init__(self, path: Path, max_bytes: int, room_bytes: int = 0) -> None:
        self.size_bytes = 0
        self.room_bytes = room_bytes
        self._path = path
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._file = path.open("wb")
        self._file.write(FILLING * room_bytes)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, *pieces: bytes) -> None:
        """Append the pieces, without joining them first.

        Raises:
            UploadTooLargeError: the file would be over its limit.
            DiskFullError: the disk would be below its reserve.
        """
        size = sum(map(len, pieces))
        self.size_bytes += size
        if self.size_bytes > self._max_bytes:
            raise UploadTooLargeError("the file is too large", self._max_bytes)
        if size > free_bytes(self._path.parent):
            raise DiskFullError
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
    max_bytes: int,
    room_for: Callable[[bytes], int] = lambda head: 0,
) -> SpoolFile:
    """Write `chunks` to `path` and return the file, closed.

    One piece is written and hashed on a thread while the next one arrives.

    Args:
        room_for: given the first bytes, how many to leave free in front of them.

    Raises:
        UploadTooLargeError, DiskFullError: there is too much of it.
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
            file = await anyio.to_thread.run_sync(SpoolFile, path, max_bytes, room)
        writing = asyncio.ensure_future(anyio.to_thread.run_sync(file.write, *pieces))

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
                await anyio.to_thread.run_sync(file.close)
    assert file is not None, "flush made it"
    return file
