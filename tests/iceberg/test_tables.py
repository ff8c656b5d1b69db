"""Tables dropped, renamed and registered by the protocol."""

from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import IntegerType, LongType, NestedField

from tests.iceberg.conftest import PLACE, load
from tests.services import ServerProcess, wait_until


def count(client: httpx.Client, table: str) -> int:
    answer = client.post("/v1/sql", json={"sql": f"SELECT count(*) FROM {table}"})
    return int(answer.raise_for_status().json()["rows"][0][0])


def test_a_dropped_table_is_gone_here_and_can_come_back(
    client: httpx.Client, them: RestCatalog
) -> None:
    load(client, "going")
    them.drop_table("main.going")
    assert not them.table_exists("main.going")
    assert client.get("/v1/tables/going").status_code == 404
    with pytest.raises(NoSuchTableError):
        them.drop_table("main.going")
    assert client.post("/v1/tables/going/undrop", json={}).status_code == 200
    assert them.load_table("main.going").scan().to_arrow().num_rows == 2


def test_a_request_is_logged_under_the_path_it_was_sent_to(
    client: httpx.Client, server: ServerProcess
) -> None:
    load(client, "told")
    path = f"{PLACE}/namespaces/main/tables/told"
    assert client.delete(path).status_code == 204
    wait_until(lambda: f"DELETE {path} 204" in server.log())  # it comes after the answer


def test_a_purged_one_leaves_no_file(
    client: httpx.Client, them: RestCatalog, server: ServerProcess
) -> None:
    load(client, "purged")
    place = Path(them.load_table("main.purged").location().removeprefix("file://"))
    assert any(place.rglob("*.parquet"))
    them.purge_table("main.purged")
    assert not place.exists()


def test_a_renamed_table_has_its_rows_and_its_old_name_is_free(
    client: httpx.Client, them: RestCatalog
) -> None:
    load(client, "old")
    load(client, "taken")
    them.create_namespace_if_not_exists(("deep", "er"))
    with pytest.raises(TableAlreadyExistsError, match=r"Cannot rename main\.old to main\.taken"):
        them.rename_table("main.old", "main.taken")
    with pytest.raises(NoSuchTableError):
        them.rename_table("main.nothing", "main.new")
    them.rename_table("main.old", ("deep", "er", "new"))
    assert not them.table_exists("main.old")
    assert them.load_table(("deep", "er", "new")).scan().to_arrow().num_rows == 2
    assert count(client, '"deep.er".new') == 2
    load(client, "old")
    assert count(client, "old") == 2
    source = {"namespace": ["main"], "name": "old"}
    nowhere = {"source": source, "destination": {"namespace": ["no"], "name": "old"}}
    answer = client.post(f"{PLACE}/tables/rename", json=nowhere)
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "NoSuchNamespaceException")


def test_files_of_a_partition_whose_column_was_dropped_are_written_again(
    client: httpx.Client, them: RestCatalog
) -> None:
    schema = Schema(NestedField(1, "id", LongType()), NestedField(2, "g", IntegerType()))
    spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "g"))
    table = them.create_table("main.unparted", schema, partition_spec=spec)
    fields = {"id": pa.array([1, 2, 3], pa.int64()), "g": pa.array([1, 2, 2], pa.int32())}
    table.append(pa.table(fields))
    with table.update_spec() as specs:
        specs.remove_field("g")
    with table.update_schema() as columns:
        columns.delete_column("g")
    for path, body in (
        ("delete", {"where": "id = 2"}),
        ("update", {"where": "id = 1", "set": {"id": "id + 100"}}),
        ("delete", {"where": "id = 3", "erase": True}),
    ):
        answer = client.post(f"/v1/tables/unparted/{path}", json=body)
        assert answer.status_code == 200, answer.text
    assert count(client, "unparted") == 1
    table.refresh()
    assert table.scan().to_arrow().to_pylist() == [{"id": 101}]


