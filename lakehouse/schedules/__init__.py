"""Loads and queries that run by themselves: cron words, and a row for each run."""

from lakehouse.schedules.ledger import forget_runs
from lakehouse.schedules.log import runs_table
from lakehouse.schedules.models import Schedule, ScheduleCreate, ScheduleRun
from lakehouse.schedules.schedules import Schedules
from lakehouse.schedules.work import Work

__all__ = [
    "Schedule",
    "ScheduleCreate",
    "ScheduleRun",
    "Schedules",
    "Work",
    "forget_runs",
    "runs_table",
]
