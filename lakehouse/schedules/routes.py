"""`/v1/schedules`: what the server does by itself, and how it went."""

from typing import Any

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import reads, writes
from lakehouse.api.documented import NAMED, documented
from lakehouse.api.later import accepted
from lakehouse.api.pages import LIMIT_DEFAULT, Cursor, Limit, decoded, encoded
from lakehouse.errors import InvalidInputError
from lakehouse.jobs import Job
from lakehouse.schedules.errors import ScheduleNotClearError
from lakehouse.schedules.models import (
    Schedule,
    ScheduleCreate,
    ScheduleList,
    ScheduleRunPage,
)
from lakehouse.schedules.schedules import Schedules

BEGUN = {202: ResponseSpec(Job, description="The job of the run, and `Location`, where it is.")}
ONE = {
    **NAMED,
    409: documented(
        "Several have one of this name; say whose.", ScheduleNotClearError("daily", ["ada", "bo"])
    ),
}


class SchedulesController(Controller):
    path = "/v1/schedules"
    tags = ["schedules"]

    @post(
        responses={201: ResponseSpec(Schedule, description="When it runs first.")},
        guards=[writes],
    )
    async def create_schedule(
        self, data: JSONBody[ScheduleCreate], schedules: NamedDependency[Schedules]
    ) -> Schedule:
        """Have a source loaded, or the rows of a statement written, at the times of cron words.

        Runs are jobs of the token that makes it: they may do what that may at the time, and it is
        paused when that ends.
        """
        return await schedules.create(data)

    @get(guards=[reads])
    async def list_schedules(self, schedules: NamedDependency[Schedules]) -> ScheduleList:
        """List the caller's schedules, of all for who writes everything, each with its last run."""
        return ScheduleList(list(await schedules.list()))

    @get("/{schedule:str}", responses=ONE, guards=[reads])
    async def get_schedule(
        self, schedule: FromPath[str], schedules: NamedDependency[Schedules]
    ) -> Schedule:
        """Return a schedule with its last run."""
        return await schedules.get(schedule)

    @delete("/{schedule:str}", status_code=204, guards=[writes])
    async def delete_schedule(
        self, schedule: FromPath[str], schedules: NamedDependency[Schedules]
    ) -> None:
        """Forget a schedule and its runs; the job of one that is on its way goes on."""
        await schedules.delete(schedule)

    @post("/{schedule:str}/pause", status_code=200, guards=[writes])
    async def pause_schedule(
        self, schedule: FromPath[str], schedules: NamedDependency[Schedules]
    ) -> Schedule:
        """Let it not run by itself until it is resumed."""
        return await schedules.pause(schedule)

    @post("/{schedule:str}/resume", status_code=200, guards=[writes])
    async def resume_schedule(
        self, schedule: FromPath[str], schedules: NamedDependency[Schedules]
    ) -> Schedule:
        """Let it run again; what was due while it was paused is not made up for."""
        return await schedules.resume(schedule)

    @post("/{schedule:str}/run", status_code=202, responses=BEGUN, guards=[writes])
    async def run_schedule(
        self, schedule: FromPath[str], schedules: NamedDependency[Schedules]
    ) -> Response[Any]:
        """Begin a run now, as the token that made the schedule, and return its job.

        409 while one runs: there are never two at a time.
        """
        return accepted(await schedules.run(schedule))

    @get("/{schedule:str}/runs", responses=ONE, guards=[reads])
    async def list_schedule_runs(
        self,
        schedule: FromPath[str],
        schedules: NamedDependency[Schedules],
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> ScheduleRunPage:
        """List the runs of a schedule, the newest first; the last 500 are kept."""
        before = number_of(cursor) if cursor else None
        found = await schedules.runs(schedule, limit + 1, before)
        more = encoded(str(found[limit - 1].run_id)) if len(found) > limit else None
        return ScheduleRunPage(list(found[:limit]), more)


def number_of(cursor: str) -> int:
    """Return the run that a cursor names."""
    text = decoded(cursor)
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidInputError("the cursor was not made here; start without one")
    return int(text)
