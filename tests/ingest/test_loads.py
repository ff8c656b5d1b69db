"""Loads as a whole: modes, the same content twice, keys, limits, a dry run, what is left behind."""

import asyncio
import gzip
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from lakehouse.api import edge
from lakehouse.config import Config, IngestConfig
from lakehouse.ingest.errors import InvalidFileError
from lakehouse.ingest.formats import COPY_BYTES, unpacked
from lakehouse.ingest.lines import unreadable_lines
from tests.ingest.served import Served, serving

CSV = "id,city\n1,Oslo\n2,Bergen\n"


def test_an_answer_says_what_the_contract_names(lake: Served, name: str) -> None:
    answer = lake.loaded(name, CSV)

    manifest = lake.send("GET", f"/v1/catalog/manifest/{name}").json()
    assert answer["dataset_id"] == manifest["dataset_id"]
    assert answer["schema_fingerprint"] == manifest["schema_fingerprint"]
    assert answer["snapshot_id"] == manifest["snapshot_id"]
    assert [each["key"] for each in answer["objects"]] == [o["key"] for o in manifest["objects"]]
    assert (answer["name"], answer["existing"], answer["row_count"]) == (name, False, 2)
    assert (answer["added_rows"], answer["rejected"]) == (2, {"count": 0, "rows": []})


def test_the_content_that_made_the_rows_adds_nothing_when_it_comes_again(
    lake: Served, name: str
) -> None:
    first = lake.loaded(name, CSV)
    again = lake.loaded(name, CSV)
    packed = lake.loaded(name, gzip.compress(CSV.encode()))

    for answer in (again, packed):
        assert (answer["existing"], answer["added_rows"], answer["row_count"]) == (True, 0, 2)
        assert answer["snapshot_id"] == first["snapshot_id"]
    other = lake.loaded(name, CSV + "3,Moss\n")
    assert (other["existing"], other["row_count"]) == (False, 3)
    back = lake.loaded(name, CSV)
    assert (back["existing"], back["row_count"]) == (False, 2)


def test_modes(lake: Served, name: str) -> None:
    assert lake.loaded(name, CSV, mode="create")["row_count"] == 2
    assert lake.ingest(name, CSV, mode="create").status_code == 409
    assert lake.loaded(name, "id,city\n3,Moss\n", mode="append")["row_count"] == 3
    assert lake.loaded(name, "id,city\n4,Voss\n", mode="overwrite")["row_count"] == 1
    assert lake.loaded(name, CSV)["row_count"] == 2


def test_a_key_goes_before_the_content(lake: Served, name: str) -> None:
    lake.loaded(name, CSV)
    key = {"Idempotency-Key": name}

    first = lake.ingest(name, CSV, headers=key, mode="append")
    again = lake.ingest(name, CSV, headers=key, mode="append")
    other = lake.ingest(name, CSV + "3,Moss\n", headers=key, mode="append")

    assert first.status_code == 200 and first.json()["row_count"] == 4
    assert again.content == first.content
    assert other.status_code == 422
    assert len(lake.rows(name)) == 4


def test_the_same_bytes_read_as_another_format_are_another_load(lake: Served, name: str) -> None:
    body = '{"id": 1}\n{"id": 2}\n'
    lake.loaded(name, body, "text/csv")

    again = lake.ingest(name, body, "application/x-ndjson")

    assert again.status_code == 409, "the column is another one, so it is not what is there"


def test_a_key_in_use_is_a_conflict(lake: Served, name: str) -> None:
    with lake.lakehouse.catalog.keys.in_flight(name):
        answer = lake.ingest(name, CSV, headers={"Idempotency-Key": name})

    assert answer.status_code == 409
    assert "still running" in answer.json()["detail"]


def test_a_dry_run_says_what_would_be_and_writes_nothing(lake: Served, name: str) -> None:
    lake.loaded(name, CSV)
    before = lake.files()

    answer = lake.ingest(name, "id,town,score\nx,Moss,0.5\n", dry_run="true").json()

    assert answer["exists"] is True
    assert answer["columns"] == [
        {"name": "id", "type": "string"},
        {"name": "town", "type": "string"},
        {"name": "score", "type": "double"},
    ]
    assert answer["differences"] == [
        {"column": "id", "in_file": "string", "in_table": "long"},
        {"column": "town", "in_file": "string", "in_table": None},
        {"column": "score", "in_file": "double", "in_table": None},
        {"column": "city", "in_file": None, "in_table": "string"},
    ]
    assert answer["sample"] == [{"id": "x", "town": "Moss", "score": 0.5}]
    assert lake.files() == before
    assert len(lake.rows(name)) == 2


