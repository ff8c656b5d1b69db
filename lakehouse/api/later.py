"""Answers that come later: `Prefer: respond-async`, 202 and where the job is (RFC 7240)."""

from collections.abc import Mapping

import msgspec
from litestar import Response
from litestar.openapi.datastructures import ResponseSpec

from lakehouse.audit import Audit, record
from lakehouse.auth import Limiter, caller
from lakehouse.jobs import Job

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


def tell_rows(limiter: Limiter, audit: Audit, ended: Job) -> None:
    """Count the rows that a job has touched since its request was answered, and audit them.

    Called on the loop when a job has ended, in its context: that of the request which began it.
    """
    noted = record()
    limiter.count_later(caller(), noted.uncounted())
    if noted.audit_id is not None and noted.row is not None:
        audit.answered(noted.audit_id, noted.row())
