"""Tables that other engines make and change, in the words of the REST protocol.

What a commit names is read by our engine from then on, so all of it is looked at once before it
counts: shapes, columns, paths, and each manifest that is new.
Source: https://iceberg.apache.org/spec/#table-metadata-and-snapshots
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from lakehouse.catalog.errors import TableExistsError, TableKnownError, TableNotFoundError
from lakehouse.catalog.foreign import ForeignTableError, check_columns, check_layout, is_number
from lakehouse.catalog.fresh_ids import with_fresh_ids
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import (
    FORMAT_VERSION,
    FORMAT_VERSIONS,
    Json,
    empty_metadata,
    of_version,
    snapshot_of,
    whole_number,
    with_defaults,
)
from lakehouse.catalog.new_manifests import Look
from lakehouse.catalog.new_tables import NewTables
from lakehouse.catalog.places import (
    POINTERS,
    Place,
    check_key,
    check_own_folder,
    places_of,
)
from lakehouse.catalog.properties import check_values
from lakehouse.catalog.requirements import check
from lakehouse.catalog.rules import InvalidPropertyError
from lakehouse.catalog.table import CREATED_AT
from lakehouse.catalog.tables import NAME, Change, Draft, LoadedTable, Tables, now_ms
from lakehouse.catalog.types import all_ids, paths
from lakehouse.catalog.update_shapes import (
    check_order,
    check_requirements,
    check_schema,
    check_spec,
    check_updates,
)
from lakehouse.catalog.updates import apply
from lakehouse.errors import InvalidInputError, LakehouseError
from lakehouse.names import TableName, folded
from lakehouse.state import State, Transaction
from lakehouse.storage import Store

OURS = "lakehouse."
"""Properties by which the catalog keeps a table: nobody else sets them."""
VERSION = "format-version"
CHOSEN = ("current-schema-id", "default-spec-id", "default-sort-order-id")
ASKED_ALONE = 50
"""Files of a commit that are each asked for; of more, the table's folder is listed."""
AHEAD_MAX_MS = 86_400_000
"""Of the time of a snapshot: clocks differ, but a day ahead it would be the newest for a day."""


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

    def stage(self, asked: NewTable) -> Json:
        """Return the metadata that a table would begin with. Nothing is stored but its folders.

        Raises:
            As `create`.
        """
        name, base = self._begun(asked)
        if self._tables.find(name):
            raise TableExistsError(str(name))
        self._prepare(base)
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
        parts = [Part(self, self._placed(each)) for each in commits]
        for part in parts:  # a rehearsal: what is read for it, nobody waits for
            part.build(self._tables.find(part.asked.name))

        def seal(tx: Transaction, tables: list[LoadedTable]) -> None:
            for part in parts:
                if part.made is not None:
                    self._check_unknown(part.made, self._others(tx, part.asked.name))
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

    def _others(self, tx: Transaction, name: TableName) -> list[Place]:
        places = places_of(tx.execute(POINTERS).fetchall(), self._store)
        return [each for each in places if each.is_dropped or each.pointer.name != name]

    def _check_own(self, base: Json, places: Iterable[Place]) -> None:
        try:
            check_own_folder(self._store.key(base["location"]), places)
        except InvalidInputError:
            raise
        except LakehouseError as error:
            raise InvalidInputError(f"the location {base['location']}: {error.detail}") from error

    def _check_unknown(self, made: Json, places: Sequence[Place]) -> None:
        """Refuse a folder or a UUID that is another table's: both name what is kept in memory."""
        self._check_own(made, places)
        for each in places:
            try:
                known = self._tables.metadata(each.pointer)["table-uuid"]
            except LakehouseError:
                continue  # damaged: its folder is looked at all the same
            if known.lower() == made["table-uuid"].lower():
                raise TableKnownError(made["location"], known, str(each))

    # A commit.

    def _placed(self, asked: Commit) -> Commit:
        """Return the commit of a table that is there by its name, or fit to make it."""
        there = self._tables.find(asked.name)
        if there is not None:
            return Commit(there.name, asked.requirements, asked.updates)
        if all(each["type"] != "assert-create" for each in asked.requirements):
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
        table_uuid = spelled(after.get("table-uuid") or begun["table-uuid"])
        kept = {each: begun[each] for each in ("location", "properties")}
        return {**after, **kept, "table-uuid": table_uuid}

    def check_paths(self, metadata: Json, properties: Mapping[str, str]) -> None:
        """Refuse properties by which an engine would write a table's files elsewhere."""
        if not self.checks:
            return
        look = self.look(metadata)
        for name, value in properties.items():
            if name.startswith("write.") and name.endswith(".path"):
                look.key(value)

    def look(self, metadata: Json) -> Look:
        return Look(self._store, self._manifests, metadata)

    def sync(self, folder: str, keys: Sequence[str]) -> None:
        """Bring to disk what an engine on this host wrote: most do not.

        In a bucket it is looked whether all is there: one request a file, or a list of the folder.

        Raises:
            InvalidInputError: a file is gone, or not for us to read.
        """
        few = len(keys) <= ASKED_ALONE
        there = set(filter(self._store.exists, keys)) if few else self._store.sizes(folder, keys)
        if lacking := [each for each in keys if each not in there]:
            raise InvalidInputError(f"the snapshot names {lacking[0]}, which is not there")
        try:
            self._store.sync(keys)
        except FileNotFoundError as error:
            raise InvalidInputError(f"{error.filename} is not there") from error
        except PermissionError as error:
            raise InvalidInputError(
                f"{error.filename} is not the server's to read: write with umask 002, in a group "
                "that the server is in"
            ) from error


