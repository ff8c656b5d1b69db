"""The objects of the storage API on a disk: found, listed in order, replaced in one step.

Everything here blocks and belongs on a worker thread. Where an object lies: `keys.py`.
"""

import errno
import heapq
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from lakehouse.storage.errors import InvalidKeyError, ObjectNotFoundError
from lakehouse.storage.keys import (
    Entry,
    check_key,
    entries_of,
    entry_of,
    folder_name,
    path_of,
)
from lakehouse.storage.local import LocalStore, make_directories, room, sync_directory, sync_file
from lakehouse.storage.object_store import OBJECTS, Guard, ObjectInfo, Upload
from lakehouse.storage.versions import VERSION, version_after

FIND_ATTEMPTS_MAX = 20


class LocalObjects:
    """What lies under `objects/`; `ObjectStore` says what is what."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._root = store.path(OBJECTS)
        # Folders come and go with the objects in them: one change at a time.
        self._changing = threading.Lock()

    def find(self, key: str) -> ObjectInfo:
        info, file = self.open(key)
        file.close()
        return info

    def open(self, key: str) -> tuple[ObjectInfo, BinaryIO]:
        folder = self._folder(key)
        for _ in range(FIND_ATTEMPTS_MAX):
            found = versions(folder)
            if not found:
                break
            try:
                descriptor = os.open(folder / found[-1], os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # replaced between the two looks
            info = self._info(key, folder / found[-1], os.fstat(descriptor))
            return info, os.fdopen(descriptor, "rb")
        raise ObjectNotFoundError(key)

    def list(self, prefix: str, after: str, limit: int) -> tuple[list[ObjectInfo], bool]:
        """List them.

        Memory is bounded by `limit` for each level of folders, whatever lies in them; the cost
        grows with the number of entries in the folders that are looked at.
        """
        found: list[ObjectInfo] = []
        for info in self._walk(prefix.encode(), after.encode(), limit + 1):
            if len(found) == limit:
                return found, True
            found.append(info)
        return found, False

    def begin(self, key: str, size_bytes: int | None) -> Upload:
        self._folder(key)
        return Upload.begin(self._store.new_unfinished(), self._store.disk, size_bytes)

    def put(self, upload: Upload, key: str, guard: Guard) -> ObjectInfo:
        """Make `upload` the object of `key`; on disk, folders too, when this returns."""
        folder = self._folder(key)
        with room(), upload.file as file:
            sync_file(file)
        with self._changing, room(), storable(key):
            try:
                make_directories(folder, self._store.root)
                older = versions(folder)
                target = folder / version_after(older)

                def change() -> None:
                    upload.path.rename(target)
                    sync_directory(folder)

                guard(key, change)
            except BaseException:
                self._tidy(folder)
                raise
            info = self._info(key, target, target.stat())
            for version in older:
                (folder / version).unlink(missing_ok=True)
        return info

    def delete(self, key: str, guard: Guard) -> None:
        """Remove the object, if there is one, and the folders that are empty then."""
        folder = self._folder(key)
        removed: list[Path] = []

        def change() -> None:
            # Out of sight now and off the disk later: freeing gigabytes takes long, and here all
            # commits wait. Oldest first, so that no older one is the newest for a moment.
            for version in versions(folder):
                removed.append((folder / version).rename(self._store.new_unfinished()))
            if removed:
                sync_directory(folder)

        with self._changing:
            guard(key, change)
            self._tidy(folder)
        for path in removed:
            path.unlink(missing_ok=True)

    def _tidy(self, folder: Path) -> None:
        """Remove `folder` and the folders above it, as far as they are empty."""
        while folder != self._root:
            try:
                folder.rmdir()
            except FileNotFoundError:
                pass
            except OSError:
                return
            folder = folder.parent

    def _folder(self, key: str) -> Path:
        """Return the folder of an object, made sure to lie in the warehouse."""
        folder = self._root / path_of(check_key(key))
        with storable(key):
            if os.path.realpath(folder) != str(folder):
                raise InvalidKeyError(key, "a symbolic link lies on its way")
        return folder

    def _info(self, key: str, path: Path, stat: os.stat_result) -> ObjectInfo:
        return ObjectInfo(
            key=key,
            size_bytes=stat.st_size,
            etag=path.name,
            modified_at=datetime.fromtimestamp(stat.st_mtime, UTC),
            location=self._store.uri(str(path.relative_to(self._store.root))),
        )

    def _walk(self, prefix: bytes, after: bytes, batch: int) -> Iterator[ObjectInfo]:
        """Yield objects in the order of their keys, depth first, without recursion."""
        base, _, _ = prefix.rpartition(b"/")
        base = base + b"/" if b"/" in prefix else b""
        *above, _ = entries_of(base)  # straight to the folder that the prefix names
        start = self._root.joinpath(*map(folder_name, above))
        stack = [(start, base, wanted(start, base, prefix, after, batch))]
        while stack:
            folder, base, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                stack.pop()
                continue
            inner, whole = folder / folder_name(entry), base + entry.part
            if entry.kind == "object":
                info = self._newest(whole, inner)
                if info:
                    yield info
            else:
                stack.append((inner, whole, wanted(inner, whole, prefix, after, batch)))

    def _newest(self, whole: bytes, folder: Path) -> ObjectInfo | None:
        try:
            key = whole.decode()
        except UnicodeDecodeError:
            return None  # a folder made by hand
        for _ in range(FIND_ATTEMPTS_MAX):
            found = versions(folder)
            if not found:
                break
            try:
                return self._info(key, folder / found[-1], (folder / found[-1]).lstat())
            except FileNotFoundError:
                continue
        return None


def wanted(folder: Path, base: bytes, prefix: bytes, after: bytes, batch: int) -> Iterator[Entry]:
    """Yield the entries of a folder that hold keys with `prefix` and after `after`, in order.

    Args:
        base: what all keys in this folder begin with.
        batch: entries in memory at once; a folder with more is read again.
    """
    last = b""
    while True:
        candidates = (
            entry
            for entry in entries_in(folder)
            if (not last or entry.part > last) and may_hold(base, entry, prefix, after)
        )
        chosen = heapq.nsmallest(batch, candidates, key=lambda entry: entry.part)
        yield from chosen
        if len(chosen) < batch:
            return
        last = chosen[-1].part


def may_hold(base: bytes, entry: Entry, prefix: bytes, after: bytes) -> bool:
    whole = base + entry.part
    if entry.kind == "object":
        return whole.startswith(prefix) and whole > after
    named = whole.startswith(prefix) or prefix.startswith(whole)
    return named and (whole > after or after.startswith(whole))


def entries_in(folder: Path) -> Iterator[Entry]:
    try:
        with os.scandir(folder) as listing:
            for each in listing:
                entry = entry_of(each.name)
                if entry and each.is_dir(follow_symlinks=False):
                    yield entry
    except (FileNotFoundError, NotADirectoryError):
        return  # nothing was ever put there, or it went while we looked


def versions(folder: Path) -> list[str]:
    """Return the names of an object's files, the newest last; usually one, or none."""
    try:
        return sorted(each.name for each in folder.iterdir() if VERSION.fullmatch(each.name))
    except (FileNotFoundError, NotADirectoryError):
        return []


@contextmanager
def storable(key: str) -> Iterator[None]:
    """Say so when the path of a key is longer than the system allows."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InvalidKeyError(key, "its path is too long for the server's disk") from error
        raise
