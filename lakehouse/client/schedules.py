"""What the server does by itself at certain times: kept there, run there."""

import builtins
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from lakehouse.client.answers import value_of
from lakehouse.client.models import Job
from lakehouse.client.transport import Transport


class ScheduleRun(msgspec.Struct, frozen=True):
    """How a run went."""

    run_id: int
    schedule: str
    trigger: str
    """`cron`, `missed` or `asked`."""
    outcome: str
    """`running`, `done`, `failed`, `cancelled`, `interrupted` or `refused`."""
    due_at: datetime
    started_at: datetime
    ended_at: datetime | None = None
    duration_s: float | None = None
    job_id: str | None = None
    row_count: int = 0
    detail: str | None = None
    """What went wrong."""


class Schedule(msgspec.Struct, frozen=True):
    name: str
    cron: str
    """Minute, hour, day of the month, month, day of the week, in UTC."""
    table: str
    mode: str
    owner: str
    """The token that made it, which its runs act as."""
    created_at: datetime
    paused: bool
    source: str | None = None
    sql: str | None = None
    key: list[str] = []
    options: dict[str, Any] = {}
    reason: str | None = None
    """Why it is paused, when nobody asked for that."""
    next_at: datetime | None = None
    last_run: ScheduleRun | None = None


class ScheduleList(msgspec.Struct, frozen=True):
    items: list[Schedule]


class ScheduleRunPage(msgspec.Struct, frozen=True):
    items: list[ScheduleRun]
    next_cursor: str | None = None


class Schedules:
    """`lake.schedules`: loads of sources and queries, at the times of cron words."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        name: str,
        cron: str,
        table: str,
        *,
        source: str | None = None,
        sql: str | None = None,
        mode: str | None = None,
        key: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
    ) -> Schedule:
        """Keep a schedule.

        Args:
            cron: five words, in UTC: `0 * * * *`.
            source: `object:PREFIX/` or `s3://bucket/prefix`, or
            sql: one SELECT.
            mode: None appends what is new at a source, and replaces rows by those of a statement.
            options: of a source: how it is read, as `POST /v1/ingest` names it.

        Raises:
            InvalidInputError: a part of it makes no sense.
            ConflictError: one has that name.
        """
        asked = {
            "name": name,
            "cron": cron,
            "table": table,
            "source": source,
            "sql": sql,
            "mode": mode,
            "key": [*key],
            "options": dict(options or {}),
        }
        # A second one of that name is refused, so it may not be sent again unseen.
        answer = self._transport.send("POST", "/v1/schedules", json=asked, again=False)
        return value_of(answer, Schedule)

    def list(self) -> builtins.list[Schedule]:
        """Return the caller's own by name, or all for who may write everything."""
        return value_of(self._transport.send("GET", "/v1/schedules"), ScheduleList).items

    def get(self, name: str) -> Schedule:
        return value_of(self._transport.send("GET", path_of(name)), Schedule)

    def runs(self, name: str) -> Iterator[ScheduleRun]:
        """Yield the runs of a schedule, the newest first."""
        cursor: str | None = None
        while True:
            params = {"cursor": cursor}
            found = self._transport.send("GET", f"{path_of(name)}/runs", params=params)
            page = value_of(found, ScheduleRunPage)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def pause(self, name: str) -> Schedule:
        """Let it not run by itself."""
        return value_of(self._transport.send("POST", f"{path_of(name)}/pause"), Schedule)

    def resume(self, name: str) -> Schedule:
        return value_of(self._transport.send("POST", f"{path_of(name)}/resume"), Schedule)

    def run(self, name: str) -> Job:
        """Begin a run now and return its job; `ConflictError` while one runs."""
        return value_of(self._transport.send("POST", f"{path_of(name)}/run", again=False), Job)

    def delete(self, name: str) -> None:
        """Forget a schedule and its runs."""
        self._transport.send("DELETE", path_of(name))


def path_of(name: str) -> str:
    return f"/v1/schedules/{quote(name, safe='')}"
