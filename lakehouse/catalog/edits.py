"""One snapshot: these files in, those out, and the manifests that say so.

An edit touches what it must: manifests without a file that goes out stay as they are, the others
are written again, their files that stay as EXISTING with the numbers they had.
Source: https://iceberg.apache.org/spec/#manifests
"""

import secrets
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count, groupby

from lakehouse.auth import caller
from lakehouse.catalog.errors import InputsGoneError, NotWrittenError
from lakehouse.catalog.manifests import (
    ManifestEntry,
    ManifestFile,
    Manifests,
    NewFile,
    holds_data,
    is_live,
)
from lakehouse.catalog.metadata import FORMAT_VERSION, MAIN, Json, snapshot_of
from lakehouse.catalog.table import BY, TRACE_ID
from lakehouse.catalog.tables import Draft, LoadedTable, now_ms
from lakehouse.errors import UpstreamError
from lakehouse.observability import trace_id
from lakehouse.storage import Store, at_once

CARRIED = "lakehouse.content-sha256"
"""What produced the rows: still true of a snapshot that only lays them out anew."""
SAFE_INTEGER_BITS = 53  # a snapshot id survives JSON readers that have no 64-bit integers


@dataclass(frozen=True, slots=True)
class Edit:
    """What a snapshot does to the files of its table."""

    added: Sequence[NewFile] = ()
    removed: frozenset[str] = frozenset()
    """Locations of data files that go out; each must still be live when this is committed."""
    replaces_all: bool = False
    """Every file goes out, also one that was committed since: an overwrite."""
    merged: frozenset[str] = frozenset()
    """Locations of manifests that become one, their files unchanged."""
    merged_into: Sequence[ManifestFile] = ()
    """What they became, written beforehand for the snapshot `snapshot_id`; else it is done here,
    while others wait for the table."""
    snapshot_id: int | None = None
    """Of the snapshot; None for a new one."""
    keeps_rows: bool = False
    """The rows are the same, only laid out anew: `replace`, in the words of the specification."""
    drops_deletes: bool = False
    """`added` was written with every delete applied and `removed` is all there was."""
    forgets: bool = False
    """No manifest names the files that go out: their partitions are values of rows."""
    sequence_number: int | None = None
    """The data sequence number of `added`: that of the state that was rewritten, so that deletes
    committed since still apply to them; None for the snapshot's own."""


@dataclass(slots=True)
class Sheets:
    """Writes the manifests and the list of one snapshot, and remembers their keys."""

    manifests: Manifests
    store: Store
    metadata: Json
    snapshot_id: int
    commit_id: uuid.UUID = field(default_factory=uuid.uuid4)
    keys: list[str] = field(default_factory=list)
    made: dict[str, bytes] = field(default_factory=dict)
    """By key, what is to be stored."""
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def sequence_number(self) -> int:
        return int(self.metadata["last-sequence-number"]) + 1

    def write(self, parent: Json | None, edit: Edit) -> tuple[str, list[ManifestEntry]]:
        """Write all sheets of an edit to the state of `parent`.

        Returns the location of the list, and the entries of the files that go out.
        """
        old = self.manifests.read_list(parent["manifest-list"]) if parent else ()
        touched, kept = split(self.manifests, old, edit)
        new = self.added(edit)
        again, gone = self.rewritten(touched, edit)
        place = self.place(f"snap-{self.snapshot_id}-{self.commit_id}.avro")
        self.manifests.make_list(
            self.put,
            place,
            self.snapshot_id,
            parent["snapshot-id"] if parent else None,
            self.sequence_number,
            [*new, *again, *edit.merged_into, *kept],
        )
        self.store_made()
        return place, gone

    def put(self, key: str, data: bytes) -> None:
        self.made[key] = data

    def store_made(self) -> None:
        """Store all that was made, at once: the metadata that names it comes after it."""
        at_once([partial(self.store.write, *each) for each in self.made.items()])
        self.made.clear()

    def place(self, name: str) -> str:
        location = f"{self.metadata['location']}/metadata/{name}"
        self.keys.append(self.store.key(location))
        return location

    def manifest_place(self) -> str:
        return self.place(f"{self.commit_id}-m{next(self.numbers)}.avro")

    def added(self, edit: Edit) -> list[ManifestFile]:
        if not edit.added:
            return []
        return [
            self.manifests.make_added(
                self.put,
                self.manifest_place(),
                self.metadata,
                self.snapshot_id,
                edit.added,
                edit.sequence_number,
            )
        ]

    def rewritten(
        self, old: Iterable[ManifestFile], edit: Edit
    ) -> tuple[list[ManifestFile], list[ManifestEntry]]:
        """Make manifests again, one for each spec, and return them and the entries that go out."""
        gone: list[ManifestEntry] = []
        result: list[ManifestFile] = []
        by_spec = sorted(old, key=lambda each: each.partition_spec_id)
        for spec_id, group in groupby(by_spec, key=lambda each: each.partition_spec_id):
            out: list[ManifestEntry] = []
            stay: list[ManifestEntry] = []
            for entry in self.manifests.live_entries(group):
                is_out = edit.replaces_all or entry.data_file.file_path in edit.removed
                (out if is_out else stay).append(entry)
            gone.extend(out)
            if edit.forgets:
                out = []
            if out or stay:
                place = self.manifest_place()
                result.append(
                    self.manifests.make_rewritten(
                        self.put, place, self.metadata, spec_id, self.snapshot_id, stay, out
                    )
                )
        return result, gone

    def discard(self) -> None:
        for key in self.keys:
            with suppress(UpstreamError):  # it stays as an orphan: the store is away
                self.store.delete(key)


