"""Tags and branches: names for snapshots, and `main`, which says what a table is now.

Everything here is one commit that writes no data: a reference is set, moved or removed. Source:
https://iceberg.apache.org/spec/#snapshot-references
"""

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from lakehouse.catalog.errors import (
    NotForwardError,
    NotMainsPastError,
    RefExistsError,
    RefNotFoundError,
    TableNotFoundError,
)
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.metadata import MAIN, Json, current_snapshot_id, snapshot_of
from lakehouse.catalog.models import Ref, RefPut, RolledBack, TableName
from lakehouse.catalog.table import (
    AsOf,
    chosen_snapshot,
    is_id,
    moment,
    read_as_of,
    snapshot_model,
)
from lakehouse.catalog.tables import Change, Draft, LoadedTable, Tables
from lakehouse.errors import InvalidInputError
from lakehouse.names import check_name, check_readable, folded
from lakehouse.state import Transaction

T = TypeVar("T")

READ_OTHERWISE = (
    (re.compile(r"T?\d\d?:\d\d.*"), "a time"),
    (re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"), "a number"),
    (re.compile(r"-.*"), "an option of a command"),
)
"""What is no name to whoever reads it, though `as_of` would take it for one."""
RETENTION = ("max_ref_age_ms", "min_snapshots_to_keep", "max_snapshot_age_ms")


class Refs:
    """The references of every table."""

    def __init__(
        self, tables: Tables, keys: IdempotencyKeys, load: Callable[[TableName], LoadedTable]
    ) -> None:
        self._tables = tables
        self._keys = keys
        self._load = load

    def list(self, name: TableName) -> Sequence[Ref]:
        """Return the tags and branches of a table, by name; none before its first snapshot."""
        table = self._load(name)
        return [ref_model(table.metadata, each) for each in sorted(table.metadata["refs"])]

    def get(self, name: TableName, ref: str) -> Ref:
        """Return one of them; `RefNotFoundError` when there is none."""
        metadata = self._load(name).metadata
        if ref not in metadata["refs"]:
            raise RefNotFoundError(str(name), ref)
        return ref_model(metadata, ref)

    def put(
        self,
        name: TableName,
        ref: str,
        asked: RefPut,
        idempotency: Idempotency[Ref] | None = None,
    ) -> Ref:
        """Create a tag or a branch, or change it, and return it. Twice is once.

        Args:
            idempotency: stored in the same transaction, here and below.

        Raises:
            InvalidNameError, InvalidInputError: the name or the retention cannot be.
            SnapshotNotFoundError: what it should name is not there.
            RefExistsError: a tag of that name is elsewhere, the other kind has the name, or a name
                that differs by case alone is there.
            NotForwardError: `main` moves only forward here; `rollback` goes back.
        """

        def build(table: LoadedTable) -> Draft:
            return Draft(
                [set_ref(table, ref, asked)],
                [{"type": "assert-table-uuid", "uuid": table.metadata["table-uuid"]}],
            )

        def answer(table: LoadedTable) -> Ref:
            return ref_model(table.metadata, ref)

        check_ref_name(ref)
        check_retention(ref, asked)
        return self._commit(name, build, answer, idempotency)

    def delete(
        self, name: TableName, ref: str, idempotency: Idempotency[None] | None = None
    ) -> None:
        """Remove a tag or a branch; its snapshots stay until they expire.

        Raises:
            RefNotFoundError: there is none.
            InvalidInputError: it is `main`.
        """

        def build(table: LoadedTable) -> Draft:
            if ref not in table.metadata["refs"]:
                raise RefNotFoundError(str(name), ref)
            return Draft([{"action": "remove-snapshot-ref", "ref-name": ref}])

        if ref == MAIN:
            raise InvalidInputError(f"the branch {MAIN!r} is the table; drop that instead")
        self._commit(name, build, lambda table: None, idempotency)

    def rollback(
        self,
        name: TableName,
        to: int | str,
        idempotency: Idempotency[RolledBack] | None = None,
    ) -> RolledBack:
        """Make a table what it was at a snapshot, and return what it is then.

        Nothing is deleted: what came after stays a snapshot until it expires, and a rollback to
        it undoes this one. Columns stay as they are now.

        Args:
            to: a snapshot id, a tag, a branch or a time.

        Raises:
            SnapshotNotFoundError: it is not there, or no longer.
            NotMainsPastError: the table never was at that snapshot.
        """
        before: list[int | None] = []

        def build(table: LoadedTable) -> Draft:
            metadata = table.metadata
            snapshot = chosen_snapshot(table, read_as_of(to))
            before[:] = [current_snapshot_id(metadata)]
            if snapshot is None or snapshot["snapshot-id"] not in past_of_main(metadata):
                raise NotMainsPastError(str(table.name), to)
            main = metadata["refs"].get(MAIN, {"type": "branch"})
            reference = {**main, "snapshot-id": snapshot["snapshot-id"]}
            return Draft([{"action": "set-snapshot-ref", "ref-name": MAIN, **reference}])

        def rolled_back(table: LoadedTable) -> RolledBack:
            snapshot = snapshot_of(table.metadata)
            assert snapshot is not None, "it was just set"
            return RolledBack(
                name=table.name.name,
                namespace=table.name.namespace,
                previous_snapshot_id=before[0],
                **{
                    field: getattr(snapshot_model(table.metadata, snapshot), field)
                    for field in ("snapshot_id", "committed_at", "row_count")
                },
            )

        return self._commit(name, build, rolled_back, idempotency)

    def _commit(
        self,
        name: TableName,
        build: Callable[[LoadedTable], Draft],
        answer: Callable[[LoadedTable], T],
        idempotency: Idempotency[T] | None,
    ) -> T:
        def built(now: LoadedTable | None) -> Draft:
            if now is None:
                raise TableNotFoundError(str(name))
            return build(now)

        def seal(tx: Transaction, tables: Sequence[LoadedTable]) -> None:
            self._keys.record(tx, idempotency, answer(tables[0]))

        self._load(name)  # it names the nearest when there is none
        (table,) = self._tables.commit([Change(name, built)], seal)
        return answer(table)


def set_ref(table: LoadedTable, ref: str, asked: RefPut) -> Json:
    """Return the update that makes `ref` what is asked, or raise what is in the way."""
    metadata = table.metadata
    there = metadata["refs"].get(ref)
    alike = [each for each in metadata["refs"] if folded(each) == folded(ref)]
    if there is None and alike:
        what = f"differs from {ref!r} by case alone"
        raise RefExistsError(str(table.name), alike[0], what, "say it like this, or take another")
    if there is not None and there["type"] != asked.type:
        raise RefExistsError(str(table.name), ref, f"is a {there['type']}")
    as_of: AsOf | None = read_as_of(asked.snapshot_id) if asked.snapshot_id is not None else None
    if as_of is None and there is not None:
        as_of = there["snapshot-id"]
    snapshot = chosen_snapshot(table, as_of)
    if snapshot is None:
        raise InvalidInputError(f"the table {table.name} has no snapshot yet that {ref!r} can name")
    target = snapshot["snapshot-id"]
    if there is not None and there["snapshot-id"] != target:
        if asked.type == "tag" and not asked.move:
            raise RefExistsError(str(table.name), ref, f"is at {there['snapshot-id']}")
        if ref == MAIN and there["snapshot-id"] not in ancestors(metadata, target):
            raise NotForwardError(str(table.name), target)
    retention = {
        field.replace("_", "-"): value
        for field in RETENTION
        if (value := getattr(asked, field)) is not None
    }
    return {
        "action": "set-snapshot-ref",
        "ref-name": ref,
        "type": asked.type,
        "snapshot-id": target,
        **retention,
    }


def ref_model(metadata: Json, ref: str) -> Ref:
    found = metadata["refs"][ref]
    snapshot = snapshot_of(metadata, found["snapshot-id"])
    return Ref(
        name=ref,
        type=found["type"],
        snapshot_id=found["snapshot-id"],
        committed_at=moment(snapshot["timestamp-ms"]) if snapshot else None,
        **{field: found.get(field.replace("_", "-")) for field in RETENTION},
    )


def ancestors(metadata: Json, snapshot_id: int | None) -> set[int]:
    """Return the ids of a snapshot and of those that it goes back to, as far as they are kept."""
    parents = {
        each["snapshot-id"]: each.get("parent-snapshot-id") for each in metadata["snapshots"]
    }
    found: set[int] = set()
    while snapshot_id is not None and snapshot_id in parents and snapshot_id not in found:
        found.add(snapshot_id)
        snapshot_id = parents[snapshot_id]
    return found


def past_of_main(metadata: Json) -> set[int]:
    """Return the ids of all snapshots that were the table's state: a rollback can be undone."""
    logged = {entry["snapshot-id"] for entry in metadata["snapshot-log"]}
    return logged | ancestors(metadata, current_snapshot_id(metadata))


def check_ref_name(ref: str) -> None:
    """Refuse a name that `as_of`, SQL, a command or whoever reads it takes for something else."""
    check_name("name of a tag or a branch", ref)
    check_readable("name of a tag or a branch", ref)
    if other := read_otherwise(ref):
        raise InvalidInputError(
            f"the name {ref!r} reads as {other}; put letters before it, as in {'at-' + ref!r}"
        )


def read_otherwise(ref: str) -> str | None:
    """Return what a name reads as, when that is not a name."""
    if is_id(ref):
        return "a snapshot id"
    if isinstance(read_as_of(ref), datetime):
        return "a time"
    return next((what for form, what in READ_OTHERWISE if form.fullmatch(ref)), None)


def check_retention(ref: str, asked: RefPut) -> None:
    for_branches = [asked.min_snapshots_to_keep, asked.max_snapshot_age_ms]
    if asked.type == "tag" and for_branches != [None, None]:
        raise InvalidInputError(
            "min_snapshots_to_keep and max_snapshot_age_ms are for branches; a tag keeps its one "
            "snapshot for max_ref_age_ms"
        )
    if ref != MAIN:
        return
    if asked.type == "tag":
        raise InvalidInputError(f"{MAIN!r} is the branch that the table is at, never a tag")
    if asked.max_ref_age_ms is not None:
        raise InvalidInputError(f"the branch {MAIN!r} does not age; leave max_ref_age_ms out")
