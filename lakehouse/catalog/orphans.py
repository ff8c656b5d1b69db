"""Files of tables and views that nothing names: what a killed process left, metadata of the past.

A file is an orphan by the clock of the disk that it lies on, long after whoever wrote it could
still be about to commit it.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lakehouse.catalog.errors import TableDamagedError
from lakehouse.catalog.expiry import OURS, Deleted
from lakehouse.catalog.manifests import Manifests, live
from lakehouse.catalog.metadata import Json, read_metadata
from lakehouse.catalog.models import TableName
from lakehouse.catalog.reachable import files_of, list_of
from lakehouse.catalog.relations import Relations
from lakehouse.catalog.rules import DELETES_FILES, switch
from lakehouse.catalog.tables import LoadedTable, Pointer, Tables
from lakehouse.catalog.view_files import orphans_of_views
from lakehouse.database import Connection
from lakehouse.state import State, Transaction
from lakehouse.storage import ObjectNotFoundError, Store

FOUND_MAX = 100_000
"""Orphans removed in one go, about 20 MB of names; the next run finds the others."""
START_S = 1.0
"""Between the start of the process, which takes the warehouse for itself, and of the catalog."""
KEPT = "kept-by-recovery.txt"
"""In a table's folder: nothing there is an orphan, until somebody removes this file."""
POINTERS = """
    SELECT table_namespace, table_name, metadata_location FROM iceberg_tables
    WHERE iceberg_type = 'TABLE' OR iceberg_type IS NULL
    UNION ALL
    SELECT table_namespace, table_name, metadata_location FROM dropped_table WHERE purging = 0
"""
"""Of all tables but those of which a purge has begun: some of what they name is gone."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A table, there or dropped, by the folder that its metadata lies in."""

    pointer: Pointer
    folder: str


