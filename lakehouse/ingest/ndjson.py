"""NDJSON: a JSON object a line. JSON has types, so text stays text unless `types=` says else.

`read_json` with explicit columns ignores keys it does not know, silently. So the fast way is its
own detection over the first rows, which then raises for a key that appears later; where its types
would lose something, the columns are named, and the keys of the whole file are compared first.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from lakehouse.catalog import Column, Rows, SchemaDriftError, check_column_names, duckdb_type
from lakehouse.catalog.names import folded
from lakehouse.database import Connection, EngineError, literal, quoted
from lakehouse.errors import LakehouseError
from lakehouse.ingest.errors import InvalidFileError
from lakehouse.ingest.models import BadRow
from lakehouse.ingest.source import ReadOptions, path_literal, select, struct

INT64 = range(-(2**63), 2**63)
DIGITS_MAX = 4000
EXACT = {"boolean": {"BOOLEAN"}, "long": {"BIGINT"}, "double": {"DOUBLE"}, "string": {"VARCHAR"}}
"""What `read_json` detects, and reads without a loss, for each of our types."""


@dataclass(frozen=True, slots=True)
class NdjsonSource:
    path: Path
    columns: tuple[Column, ...]
    keys: Mapping[str, str]
    """By column, the key as the file has it."""
    detected: bool
    """Whether `read_json`'s own detection gives exactly these types."""
    options: ReadOptions

    def rows(self) -> Rows:
        if self.detected:
            expressions = {c.name: quoted(self.keys[c.name]) for c in self.columns}
            return Rows(select(expressions, self._detecting()), self.columns)
        types = {self.keys[c.name]: duckdb_type(c.type) for c in self.columns}
        source = (
            f"read_json({path_literal(self.path)}, format='newline_delimited', "
            f"columns={struct(types)}, {self._size()})"
        )
        expressions = {c.name: quoted(self.keys[c.name]) for c in self.columns}
        return Rows(select(expressions, source), self.columns)

    def good_rows(self) -> Rows:
        expressions = {c.name: self._cast(c) for c in self.columns}
        checks = [f"({self._fits(c)})" for c in self.columns]
        sql = select(expressions, f"({self._lines()})")
        keys = list_of_keys(self.keys.values())
        known = f"list_has_all({keys}, json_keys(j))"
        where = " AND ".join(["j IS NOT NULL", known, *checks])
        return Rows(f"{sql} WHERE {where}", self.columns)

    def contradicted(self, cursor: Connection) -> set[str]:
        typed = [c for c in self.columns if c.type != "string"]
        if not typed:
            return set()
        counts = ", ".join(f"count(*) FILTER (NOT ({self._fits(c)}))" for c in typed)
        row = cursor.execute(
            f"SELECT {counts} FROM ({self._lines()}) WHERE j IS NOT NULL"
        ).fetchone()
        assert row is not None, "an aggregate has one row"
        return {column.name for column, count in zip(typed, row, strict=True) if count}

    def with_strings(self, names: set[str]) -> "NdjsonSource":
        columns = tuple(Column(c.name, "string") if c.name in names else c for c in self.columns)
        return replace(self, columns=columns, detected=False)

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        most = self.options.limits.bad_rows_max
        keys = list_of_keys(self.keys.values())
        cases = ["WHEN j IS NULL THEN 'it is no JSON object'"]
        cases.append(f"WHEN NOT list_has_all({keys}, json_keys(j)) THEN 'it has an unknown key'")
        cases += [
            f"WHEN NOT ({self._fits(c)}) THEN {literal(f'{c.name}: it is no {c.type}')}"
            for c in self.columns
        ]
        bad = (
            f"SELECT line, reason FROM (SELECT line, CASE {' '.join(cases)} END AS reason "
            f"FROM ({self._lines()})) WHERE reason IS NOT NULL"
        )
        found = cursor.execute(f"{bad} ORDER BY line LIMIT {most}").fetchall()
        counted = cursor.execute(f"SELECT count(*) FROM ({bad})").fetchone()
        rows = [BadRow(line, *split_reason(reason, self.columns)) for line, reason in found]
        return (int(counted[0]) if counted else 0), rows

    def _detecting(self) -> str:
        """No format matches a date, so text stays text; and no map is guessed."""
        return (
            f"read_json({path_literal(self.path)}, format='newline_delimited', "
            f"sample_size={self.options.limits.sample_rows}, dateformat='\x01', "
            f"timestampformat='\x01', map_inference_threshold=-1, {self._size()})"
        )

    def _size(self) -> str:
        return f"maximum_object_size={self.options.limits.line_max_bytes}"

    def _lines(self) -> str:
        """Every line as text, with its number, and as JSON where it is an object."""
        limits = self.options.limits
        return (
            "SELECT line, text, CASE WHEN json_valid(text) AND json_type(text) = 'OBJECT' "
            "THEN text::JSON END AS j FROM (SELECT row_number() OVER () AS line, text FROM "
            f"read_csv({path_literal(self.path)}, auto_detect=false, header=false, delim='\x01', "
            f"quote='', escape='', max_line_size={limits.line_max_bytes}, ignore_errors=true, "
            "columns={'text': 'VARCHAR'})) WHERE text IS NOT NULL"
        )

    def _value(self, column: Column) -> str:
        return f"json_extract(j, {literal(json_pointer(self.keys[column.name]))})"

    def _cast(self, column: Column) -> str:
        value, target = self._value(column), duckdb_type(column.type)
        if column.type == "string":
            return f"({value} ->> '$')"
        return f"TRY_CAST({value} AS {target})"

    def _fits(self, column: Column) -> str:
        value = self._value(column)
        if column.type == "string":
            return "true"
        fits = f"{self._cast(column)} IS NOT NULL"
        if column.type in ("long", "int"):
            fits += f" AND json_type({value}) IN ('BIGINT', 'UBIGINT')"
        return f"{value} IS NULL OR json_type({value}) = 'NULL' OR ({fits})"


