"""NDJSON over REST: no key is dropped, no number is rounded, nothing nested is lost."""

import json
from typing import Any

import pytest

from tests.ingest.served import Served

TYPE = "application/x-ndjson"


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


MANY = lines(*({"id": number, "name": f"n{number}"} for number in range(1500)))


def test_types_are_those_of_json_and_iso_times_are_times(lake: Served, name: str) -> None:
    row = {
        "id": 1,
        "ratio": 1.5,
        "ok": True,
        "day": "2024-01-05",
        "at": "2024-01-05T10:00:00",
        "zip": "01234",
        "number": "7",
        "place": {"lat": 1, "tags": ["a", "b"], "deep": {"x": 1.5}},
        "list": [1, 2],
        "nothing": None,
    }
    lake.loaded(name, lines(row), TYPE)

    assert lake.types(name) == {
        "id": "long",
        "ratio": "double",
        "ok": "boolean",
        "day": "date",
        "at": "timestamp",
        "zip": "string",
        "number": "string",
        "place": "struct<lat: long, tags: list<string>, deep: struct<x: double>>",
        "list": "list<long>",
        "nothing": "string",
    }
    assert lake.rows(name) == [list(row.values())]


def test_a_key_that_appears_after_the_sample_becomes_a_column(lake: Served, name: str) -> None:
    late = lines({"id": 1, "late": 5, "other": {"x": [1]}}, {"id": 2, "late": 6})
    answer = lake.loaded(name, MANY + late, TYPE)

    assert answer["row_count"] == 1502
    assert lake.types(name) == {
        "id": "long",
        "name": "string",
        "late": "long",
        "other": "struct<x: list<long>>",
    }
    sql = f'SELECT sum(late), count(other) FROM "{name}"'
    assert lake.send("POST", "/v1/sql", json={"sql": sql}).json()["rows"] == [["11", 1]]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.5, "1.5"), ("007", "007"), (True, "true"), ({"x": 1}, '{"x":1}'), (2**70, str(2**70))],
)
def test_a_later_value_of_another_kind_makes_its_column_text(
    lake: Served, name: str, value: object, text: str
) -> None:
    lake.loaded(name, MANY + lines({"id": value, "name": "last"}), TYPE)

    assert lake.types(name) == {"id": "string", "name": "string"}
    sql = f"SELECT id FROM \"{name}\" WHERE name = 'last'"
    assert lake.send("POST", "/v1/sql", json={"sql": sql}).json()["rows"] == [[text]]


@pytest.mark.parametrize(
    "later", [{"a": 1.5}, {"a": "1"}, {"a": 1, "b": 2}, {"a": [1]}, [1], "text", {"a": True}]
)
def test_what_is_nested_otherwise_later_becomes_json_text(
    lake: Served, name: str, later: object
) -> None:
    nested = lines(*({"v": {"a": number}} for number in range(1100)), {"v": later})
    lake.loaded(name, nested, TYPE)

    assert lake.types(name) == {"v": "string"}
    values = [row[0] for row in lake.rows(name)]
    assert (later if isinstance(later, str) else json.dumps(later, separators=(",", ":"))) in values
    assert '{"a":1099}' in values


def test_integers_and_fractions_in_the_sample_are_doubles(lake: Served, name: str) -> None:
    lake.loaded(name, lines({"v": 1}, {"v": 1.5}), TYPE)

    assert lake.types(name) == {"v": "double"}


def test_what_differs_in_the_sample_is_json_text(lake: Served, name: str) -> None:
    lake.loaded(name, lines({"v": 1}, {"v": "a"}, {"v": {"x": None}}, {"v": None}), TYPE)

    assert lake.types(name) == {"v": "string"}
    assert lake.rows(name) == [["1"], ["a"], ['{"x":null}'], [None]]


def test_keys_may_have_any_sign_and_be_missing(lake: Served, name: str) -> None:
    lake.loaded(name, lines({'a"b': 1, "c.d": 2, "e~f": 3}, {"g h": "x", "ü": [None]}), TYPE)

    assert lake.rows(name) == [[1, 2, 3, None, None], [None, None, None, "x", [None]]]


