"""Rows that come as JSON in a request, for a table that is there.

They are taken in the forms in which SQL answers give them, and strictly: what is no long is not
rounded to one. A body is at most a few MiB, and one row should cost next to nothing, so msgspec
checks it against a type made from the table, and Arrow carries it: the engine parses no JSON.
"""

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import msgspec
import pyarrow as pa

from lakehouse.catalog import Column, duckdb_type
from lakehouse.database import Connection
from lakehouse.errors import InvalidInputError
from lakehouse.ingest.json_forms import is_nested, shape_of
from lakehouse.ingest.models import BadRow
from lakehouse.ingest.row_faults import (
    first_repeated,
    first_surrogate,
    no_such_column,
)
from lakehouse.ingest.source import shown
from lakehouse.json_text import fault, key_count, keys_most

VIEW = "appended_rows"
INT = {32: range(-(2**31), 2**31), 64: range(-(2**63), 2**63)}
PLACE = re.compile(r"(?P<reason>.*?)(?: - at `(?P<path>.*)`)?", re.DOTALL)
ROW = re.compile(r"\$\.rows\[(\d+)\]\.?(.*)", re.DOTALL)
TOO_FINE = re.compile(rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.\d{6}\d*[1-9]|:\d\d\.\d{6}\d*[1-9]")

Finite: TypeAlias = float | Literal["NaN", "Infinity", "-Infinity"]
Kept: TypeAlias = Callable[[Any], Any] | None
"""What makes a decoded value one that Arrow takes; None where it is one."""


class InvalidRowsError(InvalidInputError):
    """Rows of a request do not fit the table. None was written."""

    def __init__(self, rows: Sequence[BadRow]) -> None:
        first = rows[0]
        field = f", field {first.column!r}" if first.column else ""
        super().__init__(
            f"row {first.line}{field}: {first.reason}",
            rows=[{"row": r.line, "field": r.column, "reason": r.reason} for r in rows],
        )


@dataclass(frozen=True, slots=True)
class RowReader:
    """Reads rows for one table, as long as its columns stay the same."""

    columns: tuple[Column, ...]
    schema: pa.Schema
    kept: tuple[Kept, ...]
    decoder: msgspec.json.Decoder[Any]

    @property
    def types(self) -> str:
        return " ".join(column.type for column in self.columns)

    @property
    def is_flat(self) -> bool:
        return not any(is_nested(column.type) for column in self.columns)

    def read(self, body: bytes) -> pa.Table:
        """Return the rows of a body, columns in the order of the table.

        Raises:
            InvalidRowsError: a row does not fit; rows are counted from 1.
            InvalidInputError: it is not `{"rows": [{...}, ...]}`.
        """
        try:
            rows = self.decoder.decode(body).rows
        except msgspec.ValidationError as error:
            raise self._refusal(str(error)) from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            if bad := first_surrogate(body):
                raise InvalidRowsError([bad]) from error
            raise InvalidInputError(f"the body is not JSON: {fault(error, body)}") from error
        if not rows:
            raise InvalidInputError('"rows" is empty; send at least one row')
        if TOO_FINE.search(body):
            self._check_fineness(body)
        cells = [[getattr(row, f"f{n}") for row in rows] for n in range(len(self.columns))]
        self._check_repeats(body, cells)
        return pa.Table.from_arrays(
            [self._array(values, number) for number, values in enumerate(cells)],
            schema=self.schema,
        )

    def _check_repeats(self, body: bytes, cells: Sequence[list[Any]]) -> None:
        """Refuse a field that is twice in a row: the decoder takes the last and says nothing.

        Fields are counted, in the text and in what came of it. Only where those differ is the
        body read again, by a parser that tells: it is slow.
        """
        if self.is_flat:
            came = 1 + sum(len(values) - values.count(msgspec.UNSET) for values in cells)
        else:
            try:
                came = key_count(msgspec.json.decode(body))
            except msgspec.ValidationError as error:  # a number that only a decimal can hold
                raise self._refusal(str(error)) from error
            except RecursionError as error:
                raise InvalidInputError(f"the body is not JSON: {fault(error, body)}") from error
        if keys_most(body, plain_names="map<" not in self.types) == came:
            return
        if bad := first_repeated(body):
            raise InvalidRowsError([bad])

    def _array(self, values: list[Any], number: int) -> Any:
        keep = self.kept[number]
        if msgspec.UNSET in values:
            values = [None if value is msgspec.UNSET else value for value in values]
        type_ = self.schema.field(number).type
        try:
            return pa.array([kept_value(value, keep) for value in values], type_)
        except (pa.ArrowException, OverflowError) as error:
            for line, value in enumerate(values, start=1):
                try:
                    pa.array([kept_value(value, keep)], type_)
                except (pa.ArrowException, OverflowError):
                    column = self.columns[number]
                    reason = f"{shown(value)} does not fit into {column.type}"
                    raise InvalidRowsError([BadRow(line, column.name, reason)]) from error
            raise

    def _refusal(self, message: str) -> InvalidInputError:
        found = PLACE.fullmatch(message)
        assert found is not None, "the pattern takes anything"
        place = ROW.fullmatch(found["path"] or "")
        if place is None:
            return InvalidInputError(f'the body is not {{"rows": [{{..}}]}}: {message}')
        reason, line = found["reason"], int(place[1]) + 1
        unknown = re.fullmatch(r"Object contains unknown field `(.*)`", reason, re.DOTALL)
        if unknown is not None and not place[2]:
            reason = no_such_column(unknown[1], [column.name for column in self.columns])
            return InvalidRowsError([BadRow(line, unknown[1], reason)])
        return InvalidRowsError([BadRow(line, place[2] or None, lowered(reason))])

    def _check_fineness(self, body: bytes) -> None:
        """Refuse times that Iceberg would have to cut: it keeps microseconds."""
        times = [c.name for c in self.columns if c.type.startswith("time")]
        for line, row in enumerate(msgspec.json.decode(body)["rows"], start=1):
            for name in times:
                text = row.get(name)
                if isinstance(text, str) and TOO_FINE.search(text.encode()):
                    reason = f"{shown(text)} is finer than microseconds"
                    raise InvalidRowsError([BadRow(line, name, reason)])


def row_reader(cursor: Connection, columns: tuple[Column, ...]) -> RowReader:
    """Return what reads rows for a table of these columns. About 1 ms."""
    fields: list[tuple[str, Any, Any]] = []
    arrow: list[tuple[str, pa.DataType]] = []
    kept: list[Kept] = []
    for number, column in enumerate(columns):
        shape = shape_of(cursor, column.type) if is_nested(column.type) else flat(column.type)
        python, keep = python_type(shape, column.type)
        fields.append((f"f{number}", python | None | msgspec.UnsetType, msgspec.UNSET))
        arrow.append((column.name, shape))
        kept.append(keep)
    row = msgspec.defstruct(
        "Row",
        fields,
        rename=renames([column.name for column in columns]),
        forbid_unknown_fields=True,
        frozen=True,
    )
    body = msgspec.defstruct("Body", [("rows", list[row])], forbid_unknown_fields=True)  # type: ignore[valid-type]
    return RowReader(columns, pa.schema(arrow), tuple(kept), msgspec.json.Decoder(body))


FLAT: dict[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": pa.timestamp("us", "UTC"),
    "string": pa.string(),
    "uuid": pa.string(),
    "binary": pa.binary(),
}


def flat(type_: str) -> pa.DataType:
    if type_ in FLAT:
        return FLAT[type_]
    if type_.startswith("decimal"):
        precision, scale = type_.removeprefix("decimal(").rstrip(")").split(",")
        return pa.decimal128(int(precision), int(scale))
    return pa.binary() if duckdb_type(type_) == "BLOB" else pa.string()


def python_type(shape: pa.DataType, type_: str = "") -> tuple[Any, Kept]:
    """Return the type that JSON is checked against, and what makes its values Arrow's."""
    if type_ == "uuid":
        return UUID, str
    if isinstance(shape, pa.StructType):
        return struct_type(shape)
    if isinstance(shape, pa.MapType):
        inner, keep = python_type(shape.item_type)
        key, _ = python_type(shape.key_type)
        return dict[key, inner | None], partial(pairs, keep=keep)  # type: ignore[valid-type]
    if pa.types.is_list(shape):
        item, keep = python_type(shape.value_type)
        return list[item | None], partial(each, keep=keep) if keep else None  # type: ignore[valid-type]
    if pa.types.is_integer(shape):
        allowed = INT[shape.bit_width]
        return Annotated[int, msgspec.Meta(ge=allowed.start, le=allowed.stop - 1)], None
    if isinstance(shape, pa.TimestampType):
        return Annotated[datetime, msgspec.Meta(tz=shape.tz is not None)], None
    for matches, python, keep in SCALARS:
        if matches(shape):
            return python, keep
    return str, None


def struct_type(shape: pa.StructType) -> tuple[Any, Kept]:
    fields = [shape.field(number) for number in range(shape.num_fields)]
    inner = [python_type(field.type) for field in fields]
    python = msgspec.defstruct(
        "Struct",
        [(f"f{number}", type_ | None, None) for number, (type_, _) in enumerate(inner)],
        rename=renames([field.name for field in fields]),
        forbid_unknown_fields=True,
        frozen=True,
    )
    keeps = [keep for _, keep in inner]
    return python, partial(members, names=[field.name for field in fields], keeps=keeps)


def renames(names: Sequence[str]) -> dict[str, str]:
    """Return which name each field has in JSON; `InvalidInputError` where it can have none."""
    if odd := next((name for name in names if '"' in name or "\\" in name), None):
        raise InvalidInputError(
            f"rows as JSON cannot be sent to this table: the name {odd!r} holds a quote or a "
            "backslash; load a file, or rename the column"
        )
    return {f"f{number}": name for number, name in enumerate(names)}


def members(value: Any, names: Sequence[str], keeps: Sequence[Kept]) -> dict[str, Any]:
    values = msgspec.structs.astuple(value)
    parts = zip(names, values, keeps, strict=True)
    return {name: kept_value(each, keep) for name, each, keep in parts}


def pairs(value: dict[Any, Any], keep: Kept) -> list[tuple[Any, Any]]:
    return [(key, kept_value(each, keep)) for key, each in value.items()]


def each(value: list[Any], keep: Kept) -> list[Any]:
    return [kept_value(item, keep) for item in value]


def kept_value(value: Any, keep: Kept) -> Any:
    return value if keep is None or value is None else keep(value)


def single(value: float | str) -> float:
    """Return a number of 32 bits; `OverflowError` where Arrow would make it infinite."""
    struct.pack("<f", number := float(value))
    return number


SCALARS: tuple[tuple[Callable[[pa.DataType], bool], Any, Kept], ...] = (
    (pa.types.is_boolean, bool, None),
    (pa.types.is_float32, Finite, single),
    (pa.types.is_floating, Finite, float),
    (pa.types.is_decimal, Decimal, None),
    (pa.types.is_date, date, None),
    (pa.types.is_time, Annotated[time, msgspec.Meta(tz=False)], None),
    (pa.types.is_binary, bytes, None),
)


def lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
