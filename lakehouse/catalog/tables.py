"""The commit: metadata is written, then the pointer moves by compare-and-set, or nothing happened.

Pointers live in the two tables of PyIceberg's `SqlCatalog`, so any PyIceberg user can open them.
The rules are those of `iceberg.md`, One engine commits everything.
"""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TypeAlias

from lakehouse.audit import Record, record, store_with, stored
from lakehouse.auth import check_may, may, table_resource
from lakehouse.catalog.cache import Cache
from lakehouse.catalog.errors import (
    CommitFailedError,
    CommitStateUnknownError,
    MetadataTooLargeError,
    NamespaceNotFoundError,
    NameTakenError,
    TableDamagedError,
    TableExistsError,
)
from lakehouse.catalog.metadata import Json, read_metadata, snapshot_of, with_log_entry
from lakehouse.catalog.metadata_text import MetadataTexts
from lakehouse.catalog.models import TableName
from lakehouse.catalog.requirements import check
from lakehouse.catalog.updates import apply
from lakehouse.errors import (
    InsufficientStorageError,
    InvalidInputError,
    LakehouseError,
    UnavailableError,
)
from lakehouse.failpoints import reach
from lakehouse.names import InvalidNameError, folded
from lakehouse.state import State, Transaction, UniqueViolationError
from lakehouse.storage import ObjectNotFoundError, Store

CATALOG_NAME = "lakehouse"
NAME = "lakehouse.name"
"""A property: how the catalog names the table, for the day when only the files are left."""
ATTEMPTS_MAX = 10
METADATA_MAX_BYTES = 64 * 1024 * 1024
"""Of a metadata file, which each commit writes anew: 90,000 snapshots."""
METADATA_CACHED_BYTES = 32 * 1024 * 1024
"""Of files: 45,000 snapshots. What is kept of them takes some three times that."""
NOT_COMMITTED = (UnavailableError, InsufficientStorageError)  # what `State.write` is sure of
BACKOFF_S = 0.01

FIND = """
    SELECT table_namespace, table_name, metadata_location FROM iceberg_tables
    WHERE catalog_name = ? AND lower(table_namespace) = lower(?) AND lower(table_name) = lower(?)
      AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)
"""
FIND_VIEW = """
    SELECT table_namespace, table_name, metadata_location FROM iceberg_tables
    WHERE catalog_name = ? AND lower(table_namespace) = lower(?) AND lower(table_name) = lower(?)
      AND iceberg_type = 'VIEW'
"""
MOVE = """
    UPDATE iceberg_tables SET metadata_location = ?, previous_metadata_location = ?
    WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?
"""
RENAME = """
    UPDATE iceberg_tables SET table_namespace = ?, table_name = ?, metadata_location = ?,
                              previous_metadata_location = ?
    WHERE catalog_name = ? AND table_namespace = ? AND table_name = ? AND metadata_location = ?
"""
INSERT = """
    INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location,
                                previous_metadata_location, iceberg_type)
    VALUES (?, ?, ?, ?, NULL, 'TABLE')
"""


@dataclass(frozen=True, slots=True)
class Pointer:
    name: TableName
    location: str
    """Of the metadata file."""


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A table at one state: where its metadata lies, and what it says. Never change it."""

    name: TableName
    location: str
    metadata: Json

    @property
    def snapshot(self) -> Json | None:
        return snapshot_of(self.metadata)


@dataclass(frozen=True, slots=True)
class Draft:
    """What a change wants to do to the state it was shown."""

    updates: Sequence[Json]
    requirements: Sequence[Json] = ()
    base: Json | None = None
    """The metadata of a table that this draft creates."""
    follows: str | None = None
    """The metadata file that `base` was read from, if it was."""
    files: Sequence[str] = ()
    """Keys of what was written for this draft; removed when it is lost."""
    after: Json | None = None
    """The metadata that the updates lead to, where it is known already."""


Build: TypeAlias = Callable[[LoadedTable | None], Draft]
Seal: TypeAlias = Callable[[Transaction, list[LoadedTable]], None]


@dataclass(frozen=True, slots=True)
class Change:
    """One table's part of a commit: `build` is asked again when somebody else was faster."""

    name: TableName
    build: Build


class LostError(Exception):
    """The pointer was not where we read it: somebody committed in between."""


