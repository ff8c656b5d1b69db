"""Tables made and changed by other engines, and what they may not do."""

import json
import uuid
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import TableAlreadyExistsError
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform, IdentityTransform
from pyiceberg.types import IntegerType, ListType, LongType, NestedField, StringType, StructType
from pyiceberg.types import TimestamptzType as Moment

from tests.iceberg.conftest import PLACE, catalog, load
from tests.iceberg.snapshots import added, folder, written
from tests.services import ServerProcess, lakehouse_server

ROWS = pa.table({"id": pa.array([1, 2, 3], pa.int64()), "name": ["a", "b", None]})
TABLES = f"{PLACE}/namespaces/main/tables"


def total(client: httpx.Client, table: str) -> list[int]:
    """Return the number of rows and the sum of their ids, as our SQL has them."""
    answer = client.post("/v1/sql", json={"sql": f"SELECT count(*), sum(id) FROM {table}"})
    return [int(each or 0) for each in answer.raise_for_status().json()["rows"][0]]


def test_what_another_engine_writes_the_next_statement_has(
    client: httpx.Client, them: RestCatalog
) -> None:
    table = them.create_table("main.theirs", ROWS.schema)
    table.append(ROWS)
    assert total(client, "theirs") == [3, 6]
    table.delete("id = 2")
    assert total(client, "theirs") == [2, 4]
    with table.update_schema() as update:
        update.add_column("z", LongType())
        update.rename_column("name", "who")
    load(client, "theirs", b'{"id":9,"who":"x","z":4}\n')
    assert total(client, "theirs") == [3, 13]
    table.refresh()
    assert sorted(table.scan().to_arrow()["id"].to_pylist()) == [1, 3, 9]
    with table.update_spec() as spec:
        spec.add_field("who", IdentityTransform(), "who_is")
    strange = ["x", "a b*[c]?d/e"]  # which are parts of paths now
    table.append(pa.table({"id": pa.array([9, 7], pa.int64()), "who": strange, "z": [5, 6]}))
    assert total(client, "theirs") == [5, 29]
    table.upsert(
        pa.table({"id": pa.array([7, 8], pa.int64()), "who": ["q", "n"], "z": [1, 2]}),
        join_cols=["id"],
    )
    assert total(client, "theirs") == [6, 37]
    table.overwrite(pa.table({"id": pa.array([1], pa.int64()), "who": ["only"], "z": [0]}))
    assert total(client, "theirs") == [1, 1]


