"""The tables of `catalog.db`, one step after the other. A step that was released never changes."""

import sqlite3
from pathlib import Path

from lakehouse import __version__
from lakehouse.state.errors import StateTooNewError

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
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
        )
        """,
        """
        CREATE TABLE iceberg_namespace_properties (
            catalog_name VARCHAR(255) NOT NULL,
            namespace VARCHAR(255) NOT NULL,
            property_key VARCHAR(255) NOT NULL,
            property_value VARCHAR(1000) NOT NULL,
            PRIMARY KEY (catalog_name, namespace, property_key)
        )
        """,
        """
        CREATE TABLE idempotency_key (
            key TEXT PRIMARY KEY,
            request_hash TEXT NOT NULL,
            answer BLOB NOT NULL,
            created_at REAL NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE registered_object (
            object_key TEXT NOT NULL,
            table_uuid TEXT NOT NULL,
            dataset TEXT NOT NULL,
            PRIMARY KEY (object_key, table_uuid)
        ) STRICT
        """,
    ),
    (
        """
        CREATE TABLE lease (
            name TEXT PRIMARY KEY,
            owner_id TEXT NOT NULL,
            token TEXT NOT NULL,
            host TEXT NOT NULL,
            pid INTEGER NOT NULL,
            address TEXT,
            taken_at REAL NOT NULL,
            heartbeat_at REAL NOT NULL
        ) STRICT
        """,
        "CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at)",
        "CREATE INDEX registered_object_table_uuid ON registered_object (table_uuid)",
    ),
    (
        """
        CREATE TABLE dropped_table (
            table_uuid TEXT PRIMARY KEY,
            table_namespace TEXT NOT NULL,
            table_name TEXT NOT NULL,
            metadata_location TEXT NOT NULL,
            dropped_at REAL NOT NULL,
            purging INTEGER NOT NULL DEFAULT 0
        ) STRICT
        """,
    ),
    (
        """
        CREATE TABLE job (
            id TEXT PRIMARY KEY,
            kind TEXT NOT NULL,
            subject TEXT,
            state TEXT NOT NULL,
            phase TEXT,
            done INTEGER,
            total INTEGER,
            unit TEXT,
            created_at REAL NOT NULL,
            started_at REAL,
            ended_at REAL,
            trace_id TEXT,
            error BLOB,
            result BLOB
        ) STRICT
        """,
        "CREATE INDEX job_ended_at ON job (ended_at)",
    ),
    (
        """
        CREATE TABLE expired_snapshot (
            table_uuid TEXT NOT NULL,
            snapshot_id INTEGER NOT NULL,
            manifest_list TEXT NOT NULL,
            expired_at REAL NOT NULL,
            PRIMARY KEY (table_uuid, snapshot_id)
        ) STRICT
        """,
        """
        CREATE TABLE maintenance_run (
            run_id INTEGER PRIMARY KEY AUTOINCREMENT,
            table_uuid TEXT NOT NULL,
            table_name TEXT NOT NULL,
            task TEXT NOT NULL,
            outcome TEXT NOT NULL,
            reason TEXT,
            item_count INTEGER NOT NULL,
            size_bytes INTEGER NOT NULL,
            started_at REAL NOT NULL,
            duration_s REAL NOT NULL
        ) STRICT
        """,
        "CREATE INDEX maintenance_run_table_uuid ON maintenance_run (table_uuid)",
    ),
    (
        # In a copy of the catalog, one row: when it was begun, in seconds since 1970.
        "CREATE TABLE catalog_copy (began_at REAL NOT NULL) STRICT",
    ),
    (
        """
        CREATE TABLE token (
            token_id TEXT PRIMARY KEY,
            name TEXT NOT NULL,
            tenant TEXT NOT NULL,
            grants TEXT NOT NULL,
            addresses TEXT NOT NULL,
            created_at REAL NOT NULL,
            expires_at REAL,
            revoked_at REAL,
            sha256 TEXT NOT NULL UNIQUE
        ) STRICT
        """,
        # Whose key, whose job: nobody is told what another caller asked for.
        "ALTER TABLE job ADD COLUMN caller TEXT",
    ),
    (
        """
        CREATE TABLE audit (
            audit_id INTEGER PRIMARY KEY AUTOINCREMENT,
            began_at REAL NOT NULL,
            caller TEXT NOT NULL,
            token_id TEXT,
            address TEXT NOT NULL,
            trace_id TEXT NOT NULL,
            method TEXT NOT NULL,
            path TEXT NOT NULL,
            status INTEGER NOT NULL,
            sql_sha256 TEXT,
            tables TEXT NOT NULL,
            row_count INTEGER NOT NULL,
            received_bytes INTEGER NOT NULL,
            sent_bytes INTEGER NOT NULL,
            duration_s REAL NOT NULL
        ) STRICT
        """,
        "CREATE INDEX audit_began_at ON audit (began_at)",
    ),
    (
        "ALTER TABLE token ADD COLUMN limits TEXT NOT NULL DEFAULT '{}'",
        """
        CREATE TABLE token_usage (
            token_id TEXT PRIMARY KEY,
            day INTEGER NOT NULL,
            requests INTEGER NOT NULL,
            rows INTEGER NOT NULL
        ) STRICT
        """,
    ),
    (
        # What loads took into a table: no load takes the same content of it again.
        """
        CREATE TABLE loaded_object (
            table_uuid TEXT NOT NULL,
            uri TEXT NOT NULL,
            etag TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            loaded_at REAL NOT NULL,
            PRIMARY KEY (table_uuid, uri, etag)
        ) STRICT
        """,
    ),
    (
        """
        CREATE TABLE schedule (
            schedule_id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            asked TEXT NOT NULL,
            caller TEXT NOT NULL,
            token_id TEXT,
            created_at REAL NOT NULL,
            paused INTEGER NOT NULL,
            reason TEXT,
            next_at REAL NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE schedule_run (
            run_id INTEGER PRIMARY KEY AUTOINCREMENT,
            schedule_id INTEGER NOT NULL,
            begun_by TEXT NOT NULL,
            outcome TEXT NOT NULL,
            due_at REAL NOT NULL,
            started_at REAL NOT NULL,
            ended_at REAL,
            job_id TEXT,
            row_count INTEGER NOT NULL,
            detail TEXT
        ) STRICT
        """,
        "CREATE INDEX schedule_run_schedule_id ON schedule_run (schedule_id, run_id)",
    ),
    (
        # The files of others that a table took in, and the snapshot that did: longer than that is
        # kept, so that rows deleted from such a file do not come back with its folder.
        """
        CREATE TABLE adopted_file (
            table_uuid TEXT NOT NULL,
            file_key TEXT NOT NULL,
            snapshot_id INTEGER NOT NULL,
            PRIMARY KEY (table_uuid, file_key, snapshot_id)
        ) STRICT
        """,
    ),
    (
        "ALTER TABLE token_usage ADD COLUMN texts INTEGER NOT NULL DEFAULT 0",
        # What a token used is its name's: a rotation gives it another id, and no other day.
        "ALTER TABLE token_usage RENAME COLUMN token_id TO name",
    ),
    (
        # `folded` is the name without its case while it is there, and the id once it was dropped.
        """
        CREATE TABLE collection (
            collection_id TEXT PRIMARY KEY,
            namespace TEXT NOT NULL,
            name TEXT NOT NULL,
            folded TEXT NOT NULL UNIQUE,
            definition TEXT NOT NULL,
            created_at REAL NOT NULL,
            dropped INTEGER NOT NULL
        ) STRICT
        """,
    ),
    (
        # Names of schedules are their owner's: `label`, which stays unique, is `owner:name`.
        "ALTER TABLE schedule RENAME COLUMN name TO label",
        "ALTER TABLE schedule ADD COLUMN name TEXT NOT NULL DEFAULT ''",
        "UPDATE schedule SET name = label, label = caller || ':' || label",
    ),
    (
        # Where the files of a collection lie: elsewhere once its texts were embedded again.
        "ALTER TABLE collection ADD COLUMN folder TEXT NOT NULL DEFAULT ''",
        "UPDATE collection SET folder = collection_id",
    ),
    (
        """
        CREATE TABLE watermark (
            collection_id TEXT PRIMARY KEY,
            table_uuid TEXT NOT NULL,
            snapshot_id INTEGER
        ) STRICT
        """,
    ),
    ("ALTER TABLE watermark ADD COLUMN made_of TEXT",),
)

# Each step of the catalog is a new format of the whole directory: an older program refuses it.
FORMAT = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the database to the newest step, in one transaction.

    Raises:
        StateTooNewError: it is at a step that we do not know.
    """
    if step(connection) == FORMAT:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = step(connection)  # again: another process may have been faster
        if done > FORMAT:
            ours = f"lakehouse {__version__}, which knows steps up to {FORMAT}"
            raise StateTooNewError(str(path), f"step {done}", ours)
        for statements in MIGRATIONS[done:]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
        connection.commit()
    except BaseException:
        connection.rollback()
        raise


def step(connection: sqlite3.Connection) -> int:
    """Return how many of the migrations the database has seen."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
