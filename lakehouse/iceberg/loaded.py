"""A table, or a view, as the protocol answers it: its metadata, and where that lies."""

import hashlib
from collections.abc import Mapping

import orjson

from lakehouse.catalog import LoadedTable, LoadedView
from lakehouse.iceberg.calls import Answer
from lakehouse.iceberg.protocol import Protocol
from lakehouse.storage import Store

ALL, REFERENCED = "all", "refs"
"""Which snapshots of a table a client asks for."""


def loaded(protocol: Protocol, table: LoadedTable, snapshots: str = ALL) -> Answer:
    """Return the answer that a table is: its metadata file byte by byte. Blocks."""
    metadata = metadata_of(protocol.store, table, snapshots)
    body = spliced(table.location, protocol.storage, metadata)
    return Answer(200, body, {"ETag": etag(table, snapshots)})


def etag(table: LoadedTable, snapshots: str) -> str:
    """Return what changes with each commit: metadata files are never written twice."""
    digest = hashlib.sha256(f"{snapshots} {table.location}".encode()).hexdigest()[:32]
    return f'"{digest}"'


def metadata_of(store: Store, table: LoadedTable, snapshots: str) -> bytes:
    if snapshots == ALL:
        return store.read(store.key(table.location))
    named = {each["snapshot-id"] for each in table.metadata["refs"].values()}
    kept = [each for each in table.metadata["snapshots"] if each["snapshot-id"] in named]
    return orjson.dumps({**table.metadata, "snapshots": kept})


def spliced(location: str | None, storage: Mapping[str, str], metadata: bytes) -> bytes:
    """Return the answer around metadata that is JSON already.

    Args:
        location: where it lies; None for a table that is not stored yet.
    """
    said = b"" if location is None else b'"metadata-location":%b,' % orjson.dumps(location)
    return b'{%b"config":%b,"metadata":%b}' % (said, orjson.dumps(dict(storage)), metadata)


def loaded_view(view: LoadedView) -> Answer:
    """Return the answer that a view is."""
    said = {"metadata-location": view.location, "metadata": view.metadata, "config": {}}
    return Answer(200, orjson.dumps(said))
