"""What would close a table for those who come later is refused, and the table stays as it was."""

import uuid
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table

from tests.iceberg.conftest import PLACE, catalog, load
from tests.iceberg.snapshots import added, written
from tests.services import ServerProcess

TABLES = f"{PLACE}/namespaces/main/tables"
Json = dict[str, Any]


def column(id_: int, name: str, type_: Any, *, required: bool = False, **more: Any) -> Json:
    return {"id": id_, "name": name, "required": required, "type": type_, **more}


def struct(*fields: Json) -> Json:
    return {"type": "struct", "fields": list(fields)}


def list_of(id_: int, type_: Any) -> Json:
    return {"type": "list", "element-id": id_, "element": type_, "element-required": False}


def add(*fields: Json, **more: Any) -> list[Json]:
    """Return the updates that give a table these columns."""
    return [
        {"action": "add-schema", "schema": {**struct(*fields), **more}},
        {"action": "set-current-schema", "schema-id": -1},
    ]


COLUMNS: dict[str, Json] = {
    "id": column(1, "id", "long"),
    "n": column(2, "n", "int"),
    "f": column(3, "f", "float"),
    "price": column(4, "price", "decimal(9,2)"),
    "day": column(5, "day", "date"),
    "s": column(6, "s", struct(column(8, "x", "int"))),
    "tags": column(7, "tags", list_of(9, "string")),
}
ROW = b'{"id":1,"n":2,"f":0.5,"price":1.25,"day":"2024-01-01","s":{"x":1},"tags":["a"]}\n'


def columns(**changed: Json | None) -> list[Json]:
    """Return the columns of the table, some of them changed, or taken out."""
    return [each for each in {**COLUMNS, **changed}.values() if each is not None]


def made(client: httpx.Client, *fields: Json, version: int = 2, **schema: Any) -> str:
    """Create a table and return its name."""
    name = f"t_{uuid.uuid4().hex[:8]}"
    said = {
        "name": name,
        "schema": {**struct(*fields), **schema},
        "properties": {"format-version": str(version)},
    }
    answer = client.post(TABLES, json=said)
    assert answer.status_code == 200, answer.text
    return name


def commit(client: httpx.Client, name: str, updates: list[Json]) -> httpx.Response:
    return client.post(f"{TABLES}/{name}", json={"requirements": [], "updates": updates})


def check_refused(client: httpx.Client, name: str, updates: list[Json], words: str) -> None:
    before = client.get(f"{TABLES}/{name}").json()["metadata-location"]
    answer = commit(client, name, updates)
    assert (answer.status_code, words in answer.text) == (400, True), answer.text
    assert answer.json()["error"]["type"] == "BadRequestException"
    assert client.get(f"{TABLES}/{name}").json()["metadata-location"] == before


@pytest.fixture(scope="module")
def there(server: ServerProcess) -> str:
    """A table with a row, which no test of this module changes."""
    with httpx.Client(base_url=server.url) as client:
        name = made(client, *COLUMNS.values())
        load(client, name, ROW)
        return name


# Columns that are there.

