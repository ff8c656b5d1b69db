"""`evolve=true`: a load brings its columns along, in the same commit as its rows."""

import io
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.served import Served


def create(lake: Served, name: str, *, sort_by: str | None = None, **columns: str) -> None:
    body: dict[str, Any] = {
        "name": name,
        "columns": [{"name": key, "type": type_} for key, type_ in columns.items()],
        "sort_by": [sort_by] if sort_by else [],
    }
    assert lake.send("POST", "/v1/tables", json=body).status_code == 201


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_new_columns_come_and_missing_ones_are_null_in_one_commit(lake: Served, name: str) -> None:
    first = lake.loaded(name, "id,name\n1,a\n")
    refused = lake.ingest(name, "id,city\n2,Rome\n", mode="append")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/schema-drift")

    second = lake.loaded(name, "ID,city\n2,Rome\n", mode="append", evolve="true")
    assert [c["name"] for c in second["columns"]] == ["id", "name", "city"]
    assert lake.rows(name) == [[1, "a", None], [2, None, "Rome"]]
    assert lake.send("GET", f"/v1/tables/{name}/schema").json()["schema_id"] == 1
    assert len(lake.send("GET", f"/v1/tables/{name}/snapshots").json()["items"]) == 2
    sql = {"sql": f"SELECT * FROM {name}", "as_of": {name: first["snapshot_id"]}}
    assert lake.send("POST", "/v1/sql", json=sql).json()["rows"] == [[1, "a"]]

    lake.loaded(name, "name,id,year\nb,3,2024\n", mode="overwrite", evolve="true")
    assert lake.rows(name) == [[3, "b", None, 2024]]


@pytest.mark.parametrize("body_format", ["csv", "ndjson", "parquet"])
def test_a_value_that_does_not_fit_widens_its_column(
    lake: Served, name: str, body_format: str
) -> None:
    types = {"i": "int", "f": "float", "d": "decimal(5,2)", "e": "decimal(9,2)", "s": "string"}
    create(lake, name, **types)
    values = {"i": 2**40, "f": 1e300, "d": "123456789.25", "e": "1" * 20 + ".25", "s": "x"}

    def body(values: dict[str, Any]) -> tuple[Any, str]:
        if body_format == "ndjson":
            return lines(values), "application/x-ndjson"
        if body_format == "csv":
            text = ",".join(values) + "\n" + ",".join(map(str, values.values())) + "\n"
            return text, "text/csv"
        target = io.BytesIO()
        columns: dict[str, Any] = {key: [value] for key, value in values.items()}
        for key in {"d", "e"} & columns.keys():
            columns[key] = pa.array(columns[key]).cast(pa.decimal128(38, 2))
        pq.write_table(pa.table(columns), target)
        return target.getvalue(), "application/x-parquet"

    text, media_type = body(values)
    assert lake.ingest(name, text, media_type, mode="append").status_code == 409
    lake.loaded(name, text, media_type, mode="append", evolve="true")
    wide = {"i": "long", "f": "double", "d": "decimal(18,2)", "e": "decimal(38,2)", "s": "string"}
    assert lake.types(name) == wide
    text, media_type = body({"i": 1, "f": 0.5, "d": "1.25", "e": "2.25"})
    lake.loaded(name, text, media_type, mode="append", evolve="true")
    assert lake.types(name) == wide, "never narrower"
    assert lake.rows(name, "i") == [
        [1, 0.5, "1.25", "2.25", None],
        [2**40, 1e300, values["d"], values["e"], "x"],
    ]


def test_what_iceberg_does_not_widen_is_refused_as_without(lake: Served, name: str) -> None:
    lake.loaded(name, "id,day\n1,2024-01-01\n")
    for bad in ("x,2024-01-02", "1.5,2024-01-02", "99999999999999999999,2024-01-02", "1,soon"):
        before, files = lake.types(name), lake.files()
        answer = lake.ingest(name, f"id,day,new\n{bad},n\n", mode="append", evolve="true")
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/schema-drift"), bad
        assert lake.types(name) == before and lake.files() == files
    loaded = lake.loaded(
        name, "id,day,new\nx,2024-01-02,n\n2,2024-01-02,m\n", mode="append", evolve="true",
        on_error="reject",
    )  # fmt: skip
    assert loaded["rejected"]["count"] == 1
    assert lake.rows(name) == [[1, "2024-01-01", None], [2, "2024-01-02", "m"]]


