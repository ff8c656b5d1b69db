"""Text of fixed width: columns by their characters, inferred and reported as in CSV."""

import pytest

from tests.ingest.served import Served

TEXT = (
    "id   city      day       amount\n"
    "00001Zürich    2024-02-2900012.50\n"
    "2    Łódź      2024-03-01   -1.25\n"
    "\n"
    "3    Oslo\r\n"
)
HEADED, NAMED = "5,10,10,8", "id:5,city:10,day:10,amount:8"
BODY = TEXT.partition("\n")[2]


@pytest.mark.parametrize(
    ("widths", "text"), [(HEADED, TEXT), (NAMED, BODY), (HEADED, "\ufeff" + TEXT)]
)
def test_columns_are_characters_of_a_line(lake: Served, name: str, widths: str, text: str) -> None:
    lake.loaded(name, text, widths=widths, types="id:long,amount:decimal(9,2)")

    assert lake.types(name) == {
        "id": "long",
        "city": "string",
        "day": "date",
        "amount": "decimal(9,2)",
    }
    assert lake.rows(name, "id") == [
        [1, "Zürich", "2024-02-29", "12.50"],
        [2, "Łódź", "2024-03-01", "-1.25"],
        [3, "Oslo", None, None],
    ]


def test_what_looks_like_a_number_is_one_and_a_zip_code_is_not(lake: Served, name: str) -> None:
    lake.loaded(name, "1 00123\n2 00456\n", widths="n:2,zip:5")

    assert lake.types(name) == {"n": "long", "zip": "string"}


def test_bad_lines_are_named(lake: Served, name: str) -> None:
    good = "".join(f"{n:<5}x\n" for n in range(1500))
    body = good + "\n" + "abc  x\n" + "7    xyz\n"
    answer = lake.ingest(name, body, widths="id:5,mark:1", types="id:long")

    assert answer.status_code == 400
    rows = answer.json()["context"]["rows"]
    assert [(row["line"], row["column"]) for row in rows] == [(1502, "id"), (1503, None)]
    assert "longer than its columns are wide together, 6 characters" in rows[1]["reason"]

    loaded = lake.loaded(
        name, body, widths="id:5,mark:1", types="id:long", on_error="reject", mode="create"
    )
    assert (loaded["row_count"], loaded["rejected"]["count"]) == (1500, 2)


def test_a_line_that_is_not_utf_8_is_named(lake: Served, name: str) -> None:
    answer = lake.ingest(name, b"1 x\n2 \xff\n3 y\n", widths="id:2,word:1")

    assert answer.status_code == 400
    assert "line 2" in answer.json()["detail"]
    lake.loaded(name, b"1 x\n2 \xe9\n", widths="id:2,word:1", encoding="latin-1")
    assert lake.rows(name) == [[1, "x"], [2, "é"]]


def test_a_late_value_makes_text_of_a_new_column(lake: Served, name: str) -> None:
    lake.loaded(name, "".join(f"{n:<5}\n" for n in range(1500)) + "abc\n", widths="id:5")

    assert lake.types(name) == {"id": "string"}


def test_it_goes_into_a_table_that_is_there(lake: Served, name: str) -> None:
    lake.loaded(name, "id,city\n1,Lyon\n")
    lake.loaded(name, "Oslo2\n", widths="city:4,id:1", mode="append")

    assert lake.rows(name) == [[1, "Lyon"], [2, "Oslo"]]


@pytest.mark.parametrize(
    ("widths", "body", "words"),
    [
        ("a", "x\n", "widths is written"),
        ("a:0", "x\n", "widths is written"),
        ("-1", "x\n", "widths is written"),
        ("a:1,2", "x\n", "names some columns"),
        ("a:1,a:1", "xy\n", "the columns:"),
        ("1,2", "a\nb\n", "column 2 of line 1"),
        ("2", "id\n", "no rows"),
        ("a:9999999999", "x\n", "widths is written"),
    ],
)
def test_widths_that_are_none_are_refused(
    lake: Served, name: str, widths: str, body: str, words: str
) -> None:
    answer = lake.ingest(name, body, widths=widths)

    assert answer.status_code == 400
    assert words in answer.json()["detail"]


def test_a_delimiter_beside_widths_is_refused(lake: Served, name: str) -> None:
    answer = lake.ingest(name, "x\n", widths="a:1", delimiter=";")

    assert answer.status_code == 400
    assert "exclude each other" in answer.json()["detail"]
