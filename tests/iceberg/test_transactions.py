"""Several tables in one commit, and requests that come twice."""

import uuid
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog

from tests.iceberg.conftest import PLACE, catalog
from tests.services import ServerProcess, lakehouse_server

COLUMNS = pa.schema([("id", pa.int64())])
TABLES = f"{PLACE}/namespaces/main/tables"
TRANSACTION = f"{PLACE}/transactions/commit"


@pytest.fixture
def names(them: RestCatalog) -> list[str]:
    found = [f"part_{uuid.uuid4().hex[:8]}" for _ in range(3)]
    for name in found:
        them.create_table(f"main.{name}", COLUMNS)
    return found


def change(name: str, value: str, requirements: list[Any] | None = None) -> dict[str, Any]:
    return {
        "identifier": {"namespace": ["main"], "name": name},
        "requirements": requirements or [],
        "updates": [{"action": "set-properties", "updates": {"user.n": value}}],
    }


def values(client: httpx.Client, names: list[str]) -> list[str | None]:
    found = [client.get(f"{TABLES}/{name}").json()["metadata"]["properties"] for name in names]
    return [each.get("user.n") for each in found]


def test_all_tables_of_a_transaction_change_or_none(client: httpx.Client, names: list[str]) -> None:
    changes = [change(name, "1") for name in names]
    answer = client.post(TRANSACTION, json={"table-changes": changes})
    assert (answer.status_code, answer.content) == (204, b"")
    assert values(client, names) == ["1", "1", "1"]

    stale = {"type": "assert-table-uuid", "uuid": str(uuid.uuid4())}
    for bad, status in (
        (change(names[1], "2", [stale]), 409),
        (change("nowhere", "2"), 404),
        ({**change(names[1], "2"), "updates": [{"action": "nothing"}]}, 400),
        ({**change(names[0], "3")}, 400),  # a table twice
    ):
        changes = [change(names[0], "2"), bad, change(names[2], "2")]
        answer = client.post(TRANSACTION, json={"table-changes": changes})
        assert answer.status_code == status, answer.text
        assert values(client, names) == ["1", "1", "1"]


def test_a_transaction_makes_tables_too(client: httpx.Client, names: list[str]) -> None:
    new = f"new_{uuid.uuid4().hex[:8]}"
    field = {"id": 1, "name": "id", "required": False, "type": "long"}
    made = {
        "identifier": {"namespace": ["main"], "name": new},
        "requirements": [{"type": "assert-create"}],
        "updates": [
            {"action": "add-schema", "schema": {"type": "struct", "fields": [field]}},
            {"action": "set-current-schema", "schema-id": -1},
        ],
    }
    uuid_of_no_table = {"type": "assert-table-uuid", "uuid": str(uuid.uuid4())}
    failing = [made, change(names[0], "2", [uuid_of_no_table])]
    assert client.post(TRANSACTION, json={"table-changes": failing}).status_code == 409
    assert client.head(f"{TABLES}/{new}").status_code == 404
    answer = client.post(TRANSACTION, json={"table-changes": [made, change(names[0], "2")]})
    assert answer.status_code == 204, answer.text
    assert client.head(f"{TABLES}/{new}").status_code == 204
    assert values(client, names[:1]) == ["2"]


def test_a_request_that_comes_twice_has_one_effect_and_one_answer(
    client: httpx.Client, names: list[str]
) -> None:
    at = f"{TABLES}/{names[0]}"
    add = {"action": "add-spec", "spec": {"fields": []}}
    body = {"requirements": [], "updates": [add, *change("", "1")["updates"]]}
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.post(at, json=body, headers=key)
    client.post(at, json={"requirements": [], "updates": change("", "2")["updates"]})
    again = client.post(at, json=body, headers=key)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    assert values(client, names[:1]) == ["2"]
    other = client.post(at, json={**body, "updates": []}, headers=key)
    assert (other.status_code, other.json()["error"]["type"]) == (
        422,
        "UnprocessableEntityException",
    )


def calls(name: str) -> list[tuple[str, str, Any]]:
    namespace = {"namespace": [name], "properties": {"a": "b"}}
    field = {"id": 1, "name": "id", "required": False, "type": "long"}
    table = {"name": "t", "schema": {"type": "struct", "fields": [field]}}
    moved = {
        "source": {"namespace": [name], "name": "t"},
        "destination": {"namespace": [name], "name": "u"},
    }
    return [
        ("POST", f"{PLACE}/namespaces", namespace),
        ("POST", f"{PLACE}/namespaces/{name}/properties", {"removals": ["a"]}),
        ("POST", f"{PLACE}/namespaces/{name}/tables", table),
        ("POST", f"{PLACE}/tables/rename", moved),
        ("DELETE", f"{PLACE}/namespaces/{name}/tables/u", None),
        ("DELETE", f"{PLACE}/namespaces/{name}", None),
    ]


def test_a_table_that_comes_back_by_register_does_so_once(
    client: httpx.Client, names: list[str]
) -> None:
    at = f"{TABLES}/{names[0]}"
    location = client.get(at).json()["metadata-location"]
    client.delete(at).raise_for_status()
    body = {"name": names[0], "metadata-location": location}
    key = {"Idempotency-Key": str(uuid.uuid4())}
    place = f"{PLACE}/namespaces/main/register"
    first = client.post(place, json=body, headers=key)
    again = client.post(place, json=body, headers=key)
    assert (first.status_code, again.status_code) == (200, 200), again.text
    assert again.json() == first.json()
    assert client.post(place, json=body).status_code == 409


def test_every_change_is_answered_alike_the_second_time(client: httpx.Client) -> None:
    for method, path, body in calls("twice"):
        key = {"Idempotency-Key": str(uuid.uuid4())}
        first = client.request(method, path, json=body, headers=key)
        assert first.status_code in (200, 204), (path, first.text)
        again = client.request(method, path, json=body, headers=key)
        assert (again.status_code, again.content) == (first.status_code, first.content), path


def test_a_key_outlives_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    key = {"Idempotency-Key": str(uuid.uuid4())}
    body = {"requirements": [], "updates": change("", "1")["updates"]}
    with lakehouse_server(data, port=None) as server:
        catalog(server).create_table("main.kept", COLUMNS)
        first = httpx.post(f"{server.url}{TABLES}/kept", json=body, headers=key)
        httpx.delete(f"{server.url}{TABLES}/kept")
        server.process.kill()
    with lakehouse_server(data, port=None) as server:
        again = httpx.post(f"{server.url}{TABLES}/kept", json=body, headers=key)
        assert (again.status_code, again.content) == (200, first.content)
        assert httpx.head(f"{server.url}{TABLES}/kept").status_code == 404


def test_a_key_that_is_none_is_refused(server: ServerProcess) -> None:
    answer = httpx.post(f"{server.url}{TRANSACTION}", headers={"Idempotency-Key": "x" * 256})
    assert answer.status_code == 400
