"""Reading the engine's tree: what the statement did wrong, and what this machine lacks."""

from pathlib import Path

import duckdb
import orjson
import pytest

from lakehouse.query import gate
from lakehouse.query.errors import SqlSyntaxError


class Engine:
    """A cursor that answers one text, as `json_serialize_sql` would."""

    def __init__(self, text: str) -> None:
        self._text = text

    def execute(self, sql: str, parameters: list[str]) -> "Engine":
        return self

    def fetchone(self) -> tuple[str]:
        return (self._text,)


def test_a_statement_that_is_nested_too_deeply_is_told_so() -> None:
    with duckdb.connect() as connection, pytest.raises(SqlSyntaxError, match="nested too deeply"):
        gate.parse(connection, "SELECT " + "[" * 600 + "1" + "]" * 600)


def test_a_tree_that_there_is_no_room_to_read_is_not_the_statements_fault() -> None:
    """To orjson, no memory is the same error as no JSON."""
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads("{")
    with pytest.raises(MemoryError):
        gate.parse(Engine("{"), "SELECT 1")  # type: ignore[arg-type]


def test_nobody_asks_the_engine_what_kind_a_statement_is() -> None:
    """To it a PRAGMA is a SELECT, and in its next version so is `WITH x AS (COPY ..) SELECT`."""
    with duckdb.connect() as connection:
        (pragma,) = connection.extract_statements("PRAGMA database_list")
    assert pragma.type == duckdb.StatementType.SELECT

    sources = list((Path(gate.__file__).parents[1]).rglob("*.py"))
    assert len(sources) > 100
    for source in sources:
        assert "extract_statements" not in source.read_text(), source
