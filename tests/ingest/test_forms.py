"""What the text of a column becomes, and what is not taken for a value of its type.

The engine alone would take every text below that is refused, and change it.
"""

from collections.abc import Iterator

import duckdb
import pytest

from lakehouse.catalog import Column
from lakehouse.ingest.forms import (
    Form,
    TextColumn,
    declared_form,
    inferred_form,
    select_checked,
    select_fitting,
)

REFUSED = "refused"


@pytest.fixture(scope="module")
def cursor() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def value_of(
    cursor: duckdb.DuckDBPyConnection, type_: str, form: Form | None, text: str | None
) -> str | None:
    """Return the value as text, or `REFUSED`; the three ways of asking must agree."""
    column = TextColumn(Column("a", type_), "r", form)
    cursor.execute("CREATE OR REPLACE TEMP TABLE texts AS SELECT ?::VARCHAR AS r", [text])
    fits = cursor.execute(f"SELECT {column.fits()} FROM texts").fetchall()[0][0]
    fitting = select_fitting([column], "texts")
    kept = cursor.execute(f"SELECT count(*) FROM ({fitting})").fetchall()[0][0]
    try:
        sql = f"SELECT a::VARCHAR FROM ({select_checked([column], 'texts')})"
        value: str | None = cursor.execute(sql).fetchall()[0][0]
    except duckdb.InvalidInputException as error:
        assert "column 'a'" in str(error)
        value = REFUSED
    assert fits == (value != REFUSED)
    assert kept == fits
    return value


INFERRED = [
    ("long", None, "0", "0"),
    ("long", None, "-9223372036854775808", "-9223372036854775808"),
    ("long", None, None, None),
    *(("long", None, text, REFUSED) for text in ("007", "1.5", "1e3", "+1", "-0", "1_0", " 1", "")),
    ("long", None, "9223372036854775808", REFUSED),
    ("double", None, "1", "1.0"),
    ("double", None, "-0.5", "-0.5"),
    ("double", None, ".5", "0.5"),
    ("double", None, "1e5", "100000.0"),
    ("double", None, "1234567890.123456789", "1234567890.1234567"),
    ("double", None, "NaN", "nan"),
    ("double", None, "-inf", "-inf"),
    *(("double", None, text, REFUSED) for text in ("007.5", "-01", "+1", " 1", "1_0.5", "1e400")),
    *(("double", None, text, REFUSED) for text in ("1234567890123456", "12345678901234567890", "")),
    ("boolean", None, "TRUE", "true"),
    *(("boolean", None, text, REFUSED) for text in ("t", "1", "yes", "on", "")),
    ("date", None, "2024-02-29", "2024-02-29"),
    *(("date", None, text, REFUSED) for text in ("2024-2-29", "infinity", "epoch", "12024-01-01")),
    *(("date", None, text, REFUSED) for text in ("2024-01-01 10:00:00", "0000-01-01")),
    ("date", "%d/%m/%Y", "31/12/2024", "2024-12-31"),
    *(("date", "%d/%m/%Y", text, REFUSED) for text in ("12/31/2024", "31/12/24", "2024-12-31")),
    ("timestamp", "____-__-__ __:__:__", "2024-01-05 10:00:00", "2024-01-05 10:00:00"),
    ("timestamp", "____-__-__ __:__:__", "2024-01-05T10:00", "2024-01-05 10:00:00"),
    *(
        ("timestamp", "____-__-__ __:__:__", text, REFUSED)
        for text in (
            *("2024-01-05 10:00:00+02", "2024-01-05 10:00:00Z", "2024-01-05"),
            *("2024-01-05 10:00:00.123456789", "infinity", "2024-01-05 10:00:00 UTC"),
        )
    ),
    ("timestamptz", "____-__-__T__:__:__Z", "2024-01-05T10:00:00Z", "2024-01-05 10:00:00+00"),
    ("timestamptz", None, "2024-01-05 10:00:00+02", "2024-01-05 08:00:00+00"),
    *(("timestamptz", None, text, REFUSED) for text in ("2024-01-05 10:00:00", "infinity")),
    ("string", None, "anything", "anything"),
]

DECLARED = [
    ("long", "007", "7"),
    ("long", "1.0", "1"),
    ("long", " 5 ", "5"),
    ("long", "", None),
    *(("long", text, REFUSED) for text in ("1.5", "1e3", "x", "0x10", "1_0")),
    ("int", "2147483648", REFUSED),
    ("double", "007.5", "7.5"),
    ("double", "NaN", "nan"),
    ("double", "", None),
    *(("double", text, REFUSED) for text in ("1e400", "x")),
    ("decimal(9,2)", "1.5", "1.50"),
    ("decimal(9,2)", "1.2300", "1.23"),
    ("decimal(9,2)", ".5", "0.50"),
    *(("decimal(9,2)", text, REFUSED) for text in ("1.234", "12345678.9", "1e2", "NaN")),
    ("boolean", "t", "true"),
    ("date", "2024-01-05 00:00:00", "2024-01-05"),
    *(("date", text, REFUSED) for text in ("2024-01-05 10:00:00", "infinity", "12024-01-01")),
    ("timestamp", "2024-01-05", "2024-01-05 00:00:00"),
    ("timestamp", "2024-01-05T10:00:00Z", "2024-01-05 10:00:00"),
    ("timestamp", "2024-01-05 10:00:00.123456000", "2024-01-05 10:00:00.123456"),
    *(
        ("timestamp", text, REFUSED)
        for text in ("2024-01-05 10:00:00+02", "2024-01-05 10:00:00.1234567", "infinity")
    ),
    ("timestamptz", "2024-01-05 10:00:00", "2024-01-05 10:00:00+00"),
    ("timestamptz", "2024-01-05 10:00:00-05:30", "2024-01-05 15:30:00+00"),
    ("time", "10:00", "10:00:00"),
    ("time", "10:00:00.1234567", REFUSED),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
    ("uuid", "a0eebc99", REFUSED),
    ("binary", "aGk=", "hi"),
    ("binary", "!", REFUSED),
    ("string", "", ""),
]


@pytest.mark.parametrize(("type_", "layout", "text", "expected"), INFERRED)
def test_what_was_inferred_must_look_as_the_sample_did(
    cursor: duckdb.DuckDBPyConnection,
    type_: str,
    layout: str | None,
    text: str | None,
    expected: str | None,
) -> None:
    assert value_of(cursor, type_, inferred_form(type_, layout), text) == expected


@pytest.mark.parametrize(("type_", "text", "expected"), DECLARED)
def test_what_was_declared_may_be_written_in_any_way_that_loses_nothing(
    cursor: duckdb.DuckDBPyConnection, type_: str, text: str, expected: str | None
) -> None:
    assert value_of(cursor, type_, declared_form(type_), text) == expected
