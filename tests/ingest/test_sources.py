"""Loads of what lies elsewhere: the server's own objects, and a bucket of a real MinIO."""

import asyncio
import io
import secrets
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from lakehouse.config import Config, IngestConfig, StorageConfig
from tests import object_store
from tests.ingest.served import Served, serving

LATER = {"Prefer": "respond-async"}


def put(lake: Served, key: str, text: str) -> None:
    answer = lake.send("PUT", f"/v1/storage/put/{key}", content=text.encode())
    assert answer.status_code == 200, answer.text


def load(lake: Served, name: str, source: str, **options: str) -> httpx.Response:
    headers = {"Idempotency-Key": options.pop("idempotency")} if "idempotency" in options else {}
    params = {"name": name, "source": source, **options}
    return lake.send("POST", "/v1/ingest", params=params, headers=headers)


def loaded(lake: Served, name: str, source: str, **options: str) -> dict[str, Any]:
    answer = load(lake, name, source, **options)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_an_object_of_the_storage_is_a_file_like_any(lake: Served, name: str) -> None:
    put(lake, f"{name}/people.csv", "id,city\n1,Lyon\n2,Oslo\n")

    first = loaded(lake, name, f"object:{name}/people.csv")
    again = loaded(lake, name, f"object:{name}/people.csv")

    assert lake.rows(name) == [[1, "Lyon"], [2, "Oslo"]]
    assert first["source"] == {
        "object_count": 1,
        "size_bytes": 22,
        "skipped_count": 0,
        "more": False,
    }
    assert (first["existing"], again["existing"]) == (False, True)


def test_all_objects_below_a_prefix_are_one_load(lake: Served, name: str) -> None:
    put(lake, f"{name}/in/a.csv", "id,city\n1,Lyon\n")
    put(lake, f"{name}/in/b.json", '[{"id": 2, "city": "Oslo"}]')
    put(lake, f"{name}/inside.csv", "id,city\n9,Rome\n")

    answer = loaded(lake, name, f"object:{name}/in/")

    assert lake.rows(name) == [[1, "Lyon"], [2, "Oslo"]]
    assert answer["source"]["object_count"] == 2


@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_a_load_that_adds_takes_each_object_once(lake: Served, name: str, mode: str) -> None:
    options = {"mode": mode} | ({"key": "id"} if mode == "upsert" else {})
    put(lake, f"{name}/a.csv", "id,city\n1,Lyon\n")
    loaded(lake, name, f"object:{name}/", **options)
    put(lake, f"{name}/b.csv", "id,city\n2,Oslo\n")

    second = loaded(lake, name, f"object:{name}/", **options)
    third = loaded(lake, name, f"object:{name}/", **options)

    assert lake.rows(name) == [[1, "Lyon"], [2, "Oslo"]]
    assert second["source"]["object_count"] == 1
    assert second["source"]["skipped_count"] == 1
    assert (third["existing"], third["source"]["object_count"]) == (True, 0)
    assert third["source"]["skipped_count"] == 2


def test_an_object_with_another_content_is_another_one(lake: Served, name: str) -> None:
    for text in ("id\n1\n", "id\n2\n"):
        put(lake, f"{name}/a.csv", text)
        loaded(lake, name, f"object:{name}/", mode="append")

    assert lake.rows(name) == [[1], [2]]


def test_an_overwrite_takes_all_of_it_and_forgets_what_was_taken(lake: Served, name: str) -> None:
    put(lake, f"{name}/a.csv", "id\n1\n")
    put(lake, f"{name}/b.csv", "id\n2\n")
    loaded(lake, name, f"object:{name}/", mode="append")

    loaded(lake, name, f"object:{name}/a.csv", mode="overwrite")
    assert lake.rows(name) == [[1]]
    loaded(lake, name, f"object:{name}/", mode="append")
    assert lake.rows(name) == [[1], [2]]


def test_a_purged_table_is_forgotten_and_a_new_one_takes_all(lake: Served, name: str) -> None:
    put(lake, f"{name}/a.csv", "id\n1\n")
    loaded(lake, name, f"object:{name}/", mode="append")
    lake.send("DELETE", f"/v1/tables/{name}", params={"purge": "true"})

    loaded(lake, name, f"object:{name}/", mode="append")

    assert lake.rows(name) == [[1]]


