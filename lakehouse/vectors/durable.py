"""What of a collection in a folder is on the disk: Lance itself syncs nothing, so we do.

Shown by strace: its local store writes, links and renames, and never calls fsync. Once all files of
a version are synced, an empty file in `_synced` is called by its number, and only then is anybody
told. What is beyond that number after a power cut may be torn and was promised to nobody, so it is
put aside; what is not beyond it is whole, or the disk is damaged.
"""

import os
import threading
from pathlib import Path

VERSIONS, MARKS, ASIDE = "_versions", "_synced", "_unfinished"
SYNCED = ("data", "_deletions", "_transactions", VERSIONS)
"""In this order: what a manifest names is durable before the manifest is."""
MANIFEST = ".manifest"
NEWEST_FIRST = 2**64 - 1
"""A manifest is called by this less its version, in twenty digits: the newest is listed first."""


class MissingVersionError(Exception):
    """A version that somebody was told of is not there."""


class Durable:
    """The files of one collection. Its methods block, and may be called by several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._synced: set[str] = set()
        self._marking = threading.Lock()
        self._marked = marked(folder)

    def sync(self, version: int) -> None:
        """Make durable what was written since the last time, all files of a version among it.

        Raises:
            OSError: it is not durable.
        """
        there: set[str] = set()
        for name in SYNCED:
            there |= sync_folder(self._folder / name, self._synced)
        indexes = self._folder / "_indices"
        if indexes.is_dir():
            for folder in indexes.iterdir():
                there |= sync_folder(folder, self._synced)
        if self._synced.isdisjoint(there):  # it is new
            sync_path(self._folder)
            sync_path(self._folder.parent)
        self._synced = there
        with self._marking:
            self._mark(version)

    def _mark(self, version: int) -> None:
        if version <= self._marked:
            return
        marks = self._folder / MARKS
        if not marks.is_dir():
            marks.mkdir()
            sync_path(self._folder)
        (marks / str(version)).touch()
        sync_path(marks)
        (marks / str(self._marked)).unlink(missing_ok=True)
        self._marked = version


def recover(folder: Path) -> list[int]:
    """Put aside the versions that nobody was told of, before anybody opens it; return them.

    Of a collection that is not marked yet all count.

    Raises:
        MissingVersionError: the last one that somebody was told of is not there.
    """
    last = marked(folder)
    if not last:
        return []
    found = {version_of(path): path for path in (folder / VERSIONS).glob(f"*{MANIFEST}")}
    if last not in found:
        raise MissingVersionError(f"version {last} was acknowledged, and is not there")
    beyond = sorted(version for version in found if version > last)
    if beyond:
        aside = folder / ASIDE
        aside.mkdir(exist_ok=True)
        for version in reversed(beyond):  # a kill on the way leaves no gap below what stays
            found[version].rename(aside / found[version].name)
        sync_path(aside)
        sync_path(folder / VERSIONS)
    return beyond


def marked(folder: Path) -> int:
    """Return the last version that somebody was told of; 0 when none is marked."""
    marks = folder / MARKS
    if not marks.is_dir():
        return 0
    return max((int(path.name) for path in marks.iterdir() if path.name.isdecimal()), default=0)


def version_of(manifest: Path) -> int:
    number = int(manifest.stem)
    return NEWEST_FIRST - number if len(manifest.stem) == len(str(NEWEST_FIRST)) else number


def sync_folder(folder: Path, synced: set[str]) -> set[str]:
    """Make the files of a folder durable that are not yet; return the names of all."""
    if not folder.is_dir():
        return set()
    names = set()
    fresh = False
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_file():
                continue
            key = f"{folder.name}/{entry.name}"
            names.add(key)
            if key not in synced:
                try:
                    sync_path(Path(entry.path))
                except FileNotFoundError:  # cleaned up since
                    continue
                fresh = True
    if fresh:
        sync_path(folder)
    return names


def sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
