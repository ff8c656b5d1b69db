"""The data directory: one format, one owner, one process in it."""

import errno
import fcntl
import logging
import os
import socket
import stat
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec

from lakehouse import __version__
from lakehouse.state.errors import (
    CatalogLostError,
    DataDirectoryInUseError,
    DataDirectoryUnusableError,
    StateDamagedError,
    StateTooNewError,
)
from lakehouse.state.files import empty, sync_directory, write_whole
from lakehouse.state.migrations import FORMAT
from lakehouse.state.sqlite import connect, copy_database, merge_log, open_writer, step_of

log = logging.getLogger(__name__)

CATALOG = "catalog.db"
HOLDER_MAX_BYTES = 4096
FOLDERS = ("warehouse", "spool", "cache", "uploads")
"""Of a data directory: what lies in them is ours to delete."""
RESTORING = "restoring"
"""The format of a directory that a restore has not finished: nobody starts on it."""


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock, as it says itself in the lock file."""

    pid: int
    host: str
    since: datetime
    address: str | None = None

    def __str__(self) -> str:
        where = f" at {self.address}" if self.address else ""
        since = self.since.isoformat(timespec="seconds")
        return f"PID {self.pid} on {self.host}{where}, since {since}"


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """An open data directory. While it is open no other process opens it."""

    path: Path
    owner_id: str
    """Of this directory, the same after a restart: what the lease in the catalog is held under."""

    @property
    def catalog_file(self) -> Path:
        return self.path / CATALOG

    @property
    def spool(self) -> Path:
        """Uploads in flight, spill, results: nothing of value, emptied at each start."""
        return self.path / "spool"

    @property
    def cache(self) -> Path:
        """Copies of what lies in a bucket: nothing of value, kept over a restart."""
        return self.path / "cache"

    @property
    def warehouse(self) -> Path:
        return self.path / "warehouse"

    @classmethod
    @contextmanager
    def open(
        cls, path: Path, *, address: str | None = None, has_catalog: bool = True
    ) -> Iterator[Self]:
        """Make the directory if need be, lock it, bring it to our format, empty its spool.

        Args:
            path: made with mode 0700.
            address: where this process will be reached; the next one that wants in is told.
            has_catalog: whether the catalog lies in it; else it is in PostgreSQL.

        Raises:
            DataDirectoryInUseError: another process holds it; the message names that process.
            DataDirectoryUnusableError: it cannot be made, is no directory of ours to write, or lies
                inside of another one's, or one inside of what would be its own folders.
            StateTooNewError: a newer lakehouse wrote it; nothing was touched.
            CatalogLostError: there are tables and no catalog; nothing was touched.
        """
        path = path.absolute()
        refuse_inner(path)
        make_private(path)
        with locked(path, address):
            found = read_format(path)
            if found is None:
                refuse_outer(path)
            if has_catalog:
                refuse_lost_catalog(path)
            if found is not None and found < FORMAT:
                bring_up(path, found)
            empty(path / "spool")
            (path / "warehouse").mkdir(mode=0o700, exist_ok=True)
            if found != FORMAT or not (path / "format").exists():
                write_whole(path / "format", f"{FORMAT}\nwritten by lakehouse {__version__}\n")
            owner = owner_id(path)
            sync_directory(path)
            yield cls(path, owner)


def refuse_inner(path: Path) -> None:
    """Refuse a directory inside of another data directory.

    That one empties its spool, and takes what its tables do not name for what a killed process
    left.

    Raises:
        DataDirectoryUnusableError: it lies in one.
    """
    for outer in path.resolve().parents:
        if is_data_directory(outer):
            raise DataDirectoryUnusableError(path, f"it lies inside of another one, {outer}")


def refuse_outer(path: Path) -> None:
    """Refuse to begin a data directory around another one that its folders would swallow.

    Raises:
        DataDirectoryUnusableError: one lies in them.
    """
    for name in FOLDERS:
        for inner, _, _ in os.walk(path / name):
            if is_data_directory(Path(inner)):
                raise DataDirectoryUnusableError(path, f"another one, {inner}, lies inside of it")


def is_data_directory(path: Path) -> bool:
    """Whether a server has begun here; False where we may not look."""
    with suppress(OSError):
        return (path / "format").is_file() and (path / "owner").is_file()
    return False


@contextmanager
def held_as_it_is(path: Path) -> Iterator[None]:
    """Lock a directory that is there; nothing in it is made, migrated or emptied.

    Raises:
        DataDirectoryInUseError: another process holds it; the message names that process.
        DataDirectoryUnusableError: it is no directory of ours to write.
        StateTooNewError: a newer lakehouse wrote it.
    """
    with locked(path, None):
        with suppress(StateDamagedError):
            read_format(path)
        yield


def refuse_lost_catalog(path: Path) -> None:
    """Refuse a directory whose tables nothing names any more: its catalog is gone, or is none.

    An empty catalog would be copied over the last copy of the full one, and maintenance would
    take every file for an orphan.

    Raises:
        CatalogLostError: there are tables and no catalog.
        StateDamagedError: what is there in its place is no database.
    """
    if (path / CATALOG).exists() and step_of(path / CATALOG) > 0:
        return  # of 0 is an empty file, or a database that is not ours
    if has_tables(path):
        raise CatalogLostError(path)


def has_tables(path: Path) -> bool:
    """Whether tables or views lie in a directory, or a copy of a catalog that names some."""
    warehouse = path / "warehouse"
    left = [warehouse / "_catalog" / CATALOG, *warehouse.glob("tables/*/*/metadata")]
    left += warehouse.glob("views/*/*/metadata/0*.metadata.json")
    return any(each.exists() for each in left)


def replace_catalog(path: Path, new: Path) -> Path | None:
    """Make `new` the catalog of a directory that we hold; return where the old one is now.

    Args:
        new: on the same file system, without a write-ahead log.
    """
    current = path / CATALOG
    kept = None
    if current.exists():
        kept = path / f"{CATALOG}.before-{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}"
        merge_log(current)
        kept.hardlink_to(current)  # there is a catalog at every moment
        for suffix in ("-wal", "-shm"):  # of one that is damaged; the new one must not read it
            log_file = current.with_name(current.name + suffix)
            if log_file.exists():
                log_file.rename(kept.with_name(kept.name + suffix))
        sync_directory(path)
    new.replace(current)
    sync_directory(path)
    return kept


@contextmanager
def begun_restore(path: Path) -> Iterator[None]:
    """Have nobody start on a directory that we hold, unless the block comes to its end."""
    write_whole(path / "format", f"{RESTORING}\n")
    yield
    (path / "format").unlink()  # the catalog says its own
    sync_directory(path)


def make_private(path: Path) -> None:
    """Make the directory, readable by its owner alone.

    One that is there and neither empty nor ours keeps its mode: `--data /tmp` must not close /tmp.
    """
    try:
        if not path.exists():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(path.parent)
        ours = (path / "format").exists() or not any(path.iterdir())
        mode = stat.S_IMODE(path.stat().st_mode)
        if ours and mode != 0o700:
            path.chmod(0o700)
        elif mode & 0o077:
            log.warning("the data directory %s can be entered by others (mode %o)", path, mode)
    except OSError as error:
        raise DataDirectoryUnusableError(path, (error.strerror or str(error)).lower()) from error


@contextmanager
def locked(path: Path, address: str | None) -> Iterator[None]:
    """Hold the lock of the directory. The kernel lets go of it when the process is gone."""
    try:
        descriptor = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirectoryUnusableError(path, (error.strerror or str(error)).lower()) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise
            raise DataDirectoryInUseError(path, holder(descriptor)) from error
        since = datetime.now(UTC).replace(microsecond=0)
        own = Holder(os.getpid(), socket.gethostname(), since, address)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, msgspec.json.encode(own) + b"\n", 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)  # the file stays: whoever removes it could let two in


def holder(descriptor: int) -> str:
    """Return who holds the lock, as well as its file says."""
    try:
        return str(msgspec.json.decode(os.pread(descriptor, HOLDER_MAX_BYTES, 0), type=Holder))
    except msgspec.DecodeError:
        return "another process"


def served_at(path: Path) -> str | None:
    """Return where the server that holds the directory listens, if it says so; it may be gone."""
    try:
        return msgspec.json.decode((path / "lock").read_bytes(), type=Holder).address
    except (OSError, msgspec.DecodeError):
        return None


def read_format(path: Path) -> int | None:
    """Return the format of the directory; None for a new one.

    Raises:
        StateTooNewError: we do not know that format.
        DataDirectoryUnusableError: the file says no number, or that a restore did not end.
    """
    try:
        number, _, rest = (path / "format").read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        # Killed before the file was written, or by a draft that wrote none: the catalog knows.
        number = str(step_of(path / CATALOG)) if (path / CATALOG).exists() else "0"
        rest = ""
    if number == RESTORING:
        why = "a restore into it was cut short; empty it, and restore again"
        raise DataDirectoryUnusableError(path, why)
    if not (number.isascii() and number.isdecimal()):
        raise DataDirectoryUnusableError(path, f"its format file says {number[:40]!r}")
    if int(number) > FORMAT:
        found = f"format {number}, {rest.strip() or 'written by an unknown version'}"
        ours = f"lakehouse {__version__}, which knows formats up to {FORMAT}"
        raise StateTooNewError(f"the data directory {path}", found, ours)
    return int(number) or None


def bring_up(path: Path, found: int) -> None:
    """Migrate the directory from an older format; the catalog as it was stays beside it."""
    if not (path / CATALOG).exists():
        return
    copy = path / f"{CATALOG}.format-{found}"
    if not copy.exists():  # left by a start that was killed on the way: that one is the original
        unfinished = path / f"{CATALOG}.copying"
        unfinished.unlink(missing_ok=True)
        with closing(connect(path / CATALOG)) as source:
            copy_database(source, unfinished)
        unfinished.rename(copy)
    open_writer(path / CATALOG).close()
    log.info("the data directory %s went from format %d to %d; copy: %s", path, found, FORMAT, copy)


def owner_id(path: Path) -> str:
    """Return the id of the directory, made at its first start."""
    file = path / "owner"
    try:
        return str(uuid.UUID(file.read_text(encoding="utf-8").strip()))
    except (FileNotFoundError, ValueError):
        made = str(uuid.uuid4())
        write_whole(file, made + "\n")
        return made
