"""`maintenance`: what was done to tables, and doing it now."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from lakehouse.cli import output
from lakehouse.cli.jobs import bar
from lakehouse.cli.where import connected
from lakehouse.client import Client, MaintenanceRun


def status(table: str | None, limit: int, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> tuple[bool, list[MaintenanceRun]]:
        return lake.maintenance.is_enabled(), list(islice(lake.maintenance.runs(table), limit))

    enabled, found = connected(work, **where)
    if as_json:
        output.emit({"enabled": enabled, "runs": found})
        return
    if not enabled:
        output.stdout().print("It is off: `maintenance.enabled` is false.", soft_wrap=True)
    if not found:
        output.stdout().print("Nothing was worth doing yet.")
        return
    show(found)


def run(table: str | None, dry_run: bool, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> list[MaintenanceRun]:
        with bar() as told:
            return lake.maintenance.run(table, dry_run=dry_run, told=told)

    found = connected(work, **where)
    if as_json:
        output.emit({"dry_run": dry_run, "runs": found})
        return
    worth = [each for each in found if each.outcome != "nothing" and each.task != "sweep"]
    if not worth:
        output.stdout().print("Nothing is worth doing.")
        return
    show(worth)


def show(runs: Sequence[MaintenanceRun]) -> None:
    output.show(
        [
            *(("table", ""), ("task", ""), ("outcome", ""), ("count", "long"), ("size", "long")),
            *(("seconds", "double"), ("at", ""), ("why", "")),
        ],
        [
            (
                each.table or "",
                each.task,
                each.outcome,
                each.item_count,
                output.size(each.size_bytes),
                each.duration_s,
                output.moment(each.started_at),
                each.reason or "",
            )
            for each in runs
        ],
    )
