"""A warehouse that lies somewhere else now: the absolute paths in Iceberg's metadata, written anew.

New metadata files, lists and manifests are written next to the old ones; data files are not
touched. All pointers move in one transaction at the end, so a relocation that was killed has
changed nothing, and begins again.
"""

import secrets
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
from pyiceberg.typedef import Record

from lakehouse.catalog.avro import MANIFEST_PATH, Fields, rewritten
from lakehouse.catalog.errors import (
    CannotRelocateError,
    NothingToRelocateError,
    TablesElsewhereError,
    UnreadableFileError,
)
from lakehouse.catalog.metadata import Json, read_metadata, with_log_entry
from lakehouse.catalog.models import RelocatedTable, TableName
from lakehouse.catalog.orphans import keep
from lakehouse.catalog.tables import CATALOG_NAME, Pointer, metadata_location, now_ms
from lakehouse.catalog.view_files import view_pointers
from lakehouse.catalog.view_metadata import read_view
from lakehouse.catalog.views import next_location
from lakehouse.errors import LakehouseError
from lakehouse.names import folded
from lakehouse.state import State, Transaction
from lakehouse.storage import Store

SCHEME = "file://"
MANIFEST_LENGTH, CONTENT_OF_MANIFEST = 501, 517
DATA_FILE, FILE_PATH, CONTENT_OF_FILE, REFERENCED = 2, 100, 134, 143
POSITION_DELETES = 1
HOLDS_PATHS = "position deletes, files of another program with the paths of data files in them"

POINTERS = """
    SELECT 0, table_namespace, table_name, metadata_location FROM iceberg_tables
    WHERE catalog_name = ? AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)
    UNION ALL
    SELECT 1, table_namespace, table_name, metadata_location FROM dropped_table WHERE purging = 0
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the catalog says that a table is; dropped ones have a place too."""

    name: TableName
    location: str
    is_dropped: bool


@dataclass(frozen=True, slots=True)
class Moved:
    place: Place
    location: str
    """Of the new metadata file."""
    snapshots: int
    damage: str | None


def relocate(
    state: State, store: Store, old: str, *, without: Collection[TableName] = ()
) -> list[RelocatedTable]:
    """Make every table that was written under the root `old` one of this warehouse.

    Args:
        old: a path, a `file://` or an `s3://` location, where the warehouse lay.
        without: tables to take out of the catalog instead; their files stay.

    Raises:
        NothingToRelocateError: no table lies under `old`.
        CannotRelocateError: a table has deletes that name data files by their old paths.
    """
    return Relocation(state, store, old).run({folded(str(each)) for each in without})


def check_root(state: State, store: Store) -> None:
    """Raise `TablesElsewhereError` when the warehouse was moved: its tables name another root.

    A table of which nothing lies here is no reason: it is damaged, and the others are served.
    """
    there = [(place.name, place.location) for place in places(state)]
    there += [(view.name, view.location) for view in state.read(view_pointers)]
    for name, location in there:
        root = old_root(store, location)
        if root is not None:
            raise TablesElsewhereError(str(name), root, store.place)


def places(state: State) -> list[Place]:
    rows = state.read(lambda tx: tx.execute(POINTERS, (CATALOG_NAME,)).fetchall())
    return [Place(TableName(row[1], row[2]), row[3], bool(row[0])) for row in rows]


def old_root(store: Store, location: str) -> str | None:
    """Return the root that a location was made under, if its file lies in this warehouse now.

    That of a bucket is another one than a directory's, whatever lies here.
    """
    if location.startswith(store.uri("") + "/"):
        return None
    parts = plain(location).split("/")
    for number in range(1, len(parts)):
        with suppress(ValueError):  # no key
            if ".." not in parts and store.exists("/".join(parts[number:])):
                root = "/".join(parts[:number])
                return None if root == store.place else root
    if is_in_bucket(location) != is_in_bucket(store.place):
        return plain(location).partition("/tables/")[0]
    return None


def is_in_bucket(location: str) -> bool:
    return location.startswith("s3://")


def plain(location: str) -> str:
    """Return a location as a path; Java writes `file:/x`."""
    return location.removeprefix(SCHEME).removeprefix("file:")


