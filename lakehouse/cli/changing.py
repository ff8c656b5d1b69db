"""Changing rows: deletes, updates, and tables made from a query."""

from collections.abc import Sequence
from typing import Any

import rich_click as click
from rich.text import Text

from lakehouse.cli import output
from lakehouse.cli.asking import parameters_of
from lakehouse.cli.jobs import check_background, tell_job
from lakehouse.cli.where import connected
from lakehouse.client import Client, Job, RowsChanged


def delete(
    table: str,
    condition: str,
    parameters: Sequence[str],
    erase: bool,
    background: bool,
    as_json: bool,
    **where: Any,
) -> None:
    check_background(background, where["data_dir"])
    values = parameters_of(parameters)

    def work(lake: Client) -> RowsChanged | Job:
        send = lake.delete_rows_later if background else lake.delete_rows
        return send(table, condition, values, erase=erase)

    found = connected(work, **where)
    if isinstance(found, Job):
        tell_job(found, "is changed by", as_json)
    else:
        tell(found, as_json)


def update(
    table: str,
    values: Sequence[str],
    condition: str,
    parameters: Sequence[str],
    as_json: bool,
    **where: Any,
) -> None:
    new = dict(assignment(each) for each in values)
    bound = parameters_of(parameters)
    tell(connected(lambda lake: lake.update_rows(table, new, condition, bound), **where), as_json)


def make(table: str, sql: str, mode: Any, key: Sequence[str], as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: lake.from_query(table, sql, mode=mode, key=key), **where)
    if as_json:
        output.emit(found)
        return
    line = Text(output.named(found), style="bold green")
    line.append(" is made" if found.created else "", "default")
    line.append(f": {output.plural(found.added_rows, 'row')} added", "default")
    if found.updated_rows:
        line.append(f", {found.updated_rows:,} updated", "default")
    line.append(f"; {output.plural(found.row_count, 'row')} in all", "default")
    output.stdout().print(line, soft_wrap=True)


def properties(
    table: str, values: Sequence[str], remove: Sequence[str], as_json: bool, **where: Any
) -> None:
    new = dict(pair(each) for each in values)
    found = connected(lambda lake: lake.properties(table, new, remove), **where)
    if as_json:
        output.emit(found)
    elif found.properties:
        output.show([("property", ""), ("value", "")], list(found.properties.items()))
    else:
        output.stdout().print(f"{output.visible(table)} has none; the settings hold")


def pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise click.UsageError(f"a property is NAME=VALUE, as in gc.enabled=false: {text!r}")
    return name, value


def assignment(text: str) -> tuple[str, str]:
    column, sign, expression = text.partition("=")
    if not sign or not column.strip() or not expression.strip():
        raise click.UsageError(f"--set is COLUMN=SQL, as in --set 'price = price * 2': {text!r}")
    return column.strip(), expression.strip()


def tell(changed: RowsChanged, as_json: bool) -> None:
    if as_json:
        output.emit(changed)
        return
    counts = {"deleted": changed.deleted_rows, "updated": changed.updated_rows}
    done = [f"{output.plural(n, 'row')} {what}" for what, n in counts.items() if n]
    line = Text(output.named(changed), style="bold green")
    line.append(f": {', '.join(done) or 'no row changes; nothing was written'}", "default")
    line.append(f"; {output.plural(changed.row_count, 'row')} in all", "default")
    if changed.deleted_files:
        snapshots = output.plural(changed.expired_snapshots, "older snapshot")
        files = output.plural(changed.deleted_files, "file")
        line.append(f"; {snapshots} and {files} are gone", "default")
    output.stdout().print(line, soft_wrap=True)
