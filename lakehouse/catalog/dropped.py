"""Dropped tables: they keep their files, and come back as they were, until they are purged.

A dropped table is a row of `dropped_table`. Objects that it reads stay registered: storage must
not delete what would be missing when the table comes back.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lakehouse.catalog.errors import (
    DroppedTableNotFoundError,
    FilesKeptError,
    TableDamagedError,
    TableExistsError,
    TableInUseError,
)
from lakehouse.catalog.models import TableName
from lakehouse.catalog.rules import deletes_files
from lakehouse.catalog.tables import (
    CATALOG_NAME,
    LoadedTable,
    Pointer,
    Tables,
    check_may_write,
    check_namespace_there,
    find_namespace,
    find_pointer,
    insert_pointer,
    may_read,
)
from lakehouse.failpoints import reach
from lakehouse.state import State, Transaction
from lakehouse.storage import Store

OURS_DEPTH = 3
"""A folder that we made for one table alone: `tables/<namespace>/<table>-<suffix>`."""

SELECT = """
    SELECT table_uuid, table_namespace, table_name, metadata_location, dropped_at FROM dropped_table
"""
LIVES_BELOW = """
    SELECT 1 FROM iceberg_tables WHERE substr(metadata_location, 1, length(?)) = ?
    UNION ALL
    SELECT 1 FROM dropped_table
    WHERE substr(metadata_location, 1, length(?)) = ? AND table_uuid <> ?
"""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A table that was dropped and not yet purged."""

    uuid: str
    name: TableName
    location: str
    """Of the metadata file that was current."""
    dropped_at: datetime


