"""`/v1/sql` as a client meets it."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from lakehouse.catalog import Column, TableName
from lakehouse.database import extension_file
from tests.query.conftest import ROWS, SqlServer

JSON = {"Content-Type": "application/json"}


def sql(client: httpx.Client, statement: str, **fields: object) -> httpx.Response:
    return client.post("/v1/sql", json={"sql": statement, **fields})


def refused(answer: httpx.Response, status: int, *words: str) -> dict[str, Any]:
    """Return the problem, after checking that it is one and says `words`."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    body: dict[str, Any] = answer.json()
    assert body["detail"]
    for word in words:
        assert word in answer.text
    return body


def test_an_answer_has_columns_rows_and_their_number(client: httpx.Client) -> None:
    answer = sql(client, "SELECT id, name FROM numbers WHERE id < 2 ORDER BY id")

    assert answer.status_code == 200
    body = answer.json()
    query_id = body.pop("query_id")
    assert body == {
        "columns": [{"name": "id", "type": "BIGINT"}, {"name": "name", "type": "VARCHAR"}],
        "rows": [[0, "number 0"], [1, "number 1"]],
        "row_count": 2,
        "truncated": False,
        "next": None,
    }
    assert answer.headers["x-lakehouse-query-id"] == query_id
    assert answer.headers["vary"] == "Accept"


def test_no_rows_are_an_empty_list(client: httpx.Client) -> None:
    body = sql(client, "SELECT id FROM numbers WHERE id < 0").json()
    assert (body["rows"], body["row_count"]) == ([], 0)


def test_two_columns_of_one_name_are_both_there(client: httpx.Client) -> None:
    statement = "SELECT 1 AS a, 'x' AS a"
    body = sql(client, statement).json()
    assert [column["name"] for column in body["columns"]] == ["a", "a"]
    assert body["rows"] == [[1, "x"]]
    line = client.post("/v1/sql?format=ndjson", json={"sql": statement})
    assert line.text == '{"a":1,"a_1":"x"}\n'


def test_values_are_bound_by_place_and_by_name(client: httpx.Client) -> None:
    by_place = sql(
        client, "SELECT name FROM numbers WHERE id = ? AND name <> ?", parameters=[7, ""]
    )
    assert by_place.json()["rows"] == [["number 7"]]
    by_name = sql(client, "SELECT name FROM numbers WHERE id = $id", parameters={"id": 8})
    assert by_name.json()["rows"] == [["number 8"]]
    hostile = sql(client, "SELECT ? AS v", parameters=["'; DROP TABLE numbers; --"])
    assert hostile.json()["rows"] == [["'; DROP TABLE numbers; --"]]


def test_a_plan_is_told_of_a_statement_with_parameters(client: httpx.Client) -> None:
    for place, values in (("?", [7]), ("$id", {"id": 7})):
        statement = f"EXPLAIN SELECT name FROM numbers WHERE id = {place}"
        answer = sql(client, statement, parameters=values)
        assert answer.status_code == 200, answer.text
        assert "7" in json.dumps(answer.json()["rows"])
        refused(sql(client, statement), 400)


@pytest.mark.parametrize(
    ("statement", "fields"),
    [
        ("SELECT ? + ?", {"parameters": [1]}),
        ("SELECT 1", {"parameters": [1]}),
        ("SELECT $a", {"parameters": {"b": 1}}),
    ],
)
def test_parameters_that_do_not_match_are_400(
    client: httpx.Client, statement: str, fields: dict[str, Any]
) -> None:
    refused(sql(client, statement, **fields), 400, "arameter")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ('{"q": "SELECT 1"}', "q"),
        ('{"sql": "SELECT 1", "limits": 3}', "limits"),
        ('{"parameters": [1]}', "sql"),
        ('{"sql": 1}', "sql"),
        ('{"sql": "SELECT 1", "timeout_s": -1}', "timeout_s"),
        ('{"sql": "SELECT 1", "as_of": {"numbers": "yesterday"}}', "as_of"),
        ('{"sql": "SELECT 1"', ""),
        ("[]", ""),
        ("", ""),
    ],
)
def test_a_body_that_is_not_one_is_400_and_names_the_field(
    client: httpx.Client, body: str, word: str
) -> None:
    refused(client.post("/v1/sql", content=body, headers=JSON), 400, word)


