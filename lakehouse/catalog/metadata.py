"""Table metadata as plain JSON: how it begins, how it is read, what is in it.

Fields that we do not know stay: nothing is parsed into objects and written back without them.
Source: https://iceberg.apache.org/spec/#table-metadata-and-snapshots
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import orjson

from lakehouse.catalog.types import Field
from lakehouse.errors import InvalidInputError

Json: TypeAlias = dict[str, Any]

FORMAT_VERSION: Literal[2] = 2
"""Of the tables that are made here, and the only one that is written to here."""
FORMAT_VERSIONS = range(1, 4)
"""Of the tables of other engines: those are read, and their commits taken."""
NO_VERSION = 0
"""Of a table that is made by updates, until one of them says it."""
ROW_IDS, FIRST_ROW_ID, ADDED_ROWS = "next-row-id", "first-row-id", "added-rows"
"""Of format version 3: rows are numbered, and a snapshot says from where on."""
PREVIOUS_VERSIONS_MAX = 100
DIGITS_MAX = 18
"""Of a property that is a number."""
PREVIOUS_VERSIONS = "write.metadata.previous-versions-max"
NO_SNAPSHOT = -1
MAIN = "main"
NAME_MAPPING = "schema.name-mapping.default"
ADOPTED = "lakehouse.adopted-from"
"""A property: the metadata file that another engine wrote, and that this table goes on from."""


def new_metadata(
    *,
    table_uuid: str,
    location: str,
    fields: Sequence[Field],
    last_column_id: int,
    partition_fields: Sequence[Json] = (),
    sort_fields: Sequence[Json] = (),
    properties: Mapping[str, str] | None = None,
    now_ms: int,
) -> Json:
    """Return the metadata of a table that has no snapshot yet."""
    orders: list[Json] = [{"order-id": 0, "fields": []}]
    if sort_fields:
        orders.append({"order-id": 1, "fields": list(sort_fields)})
    return {
        "format-version": FORMAT_VERSION,
        "table-uuid": table_uuid,
        "location": location,
        "last-sequence-number": 0,
        "last-updated-ms": now_ms,
        "last-column-id": last_column_id,
        "current-schema-id": 0,
        "schemas": [{"type": "struct", "schema-id": 0, "fields": list(fields)}],
        "default-spec-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": list(partition_fields)}],
        "last-partition-id": max((each["field-id"] for each in partition_fields), default=999),
        "default-sort-order-id": orders[-1]["order-id"],
        "sort-orders": orders,
        "properties": dict(properties or {}),
        "current-snapshot-id": NO_SNAPSHOT,
        "refs": {},
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
        "statistics": [],
        "partition-statistics": [],
    }


def empty_metadata(now_ms: int) -> Json:
    """Return what the updates that make a table are applied to: it has nothing yet."""
    begun = new_metadata(table_uuid="", location="", fields=(), last_column_id=0, now_ms=now_ms)
    parts: Json = {"schemas": [], "partition-specs": [], "sort-orders": []}
    chosen = dict.fromkeys(("current-schema-id", "default-spec-id", "default-sort-order-id"), -1)
    rest = {key: value for key, value in begun.items() if key not in ("table-uuid", "location")}
    return {**rest, **parts, **chosen, "format-version": NO_VERSION}


def of_version(metadata: Json, version: int) -> Json:
    """Return metadata with what its format version asks for besides."""
    found = {**metadata, "format-version": version}
    if version == 1:  # readers of that time look for these alone
        found["schema"] = schema_of(metadata)
        found["partition-spec"] = spec_of(metadata)["fields"]
    if version > FORMAT_VERSION:
        found.setdefault(ROW_IDS, 0)
    return found


def with_defaults(metadata: Json) -> Json:
    """Return metadata that was made by updates, with the spec and the order of those without."""
    spec = {"partition-specs": [{"spec-id": 0, "fields": []}], "default-spec-id": 0}
    order = {"sort-orders": [{"order-id": 0, "fields": []}], "default-sort-order-id": 0}
    version = metadata["format-version"] or FORMAT_VERSION
    found = {
        **metadata,
        **({} if metadata["partition-specs"] else spec),
        **({} if metadata["sort-orders"] else order),
    }
    return found if found["current-schema-id"] < 0 else of_version(found, version)


REQUIRED = {
    "table-uuid",
    "location",
    "last-sequence-number",
    "last-updated-ms",
    "last-column-id",
    "current-schema-id",
    "schemas",
    "default-spec-id",
    "partition-specs",
    "last-partition-id",
    "default-sort-order-id",
    "sort-orders",
}


def read_metadata(data: bytes) -> Json:
    """Return the metadata in a file, with what the specification lets a writer leave out.

    Raises:
        ValueError: it is not the metadata of a table in a format version that is read.
    """
    found = orjson.loads(data)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    version = found.get("format-version")
    if version not in FORMAT_VERSIONS:
        raise ValueError(f"it has format version {version}, not 1, 2 or 3")
    if version == 1:
        found = with_lists(found)
    if missing := sorted(REQUIRED - found.keys()):
        raise ValueError(f"it lacks {', '.join(missing)}")
    snapshot_id = current_snapshot_id(found)
    main = {} if snapshot_id is None else {MAIN: {"snapshot-id": snapshot_id, "type": "branch"}}
    return {
        "properties": {},
        "current-snapshot-id": NO_SNAPSHOT,
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
        **found,
        "refs": {**main, **found.get("refs", {})},
    }


def with_lists(found: Json) -> Json:
    """Return metadata of format version 1 under the names of the second."""
    spec = found.get("partition-spec", [])
    last_id = max((each.get("field-id", 999) for each in spec), default=999)
    snapshots = [{"sequence-number": 0, **each} for each in found.get("snapshots") or ()]
    lists = {
        "last-sequence-number": 0,
        "schemas": [{"schema-id": 0, **found["schema"]}] if "schema" in found else [],
        "current-schema-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": spec}],
        "default-spec-id": 0,
        "last-partition-id": last_id,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "default-sort-order-id": 0,
    }
    return {**lists, **found, "snapshots": snapshots}


def as_ours(location: str) -> str:
    """Return a location as we spell it: Java writes `file:/x` for `file:///x`."""
    is_javas = location.startswith("file:/") and not location.startswith("file://")
    return f"file://{location.removeprefix('file:')}" if is_javas else location


# What is in it.


def schema_of(metadata: Json, schema_id: int | None = None) -> Json:
    wanted = metadata["current-schema-id"] if schema_id is None else schema_id
    return next(each for each in metadata["schemas"] if each["schema-id"] == wanted)


def has_evolved(metadata: Json) -> bool:
    """Whether files may have been written with other columns; a dataset may begin without any."""
    return sum(1 for each in metadata["schemas"] if each["fields"]) > 1


def spec_of(metadata: Json, spec_id: int | None = None) -> Json:
    wanted = metadata["default-spec-id"] if spec_id is None else spec_id
    return next(each for each in metadata["partition-specs"] if each["spec-id"] == wanted)


def sort_order_of(metadata: Json) -> Json:
    wanted = metadata["default-sort-order-id"]
    return next(each for each in metadata["sort-orders"] if each["order-id"] == wanted)


def current_snapshot_id(metadata: Json) -> int | None:
    value = metadata.get("current-snapshot-id")
    return None if value in (None, NO_SNAPSHOT) else int(value)


def snapshot_of(metadata: Json, snapshot_id: int | None = None) -> Json | None:
    """Return a snapshot, the current one by default; None where there is none."""
    wanted = current_snapshot_id(metadata) if snapshot_id is None else snapshot_id
    newest_first = reversed(metadata["snapshots"])  # it is asked for most
    return next((each for each in newest_first if each["snapshot-id"] == wanted), None)


def snapshot_at(metadata: Json, at_ms: int) -> Json | None:
    """Return the snapshot that was current at `at_ms`; None before the first."""
    log = [entry for entry in metadata["snapshot-log"] if entry["timestamp-ms"] <= at_ms]
    return snapshot_of(metadata, log[-1]["snapshot-id"]) if log else None


def known(table: Mapping[str, Any], name: str, what: str) -> Any:
    """Unknown words are refused, never ignored: a commit must not do half of what it says."""
    try:
        return table[name]
    except KeyError:
        raise InvalidInputError(f"the {what} {name!r} is not known") from None


def with_log_entry(metadata: Json, previous_location: str, previous: Json, now_ms: int) -> Json:
    """Return `metadata` with the file it follows in its log, which is kept bounded."""
    entry = {"metadata-file": previous_location, "timestamp-ms": previous["last-updated-ms"]}
    log = [*metadata["metadata-log"], entry][-previous_versions_max(metadata) :]
    return {
        **metadata,
        "metadata-log": log,
        "last-updated-ms": max(metadata["last-updated-ms"], now_ms),
    }


def previous_versions_max(metadata: Json) -> int:
    """Return how many files the metadata log names; a property that is no number is none."""
    asked = whole_number(metadata["properties"].get(PREVIOUS_VERSIONS, ""))
    return max(1, PREVIOUS_VERSIONS_MAX if asked is None else asked)


def whole_number(text: str) -> int | None:
    """Return the number that a property is; None for one that is none, or that no long holds."""
    is_one = text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX
    return int(text) if is_one else None