@dataclass(slots=True)
class Attempt:
    """What one attempt has written so far."""

    tables: list[LoadedTable] = field(default_factory=list)
    before: list[LoadedTable | None] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of each new metadata file, by its location."""
    is_decided: bool = False
    """All was said in the transaction: whether it is on disk is up to the database now."""


class Locks:
    """A lock for each name that somebody holds or waits for, and for no other."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._used: dict[str, tuple[threading.Lock, int]] = {}

    @contextmanager
    def hold(self, names: Iterable[str]) -> Iterator[None]:
        """Hold the locks of all `names`, taken in their order: no deadlock."""
        with ExitStack() as stack:
            for name in sorted(set(names)):
                stack.enter_context(self._one(name))
            yield

    @contextmanager
    def _one(self, name: str) -> Iterator[None]:
        with self._guard:
            lock, users = self._used.get(name, (threading.Lock(), 0))
            self._used[name] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._guard:
                lock, users = self._used[name]
                if users == 1:
                    del self._used[name]
                else:
                    self._used[name] = (lock, users - 1)


class Tables:
    """Pointers and the metadata they point at."""

    def __init__(self, state: State, store: Store) -> None:
        self._state = state
        self._store = store
        self._cache: Cache[tuple[Json, int]] = Cache(METADATA_CACHED_BYTES, itemgetter(1))
        self._texts = MetadataTexts()
        self._locks = Locks()
        self._rewriting = Locks()
        self.listeners: list[Callable[[TableName], None]] = []
        """Each is called after each commit with every table that has a new state."""

    def pointers(self, names: Sequence[TableName]) -> list[Pointer | None]:
        """Return where each table is, all as of one moment; None for one that is not there.

        What the caller may not see is not there.
        """
        if not names:
            return []
        found = self._state.read(lambda tx: [find_pointer(tx, name) for name in names])
        return [each if each and may_read(each.name) else None for each in found]

    def load(self, pointer: Pointer) -> LoadedTable:
        """Return the table at `pointer`; `TableDamagedError` when its metadata cannot be read."""
        return LoadedTable(pointer.name, pointer.location, self.metadata(pointer))

    def metadata(self, pointer: Pointer) -> Json:
        def read() -> tuple[Json, int]:
            data = self._store.read(self._store.key(pointer.location))
            return read_metadata(data), len(data)

        try:
            return self._cache.get(pointer.location, read)[0]
        except ObjectNotFoundError as error:
            raise TableDamagedError(str(pointer.name), "its metadata file is gone") from error
        except (ValueError, OSError) as error:
            raise TableDamagedError(
                str(pointer.name), f"its metadata file cannot be read ({error})"
            ) from error

    def find(self, name: TableName) -> LoadedTable | None:
        (pointer,) = self.pointers([name])
        while pointer:
            try:
                return self.load(pointer)
            except TableDamagedError:  # gone, perhaps because the table is 100 commits further
                (now,) = self.pointers([name])
                if now == pointer:
                    raise
                pointer = now
        return None

    def locked(self, names: Iterable[TableName]) -> AbstractContextManager[None]:
        return self._locks.hold(folded(str(name)) for name in names)

    def rewriting(self, name: TableName) -> AbstractContextManager[None]:
        """Hold a table for who writes its files again: changes, compaction, erasure, one by one.

        Appends and overwrites do not wait for it, nor does a commit.

        Raises:
            ForbiddenError: the caller may see the table, and may not write it.
        """
        if may_read(name):
            check_may_write(name)
        return self._rewriting.hold([folded(str(name))])

    def commit(self, changes: Sequence[Change], seal: Seal | None = None) -> list[LoadedTable]:
        """Commit all `changes` or none, and return the tables as they are then.

        Args:
            changes: at most one per table.
            seal: called inside the pointers' own transaction, for what must be true with it.

        Raises:
            CommitFailedError: a requirement does not hold, or ten attempts were all lost.
            CommitStateUnknownError: the database failed in the middle; look, then retry.
            ForbiddenError: the caller may not write one of them.
            Whatever `build` and `seal` raise passes through, and nothing happened.
        """
        for change in changes:
            check_may_write(change.name)
        changes = sorted(changes, key=lambda change: change.name)
        assert len({folded(str(each.name)) for each in changes}) == len(changes), "one a table"
        with self.locked(change.name for change in changes):
            for number in range(ATTEMPTS_MAX):
                try:
                    return self._attempt(changes, seal)
                except LostError:
                    time.sleep(random.uniform(0, BACKOFF_S * 2**number))
        raise CommitFailedError(f"{changes[0].name} was changed by others {ATTEMPTS_MAX} times")

    def _attempt(self, changes: Sequence[Change], seal: Seal | None) -> list[LoadedTable]:
        attempt = Attempt()
        try:
            pointers = self.pointers([change.name for change in changes])
            for change, pointer in zip(changes, pointers, strict=True):
                self._prepare(attempt, change, self.load(pointer) if pointer else None)
            reach("after-metadata")
            stored(self._state.write(lambda tx: self._move(tx, attempt, seal)))
        except BaseException as error:
            if attempt.is_decided and not isinstance(error, NOT_COMMITTED):
                raise CommitStateUnknownError(str(changes[0].name)) from error
            self._discard(attempt)
            if isinstance(error, UniqueViolationError):
                raise LostError from error
            raise
        reach("after-pointer")
        for table in attempt.tables:
            if table.location in attempt.sizes:
                kept = (table.metadata, attempt.sizes[table.location])
                self._cache.put(table.location, kept)
            self.tell(table.name)
        return attempt.tables

    def tell(self, name: TableName) -> None:
        """Say that what a name means has changed, by who holds its lock."""
        for listener in self.listeners:
            listener(name)

    def _prepare(self, attempt: Attempt, change: Change, current: LoadedTable | None) -> None:
        draft = change.build(current)
        attempt.keys.extend(draft.files)
        check(current.metadata if current else None, draft.requirements)
        base = current.metadata if current else draft.base
        assert base is not None, "only a draft that creates a table may meet none"
        metadata = draft.after or apply(base, draft.updates)
        attempt.before.append(current)
        if current and metadata == base:
            attempt.tables.append(current)
            return
        previous = current.location if current else draft.follows
        if previous:
            metadata = with_log_entry(metadata, previous, base, now_ms())
        location = metadata_location(metadata, previous)
        try:
            data = self._texts.of(metadata)
        except TypeError as error:  # a number of more than 64 bits, in a field that is not known
            raise InvalidInputError(
                f"a commit is refused that JSON cannot hold: {error}"
            ) from error
        if len(data) > METADATA_MAX_BYTES:
            raise MetadataTooLargeError(str(change.name), len(data), METADATA_MAX_BYTES)
        key = self._store.key(location)
        attempt.keys.append(key)
        self._store.create(key, data)
        attempt.sizes[location] = len(data)
        attempt.tables.append(
            LoadedTable(current.name if current else change.name, location, metadata)
        )

    def _move(
        self, tx: Transaction, attempt: Attempt, seal: Seal | None
    ) -> list[tuple[Record, int]]:
        for table, before in zip(attempt.tables, attempt.before, strict=True):
            if before is None:
                if find_pointer(tx, table.name) is not None:  # the same name in another case
                    raise LostError
                check_namespace_there(tx, table.name)
                insert_pointer(tx, Pointer(table.name, table.location))
            elif before is not table:
                keys = (CATALOG_NAME, *before.name, before.location)
                moved = tx.execute(MOVE, (table.location, before.location, *keys))
                if moved.rowcount != 1:
                    raise LostError
        if seal:
            seal(tx, attempt.tables)
        for each in attempt.tables:
            record().note((str(each.name),))
        told = store_with(tx)
        attempt.is_decided = True
        return told

    def _discard(self, attempt: Attempt) -> None:
        for key in attempt.keys:
            # What stays is an orphan; the error that led here matters more.
            with suppress(OSError, LakehouseError):
                self._store.delete(key)

    def rename(
        self, name: TableName, to: TableName, seal: Callable[[Transaction, LoadedTable], None]
    ) -> LoadedTable:
        """Give a table another name, which its metadata says, and return it; its files stay.

        Raises:
            TableExistsError: the new name is taken.
            NamespaceNotFoundError: there is no such namespace any more.
            CommitFailedError: the table is gone or was renamed meanwhile.
            ForbiddenError: the caller may not write under one of the names.
        """
        for each in (name, to):
            check_may_write(each)
        with self.locked([name, to]):
            for number in range(ATTEMPTS_MAX):
                try:
                    return self._rename(name, to, seal)
                except LostError:
                    time.sleep(random.uniform(0, BACKOFF_S * 2**number))
        raise CommitFailedError(f"{name} was changed by others {ATTEMPTS_MAX} times")

    def _rename(
        self, name: TableName, to: TableName, seal: Callable[[Transaction, LoadedTable], None]
    ) -> LoadedTable:
        before = self.find(name)
        if before is None:
            raise CommitFailedError(f"{name} is not there any more")
        named = [{"action": "set-properties", "updates": {NAME: str(to)}}]
        changed = apply(before.metadata, named)
        changed = with_log_entry(changed, before.location, before.metadata, now_ms())
        after = LoadedTable(to, metadata_location(changed, before.location), changed)

        def work(tx: Transaction) -> None:
            taken = find_pointer(tx, to)
            if taken is not None and taken.name != before.name:
                raise TableExistsError(str(to))
            check_no_view(tx, to)
            check_namespace_there(tx, to)
            keys = (CATALOG_NAME, *before.name, before.location)
            if tx.execute(RENAME, (*to, after.location, before.location, *keys)).rowcount != 1:
                raise LostError
            # A dropped table of the same name keeps its own.
            tx.execute(
                "UPDATE registered_object SET dataset = ? WHERE dataset = ?"
                " AND table_uuid NOT IN (SELECT table_uuid FROM dropped_table)",
                (str(to), str(before.name)),
            )
            seal(tx, after)

        key, data = self._store.key(after.location), self._texts.of(after.metadata)
        try:
            self._store.create(key, data)
            self._state.write(work)
        except (LakehouseError, LostError):  # of all others nobody knows whether they happened
            self._discard(Attempt(keys=[key]))
            raise
        self._cache.put(after.location, (after.metadata, len(data)))
        for each in (name, to):
            self.tell(each)
        return after


