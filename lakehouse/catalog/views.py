"""Views: statements under a name, kept as the Iceberg view specification says.

A view is a row of `iceberg_tables` of the type VIEW, as Java's catalogs keep theirs: PyIceberg's
`SqlCatalog` reads past it, and no table can have its name. Its metadata is a file in a folder of
its own; the pointer moves by compare-and-set. Files that nothing names any more stay until orphans
are removed, so that `register` brings a view back that was dropped.
"""

import random
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeAlias

import orjson

from lakehouse.audit import Record, record, store_with, stored
from lakehouse.auth import EVERYTHING, check_may
from lakehouse.catalog.cache import Cache
from lakehouse.catalog.errors import (
    CommitFailedError,
    CommitStateUnknownError,
    InvalidViewError,
    NameTakenError,
    NotAdoptableError,
    PlaceTakenError,
    ViewDamagedError,
    ViewExistsError,
    ViewNotFoundError,
)
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.metadata import Json
from lakehouse.catalog.models import Column, TableName
from lakehouse.catalog.namespaces import Namespaces
from lakehouse.catalog.new_tables import slug
from lakehouse.catalog.places import (
    POINTERS,
    RESERVED,
    TABLES,
    VIEWS,
    check_folder,
    check_key,
    check_there,
    places_of,
)
from lakehouse.catalog.tables import (
    ATTEMPTS_MAX,
    BACKOFF_S,
    CATALOG_NAME,
    MOVE,
    NOT_COMMITTED,
    RENAME,
    LostError,
    Pointer,
    Tables,
    check_may_write,
    check_namespace_there,
    find_pointer,
    find_view_pointer,
    may_read,
    now_ms,
)
from lakehouse.catalog.types import to_columns
from lakehouse.catalog.view_metadata import (
    OURS,
    apply,
    check_requirements,
    check_taken,
    new_metadata,
    read_view,
    schema_of,
    texts_of,
    version_of,
)
from lakehouse.errors import LakehouseError
from lakehouse.failpoints import reach
from lakehouse.names import check_new_name
from lakehouse.state import State, Transaction, UniqueViolationError
from lakehouse.storage import ObjectNotFoundError, Store

METADATA_PATH = "write.metadata.path"
CACHED_MAX_BYTES = 8 * 1024 * 1024
"""Of files; what is kept of them takes some five times that."""
UPDATES_MAX = 1_000
"""In one commit."""
LOCATION_MAX = 1_000
FILE_MAX_BYTES = 16 * 1024 * 1024
"""Of a view's file: all of it is read, whatever it is, and written anew by each commit."""
INSERT = """
    INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location,
                                previous_metadata_location, iceberg_type)
    VALUES (?, ?, ?, ?, NULL, 'VIEW')
"""
DELETE = """
    DELETE FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ? AND table_name = ?
      AND metadata_location = ?
"""


@dataclass(frozen=True, slots=True)
class LoadedView:
    """A view at one state: where its metadata lies, and what it says. Never change it."""

    name: TableName
    location: str
    metadata: Json

    @property
    def version(self) -> Json:
        """The current version, in the words of the specification."""
        return version_of(self.metadata)

    @property
    def texts(self) -> Mapping[str, str]:
        """The SQL of the current version by its dialect, in lower case."""
        return texts_of(self.version)

    @property
    def columns(self) -> Sequence[Column]:
        """The columns that the view says it has.

        Raises:
            UnsupportedTypeError: one has a type that is not known here.
        """
        return to_columns(schema_of(self.metadata)["fields"])


Keep: TypeAlias = Idempotency[LoadedView] | None
"""What is kept of a request with a key, in the transaction of its change."""


