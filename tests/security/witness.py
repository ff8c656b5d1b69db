"""Somebody who saw what a statement did, without asking the gate.

It watches the folders (inotify), listens on a port, and compares what the engine and the catalog
hold before and after.
"""

import ctypes
import os
import socket
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Self, TypeAlias

from lakehouse.database import SPILL_SETTING, Connection

Held: TypeAlias = dict[str, object]
"""What the engine and the catalog hold, by what it is."""

IN_NONBLOCK = 0o4000
IN_OPEN, IN_MODIFY, IN_ATTRIB, IN_MOVED, IN_CREATE, IN_DELETE = 0x20, 0x2, 0x4, 0xC0, 0x100, 0x200
WRITES = IN_MODIFY | IN_ATTRIB | IN_MOVED | IN_CREATE | IN_DELETE
EVENT = 16
"""Bytes of a `struct inotify_event` before its name."""

ENGINE_HOLDS = {
    # The room for spilling follows the disk's.
    "settings": f"SELECT name, value FROM duckdb_settings() WHERE name <> '{SPILL_SETTING}'",
    "databases": "SELECT database_name, path, readonly FROM duckdb_databases()",
    "schemas": "SELECT database_name, schema_name FROM duckdb_schemas()",
    "secrets": "SELECT * FROM duckdb_secrets()",
    "tables": "SELECT database_name, schema_name, table_name FROM duckdb_tables()",
    "types": "SELECT type_name FROM duckdb_types() WHERE NOT internal",
    "sequences": "SELECT sequence_name FROM duckdb_sequences()",
    "variables": "SELECT name FROM duckdb_variables()",
    "prepared statements": "SELECT name FROM duckdb_prepared_statements()",
    "views": "SELECT view_name FROM duckdb_views() WHERE NOT internal",
}
MACROS = "SELECT function_name FROM duckdb_functions() WHERE NOT internal"
"""Asked for less often: it takes longer than all the others."""
CATALOG_HOLDS = ("iceberg_tables", "iceberg_namespace_properties", "dropped_table", "token")


class Folders:
    """The folders that are watched: for writes all of them, some for anybody who looks in."""

    def __init__(self, written: Iterable[Path], opened: Iterable[Path]) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = libc.inotify_init1(IN_NONBLOCK)
        assert self._descriptor >= 0, os.strerror(ctypes.get_errno())
        self._names: dict[int, Path] = {}
        masks = dict.fromkeys(folders_in(written), WRITES)
        masks |= dict.fromkeys(folders_in(opened), WRITES | IN_OPEN)
        for path, mask in masks.items():
            watch = libc.inotify_add_watch(self._descriptor, os.fsencode(path), mask)
            assert watch >= 0, os.strerror(ctypes.get_errno())
            self._names[watch] = path

    def events(self) -> list[str]:
        """Return what was done since this was called last."""
        try:
            raw = os.read(self._descriptor, 1 << 20)
        except BlockingIOError:
            return []
        found = []
        while raw:
            watch, mask = (int.from_bytes(raw[at : at + 4], "little") for at in (0, 4))
            size = EVENT + int.from_bytes(raw[12:EVENT], "little")
            path = self._names[watch] / os.fsdecode(raw[EVENT:size].rstrip(b"\0"))
            found.append(f"{'opened' if mask & IN_OPEN else 'changed'} {path}")
            raw = raw[size:]
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def folders_in(roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        yield from (root, *(path for path in root.rglob("*") if path.is_dir()))


class Listener:
    """A port of this machine on which nobody should ever be heard."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.heard: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # closed
                return
            with connection:
                self.heard.append("a connection to the listener")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def engine_holds(cursor: Connection, but_relations_of: Collection[str]) -> Held:
    """Return what the engine holds, but for the relations of some tables.

    Args:
        cursor: at best the one that the statement has left: what belongs to it is seen too.
        but_relations_of: uuids of tables that may be read.
    """
    held = {
        what: frozenset(map(repr, cursor.execute(sql).fetchall()))
        for what, sql in ENGINE_HOLDS.items()
    }
    ours = tuple(f"('r_{uuid.replace('-', '')}_" for uuid in but_relations_of)
    held["views"] = frozenset(name for name in held["views"] if not name.startswith(ours))
    return dict(held)


def catalog_holds(path: Path) -> Held:
    """Return what `catalog.db` says of tables and tokens, read as any program would."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table}").fetchall()
            for table in CATALOG_HOLDS
        }
