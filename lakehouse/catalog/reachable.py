"""What some snapshots reach and no others do: the files that may go with them."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lakehouse.catalog.manifests import LiveFile, ManifestFile, Manifests, holds_data
from lakehouse.catalog.metadata import as_ours
from lakehouse.storage import ObjectNotFoundError

BATCH_FILES = 10_000
"""Files that are weighed at once: about 5 MB of names."""


@dataclass(frozen=True, slots=True)
class Expired:
    """A snapshot that its table has forgotten."""

    snapshot_id: int
    manifest_list: str


@dataclass(slots=True)
class Batch:
    """Snapshots, and what only they reach, by location."""

    snapshots: list[Expired] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    """Bytes of data files and of files of deletes."""
    manifests: dict[str, int] = field(default_factory=dict)
    lists: list[str] = field(default_factory=list)
    beside: set[str] = field(default_factory=set)
    """Manifests of every one of the lists: none of their data files is in another one of it."""

    def add(self, snapshot: Expired, listed: Iterable[str]) -> None:
        self.beside = self.beside & set(listed) if self.snapshots else set(listed)
        self.snapshots.append(snapshot)

    def keep_outside(self, folder: str | None) -> None:
        """Leave out what is not below `folder`, if there is one: it belongs to somebody else."""

        def ours(location: str) -> bool:
            return folder is not None and as_ours(location).startswith(folder)

        self.files = {each: size for each, size in self.files.items() if ours(each)}
        self.manifests = {each: size for each, size in self.manifests.items() if ours(each)}
        self.lists = [each for each in self.lists if ours(each)]

    def locations(self) -> list[str]:
        """Return all files, each before the one that names it."""
        return [*self.files, *self.manifests, *self.lists]

    def size_bytes(self) -> int:
        return sum(self.files.values()) + sum(self.manifests.values())


def only_reached_by(
    manifests: Manifests, gone: Sequence[Expired], kept: Collection[str]
) -> Iterator[Batch]:
    """Yield what `gone` reaches and none of the manifest lists `kept` does, bounded in memory.

    What is missing of `gone` was deleted before a process was killed, after all that it names.

    Raises:
        ObjectNotFoundError, UnreadableFileError: of `kept`, nothing may be missing.
    """
    staying = {
        each.manifest_path: each for location in kept for each in manifests.read_list(location)
    }
    lists = set(kept)
    seen: set[str] = set()
    batch = Batch()
    for snapshot in gone:
        listed = list_of(manifests, snapshot.manifest_list)
        batch.add(snapshot, (each.manifest_path for each in listed))
        if snapshot.manifest_list not in lists:  # other engines may name one in two snapshots
            lists.add(snapshot.manifest_list)
            batch.lists.append(snapshot.manifest_list)
        for each in listed:
            if each.manifest_path not in staying and each.manifest_path not in seen:
                batch.manifests[each.manifest_path] = each.manifest_length
                batch.files.update({f.location: f.size_bytes for f in files_of(manifests, each)})
        seen |= batch.manifests.keys()
        if len(batch.files) >= BATCH_FILES:
            take_out_kept(manifests, batch, staying)
            yield batch
            batch = Batch()
    if batch.snapshots:
        take_out_kept(manifests, batch, staying)
        yield batch


def take_out_kept(manifests: Manifests, batch: Batch, staying: Mapping[str, ManifestFile]) -> None:
    """Take out of a batch the files that manifests which stay name too."""
    for path, manifest in staying.items():
        if not batch.files:
            return
        # A file of deletion vectors may be named by manifests of two partition specs.
        if path not in batch.beside or not holds_data(manifest):
            for file in manifests.live_files([manifest]):
                batch.files.pop(file.location, None)


def list_of(manifests: Manifests, location: str) -> Sequence[ManifestFile]:
    """Return the manifests of an expired snapshot; none once its list is deleted."""
    try:
        return manifests.read_list(location)
    except ObjectNotFoundError:
        return ()


def files_of(manifests: Manifests, manifest: ManifestFile) -> Sequence[LiveFile]:
    """Return the files of a manifest; none once it is deleted, as they are gone too then."""
    try:
        return manifests.live_files([manifest])
    except ObjectNotFoundError:
        return ()
