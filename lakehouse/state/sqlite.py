"""`catalog.db`: the state in SQLite, in the data directory.

Every transaction is on disk when it returns, by one fsync (`synchronous=FULL`). Reads run beside
the one writer (WAL): a read takes microseconds.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

from lakehouse.state.errors import (
    StateBusyError,
    StateClosedError,
    StateDamagedError,
    StateFullError,
    UniqueViolationError,
)
from lakehouse.state.files import sync_directory
from lakehouse.state.migrations import migrate, step
from lakehouse.state.state import State
from lakehouse.state.transactions import Transaction

T = TypeVar("T")

BUSY_TIMEOUT_S = 5.0
CLOSE_WAIT_MAX_MS = 500
"""How long the last checkpoint waits for reads that still run."""
READERS_IDLE_MAX = 16
WAL_KEPT_BYTES = 64 * 1024 * 1024
"""What the write-ahead log is cut back to after a long read had kept it growing."""


class SqliteTransaction:
    """A transaction, with the errors that callers look for."""

    __slots__ = ("_connection",)

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> sqlite3.Cursor:
        try:
            return self._connection.execute(sql, parameters)
        except sqlite3.IntegrityError as error:
            raise UniqueViolationError(str(error)) from error

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> sqlite3.Cursor:
        try:
            return self._connection.executemany(sql, rows)
        except sqlite3.IntegrityError as error:
            raise UniqueViolationError(str(error)) from error


class SqliteState(State):
    """`catalog.db`, opened and migrated. Lives as long as the process holds the data directory."""

    def __init__(self, path: Path, writer: sqlite3.Connection) -> None:
        super().__init__()
        self._path = path
        self._writer = writer
        self._idle: list[sqlite3.Connection] = []
        self._idle_lock = threading.Lock()

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open the database, made and migrated if need be, and close it at the end.

        Raises:
            StateTooNewError: a newer lakehouse wrote it.
            StateDamagedError: it is no database.
        """
        writer = open_writer(path)
        state = cls(path, writer)
        try:
            yield state
        finally:
            state.close()

    def read(self, work: Callable[[Transaction], T]) -> T:
        with self._reader() as connection, translated():
            connection.execute("BEGIN")
            try:
                return work(SqliteTransaction(connection))
            finally:
                connection.rollback()

    def _write(self, work: Callable[[Transaction], T]) -> tuple[T, bool]:
        changes = self._writer.total_changes
        with translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(SqliteTransaction(self._writer))
                self._writer.commit()
            except BaseException:
                self._writer.rollback()
                raise
        return result, self._writer.total_changes != changes

    def copy_to(self, path: Path) -> None:
        began_at = time.time()
        with self._reader() as source, translated():
            copy_database(source, path)
        mark_copy(path, began_at)

    def merge_log(self) -> None:
        with self._writing, translated():
            if self._closed:
                raise StateClosedError
            busy, *_ = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise StateBusyError

    def close(self) -> None:
        """Close every connection, with the write-ahead log merged into the file.

        A read that runs closes its connection when it ends.
        """
        with self._writing:
            with self._idle_lock:
                self._closed = True
                idle, self._idle = self._idle, []
            for connection in idle:
                connection.close()
            try:
                # A read that still runs keeps the log; the next start merges it.
                self._writer.execute(f"PRAGMA busy_timeout = {CLOSE_WAIT_MAX_MS}")
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                self._writer.close()

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        """A connection of the caller's own, for as long as the block lasts."""
        with self._idle_lock:
            if self._closed:
                raise StateClosedError
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = connect(self._path)
            connection.execute("PRAGMA query_only = ON")
        try:
            yield connection
        finally:
            with self._idle_lock:
                keep = not self._closed and len(self._idle) < READERS_IDLE_MAX
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()


def mark_copy(path: Path, began_at: float) -> None:
    """Have a copy say when it was begun, in seconds since 1970, and that nobody holds it."""
    with closing(sqlite3.connect(path)) as copy, translated(), copy:
        copy.execute("DELETE FROM lease")
        copy.execute("DELETE FROM catalog_copy")
        copy.execute("INSERT INTO catalog_copy (began_at) VALUES (?)", (began_at,))


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA secure_delete = ON")  # what an erasure took out is in no free page
    return connection


def open_writer(path: Path) -> sqlite3.Connection:
    """Return the connection that writes, to a database that is there and migrated."""
    with readable(path):
        writer = connect(path)
        try:
            writer.execute("PRAGMA journal_mode = WAL")
            writer.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
            migrate(writer, path)
            sync_directory(path.parent)
        except BaseException:
            writer.close()
            raise
    return writer


def step_of(path: Path) -> int:
    """Return how many migrations the database at `path` has seen."""
    with readable(path), closing(connect(path)) as connection:
        return step(connection)


def merge_log(path: Path) -> None:
    """Merge the write-ahead log of a database that nobody has open, if it is one at all."""
    with suppress(sqlite3.DatabaseError), closing(connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def damage_in(path: Path) -> str | None:
    """Return why a database cannot be read; None when every page of it can."""
    try:
        with closing(connect(path)) as connection:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if found == "ok" else found


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say which file it is, and what to do, when it is no database."""
    try:
        with translated():
            yield
    except sqlite3.DatabaseError as error:
        if primary_code(error) in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise StateDamagedError(path, str(error)) from error
        raise


def copy_database(source: sqlite3.Connection, path: Path) -> None:
    """Copy the database of a connection into a new file, synced, in one consistent step."""
    with closing(sqlite3.connect(path, isolation_level=None)) as target:
        source.backup(target)  # all pages in one step: one read transaction, no restart
        target.execute("PRAGMA journal_mode = DELETE")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own errors for what SQLite surely did not do; the rest passes through."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if primary_code(error) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise StateBusyError from error
        if primary_code(error) == sqlite3.SQLITE_FULL:
            raise StateFullError from error
        raise


def primary_code(error: sqlite3.Error) -> int:
    """Return the SQLite result code without its extension; 0 when there is none."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
