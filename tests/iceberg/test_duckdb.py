"""DuckDB, as its users attach a catalog: what it writes we read, and what we write it reads."""

from collections.abc import Iterator
from typing import Any

import duckdb
import httpx
import pytest

from tests.iceberg.conftest import BOTH, PLACE, Store, load
from tests.iceberg.engines import attached
from tests.services import ServerProcess

pytestmark = pytest.mark.parametrize("store", BOTH, indirect=True)


@pytest.fixture
def engine(server: ServerProcess, store: Store) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as engine:
        attached(engine, server, "AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none'")
        engine.execute(store.duckdb)
        yield engine


def ours(client: httpx.Client, sql: str) -> list[int]:
    answer = client.post("/v1/sql", json={"sql": sql.replace("lake.", "")})
    return [int(each) for each in answer.raise_for_status().json()["rows"][0]]


def both(client: httpx.Client, engine: duckdb.DuckDBPyConnection, table: str) -> list[int]:
    """Return rows and the sum of their ids, which are the same on both sides."""
    sql = f"SELECT count(*), sum(id) FROM lake.{table}"
    theirs = [int(each) for each in engine.execute(sql).fetchall()[0]]
    assert ours(client, sql) == theirs
    return theirs


def done(client: httpx.Client, path: str, body: Any) -> Any:
    answer = client.post(path, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_both_write_one_table_in_turns(
    client: httpx.Client, engine: duckdb.DuckDBPyConnection
) -> None:
    engine.execute("CREATE TABLE lake.main.turns (id BIGINT, name VARCHAR, ts TIMESTAMP)")
    engine.execute("INSERT INTO lake.main.turns SELECT i, 'n' || i, now() FROM range(1000) r(i)")
    assert both(client, engine, "main.turns") == [1000, 499500]
    engine.execute("DELETE FROM lake.main.turns WHERE id >= 500")
    assert both(client, engine, "main.turns") == [500, 124750]
    assert client.get("/v1/tables/turns").json()["row_count"] == 500
    done(client, "/v1/tables/turns/delete", {"where": "id < 100"})
    assert both(client, engine, "main.turns") == [400, 119800]
    engine.execute("UPDATE lake.main.turns SET name = 'theirs' WHERE id BETWEEN 300 AND 310")
    done(client, "/v1/tables/turns/update", {"set": {"name": "'ours'"}, "where": "id = 305"})
    named = "SELECT count(*) FROM lake.main.turns WHERE name = 'theirs'"
    assert ours(client, named) == [10]
    assert engine.execute(named).fetchall() == [(10,)]
    load(client, "turns", b'{"id":5000,"name":"x","ts":"2024-01-01 00:00:00"}\n')
    engine.execute(
        "MERGE INTO lake.main.turns t USING (VALUES (100, 'm'), (9000, 'new')) s(id, name)"
        " ON t.id = s.id WHEN MATCHED THEN UPDATE SET name = s.name"
        " WHEN NOT MATCHED THEN INSERT (id, name) VALUES (s.id, s.name)"
    )
    assert both(client, engine, "main.turns") == [402, 133800]


def test_our_maintenance_folds_its_deletes_and_brings_no_row_back(
    client: httpx.Client, engine: duckdb.DuckDBPyConnection
) -> None:
    engine.execute("CREATE TABLE lake.main.folded AS SELECT i AS id FROM range(1000) r(i)")
    for number in range(6):
        engine.execute(f"INSERT INTO lake.main.folded VALUES ({2000 + number})")
        engine.execute(f"DELETE FROM lake.main.folded WHERE id = {number}")
    before = both(client, engine, "main.folded")
    (run,) = [
        each
        for each in done(client, "/v1/maintenance/run", {"table": "folded"})["runs"]
        if each["task"] == "compact"
    ]
    assert (run["outcome"], run["item_count"]) == ("done", 13)
    metadata = client.get(f"{PLACE}/namespaces/main/tables/folded").json()["metadata"]
    summary = metadata["snapshots"][-1]["summary"]
    assert (summary["operation"], summary["total-delete-files"]) == ("replace", "0")
    assert both(client, engine, "main.folded") == before == [1000, 511500]
    engine.execute("DELETE FROM lake.main.folded WHERE id = 2003")
    assert both(client, engine, "main.folded") == [999, before[1] - 2003]


def test_an_upsert_of_new_keys_brings_no_deleted_row_back(
    client: httpx.Client, engine: duckdb.DuckDBPyConnection
) -> None:
    engine.execute("CREATE TABLE lake.main.upserted (id BIGINT, name VARCHAR)")
    engine.execute("INSERT INTO lake.main.upserted SELECT i, 'n' FROM range(10) r(i)")
    engine.execute("DELETE FROM lake.main.upserted WHERE id < 9")
    select = {"sql": "SELECT 100 AS id, 'q' AS name", "mode": "upsert", "key": ["id"]}
    done(client, "/v1/tables/upserted/from-query", select)
    assert both(client, engine, "main.upserted") == [2, 109]
    query = {"name": "upserted", "format": "ndjson", "mode": "upsert", "key": "id"}
    loaded = client.post("/v1/ingest", params=query, content=b'{"id":200,"name":"i"}')
    assert loaded.is_success, loaded.text
    assert both(client, engine, "main.upserted") == [3, 309]
    loaded = client.post("/v1/ingest", params=query, content=b'{"id":9,"name":"ours"}')
    assert loaded.is_success, loaded.text
    assert both(client, engine, "main.upserted") == [3, 309]
    again = client.post("/v1/ingest", params=query, content=b'{"id":0,"name":"again"}')
    assert again.is_success, again.text
    assert both(client, engine, "main.upserted") == [4, 309]


def test_columns_that_it_changes_are_changed_here(
    client: httpx.Client, engine: duckdb.DuckDBPyConnection
) -> None:
    engine.execute(
        "CREATE TABLE lake.main.altered AS SELECT i AS id, i % 7 AS k FROM range(9) t(i)"
    )
    engine.execute("ALTER TABLE lake.main.altered ADD COLUMN extra VARCHAR")
    engine.execute("ALTER TABLE lake.main.altered RENAME COLUMN k TO week")
    load(client, "altered", b'{"id":100,"week":6,"extra":"e"}\n')
    assert both(client, engine, "main.altered") == [10, 136]
    assert ours(client, "SELECT sum(week), count(extra) FROM lake.main.altered") == [28, 1]
    engine.execute("ALTER TABLE lake.main.altered DROP COLUMN extra")
    engine.execute("ALTER TABLE lake.main.altered RENAME TO renamed")
    assert both(client, engine, "main.renamed") == [10, 136]
    engine.execute("DROP TABLE lake.main.renamed")
    assert client.get("/v1/tables/renamed").status_code == 404


def test_its_transactions_over_tables_are_whole(
    client: httpx.Client, engine: duckdb.DuckDBPyConnection
) -> None:
    for name in ("one", "two"):
        engine.execute(f"CREATE TABLE lake.main.{name} AS SELECT i AS id FROM range(5) r(i)")
    engine.execute("BEGIN")
    engine.execute("INSERT INTO lake.main.one VALUES (10)")
    engine.execute("DELETE FROM lake.main.two WHERE id = 4")
    assert ours(client, "SELECT count(*) FROM lake.main.one") == [5]
    engine.execute("COMMIT")
    assert both(client, engine, "main.one") == [6, 20]
    assert both(client, engine, "main.two") == [4, 6]
    engine.execute("BEGIN")
    engine.execute("DELETE FROM lake.main.one")
    engine.execute("ROLLBACK")
    assert both(client, engine, "main.one") == [6, 20]

    engine.execute("BEGIN")
    engine.execute("INSERT INTO lake.main.one VALUES (11)")
    engine.execute("INSERT INTO lake.main.two VALUES (11)")
    load(client, "two", b'{"id":12}\n')  # in between
    with pytest.raises(duckdb.Error):
        engine.execute("COMMIT")
    assert ours(client, "SELECT count(*) FROM lake.main.one") == [6]
    assert ours(client, "SELECT count(*) FROM lake.main.two") == [5]


def test_a_schema_is_a_namespace(client: httpx.Client, engine: duckdb.DuckDBPyConnection) -> None:
    engine.execute("CREATE SCHEMA lake.duck")
    engine.execute("CREATE TABLE lake.duck.t AS SELECT 1 AS id")
    assert both(client, engine, "duck.t") == [1, 1]
    engine.execute("DROP TABLE lake.duck.t")
    engine.execute("DROP SCHEMA lake.duck")
    assert client.head(f"{PLACE}/namespaces/duck").status_code == 404
