"""Table metadata as plain JSON: requirements checked on it, updates applied to it.

The words are those of the Iceberg REST protocol, so that serving it is a thin face. Fields that
we do not know stay: nothing is parsed into objects and written back without them.
Source: https://iceberg.apache.org/spec/#table-metadata-and-snapshots
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import orjson

from lakehouse.catalog.errors import CommitFailedError
from lakehouse.catalog.types import Field
from lakehouse.errors import InvalidInputError

Json: TypeAlias = dict[str, Any]

FORMAT_VERSION: Literal[2] = 2
PREVIOUS_VERSIONS_MAX = 100
DIGITS_MAX = 18
"""Of a property that is a number."""
PREVIOUS_VERSIONS = "write.metadata.previous-versions-max"
NO_SNAPSHOT = -1
LAST_ADDED = -1
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
        ValueError: it is not the metadata of a table in format version 2.
    """
    found = orjson.loads(data)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    if found.get("format-version") != FORMAT_VERSION:
        raise ValueError(f"it has format version {found.get('format-version')}, not 2")
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
    return next((each for each in metadata["snapshots"] if each["snapshot-id"] == wanted), None)


def snapshot_at(metadata: Json, at_ms: int) -> Json | None:
    """Return the snapshot that was current at `at_ms`; None before the first."""
    log = [entry for entry in metadata["snapshot-log"] if entry["timestamp-ms"] <= at_ms]
    return snapshot_of(metadata, log[-1]["snapshot-id"]) if log else None


# Requirements: what must still be true when the commit happens.


def assert_create(metadata: Json | None, requirement: Json) -> None:
    if metadata is not None:
        raise CommitFailedError("table already exists")


def assert_table_uuid(metadata: Json | None, requirement: Json) -> None:
    if metadata is None or metadata["table-uuid"] != requirement["uuid"]:
        raise CommitFailedError("UUID does not match")


def assert_ref_snapshot_id(metadata: Json | None, requirement: Json) -> None:
    refs = metadata["refs"] if metadata else {}
    found = refs.get(requirement["ref"], {}).get("snapshot-id")
    if found != requirement.get("snapshot-id"):
        raise CommitFailedError(f"{requirement['ref']} is at {found}, not where it was read")


def assert_field(key: str, wanted: str, words: str) -> Callable[[Json | None, Json], None]:
    def check(metadata: Json | None, requirement: Json) -> None:
        if metadata is None or metadata[key] != requirement[wanted]:
            raise CommitFailedError(f"{words} changed")

    return check


REQUIREMENTS: Mapping[str, Callable[[Json | None, Json], None]] = {
    "assert-create": assert_create,
    "assert-table-uuid": assert_table_uuid,
    "assert-ref-snapshot-id": assert_ref_snapshot_id,
    "assert-current-schema-id": assert_field(
        "current-schema-id", "current-schema-id", "current schema"
    ),
    "assert-last-assigned-field-id": assert_field(
        "last-column-id", "last-assigned-field-id", "last assigned field id"
    ),
}


def check(metadata: Json | None, requirements: Iterable[Json]) -> None:
    """Raise `CommitFailedError` for the first requirement that does not hold."""
    for requirement in requirements:
        known(REQUIREMENTS, requirement["type"], "requirement")(metadata, requirement)


# Updates: each one changes a copy in place; what is inside is replaced, never changed.


def add_schema(metadata: Json, update: Json) -> None:
    schema = update["schema"]
    schema_id = max(each["schema-id"] for each in metadata["schemas"]) + 1
    metadata["schemas"] = [*metadata["schemas"], {**schema, "schema-id": schema_id}]
    metadata["last-column-id"] = max(metadata["last-column-id"], update["last-column-id"])


def set_current_schema(metadata: Json, update: Json) -> None:
    schema_id = update["schema-id"]
    if schema_id == LAST_ADDED:
        schema_id = metadata["schemas"][-1]["schema-id"]
    if all(each["schema-id"] != schema_id for each in metadata["schemas"]):
        raise InvalidInputError(f"there is no schema {schema_id}")
    metadata["current-schema-id"] = schema_id