def test_a_load_that_failed_took_nothing(lake: Served, name: str) -> None:
    put(lake, f"{name}/a.csv", "id\n1\n")
    loaded(lake, name, f"object:{name}/", mode="append")
    put(lake, f"{name}/b.csv", "id\nnone\n")
    put(lake, f"{name}/c.csv", "id\n3\n")

    answer = load(lake, name, f"object:{name}/", mode="append")
    assert answer.status_code == 409
    assert "b.csv" in answer.json()["detail"]
    put(lake, f"{name}/b.csv", "id\n2\n")
    loaded(lake, name, f"object:{name}/", mode="append")

    assert lake.rows(name) == [[1], [2], [3]]
    assert not [path for path in lake.files() if "upload-" in path]


def test_a_key_has_one_answer_whatever_came_meanwhile(lake: Served, name: str) -> None:
    put(lake, f"{name}/a.csv", "id\n1\n")
    options = {"mode": "append", "idempotency": f"key of {name}"}
    first = loaded(lake, name, f"object:{name}/", **options)
    put(lake, f"{name}/b.csv", "id\n2\n")

    again = loaded(lake, name, f"object:{name}/", **options)
    other = load(lake, name, f"object:{name}/b.csv", **options)

    assert again == first
    assert lake.rows(name) == [[1]]
    assert other.status_code == 422, other.text


def test_two_loads_at_once_take_an_object_once(lake: Served, name: str) -> None:
    put(lake, f"{name}/a.csv", "id\n" + "1\n" * 20_000)
    loaded(lake, name, f"object:{name}/", mode="append")
    put(lake, f"{name}/b.csv", "id\n" + "2\n" * 20_000)
    params = {"name": name, "source": f"object:{name}/", "mode": "append"}

    async def both() -> list[httpx.Response]:
        asked = (lake.client.post("/v1/ingest", params=params) for _ in range(4))
        return list(await asyncio.gather(*asked))

    answers = lake.run(both())

    assert {each.status_code for each in answers} == {200}
    assert sum(not each.json()["existing"] for each in answers) == 1
    assert len(lake.rows(name)) == 40_000


def test_more_than_a_load_may_have_comes_a_hundred_at_a_time(lake: Served, name: str) -> None:
    for number in range(105):
        put(lake, f"{name}/{number:03}.csv", f"id\n{number}\n")

    whole = load(lake, name, f"object:{name}/")
    first = loaded(lake, name, f"object:{name}/", mode="append")
    second = loaded(lake, name, f"object:{name}/", mode="append")

    assert whole.status_code == 400
    assert "mode=append" in whole.json()["detail"]
    assert [each["source"]["object_count"] for each in (first, second)] == [100, 5]
    assert [each["source"]["more"] for each in (first, second)] == [True, False]
    assert lake.rows(name) == [[number] for number in range(105)]


def test_what_is_no_source_is_refused(lake: Served, name: str) -> None:
    put(lake, f"{name}/a.csv", "id\n1\n")
    key = f"object:{name}/a.csv"
    cases = [
        (load(lake, name, "file:///etc/passwd"), 400, "refused"),
        (load(lake, name, "/etc/passwd"), 400, "refused"),
        (load(lake, name, "http://169.254.169.254/"), 400, "refused"),
        (load(lake, name, ""), 400, "refused"),
        (load(lake, name, "object:"), 400, "refused"),
        (load(lake, name, "object:../x"), 400, "refused"),
        (load(lake, name, f"object:{name}/gone.csv"), 404, "no object"),
        (load(lake, name, f"object:{name}/gone/"), 404, "no object"),
        (load(lake, name, "s3://exports/daily"), 403, "storage.sources"),
        (load(lake, name, "s3://exports/daily", dry_run="true"), 403, "storage.sources"),
        (load(lake, name, key, upload="0" * 32), 400, "exclude"),
        (lake.ingest(name, "id\n1\n", source=key), 400, "no body"),
    ]
    for answer, status, words in cases:
        assert answer.status_code == status, answer.text
        assert words in answer.json()["detail"]
    later = lake.send(
        "POST", "/v1/ingest", params={"name": name, "source": "s3://exports/x"}, headers=LATER
    )
    assert later.status_code == 403
    assert lake.send("GET", f"/v1/tables/{name}").status_code == 404


def test_a_dry_run_of_a_source_writes_nothing(lake: Served, name: str) -> None:
    put(lake, f"{name}/a.csv", "id,city\n1,Lyon\n")

    answer = loaded(lake, name, f"object:{name}/a.csv", dry_run="true")

    assert [each["name"] for each in answer["columns"]] == ["id", "city"]
    assert lake.send("GET", f"/v1/tables/{name}").status_code == 404


