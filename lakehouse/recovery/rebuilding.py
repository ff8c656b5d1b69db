"""`catalog.db` again, from the warehouse alone: its copy there, and the tables' own files."""

import asyncio
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from lakehouse.catalog import Rebuild, RebuildReport
from lakehouse.config import StorageConfig
from lakehouse.recovery import collections
from lakehouse.recovery.collections import RebuildCollection
from lakehouse.recovery.errors import NoWarehouseError
from lakehouse.state import SqliteState, damage_in, held_as_it_is, owner_id, replace_catalog
from lakehouse.storage import COPY_KEY, Store, Warehouse, open_warehouse
from lakehouse.vectors import About, open_lance

HERE = StorageConfig()
LANCE_BYTES = 64 * 1024 * 1024


class Rebuilt(msgspec.Struct, frozen=True):
    report: RebuildReport
    collections: list[RebuildCollection]
    silent: dict[str, str]
    """Folders of collections that say nothing of themselves, and why."""
    copy: str
    """What was begun from, in words."""
    applied: bool
    kept: str | None
    """Where the catalog that was there before lies now."""


def rebuild(path: Path, config: StorageConfig = HERE, *, apply: bool) -> Rebuilt:
    """Make the catalog of a data directory anew, or only say what that would do.

    Args:
        path: of the data directory; its warehouse is all that is read.
        config: where that lies; in the directory by default.

    Raises:
        NoWarehouseError: there is none in it.
        WarehouseNestedError: another data directory's lies around or inside of it.
        DataDirectoryInUseError: a server holds it; stop that first.
        StateTooNewError: a newer lakehouse wrote the directory, or the copy.
    """
    path = path.absolute()
    if config.warehouse is None and not (path / "warehouse").is_dir():
        raise NoWarehouseError(path / "warehouse")
    with held_as_it_is(path):
        (path / "spool").mkdir(mode=0o700, exist_ok=True)
        warehouse = open_warehouse(config, path / "warehouse", path / "spool")
        if apply:
            warehouse.check_alone(owner_id(path))
        store = warehouse.store
        with TemporaryDirectory(dir=path / "spool", prefix="rebuild-") as folder:
            new = Path(folder) / "catalog.db"
            words = begin(store, new)
            with SqliteState.open(new) as state:
                plan = Rebuild(state, store)
                found = asyncio.run(looked(warehouse, apply=apply))
                vectors = collections.plan_of(state, *found)
                if apply:
                    plan.apply()
                    collections.apply(state, vectors)
            kept = replace_catalog(path, new) if apply else None
            if apply:
                shutil.rmtree(path / "cache", ignore_errors=True)  # another one had the bucket
                warehouse.take(owner_id(path))
    return Rebuilt(
        plan.report(),
        vectors.report,
        vectors.unreadable,
        words,
        apply,
        str(kept) if kept else None,
    )


async def looked(warehouse: Warehouse, *, apply: bool) -> tuple[dict[str, About], dict[str, str]]:
    lance = open_lance(warehouse, LANCE_BYTES)
    return await collections.look(warehouse.store, lance, apply=apply)


def begin(store: Store, path: Path) -> str:
    """Put what the warehouse has as a copy of the catalog at `path`; say what that is."""
    if not store.exists(COPY_KEY):
        return "no copy of the catalog: there is none in the warehouse"
    with store.open(COPY_KEY) as source, path.open("wb") as target:
        shutil.copyfileobj(source, target)
    damage = damage_in(path)
    if damage is None:
        return f"the copy in {store.place}/{COPY_KEY}"
    path.unlink()
    return f"no copy of the catalog: that in {store.place}/{COPY_KEY} is damaged ({damage})"
