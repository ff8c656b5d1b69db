"""Copies of objects that never change, on this machine's disk, up to so many bytes.

    <folder>/<hash of the place>/<key>    SHA-256 of what follows, then the object's bytes
    <folder>/_unfinished/                 what is being written

Nothing here is of value, so nothing is synced: a copy that a power cut has torn is not the one its
hash is of, and is none. What leaves the store leaves here, before it is gone there and before
anybody is told; what was on its way from the store meanwhile is not taken in.
"""

import logging
import os
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from lakehouse.disk import Disk, DiskFullError
from lakehouse.storage.local import sync_directory

log = logging.getLogger(__name__)

UNFINISHED = "_unfinished"
HASH_BYTES = 32
PLACE_CHARACTERS = 16
NEVER = -1


class DiskCache:
    """The least recently used leaves first, over a restart too. Thread-safe; everything blocks.

    No error of this disk is anybody's: without a copy the store is asked.

    Args:
        folder: made, or taken over with what a process before this one has left in it.
        place: of the store whose objects these are; copies of another one's are removed.
        max_bytes: of all copies; a larger one is not kept.
        disk: that the folder lies on; at its reserve all copies are given up.
    """

    def __init__(self, folder: Path, place: str, max_bytes: int, disk: Disk) -> None:
        self._root = folder / sha256(place.encode()).hexdigest()[:PLACE_CHARACTERS]
        self._unfinished = folder / UNFINISHED
        self._max_bytes = max_bytes
        self._disk = disk
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._total_bytes = 0
        self._age = 0
        """Grows with each key that leaves: what was asked for before is older."""
        self._leaving = 0
        self._has_given_up = False
        self._lock = threading.Lock()
        try:
            self._take_over(folder)
        except OSError as error:
            log.warning("the cache %s cannot be used: %s", folder, error.strerror)

    def _take_over(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        for path in folder.iterdir():
            if path != self._root:
                shutil.rmtree(path)
        self._unfinished.mkdir()
        self._root.mkdir(exist_ok=True)
        found: list[tuple[float, str, int]] = []
        for parent, _, names in os.walk(self._root, topdown=False):
            for name in names:
                path = Path(parent, name)
                there = path.stat()
                found.append((there.st_mtime, str(path.relative_to(self._root)), there.st_size))
            if not names and Path(parent) != self._root:
                with suppress(OSError):  # a folder with folders
                    Path(parent).rmdir()
        for _, key, size_bytes in sorted(found):
            self._sizes[key] = size_bytes
            self._total_bytes += size_bytes
        self._drop_old()

    @property
    def total_bytes(self) -> int:
        return self._total_bytes

    def get(self, key: str) -> bytes | None:
        """Return the object's bytes; None when there is no copy, or none that is whole."""
        with self._lock:
            if key not in self._sizes:
                return None
            self._sizes.move_to_end(key)
        path = self._root / key
        try:
            data = path.read_bytes()
            os.utime(path)  # the next process knows what was used
        except OSError:
            data = b""
        if data[:HASH_BYTES] == sha256(data[HASH_BYTES:]).digest():
            return data[HASH_BYTES:]
        with self._lock:
            self._forget(key)
        return None

    def now(self) -> int:
        """Return what `put` wants to know of an object that is about to be read."""
        with self._lock:
            return NEVER if self._leaving else self._age

    def put(self, key: str, data: bytes, asked_at: int | None = None) -> None:
        """Keep a copy.

        Args:
            asked_at: `now()`, from before the store was asked; None for what was just stored.
                The copy is not kept when anything has left since: it may be what did.
        """
        size_bytes = HASH_BYTES + len(data)
        if size_bytes > self._max_bytes:
            return
        unfinished = self._unfinished / secrets.token_hex(12)
        try:
            self._disk.check(size_bytes)
            unfinished.write_bytes(sha256(data).digest() + data)
            with self._lock:
                if asked_at is None or asked_at == self._age:
                    self._place(unfinished, key, size_bytes)
        except (OSError, DiskFullError) as error:
            self._give_up(error)
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)

    def _place(self, unfinished: Path, key: str, size_bytes: int) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.replace(path)
        self._has_given_up = False
        self._total_bytes += size_bytes - self._sizes.get(key, 0)
        self._sizes[key] = size_bytes
        self._sizes.move_to_end(key)
        self._drop_old()

    @contextmanager
    def leaving(self, key: str, *, is_folder: bool = False) -> Iterator[None]:
        """Forget an object, or all of a folder, before the block removes it from the store.

        Nothing that is read from the store meanwhile is kept.
        """
        with self._lock:
            self._leaving += 1
            self._age += 1
            keys = [each for each in self._sizes if each.startswith(f"{key}/")]
            for each in keys if is_folder else [key]:
                self._forget(each, durably=True)
        try:
            yield
        finally:
            with self._lock:
                self._leaving -= 1
                self._age += 1

    def _drop_old(self) -> None:
        while self._total_bytes > self._max_bytes:
            self._forget(next(iter(self._sizes)))

    def _give_up(self, error: Exception) -> None:
        """Leave the room to those who need it, until there is some again."""
        with self._lock:
            if not self._has_given_up:
                log.warning("no copies of objects are kept: %s", error)
            self._has_given_up = True
            for key in list(self._sizes):
                self._forget(key)

    def _forget(self, key: str, *, durably: bool = False) -> None:
        if key not in self._sizes:
            return
        path = self._root / key
        path.unlink(missing_ok=True)
        self._total_bytes -= self._sizes.pop(key)
        if durably:  # or a power cut brings back what somebody was told is gone
            sync_directory(path.parent)
