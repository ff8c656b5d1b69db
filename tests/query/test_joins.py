"""How many tables one FROM joins, and how a statement reads more of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.catalog import Catalog
from lakehouse.config import QueryConfig
from lakehouse.database import Connection
from lakehouse.query.errors import SqlError
from lakehouse.query.gate import prepare
from lakehouse.query.joins import TABLES_MAX
from tests.query.lake import open_lake


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalog, Connection]]:
    root: Path = tmp_path_factory.mktemp("joins")
    with open_lake(root) as (database, catalog), database.cursor() as cursor:
        yield catalog, cursor


def answered(gate: tuple[Catalog, Connection], sql: str) -> object:
    catalog, cursor = gate
    limits = QueryConfig()
    statement = prepare(cursor, sql, catalog=catalog, may=lambda *_: True, as_of={}, limits=limits)
    return cursor.execute(statement.sql).fetchall()


def joined(template: str, count: int) -> str:
    return "range(1) t(i)" + "".join(template.replace("#", str(n)) for n in range(count - 1))


@pytest.mark.parametrize(
    "template",
    [
        " JOIN range(1) t#(i) ON t#.i = t.i",
        " LEFT JOIN range(1) t#(i) ON t#.i = t.i",
        " NATURAL JOIN range(1) t#(i)",
        ", range(1) t#(i)",
    ],
)
def test_a_from_joins_as_many_as_it_may_and_no_more(
    gate: tuple[Catalog, Connection], template: str
) -> None:
    assert answered(gate, f"SELECT count(*) FROM {joined(template, TABLES_MAX)}") == [(1,)]
    for sql in (
        f"SELECT count(*) FROM {joined(template, TABLES_MAX + 1)}",
        f"SELECT (SELECT count(*) FROM {joined(template, TABLES_MAX + 1)})",
        f"WITH c AS (SELECT 1 FROM {joined(template, TABLES_MAX + 1)}) FROM c",
    ):
        with pytest.raises(SqlError, match=re.escape("joins 51 tables, and may join 50; join")):
            answered(gate, sql)


def test_parentheses_hide_no_table(gate: tuple[Catalog, Connection]) -> None:
    half = joined(" JOIN range(1) t#(i) ON t#.i = t.i", 30)
    other = re.sub(r"\bt(\d*)\b", r"u\1", half)
    with pytest.raises(SqlError, match="joins 60 tables"):
        answered(gate, f"SELECT count(*) FROM ({half}) JOIN ({other}) ON t.i = u.i")


def test_more_are_joined_in_subqueries_as_the_refusal_says(
    gate: tuple[Catalog, Connection],
) -> None:
    half = f"(SELECT t.i FROM {joined(' JOIN range(1) t#(i) ON t#.i = t.i', 40)})"
    sql = f"SELECT count(*) FROM {half} AS a JOIN {half} AS b ON a.i = b.i"
    assert answered(gate, sql) == [(1,)]
