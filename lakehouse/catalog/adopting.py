"""Tables of files that lie in the warehouse already: they are read where they lie, none is copied.

Parquet becomes the data files of a table, an Iceberg table comes into the catalog with its whole
history. The files belong to whoever put them there: outside of `tables/` maintenance deletes none.
"""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lakehouse.auth import EVERYTHING, check_may
from lakehouse.catalog.adopted_files import NOT_ALL_KNOWN, remember, remembered
from lakehouse.catalog.errors import (
    NotAdoptableError,
    NothingToAdoptError,
    SchemaDriftError,
    TableDamagedError,
    TableExistsError,
    TableKnownError,
    UnsupportedTypeError,
)
from lakehouse.catalog.foreign import Foreign, check_newest, read_foreign
from lakehouse.catalog.health import naming_damage
from lakehouse.catalog.idempotency import Idempotency, IdempotencyKeys
from lakehouse.catalog.manifests import Manifests, NewFile
from lakehouse.catalog.metadata import ADOPTED, current_snapshot_id, schema_of
from lakehouse.catalog.models import Adopt, Column, Table, TableName
from lakehouse.catalog.parquet import ParquetFooter, read_footer
from lakehouse.catalog.places import (
    POINTERS,
    TABLES,
    Place,
    check_folder,
    check_key,
    check_own_folder,
    check_there,
    places_of,
)
from lakehouse.catalog.rules import ancestors
from lakehouse.catalog.table import TableState, table_model
from lakehouse.catalog.tables import NAME, Change, Draft, LoadedTable, Tables
from lakehouse.catalog.types import Field, make_fields, paths, to_columns
from lakehouse.errors import InvalidInputError
from lakehouse.state import State, Transaction
from lakehouse.storage import Store

FILES_MAX = 10_000
METADATA_SUFFIX = ".metadata.json"


@dataclass(frozen=True, slots=True)
class Found:
    """A Parquet file that is to become a data file, and what its footer says."""

    key: str
    size_bytes: int
    footer: ParquetFooter


