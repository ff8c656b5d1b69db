"""The catalog again, from the files of the warehouse: what every table's last metadata file is.

A copy of the catalog says what there was; each pointer in it moves forward along the logs of the
metadata files that were written since. Tables that it does not know come from their files alone.
Nothing in the warehouse is changed, but for a file in the folder of a table of which something is
left that the catalog does not name: there maintenance removes no orphans.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from lakehouse.catalog.adopted_files import NOT_ALL_KNOWN, remember
from lakehouse.catalog.chains import Fork, MetadataFile, follow, metadata_file, time
from lakehouse.catalog.dropped import OURS_DEPTH
from lakehouse.catalog.health import damage_of
from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import Json, read_metadata, snapshot_of
from lakehouse.catalog.models import RebuildFork, RebuildReport, RebuildTable, TableName
from lakehouse.catalog.namespaces import ensure_namespace
from lakehouse.catalog.orphans import keep
from lakehouse.catalog.table import rows_of
from lakehouse.catalog.tables import (
    CATALOG_NAME,
    NAME,
    LoadedTable,
    Pointer,
    insert_pointer,
)
from lakehouse.catalog.view_files import forget_view, is_view, plan_views, put_view, view_pointers
from lakehouse.names import InvalidNameError, check_table_name, folded, parse_table_name
from lakehouse.state import State, Transaction
from lakehouse.storage import Store, object_key

SUFFIX = ".metadata.json"
OURS = "tables"
NOT_TABLES = {"_catalog", "_tmp", "objects", "vectors"}
UNIQUE = re.compile(r"-[0-9a-f]{8}")
"""What `new_tables.py` puts behind a table's name in the name of its folder."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the copy of the catalog says."""

    pointers: Sequence[Pointer]
    dropped: frozenset[str]
    """UUIDs of tables that can come back, or are being purged."""
    copied_at_ms: float | None
    """When it was made; None without a copy."""


@dataclass(slots=True)
class Found:
    """The metadata files of one table, in one folder."""

    folder: str
    """Key of the table's folder, which `metadata/` lies in."""
    uuid: str
    files: list[MetadataFile] = field(default_factory=list)


@dataclass(slots=True)
class Plan:
    """What is to be done for one table."""

    name: TableName
    action: str
    pointer: Pointer | None
    """Where the copy says the table is."""
    table: LoadedTable | None = None
    """As it is to be."""
    commits: int = 0
    note: str | None = None
    folder: str = ""
    """Key of the folder that its files lie in."""