def may_read(name: TableName) -> bool:
    return may("read", table_resource(*name))


def check_may_write(name: TableName) -> None:
    """Raise `ForbiddenError` unless the caller may change the table, or make it."""
    check_may("write", table_resource(*name), f"the table {name}")


def find_pointer(tx: Transaction, name: TableName) -> Pointer | None:
    """Return the table of this name, ignoring ASCII case.

    Raises:
        InvalidNameError: another writer made two that differ by case alone, and neither is meant.
    """
    return the_one(tx.execute(FIND, (CATALOG_NAME, *name)).fetchall(), name, "table")


def find_view_pointer(tx: Transaction, name: TableName) -> Pointer | None:
    """Return the view of this name, as `find_pointer` does a table."""
    return the_one(tx.execute(FIND_VIEW, (CATALOG_NAME, *name)).fetchall(), name, "view")


def the_one(rows: Sequence[tuple[str, str, str]], name: TableName, what: str) -> Pointer | None:
    found = [Pointer(TableName(row[0], row[1]), row[2]) for row in rows]
    if len(found) > 1:
        found = [each for each in found if each.name == name]
        if not found:
            raise InvalidNameError(f"{what} name", str(name), f"two {what}s differ from it by case")
    return found[0] if found else None


def check_no_view(tx: Transaction, name: TableName) -> None:
    """Raise `NameTakenError` when a view has the name that a table is to have."""
    if row := tx.execute(FIND_VIEW, (CATALOG_NAME, *name)).fetchone():
        raise NameTakenError("view", f"{row[0]}.{row[1]}")


