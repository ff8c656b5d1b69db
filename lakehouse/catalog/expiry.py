"""Snapshots that expire: the table forgets them first, and their files go when nobody reads them.

The commit that forgets a snapshot writes down its manifest list in the pointer's own transaction.
From that list the files are found, now or after a crash: data files are deleted before the
manifests that name them, those before the list, and the note goes last.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lakehouse.catalog.adopted_files import forget, strays
from lakehouse.catalog.errors import TableNotFoundError
from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import Json
from lakehouse.catalog.models import TableName
from lakehouse.catalog.reachable import Batch, Expired, only_reached_by
from lakehouse.catalog.relations import Relations
from lakehouse.catalog.rules import DELETES_FILES, Rules, expirable, switch
from lakehouse.catalog.tables import Change, Draft, LoadedTable, Tables
from lakehouse.failpoints import reach
from lakehouse.state import State, Transaction
from lakehouse.storage import Store

OURS = "tables/"
"""What maintenance deletes lies below this folder; registered objects do not."""
NO_REFERENCES: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted, or would be."""

    file_count: int = 0
    size_bytes: int = 0
    waiting: int = 0
    """Expired snapshots whose files stay for now: statements read them."""


class Expiry:
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
        self._deleting = threading.Lock()

    def due(self, table: LoadedTable, rules: Rules, now_ms: int) -> list[int]:
        """Return the snapshots that may expire now, oldest first: nobody reads them either."""
        used = self._relations.in_use(table.metadata["table-uuid"])
        return [each for each in expirable(table.metadata, rules, now_ms) if each not in used]

    def expire(
        self,
        name: TableName,
        snapshot_ids: Iterable[int],
        references: Mapping[str, int] = NO_REFERENCES,
    ) -> int:
        """Make a table forget snapshots, and return how many; their files stay until `delete`.

        One that a reference has come to name since is kept; so is what is not there any more.

        Args:
            references: tags and branches that go in the same commit, by the snapshot that each
                named when it was chosen; one that names another by now stays.

        Raises:
            TableNotFoundError: the table is gone.
        """
        asked = frozenset(snapshot_ids)
        gone: list[Json] = []
        rolled_back: set[int] = set()

        def build(now: LoadedTable | None) -> Draft:
            if now is None:
                raise TableNotFoundError(str(name))
            refs = now.metadata["refs"]
            at = {key: each["snapshot-id"] for key, each in refs.items()}
            leaving = [key for key, chosen in references.items() if at.get(key) == chosen]
            named = {snapshot_id for key, snapshot_id in at.items() if key not in leaving}
            gone[:] = [
                each for each in now.metadata["snapshots"] if each["snapshot-id"] in asked - named
            ]
            ids = [each["snapshot-id"] for each in gone]
            rolled_back.clear()
            rolled_back.update(strays(now.metadata).intersection(ids))
            leave = [{"action": "remove-snapshot-ref", "ref-name": each} for each in leaving]
            return Draft([*leave, {"action": "remove-snapshots", "snapshot-ids": ids}])

        def note(tx: Transaction, tables: list[LoadedTable]) -> None:
            table_uuid = tables[0].metadata["table-uuid"]
            forget(tx, table_uuid, rolled_back)
            tx.executemany(
                "INSERT INTO expired_snapshot (table_uuid, snapshot_id, manifest_list, expired_at)"
                " VALUES (?, ?, ?, ?) ON CONFLICT (table_uuid, snapshot_id) DO UPDATE SET"
                " manifest_list = excluded.manifest_list, expired_at = excluded.expired_at",
                [
                    (table_uuid, each["snapshot-id"], each["manifest-list"], time.time())
                    for each in gone
                ],
            )

        self._tables.commit([Change(name, build)], note)
        reach("after-expiry")
        return len(gone)

    def delete(self, name: TableName) -> Deleted:
        """Delete what only expired snapshots reach, but nothing that a statement reads now."""
        with self._deleting:
            self._relations.next_generation()
            return self._clear(name, (), self._delete)

    def deletable(self, name: TableName, snapshot_ids: Iterable[int]) -> Deleted:
        """Return what `delete` would do had these snapshots expired too, and delete nothing."""
        with self._deleting:
            return self._clear(name, frozenset(snapshot_ids), lambda table, batch: None)

    def _clear(
        self,
        name: TableName,
        also: Collection[int],
        delete: Callable[[LoadedTable, Batch], None],
    ) -> Deleted:
        table = self._tables.find(name)
        if table is None or not switch(table.metadata["properties"], DELETES_FILES):
            return Deleted()
        snapshots = [
            Expired(each["snapshot-id"], each["manifest-list"])
            for each in table.metadata["snapshots"]
        ]
        there = {each.snapshot_id for each in snapshots}  # one that came back has expired no more
        expired = [each for each in self._expired(table) if each.snapshot_id not in there]
        expired += [each for each in snapshots if each.snapshot_id in also]
        used = self._relations.in_use(table.metadata["table-uuid"])
        gone = [each for each in expired if each.snapshot_id not in used]
        kept = {each.manifest_list for each in {*snapshots, *expired} - set(gone)}
        file_count = size_bytes = 0
        for batch in only_reached_by(self._manifests, gone, kept):
            batch.keep_outside(f"{table.metadata['location']}/" if self.is_ours(table) else None)
            delete(table, batch)
            file_count += len(batch.locations())
            size_bytes += batch.size_bytes()
        return Deleted(file_count, size_bytes, len(expired) - len(gone))

    def is_ours(self, table: LoadedTable) -> bool:
        """Whether the table lies below `tables/`; one that was adopted elsewhere does not."""
        return self._store.key(table.metadata["location"]).startswith(OURS)

    def _delete(self, table: LoadedTable, batch: Batch) -> None:
        for location in batch.locations():
            self._store.delete(self._store.key(location))
            reach("amid-expiry")
        table_uuid = table.metadata["table-uuid"]
        done = [(table_uuid, each.snapshot_id) for each in batch.snapshots]
        self._state.write(
            lambda tx: tx.executemany(
                "DELETE FROM expired_snapshot WHERE table_uuid = ? AND snapshot_id = ?", done
            )
        )

    def _expired(self, table: LoadedTable) -> list[Expired]:
        """Return the expired snapshots of a table whose files are not yet deleted, oldest first."""

        def work(tx: Transaction) -> list[tuple[int, str]]:
            return tx.execute(
                "SELECT snapshot_id, manifest_list FROM expired_snapshot WHERE table_uuid = ?"
                " ORDER BY expired_at, snapshot_id",
                (table.metadata["table-uuid"],),
            ).fetchall()

        return [Expired(*row) for row in self._state.read(work)]
