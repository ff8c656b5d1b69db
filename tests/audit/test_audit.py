"""The audit log: what is in it, when it is on the disk, who reads it, how long it stays."""

import asyncio
import hashlib
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from lakehouse.app import Lakehouse, create_app, open_lakehouse
from lakehouse.audit import SCHEMA, Audit, AuditRow
from lakehouse.audit.audit import INSERT, values_of
from lakehouse.auth import Grant, TokenCreate
from lakehouse.config import AuditConfig, Config, ServerConfig
from lakehouse.state import DataDirectory, SqliteState, State
from tests.services import client_of


def row_of(**fields: Any) -> AuditRow:
    blank: dict[str, Any] = {
        "began_at": time.time(),
        "caller": "somebody",
        "token_id": None,
        "address": "127.0.0.1",
        "trace_id": "t",
        "method": "POST",
        "path": "/v1/tables",
        "status": 201,
        "sql_sha256": None,
        "tables": [],
        "row_count": 0,
        "received_bytes": 0,
        "sent_bytes": 0,
        "duration_s": 0.0,
    }
    return AuditRow(**{**blank, **fields})


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with SqliteState.open(tmp_path / "catalog.db") as state:
        yield state


@pytest.fixture(scope="module")
async def audited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Lakehouse]:
    """A lakehouse with a writer of `sales`, whose secret is `writer`'s."""
    with DataDirectory.open(tmp_path_factory.mktemp("audited") / "data") as directory:
        async with open_lakehouse(Config(), directory, secrets=["a" * 40]) as lake:
            lake.catalog.namespaces.create("sales")
            yield lake


@pytest.fixture(scope="module")
def secret(audited: Lakehouse) -> str:
    return audited.tokens.create(TokenCreate("writer", [Grant("writer", "sales")])).token


def table_of(audit: Audit) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    audit.read(batches.append)
    return pa.Table.from_batches(batches, SCHEMA)


async def asked(lake: Lakehouse, secret: str, method: str, path: str, **kw: Any) -> httpx.Response:
    async with client_of(create_app(lake)) as client:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        return await client.request(method, path, headers=headers, **kw)


async def rows(lake: Lakehouse, where: str = "true") -> list[dict[str, Any]]:
    """Return what an admin reads of the log."""
    sql = f"SELECT * FROM lakehouse.audit WHERE {where} ORDER BY audit_id"
    answer = await asked(lake, "a" * 40, "POST", "/v1/sql", json={"sql": sql})
    assert answer.status_code == 200, answer.text
    names = [each["name"] for each in answer.json()["columns"]]
    return [dict(zip(names, each, strict=True)) for each in answer.json()["rows"]]


async def test_a_write_is_in_the_log_when_it_is_answered(audited: Lakehouse, secret: str) -> None:
    columns = [{"name": "id", "type": "long"}, {"name": "word", "type": "string"}]
    body = {"name": "sales.orders", "columns": columns}
    await asked(audited, secret, "POST", "/v1/tables", json=body)
    added = {"rows": [{"id": 1, "word": "marker-of-a-value"}, {"id": 2, "word": "x"}]}
    answer = await asked(audited, secret, "POST", "/v1/tables/sales.orders/rows", json=added)
    found = table_of(audited.audit).to_pylist()  # nothing in between that could write it
    made, appended = [each for each in found if each["caller"] == "writer"][-2:]
    assert (made["path"], made["tables"]) == ("/v1/tables", ["sales.orders"])
    assert (appended["path"], appended["tables"]) == (
        "/v1/tables/sales.orders/rows",
        ["sales.orders"],
    )
    deadline = time.monotonic() + 10
    while {each["status"] for each in found} != {201}:
        assert time.monotonic() < deadline, "how it was answered is there within a second"
        await asyncio.sleep(0.1)
        found = [e for e in table_of(audited.audit).to_pylist() if e["caller"] == "writer"]
    assert len(found) == 2, "a change and its request are one row"
    assert found[1]["row_count"] == 2
    assert found[1]["received_bytes"] > 50
    assert appended["trace_id"] == answer.headers["X-Lakehouse-Trace-Id"]
    assert "marker-of-a-value" not in str(found)


