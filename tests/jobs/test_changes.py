"""Changes of rows as jobs: what they answer, and what cancelling one means."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from lakehouse.catalog.erasing import Erasing
from lakehouse.config import Config
from lakehouse.database import Connection
from tests.ingest.served import Served, serving
from tests.jobs.test_routes import ended

LATER = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("lake") / "data", Config()) as served:
        yield served


@pytest.fixture
def people(lake: Served) -> Iterator[str]:
    lake.loaded("people", "id,name\n1,ada\n2,bo\n3,cy\n", mode="create")
    yield "people"
    lake.send("DELETE", "/v1/tables/people", params={"purge": "true"})


def later(lake: Served, what: str, **body: Any) -> str:
    answer = lake.send("POST", f"/v1/tables/people/{what}", json=body, headers=LATER)
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/jobs/{answer.json()['id']}"
    return str(answer.json()["id"])


def test_a_job_answers_what_the_change_would_have(lake: Served, people: str) -> None:
    job = ended(lake, later(lake, "delete", where="id = 1", erase=True))
    assert (job["kind"], job["subject"], job["state"]) == ("erase", "main.people", "succeeded")
    assert (job["result"]["deleted_rows"], job["result"]["row_count"]) == (1, 2)

    job = ended(lake, later(lake, "update", set={"name": "upper(name)"}, where="id = 2"))
    assert (job["kind"], job["result"]["updated_rows"]) == ("update", 1)
    made = "SELECT 9 AS id, 'zoe' AS name"
    job = ended(lake, later(lake, "from-query", sql=made, mode="append"))
    assert (job["kind"], job["result"]["added_rows"]) == ("from-query", 1)
    assert lake.rows(people) == [[2, "BO"], [3, "cy"], [9, "zoe"]]


def test_a_job_fails_as_the_request_would(lake: Served, people: str) -> None:
    asked = {"where": "id = (SELECT 1)"}
    now = lake.send("POST", f"/v1/tables/{people}/delete", json=asked).json()
    job = ended(lake, later(lake, "delete", **asked))
    assert job["state"] == "failed"
    assert (job["error"]["status"], job["error"]["detail"]) == (now["status"], now["detail"])


def test_the_same_key_is_done_once_as_a_job_too(lake: Served, people: str) -> None:
    headers = {**LATER, "Idempotency-Key": "erase-once"}
    body = {"where": "id = 3", "erase": True}
    first, second = (
        lake.send("POST", f"/v1/tables/{people}/delete", json=body, headers=headers).json()["id"]
        for _ in range(2)
    )
    results = [ended(lake, each)["result"] for each in (first, second)]
    assert results[0]["deleted_rows"] == 1
    assert results[1] == results[0]


@pytest.mark.parametrize("is_begun", [False, True])
def test_an_erasure_is_cancelled_until_it_has_begun(
    lake: Served, people: str, monkeypatch: pytest.MonkeyPatch, is_begun: bool
) -> None:
    reached, asked = threading.Event(), threading.Event()
    step = "_found_since" if is_begun else "_refused_or_found"
    work = getattr(Erasing, step)
    steps = 10**9 if is_begun else 10**13

    def long(self: Erasing, cursor: Connection, *args: Any) -> Any:
        reached.set()
        assert asked.wait(20)
        cursor.execute(f"SELECT sum(i) FROM range({steps}) AS r(i)").fetchall()
        return work(self, cursor, *args)

    monkeypatch.setattr(Erasing, step, long)
    job_id = later(lake, "delete", where="id = 2", erase=True)
    assert reached.wait(20)
    assert lake.send("POST", f"/v1/jobs/{job_id}/cancel").status_code == 200
    asked.set()

    job = ended(lake, job_id)

    rows = [row[0] for row in lake.rows(people)]
    if is_begun:
        assert (job["state"], rows) == ("succeeded", [1, 3])
    else:
        assert (job["state"], rows) == ("cancelled", [1, 2, 3])
