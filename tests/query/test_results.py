"""Long results, slow clients, and statements that must end."""

import json
import random
import socket
import struct
import threading
import time
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from lakehouse.config import QueryConfig
from lakehouse.database import Connection, Database, DatabaseSettings, EngineError
from lakehouse.query import Query, Spool
from lakehouse.query.models import ResultColumn
from lakehouse.query.pages import Allowance, fill
from lakehouse.query.query import twice
from lakehouse.query.run_errors import (
    EngineDownError,
    InterruptedStatementError,
    MemoryPressureError,
    NoTextError,
    ResultNotFoundError,
    ResultTooLargeError,
    SpoolFullError,
    StatementFailedError,
    TableUnreadableError,
    clean_message,
)
from lakehouse.query.running import translated
from lakehouse.query.statements import Running
from tests.query.conftest import CONCURRENCY_MAX, PAGE_BYTES, ROWS, SqlServer, wait_for
from tests.query.test_sql_routes import refused, sql

LONG = "SELECT count(*) FROM numbers a, numbers b, numbers c WHERE (a.id * b.id + c.id) % 7 = 3"
MANY = "SELECT a.id, b.name FROM numbers a, numbers b"  # 400 million rows


def raw_post(server: SqlServer, path: str, query_id: str, **body: object) -> socket.socket:
    """Send a statement on a socket of our own and return it, the answer unread."""
    data = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nX-Lakehouse-Query-Id: {query_id}\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    client = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    client.sendall(head.encode() + data)
    return client


def rest_of(client: socket.socket) -> bytes:
    """Return the last bytes that come before the server closes."""
    last = b""
    with client:
        while data := client.recv(1 << 20):
            last = (last + data)[-64:]
    return last


def running(server: SqlServer) -> set[str]:
    return server.queries[-1].running()


def test_a_long_result_comes_in_pages_of_one_snapshot(
    client: httpx.Client, server: SqlServer
) -> None:
    answer = sql(client, "SELECT id, name FROM numbers ORDER BY id")
    server.write("SELECT -1::BIGINT AS id, 'another snapshot' AS name")
    try:
        rows, pages = [], 0
        body = answer.json()
        while True:
            assert len(answer.content) < PAGE_BYTES + 1000
            assert body["row_count"] == len(body["rows"])
            rows += body["rows"]
            pages += 1
            assert body["truncated"] == (body["next"] is not None)
            if body["next"] is None:
                break
            answer = client.get(body["next"])
            assert answer.status_code == 200
            body = answer.json()

        assert pages > 3
        assert rows == [[n, f"number {n}"] for n in range(ROWS)]
    finally:
        server.write(f"SELECT range AS id, 'number ' || range AS name FROM range({ROWS})")


def test_a_page_can_be_read_twice_and_the_result_deleted(client: httpx.Client) -> None:
    following = sql(client, "SELECT id, name FROM numbers").json()["next"]
    assert client.get(following).json() == client.get(following).json()

    path = following.partition("?")[0]
    refused(client.get(f"{path}?offset=99999999"), 400, "offset")
    assert client.delete(path).status_code == 204
    refused(client.get(following), 404, "run the statement again")
    refused(client.delete(path), 404)


def test_an_unknown_result_says_that_it_may_have_expired(client: httpx.Client) -> None:
    refused(client.get("/v1/sql/results/nope?offset=0"), 404, "15 minutes")


def test_a_truncated_answer_has_no_etag(client: httpx.Client) -> None:
    answer = client.get("/v1/sql", params={"sql": "SELECT id, name FROM numbers"})
    assert answer.json()["truncated"]
    assert "etag" not in answer.headers


def test_a_result_beyond_the_spool_is_refused_and_says_what_streams(
    client: httpx.Client, server: SqlServer
) -> None:
    before = sorted((server.spool_dir / "results").iterdir())
    refused(sql(client, MANY), 413, "Arrow", "LIMIT")
    assert sorted((server.spool_dir / "results").iterdir()) == before


def test_a_late_error_still_has_its_status_in_json(client: httpx.Client) -> None:
    late = "CAST(CASE WHEN id = 19999 THEN 'late' ELSE '1' END AS INTEGER)"
    refused(sql(client, f"SELECT {late}, name FROM numbers"), 400, "late")


