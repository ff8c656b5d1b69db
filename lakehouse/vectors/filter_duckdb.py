"""A condition as a predicate of DuckDB: what is compared are parameters, never text."""

from collections.abc import Sequence

from lakehouse.database import quoted
from lakehouse.vectors.conditions import (
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

Predicate = tuple[str, list[object]]

SIGNS: dict[Order, str] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}

JSON_NUMBER = "TRY_CAST(CAST(json_extract(metadata, ?) AS VARCHAR) AS DOUBLE)"
"""NULL for all else: in JSON text a string has its quotes, and no other word is a number."""
JSON_INTEGER = (
    "CASE WHEN json_type(metadata, ?) IN ('BIGINT', 'UBIGINT')"
    " THEN TRY_CAST(json_extract_string(metadata, ?) AS BIGINT) END"
)


def to_duckdb(condition: Condition) -> Predicate:
    """Return a predicate that is true or false, never NULL, and its parameters in order.

    It is for a relation with the columns `id`, `metadata` (VARCHAR or JSON: the text of an object,
    or NULL) and each declared column under its name: VARCHAR, BIGINT, DOUBLE, BOOLEAN, TIMESTAMPTZ.
    """
    match condition:
        case All(parts):
            return _joined(" AND ", parts, "true")
        case Some(parts):
            return _joined(" OR ", parts, "false")
        case Not(part):
            text, parameters = to_duckdb(part)
            return f"(NOT {text})", parameters
        case Exists(field):
            return _exists(field)
        case Equals(field, values):
            return _two_valued(_equals(field, values))
        case Compares(field, order, value):
            return _two_valued(_compares(field, SIGNS[order], value))


def _joined(word: str, parts: Sequence[Condition], of_none: str) -> Predicate:
    predicates = [to_duckdb(part) for part in parts]
    text = word.join(text for text, _ in predicates) or of_none
    return f"({text})", [each for _, parameters in predicates for each in parameters]


def _two_valued(predicate: Predicate) -> Predicate:
    text, parameters = predicate
    return f"coalesce({text}, false)", parameters


def _exists(field: Field) -> Predicate:
    if field.type is not None:
        return f"({quoted(field.name)} IS NOT NULL)", []
    return "coalesce(json_type(metadata, ?) <> 'NULL', false)", [_pointer(field)]


def _equals(field: Field, values: Sequence[Scalar]) -> Predicate:
    if field.type is not None:
        return f"{quoted(field.name)} IN ({_marks(values)})", list(values)
    exact = [each for each in values if is_exact(each)]
    doubles = [float(each) for each in values if is_number(each) and not is_exact(each)]
    strings = [each for each in values if isinstance(each, str)]
    booleans = [str(each).lower() for each in values if isinstance(each, bool)]
    found = [_compares(field, "=", each) for each in exact]
    if doubles:
        found.append((f"{JSON_NUMBER} IN ({_marks(doubles)})", [_pointer(field), *doubles]))
    found += [
        (
            f"json_type(metadata, ?) = '{json_type}'"
            f" AND json_extract_string(metadata, ?) IN ({_marks(texts)})",
            [_pointer(field), _pointer(field), *texts],
        )
        for json_type, texts in (("VARCHAR", strings), ("BOOLEAN", booleans))
        if texts
    ]
    text = " OR ".join(f"coalesce({text}, false)" for text, _ in found)
    return text, [each for _, parameters in found for each in parameters]


def _compares(field: Field, sign: str, value: Scalar) -> Predicate:
    if field.type is not None:
        return f"{quoted(field.name)} {sign} ?", [value]
    pointer = _pointer(field)
    if is_exact(value):
        return (
            f"CASE WHEN {JSON_INTEGER} IS NOT NULL THEN {JSON_INTEGER} {sign} ?"
            f" ELSE {JSON_NUMBER} {sign} ? END",
            [pointer, pointer, pointer, pointer, value, pointer, float(value)],
        )
    if is_number(value):
        return f"{JSON_NUMBER} {sign} ?", [pointer, float(value)]
    return (
        f"CASE WHEN json_type(metadata, ?) = 'VARCHAR'"
        f" THEN json_extract_string(metadata, ?) {sign} ? END",
        [pointer, pointer, value],
    )


def _pointer(field: Field) -> str:
    """Return the JSON pointer of a top-level key (RFC 6901): each key can be written as one."""
    return "/" + field.name.replace("~", "~0").replace("/", "~1")


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
