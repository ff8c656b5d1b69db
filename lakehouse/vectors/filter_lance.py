"""A condition as the text of Lance's `where`, which takes no parameters.

All literals are written by `literal`, all names by `column_name`. NOT is moved inward to the
leaves, so that those that are not negated stay as Lance's scalar indexes know them. The metadata
is a column of plain text, which Lance cannot look into: DuckDB reads it (`filter_duckdb`).
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from lakehouse.vectors.conditions import (
    INT64_MIN,
    All,
    Compares,
    Condition,
    Equals,
    Exists,
    Not,
    Order,
    Scalar,
    Some,
)

SIGNS: dict[Order, str] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def to_lance(condition: Condition) -> str | None:
    """Return the text of the condition, or None when it asks for a key that has no column.

    It is for a table with `id` (string) and the declared columns, with or without scalar indexes:
    string, int64, double, bool, timestamp in microseconds of UTC.
    """
    return _written(condition, is_negated=False) if _is_of_columns(condition) else None


def _is_of_columns(condition: Condition) -> bool:
    match condition:
        case All(parts) | Some(parts):
            return all(map(_is_of_columns, parts))
        case Not(part):
            return _is_of_columns(part)
        case Exists(field) | Equals(field, _) | Compares(field, _, _):
            return field.type is not None


def _written(condition: Condition, *, is_negated: bool) -> str:
    match condition:
        case All(parts):
            return _joined(parts, is_and=not is_negated, is_negated=is_negated)
        case Some(parts):
            return _joined(parts, is_and=is_negated, is_negated=is_negated)
        case Not(part):
            return _written(part, is_negated=not is_negated)
        case Exists(field):
            return f"{column_name(field.name)} IS {'' if is_negated else 'NOT '}NULL"
        case Equals(field, values):
            name, text = column_name(field.name), f"IN ({', '.join(map(literal, values))})"
        case Compares(field, order, value):
            name, text = column_name(field.name), f"{SIGNS[order]} {literal(value)}"
    return f"(NOT ({name} {text}) OR {name} IS NULL)" if is_negated else f"{name} {text}"


def _joined(parts: Sequence[Condition], *, is_and: bool, is_negated: bool) -> str:
    if not parts:
        return "true" if is_and else "false"
    texts = [_written(part, is_negated=is_negated) for part in parts]
    return f"({(' AND ' if is_and else ' OR ').join(texts)})"


def column_name(name: str) -> str:
    """Return `name` as an identifier. Lance cannot escape a backtick, so no column has one."""
    assert "`" not in name
    return f"`{name}`"


def literal(value: Scalar) -> str:
    """Return `value` as a SQL literal: the one place where a value becomes text."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            quoted = value.replace("'", "''")
            return f"'{quoted}'"
        case datetime():
            moment = value.astimezone(UTC).replace(tzinfo=None)
            return f"timestamp '{moment.isoformat(sep=' ', timespec='microseconds')}'"
        case int():  # the smallest one, read as minus the largest and one, would be a double
            return f"CAST('{value}' AS BIGINT)" if value == INT64_MIN else str(value)
        case float():
            return repr(value)