class DroppedTables:
    def __init__(
        self, state: State, store: Store, tables: Tables, is_read: Callable[[str], bool]
    ) -> None:
        self._state = state
        self._store = store
        self._tables = tables
        self._is_read = is_read  # of a UUID: whether a statement that runs now reads the table

    def list(self, *, before: datetime | None = None) -> Sequence[Dropped]:
        """Return the tables that can come back, by name, of one name the last dropped first.

        Args:
            before: only those dropped before this moment.
        """

        def work(tx: Transaction) -> list[tuple[str, str, str, str, float]]:
            return tx.execute(
                f"{SELECT} WHERE purging = 0 AND dropped_at < ?"
                " ORDER BY table_namespace, table_name, dropped_at DESC",
                (before.timestamp() if before else float("inf"),),
            ).fetchall()

        found = [dropped_of(row) for row in self._state.read(work)]
        return [each for each in found if may_read(each.name)]

    def find(self, name: TableName, table_uuid: str | None = None) -> Dropped:
        """Return the table of this name (and UUID) that was dropped last.

        Raises:
            DroppedTableNotFoundError: there is none.
        """
        if not may_read(name):
            raise DroppedTableNotFoundError(str(name))
        return self._state.read(lambda tx: find_dropped(tx, name, table_uuid))

    def unfinished(self) -> Sequence[str]:
        """Return the UUIDs of tables whose purge was interrupted: `purge` them again."""
        sql = "SELECT table_uuid FROM dropped_table WHERE purging <> 0"
        return [row[0] for row in self._state.read(lambda tx: tx.execute(sql).fetchall())]

    def drop(
        self,
        name: TableName,
        table_uuid: str | None = None,
        seal: Callable[[Transaction], None] = lambda tx: None,
    ) -> str | None:
        """Take a table out of the catalog and return its UUID; None when it was not there.

        Args:
            table_uuid: drop it only if it is this one.
            seal: called inside the transaction, for what must be true with it.

        Raises:
            ForbiddenError: the caller may see it, and may not write it.
        """
        if not may_read(name):
            return None
        check_may_write(name)

        def work(tx: Transaction) -> str | None:
            found = find_pointer(tx, name)
            if found is None:
                return None
            known = self._uuid(tx, found)
            if table_uuid not in (None, known):
                return None
            tx.execute(
                "DELETE FROM iceberg_tables"
                " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?",
                (CATALOG_NAME, *found.name),
            )
            tx.execute(
                "INSERT INTO dropped_table (table_uuid, table_namespace, table_name,"
                " metadata_location, dropped_at) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (table_uuid) DO UPDATE SET purging = 0,"
                " table_namespace = excluded.table_namespace, table_name = excluded.table_name,"
                " metadata_location = excluded.metadata_location, dropped_at = excluded.dropped_at",
                (known, *found.name, found.location, time.time()),
            )
            seal(tx)
            reach("in-drop")
            return known

        with self._tables.locked([name]):
            dropped = self._state.write(work)
            if dropped is not None:
                self._tables.tell(name)
        reach("after-drop")
        return dropped

    def _uuid(self, tx: Transaction, pointer: Pointer) -> str:
        """Return a table's UUID. One that is damaged can be dropped too, and come back mended."""
        try:
            return str(self._tables.metadata(pointer)["table-uuid"])
        except TableDamagedError:
            row = tx.execute(
                "SELECT table_uuid FROM registered_object WHERE dataset = ?"
                " AND table_uuid NOT IN (SELECT table_uuid FROM dropped_table)",
                (str(pointer.name),),
            ).fetchone()
            return row[0] if row else str(uuid.uuid4())

    def undrop(
        self,
        name: TableName,
        table_uuid: str | None,
        to: TableName | None,
        seal: Callable[[Transaction, LoadedTable], None],
    ) -> LoadedTable:
        """Put a dropped table back and return it under the name that it has now.

        Args:
            table_uuid: which of those of this name; None for the one dropped last.
            to: the name that it comes back under; None for the old one.
            seal: called with the table inside the transaction.

        Raises:
            DroppedTableNotFoundError: there is none.
            TableExistsError: the name is taken.
            NamespaceNotFoundError: the namespace is gone.
            TableDamagedError: its metadata cannot be read.
            ForbiddenError: the caller may not write under one of the names.
        """
        if not may_read(name):
            raise DroppedTableNotFoundError(str(name))
        for each in (name, to or name):
            check_may_write(each)

        def work(tx: Transaction) -> LoadedTable:
            found = find_dropped(tx, name, table_uuid)
            target = to or found.name
            taken = find_pointer(tx, target)
            if taken is not None:
                raise TableExistsError(str(taken.name))
            check_namespace_there(tx, target)
            target = TableName(find_namespace(tx, target.namespace) or "", target.name)
            insert_pointer(tx, Pointer(target, found.location))
            tx.execute("DELETE FROM dropped_table WHERE table_uuid = ?", (found.uuid,))
            tx.execute(
                "UPDATE registered_object SET dataset = ? WHERE table_uuid = ?",
                (str(target), found.uuid),
            )
            back = self._tables.load(Pointer(target, found.location))
            seal(tx, back)
            reach("in-undrop")
            return back

        with self._tables.locked([name, to or name]):
            back = self._state.write(work)
            self._tables.tell(back.name)
        reach("after-undrop")
        return back

    def purge(self, table_uuid: str, seal: Callable[[Transaction], None] = lambda tx: None) -> None:
        """Delete the files of a dropped table, and what is known of it. There is no way back.

        Only its own folder goes: registered objects belong to whoever put them there, and so do
        the files of a table that was adopted where it lay. A purge that was interrupted is not
        undone: called again, it goes on. `seal` is called in the transaction that decides it.

        Raises:
            DroppedTableNotFoundError: no dropped table has this UUID.
            TableInUseError: a statement still reads it; nothing was deleted.
            FilesKeptError: it has `gc.enabled=false`; nothing was deleted.
        """

        def begin(tx: Transaction) -> str | None:
            row = tx.execute(f"{SELECT} WHERE table_uuid = ?", (table_uuid,)).fetchone()
            if row is None:
                raise DroppedTableNotFoundError(table_uuid)
            if self._is_read(table_uuid):
                raise TableInUseError(str(dropped_of(row).name))
            if self._keeps_files(dropped_of(row)):
                raise FilesKeptError(str(dropped_of(row).name))
            tx.execute("UPDATE dropped_table SET purging = 1 WHERE table_uuid = ?", (table_uuid,))
            tx.execute("DELETE FROM registered_object WHERE table_uuid = ?", (table_uuid,))
            tx.execute("DELETE FROM expired_snapshot WHERE table_uuid = ?", (table_uuid,))
            tx.execute("DELETE FROM loaded_object WHERE table_uuid = ?", (table_uuid,))
            tx.execute("DELETE FROM adopted_file WHERE table_uuid = ?", (table_uuid,))
            seal(tx)
            return self._own_folder(tx, dropped_of(row))

        folder = self._state.write(begin)
        reach("before-purge")
        if folder is not None:
            # First what the metadata names: as long as that is there, it says what the table was.
            self._store.delete_folder(f"{folder}/data")
            reach("amid-purge")
            self._store.delete_folder(folder)
        reach("after-purge")
        self._state.write(
            lambda tx: tx.execute("DELETE FROM dropped_table WHERE table_uuid = ?", (table_uuid,))
        )

    def _keeps_files(self, table: Dropped) -> bool:
        try:
            metadata = self._tables.metadata(Pointer(table.name, table.location))
        except TableDamagedError:
            return False  # a purge that was interrupted, perhaps: it goes on
        return not deletes_files(metadata)

    def _own_folder(self, tx: Transaction, table: Dropped) -> str | None:
        """Return the key of the folder that holds this table and nothing else; None without."""
        folder, found, _ = table.location.rpartition("/metadata/")
        values = (*[f"{folder}/"] * 4, table.uuid)
        if not found or tx.execute(LIVES_BELOW, values).fetchone():
            return None
        key = self._store.key(folder)
        parts = key.split("/")
        return key if parts[0] == "tables" and len(parts) == OURS_DEPTH else None


def find_dropped(tx: Transaction, name: TableName, table_uuid: str | None) -> Dropped:
    rows = tx.execute(
        f"{SELECT} WHERE purging = 0 AND lower(table_namespace) = lower(?)"
        " AND lower(table_name) = lower(?) ORDER BY dropped_at DESC",
        name,
    ).fetchall()
    found = [dropped_of(row) for row in rows if table_uuid in (None, row[0])]
    if not found:
        raise DroppedTableNotFoundError(str(name))
    return found[0]


def dropped_of(row: tuple[str, str, str, str, float]) -> Dropped:
    table_uuid, namespace, name, location, dropped_at = row
    return Dropped(
        table_uuid, TableName(namespace, name), location, datetime.fromtimestamp(dropped_at, UTC)
    )
