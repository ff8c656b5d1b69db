"""Apache Spark, unmodified: it and we write the same tables in turns, and read the same rows.

All of it with the warehouse on this host's disk, and in a bucket of a real S3 server.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyiceberg.exceptions import CommitFailedException

from tests.iceberg.conftest import BOTH, PLACE, Store, catalog, load
from tests.iceberg.spark import Spark, SparkError, spark_on
from tests.services import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("store", BOTH, indirect=True)]
RACE_S = 120 if os.environ.get("LAKEHOUSE_TEST_LONG") else 10
PAUSE_S = 0.2
"""Between two of our appends, which take 10 ms: an engine that tries again would find no gap."""
COMMITS_MIN = 50 if os.environ.get("LAKEHOUSE_TEST_LONG") else 5


@pytest.fixture(scope="module")
def spark(server: ServerProcess, store: Store) -> Iterator[Spark]:
    with spark_on(server, **store.spark) as spark:
        yield spark


@pytest.fixture(autouse=True)
def _waits(client: httpx.Client) -> None:
    client.timeout = httpx.Timeout(60)


def ours(client: httpx.Client, sql: str) -> list[list[Any]]:
    answer = client.post("/v1/sql", json={"sql": sql.replace("lake.", "")})
    assert answer.status_code == 200, answer.text
    return [[int(each or 0) for each in row] for row in answer.json()["rows"]]


def both(client: httpx.Client, spark: Spark, table: str) -> list[int]:
    """Return rows and the sum of their ids, which both sides have the same."""
    sql = f"SELECT count(*), sum(id) FROM lake.main.{table}"
    (theirs,) = spark(sql)
    assert ours(client, sql) == [[each or 0 for each in theirs]]
    return [each or 0 for each in theirs]


def change(client: httpx.Client, path: str, body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_table_of_spark_is_written_in_turns(client: httpx.Client, spark: Spark) -> None:
    spark(
        "CREATE TABLE lake.main.turns (id BIGINT NOT NULL, name STRING, at TIMESTAMP)"
        " USING iceberg PARTITIONED BY (bucket(4, id))"
    )
    spark("INSERT INTO lake.main.turns SELECT id, 'n', current_timestamp() FROM range(1000)")
    assert both(client, spark, "turns") == [1000, 499500]
    spark("DELETE FROM lake.main.turns WHERE id >= 500")
    assert both(client, spark, "turns") == [500, 124750]
    load(client, "turns", b'{"id":5000,"name":"ours","at":"2024-01-01T00:00:00Z"}\n')
    assert both(client, spark, "turns") == [501, 129750]
    spark(
        "MERGE INTO lake.main.turns t"
        " USING (SELECT * FROM VALUES (100L, 'm'), (9000L, 'new') AS s(id, name)) s"
        " ON t.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name"
        " WHEN NOT MATCHED THEN INSERT (id, name, at) VALUES (s.id, s.name, NULL)"
    )
    assert both(client, spark, "turns") == [502, 138750]
    assert ours(client, "SELECT count(*) FROM lake.main.turns WHERE name = 'm'") == [[1]]
    change(client, "/v1/tables/turns/update", {"set": {"name": "'u'"}, "where": "id < 50"})
    change(client, "/v1/tables/turns/delete", {"where": "id BETWEEN 400 AND 499"})
    assert both(client, spark, "turns") == [402, 138750 - 44950]
    named = "SELECT count(*) FROM lake.main.turns WHERE name = 'u'"
    assert spark(named) == ours(client, named) == [[50]]


def test_columns_and_partitions_that_spark_changes_are_changed_here(
    client: httpx.Client, spark: Spark
) -> None:
    spark("CREATE TABLE lake.main.evolved (id BIGINT, `a name` STRING, day DATE) USING iceberg")
    spark("INSERT INTO lake.main.evolved SELECT id, 'x', DATE '2024-01-01' FROM range(100)")
    spark("ALTER TABLE lake.main.evolved ADD COLUMN more STRUCT<x: INT, y: ARRAY<STRING>>")
    spark("ALTER TABLE lake.main.evolved RENAME COLUMN `a name` TO word")
    spark("ALTER TABLE lake.main.evolved ADD PARTITION FIELD days(day)")
    spark("ALTER TABLE lake.main.evolved WRITE ORDERED BY id")
    spark(
        "INSERT INTO lake.main.evolved VALUES"
        " (1000, 'y', DATE '2024-02-01', named_struct('x', 7, 'y', array('p', 'q')))"
    )
    load(client, "evolved", b'{"id":2000,"word":"z","day":"2024-03-01"}\n')
    assert both(client, spark, "evolved") == [102, 4950 + 3000]
    words = "SELECT count(DISTINCT word), count(more.x) FROM lake.main.evolved"
    assert spark(words) == ours(client, words) == [[3, 1]]
    spark("ALTER TABLE lake.main.evolved DROP COLUMN more")
    spark("ALTER TABLE lake.main.evolved DROP PARTITION FIELD days(day)")
    spark("INSERT INTO lake.main.evolved VALUES (3000, 'w', NULL)")
    assert both(client, spark, "evolved") == [103, 4950 + 6000]


@pytest.mark.parametrize("others", ["", ", days(day)"])
def test_a_partition_that_spark_drops_from_an_old_table_is_void_and_all_goes_on(
    client: httpx.Client, spark: Spark, others: str
) -> None:
    """Format version 1 keeps a dropped field as `void`, also when the table becomes version 2."""
    table = f"void_{len(others)}"
    spark(
        f"CREATE TABLE lake.main.{table} (id BIGINT, g STRING NOT NULL, day DATE) USING iceberg"
        f" PARTITIONED BY (g{others}) TBLPROPERTIES ('format-version'='1')"
    )
    rows = "SELECT id + {}, CAST(id % 2 AS STRING), DATE '2024-01-01' FROM range(10)"
    spark(f"INSERT INTO lake.main.{table} {rows.format(0)}")
    spark(f"ALTER TABLE lake.main.{table} DROP PARTITION FIELD g")
    spark(f"INSERT INTO lake.main.{table} {rows.format(10)}")
    assert both(client, spark, table) == [20, 190]
    spark(f"ALTER TABLE lake.main.{table} SET TBLPROPERTIES ('format-version'='2')")
    for number in range(20, 23):
        row = f'{{"id":{number},"g":"ours","day":"2024-01-02"}}\n'
        load(client, table, row.encode())
    assert both(client, spark, table) == [23, 253]
    spark(f"INSERT INTO lake.main.{table} {rows.format(30)}")
    change(client, f"/v1/tables/{table}/delete", {"where": "id IN (0, 10, 20)"})
    spark(f"DELETE FROM lake.main.{table} WHERE id IN (1, 11, 21)")
    assert both(client, spark, table) == [27, 253 + 345 - 63]
    change(client, "/v1/maintenance/run", {"table": table})
    assert both(client, spark, table) == [27, 253 + 345 - 63]
    for where in ("g = 'ours'", "day = DATE '2024-01-02'", "g = '0' AND id > 5"):
        counted = f"SELECT count(*) FROM lake.main.{table} WHERE {where}"
        assert spark(counted) == ours(client, counted)
    spark(f"CALL lake.system.rewrite_manifests('main.{table}')")
    spark(f"ALTER TABLE lake.main.{table} ADD PARTITION FIELD bucket(2, id)")
    load(client, table, b'{"id":99,"g":"ours"}\n')
    assert both(client, spark, table) == [28, 253 + 345 - 63 + 99]


def test_deletes_beside_the_data_are_read_and_folded(client: httpx.Client, spark: Spark) -> None:
    spark(
        "CREATE TABLE lake.main.merging (id BIGINT) USING iceberg TBLPROPERTIES"
        " ('write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read')"
    )
    for number in range(3):
        first = number * 1000
        spark(f"INSERT INTO lake.main.merging SELECT id + {first} FROM range(1000)")
        spark(f"DELETE FROM lake.main.merging WHERE id % 10 = {number}")
    before = both(client, spark, "merging")
    metadata = client.get(f"{PLACE}/namespaces/main/tables/merging").json()["metadata"]
    assert int(metadata["snapshots"][-1]["summary"]["total-delete-files"]) > 0
    assert client.get("/v1/tables/merging").json()["row_count"] == before[0]
    load(client, "merging", b'{"id":7}\n')
    change(client, "/v1/tables/merging/delete", {"where": "id = 3"})
    after = both(client, spark, "merging")
    change(client, "/v1/maintenance/run", {"table": "merging"})
    assert both(client, spark, "merging") == after == [before[0], before[1] + 4]
    spark("DELETE FROM lake.main.merging WHERE id = 7")
    both(client, spark, "merging")


def test_deletion_vectors_are_read_and_who_cannot_write_them_says_so(
    client: httpx.Client, spark: Spark
) -> None:
    spark(
        "CREATE TABLE lake.main.vectors_of (id BIGINT) USING iceberg TBLPROPERTIES"
        " ('format-version'='3', 'write.delete.mode'='merge-on-read')"
    )
    spark("INSERT INTO lake.main.vectors_of SELECT id FROM range(1000)")
    spark("DELETE FROM lake.main.vectors_of WHERE id % 3 = 0")
    spark("INSERT INTO lake.main.vectors_of SELECT id + 1000 FROM range(1000)")
    spark("DELETE FROM lake.main.vectors_of WHERE id % 7 = 0")
    formats = spark("SELECT DISTINCT file_format FROM lake.main.vectors_of.delete_files")
    assert formats == [["PUFFIN"]]
    left = [n for n in range(2000) if n % 7 and (n % 3 or n >= 1000)]
    assert both(client, spark, "vectors_of") == [len(left), sum(left)]
    for path, body in (
        ("/v1/tables/vectors_of/delete", {"where": "id = 1"}),
        ("/v1/tables/vectors_of/rows", {"rows": [{"id": 1}]}),
    ):
        answer = client.post(path, json=body)
        assert (answer.status_code, "version 3" in answer.text) == (422, True), answer.text
    change(client, "/v1/maintenance/run", {"table": "vectors_of"})
    assert both(client, spark, "vectors_of") == [len(left), sum(left)]


def test_a_file_of_vectors_stays_while_one_of_its_manifests_does(
    client: httpx.Client, spark: Spark
) -> None:
    """One file has the vectors of two partition specs; each spec has a manifest that names it."""
    spark(
        "CREATE TABLE lake.main.shared (id BIGINT) USING iceberg TBLPROPERTIES"
        " ('format-version'='3', 'write.delete.mode'='merge-on-read',"
        " 'history.expire.max-snapshot-age-ms'='1', 'history.expire.min-snapshots-to-keep'='1')"
    )
    spark("INSERT INTO lake.main.shared SELECT id FROM range(1000)")
    spark("ALTER TABLE lake.main.shared ADD PARTITION FIELD truncate(100000, id)")
    spark("INSERT INTO lake.main.shared SELECT id + 1000 FROM range(1000)")
    spark("DELETE FROM lake.main.shared WHERE id % 10 = 0")
    named = "SELECT DISTINCT file_path FROM lake.main.shared.delete_files"
    (together,) = spark(named)
    change(client, "/v1/maintenance/run", {"table": "shared"})
    spark("DELETE FROM lake.main.shared WHERE id = 1005")
    assert together in spark(named)
    before = both(client, spark, "shared")
    change(client, "/v1/maintenance/run", {"table": "shared"})
    assert len(spark("SELECT * FROM lake.main.shared.snapshots")) == 1
    assert both(client, spark, "shared") == before == [1799, before[1]]


def test_names_that_java_escapes_in_its_way_are_those_tables(
    client: httpx.Client, spark: Spark
) -> None:
    for number, name in enumerate(("x y", "x+y", "x%y", "é")):
        spark(f"CREATE TABLE lake.main.`{name}` (id BIGINT) USING iceberg")
        spark(f"INSERT INTO lake.main.`{name}` VALUES ({number})")
        assert ours(client, f'SELECT id FROM "{name}"') == [[number]]
    spark("DROP TABLE lake.main.`x y`")
    assert ours(client, 'SELECT id FROM "x+y"') == [[1]]
    spark("CREATE NAMESPACE lake.`n s`")
    spark("CREATE TABLE lake.`n s`.z USING iceberg AS SELECT 5L AS id")
    assert ours(client, 'SELECT id FROM "n s".z') == [[5]]


def test_rows_that_spark_wrote_are_erased(client: httpx.Client, spark: Spark) -> None:
    spark("CREATE TABLE lake.main.erased (id BIGINT, g STRING) USING iceberg PARTITIONED BY (g)")
    spark("INSERT INTO lake.main.erased VALUES (1, 'x'), (2, 'y')")
    said = change(client, "/v1/tables/erased/delete", {"where": "id = 2", "erase": True})
    assert (said["deleted_rows"], said["deleted_files"] > 0) == (1, True)
    assert both(client, spark, "erased") == [1, 1]


def test_spark_compacts_what_we_wrote_and_travels_in_time(
    client: httpx.Client, spark: Spark
) -> None:
    for number in range(8):
        load(client, "small", f'{{"id":{number}}}\n'.encode())
    first = spark("SELECT min(snapshot_id) FROM lake.main.small.snapshots WHERE parent_id IS NULL")
    spark("CALL lake.system.rewrite_data_files(table => 'main.small', options => map("
          "'min-input-files', '2'))")  # fmt: skip
    files = spark("SELECT count(*) FROM lake.main.small.files")
    assert files == [[1]]
    assert both(client, spark, "small") == [8, 28]
    then = f"SELECT count(*) FROM lake.main.small VERSION AS OF {first[0][0]}"
    assert spark(then) == [[1]]
    spark(f"CALL lake.system.rollback_to_snapshot('main.small', {first[0][0]})")
    assert both(client, spark, "small") == [1, 0]
    spark("ALTER TABLE lake.main.small CREATE BRANCH aside")
    spark("INSERT INTO lake.main.small.branch_aside VALUES (99)")
    assert both(client, spark, "small") == [1, 0]
    assert ours(client, "SELECT count(*) FROM small AT (VERSION => 'aside')") == [[2]]
    spark("CALL lake.system.expire_snapshots(table => 'main.small', retain_last => 1)")
    assert both(client, spark, "small") == [1, 0]


def test_spark_replaces_a_table_in_one_commit(client: httpx.Client, spark: Spark) -> None:
    load(client, "replaced", b'{"id":1,"name":"old"}\n')
    spark("CREATE OR REPLACE TABLE lake.main.replaced USING iceberg AS SELECT id FROM range(5)")
    assert both(client, spark, "replaced") == [5, 10]
    words = "SELECT CAST(id AS STRING) AS id, id AS more FROM range(3)"  # `id` keeps its id
    spark(f"CREATE OR REPLACE TABLE lake.main.replaced USING iceberg AS {words}")
    spark("ALTER TABLE lake.main.replaced ADD COLUMN last INT")
    load(client, "replaced", b'{"id":"x","more":3,"last":1}\n')
    found = "SELECT count(*), sum(more), sum(last) FROM lake.main.replaced"
    assert spark(found) == ours(client, found) == [[4, 6, 1]]
    with pytest.raises(SparkError):
        spark("ALTER TABLE lake.main.replaced ALTER COLUMN more TYPE STRING")
    spark("DROP TABLE lake.main.replaced")
    assert client.get("/v1/tables/replaced").status_code == 404
    with pytest.raises(SparkError, match="TABLE_OR_VIEW_NOT_FOUND"):
        spark("SELECT * FROM lake.main.replaced")


def test_a_view_of_spark_is_told_by_its_dialect(client: httpx.Client, spark: Spark) -> None:
    load(client, "viewed", b'{"id":1}\n{"id":2}\n')
    spark("CREATE VIEW lake.main.of_spark AS SELECT id FROM lake.main.viewed WHERE id > 1")
    assert spark("SELECT id FROM lake.main.of_spark") == [[2]]
    answer = client.post("/v1/sql", json={"sql": "SELECT * FROM of_spark"})
    assert (answer.status_code, "spark" in answer.json()["detail"]) == (400, True)
    spark("DROP VIEW lake.main.of_spark")


def test_three_writers_at_once_lose_no_row(
    client: httpx.Client, spark: Spark, server: ServerProcess, store: Store
) -> None:
    spark(
        "CREATE TABLE lake.main.raced (id BIGINT) USING iceberg"
        " TBLPROPERTIES ('commit.retry.num-retries'='50', 'commit.retry.max-wait-ms'='500')"
    )
    until = time.monotonic() + RACE_S

    def by_spark() -> int:
        return counted(lambda: spark("INSERT INTO lake.main.raced VALUES (1)"), SparkError)

    def by_pyiceberg() -> int:
        table = catalog(server, **store.pyiceberg).load_table("main.raced")
        rows = pa.table({"id": pa.array([1], pa.int64())})

        def append() -> None:
            table.refresh()
            table.append(rows)

        return counted(append, CommitFailedException)

    def by_us() -> int:
        with httpx.Client(base_url=server.url, timeout=60) as ours:

            def append() -> None:
                query = {"name": "raced", "format": "ndjson", "mode": "append"}
                # Without a key the same content after itself adds nothing.
                key = {"Idempotency-Key": str(uuid.uuid4())}
                answer = ours.post("/v1/ingest", params=query, content=b'{"id":1}', headers=key)
                answer.raise_for_status()
                time.sleep(PAUSE_S)

            return counted(append, httpx.HTTPStatusError)

    def counted(work: Callable[[], object], refused: type[Exception]) -> int:
        """Return how many times `work` was done; what was refused was not."""
        done = 0
        while (now := time.monotonic()) < until or (done < COMMITS_MIN and now < until + RACE_S):
            try:
                work()
                done += 1
            except refused:
                continue
        return done

    with ThreadPoolExecutor(3) as threads:
        futures = [threads.submit(each) for each in (by_spark, by_pyiceberg, by_us)]
        counts = [each.result() for each in futures]
    assert min(counts) >= COMMITS_MIN
    assert both(client, spark, "raced") == [sum(counts)] * 2
    table = catalog(server, **store.pyiceberg).load_table("main.raced")
    assert table.scan().to_arrow().num_rows == sum(counts)
