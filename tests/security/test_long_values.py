"""A value as long as it may be, in each row of a table: every call on it ends, or is refused.

A real server with 1 GiB and 1 s a statement. The engine makes 2,048 calls between two looks for an
interrupt, so what counts is when the thread has come back, and not when the caller is answered.
`LAKEHOUSE_TEST_VALUES=1 pytest tests/security/test_long_values.py` asks all of `long_values.py`.
What is measured is the processor's time of the thread that had the most: a machine that does other
things too keeps each of them waiting, and one that is stuck the next statement's as well.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.security.long_values import MOST, ONE_CALL, STATEMENTS
from tests.security.test_dos import ENDS, GRACE_S, SERVER, TIMEOUT_S
from tests.services import ServerProcess, lakehouse_server, wait_until

LONG = [
    pytest.mark.slow,
    pytest.mark.skipif("LAKEHOUSE_TEST_VALUES" not in os.environ, reason="a quarter of an hour"),
]
BACK_S = 60.0
"""Until when a thread has come back, however busy the machine is."""
FEW = ["list_distinct", "list_sort", "list_histogram", "list_sum", "hash", "a cast to text"]
"""Asked in every run, of a list that is too long."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with lakehouse_server(tmp_path_factory.mktemp("long") / "data", **SERVER) as server:
        sql = "SELECT range AS id, 'name ' || range AS name FROM range(100000)"
        body = {"sql": sql, "mode": "create"}
        made = httpx.post(f"{server.url}/v1/tables/points/from-query", json=body, timeout=30)
        assert made.is_success, made.text
        yield server


def worked_s(server: ServerProcess) -> dict[str, float]:
    """Return how long each thread of the server has had a processor."""
    worked = {}
    for thread in Path(f"/proc/{server.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            fields = (thread / "stat").read_text().rpartition(")")[2].split()
            worked[thread.name] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return worked


def ask(server: ServerProcess, sql: str) -> httpx.Response:
    """Return the answer, once the thread of the statement has come back."""

    def is_idle() -> bool:
        return not httpx.get(f"{server.url}/v1/queries", timeout=30).json()["items"]

    before = worked_s(server)
    answer = httpx.post(f"{server.url}/v1/sql", json={"sql": sql}, timeout=60)
    wait_until(is_idle, BACK_S)
    after = worked_s(server)
    most_s = max(after[thread] - before.get(thread, 0) for thread in after)
    assert most_s < TIMEOUT_S + GRACE_S, f"a thread had {most_s:.1f} s"
    return answer


@pytest.mark.parametrize("source", ["made", "collected"])
@pytest.mark.parametrize("name", FEW)
def test_a_list_that_is_too_long_to_be_joined_is_refused(
    server: ServerProcess, name: str, source: str
) -> None:
    answer = ask(server, STATEMENTS[f"{name}, l, {source}"])

    assert answer.status_code in (400, 422)
    assert "more than" in answer.json()["detail"] or "longer than 1 s" in answer.json()["detail"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG) for name in STATEMENTS])
def test_every_call_on_a_long_value_in_each_row_ends(server: ServerProcess, name: str) -> None:
    answer = ask(server, STATEMENTS[name])

    assert answer.status_code in ENDS, answer.text


@pytest.mark.parametrize("name", [pytest.param(name, marks=LONG) for name in ONE_CALL])
def test_one_call_that_asks_for_much_at_once_ends_and_the_server_lives(
    server: ServerProcess, name: str
) -> None:
    answer = ask(server, ONE_CALL[name])

    assert answer.status_code in ENDS, answer.text
    assert httpx.get(f"{server.url}/health", timeout=30).is_success


@pytest.mark.parametrize("name", MOST)
def test_what_is_usual_passes(server: ServerProcess, name: str) -> None:
    answer = httpx.post(f"{server.url}/v1/sql", json={"sql": MOST[name]}, timeout=60)

    # It has a second, in which a machine that does other things too may not get it done.
    ended = answer.is_success or answer.json()["type"] == "/problems/statement-timeout"
    assert ended, answer.text
