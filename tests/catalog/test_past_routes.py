"""What a table was, over HTTP: dropped tables, references, rollback, changes, exports."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.services import ServerProcess, lakehouse_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with lakehouse_server(tmp_path_factory.mktemp("past") / "data") as server:
        yield server


@pytest.fixture
def http(server: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def load(http: httpx.Client, table: str, rows: str, mode: str | None = None) -> int:
    """Load lines of `id,name` and return the snapshot that they became."""
    namespace, _, name = table.rpartition(".")
    params = {"name": name, "namespace": namespace or "main", "format": "csv"}
    params |= {"mode": mode} if mode else {}
    answer = http.post("/v1/ingest", params=params, content=f"id,name\n{rows}")
    assert answer.status_code == 200, answer.text
    snapshot_id: int = answer.json()["snapshot_id"]
    return snapshot_id


def rows(http: httpx.Client, sql: str, **body: Any) -> list[list[Any]]:
    answer = http.post("/v1/sql", json={"sql": sql, **body})
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()["rows"]
    return found


def problem(answer: httpx.Response, status: int) -> str:
    """Return the type of a refusal, which must be a whole problem."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"]
    kind: str = answer.json()["type"].removeprefix("/problems/")
    return kind


def test_a_dropped_table_is_listed_and_comes_back(http: httpx.Client) -> None:
    load(http, "undrop", "1,a\n")  # a table may have the name of a route
    assert http.delete("/v1/tables/undrop").status_code == 204
    assert problem(http.get("/v1/tables/undrop"), 404) == "table-not-found"
    listed = http.get("/v1/tables?dropped=true&namespace=main").json()["items"]
    assert [each["name"] for each in listed] == ["undrop"]

    back = http.post("/v1/tables/undrop/undrop")
    assert back.status_code == 200, back.text
    assert back.json()["uuid"] == listed[0]["uuid"]
    assert rows(http, "FROM undrop") == [[1, "a"]]
    assert http.get("/v1/tables?dropped=true").json() == {"items": [], "next_cursor": None}


def test_what_cannot_come_back_is_refused(http: httpx.Client) -> None:
    load(http, "taken", "1,a\n")
    http.delete("/v1/tables/taken")
    load(http, "taken", "2,b\n")
    assert problem(http.post("/v1/tables/taken/undrop", json={}), 409) == "table-exists"
    unknown = http.post("/v1/tables/taken/undrop", json={"to": "x"})
    assert problem(unknown, 400) == "invalid-request"
    wrong = http.post("/v1/tables/taken/undrop", json={"as": "a/b"})
    assert problem(wrong, 400) == "invalid-name"
    gone = http.post("/v1/tables/nothing/undrop")
    assert problem(gone, 404) == "dropped-table-not-found"
    other = http.post("/v1/tables/taken/undrop", json={"as": "taken2"})
    assert other.json()["name"] == "taken2"


def test_a_purge_deletes_the_files_of_the_one_that_is_meant(
    http: httpx.Client, server: ServerProcess
) -> None:
    load(http, "purged", "1,a\n")
    uuid = http.get("/v1/tables/purged").json()["uuid"]
    http.delete("/v1/tables/purged")
    load(http, "purged", "2,b\n")
    folder = server.data_dir / "warehouse" / "tables" / "main"
    assert len(list(folder.glob("purged-*"))) == 2
    assert problem(http.delete(f"/v1/tables/purged?uuid={uuid}"), 400) == "invalid-input"
    assert http.delete(f"/v1/tables/purged?purge=true&uuid={uuid}").status_code == 204
    assert rows(http, "FROM purged") == [[2, "b"]]
    assert http.delete("/v1/tables/purged?purge=true").status_code == 204
    assert list(folder.glob("purged-*")) == []
    assert problem(http.delete("/v1/tables/purged?purge=true"), 404) == "table-not-found"


def test_an_object_is_kept_while_a_dropped_dataset_may_come_back(http: httpx.Client) -> None:
    load(http, "source", "1,a\n2,b\n")
    parquet = http.get("/v1/sql", params={"sql": "FROM source", "format": "parquet"}).content
    http.put("/v1/storage/put/raw/it.parquet", content=parquet)
    body = {"name": "byref", "schema_fingerprint": "f", "objects": [{"key": "raw/it.parquet"}]}
    assert http.post("/v1/catalog/register", json=body).status_code == 200
    http.delete("/v1/tables/byref")
    for refused in (
        http.delete("/v1/storage/delete/raw/it.parquet"),
        http.put("/v1/storage/put/raw/it.parquet", content=b"other"),
    ):
        assert problem(refused, 409) == "object-registered"
        assert "/v1/tables/main.byref?purge=true&uuid=" in refused.json()["detail"]
    assert http.post("/v1/tables/byref/undrop").json()["row_count"] == 2
    assert rows(http, "SELECT count(*) FROM byref") == [[2]]
    http.delete("/v1/tables/byref")
    path = refused.json()["detail"].rpartition("DELETE ")[2]
    assert http.delete(path).status_code == 204
    assert http.get("/v1/storage/get/raw/it.parquet").content == parquet
    assert http.delete("/v1/storage/delete/raw/it.parquet").status_code == 204
