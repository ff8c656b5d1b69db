"""Namespaces by the protocol: several levels, properties, and what keeps one from being dropped."""

from typing import Any

import httpx
import pytest
from pyiceberg.catalog.rest import RestCatalog

from tests.iceberg.conftest import PLACE as ROOT

PLACE = f"{ROOT}/namespaces"


def make(client: httpx.Client, *levels: str, **properties: str) -> httpx.Response:
    return client.post(PLACE, json={"namespace": levels, "properties": properties})


def names(client: httpx.Client, parent: str | None = None) -> list[list[str]]:
    query = {} if parent is None else {"parent": parent}
    found: list[list[str]] = client.get(PLACE, params=query).json()["namespaces"]
    return found


def test_levels_lie_in_each_other(client: httpx.Client) -> None:
    assert make(client, "a", "b", "c").status_code == 200
    assert make(client, "a", "d").json() == {"namespace": ["a", "d"], "properties": {}}
    assert ["a"] in names(client) and ["a", "b"] not in names(client)
    assert names(client, "a") == [["a", "b"], ["a", "d"]]
    for parent in ("a\x1fb", "a%1Fb"):  # once and twice escaped
        assert names(client, parent) == [["a", "b", "c"]]
    answer = client.delete(f"{PLACE}/a%1Fb")
    assert (answer.status_code, answer.json()["error"]["type"]) == (
        409,
        "NamespaceNotEmptyException",
    )
    for path in ("a%1Fb%1Fc", "a%1Fb", "a%1Fd", "a"):
        assert client.delete(f"{PLACE}/{path}").status_code == 204
        assert client.head(f"{PLACE}/{path}").status_code == 404


def test_pyiceberg_makes_and_drops_them_and_we_list_them(
    them: RestCatalog, client: httpx.Client
) -> None:
    them.create_namespace(("deep", "er"), {"owner": "Ada"})
    assert them.load_namespace_properties(("deep", "er")) == {"owner": "Ada"}
    assert them.list_namespaces(("deep",)) == [("deep", "er")]
    shown = client.get("/v1/namespaces").json()
    assert "deep.er" in str(shown)
    them.drop_namespace(("deep", "er"))
    them.drop_namespace(("deep",))


def test_properties_are_set_removed_and_told(client: httpx.Client) -> None:
    make(client, "noted", owner="Ada", room="1")
    place = f"{PLACE}/noted"
    change = {"updates": {"room": "2", "floor": "3"}, "removals": ["owner", "none"] * 2}
    told = client.post(f"{place}/properties", json=change).json()
    assert told == {"updated": ["room", "floor"], "removed": ["owner"], "missing": ["none"]}
    assert client.get(place).json()["properties"] == {"floor": "3", "room": "2"}
    both = {"updates": {"room": "4"}, "removals": ["room"]}
    refused = client.post(f"{place}/properties", json=both)
    assert refused.status_code == 422
    assert refused.json()["error"]["type"] == "UnprocessableEntityException"
    assert client.get(place).json()["properties"]["room"] == "2"


@pytest.mark.parametrize(
    ("body", "status", "type_"),
    [
        ({"namespace": ["main"]}, 409, "AlreadyExistsException"),
        ({"namespace": ["Main"]}, 409, "AlreadyExistsException"),
        ({"namespace": []}, 400, "BadRequestException"),
        ({"namespace": ["a.b"]}, 400, "BadRequestException"),
        ({"namespace": ["a", "b.c"]}, 400, "BadRequestException"),
        ({"namespace": ["a", ""]}, 400, "BadRequestException"),
        ({"namespace": ["a\tb"]}, 400, "BadRequestException"),
        ({"namespace": "a"}, 400, "BadRequestException"),
        ({"namespace": ["vectors"]}, 400, "BadRequestException"),
        ({"namespace": ["x"], "properties": {"k": "v" * 1001}}, 400, "BadRequestException"),
        ({"namespace": ["x"], "properties": {"exists": "v"}}, 400, "BadRequestException"),
        ({}, 400, "BadRequestException"),
    ],
)
def test_what_cannot_be_a_namespace_is_refused(
    client: httpx.Client, body: Any, status: int, type_: str
) -> None:
    before = names(client)
    answer = client.post(PLACE, json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, type_), answer.text
    assert names(client) == before


def test_a_table_with_a_dot_and_a_namespace_cannot_share_a_name(client: httpx.Client) -> None:
    make(client, "dotted")
    columns = [{"name": "a", "type": "long"}]
    client.post("/v1/tables", json={"name": "dotted.in.side", "columns": columns})
    answer = make(client, "dotted", "in")
    assert (answer.status_code, answer.json()["error"]["type"]) == (409, "AlreadyExistsException")
    assert client.delete(f"{PLACE}/dotted").json()["error"]["type"] == "NamespaceNotEmptyException"


def test_a_body_that_is_too_long_is_refused(client: httpx.Client) -> None:
    answer = client.post(PLACE, content=b" " * (8 * 1024 * 1024 + 1))
    assert answer.status_code == 413
