"""Rows that come as JSON in a request, for a table that is there: checked and cast by DuckDB.

They are taken in the forms in which SQL answers give them, and strictly: what is no long is not
rounded to one, and nothing is turned into text.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import pyarrow as pa

from lakehouse.catalog import Column, Rows, duckdb_type
from lakehouse.database import Connection, literal
from lakehouse.errors import InvalidInputError
from lakehouse.ingest.forms import select
from lakehouse.ingest.models import BadRow

VIEW = "appended_rows"
INTEGERS = "('BIGINT', 'UBIGINT')"
NUMBERS = "('BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE')"
NOT_FINITE = "('NaN', 'Infinity', '-Infinity')"
DECIMAL = r"[+-]?[0-9]+(?:\.[0-9]{{0,{scale}}}0*)?"


class InvalidRowsError(InvalidInputError):
    """Rows of a request do not fit the table. None was written."""

    def __init__(self, rows: Sequence[BadRow]) -> None:
        first = rows[0]
        field = f", field {first.column!r}" if first.column else ""
        super().__init__(
            f"row {first.line}{field}: {first.reason}",
            rows=[{"row": r.line, "field": r.column, "reason": r.reason} for r in rows],
        )


class RowsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rows: list[msgspec.Raw]


@dataclass(frozen=True, slots=True)
class JsonRows:
    """Rows of a request, registered on a cursor as `VIEW`."""

    columns: tuple[Column, ...]
    bad_rows_max: int

    def rows(self) -> Rows:
        expressions = {column.name: self._strict(column) for column in self.columns}
        known = f"list_has_all({self._names()}, json_keys(j))"
        checked = f"CASE WHEN {known} THEN true ELSE error('unknown field') END"
        return Rows(f"{select(expressions)} FROM {VIEW} WHERE {checked}", self.columns)

    def bad_rows(self, cursor: Connection) -> list[BadRow]:
        """Return the first rows that do not fit, each with its first reason."""
        cases = [
            f"WHEN NOT list_has_all({self._names()}, json_keys(j)) THEN -1",
            *(
                f"WHEN NOT ({fits(column)}) THEN {number}"
                for number, column in enumerate(self.columns)
            ),
        ]
        found = cursor.execute(
            f"SELECT row, which, [k FOR k IN json_keys(j) IF NOT list_contains({self._names()}, k)]"
            f" FROM (SELECT *, CASE {' '.join(cases)} END AS which FROM {VIEW})"
            f" WHERE which IS NOT NULL ORDER BY row LIMIT {self.bad_rows_max}"
        ).fetchall()
        return [self._reason(row, which, unknown) for row, which, unknown in found]

    def _reason(self, row: int, which: int, unknown: list[str]) -> BadRow:
        if which == -1:
            names = ", ".join(column.name for column in self.columns[:20])
            return BadRow(row, unknown[0], f"the table has no such column; it has {names}")
        column = self.columns[which]
        return BadRow(row, column.name, f"it is no {column.type}")

    def _names(self) -> str:
        return "[" + ", ".join(literal(column.name) for column in self.columns) + "]"

    def _strict(self, column: Column) -> str:
        target = duckdb_type(column.type)
        message = literal(f"{column.name!r} is no {column.type}")
        return (
            f"CASE WHEN {fits(column)} THEN {cast(column)} "
            f"ELSE CAST(error({message}) AS {target}) END"
        )


def parse_rows(body: bytes) -> pa.Table:
    """Return the rows of a body as they were sent, numbered from 1, one JSON object each.

    Raises:
        InvalidInputError: it is not `{"rows": [{...}, ...]}`.
    """
    try:
        raw = msgspec.json.decode(body, type=RowsBody).rows
    except msgspec.ValidationError as error:
        raise InvalidInputError(f'the body is not {{"rows": [..]}}: {error}') from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"the body is no JSON: {error}") from error
    if not raw:
        raise InvalidInputError('"rows" is empty; send at least one row')
    texts = [bytes(each) for each in raw]
    for number, text in enumerate(texts, start=1):
        if not text.lstrip().startswith(b"{"):
            raise InvalidRowsError([BadRow(number, None, "it is no JSON object")])
    return pa.table(
        {
            "row": pa.array(range(1, len(texts) + 1), pa.int64()),
            "j": pa.array(texts, pa.binary()).cast(pa.string()),
        }
    )


def register(cursor: Connection, rows: pa.Table) -> None:
    """Make `rows` readable as `VIEW` on this cursor alone."""
    cursor.register(VIEW, rows)


def value_of(column: Column) -> str:
    return f"json_extract(j, {literal(pointer(column.name))})"


def pointer(name: str) -> str:
    return "/" + name.replace("~", "~0").replace("/", "~1")


def text_of(column: Column) -> str:
    return f"json_extract_string(j, {literal(pointer(column.name))})"


def cast(column: Column) -> str:
    """Return SQL for the value of this column; NULL where it does not fit."""
    target = duckdb_type(column.type)
    if column.type == "binary":
        return f"TRY(from_base64({text_of(column)}))"
    if column.type.startswith(("list", "map", "struct")):
        return f"TRY_CAST({value_of(column)} AS {target})"
    return f"TRY_CAST({text_of(column)} AS {target})"


def fits(column: Column) -> str:
    """Return SQL that is true for what this column takes: null, or a value of its own form."""
    value, text, type_ = value_of(column), text_of(column), column.type
    kind = f"json_type({value})"
    if type_ in ("long", "int"):
        form = f"{kind} IN {INTEGERS}"
    elif type_ in ("double", "float"):
        form = f"({kind} IN {NUMBERS} OR ({kind} = 'VARCHAR' AND {text} IN {NOT_FINITE}))"
    elif type_.startswith("decimal"):
        scale = type_.rstrip(")").split(",")[1].strip()
        pattern = literal(DECIMAL.format(scale=scale))
        form = f"{kind} IN ('VARCHAR', {NUMBERS[1:]} AND regexp_full_match({text}, {pattern})"
    elif type_ == "boolean":
        form = f"{kind} = 'BOOLEAN'"
    elif type_.startswith("list"):
        form = f"{kind} = 'ARRAY'"
    elif type_.startswith(("map", "struct")):
        form = f"{kind} = 'OBJECT'"
    else:
        form = f"{kind} = 'VARCHAR'"
    if type_ in ("date", "timestamp", "timestamptz"):
        form += f" AND isfinite({cast(column)})"
    return f"{value} IS NULL OR {kind} = 'NULL' OR ({form} AND {cast(column)} IS NOT NULL)"
