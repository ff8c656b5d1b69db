"""A job that lives: what its work tells of itself, and how it is asked to stop."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import anyio
import msgspec

from lakehouse.jobs.errors import JobCancelledError, JobInterruptedError
from lakehouse.jobs.models import Job

Asked: TypeAlias = Literal["cancelled", "interrupted"]
"""To stop: by a caller, or because the server stops."""

INTERRUPT_EVERY_S = 0.05


class JobHandle:
    """What the work of a job is given. Its public methods are safe and cheap from any thread."""

    def __init__(self, job: Job) -> None:
        self.version = 1
        """Grows with each change that somebody may want to see."""
        self.saved = 1
        """The version that lies in the ledger."""
        self.asked: Asked | None = None
        self.scope = anyio.CancelScope()
        self.over = anyio.Event()
        """Set once the job has ended and its row says so."""
        self._job = job
        self._interrupts: list[Callable[[], None]] = []
        self._measures: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def id(self) -> str:
        return self._job.id

    @property
    def now(self) -> Job:
        """The job as it is now."""
        for measure in list(self._measures):
            measure()
        return self._job

    @property
    def told(self) -> Job:
        """The job as its work last told it, without asking what `measured_by` named."""
        return self._job

    def progress(
        self, done: int | None = None, total: int | None = None, phase: str | None = None
    ) -> None:
        """Say how far it is. What is left out stays as it was; costs a microsecond.

        Args:
            done: of `total`, in the unit that `Jobs.start` named.
            total: None while nobody knows.
            phase: what it is at, in words.
        """
        said = {"done": done, "total": total, "phase": phase}
        self.change(**{name: value for name, value in said.items() if value is not None})

    def check_cancelled(self) -> None:
        """Raise `JobCancelledError` when somebody asked the job to stop: leave nothing behind."""
        if self.asked is not None:
            raise JobCancelledError

    @contextmanager
    def stopped_by(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """In this block a request to stop calls `interrupt`, again and again, and nothing else.

        No `await` in it is cancelled: what it returns or raises decides how the job ends.

        Args:
            interrupt: makes the work raise soon; called on the event loop.
        """
        self.check_cancelled()
        with anyio.CancelScope(shield=True):
            self._interrupts.append(interrupt)
            try:
                yield
            finally:
                self._interrupts.remove(interrupt)

    @contextmanager
    def measured_by(self, measure: Callable[[], None]) -> Iterator[None]:
        """In this block `measure` is called whenever somebody looks: it tells `progress`.

        Args:
            measure: takes no time; called on the event loop.
        """
        self._measures.append(measure)
        try:
            yield
        finally:
            self._measures.remove(measure)

    # Below: for `Jobs`.

    def change(self, **fields: Any) -> None:
        with self._lock:
            self._job = msgspec.structs.replace(self._job, **fields)
            self.version += 1

    def ask_to_stop(self, why: Asked) -> None:
        """Ask once; a job that is asked already goes on stopping for the first reason."""
        if self.asked is None:
            self.asked = why
            self.progress(phase="stopping")
            self.scope.cancel()

    async def press(self) -> None:
        """Interrupt the work until the job is over: an interrupt between two calls is lost."""
        while not self.over.is_set():
            for interrupt in list(self._interrupts):
                interrupt()
            with anyio.move_on_after(INTERRUPT_EVERY_S):
                await self.over.wait()

    def stopped(self) -> JobCancelledError | JobInterruptedError:
        return JobInterruptedError() if self.asked == "interrupted" else JobCancelledError()
