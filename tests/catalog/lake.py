"""A whole catalog over real files, and what tests ask of it."""

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table as PyIcebergTable

from lakehouse.catalog import (
    AsOf,
    Catalog,
    Column,
    Idempotency,
    Rows,
    TableName,
    TableRef,
    Written,
    parse_table_name,
)
from lakehouse.catalog.metadata import Json, snapshot_of
from lakehouse.database import Connection, Database, DatabaseSettings, Remote
from lakehouse.state import State
from lakehouse.storage import LocalStore, S3Store, open_warehouse
from tests import object_store
from tests.postgres import alchemy_uri, state_of

PAIR = (Column("id", "long"), Column("name", "string"))


@dataclass
class Lake:
    root: Path
    state: State
    database: Database
    store: LocalStore
    catalog: Catalog
    cursor: Connection

    def write(
        self,
        table: str,
        sql: str,
        columns: Mapping[str, str] | None = None,
        mode: Literal["create", "append", "overwrite"] = "create",
        *,
        idempotency: Idempotency[Written] | None = None,
        partition_by: Sequence[str] = (),
        sort_by: Sequence[str] = (),
    ) -> Written:
        """Write the rows of `sql`; its columns are `id` and `name` unless said."""
        return self.catalog.loading.write(
            self.cursor,
            parse_table_name(table),
            rows_of(sql, columns),
            mode=mode,
            idempotency=idempotency,
            partition_by=partition_by,
            sort_by=sort_by,
        )

    def arrow(self, table: str, as_of: AsOf | None = None, where: str = "true") -> pa.Table:
        """Return what a statement over the table reads."""
        name = parse_table_name(table)
        (pinned,) = self.catalog.pin(self.cursor, [TableRef(name.namespace, name.name, as_of)])
        sql = f'SELECT * FROM "{pinned.relation}" WHERE {where}'
        return self.cursor.execute(sql).to_arrow_table()

    def rows(self, table: str, as_of: AsOf | None = None) -> list[tuple[Any, ...]]:
        """Return the rows of a table, sorted."""
        columns = self.arrow(table, as_of).to_pydict().values()
        return sorted(zip(*columns, strict=True), key=repr)

    def metadata(self, table: str) -> Json:
        return self.catalog.load(parse_table_name(table)).metadata

    def snapshot_ids(self, table: str) -> set[int]:
        return {each["snapshot-id"] for each in self.metadata(table)["snapshots"]}

    def data_files(self, table: str) -> list[str]:
        """Return the keys of the files that the current snapshot reads."""
        return [each.key for _, each in self.catalog.contents(parse_table_name(table))[1]]

    def manifest_list(self, table: str) -> str:
        snapshot = snapshot_of(self.metadata(table))
        assert snapshot
        return self.store.key(snapshot["manifest-list"])

    def tree(self) -> set[str]:
        """Return every file of the warehouse."""
        return set(self.store.keys(""))

    def reachable(self) -> set[str]:
        """Return the files that the tables' metadata names, old metadata files included."""
        found: set[str] = set()
        for name in self.catalog.names():
            table = self.catalog.load(name)
            found.add(self.store.key(table.location))
            found |= {self.store.key(e["metadata-file"]) for e in table.metadata["metadata-log"]}
            for snapshot in table.metadata["snapshots"]:
                found.add(self.store.key(snapshot["manifest-list"]))
                manifests = self.catalog._manifests.read_list(snapshot["manifest-list"])
                found |= {self.store.key(each.manifest_path) for each in manifests}
                files = self.catalog._manifests.live_files(manifests)
                found |= {self.store.key(each.location) for each in files}
        return found

    @contextmanager
    def pyiceberg(self, table: str) -> Iterator[PyIcebergTable]:
        """The table as a plain PyIceberg user opens it."""
        catalog = SqlCatalog(
            "lakehouse", uri=alchemy_uri(self.root), **object_store.for_pyiceberg()
        )
        try:
            name = parse_table_name(table)
            yield catalog.load_table((name.namespace, name.name))
        finally:
            catalog.close()

    def reopened(self) -> Catalog:
        """Return the catalog as the next process opens it: nothing is in memory."""
        return Catalog(self.state, self.store)


def rows_of(sql: str, columns: Mapping[str, str] | None = None) -> Rows:
    if columns is None:
        return Rows(sql, PAIR)
    return Rows(sql, tuple(Column(name, type_) for name, type_ in columns.items()))


def remote_for(folder: Path) -> Remote | None:
    """Return how the engine reaches the bucket, where tests have their warehouse in one."""
    if object_store.IN_BUCKET not in os.environ:
        return None
    return open_warehouse(object_store.of_this_run(), folder, folder).remote


def settings_for(*directories: Path) -> DatabaseSettings:
    remote = remote_for(directories[0])
    return DatabaseSettings(
        directories=(*directories, remote.place) if remote else directories,
        remote=remote,
        temp_dir=directories[0] / "spill",
        memory_max_bytes=1 << 30,
        temp_max_bytes=1 << 30,
        threads=2,
    )


class InBucket(S3Store):
    """A bucket for tests that were written for a directory: those that look into it are skipped."""

    @property
    def root(self) -> Path:
        pytest.skip("it looks into the warehouse's directory")

    def path(self, key: str) -> Path:
        return self.root / key


def store_in(root: Path) -> Any:
    """Return a warehouse in `root`, or in a bucket where `object_store.IN_BUCKET` is set."""
    if object_store.IN_BUCKET not in os.environ:
        return LocalStore(root / "warehouse")
    name = sha256(str(root).encode()).hexdigest()[:12]  # the same in another process
    config = object_store.below(object_store.of_this_run(), name)
    bucket = open_warehouse(config, root, root).bucket
    assert bucket and config.warehouse
    return InBucket(config.warehouse, bucket, root)


@contextmanager
def open_lake(root: Path, database: Database) -> Iterator[Lake]:
    (root / "warehouse").mkdir(exist_ok=True)
    store = store_in(root)
    with state_of(root) as state, database.cursor() as cursor:
        yield Lake(root, state, database, store, Catalog(state, store), cursor)


def main(name: str) -> TableName:
    return TableName("main", name)


def unpacked(data: bytes) -> bytes:
    """Return an Avro file's bytes with its deflated blocks opened; other files as they are."""
    if not data.startswith(b"Obj\x01"):
        return data
    result, sync = data, data[-16:]
    for block in data.split(sync)[1:]:
        for skip in range(1, 12):  # two variable-length counts come first
            try:
                result += zlib.decompressobj(-15).decompress(block[skip:])
            except zlib.error:
                continue
    return result
