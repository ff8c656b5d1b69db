"""Views by the protocol: made, read, replaced, renamed, dropped, and taken over."""

import json
import threading
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError, NoSuchViewError, ViewAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType
from pyiceberg.view.metadata import ViewVersion

from lakehouse.client import Client, Grant
from lakehouse.local_socket import operator_path
from tests.iceberg.conftest import PLACE, load
from tests.services import ServerProcess, lakehouse_server

VIEWS = f"{PLACE}/namespaces/main/views"
ID = {"id": 1, "name": "id", "required": False, "type": "long"}
Json: TypeAlias = dict[str, Any]

SCHEMA = {"type": "struct", "schema-id": 7, "fields": [ID]}
OTHER = {"type": "struct", "fields": [{**ID, "name": "other"}]}


def version(sql: str = "SELECT id FROM people", *more: str, **fields: Any) -> Json:
    dialects = [("duckdb", sql), *((each, f"SELECT 1 -- {each}") for each in more)]
    found = [{"type": "sql", "sql": text, "dialect": dialect} for dialect, text in dialects]
    return {
        "version-id": 1,
        "schema-id": 0,
        "timestamp-ms": 1_700_000_000_000,
        "summary": {"engine-name": "tests"},
        "representations": found,
        "default-namespace": ["main"],
        **{key.replace("_", "-"): value for key, value in fields.items()},
    }


def body(name: str, sql: str = "SELECT id FROM people", **fields: Any) -> Json:
    return {
        "name": name,
        "schema": SCHEMA,
        "view-version": version(sql),
        "properties": {},
        **fields,
    }


def make(client: httpx.Client, name: str, **fields: Any) -> dict[str, Any]:
    answer = client.post(VIEWS, json=body(name, **fields))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def change(client: httpx.Client, name: str, *updates: Any, requires: Any = ()) -> httpx.Response:
    content = {"updates": list(updates), "requirements": list(requires)}
    return client.post(f"{VIEWS}/{name}", json=content)


def add(sql: str, *more: str, **fields: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        {"action": "add-view-version", "view-version": version(sql, *more, **fields)},
        {"action": "set-current-view-version", "view-version-id": -1},
    )


def error(answer: httpx.Response) -> tuple[int, str, str]:
    said = answer.json()["error"]
    assert said["code"] == answer.status_code
    return answer.status_code, said["type"], said["message"]


def file_of(found: dict[str, Any]) -> Path:
    return Path(found["metadata-location"].removeprefix("file://"))


def test_a_view_is_made_read_and_listed(client: httpx.Client, server: ServerProcess) -> None:
    made = make(client, "plain", properties={"comment": "a view"})
    metadata = made["metadata"]
    assert metadata["format-version"] == 1
    assert (metadata["current-version-id"], metadata["properties"]) == (1, {"comment": "a view"})
    (first,) = metadata["versions"]
    assert (first["version-id"], first["schema-id"]) == (1, 0)
    assert first["representations"] == version()["representations"]
    assert first["default-namespace"] == ["main"]
    assert metadata["schemas"] == [{**SCHEMA, "schema-id": 0}]
    assert metadata["version-log"] == [{"version-id": 1, "timestamp-ms": first["timestamp-ms"]}]
    assert file_of(made).is_relative_to(server.data_dir / "warehouse" / "views" / "main")
    assert metadata["location"] == f"file://{file_of(made).parent.parent}"
    assert client.get(f"{VIEWS}/plain").json() == made
    assert client.head(f"{VIEWS}/plain").status_code == 204
    names = [each["name"] for each in client.get(VIEWS).json()["identifiers"]]
    assert "plain" in names
    page = client.get(VIEWS, params={"pageToken": "", "pageSize": 1}).json()
    assert [each["name"] for each in page["identifiers"]] == sorted(names)[:1]


