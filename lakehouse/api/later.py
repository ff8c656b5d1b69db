"""Answers that come later: `Prefer: respond-async`, 202 and where the job is (RFC 7240)."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeAlias

import msgspec
from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec

from lakehouse.api.streams import unless_gone
from lakehouse.audit import Audit, record
from lakehouse.auth import Limiter, caller
from lakehouse.jobs import Job, JobHandle, Jobs

Work: TypeAlias = Callable[[JobHandle | None], Coroutine[Any, Any, object]]
"""What a caller may wait for, or have done as a job: then it gets the job's handle."""

RESPOND_ASYNC = "respond-async"

ACCEPTED = ResponseSpec(
    Job, description="With `Prefer: respond-async`: the job, and `Location`, where it is."
)
"""What the OpenAPI document says of 202 on a route that can be asked for a job."""


def wants_job(headers: Mapping[str, str]) -> bool:
    """Whether the caller would rather have a job now than the answer later."""
    preferences = headers.get("prefer", "").lower().split(",")
    return RESPOND_ASYNC in {each.partition(";")[0].strip() for each in preferences}


def accepted(job: Job) -> Response[bytes]:
    """Answer that the work has been taken, and where it can be followed."""
    headers = {
        "Location": f"/v1/jobs/{job.id}",
        "Preference-Applied": RESPOND_ASYNC,
        "Vary": "Prefer",
    }
    return Response(
        msgspec.json.encode(job), status_code=202, headers=headers, media_type="application/json"
    )


async def now_or_later(
    request: Request[Any, Any, Any],
    jobs: Jobs,
    kind: str,
    work: Work,
    *,
    subject: str | None,
    unit: str | None = None,
) -> Response[bytes]:
    """Answer what work gives, or with the job that does it, whichever the caller would rather have.

    The arguments besides `work` are those of `Jobs.start`. A caller who leaves ends what it
    waits for.
    """
    if wants_job(request.headers):
        return accepted(await jobs.start(kind, work, subject=subject, unit=unit))
    body = msgspec.json.encode(await unless_gone(request.receive, work(None)))
    return Response(body, status_code=200, media_type="application/json")


def tell_rows(limiter: Limiter, audit: Audit, ended: Job) -> None:
    """Count the rows that a job has touched since its request was answered, and audit them.

    Called on the loop when a job has ended, in its context: that of the request which began it.
    """
    noted = record()
    limiter.count_later(caller(), noted.uncounted())
    if noted.audit_id is not None and noted.row is not None:
        audit.answered(noted.audit_id, noted.row())
