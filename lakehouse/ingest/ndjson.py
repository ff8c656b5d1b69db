"""NDJSON: a JSON object a line, read in one pass when the file keeps what its first rows promise.

`read_json` with named columns drops keys that it does not know, without a word; only when it
found the columns itself does it raise for a new one. So the file gets two rows in front, made
here, that hold every key: once as we want it read, once so that numbers stay JSON text. From them
it finds exactly our columns, and they are left out again by a key of their own.

Text is read as text, everything else as JSON; `forms.py` makes values of both.
"""

import json
import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from lakehouse.catalog import (
    Column,
    Rows,
    SchemaDriftError,
    check_column_names,
    duckdb_type,
    folded,
    iceberg_type,
)
from lakehouse.database import Connection, literal, quoted
from lakehouse.errors import LakehouseError
from lakehouse.ingest.errors import InvalidFileError
from lakehouse.ingest.formats import Readable
from lakehouse.ingest.forms import (
    TextColumn,
    declared_form,
    inferred_form,
    select_checked,
    select_fitting,
)
from lakehouse.ingest.inference import STRING, Inferred, infer, is_double, is_long
from lakehouse.ingest.json_forms import NESTING_MAX, Shape, is_nested, nested_form, shapes_of
from lakehouse.ingest.lines import count_lines, record_number, unreadable_lines
from lakehouse.ingest.models import BadRow, Unit
from lakehouse.ingest.source import ReadOptions, path_literal, shown
from lakehouse.json_text import fault

SAMPLE_BYTES_MAX = 32 * 1024 * 1024
BOM = b"\xef\xbb\xbf"
READ_AS_TEXT = frozenset(["string", "date", "time", "timestamp", "timestamptz", "uuid", "binary"])
QUOTED_NUMBERS = ("decimal", "double", "float")
"""Of a declared type, these may come as JSON strings: SQL answers give them so."""
ONCE = "len(json_keys(j)) = len(list_distinct(json_keys(j)))"