class Rebuild:
    """A plan made over an open copy of the catalog, or an empty one. `apply` writes it there."""

    def __init__(self, state: State, store: Store) -> None:
        self._state = state
        self._store = store
        self._manifests = Manifests(store)
        self._known = state.read(known)
        self._unreadable: dict[str, str] = {}
        self._forks: list[RebuildFork] = []
        self._tables = self._plan()
        self._views = plan_views(
            state.read(view_pointers),
            store,
            [each.name for each in self._tables if each.pointer or will_be_there(each)],
            self._known.copied_at_ms,
        )

    def report(self) -> RebuildReport:
        at = self._known.copied_at_ms
        return RebuildReport(
            copied_at=None if at is None else time(int(at)),
            tables=[
                RebuildTable(
                    table=str(plan.name),
                    action=plan.action,
                    commits=plan.commits,
                    row_count=row_count(plan.table),
                    metadata_file=plan.table.location if plan.table else None,
                    note=plan.note,
                )
                for plan in self._tables
            ]
            + [
                RebuildTable(str(view.name), view.action, 0, None, view.location, view.note)
                for view in self._views
            ],
            forks=self._forks,
            unreadable=self._unreadable,
        )

    # What lies there.

    def _plan(self) -> list[Plan]:
        found = self._find()
        plans = []
        for pointer in self._known.pointers:
            name = pointer.location.rpartition("/")[2]
            match = min(
                (each for each in found if is_of(each, pointer)), default=None, key=lacks(name)
            )
            if match is None:
                note = f"no metadata file is left of {pointer.location}: purged since, or lost"
                plans.append(Plan(pointer.name, "gone", pointer, note=note))
                continue
            found.remove(match)
            plans.append(self._forward(match, pointer, name))
        plans += [plan for each in found if (plan := self._without_pointer(each))]
        return named_once(plans)

    def _find(self) -> list[Found]:
        """Return every table that has metadata files in the warehouse."""
        by_table: dict[tuple[str, str], Found] = {}
        for key, names in metadata_folders(self._store.keys("")).items():
            for name in sorted(names):
                metadata = self._read(f"{key}/metadata/{name}")
                if metadata is not None:
                    uuid = str(metadata["table-uuid"])
                    table = by_table.setdefault((key, uuid), Found(key, uuid))
                    table.files.append(metadata_file(name, metadata))
        return sorted(by_table.values(), key=lambda each: (each.folder, each.uuid))

    def _read(self, key: str) -> Json | None:
        try:
            data = self._store.read(key)
            return None if is_view(data) else read_metadata(data)
        except (ValueError, OSError) as error:
            self._unreadable[key] = str(error)
            return None

    # What is to be done.

    def _forward(self, found: Found, pointer: Pointer, name: str) -> Plan:
        """Move a pointer of the copy to the last file that follows it."""
        table, passed, note = self._last(found, pointer.name, name)
        if lacks(name)(found):
            note = f"{name} is gone; this is the last file that is left"
            return Plan(pointer.name, "back", pointer, table, note=note, folder=found.folder)
        renamed = self._name_in(table) if passed else None
        action = "forward" if passed else "keep"
        return Plan(
            renamed or pointer.name, action, pointer, table, passed, note, folder=found.folder
        )

    def _without_pointer(self, found: Found) -> Plan | None:
        """Add a table that the copy does not know, unless it was dropped before the copy."""
        table, _, note = self._last(found, TableName("", ""), None)
        name = self._name_in(table)
        if table is None or (not found.folder.startswith(f"{OURS}/") and name is None):
            return None  # another engine's table, which nobody ever adopted
        if name is None:
            name = name_of_folder(found.folder)
            note = f"named after its folder{f'; {note}' if note else ''}"
        if name is None:
            self._unreadable[found.folder] = "its folder is no name of a table"
            return None
        copied_at, newest = self._known.copied_at_ms, max(f.updated_ms for f in found.files)
        if found.uuid in self._known.dropped:
            return Plan(name, "skip", None, note="dropped; `undrop` brings it back")
        if copied_at is not None and newest < copied_at:
            note = f"dropped: last changed {time(newest)}, and the copy does not have it"
            return Plan(name, "skip", None, note=note)
        return Plan(name, "add", None, table, note=note, folder=found.folder)

    def _last(
        self, found: Found, name: TableName, known: str | None
    ) -> tuple[LoadedTable | None, int, str | None]:
        """Return the table at its last state, how far that is from `known`, and a remark."""
        chain = follow(found.files, known)
        self._forks += [fork_model(found, each) for each in chain.forks]
        note = None
        for number in range(len(chain.names) - 1, -1, -1):
            key = f"{found.folder}/metadata/{chain.names[number]}"
            metadata = read_metadata(self._store.read(key))
            if number == 0 or self._was_written(found, metadata):
                location = f"{metadata['location']}/metadata/{chain.names[number]}"
                table = LoadedTable(name, location, metadata)
                return table, number, note or self._damage(found, table)
            note = f"{chain.names[number]} follows, but was taken back: its snapshot is gone"
        return None, 0, None

    def _was_written(self, found: Found, metadata: Json) -> bool:
        """Whether the snapshot of a state is there. A commit that fails takes its files back."""
        snapshot = snapshot_of(metadata)
        if snapshot is None:
            return True
        inside = snapshot["manifest-list"].removeprefix(metadata["location"])
        return self._store.exists(found.folder + inside) or inside == snapshot["manifest-list"]

    def _damage(self, found: Found, table: LoadedTable) -> str | None:
        """Return why a state cannot be read; of a warehouse that was moved nobody can say yet."""
        if table.metadata["location"] != self._store.uri(found.folder):
            return None
        damage = damage_of(table, snapshot_of(table.metadata), self._manifests, self._store)
        return f"damaged: {damage}" if damage else None

    def _name_in(self, table: LoadedTable | None) -> TableName | None:
        """Return the name that a table's own metadata says."""
        text = table.metadata["properties"].get(NAME) if table else None
        try:
            return parse_table_name(text) if text else None
        except InvalidNameError:
            return None

    # Doing it.

    def apply(self) -> None:
        """Write the pointers, the namespaces and the registered objects, in one transaction."""
        registered = [
            (key, plan.table.metadata["table-uuid"], str(plan.name))
            for plan in self._tables
            if plan.table and plan.action in ("forward", "add")
            for key in sorted(self._objects(plan.table))
        ]
        adopted = [
            (plan.table.metadata["table-uuid"], snapshot_id, keys)
            for plan in self._tables
            if plan.table and plan.action in ("forward", "add")
            for snapshot_id, keys in self._adopted(plan, plan.table).items()
        ]

        def work(tx: Transaction) -> None:
            tx.execute("DELETE FROM lease")
            tx.execute("DELETE FROM catalog_copy")
            tx.execute("DELETE FROM watermark")  # what followed a table looks at all of it again
            changed = [each for each in self._tables if will_be_there(each)]
            for plan in changed:
                if plan.pointer:
                    delete_pointer(tx, plan.pointer)
            for view in self._views:
                forget_view(tx, view)
            for plan in changed:
                assert plan.table
                insert(tx, plan.name, plan.table.location)
            for view in self._views:
                put_view(tx, view)
            for table_uuid, snapshot_id, keys in adopted:
                remember(tx, table_uuid, snapshot_id, keys)
            for values in registered:
                tx.execute(
                    "INSERT INTO registered_object (object_key, table_uuid, dataset)"
                    " VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                    values,
                )

        for folder, why in self._left().items():
            keep(self._store, folder, f"`lakehouse catalog rebuild` left files here: {why}.")
        self._state.write(work)

    def _left(self) -> dict[str, str]:
        """Return the folders with files that are some table's, and that no pointer leads to."""
        left = {plan.folder: "its last metadata file is lost" for plan in self._tables_with("back")}
        left |= {plan.folder: "another table has the name" for plan in self._tables_with("clash")}
        left |= {fork.folder: "two metadata files follow the same one" for fork in self._forks}
        left |= {
            "/".join(key.split("/")[:OURS_DEPTH]): f"{key} cannot be read"
            for key in self._unreadable
        }
        left = {folder: why for folder, why in left.items() if folder.startswith(f"{OURS}/")}
        return left | {each.folder: each.note for each in self._views if each.folder}

    def _tables_with(self, action: str) -> list[Plan]:
        return [plan for plan in self._tables if plan.action == action]

    def _objects(self, table: LoadedTable) -> set[str]:
        """Return the user's objects that any snapshot of a table reads."""
        keys: set[str] = set()
        for snapshot in table.metadata["snapshots"]:
            if damage_of(table, snapshot, self._manifests, self._store):
                continue  # it was moved, or is damaged, which the report says
            listed = self._manifests.read_list(snapshot["manifest-list"])
            for file in self._manifests.live_files(listed):
                if key := object_key(self._store.key(file.location)):
                    keys.add(key)
        return keys

    def _adopted(self, plan: Plan, table: LoadedTable) -> dict[int, set[str]]:
        """Return the files of others that each snapshot of a table reads.

        The copy of the catalog remembers those of older snapshots too; a table that is not in it
        may have had some.
        """
        snapshots = table.metadata["snapshots"]
        own, found = f"{table.metadata['location']}/", dict[int, set[str]]()
        for snapshot in snapshots:
            if damage_of(table, snapshot, self._manifests, self._store):
                continue
            files = self._manifests.live_files(self._manifests.read_list(snapshot["manifest-list"]))
            keys = {self._store.key(f.location) for f in files if not f.location.startswith(own)}
            if keys := {key for key in keys if not object_key(key)}:
                found[snapshot["snapshot-id"]] = keys
        ids = {each["snapshot-id"] for each in snapshots}
        has_older = any(each.get("parent-snapshot-id") not in {None, *ids} for each in snapshots)
        if plan.action == "add" and has_older:
            found.setdefault(0, set()).add(NOT_ALL_KNOWN)
        return found