def insert_pointer(tx: Transaction, pointer: Pointer) -> None:
    """Add a table; `NameTakenError` when a view has its name."""
    check_no_view(tx, pointer.name)
    tx.execute(INSERT, (CATALOG_NAME, *pointer.name, pointer.location))


def find_namespace(tx: Transaction, name: str) -> str | None:
    """Return a namespace as it was created; other writers make one by a table in it."""
    row = tx.execute(
        "SELECT namespace FROM iceberg_namespace_properties"
        " WHERE catalog_name = ? AND lower(namespace) = lower(?)"
        " UNION SELECT table_namespace FROM iceberg_tables"
        " WHERE catalog_name = ? AND lower(table_namespace) = lower(?)"
        " LIMIT 1",
        (CATALOG_NAME, name) * 2,
    ).fetchone()
    return row[0] if row else None


def check_namespace_there(tx: Transaction, name: TableName) -> None:
    """Refuse a name in a namespace that was dropped since it was looked up."""
    if find_namespace(tx, name.namespace) is None:
        raise NamespaceNotFoundError(name.namespace)


def metadata_location(metadata: Json, previous: str | None) -> str:
    """Return where the next metadata file lies: `00007-<uuid>.metadata.json`."""
    number = 0
    if previous:
        head = previous.rpartition("/")[2].partition("-")[0]
        number = int(head) + 1 if head.isdecimal() else 0
    return f"{metadata['location']}/metadata/{number:05}-{uuid.uuid4()}.metadata.json"


def now_ms() -> int:
    return time.time_ns() // 1_000_000
