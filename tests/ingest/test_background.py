import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.config import Config, IngestConfig, JobsConfig
from tests.ingest.served import Served, serving
from tests.jobs.conftest import Gate
from tests.services import lakehouse_server

CSV = "name,score\nAda,95\nBo,88\n"
LATER = {"Prefer": "respond-async"}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = Config(
        ingest=IngestConfig(concurrency_max=2), jobs=JobsConfig(concurrency_max=2, waiting_max=2)
    )
    with serving(tmp_path_factory.mktemp("lake") / "data", config) as served:
        yield served


def uploads(lake: Served) -> list[Path]:
    return list((lake.data_dir / "spool").glob("upload-*"))


def accepted(answer: httpx.Response) -> str:
    """Return where the job of a load is."""
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert answer.headers["preference-applied"] == "respond-async"
    return answer.headers["location"]


def wait_for(condition: Callable[[], bool], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ended(lake: Served, path: str, timeout_s: float = 20) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s
    while True:
        job: dict[str, Any] = lake.send("GET", path).json()
        if job["ended_at"]:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.01)


def slow(rows: int = 3_000_000) -> str:
    """A file whose load takes seconds: each row is a line of its own."""
    return "a,b\n" + "1,some text that is the same in every row\n" * rows


def test_a_load_as_a_job_answers_at_once_and_its_result_is_the_answer(lake: Served) -> None:
    path = accepted(lake.ingest("later", CSV, headers=LATER))
    done = ended(lake, path)

    assert done["state"] == "succeeded"
    assert (done["kind"], done["subject"], done["unit"]) == ("ingest", "main.later", "bytes")
    assert done["done"] == done["total"] == len(CSV)
    assert done["result"]["row_count"] == 2
    assert done["result"]["snapshot_id"] is not None
    assert lake.rows("later") == [["Ada", 95], ["Bo", 88]]
    assert uploads(lake) == []
    again = lake.loaded("later", CSV)
    assert again["existing"] is True


def test_a_load_that_fails_has_the_problem_that_the_request_would_have_had(lake: Served) -> None:
    body = "a,b\n" + "1,2\n" * 2000 + "1,2,3,4\n"
    refused = lake.ingest("bad", body).json()
    done = ended(lake, accepted(lake.ingest("bad", body, headers=LATER)))

    assert done["state"] == "failed"
    assert {**done["error"], "trace_id": ""} == {**refused, "trace_id": ""}
    assert lake.send("GET", "/v1/tables/bad").status_code == 404
    assert uploads(lake) == []


@pytest.mark.parametrize(
    "params", [{"name": "x", "mode": "swap"}, {"name": "a/b"}, {"name": "x", "nam": "y"}]
)
def test_what_can_be_refused_at_once_is(lake: Served, params: dict[str, str]) -> None:
    before = lake.send("GET", "/v1/jobs").json()

    answer = lake.send("POST", "/v1/ingest", params=params, content=CSV, headers=LATER)

    assert answer.status_code == 400
    assert lake.send("GET", "/v1/jobs").json() == before
    assert uploads(lake) == []


def test_a_dry_run_is_answered_in_any_case(lake: Served) -> None:
    answer = lake.ingest("dry", CSV, headers=LATER, dry_run="true")

    assert answer.status_code == 200
    assert answer.json()["exists"] is False


@pytest.mark.parametrize("prefer", ["wait=10", "respond-asynchronously", "return=minimal"])
def test_another_preference_is_no_job(lake: Served, prefer: str) -> None:
    assert lake.ingest("now", CSV, headers={"Prefer": prefer}).status_code == 200


def test_a_preference_among_others_is_seen(lake: Served) -> None:
    accepted(lake.ingest("later", CSV, headers={"Prefer": "wait=10, Respond-Async; x=1"}))


def test_one_key_is_one_load_and_one_answer_whoever_waits(lake: Served) -> None:
    keyed = {**LATER, "Idempotency-Key": "once"}
    paths = [accepted(lake.ingest("keyed", CSV, headers=keyed, mode="append")) for _ in range(2)]
    first, second = (ended(lake, path) for path in paths)
    waited = lake.ingest("keyed", CSV, headers={"Idempotency-Key": "once"}, mode="append")
    other = ended(lake, accepted(lake.ingest("keyed", CSV + "C,1\n", headers=keyed, mode="append")))

    assert first["result"] == second["result"] == waited.json()
    assert len(lake.rows("keyed")) == 2
    assert other["state"] == "failed"
    assert other["error"]["status"] == 422


