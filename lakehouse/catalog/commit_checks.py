"""What a commit of another engine may say: what it asks for is kept, and read for years.

Source: https://iceberg.apache.org/spec/#table-metadata-and-snapshots, and what readers in Java, Go
and Rust refuse to load.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

from lakehouse.catalog.errors import TooManyUpdatesError
from lakehouse.catalog.foreign import ForeignTableError, check_columns, check_layout
from lakehouse.catalog.metadata import FORMAT_VERSION, FORMAT_VERSIONS, Json, whole_number
from lakehouse.catalog.new_columns import check_new_columns
from lakehouse.catalog.new_layouts import check_new_layouts
from lakehouse.catalog.properties import check_values
from lakehouse.catalog.rules import InvalidPropertyError
from lakehouse.catalog.table import CREATED_AT
from lakehouse.catalog.tables import NAME, now_ms
from lakehouse.catalog.types import all_ids, paths
from lakehouse.errors import InvalidInputError

OURS = "lakehouse."
"""Properties by which the catalog keeps a table, and words of our snapshots: nobody else's."""
COUNTS = ("total-", "added-", "deleted-", "removed-")
CHOSEN = ("current-schema-id", "default-spec-id", "default-sort-order-id")
UPDATES_MAX = 5_000
"""Of a request, of all its tables together: 0.5 s, and others wait for the table."""
SCHEMAS_MAX = 1_000
"""Of a request: the columns of each are looked at, which takes 1.7 s where each has 100."""
OPERATIONS = ("append", "replace", "overwrite", "delete")
SKEW_MS = 60_000
"""Readers refuse a table whose log of snapshots goes back by more."""


def check_count(updates: Iterable[Sequence[Json]]) -> None:
    """Raise `TooManyUpdatesError` for more updates in a request than are done at once."""
    found = [each for some in updates for each in some]
    if len(found) > UPDATES_MAX:
        raise TooManyUpdatesError(len(found), UPDATES_MAX)
    schemas = sum(each["action"] == "add-schema" for each in found)
    if schemas > SCHEMAS_MAX:
        raise TooManyUpdatesError(schemas, SCHEMAS_MAX)


def version_of(asked: str) -> int:
    found = whole_number(asked)
    if found is None or found not in FORMAT_VERSIONS:
        raise InvalidInputError(f"tables are of format version 1 to 3, not {asked[:20]!r}")
    return found


def check_ours(
    before: Mapping[str, str], after: Mapping[str, str], *, is_new: bool = False
) -> None:
    """Refuse a change of the properties by which the catalog keeps a table."""
    for name in before.keys() | after.keys():
        is_begun = is_new and name in (CREATED_AT, NAME)
        if name.startswith(OURS) and before.get(name) != after.get(name) and not is_begun:
            raise InvalidInputError(f"the property {name[:120]!r} is kept by the catalog")


def check_readable(after: Json, before: Json) -> None:
    """Refuse columns, a layout or properties that are new and not ours to read or write.

    Raises:
        InvalidInputError: says which.
    """
    parts = (*CHOSEN, "schemas", "partition-specs", "sort-orders")
    try:
        if any(after[each] != before.get(each) for each in parts):
            check_ids(after, before)
            check_defaults(after)
            check_columns(after)
            check_new_columns(after, before)
            check_layout(after)
            check_new_layouts(after, before)
        if after["properties"] != before.get("properties"):
            check_columns(after)  # one of them says how columns are found
            check_values(after)
    except ForeignTableError as error:
        raise InvalidInputError(f"the table cannot be kept: {error}") from error
    except InvalidPropertyError as error:
        raise InvalidInputError(error.detail) from error


def check_ids(metadata: Json, before: Json) -> None:
    """Refuse ids that are twice, that name nothing, or that leave none for those who come later."""
    last = before.get("last-column-id", 0)
    for schema in metadata["schemas"]:
        ids = list(all_ids(schema["fields"]))
        if len(set(ids)) < len(ids):
            raise InvalidInputError("two columns of a schema have one id")
        last += len(ids)
    if metadata["last-column-id"] > last:
        raise InvalidInputError(
            f"a column has the id {metadata['last-column-id']}: ids are given one by one, from "
            f"{before.get('last-column-id', 0) + 1} on"
        )
    last = before.get("last-partition-id", 999)
    for spec in metadata["partition-specs"]:
        for key in ("field-id", "name"):
            found = [each[key] for each in spec["fields"]]
            if len(set(found)) < len(found):
                raise InvalidInputError(f"two fields of a partition spec have one {key}")
        last += len(spec["fields"])
    if metadata["last-partition-id"] > last:
        raise InvalidInputError("ids of partition fields are given one by one, from 1000 on")


def check_defaults(metadata: Json) -> None:
    """Refuse values for rows that have none: format versions 1 and 2 have no such thing."""
    if metadata["format-version"] > FORMAT_VERSION:
        return
    for schema in metadata["schemas"]:
        for path, each in paths(schema["fields"]):
            for key in ("initial-default", "write-default"):
                if each.get(key) is not None:
                    raise InvalidInputError(f"{key} of {path!r} is not supported until v3")


def check_snapshots(snapshots: Iterable[Json], before: Json) -> None:
    """Refuse snapshots whose numbers or times would keep others from coming after them.

    One that comes before itself would be walked for ever.
    """
    last = before.get("last-sequence-number", 0)
    earliest = before.get("last-updated-ms", 0) - SKEW_MS
    followed = {each.get("parent-snapshot-id") for each in before.get("snapshots", ())}
    for snapshot in snapshots:
        followed.add(snapshot.get("parent-snapshot-id"))
        if snapshot["snapshot-id"] in followed:
            raise InvalidInputError(
                f"another snapshot follows one of the id {snapshot['snapshot-id']} already"
            )
        operation = snapshot["summary"].get("operation")
        if operation not in OPERATIONS:
            raise InvalidInputError(
                f"the operation in the summary of a snapshot is one of {', '.join(OPERATIONS)}, "
                f"not {str(operation)[:40]!r}"
            )
        at, number = snapshot["timestamp-ms"], snapshot.get("sequence-number", 0)
        if not earliest <= at <= now_ms() + SKEW_MS:
            raise InvalidInputError(
                f"the snapshot is of {at} ms after 1970, which is to come, or before the one that "
                "it follows: set the clock of that machine"
            )
        if number > last + 1:
            raise InvalidInputError(f"the sequence number after {last} is {last + 1}, not {number}")
        last = max(last, number)
        for name, value in snapshot["summary"].items():
            if name.startswith(OURS):
                raise InvalidInputError(f"{name[:120]!r} in a summary is a word of the catalog")
            if name.startswith(COUNTS) and whole_number(value) is None:
                raise InvalidInputError(
                    f"{name[:120]} of the snapshot is {value[:40]!r}, no number"
                )


def new_properties(update: Json) -> Iterator[tuple[str, str]]:
    if update["action"] == "set-properties":
        yield from update["updates"].items()


def new_statistics(updates: Iterable[Json]) -> Iterator[tuple[str, int]]:
    """Yield the location and the bytes of each file of statistics that a commit names."""
    for update in updates:
        for key in ("statistics", "partition-statistics"):
            if update["action"] == f"set-{key}":
                yield update[key]["statistics-path"], update[key]["file-size-in-bytes"]


def spelled(given: str) -> str:
    """Return a UUID in the one way it is compared in."""
    try:
        return str(uuid.UUID(given))
    except ValueError:
        raise InvalidInputError(f"{given[:80]!r} is no UUID") from None
