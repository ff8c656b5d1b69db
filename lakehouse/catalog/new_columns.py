"""What another engine may make of a table's columns: files that are there are read by their ids.

Source: https://iceberg.apache.org/spec/#schema-evolution, and what readers in Java, Python and Rust
refuse to load.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from lakehouse.catalog.default_values import is_of_type
from lakehouse.catalog.evolution import is_wider
from lakehouse.catalog.metadata import FORMAT_VERSION, Json, current_snapshot_id, schema_of
from lakehouse.catalog.partitioning import CALENDAR, VOID
from lakehouse.catalog.rules import ancestors
from lakehouse.catalog.types import Field, Type, check_paths, type_text
from lakehouse.errors import InvalidInputError

FLOATS = ("float", "double")
ROOT = 0
"""In the place of the id of what a column is in: of a table itself."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A field of a schema, and where it is."""

    path: str
    field: Field
    parent: int
    """The id of what holds it; `ROOT` for a column of the table."""
    is_required: bool

    @property
    def type(self) -> Type:
        found: Type = self.field["type"]
        return found


def check_new_columns(after: Json, before: Json) -> None:
    """Refuse schemas that are new, and a choice among the old ones, by which nobody reads on.

    Args:
        before: the metadata that the commit goes on from, empty for a table that is made.

    Raises:
        InvalidInputError: says which column, and why.
    """
    known = before.get("schemas", [])
    new = [each for each in after["schemas"] if each not in known]
    for schema in new:
        check_paths(schema["fields"])
        check_identifiers(schema)
        check_defaults(schema)
    if goes_on(after, before):
        check_changes(after, before, new)


def placed(
    fields: Iterable[Field], parent: int = ROOT, above: str = ""
) -> Iterator[tuple[int, Placed]]:
    """Yield every field by its id, those that hold others before what is in them."""
    for each in fields:
        path = f"{above}{each['name']}"
        yield each["id"], Placed(path, each, parent, each.get("required", False))
        if not isinstance(each["type"], str):
            yield from placed(held(each["type"]), each["id"], f"{path}.")


def held(type_: Json) -> list[Field]:
    """Return what a nested type holds, with whether it may be missing."""
    if type_["type"] == "struct":
        return list(type_["fields"])
    parts = ("element",) if type_["type"] == "list" else ("key", "value")
    return [
        {
            "name": part,
            "id": type_[f"{part}-id"],
            "type": type_[part],
            "required": type_.get(f"{part}-required", part == "key"),
        }
        for part in parts
    ]


# What a schema is by itself.


def check_identifiers(schema: Json) -> None:
    """Refuse identifiers of rows that may be missing, or that are not compared exactly."""
    there = dict(placed(schema["fields"]))
    for id_ in schema.get("identifier-field-ids") or ():
        if id_ not in there:
            raise InvalidInputError("identifier-field-ids names a column that is not there")
        if why := no_identifier(there, there[id_]):
            raise InvalidInputError(
                f"identifier-field-ids names {there[id_].path!r}, which cannot identify rows: {why}"
            )


def check_defaults(schema: Json) -> None:
    """Refuse values for rows without one that are not of the type of their column."""
    for _, each in placed(schema["fields"]):
        for key in ("initial-default", "write-default"):
            value = each.field.get(key)
            if value is not None and not is_of_type(value, each.type):
                raise InvalidInputError(
                    f"{key} of {each.path!r} is {str(value)[:80]!r}, which is no {kind(each.type)} "
                    "as the specification writes one"
                )


def no_identifier(there: Mapping[int, Placed], found: Placed) -> str | None:
    """Return why a column cannot identify rows; None where it can."""
    if not isinstance(found.type, str):
        return f"it is a {found.type['type']}"
    if found.type in FLOATS:
        return f"it is a {found.type}"
    if not found.is_required:
        return "it is not required"
    while found.parent != ROOT:
        found = there[found.parent]
        if isinstance(found.type, str) or found.type["type"] != "struct":
            return f"{found.path!r} holds several"
        if not found.is_required:
            return f"{found.path!r}, which it is in, is not required"
    return None


