"""Cron words, in UTC."""

from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from lakehouse.schedules.errors import InvalidScheduleError

WORDS = 5


def next_after(words: str, at: datetime) -> datetime:
    """Return the first time after `at` that the words name.

    Raises:
        InvalidScheduleError: they are no cron words, or name no time within 50 years.
    """
    if len(words.split()) != WORDS:
        raise InvalidScheduleError(
            f"{words[:80]!r} is not five words: minute, hour, day, month, day of the week, in UTC"
        )
    try:
        found = next(CronSim(words, at.astimezone(UTC)))
    except CronSimError as error:
        raise InvalidScheduleError(f"{words[:80]!r} is no cron: {error}".lower()) from error
    except StopIteration:
        raise InvalidScheduleError(f"{words[:80]!r} names no time that ever comes") from None
    return found
