"""Rows as JSON: the forms that SQL answers give are taken back, and nothing else."""

from typing import Any

import pytest

from tests.ingest.served import Served

COLUMNS = {
    "flag": "boolean",
    "small": "int",
    "big": "long",
    "ratio": "double",
    "day": "date",
    "clock": "time",
    "at": "timestamp",
    "zoned": "timestamptz",
    "name": "string",
    "id": "uuid",
    "data": "binary",
    "price": "decimal(9,2)",
    "list": "list<long>",
    "place": "struct<lat: double, tags: list<string>>",
    "scores": "map<string, double>",
}
ROW = {
    "flag": True,
    "small": 5,
    "big": 2**62,
    "ratio": "NaN",
    "day": "2024-01-05",
    "clock": "10:00:00.5",
    "at": "2024-01-05T10:00:00",
    "zoned": "2024-01-05T10:00:00+02:00",
    "name": "x",
    "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "data": "aGk=",
    "price": "1.20",
    "list": [1, None],
    "place": {"lat": 1, "tags": ["a"]},
    "scores": {"k": "Infinity"},
}


@pytest.fixture
def table(lake: Served, name: str) -> str:
    columns = [{"name": n, "type": t} for n, t in COLUMNS.items()]
    made = lake.send("POST", "/v1/tables", json={"name": name, "columns": columns})
    assert made.status_code == 201, made.text
    return name


def append(lake: Served, table: str, *rows: Any, **headers: str) -> Any:
    path = f"/v1/tables/{table}/rows"
    return lake.send("POST", path, json={"rows": rows}, headers=headers)


def test_what_sql_answers_is_taken_back(lake: Served, table: str) -> None:
    answer = append(lake, table, ROW, {})
    assert answer.status_code == 201, answer.text
    assert answer.json()["added_rows"] == 2
    first = lake.rows(table)
    assert first[1] == [None] * len(COLUMNS)

    again = append(lake, table, *(dict(zip(COLUMNS, row, strict=True)) for row in first))

    assert again.status_code == 201, again.text
    rows = lake.rows(table)
    assert [rows[0], rows[2]] == [rows[1], rows[3]]
    assert {str(row) for row in rows} == {str(row) for row in first}


def test_a_row_is_read_by_the_next_statement(lake: Served, table: str) -> None:
    for number in range(5):
        append(lake, table, {"big": number})
        sql = f'SELECT count(*) FROM "{table}"'
        answer = lake.send("POST", "/v1/sql", json={"sql": sql}).json()
        assert answer["rows"] == [[number + 1]]


def test_a_key_appends_once(lake: Served, table: str) -> None:
    key = {"Idempotency-Key": table}
    first, again = (append(lake, table, {"big": 1}, **key) for _ in range(2))
    other = append(lake, table, {"big": 2}, **key)

    assert again.content == first.content
    assert other.status_code == 422
    assert len(lake.rows(table)) == 1


def test_the_same_rows_twice_are_twice_there(lake: Served, table: str) -> None:
    append(lake, table, {"big": 1})
    append(lake, table, {"big": 1})

    assert len(lake.rows(table)) == 2


def test_a_bad_row_is_named_and_none_is_written(lake: Served, table: str) -> None:
    answer = append(lake, table, {"big": 1}, {"big": 2}, {"price": "1.234"})

    assert answer.status_code == 400
    assert answer.json()["context"]["rows"] == [
        {"row": 3, "field": "price", "reason": "'1.234' does not fit into decimal(9,2)"}
    ]
    assert lake.rows(table) == []


@pytest.mark.parametrize("field", ["at", "zoned", "clock"])
def test_a_time_finer_than_a_microsecond_is_refused(lake: Served, table: str, field: str) -> None:
    text = {"at": "2024-01-05T10:00:00.1234567", "clock": "10:00:00.1234567"}
    value = text.get(field, "2024-01-05T10:00:00.1234567Z")

    answer = append(lake, table, {field: value})

    assert answer.status_code == 400
    assert "finer than microseconds" in answer.json()["detail"]
    assert append(lake, table, {"name": value}).status_code == 201


def test_fifty_thousand_rows_in_one_request(lake: Served, table: str) -> None:
    rows = [{"big": number, "name": f"name {number}"} for number in range(50_000)]

    assert append(lake, table, *rows).status_code == 201
    sql = f'SELECT count(*), sum(big) FROM "{table}"'
    answer = lake.send("POST", "/v1/sql", json={"sql": sql}).json()
    assert answer["rows"] == [[50_000, str(sum(range(50_000)))]]
