"""Other engines read our tables by the protocol: PyIceberg, DuckDB, and requests as sent."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import httpx
import orjson
import pytest
from pyiceberg.catalog.rest import RestCatalog

from tests.iceberg.conftest import PLACE, catalog, load
from tests.iceberg.engines import attached
from tests.services import ServerProcess, environment, lakehouse_server

TABLE = f"{PLACE}/namespaces/main/tables/people"


@pytest.fixture(scope="module", autouse=True)
def people(server: ServerProcess) -> None:
    with httpx.Client(base_url=server.url) as client:
        load(client, "people")
        client.post("/v1/namespaces", json={"name": "sales"}).raise_for_status()


def test_pyiceberg_lists_and_reads_what_was_just_loaded(
    them: RestCatalog, client: httpx.Client
) -> None:
    load(client, "fresh")
    assert them.list_namespaces() == [("main",), ("sales",)]
    assert ("main", "fresh") in them.list_tables("main")
    assert them.load_table("main.fresh").scan().to_arrow().num_rows == 2
    load(client, "fresh", b'{"id":3,"name":"Cy"}')
    assert them.load_table("main.fresh").scan().to_arrow().num_rows == 3


def test_pyiceberg_reads_with_the_references_alone(server: ServerProcess) -> None:
    them = catalog(server, **{"snapshot-loading-mode": "refs"})
    assert them.load_table("main.people").scan().to_arrow()["name"].to_pylist() == ["Ada", "Bo"]


def test_duckdb_attaches_it(server: ServerProcess) -> None:
    assert names_in_duckdb(server, "AUTHORIZATION_TYPE 'none'") == ["Ada", "Bo"]


def names_in_duckdb(server: ServerProcess, how: str) -> list[str]:
    with duckdb.connect() as engine:
        attached(engine, server, how)
        rows = engine.execute("SELECT name FROM lake.main.people ORDER BY id").fetchall()
    return [name for (name,) in rows]


BODIES: dict[str, Any] = {
    "/tables/{table}": {"requirements": [], "updates": []},
    "/transactions/commit": {"table-changes": []},
}
"""By the end of a path; of all others the names of a namespace will do."""


def path_needs_more(template: str) -> bool:
    """Whether it takes a body that is told in its own tests."""
    own = ("/rename", "/register", "/namespaces/{namespace}/tables")
    return template.endswith((*own, "/views", "/{view}", "/register-view"))


def test_only_what_is_served_is_advertised(client: httpx.Client) -> None:
    found = client.get(f"{PLACE}/config", params={"warehouse": "x"}).json()
    assert "GET /v1/{prefix}/namespaces/{namespace}/tables/{table}" in found["endpoints"]
    for endpoint in found["endpoints"]:
        method, template = endpoint.split()
        if method == "DELETE" or path_needs_more(template):
            continue
        path = template.replace("{prefix}/", "").format(namespace="main", table="people")
        fitting = [body for end, body in BODIES.items() if template.endswith(end)]
        body = [*fitting, {"namespace": ["advertised"]}][0]
        answer = client.request(method, f"/iceberg{path}", json=body if method == "POST" else None)
        assert answer.status_code in (200, 204), endpoint
    assert client.post(f"{PLACE}/namespaces/main/functions").status_code == 404


def test_a_table_is_its_metadata_file_and_304_while_it_is_the_same(client: httpx.Client) -> None:
    answer = client.get(TABLE)
    found = answer.json()
    written = Path(found["metadata-location"].removeprefix("file://")).read_bytes()
    assert orjson.loads(written) == found["metadata"]
    same = client.get(TABLE, headers={"If-None-Match": f'"x", {answer.headers["etag"]}'})
    assert (same.status_code, same.content) == (304, b"")
    refs = client.get(TABLE, params={"snapshots": "refs"})
    assert refs.headers["etag"] != answer.headers["etag"]
    load(client, "moving", b'{"id":8,"name":"Di"}')
    load(client, "moving", b'{"id":9,"name":"Ed"}')
    place = TABLE.replace("people", "moving")
    ids = [
        len(client.get(place, params={"snapshots": asked}).json()["metadata"]["snapshots"])
        for asked in ("all", "refs")
    ]
    assert ids == [2, 1]


def test_pages_are_given_to_who_asks_for_pages(client: httpx.Client) -> None:
    for number in range(5):
        load(client, f"paged_{number}", b'{"id":1}')
    place = f"{PLACE}/namespaces/main/tables"
    every = [each["name"] for each in client.get(place).json()["identifiers"]]
    found: list[str] = []
    token: str | None = ""
    while token is not None:
        page = client.get(place, params={"pageToken": token, "pageSize": 2}).json()
        found += [each["name"] for each in page["identifiers"]]
        token = page["next-page-token"]
    assert found == sorted(every)
    for wrong in ("no", "0", "-1", "", "9" * 5000):
        answer = client.get(place, params={"pageToken": "", "pageSize": wrong})
        assert answer.status_code == 400, wrong[:10]
    for each in (place, f"{PLACE}/namespaces", f"{PLACE}/namespaces/main/views"):
        answer = client.get(each, params={"pageToken": "none-of-ours"})
        assert (answer.status_code, "none-of-ours" in answer.text) == (400, True)


@pytest.mark.parametrize(
    ("method", "path", "status", "type_", "words"),
    [
        ("GET", "namespaces/nope", 404, "NoSuchNamespaceException", "does not exist: nope"),
        ("HEAD", "namespaces/nope", 404, None, ""),
        ("GET", "namespaces/nope/tables", 404, "NoSuchNamespaceException", "nope"),
        ("GET", "namespaces/MAIN", 404, "NoSuchNamespaceException", "MAIN"),
        ("GET", "namespaces/a%1Fb", 404, "NoSuchNamespaceException", "does not exist: a.b"),
        ("GET", "namespaces?parent=nope", 404, "NoSuchNamespaceException", "nope"),
        ("GET", "namespaces/main/tables/PEOPLE", 404, "NoSuchTableException", "main.PEOPLE"),
        ("DELETE", "namespaces/main/tables/PEOPLE", 404, "NoSuchTableException", "PEOPLE"),
        ("GET", "namespaces/main/tables/no", 404, "NoSuchTableException", "exist: main.no"),
        ("GET", "namespaces/no/tables/no", 404, "NoSuchTableException", "exist: no.no"),
        ("GET", "namespaces/main/tables/a%2Fb", 404, "NoSuchTableException", "main.a/b"),
        ("HEAD", "namespaces/main/tables/no", 404, None, ""),
        ("GET", "namespaces/main/tables/people?snapshots=x", 400, "BadRequestException", "refs"),
        ("GET", "namespaces/main%1F", 404, "NoSuchNamespaceException", "main."),
        ("GET", "namespaces/%FF", 400, "BadRequestException", "UTF-8"),
        ("GET", "", 404, "NotFoundException", "not served"),
    ],
)
def test_errors_are_the_protocols(
    client: httpx.Client, method: str, path: str, status: int, type_: str | None, words: str
) -> None:
    answer = client.request(method, f"{PLACE}/{path}")
    assert answer.status_code == status
    if type_ is None:
        assert answer.content == b""
        return
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == (type_, status)
    assert words in error["message"]


def test_what_a_token_may_not_see_is_not_there(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data", port=None) as server:
        with httpx.Client(base_url=server.url) as client:
            load(client, "people")
            load(client, "hidden")
            command = [
                sys.executable,
                "-m",
                "lakehouse",
                "token",
                "create",
                "them",
                "--role",
                "reader",
            ]
            data = ["--on", "main.people", "--data", str(tmp_path / "data"), "--json"]
            made = subprocess.run(
                [*command, *data, "--json"], capture_output=True, check=True, text=True
            )
            secret = orjson.loads(made.stdout)["token"]
            nobody = client.get(f"{PLACE}/namespaces")
        assert nobody.status_code == 401
        them = RestCatalog("lake", uri=f"{server.url}/iceberg", token=secret)
        assert them.list_tables("main") == [("main", "people")]
        assert them.load_table("main.people").scan().to_arrow().num_rows == 2
        assert not them.table_exists("main.hidden")
        assert names_in_duckdb(server, f"TOKEN '{secret}'") == ["Ada", "Bo"]
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=server.url, headers=headers) as client:
            for method, path in (("POST", f"{PLACE}/namespaces"), ("DELETE", TABLE)):
                answer = client.request(method, path, json={"namespace": ["new"]})
                assert answer.status_code == 403
                assert answer.json()["error"]["type"] == "ForbiddenException"


def test_who_has_no_token_is_told_in_the_protocols_shape(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data", port=None) as server:
        make = [sys.executable, "-m", "lakehouse", "token", "create", "a", "--role", "admin"]
        subprocess.run([*make, "--data", str(server.data_dir)], check=True, env=environment())
        for headers in ({}, {"Authorization": "Bearer lh_wrong"}):
            answer = httpx.get(f"{server.url}{PLACE}/config", headers=headers)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (401, 401)
            assert error["type"] == "NotAuthorizedException"
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}
        answer = httpx.post(f"{server.url}{PLACE}/oauth/tokens", data=form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def test_no_secret_is_changed_for_a_token(client: httpx.Client, server: ServerProcess) -> None:
    form = {"grant_type": "client_credentials", "client_id": "a", "client_secret": "b"}
    answer = client.post(f"{PLACE}/oauth/tokens", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    assert "a token of this server" in answer.json()["error_description"]
    with pytest.raises(Exception, match="a token of this server"):
        where = {"oauth2-server-uri": f"{server.url}{PLACE}/oauth/tokens"}
        RestCatalog("lake", uri=f"{server.url}/iceberg", credential="a:b", **where)
