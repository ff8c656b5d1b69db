"""How the words of `lakehouse ingest` are understood."""

from pathlib import Path

import click
import pytest

from lakehouse.cli.loading import loads_of, table_named_after, type_of
from lakehouse.errors import NotFoundError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", "orders"):
        (tmp_path / name).write_text("x\n1\n")
    return tmp_path


def test_a_first_word_that_is_no_file_is_the_table() -> None:
    assert loads_of(["t", "a.csv"]) == [("t", "a.csv")]
    assert loads_of(["sales.t", "a.csv", "b.csv"]) == [("sales.t", "a.csv"), ("sales.t", "b.csv")]
    assert loads_of(["t", "-"]) == [("t", "-")]


def test_files_alone_are_tables_of_their_names() -> None:
    assert loads_of(["a.csv", "b.csv"]) == [("a", "a.csv"), ("b", "b.csv")]
    assert loads_of(["orders"]) == [("orders", "orders")]


def test_stdin_has_no_name() -> None:
    with pytest.raises(click.UsageError, match="must be named"):
        loads_of(["-"])


@pytest.mark.parametrize(
    "words", [["gone.csv"], ["gone.csv", "a.csv"], ["t", "gone.csv"], ["./gone", "a.csv"]]
)
def test_a_missing_file_is_never_taken_for_a_table(words: list[str]) -> None:
    with pytest.raises(NotFoundError, match="gone"):
        loads_of(words)


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("orders.csv", "orders"),
        ("dir/Orders 2026-01.csv.gz", "orders_2026_01"),
        ("2026.parquet", "t_2026"),
        ("Straße.ndjson.zst", "straße"),
        ("v1.2.csv", "v1_2"),
        ("plain", "plain"),
    ],
)
def test_a_table_named_after_a_file_needs_no_quotes(file: str, table: str) -> None:
    assert table_named_after(file) == table


def test_a_file_without_a_name_must_be_given_one() -> None:
    with pytest.raises(click.UsageError, match="gives no name"):
        table_named_after("---.csv")


def test_a_type_may_hold_commas_and_a_column_equals_signs() -> None:
    assert type_of("price=decimal(9,2)") == ("price", "decimal(9,2)")
    assert type_of("a=b=long") == ("a=b", "long")
    with pytest.raises(click.UsageError, match="COLUMN=TYPE"):
        type_of("price")


def test_what_the_server_reads_by_itself_is_no_file() -> None:
    assert loads_of(["t", "object:raw/a.csv"]) == [("t", "object:raw/a.csv")]
    assert loads_of(["s3://exports/orders/"]) == [("orders", "s3://exports/orders/")]
    assert loads_of(["object:raw/2026.csv"]) == [("t_2026", "object:raw/2026.csv")]
    with pytest.raises(click.UsageError, match="must be named"):
        loads_of(["s3://exports/*.csv"])
