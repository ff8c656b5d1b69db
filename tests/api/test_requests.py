"""Nothing that a request says is ignored: each route is asked what it cannot know."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, get
from litestar.params import FromQuery

from lakehouse.api.problems import EXCEPTION_HANDLERS
from lakehouse.api.requests import SAFE, TAKES, Takes, check_request, read_signatures
from lakehouse.app import Lakehouse, create_app
from lakehouse.observability import Metrics
from tests.services import client_of, edge_of


@get("/tags", sync_to_thread=False)
def list_tags(tag: FromQuery[list[str]]) -> list[str]:
    return tag


@pytest.fixture
async def client(lake: Lakehouse) -> AsyncIterator[httpx.AsyncClient]:
    """A client that may ask every route."""
    async with client_of(create_app(lake).from_operator) as client:
        yield client


def routes_of(lake: Lakehouse) -> Iterator[tuple[str, str, Takes]]:
    """Yield method, path and signature of every route that there is."""
    app: Any = create_app(lake)._app
    for route in app.routes:
        for method, (handler, _) in getattr(route, "route_handler_map", {}).items():
            if method != "OPTIONS":
                path = re.sub(r"\{[^}]*\}", "x", route.path_format)
                yield method, path, handler.opt[TAKES]


async def test_every_route_refuses_a_parameter_that_it_does_not_know(
    lake: Lakehouse, client: httpx.AsyncClient
) -> None:
    asked = 0
    for method, path, takes in routes_of(lake):
        answer = await client.request(method, path, params={"zzzz": "1"})
        assert answer.status_code == 400, (method, path)
        if method != "HEAD":
            detail = answer.json()["detail"]
            known = ", ".join(takes.query) or "takes none"
            assert "'zzzz' is unknown" in detail, (method, path)
            assert known in detail, (method, path)
        asked += 1
    assert asked > 30


async def test_every_route_names_the_parameter_that_was_nearly_spelt(
    lake: Lakehouse, client: httpx.AsyncClient
) -> None:
    asked = 0
    for method, path, takes in routes_of(lake):
        for name in takes.query:
            answer = await client.request(method, path, params={f"{name}x": "1"})
            assert answer.status_code == 400, (method, path)
            assert f"did you mean {name!r}?" in answer.json()["detail"], (method, path)
            asked += 1
    assert asked > 20


async def test_every_route_refuses_a_parameter_that_is_there_twice(
    lake: Lakehouse, client: httpx.AsyncClient
) -> None:
    for method, path, takes in routes_of(lake):
        for name in set(takes.query) - takes.lists:
            answer = await client.request(method, path, params=[(name, "1"), (name, "2")])
            assert answer.status_code == 400, (method, path)
            assert f"{name!r} is twice" in answer.json()["detail"], (method, path)


async def test_a_list_may_be_there_more_than_once() -> None:
    app = Litestar([list_tags], before_request=check_request, exception_handlers=EXCEPTION_HANDLERS)
    read_signatures(app)
    async with client_of(edge_of(app, Metrics("test"))) as client:
        answer = await client.get("/tags?tag=a&tag=b")
        assert answer.json() == ["a", "b"]


async def test_every_route_takes_an_idempotency_key_or_says_that_it_does_not(
    lake: Lakehouse, client: httpx.AsyncClient
) -> None:
    for method, path, takes in routes_of(lake):
        if method in SAFE or takes.key:
            continue
        answer = await client.request(method, path, headers={"Idempotency-Key": "one"})
        assert answer.status_code == 400, (method, path)
        assert answer.json()["type"] == "/problems/key-not-taken", (method, path)


@pytest.mark.parametrize(
    ("method", "url", "body", "field", "values"),
    [
        ("GET", "/v1/jobs?state=odd", None, "state", "queued, running, succeeded"),
        ("POST", "/v1/ingest?name=t&on_error=odd", None, "on_error", "fail, reject, string"),
        ("POST", "/v1/tables/t/rows?mode=odd", {}, "mode", "append, delete, upsert"),
        (
            "POST",
            "/v1/tables/t/from-query",
            {"sql": "SELECT 1", "mode": "odd"},
            "mode",
            "append, create, overwrite, upsert",
        ),
        ("PUT", "/v1/tables/t/refs/r", {"type": "odd"}, "type", "branch, tag"),
        (
            "POST",
            "/v1/tables/t/schema",
            {"changes": [{"op": "odd"}]},
            "changes[0].op",
            "add, widen, rename, drop, move",
        ),
    ],
)
async def test_a_value_that_is_none_of_those_allowed_is_told_all_of_them(
    client: httpx.AsyncClient, method: str, url: str, body: Any, field: str, values: str
) -> None:
    answer = await client.request(method, url, json=body)
    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["context"]["errors"]
    assert error["field"] == field
    assert error["message"].startswith(f"{field} is 'odd'; it is one of ")
    assert values in error["message"]
    assert error["in"] == ("query" if "odd" in url else "body")


@pytest.mark.parametrize(
    ("url", "part"),
    [
        ("/v1/tables/%FF", "path"),
        ("/v1/tables/a%C3", "path"),
        ("/v1/catalog/manifest/%FF", "path"),
        ("/v1/storage/get/%FF", "path"),
        ("/v1/tables?namespace=%FF", "query"),
        ("/v1/storage/list?prefix=a%ED%A0%80", "query"),
        ("/v1/sql?sql=SELECT%20'%FF'", "query"),
        ("/v1/ingest?name=%E9t%E9", "query"),
    ],
)
async def test_an_escape_that_is_not_utf8_is_named_and_never_replaced(
    client: httpx.AsyncClient, url: str, part: str
) -> None:
    method = "POST" if "ingest" in url else "GET"
    answer = await client.request(method, url)
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/invalid-encoding"
    assert f"the {part} is not UTF-8" in answer.json()["detail"]


async def test_the_document_lists_the_query_of_a_load_with_examples(
    lake: Lakehouse, client: httpx.AsyncClient
) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    listed = document["paths"]["/v1/ingest"]["post"]["parameters"]
    query = {each["name"]: each for each in listed if each["in"] == "query"}
    takes = next(takes for _, path, takes in routes_of(lake) if path == "/v1/ingest")
    assert set(query) == set(takes.query) > {"name", "mode", "types", "dry_run"}
    assert all(each["description"] and each["example"] for each in query.values())
    assert query["name"]["required"] is True
    assert query["mode"]["schema"]["enum"] == [
        "append",
        "create",
        "delete",
        "overwrite",
        "upsert",
    ]