def test_a_new_column_is_inferred_as_in_a_new_table(lake: Served, name: str) -> None:
    lake.loaded(name, "id\n1\n")
    rows = "".join(f"{number},{number},{number}\n" for number in range(2, 3000))
    body = f"id,zip,n\n{rows}3000,007,1\n"
    lake.loaded(name, body, mode="append", evolve="true")
    assert lake.types(name) == {"id": "long", "zip": "string", "n": "long"}
    lake.loaded(name, "id,price\n9,1\n", mode="append", evolve="true", types="price:decimal(9,2)")
    assert lake.types(name)["price"] == "decimal(9,2)"


def test_a_key_that_comes_late_in_ndjson_is_a_column_too(lake: Served, name: str) -> None:
    lake.loaded(name, lines({"id": 0}), "application/x-ndjson")
    rows = [{"id": number, "place": {"lat": 1.5}} for number in range(1, 3000)]
    text = lines(*rows, {"id": 3000, "late": [1, 2]})
    lake.loaded(name, text, "application/x-ndjson", mode="append", evolve="true")
    assert lake.types(name)["id"] == "long"
    found = lake.rows(name, "id")
    assert [len(found), found[0][1:], found[-1][0]] == [3001, [None, None], 3000]
    assert found[-1][1] is None and found[-1][2] is not None


def test_a_layout_and_a_column_without_rows_stay_right(lake: Served, name: str) -> None:
    create(lake, name, sort_by="city desc", id="long", city="string")
    lake.loaded(name, "id,n\n1,1\n", mode="append", evolve="true")
    lake.loaded(name, "n,city\n2,Rome\n", mode="append", evolve="true")
    assert lake.rows(name) == [[1, None, 1], [None, "Rome", 2]]


def test_the_same_new_column_from_many_loads_at_once_is_one(lake: Served, name: str) -> None:
    lake.loaded(name, "id\n0\n")

    def load(number: int) -> int:
        body = f"id,new,own{number % 2}\n{number},x,{number}\n"
        return lake.ingest(name, body, mode="append", evolve="true").status_code

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(load, range(1, 7)))
    assert set(codes) <= {200, 409} and codes.count(200) >= 3
    assert lake.types(name) == {"id": "long", "new": "string", "own0": "long", "own1": "long"} or (
        codes.count(409) > 0
    )
    assert len(lake.rows(name)) == 1 + codes.count(200)


def test_a_new_table_and_other_words_than_true_and_false(lake: Served, name: str) -> None:
    lake.loaded(name, "id\n1\n", evolve="true", mode="append")
    assert lake.types(name) == {"id": "long"}
    answer = lake.ingest(name, "id\n1\n", evolve="maybe")
    assert answer.status_code == 400 and "evolve is true or false" in answer.json()["detail"]
    answer = lake.ingest(name, "id,n\n1,2\n", evolve="true", mode="upsert", key="id")
    assert answer.status_code == 400 and "then upsert" in answer.json()["detail"]


def test_a_dataset_read_by_name_does_not_evolve(lake: Served, name: str) -> None:
    target = io.BytesIO()
    pq.write_table(pa.table({"id": [1]}), target)
    key = f"{name}/x.parquet"
    put = lake.send("PUT", f"/v1/storage/put/{key}", content=target.getvalue())
    assert put.status_code < 300
    body = {"name": name, "schema_fingerprint": "f", "objects": [{"key": key}]}
    assert lake.send("POST", "/v1/catalog/register", json=body).status_code == 200
    files = lake.files()
    answer = lake.ingest(name, "id,new\n1,2\n", mode="append", evolve="true")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/schema-fixed")
    assert lake.files() == files
    lake.loaded(name, "id\n2\n", mode="append", evolve="true")
    assert lake.rows(name) == [[1], [2]]
