"""A data directory that was moved: its tables made those of the place where it lies now."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lakehouse.catalog import RelocatedTable, parse_table_name, relocate
from lakehouse.config import Config
from lakehouse.recovery.errors import OtherWarehouseError
from lakehouse.state import DataDirectory, Lease, open_state
from lakehouse.storage import open_warehouse

HERE = Config()


def relocate_directory(
    path: Path, old: str, new: str, config: Config = HERE, *, without: Sequence[str] = ()
) -> list[RelocatedTable]:
    """Rewrite the metadata of every table that was written under `old`.

    Args:
        path: of the data directory.
        old: where its warehouse lay.
        new: where it lies.
        config: where its catalog and its warehouse lie; in the directory by default.
        without: names of tables to leave behind.

    Raises:
        OtherWarehouseError: the warehouse is not at `new`.
        WarehouseNestedError: another data directory's lies around or inside of it.
        DataDirectoryInUseError: a server holds the directory; stop that first.
        NothingToRelocateError, CannotRelocateError: nothing was changed.
    """
    root = config.storage.warehouse or str((path / "warehouse").resolve())
    if (new if "s3://" in new else str(Path(new.removeprefix("file://")).resolve())) != root:
        raise OtherWarehouseError(new, root)
    names = [parse_table_name(each) for each in without]
    with (
        DataDirectory.open(path, has_catalog=config.catalog.uri is None) as directory,
        open_state(directory, config.catalog) as state,
        Lease.hold(state, directory.owner_id),
    ):
        shutil.rmtree(directory.cache, ignore_errors=True)  # files get other content
        warehouse = open_warehouse(config.storage, directory.warehouse, directory.spool)
        warehouse.check_alone(directory.owner_id)
        warehouse.take(directory.owner_id)
        return relocate(state, warehouse.store, old, without=names)
