"""Numbers of 128 bits, in every form of an answer: whole, or refused."""

import io
from decimal import Decimal

import httpx
import pyarrow as pa
import pyarrow.orc
import pyarrow.parquet as pq
import pytest

from tests.query.conftest import SqlServer
from tests.query.test_sql_routes import refused

NINES = 10**38 - 1
BINARY = ["arrow", "parquet", "orc", "avro"]
AROUND = ["{}", "[{}]", "{{'a': {}}}", "MAP {{'k': {}}}", "[{{'a': {}}}]"]


def ask(client: httpx.Client, sql: str, format_name: str) -> httpx.Response:
    return client.post(f"/v1/sql?format={format_name}", json={"sql": sql})


def rows(content: bytes, format_name: str) -> list[object]:
    """Return the values of the first column, after looking at every one."""
    table = (
        pa.ipc.open_stream(content).read_all()
        if format_name == "arrow"
        else pq.read_table(io.BytesIO(content))
        if format_name == "parquet"
        else pyarrow.orc.read_table(io.BytesIO(content))
    )
    table.validate(full=True)
    return table.column(0).to_pylist()


@pytest.mark.parametrize("format_name", BINARY)
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("number", [NINES + 1, -NINES - 1, 2**127 - 1, -(2**127)])
def test_a_number_that_38_digits_cannot_hold_is_refused_by_its_column(
    client: httpx.Client, number: int, around: str, format_name: str
) -> None:
    sql = f"SELECT 1 AS a, {around.format(f'({number})::HUGEINT')} AS n"
    body = refused(ask(client, sql, format_name), 422, "'n'", "38 digits", format_name, "cast")
    assert body["type"] == "/problems/too-many-digits"


@pytest.mark.parametrize("number", [NINES + 1, -NINES - 1, 2**127 - 1, -(2**127)])
def test_text_has_every_digit_of_every_number(client: httpx.Client, number: int) -> None:
    sql = f"SELECT ({number})::HUGEINT AS n"
    assert ask(client, sql, "json").json()["rows"] == [[str(number)]]
    assert ask(client, sql, "ndjson").text == f'{{"n":"{number}"}}\n'
    assert ask(client, sql, "csv").text == f"n\r\n{number}\r\n"
    cast = ask(client, f"SELECT CAST(n AS VARCHAR) AS n FROM ({sql})", "parquet")
    assert rows(cast.content, "parquet") == [str(number)]


@pytest.mark.parametrize("format_name", ["arrow", "parquet", "orc"])
@pytest.mark.parametrize("number", [NINES, -NINES, 0])
def test_38_digits_are_a_decimal(client: httpx.Client, number: int, format_name: str) -> None:
    sql = f"SELECT v::HUGEINT AS n FROM (VALUES (NULL), ({number})) AS r(v) ORDER BY n NULLS FIRST"
    answer = ask(client, sql, format_name)
    assert rows(answer.content, format_name) == [None, Decimal(number)]


@pytest.mark.parametrize("format_name", BINARY)
@pytest.mark.parametrize("scale", [0, 2, 9, 38])
def test_a_sum_of_decimals_beyond_its_type_is_refused(
    client: httpx.Client, scale: int, format_name: str
) -> None:
    terms = [Decimal((0, (9,) * 38, -scale)), Decimal((0, (1,), -scale))]
    values = ", ".join(f"('{term:f}')" for term in terms)
    sql = f"SELECT sum(CAST(v AS DECIMAL(38,{scale}))) AS total FROM (VALUES {values}) AS r(v)"
    refused(ask(client, sql, format_name), 422, "'total'")
    total = Decimal((0, (1, *(0,) * 38), -scale))
    assert ask(client, sql, "json").json()["rows"] == [[f"{total:f}"]]


def test_sums_of_long_numbers_are_decimals_as_ever(client: httpx.Client) -> None:
    sql = f"SELECT sum(v) AS n FROM (VALUES ({2**63 - 1}), ({2**63 - 1})) AS r(v)"
    assert rows(ask(client, sql, "arrow").content, "arrow") == [Decimal(2**64 - 2)]


def test_a_number_too_long_behind_much_else_breaks_the_stream_off(server: SqlServer) -> None:
    sql = (
        f"SELECT CASE WHEN i = 999999 THEN {NINES + 1}::HUGEINT ELSE 0 END AS n"
        " FROM range(1000000) AS r(i)"
    )
    with httpx.Client(base_url=server.url, timeout=30) as client:
        headers = {"X-Lakehouse-Query-Id": "late-digits"}
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/v1/sql?format=arrow", json={"sql": sql}, headers=headers)
    assert server.outcome("late-digits") == "TooManyDigitsError"