class Views:
    """All that is done with views. Names are unique ignoring case, among tables and views."""

    def __init__(
        self,
        state: State,
        store: Store,
        tables: Tables,
        namespaces: Namespaces,
        keys: IdempotencyKeys,
    ) -> None:
        self._keys = keys
        self._state = state
        self._store = store
        self._tables = tables  # its locks are by name: a table and a view of one exclude each other
        self._namespaces = namespaces
        self._cache: Cache[tuple[Json, int]] = Cache(CACHED_MAX_BYTES, itemgetter(1))

    def names(self) -> list[TableName]:
        """Return the names of all views that the caller may see, sorted."""

        def work(tx: Transaction) -> Sequence[tuple[str, str]]:
            return tx.execute(
                "SELECT table_namespace, table_name FROM iceberg_tables"
                " WHERE catalog_name = ? AND iceberg_type = 'VIEW'"
                " ORDER BY table_namespace, table_name",
                (CATALOG_NAME,),
            ).fetchall()

        found = [TableName(*row) for row in self._state.read(work)]
        return sorted(name for name in found if may_read(name))

    def find(self, name: TableName) -> LoadedView | None:
        """Return the view as it is now; None when there is none, for this caller.

        Raises:
            ViewDamagedError: its file is gone or unreadable.
        """
        pointer = self._state.read(lambda tx: find_view_pointer(tx, name))
        if pointer is None or not may_read(pointer.name):
            return None
        return LoadedView(pointer.name, pointer.location, self._metadata(pointer))

    def locations(self, names: Sequence[TableName]) -> list[str | None]:
        """Return where the metadata of each view lies; None for one that is not there."""
        found = self._state.read(lambda tx: [find_view_pointer(tx, name) for name in names])
        return [each.location if each and may_read(each.name) else None for each in found]

    def load(self, name: TableName) -> LoadedView:
        """Return the view as it is now; `ViewNotFoundError` when there is none."""
        found = self.find(name)
        if found is None:
            raise ViewNotFoundError(str(name))
        return found

    def at(self, name: TableName, location: str) -> LoadedView:
        """Return a view as it was at a metadata file; as it is now once that is gone."""
        try:
            return LoadedView(name, location, self._metadata(Pointer(name, location)))
        except ViewDamagedError:
            return self.load(name)

    def _metadata(self, pointer: Pointer) -> Json:
        def read() -> tuple[Json, int]:
            data = self._store.read(self._store.key(pointer.location))
            return read_view(data), len(data)

        try:
            return self._cache.get(pointer.location, read)[0]
        except ObjectNotFoundError as error:
            raise ViewDamagedError(str(pointer.name), "its metadata file is gone") from error
        except (ValueError, OSError) as error:
            reason = f"its metadata file cannot be read ({error})"
            raise ViewDamagedError(str(pointer.name), reason) from error

    # Changes.

    def create(
        self,
        name: TableName,
        *,
        schema: Json,
        version: Json,
        properties: Mapping[str, str],
        location: str | None = None,
        idempotency: Keep = None,
    ) -> LoadedView:
        """Create a view and return it.

        Args:
            version: a version of a view in the protocol's words; its ids and its time are given.
            location: what the view says of where it lies. Its file lies in a folder of ours.

        Raises:
            ViewExistsError: there is one of the name.
            NameTakenError: a table has the name.
            NamespaceNotFoundError: there is no such namespace.
            InvalidViewError: it cannot be a view.
            ForbiddenError: the caller may not write there.
        """
        view_uuid = uuid.uuid4()
        name = self._placed(name)
        folder = self._folder(name, view_uuid)
        metadata = new_metadata(
            view_uuid=str(view_uuid),
            location=checked_location(location) if location else self._store.uri(folder),
            schema=schema,
            version=version,
            properties=properties,
            now_ms=now_ms(),
        )
        return self._insert(name, folder, metadata, idempotency)

    def register(self, name: TableName, location: str, *, idempotency: Keep = None) -> LoadedView:
        """Take over the view whose metadata lies in a file of the warehouse, and return it.

        The file is copied: what others write beside it is not the view's.

        Raises:
            As `create`.
            NothingToAdoptError, NotAdoptableError: there is no such file, or none that is taken.
            InvalidViewError: it lies outside of the warehouse, or is no metadata of a view.
        """
        check_may("write", EVERYTHING, "files that lie in the warehouse: they may be of any view")
        name = self._placed(name)
        self._state.read(lambda tx: check_free(tx, name))
        # A view that was dropped lies among the views.
        key = check_there(self._store, self._key(location), RESERVED - {VIEWS})
        if (self._store.size(key) or 0) > FILE_MAX_BYTES:
            raise InvalidViewError(f"the file is refused: it has over {FILE_MAX_BYTES:,} bytes")
        try:
            metadata = read_view(self._store.read(key))
        except ValueError as error:
            raise InvalidViewError(f"the file is refused: {error}") from error
        check_taken(metadata)
        return self._insert(name, self._folder(name, uuid.uuid4()), metadata, idempotency)

    def _key(self, location: str) -> str:
        try:
            return self._store.key(location)
        except ValueError:
            raise InvalidViewError("the metadata file lies outside of the warehouse") from None

    def _placed(self, name: TableName) -> TableName:
        """Return `name`, fit for a view that is made, with its namespace as that was created."""
        check_may_write(name)
        return TableName(
            self._namespaces.get(name.namespace), check_new_name("view name", name.name)
        )

    def _folder(self, name: TableName, unique: uuid.UUID) -> str:
        return f"{VIEWS}/{slug(name.namespace)}/{slug(name.name)}-{unique.hex[:8]}"

    def _asked_root(self, metadata: Json, folder: str) -> str | None:
        """Return the folder of the warehouse that a view asks to lie in; None for another place.

        A table's folder is another place, too: its owner may delete what lies there.
        """
        asked = str(metadata["properties"].get(METADATA_PATH, "")).rstrip("/")
        try:
            key = check_key(self._store, self._store.key(asked))
            if key.split("/")[0] == TABLES:
                return None
            self._state.read(lambda tx: self._check_place(tx, f"{key}/{folder}"))
        except (ValueError, NotAdoptableError, PlaceTakenError):
            return None
        return asked

    def _check_place(self, tx: Transaction, folder: str) -> None:
        """Refuse a folder of a view that lies in that of a table, or of another view."""
        check_folder(folder, places_of(tx.execute(POINTERS).fetchall(), self._store))

    def _insert(
        self, name: TableName, folder: str, metadata: Json, idempotency: Keep
    ) -> LoadedView:
        asked = self._asked_root(metadata, folder)
        root = asked or self._store.uri("").rstrip("/")
        view = LoadedView(name, f"{root}/{folder}/metadata/{file_name(None)}", metadata)

        def work(tx: Transaction) -> None:
            check_free(tx, name)
            check_namespace_there(tx, name)
            if asked is not None:  # a table may have come to lie there meanwhile
                self._check_place(tx, self._store.key(f"{root}/{folder}"))
            tx.execute(INSERT, (CATALOG_NAME, *name, view.location))

        with self._tables.locked([name]):
            try:
                return self._write(view, work, idempotency)
            except LostError:  # another process had the same name in the same moment
                self._state.read(lambda tx: check_free(tx, name))
                raise CommitFailedError(f"{name} was made and dropped by others") from None

    def commit(
        self,
        name: TableName,
        updates: Sequence[Json],
        requirements: Sequence[Json],
        *,
        idempotency: Keep = None,
    ) -> LoadedView:
        """Change a view and return it. When somebody was faster, the change is made once more.

        Args:
            updates, requirements: in the protocol's words; `UPDATES_MAX` updates at most.

        Raises:
            ViewNotFoundError: there is no such view.
            CommitFailedError: a requirement does not hold, or others were always faster.
            InvalidInputError: an update is unknown, or cannot be done, or there are too many.
            ForbiddenError: the caller may see the view, and may not write it.
        """
        self.load(name)
        check_may_write(name)
        if len(updates) > UPDATES_MAX:
            raise InvalidViewError(
                f"{len(updates):,} updates are too many for one commit of a view: "
                f"{UPDATES_MAX:,} are the most"
            )
        with self._tables.locked([name]):
            for number in range(ATTEMPTS_MAX):
                try:
                    return self._commit(self.load(name), updates, requirements, idempotency)
                except LostError:
                    time.sleep(random.uniform(0, BACKOFF_S * 2**number))
        raise CommitFailedError(f"{name} was changed by others {ATTEMPTS_MAX} times")

    def _commit(
        self,
        before: LoadedView,
        updates: Sequence[Json],
        requirements: Sequence[Json],
        idempotency: Keep,
    ) -> LoadedView:
        check_requirements(before.metadata, requirements)
        metadata = apply(before.metadata, updates, now_ms())
        checked_location(metadata["location"])
        if metadata == before.metadata:
            self._state.write(lambda tx: self._keys.record(tx, idempotency, before))
            return before
        after = LoadedView(before.name, next_location(before.location), metadata)

        def work(tx: Transaction) -> None:
            keys = (CATALOG_NAME, *before.name, before.location)
            if tx.execute(MOVE, (after.location, before.location, *keys)).rowcount != 1:
                raise LostError

        return self._write(after, work, idempotency)

    def rename(self, name: TableName, to: TableName, *, idempotency: Keep = None) -> LoadedView:
        """Give a view another name, and return it. Its file stays, which clients compare.

        Raises:
            ViewNotFoundError, NamespaceNotFoundError: there is no such view or namespace.
            ViewExistsError, NameTakenError: the new name is taken.
            ForbiddenError: the caller may not write under one of the names.
        """
        self.load(name)
        check_may_write(name)
        to = self._placed(to)
        with self._tables.locked([name, to]):
            for number in range(ATTEMPTS_MAX):
                before = self.load(name)
                try:
                    return self._rename(before, to, idempotency)
                except LostError:
                    time.sleep(random.uniform(0, BACKOFF_S * 2**number))
        raise CommitFailedError(f"{name} was changed by others {ATTEMPTS_MAX} times")

    def _rename(self, before: LoadedView, to: TableName, idempotency: Keep) -> LoadedView:
        after = LoadedView(to, before.location, before.metadata)

        def work(tx: Transaction) -> list[tuple[Record, int]]:
            check_free(tx, to, but=before.name)
            check_namespace_there(tx, to)
            keys = (CATALOG_NAME, *before.name, before.location)
            if tx.execute(RENAME, (*to, before.location, None, *keys)).rowcount != 1:
                raise LostError
            self._keys.record(tx, idempotency, after)
            record().note((str(before.name), str(to)))
            return store_with(tx)

        stored(self._state.write(work))
        return after

    def drop(self, name: TableName, *, idempotency: Keep = None) -> None:
        """Take a view out of the catalog. Its file stays until orphans are removed.

        Raises:
            ViewNotFoundError: there is no such view.
            ForbiddenError: the caller may see it, and may not write it.
        """

        def work(tx: Transaction) -> list[tuple[Record, int]]:
            found = find_view_pointer(tx, name)
            if found is None or not may_read(found.name):
                raise ViewNotFoundError(str(name))
            tx.execute(DELETE, (CATALOG_NAME, *found.name, found.location))
            gone = LoadedView(found.name, found.location, {})
            self._keys.record(tx, idempotency, gone)
            record().note((str(found.name),))
            return store_with(tx)

        if not may_read(name):
            raise ViewNotFoundError(str(name))
        check_may_write(name)
        with self._tables.locked([name]):
            stored(self._state.write(work))

    def _write(
        self, view: LoadedView, work: Callable[[Transaction], None], idempotency: Keep
    ) -> LoadedView:
        """Write the file of a view and move its pointer to it, or leave nothing behind.

        Raises:
            InvalidViewError: the file would be too long.
        """
        decided: list[bool] = []

        def move(tx: Transaction) -> list[tuple[Record, int]]:
            work(tx)
            self._keys.record(tx, idempotency, view)
            record().note((str(view.name),))
            told = store_with(tx)
            decided.append(True)  # whether it is on the disk is up to the database now
            return told

        ours = {"namespace": view.name.namespace, "name": view.name.name, "updated-ms": now_ms()}
        view = LoadedView(view.name, view.location, {**view.metadata, OURS: ours})
        key, data = self._store.key(view.location), written(view.metadata)
        try:
            self._store.create(key, data)
            reach("after-metadata")
            stored(self._state.write(move))
        except BaseException as error:
            if decided and not isinstance(error, NOT_COMMITTED):
                raise CommitStateUnknownError(str(view.name)) from error
            with suppress(OSError, LakehouseError):  # what stays is an orphan
                self._store.delete(key)
                self._store.delete_empty_folders(key.rpartition("/metadata/")[0])
            if isinstance(error, UniqueViolationError):
                raise LostError from error
            raise
        reach("after-pointer")
        self._cache.put(view.location, (view.metadata, len(data)))
        return view