def test_a_commit_on_an_older_state_is_refused_and_the_other_one_stays(
    client: httpx.Client, them: RestCatalog
) -> None:
    table = them.create_table("main.raced", ROWS.schema)
    load(client, "raced", b'{"id":5,"name":"ours"}\n')
    table.append(ROWS)  # PyIceberg is told, and tries again
    assert total(client, "raced") == [4, 11]
    was = {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": None}
    change = {"action": "set-properties", "updates": {"user.a": "b"}}
    answer = client.post(f"{TABLES}/raced", json={"requirements": [was], "updates": [change]})
    assert answer.status_code == 409
    assert answer.json()["error"]["type"] == "CommitFailedException"
    assert answer.json()["error"]["message"].startswith("Requirement failed: branch main")
    assert "user.a" not in table.refresh().properties


def test_ids_are_given_anew_all_fields_of_a_struct_before_what_is_in_them(
    them: RestCatalog,
) -> None:
    inner = StructType(
        NestedField(9, "x", IntegerType()), NestedField(4, "y", ListType(7, StringType()))
    )
    schema = Schema(
        NestedField(5, "a", inner),
        NestedField(2, "b", Moment(), required=True),
        identifier_field_ids=[2],
    )
    spec = PartitionSpec(PartitionField(2, 1000, DayTransform(), "b_day"))
    table = them.create_table("main.nested", schema, partition_spec=spec)
    found = table.schema()
    assert {found.find_column_name(number): number for number in range(1, 6)} == {
        "a": 1, "b": 2, "a.x": 3, "a.y": 4, "a.y.element": 5,
    }  # fmt: skip
    assert (found.identifier_field_ids, found.find_field("b").required) == ([2], True)
    assert [(each.source_id, each.field_id) for each in table.spec().fields] == [(2, 1000)]


def test_a_staged_table_is_there_with_its_first_commit_and_not_before(
    client: httpx.Client, them: RestCatalog
) -> None:
    transaction = them.create_table_transaction("main.staged", ROWS.schema)
    transaction.append(ROWS)
    assert not them.table_exists("main.staged")
    assert client.get("/v1/tables/staged").status_code == 404
    transaction.commit_transaction()
    assert total(client, "staged") == [3, 6]
    with pytest.raises(TableAlreadyExistsError, match=r"Table already exists: main\.staged"):
        them.create_table("main.staged", ROWS.schema)
    again = {"requirements": [{"type": "assert-create"}], "updates": []}
    answer = client.post(f"{TABLES}/staged", json=again)
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == "Requirement failed: table already exists"


FIELD = {"id": 1, "name": "id", "required": False, "type": "long"}
SCHEMA = {"type": "struct", "fields": [FIELD]}


def made(**changed: Any) -> dict[str, Any]:
    """Return the first commit of a table that was not staged."""
    updates = [
        {"action": "assign-uuid", "uuid": changed.get("uuid", str(uuid.uuid4()))},
        {"action": "upgrade-format-version", "format-version": changed.get("version", 2)},
        {"action": "add-schema", "schema": changed.get("schema", SCHEMA)},
        {"action": "set-current-schema", "schema-id": -1},
    ]
    if "location" in changed:
        updates.append({"action": "set-location", "location": changed["location"]})
    return {"requirements": [{"type": "assert-create"}], "updates": updates}


def test_a_table_may_be_made_by_a_commit_alone(client: httpx.Client, them: RestCatalog) -> None:
    answer = client.post(f"{TABLES}/alone", json=made())
    assert answer.status_code == 200, answer.text
    them.load_table("main.alone").append(ROWS.select(["id"]))
    assert total(client, "alone") == [3, 6]


def test_a_place_or_a_uuid_of_another_table_is_not_taken(
    client: httpx.Client, them: RestCatalog
) -> None:
    other = them.create_table("main.other", ROWS.schema)
    root = other.location().removesuffix("/" + "/".join(other.location().split("/")[-3:]))

    def fields(*some: Any) -> dict[str, Any]:
        return {"type": "struct", "fields": [*some]}

    bad = [
        (made(uuid=str(other.metadata.table_uuid)), 409, "by its UUID"),
        (made(uuid="x"), 400, "is no UUID"),
        (made(location=other.location()), 400, "belongs to the table main.other"),
        (made(location=f"{other.location()}/data"), 400, "belongs to the table main.other"),
        (made(location=f"{root}/tables"), 400, "belongs to the table"),
        (made(location=f"{root}/_catalog/x"), 400, "holds what belongs to the server"),
        (made(location="file:///tmp/elsewhere"), 400, "is not below the warehouse"),
        (made(location=f"{root}/tables/main/../x"), 400, "is not below the warehouse"),
        (made(location="s3://bucket/x?s3_endpoint=evil"), 400, "is not below the warehouse"),
        (made(version=4), 400, "format version 1 to 3"),
        (made(schema=fields()), 400, "it has no columns"),
        (made(schema=fields(FIELD, {**FIELD, "name": "b"})), 400, "have one id"),
        (made(schema=fields({**FIELD, "type": "variant"})), 400, "variant"),
        (made(schema=fields({**FIELD, "initial-default": 3})), 400, "not supported until v3"),
    ]
    for number, (body, status, words) in enumerate(bad):
        answer = client.post(f"{TABLES}/made", json=body)
        assert (answer.status_code, words in answer.text) == (status, True), (number, answer.text)
    for location, words in (
        (other.location(), "belongs to the table main.other"),
        ("file:///etc", "is not below the warehouse"),
        (f"{root}/vectors/x", "holds what belongs to the server"),
        (f"{root}/tables/a/b/c", "a table lies in tables/"),
    ):
        said = {"name": "made", "schema": SCHEMA, "location": location}
        answer = client.post(TABLES, json=said)
        assert (answer.status_code, words in answer.text) == (400, True), answer.text
    assert not them.table_exists("main.made")
    mine = {"name": "made", "schema": SCHEMA, "location": f"{root}/place/of_its_own/"}
    assert client.post(TABLES, json=mine).status_code == 200
    assert them.load_table("main.made").location() == f"{root}/place/of_its_own"


def test_a_type_may_be_nested_but_not_without_end(client: httpx.Client) -> None:
    type_: Any = "long"
    for number in range(100):
        type_ = {"type": "list", "element-id": 2 + number, "element": type_}
        type_["element-required"] = False
    schema = {"type": "struct", "fields": [{**FIELD, "type": type_}]}
    answer = client.post(TABLES, json={"name": "deep", "schema": schema})
    assert (answer.status_code, "nested deeper" in answer.text) == (400, True)


@pytest.fixture(scope="module")
def victim(server: ServerProcess) -> Table:
    table: Table = catalog(server).create_table("main.victim", ROWS.schema)
    table.append(ROWS)
    return table


@pytest.fixture
def mine(them: RestCatalog) -> Table:
    table: Table = them.create_table(f"main.mine_{uuid.uuid4().hex[:8]}", ROWS.schema)
    return table


def file_at(table: Table, location: str) -> None:
    """Write the rows, with the ids of the table's columns."""
    file_schema = schema_to_pyarrow(table.schema())
    pq.write_table(ROWS.cast(file_schema), location.removeprefix("file://"))


def refused(client: httpx.Client, table: Table, updates: list[dict[str, Any]]) -> str:
    """Return why a commit was refused; the table is as it was."""
    name = table.name()[-1]
    answer = client.post(f"{TABLES}/{name}", json={"requirements": [], "updates": updates})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["type"] == "BadRequestException"
    assert table.refresh().metadata.snapshots == []
    return str(answer.json()["error"]["message"])


def test_a_snapshot_names_only_files_in_the_folder_of_its_table(
    client: httpx.Client, mine: Table, victim: Table
) -> None:
    theirs = victim.inspect.files()["file_path"][0].as_py()
    place = mine.location()
    paths = [
        theirs,
        f"{place}/data/*.parquet",
        f"{place}/data/[a].parquet",
        f"{place}/data/x.parquet?s3_endpoint=evil:1",
        f"{place}/../victim/x.parquet",
        f"{place}/data/../../x.parquet",
        f"{place}-2/data/x.parquet",
        "/etc/passwd",
        "s3://other/x.parquet",
        place,
        "",
    ]
    for path in paths:
        assert "no plain path below" in refused(client, mine, added(written(mine, path)))
    aside = f"{victim.location()}/metadata/aside.avro"
    snapshot = written(mine, f"{place}/data/x.parquet", listed_at=aside)
    assert "no plain path below" in refused(client, mine, added(snapshot))


def test_a_path_is_not_decoded(client: httpx.Client, mine: Table, victim: Table) -> None:
    theirs = victim.inspect.files()["file_path"][0].as_py()
    inside = theirs.removeprefix(f"{victim.location()}/")
    up = f"{mine.location()}/data/%2e%2e/%2e%2e/{folder(victim).name}/{inside}"
    for path in (up, up.replace("/%2e%2e/%2e%2e/", "/..%2F..%2F")):
        why = refused(client, mine, added(written(mine, path)))
        assert "is not there" in why or "no plain path" in why


def test_a_link_in_the_folder_is_not_followed(
    client: httpx.Client, mine: Table, victim: Table
) -> None:
    link = folder(mine) / "data" / "link.parquet"
    link.symlink_to(victim.inspect.files()["file_path"][0].as_py().removeprefix("file://"))
    why = refused(client, mine, added(written(mine, f"{mine.location()}/data/link.parquet")))
    assert "is a link" in why


def test_what_is_not_read_here_is_refused_by_name(client: httpx.Client, mine: Table) -> None:
    at = f"{mine.location()}/data/x.parquet"
    deletes = written(mine, at, content=DataFileContent.EQUALITY_DELETES)
    assert "equality deletes" in refused(client, mine, added(deletes))
    avro = written(mine, at, file_format=FileFormat.AVRO)
    assert "files are Parquet here" in refused(client, mine, added(avro))


def test_a_file_that_is_not_there_is_not_taken(client: httpx.Client, mine: Table) -> None:
    gone = written(mine, f"{mine.location()}/data/gone.parquet")
    assert "is not there" in refused(client, mine, added(gone))
    there = f"{mine.location()}/data/there.parquet"
    file_at(mine, there)
    for part in ("m-", "snap-"):
        snapshot = written(mine, there)
        (folder(mine) / "metadata" / f"{part}{snapshot['snapshot-id']}.avro").write_bytes(b"x" * 9)
        refused(client, mine, added(snapshot))
        (folder(mine) / "metadata" / f"{part}{snapshot['snapshot-id']}.avro").unlink()
        assert "is not there" in refused(client, mine, added(snapshot))


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"action": "make-it-so"}, "Invalid value 'make-it-so'"),
        ({}, "missing required field `action`"),
        ({"action": "add-snapshot", "snapshot": {"snapshot-id": 1}}, "missing required field"),
        ({"action": "add-schema", "schema": {"fields": [{"id": 1}]}}, "missing required field"),
        ({"action": "set-current-schema", "schema-id": 7}, "there is no schema 7"),
        ({"action": "set-default-spec", "spec-id": "0"}, "Expected `int`"),
        ({"action": "set-properties", "updates": {"a": 1}}, "Expected `str`"),
        ({"action": "set-properties", "updates": {"lakehouse.name": "x"}}, "kept by the catalog"),
        ({"action": "remove-properties", "removals": ["lakehouse.name"]}, "kept by the catalog"),
        ({"action": "set-properties", "updates": {"write.data.path": "/etc"}}, "no plain path"),
        (
            {"action": "set-properties", "updates": {"history.expire.max-snapshot-age-ms": "x"}},
            "history.expire.max-snapshot-age-ms",
        ),
        ({"action": "upgrade-format-version", "format-version": 4}, "version 1 to 3"),
        ({"action": "upgrade-format-version", "format-version": 1}, "Cannot downgrade v2"),
        ({"action": "assign-uuid", "uuid": "other"}, "keeps its UUID"),
        ({"action": "set-location", "location": "file:///x"}, "stays where it lies"),
        (
            {
                "action": "set-statistics",
                "statistics": {
                    "snapshot-id": 1, "statistics-path": "/etc/x", "file-size-in-bytes": 1,
                },
            },
            "no plain path",
        ),
    ],
)  # fmt: skip
def test_an_update_that_cannot_be_is_told_so(
    client: httpx.Client, mine: Table, update: dict[str, Any], words: str
) -> None:
    assert words in refused(client, mine, [update])