def known(tx: Transaction) -> Known:
    copied = tx.execute("SELECT began_at FROM catalog_copy").fetchone()
    rows = tx.execute(
        "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables"
        " WHERE catalog_name = ? AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)"
        " ORDER BY table_namespace, table_name",
        (CATALOG_NAME,),
    ).fetchall()
    pointers = [Pointer(TableName(row[0], row[1]), row[2]) for row in rows]
    dropped = tx.execute("SELECT table_uuid FROM dropped_table").fetchall()
    return Known(
        pointers, frozenset(row[0] for row in dropped), copied[0] * 1000 if copied else None
    )


def metadata_folders(keys: Iterable[str]) -> dict[str, list[str]]:
    """Return the folders of tables, and the names of each one's metadata files.

    Nothing below a table is a table.
    """
    found: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        folder, _, name = key.rpartition("/")
        table, _, last = folder.rpartition("/")
        if name.endswith(SUFFIX) and last == "metadata" and key.split("/")[0] not in NOT_TABLES:
            found[table].append(name)
    return {
        table: names
        for table, names in sorted(found.items())
        if not any(table.startswith(f"{above}/") for above in found)
    }


def is_of(found: Found, pointer: Pointer) -> bool:
    """Whether a pointer is into this folder, wherever the warehouse lay when it was written."""
    return f"/{pointer.location.rpartition('/metadata/')[0]}".endswith(f"/{found.folder}")


