"""Values that a column has where rows say none, as JSON: each is of the type of its column.

Source: https://iceberg.apache.org/spec/#json-single-value-serialization
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import date, time
from decimal import Decimal

from lakehouse.catalog.types import Type, type_text

FLOAT_MAX = 3.4028234663852886e38
DAY, CLOCK = r"(\d{4}-\d\d-\d\d)", r"(\d\d:\d\d:\d\d)(?:\.\d{1,6})?"
MOMENTS = {
    "date": re.compile(DAY),
    "time": re.compile(CLOCK),
    "timestamp": re.compile(f"{DAY}T{CLOCK}"),
    "timestamptz": re.compile(rf"{DAY}T{CLOCK}\+00:00"),
}
HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
UUID = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
NUMBER = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?(?:E[+-]?\d{1,3})?")


def is_of_type(value: object, type_: Type) -> bool:
    """Whether a value is one of this type; a list, a map or a struct has none."""
    if not isinstance(type_, str):
        return False
    kind, *sizes = re.split(r"[(\[,\])]+", type_text(type_).rstrip(")]"))
    if kind == "decimal":
        return is_decimal(value, int(sizes[0]), int(sizes[1]))
    if kind == "fixed":
        return is_bytes(value) and len(str(value)) == 2 * int(sizes[0])
    if kind in MOMENTS:
        return is_moment(value, MOMENTS[kind])
    return kind in PLAIN and PLAIN[kind](value)


def is_whole(value: object, bits: int) -> bool:
    if not isinstance(value, int) or isinstance(value, bool):
        return False
    return -(1 << (bits - 1)) <= value < 1 << (bits - 1)


def is_float(value: object, most: float = math.inf) -> bool:
    """Whether it is a number with a point: readers in Java take `3` for none."""
    return isinstance(value, float) and math.isfinite(value) and abs(value) <= most


def is_decimal(value: object, digits: int, scale: int) -> bool:
    if not (isinstance(value, str) and NUMBER.fullmatch(value)):
        return False
    found = Decimal(value).as_tuple()
    return found.exponent == -scale and len(found.digits) <= digits


def is_bytes(value: object) -> bool:
    return isinstance(value, str) and HEX.fullmatch(value) is not None


def is_moment(value: object, form: "re.Pattern[str]") -> bool:
    matched = form.fullmatch(value) if isinstance(value, str) else None
    try:
        for each in matched.groups() if matched else ():
            (time if ":" in each else date).fromisoformat(each)
    except ValueError:
        return False
    return matched is not None


PLAIN: Mapping[str, Callable[[object], bool]] = {
    "boolean": lambda value: isinstance(value, bool),
    "int": lambda value: is_whole(value, 32),
    "long": lambda value: is_whole(value, 64),
    "float": lambda value: is_float(value, FLOAT_MAX),
    "double": is_float,
    "string": lambda value: isinstance(value, str),
    "uuid": lambda value: isinstance(value, str) and UUID.fullmatch(value) is not None,
    "binary": is_bytes,
}