def test_a_view_is_replaced_and_its_equal_versions_and_schemas_are_one(
    client: httpx.Client,
) -> None:
    make(client, "replaced")
    changed = change(
        client,
        "replaced",
        {"action": "add-schema", "schema": OTHER},
        *add("SELECT 2 AS other", "trino", schema_id=-1),
        {"action": "set-properties", "updates": {"a": "1", "b": "2"}},
        {"action": "remove-properties", "removals": ["b", "none"]},
    ).json()["metadata"]
    assert changed["current-version-id"] == 2
    assert [each["version-id"] for each in changed["version-log"]] == [1, 2]
    assert changed["versions"][1]["schema-id"] == 1
    assert [each["schema-id"] for each in changed["schemas"]] == [0, 1]
    assert changed["properties"] == {"a": "1"}

    same = change(
        client,
        "replaced",
        {"action": "add-schema", "schema": {**OTHER, "schema-id": 9}},
        *add("SELECT 2 AS other", "trino", schema_id=-1, version_id=5),
    )
    assert same.json()["metadata"] == changed

    allowed = {"action": "set-properties", "updates": {"replace.drop-dialect.allowed": "true"}}
    back = {"action": "set-current-view-version", "view-version-id": 1}
    lost = change(client, "replaced", back)
    assert error(lost)[0] == 400
    assert "loss of view dialects (replace.drop-dialect.allowed=false)" in lost.text
    found = change(client, "replaced", allowed, back).json()["metadata"]
    assert found["current-version-id"] == 1
    assert [each["version-id"] for each in found["version-log"]] == [1, 2, 1]


def test_old_versions_are_forgotten_and_the_log_begins_behind_the_gap(
    client: httpx.Client,
) -> None:
    make(client, "long", properties={"version.history.num-entries": "2"})
    for number in range(2, 6):
        found = change(client, "long", *add(f"SELECT {number} AS id")).json()["metadata"]
    assert [each["version-id"] for each in found["versions"]] == [4, 5]
    assert [each["version-id"] for each in found["version-log"]] == [4, 5]
    many = [update for number in range(6, 9) for update in add(f"SELECT {number} AS id")]
    found = change(client, "long", *many).json()["metadata"]
    assert [each["version-id"] for each in found["versions"]] == [6, 7, 8], "those just added stay"
    assert [each["version-id"] for each in found["version-log"]] == [8]
    for wrong in ("0", "-1", "many", ""):
        size = {"action": "set-properties", "updates": {"version.history.num-entries": wrong}}
        answer = change(client, "long", size)
        assert error(answer)[:2] == (400, "IllegalArgumentException")
        assert "must be positive" in answer.text


def test_a_view_keeps_a_thousand_versions_at_most(client: httpx.Client) -> None:
    properties = {"version.history.num-entries": "1001"}
    answer = client.post(VIEWS, json=body("too_long", properties=properties))
    assert error(answer)[0] == 400 and "1000 at most" in answer.text
    make(client, "long_enough", properties={"version.history.num-entries": "1000"})
    answer = change(client, "long_enough", {"action": "set-properties", "updates": properties})
    assert error(answer)[0] == 400 and "1000 at most" in answer.text


def test_a_commit_has_a_thousand_updates_at_most(client: httpx.Client) -> None:
    before = make(client, "often")
    many = [update for number in range(501) for update in add(f"SELECT {number} AS id")]
    answer = change(client, "often", *many)
    assert error(answer)[0] == 400 and "1,002 updates" in answer.text
    assert client.get(f"{VIEWS}/often").json() == before
    found = change(client, "often", *many[:1000]).json()["metadata"]
    assert [each["version-id"] for each in found["versions"]] == list(range(2, 502))


