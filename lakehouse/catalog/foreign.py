"""An Iceberg table that another engine wrote, looked at whole before it is taken over.

What its metadata says is used from then on without another look: paths are read by DuckDB, numbers
are added up, transforms are computed. So everything is read once here, down to the footers.
Source: https://iceberg.apache.org/spec/#table-metadata-and-snapshots
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import orjson
from pyiceberg.exceptions import ValidationError
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat

from lakehouse.catalog.errors import NotAdoptableError, NothingToAdoptError
from lakehouse.catalog.manifests import ManifestFile, Manifests
from lakehouse.catalog.metadata import (
    NAME_MAPPING,
    Json,
    current_snapshot_id,
    has_evolved,
    read_metadata,
    schema_of,
    sort_order_of,
    spec_of,
    whole_number,
)
from lakehouse.catalog.parquet import read_ids
from lakehouse.catalog.partitioning import VOID, check_transform
from lakehouse.catalog.places import PLAIN, check_key
from lakehouse.catalog.table import CREATED_AT
from lakehouse.catalog.types import Field, children, duckdb_type, field_name, parse_type, type_text
from lakehouse.errors import LakehouseError
from lakehouse.names import check_column_names
from lakehouse.storage import Store

SUFFIX = ".metadata.json"
VERSION = re.compile(r"v?([0-9]{1,9})[-.]")
LOG = "metadata-log"
NEWER_MAX = 20
"""Metadata files with higher numbers that are looked into: one that follows is among the last."""
STATISTICS = ("statistics", "partition-statistics")
COUNTS = ("total-", "added-", "deleted-", "removed-")
NUMBERS = (CREATED_AT, "lakehouse.registered-row-count")


@dataclass(frozen=True, slots=True)
class Foreign:
    key: str
    """Of the metadata file that was named."""
    location: str
    folder: str
    """Key of the table's folder."""
    metadata: Json
    keys: list[str]
    """Every file that the table needs."""


def read_foreign(store: Store, key: str, *, looks: bool = True) -> Foreign:
    """Return the table whose metadata file `key` is, if this server can read and write it.

    Costs a look at every file of every snapshot, about 1 ms each.

    Args:
        looks: whether its files are looked at.

    Raises:
        NotAdoptableError: it cannot; says why, and which file.
        NothingToAdoptError: a file that it needs is gone.
    """
    folder, found, _ = key.rpartition("/metadata/")
    if not (found and key.endswith(SUFFIX)):
        raise NotAdoptableError(key, f"a metadata file is <table>/metadata/*{SUFFIX}")
    try:
        data = store.read(key)
        metadata = read_metadata(data)
        check_form(orjson.loads(data))
    except (ValueError, TypeError, ValidationError, OSError) as error:
        raise NotAdoptableError(key, first_line(error)) from error
    try:
        check_columns(metadata)
        check_layout(metadata)
        check_numbers(metadata)
        keys = Look(store, key, folder, metadata).files() if looks else [key]
    except NotAdoptableError:
        raise
    except ForeignTableError as error:
        raise NotAdoptableError(key, str(error)) from error
    return Foreign(key, store.uri(key), folder, metadata, keys)


def check_newest(store: Store, found: Foreign) -> None:
    """Refuse a metadata file when the log of a newer one says that the table was once there.

    Raises:
        NotAdoptableError: names the newer one.
    """
    own, folder = version(found.key), f"{found.folder}/metadata"
    files = (each for each in store.keys(folder) if each.endswith(SUFFIX))
    newer = sorted((each for each in files if version(each) > own), key=version, reverse=True)
    for each in newer[:NEWER_MAX]:
        log = []
        with suppress(ValueError, TypeError, KeyError, LakehouseError, OSError):
            log = [entry["metadata-file"] for entry in orjson.loads(store.read(each))[LOG]]
        if found.location in log:
            raise NotAdoptableError(
                found.key,
                f"{each} follows it, and has what was committed since; adopt that one, or move it "
                "out of the folder if it was never committed",
            )


def version(key: str) -> int:
    """Return the number in the name of a metadata file, `00007-1f3a..` or `v7..`; -1 for none."""
    found = VERSION.match(key.rpartition("/")[2])
    return int(found[1]) if found else -1


class ForeignTableError(Exception):
    """What this server cannot read or write of the table; `read_foreign` says of which."""


def check_form(metadata: Json) -> None:
    """Raise ValueError for metadata that has not the form of the specification.

    Statistics are left out: PyIceberg refuses blobs that it does not know.
    """
    # 0.15 s of CPU that a start does without: hardly anybody adopts a table.
    from pyiceberg.table.metadata import TableMetadataV1, TableMetadataV2, TableMetadataV3

    form = (TableMetadataV1, TableMetadataV2, TableMetadataV3)[metadata["format-version"] - 1]
    form.model_validate({**metadata, **{name: [] for name in STATISTICS}})