def snapshot_draft(
    manifests: Manifests,
    store: Store,
    current: LoadedTable | None,
    edit: Edit,
    *,
    base: Json,
    summary: Mapping[str, str],
    updates: Sequence[Json] = (),
    branch: str = MAIN,
) -> Draft:
    """Return the draft of one snapshot that does `edit` to the newest state of `branch`.

    Args:
        base: the metadata that the snapshot goes on, `updates` applied.
        updates: what comes before the snapshot in the same commit: properties, a schema.

    Raises:
        InputsGoneError: a file or a manifest that goes out is not there any more.
        NotWrittenError: the table is of a format version that other engines write.
        ObjectNotFoundError, UnreadableFileError: a list or a manifest is gone, or is none.
    """
    if base["format-version"] != FORMAT_VERSION:
        raise NotWrittenError(str(current.name if current else ""), base["format-version"])
    parent = branch_head(base, branch)
    sheets = Sheets(manifests, store, base, edit.snapshot_id or new_snapshot_id())
    try:
        place, gone = sheets.write(parent, edit)
    except BaseException:
        sheets.discard()
        raise
    snapshot = {
        "snapshot-id": sheets.snapshot_id,
        **({"parent-snapshot-id": parent["snapshot-id"]} if parent else {}),
        "sequence-number": sheets.sequence_number,
        "timestamp-ms": max(now_ms(), base["last-updated-ms"] + 1),
        "manifest-list": place,
        "summary": {**summary_of(parent, edit, gone), **summary},
        "schema-id": base["current-schema-id"],
    }
    return Draft(
        updates=[
            *updates,
            {"action": "add-snapshot", "snapshot": snapshot},
            moved(base, branch, sheets.snapshot_id),
        ],
        requirements=unmoved(current, branch, parent),
        base=None if current else base,
        files=sheets.keys,
    )


def summary_of(parent: Json | None, edit: Edit, gone: Sequence[ManifestEntry]) -> dict[str, str]:
    return {
        "operation": operation(edit, gone),
        **totals(parent, edit, gone),
        **(carried(parent) if edit.keeps_rows else {}),
        **origin(),
    }


def moved(metadata: Json, branch: str, snapshot_id: int) -> Json:
    """Return the update that has a branch name a snapshot, and keeps what else it says."""
    reference = {**metadata["refs"].get(branch, {"type": "branch"}), "snapshot-id": snapshot_id}
    return {"action": "set-snapshot-ref", "ref-name": branch, **reference}


