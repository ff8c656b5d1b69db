"""Where the state lies: in `catalog.db`, or in the PostgreSQL that `catalog.uri` names."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from lakehouse.config import CatalogConfig, catalog_password
from lakehouse.state.data_directory import DataDirectory, has_tables, held_as_it_is
from lakehouse.state.errors import CatalogLostError, CatalogNotMovedError, NoCatalogError
from lakehouse.state.lease import Lease
from lakehouse.state.sqlite import SqliteState, merge_log
from lakehouse.state.state import State

if TYPE_CHECKING:
    from lakehouse.state.postgres import PostgresPlace


@contextmanager
def open_state(directory: DataDirectory, config: CatalogConfig) -> Iterator[State]:
    """Open the state of a data directory, and close it at the end.

    Raises:
        StateDamagedError, StateTooNewError: it cannot be read.
        CatalogUnreachableError, StateRefusedError: PostgreSQL does not answer, or refuses us.
        CatalogNotMovedError: the directory has a catalog of its own, beside that in PostgreSQL.
        CatalogLostError: there are tables, and PostgreSQL has never heard of them.
    """
    if config.uri is None:
        with SqliteState.open(directory.catalog_file) as catalog_file:
            yield catalog_file
        return
    if directory.catalog_file.exists():
        raise CatalogNotMovedError(directory.path)
    from lakehouse.state.postgres import PostgresState  # 60 ms that SQLite does without

    def refuse_lost() -> None:
        if has_tables(directory.path):
            raise CatalogLostError(directory.path)

    with PostgresState.open(place_of(config), when_new=refuse_lost) as state:
        yield state


def place_of(config: CatalogConfig) -> "PostgresPlace":
    from lakehouse.state.postgres import PostgresPlace

    assert config.uri is not None, "only PostgreSQL has a place"
    return PostgresPlace(config.uri, catalog_password(config), config.connections_max)


def catalog_server(config: CatalogConfig) -> str:
    """Return the version of the PostgreSQL that has the catalog, asked now.

    Raises:
        CatalogUnreachableError, StateRefusedError: it does not answer, or refuses us.
    """
    from lakehouse.state.postgres import check_reachable

    return check_reachable(place_of(config))


def move_catalog(path: Path, config: CatalogConfig) -> tuple[int, Path]:
    """Put the catalog of a data directory into PostgreSQL, once and whole.

    The file stays beside under another name. Returns the number of tables, and that name.

    Args:
        path: of the data directory; no server may hold it.

    Raises:
        NoCatalogError: there is no `catalog.db`.
        CatalogNotEmptyError: the database has tables already; nothing was changed.
        CatalogInUseError: another data directory writes to it; nothing was changed.
    """
    from lakehouse.state.postgres import PostgresState

    file = path / "catalog.db"
    if not file.exists():
        raise NoCatalogError(path)
    with (
        held_as_it_is(path),
        PostgresState.open(place_of(config)) as state,
        Lease.hold(state, f"move of {path}"),
    ):
        with SqliteState.open(file):  # migrated, if an older version wrote it
            pass
        merge_log(file)
        count = state.take_over(file)
        kept = path / f"catalog.db.moved-{datetime.now(UTC):%Y-%m-%dT%H%M%S.%fZ}"
        shutil.move(file, kept)
    return count, kept
