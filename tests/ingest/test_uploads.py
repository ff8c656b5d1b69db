"""Files in parts: what came stays, whatever breaks, and is loaded once it is whole."""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lakehouse.config import Config, IngestConfig
from lakehouse.ingest import ingest
from lakehouse.ingest import uploads as module
from tests.ingest.served import Served, serving
from tests.services import lakehouse_server

CSV = b"id,city\n" + b"".join(b"%d,Oslo\n" % number for number in range(5_000))


def begin(lake: Served, size: int = len(CSV), **more: Any) -> str:
    answer = lake.send("POST", "/v1/uploads", json={"size_bytes": size, **more})
    assert answer.status_code == 201, answer.text
    assert answer.json()["offset"] == 0
    return str(answer.json()["id"])


def put(lake: Served, upload: str, offset: int, data: bytes) -> httpx.Response:
    return lake.send("PUT", f"/v1/uploads/{upload}", params={"offset": offset}, content=data)


def offset_of(lake: Served, upload: str) -> int:
    answer = lake.send("GET", f"/v1/uploads/{upload}")
    assert answer.status_code == 200, answer.text
    return int(answer.json()["offset"])


def load(lake: Served, upload: str, name: str, **more: Any) -> httpx.Response:
    params = {"upload": upload, "name": name, **more.pop("params", {})}
    return lake.send("POST", "/v1/ingest", params=params, **more)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline


def test_parts_become_a_table_once_all_are_there(lake: Served, name: str) -> None:
    upload = begin(lake, filename="cities.csv")
    assert put(lake, upload, 0, CSV[:7]).json()["offset"] == 7
    early = load(lake, upload, name)
    assert (early.status_code, early.json()["context"]["offset"]) == (409, 7)
    for offset in range(7, len(CSV), 10_000):
        assert put(lake, upload, offset, CSV[offset : offset + 10_000]).status_code == 200
    assert upload in [each["id"] for each in lake.send("GET", "/v1/uploads").json()["items"]]

    done = load(lake, upload, name)

    assert (done.status_code, done.json()["added_rows"]) == (200, 5_000)
    assert lake.rows(name, "id")[-1] == [4_999, "Oslo"]
    assert load(lake, upload, name).status_code == 404
    assert lake.send("GET", f"/v1/uploads/{upload}").status_code == 404
    assert upload not in [each["id"] for each in lake.send("GET", "/v1/uploads").json()["items"]]


def test_a_part_for_another_place_is_refused_and_told_where_the_end_is(lake: Served) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV[:100])
    for offset in (0, 99, 101):
        answer = put(lake, upload, offset, b"x")
        assert (answer.status_code, answer.json()["context"]["offset"]) == (409, 100)
    assert put(lake, upload, 100, b"").json()["offset"] == 100
    too_much = put(lake, upload, 100, CSV)
    assert too_much.status_code == 413
    assert offset_of(lake, upload) == 100
    assert lake.send("DELETE", f"/v1/uploads/{upload}").status_code == 204
    assert put(lake, upload, 100, b"x").status_code == 404


def test_what_cannot_be_is_refused_at_once(tmp_path: Path) -> None:
    with serving(tmp_path / "data", Config(ingest=IngestConfig(max_bytes=4_000_000))) as lake:
        for body, status in (
            ({"size_bytes": 5_000_000}, 413),
            ({"size_bytes": 0}, 400),
            ({"size_bytes": -1}, 400),
            ({}, 400),
            ({"size_bytes": 1, "name": "x"}, 400),
            ({"size_bytes": 1, "key": ""}, 400),
        ):
            answer = lake.send("POST", "/v1/uploads", json=body)
            assert answer.status_code == status, body
        for wrong in ("nothing", "..%2f..%2fformat", "0" * 32, "%00"):
            assert lake.send("GET", f"/v1/uploads/{wrong}").status_code in (400, 404)
        upload = begin(lake, 1)
        assert lake.send("PUT", f"/v1/uploads/{upload}?offset=-1", content=b"x").status_code == 400
        assert lake.send("PUT", f"/v1/uploads/{upload}", content=b"x").status_code == 400
        assert [each.name for each in (tmp_path / "data" / "uploads").iterdir()] == [upload]


