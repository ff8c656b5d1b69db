"""Updates in the words of the Iceberg REST protocol, applied to table metadata that is plain JSON.

Each one changes a copy in place; what is inside is replaced, never changed. A commit may have
thousands of them, so none walks over the table: its parts are copied once, and found by id.
Source: https://iceberg.apache.org/spec/#table-metadata-and-snapshots, and `TableUpdate` of the
REST protocol (apache/iceberg, open-api/rest-catalog-open-api.yaml)
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Set
from functools import cached_property
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
    of_version,
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
ROWS_MAX = 2**40
"""Rows that one snapshot numbers: their ids end at 2^63, and then nobody could add any."""


NAMED = ("properties", "refs")
IDS = {
    "snapshots": "snapshot-id",
    "statistics": "snapshot-id",
    "partition-statistics": "snapshot-id",
    **{there: key for there, key, _ in KINDS.values()},
}
"""Of each list in the metadata, what is once in it."""


class Changing(dict[str, Any]):
    """The metadata as it is changed, and which ids the updates before this one gave."""

    def __init__(self, metadata: Json) -> None:
        super().__init__(metadata)
        self.added: dict[str, int] = {}
        self.removed: set[int] = set()
        """Snapshots: what leads to them goes at the end."""
        self._parts: dict[str, dict[Any, Any]] = {}
        self._numbered: dict[str, Numbered] = {}

    def meant(self, what: str, asked: int) -> int:
        """Return the id that an update means."""
        if asked != LAST_ADDED:
            return asked
        if what not in self.added:
            raise InvalidInputError(f"-1 means the {what} that was added last, and none was")
        return self.added[what]

    def part(self, key: str) -> dict[Any, Any]:
        """Return a part to change, by name or by id; the metadata has it when all is done."""
        if key not in self._parts:
            there = self.get(key) or ()
            by_id = key not in NAMED
            self._parts[key] = {each[IDS[key]]: each for each in there} if by_id else dict(there)
        return self._parts[key]

    def numbered(self, what: str) -> "Numbered":
        if what not in self._numbered:
            self._numbered[what] = Numbered(self.part(KINDS[what][0]), SAME[what])
        return self._numbered[what]

    @cached_property
    def columns(self) -> Counter[int]:
        """In how many schemas each column is, by its id."""
        schemas = self.part("schemas").values()
        return Counter(id_ for each in schemas for id_ in all_ids(each["fields"]))

    @cached_property
    def field_ids(self) -> dict[tuple[Any, ...], int]:
        """The ids that partition fields have, by column and transform: they keep them."""
        found: dict[tuple[Any, ...], int] = {}
        for spec in self.part("partition-specs").values():
            for each in spec["fields"]:
                if "field-id" in each:
                    found.setdefault((each["source-id"], each["transform"]), each["field-id"])
        return found

    def done(self) -> Json:
        """Return the metadata with all that was changed."""
        if self.removed:
            forget(self, self.removed - self.part("snapshots").keys())
        for key, part in self._parts.items():
            self[key] = part if key in NAMED else list(part.values())
        return dict(self)


class Numbered:
    """The schemas, the partition specs or the sort orders of a table, by id.

    Args:
        same: returns what makes two of them the same.
    """

    def __init__(self, by_id: dict[int, Json], same: Callable[[Json], Hashable]) -> None:
        self.by_id = by_id
        self.last = max(by_id, default=NONE_YET)
        self._same = same

    @cached_property
    def _alike(self) -> dict[Hashable, int]:
        return {self._same(each): id_ for id_, each in reversed(self.by_id.items())}

    def find(self, wanted: Json) -> int | None:
        """Return the id of the first that is the same."""
        found = self._alike.get(self._same(wanted))
        return found if found in self.by_id else None

    def add(self, id_: int, new: Json) -> None:
        self._alike[self._same(new)] = id_
        self.by_id[id_] = new
        self.last = max(self.last, id_)


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
    if asked > now:
        snapshots = metadata.part("snapshots")
        snapshots.update({id_: {"sequence-number": 0, **each} for id_, each in snapshots.items()})
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
    schemas = metadata.numbered(SCHEMA)
    if (found := schemas.find(schema)) is not None:
        metadata.added[SCHEMA] = found
        return
    schema_id = schemas.last + 1
    metadata.columns.update(all_ids(schema["fields"]))
    schemas.add(schema_id, {**schema, "schema-id": schema_id})
    metadata["last-column-id"] = max(asked, last_id, metadata["last-column-id"])
    metadata.added[SCHEMA] = schema_id


def same_schema(schema: Json) -> str:
    """Return what makes a schema the same: all but its id."""
    rest = {key: value for key, value in schema.items() if key != "schema-id"}
    return json.dumps({"type": "struct", "identifier-field-ids": [], **rest}, sort_keys=True)


def add_spec(metadata: Changing, update: Json) -> None:
    """Add a partition spec; one of the same fields is the one meant. Ids that are left out come."""
    last_id = metadata["last-partition-id"]
    fields: list[Json] = []
    for each in update["spec"]["fields"]:
        if metadata.columns[each["source-id"]] < 1:
            raise InvalidInputError(f"there is no column of id {each['source-id']} to partition by")
        keeps = metadata.field_ids.get((each["source-id"], each["transform"]))
        field_id = each.get("field-id") or keeps or last_id + 1
        last_id = max(last_id, field_id)
        fields.append({**each, "field-id": field_id})
    metadata["last-partition-id"] = last_id
    specs, spec = metadata.numbered(SPEC), {**update["spec"], "fields": fields}
    if (found := specs.find(spec)) is not None:
        metadata.added[SPEC] = found
        return
    spec_id = specs.last + 1
    for each in fields:
        metadata.field_ids.setdefault((each["source-id"], each["transform"]), each["field-id"])
    specs.add(spec_id, {**spec, "spec-id": spec_id})
    metadata.added[SPEC] = spec_id


def same_spec(spec: Json) -> Hashable:
    return tuple((each["source-id"], each["transform"], each["name"]) for each in spec["fields"])


def add_sort_order(metadata: Changing, update: Json) -> None:
    """Add a sort order; one of the same fields is the one meant, and that of none is number 0."""
    orders, order = metadata.numbered(ORDER), update["sort-order"]
    if (found := orders.find(order)) is not None:
        metadata.added[ORDER] = found
        return
    order_id = max(1, orders.last + 1) if order["fields"] or 0 in orders.by_id else 0
    orders.add(order_id, {**order, "order-id": order_id})
    metadata.added[ORDER] = order_id


def same_order(order: Json) -> str:
    return json.dumps(order["fields"], sort_keys=True)


SAME: Mapping[str, Callable[[Json], Hashable]] = {
    SCHEMA: same_schema,
    SPEC: same_spec,
    ORDER: same_order,
}


def choose(what: str, word: str) -> Callable[[Changing, Json], None]:
    """Return the update that makes a schema, a spec or an order the one that holds."""
    current = KINDS[what][-1]

    def update(metadata: Changing, update: Json) -> None:
        wanted = metadata.meant(what, update[word])
        if wanted not in metadata.numbered(what).by_id:
            raise InvalidInputError(f"there is no {what} {wanted}")
        metadata[current] = wanted

    return update


def remove_unused(what: str, word: str) -> Callable[[Changing, Json], None]:
    """Return the update that forgets schemas or specs which nothing uses.

    The one of the highest id stays: the next one would get its id, and be taken for it.
    """
    current = KINDS[what][-1]

    def update(metadata: Changing, update: Json) -> None:
        asked = frozenset(update[word])
        if metadata[current] in asked:
            raise InvalidInputError(f"the {what} that holds cannot be removed")
        there = metadata.numbered(what)
        for each in (asked - {there.last}) & there.by_id.keys():
            if what == SCHEMA:
                metadata.columns.subtract(all_ids(there.by_id[each]["fields"]))
            del there.by_id[each]

    return update


def set_location(metadata: Changing, update: Json) -> None:
    given = update["location"].rstrip("/")
    if metadata.setdefault("location", given) != given:
        raise InvalidInputError("a table stays where it lies: its location cannot be changed")


def set_properties(metadata: Changing, update: Json) -> None:
    metadata.part("properties").update(update["updates"])


def remove_properties(metadata: Changing, update: Json) -> None:
    for name in update["removals"]:
        metadata.part("properties").pop(name, None)


def add_snapshot(metadata: Changing, update: Json) -> None:
    snapshot = update["snapshot"]
    number = snapshot.get("sequence-number", 0)
    goes_on = snapshot.get("parent-snapshot-id") not in (None, NO_SNAPSHOT)  # else it replaces all
    is_stale = number < metadata["last-sequence-number"] + goes_on
    if metadata["format-version"] > 1 and is_stale:
        raise CommitFailedError("the sequence number is stale")
    if snapshot["snapshot-id"] in metadata.part("snapshots"):
        raise InvalidInputError(f"there is a snapshot {snapshot['snapshot-id']} already")
    metadata.part("snapshots")[snapshot["snapshot-id"]] = {"sequence-number": 0, **snapshot}
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
    after = snapshot[FIRST_ROW_ID] + snapshot[ADDED_ROWS]
    if after - metadata[ROW_IDS] > ROWS_MAX:
        raise InvalidInputError(
            f"the ids of rows go from {metadata[ROW_IDS]:,} to {after:,} with one snapshot, which "
            f"numbers {ROWS_MAX:,} at most"
        )
    metadata[ROW_IDS] = after


def set_snapshot_ref(metadata: Changing, update: Json) -> None:
    if update["snapshot-id"] not in metadata.part("snapshots"):
        raise InvalidInputError(f"there is no snapshot {update['snapshot-id']}")
    name = update["ref-name"]
    reference = {key: value for key, value in update.items() if key not in ("action", "ref-name")}
    if reference["type"] not in (("branch",) if name == MAIN else ("branch", "tag")):
        raise InvalidInputError(f"{name!r} cannot be a {reference['type']}")
    refs = metadata.part("refs")
    if refs.get(name) == reference:
        return
    refs[name] = reference
    if name == MAIN:
        metadata["current-snapshot-id"] = update["snapshot-id"]


def remove_snapshot_ref(metadata: Changing, update: Json) -> None:
    name = update["ref-name"]
    metadata.part("refs").pop(name, None)
    if name == MAIN:
        metadata["current-snapshot-id"] = NO_SNAPSHOT


def remove_snapshots(metadata: Changing, update: Json) -> None:
    for each in update["snapshot-ids"]:
        metadata.part("snapshots").pop(each, None)
        metadata.removed.add(each)


def forget(metadata: Changing, gone: Set[int]) -> None:
    """Forget the references and statistics of snapshots that went, once for all of a commit.

    The log says what was current when, without a gap: it begins after the last that went.
    """
    log = metadata["snapshot-log"]
    first = max((n + 1 for n, each in enumerate(log) if each["snapshot-id"] in gone), default=0)
    metadata["snapshot-log"] = log[first:]
    for name, reference in list(metadata.part("refs").items()):
        if reference["snapshot-id"] in gone:
            remove_snapshot_ref(metadata, {"ref-name": name})
    for key in ("statistics", "partition-statistics"):
        if key in metadata:
            for each in gone:
                metadata.part(key).pop(each, None)


def set_in(key: str, word: str) -> Callable[[Changing, Json], None]:
    """Return the update that puts statistics of a snapshot in the place of those it has."""

    def update(metadata: Changing, update: Json) -> None:
        metadata.part(key)[update[word]["snapshot-id"]] = update[word]

    return update


def remove_from(key: str) -> Callable[[Changing, Json], None]:
    def update(metadata: Changing, update: Json) -> None:
        metadata.part(key).pop(update["snapshot-id"], None)

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
    result = changing.done()
    log_current(metadata, result)
    return in_step(result)


def in_step(metadata: Json) -> Json:
    """Return metadata whose schema and spec under the names of format version 1 are the current."""
    chosen = (metadata["current-schema-id"], metadata["default-spec-id"])
    is_first = metadata["format-version"] == 1 and NONE_YET not in chosen
    return of_version(metadata, 1) if is_first else metadata


def goes_back(before: Json, after: Json) -> bool:
    """Whether `main` went to a snapshot that was there before: the log says when it did."""
    snapshot_id = current_snapshot_id(after)
    if snapshot_id in (None, current_snapshot_id(before)):
        return False
    return snapshot_of(before, snapshot_id) is not None


def log_current(before: Json, after: Json) -> None:
    """Add to the log where `main` went: when its snapshot was made, or now, if it was there."""
    snapshot_id = current_snapshot_id(after)
    if snapshot_id in (None, current_snapshot_id(before)):
        return
    if goes_back(before, after):
        now_ms = time.time_ns() // 1_000_000
        after["last-updated-ms"] = max(now_ms, before["last-updated-ms"] + 1)
    entry = {"snapshot-id": snapshot_id, "timestamp-ms": after["last-updated-ms"]}
    after["snapshot-log"] = [*after["snapshot-log"], entry]
