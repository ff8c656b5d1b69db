"""Tables that other engines make and change, in the words of the REST protocol.

What a commit names is read by our engine from then on, so all of it is looked at once before it
counts: shapes, columns, paths, and each manifest that is new.
Source: https://iceberg.apache.org/spec/#table-metadata-and-snapshots
"""

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from lakehouse.catalog.commit_checks import (
    CHOSEN,
    check_count,
    check_ours,
    check_readable,
    check_snapshots,
    new_properties,
    new_statistics,
    spelled,
    version_of,
)
from lakehouse.catalog.errors import (
    PlaceTakenError,
    TableExistsError,
    TableKnownError,
    TableNotFoundError,
)
from lakehouse.catalog.fresh_ids import with_fresh_ids
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import (
    FORMAT_VERSION,
    Json,
    empty_metadata,
    of_version,
    with_defaults,
)
from lakehouse.catalog.new_manifests import Look, Looked
from lakehouse.catalog.new_tables import NewTables
from lakehouse.catalog.places import (
    POINTERS,
    Place,
    check_key,
    check_own_folder,
    places_of,
)
from lakehouse.catalog.properties import check_size
from lakehouse.catalog.requirements import check
from lakehouse.catalog.tables import (
    Change,
    Draft,
    LoadedTable,
    Tables,
    check_may_write,
    may_read,
    now_ms,
)
from lakehouse.catalog.update_shapes import (
    check_order,
    check_requirements,
    check_schema,
    check_spec,
    check_updates,
)
from lakehouse.catalog.updates import apply, goes_back
from lakehouse.errors import InvalidInputError, LakehouseError
from lakehouse.names import TableName, folded
from lakehouse.state import State, Transaction
from lakehouse.storage import Store

VERSION = "format-version"
LOOKS = threading.Semaphore(2)
"""Looks at manifests at once: the largest takes 200 MB."""
FRESH_MAX = 1_000
ASKED_ALONE = 50
"""Files of a commit that are each asked for; of more, the table's folder is listed."""


@dataclass(frozen=True, slots=True)
class NewTable:
    """A table that another engine asks for; its schema has ids that mean nothing yet."""

    name: TableName
    schema: Json
    spec: Json | None = None
    order: Json | None = None
    location: str | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commit:
    """What another engine wants done to a table, and what must still be true then."""

    name: TableName
    requirements: Sequence[Json]
    updates: Sequence[Json]


