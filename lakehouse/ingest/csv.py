"""CSV and TSV (RFC 4180): one pass when the file keeps what its first rows promise.

The first line is the header. An empty field is NULL, `""` is an empty string. Every field is read
as text and made a value by `forms.py`; nothing is left to the engine's own guesses.
"""

import csv as stdlib_csv
import io
import unicodedata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from lakehouse.catalog import Column, Rows, check_column_names
from lakehouse.database import ARROW_ROWS, Connection, EngineInvalidInputError, literal, quoted
from lakehouse.errors import LakehouseError
from lakehouse.ingest.columns import matched
from lakehouse.ingest.errors import InvalidFileError, InvalidLoadError
from lakehouse.ingest.formats import head_of
from lakehouse.ingest.forms import TextColumn, select_checked, select_fitting
from lakehouse.ingest.inference import Inferred, infer
from lakehouse.ingest.json_forms import Shape, shapes_of
from lakehouse.ingest.lines import (
    NOT_UTF_8,
    count_records,
    lines_of_records,
    mixed_line_end,
    record_number,
    records_within,
    unreadable_lines,
)
from lakehouse.ingest.models import BadRow
from lakehouse.ingest.source import ReadOptions, path_literal, shown, struct, text_columns

DELIMITERS = ",;\t|"
DELIMITER_MAX_BYTES = 4
SPELLED = {"\\t": "\t"}
SAMPLE_BYTES_MAX = 32 * 1024 * 1024
"""Rows of the sample: 1,000 lines of 2 MB would take the memory of everybody else's loads."""
HEADER_MAX_BYTES = 4 * 1024 * 1024
REJECTS_MAX = 100_000
"""Malformed rows that are kept apart; when there are more, all are counted a second time."""
BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class CsvSource:
    path: Path
    delimiter: str
    columns: tuple[Column, ...]
    sample: tuple[Inferred, ...]
    """What the first rows say of each column."""
    shapes: Mapping[str, Shape]
    """Of the nested columns: their text is JSON."""
    options: ReadOptions

    def rows(self) -> Rows:
        source = self._reader()
        if self.options.some_columns:
            # The engine breaks over a text that is not UTF-8 when it reads some columns alone: a
            # hash of all makes it read all.
            every = ", ".join(f"c{number}" for number in range(len(self.columns)))
            source = f"{source} WHERE hash({every}) IS NOT NULL"
        return Rows(
            select_checked(self._texts(), source),
            self.columns,
            read_for=self.options.table or (),
        )

    def good_rows(self) -> Rows:
        return Rows(
            select_fitting(self._texts(), self._reader("ignore_errors=true")),
            self.columns,
            read_for=self.options.table or (),
        )

    def widened(self, cursor: Connection, keep: set[str]) -> "CsvSource":
        texts = [each for each in self._texts() if each.form and each.column.name not in keep]
        if not texts:
            return self
        counts = ", ".join(f"count(*) FILTER (NOT {each.fits()})" for each in texts)
        with explained(self.path):
            row = cursor.execute(
                f"SELECT {counts} FROM {self._reader('ignore_errors=true')}"
            ).fetchone()
        assert row is not None, "an aggregate has one row"
        names = {each.column.name for each, count in zip(texts, row, strict=True) if count}
        columns = tuple(Column(c.name, "string") if c.name in names else c for c in self.columns)
        return replace(self, columns=columns)

    def typed(self, types: Mapping[str, str]) -> "CsvSource":
        columns = tuple(Column(c.name, types.get(c.name, c.type)) for c in self.columns)
        return replace(self, columns=columns)

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        most = self.options.limits.bad_rows_max
        with explained(self.path):
            malformed, numbers, count = self._malformed(cursor)
            unfit, bad = self._unfit(cursor, numbers)
        if not count and not unfit:
            # A line of many buffers is passed over without a word.
            limit = self.options.limits.line_max_bytes
            lines, every = unreadable_lines(self.path, 0, limit, most)
            malformed, count = [BadRow(line, None, why) for line, why in lines], len(every)
        rows = sorted([*malformed, *bad], key=lambda row: row.line or 0)
        return count + unfit, rows[:most]

    def _malformed(self, cursor: Connection) -> tuple[list[BadRow], list[int], int]:
        """Return the first rows that cannot be taken apart, the numbers of all, and how many."""
        table = f"rejects_{uuid.uuid4().hex}"
        reader = self._reader(
            f"store_rejects=true, rejects_table={literal(table)}, "
            f"rejects_scan={literal(table + '_scan')}, rejects_limit={REJECTS_MAX}"
        )
        try:
            every = ", ".join(f"count(c{number})" for number in range(len(self.columns)))
            # Read to the end: the table of rejects is there when the scan is over.
            ((good, *_),) = cursor.execute(f"SELECT count(*), {every} FROM {reader}").fetchall()
            if not table_exists(cursor, table):
                return [], [], 0
            numbers = cursor.execute(
                f"SELECT DISTINCT line FROM {quoted(table)} ORDER BY line"
            ).fetchall()
            found = cursor.execute(
                f"SELECT min(line_byte_position), any_value(error_type::VARCHAR),"
                f" any_value(left(error_message, 300)) FROM {quoted(table)}"
                f" GROUP BY line ORDER BY line LIMIT {self.options.limits.bad_rows_max}"
            ).fetchall()
        finally:
            cursor.execute(f"DROP TABLE IF EXISTS {quoted(table)}")
            cursor.execute(f"DROP TABLE IF EXISTS {quoted(table + '_scan')}")
        count = len(numbers)
        if count >= REJECTS_MAX:
            count = count_records(self.path, blank_counts=len(self.columns) == 1) - 1 - good
        rows = [
            BadRow(line_at(self.path, position), None, self._reason(kind, message))
            for position, kind, message in found
        ]
        return rows, [number for (number,) in numbers], count

    def _unfit(self, cursor: Connection, malformed: Sequence[int]) -> tuple[int, list[BadRow]]:
        """Return how many of the other rows have a value that is none of its column, and some."""
        texts = [each for each in self._texts() if each.form is not None]
        if not texts:
            return 0, []
        fits = " AND ".join(each.fits() for each in texts)
        reader = self._reader("ignore_errors=true")
        counted = cursor.execute(f"SELECT count(*) FROM {reader} WHERE NOT ({fits})").fetchone()
        if not counted or not counted[0]:
            return 0, []
        most = self.options.limits.bad_rows_max
        values = ", ".join(f"left({each.text}, 80), {each.fits()}" for each in texts)
        found = cursor.execute(
            f"SELECT number, {values} FROM (SELECT row_number() OVER () AS number, * FROM {reader})"
            f" WHERE NOT ({fits}) ORDER BY number LIMIT {most}"
        ).fetchall()
        records = [record_number(int(row[0]) + 1, malformed) for row in found]
        lines = lines_of_records(self.path, records, blank_counts=len(self.columns) == 1)
        rows = []
        for record, (_, *cells) in zip(records, found, strict=True):
            pairs = zip(texts, cells[::2], cells[1::2], strict=True)
            each, value = next((each, value) for each, value, is_good in pairs if not is_good)
            reason = f"{shown(value)} is no {each.column.type}"
            rows.append(BadRow(lines.get(record), each.column.name, reason))
        return int(counted[0]), rows

    def _reason(self, kind: str, message: str) -> str:
        if kind in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
            found = message.rpartition(":")[2].strip()
            return f"it has {found} fields, the header has {len(self.columns)}"
        if kind == "LINE SIZE OVER MAXIMUM":
            return f"it is longer than {self.options.limits.line_max_bytes} bytes"
        if kind == "INVALID ENCODING":
            return NOT_UTF_8
        if kind == "UNQUOTED VALUE":
            return "a quoted field does not end, or goes on after its closing quote"
        return message.splitlines()[0][:120]

    def _reader(self, *extra: str) -> str:
        limit = self.options.limits.line_max_bytes
        options = [
            "auto_detect=false",
            "header=true",
            f"delim={literal(self.delimiter)}",
            "quote='\"'",
            "escape='\"'",
            "nullstr=''",
            "allow_quoted_nulls=false",
            f"max_line_size={limit}",
            f"columns={struct({f'c{n}': 'VARCHAR' for n in range(len(self.columns))})}",
            *extra,
        ]
        return f"read_csv({path_literal(self.path)}, {', '.join(options)})"

    def _texts(self) -> list[TextColumn]:
        return text_columns(self.columns, self.sample, self.shapes, self.options)