def test_a_late_error_in_a_stream_cuts_the_connection(server: SqlServer) -> None:
    """The status is gone by then; without its last chunk no client takes it for the whole."""
    late = "CAST(CASE WHEN a.id = 19999 THEN 'late' ELSE '1' END AS INTEGER)"
    statement = f"SELECT {late}, a.name, b.name FROM numbers a, numbers b WHERE b.id < 50"
    client = raw_post(server, "/v1/sql?format=csv", "late-error", sql=statement)
    assert client.recv(15) == b"HTTP/1.1 200 OK"
    assert not rest_of(client).endswith(b"0\r\n\r\n")
    assert server.outcome("late-error") == "StatementFailedError"


def test_a_statement_ends_at_its_time(client: httpx.Client) -> None:
    begun = time.monotonic()
    refused(sql(client, LONG, timeout_s=0.3), 422, "0.3 s", "timeout_s")
    assert time.monotonic() - begun < 3
    assert sql(client, "SELECT 1").status_code == 200


def test_the_time_of_a_stream_is_the_engines_and_not_the_clients(server: SqlServer) -> None:
    client = raw_post(server, "/v1/sql?format=csv", "slow-reader", sql=MANY, timeout_s=1)
    client.recv(1000)
    time.sleep(1.5)
    assert "slow-reader" in running(server)
    client.close()
    assert server.outcome("slow-reader") == "ClientGoneError"


@pytest.mark.parametrize("format_name", ["json", "csv"])
def test_a_statement_can_be_cancelled_by_its_id(
    client: httpx.Client, server: SqlServer, format_name: str
) -> None:
    query_id = f"cancelled-{format_name}"
    answers: list[httpx.Response] = []

    def send() -> None:
        headers = {"X-Lakehouse-Query-Id": query_id}
        path = f"/v1/sql?format={format_name}"
        answers.append(client.post(path, json={"sql": LONG}, headers=headers))

    thread = threading.Thread(target=send)
    thread.start()
    wait_for(lambda: query_id in running(server))
    same_id = {"X-Lakehouse-Query-Id": query_id}
    refused(client.post("/v1/sql", json={"sql": "SELECT 1"}, headers=same_id), 409, query_id)
    assert client.delete(f"/v1/sql/{query_id}").status_code == 204
    thread.join(timeout=5)
    refused(answers[0], 409, "cancelled")
    refused(client.delete(f"/v1/sql/{query_id}"), 404, query_id)


def test_a_stream_can_be_cancelled_while_its_reader_stalls(
    client: httpx.Client, server: SqlServer
) -> None:
    reader = raw_post(server, "/v1/sql?format=ndjson", "stalled", sql=MANY)
    reader.recv(1000)
    time.sleep(0.3)
    assert client.delete("/v1/sql/stalled").status_code == 204
    assert server.outcome("stalled") == "cancelled"
    state = client.get("/v1/sql/stalled").json()
    assert (state["state"], state["outcome"]) == ("ended", "cancelled")
    assert "cancelled" in state["reason"]
    assert not rest_of(reader).endswith(b"0\r\n\r\n")


@pytest.mark.parametrize("query_id", ["", "a b", "x" * 65, "a/b"])
def test_an_id_that_is_none_is_400(client: httpx.Client, query_id: str) -> None:
    headers = {"X-Lakehouse-Query-Id": query_id}
    refused(client.post("/v1/sql", json={"sql": "SELECT 1"}, headers=headers), 400)


@pytest.mark.parametrize("path", ["/v1/sql", "/v1/sql?format=arrow"])
def test_a_client_that_leaves_stops_its_statement(server: SqlServer, path: str) -> None:
    query_id = f"left-{len(path)}"
    client = raw_post(server, path, query_id, sql=LONG)
    wait_for(lambda: query_id in running(server))
    client.close()
    assert server.outcome(query_id) == "cancelled"
    assert next(e for e in server.ended if e.query_id == query_id).duration_s < 5


