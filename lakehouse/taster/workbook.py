"""A sheet of an Excel workbook as batches of rows. Loaded by `child.py` alone, by its path.

A cell has a type of its own, so a column has what its cells have in common, and is text where they
have nothing. The whole sheet is in memory, in the reader's own form: 30 to 100 bytes a cell.
"""

import errno
import zipfile
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import python_calamine as calamine

CELL_ROWS = 10_000
EXACT_BELOW = 2**53
KINDS = {
    bool: "boolean",
    int: "long",
    str: "text",
    datetime: "moment",
    date: "date",
    time: "time",
    timedelta: "text",
}
COMMON = (
    ({"long"}, "long"),
    ({"long", "double"}, "double"),
    ({"boolean"}, "boolean"),
    ({"date"}, "date"),
    ({"date", "moment"}, "moment"),
    ({"time"}, "time"),
)
CELLS: dict[str, pa.DataType] = {
    "long": pa.int64(),
    "double": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "moment": pa.timestamp("us"),
    "time": pa.time64("us"),
    "text": pa.string(),
}
VALUES: dict[str, Callable[[Any], Any]] = {
    "long": int,
    "double": float,
    "boolean": bool,
    "date": lambda value: value,
    "moment": lambda value: moment_of(value),
    "time": lambda value: value,
    "text": lambda value: text_of(value),
}


def read(
    path: str,
    sheet: str | None,
    header_row: int | None,
    max_bytes: int,
    refused: type[Exception],
) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Return the rows of one sheet of a workbook, under the names that its header has.

    Args:
        sheet: its name, or its number from 1; the first one without.
        header_row: from 1; without, the first row that is not empty.
        max_bytes: of its parts, unpacked.
        refused: raised with words for the caller, where it is sound and cannot be loaded.
    """
    check_size(path, max_bytes)
    try:
        with Path(path).open("rb") as file:
            book = calamine.CalamineWorkbook.from_filelike(file)
            found = book.get_sheet_by_name(sheet_name(book, sheet, refused))
    except calamine.CalamineError as error:
        raise ValueError(str(error)) from error
    rows = enumerate(found.iter_rows(), start=1)
    at, header = next((each for each in rows if is_header(*each, header_row)), (0, []))
    if not any(header):
        where = "it is empty" if header_row is None else f"its row {header_row} is"
        raise refused(f"there are no names of columns on the sheet {found.name!r}: {where}")
    kinds: list[set[str]] = [set() for _ in header]
    for _, row in rows:
        for seen, value in zip(kinds, row, strict=True):
            seen.add(kind_of(value))
    columns: list[tuple[int, str, str]] = []
    for number, (name, seen) in enumerate(zip(header, kinds, strict=True)):
        if name != "":
            columns.append((number, text_of(name), common_kind(seen - {""})))
        elif seen - {""}:
            letters = column_letters((found.start or (0, 0))[1] + number)
            raise refused(
                f"column {letters} of the sheet {found.name!r} has values and no name in row {at}; "
                "header_row= says where the names are"
            )
    schema = pa.schema([(name, CELLS[kind]) for _, name, kind in columns])
    return schema, cell_batches(found, at, columns, schema)


def check_size(path: str, max_bytes: int) -> None:
    """Refuse what unpacks as only a bomb does, by what it says of itself; memory is limited too."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(each.file_size for each in archive.infolist())
    if unpacked > max_bytes:
        raise OSError(errno.EFBIG, "the workbook is too large")


def sheet_name(book: Any, asked: str | None, refused: type[Exception]) -> str:
    rows = calamine.SheetTypeEnum.WorkSheet  # and not charts, or macros of the old kind
    names = [each.name for each in book.sheets_metadata if each.typ == rows]
    if asked in names:
        return str(asked)
    if asked is None and names:
        return str(names[0])
    if asked is not None and asked.isdecimal() and 0 < int(asked[:9]) <= len(names):
        return str(names[int(asked) - 1])
    there = ", ".join(map(repr, names[:10])) or "none at all"
    raise refused(f"there is no sheet {str(asked)[:80]!r}; there are {there}")


def is_header(number: int, row: list[Any], header_row: int | None) -> bool:
    return number == header_row if header_row is not None else any(cell != "" for cell in row)


def kind_of(value: Any) -> str:
    if value == "":
        return ""
    if isinstance(value, float):
        return "long" if value.is_integer() and abs(value) < EXACT_BELOW else "double"
    return KINDS[type(value)]


def common_kind(seen: set[str]) -> str:
    """Return what a column is whose cells are these: text where they have nothing in common."""
    for kinds, kind in COMMON:
        if seen and seen <= kinds:
            return kind
    return "text"


def cell_batches(
    sheet: Any, header_at: int, columns: list[tuple[int, str, str]], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    waiting: list[list[Any]] = []
    for number, row in enumerate(sheet.iter_rows(), start=1):
        if number <= header_at or all(cell == "" for cell in row):
            continue
        waiting.append(row)
        if len(waiting) == CELL_ROWS:
            yield cell_batch(waiting, columns, schema)
            waiting = []
    if waiting:
        yield cell_batch(waiting, columns, schema)


def cell_batch(
    rows: list[list[Any]], columns: list[tuple[int, str, str]], schema: pa.Schema
) -> pa.RecordBatch:
    make: Any = pa.array
    arrays = [
        make([None if row[n] == "" else VALUES[kind](row[n]) for row in rows], CELLS[kind])
        for n, _, kind in columns
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def text_of(value: Any) -> str:
    """Return a cell as text, numbers as Excel shows them."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if kind_of(value) == "long" else repr(value)
    if isinstance(value, timedelta):
        minutes, seconds = divmod(round(value.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
    return str(value)  # ISO 8601, of dates and times


def moment_of(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.combine(value, time())


def column_letters(number: int) -> str:
    letters = ""
    while number >= 0:
        letters, number = chr(65 + number % 26) + letters, number // 26 - 1
    return letters
