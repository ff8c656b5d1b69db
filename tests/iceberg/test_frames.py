"""Daft and Polars, unmodified: they and we write the same tables in turns, and read the same rows.

All of it with the warehouse on this host's disk, and in a bucket of a real S3 server.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import httpx
import pytest

from tests.engines import environment_of
from tests.iceberg.conftest import BOTH, Store, load
from tests.iceberg.engines import attached
from tests.services import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("store", BOTH, indirect=True)]
DRIVER = Path(__file__).parent / "frames_driver.py"
Engine: TypeAlias = Callable[..., Any]


@pytest.fixture(params=["daft", "polars"])
def engine(
    request: pytest.FixtureRequest, server: ServerProcess, store: Store, tmp_path: Path
) -> Iterator[Engine]:
    """What asks the engine and returns its answer."""
    python = sys.executable
    if request.param == "daft":
        python = str(environment_of("daft") / "python")
    said = {"uri": f"{server.url}/iceberg", "auth": {"type": "noop"}, **store.pyiceberg}
    command = [python, str(DRIVER), request.param, json.dumps(said)]
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None
        asks, answers = process.stdin, process.stdout

        def ask(**asked: Any) -> Any:
            asks.write(json.dumps(asked) + "\n")
            asks.flush()
            for line in answers:
                kind, _, text = line.partition(" ")
                if kind == "answer":
                    answer = json.loads(text)
                    assert "error" not in answer, answer["error"]
                    return answer["said"]
            raise AssertionError(f"the engine is gone: {log.read_text()[-2000:]}")

        yield ask
        asks.close()
        process.wait(20)


def test_frames_and_we_write_one_table_in_turns(
    client: httpx.Client,
    engine: Engine,
    server: ServerProcess,
    store: Store,
    request: pytest.FixtureRequest,
) -> None:
    client.timeout = httpx.Timeout(60)
    name = f"turns_{request.node.callspec.params['engine']}"

    def write(mode: str, schema: dict[str, str] | None = None, **columns: list[Any]) -> None:
        more = {"schema": schema} if schema else {}
        engine(table=f"main.{name}", mode=mode, columns=columns, **more)

    def both(column: str = "id", least: int = 0) -> list[int]:
        """Return rows and the sum of a column, which both sides have the same."""
        sql = f"SELECT count(*), sum({column}) FROM {name} WHERE id >= {least}"
        answer = client.post("/v1/sql", json={"sql": sql})
        assert answer.status_code == 200, answer.text
        ours = [int(each) for each in answer.json()["rows"][0]]
        assert engine(table=f"main.{name}", column=column, least=least) == ours
        return ours

    ids = list(range(1000))
    words = [f"n{number}" for number in ids]
    write("append", {"id": "int64", "name": "string"}, id=ids, name=words)
    assert both() == [1000, 499500]
    load(client, name, b'{"id":5000,"name":"ours"}\n')
    assert both(least=900) == [101, 94950 + 5000]
    gone = client.post(f"/v1/tables/{name}/delete", json={"where": "id < 10"})
    assert gone.status_code == 200, gone.text
    assert both() == [991, 504500 - 45]

    query = {"name": name, "format": "ndjson", "mode": "append", "evolve": "true"}
    wider = b'{"id":6002,"name":"w","size":3}'
    client.post("/v1/ingest", params=query, content=wider).raise_for_status()
    write("append", id=[6000, 6001], name=["x", None], size=[7, None])
    assert both("size", 6000) == [3, 10]

    with duckdb.connect() as other:  # it leaves deletes beside the data
        attached(other, server, "AUTHORIZATION_TYPE 'none', ACCESS_DELEGATION_MODE 'none'")
        other.execute(store.duckdb)
        other.execute(f"DELETE FROM lake.main.{name} WHERE id % 2 = 1")
    assert both() == [495 + 3, 249480 + 5000 + 6000 + 6002]

    write("overwrite", id=[1, 2, 3], name=["a", "b", "c"], size=[1, 1, 1])
    assert both("size") == [3, 3]
