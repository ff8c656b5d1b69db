"""Loads and queries that run by themselves: cron words, and a row for each run."""

from lakehouse.schedules.ledger import forget_runs
from lakehouse.schedules.log import SCHEMA as RUNS_SCHEMA
from lakehouse.schedules.log import read_runs
from lakehouse.schedules.models import Schedule, ScheduleCreate, ScheduleRun
from lakehouse.schedules.schedules import Schedules
from lakehouse.schedules.work import Work

__all__ = [
    "RUNS_SCHEMA",
    "Schedule",
    "ScheduleCreate",
    "ScheduleRun",
    "Schedules",
    "Work",
    "forget_runs",
    "read_runs",
]