async def test_a_change_that_fails_leaves_no_row_of_one_that_happened(
    audited: Lakehouse, secret: str
) -> None:
    before = len(table_of(audited.audit))
    body = {"name": "sales.orders", "columns": [{"name": "id", "type": "long"}]}
    answer = await asked(audited, secret, "POST", "/v1/tables", json=body)
    assert answer.status_code == 409
    (row,) = table_of(audited.audit).to_pylist()[before:]
    assert row["status"] == 409


async def test_requests_that_share_a_commit_have_a_row_each(
    audited: Lakehouse, secret: str
) -> None:
    before = len(table_of(audited.audit))
    path, rows_sent = "/v1/tables/sales.orders/rows", [{"id": 5}, {"id": 6}, {"id": 7}]
    bodies = [{"rows": [row]} for row in rows_sent] + [{"rows": [{"id": "bad"}]}]
    answers = await asyncio.gather(
        *(asked(audited, secret, "POST", path, json=body) for body in bodies)
    )
    assert [each.status_code for each in answers] == [201, 201, 201, 400]
    found = table_of(audited.audit).to_pylist()[before:]
    assert len(found) == 4
    assert {each["trace_id"] for each in found} == {
        each.headers["X-Lakehouse-Trace-Id"] for each in answers
    }
    assert all(each["caller"] == "writer" for each in found)


async def test_a_token_that_names_a_table_or_a_schedule_is_not_in_the_log(
    audited: Lakehouse, secret: str
) -> None:
    body = {"name": f"sales.{secret}", "columns": [{"name": "id", "type": "long"}]}
    made = await asked(audited, secret, "POST", "/v1/tables", json=body)
    plan = {"name": secret, "cron": "0 0 29 2 *", "table": f"sales.{secret}"}
    plan |= {"sql": "SELECT 1 AS id", "mode": "append"}
    planned = await asked(audited, secret, "POST", "/v1/schedules", json=plan)
    begun = await asked(audited, secret, "POST", f"/v1/schedules/{secret}/run")
    assert (made.status_code, planned.status_code, begun.status_code) == (201, 201, 202)
    async for _ in audited.jobs.follow(begun.headers["Location"].rpartition("/")[2]):
        """To its end."""
    deadline = time.monotonic() + 10
    ended = "method = 'RUN' AND status = 200 AND len(tables) = 1"
    while not await rows(audited, ended):
        assert time.monotonic() < deadline, "how it ended is there within a second"
        await asyncio.sleep(0.1)
    whole = str(table_of(audited.audit).to_pylist())
    assert secret not in whole
    assert "/v1/schedules/lh_***" in whole
    assert "sales.lh_***" in whole


async def test_who_stops_a_statement_or_deletes_its_rows_is_in_the_log(
    audited: Lakehouse, secret: str
) -> None:
    paths = ["/v1/sql/nothing", "/v1/sql/results/nothing", "/v1/queries/nothing"]
    for path in paths:
        assert (await asked(audited, secret, "DELETE", path)).status_code == 404
    deadline = time.monotonic() + 10
    while (found := await rows(audited, "method = 'DELETE' AND path LIKE '%/nothing'")) == []:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert [(each["path"], each["status"]) for each in found] == [(path, 404) for path in paths]


async def test_a_refusal_is_in_the_log(audited: Lakehouse, secret: str) -> None:
    assert (await asked(audited, "", "GET", "/v1/tables")).status_code == 401
    wrong = "lh_" + "0" * 49
    assert (await asked(audited, wrong, "GET", "/v1/tables?x=secret-query")).status_code == 401
    assert (await asked(audited, secret, "GET", "/v1/tokens")).status_code == 403
    found = table_of(audited.audit).to_pylist()[-3:]
    assert [(each["caller"], each["status"]) for each in found] == [
        ("nobody", 401),
        ("nobody", 401),
        ("writer", 403),
    ]
    assert wrong not in str(found)
    assert "secret-query" not in str(found)


async def test_behind_a_proxy_the_address_is_that_of_its_client(tmp_path: Path) -> None:
    config = Config(server=ServerConfig(trusted_proxies=("127.0.0.1",)))
    with DataDirectory.open(tmp_path / "data") as directory:
        async with (
            open_lakehouse(config, directory) as lake,
            client_of(create_app(lake)) as client,
        ):
            said = {"X-Forwarded-For": "203.0.113.9, 192.0.2.7"}
            await client.post("/v1/namespaces", json={"name": "a"}, headers=said)
            await client.post("/v1/namespaces", json={"name": "b"})
            found = [each["address"] for each in table_of(lake.audit).to_pylist()]
    assert found == ["192.0.2.7", "127.0.0.1"]


