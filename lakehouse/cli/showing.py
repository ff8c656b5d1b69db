"""`tables`, `describe` and `history`: what the catalog knows, as tables."""

from itertools import islice
from typing import Any

import msgspec

from lakehouse.cli import output, past
from lakehouse.cli.where import connected
from lakehouse.client import Client
from lakehouse.errors import LakehouseError

DETAILED_MAX = 500
"""Tables that are looked at one by one; of more only the names are listed."""


def tables(namespace: str | None, names: bool, dropped: bool, as_json: bool, **where: Any) -> None:
    if dropped:
        past.dropped(namespace, names, as_json, **where)
        return
    rows = connected(lambda lake: listed(lake, namespace, detailed=not names), **where)
    if as_json:
        output.emit({"tables": rows})
        return
    if names:
        for row in rows:
            output.stdout().print(output.visible(str(row["name"])), soft_wrap=True)
        return
    if not rows:
        output.stdout().print("No tables yet. `lakehouse ingest FILE` makes one.")
        return
    output.show(
        [("table", ""), ("rows", "long"), ("files", "long"), ("size", "long"), ("changed", "")],
        [
            (
                row["name"],
                number(row.get("row_count")),
                number(row.get("file_count")),
                output.size(row.get("size_bytes")),
                f"damaged: {row['damaged']}" if row["damaged"] else row.get("updated_at", ""),
            )
            for row in rows
        ],
    )


def listed(lake: Client, namespace: str | None, *, detailed: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"name": output.named(each), "damaged": each.damaged} for each in lake.tables(namespace)
    ]
    if not detailed or len(rows) > DETAILED_MAX:
        return rows
    return [{**row, **details(lake, row)} for row in rows]


def details(lake: Client, row: dict[str, Any]) -> dict[str, Any]:
    if row["damaged"]:
        return {}
    try:
        table = lake.describe(row["name"])
    except LakehouseError as error:  # dropped or damaged since it was listed
        return {"damaged": error.detail}
    wanted = ("row_count", "file_count", "size_bytes", "snapshot_id", "updated_at")
    return {name: getattr(table, name) for name in wanted}


def number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def describe(table: str, as_json: bool, **where: Any) -> None:
    found = connected(lambda lake: lake.describe(table), **where)
    if as_json:
        output.emit(found)
        return
    average = found.size_bytes / found.file_count if found.file_count else None
    files = f"{number(found.file_count)}, {output.size(found.size_bytes)} in all"
    if average:
        files += f", {output.size(int(average))} on average"
    output.facts(
        [
            ("table", output.named(found)),
            ("rows", number(found.row_count)),
            ("files", files if found.file_count else "none"),
            ("partitioned by", ", ".join(found.partition_by) or "nothing"),
            ("sorted by", ", ".join(found.sort_by) or "nothing"),
            ("snapshot", str(found.snapshot_id) if found.snapshot_id is not None else "none yet"),
            ("changed", found.updated_at),
            ("created", found.created_at),
            ("format", found.format),
            ("location", found.location),
        ]
    )
    output.show(
        [("column", ""), ("type", "")], [(column.name, column.type) for column in found.columns]
    )


def history(table: str, limit: int, as_json: bool, **where: Any) -> None:
    # One more than is shown tells whether there are more.
    found = connected(lambda lake: list(islice(lake.history(table), limit + 1)), **where)
    snapshots, more = found[:limit], len(found) > limit
    if as_json:
        output.emit({"table": table, "snapshots": msgspec.to_builtins(snapshots), "more": more})
        return
    if not snapshots:
        output.stdout().print("No snapshots yet: nothing was loaded.")
        return
    output.show(
        [
            ("snapshot", "long"),
            ("committed", ""),
            ("operation", ""),
            ("rows", "long"),
            ("added", "long"),
            ("updated", "long"),
            ("deleted", "long"),
            ("by", ""),
            ("names", ""),
        ],
        [
            (
                str(each.snapshot_id),
                each.committed_at,
                each.operation,
                number(each.row_count),
                number(each.added_rows),
                number(each.updated_rows),
                number(each.deleted_rows),
                each.by or "",
                ", ".join(each.refs),
            )
            for each in snapshots
        ],
    )
    if more:
        output.stderr().print(f"Only the newest {limit}; --limit shows more.", style="dim")