def first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


# What the metadata says.


def check_columns(metadata: Json) -> None:
    """Refuse types and names that our SQL or our writer does not know."""
    for schema in metadata["schemas"]:
        try:
            check_column_names(each["name"] for each in schema["fields"])
            for each in schema["fields"]:
                check_field(each)
        except LakehouseError as error:
            raise ForeignTableError(error.detail) from error
    if not schema_of(metadata)["fields"]:
        raise ForeignTableError("it has no columns")
    by_name = NAME_MAPPING in metadata["properties"]
    last_id = max(each["schema-id"] for each in metadata["schemas"])
    if by_name and (has_evolved(metadata) or len(metadata["schemas"]) <= last_id):
        raise ForeignTableError(
            f"its property {NAME_MAPPING} finds columns by name, and its columns were changed: old "
            "files would be misread; rewrite it with the engine that wrote it"
        )


def check_field(each: Field, above: str = "") -> None:
    name, type_ = f"{above}{each['name']}", each["type"]
    if "required" not in each and not above:
        raise ForeignTableError(f"its column {name!r} does not say whether it is required")
    duckdb_type(type_)
    parse_type(type_text(type_))
    if not isinstance(type_, str):
        for inner in children(type_):
            if field_name(inner["name"]) != inner["name"]:
                reason = "inside of a column a name has letters, digits and _ alone"
                raise ForeignTableError(
                    f"its column {name}.{inner['name']!r} is not read: {reason}"
                )
            check_field(inner, f"{name}.")


def check_layout(metadata: Json) -> None:
    """Refuse a partitioning or an order that our writer cannot go on with."""
    columns = {each["id"]: each for each in schema_of(metadata)["fields"]}
    for each in spec_of(metadata)["fields"]:
        source = columns.get(each.get("source-id"))
        transform, _, width = each["transform"].rstrip("]").partition("[")
        if transform == VOID:  # of a column that may be gone
            continue
        if source is None:
            raise ForeignTableError(
                f"it is partitioned by {each['name']!r}, which is no outer column"
            )
        try:
            check_transform(each["name"], transform, width or None, source["type"])
        except (LakehouseError, KeyError) as error:
            raise ForeignTableError(
                f"it is partitioned by {each['transform']} of {source['name']!r}"
            ) from error
    for each in sort_order_of(metadata)["fields"]:
        if each.get("source-id") not in columns:
            raise ForeignTableError("it is sorted by what is no outer column")


def check_numbers(metadata: Json) -> None:
    """Refuse counts that are none, and references to what is not there."""
    snapshots = {each["snapshot-id"] for each in metadata["snapshots"]}
    schemas = {each["schema-id"] for each in metadata["schemas"]}
    check_past(metadata["snapshots"])
    for name, ref in metadata["refs"].items():
        if ref["snapshot-id"] not in snapshots:
            raise ForeignTableError(f"the snapshot of its reference {name!r} is gone")
    for snapshot in metadata["snapshots"]:
        snapshot_id = snapshot["snapshot-id"]
        lacking = {"sequence-number", "manifest-list", "summary"} - snapshot.keys()
        if lacking:
            raise ForeignTableError(f"its snapshot {snapshot_id} has no {sorted(lacking)[0]}")
        if snapshot.get("schema-id") not in {None, *schemas}:
            raise ForeignTableError(f"the schema of its snapshot {snapshot_id} is gone")
        counts = {k: v for k, v in snapshot["summary"].items() if k.startswith(COUNTS)}
        for name, value in counts.items():
            if not is_number(value):
                raise ForeignTableError(f"{name} of its snapshot {snapshot_id} is {value!r}")
    for name, value in metadata["properties"].items():
        if not isinstance(value, str):
            raise ForeignTableError(f"its property {name} is no text")
    for name in NUMBERS:
        if not is_number(metadata["properties"].get(name, "0")):
            raise ForeignTableError(f"its property {name} is no number")


def check_past(snapshots: Iterable[Json]) -> None:
    """Refuse a snapshot that comes before itself: the past would be walked for ever."""
    parents = {each["snapshot-id"]: each.get("parent-snapshot-id") for each in snapshots}
    ending: set[int] = set()
    for each in parents:
        walked: set[int] = set()
        at: int | None = each
        while at is not None and at in parents and at not in ending:
            if at in walked:
                raise ForeignTableError(f"its snapshot {at} comes before itself")
            walked.add(at)
            at = parents[at]
        ending |= walked


def is_number(value: object) -> bool:
    return isinstance(value, str) and whole_number(value) is not None