async def test_a_statement_is_in_the_log_by_its_hash_and_its_tables(
    audited: Lakehouse, secret: str
) -> None:
    sql = "SELECT id FROM sales.orders WHERE word = 'a literal of somebody'"
    await asked(audited, secret, "POST", "/v1/sql", json={"sql": sql})
    await asked(audited, secret, "GET", "/v1/sql", params={"sql": "SELECT * FROM nowhere"})
    digest = hashlib.sha256(sql.encode()).hexdigest()
    deadline = time.monotonic() + 10
    refused = "status = 400 AND sql_sha256 IS NOT NULL"
    while not (await rows(audited, refused) and await rows(audited, f"sql_sha256 = '{digest}'")):
        assert time.monotonic() < deadline, "a statement is written within a second"
        await asyncio.sleep(0.1)
    (statement,) = await rows(audited, f"sql_sha256 = '{digest}'")
    assert (statement["caller"], statement["tables"]) == ("writer", ["sales.orders"])
    assert statement["status"] == 200
    assert "a literal of somebody" not in str(table_of(audited.audit).to_pylist())


async def test_a_search_and_an_embedding_are_in_the_log_within_a_second(
    audited: Lakehouse, secret: str
) -> None:
    made = {"name": "sales.notes", "dimension": 2}
    await asked(audited, secret, "POST", "/v1/vectors/index", json=made)
    place = "/v1/vectors/index/sales.notes"
    item = {"id": "a", "vector": [1, 0]}
    await asked(audited, secret, "POST", f"{place}/add", json={"items": [item]})
    await asked(audited, secret, "POST", f"{place}/search", json={"vector": [1, 0]})
    await asked(audited, secret, "POST", "/v1/embed", json={"texts": ["a sentence of somebody"]})
    deadline = time.monotonic() + 10
    while not (embedded := await rows(audited, "path = '/v1/embed'")):
        assert time.monotonic() < deadline, "an embedding is written within a second"
        await asyncio.sleep(0.1)
    assert (embedded[0]["caller"], embedded[0]["status"]) == ("writer", 200)
    (search,) = await rows(audited, f"path = '{place}/search'")
    assert (search["tables"], search["row_count"]) == (["sales.notes"], 1)
    assert "a sentence of somebody" not in str(table_of(audited.audit).to_pylist())


@pytest.mark.parametrize("prefer", ["wait=60", "respond-async"])
async def test_what_a_change_read_is_in_the_log_too(
    audited: Lakehouse, secret: str, prefer: str
) -> None:
    source, to = f"sales.read_{prefer[:4]}", f"sales.copied_{prefer[:4]}"
    made = {"name": source, "columns": [{"name": "id", "type": "long"}]}
    await asked(audited, secret, "POST", "/v1/tables", json=made)
    added = {"rows": [{"id": 1}, {"id": 2}, {"id": 3}]}
    await asked(audited, secret, "POST", f"/v1/tables/{source}/rows", json=added)
    sql = f"SELECT id FROM {source}"
    async with client_of(create_app(audited)) as client:
        headers = {"Authorization": f"Bearer {secret}", "Prefer": prefer}
        for path, body in (
            ("from-query", {"sql": sql}),
            ("update", {"set": {"id": "id + 1"}, "where": "id > 1"}),
            ("delete", {"where": "id = 1"}),
        ):
            answer = await client.post(f"/v1/tables/{to}/{path}", headers=headers, json=body)
            assert answer.is_success, answer.text
            if answer.status_code == 202:
                async for _ in audited.jobs.follow(answer.json()["id"]):
                    """To its end."""
    deadline = time.monotonic() + 10
    wanted = [
        ("from-query", sorted([source, to]), 3, hashlib.sha256(sql.encode()).hexdigest()),
        ("update", [to], 2, None),
        ("delete", [to], 1, None),
    ]
    while True:
        found = [
            (each["path"].rpartition("/")[2], each["tables"], each["row_count"], each["sql_sha256"])
            for each in await rows(audited, f"path LIKE '/v1/tables/{to}/%' AND tables <> []")
        ]
        if found == wanted:
            break
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM lakehouse.audit",
        "WITH x AS (FROM lakehouse.audit) FROM x",
        "SELECT (SELECT count(*) FROM lake.lakehouse.audit)",
        "DESCRIBE lakehouse.audit",
    ],
)
async def test_nobody_but_an_admin_reads_it(audited: Lakehouse, secret: str, sql: str) -> None:
    answer = await asked(audited, secret, "POST", "/v1/sql", json={"sql": sql})
    assert answer.status_code == 400
    assert "audit_id" not in answer.text
    assert (await asked(audited, "a" * 40, "POST", "/v1/sql", json={"sql": sql})).status_code == 200


