"""What can go wrong with a job as such; what its work meets is that work's error."""

from lakehouse.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
    OutcomeUnknownError,
    UnavailableError,
)


class JobNotFoundError(NotFoundError):
    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"no job has the id {job_id[:80]!r}; jobs that ended are kept jobs.keep_days",
            job_id=job_id,
        )


class JobCancelledError(ConflictError):
    """Somebody asked it to stop, and it had no effect."""

    retryable = False

    def __init__(self) -> None:
        super().__init__("the job was cancelled")


class JobInterruptedError(OutcomeUnknownError):
    """The server stopped before the job ended. What it committed by then stays."""

    def __init__(self) -> None:
        super().__init__(
            "the server stopped before the job ended; look at what is there, then start it again"
        )


class TooManyJobsError(UnavailableError):
    def __init__(self, waiting_max: int) -> None:
        super().__init__(
            f"{waiting_max} jobs are waiting already, which is the most (jobs.waiting_max); "
            "try again when some have ended",
            waiting_max=waiting_max,
        )


class TooManyOwnJobsError(BusyError):
    """One caller leaves room for the others."""

    retry_after_s = 5

    def __init__(self, count_max: int) -> None:
        super().__init__(
            f"this token may have {count_max} requests at once, and as many of its jobs have not"
            " ended; try again when one has, or cancel one",
            count_max=count_max,
        )


class JobsStoppingError(UnavailableError):
    def __init__(self) -> None:
        super().__init__("the server is stopping; try again when it is back")


class TooManyWatchersError(UnavailableError):
    def __init__(self, watchers_max: int) -> None:
        super().__init__(
            f"{watchers_max} clients follow jobs already, which is the most; ask for the job "
            "itself now and then"
        )
