"""What a token of narrow grants may do by the protocol; of the rest it is told nothing."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import orjson
import pytest

from tests.iceberg.conftest import PLACE
from tests.services import environment, lakehouse_server

FIELD = {"id": 1, "name": "id", "required": False, "type": "long"}
SCHEMA = {"type": "struct", "fields": [FIELD]}
SECRET = "secret"


@pytest.fixture(scope="module")
def clients(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """The operator, and one who writes namespace `a`, reads `b.shown` and sees nothing else."""
    data = tmp_path_factory.mktemp("lake") / "data"
    with lakehouse_server(data, port=None) as server:
        secrets = [
            token(data, "--role", "admin"),
            token(data, "--grant", "writer:a", "--grant", "reader:b.shown"),
        ]
        headers = [{"Authorization": f"Bearer {each}"} for each in secrets]
        with (
            httpx.Client(base_url=server.url, headers=headers[0]) as admin,
            httpx.Client(base_url=server.url, headers=headers[1]) as narrow,
        ):
            for name in "ab":
                admin.post(f"{PLACE}/namespaces", json={"namespace": [name]}).raise_for_status()
            for namespace, name in (("a", "mine"), ("b", "shown"), ("b", SECRET)):
                made = {"name": name, "schema": SCHEMA}
                at = f"{PLACE}/namespaces/{namespace}/tables"
                admin.post(at, json=made).raise_for_status()
            yield admin, narrow


def token(data: Any, *options: str) -> str:
    command = [sys.executable, "-m", "lakehouse", "token", "create", f"t{len(options)}", *options]
    done = subprocess.run(
        [*command, "--data", str(data), "--json"],
        capture_output=True,
        check=True,
        env=environment(),
    )
    return str(orjson.loads(done.stdout)["token"])


def change(namespace: str, name: str, *requirements: str) -> dict[str, Any]:
    return {
        "identifier": {"namespace": [namespace], "name": name},
        "requirements": [{"type": each} for each in requirements],
        "updates": [{"action": "set-properties", "updates": {"user.a": "b"}}],
    }


def commit(client: httpx.Client, namespace: str, name: str, *requirements: str) -> httpx.Response:
    body = change(namespace, name, *requirements)
    return client.post(f"{PLACE}/namespaces/{namespace}/tables/{name}", json=body)


def properties(admin: httpx.Client, namespace: str, name: str) -> Any:
    answer = admin.get(f"{PLACE}/namespaces/{namespace}/tables/{name}")
    return answer.raise_for_status().json()["metadata"]["properties"]


def test_each_table_of_a_commit_is_asked_for(clients: tuple[httpx.Client, httpx.Client]) -> None:
    admin, narrow = clients
    assert commit(narrow, "a", "mine").status_code == 200
    assert commit(narrow, "b", "shown").status_code == 403
    assert commit(narrow, "b", SECRET).status_code == 404
    before = properties(admin, "a", "mine")
    for name, status in (("shown", 403), (SECRET, 404), ("nothing", 404)):
        other = change("b", name)
        changed = {
            **change("a", "mine"),
            "updates": [{"action": "set-properties", "updates": {"user.c": "d"}}],
        }
        body = {"table-changes": [changed, other]}
        answer = narrow.post(f"{PLACE}/transactions/commit", json=body)
        assert answer.status_code == status, answer.text
        assert properties(admin, "a", "mine") == before
    for name in ("shown", SECRET):
        assert "user.a" not in properties(admin, "b", name)


def test_a_name_that_is_hidden_is_answered_as_one_that_is_free(
    clients: tuple[httpx.Client, httpx.Client],
) -> None:
    _, narrow = clients
    for name in (SECRET, "free"):
        assert commit(narrow, "b", name, "assert-create").status_code == 403
        body = {"name": name, "schema": SCHEMA}
        for staged in (False, True):
            said = {**body, "stage-create": staged}
            answer = narrow.post(f"{PLACE}/namespaces/b/tables", json=said)
            assert answer.status_code == 403, answer.text
        moved = {
            "source": {"namespace": ["a"], "name": "mine"},
            "destination": {"namespace": ["b"], "name": name},
        }
        assert narrow.post(f"{PLACE}/tables/rename", json=moved).status_code == 403
        for method in ("GET", "HEAD", "DELETE"):
            path = f"{PLACE}/namespaces/b/tables/{name}"
            assert narrow.request(method, path).status_code == 404


def test_a_place_tells_no_name_of_who_lies_there(
    clients: tuple[httpx.Client, httpx.Client],
) -> None:
    admin, narrow = clients
    found = admin.get(f"{PLACE}/namespaces/b/tables/{SECRET}").json()["metadata"]
    folder, uuid = found["location"], found["table-uuid"]
    root = folder.partition("/tables/")[0]
    for location in (folder, f"{folder}/data", f"{root}/tables/b", f"{root}/tables"):
        body = {"name": "new", "schema": SCHEMA, "location": location}
        answer = narrow.post(f"{PLACE}/namespaces/a/tables", json=body)
        assert answer.status_code == 400
        said = answer.json()["error"]["message"].replace(location, "")
        assert f"b.{SECRET}" not in said
    made = {
        "requirements": [{"type": "assert-create"}],
        "updates": [
            {"action": "assign-uuid", "uuid": uuid},
            {"action": "add-schema", "schema": SCHEMA},
            {"action": "set-current-schema", "schema-id": -1},
        ],
    }
    answer = narrow.post(f"{PLACE}/namespaces/a/tables/new", json=made)
    assert (answer.status_code, SECRET in answer.text) == (409, False)
    register = {"name": "new", "metadata-location": f"{folder}/metadata/x.metadata.json"}
    assert narrow.post(f"{PLACE}/namespaces/a/register", json=register).status_code == 403
