"""A load that nobody waits for: a job, which the uploaded file belongs to until it has ended."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from lakehouse.catalog import check_table_name
from lakehouse.ingest.ingest import Ingest
from lakehouse.ingest.models import LoadOptions
from lakehouse.ingest.spool import Upload, new_file
from lakehouse.jobs import Job, Jobs


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
