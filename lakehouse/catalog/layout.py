"""How a table lies on the disk: manifests become one, small files become one, rows stay the same.

Both are written while the table goes on; its lock is held only for the commit, which happens if
everything that was rewritten is still the table's.

What was rewritten stays until the snapshots that read it expire: for days a compaction costs room
and gives none back, so it leaves the disk's reserve alone. A merge of manifests may reach into it:
it writes 2 MiB at most, and keeps commits as small as they are.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from lakehouse.catalog.edits import Edit, Sheets, new_snapshot_id, snapshot_draft
from lakehouse.catalog.errors import CommitStateUnknownError, InputsGoneError, UnwritableTypeError
from lakehouse.catalog.manifests import (
    LiveFile,
    ManifestFile,
    Manifests,
    NewFile,
    has_deletes,
    holds_data,
    live,
)
from lakehouse.catalog.metadata import Json, as_ours, schema_of, snapshot_of
from lakehouse.catalog.models import TableName
from lakehouse.catalog.relations import files_sql, matching
from lakehouse.catalog.rules import Rules
from lakehouse.catalog.tables import Change, Draft, LoadedTable, Tables
from lakehouse.catalog.types import check_writable, to_columns
from lakehouse.catalog.writing import Rows, copy_rows, new_load_id, remove_load
from lakehouse.database import Connection
from lakehouse.errors import ConflictError
from lakehouse.failpoints import reach
from lakehouse.storage import Store

T = TypeVar("T")

MANIFEST_BYTES = 2 * 1024 * 1024
"""A manifest as large as this is left alone, and no merge reads more: 60 MB as Python objects."""
SMALL = 0.75
"""Of the target size: what is larger is not rewritten."""
FOLDED_SHARE = 10
"""One row in so many that is deleted is worth a rewrite of the table."""
GROUP_FILES = 1_000
"""What one statement reads together: DuckDB holds the footers of all of them."""
ROUND_BYTES = 1024 * 1024 * 1024
"""What is rewritten before it is committed."""


class NotRewritableError(ConflictError):
    """The table's files can be read, but not rewritten by us."""

    retryable = False

    def __init__(self, table: str, reason: str) -> None:
        super().__init__(f"files of {table} are not rewritten: {reason}", table=table)


def check_rewritable(table: LoadedTable) -> None:
    """Raise `NotRewritableError` for a table with a type that only other engines write."""
    try:
        check_writable(schema_of(table.metadata)["fields"])
    except UnwritableTypeError as error:
        raise NotRewritableError(str(table.name), error.detail) from error


@dataclass(frozen=True, slots=True)
class Done:
    """What became of how much."""

    before: int = 0
    after: int = 0
    size_bytes: int = 0
    """Of what was rewritten."""


@dataclass(frozen=True, slots=True)
class Deletes:
    """Files of deletes in a table, and what they are of."""

    file_count: int
    row_count: int
    """Of rows that are deleted; of one that is so twice, two."""
    of_files: int
    of_rows: int
    of_bytes: int

    def are_worth_folding(self, files_min: int) -> bool:
        """Whether each read pays more for them than one rewrite of the table would cost."""
        return self.file_count >= files_min or self.row_count * FOLDED_SHARE > self.of_rows


