"""Views in statements: gated like the statement, read with the rights of who asks."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from lakehouse.auth import Action
from lakehouse.catalog import AsOf, Catalog, Column, Rows, TableName
from lakehouse.config import QueryConfig
from lakehouse.database import Database, EngineError
from lakehouse.errors import LakehouseError
from lakehouse.query.errors import SqlError, ViewRefusedError
from lakehouse.query.gate import PLANS, prepare
from lakehouse.query.views import VIEWS_MAX
from tests.query.lake import open_lake

SCHEMA = {
    "type": "struct",
    "fields": [
        {"id": 1, "name": "id", "required": False, "type": "long"},
        {"id": 2, "name": "name", "required": False, "type": "string"},
    ],
}
COLUMNS = (Column("id", "long"), Column("name", "string"))
PEOPLE = TableName("main", "people")


class Lake:
    def __init__(self, database: Database, catalog: Catalog) -> None:
        self.database, self.catalog = database, catalog

    def table(self, name: TableName, sql: str) -> None:
        with self.database.cursor() as cursor:
            self.catalog.loading.write(cursor, name, Rows(sql, COLUMNS), mode="create")

    def view(
        self,
        name: str,
        sql: str,
        *,
        namespace: Sequence[str] = ("main",),
        default: Sequence[str] = ("main",),
        dialect: str = "duckdb",
    ) -> None:
        version = {
            "version-id": 1,
            "schema-id": 0,
            "timestamp-ms": 1,
            "summary": {},
            "representations": [{"type": "sql", "sql": sql, "dialect": dialect}],
            "default-namespace": list(default),
        }
        self.catalog.views.create(
            TableName(".".join(namespace), name), schema=SCHEMA, version=version, properties={}
        )

    def replace(self, name: str, sql: str) -> None:
        view = self.catalog.views.load(TableName("main", name))
        text = {"type": "sql", "sql": sql, "dialect": "duckdb"}
        added = {**view.version, "representations": [text]}
        updates: list[dict[str, Any]] = [
            {"action": "add-view-version", "view-version": added},
            {"action": "set-current-view-version", "view-version-id": -1},
        ]
        self.catalog.views.commit(view.name, updates, [])

    def rows(
        self,
        sql: str,
        *,
        as_of: dict[str, AsOf] | None = None,
        may: Callable[[Action, TableName], bool] = lambda action, table: True,
        parameters: Any = None,
        nodes_max: int = 5_000,
    ) -> list[tuple[Any, ...]]:
        with self.database.cursor() as cursor:
            statement = prepare(
                cursor,
                sql,
                catalog=self.catalog,
                may=may,
                as_of=as_of or {},
                limits=QueryConfig(nodes_max=nodes_max),
                parameters=parameters,
            )
            return cursor.execute(statement.sql, parameters).fetchall()


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(tmp_path) as (database, catalog):
        lake = Lake(database, catalog)
        lake.table(PEOPLE, "SELECT * FROM (VALUES (1, 'Ada'), (2, 'Bo'), (3, 'Cy')) t(id, name)")
        catalog.namespaces.create("er", inside=["deep"])
        catalog.namespaces.create("sales")
        lake.table(TableName("sales", "people"), "SELECT 9 AS id, 'Zoe' AS name")
        yield lake


def test_a_view_is_read_like_a_table(lake: Lake) -> None:
    lake.view("grown", "SELECT id, name FROM people WHERE id > 1 ORDER BY id")
    assert lake.rows("SELECT * FROM grown") == [(2, "Bo"), (3, "Cy")]
    assert lake.rows("SELECT g.name FROM main.GROWN AS g WHERE g.id = 3") == [("Cy",)]
    assert lake.rows("SELECT lake.main.grown.id FROM lake.main.grown WHERE grown.id < 3") == [(2,)]
    assert lake.rows("SELECT b FROM grown AS x(a, b) ORDER BY a DESC LIMIT 1") == [("Cy",)]
    joined = "SELECT p.id FROM people p JOIN grown USING (id) JOIN grown AS again USING (id)"
    assert sorted(lake.rows(joined)) == [(2,), (3,)]
    inside = "SELECT id FROM people WHERE id IN (SELECT id FROM grown) AND id = ?"
    assert lake.rows(inside, parameters=[3]) == [(3,)]
    union = "SELECT id FROM grown UNION ALL SELECT id FROM people WHERE id = 1 ORDER BY id"
    assert lake.rows(union) == [(1,), (2,), (3,)]
    assert lake.rows("FROM (SELECT count(*) AS n FROM grown)") == [(2,)]
    lake.table(TableName("main", "later"), "SELECT 1 AS id, 'x' AS name")
    lake.replace("grown", "SELECT id, name FROM later")
    assert lake.rows("SELECT * FROM grown") == [(1, "x")], "the next statement sees the new text"


def test_a_plan_is_kept_as_long_as_its_views_are_what_they_were(lake: Lake) -> None:
    lake.view("inner_one", "SELECT id FROM people")
    lake.view("outer_one", "SELECT id FROM inner_one WHERE id > 1")
    sql = "SELECT count(*) FROM outer_one"
    asked: list[object] = []
    for _ in range(3):
        assert lake.rows(sql) == [(2,)]
        asked.append(PLANS.find((sql,)))
    assert asked[0] is not None and asked[0] is asked[1] is asked[2]
    lake.replace("inner_one", "SELECT id FROM people WHERE id < 3")
    assert lake.rows(sql) == [(1,)]
    lake.catalog.views.drop(TableName("main", "inner_one"))
    with pytest.raises(ViewRefusedError, match="inner_one"):
        lake.rows(sql)
    lake.table(TableName("main", "inner_one"), "SELECT 9 AS id, 'x' AS name")
    assert lake.rows(sql) == [(1,)]


def test_columns_are_named_as_they_were_spelled(lake: Lake) -> None:
    lake.view("counted", "SELECT count(*), (SELECT max(id) FROM people) FROM people")
    described = lake.rows("DESCRIBE SELECT *, (SELECT count(*) FROM counted) FROM counted")
    names = [row[0] for row in described]
    assert names[0] == "count_star()"
    assert all("lakehouse" not in name and "r_" not in name for name in names), names


def test_a_name_means_what_it_means_to_the_view_wherever_it_is_read(lake: Lake) -> None:
    lake.view("mine", "SELECT id, name FROM people", default=["sales"])
    lake.view("spelled", "SELECT id FROM main.people WHERE id = 1", default=["sales"])
    lake.view("none", "SELECT id FROM people WHERE id = 1", default=[])
    lake.view("inner_one", "SELECT 5 AS id", namespace=["deep", "er"])
    lake.view("nested", "SELECT id FROM inner_one", default=["deep", "er"])
    captured = "WITH people AS (SELECT 7 AS id, 'no' AS name) SELECT people.id, mine.* FROM"
    assert lake.rows(f"{captured} people, mine") == [(7, 9, "Zoe")]
    assert lake.rows("SELECT * FROM spelled") == [(1,)]
    assert lake.rows('SELECT * FROM "none"') == [(1,)]
    assert lake.rows("SELECT * FROM nested") == [(5,)]
    assert lake.rows('SELECT * FROM "deep.er".inner_one') == [(5,)]
    lake.view("of_its_own", "WITH people AS (SELECT 6 AS id) SELECT id FROM people")
    assert lake.rows("SELECT * FROM of_its_own, people ORDER BY 2 LIMIT 1") == [(6, 1, "Ada")]


def test_a_dot_in_a_name_is_no_level_of_a_namespace(lake: Lake) -> None:
    lake.view("er.dotted", "SELECT 8 AS id", namespace=["deep"])
    assert lake.rows('SELECT * FROM deep."er.dotted"') == [(8,)]
    with pytest.raises(SqlError, match="no table is named"):
        lake.rows('SELECT * FROM "deep.er".dotted')


def test_a_view_sees_no_column_of_what_it_stands_beside(lake: Lake) -> None:
    lake.view("leaning", "SELECT id, other FROM people")
    with (
        lake.database.cursor() as cursor,
        pytest.raises(Exception, match=r'"other" not found|does not have a column'),
    ):
        statement = prepare(
            cursor,
            "SELECT * FROM (SELECT 1 AS other) s, leaning",
            catalog=lake.catalog,
            may=lambda action, table: True,
            as_of={},
            limits=QueryConfig(),
        )
        cursor.execute(statement.sql)


def test_views_lie_in_views_as_deep_as_a_bound_says(lake: Lake) -> None:
    lake.view("v0", "SELECT id FROM people")
    for number in range(1, VIEWS_MAX):
        twice = f"SELECT a.id FROM v{number - 1} a JOIN v{number - 1} b USING (id)"
        lake.view(f"v{number}", twice if number < 6 else f"SELECT id FROM v{number - 1}")
    assert len(lake.rows(f"SELECT * FROM v{VIEWS_MAX - 1}")) == 3
    lake.view("too_deep", f"SELECT id FROM v{VIEWS_MAX - 1}")
    with pytest.raises(ViewRefusedError, match=f"a statement reads {VIEWS_MAX} views at most"):
        lake.rows("SELECT * FROM too_deep")
    with pytest.raises(LakehouseError, match="more than 20 nodes"):
        lake.rows(f"SELECT id FROM v{VIEWS_MAX - 1}", nodes_max=20)


@pytest.mark.parametrize("asked", ["a", "b", "c", "itself"])
def test_a_view_that_reads_itself_is_refused(lake: Lake, asked: str) -> None:
    lake.view("a", "SELECT * FROM b")
    lake.view("b", "SELECT * FROM people JOIN c USING (id)")
    lake.view("c", "SELECT * FROM a")
    lake.view("itself", "SELECT * FROM main.ITSELF")
    with pytest.raises(ViewRefusedError, match="it reads itself: main") as raised:
        lake.rows(f"SELECT * FROM {asked}")
    assert raised.value.detail.count(" reads ") >= (1 if asked == "itself" else 3)


def test_what_a_view_reads_is_allowed_to_who_asks_or_refused(lake: Lake) -> None:
    lake.view("shown", "SELECT * FROM sales.people")
    lake.view("outer_one", "SELECT * FROM shown")

    def may(action: Action, name: TableName) -> bool:
        return name.namespace == "main"

    for sql in ("SELECT * FROM shown", "SELECT * FROM outer_one", "SELECT 1 FROM outer_one, shown"):
        assert lake.rows(sql)
        with pytest.raises(ViewRefusedError, match=r"no table that you may read is named so"):
            lake.rows(sql, may=may)

    def without_view(action: Action, name: TableName) -> bool:
        return name.name != "shown"

    with pytest.raises(SqlError, match="no table is named 'shown'"):
        lake.rows("SELECT * FROM shown", may=without_view)
    with pytest.raises(ViewRefusedError, match=r"it reads 'main\.shown'"):
        lake.rows("SELECT * FROM outer_one", may=without_view)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("DROP TABLE people", "only SELECT runs"),
        ("COPY people TO '/tmp/x'", "only SELECT runs"),
        ("SELECT 1; DROP TABLE people", "only SELECT runs"),
        ("SELECT 1; SELECT 2", "2 statements"),
        ("SELECT 1 AS id) UNION ALL (SELECT 2", "syntax error"),
        ("SELECT * FROM people) AS p, (SELECT 1", "syntax error"),
        ("INSERT INTO people VALUES (1)", "only SELECT runs"),
        ("ATTACH 'x.db'", "only SELECT runs"),
        ("EXPLAIN SELECT 1", "only SELECT runs"),
        ("DESCRIBE people", "a view is a SELECT"),
        ("SHOW TABLES", "a view is a SELECT"),
        ("SUMMARIZE people", "a view is a SELECT"),
        ("SELECT * FROM (DESCRIBE people)", "a view is a SELECT"),
        ("SELECT * FROM read_parquet('/etc/passwd')", "read_parquet"),
        ("SELECT * FROM '/etc/passwd'", "no table that you may read"),
        ("SELECT * FROM other.main.people", "no table is named"),
        ("SELECT * FROM duckdb_secrets()", "duckdb_secrets"),
        ("SELECT getenv('HOME')", "getenv"),
        ("SELECT * FROM people WHERE id = ?", "no parameters"),
        ("SELECT * FROM people WHERE id = $name", "no parameters"),
        ("SELECT * FROM lakehouse.audit", "a view reads tables and views"),
        ("SELECT * FROM information_schema.tables", "a view reads tables and views"),
        ("SELECT * FROM found", "no table that you may read"),
        ("SELECT * FROM lakehouse_view_of_1", "no table that you may read"),
        ("WITH lakehouse_view_of_1 AS (SELECT 1) SELECT * FROM lakehouse_view_of_1", "name of a"),
        ("SELECT * FROM missing", "it reads 'main.missing'"),
        ("not SQL at all", "syntax error"),
        ("SELECT 1\0", "NUL"),
        ("   ", "is empty"),
    ],
)
def test_a_text_that_is_no_plain_select_is_refused(lake: Lake, text: str, words: str) -> None:
    lake.view("evil", text)
    with (
        lake.database.cursor() as cursor,
        pytest.raises(ViewRefusedError, match=words) as raised,
    ):
        prepare(
            cursor,
            "SELECT * FROM evil",
            catalog=lake.catalog,
            may=lambda action, table: True,
            as_of={},
            limits=QueryConfig(),
            logs={"lakehouse.audit": lambda: None, ".found": lambda: None},  # type: ignore[dict-item, return-value]
        )
    assert "main.evil" in raised.value.detail
    assert lake.rows("SELECT count(*) FROM people") == [(3,)]


def test_a_name_in_a_view_never_becomes_sql(lake: Lake) -> None:
    lake.view("evil", """SELECT "1; COPY people TO '/tmp/x' --".* FROM people""")
    with pytest.raises(EngineError, match="Referenced table"):
        lake.rows("SELECT * FROM evil")


def test_a_view_of_another_dialect_says_which_it_has(lake: Lake) -> None:
    lake.view("theirs", "SELECT `id` FROM people", dialect="Spark")
    with pytest.raises(ViewRefusedError, match="no SQL in the dialect duckdb; its dialects: spark"):
        lake.rows("SELECT * FROM theirs")


def test_a_view_has_no_past_and_its_tables_have(lake: Lake) -> None:
    lake.view("now", "SELECT count(*) AS n FROM people")
    first = lake.catalog.snapshots(PEOPLE)[0].snapshot_id
    with lake.database.cursor() as cursor:
        rows = Rows("SELECT 4 AS id, 'Di' AS name", COLUMNS)
        lake.catalog.loading.write(cursor, PEOPLE, rows, mode="append")
    assert lake.rows("SELECT * FROM now") == [(4,)]
    assert lake.rows("SELECT * FROM now", as_of={"people": first}) == [(3,)]
    for asked in ("now", "main.NOW"):
        with pytest.raises(ViewRefusedError, match="it has no snapshots"):
            lake.rows("SELECT * FROM now", as_of={asked: first})
    with pytest.raises(ViewRefusedError, match="it has no snapshots"):
        lake.rows(f"SELECT * FROM now AT (VERSION => {first})")
    lake.view("then", f"SELECT count(*) AS n FROM people AT (VERSION => {first})")
    assert lake.rows('SELECT * FROM "then"') == [(3,)]


def test_views_are_described_explained_and_listed(lake: Lake) -> None:
    lake.view("grown", "SELECT id, name FROM people")
    described = lake.rows("DESCRIBE grown")
    assert [row[:2] for row in described] == [("id", "BIGINT"), ("name", "VARCHAR")]
    assert len(lake.rows("SUMMARIZE grown")) == 2
    assert len(lake.rows("SELECT * FROM (DESCRIBE SELECT * FROM grown), grown LIMIT 4")) == 4
    assert "lakehouse" not in str(lake.rows("EXPLAIN SELECT * FROM grown"))
    sql = "SELECT table_name, table_type FROM information_schema.tables WHERE table_schema = 'main'"
    assert lake.rows(f"{sql} ORDER BY 1") == [("grown", "VIEW"), ("people", "BASE TABLE")]
    sql = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'grown'"
    assert lake.rows(sql) == [("id", "BIGINT"), ("name", "VARCHAR")]
    assert ("grown",) in lake.rows("SHOW TABLES")
    with pytest.raises(SqlError, match="did you mean grown"):
        lake.rows("SELECT * FROM grwn")


def test_what_was_a_table_and_is_a_view_is_read_as_that(lake: Lake) -> None:
    name = TableName("main", "changing")
    for _ in range(2):
        lake.table(name, "SELECT 1 AS id, 'table' AS name")
        assert lake.rows("SELECT name FROM changing") == [("table",)]
        lake.catalog.purge(name)
        lake.view("changing", "SELECT 'view' AS name")
        assert lake.rows("SELECT name FROM changing") == [("view",)]
        lake.catalog.views.drop(name)