# What it is beside those that were there before.


def goes_on(after: Json, before: Json) -> bool:
    """Whether files that were there before are still read: a table that is replaced begins anew.

    Spark's `CREATE OR REPLACE TABLE` gives a column of the same name its old id, whatever its type.
    """
    known = {each["snapshot-id"] for each in before.get("snapshots", ())}
    by_id = {each["snapshot-id"]: each for each in after["snapshots"]}
    main = current_snapshot_id(after)
    return any(each["snapshot-id"] in known for each in ancestors(by_id, main))


def check_changes(after: Json, before: Json, new: Iterable[Json]) -> None:
    """Refuse columns that are others under an id that files have already.

    Costs a look at all columns of all schemas.
    """
    current = dict(placed(schema_of(before)["fields"]))
    given: dict[int, Placed] = {}
    for schema in sorted(before["schemas"], key=lambda each: int(each["schema-id"])):
        given.update(placed(schema["fields"]))
    given.update(current)
    chosen = schema_of(after)
    is_chosen = after["current-schema-id"] != before["current-schema-id"]
    for schema in [*new, *([chosen] if is_chosen and chosen in before["schemas"] else ())]:
        found = dict(placed(schema["fields"]))
        for id_, each in found.items():
            check_required(id_, each, current)
            if id_ in given:
                check_change(id_, given[id_], each, after)
        given.update(found)


def check_required(id_: int, each: Placed, current: Mapping[int, Placed]) -> None:
    """Refuse a column that rows must have, and those that are there may not."""
    if not each.is_required:
        return
    if id_ in current and not current[id_].is_required:
        raise InvalidInputError(
            f"{each.path!r} is optional and cannot become required: rows may be without it"
        )
    is_beside_rows = each.parent == ROOT or each.parent in current
    if id_ not in current and is_beside_rows and each.field.get("initial-default") is None:
        raise InvalidInputError(
            f"{each.path!r} is new and required, and the rows that are there are without it: add "
            "it as optional"
        )


def check_change(id_: int, was: Placed, now: Placed, after: Json) -> None:
    if was.parent != now.parent:
        raise InvalidInputError(
            f"{now.path!r} has the id {id_} of {was.path!r}, which is somewhere else: a column "
            "stays in what it is in"
        )
    if is_kept(was.type, now.type) or is_promoted(id_, was.type, now.type, after):
        return
    raise InvalidInputError(
        f"{now.path!r} has the id {id_}, under which the table has {kind(was.type)}, and cannot be "
        f"{kind(now.type)}: int widens to long, float to double, a decimal to more digits before "
        "the point, and nothing else; a new column has a new id"
    )


def is_kept(was: Type, now: Type) -> bool:
    """Whether a type is the same, apart from what is inside of it, which has ids of its own."""
    if isinstance(was, str) or isinstance(now, str):
        return type_text(was) == type_text(now) and isinstance(was, str) == isinstance(now, str)
    ids = ("element-id", "key-id", "value-id")
    return was["type"] == now["type"] and all(was.get(each) == now.get(each) for each in ids)


def is_promoted(id_: int, was: Type, now: Type, after: Json) -> bool:
    """Whether a type is wider than another; days become moments from format version 3 on.

    A partition of days by another transform than a calendar's would have other values then.
    """
    if (was, now) != ("date", "timestamp"):
        return is_wider(was, type_text(now) if isinstance(now, str) else now)
    used = {
        each["transform"]
        for spec in after["partition-specs"]
        for each in spec["fields"]
        if each["source-id"] == id_
    }
    return after["format-version"] > FORMAT_VERSION and used <= CALENDAR | {VOID}


def kind(type_: Type) -> str:
    return type_text(type_) if isinstance(type_, str) else f"a {type_['type']}"