def table_exists(cursor: Connection, name: str) -> bool:
    found = cursor.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [name])
    return found.fetchone() is not None


def line_at(path: Path, position: int | None) -> int | None:
    """Return the line of a byte, both counted from 1."""
    if position is None:
        return None
    line, left = 1, position - 1
    with path.open("rb") as file:
        while left > 0 and (piece := file.read(min(left, 4 * 1024 * 1024))):
            line += piece.count(b"\n")
            left -= len(piece)
    return line


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say of a file that the engine cannot take apart at all why that is."""
    try:
        yield
    except EngineInvalidInputError as error:
        line = mixed_line_end(path)
        if line is not None:
            raise InvalidFileError(
                f"line {line} ends in another way than the lines before it; end all lines in LF, "
                "or all in CR LF"
            ) from error
        first = str(error).removeprefix("Invalid Input Error: ").splitlines()[0][:200]
        raise InvalidFileError(f"the file cannot be read as CSV: {first}") from error


def open_csv(cursor: Connection, path: Path, options: ReadOptions, *, tabs: bool) -> CsvSource:
    """Return the file with its header read and a type for each column.

    Raises:
        InvalidFileError: no header, no rows, or names that no table can have.
        SchemaDriftError: the table has other columns.
    """
    header_text = head_text(path)
    delimiter = spelled(options.delimiter or ("\t" if tabs else found_delimiter(header_text)))
    header = read_header(header_text, delimiter, options)
    raw = CsvSource(
        path=path,
        delimiter=delimiter,
        columns=tuple(Column(name, "string") for name in header),
        sample=(),
        shapes={},
        options=options,
    )
    with explained(path):
        texts = sampled(cursor, raw)
    if texts.num_rows == 0:
        # Either there is no row, or none that can be read: the full pass says which line.
        raw = replace(raw, sample=tuple(Inferred("string") for _ in header))
        _, rows = raw.bad_rows(cursor)
        if rows:
            raise InvalidFileError(f"no row can be read; line {rows[0].line}: {rows[0].reason}")
        if not options.may_be_empty:
            raise InvalidFileError(
                "the file has a header and no rows, so nothing says what its columns hold; "
                "POST /v1/tables makes an empty table"
            )
    found = tuple(infer(column.to_pylist(), options.date_format) for column in texts.columns)
    columns = matched(
        [
            Column(name, options.types.get(name, each.type))
            for name, each in zip(header, found, strict=True)
        ],
        options,
    )
    return replace(raw, columns=columns, sample=found, shapes=shapes_of(cursor, columns))


def head_text(path: Path) -> str:
    text = head_of(path, HEADER_MAX_BYTES).decode(errors="replace").removeprefix(BOM)
    if "\0" in text[:4096]:
        raise InvalidFileError(
            "the file has NUL bytes: it is binary, or text in UTF-16 without a byte order mark "
            "(then say encoding=utf-16-le)"
        )
    return text


def spelled(delimiter: str) -> str:
    """Return the delimiter that is meant.

    Raises:
        InvalidLoadError: no file has it.
    """
    delimiter = SPELLED.get(delimiter, delimiter)
    if len(delimiter.encode()) > DELIMITER_MAX_BYTES or set(delimiter) & set('"\r\n\0'):
        raise InvalidLoadError(
            f"delimiter is of 1 to {DELIMITER_MAX_BYTES} bytes, none a quote or a line break"
        )
    return delimiter


def found_delimiter(text: str) -> str:
    """Return the delimiter that stands most often in the first record, outside of quotes."""
    counts = dict.fromkeys(DELIMITERS, 0)
    inside_quotes = False
    for char in text:
        if char == '"':
            inside_quotes = not inside_quotes
        elif char in "\r\n" and not inside_quotes:
            break
        elif char in counts and not inside_quotes:
            counts[char] += 1
    return max(counts, key=lambda char: counts[char])


def read_header(text: str, delimiter: str, options: ReadOptions) -> list[str]:
    limits = options.limits
    end = text.find("\n")
    if (end if end >= 0 else len(text)) > limits.line_max_bytes:
        raise InvalidFileError(f"line 1 is longer than {limits.line_max_bytes} bytes")
    stdlib_csv.field_size_limit(HEADER_MAX_BYTES)
    try:
        # The library knows one character: another that the text has not stands for several.
        one = delimiter if len(delimiter) == 1 else stand_in(text)
        lines = io.StringIO(text.replace(delimiter, one), newline="")
        header = next(stdlib_csv.reader(lines, delimiter=one, strict=True), [])
    except stdlib_csv.Error as error:
        raise InvalidFileError(f"line 1, the header, cannot be read: {error}") from error
    names = [unicodedata.normalize("NFC", name.replace(one, delimiter).strip()) for name in header]
    if not any(names):
        raise InvalidFileError("line 1, the header, is empty")
    if "\ufffd" in "".join(names):
        raise InvalidFileError(
            "line 1 is not UTF-8; say which encoding the file has, for example encoding=latin-1"
        )
    if len(names) > limits.columns_max:
        raise InvalidFileError(
            f"the header has {len(names)} columns; {limits.columns_max} are the most"
        )
    for number, name in enumerate(names, start=1):
        if not name:
            raise InvalidFileError(f"column {number} of the header has no name; give it one")
    try:
        check_column_names(names)
    except LakehouseError as error:
        raise InvalidFileError(f"line 1, the header: {error.detail}") from error
    return names


def stand_in(text: str) -> str:
    """Return a character that a text has not, of those that no text should have."""
    letters = set(text)
    return next(letter for letter in map(chr, range(0xE000, 0xF8FF)) if letter not in letters)


def sampled(cursor: Connection, source: CsvSource) -> pa.Table:
    """Return the first rows as text: of `SAMPLE_BYTES_MAX` at most, and one in any case."""
    limits = source.options.limits
    wide = len(source.columns) == 1
    fitting = records_within(source.path, SAMPLE_BYTES_MAX, limits.sample_rows + 1, wide) - 1
    reader = source._reader("ignore_errors=true", f"buffer_size={2 * limits.line_max_bytes}")
    return cursor.execute(f"SELECT * FROM {reader} LIMIT {max(fitting, 1)}").to_arrow_table(
        ARROW_ROWS
    )
