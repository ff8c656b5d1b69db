"""CSV and TSV (RFC 4180): one typed pass when the file keeps what its first rows promise.

The first line is the header. An empty field is NULL, `""` is an empty string.
"""

import csv as stdlib_csv
import io
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from lakehouse.catalog import Column, Rows, check_column_names, duckdb_type
from lakehouse.database import Connection, literal, quoted
from lakehouse.errors import LakehouseError
from lakehouse.ingest.columns import matched
from lakehouse.ingest.errors import InvalidFileError, InvalidLoadError
from lakehouse.ingest.formats import head_of
from lakehouse.ingest.inference import LONG_SQL, infer, settled_date_format
from lakehouse.ingest.models import BadRow
from lakehouse.ingest.source import ReadOptions, path_literal, select, struct

DELIMITERS = ",;\t|"
HEADER_MAX_BYTES = 4 * 1024 * 1024
REJECTS_MAX = 100_000
"""Bad rows that are told apart; more are left out all the same, and counted as these."""
PREFIX = "c"


@dataclass(frozen=True, slots=True)
class CsvSource:
    path: Path
    delimiter: str
    columns: tuple[Column, ...]
    date_format: str | None
    options: ReadOptions

    def rows(self) -> Rows:
        return Rows(select(self._expressions(strict=True), self._reader()), self.columns)

    def good_rows(self) -> Rows:
        checks = [f"({sql})" for sql in self._checks().values()]
        source = self._reader("ignore_errors=true")
        sql = select(self._expressions(strict=False), source)
        return Rows(f"{sql} WHERE {' AND '.join(checks)}" if checks else sql, self.columns)

    def contradicted(self, cursor: Connection) -> set[str]:
        checks = self._checks(text=True)
        if not checks:
            return set()
        counts = ", ".join(f"count(*) FILTER (NOT ({sql}))" for sql in checks.values())
        source = self._reader("ignore_errors=true", text=True)
        row = cursor.execute(f"SELECT {counts} FROM {source}").fetchone()
        assert row is not None, "an aggregate has one row"
        return {name for name, count in zip(checks, row, strict=True) if count}

    def with_strings(self, names: set[str]) -> "CsvSource":
        columns = tuple(Column(c.name, "string") if c.name in names else c for c in self.columns)
        return replace(self, columns=columns)

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        table = f"rejects_{uuid.uuid4().hex}"
        rejects = (
            f"store_rejects=true, rejects_table={literal(table)}, "
            f"rejects_scan={literal(table + '_scan')}, rejects_limit={REJECTS_MAX}"
        )
        most = self.options.limits.bad_rows_max
        try:
            cursor.execute(f"SELECT count(*) FROM {self._reader(rejects)}").fetchall()
            found = cursor.execute(
                f"SELECT line, column_name, error_type::VARCHAR, error_message"
                f" FROM {quoted(table)} ORDER BY line LIMIT {most}"
            ).fetchall()
            counted = cursor.execute(f"SELECT count(DISTINCT line) FROM {quoted(table)}").fetchone()
        finally:
            cursor.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
            cursor.execute(f"DROP TABLE IF EXISTS {quoted(table + '_scan')}")
        rows = [
            BadRow(line, self._name(column), self._reason(kind, message))
            for line, column, kind, message in found
        ]
        count = int(counted[0]) if counted else 0
        missed, more = self._badly_written(cursor, most - len(rows))
        return count + missed, rows + more

    def _badly_written(self, cursor: Connection, most: int) -> tuple[int, list[BadRow]]:
        """Find what the reader takes and we do not: 007 or 1.5 in an integer column."""
        count, rows = 0, list[BadRow]()
        for position, column in enumerate(self.columns):
            check = self._check(column, f"{PREFIX}{position}", text=False)
            if check is None:
                continue
            source = self._reader("ignore_errors=true")
            bad = f"FROM {source} WHERE NOT ({check})"
            found = cursor.execute(
                f"SELECT {PREFIX}{position} {bad} LIMIT {max(most - len(rows), 1)}"
            ).fetchall()
            if found:
                counted = cursor.execute(f"SELECT count(*) {bad}").fetchone()
                count += int(counted[0]) if counted else 0
                rows += [
                    BadRow(None, column.name, f"{value[:80]!r} is no {column.type}")
                    for (value,) in found
                ]
        return count, rows[: max(most, 0)]

    def _name(self, internal: str | None) -> str | None:
        if internal is None or not internal.startswith(PREFIX):
            return None
        return self.columns[int(internal.removeprefix(PREFIX))].name

    def _reason(self, kind: str, message: str) -> str:
        if kind in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
            found = message.rpartition(":")[2].strip()
            return f"it has {found} fields, the header has {len(self.columns)}"
        if kind == "CAST":
            value = message.partition("Could not convert string ")[2]
            return f"{value[:120]}" if value else message[:120]
        if kind == "LINE SIZE OVER MAXIMUM":
            return f"the line is longer than {self.options.limits.line_max_bytes} bytes"
        if kind == "INVALID ENCODING":
            return "the text is not UTF-8; declare it, for example encoding=latin-1"
        if kind == "UNQUOTED VALUE":
            return "a quoted value does not end, or goes on after its quote"
        return message.splitlines()[0][:120]

    def _reader(self, *extra: str, text: bool = False) -> str:
        types = {
            f"{PREFIX}{position}": "VARCHAR" if text else self._read_as(column)
            for position, column in enumerate(self.columns)
        }
        options = [
            "auto_detect=false",
            "header=true",
            f"delim={literal(self.delimiter)}",
            "quote='\"'",
            "escape='\"'",
            "nullstr=''",
            "allow_quoted_nulls=false",
            f"max_line_size={self.options.limits.line_max_bytes}",
            f"columns={struct(types)}",
            *([f"dateformat={literal(self.date_format)}"] if self.date_format else []),
            *extra,
        ]
        return f"read_csv({path_literal(self.path)}, {', '.join(options)})"

    def _read_as(self, column: Column) -> str:
        """The reader rounds `1.5` to an integer, so numbers without a fraction come as text."""
        if column.type in TYPED:
            return duckdb_type(column.type)
        return "VARCHAR"

    def _expressions(self, *, strict: bool) -> dict[str, str]:
        return {
            column.name: self._expression(column, f"{PREFIX}{position}", strict=strict)
            for position, column in enumerate(self.columns)
        }

    def _expression(self, column: Column, value: str, *, strict: bool) -> str:
        if column.type in TYPED or column.type == "string":
            return value
        target = duckdb_type(column.type)
        text = f"{value}::JSON" if is_nested(column.type) else value
        blob = column.type == "binary"
        cast = f"from_base64({value})" if blob else f"CAST({text} AS {target})"
        check = self._check(column, value, text=False)
        if check is None or not strict:
            return cast
        message = literal(f"a value of {column.name!r} is no {column.type}")
        return f"CASE WHEN {check} THEN {cast} ELSE CAST(error({message}) AS {target}) END"

    def _checks(self, *, text: bool = False) -> dict[str, str]:
        checks = {
            column.name: self._check(column, f"{PREFIX}{position}", text=text)
            for position, column in enumerate(self.columns)
        }
        return {name: sql for name, sql in checks.items() if sql is not None}

    def _check(self, column: Column, value: str, *, text: bool) -> str | None:
        """Return SQL that is true for what may stand in this column; NULL may always.

        Args:
            text: whether `value` was read as text, else as `_read_as` says.
        """
        if column.type == "string" or (column.type in TYPED and not text):
            return None
        target = duckdb_type(column.type)
        if column.type == "date" and self.date_format:
            cast = f"try_strptime({value}, {literal(self.date_format)})"
        elif is_nested(column.type):
            cast = f"TRY_CAST(TRY_CAST({value} AS JSON) AS {target})"
        elif column.type == "binary":
            cast = f"TRY(from_base64({value}))"
        else:
            cast = f"TRY_CAST({value} AS {target})"
        fits = f"{cast} IS NOT NULL"
        if column.type in ("long", "int"):
            fits += f" AND regexp_full_match({value}, {literal(LONG_SQL)})"
        elif column.type.startswith("decimal"):
            scale = column.type.rstrip(")").split(",")[1].strip()
            pattern = rf"[+-]?[0-9]*(?:\.[0-9]{{0,{scale}}}0*)?"
            fits += f" AND regexp_full_match({value}, {literal(pattern)})"
        return f"{value} IS NULL OR ({fits})"