def test_slow_downloads_and_long_scans_do_not_stop_a_short_statement(
    client: httpx.Client, server: SqlServer
) -> None:
    slow = [raw_post(server, "/v1/sql?format=csv", f"slow-{n}", sql=MANY) for n in range(4)]
    long = [raw_post(server, "/v1/sql", f"long-{n}", sql=LONG) for n in range(4)]
    try:
        for download in slow:
            download.recv(1000)
        wait_for(lambda: len(running(server)) == 8)
        for _ in range(5):
            begun = time.monotonic()
            assert sql(client, "SELECT 1").json()["rows"] == [[1]]
            assert time.monotonic() - begun < 2
    finally:
        for each in slow + long:
            each.close()
    wait_for(lambda: not running(server))


def test_one_statement_too_many_is_503_with_a_time_to_retry(
    client: httpx.Client, server: SqlServer
) -> None:
    clients = [
        raw_post(server, "/v1/sql?format=csv", f"many-{n}", sql=MANY)
        for n in range(CONCURRENCY_MAX)
    ]
    try:
        wait_for(lambda: len(running(server)) == CONCURRENCY_MAX)
        answer = sql(client, "SELECT 1")
        problem = refused(answer, 503)
        assert problem["retryable"]
        assert answer.headers["retry-after"] == "1"
    finally:
        for each in clients:
            each.close()
    wait_for(lambda: not running(server))
    assert sql(client, "SELECT 1").status_code == 200


def test_too_little_memory_is_503_never_400(client: httpx.Client) -> None:
    greedy = "SELECT list(a.id) FROM numbers a, numbers b"
    problem = refused(sql(client, greedy), 503, "memory")
    assert problem["retryable"]


def test_who_lacked_memory_is_tried_once_more() -> None:
    tries: list[int] = []

    def build(lacking: int) -> str:
        tries.append(lacking)
        if len(tries) <= lacking:
            raise MemoryPressureError
        return "built"

    running = Running("q", "q", "json", 10)
    assert twice(running, lambda: build(1)) == "built"
    tries.clear()
    with pytest.raises(MemoryPressureError):
        twice(running, lambda: build(2))
    assert len(tries) == 2


def test_a_listener_hears_of_every_statement_once(client: httpx.Client, server: SqlServer) -> None:
    headers = {"X-Lakehouse-Query-Id": "heard"}
    client.post("/v1/sql", json={"sql": "SELECT id FROM numbers LIMIT 3"}, headers=headers)
    (event,) = [event for event in server.ended if event.query_id == "heard"]
    assert (event.outcome, event.row_count, event.format) == ("ok", 3, "json")
    assert event.tables == ("main.numbers",)


# Without a server.


async def test_a_failed_engine_is_told_to_the_server(tmp_path: Path) -> None:
    settings = DatabaseSettings(
        directories=(tmp_path,),
        temp_dir=tmp_path / "temp",
        memory_max_bytes=1 << 28,
        temp_max_bytes=1 << 20,
    )
    told: list[str] = []

    def work(cursor: Connection) -> None:
        raise EngineDownError

    with Database.open(settings) as database:
        async with Query(
            database,
            None,  # type: ignore[arg-type]
            QueryConfig(),
            Spool(tmp_path / "results"),
            on_fatal=lambda: told.append("fatal"),
        ).open() as query:
            with database.session() as session, pytest.raises(EngineDownError):
                await query._hop(Running("q", "q", "json", 10), session, work)
    assert told == ["fatal"]


def batches(rows: int, count: int) -> list[pa.RecordBatch]:
    """Return batches of numbers that no compression makes smaller."""
    numbers = random.Random(7)
    return [
        pa.record_batch({"a": pa.array([numbers.getrandbits(63) for _ in range(rows)])})
        for _ in range(count)
    ]


COLUMN = (ResultColumn("a", "BIGINT"),)


def test_a_page_has_one_row_however_long() -> None:
    batch = pa.record_batch({"a": pa.array(["x" * 1000, "y" * 1000])})
    page, rest = fill(iter([batch]), 10, Allowance())
    assert page.row_count == 1
    assert rest is not None
    assert sum(each.num_rows for each in rest) == 1


