"""What differs between two snapshots, and what each snapshot of a line of them changed.

Only the files that are not common to both are read. Where a file was rewritten, the rows that it
kept are in the old one and in the new one: each row is weighed, -1 before and +1 after, and what
comes to nothing is left out. (10 M rows against 5 M in 1 GB: 6 to 11 s, as two EXCEPT ALL 86 s.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from lakehouse.catalog.errors import ChangesExpiredError, EmptyTableError, NotInPastError
from lakehouse.catalog.health import naming_damage
from lakehouse.catalog.manifests import ManifestFile, Manifests, has_deletes, live
from lakehouse.catalog.metadata import Json, schema_of, snapshot_at, snapshot_of
from lakehouse.catalog.models import TableName
from lakehouse.catalog.relations import (
    Lease,
    Relations,
    empty_sql,
    files_sql,
    matching,
    relation_prefix,
)
from lakehouse.catalog.table import (
    AsOf,
    Pinned,
    chosen_snapshot,
    epoch_ms,
    is_named,
    read_schema,
)
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import Field, duckdb_type, to_columns
from lakehouse.database import Connection, quoted

CHANGE_TYPE, SNAPSHOT_ID, COMMITTED_AT = ADDED_COLUMNS = (
    "_change_type",
    "_snapshot_id",
    "_committed_at",
)
"""Behind the table's own columns, which may have the same names."""
SNAPSHOTS_MAX = 500
"""Of one answer of `changes`: each is a SELECT of its own, 0.5 ms to bind."""

Pin = Callable[[Connection, LoadedTable, AsOf | None], Pinned]


@dataclass(frozen=True, slots=True)
class Differing:
    """A SELECT of the rows that differ, and what it reads.

    Its columns are those of the table at the later snapshot, then `ADDED_COLUMNS`: `insert` or
    `delete`, and the id and the time of the snapshot that changed the row.
    """

    sql: str
    pinned: tuple[Pinned, ...]
    before: int | None
    until: int | None
    """The last snapshot that it covers: where the next `changes` goes on."""


@dataclass(frozen=True, slots=True)
class Sides:
    """SELECTs of rows before and after; None where there are none. Those in both did not change."""

    before: str | None
    after: str | None


