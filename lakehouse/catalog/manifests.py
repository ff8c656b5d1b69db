"""Manifests and manifest lists: encoded and decoded by PyIceberg over bytes, stored by us.

Each is written into memory and stored once: through PyIceberg's own file system a commit on
MinIO takes 29 ms, so 13 (`iceberg.md`). Importing PyIceberg costs 0.4 s, so this module is
imported when the first table is touched, not at start.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    read_manifest_list,
    write_manifest,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record

from lakehouse.catalog.cache import Cache
from lakehouse.catalog.metadata import FORMAT_VERSION, Json
from lakehouse.catalog.statistics import ColumnStatistics
from lakehouse.storage import LocalStore

__all__ = ["DataFile", "ManifestFile", "Manifests", "NewFile"]

COMPRESSION: Any = "gzip"
LISTS_CACHED = 256
MANIFESTS_CACHED = 4096


@dataclass(frozen=True, slots=True)
class NewFile:
    """A Parquet file that DuckDB wrote, or that a user registered, before it is in a manifest."""

    location: str
    row_count: int
    size_bytes: int
    partition: tuple[object, ...] = ()
    statistics: ColumnStatistics = field(default_factory=ColumnStatistics)


class Manifests:
    """Reads and writes the tree below a snapshot. Files are immutable, so what is read is kept."""

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._lists: Cache[tuple[ManifestFile, ...]] = Cache(LISTS_CACHED)
        self._entries: Cache[tuple[ManifestEntry, ...]] = Cache(MANIFESTS_CACHED)

    def read_list(self, location: str) -> tuple[ManifestFile, ...]:
        """Return the manifests of a snapshot; `ObjectNotFoundError` when the list is gone."""

        def read() -> tuple[ManifestFile, ...]:
            return tuple(read_manifest_list(self._input(location)))

        return self._lists.get(location, read)

    def read_entries(self, manifest: ManifestFile) -> tuple[ManifestEntry, ...]:
        """Return the live entries of one manifest."""

        def read() -> tuple[ManifestEntry, ...]:
            return tuple(manifest.fetch_manifest_entry(StoreIO(self._store)))

        return self._entries.get(manifest.manifest_path, read)

    def live_entries(self, manifests: Iterable[ManifestFile]) -> list[ManifestEntry]:
        return [
            entry
            for manifest in manifests
            if manifest.has_added_files() or manifest.has_existing_files()
            for entry in self.read_entries(manifest)
        ]

    def write_added(
        self, location: str, metadata: Json, snapshot_id: int, files: Sequence[NewFile]
    ) -> ManifestFile:
        """Store a manifest at `location` that adds `files` to the table."""
        return self._write(
            location,
            metadata,
            snapshot_id,
            (
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED,
                    snapshot_id=snapshot_id,
                    data_file=data_file(new, spec_id=metadata["default-spec-id"]),
                )
                for new in files
            ),
        )

    def write_deleted(
        self, location: str, metadata: Json, snapshot_id: int, entries: Iterable[ManifestEntry]
    ) -> ManifestFile:
        """Store a manifest at `location` that takes the files of `entries` out of the table."""
        return self._write(
            location,
            metadata,
            snapshot_id,
            (
                ManifestEntry.from_args(
                    status=ManifestEntryStatus.DELETED,
                    snapshot_id=snapshot_id,
                    sequence_number=entry.sequence_number,
                    file_sequence_number=entry.file_sequence_number,
                    data_file=entry.data_file,
                )
                for entry in entries
            ),
        )

    def _write(
        self,
        location: str,
        metadata: Json,
        snapshot_id: int,
        entries: Iterable[ManifestEntry],
    ) -> ManifestFile:
        schema, spec = iceberg_schema(metadata), iceberg_spec(metadata)
        output = BytesOutput(location)
        with write_manifest(
            FORMAT_VERSION, spec, schema, output, snapshot_id, COMPRESSION
        ) as writer:
            for entry in entries:
                writer.add_entry(entry)
        self._store.write(self._store.key(location), output.data)
        return writer.to_manifest_file()

    def write_list(
        self,
        location: str,
        snapshot_id: int,
        parent_snapshot_id: int | None,
        sequence_number: int,
        manifests: Sequence[ManifestFile],
    ) -> None:
        """Store a manifest list at `location`; the manifests' sequence numbers are settled."""
        output = BytesOutput(location)
        with write_manifest_list(
            FORMAT_VERSION, output, snapshot_id, parent_snapshot_id, sequence_number, COMPRESSION
        ) as writer:
            settled = [writer.prepare_manifest(manifest) for manifest in manifests]
            writer.add_manifests(settled)
        self._store.write(self._store.key(location), output.data)
        self._lists.put(location, tuple(settled))

    def _input(self, location: str) -> "BytesInput":
        return BytesInput(location, self._store.read(self._store.key(location)))


def data_file(new: NewFile, spec_id: int) -> DataFile:
    statistics = new.statistics
    result = DataFile.from_args(
        _table_format_version=FORMAT_VERSION,
        content=DataFileContent.DATA,
        file_path=new.location,
        file_format=FileFormat.PARQUET,
        partition=Record(*new.partition),
        record_count=new.row_count,
        file_size_in_bytes=new.size_bytes,
        column_sizes=statistics.sizes,
        value_counts=statistics.values,
        null_value_counts=statistics.nulls,
        nan_value_counts=statistics.nans,
        lower_bounds=statistics.lower,
        upper_bounds=statistics.upper,
    )
    result.spec_id = spec_id
    return result


def has_deletes(manifests: Iterable[ManifestFile]) -> bool:
    return any(manifest.content == ManifestContent.DELETES for manifest in manifests)


def iceberg_schema(metadata: Json) -> Schema:
    wanted = metadata["current-schema-id"]
    found = next(each for each in metadata["schemas"] if each["schema-id"] == wanted)
    return Schema.model_validate(found)


def iceberg_spec(metadata: Json) -> PartitionSpec:
    wanted = metadata["default-spec-id"]
    found = next(each for each in metadata["partition-specs"] if each["spec-id"] == wanted)
    return PartitionSpec.model_validate(found)


class BytesInput(InputFile):
    """A file that has been read whole: manifests are small."""

    def __init__(self, location: str, data: bytes) -> None:
        super().__init__(location)
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def exists(self) -> bool:
        return True

    def open(self, seekable: bool = True) -> InputStream:
        return io.BytesIO(self._data)


class BytesOutput(OutputFile):
    """A file that is written into memory, to be stored once it is whole."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.data = b""

    def __len__(self) -> int:
        return len(self.data)

    def exists(self) -> bool:
        return False

    def to_input_file(self) -> InputFile:
        return BytesInput(self.location, self.data)

    def create(self, overwrite: bool = False) -> OutputStream:
        return Collected(self)


class Collected(io.BytesIO):
    def __init__(self, output: BytesOutput) -> None:
        super().__init__()
        self._output = output

    def close(self) -> None:
        if not self.closed:
            self._output.data = self.getvalue()
        super().close()


class StoreIO(FileIO):
    """The store, as PyIceberg's readers ask for it."""

    def __init__(self, store: LocalStore) -> None:
        super().__init__()
        self._store = store

    def new_input(self, location: str) -> InputFile:
        return BytesInput(location, self._store.read(self._store.key(location)))

    def new_output(self, location: str) -> OutputFile:
        raise PermissionError(f"{location} is written through Manifests")

    def delete(self, location: str | InputFile | OutputFile) -> None:
        raise PermissionError(f"{location} is deleted through the store")
