"""Rows into a table: DuckDB writes the files, this commits them.

Rows never pass through Python. The files are durable before the pointer moves, because DuckDB's
Parquet writer calls no fsync (duckdb #12371).
"""

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakehouse.catalog.manifests import ManifestFile, Manifests, NewFile, live
from lakehouse.catalog.metadata import (
    Json,
    schema_of,
    snapshot_of,
    sort_order_of,
    spec_of,
)
from lakehouse.catalog.models import Column
from lakehouse.catalog.partitioning import partition_sql, sort_sql
from lakehouse.catalog.statistics import column_statistics
from lakehouse.catalog.tables import Draft, LoadedTable, now_ms
from lakehouse.catalog.types import Field, duckdb_type, field_ids, make_fields
from lakehouse.database import Connection, literal, quoted
from lakehouse.storage import LocalStore

TARGET_FILE_BYTES = 128 * 1024 * 1024
# Half of DuckDB's default: a point read of 100,000 sorted rows takes 1.8 ms instead of 4.2, because
# bounds leave row groups out and both cores read; size and scans stay as they are.
ROW_GROUP_ROWS = 61_440
ASKED = ("binary", "timestamp")  # what becomes of them depends on the type that is given
SAFE_INTEGER_BITS = 53  # a snapshot id survives JSON readers that have no 64-bit integers


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that DuckDB can produce."""

    sql: str
    """A SELECT without parameters, to be run inside COPY; its columns are `columns`, in order."""
    columns: tuple[Column, ...]


def copy_rows(
    cursor: Connection, store: LocalStore, metadata: Json, rows: Rows, load_id: str
) -> list[NewFile]:
    """Write `rows` as Parquet files of the table and return them, durable but not committed.

    File names begin with `load_id`, so that `remove_load` finds what a failed COPY left. Folders
    of a partitioned load lie in one of its own: no two loads make the same.
    """
    fields = schema_of(metadata)["fields"]
    partition = spec_of(metadata)["fields"]
    directory = store.key(metadata["location"]) + "/data"
    store.prepare(directory)
    by_name = {column.name: column for column in rows.columns}
    assert set(by_name) == {each["name"] for each in fields}, "the caller compared the columns"
    given = given_types(cursor, rows) if any(each["type"] in ASKED for each in fields) else {}
    selected = ", ".join(
        f"{stored_sql(each, given.get(each['name'], ''))} AS {quoted(each['name'])}"
        for each in fields
    )
    select = f"SELECT {selected} FROM ({rows.sql})"
    options = [
        "FORMAT parquet",
        "COMPRESSION zstd",
        f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}",
        f"FIELD_IDS {field_ids(fields)}",
        f"FILENAME_PATTERN '{load_id}-{{uuidv7}}'",
        "OVERWRITE_OR_IGNORE",
        "RETURN_STATS",
    ]
    if partition:
        key = partition_column(fields)
        parts = ", ".join(partition_sql(each, fields) for each in partition)
        hashed = f"md5(CAST(ROW({parts}) AS VARCHAR)) AS {quoted(key)}"
        select = f"SELECT *, {hashed} FROM ({select})"
        options.append(f"PARTITION_BY ({quoted(key)})")
    else:
        options += [f"FILE_SIZE_BYTES {TARGET_FILE_BYTES}", "WRITE_EMPTY_FILE false"]
    select += sort_sql(sort_order_of(metadata), fields)
    target = literal(store.uri(f"{directory}/{load_id}" if partition else directory))
    written = cursor.execute(f"COPY ({select}) TO {target} ({', '.join(options)})").fetchall()
    files = [new_file(cursor, row, fields, partition) for row in written if row[1]]
    store.sync(store.key(file.location) for file in files)
    return files


def given_types(cursor: Connection, rows: Rows) -> dict[str, str]:
    """Return the types of `rows` as DuckDB spells them, by column."""
    described = cursor.execute(f"DESCRIBE SELECT * FROM ({rows.sql})").fetchall()
    return {name: type_ for name, type_, *_ in described}


def stored_sql(field: Field, given: str) -> str:
    """Return the expression that makes of a column what its table stores.

    Refused here, by DuckDB's `error`: infinity, because no other engine can read a date that has
    no end, and nanoseconds that microseconds would lose.
    """
    column, type_ = quoted(field["name"]), field["type"]
    cast = f"CAST({column} AS {duckdb_type(type_)})"
    if type_ == "binary" and given.startswith("GEOMETRY"):
        return f"ST_AsWKB({column})"  # there is no such cast
    if type_ not in ("date", "timestamp", "timestamptz"):
        return cast
    refused = {"an infinite value": f"isinf({cast})"}
    if given == "TIMESTAMP_NS":
        refused["nanoseconds"] = f"CAST({cast} AS TIMESTAMP_NS) <> {column}"
    cases = " ".join(
        f"WHEN {condition} THEN error({literal(refusal(field, what))})"
        for what, condition in refused.items()
    )
    return f"CASE {cases} ELSE {cast} END"


def refusal(field: Field, what: str) -> str:
    return f"column {field['name']!r} has {what}, which the type {field['type']} cannot hold"


def new_file(
    cursor: Connection, row: tuple[object, ...], fields: Sequence[Field], partition: Sequence[Json]
) -> NewFile:
    location, row_count, size_bytes, _, stats, _ = row
    assert isinstance(location, str) and isinstance(row_count, int)
    assert isinstance(size_bytes, int) and isinstance(stats, dict)
    return NewFile(
        # DuckDB leaves `file://` out; a file must lie under its table's location, letter by letter.
        location=location if "://" in location else f"file://{location}",
        row_count=row_count,
        size_bytes=size_bytes,
        partition=partition_values(cursor, location, fields, partition),
        statistics=column_statistics(fields, stats),
    )


def partition_values(
    cursor: Connection, location: str, fields: Sequence[Field], partition: Sequence[Json]
) -> tuple[object, ...]:
    """Return a file's partition, as manifests hold it: every row of the file has the same."""
    if not partition:
        return ()
    parts = ", ".join(
        f"{partition_sql(each, fields)} AS p{number}" for number, each in enumerate(partition)
    )
    file = f"{literal(location)}, hive_partitioning = false"
    source = f"SELECT {parts} FROM read_parquet({file}) LIMIT 1"
    batch = cursor.execute(source).to_arrow_table()
    return tuple(column[0].as_py() for column in batch.columns)


