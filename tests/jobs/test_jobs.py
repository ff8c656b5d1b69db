import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import anyio
import anyio.lowlevel
import duckdb
import pytest

from lakehouse.auth import Caller, Limits, acting
from lakehouse.catalog import TableNotFoundError
from lakehouse.errors import NotFoundError, OutcomeUnknownError, UnavailableError
from lakehouse.jobs import Job, JobHandle, JobNotFoundError, TooManyJobsError
from lakehouse.jobs.errors import TooManyOwnJobsError
from lakehouse.jobs.jobs import new_id
from lakehouse.jobs.ledger import DAY_S, Ledger
from lakehouse.observability import trace_id
from lakehouse.state import State
from tests.jobs.conftest import Gate, ended, opened, until


async def test_a_function_runs_on_a_thread_and_its_value_is_the_result(state: State) -> None:
    threads: list[str] = []

    def work(job: JobHandle) -> dict[str, int]:
        threads.append(threading.current_thread().name)
        return {"rows": 3}

    async with opened(state) as jobs:
        job = await jobs.start("count", work, subject="main.people", unit="rows")
        done = await ended(jobs, job)

    assert job.state == "queued"
    assert threads != [threading.current_thread().name]
    assert (done.state, done.kind, done.subject, done.unit) == (
        "succeeded",
        "count",
        "main.people",
        "rows",
    )
    assert done.result == {"rows": 3}
    assert done.error is None
    assert done.started_at and done.ended_at
    assert job.created_at <= done.started_at <= done.ended_at


async def test_an_async_function_runs_on_the_loop_and_bytes_are_json_already(state: State) -> None:
    async def work(job: JobHandle) -> bytes:
        await anyio.lowlevel.checkpoint()
        return b'{"answer":42}'

    async with opened(state) as jobs:
        done = await ended(jobs, await jobs.start("think", work))

    assert done.result == {"answer": 42}


async def test_an_error_is_the_problem_that_the_request_would_have_answered(state: State) -> None:
    def work(job: JobHandle) -> None:
        raise TableNotFoundError("main.peple", "main.people")

    trace_id.set("abc")
    async with opened(state) as jobs:
        done = await ended(jobs, await jobs.start("compact", work))

    assert done.state == "failed"
    assert done.result is None
    assert done.error is not None
    assert done.error["type"] == "/problems/table-not-found"
    assert done.error["status"] == 404
    assert done.trace_id == done.error["trace_id"] == "abc"


async def test_a_bug_tells_nothing_of_the_inside(
    state: State, caplog: pytest.LogCaptureFixture
) -> None:
    def work(job: JobHandle) -> None:
        raise ZeroDivisionError("secret")

    async with opened(state) as jobs:
        done = await ended(jobs, await jobs.start("divide", work))

    assert done.state == "failed"
    assert done.error is not None
    assert done.error["status"] == 500
    assert "secret" not in str(done.error)
    assert "secret" in caplog.text


async def test_a_result_that_is_no_json_fails_the_job(state: State) -> None:
    async with opened(state) as jobs:
        done = await ended(jobs, await jobs.start("odd", lambda job: object()))

    assert done.state == "failed"


async def test_a_broken_engine_stops_the_server(state: State) -> None:
    stopped: list[str] = []

    def work(job: JobHandle) -> None:
        raise duckdb.FatalException("FATAL Error: gone")

    async with opened(state, stopped) as jobs:
        done = await ended(jobs, await jobs.start("break", work))

    assert stopped == ["stop"]
    assert done.error is not None
    assert done.error["status"] == 503


async def test_progress_is_seen_at_once_and_stored_later(state: State) -> None:
    gate = Gate()

    def work(job: JobHandle) -> str:
        job.progress(1, 10, "copying")
        job.progress(3)
        return gate(job)

    async with opened(state) as jobs:
        job = await jobs.start("copy", work, unit="files")
        await anyio.to_thread.run_sync(gate.begun.wait, 10)
        now = await jobs.get(job.id)
        (listed,) = await jobs.list(10)
        assert (now.state, now.phase, now.done, now.total) == ("running", "copying", 3, 10)
        assert listed == now
        await jobs._save_progress()
        stored = Ledger(state).find(job.id)
        assert stored is not None
        assert stored.done == 3
        gate.may_go_on.set()
        assert (await ended(jobs, job)).done == 10  # all, for it succeeded


