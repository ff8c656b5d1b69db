"""Requirements in the words of the Iceberg REST protocol: what must still be true at a commit.

Source: `TableRequirement` of the REST protocol (apache/iceberg,
open-api/rest-catalog-open-api.yaml); the words of what fails are those of its reference code,
which clients compare.
"""

from collections.abc import Callable, Iterable, Mapping

from lakehouse.catalog.errors import CommitFailedError
from lakehouse.catalog.metadata import Json, known

Requirement = Callable[[Json | None, Json], None]


def assert_create(metadata: Json | None, requirement: Json) -> None:
    if metadata is not None:
        raise CommitFailedError("table already exists")


def assert_table_uuid(metadata: Json | None, requirement: Json) -> None:
    found = metadata["table-uuid"] if metadata else None
    if found is None or found.lower() != requirement["uuid"].lower():
        raise CommitFailedError(f"UUID does not match: expected {requirement['uuid']} != {found}")


def assert_ref_snapshot_id(metadata: Json | None, requirement: Json) -> None:
    name, wanted = requirement["ref"], requirement.get("snapshot-id")
    reference = metadata["refs"].get(name) if metadata else None
    if reference is None:
        if wanted is not None:
            raise CommitFailedError(f"branch or tag {name} is missing, expected {wanted}")
        return
    kind, found = reference["type"], reference["snapshot-id"]
    if wanted is None:
        raise CommitFailedError(f"{kind} {name} was created concurrently")
    if found != wanted:
        raise CommitFailedError(f"{kind} {name} has changed: expected id {wanted} != {found}")


def assert_field(key: str, wanted: str, words: str) -> Requirement:
    """Return the requirement that a field of the metadata is what it was."""

    def check(metadata: Json | None, requirement: Json) -> None:
        found = metadata[key] if metadata else None
        if found != requirement[wanted]:
            raise CommitFailedError(
                f"{words} changed: expected id {requirement[wanted]} != {found}"
            )

    return check


REQUIREMENTS: Mapping[str, Requirement] = {
    "assert-create": assert_create,
    "assert-table-uuid": assert_table_uuid,
    "assert-ref-snapshot-id": assert_ref_snapshot_id,
    "assert-last-assigned-field-id": assert_field(
        "last-column-id", "last-assigned-field-id", "last assigned field id"
    ),
    "assert-current-schema-id": assert_field(
        "current-schema-id", "current-schema-id", "current schema"
    ),
    "assert-last-assigned-partition-id": assert_field(
        "last-partition-id", "last-assigned-partition-id", "last assigned partition id"
    ),
    "assert-default-spec-id": assert_field(
        "default-spec-id", "default-spec-id", "default partition spec"
    ),
    "assert-default-sort-order-id": assert_field(
        "default-sort-order-id", "default-sort-order-id", "default sort order"
    ),
}


def check(metadata: Json | None, requirements: Iterable[Json]) -> None:
    """Raise `CommitFailedError` for the first requirement that does not hold."""
    for requirement in requirements:
        known(REQUIREMENTS, requirement["type"], "requirement")(metadata, requirement)
