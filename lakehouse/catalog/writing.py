"""Rows into a table: DuckDB writes the files, this commits them.

Rows never pass through Python. The files are durable before the pointer moves, because DuckDB's
Parquet writer calls no fsync (duckdb #12371).
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lakehouse.catalog.errors import TooManyPartitionsError
from lakehouse.catalog.lossless import stored_sql, telling_losses
from lakehouse.catalog.manifests import NewFile
from lakehouse.catalog.metadata import Json, schema_of, sort_order_of, spec_of, whole_number
from lakehouse.catalog.models import Column
from lakehouse.catalog.partitioning import parting_fields, partition_sql, partition_terms, sort_sql
from lakehouse.catalog.statistics import column_statistics
from lakehouse.catalog.types import Field, check_writable, duckdb_type, field_ids, make_fields
from lakehouse.database import (
    ARROW_ROWS,
    Connection,
    EngineError,
    is_of_remote,
    literal,
    quoted,
)
from lakehouse.names import check_new_column_names
from lakehouse.storage import Store, engine_failed

TARGET_FILE = "write.target-file-size-bytes"
TARGET_FILE_BYTES = 128 * 1024 * 1024
# Half of DuckDB's default: a point read of 100,000 sorted rows takes 1.8 ms instead of 4.2, because
# bounds leave row groups out and both cores read; size and scans stay as they are.
ROW_GROUP_ROWS = 61_440
# The default is 3. Writing takes 15 to 25 % less CPU, and files are 2 % (TPC-H lineitem) to
# 3.5 % (orders) larger, or 7 % smaller (the rows of `benchmarks/`).
ZSTD_LEVEL = 2
LOOKED_AT_ROWS = 100_000
"""Rows of a file whose partitions are counted before any is written."""
ASKED = ("binary", "timestamp")  # what becomes of them depends on the type that is given


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that DuckDB can produce."""

    sql: str
    """A SELECT without parameters, to be run inside COPY; its columns are `columns`, in order."""
    columns: tuple[Column, ...]
    read_for: tuple[Column, ...] | None = None
    """Of a file, whose first rows can be had without the others: the columns of the table that it
    was read by, none for one that had none. None for what is no file."""
    read_at: int | None = None
    """The snapshot of the very table that they were read from: they replace its rows only while it
    is the current one."""
    given: Mapping[str, str] | None = None
    """Of a statement: the types of its columns as DuckDB spells them, which may not be those of
    the table. None where whoever made the rows made them for its columns."""


def copy_rows(
    cursor: Connection,
    store: Store,
    metadata: Json,
    rows: Rows,
    load_id: str,
    partitions_max: int | None = None,
    *,
    file_bytes: int | None = None,
) -> list[NewFile]:
    """Write `rows` as Parquet files of the table and return them, durable but not committed.

    File names begin with `load_id`, so that `remove_load` finds what a failed COPY left. Folders
    of a partitioned load lie in one of its own: no two loads make the same.

    Args:
        file_bytes: about how large a file becomes before the next one; None for what the table
            asks for.

    Raises:
        TooManyPartitionsError: there are more than `partitions_max`, if that is given.
        UnwritableTypeError: the table of another engine has a column that we cannot write.
        ValueLostError: a value does not fit the type of its column.
    """
    fields = schema_of(metadata)["fields"]
    check_writable(fields)
    partition = spec_of(metadata)["fields"]
    directory = store.key(metadata["location"]) + "/data"
    store.prepare(directory)
    given = {column.name for column in rows.columns}
    assert given <= {each["name"] for each in fields}, "the caller compared the columns"
    select = stored_select(cursor, fields, rows)
    options = [
        "FORMAT parquet",
        f"COMPRESSION zstd, COMPRESSION_LEVEL {ZSTD_LEVEL}",
        f"ROW_GROUP_SIZE {ROW_GROUP_ROWS}",
        # The engine looks -0.0 up by its bits and misses 0.0, which it is equal to: rows were lost.
        "WRITE_BLOOM_FILTER false",
        f"FIELD_IDS {field_ids(fields)}",
        f"FILENAME_PATTERN '{load_id}-{{uuidv7}}'",
        "OVERWRITE_OR_IGNORE",
        "RETURN_STATS",
    ]
    if parting := parting_fields(spec_of(metadata)):
        key = partition_column(fields)
        parts = ", ".join(partition_sql(each, fields) for each in parting)
        hashed = f"md5(CAST(ROW({parts}) AS VARCHAR)) AS {quoted(key)}"
        select = f"SELECT *, {hashed} FROM ({select})"
        if partitions_max is not None and rows.read_for is not None:
            first = f"SELECT {quoted(key)} AS p FROM ({select}) LIMIT {LOOKED_AT_ROWS}"
            counted = cursor.execute(f"SELECT count(DISTINCT p) FROM ({first})").fetchall()
            check_partition_count(metadata, counted[0][0], partitions_max, begins=True)
        options.append(f"PARTITION_BY ({quoted(key)})")
    else:
        size = file_bytes or target_file_bytes(metadata)
        options += [f"FILE_SIZE_BYTES {size}", "WRITE_EMPTY_FILE false"]
    select += sort_sql(sort_order_of(metadata), fields)
    target = literal(store.uri(f"{directory}/{load_id}" if parting else directory))
    copy = f"COPY ({select}) TO {target} ({', '.join(options)})"
    try:
        with telling_losses():
            written = cursor.execute(copy).fetchall()
    except EngineError as error:
        if is_of_remote(error):
            raise engine_failed(error, "a file could not be written") from error
        raise
    if parting and partitions_max is not None:
        folders = {str(row[0]).rpartition("/")[0] for row in written}
        check_partition_count(metadata, len(folders), partitions_max)
    files = [new_file(cursor, row, fields, partition) for row in written if row[1]]
    store.sync(store.key(file.location) for file in files)
    return files