@dataclass(frozen=True, slots=True)
class NdjsonSource:
    path: Path
    room_bytes: int
    marker: str
    """The key of the rows in front."""
    columns: tuple[Column, ...]
    keys: Mapping[str, str]
    """By column, the key as the file has it."""
    sample: Mapping[str, Inferred]
    """By column, what the first rows say."""
    as_json: frozenset[str]
    """Columns that are read as JSON, not as text."""
    shapes: Mapping[str, Shape]
    options: ReadOptions

    def rows(self) -> Rows:
        size = max(self.options.limits.line_max_bytes, self.room_bytes)
        source = (
            f"read_json({path_literal(self.path)}, format='newline_delimited', sample_size=2, "
            f"map_inference_threshold=-1, maximum_object_size={size}) "
            f"WHERE {quoted(self.marker)} IS NULL"
        )
        texts = [self._column(each, self._fast_text(each)) for each in self.columns]
        return Rows(select_checked(texts, source), self.columns, read_for=self.options.table or ())

    def good_rows(self) -> Rows:
        source = f"({self._lines()}) WHERE j IS NOT NULL AND {self._no_other_keys()}"
        fitting = select_fitting(self._slow_columns(), f"(SELECT * FROM {source})")
        return Rows(fitting, self.columns, read_for=self.options.table or ())

    def widened(self, cursor: Connection, keep: set[str]) -> "NdjsonSource":
        source = self._with_late_keys(cursor)
        texts = [c for c in source._slow_columns() if c.form is not None]
        texts = [each for each in texts if each.column.name not in keep]
        if not texts:
            return source
        counts = ", ".join(f"count(*) FILTER (NOT {each.fits()})" for each in texts)
        sql = f"SELECT {counts} FROM ({source._lines()}) WHERE j IS NOT NULL"
        row = cursor.execute(sql).fetchone()
        assert row is not None, "an aggregate has one row"
        names = {each.column.name for each, count in zip(texts, row, strict=True) if count}
        columns = tuple(Column(c.name, "string") if c.name in names else c for c in source.columns)
        return replace(source, columns=columns)

    def has_keys(self, cursor: Connection) -> bool:
        """Whether a line has a key. A pass over the file, up to the first that has."""
        sql = f"SELECT 1 FROM ({self._objects()}) WHERE len(json_keys(j)) > 0 LIMIT 1"
        return cursor.execute(sql).fetchone() is not None

    def typed(self, types: Mapping[str, str]) -> "NdjsonSource":
        columns = tuple(Column(c.name, types.get(c.name, c.type)) for c in self.columns)
        return replace(self, columns=columns)

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        most = self.options.limits.bad_rows_max
        limit = self.options.limits.line_max_bytes
        # The engine passes over those that are dropped.
        unreadable, dropped = unreadable_lines(self.path, self.room_bytes, limit, most)
        rows = [BadRow(line, None, reason) for line, reason in unreadable]
        texts = [each for each in self._slow_columns() if each.form is not None]
        fits = " AND ".join(each.fits() for each in texts) or "true"
        good = f"{self._no_other_keys()} AND {fits}"
        bad = f"FROM ({self._lines()}) WHERE j IS NULL OR NOT ({good})"
        counted = cursor.execute(f"SELECT count(*) {bad}").fetchone()
        values = "".join(f", left({each.text}, 80), {each.fits()}" for each in texts)
        found = cursor.execute(
            f"SELECT line, left(text, 80), j IS NULL, {self._other_keys()}{values}"
            f" FROM (SELECT * {bad} ORDER BY line LIMIT {most}) ORDER BY line"
        ).fetchall()
        for number, text, is_no_object, strange, *cells in found:
            line = record_number(number, dropped)
            if is_no_object:
                rows.append(BadRow(line, None, f"{shown(text)} is no JSON object"))
            elif strange is not None and strange:
                rows.append(BadRow(line, strange[0], "there is no such column"))
            else:
                pairs = zip(texts, cells[::2], cells[1::2], strict=True)
                fitting = ((each, value) for each, value, is_good in pairs if not is_good)
                each, value = next(fitting, (None, None))
                if each is None:
                    rows.append(BadRow(line, None, "it has a key twice"))
                else:
                    reason = f"{shown(value)} is no {each.column.type}"
                    rows.append(BadRow(line, each.column.name, reason))
        rows.sort(key=lambda row: row.line or 0)
        rows = [msgspec.structs.replace(row, unit=self.options.unit) for row in rows[:most]]
        return len(dropped) + (int(counted[0]) if counted else 0), rows

    def _column(self, column: Column, text: str) -> TextColumn:
        if is_nested(column.type):
            return TextColumn(column, text, nested_form(column.type, self.shapes[column.type]))
        found = self.sample.get(column.name, STRING)
        layout = found.layout if found.type == column.type else None
        if self.options.infers(column.name):
            form = inferred_form(column.type, layout, is_json=True)
            return TextColumn(column, text, form)
        if column.type.startswith(QUOTED_NUMBERS):
            text = f"trim({text}, '\"')"
        form = declared_form(column.type, self.options.date_format, layout)
        return TextColumn(column, text, form)

    def _fast_text(self, column: Column) -> str:
        value = quoted(self.keys[column.name])
        if column.name not in self.as_json:
            return value
        if column.type in READ_AS_TEXT:  # it was to be a number, and then was not
            return f"({value} ->> '$')"
        return value if is_nested(column.type) else f"CAST({value} AS VARCHAR)"

    def _slow_columns(self) -> list[TextColumn]:
        """The columns as `_lines` has them."""
        return [self._column(column, f"x{number}") for number, column in enumerate(self.columns)]

    def _lines(self) -> str:
        """Every line as `_objects` has it, and the text of its columns.

        Taken apart once, whatever the columns: `json_extract` reads all of the JSON for each.
        The window keeps a WHERE above it from being done with the texts all over again.
        """
        kinds = {
            self.keys[column.name]: "VARCHAR" if column.type in READ_AS_TEXT else "JSON"
            for column in self.columns
        }
        values = ", ".join(
            f"CAST(struct_extract(o, {literal(self.keys[column.name])}) AS VARCHAR) AS x{number}"
            for number, column in enumerate(self.columns)
        )
        split = f"json_transform(j, {literal(json.dumps(kinds))}) AS o"
        return self._numbered(
            f"SELECT text, j, {values} FROM (SELECT text, j, {split} FROM ({self._texts()}))"
        )

    def _objects(self) -> str:
        """Every line with its number, and as JSON where it is an object."""
        return self._numbered(self._texts())

    def _numbered(self, texts: str) -> str:
        room_lines = count_lines(self.path, self.room_bytes)
        return (
            f"SELECT * REPLACE (line - {room_lines} AS line) "
            f"FROM (SELECT row_number() OVER () AS line, * FROM ({texts})) "
            f"WHERE line > {room_lines} AND trim(text, ' \t\r') <> ''"
        )

    def _texts(self) -> str:
        limit = self.options.limits.line_max_bytes
        return (
            "SELECT text, CASE WHEN json_valid(text) AND json_type(text) = 'OBJECT' "
            f"THEN text::JSON END AS j FROM read_csv({path_literal(self.path)}, "
            "auto_detect=false, header=false, "
            f"delim='\x01\x02\x03\x04', quote='', escape='', max_line_size={limit}, "
            "strict_mode=false, ignore_errors=true, nullstr='', columns={'text': 'VARCHAR'})"
        )

    def _other_keys(self) -> str:
        return f"[k FOR k IN json_keys(j) IF NOT list_contains({self._key_list()}, k)]"

    def _no_other_keys(self) -> str:
        return f"(list_has_all({self._key_list()}, json_keys(j)) AND {ONCE})"

    def _key_list(self) -> str:
        return "[" + ", ".join(map(literal, self.keys.values())) + "]"

    def _with_late_keys(self, cursor: Connection) -> "NdjsonSource":
        """Return the same file with a column for each key that came after the sample."""
        pairs = (
            "SELECT line, unnest(json_keys(j)) AS key, unnest(json_extract(j, '$.*')) AS value "
            f"FROM ({self._objects()}) WHERE j IS NOT NULL AND {ONCE} "
            f"AND NOT list_has_all({self._key_list()}, json_keys(j))"
        )
        found = cursor.execute(
            f"SELECT key, min_by(CAST(value AS VARCHAR), line, {self.options.limits.sample_rows}) "
            f"FROM ({pairs}) WHERE key NOT IN (SELECT unnest({self._key_list()})) "
            f"GROUP BY key ORDER BY min(line), key LIMIT {self.options.limits.columns_max + 1}"
        ).fetchall()
        if not found:
            return self
        late = {key: inferred(map(decoded, values)) for key, values in found}
        check_names([*self.keys.values(), *late], self.options)
        types = self.options.types
        columns = tuple(Column(key, types.get(key, each.type)) for key, each in late.items())
        keys = {**self.keys, **{key: key for key in late}}
        target = self.path.with_name(f"{self.path.name}-{len(keys)}")
        return seeded(
            cursor,
            replace(
                self,
                columns=(*self.columns, *columns),
                keys=keys,
                sample={**self.sample, **late},
            ),
            target,
        )