# What lies there.


@dataclass
class Look:
    """One look at all files of a table."""

    store: Store
    key: str
    folder: str
    metadata: Json
    seen: dict[str, int] = field(default_factory=dict)
    """Rows of the data files by location, and none of the others."""

    def files(self) -> list[str]:
        location = self.store.uri(self.folder)
        if self.metadata["location"] != location:
            raise ForeignTableError(
                f"its location is {self.metadata['location']}, and it lies at {location}"
            )
        for name, value in self.metadata["properties"].items():
            if name.startswith("write.") and name.endswith(".path"):
                self._key(value)
        for entry in self.metadata["metadata-log"]:
            self._key(entry["metadata-file"])  # old ones may be gone
        keys = {self.key}
        for name in STATISTICS:
            for each in self.metadata.get(name) or ():
                keys.add(
                    self._there(each.get("statistics-path", ""), each.get("file-size-in-bytes"))
                )
        manifests = Manifests(self.store)  # what is refused is not remembered
        for snapshot in self.metadata["snapshots"]:
            keys.update(self._below(snapshot, manifests))
        return sorted(keys)

    def _key(self, location: str) -> str:
        """Return the key of a location below the table's own."""
        try:
            key = self.store.key(location)  # Java writes `file:/x` for `file:///x`
        except ValueError:
            key = ""
        inside = key.removeprefix(f"{self.folder}/")
        if inside == key or not PLAIN.fullmatch(inside):
            own = f"{self.metadata['location']}/"
            raise ForeignTableError(
                f"it names {location[:255]!r}, which is no plain path below {own}"
            )
        return check_key(self.store, key)

    def _there(self, location: str, size_bytes: int | None = None) -> str:
        key = self._key(location)
        found = self.store.size(key)
        if found is None:
            raise NothingToAdoptError(self.key, f"it names {key}, which is gone")
        if size_bytes is not None and found != size_bytes:
            raise ForeignTableError(
                f"{key} has {found} bytes, not the {size_bytes} it was made with"
            )
        return key

    def _below(self, snapshot: Json, manifests: Manifests) -> Iterator[str]:
        yield self._there(snapshot["manifest-list"])
        try:
            listed = manifests.read_list(snapshot["manifest-list"])
            rows, has_deletes = 0, False
            for manifest in listed:
                yield self._there(manifest.manifest_path, manifest.manifest_length)
                for entry in self._entries(manifest, manifests):
                    yield self._file(entry)
                    has_deletes |= entry.content != DataFileContent.DATA
                    rows += entry.record_count
        except NothingToAdoptError:
            raise
        except LakehouseError as error:
            raise ForeignTableError(error.detail) from error
        said = snapshot["summary"].get("total-records")
        is_current = snapshot["snapshot-id"] == current_snapshot_id(self.metadata)
        if is_current and not has_deletes and said not in (None, str(rows)):
            raise ForeignTableError(
                f"its snapshot says that it has {said} rows, and its files have {rows}"
            )

    def _entries(self, manifest: ManifestFile, manifests: Manifests) -> Iterator[DataFile]:
        specs = {each["spec-id"] for each in self.metadata["partition-specs"]}
        if manifest.partition_spec_id not in specs:
            raise ForeignTableError(f"{manifest.manifest_path} has a partition spec that is gone")
        for entry in manifests.read_entries(manifest):
            yield entry.data_file

    def _file(self, file: DataFile) -> str:
        """Look at a data file, or a file of deletes, the first time that it is named."""
        location = file.file_path
        if location in self.seen:
            return self._key(location)
        key = self._there(location, file.file_size_in_bytes)
        if file.content == DataFileContent.EQUALITY_DELETES:
            raise ForeignTableError(
                f"{key} deletes rows by value (equality deletes), which is not read; compact the "
                "table and expire its snapshots with the engine that wrote it"
            )
        if file.file_format != FileFormat.PARQUET:
            raise ForeignTableError(f"{key} is not Parquet")
        if file.content == DataFileContent.DATA:
            self._check_ids(key)
        self.seen[location] = file.record_count
        return key

    def _check_ids(self, key: str) -> None:
        """A file without field ids is read by name, which the table must say."""
        with self.store.open(key) as opened:
            ids = read_ids(opened, key)
        if NAME_MAPPING not in self.metadata["properties"]:
            if lacking := [name for name, field_id in ids.items() if field_id is None]:
                raise ForeignTableError(f"the column {lacking[0]!r} of {key} has no field id")
            return
        names = [each["name"] for each in schema_of(self.metadata)["fields"]]
        if lacking := [name for name in names if name not in ids]:
            raise ForeignTableError(f"{key} has no column {lacking[0]!r}")