def open_ndjson(cursor: Connection, path: Path, options: ReadOptions) -> NdjsonSource:
    """Return the file with a type for each of its columns.

    Raises:
        InvalidFileError: a line is no JSON object, or names that no table can have.
        SchemaDriftError: it has keys that the table has not.
    """
    sample = sampled(path, options)
    keys = list(dict.fromkeys(key for row in sample for key in row))
    types = {key: inferred(row.get(key) for row in sample) for key in keys}
    check_names(keys, options)
    if options.table is not None:
        return into_table(cursor, path, options, keys, types)
    columns = tuple(Column(key, options.types.get(key, types[key])) for key in keys)
    source = NdjsonSource(path, columns, {key: key for key in keys}, False, options)
    return checked(cursor, source)


def into_table(
    cursor: Connection,
    path: Path,
    options: ReadOptions,
    keys: list[str],
    types: Mapping[str, str],
) -> NdjsonSource:
    """Read the file as the table has its columns; a column that no row has is NULL."""
    assert options.table is not None, "the caller looked"
    known = {folded(column.name): column for column in options.table}
    strange = [key for key in keys if folded(key) not in known]
    if strange:
        raise unknown_keys(strange)
    by_column = {known[folded(key)].name: key for key in keys}
    for column in options.table:
        by_column.setdefault(column.name, column.name)
    return checked(cursor, NdjsonSource(path, options.table, by_column, False, options))