def test_a_snapshot_of_the_days_to_come_or_without_numbers_is_refused(
    client: httpx.Client, mine: Table
) -> None:
    there = f"{mine.location()}/data/there.parquet"
    file_at(mine, there)
    snapshot = written(mine, there)
    late = {**snapshot, "timestamp-ms": snapshot["timestamp-ms"] + 90_000_000}
    assert "set the clock" in refused(client, mine, added(late))
    wrong = {**snapshot, "summary": {"operation": "append", "total-records": "many"}}
    assert "no number" in refused(client, mine, added(wrong))
    huge = {**snapshot, "sequence-number": 2**63 - 1}
    refused(client, mine, added(huge))
    answer = client.post(
        f"{TABLES}/{mine.name()[-1]}", json={"requirements": [], "updates": added(snapshot)}
    )
    assert answer.status_code == 200, answer.text
    assert mine.refresh().scan().to_arrow().num_rows == 3


def there_is(table: Table, name: str = "there") -> str:
    """Write the rows into the folder of a table, and return where."""
    location = f"{table.location()}/data/{name}.parquet"
    file_at(table, location)
    return location


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sequence-number": 3}, "the sequence number after 0 is 1"),
        ({"sequence-number": 2**62}, "the sequence number after 0 is 1"),
        ({"snapshot-id": 0}, "Expected `int` >= 1"),
        ({"parent-snapshot-id": 2**64}, "parent-snapshot-id"),
        ({"summary": {"operation": "append", "total-records": "9" * 5000}}, "no number"),
        ({"summary": {"operation": "append", "lakehouse.by": "admin"}}, "a word of the catalog"),
        (
            {"summary": {"operation": "append", "lakehouse.content-sha256": "0"}},
            "a word of the catalog",
        ),
        ({"of-the-future": 10**30}, "JSON cannot hold"),
    ],
)
def test_a_snapshot_closes_the_table_for_nobody(
    client: httpx.Client, mine: Table, changed: dict[str, Any], words: str
) -> None:
    snapshot = {**written(mine, there_is(mine)), **changed}
    body = json.dumps({"requirements": [], "updates": added(snapshot)})  # numbers of any size
    answer = client.post(f"{TABLES}/{mine.name()[-1]}", content=body)
    assert (answer.status_code, words in answer.text) == (400, True), answer.text
    assert mine.refresh().metadata.snapshots == []