def ended(lake: Served, job: httpx.Response) -> dict[str, Any]:
    assert job.status_code == 202, job.text
    deadline = time.monotonic() + 20
    while True:
        found: dict[str, Any] = lake.send("GET", job.headers["location"]).json()
        if found["ended_at"]:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def test_a_source_is_loaded_by_a_job(lake: Served, name: str) -> None:
    put(lake, f"{name}/a.csv", "id\n1\n")
    params = {"name": name, "source": f"object:{name}/", "mode": "append"}

    job = ended(lake, lake.send("POST", "/v1/ingest", params=params, headers=LATER))

    assert job["state"] == "succeeded", job
    assert job["result"]["source"]["object_count"] == 1
    assert lake.rows(name) == [[1]]


def later(lake: Served, name: str, source: str, key: str | None = None) -> httpx.Response:
    params = {"name": name, "source": source, "mode": "append"}
    headers = {**LATER, "Idempotency-Key": key} if key else LATER
    return lake.send("POST", "/v1/ingest", params=params, headers=headers)


def test_a_job_takes_all_of_a_source_and_its_result_is_the_sum(lake: Served, name: str) -> None:
    for number in range(205):
        put(lake, f"{name}/{number:03}.csv", f"id\n{number}\n")

    job = ended(lake, later(lake, name, f"object:{name}/", f"all of {name}"))
    put(lake, f"{name}/999.csv", "id\n999\n")
    again = ended(lake, later(lake, name, f"object:{name}/", f"all of {name}"))

    assert job["state"] == "succeeded", job
    said = job["result"]
    assert (said["added_rows"], said["row_count"], said["existing"]) == (205, 205, False)
    assert (said["source"]["object_count"], said["source"]["more"]) == (205, False)
    assert len(said["objects"]) == 3
    assert again["result"] == said, "what came meanwhile is not of this key"
    assert lake.rows(name) == [[number] for number in range(205)]
    newest = ended(lake, later(lake, name, f"object:{name}/"))
    assert newest["result"]["source"]["object_count"] == 1


def test_a_job_that_fails_says_what_it_loaded_and_the_next_goes_on(lake: Served, name: str) -> None:
    for number in range(104):
        put(lake, f"{name}/{number:03}.csv", f"id\n{number}\n")
    put(lake, f"{name}/104.csv", "id\nnone\n")

    job = ended(lake, later(lake, name, f"object:{name}/"))
    put(lake, f"{name}/104.csv", "id\n104\n")
    mended = ended(lake, later(lake, name, f"object:{name}/"))

    assert job["state"] == "failed"
    assert "104.csv" in job["error"]["detail"]
    assert "100 objects before were loaded" in job["error"]["detail"]
    assert mended["result"]["source"] | {"size_bytes": 0} == {
        "object_count": 5,
        "size_bytes": 0,
        "skipped_count": 100,
        "more": False,
    }
    assert lake.rows(name) == [[number] for number in range(105)]


def test_together_objects_are_no_larger_than_a_load_may_be(tmp_path: Path) -> None:
    config = Config(ingest=IngestConfig(max_bytes=100, line_max_bytes=50))
    with serving(tmp_path / "data", config) as lake:
        for key in ("x/a.csv", "x/b.csv"):
            put(lake, key, "id\n" + "1\n" * 30)
        put(lake, "y.csv", "id\n" + "1\n" * 60)

        assert load(lake, "t", "object:x/").status_code == 413
        assert load(lake, "t", "object:y.csv", mode="append").status_code == 413
        first = loaded(lake, "t", "object:x/", mode="append")
        second = loaded(lake, "t", "object:x/", mode="append")

        assert [first["source"]["more"], second["source"]["more"]] == [True, False]
        assert len(lake.rows("t")) == 60


# Below: a bucket.


@dataclass
class Bucketed:
    lake: Served
    prefix: str
    """Of what it may read."""
    proxy: object_store.Proxy

    def put(self, name: str, data: str) -> None:
        body = data.encode()
        client = object_store.shared().client()
        client.put_object(object_store.BUCKET, f"{self.prefix}/{name}", io.BytesIO(body), len(body))

    def uri(self, name: str = "") -> str:
        return f"s3://{object_store.BUCKET}/{self.prefix}{name}"


