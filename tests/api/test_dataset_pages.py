"""The list of datasets keeps the Go contract's shape, and has a bound beyond it."""

import httpx
import pytest


async def register(client: httpx.AsyncClient, *names: str) -> None:
    for name in names:
        body = {"name": name, "schema_fingerprint": "f"}
        answer = await client.post("/v1/catalog/register", json=body)
        assert answer.status_code == 200, answer.text


async def test_below_the_bound_there_are_manifests_and_nothing_else(
    client: httpx.AsyncClient,
) -> None:
    assert (await client.get("/v1/catalog/list")).json() == {"manifests": []}
    await register(client, "b", "a")

    listed = (await client.get("/v1/catalog/list", params={"limit": 2})).json()

    assert list(listed) == ["manifests"]
    assert [each["name"] for each in listed["manifests"]] == ["a", "b"]


async def test_above_it_a_cursor_says_where_to_go_on(client: httpx.AsyncClient) -> None:
    await register(client, "a", "b", "c")

    first = (await client.get("/v1/catalog/list", params={"limit": 2})).json()
    await register(client, "aa")  # before the cursor: it shifts nothing
    params = {"limit": 2, "cursor": first["next_cursor"]}
    second = (await client.get("/v1/catalog/list", params=params)).json()

    assert [each["name"] for each in first["manifests"]] == ["a", "b"]
    assert [each["name"] for each in second["manifests"]] == ["c"]
    assert "next_cursor" not in second


@pytest.mark.parametrize("params", [{"limit": "0"}, {"limit": "10001"}, {"cursor": "mine"}])
async def test_what_is_no_page_is_refused(
    client: httpx.AsyncClient, params: dict[str, str]
) -> None:
    answer = await client.get("/v1/catalog/list", params=params)

    assert answer.status_code == 400
    assert next(iter(params)) in answer.json()["detail"]