def test_times_of_snapshots_go_on(client: httpx.Client, mine: Table) -> None:
    """Readers refuse a log of snapshots that goes back by more than a minute."""
    for offset_ms in (-120_000, 120_000):
        snapshot = written(mine, there_is(mine))
        snapshot["timestamp-ms"] += offset_ms
        assert "set the clock" in refused(client, mine, added(snapshot))


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ("far id", "ids are given one by one"),
        ("reserved id", "<= 2147483447"),
        ("identifier", "identifier-field-ids names"),
        ("two names", "two fields of a partition spec have one name"),
        ("far partition", "ids of partition fields"),
    ],
)
def test_ids_leave_room_for_those_who_come_later(
    client: httpx.Client, mine: Table, update: str, words: str
) -> None:
    far = {"id": 2**30, "name": "far", "required": False, "type": "long"}
    day = {"source-id": 1, "name": "p", "transform": "identity"}
    kinds = {
        "far id": {"action": "add-schema", "schema": {"type": "struct", "fields": [far]}},
        "reserved id": {
            "action": "add-schema",
            "schema": {"type": "struct", "fields": [{**far, "id": 2**31 - 1}]},
        },
        "identifier": {
            "action": "add-schema",
            "schema": {"type": "struct", "fields": [FIELD], "identifier-field-ids": [9]},
        },
        "two names": {"action": "add-spec", "spec": {"fields": [day, {**day, "source-id": 2}]}},
        "far partition": {
            "action": "add-spec", "spec": {"fields": [{**day, "field-id": 2**30}]},
        },
    }  # fmt: skip
    assert words in refused(client, mine, [kinds[update]])


