"""One immutable relation for each (table, snapshot): what a statement reads instead of a name.

Relations are views under names of our own, made on first use. Nothing is refreshed: another
snapshot is another relation. (Two writers of one view fail, and `CREATE OR REPLACE VIEW people`
silently replaces `People`: `iceberg.md`, Reading.)
"""

import hashlib
import re
import threading
import weakref
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from lakehouse.catalog.manifests import Manifests, has_deletes, live
from lakehouse.catalog.metadata import (
    ADOPTED,
    FORMAT_VERSION,
    NAME_MAPPING,
    Json,
    has_evolved,
    schema_of,
    snapshot_of,
)
from lakehouse.catalog.statistics import FLOATS
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import Field, duckdb_type
from lakehouse.database import Connection, drop_quietly, literal, quoted

# Where `iceberg_scan` begins to be faster. Medians on local disk, `count(*)`, in ms:
#     files         20       50       100      400       1,000
#     appended      1.5/8.7  2.2/19   4.0/47   19/147             read_parquet/iceberg_scan
#     one manifest  1.4/2.0  2.5/2.4  4.8/3.1  20/8.0    44/16
# So a file costs one 0.045 ms, and the other 1.8 ms + 0.015 a file + 0.35 a manifest.
FILES_MAX = 50
FILES_PER_MANIFEST = 10
FILES_LIMIT = 500
# A view costs 5 KB and 0.4 KB a file that it names: this is about 100 MB.
FILE_INDEX = "file_index"
KEPT_FILES_MAX = 250_000
VIEW_WEIGHT = 12
MAKERS = 32
DIGEST = 16
SCAN = "iceberg_scan("
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Relation:
    """The name of a view; the view stays for as long as somebody holds this."""

    name: str


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class Lease:
    """Files of these snapshots are read without a relation; they stay while somebody holds it."""

    table_uuid: str
    snapshot_ids: frozenset[int]


class Kept(NamedTuple):
    weight: int
    held: "weakref.ReferenceType[Relation]"
    scans: str | None
    """The metadata file that the view reads through, if it does."""


