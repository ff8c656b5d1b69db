"""A database and a catalog on a folder: all that the gate needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lakehouse.catalog import Catalog
from lakehouse.database import Database, DatabaseSettings
from lakehouse.state import SqliteState
from lakehouse.storage import LocalStore


@contextmanager
def open_lake(root: Path) -> Iterator[tuple[Database, Catalog]]:
    (root / "warehouse").mkdir()
    settings = DatabaseSettings(
        directories=(root,),
        temp_dir=root / "spill",
        memory_max_bytes=1 << 30,
        temp_max_bytes=1 << 30,
    )
    with Database.open(settings) as database, SqliteState.open(root / "catalog.db") as state:
        yield database, Catalog(state, LocalStore(root / "warehouse"))
