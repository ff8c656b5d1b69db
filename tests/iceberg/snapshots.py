"""A snapshot as another engine leaves it in a table's folder, before it is committed."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestEntry,
    ManifestEntryStatus,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.table import Table
from pyiceberg.typedef import Record


def written(
    table: Table,
    *paths: str,
    content: DataFileContent = DataFileContent.DATA,
    file_format: FileFormat = FileFormat.PARQUET,
    number: int = 1,
    listed_at: str | None = None,
    size_bytes: int | None = None,
) -> dict[str, Any]:
    """Write a manifest that adds `paths` and its list, and return the snapshot that names them."""
    place = f"{table.location()}/metadata"
    snapshot_id = time.time_ns() >> 1
    values = [None] * len(table.spec().fields)
    files = [
        DataFile.from_args(
            content=content,
            file_path=path,
            file_format=file_format,
            partition=Record(*values),
            record_count=1,
            file_size_in_bytes=size_of(path) if size_bytes is None else size_bytes,
            equality_ids=[1] if content == DataFileContent.EQUALITY_DELETES else None,
        )
        for path in paths
    ]
    at = f"{place}/m-{snapshot_id}.avro"
    output = table.io.new_output(at)
    with write_manifest(2, table.spec(), table.schema(), output, snapshot_id, "null") as writer:
        for file in files:
            writer.add_entry(
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED, snapshot_id=snapshot_id, data_file=file
                )
            )
    manifest = writer.to_manifest_file()
    if content != DataFileContent.DATA:
        manifest._data[3] = 1  # PyIceberg writes no manifests of deletes
    list_at = listed_at or f"{place}/snap-{snapshot_id}.avro"
    output = table.io.new_output(list_at)
    with write_manifest_list(2, output, snapshot_id, None, number, "null") as writing:
        writing.add_manifests([manifest])
    return {
        "snapshot-id": snapshot_id,
        "sequence-number": number,
        "timestamp-ms": time.time_ns() // 1_000_000,
        "manifest-list": list_at,
        "schema-id": 0,
        "summary": {"operation": "append"},
    }


def size_of(path: str) -> int:
    """Return the bytes of a file on this disk; of one that is nowhere whatever comes to mind."""
    there = Path(path.removeprefix("file://"))
    return there.stat().st_size if there.is_file() else 100


def added(snapshot: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the updates that make a snapshot the current one."""
    to = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]}
    return [
        {"action": "add-snapshot", "snapshot": snapshot},
        {"action": "set-snapshot-ref", **to},
    ]


def folder(table: Table) -> Path:
    return Path(table.location().removeprefix("file://"))
