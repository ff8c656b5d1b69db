"""`schema`: the columns of a table as a list, and one change of them."""

from collections.abc import Iterable, Iterator
from typing import Any

from lakehouse.cli import output
from lakehouse.cli.where import connected
from lakehouse.client import SchemaField, TableSchema


def show(table: str, as_json: bool, **where: Any) -> None:
    tell(connected(lambda lake: lake.schemas.get(table), **where), as_json)


def change(op: str, table: str, name: str, as_json: bool, **options: Any) -> None:
    said = ("type", "to", "first", "after")
    asked = {key: options.pop(key) for key in said if key in options}
    one = {"op": op, "name": name, **{key: value for key, value in asked.items() if value}}
    tell(connected(lambda lake: lake.schemas.evolve(table, one), **options), as_json)


def tell(found: TableSchema, as_json: bool) -> None:
    if as_json:
        output.emit(found)
        return
    output.show(
        [("id", "long"), ("column", ""), ("type", "")],
        [(str(each.id), path, each.type) for path, each in every(found.columns)],
    )


def every(fields: Iterable[SchemaField], above: str = "") -> Iterator[tuple[str, SchemaField]]:
    for each in fields:
        path = f"{above}.{each.name}" if above else each.name
        yield path, each
        yield from every(each.fields, path)