@pytest.mark.parametrize("statement", ["", "  \n ", "SELEKT 1", "SELECT * FROM nope"])
def test_bad_sql_is_400_and_says_why(client: httpx.Client, statement: str) -> None:
    refused(sql(client, statement), 400)


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        ("SELECT max(id) + 9223372036854775807 FROM numbers", "verflow"),
        ("SELECT CAST(name AS INTEGER) FROM numbers", "number"),
        ("SELECT nme FROM numbers", "nme"),
    ],
)
def test_what_goes_wrong_while_it_runs_is_400_without_our_names(
    client: httpx.Client, statement: str, word: str
) -> None:
    problem = refused(sql(client, statement), 400, word)
    assert "Error:" not in problem["detail"]
    assert "LINE 1" not in problem["detail"]
    assert "r_" not in problem["detail"].replace("parameter_", "")


def test_a_body_over_4_mib_is_413(client: httpx.Client) -> None:
    refused(sql(client, "SELECT '" + "x" * 4 * 1024 * 1024 + "'"), 413)


def test_json_is_read_whatever_the_content_type(client: httpx.Client) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/v1/sql", content='{"sql": "SELECT 1"}', headers=form).status_code == 200


def test_a_page_of_another_site_must_say_json(client: httpx.Client) -> None:
    body = '{"sql": "SELECT 1"}'
    foreign = {"Origin": "https://elsewhere.example"}
    refused(client.post("/v1/sql", content=body, headers=foreign), 415, "application/json")
    assert client.post("/v1/sql", content=body, headers=foreign | JSON).status_code == 200


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, "application/json"),
        ("*/*", "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("application/x-ndjson", "application/x-ndjson"),
        ("text/csv;q=0.5, application/json;q=0.4", "text/csv; charset=utf-8"),
        ("text/*", "text/csv; charset=utf-8"),
        ("application/json;q=0, */*;q=0.1", "application/x-ndjson"),
        ("application/vnd.apache.arrow.stream", "application/vnd.apache.arrow.stream"),
        ("APPLICATION/VND.APACHE.PARQUET", "application/vnd.apache.parquet"),
    ],
)
def test_accept_chooses_the_format(
    client: httpx.Client, accept: str | None, media_type: str
) -> None:
    headers = {"Accept": accept} if accept else {}
    answer = client.get("/v1/sql", params={"sql": "SELECT 1 AS a"}, headers=headers)
    assert answer.headers["content-type"] == media_type


def test_a_format_we_do_not_write_is_406_and_lists_those_we_do(client: httpx.Client) -> None:
    answer = client.get("/v1/sql?sql=SELECT+1", headers={"Accept": "image/png"})
    refused(answer, 406, "application/json", "text/csv", "application/vnd.apache.parquet")
    refused(client.get("/v1/sql?sql=SELECT+1&format=xml"), 400, "ndjson")


def read_avro(content: bytes, folder: Path) -> pa.Table:
    path = folder / "rows.avro"
    path.write_bytes(content)
    with duckdb.connect() as engine:
        engine.execute(f"LOAD '{extension_file('avro')}'")
        return engine.execute(f"FROM read_avro('{path}')").to_arrow_table()


def test_all_formats_hold_the_same_rows(client: httpx.Client, tmp_path: Path) -> None:
    statement = "SELECT id, name FROM numbers ORDER BY id"
    expected = [(n, f"number {n}") for n in range(ROWS)]

    def get(name: str) -> bytes:
        return client.get("/v1/sql", params={"sql": statement, "format": name}).content

    lines = [json.loads(line) for line in get("ndjson").splitlines()]
    assert [(line["id"], line["name"]) for line in lines] == expected
    header, *csv_lines = get("csv").decode().split("\r\n")[:-1]
    assert header == "id,name"
    assert csv_lines == [f"{n},{name}" for n, name in expected]
    arrow = pa.ipc.open_stream(get("arrow")).read_all()
    parquet = pq.read_table(io.BytesIO(get("parquet")))
    orc = pyarrow.orc.read_table(io.BytesIO(get("orc")))
    avro = read_avro(get("avro"), tmp_path)
    for table in (arrow, parquet, orc, avro):
        assert table.schema.names == ["id", "name"]
        assert list(zip(*(c.to_pylist() for c in table.columns), strict=True)) == expected


