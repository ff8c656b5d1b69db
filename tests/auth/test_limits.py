"""Limits of a token: counted, told, and kept over a restart."""

import time
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.auth import Caller, Grant, Limiter, Limits, TokenCreate
from lakehouse.auth.limits import RateLimitedError, Usage, Used, refill
from lakehouse.config import Config
from lakehouse.state import DataDirectory, SqliteState, State
from tests.services import client_of

CSV = {"Content-Type": "text/csv"}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with SqliteState.open(tmp_path / "catalog.db") as state:
        yield state


def limited(**limits: int) -> Caller:
    return Caller("somebody", (Grant("reader"),), "id", limits=Limits(**limits))


def use(limiter: Limiter, caller: Caller, rows: int = 0, texts: int = 0) -> None:
    with limiter.enter(caller) as usage:
        assert usage is not None
        limiter.count(usage, Used(rows, texts))


@pytest.mark.parametrize(
    "limit", ["requests_per_minute", "requests_per_day", "rows_per_day", "texts_per_day"]
)
def test_a_limit_is_reached_and_says_when_to_come_again(state: State, limit: str) -> None:
    limiter, caller = Limiter(state), limited(**{limit: 3})
    for _ in range(3):
        use(limiter, caller, rows=1, texts=1)
    with pytest.raises(RateLimitedError, match=r"3 (r|texts)") as refused:
        use(limiter, caller)
    assert refused.value.retry_after_s is not None
    least, most = (1, 21) if limit == "requests_per_minute" else (1, 86_400)
    assert least <= refused.value.retry_after_s <= most


def test_what_is_refused_is_not_counted(state: State) -> None:
    limiter, caller = Limiter(state), limited(requests_per_minute=1, requests_per_day=9)
    use(limiter, caller)
    for _ in range(20):
        with pytest.raises(RateLimitedError, match="a minute"):
            use(limiter, caller)


def test_a_minute_gives_back_as_time_goes_by() -> None:
    usage = Usage()
    refill(usage, 60)
    assert usage.tokens == 60
    usage.tokens = 0
    usage.refilled_at = time.monotonic() - 2
    refill(usage, 60)
    assert usage.tokens == pytest.approx(2, abs=0.1)
    usage.refilled_at = time.monotonic() - 3600
    refill(usage, 60)
    assert usage.tokens == 60


def test_requests_at_once_are_counted_while_they_run(state: State) -> None:
    limiter, caller = Limiter(state), limited(concurrency=2)
    with (
        limiter.enter(caller),
        limiter.enter(caller),
        pytest.raises(RateLimitedError, match="2 requests at once"),
    ):
        use(limiter, caller)
    use(limiter, caller)


def test_who_has_no_limits_is_not_counted(state: State) -> None:
    limiter = Limiter(state)
    for caller in (Caller("x", (), "id"), Caller("x", (), None, limits=Limits(concurrency=1))):
        with limiter.enter(caller) as usage:
            assert usage is None


async def test_a_day_outlives_the_process(state: State) -> None:
    caller = limited(requests_per_day=3, rows_per_day=10, texts_per_day=100)
    async with Limiter(state).open() as limiter:
        use(limiter, caller, rows=4)
        use(limiter, caller, rows=5, texts=40)
    async with Limiter(state).open() as limiter:
        assert (b"x-lakehouse-texts-left-today", b"60") in limiter.headers(caller)
        use(limiter, caller, rows=1)
        with pytest.raises(RateLimitedError, match="3 requests a day"):
            use(limiter, caller)


async def test_a_rotation_begins_no_other_day(lake: Lakehouse) -> None:
    limits = Limits(requests_per_day=4)
    made = lake.tokens.create(TokenCreate("x", [Grant("reader")], limits=limits))
    async with client_of(create_app(lake)) as client:

        async def ask(secret: str) -> int:
            headers = {"Authorization": f"Bearer {secret}"}
            return (await client.get("/v1/tokens/self", headers=headers)).status_code

        assert [await ask(made.token) for _ in range(3)] == [200] * 3
        again = lake.tokens.rotate("x", timedelta(seconds=600))
        assert [await ask(again.token), await ask(again.token)] == [200, 429]
        assert await ask(made.token) == 429, "the one before shares it"


