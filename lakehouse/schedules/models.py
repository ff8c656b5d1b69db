"""Schedules and their runs as they cross the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

ScheduleMode: TypeAlias = Literal["append", "overwrite", "upsert", "delete"]
Trigger: TypeAlias = Literal["cron", "missed", "asked"]
RunOutcome: TypeAlias = Literal["running", "done", "failed", "cancelled", "interrupted", "refused"]
ScheduleName: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")]


class ScheduleCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do, and when: one of `source` and `sql`."""

    name: ScheduleName
    cron: Annotated[str, msgspec.Meta(max_length=200)]
    """Minute, hour, day of the month, month, day of the week, in UTC: `0 * * * *`."""
    table: str
    """That the rows go to, `name` or `namespace.name`; made if it is not there."""
    source: str | None = None
    """As of `POST /v1/ingest`: `object:PREFIX/`, or `s3://bucket/prefix`."""
    sql: str | None = None
    """One SELECT, as of `POST /v1/tables/{table}/from-query`."""
    mode: ScheduleMode | None = None
    """Left out: a source appends what is new there, a statement replaces the rows."""
    key: list[str] = []
    """The columns that `upsert` and `delete` go by."""
    options: dict[str, Any] = {}
    """Of a source: how it is read, by the names that `POST /v1/ingest` has for it."""


class ScheduleRun(msgspec.Struct, frozen=True, kw_only=True):
    run_id: int
    schedule: str
    trigger: Trigger
    """`missed`: the server was away when it was due, or ended while it ran."""
    outcome: RunOutcome
    due_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    duration_s: float | None = None
    job_id: str | None = None
    row_count: int = 0
    """Rows that were added, updated and deleted."""
    detail: str | None = None
    """What went wrong."""


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    cron: str
    table: str
    source: str | None
    sql: str | None
    mode: ScheduleMode
    key: list[str]
    options: dict[str, Any]
    owner: str
    """The token that made it: runs may do what that may, and end when it does."""
    created_at: datetime
    paused: bool
    reason: str | None
    """Why it is paused, when nobody asked for that."""
    next_at: datetime | None
    """When it runs next; null while it is paused."""
    last_run: ScheduleRun | None = None


class ScheduleList(msgspec.Struct, frozen=True):
    items: list[Schedule]


class ScheduleRunPage(msgspec.Struct, frozen=True):
    items: list[ScheduleRun]
    """Newest first."""
    next_cursor: str | None = None
