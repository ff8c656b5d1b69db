"""Workbooks of Excel: one sheet, under the names of its header, in the types of its cells."""

import gzip
import io
import time as clock
import zipfile
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import httpx
import pytest

from lakehouse.disk import Disk, Usage
from tests.ingest.served import Served
from tests.workbooks import CORNERS, MAIN, workbook

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
LATE = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC).replace(tzinfo=None)
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC).replace(tzinfo=None)
ROWS = [
    ["id", "name", "ratio", "yes", "day", "at", "hour", "mixed", "long"],
    [1, "007", 0.5, True, date(2024, 2, 29), LATE, time(1, 2, 3), 1],
    [2, None, 2, False, date(1999, 12, 31), MIDNIGHT, time(0), "two", None],
    [None] * 9,
    [3, "#N/A", None, None, None, None, None, date(2024, 1, 2), timedelta(hours=30, minutes=5)],
]


def sent(lake: Served, name: str, body: bytes, **options: Any) -> httpx.Response:
    return lake.ingest(name, body, XLSX, **options)


def loaded(lake: Served, name: str, body: bytes, **options: Any) -> dict[str, Any]:
    answer = sent(lake, name, body, **options)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_column_has_the_type_of_its_cells(lake: Served, name: str) -> None:
    loaded(lake, name, workbook({"Sheet1": ROWS}))

    assert lake.types(name) == {
        "id": "long",
        "name": "string",
        "ratio": "double",
        "yes": "boolean",
        "day": "date",
        "at": "timestamp",
        "hour": "time",
        "mixed": "string",
        "long": "string",
    }
    assert lake.rows(name, "id") == [
        [1, "007", 0.5, True, "2024-02-29", "2024-02-29T23:59:58", "01:02:03", "1", None],
        [2, None, 2.0, False, "1999-12-31", "2024-03-01T00:00:00", "00:00:00", "two", None],
        [3, None, None, None, None, None, None, "2024-01-02", "30:05:00"],
    ]


@pytest.mark.parametrize("content_type", [XLSX, "application/octet-stream", None])
def test_it_is_known_by_what_is_in_it(lake: Served, name: str, content_type: str | None) -> None:
    body = workbook({"S": [["id"], [1]]})

    assert lake.ingest(name, body, content_type).status_code == 200
    assert lake.rows(name) == [[1]]


def test_a_sheet_is_chosen_by_name_or_number(lake: Served, name: str) -> None:
    body = workbook({"Notes": [["text"], ["x"]], "2026": [["id"], [26]], "3": [["id"], [3]]})

    for sheet, expected in {"2026": [[26]], "2": [[26]], "3": [[3]], "1": [["x"]]}.items():
        loaded(lake, f"{name}_{sheet}", body, sheet=sheet)
        assert lake.rows(f"{name}_{sheet}") == expected
    loaded(lake, name, body)
    assert lake.rows(name) == [["x"]]


def test_a_header_may_stand_further_down_and_to_the_right(lake: Served, name: str) -> None:
    rows = [[], [None, "Report of May"], [], [None, "id", "city"], [None, 1, "Lyon"]]

    refused = sent(lake, name, workbook({"S": rows}))
    loaded(lake, name, workbook({"S": rows}), header_row="4")

    assert refused.status_code == 400
    assert "column C of the sheet 'S' has values and no name in row 2" in refused.json()["detail"]
    assert lake.rows(name) == [[1, "Lyon"]]


def test_it_goes_into_a_table_that_is_there_with_its_types(lake: Served, name: str) -> None:
    lake.loaded(name, "id,zip,at\n1,01234,2024-01-01\n", types="zip:string,at:timestamp")
    rows = [["id", "zip", "at"], [2, "00501", LATE], [3, 7, None]]

    loaded(lake, name, workbook({"S": rows}), mode="append")

    assert lake.rows(name, "id")[1:] == [[2, "00501", "2024-02-29T23:59:58"], [3, "7", None]]


def test_types_go_before_what_the_cells_are(lake: Served, name: str) -> None:
    body = workbook({"S": [["id", "n"], [1, 2], [2, 3.5]]})

    loaded(lake, name, body, types="id:string,n:decimal(9,2)")

    assert lake.rows(name) == [["1", "2.00"], ["2", "3.50"]]


def test_a_dry_run_shows_the_sheet(lake: Served, name: str) -> None:
    answer = loaded(lake, name, workbook({"S": ROWS}), dry_run="true")

    assert answer["sample"][0]["name"] == "007"


