"""The 22 queries of TPC-H answer over REST what DuckDB answers over the same rows, for good.

The tables are loaded, changed, compacted and moved; after each the answers are compared.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import httpx
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from lakehouse.cli import lakehouse
from tests.services import lakehouse_server
from tests.tpch.data import PRIMARY_KEYS, TABLES, make_changes, make_tables
from tests.tpch.queries import QUERIES

SCALE = 0.1
KEYS = 4 * 150_000
"""Keys of orders lie below, at this scale."""
LOADS = 6
"""Files that `lineitem` comes in, so that there is something to compact."""
PARQUET = {"Content-Type": "application/vnd.apache.parquet"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="half a minute or more"),
]


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the same rows in its own tables."""
    spill = tmp_path / "spill"  # else it is `.tmp` where the tests were started
    with duckdb.connect(config={"threads": 2, "temp_directory": str(spill)}) as connection:
        make_tables(connection, SCALE)
        yield connection


def test_every_query_answers_as_duckdb_does_after_all_that_happens_to_tables(
    tmp_path: Path, plain: duckdb.DuckDBPyConnection
) -> None:
    data_dir = tmp_path / "data"
    with lakehouse_server(data_dir) as server, client_of(server.url) as client:
        for table in TABLES:
            if table != "lineitem":
                load(client, parquet(plain, f"FROM {table}"), table, "")
        for part in range(LOADS):
            sql = f"FROM lineitem WHERE l_orderkey // {KEYS // LOADS + 1} = {part}"
            load(client, parquet(plain, sql), "lineitem", "append" if part else "")
        compare(client, plain)

        make_changes(plain, SCALE)
        for table, key in PRIMARY_KEYS.items():
            load(client, parquet(plain, f"FROM new_{table}"), table, "upsert", key=key)
        compare(client, plain)

        assert compacted(client) > 1
        compare(client, plain)

    moved = tmp_path / "moved"
    data_dir.rename(moved)
    arguments = ["catalog", "relocate", str(data_dir / "warehouse"), str(moved / "warehouse")]
    done = CliRunner().invoke(lakehouse, [*arguments, "--data", str(moved)])
    assert done.exit_code == 0, done.output
    with lakehouse_server(moved) as server, client_of(server.url) as client:
        compare(client, plain)


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=120)


def load(client: httpx.Client, body: bytes, table: str, mode: str, **more: str) -> None:
    asked = {"name": table, **({"mode": mode} if mode else {}), **more}
    answer = client.post("/v1/ingest", params=asked, content=body, headers=PARQUET)
    assert answer.status_code == 200, answer.text


def parquet(plain: duckdb.DuckDBPyConnection, sql: str) -> bytes:
    """Return the rows of `sql` as a Parquet file."""
    sink = io.BytesIO()
    pa.parquet.write_table(plain.execute(sql).to_arrow_table(), sink)
    return sink.getvalue()


def compacted(client: httpx.Client) -> int:
    """Have `lineitem` compacted, and return of how many files."""
    answer = client.post("/v1/maintenance/run", json={"table": "lineitem"})
    assert answer.status_code == 200, answer.text
    runs = {run["task"]: run for run in answer.json()["runs"]}
    return int(runs["compact"]["item_count"])


def compare(client: httpx.Client, plain: duckdb.DuckDBPyConnection) -> None:
    """Every query has some answer, and the same on both sides: each row, digit and place."""
    for number, sql in QUERIES.items():
        expected = plain.execute(sql).to_arrow_table().to_pylist()
        assert expected, number
        answer = client.post("/v1/sql?format=arrow", json={"sql": sql})
        assert answer.status_code == 200, (number, answer.text)
        assert pa.ipc.open_stream(answer.content).read_all().to_pylist() == expected, number
