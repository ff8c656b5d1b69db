"""`drop` and `undrop`: tables that leave, and come back."""

import sys
from typing import Any

import msgspec
import rich_click as click

from lakehouse.cli import output
from lakehouse.cli.where import connected


def drop(table: str, purge: bool, uuid: str | None, yes: bool, as_json: bool, **where: Any) -> None:
    if uuid is not None and not purge:
        raise click.UsageError("--uuid says what to purge; it goes with --purge")
    if purge and not yes and sys.stdin.isatty():
        click.confirm(f"Delete all files of {table}?", abort=True, err=True)
    if purge:
        connected(lambda lake: lake.purge(table, uuid=uuid), **where)
    else:
        connected(lambda lake: lake.drop(table), **where)
    if as_json:
        output.emit({"table": table, "dropped": True, "purged": purge})
        return
    done = "dropped, and its files deleted" if purge else "dropped; `lakehouse undrop` undoes it"
    output.stdout().print(f"{output.visible(table)} is {done}", soft_wrap=True)


def undrop(table: str, uuid: str | None, to: str | None, as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: lake.undrop(table, uuid=uuid, to=to), **where)
    if as_json:
        output.emit(found)
        return
    name = output.visible(f"{found.namespace}.{found.name}")
    rows = output.plural(found.row_count, "row")
    output.stdout().print(f"{name} is back, with {rows}", soft_wrap=True)


def dropped(namespace: str | None, names: bool, as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: list(lake.dropped(namespace)), **where)
    if as_json:
        output.emit({"tables": msgspec.to_builtins(found)})
        return
    if names:
        for each in found:
            name = output.visible(f"{each.namespace}.{each.name}")
            output.stdout().print(name, soft_wrap=True)
        return
    if not found:
        output.stdout().print("No dropped table can be brought back.")
        return
    output.show(
        [("table", ""), ("dropped", ""), ("uuid", "")],
        [(f"{each.namespace}.{each.name}", each.dropped_at, each.uuid) for each in found],
    )