async def test_progress_that_is_stored_late_does_not_revive_a_job(state: State) -> None:
    async with opened(state) as jobs:
        job = await jobs.start("one", lambda handle: 1)
        done = await ended(jobs, job)
        Ledger(state).save_progress([job])

        assert await jobs.get(job.id) == done


async def test_progress_costs_microseconds(state: State) -> None:
    def work(job: JobHandle) -> float:
        begun = time.perf_counter()
        for number in range(10_000):
            job.progress(number)
        return time.perf_counter() - begun

    async with opened(state) as jobs:
        done = await ended(jobs, await jobs.start("count", work))

    assert done.result < 1.0  # 100 µs each, with room for a busy machine; a write takes 5 ms


# Limits.


async def test_at_most_so_many_run_and_the_others_wait_in_order(state: State) -> None:
    order: list[int] = []
    gate = Gate()

    def numbered(number: int) -> object:
        def work(job: JobHandle) -> None:
            order.append(number)

        return work

    async with opened(state, concurrency_max=1) as jobs:
        first = await jobs.start("first", gate)
        others = [await jobs.start("later", numbered(each)) for each in range(5)]  # type: ignore[arg-type]
        await until(jobs, first, "running")
        assert (jobs.running, jobs.waiting) == (1, 5)
        assert {(await jobs.get(job.id)).state for job in others} == {"queued"}
        gate.may_go_on.set()
        for job in others:
            await ended(jobs, job)

    assert order == [0, 1, 2, 3, 4]


async def test_one_more_than_may_wait_is_refused_and_leaves_no_row(state: State) -> None:
    gate = Gate()
    async with opened(state, concurrency_max=1, waiting_max=1) as jobs:
        await jobs.start("one", gate)
        await jobs.start("two", gate)

        with pytest.raises(TooManyJobsError, match="waiting_max") as raised:
            await jobs.start("three", gate)
        with pytest.raises(UnavailableError):
            jobs.check_room()

        assert raised.value.retry_after_s
        assert len(await jobs.list(10)) == 2
        gate.may_go_on.set()


async def test_a_caller_has_no_more_jobs_than_requests_at_once(state: State) -> None:
    gate = Gate()
    limited = Caller("somebody", (), "id", limits=Limits(concurrency=2))
    async with opened(state, concurrency_max=1) as jobs:
        with acting(limited):
            job = await jobs.start("long", gate)
            await jobs.start("next", gate)
            with pytest.raises(TooManyOwnJobsError, match="2 requests at once"):
                await jobs.start("one more", gate)
            with pytest.raises(TooManyOwnJobsError):
                jobs.check_room()
        await jobs.start("of another", gate)
        gate.may_go_on.set()
        with acting(limited):
            await ended(jobs, job)
            await jobs.start("now it may", gate)


async def test_a_job_whose_row_cannot_be_written_never_begins(state: State) -> None:
    called: list[str] = []
    async with opened(state) as jobs:
        state.write(lambda tx: tx.execute("DROP TABLE job"))
        with pytest.raises(sqlite3.OperationalError):
            await jobs.start("one", lambda job: called.append("work"))
        assert (jobs.running, jobs.waiting) == (0, 0)

    assert called == []


# Cancelling.


async def test_a_running_function_stops_where_it_looks(state: State) -> None:
    gate = Gate()
    async with opened(state) as jobs:
        job = await jobs.start("long", gate)
        await until(jobs, job, "running")
        asked = await jobs.cancel(job.id)
        done = await ended(jobs, job)

    assert asked.phase == "stopping"
    assert done.state == "cancelled"
    assert done.error is not None
    assert done.error["type"] == "/problems/job-cancelled"


async def test_a_waiting_job_never_begins(state: State) -> None:
    gate = Gate()
    called: list[str] = []
    async with opened(state, concurrency_max=1) as jobs:
        await jobs.start("long", gate)
        job = await jobs.start(
            "next", lambda job: called.append("work"), at_end=lambda: called.append("at_end")
        )
        await jobs.cancel(job.id)
        done = await ended(jobs, job)
        gate.may_go_on.set()

    assert (done.state, done.started_at) == ("cancelled", None)
    assert called == ["at_end"]


