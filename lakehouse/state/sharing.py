"""A warehouse on disk that other users of this host read and write: the members of one group.

Engines open the files of tables themselves, as the user that they run as. So those are the group's,
and so are objects, which tables may be made of. The catalog, its copy, collections and the spool
are not.
"""

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lakehouse.errors import InvalidInputError
from lakehouse.state.data_directory import CATALOG, DataDirectory

UMASK = 0o007
THROUGH, PRIVATE, SHARED = 0o710, 0o2700, 0o2770
"""Of the data directory, which is passed through and never listed; of folders that are nobody
else's, and of those of tables: what is made in either is of the group, also when it moves."""
FILE, PRIVATE_FILE = 0o660, 0o600
CLOSED = ("_catalog", "_tmp", "vectors")
"""Below the warehouse: no engine reads these files."""


class GroupError(InvalidInputError):
    def __init__(self, group: str, reason: str) -> None:
        super().__init__(f"storage.group: the warehouse is not given to {group!r}: {reason}")


def share(directory: DataDirectory, group: str) -> None:
    """Let the members of a group into the folders of tables, and have what is made be theirs too.

    The first time each file there is looked at, later the folder at the top alone. The mask of this
    process lets the group read and write from here on.

    Raises:
        GroupError: there is no such group, or this process may not give it anything.
    """
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        raise GroupError(group, "there is no such group on this host") from None
    os.umask(UMASK)
    warehouse = directory.warehouse
    try:
        for name in CLOSED:
            (warehouse / name).mkdir(exist_ok=True)
            os.chown(warehouse / name, -1, gid)
            (warehouse / name).chmod(PRIVATE)
        if not is_of(warehouse, gid):
            for path in shared(warehouse):
                give(path, gid)
            give(warehouse, gid)  # last: what was broken off is begun anew
        os.chown(directory.path, -1, gid)
        directory.path.chmod(THROUGH)
    except PermissionError as error:
        reason = f"{error.filename}: {error.strerror}; this process must be a member, and own it"
        raise GroupError(group, reason) from error


def close_catalog(directory: DataDirectory) -> None:
    """Have the catalog be its owner's alone, whatever the mask of this process lets."""
    for ending in ("", "-wal", "-shm"):
        file = directory.path / f"{CATALOG}{ending}"
        if file.exists():
            file.chmod(PRIVATE_FILE)


def shared(warehouse: Path) -> Iterator[Path]:
    """Yield all that lies below the warehouse, but for what stays closed; links are left out."""
    for top in warehouse.iterdir():
        if top.name not in CLOSED and not top.is_symlink():
            yield top
            yield from (each for each in top.rglob("*") if not each.is_symlink())


def is_of(path: Path, gid: int) -> bool:
    found = path.stat()
    return found.st_gid == gid and stat.S_IMODE(found.st_mode) == SHARED


def give(path: Path, gid: int) -> None:
    os.chown(path, -1, gid)
    path.chmod(SHARED if path.is_dir() else FILE)
