"""A table at one state, as those read it who will write its files again."""

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lakehouse.catalog.manifests import Manifests, has_deletes, holds_data, live
from lakehouse.catalog.metadata import Json, schema_of, snapshot_of
from lakehouse.catalog.models import Column
from lakehouse.catalog.pruning import Pruning
from lakehouse.catalog.relations import empty_sql, files_sql, matching, scanned, unpruned
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import Field, to_columns
from lakehouse.database import Connection, quoted

FILE = "lakehouse_file"


@dataclass(frozen=True)
class Scan:
    """The rows of a table's current snapshot, with the files they lie in."""

    table: LoadedTable
    files: tuple[str, ...]
    """Locations of the data files, sorted."""
    deletes: frozenset[str]
    """Locations of the manifests of another engine's deletes: with them rows are only known of the
    whole table."""
    pruning: Pruning

    @classmethod
    def of(cls, table: LoadedTable, manifests: Manifests, pruning: Pruning) -> "Scan":
        """Return the scan of a table as it was loaded.

        Raises:
            ObjectNotFoundError, UnreadableFileError: a manifest is gone, or is none.
        """
        snapshot = snapshot_of(table.metadata)
        listed = manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
        living = list(live(listed))
        files = manifests.live_files(each for each in living if holds_data(each))
        deletes = frozenset(each.manifest_path for each in living if not holds_data(each))
        return cls(table, tuple(sorted(each.location for each in files)), deletes, pruning)

    def holding(self, cursor: Connection, where: str) -> "Scan":
        """Return the scan of the files alone that can hold rows of which `where` is true."""
        return self._of(None if self.deletes else self.pruning.holding(cursor, self.table, where))

    def reached(self, cursor: Connection, keys: str, key: Sequence[Field]) -> "Scan":
        """Return the scan of the files alone that can hold a row with a key of the table `keys`."""
        if self.deletes:
            return self
        return self._of(self.pruning.reached(cursor, self.table, keys, key))

    def _of(self, files: tuple[str, ...] | None) -> "Scan":
        return self if files is None else replace(self, files=files)

    @property
    def fields(self) -> Sequence[Field]:
        fields: Sequence[Field] = schema_of(self.table.metadata)["fields"]
        return fields

    @property
    def columns(self) -> tuple[Column, ...]:
        return to_columns(self.fields)

    @property
    def names(self) -> str:
        """The columns as SQL lists them."""
        return ", ".join(quoted(each["name"]) for each in self.fields)

    @property
    def alias(self) -> str:
        """The table's own name: `people.age` is one of its columns."""
        return quoted(self.table.name.name)

    @cached_property
    def file_column(self) -> str:
        return free_name(self.fields, f"{FILE}_{secrets.token_hex(8)}")  # no condition names it

    def rows(self, files: Sequence[str] | None = None, *, with_file: bool = False) -> str:
        """Return the SELECT of all rows, or of those in `files`, deletes applied.

        Args:
            with_file: also the column `file_column`, for `touched`.
        """
        chosen = self.files if files is None else files
        column = self.file_column if with_file else ""
        if not chosen:
            file = f", CAST(0 AS BIGINT) AS {quoted(column)}" if with_file else ""
            return f"SELECT *{file} FROM ({empty_sql(self.fields)})"
        found_by = None if self.deletes else matching(self.table.metadata, self.fields)
        if found_by is not None:
            return files_sql(self.fields, chosen, found_by=found_by, file_column=column)
        # Rows are known of the whole table only.
        file = f", 0 AS {quoted(column)}" if with_file else ""
        columns = ", ".join(map(unpruned, self.fields))
        return f"SELECT {columns}{file} FROM iceberg_scan({self._scanned()})"

    def _scanned(self) -> str:
        snapshot = snapshot_of(self.table.metadata)
        assert snapshot, "only a snapshot has files"
        return scanned(self.table, snapshot, schema_of(self.table.metadata))

    def touched(self, found: Iterable[int]) -> list[str]:
        """Return the locations of the files that `file_column` named."""
        numbers = sorted(set(found))
        if not numbers:
            return []
        if self.deletes or matching(self.table.metadata, self.fields) is None:
            return list(self.files)
        return [self.files[number] for number in numbers]


def free_name(fields: Sequence[Field], wanted: str) -> str:
    """Return a name that no column has, like `wanted`."""
    taken = {each["name"].lower() for each in fields}
    while wanted in taken:
        wanted += "_"
    return wanted


def still_live(scan: Scan, manifests: Manifests, metadata: Json) -> bool:
    """Whether every file of the scan is still the table's."""
    snapshot = snapshot_of(metadata)
    listed = manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
    now = manifests.live_files(each for each in live(listed) if holds_data(each))
    return {each.location for each in now}.issuperset(scan.files)


def same_deletes(scan: Scan, manifests: Manifests, metadata: Json) -> bool:
    """Whether nobody has deleted rows in another engine since the scan was made."""
    snapshot = snapshot_of(metadata)
    listed = manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
    if not has_deletes(listed):
        return not scan.deletes
    now = {each.manifest_path for each in live(listed) if not holds_data(each)}
    return now == scan.deletes