class Adopting:
    def __init__(
        self,
        state: State,
        store: Store,
        tables: Tables,
        manifests: Manifests,
        keys: IdempotencyKeys,
        add_files: Callable[..., TableState],
        placed: Callable[[TableName], TableName],
        *,
        checks: bool = True,
    ) -> None:
        self._state = state
        self._store = store
        self._tables = tables
        self._manifests = manifests
        self._keys = keys
        self._add_files = add_files
        self._placed = placed
        self._checks = checks
        # One at a time: the same file twice would be its rows twice.
        self._adopting = threading.Lock()

    def adopt(
        self, name: TableName, request: Adopt, idempotency: Idempotency[Table] | None = None
    ) -> Table:
        """Make a table of what lies there, and return it.

        Parquet is added to a table that is there already; what it has of it stays once.

        Raises:
            NothingToAdoptError: no such file is there.
            NotAdoptableError, UnsupportedTypeError, NotParquetError: it cannot be part of a table.
            SchemaDriftError: the files have different columns, or others than the table.
            PlaceTakenError, TableKnownError: it belongs to another table, or is one.
            TableExistsError: an Iceberg table cannot go into one that is there.
            ForbiddenError: the caller may not write everything.
        """
        check_may("write", EVERYTHING, "files that lie in the warehouse: they may be of any table")
        given = [bool(request.files), request.prefix is not None, request.metadata is not None]
        if sum(given) != 1:
            raise InvalidInputError("say one of `files`, `prefix` and `metadata`")
        with self._adopting:
            if request.metadata is not None:
                return self._adopt_table(name, request.metadata, idempotency)
            files = request.files if request.prefix is None else self._below(request.prefix)
            return self._adopt_files(
                name, list(dict.fromkeys(files)), idempotency, prefix=request.prefix
            )

    # Parquet.

    def _below(self, prefix: str) -> list[str]:
        """Return the Parquet files of a folder; names that begin with `_` or `.` are no data."""
        folder = check_key(self._store, prefix.rstrip("/"))
        found = []
        for key in self._store.keys(folder):
            if key.endswith(METADATA_SUFFIX):
                raise NotAdoptableError(key, "an Iceberg table lies there; adopt it by `metadata`")
            inside = key.removeprefix(f"{folder}/")
            hidden = any(part[0] in "_." for part in inside.split("/"))
            if inside.endswith(".parquet") and not hidden:
                found.append(key)
        if not found:
            raise NothingToAdoptError(prefix, "no file *.parquet lies below it")
        if len(found) > FILES_MAX:
            reason = f"{len(found)} files lie below it; {FILES_MAX} can be adopted at once"
            raise NotAdoptableError(prefix, reason)
        return sorted(found)

    def _adopt_files(
        self,
        name: TableName,
        keys: Sequence[str],
        idempotency: Idempotency[Table] | None,
        *,
        prefix: str | None,
    ) -> Table:
        places = self._state.read(self._places)
        for key in keys:
            check_there(self._store, key)
            check_folder(key, places)
            check_no_table_folder(key)
            check_no_partition_folder(key)
        table = self._tables.find(name)
        there = self._files_of(table) if table else set()
        if NOT_ALL_KNOWN in there and prefix is not None:
            raise NotAdoptableError(
                prefix,
                f"which of its files {name} had before is not known since the catalog was rebuilt "
                "without its copy, and rows deleted from one would be back; name the new `files`",
            )
        found = [self._read(key) for key in keys if key not in there]
        fields = schema_of(table.metadata)["fields"] if table else []
        columns = agreed_columns(name, to_columns(fields), found)
        expected = fields or make_fields(columns)[0]
        carrying = [has_ids_of(expected, each) for each in found]  # every one is looked at
        if table and not found:
            answer = table_model(table, self._store)
            self._state.write(lambda tx: self._keys.record(tx, idempotency, answer))
            return answer
        return self._add(name, columns, found, not all(carrying), idempotency)

    def _read(self, key: str) -> Found:
        size_bytes = self._store.size(key)
        try:
            with self._store.open(key) as file:
                footer = read_footer(file, key)
        except UnsupportedTypeError as error:
            raise NotAdoptableError(key, error.detail) from error
        except OSError as error:
            raise NotAdoptableError(key, f"it cannot be opened ({error.strerror})") from error
        return Found(key, size_bytes or 0, footer)

    def _add(
        self,
        name: TableName,
        columns: Sequence[Column],
        found: Sequence[Found],
        by_name: bool,
        idempotency: Idempotency[Table] | None,
    ) -> Table:
        self._store.sync(each.key for each in found)  # whoever wrote them may not have
        answer: list[Table] = []

        def seal(tx: Transaction, now: LoadedTable) -> None:
            for each in found:
                if self._store.size(each.key) != each.size_bytes:
                    raise NotAdoptableError(each.key, "it was changed meanwhile")
            snapshot_id = current_snapshot_id(now.metadata)
            assert snapshot_id is not None, "it was just made"
            keys = [each.key for each in found]
            remember(tx, now.metadata["table-uuid"], snapshot_id, keys)
            answer[:] = [table_model(now, self._store)]
            self._keys.record(tx, idempotency, answer[0])

        files = [
            NewFile(self._store.uri(each.key), each.footer.row_count, each.size_bytes)
            for each in found
        ]
        self._add_files(name, columns, files, properties={}, seal=seal, by_name=by_name)
        return answer[0]

    def _files_of(self, table: LoadedTable) -> set[str]:
        """Return the keys of the files that the table has, or had before a change of their rows.

        Adopted again, those would bring deleted rows back, and updated ones as they were.
        """
        known = self._state.read(lambda tx: remembered(tx, table.metadata))
        by_id = {each["snapshot-id"]: each for each in table.metadata["snapshots"]}
        current = table.metadata.get("current-snapshot-id")
        with naming_damage(table.name):
            return known | {
                self._store.key(each.location)
                for snapshot in ancestors(by_id, current)
                for each in self._manifests.live_files(
                    self._manifests.read_list(snapshot["manifest-list"])
                )
            }

    # An Iceberg table.

    def _adopt_table(
        self, name: TableName, key: str, idempotency: Idempotency[Table] | None
    ) -> Table:
        if self._tables.find(name):
            raise TableExistsError(str(name))
        target = self._placed(name)
        found = read_foreign(self._store, check_there(self._store, key), looks=self._checks)
        self._check_unknown(found, self._state.read(self._places))
        check_newest(self._store, found)
        self._store.sync(found.keys)
        answer: list[Table] = []

        def build(now: LoadedTable | None) -> Draft:
            if now:
                raise TableExistsError(str(now.name))
            named = {NAME: str(target), ADOPTED: found.location}
            return Draft(
                [{"action": "set-properties", "updates": named}],
                [{"type": "assert-create"}],
                base=found.metadata,
                follows=found.location,
            )

        def seal(tx: Transaction, tables: list[LoadedTable]) -> None:
            others = [each for each in self._places(tx) if each.pointer.name != tables[0].name]
            self._check_unknown(found, others)
            answer[:] = [table_model(tables[0], self._store)]
            self._keys.record(tx, idempotency, answer[0])

        self._tables.commit([Change(target, build)], seal)
        return answer[0]

    def _check_unknown(self, found: Foreign, places: Iterable[Place]) -> None:
        """Refuse a table that the catalog has, and a folder that is another table's."""
        for place in places:
            try:
                known = self._tables.metadata(place.pointer)["table-uuid"]
            except TableDamagedError:
                continue  # its folder is looked at all the same
            if known.lower() == found.metadata["table-uuid"].lower():
                raise TableKnownError(found.key, known, str(place))
        check_own_folder(found.folder, places)

    def _places(self, tx: Transaction) -> list[Place]:
        return places_of(tx.execute(POINTERS).fetchall(), self._store)


