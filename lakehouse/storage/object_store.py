"""What the storage API's objects are to the rest of the program, whatever they lie on."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, TypeAlias

from lakehouse.disk import Disk
from lakehouse.storage.local import room

OBJECTS = "objects"

Guard: TypeAlias = Callable[[str, Callable[[], None]], None]
"""Runs a change to the object of a key while no table can begin to read it, or raises."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    key: str
    size_bytes: int
    etag: str
    """Another one after each PUT. Without quotes."""
    modified_at: datetime
    location: str
    """As Iceberg metadata and DuckDB know it; another one after each PUT."""


class Upload(NamedTuple):
    """An object that is being received on this machine's disk. `ObjectStore.put` makes it one."""

    path: Path
    file: BinaryIO
    disk: Disk

    @classmethod
    def begin(cls, path: Path, disk: Disk, size_bytes: int | None) -> "Upload":
        """Return a new file; `DiskFullError` when that many bytes reach into the reserve."""
        disk.check(size_bytes or 0)
        with room():
            return cls(path, path.open("x+b"), disk)

    def write(self, data: bytes | bytearray) -> None:
        """Add to its end; `DiskFullError` when there is no room above the disk's reserve."""
        self.disk.check(len(data))
        with room():
            self.file.write(data)

    def discard(self) -> None:
        """Remove what is left of it: all, unless it was put."""
        with suppress(OSError):  # on a full disk, what is still buffered cannot be written
            self.file.close()
        self.path.unlink(missing_ok=True)


class ObjectStore(Protocol):
    """Objects by the user's keys, which are checked here, whoever calls. Everything blocks."""

    def find(self, key: str) -> ObjectInfo:
        """Return what is known of an object; `ObjectNotFoundError` when there is none."""

    def open(self, key: str) -> tuple[ObjectInfo, BinaryIO]:
        """Return the object and its bytes as a seekable file, which no later PUT changes.

        Raises:
            ObjectNotFoundError: there is none.
        """

    def list(self, prefix: str, after: str, limit: int) -> tuple[list[ObjectInfo], bool]:
        """Return objects by the bytes of their keys, and whether there are more.

        Args:
            prefix: of the key, not of a path: `a/b` lists `a/bc`.
            after: only keys that sort after this one; empty for all.
            limit: 1 or more.
        """

    def begin(self, key: str, size_bytes: int | None) -> Upload:
        """Return a file to write an object's bytes to.

        Raises:
            DiskFullError: the disk has fewer bytes above its reserve than are announced.
        """

    def put(self, upload: Upload, key: str, guard: Guard) -> ObjectInfo:
        """Make `upload` the object of `key`; durable when this returns."""

    def delete(self, key: str, guard: Guard) -> None:
        """Remove the object, if there is one."""
