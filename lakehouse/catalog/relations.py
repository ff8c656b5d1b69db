"""One immutable relation for each (table, snapshot): what a statement reads instead of a name.

Relations are views under names of our own, made on first use. Nothing is refreshed: another
snapshot is another relation. (Two writers of one view fail, and `CREATE OR REPLACE VIEW people`
silently replaces `People`: `iceberg.md`, Reading.)
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from lakehouse.catalog.manifests import Manifests, has_deletes
from lakehouse.catalog.metadata import Json, schema_of
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import Field, duckdb_type
from lakehouse.database import Connection, drop_quietly, literal, quoted

PARQUET_FILES_MAX = 20
KEPT_MAX = 4096
KEPT_AT_LEAST_S = 900.0  # longer than any statement may take between its pin and its bind


class Relations:
    def __init__(self, manifests: Manifests) -> None:
        self._manifests = manifests
        self._used_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, cursor: Connection, table: LoadedTable, snapshot: Json | None) -> str:
        """Return the name of the relation for this snapshot, made now if it is not there.

        Raises:
            ObjectNotFoundError, EngineIOError: files of the snapshot are gone.
        """
        snapshot_id = snapshot["snapshot-id"] if snapshot else 0
        schema_id = schema_of_snapshot(table.metadata, snapshot)["schema-id"]
        name = f"r_{table.metadata['table-uuid'].replace('-', '')}_{snapshot_id}_{schema_id}"
        with self._lock:
            if name not in self._used_at:
                sql = relation_sql(self._manifests, table, snapshot)
                cursor.execute(f"CREATE VIEW IF NOT EXISTS {quoted(name)} AS {sql}")
            self._used_at[name] = time.monotonic()
            self._used_at.move_to_end(name)
            self._drop_old(cursor)
        return name

    def _drop_old(self, cursor: Connection) -> None:
        while len(self._used_at) > KEPT_MAX:
            name, used_at = next(iter(self._used_at.items()))
            if time.monotonic() - used_at < KEPT_AT_LEAST_S:
                return
            del self._used_at[name]
            drop_quietly(cursor, name)


def schema_of_snapshot(metadata: Json, snapshot: Json | None) -> Json:
    """Return the schema that a snapshot is read with: its own, for an old one.

    The current snapshot is read with the current schema, which may be younger than it.
    """
    if snapshot is None or snapshot["snapshot-id"] == metadata.get("current-snapshot-id"):
        return schema_of(metadata)
    return schema_of(metadata, snapshot.get("schema-id"))


def relation_sql(manifests: Manifests, table: LoadedTable, snapshot: Json | None) -> str:
    """Return the SELECT that reads exactly `snapshot` of `table`.

    `read_parquet` up to `PARQUET_FILES_MAX` files, `iceberg_scan` above it and wherever there are
    deletes or an evolved schema: it prunes by the bounds in the manifests, but costs 100 ms for
    100 files on MinIO where the other costs 4 (`iceberg.md`, Reading).
    """
    metadata = table.metadata
    fields = schema_of_snapshot(metadata, snapshot)["fields"]
    listed = manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
    names = ", ".join(quoted(each["name"]) for each in fields)
    if not any(manifest.has_added_files() or manifest.has_existing_files() for manifest in listed):
        return empty_sql(fields)
    assert snapshot is not None, "only a snapshot lists manifests"
    evolved = len(metadata["schemas"]) > 1 and len(metadata["schemas"][0]["fields"]) > 0
    if not has_deletes(listed) and not evolved:
        count = sum((m.added_files_count or 0) + (m.existing_files_count or 0) for m in listed)
        if count <= PARQUET_FILES_MAX:
            files = [entry.data_file.file_path for entry in manifests.live_entries(listed)]
            quoted_files = ", ".join(literal(file) for file in sorted(files))
            return f"SELECT {names} FROM read_parquet([{quoted_files}])"
    return (
        f"SELECT {names} FROM iceberg_scan({literal(table.location)}, "
        f"snapshot_from_id := {int(snapshot['snapshot-id'])})"
    )


def empty_sql(fields: Sequence[Field]) -> str:
    """`read_parquet([])` does not bind, so an empty table has a relation of its own."""
    columns = ", ".join(
        f"CAST(NULL AS {duckdb_type(each['type'])}) AS {quoted(each['name'])}" for each in fields
    )
    return f"SELECT {columns} WHERE false"
