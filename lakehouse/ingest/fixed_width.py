"""Text of fixed width: each column is so many characters of a line.

`widths` gives their names too (`id:8,city:20`), or the first line has them (`8,20`). Blanks around
a value are none of it, a value of blanks is NULL, a line that ends early has NULLs at its end.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

from lakehouse.catalog import Column, Rows, check_column_names
from lakehouse.database import Connection, literal
from lakehouse.errors import LakehouseError
from lakehouse.ingest.columns import matched
from lakehouse.ingest.csv import explained, head_text
from lakehouse.ingest.errors import InvalidFileError, InvalidLoadError
from lakehouse.ingest.forms import TextColumn, select_checked, select_fitting
from lakehouse.ingest.inference import Inferred, infer
from lakehouse.ingest.json_forms import Shape, shapes_of
from lakehouse.ingest.lines import record_number, unreadable_lines
from lakehouse.ingest.models import BadRow
from lakehouse.ingest.source import ReadOptions, path_literal, shown, text_columns

WIDTH = re.compile(" *[1-9][0-9]{0,5} *")
TOO_LONG = "it is longer than its columns are wide together"


@dataclass(frozen=True, slots=True)
class FixedWidthSource:
    path: Path
    widths: tuple[int, ...]
    has_header: bool
    columns: tuple[Column, ...]
    sample: tuple[Inferred, ...]
    shapes: Mapping[str, Shape]
    options: ReadOptions

    def rows(self) -> Rows:
        longest = f"CASE WHEN rest <> '' THEN error({literal(TOO_LONG)}) ELSE true END"
        source = f"({self._lines('')}) WHERE {longest}"
        sql = select_checked(self._texts(), source)
        return Rows(sql, self.columns, read_for=self.options.table or ())

    def good_rows(self) -> Rows:
        source = f"(SELECT * FROM ({self._lines('ignore_errors=true')}) WHERE rest = '')"
        sql = select_fitting(self._texts(), source)
        return Rows(sql, self.columns, read_for=self.options.table or ())

    def widened(self, cursor: Connection, keep: set[str]) -> "FixedWidthSource":
        texts = [each for each in self._texts() if each.form and each.column.name not in keep]
        if not texts:
            return self
        counts = ", ".join(f"count(*) FILTER (NOT {each.fits()})" for each in texts)
        row = cursor.execute(
            f"SELECT {counts} FROM ({self._lines('ignore_errors=true')})"
        ).fetchone()
        assert row is not None, "an aggregate has one row"
        names = {each.column.name for each, count in zip(texts, row, strict=True) if count}
        return self.typed(dict.fromkeys(names, "string"))

    def typed(self, types: Mapping[str, str]) -> "FixedWidthSource":
        columns = tuple(Column(c.name, types.get(c.name, c.type)) for c in self.columns)
        return replace(self, columns=columns)

    def bad_rows(self, cursor: Connection) -> tuple[int, list[BadRow]]:
        limits = self.options.limits
        # The engine passes over those that are dropped.
        unreadable, dropped = unreadable_lines(
            self.path, 0, limits.line_max_bytes, limits.bad_rows_max
        )
        rows = [BadRow(line, None, why) for line, why in unreadable]
        texts = [each for each in self._texts() if each.form is not None]
        fits = " AND ".join(["rest = ''", *(each.fits() for each in texts)])
        values = "".join(f", left({each.text}, 80), {each.fits()}" for each in texts)
        bad = f"FROM ({self._lines('ignore_errors=true')}) WHERE NOT ({fits})"
        counted = cursor.execute(f"SELECT count(*) {bad}").fetchone()
        found = cursor.execute(
            f"SELECT line, rest <> ''{values} {bad} ORDER BY line LIMIT {limits.bad_rows_max}"
        ).fetchall()
        for number, is_longer, *cells in found:
            line = record_number(number, dropped)
            if is_longer:
                rows.append(BadRow(line, None, f"{TOO_LONG}, {sum(self.widths)} characters"))
                continue
            pairs = zip(texts, cells[::2], cells[1::2], strict=True)
            each, value = next((each, value) for each, value, is_good in pairs if not is_good)
            reason = f"{shown(value)} is no {each.column.type}"
            rows.append(BadRow(line, each.column.name, reason))
        rows.sort(key=lambda row: row.line or 0)
        return len(dropped) + (int(counted[0]) if counted else 0), rows[: limits.bad_rows_max]

    def sampled(self, cursor: Connection) -> list[list[str | None]]:
        """Return the values of the first rows, by column."""
        names = ", ".join(f"c{number}" for number in range(len(self.widths)))
        sql = (
            f"SELECT {names} FROM ({self._lines('ignore_errors=true')}) "
            f"LIMIT {self.options.limits.sample_rows}"
        )
        return [column.to_pylist() for column in cursor.execute(sql).to_arrow_table().columns]

    def _lines(self, extra: str) -> str:
        """Every line with its number, the text of its columns, and what comes behind them."""
        limit = self.options.limits.line_max_bytes
        starts = [1, *(1 + end for end in accumulate(self.widths))]
        values = ", ".join(
            f"nullif(trim(substring(text, {start}, {width}), ' \t'), '') AS c{number}"
            for number, (start, width) in enumerate(zip(starts, self.widths, strict=False))
        )
        reader = (
            f"read_csv({path_literal(self.path)}, auto_detect=false, header=false, "
            "delim='\x01\x02\x03\x04', quote='', escape='', nullstr='', strict_mode=false, "
            f"max_line_size={limit}, columns={{'text': 'VARCHAR'}}{', ' + extra if extra else ''})"
        )
        return (
            f"SELECT line, {values}, trim(substring(text, {starts[-1]}), ' \t') AS rest FROM "
            f"(SELECT row_number() OVER () AS line, text FROM {reader}) "
            f"WHERE line > {int(self.has_header)} AND trim(text, ' \t') <> ''"
        )

    def _texts(self) -> list[TextColumn]:
        return text_columns(self.columns, self.sample, self.shapes, self.options)


def open_fixed_width(cursor: Connection, path: Path, options: ReadOptions) -> FixedWidthSource:
    """Return the file with a type for each column.

    Raises:
        InvalidLoadError: the widths are none.
        InvalidFileError: no rows, or names that no table can have.
        SchemaDriftError: the table has other columns.
    """
    names, sizes = read_widths(options.widths)
    text = head_text(path)
    has_header = not any(names)
    if has_header:
        line = text.partition("\n")[0].rstrip("\r")
        starts = [0, *accumulate(sizes)]
        names = [line[at : at + size].strip() for at, size in zip(starts, sizes, strict=False)]
    names = check_names(names, options)
    raw = FixedWidthSource(
        path=path,
        widths=tuple(sizes),
        has_header=has_header,
        columns=tuple(Column(name, "string") for name in names),
        sample=tuple(Inferred("string") for _ in names),
        shapes={},
        options=options,
    )
    with explained(path):
        texts = raw.sampled(cursor)
    if not texts[0]:
        _, rows = raw.bad_rows(cursor)
        if rows:
            raise InvalidFileError(f"no row can be read; line {rows[0].line}: {rows[0].reason}")
        if not options.may_be_empty:
            raise InvalidFileError("the file has no rows")
    found = tuple(infer(column, options.date_format) for column in texts)
    columns = matched(
        [
            Column(name, options.types.get(name, each.type))
            for name, each in zip(names, found, strict=True)
        ],
        options,
    )
    return replace(raw, columns=columns, sample=found, shapes=shapes_of(cursor, columns))


def read_widths(widths: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the names, all of them or none, and the widths."""
    pairs = [each.rpartition(":") for each in widths]
    names = [unicodedata.normalize("NFC", name.strip()) for name, _, _ in pairs]
    if not all(WIDTH.fullmatch(size) for _, _, size in pairs):
        raise InvalidLoadError("widths is written `8,20,10`, or `id:8,city:20,amount:10`")
    if any(names) and not all(names):
        raise InvalidLoadError("widths names some columns and not the others; name all, or none")
    return names, [int(size) for _, _, size in pairs]


def check_names(names: list[str], options: ReadOptions) -> list[str]:
    if len(names) > options.limits.columns_max:
        raise InvalidLoadError(
            f"widths has {len(names)} columns; {options.limits.columns_max} are the most"
        )
    names = [unicodedata.normalize("NFC", name) for name in names]
    for number, name in enumerate(names, start=1):
        if not name:
            raise InvalidFileError(
                f"column {number} of line 1, the header, has no name; say it: widths=id:8,.."
            )
    try:
        check_column_names(names)
    except LakehouseError as error:
        raise InvalidFileError(f"the columns: {error.detail}") from error
    return names
