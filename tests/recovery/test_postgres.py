"""A lake whose catalog lies in PostgreSQL, from the commands that a person types."""

import os
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

from lakehouse.cli import lakehouse
from tests import postgres
from tests.services import lakehouse_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="ten seconds"),
]


def run(*words: str, uri: str | None = None) -> Result:
    variables = {"LAKEHOUSE_CATALOG__URI": uri}
    return CliRunner().invoke(lakehouse, words, env=variables)


def load(url: str, name: str, rows: str) -> None:
    answer = httpx.post(f"{url}/v1/ingest?name={name}&mode=append", content=rows, timeout=30)
    assert answer.status_code == 200, answer.text


def rows(url: str, name: str) -> list[list[object]]:
    answer = httpx.post(
        f"{url}/v1/sql", json={"sql": f"SELECT * FROM {name} ORDER BY ALL"}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    found: list[list[object]] = answer.json()["rows"]
    return found


def test_a_lake_moves_to_postgres_lives_there_is_lost_and_comes_back(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with lakehouse_server(data) as server:
        load(server.url, "t", "id\n1\n")
    with postgres.schema() as place, postgres.schema() as empty:
        done = run("catalog", "move", "--data", str(data), uri=place.uri)
        assert done.exit_code == 0, done.output
        assert place.uri in done.output

        with lakehouse_server(data, LAKEHOUSE_CATALOG__URI=place.uri) as server:
            load(server.url, "t", "id\n2\n")
            load(server.url, "u", "id\n7\n")
            assert rows(server.url, "t") == [[1], [2]]
            other = tmp_path / "other"
            with pytest.raises(RuntimeError, match="in use by another data directory"):
                lakehouse_server(other, LAKEHOUSE_CATALOG__URI=place.uri).__enter__()
        moved = tmp_path / "moved"
        data.rename(moved)
        places = [str(each / "warehouse") for each in (data, moved)]
        done = run("catalog", "relocate", *places, "--data", str(moved), uri=place.uri)
        assert done.exit_code == 0, done.output
        with lakehouse_server(moved, LAKEHOUSE_CATALOG__URI=place.uri) as server:
            assert rows(server.url, "t") == [[1], [2]]

        # The database is lost. Another one has never heard of these tables.
        with pytest.raises(RuntimeError, match="catalog rebuild"):
            lakehouse_server(moved, LAKEHOUSE_CATALOG__URI=empty.uri).__enter__()
        done = run("catalog", "rebuild", "--data", str(moved), "--apply")
        assert done.exit_code == 0, done.output
        done = run("catalog", "move", "--data", str(moved), uri=empty.uri)
        assert done.exit_code == 0, done.output
        with lakehouse_server(moved, LAKEHOUSE_CATALOG__URI=empty.uri) as server:
            assert rows(server.url, "t") == [[1], [2]]
            assert rows(server.url, "u") == [[7]]


def test_a_server_that_is_away_is_said_and_met_again(tmp_path: Path) -> None:
    postgres.needed()
    with ExitStack() as stack:
        database = stack.enter_context(postgres.running())
        served = lakehouse_server(tmp_path / "data", LAKEHOUSE_CATALOG__URI=database.uri)
        with served as server:
            load(server.url, "t", "id\n1\n")
            database.stop()
            path = "/v1/ingest?name=t&mode=append"
            answer = httpx.post(server.url + path, content="id\n2\n", timeout=30)
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            assert "nothing was changed" in answer.json()["detail"]
            assert "127.0.0.1" not in answer.text
            ready = httpx.get(f"{server.url}/ready", timeout=30)
            assert ready.status_code == 503
            assert not ready.json()["parts"]["state"]["ok"]
            database.start()
            load(server.url, "t", "id\n3\n")
            assert rows(server.url, "t") == [[1], [3]]
            assert httpx.get(f"{server.url}/ready", timeout=30).status_code == 200
