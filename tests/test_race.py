"""What a response acknowledged, the next request sees: the race that broke the Go system.

There, a SELECT right after an ingest failed, because views were refreshed on a timer.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from queue import Queue

import httpx
import pytest

from benchmarks.together import together as at_once
from tests import object_store, postgres
from tests.crash.harness import Server
from tests.crash.rounds import free_port

CLIENTS = 16
ROUNDS = 12


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server, its catalog in a file and in PostgreSQL, its tables in a directory or a bucket."""
    folder = tmp_path_factory.mktemp("race")
    with ExitStack() as stack:
        on_postgres = request.param == "postgres"
        uri = stack.enter_context(postgres.schema()).uri if on_postgres else None
        in_bucket = object_store.IN_BUCKET in os.environ
        storage = object_store.settings(folder) if in_bucket else None
        server = Server(folder / "data", free_port(), uri, storage)
        server.start()
        stack.callback(server.kill)
        yield server.url


def together(work: Callable[[int, httpx.Client], None], url: str, clients: int) -> None:
    """Run `work` in `clients` threads at once, each with a client; raise what any of them did."""
    barrier = threading.Barrier(clients)

    def with_client(number: int) -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            barrier.wait()
            work(number, client)

    at_once(with_client, clients)


def post(client: httpx.Client, path: str, body: object, status: int = 200) -> httpx.Response:
    answer = client.post(path, json=body)
    while answer.status_code == 503:  # a limit of the server: the contract says try again
        answer = client.post(path, json=body)
    assert answer.status_code == status, answer.text
    return answer


def ingest(client: httpx.Client, name: str, csv: str, **params: str) -> httpx.Response:
    while True:
        answer = client.post(
            "/v1/ingest",
            params={"name": name, **params},
            content=csv,
            headers={"Content-Type": "text/csv"},
        )
        if answer.status_code != 503:
            assert answer.status_code == 200, answer.text
            return answer


def value(client: httpx.Client, sql: str) -> object:
    return post(client, "/v1/sql", {"sql": sql}).json()["rows"][0][0]


def columns(*names: str) -> list[dict[str, str]]:
    return [{"name": name, "type": "long"} for name in names]


def test_a_client_sees_its_own_ingest_in_the_next_select(url: str) -> None:
    def work(number: int, client: httpx.Client) -> None:
        name = f"own_{number}"
        for round_ in range(1, ROUNDS + 1):
            rows = "".join(f"{each}\n" for each in range(round_))
            ingest(client, name, "id\n" + rows)
            assert value(client, f"SELECT count(*) FROM {name}") == round_

    together(work, url, CLIENTS)


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
def test_a_client_sees_what_another_one_was_told_is_there(url: str) -> None:
    told: Queue[int] = Queue()
    with httpx.Client(base_url=url) as client:
        post(client, "/v1/tables", {"name": "told", "columns": columns("id")}, 201)

    def work(number: int, client: httpx.Client) -> None:
        for round_ in range(ROUNDS):
            if number % 2:
                id_ = number * 1000 + round_
                post(client, "/v1/tables/told/rows", {"rows": [{"id": id_}]}, 201)
                told.put(id_)
            else:
                id_ = told.get(timeout=60)
                sql = f"SELECT count(*) FROM told WHERE id = {id_}"
                assert value(client, sql) == 1

    together(work, url, CLIENTS)

    with httpx.Client(base_url=url) as client:
        assert value(client, "SELECT count(*) FROM told") == CLIENTS // 2 * ROUNDS


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
def test_a_name_that_is_dropped_and_made_again_never_shows_old_rows(url: str) -> None:
    """Half of the clients make and drop, the others look: a table is whole, or is not there."""

    def work(number: int, client: httpx.Client) -> None:
        mine = f"again_{number // 2}"
        for round_ in range(ROUNDS):
            if number % 2 == 0:
                ingest(client, mine, "n\n" + f"{round_}\n" * 100)
                assert value(client, f"SELECT max(n) FROM {mine}") == round_
                assert client.delete(f"/v1/tables/{mine}").status_code == 204
                gone = client.post("/v1/sql", json={"sql": f"SELECT * FROM {mine}"})
                assert gone.status_code == 400, gone.text
                assert mine in gone.json()["detail"]
            else:
                seen = rows_if_there(client, f"SELECT count(*), min(n), max(n) FROM {mine}")
                assert seen is None or (seen[0] == 100 and seen[1] == seen[2]), seen

    together(work, url, CLIENTS)


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
def test_a_rename_is_seen_at_once_and_nothing_is_lost(url: str) -> None:
    """Half of the clients rename, the others look under both names."""
    with httpx.Client(base_url=url, timeout=60) as client:
        for number in range(CLIENTS // 2):
            ingest(client, f"name_{number}_0", "id\n1\n2\n")

    def work(number: int, client: httpx.Client) -> None:
        mine = f"name_{number // 2}"
        for round_ in range(ROUNDS):
            before, after = f"{mine}_{round_ % 2}", f"{mine}_{(round_ + 1) % 2}"
            if number % 2 == 0:
                post(client, f"/v1/tables/{before}/rename", {"to": after})
                assert value(client, f"SELECT count(*) FROM {after}") == 2
                assert rows_if_there(client, f"SELECT count(*) FROM {before}") is None
            else:
                for name in (before, after):
                    assert rows_if_there(client, f"SELECT count(*) FROM {name}") in (None, [2])

    together(work, url, CLIENTS)


def rows_if_there(client: httpx.Client, sql: str) -> list[int] | None:
    """Return the row of a statement; None when its table is not there."""
    answer = client.post("/v1/sql", json={"sql": sql})
    while answer.status_code == 503:
        answer = client.post("/v1/sql", json={"sql": sql})
    if answer.status_code == 400:
        assert answer.json()["type"] == "/problems/unknown-table", answer.text
        return None
    assert answer.status_code == 200, answer.text
    (row,) = answer.json()["rows"]
    found: list[int] = row
    return found


def test_a_statement_that_runs_while_rows_are_replaced_sees_one_state(url: str) -> None:
    """Each state holds one number in all its rows; a mixture would show two."""
    with httpx.Client(base_url=url, timeout=60) as client:
        ingest(client, "whole", "n\n" + "0\n" * 1000)

    def work(number: int, client: httpx.Client) -> None:
        for round_ in range(ROUNDS):
            if number == 0:
                ingest(client, "whole", "n\n" + f"{round_}\n" * 1000)
            else:
                sql = "SELECT count(*), min(n), max(n) FROM whole"
                row = post(client, "/v1/sql", {"sql": sql}).json()["rows"][0]
                assert row[0] == 1000
                assert row[1] == row[2]

    together(work, url, 8)


def test_a_joined_table_is_read_at_one_state_within_a_statement(url: str) -> None:
    with httpx.Client(base_url=url, timeout=60) as client:
        post(client, "/v1/tables", {"name": "twice", "columns": columns("id")}, 201)

    def work(number: int, client: httpx.Client) -> None:
        for round_ in range(ROUNDS):
            if number < 2:
                id_ = number * 1000 + round_
                post(client, "/v1/tables/twice/rows", {"rows": [{"id": id_}]}, 201)
            else:
                sql = "SELECT (SELECT count(*) FROM twice) - (SELECT count(*) FROM main.twice)"
                assert value(client, sql) == 0

    together(work, url, 8)
