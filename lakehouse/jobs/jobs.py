"""The jobs of the process: started, listed, followed, cancelled, and kept for some days."""

import asyncio
import inspect
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self, TypeAlias, TypeVar

import anyio
import msgspec

from lakehouse.auth import EVERYTHING, caller, check_may, may
from lakehouse.config import JobsConfig
from lakehouse.errors import OutcomeUnknownError
from lakehouse.jobs.errors import (
    JobCancelledError,
    JobInterruptedError,
    JobNotFoundError,
    JobsStoppingError,
    TooManyJobsError,
    TooManyOwnJobsError,
    TooManyWatchersError,
)
from lakehouse.jobs.handle import Asked, JobHandle
from lakehouse.jobs.ledger import Ledger
from lakehouse.jobs.models import Job, JobState
from lakehouse.lanes import on_thread
from lakehouse.observability import trace_id
from lakehouse.state import State

log = logging.getLogger(__name__)
T = TypeVar("T")

Work: TypeAlias = Callable[[JobHandle], Any]
"""A plain function, run on a worker thread, or an async one. What it returns becomes JSON."""
AsProblem: TypeAlias = Callable[[Exception], bytes]
"""Returns an error as problem+json: the edge knows how errors leave, and logs bugs."""

SAVE_EVERY_S = 2.0
"""Seconds between two looks at what progress is worth a write."""
EXPIRE_EVERY_S = 3_600.0
TELL_EVERY_S = 0.25
"""Seconds between two states of one job that a follower is told."""
HEARTBEAT_S = 15.0
WATCHERS_MAX = 64
LEDGER_THREADS = 4