def test_what_is_there_already_is_meant_and_not_added(client: httpx.Client) -> None:
    make(client, "same")
    schemas = [{"action": "add-schema", "schema": each} for each in (OTHER, SCHEMA, OTHER)]
    newer = version("SELECT 2 AS id", schema_id=-1)
    updates = [*schemas, {"action": "add-view-version", "view-version": newer}] * 2
    found = change(client, "same", *updates, add("")[1]).json()["metadata"]
    assert [each["schema-id"] for each in found["schemas"]] == [0, 1]
    assert [each["version-id"] for each in found["versions"]] == [1, 2]
    assert found["versions"][1]["schema-id"] == 1


def test_a_view_whose_file_would_be_too_long_writes_nothing(
    client: httpx.Client, server: ServerProcess
) -> None:
    half = {"a": "x" * 7_500_000}
    before = make(client, "wide", properties=half)
    first = change(client, "wide", {"action": "set-properties", "updates": {"b": half["a"]}})
    assert first.status_code == 200
    files = sorted((server.data_dir / "warehouse/views").rglob("*.json"))
    answer = change(client, "wide", {"action": "set-properties", "updates": {"c": half["a"]}})
    assert error(answer)[0] == 400 and "16,777,216" in answer.text
    assert sorted((server.data_dir / "warehouse/views").rglob("*.json")) == files
    assert client.get(f"{VIEWS}/wide").json() == first.json() != before
    less = {"action": "remove-properties", "removals": ["a", "b"]}
    assert change(client, "wide", less).json()["metadata"]["properties"] == {}


def test_a_requirement_that_fails_changes_nothing(client: httpx.Client) -> None:
    made = make(client, "required")["metadata"]
    uuid = made["view-uuid"]
    right = {"type": "assert-view-uuid", "uuid": uuid.upper()}
    wrong = {"type": "assert-view-uuid", "uuid": "00000000-0000-0000-0000-000000000000"}
    answer = change(client, "required", *add("SELECT 3 AS id"), requires=[wrong])
    assert error(answer) == (
        409,
        "CommitFailedException",
        f"Requirement failed: view UUID does not match: expected {uuid} != {wrong['uuid']}",
    )
    assert client.get(f"{VIEWS}/required").json()["metadata"] == made
    assert change(client, "required", *add("SELECT 3 AS id"), requires=[right]).status_code == 200


@pytest.mark.parametrize(
    "update",
    [
        {"action": "assign-uuid", "uuid": "x"},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "upgrade-format-version", "format-version": 0},
        {"action": "add-schema", "schema": {"type": "list"}},
        {"action": "add-schema", "schema": {"type": "struct", "fields": [{"id": "1"}]}},
        {"action": "add-schema"},
        {"action": "set-current-view-version", "view-version-id": -1},
        {"action": "set-current-view-version", "view-version-id": 77},
        {"action": "set-current-view-version", "view-version-id": True},
        {"action": "add-view-version", "view-version": {}},
        {"action": "add-view-version", "view-version": {**version(), "schema-id": 5}},
        {"action": "add-view-version", "view-version": {**version(), "schema-id": -1}},
        {"action": "add-view-version", "view-version": {**version(), "version-id": 2**31}},
        {"action": "add-view-version", "view-version": version("SELECT 8", big=2**70)},
        {"action": "set-location", "location": "x" * 1001},
        {"action": "set-location", "location": None},
        {"action": "set-properties", "updates": {"a": 1}},
        {"action": "remove-properties", "removals": "a"},
        {"action": "add-snapshot", "snapshot": {}},
        {"no": "action"},
        {"action": ["x"]},
    ],
)
def test_what_is_no_update_is_refused_whole(client: httpx.Client, update: Any) -> None:
    if client.head(f"{VIEWS}/refusing").status_code == 404:
        make(client, "refusing")
    before = client.get(f"{VIEWS}/refusing").json()
    answer = change(client, "refusing", *add("SELECT 9 AS id")[:0], update)
    assert answer.status_code == 400, answer.text
    assert client.get(f"{VIEWS}/refusing").json() == before


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"schema": None}, "schema"),
        ({"schema": {"type": "struct"}}, "fields"),
        ({"view-version": version(representations=[])}, "representation"),
        ({"view-version": version("SELECT 1", "TRINO", "trino")}, "multiple queries for dialect"),
        (
            {"view-version": version(representations=[{"type": "plan"}])},
            "Found unsupported view representations",
        ),
        ({"view-version": version("")}, "a text and a dialect"),
        ({"view-version": {"version-id": 1}}, "schema-id"),
        ({"view-version": {**version(), "default-namespace": "main"}}, "default-namespace"),
        ({"properties": {"a": 1}}, "properties"),
        ({"location": "x" * 1001}, "location"),
        ({"name": "a\tb"}, "a `/` or a control character"),
        ({"name": ""}, "empty"),
    ],
)
def test_what_cannot_be_a_view_is_refused(
    client: httpx.Client, fields: dict[str, Any], words: str
) -> None:
    before = client.get(VIEWS).json()
    answer = client.post(VIEWS, json={**body("never"), **fields})
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["error"]["message"]
    assert client.get(VIEWS).json() == before