TYPED = frozenset(
    ["boolean", "float", "double", "date", "time", "timestamp", "timestamptz", "uuid"]
)
"""Types that the CSV reader itself reads as we do."""


def is_nested(type_: str) -> bool:
    return type_.startswith(("list", "map", "struct"))


def open_csv(cursor: Connection, path: Path, options: ReadOptions, *, tabs: bool) -> CsvSource:
    """Return the file with its header read and a type for each column.

    Raises:
        InvalidFileError: no header, no rows, or names that no table can have.
        SchemaDriftError: the table has other columns.
    """
    header_text = head_text(path)
    delimiter = options.delimiter or ("\t" if tabs else found_delimiter(header_text))
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InvalidLoadError("delimiter is one character, and neither a quote nor a line break")
    header = read_header(header_text, delimiter, options)
    raw = CsvSource(
        path=path,
        delimiter=delimiter,
        columns=tuple(Column(name, "string") for name in header),
        date_format=None,
        options=options,
    )
    sample = sampled(cursor, raw)
    if sample.num_rows == 0:
        # Either there is no row, or none that can be read: the full pass says which line.
        count, rows = raw.bad_rows(cursor)
        if not count:
            raise InvalidFileError("the file has a header and no rows")
        reason = f"line {rows[0].line}: {rows[0].reason}" if rows else "no row can be read"
        raise InvalidFileError(f"the file has no readable row; {reason}")
    if options.table is not None:
        columns = matched(header, options.table)
        return replace(raw, columns=columns, date_format=options.date_format)
    columns, date_format = inferred(header, sample, options)
    return replace(raw, columns=columns, date_format=date_format)