def open_ndjson(
    cursor: Connection, file: Readable, spare: Path, options: ReadOptions
) -> NdjsonSource:
    """Return the file with a type for each of its columns.

    Args:
        spare: where a copy may go when there is no room in front of the file.

    Raises:
        InvalidFileError: a line is no JSON object, or names that no table can have; no line of a
            new table has a key.
        SchemaDriftError: no line has a column of the table, which may not evolve.
    """
    rows = sampled(file, options)
    keys = list(dict.fromkeys(key for row in rows for key in row))
    check_names(keys, options)
    by_key = {key: inferred(row.get(key) for row in rows) for key in keys}
    if options.table is not None:
        known = {folded(column.name): column.name for column in options.table}
        by_column = {known[folded(key)]: key for key in keys if folded(key) in known}
        columns = options.table
        for column in columns:  # one that no row has is NULL
            by_column.setdefault(column.name, column.name)
    else:
        columns, by_column = (), {}
    if options.table is None or options.evolve:
        new = [key for key in keys if key not in by_column.values()]
        columns += tuple(Column(key, options.types.get(key, by_key[key].type)) for key in new)
        by_column |= {key: key for key in new}
    source = NdjsonSource(
        path=file.path,
        room_bytes=file.room_bytes,
        marker=f"lakehouse-{secrets.token_hex(8)}",
        columns=columns,
        keys=by_column,
        sample={name: by_key[key] for name, key in by_column.items() if key in by_key},
        as_json=frozenset(),
        shapes={},
        options=options,
    )
    source = seeded(cursor, source, spare)
    if not keys and not source.has_keys(cursor):
        check_may_be_null(options)
    return source


