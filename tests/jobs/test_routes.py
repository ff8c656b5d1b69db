import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from lakehouse.auth import OPEN_TO_ALL, acting
from lakehouse.config import Config
from lakehouse.jobs import Job, JobHandle
from tests.ingest.served import Served, serving
from tests.jobs.conftest import Gate


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("lake") / "data", Config()) as served:
        yield served


def start(lake: Served, work: Callable[[JobHandle], Any], kind: str = "test") -> Job:
    with acting(OPEN_TO_ALL):  # who sends the requests below: nobody stops a job of another
        return lake.run(lake.lakehouse.jobs.start(kind, work))


def ended(lake: Served, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 10
    while True:
        job: dict[str, Any] = lake.send("GET", f"/v1/jobs/{job_id}").json()
        if job["ended_at"]:
            return job
        assert time.monotonic() < deadline, "it did not end in time"
        time.sleep(0.01)


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the events of a stream: id, name and the job."""
    result = []
    for block in answer.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":")
        if "data" in fields:
            result.append({**fields, "data": msgspec.json.decode(fields["data"])})
    return result


def test_a_job_is_listed_and_shown(lake: Served) -> None:
    job = start(lake, lambda handle: {"rows": 1}, kind="shown")
    done = ended(lake, job.id)

    assert (done["state"], done["result"], done["error"]) == ("succeeded", {"rows": 1}, None)
    listed = lake.send("GET", "/v1/jobs", params={"kind": "shown"}).json()
    assert listed == {"items": [done], "next_cursor": None}


def test_the_list_comes_in_pages(lake: Served) -> None:
    made = [start(lake, lambda handle: None, kind="paged").id for _ in range(5)]
    for each in made:
        ended(lake, each)

    found, cursor = [], None
    for _ in range(3):
        params = {"kind": "paged", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = lake.send("GET", "/v1/jobs", params=params).json()
        found += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]

    assert cursor is None
    assert found == sorted(made, reverse=True)


@pytest.mark.parametrize(
    ("params", "field"),
    [({"state": "lost"}, "state"), ({"limit": "0"}, "limit"), ({"cursor": "%%"}, "cursor")],
)
def test_a_wrong_filter_is_named(lake: Served, params: dict[str, str], field: str) -> None:
    answer = lake.send("GET", "/v1/jobs", params=params)

    assert answer.status_code == 400
    assert field in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/jobs/x"), ("POST", "/v1/jobs/x/cancel"), ("GET", "/v1/jobs/x/events")],
)
def test_a_job_that_is_not_there_is_404(lake: Served, method: str, path: str) -> None:
    answer = lake.send(method, path)

    assert answer.status_code == 404
    assert answer.json()["type"] == "/problems/job-not-found"


def test_a_job_is_cancelled(lake: Served) -> None:
    job = start(lake, Gate())

    answer = lake.send("POST", f"/v1/jobs/{job.id}/cancel")

    assert answer.status_code == 200
    assert answer.json()["phase"] == "stopping"
    assert ended(lake, job.id)["state"] == "cancelled"
    assert lake.send("POST", f"/v1/jobs/{job.id}/cancel").json()["state"] == "cancelled"


def test_the_events_end_with_the_job(lake: Served) -> None:
    def work(handle: JobHandle) -> str:
        handle.progress(1, 2, "halfway")
        time.sleep(0.6)
        return "there"

    job = start(lake, work)
    answer = lake.send("GET", f"/v1/jobs/{job.id}/events")

    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer)
    assert [each["event"] for each in told[-2:]] == ["progress", "end"]
    assert told[-2]["data"]["phase"] == "halfway"
    assert told[-1]["data"]["result"] == "there"
    assert told[-1]["id"] == "end"


def test_a_stream_goes_on_where_it_broke(lake: Served) -> None:
    gate = Gate()
    job = start(lake, gate)
    gate.begun.wait(10)
    version = lake.lakehouse.jobs._live[job.id].version
    path = f"/v1/jobs/{job.id}/events"

    lake.loop.call_soon_threadsafe(lake.loop.call_later, 0.4, gate.may_go_on.set)
    told = events(lake.send("GET", path, headers={"Last-Event-ID": str(version)}))

    assert [each["event"] for each in told] == ["end"]  # the state it has seen is not told again
    assert [each["event"] for each in events(lake.send("GET", path))] == ["end"]
    again = lake.send("GET", path, headers={"Last-Event-ID": "end"})
    assert (again.status_code, again.content) == (204, b"")


def test_jobs_are_counted(lake: Served, tmp_path: Path) -> None:
    ended(lake, start(lake, lambda handle: None, kind="counted").id)

    text = lake.send("GET", "/metrics").text
    assert 'lakehouse_jobs_total{kind="counted",state="succeeded"} 1.0' in text
    assert "lakehouse_jobs_running 0.0" in text