class Relations:
    def __init__(self, manifests: Manifests) -> None:
        self.generation = 0
        """Grows before files are deleted: who read a pointer before that looks again."""
        self._manifests = manifests
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._weight = 0
        self._leases: weakref.WeakSet[Lease] = weakref.WeakSet()
        self._lock = threading.Lock()
        # Who makes or drops a view holds the lock of its name: two writers of one view fail.
        self._making = [threading.Lock() for _ in range(MAKERS)]

    def get(
        self,
        cursor: Connection,
        table: LoadedTable,
        snapshot: Json | None,
        schema: Json,
        files: Sequence[str] | None = None,
    ) -> Relation:
        """Return the relation that reads this snapshot with `schema`, made now if it is not there.

        Args:
            schema: the snapshot's own; of the current snapshot also the current one.
            files: of the snapshot, sorted, those to read; None for all of them.

        Raises:
            ObjectNotFoundError, EngineIOError: files of the snapshot are gone.
        """
        snapshot_id = snapshot["snapshot-id"] if snapshot else 0
        prefix = relation_prefix(table.metadata["table-uuid"])
        said = orjson.dumps([snapshot and snapshot["manifest-list"], schema])  # ids come again
        name = f"{prefix}{snapshot_id}_{hashlib.sha256(said).hexdigest()[:DIGEST]}"
        if files is not None:
            name += f"_{hashlib.sha256(chr(10).join(files).encode()).hexdigest()[:DIGEST]}"
        found = self._find(name)
        if found:
            return found
        with self._maker(name):
            found = self._find(name)
            if found:
                return found
            sql, file_count = relation_sql(self._manifests, table, snapshot, schema, files)
            cursor.execute(f"CREATE VIEW IF NOT EXISTS {quoted(name)} AS {sql}")
            made = Relation(name)
            with self._lock:
                scans = table.location if SCAN in sql else None
                self._kept[name] = Kept(VIEW_WEIGHT + file_count, weakref.ref(made), scans)
                self._weight += self._kept[name].weight
        self._drop_old(cursor)
        return made

    def is_read(self, table_uuid: str) -> bool:
        """Return whether a statement reads any snapshot of a table whose files are to go."""
        self.next_generation()
        return bool(self.in_use(table_uuid))

    def next_generation(self) -> None:
        """Say that files of the past are about to go. Afterwards ask what is `in_use`.

        A statement holds its relations before it looks at the generation a second time: it is
        seen here, or it sees the new number.
        """
        with self._lock:
            self.generation += 1

    def in_use(self, table_uuid: str) -> set[int]:
        """Return the snapshots of a table that statements read now."""
        prefix = relation_prefix(table_uuid)
        with self._lock:
            leased = [each for each in self._leases if each.table_uuid == table_uuid]
            return {
                int(name.removeprefix(prefix).partition("_")[0])
                for name, kept in self._kept.items()
                if name.startswith(prefix) and kept.held() is not None
            }.union(*(each.snapshot_ids for each in leased))

    def lease(self, table_uuid: str, snapshot_ids: Iterable[int]) -> Lease:
        """Return what keeps the files of snapshots while it is held; look at `generation` after."""
        lease = Lease(table_uuid, frozenset(snapshot_ids))
        with self._lock:
            self._leases.add(lease)
        return lease

    def _find(self, name: str) -> Relation | None:
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                return None
            self._kept.move_to_end(name)
            relation = kept.held()
            if relation is None:
                relation = Relation(name)
                self._kept[name] = kept._replace(held=weakref.ref(relation))
            return relation

    def _maker(self, name: str) -> threading.Lock:
        return self._making[hash(name) % MAKERS]

    def _drop_old(self, cursor: Connection) -> None:
        """Drop the views least recently used that nobody holds, down to the bound."""
        with self._lock:
            if self._weight <= KEPT_FILES_MAX:
                return
            names = [name for name, kept in self._kept.items() if kept.held() is None]
        for name in names:
            if self._weight <= KEPT_FILES_MAX:
                return
            self._drop(cursor, name)

    def _drop(self, cursor: Connection, name: str) -> None:
        """Drop a view, unless somebody holds it."""
        with self._maker(name):
            with self._lock:
                kept = self._kept.get(name)
                if kept is None or kept.held() is not None:
                    return
                del self._kept[name]
                self._weight -= kept.weight
            drop_quietly(cursor, name)

    def let_go(self, cursor: Connection, metadata_files: Collection[str]) -> set[str]:
        """Drop the views that read through these files, and return the files of those in use."""
        self.next_generation()
        for name in self._scanning(metadata_files):
            self._drop(cursor, name)
        return {scans for scans in self._scanning(metadata_files).values() if scans}

    def _scanning(self, metadata_files: Collection[str]) -> dict[str, str | None]:
        with self._lock:
            return {
                name: kept.scans
                for name, kept in self._kept.items()
                if kept.scans in metadata_files
            }


def relation_prefix(table_uuid: str) -> str:
    return f"r_{table_uuid.replace('-', '')}_"


def relation_sql(
    manifests: Manifests,
    table: LoadedTable,
    snapshot: Json | None,
    schema: Json,
    chosen: Sequence[str] | None = None,
) -> tuple[str, int]:
    """Return the SELECT that reads exactly `snapshot` of `table`, and how many files it names.

    Of some `chosen` files it reads those: `matching` must be able to say how.

    `read_parquet` for few files, `iceberg_scan` for many and wherever there are deletes or nested
    columns were changed: it leaves files out by the bounds in the manifests.
    """
    fields = schema["fields"]
    listed = manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
    holding = list(live(listed))
    if not holding or chosen == ():
        return empty_sql(fields), 0
    assert snapshot is not None, "only a snapshot lists manifests"
    count = sum(m.added_files_count or 0 for m in holding)
    count += sum(m.existing_files_count or 0 for m in holding)
    few = min(FILES_MAX + FILES_PER_MANIFEST * len(holding), FILES_LIMIT)
    found_by = matching(table.metadata, fields)
    if chosen is not None:
        assert found_by is not None, "files can be chosen of tables that `read_parquet` reads"
        return files_sql(fields, chosen, found_by=found_by), len(chosen)
    if count <= few and found_by is not None and not has_deletes(listed):
        files = sorted(each.location for each in manifests.live_files(holding))
        return files_sql(fields, files, found_by=found_by), len(files)
    columns = ", ".join(map(unpruned, fields))
    return f"SELECT {columns} FROM {SCAN}{scanned(table, snapshot, schema)})", 1