def test_bytes_that_are_no_text_are_told_as_what_they_are() -> None:
    allowance = Allowance(1_000)
    offsets, data = pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xc3.")
    batch = pa.record_batch({"v": pa.StringArray.from_buffers(1, offsets, data)})
    with pytest.raises(NoTextError, match="before the sum"):
        fill(iter([batch]), 1_000, allowance)
    assert allowance.take(1_000), "what the page had taken is given back"
    error = UnicodeDecodeError("utf-8", b"\xc3.", 0, 1, "invalid continuation byte")
    assert isinstance(translated(error), NoTextError), "the words of an error have such bytes, too"


def test_a_page_is_shorter_when_others_use_the_memory() -> None:
    allowance = Allowance(5_000)
    page, rest = fill(iter(batches(10, 50)), 1_000_000, allowance)
    assert page.size_bytes <= 5_000
    assert rest is not None
    second, _ = fill(rest, 1_000_000, allowance)
    assert second.row_count == 10  # it must have something
    page.release()
    second.release()
    third, rest = fill(iter(batches(10, 15)), 1_000_000, allowance)
    assert (third.row_count, rest) == (150, None)


def test_an_expired_result_is_gone_from_disk(tmp_path: Path) -> None:
    spool = Spool(tmp_path, kept_s=0.05)
    spooled = spool.store("q", COLUMN, batches(1, 1)[0].schema, batches(10, 3), 5)
    assert spool.page(spooled.result_id, 5, 10**6, Allowance())[1].row_count == 30
    time.sleep(0.1)
    with pytest.raises(ResultNotFoundError):
        spool.page(spooled.result_id, 5, 10**6, Allowance())
    assert not list(tmp_path.iterdir())


def test_a_start_removes_what_a_former_process_left(tmp_path: Path) -> None:
    (tmp_path / "old.arrow").write_bytes(b"x")
    Spool(tmp_path)
    assert not list(tmp_path.iterdir())


def test_results_share_one_quota(tmp_path: Path) -> None:
    schema = batches(1, 1)[0].schema
    spool = Spool(tmp_path, result_max_bytes=100_000, total_max_bytes=60_000)
    first = spool.store("q", COLUMN, schema, batches(1000, 5), 0)
    with pytest.raises(SpoolFullError):
        spool.store("q", COLUMN, schema, batches(1000, 7), 0)
    with pytest.raises(ResultTooLargeError):
        Spool(tmp_path / "b", result_max_bytes=9_000).store(
            "q", COLUMN, schema, batches(1000, 9), 0
        )
    spool.drop(first.result_id)
    spool.store("q", COLUMN, schema, batches(1000, 7), 0)
    assert len(list(tmp_path.glob("*.arrow"))) == 1


class Pin:
    table = "main.people"
    relation = "r_0123"


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (OSError("Conversion Error: Could not convert 'x' to INT32"), StatementFailedError),
        (EngineError("Out of Range Error: Overflow"), StatementFailedError),
        (EngineError("Out of Memory Error: no"), MemoryPressureError),
        (MemoryError(), MemoryPressureError),
        (pa.ArrowMemoryError("malloc of size 1 failed"), MemoryPressureError),
        (OSError("INTERRUPT Error: Interrupted!"), InterruptedStatementError),
        (EngineError("FATAL Error: database has been invalidated"), EngineDownError),
        (EngineError("IO Error: Cannot open file '/srv/x.parquet'"), TableUnreadableError),
        (EngineError("INTERNAL Error: a bug"), EngineDownError),
        (OSError(28, "No space left on device"), OSError),
    ],
)
def test_each_error_of_the_engine_means_one_thing(
    error: BaseException, means: type[BaseException]
) -> None:
    found = translated(error, [Pin()])
    assert isinstance(found, means)
    assert "/srv" not in str(found) or means is EngineError


def test_messages_hold_no_relation_path_or_place() -> None:
    text = (
        'Binder Error: Column "x" not in r_0123, see /srv/lake/house/a.parquet and '
        "s3://bucket/key\n\nLINE 1: SELECT x FROM r_0123\n               ^"
    )
    cleaned = clean_message(text, {"r_0123": "main.people"})
    assert cleaned == 'Column "x" not in main.people, see a file and a file'
    assert clean_message("Conversion Error: bad date '2020/01/02'") == "bad date '2020/01/02'"
