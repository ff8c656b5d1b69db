"""Cron words and the times that they name."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from lakehouse.schedules.cron import next_after
from lakehouse.schedules.errors import InvalidScheduleError

AT = datetime(2026, 11, 27, 1, 30, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("* * * * *", "2026-11-27T01:31"),
        ("0 * * * *", "2026-11-27T02:00"),
        ("30 1 * * *", "2026-11-28T01:30"),
        ("*/15 9-17 * * MON-FRI", "2026-11-27T09:00"),
        ("0 0 1 1 *", "2027-01-01T00:00"),
        ("0 3 * * SUN", "2026-11-29T03:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
    ],
)
def test_the_next_time_is_after_now_in_utc(words: str, expected: str) -> None:
    assert next_after(words, AT).isoformat() == f"{expected}:00+00:00"
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))
    assert next_after(words, elsewhere) == next_after(words, AT)


@pytest.mark.parametrize(
    "words",
    [
        *("", "hourly", "@daily", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *"),
        *("*/0 * * * *", "0 0 30 2 *", "5-1 * * * *", "a * * * *", "\0 * * * *", "* * * * 9"),
        "0 0 * * MON#6",
    ],
)
def test_what_names_no_time_is_refused(words: str) -> None:
    with pytest.raises(InvalidScheduleError):
        next_after(words, AT)
