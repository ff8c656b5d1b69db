"""`/v1/tables/{table}/schema` over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lakehouse.config import Config
from tests.ingest.served import Served, serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("schema")
    with serving(folder / "data", Config()) as served:
        yield served


def change(
    served: Served, table: str, *changes: dict[str, Any], key: str | None = None, **more: Any
) -> tuple[int, dict[str, Any]]:
    headers = {"Idempotency-Key": key} if key else {}
    body = {"changes": list(changes), **more}
    answer = served.send("POST", f"/v1/tables/{table}/schema", json=body, headers=headers)
    return answer.status_code, answer.json()


def sql(served: Served, text: str, **more: Any) -> dict[str, Any]:
    answer = served.send("POST", "/v1/sql", json={"sql": text, **more})
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result


def test_the_next_statement_sees_the_new_columns_everywhere(served: Served) -> None:
    loaded = served.loaded("people", "id,name,city\n1,Ada,London\n")
    asked = "SELECT * FROM people"
    assert [c["name"] for c in sql(served, asked)["columns"]] == ["id", "name", "city"]
    status, schema = change(
        served,
        "people",
        {"op": "rename", "name": "name", "to": "who"},
        {"op": "drop", "name": "city"},
        {"op": "add", "name": "address", "type": "struct<city: string>", "first": True},
        expected_schema_id=0,
    )
    assert status == 200
    columns = [(each["id"], each["name"]) for each in schema["columns"]]
    assert columns == [(4, "address"), (1, "id"), (2, "who")]
    assert schema["columns"][0]["fields"][0]["id"] == 5
    assert [each["schema_id"] for each in schema["schemas"]] == [0, 1]
    assert served.send("GET", "/v1/tables/people/schema").json() == schema

    answer = sql(served, asked)
    assert [c["name"] for c in answer["columns"]] == ["address", "id", "who"]
    assert answer["rows"] == [[None, 1, "Ada"]]
    described = sql(served, "DESCRIBE people")["rows"]
    assert [row[:2] for row in described] == [
        ["address", "STRUCT(city VARCHAR)"],
        ["id", "BIGINT"],
        ["who", "VARCHAR"],
    ]
    view = "SELECT column_name FROM information_schema.columns WHERE table_name = 'people'"
    assert sql(served, view)["rows"] == [["address"], ["id"], ["who"]]
    assert served.types("people") == {
        "address": "struct<city: string>",
        "id": "long",
        "who": "string",
    }
    manifest = served.send("GET", "/v1/catalog/manifest/people").json()
    assert manifest["schema_fingerprint"] != loaded["schema_fingerprint"]
    then = sql(served, asked, as_of={"people": loaded["snapshot_id"]})
    assert then["rows"] == [[1, "Ada", "London"]]


def test_rows_come_in_under_the_new_names_at_once(served: Served) -> None:
    served.loaded("lines", "id,name\n1,a\n")
    rows = "/v1/tables/lines/rows"
    assert served.send("POST", rows, json={"rows": [{"id": 2, "name": "b"}]}).status_code == 201
    assert change(served, "lines", {"op": "rename", "name": "name", "to": "word"})[0] == 200
    old = served.send("POST", rows, json={"rows": [{"id": 3, "name": "c"}]})
    assert old.status_code == 400 and "id, word" in old.json()["detail"]
    assert served.send("POST", rows, json={"rows": [{"id": 3, "word": "c"}]}).status_code == 201
    assert served.rows("lines") == [[1, "a"], [2, "b"], [3, "c"]]


def test_a_cached_answer_is_not_given_for_another_schema(served: Served) -> None:
    served.loaded("cached", "id,name\n1,a\n")
    path = "/v1/sql?sql=SELECT%20*%20FROM%20cached"
    etag = served.send("GET", path).headers["etag"]
    again = served.send("GET", path, headers={"If-None-Match": etag})
    assert again.status_code == 304
    change(served, "cached", {"op": "drop", "name": "name"})
    assert served.send("GET", path, headers={"If-None-Match": etag}).json()["rows"] == [[1]]


def test_the_same_key_changes_a_schema_once(served: Served) -> None:
    served.loaded("once", "id,name\n1,a\n")
    drop = {"op": "drop", "name": "name"}
    first = change(served, "once", drop, key="drop-once")
    assert first[0] == 200
    assert change(served, "once", drop, key="drop-once") == first
    status, problem = change(served, "once", {"op": "drop", "name": "id"}, key="drop-once")
    assert (status, problem["type"]) == (422, "/problems/idempotency-mismatch")
    other = served.send(
        "POST",
        "/v1/tables/lines/schema",
        json={"changes": [drop]},
        headers={"Idempotency-Key": "drop-once"},
    )
    assert other.status_code == 422, "a key belongs to one table's request"
    assert change(served, "once", drop)[0] == 422, "without a key it is another request"
    assert change(served, "once", drop, key="x" * 256)[0] == 400


BAD: list[tuple[Any, int, str]] = [
    ({"changes": []}, 400, "invalid-request"),
    ({}, 400, "invalid-request"),
    ({"changes": [{"op": "shrink", "name": "id"}]}, 400, "invalid-request"),
    ({"changes": [{"name": "id"}]}, 400, "invalid-request"),
    ({"changes": [{"op": "drop", "name": "id", "to": "x"}]}, 400, "invalid-request"),
    ({"changes": [{"op": "drop", "name": ""}]}, 400, "invalid-request"),
    ({"changes": [{"op": "drop", "name": "x"}] * 1001}, 400, "invalid-request"),
    (
        {"changes": [{"op": "drop", "name": "x"}], "expected_schema_id": "one"},
        400,
        "invalid-request",
    ),
    ({"changes": [{"op": "drop", "name": "x"}]}, 422, "schema-change"),
    ({"changes": [{"op": "add", "name": "e\u0301", "type": "long"}]}, 422, "schema-change"),
    ({"changes": [{"op": "add", "name": "x", "type": "list<" * 40}]}, 422, "schema-change"),
    ({"changes": [{"op": "drop", "name": "id"}], "expected_schema_id": 1}, 409, "schema-moved"),
]


@pytest.mark.parametrize("number", range(len(BAD)))
def test_what_is_wrong_is_refused_and_changes_nothing(served: Served, number: int) -> None:
    body, status, problem = BAD[number]
    name = f"bad{number}"
    served.loaded(name, "id,name\n1,a\n")
    before = served.send("GET", f"/v1/tables/{name}/schema").json()
    answer = served.send("POST", f"/v1/tables/{name}/schema", json=body)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{problem}")
    assert served.send("GET", f"/v1/tables/{name}/schema").json() == before


def test_a_table_that_is_not_there_has_no_schema(served: Served) -> None:
    assert served.send("GET", "/v1/tables/nowhere/schema").status_code == 404
    assert change(served, "nowhere", {"op": "drop", "name": "x"})[0] == 404