@pytest.fixture(scope="module")
def bucketed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucketed]:
    object_store.needed()
    folder, prefix = tmp_path_factory.mktemp("sources"), f"exports/{secrets.token_hex(6)}"
    with object_store.proxy(object_store.shared().url) as proxy:
        storage = StorageConfig(
            endpoint=proxy.url,
            credentials_file=object_store.key_file(folder),
            sources=(f"s3://{object_store.BUCKET}/{prefix}", "s3://no-such-bucket"),
        )
        with serving(folder / "data", Config(storage=storage)) as lake:
            yield Bucketed(lake, prefix, proxy)


def test_a_prefix_of_a_bucket_is_one_load_and_once(bucketed: Bucketed, name: str) -> None:
    bucketed.put(f"{name}/2026/a.csv", "id,city\n1,Lyon\n")
    bucketed.put(f"{name}/2026/b.ndjson", '{"id": 2, "city": "Oslo"}\n')
    bucketed.put(f"{name}/2026/_SUCCESS", "")
    bucketed.put(f"{name}/20260/c.csv", "id,city\n9,Rome\n")
    source = bucketed.uri(f"/{name}/2026")

    first = loaded(bucketed.lake, name, source, mode="append")
    again = loaded(bucketed.lake, name, source, mode="append")

    assert bucketed.lake.rows(name) == [[1, "Lyon"], [2, "Oslo"]]
    assert first["source"]["object_count"] == 2
    assert (again["existing"], again["source"]["skipped_count"]) == (True, 2)


def test_what_was_loaded_is_not_fetched_again(bucketed: Bucketed, name: str) -> None:
    bucketed.put(f"{name}/a.csv", "id\n1\n")
    loaded(bucketed.lake, name, bucketed.uri(f"/{name}"))
    bucketed.proxy.asked.clear()

    assert loaded(bucketed.lake, name, bucketed.uri(f"/{name}"))["existing"]

    assert not [each for each in bucketed.proxy.asked if "a.csv" in each.path]


def test_a_pattern_and_a_single_object(bucketed: Bucketed, name: str) -> None:
    bucketed.put(f"{name}/a.csv", "id\n1\n")
    bucketed.put(f"{name}/b.txt", "nothing of ours")
    bucketed.put(f"{name}/deep/c.csv", "id\n3\n")

    loaded(bucketed.lake, name, bucketed.uri(f"/{name}/*.csv"))
    assert bucketed.lake.rows(name) == [[1]]
    loaded(bucketed.lake, name, bucketed.uri(f"/{name}/**/*.csv"))
    assert bucketed.lake.rows(name) == [[1], [3]]
    loaded(bucketed.lake, name, bucketed.uri(f"/{name}/deep/c.csv"))
    assert bucketed.lake.rows(name) == [[3]]


def test_nothing_there_and_no_bucket(bucketed: Bucketed, name: str) -> None:
    assert load(bucketed.lake, name, bucketed.uri(f"/{name}/none")).status_code == 404
    gone = load(bucketed.lake, name, "s3://no-such-bucket/x")
    assert gone.status_code == 502, gone.text
    above = load(bucketed.lake, name, f"s3://{object_store.BUCKET}/exports")
    assert above.status_code == 403


@pytest.mark.parametrize("fault", ["500", "reset", "truncate", "SlowDown"])
def test_a_store_that_fails_now_and_then_loses_no_row(
    bucketed: Bucketed, name: str, fault: str
) -> None:
    bucketed.put(f"{name}/a.csv", "id\n" + "".join(f"{n}\n" for n in range(50_000)))
    faults = iter([fault, None] * 20)
    bucketed.proxy.fault = lambda asked: next(faults) if asked.path.endswith("a.csv") else None
    try:
        loaded(bucketed.lake, name, bucketed.uri(f"/{name}"))
    finally:
        bucketed.proxy.fault = lambda asked: None

    assert len(bucketed.lake.rows(name)) == 50_000


def test_a_store_that_is_away_is_502_and_nothing_is_left(bucketed: Bucketed, name: str) -> None:
    bucketed.put(f"{name}/a.csv", "id\n1\n")
    bucketed.proxy.fault = lambda asked: "reset" if asked.path.endswith("a.csv") else None
    try:
        answer = load(bucketed.lake, name, bucketed.uri(f"/{name}"), mode="append")
    finally:
        bucketed.proxy.fault = lambda asked: None

    assert answer.status_code == 502, answer.text
    assert answer.json()["retryable"]
    assert bucketed.lake.send("GET", f"/v1/tables/{name}").status_code == 404
    assert not [path for path in bucketed.lake.files() if "upload-" in path]
    assert loaded(bucketed.lake, name, bucketed.uri(f"/{name}"), mode="append")["row_count"] == 1


