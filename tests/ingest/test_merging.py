"""Loads and rows by key: upserts and deletes, and what is no key."""

import asyncio
import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lakehouse.catalog import TableName
from tests.ingest.served import Served

CSV = "id,city\n1,Oslo\n2,Bergen\n"


def upserted(lake: Served, name: str, body: bytes | str, **more: Any) -> dict[str, Any]:
    return lake.loaded(name, body, mode="upsert", **{"key": "id", **more})


def counts(answer: dict[str, Any]) -> tuple[int, int, int]:
    return answer["added_rows"], answer["updated_rows"], answer["deleted_rows"]


def test_an_upsert_makes_the_table_and_the_last_row_of_a_key_wins(lake: Served, name: str) -> None:
    answer = upserted(lake, name, CSV + "1,Moss\n")
    assert counts(answer) == (2, 0, 0)
    assert lake.rows(name) == [[1, "Moss"], [2, "Bergen"]]


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_an_upsert_replaces_adds_and_leaves_alone(lake: Served, name: str, kind: str) -> None:
    lake.loaded(name, CSV)
    table = pa.table({"id": [2, 3, 1], "city": ["Voss", "Moss", "Oslo"]})
    packed = io.BytesIO()
    pq.write_table(table, packed)
    bodies: dict[str, bytes | str] = {
        "csv": "id,city\n2,Voss\n3,Moss\n1,Oslo\n",
        "ndjson": '{"id":2,"city":"Voss"}\n{"id":3,"city":"Moss"}\n{"id":1,"city":"Oslo"}\n',
        "parquet": packed.getvalue(),
    }
    answer = upserted(lake, name, bodies[kind], format=kind)
    assert counts(answer) == (1, 1, 0)
    assert answer["row_count"] == 3
    assert lake.rows(name) == [[1, "Oslo"], [2, "Voss"], [3, "Moss"]]


def test_the_same_upsert_again_changes_nothing_whatever_came_between(
    lake: Served, name: str
) -> None:
    upserted(lake, name, CSV)
    lake.loaded(name, "id,city\n9,Bodo\n", mode="append")
    before = lake.files()
    again = upserted(lake, name, CSV)
    assert (again["existing"], counts(again)) == (True, (0, 0, 0))
    assert {each for each in lake.files() if "warehouse/tables" in each} <= before


def test_a_delete_goes_by_the_keys_of_a_file_which_may_lack_the_rest(
    lake: Served, name: str
) -> None:
    lake.loaded(name, CSV + "3,Moss\n")
    gone = lake.loaded(name, "id\n1\n7\n", mode="delete", key="id")
    assert counts(gone) == (0, 0, 1)
    whole = lake.loaded(name, "id,city\n2,whatever\n", mode="delete", key="id")
    assert counts(whole) == (0, 0, 1)
    assert lake.rows(name) == [[3, "Moss"]]


@pytest.mark.parametrize(
    ("body", "params", "status", "words"),
    [
        (CSV, {"mode": "upsert"}, 400, "key= names"),
        (CSV, {"mode": "append", "key": "id"}, 400, "key= names"),
        (CSV, {"mode": "upsert", "key": "town"}, 400, "no such column; it has id, city"),
        ("id,city\n,Oslo\n", {"mode": "upsert", "key": "id"}, 422, "key column 'id'"),
        ("id,city\n1,Oslo\n,Moss\n", {"mode": "delete", "key": "id"}, 422, "row 2"),
        ("id,town\n1,Oslo\n", {"mode": "upsert", "key": "id"}, 409, "town"),
        ("id,city\nx,Oslo\n", {"mode": "upsert", "key": "id"}, 409, "id"),
        ("city\nOslo\n", {"mode": "delete", "key": "id"}, 409, "'id' is missing"),
    ],
)
def test_what_cannot_be_merged_is_refused_and_leaves_nothing(
    lake: Served, name: str, body: str, params: dict[str, Any], status: int, words: str
) -> None:
    lake.loaded(name, CSV)
    before = lake.files()
    answer = lake.ingest(name, body, **params)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert lake.rows(name) == [[1, "Oslo"], [2, "Bergen"]]
    assert lake.files() == before


def test_a_delete_from_a_table_that_is_not_there(lake: Served, name: str) -> None:
    assert lake.ingest(name, CSV, mode="delete", key="id").status_code == 404


def test_rows_are_merged_and_deleted_by_key(lake: Served, name: str) -> None:
    lake.loaded(name, CSV)
    url = f"/v1/tables/{name}/rows"
    rows = {"rows": [{"id": 2, "city": "Voss"}, {"id": 5, "city": "Moss"}]}
    merged = lake.send("POST", url, params={"mode": "upsert", "key": "id"}, json=rows)
    assert merged.status_code == 201, merged.text
    assert counts(merged.json()) == (1, 1, 0)
    gone = {"rows": [{"id": 1}, {"id": 5}]}
    headers = {"Idempotency-Key": f"{name}-gone"}
    options = {"params": {"mode": "delete", "key": "id"}, "json": gone, "headers": headers}
    first, again = lake.send("POST", url, **options), lake.send("POST", url, **options)
    assert counts(first.json()) == (0, 0, 2)
    assert again.content == first.content
    assert lake.rows(name) == [[2, "Voss"]]
    assert lake.send("POST", url, params={"mode": "upsert"}, json=rows).status_code == 400
    missing = {"rows": [{"city": "Voss"}]}
    options["headers"], options["json"] = {}, missing
    assert lake.send("POST", url, **options).status_code == 422


MERGE = {"mode": "upsert", "key": "id"}
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    "rows": ("/rows", {"params": MERGE, "json": {"rows": [{"id": 1, "city": "Oslo"}]}}),
    "load": ("/v1/ingest", {"content": CSV, "headers": {"Content-Type": "text/csv"}}),
    "delete": ("/delete", {"json": {"where": "id = 9"}}),
    "update": ("/update", {"json": {"set": {"city": "city"}, "where": "id = 1"}}),
    "from-query": ("/from-query", {"json": {"sql": "SELECT 1 AS id, 'Oslo' AS city",
                                            "mode": "upsert", "key": ["id"]}}),
}  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_changes_that_wait_for_their_table_leave_the_loads_of_others_alone(
    lake: Served, name: str, kind: str
) -> None:
    lake.loaded(name, CSV)
    path, options = CHANGES[kind]
    url = f"/v1/tables/{name}{path}"
    if kind == "load":
        url, options = path, {**options, "params": {"name": name, **MERGE}}
    with lake.lakehouse.catalog._tables.rewriting(TableName("main", name)):
        sent = [
            asyncio.run_coroutine_threadsafe(lake.client.post(url, **options), lake.loop)
            for _ in range(lake.lakehouse.config.ingest.concurrency_max + 1)
        ]
        lake.loaded(f"{name}_other", CSV)
        assert not any(each.done() for each in sent)
    assert {each.result(60).status_code for each in sent} <= {200, 201}
    assert lake.rows(name) == [[1, "Oslo"], [2, "Bergen"]]