def test_an_empty_result_is_whole_in_every_format(client: httpx.Client) -> None:
    for name in ("ndjson", "csv", "arrow", "orc", "avro", "parquet"):
        params = {"sql": "SELECT id FROM numbers WHERE id < 0", "format": name}
        answer = client.get("/v1/sql", params=params)
        assert answer.status_code == 200
    assert pq.read_table(io.BytesIO(answer.content)).num_rows == 0


def test_an_error_before_the_first_row_has_its_status_in_every_format(
    client: httpx.Client,
) -> None:
    for name in ("ndjson", "csv", "arrow", "orc", "avro", "parquet"):
        params = {"sql": "SELECT CAST(name AS DATE) FROM numbers", "format": name}
        refused(client.get("/v1/sql", params=params), 400, "number")


def test_a_query_without_a_statement_is_400(client: httpx.Client) -> None:
    refused(client.get("/v1/sql"), 400, "'sql'")


def test_an_etag_holds_until_a_table_changes(client: httpx.Client, server: SqlServer) -> None:
    params = {"sql": "SELECT count(*) FROM numbers"}
    first = client.get("/v1/sql", params=params)
    etag = first.headers["etag"]

    again = client.get("/v1/sql", params=params, headers={"If-None-Match": f'"x", {etag}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == etag
    as_csv = client.get("/v1/sql", params=params | {"format": "csv"})
    assert as_csv.headers["etag"] != etag

    server.write(f"SELECT range AS id, 'number ' || range AS name FROM range({ROWS})")
    changed = client.get("/v1/sql", params=params, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


def test_a_volatile_statement_has_no_etag(client: httpx.Client) -> None:
    answer = client.get("/v1/sql", params={"sql": "SELECT random()"})
    assert answer.status_code == 200
    assert "etag" not in answer.headers


def test_a_table_is_read_as_of_a_snapshot_and_a_time(
    client: httpx.Client, server: SqlServer
) -> None:
    before = server.catalog.get(server.catalog.names()[0])
    at = datetime.now(UTC).isoformat()
    server.write("SELECT 1::BIGINT AS id, 'one' AS name", "append")
    counted = "SELECT count(*) FROM numbers"

    try:
        assert sql(client, counted).json()["rows"] == [[ROWS + 1]]
        for moment in (before.snapshot_id, str(before.snapshot_id), at):
            answer = sql(client, counted, as_of={"numbers": moment})
            assert answer.json().get("rows") == [[ROWS]], answer.text
    finally:
        server.write(f"SELECT range AS id, 'number ' || range AS name FROM range({ROWS})")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DROP TABLE numbers", "DELETE /v1/tables/TABLE drops a table"),
        ("/* now */ insert INTO numbers VALUES (1, 'x')", "/from-query writes a query's rows"),
        ("CREATE TABLE x AS SELECT 1", "/from-query makes a table"),
        ("UPDATE numbers SET id = 1", "/v1/tables/TABLE/update"),
        ("DELETE FROM numbers", "/v1/tables/TABLE/delete"),
        ("ALTER TABLE numbers ADD COLUMN x INT", "/v1/tables/TABLE/schema"),
        ("SELECT cuont(*) FROM numbers", "did you mean count?"),
    ],
)
def test_a_refused_statement_is_answered_with_what_does_it(
    client: httpx.Client, statement: str, words: str
) -> None:
    refused(sql(client, statement), 400, words)


@pytest.mark.parametrize("moment", [1, "nowhere", "2001-01-01T00:00:00Z"])
def test_a_snapshot_that_is_not_there_is_404_as_on_every_route(
    client: httpx.Client, moment: int | str
) -> None:
    text, at = "SELECT count(*) FROM numbers", json.dumps(moment).replace('"', "'")
    kind = "TIMESTAMP" if str(moment).endswith("Z") else "VERSION"
    answers = [
        sql(client, text, as_of={"numbers": moment}),
        sql(client, f"{text} AT ({kind} => {at})"),
        sql(client, f"EXPLAIN {text}", as_of={"numbers": moment}),
    ]
    for answer in answers:
        refused(answer, 404, "/v1/tables/main.numbers/snapshots")
        assert answer.json()["type"] == "/problems/snapshot-not-found"


@pytest.mark.parametrize("names", [["numbers", "main.numbers"], ["numbers", "NUMBERS"]])
def test_a_table_has_one_moment_in_as_of(client: httpx.Client, names: list[str]) -> None:
    answer = sql(client, "SELECT count(*) FROM numbers", as_of=dict.fromkeys(names, 1))

    refused(answer, 400, "twice")
    assert all(repr(name) in answer.json()["detail"] for name in names)


def test_as_of_for_a_table_that_is_read_at_a_moment_of_its_own_is_refused(
    client: httpx.Client, server: SqlServer
) -> None:
    at = server.catalog.get(server.catalog.names()[0]).snapshot_id
    text = f"SELECT count(*) FROM numbers AT (VERSION => {at})"

    refused(sql(client, text, as_of={"numbers": at}), 400, "of its own")


def test_a_name_that_is_nearly_right_is_named_as_sql_writes_it(
    client: httpx.Client, server: SqlServer
) -> None:
    server.catalog.create_table(TableName("main", "dots.in it"), [Column("a", "long")])
    try:
        answer = sql(client, "SELECT * FROM dots.in_it")
        assert answer.json()["detail"].endswith('did you mean "dots.in it"?')
        answer = sql(client, "SELECT * FROM nmbers")
        assert answer.json()["detail"].endswith("did you mean numbers?")
    finally:
        server.catalog.drop(TableName("main", "dots.in it"))


@pytest.mark.parametrize(
    ("depth", "words"), [(70, "nested more than 60 deep"), (200, "nested too deeply")]
)
def test_what_is_nested_too_deeply_is_told_so(client: httpx.Client, depth: int, words: str) -> None:
    nested = "[" * depth + "1" + "]" * depth
    refused(client.post("/v1/sql", json={"sql": f"SELECT {nested}"}), 400, words)
    assert client.post("/v1/sql", json={"sql": "SELECT [[[1]]]"}).json()["rows"] == [[[[[1]]]]]


def test_what_avro_has_no_name_or_type_for_is_told_or_is_text(
    client: httpx.Client, tmp_path: Path
) -> None:
    answer = client.get("/v1/sql", params={"sql": 'SELECT 1 AS "a b"', "format": "avro"})
    assert answer.status_code == 400
    assert "'a b' is no name" in answer.json()["detail"]

    sql = "SELECT 7::UBIGINT AS u, INTERVAL 1 DAY AS i, NULL AS n, 'x'::ENUM('x', 'y') AS e"
    answer = client.get("/v1/sql", params={"sql": sql, "format": "avro"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.apache.avro"
    rows = read_avro(answer.content, tmp_path).to_pylist()
    assert rows == [{"u": "7", "i": "1 day", "n": None, "e": "x"}]


def test_orc_has_as_text_what_it_has_no_type_for(client: httpx.Client) -> None:
    sql = (
        "SELECT TIME '01:02:03' AS t, 7::UBIGINT AS u, 8::UINTEGER AS s, NULL AS n,"
        " [TIME '01:00'] AS l, 'x'::ENUM('x', 'y') AS e, uuid() AS i,"
        " 1.50::DECIMAL(9,2) AS d, 'b'::BLOB AS b"
    )
    answer = client.get("/v1/sql", params={"sql": sql, "format": "orc"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/vnd.apache.orc"

    (row,) = pyarrow.orc.read_table(io.BytesIO(answer.content)).to_pylist()
    assert (row["t"], row["u"], row["s"], row["n"]) == ("01:02:03", "7", 8, None)
    assert (row["e"], row["d"], row["b"]) == ("x", Decimal("1.50"), b"b")
