"""What a caller could learn of others, or hold up for them, by a way round."""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.auth import Caller, Grant, TokenCreate, acting, caller
from lakehouse.config import AuthConfig, Config, ServerConfig
from lakehouse.jobs import Job, JobHandle
from lakehouse.observability import Metrics
from lakehouse.state import DataDirectory
from tests.services import client_of, edge_of

FINGERPRINT = "sha256:" + "0" * 64


class Asked:
    """An app, and clients of it: the operator, and the holders of tokens."""

    def __init__(self, lake: Lakehouse) -> None:
        self.lake = lake
        self._app = create_app(lake)
        self.operator = client_of(self._app.from_operator)

    @contextmanager
    def holder(self, name: str, *grants: Grant) -> Iterator[httpx.AsyncClient]:
        secret = self.lake.tokens.create(TokenCreate(name, list(grants))).token
        client = client_of(self._app)
        client.headers["Authorization"] = f"Bearer {secret}"
        yield client

    def nobody(self) -> httpx.AsyncClient:
        return client_of(self._app)


@pytest.fixture(params=[()])
async def asked(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Asked]:
    config = Config(auth=AuthConfig(open_routes=request.param))
    with DataDirectory.open(tmp_path / "data") as directory:
        async with open_lakehouse(config, directory) as lake:
            found = Asked(lake)
            for name in ("own", "theirs"):
                await done(found.operator.post("/v1/namespaces", json={"name": name}))
                columns = [{"name": "id", "type": "long"}]
                table = {"name": f"{name}.t", "columns": columns}
                await done(found.operator.post("/v1/tables", json=table))
            yield found


async def done(request: Any) -> httpx.Response:
    answer: httpx.Response = await request
    assert answer.is_success, answer.text
    return answer


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": [1]}), file)
    return file.getvalue()


async def register(client: httpx.AsyncClient, name: str, *keys: str) -> httpx.Response:
    objects = [{"key": key, "size": 0} for key in keys]
    asked = {"name": name, "schema_fingerprint": FINGERPRINT, "objects": objects}
    return await client.post("/v1/catalog/register", json=asked)


async def test_an_object_does_not_tell_which_hidden_dataset_holds_it(asked: Asked) -> None:
    operator = asked.operator
    await done(operator.put("/v1/storage/put/mine/a.parquet", content=parquet()))
    await done(register(operator, "layoffs", "mine/a.parquet"))
    with (
        asked.holder("blind", Grant("writer", "objects:mine/")) as blind,
        asked.holder("seeing", Grant("writer", "objects:mine/"), Grant("reader", "main")) as seeing,
    ):
        for method, path in (("PUT", "put"), ("DELETE", "delete")):
            url = f"/v1/storage/{path}/mine/a.parquet"
            refused = await blind.request(method, url, content=b"x")
            assert refused.status_code == 409
            assert "layoffs" not in refused.text
            assert "layoffs" in (await seeing.request(method, url, content=b"x")).text
        await done(operator.delete("/v1/tables/layoffs"))
        assert "layoffs" not in (await blind.delete(url)).text
        assert "purge=true" in (await seeing.delete(url)).text


async def test_a_page_of_objects_is_of_what_the_caller_may_see(asked: Asked) -> None:
    keys = ["a/1", "a/2", "b", "b/1", "c/1", "c/d/1", "c/d/2", "é/1", "😀/1", "zz"]
    for key in keys:
        await done(asked.operator.put(f"/v1/storage/put/{key}", content=b"x"))
    prefixes = ["a/", "c/d/", "c/", "b", "no/", "é", "😀", "n" * 900, "n/" * 450]
    grants = [Grant("reader", f"objects:{each}") for each in prefixes]
    with asked.holder("some", *grants, Grant("writer", "own")) as some:

        async def listed(prefix: str, limit: int) -> list[str]:
            found, query = [], {"prefix": prefix, "limit": str(limit)}
            while True:
                page = (await done(some.get("/v1/storage/list", params=query))).json()
                assert len(page["objects"]) <= limit
                found += [each["key"] for each in page["objects"]]
                if page["next"] is None:
                    return found
                query["continuation_token"] = page["next"]

        for limit in (1, 2, 3, 100):
            assert await listed("", limit) == keys[:-1]
            assert await listed("c/d/1", limit) == ["c/d/1"]
            assert await listed("c", limit) == ["c/1", "c/d/1", "c/d/2"]
            assert await listed("z", limit) == []


async def test_who_reads_a_dataset_registers_nothing_in_it(asked: Asked) -> None:
    await done(asked.operator.put("/v1/storage/put/a.parquet", content=parquet()))
    await done(register(asked.operator, "people", "a.parquet"))
    with asked.holder("half", Grant("reader", "main"), Grant("writer", "own")) as half:
        for keys in ((), ("a.parquet",)):
            assert (await register(half, "people", *keys)).status_code == 403