def test_one_caller_leaves_room_for_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OWN_MAX", 2)
    monkeypatch.setattr(module, "UPLOADS_MAX", 3)
    with serving(tmp_path / "data", Config()) as lake:
        first, _ = begin(lake, key="a"), begin(lake)
        one_more = lake.send("POST", "/v1/uploads", json={"size_bytes": 1})
        assert (one_more.status_code, one_more.json()["retryable"]) == (429, True)
        assert "DELETE /v1/uploads" in one_more.json()["detail"]
        assert begin_again(lake, "a") == first, "one that is there is no more"
        lake.send("DELETE", f"/v1/uploads/{first}")
        begin(lake)
        monkeypatch.setattr(module, "OWN_MAX", 9)
        begin(lake)
        assert lake.send("POST", "/v1/uploads", json={"size_bytes": 1}).status_code == 503


def begin_again(lake: Served, key: str) -> str:
    answer = lake.send("POST", "/v1/uploads", json={"size_bytes": len(CSV), "key": key})
    return str(answer.json()["id"])


def test_the_same_key_is_the_same_upload(lake: Served) -> None:
    first = begin(lake, key="cities of today")
    put(lake, first, 0, CSV[:10])
    again = lake.send(
        "POST", "/v1/uploads", json={"size_bytes": len(CSV), "key": "cities of today"}
    )
    assert (again.json()["id"], again.json()["offset"]) == (first, 10)
    other = lake.send("POST", "/v1/uploads", json={"size_bytes": 9, "key": "cities of today"})
    assert other.status_code == 409
    assert begin(lake, key="others") != first


def test_a_load_that_fails_keeps_the_file_and_the_next_one_takes_it(
    lake: Served, name: str
) -> None:
    bad = b"id\n" + b"1\n" * 2_000 + b"x\n"
    upload = begin(lake, len(bad))
    put(lake, upload, 0, bad)
    assert load(lake, upload, name, params={"types": "id:long"}).status_code == 400
    dry = load(lake, upload, name, params={"dry_run": "true"})
    assert dry.status_code == 200, dry.text
    done = load(lake, upload, name, params={"types": "id:long", "on_error": "reject"})
    assert (done.json()["added_rows"], done.json()["rejected"]["count"]) == (2_000, 1)


def test_a_body_beside_an_upload_is_refused(lake: Served, name: str) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV)
    answer = load(lake, upload, name, content=CSV)
    assert answer.status_code == 400
    assert "no body" in answer.json()["detail"]


def test_an_answer_that_was_lost_is_given_again(lake: Served, name: str) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV)
    key = {"Idempotency-Key": f"load of {name}"}
    first = load(lake, upload, name, headers=key, params={"mode": "append"})
    again = load(lake, upload, name, headers=key, params={"mode": "append"})
    assert (again.status_code, again.json()) == (200, first.json())
    other = load(lake, upload, name, headers={"Idempotency-Key": "other"})
    assert other.status_code == 404
    elsewhere = load(lake, upload, f"{name}_2", headers=key, params={"mode": "append"})
    assert elsewhere.status_code == 422, elsewhere.text
    assert len(lake.rows(name)) == 5_000


def test_an_answer_that_is_kept_says_where_bad_cells_were_not_what_they_held(
    tmp_path: Path,
) -> None:
    bad = b"id\n" + b"1\n" * 2_000 + b"secret-of-ada\n"
    asked: dict[str, Any] = {
        "headers": {"Idempotency-Key": "k"},
        "params": {"types": "id:long", "on_error": "reject"},
    }
    with serving(tmp_path / "data", Config()) as lake:
        upload = begin(lake, len(bad))
        put(lake, upload, 0, bad)
        first = load(lake, upload, "t", **asked)
        kept = (tmp_path / "data" / "uploads" / upload / "about.json").read_text()
        again = load(lake, upload, "t", **asked)

    assert "secret-of-ada" in first.text
    assert "secret-of-ada" not in kept
    assert again.json()["rejected"]["rows"][0]["line"] == 2_002


