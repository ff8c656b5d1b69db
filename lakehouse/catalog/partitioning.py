"""Partition transforms and sort orders: as users write them, as Iceberg and DuckDB have them.

Source: https://iceberg.apache.org/spec/#partition-transforms
"""

import re
from collections.abc import Sequence

from lakehouse.catalog.metadata import Json
from lakehouse.catalog.types import Field
from lakehouse.database import quoted
from lakehouse.errors import InvalidInputError
from lakehouse.names import folded

FIRST_FIELD_ID = 1000
FORMS = (
    "`column`, `year(column)`, `month(..)`, `day(..)`, `hour(..)`, "
    "`bucket(16, column)`, `truncate(8, column)`"
)
DATES = frozenset(["date", "timestamp", "timestamptz"])
TIMES = DATES - {"date"}
BUCKETED = frozenset(["int", "long", "date", "time", "timestamp", "timestamptz", "string", "uuid"])
FLOATS = frozenset(["float", "double"])  # PyIceberg 0.12 reads a double of a manifest as a float
CALENDAR = frozenset(["year", "month", "day", "hour"])
WIDTH_MAX = 1_000_000
VOID = "void"
"""What is left in format version 1 of a partition field that was dropped: it has no value."""
OWN_NAME = ("identity", VOID)
"""Transforms whose field may have the name of its column."""

# What each transform takes, and how DuckDB computes it, as manifests hold it: days and microseconds
# from the epoch are integers. `date_diff` counts borders crossed, so it rounds down before 1970
# too, as the specification asks.
TRANSFORMS = {
    "identity": (None, "{column}"),
    "year": (DATES, "CAST(year({column}) - 1970 AS INTEGER)"),
    "month": (DATES, "CAST((year({column}) - 1970) * 12 + month({column}) - 1 AS INTEGER)"),
    "day": (DATES, "CAST({column} AS DATE) - DATE '1970-01-01'"),
    "hour": (TIMES, "CAST(date_diff('hour', TIMESTAMP '1970-01-01', {column}) AS INTEGER)"),
    "bucket": (BUCKETED, "iceberg_bucket({width}, {column})"),
    "truncate": (frozenset(["int", "long", "string"]), "iceberg_truncate({width}, {column})"),
}
# Where a type needs another expression. DuckDB's own truncates by grapheme, Iceberg by code point;
# its bucket of a UUID is not that of the specification (2 for 12), that of the same bytes is.
OF_TYPE = {
    ("identity", "date"): "{column} - DATE '1970-01-01'",
    ("identity", "time"): "epoch_us({column})",
    ("identity", "timestamp"): "epoch_us({column})",
    ("identity", "timestamptz"): "epoch_us({column})",
    ("identity", "uuid"): "unhex(replace(CAST({column} AS VARCHAR), '-', ''))",
    ("truncate", "string"): "left({column}, {width})",
    ("bucket", "uuid"): (
        "iceberg_bucket({width}, unhex(replace(CAST({column} AS VARCHAR), '-', '')))"
    ),
}
TERM = re.compile(
    r"\s*(?P<transform>year|month|day|hour|bucket|truncate|identity)\s*"
    r"\(\s*(?:(?P<width>\d+)\s*,\s*)?(?P<column>.+?)\s*\)\s*",
    re.IGNORECASE,
)


class InvalidPartitionError(InvalidInputError):
    def __init__(self, term: str, reason: str) -> None:
        super().__init__(f"partition_by {term[:80]!r} is refused: {reason}")


class InvalidSortError(InvalidInputError):
    def __init__(self, term: str, reason: str) -> None:
        super().__init__(f"sort_by {term[:80]!r} is refused: {reason}")


class LayoutError(InvalidInputError):
    def __init__(self, what: str, table: str, there: Sequence[str]) -> None:
        shown = ", ".join(there) or "not set"
        super().__init__(f"{what} of the table {table!r} is {shown}; only a create sets it")


def partition_fields(terms: Sequence[str], fields: Sequence[Field]) -> list[Json]:
    """Return the fields of a partition spec.

    Raises:
        InvalidPartitionError: no such column, or the transform does not take its type.
    """
    result: list[Json] = []
    for number, term in enumerate(terms):
        # A column of that very name is meant first, whatever it looks like.
        matched = None if find_field(fields, term) else TERM.fullmatch(term)
        name = matched["column"] if matched else term
        transform = matched["transform"].lower() if matched else "identity"
        width = matched["width"] if matched else None
        source = find_field(fields, name)
        if source is None:
            raise InvalidPartitionError(term, f"there is no such column; the forms are {FORMS}")
        check_transform(term, transform, width, source["type"])
        suffix = "" if transform == "identity" else f"_{transform.replace('truncate', 'trunc')}"
        result.append(
            {
                "source-id": source["id"],
                "field-id": FIRST_FIELD_ID + number,
                "name": f"{source['name']}{suffix}",
                "transform": f"{transform}[{width}]" if width else transform,
            }
        )
    check_partition_names(result, terms, fields)
    return result


