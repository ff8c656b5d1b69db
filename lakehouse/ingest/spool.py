"""An upload becomes one file in `spool/`: streamed, capped, hashed on the way."""

import errno
import hashlib
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from lakehouse.ingest.errors import DiskFullError, UploadTooLargeError

BUFFER_BYTES = 4 * 1024 * 1024
RESERVE_SHARE = 0.1
RESERVE_MIN_BYTES = 2 * 1024**3
CONVERTED_SHARE = 2  # room for the upload and, beside it, for what it is decompressed to


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that somebody sent, whole."""

    path: Path
    size_bytes: int
    sha256: str
    filename: str | None
    content_type: str | None


def room_bytes(directory: Path) -> int:
    """Return the bytes that uploads may take: the free disk minus its reserve."""
    usage = shutil.disk_usage(directory)
    reserve = max(int(usage.total * RESERVE_SHARE), RESERVE_MIN_BYTES)
    return max(usage.free - reserve, 0)


@contextmanager
def new_file(directory: Path) -> Iterator[Path]:
    """A path in the spool that nobody had before; what lies there is gone after the block.

    Names are never used twice: DuckDB's caches would serve the old content.
    """
    path = directory / f"upload-{uuid.uuid4().hex}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


async def spooled(chunks: AsyncIterator[bytes], path: Path, max_bytes: int) -> tuple[int, str]:
    """Write `chunks` to `path` and return their size and SHA-256.

    Raises:
        UploadTooLargeError: they are over `max_bytes`.
        DiskFullError: the disk was.
    """
    room = await anyio.to_thread.run_sync(room_bytes, path.parent)
    digest = hashlib.sha256()
    size, waiting, waiting_bytes = 0, list[bytes](), 0

    def write() -> None:
        data = b"".join(waiting)
        digest.update(data)
        file.write(data)

    file = await anyio.to_thread.run_sync(lambda: path.open("wb", buffering=0))
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise UploadTooLargeError("the upload is too large", max_bytes)
            if size > room:
                raise DiskFullError
            waiting.append(chunk)
            waiting_bytes += len(chunk)
            if waiting_bytes >= BUFFER_BYTES:
                await anyio.to_thread.run_sync(write)
                waiting, waiting_bytes = [], 0
        await anyio.to_thread.run_sync(write)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DiskFullError from error
        raise
    finally:
        file.close()
    return size, digest.hexdigest()
