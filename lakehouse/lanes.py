"""Worker threads in lanes, what becomes of one that does not come back, and turns at a table."""

import _thread
import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

import anyio
import anyio.lowlevel
import anyio.to_thread

from lakehouse.errors import UnavailableError
from lakehouse.reserve import with_frames

T = TypeVar("T")

START_MAX_S = 5.0
"""A new thread that has not taken its work by then never will: it had no memory to begin with."""
IDLE_MAX_S = 10.0
IDLE_KEPT = 4
"""So many threads of a lane stay, idle or not: a stack is 8 MiB of what `RLIMIT_DATA` counts."""
MEMORY_WAIT_S = 0.05
SMALL_MAX = 256
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
    SMALL = "small"
    """What blocks for moments: files of uploads and objects, `catalog.db`."""


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
    """A thread that does one job after the other, until it gets None.

    No `threading.Thread`: its `start` waits for the first word of the new thread, without an end. A
    thread that finds no memory for its first frame never says one, and it was the event loop that
    waited: nobody was answered any more, and no signal was looked at.
    """

    def __init__(self, threads: "Threads") -> None:
        self.jobs: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self.has_begun = False
        self.has_ended = threading.Event()
        self._threads = threads
        _thread.start_new_thread(with_frames, (self._run,))

    def _run(self) -> None:
        self.has_begun = True
        try:
            self._work()
        finally:
            self.has_ended.set()

    def _work(self) -> None:
        threading.current_thread().name = self._threads.name
        job = self.jobs.get()
        while job is not None:
            loop, error = job.loop, None
            result: Any = None
            try:
                result = job.context.run(job.work)
            except BaseException as raised:
                error = raised
            if not tell(loop, self._threads.ended, self, job, result, error):
                return
            del job, result, error  # what they hold is free before the next job comes
            job = self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> Job[Any] | None:
        """Return the next job; None when there will be none."""
        while True:
            try:
                return self.jobs.get(timeout=IDLE_MAX_S)
            except Empty:
                if not tell(loop, self._threads.idle_for_long, self):
                    return None


def heard(answer: "asyncio.Future[Any]") -> None:
    if not answer.cancelled():
        answer.exception()


def tell(loop: asyncio.AbstractEventLoop, callback: Callable[..., None], *arguments: Any) -> bool:
    """Have the loop call something; False when it is closed: nobody waits, or gives out work."""
    while True:
        try:
            loop.call_soon_threadsafe(callback, *arguments)
        except MemoryError:
            time.sleep(MEMORY_WAIT_S)
        except RuntimeError:
            return False
        else:
            return True


class Threads:
    """The threads of one lane; work waits in order while all are in use.

    Not anyio's: with its limiter and cancel scopes a hop cost more than the statement. The thread
    that came back last is the next to go: its caches are warm.
    """

    def __init__(
        self,
        lane: Lane,
        count: int,
        *,
        give_up_after_s: float = GIVE_UP_AFTER_S,
        start_max_s: float = START_MAX_S,
    ) -> None:
        self.count = count
        self._give_up_after_s = give_up_after_s
        self._start_max_s = start_max_s
        self.name = f"lane-{lane.value}"
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

    async def call(self, work: Callable[[], T], *, patient: bool = True) -> T:
        """Return `work()`, run on a thread; a caller that is cancelled waits for its end.

        Args:
            patient: False for one that leaves then; the work goes on.
        """
        job = self._begin(work)
        try:
            with anyio.CancelScope(shield=patient):
                await asyncio.wait([job.answer])
        except asyncio.CancelledError:
            job.answer.add_done_callback(heard)  # else the loop tells of an error nobody asked for
            raise
        return job.answer.result()

    def given_up(self) -> list[GivenUp]:
        """Return what holds a thread that nobody waits for any more."""
        return list(self._given_up.values())

    def close(self) -> None:
        """Let the threads end, each after the job that it is at."""
        for worker in self._workers:
            worker.jobs.put(None)

    def join(self, within_s: float) -> None:
        """Wait, after `close`, until the threads have ended, or so long."""
        deadline = time.monotonic() + within_s
        for worker in self._workers:
            worker.has_ended.wait(max(0.0, deadline - time.monotonic()))

    def _begin(self, work: Callable[[], T]) -> Job[T]:
        loop = asyncio.get_running_loop()
        job = Job(work, loop, loop.create_future())
        self._hand_out(job)
        return job

    def _hand_out(self, job: Job[Any]) -> None:
        if self._idle:
            self._idle.pop().jobs.put(job)
        elif len(self._workers) < self.count:
            worker = self._new_worker()
            worker.jobs.put(job)
            job.loop.call_later(self._start_max_s, self._see_it_began, worker)
        else:
            self._waiting.append(job)

    def _new_worker(self) -> Worker:
        try:
            worker = Worker(self)
        except RuntimeError as error:  # there is no memory for the stack of a thread
            raise MemoryError from error
        self._workers.append(worker)
        return worker

    def _see_it_began(self, worker: Worker) -> None:
        """Give up a thread that did not take its work, and tell who waits for that.

        One that has begun takes what lies there in a moment, and it may be its hundredth job.
        """
        if worker.has_begun:
            return
        try:
            job = worker.jobs.get_nowait()
        except Empty:
            return
        worker.jobs.put(None)
        self._workers.remove(worker)
        if job is not None:
            self._settle(job, None, MemoryError())
        if self._waiting:
            job = self._waiting.popleft()
            try:
                self._hand_out(job)
            except MemoryError as error:
                self._settle(job, None, error)

    def idle_for_long(self, worker: Worker) -> None:
        """Let a thread end that nobody needs. On the loop."""
        if worker in self._idle and len(self._idle) > IDLE_KEPT:
            self._idle.remove(worker)
            self._workers.remove(worker)
            worker.jobs.put(None)

    def ended(self, worker: Worker, job: Job[T], result: T, error: BaseException | None) -> None:
        """Hand out the answer, and to the thread what waits. On the loop."""
        if job.is_back:  # told twice, for want of memory
            return
        if self._waiting:
            worker.jobs.put(self._waiting.popleft())
        else:
            self._idle.append(worker)
        self._settle(job, result, error)

    def _settle(self, job: Job[Any], result: Any, error: BaseException | None) -> None:
        job.is_back = True
        self._given_up.pop(job, None)
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


SMALL_THREADS = anyio.lowlevel.RunVar[Threads]("small_threads")


async def on_thread(
    work: Callable[[], T],
    limiter: anyio.CapacityLimiter | None = None,
    *,
    patient: bool = True,
) -> T:
    """Return `work()`, run on a thread beside the lanes: for what blocks for moments.

    As `anyio.to_thread.run_sync`, which starts its threads in a way that may stop the event loop.

    Args:
        patient: as `Threads.call`.

    Raises:
        MemoryError: there was none for a thread.
    """
    async with limiter or anyio.to_thread.current_default_thread_limiter():
        try:
            threads = SMALL_THREADS.get()
        except LookupError:
            threads = Threads(Lane.SMALL, SMALL_MAX)
            SMALL_THREADS.set(threads)
        return await threads.call(work, patient=patient)


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
