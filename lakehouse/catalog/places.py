"""Where what is adopted may lie: in the warehouse, in nobody else's folder, under a plain name.

A path of an adopted file is read by DuckDB, which expands a glob in it and takes what follows a `?`
for options. So each one is looked at, whether a request names it or a manifest does.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from lakehouse.catalog.errors import NotAdoptableError, NothingToAdoptError, PlaceTakenError
from lakehouse.catalog.models import TableName
from lakehouse.catalog.tables import Pointer
from lakehouse.storage import Store

PLAIN = re.compile(r"[A-Za-z0-9_/=.:-]+")
TABLES = "tables"
TABLES_DEPTH = 3
"""Maintenance knows folders `tables/<namespace>/<table>`; what lies deeper or higher it deletes."""
VIEWS = "views"
RESERVED = frozenset(["_catalog", "_tmp", "vectors", VIEWS])
POINTERS = """
    SELECT table_namespace, table_name, metadata_location, 0 FROM iceberg_tables
    WHERE iceberg_type = 'TABLE' OR iceberg_type IS NULL
    UNION ALL SELECT table_namespace, table_name, metadata_location, 1 FROM dropped_table
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table of the catalog lies, there or dropped."""

    pointer: Pointer
    folder: str
    """Its key."""
    is_dropped: bool

    def __str__(self) -> str:
        return f"{'dropped ' if self.is_dropped else ''}table {self.pointer.name}"


def places_of(rows: Iterable[tuple[str, str, str, int]], store: Store) -> list[Place]:
    """Return the places that the rows of `POINTERS` say; of another warehouse there are none."""
    found = []
    for namespace, name, location, is_dropped in rows:
        try:
            folder = store.key(location.rpartition("/metadata/")[0])
        except ValueError:
            continue
        found.append(Place(Pointer(TableName(namespace, name), location), folder, bool(is_dropped)))
    return found


def check_key(store: Store, key: str, reserved: Collection[str] = RESERVED) -> str:
    """Return `key`, a path below the warehouse that a file of a table may have.

    Args:
        reserved: folders of the warehouse where no such file lies.

    Raises:
        NotAdoptableError: no such path is read.
    """
    parts = key.split("/")
    if {"", ".", ".."} & set(parts):
        raise NotAdoptableError(
            key, "say the path from the warehouse on, such as landing/a.parquet"
        )
    if not PLAIN.fullmatch(key):
        raise NotAdoptableError(key, "a path has letters, digits and `_/=.:-` alone; rename it")
    if parts[0] in reserved:
        raise NotAdoptableError(key, f"{parts[0]}/ holds what belongs to the server")
    if parts[0] == "objects":
        raise NotAdoptableError(
            key, "objects of /v1/storage are added by POST /v1/catalog/register"
        )
    if store.is_linked(key):
        raise NotAdoptableError(key, "a link leads there; say where it really lies")
    return key


def check_there(store: Store, key: str, reserved: Collection[str] = RESERVED) -> str:
    """Return the key of a file that is there, as `check_key`.

    Raises:
        NothingToAdoptError: there is none.
    """
    if not store.exists(check_key(store, key, reserved)):
        raise NothingToAdoptError(key, "there is no such file in the warehouse")
    return key


def check_folder(key: str, places: Iterable[Place]) -> None:
    """Refuse a file in the folder of a table; `PlaceTakenError` says whose."""
    for place in places:
        if key.startswith(f"{place.folder}/"):
            raise PlaceTakenError(key, str(place))


def check_own_folder(folder: str, places: Iterable[Place]) -> None:
    """Refuse a table's folder that holds another table, or lies in one's folder."""
    for place in places:
        ours, theirs = f"{folder}/", f"{place.folder}/"
        if ours.startswith(theirs) or theirs.startswith(ours):
            raise PlaceTakenError(folder, str(place))
    parts = folder.split("/")
    if parts[0] == TABLES and len(parts) != TABLES_DEPTH:
        raise NotAdoptableError(folder, "below tables/ a table lies in tables/<namespace>/<table>")
