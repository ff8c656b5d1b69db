"""The one door to `catalog.db`: pointers, idempotency keys and leases, in SQLite.

Every transaction is durable when it returns (`synchronous=FULL`). Reads run beside the one
writer (WAL). Callers are on a worker thread already: a read takes microseconds, a write one fsync.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self, TypeAlias, TypeVar

from lakehouse.errors import UnavailableError

T = TypeVar("T")
Transaction: TypeAlias = sqlite3.Connection
UniqueViolationError: TypeAlias = sqlite3.IntegrityError

BUSY_TIMEOUT_S = 5.0

MIGRATIONS = (
    # The two tables of PyIceberg's SqlCatalog, to the letter: any PyIceberg user can open us.
    """
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
    """,
)


class State:
    """`catalog.db`, opened and migrated. Lives as long as the process holds the data directory."""

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        self._path = path
        self._writer = writer
        self._writing = threading.Lock()
        self._readers = threading.local()

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        writer = connect(path)
        try:
            migrate(writer)
            yield cls(path, writer)
        finally:
            writer.close()

    def read(self, work: Callable[[Transaction], T]) -> T:
        """Return `work(connection)` over one consistent state of the database."""
        connection: sqlite3.Connection | None = getattr(self._readers, "connection", None)
        if connection is None:
            connection = self._readers.connection = connect(self._path)
        connection.execute("BEGIN")
        try:
            return work(connection)
        finally:
            connection.rollback()

    def write(self, work: Callable[[Transaction], T]) -> T:
        """Return `work(connection)`, committed and on disk; rolled back when it raises.

        Raises:
            UnavailableError: another process keeps the database locked; surely not committed.
        """
        with self._writing:
            try:
                self._writer.execute("BEGIN IMMEDIATE")
                result = work(self._writer)
                self._writer.commit()
            except BaseException as error:
                self._writer.rollback()
                if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                    raise UnavailableError("the catalog database is locked; try again") from error
                raise
            return result


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    return connection


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to the newest of `MIGRATIONS`, each in a transaction of its own."""
    done = connection.execute("PRAGMA user_version").fetchone()[0]
    for number, script in enumerate(MIGRATIONS[done:], start=done + 1):
        connection.executescript(f"BEGIN; {script}; PRAGMA user_version={number}; COMMIT;")
