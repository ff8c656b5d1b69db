"""A load that nobody waits for: a job, which the uploaded file belongs to until it has ended.

What came in one request lies in the spool, which every start empties. What was sent in parts stays
where it is until it is loaded: a job that a stop interrupted can be asked for again.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial

import anyio

from lakehouse.catalog import check_table_name
from lakehouse.ingest.ingest import Ingest
from lakehouse.ingest.loading import quoting_nothing
from lakehouse.ingest.models import LoadOptions
from lakehouse.ingest.spool import Upload, new_file
from lakehouse.ingest.uploads import Uploads, put_together
from lakehouse.jobs import Job, JobHandle, JobNotFoundError, Jobs


async def start_load(
    jobs: Jobs, ingest: Ingest, uploads: Sequence[Upload], options: LoadOptions, key: str | None
) -> Job:
    """Queue a load and return its job; its result is what `Ingest.load` returns.

    Args:
        uploads: their files are moved, so that they outlive the request.
        key: an idempotency key, as in `Ingest.load`.

    Raises:
        InvalidNameError: the table cannot have that name.
        TooManyJobsError: too many wait already; nothing was queued, and the files are gone.
    """
    subject = str(check_table_name(options.namespace, options.name))
    belongings = ExitStack()
    path = belongings.enter_context(new_file(ingest.spool))
    kept = [
        replace(each, path=path.with_name(f"{path.name}-{number}"))
        for number, each in enumerate(uploads)
    ]
    work = partial(ingest.load_in_background, uploads=kept, options=options, key=key)
    try:
        for before, after in zip(uploads, kept, strict=True):
            before.path.rename(after.path)
        return await jobs.start(
            "ingest", work, subject=subject, unit="bytes", at_end=belongings.close
        )
    except BaseException:
        belongings.close()
        raise


@dataclass(frozen=True, slots=True)
class UploadLoad:
    """A load of a file that was sent in parts."""

    upload_id: str
    options: LoadOptions
    key: str | None
    """The caller's idempotency key."""
    request: str
    """What identifies all that was asked for."""


async def start_upload(jobs: Jobs, ingest: Ingest, uploads: Uploads, load: UploadLoad) -> Job:
    """Return the job that loads an upload, or has; queue one where there is none, or it failed.

    Raises:
        UploadNotFoundError, UploadIncompleteError: there is nothing to load.
        UploadTakenError: a job loads it that was asked for something else.
        InvalidNameError, TooManyJobsError: as `start_load`.
    """
    subject = str(check_table_name(load.options.namespace, load.options.name))
    async with uploads.finishing:
        job_id = await uploads.job(load.upload_id, load.request)
        if job_id is not None:
            with suppress(JobNotFoundError):
                return await jobs.get(job_id)
        await uploads.whole(load.upload_id)
        job = await jobs.start(
            "ingest",
            partial(load_upload, ingest, uploads, load),
            subject=subject,
            unit="bytes",
            at_end=partial(uploads.give_back, load.upload_id),
        )
        uploads.take(load.upload_id, job.id, load.request)  # it has not begun: nobody waited
        return job


async def load_upload(ingest: Ingest, uploads: Uploads, load: UploadLoad, job: JobHandle) -> bytes:
    """Load an upload as the work of a job, and let go of it.

    It goes under a key of its own where the caller gave none, so that a job that is interrupted
    between the commit and its end, and asked for again, loads nothing twice.
    """
    with new_file(ingest.spool) as path:
        file = await put_together(uploads, load.upload_id, path, load.options, ingest.limits)
        answer = await ingest.load_in_background(
            job,
            uploads=[file],
            options=load.options,
            key=load.key or f"upload-{load.upload_id}",
        )
    with anyio.CancelScope(shield=True):
        await uploads.end(
            load.upload_id, load.request, quoting_nothing(answer), key=load.key, job_id=job.id
        )
    return answer
