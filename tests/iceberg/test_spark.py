"""Apache Spark, unmodified, reads and writes the tables that we ingest into and query."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.iceberg.conftest import load
from tests.iceberg.spark import Spark, spark_on
from tests.services import ServerProcess

pytestmark = pytest.mark.slow

SUMS = (
    "SELECT count(*) AS n, CAST(coalesce(sum(id), 0) AS BIGINT) AS s, count(name) AS named FROM {}"
)


@pytest.fixture(scope="module")
def spark(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spark]:
    with spark_on(server.url, tmp_path_factory.mktemp("spark")) as spark:
        yield spark


def ours(client: httpx.Client, statement: str) -> list[list[Any]]:
    answer = client.post("/v1/sql", json={"sql": statement})
    assert answer.status_code == 200, answer.text
    rows: list[list[Any]] = answer.json()["rows"]
    return rows


def both(client: httpx.Client, spark: Spark, table: str) -> list[Any]:
    """Return the sums of a table, which both sides see as the same."""
    (mine,) = ours(client, SUMS.format(table))
    assert spark.row(SUMS.format(f"lake.main.{table}")) == mine
    return mine


def test_each_side_sees_what_the_other_has_done(client: httpx.Client, spark: Spark) -> None:
    spark.sql("CREATE TABLE lake.main.shared (id BIGINT, name STRING)")
    assert both(client, spark, "shared") == [0, 0, 0]
    spark.sql("INSERT INTO lake.main.shared VALUES (1, 'Ada'), (2, 'Bo')")
    assert both(client, spark, "shared") == [2, 3, 2]
    load(client, "shared", b'{"id":3,"name":"Cy"}\n{"id":4,"name":null}\n')
    assert both(client, spark, "shared") == [4, 10, 3]
    spark.sql("DELETE FROM lake.main.shared WHERE id = 1")
    assert both(client, spark, "shared") == [3, 9, 2]
    spark.sql(
        "MERGE INTO lake.main.shared t USING (SELECT * FROM VALUES (3, 'Cyd'), (7, 'Di')"
        " AS v(id, name)) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name"
        " WHEN NOT MATCHED THEN INSERT *"
    )
    assert both(client, spark, "shared") == [4, 16, 3]
    answer = client.post("/v1/tables/main.shared/delete", json={"where": "id = 7"})
    assert answer.status_code == 200, answer.text
    assert both(client, spark, "shared") == [3, 9, 2]
    assert ours(client, "SELECT name FROM shared WHERE id = 3") == [["Cyd"]]


def test_a_changed_schema_is_the_same_on_both_sides(client: httpx.Client, spark: Spark) -> None:
    load(client, "changing")
    spark.sql("ALTER TABLE lake.main.changing ADD COLUMN age INT")
    spark.sql("ALTER TABLE lake.main.changing RENAME COLUMN name TO called")
    spark.sql("INSERT INTO lake.main.changing VALUES (3, 'Cy', 40)")
    ask = "SELECT id, called, age FROM {} ORDER BY id"
    rows = [[1, "Ada", None], [2, "Bo", None], [3, "Cy", 40]]
    assert ours(client, ask.format("changing")) == rows
    assert spark.sql(ask.format("lake.main.changing")) == rows
    spark.sql("ALTER TABLE lake.main.changing DROP COLUMN age")
    assert ours(client, "SELECT * FROM changing ORDER BY id")[2] == [3, "Cy"]


def test_small_files_of_ours_are_put_together_by_spark(client: httpx.Client, spark: Spark) -> None:
    for number in range(6):
        load(client, "small", b'{"id":%d,"name":"x"}' % number)
    snapshot = spark.row("SELECT max(snapshot_id) FROM lake.main.small.snapshots")[0]
    before = both(client, spark, "small")
    rewritten = spark.row(
        "CALL lake.system.rewrite_data_files(table => 'main.small',"
        " options => map('min-input-files', '2'))"
    )
    assert rewritten[:2] == [6, 1]
    assert both(client, spark, "small") == before == [6, 15, 6]
    load(client, "small", b'{"id":100,"name":"y"}')
    assert both(client, spark, "small") == [7, 115, 7]
    then = spark.row(f"SELECT count(*) FROM lake.main.small VERSION AS OF {snapshot}")
    assert then[0] <= 6


def test_deletes_by_position_of_spark_hold_here(client: httpx.Client, spark: Spark) -> None:
    load(client, "marked", b"".join(b'{"id":%d,"name":"x"}\n' % each for each in range(100)))
    spark.sql(
        "ALTER TABLE lake.main.marked SET TBLPROPERTIES"
        " ('write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read')"
    )
    spark.sql("DELETE FROM lake.main.marked WHERE id % 10 = 3")
    assert both(client, spark, "marked") == [90, 4950 - 480, 90]
    spark.sql("UPDATE lake.main.marked SET name = NULL WHERE id < 10")
    assert both(client, spark, "marked") == [90, 4950 - 480, 81]
    load(client, "marked", b'{"id":3,"name":"again"}')
    assert both(client, spark, "marked") == [91, 4950 - 477, 82]
