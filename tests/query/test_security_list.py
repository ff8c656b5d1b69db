"""Every hole of SQL that we know of stays closed, line by line.

Each statement is refused before it runs; nothing is written and nothing outside is read.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.catalog import Catalog, Column, Rows, TableName, parse_table_name
from lakehouse.config import QueryConfig
from lakehouse.database import Connection, Database, EngineError
from lakehouse.errors import LakehouseError
from lakehouse.query.gate import May, prepare
from tests.query.lake import open_lake

REFUSED = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_csv_auto('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM read_json('/etc/passwd')",
    "SELECT * FROM read_parquet('x.parquet')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('x.parquet')",
    "SELECT * FROM iceberg_scan('x')",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('people')",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM pragma_version()",
    "SELECT * FROM pragma_table_info('people')",
    "FROM '/etc/passwd'",
    "FROM 'x.parquet'",
    "FROM 'x.lance'",
    "FROM 's3://bucket/x?s3_endpoint=127.0.0.1&s3_use_ssl=false'",
    "FROM python_variable",
    'FROM "/etc/passwd"',
    "COPY (SELECT 1) TO '/tmp/lakehouse-gate'",
    "COPY people TO 'x.parquet'",
    "WITH x AS (COPY (SELECT 1) TO 'x.csv') SELECT 1",
    "WITH x AS (INSERT INTO people VALUES (1)) SELECT 1",
    "EXPLAIN ANALYZE INSERT INTO people VALUES (1)",
    "EXPLAIN ANALYZE SELECT 1",
    "EXPLAIN (ANALYZE) SELECT 1",
    "ATTACH ':memory:' AS x",
    "DETACH lake",
    "INSTALL httpfs",
    "LOAD httpfs",
    "EXPORT DATABASE 'x'",
    "IMPORT DATABASE 'x'",
    "CHECKPOINT",
    "SET threads = 1",
    "RESET threads",
    "PRAGMA version",
    "PRAGMA database_list",
    "CREATE SECRET s (TYPE s3)",
    "CREATE MACRO f() AS 1",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE VIEW v AS SELECT 1",
    "DROP TABLE people",
    "INSERT INTO people VALUES (1)",
    "DELETE FROM people",
    "UPDATE people SET id = 1",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "CALL range(1)",
    "BEGIN",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE people",
    "SELECT 1 /* ; */; COPY people TO 'x'",
    "/* SELECT */ COPY people TO 'x'",
    "-- SELECT\nCOPY people TO 'x'",
    "\u00a0COPY people TO 'x'",
    "SELECT current_setting('threads')",
    "SELECT getvariable('x')",
    "SELECT nextval('x')",
    "SELECT json_execute_serialized_sql('x')",
    "SELECT json_serialize_sql('SELECT 1')",
    "SELECT pg_sleep(60)",
    "SELECT sleep_ms(60000)",
    "SELECT lake.main.nothing()",
    "SELECT system.main.repeat('x', 3)",
    "SELECT (SELECT count(*) FROM read_text('/etc/passwd'))",
    "SELECT * FROM people WHERE id IN (SELECT 1 FROM read_text('/etc/passwd'))",
    "SELECT * FROM people, LATERAL (SELECT * FROM read_text('/etc/passwd'))",
    "WITH x AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM x",
    "SELECT * FROM (PIVOT (FROM read_text('/etc/passwd')) ON size IN (1) USING count(*))",
    "SELECT 1 ORDER BY (SELECT count(*) FROM read_text('/etc/passwd'))",
    "SELECT 1 LIMIT (SELECT count(*) FROM read_text('/etc/passwd'))",
    "SELECT list_transform([1], lambda x: (SELECT count(*) FROM read_text('/etc/passwd')))",
    "SELECT repeat((SELECT content FROM read_text('/etc/passwd')), 2)",
    "SELECT sum(1) FILTER (WHERE (SELECT true FROM read_text('/etc/passwd')))",
    "SELECT * FROM range((SELECT count(*) FROM read_text('/etc/passwd')))",
    "SELECT * FROM information_schema.views",
    "SELECT * FROM pg_catalog.pg_tables",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM memory.main.people",
    "SELECT $\"1; COPY (SELECT 1) TO '/tmp/lakehouse-gate' --\"",
    'SELECT "!__postfix"(id) OVER () FROM people',
    "SELECT * FROM hidden.secrets",
    "WITH a AS (SELECT * FROM hidden.secrets) SELECT * FROM a",
    "SELECT (SELECT max(id) FROM hidden.secrets)",
    "SELECT * FROM people, LATERAL (SELECT * FROM hidden.secrets)",
    "SELECT json_structure(repeat('[', 400000) || repeat(']', 400000))",
    "SELECT json_contains(repeat('[', 400000) || repeat(']', 400000), '1')",
    "SELECT json_merge_patch('{}', '{}')",
    "SELECT json_group_structure(id) FROM people",
    "SELECT (repeat('[', 60000) || repeat(']', 60000))::JSON::VARIANT",
    "SELECT CAST(NULL AS STRUCT(a VARIANT)[])",
    "SELECT TRY_CAST(repeat('1', 250000) AS BIGNUM) * 1",
    "SELECT lag(id, -9223372036854775808) OVER () FROM people",
    "SELECT lead(id, 9223372036854775807) OVER () FROM people",
    "SELECT lag(id, id) OVER () FROM people",
    "SELECT mode(id) OVER (ORDER BY id) FROM people",
    "SELECT Mode(id) OVER w FROM people WINDOW w AS (ORDER BY id)",
    "SELECT mad(id) OVER (ORDER BY id ROWS BETWEEN 1001 PRECEDING AND CURRENT ROW) FROM people",
    "SELECT mad(id) OVER (ROWS BETWEEN id PRECEDING AND 1 FOLLOWING) FROM people",
    "SELECT entropy(id) OVER (ORDER BY id RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) FROM people",
    "SELECT quantile(id, 0.5) OVER (ROWS UNBOUNDED PRECEDING) FROM people",
    "SELECT quantile_disc(id, 0.5) OVER (ORDER BY id GROUPS 3 PRECEDING) FROM people",
    "SELECT histogram(id) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
    " EXCLUDE CURRENT ROW) FROM people",
    "SELECT bitstring_agg(id, 0, 9) OVER (ORDER BY id ROWS 3 PRECEDING) FROM people",
    "SELECT sum(DISTINCT id) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING"
    " EXCLUDE CURRENT ROW) FROM people",
    "SELECT switch(id, MAP{1: 2}, id) FROM people",
    "SELECT reservoir_quantile(id, 0.5) FROM people",
    "",
    "   ",
    ";",
    "SELECT '\0'",
    "SELECT '\ud800'",
    "SELECT " + "+".join("1" * 20_000),
    "SELECT " + "1," * 200_000 + "1",
    "SELECT repeat('x', 1500000000) || repeat('y', 1500000000)",
    "SELECT len(range(500000000))",
    "SELECT lpad('x', 2000000000, 'y')",
    "SELECT str_split(repeat('a,', 200000000), ',')",
    "SELECT levenshtein(repeat('a', 100000), repeat('b', 100000))",
]


SIZED = REFUSED[-5:]
"""They pass the gate behind a check: the engine says, before it begins, that they are too large."""
SHORT = [each for each in REFUSED[:-5] if each.strip(" ;") and len(each) < 60 and "{" not in each]
"""Those that something can be put around."""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Database, Catalog, Path]]:
    root = tmp_path_factory.mktemp("gate")
    rows = Rows("SELECT i AS id FROM range(3) t(i)", (Column("id", "long"),))
    with open_lake(root) as (database, catalog), database.cursor() as cursor:
        catalog.namespaces.create("hidden")
        for name in ("people", "hidden.secrets"):
            catalog.loading.write(cursor, parse_table_name(name), rows, mode="create")
        yield database, catalog, root


def everybody_but_hidden(action: str, table: TableName) -> bool:
    return table.namespace != "hidden"


def run(cursor: Connection, catalog: Catalog, sql: str, may: May) -> list[tuple[object, ...]]:
    limits = QueryConfig()
    statement = prepare(cursor, sql, catalog=catalog, may=may, as_of={}, limits=limits)
    return cursor.execute(statement.sql).fetchall()


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: ascii(sql[:60]))
def test_a_statement_of_the_list_is_refused(lake: tuple[Database, Catalog, Path], sql: str) -> None:
    database, catalog, root = lake
    before = sorted(root.rglob("*"))

    ours = (LakehouseError, EngineError) if sql in SIZED else LakehouseError
    with database.cursor() as cursor, pytest.raises(ours) as refusal:
        run(cursor, catalog, sql, everybody_but_hidden)

    assert "root:" not in str(refusal.value), "what it says must hold nothing of the file"
    assert str(root) not in str(refusal.value)
    assert sorted(root.rglob("*")) == before
    assert not Path("/tmp/lakehouse-gate").exists()


def test_a_hidden_table_is_the_same_answer_as_one_that_is_not_there(
    lake: tuple[Database, Catalog, Path],
) -> None:
    database, catalog, _ = lake
    said = []
    for name in ("hidden.secrets", "hidden.nothing"):
        with database.cursor() as cursor, pytest.raises(LakehouseError) as refusal:
            run(cursor, catalog, f"SELECT * FROM {name}", everybody_but_hidden)
        said.append(str(refusal.value).replace(name, "NAME"))

    assert said[0] == said[1]
    with database.cursor() as cursor:
        for sql in ("SHOW TABLES", "SELECT table_name FROM information_schema.tables"):
            assert run(cursor, catalog, sql, everybody_but_hidden) == [("people",)]
        columns = "SELECT DISTINCT table_name FROM information_schema.columns"
        assert run(cursor, catalog, columns, everybody_but_hidden) == [("people",)]


def test_a_name_that_is_nearly_that_of_a_hidden_table_is_told_nothing_of_it(
    lake: tuple[Database, Catalog, Path],
) -> None:
    database, catalog, _ = lake
    for sql in ("SELECT * FROM hidden.secret", "SELECT * FROM secrets", "DESCRIBE hiden.secrets"):
        with database.cursor() as cursor, pytest.raises(LakehouseError) as refusal:
            run(cursor, catalog, sql, everybody_but_hidden)
        assert "did you mean" not in str(refusal.value).lower(), sql
        assert "hidden.secrets" not in str(refusal.value), sql
    with database.cursor() as cursor, pytest.raises(LakehouseError, match=r"hidden\.secrets"):
        run(cursor, catalog, "SELECT * FROM hidden.secret", lambda action, table: True)


def test_what_the_user_wrote_is_not_what_runs(lake: tuple[Database, Catalog, Path]) -> None:
    database, catalog, _ = lake
    sql = "/* a comment */ select ID from PEOPLE as Crowd -- and another"
    with database.cursor() as cursor:
        statement = prepare(
            cursor,
            sql,
            catalog=catalog,
            may=everybody_but_hidden,
            as_of={},
            limits=QueryConfig(),
        )

    assert "comment" not in statement.sql and "another" not in statement.sql
    assert "PEOPLE" not in statement.sql and "select" not in statement.sql
    assert statement.tables[0].relation in statement.sql


AROUND = (
    "/* SELECT 1 */ {}",
    "-- SELECT 1\n{}",
    "{} -- SELECT 1",
    "/* /* nested */ */ {} /* ; */",
    "\u00a0{}",
    "\u2003{}\u3000",
    "\ufeff{}",
    "\t\r\n {} \v\f",
    "(({}))",
    "SELECT 1 /* ' */; {}",
)


@pytest.mark.parametrize("around", AROUND, ids=ascii)
def test_comments_and_unicode_around_a_statement_change_nothing(
    lake: tuple[Database, Catalog, Path], around: str
) -> None:
    database, catalog, root = lake
    before = sorted(root.rglob("*"))
    for sql in SHORT:
        with database.cursor() as cursor, pytest.raises(LakehouseError):
            run(cursor, catalog, around.format(sql), everybody_but_hidden)
    assert sorted(root.rglob("*")) == before


def test_a_plan_shows_no_path_and_no_relation(lake: tuple[Database, Catalog, Path]) -> None:
    database, catalog, root = lake
    with database.cursor() as cursor:
        rows = run(cursor, catalog, "EXPLAIN SELECT * FROM people", everybody_but_hidden)

    assert "READ_PARQUET" in str(rows)
    assert str(root) not in str(rows)
    assert "r_" not in str(rows)


def test_a_relation_cannot_be_named(lake: tuple[Database, Catalog, Path]) -> None:
    database, catalog, _ = lake
    with database.cursor() as cursor:
        statement = prepare(
            cursor,
            "SELECT * FROM hidden.secrets",
            catalog=catalog,
            may=lambda action, table: True,
            as_of={},
            limits=QueryConfig(),
        )
        relation = statement.tables[0].relation
        for sql in (
            f"SELECT * FROM {relation}",
            f"SELECT * FROM main.{relation}",
            f"SELECT * FROM lake.main.{relation}",
            f"WITH {relation} AS (SELECT * FROM {relation}) SELECT * FROM {relation}",
            f"WITH RECURSIVE {relation} AS (SELECT * FROM {relation} UNION ALL SELECT 1) "
            f"SELECT * FROM {relation}",
            f"SELECT (SELECT max(id) FROM {relation})",
        ):
            with pytest.raises(LakehouseError):
                run(cursor, catalog, sql, everybody_but_hidden)


def test_permission_is_asked_again_for_a_statement_that_ran_before(
    lake: tuple[Database, Catalog, Path],
) -> None:
    database, catalog, _ = lake
    sql = "SELECT count(*) FROM hidden.secrets"
    with database.cursor() as cursor:
        assert run(cursor, catalog, sql, lambda action, table: True) == [(3,)]
        with pytest.raises(LakehouseError):
            run(cursor, catalog, sql, everybody_but_hidden)
