"""Objects in a directory: written whole and durably, or not at all."""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from lakehouse.disk import Disk, DiskFullError
from lakehouse.storage.errors import ObjectExistsError, ObjectNotFoundError, WarehousePathError
from lakehouse.storage.store import Stored

SCHEME = "file://"
MISREAD = "?#*["
"""What readers of a table take for a query, a fragment or a pattern, wherever it stands."""
PLAIN_KEY = re.compile(r"[\w-][\w.=-]*(/[\w-][\w.=-]*)*", re.ASCII)
"""Parts that begin with no dot: none is `..`, none is empty."""
UNFINISHED = "_tmp"
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class LocalStore:
    """The warehouse as a directory. Keys are relative paths; `Store` says what is what."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root = root.resolve()
        self.place = str(self.root)
        self._prefix = f"{SCHEME}{self.root}/"
        self.disk = disk or Disk(self.root)
        for character in MISREAD:
            if character in self.place:
                raise WarehousePathError(self.place, character)
        self._durable: set[Path] = set()

    def uri(self, key: str) -> str:
        return f"{SCHEME}{self.path(key)}"

    def key(self, uri: str) -> str:
        key = uri.removeprefix(self._prefix)
        if len(key) < len(uri) and PLAIN_KEY.fullmatch(key):
            return key  # as we write them: parts looked at one by one take 0.1 ms
        path = Path(uri.removeprefix(SCHEME).removeprefix("file:"))  # Java writes `file:/x`
        if ".." in path.parts or any(character in uri for character in MISREAD):
            raise ValueError(f"{uri!r} is not the location of a file")
        return str(path.relative_to(self.root))

    def path(self, key: str) -> Path:
        """Return where `key` lies. Keys are made by this program, never taken from outside."""
        path = self.root / key
        if ".." in path.parts or not path.is_relative_to(self.root):
            raise ValueError(f"the key {key!r} leaves the warehouse")
        return path

    def read(self, key: str) -> bytes:
        with self.open(key) as file:
            return file.read()

    def open(self, key: str) -> BinaryIO:
        try:
            return self.path(key).open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFoundError(key) from error

    def write(self, key: str, data: bytes) -> None:
        with self.writing(key) as file:
            file.write(data)

    def create(self, key: str, data: bytes) -> None:
        if self.exists(key):  # one process has the directory, and no two changes the same key
            raise ObjectExistsError(key)
        self.write(key, data)

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """A file that becomes the object when the block ends, and nothing when it raises.

        Raises:
            DiskFullError: there is no room; nothing was stored.
        """
        target = self.path(key)
        with room(), self.unfinished() as temporary:
            with temporary.open("wb") as file:
                yield file
                sync_file(file)
            self._make_folder(target.parent)
            temporary.replace(target)
            sync_directory(target.parent)

    @contextmanager
    def unfinished(self) -> Iterator[Path]:
        """A name for a file that is being written; what still has it at the end is removed."""
        path = self.new_unfinished()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def new_unfinished(self) -> Path:
        """Return a free name among the files that are no objects yet, or no longer."""
        folder = self.root / UNFINISHED
        folder.mkdir(parents=True, exist_ok=True)
        return folder / secrets.token_hex(12)

    def remove_unfinished(self) -> None:
        """Remove what a killed process left half written. For the start, before anybody writes."""
        for path in self.new_unfinished().parent.iterdir():
            path.unlink()

    def sync(self, keys: Iterable[str]) -> None:
        """Bring files that DuckDB wrote to disk: it calls no fsync.

        Their folders are synced too, up to one that `prepare` made: DuckDB makes one for each
        partition.
        """
        paths = [self.path(key) for key in keys]
        for path in paths:
            with path.open("rb") as file:
                os.fsync(file.fileno())
        folders = {path.parent for path in paths}
        for folder in list(folders):
            while folder != self.root and folder not in self._durable:
                folder = folder.parent
                folders.add(folder)
        for folder in sorted(folders, reverse=True):
            sync_directory(folder)

    def prepare(self, key: str) -> None:
        """Make the folder that files under `key` will lie in: DuckDB makes none."""
        self._make_folder(self.path(key))

    def _make_folder(self, path: Path) -> None:
        if path not in self._durable or not path.is_dir():
            make_directories(path, self.root)
            self._durable.add(path)

    def check_room(self, size_bytes: int) -> None:
        self.disk.check(size_bytes)

    def delete(self, key: str) -> None:
        self.path(key).unlink(missing_ok=True)

    def delete_folder(self, key: str) -> None:
        path = self.path(key)
        assert path != self.root, "the warehouse itself is nobody's folder"
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
            sync_directory(path.parent)

    def delete_empty_folders(self, key: str) -> None:
        path = self.path(key)
        below = [each for each in path.rglob("*") if each.is_dir()]
        for folder in sorted([path, *below], reverse=True):
            with suppress(OSError):  # it is not empty, or not there
                folder.rmdir()

    def exists(self, key: str) -> bool:
        return self.path(key).is_file()

    def is_linked(self, key: str) -> bool:
        """Whether a symbolic link leads to `key`, so that it lies elsewhere."""
        path = self.path(key)
        return path.resolve() != path

    def size(self, key: str) -> int | None:
        path = self.path(key)
        return path.stat().st_size if path.is_file() else None

    def sizes(self, folder: str, keys: Collection[str]) -> Mapping[str, int]:
        found = ((key, self.size(key)) for key in keys)
        return {key: size_bytes for key, size_bytes in found if size_bytes is not None}

    def now_s(self) -> float:
        with self.unfinished() as path:
            path.touch()
            return path.stat().st_mtime

    def folders(self, prefix: str, depth: int) -> list[str]:
        found = self.path(prefix).glob("/".join("*" * depth))
        return sorted(str(path.relative_to(self.root)) for path in found if path.is_dir())

    def remove_empty_folders(self, prefix: str, before_s: float) -> None:
        for path in sorted(self.path(prefix).rglob("*"), reverse=True):
            with suppress(OSError):  # not empty, or somebody is just writing into it
                if path.is_dir() and path.stat().st_mtime < before_s:
                    path.rmdir()
                    self._durable.discard(path)

    def stored(self, prefix: str) -> Iterator[Stored]:
        for key in self.keys(prefix):
            with suppress(FileNotFoundError):  # it went while we looked
                found = self.path(key).stat()
                yield Stored(key, found.st_size, found.st_mtime)

    def keys(self, prefix: str) -> Iterator[str]:
        for path in self.path(prefix).rglob("*"):
            if path.is_file():
                yield str(path.relative_to(self.root))


@contextmanager
def room() -> Iterator[None]:
    """Raise `DiskFullError` for what the disk has no room for."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DiskFullError from error
        raise


def make_directories(path: Path, root: Path) -> None:
    """Make `path` and the folders above it, and sync each into the one that holds it.

    Those that were there are synced too: a process that was killed may have made them.
    """
    missing = []
    folder = path
    while not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
    while path != root:
        path = path.parent
        sync_directory(path)


def sync_file(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