def test_several_workbooks_are_one_load(lake: Served, name: str) -> None:
    files = [("file", (f"{n}.xlsx", workbook({"S": [["id"], [n]]}), XLSX)) for n in (1, 2)] + [
        ("file", ("3.csv", b"id\n3\n", "text/csv"))
    ]

    answer = lake.send("POST", "/v1/ingest", params={"name": name}, files=files)

    assert answer.status_code == 200, answer.text
    assert lake.rows(name) == [[1], [2], [3]]


def zipped(parts: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in parts.items():
            archive.writestr(path, content)
    return target.getvalue()


GOOD = workbook({"S": [["id"], [1]]})
REFUSED: list[tuple[bytes, dict[str, str], int, str]] = [
    (GOOD, {"sheet": "Gone"}, 400, "there are 'S'"),
    (GOOD, {"sheet": "2"}, 400, "there are 'S'"),
    (GOOD, {"header_row": "9"}, 400, "no names"),
    (GOOD, {"header_row": "0"}, 400, "header_row"),
    (GOOD, {"header_row": "first"}, 400, "header_row"),
    (GOOD, {"format": "csv"}, 400, "not csv"),
    (b"id\n1\n", {"format": "xlsx"}, 400, "not a workbook"),
    (workbook({"S": []}), {}, 400, "is empty"),
    (workbook({"S": [["id", "id"], [1, 2]]}), {}, 400, "one name"),
    (GOOD[: len(GOOD) // 2], {}, 400, "damaged"),
    (workbook({"S": "<worksheet><sheetData><row"}), {}, 400, ""),
    (workbook({"S": "no xml at all"}), {}, 400, ""),
    (zipped({"[Content_Types].xml": b"x", "xl/workbook.xml": b"x"}), {}, 400, ""),
    (zipped({"[Content_Types].xml": b"x", "word/document.xml": b"x"}), {}, 415, "Office"),
    (zipped({"[Content_Types].xml": b"x", "xl/workbook.bin": b"x"}), {}, 415, "Office"),
    (zipped({"mimetype": b"x", "content.xml": b"x"}), {}, 415, "OpenDocument"),
    (zipped({"a.xlsx": GOOD}), {}, 400, "by itself"),
    (gzip.compress(GOOD), {}, 415, "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, {}, 415, "save it as .xlsx"),
]


@pytest.mark.parametrize(("body", "options", "status", "words"), REFUSED)
def test_what_cannot_be_read_is_refused(
    lake: Served, name: str, body: bytes, options: dict[str, Any], status: int, words: str
) -> None:
    answer = lake.ingest(name, body, "application/octet-stream", **options)

    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert lake.send("GET", f"/v1/tables/{name}").status_code == 404
    assert not [path for path in lake.files() if "upload-" in path]


def test_its_options_are_of_workbooks(lake: Served, name: str) -> None:
    answer = lake.ingest(name, "id\n1\n", sheet="S")

    assert answer.status_code == 400
    assert "workbooks" in answer.json()["detail"]


LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "'
    + "&a;" * 1000
    + '"><!ENTITY c "'
    + "&b;" * 1000
    + f'">]><worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>&c;</t>'
    "</is></c></row></sheetData></worksheet>"
)
SECRET = (
    '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
    f'<worksheet xmlns="{MAIN}"><sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>&a;</t></is>'
    "</c></row></sheetData></worksheet>"
)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(workbook({"S": CORNERS}), id="two cells in the corners"),
        pytest.param(workbook({"S": LAUGHS}), id="a billion laughs"),
        pytest.param(
            workbook({"S": [["id"], [1]]}, {"xl/media/x": b"0" * (1100 << 20)}), id="1 GB of zeros"
        ),
        pytest.param(workbook({"S": f'<worksheet xmlns="{MAIN}">' + "<a>" * 5_000_000}), id="deep"),
    ],
)
def test_a_bomb_ends_the_child_and_nothing_else(lake: Served, name: str, body: bytes) -> None:
    began = clock.monotonic()
    answer = sent(lake, name, body)

    assert answer.status_code in (400, 413), answer.text
    assert clock.monotonic() - began < 60
    loaded(lake, name, GOOD)


def test_a_bomb_is_none_of_the_disk(
    lake: Served, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where less is free than a file may have, what is too large by itself is told so."""
    usage = Usage(free_bytes=3 << 30, total_bytes=100 << 30, reserve_bytes=1 << 30)
    monkeypatch.setattr(Disk, "usage", lambda disk: usage)
    answer = sent(lake, name, workbook({"S": [["id"], [1]]}, {"x": b"0" * (1100 << 20)}))

    assert answer.status_code == 413, answer.text


def test_an_entity_reads_no_file(lake: Served, name: str) -> None:
    answer = sent(lake, name, workbook({"S": SECRET}))

    assert "root:" not in answer.text
    assert answer.status_code == 400, answer.text
