"""Schedules over REST: made, run, missed, paused, ended; and a row for each run."""

import asyncio
import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from lakehouse.audit import Audit
from lakehouse.auth import Grant, Limits, TokenCreate
from lakehouse.config import Config
from lakehouse.schedules import ledger, schedules
from lakehouse.schedules.errors import ScheduleNotFoundError
from lakehouse.schedules.ledger import Ledger
from lakehouse.state import SqliteState
from tests.ingest.served import Served, serving
from tests.services import lakehouse_server

NEVER = "0 0 29 2 *"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "FIRST_LOOK_S", 0.0)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Served]:
    with serving(tmp_path / "data", Config()) as served:
        yield served


def put(lake: Served, key: str, text: str) -> None:
    assert lake.send("PUT", f"/v1/storage/put/{key}", content=text.encode()).is_success


def create(lake: Served, name: str, secret: str = "", **asked: Any) -> httpx.Response:
    body = {"name": name, "cron": NEVER, "table": name, **asked}
    return lake.send("POST", "/v1/schedules", json=body, headers=bearer(secret))


def created(lake: Served, name: str, secret: str = "", **asked: Any) -> dict[str, Any]:
    answer = create(lake, name, secret, **asked)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def bearer(secret: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {secret}"} if secret else {}


def runs(lake: Served, name: str, secret: str = "") -> list[dict[str, Any]]:
    answer = lake.send("GET", f"/v1/schedules/{name}/runs", headers=bearer(secret))
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


def wait_for(condition: Callable[[], Any], timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return found


def ended(lake: Served, name: str, count: int, secret: str = "") -> list[dict[str, Any]]:
    """Return the runs once there are so many, and all have ended."""

    def look() -> list[dict[str, Any]] | None:
        found = runs(lake, name, secret)
        is_over = len(found) >= count and all(each["ended_at"] for each in found)
        return found if is_over else None

    found: list[dict[str, Any]] = wait_for(look)
    return found


def run(lake: Served, name: str, secret: str = "") -> dict[str, Any]:
    """Run it now and return how that went."""
    before = max((each["run_id"] for each in runs(lake, name, secret)), default=0)
    answer = lake.send("POST", f"/v1/schedules/{name}/run", headers=bearer(secret))
    assert answer.status_code == 202, answer.text
    assert answer.json()["kind"] == "schedule"

    def look() -> dict[str, Any] | None:
        newest = runs(lake, name, secret)[0]
        return newest if newest["run_id"] > before and newest["ended_at"] else None

    found: dict[str, Any] = wait_for(look)
    return found


def test_a_source_is_loaded_each_time_and_each_object_once(lake: Served) -> None:
    put(lake, "in/a.csv", "id\n1\n")
    made = created(lake, "arrivals", source="object:in/")
    assert (made["mode"], made["owner"], made["paused"]) == ("append", "anonymous", False)

    first = run(lake, "arrivals")
    put(lake, "in/b.csv", "id\n2\n")
    second = run(lake, "arrivals")
    third = run(lake, "arrivals")

    assert lake.rows("arrivals") == [[1], [2]]
    assert [each["outcome"] for each in (first, second, third)] == ["done"] * 3
    assert [each["row_count"] for each in (first, second, third)] == [1, 1, 0]
    assert {each["trigger"] for each in (first, second, third)} == {"asked"}
    job = lake.send("GET", f"/v1/jobs/{second['job_id']}").json()
    assert (job["state"], job["subject"]) == ("succeeded", "main.arrivals")


def test_a_source_where_nothing_lies_yet_is_done_with_no_rows(lake: Served) -> None:
    created(lake, "empty", source="object:empty/")

    told = run(lake, "empty")

    assert (told["outcome"], told["row_count"]) == ("done", 0)
    assert lake.send("GET", "/v1/tables/empty").status_code == 404


def test_a_run_takes_all_of_a_source_however_much_there_is(lake: Served) -> None:
    for number in range(120):
        put(lake, f"many/{number:03}.csv", f"id\n{number}\n")
    created(lake, "many", source="object:many/")

    assert run(lake, "many")["row_count"] == 120


def test_a_statement_replaces_the_rows(lake: Served) -> None:
    made = created(lake, "totals", sql="SELECT 41 + 1 AS a")
    assert made["mode"] == "overwrite"

    run(lake, "totals")
    assert run(lake, "totals")["row_count"] == 1
    assert lake.rows("totals") == [[42]]


def test_options_and_a_key_go_with_a_source(lake: Served) -> None:
    put(lake, "semi/a.csv", "id;v\n1;01\n1;02\n")
    options = {"delimiter": ";", "types": {"v": "string"}}
    created(lake, "semi", source="object:semi/", mode="upsert", key=["id"], options=options)

    run(lake, "semi")

    assert lake.rows("semi") == [[1, "02"]]


def make_due(lake: Served, name: str, ago_s: float) -> None:
    """Say that a schedule was due some time ago, and have the server look."""
    state = lake.lakehouse.schedules._ledger._state
    sql = "UPDATE schedule SET next_at = ? WHERE name = ?"
    state.write(lambda tx: tx.execute(sql, (time.time() - ago_s, name)).rowcount)
    lake.loop.call_soon_threadsafe(lake.lakehouse.schedules._woken.set)


def test_it_runs_when_it_is_due_and_again_when_it_is_due_again(lake: Served) -> None:
    created(lake, "hourly", cron="0 * * * *", sql="SELECT 1 AS a", mode="append")

    make_due(lake, "hourly", 1)
    (first,) = ended(lake, "hourly", 1)
    assert (first["trigger"], first["outcome"]) == ("cron", "done")
    make_due(lake, "hourly", 2)
    ended(lake, "hourly", 2)

    assert lake.rows("hourly") == [[1], [1]]
    shown = lake.send("GET", "/v1/schedules/hourly").json()
    assert shown["next_at"] > shown["last_run"]["due_at"]
    assert shown["last_run"]["outcome"] == "done"


def test_what_was_due_while_the_server_was_away_runs_once(tmp_path: Path) -> None:
    with serving(tmp_path / "data", Config()) as lake:
        created(lake, "minutely", cron="* * * * *", sql="SELECT 1 AS a", mode="append")
        created(lake, "paused", cron="* * * * *", sql="SELECT 1 AS a", mode="append")
        lake.send("POST", "/v1/schedules/paused/pause")
    with SqliteState.open(tmp_path / "data" / "catalog.db") as state:
        sql = "UPDATE schedule SET next_at = ?"
        state.write(lambda tx: tx.execute(sql, (time.time() - 86_400,)).rowcount)

    with serving(tmp_path / "data", Config()) as lake:
        found = ended(lake, "minutely", 1)
        time.sleep(0.3)

        assert [each["trigger"] for each in found][-1] == "missed"
        assert len([each for each in runs(lake, "minutely") if each["trigger"] == "missed"]) == 1
        assert runs(lake, "paused") == []


SLOW = "SELECT count(*) AS n FROM range(40000) a, range(40000) b WHERE (a.range * b.range) % 7 = 3"


def test_there_are_never_two_runs_of_one_schedule(lake: Served) -> None:
    created(lake, "slow", sql=SLOW)
    job = lake.send("POST", "/v1/schedules/slow/run").json()
    wait_for(lambda: lake.send("GET", f"/v1/jobs/{job['id']}").json()["state"] == "running")

    again = lake.send("POST", "/v1/schedules/slow/run")
    make_due(lake, "slow", 1)
    wait_for(lambda: lake.send("GET", "/v1/schedules/slow").json()["next_at"] > "2027")
    lake.send("POST", f"/v1/jobs/{job['id']}/cancel")
    (only,) = ended(lake, "slow", 1)

    assert (again.status_code, again.json()["type"]) == (409, "/problems/schedule-running")
    assert only["outcome"] == "cancelled"


def test_what_runs_before_the_first_look_is_none_of_the_last_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = threading.Event()
    look = Ledger.interrupt_unended

    def unended(rows: Ledger, *before: float) -> Any:
        found = look(rows, *before)
        looked.set()
        return found

    monkeypatch.setattr(schedules, "FIRST_LOOK_S", 1.0)
    monkeypatch.setattr(Ledger, "interrupt_unended", unended)
    with serving(tmp_path / "data", Config()) as lake:
        created(lake, "slow", sql=SLOW)
        job = lake.send("POST", "/v1/schedules/slow/run").json()["id"]
        assert not looked.is_set()
        assert looked.wait(10)
        (only,) = runs(lake, "slow")
        lake.send("POST", f"/v1/jobs/{job}/cancel")
        ended(lake, "slow", 1)
    assert only["outcome"] == "running"


def test_of_many_who_ask_at_once_one_begins_a_run(lake: Served) -> None:
    created(lake, "slow", sql=SLOW)

    async def ask() -> list[httpx.Response]:
        asking = (lake.client.post("/v1/schedules/slow/run") for _ in range(5))
        return await asyncio.gather(*asking)

    answers = lake.run(ask())
    (job,) = [each.json()["id"] for each in answers if each.status_code == 202]
    lake.send("POST", f"/v1/jobs/{job}/cancel")

    assert sorted(each.status_code for each in answers) == [202, 409, 409, 409, 409]
    assert len(ended(lake, "slow", 1)) == 1


def test_what_happens_to_a_schedule_while_others_look_at_it_counts(lake: Served) -> None:
    """The loop and a request may have read it a moment before it is deleted or paused."""
    gone = "deleted"
    created(lake, gone, cron="0 * * * *", sql="SELECT 1 AS a")
    created(lake, "resting", cron="0 * * * *", sql="SELECT 1 AS a")
    schedules_, rows = lake.lakehouse.schedules, lake.lakehouse.schedules._ledger
    before = {each.name: each for each in rows.all()}
    lake.send("DELETE", f"/v1/schedules/{gone}")
    lake.send("POST", "/v1/schedules/resting/pause")

    with pytest.raises(ScheduleNotFoundError):
        lake.run(schedules_._begin(before[gone], "cron", 1.0, 2.0))
    rows.put_off(before["resting"].id, 3.0)

    assert rows.interrupt_unended() == []
    assert lake.send("GET", "/v1/schedules/resting").json()["paused"]


def test_a_run_that_fails_says_why_and_the_next_one_comes(lake: Served) -> None:
    created(lake, "broken", sql="SELECT * FROM not_there")

    first = run(lake, "broken")
    lake.ingest("not_there", "id\n1\n")
    second = run(lake, "broken")

    assert first["outcome"] == "failed"
    assert "not_there" in first["detail"]
    assert second["outcome"] == "done"


def test_an_erasure_forgets_what_runs_quoted(lake: Served) -> None:
    lake.ingest("quoted", "id,name\n1,Ada\n")
    put(lake, "bad/a.csv", "id,name\nAgnes-Secret,Bo\n")
    created(lake, "quoting", table="quoted", source="object:bad/")
    failed = run(lake, "quoting")
    assert "Agnes-Secret" in failed["detail"]

    erased = {"where": "id = 1", "erase": True}
    assert lake.send("POST", "/v1/tables/quoted/delete", json=erased).status_code == 200

    assert "Agnes" not in str(runs(lake, "quoting"))
    assert lake.send("GET", f"/v1/jobs/{failed['job_id']}").status_code == 404
    for path in (lake.data_dir / "catalog.db", lake.data_dir / "warehouse/_catalog/catalog.db"):
        assert b"Agnes-Secret" not in path.read_bytes(), path


def test_a_paused_schedule_runs_only_when_it_is_asked_to(lake: Served) -> None:
    created(lake, "resting", cron="0 * * * *", sql="SELECT 1 AS a")

    paused = lake.send("POST", "/v1/schedules/resting/pause").json()
    make_due(lake, "resting", 1)
    run(lake, "resting")
    assert [each["trigger"] for each in runs(lake, "resting")] == ["asked"]
    resumed = lake.send("POST", "/v1/schedules/resting/resume").json()

    assert (paused["paused"], paused["next_at"]) == (True, None)
    assert not resumed["paused"]
    assert resumed["next_at"] > resumed["created_at"]
    assert [each["trigger"] for each in runs(lake, "resting")] == ["asked"]


def test_a_deleted_schedule_is_gone_with_its_runs(lake: Served) -> None:
    created(lake, "brief", sql="SELECT 1 AS a")
    run(lake, "brief")

    assert lake.send("DELETE", "/v1/schedules/brief").status_code == 204
    for method, path in (("GET", ""), ("GET", "/runs"), ("POST", "/run"), ("DELETE", "")):
        answer = lake.send(method, f"/v1/schedules/brief{path}")
        assert answer.status_code == 404, path
    assert created(lake, "brief", sql="SELECT 2 AS a")["last_run"] is None


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ({"cron": "hourly", "sql": "SELECT 1"}, 400, "five words"),
        ({"cron": "61 * * * *", "sql": "SELECT 1"}, 400, "no cron"),
        ({}, 400, "one of"),
        ({"sql": "SELECT 1", "source": "object:x/"}, 400, "one of"),
        ({"sql": "SELECT 1", "mode": "delete", "key": ["a"]}, 400, "goes with a source"),
        ({"sql": "SELECT 1", "mode": "upsert"}, 400, "key"),
        ({"source": "object:x/", "key": ["a"]}, 400, "key"),
        ({"sql": "SELECT 1", "options": {"format": "csv"}}, 400, "options"),
        ({"source": "object:x/", "options": {"mode": "create"}}, 400, "options.mode"),
        ({"source": "object:x/", "options": {"colour": "red"}}, 400, "options.colour"),
        ({"source": "object:x/", "options": {"format": "xml"}}, 400, "options"),
        ({"source": "s3://not/listed"}, 403, "storage.sources"),
        ({"source": "http://169.254.169.254/"}, 400, "refused"),
        ({"source": "object:gone.csv"}, 404, "no object"),
        ({"source": "object:x/", "options": {"date_format": "%Q"}}, 400, "%Q is none"),
        ({"source": "object:x/", "options": {"delimiter": "\n"}}, 400, "line break"),
        ({"source": "object:x/", "options": {"encoding": "klingon"}}, 400, "klingon"),
        ({"source": "object:x/", "options": {"types": {"a": "wat"}}}, 400, "wat"),
        ({"source": "object:x/", "options": {"widths": ["id"]}}, 400, "widths"),
        ({"sql": " "}, 400, "empty"),
        ({"sql": "SELECT " + "1" * 70_000}, 413, "65,536"),
        ({"source": "object:x/", "mode": "upsert", "key": ["k" * 70_000]}, 413, "65,536"),
        ({"source": "object:x/", "options": {"types": {"k" * 70_000: "int"}}}, 413, "65,536"),
        ({"source": f"object:{'x' * 70_000}/"}, 413, "65,536"),
        ({"sql": "SELECT 1", "table": "memory.t"}, 400, "memory"),
        ({"sql": "SELECT 1", "extra": 1}, 400, "extra"),
    ],
)
def test_what_no_run_could_do_is_refused(
    lake: Served, asked: dict[str, Any], status: int, words: str
) -> None:
    answer = create(lake, "wrong", **asked)

    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert lake.send("GET", "/v1/schedules").json()["items"] == []


