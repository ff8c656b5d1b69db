"""The Go contract's datasets: tables of `main`, by a manifest and a schema fingerprint.

Registering adds Parquet objects of the storage API to a table by reference. They belong to
whoever put them there: our maintenance never deletes one, and while a table reads an object it
can be neither replaced nor deleted through storage.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from typing import BinaryIO, TypeAlias

from lakehouse.catalog.catalog import Catalog
from lakehouse.catalog.errors import SchemaDriftError, TableDamagedError, TableNotFoundError
from lakehouse.catalog.fingerprint import FINGERPRINT, dataset_id
from lakehouse.catalog.idempotency import Idempotency
from lakehouse.catalog.manifests import NewFile
from lakehouse.catalog.models import Column, DatasetObject, DatasetRegister, Manifest, TableName
from lakehouse.catalog.parquet import ParquetFooter, read_footer
from lakehouse.catalog.table import TableState, known_fingerprint, table_state
from lakehouse.catalog.tables import LoadedTable, check_may_write
from lakehouse.errors import ConflictError, InvalidInputError
from lakehouse.names import DEFAULT_NAMESPACE, check_table_name
from lakehouse.state import State, Transaction
from lakehouse.storage import ObjectNotFoundError

REGISTERED_ROWS = "lakehouse.registered-row-count"


class FingerprintConflictError(ConflictError):
    retryable = False

    def __init__(self, name: str, known: str) -> None:
        super().__init__(
            f"the dataset {name!r} has the schema fingerprint {known}; another schema needs "
            "another name",
            dataset=name,
            schema_fingerprint=known,
        )


class RowCountMismatchError(InvalidInputError):
    def __init__(self, given: int, found: int) -> None:
        super().__init__(
            f"row_count is {given}, but the objects hold {found} rows; leave it out or mend it",
            given=given,
            found=found,
        )


Watching: TypeAlias = Callable[[Collection[str]], AbstractContextManager[Collection[str]]]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A user's object, as the storage module knows it."""

    key: str
    location: str
    """As Iceberg metadata and DuckDB know it."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ObjectLookup:
    """What datasets need of storage; `app.py` hands it in."""

    get: Callable[[str], StoredObject]
    """By the user's key; raises `ObjectNotFoundError`."""
    open: Callable[[str], BinaryIO]
    """A seekable file of the object's bytes, by the user's key."""
    watching: Watching
    """A block that knows which of the keys were put or deleted since it began."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """An object that is to become a data file, and what its footer says."""

    stored: StoredObject
    footer: ParquetFooter


@dataclass(frozen=True, slots=True)
class Adopting:
    """Objects that are to become part of one table."""

    columns: Sequence[Column]
    objects: Sequence[Adopted]
    there: Mapping[str, str]
    """The keys of those that are part of it already, by their locations."""
    changed: Collection[str]
    """The keys of `objects` that are not what they were."""


class Datasets:
    def __init__(self, catalog: Catalog, state: State, lookup: ObjectLookup) -> None:
        self._catalog = catalog
        self._state = state
        self._lookup = lookup
        # One registration at a time: the ancestor of this system once made 308 duplicates.
        self._registering = threading.Lock()

    def manifest(self, name: str) -> Manifest:
        """Return the manifest of a dataset; `TableNotFoundError` when there is none."""
        return self._manifest(check_table_name(DEFAULT_NAMESPACE, name))

    def names(self) -> Sequence[TableName]:
        """Return the names of all datasets, sorted."""
        return [name for name in self._catalog.names() if name.namespace == DEFAULT_NAMESPACE]

    def list(self, names: Sequence[TableName] | None = None) -> list[Manifest]:
        """Return the manifests of datasets that can be read, of all without `names`."""
        found = []
        for name in self.names() if names is None else names:
            # Dropped since, or damaged, which `/ready` says: neither hides the others.
            with suppress(TableNotFoundError, TableDamagedError):
                found.append(self._manifest(name))
        return found

    def register(
        self, request: DatasetRegister, *, idempotency: Idempotency[Manifest] | None = None
    ) -> Manifest:
        """Add the named objects to a dataset, which is made if it is not there.

        Raises:
            FingerprintConflictError: the dataset has another fingerprint.
            ObjectNotFoundError: an object is not there.
            NotParquetError, UnsupportedTypeError: it cannot be part of a table as it is.
            SchemaDriftError: the columns differ.
            RowCountMismatchError: the objects hold another number of rows.
            ForbiddenError: the caller may not write under that name, whatever is there.
        """
        name = check_table_name(DEFAULT_NAMESPACE, request.name)
        check_may_write(name)
        with self._registering:
            table = self._catalog.find(name)
            if table and known_fingerprint(table) != request.schema_fingerprint:
                raise FingerprintConflictError(table.name.name, known_fingerprint(table))
            there = self._registered(table) if table else {}
            named = dict.fromkeys(each.key for each in request.objects)
            keys = [key for key in named if key not in there.values()]
            with self._lookup.watching(keys) as changed:
                adopted = [self._adopt(key) for key in keys]
                columns = agreed_columns(name, table, adopted)
                if not there:
                    check_row_count(request.row_count, adopted)
                if table is None or adopted:
                    adopting = Adopting(columns, adopted, there, changed)
                    return self._add(table, name, request, adopting, idempotency)
            manifest = self._manifest(table.name)
            if idempotency:
                self._state.write(lambda tx: self._catalog.keys.record(tx, idempotency, manifest))
            return manifest

    def _adopt(self, key: str) -> Adopted:
        stored = self._lookup.get(key)
        with self._lookup.open(key) as file:
            footer = read_footer(file, key)
        return Adopted(stored, footer)

    def _add(
        self,
        table: TableState | None,
        name: TableName,
        request: DatasetRegister,
        adopting: Adopting,
        idempotency: Idempotency[Manifest] | None,
    ) -> Manifest:
        properties = {FINGERPRINT: request.schema_fingerprint}
        adopted = adopting.objects
        if request.row_count is not None and not adopted:
            properties[REGISTERED_ROWS] = str(request.row_count)

        keys = {**adopting.there, **{each.stored.location: each.stored.key for each in adopted}}
        manifests: list[Manifest] = []

        def seal(tx: Transaction, now: LoadedTable) -> None:
            # Storage replaces and deletes objects in this same database's transactions, so what
            # was read above is still what is there, or has changed by now.
            for each in adopted:
                if each.stored.key in adopting.changed:
                    raise ConflictError(f"the object {each.stored.key!r} was replaced meanwhile")
                tx.execute(
                    "INSERT INTO registered_object (object_key, table_uuid, dataset)"
                    " VALUES (?, ?, ?)",
                    (each.stored.key, now.metadata["table-uuid"], str(name)),
                )
            files, existing = self._catalog.objects(now), table is not None
            manifests[:] = [manifest_of(table_state(now), files, keys, existing)]
            self._catalog.keys.record(tx, idempotency, manifests[0])

        files = [
            NewFile(each.stored.location, each.footer.row_count, each.stored.size_bytes)
            for each in adopted
        ]
        self._catalog.loading.add_files(
            table.name if table else name,
            adopting.columns,
            files,
            properties={} if table else properties,
            seal=seal,
        )
        return manifests[0]

    def _registered(self, table: TableState) -> dict[str, str]:
        """Return the user's keys of a table's registered objects by their locations."""

        def work(tx: Transaction) -> list[tuple[str]]:
            return tx.execute(
                "SELECT object_key FROM registered_object WHERE table_uuid = ?", (table.uuid,)
            ).fetchall()

        locations = {}
        for (key,) in self._state.read(work):
            with suppress(ObjectNotFoundError):  # the table is damaged, and says so itself
                locations[self._lookup.get(key).location] = key
        return locations

    def _manifest(self, name: TableName) -> Manifest:
        table, files = self._catalog.contents(name)
        return manifest_of(table, files, self._registered(table), existing=True)


def manifest_of(
    table: TableState,
    files: Sequence[tuple[str, DatasetObject]],
    registered: Mapping[str, str],
    existing: bool,
) -> Manifest:
    """Return what the Go contract says of a dataset.

    Args:
        files: its data files, each with its location.
        registered: the user's keys of registered objects by their locations.
    """
    promised = int(table.properties.get(REGISTERED_ROWS, 0))
    return Manifest(
        dataset_id=dataset_id(table.name.name),
        name=table.name.name,
        schema_fingerprint=known_fingerprint(table),
        objects=[
            DatasetObject(registered.get(location, each.key), each.size, each.created_at)
            for location, each in files
        ],
        row_count=promised if table.snapshot_id is None else table.row_count,
        created_at=table.created_at,
        updated_at=table.updated_at,
        snapshot_id=table.snapshot_id,
        columns=list(table.columns),
        format=table.format,
        existing=existing,
    )


def agreed_columns(
    name: TableName, table: TableState | None, adopted: Sequence[Adopted]
) -> tuple[Column, ...]:
    """Return the columns that the table and all objects have; `SchemaDriftError` if they differ."""
    columns = table.columns if table else ()
    for each in adopted:
        found = each.footer.columns
        if not columns:
            columns = found
        differences = [
            *(f"{c.name} {c.type} is missing" for c in columns if c not in found),
            *(f"{c.name} {c.type} is not in the dataset" for c in found if c not in columns),
        ]
        if differences:
            raise SchemaDriftError(str(name), [f"{each.stored.key}: {d}" for d in differences])
        if each.footer.has_field_ids:
            raise InvalidInputError(
                f"the object {each.stored.key!r} carries field ids of another table; "
                "ingest it instead of registering it"
            )
    return columns


def check_row_count(given: int | None, adopted: Sequence[Adopted]) -> None:
    found = sum(each.footer.row_count for each in adopted)
    if given is not None and adopted and given != found:
        raise RowCountMismatchError(given, found)