def test_a_load_as_a_job_takes_the_file_along(lake: Served, name: str) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV)
    answer = load(lake, upload, name, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    deadline = time.monotonic() + 30
    while (job := lake.send("GET", f"/v1/jobs/{answer.json()['id']}").json())[
        "state"
    ] != "succeeded":
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    assert len(lake.rows(name)) == 5_000
    assert lake.send("GET", f"/v1/uploads/{upload}").status_code == 404


def later(lake: Served, upload: str, table: str, **options: Any) -> httpx.Response:
    headers = {"Prefer": "respond-async", **options.pop("headers", {})}
    return load(lake, upload, table, headers=headers, **options)


def ended(lake: Served, job_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while True:
        job: dict[str, Any] = lake.send("GET", f"/v1/jobs/{job_id}").json()
        if job["ended_at"]:
            return job
        assert time.monotonic() < deadline, job
        time.sleep(0.02)


async def take_all(slots: Any) -> None:
    while slots.value:
        await slots.acquire()


async def give(slots: Any, count: int) -> None:
    for _ in range(count):
        slots.release()


@contextmanager
def no_slot(lake: Served) -> Iterator[None]:
    """No load of a job begins in this block."""
    slots = lake.lakehouse.ingest._background_slots
    count = slots.value
    lake.run(take_all(slots))
    yield
    lake.run(give(slots, count))


def test_a_job_of_an_upload_is_the_same_one_however_often_it_is_asked_for(
    lake: Served, name: str
) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV)
    params = {"name": name, "upload": upload, "mode": "append"}

    async def at_once() -> list[httpx.Response]:
        headers = {"Prefer": "respond-async"}
        asked = (lake.client.post("/v1/ingest", params=params, headers=headers) for _ in range(5))
        return list(await asyncio.gather(*asked))

    with no_slot(lake):
        answers = lake.run(at_once())
        others = [
            later(lake, upload, f"{name}_2"),
            load(lake, upload, name, params={"mode": "append"}),
            lake.send("DELETE", f"/v1/uploads/{upload}"),
        ]
        assert offset_of(lake, upload) == len(CSV), "the bytes stay while it waits"
    job = ended(lake, answers[0].json()["id"])
    afterwards = later(lake, upload, name, params={"mode": "append"})

    assert {each.status_code for each in answers} == {202}
    assert {each.json()["id"] for each in answers} == {job["id"]}
    assert [each.status_code for each in others] == [409] * 3
    assert {each.json()["context"]["job"] for each in others} == {job["id"]}
    assert job["state"] == "succeeded", job
    assert (afterwards.status_code, afterwards.json()) == (202, job)
    assert afterwards.headers["location"] == answers[0].headers["location"]
    assert len(lake.rows(name)) == 5_000
    assert later(lake, upload, f"{name}_2").status_code == 404


def test_under_a_key_the_job_is_given_again_and_its_answer_to_who_waits(
    lake: Served, name: str
) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV)
    key = {"Idempotency-Key": f"job of {name}"}
    job = ended(lake, later(lake, upload, name, headers=key).json()["id"])

    assert later(lake, upload, name, headers=key).json() == job
    assert load(lake, upload, name, headers=key).json() == job["result"]
    assert later(lake, upload, name, headers=key, params={"mode": "append"}).status_code == 422


def test_a_job_that_a_restart_interrupted_is_begun_again_with_the_bytes_that_are_there(
    tmp_path: Path,
) -> None:
    with serving(tmp_path / "data", Config()) as lake:
        upload = begin(lake)
        put(lake, upload, 0, CSV)
        lake.run(take_all(lake.lakehouse.ingest._background_slots))
        first = later(lake, upload, "t", params={"mode": "append"}).json()["id"]
    with serving(tmp_path / "data", Config()) as lake:
        assert ended(lake, first)["state"] == "interrupted"
        assert offset_of(lake, upload) == len(CSV)

        second = later(lake, upload, "t", params={"mode": "append"}).json()["id"]

        assert second != first
        assert ended(lake, second)["state"] == "succeeded"
        assert len(lake.rows("t")) == 5_000
        assert lake.send("GET", f"/v1/uploads/{upload}").status_code == 404
        assert not [path for path in lake.files() if "upload-" in path]


def test_a_job_that_ended_between_its_commit_and_its_row_loads_nothing_twice(
    lake: Served, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV)

    async def lost(*_: Any, **__: Any) -> None:
        raise OSError("the process is gone")

    with monkeypatch.context() as patched:
        patched.setattr(lake.lakehouse.uploads, "end", lost)
        first = ended(lake, later(lake, upload, name, params={"mode": "append"}).json()["id"])
    assert (first["state"], len(lake.rows(name))) == ("failed", 5_000)
    second = ended(lake, later(lake, upload, name, params={"mode": "append"}).json()["id"])

    assert second["state"] == "succeeded"
    assert second["result"]["added_rows"] == 5_000, "the answer of the load that was done"
    assert len(lake.rows(name)) == 5_000


def test_a_job_that_failed_leaves_the_file_for_the_next(lake: Served, name: str) -> None:
    bad = b"id\n" + b"1\n" * 2_000 + b"x\n"
    upload = begin(lake, len(bad))
    put(lake, upload, 0, bad)
    params = {"types": "id:long"}
    first = ended(lake, later(lake, upload, name, params=params).json()["id"])
    again = ended(lake, later(lake, upload, name, params=params).json()["id"])
    mended = params | {"on_error": "reject"}
    done = ended(lake, later(lake, upload, name, params=mended).json()["id"])

    assert [first["state"], again["state"], done["state"]] == ["failed", "failed", "succeeded"]
    assert first["id"] != again["id"]
    assert done["result"]["rejected"]["count"] == 1