async def test_rows_that_come_together_are_written_together_and_all_are_there(
    state: State,
) -> None:
    audit = Audit(state, AuditConfig())
    transactions = 0
    write = state.write

    def counted(work: Any, **options: Any) -> Any:
        nonlocal transactions
        transactions += 1
        return write(work, **options)

    state.write = counted  # type: ignore[method-assign]
    await asyncio.gather(*(audit.write(row_of(trace_id=str(n))) for n in range(100)))
    assert {each["trace_id"] for each in table_of(audit).to_pylist()} == {*map(str, range(100))}
    assert transactions < 5


async def test_a_caller_that_is_cancelled_takes_no_row_with_it(state: State) -> None:
    audit = Audit(state, AuditConfig())
    tasks = [asyncio.create_task(audit.write(row_of(trace_id=str(n)))) for n in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await audit.write(row_of(trace_id="last"))
    assert len(table_of(audit)) == 11


def test_a_long_log_is_read_with_few_of_its_rows_as_objects(state: State) -> None:
    rows = [values_of(row_of(path=f"/v1/tables/{n}", tables=[f"t{n}"])) for n in range(20_000)]
    state.write(lambda tx: tx.executemany(INSERT, rows))
    tracemalloc.start()
    try:
        table = table_of(Audit(state, AuditConfig()))
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert table["path"].to_pylist() == [f"/v1/tables/{n}" for n in range(20_000)]
    assert table["tables"][-1].as_py() == ["t19999"]
    assert peak_bytes < 12_000_000, "all of them would be 17 MB"


async def test_what_waits_is_written_at_the_end(state: State) -> None:
    async with Audit(state, AuditConfig()).open() as audit:
        await asyncio.sleep(0.05)
        audit.later(row_of(trace_id="late"))
    assert [each["trace_id"] for each in table_of(audit).to_pylist()] == ["late"]


async def test_old_rows_and_too_many_rows_go(state: State) -> None:
    audit = Audit(state, AuditConfig(keep_days=1, rows_max=5))
    for number in range(8):
        age = 2 * 86_400 if number == 6 else 0
        await audit.write(row_of(began_at=time.time() - age, trace_id=str(number)))
    async with audit.open():
        deadline = time.monotonic() + 10
        while len(table_of(audit)) != 5:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    assert [each["trace_id"] for each in table_of(audit).to_pylist()] == ["2", "3", "4", "5", "7"]


async def test_refusals_of_strangers_push_out_nothing_that_others_did(state: State) -> None:
    audit = Audit(state, AuditConfig(rows_max=20))
    await audit.write(row_of(trace_id="theft", token_id="id"))
    await audit.write(row_of(trace_id="refused", token_id="id", status=403))
    for number in range(30):
        status = 401 if number % 2 else 403
        await audit.write(row_of(caller="nobody", status=status, trace_id=str(number)))
    async with audit.open():
        deadline = time.monotonic() + 10
        while len(table_of(audit)) != 4:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    kept = [each["trace_id"] for each in table_of(audit).to_pylist()]
    assert kept == ["theft", "refused", "28", "29"]


async def test_a_row_that_cannot_be_written_is_said(state: State) -> None:
    audit = Audit(state, AuditConfig())
    assert audit.warnings() == []
    state.write(lambda tx: tx.execute("DROP TABLE audit"))
    await audit.write(row_of())
    (warning,) = audit.warnings()
    assert "lacks 1 rows" in warning
    audit.answered(1, row_of())
    await audit.write(row_of())
    (warning,) = audit.warnings()
    assert "lacks 2 rows, and how 1 others" in warning