class Jobs:
    """At most `concurrency_max` jobs run at once, the others wait in the order they came."""

    def __init__(
        self,
        state: State,
        config: JobsConfig,
        as_problem: AsProblem,
        *,
        listener: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self._ledger = Ledger(state)
        self._config = config
        self._as_problem = as_problem
        self._live: dict[str, JobHandle] = {}
        self._slots = anyio.Semaphore(config.concurrency_max)
        self._threads = anyio.CapacityLimiter(config.concurrency_max)
        self._ledger_threads = anyio.CapacityLimiter(LEDGER_THREADS)
        self._listeners = [listener]
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._watchers = 0

    def on_end(self, listener: Callable[[Job], None]) -> None:
        """Call `listener` with each job that has ended, once that is on disk; on the loop."""
        self._listeners.append(listener)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Take jobs while this is open; what still runs then is interrupted, and waited for."""
        error = self._as_problem(JobInterruptedError())
        if count := await self._call(partial(self._ledger.interrupt_unended, error)):
            log.warning("%d jobs were interrupted when the last process ended", count)
        keeping = asyncio.create_task(self._keep())
        try:
            yield self
        finally:
            self.interrupt_all()
            keeping.cancel()
            with anyio.CancelScope(shield=True):
                while self._tasks:
                    await asyncio.wait(self._tasks)
                await asyncio.wait([keeping])

    def forget(self, is_about: Callable[[str], bool]) -> int:
        """Delete the jobs that have ended with such a subject, and return how many. Blocks.

        What they answered may quote the rows that they were about.
        """
        return self._ledger.forget(is_about)

    async def start(
        self,
        kind: str,
        work: Work,
        *,
        subject: str | None = None,
        unit: str | None = None,
        at_end: Callable[[], object] = lambda: None,
    ) -> Job:
        """Queue `work` and return its job; the row is on disk.

        Args:
            kind: one word for what it does.
            work: called with the job's handle, once it is its turn.
            subject: what it works on, for those who read the list.
            unit: what its progress counts.
            at_end: called on a thread once the work has ended, or will never begin, before
                anybody is told. Not called when this raises.

        Raises:
            TooManyJobsError: `waiting_max` jobs wait already.
            TooManyOwnJobsError: the caller has as many as it may have requests at once.
            JobsStoppingError: the server is stopping.
        """
        self.check_room()
        job = Job(
            id=new_id(),
            kind=kind,
            subject=subject,
            unit=unit,
            created_at=now(),
            caller=caller().name,
            trace_id=trace_id.get(),
        )
        handle = self._live[job.id] = JobHandle(job)
        try:
            await self._call(partial(self._ledger.put, job))
        except BaseException:
            handle.over.set()
            del self._live[job.id]
            raise
        self._spawn(self._live_through(handle, work, at_end))
        return job

    def check_room(self) -> None:
        """Raise what `start` would raise now: before a caller sends what the job works on."""
        if self._stopping:
            raise JobsStoppingError
        if len(self._live) >= self._config.concurrency_max + self._config.waiting_max:
            raise TooManyJobsError(self._config.waiting_max)
        most = caller().limits.concurrency
        own = sum(handle.now.caller == caller().name for handle in self._live.values())
        if most is not None and own >= most:
            raise TooManyOwnJobsError(most)

    async def get(self, job_id: str) -> Job:
        """Return the job as it is now; `JobNotFoundError` when the caller has none of that id."""
        handle = self._live.get(job_id)
        job = handle.now if handle else await self._call(partial(self._ledger.find, job_id))
        if job is None or not may_see(job):
            raise JobNotFoundError(job_id)
        return job

    async def list(
        self,
        limit: int,
        before: str | None = None,
        *,
        state: JobState | None = None,
        kind: str | None = None,
    ) -> list[Job]:
        """Return up to `limit` jobs of the caller, or of all for who writes all, newest first.

        Args:
            limit: 1 or more.
            before: the id of the last job of the page before.
            state: only jobs that are in it.
            kind: only jobs of it.
        """
        of = None if sees_all() else caller().name
        found = await self._call(partial(self._ledger.list, limit, before, state, kind, of))
        return [self._as_told(job) for job in found]

    def _as_told(self, job: Job) -> Job:
        """Return a job of the ledger with the progress that is not there yet."""
        handle = self._live.get(job.id)
        return handle.now if handle is not None and handle.now.state == job.state else job

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to stop and return it as it is then; one that has ended stays as it is.

        It has stopped once its state says so: `cancelled`, or how else it ended meanwhile.

        Raises:
            JobNotFoundError: there is none.
            ForbiddenError: it is of somebody else, and the caller does not administer everything.
        """
        job = await self.get(job_id)
        if job.caller != caller().name:
            check_may("administer", EVERYTHING, "jobs of others")
        handle = self._live.get(job_id)
        if handle is not None:
            self._stop(handle, "cancelled")
        return await self.get(job_id)

    def end_of(self, names: Collection[str]) -> None:
        """Stop the jobs of callers who may ask for nothing any more. On the loop."""
        for handle in list(self._live.values()):
            if handle.told.caller in names:
                self._stop(handle, "cancelled")

    async def follow(self, job_id: str) -> AsyncGenerator[tuple[int, Job] | None]:
        """Yield the job and its version now and at each change; it has ended in the last one.

        Yields None after `HEARTBEAT_S` without one. Changes within `TELL_EVERY_S` are one.

        Raises:
            JobNotFoundError: there is none.
            TooManyWatchersError: `WATCHERS_MAX` are followed already.
        """
        job = await self.get(job_id)
        handle = self._live.get(job_id)
        if handle is None:
            yield 0, job
            return
        if self._watchers >= WATCHERS_MAX:
            raise TooManyWatchersError(WATCHERS_MAX)
        self._watchers += 1
        try:
            told, told_at = 0, time.monotonic()
            while not handle.over.is_set():
                job = handle.now
                if handle.version != told:
                    told, told_at = handle.version, time.monotonic()
                    yield told, job
                elif time.monotonic() - told_at > HEARTBEAT_S:
                    told_at = time.monotonic()
                    yield None
                with anyio.move_on_after(TELL_EVERY_S):
                    await handle.over.wait()
            yield handle.version, handle.now
        finally:
            self._watchers -= 1

    @property
    def running(self) -> int:
        """How many jobs have begun and not ended."""
        return sum(handle.now.state == "running" for handle in self._live.values())

    @property
    def waiting(self) -> int:
        return len(self._live) - self.running

    def refuse_new(self) -> None:
        """Take no more jobs and end those that wait: the server stops."""
        self._stopping = True
        for handle in list(self._live.values()):
            if handle.now.state == "queued":
                self._stop(handle, "interrupted")

    def interrupt_all(self) -> None:
        """Make every job stop, and take no more: the server stops."""
        self._stopping = True
        for handle in list(self._live.values()):
            self._stop(handle, "interrupted")

    def _stop(self, handle: JobHandle, why: Asked) -> None:
        if handle.asked is None:
            handle.ask_to_stop(why)
            self._spawn(handle.press())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)  # the loop itself holds none
        task.add_done_callback(self._tasks.discard)

    # Below: the life of one job.

    async def _live_through(
        self, handle: JobHandle, work: Work, at_end: Callable[[], object]
    ) -> None:
        ended = self._unfinished(handle, JobInterruptedError())
        try:
            ended = await self._outcome(handle, work)
        finally:
            with anyio.CancelScope(shield=True):
                await self._clean_up(handle, at_end)
                await self._settle(handle, ended)

    async def _outcome(self, handle: JobHandle, work: Work) -> dict[str, Any]:
        """Return the fields that say how the job ended; only a value means that it succeeded."""
        try:
            with handle.scope:
                async with self._slots:
                    begun: dict[str, Any] = {"state": "running", "started_at": now()}
                    job = msgspec.structs.replace(handle.now, **begun)
                    await self._call(partial(self._ledger.put, job))
                    handle.change(**begun)
                    value = await self._result(work, handle)
                    ended = {"state": "succeeded", "result": plain(value), "phase": None}
                    total = handle.told.total
                    return ended if total is None else {**ended, "done": total}
        except Exception as error:
            return self._unfinished(handle, error)
        return self._unfinished(handle, handle.stopped())

    async def _result(self, work: Work, handle: JobHandle) -> Any:
        if inspect.iscoroutinefunction(work):
            return await work(handle)
        return await on_thread(partial(work, handle), self._threads)

    def _unfinished(self, handle: JobHandle, error: Exception) -> dict[str, Any]:
        """Return the fields of a job that raised. Asked to stop, it did, whatever it raised then.

        But for an outcome that nobody knows: that is said even so.
        """
        state: JobState = "failed"
        if handle.asked is not None and not isinstance(error, OutcomeUnknownError):
            error = handle.stopped()
        if isinstance(error, JobInterruptedError):
            state = "interrupted"
        elif isinstance(error, JobCancelledError):
            state = "cancelled"
        return {"state": state, "error": msgspec.json.decode(self._as_problem(error))}

    async def _clean_up(self, handle: JobHandle, at_end: Callable[[], object]) -> None:
        try:
            await on_thread(at_end, self._ledger_threads)
        except Exception:
            log.exception("what belonged to the job %s could not be removed", handle.id)

    async def _settle(self, handle: JobHandle, ended: dict[str, Any]) -> None:
        """Say how the job ended, once that is on disk: nobody is told what a restart forgets."""
        ended = {**ended, "ended_at": now()}
        job = msgspec.structs.replace(handle.now, **ended)
        while True:
            if await self._stored(job) or self._stopping:
                break
            await anyio.sleep(SAVE_EVERY_S)
        handle.change(**ended)
        del self._live[handle.id]
        handle.over.set()
        for listener in self._listeners:
            listener(job)
        log.info("a job ended: %s", job.kind, extra={"job_id": job.id, "state": job.state})

    async def _stored(self, job: Job) -> bool:
        try:
            await self._call(partial(self._ledger.put, job))
        except Exception:
            log.exception("the end of the job %s could not be stored", job.id)
            return False
        return True

    async def _keep(self) -> None:
        """Store progress every `SAVE_EVERY_S`, delete old rows every `EXPIRE_EVERY_S`."""
        expired_at: float | None = None
        while True:
            try:
                await self._save_progress()
                if expired_at is None or time.monotonic() - expired_at > EXPIRE_EVERY_S:
                    expired_at = time.monotonic()
                    await self._call(partial(self._ledger.expire, self._config.keep_days))
            except Exception:
                log.exception("the rows of jobs could not be kept")
            await anyio.sleep(SAVE_EVERY_S)

    async def _save_progress(self) -> None:
        changed = [
            (handle, job, version)
            for handle in self._live.values()
            for job, version in [(handle.now, handle.version)]
            if version != handle.saved
        ]
        if changed:
            jobs = [job for _, job, _ in changed]
            await self._call(partial(self._ledger.save_progress, jobs))
        for handle, _, version in changed:
            handle.saved = version

    async def _call(self, work: Callable[[], T]) -> T:
        return await on_thread(work, self._ledger_threads)


def sees_all() -> bool:
    return may("operate", EVERYTHING)


def may_see(job: Job) -> bool:
    return job.caller == caller().name or sees_all()


def plain(value: Any) -> Any:
    """Return what work returned as JSON knows it; bytes are JSON already."""
    return msgspec.json.decode(value) if isinstance(value, bytes) else msgspec.to_builtins(value)


def now() -> datetime:
    return datetime.now(UTC)


def new_id() -> str:
    """Return an id that sorts by the time it was made, and that nobody guesses."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