def unpruned(field: Field) -> str:
    """Return a column of `iceberg_scan` so that it leaves out no file with a row of the answer.

    Bounds leave NaN out (https://iceberg.apache.org/spec/#manifests), to the engine it is above all
    numbers, and `iceberg_scan` drops a file of which the upper bound is below what is asked for.
    Of a product it knows no bounds; this one keeps every value, -0.0 and NaN too.
    """
    name = quoted(field["name"])
    if not isinstance(field["type"], str) or field["type"] not in FLOATS:
        return name
    return f"{name} * CAST(1 AS {duckdb_type(field['type'])}) AS {name}"


def matching(metadata: Json, fields: Sequence[Field]) -> str | None:
    """Return the option by which `read_parquet` finds columns in every file of the table, if any.

    None when it cannot find them: what is inside structs it knows by name, never by id; and of
    schemas that another engine has removed nobody knows what they were.
    """
    schemas = metadata["schemas"]
    if metadata["format-version"] > FORMAT_VERSION:
        return None  # columns have defaults there
    if len(schemas) <= max(each["schema-id"] for each in schemas):
        return None
    by_name = NAME_MAPPING in metadata["properties"]
    # Other engines write `a b` as `a_x20b` into their files: those have the right ids alone.
    are_plain = all(PLAIN_NAME.fullmatch(each["name"]) for each in fields)
    is_by_name = are_plain and ADOPTED not in metadata["properties"]
    if not has_evolved(metadata) and (by_name or is_by_name):
        return ""
    if by_name:
        return None
    types = {each["id"]: each["type"] for each in fields if not isinstance(each["type"], str)}
    for field in (each for schema in schemas for each in schema["fields"]):
        if types.get(field["id"], field["type"]) != field["type"]:
            return None
    entries = ", ".join(
        f"{each['id']}: {{name: {literal(each['name'])}, "
        f"type: {literal(duckdb_type(each['type']))}, default_value: NULL}}"
        for each in fields
    )
    return f"schema = MAP {{{entries}}}"


def scanned(table: LoadedTable, snapshot: Json, schema: Json) -> str:
    """Return the arguments by which `iceberg_scan` reads `snapshot` with `schema`.

    Asked for a snapshot, it takes the schema that this was made with; asked for none, the current.
    """
    if schema["schema-id"] == snapshot.get("schema-id", table.metadata["current-schema-id"]):
        return f"{literal(table.location)}, snapshot_from_id := {int(snapshot['snapshot-id'])}"
    assert snapshot == snapshot_of(table.metadata) and schema == schema_of(table.metadata)
    return literal(table.location)


def files_sql(
    fields: Sequence[Field], files: Sequence[str], *, found_by: str = "", file_column: str = ""
) -> str:
    """Return the SELECT that reads these data files, at least one, with these columns.

    Args:
        found_by: what `matching` says of the table.
        file_column: also a column of this name, with the place of each row's file in `files`.
    """
    if file_column and any(each["name"].lower() == FILE_INDEX for each in fields):
        # The table's own column hides that of the engine: one SELECT a file says it too.
        return " UNION ALL ".join(
            f"SELECT *, {number} AS {quoted(file_column)}"
            f" FROM ({files_sql(fields, [file], found_by=found_by)})"
            for number, file in enumerate(files)
        )
    names = [quoted(each["name"]) for each in fields]
    if file_column:
        # Not the option `filename`: with it a condition on a column of that name leaves files out.
        names.append(f"{FILE_INDEX} AS {quoted(file_column)}")
    # A folder `k=v` anywhere above, the data directory's too, would become a column.
    options = ["hive_partitioning = false", *([found_by] if found_by else [])]
    listed = f"[{', '.join(map(literal, files))}]"
    return f"SELECT {', '.join(names)} FROM read_parquet({', '.join([listed, *options])})"


def empty_sql(fields: Sequence[Field]) -> str:
    """`read_parquet([])` does not bind, so an empty table has a relation of its own."""
    columns = ", ".join(
        f"CAST(NULL AS {duckdb_type(each['type'])}) AS {quoted(each['name'])}" for each in fields
    )
    return f"SELECT {columns} WHERE false"
