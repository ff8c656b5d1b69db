"""A condition as the text of Lance's `where`, which takes no parameters.

All literals are written by `literal`, all names by `column_name`. NOT is moved inward to the
leaves, so that those that are not negated stay as Lance's scalar indexes know them.

Metadata must be a column of `pa.json_()`: Lance keeps it as JSONB (`lance.json`), and its
`json_extract` gives the JSON text of a value as JSONB writes it. On a column of plain text none of
its JSON functions work. What it cannot do soundly: order strings (its typed getters fail on values
of another kind, and there is no CASE to keep them away), and an empty key.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from lakehouse.vectors.conditions import (
    INT64_MIN,
    All,
    Compares,
    Condition,
    Equals,
    Exists,
    Field,
    Not,
    Order,
    Scalar,
    Some,
    is_exact,
    is_number,
)

SIGNS: dict[Order, str] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}


def to_lance(condition: Condition) -> str | None:
    """Return the text of the condition, or None when Lance cannot evaluate it.

    It is for a table with `id` (string), `metadata` (`pa.json_()`) and the declared columns, with
    or without scalar indexes: int64, double, bool, timestamp in microseconds of UTC.
    """
    return _written(condition, is_negated=False) if _is_known_to_lance(condition) else None


def _is_known_to_lance(condition: Condition) -> bool:
    match condition:
        case All(parts) | Some(parts):
            return all(map(_is_known_to_lance, parts))
        case Not(part):
            return _is_known_to_lance(part)
        case Compares(Field(_, None), _, str()):
            return False
        case Exists(field) | Equals(field, _) | Compares(field, _, _):
            return field.name != ""


def _written(condition: Condition, *, is_negated: bool) -> str:
    match condition:
        case All(parts):
            return _joined(parts, is_and=not is_negated, is_negated=is_negated)
        case Some(parts):
            return _joined(parts, is_and=is_negated, is_negated=is_negated)
        case Not(part):
            return _written(part, is_negated=not is_negated)
        case Exists(field) if field.type is not None:
            return f"{column_name(field.name)} IS {'' if is_negated else 'NOT '}NULL"
        case Exists(field) | Equals(field, _) | Compares(field, _, _):
            text = _leaf(condition)
            if not is_negated:
                return text
            if field.type is None:
                return f"({text}) IS NOT TRUE"
            return f"(NOT ({text}) OR {column_name(field.name)} IS NULL)"


def _joined(parts: Sequence[Condition], *, is_and: bool, is_negated: bool) -> str:
    if not parts:
        return "true" if is_and else "false"
    texts = [_written(part, is_negated=is_negated) for part in parts]
    return f"({(' AND ' if is_and else ' OR ').join(texts)})"


def _leaf(condition: Exists | Equals | Compares) -> str:
    match condition:
        case Exists(field):
            return f"{_json_text(field)} != 'null'"
        case Equals(field, values) if field.type is not None:
            return f"{column_name(field.name)} IN ({_list(values)})"
        case Compares(field, order, value) if field.type is not None:
            return f"{column_name(field.name)} {SIGNS[order]} {literal(value)}"
        case Equals(field, values):
            return _json_equals(field, values)
        case Compares(field, order, value):
            return _json_compares(field, SIGNS[order], value)


def _json_equals(field: Field, values: Sequence[Scalar]) -> str:
    exact = [each for each in values if is_exact(each)]
    texts = [json_text(each) for each in values if isinstance(each, str | bool)]
    doubles = [float(each) for each in values if is_number(each) and not is_exact(each)]
    found = [_json_compares(field, "=", each) for each in exact]
    if texts:
        found.append(f"{_json_text(field)} IN ({_list(texts)})")
    if doubles:
        found.append(f"{_json_number(field)} IN ({_list(doubles)})")
    return f"({' OR '.join(found)})"


def _json_compares(field: Field, sign: str, value: Scalar) -> str:
    assert isinstance(value, int | float)  # to_lance refuses strings
    double = f"{_json_number(field)} {sign} {literal(float(value))}"
    if not is_exact(value):
        return double
    integer = f"TRY_CAST({_json_text(field)} AS BIGINT)"
    return f"({integer} {sign} {literal(value)} OR ({integer} IS NULL AND {double}))"


def _json_number(field: Field) -> str:
    return f"TRY_CAST({_json_text(field)} AS DOUBLE)"


def _json_text(field: Field) -> str:
    return f"json_extract(metadata, {literal(f'$.{json_text(field.name)}')})"


def json_text(value: str | bool) -> str:
    """Return `value` as JSONB writes it: only quotes, backslashes and control codes escaped."""
    return json.dumps(value, ensure_ascii=False)


def _list(values: Sequence[Scalar]) -> str:
    return ", ".join(map(literal, values))


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