def check_free(tx: Transaction, name: TableName, but: TableName | None = None) -> None:
    """Refuse a name that a view other than `but` has, or a table."""
    view = find_view_pointer(tx, name)
    if view is not None and view.name != but:
        raise ViewExistsError(str(view.name))
    table = find_pointer(tx, name)
    if table is not None:
        raise NameTakenError("table", str(table.name))


def checked_location(location: str) -> str:
    """Return what a view says of where it lies, which nothing is read by."""
    if len(location) > LOCATION_MAX:
        raise InvalidViewError(f"a location has {LOCATION_MAX:,} characters at most")
    return location


def file_name(before: str | None) -> str:
    """Return the name of the metadata file that follows another: `00007-<uuid>.metadata.json`."""
    head = before.partition("-")[0] if before else ""
    return f"{int(head) + 1 if head.isdecimal() else 0:05}-{uuid.uuid4()}.metadata.json"


def next_location(location: str) -> str:
    folder, _, name = location.rpartition("/")
    return f"{folder}/{file_name(name)}"


def written(metadata: Json) -> bytes:
    try:
        data = orjson.dumps(metadata)
    except TypeError as error:  # a whole number of more than 64 bits in a field that we do not know
        raise InvalidViewError(f"a view is refused that JSON cannot hold: {error}") from error
    if len(data) > FILE_MAX_BYTES:
        raise InvalidViewError(
            f"a view is refused whose metadata has {len(data):,} bytes: "
            f"{FILE_MAX_BYTES:,} are the most"
        )
    return data
