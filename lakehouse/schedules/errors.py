"""What can go wrong with a schedule."""

from lakehouse.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError


class ScheduleNotFoundError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {name[:100]!r}", schedule=name[:100])


class ScheduleExistsError(ConflictError):
    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(f"a schedule is named {name!r} already; delete it, or choose another name")


class ScheduleRunningError(ConflictError):
    def __init__(self, name: str, job_id: str | None) -> None:
        super().__init__(f"{name!r} runs already; wait for it", job_id=job_id)


class InvalidScheduleError(InvalidInputError):
    """A part of it makes no sense."""


class TooManySchedulesError(UnavailableError):
    def __init__(self, count_max: int) -> None:
        super().__init__(f"there are {count_max} schedules, which is the most; delete some")
