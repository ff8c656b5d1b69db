"""A backup put back as a data directory, wherever that lies."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lakehouse.catalog import NothingToRelocateError, parse_table_name, relocate
from lakehouse.recovery.backups import RECORD, check, newest, read_record
from lakehouse.recovery.copying import copy_file, filling, sync_tree
from lakehouse.recovery.errors import BackupDamagedError, NoBackupError, NotEmptyError
from lakehouse.recovery.models import Backup, RestoreReport
from lakehouse.state import SqliteState, begun_restore, held_as_it_is
from lakehouse.storage import LocalStore

COUNT = "SELECT count(*) FROM iceberg_tables WHERE iceberg_type = 'TABLE' OR iceberg_type IS NULL"


def restore(source: Path, path: Path, *, without: Sequence[str] = ()) -> RestoreReport:
    """Make the data directory `path` of a backup, or of the newest one in a folder of backups.

    Every file is compared with the checksum that it was backed up with. Killed on the way, it
    leaves a directory that no server starts on.

    Args:
        path: not there, or empty.
        without: names of tables that cannot be moved to another path, to leave behind.

    Raises:
        NoBackupError: there is none in `source`.
        NotEmptyError: something lies in `path`.
        BackupDamagedError: a file is not what was backed up; nothing is left of the restore.
        CannotRelocateError: a table cannot lie at another path; nothing is left of the restore.
        NoRoomError: the disk is full; nothing is left of the restore.
    """
    folder = backup_in(source)
    path = path.absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise NotEmptyError(path)
    record = read_record(folder)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with held_as_it_is(path), filling(path), begun_restore(path):
            tables = put_back(folder, record, path, without)
            sync_tree(path)
    except BaseException:
        # Its mark goes last: nobody starts on what is left if this is cut short, too.
        for each in sorted(path.iterdir(), key=lambda each: each.name == "format"):
            shutil.rmtree(each) if each.is_dir() else each.unlink()
        raise
    size_bytes = sum(each.size_bytes for each in record.files)
    return RestoreReport(
        str(folder), record.made_at, len(record.files), size_bytes, tables, record.damaged
    )


def backup_in(source: Path) -> Path:
    """Return the backup that `source` is, or the newest one in it."""
    found = source if (source / RECORD).is_file() else newest(source)
    if found is None:
        raise NoBackupError(source)
    return found


def verify(source: Path) -> tuple[Path, Backup]:
    """Read a backup back, every byte of it, and return it.

    Raises:
        NoBackupError, BackupDamagedError: there is none, or it is not what was written.
    """
    folder = backup_in(source)
    return folder, check(folder)


def put_back(folder: Path, record: Backup, path: Path, without: Sequence[str]) -> int:
    """Copy everything, the catalog last, and return how many tables there are."""
    warehouse = path / "warehouse"
    warehouse.mkdir(mode=0o700)
    for wanted in record.files:
        try:
            found = copy_file(folder / "warehouse" / wanted.key, warehouse / wanted.key, wanted.key)
        except FileNotFoundError:
            raise BackupDamagedError(folder, [f"{wanted.key} is gone"]) from None
        if found != wanted:
            raise BackupDamagedError(folder, [f"{wanted.key} is not what was backed up"])
    catalog = path / "catalog.db.restoring"
    copied = copy_file(folder / "catalog.db", catalog, record.catalog.key)
    if copied != record.catalog:
        raise BackupDamagedError(folder, ["catalog.db is not what was backed up"])
    store = LocalStore(warehouse)
    with SqliteState.open(catalog) as state:
        if store.place != record.warehouse:
            names = [parse_table_name(each) for each in without]
            with suppress(NothingToRelocateError):  # a backup without tables
                relocate(state, store, record.warehouse, without=names)
        # Items may be newer than the catalog: collections are compared with the tables they follow.
        state.write(lambda tx: tx.execute("DELETE FROM watermark").rowcount)
        count = state.read(lambda tx: tx.execute(COUNT).fetchone())
    catalog.rename(path / "catalog.db")
    return int(count[0])
