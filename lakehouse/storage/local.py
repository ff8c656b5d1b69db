"""Objects in a directory: written whole and durably, or not at all."""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote, urlsplit

from lakehouse.storage.errors import ObjectNotFoundError


class LocalStore:
    """The warehouse as a directory. Keys are relative paths with `/`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def uri(self, key: str) -> str:
        """Return the location of `key` as Iceberg metadata and DuckDB know it."""
        return f"file://{quote(str(self.root / key))}"

    def key(self, uri: str) -> str:
        """Return the key of a location under this warehouse; `ValueError` for any other."""
        parts = urlsplit(uri)
        if parts.scheme not in ("", "file"):
            raise ValueError(f"{uri!r} is not a local file")
        return str(Path(unquote(parts.path)).relative_to(self.root))

    def read(self, key: str) -> bytes:
        """Return the whole object; `ObjectNotFoundError` when there is none."""
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise ObjectNotFoundError(key) from error

    def write(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, replacing what is there; on disk when this returns."""
        with self.writing(key) as file:
            file.write(data)

    @contextmanager
    def writing(self, key: str) -> Iterator[BinaryIO]:
        """A file that becomes the object when the block ends, and nothing when it raises."""
        target = self.root / key
        make_directories(target.parent)
        temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(target.parent)

    def sync(self, keys: Iterable[str]) -> None:
        """Bring files that DuckDB wrote, and their directories, to disk: it calls no fsync."""
        paths = [self.root / key for key in keys]
        for path in paths:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        for directory in {path.parent for path in paths}:
            sync_directory(directory)

    def prepare(self, key: str) -> None:
        """Make the folder that files under `key` will lie in: DuckDB makes none."""
        make_directories(self.root / key)

    def delete(self, key: str) -> None:
        """Remove the object if it is there."""
        (self.root / key).unlink(missing_ok=True)

    def exists(self, key: str) -> bool:
        return (self.root / key).is_file()

    def size(self, key: str) -> int | None:
        """Return the object's bytes; None when there is none."""
        path = self.root / key
        return path.stat().st_size if path.is_file() else None

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys under the folder `prefix`, in no particular order."""
        for path in (self.root / prefix).rglob("*"):
            if path.is_file():
                yield str(path.relative_to(self.root))


def make_directories(path: Path) -> None:
    """Make `path` and its parents, each one synced into the directory that holds it."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