def set_properties(metadata: Json, update: Json) -> None:
    metadata["properties"] = {**metadata["properties"], **update["updates"]}


def remove_properties(metadata: Json, update: Json) -> None:
    gone = set(update["removals"])
    kept = {name: value for name, value in metadata["properties"].items() if name not in gone}
    metadata["properties"] = kept


def add_snapshot(metadata: Json, update: Json) -> None:
    snapshot = update["snapshot"]
    if snapshot["sequence-number"] <= metadata["last-sequence-number"]:
        raise CommitFailedError("the sequence number is stale")
    metadata["snapshots"] = [*metadata["snapshots"], snapshot]
    metadata["last-sequence-number"] = snapshot["sequence-number"]
    metadata["last-updated-ms"] = snapshot["timestamp-ms"]


def set_snapshot_ref(metadata: Json, update: Json) -> None:
    snapshot = snapshot_of(metadata, update["snapshot-id"])
    if snapshot is None:
        raise InvalidInputError(f"there is no snapshot {update['snapshot-id']}")
    name = update["ref-name"]
    reference = {key: value for key, value in update.items() if key not in ("action", "ref-name")}
    if reference["type"] not in (("branch",) if name == MAIN else ("branch", "tag")):
        raise InvalidInputError(f"{name!r} cannot be a {reference['type']}")
    if metadata["refs"].get(name) == reference:
        return
    metadata["refs"] = {**metadata["refs"], name: reference}
    if name == MAIN:
        metadata["current-snapshot-id"] = update["snapshot-id"]


def remove_snapshot_ref(metadata: Json, update: Json) -> None:
    name = update["ref-name"]
    metadata["refs"] = {key: ref for key, ref in metadata["refs"].items() if key != name}
    if name == MAIN:
        metadata["current-snapshot-id"] = NO_SNAPSHOT


def remove_snapshots(metadata: Json, update: Json) -> None:
    """Forget snapshots, and the references and statistics of those that go.

    The log says what was current when, without a gap: it begins after the last that went.
    """
    gone = frozenset(update["snapshot-ids"])
    metadata["snapshots"] = [
        each for each in metadata["snapshots"] if each["snapshot-id"] not in gone
    ]
    log = metadata["snapshot-log"]
    first = max((n + 1 for n, each in enumerate(log) if each["snapshot-id"] in gone), default=0)
    metadata["snapshot-log"] = log[first:]
    for name, reference in metadata["refs"].items():
        if reference["snapshot-id"] in gone:
            remove_snapshot_ref(metadata, {"ref-name": name})
    for key in ("statistics", "partition-statistics"):
        if key in metadata:
            stay = [each for each in metadata[key] if each["snapshot-id"] not in gone]
            metadata[key] = stay


UPDATES: Mapping[str, Callable[[Json, Json], None]] = {
    "add-schema": add_schema,
    "set-current-schema": set_current_schema,
    "set-properties": set_properties,
    "remove-properties": remove_properties,
    "add-snapshot": add_snapshot,
    "set-snapshot-ref": set_snapshot_ref,
    "remove-snapshot-ref": remove_snapshot_ref,
    "remove-snapshots": remove_snapshots,
}


def apply(metadata: Json, updates: Iterable[Json]) -> Json:
    """Return the metadata after `updates`; the given one is left as it was."""
    result = dict(metadata)
    for update in updates:
        known(UPDATES, update["action"], "update")(result, update)
    log_current(metadata, result)
    return result


def log_current(before: Json, after: Json) -> None:
    """Add to the log where `main` went: when its snapshot was made, or now, if it was there."""
    snapshot_id = current_snapshot_id(after)
    if snapshot_id in (None, current_snapshot_id(before)):
        return
    if snapshot_of(before, snapshot_id) is not None:
        now_ms = time.time_ns() // 1_000_000
        after["last-updated-ms"] = max(now_ms, before["last-updated-ms"] + 1)
    entry = {"snapshot-id": snapshot_id, "timestamp-ms": after["last-updated-ms"]}
    after["snapshot-log"] = [*after["snapshot-log"], entry]


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