def test_a_table_that_lies_in_the_warehouse_is_registered(
    client: httpx.Client, them: RestCatalog, server: ServerProcess, tmp_path: Path
) -> None:
    landing = server.data_dir / "warehouse" / "landing"
    landing.mkdir()
    other = SqlCatalog(
        "other", uri=f"sqlite:///{tmp_path / 'other.db'}", warehouse=f"file://{landing}"
    )
    other.create_namespace("db")
    rows = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", None]})
    made = other.create_table("db.came", rows.schema)
    made.append(rows)

    registered = them.register_table("main.came", made.metadata_location)

    assert registered.scan().to_arrow().num_rows == 3
    assert count(client, "came") == 3
    with pytest.raises(TableAlreadyExistsError):
        them.register_table("main.came", made.metadata_location)
    again = {"name": "again", "metadata-location": made.metadata_location}
    answer = client.post(f"{PLACE}/namespaces/main/register", json=again)
    assert (answer.status_code, "main.came already" in answer.text) == (409, True)
    assert answer.json()["error"]["type"] == "AlreadyExistsException"  # to try again is no use
    nothing = {"name": "none", "metadata-location": f"{made.location()}/metadata/9.metadata.json"}
    answer = client.post(f"{PLACE}/namespaces/main/register", json=nothing)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"name": "x"}, 400, "metadata-location"),
        ({"name": "x", "metadata-location": "s3://else/where.metadata.json"}, 400, "outside"),
        ({"name": "x", "metadata-location": "file:///etc/passwd"}, 400, "outside"),
    ],
)
def test_what_cannot_be_registered_is_refused(
    client: httpx.Client, body: Any, status: int, words: str
) -> None:
    answer = client.post(f"{PLACE}/namespaces/main/register", json=body)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]["message"]


DEFAULTS = {
    "boolean": (True, "true"),
    "int": (7, "7"),
    "long": (-(2**62), str(-(2**62))),
    "float": (1.5, "1.5"),
    "double": (-0.25, "-0.25"),
    "decimal(9,2)": ("14.20", "14.20"),
    "string": ("it's", "'it''s'"),
    "date": ("2024-01-02", "DATE '2024-01-02'"),
    "time": ("03:04:05.123456", "TIME '03:04:05.123456'"),
    "timestamp": ("2024-01-02T03:04:05.123456", "TIMESTAMP '2024-01-02 03:04:05.123456'"),
    "timestamptz": ("2024-01-02T03:04:05+00:00", "TIMESTAMPTZ '2024-01-02 03:04:05+00'"),
    "uuid": (
        "f79c3e09-677c-4bbd-a479-3f349cb785e7",
        "'f79c3e09-677c-4bbd-a479-3f349cb785e7'::UUID",
    ),
    "binary": ("00FF", r"'\x00\xFF'::BLOB"),
}


def test_rows_that_are_older_than_a_column_have_its_default(
    client: httpx.Client, them: RestCatalog
) -> None:
    rows = pa.table({"id": pa.array([1, 2], pa.int64())})
    them.create_table("main.defaults", rows.schema).append(rows)
    at = f"{PLACE}/namespaces/main/tables/defaults"
    fields = client.get(at).json()["metadata"]["schemas"][0]["fields"]
    for number, (type_, (value, _)) in enumerate(DEFAULTS.items(), start=2):
        new = {"id": number, "name": f"c{number}", "type": type_, "required": False}
        fields.append({**new, "initial-default": value, "write-default": value})
    updates = [
        {"action": "upgrade-format-version", "format-version": 3},
        {"action": "add-schema", "schema": {"type": "struct", "fields": fields}},
        {"action": "set-current-schema", "schema-id": -1},
    ]
    answer = client.post(at, json={"requirements": [], "updates": updates})
    assert answer.status_code == 200, answer.text
    for number, (type_, (_, sql)) in enumerate(DEFAULTS.items(), start=2):
        found = f"SELECT count(*) FROM defaults WHERE c{number} IS NOT DISTINCT FROM {sql}"
        answer = client.post("/v1/sql", json={"sql": found})
        assert answer.json().get("rows") == [[2]], (type_, answer.text)
