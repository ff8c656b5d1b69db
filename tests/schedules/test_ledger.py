"""The rows of schedules, of runs and of what loads took, in both databases."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest

from lakehouse.ingest.models import LoadOptions
from lakehouse.ingest.sources import SourceObject
from lakehouse.ingest.taken import ObjectsTakenError, Taken, content_of, not_taken, request_of
from lakehouse.schedules import ScheduleCreate, ledger, read_runs
from lakehouse.schedules.errors import (
    ScheduleExistsError,
    TooManyOfOneError,
    TooManySchedulesError,
)
from lakehouse.schedules.ledger import Ledger
from lakehouse.state import SqliteState, State
from lakehouse.state.migrations import MIGRATIONS

ASKED = ScheduleCreate(name="a", cron="* * * * *", table="t", sql="SELECT 1", options={"x": [1]})


def named(name: str) -> ScheduleCreate:
    return msgspec.structs.replace(ASKED, name=name)


def test_a_schedule_comes_back_as_it_went_in(state: State) -> None:
    rows = Ledger(state)
    made = rows.add(ASKED, "ada", "t1", 100.5)
    rows.add(named("b"), "local", None, 200.0)

    assert rows.find("a") == rows.find("ada:a") == [made]
    assert [each.name for each in rows.all()] == ["a", "b"]
    with pytest.raises(ScheduleExistsError):
        rows.add(ASKED, "ada", "t2", 1.0)
    rows.pause(made.id, "why")
    (paused,) = rows.find("a")
    assert (paused.paused, paused.reason) == (True, "why")
    rows.set_next(made.id, 300.0)
    (resumed,) = rows.find("a")
    assert (resumed.paused, resumed.reason, resumed.next_at) == (False, None, 300.0)
    rows.delete(made.id)
    assert rows.find("a") == []


def test_a_schedule_of_before_names_had_owners_is_found(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    with closing(sqlite3.connect(path)) as old, old:
        for statement in (each for step in MIGRATIONS[:14] for each in step):
            old.execute(statement)
        old.execute("PRAGMA user_version = 14")
        old.execute(
            "INSERT INTO schedule (name, asked, caller, created_at, paused, next_at)"
            " VALUES ('a', ?, 'ada', 1, 0, 1)",
            (msgspec.json.encode(ASKED).decode(),),
        )

    with SqliteState.open(path) as state:
        rows = Ledger(state)
        assert [each.asked for each in rows.find("a")] == [ASKED]
        assert rows.find("ada:a") == rows.find("a")
        with pytest.raises(ScheduleExistsError):
            rows.add(ASKED, "ada", None, 1.0)


def test_runs_are_kept_by_schedule_and_the_oldest_go(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "KEPT_RUNS", 3)
    rows = Ledger(state)
    one, two = rows.add(ASKED, "ada", None, 1.0), rows.add(named("b"), "bo", None, 1.0)
    only = rows.begin(two, "asked", 7.0)
    runs = [rows.begin(one, "cron", float(n), next_at=n + 60.0) for n in range(5)]
    ended = msgspec.structs.replace(
        runs[4], outcome="done", ended_at=datetime.now(UTC), row_count=3, job_id="j"
    )
    rows.end(ended)

    assert [each.run_id for each in rows.runs(one, 10)] == [each.run_id for each in runs[:1:-1]]
    assert [each.run_id for each in rows.runs(one, 1, runs[4].run_id)] == [runs[3].run_id]
    last = rows.last_runs()
    assert (last[one.id].outcome, last[one.id].row_count) == ("done", 3)
    assert last[two.id].run_id == only.run_id
    (found,) = rows.find("a")
    assert found.next_at == 64.0
    batches: list[pa.RecordBatch] = []
    read_runs(state, batches.append)
    assert [name for each in batches for name in each["schedule"].to_pylist()] == [*"baaa"]


def test_runs_that_did_not_end_are_interrupted_once(state: State) -> None:
    rows = Ledger(state)
    one = rows.add(ASKED, "ada", None, 1.0)
    run = rows.begin(one, "cron", 5.0)

    assert [(kept.id, each.run_id) for kept, each in rows.interrupt_unended()] == [
        (one.id, run.run_id)
    ]
    assert rows.interrupt_unended() == []
    assert rows.runs(one, 1)[0].outcome == "interrupted"


def test_there_are_not_too_many(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "SCHEDULES_MAX", 1)
    rows = Ledger(state)
    rows.add(ASKED, "ada", None, 1.0)

    with pytest.raises(TooManySchedulesError):
        rows.add(named("b"), "ada", None, 1.0)


def test_one_owner_does_not_take_the_room_of_all(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "OF_ONE_MAX", 2)
    rows = Ledger(state)
    first = rows.add(ASKED, "ada", None, 1.0)
    rows.add(named("b"), "ada", None, 1.0)

    with pytest.raises(TooManyOfOneError, match="you have 2 schedules"):
        rows.add(named("c"), "ada", None, 1.0)
    rows.add(named("c"), "bo", None, 1.0)
    rows.delete(first.id)
    rows.add(named("d"), "ada", None, 1.0)


def taken(*objects: SourceObject, adds: bool = True) -> Taken:
    options = LoadOptions(name="t")
    return Taken(objects, request_of("object:x/", options), content_of(objects, options), adds=adds)


def test_an_object_is_taken_once_until_it_is_another_one(state: State) -> None:
    one, two = SourceObject("object:x/1", 5, "e1"), SourceObject("object:x/2", 5, "e1")
    other = SourceObject("object:x/1", 5, "e2")
    state.write(lambda tx: taken(one).record(tx, "uuid"))

    assert not_taken(state, "uuid", [one, two, other]) == [two, other]
    assert not_taken(state, "another", [one]) == [one]
    with pytest.raises(ObjectsTakenError):
        state.write(lambda tx: taken(two, one).record(tx, "uuid"))
    assert not_taken(state, "uuid", [two]) == [two], "nothing of it was stored"
    state.write(lambda tx: taken(other).record(tx, "uuid"))
    assert not_taken(state, "uuid", [one, other]) == [one]
    state.write(lambda tx: taken(two, adds=False).record(tx, "uuid"))
    assert not_taken(state, "uuid", [one, two, other]) == [one, other]
