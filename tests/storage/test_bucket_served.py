"""The whole product on a warehouse in a bucket: a real server, a real MinIO, and its faults."""

import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from minio.credentials.providers import AssumeRoleProvider

from lakehouse.cli.doctor import bucket
from lakehouse.recovery import rebuild
from tests import object_store
from tests.catalog.lake import unpacked
from tests.object_store import PASSWORD, USER, Proxy
from tests.services import ServerProcess, environment, lakehouse_server


def rows(client: httpx.Client, sql: str) -> list[list[Any]]:
    answer = client.post("/v1/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()["rows"]
    return found


def load(client: httpx.Client, name: str, text: str, **query: str) -> httpx.Response:
    files = {"file": ("rows.csv", text)}
    return client.post("/v1/ingest", params={"name": name, **query}, files=files)


class Lake:
    """A server whose requests to the store go through a proxy."""

    def __init__(self, folder: Path, proxy: Proxy) -> None:
        self.folder, self.proxy = folder, proxy
        self.config = object_store.settings(folder, proxy.url)

    @property
    def prefix(self) -> str:
        return str(self.config.warehouse).partition(f"//{object_store.BUCKET}/")[2]

    def server(self, name: str = "data") -> Any:
        # What it does by itself after a commit would be counted too.
        quiet = {"LAKEHOUSE_MAINTENANCE__ENABLED": "false"}
        variables = object_store.variables(self.config) | quiet
        return lakehouse_server(self.folder / name, port=None, **variables)

    def names(self) -> list[str]:
        client = object_store.shared().client()
        found = client.list_objects(object_store.BUCKET, f"{self.prefix}/", recursive=True)
        return [str(each.object_name).removeprefix(f"{self.prefix}/") for each in found]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        yield Lake(tmp_path_factory.mktemp("lake"), proxy)


@pytest.fixture(scope="module")
def served(lake: Lake) -> Iterator[ServerProcess]:
    with lake.server() as server:
        yield server


@pytest.fixture
def client(served: ServerProcess, lake: Lake) -> Iterator[httpx.Client]:
    lake.proxy.fault = lambda asked: None
    with httpx.Client(base_url=served.url, timeout=120) as client:
        yield client


def test_rows_go_in_and_out_and_change(client: httpx.Client, lake: Lake) -> None:
    assert load(client, "people", "id,name\n1,Ada\n2,Bo\n3,Cy\n").status_code == 200
    assert load(client, "people", "id,name\n4,Di\n", mode="append").status_code == 200
    assert rows(client, "SELECT count(*), max(id) FROM people") == [[4, 4]]

    answer = client.post("/v1/tables/people/delete", json={"where": "id = 2"})

    assert answer.status_code == 200, answer.text
    assert rows(client, "SELECT id FROM people ORDER BY id") == [[1], [3], [4]]
    assert client.get("/v1/tables/people").json()["row_count"] == 3
    assert {name.split("/")[0] for name in lake.names()} <= {"tables", "_catalog", "_tmp"}


def test_an_append_costs_four_puts_and_nothing_else(client: httpx.Client, lake: Lake) -> None:
    load(client, "counted", "id\n1\n")
    load(client, "counted", "id\n2\n", mode="append")
    lake.proxy.asked.clear()

    assert load(client, "counted", "id\n3\n", mode="append").status_code == 200

    asked = [each for each in lake.proxy.asked if "/tables/" in each.path]
    assert [each.method for each in asked] == ["PUT"] * 4, lake.proxy.asked


def test_maintenance_and_an_erasure_leave_what_is_needed_and_no_more(
    client: httpx.Client, lake: Lake
) -> None:
    load(client, "tidy", "id,name\n1,planted-one\n2,planted-two\n")
    for number in range(3, 10):
        load(client, "tidy", f"id,name\n{number},x\n", mode="append")

    runs = client.post("/v1/maintenance/run", json={}).json()["runs"]
    erased = client.post("/v1/tables/tidy/delete", json={"where": "id = 1", "erase": True})

    assert {(each["task"], each["reason"]) for each in runs if each["outcome"] == "failed"} == set()
    assert "done" in [each["outcome"] for each in runs if each["task"] == "compact"]
    assert erased.status_code == 200, erased.text
    assert rows(client, "SELECT count(*), min(id) FROM tidy") == [[8, 2]]
    left = [each for each in lake.names() if each.startswith("tables/main/tidy")]
    assert len([each for each in left if each.endswith(".parquet")]) == 1, left
    store = object_store.shared().client()
    for name in left:
        answer = store.get_object(object_store.BUCKET, f"{lake.prefix}/{name}")
        assert b"planted-one" not in answer.read()
        answer.close()
        answer.release_conn()
    copies = [each for each in (lake.folder / "data" / "cache").rglob("*") if each.is_file()]
    assert copies, "metadata is kept on the disk"
    assert [each for each in copies if b"planted-one" in unpacked(each.read_bytes()[32:])] == []


def test_what_was_read_is_not_asked_for_again(client: httpx.Client, lake: Lake) -> None:
    load(client, "cached", "id,name\n" + "".join(f"{i},name {i}\n" for i in range(5000)))
    assert rows(client, "SELECT count(DISTINCT name) FROM cached") == [[5000]]
    lake.proxy.asked.clear()

    assert rows(client, "SELECT count(DISTINCT name) FROM cached") == [[5000]]

    assert [each for each in lake.proxy.asked if "/tables/main/cached" in each.path] == []


def test_partitions_columns_and_the_past_work_as_on_a_disk(client: httpx.Client) -> None:
    made = client.post(
        "/v1/tables",
        json={
            "name": "days",
            "columns": [{"name": "id", "type": "long"}, {"name": "day", "type": "date"}],
            "partition_by": ["day"],
        },
    )
    assert made.status_code in (200, 201), made.text
    text = "id,day\n" + "".join(f"{i},2026-01-0{i % 3 + 1}\n" for i in range(30))
    first = load(client, "days", text, mode="append").json()["snapshot_id"]
    load(client, "days", "id,day\n99,2026-01-09\n", mode="append")

    assert rows(client, "SELECT count(*) FROM days WHERE day = DATE '2026-01-02'") == [[10]]
    answer = client.post(
        "/v1/sql", json={"sql": "SELECT count(*) FROM days", "as_of": {"days": first}}
    )
    assert answer.json()["rows"] == [[30]], answer.text


def test_objects_of_the_storage_api_can_be_registered(client: httpx.Client, lake: Lake) -> None:
    made = client.get(
        "/v1/sql",
        params={"sql": "SELECT 1::BIGINT AS id"},
        headers={"Accept": "application/vnd.apache.parquet"},
    )
    assert client.put("/v1/storage/put/raw/a b.parquet", content=made.content).status_code == 200
    registered = client.post(
        "/v1/catalog/register",
        json={
            "name": "by_reference",
            "schema_fingerprint": "0" * 64,
            "objects": [{"key": "raw/a b.parquet"}],
        },
    )
    assert registered.status_code == 200, registered.text

    assert rows(client, "SELECT id FROM by_reference") == [[1]]
    assert client.delete("/v1/storage/delete/raw/a b.parquet").status_code == 409
    assert client.get("/v1/storage/list").json()["objects"][0]["key"] == "raw/a b.parquet"
    part = client.get("/v1/storage/get/raw/a b.parquet", headers={"Range": "bytes=0-3"})
    assert part.content == b"PAR1"


def test_nothing_is_asked_of_the_store_while_commits_wait(
    client: httpx.Client, lake: Lake, served: ServerProcess
) -> None:
    """Neither by a registration nor by whoever replaces and deletes objects."""

    def is_waiting() -> bool:
        with closing(sqlite3.connect(served.data_dir / "catalog.db", timeout=0)) as beside:
            try:
                beside.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
            beside.rollback()
            return False

    asked = list[object_store.Asked]()
    told: list[object_store.Asked] = []

    def look(each: object_store.Asked) -> None:
        asked.append(each)
        if is_waiting():
            told.append(each)

    content = client.get(
        "/v1/sql",
        params={"sql": "SELECT 1::BIGINT AS id"},
        headers={"Accept": "application/vnd.apache.parquet"},
    ).content
    for key in ("a", "b", "c"):
        assert client.put(f"/v1/storage/put/alone/{key}", content=content).status_code == 200
    lake.proxy.fault = look
    objects = [{"key": "alone/a"}, {"key": "alone/b"}]
    asking = {"name": "alone", "schema_fingerprint": "0" * 64, "objects": objects}
    registered = client.post("/v1/catalog/register", json=asking)
    replaced = client.put("/v1/storage/put/alone/c", content=content)
    deleted = client.delete("/v1/storage/delete/alone/c")

    assert (registered.status_code, replaced.status_code) == (200, 200), registered.text
    assert deleted.status_code == 204
    assert len(asked) > 10
    assert told == []
    with closing(sqlite3.connect(served.data_dir / "catalog.db")) as writing:
        writing.execute("BEGIN IMMEDIATE")
        assert is_waiting(), "it would have been seen"


FAULTS = ["500", "503", "SlowDown", "reset", "reset-after", "delay"]


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="half a minute")
@pytest.mark.parametrize("kind", ["data", "metadata"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_write_is_acknowledged_or_refused_whatever_the_store_does(
    fault: str, kind: str, client: httpx.Client, lake: Lake
) -> None:
    name = f"fault_{fault}_{kind}".replace("-", "_").lower()
    load(client, name, "id\n1\n")
    is_write = object_store.is_of(kind)
    lake.proxy.fault = lambda asked: fault if is_write(asked) else None

    answer = load(client, name, "id\n2\n", mode="append")

    lake.proxy.fault = lambda asked: None
    if fault == "delay":
        assert answer.status_code == 200, answer.text
    else:
        assert answer.status_code in (502, 503), answer.text
        assert re.search("object store", answer.json()["detail"]), answer.text
        for told in (USER, PASSWORD, "s3://", lake.prefix):
            assert told not in answer.text
    there = [[1], [2]] if answer.status_code == 200 else [[1]]
    assert rows(client, f"SELECT id FROM {name} ORDER BY id") == there
    assert load(client, name, "id\n3\n", mode="append").status_code == 200
    assert rows(client, f"SELECT id FROM {name} ORDER BY id") == [*there, [3]]


def test_a_store_that_is_down_is_said_and_comes_back_by_itself(
    client: httpx.Client, lake: Lake
) -> None:
    load(client, "away", "id\n1\n")
    lake.proxy.fault = lambda asked: "reset"

    ready = client.get("/ready")
    read = client.post("/v1/sql", json={"sql": "SELECT sum(id) FROM away"})
    listed = client.get("/v1/storage/list")

    assert ready.status_code == 503 and not ready.json()["parts"]["storage"]["ok"]
    assert read.status_code == listed.status_code == 502, read.text
    assert read.json()["retryable"] is True
    lake.proxy.fault = lambda asked: None
    assert client.get("/ready").status_code == 200
    assert rows(client, "SELECT max(id) FROM away") == [[1]]


def test_keys_are_replaced_while_it_runs(client: httpx.Client, lake: Lake) -> None:
    """Keys of a session too. MinIO gives none that end within 15 minutes: they are replaced."""
    provider = AssumeRoleProvider(
        sts_endpoint=object_store.shared().url,
        access_key=USER,
        secret_key=PASSWORD,
        duration_seconds=900,
        region="us-east-1",
    )
    session = provider.retrieve()
    load(client, "rotated", "id\n1\n")

    object_store.key_file(lake.folder, "nobody", "wrong-" + "w" * 20)
    refused = load(client, "rotated", "id\n2\n", mode="append")
    unread = client.post("/v1/sql", json={"sql": "SELECT id FROM rotated"})
    object_store.key_file(
        lake.folder, session.access_key, session.secret_key, session.session_token or ""
    )
    taken = load(client, "rotated", "id\n3\n", mode="append")
    put = client.put("/v1/storage/put/rotated", content=b"x")
    object_store.key_file(lake.folder)

    for answer in (refused, unread):
        assert answer.status_code == 502, answer.text
        assert (answer.json()["type"], answer.json()["retryable"]) == (
            "/problems/store-refused",
            False,
        )
    assert taken.status_code == put.status_code == 200, taken.text
    assert rows(client, "SELECT id FROM rotated ORDER BY id") == [[1], [3]]


def test_doctor_says_whether_the_bucket_answers(lake: Lake) -> None:
    with object_store.proxy(object_store.shared().url) as proxy:
        config = object_store.settings(lake.folder, proxy.url)
        good = bucket(config)
        proxy.fault = lambda asked: "reset"
        bad = bucket(config)

    assert good.ok and str(config.warehouse) in good.detail
    assert not bad.ok and "broken off" in bad.detail and bad.mend == "see docs/storage.md"


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="15 seconds")
def test_what_was_written_outlives_a_kill_and_the_disk(tmp_path: Path) -> None:
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        lake = Lake(tmp_path, proxy)
        with lake.server() as server:
            with httpx.Client(base_url=server.url, timeout=60) as client:
                load(client, "kept", "id\n1\n")
            server.signal(signal.SIGKILL)
            server.wait()
        with lake.server() as server, httpx.Client(base_url=server.url, timeout=60) as client:
            assert rows(client, "SELECT id FROM kept") == [[1]]
            assert load(client, "kept", "id\n2\n", mode="append").status_code == 200
        shutil.rmtree(tmp_path / "data")

        # Another machine: the bucket is all that is left.
        with pytest.raises(RuntimeError, match="belongs to another data directory"):
            lake.server("new").__enter__()
        done = rebuild(tmp_path / "new", lake.config, apply=True)
        assert [(each.table, each.row_count) for each in done.report.tables] == [("main.kept", 2)]
        with lake.server("new") as server, httpx.Client(base_url=server.url) as client:
            assert rows(client, "SELECT count(*) FROM kept") == [[2]]


@pytest.mark.slow
@pytest.mark.skipif("LAKEHOUSE_TEST_LONG" not in os.environ, reason="ten seconds")
def test_keys_of_the_environment_are_told_to_nobody(tmp_path: Path) -> None:
    object_store.needed()
    with object_store.proxy(object_store.shared().url) as proxy:
        lake = Lake(tmp_path, proxy)
        variables = object_store.variables(lake.config) | {
            "AWS_ACCESS_KEY_ID": USER,
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "LAKEHOUSE_LOG__LEVEL": "DEBUG",
        }
        del variables["LAKEHOUSE_STORAGE__CREDENTIALS_FILE"]
        said = []
        with (
            lakehouse_server(tmp_path / "data", port=None, **variables) as server,
            httpx.Client(base_url=server.url, timeout=120) as client,
        ):
            said += [load(client, "t", "id\n1\n").text, client.get("/ready").text]
            for fault in ("reset", "500"):
                proxy.fault = lambda asked, fault=fault: fault  # type: ignore[misc]
                said += [load(client, "t", "id\n2\n", mode="append").text]
                said += [client.get("/v1/storage/list").text, client.get("/ready").text]
                said += [client.post("/v1/sql", json={"sql": "SELECT * FROM t, t u"}).text]
            proxy.fault = lambda asked: None
            for sql in ("FROM duckdb_secrets()", "SELECT * FROM 's3://lake/x.parquet'"):
                refused = client.post("/v1/sql", json={"sql": sql})
                assert refused.status_code == 400
                said.append(refused.text)
            children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
            said += [Path(f"/proc/{pid}/environ").read_text() for pid in children]
        shown = subprocess.run(
            [sys.executable, "-m", "lakehouse", "config", "show", "--json"],
            env=environment(**variables),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "AWS_SECRET_ACCESS_KEY" in shown.stdout
        said += [shown.stdout, shown.stderr, server.log()]
        kept = [each.read_bytes() for each in (tmp_path / "data").rglob("*") if each.is_file()]

    assert len(server.log()) > 1000
    for secret in (USER, PASSWORD):
        assert [text[:200] for text in said if secret in text] == []
        assert not any(secret.encode() in data for data in kept)
