"""How the words of `lakehouse sql` are understood."""

from pathlib import Path

import click
import pytest

from lakehouse.cli.asking import format_of, pair, parameters_of, statement_text, value_of
from lakehouse.errors import InvalidInputError, NotFoundError
from tests.cli.conftest import Shell


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ('"5"', "5"),
        ("Oslo", "Oslo"),
        ("2026-01-31", "2026-01-31"),
        ("007", "007"),
        ("", ""),
        ("1e400", "1e400"),
        ("[1, 2]", [1, 2]),
    ],
)
def test_a_value_is_what_it_looks_like(text: str, value: object) -> None:
    assert value_of(text) == value
    assert type(value_of(text)) is type(value)


def test_parameters_are_named_or_in_order_never_both() -> None:
    assert parameters_of([]) is None
    assert parameters_of(["city=Oslo", "n=5"]) == {"city": "Oslo", "n": 5}
    assert parameters_of(["Oslo", "5", "a b=c"]) == ["Oslo", 5, "a b=c"]
    assert parameters_of(["city=a=b"]) == {"city": "a=b"}
    with pytest.raises(click.UsageError, match="all parameters names"):
        parameters_of(["city=Oslo", "5"])


def test_as_of_takes_a_time_and_a_name_with_equals_signs() -> None:
    assert pair("sales.orders=2026-01-01T00:00:00+02:00", "--as-of") == (
        "sales.orders",
        "2026-01-01T00:00:00+02:00",
    )
    with pytest.raises(click.UsageError, match="NAME=VALUE"):
        pair("orders", "--as-of")


def test_the_format_is_read_from_the_file_name() -> None:
    assert format_of(None, Path("a.parquet"), False) == "parquet"
    assert format_of(None, Path("A.CSV"), False) == "csv"
    assert format_of("arrow", Path("a.bin"), False) == "arrow"
    assert format_of(None, None, False) == "table"
    assert format_of(None, None, True) == "json"
    with pytest.raises(click.UsageError, match="how to write"):
        format_of(None, Path("a.bin"), False)
    with pytest.raises(click.UsageError, match="exclude"):
        format_of("csv", None, True)


def test_a_statement_comes_from_one_place(tmp_path: Path) -> None:
    file = tmp_path / "a.sql"
    file.write_text("SELECT 'ü'", "utf-8")

    assert statement_text("SELECT 1", None) == "SELECT 1"
    assert statement_text(None, file) == "SELECT 'ü'"
    with pytest.raises(click.UsageError, match="not both"):
        statement_text("SELECT 1", file)
    with pytest.raises(NotFoundError):
        statement_text(None, tmp_path / "gone.sql")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="UTF-8"):
        statement_text(None, file)


def test_a_statement_that_changes_tables_is_answered_with_its_command(quick: Shell) -> None:
    for statement, command in (
        ("DROP TABLE t", "`lakehouse drop`"),
        ("INSERT INTO t VALUES (1)", "`lakehouse make`"),
        ("CREATE TABLE t AS SELECT 1", "`lakehouse make`"),
        ("UPDATE t SET a = 1", "`lakehouse update`"),
        ("DELETE FROM t", "`lakehouse delete`"),
        ("ALTER TABLE t ADD COLUMN x INT", "`lakehouse schema`"),
    ):
        said = quick.run("sql", statement).stderr
        assert command in said and "/v1/" not in said, said
