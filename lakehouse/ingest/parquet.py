"""Parquet: its footer says the types; it is looked at before DuckDB sees the file."""

from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lakehouse.catalog import Column, Rows, check_column_names, duckdb_type, iceberg_type
from lakehouse.database import Connection, literal, quoted
from lakehouse.errors import LakehouseError
from lakehouse.ingest.columns import matched
from lakehouse.ingest.errors import InvalidFileError
from lakehouse.ingest.models import BadRow
from lakehouse.ingest.source import ReadOptions, path_literal, select


@dataclass(frozen=True, slots=True)
class ParquetSource:
    path: Path
    columns: tuple[Column, ...]
    names: tuple[str, ...]
    """Of the columns, as the file has them."""
    types: tuple[str, ...]
    """Of the columns, as DuckDB reads them."""
    options: ReadOptions

    def rows(self) -> Rows:
        expressions = {
            column.name: self._exact(name, type_, column) for column, name, type_ in self._triples()
        }
        return Rows(select(expressions, self._reader()), self.columns)

    def good_rows(self) -> Rows:
        checks = [f"({self._fits(*triple)})" for triple in self._triples()]
        expressions = {
            column.name: f"TRY_CAST({quoted(name)} AS {duckdb_type(column.type)})"
            for column, name, _ in self._triples()
        }
        return Rows(
            f"{select(expressions, self._reader())} WHERE {' AND '.join(checks)}", self.columns
        )

    def contradicted(self, cursor: Connection) -> set[str]:
        triples = list(self._triples())
        counts = ", ".join(f"count(*) FILTER (NOT ({self._fits(*each)}))" for each in triples)
        row = cursor.execute(f"SELECT {counts} FROM {self._reader()}").fetchone()
        assert row is not None, "an aggregate has one row"
        return {column.name for (column, _, _), bad in zip(triples, row, strict=True) if bad}

    def with_strings(self, names: set[str]) -> "ParquetSource":
        columns = tuple(Column(c.name, "string") if c.name in names else c for c in self.columns)
        return replace(self, columns=columns)

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        cases = [
            f"WHEN NOT ({self._fits(*each)}) THEN {number}"
            for number, each in enumerate(self._triples())
        ]
        bad = (
            f"SELECT which FROM (SELECT CASE {' '.join(cases)} END AS which "
            f"FROM {self._reader()}) WHERE which IS NOT NULL"
        )
        most = self.options.limits.bad_rows_max
        found = cursor.execute(f"{bad} LIMIT {most}").fetchall()
        counted = cursor.execute(f"SELECT count(*) FROM ({bad})").fetchone()
        rows = [
            BadRow(None, self.columns[which].name, f"it does not fit {self.columns[which].type}")
            for (which,) in found
        ]
        return (int(counted[0]) if counted else 0), rows

    def _triples(self) -> "list[tuple[Column, str, str]]":
        return list(zip(self.columns, self.names, self.types, strict=True))

    def _reader(self) -> str:
        return f"read_parquet({path_literal(self.path)})"

    def _exact(self, name: str, type_: str, column: Column) -> str:
        """Nanoseconds that microseconds cannot hold are refused, not cut."""
        if type_ != "TIMESTAMP_NS":
            return quoted(name)
        message = literal(f"{column.name!r} has nanoseconds, which Iceberg cannot hold")
        return (
            f"CASE WHEN {self._fits(column, name, type_)} THEN CAST({quoted(name)} AS TIMESTAMP) "
            f"ELSE CAST(error({message}) AS TIMESTAMP) END"
        )

    def _fits(self, column: Column, name: str, type_: str) -> str:
        value = quoted(name)
        fits = f"TRY_CAST({value} AS {duckdb_type(column.type)}) IS NOT NULL"
        if type_ == "TIMESTAMP_NS":
            fits = f"epoch_ns({value}) % 1000 = 0"
        return f"{value} IS NULL OR {fits}"


def open_parquet(cursor: Connection, path: Path, options: ReadOptions) -> ParquetSource:
    """Return the file with the types of its footer.

    Raises:
        InvalidFileError: the footer is damaged or encrypted, or names that no table can have.
        UnsupportedTypeError: a type that Iceberg cannot hold.
        SchemaDriftError: the table has other columns.
    """
    try:
        metadata = pq.read_metadata(path)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise InvalidFileError(f"the Parquet footer cannot be read: {reason}") from error
    if metadata.num_rows == 0:
        raise InvalidFileError("the file has no rows")
    names = metadata.schema.to_arrow_schema().names
    if len(names) > options.limits.columns_max:
        raise InvalidFileError(
            f"the file has {len(names)} columns; {options.limits.columns_max} are the most"
        )
    try:
        check_column_names(names)
    except LakehouseError as error:
        raise InvalidFileError(f"the file's columns: {error.detail}") from error
    described = cursor.execute(
        f"DESCRIBE SELECT * FROM read_parquet({path_literal(path)})"
    ).fetchall()
    types = tuple(row[1] for row in described)
    if options.table is not None:
        columns = matched(names, options.table)
    else:
        columns = tuple(
            Column(name, options.types.get(name) or iceberg_type(type_, name))
            for name, type_ in zip(names, types, strict=True)
        )
    return ParquetSource(path, columns, tuple(names), types, options)
