"""Manifests and manifest lists: encoded and decoded by PyIceberg over bytes, stored by us.

Each is written into memory and stored once: through PyIceberg's own file system a commit on
MinIO takes 29 ms, so 13 (`iceberg.md`). Importing PyIceberg costs 0.4 s, so this module is
imported when the first table is touched, not at start.
"""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from pyiceberg.avro.encoder import BinaryEncoder
from pyiceberg.manifest import (
    UNASSIGNED_SEQ,
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.typedef import Record

from lakehouse.catalog.avro_forms import FormedFile, FormedManifest, list_form, manifest_form
from lakehouse.catalog.avro_reading import (
    InflatedTooLargeError,
    read_list,
    read_live_entries,
)
from lakehouse.catalog.byte_files import BytesInput, BytesOutput
from lakehouse.catalog.cache import Cache
from lakehouse.catalog.errors import UnreadableFileError
from lakehouse.catalog.metadata import FORMAT_VERSION, Json, schema_of, spec_of
from lakehouse.catalog.statistics import ColumnStatistics
from lakehouse.storage import ObjectNotFoundError, Store

__all__ = ["DataFile", "LiveFile", "ManifestEntry", "ManifestFile", "Manifests", "NewFile"]

EXISTING, DELETED = ManifestEntryStatus.EXISTING, ManifestEntryStatus.DELETED
# Bounds of what is kept in memory, in things rather than bytes: measured 650 bytes for a manifest,
# which all lists share, 8 for its place in one of them, 250 for its record, 530 for a file.
LISTED_CACHED = 1_000_000
MANIFESTS_CACHED = 50_000
RECORDS_CACHED = 50_000
FILES_CACHED = 100_000


@dataclass(frozen=True, slots=True)
class NewFile:
    """A Parquet file that DuckDB wrote, or that a user registered, before it is in a manifest."""

    location: str
    row_count: int
    size_bytes: int
    partition: tuple[object, ...] = ()
    statistics: ColumnStatistics = field(default_factory=ColumnStatistics)


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A data file of a snapshot. Its statistics are not kept: with them, 100 columns are 30 KB."""

    location: str
    size_bytes: int
    row_count: int
    snapshot_id: int
    """The snapshot that added it."""
    sequence_number: int
    """Of its rows: deletes of a later number apply to them."""
    partition: tuple[object, ...]
    """The id of its spec, and its values."""


Put: TypeAlias = Callable[[str, bytes], None]
"""Stores an object under its key, or sees to it that it is stored before the commit."""


class Manifests:
    """Reads and makes the tree below a snapshot. Files are immutable, so what is read is kept."""

    def __init__(self, store: Store, *, inflated_max_bytes: int | None = None) -> None:
        self._store = store
        self._inflated_max_bytes = inflated_max_bytes
        self._lists: Cache[tuple[ManifestFile, ...]] = Cache(LISTED_CACHED, len)
        self._manifests: Cache[ManifestFile] = Cache(MANIFESTS_CACHED)
        self._records: Cache[bytes] = Cache(RECORDS_CACHED)
        self._files: Cache[tuple[LiveFile, ...]] = Cache(FILES_CACHED, len)

    def read_list(self, location: str) -> tuple[ManifestFile, ...]:
        """Return the manifests of a snapshot.

        Raises:
            ObjectNotFoundError, UnreadableFileError: the list is gone, or is none.
        """

        def read() -> tuple[ManifestFile, ...]:
            with self._reading(location):
                return tuple(
                    map(self._shared, read_list(self._input(location), self._inflated_max_bytes))
                )

        return self._lists.get(location, read)

    def read_entries(self, manifest: ManifestFile) -> tuple[ManifestEntry, ...]:
        """Return the live entries of one manifest, with their statistics.

        Raises:
            ObjectNotFoundError, UnreadableFileError: the manifest is gone, or is none.
        """
        with self._reading(manifest.manifest_path):
            return read_live_entries(
                manifest, self._input(manifest.manifest_path), self._inflated_max_bytes
            )

    def live_entries(self, manifests: Iterable[ManifestFile]) -> list[ManifestEntry]:
        """Return every live entry, read anew; for the mere files there is `live_files`."""
        return [entry for each in live(manifests) for entry in self.read_entries(each)]

    def live_files(self, manifests: Iterable[ManifestFile]) -> list[LiveFile]:
        """Return the data files below `manifests`."""

        def read(manifest: ManifestFile) -> tuple[LiveFile, ...]:
            return tuple(
                LiveFile(
                    location=entry.data_file.file_path,
                    size_bytes=entry.data_file.file_size_in_bytes,
                    row_count=entry.data_file.record_count,
                    sequence_number=entry.sequence_number or 0,
                    partition=(
                        manifest.partition_spec_id,
                        *record_values(entry.data_file.partition),
                    ),
                    snapshot_id=entry.snapshot_id or manifest.added_snapshot_id or 0,
                )
                for entry in self.read_entries(manifest)
            )

        return [
            file
            for each in live(manifests)
            for file in self._files.get(each.manifest_path, partial(read, each))
        ]

    def make_added(
        self,
        put: Put,
        location: str,
        metadata: Json,
        snapshot_id: int,
        files: Sequence[NewFile],
        sequence_number: int | None = None,
    ) -> ManifestFile:
        """Make a manifest for `location` that adds `files` to the table.

        Args:
            sequence_number: the data sequence number of the files; None for the snapshot's own.
        """
        spec_id = metadata["default-spec-id"]
        entries = (
            ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED,
                snapshot_id=snapshot_id,
                sequence_number=sequence_number,
                data_file=data_file(new, spec_id),
            )
            for new in files
        )
        return self._make(put, location, metadata, spec_id, snapshot_id, entries)

    def make_rewritten(
        self,
        put: Put,
        location: str,
        metadata: Json,
        spec_id: int,
        snapshot_id: int,
        stay: Iterable[ManifestEntry],
        gone: Iterable[ManifestEntry],
    ) -> ManifestFile:
        """Make a manifest for `location` with entries of others: files that stay, and that go."""
        entries = (
            ManifestEntry.from_args(
                status=status,
                snapshot_id=entry.snapshot_id if status == EXISTING else snapshot_id,
                sequence_number=entry.sequence_number,
                file_sequence_number=entry.file_sequence_number,
                data_file=entry.data_file if status == EXISTING else bare(entry.data_file),
            )
            for status, some in ((EXISTING, stay), (DELETED, gone))
            for entry in some
        )
        return self._make(put, location, metadata, spec_id, snapshot_id, entries)

    def _make(
        self,
        put: Put,
        location: str,
        metadata: Json,
        spec_id: int,
        snapshot_id: int,
        entries: Iterable[ManifestEntry],
    ) -> ManifestFile:
        spec = spec_of(metadata, spec_id)
        form = manifest_form(schema_with_sources(metadata, spec), spec)
        output = BytesOutput(location)
        with FormedManifest(form, output, snapshot_id) as writer:
            for entry in entries:
                writer.add_entry(entry)
        put(self._store.key(location), output.data)
        return writer.to_manifest_file()

    def make_list(
        self,
        put: Put,
        location: str,
        snapshot_id: int,
        parent_snapshot_id: int | None,
        sequence_number: int,
        manifests: Sequence[ManifestFile],
    ) -> None:
        """Make a manifest list for `location`; new manifests get their sequence number.

        Avro records are joined as they were encoded once: encoding 500 of them anew in each
        commit took 10 ms of 18.
        """
        settled = tuple(
            self._shared(with_sequence_number(each, sequence_number)) for each in manifests
        )
        parent = "null" if parent_snapshot_id is None else str(parent_snapshot_id)
        output = BytesOutput(location)
        metadata = {
            "snapshot-id": str(snapshot_id),
            "parent-snapshot-id": parent,
            "sequence-number": str(sequence_number),
            "format-version": str(FORMAT_VERSION),
            "avro.codec": "null",
        }
        with FormedFile[ManifestFile](output, list_form(), metadata) as file:

            def encode(manifest: ManifestFile) -> bytes:
                record = io.BytesIO()
                file.writer.write(BinaryEncoder(record), manifest)
                return record.getvalue()

            block = b"".join(
                self._records.get(record_key(each), partial(encode, each)) for each in settled
            )
            file.encoder.write_int(len(settled))
            file.encoder.write_int(len(block))
            file.encoder.write(block)
            file.encoder.write(file.sync_bytes)
        put(self._store.key(location), output.data)
        self._lists.put(location, settled)

    def _shared(self, manifest: ManifestFile) -> ManifestFile:
        """Return the same manifest, as other lists have it: most are in hundreds of them."""
        return self._manifests.get(record_key(manifest), lambda: manifest)

    @contextmanager
    def _reading(self, location: str) -> Iterator[None]:
        try:
            yield
        except ObjectNotFoundError:
            raise
        except InflatedTooLargeError as error:
            raise UnreadableFileError(self._store.key(location), str(error)) from error
        except Exception as error:  # PyIceberg raises whatever its Avro reader meets
            raise UnreadableFileError(self._store.key(location), type(error).__name__) from error

    def _input(self, location: str) -> BytesInput:
        return BytesInput(location, self._store.read(self._store.key(location)))


def schema_with_sources(metadata: Json, spec: Json) -> Json:
    """Return the schema by which files of a partition spec are written again.

    It is the current one, or the newest before it that has the columns the files are partitioned
    by: they may be dropped once the spec is an old one.
    """
    sources = {each["source-id"] for each in spec["fields"]}
    known = [schema_of(metadata), *reversed(metadata["schemas"])]
    whole = (each for each in known if sources <= {field["id"] for field in each["fields"]})
    return next(whole, known[0])


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


def with_sequence_number(manifest: ManifestFile, sequence_number: int) -> ManifestFile:
    """Return a manifest as a list names it: a new one gets the number of its snapshot."""
    if UNASSIGNED_SEQ not in (manifest.sequence_number, manifest.min_sequence_number):
        return manifest
    result = copy(manifest)
    result._data = [*manifest._data]  # which copy() shares: the number is the list's alone
    if result.sequence_number == UNASSIGNED_SEQ:
        result.sequence_number = sequence_number
    if result.min_sequence_number == UNASSIGNED_SEQ:
        result.min_sequence_number = sequence_number
    return result


def record_key(manifest: ManifestFile) -> str:
    """Name a manifest's record by the numbers in it, which a commit tried again makes others."""
    numbers = f"{manifest.sequence_number} {manifest.min_sequence_number}"
    return f"{numbers} {manifest.manifest_path}"


def record_values(record: Record) -> tuple[object, ...]:
    return tuple(record[number] for number in range(len(record)))


def bare(file: DataFile) -> DataFile:
    """Return a file as the manifest that takes it out names it: no bounds, which are its values."""
    result = DataFile.from_args(
        _table_format_version=FORMAT_VERSION,
        content=file.content,
        file_path=file.file_path,
        file_format=file.file_format,
        partition=file.partition,
        record_count=file.record_count,
        file_size_in_bytes=file.file_size_in_bytes,
    )
    result.spec_id = file.spec_id
    return result


def is_live(manifest: ManifestFile) -> bool:
    """Whether it holds files; one that only says which files left is history."""
    return manifest.has_added_files() or manifest.has_existing_files()


def live(manifests: Iterable[ManifestFile]) -> Iterator[ManifestFile]:
    return filter(is_live, manifests)


def names_gone(manifest: ManifestFile) -> bool:
    """Whether it also names files that left the table with its snapshot, and their partitions."""
    return manifest.deleted_files_count != 0


def holds_data(manifest: ManifestFile) -> bool:
    """Whether its files are rows of the table, and no deletes of rows."""
    return manifest.content == ManifestContent.DATA


def has_deletes(manifests: Iterable[ManifestFile]) -> bool:
    return not all(map(holds_data, manifests))