class Differences:
    def __init__(
        self,
        manifests: Manifests,
        relations: Relations,
        load: Callable[[TableName], LoadedTable],
        pin: Pin,
    ) -> None:
        self._manifests = manifests
        self._relations = relations
        self._load = load
        self._pin = pin

    def changes(
        self, cursor: Connection, name: TableName, since: AsOf | None, until: AsOf | None
    ) -> Differing:
        """Return the rows that each snapshot after `since` added and deleted, the oldest first.

        Args:
            since: its own changes are not among them; None, or a time before the first snapshot:
                all there are.
            until: the last one; None for the current. `SNAPSHOTS_MAX` at most are looked at.

        Raises:
            TableNotFoundError, SnapshotNotFoundError: there is no such table or snapshot.
            ChangesExpiredError: snapshots in between are gone.
            NotInPastError: `until` does not go on from `since`.
            EmptyTableError: the table has no columns.
        """

        def read(table: LoadedTable) -> tuple[Json | None, list[Json]]:
            before = None if is_before_all(table, since) else chosen_snapshot(table, since)
            last = chosen_snapshot(table, until)
            line = line_of(table, before, last)[:SNAPSHOTS_MAX] if last else []
            return before, line

        return self._differing(cursor, name, read)

    def between(
        self, cursor: Connection, name: TableName, before: AsOf | None, after: AsOf | None
    ) -> Differing:
        """Return the rows by which the snapshot `after` differs from `before`.

        Args:
            before: None for the one that `after` was made from.
            after: None for the current one.

        Raises:
            TableNotFoundError, SnapshotNotFoundError: there is no such table or snapshot.
            EmptyTableError: the table has no columns.
        """

        def read(table: LoadedTable) -> tuple[Json | None, list[Json]]:
            last = chosen_snapshot(table, after)
            if last is None:
                return None, []
            if before is not None:
                return chosen_snapshot(table, before), [last]
            parent_id = last.get("parent-snapshot-id")
            return (None if parent_id is None else chosen_snapshot(table, parent_id)), [last]

        return self._differing(cursor, name, read)

    def net(self, cursor: Connection, name: TableName, since: int | None) -> Differing:
        """Return the rows by which the current snapshot differs from `since`, cheaply.

        Where rows were only added, snapshot by snapshot, no other file is read. A row that was
        changed twice is there once, as it is now.

        Raises:
            TableNotFoundError, SnapshotNotFoundError: there is no such table or snapshot.
            EmptyTableError: the table has no columns.
        """

        def read(table: LoadedTable) -> tuple[Json | None, list[Json]]:
            last = chosen_snapshot(table, None)
            before = None if since is None else chosen_snapshot(table, since)
            if last is None or last == before:
                return before, []
            try:
                line = line_of(table, before, last)
            except (ChangesExpiredError, NotInPastError):
                return before, [last]
            done = [each.get("summary", {}).get("operation") for each in line]
            changed = [each for each in done if each != "replace"]
            in_turn = len(changed) < 2 or (set(changed) == {"append"} and len(line) < SNAPSHOTS_MAX)
            return before, line if in_turn else [last]

        return self._differing(cursor, name, read)

    def _differing(
        self,
        cursor: Connection,
        name: TableName,
        read: Callable[[LoadedTable], tuple[Json | None, list[Json]]],
    ) -> Differing:
        while True:
            generation = self._relations.generation
            table = self._load(name)
            before, line = read(table)
            states = [each for each in (before, *line) if each is not None]
            lease = self._relations.lease(
                table.metadata["table-uuid"], [each["snapshot-id"] for each in states]
            )
            # Held by now, so maintenance sees what we read, unless it looked before.
            if self._relations.generation == generation:
                return self._select(cursor, table, before, line, lease)

    def _select(
        self,
        cursor: Connection,
        table: LoadedTable,
        before: Json | None,
        line: Sequence[Json],
        lease: Lease,
    ) -> Differing:
        last = line[-1] if line else before
        current = snapshot_of(table.metadata)
        as_of = last["snapshot-id"] if last is not None and last != current else None
        fields = read_schema(table, last, as_of)["fields"]
        if not fields:
            raise EmptyTableError(str(table.name))
        pinned = [pinned_by(table, last, fields, lease)]
        parts: list[str] = []
        previous = before
        for snapshot in line:
            with naming_damage(table.name):
                sides = self._sides(cursor, table, fields, previous, snapshot, pinned)
            if sides != Sides(None, None):
                parts.append(labelled(sides, fields, snapshot))
            previous = snapshot
        if not parts:
            nothing = {"snapshot-id": 0, "timestamp-ms": 0}
            parts.append(labelled(Sides(None, empty_sql(fields)), fields, nothing))
        return Differing(
            " UNION ALL ".join(parts),
            tuple(pinned),
            before["snapshot-id"] if before else None,
            last["snapshot-id"] if last else None,
        )

    def _sides(
        self,
        cursor: Connection,
        table: LoadedTable,
        fields: Sequence[Field],
        before: Json | None,
        after: Json,
        pinned: list[Pinned],
    ) -> Sides:
        # Of one whose parent has expired nobody knows what came before it.
        is_next = after.get("parent-snapshot-id") == (before["snapshot-id"] if before else None)
        if is_next and after.get("summary", {}).get("operation") == "replace":
            return Sides(None, None)  # the same rows, laid out anew
        old, new = self._listed(before), self._listed(after)
        found_by = matching(table.metadata, fields)
        if found_by is None or with_deletes(before, old) or with_deletes(after, new):
            return Sides(
                self._whole(cursor, table, fields, before, pinned),
                self._whole(cursor, table, fields, after, pinned),
            )
        added = added_by(after, new) if is_next else None
        if added is not None and len(new) - len(added) == len(old):
            old, new = (), added  # nothing left: what was there is there, and is not looked at
        left, came = (
            files_sql(fields, files, found_by=found_by) if files else None
            for files in self._changed_files(old, new)
        )
        return Sides(left, came)

    def _listed(self, snapshot: Json | None) -> Sequence[ManifestFile]:
        return self._manifests.read_list(snapshot["manifest-list"]) if snapshot else ()

    def _changed_files(
        self, old: Sequence[ManifestFile], new: Sequence[ManifestFile]
    ) -> tuple[list[str], list[str]]:
        """Return the files that left and those that came; common manifests are not read."""
        before = {each.manifest_path: each for each in live(old)}
        after = {each.manifest_path: each for each in live(new)}

        def files(these: dict[str, ManifestFile], those: dict[str, ManifestFile]) -> set[str]:
            changed = [each for path, each in these.items() if path not in those]
            return {each.location for each in self._manifests.live_files(changed)}

        left, came = files(before, after), files(after, before)
        return sorted(left - came), sorted(came - left)

    def _whole(
        self,
        cursor: Connection,
        table: LoadedTable,
        fields: Sequence[Field],
        snapshot: Json | None,
        pinned: list[Pinned],
    ) -> str | None:
        """Return the SELECT of all rows of a snapshot, in the columns that `fields` are now."""
        if snapshot is None:
            return None
        pinned.append(self._pin(cursor, table, snapshot["snapshot-id"]))
        own = read_schema(table, snapshot, snapshot["snapshot-id"])["fields"]
        there = {each["id"]: each for each in own}
        columns = ", ".join(column_sql(each, there.get(each["id"])) for each in fields)
        return f"SELECT {columns} FROM {quoted(pinned[-1].relation)}"