class Outside:
    """The door for other engines: it blocks, as all of the catalog does."""

    def __init__(
        self,
        state: State,
        store: Store,
        tables: Tables,
        manifests: Manifests,
        new: NewTables,
        keys: IdempotencyKeys,
        *,
        checks: bool = True,
    ) -> None:
        self._state = state
        self._store = store
        self._tables = tables
        self._manifests = manifests
        self._new = new
        self._keys = keys
        self.checks = checks
        """Whether files are looked at."""
        self._fresh: deque[str] = deque(maxlen=FRESH_MAX)
        """UUIDs that were made here, and that no table has yet: no other table can have one."""

    def stage(self, asked: NewTable) -> Json:
        """Return the metadata that a table would begin with. Nothing is stored but its folders.

        Raises:
            As `create`.
        """
        name, base = self._begun(asked)
        if self._tables.find(name):
            raise TableExistsError(str(name))
        self._prepare(base)
        self._fresh.append(base["table-uuid"])
        return base

    def create(
        self, asked: NewTable, idempotency: Idempotency[LoadedTable] | None = None
    ) -> LoadedTable:
        """Create an empty table and return it.

        Raises:
            NamespaceNotFoundError: there is no such namespace.
            TableExistsError: the name is taken.
            PlaceTakenError: another table lies where this one should.
            InvalidInputError: its schema, partitioning, order or location is not one we can keep.
        """
        name, base = self._begun(asked)

        def build(current: LoadedTable | None) -> Draft:
            if current:
                raise TableExistsError(str(current.name))
            return Draft(updates=[], base=base)

        def seal(tx: Transaction, tables: list[LoadedTable]) -> None:
            if asked.location is not None:
                self._check_own(base, self._others(tx, name))
            self._keys.record(tx, idempotency, tables[0])

        folder = self._prepare(base)
        try:
            (table,) = self._tables.commit([Change(name, build)], seal)
        except BaseException:
            self._store.delete_empty_folders(folder)
            raise
        return table

    def commit(
        self,
        commits: Sequence[Commit],
        idempotency: Idempotency[list[LoadedTable]] | None = None,
    ) -> list[LoadedTable]:
        """Do all commits or none, and return the tables as they are then, in the given order.

        Raises:
            TableNotFoundError: there is no such table, and the commit does not make it.
            CommitFailedError: a requirement does not hold.
            InvalidInputError: an update cannot be done, or names what lies elsewhere.
        """
        for each in commits:
            check_requirements(each.requirements)
            check_updates(each.updates)
        if len({folded(str(each.name)) for each in commits}) < len(commits):
            raise InvalidInputError("a transaction changes each table once: join its updates")
        check_count(each.updates for each in commits)
        looked = Looked()
        parts = [Part(self, self._placed(each), looked) for each in commits]
        for part in parts:  # a rehearsal: what is read for it, nobody waits for
            part.build(self._tables.find(part.asked.name))
        made = [part for part in parts if part.made is not None]
        known = set(self._state.read(self._places)) if made else set()
        for part in made:
            others = part.others(known)
            if self._is_fresh(part.built["table-uuid"]):  # else the metadata of every table is read
                self._check_own(part.built, others)
            else:
                self._check_unknown(part.built, others)

        def seal(tx: Transaction, tables: list[LoadedTable]) -> None:
            new = set(self._places(tx)) - known if made else set()
            for part in made:  # of the others it is known already
                self._check_unknown(part.built, part.others(new))
            self._keys.record(tx, idempotency, in_order(tables))

        def in_order(tables: Iterable[LoadedTable]) -> list[LoadedTable]:
            by_name = {folded(str(each.name)): each for each in tables}
            return [by_name[folded(str(part.asked.name))] for part in parts]

        changes = [Change(part.asked.name, part.build) for part in parts]
        return in_order(self._tables.commit(changes, seal))

    # A table that begins.

    def _begun(self, asked: NewTable) -> tuple[TableName, Json]:
        check_schema(asked.schema)
        check_spec(asked.spec or {"fields": []})
        check_order(asked.order or {"fields": []})
        properties = dict(asked.properties)
        version = version_of(properties.pop(VERSION, str(FORMAT_VERSION)))
        check_ours({}, properties)
        check_size({}, properties)
        name = self._new.placed(asked.name)
        location = self._location(asked.location)
        begun = self._new.begun(name, properties, location)
        fresh = with_fresh_ids(begun, asked.schema, asked.spec, asked.order)
        base = of_version(fresh, version)
        check_readable(base, {})
        self.check_paths(base, properties)
        if location is not None:
            self._check_own(base, self._state.read(partial(self._others, name=name)))
        return name, base

    def _location(self, given: str | None) -> str | None:
        """Return the location of a table's folder, spelled as we do; None for one of its own.

        Raises:
            InvalidInputError: it lies outside of the warehouse, or no plain path leads there.
        """
        if given is None:
            return None
        try:
            key = self._store.key(given.rstrip("/"))
            return self._store.uri(check_key(self._store, key))
        except ValueError:
            if not self.checks:
                return None
            root = self._store.uri("").rstrip("/")
            raise InvalidInputError(
                f"the location {given[:255]!r} is not below the warehouse {root}: leave it out, "
                "and the table gets a folder of its own"
            ) from None
        except LakehouseError as error:
            raise InvalidInputError(f"the location {given[:255]!r}: {error.detail}") from error

    def _prepare(self, base: Json) -> str:
        """Make the folders that engines on this host write to, and return the table's."""
        folder = self._store.key(base["location"])
        for each in ("data", "metadata"):
            self._store.prepare(f"{folder}/{each}")
        return folder

    def _places(self, tx: Transaction) -> list[Place]:
        return places_of(tx.execute(POINTERS).fetchall(), self._store)

    def _others(self, tx: Transaction, name: TableName) -> list[Place]:
        return others_than(name, self._places(tx))

    def _check_own(self, base: Json, places: Sequence[Place]) -> None:
        """Refuse a folder that is another table's; of a hidden one the name is not told."""
        folder = self._store.key(base["location"])
        seen = [each for each in places if may_read(each.pointer.name)]
        try:
            check_own_folder(folder, seen)
            check_own_folder(folder, places)
        except PlaceTakenError as error:
            is_seen = any(str(each) in error.detail for each in seen)
            why = error.detail if is_seen else "another table lies there"
            raise InvalidInputError(f"the location {base['location']}: {why}") from error
        except InvalidInputError:
            raise
        except LakehouseError as error:
            raise InvalidInputError(f"the location {base['location']}: {error.detail}") from error

    def _is_fresh(self, table_uuid: str) -> bool:
        """Whether a UUID was made here for a table that is made now, once for each."""
        with suppress(ValueError):
            self._fresh.remove(table_uuid)
            return True
        return False

    def _check_unknown(self, made: Json, places: Sequence[Place]) -> None:
        """Refuse a folder or a UUID that is another table's: both name what is kept in memory."""
        self._check_own(made, places)
        for each in places:
            try:
                known = self._tables.metadata(each.pointer)["table-uuid"]
            except LakehouseError:
                continue  # damaged: its folder is looked at all the same
            if spelled(known) == made["table-uuid"]:
                told = str(each) if may_read(each.pointer.name) else "table of somebody else"
                raise TableKnownError(made["location"], known, told)

    # A commit.

    def _placed(self, asked: Commit) -> Commit:
        """Return the commit of a table that is there by its name, or fit to make it."""
        there = self._tables.find(asked.name)
        if there is not None:
            check_may_write(there.name)
            return Commit(there.name, asked.requirements, asked.updates)
        if not makes(asked.requirements):
            raise TableNotFoundError(str(asked.name))
        return Commit(self._new.placed(asked.name), asked.requirements, asked.updates)

    def first(self, asked: Commit) -> Json:
        """Return the metadata that a commit which makes its table leads to."""
        after = with_defaults(apply(empty_metadata(now_ms()), asked.updates))
        for part in CHOSEN:
            if after[part] < 0:
                raise InvalidInputError(f"a table that is made lacks a {part}: the update set-..")
        location = self._location(after.get("location"))
        begun = self._new.begun(asked.name, after["properties"], location)
        if after.get("table-uuid") is None:
            self._fresh.append(begun["table-uuid"])
        table_uuid = spelled(after.get("table-uuid") or begun["table-uuid"])
        kept = {each: begun[each] for each in ("location", "properties")}
        return {**after, **kept, "table-uuid": table_uuid}

    def check_paths(self, metadata: Json, properties: Mapping[str, str]) -> None:
        """Refuse properties by which an engine would write a table's files elsewhere."""
        if not self.checks:
            return
        look = Look(self._store, self._manifests, metadata)
        for name, value in properties.items():
            if name.startswith("write.") and name.endswith(".path"):
                look.key(value)

    def look(self, metadata: Json, looked: Looked) -> Look:
        return Look(self._store, self._manifests, metadata, looked)

    def sync(self, folder: str, read: Sequence[str], sizes: Mapping[str, int]) -> None:
        """Bring to disk what an engine on this host wrote: most do not.

        In a bucket it is looked whether all is there: one request a file, or a list of the folder.

        Args:
            read: keys of what was there just now.
            sizes: bytes that each other file is said to have, by key.

        Raises:
            InvalidInputError: a file is gone, is of another size, or not for us to read.
        """
        if len(sizes) <= ASKED_ALONE:
            there = {key: size for key in sizes if (size := self._store.size(key)) is not None}
        else:
            there = dict(self._store.sizes(folder, sizes.keys()))
        for key, size in sizes.items():
            if key not in there:
                raise InvalidInputError(f"the commit names {key}, which is not there")
            if there[key] != size:
                raise InvalidInputError(f"{key} has {there[key]} bytes, not {size} as it is said")
        try:
            self._store.sync([*read, *sizes])
        except FileNotFoundError as error:
            raise InvalidInputError(f"{error.filename} is not there") from error
        except PermissionError as error:
            raise InvalidInputError(
                f"{error.filename} is not the server's to read: write with umask 002, in a group "
                "that the server is in"
            ) from error


