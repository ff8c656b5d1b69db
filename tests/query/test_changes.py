"""Rows changed by SQL over HTTP, and what is no condition of one table."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.services import ServerProcess, lakehouse_server

ROWS = [
    {"id": 1, "city": "Bern", "price": 10.5},
    {"id": 2, "city": "Basel", "price": 20.0},
    {"id": 3, "city": None, "price": 30.0},
]
COLUMNS = [
    {"name": "id", "type": "long"},
    {"name": "city", "type": "string"},
    {"name": "price", "type": "double"},
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with lakehouse_server(tmp_path_factory.mktemp("changes") / "data") as server:
        yield server


@pytest.fixture
def client(lake: ServerProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=lake.url, timeout=30) as client:
        yield client


@pytest.fixture
def shop(client: httpx.Client) -> Iterator[httpx.Client]:
    """A client beside a table `shop` of three rows, and one named `other`."""
    for name in ("shop", "other"):
        made = client.post("/v1/tables", json={"name": name, "columns": COLUMNS})
        assert made.status_code == 201, made.text
        assert client.post(f"/v1/tables/{name}/rows", json={"rows": ROWS}).status_code == 201
    yield client
    for name in ("shop", "other", "made"):
        client.delete(f"/v1/tables/{name}", params={"purge": "true"})


def change(client: httpx.Client, what: str, expect: int = 200, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/tables/shop/{what}", json=body)
    assert answer.status_code == expect, answer.text
    found: dict[str, Any] = answer.json()
    return found


def rows(client: httpx.Client, sql: str = "SELECT * FROM shop ORDER BY id") -> list[list[Any]]:
    answer = client.post("/v1/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    found: list[list[Any]] = answer.json()["rows"]
    return found


def test_a_delete_is_seen_by_the_next_statement(shop: httpx.Client) -> None:
    done = change(shop, "delete", where="city = 'Bern' AND shop.price < 11")
    assert (done["deleted_rows"], done["row_count"], done["rewritten_files"]) == (1, 2, 1)
    assert [row[0] for row in rows(shop)] == [2, 3]


def test_an_erasure_leaves_no_file_with_the_rows(shop: httpx.Client, lake: ServerProcess) -> None:
    shop.post("/v1/tables/shop/rows", json={"rows": [{"id": 9, "city": "Xanadu-0815", "price": 1}]})
    change(shop, "update", set={"price": "2"}, where="id = 9")
    (uuid,) = {shop.get("/v1/tables/shop").json()["uuid"]}
    (folder,) = (lake.data_dir / "warehouse/tables/main").glob(f"shop-{uuid[:8]}")
    named = [each for each in folder.rglob("*.*") if b"Xanadu-0815" in each.read_bytes()]
    assert named, "the test must be able to see them: Parquet's bounds are plain"
    done = change(shop, "delete", where="city = 'Xanadu-0815'", erase=True)
    assert (done["deleted_rows"], done["expired_snapshots"]) == (1, 2)
    assert done["deleted_files"] >= 4
    assert [each for each in folder.rglob("*.*") if b"Xanadu-0815" in each.read_bytes()] == []
    assert len(rows(shop)) == 3


def test_an_erasure_leaves_nothing_of_what_loads_said_of_bad_cells(
    shop: httpx.Client, lake: ServerProcess
) -> None:
    secret = "Xanadu-4711"

    def load(on_error: str, price: int, **headers: str) -> httpx.Response:
        params = {"name": "shop", "mode": "append", "on_error": on_error}
        rows = f"id,city,price\n{secret},Bern,1\n7,{secret},{price}\n"
        files = {"file": ("bad.csv", rows.encode())}
        return shop.post("/v1/ingest", params=params, files=files, headers=headers)

    def ended(started: httpx.Response) -> str:
        while (job := shop.get(started.headers["Location"]).json())["ended_at"] is None:
            time.sleep(0.02)
        return str([job["result"], job["error"]])

    first = load("reject", 1, **{"Idempotency-Key": "quoting"}).json()
    (bad,) = first["rejected"]["rows"]
    assert secret in bad["reason"]
    jobs = [load(on_error, 2, Prefer="respond-async") for on_error in ("reject", "fail")]
    assert all(secret in ended(each) for each in jobs)

    change(shop, "delete", where=f"city = '{secret}'", erase=True)

    found = [
        each.relative_to(lake.data_dir)
        for each in lake.data_dir.rglob("*")
        if each.is_file() and secret.encode() in each.read_bytes()
    ]
    assert found == []
    assert (lake.data_dir / "warehouse/_catalog/catalog.db").exists()
    assert [shop.get(each.headers["Location"]).status_code for each in jobs] == [404, 404]
    again = load("reject", 1, **{"Idempotency-Key": "quoting"}).json()
    (kept,) = again["rejected"]["rows"]
    assert {**again, "rejected": None} == {**first, "rejected": None}
    assert {**kept, "reason": bad["reason"]} == bad
    assert "first answer" in kept["reason"]


def test_values_are_bound_by_place_and_by_name(shop: httpx.Client) -> None:
    change(
        shop,
        "update",
        set={"city": "coalesce(city, ?)", "price": "price + ?"},
        where="id >= ?",
        parameters=["O'Hara", 0.5, 2],
    )
    assert rows(shop)[1:] == [[2, "Basel", 20.5], [3, "O'Hara", 30.5]]
    done = change(
        shop, "delete", where="city = $city OR id = $id", parameters={"city": "x", "id": 1}
    )
    assert done["deleted_rows"] == 1


@pytest.mark.parametrize(
    "where",
    [
        "1=1) OR (SELECT 1",
        "true\0 AND false",
        "1=1) OR (SELECT count(*) FROM other) > 0 OR (1=1",
        "id IN (SELECT id FROM other)",
        "EXISTS (SELECT 1 FROM other)",
        "(SELECT max(id) FROM shop) = id",
        "true; DROP TABLE shop",
        "true; SELECT 1",
        "true UNION SELECT * FROM other",
        "true GROUP BY ALL",
        "true ORDER BY id",
        "true LIMIT 1",
        "true QUALIFY true",
        "true HAVING true",
        "true USING SAMPLE 1",
        "row_number() OVER () = 1",
        "random() < 0.5",
        "read_text('/etc/passwd') = ''",
        "getenv('HOME') = ''",
        "other.id = 1",
        "count(*) > 1",
        "unnest([true, false])",
        "id, id",
        "/*",
        "",
        "  ",
        "-- nothing",
        "*",
        "id",
        "price * 2",
        "'x'",
        "price > 1e400",
        "COLUMNS(*) = 1",
        "COLUMNS(*)::VARCHAR = '3'",
        "shop IS NOT NULL",
        "CAST(shop AS VARCHAR) LIKE '%tmp%'",
        "id = ?",
        "repeat('x', 1000000000) = ''",
    ],
)
def test_what_is_no_condition_of_the_table_is_refused(shop: httpx.Client, where: str) -> None:
    problem = change(shop, "delete", expect=400, where=where)
    assert problem["detail"]
    assert len(rows(shop)) == len(rows(shop, "SELECT * FROM other")) == 3


@pytest.mark.parametrize(
    "value",
    [
        "(SELECT 1)",
        "1\0 + id",
        "max(id)",
        "1 FROM other",
        "1, city",
        "random()",
        "unnest([1, 2])",
        "generate_subscripts([1, 2], 1)",
        "COLUMNS(*) + 1",
    ],
)
def test_what_is_no_value_of_the_row_is_refused(shop: httpx.Client, value: str) -> None:
    change(shop, "update", expect=400, set={"price": value}, where="true")
    assert rows(shop) == rows(shop, "SELECT * FROM other ORDER BY id")


@pytest.mark.parametrize(
    ("parameters", "words"),
    [([1, 2], "the parameter '2' is given"), ({"x": 1}, "the parameter '1'"), ([[1]], "a number")],
)
def test_parameters_that_do_not_fit_are_refused(
    shop: httpx.Client, parameters: Any, words: str
) -> None:
    problem = change(shop, "delete", expect=400, where="id = ?", parameters=parameters)
    assert words in problem["detail"]
    assert len(rows(shop)) == 3


@pytest.mark.parametrize(
    ("where", "deleted"),
    [
        ("id = ANY([1, 3, 4])", 2),
        ("NOT (id = ANY([1, 3, 4]))", 1),
        ("NOT (id = ANY([1, NULL]))", 0),
        ("id = ANY([$a, $b])", 2),
    ],
)
def test_a_value_is_looked_for_in_a_list(shop: httpx.Client, where: str, deleted: int) -> None:
    parameters = {"a": 1, "b": 2} if "$" in where else {}
    done = change(shop, "delete", where=where, parameters=parameters)
    assert done["deleted_rows"] == deleted


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("max(id) = 3", "max, which is of many rows"),
        ("count(*) > 1", "count(*), which is of many rows"),
        ("id = ANY(SELECT id FROM other)", "subquery"),
        ("id > ANY([1, 2])", "subquery"),
        ("unnest([true])", "unnest, which makes rows"),
    ],
)
def test_why_a_condition_is_none_of_one_row_is_said(
    shop: httpx.Client, where: str, words: str
) -> None:
    assert words in change(shop, "delete", expect=400, where=where)["detail"]


def test_a_mistake_is_placed_in_the_condition_alone(shop: httpx.Client) -> None:
    problem = change(shop, "delete", expect=400, where="id = 1 AND\n  city = )")
    assert problem["detail"].startswith("line 2, column 10: ")
    problem = change(shop, "update", expect=400, set={"price": "1 +)"}, where="true")
    assert problem["detail"].startswith("line 1, column 4: ")


def test_comments_and_keywords_as_names_are_no_trouble(shop: httpx.Client) -> None:
    done = change(shop, "delete", where="id = 1 -- the first\n OR main.shop.id = 2 /* and */")
    assert done["deleted_rows"] == 2


def test_an_unknown_column_is_named(shop: httpx.Client) -> None:
    assert "town" in change(shop, "delete", expect=400, where="town = 'Bern'")["detail"]
    assert "town" in change(shop, "update", expect=400, set={"town": "1"}, where="true")["detail"]


def test_a_column_that_is_set_twice_is_refused(shop: httpx.Client) -> None:
    both = {"price": "1", "PRICE": "2"}
    refused = change(shop, "update", expect=400, set=both, where="true")
    assert "'price' and 'PRICE'" in refused["detail"]


@pytest.mark.parametrize(
    ("what", "body", "field"),
    [
        ("delete", '{"where": "id = 1", "where": "true"}', "where"),
        ("update", '{"set": {"price": "1", "price": "2"}, "where": "true"}', "set.price"),
        ("update", '{"set": {"price": "1"}, "where": "id = 1", "where": "true"}', "where"),
        ("from-query", '{"sql": "SELECT 1 AS a", "sql": "SELECT 2 AS a"}', "sql"),
    ],
)
def test_a_body_that_has_a_field_twice_is_refused(
    shop: httpx.Client, what: str, body: str, field: str
) -> None:
    answer = shop.post(f"/v1/tables/shop/{what}", content=body)
    assert answer.status_code == 400, answer.text
    (error,) = answer.json()["context"]["errors"]
    assert error == {"field": field, "message": f"the field {field!r} is twice", "in": "body"}
    assert len(rows(shop)) == 3


def test_an_unknown_table_and_unknown_fields(shop: httpx.Client) -> None:
    answer = shop.post("/v1/tables/shopp/delete", json={"where": "true"})
    assert answer.status_code == 404
    assert shop.post("/v1/tables/shop/delete", json={"were": "true"}).status_code == 400
    assert shop.post("/v1/tables/shop/update", json={"set": {}, "where": "true"}).status_code == 400


def test_a_change_sent_again_under_its_key_happens_once(shop: httpx.Client) -> None:
    headers = {"Idempotency-Key": "raise-prices"}
    body = {"set": {"price": "price * 2"}, "where": "true"}
    first = shop.post("/v1/tables/shop/update", json=body, headers=headers)
    again = shop.post("/v1/tables/shop/update", json=body, headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.content == again.content
    assert rows(shop)[0] == [1, "Bern", 21.0]
    other = {**body, "where": "id = 1"}
    assert shop.post("/v1/tables/shop/update", json=other, headers=headers).status_code == 422


def test_a_table_is_made_from_a_query_and_merged_into_by_another(shop: httpx.Client) -> None:
    url = "/v1/tables/made/from-query"
    sql = "SELECT city, sum(price) AS total, count(*) AS n FROM shop GROUP BY city ORDER BY city"
    made = shop.post(url, json={"sql": sql})
    assert made.status_code == 200, made.text
    assert made.json()["created"] is True
    assert made.json()["columns"] == [
        {"name": "city", "type": "string"},
        {"name": "total", "type": "double"},
        {"name": "n", "type": "long"},
    ]
    assert shop.post(url, json={"sql": sql}).status_code == 409
    sql = "SELECT 'Bern' AS city, 1.0::DOUBLE AS total, 7 AS n UNION ALL SELECT 'Chur', 2, 1"
    merged = shop.post(url, json={"sql": sql, "mode": "upsert", "key": ["city"]})
    assert merged.status_code == 200, merged.text
    assert (merged.json()["added_rows"], merged.json()["updated_rows"]) == (1, 1)
    found = rows(shop, "SELECT * FROM made ORDER BY city NULLS LAST")
    assert found == [["Basel", 20.0, 1], ["Bern", 1.0, 7], ["Chur", 2.0, 1], [None, 30.0, 1]]


@pytest.mark.parametrize("more", [{"mode": "append"}, {"mode": "upsert", "key": ["ID"]}])
def test_columns_of_a_query_are_the_tables_whatever_their_case(
    shop: httpx.Client, more: dict[str, Any]
) -> None:
    sql = "SELECT 9 AS ID, 'Uri' AS City, 1.5 AS PRICE UNION ALL SELECT 8, 'Zug', 2 ORDER BY 1"
    done = shop.post("/v1/tables/shop/from-query", json={"sql": sql, **more})
    assert done.status_code == 200, done.text
    assert rows(shop)[3:] == [[8, "Zug", 2.0], [9, "Uri", 1.5]]


def test_a_table_replaced_by_a_query_over_itself_loses_no_append(shop: httpx.Client) -> None:
    body = {"sql": "SELECT * FROM shop", "mode": "overwrite"}
    answers: list[httpx.Response] = []

    def rewrite() -> None:
        for _ in range(4):
            answers.append(shop.post("/v1/tables/shop/from-query", json=body))

    thread = threading.Thread(target=rewrite)
    thread.start()
    for number in range(12):
        row = {"id": 100 + number, "city": "x", "price": 1}
        assert shop.post("/v1/tables/shop/rows", json={"rows": [row]}).status_code == 201
    thread.join()
    assert {each.status_code for each in answers} <= {200, 409}
    assert len(rows(shop)) == 15


def test_a_table_is_made_what_it_was_by_a_query(shop: httpx.Client) -> None:
    first = shop.get("/v1/tables/shop").json()["snapshot_id"]
    change(shop, "delete", where="id > 1")
    body = {"sql": f"SELECT * FROM shop AT (VERSION => {first})", "mode": "overwrite"}
    assert shop.post("/v1/tables/shop/from-query", json=body).status_code == 200
    assert len(rows(shop)) == 3


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"sql": "SELECT 1 AS a, 2 AS a"}, "a"),
        ({"sql": "SELECT * FROM nowhere"}, "nowhere"),
        ({"sql": "DELETE FROM shop"}, "SELECT"),
        ({"sql": "SELECT 1 AS a", "mode": "upsert"}, "key"),
        ({"sql": "SELECT 1 AS a", "key": ["a"]}, "key"),
        ({"sql": "SELECT union_value(a := 1) AS a"}, "a"),
    ],
)
def test_a_query_that_makes_no_table_is_refused(
    shop: httpx.Client, body: dict[str, Any], words: str
) -> None:
    answer = shop.post("/v1/tables/made/from-query", json=body)
    assert answer.status_code == 400, answer.text
    assert words in answer.json()["detail"]
    assert shop.get("/v1/tables/made").status_code == 404


ENDLESS = "SELECT count(*) AS n FROM range(10000000) a(i), range(10000000) b(j) WHERE i * j % 7 = 8"


def test_a_change_has_a_time_and_is_stopped_by_its_id(tmp_path: Path) -> None:
    with (
        lakehouse_server(tmp_path / "data", LAKEHOUSE_QUERY__CHANGE_TIMEOUT_S="2") as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
        ThreadPoolExecutor(1) as pool,
    ):

        def make() -> httpx.Response:
            body = {"sql": ENDLESS, "mode": "create"}
            return client.post("/v1/tables/made/from-query", json=body)

        def running() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = client.get("/v1/queries").json()["items"]
            return found

        too_long = make()
        assert (too_long.status_code, too_long.json()["type"]) == (422, "/problems/change-timeout")
        assert "respond-async" in too_long.json()["detail"]
        stopping = pool.submit(make)
        deadline = time.monotonic() + 10
        while not (found := running()):
            assert time.monotonic() < deadline
        assert (found[0]["sql"], found[0]["tables"]) == (ENDLESS, ["main.made"])
        assert client.delete(f"/v1/queries/{found[0]['query_id']}").status_code == 204
        assert stopping.result().json()["type"] == "/problems/statement-cancelled"
        assert client.get("/v1/tables/made").status_code == 404
        assert running() == []
        assert client.post("/v1/tables/made/from-query", json={"sql": "SELECT 1 AS n"}).is_success
        changed = client.post("/v1/tables/made/update", json={"set": {"n": "2"}, "where": "true"})
        assert changed.json()["updated_rows"] == 1
