"""The type of a column, by what its first values look like."""

import pytest

from lakehouse.ingest.inference import Inferred, infer

CASES: list[tuple[list[str | None], Inferred]] = [
    (["1", "-5", None, "0"], Inferred("long")),
    (["1", "007"], Inferred("string")),
    (["9223372036854775807"], Inferred("long")),
    (["9223372036854775808"], Inferred("string")),
    (["9" * 100_000], Inferred("string")),
    (["1", "1.5", "-2e3", ".5"], Inferred("double")),
    (["1.5", "NaN", "-inf"], Inferred("double")),
    (["NaN", "inf"], Inferred("string")),
    (["1.5", "1e400"], Inferred("string")),
    (["1.5", "12345678901234567"], Inferred("string")),
    (["1,5"], Inferred("string")),
    (["true", "False", "TRUE"], Inferred("boolean")),
    (["true", "1"], Inferred("string")),
    (["yes", "no"], Inferred("string")),
    (["2024-02-29"], Inferred("date")),
    (["2023-02-29"], Inferred("string")),
    (["2024-01-01", "2024-1-2"], Inferred("string")),
    (["2024-01-01 10:00:00"], Inferred("timestamp", "____-__-__ __:__:__")),
    (["2024-01-01T10:00", "2024-01-01T10:01"], Inferred("timestamp", "____-__-__T__:__")),
    (["2024-01-01 10:00:00.1234567"], Inferred("string")),
    (["2024-01-01", "2024-01-01 10:00:00"], Inferred("string")),
    (["2024-01-01T10:00:00Z"], Inferred("timestamptz", "____-__-__T__:__:__Z")),
    (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00"], Inferred("string")),
    (["25/04/2024", "03/04/2024"], Inferred("date", "%d/%m/%Y")),
    (["04/25/2024", "04/03/2024"], Inferred("date", "%m/%d/%Y")),
    (["03/04/2024", "05/06/2024"], Inferred("string")),
    (["25/04/2024", "04/25/2024"], Inferred("string")),
    (["31/02/2024"], Inferred("string")),
    (["", "1"], Inferred("string")),
    (["", None], Inferred("string")),
    ([None, None], Inferred("string")),
    ([], Inferred("string")),
    (["\u0661\u0662"], Inferred("string")),  # digits, but not ours
]


@pytest.mark.parametrize(("values", "expected"), CASES)
def test_a_type_is_inferred_strictly(values: list[str | None], expected: Inferred) -> None:
    assert infer(values) == expected


def test_a_date_format_settles_what_the_values_do_not() -> None:
    assert infer(["03.04.2024"], "%d.%m.%Y") == Inferred("date", "%d.%m.%Y")
    assert infer(["03.04.2024 10:00"], "%d.%m.%Y %H:%M").type == "timestamp"
    assert infer(["2024-01-01"], "%d.%m.%Y") == Inferred("date")
