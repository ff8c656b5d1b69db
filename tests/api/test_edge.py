"""What every request meets before its route: trace id, guard, counters, and an end to it all."""

import asyncio
import logging
from typing import Any

import anyio.to_thread
import httpx
import pytest
from litestar import Litestar, get, post

from lakehouse.api.edge import HEADERS_MAX_BYTES, Edge
from lakehouse.observability import Metrics, trace_id
from tests.services import client_of, edge_of


@get("/hello", sync_to_thread=False)
def hello() -> str:
    return "hello"


@get("/health", sync_to_thread=False)
def health() -> str:
    return "ok"


@get("/ready", sync_to_thread=False)
def ready() -> str:
    return "ok"


@get("/trace")
async def trace() -> list[str | None]:
    logging.getLogger("test").warning("on the loop")
    return [trace_id.get(), await anyio.to_thread.run_sync(trace_id.get)]


@post("/wait")
async def wait() -> None:
    await asyncio.sleep(0.05)


def app() -> Edge:
    handlers = [hello, health, ready, trace, wait]
    return edge_of(
        Litestar(handlers, logging_config=None),
        Metrics("test"),
        allowed_hosts=["lake.example"],
    )


async def got(
    path: str, headers: dict[str, str] | None = None, edge: Edge | None = None
) -> httpx.Response:
    async with client_of(edge or app()) as client:
        return await client.get(path, headers=headers)


async def test_a_trace_id_is_taken_and_echoed() -> None:
    answer = await got("/hello", {"X-Lakehouse-Trace-Id": "mine-1"})

    assert answer.headers["X-Lakehouse-Trace-Id"] == "mine-1"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, "caf\xe9", "tab\t"])
async def test_a_trace_id_that_could_do_harm_is_replaced(given: str) -> None:
    async with client_of(app()) as client:
        headers = [(b"X-Lakehouse-Trace-Id", given.encode("latin-1"))]
        answer = await client.get("/hello", headers=headers)

    assert len(answer.headers["X-Lakehouse-Trace-Id"]) == 32


async def test_minted_trace_ids_differ() -> None:
    ids = {(await got("/hello")).headers["X-Lakehouse-Trace-Id"] for _ in range(5)}

    assert len(ids) == 5


async def test_work_on_another_thread_knows_the_trace_id() -> None:
    answer = await got("/trace", {"X-Lakehouse-Trace-Id": "both"})

    assert answer.json() == ["both", "both"]


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:3110", "127.0.0.1:1", "[::1]:3110", "LOCALHOST", "lake.example"],
)
async def test_our_own_names_are_let_in(host: str) -> None:
    assert (await got("/hello", {"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "0.0.0.0", ""]
)
async def test_a_name_that_somebody_points_here_is_refused(host: str) -> None:
    answer = await got("/hello", {"Host": host})

    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/foreign-host"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["trace_id"] == answer.headers["X-Lakehouse-Trace-Id"]


@pytest.mark.parametrize("names", [("evil.example", "localhost"), ("localhost", "evil.example")])
@pytest.mark.parametrize("field", ["Host", "Origin"])
async def test_of_two_names_none_is_chosen(field: str, names: tuple[str, str]) -> None:
    prefix = "http://" if field == "Origin" else ""
    known = [("Host", "localhost")] if field == "Origin" else []
    async with client_of(app()) as client:
        headers = [*known, *((field, prefix + name) for name in names)]
        answer = await client.get("/hello", headers=headers)

    assert answer.status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "https://localhost"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_browser_on_a_foreign_page_is_refused(headers: dict[str, str]) -> None:
    answer = await got("/hello", headers)

    assert answer.status_code == 403
    assert answer.json()["type"] == "/problems/foreign-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
async def test_a_browser_on_our_own_page_is_let_in(headers: dict[str, str]) -> None:
    assert (await got("/hello", headers)).status_code == 200


async def test_an_unknown_route_is_guarded_too_and_health_is_open() -> None:
    assert (await got("/nothing", {"Host": "evil.example"})).status_code == 403
    assert (await got("/health", {"Host": "evil.example"})).status_code == 200


async def test_headers_have_a_limit() -> None:
    for path in ("/hello", "/health"):
        answer = await got(path, {"X-Long": "x" * HEADERS_MAX_BYTES})

        assert answer.status_code == 431
        assert answer.json()["type"] == "/problems/headers-too-large"


async def test_a_stopping_server_answers_its_watchers_and_nobody_new() -> None:
    edge = app()
    edge.stopping = True

    refused = await got("/hello", edge=edge)

    assert refused.status_code == 503
    assert refused.headers["Connection"] == "close"
    assert refused.headers["Retry-After"] == "5"
    assert (await got("/health", edge=edge)).status_code == 200
    assert (await got("/ready", edge=edge)).status_code == 200


async def test_a_connection_ends_with_an_answer_that_did_not_wait_for_the_body() -> None:
    async with client_of(app()) as client:
        unread = await client.post("/wait", content=b"never read")
        bodiless = await client.post("/wait")

    assert unread.headers["Connection"] == "close"
    assert "Connection" not in bodiless.headers


async def test_it_knows_how_many_requests_are_inside() -> None:
    edge = app()
    async with client_of(edge) as client:
        tasks = [asyncio.create_task(client.post("/wait")) for _ in range(3)]
        await asyncio.sleep(0.02)
        inside = edge.inside
        await asyncio.gather(*tasks)

    assert inside == 3
    assert edge.inside == 0


async def test_each_request_is_counted_by_its_route_and_not_by_its_path() -> None:
    metrics = Metrics("test")
    edge = edge_of(Litestar([hello], logging_config=None), metrics)
    async with client_of(edge) as client:
        await client.get("/hello?x=1")
        await client.get("/no/such/path/1")
        await client.request("BREW", "/hello")

    text = metrics.text().decode()
    assert 'lakehouse_requests_total{method="GET",route="/hello",status="200"} 1.0' in text
    assert 'lakehouse_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'method="other"' in text
    assert "BREW" not in text
    assert "/no/such/path" not in text


async def test_each_request_has_a_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lakehouse.requests"):
        await got("/hello")
        await got("/health")

    (record,) = [each for each in caplog.records if each.name == "lakehouse.requests"]
    fields: dict[str, Any] = vars(record)
    assert record.getMessage() == "GET /hello 200"
    assert fields["status"] == 200
    assert fields["sent_bytes"] == 5
    assert fields["duration_ms"] >= 0