def check_may_be_null(options: ReadOptions) -> None:
    """Refuse a file of `{}` alone, unless the table takes the columns as they come: as none."""
    if options.table is None:
        raise InvalidFileError(f"no {options.unit} has a key, so there are no columns")
    if not options.evolve:
        raise SchemaDriftError(
            options.table_name,
            [f"no {options.unit} has one of its columns"],
            options.columns_advice,
        )


def seeded(cursor: Connection, source: NdjsonSource, spare: Path) -> NdjsonSource:
    """Return the source with the rows in front that make the engine find its columns."""
    as_json = frozenset(c.name for c in source.columns if c.type not in READ_AS_TEXT)
    keys = {source.keys[column.name]: column.name in as_json for column in source.columns}
    # A number in one row and an object in the other: what fits both is JSON.
    first = {key: 1 if number else "text" for key, number in keys.items()}
    second = {key: {"x": 1} if number else "text" for key, number in keys.items()}
    rows = "".join(json.dumps({**each, source.marker: 1}) + "\n" for each in (first, second))
    path, room = in_front(source.path, source.room_bytes, rows.encode(), spare)
    return replace(
        source,
        path=path,
        room_bytes=room,
        as_json=as_json,
        shapes=shapes_of(cursor, source.columns),
    )


def in_front(path: Path, room_bytes: int, rows: bytes, spare: Path) -> tuple[Path, int]:
    """Write `rows` in front of a file, or into a copy of it, and return that and the new room."""
    if path != spare and len(rows) <= room_bytes:
        with path.open("r+b") as file:
            file.write(rows.ljust(room_bytes, b"\n"))
            if file.read(len(BOM)) == BOM:
                file.seek(room_bytes)
                file.write(b"   ")
        return path, room_bytes
    with path.open("rb") as old, spare.open("wb") as new:
        old.seek(room_bytes)
        start = old.read(len(BOM))
        new.write(rows)
        new.write(start if start != BOM else b"")
        shutil.copyfileobj(old, new, 4 * 1024 * 1024)
    return spare, len(rows)


def sampled(file: Readable, options: ReadOptions) -> list[dict[str, Any]]:
    """Return the first rows that can be read; the full pass says what the others are.

    Raises:
        InvalidFileError: there is none.
    """
    limits = options.limits
    rows: list[dict[str, Any]] = []
    first: InvalidFileError | None = None
    size, number = 0, 0
    with file.path.open("rb") as lines:
        lines.seek(file.room_bytes)
        while len(rows) < limits.sample_rows and size < SAMPLE_BYTES_MAX:
            line = lines.readline(limits.line_max_bytes + 1)
            if not line:
                break
            number, size = number + 1, size + len(line)
            try:
                if len(line) > limits.line_max_bytes:
                    while line and not line.endswith(b"\n"):
                        line = lines.readline(limits.line_max_bytes)
                    what = f"{options.unit} {number} is longer than {limits.line_max_bytes} bytes"
                    raise InvalidFileError(what)
                if number == 1:
                    line = line.removeprefix(BOM)
                if line.strip():
                    rows.append(parsed(line, number, options.unit))
            except InvalidFileError as error:
                first = first or error
    if not rows:
        raise first or InvalidFileError("the file has no rows")
    return rows