class Orphans:
    def __init__(
        self,
        state: State,
        store: Store,
        tables: Tables,
        manifests: Manifests,
        relations: Relations,
    ) -> None:
        self._state = state
        self._store = store
        self._tables = tables
        self._manifests = manifests
        self._relations = relations
        self._began = time.monotonic()

    # Metadata files that fell off a table's log.

    def remove_old_metadata(
        self, cursor: Connection, table: LoadedTable, *, dry_run: bool = False
    ) -> Deleted:
        """Delete the metadata files before the oldest in the log; each names those before it."""
        location = table.metadata["location"]
        folder = f"{location}/"
        log = [each["metadata-file"] for each in table.metadata["metadata-log"]]
        if not log or not self._is_ours(location) or not may_delete(table.metadata):
            return Deleted()
        kept = {table.location, *log}
        done = Deleted()
        earlier = self._log_of(log[0])
        while earlier:
            before = self._log_of(earlier[0])  # read before it goes
            gone = [each for each in earlier if each not in kept and each.startswith(folder)]
            kept.update(earlier)
            held = set() if dry_run else self._relations.let_go(cursor, gone)
            done = self._remove([self._store.key(e) for e in gone if e not in held], done, dry_run)
            earlier = before
        return done

    def _log_of(self, location: str) -> list[str]:
        """Return the metadata files that the one at `location` names; none when it is gone."""
        try:
            key = self._store.key(location)
        except ValueError:
            return []  # from before the warehouse was moved: what that names is no name here
        if not self._store.exists(key):
            return []
        metadata = read_metadata(self._store.read(key))
        return [each["metadata-file"] for each in metadata["metadata-log"]]

    # Files that no table names.

    def remove(self, cursor: Connection, age_s: float, *, dry_run: bool = False) -> Deleted:
        """Delete what lies below `tables/` or `views/`, was changed `age_s` ago, and is unnamed.

        Args:
            age_s: seconds, by the clock of the store.

        Raises:
            TableDamagedError, ObjectNotFoundError, UnreadableFileError: what a table names is not
                known, so nothing was deleted.
        """
        before_s = self._store.now_s() - age_s
        all_of_them = self._store.folders(OURS.rstrip("/"), depth=2)
        folders = [each for each in all_of_them if not self._is_kept(each)]
        done = self._remove_from(folders, cursor, before_s, dry_run)
        views = self._of_views(before_s)
        done = self._remove(views, done, dry_run)
        if not dry_run:
            for folder in {key.rpartition("/metadata/")[0] for key in views}:
                self._store.delete_empty_folders(folder)
            self._store.remove_empty_folders(OURS.rstrip("/"), before_s)
        return done

    def _of_views(self, before_s: float) -> list[str]:
        keys = orphans_of_views(self._state, self._store, before_s)
        found = [key for key in keys if not self._is_kept(key.rpartition("/metadata/")[0])]
        return found[:FOUND_MAX]

    def remove_left(self, cursor: Connection, table: LoadedTable) -> Deleted:
        """Delete what processes before this one left in a table's folder.

        Nobody is about to commit it: they are dead.

        Raises:
            As `remove`.
        """
        folder = self._store.key(table.metadata["location"])
        if not folder.startswith(OURS):
            return Deleted()
        began_s = self._store.now_s() - (time.monotonic() - self._began)
        return self._remove_from([folder], cursor, began_s - START_S, dry_run=False)

    def keeps(self, table: LoadedTable) -> bool:
        """Whether a recovery left files in the table's folder for somebody to look at."""
        return self._is_kept(self._store.key(table.metadata["location"]))

    def _is_kept(self, folder: str) -> bool:
        return self._store.exists(f"{folder}/{KEPT}")

    def _remove_from(
        self, folders: Iterable[str], cursor: Connection, before_s: float, dry_run: bool
    ) -> Deleted:
        owners = self._owners()
        named_elsewhere: set[str] = set()
        known: set[Owner] = set()
        found: list[str] = []
        for folder in folders:
            old = {e.key for e in self._store.stored(folder) if e.changed_at_s < before_s}
            for owner in owners:
                if owner.folder == folder and old:
                    for key in self._named_now(owner):
                        old.discard(key)
                        if not key.startswith(f"{folder}/"):
                            named_elsewhere.add(key)
                    known.add(owner)
            found.extend(sorted(old)[: FOUND_MAX - len(found)])
        unnamed = set(found) - named_elsewhere
        for owner in set(owners) - known if unnamed else ():
            unnamed.difference_update(self._named_now(owner))
        before = {owner.folder for owner in owners}
        taken = tuple(f"{e.folder}/" for e in self._owners() if e.folder not in before)
        orphans = sorted(key for key in unnamed if not key.startswith(taken))
        held = set() if dry_run else self._held(cursor, orphans)
        return self._remove([key for key in orphans if key not in held], Deleted(), dry_run)

    def _owners(self) -> list[Owner]:
        def work(tx: Transaction) -> list[tuple[str, str, str]]:
            return tx.execute(POINTERS).fetchall()

        found = []
        for namespace, name, location in self._state.read(work):
            folder = self._store.key(location.rpartition("/metadata/")[0])
            found.append(Owner(Pointer(TableName(namespace, name), location), folder))
        return found

    def _named_now(self, owner: Owner) -> Iterator[str]:
        """Yield `_named` of a table that others change, expire and purge meanwhile.

        Raises:
            As `remove`: something is gone although the table is where it was.
        """
        try:
            yield from self._named(owner)
        except (TableDamagedError, ObjectNotFoundError):
            there = [each for each in self._owners() if each.folder == owner.folder]
            if owner in there:
                raise
            for moved_on in there:  # none when its purge has begun
                yield from self._named_now(moved_on)

    def _named(self, owner: Owner) -> Iterator[str]:
        """Yield the keys that a table names, some more than once, and all that it may not lose."""
        table = self._tables.load(owner.pointer)
        if not may_delete(table.metadata):
            yield from self._store.keys(owner.folder)
        for location in self._locations(table):
            yield self._store.key(location)

    def _locations(self, table: LoadedTable) -> Iterator[str]:
        metadata = table.metadata
        yield table.location
        yield from (each["metadata-file"] for each in metadata["metadata-log"])
        for each in (*metadata.get("statistics", ()), *metadata.get("partition-statistics", ())):
            yield each["statistics-path"]
        seen: set[str] = set()
        for snapshot in metadata["snapshots"]:
            yield snapshot["manifest-list"]
            for manifest in self._manifests.read_list(snapshot["manifest-list"]):
                if manifest.manifest_path not in seen:
                    seen.add(manifest.manifest_path)
                    yield manifest.manifest_path
                    yield from (f.location for f in self._manifests.live_files(live([manifest])))
        for location in self._expired(table):  # a killed process may have deleted some of it
            yield location
            for manifest in list_of(self._manifests, location):
                if manifest.manifest_path not in seen:
                    seen.add(manifest.manifest_path)
                    yield manifest.manifest_path
                    yield from (f.location for f in files_of(self._manifests, manifest))

    def _expired(self, table: LoadedTable) -> Sequence[str]:
        """Return the manifest lists of the snapshots whose files are not all deleted yet."""
        sql = "SELECT manifest_list FROM expired_snapshot WHERE table_uuid = ?"
        uuid = table.metadata["table-uuid"]
        found = self._state.read(lambda tx: tx.execute(sql, (uuid,)).fetchall())
        return [row[0] for row in found]

    def _is_ours(self, folder: str) -> bool:
        return self._store.key(folder).startswith(OURS)

    def _held(self, cursor: Connection, keys: Sequence[str]) -> set[str]:
        locations = [self._store.uri(key) for key in keys if key.endswith(".metadata.json")]
        return {self._store.key(each) for each in self._relations.let_go(cursor, locations)}

    def _remove(self, keys: Sequence[str], done: Deleted, dry_run: bool) -> Deleted:
        count, size_bytes = done.file_count, done.size_bytes
        for key in keys:
            size = self._store.size(key)
            if size is None:
                continue
            count, size_bytes = count + 1, size_bytes + size
            if not dry_run:
                self._store.delete(key)
        return Deleted(count, size_bytes)


def keep(store: Store, folder: str, why: str) -> str:
    """Have files stay that the catalog does not name, and return the key of what says so."""
    key = f"{folder}/{KEPT}"
    text = f"{why}\nWithout this file, what no table names here is removed as an orphan.\n"
    store.write(key, text.encode())
    return key


def may_delete(metadata: Json) -> bool:
    """Whether the table's files may be deleted at all."""
    return switch(metadata["properties"], DELETES_FILES)