def test_a_table_and_a_view_exclude_each_other(client: httpx.Client, them: RestCatalog) -> None:
    load(client, "a_table")
    make(client, "a_view")
    for name in ("a_table", "A_Table"):
        answer = client.post(VIEWS, json=body(name))
        words = "Table with same name already exists: main.a_table"
        assert error(answer) == (409, "AlreadyExistsException", words)
    answer = client.post(VIEWS, json=body("A_VIEW"))
    assert error(answer) == (409, "AlreadyExistsException", "View already exists: main.a_view")

    columns = [{"name": "a", "type": "long"}]
    for name in ("a_view", "a_VIEW"):
        created = client.post("/v1/tables", json={"name": name, "columns": columns})
        assert (created.status_code, created.json()["type"]) == (409, "/problems/name-taken")
        query = {"name": name, "format": "ndjson", "mode": "append"}
        loaded = client.post("/v1/ingest", params=query, content=b'{"id":1}')
        assert loaded.status_code == 409, loaded.text
        renamed = client.post("/v1/tables/a_table/rename", json={"to": name})
        assert renamed.status_code == 409, renamed.text

    def rename(what: str, name: str, to: str) -> httpx.Response:
        source = {"namespace": ["main"], "name": name}
        target = {"source": source, "destination": {"namespace": ["main"], "name": to}}
        return client.post(f"{PLACE}/{what}/rename", json=target)

    taken = (409, "AlreadyExistsException")
    assert error(rename("tables", "a_table", "a_view")) == (
        *taken,
        "Cannot rename main.a_table to main.a_view. View already exists",
    )
    assert error(rename("views", "a_view", "a_table")) == (
        *taken,
        "Cannot rename main.a_view to main.a_table. Table already exists",
    )
    make(client, "b_view")
    assert error(rename("views", "a_view", "b_view")) == (
        *taken,
        "Cannot rename main.a_view to main.b_view. View already exists",
    )
    location = them.load_table("main.a_table").metadata_location
    registered = {"name": "a_view", "metadata-location": location}
    answer = client.post(f"{PLACE}/namespaces/main/register", json=registered)
    assert error(answer) == (*taken, "View with same name already exists: main.a_view")

    client.delete("/v1/tables/a_table").raise_for_status()
    make(client, "a_table")
    undropped = client.post("/v1/tables/a_table/undrop", json={})
    assert undropped.status_code == 409, "the name is a view's by now"
    assert client.post("/v1/tables/a_table/undrop", json={"as": "b_table"}).status_code == 200
    with pytest.raises(NoSuchTableError):
        them.load_table("main.a_view")


