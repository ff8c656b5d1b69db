"""Copy a data directory, running or not, into `BACKUPS/<time>`: `backup.py DATA BACKUPS`.

First the catalog, then the files. A file of a table never changes once it is written, and the
catalog names only files that are on the disk; so what the copied catalog names is in the copy.
Files that the backup before holds already are hard links: a backup costs what is new. Needs
nothing but Python.
"""

import argparse
import os
import shutil
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

KEEP = 48
UNFINISHED = "_tmp"  # of the warehouse: what is being written just now


def backup(data: Path, backups: Path, keep: int = KEEP) -> Path:
    """Return the folder of the new backup; older ones than the newest `keep` are deleted."""
    backups.mkdir(mode=0o700, parents=True, exist_ok=True)
    earlier = sorted(backups.glob("2*"))
    partial = backups / ".partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)

    copy_catalog(data / "catalog.db", partial / "catalog.db")
    shutil.copy2(data / "format", partial / "format")
    before = earlier[-1] / "warehouse" if earlier else None
    copy_files(data / "warehouse", partial / "warehouse", before)

    os.sync()
    finished = backups / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S.%fZ")
    partial.rename(finished)
    for old in [*earlier, finished][:-keep]:
        shutil.rmtree(old)
    return finished


def copy_catalog(source_file: Path, target_file: Path) -> None:
    """Copy the catalog as it is at one moment, whoever writes to it."""
    with (
        closing(sqlite3.connect(source_file)) as source,
        closing(sqlite3.connect(target_file)) as target,
    ):
        source.backup(target)
        with target:
            target.execute("DELETE FROM lease")  # nobody holds the copy
        if target.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise SystemExit(f"{source_file} is damaged")


def copy_files(source: Path, target: Path, before: Path | None) -> None:
    """Copy a tree; a file that `before` has as it is becomes a link to that one."""
    for folder, names, files in os.walk(source):
        relative = Path(folder).relative_to(source)
        (target / relative).mkdir(mode=0o700)
        if relative.parts[:1] == (UNFINISHED,):
            names.clear()
            continue
        for name in files:
            known = before / relative / name if before else None
            with suppress(FileNotFoundError):  # an object that was deleted meanwhile
                copy_file(Path(folder) / name, target / relative / name, known)


def copy_file(source: Path, target: Path, known: Path | None) -> None:
    if known and known.is_file() and same(source, known):
        target.hardlink_to(known)
    else:
        shutil.copy2(source, target)


def same(one: Path, other: Path) -> bool:
    """Size and time decide: an object may be replaced under its key, a table's file never."""
    first, second = one.stat(), other.stat()
    return (first.st_size, first.st_mtime_ns) == (second.st_size, second.st_mtime_ns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("backups", type=Path)
    parser.add_argument("--keep", type=int, default=KEEP, help="how many, %(default)s by default")
    options = parser.parse_args()
    print(backup(options.data.resolve(), options.backups, options.keep))


if __name__ == "__main__":
    main()
