"""Every file that tables and views need, at every snapshot that they keep: what a backup copies."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from lakehouse.catalog.manifests import Manifests
from lakehouse.catalog.metadata import Json, read_metadata
from lakehouse.catalog.relocate import places
from lakehouse.catalog.view_files import view_pointers
from lakehouse.errors import LakehouseError
from lakehouse.state import State
from lakehouse.storage import Store

UNREAD = (LakehouseError, ValueError, OSError)
"""What reading one of a table's files may raise: the others are needed all the same."""
STATISTICS = ("statistics", "partition-statistics")


@dataclass(frozen=True, slots=True)
class NeededFile:
    key: str
    """The whole location of a file outside of the warehouse, where no copy finds it."""
    table: str
    size_bytes: int | None = None
    """What it must have; None where nobody wrote that down."""
    is_history: bool = False
    """An older metadata file: the table lives without it."""


def needed_files(state: State, store: Store) -> Iterator[NeededFile]:
    """Yield the files of all tables and views of a catalog, of dropped tables too.

    Some come more than once.

    What cannot be read is yielded too, without what it names: whoever copies it meets it missing.
    """
    manifests = Manifests(store)
    for place in places(state):
        key, table = key_of(place.location, store), str(place.name)
        yield NeededFile(key, table)
        with suppress(*UNREAD):
            metadata = read_metadata(store.read(key))
            yield from of_table(metadata, table, store, manifests)
    for view in state.read(view_pointers):
        yield NeededFile(key_of(view.location, store), str(view.name))


def of_table(
    metadata: Json, table: str, store: Store, manifests: Manifests
) -> Iterator[NeededFile]:
    for entry in metadata["metadata-log"]:
        yield NeededFile(key_of(entry["metadata-file"], store), table, is_history=True)
    for name in STATISTICS:
        for each in metadata.get(name) or ():
            size_bytes = each.get("file-size-in-bytes")
            yield NeededFile(key_of(each["statistics-path"], store), table, size_bytes)
    seen: set[str] = set()
    for snapshot in metadata["snapshots"]:
        yield NeededFile(key_of(snapshot["manifest-list"], store), table)
        with suppress(*UNREAD):
            for manifest in manifests.read_list(snapshot["manifest-list"]):
                if manifest.manifest_path in seen:
                    continue
                seen.add(manifest.manifest_path)
                key = key_of(manifest.manifest_path, store)
                yield NeededFile(key, table, manifest.manifest_length)
                with suppress(*UNREAD):
                    for file in manifests.live_files([manifest]):
                        yield NeededFile(key_of(file.location, store), table, file.size_bytes)


def key_of(location: str, store: Store) -> str:
    try:
        return store.key(location)
    except ValueError:
        return location