def slow_from(bucketed: Bucketed, first: str) -> threading.Event:
    """Let no object from `first` on come; return what is set once one was asked for."""
    reached = threading.Event()

    def fault(asked: object_store.Asked) -> str | None:
        name = asked.path.rpartition("/")[2]
        if asked.method != "GET" or not name.endswith(".csv") or name < first:
            return None
        reached.set()
        return "delay"

    bucketed.proxy.fault = fault
    return reached


def many_objects(bucketed: Bucketed, name: str, count: int) -> str:
    for number in range(count):
        bucketed.put(f"{name}/{number:03}.csv", f"id\n{number}\n")
    return bucketed.uri(f"/{name}")


def listings(bucketed: Bucketed) -> list[str]:
    """Return behind which objects names were asked for, in the order of the requests."""
    asked = [urlsplit(each.path) for each in bucketed.proxy.asked if each.method == "GET"]
    queries = [parse_qs(each.query) for each in asked if "list-type=2" in each.query]
    return [query.get("start-after", [""])[0].rpartition("/")[2] for query in queries]


def test_a_job_lists_what_is_behind_its_last_load(bucketed: Bucketed, name: str) -> None:
    source, lake = many_objects(bucketed, name, 120), bucketed.lake
    ended(lake, later(lake, name, source))
    bucketed.put(f"{name}/050-late.csv", "id\n50\n")
    for number in range(120, 330):
        bucketed.put(f"{name}/{number:03}.csv", f"id\n{number}\n")
    bucketed.proxy.asked.clear()

    job = ended(lake, later(lake, name, source))

    # What is wrong with the source is asked at once; then each load asks.
    assert listings(bucketed) == ["", "", "218.csv", "318.csv"]
    assert job["result"]["source"] == {
        "object_count": 211,
        "size_bytes": sum(len(f"id\n{n}\n") for n in [50, *range(120, 330)]),
        "skipped_count": 120,
        "more": False,
    }
    assert lake.rows(name) == [[number] for number in sorted([50, *range(330)])]


def test_what_comes_while_a_job_runs_under_a_name_that_was_passed_is_for_the_next(
    bucketed: Bucketed, name: str
) -> None:
    source, lake = many_objects(bucketed, name, 160), bucketed.lake
    reached = slow_from(bucketed, "120.csv")
    try:
        job = later(lake, name, source)
        assert reached.wait(30)
        bucketed.put(f"{name}/000-late.csv", "id\n-1\n")
        bucketed.put(f"{name}/007.csv", "id\n-7\n")
    finally:
        bucketed.proxy.fault = lambda asked: None

    assert ended(lake, job)["result"]["added_rows"] == 160
    assert ended(lake, later(lake, name, source))["result"]["added_rows"] == 2
    assert lake.rows(name) == [[number] for number in (-7, -1, *range(160))]


def test_a_job_that_is_cancelled_between_loads_has_succeeded_so_far(
    bucketed: Bucketed, name: str
) -> None:
    source, lake = many_objects(bucketed, name, 160), bucketed.lake
    reached = slow_from(bucketed, "120.csv")
    try:
        job = later(lake, name, source)
        assert reached.wait(30)
        assert lake.send("POST", f"{job.headers['location']}/cancel").status_code == 200
        found = ended(lake, job)
    finally:
        bucketed.proxy.fault = lambda asked: None

    assert found["state"] == "succeeded", found
    assert found["result"]["added_rows"] == 100
    assert found["result"]["source"]["more"] is True
    assert lake.rows(name) == [[number] for number in range(100)]
    assert ended(lake, later(lake, name, source))["result"]["added_rows"] == 60
    assert not [path for path in lake.files() if "upload-" in path]


def test_a_job_that_a_stop_interrupted_goes_on_under_its_key(
    bucketed: Bucketed, name: str, tmp_path: Path
) -> None:
    source = many_objects(bucketed, name, 130)
    config = Config(storage=bucketed.lake.lakehouse.config.storage)
    reached = slow_from(bucketed, "110.csv")
    try:
        with serving(tmp_path / "data", config) as lake:
            job = later(lake, name, source, "my key")
            assert reached.wait(30)
    finally:
        bucketed.proxy.fault = lambda asked: None
    with serving(tmp_path / "data", config) as lake:
        assert ended(lake, job)["state"] == "interrupted"
        assert len(lake.rows(name)) == 100

        done = ended(lake, later(lake, name, source, "my key"))

        assert done["result"]["added_rows"] == 130
        assert lake.rows(name) == [[number] for number in range(130)]
