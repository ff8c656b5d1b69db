"""Updates in the words of the Iceberg REST protocol, applied to table metadata that is plain JSON.

Each one changes a copy in place; what is inside is replaced, never changed.
Source: https://iceberg.apache.org/spec/#table-metadata-and-snapshots, and `TableUpdate` of the
REST protocol (apache/iceberg, open-api/rest-catalog-open-api.yaml)
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lakehouse.catalog.errors import CommitFailedError
from lakehouse.catalog.metadata import (
    ADDED_ROWS,
    FIRST_ROW_ID,
    FORMAT_VERSION,
    FORMAT_VERSIONS,
    MAIN,
    NO_SNAPSHOT,
    ROW_IDS,
    Json,
    current_snapshot_id,
    known,
    snapshot_of,
)
from lakehouse.catalog.types import all_ids
from lakehouse.errors import InvalidInputError

LAST_ADDED = -1
"""In the place of an id: of what the same commit added last."""
SCHEMA, SPEC, ORDER = "schema", "partition spec", "sort order"
KINDS = {
    SCHEMA: ("schemas", "schema-id", "current-schema-id"),
    SPEC: ("partition-specs", "spec-id", "default-spec-id"),
    ORDER: ("sort-orders", "order-id", "default-sort-order-id"),
}
"""Where those of a table are, what each is known by, and which of them holds."""
NONE_YET = -1


class Changing(dict[str, Any]):
    """The metadata as it is changed, and which ids the updates before this one gave."""

    def __init__(self, metadata: Json) -> None:
        super().__init__(metadata)
        self.added: dict[str, int] = {}

    def meant(self, what: str, asked: int) -> int:
        """Return the id that an update means."""
        if asked != LAST_ADDED:
            return asked
        if what not in self.added:
            raise InvalidInputError(f"-1 means the {what} that was added last, and none was")
        return self.added[what]


def assign_uuid(metadata: Changing, update: Json) -> None:
    if metadata.get("table-uuid") not in (None, update["uuid"]):
        raise InvalidInputError("a table keeps its UUID")
    metadata["table-uuid"] = str(update["uuid"])


def upgrade_format_version(metadata: Changing, update: Json) -> None:
    asked, now = update["format-version"], metadata["format-version"]
    if asked not in FORMAT_VERSIONS:
        raise InvalidInputError(f"tables are of format version 1 to 3, not {asked}")
    if asked < now:
        raise InvalidInputError(f"Cannot downgrade v{now} table to v{asked}")
    metadata["format-version"] = asked
    metadata["snapshots"] = [{"sequence-number": 0, **each} for each in metadata["snapshots"]]
    if asked > FORMAT_VERSION:
        metadata.setdefault(ROW_IDS, 0)
    if asked > 1:
        for key in ("schema", "partition-spec"):
            metadata.pop(key, None)


def add_schema(metadata: Changing, update: Json) -> None:
    """Add a schema; one that is there already, but for its id, is the one meant.

    What an engine takes for the last column id is let be: it knows its own columns alone.
    """
    schema = {key: value for key, value in update["schema"].items() if key != "schema-id"}
    last_id = max([metadata["last-column-id"], *all_ids(schema["fields"])])
    asked = update.get("last-column-id", last_id)
    for each in metadata["schemas"]:
        if plain_schema(each) == plain_schema(schema):
            metadata.added[SCHEMA] = each["schema-id"]
            return
    schema_id = next_id(metadata["schemas"], "schema-id")
    metadata["schemas"] = [*metadata["schemas"], {**schema, "schema-id": schema_id}]
    metadata["last-column-id"] = max(asked, last_id, metadata["last-column-id"])
    metadata.added[SCHEMA] = schema_id


def plain_schema(schema: Json) -> Json:
    """Return what makes a schema the same: all but its id."""
    rest = {key: value for key, value in schema.items() if key != "schema-id"}
    return {"type": "struct", "identifier-field-ids": [], **rest}


def add_spec(metadata: Changing, update: Json) -> None:
    """Add a partition spec; one of the same fields is the one meant. Ids that are left out come."""
    known_ids = {id_ for each in metadata["schemas"] for id_ in all_ids(each["fields"])}
    last_id = metadata["last-partition-id"]
    fields: list[Json] = []
    for each in update["spec"]["fields"]:
        if each["source-id"] not in known_ids:
            raise InvalidInputError(f"there is no column of id {each['source-id']} to partition by")
        field_id = each.get("field-id") or known_field_id(metadata, each) or last_id + 1
        last_id = max(last_id, field_id)
        fields.append({**each, "field-id": field_id})
    metadata["last-partition-id"] = last_id
    for spec in metadata["partition-specs"]:
        if [same_field(each) for each in spec["fields"]] == [same_field(each) for each in fields]:
            metadata.added[SPEC] = spec["spec-id"]
            return
    spec_id = next_id(metadata["partition-specs"], "spec-id")
    spec = {**update["spec"], "spec-id": spec_id, "fields": fields}
    metadata["partition-specs"] = [*metadata["partition-specs"], spec]
    metadata.added[SPEC] = spec_id


def same_field(field: Json) -> tuple[Any, ...]:
    return field["source-id"], field["transform"], field["name"]


def known_field_id(metadata: Json, field: Json) -> int | None:
    """Return the id that a partition field had in an older spec: it keeps it."""
    wanted = (field["source-id"], field["transform"])
    for spec in metadata["partition-specs"]:
        for each in spec["fields"]:
            if (each["source-id"], each["transform"]) == wanted:
                return int(each["field-id"])
    return None


def add_sort_order(metadata: Changing, update: Json) -> None:
    """Add a sort order; one of the same fields is the one meant, and that of none is number 0."""
    fields = update["sort-order"]["fields"]
    for each in metadata["sort-orders"]:
        if each["fields"] == fields:
            metadata.added[ORDER] = each["order-id"]
            return
    order_id = max(1, next_id(metadata["sort-orders"], "order-id")) if fields else 0
    order = {**update["sort-order"], "order-id": order_id}
    metadata["sort-orders"] = [*metadata["sort-orders"], order]
    metadata.added[ORDER] = order_id


def next_id(there: Sequence[Json], key: str) -> int:
    return int(max((each[key] for each in there), default=NONE_YET)) + 1


def choose(what: str, word: str) -> Callable[[Changing, Json], None]:
    """Return the update that makes a schema, a spec or an order the one that holds."""
    there, key, current = KINDS[what]

    def update(metadata: Changing, update: Json) -> None:
        wanted = metadata.meant(what, update[word])
        if all(each[key] != wanted for each in metadata[there]):
            raise InvalidInputError(f"there is no {what} {wanted}")
        metadata[current] = wanted

    return update


def remove_unused(what: str, word: str) -> Callable[[Changing, Json], None]:
    """Return the update that forgets schemas or specs which nothing uses.

    The one of the highest id stays: the next one would get its id, and be taken for it.
    """
    there, key, current = KINDS[what]

    def update(metadata: Changing, update: Json) -> None:
        asked = frozenset(update[word])
        if metadata[current] in asked:
            raise InvalidInputError(f"the {what} that holds cannot be removed")
        gone = asked - {next_id(metadata[there], key) - 1}
        metadata[there] = [each for each in metadata[there] if each[key] not in gone]

    return update


def set_location(metadata: Changing, update: Json) -> None:
    given = update["location"].rstrip("/")
    if metadata.setdefault("location", given) != given:
        raise InvalidInputError("a table stays where it lies: its location cannot be changed")


def set_properties(metadata: Changing, update: Json) -> None:
    metadata["properties"] = {**metadata["properties"], **update["updates"]}


def remove_properties(metadata: Changing, update: Json) -> None:
    gone = set(update["removals"])
    kept = {name: value for name, value in metadata["properties"].items() if name not in gone}
    metadata["properties"] = kept


def add_snapshot(metadata: Changing, update: Json) -> None:
    snapshot = update["snapshot"]
    number = snapshot.get("sequence-number", 0)
    goes_on = snapshot.get("parent-snapshot-id") not in (None, NO_SNAPSHOT)  # else it replaces all
    is_stale = number < metadata["last-sequence-number"] + goes_on
    if metadata["format-version"] > 1 and is_stale:
        raise CommitFailedError("the sequence number is stale")
    if snapshot_of(metadata, snapshot["snapshot-id"]) is not None:
        raise InvalidInputError(f"there is a snapshot {snapshot['snapshot-id']} already")
    metadata["snapshots"] = [*metadata["snapshots"], {"sequence-number": 0, **snapshot}]
    metadata["last-sequence-number"] = max(number, metadata["last-sequence-number"])
    if metadata["format-version"] > FORMAT_VERSION:
        number_rows(metadata, snapshot)
    metadata["last-updated-ms"] = snapshot["timestamp-ms"]


def number_rows(metadata: Changing, snapshot: Json) -> None:
    """Count the rows that a snapshot numbers.

    Source: https://iceberg.apache.org/spec/#row-lineage
    """
    for key in (FIRST_ROW_ID, ADDED_ROWS):
        if key not in snapshot:
            raise InvalidInputError(f"a snapshot of format version 3 says its {key}")
    if snapshot[FIRST_ROW_ID] < metadata[ROW_IDS]:
        raise CommitFailedError(f"{FIRST_ROW_ID} is behind {metadata[ROW_IDS]}: rows were added")
    metadata[ROW_IDS] = snapshot[FIRST_ROW_ID] + snapshot[ADDED_ROWS]


def set_snapshot_ref(metadata: Changing, update: Json) -> None:
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


def remove_snapshot_ref(metadata: Changing, update: Json) -> None:
    name = update["ref-name"]
    metadata["refs"] = {key: ref for key, ref in metadata["refs"].items() if key != name}
    if name == MAIN:
        metadata["current-snapshot-id"] = NO_SNAPSHOT


def remove_snapshots(metadata: Changing, update: Json) -> None:
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
            metadata[key] = without_snapshots(metadata[key], gone)


def without_snapshots(there: Iterable[Json], gone: frozenset[int]) -> list[Json]:
    return [each for each in there if each["snapshot-id"] not in gone]


def set_in(key: str, word: str) -> Callable[[Changing, Json], None]:
    """Return the update that puts statistics of a snapshot in the place of those it has."""

    def update(metadata: Changing, update: Json) -> None:
        new = update[word]
        others = without_snapshots(metadata.get(key, []), frozenset([new["snapshot-id"]]))
        metadata[key] = [*others, new]

    return update


def remove_from(key: str) -> Callable[[Changing, Json], None]:
    def update(metadata: Changing, update: Json) -> None:
        gone = frozenset([update["snapshot-id"]])
        metadata[key] = without_snapshots(metadata.get(key, []), gone)

    return update


UPDATES: Mapping[str, Callable[[Changing, Json], None]] = {
    "assign-uuid": assign_uuid,
    "upgrade-format-version": upgrade_format_version,
    "add-schema": add_schema,
    "set-current-schema": choose(SCHEMA, "schema-id"),
    "remove-schemas": remove_unused(SCHEMA, "schema-ids"),
    "add-spec": add_spec,
    "set-default-spec": choose(SPEC, "spec-id"),
    "remove-partition-specs": remove_unused(SPEC, "spec-ids"),
    "add-sort-order": add_sort_order,
    "set-default-sort-order": choose(ORDER, "sort-order-id"),
    "set-location": set_location,
    "set-properties": set_properties,
    "remove-properties": remove_properties,
    "add-snapshot": add_snapshot,
    "set-snapshot-ref": set_snapshot_ref,
    "remove-snapshot-ref": remove_snapshot_ref,
    "remove-snapshots": remove_snapshots,
    "set-statistics": set_in("statistics", "statistics"),
    "remove-statistics": remove_from("statistics"),
    "set-partition-statistics": set_in("partition-statistics", "partition-statistics"),
    "remove-partition-statistics": remove_from("partition-statistics"),
}


def apply(metadata: Json, updates: Iterable[Json]) -> Json:
    """Return the metadata after `updates`; the given one is left as it was.

    Raises:
        InvalidInputError: an update is unknown, or cannot be done.
        CommitFailedError: it was made for an older state.
    """
    changing = Changing(metadata)
    for update in updates:
        known(UPDATES, update["action"], "update")(changing, update)
    result = dict(changing)
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
