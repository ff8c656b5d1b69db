"""Whether a value is the same in a column as it was before, in SQL.

DuckDB's casts lose things without a word: to it `1.7` is the integer 2, and a time of day is gone
in a date. What a statement puts into a table goes by the rule of files and rows: a value that its
column would change is refused. To a column of floats the nearest number is the same, as anywhere,
but for integers, which have one that is equal or none.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from lakehouse.catalog.errors import UnsupportedTypeError, ValueLostError
from lakehouse.catalog.types import Field, duckdb_type, iceberg_type, type_text
from lakehouse.database import EngineInvalidInputError, literal

DATE_TEXT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
TIME_TEXT = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6}0*)?)?"
ZONE_TEXT = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
UTC_TEXT = r"(Z|[+-]00(:?00)?)"
INTEGER_TEXT = r"\s*[+-]?[0-9]+(\.0*)?\s*"
DECLARED_TIMES = {
    "date": rf"{DATE_TEXT}([ T]00:00(:00(\.0+)?)?)?",
    "time": TIME_TEXT,
    "timestamp": rf"{DATE_TEXT}([ T]{TIME_TEXT}{UTC_TEXT}?)?",
    "timestamptz": rf"{DATE_TEXT}([ T]{TIME_TEXT}{ZONE_TEXT}?)?",
}
"""A zone only where one is kept, and nothing finer than a microsecond."""
NOT_FINITE = ("NaN", "nan", "inf", "-inf", "Inf", "-Inf", "Infinity", "-Infinity")
FLOATS = ("float", "double")
FRACTION = re.compile(r"DECIMAL\(\d+,[1-9]\d*\)|FLOAT|DOUBLE")
WIDEST = re.compile(r"DECIMAL\(38,\s*(?P<scale>\d+)\)")
NAME_OR_WIDEST = re.compile(rf'"(?:[^"]|"")*"|{WIDEST.pattern}')
SHOWN_CHARS = 80
REFUSED = "not stored: "
"""Begins the words of what is refused, so that they are known among the engine's."""


def text_pattern(type_: str) -> str | None:
    """Return how a text is written of which a column loses nothing; None where the cast says it."""
    if type_ in ("long", "int"):
        return INTEGER_TEXT
    if type_.startswith("decimal"):
        scale = type_.rstrip(")").split(",")[1].strip()
        return rf"\s*[+-]?[0-9]*(\.[0-9]{{0,{scale}}}0*)?\s*"
    return DECLARED_TIMES.get(type_)


def stored_sql(field: Field, x: str, given: str = "", *, is_checked: bool = True) -> str:
    """Return the expression that makes of `x` what the column stores.

    What it refuses, by DuckDB's `error`, is told by `telling_losses`: infinity, because no other
    engine can read a date that has no end, and what the column would change.

    Args:
        given: the type of `x` as DuckDB spells it; empty where nobody asked.
        is_checked: whoever made `x` looked whether the column changes it, but for nanoseconds.
    """
    type_ = type_text(field["type"])
    if type_ == "binary" and given.startswith("GEOMETRY"):
        return f"ST_AsWKB({x})"  # there is no such cast
    cast = f"CAST({x} AS {duckdb_type(field['type'])})"
    keeps = None if is_checked else kept(x, f"TRY_{cast}", given, type_)
    v = cast if keeps is None else f"TRY_{cast}"
    refused = {}
    if keeps is not None:
        refused[f"{x} IS NOT NULL AND NOT coalesce({keeps}, false)"] = changed(field, x, given)
    if type_ in ("date", "timestamp", "timestamptz"):
        refused[f"isinf({v})"] = unstorable(field, "an infinite value")
    if given == "TIMESTAMP_NS" and type_ == "timestamp":
        refused[f"CAST({v} AS TIMESTAMP_NS) <> {x}"] = unstorable(field, "nanoseconds")
    if not refused:
        return v
    cases = " ".join(f"WHEN {test} THEN error({why})" for test, why in refused.items())
    return f"CASE {cases} ELSE {v} END"


def kept(x: str, v: str, given: str, type_: str) -> str | None:
    """Return SQL that is true where `v`, cast from `x`, is what `x` is; None where it always is."""
    if type_ == "string":
        return None
    if given == duckdb_type(type_):
        return within_38_digits(x, given)
    try:
        if iceberg_type(given) == type_:
            return within_38_digits(x, given)
    except UnsupportedTypeError:
        return None  # there is no such cast, which the engine says
    if given == "VARCHAR" and type_ in FLOATS:
        return f"isfinite({v}) OR {x} IN {NOT_FINITE}"
    if given == "VARCHAR" and not type_.startswith(("list", "map", "struct")):
        pattern = text_pattern(type_)
        shape = f" AND regexp_full_match({x}, {literal(pattern)})" if pattern else ""
        return f"{v} IS NOT NULL{shape}"
    if type_ in FLOATS and FRACTION.fullmatch(given):
        return f"isfinite({v}) OR NOT isfinite({x})" if given == "DOUBLE" else None
    if type_ == "time" and given.startswith("TIMESTAMP"):
        return "false"  # the day is lost, and the engine has no cast back
    return f"TRY_CAST({v} AS {given}) IS NOT DISTINCT FROM {x}"


def within_38_digits(x: str, given: str) -> str | None:
    """Return SQL that is true where `x` has no number of more digits than its type says.

    A sum of decimals has up to 1.7e38, which the engine writes into files as it is.
    """
    if given in ("HUGEINT", "UHUGEINT"):
        return f"{x} BETWEEN {'-' if given == 'HUGEINT' else '0 * '}{'9' * 38} AND {'9' * 38}"
    if found := WIDEST.fullmatch(given):
        scale = int(found["scale"])
        most = f"CAST('{'9' * (38 - scale)}.{'9' * scale}' AS {given})"
        return f"{x} BETWEEN -{most} AND {most}"
    text = NAME_OR_WIDEST.sub(lambda found: "VARCHAR" if found["scale"] else found[0], given)
    if text == given:
        return None
    return f"TRY_CAST(CAST({x} AS {text}) AS {given}) IS NOT DISTINCT FROM {x}"


def changed(field: Field, x: str, given: str) -> str:
    type_ = type_text(field["type"])
    before = f"{REFUSED}column {field['name']!r} is of type {type_}, which cannot hold "
    after = " unchanged; round or cast it where that is meant"
    text = f"CAST({shown(x, given)} AS VARCHAR)"
    return f"{literal(before)} || left({text}, {SHOWN_CHARS}) || {literal(after)}"


def shown(x: str, given: str) -> str:
    """Return SQL of `x` as a message may show it.

    The engine writes one digit less than there is of a decimal(38, 38) that a sum brought to 1 or
    beyond, and a byte of its memory for it, which may be no text at all.
    """
    type_ = NAME_OR_WIDEST.sub(
        lambda found: "DOUBLE" if found["scale"] == "38" else found[0], given
    )
    return x if type_ == given else f"CAST({x} AS {type_})"


def unstorable(field: Field, what: str) -> str:
    type_ = type_text(field["type"])
    return literal(f"{REFUSED}column {field['name']!r} has {what}, which a {type_} cannot hold")


@contextmanager
def telling_losses() -> Iterator[None]:
    """Raise `ValueLostError` where the engine met what `stored_sql` refuses."""
    try:
        yield
    except EngineInvalidInputError as error:
        _, found, reason = str(error).partition(REFUSED)
        if not found:
            raise
        raise ValueLostError(reason) from error
