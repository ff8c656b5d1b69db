"""CSV and TSV over REST: what is in the file is in the table, with the types it shows."""

import random

import pytest

from tests.ingest.served import Served

ROWS = "".join(f"{number},{number}.5,2024-01-01 00:00:00\n" for number in range(1500))
HEADER = "id,amount,at\n"


def test_empty_is_null_and_quoted_empty_is_an_empty_string(lake: Served, name: str) -> None:
    lake.loaded(name, 'id,city,score\n1,"",88\n2,,\n3,"a ""b""\nc",7\n')

    assert lake.types(name) == {"id": "long", "city": "string", "score": "long"}
    assert lake.rows(name) == [[1, "", 88], [2, None, None], [3, 'a "b"\nc', 7]]


@pytest.mark.parametrize(
    ("value", "column"),
    [
        *(("007", "id"), ("1.5", "id"), ("1_000", "id"), ("99999999999999999999", "id")),
        *(("007.5", "amount"), ("1e999", "amount"), ("12345678901234567", "amount")),
        *(("2024-01-01 00:00:00+02", "at"), ("2024-01-01 00:00:00.1234567", "at")),
    ],
)
def test_a_later_value_that_contradicts_makes_its_column_text_and_keeps_every_sign(
    lake: Served, name: str, value: str, column: str
) -> None:
    row = {"id": "1", "amount": "2.5", "at": "2024-01-01 00:00:00", column: value}
    lake.loaded(name, HEADER + ROWS + ",".join(row.values()) + "\n")

    types = {"id": "long", "amount": "double", "at": "timestamp", column: "string"}
    assert lake.types(name) == types
    sql = f'SELECT count(*), count(*) FILTER ("{column}" = \'{value}\') FROM "{name}"'
    answer = lake.send("POST", "/v1/sql", json={"sql": sql}).json()
    assert answer["rows"] == [[1501, 1]]


def test_the_same_file_gives_the_same_fingerprint(lake: Served, name: str) -> None:
    lines = [f"{n},{n / 7:.3f},2024-01-01 00:00:00\n" for n in range(3000)]
    random.Random(3).shuffle(lines)
    body = HEADER + "".join(lines)

    first = lake.loaded(name, body)
    second = lake.loaded(f"{name}_again", body)

    assert first["schema_fingerprint"] == second["schema_fingerprint"]


def test_columns_are_matched_by_name_ignoring_case_and_order(lake: Served, name: str) -> None:
    lake.loaded(name, "id,City\n1,Oslo\n")
    lake.loaded(name, "CITY,ID\nBergen,2\n", mode="append")

    assert lake.rows(name) == [[1, "Oslo"], [2, "Bergen"]]


def test_an_existing_table_is_read_with_its_types(lake: Served, name: str) -> None:
    lake.loaded(name, "id,zip\n1,x\n")  # zip is text
    lake.loaded(name, "id,zip\n007,01234\n", mode="append")

    assert lake.rows(name) == [[1, "x"], [7, "01234"]]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a;b\n1;2,5\n", [[1, "2,5"]]),
        ("a\tb\n1\t2\n", [[1, 2]]),
        ("a|b\n1|2\n", [[1, 2]]),
        ("a,b\r\n1,2\r\n", [[1, 2]]),
        ("\ufeffa,b\n1,2", [[1, 2]]),
        ('"a","b"\n"1","2"\n', [[1, 2]]),
        ("a\n1\n\n3\n", [[1], [3], [None]]),
    ],
)
def test_the_ways_in_which_csv_is_written(
    lake: Served, name: str, body: str, expected: list[list[object]]
) -> None:
    lake.loaded(name, body)

    assert lake.rows(name) == expected


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_an_encoding_with_a_byte_order_mark_is_found(
    lake: Served, name: str, encoding: str
) -> None:
    lake.loaded(name, "id,città\n1,Forlì 🙂\n".encode(encoding))

    assert lake.types(name) == {"id": "long", "città": "string"}
    assert lake.rows(name) == [[1, "Forlì 🙂"]]


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le"])
def test_a_declared_encoding_is_read(lake: Served, name: str, encoding: str) -> None:
    lake.loaded(name, "id,name\n1,José\n".encode(encoding), encoding=encoding)

    assert lake.rows(name) == [[1, "José"]]


def test_types_and_date_format_override_what_is_inferred(lake: Served, name: str) -> None:
    lake.loaded(
        name,
        'zip,price,born,tags\n1234,1.5,03.04.2024,"[1, 2]"\n5678,,31.12.2024,\n',
        types="zip:string,price:decimal(9,2),tags:list<long>",
        date_format="%d.%m.%Y",
    )

    assert lake.types(name) == {
        "zip": "string",
        "price": "decimal(9,2)",
        "born": "date",
        "tags": "list<long>",
    }
    assert lake.rows(name) == [
        ["1234", "1.50", "2024-04-03", [1, 2]],
        ["5678", None, "2024-12-31", None],
    ]


def test_dates_with_slashes_are_dates_only_where_the_sample_settles_them(
    lake: Served, name: str
) -> None:
    lake.loaded(name, "a,b\n25/04/2024,03/04/2024\n01/02/2024,05/06/2024\n")

    assert lake.types(name) == {"a": "date", "b": "string"}
    assert lake.rows(name) == [["2024-02-01", "05/06/2024"], ["2024-04-25", "03/04/2024"]]


