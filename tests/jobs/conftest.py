"""Jobs over an empty `catalog.db`, and work whose pace a test decides."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest

from lakehouse.api.problems import as_problem
from lakehouse.config import JobsConfig
from lakehouse.jobs import Job, JobHandle, Jobs
from lakehouse.state import SqliteState, State


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with SqliteState.open(tmp_path / "catalog.db") as state:
        yield state


@asynccontextmanager
async def opened(
    state: State, stopped: list[str] | None = None, **config: int
) -> AsyncIterator[Jobs]:
    """Jobs as the app opens them; `stopped` gets an entry when the engine broke."""
    told = stopped if stopped is not None else []
    jobs = Jobs(state, JobsConfig(**config), partial(as_problem, stop=lambda: told.append("stop")))
    async with jobs.open():
        yield jobs


async def ended(jobs: Jobs, job: Job) -> Job:
    """Return the job once it has ended."""
    return await found(jobs, job, lambda now: now.ended)


async def until(jobs: Jobs, job: Job, state: str) -> None:
    await found(jobs, job, lambda now: now.state == state)


async def found(jobs: Jobs, job: Job, wanted: Callable[[Job], bool]) -> Job:
    with anyio.fail_after(10):
        while True:
            if wanted(now := await jobs.get(job.id)):
                return now
            await anyio.sleep(0.005)


class Gate:
    """Blocking work that goes on when it may, or stops when it is asked to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_go_on = threading.Event()

    def __call__(self, job: JobHandle) -> str:
        self.begun.set()
        while not self.may_go_on.wait(0.01):
            job.check_cancelled()
        return "through"