@dataclass(slots=True)
class Part:
    """One table of a commit."""

    outside: Outside
    asked: Commit
    looked: Looked
    """Of the whole commit."""
    made: Json | None = None
    """The metadata of a table that this commit makes."""
    checked: str | None = None
    """The metadata file of the state that the updates were looked at with, ..."""
    after: Json | None = None
    """... and the metadata that they lead to from there, unless it depends on when."""

    @property
    def built(self) -> Json:
        assert self.made is not None, "only asked of what makes a table"
        return self.made

    def others(self, places: Iterable[Place]) -> Sequence[Place]:
        return others_than(self.asked.name, places)

    def build(self, current: LoadedTable | None) -> Draft:
        if current is None and not makes(self.asked.requirements):
            raise TableNotFoundError(str(self.asked.name))  # it was dropped meanwhile
        check(current.metadata if current else None, self.asked.requirements)
        if current is None and self.made is None:
            self.made = self.outside.first(self.asked)
        if current is None:
            assert self.made is not None, "it was just made"
            self._check({}, self.made)
            return Draft(updates=[], base=self.made)
        self.made = None
        updates = [each for each in self.asked.updates if not self._is_elsewhere(each)]
        if current.location != self.checked:  # most are asked twice for one state
            after = apply(current.metadata, updates)
            self._check(current.metadata, after)
            is_timed = goes_back(current.metadata, after)  # with when it is committed
            self.checked, self.after = current.location, None if is_timed else after
        return Draft(updates, after=self.after)

    def _is_elsewhere(self, update: Json) -> bool:
        return update["action"] == "set-location" and not self.outside.checks

    def _check(self, before: Json, after: Json) -> None:
        check_readable(after, before)
        properties = before.get("properties", {})
        check_ours(properties, after["properties"], is_new=not before)
        check_size(properties, after["properties"])
        new = [each for update in self.asked.updates for each in new_properties(update)]
        self.outside.check_paths(after, dict(new))
        snapshots = [e["snapshot"] for e in self.asked.updates if e["action"] == "add-snapshot"]
        if snapshots:
            check_snapshots(snapshots, before)
        if not self.outside.checks:
            return
        look = self.outside.look(after, self.looked)
        self.outside.sync(
            look.folder,
            [],
            {look.key(path): size for path, size in new_statistics(self.asked.updates)},
        )
        there = before.get("snapshots", ()) if snapshots else ()
        known = {each["snapshot-id"]: each for each in there}
        for snapshot in snapshots:
            self._look_at(look, snapshot, known.get(snapshot.get("parent-snapshot-id")))
            known[snapshot["snapshot-id"]] = snapshot

    def _look_at(self, look: Look, snapshot: Json, parent: Json | None) -> None:
        known = (look.folder, snapshot["manifest-list"])
        if known in self.looked.lists:
            return
        with LOOKS:
            self.outside.sync(look.folder, *look.files(snapshot, parent))
        self.looked.lists.add(known)


def makes(requirements: Iterable[Json]) -> bool:
    return any(each["type"] == "assert-create" for each in requirements)


def others_than(name: TableName, places: Iterable[Place]) -> list[Place]:
    return [each for each in places if each.is_dropped or each.pointer.name != name]