async def test_an_async_job_is_cancelled_at_its_next_await(state: State) -> None:
    async def work(job: JobHandle) -> None:
        await anyio.sleep_forever()

    async with opened(state) as jobs:
        job = await jobs.start("wait", work)
        await until(jobs, job, "running")
        await jobs.cancel(job.id)

        assert (await ended(jobs, job)).state == "cancelled"


async def test_work_that_is_done_is_done_though_it_was_cancelled(state: State) -> None:
    gate = Gate()

    def work(job: JobHandle) -> str:
        gate.begun.set()
        gate.may_go_on.wait(10)
        return "committed"

    async with opened(state) as jobs:
        job = await jobs.start("commit", work)
        await anyio.to_thread.run_sync(gate.begun.wait, 10)
        await jobs.cancel(job.id)
        gate.may_go_on.set()
        done = await ended(jobs, job)

    assert (done.state, done.result) == ("succeeded", "committed")


async def test_an_outcome_that_nobody_knows_is_said_though_it_was_cancelled(state: State) -> None:
    gate = Gate()

    def work(job: JobHandle) -> str:
        gate.begun.set()
        gate.may_go_on.wait(10)
        raise OutcomeUnknownError("it may have happened")

    async with opened(state) as jobs:
        job = await jobs.start("commit", work)
        await anyio.to_thread.run_sync(gate.begun.wait, 10)
        await jobs.cancel(job.id)
        gate.may_go_on.set()
        done = await ended(jobs, job)

    assert done.state == "failed"
    assert done.error is not None
    assert done.error["detail"] == "it may have happened"


async def test_a_shielded_block_is_interrupted_and_decides_itself(state: State) -> None:
    gate, presses = Gate(), [0]

    def interrupt() -> None:
        presses[0] += 1
        if presses[0] == 3:  # the first ones fell between two calls
            gate.may_go_on.set()

    async def work(job: JobHandle) -> str:
        with job.stopped_by(interrupt):
            gate.begun.set()
            await anyio.to_thread.run_sync(gate.may_go_on.wait, 10)
            return "committed in time"

    async with opened(state) as jobs:
        job = await jobs.start("commit", work)
        await anyio.to_thread.run_sync(gate.begun.wait, 10)
        await jobs.cancel(job.id)
        done = await ended(jobs, job)

    assert (done.state, done.result) == ("succeeded", "committed in time")
    assert presses[0] >= 3


async def test_a_job_that_ended_stays_as_it_is(state: State) -> None:
    async with opened(state) as jobs:
        done = await ended(jobs, await jobs.start("one", lambda job: 1))

        assert await jobs.cancel(done.id) == done
        with pytest.raises(JobNotFoundError):
            await jobs.cancel("nothing")
        with pytest.raises(NotFoundError, match="nothing"):
            await jobs.get("nothing")


# What belongs to a job.


@pytest.mark.parametrize("fails", [False, True])
async def test_what_belongs_to_a_job_is_gone_when_it_is_said_to_have_ended(
    state: State, tmp_path: Path, fails: bool
) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"x")

    def work(job: JobHandle) -> None:
        assert file.exists()
        if fails:
            raise TableNotFoundError("t", None)

    async with opened(state) as jobs:
        await ended(jobs, await jobs.start("load", work, at_end=file.unlink))
        assert not file.exists()
        again = await ended(jobs, await jobs.start("load", lambda job: 1, at_end=file.unlink))

    assert again.state == "succeeded"  # that it was gone already is only logged


# Ends and starts of the process.


async def test_what_runs_when_the_server_stops_is_interrupted(state: State) -> None:
    gate = Gate()
    async with opened(state, concurrency_max=1) as jobs:
        running = await jobs.start("long", gate)
        waiting = await jobs.start("next", gate)
        await until(jobs, running, "running")
        jobs.refuse_new()
        await ended(jobs, waiting)
        with pytest.raises(UnavailableError, match="stopping"):
            await jobs.start("late", gate)
        assert jobs.running == 1

    found = {job.id: job for job in Ledger(state).list(10, None, None, None, None)}
    assert found[running.id].state == found[waiting.id].state == "interrupted"
    assert found[running.id].error is not None
    assert found[running.id].error["type"] == "/problems/job-interrupted"  # type: ignore[index]


