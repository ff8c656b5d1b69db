"""What can go wrong with a schedule."""

from lakehouse.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
)


class ScheduleNotFoundError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no schedule {name[:100]!r}", schedule=name[:100])


class ScheduleExistsError(ConflictError):
    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(f"you have a schedule {name!r} already; delete it, or choose another name")


class ScheduleNotClearError(ConflictError):
    retryable = False

    def __init__(self, name: str, owners: list[str]) -> None:
        super().__init__(
            f"several have a schedule {name!r}; say whose: `{owners[0]}:{name}`", owners=owners
        )


class ScheduleRunningError(ConflictError):
    def __init__(self, name: str, job_id: str | None) -> None:
        super().__init__(f"{name!r} runs already; wait for it", job_id=job_id)


class OwnerEndedError(ConflictError):
    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the token that made {name!r} has ended; delete the schedule, and make it anew"
        )


class InvalidScheduleError(InvalidInputError):
    """A part of it makes no sense."""


class ScheduleTooLargeError(TooLargeError):
    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(f"the schedule has {size_bytes:,} bytes; {max_bytes:,} are the most")


class TooManySchedulesError(ConflictError):
    retryable = False

    def __init__(self, count_max: int) -> None:
        super().__init__(f"there are {count_max} schedules, which is the most; delete one first")


class TooManyOfOneError(ConflictError):
    retryable = False

    def __init__(self, count_max: int) -> None:
        super().__init__(f"you have {count_max} schedules, which is the most; delete one first")
