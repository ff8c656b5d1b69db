"""Long work: a row for each job in `catalog.db`, progress while it runs, a result when it ended.

Whatever may take over two seconds runs as a job when it was asked for with `Prefer:
respond-async`. A caller hands over a function and gets the job back at once:

    job = await jobs.start("backup", partial(back_up, to=target), subject=target, unit="files")
    return accepted(job)                            # lakehouse.api.later: 202 and Location

    async def back_up(job: JobHandle, to: str) -> BackupReport:
        for done, file in enumerate(files):
            job.check_cancelled()                   # raises when somebody asked it to stop
            job.progress(done, len(files), "copying")
            await copy(file, to)
        return BackupReport(...)                    # JSON of it is the job's `result`

A plain function runs on a worker thread, one of `jobs.concurrency_max`; an `async def` runs on the
loop and is cancelled at its next `await`. Work that must not be torn from its thread says how to
stop it, and then what it returned or raised decides how the job ended, so that no commit is ever
called cancelled:

    with database.session(Lane.LONG) as session:
        with job.stopped_by(session.interrupt):
            return await session.run(partial(compact, table=name))

What it raises becomes the job's `error`, the problem that the same request would have answered.
A job that ran when the process died is `interrupted` at the next start. `at_end` of `start` is
called when the job has ended, also when it never began: for what belongs to it, such as a file.
"""

from lakehouse.jobs.errors import (
    JobCancelledError,
    JobInterruptedError,
    JobNotFoundError,
    JobsStoppingError,
    TooManyJobsError,
)
from lakehouse.jobs.handle import JobHandle
from lakehouse.jobs.jobs import Jobs
from lakehouse.jobs.models import Job, JobPage, JobState

__all__ = [
    "Job",
    "JobCancelledError",
    "JobHandle",
    "JobInterruptedError",
    "JobNotFoundError",
    "JobPage",
    "JobState",
    "Jobs",
    "JobsStoppingError",
    "TooManyJobsError",
]