async def test_what_ran_when_the_process_died_is_interrupted_at_the_next_start(
    state: State,
) -> None:
    async with opened(state) as jobs:
        done = await ended(jobs, await jobs.start("one", lambda job: 1))
    ran = Job(id=new_id(), kind="long", state="running", created_at=done.created_at)
    waited = Job(id=new_id(), kind="long", created_at=done.created_at)
    for job in (ran, waited):
        Ledger(state).put(job)

    async with opened(state) as jobs:
        for job in (ran, waited):
            now = await jobs.get(job.id)
            assert now.state == "interrupted"
            assert now.ended
            assert now.error is not None
            assert now.error["type"] == "/problems/job-interrupted"
        assert await jobs.get(done.id) == done


async def test_the_end_is_told_only_once_it_is_on_disk(state: State, tmp_path: Path) -> None:
    gate = Gate()
    async with opened(state) as jobs:
        job = await jobs.start("long", gate)
        await until(jobs, job, "running")
        with closing(sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            gate.may_go_on.set()
            await anyio.sleep(0.2)
            assert (await jobs.get(job.id)).state == "running"
            other.execute("ROLLBACK")
        assert (await ended(jobs, job)).state == "succeeded"


async def test_old_jobs_go_and_young_ones_stay(state: State) -> None:
    ledger = Ledger(state)
    async with opened(state) as jobs:
        done = await ended(jobs, await jobs.start("one", lambda job: 1))
    state.write(lambda tx: tx.execute("UPDATE job SET ended_at = ended_at - ?", (8 * DAY_S,)))
    running = Job(id=new_id(), kind="long", created_at=done.created_at)
    ledger.put(running)

    assert ledger.expire(9) == 0
    assert ledger.expire(7) == 1
    assert [job.id for job in ledger.list(10, None, None, None, None)] == [running.id]


# Lists and followers.


async def test_a_list_is_newest_first_in_pages_and_by_state_and_kind(state: State) -> None:
    async with opened(state) as jobs:
        for number in range(5):
            kind = "odd" if number % 2 else "even"
            await ended(jobs, await jobs.start(kind, lambda job: 1))
            await anyio.sleep(0.002)  # ids sort by the millisecond
        gate = Gate()
        running = await jobs.start("odd", gate)
        await until(jobs, running, "running")

        first = await jobs.list(4)
        rest = await jobs.list(4, first[-1].id)
        assert [job.kind for job in first + rest] == ["odd", "even", "odd", "even", "odd", "even"]
        assert [job.id for job in await jobs.list(9, state="running")] == [running.id]
        assert len(await jobs.list(9, state="succeeded", kind="odd")) == 2
        assert await jobs.list(9, kind="other") == []
        gate.may_go_on.set()


async def test_a_follower_is_told_each_change_and_the_end(state: State) -> None:
    gate = Gate()

    def work(job: JobHandle) -> str:
        job.progress(1, 2)
        return gate(job)

    async with opened(state) as jobs:
        job = await jobs.start("copy", work)
        told: list[Job] = []
        async for change in jobs.follow(job.id):
            assert change is not None
            told.append(change[1])
            if change[1].done == 1:
                gate.may_go_on.set()
        again = [change async for change in jobs.follow(job.id)]

    assert told[-1].state == "succeeded"
    assert all(not each.ended for each in told[:-1])
    assert [change[1] for change in again if change] == [told[-1]]


async def test_followers_are_counted_and_let_go(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lakehouse.jobs.jobs.WATCHERS_MAX", 1)
    monkeypatch.setattr("lakehouse.jobs.jobs.HEARTBEAT_S", 0.0)
    gate = Gate()
    async with opened(state) as jobs:
        job = await jobs.start("long", gate)
        await until(jobs, job, "running")
        following = jobs.follow(job.id)
        assert await anext(following) is not None
        assert await anext(following) is None  # nothing new: a sign of life
        with pytest.raises(UnavailableError, match="follow"):
            await anext(jobs.follow(job.id))
        await following.aclose()
        following = jobs.follow(job.id)
        assert await anext(following) is not None
        await following.aclose()
        gate.may_go_on.set()


async def test_jobs_are_closed_though_the_block_raises(state: State) -> None:
    gate = Gate()
    with pytest.raises(ZeroDivisionError):
        async with opened(state) as jobs:
            job = await jobs.start("long", gate)
            await until(jobs, job, "running")
            raise ZeroDivisionError

    found = Ledger(state).find(job.id)
    assert found is not None
    assert found.state == "interrupted"
