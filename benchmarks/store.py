"""Where warehouses and what they are compared with lie: on the disk, or in a bucket of MinIO."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from lakehouse.config import StorageConfig
from lakehouse.database import extension_file
from tests import object_store

STORES = ("disk", "minio")


@dataclass(frozen=True, slots=True)
class Bucket:
    server: object_store.MinioServer
    url: str
    """Of the server, or of what stands before it and counts."""
    keys_file: Path

    def settings(self, prefix: str) -> StorageConfig:
        return StorageConfig(
            warehouse=f"s3://{object_store.BUCKET}/{prefix}",
            endpoint=self.url,
            credentials_file=self.keys_file,
        )


BUCKET: ContextVar[Bucket | None] = ContextVar("BUCKET", default=None)
"""The one that servers have their warehouses in; None for the disk."""


@contextmanager
def in_bucket() -> Iterator[None]:
    """Servers that start in this block have their warehouses in a MinIO of its own."""
    with (
        object_store.running() as server,
        tempfile.TemporaryDirectory(prefix="lakehouse-bench-keys-") as folder,
        chosen(Bucket(server, server.url, object_store.key_file(Path(folder)))),
    ):
        yield


@contextmanager
def counted(bucket: Bucket) -> Iterator[object_store.Proxy]:
    """Servers that start in this block ask a proxy, which notes each request and is slow."""
    with (
        object_store.proxy(bucket.server.url) as proxy,
        chosen(replace(bucket, url=proxy.url)),
    ):
        yield proxy


@contextmanager
def chosen(bucket: Bucket) -> Iterator[None]:
    before = BUCKET.set(bucket)
    try:
        yield
    finally:
        BUCKET.reset(before)


def current() -> str:
    return "disk" if BUCKET.get() is None else "minio"


def beside() -> str:
    """Return what the name of a reference says of where its files are."""
    return "" if BUCKET.get() is None else ", in the same MinIO"


def variables(data_dir: Path) -> dict[str, str]:
    """Return the settings of a server's warehouse; the same for the same directory."""
    bucket = BUCKET.get()
    if bucket is None:
        return {}
    return object_store.variables(bucket.settings(data_dir.parent.name))


@contextmanager
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB in process that reads and writes where the servers do."""
    bucket = BUCKET.get()
    with (
        tempfile.TemporaryDirectory(prefix="lakehouse-bench-spill-") as spill,
        duckdb.connect(config={"temp_directory": spill}) as engine,
    ):
        if bucket is not None:
            engine.execute(f"LOAD '{extension_file('httpfs')}'")
            engine.execute(
                f"CREATE SECRET (TYPE s3, KEY_ID '{object_store.USER}', "
                f"SECRET '{object_store.PASSWORD}', ENDPOINT '{bucket.url.removeprefix('http://')}'"
                ", URL_STYLE 'path', USE_SSL false, REGION 'us-east-1')"
            )
        yield engine


def reference_file(path: Path) -> str:
    """Return what DuckDB reads a local file by: itself, or a copy of it in the bucket."""
    bucket = BUCKET.get()
    if bucket is None:
        return str(path)
    name = f"reference/{path.name}"
    bucket.server.client().fput_object(object_store.BUCKET, name, str(path))
    return f"s3://{object_store.BUCKET}/{name}"


def new_reference(folder: Path, name: str) -> str:
    """Return where a file of the reference goes: below `folder`, or in the bucket."""
    if BUCKET.get() is None:
        return str(folder / name)
    return f"s3://{object_store.BUCKET}/reference/{folder.name}/{name}"