def check_partition_names(
    partition: Sequence[Json], terms: Sequence[str], fields: Sequence[Field]
) -> None:
    """Names of partition fields are unique, and no column has one: only identity shares it."""
    if len({each["name"] for each in partition}) < len(partition):
        raise InvalidPartitionError(", ".join(terms), "one of them is there twice")
    for each, term in zip(partition, terms, strict=True):
        if each["transform"] != "identity" and find_field(fields, each["name"]):
            reason = f"its field would be named {each['name']!r}, and so is a column; rename it"
            raise InvalidPartitionError(term, reason)


def check_transform(term: str, transform: str, width: str | None, type_: object) -> None:
    allowed = TRANSFORMS[transform][0]
    if not isinstance(type_, str) or type_ in FLOATS or (allowed and type_ not in allowed):
        raise InvalidPartitionError(term, f"{transform} does not take this column's type")
    if (transform in ("bucket", "truncate")) != (width is not None):
        raise InvalidPartitionError(term, f"the forms are {FORMS}")
    if width is not None and not 1 <= int(width) <= WIDTH_MAX:
        raise InvalidPartitionError(term, f"the width is 1 to {WIDTH_MAX}")


def find_field(fields: Sequence[Field], name: str) -> Field | None:
    wanted = folded(name)
    return next((each for each in fields if folded(each["name"]) == wanted), None)


def partition_sql(partition: Json, fields: Sequence[Field]) -> str:
    """Return the SQL expression that computes one partition field."""
    if partition["transform"] == VOID:  # of a column that may be gone
        return "NULL"
    source = next(each for each in fields if each["id"] == partition["source-id"])
    name, _, width = partition["transform"].rstrip("]").partition("[")
    column = quoted(source["name"])
    if source["type"] == "timestamptz" and name in CALENDAR:
        column = f"({column} AT TIME ZONE 'UTC')"
    form = OF_TYPE.get((name, source["type"]), TRANSFORMS[name][1])
    return form.format(column=column, width=width)


def parting_fields(spec: Json) -> list[Json]:
    """Return the fields of a spec by which rows are parted: those that are void part none."""
    return [each for each in spec["fields"] if each["transform"] != VOID]


def partition_terms(spec: Json, fields: Sequence[Field]) -> list[str]:
    """Return a spec as users write it."""
    names = {each["id"]: each["name"] for each in fields}
    result = []
    for each in parting_fields(spec):
        transform, _, width = each["transform"].rstrip("]").partition("[")
        column = names.get(each["source-id"], f"#{each['source-id']}")
        arguments = f"{width}, {column}" if width else column
        result.append(column if transform == "identity" else f"{transform}({arguments})")
    return result


def sort_fields(terms: Sequence[str], fields: Sequence[Field]) -> list[Json]:
    """Return the fields of a sort order; nulls come last, as DuckDB sorts them."""
    result: list[Json] = []
    for term in terms:
        words = term.strip()
        descending = words.lower().endswith(" desc")
        name = re.sub(r"\s+(asc|desc)$", "", words, flags=re.IGNORECASE)
        source = find_field(fields, name)
        if source is None:
            raise InvalidSortError(term, "there is no such column; write `column` or `column desc`")
        if not isinstance(source["type"], str):
            raise InvalidSortError(term, "a nested column has no order")
        result.append(
            {
                "transform": "identity",
                "source-id": source["id"],
                "direction": "desc" if descending else "asc",
                "null-order": "nulls-last",
            }
        )
    return result


def sort_terms(order: Json, fields: Sequence[Field]) -> list[str]:
    names = {each["id"]: each["name"] for each in fields}
    return [
        names.get(each["source-id"], "?") + (" desc" if each["direction"] == "desc" else "")
        for each in order["fields"]
    ]


def sort_sql(order: Json, fields: Sequence[Field]) -> str:
    """Return the ORDER BY of a sort order, empty when there is none."""
    names = {each["id"]: each["name"] for each in fields}
    keys = (
        f"{quoted(names[each['source-id']])} {each['direction']} "
        f"{each['null-order'].replace('-', ' ')}"
        for each in order["fields"]
        if each["source-id"] in names and each["transform"] == "identity"
    )
    joined = ", ".join(keys)
    return f" ORDER BY {joined}" if joined else ""