class Layout:
    def __init__(self, store: Store, tables: Tables, manifests: Manifests) -> None:
        self._store = store
        self._tables = tables
        self._manifests = manifests

    # Manifests.

    def mergeable(self, table: LoadedTable, rules: Rules) -> list[ManifestFile]:
        """Return the manifests that are worth a merge; none while there are few."""
        small = [
            each
            for each in live(self._listed(table))
            if holds_data(each) and each.manifest_length < MANIFEST_BYTES
        ]
        if not rules.merges_manifests or len(small) < rules.manifests_min:
            return []
        chosen = worth_it(small, lambda each: each.manifest_length)
        return up_to(chosen, MANIFEST_BYTES, lambda each: each.manifest_length)

    def merge_manifests(self, name: TableName, rules: Rules) -> Done:
        """Write many manifests of a table as one, or one for each partition spec.

        Raises:
            InputsGoneError: somebody rewrote them meanwhile; nothing was done.
        """
        with self._tables.rewriting(name):
            return self._merge_manifests(name, rules)

    def _merge_manifests(self, name: TableName, rules: Rules) -> Done:
        table = self._tables.find(name)
        chosen = self.mergeable(table, rules) if table else []
        if not table or not chosen:
            return Done()
        sheets = Sheets(self._manifests, self._store, table.metadata, new_snapshot_id())
        merged = frozenset(each.manifest_path for each in chosen)
        try:
            into, _ = sheets.rewritten(chosen, Edit())
            sheets.store_made()
            reach("after-rewrite")
            edit = Edit(
                merged=merged, merged_into=into, keeps_rows=True, snapshot_id=sheets.snapshot_id
            )
            self._commit(table, edit)
        except CommitStateUnknownError:
            raise
        except BaseException:
            sheets.discard()
            raise
        return Done(len(chosen), len(into), sum(each.manifest_length for each in chosen))

    # Data files.

    def compactable(
        self, table: LoadedTable, rules: Rules, files_min: int
    ) -> list[Sequence[LiveFile]]:
        """Return the groups of small files that are each worth becoming one."""
        folder = f"{table.metadata['location']}/"  # what lies elsewhere was registered, and stays
        by_partition: dict[object, list[LiveFile]] = defaultdict(list)
        for file in self._manifests.live_files(filter(holds_data, self._listed(table))):
            is_small = file.size_bytes < SMALL * rules.target_file_bytes
            if is_small and as_ours(file.location).startswith(folder):
                by_partition[file.partition].append(file)
        return [
            group
            for files in by_partition.values()
            if len(files) > 1
            for group in groups(files, rules.target_file_bytes, files_min)
        ]

    def deletes(self, table: LoadedTable) -> Deletes:
        """Return what other engines have deleted in files of a table that still hold it."""
        listed = list(live(self._listed(table)))
        if not has_deletes(listed):  # as of nearly every table: its files are not gone through
            return Deletes(0, 0, 0, 0, 0)
        data = self._manifests.live_files(filter(holds_data, listed))
        deletes = self._manifests.live_files(each for each in listed if not holds_data(each))
        return Deletes(
            file_count=len(deletes),
            row_count=sum(each.row_count for each in deletes),
            of_files=len(data),
            of_rows=sum(each.row_count for each in data),
            of_bytes=sum(each.size_bytes for each in data),
        )

    def compact(
        self,
        cursor: Connection,
        name: TableName,
        rules: Rules,
        files_min: int,
        go_on: Callable[[], None] = lambda: None,
    ) -> Done:
        """Write small files of a table together, partition by partition, in its sort order.

        Args:
            files_min: files of a group that are worth it, if they do not fill a file.
            go_on: called between two groups; what it raises ends the work, with what is committed
                by then.

        Raises:
            NotRewritableError: the table has deletes of another engine, which are folded first, or
                a type that only those write.
            DiskFullError: there is no room for it above the disk's reserve; nothing more was done.
            InputsGoneError: somebody changed the files meanwhile; nothing more was done.
        """
        table = self._tables.find(name)
        planned = self.compactable(table, rules, files_min) if table else []
        if not table or not planned:
            return Done()
        if has_deletes(live(self._listed(table))):
            raise NotRewritableError(
                str(name), "it has files of deletes, which are folded into it before"
            )
        check_rewritable(table)
        done = Done()
        for chosen in rounds(planned):
            added: list[NewFile] = []
            try:
                with self._tables.rewriting(name):
                    for group in chosen:
                        go_on()
                        self._store.check_room(sum(each.size_bytes for each in group))
                        added += self._rewrite(cursor, table, group, rules.target_file_bytes)
                    reach("after-rewrite")
                    self._replace(table, chosen, added)
            except CommitStateUnknownError:
                raise
            except BaseException:
                for file in added:
                    self._store.delete(self._store.key(file.location))
                raise
            done = Done(
                done.before + sum(map(len, chosen)),
                done.after + len(added),
                done.size_bytes + sum(each.size_bytes for group in chosen for each in group),
            )
        return done

    def _rewrite(
        self, cursor: Connection, table: LoadedTable, group: Sequence[LiveFile], file_bytes: int
    ) -> list[NewFile]:
        fields = schema_of(table.metadata)["fields"]
        found_by = matching(table.metadata, fields)
        if found_by is None:
            raise NotRewritableError(str(table.name), "nested columns of it were changed")
        sql = files_sql(fields, [each.location for each in group], found_by=found_by)
        load_id = new_load_id()
        try:
            rows = Rows(sql, to_columns(fields))
            # Split as it was planned: smaller files would be as small again, and rewritten again.
            files = copy_rows(
                cursor, self._store, table.metadata, rows, load_id, file_bytes=file_bytes
            )
            read, written = (sum(each.row_count for each in some) for some in (group, files))
            if read != written:  # never commit what lost a row, whoever lost it
                raise NotRewritableError(str(table.name), f"{written} of {read} rows came back")
        except BaseException:
            remove_load(self._store, table.metadata, load_id)
            raise
        return files

    def _replace(
        self,
        table: LoadedTable,
        chosen: Sequence[Sequence[LiveFile]],
        added: Sequence[NewFile],
    ) -> None:
        snapshot = snapshot_of(table.metadata)
        assert snapshot, "files are listed by a snapshot"
        self._commit(
            table,
            Edit(
                added=added,
                removed=frozenset(file.location for group in chosen for file in group),
                keeps_rows=True,
                sequence_number=snapshot["sequence-number"],
            ),
        )

    # Both.

    def _commit(self, table: LoadedTable, edit: Edit) -> None:
        def build(now: LoadedTable | None) -> Draft:
            if now is None or is_other(now.metadata, table.metadata):
                raise InputsGoneError
            if edit.removed and has_deletes(live(self._listed(now))):
                raise InputsGoneError  # a row deleted meanwhile would be back
            return snapshot_draft(
                self._manifests, self._store, now, edit, base=now.metadata, summary={}
            )

        self._tables.commit([Change(table.name, build)])

    def _listed(self, table: LoadedTable) -> Sequence[ManifestFile]:
        snapshot = snapshot_of(table.metadata)
        return self._manifests.read_list(snapshot["manifest-list"]) if snapshot else ()


