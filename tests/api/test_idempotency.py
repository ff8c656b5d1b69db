"""A request that is sent again under its key has one effect and one answer, on every JSON route."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest

from lakehouse.app import Lakehouse

COLUMNS = [{"name": "a", "type": "long"}]


@dataclass(frozen=True)
class Case:
    """A request that changes something, and another one that its key must not stand for."""

    method: str
    path: str
    json: dict[str, Any] | None = None
    other: tuple[str, dict[str, Any] | None] = ("", None)
    before: tuple[tuple[str, str, dict[str, Any] | None], ...] = ()
    undo: tuple[tuple[str, str, dict[str, Any] | None], ...] = ()
    """What makes the same request possible again, were it not for its key."""
    status: int = 200


def table(name: str) -> dict[str, Any]:
    return {"name": name, "columns": COLUMNS}


CASES = {
    "create table": lambda n: Case(
        "POST",
        "/v1/tables",
        table(n),
        ("/v1/tables", table(f"{n}_b")),
        undo=(("DELETE", f"/v1/tables/{n}", None),),
        status=201,
    ),
    "drop table": lambda n: Case(
        "DELETE",
        f"/v1/tables/{n}",
        None,
        (f"/v1/tables/{n}_b", None),
        before=(("POST", "/v1/tables", table(n)),),
        undo=(("POST", "/v1/tables", table(n)),),
        status=204,
    ),
    "rename table": lambda n: Case(
        "POST",
        f"/v1/tables/{n}/rename",
        {"to": f"{n}_b"},
        (f"/v1/tables/{n}/rename", {"to": f"{n}_c"}),
        before=(("POST", "/v1/tables", table(n)),),
        undo=(("POST", "/v1/tables", table(n)),),
    ),
    "create namespace": lambda n: Case(
        "POST",
        "/v1/namespaces",
        {"name": n},
        ("/v1/namespaces", {"name": f"{n}_b"}),
        undo=(("DELETE", f"/v1/namespaces/{n}", None),),
        status=201,
    ),
    "drop namespace": lambda n: Case(
        "DELETE",
        f"/v1/namespaces/{n}",
        None,
        (f"/v1/namespaces/{n}_b", None),
        before=(("POST", "/v1/namespaces", {"name": n}),),
        undo=(("POST", "/v1/namespaces", {"name": n}),),
        status=204,
    ),
    "register": lambda n: Case(
        "POST",
        "/v1/catalog/register",
        {"name": n, "schema_fingerprint": "f"},
        ("/v1/catalog/register", {"name": n, "schema_fingerprint": "g"}),
        undo=(("DELETE", f"/v1/tables/{n}", None),),
    ),
}


@pytest.fixture(params=CASES, ids=lambda name: name.replace(" ", "-"))
async def case(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> Case:
    make: Callable[[str], Case] = CASES[request.param]
    made = make(f"n{uuid4().hex[:8]}")
    for method, path, body in made.before:
        (await client.request(method, path, json=body)).raise_for_status()
    return made


def state_of(lake: Lakehouse) -> list[Any]:
    names = [(str(name), lake.catalog.load(name).location) for name in lake.catalog.names()]
    return [names, lake.catalog.namespaces.list()]


async def send(client: httpx.AsyncClient, case: Case, key: str) -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await client.request(case.method, case.path, json=case.json, headers=headers)


async def test_a_request_that_is_sent_again_is_answered_alike_and_changes_nothing(
    lake: Lakehouse, client: httpx.AsyncClient, case: Case
) -> None:
    first = await send(client, case, key := uuid4().hex)
    assert first.status_code == case.status, first.text
    for method, path, body in case.undo:
        (await client.request(method, path, json=body)).raise_for_status()
    before = state_of(lake)

    again = await send(client, case, key)

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert state_of(lake) == before


async def test_the_key_of_another_request_is_422(client: httpx.AsyncClient, case: Case) -> None:
    (await send(client, case, key := uuid4().hex)).raise_for_status()
    path, body = case.other
    other = await client.request(case.method, path, json=body, headers={"Idempotency-Key": key})
    assert other.status_code == 422
    assert key in other.json()["detail"]


async def test_while_the_first_request_runs_the_second_is_409(
    lake: Lakehouse, client: httpx.AsyncClient, case: Case
) -> None:
    before = state_of(lake)
    with lake.catalog.keys.in_flight(key := uuid4().hex):
        answer = await send(client, case, key)
    assert answer.status_code == 409
    assert answer.json()["retryable"] is True
    assert state_of(lake) == before


async def test_a_key_that_cannot_be_stored_undoes_what_it_was_for(
    lake: Lakehouse, client: httpx.AsyncClient, case: Case
) -> None:
    state = lake.catalog._state
    refuse = (
        "CREATE TEMP TRIGGER refuse BEFORE INSERT ON main.idempotency_key"
        " BEGIN SELECT RAISE(ABORT, 'no key today'); END"
    )
    before = state_of(lake)
    state.write(lambda tx: tx.execute(refuse))
    try:
        answer = await send(client, case, uuid4().hex)
    finally:
        state.write(lambda tx: tx.execute("DROP TRIGGER temp.refuse"))
    assert answer.status_code >= 400
    assert state_of(lake) == before


async def test_a_refused_request_leaves_its_key_free(client: httpx.AsyncClient, case: Case) -> None:
    for key in ("", "x" * 256, "a\x01b"):
        answer = await send(client, case, key)
        assert answer.status_code == 400
        assert "Idempotency-Key is 1 to 255" in answer.json()["detail"]
    wrong = await client.post(
        "/v1/tables", json={"name": "x"}, headers={"Idempotency-Key": (key := uuid4().hex)}
    )
    assert wrong.status_code == 400
    assert (await send(client, case, key)).status_code == case.status


async def test_a_registration_with_objects_is_answered_alike(
    lake: Lakehouse, client: httpx.AsyncClient
) -> None:
    name = f"n{uuid4().hex[:8]}"
    rows = await client.post("/v1/sql?format=parquet", json={"sql": "SELECT 1 AS a"})
    for key in (f"{name}/1", f"{name}/2"):
        await client.put(f"/v1/storage/put/{key}", content=rows.content)
    headers = {"Idempotency-Key": name}
    answers = []
    for objects in ([f"{name}/1"], [f"{name}/1"], [f"{name}/1", f"{name}/2"]):
        body = {
            "name": name,
            "schema_fingerprint": "given",
            "objects": [{"key": each} for each in objects],
        }
        sent = headers if len(objects) == 1 else {}
        answers.append(await client.post("/v1/catalog/register", json=body, headers=sent))
    first, again, more = (each.json() for each in answers)
    assert first == again
    assert (first["existing"], more["existing"]) == (False, True)
    assert [each["key"] for each in more["objects"]] == [f"{name}/1", f"{name}/2"]
    assert more["row_count"] == 2
    manifest = (await client.get(f"/v1/catalog/manifest/{name}")).json()
    assert manifest == more


async def test_an_adoption_is_answered_alike(lake: Lakehouse, client: httpx.AsyncClient) -> None:
    name = f"n{uuid4().hex[:8]}"
    rows = await client.post("/v1/sql?format=parquet", json={"sql": "SELECT 1 AS a"})
    for file in "ab":
        lake.catalog._store.write(f"{name}/{file}.parquet", rows.content)
    headers = {"Idempotency-Key": name}
    path, body = f"/v1/tables/{name}/adopt", {"files": [f"{name}/a.parquet"]}
    first = await client.post(path, json=body, headers=headers)
    assert (first.status_code, first.json()["row_count"]) == (201, 1)
    more = await client.post(path, json={"prefix": name})
    assert more.json()["row_count"] == 2
    assert (await client.post(path, json={"prefix": name})).json() == more.json()

    again = await client.post(path, json=body, headers=headers)

    assert (again.status_code, again.content) == (first.status_code, first.content)
    other = await client.post(path, json={"prefix": name}, headers=headers)
    assert other.status_code == 422
    for wrong in ({}, {"files": [], "prefix": name, "metadata": name}, {"file": name}):
        assert (await client.post(path, json=wrong)).status_code == 400
    missing = {"metadata": "x/metadata/y.metadata.json"}
    gone = await client.post(f"/v1/tables/{name}_b/adopt", json=missing)
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/nothing-to-adopt")
