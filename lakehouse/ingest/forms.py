r"""How the text of a column becomes its value, in SQL, and what is not taken for one.

DuckDB's casts are generous and lose things without a word: to it `1.5`, `007` and `1_000` are
integers, `1e400` is infinity, and a timestamp without a zone may have one, which is dropped. So
text is read as text, cast once, and looked at: nearly all values by a test that costs a few
nanoseconds (an integer printed again is the same text), the others by a pattern.

There are two kinds. What was *inferred* from a sample must look exactly as the sample did, else it
was no number in the first place (`01234` is a zip code). What was *declared*, by `types=` or by
the table, may be written in any way that loses nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lakehouse.catalog import (
    DATE_TEXT,
    NOT_FINITE,
    TIME_TEXT,
    ZONE_TEXT,
    Column,
    duckdb_type,
    text_pattern,
)
from lakehouse.database import literal, quoted

Test: TypeAlias = Callable[[str, str], str]
"""SQL about a text and its value, given the SQL of both."""

MOMENT_TEXT = rf"{DATE_TEXT}[ T]{TIME_TEXT}"
SLASHED_TEXT = "[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}"
DOUBLE_TEXT = r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
EXACT_DIGITS_MAX = 15
"""Digits of an integer that a double surely keeps."""


def never(x: str, v: str) -> str:
    return "false"


def has_value(x: str, v: str) -> str:
    return f"{v} IS NOT NULL"


def prints_the_same(x: str, v: str) -> str:
    return f"CAST({v} AS VARCHAR) = {x}"


def looks_like(pattern: str) -> Test:
    return lambda x, v: f"{v} IS NOT NULL AND regexp_full_match({x}, {literal(pattern)})"


def laid_out(layout: str) -> Test:
    return lambda x, v: f"{v} IS NOT NULL AND {x} LIKE {literal(layout)}"


@dataclass(frozen=True, slots=True)
class Form:
    value: Callable[[str], str]
    """SQL of the value, given that of the text; NULL where it has none."""
    usual: Test
    """Whether the value is what the text says: true for nearly all of them, and cheap."""
    otherwise: Test = never
    """The same, asked only where `usual` does not hold."""
    empty_is_null: bool = False
    """Programs that quote every field write a missing number as `""`."""

    def is_null(self, x: str) -> str:
        return f"({x} IS NULL OR {x} = '')" if self.empty_is_null else f"{x} IS NULL"


def cast_to(target: str) -> Callable[[str], str]:
    return lambda x: f"TRY_CAST({x} AS {target})"


def inferred_form(type_: str, layout: str | None, *, is_json: bool = False) -> Form | None:
    """Return the form of a column whose type comes from a sample; None for text.

    Args:
        is_json: whether the text is that of a JSON value: then fewer things can be wrong.
        layout: how its dates are written (a format of strptime), or how most of its times are (a
            pattern of LIKE); None where there is one way.
    """
    if type_ == "string":
        return None
    if type_ == "long":
        return Form(cast_to("BIGINT"), prints_the_same)
    if type_ == "double":
        return Form(cast_to("DOUBLE"), json_double if is_json else large_double, written_double)
    if type_ == "boolean":
        return Form(spelled_boolean, has_value)
    if type_ == "date" and layout is None:
        return Form(cast_to("DATE"), iso_date)
    if type_ == "date":
        pattern = SLASHED_TEXT if "/" in str(layout) else ".*"
        return Form(strptime("DATE", str(layout)), never, looks_like(pattern))
    zone = ZONE_TEXT if type_ == "timestamptz" else ""
    moment = looks_like(MOMENT_TEXT + zone)
    if layout is None:
        return Form(cast_to(duckdb_type(type_)), never, moment)
    if "%" in layout:
        return Form(strptime(duckdb_type(type_), layout), has_value)
    return Form(cast_to(duckdb_type(type_)), laid_out(layout), moment)


def declared_form(
    type_: str, date_format: str | None = None, layout: str | None = None
) -> Form | None:
    """Return the form of a column whose type somebody named; None for text.

    Nested types have another one: their text is JSON.

    Args:
        date_format: how dates and times are written, in the letters of strptime; None: ISO 8601.
        layout: how most of its times are written, a pattern of LIKE.
    """
    target, written = duckdb_type(type_), text_pattern(type_) or ""
    if type_ == "string":
        return None
    if type_ in ("long", "int") or type_.startswith("decimal"):
        return Form(cast_to(target), prints_the_same, looks_like(written), True)
    if type_ in ("double", "float"):
        finite = f"({{v}} IS NOT NULL AND (isfinite({{v}}) OR {{x}} IN {NOT_FINITE}))"
        return Form(cast_to(target), never, lambda x, v: finite.format(x=x, v=v), True)
    if date_format is not None and type_ in ("date", "timestamp", "timestamptz"):
        return Form(strptime(target, date_format), has_value, never, True)
    if type_ == "date":
        return Form(cast_to(target), iso_date, looks_like(written), True)
    if type_ in ("time", "timestamp", "timestamptz"):
        usual = never if layout is None else laid_out(layout)
        return Form(cast_to(target), usual, looks_like(written), True)
    if type_ == "binary":
        return Form(lambda x: f"TRY(from_base64({x}))", has_value)
    return Form(cast_to(target), has_value, never, True)


def spelled_boolean(x: str) -> str:
    pairs = zip(spellings("true"), spellings("false"), strict=True)
    words = [word for pair in pairs for word in pair]  # the usual spelling is asked for first
    whens = " ".join(f"WHEN {literal(word)} THEN {word.lower()}" for word in words)
    return f"CASE {x} {whens} END"


def spellings(word: str) -> tuple[str, str, str]:
    return word, word.capitalize(), word.upper()


def iso_date(x: str, v: str) -> str:
    """Not `infinity`, which prints the same too, nor a year beyond 9999."""
    return f"strlen({x}) = 10 AND CAST({v} AS VARCHAR) = {x}"


def large_double(x: str, v: str) -> str:
    """A number of few digits that begins with one from 1 to 9: most do."""
    few = f"strlen({x}) <= {EXACT_DIGITS_MAX}"
    return f"isfinite({v}) AND {x} >= '1' AND {few} AND NOT contains({x}, '_')"


def written_double(x: str, v: str) -> str:
    """A number as one is written: no sign or zero in front that it would not have."""
    written = f"isfinite({v}) AND regexp_full_match({x}, {literal(DOUBLE_TEXT)})"
    whole = f"regexp_full_match({x}, '-?[0-9]{{{EXACT_DIGITS_MAX + 1},}}')"
    return f"{v} IS NOT NULL AND ({written} AND NOT {whole} OR {x} IN {NOT_FINITE})"


def json_double(x: str, v: str) -> str:
    """JSON has no other way to write a number than the plain one."""
    return f"isfinite({v}) AND strlen({x}) <= {EXACT_DIGITS_MAX}"


def strptime(target: str, date_format: str) -> Callable[[str], str]:
    return lambda x: f"CAST(try_strptime({x}, {literal(date_format)}) AS {target})"


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column that is read as text, and what is made of it."""

    column: Column
    text: str
    """SQL of its text."""
    form: Form | None

    def fits(self) -> str:
        """Return SQL that is true where the text is NULL or a value of the type; never NULL."""
        if self.form is None:
            return "true"
        x, v = self.text, self.form.value(self.text)
        tests = f"({self.form.usual(x, v)}) OR ({self.form.otherwise(x, v)})"
        return f"({self.form.is_null(x)} OR coalesce({tests}, false))"


