"""The ids of a table that another engine asks for: those it gave mean nothing, and new ones do.

Source: https://iceberg.apache.org/spec/#schemas-and-data-types, and the order of Java's reference
code: all fields of a struct, then what is inside them.
"""

from collections.abc import Iterator, Sequence
from itertools import count

from lakehouse.catalog.metadata import Json
from lakehouse.catalog.partitioning import FIRST_FIELD_ID
from lakehouse.catalog.types import Field, Type
from lakehouse.errors import InvalidInputError


def with_fresh_ids(begun: Json, schema: Json, spec: Json | None, order: Json | None) -> Json:
    """Return metadata of a table without columns, with those that are asked for.

    Args:
        begun: as `NewTables.begun` makes it.

    Raises:
        InvalidInputError: the partitioning, the order or the identifier names no column.
    """
    ids = count(1)
    new: dict[int, int] = {}
    fields = renumbered(schema["fields"], ids, new)
    identifiers = [renamed(new, each, "identifier") for each in identifiers_of(schema)]
    partition = [
        {
            **each,
            "source-id": renamed(new, each["source-id"], "partitioning"),
            "field-id": FIRST_FIELD_ID + number,
        }
        for number, each in enumerate((spec or {}).get("fields", ()))
    ]
    sort = [
        {**each, "source-id": renamed(new, each["source-id"], "order")}
        for each in (order or {}).get("fields", ())
    ]
    held = {"identifier-field-ids": identifiers} if identifiers else {}
    orders: list[Json] = [{"order-id": 1, "fields": sort}] if sort else []
    return {
        **begun,
        "last-column-id": next(ids) - 1,
        "schemas": [{"type": "struct", "schema-id": 0, **held, "fields": fields}],
        "partition-specs": [{"spec-id": 0, "fields": partition}],
        "last-partition-id": FIRST_FIELD_ID - 1 + len(partition),
        "sort-orders": [{"order-id": 0, "fields": []}, *orders],
        "default-sort-order-id": len(orders),
    }


def identifiers_of(schema: Json) -> Sequence[int]:
    return schema.get("identifier-field-ids") or ()


def renamed(new: dict[int, int], given: int, what: str) -> int:
    if given not in new:
        raise InvalidInputError(f"the {what} names the column {given}, which the schema has not")
    return new[given]


def renumbered(fields: Sequence[Field], ids: Iterator[int], new: dict[int, int]) -> list[Field]:
    own = [fresh(each["id"], ids, new) for each in fields]
    return [
        {**each, "id": id_, "type": inside(each["type"], ids, new)}
        for id_, each in zip(own, fields, strict=True)
    ]


def inside(type_: Type, ids: Iterator[int], new: dict[int, int]) -> Type:
    if isinstance(type_, str):
        return type_
    if type_["type"] == "struct":
        return {**type_, "fields": renumbered(type_["fields"], ids, new)}
    parts = ("element",) if type_["type"] == "list" else ("key", "value")
    own = {f"{part}-id": fresh(type_[f"{part}-id"], ids, new) for part in parts}
    return {**type_, **own, **{part: inside(type_[part], ids, new) for part in parts}}


def fresh(given: int, ids: Iterator[int], new: dict[int, int]) -> int:
    if given in new:
        raise InvalidInputError(f"two columns of the schema have the id {given}")
    new[given] = next(ids)
    return new[given]