def parsed(line: bytes, number: int, unit: Unit) -> dict[str, Any]:
    place = f"{unit} {number}"
    try:
        row = decoded(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        hint = (
            " (send one JSON object a line, or say format=json)"
            if number == 1 and unit == "line"
            else ""
        )
        raise InvalidFileError(f"{place} is no JSON object: {fault(error, line)}{hint}") from error
    if isinstance(row, dict):
        return row
    kind = "an array" if isinstance(row, list) else "no object"
    if unit != "line":
        raise InvalidFileError(f"{place} is {kind}; a row is an object: its columns and values")
    advice = (
        "; say format=json of an array of objects" if number == 1 and kind == "an array" else ""
    )
    raise InvalidFileError(f"{place} is {kind}; send one JSON object a line{advice}")


class HugeNumber(str):
    """A number that no type of ours holds: it stays the text that it was."""


def decoded(text: str | bytes) -> Any:
    """Return the value of a JSON text, whatever the size of its numbers."""
    try:
        return msgspec.json.decode(text)
    except msgspec.ValidationError:  # a number is out of range
        return json.loads(text, parse_int=HugeNumber, parse_float=HugeNumber)


def check_names(keys: Sequence[str], options: ReadOptions) -> None:
    if len(keys) > options.limits.columns_max:
        raise InvalidFileError(
            f"the rows have {len(keys)} keys; {options.limits.columns_max} are the most"
        )
    try:
        check_column_names(keys)
    except LakehouseError as error:
        raise InvalidFileError(f"a key cannot be a column: {error.detail}") from error


def inferred(values: Iterable[Any], depth: int = 0) -> Inferred:
    """Return the type of all `values`; `string` (JSON text) when they differ, or go too deep."""
    present = [value for value in values if value is not None]
    kinds = {kind_of(value) for value in present}
    if kinds == {"text"}:
        found = infer(present)
        slashed = found.layout is not None and "%" in found.layout
        return found if found.type in READ_AS_TEXT and not slashed else STRING
    if depth == NESTING_MAX and kinds & {"struct", "list"}:
        return STRING
    if kinds == {"struct"}:
        return Inferred(struct_of(present, depth))
    if kinds == {"list"}:
        items = [item for value in present for item in value]
        return Inferred(f"list<{nested(items, depth)}>")
    if kinds and kinds <= {"long", "double"}:
        texts = [msgspec.json.encode(value).decode() for value in present]
        type_, fits = ("long", is_long) if kinds == {"long"} else ("double", is_double)
        return Inferred(type_) if all(map(fits, texts)) else STRING
    return Inferred("boolean") if kinds == {"boolean"} else STRING


def nested(values: Iterable[Any], depth: int) -> str:
    """Return the type of what is inside a list or an object, where text stays text."""
    found = inferred(values, depth + 1).type
    return "string" if found in READ_AS_TEXT else found


def struct_of(values: Sequence[dict[str, Any]], depth: int) -> str:
    keys = dict.fromkeys(key for value in values for key in value)
    try:
        check_column_names(keys)
    except LakehouseError:
        return "string"
    if not keys:
        return "string"
    fields = (
        f"{quoted(key)}: {nested((value.get(key) for value in values), depth)}" for key in keys
    )
    # Twice translated, names are quoted only where they must be: as tables say their types.
    return iceberg_type(duckdb_type(f"struct<{', '.join(fields)}>"))


def kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, HugeNumber):
        return "huge"
    if isinstance(value, int):
        return "long"
    if isinstance(value, float):
        return "double"
    if isinstance(value, dict):
        return "struct"
    return "list" if isinstance(value, list) else "text"