def test_a_namespace_and_partitions(lake: Served, name: str) -> None:
    lake.send("POST", "/v1/namespaces", json={"name": "sales"})
    params = {"namespace": "sales", "partition_by": "city, bucket(4, id)", "sort_by": "id desc"}
    lake.loaded(name, CSV, **params)

    table = lake.send("GET", f"/v1/tables/sales.{name}").json()
    assert table["partition_by"] == ["city", "bucket(4, id)"]
    assert table["row_count"] == 2


def test_a_registered_dataset_gets_its_columns_from_the_first_load(lake: Served, name: str) -> None:
    lake.send("POST", "/v1/catalog/register", json={"name": name, "schema_fingerprint": "x"})
    lake.loaded(name, CSV)

    assert lake.rows(name) == [[1, "Oslo"], [2, "Bergen"]]


@pytest.mark.parametrize(
    ("content_type", "filename", "content"),
    [
        ("text/csv", "a.csv", CSV.encode()),
        ("application/octet-stream", "a.csv.gz", gzip.compress(CSV.encode())),
        ("application/octet-stream", "data", CSV.encode()),
        ("application/octet-stream", "a.jsonl", b'{"id": 1, "city": "Oslo"}\n{"id": 2}\n'),
        ("application/octet-stream", "data", b'{"id": 1, "city": "Oslo"}\n{"id": 2}\n'),
    ],
    ids=["csv", "csv.gz", "csv by content", "jsonl", "jsonl by content"],
)
def test_multipart_with_one_file(
    lake: Served, name: str, content_type: str, filename: str, content: bytes
) -> None:
    answer = lake.send(
        "POST",
        "/v1/ingest",
        params={"name": name},
        files={"file": (filename, content, content_type)},
    )

    assert answer.status_code == 200, answer.text
    assert [row[0] for row in lake.rows(name)] == [1, 2]


def test_zstd_and_the_content_alone_say_what_a_body_is(lake: Served, name: str) -> None:
    lake.loaded(name, pa.compress(b'{"id": 1}\n', codec="zstd", asbytes=True), None)

    assert lake.rows(name) == [[1]]