def test_half_an_upload_is_no_job(lake: Served, name: str) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV[:10])
    assert later(lake, upload, name).status_code == 409
    assert later(lake, "0" * 32, name).status_code == 404
    assert later(lake, upload, "no/name").status_code == 400


@contextmanager
def a_slow_part(lake: Served, upload: str) -> Iterator[list[httpx.Response]]:
    """Ten bytes come before the block and ten after it; the answer is in the list then."""
    sending, release = threading.Event(), threading.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield CSV[:10]
        sending.set()
        await asyncio.to_thread(release.wait, 20)
        yield CSV[10:20]

    answers: list[httpx.Response] = []
    path = f"/v1/uploads/{upload}?offset=0"
    slow = threading.Thread(target=lambda: answers.append(lake.send("PUT", path, content=slowly())))
    slow.start()
    sending.wait(20)
    yield answers
    release.set()
    slow.join()


def test_of_two_parts_at_once_one_is_told_to_wait(lake: Served) -> None:
    upload = begin(lake)
    with a_slow_part(lake, upload) as answers:
        wait_until(lambda: put(lake, upload, 0, b"").status_code == 409)
    assert answers[0].json()["offset"] == 20


def test_an_upload_that_is_deleted_while_a_part_comes_is_gone_whole(tmp_path: Path) -> None:
    with serving(tmp_path / "data", Config()) as lake:
        upload = begin(lake)
        with a_slow_part(lake, upload) as answers:
            wait_until(lambda: put(lake, upload, 0, b"").status_code == 409)
            assert lake.send("DELETE", f"/v1/uploads/{upload}").status_code == 204
        assert answers[0].status_code == 404, answers[0].text
        assert list((tmp_path / "data" / "uploads").iterdir()) == []


@pytest.mark.parametrize("left", ["data", "about.json"])
def test_an_upload_of_which_a_kill_left_half_is_none(tmp_path: Path, left: str) -> None:
    with serving(tmp_path / "data", Config()) as lake:
        upload, other = begin(lake, key="k"), begin(lake)
        for each in (tmp_path / "data" / "uploads" / upload).iterdir():
            if each.name != left:
                each.unlink()

        assert lake.send("GET", f"/v1/uploads/{upload}").status_code == 404
        listed = lake.send("GET", "/v1/uploads")
        assert listed.status_code == 200, listed.text
        assert [each["id"] for each in listed.json()["items"]] == [other]
        assert begin(lake, key="k") == upload
        assert put(lake, upload, 0, CSV).json()["offset"] == len(CSV)


def test_a_load_whose_upload_is_deleted_meanwhile_is_answered(
    lake: Served, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = begin(lake)
    put(lake, upload, 0, CSV)
    deleted = list[int]()

    def delete_it(point: str) -> None:
        if point == "before-answer":
            deleted.append(lake.send("DELETE", f"/v1/uploads/{upload}").status_code)

    monkeypatch.setattr(ingest, "reach", delete_it)
    done = load(lake, upload, name)

    assert deleted == [204]
    assert (done.status_code, done.json()["added_rows"]) == (200, 5_000)


def test_what_nobody_goes_on_with_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "data", Config()) as lake:
        old, young = begin(lake), begin(lake)
        then = time.time() - module.KEPT_S - 60
        os.utime(tmp_path / "data" / "uploads" / old / "data", (then, then))
    with serving(tmp_path / "data", Config()) as lake:
        deadline = time.monotonic() + 20
        while lake.send("GET", f"/v1/uploads/{old}").status_code != 404:
            assert time.monotonic() < deadline
        assert offset_of(lake, young) == 0


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="several seconds")
def test_a_killed_server_has_what_it_acknowledged_and_goes_on(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data") as server, httpx.Client(base_url=server.url) as http:
        upload = http.post("/v1/uploads", json={"size_bytes": len(CSV)}).json()["id"]
        http.put(f"/v1/uploads/{upload}?offset=0", content=CSV[:30_000]).raise_for_status()
        server.process.kill()
        server.wait()
    with lakehouse_server(tmp_path / "data") as server, httpx.Client(base_url=server.url) as http:
        assert http.get(f"/v1/uploads/{upload}").json()["offset"] == 30_000
        http.put(f"/v1/uploads/{upload}?offset=30000", content=CSV[30_000:]).raise_for_status()
        done = http.post(f"/v1/ingest?name=t&upload={upload}", timeout=30)
        assert done.json()["added_rows"] == 5_000
