"""Types of columns that come as text: strict forms alone, and text whenever in doubt.

The engine's sniffer guesses from what it reads as it goes and rounds `1.5` into an integer column;
the same file must always give the same schema, so the rules are these.
"""

import re
from collections.abc import Iterable
from datetime import date, datetime

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)

LONG = re.compile(r"-?(?:0|[1-9]\d*)")
DOUBLE = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?")
ZONED = re.compile(TIMESTAMP.pattern + r"(?:Z|[+-]\d\d(?::?\d\d)?)")
SLASHED = re.compile(r"(\d{1,2})([/.-])(\d{1,2})\2(\d{4})")
LONG_SQL = r"-?(?:0|[1-9][0-9]*)"
"""What a value of an integer column must look like; DuckDB alone takes 007, 1_000, 1e3 and 1.5."""


def infer(values: Iterable[str | None]) -> str:
    """Return the type that all of `values` have; `string` when they differ or say nothing."""
    present = [value for value in values if value is not None]
    if not present:
        return "string"
    for type_, matches in FORMS:
        if all(matches(value) for value in present):
            return type_
    return "string"


def is_long(value: str) -> bool:
    return LONG.fullmatch(value) is not None and INT64_MIN <= int(value[:40]) <= INT64_MAX


def is_double(value: str) -> bool:
    if LONG.fullmatch(value):
        return is_long(value)  # beyond int64 an integer would be rounded
    return DOUBLE.fullmatch(value) is not None


def is_boolean(value: str) -> bool:
    return value.lower() in ("true", "false")


def is_date(value: str) -> bool:
    return DATE.fullmatch(value) is not None and parses(date.fromisoformat, value)


def is_timestamp(value: str) -> bool:
    return TIMESTAMP.fullmatch(value) is not None and parses(datetime.fromisoformat, value)


def is_zoned(value: str) -> bool:
    return ZONED.fullmatch(value) is not None and parses(datetime.fromisoformat, value)


def parses(parse: object, value: str) -> bool:
    assert callable(parse)
    try:
        parse(value)
    except ValueError:
        return False
    return True


FORMS = (
    ("boolean", is_boolean),
    ("long", is_long),
    ("double", is_double),
    ("date", is_date),
    ("timestamp", is_timestamp),
    ("timestamptz", is_zoned),
)


def settled_date_format(values: Iterable[str | None]) -> str | None:
    """Return how the dates of a column are written, when the values settle day and month.

    `25/04/2024` somewhere settles it; `03/04/2024` everywhere does not, and stays text.
    """
    matches = [SLASHED.fullmatch(value) for value in values if value is not None]
    if not matches or not all(matches):
        return None
    parts = [match.groups() for match in matches if match]
    separators = {part[1] for part in parts}
    if len(separators) > 1:
        return None
    first = max(int(part[0]) for part in parts)
    second = max(int(part[2]) for part in parts)
    separator = separators.pop()
    if 12 < first <= 31 and second <= 12:
        return f"%d{separator}%m{separator}%Y"
    if 12 < second <= 31 and first <= 12:
        return f"%m{separator}%d{separator}%Y"
    return None
