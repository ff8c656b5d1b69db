"""What an answer says to a browser: which pages may ask, and that it is to guess nothing."""

import httpx
import pytest
from litestar import Litestar, get, post

from lakehouse.api.edge import Edge
from lakehouse.observability import Metrics
from tests.services import client_of, edge_of

PAGE = "https://app.example"
SAFE = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}


@get("/hello", sync_to_thread=False)
def hello() -> str:
    return "hello"


@post("/change", sync_to_thread=False)
def change() -> None:
    return None


def edge(*origins: str) -> Edge:
    app = Litestar([hello, change], logging_config=None)
    return edge_of(app, Metrics("test"), cors_origins=origins)


async def asked(edge: Edge, method: str, path: str, **headers: str) -> httpx.Response:
    async with client_of(edge) as client:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await client.request(method, path, headers=named)


@pytest.mark.parametrize("path", ["/hello", "/nowhere"])
async def test_every_answer_tells_a_browser_to_guess_nothing(path: str) -> None:
    answer = await asked(edge(), "GET", path)
    told = [(name, value) for name, value in answer.headers.multi_items() if name in SAFE]
    assert sorted(told) == sorted(SAFE.items())


async def test_without_a_list_no_page_of_another_origin_is_answered() -> None:
    answer = await asked(edge(), "GET", "/hello", Origin=PAGE)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_a_page_of_a_listed_origin_is_answered_and_may_read_the_answer() -> None:
    for method, path in (("GET", "/hello"), ("POST", "/change")):
        answer = await asked(edge(PAGE), method, path, Origin=PAGE)
        assert answer.is_success
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert "X-Lakehouse-Trace-Id" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers["Vary"] == "Origin"
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", f"{PAGE}.evil.example", f"{PAGE}:8443", "http://app.example", "null"],
)
async def test_a_page_of_another_origin_than_the_listed_is_not(origin: str) -> None:
    answer = await asked(edge(PAGE), "POST", "/change", Origin=origin)
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_a_preflight_says_what_a_listed_page_may_send() -> None:
    wanted = {"Origin": PAGE, "Access_Control_Request_Method": "DELETE"}
    answer = await asked(edge(PAGE), "OPTIONS", "/change", **wanted)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    assert "DELETE" in answer.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
    assert "Idempotency-Key" in answer.headers["Access-Control-Allow-Headers"]


async def test_a_preflight_of_another_origin_is_refused() -> None:
    wanted = {"Origin": "https://evil.example", "Access_Control_Request_Method": "DELETE"}
    answer = await asked(edge(PAGE), "OPTIONS", "/change", **wanted)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]
