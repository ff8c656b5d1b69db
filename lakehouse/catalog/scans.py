"""A table at one state, as those read it who will write its files again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lakehouse.catalog.manifests import Manifests, has_deletes, holds_data, live
from lakehouse.catalog.metadata import Json, schema_of, snapshot_of
from lakehouse.catalog.models import Column
from lakehouse.catalog.relations import empty_sql, files_sql, matching, scanned
from lakehouse.catalog.tables import LoadedTable
from lakehouse.catalog.types import Field, to_columns
from lakehouse.database import literal, quoted

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

    @classmethod
    def of(cls, table: LoadedTable, manifests: Manifests) -> "Scan":
        """Return the scan of a table as it was loaded.

        Raises:
            ObjectNotFoundError, UnreadableFileError: a manifest is gone, or is none.
        """
        snapshot = snapshot_of(table.metadata)
        listed = manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
        living = list(live(listed))
        files = manifests.live_files(each for each in living if holds_data(each))
        deletes = frozenset(each.manifest_path for each in living if not holds_data(each))
        return cls(table, tuple(sorted(each.location for each in files)), deletes)

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
        return free_name(self.fields, FILE)

    def rows(self, files: Sequence[str] | None = None, *, with_file: bool = False) -> str:
        """Return the SELECT of all rows, or of those in `files`, deletes applied.

        Args:
            with_file: also the column `file_column`, for `touched`.
        """
        chosen = self.files if files is None else files
        if not chosen:
            file = f", CAST('' AS VARCHAR) AS {quoted(self.file_column)}" if with_file else ""
            return f"SELECT *{file} FROM ({empty_sql(self.fields)})"
        column = self.file_column if with_file else ""
        if self.deletes:
            file = f", '' AS {quoted(column)}" if with_file else ""
            return f"SELECT {self.names}{file} FROM {self._iceberg_scan()}"
        found_by = matching(self.table.metadata, self.fields)
        if found_by is not None:
            return files_sql(self.fields, chosen, found_by=found_by, file_column=column)
        named = f"filename := {literal(self.file_column)}"
        file = f", {quoted(column)}" if with_file else ""
        listed = ", ".join(map(literal, chosen))
        return (
            f"SELECT {self.names}{file} FROM {self._iceberg_scan(named)} "
            f"WHERE {quoted(self.file_column)} IN ({listed})"
        )

    def _iceberg_scan(self, *options: str) -> str:
        snapshot = snapshot_of(self.table.metadata)
        assert snapshot, "only a snapshot has files"
        what = scanned(self.table, snapshot, schema_of(self.table.metadata))
        return f"iceberg_scan({', '.join([what, *options])})"

    def touched(self, found: Iterable[str]) -> list[str]:
        """Return the locations of the files that `file_column` named."""
        if self.deletes:
            return list(self.files)
        by_path = {location.removeprefix("file://"): location for location in self.files}
        return sorted(by_path[path.removeprefix("file://")] for path in found)


def free_name(fields: Sequence[Field], wanted: str) -> str:
    """Return a name that no column has, like `wanted`."""
    taken = {each["name"].lower() for each in fields}
    while wanted in taken:
        wanted += "_"
    return wanted


def same_deletes(scan: Scan, manifests: Manifests, metadata: Json) -> bool:
    """Whether nobody has deleted rows in another engine since the scan was made."""
    snapshot = snapshot_of(metadata)
    listed = manifests.read_list(snapshot["manifest-list"]) if snapshot else ()
    if not has_deletes(listed):
        return not scan.deletes
    now = {each.manifest_path for each in live(listed) if not holds_data(each)}
    return now == scan.deletes
