"""Going back: tables that leave and come back, and the snapshots that they were."""

import sys
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import rich_click as click

from lakehouse.cli import asking, output
from lakehouse.cli.where import connected
from lakehouse.client import Client, Ref

DAY_MS = 86_400_000


def drop(table: str, purge: bool, uuid: str | None, yes: bool, as_json: bool, **where: Any) -> None:
    if uuid is not None and not purge:
        raise click.UsageError("--uuid says what to purge; it goes with --purge")
    if purge and not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("a purge is for good, and nobody is there to ask: add --yes")
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
    name = output.visible(output.named(found))
    rows = output.plural(found.row_count, "row")
    output.stdout().print(f"{name} is back, with {rows}", soft_wrap=True)


def dropped(namespace: str | None, names: bool, as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: list(lake.dropped(namespace)), **where)
    if as_json:
        output.emit({"tables": msgspec.to_builtins(found)})
        return
    if names:
        for each in found:
            name = output.visible(output.named(each))
            output.stdout().print(name, soft_wrap=True)
        return
    if not found:
        output.stdout().print("No dropped table can be brought back.")
        return
    output.show(
        [("table", ""), ("dropped", ""), ("uuid", "")],
        [(output.named(each), each.dropped_at, each.uuid) for each in found],
    )


def rollback(table: str, to: str, as_json: bool, **where: Any) -> None:
    done = connected(lambda lake: lake.rollback(table, to), **where)
    if as_json:
        output.emit(done)
        return
    name = output.visible(output.named(done))
    rows = output.plural(done.row_count, "row")
    at = f"snapshot {done.snapshot_id} of {output.moment(done.committed_at)}"
    output.stdout().print(f"{name} is at {at}, with {rows}", soft_wrap=True)
    if done.previous_snapshot_id not in (None, done.snapshot_id):
        undo = f"`lakehouse rollback {table} {done.previous_snapshot_id}` undoes it"
        output.stderr().print(output.visible(undo), style="dim", soft_wrap=True)


def name_snapshot(
    kind: Literal["tag", "branch"],
    table: str,
    name: str | None,
    at: str | None,
    move: bool,
    keep_days: float | None,
    delete_it: bool,
    as_json: bool,
    **where: Any,
) -> None:
    if name is None:
        if at or move or keep_days or delete_it:
            raise click.UsageError(f"give the name of the {kind}")
        show_names(table, as_json, **where)
        return
    if delete_it:
        connected(lambda lake: lake.refs.delete(table, name), **where)
        if as_json:
            output.emit({"table": table, "name": name, "deleted": True})
        else:
            output.stdout().print(f"{output.visible(name)} is removed", soft_wrap=True)
        return
    retention = {"max_ref_age_ms": int(keep_days * DAY_MS)} if keep_days else {}
    found = connected(
        lambda lake: lake.refs.put(table, name, kind, at=at, move=move, **retention), **where
    )
    if as_json:
        output.emit(found)
        return
    line = f"{found.name} is a {found.type} of {table} at snapshot {found.snapshot_id}"
    output.stdout().print(output.visible(line), soft_wrap=True)


def show_names(table: str, as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: list(lake.refs.list(table)), **where)
    if as_json:
        output.emit({"table": table, "refs": msgspec.to_builtins(found)})
        return
    output.show(
        [("name", ""), ("type", ""), ("snapshot", "long"), ("committed", ""), ("kept", "")],
        [
            (each.name, each.type, str(each.snapshot_id), each.committed_at or "", kept(each))
            for each in found
        ],
    )


def kept(ref: Ref) -> str:
    return f"{ref.max_ref_age_ms / DAY_MS:g} days" if ref.max_ref_age_ms else "for ever"


def diff(
    table: str,
    before: str | None,
    to: str | None,
    rows_max: int | None,
    as_json: bool,
    **where: Any,
) -> None:
    def work(lake: Client) -> None:
        found = lake.diff(table, before, to)
        if as_json:
            rows = asking.as_document(lake.diff_rows(table, before, to)) if rows_max else {}
            output.emit({"table": table, **msgspec.to_builtins(found), **rows})
            return
        output.facts(
            [
                ("from", str(found.from_snapshot_id or "nothing")),
                ("to", str(found.to_snapshot_id or "nothing")),
                ("inserted", f"{found.inserted_rows:,}"),
                ("deleted", f"{found.deleted_rows:,}"),
            ]
        )
        if rows_max:
            asking.show(lake.diff_rows(table, before, to), rows_max)

    connected(work, **where)


def changes(
    table: str, since: str | None, until: str | None, rows_max: int, as_json: bool, **where: Any
) -> None:
    def work(lake: Client) -> None:
        rows, last = lake.changes(table, since, until)
        if as_json:
            output.emit({"table": table, "until": last, **asking.as_document(rows)})
        else:
            asking.show(rows, rows_max)

    connected(work, **where)


def export(
    table: str,
    format_: str | None,
    as_of: str | None,
    path: Path | None,
    as_json: bool,
    **where: Any,
) -> None:
    if as_json and path is None:
        raise click.UsageError("--json goes with -o FILE: the rows have stdout")
    chosen = asking.format_of(format_ or ("csv" if path is None else None), path, as_json=False)

    def work(lake: Client) -> None:
        with lake.export_table(table, cast(Any, chosen), as_of=as_of) as pieces:
            size_bytes = asking.save(pieces, path)
        if as_json:
            file = str(path)
            output.emit({"table": table, "file": file, "format": chosen, "size_bytes": size_bytes})

    connected(work, **where)
