"""Rows as JSON: the forms that SQL answers give are taken back, and nothing else."""

import json
import re
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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"rows": [{"big": 1', "it ends at byte 19, before all that it opened is closed"),
        ("", "it is empty"),
        ('{"rows": [{"big": 1},]}', "trailing comma in array (byte 21)"),
    ],
)
def test_a_body_that_is_no_json_says_where(lake: Served, table: str, body: str, words: str) -> None:
    answer = lake.send("POST", f"/v1/tables/{table}/rows", content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"the body is not JSON: {words}"


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


def refused_rows(lake: Served, table: str, body: str) -> Any:
    path = f"/v1/tables/{table}/rows"
    answer = lake.send("POST", path, content=body.encode())
    assert answer.status_code == 400, answer.text
    assert lake.rows(table) == []
    return answer.json()["context"]["rows"][0]


@pytest.mark.parametrize(
    ("rows", "row", "field"),
    [
        ('{"big": 1}, {"big": 2, "name": "x", "big": 3}', 2, "big"),
        ('{"big" \n:1,"big"\t: 1}', 1, "big"),
        ('{"big": null, "big": null}', 1, "big"),
        ('{"name": "\\":", "big": 1, "b\\u0069g": 2}', 1, "big"),
        ('{"place": {"lat": 1, "lat": 2}}', 1, "place.lat"),
        ('{"scores": {"k": 1, "a\\\\": 1, "a\\\\": 2}}', 1, "scores.a\\"),
    ],
)
def test_a_field_that_is_twice_is_named(
    lake: Served, table: str, rows: str, row: int, field: str
) -> None:
    bad = refused_rows(lake, table, f'{{"rows": [{rows}]}}')

    assert (bad["row"], bad["field"]) == (row, field)
    assert "twice" in bad["reason"]


def test_a_field_that_is_twice_is_found_among_texts_that_look_like_fields(
    lake: Served, name: str
) -> None:
    columns = [{"name": "a", "type": "long"}, {"name": "text", "type": "string"}]
    lake.send("POST", "/v1/tables", json={"name": name, "columns": columns})
    texts = ['{"a": 1, "a": 2}', ":", ': "', 'x\\":', "x\\", None]

    said = ",".join(json.dumps({"text": text}) for text in texts)
    bad = refused_rows(lake, name, f'{{"rows": [{said}, {{"a": 1, "text": "\\":", "a": 1}}]}}')
    assert (bad["row"], bad["field"]) == (7, "a")

    assert append(lake, name, *({"text": text} for text in texts), {"a": 1}).status_code == 201
    assert {row[1] for row in lake.rows(name)} == set(texts)


def test_a_name_that_rows_cannot_say_is_refused_with_a_way_out(lake: Served, name: str) -> None:
    columns = [{"name": 'say "x"', "type": "long"}]
    lake.send("POST", "/v1/tables", json={"name": name, "columns": columns})

    answer = append(lake, name, {'say "x"': 1})

    assert answer.status_code == 400
    assert "load a file" in answer.json()["detail"]


def test_rows_that_are_there_twice_are_refused(lake: Served, table: str) -> None:
    body = b'{"rows": [{"big": 1}], "rows": [{"big": 2}]}'
    answer = lake.send("POST", f"/v1/tables/{table}/rows", content=body)

    assert answer.status_code == 400
    assert answer.json()["detail"].startswith('"rows" is twice')


@pytest.mark.parametrize(
    ("given", "meant"), [("NAME", "name"), ("Name", "name"), ("scors", "scores")]
)
def test_a_column_that_is_nearly_there_is_named(
    lake: Served, table: str, given: str, meant: str
) -> None:
    bad = refused_rows(lake, table, f'{{"rows": [{{"{given}": null}}]}}')

    assert bad["field"] == given
    assert f"did you mean '{meant}'?" in bad["reason"]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ('{"name": "a\\ud800"}', "name"),
        ('{"name": "\\udc00\\ud800"}', "name"),
        ('{"place": {"tags": ["ok", "\\uD83D!"]}}', "place.tags[1]"),
        ('{"scores": {"\\ud800": 1}}', "scores.\\ud800"),
    ],
)
def test_half_a_surrogate_pair_is_named(lake: Served, table: str, row: str, field: str) -> None:
    bad = refused_rows(lake, table, f'{{"rows": [{{}}, {row}]}}')

    assert (bad["row"], bad["field"]) == (2, field)
    assert "surrogate" in bad["reason"]


@pytest.mark.parametrize("kind", ["flat", "with a struct"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('{"single": 1e39}', "does not fit into float"),
        ('{"single": -3.5e38}', "does not fit into float"),
        ('{"single": 1e400}', "out of range"),
        ('{"exact": 1e400000}', r"1E\+400000|out of range"),
        ('{"exact": ' + "9" * 6000 + "}", "does not fit|out of range"),
        ('{"place": {"lat": 1e39}}', "does not fit into struct|no such column"),
    ],
)
def test_a_number_that_is_too_large_is_refused_and_never_made_infinite(
    lake: Served, name: str, kind: str, value: str, words: str
) -> None:
    columns = {"single": "float", "exact": "decimal(38,10)"}
    columns |= {} if kind == "flat" else {"place": "struct<lat: float>"}
    wanted = [{"name": n, "type": t} for n, t in columns.items()]
    lake.send("POST", "/v1/tables", json={"name": name, "columns": wanted})
    sent = lake.send("POST", f"/v1/tables/{name}/rows", content=f'{{"rows": [{value}]}}')
    assert sent.status_code == 400, sent.text
    assert re.search(words, sent.json()["detail"]), sent.text
    fits = '{"rows": [{"single": 3.4028235e38}, {"single": "Infinity"}]}'
    assert lake.send("POST", f"/v1/tables/{name}/rows", content=fits).status_code == 201
    assert [row[0] for row in lake.rows(name)] == [3.4028235e38, "Infinity"]
