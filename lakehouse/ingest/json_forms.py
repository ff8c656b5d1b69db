"""Values that are JSON: which of them fit a nested type, in SQL.

The engine's cast from JSON rounds `1.5` into an integer, reads `"7"` as a number and `true` as 1,
so each leaf is looked at before the cast counts.
"""

import re
from collections.abc import Sequence
from typing import TypeAlias

import pyarrow as pa

from lakehouse.catalog import Column, UnsupportedTypeError, duckdb_type
from lakehouse.database import ARROW_ROWS, Connection, literal
from lakehouse.ingest.forms import Form

Shape: TypeAlias = pa.DataType
"""A nested type as Arrow has it: what is inside can be walked."""


NESTING_MAX = 12
"""Lists in lists: to bind the SQL of one more takes the engine twice as long, 0.1 s for 16."""


def is_nested(type_: str) -> bool:
    return type_.startswith(("list<", "map<", "struct<"))


def shapes_of(cursor: Connection, columns: Sequence[Column]) -> dict[str, Shape]:
    """Return the shape of each nested type among the columns, by its text.

    Raises:
        UnsupportedTypeError: one is nested too deep for its text to be read.
    """
    nested = {column.type: column.name for column in columns if is_nested(column.type)}
    for type_, name in nested.items():
        if depth_of(type_) > NESTING_MAX:
            reason = f"{NESTING_MAX} types in each other are the most that is read from text"
            raise UnsupportedTypeError(type_, f"{reason}; make it a string", name)
    return {type_: shape_of(cursor, type_) for type_ in nested}


def shape_of(cursor: Connection, type_: str) -> Shape:
    table = cursor.execute(f"SELECT NULL::{duckdb_type(type_)} AS v").to_arrow_table(ARROW_ROWS)
    found: Shape = table.schema.field("v").type
    return found


def depth_of(type_: str) -> int:
    """Return how many types are in each other at most, quoted names left aside."""
    depth = most = 0
    for char in re.sub('"[^"]*"', "", type_):
        depth += (char == "<") - (char == ">")
        most = max(most, depth)
    return most


def nested_form(type_: str, shape: Shape) -> Form:
    """Return the form of a column of JSON texts, or of JSON."""
    target = duckdb_type(type_)
    return Form(
        lambda x: f"TRY(CAST(TRY_CAST({x} AS JSON) AS {target}))",
        lambda x, v: f"{v} IS NOT NULL AND {json_fits(f'TRY_CAST({x} AS JSON)', shape)}",
    )


def json_fits(j: str, shape: Shape, depth: int = 0) -> str:
    """Return SQL that is true where the JSON `j` is null or a value of `shape`."""
    return f"({j} IS NULL OR json_type({j}) = 'NULL' OR ({json_is(j, shape, depth)}))"


def json_is(j: str, shape: Shape, depth: int) -> str:
    kind = f"json_type({j})"
    if isinstance(shape, pa.StructType):
        fields = [shape.field(number) for number in range(shape.num_fields)]
        names = "[" + ", ".join(literal(field.name) for field in fields) + "]"
        inner = [
            json_fits(f"json_extract({j}, {literal(json_pointer(field.name))})", field.type, depth)
            for field in fields
        ]
        return " AND ".join(
            [f"{kind} = 'OBJECT'", f"list_has_all({names}, json_keys({j}))", *inner]
        )
    if isinstance(shape, pa.MapType):
        return f"{kind} = 'OBJECT' AND {each_fits(f'{j}', '$.*', shape.item_type, depth)}"
    if pa.types.is_list(shape):
        return f"{kind} = 'ARRAY' AND {each_fits(f'{j}', '$[*]', shape.value_type, depth)}"
    if pa.types.is_integer(shape):
        return f"{kind} IN ('BIGINT', 'UBIGINT') AND TRY_CAST({j} AS BIGINT) IS NOT NULL"
    if pa.types.is_floating(shape):
        return f"{kind} IN ('BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE')"
    if pa.types.is_boolean(shape):
        return f"{kind} = 'BOOLEAN'"
    return "true"  # text takes anything; the cast says whether it is a date


def each_fits(j: str, path: str, shape: Shape, depth: int) -> str:
    item = f"e{depth}"
    test = json_fits(item, shape, depth + 1)
    items = f"json_extract({j}, {literal(path)})"
    return f"coalesce(list_bool_and(list_transform({items}, lambda {item}: {test})), true)"


def json_pointer(key: str) -> str:
    """Return the path of a key in its object, whatever signs it has (RFC 6901)."""
    return "/" + key.replace("~", "~0").replace("/", "~1")