def test_a_reference_may_be_kept_for_years(client: httpx.Client, mine: Table) -> None:
    mine.append(ROWS)
    snapshot = mine.current_snapshot()
    assert snapshot is not None
    tag = {"ref-name": "year", "type": "tag", "snapshot-id": snapshot.snapshot_id}
    update = {"action": "set-snapshot-ref", **tag, "max-ref-age-ms": 365 * 86_400_000}
    body = {"requirements": [], "updates": [update]}
    assert client.post(f"{TABLES}/{mine.name()[-1]}", json=body).status_code == 200


def test_a_commit_has_so_many_updates_and_no_more(client: httpx.Client, mine: Table) -> None:
    at = f"{TABLES}/{mine.name()[-1]}"
    change = {"action": "set-properties", "updates": {"user.a": "b"}}
    few = {"requirements": [], "updates": [change] * 5_000}
    assert client.post(at, json=few).status_code == 200
    many = {"requirements": [], "updates": [change] * 5_001}
    assert client.post(at, json=many).status_code == 413
    schema = {"action": "add-schema", "schema": SCHEMA}
    assert (
        client.post(at, json={"requirements": [], "updates": [schema] * 1_001}).status_code == 413
    )


@pytest.mark.parametrize(
    "many", [{f"engine.{n}": "" for n in range(1_001)}, {"engine.long": "x" * 1024**2}]
)
def test_a_table_has_so_many_properties_and_no_more(
    client: httpx.Client, mine: Table, many: dict[str, str]
) -> None:
    change = {"action": "set-properties", "updates": many}
    body = made()
    asked = {
        f"{TABLES}/{mine.name()[-1]}": {"requirements": [], "updates": [change]},
        f"{TABLES}/full": {**body, "updates": [*body["updates"], change]},
        TABLES: {"name": "full", "schema": SCHEMA, "properties": many},
    }
    for at, body in asked.items():
        answer = client.post(at, json=body)
        assert answer.status_code == 400, answer.text
        assert "are the most" in answer.json()["error"]["message"]


