"""`/v1/maintenance`: what was done to the tables, and doing it now."""

from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, QueryParameter

from lakehouse.api.access import operates, reads
from lakehouse.api.documented import NAMED
from lakehouse.api.later import ACCEPTED, accepted, wants_job
from lakehouse.api.pages import LIMIT_DEFAULT, Cursor, Limit, decoded, encoded
from lakehouse.auth import EVERYTHING, check_may
from lakehouse.catalog import TableName, parse_table_name
from lakehouse.database import Database
from lakehouse.errors import InvalidInputError
from lakehouse.jobs import JobHandle, Jobs
from lakehouse.maintenance.maintenance import Maintenance
from lakehouse.maintenance.models import MaintenanceAnswer, MaintenanceAsk, MaintenancePage


class MaintenanceController(Controller):
    path = "/v1/maintenance"
    tags = ["maintenance"]

    @get(responses=NAMED, guards=[reads])
    async def list_runs(
        self,
        maintenance: NamedDependency[Maintenance],
        database: NamedDependency[Database],
        table: Annotated[
            str | None, QueryParameter(description="Only runs of this table, under this name.")
        ] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> MaintenancePage:
        """List what maintenance did or could not do, the newest first.

        Of a table that was dropped, what was done to it is told all the same.
        """
        if table is None:
            check_may("read", EVERYTHING, "the maintenance of all tables; name one with table=")
        before = number_of(cursor) if cursor else None
        name = parse_table_name(table) if table is not None else None
        found = await database.call(partial(maintenance.runs, limit + 1, before, name))
        more = len(found) > limit
        following = encoded(str(found[limit - 1].run_id)) if more else None
        return MaintenancePage(maintenance.enabled, list(found[:limit]), following)

    @post(
        "/run",
        status_code=200,
        responses={
            200: ResponseSpec(MaintenanceAnswer, description="What each task did."),
            202: ACCEPTED,
        },
        guards=[operates],
    )
    async def run_maintenance(
        self,
        request: Request[Any, Any, Any],
        maintenance: NamedDependency[Maintenance],
        jobs: NamedDependency[Jobs],
        data: JSONBody[MaintenanceAsk],
    ) -> Response[bytes]:
        """Do all that is worth it now, to one table or to all, or say what would be done."""
        table = parse_table_name(data.table) if data.table is not None else None
        if table is None:
            check_may("operate", EVERYTHING, "maintenance of all tables")
        if not wants_job(request.headers):
            runs = await maintenance.run(table, dry_run=data.dry_run, is_asked=True)
            body = msgspec.json.encode(MaintenanceAnswer(runs))
            return Response(body, status_code=200, media_type="application/json")
        if table is not None:
            await maintenance.operable(table)  # 404 now, not in the job
        work = partial(as_job, maintenance, table, data.dry_run)
        job = await jobs.start("maintenance", work, subject=data.table, unit="tables")
        return accepted(job)


async def as_job(
    maintenance: Maintenance, table: TableName | None, dry_run: bool, job: JobHandle
) -> MaintenanceAnswer:
    runs = await maintenance.run(
        table,
        dry_run=dry_run,
        is_asked=True,
        go_on=job.check_cancelled,
        progress=job.progress,
    )
    return MaintenanceAnswer(runs)


def number_of(cursor: str) -> int:
    """Return the run that a cursor names."""
    text = decoded(cursor)
    if not (text.isascii() and text.isdigit()):
        raise InvalidInputError("the cursor was not made here; start without one")
    return int(text)
