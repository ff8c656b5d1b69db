"""How much room the disk has, and the reserve that whatever adds data leaves alone.

Loads, rows, updates, objects, results, spills, compactions and backups onto the same disk look
first. What makes room does not (deletes, erasures, drops, expiry), nor what the catalog needs to
live (commits without rows, merges of manifests, its own copy), nor what brings a lakehouse back
(restore, rebuild, relocate), which runs without a server.
"""

import shutil
import time
from pathlib import Path
from typing import NamedTuple

from lakehouse.errors import InsufficientStorageError, UnavailableError

RESERVE_SHARE = 0.1
RESERVE_MAX_BYTES = 2 * 1024**3
QUOTA_LOOK_S = 0.5


class DiskFullError(InsufficientStorageError):
    """The disk is at its reserve, which is kept for commits, drops and deletes.

    Purge dropped tables, delete objects, give the disk more room, or lower `disk.reserve_bytes`.
    """

    def __init__(self, usage: "Usage | None" = None) -> None:
        room = f"{usage.free_bytes:,} bytes are free" if usage else "it is full"
        reserve = f", and its reserve is {usage.reserve_bytes:,}" if usage else ""
        super().__init__(
            f"the disk has no room for this: {room}{reserve}; purge dropped tables, delete objects,"
            " or give it more room, then send it again",
            **(usage._asdict() if usage else {}),
        )


class QuotaUsedError(UnavailableError):
    """What this setting allows is in use; it is given back as work ends."""

    retry_after_s = 5

    def __init__(self, what: str, setting: str, max_bytes: int) -> None:
        super().__init__(
            f"{what} fill {setting}, which is {max_bytes:,} bytes; try again when some have ended",
            max_bytes=max_bytes,
        )


class Usage(NamedTuple):
    free_bytes: int
    total_bytes: int
    reserve_bytes: int

    @property
    def room_bytes(self) -> int:
        """What may be added before the reserve begins; below 0 inside of it."""
        return self.free_bytes - self.reserve_bytes


class Disk:
    """The file system of one directory. Each look costs a system call, 2 µs.

    Args:
        path: any directory on the disk.
        reserve_bytes: None for a tenth of the disk, at most 2 GiB.
    """

    def __init__(self, path: Path, reserve_bytes: int | None = None) -> None:
        self._path = path
        self._reserve_bytes = reserve_bytes

    def usage(self) -> Usage:
        usage = shutil.disk_usage(self._path)
        reserve = self._reserve_bytes
        if reserve is None:
            reserve = min(int(usage.total * RESERVE_SHARE), RESERVE_MAX_BYTES)
        return Usage(usage.free, usage.total, reserve)

    def check(self, size_bytes: int = 0) -> None:
        """Raise `DiskFullError` when `size_bytes` more would reach into the reserve."""
        usage = self.usage()
        if size_bytes > usage.room_bytes:
            raise DiskFullError(usage)


class Quota:
    """The bytes that all files of a name together may take in a directory, spent as they grow."""

    def __init__(self, directory: Path, pattern: str, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self._directory = directory
        self._pattern = pattern
        self._used_bytes = 0
        self._looked_at = float("-inf")

    def take(self, size_bytes: int) -> bool:
        """Whether `size_bytes` more fit. What is there is looked at every `QUOTA_LOOK_S`."""
        if time.monotonic() - self._looked_at > QUOTA_LOOK_S:
            self._used_bytes = bytes_in(self._directory, self._pattern)
            self._looked_at = time.monotonic()
        if self._used_bytes + size_bytes > self.max_bytes:
            return False
        self._used_bytes += size_bytes
        return True


def bytes_in(directory: Path, pattern: str = "*") -> int:
    """Return the bytes of the files of a name in a directory; 0 when there is none."""
    total = 0
    for path in directory.glob(pattern):
        try:
            total += path.stat().st_size
        except FileNotFoundError:  # deleted since it was listed
            continue
    return total