@dataclass(slots=True)
class Part:
    """One table of a commit: what it was looked at for, it is not looked at for again."""

    outside: Outside
    asked: Commit
    made: Json | None = None
    """The metadata of a table that this commit makes."""
    looked: set[tuple[str, str]] = field(default_factory=set)
    """Of each manifest list, and where its table lies."""

    def build(self, current: LoadedTable | None) -> Draft:
        check(current.metadata if current else None, self.asked.requirements)
        if current is None and self.made is None:
            self.made = self.outside.first(self.asked)
        if current is None:
            assert self.made is not None, "it was just made"
            self._check({}, self.made)
            return Draft(updates=[], base=self.made)
        self.made = None
        updates = [each for each in self.asked.updates if not self._is_elsewhere(each)]
        self._check(current.metadata, apply(current.metadata, updates))
        return Draft(updates)

    def _is_elsewhere(self, update: Json) -> bool:
        return update["action"] == "set-location" and not self.outside.checks

    def _check(self, before: Json, after: Json) -> None:
        check_readable(after, before)
        check_ours(before.get("properties", {}), after["properties"], is_new=not before)
        new = [each for update in self.asked.updates for each in new_properties(update)]
        self.outside.check_paths(after, dict(new))
        for update in self.asked.updates:
            if update["action"] == "add-snapshot":
                check_snapshot(update["snapshot"])
        if not self.outside.checks:
            return
        look = self.outside.look(after)
        for path in new_statistics(self.asked.updates):
            look.key(path)
        for update in self.asked.updates:
            if update["action"] == "add-snapshot":
                self._look_at(look, before, update["snapshot"])

    def _look_at(self, look: Look, before: Json, snapshot: Json) -> None:
        known = (snapshot["manifest-list"], look.metadata["location"])
        if known in self.looked:
            return
        parent = snapshot_of(before, snapshot.get("parent-snapshot-id")) if before else None
        self.outside.sync(look.folder, look.files(snapshot, parent))
        self.looked.add(known)


def version_of(asked: str) -> int:
    found = whole_number(asked)
    if found is None or found not in FORMAT_VERSIONS:
        raise InvalidInputError(f"tables are of format version 1 to 3, not {asked[:20]!r}")
    return found


def check_ours(
    before: Mapping[str, str], after: Mapping[str, str], *, is_new: bool = False
) -> None:
    """Refuse a change of the properties by which the catalog keeps a table."""
    for name in before.keys() | after.keys():
        is_begun = is_new and name in (CREATED_AT, NAME)
        if name.startswith(OURS) and before.get(name) != after.get(name) and not is_begun:
            raise InvalidInputError(f"the property {name[:120]!r} is kept by the catalog")


def check_readable(after: Json, before: Json) -> None:
    """Refuse columns, a layout or properties that are new and not ours to read or write.

    Raises:
        InvalidInputError: says which.
    """
    parts = (*CHOSEN, "schemas", "partition-specs", "sort-orders")
    try:
        if any(after[each] != before.get(each) for each in parts):
            check_ids(after)
            check_defaults(after)
            check_columns(after)
            check_layout(after)
        if after["properties"] != before.get("properties"):
            check_columns(after)  # one of them says how columns are found
            check_values(after)
    except ForeignTableError as error:
        raise InvalidInputError(f"the table cannot be kept: {error}") from error
    except InvalidPropertyError as error:
        raise InvalidInputError(error.detail) from error


def check_ids(metadata: Json) -> None:
    """Refuse two columns of one id: files are read by them."""
    for schema in metadata["schemas"]:
        ids = list(all_ids(schema["fields"]))
        if len(set(ids)) < len(ids):
            raise InvalidInputError("two columns of a schema have one id")


def check_defaults(metadata: Json) -> None:
    """Refuse values for rows that have none: format versions 1 and 2 have no such thing."""
    if metadata["format-version"] > FORMAT_VERSION:
        return
    for schema in metadata["schemas"]:
        for path, each in paths(schema["fields"]):
            for key in ("initial-default", "write-default"):
                if each.get(key) is not None:
                    raise InvalidInputError(f"{key} of {path!r} is not supported until v3")


def check_snapshot(snapshot: Json) -> None:
    if snapshot["timestamp-ms"] > now_ms() + AHEAD_MAX_MS:
        raise InvalidInputError(
            f"the snapshot is of {snapshot['timestamp-ms']} ms after 1970, which is to come: set "
            "the clock of that machine"
        )
    for name, value in snapshot["summary"].items():
        if name.startswith(("total-", "added-", "deleted-", "removed-")) and not is_number(value):
            raise InvalidInputError(f"{name[:120]} of the snapshot is {value[:40]!r}, no number")


def new_properties(update: Json) -> Iterator[tuple[str, str]]:
    if update["action"] == "set-properties":
        yield from update["updates"].items()


def new_statistics(updates: Iterable[Json]) -> Iterator[str]:
    for update in updates:
        for key in ("statistics", "partition-statistics"):
            if update["action"] == f"set-{key}":
                yield update[key]["statistics-path"]


def spelled(given: str) -> str:
    """Return a UUID in the one way it is compared in."""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        raise InvalidInputError(f"{given[:80]!r} is no UUID") from None