def check_no_table_folder(key: str) -> None:
    if key.startswith(f"{TABLES}/"):
        raise NotAdoptableError(key, "tables/ holds files that maintenance deletes; move it out")


def check_no_partition_folder(key: str) -> None:
    """Values of Hive folders are in no file, so the column would be missing."""
    for part in key.split("/")[:-1]:
        if "=" in part:
            raise NotAdoptableError(
                key,
                f"the value of {part!r} is in the folder's name and not in the file; write the "
                "column into the files, or load them with it",
            )


def agreed_columns(
    name: TableName, columns: Sequence[Column], found: Sequence[Found]
) -> Sequence[Column]:
    """Return the columns that the table and all files have; `SchemaDriftError` names a file."""
    for each in found:
        own = each.footer.columns
        columns = columns or own
        differences = [
            *(f"{each.key}: {c.name} {c.type} is missing" for c in columns if c not in own),
            *(
                f"{each.key}: {c.name} {c.type} is not in the others"
                for c in own
                if c not in columns
            ),
        ]
        if differences:
            raise SchemaDriftError(str(name), differences)
    return columns


def has_ids_of(fields: Sequence[Field], found: Found) -> bool:
    """Return whether a file carries the field ids of the table; False when it carries none.

    Raises:
        NotAdoptableError: it carries others, and its columns would be taken for each other.
    """
    given = found.footer.field_ids
    if not given:
        return False
    for path, field in paths(fields):
        field_id = field["id"]
        if given.get(path) != field_id:
            said = f"the field id {given[path]}" if path in given else "no field id"
            reason = f"its column {path!r} has {said}, the table's has {field_id}; load it instead"
            raise NotAdoptableError(found.key, reason)
    return True
