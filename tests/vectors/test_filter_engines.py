"""Both engines answer a filter as the oracle does."""

from collections.abc import Iterator
from typing import Any

import duckdb
import lancedb
import pytest
from hypothesis import given, settings
from lancedb.index import Bitmap, BTree

from lakehouse.vectors.filter_duckdb import to_duckdb
from lakehouse.vectors.filter_lance import to_lance
from lakehouse.vectors.filters import parse_filter
from tests.vectors.filter_cases import COLUMNS, ORDERS, SCALARS, TIME, Items, filters, random_items
from tests.vectors.oracle import matches

ITEMS = random_items(seed=11, count=400)


def expected(raw: dict[str, Any], items: Items = ITEMS) -> list[int]:
    both = zip(items.columns, items.metadata, strict=True)
    return [
        place for place, (columns, metadata) in enumerate(both) if matches(raw, columns, metadata)
    ]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.register("items", ITEMS.table())
        yield connection


@pytest.fixture(scope="module", params=["bare", "indexed"])
def lance(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> lancedb.table.Table:
    database = lancedb.connect(tmp_path_factory.mktemp(request.param))
    table = database.create_table("items", ITEMS.table())
    if request.param == "indexed":
        for name in ("id", "s", "n", "f", TIME):
            table.create_index(name, config=BTree())
        table.create_index("b", config=Bitmap())
    return table


def kept_by_duckdb(raw: object, connection: duckdb.DuckDBPyConnection) -> list[int]:
    predicate, parameters = to_duckdb(parse_filter(raw, COLUMNS))
    statement = f"SELECT place, {predicate} FROM items ORDER BY place"
    rows = connection.execute(statement, parameters).fetchall()
    assert all(isinstance(kept, bool) for _, kept in rows)
    return [place for place, kept in rows if kept]


def kept_by_lance(raw: object, table: lancedb.table.Table) -> list[int]:
    text = to_lance(parse_filter(raw, COLUMNS))
    assert text is not None
    found = table.search().where(text).select(["place"]).to_list()
    return sorted(each["place"] for each in found)


@given(raw=filters())
@settings(max_examples=400, deadline=None)
def test_duckdb_keeps_what_the_oracle_keeps(
    connection: duckdb.DuckDBPyConnection, raw: dict[str, Any]
) -> None:
    assert kept_by_duckdb(raw, connection) == expected(raw)


@pytest.mark.parametrize("operator", ["$eq", *ORDERS])
def test_each_value_of_the_metadata_is_held_against_each_other(operator: str) -> None:
    nothing = dict.fromkeys(["id", "s", "n", "f", "b", TIME])
    pairs = Items([nothing] * len(SCALARS), [{"k": each} for each in SCALARS])
    with duckdb.connect() as connection:
        connection.register("items", pairs.table())
        for each in SCALARS:
            raw = {"k": {operator: each}}
            assert kept_by_duckdb(raw, connection) == expected(raw, pairs)


@given(raw=filters(of_columns=True))
@settings(max_examples=200, deadline=None)
def test_lance_keeps_what_the_oracle_keeps(lance: lancedb.table.Table, raw: dict[str, Any]) -> None:
    assert kept_by_lance(raw, lance) == expected(raw)


@pytest.mark.parametrize(
    "raw",
    [
        {"k": 1},
        {"k": None},
        {"s": "a", "k": {"$exists": True}},
        {"$or": [{"s": "a"}, {"$not": {"$and": [{"k": {"$lt": 2}}]}}]},
        {"S": "a"},
    ],
)
def test_lance_is_not_asked_for_what_has_no_column(raw: dict[str, Any]) -> None:
    assert to_lance(parse_filter(raw, COLUMNS)) is None
