"""Backups while the server serves: the catalog first, then the files that it names.

Files of tables never change, and a commit names only files that are on the disk. What maintenance
deletes between the two steps is missing then: the catalog is copied again, until all that it names
is there. A file that is missing twice was missing before: its table is damaged, and named.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from lakehouse import __version__
from lakehouse.catalog import NeededFile, needed_files
from lakehouse.config import BackupConfig
from lakehouse.recovery.copying import (
    PART,
    copy_stream,
    difference,
    filling,
    opened,
    pump,
    sync_tree,
)
from lakehouse.recovery.errors import (
    BackupDamagedError,
    BackupDirectoryError,
    BackupRunningError,
    BackupsRestlessError,
    NoBackupDirectoryError,
    UnreadableError,
)
from lakehouse.recovery.models import BackedUpFile, Backup, BackupReport
from lakehouse.state import SqliteState, State, sync_directory
from lakehouse.storage import LocalStore, ObjectNotFoundError, Store

RECORD = "backup.json"
PARTIAL = ".partial"
OBJECTS, VECTORS, VERSIONS = "objects", "vectors", "/_versions/"
"""What lies in the warehouse besides tables."""
MARKS = "/_synced/"
"""What a collection remembers of the disk that it is on, and of no other."""
ATTEMPTS_MAX = 10
GONE = "is gone or cut short"

Tell = Callable[[int], None]
"""Gets the files done so far; may raise to stop."""


@dataclass(slots=True)
class Run:
    """One backup on its way."""

    folder: Path
    before: Path | None
    known: dict[str, BackedUpFile]
    """Files of the backup before."""
    done: dict[str, BackedUpFile] = field(default_factory=dict)
    copied: list[BackedUpFile] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """Why a file that is there could not be copied."""


class Backups:
    def __init__(self, state: State, store: Store, config: BackupConfig) -> None:
        self._state = state
        self._store = store
        self._config = config
        self._running = threading.Lock()

    def target(self, given: str | None) -> Path:
        """Return where a backup goes: nobody chooses a path that the configuration does not.

        Raises:
            NoBackupDirectoryError: there is none in the configuration.
            BackupDirectoryError: it has others.
        """
        allowed = self._config.directories
        if not allowed:
            raise NoBackupDirectoryError
        if given is None:
            return Path(allowed[0])
        if not given or Path(given) not in map(Path, allowed):  # a last slash makes no other one
            raise BackupDirectoryError(given, allowed)
        return Path(given)

    def run(self, target: Path, *, verify: bool, tell: Tell = lambda done: None) -> BackupReport:
        """Back up everything into a new folder of `target`; what the last one has is linked.

        Raises:
            BackupRunningError: one is being made.
            BackupsRestlessError: maintenance was always faster.
            BackupDamagedError: what was read back is not what was written.
            DiskFullError: the backup lies on the warehouse's disk, and would eat its reserve.
            NoRoomError: the disk is full.
        """
        if not self._running.acquire(blocking=False):
            raise BackupRunningError
        try:
            with filling(target):
                return self._run(target, verify, tell)
        finally:
            shutil.rmtree(target / PARTIAL, ignore_errors=True)
            self._running.release()

    def _run(self, target: Path, verify: bool, tell: Tell) -> BackupReport:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = newest(target)
        known = {each.key: each for each in read_record(before).files} if before else {}
        partial = target / PARTIAL
        shutil.rmtree(partial, ignore_errors=True)
        run = Run(partial, before, known)
        damaged = self._copy_all(run, tell)
        catalog = partial / "catalog.db"
        record = Backup(
            version=__version__,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            warehouse=self._store.place,
            catalog=recorded(catalog),
            files=list(run.done.values()),
            damaged=damaged,
        )
        write_record(partial, record)
        if verify:
            check(partial)
        finished = target / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}"
        sync_tree(partial)
        partial.rename(finished)
        sync_directory(target)
        # Of a damaged table an older backup may have the only whole copy: none of them goes.
        for old in finished_in(target)[: -self._config.keep] if not damaged else ():
            shutil.rmtree(old)
        return BackupReport(
            directory=str(finished),
            file_count=len(record.files),
            size_bytes=sum(each.size_bytes for each in record.files),
            copied_files=len(run.copied),
            copied_bytes=sum(each.size_bytes for each in run.copied),
            damaged=damaged,
            verified=verify,
        )

    def _copy_all(self, run: Run, tell: Tell) -> dict[str, str]:
        """Copy the catalog and its files until nothing moved in between; return what is damaged."""
        run.folder.mkdir(mode=0o700)
        missing_before: set[str] = set()
        for _ in range(ATTEMPTS_MAX):
            catalog = run.folder / "catalog.db"
            catalog.unlink(missing_ok=True)
            self._state.copy_to(catalog)
            wanted: set[str] = set()
            missing: dict[str, NeededFile] = {}
            with SqliteState.open(catalog) as copy:
                for file in self._needed(copy):
                    wanted.add(file.key)
                    if file.key not in run.done and not self._copy(run, file):
                        missing[file.key] = file
                    tell(len(run.done))
            lacking = {
                key: file
                for key, file in missing.items()
                if key in run.unreadable or not file.is_history
            }
            if lacking.keys() <= missing_before:
                self._forget(run, wanted)
                return {
                    file.table: f"the file {key} {run.unreadable.get(key, GONE)}"
                    for key, file in lacking.items()
                }
            missing_before = set(lacking)
        raise BackupsRestlessError(ATTEMPTS_MAX)

    def _needed(self, catalog: State) -> Iterator[NeededFile]:
        yield from needed_files(catalog, self._store)
        # One deleted meanwhile is not needed any more.
        for key in self._store.keys(OBJECTS):
            yield NeededFile(key, OBJECTS, is_history=True)
        # What says which files a collection has first: they were all written before it, and one
        # that comes later would name files that were not listed.
        versions = [key for key in self._store.keys(VECTORS) if VERSIONS in key]
        files = [key for key in self._store.keys(VECTORS) if VERSIONS not in key]
        for key in (*versions, *(each for each in files if MARKS not in each)):
            yield NeededFile(key, VECTORS, is_history=True)

    def _copy(self, run: Run, file: NeededFile) -> bool:
        """Copy a file, or link the one that the backup before has; whether it is there."""
        target = run.folder / "warehouse" / file.key
        run.unreadable.pop(file.key, None)
        try:
            size_bytes = self._store.size(file.key)
            if size_bytes is None or file.size_bytes not in (None, size_bytes):
                return False
            known = run.known.get(file.key)
            if known and run.before and known.size_bytes == size_bytes:
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with suppress(FileNotFoundError):  # that backup lost it: it is copied again
                    target.hardlink_to(run.before / "warehouse" / file.key)
                    run.done[file.key] = known
                    return True
            if isinstance(self._store, LocalStore) and is_on_one_disk(run.folder, self._store.root):
                self._store.check_room(size_bytes)
            with opened_in(self._store, file.key) as source:
                run.done[file.key] = copy_stream(source, target, file.key)
        except (ObjectNotFoundError, ValueError):
            return False  # gone, or outside of the warehouse: its table is not whole without it
        except UnreadableError as error:
            run.unreadable[file.key] = f"cannot be read: {error.reason}"
            return False
        run.copied.append(run.done[file.key])
        return True

    def _forget(self, run: Run, wanted: set[str]) -> None:
        """Remove what an attempt copied and the last catalog does not name."""
        for key in run.done.keys() - wanted:
            (run.folder / "warehouse" / key).unlink()
            del run.done[key]


def finished_in(target: Path) -> list[Path]:
    """Return the backups in a folder, the oldest first."""
    return sorted(path for path in target.glob("2*") if (path / RECORD).is_file())


def newest(target: Path) -> Path | None:
    found = finished_in(target)
    return found[-1] if found else None


def opened_in(store: Store, key: str) -> BinaryIO:
    try:
        return store.open(key)
    except OSError as error:
        raise UnreadableError(Path(key), error) from error


def is_on_one_disk(one: Path, other: Path) -> bool:
    return one.stat().st_dev == other.stat().st_dev


def recorded(path: Path) -> BackedUpFile:
    with opened(path) as file:
        size_bytes, digest = pump(file, None)
    return BackedUpFile(path.name, size_bytes, digest)


def write_record(folder: Path, record: Backup) -> None:
    part = folder / (RECORD + PART)
    with part.open("wb") as file:
        file.write(msgspec.json.encode(record))
        file.flush()
        os.fsync(file.fileno())
    part.rename(folder / RECORD)


def read_record(folder: Path) -> Backup:
    """Return what a backup holds; `BackupDamagedError` when it does not say."""
    try:
        return msgspec.json.decode((folder / RECORD).read_bytes(), type=Backup)
    except (OSError, msgspec.DecodeError) as error:
        raise BackupDamagedError(folder, [f"{RECORD} cannot be read: {error}"]) from error


def check(folder: Path) -> Backup:
    """Read a backup back, every byte of it; `BackupDamagedError` when it is not as it was."""
    record = read_record(folder)
    found = [difference(folder / "catalog.db", record.catalog)]
    found += [difference(folder / "warehouse" / each.key, each) for each in record.files]
    if wrong := [each for each in found if each]:
        raise BackupDamagedError(folder, wrong)
    return record
