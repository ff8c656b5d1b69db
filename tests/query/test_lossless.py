"""A value is in its column what it was in the statement, or it is refused."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx
import pytest

from tests.services import lakehouse_server

NINES = "9" * 38
TYPES = {
    "n": "long",
    "wide": "decimal(38,0)",
    "wides": "list<decimal(38,0)>",
    "small": "int",
    "x": "double",
    "f": "float",
    "price": "decimal(9,2)",
    "day": "date",
    "at": "timestamp",
    "atz": "timestamptz",
    "t": "time",
    "ok": "boolean",
    "s": "string",
    "u": "uuid",
    "l": "list<long>",
    "st": "struct<a: long>",
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        lakehouse_server(tmp_path_factory.mktemp("lossless") / "data") as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        columns = [{"name": "id", "type": "long"}]
        columns += [{"name": name, "type": type_} for name, type_ in TYPES.items()]
        made = client.post("/v1/tables", json={"name": "kinds", "columns": columns})
        assert made.status_code == 201, made.text
        yield client


@pytest.fixture
def kinds(client: httpx.Client) -> httpx.Client:
    """A client beside a table of one row, with a column of each type."""
    one = "SELECT 1 AS id, " + ", ".join(f'NULL AS "{name}"' for name in TYPES)
    answer = fill(client, one, "overwrite")
    assert answer.status_code == 200, answer.text
    return client


def fill(client: httpx.Client, sql: str, mode: str, **more: Any) -> httpx.Response:
    return client.post("/v1/tables/kinds/from-query", json={"sql": sql, "mode": mode, **more})


def ways(client: httpx.Client, column: str, value: str) -> list[httpx.Response]:
    """Put a value into a column in every way that SQL has."""
    filled = ", ".join(f'{value if name == column else "NULL"} AS "{name}"' for name in TYPES)
    row = f"SELECT 2 AS id, {filled}"
    body = {"set": {column: value}, "where": "id = 1"}
    return [
        client.post("/v1/tables/kinds/update", json=body),
        fill(client, row, "append"),
        fill(client, row, "upsert", key=["id"]),
        fill(client, row, "overwrite"),
    ]


KEPT = [
    ("n", "2.0", 2),
    ("n", "4 / 2", 2),
    ("n", "'7'", 7),
    ("n", "9223372036854775807::HUGEINT", 9223372036854775807),
    ("n", "NULL", None),
    ("wide", f"{NINES}::HUGEINT", NINES),
    ("wide", f"(-{NINES})::HUGEINT", f"-{NINES}"),
    ("wide", f"{NINES}::UHUGEINT", NINES),
    ("wide", f"{NINES}::DECIMAL(38,0)", NINES),
    ("wides", f"[(-{NINES})::DECIMAL(38,0), NULL]", [f"-{NINES}", None]),
    ("small", "2147483647", 2147483647),
    ("x", "9007199254740992", 9007199254740992.0),
    ("x", "0.1", 0.1),
    ("x", "'0.12345678901234567'", 0.12345678901234567),
    ("x", "'NaN'", "NaN"),
    ("f", "0.5::DOUBLE", 0.5),
    ("f", "0.1::DOUBLE", 0.1),
    ("f", "'Infinity'::DOUBLE", "Infinity"),
    ("price", "12.30", "12.30"),
    ("price", "12.3::DOUBLE", "12.30"),
    ("price", "'12.300'", "12.30"),
    ("price", "7", "7.00"),
    ("day", "'2024-05-01'", "2024-05-01"),
    ("day", "TIMESTAMP '2024-05-01 00:00:00'", "2024-05-01"),
    ("at", "DATE '2024-05-01'", "2024-05-01T00:00:00"),
    ("at", "'2024-05-01 10:00'", "2024-05-01T10:00:00"),
    ("at", "TIMESTAMPTZ '2024-05-01 10:00:00+02'", "2024-05-01T08:00:00"),
    ("atz", "'2024-05-01T10:00:00+02:00'", "2024-05-01T08:00:00Z"),
    ("atz", "TIMESTAMP '2024-05-01 10:00:00'", "2024-05-01T10:00:00Z"),
    ("t", "'10:30'", "10:30:00"),
    ("t", "CAST(TIMESTAMP '2024-05-01 10:30:00' AS TIME)", "10:30:00"),
    ("ok", "1", True),
    ("s", "7", "7"),
    (
        "u",
        "'7f8e5a3c-1c2d-4e5f-8a9b-0c1d2e3f4a5b'",
        "7f8e5a3c-1c2d-4e5f-8a9b-0c1d2e3f4a5b",
    ),
    ("l", "[1.0, NULL]", [1, None]),
    ("st", "{'a': 2.0}", {"a": 2}),
]


@pytest.mark.parametrize(("column", "value", "stored"), KEPT)
def test_a_value_that_its_column_can_hold_is_taken(
    kinds: httpx.Client, column: str, value: str, stored: object
) -> None:
    for answer in ways(kinds, column, value):
        assert answer.status_code == 200, answer.text
        sql = f'SELECT DISTINCT "{column}" FROM kinds WHERE "{column}" IS NOT NULL'
        found = kinds.post("/v1/sql", json={"sql": sql}).json()["rows"]
        assert found == ([] if stored is None else [[stored]])


LOST = [
    ("n", "1.7", "1.7"),
    ("n", "3 / 2", "1.5"),
    ("n", "'1.7'", "1.7"),
    ("n", "'x'", "x"),
    ("n", "1e30", "1e+30"),
    ("n", "'NaN'::DOUBLE", "nan"),
    ("n", "9223372036854775808", "9223372036854775808"),
    ("small", "2147483648", "2147483648"),
    ("wide", f"({NINES}::HUGEINT + 1)", f"1{'0' * 38}"),
    ("wide", f"(-{NINES}::HUGEINT - 1)", f"-1{'0' * 38}"),
    ("wide", f"{2**128 - 1}::UHUGEINT", str(2**128 - 1)),
    ("x", "9007199254740993", "9007199254740993"),
    ("x", "'1e400'", "1e400"),
    ("f", "1e39", "1e+39"),
    ("f", "16777217", "16777217"),
    ("price", "12.345", "12.345"),
    ("price", "'12.345'", "12.345"),
    ("price", "0.1::DOUBLE + 0.2::DOUBLE", "0.30000000000000004"),
    ("price", "12345678", "12345678"),
    ("day", "TIMESTAMP '2024-05-01 10:00:00'", "2024-05-01 10:00:00"),
    ("day", "'2024-05-01 10:00:00'", "2024-05-01 10:00:00"),
    ("day", "DATE 'infinity'", "infinite"),
    ("at", "'2024-05-01T10:00:00+02:00'", "+02:00"),
    ("at", "'2024-05-01T10:00:00.1234567'", "1234567"),
    ("at", "TIMESTAMP_NS '2024-05-01 10:00:00.123456789'", "nanoseconds"),
    ("t", "TIMESTAMP '2024-05-01 10:30:00'", "2024-05-01 10:30:00"),
    ("ok", "2", "2"),
    ("u", "'7f8e'", "7f8e"),
    ("l", "[1, 1.7]", "1.7"),
    ("st", "{'a': 1.7}", "1.7"),
    ("st", "{'a': 1, 'b': 2}", "'b': 2"),
]


@pytest.mark.parametrize(("column", "value", "shown"), LOST)
def test_a_value_that_its_column_would_change_is_refused(
    kinds: httpx.Client, column: str, value: str, shown: str
) -> None:
    before = kinds.get("/v1/tables/kinds").json()
    for answer in ways(kinds, column, value):
        assert answer.status_code == 422, answer.text
        problem = answer.json()
        assert problem["type"] == "/problems/value-lost"
        assert f"column {column!r}" in problem["detail"]
        assert shown in problem["detail"]
    assert kinds.get("/v1/tables/kinds").json() == before


NAMED_LIKE_A_TYPE = "{{'DECIMAL(38,0)': {}}}"


@pytest.mark.parametrize("sign", [0, 1])
@pytest.mark.parametrize("scale", [0, 2, 38])
@pytest.mark.parametrize("around", ["{}", "[{}]", NAMED_LIKE_A_TYPE, "MAP {{1: {}}}"])
def test_a_sum_of_decimals_beyond_its_type_is_refused(
    client: httpx.Client, sign: int, scale: int, around: str
) -> None:
    most, least = Decimal((sign, (9,) * 38, -scale)), Decimal((sign, (1,), -scale))
    for terms, status in ([most], 200), ([most, least], 422):
        values = ", ".join(f"('{term:f}')" for term in terms)
        total = f"SELECT sum(CAST(v AS DECIMAL(38,{scale}))) AS v FROM (VALUES {values}) AS r(v)"
        body = {"sql": f"SELECT {around.format('v')} AS v FROM ({total})", "mode": "overwrite"}
        answer = client.post("/v1/tables/sums/from-query", json=body)
        assert answer.status_code == status, answer.text
    assert answer.json()["type"] == "/problems/value-lost"
    # The engine writes such a number as a byte of its memory and 38 zeros.
    assert scale < 38 or f"{'-' * sign}1.0" in answer.json()["detail"]
    client.delete("/v1/tables/sums")


def test_a_row_that_an_update_leaves_alone_is_not_looked_at(kinds: httpx.Client) -> None:
    assert fill(kinds, "SELECT * REPLACE (2 AS id) FROM kinds", "append").status_code == 200
    body = {"set": {"n": "id / 2"}, "where": "id = 2"}
    assert kinds.post("/v1/tables/kinds/update", json=body).json()["updated_rows"] == 1
    body = {"set": {"n": "id / 2"}, "where": "true"}
    assert kinds.post("/v1/tables/kinds/update", json=body).status_code == 422


def test_an_update_that_changes_nothing_commits_nothing(kinds: httpx.Client) -> None:
    assert fill(kinds, "SELECT * REPLACE (2 AS id, 5 AS n) FROM kinds", "append").status_code == 200
    at = kinds.get("/v1/tables/kinds").json()["snapshot_id"]
    for values in ({"n": "n"}, {"n": "n", "s": "NULL", "l": "l"}):
        done = kinds.post("/v1/tables/kinds/update", json={"set": values, "where": "true"}).json()
        assert (done["updated_rows"], done["rewritten_files"]) == (0, 0)
    assert kinds.get("/v1/tables/kinds").json()["snapshot_id"] == at
    body = {"set": {"n": "5"}, "where": "true"}
    done = kinds.post("/v1/tables/kinds/update", json=body).json()
    assert (done["updated_rows"], done["rewritten_files"]) == (1, 1)
    found = kinds.post("/v1/sql", json={"sql": "SELECT id, n FROM kinds ORDER BY id"})
    assert found.json()["rows"] == [[1, 5], [2, 5]]
