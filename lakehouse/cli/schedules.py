"""`schedule`: what the server does by itself, and how it went."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import rich_click as click

from lakehouse.cli import output
from lakehouse.cli.asking import statement_text
from lakehouse.cli.jobs import tell_job
from lakehouse.cli.where import connected
from lakehouse.client import Client, Schedule, ScheduleRun


def create(
    name: str,
    cron: str,
    table: str,
    source: str | None,
    sql: str | None,
    file: Path | None,
    mode: str | None,
    key: Sequence[str],
    option: Sequence[str],
    as_json: bool,
    **where: Any,
) -> None:
    if file is not None:
        sql = statement_text(sql, file)
    if (source is None) == (sql is None):
        raise click.UsageError("say what to do: --source, or --sql or --file")
    options = dict(option_of(each) for each in option)

    def work(lake: Client) -> Schedule:
        return lake.schedules.create(
            name, cron, table, source=source, sql=sql, mode=mode, key=key, options=options
        )

    tell(connected(work, **where), as_json)


def option_of(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"--option is NAME=VALUE, not {text!r}")
    if name in ("partition_by", "sort_by", "widths"):
        return name, value.split(",")
    if name == "types":
        pairs = (each.partition(":") for each in value.split(","))
        return name, {column: type_ for column, _, type_ in pairs}
    return name, {"true": True, "false": False}.get(value, value)


def list_schedules(as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: lake.schedules.list(), **where)
    if as_json:
        output.emit({"schedules": found})
        return
    if not found:
        output.stdout().print("There are none.")
        return
    output.show(
        [*((each, "") for each in ("name", "cron", "table", "what", "next", "last", "owner"))],
        [
            (
                each.name,
                each.cron,
                each.table,
                each.source or "a query",
                state_of(each),
                each.last_run.outcome if each.last_run else "",
                each.owner,
            )
            for each in found
        ],
    )


def show(name: str, limit: int, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> tuple[Schedule, list[ScheduleRun]]:
        return lake.schedules.get(name), list(islice(lake.schedules.runs(name), limit))

    schedule, runs = connected(work, **where)
    if as_json:
        output.emit({"schedule": schedule, "runs": runs})
        return
    tell(schedule, as_json=False)
    if not runs:
        output.stdout().print("It has not run yet.")
        return
    output.show(
        [
            *(("due", ""), ("began by", ""), ("outcome", ""), ("seconds", "double")),
            *(("rows", "long"), ("job", ""), ("why", "")),
        ],
        [
            (
                output.moment(each.due_at),
                each.trigger,
                each.outcome,
                None if each.duration_s is None else round(each.duration_s, 1),
                each.row_count,
                each.job_id or "",
                each.detail or "",
            )
            for each in runs
        ],
    )


def pause(name: str, as_json: bool, **where: Any) -> None:
    tell(connected(lambda lake: lake.schedules.pause(name), **where), as_json)


def resume(name: str, as_json: bool, **where: Any) -> None:
    tell(connected(lambda lake: lake.schedules.resume(name), **where), as_json)


def run(name: str, as_json: bool, **where: Any) -> None:
    tell_job(connected(lambda lake: lake.schedules.run(name), **where), "is run by", as_json)


def delete(name: str, as_json: bool, **where: Any) -> None:
    connected(lambda lake: lake.schedules.delete(name), **where)
    if as_json:
        output.emit({"deleted": name})
    else:
        output.stdout().print(f"deleted the schedule {output.visible(name)}")


def tell(schedule: Schedule, as_json: bool) -> None:
    if as_json:
        output.emit(schedule)
        return
    output.facts(
        [
            ("schedule", schedule.name),
            ("cron", f"{schedule.cron} (UTC)"),
            ("into", f"{schedule.table}, {schedule.mode}"),
            ("what", schedule.source or schedule.sql),
            ("next", state_of(schedule)),
            ("owner", schedule.owner),
        ]
    )


def state_of(schedule: Schedule) -> str:
    if schedule.next_at is not None:
        return output.moment(schedule.next_at)
    return f"paused: {schedule.reason}" if schedule.reason else "paused"
