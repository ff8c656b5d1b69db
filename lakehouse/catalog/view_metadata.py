"""Metadata of views as plain JSON: how it begins, how it is read, what updates make of it.

Fields that we do not know stay. Source: https://iceberg.apache.org/view-spec/, and `ViewUpdate` of
the REST protocol (apache/iceberg, open-api/rest-catalog-open-api.yaml). The words of what is
refused are those of its reference code, which clients compare.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
import orjson

from lakehouse.catalog.errors import CommitFailedError, InvalidViewError
from lakehouse.catalog.metadata import Json, known, whole_number
from lakehouse.catalog.update_shapes import ListShape, MapShape, StructShape, check_depth

FORMAT_VERSION = 1
FIRST_SCHEMA, FIRST_VERSION = 0, 1
LAST_ADDED = -1
"""In the place of an id: of what the same commit added last."""
HISTORY_SIZE, HISTORY_DEFAULT = "version.history.num-entries", 10
HISTORY_MAX = 1_000
"""Versions that a view may be told to keep; beyond so many schemas, those of no version go."""
LOG_MAX = 10_000
MAY_DROP_DIALECTS = "replace.drop-dialect.allowed"
OURS = "lakehouse"
"""A field of ours in each file: the view's name and when it was written, for the day when only the
files are left. Other engines read past it."""
SQL = "sql"
ID_MAX = 2**31 - 1
"""Readers in Java have no more room."""
Id = Annotated[int, msgspec.Meta(ge=-1, le=ID_MAX)]
Time = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Representation(msgspec.Struct, frozen=True):
    type: str
    sql: str | None = None
    dialect: str | None = None


class Version(msgspec.Struct, frozen=True, rename="kebab"):
    """A version of a view, as it is sent and kept; more fields may stand beside these."""

    version_id: Id
    schema_id: Id
    timestamp_ms: Time
    summary: dict[str, str]
    representations: list[Representation]
    default_namespace: list[str]
    default_catalog: str | None = None


class SchemaField(msgspec.Struct, frozen=True):
    id: Id
    name: str
    required: bool
    type: str | StructShape | ListShape | MapShape


class Schema(msgspec.Struct, frozen=True, rename="kebab"):
    type: Literal["struct"]
    fields: list[SchemaField]
    schema_id: Id | None = None
    identifier_field_ids: list[Id] = []


class Entry(msgspec.Struct, frozen=True, rename="kebab"):
    version_id: Id
    timestamp_ms: Time


class Metadata(msgspec.Struct, frozen=True, rename="kebab"):
    view_uuid: str
    format_version: int
    location: str
    current_version_id: Id
    versions: list[Version]
    version_log: list[Entry]
    schemas: list[Schema]
    properties: dict[str, str] = {}


def new_metadata(
    *,
    view_uuid: str,
    location: str,
    schema: Json,
    version: Json,
    properties: Mapping[str, str],
    now_ms: int,
) -> Json:
    """Return the metadata of a view in its first version.

    Raises:
        InvalidViewError: the version cannot be one of a view.
    """
    check_schema(schema)
    check_version(version)
    history_size(properties)
    first = {"version-id": FIRST_VERSION, "timestamp-ms": now_ms}
    return {
        "view-uuid": view_uuid,
        "format-version": FORMAT_VERSION,
        "location": location,
        "schemas": [{**schema, "schema-id": FIRST_SCHEMA}],
        "current-version-id": FIRST_VERSION,
        "versions": [{**version, **first, "schema-id": FIRST_SCHEMA}],
        "version-log": [first],
        "properties": dict(properties),
    }


def read_view(data: bytes) -> Json:
    """Return the metadata in a file.

    Raises:
        ValueError: it is not the metadata of a view.
    """
    found: Json = orjson.loads(data)
    try:
        metadata = msgspec.convert(found, Metadata)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ValueError(f"it is no metadata of a view: {error}") from error
    if metadata.format_version != FORMAT_VERSION:
        raise ValueError(f"it has format version {metadata.format_version}, not {FORMAT_VERSION}")
    current = [v for v in metadata.versions if v.version_id == metadata.current_version_id]
    if not current:
        raise ValueError(f"it has no version {metadata.current_version_id}")
    if all(each.schema_id != current[0].schema_id for each in metadata.schemas):
        raise ValueError(f"it has no schema {current[0].schema_id}")
    return {"properties": {}, **found}


def check_taken(metadata: Json) -> None:
    """Raise `InvalidViewError` when others made more of a view than one of ours can become."""
    for each in ("versions", "schemas"):
        if len(metadata[each]) > HISTORY_MAX:
            raise InvalidViewError(f"the file is refused: it has over {HISTORY_MAX:,} {each}")
    if any(each.get("schema-id") is None for each in metadata["schemas"]):
        raise InvalidViewError("the file is refused: a schema in it has no id")
    for each in metadata["schemas"]:
        check_depth(each)
    history_size(metadata.get("properties", {}))


# What is in it.


def version_of(metadata: Json, version_id: int | None = None) -> Json:
    wanted = metadata["current-version-id"] if version_id is None else version_id
    return next(each for each in metadata["versions"] if each["version-id"] == wanted)


def schema_of(metadata: Json) -> Json:
    wanted = version_of(metadata)["schema-id"]
    return next(each for each in metadata["schemas"] if each["schema-id"] == wanted)


def texts_of(version: Json) -> dict[str, str]:
    """Return the SQL of a version by its dialect, in lower case."""
    return {
        each["dialect"].lower(): each["sql"]
        for each in version["representations"]
        if each["type"] == SQL and each.get("sql") and each.get("dialect")
    }


# What must be so.


def check_shape(value: Any, shape: type, what: str) -> None:
    """Raise `InvalidViewError` unless a part of a request has the fields that it must have."""
    try:
        msgspec.convert(value, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidViewError(f"Invalid view {what}: {error}") from error


def check_schema(schema: Any) -> None:
    """Raise unless it is a schema whose types are whole: those are told as columns."""
    check_shape(schema, Schema, "schema")
    check_depth(schema)


def check_version(version: Json) -> None:
    check_shape(version, Version, "version")
    found = version["representations"]
    if not found:
        raise InvalidViewError("Invalid view version: it has no representation")
    if others := sorted({each["type"] for each in found if each["type"] != SQL}):
        raise InvalidViewError(f"Found unsupported view representations: {others}")
    seen: set[str] = set()
    for each in found:
        if not each.get("sql") or not each.get("dialect"):
            raise InvalidViewError("Invalid view version: SQL has a text and a dialect")
        dialect = each["dialect"].lower()
        if dialect in seen:
            raise InvalidViewError(
                f"Invalid view version: Cannot add multiple queries for dialect {dialect}"
            )
        seen.add(dialect)


def check_requirements(metadata: Json, requirements: Sequence[Json]) -> None:
    """Raise `CommitFailedError` for the first requirement that does not hold."""
    for each in requirements:
        known(REQUIREMENTS, said(each, "type"), "requirement")(metadata, each)


def assert_view_uuid(metadata: Json, requirement: Json) -> None:
    found, wanted = metadata["view-uuid"], said(requirement, "uuid")
    if found.lower() != wanted.lower():
        raise CommitFailedError(f"view UUID does not match: expected {found} != {wanted}")


REQUIREMENTS: Mapping[str, Callable[[Json, Json], None]] = {"assert-view-uuid": assert_view_uuid}


# Updates.


@dataclass(slots=True)
class Changing:
    """The metadata as it is changed, and what the updates before this one added."""

    metadata: Json
    """What is changed in it is this commit's own."""
    now_ms: int
    schemas: dict[str, int]
    """Ids of schemas by what makes them the same: one commit may add a thousand."""
    versions: dict[str, int]
    """Ids of versions, so too."""
    added: set[int] = field(default_factory=set)
    """Ids of versions."""
    last_version: int | None = None
    last_schema: int | None = None
    entry: Json | None = None
    """For the log: which version is the current one now."""