def lacks(name: str) -> Callable[[Found], bool]:
    return lambda found: all(file.name != name for file in found.files)


def name_of_folder(folder: str) -> TableName | None:
    """Return the name that `tables/sales/orders-1a2b3c4d` was made of, as far as it tells."""
    *_, namespace, name = folder.split("/")
    try:
        return check_table_name(namespace, UNIQUE.sub("", name) if len(name) > 9 else name)
    except InvalidNameError:
        return None


def named_once(plans: Sequence[Plan]) -> list[Plan]:
    """Of several tables of one name the one that the copy knows keeps it, else the newest."""
    holders: dict[str, list[Plan]] = defaultdict(list)
    for plan in plans:
        if plan.action != "skip":
            holders[folded(str(plan.name))].append(plan)
    for same in holders.values():
        first = max(same, key=lambda each: (each.pointer is not None, updated_ms(each)))
        for plan in same:
            if plan is not first:
                plan.action = "clash"
                plan.note = f"another table has this name; this one lies in {place(plan)}"
    return sorted(plans, key=lambda plan: (plan.name, plan.action))


def will_be_there(plan: Plan) -> bool:
    return plan.table is not None and plan.action != "clash"


def updated_ms(plan: Plan) -> int:
    return plan.table.metadata["last-updated-ms"] if plan.table else 0


def place(plan: Plan) -> str:
    return plan.table.metadata["location"] if plan.table else "no folder"


def row_count(table: LoadedTable | None) -> int | None:
    if table is None:
        return None
    snapshot = snapshot_of(table.metadata)
    return rows_of(snapshot.get("summary", {})) if snapshot else 0


def fork_model(found: Found, fork: Fork) -> RebuildFork:
    return RebuildFork(found.folder, fork.follow, fork.chosen, list(fork.others), fork.reason)


def delete_pointer(tx: Transaction, pointer: Pointer) -> None:
    tx.execute(
        "DELETE FROM iceberg_tables"
        " WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?",
        (CATALOG_NAME, *pointer.name),
    )


def insert(tx: Transaction, name: TableName, location: str) -> None:
    namespace = ensure_namespace(tx, name.namespace)
    insert_pointer(tx, Pointer(TableName(namespace, name.name), location))