CHANGES: dict[str, tuple[list[Json], str]] = {
    "long to string": (columns(id=column(1, "id", "string")), "'id' has the id 1, under which"),
    "long to int": (columns(id=column(1, "id", "int")), "cannot be int"),
    "int to double": (columns(n=column(2, "n", "double")), "cannot be double"),
    "float to string": (columns(f=column(3, "f", "string")), "cannot be string"),
    "another scale": (columns(price=column(4, "price", "decimal(12,3)")), "decimal(12,3)"),
    "fewer digits": (columns(price=column(4, "price", "decimal(8,2)")), "decimal(8,2)"),
    "days to moments": (columns(day=column(5, "day", "timestamp")), "cannot be timestamp"),
    "to a struct": (
        columns(n=column(2, "n", struct(column(10, "y", "int")))),
        "cannot be a struct",
    ),
    "a struct to a list": (columns(s=column(6, "s", list_of(10, "int"))), "cannot be a list"),
    "inside a struct": (columns(s=column(6, "s", struct(column(8, "x", "string")))), "'s.x' has"),
    "inside a list": (columns(tags=column(7, "tags", list_of(9, "long"))), "'tags.element' has"),
    "another element": (columns(tags=column(7, "tags", list_of(10, "string"))), "cannot be a list"),
    "out of its struct": (
        columns(s=column(6, "s", struct(column(10, "y", "int"))), x=column(8, "x", "int")),
        "a column stays in what it is in",
    ),
    "required since": (
        columns(id=column(1, "id", "long", required=True)),
        "cannot become required",
    ),
    "required inside": (
        columns(s=column(6, "s", struct(column(8, "x", "int", required=True)))),
        "'s.x' is optional",
    ),
    "new and required": (
        columns(new=column(10, "new", "long", required=True)),
        "'new' is new and required",
    ),
    "new and required inside": (
        columns(
            s=column(6, "s", struct(column(8, "x", "int"), column(10, "y", "int", required=True)))
        ),
        "'s.y' is new and required",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_columns_that_files_have_stay_what_they_are(
    client: httpx.Client, there: str, change: str
) -> None:
    fields, words = CHANGES[change]
    check_refused(client, there, add(*fields), words)


def test_columns_may_widen_and_come_and_go(client: httpx.Client) -> None:
    name = made(client, *COLUMNS.values())
    load(client, name, ROW)
    wider = {
        "n": column(2, "n", "long"),
        "f": column(3, "f", "double"),
        "price": column(4, "price", "decimal(20, 2)"),
        "s": column(6, "s", struct(column(8, "x", "long"))),
        "new": column(10, "new", struct(column(11, "y", "int", required=True))),
    }
    assert commit(client, name, add(*columns(**wider))).status_code == 200
    answer = client.post("/v1/sql", json={"sql": f"SELECT n, f, price, s.x, new FROM {name}"})
    assert answer.json()["rows"] == [[2, 0.5, "1.25", 1, None]], answer.text
    load(client, name, ROW)
    assert commit(client, name, add(*columns(**wider, day=None))).status_code == 200


def test_a_column_that_comes_back_is_what_it_was(client: httpx.Client) -> None:
    name = made(client, *COLUMNS.values())
    load(client, name, ROW)
    wide = column(2, "n", "long")
    for fields in (columns(n=wide), columns(n=None)):
        assert commit(client, name, add(*fields)).status_code == 200
    for type_, words in (("string", "cannot be string"), ("int", "cannot be int")):
        check_refused(client, name, add(*columns(n=column(2, "n", type_))), words)
    first = {"action": "set-current-schema", "schema-id": 0}
    check_refused(client, name, [first], "cannot be int")
    needed = column(2, "n", "long", required=True)
    check_refused(client, name, add(*columns(n=needed)), "new and required")
    assert commit(client, name, add(*columns(n=wide))).status_code == 200
    in_one = [*add(*columns(n=wide, new=column(10, "new", "int")))[:1],
              *add(*columns(n=wide, new=column(10, "new", "string")))]  # fmt: skip
    check_refused(client, name, in_one, "cannot be string")


def test_days_become_moments_where_the_format_says_so(client: httpx.Client) -> None:
    """From version 3 on, and where no partition would have other values then."""
    moment = column(1, "day", "timestamp")
    for transform, is_taken in (("month", True), ("identity", False), ("bucket[4]", False)):
        name = made(client, column(1, "day", "date"), version=3)
        them_add(client, name)
        spec = {"fields": [{"source-id": 1, "name": "p", "transform": transform}]}
        assert commit(client, name, [{"action": "add-spec", "spec": spec}]).status_code == 200
        if is_taken:
            assert commit(client, name, add(moment)).status_code == 200
        else:
            check_refused(client, name, add(moment), "cannot be timestamp")


@pytest.mark.parametrize("numbered", [(2**62, 0), (0, 2**62), (2**39, 2**39 + 1)])
def test_ids_of_rows_are_not_used_up_by_one_snapshot(
    client: httpx.Client, numbered: tuple[int, int]
) -> None:
    name = made(client, column(1, "id", "long"), version=3)
    first, count = numbered
    snapshot = snapshot_of(catalog_of(client).load_table(f"main.{name}"))
    snapshot |= {"first-row-id": first, "added-rows": count}
    check_refused(client, name, added(snapshot), "with one snapshot")
    them_add(client, name)


def them_add(client: httpx.Client, name: str) -> None:
    """Give a table of format version 3 a snapshot without rows."""
    table = catalog_of(client).load_table(f"main.{name}")
    snapshot = snapshot_of(table) | {"first-row-id": 0, "added-rows": 0}
    answer = commit(client, name, added(snapshot))
    assert answer.status_code == 200, answer.text


def snapshot_of(table: Table, number: int = 1) -> Json:
    """Write a snapshot of one file into the folder of a table."""
    location = f"{table.location()}/data/{uuid.uuid4().hex}.parquet"
    pq.write_table(pa.table({"id": [1]}), location.removeprefix("file://"))
    return written(table, location, number=number)


def catalog_of(client: httpx.Client) -> RestCatalog:
    said = {"uri": f"{str(client.base_url).rstrip('/')}/iceberg", "auth": {"type": "noop"}}
    return RestCatalog("lake", **said)  # type: ignore[arg-type]


def test_a_table_that_is_replaced_begins_anew(client: httpx.Client) -> None:
    """As Spark replaces one: a column of the same name has the same id, and another type."""
    name = made(client, *COLUMNS.values())
    other = add(column(1, "id", "string"), column(10, "new", "long", required=True))
    assert commit(client, name, other).status_code == 200  # there are no files yet
    load(client, name, b'{"id":"a","new":1}\n')
    check_refused(client, name, add(column(1, "id", "long")), "cannot be long")
    gone = {"action": "remove-snapshot-ref", "ref-name": "main"}
    assert commit(client, name, [gone, *add(column(1, "id", "int"))]).status_code == 200
    load(client, name, b'{"id":7}\n')
    assert commit(client, name, add(column(1, "id", "long"))).status_code == 200
    main = client.get(f"{TABLES}/{name}").json()["metadata"]["refs"]["main"]
    kept = {"action": "set-snapshot-ref", "ref-name": "main", **main}
    check_refused(client, name, [gone, *add(column(1, "id", "string")), kept], "cannot be string")


# What identifies rows.

NESTED = struct(column(3, "x", "long", required=True))
IDENTIFIERS: dict[str, tuple[list[Json], int, str]] = {
    "optional": ([column(1, "id", "long")], 1, "it is not required"),
    "float": ([column(1, "id", "float", required=True)], 1, "it is a float"),
    "double": ([column(1, "id", "double", required=True)], 1, "it is a double"),
    "a struct": ([column(1, "s", NESTED, required=True)], 1, "it is a struct"),
    "in an optional struct": ([column(1, "s", NESTED)], 3, "'s', which it is in, is not required"),
    "in a list": (
        [column(1, "l", {**list_of(2, "long"), "element-required": True}, required=True)],
        2,
        "'l' holds several",
    ),
    "in a struct in a list": (
        [column(1, "l", {**list_of(2, NESTED), "element-required": True}, required=True)],
        3,
        "'l' holds several",
    ),
    "nowhere": ([column(1, "id", "long", required=True)], 9, "a column that is not there"),
}


@pytest.mark.parametrize("case", IDENTIFIERS)
def test_rows_are_identified_by_what_every_row_has(client: httpx.Client, case: str) -> None:
    fields, id_, words = IDENTIFIERS[case]
    held = {"identifier-field-ids": [id_]}
    name = made(client, column(1, "other", "long"))
    check_refused(client, name, add(*fields, **held), words)
    said = {"name": f"{name}_new", "schema": {**struct(*fields), **held}}
    for staged in (False, True):
        answer = client.post(TABLES, json={**said, "stage-create": staged})
        assert answer.status_code == 400, answer.text


def test_a_required_column_may_identify_rows(client: httpx.Client) -> None:
    fields = [column(1, "id", "long", required=True), column(2, "s", NESTED, required=True)]
    held: Json = {"identifier-field-ids": [1, 3]}
    name = made(client, *fields, **held)
    load(client, name, b'{"id":1,"s":{"x":2}}\n')
    found = catalog_of(client).load_table(f"main.{name}").schema()
    assert (found.identifier_field_ids, found.identifier_field_names()) == ([1, 3], {"id", "s.x"})


# Values for rows that say none.

VALUES: dict[str, tuple[list[Any], list[Any]]] = {
    "boolean": ([True], ["true", 1]),
    "int": ([-3, 0], ["3", 3.0, True, 2**31]),
    "long": ([2**63 - 1], [2**63, "x"]),
    "float": ([0.5], [1, "0.5", 1e39]),
    "double": ([1e39], [3, "x", False]),
    "decimal(9,2)": (["12.30", "-1.00"], ["12.3", 12.3, "12345678.90", "x", ""]),
    "date": (["2024-02-29"], ["2023-02-29", 19000, "2024-02-29T00:00:00"]),
    "time": (["22:31:08.123456", "22:31:08"], ["25:00:00", 3]),
    "timestamp": (["2024-01-01T10:00:00.5"], ["2024-01-01", "2024-01-01T10:00:00+00:00"]),
    "timestamptz": (
        ["2024-01-01T10:00:00+00:00"],
        ["2024-01-01T10:00:00", "2024-01-01T10:00:00+01:00"],
    ),
    "string": (["", "x"], [3, ["x"]]),
    "uuid": (["f79c3e09-677c-4bbd-a479-3f349cb785e7"], ["f79c3e09", 3]),
    "fixed[2]": (["00fF"], ["00", "00ff0", "zzzz"]),
    "binary": (["00ff", ""], ["0", 3, "xx"]),
}


@pytest.mark.parametrize("type_", VALUES)
def test_a_default_is_of_the_type_of_its_column(client: httpx.Client, type_: str) -> None:
    name = made(client, column(1, "id", "long"), version=3)
    right, wrong = VALUES[type_]
    for key in ("initial-default", "write-default"):
        for value in wrong:
            new = column(2, "new", type_, **{key: value})
            check_refused(client, name, add(column(1, "id", "long"), new), f"{key} of 'new' is")
    number = 2
    for value in right:
        new = column(number, f"new{number}", type_, required=True)
        new |= {"initial-default": value, "write-default": value}
        answer = commit(client, name, add(column(1, "id", "long"), new))
        assert answer.status_code == 200, answer.text
        number += 1


def test_what_is_nested_has_no_default(client: httpx.Client) -> None:
    name = made(client, column(1, "id", "long"), version=3)
    for type_, value in ((list_of(3, "int"), [1]), (struct(column(3, "x", "int")), {"3": 1})):
        new = column(2, "new", type_) | {"initial-default": value}
        check_refused(client, name, add(column(1, "id", "long"), new), "'new' is")
    inner = struct(column(3, "x", "int") | {"initial-default": "x"})
    check_refused(client, name, add(column(2, "new", inner)), "'new.x' is")


# References and snapshots.


@pytest.mark.parametrize("key", ["min-snapshots-to-keep", "max-snapshot-age-ms"])
def test_a_tag_has_no_past_of_its_own(client: httpx.Client, there: str, key: str) -> None:
    snapshot_id = client.get(f"{TABLES}/{there}").json()["metadata"]["current-snapshot-id"]
    ref = {"action": "set-snapshot-ref", "ref-name": "a", "snapshot-id": snapshot_id, key: 3}
    check_refused(client, there, [{**ref, "type": "tag"}], f"a tag has no {key}")
    name = made(client, column(1, "id", "long"))
    load(client, name, b'{"id":1}\n')
    snapshot_id = client.get(f"{TABLES}/{name}").json()["metadata"]["current-snapshot-id"]
    branch = {**ref, "type": "branch", "snapshot-id": snapshot_id}
    assert commit(client, name, [branch]).status_code == 200


@pytest.fixture
def empty(server: ServerProcess) -> Table:
    rows = pa.table({"id": [1]}).schema
    name = f"main.empty_{uuid.uuid4().hex[:8]}"
    table: Table = catalog(server).create_table(name, rows)
    return table


@pytest.mark.parametrize("summary", [{}, {"operation": "upsert"}, {"operation": "Append"}])
def test_a_snapshot_says_what_it_did(client: httpx.Client, empty: Table, summary: Json) -> None:
    snapshot = {**snapshot_of(empty), "summary": summary}
    check_refused(client, empty.name()[-1], added(snapshot), "the operation in the summary")


def test_no_snapshot_comes_before_itself(client: httpx.Client, empty: Table) -> None:
    """Whoever walks its past would never come to an end."""
    name = empty.name()[-1]
    own = snapshot_of(empty)
    own["parent-snapshot-id"] = own["snapshot-id"]
    check_refused(client, name, added(own), "another snapshot follows")
    first, second = snapshot_of(empty), snapshot_of(empty, 2)
    first["parent-snapshot-id"] = second["snapshot-id"]
    second["parent-snapshot-id"] = first["snapshot-id"]
    check_refused(client, name, [*added(first), *added(second)], "another snapshot follows")


# Layouts.


def spec_of(*fields: Json) -> list[Json]:
    return [{"action": "add-spec", "spec": {"fields": list(fields)}}]


def order_of(source_id: int, transform: str) -> list[Json]:
    field = {"source-id": source_id, "transform": transform}
    field |= {"direction": "asc", "null-order": "nulls-first"}
    return [{"action": "add-sort-order", "sort-order": {"fields": [field]}}]


def part(source_id: int, transform: str, name: str = "p") -> Json:
    return {"source-id": source_id, "transform": transform, "name": name}


NO_TERMS = {
    "unknown": (1, "zorder", "no transform of the specification"),
    "without a width": (1, "bucket", "no transform"),
    "no width": (1, "bucket[0]", "no transform"),
    "a width too many": (1, "identity[3]", "no transform"),
    "month of a long": (1, "month", "by month of 'id', which is a long"),
    "hour of a date": (5, "hour", "by hour of 'day', which is a date"),
    "bucket of a float": (3, "bucket[4]", "which is a float"),
    "truncate of a date": (5, "truncate[4]", "which is a date"),
    "a struct": (6, "identity", "which is a struct"),
    "in a list": (9, "identity", "'tags', which holds several"),
}


@pytest.mark.parametrize("case", NO_TERMS)
def test_layouts_are_of_the_specification_whether_they_hold_or_not(
    client: httpx.Client, there: str, case: str
) -> None:
    source_id, transform, words = NO_TERMS[case]
    check_refused(client, there, spec_of(part(source_id, transform)), words)
    check_refused(client, there, order_of(source_id, transform), words)
    field = part(source_id, transform)
    said = {"name": f"{there}_new", "schema": struct(*COLUMNS.values()), "partition-spec": {}}
    said["partition-spec"] = {"fields": [field]}
    assert client.post(TABLES, json=said).status_code == 400
    said["partition-spec"] = {"fields": []}
    said["write-order"] = order_of(source_id, transform)[0]["sort-order"]
    assert client.post(TABLES, json=said).status_code == 400


def test_a_sort_order_names_a_column_that_is_there(client: httpx.Client, there: str) -> None:
    check_refused(client, there, order_of(99, "identity"), "which the table has not")


@pytest.mark.parametrize(
    ("source_id", "transform"),
    [(4, "bucket[4]"), (4, "truncate[4]"), (8, "identity"), (5, "year"), (4, "identity")],
)
def test_what_only_others_write_is_kept(
    client: httpx.Client, source_id: int, transform: str
) -> None:
    name = made(client, *COLUMNS.values())
    both = [*spec_of(part(source_id, transform)), *order_of(source_id, transform)]
    answer = commit(client, name, both)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (part(1, "identity", "n"), "would both be named 'n'"),
        (part(1, "bucket[4]", "id"), "would both be named 'id'"),
        (part(1, "bucket[4]", "s.x"), "would both be named 's.x'"),
        ({**part(1, "identity"), "field-id": 999}, "begin at 1000"),
    ],
)
def test_a_partition_field_has_a_name_and_an_id_of_its_own(
    client: httpx.Client, there: str, field: Json, words: str
) -> None:
    check_refused(client, there, spec_of(field), words)


