"""A server that dies in the middle of what another engine asked: done, or not, and known which."""

import signal
from pathlib import Path

import httpx
import pytest

from lakehouse.failpoints import VARIABLE
from tests.iceberg.conftest import PLACE, load
from tests.iceberg.test_views import VIEWS, add, body
from tests.services import lakehouse_server

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("point", "moved"), [("after-metadata", False), ("after-pointer", True)])
@pytest.mark.parametrize("kind", ["view", "new view", "table"])
def test_a_kill_beside_the_pointer(tmp_path: Path, kind: str, point: str, moved: bool) -> None:
    data, told = tmp_path / "data", tmp_path / "failpoint"
    if kind == "table":
        path = f"{PLACE}/namespaces/main/tables/people"
        updates = [{"action": "set-properties", "updates": {"user.x": "new"}}]
        asked: object = {"requirements": [], "updates": updates}
    elif kind == "view":
        path, asked = f"{VIEWS}/seen", {"updates": add("SELECT 2 AS id"), "requirements": []}
    else:
        path, asked = VIEWS, body("seen", "SELECT 2 AS id")
    key = {"Idempotency-Key": "0190b0d3-3b2c-7bb1-9c69-7d6a2f1c3c11"}

    def state(client: httpx.Client) -> object:
        if kind == "table":
            said = client.get(path).json()["metadata"]["properties"]
            return said.get("user.x", "old") == "new"
        answer = client.post("/v1/sql", json={"sql": "SELECT id FROM seen"})
        return answer.json().get("rows") == [[2]]

    with (
        lakehouse_server(data, port=None, **{VARIABLE: str(told)}) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        load(client, "people")
        if kind == "view":
            client.post(VIEWS, json=body("seen", "SELECT 1 AS id")).raise_for_status()
        assert state(client) is False
        told.write_text(f"{point}:1")
        with pytest.raises(httpx.TransportError):
            client.post(path, json=asked, headers=key)
        assert server.wait() == -signal.SIGKILL
    told.unlink()
    with (
        lakehouse_server(data, port=None) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert state(client) is moved
        again = client.post(path, json=asked, headers=key)
        assert again.status_code == 200, again.text
        assert state(client) is True
