"""The app as a whole, in this process: its routes, its document, its own view of its health."""

import shutil
import threading
from dataclasses import fields
from pathlib import Path

import anyio
import httpx
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse, unwritable
from lakehouse.config import BODY_MAX_BYTES, Config, IngestConfig
from lakehouse.ingest.formats import MEDIA_TYPES
from lakehouse.lanes import Lane
from lakehouse.state import DataDirectory
from tests.services import client_of

JSON_ROUTES = ["/v1/sql", "/v1/tables", "/v1/namespaces", "/v1/catalog/register"]


async def test_health_is_open_and_says_who_it_is(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health", headers={"Host": "anything"})

    assert answer.status_code == 200
    assert answer.json()["service"] == "lakehouse"


async def test_what_a_killed_upload_left_half_written_is_gone_after_the_start(
    tmp_path: Path,
) -> None:
    with DataDirectory.open(tmp_path / "data") as directory:
        left = directory.warehouse / "_tmp" / "0123456789ab"
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_bytes(b"half")
        async with open_lakehouse(Config(), directory):
            assert not left.exists()


async def test_as_many_loads_run_at_once_as_the_setting_says(tmp_path: Path) -> None:
    config = Config(ingest=IngestConfig(concurrency_max=6))
    together = threading.Barrier(6, timeout=20)
    with DataDirectory.open(tmp_path / "data") as directory:
        async with (
            open_lakehouse(config, directory) as lakehouse,
            anyio.create_task_group() as tasks,
        ):
            for _ in range(6):
                tasks.start_soon(lakehouse.database.call, together.wait, Lane.LONG)

    assert not together.broken


async def test_ready_answers_for_every_part_by_name(client: httpx.AsyncClient) -> None:
    answer = await client.get("/ready")

    assert answer.status_code == 200
    body = answer.json()
    assert body["ready"] is True
    assert set(body["parts"]) == {
        "database",
        "state",
        "catalog",
        "storage",
        "ingest",
        "query",
        "disk",
    }
    assert body["disk"]["free_bytes"] > 0
    assert body["warnings"] == []


async def test_ready_names_the_part_that_does_not_work(
    client: httpx.AsyncClient, lake: Lakehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake.health, "_checks", list(lake.health._checks))
    lake.health.add("moon", lambda: "it is not full")

    answer = await client.get("/ready")

    assert answer.status_code == 503
    assert answer.json()["parts"]["moon"] == {"ok": False, "reason": "it is not full"}
    assert answer.json()["parts"]["catalog"] == {"ok": True, "reason": None}


async def test_ready_names_a_damaged_table_and_serves_the_others(data_dir: Path) -> None:
    with DataDirectory.open(data_dir) as directory:
        async with (
            open_lakehouse(Config(), directory) as lake,
            client_of(create_app(lake)) as client,
        ):
            for name in ("whole", "broken"):
                columns = [{"name": "a", "type": "long"}]
                await client.post("/v1/tables", json={"name": name, "columns": columns})
                rows = await client.post(f"/v1/tables/{name}/rows", json={"rows": [{"a": 1}]})
                assert rows.status_code == 201, rows.text
            (broken,) = [name for name in lake.catalog.names() if name.name == "broken"]
            folder = lake.catalog.describe(broken).location
            shutil.rmtree(directory.path / "warehouse" / folder / "data")

            answer = await client.get("/ready")

            assert answer.status_code == 200
            (warning,) = answer.json()["warnings"]
            assert warning.startswith("the table main.broken: ")
            assert (await client.get("/v1/tables/whole")).status_code == 200


async def test_metrics_are_in_the_text_format_and_hold_what_was_promised(
    client: httpx.AsyncClient,
) -> None:
    await client.post("/v1/sql", json={"sql": "SELECT 1"})

    answer = await client.get("/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    for name in (
        'lakehouse_requests_total{method="POST",route="/v1/sql",status="200"}',
        "lakehouse_request_seconds_bucket",
        "lakehouse_requests_inside",
        'lakehouse_statements_total{outcome="ok"}',
        "lakehouse_statement_rows_total",
        "lakehouse_loaded_rows_total",
        "lakehouse_loaded_bytes_total",
        "lakehouse_tables",
        "process_resident_memory_bytes",
        'lakehouse_build_info{version="0.1.0"}',
    ):
        assert name in answer.text, name


async def test_every_field_of_the_lakehouse_is_there(lake: Lakehouse) -> None:
    assert all(getattr(lake, field.name) is not None for field in fields(lake))


@pytest.mark.parametrize("path", JSON_ROUTES)
async def test_every_json_route_guards_its_body(path: str, client: httpx.AsyncClient) -> None:
    large = await client.post(path, content=b'{"x": "' + b"x" * BODY_MAX_BYTES + b'"}')
    unknown = await client.post(path, json={"not_a_field": 1})
    cut_off = await client.post(path, content=b'{"name": ')
    empty = await client.post(path)

    assert large.status_code == 413
    for answer in (unknown, cut_off, empty):
        assert answer.status_code == 400, answer.text
    assert "not_a_field" in unknown.json()["detail"]
    for answer in (large, unknown, cut_off, empty):
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["trace_id"] == answer.headers["X-Lakehouse-Trace-Id"]


async def test_the_openapi_document_names_every_route_with_words(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/schema/openapi.json")).json()

    assert document["info"] == {"title": "Lakehouse", "version": "0.1.0"}
    operations = {
        f"{method} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if method in {"get", "put", "post", "delete"}
    }
    assert len(operations) > 20
    assert len({each["operationId"] for each in operations.values()}) == len(operations)
    for name, operation in operations.items():
        assert operation["description"], name
        for status in ("400", "403", "413", "503"):
            (media_type,) = operation["responses"][status]["content"]
            ours = name == "get /ready" and status == "503"
            assert media_type == "application/json" if ours else "application/problem+json"


async def test_the_document_has_every_body_that_is_taken(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/schema/openapi.json")).json()["paths"]
    without = {
        f"{method} {path}"
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method in {"put", "post", "patch"} and "requestBody" not in operation
    }

    acts = {f"post /v1/schedules/{{schedule}}/{act}" for act in ("pause", "resume", "run")}
    optimize = "post /v1/vectors/index/{name}/optimize"
    assert without == {"post /v1/jobs/{job_id}/cancel", optimize, *acts}, "they take none"
    content = {
        path: set(operation["requestBody"]["content"])
        for path, methods in paths.items()
        for operation in methods.values()
        if "requestBody" in operation
    }
    assert content["/v1/storage/put/{key}"] == {"*/*"}
    assert content["/v1/tables/{table}/rows"] == {"application/json"}
    assert content["/v1/ingest"] >= {"text/csv", "multipart/form-data", *MEDIA_TYPES}


async def test_an_empty_page_of_tables_may_be_of_both_kinds(client: httpx.AsyncClient) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    media = document["paths"]["/v1/tables"]["get"]["responses"]["200"]["content"]
    kinds = media["application/json"]["schema"]["anyOf"]

    assert [each["$ref"].rpartition("/")[2] for each in kinds] == ["TablePage", "DroppedPage"]


def test_a_folder_that_is_gone_cannot_be_written(tmp_path: Path) -> None:
    assert unwritable(tmp_path) is None
    assert unwritable(tmp_path / "gone") == "the folder gone cannot be written"
