"""Every file that a table needs, at every snapshot that it keeps: what a backup copies."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import Json, read_metadata
from lakehouse.catalog.relocate import places
from lakehouse.errors import LakehouseError
from lakehouse.state import State
from lakehouse.storage import LocalStore

STATISTICS = ("statistics", "partition-statistics")


@dataclass(frozen=True, slots=True)
class NeededFile:
    key: str
    table: str
    size_bytes: int | None = None
    """What it must have; None where nobody wrote that down."""
    is_history: bool = False
    """An older metadata file: the table lives without it."""


def needed_files(state: State, store: LocalStore) -> Iterator[NeededFile]:
    """Yield the files of all tables of a catalog, dropped ones too; some come more than once.

    What cannot be read is yielded too, without what it names: whoever copies it meets it missing.
    """
    manifests = Manifests(store)
    for place in places(state):
        with suppress(ValueError):  # of another warehouse: nothing of it is here
            key, table = store.key(place.location), str(place.name)
            yield NeededFile(key, table)
            with suppress(LakehouseError, ValueError, OSError):
                metadata = read_metadata(store.read(key))
                yield from of_table(metadata, table, store, manifests)


def of_table(
    metadata: Json, table: str, store: LocalStore, manifests: Manifests
) -> Iterator[NeededFile]:
    for entry in metadata["metadata-log"]:
        yield NeededFile(store.key(entry["metadata-file"]), table, is_history=True)
    for name in STATISTICS:
        for each in metadata.get(name) or ():
            size_bytes = each.get("file-size-in-bytes")
            yield NeededFile(store.key(each["statistics-path"]), table, size_bytes)
    seen: set[str] = set()
    for snapshot in metadata["snapshots"]:
        yield NeededFile(store.key(snapshot["manifest-list"]), table)
        with suppress(LakehouseError):
            for manifest in manifests.read_list(snapshot["manifest-list"]):
                if manifest.manifest_path in seen:
                    continue
                seen.add(manifest.manifest_path)
                key = store.key(manifest.manifest_path)
                yield NeededFile(key, table, manifest.manifest_length)
                with suppress(LakehouseError):
                    for file in manifests.live_files([manifest]):
                        yield NeededFile(store.key(file.location), table, file.size_bytes)