async def sparse(
    size_bytes: int, piece: bytes, first: bytes = b"id,filler\n"
) -> AsyncIterator[bytes]:
    yield first
    for _ in range(size_bytes // len(piece)):
        yield piece


def test_eleven_megabytes_pass_where_the_framework_would_stop_at_ten(
    lake: Served, name: str
) -> None:
    row = b"1," + b"x" * 1021 + b"\n"
    body = sparse(11 * 1024**2, row * 64)

    answer = lake.ingest(name, body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["row_count"] == 11 * 1024

    content = b"id,filler\n" + row * 11 * 1024
    files = {"file": ("a.csv", content, "text/csv")}
    answer = lake.send("POST", "/v1/ingest", params={"name": f"{name}_m"}, files=files)
    assert answer.status_code == 200, answer.text


def test_five_gigabytes_that_nobody_announced_stop_at_the_limit(tmp_path: Path) -> None:
    config = Config(ingest=IngestConfig(max_bytes=64 * 1024**2))
    with serving(tmp_path / "data", config) as served:
        before = served.files()
        answer = served.ingest("sparse", sparse(5 * 1024**3, bytes(8 * 1024**2)))

        assert answer.status_code == 413
        assert served.files() == before


@pytest.mark.skipif("LAKEHOUSE_TEST_LARGE" not in os.environ, reason="writes 5 GiB: 10 to 40 s")
def test_five_gigabytes_go_through_the_spool(tmp_path: Path) -> None:
    with serving(tmp_path / "data", Config()) as served:
        before = served.files()
        # It says that it is Parquet and is not, so the answer comes as soon as all was received.
        answer = served.ingest("sparse", sparse(5 * 1024**3, bytes(8 * 1024**2), b"PAR1"), None)

        assert answer.status_code == 400
        assert "footer" in answer.json()["detail"]
        assert served.files() == before


def test_a_load_over_the_limit_of_loads_waits_and_is_then_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakehouse.ingest.ingest.SLOT_WAIT_S", 0.05)
    config = Config(ingest=IngestConfig(concurrency_max=1))
    with serving(tmp_path / "data", config) as served:
        slots = served.lakehouse.ingest._slots
        served.run(slots.acquire())
        refused = served.ingest("t", CSV)
        served.loop.call_soon_threadsafe(slots.release)
        taken = served.ingest("t", CSV)

    assert refused.status_code == 503
    assert refused.headers["retry-after"] == "1"
    assert taken.status_code == 200


def test_a_client_that_leaves_leaves_nothing_behind(lake: Served, name: str) -> None:
    before = lake.files()
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"id\n" + b"1\n" * 2**20, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/ingest",
        "raw_path": b"/v1/ingest",
        "query_string": f"name={name}".encode(),
        "headers": [(b"host", b"127.0.0.1:3110"), (b"content-type", b"text/csv")],
        "client": ("127.0.0.1", 5000),
        "server": ("127.0.0.1", 3110),
    }
    lake.run(lake.app(scope, receive, send))

    assert [message["status"] for message in sent if "status" in message] in ([], [400])
    assert lake.files() == before
    assert lake.send("GET", f"/v1/tables/{name}").status_code == 404


def test_loads_that_arrive_together_are_all_there(lake: Served, name: str) -> None:
    async def send(number: int) -> httpx.Response:
        return await lake.client.post(
            "/v1/ingest",
            params={"name": name, "mode": "append"},
            content=f"id\n{number}\n".encode(),
            headers={"Content-Type": "text/csv"},
        )

    async def together() -> list[httpx.Response]:
        return list(await asyncio.gather(*(send(number) for number in range(8))))

    lake.loaded(name, "id\n-1\n")
    answers = lake.run(together())

    assert {answer.status_code for answer in answers} == {200}
    assert sorted(row[0] for row in lake.rows(name)) == [-1, *range(8)]


def test_a_listener_hears_of_each_load(lake: Served, name: str) -> None:
    def counted() -> float:
        text = lake.send("GET", "/metrics").text
        found = [
            line for line in text.splitlines() if line.startswith("lakehouse_loaded_rows_total")
        ]
        return float(found[0].split()[1]) if found else 0.0

    before = counted()
    lake.loaded(name, CSV)

    assert counted() == before + 2


def test_an_upload_that_pauses_too_long_is_given_up(
    lake: Served, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "BODY_PAUSE_MAX_S", 0.05)

    async def stalled() -> AsyncIterator[bytes]:
        yield b"id\n1\n"
        await asyncio.sleep(5)
        yield b"2\n"

    answer = lake.ingest(name, stalled())

    assert answer.status_code == 408, answer.text
    assert "may pause" in answer.json()["detail"]
    assert answer.headers["connection"] == "close"


def test_keys_that_come_after_the_sample_leave_no_copy_behind(lake: Served, name: str) -> None:
    rows = [f'{{"id": {number}}}' for number in range(1001)]
    long_keys = ", ".join(f'"{"k" * 200}{number}": 1' for number in range(50))
    lake.loaded(name, "\n".join([f"{{{long_keys}}}", *rows, '{"late": 1}']), "application/x-ndjson")

    assert "late" in lake.types(name)
    assert not list((lake.data_dir / "spool").glob("upload-*"))


def test_of_bad_lines_only_those_that_are_shown_are_described(tmp_path: Path) -> None:
    path = tmp_path / "bad.ndjson"
    path.write_bytes(b"\xff\n" * 1000 + b"{}\n" + b"x" * 50 + b"\n")

    shown, every = unreadable_lines(path, 0, max_bytes=40, shown_max=20)

    assert [line for line, _ in shown] == list(range(1, 21))
    assert list(every) == [*range(1, 1001), 1002]


def test_the_spool_is_empty_in_the_end(lake: Served) -> None:
    assert list(lake.lakehouse.ingest.spool.glob("upload-*")) == []


def test_a_dataset_keeps_the_fingerprint_that_it_was_registered_with(
    lake: Served, name: str
) -> None:
    body = {"name": name, "schema_fingerprint": "given"}
    assert lake.send("POST", "/v1/catalog/register", json=body).status_code == 200
    for content in ("a\n1\n", "a\n1\n", "a\n2\n"):
        loaded = lake.ingest(name, content)
        assert loaded.json()["schema_fingerprint"] == "given", loaded.text
    manifest = lake.send("GET", f"/v1/catalog/manifest/{name}").json()
    assert manifest["schema_fingerprint"] == "given"


def test_first_loads_at_once_into_a_dataset_without_columns_all_succeed(
    lake: Served, name: str
) -> None:
    body = {"name": name, "schema_fingerprint": "f", "objects": [], "row_count": 0}
    assert lake.send("POST", "/v1/catalog/register", json=body).status_code == 200
    files = [f"id,v\n{number},a\n" * 1 + "5,b\n" * 20_000 for number in range(4)]

    def load(file: str) -> int:
        return lake.ingest(name, file).status_code

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(load, files)) == [200] * 4
    assert len(lake.rows(name)) == 20_001


def test_a_create_that_fails_leaves_no_folder(lake: Served, name: str) -> None:
    lake.ingest(name, "id,v\n1,a\n", types="v:long")

    tables = lake.data_dir / "warehouse" / "tables" / "main"
    assert list(tables.glob(f"{name}-*")) == []
    assert [path for path in lake.files() if f"/{name}-" in path] == []
    assert lake.loaded(name, "id,v\n1,2\n", types="v:long")
    assert [path for path in lake.files() if f"/{name}-" in path] != []