def checked(cursor: Connection, source: NdjsonSource) -> NdjsonSource:
    """Return the source, reading by detection where that is exact; else with its keys compared."""
    try:
        described = cursor.execute(f"DESCRIBE SELECT * FROM {source._detecting()}").fetchall()
    except EngineError:
        described = []
    found = {name: type_ for name, type_, *_ in described}
    wanted = {source.keys[c.name]: c.type for c in source.columns}
    if found.keys() == wanted.keys() and all(
        found[key] in EXACT.get(type_, ()) for key, type_ in wanted.items()
    ):
        return replace(source, detected=True)
    unknown = cursor.execute(
        f"SELECT DISTINCT unnest(json_keys(j)) AS key FROM ({source._lines()}) "
        f"WHERE j IS NOT NULL AND NOT list_has_all({list_of_keys(source.keys.values())}, "
        "json_keys(j)) LIMIT 100"
    ).fetchall()
    new = sorted(key for (key,) in unknown if key not in source.keys.values())
    if not new:
        return source
    if source.options.table is not None:
        raise unknown_keys(new)
    check_names([*wanted, *new], source.options)
    columns = (*source.columns, *(Column(key, "string") for key in new))
    return replace(source, columns=columns, keys={**source.keys, **{key: key for key in new}})


def unknown_keys(keys: Iterable[str]) -> SchemaDriftError:
    return SchemaDriftError("the file", [f"column {key!r} is not in the table" for key in keys])


def sampled(path: Path, options: ReadOptions) -> list[dict[str, Any]]:
    limits = options.limits
    rows: list[dict[str, Any]] = []
    with path.open("rb") as file:
        for number in range(1, limits.sample_rows * 2):
            line = file.readline(limits.line_max_bytes + 1)
            if not line or len(rows) >= limits.sample_rows:
                break
            if len(line) > limits.line_max_bytes:
                raise InvalidFileError(
                    f"line {number} is longer than {limits.line_max_bytes} bytes"
                )
            if not line.strip():
                continue
            rows.append(parsed(line.removeprefix(b"\xef\xbb\xbf"), number))
    if not rows:
        raise InvalidFileError("the file has no rows")
    return rows


def parsed(line: bytes, number: int) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        hint = "; one JSON object a line" if number == 1 else ""
        raise InvalidFileError(f"line {number} is no JSON object: {error}{hint}") from error
    if not isinstance(row, dict):
        kind = "an array; send one JSON object a line" if isinstance(row, list) else "no object"
        raise InvalidFileError(f"line {number} is {kind}")
    return row


def check_names(keys: list[str], options: ReadOptions) -> None:
    if len(keys) > options.limits.columns_max:
        raise InvalidFileError(
            f"the rows have {len(keys)} keys; {options.limits.columns_max} are the most"
        )
    try:
        check_column_names(keys)
    except LakehouseError as error:
        raise InvalidFileError(f"a key cannot be a column: {error.detail}") from error


def inferred(values: Any) -> str:
    """Return the type of all `values`; `string` (JSON text) when they differ."""
    present = [value for value in values if value is not None]
    if not present:
        return "string"
    types = {scalar(value) for value in present}
    if types <= {"long", "double"}:
        return types.pop() if len(types) == 1 else "double"
    if types == {"struct"}:
        keys = dict.fromkeys(key for value in present for key in value)
        if not keys or not all(key.strip() and key.isprintable() for key in keys):
            return "string"
        if len({folded(key) for key in keys}) < len(keys):
            return "string"
        fields = (f"{quoted(key)}: {inferred(v.get(key) for v in present)}" for key in keys)
        return f"struct<{', '.join(fields)}>"
    if types == {"list"}:
        return f"list<{inferred(item for value in present for item in value)}>"
    return types.pop() if len(types) == 1 else "string"


def scalar(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "long" if value in INT64 else "string"
    if isinstance(value, float):
        return "double"
    if isinstance(value, dict):
        return "struct"
    return "list" if isinstance(value, list) else "string"


def json_pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def list_of_keys(keys: Any) -> str:
    return "[" + ", ".join(literal(key) for key in keys) + "]"


def split_reason(reason: str, columns: tuple[Column, ...]) -> tuple[str | None, str]:
    for column in columns:
        prefix = f"{column.name}: "
        if reason.startswith(prefix):
            return column.name, reason.removeprefix(prefix)
    return None, reason