def test_what_is_no_manifest_is_not_read_whole(client: httpx.Client, mine: Table) -> None:
    snapshot = written(mine, there_is(mine))
    huge = folder(mine) / "data" / "huge.parquet"
    with huge.open("wb") as file:
        file.truncate(65 * 1024**2)
    snapshot["manifest-list"] = f"file://{huge}"
    assert "are the most" in refused(client, mine, added(snapshot))


def test_a_file_of_another_size_is_not_taken(client: httpx.Client, mine: Table) -> None:
    snapshot = written(mine, there_is(mine))
    (folder(mine) / "data" / "there.parquet").write_bytes(b"PAR1")
    assert "not " in refused(client, mine, added(snapshot))


def test_a_snapshot_on_one_of_the_same_commit_is_taken(
    client: httpx.Client, them: RestCatalog
) -> None:
    table = them.create_table("main.in_one", ROWS.schema)
    table.append(ROWS)
    with table.transaction() as transaction:
        transaction.overwrite(ROWS.slice(0, 1))  # a delete, and an append on it
        transaction.append(ROWS)
    assert total(client, "in_one") == [4, 7]


def test_a_schema_that_was_removed_is_not_taken_for_a_newer_one(
    client: httpx.Client, mine: Table
) -> None:
    at = f"{TABLES}/{mine.name()[-1]}"
    mine.append(ROWS)
    more = {**FIELD, "id": 3, "name": "more"}
    add = {"action": "add-schema", "schema": {"type": "struct", "fields": [FIELD, more]}}
    remove = {"action": "remove-schemas", "schema-ids": [1]}
    body = {"requirements": [], "updates": [add, remove]}
    found = client.post(at, json=body).raise_for_status().json()["metadata"]["schemas"]
    assert [each["schema-id"] for each in found] == [0, 1]


def test_a_field_that_we_do_not_know_stays(client: httpx.Client, mine: Table) -> None:
    there = f"{mine.location()}/data/there.parquet"
    file_at(mine, there)
    snapshot = {**written(mine, there), "of-the-future": [1]}
    at = f"{TABLES}/{mine.name()[-1]}"
    client.post(at, json={"requirements": [], "updates": added(snapshot)}).raise_for_status()
    load(client, mine.name()[-1])
    found = client.get(at).json()["metadata"]["snapshots"]
    assert [each.get("of-the-future") for each in found] == [[1], None]