def test_a_name_is_of_one_schedule(lake: Served) -> None:
    created(lake, "one", sql="SELECT 1 AS a")

    assert create(lake, "one", sql="SELECT 2 AS a").status_code == 409
    assert create(lake, "no name", sql="SELECT 2 AS a").status_code == 400


def test_no_pause_makes_room_for_one_more(lake: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SCHEDULES_MAX", 1)
    created(lake, "first", sql="SELECT 1 AS a")

    refused = create(lake, "second", sql="SELECT 1 AS a")

    assert (refused.status_code, refused.json()["retryable"]) == (409, False)
    lake.send("DELETE", "/v1/schedules/first")
    created(lake, "second", sql="SELECT 1 AS a")


def token(lake: Served, name: str, *grants: Grant) -> str:
    return lake.lakehouse.tokens.create(TokenCreate(name, list(grants))).token


def test_a_run_may_do_what_its_token_may_by_then(lake: Served) -> None:
    lake.send("POST", "/v1/namespaces", json={"name": "sales"})
    lake.ingest("secret", "id\n1\n")
    token(lake, "root", Grant("admin"))
    writer = token(lake, "writer", Grant("writer", "sales"))

    assert create(lake, "own", writer, table="main.t", sql="SELECT 1 AS a").status_code == 403
    assert create(lake, "own", writer, table="sales.t", source="object:raw/").status_code == 201
    created(lake, "reads", writer, table="sales.t", sql="SELECT * FROM secret")

    failed = run(lake, "reads", writer)
    assert failed["outcome"] == "failed"
    assert "secret" in failed["detail"]


def test_a_token_that_ended_stops_its_schedules(lake: Served) -> None:
    lake.send("POST", "/v1/namespaces", json={"name": "sales"})
    root = token(lake, "root", Grant("admin"))
    writer = token(lake, "writer", Grant("writer", "sales"))
    created(lake, "theirs", writer, cron="0 * * * *", table="sales.t", sql="SELECT 1 AS a")
    rotated = lake.lakehouse.tokens.rotate("writer", timedelta(0)).token
    assert run(lake, "theirs", rotated)["outcome"] == "done"

    lake.lakehouse.tokens.revoke("writer")
    make_due(lake, "theirs", 1)
    found = ended(lake, "theirs", 2, root)

    assert (found[0]["outcome"], found[0]["detail"]) == ("refused", "its token ended")
    shown = wait_for(
        lambda: next(
            (
                each
                for each in lake.send("GET", "/v1/schedules", headers=bearer(root)).json()["items"]
                if each["paused"]
            ),
            None,
        )
    )
    assert (shown["reason"], shown["next_at"]) == ("its token ended", None)


def test_what_anybody_asked_for_ends_when_tokens_are_needed(lake: Served) -> None:
    created(lake, "open", cron="0 * * * *", sql="SELECT 1 AS a")
    root = token(lake, "root", Grant("admin"))

    make_due(lake, "open", 1)

    assert ended(lake, "open", 1, root)[0]["outcome"] == "refused"


def test_nobody_sees_or_changes_the_schedules_of_others(lake: Served) -> None:
    lake.send("POST", "/v1/namespaces", json={"name": "sales"})
    root = token(lake, "root", Grant("admin"))
    one = token(lake, "one", Grant("writer", "sales"))
    other = token(lake, "other", Grant("writer", "sales"))
    operator = token(lake, "operator", Grant("writer"))
    created(lake, "mine", one, table="sales.t", sql="SELECT 1 AS a")

    for method, path in (("GET", ""), ("GET", "/runs"), ("POST", "/run"), ("POST", "/pause")):
        answer = lake.send(method, f"/v1/schedules/mine{path}", headers=bearer(other))
        assert answer.status_code == 404, path
    assert lake.send("GET", "/v1/schedules", headers=bearer(other)).json()["items"] == []
    assert lake.send("GET", "/v1/schedules/mine", headers=bearer(operator)).status_code == 200
    refused = lake.send("DELETE", "/v1/schedules/mine", headers=bearer(operator))
    assert refused.status_code == 403
    assert lake.send("DELETE", "/v1/schedules/mine", headers=bearer(root)).status_code == 204


def test_a_name_that_somebody_else_has_is_free_and_says_nothing_of_them(lake: Served) -> None:
    lake.send("POST", "/v1/namespaces", json={"name": "sales"})
    root = bearer(token(lake, "root", Grant("admin")))
    one, other, third = (token(lake, n, Grant("writer", "sales")) for n in ("one", "two", "three"))
    for owner, sql in ((one, "SELECT 1 AS a"), (other, "SELECT 2 AS a")):
        created(lake, "same", owner, table="sales.t", sql=sql)
        shown = lake.send("GET", "/v1/schedules/same", headers=bearer(owner)).json()
        assert shown["sql"] == sql
    for path in ("same", "one:same"):
        answer = lake.send("GET", f"/v1/schedules/{path}", headers=bearer(third))
        assert answer.status_code == 404, path

    unclear = lake.send("DELETE", "/v1/schedules/same", headers=root)

    assert (unclear.status_code, unclear.json()["context"]["owners"]) == (409, ["one", "two"])
    assert lake.send("DELETE", "/v1/schedules/one:same", headers=root).status_code == 204
    assert lake.send("GET", "/v1/schedules/same", headers=bearer(one)).status_code == 404
    assert lake.send("GET", "/v1/schedules/same", headers=root).json()["owner"] == "two"


def test_runs_come_in_pages_and_the_oldest_go(
    lake: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "KEPT_RUNS", 4)
    created(lake, "often", sql="SELECT 1 AS a")
    ids = [run(lake, "often")["run_id"] for _ in range(6)]

    first = lake.send("GET", "/v1/schedules/often/runs", params={"limit": "3"}).json()
    cursor = first["next_cursor"]
    rest = lake.send("GET", "/v1/schedules/often/runs", params={"cursor": cursor}).json()

    assert [each["run_id"] for each in [*first["items"], *rest["items"]]] == ids[:1:-1]
    assert rest["next_cursor"] is None
    wrong = lake.send("GET", "/v1/schedules/often/runs", params={"cursor": "x"})
    assert wrong.status_code == 400


def test_runs_are_read_in_sql_and_audited_by_an_admin(lake: Served) -> None:
    root = token(lake, "root", Grant("admin"))
    reader = token(lake, "reader", Grant("reader"))
    created(lake, "told", root, sql="SELECT 1 AS a")
    run(lake, "told", root)

    def asked(secret: str, sql: str) -> httpx.Response:
        return lake.send("POST", "/v1/sql", json={"sql": sql}, headers=bearer(secret))

    sql = "SELECT schedule, owner, trigger, outcome, row_count FROM lakehouse.schedule_runs"
    assert asked(root, sql).json()["rows"] == [["told", "root", "asked", "done", 1]]
    assert asked(reader, sql).status_code == 400


def audited_runs(lake: Served, secret: str, count: int) -> list[list[Any]]:
    """Return the status, tables, rows and hashes of runs once so many are in the audit log."""
    sql = (
        "SELECT status, tables, row_count, sql_sha256 FROM lakehouse.audit"
        " WHERE method = 'RUN' AND status <> 0 ORDER BY audit_id"
    )

    def look() -> list[list[Any]] | None:
        answer = lake.send("POST", "/v1/sql", json={"sql": sql}, headers=bearer(secret))
        rows: list[list[Any]] = answer.json()["rows"]
        return rows if len(rows) >= count else None

    found: list[list[Any]] = wait_for(look)
    return found


def test_a_run_is_audited_like_a_request_that_did_the_same(lake: Served) -> None:
    lake.send("POST", "/v1/namespaces", json={"name": "sales"})
    lake.ingest("hidden", "id\n1\n")
    root = token(lake, "root", Grant("admin"))
    writer = token(lake, "writer", Grant("writer", "sales"))
    copied, refused = "SELECT * FROM sales.t", "SELECT * FROM hidden"
    put_as = {"json": {"rows": [{"id": 1}, {"id": 2}]}, "headers": bearer(root)}
    columns = [{"name": "id", "type": "long"}]
    made = {"json": {"name": "sales.t", "columns": columns}, "headers": bearer(root)}
    assert lake.send("POST", "/v1/tables", **made).status_code == 201
    assert lake.send("POST", "/v1/tables/sales.t/rows", **put_as).status_code == 201
    created(lake, "copies", writer, table="sales.u", sql=copied)
    created(lake, "peeks", writer, table="sales.u", sql=refused)
    created(lake, "fetches", writer, table="sales.u", source="object:none/")

    assert run(lake, "copies", writer)["outcome"] == "done"
    assert run(lake, "peeks", writer)["outcome"] == "failed"
    assert run(lake, "fetches", writer)["outcome"] == "done"
    lake.lakehouse.tokens.revoke("writer")
    answer = lake.send("POST", "/v1/schedules/copies/run", headers=bearer(root))
    assert answer.status_code == 409
    assert "delete the schedule" in answer.json()["detail"]

    assert audited_runs(lake, root, 4) == [
        [200, ["sales.t", "sales.u"], 2, digest(copied)],
        [400, [], 0, digest(refused)],
        [200, [], 0, None],
        [401, [], 0, None],
    ]


def digest(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()


def test_the_row_of_a_run_is_stored_with_its_change(
    lake: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    created(lake, "kept", sql="SELECT 1 AS a")

    async def nothing(self: Audit) -> None:
        """A process that is killed before the log's next group."""

    monkeypatch.setattr(Audit, "_flush", nothing)
    run(lake, "kept")

    batches: list[pa.RecordBatch] = []
    lake.lakehouse.audit.read(batches.append)
    rows = [each for batch in batches for each in batch.to_pylist() if each["method"] == "RUN"]
    assert [each["tables"] for each in rows] == [["main.kept"]]


def test_rows_of_runs_are_of_the_day_of_their_token(lake: Served) -> None:
    limits = Limits(rows_per_day=5)
    made = lake.lakehouse.tokens.create(TokenCreate("few", [Grant("writer")], limits=limits))
    created(lake, "many", made.token, sql="SELECT range AS n FROM range(6)")
    own = bearer(made.token)
    assert lake.send("POST", "/v1/schedules/many/run", headers=own).status_code == 202

    wait_for(lambda: lake.send("GET", "/v1/tokens/self", headers=own).status_code == 429)


def test_a_run_that_a_kill_cut_off_begins_once_more_and_has_one_effect(tmp_path: Path) -> None:
    with lakehouse_server(tmp_path / "data") as server:
        asked = {"name": "slow", "cron": NEVER, "table": "slow", "mode": "append", "sql": SLOW}
        quick = {**asked, "name": "quick", "table": "quick", "sql": "SELECT 1 AS a"}
        with httpx.Client(base_url=server.url) as client:
            for each in (asked, quick):
                assert client.post("/v1/schedules", json=each).status_code == 201
            job = client.post("/v1/schedules/slow/run").json()["id"]
            wait_for(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "running")
            done = client.post("/v1/schedules/quick/run").json()["id"]
            wait_for(lambda: client.get(f"/v1/jobs/{done}").json()["state"] == "succeeded")
        server.signal(signal.SIGKILL)
        server.wait()
    with SqliteState.open(tmp_path / "data" / "catalog.db") as state:  # as if killed a bit earlier
        unended = "UPDATE schedule_run SET outcome = 'running', ended_at = NULL"
        state.write(lambda tx: tx.execute(unended).rowcount)

    with lakehouse_server(tmp_path / "data") as server, httpx.Client(base_url=server.url) as client:

        def told(name: str) -> list[tuple[str, str]] | None:
            items = client.get(f"/v1/schedules/{name}/runs").json()["items"]
            return [(each["trigger"], each["outcome"]) for each in items]

        wait_for(lambda: told("quick") == [("missed", "done"), ("asked", "interrupted")])
        wait_for(lambda: ("missed", "running") in (told("slow") or []))
        rows = client.post("/v1/sql", json={"sql": "SELECT count(*) FROM quick"}).json()["rows"]
        assert rows == [[1]]
        server.signal(signal.SIGKILL)
        server.wait()

    with lakehouse_server(tmp_path / "data") as server, httpx.Client(base_url=server.url) as client:
        wait_for(lambda: ("missed", "interrupted") in (told("slow") or []))
        time.sleep(0.5)
        assert told("slow") == [("missed", "interrupted"), ("asked", "interrupted")]
