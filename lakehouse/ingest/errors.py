"""What can go wrong with a load."""

from collections.abc import Sequence
from typing import ClassVar

import msgspec

from lakehouse.catalog import SchemaDriftError
from lakehouse.errors import (
    InvalidInputError,
    TooLargeError,
    UnavailableError,
    UnsupportedError,
)
from lakehouse.ingest.models import BadRow, LoadOptions


class InvalidLoadError(InvalidInputError):
    """A parameter of the load is wrong."""


class InvalidUploadError(InvalidInputError):
    """The body is not what its headers say, or it ended too early."""


class InvalidFileError(InvalidInputError):
    """The file cannot be read as its format."""


class UnknownFormatError(UnsupportedError):
    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}; we read CSV, TSV, NDJSON, JSON, Parquet, Arrow IPC, ORC and Avro, plain, "
            "gzip or zstd, and workbooks of Excel (.xlsx)"
        )


class BadRowsError(InvalidInputError):
    """Rows of the file do not fit. Nothing was written."""

    def __init__(self, rows: Sequence[BadRow], count: int) -> None:
        first = rows[0]
        where = f"{first.unit} {first.line}" if first.line else "a row"
        where = f"{first.file}: {where}" if first.file else where
        column = f", column {first.column!r}" if first.column else ""
        more = f", and {count - 1} more" if count > 1 else ""
        super().__init__(
            f"{where}{column}: {first.reason}{more}; mend the file, or load the good rows alone "
            "with on_error=reject",
            count=count,
            rows=facts_of(rows),
        )


def drift_of(
    table: str, rows: Sequence[BadRow], count: int, options: LoadOptions
) -> SchemaDriftError:
    """Return what to say of bad rows for a table that is there: the first of each column."""
    firsts = {row.column: row for row in reversed(rows)}
    names = dict.fromkeys(row.column for row in rows)
    shown = [f"column {name!r}: {firsts[name].reason}{in_line(firsts[name])}" for name in names]
    advice = "mend the file, or load the good rows alone with on_error=reject"
    if options.key:
        advice += f", or widen the columns first where they can be (POST /v1/tables/{table}/schema)"
    elif not options.evolve:
        advice += ", or widen the columns with evolve=true where they can be"
    if options.on_error == "string":
        advice += "; on_error=string widens columns of a new table only"
    return SchemaDriftError(table, shown, advice, count=count, rows=facts_of(rows))


def in_line(row: BadRow) -> str:
    places = [row.file, row.line and f"{row.unit} {row.line}"]
    return f" ({', '.join(each for each in places if each)})" if any(places) else ""


def facts_of(rows: Sequence[BadRow]) -> list[dict[str, object]]:
    return [msgspec.structs.asdict(row) for row in rows]


class UploadTooLargeError(TooLargeError):
    def __init__(self, what: str, max_bytes: int) -> None:
        super().__init__(f"{what}; {max_bytes} bytes are the most", max_bytes=max_bytes)


class TooManyLoadsError(UnavailableError):
    retry_after_s: ClassVar[int | None] = 1

    def __init__(self, count_max: int) -> None:
        super().__init__(f"{count_max} loads are running, which is the most; try again")


class LoadMemoryError(UnavailableError):
    def __init__(self) -> None:
        super().__init__(
            "there is not enough memory for this load beside what else runs; retry, and where that"
            " is in vain, send it in smaller parts or give the server a larger `memory.max_bytes`"
        )