def target_file_bytes(metadata: Json) -> int:
    """Return what the table asks for. A property that is no number stops no load."""
    return whole_number(metadata["properties"].get(TARGET_FILE, "")) or TARGET_FILE_BYTES


def check_partition_count(
    metadata: Json, count: int, count_max: int, *, begins: bool = False
) -> None:
    if count > count_max:
        terms = partition_terms(spec_of(metadata), schema_of(metadata)["fields"])
        raise TooManyPartitionsError(terms, count, count_max, begins=begins)


def stored_select(cursor: Connection, fields: Sequence[Field], rows: Rows) -> str:
    """Return the SELECT of these columns of `rows`, as the table stores them; NULL for none."""
    given = rows.given or {}
    if rows.given is None and any(each["type"] in ASKED for each in fields):
        given = given_types(cursor, rows.sql)
    there = {column.name for column in rows.columns}
    selected = ", ".join(
        f"{stored_column(each, rows, given)} AS {quoted(each['name'])}"
        if each["name"] in there
        else f"CAST(NULL AS {duckdb_type(each['type'])}) AS {quoted(each['name'])}"
        for each in fields
    )
    return f"SELECT {selected} FROM ({rows.sql})"


def stored_column(field: Field, rows: Rows, given: Mapping[str, str]) -> str:
    name = field["name"]
    return stored_sql(field, quoted(name), given.get(name, ""), is_checked=rows.given is None)


def given_types(cursor: Connection, sql: str) -> dict[str, str]:
    """Return the types of a SELECT's columns as DuckDB spells them, by name."""
    described = cursor.execute(f"DESCRIBE SELECT * FROM ({sql})").fetchall()
    return {name: type_ for name, type_, *_ in described}


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
    batch = cursor.execute(source).to_arrow_table(ARROW_ROWS)
    return tuple(column[0].as_py() for column in batch.columns)


def partition_column(fields: Sequence[Field]) -> str:
    """A name for the folders of a partitioned COPY that no column has."""
    taken = {each["name"].lower() for each in fields}
    name = "p"
    while name in taken:
        name += "p"
    return name


def remove_load(store: Store, metadata: Json, load_id: str) -> None:
    """Delete the data files that begin with `load_id`: what a COPY that failed has left.

    Walks the files of a table without partitions, 20 µs each.
    """
    folder = store.key(metadata["location"]) + "/data"
    if parting_fields(spec_of(metadata)):
        folder += f"/{load_id}"
    for key in store.keys(folder):
        if key.rpartition("/")[2].startswith(load_id):
            store.delete(key)


def new_load_id() -> str:
    return secrets.token_hex(8)


def schema_updates(columns: Sequence[Column]) -> list[Json]:
    """Return the updates that give columns to a table that has none yet."""
    check_new_column_names(column.name for column in columns)
    fields, last_id = make_fields(columns)
    return [
        {
            "action": "add-schema",
            "schema": {"type": "struct", "fields": fields},
            "last-column-id": last_id,
        },
        {"action": "set-current-schema", "schema-id": -1},
    ]