def test_a_renamed_view_is_the_same_file_under_another_name(client: httpx.Client) -> None:
    made = make(client, "old_name")
    client.post(f"{PLACE}/namespaces", json={"namespace": ["views_of", "mine"]})
    source = {"namespace": ["main"], "name": "old_name"}

    def rename(*namespace: str) -> httpx.Response:
        to = {"namespace": namespace, "name": "new_name"}
        return client.post(f"{PLACE}/views/rename", json={"source": source, "destination": to})

    assert error(rename("nowhere")) == (
        404,
        "NoSuchNamespaceException",
        "Namespace does not exist: nowhere",
    )
    assert rename("views_of", "mine").status_code == 204
    there = f"{PLACE}/namespaces/views_of%1Fmine/views"
    assert client.get(f"{there}/new_name").json() == made
    missing = rename("views_of", "mine")
    assert error(missing) == (404, "NoSuchViewException", "View does not exist: main.old_name")
    make(client, "old_name")

    dropped = client.delete(f"{PLACE}/namespaces/views_of%1Fmine")
    assert error(dropped)[:2] == (409, "NamespaceNotEmptyException")
    assert "Namespace views_of.mine is not empty" in dropped.text
    assert client.delete(f"{there}/new_name").status_code == 204
    assert client.delete(f"{PLACE}/namespaces/views_of%1Fmine").status_code == 204


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE"])
@pytest.mark.parametrize("path", ["main/views/nope", "nope/views/v", "main/views/a%2Fb"])
def test_a_view_that_is_not_there_is_said_so(client: httpx.Client, method: str, path: str) -> None:
    content: Any = {"updates": []} if method == "POST" else None
    answer = client.request(method, f"{PLACE}/namespaces/{path}", json=content)
    assert answer.status_code == 404
    if method != "HEAD":
        name = path.replace("/views/", ".").replace("%2F", "/")
        assert error(answer) == (404, "NoSuchViewException", f"View does not exist: {name}")


def test_names_differ_by_case_as_those_of_tables(client: httpx.Client) -> None:
    make(client, "CamelCase")
    assert client.get(f"{VIEWS}/camelcase").status_code == 404
    assert client.get(f"{VIEWS}/CamelCase").status_code == 200


def test_a_namespace_that_is_not_there_is_said_so(client: httpx.Client) -> None:
    for answer in (
        client.get(f"{PLACE}/namespaces/nope/views"),
        client.post(f"{PLACE}/namespaces/nope/views", json=body("v")),
    ):
        assert error(answer)[:2] == (404, "NoSuchNamespaceException")


def test_a_dropped_view_comes_back_by_its_file(client: httpx.Client) -> None:
    made = make(client, "coming")
    assert client.delete(f"{VIEWS}/coming").status_code == 204
    assert client.get(f"{VIEWS}/coming").status_code == 404
    again = {"name": "came", "metadata-location": made["metadata-location"]}
    place = f"{PLACE}/namespaces/main/register-view"
    found = client.post(place, json=again).json()
    for key in ("view-uuid", "versions", "version-log", "schemas", "location"):
        assert found["metadata"][key] == made["metadata"][key]
    assert client.get(f"{VIEWS}/came").json() == found
    assert file_of(found).parent != file_of(made).parent, "what others write there is not ours"
    taken = client.post(place, json=again)
    assert error(taken) == (409, "AlreadyExistsException", "View already exists: main.came")
    load(client, "of_a_table")
    table = client.get(f"{PLACE}/namespaces/main/tables/of_a_table").json()["metadata-location"]
    root = made["metadata-location"].partition("/views/")[0]
    for location, status in (
        ("file:///etc/passwd", 400),
        ("s3://else/where.metadata.json", 400),
        (table, 400),
        (f"{root}/views/main/none/metadata/0.metadata.json", 404),
        (f"{root}/views/../../catalog.db", 400),
        (f"{root}/_catalog/catalog.db", 422),
    ):
        answer = client.post(place, json={"name": "never", "metadata-location": location})
        assert answer.status_code == status, (location, answer.text)


