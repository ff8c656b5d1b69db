"""The shapes of updates and requirements that come from outside, checked before one is applied.

Only the shape: what is applied is the JSON as it came, with the fields that are not known here.
Source: `TableUpdate`, `TableRequirement` and `CreateTableRequest` of the REST protocol
(apache/iceberg, open-api/rest-catalog-open-api.yaml)
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from lakehouse.catalog.metadata import Json
from lakehouse.errors import InvalidInputError

NESTED_MAX = 64
"""Levels of a type; each is a call of whatever walks it."""
BRANCHES_ALONE = ("min-snapshots-to-keep", "max-snapshot-age-ms")
Id: TypeAlias = Annotated[int, Meta(ge=0, le=2**31 - 201)]
"""Above are the columns that every table has (https://iceberg.apache.org/spec/#reserved-field-ids)."""
IdOrLast: TypeAlias = Annotated[int, Meta(ge=-1, le=2**31 - 1)]
Long: TypeAlias = Annotated[int, Meta(ge=0, le=2**62)]
"""Half of what fits."""
SnapshotId: TypeAlias = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Age: TypeAlias = Annotated[int, Meta(ge=1, le=2**62)]
"""Milliseconds."""
Count: TypeAlias = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Text: TypeAlias = Annotated[str, Meta(min_length=1, max_length=4096)]


class Shape(msgspec.Struct, rename="kebab", frozen=True):
    """What has these fields, and perhaps others."""


class FieldShape(Shape, frozen=True):
    id: Id
    name: Text
    required: bool
    type: "str | StructShape | ListShape | MapShape"
    doc: str | None = None


class StructShape(Shape, frozen=True, tag_field="type", tag="struct"):
    fields: list[FieldShape]


class ListShape(Shape, frozen=True, tag_field="type", tag="list"):
    element_id: Id
    element: Union[str, StructShape, "ListShape", "MapShape"]
    element_required: bool


class MapShape(Shape, frozen=True, tag_field="type", tag="map"):
    key_id: Id
    key: Union[str, StructShape, ListShape, "MapShape"]
    value_id: Id
    value: Union[str, StructShape, ListShape, "MapShape"]
    value_required: bool


class SchemaShape(Shape, frozen=True):
    fields: list[FieldShape]
    type: Literal["struct"] = "struct"
    schema_id: IdOrLast | None = None
    identifier_field_ids: list[Id] | UnsetType = UNSET


class PartitionFieldShape(Shape, frozen=True):
    source_id: Id
    name: Text
    transform: Text
    field_id: Id | None = None


class SpecShape(Shape, frozen=True):
    fields: list[PartitionFieldShape]
    spec_id: IdOrLast | None = None


class SortFieldShape(Shape, frozen=True):
    source_id: Id
    transform: Text
    direction: Literal["asc", "desc"]
    null_order: Literal["nulls-first", "nulls-last"]


class OrderShape(Shape, frozen=True):
    fields: list[SortFieldShape]
    order_id: IdOrLast | None = None


class SnapshotShape(Shape, frozen=True):
    snapshot_id: SnapshotId
    timestamp_ms: Long
    manifest_list: Text
    summary: dict[str, str]
    sequence_number: Long = 0
    parent_snapshot_id: Annotated[int, Meta(ge=-1, le=2**63 - 1)] | None = None
    schema_id: Id | None = None
    first_row_id: Long = 0
    added_rows: Long = 0


class StatisticsShape(Shape, frozen=True):
    snapshot_id: SnapshotId
    statistics_path: Text
    file_size_in_bytes: Long


# Updates.


class UpdateShape(Shape, frozen=True, tag_field="action", tag=True):
    pass


class AssignUuid(UpdateShape, frozen=True, tag="assign-uuid"):
    uuid: Text


class UpgradeFormatVersion(UpdateShape, frozen=True, tag="upgrade-format-version"):
    format_version: int


class AddSchema(UpdateShape, frozen=True, tag="add-schema"):
    schema: SchemaShape
    last_column_id: Id | UnsetType = UNSET


class SetCurrentSchema(UpdateShape, frozen=True, tag="set-current-schema"):
    schema_id: IdOrLast


class RemoveSchemas(UpdateShape, frozen=True, tag="remove-schemas"):
    schema_ids: list[Id]


class AddSpec(UpdateShape, frozen=True, tag="add-spec"):
    spec: SpecShape


class SetDefaultSpec(UpdateShape, frozen=True, tag="set-default-spec"):
    spec_id: IdOrLast


class RemovePartitionSpecs(UpdateShape, frozen=True, tag="remove-partition-specs"):
    spec_ids: list[Id]


class AddSortOrder(UpdateShape, frozen=True, tag="add-sort-order"):
    sort_order: OrderShape


class SetDefaultSortOrder(UpdateShape, frozen=True, tag="set-default-sort-order"):
    sort_order_id: IdOrLast


class SetLocation(UpdateShape, frozen=True, tag="set-location"):
    location: Text


class SetProperties(UpdateShape, frozen=True, tag="set-properties"):
    updates: dict[str, str]


class RemoveProperties(UpdateShape, frozen=True, tag="remove-properties"):
    removals: list[str]


class AddSnapshot(UpdateShape, frozen=True, tag="add-snapshot"):
    snapshot: SnapshotShape


class SetSnapshotRef(UpdateShape, frozen=True, tag="set-snapshot-ref"):
    ref_name: Text
    type: Literal["branch", "tag"]
    snapshot_id: SnapshotId
    max_ref_age_ms: Age | UnsetType = UNSET
    max_snapshot_age_ms: Age | UnsetType = UNSET
    min_snapshots_to_keep: Count | UnsetType = UNSET


class RemoveSnapshotRef(UpdateShape, frozen=True, tag="remove-snapshot-ref"):
    ref_name: Text


class RemoveSnapshots(UpdateShape, frozen=True, tag="remove-snapshots"):
    snapshot_ids: list[SnapshotId]


class SetStatistics(UpdateShape, frozen=True, tag="set-statistics"):
    statistics: StatisticsShape


class RemoveStatistics(UpdateShape, frozen=True, tag="remove-statistics"):
    snapshot_id: SnapshotId


class SetPartitionStatistics(UpdateShape, frozen=True, tag="set-partition-statistics"):
    partition_statistics: StatisticsShape


class RemovePartitionStatistics(UpdateShape, frozen=True, tag="remove-partition-statistics"):
    snapshot_id: SnapshotId


AnyUpdate: TypeAlias = (
    AssignUuid
    | UpgradeFormatVersion
    | AddSchema
    | SetCurrentSchema
    | RemoveSchemas
    | AddSpec
    | SetDefaultSpec
    | RemovePartitionSpecs
    | AddSortOrder
    | SetDefaultSortOrder
    | SetLocation
    | SetProperties
    | RemoveProperties
    | AddSnapshot
    | SetSnapshotRef
    | RemoveSnapshotRef
    | RemoveSnapshots
    | SetStatistics
    | RemoveStatistics
    | SetPartitionStatistics
    | RemovePartitionStatistics
)


# Requirements.


class RequirementShape(Shape, frozen=True, tag_field="type", tag=True):
    pass


class AssertCreate(RequirementShape, frozen=True, tag="assert-create"):
    pass


class AssertTableUuid(RequirementShape, frozen=True, tag="assert-table-uuid"):
    uuid: Text


class AssertRefSnapshotId(RequirementShape, frozen=True, tag="assert-ref-snapshot-id"):
    ref: Text
    snapshot_id: SnapshotId | None = None


class AssertLastAssignedFieldId(RequirementShape, frozen=True, tag="assert-last-assigned-field-id"):
    last_assigned_field_id: int


class AssertCurrentSchemaId(RequirementShape, frozen=True, tag="assert-current-schema-id"):
    current_schema_id: int


class AssertLastAssignedPartitionId(
    RequirementShape, frozen=True, tag="assert-last-assigned-partition-id"
):
    last_assigned_partition_id: int


class AssertDefaultSpecId(RequirementShape, frozen=True, tag="assert-default-spec-id"):
    default_spec_id: int


class AssertDefaultSortOrderId(RequirementShape, frozen=True, tag="assert-default-sort-order-id"):
    default_sort_order_id: int


AnyRequirement: TypeAlias = (
    AssertCreate
    | AssertTableUuid
    | AssertRefSnapshotId
    | AssertLastAssignedFieldId
    | AssertCurrentSchemaId
    | AssertLastAssignedPartitionId
    | AssertDefaultSpecId
    | AssertDefaultSortOrderId
)


def check_updates(updates: Sequence[Json]) -> None:
    """Raise `InvalidInputError`, which says where, for an update that is not known or lacks it."""
    checked(updates, list[AnyUpdate], "the updates")
    for update in updates:
        if update["action"] == "add-schema":
            check_depth(update["schema"])
        if update["action"] == "set-snapshot-ref" and update["type"] == "tag":
            check_tag(update)


def check_tag(ref: Json) -> None:
    """Refuse rules for the past of a tag, which is one snapshot: readers refuse such metadata."""
    for key in BRANCHES_ALONE:
        if key in ref:
            raise InvalidInputError(f"a tag has no {key}: only a branch keeps several snapshots")


def check_requirements(requirements: Sequence[Json]) -> None:
    """Raise `InvalidInputError` for a requirement that is not known, or lacks something."""
    checked(requirements, list[AnyRequirement], "the requirements")


def check_schema(schema: Json) -> None:
    checked(schema, SchemaShape, "the schema")
    check_depth(schema)


def check_spec(spec: Json) -> None:
    checked(spec, SpecShape, "the partition spec")


def check_order(order: Json) -> None:
    checked(order, OrderShape, "the sort order")


def checked(given: Any, shape: Any, what: str) -> None:
    try:
        msgspec.convert(given, shape)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidInputError(f"{what}: {error}") from error


def check_depth(schema: Json) -> None:
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    while waiting:
        found, depth = waiting.pop()
        if depth > NESTED_MAX:
            raise InvalidInputError(f"a type is nested deeper than {NESTED_MAX} levels")
        if isinstance(found, dict):
            inner = (found.get(key) for key in ("type", "element", "key", "value"))
            waiting.extend((each, depth + 1) for each in inner if isinstance(each, dict))
            waiting.extend((each, depth) for each in found.get("fields", ()))
