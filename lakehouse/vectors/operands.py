"""What a filter gives to compare with, read as the type of the field holds it."""

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

from lakehouse.vectors.conditions import (
    INT64_MAX,
    INT64_MIN,
    NEVER,
    Compares,
    Condition,
    Equals,
    Exists,
    Field,
    Not,
    Order,
    Scalar,
    Some,
    is_number,
)
from lakehouse.vectors.errors import FilterKindError, InvalidFilterError

KEY_BYTES_MAX = 255
STRING_BYTES_MAX = 4_096

ORDERS: tuple[Order, ...] = get_args(Order)
Given = bool | int | float | str | None
"""A scalar of JSON."""

WANTED = {
    "string": "a string",
    "integer": "a number",
    "float": "a number",
    "boolean": "true or false, which have no order",
    "timestamp": "RFC 3339 text of up to 6 decimals, like 2026-01-31T12:00:00Z",
}
RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)", re.IGNORECASE | re.ASCII
)


def read_key(key: object, at: str) -> str:
    """Return `key` when it is a string within the limit."""
    if not isinstance(key, str):
        raise InvalidFilterError(at, f"a key is a string, not {shown(key)}")
    return _within(key, KEY_BYTES_MAX, "key", at)


def read_scalar(value: object, at: str) -> Given:
    """Return `value` when it is a scalar within the limits."""
    if isinstance(value, str):
        return _within(value, STRING_BYTES_MAX, "string", at)
    if isinstance(value, int | float):
        if not _is_finite(value):
            raise InvalidFilterError(at, "a number is finite, and below 1.8e308")
        return value
    if value is None:
        return value
    raise InvalidFilterError(
        at, f"a value is a string, a number, true, false or null, not {shown(value)}"
    )


def equals(field: Field, values: Sequence[Given], at: str) -> Condition:
    """Return the condition that the field has one of the values; `None` is no value."""
    some = dict.fromkeys(
        (type(each), each)
        for value in values
        if value is not None and (each := _equal_value(field, value, at)) is not None
    )
    found = (Equals(field, tuple(each for _, each in some)),) if some else ()
    absent = (Not(Exists(field)),) if None in values else ()
    parts: tuple[Condition, ...] = (*found, *absent)
    return parts[0] if len(parts) == 1 else Some(parts)


def exists(field: Field, value: Given, at: str) -> Condition:
    """Return the condition that the field has a value, or with `False` that it has none."""
    if not isinstance(value, bool):
        raise InvalidFilterError(at, f"takes true or false, not {shown(value)}")
    return Exists(field) if value else Not(Exists(field))


def compares(field: Field, operator: str, value: Given, at: str) -> Condition:
    """Return the condition that the field is on the side of `value` that the operator names."""
    order = next(each for each in ORDERS if each == operator)
    if field.type is None:
        if value is None or isinstance(value, bool):
            return NEVER
        return Compares(field, order, _json_number(value) if is_number(value) else value)
    if field.type == "boolean" or value is None:
        raise _wrong_kind(field, value, at)
    if field.type == "integer" and is_number(value):
        return _compares_integer(field, order, value)
    typed = _equal_value(field, value, at)
    assert typed is not None  # only an integer column has numbers that nothing equals
    return Compares(field, order, typed)


def _compares_integer(field: Field, order: Order, value: float) -> Condition:
    """Compare an integer column with any number, exactly: `> 1.5` is `> 1`."""
    bound = math.floor(value) if order in ("$gt", "$lte") else math.ceil(value)
    if INT64_MIN <= bound <= INT64_MAX:
        return Compares(field, order, bound)
    is_above = bound > INT64_MAX
    return Exists(field) if is_above == (order in ("$lt", "$lte")) else NEVER


def _equal_value(field: Field, value: bool | int | float | str, at: str) -> Scalar | None:
    """Return `value` as the field holds it; None when a number of the right kind never can be."""
    match field.type:
        case None:
            return _json_number(value) if is_number(value) else value
        case "string" if isinstance(value, str):
            return value
        case "boolean" if isinstance(value, bool):
            return value
        case "float" if is_number(value):
            return float(value)
        case "integer" if is_number(value):
            whole = int(value)
            return whole if whole == value and INT64_MIN <= whole <= INT64_MAX else None
        case "timestamp" if isinstance(value, str):
            moment = _moment(value)
            if moment is not None:
                return moment
    raise _wrong_kind(field, value, at)


def _json_number(value: float) -> float:
    """Return an integer as it is when it fits int64, and everything else as a double."""
    is_integer = isinstance(value, int) and INT64_MIN <= value <= INT64_MAX
    return value if is_integer else float(value)


def _moment(text: str) -> datetime | None:
    if not RFC_3339.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):  # the 31st of June; year 0 in UTC
        return None


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the doubles
        return False


def _within(text: str, bytes_max: int, what: str, at: str) -> str:
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidFilterError(at, f"the {what} {text[:100]!r} is not Unicode text") from None
    if size_bytes > bytes_max:
        raise InvalidFilterError(
            at, f"a {what} has at most {bytes_max:,} bytes; this one has {size_bytes:,}"
        )
    return text


def _wrong_kind(field: Field, value: Given, at: str) -> FilterKindError:
    assert field.type is not None
    return FilterKindError(at, field.name, field.type, shown(value), WANTED[field.type])


def shown(value: object) -> str:
    """Return a few words for an error: the scalar itself, or what kind of thing it is."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return f"the string {value[:100]!r}{'...' if len(value) > 100 else ''}"
        case int() | float() if _is_finite(value):
            return f"the number {value!r:.100}"
        case dict():
            return "an object"
        case list():
            return "a list"
    return f"a {type(value).__name__}"