def said(update: Json, name: str, kind: type = str) -> Any:
    """Return a field that an update must have."""
    value = update.get(name) if isinstance(update, dict) else None
    if type(value) is not kind:
        raise InvalidViewError(f"an update or a requirement lacks {name!r}, or has a wrong one")
    return value


def assign_uuid(changing: Changing, update: Json) -> None:
    if said(update, "uuid") != changing.metadata["view-uuid"]:
        raise InvalidViewError("Cannot reassign uuid")


def upgrade_format_version(changing: Changing, update: Json) -> None:
    asked = said(update, "format-version", int)
    if asked < FORMAT_VERSION:
        raise InvalidViewError(f"Cannot downgrade v{FORMAT_VERSION} view to v{asked}")
    if asked > FORMAT_VERSION:
        raise InvalidViewError(f"Unsupported format version: {asked}")


def add_schema(changing: Changing, update: Json) -> None:
    """Add a schema; one that is there already, but for its id, is the one meant."""
    schema = said(update, "schema", dict)
    check_schema(schema)
    there, same = changing.metadata["schemas"], plain(schema)
    if same not in changing.schemas:
        schema_id = max((each["schema-id"] for each in there), default=FIRST_SCHEMA - 1) + 1
        there.append({**schema, "schema-id": schema_id})
        changing.schemas[same] = schema_id
    changing.last_schema = changing.schemas[same]