def contradiction(column: Column) -> str:
    return f"a value of column {column.name!r} is no {column.type}"


def select_checked(columns: Sequence[TextColumn], source: str) -> str:
    """Return a SELECT of the columns' values that raises at the first text that is none.

    Each text is cast once, in an inner SELECT: the engine does not share parts of a CASE.
    """
    inner: list[str] = []
    outer: dict[str, str] = {}
    for number, each in enumerate(columns):
        x, v = f"x{number}", f"v{number}"
        inner.append(f"{each.text} AS {x}")
        if each.form is None:
            outer[each.column.name] = x
            continue
        inner.append(f"{each.form.value(each.text)} AS {v}")
        otherwise = each.form.otherwise(x, v)
        outer[each.column.name] = (
            f"CASE WHEN {each.form.usual(x, v)} THEN {v} WHEN {each.form.is_null(x)} THEN NULL "
            + (f"WHEN {otherwise} THEN {v} " if otherwise != "false" else "")
            + f"ELSE error({literal(contradiction(each.column))}) END"
        )
    return f"{select(outer)} FROM (SELECT {', '.join(inner)} FROM {source})"


def select_fitting(columns: Sequence[TextColumn], source: str) -> str:
    """Return a SELECT of the columns' values, of the rows alone in which all of them fit."""
    values = {
        each.column.name: each.form.value(each.text) if each.form else each.text for each in columns
    }
    tests = [each.fits() for each in columns if each.form is not None]
    where = f" WHERE {' AND '.join(tests)}" if tests else ""
    return f"{select(values)} FROM {source}{where}"


def select(expressions: Mapping[str, str]) -> str:
    return "SELECT " + ", ".join(f"{sql} AS {quoted(name)}" for name, sql in expressions.items())
