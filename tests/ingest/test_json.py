"""JSON documents: an array of objects is rows, however large; errors name elements."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lakehouse.ingest.json_documents import fault_of
from tests.ingest.served import Served

TYPE = "application/json"
ROWS = [{"id": n, "name": f"n{n}\n", "tags": ["a", "b"], "at": {"x": n / 2}} for n in range(1500)]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_of_objects_is_rows(lake: Served, name: str, indent: int | None) -> None:
    answer = lake.loaded(name, json.dumps(ROWS, indent=indent), TYPE)

    assert answer["row_count"] == 1500
    assert lake.types(name) == {
        "id": "long",
        "name": "string",
        "tags": "list<string>",
        "at": "struct<x: double>",
    }
    assert lake.rows(name)[1] == [1, "n1\n", ["a", "b"], {"x": 0.5}]


@pytest.mark.parametrize(
    "text", ['{"a":\r\n1,"b":"x"}', '{"a": 1, "b": "x"}', ' \n{"a":1,"b":"x"}']
)
def test_an_object_is_a_row(lake: Served, name: str, text: str) -> None:
    lake.loaded(name, text, TYPE)

    assert lake.rows(name) == [[1, "x"]]


def test_objects_one_after_the_other_are_rows_as_jq_prints_them(lake: Served, name: str) -> None:
    lake.loaded(name, "".join(json.dumps(row, indent=2) + "\n" for row in ROWS[:3]), TYPE)

    assert [row[0] for row in lake.rows(name)] == [0, 1, 2]


@pytest.mark.parametrize(
    "text",
    ['[{"a": 1}, {"a": 2}]', '\ufeff [\r\n  {\n"a": 1}\n,{"a": 2}\n]\n', '{\n"a": 1}\n{"a": 2}'],
)
def test_a_document_is_known_by_its_first_bytes(lake: Served, name: str, text: str) -> None:
    lake.loaded(name, text, None)

    assert lake.rows(name) == [[1], [2]]


def test_objects_on_one_line_are_rows_where_the_format_is_said(lake: Served, name: str) -> None:
    refused = lake.ingest(name, '{"a": 1}{"a": 2}', TYPE)
    lake.loaded(name, '{"a": 1}{"a": 2}', TYPE, format="json")

    assert "or say format=json" in refused.json()["detail"]
    assert lake.rows(name) == [[1], [2]]


def test_lines_of_objects_under_the_type_of_json_are_ndjson(lake: Served, name: str) -> None:
    refused = lake.ingest(name, '{"a": 1}\n{"a": 2}\n{"a"\n', TYPE)

    assert "line 3" in refused.json()["detail"]


def test_it_is_read_compressed_and_in_utf_16(lake: Served, name: str) -> None:
    lake.loaded(name, gzip.compress(json.dumps(ROWS).encode("utf-16")), TYPE)

    assert len(lake.rows(name)) == 1500


def test_numbers_and_texts_are_those_of_the_document(lake: Served, name: str) -> None:
    lake.loaded(name, '[{"n": 9007199254740993, "t": "\\u0022\\n,\\\\", "z": "007"}]', TYPE)

    assert lake.rows(name) == [[9007199254740993, '"\n,\\', "007"]]


def broken(at: int, text: str, *, of: int = 1200) -> str:
    elements = [json.dumps({"id": n}) for n in range(of)]
    elements[at - 1] = text
    return "[" + ",\n".join(elements) + "]"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (broken(1101, "7"), ["element 1101", "no JSON object"]),
        (broken(3, '{"id": 1 "b": 2}'), ["element 3 (line 3 of the file)", "',' delimiter"]),
        (broken(1101, '{"id": 1}{"id": 2}'), ["element 1101", "where a comma"]),
        (broken(1101, ""), ["element 1101", "no element before the ','"]),
        (broken(1200, ""), ["element 1200", "no element before the ']'"]),
        (broken(1101, '{"id": 1')[:-200], ["element 1101"]),
        ('[{"id": 1}', ["element 1", "the document ends"]),
        ('[{"id": 1}]\n[{"id": 2}]', ["'[' comes after the end"]),
        ("[]", ["the file has no rows"]),
        ("[1, 2]", ["element 1 is no object"]),
        ("[[1, 2]]", ["element 1 is an array"]),
        ("7", ["neither an array of objects nor an object", "'7'"]),
        (" \n", ["it is empty"]),
        ('[{"a": "\x01"}]', ["element 1", "invalid control character"]),
        ("[{}]", ["no element has a key"]),
        ('{"a": 1}\n{"a": \n2', ["element 2"]),
    ],
)
def test_what_is_broken_is_named_by_its_element(
    lake: Served, name: str, body: str, words: list[str]
) -> None:
    before = lake.files()
    answer = lake.ingest(name, body, TYPE, format="json")

    assert answer.status_code == 400
    problem = answer.json()
    assert all(word in problem["detail"] for word in words), problem["detail"]
    assert all(row["unit"] == "element" for row in problem["context"].get("rows", []))
    assert lake.files() == before


def test_text_that_is_not_utf_8_is_named(lake: Served, name: str) -> None:
    answer = lake.ingest(name, b'[{"a": "x"}, {"a": "\xff"}]', TYPE)

    assert "element 2" in answer.json()["detail"]
    assert "encoding=latin-1" in answer.json()["detail"]


def test_a_value_that_does_not_fit_is_named_by_its_element(lake: Served, name: str) -> None:
    body = broken(1101, '{"id": "x"}')
    answer = lake.ingest(name, body, TYPE, types="id:long")

    assert answer.json()["detail"].startswith("element 1101, column 'id': '\"x\"' is no long")
    lake.loaded(name, "id\n1\n")
    answer = lake.ingest(name, body, TYPE, mode="append")
    assert "is no long (element 1101)" in answer.json()["detail"]


def test_good_elements_are_loaded_alone(lake: Served, name: str) -> None:
    body = broken(1101, '{"id": "x"}')
    answer = lake.loaded(name, body, TYPE, on_error="reject", types="id:long")

    assert answer["row_count"] == 1199
    (row,) = answer["rejected"]["rows"]
    assert (row["unit"], row["line"], row["column"]) == ("element", 1101, "id")


def test_elements_of_a_long_document_keep_their_numbers(lake: Served, name: str) -> None:
    pad = "x" * 200
    good = [f'{{"id": {n}, "pad": "{pad}"}}' for n in range(300_000)]
    good[250_000] = '{"id": "late"}'
    answer = lake.ingest(name, "[" + ",\n".join(good) + "]", TYPE, types="id:long")

    assert [row["line"] for row in answer.json()["context"]["rows"]] == [250_001]


def test_an_element_has_the_limit_of_a_line(lake: Served, name: str) -> None:
    limit = lake.lakehouse.config.ingest.line_max_bytes
    answer = lake.ingest(name, json.dumps([{"a": "x" * limit}]), TYPE)

    assert "element 1" in answer.json()["detail"]
    assert "longer than" in answer.json()["detail"]


def document(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "document"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"a":"' + "x" * 5_000_000, "element 1 (line 1 of the file): it is longer than 1000"),
        ('[{"a":1},{"a":"' + "x" * 2000 + '"}]', "element 2 (line 1 of the file): it is longer"),
        ("[" + '{"a":1},\n' * 900_000 + "}]", "element 900001 (line 900001 of the file): expect"),
        ("[" + "[" * 100_000, "element 1 (line 1 of the file): it is nested too deeply"),
        ('[{"a":1}' + "\n" * 5_000_000, "element 1 (line 5000001 of the file): the document ends"),
    ],
)
def test_the_place_is_found_in_documents_of_many_pieces(
    tmp_path: Path, text: str, words: str
) -> None:
    assert fault_of(document(tmp_path, text), 1000).startswith(words)