def is_other(now: Json, before: Json) -> bool:
    """Whether what was written for a table does not fit it any more: another one, or evolved."""
    keys = ("table-uuid", "current-schema-id", "default-spec-id")
    return any(now[key] != before[key] for key in keys)


def worth_it(items: Iterable[T], size: Callable[[T], int]) -> list[T]:
    """Return the smallest items, up to the last that is no larger than all before it together.

    So each byte is rewritten a few times in its life, not whenever a small item comes along.
    """
    ordered = sorted(items, key=size)
    total = count = 0
    for number, each in enumerate(ordered):
        if size(each) <= total:
            count = number + 1
        total += size(each)
    return ordered[:count]


def up_to(items: Sequence[T], size_max: int, size: Callable[[T], int]) -> list[T]:
    """Return the first items that together are no larger than `size_max`; none if it is but one."""
    result: list[T] = []
    total = 0
    for each in items:
        total += size(each)
        if total > size_max:
            break
        result.append(each)
    return result if len(result) > 1 else []


def groups(
    files: Sequence[LiveFile], target_bytes: int, files_min: int
) -> Iterator[Sequence[LiveFile]]:
    """Yield files that together make at most one of the target size, the oldest rows first.

    Of more than `GROUP_FILES` several files are made, which the next run writes together.
    """
    waiting = worth_it(files, lambda each: each.size_bytes)
    waiting.sort(key=lambda each: (each.sequence_number, each.location))
    group: list[LiveFile] = []
    total = 0
    for each in [*waiting, None]:
        is_full = len(group) == GROUP_FILES
        if each is None or is_full or total + each.size_bytes > target_bytes:
            if len(group) > 1 and (len(group) >= files_min or total >= SMALL * target_bytes):
                yield group
            group, total = [], 0
        if each is not None:
            group.append(each)
            total += each.size_bytes


def rounds(planned: Sequence[Sequence[LiveFile]]) -> Iterator[list[Sequence[LiveFile]]]:
    """Yield the groups that are committed together."""
    chosen: list[Sequence[LiveFile]] = []
    total = 0
    for group in planned:
        chosen.append(group)
        total += sum(each.size_bytes for each in group)
        if total >= ROUND_BYTES:
            yield chosen
            chosen, total = [], 0
    if chosen:
        yield chosen