def test_another_day_begins_anew() -> None:
    usage = Usage(day=1, requests=5, rows=7)
    usage.turn(2)
    assert (usage.requests, usage.rows) == (0, 0)


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[Lakehouse]:
    with DataDirectory.open(tmp_path / "data") as directory:
        async with open_lakehouse(Config(), directory) as lake:
            yield lake


async def test_over_http_it_is_429_with_what_is_left_in_headers(lake: Lakehouse) -> None:
    limits = Limits(requests_per_minute=100, requests_per_day=1000, rows_per_day=5)
    made = lake.tokens.create(TokenCreate("x", [Grant("writer")], limits=limits))
    async with client_of(create_app(lake)) as client:
        client.headers["Authorization"] = f"Bearer {made.token}"

        async def ask() -> httpx.Response:
            return await client.post("/v1/sql", json={"sql": "SELECT * FROM range(3)"})

        first = await ask()
        assert first.status_code == 200
        assert int(first.headers["RateLimit-Limit"]) == 5
        assert int(first.headers["RateLimit-Remaining"]) == 5
        assert int(first.headers["X-Lakehouse-Requests-Left-Today"]) == 999
        assert int(first.headers["X-Lakehouse-Rows-Left-Today"]) == 5
        second = await ask()
        assert int(second.headers["RateLimit-Remaining"]) == 2
        assert second.status_code == 200, "the request that goes beyond is answered whole"
        third = await ask()
        assert third.status_code == 429
        assert third.json()["type"] == "/problems/rate-limited"
        assert 0 < int(third.headers["Retry-After"]) <= 86_400
        assert int(third.headers["RateLimit-Remaining"]) == 0
        assert int(third.headers["X-Lakehouse-Rows-Left-Today"]) == 0
        assert int(third.headers["X-Lakehouse-Requests-Left-Today"]) == 998
        assert (await client.get("/health")).status_code == 200


@pytest.mark.parametrize("prefer", ["wait=60", "respond-async"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tables/made/from-query", {"sql": "SELECT range AS id FROM range(6)"}),
        ("/v1/tables/there/update", {"set": {"id": "id + 1"}, "where": "true"}),
        ("/v1/tables/there/delete", {"where": "true"}),
        ("/v1/embed", {"texts": ["one", "two", "three", "four", "five", "six"]}),
        ("/v1/ingest?name=loaded", "id\n1\n2\n3\n4\n5\n6\n"),
    ],
)
async def test_rows_that_are_changed_and_texts_are_of_the_day_too(
    lake: Lakehouse, path: str, body: object, prefer: str
) -> None:
    limits = Limits(texts_per_day=5) if "embed" in path else Limits(rows_per_day=5)
    made = lake.tokens.create(TokenCreate("x", [Grant("writer")], limits=limits))
    root = lake.tokens.create(TokenCreate("root", [Grant("admin")]))
    async with client_of(create_app(lake)) as client:
        client.headers["Authorization"] = f"Bearer {root.token}"
        answer = await client.post(
            "/v1/ingest?name=there", content="id\n1\n2\n3\n4\n5\n6\n", headers=CSV
        )
        assert answer.status_code == 200, answer.text
        client.headers["Authorization"] = f"Bearer {made.token}"
        client.headers["Prefer"] = prefer

        sent = {"json": body} if isinstance(body, dict) else {"content": body, "headers": CSV}
        answer = await client.post(path, **sent)
        assert answer.is_success, answer.text
        if answer.status_code == 202:
            async for _ in lake.jobs.follow(answer.json()["id"]):
                """To its end."""
        after = await client.get("/v1/tokens/self")

        assert after.status_code == 429, after.headers