def test_a_column_does_not_take_the_name_of_a_partition(client: httpx.Client) -> None:
    name = made(client, *COLUMNS.values())
    chosen = [*spec_of(part(5, "month", "day_month"), part(1, "identity", "id")),
              {"action": "set-default-spec", "spec-id": -1}]  # fmt: skip
    assert commit(client, name, chosen).status_code == 200
    new = columns(new=column(10, "day_month", "int"))
    check_refused(client, name, add(*new), "would both be named 'day_month'")
    swapped = columns(id=column(1, "was_id", "long"), new=column(10, "id", "long"))
    check_refused(client, name, add(*swapped), "would both be named 'id'")
    renamed = add(*columns(id=column(1, "was_id", "long")))
    assert commit(client, name, renamed).status_code == 200


def test_two_columns_have_two_names_however_they_are_read(client: httpx.Client, there: str) -> None:
    both = columns(new=column(10, "s.x", "int"))
    check_refused(client, there, add(*both), "one inside of another column is called so")
    answer = client.post(TABLES, json={"name": f"{there}_new", "schema": struct(*both)})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize("dropped", [False, True])
def test_a_partition_that_was_dropped_is_void(client: httpx.Client, dropped: bool) -> None:
    """As format version 1 drops one, and as such a table is written here in version 2."""
    fields = [column(1, "id", "long", required=True), column(2, "g", "string", required=True)]
    fields.append(column(3, "k", "string"))
    name = made(client, *fields, version=1)
    chosen = {"action": "set-default-spec", "spec-id": -1}
    first = [*spec_of(part(2, "identity", "g"), part(3, "identity", "k")), chosen]
    assert commit(client, name, first).status_code == 200
    table = catalog_of(client).load_table(f"main.{name}")
    given = {"id": [1, 2], "g": ["a", "b"], "k": ["x", "y"]}
    table.append(pa.table(given, schema=schema_to_pyarrow(table.schema())))
    second = [*spec_of(part(2, "void", "g"), part(3, "identity", "k")), chosen]
    if dropped:
        second += add(fields[0], fields[2])
    assert commit(client, name, second).status_code == 200
    upgrade = {"action": "upgrade-format-version", "format-version": 2}
    assert commit(client, name, [upgrade]).status_code == 200
    row = b'{"id":3}\n' if dropped else b'{"id":3,"g":"c"}\n'
    for _ in range(2):
        load(client, name, row.replace(b"3", str(uuid.uuid4().int % 10**9).encode()))
    load(client, name, row)
    assert client.get(f"/v1/tables/{name}").json()["partition_by"] == ["k"]
    sql = {"sql": f"SELECT count(*) FROM {name} WHERE id <= 3"}
    assert client.post("/v1/sql", json=sql).json()["rows"] == [[3]]
    gone = client.post(f"/v1/tables/{name}/delete", json={"where": "id = 1"})
    assert gone.status_code == 200, gone.text
    ran = client.post("/v1/maintenance/run", json={"table": name}).raise_for_status().json()
    assert {each["outcome"] for each in ran["runs"]} <= {"done", "nothing"}, ran
    assert client.post("/v1/sql", json=sql).json()["rows"] == [[2]]
    found = catalog_of(client).load_table(f"main.{name}").scan("id <= 3").to_arrow()
    assert sorted(found["id"].to_pylist()) == [2, 3]