def unmoved(current: LoadedTable | None, branch: str, parent: Json | None) -> list[Json]:
    """Return what must still be true at the commit: the branch is where the snapshot goes on."""
    if current is None:
        return [{"type": "assert-create"}]
    parent_id = parent["snapshot-id"] if parent else None
    return [
        {"type": "assert-table-uuid", "uuid": current.metadata["table-uuid"]},
        {"type": "assert-ref-snapshot-id", "ref": branch, "snapshot-id": parent_id},
    ]


def origin() -> dict[str, str]:
    """Return who makes a snapshot, and in which request, as a summary says it."""
    trace = trace_id.get()
    return {BY: caller().name, **({TRACE_ID: trace} if trace else {})}


def new_snapshot_id() -> int:
    return secrets.randbits(SAFE_INTEGER_BITS - 1) + 1


def branch_head(metadata: Json, branch: str) -> Json | None:
    """Return the snapshot that a branch is at; None for `main` before the first one."""
    if branch == MAIN:
        return snapshot_of(metadata)
    return snapshot_of(metadata, metadata["refs"][branch]["snapshot-id"])


def split(
    manifests: Manifests, old: Sequence[ManifestFile], edit: Edit
) -> tuple[list[ManifestFile], list[ManifestFile]]:
    """Return the manifests that must be written again, and those that stay.

    What only says which files left is history, and goes; so do deletes that nothing needs.
    """
    living = [each for each in old if is_live(each)]
    data = [each for each in living if holds_data(each)]
    deletes = [each for each in living if not holds_data(each)]
    if edit.replaces_all:
        return data, []
    found: set[str] = set()
    touched: list[ManifestFile] = []
    for manifest in data:
        files = manifests.live_files([manifest]) if edit.removed else []
        here = edit.removed & {each.location for each in files}
        found |= here
        if here or manifest.manifest_path in edit.merged:
            touched.append(manifest)
    if found != edit.removed or not edit.merged <= {each.manifest_path for each in data}:
        raise InputsGoneError
    if edit.merged_into:
        assert not edit.removed, "what was written beforehand still names every file"
        touched = []
    again = {each.manifest_path for each in touched} | edit.merged
    kept = [each for each in data if each.manifest_path not in again]
    return touched, kept if edit.drops_deletes else [*kept, *deletes]


def carried(parent: Json | None) -> dict[str, str]:
    before = parent.get("summary", {}) if parent else {}
    return {CARRIED: before[CARRIED]} if CARRIED in before else {}


def operation(edit: Edit, gone: Sequence[ManifestEntry]) -> str:
    if edit.keeps_rows:
        return "replace"
    if not gone:
        return "append"
    return "overwrite" if edit.added or edit.replaces_all else "delete"


def totals(parent: Json | None, edit: Edit, gone: Sequence[ManifestEntry]) -> dict[str, str]:
    """Return the counts of a snapshot's summary, under the names of the specification."""
    begins = parent is None or edit.replaces_all
    before = parent.get("summary", {}) if parent and not begins else {}
    added_rows = sum(file.row_count for file in edit.added)
    added_bytes = sum(file.size_bytes for file in edit.added)
    gone_rows = sum(each.data_file.record_count for each in gone)
    gone_bytes = sum(each.data_file.file_size_in_bytes for each in gone)
    counts = {
        "added-data-files": len(edit.added),
        "added-records": added_rows,
        "added-files-size": added_bytes,
    }
    if gone:
        counts["deleted-data-files"] = len(gone)
        counts["deleted-records"] = gone_rows
        counts["removed-files-size"] = gone_bytes
    if edit.replaces_all:
        gone, gone_rows, gone_bytes = [], 0, 0  # nothing of what was there counts
    changes = {
        "total-data-files": len(edit.added) - len(gone),
        "total-records": added_rows - gone_rows,
        "total-files-size": added_bytes - gone_bytes,
    }
    counts |= {
        key: int(before.get(key, 0)) + change
        for key, change in changes.items()
        if begins or key in before  # other writers may leave one out, and then nobody knows
    }
    for key in ("total-delete-files", "total-position-deletes", "total-equality-deletes"):
        if edit.drops_deletes or begins:
            counts[key] = 0
        elif key in before:
            counts[key] = int(before[key])
    return {key: str(value) for key, value in counts.items()}