def test_a_table_that_is_there_takes_keys_ignoring_case_and_null_where_one_is_missing(
    lake: Served, name: str
) -> None:
    columns = [{"name": n, "type": t} for n, t in (("Id", "long"), ("price", "decimal(9,2)"))]
    lake.send("POST", "/v1/tables", json={"name": name, "columns": columns})

    lake.loaded(name, lines({"ID": 1, "price": "1.5"}, {"ID": 2}), TYPE, mode="append")

    assert lake.rows(name) == [[1, "1.50"], [2, None]]


def test_reject_keeps_the_good_lines(lake: Served, name: str) -> None:
    lake.loaded(name, lines({"id": 1, "name": "a"}), TYPE)
    body = lines({"id": 2}) + '{"id": 3\n\n[4]\n' + lines({"id": "5"}, {"id": 6, "x": 1}, {"id": 7})

    answer = lake.loaded(name, body, TYPE, mode="append", on_error="reject")

    assert [(r["line"], r["column"]) for r in answer["rejected"]["rows"]] == [
        *[(2, None), (4, None), (5, "id"), (6, "x")],
    ]
    assert answer["rejected"]["count"] == 4
    assert [row[0] for row in lake.rows(name)] == [1, 2, 7]


def test_more_keys_than_the_room_in_front_holds(lake: Served, name: str) -> None:
    wide = {f"key_{number}_" + "x" * 100: number for number in range(800)}
    answer = lake.loaded(name, lines(wide, wide), TYPE)

    assert answer["row_count"] == 2
    assert len(answer["columns"]) == 800


def test_crlf_and_a_byte_order_mark(lake: Served, name: str) -> None:
    lake.loaded(name, b'\xef\xbb\xbf{"id": 1}\r\n{"id": 2}\r\n', TYPE)

    assert lake.rows(name) == [[1], [2]]


def test_a_wide_file_is_taken_apart_once_a_line(lake: Served, name: str) -> None:
    row = {f"k{number}": number for number in range(120)}
    body = lines(*[row] * 1100, {**row, "k7": "x", "late": 1})

    lake.loaded(name, body, TYPE)  # an extract a column takes GBs

    assert len(lake.types(name)) == 121
    assert lake.types(name)["k7"] == "string"
    assert lake.types(name)["late"] == "long"


@pytest.mark.parametrize(
    "params", [{}, {"mode": "append"}, {"mode": "append", "on_error": "reject"}]
)
def test_a_file_without_any_column_of_the_table_is_drift(
    lake: Served, name: str, params: dict[str, Any]
) -> None:
    lake.loaded(name, lines({"id": 1, "name": "a"}), TYPE)

    refused = lake.ingest(name, "{}\n\n{}\n", TYPE, **params)

    assert refused.status_code == 409, refused.text
    assert "no line has one of its columns" in refused.json()["detail"]
    assert lake.rows(name) == [[1, "a"]]


def test_keys_may_come_late_be_few_or_be_left_out_on_purpose(lake: Served, name: str) -> None:
    lake.loaded(name, lines({"id": 1, "name": "a"}), TYPE)
    late = "{}\n" * (lake.lakehouse.config.ingest.sample_rows + 1) + '{"id": 2}\n'
    assert lake.loaded(name, late, TYPE)["row_count"] == late.count("\n")
    assert lake.rows(name)[0] == [2, None]

    assert lake.loaded(name, "{}\n", TYPE, evolve="true")["row_count"] == 1
    assert lake.rows(name) == [[None, None]]


def test_a_new_table_of_lines_without_keys_is_told_that_it_has_no_columns(
    lake: Served, name: str
) -> None:
    refused = lake.ingest(name, "{}\n{}\n", TYPE)
    assert refused.status_code == 400
    assert "there are no columns" in refused.json()["detail"]

    late = "{}\n" * (lake.lakehouse.config.ingest.sample_rows + 1) + '{"id": 2}\n'
    assert lake.loaded(name, late, TYPE)["row_count"] == late.count("\n")
    assert lake.types(name) == {"id": "long"}


def test_what_is_nested_too_deep_stays_text_inside(lake: Served, name: str) -> None:
    value: object = 1
    for _ in range(200):
        value = [value]
    lake.loaded(name, json.dumps({"deep": value}) + "\n", "application/x-ndjson")

    assert lake.types(name)["deep"].count("list<") == 12
    (((inner, *_), *_),) = lake.rows(name)
    assert isinstance(inner, list)
