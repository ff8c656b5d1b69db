"""What partition specs and sort orders another engine may bring, whether they hold or not.

All of them are read with the table: a reader that does not know one opens no table.
Source: https://iceberg.apache.org/spec/#partition-transforms
"""

import re
from collections.abc import Iterator, Sequence

from lakehouse.catalog.metadata import Json, schema_of, spec_of
from lakehouse.catalog.new_columns import ROOT, Placed, placed
from lakehouse.catalog.partitioning import BUCKETED, DATES, FIRST_FIELD_ID, OWN_NAME, TIMES
from lakehouse.catalog.types import paths
from lakehouse.errors import InvalidInputError

TRANSFORM = re.compile(r"(identity|year|month|day|hour|void)|(bucket|truncate)\[([1-9]\d{0,8})\]")
BYTES = frozenset(["binary", "fixed", "decimal"])
TAKES = {
    "year": DATES,
    "month": DATES,
    "day": DATES,
    "hour": TIMES,
    "bucket": BUCKETED | BYTES,
    "truncate": frozenset(["int", "long", "string", "binary", "decimal"]),
}
"""Types that each transform takes; the others take all that hold one value."""


def check_new_layouts(after: Json, before: Json) -> None:
    """Refuse partition specs and sort orders that are new and not of the specification.

    Args:
        before: the metadata that the commit goes on from, empty for a table that is made.

    Raises:
        InvalidInputError: says which field, and why.
    """
    columns: dict[int, Placed] = {}
    for schema in after["schemas"]:
        columns.update(placed(schema["fields"]))
    columns.update(placed(schema_of(after)["fields"]))
    for spec in added("partition-specs", after, before):
        for each in spec["fields"]:
            check_term(f"the partition field {each['name']!r}", each, columns)
            if each["field-id"] < FIRST_FIELD_ID:
                raise InvalidInputError(
                    f"the partition field {each['name']!r} has the id {each['field-id']}: those of "
                    f"partition fields begin at {FIRST_FIELD_ID}"
                )
        for name in taken_names(spec["fields"], schema_of(after)):
            raise TakenNameError(name)
    for order in added("sort-orders", after, before):
        for each in order["fields"]:
            check_term("the sort order", each, columns)
    there = list(taken_names(spec_of(before)["fields"], schema_of(before))) if before else []
    for name in taken_names(spec_of(after)["fields"], schema_of(after)):
        if name not in there:
            raise TakenNameError(name)


class TakenNameError(InvalidInputError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"a partition field and a column would both be named {name[:80]!r}, and only a "
            "partition by the values of that column may be: take another name for one of them"
        )


def added(key: str, after: Json, before: Json) -> list[Json]:
    known = before.get(key, [])
    return [each for each in after[key] if each not in known]


def taken_names(fields: Sequence[Json], schema: Json) -> Iterator[str]:
    """Yield the names of partition fields that columns have which they are not made of."""
    columns = {path: each["id"] for path, each in paths(schema["fields"])}
    for each in fields:
        is_own = each["transform"] in OWN_NAME and columns.get(each["name"]) == each["source-id"]
        if each["name"] in columns and not is_own:
            yield each["name"]


def check_term(what: str, term: Json, columns: dict[int, Placed]) -> None:
    matched = TRANSFORM.fullmatch(term["transform"])
    if matched is None:
        raise InvalidInputError(
            f"{what} is by {term['transform'][:40]!r}, which is no transform of the specification"
        )
    source = columns.get(term["source-id"])
    if source is None:
        raise InvalidInputError(
            f"{what} is by the column {term['source-id']}, which the table has not"
        )
    name, type_ = matched[1] or matched[2], source.type
    plain = re.split(r"[(\[]", type_)[0] if isinstance(type_, str) else None
    if plain is None or plain not in TAKES.get(name, {plain}):
        shown = type_ if isinstance(type_, str) else type_["type"]
        raise InvalidInputError(f"{what} is by {name} of {source.path!r}, which is a {shown}")
    while source.parent != ROOT:
        source = columns[source.parent]
        if isinstance(source.type, str) or source.type["type"] != "struct":
            raise InvalidInputError(f"{what} is by what is in {source.path!r}, which holds several")
