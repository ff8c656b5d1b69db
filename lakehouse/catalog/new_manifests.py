"""What a snapshot of another engine names, looked at before the snapshot counts.

Paths are read by DuckDB: a glob in one is expanded, and what follows a `?` are options. So each one
must be plain, and lie in the folder of its table.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

from lakehouse.catalog.errors import UnreadableFileError
from lakehouse.catalog.manifests import ManifestFile, Manifests
from lakehouse.catalog.metadata import Json
from lakehouse.errors import InvalidInputError
from lakehouse.storage import ObjectNotFoundError, Store

PLAIN = re.compile(r"[A-Za-z0-9_/=.:%+-]+")
"""Values of partitions are escaped in paths as in URLs."""


@dataclass(slots=True)
class Look:
    """One look at what a table's commit names.

    Args:
        metadata: of the table, as the commit leaves it.
    """

    store: Store
    manifests: Manifests
    metadata: Json

    @property
    def folder(self) -> str:
        """Key of the table's folder."""
        return self.store.key(self.metadata["location"])

    def files(self, snapshot: Json, parent: Json | None) -> list[str]:
        """Return the keys of all files that come with a snapshot.

        Costs reading its list, and each manifest that its parent does not have.

        Raises:
            InvalidInputError: one lies elsewhere, is gone, or is not what it should be.
        """
        listed = self.manifests.read_list(parent["manifest-list"]) if parent else ()
        return list(self._below(snapshot, listed))

    def key(self, location: str) -> str:
        """Return the key of a location in the table's folder.

        Raises:
            InvalidInputError: it lies elsewhere, or its path is not plain.
        """
        try:
            key = self.store.key(location)
        except ValueError:
            key = ""
        inside = key.removeprefix(f"{self.folder}/")
        if inside == key or not PLAIN.fullmatch(inside) or {"", ".", ".."} & set(inside.split("/")):
            raise InvalidInputError(
                f"{location[:255]!r} is no plain path below {self.metadata['location']}, where the "
                "files of this table lie"
            )
        if self.store.is_linked(key):
            raise InvalidInputError(f"{location[:255]!r} is a link, which is not followed")
        return key

    def _below(self, snapshot: Json, before: Sequence[ManifestFile]) -> Iterator[str]:
        known = frozenset(each.manifest_path for each in before)
        specs = {each["spec-id"] for each in self.metadata["partition-specs"]}
        manifests = Manifests(self.store)  # what is refused is not remembered
        at = snapshot["manifest-list"]
        yield self.key(at)
        try:
            for manifest in manifests.read_list(at):
                at = manifest.manifest_path
                if at in known:
                    continue
                yield self.key(at)
                if manifest.partition_spec_id not in specs:
                    raise InvalidInputError(f"{at} has a partition spec that the table has not")
                if (manifest.sequence_number or 0) > snapshot.get("sequence-number", 0):
                    raise InvalidInputError(f"{at} is of a snapshot that is not there yet")
                for entry in manifests.read_entries(manifest):
                    yield from self._file(entry.data_file, before)
        except ObjectNotFoundError:
            raise InvalidInputError(f"the snapshot names {at}, which is not there") from None
        except UnreadableFileError as error:
            raise InvalidInputError(error.detail) from error

    def _file(self, file: DataFile, before: Sequence[ManifestFile]) -> Iterator[str]:
        location = file.file_path
        if file.content == DataFileContent.EQUALITY_DELETES:
            raise InvalidInputError(
                f"{location} deletes rows by value (equality deletes), which is not read here: "
                "delete by position, or copy on write"
            )
        is_vector = file.file_format == FileFormat.PUFFIN  # of deleted rows: format version 3
        if is_vector and file.content == DataFileContent.POSITION_DELETES:
            yield self.key(location)
            return
        if file.file_format != FileFormat.PARQUET:
            raise InvalidInputError(
                f"{location} is {file.file_format}; files are Parquet here: set "
                "write.format.default=parquet"
            )
        try:
            yield self.key(location)
        except InvalidInputError:
            # One that was registered lies elsewhere, and is the table's all the same.
            if all(each.location != location for each in self.manifests.live_files(before)):
                raise
