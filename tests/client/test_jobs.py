"""Long work through the client."""

from collections.abc import Iterator

import pytest

from lakehouse.client import Client, Job, RemoteError
from lakehouse.client.jobs import BREAKS_MAX, events
from lakehouse.errors import InvalidInputError, NotFoundError, UnavailableError
from tests.client.scripted import Reply, peer
from tests.services import ServerProcess

CSV = b"name,city,score\nAda,Lyon,95\nBo,Oslo,88\n"


@pytest.fixture
def lake(served: ServerProcess) -> Iterator[Client]:
    with Client(served.url) as client:
        yield client


def test_a_file_is_loaded_later_and_waited_for(lake: Client) -> None:
    told: list[Job] = []
    job = lake.ingest_later(CSV, "later", mode="append")

    done = lake.jobs.wait(job.id, told.append)

    assert done.state == told[-1].state == "succeeded"
    assert done.result["row_count"] == 2
    assert lake.jobs.get(job.id) == done
    assert lake.jobs.cancel(job.id) == done
    assert job.id in [each.id for each in lake.jobs.list(kind="ingest", state="succeeded")]


def test_a_load_that_failed_raises_as_the_request_would(lake: Client) -> None:
    job = lake.ingest_later(b"a,b\n" + b"1,2\n" * 2000 + b"1,2,3\n", "bad")

    with pytest.raises(InvalidInputError) as raised:
        lake.jobs.wait(job.id)

    assert isinstance(raised.value, RemoteError)
    assert raised.value.problem.type == "/problems/bad-rows"
    assert raised.value.context["rows"]


def test_a_job_that_is_not_there_is_said(lake: Client) -> None:
    for ask in (lake.jobs.get, lake.jobs.cancel, lake.jobs.wait):
        with pytest.raises(NotFoundError, match="nothing"):
            ask("nothing")


def test_events_are_read_however_they_are_cut() -> None:
    text = b"retry: 1000\n\nid: 3\nevent: progress\ndata: {}\n\n: alive\n\nid: end\ndata: 1\n\n"
    for size in (1, 7, len(text)):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert list(events(pieces)) == [("3", b"{}"), ("end", b"1")]


def event(event_id: str, state: str) -> bytes:
    job = f'{{"id":"j","kind":"t","state":"{state}","created_at":"2026-01-31T12:00:00Z"}}'
    return f"id: {event_id}\nevent: x\ndata: {job}\n\n".encode()


def test_a_stream_that_broke_goes_on_where_it_was() -> None:
    replies = [
        Reply(body=event("7", "running"), broken=True),
        Reply(body=b": alive\n\n", broken=True),
        Reply(body=event("end", "succeeded")),
    ]
    with peer(*replies) as scripted, Client(scripted.url) as lake:
        told = [job.state for job in lake.jobs.follow("j")]

    assert told == ["running", "succeeded"]
    assert [seen.headers.get("last-event-id") for seen in scripted.seen] == [None, "7", "7"]


def test_a_stream_that_always_breaks_is_given_up() -> None:
    broken = Reply(body=b"", broken=True)
    with (
        peer(broken) as scripted,
        Client(scripted.url) as lake,
        pytest.raises(UnavailableError),
    ):
        lake.jobs.wait("j")

    assert len(scripted.seen) == BREAKS_MAX + 1