def test_what_two_send_at_once_is_all_there(client: httpx.Client, server: ServerProcess) -> None:
    make(client, "contended", properties={"version.history.num-entries": "100"})

    def send(who: int) -> None:
        with httpx.Client(base_url=server.url, timeout=60) as own:
            for number in range(8):
                change(own, "contended", *add(f"SELECT {who * 100 + number} AS id"))

    threads = [threading.Thread(target=send, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = client.get(f"{VIEWS}/contended").json()["metadata"]
    assert [each["version-id"] for each in found["versions"]] == list(range(1, 34))
    assert [each["version-id"] for each in found["version-log"]] == list(range(1, 34))


def test_a_request_with_a_key_has_its_effect_once(client: httpx.Client) -> None:
    def sent(number: int, method: str, path: str, content: Any = None) -> httpx.Response:
        headers = {"Idempotency-Key": f"01927b6e-0000-7000-8000-00000000000{number}"}
        return client.request(method, path, json=content, headers=headers)

    made = [sent(1, "POST", VIEWS, body("once")) for _ in range(2)]
    assert [each.status_code for each in made] == [200, 200]
    assert made[0].json() == made[1].json()
    assert sent(1, "POST", VIEWS, body("twice")).status_code == 422
    content = {"updates": add("SELECT 2 AS id")}
    changed = [sent(2, "POST", f"{VIEWS}/once", content) for _ in range(2)]
    assert changed[0].json() == changed[1].json()
    assert changed[0].json()["metadata"]["current-version-id"] == 2
    source = {"namespace": ["main"], "name": "once"}
    to = {"source": source, "destination": {**source, "name": "renamed_once"}}
    for number, method, path, given in (
        (3, "POST", f"{PLACE}/views/rename", to),
        (4, "DELETE", f"{VIEWS}/renamed_once", None),
    ):
        assert [sent(number, method, path, given).status_code for _ in range(2)] == [204, 204]
    again = {"name": "once", "metadata-location": changed[0].json()["metadata-location"]}
    place = f"{PLACE}/namespaces/main/register-view"
    registered = [sent(5, "POST", place, again) for _ in range(2)]
    assert registered[0].json() == registered[1].json()
    assert sent(1, "POST", VIEWS, body("once")).json() == made[0].json(), "as it was then"


def test_pyiceberg_makes_lists_loads_and_drops_views(
    them: RestCatalog, client: httpx.Client
) -> None:
    schema = Schema(
        NestedField(1, "id", LongType(), required=False),
        NestedField(2, "name", StringType(), required=False),
    )
    first = ViewVersion.model_validate(version("SELECT id, name FROM people"))
    made = them.create_view("main.theirs", schema, first, properties={"owner": "Ada"})
    assert made.metadata.properties["owner"] == "Ada"
    assert ("main", "theirs") in them.list_views("main")
    assert ("main", "theirs") not in them.list_tables("main")
    found = them.load_view("main.theirs")
    assert found.metadata.view_uuid == made.metadata.view_uuid
    assert them.view_exists("main.theirs")
    with pytest.raises(ViewAlreadyExistsError):
        them.create_view("main.theirs", schema, first)
    them.drop_view("main.theirs")
    assert not them.view_exists("main.theirs")
    with pytest.raises(NoSuchViewError):
        them.load_view("main.theirs")


def test_what_a_token_may_not_see_is_not_there_and_every_change_is_in_the_log(
    tmp_path: Path,
) -> None:
    with lakehouse_server(tmp_path / "data") as server:
        with Client(f"unix:{operator_path(server.data_dir)}") as owner:
            admin = owner.tokens.create("keeper", [Grant("admin")]).token
            reader = owner.tokens.create("reader", [Grant("reader", "main.shown")]).token
            writer = owner.tokens.create("writer", [Grant("writer", "main.shown")]).token

        def as_(secret: str) -> httpx.Client:
            return httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {secret}"})

        with as_(admin) as client:
            load(client, "people")
            for name in ("shown", "hidden"):
                made = make(client, name)
            sql = "SELECT * FROM shown ORDER BY id"
            assert client.post("/v1/sql", json={"sql": sql}).json()["rows"] == [[1], [2]]
        with as_(reader) as client:
            refused = client.post("/v1/sql", json={"sql": "SELECT * FROM shown"})
            assert refused.status_code == 400, "it would read what this token may not"
            assert refused.json()["type"] == "/problems/view-refused"
            assert "it reads 'main.people', and no table that you may read" in refused.text
            hidden = client.post("/v1/sql", json={"sql": "SELECT * FROM hidden"}).json()
            assert hidden["type"] == "/problems/unknown-table"
        for secret, status in ((reader, 403), (writer, 200)):
            with as_(secret) as client:
                listed = client.get(VIEWS).json()["identifiers"]
                assert [each["name"] for each in listed] == ["shown"]
                assert client.get(f"{VIEWS}/hidden").status_code == 404
                assert client.delete(f"{VIEWS}/hidden").status_code == (
                    403 if status == 403 else 404
                )
                assert change(client, "hidden", *add("SELECT 2")).status_code in (403, 404)
                assert change(client, "shown", *add("SELECT 2")).status_code == status
                assert client.post(VIEWS, json=body("new")).status_code == 403
                source = {"namespace": ["main"], "name": "shown"}
                to = {"source": source, "destination": {**source, "name": "new"}}
                assert client.post(f"{PLACE}/views/rename", json=to).status_code == 403
                again = {"name": "shown2", "metadata-location": made["metadata-location"]}
                place = f"{PLACE}/namespaces/main/register-view"
                assert client.post(place, json=again).status_code == 403
        with as_(writer) as client:
            assert client.delete(f"{VIEWS}/shown").status_code == 204
        with as_(admin) as client:
            sql = "SELECT caller, method, path FROM lakehouse.audit WHERE tables = ['main.shown']"
            answer = client.post("/v1/sql", json={"sql": f"{sql} ORDER BY audit_id"}).json()
        assert answer["rows"] == [
            ["keeper", "POST", VIEWS],
            ["writer", "POST", f"{VIEWS}/shown"],
            ["writer", "DELETE", f"{VIEWS}/shown"],
        ]


def test_a_sql_catalog_of_pyiceberg_still_opens_the_catalog(
    client: httpx.Client, server: ServerProcess
) -> None:
    load(client, "beside_views")
    make(client, "beside_tables")
    theirs = SqlCatalog("lakehouse", uri=f"sqlite:///{server.data_dir / 'catalog.db'}")
    try:
        listed = theirs.list_tables("main")
        assert ("main", "beside_views") in listed and ("main", "beside_tables") not in listed
        assert theirs.load_table("main.beside_views").scan().to_arrow().num_rows == 2
        with pytest.raises(NoSuchTableError):
            theirs.load_table("main.beside_tables")
    finally:
        theirs.engine.dispose()


def test_a_view_lies_where_it_asks_to_below_the_warehouse(
    client: httpx.Client, server: ServerProcess
) -> None:
    root = server.data_dir / "warehouse"
    asked = f"file:{root}/of_views/"
    found = make(client, "placed", properties={"write.metadata.path": asked})
    assert found["metadata-location"].startswith(f"{asked}views/main/placed-")
    assert Path(found["metadata-location"].removeprefix("file:")).is_file()
    assert client.get(f"{VIEWS}/placed").json() == found
    for number, elsewhere in enumerate(("file:/etc", f"file://{root}/tables/main", "s3://x/y")):
        name = f"not_placed_{number}"
        found = make(client, name, properties={"write.metadata.path": elsewhere})
        assert found["metadata-location"].startswith(f"file://{root}/views/main/")


def test_no_view_lies_in_a_tables_folder(client: httpx.Client, server: ServerProcess) -> None:
    root = f"file://{server.data_dir / 'warehouse'}"
    said = {"name": "of_tableland", "schema": SCHEMA, "location": f"{root}/tableland"}
    client.post(f"{PLACE}/namespaces/main/tables", json=said).raise_for_status()
    for location in ("tableland", "tableland/deeper/one"):
        name = f"in_{location.replace('/', '_')}"
        asked = {"write.metadata.path": f"{root}/{location}"}
        found = make(client, name, properties=asked)
        assert found["metadata-location"].startswith(f"{root}/views/main/")
    beside = make(client, "beside", properties={"write.metadata.path": f"{root}/tableland_2"})
    assert beside["metadata-location"].startswith(f"{root}/tableland_2/views/main/")


def test_no_table_lies_where_views_do(client: httpx.Client, server: ServerProcess) -> None:
    found = make(client, "comes_back")
    root = f"file://{server.data_dir / 'warehouse'}"
    for location in (f"{root}/views", f"{root}/views/main/x"):
        said = {"name": "among_views", "schema": SCHEMA, "location": location}
        answer = client.post(f"{PLACE}/namespaces/main/tables", json=said)
        assert error(answer)[0] == 400 and "belongs to the server" in answer.text
    # Another thing is a view that was dropped: it is read where views lie.
    client.delete(f"{VIEWS}/comes_back").raise_for_status()
    said = {"name": "came_back", "metadata-location": found["metadata-location"]}
    answer = client.post(f"{PLACE}/namespaces/main/register-view", json=said)
    assert answer.status_code == 200, answer.text


BAD_TYPES: list[Any] = [
    {},
    {"type": "bogus"},
    {"type": "struct"},
    {"type": "list"},
    {"type": "list", "element-id": 2, "element-required": False, "element": {"type": "list"}},
    {"type": "map", "key-id": 2, "key": "int", "value-id": 3, "value-required": False},
]


@pytest.mark.parametrize("kind", BAD_TYPES, ids=json.dumps)
def test_a_view_whose_types_are_not_whole_is_refused_by_each_way_in(
    server: ServerProcess, client: httpx.Client, kind: Any
) -> None:
    field = {"id": 1, "name": "a", "required": False, "type": kind}
    schema = {"type": "struct", "fields": [field], "schema-id": 0}
    answer = client.post(VIEWS, json=body("halved", schema=schema))
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "IllegalArgumentException")
    if client.get(f"{VIEWS}/whole").status_code == 404:
        make(client, "whole")
    answer = change(client, "whole", {"action": "add-schema", "schema": schema})
    assert answer.status_code == 400
    loaded = client.get(f"{VIEWS}/whole").json()
    location = loaded["metadata-location"].removeprefix("file://")
    spoilt = {**loaded["metadata"], "schemas": [{**schema, "schema-id": 0}]}
    Path(location).with_name("spoilt.metadata.json").write_text(json.dumps(spoilt))
    registered = {
        "name": "halved",
        "metadata-location": "file://" + str(Path(location).with_name("spoilt.metadata.json")),
    }
    answer = client.post(f"{PLACE}/namespaces/main/register-view", json=registered)
    assert answer.status_code == 400
    answer = client.post("/v1/sql", json={"sql": "SELECT count(*) FROM information_schema.columns"})
    assert answer.status_code == 200


def test_a_view_that_was_kept_with_half_a_type_hurts_no_other(tmp_path: Path) -> None:
    place = tmp_path / "data"
    with lakehouse_server(place, port=None) as server, httpx.Client(base_url=server.url) as client:
        made = make(client, "spoilt")
        make(client, "sound")
    metadata = made["metadata"]
    metadata["schemas"][0]["fields"][0]["type"] = {"type": "list"}
    Path(made["metadata-location"].removeprefix("file://")).write_text(json.dumps(metadata))
    with lakehouse_server(place, port=None) as server, httpx.Client(base_url=server.url) as client:
        for sql in ("SHOW ALL TABLES", "SELECT table_name FROM information_schema.columns"):
            answer = client.post("/v1/sql", json={"sql": sql})
            assert answer.status_code == 200, answer.text
            assert "sound" in answer.text
