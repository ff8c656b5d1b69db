"""A data directory that was moved: its tables made those of the place where it lies now."""

from collections.abc import Sequence
from pathlib import Path

from lakehouse.catalog import RelocatedTable, parse_table_name, relocate
from lakehouse.config import CatalogConfig
from lakehouse.recovery.errors import OtherWarehouseError
from lakehouse.state import DataDirectory, Lease, open_state
from lakehouse.storage import LocalStore

HERE = CatalogConfig()


def relocate_directory(
    path: Path, old: str, new: str, config: CatalogConfig = HERE, *, without: Sequence[str] = ()
) -> list[RelocatedTable]:
    """Rewrite the metadata of every table that was written under `old`.

    Args:
        path: of the data directory.
        old: where its warehouse lay.
        new: where it lies.
        config: where its catalog lies; in the directory by default.
        without: names of tables to leave behind.

    Raises:
        OtherWarehouseError: the warehouse is not at `new`.
        DataDirectoryInUseError: a server holds the directory; stop that first.
        NothingToRelocateError, CannotRelocateError: nothing was changed.
    """
    root = (path / "warehouse").resolve()
    if Path(new.removeprefix("file://")).resolve() != root:
        raise OtherWarehouseError(new, root)
    names = [parse_table_name(each) for each in without]
    with (
        DataDirectory.open(path, has_catalog=config.uri is None) as directory,
        open_state(directory, config) as state,
        Lease.hold(state, directory.owner_id),
    ):
        return relocate(state, LocalStore(directory.warehouse), old, without=names)
