"""What a snapshot of another engine names, looked at before the snapshot counts.

Paths are read by DuckDB: a glob in one is expanded, and what follows a `?` are options. So each one
must be plain, and lie in the folder of its table.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

from lakehouse.catalog.errors import UnreadableFileError
from lakehouse.catalog.manifests import ManifestFile, Manifests
from lakehouse.catalog.metadata import Json, as_ours
from lakehouse.errors import InvalidInputError
from lakehouse.storage import ObjectNotFoundError, Store

PLAIN = re.compile(r"[A-Za-z0-9_/=.:%+-]+")
"""Values of partitions are escaped in paths as in URLs."""
AVRO_MAX_BYTES = 64 * 1024**2
"""Of a list or a manifest: engines aim at 8 MB."""
INFLATED_MAX_BYTES = 128 * 1024**2
FILES_MAX = 200_000
"""Of a request, of all its tables together: 160 MB while they are looked at, and 7 s."""


@dataclass(slots=True)
class Looked:
    """What a request was looked at for: it is not looked at for again.

    A list or manifest is known by the folder of its table, too: it is another's there.
    """

    files: int = 0
    lists: set[tuple[str, str]] = field(default_factory=set)
    manifests: set[tuple[str, str]] = field(default_factory=set)
    walked: set[tuple[str, str]] = field(default_factory=set)
    """Manifests of what was there before, walked for files that lie elsewhere."""
    elsewhere: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Files of the table that lie outside of its folder: they were registered."""

    def count(self) -> None:
        self.files += 1
        if self.files > FILES_MAX:
            raise InvalidInputError(f"a commit names more than {FILES_MAX:,} files: make several")


@dataclass(slots=True)
class Look:
    """One look at what a table's commit names.

    Args:
        metadata: of the table, as the commit leaves it.
    """

    store: Store
    manifests: Manifests
    metadata: Json
    looked: Looked = field(default_factory=Looked)

    @property
    def folder(self) -> str:
        """Key of the table's folder."""
        return self.store.key(self.metadata["location"])

    def files(self, snapshot: Json, parent: Json | None) -> tuple[list[str], dict[str, int]]:
        """Return the files that come with a snapshot.

        The keys of its list and manifests, which were read, and by key the bytes that each other
        one is said to have. Costs reading its list, and each manifest that its parent has not and
        that the request has not named before.

        Raises:
            InvalidInputError: one lies elsewhere, is gone, or is not what it should be.
        """
        listed = self.manifests.read_list(parent["manifest-list"]) if parent else ()
        read: list[str] = []
        named: dict[str, int] = {}
        for key, size in self._below(snapshot, listed):
            if size is None:
                read.append(key)
            else:
                named[key] = size
            self.looked.count()
        return read, named

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

    def _below(
        self, snapshot: Json, before: Sequence[ManifestFile]
    ) -> Iterator[tuple[str, int | None]]:
        """Yield each key, with the bytes that it is said to have; None where it was read."""
        known = frozenset(each.manifest_path for each in before)
        elsewhere = cache(partial(self._elsewhere, before))
        specs = {each["spec-id"] for each in self.metadata["partition-specs"]}
        # What is refused is not remembered.
        manifests = Manifests(self.store, inflated_max_bytes=INFLATED_MAX_BYTES)
        at = snapshot["manifest-list"]
        yield self._small(at), None
        try:
            for manifest in manifests.read_list(at):
                at = manifest.manifest_path
                if at in known:
                    continue
                is_new = (self.folder, at) not in self.looked.manifests
                if is_new:
                    yield self._small(at), None
                    self.looked.manifests.add((self.folder, at))
                if manifest.partition_spec_id not in specs:
                    raise InvalidInputError(f"{at} has a partition spec that the table has not")
                if (manifest.sequence_number or 0) > snapshot.get("sequence-number", 0):
                    raise InvalidInputError(f"{at} is of a snapshot that is not there yet")
                for entry in manifests.read_entries(manifest) if is_new else ():
                    yield from self._file(entry.data_file, elsewhere)
        except ObjectNotFoundError:
            raise InvalidInputError(f"the snapshot names {at}, which is not there") from None
        except UnreadableFileError as error:
            raise InvalidInputError(error.detail) from error

    def _small(self, location: str) -> str:
        """Return the key of a list or a manifest, which may be read whole."""
        key = self.key(location)
        size = self.store.size(key)
        if size is None:
            raise InvalidInputError(f"the snapshot names {location}, which is not there")
        if size > AVRO_MAX_BYTES:
            raise InvalidInputError(
                f"{location} has {size:,} bytes; {AVRO_MAX_BYTES:,} are the most: set "
                "commit.manifest.target-size-bytes"
            )
        return key

    def _is_inside(self, location: str) -> bool:
        return as_ours(location).startswith(f"{self.metadata['location']}/")

    def _elsewhere(self, before: Sequence[ManifestFile]) -> Container[str]:
        """Return files of the table that lie outside of its folder: they were registered.

        Costs a walk over all files below the manifests that the request has not walked yet.
        """
        found, walked = self.looked.elsewhere[self.folder], self.looked.walked
        fresh = [each for each in before if (self.folder, each.manifest_path) not in walked]
        files = self.manifests.live_files(fresh)
        found.update(each.location for each in files if not self._is_inside(each.location))
        walked.update((self.folder, each.manifest_path) for each in fresh)
        return found

    def _file(
        self, file: DataFile, elsewhere: Callable[[], Container[str]]
    ) -> Iterator[tuple[str, int]]:
        location = file.file_path
        if file.content == DataFileContent.EQUALITY_DELETES:
            raise InvalidInputError(
                f"{location} deletes rows by value (equality deletes), which is not read here: "
                "delete by position, or copy on write"
            )
        # Vectors of deleted rows are of format version 3.
        is_vector = file.file_format == FileFormat.PUFFIN
        is_one = is_vector and file.content == DataFileContent.POSITION_DELETES
        if file.file_format != FileFormat.PARQUET and not is_one:
            raise InvalidInputError(
                f"{location} is {file.file_format}; files are Parquet here: set "
                "write.format.default=parquet"
            )
        if self._is_inside(location) or location not in elsewhere():
            yield self.key(location), file.file_size_in_bytes
