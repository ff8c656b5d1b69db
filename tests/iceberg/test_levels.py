"""A table in a namespace of several levels is one that our own routes and commands name, too."""

from pathlib import Path

import httpx
from pyiceberg.catalog.rest import RestCatalog

from tests.cli.conftest import Shell
from tests.iceberg.conftest import load
from tests.services import ServerProcess

NAME = '"deep.down".t'


def made(them: RestCatalog, client: httpx.Client) -> None:
    them.create_namespace_if_not_exists(("deep", "down"))
    load(client, "moves", b'{"id":1}\n')
    if not them.table_exists(("deep", "down", "t")):
        them.rename_table("main.moves", ("deep", "down", "t"))


def test_routes_take_its_name(client: httpx.Client, them: RestCatalog) -> None:
    made(them, client)
    assert client.get(f"/v1/tables/{NAME}").json()["namespace"] == "deep.down"
    query = {"name": "t", "namespace": "deep.down", "format": "ndjson", "mode": "append"}
    loaded = client.post("/v1/ingest", params=query, content=b'{"id":2}')
    assert (loaded.status_code, loaded.json()["row_count"]) == (200, 2)
    rows = client.post(f"/v1/tables/{NAME}/rows", json={"rows": [{"id": 3}]})
    assert rows.json()["row_count"] == 3
    found = client.post("/v1/sql", json={"sql": f"SELECT sum(id) AS s FROM {NAME}"})
    assert [int(each) for each in found.json()["rows"][0]] == [6]
    lacking = client.get("/v1/tables/deep.down.t")
    assert (lacking.status_code, NAME in lacking.json()["detail"]) == (404, True)
    run = client.post("/v1/maintenance/run", json={"table": NAME})
    assert {each["table"] for each in run.json()["runs"]} == {NAME}
    query["namespace"] = "deep.er"
    assert client.post("/v1/ingest", params=query, content=b'{"id":2}').status_code == 404


def test_commands_show_it_as_they_take_it(
    client: httpx.Client, them: RestCatalog, server: ServerProcess, tmp_path: Path
) -> None:
    made(them, client)
    shell = Shell(tmp_path, server.url)
    (row,) = [
        each for each in shell.ok("tables", "--json").json()["tables"] if "deep" in each["name"]
    ]
    assert (row["name"], row["damaged"], row["row_count"] > 0) == (NAME, None, True)
    assert "deep.down" in shell.ok("describe", row["name"]).stdout
    assert shell.ok("history", row["name"], "--json").json()
    lines = tmp_path / "lines.ndjson"
    lines.write_text('{"id":8}\n')
    loaded = shell.ok("ingest", NAME, lines, "--mode", "append", "--json").json()
    assert "deep.down" in str(loaded)
    assert set(them.list_namespaces()) <= {("main",), ("deep",)}
