"""Several files in one request, or in a zip: one load and one commit, or nothing."""

import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.ingest.served import Served

ONE, TWO = b"id,city\n1,Lyon\n2,Oslo\n", b"city,id\nBergen,3\n"


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def send(lake: Served, name: str, *files: tuple[str, bytes], **params: str) -> httpx.Response:
    headers = {"Prefer": params.pop("prefer")} if "prefer" in params else {}
    return lake.send(
        "POST",
        "/v1/ingest",
        params={"name": name, **params},
        files=[("file", each) for each in files],
        headers=headers,
    )


def zipped(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, body in files:
            archive.writestr(name, body)
    return sink.getvalue()


def snapshots(lake: Served, name: str) -> int:
    return len(lake.send("GET", f"/v1/tables/{name}/snapshots").json()["items"])


def test_they_are_one_load_by_the_names_of_their_columns(lake: Served, name: str) -> None:
    answer = send(lake, name, ("a.csv", ONE), ("b.csv", TWO))

    assert answer.status_code == 200, answer.text
    assert answer.json()["added_rows"] == 3
    assert lake.rows(name) == [[1, "Lyon"], [2, "Oslo"], [3, "Bergen"]]
    assert snapshots(lake, name) == 1
    assert send(lake, name, ("a.csv", ONE), ("b.csv", TWO)).json()["existing"]
    assert not send(lake, name, ("b.csv", TWO), ("a.csv", ONE)).json()["existing"]


def test_each_has_its_own_format(lake: Served, name: str) -> None:
    files = (
        ("a.csv", ONE),
        ("b.json", json.dumps([{"city": "Bergen", "id": 3}], indent=1).encode()),
        ("c.ndjson", b'{"id": 4, "city": "Rome"}\n'),
        ("d.parquet", parquet(id=[5], city=["Ulm"])),
    )
    answer = send(lake, name, *files)

    assert answer.status_code == 200, answer.text
    assert [row[0] for row in lake.rows(name)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("second", "type_", "value"), [("2.5", "double", 1.0), ("x", "string", "1")]
)
def test_a_column_has_a_type_that_holds_for_all(
    lake: Served, name: str, second: str, type_: str, value: object
) -> None:
    answer = send(lake, name, ("a.csv", b"v\n1\n"), ("b.csv", f"v\n{second}\n".encode()))

    assert answer.status_code == 200, answer.text
    assert lake.types(name) == {"v": type_}
    assert lake.rows(name)[0] == [value]


def test_a_value_that_comes_late_in_the_second_makes_text_of_both(lake: Served, name: str) -> None:
    late = "v\n" + "1\n" * 1500 + "x\n"
    answer = send(lake, name, ("a.csv", b"v\n1\n"), ("b.csv", late.encode()))

    assert answer.status_code == 200, answer.text
    assert lake.types(name) == {"v": "string"}


def test_nothing_is_loaded_when_one_of_them_is_bad(lake: Served, name: str) -> None:
    before = lake.files()
    answer = send(lake, name, ("a.csv", ONE), ("b.csv", b"id,city\nx,Bergen\n"), types="id:long")

    assert answer.status_code == 400
    problem = answer.json()
    assert problem["detail"].startswith("b.csv: line 2, column 'id': 'x' is no long")
    assert problem["context"]["rows"][0]["file"] == "b.csv"
    assert lake.files() == before


def test_the_good_rows_of_all_are_loaded_alone(lake: Served, name: str) -> None:
    bad = b"id,city\nx,Bergen\n4,Rome\n"
    answer = send(
        lake, name, ("a.csv", ONE), ("b.csv", bad), types="id:long", on_error="reject"
    ).json()

    assert [row[0] for row in lake.rows(name)] == [1, 2, 4]
    assert [(row["file"], row["line"]) for row in answer["rejected"]["rows"]] == [("b.csv", 2)]


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (b"id,town\n3,Rome\n", ["b.csv: it has", "column 'city'", "evolve=true"]),
        (b"id\n3\n", ["b.csv: it has no column 'city'"]),
        (b"", ["b.csv: the file is empty"]),
        (b"id,id\n1,2\n", ["b.csv: line 1, the header"]),
        (b"%PDF-1.7", ["b.csv: the file is a PDF"]),
    ],
)
def test_an_error_names_the_file(lake: Served, name: str, second: bytes, words: list[str]) -> None:
    answer = send(lake, name, ("a.csv", ONE), ("folder/b.csv", second))

    assert answer.status_code in (400, 415)
    assert all(word in answer.json()["detail"] for word in words), answer.json()["detail"]


def test_other_columns_are_taken_as_they_come_when_asked_for(lake: Served, name: str) -> None:
    answer = send(lake, name, ("a.csv", ONE), ("b.csv", b"id,age\n3,7\n"), evolve="true")

    assert answer.status_code == 200, answer.text
    assert lake.rows(name, "id") == [[1, "Lyon", None], [2, "Oslo", None], [3, None, 7]]


def test_they_go_into_a_table_that_is_there(lake: Served, name: str) -> None:
    lake.loaded(name, ONE)
    refused = send(lake, name, ("a.csv", TWO), ("b.csv", b"id,city\nx,y\n"), mode="append")
    assert refused.status_code == 409
    assert "b.csv" in refused.json()["detail"]

    upserted = send(
        lake, name, ("a.csv", TWO), ("b.csv", b"id,city\n1,Ulm\n"), mode="upsert", key="id"
    )
    assert upserted.status_code == 200, upserted.text
    assert lake.rows(name, "id") == [[1, "Ulm"], [2, "Oslo"], [3, "Bergen"]]


