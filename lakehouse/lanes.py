"""Worker threads in lanes, what becomes of one that does not come back, and turns at a table."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import Enum
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

import anyio

from lakehouse.errors import UnavailableError

T = TypeVar("T")

INTERRUPT_EVERY_S = 0.02
GIVE_UP_AFTER_S = 4.0
"""An interrupted thread that has not come back by then is given up."""
TURN_WAIT_S = 60.0
TURNS_WAITING_MAX = 256


class Lane(Enum):
    """Who may use how many threads: slow work never takes the last one from a short read."""

    SHORT = "short"
    WRITE = "write"
    """Small appends: many may wait for one table's lock, and none of them holds up a read."""
    LONG = "long"
    UPKEEP = "upkeep"
    """What the tables need: one thing at a time, and it takes no slot from anybody."""


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Work that looks at no interrupt: its caller was answered, its thread is still in it."""

    name: str
    since: float
    """When it was interrupted first, as `time.monotonic` counts."""


@dataclass(slots=True, eq=False)
class Job(Generic[T]):
    """Work on its way to a thread, or on one; `answer` is of the loop that waits for it."""

    work: Callable[[], T]
    loop: asyncio.AbstractEventLoop
    answer: "asyncio.Future[T]"
    context: Context = field(default_factory=copy_context)
    is_back: bool = False


class Worker:
    """A thread that does one job after the other, until it gets None."""

    def __init__(self, name: str, on_end: Callable[["Worker", Job[Any], Any, Any], None]) -> None:
        self.jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._on_end = on_end
        threading.Thread(target=self._run, name=name).start()

    def _run(self) -> None:
        while (job := self.jobs.get()) is not None:
            end: tuple[Worker, Job[Any], Any, BaseException | None]
            try:
                end = (self, job, job.context.run(job.work), None)
            except BaseException as error:
                end = (self, job, None, error)
            try:
                job.loop.call_soon_threadsafe(self._on_end, *end)
            except RuntimeError:  # the loop is closed: nobody waits, and nobody gives out work
                return
            del job, end  # what they hold is free before the next job comes


class Threads:
    """The threads of one lane; work waits in order while all are in use.

    Not anyio's: with its limiter and cancel scopes a hop cost more than the statement. The thread
    that came back last is the next to go: its caches are warm.
    """

    def __init__(self, lane: Lane, count: int, *, give_up_after_s: float = GIVE_UP_AFTER_S) -> None:
        self.count = count
        self._give_up_after_s = give_up_after_s
        self._name = f"lane-{lane.value}"
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._waiting: deque[Job[Any]] = deque()
        self._given_up: dict[Job[Any], GivenUp] = {}

    async def run(self, work: Callable[[], T], interrupt: Callable[[], None], name: str) -> T:
        """Return `work()`, run on a thread, in the caller's context.

        When the caller is cancelled, work that waits for a thread never gets one. What runs is
        interrupted and waited for, at most `give_up_after_s` seconds.

        Args:
            interrupt: makes `work` raise soon; called again and again, because one that falls
                between two calls of the engine is lost.
            name: of the work, in the list of what was given up.
        """
        job = self._begin(work)
        try:
            return await job.answer
        except asyncio.CancelledError:
            if job in self._waiting:
                self._waiting.remove(job)
            else:
                await self._come_back(job, interrupt, name)
            raise

    async def call(self, work: Callable[[], T]) -> T:
        """Return `work()`, run on a thread; a caller that is cancelled waits for its end."""
        job = self._begin(work)
        with anyio.CancelScope(shield=True):
            await asyncio.wait([job.answer])
        return job.answer.result()

    def given_up(self) -> list[GivenUp]:
        """Return what holds a thread that nobody waits for any more."""
        return list(self._given_up.values())

    def close(self) -> None:
        """Let the threads end, each after the job that it is at."""
        for worker in self._workers:
            worker.jobs.put(None)

    def _begin(self, work: Callable[[], T]) -> Job[T]:
        loop = asyncio.get_running_loop()
        job = Job(work, loop, loop.create_future())
        if self._idle:
            self._idle.pop().jobs.put(job)
        elif len(self._workers) < self.count:
            self._new_worker().jobs.put(job)
        else:
            self._waiting.append(job)
        return job

    def _new_worker(self) -> Worker:
        try:
            worker = Worker(self._name, self._ended)
        except RuntimeError as error:  # there is no memory for the stack of a thread
            raise MemoryError from error
        self._workers.append(worker)
        return worker

    def _ended(self, worker: Worker, job: Job[T], result: T, error: BaseException | None) -> None:
        """Hand out the answer, and to the thread what waits. On the loop."""
        job.is_back = True
        self._given_up.pop(job, None)
        if self._waiting:
            worker.jobs.put(self._waiting.popleft())
        else:
            self._idle.append(worker)
        if job.answer.cancelled():
            return
        if error is None:
            job.answer.set_result(result)
        elif isinstance(error, StopIteration):  # a future cannot hold it
            job.answer.set_exception(RuntimeError("the work raised StopIteration"))
        else:
            job.answer.set_exception(error)

    async def _come_back(self, job: Job[Any], interrupt: Callable[[], None], name: str) -> None:
        began = time.monotonic()
        try:
            with anyio.CancelScope(shield=True):
                while not job.is_back and time.monotonic() < began + self._give_up_after_s:
                    interrupt()
                    await anyio.sleep(INTERRUPT_EVERY_S)
        finally:
            if not job.is_back:
                self._given_up[job] = GivenUp(name, began)


class TableBusyError(UnavailableError):
    """Changes of a table are made one after the other, and those before this one go on."""

    retry_after_s = 10

    def __init__(self, table: str) -> None:
        super().__init__(
            f"other changes of the table {table!r} have not ended yet; send it again later",
            table=table,
        )


class Turns:
    """Turns at tables, one at a time for each, in the order they came. Who waits holds no thread.

    Args:
        wait_s: how long one waits for its turn.
        waiting_max: how many wait for one table.
    """

    def __init__(
        self, *, wait_s: float = TURN_WAIT_S, waiting_max: int = TURNS_WAITING_MAX
    ) -> None:
        self._wait_s = wait_s
        self._waiting_max = waiting_max
        self._locks: dict[str, anyio.Lock] = {}

    @asynccontextmanager
    async def at(self, table: str, *, patient: bool = False) -> AsyncIterator[None]:
        """Hold the turn at a table, named as the catalog folds it, in this block.

        Args:
            patient: wait without end and beside the count, as a job may.

        Raises:
            TableBusyError: it did not come in time, or too many wait for it.
        """
        lock = self._locks.setdefault(table, anyio.Lock())
        if not patient and lock.statistics().tasks_waiting >= self._waiting_max:
            raise TableBusyError(table)
        try:
            with anyio.move_on_after(None if patient else self._wait_s) as waiting:
                await lock.acquire()
            if waiting.cancelled_caught:
                raise TableBusyError(table)
            try:
                yield
            finally:
                lock.release()
        finally:
            if not lock.locked():  # who waits has it by now
                self._locks.pop(table, None)
