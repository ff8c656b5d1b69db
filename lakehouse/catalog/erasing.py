"""Rows that leave for good: out of the table, and out of every file that its snapshots reach.

A delete leaves the rows in the files of older snapshots. Here those snapshots expire too and the
files go, before this returns. What it cannot reach, it refuses before anything is changed: rows
that a tag or a branch keeps, and files that belong to whoever registered them.
"""

import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lakehouse.catalog.errors import (
    EmptyTableError,
    ErasureRefusedError,
    ErasureUnfinishedError,
    TableNotFoundError,
)
from lakehouse.catalog.expiry import Expiry
from lakehouse.catalog.health import naming_damage
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.manifests import ManifestFile, Manifests, holds_data, live, names_gone
from lakehouse.catalog.metadata import MAIN, as_ours, current_snapshot_id, schema_of
from lakehouse.catalog.models import TableName
from lakehouse.catalog.orphans import KEPT, Orphans
from lakehouse.catalog.relations import Relations, files_sql, matching
from lakehouse.catalog.row_changes import RowChanges
from lakehouse.catalog.row_plans import RowCounts, erasure
from lakehouse.catalog.rules import DELETES_FILES, switch
from lakehouse.catalog.scans import FILE, free_name
from lakehouse.catalog.table import TableState, table_state
from lakehouse.catalog.tables import LoadedTable, Tables
from lakehouse.database import Connection, quoted
from lakehouse.failpoints import reach
from lakehouse.state import State
from lakehouse.storage import Store

FILES_AT_ONCE = 500
GONE = ""
READERS_WAIT_S, READERS_LOOK_S = 30.0, 0.2


@dataclass(frozen=True, slots=True)
class Erased:
    table: TableState
    rows: RowCounts
    rewritten_files: int
    expired_snapshots: int
    deleted_files: int


@dataclass(frozen=True, slots=True)
class Reached:
    """The data files of a table's snapshots, rows that others deleted in them included.

    Snapshots share manifests: each is here once, however many there are.
    """

    manifests: dict[int, set[str]]
    """Locations of the manifests of each snapshot, by its id."""
    files: dict[str, set[str]]
    """Locations of the files of each manifest."""

    def all(self) -> set[str]:
        return set().union(*self.files.values()) - {GONE}

    def of(self, snapshot_id: int | None) -> set[str]:
        there = self.manifests.get(snapshot_id, set()) if snapshot_id is not None else set()
        return set().union(*(self.files[each] for each in there))

    def snapshots_with(self, files: set[str]) -> list[int]:
        """Return the snapshots that reach one of `files`."""
        dirty = {path for path, own in self.files.items() if own & files}
        return [each for each, own in self.manifests.items() if own & dirty]