def test_fail_names_the_first_bad_lines_and_counts_them(lake: Served, name: str) -> None:
    body = HEADER + ROWS + "1\n" * 30 + '"7","multi\nline",x,y\n'

    answer = lake.ingest(name, body)

    assert answer.status_code == 400
    context = answer.json()["context"]
    assert context["count"] == 31
    assert [row["line"] for row in context["rows"]] == list(range(1502, 1522))
    assert context["rows"][0]["reason"] == "it has 1 fields, the header has 3"


def test_reject_keeps_the_good_rows_and_says_where_the_others_were(lake: Served, name: str) -> None:
    lake.loaded(name, HEADER + "1,1.5,2024-01-01 00:00:00\n")
    body = 'id,amount,at\n"2\n",1,\n3,2,\nx,3,\n4\n5,5,2024-13-01\n6,6,,7\n8,8,\n'

    answer = lake.loaded(name, body, mode="append", on_error="reject")

    assert answer["added_rows"] == 3
    assert answer["rejected"]["count"] == 4
    assert [(row["line"], row["column"]) for row in answer["rejected"]["rows"]] == [
        *[(5, "id"), (6, None), (7, "at"), (8, None)],
    ]
    assert [row[0] for row in lake.rows(name)] == [1, 2, 3, 8]


def test_string_widens_also_what_was_declared(lake: Served, name: str) -> None:
    lake.loaded(name, "id\n1\nx\n", types="id:long", on_error="string")

    assert lake.rows(name) == [["1"], ["x"]]


def test_a_header_only_file_empties_a_table_when_that_is_said(lake: Served, name: str) -> None:
    lake.loaded(name, "id,city\n1,Oslo\n")

    assert lake.ingest(name, "id,city\n").status_code == 400
    assert lake.loaded(name, "id,city\n", mode="overwrite")["row_count"] == 0


def test_two_thousand_columns_are_loaded(lake: Served, name: str) -> None:
    header = ",".join(f"c{number}" for number in range(2000))
    row = ",".join(str(number) for number in range(2000))

    answer = lake.loaded(name, f"{header}\n{row}\n")

    assert len(answer["columns"]) == 2000
    assert {column["type"] for column in answer["columns"]} == {"long"}


def test_the_sample_is_bounded_in_bytes(lake: Served, name: str) -> None:
    long = "x" * 200_000  # 168 lines are 32 MiB: what comes later is looked at as it is read
    lines = [f"{number},{long}\n" for number in range(200)]

    lake.loaded(name, "id,v\n" + "".join(lines) + "z,y\n")

    assert lake.types(name) == {"id": "string", "v": "string"}


def test_a_delete_by_key_lives_through_text_that_is_not_utf_8_in_another_column(
    lake: Served, name: str
) -> None:
    good = "id,city,score,at,ok\n59,Oslo,8.4,2024-01-04,true\n"
    lake.loaded(name, good)
    body = good.encode() + b"60,Oslo,8.4\xed\xa0\x8029,2024-01-04,true"

    answer = lake.ingest(name, body, mode="delete", key="id")

    assert answer.status_code == 400, answer.text
    assert "line 3: it is not UTF-8" in answer.json()["detail"]
    assert len(lake.rows(name)) == 1


@pytest.mark.parametrize("delimiter", ["||", "::", "~|~", "§", "||||", "\\t", "¦¦"])
def test_a_delimiter_has_up_to_four_bytes(lake: Served, name: str, delimiter: str) -> None:
    mark = "\t" if delimiter == "\\t" else delimiter
    rows = ["id|city|note".replace("|", mark), f'1{mark}"Ly{mark}on"{mark}a|b', f"2{mark}{mark}x"]
    lake.loaded(name, "\n".join(rows) + "\n", delimiter=delimiter)

    assert lake.types(name) == {"id": "long", "city": "string", "note": "string"}
    assert lake.rows(name) == [[1, f"Ly{mark}on", "a|b"], [2, None, "x"]]


def test_with_such_a_delimiter_bad_rows_have_their_lines(lake: Served, name: str) -> None:
    body = "id||ci||ty\n" + "1||a||b\n" * 1500 + "x||a||b\n2||a\n"
    answer = lake.ingest(name, body, delimiter="||", types="id:long").json()

    assert [(row["line"], row["column"]) for row in answer["context"]["rows"]] == [
        (1502, "id"),
        (1503, None),
    ]
    assert "it has 2 fields, the header has 3" in answer["context"]["rows"][1]["reason"]


def test_a_quoted_name_may_have_the_delimiter(lake: Served, name: str) -> None:
    lake.loaded(name, '"a||b"||c\n1||2\n', delimiter="||")

    assert list(lake.types(name)) == ["a||b", "c"]


@pytest.mark.parametrize("delimiter", ["|||||", '"', '|"', "\n", "¦¦¦"])
def test_a_delimiter_that_cannot_be_one_is_refused(lake: Served, name: str, delimiter: str) -> None:
    answer = lake.ingest(name, "a,b\n1,2\n", delimiter=delimiter)

    assert answer.status_code == 400
    assert "1 to 4 bytes" in answer.json()["detail"]