def plain(schema: Json) -> str:
    """Return what makes a schema the same: all but its id."""
    rest = {key: value for key, value in schema.items() if key != "schema-id"}
    return json.dumps({"identifier-field-ids": [], **rest}, sort_keys=True)


def add_version(changing: Changing, update: Json) -> None:
    """Add a version; one that would behave the same is the one meant."""
    version = said(update, "view-version", dict)
    check_version(version)
    schema_id = version["schema-id"]
    if schema_id == LAST_ADDED:
        if changing.last_schema is None:
            raise InvalidViewError("Cannot set last added schema: no schema has been added")
        schema_id = changing.last_schema
    if all(each["schema-id"] != schema_id for each in changing.metadata["schemas"]):
        raise InvalidViewError(f"Cannot add version with unknown schema: {schema_id}")
    there = changing.metadata["versions"]
    version = {**version, "schema-id": schema_id}
    same = behaviour(version)
    if same in changing.versions:
        changing.last_version = changing.versions[same]
        return
    last_id = max(each["version-id"] for each in there)
    version_id = max(version["version-id"], last_id + 1)
    if version_id > ID_MAX:
        raise InvalidViewError(f"a version has an id of {ID_MAX} at most")
    there.append({**version, "version-id": version_id})
    changing.versions[same] = version_id
    changing.added.add(version_id)
    changing.last_version = version_id


def behaviour(version: Json) -> str:
    """Return what makes a version the same."""
    kept = ("summary", "representations", "default-catalog", "default-namespace", "schema-id")
    return json.dumps({key: version.get(key) for key in kept}, sort_keys=True)


def set_current_version(changing: Changing, update: Json) -> None:
    asked = said(update, "view-version-id", int)
    if asked == LAST_ADDED:
        if changing.last_version is None:
            raise InvalidViewError("Cannot set last version id: no current version id has been set")
        asked = changing.last_version
    if all(each["version-id"] != asked for each in changing.metadata["versions"]):
        raise InvalidViewError(f"Cannot set current version to unknown version: {asked}")
    if changing.metadata["current-version-id"] == asked:
        return
    changing.metadata["current-version-id"] = asked
    added_at = version_of(changing.metadata)["timestamp-ms"]
    at_ms = added_at if asked in changing.added else changing.now_ms
    changing.entry = {"version-id": asked, "timestamp-ms": at_ms}


def set_location(changing: Changing, update: Json) -> None:
    changing.metadata["location"] = said(update, "location")