def test_a_zip_is_its_files_whatever_their_paths(lake: Served, name: str) -> None:
    body = zipped(
        ("../../etc/a.csv", ONE),
        ("folder/", b""),
        ("folder/b.json", b'[{"id": 3, "city": "Bergen"}]'),
        ("__MACOSX/._a.csv", b"\0\1"),
        ("folder/.DS_Store", b"\0"),
    )
    before = {path for path in lake.files() if "spool" in path}
    answer = lake.loaded(name, body, "application/zip")

    assert answer["added_rows"] == 3
    assert lake.rows(name) == [[1, "Lyon"], [2, "Oslo"], [3, "Bergen"]]
    assert {path for path in lake.files() if "spool" in path} == before


def test_a_zip_of_one_file_is_stored_or_deflated(lake: Served, name: str) -> None:
    lake.loaded(name, zipped(("a.csv", ONE), method=zipfile.ZIP_STORED), None)
    assert len(lake.rows(name)) == 2


def encrypted() -> bytes:
    body = bytearray(zipped(("a.csv", ONE)))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = body.index(magic) + offset
        body[at] |= 1
    return bytes(body)


def lying_directory() -> bytes:
    body = bytearray(zipped(("a.csv", ONE)))
    struct.pack_into("<I", body, body.index(b"PK\x05\x06") + 12, 2**31)
    return bytes(body)


def damaged() -> bytes:
    body = bytearray(zipped(("a.csv", ONE * 1000)))
    body[60:70] = b"\xff" * 10
    return bytes(body)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (zipped(), 400, "no file in the zip"),
        (zipped(("folder/", b"")), 400, "no file in the zip"),
        (zipped(("a.csv", ONE))[:-30], 400, "damaged or cut off"),
        (damaged(), 400, "damaged or cut off"),
        (encrypted(), 400, "a.csv: it is encrypted"),
        (zipped(("a.csv", ONE), method=zipfile.ZIP_LZMA), 415, "another way than with deflate"),
        (zipped(("in.zip", zipped(("a.csv", ONE)))), 400, "in.zip: it is a zip in a zip"),
        (zipped(*((f"{n}.csv", ONE) for n in range(101))), 400, "100 are the most"),
        (zipped(("a.csv", b"a\n" + b"1\n" * 2**26)), 413, "grows more than 200 times"),
        (zipped(("a.pdf", b"%PDF-1.7")), 415, "a.pdf: the file is a PDF"),
        (zipped(("[Content_Types].xml", b"x"), ("ppt/slide.xml", b"x")), 415, "an Office document"),
        (zipped(("a.csv", ONE), ("b.csv", b"")), 400, "b.csv: the file is empty"),
        (lying_directory(), 400, "damaged or cut off"),
    ],
)
def test_a_zip_that_is_broken_or_hostile_is_refused(
    lake: Served, name: str, body: bytes, status: int, words: str
) -> None:
    before = lake.files()
    answer = lake.ingest(name, body, "application/zip")

    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert lake.files() == before


def test_too_many_files_are_refused(lake: Served, name: str) -> None:
    answer = send(lake, name, *((f"{n}.csv", ONE) for n in range(101)))

    assert answer.status_code == 400
    assert "over 100 files" in answer.json()["detail"]


def test_a_dry_run_shows_all_of_them(lake: Served, name: str) -> None:
    answer = send(lake, name, ("a.csv", ONE), ("b.csv", TWO), dry_run="true").json()

    assert [row["id"] for row in answer["sample"]] == [1, 2, 3]


def test_a_job_keeps_them_until_it_has_ended(lake: Served, name: str, tmp_path: Path) -> None:
    before = {path for path in lake.files() if "spool" in path}
    answer = send(lake, name, ("a.csv", ONE), ("b.csv", TWO), prefer="respond-async")
    assert answer.status_code == 202, answer.text

    job = answer.json()["id"]
    while (now := lake.send("GET", f"/v1/jobs/{job}").json())["state"] in ("queued", "running"):
        pass
    assert now["state"] == "succeeded", now
    assert len(lake.rows(name)) == 3
    assert {path for path in lake.files() if "spool" in path} == before


@pytest.mark.parametrize("format_", ["csv", "ndjson", "json", "arrow", "parquet", "orc"])
def test_what_a_table_is_written_as_can_be_loaded_again(
    lake: Served, name: str, format_: str
) -> None:
    rows = [{"id": n, "word": f'"{n}",\n', "tags": ["a"] * (n % 2)} for n in range(3000)]
    lake.loaded(name, json.dumps(rows), "application/json")
    answer = lake.send("GET", f"/v1/tables/{name}/export", params={"format": format_})
    assert answer.status_code == 200, answer.text
    again = f"{name}_again"
    lake.loaded(again, answer.content, None, types="tags:list<string>")

    assert lake.rows(again) == lake.rows(name)
    assert lake.types(again) == lake.types(name)


def test_a_table_without_rows_is_an_empty_array(lake: Served, name: str) -> None:
    columns = [{"name": "id", "type": "long"}]
    lake.send("POST", "/v1/tables", json={"name": name, "columns": columns})
    answer = lake.send("GET", f"/v1/tables/{name}/export", params={"format": "json"})

    assert answer.json() == []
    assert f'filename="{name}.json"' in answer.headers["content-disposition"]
