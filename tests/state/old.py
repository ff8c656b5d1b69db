"""A `catalog.db` as the first format wrote it, and what a test looks at in one."""

import sqlite3
from contextlib import closing
from pathlib import Path

# To the letter, and never to be changed: this is what lies on people's disks.
FORMAT_1 = """
    CREATE TABLE iceberg_tables (
        catalog_name VARCHAR(255) NOT NULL,
        table_namespace VARCHAR(255) NOT NULL,
        table_name VARCHAR(255) NOT NULL,
        metadata_location VARCHAR(1000),
        previous_metadata_location VARCHAR(1000),
        iceberg_type VARCHAR(5),
        PRIMARY KEY (catalog_name, table_namespace, table_name)
    );
    CREATE TABLE iceberg_namespace_properties (
        catalog_name VARCHAR(255) NOT NULL,
        namespace VARCHAR(255) NOT NULL,
        property_key VARCHAR(255) NOT NULL,
        property_value VARCHAR(1000) NOT NULL,
        PRIMARY KEY (catalog_name, namespace, property_key)
    );
    CREATE TABLE idempotency_key (
        key TEXT PRIMARY KEY,
        request_hash TEXT NOT NULL,
        answer BLOB NOT NULL,
        created_at REAL NOT NULL
    ) STRICT;
    CREATE TABLE registered_object (
        object_key TEXT NOT NULL,
        table_uuid TEXT NOT NULL,
        dataset TEXT NOT NULL,
        PRIMARY KEY (object_key, table_uuid)
    ) STRICT;
    INSERT INTO iceberg_tables VALUES ('lakehouse', 'main', 'people', 'file:///x', NULL, 'TABLE');
    PRAGMA user_version = 1;
"""


def write_format_1(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(FORMAT_1)


def set_step(path: Path, step: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA user_version = {step}")


def step_in(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def schema_in(path: Path) -> list[tuple[str, str]]:
    """Return the tables and indexes, with white space made equal."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name"
        ).fetchall()
    return [(name, " ".join(sql.split())) for name, sql in rows]
