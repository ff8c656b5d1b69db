"""`/v1/jobs` over HTTP: what runs, how far it is, and how it ended."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Annotated, Any, TypeAlias

import msgspec
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter

from lakehouse.api.access import reads
from lakehouse.api.pages import LIMIT_DEFAULT, Cursor, Limit, decoded, encoded
from lakehouse.api.streams import Streamed
from lakehouse.jobs.jobs import Jobs
from lakehouse.jobs.models import Job, JobPage, JobState

EVENT_STREAM = "text/event-stream"
END = "end"
"""Event and id of the last state: whoever comes back with it has seen all there is."""
RETRY_MS = 1000
"""When a browser that lost its stream asks again."""

Change: TypeAlias = tuple[int, Job] | None


class JobsController(Controller):
    path = "/v1/jobs"
    tags = ["jobs"]

    @get(guards=[reads])
    async def list_jobs(
        self,
        jobs: NamedDependency[Jobs],
        in_state: Annotated[
            JobState | None, QueryParameter(name="state", description="Only jobs in this state.")
        ] = None,
        kind: Annotated[
            str | None, QueryParameter(description="Only jobs of this kind: `ingest`.")
        ] = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> JobPage:
        """List jobs, the newest first: those that wait or run, and those that ended."""
        before = decoded(cursor) if cursor else None
        found = await jobs.list(limit + 1, before, state=in_state, kind=kind)
        following = encoded(found[limit - 1].id) if len(found) > limit else None
        return JobPage(found[:limit], following)

    @get("/{job_id:str}", guards=[reads])
    async def get_job(self, jobs: NamedDependency[Jobs], job_id: FromPath[str]) -> Job:
        """Return a job: its state, how far it is, and its result or its error once it ended."""
        return await jobs.get(job_id)

    @post("/{job_id:str}/cancel", status_code=200, guards=[reads])
    async def cancel_job(self, jobs: NamedDependency[Jobs], job_id: FromPath[str]) -> Job:
        """Ask a job to stop. Its state says when it has, or that it ended otherwise meanwhile."""
        return await jobs.cancel(job_id)

    @get(
        "/{job_id:str}/events",
        responses={
            200: ResponseSpec(str, description="Server-sent events.", media_type=EVENT_STREAM),
            204: ResponseSpec(None, description="The client has seen the end already."),
        },
        guards=[reads],
    )
    async def follow_job(
        self,
        jobs: NamedDependency[Jobs],
        job_id: FromPath[str],
        last_event_id: Annotated[
            str | None,
            HeaderParameter(name="Last-Event-ID", description="Of the last event that came."),
        ] = None,
    ) -> Response[Any]:
        """Follow a job as server-sent events, each with the whole job: `progress`, at last `end`.

        A stream that broke goes on with `Last-Event-ID`; after the end it is 204, which tells a
        browser to ask no more.
        """
        changes = jobs.follow(job_id)
        first = await anext(changes)
        if first is not None and first[1].ended and last_event_id == END:
            await changes.aclose()
            return Response(None, status_code=204)
        events = opened(changes, first, last_event_id)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return Streamed(events, media_type=EVENT_STREAM, headers=headers)


class Events:
    """The changes of one job as server-sent events.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    def __init__(
        self, changes: AsyncIterator[Change], first: Change, last_event_id: str | None
    ) -> None:
        self._changes = changes
        self._first = first
        self._last_event_id = last_event_id

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % RETRY_MS
        if not seen(self._first, self._last_event_id):
            yield event(self._first)
        async for change in self._changes:
            yield event(change)

    def sending(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()


def seen(change: Change, last_event_id: str | None) -> bool:
    return change is not None and not change[1].ended and last_event_id == str(change[0])


def event(change: Change) -> bytes:
    if change is None:
        return b": still running\n\n"
    version, job = change
    name, event_id = (END, END) if job.ended else ("progress", str(version))
    data = msgspec.json.encode(job)
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (event_id.encode(), name.encode(), data)


@asynccontextmanager
async def opened(
    changes: AsyncGenerator[Change], first: Change, last_event_id: str | None
) -> AsyncIterator[Events]:
    try:
        yield Events(changes, first, last_event_id)
    finally:
        await changes.aclose()
