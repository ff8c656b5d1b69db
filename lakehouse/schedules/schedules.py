"""Schedules: when each is due, one run of each at a time, and a row of how it went."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec

from lakehouse.audit import Audit, AuditRow, Record, recording
from lakehouse.auth import (
    EVERYTHING,
    LOCAL_OPERATOR,
    OPEN_TO_ALL,
    Caller,
    Limiter,
    Tokens,
    WrongTokenError,
    acting,
    caller,
    check_may,
    may,
)
from lakehouse.catalog import parse_table_name
from lakehouse.errors import LakehouseError
from lakehouse.jobs import Job, JobHandle, Jobs, JobsStoppingError, JobState
from lakehouse.lanes import on_thread
from lakehouse.observability import trace_id
from lakehouse.schedules.cron import next_after
from lakehouse.schedules.errors import (
    OwnerEndedError,
    ScheduleNotClearError,
    ScheduleNotFoundError,
    ScheduleRunningError,
)
from lakehouse.schedules.ledger import Kept, Ledger, mode_of
from lakehouse.schedules.models import RunOutcome, Schedule, ScheduleCreate, ScheduleRun, Trigger
from lakehouse.schedules.work import Work
from lakehouse.state import State

log = logging.getLogger(__name__)

LOOK_EVERY_S = 20.0
"""At most: the clock of a machine may be set while nobody looks."""
FIRST_LOOK_S = 5.0
"""After the start: a command that opens the directory for a moment begins no run."""
LATE_S = 90.0
"""A run that begins later than this after its time was missed."""
KIND = "schedule"
OUTCOMES: dict[JobState, RunOutcome] = {
    "succeeded": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}
ENDED = "its token ended"


class Schedules:
    """Runs are jobs, as the token that made the schedule, with what it may do by then."""

    def __init__(
        self,
        state: State,
        jobs: Jobs,
        work: Work,
        tokens: Tokens,
        limiter: Limiter,
        audit: Audit,
        *,
        status_of: Callable[[BaseException], int],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger = Ledger(state)
        self._jobs = jobs
        self._work = work
        self._tokens = tokens
        self._limiter = limiter
        self._audit = audit
        self._status_of = status_of
        self._now = now
        self._running: dict[int, ScheduleRun | None] = {}
        """By the schedule's id; None of one that is being stored."""
        self._rows: dict[int, int] = {}
        """Rows that a run has touched, by its id."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._opened_at = time.time()
        jobs.on_end(self._job_ended)

    async def create(self, asked: ScheduleCreate) -> Schedule:
        """Keep a schedule of the caller's.

        Raises:
            InvalidScheduleError: its words, or another part of it, make no sense.
            ScheduleExistsError, TooManySchedulesError
            ForbiddenError: the caller may not do what it asks for.
        """
        next_at = next_after(asked.cron, self._now()).timestamp()
        asked = msgspec.structs.replace(asked, mode=mode_of(asked))
        await self._work.check(asked)
        who = caller()
        kept = await on_thread(partial(self._ledger.add, asked, who.name, who.token_id, next_at))
        self._woken.set()
        return kept.shown(None)

    async def list(self) -> Sequence[Schedule]:
        """Return the caller's own by name; of all for who operates everything."""
        found = await on_thread(self._ledger.all)
        last = await on_thread(self._ledger.last_runs)
        return [each.shown(last.get(each.id)) for each in found if sees(each)]

    async def get(self, name: str) -> Schedule:
        kept = await self._find(name)
        runs = await on_thread(partial(self._ledger.runs, kept, 1))
        return kept.shown(runs[0] if runs else None)

    async def runs(self, name: str, limit: int, before: int | None) -> Sequence[ScheduleRun]:
        """Return the newest runs of a schedule, those before the run `before`."""
        return await on_thread(partial(self._ledger.runs, await self._find(name), limit, before))

    async def delete(self, name: str) -> None:
        """Forget a schedule and its runs. A run that is on its way goes on, as its job."""
        kept = await self._own(name)
        await on_thread(partial(self._ledger.delete, kept.id))

    async def pause(self, name: str) -> Schedule:
        kept = await self._own(name)
        await on_thread(partial(self._ledger.pause, kept.id, None))
        return await self.get(name)

    async def resume(self, name: str) -> Schedule:
        """Let it run again, from its next time on."""
        kept = await self._own(name)
        next_at = next_after(kept.asked.cron, self._now()).timestamp()
        await on_thread(partial(self._ledger.set_next, kept.id, next_at))
        self._woken.set()
        return await self.get(name)

    async def run(self, name: str) -> Job:
        """Begin a run now, paused or not, and return its job.

        Raises:
            ScheduleRunningError: one runs already.
            OwnerEndedError: the token that made it has ended.
            TooManyJobsError: too many wait already.
        """
        kept = await self._own(name)
        self._check_idle(kept)
        self._jobs.check_room()
        try:
            return await self._begin(kept, "asked", self._now().timestamp())
        except WrongTokenError as error:  # not that of who asks: 401 would send them for another
            raise OwnerEndedError(name) from error

    async def keep(self) -> None:
        """Begin what is due for as long as the server lives.

        What was due while it was away runs once. What ran when it ended begins once more, under
        the same idempotency key: what that run had done has no second effect.
        """
        await asyncio.sleep(FIRST_LOOK_S)
        unended: list[tuple[Kept, ScheduleRun]] | None = None
        while True:
            self._woken.clear()
            pause_s = LOOK_EVERY_S
            try:
                if unended is None:
                    left = partial(self._ledger.interrupt_unended, self._opened_at)
                    unended = await on_thread(left)
                while unended:
                    kept, run = unended.pop()
                    if run.trigger != "missed":  # one that ends the process does so once more
                        await self._try(kept, "missed", run.due_at.timestamp())
                await self._look()
                pause_s = await self._pause_s()
            except (LakehouseError, OSError):
                log.exception("schedules could not be looked at; it is tried again")
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):  # `wait_for` loses a cancel in Python 3.11
                    await self._woken.wait()

    async def _pause_s(self) -> float:
        active = [each.next_at for each in await on_thread(self._ledger.all) if not each.paused]
        until = min(active, default=float("inf")) - self._now().timestamp()
        return min(max(until, 0.0), LOOK_EVERY_S)

    async def _look(self) -> None:
        now = self._now()
        for kept in await on_thread(self._ledger.all):
            if kept.paused or kept.next_at > now.timestamp():
                continue
            next_at = next_after(kept.asked.cron, now).timestamp()
            if kept.id in self._running:  # the one that runs takes what came meanwhile, or the next
                await on_thread(partial(self._ledger.put_off, kept.id, next_at))
                continue
            trigger: Trigger = "missed" if now.timestamp() - kept.next_at > LATE_S else "cron"
            await self._try(kept, trigger, kept.next_at, next_at)

    async def _try(
        self, kept: Kept, trigger: Trigger, due_at: float, next_at: float | None = None
    ) -> None:
        """Begin a run; one that cannot begin has its row and does not keep others from it."""
        try:
            await self._begin(kept, trigger, due_at, next_at)
        except LakehouseError as error:
            log.warning("the schedule %s could not run: %s", kept.name, error)

    async def _begin(
        self, kept: Kept, trigger: Trigger, due_at: float, next_at: float | None = None
    ) -> Job:
        self._check_idle(kept)
        run = self._running[kept.id] = None  # now: two who ask at once begin one run
        try:
            run = await on_thread(partial(self._ledger.begin, kept, trigger, due_at, next_at))
            who = self._caller_of(kept)
            with acting(who), tracing():
                work = partial(self._do, kept, run, who)
                job = await self._jobs.start(
                    KIND, work, subject=str(parse_table_name(kept.asked.table))
                )
        except BaseException as error:
            self._running.pop(kept.id, None)
            is_cut_off = isinstance(error, JobsStoppingError | asyncio.CancelledError)
            if run is not None and not is_cut_off:  # that one's row says that it runs: see `keep`
                await self._refused(kept, run, error)
            raise
        # Nothing was awaited since the job was begun, so it has not ended yet.
        self._running[kept.id] = msgspec.structs.replace(run, job_id=job.id)
        await on_thread(partial(self._ledger.is_job, run.run_id, job.id))
        return job

    def _check_idle(self, kept: Kept) -> None:
        if kept.id in self._running:
            running = self._running[kept.id]
            raise ScheduleRunningError(kept.name, running.job_id if running else None)

    async def _refused(self, kept: Kept, run: ScheduleRun, error: BaseException) -> None:
        status = self._status_of(error)
        self._audit.later(row_of(kept, kept.token_id, time.time(), status, Record()))
        detail = error.detail if isinstance(error, LakehouseError) else type(error).__name__
        if isinstance(error, WrongTokenError):
            detail = ENDED
            await on_thread(partial(self._ledger.pause, kept.id, ENDED))
        ended: dict[str, Any] = {"outcome": "refused", "ended_at": self._now(), "detail": detail}
        await on_thread(partial(self._ledger.end, msgspec.structs.replace(run, **ended)))

    def _caller_of(self, kept: Kept) -> Caller:
        """Return whom a run acts as: who made the schedule, with the grants of now.

        Raises:
            WrongTokenError: the token has ended, or anybody may no longer ask without one.
        """
        if kept.token_id is not None:
            return self._tokens.still(kept.caller)
        if kept.caller == OPEN_TO_ALL.name:
            if self._tokens.are_needed:
                raise WrongTokenError
            return OPEN_TO_ALL
        return LOCAL_OPERATOR

    async def _do(self, kept: Kept, run: ScheduleRun, who: Caller, job: JobHandle) -> Any:
        key = f"schedule-{kept.id}-{run.due_at.timestamp():.3f}"
        with self._audited(kept, who) as noted, self._limiter.enter(who) as usage:
            try:
                rows = await self._work.run(kept.asked, key, job)
            finally:
                if usage is not None:
                    self._limiter.count(usage, noted.uncounted())
        self._rows[run.run_id] = rows
        return {"schedule": kept.name, "row_count": rows}

    @contextmanager
    def _audited(self, kept: Kept, who: Caller) -> Iterator[Record]:
        """Leave the row of a run: with the change that it makes, else soon after its end."""
        noted, status, began_at = Record(), 0, time.time()

        def row() -> AuditRow:
            return row_of(kept, who.token_id, began_at, status, noted)

        noted.row = row
        try:
            with recording(noted):
                yield noted
            status = 200
        except BaseException as error:
            status = self._status_of(error)
            raise
        finally:
            if noted.audit_id is not None:
                self._audit.answered(noted.audit_id, row())
            else:
                self._audit.later(row())

    def _job_ended(self, job: Job) -> None:
        """Take note of how a run ended. On the loop."""
        for schedule_id, run in list(self._running.items()):
            if run is not None and run.job_id == job.id:
                del self._running[schedule_id]
                rows = self._rows.pop(run.run_id, 0)
                if (outcome := OUTCOMES.get(job.state)) is None:
                    return  # interrupted: the next start sees that it did not end, and begins it
                detail = (job.error or {}).get("detail")
                ended = {"outcome": outcome, "ended_at": self._now()}
                done = msgspec.structs.replace(run, **ended, row_count=rows, detail=detail)
                task = asyncio.create_task(self._end(done))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _end(self, run: ScheduleRun) -> None:
        try:
            await on_thread(partial(self._ledger.end, run))
        except Exception:
            log.exception("the end of a run of the schedule %s could not be stored", run.schedule)

    async def _find(self, name: str) -> Kept:
        """Return the caller's own of this name, else the one of others that they see."""
        seen = [each for each in await on_thread(partial(self._ledger.find, name)) if sees(each)]
        found = [each for each in seen if each.caller == caller().name] or seen
        if not found:
            raise ScheduleNotFoundError(name)
        if len(found) > 1:
            raise ScheduleNotClearError(name, [each.caller for each in found])
        return found[0]

    async def _own(self, name: str) -> Kept:
        """Return one that the caller may change: their own, or any for who administers all."""
        kept = await self._find(name)
        if kept.caller != caller().name:
            check_may("administer", EVERYTHING, "schedules of others")
        return kept


@contextmanager
def tracing() -> Iterator[None]:
    """Give what is begun in the block an id of its own, unless a request begins it."""
    token = trace_id.set(trace_id.get() or uuid4().hex)
    try:
        yield
    finally:
        trace_id.reset(token)


def row_of(
    kept: Kept, token_id: str | None, began_at: float, status: int, noted: Record
) -> AuditRow:
    """Return a run as the audit log has it by now."""
    return AuditRow(
        began_at=began_at,
        caller=kept.caller,
        token_id=token_id,
        address="",
        trace_id=trace_id.get() or "",
        method="RUN",
        path=f"/v1/schedules/{kept.name}",
        status=status,
        sql_sha256=noted.sql_sha256,
        tables=sorted(noted.tables),
        row_count=noted.row_count,
        received_bytes=0,
        sent_bytes=0,
        duration_s=time.time() - began_at,
    )


def sees(kept: Kept) -> bool:
    return kept.caller == caller().name or may("operate", EVERYTHING)