@pytest.mark.parametrize("mode", ["append", "overwrite", "upsert"])
def test_bad_lines_for_a_table_that_is_there_are_named_with_the_way_to_load_the_others(
    lake: Served, name: str, mode: str
) -> None:
    lake.loaded(name, "id,n\n1,1\n")
    bad = "id,n\n2,2\nx,3\n4,y\nz,5\n"
    key = "id" if mode == "upsert" else ""

    answer = lake.ingest(name, bad, mode=mode, key=key)

    problem = answer.json()
    assert answer.status_code == 409
    assert problem["type"] == "/problems/schema-drift"
    rows = problem["context"]["rows"]
    assert [(row["line"], row["column"]) for row in rows] == [(3, "id"), (4, "n"), (5, "id")]
    assert problem["context"]["count"] == 3
    assert "on_error=reject" in problem["detail"]
    assert ("schema" if key else "evolve=true") in problem["detail"]
    assert lake.rows(name) == [[1, 1]]
    assert lake.loaded(name, bad, on_error="reject", mode=mode, key=key)["rejected"]["count"] == 3


def test_string_says_that_it_widens_new_tables_only(lake: Served, name: str) -> None:
    lake.loaded(name, "id\n1\n")

    answer = lake.ingest(name, "id\nx\n", mode="append", on_error="string")

    assert answer.status_code == 409
    assert "on_error=string widens columns of a new table only" in answer.json()["detail"]


def test_a_file_with_other_columns_is_told_of_evolve(lake: Served, name: str) -> None:
    lake.loaded(name, "id\n1\n")

    answer = lake.ingest(name, "id,more\n1,2\n", mode="append")

    assert "evolve=true" in answer.json()["detail"]


def test_an_upsert_of_other_columns_is_told_of_the_schema(lake: Served, name: str) -> None:
    lake.loaded(name, "id,n\n1,1\n")
    for rows in ("id,n,more\n1,2,3\n", "id,n\n1,x\n"):
        answer = lake.ingest(name, rows, mode="upsert", key="id")
        assert answer.status_code == 409
        assert "evolve" not in answer.json()["detail"]
        assert f"POST /v1/tables/main.{name}/schema" in answer.json()["detail"]


@pytest.mark.parametrize("key", ["id,id", "id,ID"])
def test_a_key_names_a_column_once(lake: Served, name: str, key: str) -> None:
    lake.loaded(name, "id,n\n1,1\n")
    for mode in ("upsert", "delete"):
        answer = lake.ingest(name, "id,n\n1,2\n", mode=mode, key=key)
        assert answer.status_code == 400
        assert "names it twice" in answer.json()["detail"]
    assert lake.rows(name) == [[1, 1]]


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_a_key_of_a_mode_that_has_none_is_refused(lake: Served, name: str, mode: str) -> None:
    assert lake.ingest(name, "id\n1\n", mode=mode, key="id").status_code == 400


@pytest.mark.parametrize("mode", ["append", "overwrite", "upsert"])
def test_first_loads_at_once_into_a_name_that_is_new_all_succeed(
    lake: Served, name: str, mode: str
) -> None:
    def load(number: int) -> httpx.Response:
        key = "id" if mode == "upsert" else ""
        return lake.ingest(name, f"id,v\n{number},a\n", mode=mode, key=key)

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(load, range(4)))

    assert [answer.status_code for answer in answers] == [200] * 4, [a.text for a in answers]
    assert len(lake.rows(name)) == (1 if mode == "overwrite" else 4)


def test_first_loads_that_differ_are_not_rounded_to_fit(lake: Served, name: str) -> None:
    body = {"name": name, "schema_fingerprint": "f", "objects": [], "row_count": 0}
    assert lake.send("POST", "/v1/catalog/register", json=body).status_code == 200

    def load(value: str) -> httpx.Response:
        return lake.ingest(name, f"v\n{value}\n" + f"{value}\n" * 20_000, mode="append")

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(load, ["1.5", "7", "1.5", "7"]))

    refused = [answer for answer in answers if answer.status_code != 200]
    assert {answer.json()["type"] for answer in refused} <= {"/problems/schema-drift"}
    if lake.types(name)["v"] == "long":
        assert len(refused) == 2
        assert {row[0] for row in lake.rows(name)} == {7}
    else:
        assert refused == []
        assert {row[0] for row in lake.rows(name)} == {1.5, 7.0}


def test_a_damaged_file_leaves_no_memory_behind(tmp_path: Path) -> None:
    path = tmp_path / "cut.gz"
    path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 50)[:-9])

    def data_bytes() -> int:
        status = Path("/proc/self/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmData:")]
        return int(line.split()[1]) * 1024

    def read() -> None:
        with pytest.raises(InvalidFileError):
            list(unpacked(path, "gzip"))

    read()
    before = data_bytes()
    for _ in range(50):
        read()
    assert data_bytes() < before + 10 * COPY_BYTES