@pytest.mark.parametrize("version", [1, 3])
def test_a_table_of_another_version_is_read_here_and_written_there(
    client: httpx.Client, them: RestCatalog, version: int
) -> None:
    name = f"version_{version}"
    said = {"name": name, "schema": SCHEMA, "properties": {"format-version": str(version)}}
    metadata = client.post(TABLES, json=said).raise_for_status().json()["metadata"]
    assert metadata["format-version"] == version
    assert ("schema" in metadata) == (version == 1)
    assert metadata.get("next-row-id") == (0 if version == 3 else None)
    table = them.load_table(f"main.{name}")
    if version == 1:
        table.append(ROWS.select(["id"]))
    else:  # PyIceberg writes no rows of it
        there = f"{table.location()}/data/there.parquet"
        rows = ROWS.select(["id"]).cast(schema_to_pyarrow(table.schema()))
        pq.write_table(rows, there.removeprefix("file://"))
        snapshot = written(table, there)
        body = {"requirements": [], "updates": added(snapshot)}
        answer = client.post(f"{TABLES}/{name}", json=body)
        assert (answer.status_code, "says its first-row-id" in answer.text) == (400, True)
        snapshot |= {"first-row-id": 0, "added-rows": 3}
        body = {"requirements": [], "updates": added(snapshot)}
        found = client.post(f"{TABLES}/{name}", json=body).raise_for_status().json()["metadata"]
        assert found["next-row-id"] == 3
    assert total(client, name) == [3, 6]
    query = {"name": name, "format": "ndjson", "mode": "append"}
    answer = client.post("/v1/ingest", params=query, content=b'{"id":9}')
    assert answer.status_code == 422
    assert f"format version {version}, which is read here" in answer.json()["detail"]
    asked = {"table": name}
    runs = client.post("/v1/maintenance/run", json=asked).raise_for_status().json()["runs"]
    assert {each["outcome"] for each in runs} == {"nothing"}
    assert total(client, name) == [3, 6]
    if version == 1:
        with them.load_table(f"main.{name}").update_schema() as update:
            update.add_column("more", LongType())
        found = client.get(f"{TABLES}/{name}").json()["metadata"]
        assert [each["name"] for each in found["schema"]["fields"]] == ["id", "more"]
        upgrade = [{"action": "upgrade-format-version", "format-version": 2}]
        body = {"requirements": [], "updates": upgrade}
        found = client.post(f"{TABLES}/{name}", json=body).raise_for_status().json()["metadata"]
        assert (found["format-version"], "schema" in found) == (2, False)
        load(client, name, b'{"id":9}\n')
        assert total(client, name) == [4, 15]


def test_a_name_may_have_a_slash_by_the_protocol_alone(
    client: httpx.Client, them: RestCatalog
) -> None:
    them.create_namespace(("a/b",))
    said = {"name": "c/d", "schema": SCHEMA}
    assert client.post(f"{PLACE}/namespaces/a%2Fb/tables", json=said).status_code == 200
    assert client.get(f"{PLACE}/namespaces/a%2Fb/tables/c%2Fd").status_code == 200
    assert total(client, '"a/b"."c/d"')[:1] == [0]
    assert client.post("/v1/namespaces", json={"name": "e/f"}).status_code == 400
    query = {"name": "g/h", "format": "ndjson", "mode": "append"}
    assert client.post("/v1/ingest", params=query, content=b'{"id":9}').status_code == 400


def test_without_a_look_a_commit_is_taken_as_it_is(tmp_path: Path) -> None:
    unchecked = {"LAKEHOUSE_ICEBERG__CHECKS_COMMITS": "false"}
    with (
        lakehouse_server(tmp_path / "data", port=None, **unchecked) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        said = {"name": "t", "schema": SCHEMA, "location": "file:///tmp/elsewhere"}
        metadata = client.post(TABLES, json=said).raise_for_status().json()["metadata"]
        assert "/warehouse/tables/main/t-" in metadata["location"]
        table = catalog(server).load_table("main.t")
        body = {"requirements": [], "updates": added(written(table, "/nowhere/a.parquet"))}
        assert client.post(f"{TABLES}/t", json=body).status_code == 200
        sql = {"sql": "SELECT count(*) FROM t WHERE id > 0"}
        answer = client.post("/v1/sql", json=sql)
        assert answer.status_code in (410, 422, 503), answer.text  # said, not a crash