def test_a_cancelled_load_leaves_nothing_behind(lake: Served) -> None:
    path = accepted(lake.ingest("gone", slow(), headers=LATER))
    wait_for(lambda: lake.send("GET", path).json()["phase"] == "loading rows")
    lake.send("POST", f"{path}/cancel")
    done = ended(lake, path)

    assert done["state"] == "cancelled"
    assert done["result"] is None
    assert lake.send("GET", "/v1/tables/gone").status_code == 404
    assert lake.files() == {file for file in lake.files() if "/gone-" not in file}
    assert uploads(lake) == []


def test_a_load_tells_how_far_it_is(lake: Served) -> None:
    path = accepted(lake.ingest("large", slow(), headers=LATER))
    shares = []
    while not (job := lake.send("GET", path).json())["ended_at"]:
        if job["total"]:  # it has begun
            shares.append(job["done"] / job["total"])
        time.sleep(0.02)

    assert job["state"] == "succeeded", job
    assert any(0 < share < 1 for share in shares), shares
    assert shares == sorted(shares)


def test_one_slot_is_left_for_loads_that_somebody_waits_for(lake: Served) -> None:
    paths = [accepted(lake.ingest(f"big_{n}", slow(), headers=LATER)) for n in range(2)]

    lake.loaded("small", CSV)

    assert not all(lake.send("GET", path).json()["ended_at"] for path in paths)
    for path in paths:
        lake.send("POST", f"{path}/cancel")
        ended(lake, path)


def test_more_jobs_than_may_wait_are_refused_before_the_upload(lake: Served) -> None:
    gate = Gate()
    paths = [f"/v1/jobs/{lake.run(lake.lakehouse.jobs.start('t', gate)).id}" for _ in range(4)]

    refused = lake.ingest("one_more", CSV, headers=LATER)

    assert refused.status_code == 503
    assert refused.json()["type"] == "/problems/too-many-jobs"
    assert refused.headers["retry-after"]
    assert uploads(lake) == []
    gate.may_go_on.set()
    assert {ended(lake, path)["state"] for path in paths} == {"succeeded"}


@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="five seconds or more")
def test_a_server_that_stops_ends_its_jobs_and_says_so_at_the_next_start(tmp_path: Path) -> None:
    with lakehouse_server(
        tmp_path / "data",
        LAKEHOUSE_SERVER__SHUTDOWN_GRACE_S="0",
        LAKEHOUSE_JOBS__CONCURRENCY_MAX="1",
    ) as server:
        paths = [
            httpx.post(
                f"{server.url}/v1/ingest?name=t{number}",
                content=content,
                headers={**LATER, "Content-Type": "text/csv"},
                timeout=60,
            ).headers["location"]
            for number, content in enumerate([slow(), CSV])
        ]
        following = threading.Thread(
            target=httpx.get, args=(f"{server.url}{paths[0]}/events",), kwargs={"timeout": 60}
        )
        following.start()
        wait_for(lambda: httpx.get(f"{server.url}{paths[0]}").json()["phase"] == "loading rows")
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert time.monotonic() - begun < 10
        following.join(10)

    with lakehouse_server(tmp_path / "data") as server:
        found = [httpx.get(f"{server.url}{path}").json() for path in paths]
        assert [job["state"] for job in found] == ["interrupted", "interrupted"]
        assert found[0]["error"]["type"] == "/problems/job-interrupted"
        assert httpx.get(f"{server.url}/v1/tables").json()["items"] == []


@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="five seconds or more")
def test_a_job_that_runs_when_the_process_is_killed_is_interrupted(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data") as server:
        answer = httpx.post(
            f"{server.url}/v1/ingest?name=t",
            content=slow(),
            headers={**LATER, "Content-Type": "text/csv"},
            timeout=60,
        )
        path = answer.headers["location"]
        server.signal(signal.SIGKILL)
        server.wait()

    with lakehouse_server(tmp_path / "data") as server:
        job = httpx.get(f"{server.url}{path}").json()
        assert job["state"] == "interrupted"
        assert job["ended_at"]
        assert list((tmp_path / "data" / "spool").glob("upload-*")) == []