@pytest.mark.parametrize(
    ("path", "body", "hidden"),
    [
        ("delete", {"where": "true"}, 404),
        ("delete", {"where": "true", "erase": True}, 404),
        ("update", {"set": {"id": "1"}, "where": "true"}, 404),
        ("rows?mode=upsert&key=id", {"rows": [{"id": 1}]}, 404),
        ("rows?mode=delete&key=id", {"rows": [{"id": 1}]}, 404),
        ("from-query", {"sql": "SELECT 1 AS id", "mode": "upsert", "key": ["id"]}, 403),
    ],
)
async def test_who_may_not_change_a_table_waits_for_no_turn_at_it(
    asked: Asked, path: str, body: dict[str, Any], hidden: int
) -> None:
    turns = asked.lake.ingest.rows._turns
    with (
        asked.holder("blind", Grant("writer", "own")) as blind,
        asked.holder("half", Grant("writer", "own"), Grant("reader", "theirs")) as half,
    ):
        async with turns.at("theirs.t"):
            url = f"/v1/tables/theirs.t/{path}"
            refused = await blind.post(url, json=body, timeout=5)
            assert refused.status_code == hidden, refused.text
            assert (await half.post(url, json=body, timeout=5)).status_code == 403


async def test_the_counters_of_everybody_are_for_who_reads_everything(asked: Asked) -> None:
    with (
        asked.holder("part", Grant("reader", "own")) as part,
        asked.holder("scrape", Grant("reader")) as scrape,
    ):
        assert (await part.get("/metrics")).status_code == 403
        assert "lakehouse_tables 2.0" in (await scrape.get("/metrics")).text


@pytest.mark.parametrize("asked", [("/metrics",)], indirect=True)
async def test_an_open_route_of_counters_counts_all_tables(asked: Asked) -> None:
    assert "lakehouse_tables 2.0" in (await asked.nobody().get("/metrics")).text


async def test_who_writes_everything_sees_the_jobs_of_others_and_stops_none(asked: Asked) -> None:
    later = {"Prefer": "respond-async", "Content-Type": "text/csv"}
    with (
        asked.holder("one", Grant("writer")) as one,
        asked.holder("other", Grant("writer")) as other,
        asked.holder("boss", Grant("admin")) as boss,
    ):
        load = one.post("/v1/ingest?name=j", content=b"id\n1\n", headers=later)
        job = (await done(load)).json()["id"]
        assert (await other.get(f"/v1/jobs/{job}")).status_code == 200
        assert (await other.post(f"/v1/jobs/{job}/cancel")).status_code == 403
        for client in (one, boss):
            assert (await client.post(f"/v1/jobs/{job}/cancel")).status_code == 200


async def test_a_job_ends_with_the_last_token_of_who_asked_for_it(asked: Asked) -> None:
    tokens, jobs = asked.lake.tokens, asked.lake.jobs

    async def endless(job: JobHandle) -> None:
        await asyncio.sleep(60)

    async def state_of(job: Job) -> str:
        await asyncio.sleep(0.2)
        return (await jobs.get(job.id)).state

    with asked.holder("etl", Grant("writer", "own")), asked.holder("keeper", Grant("admin")):
        with acting(Caller("etl", (), "id")):
            job = await jobs.start("test", endless)
        other = await jobs.start("test", endless)
        await asked.lake.database.call(lambda: tokens.rotate("etl", timedelta(0)))
        assert await state_of(job) == "running"
        await asked.lake.database.call(lambda: tokens.revoke("etl"))
        assert await state_of(job) == "cancelled"
        assert await state_of(other) == "running"


@pytest.fixture
async def external(tmp_path: Path) -> AsyncIterator[Asked]:
    """A server that other machines reach, through a proxy that knows its users."""
    config = Config(
        server=ServerConfig(host="0.0.0.0", external=True, trusted_proxies=("127.0.0.1",)),
        auth=AuthConfig(proxy_user_header="X-Forwarded-User", proxy_users=("ada=analysts",)),
    )
    with DataDirectory.open(tmp_path / "data") as directory:
        async with open_lakehouse(config, directory) as lake:
            yield Asked(lake)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({}, 200),
        ({"Origin": "https://lake.example", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_no_foreign_page_asks_as_the_user_that_a_proxy_knows(
    external: Asked, said: dict[str, str], status: int
) -> None:
    with external.holder("analysts", Grant("writer")) as holder:
        browser = external.nobody()
        headers = {"X-Forwarded-User": "ada", "Host": "lake.example", **said}
        sent = {"sql": "SELECT 1"}
        assert (await browser.post("/v1/sql", json=sent, headers=headers)).status_code == status
        if not said:
            return
        del headers["X-Forwarded-User"]  # a page that holds a token itself is nobody's victim
        assert (await holder.post("/v1/sql", json=sent, headers=headers)).status_code == 200


async def test_what_is_no_request_of_http_asks_as_nobody() -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(caller().name)

    async def silent(*message: Any) -> Any:
        return {}

    scope: Any = {"type": "websocket", "path": "/v1/sql"}
    await edge_of(app, Metrics("test"))(scope, silent, silent)
    assert seen == ["nobody"]