def head_text(path: Path) -> str:
    text = head_of(path, HEADER_MAX_BYTES).decode("utf-8-sig", errors="replace")
    if "\0" in text[:4096]:
        raise InvalidFileError(
            "the file has NUL bytes: it is binary, or text in UTF-16 without a byte order mark "
            "(declare it: encoding=utf-16-le)"
        )
    return text


def found_delimiter(text: str) -> str:
    """Return the delimiter that stands most often in the first record, outside of quotes."""
    counts = dict.fromkeys(DELIMITERS, 0)
    quoted_part = False
    for char in text:
        if char == '"':
            quoted_part = not quoted_part
        elif char in "\r\n" and not quoted_part:
            break
        elif char in counts and not quoted_part:
            counts[char] += 1
    return max(counts, key=lambda char: counts[char])


def read_header(text: str, delimiter: str, options: ReadOptions) -> list[str]:
    limits = options.limits
    stdlib_csv.field_size_limit(HEADER_MAX_BYTES)
    try:
        header = next(stdlib_csv.reader(io.StringIO(text), delimiter=delimiter, strict=True), [])
    except stdlib_csv.Error as error:
        raise InvalidFileError(f"line 1, the header, cannot be read: {error}") from error
    if not header:
        raise InvalidFileError("line 1, the header, is empty")
    if len(header) > limits.columns_max:
        raise InvalidFileError(
            f"the header has {len(header)} columns; {limits.columns_max} are the most"
        )
    for number, name in enumerate(header, start=1):
        if not name.strip():
            raise InvalidFileError(f"column {number} of the header has no name; give it one")
    try:
        check_column_names(header)
    except LakehouseError as error:
        raise InvalidFileError(f"line 1, the header: {error.detail}") from error
    return header


def sampled(cursor: Connection, source: CsvSource) -> pa.Table:
    reader = source._reader("ignore_errors=true", text=True)
    limit = source.options.limits.sample_rows
    return cursor.execute(f"SELECT * FROM {reader} LIMIT {limit}").to_arrow_table()


def inferred(
    header: list[str], sample: pa.Table, options: ReadOptions
) -> tuple[tuple[Column, ...], str | None]:
    """Return a type for each column, and how the file's dates are written if not in ISO form.

    One file has one way to write dates; columns written in a second way stay text.
    """
    declared = options.types
    date_format = options.date_format
    columns: list[Column] = []
    for name, values in zip(header, sample.columns, strict=True):
        texts = values.to_pylist()
        type_ = declared.get(name) or infer(texts)
        settled = settled_date_format(texts) if type_ == "string" and name not in declared else None
        if settled and date_format in (None, settled):
            date_format, type_ = settled, "date"
        columns.append(Column(name, type_))
    if date_format:
        columns = [
            Column(c.name, "string")
            if c.type == "date" and c.name not in declared and infer_iso(sample, header, c.name)
            else c
            for c in columns
        ]
    return tuple(columns), date_format


def infer_iso(sample: pa.Table, header: list[str], name: str) -> bool:
    return infer(sample.columns[header.index(name)].to_pylist()) == "date"