def with_deletes(snapshot: Json | None, listed: Sequence[ManifestFile]) -> bool:
    """Whether files of deletes apply to a snapshot; its summary knows without a look at all."""
    count = snapshot.get("summary", {}).get("total-delete-files") if snapshot else "0"
    return count != "0" and has_deletes(listed)


def added_by(snapshot: Json, listed: Sequence[ManifestFile]) -> list[ManifestFile]:
    """Return the manifests that came with a snapshot; all others are of the one before it."""
    return [each for each in listed if each.added_snapshot_id == snapshot["snapshot-id"]]


def labelled(sides: Sides, fields: Sequence[Field], snapshot: Json) -> str:
    """Return the SELECT of the rows that changed, what left before what came."""
    snapshot_id, at_ms = int(snapshot["snapshot-id"]), int(snapshot["timestamp-ms"])
    names = ", ".join(quoted(each["name"]) for each in fields)
    since = f"CAST({snapshot_id} AS BIGINT) AS {SNAPSHOT_ID}"
    when = f"make_timestamptz({at_ms * 1000}) AS {COMMITTED_AT}"
    if sides.before is None or sides.after is None:
        change = "insert" if sides.before is None else "delete"
        rows = sides.after if sides.before is None else sides.before
        return f"SELECT {names}, '{change}' AS {CHANGE_TYPE}, {since}, {when} FROM ({rows})"
    weight = quoted(free_name(fields))
    weighed = (
        f"SELECT {names}, -1 AS {weight} FROM ({sides.before}) UNION ALL "
        f"SELECT {names}, 1 FROM ({sides.after})"
    )
    changed = (
        f"SELECT {names}, sum({weight}) AS {weight} FROM ({weighed}) GROUP BY {names} "
        f"HAVING sum({weight}) <> 0 ORDER BY {weight}"
    )
    change = f"CASE WHEN {weight} < 0 THEN 'delete' ELSE 'insert' END AS {CHANGE_TYPE}"
    repeated = f"SELECT *, unnest(range(CAST(abs({weight}) AS BIGINT))) FROM ({changed})"
    return f"SELECT {names}, {change}, {since}, {when} FROM ({repeated})"


def free_name(fields: Sequence[Field]) -> str:
    """Return a name that no column has, in whatever case."""
    taken = {each["name"].lower() for each in fields}
    name = "w"
    while name in taken:
        name += "w"
    return name


def column_sql(field: Field, old: Field | None) -> str:
    """Return the expression of a column as it was read then, for what it is now."""
    type_ = duckdb_type(field["type"])
    if old is None:
        return f"CAST(NULL AS {type_}) AS {quoted(field['name'])}"
    if old["type"] == field["type"]:
        return f"{quoted(old['name'])} AS {quoted(field['name'])}"
    return f"CAST({quoted(old['name'])} AS {type_}) AS {quoted(field['name'])}"


def is_before_all(table: LoadedTable, since: AsOf | None) -> bool:
    """Whether nothing was there yet at `since`."""
    if since is None:
        return True
    if not isinstance(since, datetime) or is_named(table.metadata, since):
        return False
    return snapshot_at(table.metadata, epoch_ms(since)) is None


def line_of(table: LoadedTable, before: Json | None, last: Json) -> list[Json]:
    """Return the snapshots after `before` up to `last`, the oldest first.

    Raises:
        ChangesExpiredError: some of them are gone.
        NotInPastError: `last` does not go on from `before`.
    """
    wanted = before["snapshot-id"] if before else None
    line: list[Json] = []
    each: Json | None = last
    while each is not None and each["snapshot-id"] != wanted:
        line.append(each)
        parent_id = each.get("parent-snapshot-id")
        if parent_id is None:
            if wanted is not None:
                raise NotInPastError(str(table.name), wanted, last["snapshot-id"])
            break
        each = snapshot_of(table.metadata, parent_id)
        if each is None:
            raise ChangesExpiredError(str(table.name), line[-1]["snapshot-id"])
    return line[::-1]


def pinned_by(
    table: LoadedTable, snapshot: Json | None, fields: Sequence[Field], lease: Lease
) -> Pinned:
    """Return what tells errors and ETags which state is read, and keeps its files."""
    snapshot_id = snapshot["snapshot-id"] if snapshot else None
    schema_id = schema_of(table.metadata)["schema-id"]
    return Pinned(
        table=table.name,
        uuid=lease.table_uuid,
        snapshot_id=snapshot_id,
        columns=to_columns(fields),
        relation=f"{relation_prefix(lease.table_uuid)}{snapshot_id or 0}_{schema_id}",
        holds=lease,
    )
