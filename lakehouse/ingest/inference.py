"""Types of columns that come as text: strict forms alone, and text whenever in doubt.

The engine's sniffer guesses from what it reads as it goes; the same file must always give the
same schema, so the rules are these. `forms.py` holds every later value to the same ones.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from lakehouse.catalog import NOT_FINITE
from lakehouse.ingest.errors import InvalidLoadError
from lakehouse.ingest.forms import EXACT_DIGITS_MAX, spellings

DATE_LETTERS = "dmYybBjHIMSfpz%"
"""Of strptime, those that Python and DuckDB read alike."""
INT64 = range(-(2**63), 2**63)
INT64_DIGITS = 19

LONG = re.compile(r"0|-?[1-9]\d*", re.ASCII)
DOUBLE = re.compile(r"-?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?", re.ASCII)
ZONED = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d(?::?\d\d)?)", re.ASCII
)
SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})", re.ASCII)
BOOLEANS = frozenset((*spellings("true"), *spellings("false")))


@dataclass(frozen=True, slots=True)
class Inferred:
    type: str
    """As Iceberg names it."""
    layout: str | None = None
    """How its dates or times are written: as `forms.inferred_form` takes it."""


STRING = Inferred("string")


def infer(values: Sequence[str | None], date_format: str | None = None) -> Inferred:
    """Return the type that all of `values` have; `string` when they differ or say nothing.

    Args:
        date_format: how dates are written here besides ISO 8601, in the letters of strptime.
    """
    present = [value for value in values if value is not None]
    if not present:
        return STRING
    if date_format is not None and all(parses_as(date_format, value) for value in present):
        return Inferred(type_of_format(date_format), date_format)
    for type_, matches in FORMS:
        if all(matches(value) for value in present):
            if type_ == "double" and all(value in NOT_FINITE for value in present):
                return STRING
            return Inferred(type_, time_layout(present) if type_.startswith("time") else None)
    settled = settled_date_format(present)
    return Inferred("date", settled) if settled else STRING


def is_long(value: str) -> bool:
    if LONG.fullmatch(value) is None or len(value) > INT64_DIGITS + 1:
        return False
    return int(value) in INT64


def is_double(value: str) -> bool:
    """Whether a double says the same: an integer of many digits would be rounded."""
    if LONG.fullmatch(value):
        return len(value) <= EXACT_DIGITS_MAX
    if value in NOT_FINITE:
        return True
    return DOUBLE.fullmatch(value) is not None and math.isfinite(float(value))


def is_date(value: str) -> bool:
    return DATE.fullmatch(value) is not None and parses(date.fromisoformat, value)


def is_timestamp(value: str) -> bool:
    return TIMESTAMP.fullmatch(value) is not None and parses(datetime.fromisoformat, value)


def is_zoned(value: str) -> bool:
    return ZONED.fullmatch(value) is not None and parses(datetime.fromisoformat, value)


def parses(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


def parses_as(date_format: str, value: str) -> bool:
    return parses(lambda text: datetime.strptime(text, date_format), value)  # noqa: DTZ007


FORMS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("long", is_long),
    ("double", is_double),
    ("boolean", BOOLEANS.__contains__),
    ("date", is_date),
    ("timestamp", is_timestamp),
    ("timestamptz", is_zoned),
)


def check_date_format(text: str) -> None:
    """Refuse letters that Python and the engine do not read alike: `InvalidLoadError`."""
    letters = re.findall(r"%(.?)", text, re.DOTALL)
    wrong = [f"%{letter}" for letter in letters if letter not in DATE_LETTERS or not letter]
    if wrong or not letters:
        what = f"{wrong[0]} is none of its letters" if wrong else "it has no letters"
        known = ", ".join(f"%{letter}" for letter in DATE_LETTERS)
        raise InvalidLoadError(f"date_format: {what}; they are {known}, as in %d.%m.%Y")


def type_of_format(date_format: str) -> str:
    """Return the type of what a format of strptime describes."""
    if "%z" in date_format:
        return "timestamptz"
    return "timestamp" if re.search(r"%[HIMSfpTcX]", date_format) else "date"


def time_layout(values: Sequence[str]) -> str:
    """Return the pattern of LIKE that most of `values` have: it is tried first on every value."""
    shapes = Counter(re.sub(r"\d", "_", value) for value in values)
    return shapes.most_common(1)[0][0]


def settled_date_format(values: Sequence[str]) -> str | None:
    """Return how the dates of a column are written, when the values settle day and month.

    `25/04/2024` somewhere settles it; `03/04/2024` everywhere does not, and stays text.
    """
    matches = [SLASHED.fullmatch(value) for value in values]
    if not matches or not all(matches):
        return None
    parts = [match.groups() for match in matches if match]
    first = max(int(part[0]) for part in parts)
    second = max(int(part[1]) for part in parts)
    if 12 < first <= 31 and second <= 12:
        chosen = "%d/%m/%Y"
    elif 12 < second <= 31 and first <= 12:
        chosen = "%m/%d/%Y"
    else:
        return None
    return chosen if all(parses_as(chosen, value) for value in values) else None