class Erasing:
    """Erases rows from the tables of one catalog. Its methods block."""

    def __init__(
        self,
        tables: Tables,
        manifests: Manifests,
        relations: Relations,
        store: Store,
        rows: RowChanges,
        expiry: Expiry,
        orphans: Orphans,
        state: State,
        keys: IdempotencyKeys,
    ) -> None:
        self._tables = tables
        self._manifests = manifests
        self._relations = relations
        self._store = store
        self._rows = rows
        self._expiry = expiry
        self._orphans = orphans
        self._state = state
        self._keys = keys
        self.forget: Callable[[TableName], None] = lambda name: None
        """Forgets, before an erasure is answered, what others keep of the rows of a table."""

    def erase(
        self,
        cursor: Connection,
        name: TableName,
        where: str,
        *,
        idempotency: Idempotency[Erased] | None = None,
        begun: Callable[[], None] = lambda: None,
    ) -> Erased:
        """Delete rows so that no file of the table holds them when this returns.

        Every file of every snapshot is read once. Sent again after it was cut short, it goes on.

        Args:
            where: a SQL expression over the table's columns that the gate let through; rows of
                older snapshots are read with these columns too.
            begun: called once the rows are out of the table; what comes then can be cut short and
                sent again, not undone.

        Raises:
            ErasureRefusedError: a reference or a registered object keeps rows. Nothing was done.
            ErasureUnfinishedError: statements read the old files for half a minute; send it again.
            As `RowChanges.delete`.
        """
        with self._tables.rewriting(name):  # nobody moves such rows into a file we have not seen
            found = self._refused_or_found(cursor, name, where)
            plan = erasure(where, frozenset(found))
            changed = self._rows.run_held(cursor, name, plan, forgets=True)
            begun()
            reach("after-erase-commit")
            # What was appended while the files were read is out of the table, too.
            found |= self._found_since(cursor, name, where, found)
            expired = self._expire(name, found)
            deleted = self._delete(name)
            table = self._load(name)
            deleted += self._orphans.remove_left(cursor, table).file_count
        self.forget(name)
        erased = Erased(table_state(table), changed.rows, changed.rewritten_files, expired, deleted)
        reach("before-erase-key")
        # Last, and not with the delete: who asks again after a crash must not be told it is done.
        self._state.write(lambda tx: self._keys.record(tx, idempotency, erased))
        return erased

    def _refused_or_found(self, cursor: Connection, name: TableName, where: str) -> set[str]:
        """Return the files that hold such rows, if they can all be erased."""
        table, _lease = self._leased(name)
        with naming_damage(table.name):
            reached = self._reached(table)
            found = self._holding(cursor, table, where, reached.all())
        self._check(table, reached, found)
        return found

    def _found_since(
        self, cursor: Connection, name: TableName, where: str, found: set[str]
    ) -> set[str]:
        """Return the files that hold such rows in snapshots that are there now."""
        table, _lease = self._leased(name)
        with naming_damage(name):
            reached = self._reached(table)
            # What the table reads now was appended after the delete: those rows are new ones.
            past = reached.all() - reached.of(current_snapshot_id(table.metadata))
            return self._holding(cursor, table, where, past - found)

    def _leased(self, name: TableName) -> tuple[LoadedTable, object]:
        """Return a table, and what keeps the files of all its snapshots as long as it is held."""
        while True:
            table = self._load(name)
            lease = self._relations.lease(table.metadata["table-uuid"], ids_of(table))
            if ids_of(table) <= ids_of(self._load(name)):  # else some expired just before it
                return table, lease

    def _load(self, name: TableName) -> LoadedTable:
        table = self._tables.find(name)
        if table is None:
            raise TableNotFoundError(str(name))
        if not schema_of(table.metadata)["fields"]:
            raise EmptyTableError(str(name))
        return table

    def _reached(self, table: LoadedTable) -> Reached:
        """Return the files of all snapshots.

        In a partitioned table what a manifest says of a file that is out is a value of its rows,
        and nobody can read them any more: such a manifest has the file `GONE`.
        """
        partitioned = any(each["fields"] for each in table.metadata["partition-specs"])
        reached = Reached({}, {})
        for snapshot in table.metadata["snapshots"]:
            own = reached.manifests.setdefault(snapshot["snapshot-id"], set())
            for each in self._manifests.read_list(snapshot["manifest-list"]):
                own.add(each.manifest_path)
                if each.manifest_path not in reached.files:
                    reached.files[each.manifest_path] = self._files_of(each, partitioned)
        return reached

    def _files_of(self, manifest: ManifestFile, partitioned: bool) -> set[str]:
        data = [each for each in live([manifest]) if holds_data(each)]
        files = {each.location for each in self._manifests.live_files(data)}
        return {*files, GONE} if partitioned and names_gone(manifest) else files

    def _holding(
        self, cursor: Connection, table: LoadedTable, where: str, files: set[str]
    ) -> set[str]:
        """Return those of `files` with a row of which `where` is true."""
        fields = schema_of(table.metadata)["fields"]
        found_by = matching(table.metadata, fields)
        if found_by is None:
            raise ErasureRefusedError(
                str(table.name),
                "its columns cannot be found in every older file; overwrite the table with the "
                "rows that stay and let the older snapshots expire",
            )
        column = free_name(fields, f"{FILE}_{secrets.token_hex(8)}")
        found: set[str] = set()
        for some in batches(sorted(files)):
            rows = files_sql(fields, some, found_by=found_by, file_column=column)
            numbers = cursor.execute(
                f"SELECT DISTINCT {quoted(column)} FROM ({rows}) AS {quoted(table.name.name)}"
                f" WHERE ({where})"
            ).fetchall()
            found |= {some[number] for (number,) in numbers}
        return found

    def _check(self, table: LoadedTable, reached: Reached, found: set[str]) -> None:
        """Refuse what erasing cannot reach."""
        name, metadata = str(table.name), table.metadata
        own = f"{as_ours(metadata['location'])}/" if self._expiry.is_ours(table) else None
        objects = [
            self._store.key(each)
            for each in sorted(found)
            if own is None or not as_ours(each).startswith(own)
        ]
        if objects:
            what = f"{objects[0]}, which was registered or adopted, holds such rows"
            raise ErasureRefusedError(name, f"{what}; it is yours: load a file without them")
        if not switch(metadata["properties"], DELETES_FILES):
            raise ErasureRefusedError(name, f"its property {DELETES_FILES} is false")
        if self._orphans.keeps(table):
            what = f"{self._store.key(metadata['location'])}/{KEPT} says that files there are kept"
            raise ErasureRefusedError(name, f"{what}, which may hold such rows; remove it first")
        dirty = reached.snapshots_with({*found, GONE})
        keeping = sorted(
            key
            for key, each in metadata["refs"].items()
            if key != MAIN and each["snapshot-id"] in dirty
        )
        if keeping:
            raise ErasureRefusedError(
                name, f"the reference {keeping[0]!r} keeps such rows; delete it or move it on first"
            )

    def _expire(self, name: TableName, found: set[str]) -> int:
        """Make the table forget every snapshot that reaches one of the files."""
        table, lease = self._leased(name)
        with naming_damage(name):
            dirty = self._reached(table).snapshots_with({*found, GONE})
        del lease
        current = current_snapshot_id(table.metadata)
        named = {each["snapshot-id"] for each in table.metadata["refs"].values()}
        gone = [each for each in dirty if each != current]
        if kept := [each for each in gone if each in named]:
            raise ErasureRefusedError(
                str(name), f"a reference has come to name {kept[0]} meanwhile"
            )
        return self._expiry.expire(name, gone) if gone else 0

    def _delete(self, name: TableName) -> int:
        """Delete the files, once nobody reads them, and return how many those were.

        Raises:
            ErasureUnfinishedError: statements that began before have not ended in time.
        """
        deadline = time.monotonic() + READERS_WAIT_S
        count = 0
        while True:
            deleted = self._expiry.delete(name)
            count += deleted.file_count
            if not deleted.waiting:
                return count
            if time.monotonic() > deadline:
                raise ErasureUnfinishedError(str(name), deleted.waiting)
            time.sleep(READERS_LOOK_S)


def ids_of(table: LoadedTable) -> set[int]:
    return {each["snapshot-id"] for each in table.metadata["snapshots"]}


def batches(files: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(files), FILES_AT_ONCE):
        yield files[start : start + FILES_AT_ONCE]