class Relocation:
    def __init__(self, state: State, store: Store, old: str) -> None:
        self._state = state
        self._store = store
        self._old = old.rstrip("/") if is_in_bucket(old) else str(Path(plain(old)).absolute())
        self._written: list[str] = []
        self._done: dict[str, tuple[str, int]] = {}
        """Manifests by their old location: where the new one lies, and its bytes."""

    def run(self, without: Collection[str]) -> list[RelocatedTable]:
        there = [each for each in places(self._state) if self._is_old(each.location)]
        views = [v for v in self._state.read(view_pointers) if self._is_old(v.location)]
        if not there and not views:
            raise NothingToRelocateError(self._old, known_roots(self._state))
        left = [each for each in there if folded(str(each.name)) in without]
        going = [each for each in there if each not in left]
        self._refuse([each for each in going if self._has_position_deletes(each)])
        try:
            moved = [self._move(each) for each in going]
            self._written += [self._kept(each) for each in left]
            going_views = [(each, self._move_view(each)) for each in views]

            def commit(tx: Transaction) -> None:
                self._commit(tx, moved, left)
                for view, location in going_views:
                    tx.execute(
                        "UPDATE iceberg_tables SET metadata_location = ? WHERE catalog_name = ?"
                        " AND table_namespace = ? AND table_name = ?",
                        (location, CATALOG_NAME, *view.name),
                    )

            self._state.write(commit)
        except BaseException:
            for key in self._written:
                self._store.delete(key)
            raise
        return [
            *(RelocatedTable(str(m.place.name), m.snapshots, m.location, m.damage) for m in moved),
            *(RelocatedTable(str(each.name), 0, None, "taken out of the catalog") for each in left),
            *(RelocatedTable(str(view.name), 0, at, "a view") for view, at in going_views),
        ]

    # Paths.

    def _is_old(self, location: str) -> bool:
        return plain(location).startswith(f"{self._old}/")

    def _key(self, location: str) -> str:
        """Return the key in this warehouse of a location under the old root, or under ours."""
        if self._is_old(location):
            return plain(location)[len(self._old) + 1 :]
        return self._store.key(location)

    def _new(self, location: str) -> str:
        """Return a location as it is now; one that was outside of the warehouse stays."""
        return self._store.uri(self._key(location)) if self._is_old(location) else location

    def _beside(self, location: str, name: str) -> str:
        return f"{self._new(location).rpartition('/')[0]}/{name}"

    # What cannot be moved.

    def _kept(self, place: Place) -> str:
        """Have the files of a table that is left behind stay, and return the key that says so."""
        folder = self._key(place.location).rpartition("/metadata/")[0]
        return keep(self._store, folder, f"`--without` left the table {place.name} behind.")

    def _refuse(self, refused: Sequence[Place]) -> None:
        if refused:
            raise CannotRelocateError([str(each.name) for each in refused], HOLDS_PATHS)

    def _has_position_deletes(self, place: Place) -> bool:
        metadata = self._read(place)
        for snapshot in metadata["snapshots"] if metadata else ():
            for manifest in self._manifests_of(snapshot["manifest-list"], of_deletes=True):
                found: list[int] = []

                def look(
                    record: Record, fields: Callable[..., Fields], found: list[int] = found
                ) -> None:
                    file = record[fields()[DATA_FILE]]
                    found.append(file[fields(DATA_FILE)[CONTENT_OF_FILE]])

                self._rewritten(manifest, look, [])
                if POSITION_DELETES in found:
                    return True
        return False

    def _manifests_of(self, manifest_list: str, *, of_deletes: bool = False) -> list[str]:
        """Return the manifests of a list, or only those that name files of deletes."""
        found: list[str] = []

        def look(record: Record, fields: Callable[..., Fields]) -> None:
            at = fields()
            deletes = CONTENT_OF_MANIFEST in at and record[at[CONTENT_OF_MANIFEST]]
            if deletes or not of_deletes:
                found.append(record[at[MANIFEST_PATH]])

        self._rewritten(manifest_list, look, [])
        return found

    # Moving one view.

    def _move_view(self, view: Pointer) -> str:
        """Write the file of a view anew and return where; one that cannot be read stays named."""
        try:
            metadata = read_view(self._store.read(self._key(view.location)))
        except (LakehouseError, ValueError, OSError):
            return self._new(view.location)
        location = next_location(self._new(view.location))
        moved = {**metadata, "location": self._new(metadata["location"])}
        self._write(location, orjson.dumps(moved))
        return location

    # Moving one table.

    def _read(self, place: Place) -> Json | None:
        try:
            return read_metadata(self._store.read(self._key(place.location)))
        except (LakehouseError, ValueError, OSError):
            return None

    def _move(self, place: Place) -> Moved:
        metadata = self._read(place)
        if metadata is None:
            return Moved(place, self._new(place.location), 0, "its metadata file cannot be read")
        damages: list[str] = []
        snapshots = [self._moved_snapshot(each, damages) for each in metadata["snapshots"]]
        moved = {**self._with_paths(metadata), "snapshots": snapshots}
        moved = with_log_entry(moved, self._new(place.location), metadata, now_ms())
        location = self._beside(
            place.location, metadata_location(moved, place.location).rpartition("/")[2]
        )
        self._write(location, orjson.dumps(moved))
        return Moved(place, location, len(snapshots), damages[0] if damages else None)

    def _with_paths(self, metadata: Json) -> Json:
        """Return the metadata with every path in it that the specification knows."""
        moved = {**metadata, "location": self._new(metadata["location"])}
        moved["properties"] = {
            name: self._new(value)
            if name.startswith("write.") and name.endswith(".path")
            else value
            for name, value in metadata["properties"].items()
        }
        for entries, name in (
            ("metadata-log", "metadata-file"),
            ("statistics", "statistics-path"),
            ("partition-statistics", "statistics-path"),
        ):
            if metadata.get(entries):
                moved[entries] = [
                    {**each, name: self._new(each[name])} for each in metadata[entries]
                ]
        return moved

    def _moved_snapshot(self, snapshot: Json, damages: list[str]) -> Json:
        """Write a snapshot's list and manifests; what is gone or unreadable stays named."""
        old = snapshot["manifest-list"]
        # Written before the list is: what fails there is no damage of the list.
        moved = {each: self._moved_manifest(each, damages) for each in self._manifests_of(old)}

        def change(record: Record, fields: Callable[..., Fields]) -> None:
            at = fields()
            location = record[at[MANIFEST_PATH]]
            record[at[MANIFEST_PATH]] = self._new(location)
            if found := moved[location]:
                record[at[MANIFEST_PATH]], record[at[MANIFEST_LENGTH]] = found

        data = self._rewritten(old, change, damages)
        if data is None:
            return {**snapshot, "manifest-list": self._new(old)}
        location = self._beside(old, f"snap-{snapshot['snapshot-id']}-{uuid.uuid4()}.avro")
        self._write(location, data)
        return {**snapshot, "manifest-list": location}

    def _moved_manifest(self, old: str, damages: list[str]) -> tuple[str, int] | None:
        """Return the new manifest and its bytes, written the first time that one is asked for."""
        if old not in self._done:
            data = self._rewritten(old, self._move_file, damages)
            if data is None:
                return None
            location = self._beside(old, f"{uuid.uuid4()}-m{secrets.randbelow(10)}.avro")
            self._write(location, data)
            self._done[old] = location, len(data)
        return self._done[old]

    def _move_file(self, record: Record, fields: Callable[..., Fields]) -> None:
        file, at = record[fields()[DATA_FILE]], fields(DATA_FILE)
        for field_id in (FILE_PATH, REFERENCED):
            if field_id in at and file[at[field_id]] is not None:
                file[at[field_id]] = self._new(file[at[field_id]])

    def _rewritten(
        self, location: str, change: Callable[..., None], damages: list[str]
    ) -> bytes | None:
        try:
            key = self._key(location)
            try:
                return rewritten(self._store.read(key), change)
            except LakehouseError:
                raise
            except Exception as error:  # PyIceberg raises whatever its Avro reader meets
                raise UnreadableFileError(key, type(error).__name__) from error
        except (LakehouseError, ValueError) as error:
            damages.append(str(error))
            return None

    def _write(self, location: str, data: bytes) -> None:
        key = self._store.key(location)
        self._written.append(key)
        self._store.write(key, data)

    def _commit(self, tx: Transaction, moved: Sequence[Moved], left: Sequence[Place]) -> None:
        for each in moved:
            table, values = where(each.place)
            done = tx.execute(
                f"UPDATE {table} SET metadata_location = ? WHERE table_namespace = ?"
                " AND table_name = ? AND metadata_location = ?",
                (each.location, *values),
            )
            assert done.rowcount == 1, "we hold the directory"
        for place in left:
            table, values = where(place)
            tx.execute(
                f"DELETE FROM {table} WHERE table_namespace = ? AND table_name = ?"
                " AND metadata_location = ?",
                values,
            )
        # Files that were to be deleted: nothing names them any more, so they go as orphans.
        sql = "SELECT DISTINCT manifest_list FROM expired_snapshot"
        for (location,) in tx.execute(sql).fetchall():
            if self._is_old(location):
                tx.execute("DELETE FROM expired_snapshot WHERE manifest_list = ?", (location,))


def where(place: Place) -> tuple[str, tuple[str, str, str]]:
    table = "dropped_table" if place.is_dropped else "iceberg_tables"
    return table, (*place.name, place.location)


def known_roots(state: State) -> list[str]:
    """Return up to three folders that tables lie in, for the error that says none is there."""
    return sorted({plain(each.location).partition("/tables/")[0] for each in places(state)})[:3]