def partition_column(fields: Sequence[Field]) -> str:
    """A name for the folders of a partitioned COPY that no column has."""
    taken = {each["name"].lower() for each in fields}
    name = "p"
    while name in taken:
        name += "p"
    return name


def remove_load(store: LocalStore, metadata: Json, load_id: str) -> None:
    """Delete the data files that begin with `load_id`: what a COPY that failed has left.

    Walks the files of a table without partitions, 20 µs each.
    """
    folder = store.key(metadata["location"]) + "/data"
    if spec_of(metadata)["fields"]:
        folder += f"/{load_id}"
    for key in store.keys(folder):
        if key.rpartition("/")[2].startswith(load_id):
            store.delete(key)


def new_load_id() -> str:
    return secrets.token_hex(8)


def snapshot_draft(
    manifests: Manifests,
    store: LocalStore,
    current: LoadedTable | None,
    *,
    base: Json,
    added: Sequence[NewFile],
    replace: bool,
    summary: Mapping[str, str],
    updates: Sequence[Json] = (),
) -> Draft:
    """Return the draft of one snapshot that adds files, or replaces all files by them.

    Args:
        base: the metadata that the snapshot goes on, `updates` applied.
        updates: what comes before the snapshot in the same commit: properties, a schema.
    """
    metadata = base
    parent = snapshot_of(metadata)
    parent_id = parent["snapshot-id"] if parent else None
    old = manifests.read_list(parent["manifest-list"]) if parent else ()
    snapshot_id = secrets.randbits(SAFE_INTEGER_BITS - 1) + 1
    folder = f"{metadata['location']}/metadata"
    commit_id = uuid.uuid4()
    new: list[ManifestFile] = []
    files: list[str] = []

    def location(name: str) -> str:
        result = f"{folder}/{name}"
        files.append(store.key(result))
        return result

    sequence_number = metadata["last-sequence-number"] + 1
    removed = manifests.live_entries(old) if replace else []
    try:
        if added:
            place = location(f"{commit_id}-m0.avro")
            new.append(manifests.write_added(place, metadata, snapshot_id, added))
        if removed:
            place = location(f"{commit_id}-m1.avro")
            new.append(manifests.write_deleted(place, metadata, snapshot_id, removed))
        kept = () if replace else live(old)
        list_location = location(f"snap-{snapshot_id}-{commit_id}.avro")
        manifests.write_list(list_location, snapshot_id, parent_id, sequence_number, [*new, *kept])
    except BaseException:
        for key in files:
            store.delete(key)
        raise
    snapshot = {
        "snapshot-id": snapshot_id,
        **({"parent-snapshot-id": parent_id} if parent_id is not None else {}),
        "sequence-number": sequence_number,
        "timestamp-ms": max(now_ms(), metadata["last-updated-ms"] + 1),
        "manifest-list": list_location,
        "summary": {
            "operation": "overwrite" if removed else "append",
            **totals(parent, added, [each.data_file for each in removed], replace=replace),
            **summary,
        },
        "schema-id": metadata["current-schema-id"],
    }
    reference = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot_id}
    return Draft(
        updates=[
            *updates,
            {"action": "add-snapshot", "snapshot": snapshot},
            {"action": "set-snapshot-ref", **reference},
        ],
        requirements=[
            {"type": "assert-table-uuid", "uuid": current.metadata["table-uuid"]},
            {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": parent_id},
        ]
        if current
        else [{"type": "assert-create"}],
        base=None if current else base,
        files=files,
    )


def totals(
    parent: Json | None, added: Sequence[NewFile], removed: Sequence[object], *, replace: bool
) -> dict[str, str]:
    """Return the counts of a snapshot's summary, under the names of the specification."""
    before = parent["summary"] if parent and not replace else {}
    added_rows = sum(file.row_count for file in added)
    added_bytes = sum(file.size_bytes for file in added)
    counts = {
        "added-data-files": len(added),
        "added-records": added_rows,
        "added-files-size": added_bytes,
        "total-data-files": int(before.get("total-data-files", 0)) + len(added),
        "total-records": int(before.get("total-records", 0)) + added_rows,
        "total-files-size": int(before.get("total-files-size", 0)) + added_bytes,
        "total-delete-files": int(before.get("total-delete-files", 0)),
        "total-position-deletes": int(before.get("total-position-deletes", 0)),
        "total-equality-deletes": int(before.get("total-equality-deletes", 0)),
    }
    if removed:
        counts["deleted-data-files"] = len(removed)
        counts["deleted-records"] = sum(getattr(each, "record_count") for each in removed)  # noqa: B009
    return {key: str(value) for key, value in counts.items()}


def schema_updates(columns: Sequence[Column]) -> list[Json]:
    """Return the updates that give columns to a table that has none yet."""
    fields, last_id = make_fields(columns)
    return [
        {
            "action": "add-schema",
            "schema": {"type": "struct", "fields": fields},
            "last-column-id": last_id,
        },
        {"action": "set-current-schema", "schema-id": -1},
    ]