def set_properties(changing: Changing, update: Json) -> None:
    updates = said(update, "updates", dict)
    check_shape(updates, dict[str, str], "properties")
    changing.metadata["properties"].update(updates)


def remove_properties(changing: Changing, update: Json) -> None:
    removals = said(update, "removals", list)
    check_shape(removals, list[str], "properties")
    for each in removals:
        changing.metadata["properties"].pop(each, None)


UPDATES: Mapping[str, Callable[[Changing, Json], None]] = {
    "assign-uuid": assign_uuid,
    "upgrade-format-version": upgrade_format_version,
    "add-schema": add_schema,
    "add-view-version": add_version,
    "set-current-view-version": set_current_version,
    "set-location": set_location,
    "set-properties": set_properties,
    "remove-properties": remove_properties,
}


def apply(metadata: Json, updates: Sequence[Json], now_ms: int) -> Json:
    """Return the metadata after `updates`; the given one is left as it was.

    Raises:
        InvalidInputError, InvalidViewError: an update is unknown, or cannot be done.
    """
    own = {
        **metadata,
        "schemas": list(metadata["schemas"]),
        "versions": list(metadata["versions"]),
        "properties": dict(metadata["properties"]),
    }
    # Of two that are the same the first one is meant, so it is put in last.
    schemas = {plain(each): each["schema-id"] for each in reversed(own["schemas"])}
    versions = {behaviour(each): each["version-id"] for each in reversed(own["versions"])}
    changing = Changing(own, now_ms, schemas, versions)
    for update in updates:
        known(UPDATES, said(update, "action"), "update")(changing, update)
    after = changing.metadata
    if changing.entry:
        after["version-log"] = [*after["version-log"], changing.entry]
    if after["properties"].get(MAY_DROP_DIALECTS, "").lower() != "true":
        check_dialects(version_of(metadata), version_of(after))
    expire(after, changing.added)
    forget_schemas(after)
    return after


def check_dialects(before: Json, after: Json) -> None:
    """Refuse a version that some engine which could read the view cannot read any more."""
    old, new = sorted(texts_of(before)), sorted(texts_of(after))
    if not set(old) <= set(new):
        raise InvalidViewError(
            f"Cannot replace view due to loss of view dialects ({MAY_DROP_DIALECTS}=false):\n"
            f"Previous dialects: {old}\nNew dialects: {new}"
        )


def expire(metadata: Json, added: set[int]) -> None:
    """Forget the oldest versions beyond what the view keeps, and the log before a gap."""
    current = metadata["current-version-id"]
    count = max(len(added | {current}), history_size(metadata["properties"]))
    metadata["version-log"] = metadata["version-log"][-LOG_MAX:]
    ids = sorted((v["version-id"] for v in metadata["versions"]), reverse=True)
    if len(ids) <= count:
        return
    kept = {current, *[each for each in ids if each != current][: count - 1]}
    metadata["versions"] = [v for v in metadata["versions"] if v["version-id"] in kept]
    log: list[Json] = []
    for entry in metadata["version-log"]:
        if entry["version-id"] in kept:
            log.append(entry)
        else:
            log.clear()
    metadata["version-log"] = log


def forget_schemas(metadata: Json) -> None:
    """Forget the schemas that no version has, once there are very many."""
    if len(metadata["schemas"]) > HISTORY_MAX:
        used = {each["schema-id"] for each in metadata["versions"]}
        metadata["schemas"] = [each for each in metadata["schemas"] if each["schema-id"] in used]


def history_size(properties: Mapping[str, str]) -> int:
    """Return how many versions a view keeps."""
    text = properties.get(HISTORY_SIZE, str(HISTORY_DEFAULT))
    size = whole_number(text)
    if not size:
        raise InvalidViewError(f"{HISTORY_SIZE} must be positive but was {text[:40]}")
    if size > HISTORY_MAX:
        raise InvalidViewError(f"{HISTORY_SIZE} is {HISTORY_MAX} at most but was {size}")
    return size
